//! The last nests of each compute queue: what to wait for until everything up to some nest is done.

use std::collections::BTreeMap;

use crate::schedule::counter::{CounterId, Wait};
use crate::schedule::nest::Nest;

/// The nests so far, by the queue of their last compute commands. Compute queues are in order, so the last nest of each
/// stands for all before it.
#[derive(Clone, Debug, Default)]
pub struct ComputeEnds {
    /// By lane, the nests that end with a vector chain: position and counter of the end, ascending.
    chained: BTreeMap<usize, Vec<(usize, CounterId)>>,
    /// By team, the nests that end with a product.
    plain: BTreeMap<usize, Vec<(usize, CounterId)>>,
}

impl ComputeEnds {
    /// Adds the nest at position `index`; nests are added in order.
    pub fn add(&mut self, index: usize, nest: &Nest) {
        let ends = match (&nest.vector, &nest.matrix) {
            (Some(_), _) => self.chained.entry(nest.lane.0),
            (None, Some(matrix)) => self.plain.entry(matrix.team.0),
            (None, None) => unreachable!("a nest has a product or a chain"),
        };
        ends.or_default().push((index, nest.done));
    }

    /// Conditions before a nest fills space for which all nests up to `must_be_done` must be done: one for each queue, the
    /// chains' first, later nests first.
    pub fn waits(&self, must_be_done: Option<usize>) -> Vec<Wait> {
        let Some(last) = must_be_done else { return Vec::new() };
        let latest = |queues: &BTreeMap<usize, Vec<(usize, CounterId)>>| {
            let of_queue = |ends: &Vec<(usize, CounterId)>| {
                ends[..ends.partition_point(|(index, _)| *index <= last)].last().copied()
            };
            let mut latest: Vec<(usize, CounterId)> = queues.values().filter_map(of_queue).collect();
            latest.sort_unstable_by_key(|(index, _)| std::cmp::Reverse(*index));
            latest
        };
        let ends = latest(&self.chained).into_iter().chain(latest(&self.plain));
        ends.map(|(_, counter)| Wait { counter, at_least: 1 }).collect()
    }
}
