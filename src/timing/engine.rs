//! The event loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::hardware::npu::Npu;
use crate::memory::{Direction, Service, Ticket, Transfer};
use crate::program::Program;
use crate::schedule::Schedule;
use crate::schedule::commands::{Command, CommandStream, DmaStream, Queue, Work};
use crate::schedule::counter::{Counter, Moment, Wait};
use crate::schedule::grid::Tile;
use crate::schedule::nest::DmaQueue;
use crate::shape::Span;
use crate::timing::TimingError;
use crate::timing::bank_contention::BankContention;
use crate::timing::flows::{Flows, Pacer};
use crate::timing::levels::{Level, levels};
use crate::timing::observer::{CommandRecord, Observer};
use crate::timing::statistics::{OpStatistics, QueueStatistics, RunStatistics, StallCause, Stalls};
use crate::timing::units::{MatrixEngine, Product, count_sums, count_transfer, vector_occupancy};
use crate::timing::wakes::Wakes;
use crate::units::Cycles;

/// Times `schedule` on `npu`.
///
/// # Errors
/// [`TimingError`] where the schedule cannot proceed, which its verifier excludes.
pub fn run(
    program: &Program,
    schedule: &Schedule,
    npu: &Npu,
    observer: &mut dyn Observer,
) -> Result<RunStatistics, TimingError> {
    Engine::new(program, schedule, npu).run(observer)
}

struct Engine<'a> {
    schedule: &'a Schedule,
    npu: &'a Npu,
    now: Cycles,
    sequence: u64,
    /// Ends of phases of compute commands: (cycle, sequence, queue, moment).
    events: BinaryHeap<Reverse<(Cycles, u64, usize, EventKind)>>,
    counters: Vec<u64>,
    wakes: Wakes,
    /// Per counter, what waiting for the transfer is called that last raised it.
    raised_by: Vec<StallCause>,
    /// The off-chip memory, the shared one if there is one, and the operand memory where partial sums wait there.
    levels: Vec<Level>,
    /// When commands end that told their consumers at their first result.
    flows: Flows,
    /// Paces what the queue of activations passes on.
    activation_pace: Pacer,
    /// Where reads and writes of a bank collide.
    banks: Option<BankContention>,
    queues: Vec<QueueState<'a>>,
    arena: Arena,
    matrix_engines: Vec<MatrixEngine>,
    /// Whether a sequencer drives a matrix unit with work.
    is_sequenced: bool,
    /// For each queue of a vector unit, those of other lanes.
    lanes_of_same_unit: Vec<Vec<usize>>,
    ops: Vec<OpStatistics>,
    makespan: Cycles,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EventKind {
    /// A command's operands are released.
    Released,
    /// A command's first results are on their way.
    Begun,
    /// A command's results are there.
    Completed,
    /// A transfer's bytes can be seen by their reader, or its end has been acknowledged.
    Arrived,
    /// The queue may issue again.
    Free,
    /// A transfer's descriptor is ready.
    SetUp,
}

struct QueueState<'a> {
    queue: Queue,
    stream: CommandStream<'a>,
    head: Option<Slot>,
    /// From when on the queue may issue.
    free_at: Cycles,
    /// Until when its unit is at work on what has been issued, for compute queues.
    busy_until: Cycles,
    /// What the head was last seen to wait for.
    blocking: Option<Wait>,
    in_flight: VecDeque<InFlight>,
    /// For the queue of weights under a sequencer: the tile under way could be asked for only when space was back.
    is_held_by_credit: bool,
    /// For DMA queues: since when no transfer has been under way.
    quiet_since: Cycles,
    last_complete: Cycles,
    statistics: QueueStatistics,
}

/// Transfers of its queue that may be under way when `command` is one of them.
fn outstanding(npu: &Npu, command: &Command) -> usize {
    match command.work {
        Work::Transfer(transfer) | Work::Sums(transfer) => npu.engine_of(transfer.memory).outstanding as usize,
        Work::Matrix(_) | Work::Vector(_) => usize::MAX,
    }
}

/// Index of a command in the arena.
type Slot = usize;

/// Commands that wait or are under way, reused in place.
#[derive(Default)]
struct Arena {
    commands: Vec<Command>,
    free: Vec<Slot>,
}

impl Arena {
    /// The next command of a stream.
    #[inline]
    fn next_of(&mut self, stream: &mut CommandStream<'_>) -> Option<Slot> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.commands.push(Command::blank());
            self.commands.len() - 1
        });
        if stream.next_into(&mut self.commands[slot]) {
            return Some(slot);
        }
        self.free.push(slot);
        None
    }
}

/// When the phases of a compute command end.
struct Moments {
    /// The unit may accept the next command.
    free: Cycles,
    released: Cycles,
    begun: Cycles,
    complete: Cycles,
    /// Until when it would have kept the unit had no port been in the way.
    unhindered: Cycles,
    /// How long a sequencer held it up, by cause.
    sequenced: [(StallCause, Cycles); 2],
}

impl Moments {
    /// Nothing is sequenced.
    const FLUENT: [(StallCause, Cycles); 2] =
        [(StallCause::StartBarrier, Cycles::ZERO), (StallCause::ResultPath, Cycles::ZERO)];
}

struct InFlight {
    command: Slot,
    issued: Cycles,
    completed: Option<Cycles>,
    /// For transfers: the position of its memory among the levels, and its ticket there.
    ticket: Option<(usize, Ticket)>,
    /// For transfers: what waiting for it is called.
    cause: StallCause,
    /// For transfers of results that are still on their way: when the last of them is there.
    not_before: Cycles,
}

impl<'a> Engine<'a> {
    fn new(program: &Program, schedule: &'a Schedule, npu: &'a Npu) -> Engine<'a> {
        let mut arena = Arena::default();
        let queues = schedule
            .queues
            .iter()
            .map(|queue| {
                let mut stream = CommandStream::new(schedule, *queue);
                let head = arena.next_of(&mut stream);
                QueueState {
                    queue: *queue,
                    stream,
                    head,
                    free_at: match queue {
                        Queue::Dma(_) => npu.dma().requests.start,
                        Queue::Matrix(_) | Queue::Vector(_) => Cycles::ZERO,
                    },
                    busy_until: Cycles::ZERO,
                    blocking: None,
                    in_flight: VecDeque::new(),
                    is_held_by_credit: false,
                    quiet_since: Cycles::ZERO,
                    last_complete: Cycles::ZERO,
                    statistics: QueueStatistics {
                        queue: *queue,
                        commands: 0,
                        busy: Cycles::ZERO,
                        stalls: Stalls::default(),
                        idle: Cycles::ZERO,
                    },
                }
            })
            .collect();
        let matrix_engines = schedule
            .queues
            .iter()
            .filter_map(|queue| match queue {
                Queue::Matrix(team) => Some(MatrixEngine::new(npu, &schedule.teams[team.0])),
                Queue::Dma(_) | Queue::Vector(_) => None,
            })
            .collect();
        Engine {
            schedule,
            npu,
            now: Cycles::ZERO,
            sequence: 0,
            events: BinaryHeap::new(),
            counters: vec![0; schedule.counters.len()],
            wakes: Wakes::new(schedule.counters.len()),
            raised_by: vec![StallCause::DramBandwidth; schedule.counters.len()],
            levels: levels(schedule, npu),
            flows: Flows::default(),
            activation_pace: Pacer::new(npu.dma().requests.activation_bytes_per_cycle),
            banks: BankContention::new(npu, schedule.queues.len()),
            queues,
            arena,
            matrix_engines,
            is_sequenced: schedule.teams.iter().any(|team| npu.matrix_unit(team.units[0]).array.streams_results()),
            lanes_of_same_unit: lanes_of_same_unit(schedule),
            ops: vec![OpStatistics::default(); program.ops.len()],
            makespan: Cycles::ZERO,
        }
    }

    fn run(mut self, observer: &mut dyn Observer) -> Result<RunStatistics, TimingError> {
        let mut tickets = Vec::new();
        let (watches, mut service) = (observer.watches_memories(), Vec::new());
        if watches {
            self.levels.iter_mut().for_each(|level| level.memory.watch());
        }
        for index in 0..self.queues.len() {
            let free_at = self.queues[index].free_at;
            if free_at > Cycles::ZERO {
                self.push_event(free_at, index, EventKind::Free);
            }
        }
        loop {
            self.issue_all();
            let next_internal = self.events.peek().map(|Reverse((cycle, ..))| *cycle);
            let arrivals = self.levels.iter().filter_map(|level| level.memory.next_event());
            let Some(next) = arrivals.chain(next_internal).min() else { break };
            self.now = next;
            if watches {
                self.tell_service(&mut service, observer);
            }
            for level in 0..self.levels.len() {
                if self.levels[level].memory.next_event() != Some(next) {
                    continue;
                }
                self.levels[level].memory.advance(next, &mut tickets);
                for ticket in tickets.drain(..) {
                    self.transfer_done(level, ticket, observer);
                }
            }
            while let Some(Reverse((cycle, _, queue, kind))) = self.events.peek().copied()
                && cycle == next
            {
                self.events.pop();
                self.phase_ended(queue, kind, observer);
            }
        }
        if self.queues.iter().any(|queue| queue.head.is_some()) {
            return Err(self.stuck());
        }
        if watches {
            self.tell_service(&mut service, observer);
        }
        Ok(self.finish())
    }

    /// Passes on what the memories have moved.
    fn tell_service(&mut self, service: &mut Vec<Service>, observer: &mut dyn Observer) {
        for level in &mut self.levels {
            level.memory.take_service(service);
            service.drain(..).for_each(|service| observer.moved(level.id, &service));
        }
    }

    /// Issues whatever can start now. Counters change only when something ends, so one pass over the queues that this
    /// woke is enough.
    fn issue_all(&mut self) {
        let woken = self.wakes.take();
        for index in 0..self.queues.len() {
            while woken.holds(index) && self.can_issue(index) {
                self.issue(index);
            }
        }
    }

    #[inline]
    fn can_issue(&mut self, index: usize) -> bool {
        let queue = &mut self.queues[index];
        if queue.free_at > self.now {
            return false;
        }
        let misses = |wait: &Wait| self.counters[wait.counter.0 as usize] < wait.at_least;
        // The wait that failed last is asked first: most of the time it still fails.
        if let Some(wait) = queue.blocking.filter(|wait| misses(wait)) {
            self.wakes.register(wait.counter, index);
            return false;
        }
        let Some(head) = queue.head else { return false };
        if let Some(wait) = self.arena.commands[head].waits.iter().find(|wait| misses(wait)) {
            queue.blocking = Some(*wait);
            self.wakes.register(wait.counter, index);
            return false;
        }
        match queue.queue {
            Queue::Dma(_) => queue.in_flight.len() < outstanding(self.npu, &self.arena.commands[head]),
            Queue::Matrix(_) | Queue::Vector(_) => true,
        }
    }

    fn issue(&mut self, index: usize) {
        let now = self.now;
        let (cause, waited) = self.stall(index);
        let queue = &mut self.queues[index];
        let busy_before = queue.busy_until;
        let slot = queue.head.take().expect("can_issue saw the head");
        let command = &self.arena.commands[slot];
        queue.statistics.commands += 1;
        queue.blocking = None;
        let nest = &self.schedule.nests[command.nest.0];
        queue.statistics.stalls.add(cause, waited);
        let producer_end = self.flows.end_of(&command.waits);
        self.ops[command.op.0].begun.get_or_insert(now);
        match command.work {
            Work::Transfer(transfer) | Work::Sums(transfer) => {
                let statistics = &mut self.ops[command.op.0];
                match (command.work, &nest.matrix) {
                    (Work::Sums(_), Some(matrix)) => count_sums(self.npu, matrix, &transfer, statistics),
                    _ => count_transfer(self.npu, nest, &transfer, statistics),
                }
                // The engine's queue is at work on the descriptor before the memory sees the transfer.
                let setup = self.npu.engine_of(transfer.memory).setup_cycles(transfer.runs());
                queue.is_held_by_credit |= waited > Cycles::ZERO && cause == StallCause::WeightCredit;
                queue.free_at = now + setup;
                queue.in_flight.push_back(InFlight {
                    command: slot,
                    issued: now,
                    completed: None,
                    ticket: None,
                    cause: if queue.is_held_by_credit { StallCause::WeightCredit } else { StallCause::DramBandwidth },
                    not_before: producer_end,
                });
                // The last piece of a tile tells that it is there.
                queue.is_held_by_credit &= command.signals.is_empty();
                if setup > Cycles::ZERO {
                    let at = queue.free_at;
                    self.push_event(at, index, EventKind::SetUp);
                } else {
                    self.submit(index);
                }
            }
            Work::Matrix(tile) => {
                let matrix = nest.matrix.as_ref().expect("a matrix command belongs to a nest with a product");
                let mut held_up = self.banks.as_mut().map_or(Cycles::ZERO, |banks| banks.take(index));
                let engine = &mut self.matrix_engines[matrix.team.0];
                let mut from = now;
                if let Some(prologue) = &nest.prologue
                    && tile.k.start == 0
                {
                    let depth = prologue.operands[0].storage.shape.columns;
                    let first = Tile { k: Span::new(0, depth), ..tile };
                    let statistics = &mut self.ops[prologue.op.0];
                    statistics.start.get_or_insert(now);
                    statistics.stalls.add(cause, waited);
                    let start = (now, std::mem::take(&mut held_up));
                    let (phases, _) = engine.issue(self.npu, prologue, Product::Prologue, &first, start, statistics);
                    statistics.busy += phases.next_issue.saturating_sub(now.max(busy_before));
                    // Its tiles take turns with those of the product after it; it ends as if they had run in a row.
                    statistics.end = statistics.start.unwrap_or(now) + statistics.busy;
                    from = phases.next_issue;
                }
                let statistics = &mut self.ops[command.op.0];
                statistics.start.get_or_insert(from);
                if from == now {
                    statistics.stalls.add(cause, waited);
                }
                let product = if nest.prologue.is_some() { Product::AfterPrologue } else { Product::Alone };
                let (phases, unhindered) = engine.issue(self.npu, matrix, product, &tile, (from, held_up), statistics);
                let released = phases.operands_released.max(phases.next_issue);
                statistics.busy += released.saturating_sub(from.max(busy_before));
                let op = command.op;
                let moments = Moments {
                    free: phases.next_issue,
                    released: phases.operands_released,
                    begun: phases.sequenced.map_or(phases.complete, |sequenced| sequenced.first_result),
                    complete: phases.complete,
                    unhindered,
                    sequenced: phases.sequenced.map_or(Moments::FLUENT, |sequenced| {
                        [
                            (StallCause::StartBarrier, sequenced.start_barrier),
                            (StallCause::ResultPath, sequenced.result_path),
                        ]
                    }),
                };
                let held_up = self.compute_issued(index, slot, moments);
                let statistics = &mut self.ops[op.0];
                for (cause, cycles) in held_up {
                    let cycles = cycles.min(statistics.busy);
                    statistics.busy = statistics.busy - cycles;
                    statistics.stalls.add(cause, cycles);
                }
            }
            Work::Vector(work) => {
                let vector = nest.vector.as_ref().expect("a vector command belongs to a nest with a chain");
                for step in &vector.steps {
                    self.ops[step.op.0].start.get_or_insert(now);
                }
                self.ops[command.op.0].stalls.add(cause, waited);
                let (occupancy, lanes) = vector_occupancy(self.npu, nest, &self.schedule.teams, &work, &mut self.ops);
                let op = command.op;
                // A chain whose input is still arriving keeps up with it.
                let free = (now + occupancy).max(producer_end);
                let unhindered = (now + lanes).max(producer_end);
                let latency = vector.latency(self.npu);
                let moments = Moments {
                    free,
                    released: free,
                    begun: now + latency,
                    complete: free + latency,
                    unhindered,
                    sequenced: Moments::FLUENT,
                };
                let held_up = self.compute_issued(index, slot, moments);
                self.occupy_for_other_lanes(index, free);
                for (cause, cycles) in held_up {
                    self.ops[op.0].stalls.add(cause, cycles);
                }
            }
        }
        let queue = &mut self.queues[index];
        queue.head = self.arena.next_of(&mut queue.stream);
    }

    /// Hands the transfer that the queue issued last to the memory.
    fn submit(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        let flight = queue.in_flight.back_mut().expect("a transfer was issued");
        let (Work::Transfer(transfer) | Work::Sums(transfer)) = self.arena.commands[flight.command].work else {
            unreachable!("only transfers are set up");
        };
        let Queue::Dma(dma) = queue.queue else { unreachable!("only DMA queues have transfers") };
        let of_transfer = |level: &Level| level.id == transfer.memory;
        let position = self.levels.iter().position(of_transfer).expect("every memory that transfers name is a level");
        let level = &mut self.levels[position];
        let ticket = level.memory.submit(transfer, dma.queue.requester(), self.now);
        flight.ticket = Some((position, ticket));
        if flight.cause != StallCause::WeightCredit {
            flight.cause = level.cause(self.npu.dram_id());
        }
        level.note(ticket, index);
    }

    fn push_event(&mut self, cycle: Cycles, index: usize, kind: EventKind) {
        self.sequence += 1;
        self.events.push(Reverse((cycle, self.sequence, index, kind)));
    }

    /// Books a compute command's phases. A queue retires in order, so no command completes before an earlier one.
    /// Returns the cycles by which ports and a sequencer held the unit up.
    fn compute_issued(&mut self, index: usize, command: Slot, moments: Moments) -> [(StallCause, Cycles); 3] {
        let Moments { free, released, begun, complete, unhindered, sequenced } = moments;
        let queue = &mut self.queues[index];
        let complete = complete.max(queue.last_complete);
        queue.last_complete = complete;
        // A unit may accept the next command while it still streams this one: time is busy once.
        let busy_until = queue.busy_until.max(free).max(released);
        let busy_since = queue.busy_until.max(self.now);
        let port = busy_until - unhindered.clamp(busy_since, busy_until);
        // What a tile waits for while another is still under way is not counted twice.
        let mut working = busy_until - busy_since;
        let held_up = [(StallCause::Port, port), sequenced[0], sequenced[1]].map(|(cause, cycles)| {
            let cycles = cycles.min(working);
            working = working - cycles;
            queue.statistics.stalls.add(cause, cycles);
            (cause, cycles)
        });
        queue.statistics.busy += working;
        queue.busy_until = busy_until;
        queue.free_at = free;
        let signals = &self.arena.commands[command].signals;
        let has = |moment| signals.iter().any(|signal| signal.moment == moment);
        let (releases, begins) = (has(Moment::Released), has(Moment::Begun));
        for signal in signals.iter().filter(|signal| signal.moment == Moment::Begun) {
            self.flows.begin(signal.counter, complete);
        }
        queue.in_flight.push_back(InFlight {
            command,
            issued: self.now,
            completed: Some(complete),
            ticket: None,
            cause: StallCause::DramBandwidth,
            not_before: Cycles::ZERO,
        });
        if releases {
            self.push_event(released, index, EventKind::Released);
        }
        if begins {
            self.push_event(begun, index, EventKind::Begun);
        }
        self.push_event(complete, index, EventKind::Completed);
        if free != complete && !(releases && free == released) {
            self.push_event(free, index, EventKind::Free);
        }
        held_up
    }

    /// Other lanes' queues of the same vector unit cannot issue before `free`.
    fn occupy_for_other_lanes(&mut self, index: usize, free: Cycles) {
        for position in 0..self.lanes_of_same_unit[index].len() {
            let other = &mut self.queues[self.lanes_of_same_unit[index][position]];
            other.free_at = other.free_at.max(free);
            other.blocking = None;
        }
    }

    /// How long the queue has been standing, and why.
    fn stall(&self, index: usize) -> (StallCause, Cycles) {
        let queue = &self.queues[index];
        let waited = match queue.queue {
            Queue::Dma(_) if queue.in_flight.is_empty() => self.now - queue.quiet_since,
            Queue::Dma(_) => Cycles::ZERO,
            Queue::Matrix(_) | Queue::Vector(_) => self.now.saturating_sub(queue.busy_until),
        };
        let cause = match queue.blocking {
            None => match queue.queue {
                Queue::Dma(_) => StallCause::Outstanding,
                Queue::Matrix(_) | Queue::Vector(_) => StallCause::UnitBusy,
            },
            Some(Wait { counter, .. }) => match self.schedule.counters[counter.0 as usize] {
                Counter::Credit(_) if self.is_sequenced && is_of_weights(queue.queue) => StallCause::WeightCredit,
                Counter::Credit(_) => StallCause::Credit,
                Counter::Loaded { nest, load } if self.is_start(queue, (nest.0, load)) => StallCause::StartBarrier,
                Counter::Loaded { .. } | Counter::SumsFilled(_) => self.raised_by[counter.0 as usize],
                Counter::TilesComputed(_)
                | Counter::TilesFinished(_)
                | Counter::SumsComputed(_)
                | Counter::SumsSpilled(_)
                | Counter::Rows(_)
                | Counter::NestDone(_) => StallCause::Dependency,
            },
        };
        (cause, waited)
    }

    /// Whether the queue's next command is the first tile of a product that may start only with its whole activations, of
    /// which `load` is part.
    fn is_start(&self, queue: &QueueState<'_>, (nest, load): (usize, usize)) -> bool {
        let (Queue::Matrix(team), Some(head)) = (queue.queue, queue.head) else { return false };
        let unit = self.npu.matrix_unit(self.schedule.teams[team.0].units[0]);
        let is_first = |tile: &Tile| [tile.m.start, tile.k.start, tile.n.start, tile.batch] == [0; 4];
        unit.array.starts_whole()
            && self.schedule.nests[nest].loads[load].queue == DmaQueue::Activations
            && matches!(&self.arena.commands[head].work, Work::Matrix(tile) if is_first(tile))
    }

    fn transfer_done(&mut self, level: usize, ticket: Ticket, observer: &mut dyn Observer) {
        let index = self.levels[level].complete(ticket);
        self.wakes.wake(index);
        let now = self.now;
        let is_of_activations =
            matches!(self.queues[index].queue, Queue::Dma(DmaStream { queue: DmaQueue::Activations, .. }));
        let mut flights = self.queues[index].in_flight.iter_mut();
        let done =
            flights.find(|flight| flight.ticket == Some((level, ticket))).expect("a completed transfer is in flight");
        let (transfer, passes_banks) = match self.arena.commands[done.command].work {
            Work::Transfer(transfer) => (transfer, true),
            Work::Sums(transfer) => (transfer, false),
            Work::Matrix(_) | Work::Vector(_) => unreachable!("only transfers have tickets"),
        };
        let arrival = self.npu.engine_of(transfer.memory).requests.arrival;
        let at = match transfer.direction {
            Direction::Read if is_of_activations => self.activation_pace.pass(transfer.bytes(), now) + arrival,
            Direction::Read => now + arrival,
            Direction::Write if done.not_before > Cycles::ZERO => {
                now.max(done.not_before + self.levels[level].write_latency)
            }
            Direction::Write => now,
        };
        done.completed = Some(at);
        if passes_banks {
            self.arrived(index, &transfer);
        }
        if at > now {
            self.push_event(at, index, EventKind::Arrived);
        } else {
            self.retire_arrived(index, observer);
        }
    }

    /// Transfers of one queue may overtake each other inside the memory; the queue retires them in order.
    fn retire_arrived(&mut self, index: usize, observer: &mut dyn Observer) {
        let now = self.now;
        let has_arrived = |flight: &InFlight| flight.completed.is_some_and(|completed| completed <= now);
        while self.queues[index].in_flight.front().is_some_and(has_arrived) {
            self.retire(index, observer);
        }
        let queue = &mut self.queues[index];
        if queue.in_flight.is_empty() {
            queue.quiet_since = now;
        }
    }

    /// Takes port cycles from the matrix units that are at work while a transfer arrives.
    fn arrived(&mut self, index: usize, transfer: &Transfer) {
        let Some(banks) = &mut self.banks else { return };
        let Queue::Dma(from) = self.queues[index].queue else { return };
        for (position, queue) in self.queues.iter().enumerate() {
            if matches!(queue.queue, Queue::Matrix(_)) && queue.busy_until > self.now {
                banks.arrived(from.queue, transfer.bytes(), position);
            }
        }
    }

    fn phase_ended(&mut self, index: usize, kind: EventKind, observer: &mut dyn Observer) {
        self.wakes.wake(index);
        self.lanes_of_same_unit[index].iter().for_each(|other| self.wakes.wake(*other));
        match kind {
            EventKind::Free => {}
            EventKind::SetUp => self.submit(index),
            EventKind::Released => self.signal_early(index, Moment::Released, observer),
            EventKind::Begun => self.signal_early(index, Moment::Begun, observer),
            EventKind::Arrived => self.retire_arrived(index, observer),
            EventKind::Completed => self.retire(index, observer),
        }
    }

    /// Applies what a command signals before its end. These moments happen in order of issue, one for each command that
    /// has any.
    fn signal_early(&mut self, index: usize, moment: Moment, observer: &mut dyn Observer) {
        let commands = &mut self.arena.commands;
        let has =
            |slot: Slot, commands: &[Command]| commands[slot].signals.iter().any(|signal| signal.moment == moment);
        let mut flights = self.queues[index].in_flight.iter();
        let flight = flights.find(|flight| has(flight.command, commands)).expect("the command is in flight");
        commands[flight.command].signals.retain(|signal| {
            let is_now = signal.moment == moment;
            if is_now {
                self.counters[signal.counter.0 as usize] += signal.amount;
                self.wakes.raised(signal.counter);
                observer.signalled(signal, self.now);
            }
            !is_now
        });
    }

    /// Takes the oldest command of a queue out of flight and applies what it signals on completion.
    fn retire(&mut self, index: usize, observer: &mut dyn Observer) {
        let queue = &mut self.queues[index];
        let flight = queue.in_flight.pop_front().expect("a command that completes is in flight");
        let completed = flight.completed.expect("only completed commands retire").max(self.now);
        let command = &self.arena.commands[flight.command];
        for signal in &command.signals {
            let counter = signal.counter.0 as usize;
            self.counters[counter] += signal.amount;
            self.wakes.raised(signal.counter);
            self.raised_by[counter] = flight.cause;
        }
        let nest = &self.schedule.nests[command.nest.0];
        match (&command.work, &nest.vector) {
            (Work::Vector(_), Some(vector)) => {
                for step in &vector.steps {
                    let statistics = &mut self.ops[step.op.0];
                    statistics.end = statistics.end.max(completed);
                }
            }
            (Work::Transfer(_) | Work::Sums(_) | Work::Matrix(_) | Work::Vector(_), _) => {
                let statistics = &mut self.ops[command.op.0];
                statistics.end = statistics.end.max(completed);
            }
        }
        self.makespan = self.makespan.max(completed);
        observer.command(&CommandRecord { queue: queue.queue, command, issued: flight.issued, completed });
        self.arena.free.push(flight.command);
    }

    fn finish(self) -> RunStatistics {
        let makespan = self.makespan;
        let queues: Vec<QueueStatistics> = self
            .queues
            .into_iter()
            .map(|queue| {
                let mut statistics = queue.statistics;
                let end = match queue.queue {
                    Queue::Dma(_) => {
                        statistics.busy = queue.quiet_since - statistics.stalls.total();
                        queue.quiet_since
                    }
                    Queue::Matrix(_) | Queue::Vector(_) => {
                        // The last results may be there before the unit could have accepted another command.
                        let beyond = queue.busy_until.saturating_sub(queue.last_complete);
                        let drain = queue.last_complete.saturating_sub(queue.busy_until);
                        let of_ports = beyond.saturating_sub(statistics.busy + drain);
                        statistics.stalls.take_back(StallCause::Port, of_ports);
                        statistics.busy = statistics.busy + drain + of_ports - beyond;
                        queue.last_complete
                    }
                };
                statistics.idle = makespan - end;
                statistics
            })
            .collect();
        let commands = queues.iter().map(|queue| queue.commands).sum();
        RunStatistics {
            makespan,
            commands,
            most_commands_held: self.arena.commands.len() as u64,
            teams: self.schedule.teams.iter().map(|team| team.units.clone()).collect(),
            queues,
            ops: self.ops,
        }
    }

    fn stuck(&self) -> TimingError {
        let heads = self.queues.iter().filter_map(|queue| {
            let head = &self.arena.commands[queue.head?];
            let wait = head.waits.iter().find(|wait| self.counters[wait.counter.0 as usize] < wait.at_least)?;
            let counter = self.schedule.counters[wait.counter.0 as usize];
            Some(format!("{:?} of nest {} waits for {counter:?} >= {}", queue.queue, head.nest.0, wait.at_least))
        });
        TimingError { cycle: self.now.get(), waiting: heads.collect::<Vec<_>>().join("; ") }
    }
}

fn is_of_weights(queue: Queue) -> bool {
    matches!(queue, Queue::Dma(DmaStream { queue: DmaQueue::Weights, .. }))
}

fn lanes_of_same_unit(schedule: &Schedule) -> Vec<Vec<usize>> {
    let unit = |queue: Queue| match queue {
        Queue::Vector(stream) => Some(stream.unit),
        Queue::Dma(_) | Queue::Matrix(_) => None,
    };
    let others = |index: usize| -> Vec<usize> {
        let of = |other: &usize| unit(schedule.queues[*other]);
        let all = 0..schedule.queues.len();
        all.filter(|other| *other != index && of(other).is_some() && of(other) == of(&index)).collect()
    };
    (0..schedule.queues.len()).map(others).collect()
}
