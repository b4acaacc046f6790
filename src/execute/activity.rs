//! How many products an operand made zero: counted from the values, for whoever asks what the multipliers really did.

use crate::execute::batches;
use crate::execute::values::Values;
use crate::numerics::tensor::Tensor;
use crate::program::Program;
use crate::program::op::{Gemm, OpKind, RightLayout};
use crate::shape::MatrixShape;

/// Multiply-accumulates of which an operand is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperandActivity {
    zero_macs: Vec<u64>,
}

impl OperandActivity {
    /// By operation, in the program's order; zero for what is no product.
    pub fn zero_macs(&self) -> &[u64] {
        &self.zero_macs
    }

    /// Counts over all products, from their operands' codes. Of column `p` of the left and row `p` of the right operand,
    /// all pairs of nonzero codes multiply; every other product of that `p` has a zero in it.
    pub(super) fn of(program: &Program, values: &Values) -> OperandActivity {
        let of = |kind: &OpKind| {
            let OpKind::Gemm(gemm) = kind else { return 0 };
            (0..gemm.batching.count).map(|batch| zero_macs(values, gemm, batch)).sum()
        };
        OperandActivity { zero_macs: program.ops.iter().map(|op| of(&op.kind)).collect() }
    }
}

fn zero_macs(values: &Values, gemm: &Gemm, batch: u64) -> u64 {
    let left = nonzero_by_column(&batches::left(values, gemm, batch));
    let right = batches::right(values, gemm, batch);
    let right = match gemm.right_layout {
        RightLayout::NByK => nonzero_by_column(&right),
        RightLayout::KByN => nonzero_by_row(&right),
    };
    let products = gemm.shape.m * gemm.shape.n;
    left.iter().zip(&right).map(|(left, right)| products - left * right).sum()
}

fn nonzero_by_column(tensor: &Tensor) -> Vec<u64> {
    let columns = columns(tensor);
    let mut counts = vec![0u32; columns];
    for row in nonzero(tensor).chunks(columns.max(1)) {
        counts.iter_mut().zip(row).for_each(|(count, one)| *count += u32::from(*one));
    }
    counts.into_iter().map(u64::from).collect()
}

fn nonzero_by_row(tensor: &Tensor) -> Vec<u64> {
    let of_row = |row: &[u8]| row.iter().map(|one| u64::from(*one)).sum();
    nonzero(tensor).chunks(columns(tensor).max(1)).map(of_row).collect()
}

/// One for each element that is not zero, else 0.
fn nonzero(tensor: &Tensor) -> Vec<u8> {
    match tensor.as_i8() {
        Some(codes) => codes.iter().map(|code| u8::from(*code != 0)).collect(),
        None => tensor.to_f32().into_iter().map(|value| u8::from(value != 0.0)).collect(),
    }
}

fn columns(tensor: &Tensor) -> usize {
    let MatrixShape { columns, .. } = tensor.shape();
    usize::try_from(columns).expect("a tensor in memory has so many columns")
}
