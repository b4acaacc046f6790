//! Input-stationary systolic array: activations stay, weights stream from the left, partial sums flow down.
//!
//! The weight-stationary array with the operands exchanged, for `Y^T = W^T X^T`: one fold holds
//! `rows * macs_per_element` (K) x `columns` (M) activations and streams the `n` columns of W.

use crate::dataflow::weight_stationary::{issue_held, steady_held};
use crate::dataflow::{
    ArrayState, Dataflow, Granularity, Mapped, OperandElements, Passes, Step, TilePhases, TileWork, systolic,
};
use crate::hardware::array::Array;
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct InputStationary;

fn mapped(tile: &TileWork) -> Mapped {
    Mapped { rows: tile.lane_steps(), columns: tile.m, steps: tile.n }
}

impl Dataflow for InputStationary {
    fn name(&self) -> &'static str {
        "input_stationary"
    }

    fn description(&self) -> &'static str {
        "activations stay in the array, weights stream through, partial sums leave at the bottom"
    }

    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        issue_held(systolic(array), &mapped(tile), &tile.paces, ready, state)
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        steady_held(systolic(array), &mapped(tile), &tile.paces)
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = systolic(array);
        Granularity { m: array.columns, k: array.rows * macs_per_element_per_cycle, n: 1 }
    }

    fn step(&self, array: &Array, tile: &TileWork) -> Step {
        let held = self.granularity(array, tile.macs_per_element_per_cycle);
        let columns = tile.m.min(held.m);
        Step {
            streamed: OperandElements { activations: 0, weights: tile.k.min(held.k) },
            loaded: OperandElements { activations: columns * tile.macs_per_element_per_cycle, weights: 0 },
            sums: columns,
        }
    }

    fn passes(&self, array: &Array, tile: &TileWork) -> Passes {
        let (array, mapped) = (systolic(array), mapped(tile));
        Passes { activation_reads: 1, weight_reads: mapped.column_folds(array), sum_writes: mapped.row_folds(array) }
    }

    fn folds(&self, array: &Array, tile: &TileWork) -> u64 {
        mapped(tile).folds(systolic(array))
    }

    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64 {
        mapped(tile).issued_macs(systolic(array), tile.macs_per_element_per_cycle)
    }
}
