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
//!
//! A load takes its `rows` cycles whatever part of the fold is used; the port gives only the weights that there are.

use crate::dataflow::folds::{Cut, Folds, Parts, held_operands};
use crate::dataflow::ports::{Ports, bytes};
use crate::dataflow::{
    ArrayState, Dataflow, Granularity, Mapped, Operand, Passes, TilePhases, TileWork, serial, systolic,
};
use crate::hardware::array::{Array, SystolicArray};
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct WeightStationary;

fn held(tile: &TileWork) -> Held {
    let Ports { activation_bits, weight_bits, .. } = tile.ports;
    Held {
        depth: tile.k,
        columns: tile.n,
        steps: tile.m,
        lanes: tile.macs_per_element_per_cycle,
        streamed_bits: activation_bits,
        held_bits: weight_bits,
    }
}

impl Dataflow for WeightStationary {
    fn name(&self) -> &'static str {
        "weight_stationary"
    }

    fn description(&self) -> &'static str {
        "weights stay in the array, activations stream through, partial sums leave at the bottom"
    }

    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        held(tile).issue(systolic(array), &tile.ports, ready, state)
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        held(tile).steady_cycles(systolic(array), &tile.ports)
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = systolic(array);
        Granularity { m: 1, k: array.rows * macs_per_element_per_cycle, n: array.columns }
    }

    fn held(&self, _: &Array) -> Option<Operand> {
        Some(Operand::Weights)
    }

    fn fold_cycles(&self, array: &Array, tile: &TileWork) -> Folds {
        held(tile).folds(systolic(array), &tile.ports)
    }

    fn passes(&self, array: &Array, tile: &TileWork) -> Passes {
        let (array, mapped) = (systolic(array), held(tile).mapped());
        Passes { activation_reads: mapped.column_folds(array), weight_reads: 1, sum_writes: mapped.row_folds(array) }
    }

    fn folds(&self, array: &Array, tile: &TileWork) -> u64 {
        held(tile).mapped().folds(systolic(array))
    }

    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64 {
        held(tile).mapped().issued_macs(systolic(array), tile.macs_per_element_per_cycle)
    }
}

/// A tile whose one operand stays, K along the rows of the array.
pub(super) struct Held {
    /// K.
    pub(super) depth: u64,
    /// What lies along the columns: N of held weights, M of held activations.
    pub(super) columns: u64,
    /// Steps of the stream, along the third axis.
    pub(super) steps: u64,
    /// Elements of K that one processing element takes at once.
    pub(super) lanes: u64,
    /// Bits of an element that streams.
    pub(super) streamed_bits: u64,
    /// Bits of an element that stays.
    pub(super) held_bits: u64,
}

impl Held {
    pub(super) const fn mapped(&self) -> Mapped {
        Mapped { rows: self.depth.div_ceil(self.lanes), columns: self.columns, steps: self.steps }
    }

    pub(super) fn folds(&self, array: &SystolicArray, ports: &Ports) -> Folds {
        let rows = Cut { extent: self.depth, at_once: array.rows * self.lanes };
        let columns = Cut { extent: self.columns, at_once: array.columns };
        Folds::of(rows.pieces(), columns, |depth, columns| {
            let streamed = self.steps * bytes(self.streamed_bits, depth);
            let rows_of = |lanes: u64| bytes(self.held_bits, columns * lanes);
            let loaded = depth / self.lanes * rows_of(self.lanes) + rows_of(depth % self.lanes);
            // Results leave with the skew of the stream, one step of results for each streamed step; there is no drain.
            let sums = self.steps * bytes(ports.sum_bits, columns);
            let stream = ports.operands(self.steps, streamed).max(ports.sums(self.steps, sums));
            Parts { load: ports.operands(array.rows, loaded), stream, drain: 0 }
        })
    }

    pub(super) fn issue(
        &self,
        array: &SystolicArray,
        ports: &Ports,
        ready: Cycles,
        state: &mut ArrayState,
    ) -> TilePhases {
        let (mapped, folds) = (self.mapped(), self.folds(array, ports));
        if let Some(serial) = &array.serial_folds {
            return serial::issue(array, serial, &mapped, &folds, ready, state);
        }
        let (distance, skew) = (distance(array), array.rows + array.columns - 2);
        let streams = held_operands(&folds, &distance, ready, state);
        // Only used columns carry results. Where the last column fold is narrow, the full one before it may still be
        // draining.
        let narrow = (streams.end + Cycles(array.rows + mapped.last_columns(array))).get() - 2;
        let full = folds.before_last_column().map_or(0, |before| {
            (streams.last_stream + Cycles(before.stream + skew)).get() - folds.distance_of_last_column(&distance)
        });
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

    pub(super) fn steady_cycles(&self, array: &SystolicArray, ports: &Ports) -> u64 {
        let folds = self.folds(array, ports);
        match &array.serial_folds {
            Some(serial) => serial::cycles(array, serial, &self.mapped(), &folds),
            None => folds.period(distance(array)),
        }
    }
}

/// Cycles from the start of one fold's stream to the start of the next one's.
fn distance(array: &SystolicArray) -> impl Fn(Parts, Parts) -> u64 {
    let (is_double_buffered, skew) = (array.double_buffered, array.rows + array.columns - 2);
    move |before, after| match is_double_buffered {
        true => before.stream.max(after.load),
        false => before.stream + skew + after.load,
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
