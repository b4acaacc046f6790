//! Which integer sums came out different from the exact ones.
//!
//! A sum is what leaves the integers: parts of several units that are joined, sums that the next product goes on from and
//! sums that are merged count as the one that they end in, wherever the difference arose. Differences that cancel again (a
//! wrap that is undone) are none. Exact values are kept only of tensors in which some sum differs, and no product
//! whose operands cannot leave the accumulator looks for any.

use std::collections::{BTreeMap, BTreeSet};

use crate::execute::values::Values;
use crate::program::Program;
use crate::program::channels::SumFactor;
use crate::program::op::{Gemm, OpId, OpKind};
use crate::program::tensor::TensorId;
use crate::schedule::Schedule;
use crate::schedule::accumulation::Accumulator;

/// The exact sums of each tensor in which one is stored differently.
#[derive(Default)]
pub(super) struct ExactSums {
    tensors: BTreeMap<TensorId, Vec<i64>>,
}

impl ExactSums {
    /// The exact sums of a tensor, row-major; `None` where they are the stored ones.
    pub(super) fn of(&self, id: TensorId) -> Option<&[i64]> {
        self.tensors.get(&id).map(Vec::as_slice)
    }

    /// Notes the exact values of `stored` from position `first`; `all` gives every sum stored so far.
    pub(super) fn note(
        &mut self,
        id: TensorId,
        first: usize,
        stored: &[i64],
        exact: &[i64],
        all: impl FnOnce() -> Vec<i64>,
    ) {
        if stored != exact || self.tensors.contains_key(&id) {
            self.tensors.entry(id).or_insert_with(all)[first..first + exact.len()].copy_from_slice(exact);
        }
    }
}

/// The largest magnitude that a tensor of sums can reach, if none of them can differ from the exact one, whatever the codes.
pub(super) fn bound(program: &Program, schedule: &Schedule, sums: TensorId) -> Option<i64> {
    let op = program.ops.iter().position(|op| op.kind.writes().contains(&sums)).map(OpId)?;
    let (bound, largest) = match &program.op(op).kind {
        OpKind::Gemm(gemm) => {
            let Accumulator::Integer(accumulator) = schedule.accumulation_plan(op)?.accumulator else { return None };
            let products = i64::try_from(gemm.shape.k).ok()?.checked_mul(LARGEST_PRODUCT)?;
            (products.checked_add(bound_of_start(program, schedule, gemm)?)?, accumulator.largest())
        }
        OpKind::Merge(merge) => {
            let base = merge.base.map_or(Some(0), |base| bound(program, schedule, base))?;
            (merge.factor.of_exact(bound(program, schedule, merge.addend)?).checked_add(base)?, i64::from(i32::MAX))
        }
        _ => return None,
    };
    (bound <= largest).then_some(bound)
}

/// The largest magnitude of the sums that a product starts from; `None` where they may differ from the exact ones.
pub(super) fn bound_of_start(program: &Program, schedule: &Schedule, gemm: &Gemm) -> Option<i64> {
    match gemm.initial {
        None => Some(0),
        Some(initial) => Some(initial.factor.of_exact(bound(program, schedule, initial.sums)?)),
    }
}

/// Of two INT8 codes.
const LARGEST_PRODUCT: i64 = 128 * 128;

impl SumFactor {
    /// `factor * sum`, exactly; what is beyond 64 bits stays at their end, far from any sum that an accumulator holds.
    pub(super) const fn of_exact(self, sum: i64) -> i64 {
        match self {
            SumFactor::One => sum,
            SumFactor::Shift(exponent) => sum.saturating_mul(1 << exponent),
            SumFactor::ShiftSubtract(exponent) => sum.saturating_mul((1 << exponent) - 1),
        }
    }
}

/// Sums that came out different from the exact ones, by the operation that they end in.
pub(super) fn overflowed(program: &Program, values: &Values) -> Vec<u64> {
    let goes_on = |kind: &OpKind| match kind {
        OpKind::Gemm(gemm) => gemm.initial.map(|initial| initial.sums).into_iter().collect(),
        OpKind::Merge(_) => kind.walked_inputs(),
        _ => Vec::new(),
    };
    let passed_on: BTreeSet<TensorId> = program.ops.iter().flat_map(|op| goes_on(&op.kind)).collect();
    let of_tensor = |id: TensorId| if passed_on.contains(&id) { 0 } else { values.sums_that_differ(id) };
    program.ops.iter().map(|op| op.kind.writes().into_iter().map(of_tensor).sum()).collect()
}
