//! Tiles of vector operations.

use std::collections::BTreeMap;

use crate::execute::channels;
use crate::execute::values::{BlockRows, Values};
use crate::numerics::block::BlockOptions;
use crate::numerics::dequantize::{RowScales, dequantize_row};
use crate::numerics::functions;
use crate::numerics::quantize::{ScaledQuantizer, abs_max, widen_column_abs_maxima};
use crate::program::op::{BlockAxis, OpKind, Scale, ScaleTarget, Scope};
use crate::program::tensor::TensorId;
use crate::program::vector_rows;
use crate::schedule::grid::Tile;
use crate::shape::Span;
use crate::workload::batching::Batching;
use crate::workload::layer::ActivationFunction;

/// Runs vector operations; holds the maxima of reductions that several tiles contribute to.
#[derive(Default)]
pub(super) struct VectorExecutor {
    maxima: BTreeMap<TensorId, Vec<f32>>,
    input: Vec<f32>,
    output: Vec<f32>,
    right_scales: Vec<f32>,
    bias: Vec<f32>,
}

impl VectorExecutor {
    /// Runs one operation on one tile. `is_last_n` and `is_last` tell whether values per row and per tensor or column
    /// are complete with it.
    pub(super) fn run(&mut self, values: &mut Values, kind: &OpKind, tile: &Tile, is_last_n: bool, is_last: bool) {
        match kind {
            OpKind::Gemm(_) => unreachable!("a product runs on a matrix unit"),
            OpKind::Reduce { input, output, scope, target } => {
                self.widen(values, *input, *output, *scope, tile);
                let complete = match scope {
                    Scope::Row => is_last_n.then_some(tile.m),
                    Scope::Tensor => is_last.then_some(Span::new(0, 1)),
                    Scope::Column => is_last.then_some(Span::new(0, values.shape(*output).columns)),
                };
                if let Some(span) = complete {
                    self.finish_scales(values, *output, *scope, span, *target);
                }
            }
            OpKind::Quantize { input, scale, output } => {
                self.quantize(values, *input, scale.as_ref(), *output, tile);
            }
            OpKind::QuantizeBlocks { input, format, along, run, tensor_scale, codes, scales } => {
                let quantizer =
                    format.quantizer(BlockOptions::default()).expect("the default options suit every format");
                let tensor_scale = tensor_scale.map_or(1.0, |scale| values.value(scale.tensor, 0, 0));
                let quantizer = quantizer.with_tensor_scale(tensor_scale);
                let blocks = BlockRows { codes: *codes, scales: *scales, run: *run, quantizer };
                self.quantize_blocks(values, *input, &blocks, *along, tile);
            }
            OpKind::Dequantize { input, left_scale, right_scale, bias, batching, output } => {
                let scales = (left_scale.as_ref(), right_scale.as_ref());
                self.dequantize(values, (*input, batching), scales, *bias, *output, tile);
            }
            OpKind::Vector(vector) => {
                let constants = vector_rows::constants(&vector.constants, |id, out| {
                    values.read_row(id, 0, Span::new(0, values.shape(id).columns), out);
                });
                for row in tile.m.start..tile.m.end {
                    self.input.clear();
                    values.read_row(vector.inputs[0], row, tile.n, &mut self.input);
                    self.output.clear();
                    if let Some(second) = vector.inputs.get(1) {
                        values.read_row(*second, row, tile.n, &mut self.output);
                    }
                    vector_rows::apply(vector.function, row, &mut self.input, &self.output, &constants);
                    values.write_row(vector.output, row, tile.n.start, &self.input);
                }
            }
            OpKind::ExtractChannels(extract) => channels::extract(values, extract, tile),
            OpKind::ExtractTop(top) => channels::extract_top(values, top, tile),
            OpKind::GatherRows(gather) => channels::gather_rows(values, gather, tile),
            OpKind::Merge(merge) => channels::merge(values, merge, tile),
            OpKind::DivideChannels(divide) => channels::divide(values, divide, tile),
            OpKind::Activate { function, input, output } => {
                let apply = activation(*function);
                for row in tile.m.start..tile.m.end {
                    self.input.clear();
                    values.read_row(*input, row, tile.n, &mut self.input);
                    self.input.iter_mut().for_each(|value| *value = apply(*value));
                    values.write_row(*output, row, tile.n.start, &self.input);
                }
            }
        }
    }

    fn widen(&mut self, values: &Values, input: TensorId, output: TensorId, scope: Scope, tile: &Tile) {
        let count = usize::try_from(values.shape(output).elements()).expect("a tensor with values fits memory");
        let maxima = self.maxima.entry(output).or_insert_with(|| vec![0.0; count]);
        for row in tile.m.start..tile.m.end {
            self.input.clear();
            values.read_row(input, row, tile.n, &mut self.input);
            match scope {
                Scope::Tensor => maxima[0] = abs_max(&[maxima[0], abs_max(&self.input)]),
                Scope::Row => {
                    let maximum = &mut maxima[row as usize];
                    *maximum = abs_max(&[*maximum, abs_max(&self.input)]);
                }
                Scope::Column => {
                    let columns = tile.n.start as usize..tile.n.end as usize;
                    widen_column_abs_maxima(&self.input, &mut maxima[columns]);
                }
            }
        }
    }

    fn finish_scales(&mut self, values: &mut Values, output: TensorId, scope: Scope, span: Span, target: ScaleTarget) {
        let maxima = &self.maxima[&output];
        self.output.clear();
        self.output.extend((span.start..span.end).map(|index| scale_for(target, maxima[index as usize])));
        match scope {
            Scope::Row => {
                for (row, scale) in (span.start..span.end).zip(&self.output) {
                    values.write_row(output, row, 0, &[*scale]);
                }
            }
            Scope::Tensor | Scope::Column => values.write_row(output, 0, span.start, &self.output),
        }
    }

    fn quantize(&mut self, values: &mut Values, input: TensorId, scale: Option<&Scale>, output: TensorId, tile: &Tile) {
        if scale.is_none() && values.format(input).is_integer() {
            (tile.m.start..tile.m.end).for_each(|row| values.saturate_row(input, output, row, tile.n));
            return;
        }
        let quantizer = ScaledQuantizer::new(values.format(output));
        for row in tile.m.start..tile.m.end {
            self.input.clear();
            values.read_row(input, row, tile.n, &mut self.input);
            let scales: &[f32] = match scale {
                None => &[],
                Some(scale) => {
                    self.right_scales.clear();
                    match scale.scope {
                        Scope::Tensor => self.right_scales.push(values.value(scale.tensor, 0, 0)),
                        Scope::Row => self.right_scales.push(values.value(scale.tensor, row, 0)),
                        Scope::Column => values.read_row(scale.tensor, 0, tile.n, &mut self.right_scales),
                    }
                    &self.right_scales
                }
            };
            values.quantize_row(output, row, tile.n.start, &quantizer, &self.input, scales);
        }
    }

    fn quantize_blocks(
        &mut self,
        values: &mut Values,
        input: TensorId,
        blocks: &BlockRows,
        along: BlockAxis,
        tile: &Tile,
    ) {
        match along {
            BlockAxis::Columns => {
                for row in tile.m.start..tile.m.end {
                    self.input.clear();
                    values.read_row(input, row, tile.n, &mut self.input);
                    values.quantize_block_row(blocks, row, tile.n.start, &self.input);
                }
            }
            // Each column of the input becomes a row of codes.
            BlockAxis::Rows => {
                for column in tile.n.start..tile.n.end {
                    self.input.clear();
                    for row in tile.m.start..tile.m.end {
                        values.read_row(input, row, Span::new(column, column + 1), &mut self.input);
                    }
                    values.quantize_block_row(blocks, column, tile.m.start, &self.input);
                }
            }
        }
    }

    /// `tile` lies within one batch.
    fn dequantize(
        &mut self,
        values: &mut Values,
        (input, batching): (TensorId, &Batching),
        (left, right): (Option<&Scale>, Option<&Scale>),
        bias: Option<TensorId>,
        output: TensorId,
        tile: &Tile,
    ) {
        let one = batching.one_output(values.shape(input));
        let (rows, columns) = batching.output.spans(one, tile.batch);
        // Where there is one scale for each row or column of all batches, those of this one start here.
        let own = |scale: &Scale, extent: u64, index: u64| {
            if values.shape(scale.tensor).elements() > extent { index * extent } else { 0 }
        };
        self.right_scales.clear();
        match right {
            None => self.right_scales.push(1.0),
            Some(right) if right.scope == Scope::Column => {
                let first = own(right, one.columns, batching.right_of(tile.batch)) + tile.n.start - columns.start;
                let span = Span::new(first, first + tile.n.len());
                values.read_vector(right.tensor, span, &mut self.right_scales);
            }
            Some(right) => self.right_scales.push(values.value(right.tensor, 0, 0)),
        }
        let first_left = left.map_or(0, |left| own(left, one.rows, tile.batch));
        self.bias.clear();
        if let Some(bias) = bias {
            values.read_row(bias, 0, tile.n, &mut self.bias);
        }
        for row in tile.m.start..tile.m.end {
            let left = left.map_or(1.0, |left| {
                let row_of_scale = if left.scope == Scope::Row { first_left + row - rows.start } else { 0 };
                values.value(left.tensor, row_of_scale, 0)
            });
            let scales = RowScales { left, right: &self.right_scales, bias: bias.map(|_| self.bias.as_slice()) };
            self.output.clear();
            values.read_row(input, row, tile.n, &mut self.output);
            dequantize_row(&mut self.output, scales);
            values.write_row(output, row, tile.n.start, &self.output);
        }
    }
}

fn scale_for(target: ScaleTarget, abs_max: f32) -> f32 {
    match target {
        ScaleTarget::Magnitude => abs_max,
        ScaleTarget::Element(format) => ScaledQuantizer::new(format).scale(abs_max),
        ScaleTarget::Blocks(format) => {
            let quantizer = format.quantizer(BlockOptions::default()).expect("the default options suit every format");
            quantizer.tensor_scale_of(abs_max)
        }
    }
}

fn activation(function: ActivationFunction) -> fn(f32) -> f32 {
    match function {
        ActivationFunction::Gelu => functions::gelu,
        ActivationFunction::GeluTanh => functions::gelu_tanh,
        ActivationFunction::Relu => functions::relu,
        ActivationFunction::Silu => functions::silu,
    }
}
