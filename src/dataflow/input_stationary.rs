//! Input-stationary systolic array: activations stay, weights stream from the left, partial sums flow down.
//!
//! The weight-stationary array with the operands exchanged, for `Y^T = W^T X^T`: one fold holds
//! `rows * macs_per_element` (K) x `columns` (M) activations and streams the `n` columns of W.

use crate::dataflow::folds::Folds;
use crate::dataflow::ports::Ports;
use crate::dataflow::weight_stationary::Held;
use crate::dataflow::{ArrayState, Dataflow, Granularity, Operand, Passes, TilePhases, TileWork, systolic};
use crate::hardware::array::Array;
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct InputStationary;

fn held(tile: &TileWork) -> Held {
    let Ports { activation_bits, weight_bits, .. } = tile.ports;
    Held {
        depth: tile.k,
        columns: tile.m,
        steps: tile.n,
        lanes: tile.macs_per_element_per_cycle,
        streamed_bits: weight_bits,
        held_bits: activation_bits,
    }
}

impl Dataflow for InputStationary {
    fn name(&self) -> &'static str {
        "input_stationary"
    }

    fn description(&self) -> &'static str {
        "activations stay in the array, weights stream through, partial sums leave at the bottom"
    }

    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        held(tile).issue(systolic(array), &tile.ports, ready, state)
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        held(tile).steady_cycles(systolic(array), &tile.ports)
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = systolic(array);
        Granularity { m: array.columns, k: array.rows * macs_per_element_per_cycle, n: 1 }
    }

    fn held(&self, _: &Array) -> Option<Operand> {
        Some(Operand::Activations)
    }

    fn fold_cycles(&self, array: &Array, tile: &TileWork) -> Folds {
        held(tile).folds(systolic(array), &tile.ports)
    }

    fn passes(&self, array: &Array, tile: &TileWork) -> Passes {
        let (array, mapped) = (systolic(array), held(tile).mapped());
        Passes { activation_reads: 1, weight_reads: mapped.column_folds(array), sum_writes: mapped.row_folds(array) }
    }

    fn folds(&self, array: &Array, tile: &TileWork) -> u64 {
        held(tile).mapped().folds(systolic(array))
    }

    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64 {
        held(tile).mapped().issued_macs(systolic(array), tile.macs_per_element_per_cycle)
    }
}
