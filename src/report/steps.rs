//! Amounts over time, in equal steps whose number is bounded: when a run outgrows them, two become one of twice the length.

use std::collections::BTreeMap;

use crate::memory::Service;
use crate::units::Rate;

/// Series of amounts over common steps.
#[derive(Clone, Debug)]
pub(crate) struct Steps<K> {
    most: usize,
    cycles_per_step: u64,
    series: BTreeMap<K, Series>,
}

/// Amounts in each step, up to the last one that has any.
#[derive(Clone, Debug)]
struct Series {
    /// Counted in ticks where a channel's bytes are; a byte takes as many as the denominator of its rate.
    rate: Option<Rate>,
    sums: Vec<u128>,
}

impl<K: Ord> Steps<K> {
    /// No series yet; at most so many steps.
    pub(crate) fn new(most: usize) -> Steps<K> {
        Steps { most, cycles_per_step: 1, series: BTreeMap::new() }
    }

    /// Length of a step in cycles.
    pub(crate) fn cycles_per_step(&self) -> u64 {
        self.cycles_per_step
    }

    /// Keys of the series, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.series.keys()
    }

    /// The amount in each step, up to the last one that has any. Of a byte that is moved in two steps, the second one has it,
    /// so that the steps sum to the whole.
    pub(crate) fn amounts(&self, key: &K) -> Option<Vec<u64>> {
        let Series { rate, sums } = self.series.get(key)?;
        let ticks_per_unit = rate.map_or(1, |rate| u128::from(rate.denominator()));
        let (mut sum, mut before) = (0, 0);
        let amount = |ticks: &u128| {
            sum += ticks;
            let amount = sum / ticks_per_unit - before;
            before += amount;
            u64::try_from(amount).expect("an amount is no more than was given")
        };
        Some(sums.iter().map(amount).collect())
    }

    /// Adds `amount` evenly from cycle `from` to cycle `to`; all of it at `from`, if that is not earlier.
    pub(crate) fn spread(&mut self, key: K, amount: u64, from: u64, to: u64) {
        self.add(key, None, u128::from(amount), (u128::from(from), u128::from(to.max(from + 1))));
    }

    /// Adds the bytes that a channel has moved.
    pub(crate) fn serve(&mut self, key: K, service: &Service) {
        let Service { from, to, ticks, rate, .. } = *service;
        self.add(key, Some(rate), ticks, (from, to));
    }

    /// Adds `amount` evenly from tick `from` to tick `to`, of which a cycle has as many as the numerator of `rate`, or one.
    fn add(&mut self, key: K, rate: Option<Rate>, amount: u128, (from, to): (u128, u128)) {
        let ticks_per_cycle = rate.map_or(1, |rate| u128::from(rate.numerator()));
        while to > u128::from(self.cycles_per_step) * self.most as u128 * ticks_per_cycle {
            self.cycles_per_step *= 2;
            for Series { sums, .. } in self.series.values_mut() {
                *sums = sums.chunks(2).map(|pair| pair.iter().sum()).collect();
            }
        }
        let Series { sums, .. } = self.series.entry(key).or_insert(Series { rate, sums: Vec::new() });
        let step = u128::from(self.cycles_per_step) * ticks_per_cycle;
        let (first, last) = ((from / step) as usize, ((to - 1) / step) as usize);
        if sums.len() <= last {
            sums.resize(last + 1, 0);
        }
        // What is there up to a tick, so that the parts sum to the whole.
        let until = |tick: u128| amount * (tick - from) / (to - from);
        for (index, sum) in sums.iter_mut().enumerate().take(last + 1).skip(first) {
            let start = from.max(index as u128 * step);
            let end = to.min((index as u128 + 1) * step);
            *sum += until(end) - until(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Direction;

    #[test]
    fn an_amount_is_spread_evenly_and_nothing_of_it_is_lost() {
        let mut steps = Steps::new(256);
        steps.spread("reads", 10, 2, 6);
        // 10 over four cycles: 2, 5, 7 and 10 of them are there at the end of each.
        assert_eq!(steps.amounts(&"reads").unwrap(), [0, 0, 2, 3, 2, 3]);
        steps.spread("writes", 7, 5, 5);
        assert_eq!(steps.amounts(&"writes").unwrap(), [0, 0, 0, 0, 0, 7]);
        assert_eq!(steps.amounts(&"others"), None);
    }

    #[test]
    fn steps_double_when_the_run_outgrows_them_and_keep_their_amounts() {
        let mut steps = Steps::new(256);
        steps.spread(0, 100, 0, 100);
        steps.spread(0, 1000, 0, 1000);
        // The least power of two of which 256 reach cycle 1000.
        assert_eq!(steps.cycles_per_step(), 4);
        let sums = steps.amounts(&0).unwrap();
        assert_eq!((sums.len(), sums.iter().sum::<u64>()), (250, 1100));
        // Two a cycle up to cycle 100, one after it.
        assert_eq!((sums[0], sums[24], sums[25], sums[249]), (8, 8, 4, 4));
    }

    #[test]
    fn bytes_that_a_channel_moves_are_counted_in_the_cycles_in_which_it_moves_them() {
        // 12.8 bytes a cycle are 64 ticks a cycle and 5 a byte. Three transfers of 32 bytes back to back take 7.5 cycles.
        let rate = Rate::try_new(64, 5).unwrap();
        let mut steps = Steps::new(8);
        for transfer in 0..3 {
            let (from, to) = (transfer * 160, (transfer + 1) * 160);
            steps.serve((), &Service { direction: Direction::Read, from, to, ticks: 160, rate });
        }
        // At the end of each cycle 12.8, 25.6, 38.4, 51.2, 64, 76.8, 89.6 and 96 bytes have moved.
        assert_eq!(steps.amounts(&()).unwrap(), [12, 13, 13, 13, 13, 12, 13, 7]);
        assert_eq!(steps.cycles_per_step(), 1);
    }
}
