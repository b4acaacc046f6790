//! Which tensors stay on the chip between nests.
//!
//! A tensor that fits the resident partition over its whole life stays. Of the rest, what the run produces and what fits
//! the shared memory, where there is one, goes through that; everything else goes through off-chip memory. Bytes are counted
//! at each. Space is handed on from dead tensors to new ones; whoever fills it waits until the readers of
//! the old ones are done.

use std::collections::BTreeSet;

use crate::program::Program;
use crate::program::tensor::{Origin, TensorId};
use crate::schedule::grouping::Group;
use crate::units::Bytes;

/// The life of a tensor between nests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The tensor; `None` for partial sums that wait for the next pass of their nest.
    pub tensor: Option<TensorId>,
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
    lives: Vec<Life>,
    capacity: Bytes,
}

impl Residents {
    /// Chooses the residents: in program order, each tensor that fits beside those chosen before it.
    pub fn choose(program: &Program, groups: &[Group], capacity: Bytes) -> Residents {
        Residents::fit(candidates(program, groups), capacity)
    }

    /// Chooses those that stay in a shared memory of `capacity` in the same way: tensors that the run produces and that do
    /// not stay among `nearer` ones.
    pub fn choose_spilled(program: &Program, groups: &[Group], nearer: &Residents, capacity: Bytes) -> Residents {
        let mut spilled = candidates(program, groups);
        let is_produced = |tensor| !program.tensor(tensor).is_given() && !nearer.contains(tensor);
        spilled.retain(|life| life.tensor.is_some_and(is_produced));
        Residents::fit(spilled, capacity)
    }

    fn fit(candidates: Vec<Life>, capacity: Bytes) -> Residents {
        let mut residents = Residents { lives: Vec::new(), capacity };
        for life in candidates {
            let fits = (life.first..=life.last).all(|group| residents.bytes_at(group) + life.bytes <= capacity);
            if fits {
                residents.lives.push(life);
            }
        }
        residents
    }

    /// Whether a tensor stays.
    pub fn contains(&self, tensor: TensorId) -> bool {
        self.lives.iter().any(|life| life.tensor == Some(tensor))
    }

    /// Bytes that are free while a group runs.
    pub fn free_at(&self, group: usize) -> Bytes {
        Bytes(self.capacity.get().saturating_sub(self.bytes_at(group).get()))
    }

    /// Holds so many of the free bytes while a group runs.
    pub fn hold(&mut self, group: usize, bytes: Bytes) {
        self.lives.push(Life { tensor: None, bytes, first: group, last: group });
    }

    /// Bytes held while a group runs.
    pub fn bytes_at(&self, group: usize) -> Bytes {
        self.lives.iter().filter(|life| life.first <= group && group <= life.last).map(|life| life.bytes).sum()
    }

    /// Groups up to which everything must be done before `group` may fill its residents; `None` where there is room
    /// beside all tensors that may still be in use.
    pub fn must_be_done(&self, group: usize) -> Option<usize> {
        let fills = self.lives.iter().any(|life| life.first == group);
        let so_far = || self.lives.iter().filter(|life| life.first <= group);
        let held_after = |done: Option<usize>| -> Bytes {
            so_far().filter(|life| done.is_none_or(|done| life.last > done)).map(|life| life.bytes).sum()
        };
        if !fills || held_after(None) <= self.capacity {
            return None;
        }
        let ends: BTreeSet<usize> = so_far().map(|life| life.last).filter(|last| *last < group).collect();
        ends.into_iter().find(|done| held_after(Some(*done)) <= self.capacity)
    }
}

/// Tensors that outlive a nest, in order of their first use: produced ones that another group reads, and given ones
/// that several groups read, if the first of them is a vector chain (which reads whole rows in order).
fn candidates(program: &Program, groups: &[Group]) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for index in 0..program.tensors.len() {
        let tensor = TensorId(index);
        let uses_it = |group: &Group, as_output: bool| {
            group.ops().any(|op| {
                let kind = &program.op(op).kind;
                if as_output { kind.writes().contains(&tensor) } else { kind.reads().contains(&tensor) }
            })
        };
        let readers: Vec<usize> = (0..groups.len()).filter(|group| uses_it(&groups[*group], false)).collect();
        let Some(&last) = readers.last() else { continue };
        let first = match program.tensor(tensor).origin {
            Origin::Produced => {
                (0..groups.len()).find(|group| uses_it(&groups[*group], true)).expect("a produced tensor has a writer")
            }
            Origin::Source(_) if readers.len() > 1 && is_walked_first(program, &groups[readers[0]], tensor) => {
                readers[0]
            }
            Origin::Source(_) | Origin::Constant(_) | Origin::Prepared => continue,
        };
        if last > first {
            lives.push(Life { tensor: Some(tensor), bytes: program.tensor(tensor).bytes(), first, last });
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
        Life { tensor: Some(TensorId(tensor)), bytes: Bytes(bytes), first, last }
    }

    #[test]
    fn space_is_refilled_only_after_the_readers_whose_space_it_needs() {
        let lives = vec![life(0, 60, 0, 1), life(1, 30, 1, 2), life(2, 40, 3, 4)];
        let residents = Residents { lives, capacity: Bytes(100) };
        assert_eq!(residents.must_be_done(0), None);
        assert_eq!(residents.must_be_done(1), None);
        // 60 + 30 + 40 exceed 100, but once group 1 is done 30 + 40 fit.
        assert_eq!(residents.must_be_done(3), Some(1));
        assert_eq!(residents.bytes_at(1), Bytes(90));
    }
}
