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

use crate::dataflow::folds::{Cut, Folds, Parts, held_sums};
use crate::dataflow::ports::bytes;
use crate::dataflow::{
    ArrayState, Dataflow, Granularity, Mapped, Operand, Passes, TilePhases, TileWork, serial, systolic,
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
        let folds = folds(array, tile);
        if let Some(serial) = &array.serial_folds {
            return serial::issue(array, serial, &mapped, &folds, ready, state);
        }
        // From the cycle after the last step on: the way to the bottom of the last used column, then the results.
        let tail = |columns: u64, drain: u64| array.rows - 1 + columns - 1 + drain;
        let (distance, drain) = (distance(array), folds.last().drain);
        let streams = held_sums(&folds, &distance, ready, state);
        if !array.double_buffered {
            // Without result registers the whole array drains before anything else enters.
            state.stream_free = streams.end + Cycles(tail(array.columns, drain));
        }
        // Where the last column fold is narrow, the full one before it may still be draining.
        let narrow = (streams.end + Cycles(tail(mapped.last_columns(array), drain))).get();
        let full = folds.before_last_column().map_or(0, |before| {
            (streams.end + Cycles(tail(array.columns, before.drain))).get() - folds.distance_of_last_column(&distance)
        });
        TilePhases {
            start: streams.start,
            next_issue: state.stream_free,
            operands_released: streams.end,
            complete: Cycles(narrow.max(full)),
            sequenced: None,
        }
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        let (array, folds) = (systolic(array), folds(systolic(array), tile));
        match &array.serial_folds {
            Some(serial) => serial::cycles(array, serial, &mapped(tile), &folds),
            None => folds.period(distance(array)),
        }
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = systolic(array);
        Granularity { m: array.rows, k: macs_per_element_per_cycle, n: array.columns }
    }

    fn held(&self, _: &Array) -> Option<Operand> {
        None
    }

    fn fold_cycles(&self, array: &Array, tile: &TileWork) -> Folds {
        folds(systolic(array), tile)
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

/// Nothing is loaded. A row of the array leaves in one step, those beyond the tile without any sums.
fn folds(array: &SystolicArray, tile: &TileWork) -> Folds {
    let (ports, lanes) = (&tile.ports, tile.macs_per_element_per_cycle);
    let rows = Cut { extent: tile.m, at_once: array.rows };
    let columns = Cut { extent: tile.n, at_once: array.columns };
    Folds::of(rows.pieces(), columns, |rows, columns| {
        let step = |lanes: u64| bytes(ports.activation_bits, rows * lanes) + bytes(ports.weight_bits, lanes * columns);
        let streamed = tile.k / lanes * step(lanes) + step(tile.k % lanes);
        let drained = rows * bytes(ports.sum_bits, columns);
        Parts { load: 0, stream: ports.operands(tile.lane_steps(), streamed), drain: ports.sums(array.rows, drained) }
    })
}

/// Cycles from the end of one fold's stream to the end of the next one's.
fn distance(array: &SystolicArray) -> impl Fn(Parts, Parts) -> u64 {
    let (is_double_buffered, skew) = (array.double_buffered, array.rows + array.columns - 2);
    move |before, after| match is_double_buffered {
        true => after.stream.max(before.drain),
        false => skew + before.drain + after.stream,
    }
}
