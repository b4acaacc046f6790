//! The one closed-form cost of a nest on a grid: what the tiling search minimises.
//!
//! It knows the bounds that overlap (compute, vector, off-chip bytes) and the two ends that do not (first tiles in, last
//! tile out). Timing measures; this only ranks.

use crate::dataflow;
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;
use crate::schedule::grid::{Axis, Grid, Tile};
use crate::schedule::nest::{Destination, DmaQueue, Load, Nest, Storage, TileMap};
use crate::schedule::tile_work::tile_work;
use crate::shape::{Blocking, Span};
use crate::units::{Bytes, Cycles};

/// Estimated cost of a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Estimate {
    /// Cycles from the first load to the last store, alone on the machine.
    pub cycles: Cycles,
    /// Bytes from and to off-chip memory.
    pub dram_bytes: Bytes,
}

/// Estimates `nest` on `grid`.
pub fn estimate(npu: &Npu, nest: &Nest, grid: &Grid) -> Estimate {
    let loads: u64 = nest.loads.iter().map(|load| load_bytes(load, grid)).sum();
    let leaving = nest.outputs.iter().filter(|output| output.destination != Destination::Resident);
    let stores: u64 = leaving.clone().map(|output| total_tile_bytes(&output.storage, output.map, grid)).sum();
    let first = Tile { m: grid.m.span(0), k: grid.k.span(0), n: grid.n.span(0) };
    let first_in: u64 = nest.loads.iter().map(|load| load.storage.tile_bytes(load.map, &first).get()).sum();
    let last_out: u64 = leaving.map(|output| output.storage.tile_bytes(output.map, &first).get()).sum();

    let dram = npu.dram();
    let transfer = |bytes: u64| dram.bytes_per_cycle.cycles_for(bytes);
    let matrix = matrix_cycles(npu, nest, grid);
    let vector = vector_cycles(npu, nest, grid);
    let queues =
        [DmaQueue::Activations, DmaQueue::Weights].into_iter().map(|queue| load_queue_cycles(npu, nest, grid, queue));
    let overlapped = queues.fold(transfer(loads + stores).max(matrix).max(vector), Cycles::max);
    let tiles = grid.output_tiles();
    let last_vector = Cycles(vector.get() / tiles);
    let ends = transfer(first_in) + transfer(last_out) + last_vector;
    Estimate { cycles: overlapped + ends + dram.latency * 2, dram_bytes: Bytes(loads + stores) }
}

/// Cycles that a load queue needs at least: it sets up one transfer after the other, and only so many are under way.
fn load_queue_cycles(npu: &Npu, nest: &Nest, grid: &Grid, queue: DmaQueue) -> Cycles {
    let (dram, dma) = (npu.dram(), npu.dma());
    let loads = nest.loads.iter().filter(|load| load.queue == queue);
    let (transfers, bytes) = loads.fold((0, 0), |(transfers, bytes), load| {
        (transfers + grid.fetches(load.map.axes()), bytes + load_bytes(load, grid))
    });
    let round_trip = dma.setup + dram.latency;
    let under_way =
        Cycles((round_trip * transfers + dram.bytes_per_cycle.cycles_for(bytes)).get() / u64::from(dma.outstanding));
    under_way.max(dma.setup * transfers)
}

/// Bytes that a load brings over the whole nest, refetches included.
pub fn load_bytes(load: &Load, grid: &Grid) -> u64 {
    let axes = load.map.axes();
    let distinct: u64 = [Axis::M, Axis::K, Axis::N]
        .into_iter()
        .filter(|axis| axes.contains(*axis))
        .map(|axis| grid.blocking(axis).count())
        .product();
    total_tile_bytes(&load.storage, load.map, grid) * (grid.fetches(axes) / distinct)
}

/// Bytes of all distinct tiles of a tensor, each row of each tile rounded up to whole bytes.
pub fn total_tile_bytes(storage: &Storage, map: TileMap, grid: &Grid) -> u64 {
    let rows = map.rows.map_or(storage.shape.rows, |axis| grid.blocking(axis).extent());
    let row_bytes = match map.columns {
        None => storage.row_bytes(storage.shape.columns),
        Some(axis) => {
            let blocking = grid.blocking(axis);
            sum_over_blocks(blocking, |length| storage.row_bytes(length.div_ceil(map.column_block)))
        }
    };
    rows * row_bytes
}

/// Cycles of the matrix unit: tiles in the steady state, the ends of the pipeline aside.
pub fn matrix_cycles(npu: &Npu, nest: &Nest, grid: &Grid) -> Cycles {
    let Some(matrix) = &nest.matrix else { return Cycles::ZERO };
    let array = &npu.matrix_unit(matrix.unit).array;
    let dataflow = dataflow::of(array);
    // The first member's part is the largest, and the team waits for it.
    let part = |axis: Axis, length: u64| match matrix.split.axis {
        Some(split) if split == axis => matrix.split.part_of(Span::new(0, length), 0).len(),
        Some(_) | None => length,
    };
    let tile = |m, k, n| {
        let extents = [part(Axis::M, m), part(Axis::K, k), part(Axis::N, n)];
        dataflow.steady_cycles(array, &tile_work(npu, matrix, extents))
    };
    let over_n = |m, k| sum_over_blocks(grid.n, |n| tile(m, k, n));
    let over_k = |m| sum_over_blocks(grid.k, |k| over_n(m, k));
    Cycles(sum_over_blocks(grid.m, over_k))
}

/// Cycles of the vector unit, ports aside.
pub fn vector_cycles(npu: &Npu, nest: &Nest, grid: &Grid) -> Cycles {
    let Some(vector) = &nest.vector else { return Cycles::ZERO };
    let unit = npu.vector_unit(vector.unit);
    let elements = grid.m.extent() * grid.n.extent();
    let busy: Cycles = vector
        .steps
        .iter()
        .flat_map(|step| step.functions)
        .map(|function| unit.rate(*function).cycles_for(elements))
        .sum();
    let joins = nest.matrix.map_or(0, |matrix| matrix.split.joins(grid.k.block()));
    let adding = unit.rate(VectorFunction::Add).cycles_for(joins * elements);
    busy + adding + unit.latency * grid.output_tiles()
}

fn sum_over_blocks(blocking: Blocking, of: impl Fn(u64) -> u64) -> u64 {
    let count = blocking.count();
    (count - 1) * of(blocking.block()) + of(blocking.span(count - 1).len())
}
