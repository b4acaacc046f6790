//! Folds that overlap as far as registers allow: the two patterns from which the dataflows are made.
//!
//! Either an operand stays and the next one loads behind the stream ([`held_operands`]), or sums stay and leave behind
//! the next fold's stream ([`held_sums`]).

use crate::dataflow::ArrayState;
use crate::units::Cycles;

/// When the streams of a tile's folds run.
pub(super) struct Streams {
    /// The first action: loading, or the first step.
    pub(super) start: Cycles,
    /// The first step of the last fold.
    pub(super) last_stream: Cycles,
    /// One past the last step.
    pub(super) end: Cycles,
}

/// `folds` folds that each load for `load` and stream for `stream` cycles, one every `period` cycles.
///
/// The first load waits for the registers that hold the operand, its stream for the stream before it.
pub(super) fn held_operands(
    (load, stream, period): (u64, u64, u64),
    folds: u64,
    ready: Cycles,
    state: &ArrayState,
) -> Streams {
    let start = ready.max(state.load_free);
    let first_stream = (start + Cycles(load)).max(state.stream_free);
    let last_stream = first_stream + Cycles((folds - 1) * period);
    Streams { start, last_stream, end: last_stream + Cycles(stream) }
}

/// `folds` folds that each stream for `stream` cycles, one every `period` cycles, and whose results leave in the `drain`
/// cycles from the last step on.
///
/// The result registers take the results of the next fold when those before have moved out, `drain` cycles later. Only
/// the last step waits for that; the steps before it are not held back.
pub(super) fn held_sums(
    (stream, drain, period): (u64, u64, u64),
    folds: u64,
    ready: Cycles,
    state: &mut ArrayState,
) -> Streams {
    let start = ready.max(state.stream_free);
    let first_end = (start + Cycles(stream)).max(state.results_free + Cycles(1));
    let end = first_end + Cycles((folds - 1) * period);
    state.stream_free = end;
    state.results_free = Cycles(end.get() - 1 + drain);
    Streams { start, last_stream: Cycles(end.get() - stream), end }
}
