//! Memories and the engines that move data between them.

use crate::hardware::requests::Requests;
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
    /// Peak bytes a cycle: of reads and writes together, or of reads where writes have a channel of their own.
    pub bytes_per_cycle: Rate,
    /// The channel of writes, where they have one of their own.
    pub write_channel: Option<WriteChannel>,
    /// How requesters share a channel, in models that arbitrate.
    pub arbitration: Arbitration,
    /// What each run of neighbouring bytes is rounded to, both of its ends outwards: bytes that a device moves at once.
    pub burst: Bytes,
}

/// A channel that only writes take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteChannel {
    /// Peak bytes a cycle.
    pub bytes_per_cycle: Rate,
    /// Cycles from the service of a write's last byte to its acknowledgement.
    pub response_latency: Cycles,
}

/// Who asks a memory for a transfer: a queue of the DMA engine, less than [`REQUESTERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requester(pub usize);

/// Requesters of a memory: the DMA engine's queues of activations, weights and stores, in this order.
pub const REQUESTERS: usize = 3;

/// Weighted round robin in fixed quanta: in its turn a requester moves up to `weight` quanta, then the next one has its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arbitration {
    /// Bytes of a quantum; not zero.
    pub quantum: Bytes,
    /// Quanta in a turn of each requester; none is zero.
    pub weights: [u32; REQUESTERS],
}

impl Arbitration {
    /// Equal turns of one access: 64 bytes are a burst of eight on a 64-bit channel (JEDEC JESD79-4, DDR4).
    pub const DEFAULT: Arbitration = Arbitration { quantum: Bytes(64), weights: [1; REQUESTERS] };

    /// Bytes of a requester's turn.
    pub const fn turn(&self, requester: Requester) -> Bytes {
        Bytes(self.quantum.get() * self.weights[requester.0] as u64)
    }
}

impl Dram {
    /// A memory with one channel, equal requesters and bursts of one byte.
    pub const fn with_one_channel(model: &'static str, latency: Cycles, bytes_per_cycle: Rate) -> Dram {
        let (arbitration, burst) = (Arbitration::DEFAULT, Bytes(1));
        Dram { model, latency, bytes_per_cycle, write_channel: None, arbitration, burst }
    }

    /// An on-chip memory as an engine sees it that moves data from and to it: a pipe for each direction.
    pub const fn of_shared(sram: &Sram) -> Dram {
        let write_channel =
            WriteChannel { bytes_per_cycle: sram.write_bytes_per_cycle, response_latency: sram.latency };
        let reads = Dram::with_one_channel("ideal", sram.latency, sram.read_bytes_per_cycle);
        Dram { write_channel: Some(write_channel), ..reads }
    }

    /// Cycles from the service of a write's last byte to its acknowledgement.
    pub fn write_latency(&self) -> Cycles {
        self.write_channel.map_or(self.latency, |channel| channel.response_latency)
    }

    /// Bytes a cycle of all channels together.
    pub fn peak_bytes_per_cycle(&self) -> f64 {
        let rate = |rate: Rate| rate.numerator() as f64 / rate.denominator() as f64;
        rate(self.bytes_per_cycle) + self.write_channel.map_or(0.0, |channel| rate(channel.bytes_per_cycle))
    }

    /// Cycles that the channels need at least for so many bytes read and written.
    pub fn busy_cycles(&self, read: Bytes, written: Bytes) -> Cycles {
        match self.write_channel {
            None => self.bytes_per_cycle.cycles_for((read + written).get()),
            Some(channel) => {
                let reads = self.bytes_per_cycle.cycles_for(read.get());
                reads.max(channel.bytes_per_cycle.cycles_for(written.get()))
            }
        }
    }
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
    /// Cycles from the service of a transfer's last byte to its arrival, where an engine moves data from and to it.
    pub latency: Cycles,
    /// Banks of equal size, where they matter: partitions are whole banks then.
    pub banks: Option<u64>,
    /// What a bank can do in one cycle.
    pub ports: Ports,
    /// Share of the capacity for each role; a memory of partial sums has none.
    pub partitions: Option<Partitions>,
}

/// What a bank of an on-chip memory can do in one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// A read or a write: what an engine writes into a partition's banks, no unit reads from them in that cycle.
    Single,
    /// A read and a write.
    Dual,
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

/// A direct-memory-access engine that fills an on-chip memory with partitions: from off the chip, or from an on-chip
/// memory that lies between the two.
///
/// Engines that fill the same memory serve the same queues: each transfer goes through the engine of its memory. There is
/// one in-order queue for each partition that they fill and one for stores, so a blocked queue never holds up
/// another.
#[derive(Clone, Debug)]
pub struct DmaEngine {
    /// Unique name.
    pub name: String,
    /// The side of the larger memory.
    pub from: MemoryId,
    /// The side of the buffers.
    pub to: MemoryId,
    /// Transfers of one queue that may be under way at once.
    pub outstanding: u32,
    /// Cycles to set a transfer up.
    pub setup: Cycles,
    /// Cycles for each run of neighbouring bytes after the first: a strided or gathered transfer needs an address for each.
    pub cycles_per_run: Cycles,
    /// How it asks for tiles.
    pub requests: Requests,
}

impl DmaEngine {
    /// Cycles before a transfer of so many runs is with the memory.
    pub fn setup_cycles(&self, runs: u64) -> Cycles {
        self.setup + self.cycles_per_run * runs.saturating_sub(1)
    }
}
