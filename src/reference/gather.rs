//! The matrices of a product, element by element from the tensors that hold them.
//!
//! Written as a plain function of (row, column), apart from how execution cuts and lays out its operands.

use crate::numerics::tensor::{Elements, Tensor};
use crate::program::op::{Gemm, RightLayout};
use crate::shape::MatrixShape;
use crate::workload::batching::BatchAxis;

/// The left matrix `[m, k / block]` of a batch: from codes with `block` 1, from block scales with their block.
pub(super) fn left(tensor: &Tensor, gemm: &Gemm, batch: u64, block: u64) -> Option<Tensor> {
    let k = gemm.shape.k.div_ceil(block);
    gather(tensor, MatrixShape::new(gemm.shape.m, k), |row, column| match (&gemm.window, gemm.batching.left) {
        (Some(window), _) => {
            let channels = window.channels.div_ceil(block);
            let (tap, channel) = (column / channels, column % channels);
            let [tap_y, tap_x] = [tap / window.x.kernel(), tap % window.x.kernel()];
            let [width, height] = [window.x.output(), window.y.output()];
            let image = row / (width * height);
            let y = window.y.input_of(row % (width * height) / width, tap_y)?;
            let x = window.x.input_of(row % width, tap_x)?;
            Some((image * window.y.input() * window.x.input() + y * window.x.input() + x, batch * channels + channel))
        }
        (None, BatchAxis::Rows) => Some((batch * gemm.shape.m + row, column)),
        (None, BatchAxis::Columns) => Some((row, batch * k + column)),
    })
}

/// The right matrix of a batch by its columns, `[n, k / block]`: from codes with `block` 1, from block scales with theirs.
pub(super) fn right_by_columns(tensor: &Tensor, gemm: &Gemm, batch: u64, block: u64) -> Option<Tensor> {
    let (k, n) = (gemm.shape.k.div_ceil(block), gemm.shape.n);
    let group = batch / gemm.batching.right_sharing;
    gather(tensor, MatrixShape::new(n, k), |column, depth| {
        let ([row, column], [rows, columns]) = match gemm.right_layout {
            RightLayout::KByN => ([depth, column], [k, n]),
            RightLayout::NByK => ([column, depth], [n, k]),
        };
        Some(match gemm.batching.right {
            BatchAxis::Rows => (group * rows + row, column),
            BatchAxis::Columns => (row, group * columns + column),
        })
    })
}

/// The rows that row `batch` of `rows` names, by their columns: `[n, k]`.
pub(super) fn rows_by_columns(tensor: &Tensor, rows: &Tensor, batch: u64) -> Option<Tensor> {
    let shape = MatrixShape::new(tensor.shape().columns, rows.shape().columns);
    gather(tensor, shape, |column, depth| Some((rows.value(batch, depth) as u64, column)))
}

/// Where element `(row, column)` of a batch's product stands in the whole output.
pub(super) const fn output_position(gemm: &Gemm, batch: u64, row: u64, column: u64) -> u64 {
    match gemm.batching.output {
        BatchAxis::Rows => (batch * gemm.shape.m + row) * gemm.shape.n + column,
        BatchAxis::Columns => (row * gemm.batching.count + batch) * gemm.shape.n + column,
    }
}

/// A matrix whose elements stand at the given rows and columns of `tensor`; those that stand nowhere are zero.
fn gather(tensor: &Tensor, shape: MatrixShape, place: impl Fn(u64, u64) -> Option<(u64, u64)>) -> Option<Tensor> {
    let columns = tensor.shape().columns;
    let mut positions = Vec::new();
    for row in 0..shape.rows {
        for column in 0..shape.columns {
            let position = place(row, column).map(|(row, column)| row * columns + column);
            positions.push(match position {
                Some(position) => Some(usize::try_from(position).ok()?),
                None => None,
            });
        }
    }
    fn at<T: Copy + Default>(from: &[T], positions: &[Option<usize>]) -> Vec<T> {
        positions.iter().map(|position| position.map_or(T::default(), |position| from[position])).collect()
    }
    let elements = match tensor.elements() {
        Elements::I8(from) => Elements::I8(at(from, &positions)),
        Elements::I16(from) => Elements::I16(at(from, &positions)),
        Elements::I32(from) => Elements::I32(at(from, &positions)),
        Elements::F32(from) => Elements::F32(at(from, &positions)),
        Elements::Code8(from) => Elements::Code8(at(from, &positions)),
        Elements::Code16(from) => Elements::Code16(at(from, &positions)),
    };
    Tensor::try_new(shape, tensor.format(), elements).ok()
}
