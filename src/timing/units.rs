//! How long a command keeps a unit, and what it moves: closed forms over the hardware's parameters.

use crate::dataflow::{self, ArrayState, Dataflow, TilePhases, TileWork};
use crate::hardware::matrix_unit::{MatrixUnit, MatrixUnitId};
use crate::hardware::memory::MemoryId;
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;
use crate::memory::{Direction, Transfer};
use crate::program::op::OpId;
use crate::schedule::commands::VectorTile;
use crate::schedule::grid::Tile;
use crate::schedule::nest::{Access, MatrixWork, Nest, Read, TileMap};
use crate::schedule::team::Team;
use crate::schedule::tile_work::{run_length, tile_work};
use crate::timing::statistics::{ArraySteps, OpStatistics, Traffic};
use crate::units::{Bytes, Cycles};

/// A team of matrix units under way.
pub(super) struct MatrixEngine {
    /// The first unit; the others are equal to it, but for where their sums are.
    unit: MatrixUnit,
    members: Vec<Member>,
    dataflow: &'static dyn Dataflow,
    /// For a product and the one before it on the same outputs, which take turns: the operation under way, and when its
    /// next tile could start without any stall.
    under_way: [(Option<OpId>, Cycles); 2],
}

/// One unit of a team.
struct Member {
    id: MatrixUnitId,
    accumulator_memory: MemoryId,
    state: ArrayState,
    /// For a product and the one before it on the same outputs, which take turns.
    streams: [Stream; 2],
}

/// What an engine remembers of one product.
#[derive(Default)]
struct Stream {
    /// The same tiles without any stall, ports included, restarted with each operation: what `compute` cycles are read from.
    unstalled: ArrayState,
    /// What the last tile was to the array: nearly all tiles of a product have the same extents.
    recent: Option<TileCost>,
}

/// Which of the products of a nest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    /// The one that the accumulators start with.
    Prologue,
    /// The one that adds to what a prologue left.
    AfterPrologue,
    /// The only one.
    Alone,
}

/// What every tile of the same extents costs.
#[derive(Clone, Copy)]
struct TileCost {
    op: OpId,
    /// Rows, depth and columns, and the place of its start within a run along k.
    extents: [u64; 4],
    work: TileWork,
    /// The same where no port is in the way.
    unhindered: TileWork,
    is_hindered: bool,
    issued_macs: u64,
    operand_bytes: Bytes,
    sum_bytes: Bytes,
    sum_writes: u64,
}

impl MatrixEngine {
    pub(super) fn new(npu: &Npu, team: &Team) -> MatrixEngine {
        let unit = npu.matrix_unit(team.units[0]).clone();
        let dataflow = dataflow::of(&unit.array);
        let member = |id: &MatrixUnitId| Member {
            id: *id,
            accumulator_memory: npu.matrix_unit(*id).accumulator_memory,
            state: ArrayState::default(),
            streams: Default::default(),
        };
        let members = team.units.iter().map(member).collect();
        MatrixEngine { unit, members, dataflow, under_way: [(None, Cycles::ZERO); 2] }
    }

    /// Runs one tile from cycle `now` on, all members at once, and counts its work: its phases, and until when it would have
    /// kept the unit had no port been in the way; by then writes have held the unit up for `held_up`. The tile is over, and
    /// the next one may start, when that holds for every member.
    pub(super) fn issue(
        &mut self,
        npu: &Npu,
        matrix: &MatrixWork,
        product: Product,
        tile: &Tile,
        (now, held_up): (Cycles, Cycles),
        statistics: &mut OpStatistics,
    ) -> (TilePhases, Cycles) {
        let stream = usize::from(product == Product::Prologue);
        let (op_under_way, mut unstalled_ready) = self.under_way[stream];
        if op_under_way != Some(matrix.op) {
            unstalled_ready = Cycles::ZERO;
            for member in &mut self.members {
                member.streams[stream].unstalled = ArrayState::default();
                self.dataflow.begin_product(&self.unit.array, &mut member.state);
            }
        }
        let is_first = tile.k.start == 0;
        // The sums that a prologue left are shifted before anything is added to them.
        let shifts = if is_first { u64::from(matrix.initial_shifts) } else { 0 };
        let preparation = self.unit.launch + self.unit.accumulator_shift * shifts;
        let (start, ready) = (now + preparation, unstalled_ready + preparation);
        let starts_at_zero = is_first && product != Product::AfterPrologue;
        let mut all: Option<(TilePhases, Cycles)> = None;
        for (index, part) in matrix.split.parts_of(*tile) {
            let index = usize::try_from(index).expect("members are few");
            let cost = self.cost(npu, matrix, (index, stream), &part);
            let (array, member) = (&self.unit.array, &mut self.members[index]);
            let is_hindered = cost.is_hindered || held_up > Cycles::ZERO;
            let hindered = is_hindered.then(|| member.state.clone());
            member.state.hold_up(held_up);
            let phases = self.dataflow.issue(array, &cost.work, start, &mut member.state);
            let unhindered = match hindered {
                None => phases,
                Some(mut state) => self.dataflow.issue(array, &cost.unhindered, start, &mut state),
            };
            let unstalled = self.dataflow.issue(array, &cost.unhindered, ready, &mut member.streams[stream].unstalled);
            unstalled_ready = unstalled_ready.max(unstalled.next_issue);
            let kept_until = unhindered.operands_released.max(unhindered.next_issue);
            all = Some(match all {
                None => (phases, kept_until),
                Some((earlier, until)) => (earlier.beside(phases), until.max(kept_until)),
            });

            let macs = part.m.len() * part.k.len() * part.n.len();
            statistics.compute = unstalled.complete.max(statistics.compute);
            statistics.macs += macs;
            statistics.issued_macs += cost.issued_macs;
            if statistics.unit_macs.is_empty() {
                statistics.unit_macs = vec![0; npu.matrix_units().len()];
            }
            statistics.unit_macs[member.id.0] += macs;
            traffic(npu, self.unit.operand_memory.0, statistics).read += cost.operand_bytes;
            // Sums are read back as often as they are written, but for the first time of their output tile.
            let sums = traffic(npu, member.accumulator_memory.0, statistics);
            sums.written += cost.sum_bytes * cost.sum_writes;
            sums.read += cost.sum_bytes * (cost.sum_writes - u64::from(starts_at_zero));
        }
        self.under_way[stream] = (Some(matrix.op), unstalled_ready);
        let (phases, kept_until) = all.expect("the first member always has a part");
        if let Some(steps) = &phases.sequenced {
            let first = statistics.array_steps.map_or(steps.first_step, |steps| steps.first);
            let count = statistics.array_steps.map_or(0, |steps| steps.count) + steps.steps;
            statistics.array_steps = Some(ArraySteps { first, last: steps.last_step, count });
        }
        (phases, kept_until)
    }

    #[inline]
    fn cost(&mut self, npu: &Npu, matrix: &MatrixWork, (member, stream): (usize, usize), tile: &Tile) -> TileCost {
        let place = run_length(npu, matrix).map_or(0, |length| tile.k.start % length);
        let extents = [tile.m.len(), tile.k.len(), tile.n.len(), place];
        match self.members[member].streams[stream].recent {
            Some(recent) if recent.op == matrix.op && recent.extents == extents => recent,
            Some(_) | None => {
                let cost = self.cost_anew(npu, matrix, tile, extents);
                self.members[member].streams[stream].recent = Some(cost);
                cost
            }
        }
    }

    /// Operands are read, and partial sums written, as often as the dataflow says.
    fn cost_anew(&self, npu: &Npu, matrix: &MatrixWork, tile: &Tile, extents: [u64; 4]) -> TileCost {
        let work = tile_work(npu, matrix, tile);
        let passes = self.dataflow.passes(&self.unit.array, &work);
        let times = [passes.activation_reads, passes.weight_reads];
        let bytes = |read: &Read| read.array_bytes(tile);
        let codes: Bytes = matrix.operands.iter().zip(times).map(|(read, times)| bytes(read) * times).sum();
        let scales = matrix.scales.iter().zip(times);
        let scales: Bytes = scales.filter_map(|(read, times)| read.as_ref().map(|read| bytes(read) * times)).sum();
        TileCost {
            op: matrix.op,
            extents,
            work,
            unhindered: work.without_ports(),
            is_hindered: self.dataflow.is_hindered(&self.unit.array, &work),
            issued_macs: self.dataflow.issued_macs(&self.unit.array, &work),
            operand_bytes: codes + scales,
            sum_bytes: matrix.sums.tile_bytes(&TileMap::OUTPUT, tile),
            sum_writes: passes.sum_writes,
        }
    }
}

/// Cycles of a vector command until the unit can accept the next one, and the cycles of its lanes alone; counts its work
/// per operation.
///
/// The lanes run the chain's functions one after the other; the ports move each input and each result once. The slower
/// of lanes and ports decides, and what the ports add is a stall.
pub(super) fn vector_occupancy(
    npu: &Npu,
    nest: &Nest,
    teams: &[Team],
    work: &VectorTile,
    ops: &mut [OpStatistics],
) -> (Cycles, Cycles) {
    let vector = nest.vector.as_ref().expect("a vector command belongs to a nest with a chain");
    let unit = npu.vector_unit(vector.unit);
    let memory = npu.sram(vector.memory);
    let (mut lanes, mut extractor) = (Cycles::ZERO, Cycles::ZERO);
    for step in &vector.steps {
        let cycles = unit.cycles(step.functions, |function| step.elements(function, &work.tile, work.is_last_n));
        let statistics = &mut ops[step.op.0];
        statistics.busy += cycles.lanes + cycles.extractor;
        statistics.vector_elements += work.tile.m.len() * work.tile.n.len();
        if step.functions.contains(&VectorFunction::Gather) {
            statistics.gathered_elements += step.elements(VectorFunction::Gather, &work.tile, work.is_last_n);
        }
        lanes += cycles.lanes;
        extractor += cycles.extractor;
    }
    if let Some(matrix) = &nest.matrix
        && matrix.split.is_along_k()
    {
        let joined = matrix.split.joins(nest.grid.k.block()) * work.tile.m.len() * work.tile.n.len();
        let cycles = unit.rate(VectorFunction::Add).cycles_for(joined);
        let statistics = &mut ops[matrix.op.0];
        statistics.busy += cycles;
        statistics.joined_sums += joined;
        lanes += cycles;
    }
    // The extractor works beside the lanes.
    let lanes = lanes.max(extractor);
    let first = &mut ops[vector.steps[0].op.0];
    let mut read = Bytes::ZERO;
    let mut ports = Cycles::ZERO;
    for input in &vector.reads {
        match input.access {
            Access::Internal => {}
            Access::Accumulators => ports = ports.max(read_sums(npu, nest, teams, input, &work.tile, first)),
            Access::Loaded(_) | Access::Resident(_) | Access::Ring { .. } => {
                read += input.storage.tile_bytes(&input.map, &work.tile)
            }
        }
    }
    traffic(npu, vector.memory.0, first).read += read;
    ports = ports.max(memory.read_bytes_per_cycle.cycles_for(read.get()));
    let mut written = Bytes::ZERO;
    for output in nest.outputs.iter().filter(|output| nest.completes(output, work.is_last_n, work.is_last)) {
        let bytes = output.storage.tile_bytes(&output.map, &work.tile);
        traffic(npu, vector.memory.0, &mut ops[output.op.0]).written += bytes;
        written += bytes;
    }
    ports = ports.max(memory.write_bytes_per_cycle.cycles_for(written.get()));
    (lanes.max(ports).max(Cycles(1)), lanes.max(Cycles(1)))
}

/// Reads the partial sums of an output tile from where each member of the team holds its own; returns the cycles of the
/// memory that takes longest. Along k all members with any hold sums of the whole tile.
fn read_sums(
    npu: &Npu,
    nest: &Nest,
    teams: &[Team],
    input: &Read,
    tile: &Tile,
    statistics: &mut OpStatistics,
) -> Cycles {
    let matrix = nest.matrix.as_ref().expect("sums are read after the nest's own product");
    let split = matrix.split;
    let holders = if split.is_along_k() { split.joins(nest.grid.k.block()) + 1 } else { split.parts() };
    let units = teams[matrix.team.0].units.iter();
    let mut longest = Cycles::ZERO;
    let mut shared = Bytes::ZERO;
    for (unit, member) in units.zip(0..holders) {
        let held = if split.is_along_k() { Some(*tile) } else { split.part(tile, member) };
        let bytes = held.map_or(Bytes::ZERO, |held| input.storage.tile_bytes(&input.map, &held));
        let memory = npu.matrix_unit(*unit).accumulator_memory;
        traffic(npu, memory.0, statistics).read += bytes;
        // Members whose sums are in one memory share its port.
        shared = if matrix.sharing_sums > 1 { shared + bytes } else { bytes };
        longest = longest.max(npu.sram(memory).read_bytes_per_cycle.cycles_for(shared.get()));
    }
    longest
}

/// Counts the bytes of a transfer, at its memory and at the buffers.
pub(super) fn count_transfer(npu: &Npu, nest: &Nest, transfer: &Transfer, statistics: &mut OpStatistics) {
    let bytes = transfer.bytes();
    // Off the chip whole bursts are moved; a shared on-chip memory gives what it is asked for.
    let moved = if transfer.memory == npu.dram_id() { transfer.moved(npu.dram().burst) } else { bytes };
    let on_chip = npu.dma().to.0;
    match transfer.direction {
        Direction::Read => {
            traffic(npu, transfer.memory.0, statistics).read += moved;
            traffic(npu, on_chip, statistics).written += bytes;
        }
        Direction::Write => {
            traffic(npu, transfer.memory.0, statistics).written += moved;
            // Without a vector chain the partial sums themselves leave the chip.
            let source = match (&nest.vector, &nest.matrix) {
                (None, Some(matrix)) => npu.matrix_unit(matrix.unit).accumulator_memory.0,
                (Some(_), _) | (None, None) => on_chip,
            };
            traffic(npu, source, statistics).read += bytes;
        }
    }
}

/// Counts the bytes of partial sums that leave the accumulators of a product or come back.
pub(super) fn count_sums(npu: &Npu, matrix: &MatrixWork, transfer: &Transfer, statistics: &mut OpStatistics) {
    let bytes = transfer.bytes();
    let moved = if transfer.memory == npu.dram_id() { transfer.moved(npu.dram().burst) } else { bytes };
    let accumulators = npu.matrix_unit(matrix.unit).accumulator_memory.0;
    match transfer.direction {
        Direction::Read => {
            statistics.filled += bytes;
            traffic(npu, transfer.memory.0, statistics).read += moved;
            traffic(npu, accumulators, statistics).written += bytes;
        }
        Direction::Write => {
            statistics.spilled += bytes;
            traffic(npu, transfer.memory.0, statistics).written += moved;
            traffic(npu, accumulators, statistics).read += bytes;
        }
    }
}

/// The traffic of one memory; the list is made with the first byte.
fn traffic<'a>(npu: &Npu, memory: usize, statistics: &'a mut OpStatistics) -> &'a mut Traffic {
    if statistics.traffic.is_empty() {
        statistics.traffic = vec![Traffic::default(); npu.memories().len()];
    }
    &mut statistics.traffic[memory]
}
