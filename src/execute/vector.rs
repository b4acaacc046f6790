//! Tiles of vector operations.

use std::collections::BTreeMap;

use crate::execute::values::Values;
use crate::numerics::dequantize::{RowScales, dequantize_row};
use crate::numerics::functions;
use crate::numerics::quantize::{SymmetricQuantizer, abs_max, widen_column_abs_maxima};
use crate::program::op::{OpKind, Scale, Scope};
use crate::program::tensor::TensorId;
use crate::schedule::grid::Tile;
use crate::shape::Span;
use crate::workload::layer::ActivationFunction;

/// Runs vector operations; holds the maxima of reductions that several tiles contribute to.
#[derive(Default)]
pub(super) struct VectorExecutor {
    maxima: BTreeMap<TensorId, Vec<f32>>,
    input: Vec<f32>,
    output: Vec<f32>,
    codes: Vec<i8>,
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
                let quantizer = SymmetricQuantizer::try_new(target).expect("a scale is sought for an integer format");
                self.widen(values, *input, *output, *scope, tile);
                let complete = match scope {
                    Scope::Row => is_last_n.then_some(tile.m),
                    Scope::Tensor => is_last.then_some(Span::new(0, 1)),
                    Scope::Column => is_last.then_some(Span::new(0, values.shape(*output).columns)),
                };
                if let Some(span) = complete {
                    self.finish_scales(values, *output, *scope, span, &quantizer);
                }
            }
            OpKind::Quantize { input, scale, output } => self.quantize(values, *input, scale, *output, tile),
            OpKind::Dequantize { input, left_scale, right_scale, bias, output } => {
                self.dequantize(values, *input, (left_scale, right_scale), *bias, *output, tile);
            }
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

    fn finish_scales(
        &mut self,
        values: &mut Values,
        output: TensorId,
        scope: Scope,
        span: Span,
        quantizer: &SymmetricQuantizer,
    ) {
        let maxima = &self.maxima[&output];
        self.output.clear();
        self.output.extend((span.start..span.end).map(|index| quantizer.scale(maxima[index as usize])));
        match scope {
            Scope::Row => {
                for (row, scale) in (span.start..span.end).zip(&self.output) {
                    values.write_row(output, row, 0, &[*scale]);
                }
            }
            Scope::Tensor | Scope::Column => values.write_row(output, 0, span.start, &self.output),
        }
    }

    fn quantize(&mut self, values: &mut Values, input: TensorId, scale: &Scale, output: TensorId, tile: &Tile) {
        let quantizer = SymmetricQuantizer::try_new(values.format(output)).expect("codes have a signed integer format");
        for row in tile.m.start..tile.m.end {
            self.input.clear();
            values.read_row(input, row, tile.n, &mut self.input);
            self.codes.resize(self.input.len(), 0);
            match scale.scope {
                Scope::Tensor | Scope::Row => {
                    let row_of_scale = if scale.scope == Scope::Row { row } else { 0 };
                    let factor = quantizer.factor_of_scale(values.value(scale.tensor, row_of_scale, 0));
                    quantizer.quantize_row_i8(&self.input, factor, &mut self.codes);
                }
                Scope::Column => {
                    self.right_scales.clear();
                    values.read_row(scale.tensor, 0, tile.n, &mut self.right_scales);
                    self.right_scales.iter_mut().for_each(|scale| *scale = quantizer.factor_of_scale(*scale));
                    quantizer.quantize_row_by_columns_i8(&self.input, &self.right_scales, &mut self.codes);
                }
            }
            values.write_codes(output, row, tile.n.start, &self.codes);
        }
    }

    fn dequantize(
        &mut self,
        values: &mut Values,
        input: TensorId,
        (left, right): (&Scale, &Scale),
        bias: Option<TensorId>,
        output: TensorId,
        tile: &Tile,
    ) {
        let columns = if right.scope == Scope::Column { tile.n } else { Span::new(0, 1) };
        self.right_scales.clear();
        values.read_row(right.tensor, 0, columns, &mut self.right_scales);
        self.bias.clear();
        if let Some(bias) = bias {
            values.read_row(bias, 0, tile.n, &mut self.bias);
        }
        for row in tile.m.start..tile.m.end {
            let row_of_scale = if left.scope == Scope::Row { row } else { 0 };
            let scales = RowScales {
                left: values.value(left.tensor, row_of_scale, 0),
                right: &self.right_scales,
                bias: bias.map(|_| self.bias.as_slice()),
            };
            let sums = values.sums(input, row, tile.n);
            self.output.resize(sums.len(), 0.0);
            dequantize_row(sums, scales, &mut self.output);
            values.write_row(output, row, tile.n.start, &self.output);
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
