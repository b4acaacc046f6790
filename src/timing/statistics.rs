//! What a timed run counts: per queue, per operation and in total. Integers only.

use crate::hardware::matrix_unit::MatrixUnitId;
use crate::schedule::commands::Queue;
use crate::units::{Bytes, Cycles};

/// Why a queue stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StallCause {
    /// The operand's transfer was held up by other transfers or by its own length.
    DramBandwidth,
    /// The operand's transfer was alone and its latency was not hidden.
    DramLatency,
    /// The operand's transfer, or that of partial sums, was on its way from an on-chip memory.
    SharedMemory,
    /// Space in a buffer had not been returned.
    Credit,
    /// Values had not been produced: earlier operations, or the last row of a scale's scope.
    Dependency,
    /// As many transfers as allowed were under way.
    Outstanding,
    /// The unit worked for another lane.
    UnitBusy,
    /// A command took longer than its unit needs, because the ports of a memory could not keep up.
    Port,
    /// Under a sequencer that starts products with whole activations: they were on their way, or the product before was
    /// still in the array, or the delay of a start passed.
    StartBarrier,
    /// Under a sequencer: weights could be asked for only after earlier ones had given their space back, and nothing else
    /// kept their queue busy.
    WeightCredit,
    /// Under a sequencer: final sums had no room on their way out.
    ResultPath,
}

impl StallCause {
    /// Every cause, in the order of reports.
    pub const ALL: [StallCause; 11] = [
        StallCause::DramBandwidth,
        StallCause::DramLatency,
        StallCause::SharedMemory,
        StallCause::Credit,
        StallCause::Dependency,
        StallCause::Outstanding,
        StallCause::UnitBusy,
        StallCause::Port,
        StallCause::StartBarrier,
        StallCause::WeightCredit,
        StallCause::ResultPath,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            StallCause::DramBandwidth => "dram_bandwidth",
            StallCause::DramLatency => "dram_latency",
            StallCause::SharedMemory => "shared_memory",
            StallCause::Credit => "credit",
            StallCause::Dependency => "dependency",
            StallCause::Outstanding => "outstanding",
            StallCause::UnitBusy => "unit_busy",
            StallCause::Port => "port",
            StallCause::StartBarrier => "start_barrier",
            StallCause::WeightCredit => "weight_credit",
            StallCause::ResultPath => "result_path",
        }
    }
}

/// Stalled cycles by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    cycles: [Cycles; StallCause::ALL.len()],
}

impl Stalls {
    /// Adds stalled cycles.
    pub fn add(&mut self, cause: StallCause, cycles: Cycles) {
        self.cycles[cause as usize] += cycles;
    }

    /// Takes stalled cycles back that lay beyond the end of the last command.
    pub(super) fn take_back(&mut self, cause: StallCause, cycles: Cycles) {
        self.cycles[cause as usize] = self.cycles[cause as usize] - cycles;
    }

    /// Stalled cycles of one cause.
    pub fn get(&self, cause: StallCause) -> Cycles {
        self.cycles[cause as usize]
    }

    /// Stalled cycles of all causes.
    pub fn total(&self) -> Cycles {
        self.cycles.iter().copied().sum()
    }
}

/// Bytes read from and written to one memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read from it.
    pub read: Bytes,
    /// Bytes written to it.
    pub written: Bytes,
}

/// A queue over the whole run. `busy + stalls + idle` is the makespan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatistics {
    /// The queue.
    pub queue: Queue,
    /// Commands that it issued.
    pub commands: u64,
    /// Cycles in which it worked: for DMA queues, with a transfer set up or under way; for compute queues, from the start
    /// of a command until its operands are read and the unit could accept the next one, and the drain of the last.
    pub busy: Cycles,
    /// Cycles in which a command was there and could not start, or waited while it ran: for a port, or where a sequencer
    /// held it up.
    pub stalls: Stalls,
    /// Cycles after its last command.
    pub idle: Cycles,
}

/// An operation over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpStatistics {
    /// When the first command for it left a queue, transfers included.
    pub begun: Option<Cycles>,
    /// Start of its first compute command.
    pub start: Option<Cycles>,
    /// End of its last command, stores included.
    pub end: Cycles,
    /// Cycles in which its compute unit worked for it.
    pub busy: Cycles,
    /// Cycles that its matrix tiles take back to back without any stall, ports included; zero for vector operations.
    pub compute: Cycles,
    /// Cycles in which its compute commands could not start, or waited while they ran.
    pub stalls: Stalls,
    /// Useful multiply-accumulates.
    pub macs: u64,
    /// Multiply-accumulates that the array was occupied with, padding included.
    pub issued_macs: u64,
    /// Useful multiply-accumulates by matrix unit, in the order of the accelerator's; empty where there are none.
    pub unit_macs: Vec<u64>,
    /// Additions that joined partial sums of several units; zero but for products split along k.
    pub joined_sums: u64,
    /// When a sequenced array stepped through it.
    pub array_steps: Option<ArraySteps>,
    /// Elements through the vector unit.
    pub vector_elements: u64,
    /// Those of them that a gather moves.
    pub gathered_elements: u64,
    /// Bytes of partial sums that left the accumulators before they were final.
    pub spilled: Bytes,
    /// Bytes of partial sums that came back into the accumulators.
    pub filled: Bytes,
    /// Bytes by memory, in the order of the accelerator's memories.
    pub traffic: Vec<Traffic>,
}

/// When an array whose order of work is sequenced stepped through an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArraySteps {
    /// Cycle of the first row of activations that entered the array.
    pub first: Cycles,
    /// Cycle of the last one.
    pub last: Cycles,
    /// Rows that entered: cycles in which the array had something to multiply.
    pub count: u64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStatistics {
    /// Cycles from the start to the end of the last command.
    pub makespan: Cycles,
    /// Commands of all queues.
    pub commands: u64,
    /// Most commands that were held at once: it depends on queues and requests in flight, not on the length of the run.
    pub most_commands_held: u64,
    /// Matrix units of each team, in the schedule's order.
    pub teams: Vec<Vec<MatrixUnitId>>,
    /// By queue, in the schedule's order.
    pub queues: Vec<QueueStatistics>,
    /// By operation, in the program's order.
    pub ops: Vec<OpStatistics>,
}
