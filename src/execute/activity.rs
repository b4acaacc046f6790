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
        RightLayout::KByN => nonzero_by_column(&right.transposed()),
    };
    let products = gemm.shape.m * gemm.shape.n;
    left.iter().zip(&right).map(|(left, right)| products - left * right).sum()
}

fn nonzero_by_column(tensor: &Tensor) -> Vec<u64> {
    let MatrixShape { columns, .. } = tensor.shape();
    let columns = usize::try_from(columns).expect("a tensor in memory has so many columns");
    let mut counts = vec![0; columns];
    for row in tensor.to_f32().chunks(columns.max(1)) {
        for (count, value) in counts.iter_mut().zip(row) {
            *count += u64::from(*value != 0.0);
        }
    }
    counts
}
