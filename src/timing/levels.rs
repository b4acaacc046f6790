//! The memories that transfers go through, each with what is under way there.

use std::collections::VecDeque;

use crate::hardware::memory::{Dram, MemoryId};
use crate::hardware::npu::Npu;
use crate::memory::{self, MemorySystem, Ticket};
use crate::schedule::nest::Nest;
use crate::schedule::{Schedule, spill};
use crate::timing::statistics::StallCause;
use crate::units::Cycles;

/// The off-chip memory, the shared one if there is one, and the operand memory where partial sums wait there for the next
/// pass along k.
pub(super) fn levels(schedule: &Schedule, npu: &Npu) -> Vec<Level> {
    let on_chip = |memory: MemoryId| Level::new(memory, &Dram::of_shared(npu.sram(memory)));
    let near = npu.dma().to;
    let has_sums = |nest: &Nest| spill::home(nest, &nest.grid).is_some_and(|home| home.memory == near);
    let far = Level::new(npu.dram_id(), npu.dram());
    let shared = npu.shared().map(|(memory, _)| on_chip(memory));
    let near = schedule.nests.iter().any(has_sums).then(|| on_chip(near));
    std::iter::once(far).chain(shared).chain(near).collect()
}

/// A memory with its transfers.
pub(super) struct Level {
    pub(super) id: MemoryId,
    pub(super) memory: Box<dyn MemorySystem>,
    pub(super) write_latency: Cycles,
    /// Which queue submitted each ticket under way; tickets are consecutive numbers.
    submitted: VecDeque<Submitted>,
    first_ticket: u64,
    under_way: u64,
}

impl Level {
    fn new(id: MemoryId, dram: &Dram) -> Level {
        let model = memory::by_name(dram.model).expect("configuration resolves memory models by their name");
        let (memory, write_latency) = (model.build(dram), dram.write_latency());
        Level { id, memory, write_latency, submitted: VecDeque::new(), first_ticket: 0, under_way: 0 }
    }

    /// What waiting for a transfer is called that found the memory as it is now.
    pub(super) fn cause(&self, far: MemoryId) -> StallCause {
        match (self.id == far, self.under_way) {
            (false, _) => StallCause::SharedMemory,
            (true, 0) => StallCause::DramLatency,
            (true, _) => StallCause::DramBandwidth,
        }
    }

    /// Notes which queue submitted a ticket.
    pub(super) fn note(&mut self, ticket: Ticket, queue: usize) {
        debug_assert_eq!(ticket.0, self.first_ticket + self.submitted.len() as u64, "tickets are consecutive");
        self.submitted.push_back(Submitted { queue, is_done: false });
        self.under_way += 1;
    }

    /// Notes that a transfer has completed; the queue that submitted it.
    pub(super) fn complete(&mut self, ticket: Ticket) -> usize {
        let position = usize::try_from(ticket.0 - self.first_ticket).expect("a ticket under way is near the first");
        self.submitted[position].is_done = true;
        self.under_way -= 1;
        let queue = self.submitted[position].queue;
        while self.submitted.front().is_some_and(|submitted| submitted.is_done) {
            self.submitted.pop_front();
            self.first_ticket += 1;
        }
        queue
    }
}

#[derive(Clone, Copy)]
struct Submitted {
    queue: usize,
    is_done: bool,
}
