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

use crate::dataflow::{ArrayState, Dataflow, TilePhases, TileWork};
use crate::hardware::matrix_unit::SystolicArray;
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct WeightStationary;

impl Dataflow for WeightStationary {
    fn name(&self) -> &'static str {
        "weight_stationary"
    }

    fn description(&self) -> &'static str {
        "weights stay in the array, activations stream through, partial sums leave at the bottom"
    }

    fn issue(&self, array: &SystolicArray, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        let depth_folds = tile.k.div_ceil(array.rows * tile.macs_per_element_per_cycle);
        let column_folds = tile.n.div_ceil(array.columns);
        let load = array.rows * tile.load_interval;
        let stream = tile.m * tile.row_interval;
        let skew = array.rows + array.columns - 2;
        let period = if array.double_buffered { stream.max(load) } else { load + stream + skew };

        let start = ready.max(state.load_free);
        let first_stream = (start + Cycles(load)).max(state.stream_free);
        let last_stream = first_stream + Cycles((depth_folds * column_folds - 1) * period);
        let stream_end = last_stream + Cycles(stream);
        // Only used columns carry results. Where the last column fold is narrow, the full one before it, which ended
        // `depth_folds` periods earlier, may still be draining.
        let used_columns = (tile.n - 1) % array.columns + 1;
        let narrow = (stream_end + Cycles(array.rows + used_columns)).get() - 2;
        let full = if column_folds > 1 { (stream_end + Cycles(skew)).get() - depth_folds * period } else { 0 };
        let complete = Cycles(narrow.max(full));
        *state = if array.double_buffered {
            ArrayState { load_free: last_stream, stream_free: stream_end }
        } else {
            // Without a second register set the whole array drains before anything else enters.
            ArrayState { load_free: stream_end + Cycles(skew), stream_free: stream_end + Cycles(skew) }
        };
        TilePhases { start, next_issue: state.load_free, operands_released: stream_end, complete }
    }

    fn steady_period(&self, array: &SystolicArray, m: u64) -> u64 {
        if array.double_buffered { m.max(array.rows) } else { serial_fold(array, m) }
    }

    fn folds(&self, array: &SystolicArray, tile: &TileWork) -> u64 {
        tile.k.div_ceil(array.rows * tile.macs_per_element_per_cycle) * tile.n.div_ceil(array.columns)
    }

    fn issued_macs(&self, array: &SystolicArray, tile: &TileWork) -> u64 {
        self.folds(array, tile) * tile.m * array.processing_elements() * tile.macs_per_element_per_cycle
    }
}

/// Cycles of a fold of `m` rows that overlaps with nothing.
fn serial_fold(array: &SystolicArray, m: u64) -> u64 {
    2 * array.rows + m + array.columns - 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRAY: SystolicArray =
        SystolicArray { rows: 8, columns: 8, dataflow: "weight_stationary", double_buffered: true };

    fn tile(m: u64, k: u64, n: u64) -> TileWork {
        TileWork { m, k, n, macs_per_element_per_cycle: 1, row_interval: 1, load_interval: 1 }
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
