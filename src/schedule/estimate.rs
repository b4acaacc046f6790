//! The one closed-form cost of a nest on a grid: what the tiling search minimises.
//!
//! Each resource is a chain: what must have happened before its first work, its work, and what is left to do after its
//! last. The slowest chain decides. A buffer is a resource too: a tile holds its place from the start of its load until it
//! has been used, and a buffer of `s` places can hand out `s` of them in that time (Little's law). Timing measures; this
//! only ranks.

use crate::dataflow::{self, ArrayState};
use crate::hardware::memory::{Dram, MemoryId};
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;
use crate::schedule::grid::{Axis, AxisSet, Grid, Tile};
use crate::schedule::nest::{Access, Destination, DmaQueue, Layout, Load, Nest, Output, Storage, TileMap, VectorStep};
use crate::schedule::room::{Buffer, leaving, needed};
use crate::schedule::spill::{home, spilled_bytes, spilled_to};
use crate::schedule::tile_kinds::{lengths, output_tiles, tiles};
use crate::schedule::tile_work::{run_length, tile_work};
use crate::shape::{Blocking, Span};
use crate::units::{Bytes, Cycles};

/// Estimated cost of a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Estimate {
    /// Cycles from the first load to the last store, alone on the machine.
    pub cycles: Cycles,
    /// Cycles that no order of service can undercut: each unit's own work and what must come before and after it.
    pub at_least: Cycles,
    /// Bytes from and to off-chip memory.
    pub dram_bytes: Bytes,
}

/// Estimates `nest` on `grid`.
pub fn estimate(npu: &Npu, nest: &Nest, grid: &Grid) -> Estimate {
    Estimator::new(npu, nest).estimate(grid)
}

/// Estimates one nest on one grid after the other. Grids that follow each other share most of their work where the blocks of
/// m and n are the same.
pub struct Estimator<'a> {
    npu: &'a Npu,
    nest: &'a Nest,
    /// The last work of the matrix unit, and the blocks that it was for: the order of loops is of no consequence to it.
    matrix: Option<([Blocking; 3], Work)>,
    /// The last work of the vector unit, and the blocks that it was for.
    vector: Option<([Blocking; 3], Work)>,
    /// The loads on the last grid, kept for their room.
    loads: Vec<Loading>,
}

impl<'a> Estimator<'a> {
    /// Of `nest` on `npu`.
    pub fn new(npu: &'a Npu, nest: &'a Nest) -> Estimator<'a> {
        Estimator { npu, nest, matrix: None, vector: None, loads: Vec::new() }
    }

    /// On `grid`.
    pub fn estimate(&mut self, grid: &Grid) -> Estimate {
        self.estimate_below(grid, u64::MAX)
    }

    /// On each of `grids`, with it. One that cannot come near the best of those before it is given its lower bound: nobody
    /// will ask for more.
    pub fn each(&mut self, grids: impl IntoIterator<Item = Grid>) -> Vec<(Estimate, Grid)> {
        let mut least = u64::MAX;
        let estimate = |grid: Grid| {
            let estimate = self.estimate_below(&grid, least.saturating_add(least / 2));
            least = least.min(estimate.cycles.get());
            (estimate, grid)
        };
        grids.into_iter().map(estimate).collect()
    }

    /// On `grid`, without the buffers where already the lower bound exceeds `limit`.
    fn estimate_below(&mut self, grid: &Grid, limit: u64) -> Estimate {
        let (npu, nest) = (self.npu, self.nest);
        let works = [self.matrix_work(grid), self.vector_work(grid)];
        let parts = Parts::of(npu, nest, grid, works, &mut self.loads);
        let at_least = parts.necessary_chains(npu, grid.output_tiles()).into_iter().fold(0, u64::max);
        let cycles = match at_least > limit {
            true => at_least,
            false => at_least.max(parts.longest_buffer_chain(npu, nest, grid)),
        };
        Estimate { cycles: Cycles(cycles), at_least: Cycles(at_least), dram_bytes: Bytes(parts.loaded + parts.stored) }
    }

    fn matrix_work(&mut self, grid: &Grid) -> Work {
        let blocks = [grid.m, grid.k, grid.n];
        let work = match self.matrix {
            Some((known, work)) if known == blocks => work,
            Some(_) | None => matrix_work(self.npu, self.nest, grid),
        };
        self.matrix = Some((blocks, work));
        work
    }

    fn vector_work(&mut self, grid: &Grid) -> Work {
        // Blocks of k matter to the vector unit only where it joins what members summed.
        let joins = self.nest.matrix.is_some_and(|matrix| matrix.split.is_along_k());
        let blocks = [grid.m, if joins { grid.k } else { self.nest.grid.k }, grid.n];
        let work = match self.vector {
            Some((known, work)) if known == blocks => work,
            Some(_) | None => vector_work(self.npu, self.nest, grid),
        };
        self.vector = Some((blocks, work));
        work
    }
}

/// What the chains are made of, in cycles and bytes.
struct Parts<'l> {
    /// Bytes of all loads from off-chip memory.
    loaded: u64,
    /// Bytes of all stores to it.
    stored: u64,
    /// The loads, in the order of the nest's.
    loads: &'l [Loading],
    /// Until the operands of the first step have arrived.
    first_in: u64,
    /// All tiles of the product, from operands to accumulators.
    matrix: Work,
    /// All tiles of the vector chain.
    vector: Work,
    /// From the last result in the output partition to its arrival off the chip.
    last_out: u64,
}

/// A load over the whole nest.
struct Loading {
    /// How often a tile of it is fetched.
    fetches: u64,
    /// Bytes of all fetches.
    bytes: u64,
}

/// The work of a compute unit.
#[derive(Clone, Copy, Default)]
struct Work {
    /// Cycles by which all tiles together occupy it.
    total: u64,
    /// The same for the last tile alone.
    last: u64,
    /// From when it could take the next tile to the last result of this one.
    drain: u64,
}

impl<'l> Parts<'l> {
    fn of(npu: &Npu, nest: &Nest, grid: &Grid, [matrix, vector]: [Work; 2], loads: &'l mut Vec<Loading>) -> Parts<'l> {
        let (dram, dma) = (npu.dram(), npu.dma());
        let transfer = |bytes: u64| dram.bytes_per_cycle.cycles_for(bytes).get();
        let first = grid.first_tile();
        let of_queue = |queue: DmaQueue| nest.loads.iter().filter(move |load| load.queue == queue).count() as u64;
        let set_ups = of_queue(DmaQueue::Activations).max(of_queue(DmaQueue::Weights));
        let needed_first = if nest.matrix.is_some() { operands(nest) } else { &nest.loads[..] };
        let first_bytes: u64 = needed_first.iter().map(|load| load.storage.tile_bytes(&load.map, &first).get()).sum();
        let first_in = if nest.loads.is_empty() {
            0
        } else {
            dma.setup.get() * set_ups + transfer(first_bytes) + dram.latency.get()
        };
        let last = last_tile(grid);
        let out: u64 = leaving(nest).map(|output| output.storage.tile_bytes(&output.map, &last).get()).sum();
        let last_out = if out == 0 { 0 } else { dma.setup.get() + transfer(out) + dram.latency.get() };
        loads.clear();
        loads.extend(nest.loads.iter().map(|load| {
            let fetches = load.fetches(grid);
            Loading { fetches, bytes: bytes_of_fetches(load, grid, fetches) }
        }));
        let loads = &*loads;
        let far = npu.dram_id();
        let from_far = nest.loads.iter().zip(loads).filter(|(load, _)| load.storage.home == far);
        Parts {
            loaded: from_far.map(|(_, loading)| loading.bytes).sum::<u64>() + spilled_to(far, nest, grid),
            stored: stored_to(far, nest, grid),
            loads,
            first_in,
            matrix,
            vector,
            last_out,
        }
    }

    /// What follows the last step of the product: its drain, the vector chain on it, and the way out.
    fn behind_matrix(&self) -> u64 {
        self.matrix.drain + self.vector.last + self.vector.drain + self.last_out
    }

    /// The matrix unit, the vector unit, all loads, and the off-chip memory, each with what cannot overlap with it.
    fn necessary_chains(&self, npu: &Npu, output_tiles: u64) -> [u64; 4] {
        let Parts { first_in, matrix, vector, last_out, .. } = *self;
        let dram = npu.dram();
        let round_trip = (npu.dma().setup + dram.latency).get();
        let loading = dram.bytes_per_cycle.cycles_for(self.loaded).get();
        [
            first_in + matrix.total + self.behind_matrix(),
            first_in + matrix.total / output_tiles + matrix.drain + vector.total + vector.drain + last_out,
            round_trip + loading + matrix.last + self.behind_matrix(),
            round_trip + dram.busy_cycles(Bytes(self.loaded), Bytes(self.stored)).get(),
        ]
    }

    /// Memories and buffers on the chip, by what passes them and how long it keeps its place: the longest of their chains.
    fn longest_buffer_chain(&self, npu: &Npu, nest: &Nest, grid: &Grid) -> u64 {
        let Parts { first_in, matrix, vector, last_out, .. } = *self;
        let (dram, dma) = (npu.dram(), npu.dma());
        let transfer = |bytes: u64| dram.bytes_per_cycle.cycles_for(bytes).get();
        let round_trip = dma.setup.get() + dram.latency.get();
        let output_tiles = grid.output_tiles();
        let behind_matrix = self.behind_matrix();
        let behind_loads = matrix.last + behind_matrix;
        let mut longest = npu.shared().map_or(0, |(memory, _)| {
            let (loaded, stored) = (loaded_from(memory, nest, grid), stored_to(memory, nest, grid));
            Dram::of_shared(npu.sram(memory)).busy_cycles(Bytes(loaded), Bytes(stored)).get()
        });
        // Sums that leave and come back each pass the ports of where they wait.
        let spilled = spilled_bytes(nest, grid);
        let way_of_sums = home(nest, grid).map_or(0, |home| {
            let bytes = Bytes(spilled);
            match home.memory == npu.dram_id() {
                true => dram.busy_cycles(bytes, bytes).get(),
                false => Dram::of_shared(npu.sram(home.memory)).busy_cycles(bytes, bytes).get(),
            }
        });
        longest = longest.max(way_of_sums);
        for (queue, buffer) in [(DmaQueue::Activations, Buffer::Activations), (DmaQueue::Weights, Buffer::Weights)] {
            let loads = || nest.loads.iter().zip(self.loads).filter(move |(load, _)| load.queue == queue);
            let (transfers, bytes) = loads()
                .fold((0, 0), |(transfers, bytes), (_, loading)| (transfers + loading.fetches, bytes + loading.bytes));
            if transfers == 0 {
                continue;
            }
            let outstanding = u64::from(dma.outstanding);
            let under_way = (round_trip * transfers + transfer(bytes)) / outstanding;
            let runs: u64 = loads().map(|(load, loading)| loading.fetches * runs_of_a_tile(load, grid)).sum();
            let set_up = dma.setup * transfers + dma.cycles_per_run * (runs - transfers);
            longest = longest.max(under_way.max(set_up.get()) + behind_loads);
            let Some((tile_bytes, capacity)) = needed(nest, grid, buffer) else { continue };
            let partial = loads().filter(|(load, _)| load.destination != Destination::Resident);
            let fetches = partial.map(|(_, loading)| loading.fetches).max().unwrap_or(1);
            let places = capacity.get() / tile_bytes.max(1);
            if places < fetches {
                let compute = if nest.matrix.is_some() { matrix.total } else { vector.total };
                // Filled `fetches` times, of which the first `places` wait for nobody; each holds its place for
                // the way in and for its use.
                let held = (round_trip * fetches + transfer(bytes) + compute) / places.max(1);
                longest = longest.max(held + behind_matrix);
            }
        }
        if let Some((tile_bytes, capacity)) = needed(nest, grid, Buffer::Accumulators) {
            let places = (capacity.get() / tile_bytes.max(1)).max(1);
            // What takes a place at once: a tile of sums each time that it is there, or all that are open together.
            let held = if spilled > 0 { grid.steps() } else { output_tiles / grid.open_tiles() };
            if places < held {
                let leaving = if nest.vector.is_some() {
                    vector.total + vector.drain * output_tiles
                } else {
                    transfer(self.stored) + round_trip * output_tiles
                };
                let leaving = leaving + 2 * way_of_sums;
                longest =
                    longest.max(first_in + (matrix.total + matrix.drain * output_tiles + leaving) / places + last_out);
            }
        }
        if let Some((tile_bytes, capacity)) = needed(nest, grid, Buffer::Outputs) {
            let places = (capacity.get() / tile_bytes.max(1)).max(1);
            if places < output_tiles {
                let held = vector.total + transfer(self.stored) + (vector.drain + round_trip) * output_tiles;
                longest = longest.max(first_in + (matrix.total / output_tiles) + held / places);
            }
        }
        longest
    }
}

/// The loads of a product's own operands; those of the chain behind it are needed later.
fn operands(nest: &Nest) -> &[Load] {
    let of_matrix = nest.loads.iter().take_while(|load| nest.matrix.is_some_and(|matrix| matrix.op == load.op)).count();
    &nest.loads[..of_matrix]
}

fn last_tile(grid: &Grid) -> Tile {
    let last = |axis: Axis| grid.blocking(axis).span(grid.blocking(axis).count() - 1);
    Tile { batch: 0, m: last(Axis::M), k: last(Axis::K), n: last(Axis::N) }
}

/// Bytes that a nest loads from `memory`, refetches and partial sums that come back included.
pub fn loaded_from(memory: MemoryId, nest: &Nest, grid: &Grid) -> u64 {
    let loads = nest.loads.iter().filter(|load| load.storage.home == memory).map(|load| load_bytes(load, grid));
    loads.sum::<u64>() + spilled_to(memory, nest, grid)
}

/// Bytes that a nest stores to `memory`, partial sums that leave before they are final included.
pub fn stored_to(memory: MemoryId, nest: &Nest, grid: &Grid) -> u64 {
    let outputs = leaving(nest).filter(|output| output.storage.home == memory);
    outputs.map(|output| total_tile_bytes(&output.storage, &output.map, grid)).sum::<u64>()
        + spilled_to(memory, nest, grid)
}

/// Runs of neighbouring bytes of a load's largest tile: one for each row, unless it covers whole rows.
fn runs_of_a_tile(load: &Load, grid: &Grid) -> u64 {
    let (rows, columns) = load.map.spans(&grid.first_tile(), load.storage.shape);
    match load.storage.layout {
        Layout::Stored if columns.len() == load.storage.shape.columns => 1,
        Layout::Stored | Layout::ScatteredRows { .. } => rows.len(),
        Layout::ScatteredElements { .. } => rows.len() * columns.len(),
    }
}

/// Bytes that a load brings over the whole nest, refetches included.
pub fn load_bytes(load: &Load, grid: &Grid) -> u64 {
    bytes_of_fetches(load, grid, load.fetches(grid))
}

fn bytes_of_fetches(load: &Load, grid: &Grid, fetches: u64) -> u64 {
    total_tile_bytes(&load.storage, &load.map, grid) * (fetches / grid.distinct(load.map.axes()))
}

/// Bytes of all distinct tiles of a tensor, each row of each tile rounded up to whole bytes. Tiles under a window overlap;
/// all are taken to be as large as the largest.
pub fn total_tile_bytes(storage: &Storage, map: &TileMap, grid: &Grid) -> u64 {
    let rows = match (map.window, map.rows) {
        (None, Some(axis)) => grid.blocking(axis).extent(),
        (None, None) => map.most_rows(grid, storage.shape),
        (Some(_), _) => map.most_rows(grid, storage.shape) * grid.m.count(),
    };
    let row_bytes: u64 = match map.columns {
        None => storage.row_bytes(map.spans(&grid.first_tile(), storage.shape).1.len()),
        Some(axis) => lengths(grid.blocking(axis))
            .map(|(times, length)| times * storage.row_bytes(map.blocks.count(length)))
            .sum(),
    };
    let batches = grid.distinct(AxisSet::NONE.with_batch(map.axes().batch()));
    batches * rows * row_bytes
}

/// The matrix unit: tiles in the steady state, what issuing each costs, and the ends of the pipeline.
fn matrix_work(npu: &Npu, nest: &Nest, grid: &Grid) -> Work {
    let Some(matrix) = &nest.matrix else { return Work::default() };
    let unit = npu.matrix_unit(matrix.unit);
    let dataflow = dataflow::of(&unit.array);
    // The first member's part is the largest, and the team waits for it.
    let first_part = |tile: &Tile| matrix.split.part(tile, 0).expect("the first member always has a part");
    let steady = |tile: &Tile| dataflow.steady_cycles(&unit.array, &tile_work(npu, matrix, &first_part(tile)));
    let mut all: u64 = tiles(grid, run_length(npu, matrix)).map(|(times, tile)| times * steady(&tile)).sum();
    if let Some(prologue) = &nest.prologue {
        let depth = Span::new(0, prologue.operands[0].storage.shape.columns);
        let work = |tile: &Tile| tile_work(npu, prologue, &Tile { k: depth, ..*tile });
        let steady = |tile: &Tile| dataflow.steady_cycles(&unit.array, &work(tile));
        all += output_tiles(grid).map(|(times, tile)| times * steady(&tile)).sum::<u64>();
    }
    // Full tiles one after the other show what starting a tile adds to its steady cycles.
    let work = tile_work(npu, matrix, &first_part(&grid.first_tile()));
    let mut state = ArrayState::default();
    let first = dataflow.issue(&unit.array, &work, unit.launch, &mut state);
    let second = dataflow.issue(&unit.array, &work, first.next_issue + unit.launch, &mut state);
    let full = steady(&grid.first_tile());
    let start = (second.complete - first.complete).get().saturating_sub(full);
    let last = steady(&last_tile(grid)) + start;
    let drain = first.complete.get().saturating_sub(full);
    Work { total: all + start * (grid.steps() - 1), last, drain }
}

/// The vector unit: the slower of its lanes and its ports at each tile.
fn vector_work(npu: &Npu, nest: &Nest, grid: &Grid) -> Work {
    let Some(vector) = &nest.vector else { return Work::default() };
    let total = output_tiles(grid).map(|(times, tile)| times * vector_cycles(npu, nest, grid, &tile)).sum();
    let last = vector_cycles(npu, nest, grid, &last_tile(grid));
    Work { total, last, drain: vector.latency(npu).get() }
}

/// Cycles of the vector unit for one tile.
fn vector_cycles(npu: &Npu, nest: &Nest, grid: &Grid, tile: &Tile) -> u64 {
    let Some(vector) = &nest.vector else { return 0 };
    let unit = npu.vector_unit(vector.unit);
    let memory = npu.sram(vector.memory);
    // Whether the tile is the last of its rows is not known here; what belongs to whole rows is spread over their tiles.
    let elements = tile.m.len() * tile.n.len();
    let worked_on = |step: &VectorStep, function| match step.columns(function) {
        None => elements,
        Some(columns) => (elements * columns).div_ceil(nest.grid.n.extent()),
    };
    let cycles_of = |step: &VectorStep| unit.cycles(step.functions, |function| worked_on(step, function));
    let joins = nest.matrix.map_or(0, |matrix| matrix.split.joins(grid.k.block()));
    let adding = if joins > 0 { unit.rate(VectorFunction::Add).cycles_for(joins * elements).get() } else { 0 };
    let lanes: Cycles = vector.steps.iter().map(|step| cycles_of(step).lanes).sum();
    let extractor: Cycles = vector.steps.iter().map(|step| cycles_of(step).extractor).sum();
    let lanes = extractor.get().max(lanes.get() + adding);
    let (mut read, mut sums) = (0, 0);
    for input in &vector.reads {
        match input.access {
            Access::Internal => {}
            Access::Accumulators => {
                let matrix = nest.matrix.as_ref().expect("sums are read after the nest's own product");
                sums += matrix.most_sum_bytes(input, tile, joins + 1);
            }
            Access::Loaded(_) | Access::Resident(_) | Access::Ring { .. } => {
                read += input.storage.tile_bytes(&input.map, tile).get()
            }
        }
    }
    let written: u64 =
        nest.outputs.iter().map(|output: &Output| output.storage.tile_bytes(&output.map, tile).get()).sum();
    let mut ports = memory.read_bytes_per_cycle.cycles_for(read).max(memory.write_bytes_per_cycle.cycles_for(written));
    if let Some(matrix) = &nest.matrix {
        let accumulators = npu.sram(npu.matrix_unit(matrix.unit).accumulator_memory);
        ports = ports.max(accumulators.read_bytes_per_cycle.cycles_for(sums));
    }
    lanes.max(ports.get()).max(1)
}
