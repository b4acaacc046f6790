//! Candidates of the tiling search with k outside of m or n: a few, and only where they can gain anything.
//!
//! What such a grid can save are fetches: with `nkm` the weights, with `mkn` the activations are read once although k is
//! cut. It pays with sums that leave and come back. So nothing is gained where a grid with k innermost fetches each operand
//! once, and a candidate is worth its estimate only if it moves at most half as many bytes again off the chip as the best of those do:
//! where tiles are small it can be faster by longer runs of the array even so. `knm` and `kmn` fetch what these two do, with
//! more sums open at once, and are left out.

use crate::hardware::npu::Npu;
use crate::schedule::estimate::{Estimate, loaded_from, stored_to};
use crate::schedule::grid::{Axis, Grid};
use crate::schedule::nest::{Nest, Reader};
use crate::schedule::room::exceeded;
use crate::schedule::spill::allows;
use crate::shape::Blocking;
use crate::units::Bytes;
use crate::workload::mapping::LoopOrder;

/// A tile of sums takes at most one of so many parts of the accumulators: alone, beside another, beside three.
const SHARES: [u64; 3] = [1, 2, 4];

/// A candidate moves at most this percentage of the fewest bytes that a grid with k innermost moves.
const MOST_BYTES_PERCENT: u64 = 150;

/// Grids of `nest` with k outside that move at most half as many bytes again off the chip as the best of `innermost`, which moves
/// `least`, and whose blocks they are made of.
pub fn candidates(npu: &Npu, nest: &Nest, innermost: &[(Estimate, Grid)], least: Bytes) -> Vec<Grid> {
    let fetches_once = |grid: &Grid| {
        let loads = nest.loads.iter().filter(|load| load.reader == Reader::Matrix);
        loads.map(|load| load.map.axes()).all(|axes| grid.fetches(axes) == grid.distinct(axes))
    };
    let orders = [(LoopOrder::NKM, Axis::N, Axis::M), (LoopOrder::MKN, Axis::M, Axis::N)];
    if innermost.is_empty() || !orders.iter().all(|(order, ..)| allows(nest, *order)) {
        return Vec::new();
    }
    if innermost.iter().any(|(_, grid)| fetches_once(grid)) {
        return Vec::new();
    }
    let dram = npu.dram_id();
    let moved = |grid: &Grid| loaded_from(dram, nest, grid) + stored_to(dram, nest, grid);
    let blocks = |axis: Axis| -> Vec<Blocking> {
        let mut blocks: Vec<u64> = innermost.iter().map(|(_, grid)| grid.blocking(axis).block()).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let extent = nest.grid.blocking(axis).extent();
        blocks.into_iter().map(|block| Blocking::new(extent, block)).collect()
    };
    let most = least.get().saturating_mul(MOST_BYTES_PERCENT) / 100;
    let depths = blocks(Axis::K);
    let mut grids = Vec::new();
    for (order, outer, inner) in orders {
        let (outer, inner) = (blocks(outer), blocks(inner));
        for outer in outer {
            for k in depths.iter().copied().filter(|k| k.count() > 1) {
                let on = |inner: &Blocking| {
                    let (m, n) = if order == LoopOrder::NKM { (*inner, outer) } else { (outer, *inner) };
                    Grid { m, k, n, order, ..nest.grid }
                };
                // Longer blocks of the inner axis fetch nothing less often; the longest of each share is taken.
                let mut longest = SHARES.map(|share| inner.iter().rev().map(on).find(|grid| fits(nest, grid, share)));
                for position in 1..SHARES.len() {
                    if longest[..position].contains(&longest[position]) {
                        longest[position] = None;
                    }
                }
                grids.extend(longest.into_iter().flatten().filter(|grid| moved(grid) <= most));
            }
        }
    }
    grids
}

/// Whether the tiles of `grid` fit, those of sums into one of `share` parts of the accumulators.
fn fits(nest: &Nest, grid: &Grid, share: u64) -> bool {
    let sums = |matrix: &crate::schedule::nest::MatrixWork| {
        matrix.claimed_sum_bytes(&grid.first_tile()) * share <= matrix.accumulators.capacity.get()
    };
    nest.matrix.as_ref().is_some_and(sums) && exceeded(nest, grid).is_none()
}
