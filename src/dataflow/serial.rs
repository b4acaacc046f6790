//! Systolic folds that overlap with nothing, as the sum of their stated parts.

use crate::dataflow::{ArrayState, Mapped, TilePhases};
use crate::hardware::array::{Drain, Fill, SerialFolds, StationaryLoad, SystolicArray};
use crate::units::Cycles;

/// Cycles of the parts that the memory ports pace.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// Loading the stationary operand.
    pub(super) load: u64,
    /// The steps of the stream.
    pub(super) stream: u64,
    /// Results leaving row by row.
    pub(super) drain: u64,
}

/// All folds of a tile, one after the other.
pub(super) fn issue(
    array: &SystolicArray,
    folds: &SerialFolds,
    mapped: &Mapped,
    parts: Parts,
    ready: Cycles,
    state: &mut ArrayState,
) -> TilePhases {
    let start = ready.max(state.stream_free);
    let complete = start + Cycles(cycles(array, folds, mapped, parts));
    let last = Mapped {
        rows: (mapped.rows - 1) % array.rows + 1,
        columns: (mapped.columns - 1) % array.columns + 1,
        steps: mapped.steps,
    };
    let [load, stream, ..] = shares(folds, parts);
    let last_fold = cycles(array, folds, &last, parts);
    let released = Cycles(complete.get() - last_fold + load + stream);
    *state = ArrayState { load_free: complete, stream_free: complete, results_free: complete };
    TilePhases { start, next_issue: complete, operands_released: released, complete }
}

/// Cycles of all folds of a tile.
pub(super) fn cycles(array: &SystolicArray, folds: &SerialFolds, mapped: &Mapped, parts: Parts) -> u64 {
    let (row_folds, column_folds) = (mapped.row_folds(array), mapped.column_folds(array));
    let count = row_folds * column_folds;
    let fixed: u64 = shares(folds, parts).into_iter().sum::<u64>() + folds.overhead.get();
    let fill = match folds.fill {
        Fill::FullArray => count * (array.rows + array.columns - 2),
        // Each row fold meets each column fold, so the used rows are passed once per column fold, and conversely.
        Fill::Used => column_folds * mapped.rows + row_folds * mapped.columns - 2 * count,
        Fill::None => 0,
    };
    let corners = longer_than_one(mapped.rows, array.rows) * longer_than_one(mapped.columns, array.columns);
    count * fixed + fill + corners * folds.corner.get()
}

/// Load, stream and drain as far as the folds have them.
fn shares(folds: &SerialFolds, parts: Parts) -> [u64; 3] {
    let load = match folds.load {
        StationaryLoad::Rows => parts.load,
        StationaryLoad::Hidden => 0,
    };
    let drain = match folds.drain {
        Drain::Rows => parts.drain,
        Drain::Overlapped => 0,
    };
    [load, parts.stream, drain]
}

/// Pieces of more than one element when `extent` is cut into pieces of `length`.
const fn longer_than_one(extent: u64, length: u64) -> u64 {
    if length == 1 { 0 } else { extent.div_ceil(length) - (extent % length == 1) as u64 }
}
