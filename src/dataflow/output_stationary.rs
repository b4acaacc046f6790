//! Output-stationary systolic array: each element sums one output, activations stream from the left, weights from the
//! top, and finished sums leave down the columns.
//!
//! A fold is `rows` (M) x `columns` (N) outputs and streams K, `macs_per_element` channels a step. Its last step enters
//! the corner in some cycle `e` and the bottom row of column `c` in `e + rows - 1 + c`; in the `rows` cycles after that
//! the column's results leave, the top row's last. A fold of `k` steps, alone, therefore takes `2 rows + columns + k - 2`
//! cycles (Samajdar et al., SCALE-Sim, 2018, eq. 1).
//!
//! With result registers of their own (double buffering) the next fold's steps follow at once. Only its last step may
//! have to wait until the result before it has moved, `rows` cycles after the last step before: the steady period of a
//! fold is `max(k, rows)`.

use crate::dataflow::overlap::held_sums;
use crate::dataflow::{
    ArrayState, Dataflow, Granularity, Mapped, OperandElements, Passes, Step, TilePhases, TileWork, serial, systolic,
};
use crate::hardware::array::{Array, SystolicArray};
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct OutputStationary;

fn mapped(tile: &TileWork) -> Mapped {
    Mapped { rows: tile.m, columns: tile.n, steps: tile.lane_steps() }
}

impl Dataflow for OutputStationary {
    fn name(&self) -> &'static str {
        "output_stationary"
    }

    fn description(&self) -> &'static str {
        "partial sums stay in the array, activations and weights stream through"
    }

    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        let (array, mapped) = (systolic(array), mapped(tile));
        let parts = parts(array, &mapped, tile);
        if let Some(folds) = &array.serial_folds {
            return serial::issue(array, folds, &mapped, parts, ready, state);
        }
        let serial::Parts { stream, drain, .. } = parts;
        // From the cycle after the last step on: the way to the bottom of the last used column, then the results.
        let tail = |columns: u64| array.rows - 1 + columns - 1 + drain;
        let period = period(array, parts);
        let streams = held_sums((stream, drain, period), mapped.folds(array), ready, state);
        if !array.double_buffered {
            // Without result registers the whole array drains before anything else enters.
            state.stream_free = streams.end + Cycles(tail(array.columns));
        }
        // Where the last column fold is narrow, the full one before it may still be draining.
        let narrow = (streams.end + Cycles(tail(mapped.last_columns(array)))).get();
        let full = if mapped.column_folds(array) > 1 {
            (streams.end + Cycles(tail(array.columns))).get() - mapped.row_folds(array) * period
        } else {
            0
        };
        TilePhases {
            start: streams.start,
            next_issue: state.stream_free,
            operands_released: streams.end,
            complete: Cycles(narrow.max(full)),
            sequenced: None,
        }
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        let (array, mapped) = (systolic(array), mapped(tile));
        let parts = parts(array, &mapped, tile);
        match &array.serial_folds {
            Some(folds) => serial::cycles(array, folds, &mapped, parts),
            None => mapped.folds(array) * period(array, parts),
        }
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = systolic(array);
        Granularity { m: array.rows, k: macs_per_element_per_cycle, n: array.columns }
    }

    fn step(&self, array: &Array, tile: &TileWork) -> Step {
        let array = systolic(array);
        let lanes = tile.macs_per_element_per_cycle.min(tile.k);
        let (rows, columns) = (tile.m.min(array.rows), tile.n.min(array.columns));
        Step {
            streamed: OperandElements { activations: rows * lanes, weights: columns * lanes },
            loaded: OperandElements::default(),
            sums: columns,
        }
    }

    fn passes(&self, array: &Array, tile: &TileWork) -> Passes {
        let (array, mapped) = (systolic(array), mapped(tile));
        Passes { activation_reads: mapped.column_folds(array), weight_reads: mapped.row_folds(array), sum_writes: 1 }
    }

    fn folds(&self, array: &Array, tile: &TileWork) -> u64 {
        mapped(tile).folds(systolic(array))
    }

    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64 {
        mapped(tile).issued_macs(systolic(array), tile.macs_per_element_per_cycle)
    }
}

/// Nothing is loaded; a row of the array leaves in one step.
fn parts(array: &SystolicArray, mapped: &Mapped, tile: &TileWork) -> serial::Parts {
    let stream = tile.paces.stream.cycles(mapped.steps);
    serial::Parts { load: 0, stream, drain: tile.paces.sums(array.rows) }
}

fn period(array: &SystolicArray, parts: serial::Parts) -> u64 {
    if array.double_buffered {
        parts.stream.max(parts.drain)
    } else {
        parts.stream + array.rows + array.columns - 2 + parts.drain
    }
}
