//! The operands of one batch of a product, cut out of the tensors that hold them.
//!
//! The windows of a convolution are laid out as rows of a matrix here, and only here: that is how the arithmetic sees them,
//! not how any memory stores them.

use crate::execute::values::Values;
use crate::numerics::block::BlockFormat;
use crate::numerics::gemm::{BlockScales, Operand};
use crate::numerics::tensor::{Elements, Tensor};
use crate::program::op::{Gemm, RightLayout};
use crate::program::tensor::TensorId;
use crate::shape::{MatrixShape, Span};
use crate::workload::convolution::ConvolutionWindow;

/// The `[m, k]` codes of a batch's left operand.
pub(super) fn left(values: &Values, gemm: &Gemm, batch: u64) -> Tensor {
    left_part(values, gemm, gemm.left.codes, batch, 1)
}

/// The codes of a batch's right operand, as they are stored.
pub(super) fn right(values: &Values, gemm: &Gemm, batch: u64) -> Tensor {
    right_part(values, gemm, gemm.right.codes, batch, 1)
}

/// Both operands of a float product, the right one by its columns.
pub(super) fn float_operands(values: &Values, gemm: &Gemm, batch: u64) -> [Operand; 2] {
    let scales_of = |format: &BlockFormat, side: fn(&Values, &Gemm, TensorId, u64, u64) -> Tensor, scales| {
        side(values, gemm, scales, batch, format.block())
    };
    let left_scales =
        gemm.left.blocks.map(|blocks| (blocks.format, scales_of(blocks.format, left_part, blocks.scales)));
    let right_scales =
        gemm.right.blocks.map(|blocks| (blocks.format, scales_of(blocks.format, right_part, blocks.scales)));
    let right = match gemm.right_layout {
        RightLayout::NByK => right(values, gemm, batch),
        RightLayout::KByN => right(values, gemm, batch).transposed(),
    };
    [operand(&left(values, gemm, batch), left_scales), operand(&right, right_scales)]
}

fn operand(codes: &Tensor, scales: Option<(&'static BlockFormat, Tensor)>) -> Operand {
    let unit_exponent = scales.as_ref().map_or(0, |(format, _)| format.implicit_exponent());
    let scales = scales.as_ref().map(|(format, scales)| BlockScales {
        format: format.scale(),
        codes: scales.view().elements(),
        block: usize::try_from(format.block()).expect("blocks are small"),
    });
    Operand::try_new(codes.view(), unit_exponent, scales).expect("operands are verified and of up to 16 bits")
}

/// The part of a left tensor that belongs to a batch; each of its columns stands for `block` channels.
fn left_part(values: &Values, gemm: &Gemm, tensor: TensorId, batch: u64, block: u64) -> Tensor {
    match &gemm.window {
        Some(window) => windows(values, window, tensor, batch, block),
        None => {
            let whole = values.shape(tensor);
            let one = MatrixShape::new(gemm.shape.m, gemm.shape.k.div_ceil(block));
            let one = if gemm.batching.count == 1 { whole } else { one };
            let (rows, columns) = gemm.batching.left.spans(one, batch);
            values.part(tensor, rows, columns)
        }
    }
}

/// The part of a right tensor that belongs to a batch; each of its columns stands for `block` elements.
fn right_part(values: &Values, gemm: &Gemm, tensor: TensorId, batch: u64, block: u64) -> Tensor {
    if let Some(rows) = gemm.right_rows {
        return gathered(values, tensor, rows, batch);
    }
    let one = gemm.right_layout.shape(gemm.shape);
    let one = MatrixShape::new(one.rows, one.columns.div_ceil(block));
    let (rows, columns) = gemm.batching.right.spans(one, gemm.batching.right_of(batch));
    values.part(tensor, rows, columns)
}

/// The rows of `tensor` that row `batch` of `rows` names.
fn gathered(values: &Values, tensor: TensorId, rows: TensorId, batch: u64) -> Tensor {
    let whole = values.shape(tensor);
    let mut named = Vec::new();
    values.read_row(rows, batch, Span::new(0, values.shape(rows).columns), &mut named);
    let mut elements = Tensor::zeros(MatrixShape::new(0, 0), values.format(tensor)).into_elements();
    for row in &named {
        // Positions are whole numbers below 2^24, which an f32 holds exactly.
        values.append(tensor, Some(*row as u64), Span::new(0, whole.columns), &mut elements);
    }
    let shape = MatrixShape::new(named.len() as u64, whole.columns);
    Tensor::try_new(shape, values.format(tensor), elements).expect("each row adds its columns")
}

/// The windows over the channels of group `group`, one a row: taps from top to bottom, from left to right, and the
/// channels of each. The padding is zero, whose code is 0 in every format.
fn windows(values: &Values, window: &ConvolutionWindow, tensor: TensorId, group: u64, block: u64) -> Tensor {
    let channels = window.channels.div_ceil(block);
    let columns = Span::new(group * channels, (group + 1) * channels);
    let (taps_y, taps_x) = (window.y.kernel(), window.x.kernel());
    let shape = MatrixShape::new(window.output_pixels(), taps_y * taps_x * channels);
    let mut elements = Tensor::zeros(MatrixShape::new(0, 0), values.format(tensor)).into_elements();
    for pixel in 0..shape.rows {
        for y in 0..taps_y {
            for x in 0..taps_x {
                values.append(tensor, window.pixel_of(pixel, [y, x]), columns, &mut elements);
            }
        }
    }
    Tensor::try_new(shape, values.format(tensor), elements).expect("each tap adds its channels")
}

/// Appends `range` of `from`, or as many zeros, to `to`.
pub(super) fn append(from: &Elements, range: std::ops::Range<usize>, is_padding: bool, to: &mut Elements) {
    fn extend<T: Copy + Default>(from: &[T], range: std::ops::Range<usize>, is_padding: bool, to: &mut Vec<T>) {
        if is_padding {
            to.resize(to.len() + range.len(), T::default());
        } else {
            to.extend_from_slice(&from[range]);
        }
    }
    match (from, to) {
        (Elements::I8(from), Elements::I8(to)) => extend(from, range, is_padding, to),
        (Elements::I16(from), Elements::I16(to)) => extend(from, range, is_padding, to),
        (Elements::I32(from), Elements::I32(to)) => extend(from, range, is_padding, to),
        (Elements::F32(from), Elements::F32(to)) => extend(from, range, is_padding, to),
        (Elements::Code8(from), Elements::Code8(to)) => extend(from, range, is_padding, to),
        (Elements::Code16(from), Elements::Code16(to)) => extend(from, range, is_padding, to),
        (from, to) => unreachable!("elements of one format are stored alike, not as {from:?} and {to:?}"),
    }
}
