//! When a memory moved the bytes of a transfer, as far as that shows from its end.
//!
//! A command is under way from its issue on, but waits for others first and for the latency last. Its bytes are taken to have
//! moved at the full rate right before the latency: exact for a pipe that serves one transfer after the other (`ideal`), and late
//! by the turns of others where several share the bandwidth.

use crate::hardware::memory::{Dram, MemoryId};
use crate::hardware::npu::Npu;
use crate::memory::{Direction, Transfer};
use crate::timing::observer::CommandRecord;
use crate::units::Bytes;

/// Rates and latencies of the off-chip memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Service(Option<(MemoryId, Dram)>);

impl Service {
    /// That of the off-chip memory of `npu`. Transfers of other memories are spread over all of their time.
    pub(crate) fn of_dram(npu: &Npu) -> Service {
        Service(Some((npu.dram_id(), *npu.dram())))
    }

    /// The first cycle in which the `moved` bytes of `transfer` moved, and the first after it.
    pub(crate) fn of(&self, transfer: &Transfer, moved: Bytes, record: &CommandRecord<'_>) -> (u64, u64) {
        let (issued, completed) = (record.issued.get(), record.completed.get());
        let Some((_, dram)) = self.0.filter(|(memory, _)| *memory == transfer.memory) else {
            return (issued, completed);
        };
        let (latency, busy) = match transfer.direction {
            Direction::Read => (dram.latency, dram.busy_cycles(moved, Bytes::ZERO)),
            Direction::Write => (dram.write_latency(), dram.busy_cycles(Bytes::ZERO, moved)),
        };
        let end = completed.saturating_sub(latency.get()).max(issued);
        (end.saturating_sub(busy.get()).max(issued), end)
    }
}
