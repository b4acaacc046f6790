//! Ideal memory: one pipe of fixed bandwidth with a fixed latency behind it.
//!
//! Transfers are served in order of submission. A transfer completes `latency` after its last byte has left the pipe,
//! so latency is hidden by having several transfers under way. No banks, rows, refresh or turnaround.

use std::collections::VecDeque;

use crate::hardware::memory::{Dram, Requester};
use crate::memory::channel::{Channel, Channels};
use crate::memory::{Direction, MemoryModel, MemorySystem, Service, Ticket};
use crate::units::{Bytes, Cycles, Rate};

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
        Box::new(Channels::<Pipe>::new(dram))
    }
}

#[derive(Debug)]
struct Pipe {
    bytes_per_cycle: Rate,
    latency: Cycles,
    /// When the pipe is free, in units of one cycle / rate numerator: a fraction of a cycle left over by one transfer
    /// belongs to the next one, so back-to-back transfers reach exactly the stated bandwidth.
    busy_until: u128,
    under_way: VecDeque<(Cycles, Ticket)>,
    is_watched: bool,
    service: Vec<Service>,
}

impl Channel for Pipe {
    fn new(_dram: &Dram, bytes_per_cycle: Rate, latency: Cycles) -> Pipe {
        let (is_watched, service) = (false, Vec::new());
        Pipe { bytes_per_cycle, latency, busy_until: 0, under_way: VecDeque::new(), is_watched, service }
    }

    fn accept(&mut self, bytes: Bytes, direction: Direction, _: Requester, now: Cycles, ticket: Ticket) {
        let cycle = u128::from(self.bytes_per_cycle.numerator());
        let ticks = u128::from(bytes.get()) * u128::from(self.bytes_per_cycle.denominator());
        let from = self.busy_until.max(u128::from(now.get()) * cycle);
        self.busy_until = from + ticks;
        if self.is_watched && ticks > 0 {
            self.service.push(Service { direction, from, to: self.busy_until, ticks, rate: self.bytes_per_cycle });
        }
        // Wide division is slow, and almost never needed.
        let served = match u64::try_from(self.busy_until) {
            Ok(busy_until) => busy_until.div_ceil(self.bytes_per_cycle.numerator()),
            Err(_) => u64::try_from(self.busy_until.div_ceil(cycle)).expect("cycles fit 64 bits"),
        };
        self.under_way.push_back((Cycles(served) + self.latency, ticket));
    }

    fn next_event(&self) -> Option<Cycles> {
        self.under_way.front().map(|(cycle, _)| *cycle)
    }

    fn advance(&mut self, _now: Cycles) {}

    fn arrivals(&mut self) -> &mut VecDeque<(Cycles, Ticket)> {
        &mut self.under_way
    }

    fn watch(&mut self) {
        self.is_watched = true;
    }

    fn service(&mut self) -> &mut Vec<Service> {
        &mut self.service
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::memory::{MemoryId, WriteChannel};
    use crate::memory::Transfer;

    fn system(numerator: u64, denominator: u64, latency: u64) -> Box<dyn MemorySystem> {
        let bytes_per_cycle = Rate::try_new(numerator, denominator).unwrap();
        Ideal.build(&Dram::with_one_channel("ideal", Cycles(latency), bytes_per_cycle))
    }

    fn read(bytes: u64) -> Transfer {
        Transfer { memory: MemoryId(0), base: 0, rows: 1, row_bytes: bytes, pitch: bytes, direction: Direction::Read }
    }

    #[test]
    fn a_transfer_completes_on_time_and_not_one_cycle_early() {
        let mut memory = system(16, 1, 100);
        memory.submit(read(160), Requester(0), Cycles(5));
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
            memory.submit(read(64), Requester(0), Cycles(0));
        }
        let mut completed = Vec::new();
        memory.advance(Cycles(56), &mut completed);
        assert_eq!(completed.len(), 9);
        memory.advance(Cycles(57), &mut completed);
        assert_eq!(completed.len(), 10);
    }
    #[test]
    fn writes_on_a_channel_of_their_own_hold_up_no_read_and_have_their_own_latency() {
        let write_channel =
            Some(WriteChannel { bytes_per_cycle: Rate::whole(4).unwrap(), response_latency: Cycles(3) });
        let one = Dram::with_one_channel("ideal", Cycles(10), Rate::whole(16).unwrap());
        let mut memory = Ideal.build(&Dram { write_channel, ..one });
        let write = |bytes| Transfer { direction: Direction::Write, ..read(bytes) };
        memory.submit(write(64), Requester(2), Cycles(0));
        memory.submit(read(64), Requester(0), Cycles(0));
        memory.submit(write(4), Requester(2), Cycles(0));
        memory.submit(read(96), Requester(1), Cycles(0));
        // Writes end after 64 / 4 + 3 = 19 and 68 / 4 + 3 = 20 cycles, reads after 64 / 16 + 10 = 14 and 160 / 16 + 10 = 20.
        assert_eq!(memory.next_event(), Some(Cycles(14)));
        let mut completed = Vec::new();
        memory.advance(Cycles(13), &mut completed);
        assert_eq!(completed, []);
        memory.advance(Cycles(19), &mut completed);
        assert_eq!(completed, [Ticket(1), Ticket(0)]);
        assert_eq!(memory.next_event(), Some(Cycles(20)));
        memory.advance(Cycles(20), &mut completed);
        // At the same cycle the ticket decides.
        assert_eq!(completed, [Ticket(1), Ticket(0), Ticket(2), Ticket(3)]);
    }
}
