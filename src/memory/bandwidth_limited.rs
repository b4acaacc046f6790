//! Memory whose bandwidth its requesters share by weighted round robin in fixed quanta.
//!
//! In its turn a requester moves up to `weight` quanta of its transfers, one after the other; then the next requester
//! that has any gets its turn. A turn ends early where its requester has nothing left, and no bandwidth is ever idle
//! while anyone waits. So a long transfer of one requester delays another's by a turn at most, never by its own length.
//! Each transfer completes a fixed latency after its last byte. No banks, rows, refresh or turnaround.
//!
//! Quanta are never stepped: as long as the set of requesters with work is the same, the order of service is periodic, and
//! the end of each transfer is a closed form of its distance from the start of the period.

use std::collections::VecDeque;

use crate::hardware::memory::{Dram, REQUESTERS, Requester};
use crate::memory::channel::{Channel, Channels};
use crate::memory::{Direction, MemoryModel, MemorySystem, Service, Ticket};
use crate::units::{Bytes, Cycles, Rate};

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct BandwidthLimited;

impl MemoryModel for BandwidthLimited {
    fn name(&self) -> &'static str {
        "bandwidth_limited"
    }

    fn description(&self) -> &'static str {
        "fixed latency; bandwidth shared by requesters in weighted round robin of fixed quanta"
    }

    fn build(&self, dram: &Dram) -> Box<dyn MemorySystem> {
        Box::new(Channels::<SharedChannel>::new(dram))
    }
}

/// Time is counted in ticks: a cycle has as many as the rate's numerator, a byte takes as many as its denominator, so
/// that nothing is ever rounded but the cycle of arrival.
#[derive(Debug)]
struct SharedChannel {
    ticks_per_cycle: u128,
    ticks_per_byte: u128,
    latency: Cycles,
    /// Since when the set of requesters with work is the same.
    since: u128,
    /// Whose turn it was at `since`, and the ticks that were left of it. With none left, the turn goes to the next one.
    owner: usize,
    turn_left: u128,
    requesters: [Backlog; REQUESTERS],
    /// Ticks of one turn of each requester with work.
    round: u128,
    /// When the next transfer has been served, its arrival, and whose it is.
    next: Option<(u128, Cycles, usize)>,
    arrivals: VecDeque<(Cycles, Ticket)>,
    rate: Rate,
    is_watched: bool,
    service: Vec<Service>,
}

/// The transfers of one requester that have not been served.
#[derive(Debug)]
struct Backlog {
    /// Ticks of a turn.
    turn: u128,
    /// Whether it takes part in the round, which it does while it has transfers.
    is_in_round: bool,
    /// In order, each with its ticks of service.
    transfers: VecDeque<(Ticket, u128)>,
    /// Ticks of service from `since` to the end of the first one.
    needs: u128,
    /// When it ends if the set of requesters stays the same.
    ends: u128,
    /// Where the channel is watched: the ways that its bytes go, in order, each with the ticks that have not been noted.
    unnoted: VecDeque<(Direction, u128)>,
}

impl Channel for SharedChannel {
    fn new(dram: &Dram, bytes_per_cycle: Rate, latency: Cycles) -> SharedChannel {
        let ticks_per_byte = u128::from(bytes_per_cycle.denominator());
        let backlog = |requester| {
            let turn = u128::from(dram.arbitration.turn(Requester(requester)).get()) * ticks_per_byte;
            let (transfers, unnoted) = (VecDeque::new(), VecDeque::new());
            Backlog { turn, is_in_round: false, transfers, needs: 0, ends: 0, unnoted }
        };
        SharedChannel {
            ticks_per_cycle: u128::from(bytes_per_cycle.numerator()),
            ticks_per_byte,
            latency,
            since: 0,
            // The first turn is the first requester's.
            owner: REQUESTERS - 1,
            turn_left: 0,
            requesters: std::array::from_fn(backlog),
            round: 0,
            next: None,
            arrivals: VecDeque::new(),
            rate: bytes_per_cycle,
            is_watched: false,
            service: Vec::new(),
        }
    }

    fn accept(
        &mut self,
        bytes: Bytes,
        direction: Direction,
        Requester(requester): Requester,
        now: Cycles,
        ticket: Ticket,
    ) {
        self.advance(now);
        let service = u128::from(bytes.get()) * self.ticks_per_byte;
        let backlog = &mut self.requesters[requester];
        backlog.transfers.push_back((ticket, service));
        if self.is_watched {
            backlog.unnoted.push_back((direction, service));
        }
        if backlog.is_in_round {
            return;
        }
        self.serve_until(u128::from(now.get()) * self.ticks_per_cycle);
        let backlog = &mut self.requesters[requester];
        (backlog.is_in_round, backlog.needs) = (true, service);
        self.round += backlog.turn;
        self.foresee();
    }

    fn next_event(&self) -> Option<Cycles> {
        // What has been served arrives before what has not.
        let served = self.arrivals.front().map(|(cycle, _)| *cycle);
        served.or_else(|| self.next.map(|(_, cycle, _)| cycle))
    }

    fn advance(&mut self, now: Cycles) {
        let now = u128::from(now.get()) * self.ticks_per_cycle;
        while let Some((served, arrival, requester)) = self.next
            && served <= now
        {
            let backlog = &mut self.requesters[requester];
            let (ticket, _) = backlog.transfers.pop_front().expect("the transfer that was foreseen is there");
            self.arrivals.push_back((arrival, ticket));
            if let Some((_, service)) = self.requesters[requester].transfers.front() {
                self.requesters[requester].needs += service;
                self.requesters[requester].ends = self.end_of(requester);
                self.find_next();
            } else {
                self.leave(served, requester);
            }
        }
    }

    fn arrivals(&mut self) -> &mut VecDeque<(Cycles, Ticket)> {
        &mut self.arrivals
    }

    fn watch(&mut self) {
        self.is_watched = true;
    }

    fn service(&mut self) -> &mut Vec<Service> {
        &mut self.service
    }
}

impl SharedChannel {
    /// Takes a requester whose last transfer ends at tick `now` out of the round.
    fn leave(&mut self, now: u128, requester: usize) {
        self.serve_until(now);
        self.requesters[requester].is_in_round = false;
        self.round -= self.requesters[requester].turn;
        if self.owner == requester {
            self.turn_left = 0;
        }
        self.foresee();
    }

    /// Books the service from `since` to tick `now` for all requesters in the round, and starts anew there.
    fn serve_until(&mut self, now: u128) {
        let (from, before) = (self.since, self.requesters.each_ref().map(|backlog| backlog.needs));
        self.book_until(now);
        if self.is_watched {
            for (requester, before) in before.into_iter().enumerate() {
                self.note(requester, before - self.requesters[requester].needs, from);
            }
        }
    }

    /// Notes `ticks` of service of a requester between tick `from` and now. Turns are short beside that time, so bytes of all
    /// requesters are taken to have moved evenly over it.
    fn note(&mut self, requester: usize, mut ticks: u128, from: u128) {
        let (to, rate) = (self.since, self.rate);
        while let Some((direction, left)) = self.requesters[requester].unnoted.front_mut()
            && ticks > 0
        {
            let (direction, noted) = (*direction, ticks.min(*left));
            *left -= noted;
            ticks -= noted;
            if *left == 0 {
                self.requesters[requester].unnoted.pop_front();
            }
            match self.service.last_mut() {
                Some(last) if (last.direction, last.from, last.to) == (direction, from, to) => last.ticks += noted,
                Some(_) | None => self.service.push(Service { direction, from, to, ticks: noted, rate }),
            }
        }
    }

    fn book_until(&mut self, now: u128) {
        let passed = now - self.since;
        self.since = now;
        if self.round == 0 {
            return;
        }
        let in_turn = passed.min(self.turn_left);
        self.turn_left -= in_turn;
        self.requesters[self.owner].needs -= in_turn;
        let passed = passed - in_turn;
        if passed == 0 {
            return;
        }
        // Whole rounds, from the turn after the owner's to the end of the owner's next; then what is left over.
        let (rounds, mut left) = divide(passed, self.round);
        // Where nothing is left over, the last in the ring has just had its whole turn.
        let (owner, ends_a_round) = (self.owner, left == 0);
        for requester in (1..=REQUESTERS).map(|steps| (owner + steps) % REQUESTERS) {
            let backlog = &mut self.requesters[requester];
            if !backlog.is_in_round {
                continue;
            }
            let in_turn = left.min(backlog.turn);
            backlog.needs -= rounds * backlog.turn + in_turn;
            if in_turn > 0 || ends_a_round {
                left -= in_turn;
                self.owner = requester;
                self.turn_left = if ends_a_round { 0 } else { backlog.turn - in_turn };
            }
        }
    }

    /// When each requester's first transfer ends, if the set of requesters stays as it is.
    fn foresee(&mut self) {
        for requester in 0..REQUESTERS {
            if self.requesters[requester].is_in_round {
                self.requesters[requester].ends = self.end_of(requester);
            }
        }
        self.find_next();
    }

    /// The tick at which a requester has been served what it needs: its own ticks, those left of another's turn, and
    /// the turns of all others that lie between.
    fn end_of(&self, requester: usize) -> u128 {
        let Backlog { turn, needs, .. } = self.requesters[requester];
        let others = self.round - turn;
        if others == 0 {
            return self.since + needs;
        }
        if requester == self.owner {
            let again = divide(needs.saturating_sub(self.turn_left) + turn - 1, turn).0;
            return self.since + needs + again * others;
        }
        let between = (1..REQUESTERS).map(|steps| (self.owner + steps) % REQUESTERS);
        let before: u128 = between
            .take_while(|other| *other != requester)
            .map(|other| &self.requesters[other])
            .filter(|backlog| backlog.is_in_round)
            .map(|backlog| backlog.turn)
            .sum();
        let again = divide(needs.max(1) - 1, turn).0;
        self.since + self.turn_left + before + needs + again * others
    }

    /// The requester whose transfer ends first.
    fn find_next(&mut self) {
        let busy = self.requesters.iter().enumerate().filter(|(_, backlog)| backlog.is_in_round);
        let first = busy.map(|(requester, backlog)| (backlog.ends, requester)).min();
        self.next = first.map(|(ends, requester)| {
            let (cycles, rest) = divide(ends, self.ticks_per_cycle);
            let served = u64::try_from(cycles).expect("cycles fit 64 bits") + u64::from(rest > 0);
            (ends, Cycles(served) + self.latency, requester)
        });
    }
}

/// Quotient and remainder. Wide division is slow, and almost never needed.
fn divide(value: u128, by: u128) -> (u128, u128) {
    match (u64::try_from(value), u64::try_from(by)) {
        (Ok(value), Ok(by)) => (u128::from(value / by), u128::from(value % by)),
        (Ok(_), Err(_)) => (0, value),
        (Err(_), _) => (value / by, value % by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::memory::{Arbitration, MemoryId};
    use crate::memory::Transfer;
    use crate::memory::ideal::Ideal;

    fn dram(rate: (u64, u64), latency: u64, quantum: u64, weights: [u32; REQUESTERS]) -> Dram {
        let bytes_per_cycle = Rate::try_new(rate.0, rate.1).unwrap();
        let one = Dram::with_one_channel("bandwidth_limited", Cycles(latency), bytes_per_cycle);
        Dram { arbitration: Arbitration { quantum: Bytes(quantum), weights }, ..one }
    }

    fn read(bytes: u64) -> Transfer {
        Transfer { memory: MemoryId(0), base: 0, rows: 1, row_bytes: bytes, pitch: bytes, direction: Direction::Read }
    }

    /// A transfer to come: cycle, requester, bytes; in order of time.
    type Submission = (u64, usize, u64);

    /// The cycle at which each submission completes.
    fn completions(model: &dyn MemoryModel, dram: &Dram, submissions: &[Submission]) -> Vec<u64> {
        let mut memory = model.build(dram);
        let mut ends = vec![0; submissions.len()];
        let mut completed = Vec::new();
        let mut run_until = |memory: &mut dyn MemorySystem, limit: u64| {
            while let Some(cycle) = memory.next_event().filter(|cycle| cycle.get() <= limit) {
                memory.advance(cycle, &mut completed);
                for Ticket(ticket) in completed.drain(..) {
                    ends[usize::try_from(ticket).unwrap()] = cycle.get();
                }
            }
        };
        for (cycle, requester, bytes) in submissions {
            run_until(memory.as_mut(), *cycle);
            memory.submit(read(*bytes), Requester(*requester), Cycles(*cycle));
        }
        run_until(memory.as_mut(), u64::MAX);
        ends
    }

    /// The same by serving one tick after the other, as the first paragraph of this module says.
    fn stepped(dram: &Dram, submissions: &[Submission]) -> Vec<u64> {
        let (ticks_per_cycle, ticks_per_byte) = (dram.bytes_per_cycle.numerator(), dram.bytes_per_cycle.denominator());
        let mut backlogs: [VecDeque<(usize, u64)>; REQUESTERS] = Default::default();
        let mut ends = vec![0; submissions.len()];
        let (mut owner, mut turn_left, mut submitted, mut tick) = (REQUESTERS - 1, 0, 0, 0);
        while submitted < submissions.len() || backlogs.iter().any(|backlog| !backlog.is_empty()) {
            while let Some((_, requester, bytes)) =
                submissions.get(submitted).filter(|(cycle, ..)| cycle * ticks_per_cycle == tick)
            {
                backlogs[*requester].push_back((submitted, bytes * ticks_per_byte));
                submitted += 1;
            }
            tick += 1;
            if turn_left == 0 || backlogs[owner].is_empty() {
                let waiting = (1..=REQUESTERS).map(|steps| (owner + steps) % REQUESTERS);
                let Some(next) = waiting.into_iter().find(|next| !backlogs[*next].is_empty()) else {
                    turn_left = 0;
                    continue;
                };
                owner = next;
                turn_left = dram.arbitration.turn(Requester(owner)).get() * ticks_per_byte;
            }
            turn_left -= 1;
            let (submission, left) = backlogs[owner].front_mut().unwrap();
            *left -= 1;
            if *left == 0 {
                ends[*submission] = tick.div_ceil(ticks_per_cycle) + dram.latency.get();
                backlogs[owner].pop_front();
                // An empty queue forfeits the rest of its turn.
                if backlogs[owner].is_empty() {
                    turn_left = 0;
                }
            }
        }
        ends
    }

    #[test]
    fn a_lone_requester_sees_the_ideal_pipe() {
        let submissions = [(0, 1, 640), (3, 1, 1), (3, 1, 64), (90, 1, 7), (91, 1, 1000), (1_000_000, 1, 64)];
        for rate in [(64, 5), (16, 1), (3, 7)] {
            let dram = dram(rate, 13, 32, [1, 2, 3]);
            let shared = completions(&BandwidthLimited, &dram, &submissions);
            assert_eq!(shared, completions(&Ideal, &dram, &submissions), "{rate:?}");
        }
    }

    #[test]
    fn equal_requesters_share_evenly_and_a_short_transfer_does_not_wait_for_a_long_one() {
        // 16 B/cycle in quanta of 64 bytes, 4 cycles each: 256 bytes each in turns 0 1 0 1 0 1 0 1. The first ends with
        // its fourth quantum, which is the seventh of all; the other with the eighth.
        let dram = dram((16, 1), 0, 64, [1, 1, 1]);
        assert_eq!(completions(&BandwidthLimited, &dram, &[(0, 0, 256), (0, 1, 256)]), [28, 32]);
        // One quantum of a late requester comes right after the turn under way, and the long one is 4 cycles later.
        assert_eq!(completions(&BandwidthLimited, &dram, &[(0, 0, 64_000), (1001, 1, 64)]), [4004, 1008]);
        assert_eq!(completions(&Ideal, &dram, &[(0, 0, 64_000), (1001, 1, 64)]), [4000, 4004]);
    }

    #[test]
    fn weights_divide_the_bandwidth_while_both_have_work() {
        // 3 : 1 at 16 B/cycle: a round is three quanta of 4 cycles and one. 1920 bytes in ten turns of 192 bytes end after
        // nine rounds of 16 cycles and 12 more; the other has had 9 x 64 of its 1280 bytes by then and needs 44 more
        // cycles of the whole pipe.
        let dram = dram((16, 1), 5, 64, [3, 1, 1]);
        assert_eq!(completions(&BandwidthLimited, &dram, &[(0, 0, 1920), (0, 1, 1280)]), [9 * 16 + 12 + 5, 200 + 5]);
    }

    /// The turn once stayed with a requester that had left, so that the next round began in the wrong place.
    #[test]
    fn after_whole_rounds_the_turn_goes_on_behind_the_last_requester_that_was_served() {
        let dram = dram((16, 1), 0, 5, [2, 1, 1]);
        let submissions = [(0, 0, 1), (0, 2, 35), (3, 0, 11), (3, 1, 6), (3, 0, 1)];
        // Bytes from cycle 3 on: 10 of the first queue, 5 of the second, 2 of the first, 1 of the second.
        assert_eq!(completions(&BandwidthLimited, &dram, &submissions), [1, 3, 4, 5, 5]);
    }

    #[test]
    fn the_whole_bandwidth_is_used_whoever_asks() {
        let dram = dram((64, 5), 0, 48, [1, 3, 2]);
        let submissions = [(0, 0, 1000), (0, 1, 777), (0, 2, 4096), (0, 1, 5)];
        let last = completions(&BandwidthLimited, &dram, &submissions).into_iter().max();
        // 5878 bytes at 12.8 a cycle.
        assert_eq!(last, Some(460));
    }

    proptest::proptest! {
        #[test]
        fn transfers_end_when_serving_tick_by_tick_would_end_them(
            gaps in proptest::collection::vec((0u64..40, 0usize..REQUESTERS, 1u64..150), 1..30),
            rate in proptest::sample::select(vec![(1, 1), (7, 2), (2, 7), (16, 1), (13, 5)]),
            quantum in 1u64..40,
            weights in [1u32..5, 1u32..5, 1u32..5],
            latency in 0u64..30,
        ) {
            let mut now = 0;
            let submissions: Vec<Submission> = gaps
                .into_iter()
                .map(|(gap, requester, bytes)| {
                    // Half of the gaps are none, so that queues build up.
                    now += gap.saturating_sub(20);
                    (now, requester, bytes)
                })
                .collect();
            let dram = dram(rate, latency, quantum, weights);
            let (shared, expected) = (completions(&BandwidthLimited, &dram, &submissions), stepped(&dram, &submissions));
            proptest::prop_assert_eq!(shared, expected);
        }
    }
}
