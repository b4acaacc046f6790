//! Commands that begin while their input is still on its way, and queues that pass bytes on at a pace of their own.

use std::collections::{BTreeMap, VecDeque};

use crate::schedule::counter::{CounterId, Wait};
use crate::units::{Bytes, Cycles, Rate};

/// When commands end that signalled at their first result: a consumer that waits for the n-th signal of a counter begins
/// then, and ends no earlier than the n-th command. Consumers ask in ascending order, so that only what is under way is
/// held.
#[derive(Debug, Default)]
pub(super) struct Flows {
    by_counter: BTreeMap<CounterId, Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    /// Signals whose ends have been forgotten.
    forgotten: u64,
    ends: VecDeque<Cycles>,
}

impl Flows {
    /// A command that raises `counter` by one with its first result ends at `end`.
    pub(super) fn begin(&mut self, counter: CounterId, end: Cycles) {
        self.by_counter.entry(counter).or_default().ends.push_back(end);
    }

    /// When the producers end for whose first results `waits` have waited; 0 where all of them have ended before they
    /// told.
    pub(super) fn end_of(&mut self, waits: &[Wait]) -> Cycles {
        if self.by_counter.is_empty() {
            return Cycles::ZERO;
        }
        let mut end = Cycles::ZERO;
        for wait in waits {
            let Some(flow) = self.by_counter.get_mut(&wait.counter) else { continue };
            while flow.forgotten + 1 < wait.at_least {
                flow.ends.pop_front();
                flow.forgotten += 1;
            }
            end = end.max(flow.ends.front().copied().unwrap_or_default());
        }
        end
    }
}

/// Passes bytes on in order, no faster than a rate; without one, at once.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: Option<Rate>,
    /// When everything has been passed on, in units of a cycle / rate numerator.
    until: u128,
}

impl Pacer {
    pub(super) fn new(rate: Option<Rate>) -> Pacer {
        Pacer { rate, until: 0 }
    }

    /// When `bytes` that are all there at `now` have been passed on. They came one after the other, so that only what is
    /// ahead of them can hold them up.
    pub(super) fn pass(&mut self, bytes: Bytes, now: Cycles) -> Cycles {
        let Some(rate) = self.rate else { return now };
        let cycle = u128::from(rate.numerator());
        let service = u128::from(bytes.get()) * u128::from(rate.denominator());
        self.until = (self.until + service).max(u128::from(now.get()) * cycle);
        Cycles(u64::try_from(self.until.div_ceil(cycle)).expect("cycles fit 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_ends_no_earlier_than_the_producer_of_its_own_tile() {
        let mut flows = Flows::default();
        let (counter, other) = (CounterId(3), CounterId(4));
        let wait = |counter, at_least| [Wait { counter, at_least }];
        assert_eq!(flows.end_of(&wait(counter, 1)), Cycles(0));
        flows.begin(counter, Cycles(100));
        flows.begin(counter, Cycles(250));
        assert_eq!(flows.end_of(&wait(counter, 1)), Cycles(100));
        // Several outputs of one tile ask for the same signal.
        assert_eq!(flows.end_of(&wait(counter, 1)), Cycles(100));
        assert_eq!(flows.end_of(&wait(other, 1)), Cycles(0));
        assert_eq!(flows.end_of(&wait(counter, 2)), Cycles(250));
    }

    #[test]
    fn bytes_are_held_up_only_by_what_is_ahead_of_them() {
        // 6.4 bytes a cycle: 64 bytes take ten.
        let mut pacer = Pacer::new(Rate::try_new(32, 5));
        assert_eq!(pacer.pass(Bytes(64), Cycles(100)), Cycles(100));
        assert_eq!(pacer.pass(Bytes(64), Cycles(108)), Cycles(110));
        assert_eq!(pacer.pass(Bytes(32), Cycles(112)), Cycles(115));
        assert_eq!(pacer.pass(Bytes(64), Cycles(200)), Cycles(200));
        assert_eq!(Pacer::new(None).pass(Bytes(64), Cycles(7)), Cycles(7));
    }
}
