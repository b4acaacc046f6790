//! The tile grid of a nest: three blocked axes and the order in which they are walked.
//!
//! Everything about a nest's commands follows from the grid in closed form: how often an operand's tile changes, which
//! step uses a tile for the last time, when a row block is final. Nothing is listed step by step.

use crate::shape::{Blocking, Span};
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
    m: bool,
    k: bool,
    n: bool,
}

impl AxisSet {
    /// Depends on no axis: one tile for the whole nest.
    pub const NONE: AxisSet = AxisSet { m: false, k: false, n: false };
    /// Rows only.
    pub const M: AxisSet = AxisSet { m: true, k: false, n: false };
    /// Columns only.
    pub const N: AxisSet = AxisSet { m: false, k: false, n: true };
    /// The left operand.
    pub const MK: AxisSet = AxisSet { m: true, k: true, n: false };
    /// The right operand.
    pub const KN: AxisSet = AxisSet { m: false, k: true, n: true };
    /// The output.
    pub const MN: AxisSet = AxisSet { m: true, k: false, n: true };
    /// Every step.
    pub const MKN: AxisSet = AxisSet { m: true, k: true, n: true };

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
        }
    }
}

/// A tile grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Grid {
    /// Rows of the output.
    pub m: Blocking,
    /// Reduction axis; one block of one index for vector nests.
    pub k: Blocking,
    /// Columns of the output.
    pub n: Blocking,
    /// Loop order.
    pub order: LoopOrder,
}

/// The indices that one tile covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
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
        self.m.count() * self.k.count() * self.n.count()
    }

    /// Number of output tiles.
    pub const fn output_tiles(&self) -> u64 {
        self.m.count() * self.n.count()
    }

    /// Consecutive steps that use the same tile of an operand that depends on `axes`.
    pub fn period(&self, axes: AxisSet) -> u64 {
        let mut period = 1;
        for axis in self.order.axes().into_iter().rev() {
            let count = self.blocking(axis).count();
            if axes.contains(axis) && count > 1 {
                return period;
            }
            period *= count;
        }
        period
    }

    /// How often an operand that depends on `axes` has to be fetched when only its current tile is kept.
    pub fn fetches(&self, axes: AxisSet) -> u64 {
        self.steps() / self.period(axes)
    }

    /// The fetches of an operand that depends on `axes`, in order: the tile of the first step that uses each.
    pub fn walk(&self, axes: AxisSet) -> GridWalk {
        let fetches = self.fetches(axes);
        GridWalk { grid: *self, period: self.period(axes), index: 0, fetches, position: [0; 3] }
    }
}

/// Walks a grid in strides of one period, as an odometer: no division per step.
#[derive(Clone, Debug)]
pub struct GridWalk {
    grid: Grid,
    period: u64,
    index: u64,
    fetches: u64,
    /// Block index in each loop, outermost first.
    position: [u64; 3],
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
    /// Whether this is the last block along n: rows of this tile become final with it.
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
        let [outer, middle, k] = self.position;
        let (m, n) = match self.grid.order {
            LoopOrder::MNK => (outer, middle),
            LoopOrder::NMK => (middle, outer),
        };
        let step = GridStep {
            index: self.index,
            first_step: self.index * self.period,
            tile: Tile { m: self.grid.m.span(m), k: self.grid.k.span(k), n: self.grid.n.span(n) },
            is_first_k: k == 0,
            is_last_k: self.grid.k.is_last(k),
            is_last_n: self.grid.n.is_last(n),
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
        for (place, axis) in self.grid.order.axes().into_iter().enumerate().rev() {
            let count = self.grid.blocking(axis).count();
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

    fn grid(order: LoopOrder) -> Grid {
        Grid { m: Blocking::new(10, 4), k: Blocking::new(6, 3), n: Blocking::new(7, 2), order }
    }

    #[test]
    fn a_walk_visits_each_fetch_where_a_plain_triple_loop_sees_the_tile_change() {
        for order in [LoopOrder::MNK, LoopOrder::NMK] {
            for axes in [AxisSet::NONE, AxisSet::M, AxisSet::N, AxisSet::MK, AxisSet::KN, AxisSet::MN, AxisSet::MKN] {
                let grid = grid(order);
                let mut expected = Vec::new();
                let mut last = None;
                let mut step = 0;
                let [outer, middle, _] = order.axes();
                for a in 0..grid.blocking(outer).count() {
                    for b in 0..grid.blocking(middle).count() {
                        for k in 0..grid.k.count() {
                            let (m, n) = if outer == Axis::M { (a, b) } else { (b, a) };
                            let key = (axes.m.then_some(m), axes.k.then_some(k), axes.n.then_some(n));
                            if last != Some(key) {
                                let tile = Tile { m: grid.m.span(m), k: grid.k.span(k), n: grid.n.span(n) };
                                expected.push((step, tile));
                                last = Some(key);
                            }
                            step += 1;
                        }
                    }
                }
                let walked: Vec<_> = grid.walk(axes).map(|step| (step.first_step, step.tile)).collect();
                assert_eq!(walked, expected, "{order:?} {axes:?}");
            }
        }
    }

    #[test]
    fn an_axis_of_one_block_never_forces_a_fetch() {
        let whole_k =
            Grid { m: Blocking::new(8, 4), k: Blocking::new(6, 6), n: Blocking::new(4, 2), order: LoopOrder::NMK };
        assert_eq!(whole_k.fetches(AxisSet::KN), 2);
        assert_eq!(whole_k.fetches(AxisSet::MK), 4);
        assert_eq!(whole_k.fetches(AxisSet::NONE), 1);
    }
}
