//! Amounts over time, in equal steps whose number is bounded: when a run outgrows them, two become one of twice the length.

use std::collections::BTreeMap;

/// Series of amounts over common steps.
#[derive(Clone, Debug)]
pub(crate) struct Steps<K> {
    most: usize,
    cycles_per_step: u64,
    series: BTreeMap<K, Vec<u64>>,
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

    /// The series by key: the amount in each step, up to the last one that has any.
    pub(crate) fn series(&self) -> &BTreeMap<K, Vec<u64>> {
        &self.series
    }

    /// Adds `amount` evenly from cycle `from` to cycle `to`; all of it at `from`, if that is not earlier.
    pub(crate) fn spread(&mut self, key: K, amount: u64, from: u64, to: u64) {
        let to = to.max(from + 1);
        while to > self.cycles_per_step * self.most as u64 {
            self.cycles_per_step *= 2;
            for steps in self.series.values_mut() {
                *steps = steps.chunks(2).map(|pair| pair.iter().sum()).collect();
            }
        }
        let steps = self.series.entry(key).or_default();
        let step = self.cycles_per_step;
        let (first, last) = ((from / step) as usize, ((to - 1) / step) as usize);
        if steps.len() <= last {
            steps.resize(last + 1, 0);
        }
        // What is there up to a cycle, so that the parts sum to the whole.
        let length = u128::from(to - from);
        let until = |cycle: u64| (u128::from(amount) * u128::from(cycle - from) / length) as u64;
        for (index, sum) in steps.iter_mut().enumerate().take(last + 1).skip(first) {
            let start = from.max(index as u64 * step);
            let end = to.min((index as u64 + 1) * step);
            *sum += until(end) - until(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_spread_evenly_and_nothing_of_it_is_lost() {
        let mut steps = Steps::new(256);
        steps.spread("reads", 10, 2, 6);
        // 10 over four cycles: 2, 5, 7 and 10 of them are there at the end of each.
        assert_eq!(steps.series()["reads"], [0, 0, 2, 3, 2, 3]);
        steps.spread("writes", 7, 5, 5);
        assert_eq!(steps.series()["writes"], [0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn steps_double_when_the_run_outgrows_them_and_keep_their_amounts() {
        let mut steps = Steps::new(256);
        steps.spread(0, 100, 0, 100);
        steps.spread(0, 1000, 0, 1000);
        // The least power of two of which 256 reach cycle 1000.
        assert_eq!(steps.cycles_per_step(), 4);
        let sums = &steps.series()[&0];
        assert_eq!((sums.len(), sums.iter().sum::<u64>()), (250, 1100));
        // Two a cycle up to cycle 100, one after it.
        assert_eq!((sums[0], sums[24], sums[25], sums[249]), (8, 8, 4, 4));
    }
}
