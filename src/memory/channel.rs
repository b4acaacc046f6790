//! Memories that are one channel, or one for reads and one for writes.
//!
//! A model says how a [`Channel`] serves bytes over time; that there may be two of them, that tickets are numbered in
//! order of submission, and what a device moves in excess of what was asked for, is the same for all.

use std::collections::VecDeque;

use crate::hardware::memory::{Dram, Requester};
use crate::memory::{Direction, MemorySystem, Service, Ticket, Transfer};
use crate::units::{Bytes, Cycles, Rate};

/// How one channel serves what it is given.
pub(super) trait Channel {
    /// A channel of that bandwidth, with a latency behind it.
    fn new(dram: &Dram, bytes_per_cycle: Rate, latency: Cycles) -> Self;

    /// Accepts `bytes` of `requester` at cycle `now`.
    fn accept(&mut self, bytes: Bytes, direction: Direction, requester: Requester, now: Cycles, ticket: Ticket);

    /// The next cycle at which something arrives if nothing else is accepted before.
    fn next_event(&self) -> Option<Cycles>;

    /// Serves until cycle `now`.
    fn advance(&mut self, now: Cycles);

    /// What has been served, with the cycle of its arrival: in order of both service and arrival.
    fn arrivals(&mut self) -> &mut VecDeque<(Cycles, Ticket)>;

    /// Notes from now on when bytes are moved.
    fn watch(&mut self);

    /// What has been noted and not been taken.
    fn service(&mut self) -> &mut Vec<Service>;
}

/// A memory of one or two channels.
#[derive(Debug)]
pub(super) struct Channels<C> {
    /// For reads, and for writes too where they have no channel of their own.
    first: C,
    writes: Option<C>,
    burst: Bytes,
    submitted: u64,
}

impl<C: Channel> Channels<C> {
    pub(super) fn new(dram: &Dram) -> Channels<C> {
        let writes = dram.write_channel.map(|channel| C::new(dram, channel.bytes_per_cycle, channel.response_latency));
        Channels { first: C::new(dram, dram.bytes_per_cycle, dram.latency), writes, burst: dram.burst, submitted: 0 }
    }
}

impl<C: Channel> MemorySystem for Channels<C> {
    fn submit(&mut self, transfer: Transfer, requester: Requester, now: Cycles) -> Ticket {
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        let channel = match (&mut self.writes, transfer.direction) {
            (Some(writes), Direction::Write) => writes,
            (_, Direction::Read | Direction::Write) => &mut self.first,
        };
        channel.accept(transfer.moved(self.burst), transfer.direction, requester, now, ticket);
        ticket
    }

    fn next_event(&self) -> Option<Cycles> {
        let first = self.first.next_event();
        let Some(writes) = &self.writes else { return first };
        first.into_iter().chain(writes.next_event()).min()
    }

    fn advance(&mut self, now: Cycles, completed: &mut Vec<Ticket>) {
        self.first.advance(now);
        let reads = self.first.arrivals();
        let Some(writes) = &mut self.writes else {
            while let Some((_, ticket)) = reads.pop_front_if(|(cycle, _)| *cycle <= now) {
                completed.push(ticket);
            }
            return;
        };
        writes.advance(now);
        let writes = writes.arrivals();
        loop {
            let is_next = |other: &VecDeque<(Cycles, Ticket)>, one: (Cycles, Ticket)| {
                one.0 <= now && other.front().is_none_or(|other| one < *other)
            };
            let read = reads.pop_front_if(|read| is_next(writes, *read));
            let Some((_, ticket)) = read.or_else(|| writes.pop_front_if(|write| is_next(reads, *write))) else { break };
            completed.push(ticket);
        }
    }

    fn watch(&mut self) {
        self.first.watch();
        if let Some(writes) = &mut self.writes {
            writes.watch();
        }
    }

    fn take_service(&mut self, service: &mut Vec<Service>) {
        service.append(self.first.service());
        if let Some(writes) = &mut self.writes {
            service.append(writes.service());
        }
    }
}
