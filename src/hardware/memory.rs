//! Memories and the engines that move data between them.

use crate::units::{Bytes, Cycles, Rate};

/// Index of a memory in [`Npu::memories`](crate::hardware::npu::Npu::memories).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemoryId(pub usize);

/// A memory, on the chip or off it.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Unique name.
    pub name: String,
    /// On-chip or off-chip, with what only that kind has.
    pub kind: MemoryKind,
}

/// What kind of memory it is.
#[derive(Clone, Debug)]
pub enum MemoryKind {
    /// Off-chip memory behind a timing model, large enough for everything.
    Dram(Dram),
    /// On-chip memory with ports and partitions.
    Sram(Sram),
}

/// Off-chip memory.
#[derive(Clone, Copy, Debug)]
pub struct Dram {
    /// Registered name of the timing model (`memory::ALL`).
    pub model: &'static str,
    /// Cycles from the service of a transfer's last byte to its arrival.
    pub latency: Cycles,
    /// Peak bytes a cycle, reads and writes together.
    pub bytes_per_cycle: Rate,
}

/// On-chip memory.
#[derive(Clone, Copy, Debug)]
pub struct Sram {
    /// Bytes that it holds.
    pub capacity: Bytes,
    /// Bytes a cycle that one unit can read.
    pub read_bytes_per_cycle: Rate,
    /// Bytes a cycle that one unit can write.
    pub write_bytes_per_cycle: Rate,
    /// Share of the capacity for each role; a memory of partial sums has none.
    pub partitions: Option<Partitions>,
}

/// How an operand memory is divided. Each part is a credit: whoever fills it waits until its last readers have
/// returned enough bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// Activation tiles on their way to a matrix or vector unit.
    pub activations: Bytes,
    /// Weight tiles, scales and biases.
    pub weights: Bytes,
    /// Results on their way out.
    pub outputs: Bytes,
    /// Whole tensors that stay between operations.
    pub resident: Bytes,
}

impl Partitions {
    /// Bytes of all parts together.
    pub fn total(&self) -> Bytes {
        self.activations + self.weights + self.outputs + self.resident
    }
}

/// A direct-memory-access engine between the off-chip memory and an on-chip one.
///
/// It has one in-order queue for each partition that it fills and one for stores, so a blocked queue never holds up
/// another.
#[derive(Clone, Debug)]
pub struct DmaEngine {
    /// Unique name.
    pub name: String,
    /// Off-chip side.
    pub from: MemoryId,
    /// On-chip side.
    pub to: MemoryId,
    /// Transfers of one queue that may be under way at once.
    pub outstanding: u32,
    /// Cycles to set a transfer up.
    pub setup: Cycles,
}
