//! Which tensors stay on the chip between nests.
//!
//! A tensor that fits the resident partition over its whole life stays. Of the rest, what the run produces and what fits
//! the shared memory, where there is one, goes through that; everything else goes through off-chip memory. Bytes are counted
//! at each. Space is handed on from dead tensors to new ones; whoever fills it waits until the readers of
//! the old ones are done.

use std::collections::{BTreeMap, BTreeSet};

use crate::program::Program;
use crate::program::tensor::{Origin, TensorId};
use crate::program::uses::TensorUses;
use crate::schedule::grouping::Group;
use crate::units::Bytes;

/// The life of a tensor between nests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The tensor.
    pub tensor: TensorId,
    /// Its size.
    pub bytes: Bytes,
    /// First group that writes or loads it.
    pub first: usize,
    /// Last group that reads it.
    pub last: usize,
}

/// Tensors that stay on the chip.
#[derive(Clone, Debug, Default)]
pub struct Residents {
    tensors: BTreeSet<TensorId>,
    /// See [`Residents::must_be_done`].
    must_be_done: BTreeMap<usize, usize>,
}

impl Residents {
    /// Chooses the residents: in program order, each tensor that fits beside those chosen before it.
    pub fn choose(program: &Program, groups: &[Group], uses: &TensorUses, capacity: Bytes) -> Residents {
        Residents::fit(candidates(program, groups, uses), groups.len(), capacity)
    }

    /// Chooses those that stay in a shared memory of `capacity` in the same way: tensors that the run produces and that do
    /// not stay among `nearer` ones.
    pub fn choose_spilled(
        program: &Program,
        groups: &[Group],
        uses: &TensorUses,
        nearer: &Residents,
        capacity: Bytes,
    ) -> Residents {
        let mut spilled = candidates(program, groups, uses);
        spilled.retain(|life| !program.tensor(life.tensor).is_given() && !nearer.contains(life.tensor));
        Residents::fit(spilled, groups.len(), capacity)
    }

    fn fit(candidates: Vec<Life>, groups: usize, capacity: Bytes) -> Residents {
        let mut held = vec![Bytes::ZERO; groups];
        let mut lives = Vec::new();
        for life in candidates {
            let during = &mut held[life.first..=life.last];
            if during.iter().all(|held| *held + life.bytes <= capacity) {
                during.iter_mut().for_each(|held| *held += life.bytes);
                lives.push(life);
            }
        }
        Residents::of(lives, capacity)
    }

    /// Residents with these lives, in order of their first groups, which fit the capacity at every group.
    fn of(lives: Vec<Life>, capacity: Bytes) -> Residents {
        let tensors = lives.iter().map(|life| life.tensor).collect();
        let must_be_done = conditions_of_space(&lives, capacity);
        Residents { tensors, must_be_done }
    }

    /// Whether a tensor stays.
    pub fn contains(&self, tensor: TensorId) -> bool {
        self.tensors.contains(&tensor)
    }

    /// Groups up to which everything must be done before `group` may fill its residents; `None` where there is room
    /// beside all tensors that may still be in use.
    pub fn must_be_done(&self, group: usize) -> Option<usize> {
        self.must_be_done.get(&group).copied()
    }
}

/// By group that fills space and cannot do so beside all tensors before: up to which group all must be done. That group
/// only ever moves on, because tensors come and none is taken back.
fn conditions_of_space(lives: &[Life], capacity: Bytes) -> BTreeMap<usize, usize> {
    let mut ends: BTreeMap<usize, Bytes> = BTreeMap::new();
    // Bytes of all tensors so far that live beyond the group up to which all is done.
    let (mut held, mut done) = (Bytes::ZERO, None);
    let mut conditions = BTreeMap::new();
    for filled in lives.chunk_by(|a, b| a.first == b.first) {
        for life in filled {
            held += life.bytes;
            *ends.entry(life.last).or_default() += life.bytes;
        }
        let group = filled[0].first;
        while held > capacity
            && let Some((end, bytes)) = ends.pop_first()
        {
            held = held - bytes;
            done = Some(end);
        }
        if let Some(done) = done {
            conditions.insert(group, done);
        }
    }
    conditions
}

/// Tensors that outlive a nest, in order of their first use: produced ones that another group reads, and given ones
/// that several groups read, if the first of them is a vector chain (which reads whole rows in order).
fn candidates(program: &Program, groups: &[Group], uses: &TensorUses) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for index in 0..program.tensors.len() {
        let tensor = TensorId(index);
        let readers = uses.readers(tensor);
        let Some(&last) = readers.last() else { continue };
        let first = match program.tensor(tensor).origin {
            Origin::Produced => uses.writer(tensor).expect("a produced tensor has a writer"),
            Origin::Source(_) if readers.len() > 1 && is_walked_first(program, &groups[readers[0]], tensor) => {
                readers[0]
            }
            Origin::Source(_) | Origin::Constant(_) | Origin::Prepared => continue,
        };
        if last > first {
            lives.push(Life { tensor, bytes: program.tensor(tensor).bytes(), first, last });
        }
    }
    lives.sort_by_key(|life| (life.first, life.tensor));
    lives
}

/// Whether `group` is a vector chain that walks the rows of `tensor`.
fn is_walked_first(program: &Program, group: &Group, tensor: TensorId) -> bool {
    let walks = |op| program.op(op).kind.walked_inputs().contains(&tensor);
    group.matrix.is_none() && group.ops().any(walks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(tensor: usize, bytes: u64, first: usize, last: usize) -> Life {
        Life { tensor: TensorId(tensor), bytes: Bytes(bytes), first, last }
    }

    #[test]
    fn space_is_refilled_only_after_the_readers_whose_space_it_needs() {
        let lives = vec![life(0, 60, 0, 1), life(1, 30, 1, 2), life(2, 40, 3, 4)];
        let residents = Residents::of(lives, Bytes(100));
        assert_eq!(residents.must_be_done(0), None);
        assert_eq!(residents.must_be_done(1), None);
        // 60 + 30 + 40 exceed 100, but once group 1 is done 30 + 40 fit.
        assert_eq!(residents.must_be_done(3), Some(1));
    }
}
