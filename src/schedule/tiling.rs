//! The tiling search: the best grid of a nest by the closed-form estimate.
//!
//! Candidates form a fixed lattice (whole axes and powers of two of what the array works on at once), so the search is bounded by
//! their number, never by time. Among candidates within one part in `SLACK` of the fewest cycles the one with the fewest
//! off-chip bytes wins: the estimate is no finer than that, and bytes cost energy. Ties are broken by fewer cycles, fewer
//! steps, then by loop order and block sizes.

use crate::dataflow;
use crate::hardware::npu::Npu;
use crate::schedule::estimate::estimate;
use crate::schedule::grid::{Axis, AxisSet, Grid, LoopOrder, Tile};
use crate::schedule::nest::{Destination, DmaQueue, Nest};
use crate::shape::{Blocking, least_common_multiple};
use crate::units::Bytes;

/// A candidate is as good as another when it is slower by less than one part in this many.
const SLACK: u64 = 50;

/// Bytes of each buffer that a nest can use.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Activation partition.
    pub activations: Bytes,
    /// Weight partition.
    pub weights: Bytes,
    /// Output partition.
    pub outputs: Bytes,
    /// Accumulators.
    pub accumulators: Bytes,
}

/// A buffer that is too small for even the smallest tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// Which buffer.
    pub partition: &'static str,
    /// Whether it is the accumulator memory.
    pub is_accumulator: bool,
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available.
    pub available: u64,
}

/// Chooses the grid of a nest.
///
/// # Errors
/// [`TooSmall`] where no candidate fits: the buffer that even the smallest one exceeds.
pub fn search(npu: &Npu, nest: &Nest, buffers: &Buffers) -> Result<Grid, TooSmall> {
    let candidates = candidates(npu, nest);
    // Double buffering where any candidate has room for it; otherwise load and compute take turns.
    best_with(npu, nest, buffers, &candidates, 2).or_else(|_| best_with(npu, nest, buffers, &candidates, 1))
}

/// The best candidate that has room for `copies` of each tile that is fetched more than once.
fn best_with(npu: &Npu, nest: &Nest, buffers: &Buffers, candidates: &[Grid], copies: u64) -> Result<Grid, TooSmall> {
    let mut fitting = Vec::new();
    let mut smallest: Option<(u64, TooSmall)> = None;
    for grid in candidates.iter().copied() {
        if let Some(too_small) = exceeds(nest, &grid, buffers, copies) {
            let excess = too_small.needed - too_small.available;
            if smallest.is_none_or(|(least, _)| excess < least) {
                smallest = Some((excess, too_small));
            }
            continue;
        }
        fitting.push((estimate(npu, nest, &grid), grid));
    }
    let Some(fewest) = fitting.iter().map(|(estimate, _)| estimate.cycles.get()).min() else {
        return Err(smallest.expect("the lattice always has a candidate").1);
    };
    let close = fitting.iter().filter(|(estimate, _)| estimate.cycles.get() <= fewest + fewest / SLACK);
    let best = close.min_by_key(|(estimate, grid)| {
        (estimate.dram_bytes, estimate.cycles, grid.steps(), grid.order, grid.m.block(), grid.k.block())
    });
    Ok(best.expect("the candidate with the fewest cycles is close to itself").1)
}

/// The lattice. A vector nest covers whole rows, because a reduction per row must see the row.
fn candidates(npu: &Npu, nest: &Nest) -> Vec<Grid> {
    let Grid { m, k, n, order } = nest.grid;
    let Some(matrix) = &nest.matrix else {
        return blocks(m.extent(), 1).into_iter().map(|m| Grid { m, k, n, order }).collect();
    };
    let array = &npu.matrix_unit(matrix.unit).array;
    let at_once = dataflow::of(array).granularity(array, matrix.macs_per_element_per_cycle);
    // Products that are summed as one may not be cut: whole folds of whole blocks.
    let depth = least_common_multiple(at_once.k, matrix.depth_unit);
    // A tile of so many blocks along the split axis gives each member of the team one.
    let times = |axis: Axis| if matrix.split.axis == Some(axis) { matrix.split.parts() } else { 1 };
    let mut grids = Vec::new();
    for order in [LoopOrder::MNK, LoopOrder::NMK] {
        for m in blocks(m.extent(), times(Axis::M) * at_once.m) {
            for k in blocks(k.extent(), times(Axis::K) * depth) {
                grids.extend(blocks(n.extent(), times(Axis::N) * at_once.n).into_iter().map(|n| Grid {
                    m,
                    k,
                    n,
                    order,
                }));
            }
        }
    }
    grids
}

/// The whole axis, and every power of two times `unit` below it.
fn blocks(extent: u64, unit: u64) -> Vec<Blocking> {
    let powers = std::iter::successors(Some(unit), |block| block.checked_mul(2));
    let mut blocks: Vec<Blocking> =
        powers.take_while(|block| *block < extent).map(|block| Blocking::new(extent, block)).collect();
    blocks.push(Blocking::new(extent, extent));
    blocks
}

/// The first buffer that `grid` exceeds with `copies` of each operand's tile, or one where it is fetched only once.
fn exceeds(nest: &Nest, grid: &Grid, buffers: &Buffers, copies: u64) -> Option<TooSmall> {
    let full = Tile { m: grid.m.span(0), k: grid.k.span(0), n: grid.n.span(0) };
    let copies_of = |axes: AxisSet| if grid.fetches(axes) > 1 { copies } else { 1 };
    let loaded = |queue: DmaQueue| -> u64 {
        nest.loads
            .iter()
            .filter(|load| load.queue == queue && load.destination != Destination::Resident)
            .map(|load| copies_of(load.map.axes()) * load.storage.tile_bytes(load.map, &full).get())
            .sum()
    };
    let tiles = if grid.output_tiles() > 1 { copies } else { 1 };
    let sums = nest.matrix.map_or(0, |matrix| tiles * matrix.claimed_sum_bytes(&full));
    let leaving: u64 = nest
        .outputs
        .iter()
        .filter(|output| nest.vector.is_some() && output.destination != Destination::Resident)
        .map(|output| tiles * output.storage.tile_bytes(output.map, &full).get())
        .sum();
    [
        ("activation partition", loaded(DmaQueue::Activations), buffers.activations, false),
        ("weight partition", loaded(DmaQueue::Weights), buffers.weights, false),
        ("output partition", leaving, buffers.outputs, false),
        ("capacity", sums, buffers.accumulators, true),
    ]
    .into_iter()
    .find(|(_, needed, available, _)| *needed > available.get())
    .map(|(partition, needed, available, is_accumulator)| TooSmall {
        partition,
        is_accumulator,
        needed,
        available: available.get(),
    })
}
