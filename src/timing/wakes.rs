//! Which queues may be able to issue: those of which something ended, and those that wait for a counter that was raised.

use crate::schedule::counter::CounterId;

/// Queues, by index. Above 64 of them several share a bit, so that one of them may be looked at in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueSet(u64);

impl QueueSet {
    #[inline]
    pub(super) const fn holds(self, queue: usize) -> bool {
        self.0 & Self::bit(queue) != 0
    }

    const fn bit(queue: usize) -> u64 {
        1 << (queue % 64)
    }
}

/// The queues that are awake, and those that sleep by what they wait for.
#[derive(Debug)]
pub(super) struct Wakes {
    awake: QueueSet,
    by_counter: Vec<QueueSet>,
}

impl Wakes {
    /// All queues are awake.
    pub(super) fn new(counters: usize) -> Wakes {
        Wakes { awake: QueueSet(u64::MAX), by_counter: vec![QueueSet::default(); counters] }
    }

    /// Something of `queue` ended, or its unit is free.
    #[inline]
    pub(super) fn wake(&mut self, queue: usize) {
        self.awake.0 |= QueueSet::bit(queue);
    }

    /// `queue` sleeps until `counter` is raised or something of its own ends.
    #[inline]
    pub(super) fn register(&mut self, counter: CounterId, queue: usize) {
        self.by_counter[counter.0 as usize].0 |= QueueSet::bit(queue);
    }

    /// `counter` was raised: whoever waits for it looks again.
    #[inline]
    pub(super) fn raised(&mut self, counter: CounterId) {
        self.awake.0 |= std::mem::take(&mut self.by_counter[counter.0 as usize]).0;
    }

    /// Those that are awake; all of them sleep from now on.
    #[inline]
    pub(super) fn take(&mut self) -> QueueSet {
        std::mem::take(&mut self.awake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_wakes_when_its_counter_is_raised_and_only_then() {
        let mut wakes = Wakes::new(2);
        assert!(wakes.take().holds(5));
        wakes.register(CounterId(1), 5);
        wakes.raised(CounterId(0));
        assert_eq!(wakes.take(), QueueSet::default());
        wakes.raised(CounterId(1));
        let woken = wakes.take();
        assert!(woken.holds(5) && !woken.holds(4));
        // It has to register anew.
        wakes.raised(CounterId(1));
        assert_eq!(wakes.take(), QueueSet::default());
        wakes.wake(3);
        assert!(wakes.take().holds(3));
    }
}
