//! Weight-stationary systolic array: weights stay, activations stream from the left, partial sums flow down.
//!
//! One fold holds `rows * macs_per_element` (K) x `columns` (N) weights. Loading takes `rows` cycles: the registers form
//! one shift chain per column, whatever part of the fold is used. Activations enter skewed by one cycle a row, results
//! leave skewed by one cycle a column. A fold of `m` rows, alone, therefore takes
//! `rows + m + (rows - 1) + (columns - 1) = 2 rows + columns + m - 2` cycles (Samajdar et al., SCALE-Sim, 2018, eq. 1).
//!
//! With a second register set the next fold loads while this one streams. The shift chain of a column is free from the
//! moment the fold's first row passes it, and the next fold follows with the same skew, so the skew is paid once and the
//! steady period of a fold is `max(m, rows)`.

use crate::dataflow::overlap::held_operands;
use crate::dataflow::pace::Paces;
use crate::dataflow::{
    ArrayState, Dataflow, Granularity, Mapped, OperandElements, Passes, Step, TilePhases, TileWork, serial, systolic,
};
use crate::hardware::array::{Array, SystolicArray};
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct WeightStationary;

fn mapped(tile: &TileWork) -> Mapped {
    Mapped { rows: tile.lane_steps(), columns: tile.n, steps: tile.m }
}

impl Dataflow for WeightStationary {
    fn name(&self) -> &'static str {
        "weight_stationary"
    }

    fn description(&self) -> &'static str {
        "weights stay in the array, activations stream through, partial sums leave at the bottom"
    }

    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        issue_held(systolic(array), &mapped(tile), &tile.paces, ready, state)
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        steady_held(systolic(array), &mapped(tile), &tile.paces)
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = systolic(array);
        Granularity { m: 1, k: array.rows * macs_per_element_per_cycle, n: array.columns }
    }

    fn step(&self, array: &Array, tile: &TileWork) -> Step {
        let held = self.granularity(array, tile.macs_per_element_per_cycle);
        let columns = tile.n.min(held.n);
        Step {
            streamed: OperandElements { activations: tile.k.min(held.k), weights: 0 },
            loaded: OperandElements { activations: 0, weights: columns * tile.macs_per_element_per_cycle },
            sums: columns,
        }
    }

    fn passes(&self, array: &Array, tile: &TileWork) -> Passes {
        let (array, mapped) = (systolic(array), mapped(tile));
        Passes { activation_reads: mapped.column_folds(array), weight_reads: 1, sum_writes: mapped.row_folds(array) }
    }

    fn folds(&self, array: &Array, tile: &TileWork) -> u64 {
        mapped(tile).folds(systolic(array))
    }

    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64 {
        mapped(tile).issued_macs(systolic(array), tile.macs_per_element_per_cycle)
    }
}

/// A tile whose stationary operand lies on `mapped`, K along the rows.
pub(super) fn issue_held(
    array: &SystolicArray,
    mapped: &Mapped,
    paces: &Paces,
    ready: Cycles,
    state: &mut ArrayState,
) -> TilePhases {
    let (parts, skew) = (parts(array, mapped, paces), array.rows + array.columns - 2);
    if let Some(folds) = &array.serial_folds {
        return serial::issue(array, folds, mapped, parts, ready, state);
    }
    let serial::Parts { load, stream, .. } = parts;
    let period = period(array, parts);
    let streams = held_operands((load, stream, period), mapped.folds(array), ready, state);
    // Only used columns carry results. Where the last column fold is narrow, the full one before it, which ended
    // `row_folds` periods earlier, may still be draining.
    let narrow = (streams.end + Cycles(array.rows + mapped.last_columns(array))).get() - 2;
    let full = if mapped.column_folds(array) > 1 {
        (streams.end + Cycles(skew)).get() - mapped.row_folds(array) * period
    } else {
        0
    };
    (state.load_free, state.stream_free) = if array.double_buffered {
        (streams.last_stream, streams.end)
    } else {
        // Without a second register set the whole array drains before anything else enters.
        (streams.end + Cycles(skew), streams.end + Cycles(skew))
    };
    TilePhases {
        start: streams.start,
        next_issue: state.load_free,
        operands_released: streams.end,
        complete: Cycles(narrow.max(full)),
        sequenced: None,
    }
}

/// [`Dataflow::steady_cycles`] of such a tile.
pub(super) fn steady_held(array: &SystolicArray, mapped: &Mapped, paces: &Paces) -> u64 {
    let parts = parts(array, mapped, paces);
    match &array.serial_folds {
        Some(folds) => serial::cycles(array, folds, mapped, parts),
        None => mapped.folds(array) * period(array, parts),
    }
}

/// Results leave with the skew of the stream, one step of results for each streamed step; there is no drain.
fn parts(array: &SystolicArray, mapped: &Mapped, paces: &Paces) -> serial::Parts {
    let stream = paces.stream.cycles(mapped.steps).max(paces.sums(mapped.steps));
    serial::Parts { load: paces.load.cycles(array.rows), stream, drain: 0 }
}

fn period(array: &SystolicArray, parts: serial::Parts) -> u64 {
    if array.double_buffered {
        parts.stream.max(parts.load)
    } else {
        parts.load + parts.stream + array.rows + array.columns - 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRAY: Array = Array::Systolic(SystolicArray {
        rows: 8,
        columns: 8,
        dataflow: "weight_stationary",
        double_buffered: true,
        serial_folds: None,
    });

    fn tile(m: u64, k: u64, n: u64) -> TileWork {
        TileWork::unhindered(m, k, n, 1)
    }

    #[test]
    fn one_fold_alone_takes_the_published_closed_form() {
        let mut state = ArrayState::default();
        let phases = WeightStationary.issue(&ARRAY, &tile(20, 8, 8), Cycles(0), &mut state);
        // 2 * 8 + 8 + 20 - 2
        assert_eq!(phases.complete, Cycles(42));
    }

    #[test]
    fn folds_of_few_rows_are_paced_by_weight_loading() {
        let mut state = ArrayState::default();
        // Four k folds of 3 rows: each period is the 8 cycles of a load. 8 + 3 * 8 + 3 + 14.
        let phases = WeightStationary.issue(&ARRAY, &tile(3, 32, 8), Cycles(0), &mut state);
        assert_eq!(phases.complete, Cycles(49));
    }

    #[test]
    fn a_tile_that_follows_at_once_pays_neither_fill_nor_load() {
        let mut state = ArrayState::default();
        let first = WeightStationary.issue(&ARRAY, &tile(20, 8, 8), Cycles(0), &mut state);
        let second = WeightStationary.issue(&ARRAY, &tile(20, 8, 8), first.next_issue, &mut state);
        assert_eq!(second.complete - first.complete, Cycles(20));
    }
}
