//! The lattice of the tiling search: which blocks each axis may be cut into.
//!
//! An even cut into `j` parts needs the least room of all cuts into `j` blocks and leaves the last one the least ragged,
//! so for few parts every `j` is tried; beyond that, and where the block rather than its number matters, powers of two.

use crate::dataflow;
use crate::hardware::npu::Npu;
use crate::schedule::grid::{Axis, Grid};
use crate::schedule::nest::{Nest, TileMap};
use crate::schedule::room::{Buffer, exceeded, needed};
use crate::schedule::spill;
use crate::shape::{Blocking, least_common_multiple};
use crate::workload::mapping::LoopOrder;

/// Up to so many parts, each even cut of m and n is a candidate.
const EVEN_PARTS: u64 = 10;
/// The same along k, where fewer matter: a cut of k costs no off-chip byte, it only makes operand tiles smaller.
const EVEN_DEPTHS: u64 = 10;

/// More tiles of an operand than this at once in its buffer hide nothing more.
const MOST_PLACES: u64 = 8;

/// The most blocks of m or n: the even cuts, an uneven one and no more than 22 powers of two, as axes are no longer than
/// 2^22; rows under a window have twice as many powers.
const MOST_BLOCKS: u64 = EVEN_PARTS + 1 + 2 * 22;

/// The most candidates of a nest: two loop orders, blocks of m and n and for each of them four that fit beside it, and
/// blocks of k.
pub const MOST_CANDIDATES: u64 = 2 * MOST_BLOCKS * (MOST_BLOCKS + 4) * (EVEN_DEPTHS + 23);

/// Every candidate grid of `nest`, fit or not. A vector nest covers whole rows, because a reduction per row must see the
/// row.
pub fn candidates(npu: &Npu, nest: &Nest) -> Vec<Grid> {
    let Grid { batches, m, k, n, order } = nest.grid;
    // A tile of so many blocks along the split axis gives each member of the team one.
    let parts = |axis| nest.matrix.map_or(1, |matrix| matrix.split.parts_along(axis));
    let units = |axis| parts(axis) * least_common_multiple(preferred_unit(npu, nest, axis), block_unit(nest, axis));
    let mut rows = blocks(m.extent(), units(Axis::M), EVEN_PARTS);
    let Some(matrix) = &nest.matrix else {
        return rows.into_iter().map(|m| Grid { batches, m, k, n, order }).collect();
    };
    if let Some(window) = &matrix.window {
        // Tiles of whole image rows share no more of the input than they must.
        rows.extend(blocks(m.extent(), window.x.output(), 1));
        rows.sort_unstable_by_key(|rows| rows.block());
        rows.dedup();
    }
    // Sums that leave at once are whole, and a sequencer takes one block of output columns after the other.
    if matrix.streams_results {
        let n = Blocking::new(n.extent(), (parts(Axis::N) * preferred_unit(npu, nest, Axis::N)).min(n.extent()));
        let grids: Vec<Grid> = rows.into_iter().rev().map(|m| Grid { m, n, ..nest.grid }).collect();
        // Weights pass once where all rows are in the buffer; else as many as it holds.
        let most_rows = grids.iter().find(|grid| exceeded(nest, grid).is_none());
        return most_rows.map_or(grids.clone(), |grid| vec![*grid]);
    }
    let depths = blocks(k.extent(), units(Axis::K), EVEN_DEPTHS);
    let columns = blocks(n.extent(), units(Axis::N), EVEN_PARTS);
    let mut outputs: Vec<(Blocking, Blocking)> =
        rows.iter().flat_map(|m| columns.iter().map(move |n| (*m, *n))).collect();
    // The block of one axis that just fits the accumulators beside a block of the other, as one tile or as two: bytes are
    // fewest there.
    for tiles in [1, 2] {
        let most = most_sums(nest) / tiles;
        outputs.extend(rows.iter().filter_map(|m| Some((*m, fitting(n.extent(), most / m.block(), units(Axis::N))?))));
        outputs
            .extend(columns.iter().filter_map(|n| Some((fitting(m.extent(), most / n.block(), units(Axis::M))?, *n))));
    }
    outputs.sort_unstable_by_key(|(m, n)| (m.block(), n.block()));
    outputs.dedup();
    let mut grids = Vec::with_capacity(2 * depths.len() * outputs.len());
    // Large blocks first, which are mostly better. Loop orders of the same blocks follow each other, and depths of the same
    // blocks of m and n: estimates share their work.
    for (m, n) in outputs.into_iter().rev() {
        // One output tile, or one row or column of them, is walked alike in both orders.
        let differ = m.count() > 1 && n.count() > 1;
        for k in worthwhile(nest, &depths, |k| Grid { batches, m, k, n, order }) {
            let orders = LoopOrder::WITH_K_INNERMOST.into_iter().filter(|order| spill::allows(nest, *order));
            let orders = orders.filter(|order| differ || *order == LoopOrder::MNK);
            grids.extend(orders.map(|order| Grid { batches, m, k, n, order }));
        }
    }
    grids
}

/// Of ascending `depths`, those at which the operand buffers hold more tiles at once than at the next longer one, up to
/// [`MOST_PLACES`], and the shortest, which arrives first: a cut of k costs steps and is good for nothing else.
fn worthwhile(nest: &Nest, depths: &[Blocking], grid: impl Fn(Blocking) -> Grid) -> Vec<Blocking> {
    let places = |k: Blocking| {
        let grid = grid(k);
        let buffers = [Buffer::Activations, Buffer::Weights].map(|buffer| needed(nest, &grid, buffer));
        let held = buffers.into_iter().flatten().map(|(bytes, capacity)| capacity.get() / bytes.max(1));
        held.min().unwrap_or(MOST_PLACES).min(MOST_PLACES)
    };
    let mut kept: Vec<Blocking> = Vec::new();
    let mut most = 0;
    for (index, k) in depths.iter().copied().enumerate().rev() {
        if most == MOST_PLACES && index > 0 {
            continue;
        }
        let places = places(k);
        if places > most || index == 0 {
            kept.push(k);
            most = most.max(places);
        }
    }
    kept
}

/// Partial sums of different outputs that the accumulators hold.
fn most_sums(nest: &Nest) -> u64 {
    let matrix = nest.matrix.as_ref().expect("only products have partial sums");
    let capacity = matrix.accumulators.capacity.get() / matrix.split.claims_of_each_sum();
    capacity * 8 / matrix.sums.element_bits.max(1)
}

/// The longest block of at most `most` that starts at multiples of `unit`; none where it would be the whole axis.
fn fitting(extent: u64, most: u64, unit: u64) -> Option<Blocking> {
    let block = most / unit * unit;
    (0 < block && block < extent).then(|| Blocking::new(extent, block))
}

/// Blocks of `axis` must be multiples of this, but for one block that covers the axis: products that are summed as one
/// may not be cut, blocks that share a scale neither, and each row of a tile in off-chip memory starts with a whole byte.
pub fn block_unit(nest: &Nest, axis: Axis) -> u64 {
    let depth = match &nest.matrix {
        Some(matrix) if axis == Axis::K => matrix.depth_unit,
        Some(_) | None => 1,
    };
    let whole_bytes = |map: TileMap, element_bits: u64| match map.columns {
        // Tensors whose bytes are not counted have elements of no bits.
        Some(columns) if columns == axis && element_bits > 0 => {
            map.blocks.block() * (least_common_multiple(element_bits, 8) / element_bits)
        }
        Some(_) | None => 1,
    };
    let loads = nest.loads.iter().map(|load| whole_bytes(load.map, load.storage.element_bits));
    let outputs = nest.outputs.iter().map(|output| whole_bytes(output.map, output.storage.element_bits));
    loads.chain(outputs).fold(depth, least_common_multiple)
}

/// What the array works on at once along `axis`: below it, work is padded.
fn preferred_unit(npu: &Npu, nest: &Nest, axis: Axis) -> u64 {
    let Some(matrix) = &nest.matrix else { return 1 };
    let array = &npu.matrix_unit(matrix.unit).array;
    let at_once = dataflow::of(array).granularity(array, matrix.macs_per_element_per_cycle);
    match axis {
        Axis::M => at_once.m,
        Axis::K => at_once.k,
        Axis::N => at_once.n,
    }
}

/// The whole axis, three quarters of it (a short last block drains fast), the even cuts into up to `parts` parts rounded up to `unit`, and every power of two times `unit`;
/// ascending.
fn blocks(extent: u64, unit: u64, parts: u64) -> Vec<Blocking> {
    let powers = std::iter::successors(Some(unit), |block| block.checked_mul(2)).take_while(|block| *block < extent);
    let even = (2..=parts).map(|parts| extent.div_ceil(parts).next_multiple_of(unit)).filter(|block| *block < extent);
    let short_last = (extent - extent / 4).next_multiple_of(unit).min(extent);
    let mut blocks: Vec<u64> = powers.chain(even).chain([short_last, extent]).collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks.into_iter().map(|block| Blocking::new(extent, block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_cut_evenly_in_powers_of_two_and_not_at_all() {
        let listed: Vec<u64> = blocks(100, 8, 4).into_iter().map(Blocking::block).collect();
        // Powers 8, 16, 32, 64; halves of 50 rounded to 56, thirds of 34 to 40, quarters of 25 to 32; 75 to 80; the whole.
        assert_eq!(listed, [8, 16, 32, 40, 56, 64, 80, 100]);
        assert_eq!(blocks(5, 8, 16).len(), 1);
    }
}
