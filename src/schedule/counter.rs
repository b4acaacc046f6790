//! Counters: the only way in which one queue waits for another.
//!
//! A counter only grows. A command waits for `counter >= threshold`; nobody keeps lists of edges, so a schedule's size
//! does not depend on the number of its tiles.

use arrayvec::ArrayVec;

use crate::hardware::memory::MemoryId;
use crate::program::tensor::TensorId;

/// Index of a nest in [`Schedule::nests`](crate::schedule::Schedule::nests), which are in program order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NestId(pub usize);

/// Index of a counter in [`Schedule::counters`](crate::schedule::Schedule::counters).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterId(pub u32);

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Tiles of an operand of a nest that have arrived on the chip.
    Loaded {
        /// The nest.
        nest: NestId,
        /// Position in its loads.
        load: usize,
    },
    /// Output tiles of a nest whose partial sums are final.
    TilesComputed(NestId),
    /// Tiles of a nest's partial sums that are not final and may leave the accumulators.
    SumsComputed(NestId),
    /// Tiles of partial sums that have left the accumulators.
    SumsSpilled(NestId),
    /// Tiles of partial sums that have come back.
    SumsFilled(NestId),
    /// Output tiles of a nest that its vector chain has written.
    TilesFinished(NestId),
    /// Leading rows of a tensor that hold their final values where consumers read them.
    Rows(TensorId),
    /// Bytes that the readers of a partition have returned.
    Credit(PartitionId),
    /// 1 once the last command of a nest's compute unit is done: tensors that it read may be overwritten.
    NestDone(NestId),
}

/// A part of an on-chip memory with a credit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The memory.
    pub memory: MemoryId,
    /// Which part.
    pub role: PartitionRole,
    /// Whose share of it: position of the lane, of the team for accumulators, of the producer for a ring.
    pub holder: usize,
}

/// What a partition is for. Each share of it is filled by exactly one queue, which is what makes its credit free of deadlock: a
/// later nest can never hold bytes that an earlier one still needs to fill through another queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionRole {
    /// Activation tiles; filled by the DMA's activation queue.
    Activations,
    /// Weight tiles, scales and biases; filled by the DMA's weight queue.
    Weights,
    /// Results on their way out; filled by the vector unit.
    Outputs,
    /// A ring of row blocks between two nests; filled by the vector unit.
    Ring,
    /// Partial sums; filled by the matrix unit, and by the DMA's activation queue with those that come back, in the order
    /// of the steps that need them.
    Accumulators,
}

/// A condition of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The counter.
    pub counter: CounterId,
    /// The command may start once the counter is at least this.
    pub at_least: u64,
}

/// What a command adds to a counter, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The counter.
    pub counter: CounterId,
    /// How much is added.
    pub amount: u64,
    /// When.
    pub moment: Moment,
}

/// A moment in the life of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Its operands have been read for the last time.
    Released,
    /// Its first results are on their way: whoever waits for this may begin, and ends no earlier than the command itself.
    Begun,
    /// Its results are there.
    Completed,
}

/// Most conditions that one command can have.
pub const MAX_WAITS: usize = 16;
/// Most counters that one command can add to.
pub const MAX_SIGNALS: usize = 20;

/// Conditions of a command, all of which must hold.
pub type Waits = ArrayVec<Wait, MAX_WAITS>;
/// Additions of a command.
pub type Signals = ArrayVec<Signal, MAX_SIGNALS>;
