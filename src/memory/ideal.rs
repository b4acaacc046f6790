//! Ideal memory: one pipe of fixed bandwidth with a fixed latency behind it.
//!
//! Transfers are served in order of submission. A transfer completes `latency` after its last byte has left the pipe,
//! so latency is hidden by having several transfers under way. No banks, rows, refresh or turnaround.

use std::collections::VecDeque;

use crate::hardware::memory::Dram;
use crate::memory::{MemoryModel, MemorySystem, Ticket, Transfer};
use crate::units::{Cycles, Rate};

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Ideal;

impl MemoryModel for Ideal {
    fn name(&self) -> &'static str {
        "ideal"
    }

    fn description(&self) -> &'static str {
        "a pipe of fixed bandwidth with a fixed latency, served in order of submission"
    }

    fn build(&self, dram: &Dram) -> Box<dyn MemorySystem> {
        Box::new(IdealSystem {
            bytes_per_cycle: dram.bytes_per_cycle,
            latency: dram.latency,
            busy_until: 0,
            submitted: 0,
            under_way: VecDeque::new(),
        })
    }
}

#[derive(Debug)]
struct IdealSystem {
    bytes_per_cycle: Rate,
    latency: Cycles,
    /// When the pipe is free, in units of one cycle / rate numerator: a fraction of a cycle left over by one transfer
    /// belongs to the next one, so back-to-back transfers reach exactly the stated bandwidth.
    busy_until: u128,
    submitted: u64,
    under_way: VecDeque<(Cycles, Ticket)>,
}

impl MemorySystem for IdealSystem {
    fn submit(&mut self, transfer: Transfer, now: Cycles) -> Ticket {
        let cycle = u128::from(self.bytes_per_cycle.numerator());
        let service = u128::from(transfer.bytes().get()) * u128::from(self.bytes_per_cycle.denominator());
        self.busy_until = self.busy_until.max(u128::from(now.get()) * cycle) + service;
        // Wide division is slow, and almost never needed.
        let served = match u64::try_from(self.busy_until) {
            Ok(busy_until) => busy_until.div_ceil(self.bytes_per_cycle.numerator()),
            Err(_) => u64::try_from(self.busy_until.div_ceil(cycle)).expect("cycles fit 64 bits"),
        };
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        self.under_way.push_back((Cycles(served) + self.latency, ticket));
        ticket
    }

    fn next_event(&self) -> Option<Cycles> {
        self.under_way.front().map(|(cycle, _)| *cycle)
    }

    fn advance(&mut self, now: Cycles, completed: &mut Vec<Ticket>) {
        while let Some(&(cycle, ticket)) = self.under_way.front()
            && cycle <= now
        {
            self.under_way.pop_front();
            completed.push(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Direction;

    fn system(numerator: u64, denominator: u64, latency: u64) -> Box<dyn MemorySystem> {
        let bytes_per_cycle = Rate::try_new(numerator, denominator).unwrap();
        Ideal.build(&Dram { model: "ideal", latency: Cycles(latency), bytes_per_cycle })
    }

    fn read(bytes: u64) -> Transfer {
        Transfer { base: 0, rows: 1, row_bytes: bytes, pitch: bytes, direction: Direction::Read }
    }

    #[test]
    fn a_transfer_completes_on_time_and_not_one_cycle_early() {
        let mut memory = system(16, 1, 100);
        memory.submit(read(160), Cycles(5));
        // 10 cycles of service from cycle 5, then the latency.
        assert_eq!(memory.next_event(), Some(Cycles(115)));
        let mut completed = Vec::new();
        memory.advance(Cycles(114), &mut completed);
        assert_eq!(completed, []);
        memory.advance(Cycles(115), &mut completed);
        assert_eq!(completed, [Ticket(0)]);
        assert_eq!(memory.next_event(), None);
    }

    #[test]
    fn back_to_back_transfers_overlap_their_latency_and_lose_no_fraction_of_a_cycle() {
        // 12.8 B/cycle: ten transfers of 64 bytes take exactly 50 cycles together.
        let mut memory = system(64, 5, 7);
        for _ in 0..10 {
            memory.submit(read(64), Cycles(0));
        }
        let mut completed = Vec::new();
        memory.advance(Cycles(56), &mut completed);
        assert_eq!(completed.len(), 9);
        memory.advance(Cycles(57), &mut completed);
        assert_eq!(completed.len(), 10);
    }
}
