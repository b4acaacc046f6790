//! Partial sums that leave the accumulators between passes along k, and come back.
//!
//! With k outside of m or n, the sums of several output tiles are open at once. Where all of them fit the accumulators
//! they stay. Otherwise all of them leave after each pass but the last (a *spill*) and come back before each but the first
//! (a *fill*), as they are: integers and floats in the accumulator's own width, so that nothing is rounded on the way. They
//! wait in the nearest memory with room for all that are open: the resident partition, the shared memory, off the chip.
//!
//! Every step of such a nest claims room for its sums, in the order of the steps: on the first pass with the product's
//! command, on later ones with the fill. Credits stay free of deadlock, because a claim waits until there is room beside
//! *all* claims before it, whichever queue makes them.

use crate::hardware::memory::MemoryId;
use crate::memory::{Direction, Transfer};
use crate::schedule::counter::CounterId;
use crate::schedule::grid::{Grid, GridStep, Tile};
use crate::schedule::nest::{Nest, TileMap};
use crate::schedule::ring;
use crate::schedule::tile_kinds::output_tiles;
use crate::units::Bytes;
use crate::workload::mapping::LoopOrder;

/// What a nest needs to spill the sums of its product, should its grid ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spilling {
    /// Counts tiles of sums, not yet final, that may leave.
    pub computed: CounterId,
    /// Counts tiles of sums that have left.
    pub spilled: CounterId,
    /// Counts tiles of sums that are back.
    pub filled: CounterId,
    /// On-chip memories where sums may wait, nearest first.
    pub near: [Option<Home>; 2],
    /// Off-chip memory, which has room for all.
    pub far: Home,
    /// Bytes of the accumulators that earlier nests have claimed in all.
    pub claimed_before: u64,
}

/// Where sums wait between passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The memory.
    pub memory: MemoryId,
    /// Address there.
    pub base: u64,
    /// Bytes that are free there.
    pub room: Bytes,
}

/// Whether `nest` can be walked in `order`. What passes through a ring is made by rows. Sums that leave the array at once are whole, those that a prologue left are
/// added to at once, and those of members that share k are joined at the end of one walk along it.
pub fn allows(nest: &Nest, order: LoopOrder) -> bool {
    let has_one_holder = nest.matrix.as_ref().is_some_and(|matrix| !matrix.split.is_along_k());
    if ring::output(nest).is_some() {
        return order == LoopOrder::MNK;
    }
    LoopOrder::WITH_K_INNERMOST.contains(&order) || (nest.spilling.is_some() && has_one_holder)
}

/// Bytes of the accumulators that the sums of all open output tiles of `grid` take.
pub fn open_bytes(nest: &Nest, grid: &Grid) -> u64 {
    let one = nest.matrix.as_ref().map_or(0, |matrix| matrix.claimed_sum_bytes(&grid.first_tile()));
    grid.open_tiles() * one
}

/// Where the sums of `nest` wait between passes on `grid`; `None` where they stay in the accumulators.
pub fn home(nest: &Nest, grid: &Grid) -> Option<Home> {
    let (matrix, spilling) = (nest.matrix.as_ref()?, nest.spilling.as_ref()?);
    if grid.open_tiles() == 1 || grid.k.count() == 1 || open_bytes(nest, grid) <= matrix.accumulators.capacity.get() {
        return None;
    }
    let waiting = waiting_bytes(nest, grid);
    Some(spilling.near.into_iter().flatten().find(|home| waiting <= home.room).unwrap_or(spilling.far))
}

/// Bytes that the sums of all open output tiles of `grid` take where they wait.
pub fn waiting_bytes(nest: &Nest, grid: &Grid) -> Bytes {
    let one =
        nest.matrix.as_ref().map_or(0, |matrix| matrix.sums.tile_bytes(&TileMap::OUTPUT, &grid.first_tile()).get());
    Bytes(grid.open_tiles() * one)
}

/// Bytes that no more sums of `nest` can take where they wait, on any grid. A ragged last block takes the room of a whole one,
/// so blocks cover less than twice an axis.
pub fn most_waiting_bytes(nest: &Nest) -> Bytes {
    let bytes = nest.matrix.as_ref().map_or(0, |matrix| matrix.sums.row_bytes(1));
    Bytes(4 * nest.grid.m.extent() * nest.grid.n.extent() * bytes)
}

/// Bytes that leave the accumulators on `grid` before they are final; as many come back.
pub fn spilled_bytes(nest: &Nest, grid: &Grid) -> u64 {
    match (&nest.matrix, home(nest, grid)) {
        (Some(matrix), Some(_)) => {
            let bytes =
                output_tiles(grid).map(|(times, tile)| times * matrix.sums.tile_bytes(&TileMap::OUTPUT, &tile).get());
            (grid.k.count() - 1) * bytes.sum::<u64>()
        }
        (_, None) | (None, _) => 0,
    }
}

/// Bytes that leave for `memory` on `grid`.
pub fn spilled_to(memory: MemoryId, nest: &Nest, grid: &Grid) -> u64 {
    if home(nest, grid).is_some_and(|home| home.memory == memory) { spilled_bytes(nest, grid) } else { 0 }
}

/// Bytes of the accumulators that the commands of `nest` claim one after the other.
pub fn claimed_bytes(nest: &Nest) -> u64 {
    let Some(matrix) = nest.matrix.as_ref().filter(|matrix| !matrix.streams_results) else { return 0 };
    let times = if home(nest, &nest.grid).is_some() { nest.grid.k.count() } else { 1 };
    output_tiles(&nest.grid).map(|(tiles, tile)| times * tiles * matrix.claimed_sum_bytes(&tile)).sum()
}

/// Which spill takes the sums of `step` away, counted from 0; those of the last pass stay.
pub fn spill_of(grid: &Grid, step: &GridStep) -> u64 {
    let (open, passes) = (grid.open_tiles(), grid.k.count());
    step.index / (open * passes) * (open * (passes - 1)) + step.index % (open * passes)
}

/// Which fill brings the sums of `step` back, counted from 0: what the spill of the same number took away. The first pass
/// has none.
pub fn fill_of(grid: &Grid, step: &GridStep) -> u64 {
    spill_of(grid, step) - grid.open_tiles()
}

/// Moves the sums of `step` from or to where they wait: each tile in one piece.
pub fn transfer(nest: &Nest, home: Home, step: &GridStep, direction: Direction) -> Transfer {
    let matrix = nest.matrix.as_ref().expect("only products have partial sums");
    let bytes = |tile: &Tile| matrix.sums.tile_bytes(&TileMap::OUTPUT, tile).get();
    let offset = step.index % nest.grid.open_tiles() * bytes(&nest.grid.first_tile());
    let row_bytes = bytes(&step.tile);
    Transfer { memory: home.memory, base: home.base + offset, rows: 1, row_bytes, pitch: row_bytes, direction }
}
