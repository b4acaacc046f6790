//! What a nest loses where the one before it brings its rows.
//!
//! A nest that reads what the last one makes starts with the first block of rows and not before it, and works on the last
//! block only when that is there. Timed alone, neither shows: all rows are there from the start. The longer its blocks of
//! rows, the less of its work goes on beside the nest before.

use crate::schedule::counter::CounterId;
use crate::schedule::grid::{Axis, Grid};
use crate::schedule::nest::{Access, Nest, Read, TileMap};
use crate::units::Cycles;
use crate::workload::mapping::LoopOrder;

/// Cycles over which a nest's rows arrive evenly, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead(Cycles);

impl Lead {
    /// The lead of `before`, which takes `cycles` alone, over `nest`; `None` where `nest` does not read its rows in order, or
    /// `before` does not make them in order.
    pub fn of(before: &Nest, cycles: Cycles, nest: &Nest) -> Option<Lead> {
        let makes_rows_in_order = outer_passes(&before.grid) == 1;
        let is_one = |grid: &Grid| grid.batches.count() == 1;
        let made: Vec<CounterId> = before.outputs.iter().map(|output| output.rows).collect();
        (makes_rows_in_order && is_one(&before.grid) && is_one(&nest.grid) && reads_rows_of(nest, &made))
            .then_some(Lead(cycles))
    }

    /// Cycles from the start of the nest before to the end of a nest that takes `alone` on `grid`: its first block of rows
    /// comes before all of its work, all rows before what is left for the last block.
    pub fn behind(self, alone: Cycles, grid: &Grid) -> Cycles {
        let (rows, block, passes) = (grid.m.extent(), grid.m.block(), outer_passes(grid));
        let share_of = |cycles: Cycles, part: u64, whole: u64| {
            let share = u128::from(cycles.get()) * u128::from(part) / u128::from(whole.max(1));
            Cycles(u64::try_from(share).expect("a share is no more than the whole"))
        };
        let Lead(lead) = self;
        let first = share_of(lead, block, rows) + alone;
        let last = lead + share_of(alone, block + rows * (passes - 1), rows * passes);
        first.max(last)
    }
}

/// How often the rows are gone through from the first to the last.
fn outer_passes(grid: &Grid) -> u64 {
    match grid.order {
        LoopOrder::MNK | LoopOrder::MKN => 1,
        LoopOrder::NMK | LoopOrder::NKM => grid.n.count(),
        LoopOrder::KMN | LoopOrder::KNM => grid.k.count() * grid.n.count(),
    }
}

fn reads_rows_of(nest: &Nest, made: &[CounterId]) -> bool {
    let is_made = |counter: Option<CounterId>| counter.is_some_and(|counter| made.contains(&counter));
    let resident = |read: &Read| match read.access {
        Access::Resident(counter) => Some(counter),
        Access::Loaded(_) | Access::Ring { .. } | Access::Accumulators | Access::Internal => None,
    };
    // Rows under a window follow one another as those of the output do.
    let follows = |map: &TileMap| map.rows == Some(Axis::M) || map.window.is_some();
    let by_rows = |read: &&Read| follows(&read.map);
    let products = nest.prologue.iter().chain(&nest.matrix);
    let operands = products.flat_map(|matrix| &matrix.operands);
    let inputs = nest.vector.iter().flat_map(|vector| &vector.reads);
    let near = operands.chain(inputs).filter(by_rows).map(resident);
    let far = nest.loads.iter().filter(|load| follows(&load.map)).map(|load| load.produced);
    near.chain(far).any(is_made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::grid::Batches;
    use crate::shape::Blocking;
    use crate::workload::batching::BatchAxis;

    fn grid(rows: u64, order: LoopOrder) -> Grid {
        let whole = Blocking::whole;
        Grid {
            batches: Batches { groups: 1, members: 1, output: BatchAxis::Rows },
            m: Blocking::new(120, rows),
            k: whole(64),
            n: Blocking::new(60, 20),
            order,
        }
    }

    #[test]
    fn long_blocks_of_rows_leave_little_to_do_beside_the_nest_before() {
        let slow = Lead(Cycles(900));
        // All rows in one block: one nest after the other.
        assert_eq!(slow.behind(Cycles(600), &grid(120, LoopOrder::MNK)), Cycles(1500));
        // Three blocks: the last third of the work comes after all rows.
        assert_eq!(slow.behind(Cycles(600), &grid(40, LoopOrder::MNK)), Cycles(900 + 200));
        // A fast nest before: the first third of the rows comes before all of the work.
        assert_eq!(Lead(Cycles(90)).behind(Cycles(600), &grid(40, LoopOrder::MNK)), Cycles(30 + 600));
    }

    #[test]
    fn columns_outside_of_rows_wait_for_the_last_row_in_the_first_pass() {
        // Three passes over the rows: a third of the first one and two whole ones come after all rows.
        assert_eq!(Lead(Cycles(900)).behind(Cycles(900), &grid(40, LoopOrder::NMK)), Cycles(900 + 700));
    }
}
