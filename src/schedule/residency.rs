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
use crate::schedule::gather;
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

/// Tensors that stay on the chip, and the space that they take, group by group.
#[derive(Clone, Debug, Default)]
pub struct Residents {
    tensors: BTreeSet<TensorId>,
    /// In order of their first groups; those up to some group have been filled.
    lives: Vec<Life>,
    filled: usize,
    /// Bytes of tensors by group.
    held: Vec<Bytes>,
    capacity: Bytes,
    /// Bytes that have been filled and live beyond the group up to which all must be done.
    occupied: Bytes,
    /// The same by last group.
    ends: BTreeMap<usize, Bytes>,
    /// Up to which group all must be done for what has been filled. It only ever moves on, because tensors come and none is
    /// taken back.
    done: Option<usize>,
}

impl Residents {
    /// Chooses the residents: in program order, each tensor that fits beside those chosen before it.
    pub fn choose(program: &Program, groups: &[Group], uses: &TensorUses, capacity: Bytes) -> Residents {
        let mut candidates = candidates(program, groups, uses);
        let gathered = gather::sources(program);
        candidates.retain(|life| !gathered.contains(&life.tensor));
        Residents::fit(candidates, groups.len(), capacity)
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
        let tensors = lives.iter().map(|life| life.tensor).collect();
        Residents { tensors, lives, held, capacity, ..Residents::default() }
    }

    /// Whether a tensor stays.
    pub fn contains(&self, tensor: TensorId) -> bool {
        self.tensors.contains(&tensor)
    }

    /// Bytes that no tensor has while `group` runs.
    pub fn free_at(&self, group: usize) -> Bytes {
        self.held.get(group).map_or(self.capacity, |held| self.capacity - *held)
    }

    /// Bytes that no tensor has while `group` or `next`, the one after it, runs; `None` where what lives then does not fit
    /// at once.
    pub fn free_beside(&self, group: usize, next: usize) -> Option<Bytes> {
        let held = self.held.get(group).copied().unwrap_or_default();
        let from = self.lives.partition_point(|life| life.first < next);
        let brought = self.lives[from..].iter().take_while(|life| life.first == next).map(|life| life.bytes).sum();
        let together: Bytes = held + brought;
        (together <= self.capacity).then(|| self.capacity - together)
    }

    /// Fills what `group` brings: the group up to which everything must be done before it may do so; `None` where it
    /// brings nothing, or where there is room beside all tensors that may still be in use. Groups ask in order, each once.
    pub fn fill(&mut self, group: usize) -> Option<usize> {
        let from = self.filled;
        while let Some(life) = self.lives.get(self.filled).filter(|life| life.first <= group).copied() {
            self.filled += 1;
            self.occupy(life.bytes, life.last);
        }
        if self.filled > from { self.make_room() } else { None }
    }

    /// Takes so many of the free bytes from the group that was filled last until the end of group `last`; up to which group
    /// everything must be done before.
    pub fn hold(&mut self, last: usize, bytes: Bytes) -> Option<usize> {
        self.occupy(bytes, last);
        self.make_room()
    }

    /// Up to which group all must be done for everything that has been filled.
    pub fn done(&self) -> Option<usize> {
        self.done
    }

    fn occupy(&mut self, bytes: Bytes, last: usize) {
        self.occupied += bytes;
        *self.ends.entry(last).or_default() += bytes;
    }

    fn make_room(&mut self) -> Option<usize> {
        while self.occupied > self.capacity
            && let Some((end, bytes)) = self.ends.pop_first()
        {
            self.occupied = self.occupied - bytes;
            self.done = Some(end);
        }
        self.done
    }
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
            Origin::Source(_) | Origin::Transposed(_) | Origin::Constant(_) | Origin::Prepared => continue,
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
        let mut residents = Residents::fit(lives, 5, Bytes(100));
        assert_eq!(residents.fill(0), None);
        assert_eq!(residents.fill(1), None);
        // 60 + 30 + 40 exceed 100, but once group 1 is done 30 + 40 fit.
        assert_eq!(residents.fill(3), Some(1));
    }

    #[test]
    fn sums_that_wait_take_space_that_the_next_tensors_wait_for() {
        let mut residents = Residents::fit(vec![life(0, 60, 0, 1), life(1, 70, 3, 4)], 5, Bytes(100));
        assert_eq!(residents.free_at(1), Bytes(40));
        assert_eq!(residents.free_at(2), Bytes(100));
        assert_eq!((residents.fill(0), residents.fill(1), residents.fill(2)), (None, None, None));
        // 60 + 80 exceed 100 until group 1 is done; then 80 + 70 until group 2 is.
        assert_eq!(residents.hold(2, Bytes(80)), Some(1));
        assert_eq!(residents.fill(3), Some(2));
    }
}
