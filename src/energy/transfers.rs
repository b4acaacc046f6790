//! Descriptors and bursts of the DMA engines, seen as their transfers end.

use crate::hardware::memory::{Arbitration, MemoryId};
use crate::hardware::npu::Npu;
use crate::memory::{Service, Transfer};
use crate::program::op::OpId;
use crate::schedule::commands::Work;
use crate::schedule::counter::Signal;
use crate::timing::observer::{CommandRecord, Observer, Setting};
use crate::units::{Bytes, Cycles};

/// Transfers by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferCounts {
    /// Descriptors and bursts, by operation up to the last one that had any.
    by_op: Vec<[u64; 2]>,
}

impl TransferCounts {
    /// Transfers that were set up for an operation.
    pub fn descriptors(&self, op: OpId) -> u64 {
        self.by_op.get(op.0).map_or(0, |counts| counts[0])
    }

    /// Bursts that they were asked for in.
    pub fn bursts(&self, op: OpId) -> u64 {
        self.by_op.get(op.0).map_or(0, |counts| counts[1])
    }
}

/// Counts the transfers of a run while another observer watches it.
pub struct TransferCounter<'a> {
    burst: Bytes,
    counts: TransferCounts,
    also: &'a mut dyn Observer,
}

impl<'a> TransferCounter<'a> {
    /// Counts transfers on `npu`. A burst is that of its off-chip memory, or 64 bytes where that says nothing.
    pub fn new(npu: &Npu, also: &'a mut dyn Observer) -> TransferCounter<'a> {
        let burst = match npu.dram().burst {
            Bytes(0 | 1) => Arbitration::DEFAULT.quantum,
            burst => burst,
        };
        TransferCounter { burst, counts: TransferCounts::default(), also }
    }

    /// What was counted.
    pub fn into_counts(self) -> TransferCounts {
        self.counts
    }

    fn bursts(&self, transfer: &Transfer) -> u64 {
        transfer.moved(self.burst).get() / self.burst.get()
    }
}

impl Observer for TransferCounter<'_> {
    fn begin(&mut self, setting: &Setting<'_>) {
        self.also.begin(setting);
    }

    fn signalled(&mut self, signal: &Signal, at: Cycles) {
        self.also.signalled(signal, at);
    }

    fn watches_memories(&self) -> bool {
        self.also.watches_memories()
    }

    fn moved(&mut self, memory: MemoryId, service: &Service) {
        self.also.moved(memory, service);
    }

    fn command(&mut self, record: &CommandRecord<'_>) {
        // Partial sums that wait outside of the accumulators pass through the same queues.
        if let Work::Transfer(transfer) | Work::Sums(transfer) = &record.command.work {
            let bursts = self.bursts(transfer);
            let (by_op, op) = (&mut self.counts.by_op, record.command.op.0);
            if by_op.len() <= op {
                by_op.resize(op + 1, [0; 2]);
            }
            by_op[op][0] += 1;
            by_op[op][1] += bursts;
        }
        self.also.command(record);
    }
}
