//! The tensors under way: codes in the storage of their format, read and written by rows.

use std::collections::BTreeMap;

use crate::execute::MissingValues;
use crate::execute::batches::append;
use crate::execute::casts::{CastLosses, Casts, Loss, is_beyond, losses_of};
use crate::execute::exact_sums::ExactSums;
use crate::numerics::block::{BlockQuantizer, ScaleCodesMut};
use crate::numerics::formats::{ElementFormat, FP32, Overflow, Rounding};
use crate::numerics::quantize::ScaledQuantizer;
use crate::numerics::tensor::{Elements, Tensor};
use crate::program::Program;
use crate::program::tensor::{Origin, TensorId};
use crate::shape::{BlockRuns, MatrixShape, Span};
use crate::workload::bindings::Bindings;

/// Every tensor of a program, with storage from the start.
pub(super) struct Values {
    tensors: Vec<Stored>,
    /// Where the computed values of recorded tensors go instead.
    computed: BTreeMap<TensorId, Stored>,
    exact_sums: ExactSums,
    casts: Casts,
}

struct Stored {
    shape: MatrixShape,
    format: &'static ElementFormat,
    elements: Elements,
}

impl Stored {
    fn zeros(shape: MatrixShape, format: &'static ElementFormat) -> Stored {
        Stored { shape, format, elements: Tensor::zeros(shape, format).into_elements() }
    }

    fn of(tensor: &Tensor) -> Stored {
        Stored { shape: tensor.shape(), format: tensor.format(), elements: tensor.elements().clone() }
    }

    fn range(&self, row: u64, columns: Span) -> std::ops::Range<usize> {
        let start = row * self.shape.columns;
        index(start + columns.start)..index(start + columns.end)
    }

    /// The value at a position.
    fn value(&self, position: usize) -> f64 {
        match &self.elements {
            Elements::F32(values) => f64::from(values[position]),
            Elements::I8(codes) => f64::from(codes[position]),
            Elements::I16(codes) => f64::from(codes[position]),
            Elements::I32(codes) => f64::from(codes[position]),
            Elements::Code8(codes) => self.format.decode(u32::from(codes[position])),
            Elements::Code16(codes) => self.format.decode(u32::from(codes[position])),
        }
    }

    fn sums(&self) -> &[i32] {
        let Elements::I32(sums) = &self.elements else { unreachable!("integer sums are held in 32 bits") };
        sums
    }

    fn into_tensor(self) -> Tensor {
        Tensor::try_new(self.shape, self.format, self.elements).expect("storage is made for its format")
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("a tensor with values fits the address space")
}

/// How the rows of a matrix are quantized into blocks.
pub(super) struct BlockRows {
    pub(super) codes: TensorId,
    pub(super) scales: TensorId,
    /// Columns of the codes after which blocks start anew.
    pub(super) run: u64,
    pub(super) quantizer: BlockQuantizer,
}

impl Values {
    /// Binds the given tensors and makes room for the others.
    pub(super) fn bind(program: &Program, bindings: &Bindings) -> Result<Values, MissingValues> {
        let mut tensors = Vec::with_capacity(program.tensors.len());
        let (mut computed, mut casts) = (BTreeMap::new(), Casts::default());
        for (position, tensor) in program.tensors.iter().enumerate() {
            let given =
                |id| bindings.get(id).map(Stored::of).ok_or_else(|| MissingValues { tensor: tensor.name.clone() });
            let stored = match (tensor.origin, tensor.recorded) {
                (Origin::Source(id), _) => recode(given(id)?, TensorId(position), tensor.format, &mut casts),
                (Origin::Transposed(id), _) => {
                    let transposed = Stored::of(&given(id)?.into_tensor().transposed());
                    recode(transposed, TensorId(position), tensor.format, &mut casts)
                }
                (Origin::Constant(id), _) => {
                    let (values, format) = (&program.constants[id.0], tensor.format);
                    casts.note_given(TensorId(position), format, values);
                    let made =
                        Tensor::from_f32(tensor.shape, format, values, Rounding::NearestEven, Overflow::Saturate);
                    Stored::of(&made.expect("a constant fills its tensor"))
                }
                (Origin::Produced, Some(record)) => {
                    computed.insert(TensorId(position), Stored::zeros(tensor.shape, tensor.format));
                    let record = given(record)?;
                    recode(record, TensorId(position), tensor.format, &mut casts)
                }
                (Origin::Produced | Origin::Prepared, _) => Stored::zeros(tensor.shape, tensor.format),
            };
            tensors.push(stored);
        }
        Ok(Values { tensors, computed, exact_sums: ExactSums::default(), casts })
    }

    pub(super) fn shape(&self, id: TensorId) -> MatrixShape {
        self.tensors[id.0].shape
    }

    pub(super) fn format(&self, id: TensorId) -> &'static ElementFormat {
        self.tensors[id.0].format
    }

    /// The codes of a tensor.
    pub(super) fn elements(&self, id: TensorId) -> &Elements {
        &self.tensors[id.0].elements
    }

    /// Takes the codes of a tensor out, to write them while others are read.
    pub(super) fn take(&mut self, id: TensorId) -> Elements {
        std::mem::replace(&mut self.tensors[id.0].elements, Elements::I8(Vec::new()))
    }

    /// Puts codes back that were taken out.
    pub(super) fn put(&mut self, id: TensorId, elements: Elements) {
        self.tensors[id.0].elements = elements;
    }

    /// Appends the values of `columns` of one row to `out`.
    pub(super) fn read_row(&self, id: TensorId, row: u64, columns: Span, out: &mut Vec<f32>) {
        let stored = &self.tensors[id.0];
        let range = stored.range(row, columns);
        match &stored.elements {
            Elements::F32(values) => out.extend_from_slice(&values[range]),
            Elements::I8(codes) => out.extend(codes[range].iter().map(|code| f32::from(*code))),
            Elements::I16(codes) => out.extend(codes[range].iter().map(|code| f32::from(*code))),
            Elements::I32(codes) => out.extend(codes[range].iter().map(|code| *code as f32)),
            Elements::Code8(codes) => {
                out.extend(codes[range].iter().map(|code| stored.format.decode(u32::from(*code)) as f32));
            }
            Elements::Code16(codes) => {
                out.extend(codes[range].iter().map(|code| stored.format.decode(u32::from(*code)) as f32));
            }
        }
    }

    /// The given rows and columns of a tensor, copied.
    pub(super) fn part(&self, id: TensorId, rows: Span, columns: Span) -> Tensor {
        let shape = MatrixShape::new(rows.len(), columns.len());
        let format = self.tensors[id.0].format;
        let mut elements = Tensor::zeros(MatrixShape::new(0, 0), format).into_elements();
        let stored = &self.tensors[id.0];
        if columns.len() == stored.shape.columns && !rows.is_empty() {
            // Whole rows follow one another.
            let range = stored.range(rows.start, columns).start..stored.range(rows.end - 1, columns).end;
            append(&stored.elements, range, false, &mut elements);
        } else {
            (rows.start..rows.end).for_each(|row| self.append(id, Some(row), columns, &mut elements));
        }
        Tensor::try_new(shape, format, elements).expect("each row adds its columns")
    }

    /// Appends the codes of `columns` of one row to `elements`, or zeros for no row.
    pub(super) fn append(&self, id: TensorId, row: Option<u64>, columns: Span, elements: &mut Elements) {
        let stored = &self.tensors[id.0];
        append(&stored.elements, stored.range(row.unwrap_or(0), columns), row.is_none(), elements);
    }

    /// Appends the values `span` of a vector, upright or lying, to `out`.
    pub(super) fn read_vector(&self, id: TensorId, span: Span, out: &mut Vec<f32>) {
        if self.tensors[id.0].shape.columns == 1 {
            (span.start..span.end).for_each(|row| self.read_row(id, row, Span::new(0, 1), out));
        } else {
            self.read_row(id, 0, span, out);
        }
    }

    /// One value.
    pub(super) fn value(&self, id: TensorId, row: u64, column: u64) -> f32 {
        let mut value = Vec::with_capacity(1);
        self.read_row(id, row, Span::new(column, column + 1), &mut value);
        value[0]
    }

    /// Writes real values to the columns from `first_column` of one row, rounded to the tensor's format (to nearest,
    /// ties to even, saturating). A recorded tensor keeps its record; what was computed is kept beside it.
    pub(super) fn write_row(&mut self, id: TensorId, row: u64, first_column: u64, values: &[f32]) {
        let stored = self.computed.get_mut(&id).unwrap_or(&mut self.tensors[id.0]);
        let range = stored.range(row, Span::new(first_column, first_column + values.len() as u64));
        let format = stored.format;
        if *format != FP32 {
            self.casts.note(id, stored.shape.elements(), range.clone(), &losses_of(format, values));
        }
        let encode = |value: f32| format.encode_f32(value, Rounding::NearestEven, Overflow::Saturate);
        match &mut stored.elements {
            Elements::F32(out) => out[range].copy_from_slice(values),
            Elements::Code16(out) => {
                for (out, value) in out[range].iter_mut().zip(values) {
                    *out = encode(*value) as u16;
                }
            }
            Elements::Code8(out) => {
                for (out, value) in out[range].iter_mut().zip(values) {
                    *out = encode(*value) as u8;
                }
            }
            // Codes that are only moved.
            Elements::I8(out) => {
                for (out, value) in out[range].iter_mut().zip(values) {
                    *out = *value as i8;
                }
            }
            // Positions.
            Elements::I16(out) => {
                for (out, value) in out[range].iter_mut().zip(values) {
                    *out = *value as i16;
                }
            }
            Elements::I32(out) => {
                for (out, value) in out[range].iter_mut().zip(values) {
                    *out = *value as i32;
                }
            }
        }
    }

    /// Integer sums of some columns of one row.
    pub(super) fn sums_row(&self, id: TensorId, row: u64, columns: Span) -> Vec<i32> {
        let stored = &self.tensors[id.0];
        stored.sums()[stored.range(row, columns)].to_vec()
    }

    /// What [`Values::sums_row`] would give if no accumulator had an end.
    pub(super) fn exact_sums_row(&self, id: TensorId, row: u64, columns: Span) -> Vec<i64> {
        let stored = &self.tensors[id.0];
        let range = stored.range(row, columns);
        match self.exact_sums.of(id) {
            Some(exact) => exact[range].to_vec(),
            None => stored.sums()[range].iter().map(|sum| i64::from(*sum)).collect(),
        }
    }

    /// Sums of a tensor that are stored with another value than the exact one.
    pub(super) fn sums_that_differ(&self, id: TensorId) -> u64 {
        let Some(exact) = self.exact_sums.of(id) else { return 0 };
        let pairs = self.tensors[id.0].sums().iter().zip(exact);
        pairs.filter(|(sum, exact)| i64::from(**sum) != **exact).count() as u64
    }

    /// Writes integer sums, which fit 32 bits, to the columns from `first_column` of one row, and notes the exact ones where
    /// they differ.
    pub(super) fn write_sums(&mut self, id: TensorId, row: u64, first_column: u64, sums: &[i64], exact: &[i64]) {
        let stored = &mut self.tensors[id.0];
        let range = stored.range(row, Span::new(first_column, first_column + sums.len() as u64));
        let Elements::I32(out) = &mut stored.elements else {
            unreachable!("integer sums are held in 32 bits");
        };
        for (out, sum) in out[range.clone()].iter_mut().zip(sums) {
            *out = i32::try_from(*sum).expect("accumulators of up to 32 bits");
        }
        let all = || out.iter().map(|sum| i64::from(*sum)).collect();
        self.exact_sums.note(id, range.start, sums, exact, all);
    }

    /// Quantizes values into the columns from `first_column` of one row, by one scale, one per column, or none.
    pub(super) fn quantize_row(
        &mut self,
        id: TensorId,
        row: u64,
        first_column: u64,
        quantizer: &ScaledQuantizer,
        values: &[f32],
        scales: &[f32],
    ) {
        let stored = &mut self.tensors[id.0];
        let range = stored.range(row, Span::new(first_column, first_column + values.len() as u64));
        match &mut stored.elements {
            Elements::I8(codes) => quantizer.quantize_i8(values, scales, &mut codes[range.clone()]),
            Elements::Code8(codes) => quantizer.quantize_code8(values, scales, &mut codes[range.clone()]),
            Elements::Code16(codes) => quantizer.quantize_code16(values, scales, &mut codes[range.clone()]),
            other => unreachable!("operands of products have at most 16 bits, unlike {other:?}"),
        }
        let scale = |position: usize| match scales {
            [] => 1.0,
            [scale] => *scale,
            _ => scales[position],
        };
        let largest = stored.format.max_finite() as f32;
        let suspects = values.iter().enumerate().map(|(position, value)| (position, *value, scale(position)));
        // What is clipped is above the largest value by half a step, far more than this product is off.
        let suspects = suspects.filter(|(_, value, scale)| is_beyond(*value, scale * largest));
        let lost: Vec<(usize, Loss)> = suspects
            .filter_map(|(position, value, scale)| {
                let is_clipped = quantizer.clips(value, scale);
                let code = range.start + position;
                let is_lost = !value.is_finite() && scale.is_finite() && stored.value(code).is_finite();
                let loss = if is_clipped { Some(Loss::Clipped) } else { is_lost.then_some(Loss::NotFinite) };
                Some((position, loss?))
            })
            .collect();
        self.casts.note(id, stored.shape.elements(), range, &lost);
    }

    /// Saturates integers of one row to the 8 bits of another tensor.
    pub(super) fn saturate_row(&mut self, from: TensorId, to: TensorId, row: u64, columns: Span) {
        let range = self.tensors[from.0].range(row, columns);
        let sums: Vec<i32> = match &self.tensors[from.0].elements {
            Elements::I32(sums) => sums[range].to_vec(),
            Elements::I16(codes) => codes[range].iter().map(|code| i32::from(*code)).collect(),
            Elements::I8(codes) => codes[range].iter().map(|code| i32::from(*code)).collect(),
            other => unreachable!("integers are held as such, unlike {other:?}"),
        };
        let stored = &mut self.tensors[to.0];
        let range = stored.range(row, columns);
        let Elements::I8(codes) = &mut stored.elements else {
            unreachable!("integers are saturated to INT8, not to {}", stored.format);
        };
        let mut lost = Vec::new();
        for (position, (code, sum)) in codes[range.clone()].iter_mut().zip(sums).enumerate() {
            *code = sum.clamp(i32::from(i8::MIN), i32::from(i8::MAX)) as i8;
            if i32::from(*code) != sum {
                lost.push((position, Loss::Clipped));
            }
        }
        self.casts.note(to, stored.shape.elements(), range, &lost);
    }

    /// Quantizes values into blocks of one row of codes, from a column at which a block starts.
    pub(super) fn quantize_block_row(&mut self, blocks: &BlockRows, row: u64, first_column: u64, values: &[f32]) {
        let (mut column, mut left) = (first_column, values);
        while !left.is_empty() {
            let rest_of_run = usize::try_from(blocks.run - column % blocks.run).unwrap_or(usize::MAX);
            let (part, behind) = left.split_at(rest_of_run.min(left.len()));
            self.quantize_blocks_of_run(blocks, row, column, part);
            (column, left) = (column + part.len() as u64, behind);
        }
    }

    fn quantize_blocks_of_run(
        &mut self,
        &BlockRows { codes, scales, run, ref quantizer }: &BlockRows,
        row: u64,
        first_column: u64,
        values: &[f32],
    ) {
        let first_block = BlockRuns::new(quantizer.block(), run).block_of(first_column);
        let blocks = quantizer.blocks_of(values.len()) as u64;
        let mut scale_codes = self.take(scales);
        let scales_range = self.tensors[scales.0].range(row, Span::new(first_block, first_block + blocks));
        let stored = &mut self.tensors[codes.0];
        let range = stored.range(row, Span::new(first_column, first_column + values.len() as u64));
        let scale_codes_of_row = ScaleCodesMut::of(&mut scale_codes, scales_range);
        let scale_codes_of_row = scale_codes_of_row.expect("block scales are floats or powers of two");
        let clipped = match &mut stored.elements {
            Elements::I8(codes) => quantizer.quantize_row_i8(values, &mut codes[range.clone()], scale_codes_of_row),
            Elements::Code8(codes) => {
                quantizer.quantize_row_code8(values, &mut codes[range.clone()], scale_codes_of_row)
            }
            other => unreachable!("elements of blocks have at most 8 bits, unlike {other:?}"),
        };
        let clipped: Vec<(usize, Loss)> = clipped.into_iter().map(|position| (position, Loss::Clipped)).collect();
        self.casts.note(codes, stored.shape.elements(), range, &clipped);
        self.put(scales, scale_codes);
    }

    /// What casts could not keep, by layer.
    pub(super) fn cast_losses(&self, program: &Program) -> Vec<CastLosses> {
        self.casts.by_layer(program)
    }

    /// The tensors, and the computed values of recorded ones.
    pub(super) fn into_tensors(self) -> (Vec<Option<Tensor>>, BTreeMap<TensorId, Tensor>) {
        let tensors = self.tensors.into_iter().map(|stored| Some(stored.into_tensor())).collect();
        let computed = self.computed.into_iter().map(|(id, stored)| (id, stored.into_tensor())).collect();
        (tensors, computed)
    }
}

/// A given tensor in the format in which the program stores it.
fn recode(record: Stored, id: TensorId, format: &'static ElementFormat, casts: &mut Casts) -> Stored {
    if record.format == format {
        return record;
    }
    let tensor = record.into_tensor();
    let values = tensor.to_f32();
    casts.note_given(id, format, &values);
    let recoded = Tensor::from_f32(tensor.shape(), format, &values, Rounding::NearestEven, Overflow::Saturate);
    Stored::of(&recoded.expect("rounding keeps the number of elements"))
}
