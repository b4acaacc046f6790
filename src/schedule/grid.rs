//! The tile grid of a nest: three blocked axes and the order in which they are walked.
//!
//! Everything about a nest's commands follows from the grid in closed form: how often an operand's tile changes, which
//! step uses a tile for the last time, when a row block is final. Nothing is listed step by step.

use crate::shape::{Blocking, Span};
use crate::workload::batching::{BatchAxis, Batching};
use crate::workload::mapping::LoopOrder;

/// An axis of a tile grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Rows of the output.
    M,
    /// The reduction axis.
    K,
    /// Columns of the output.
    N,
}

impl Axis {
    /// Name in files, reports and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Axis::M => "m",
            Axis::K => "k",
            Axis::N => "n",
        }
    }
}

/// Which axes the index of an operand's tile depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AxisSet {
    batch: BatchDependence,
    m: bool,
    k: bool,
    n: bool,
}

/// Whether an operand's tile depends on the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchDependence {
    /// All batches use the same.
    None,
    /// Batches that share a right operand use the same.
    Group,
    /// Each batch has its own.
    Each,
}

impl AxisSet {
    /// Depends on no axis: one tile for the whole nest.
    pub const NONE: AxisSet = AxisSet::new(false, false, false);
    /// Rows only.
    pub const M: AxisSet = AxisSet::new(true, false, false);
    /// Columns only.
    pub const N: AxisSet = AxisSet::new(false, false, true);
    /// The left operand.
    pub const MK: AxisSet = AxisSet::new(true, true, false);
    /// The right operand.
    pub const KN: AxisSet = AxisSet::new(false, true, true);
    /// The output.
    pub const MN: AxisSet = AxisSet::new(true, false, true).with_batch(BatchDependence::Each);
    /// Every step.
    pub const MKN: AxisSet = AxisSet::new(true, true, true).with_batch(BatchDependence::Each);

    const fn new(m: bool, k: bool, n: bool) -> AxisSet {
        AxisSet { batch: BatchDependence::None, m, k, n }
    }

    /// How it depends on the batch.
    pub const fn batch(self) -> BatchDependence {
        self.batch
    }

    /// The same axes, and the batch.
    pub const fn with_batch(self, batch: BatchDependence) -> AxisSet {
        AxisSet { batch, ..self }
    }

    /// Whether `axis` is in the set.
    pub const fn contains(self, axis: Axis) -> bool {
        match axis {
            Axis::M => self.m,
            Axis::K => self.k,
            Axis::N => self.n,
        }
    }
}

impl LoopOrder {
    /// Axes, outermost first.
    pub const fn axes(self) -> [Axis; 3] {
        match self {
            LoopOrder::MNK => [Axis::M, Axis::N, Axis::K],
            LoopOrder::NMK => [Axis::N, Axis::M, Axis::K],
            LoopOrder::MKN => [Axis::M, Axis::K, Axis::N],
            LoopOrder::NKM => [Axis::N, Axis::K, Axis::M],
            LoopOrder::KMN => [Axis::K, Axis::M, Axis::N],
            LoopOrder::KNM => [Axis::K, Axis::N, Axis::M],
        }
    }

    /// Positions of m, k and n among the axes.
    const fn positions(self) -> [usize; 3] {
        match self {
            LoopOrder::MNK => [0, 2, 1],
            LoopOrder::NMK => [1, 2, 0],
            LoopOrder::MKN => [0, 1, 2],
            LoopOrder::NKM => [2, 1, 0],
            LoopOrder::KMN => [1, 0, 2],
            LoopOrder::KNM => [2, 0, 1],
        }
    }
}

/// The batches of a nest: its outermost loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Batches {
    /// Groups of batches that share a right operand.
    pub groups: u64,
    /// Batches of a group.
    pub members: u64,
    /// Where the outputs lie: with batches side by side a row is final only in the last of them.
    pub output: BatchAxis,
}

impl Batches {
    /// A single batch.
    pub const SINGLE: Batches = Batches { groups: 1, members: 1, output: BatchAxis::Rows };

    /// The batches of a product.
    pub const fn of(batching: &Batching) -> Batches {
        let (groups, members) = (batching.right_count(), batching.right_sharing);
        Batches { groups, members, output: batching.output }
    }

    /// Number of batches.
    pub const fn count(self) -> u64 {
        self.groups * self.members
    }
}

/// A tile grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Grid {
    /// Batches, outermost.
    pub batches: Batches,
    /// Rows of the output.
    pub m: Blocking,
    /// Reduction axis; one block of one index for vector nests.
    pub k: Blocking,
    /// Columns of the output.
    pub n: Blocking,
    /// Loop order.
    pub order: LoopOrder,
}

/// The indices that one tile covers, within its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Which batch.
    pub batch: u64,
    /// Rows of the output.
    pub m: Span,
    /// Reduction axis.
    pub k: Span,
    /// Columns of the output.
    pub n: Span,
}

impl Grid {
    /// Blocks along `axis`.
    pub const fn blocking(&self, axis: Axis) -> Blocking {
        match axis {
            Axis::M => self.m,
            Axis::K => self.k,
            Axis::N => self.n,
        }
    }

    /// Number of steps, k blocks included.
    pub const fn steps(&self) -> u64 {
        self.output_tiles() * self.k.count()
    }

    /// Number of output tiles.
    pub const fn output_tiles(&self) -> u64 {
        self.batches.count() * self.m.count() * self.n.count()
    }

    /// Output tiles whose partial sums are open at once: those inside of the loop over k, and one where that is innermost.
    pub const fn open_tiles(&self) -> u64 {
        match self.order {
            LoopOrder::MNK | LoopOrder::NMK => 1,
            LoopOrder::MKN => self.n.count(),
            LoopOrder::NKM => self.m.count(),
            LoopOrder::KMN | LoopOrder::KNM => self.m.count() * self.n.count(),
        }
    }

    /// The walk over output tiles in the order in which they become final: each of its steps is a whole output tile.
    pub const fn of_outputs(&self) -> Grid {
        Grid { k: Blocking::whole(self.k.extent()), ..*self }
    }

    /// The step at which whatever follows output tile `index`, counted in the order of [`Grid::of_outputs`], should stand
    /// ready: that of its first block of k where k is innermost, else that of its last, lest it waits for a whole pass.
    pub const fn step_of_output(&self, index: u64) -> u64 {
        let open = self.open_tiles();
        let first = index / open * self.k.count() * open + index % open;
        if open == 1 { first } else { first + (self.k.count() - 1) * open }
    }

    /// Consecutive steps that use the same tile of an operand that depends on `axes`.
    pub fn period(&self, axes: AxisSet) -> u64 {
        let mut period = 1;
        let depends = self.dependence(axes);
        for (count, depends) in self.loop_counts().into_iter().zip(depends).rev() {
            if depends && count > 1 {
                return period;
            }
            period *= count;
        }
        period
    }

    /// How many distinct tiles an operand that depends on `axes` has.
    pub fn distinct(&self, axes: AxisSet) -> u64 {
        let counts = self.loop_counts().into_iter().zip(self.dependence(axes));
        counts.filter(|(_, depends)| *depends).map(|(count, _)| count).product()
    }

    /// How often each loop runs, outermost first: groups of batches, their members, then the axes in order.
    fn loop_counts(&self) -> [u64; 5] {
        let [outer, middle, inner] = self.order.axes().map(|axis| self.blocking(axis).count());
        [self.batches.groups, self.batches.members, outer, middle, inner]
    }

    /// Which loops `axes` depend on.
    fn dependence(&self, axes: AxisSet) -> [bool; 5] {
        let [outer, middle, inner] = self.order.axes().map(|axis| axes.contains(axis));
        let (groups, members) = match axes.batch {
            BatchDependence::None => (false, false),
            BatchDependence::Group => (true, false),
            BatchDependence::Each => (true, true),
        };
        [groups, members, outer, middle, inner]
    }

    /// The first tile: no other is larger along any axis.
    pub fn first_tile(&self) -> Tile {
        Tile { batch: 0, m: self.m.span(0), k: self.k.span(0), n: self.n.span(0) }
    }

    /// How often an operand that depends on `axes` has to be fetched when only its current tile is kept.
    pub fn fetches(&self, axes: AxisSet) -> u64 {
        self.steps() / self.period(axes)
    }

    /// The fetches of an operand that depends on `axes`, in order: the tile of the first step that uses each.
    pub fn walk(&self, axes: AxisSet) -> GridWalk {
        let fetches = self.fetches(axes);
        let counts = self.loop_counts();
        let (period, places) = (self.period(axes), self.order.positions());
        GridWalk { grid: *self, period, index: 0, fetches, counts, places, position: [0; 5] }
    }
}

/// Walks a grid in strides of one period, as an odometer: no division per step.
#[derive(Clone, Debug)]
pub struct GridWalk {
    grid: Grid,
    period: u64,
    index: u64,
    fetches: u64,
    /// How often each loop runs, outermost first.
    counts: [u64; 5],
    /// Which of the inner three loops is that over m, k and n.
    places: [usize; 3],
    /// Position in each loop.
    position: [u64; 5],
}

/// One stride of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridStep {
    /// Number of this stride, from 0.
    pub index: u64,
    /// First step of the stride.
    pub first_step: u64,
    /// Tile at that first step.
    pub tile: Tile,
    /// Whether this is the first block along k.
    pub is_first_k: bool,
    /// Whether this is the last block along k.
    pub is_last_k: bool,
    /// Whether rows of this tile become final with it: it is the last block along n, and of the last batch where batches lie
    /// side by side.
    pub is_last_n: bool,
    /// Whether this is the last stride of the walk.
    pub is_last: bool,
}

impl Iterator for GridWalk {
    type Item = GridStep;

    #[inline]
    fn next(&mut self) -> Option<GridStep> {
        if self.index == self.fetches {
            return None;
        }
        let [group, member, loops @ ..] = self.position;
        let [m, k, n] = self.places.map(|place| loops[place]);
        let batch = group * self.counts[1] + member;
        let ends_rows = match self.grid.batches.output {
            BatchAxis::Rows => true,
            BatchAxis::Columns => batch + 1 == self.grid.batches.count(),
        };
        let step = GridStep {
            index: self.index,
            first_step: self.index * self.period,
            tile: Tile { batch, m: self.grid.m.span(m), k: self.grid.k.span(k), n: self.grid.n.span(n) },
            is_first_k: k == 0,
            is_last_k: self.grid.k.is_last(k),
            is_last_n: ends_rows && self.grid.n.is_last(n),
            is_last: self.index + 1 == self.fetches,
        };
        self.index += 1;
        self.advance();
        Some(step)
    }
}

impl GridWalk {
    /// Moves to the next stride: a period is always a product of the innermost loops, so only the loops outside of it
    /// count on.
    #[inline]
    fn advance(&mut self) {
        let mut inside = self.period;
        for place in (0..self.counts.len()).rev() {
            let count = self.counts[place];
            if inside > 1 && inside >= count {
                // This loop runs whole inside one stride.
                inside /= count;
                continue;
            }
            self.position[place] += 1;
            if self.position[place] < count {
                return;
            }
            self.position[place] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(order: LoopOrder, batches: Batches) -> Grid {
        Grid { batches, m: Blocking::new(10, 4), k: Blocking::new(6, 3), n: Blocking::new(7, 2), order }
    }

    #[test]
    fn a_walk_visits_each_fetch_where_plain_loops_see_the_tile_change() {
        let sets = [AxisSet::NONE, AxisSet::M, AxisSet::N, AxisSet::MK, AxisSet::KN, AxisSet::MN, AxisSet::MKN];
        let dependences = [BatchDependence::None, BatchDependence::Group, BatchDependence::Each];
        for (groups, members) in [(1, 1), (3, 1), (1, 2), (2, 3)] {
            let batches = Batches { groups, members, output: BatchAxis::Rows };
            for (_, order) in LoopOrder::NAMES {
                for axes in sets.into_iter().flat_map(|set| dependences.map(|batch| set.with_batch(batch))) {
                    let grid = grid(order, batches);
                    let expected = tile_changes(&grid, axes);
                    let walked: Vec<_> = grid.walk(axes).map(|step| (step.first_step, step.tile)).collect();
                    assert_eq!(walked, expected, "{order:?} {axes:?} {batches:?}");
                }
            }
        }
    }

    fn tile_changes(grid: &Grid, axes: AxisSet) -> Vec<(u64, Tile)> {
        let mut expected = Vec::new();
        let mut last = None;
        let mut step = 0;
        let [outer, middle, inner] = grid.order.axes();
        let count = |axis| grid.blocking(axis).count();
        for batch in 0..grid.batches.count() {
            for a in 0..count(outer) {
                for b in 0..count(middle) {
                    for c in 0..count(inner) {
                        let at = |axis| {
                            if outer == axis {
                                a
                            } else if middle == axis {
                                b
                            } else {
                                c
                            }
                        };
                        let (m, k, n) = (at(Axis::M), at(Axis::K), at(Axis::N));
                        let batch_key = match axes.batch {
                            BatchDependence::None => 0,
                            BatchDependence::Group => batch / grid.batches.members,
                            BatchDependence::Each => batch,
                        };
                        let key = (batch_key, axes.m.then_some(m), axes.k.then_some(k), axes.n.then_some(n));
                        if last != Some(key) {
                            let tile = Tile { batch, m: grid.m.span(m), k: grid.k.span(k), n: grid.n.span(n) };
                            expected.push((step, tile));
                            last = Some(key);
                        }
                        step += 1;
                    }
                }
            }
        }
        expected
    }

    #[test]
    fn output_tiles_become_final_in_the_order_of_the_walk_over_outputs() {
        for (_, order) in LoopOrder::NAMES {
            let grid = grid(order, Batches { groups: 2, members: 1, output: BatchAxis::Rows });
            let steps: Vec<GridStep> = grid.walk(AxisSet::MKN).collect();
            let finals: Vec<_> = steps.iter().filter(|step| step.is_last_k).collect();
            let outputs: Vec<_> = grid.of_outputs().walk(AxisSet::MN).collect();
            assert_eq!(finals.len(), outputs.len(), "{order:?}");
            for (step, output) in finals.iter().zip(&outputs) {
                assert_eq!(
                    (step.tile.batch, step.tile.m, step.tile.n),
                    (output.tile.batch, output.tile.m, output.tile.n)
                );
                let ready = grid.step_of_output(output.index);
                let first = if grid.open_tiles() == 1 { step.index + 1 - grid.k.count() } else { step.index };
                assert_eq!(ready, first, "{order:?}");
            }
            // A tile is open from its first block of k to its last.
            let mut open = std::collections::BTreeSet::new();
            let most = steps.iter().map(|step| {
                open.insert((step.tile.batch, step.tile.m.start, step.tile.n.start));
                let count = open.len() as u64;
                if step.is_last_k {
                    open.remove(&(step.tile.batch, step.tile.m.start, step.tile.n.start));
                }
                count
            });
            assert_eq!(most.max(), Some(grid.open_tiles()), "{order:?}");
        }
    }

    #[test]
    fn rows_of_batches_side_by_side_are_final_only_in_the_last_batch() {
        let finals = |output| {
            let batches = Batches { groups: 3, members: 1, output };
            let walk = grid(LoopOrder::MNK, batches).walk(AxisSet::MN);
            walk.filter(|step| step.is_last_n).map(|step| step.tile.batch).collect::<Vec<_>>()
        };
        assert_eq!(finals(BatchAxis::Rows), [0, 0, 0, 1, 1, 1, 2, 2, 2], "three row blocks each");
        assert_eq!(finals(BatchAxis::Columns), [2, 2, 2]);
    }

    #[test]
    fn an_axis_of_one_block_never_forces_a_fetch() {
        let whole_k = Grid {
            batches: Batches::SINGLE,
            m: Blocking::new(8, 4),
            k: Blocking::new(6, 6),
            n: Blocking::new(4, 2),
            order: LoopOrder::NMK,
        };
        assert_eq!(whole_k.fetches(AxisSet::KN), 2);
        assert_eq!(whole_k.fetches(AxisSet::MK), 4);
        assert_eq!(whole_k.fetches(AxisSet::NONE), 1);
    }
}
