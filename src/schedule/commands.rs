//! The commands of each queue, made one at a time from the nests.
//!
//! A command is one local-buffer tile: a transfer, a tile of a matrix product, or a tile of a vector chain. Thresholds
//! are closed-form functions of the step, so a stream holds a few counters whatever the number of its commands.

use std::ops::Range;

use crate::hardware::vector_unit::VectorUnitId;
use crate::memory::{Direction, Transfer};
use crate::program::op::OpId;
use crate::schedule::Schedule;
use crate::schedule::counter::{Moment, NestId, Signal, Signals, Wait, Waits};
use crate::schedule::grid::{AxisSet, Grid, GridStep, GridWalk, Tile};
use crate::schedule::nest::{
    Access, CreditPool, Destination, DmaQueue, Layout, Load, MatrixWork, Nest, Output, Read, Reader, Storage, TileMap,
};
use crate::schedule::spill::{self, Home};
use crate::schedule::team::{LaneId, TeamId};
use crate::shape::Span;
use crate::units::Bytes;

/// An in-order queue of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// A queue of the DMA engine.
    Dma(DmaStream),
    /// The compute queue of a team of matrix units.
    Matrix(TeamId),
    /// A compute queue of a vector unit.
    Vector(VectorStream),
}

/// A queue of the DMA engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DmaStream {
    /// What it moves.
    pub queue: DmaQueue,
    /// Lane whose nests it serves.
    pub lane: LaneId,
}

/// A compute queue of a vector unit. Several lanes may share a unit: of those that can start, the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorStream {
    /// The unit.
    pub unit: VectorUnitId,
    /// Lane whose nests it serves.
    pub lane: LaneId,
}

/// One command.
#[derive(Clone, Debug)]
pub struct Command {
    /// Nest that it belongs to.
    pub nest: NestId,
    /// Operation whose work it is; for a vector chain, the first one.
    pub op: OpId,
    /// What it does.
    pub work: Work,
    /// What must hold before it starts.
    pub waits: Waits,
    /// What it adds to counters.
    pub signals: Signals,
}

/// What a command does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Moves bytes between off-chip and on-chip memory.
    Transfer(Transfer),
    /// Moves partial sums between the accumulators and where they wait for the next pass along k.
    Sums(Transfer),
    /// A tile of a matrix product.
    Matrix(Tile),
    /// A tile of a vector chain, with what it completes.
    Vector(VectorTile),
}

/// A tile of a vector chain.
#[derive(Clone, Copy, Debug)]
pub struct VectorTile {
    /// The tile.
    pub tile: Tile,
    /// Whether it is the last block along n: values per row are complete.
    pub is_last_n: bool,
    /// Whether it is the last tile of the nest: values per tensor are complete.
    pub is_last: bool,
}

/// The commands of one queue, in order, over all nests.
#[derive(Debug)]
pub struct CommandStream<'a> {
    schedule: &'a Schedule,
    queue: Queue,
    next_nest: usize,
    segment: Option<Segment<'a>>,
    /// The nest that alternates with that of the segment, row block by row block.
    beside: Option<Segment<'a>>,
    /// Bytes that this queue has claimed of the one partition that it fills.
    claimed: u64,
}

#[derive(Debug)]
struct Segment<'a> {
    of: NestRef<'a>,
    walks: Walks<'a>,
}

/// A nest with what its commands need again and again.
#[derive(Clone, Debug)]
struct NestRef<'a> {
    id: NestId,
    nest: &'a Nest,
    /// Steps of its walk for which each load's tile serves.
    periods: Vec<u64>,
    /// Whether partial sums leave the accumulators and come back.
    spills: bool,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each queue, and each command is asked of it")]
#[derive(Debug)]
enum Walks<'a> {
    Loads { loads: Vec<LoadWalk<'a>>, fills: Option<FillWalk> },
    Matrix(GridWalk),
    Vector { walk: GridWalk, of_ring: u64 },
    Stores { outputs: GridWalk, pending: Option<(GridStep, usize)>, spills: Option<(Home, GridWalk)> },
}

#[derive(Debug)]
struct LoadWalk<'a> {
    load: &'a Load,
    walk: GridWalk,
    next: Option<GridStep>,
    /// Step of the nest that needs the next tile.
    needed_at: u64,
    /// Bytes of the next tile that have been asked for.
    asked: u64,
}

impl<'a> LoadWalk<'a> {
    fn new(load: &'a Load, grid: &Grid) -> LoadWalk<'a> {
        let walk = load.walked(grid).walk(load.map.axes());
        let mut walk = LoadWalk { load, walk, next: None, needed_at: 0, asked: 0 };
        walk.advance(grid);
        walk
    }

    #[inline]
    fn advance(&mut self, grid: &Grid) {
        self.next = self.walk.next();
        let first = self.next.map_or(0, |step| step.first_step);
        self.needed_at = match self.load.reader {
            Reader::Matrix => first,
            Reader::Vector => grid.step_of_output(first),
        };
    }
}

/// Partial sums that come back, step by step.
#[derive(Debug)]
struct FillWalk {
    home: Home,
    walk: GridWalk,
    next: Option<GridStep>,
    /// Bytes of the accumulators that all nests have claimed up to that step.
    claimed: u64,
}

impl FillWalk {
    fn new(nest: &Nest) -> Option<FillWalk> {
        let home = spill::home(nest, &nest.grid)?;
        let claimed = nest.spilling.as_ref()?.claimed_before;
        let mut walk = FillWalk { home, walk: nest.grid.walk(AxisSet::MKN), next: None, claimed };
        walk.advance(nest);
        Some(walk)
    }

    /// Moves on to the next step that is not of the first pass; every step claims.
    fn advance(&mut self, nest: &Nest) {
        let matrix = nest.matrix.as_ref().expect("only products spill");
        loop {
            self.next = self.walk.next();
            let Some(step) = self.next else { return };
            self.claimed += matrix.claimed_sum_bytes(&step.tile);
            if !step.is_first_k {
                return;
            }
        }
    }
}

impl<'a> CommandStream<'a> {
    /// The commands of `queue`.
    pub fn new(schedule: &'a Schedule, queue: Queue) -> CommandStream<'a> {
        CommandStream { schedule, queue, next_nest: 0, segment: None, beside: None, claimed: 0 }
    }

    /// The commands of `queue` for one nest alone.
    pub fn of_nest(schedule: &'a Schedule, queue: Queue, id: NestId) -> impl Iterator<Item = Command> + 'a {
        let segment = Segment::new(&schedule.nests[id.0], id, queue);
        let mut stream = CommandStream { schedule, queue, next_nest: usize::MAX, segment, beside: None, claimed: 0 };
        std::iter::from_fn(move || stream.next())
    }
}

impl CommandStream<'_> {
    /// Writes the next command into `command`; false at the end, with `command` left as it was or half overwritten.
    ///
    /// A command is some hundred bytes, so the event loop reuses a few of them in place instead of moving each around.
    #[inline]
    pub fn next_into(&mut self, command: &mut Command) -> bool {
        loop {
            if self.beside.is_some() && self.is_turn_of_other() {
                std::mem::swap(&mut self.segment, &mut self.beside);
            }
            if let Some(segment) = &mut self.segment {
                command.waits.clear();
                command.signals.clear();
                if segment.next_into(&mut self.claimed, command) {
                    return true;
                }
                self.segment = self.beside.take();
                if self.segment.is_some() {
                    continue;
                }
            }
            let Some(nest) = self.schedule.nests.get(self.next_nest) else { return false };
            self.segment = Segment::new(nest, NestId(self.next_nest), self.queue);
            self.next_nest += 1;
            if nest.leads_next {
                let reader = &self.schedule.nests[self.next_nest];
                self.beside = Segment::new(reader, NestId(self.next_nest), self.queue);
                self.next_nest += 1;
            }
        }
    }

    /// Whether of two nests that alternate the other one's command comes next: that for the earlier row block, and for the
    /// same one the producer's.
    fn is_turn_of_other(&self) -> bool {
        let (Some(one), Some(other)) = (&self.segment, &self.beside) else { return true };
        let leader = if one.of.id < other.of.id { one } else { other };
        let block_of = |segment: &Segment<'_>| {
            let rows = segment.rows_ahead()?;
            // A reader's block lies within one of the producer, whose rows it needs.
            Some((rows.div_ceil(leader.of.nest.grid.m.block()), segment.of.id))
        };
        match (block_of(one), block_of(other)) {
            (Some(one), Some(other)) => other < one,
            (None, other) => other.is_some(),
            (Some(_), None) => false,
        }
    }
}

impl Iterator for CommandStream<'_> {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        let mut command = Command::blank();
        self.next_into(&mut command).then_some(command)
    }
}

impl Command {
    /// A command that does nothing, to be overwritten.
    pub fn blank() -> Command {
        let nothing = Span::new(0, 0);
        let work = Work::Matrix(Tile { batch: 0, m: nothing, k: nothing, n: nothing });
        Command { nest: NestId(0), op: OpId(0), work, waits: Waits::new(), signals: Signals::new() }
    }
}

impl<'a> Segment<'a> {
    fn new(nest: &'a Nest, id: NestId, queue: Queue) -> Option<Segment<'a>> {
        let walks = match queue {
            Queue::Dma(stream) if stream.lane != nest.lane => return None,
            Queue::Dma(DmaStream { queue: DmaQueue::Stores, .. }) => {
                let leaves = nest.outputs.iter().any(|output| matches!(output.destination, Destination::Partition(_)));
                let outputs = nest.grid.of_outputs().walk(AxisSet::MN);
                let spills = spill::home(nest, &nest.grid).map(|home| (home, nest.grid.walk(AxisSet::MKN)));
                (leaves || spills.is_some()).then_some(Walks::Stores { outputs, pending: None, spills })?
            }
            Queue::Dma(DmaStream { queue: dma, .. }) => {
                let loads: Vec<_> = nest
                    .loads
                    .iter()
                    .filter(|load| load.queue == dma)
                    .map(|load| LoadWalk::new(load, &nest.grid))
                    .collect();
                let fills = if dma == DmaQueue::Activations { FillWalk::new(nest) } else { None };
                (!loads.is_empty() || fills.is_some()).then_some(Walks::Loads { loads, fills })?
            }
            Queue::Matrix(team) => {
                nest.matrix.filter(|matrix| matrix.team == team)?;
                Walks::Matrix(nest.grid.walk(AxisSet::MKN))
            }
            Queue::Vector(VectorStream { unit, lane }) => {
                nest.vector.as_ref().filter(|vector| vector.unit == unit && nest.lane == lane)?;
                Walks::Vector { walk: nest.grid.of_outputs().walk(AxisSet::MN), of_ring: 0 }
            }
        };
        let periods = nest.loads.iter().map(|load| load.walked(&nest.grid).period(load.map.axes())).collect();
        let spills = spill::home(nest, &nest.grid).is_some();
        Some(Segment { of: NestRef { id, nest, periods, spills }, walks })
    }

    /// Rows of the grid up to the end of those that the next command works on or brings; `None` at the end.
    fn rows_ahead(&self) -> Option<u64> {
        let step = match &self.walks {
            Walks::Loads { loads, .. } => {
                let needed = loads.iter().filter(|walk| walk.next.is_some());
                needed.min_by_key(|walk| walk.needed_at)?.next
            }
            Walks::Matrix(walk) | Walks::Vector { walk, .. } => walk.clone().next(),
            Walks::Stores { outputs, pending, .. } => {
                let nest = self.of.nest;
                let leaves = |step: &GridStep, from: usize| {
                    nest.outputs.iter().skip(from).any(|output| {
                        matches!(output.destination, Destination::Partition(_))
                            && nest.completes(output, step.is_last_n, step.is_last)
                    })
                };
                match pending {
                    Some((step, output)) if leaves(step, *output) => Some(*step),
                    Some(_) | None => outputs.clone().find(|step| leaves(step, 0)),
                }
            }
        };
        step.map(|step| step.tile.m.end)
    }

    #[inline]
    fn next_into(&mut self, claimed: &mut u64, command: &mut Command) -> bool {
        let of = &self.of;
        command.nest = of.id;
        match &mut self.walks {
            Walks::Loads { loads, fills } => {
                // The load that is needed first goes first: then every step's operands stand before any later step's,
                // which is what makes the queue free of deadlock.
                let needed = loads.iter_mut().filter(|walk| walk.next.is_some());
                let first = needed.min_by_key(|walk| walk.needed_at);
                if let Some(fills) = fills
                    && let Some(step) = fills.next
                    && first.as_ref().is_none_or(|first| step.index < first.needed_at)
                {
                    fill_command(of, fills, &step, command);
                    fills.advance(of.nest);
                    return true;
                }
                let Some(first) = first else { return false };
                let Some(step) = first.next else { return false };
                first.asked = load_command(of, first.load, &step, first.asked, claimed, command);
                if first.asked == 0 {
                    first.advance(&of.nest.grid);
                }
                true
            }
            Walks::Matrix(walk) => {
                let Some(step) = walk.next() else { return false };
                matrix_command(of, &step, claimed, command);
                true
            }
            Walks::Vector { walk, of_ring } => {
                let Some(step) = walk.next() else { return false };
                vector_command(of, &step, (claimed, of_ring), command);
                true
            }
            Walks::Stores { outputs, pending, spills } => loop {
                let (step, output) = match pending.take() {
                    Some(pending) => pending,
                    None => {
                        // A step of the last pass makes an output tile final; that of any other spills its sums.
                        if let Some((home, walk)) = spills
                            && let Some(step) = walk.next()
                            && !step.is_last_k
                        {
                            spill_command(of, *home, &step, command);
                            return true;
                        }
                        match outputs.next() {
                            Some(step) => (step, 0),
                            None => return false,
                        }
                    }
                };
                let Some(candidate) = of.nest.outputs.get(output) else { continue };
                *pending = Some((step, output + 1));
                if store_command(of, candidate, &step, command) {
                    return true;
                }
            },
        }
    }
}

/// The next request of a load's tile, of which `asked` bytes have been asked for; returns how many have been with it, or
/// 0 when that is all.
#[inline]
fn load_command(
    of: &NestRef<'_>,
    load: &Load,
    step: &GridStep,
    asked: u64,
    claimed: &mut u64,
    command: &mut Command,
) -> u64 {
    let (rows, columns) = load.map.spans(&step.tile, load.storage.shape);
    let whole = transfer(&load.storage, &load.map, &step.tile, Direction::Read);
    let bytes = whole.bytes().get();
    let (is_first, next) = (asked == 0, asked + load.longest_request.map_or(bytes, Bytes::get));
    let is_last = next >= bytes;
    let mut request = match is_first && is_last {
        true => whole,
        // Pieces are counted off row by row; where they lie within rows is of no consequence to a pipe.
        false => piece(&whole, asked, next.min(bytes)),
    };
    let Command { waits, signals, .. } = command;
    if let Some(counter) = load.produced {
        waits.push(Wait { counter, at_least: rows.end });
    }
    if let Some(table) = load.table {
        waits.push(Wait { counter: table.rows, at_least: rows.end.div_ceil(table.rows_of_each) });
    }
    if is_first && step.index == 0 {
        waits.extend(of.nest.load_waits.iter().copied());
    }
    match load.destination {
        Destination::Partition(pool) => {
            let claims = match load.queue {
                DmaQueue::Weights => request.bytes().get(),
                DmaQueue::Activations | DmaQueue::Stores if is_first => bytes,
                DmaQueue::Activations | DmaQueue::Stores => 0,
            };
            if claims > 0 {
                waits.extend(claim(pool, claims, claimed));
            }
            if is_last {
                signals.push(Signal { counter: load.arrived, amount: 1, moment: Moment::Completed });
            }
        }
        Destination::Ring(_) => unreachable!("nothing is loaded into a ring"),
        Destination::Resident => {
            if is_first && step.index == 0 {
                waits.extend(of.nest.fill_waits.iter().copied());
            }
            debug_assert_eq!(columns.len(), load.storage.shape.columns, "a resident tensor is filled by whole rows");
            if is_last {
                signals.push(Signal { counter: load.arrived, amount: rows.len(), moment: Moment::Completed });
            }
        }
    }
    if is_last && step.is_last && load.padding > Bytes::ZERO {
        request = piece(&whole, asked, bytes + load.padding.get());
    }
    (command.op, command.work) = (load.op, Work::Transfer(request));
    if is_last { 0 } else { next }
}

/// The bytes from `start` to `end` of a transfer, as one run from where the first of them lies.
fn piece(whole: &Transfer, start: u64, end: u64) -> Transfer {
    let base = whole.base + start / whole.row_bytes * whole.pitch + start % whole.row_bytes;
    Transfer {
        memory: whole.memory,
        base,
        rows: 1,
        row_bytes: end - start,
        pitch: end - start,
        direction: whole.direction,
    }
}

const SPILLS: &str = "a nest whose sums leave the accumulators knows how";

/// Brings partial sums back, as soon as they have left and there is room beside all that was claimed before them.
fn fill_command(of: &NestRef<'_>, fills: &FillWalk, step: &GridStep, command: &mut Command) {
    let nest = of.nest;
    let (matrix, spilling) = (nest.matrix.as_ref().expect(SPILLS), nest.spilling.as_ref().expect(SPILLS));
    let number = spill::fill_of(&nest.grid, step);
    let pool = matrix.accumulators;
    let Command { waits, signals, .. } = command;
    waits.push(Wait { counter: spilling.spilled, at_least: number + 1 });
    waits.extend(room_for(pool, fills.claimed));
    signals.push(Signal { counter: spilling.filled, amount: 1, moment: Moment::Completed });
    let transfer = spill::transfer(nest, fills.home, step, Direction::Read);
    (command.op, command.work) = (matrix.op, Work::Sums(transfer));
}

/// Takes partial sums away and gives their room in the accumulators back.
fn spill_command(of: &NestRef<'_>, home: Home, step: &GridStep, command: &mut Command) {
    let nest = of.nest;
    let (matrix, spilling) = (nest.matrix.as_ref().expect(SPILLS), nest.spilling.as_ref().expect(SPILLS));
    let number = spill::spill_of(&nest.grid, step);
    let Command { waits, signals, .. } = command;
    waits.push(Wait { counter: spilling.computed, at_least: number + 1 });
    if number == 0 {
        waits.extend(nest.fill_waits.iter().copied());
    }
    let bytes = matrix.claimed_sum_bytes(&step.tile);
    signals.push(Signal { counter: matrix.accumulators.returned, amount: bytes, moment: Moment::Completed });
    signals.push(Signal { counter: spilling.spilled, amount: 1, moment: Moment::Completed });
    let transfer = spill::transfer(nest, home, step, Direction::Write);
    (command.op, command.work) = (matrix.op, Work::Sums(transfer));
}

#[inline]
fn matrix_command(of: &NestRef<'_>, step: &GridStep, claimed: &mut u64, command: &mut Command) {
    let nest = of.nest;
    let matrix = nest.matrix.as_ref().expect("a matrix walk belongs to a nest with a product");
    let Command { waits, signals, .. } = command;
    for read in matrix.operands.iter().chain(matrix.scales.iter().flatten()) {
        use_operand(of, read, Reader::Matrix, step.index..step.index + 1, &step.tile, waits, signals);
    }
    if let Some(prologue) = &nest.prologue
        && step.is_first_k
    {
        // Its operands serve a whole output tile, and are read with its first step.
        let steps = step.index..step.index + nest.grid.k.count();
        for read in prologue.operands.iter().chain(prologue.scales.iter().flatten()) {
            use_operand(of, read, Reader::Matrix, steps.clone(), &step.tile, waits, signals);
        }
    }
    if step.index == 0 {
        waits.extend(matrix.unit_waits.iter().flatten().copied());
    }
    if (step.is_first_k || of.spills) && !matrix.streams_results {
        let bytes = matrix.claimed_sum_bytes(&step.tile);
        let room = claim(matrix.accumulators, bytes, claimed);
        waits.extend(room.filter(|_| step.is_first_k));
    }
    if of.spills {
        let spilling = nest.spilling.as_ref().expect(SPILLS);
        if !step.is_first_k {
            let fills = spill::fill_of(&nest.grid, step) + 1;
            waits.push(Wait { counter: spilling.filled, at_least: fills });
        }
        if !step.is_last_k {
            signals.push(Signal { counter: spilling.computed, amount: 1, moment: Moment::Completed });
        }
    }
    if step.is_last_k {
        signals.push(Signal { counter: nest.tiles_computed, amount: 1, moment: results(matrix) });
    }
    if step.is_last && nest.vector.is_none() {
        signals.push(Signal { counter: nest.done, amount: 1, moment: Moment::Completed });
    }
    (command.op, command.work) = (matrix.op, Work::Matrix(step.tile));
}

#[inline]
fn vector_command(of: &NestRef<'_>, step: &GridStep, (claimed, of_ring): (&mut u64, &mut u64), command: &mut Command) {
    let nest = of.nest;
    let vector = nest.vector.as_ref().expect("a vector walk belongs to a nest with a chain");
    let Command { waits, signals, .. } = command;
    for read in &vector.reads {
        use_operand(of, read, Reader::Vector, step.index..step.index + 1, &step.tile, waits, signals);
    }
    if let Some(matrix) = &nest.matrix {
        waits.push(Wait { counter: nest.tiles_computed, at_least: step.index + 1 });
        if !matrix.streams_results {
            let bytes = matrix.claimed_sum_bytes(&step.tile);
            let counter = matrix.accumulators.returned;
            signals.push(Signal { counter, amount: bytes, moment: Moment::Completed });
        }
    }
    let moment = nest.matrix.as_ref().map_or(Moment::Completed, results);
    let mut leaving = 0;
    for output in &nest.outputs {
        if !nest.completes(output, step.is_last_n, step.is_last) {
            continue;
        }
        match output.destination {
            Destination::Partition(_) => leaving += output.storage.tile_bytes(&output.map, &step.tile).get(),
            Destination::Resident => signals.extend(rows_final(output, step)),
            Destination::Ring(pool) => {
                let bytes = output.storage.tile_bytes(&output.map, &step.tile).get();
                waits.extend(claim(pool, bytes, of_ring));
                signals.extend(rows_final(output, step));
            }
        }
    }
    if leaving > 0 && moment == Moment::Completed {
        waits.extend(claim(vector.outputs, leaving, claimed));
    }
    if step.index == 0 {
        waits.extend(nest.fill_waits.iter().copied());
    }
    signals.push(Signal { counter: nest.tiles_finished, amount: 1, moment });
    if step.is_last {
        signals.push(Signal { counter: nest.done, amount: 1, moment: Moment::Completed });
    }
    let work = VectorTile { tile: step.tile, is_last_n: step.is_last_n, is_last: step.is_last };
    (command.op, command.work) = (vector.steps[0].op, Work::Vector(work));
}

#[inline]
fn store_command(of: &NestRef<'_>, output: &Output, step: &GridStep, command: &mut Command) -> bool {
    let nest = of.nest;
    let Destination::Partition(pool) = output.destination else { return false };
    if !nest.completes(output, step.is_last_n, step.is_last) {
        return false;
    }
    let counter = if nest.vector.is_some() { nest.tiles_finished } else { nest.tiles_computed };
    let transfer = transfer(&output.storage, &output.map, &step.tile, Direction::Write);
    let Command { waits, signals, .. } = command;
    waits.push(Wait { counter, at_least: step.index + 1 });
    if step.index == 0 && nest.vector.is_none() {
        waits.extend(nest.fill_waits.iter().copied());
    }
    let bytes = match (&nest.vector, &nest.matrix) {
        (None, Some(matrix)) => matrix.claimed_sum_bytes(&step.tile),
        (Some(_), _) | (None, None) => transfer.bytes().get(),
    };
    if nest.matrix.as_ref().is_none_or(|matrix| !matrix.streams_results) {
        signals.push(Signal { counter: pool.returned, amount: bytes, moment: Moment::Completed });
    }
    signals.extend(rows_final(output, step));
    (command.op, command.work) = (output.op, Work::Transfer(transfer));
    true
}

/// When a tile of a product tells its consumers: at its end, or with its first result where results stream.
#[inline]
fn results(matrix: &MatrixWork) -> Moment {
    if matrix.streams_results { Moment::Begun } else { Moment::Completed }
}

/// Rows of `output` that become final with this step: those of the tile, at the last block along n.
#[inline]
fn rows_final(output: &Output, step: &GridStep) -> Option<Signal> {
    let amount = match output.map.rows {
        Some(_) if step.is_last_n => step.tile.m.len(),
        None if step.is_last => output.storage.shape.rows,
        Some(_) | None => return None,
    };
    Some(Signal { counter: output.rows, amount, moment: Moment::Completed })
}

/// Claims bytes of a pool: the wait until its readers have returned enough, or none while it has never been full.
#[inline]
fn claim(pool: CreditPool, bytes: u64, claimed: &mut u64) -> Option<Wait> {
    *claimed += bytes;
    room_for(pool, *claimed)
}

/// The wait until a pool has room for the last of `claimed` bytes in all.
#[inline]
fn room_for(pool: CreditPool, claimed: u64) -> Option<Wait> {
    let at_least = claimed.saturating_sub(pool.capacity.get());
    (at_least > 0).then_some(Wait { counter: pool.returned, at_least })
}

/// Waits for an operand of the given steps, and returns its space with the last step that uses its current tile.
#[inline]
fn use_operand(
    of: &NestRef<'_>,
    read: &Read,
    reader: Reader,
    steps: Range<u64>,
    tile: &Tile,
    waits: &mut Waits,
    signals: &mut Signals,
) {
    match read.access {
        Access::Loaded(index) => {
            let (load, period) = (&of.nest.loads[index], of.periods[index]);
            debug_assert_eq!(load.reader, reader, "a loaded operand has one reader");
            let fetches = steps.start / period + 1;
            waits.push(Wait { counter: load.arrived, at_least: fetches });
            if let Destination::Partition(pool) = load.destination
                && steps.end == fetches * period
            {
                let amount = load.storage.tile_bytes(&load.map, tile).get();
                signals.push(Signal { counter: pool.returned, amount, moment: Moment::Released });
            }
        }
        Access::Resident(counter) => {
            let (rows, _) = read.map.spans(tile, read.storage.shape);
            waits.push(Wait { counter, at_least: rows.end });
        }
        Access::Ring { rows: counter, pool } => {
            let (rows, _) = read.map.spans(tile, read.storage.shape);
            waits.push(Wait { counter, at_least: rows.end });
            let amount = read.storage.tile_bytes(&read.map, tile).get();
            signals.push(Signal { counter: pool.returned, amount, moment: Moment::Released });
        }
        Access::Accumulators | Access::Internal => {}
    }
}

#[inline]
fn transfer(storage: &Storage, map: &TileMap, tile: &Tile, direction: Direction) -> Transfer {
    let (rows, columns) = map.spans(tile, storage.shape);
    let pitch = storage.pitch();
    let first_byte = columns.start * storage.element_bits / 8;
    let row_bytes = storage.row_bytes(columns.len());
    let (runs, row_bytes, pitch) = match storage.layout {
        Layout::Stored => (rows.len(), row_bytes, pitch),
        Layout::ScatteredRows { spacing } => (rows.len(), row_bytes, pitch * spacing),
        Layout::ScatteredElements { spacing } => {
            let element = storage.row_bytes(1);
            (rows.len() * columns.len(), element, element * spacing)
        }
    };
    Transfer {
        memory: storage.home,
        base: storage.base + rows.start * storage.pitch() + first_byte,
        rows: runs,
        row_bytes,
        pitch,
        direction,
    }
}
