//! Teams of matrix units, lanes of queues, and the part of a tile that each member of a team takes.
//!
//! A team is one unit, or several equal ones that split each product among them: they start a tile together and the next
//! one once all have accepted it, as units under one instruction stream do. A lane is a set of in-order queues (loads,
//! stores, vector work) with a share of each buffer of its own; teams that share no unit have different lanes, so their
//! nests run beside each other and none can hold space that an older nest of another lane needs.

use crate::hardware::matrix_unit::MatrixUnitId;
use crate::schedule::grid::{Axis, Tile};
use crate::shape::Span;

/// Index of a team in [`Schedule::teams`](crate::schedule::Schedule::teams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeamId(pub usize);

/// Index of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub usize);

/// Matrix units that work as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Members, ascending; equal in all but their names.
    pub units: Vec<MatrixUnitId>,
    /// Lane of its queues.
    pub lane: LaneId,
}

/// How a team shares the tiles of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamSplit {
    /// Axis along which each member takes a part; without one the first member works alone.
    pub axis: Option<Axis>,
    /// Members of the team.
    pub members: u64,
    /// Parts start at multiples of this: what the array works on at once.
    pub quantum: u64,
}

impl TeamSplit {
    /// The first member of a team of `members` works alone.
    pub const fn alone(members: u64) -> TeamSplit {
        TeamSplit { axis: None, members, quantum: 1 }
    }

    /// Members that have work.
    pub const fn parts(&self) -> u64 {
        match self.axis {
            Some(_) => self.members,
            None => 1,
        }
    }

    /// Parts into which `axis` is split.
    pub fn parts_along(&self, axis: Axis) -> u64 {
        if self.axis == Some(axis) { self.members } else { 1 }
    }

    /// How often each partial sum takes room, over all members: where each has sums of the whole tile, or leaves as much free,
    /// once for each of them.
    pub const fn claims_of_each_sum(&self) -> u64 {
        match self.axis {
            None | Some(Axis::K) => self.members,
            Some(Axis::M | Axis::N) => 1,
        }
    }

    /// Whether members hold partial sums of the same outputs, which have to be added.
    pub const fn is_along_k(&self) -> bool {
        matches!(self.axis, Some(Axis::K)) && self.members > 1
    }

    /// Additions of each output that join the members' partial sums, where the first block along k has `depth` indices.
    /// Members for which it leaves nothing have no sums.
    pub const fn joins(&self, depth: u64) -> u64 {
        if !self.is_along_k() {
            return 0;
        }
        let quanta = depth.div_ceil(self.quantum);
        quanta.div_ceil(quanta.div_ceil(self.members)) - 1
    }

    /// The part of `span` that `member` takes: whole quanta, as even as they go, the first member's never the smaller.
    pub const fn part_of(&self, span: Span, member: u64) -> Span {
        let part = span.len().div_ceil(self.quantum).div_ceil(self.members) * self.quantum;
        let start = span.start + part * member;
        let start = if start < span.end { start } else { span.end };
        let end = if start + part < span.end { start + part } else { span.end };
        Span::new(start, end)
    }

    /// The part of `tile` that `member` takes; `None` where nothing is left for it.
    #[inline]
    pub fn part(&self, tile: &Tile, member: u64) -> Option<Tile> {
        let part = match self.axis {
            None => return (member == 0).then_some(*tile),
            Some(Axis::M) => Tile { m: self.part_of(tile.m, member), ..*tile },
            Some(Axis::K) => Tile { k: self.part_of(tile.k, member), ..*tile },
            Some(Axis::N) => Tile { n: self.part_of(tile.n, member), ..*tile },
        };
        let is_empty = part.m.is_empty() || part.k.is_empty() || part.n.is_empty();
        (!is_empty).then_some(part)
    }

    /// The parts of `tile` with their members, in ascending order.
    pub fn parts_of(self, tile: Tile) -> impl Iterator<Item = (u64, Tile)> {
        (0..self.parts()).filter_map(move |member| Some((member, self.part(&tile, member)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_quanta_that_fill_the_span_without_a_gap() {
        let split = TeamSplit { axis: Some(Axis::N), members: 4, quantum: 8 };
        // 70 columns are nine quanta: three each for the first three members.
        let parts: Vec<Span> = (0..4).map(|member| split.part_of(Span::new(100, 170), member)).collect();
        assert_eq!(parts, [Span::new(100, 124), Span::new(124, 148), Span::new(148, 170), Span::new(170, 170)]);
        let tile = Tile { batch: 0, m: Span::new(0, 5), k: Span::new(0, 7), n: Span::new(100, 170) };
        assert_eq!(split.parts_of(tile).count(), 3);
        assert_eq!(TeamSplit::alone(4).parts_of(tile).collect::<Vec<_>>(), [(0, tile)]);
    }
}
