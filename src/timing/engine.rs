//! The event loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::hardware::npu::Npu;
use crate::memory::{self, MemorySystem, Ticket};
use crate::program::Program;
use crate::schedule::Schedule;
use crate::schedule::commands::{Command, CommandStream, Queue, Work};
use crate::schedule::counter::{Counter, Moment, Wait};
use crate::timing::TimingError;
use crate::timing::observer::{CommandRecord, Observer};
use crate::timing::statistics::{OpStatistics, QueueStatistics, RunStatistics, StallCause, Stalls};
use crate::timing::units::{MatrixEngine, count_transfer, vector_occupancy};
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
    /// Per counter, whether the transfer that last raised it had found the memory idle.
    raised_by_lone_transfer: Vec<bool>,
    memory: Box<dyn MemorySystem>,
    /// Which queue submitted each ticket under way; tickets are consecutive numbers.
    submitted: VecDeque<Submitted>,
    first_ticket: u64,
    under_way: u64,
    queues: Vec<QueueState<'a>>,
    arena: Arena,
    matrix_engines: Vec<MatrixEngine>,
    /// For each queue of a vector unit, those of other lanes.
    lanes_of_same_unit: Vec<Vec<usize>>,
    ops: Vec<OpStatistics>,
    makespan: Cycles,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EventKind {
    /// A command's operands are released.
    Released,
    /// A command's results are there.
    Completed,
    /// The queue may issue again.
    Free,
    /// A transfer's descriptor is ready.
    SetUp,
}

#[derive(Clone, Copy)]
struct Submitted {
    queue: usize,
    is_done: bool,
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
    /// For DMA queues: since when no transfer has been under way.
    quiet_since: Cycles,
    last_complete: Cycles,
    statistics: QueueStatistics,
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

struct InFlight {
    command: Slot,
    issued: Cycles,
    completed: Option<Cycles>,
    /// For transfers.
    ticket: Option<Ticket>,
    /// For transfers: whether the memory was idle when it was submitted.
    was_alone: bool,
}

impl<'a> Engine<'a> {
    fn new(program: &Program, schedule: &'a Schedule, npu: &'a Npu) -> Engine<'a> {
        let model = memory::by_name(npu.dram().model).expect("configuration resolves memory models by their name");
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
                    free_at: Cycles::ZERO,
                    busy_until: Cycles::ZERO,
                    blocking: None,
                    in_flight: VecDeque::new(),
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
            raised_by_lone_transfer: vec![false; schedule.counters.len()],
            memory: model.build(npu.dram()),
            submitted: VecDeque::new(),
            first_ticket: 0,
            under_way: 0,
            queues,
            arena,
            matrix_engines,
            lanes_of_same_unit: lanes_of_same_unit(schedule),
            ops: vec![OpStatistics::default(); program.ops.len()],
            makespan: Cycles::ZERO,
        }
    }

    fn run(mut self, observer: &mut dyn Observer) -> Result<RunStatistics, TimingError> {
        let mut tickets = Vec::new();
        loop {
            self.issue_all();
            let next_internal = self.events.peek().map(|Reverse((cycle, ..))| *cycle);
            let next = match (next_internal, self.memory.next_event()) {
                (Some(a), Some(b)) => a.min(b),
                (Some(cycle), None) | (None, Some(cycle)) => cycle,
                (None, None) => break,
            };
            self.now = next;
            self.memory.advance(next, &mut tickets);
            for ticket in tickets.drain(..) {
                self.transfer_done(ticket, observer);
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
        Ok(self.finish())
    }

    /// Issues whatever can start now. Counters change only when something ends, so one pass over the queues is enough.
    fn issue_all(&mut self) {
        for index in 0..self.queues.len() {
            while self.can_issue(index) {
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
        if queue.blocking.is_some_and(|wait| misses(&wait)) {
            return false;
        }
        let Some(head) = queue.head else { return false };
        if let Some(wait) = self.arena.commands[head].waits.iter().find(|wait| misses(wait)) {
            queue.blocking = Some(*wait);
            return false;
        }
        match queue.queue {
            Queue::Dma(_) => queue.in_flight.len() < self.npu.dma().outstanding as usize,
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
        match command.work {
            Work::Transfer(transfer) => {
                let statistics = &mut self.ops[command.op.0];
                count_transfer(self.npu, nest, &transfer, statistics);
                // The engine's queue is at work on the descriptor before the memory sees the transfer.
                queue.free_at = now + self.npu.dma().setup;
                queue.in_flight.push_back(InFlight {
                    command: slot,
                    issued: now,
                    completed: None,
                    ticket: None,
                    was_alone: false,
                });
                if self.npu.dma().setup > Cycles::ZERO {
                    let at = queue.free_at;
                    self.push_event(at, index, EventKind::SetUp);
                } else {
                    self.submit(index);
                }
            }
            Work::Matrix(tile) => {
                let matrix = nest.matrix.as_ref().expect("a matrix command belongs to a nest with a product");
                let statistics = &mut self.ops[command.op.0];
                statistics.start.get_or_insert(now);
                statistics.stalls.add(cause, waited);
                let engine = &mut self.matrix_engines[matrix.team.0];
                let phases = engine.issue(self.npu, matrix, &tile, now, statistics);
                statistics.busy += phases.operands_released.max(phases.next_issue) - now.max(busy_before);
                self.compute_issued(index, slot, phases.next_issue, phases.operands_released, phases.complete);
            }
            Work::Vector(work) => {
                let vector = nest.vector.as_ref().expect("a vector command belongs to a nest with a chain");
                for step in &vector.steps {
                    self.ops[step.op.0].start.get_or_insert(now);
                }
                self.ops[command.op.0].stalls.add(cause, waited);
                let occupancy =
                    vector_occupancy(self.npu, nest, &self.schedule.teams, &work, &mut self.ops).max(Cycles(1));
                let free = now + occupancy;
                let complete = free + self.npu.vector_unit(vector.unit).latency;
                self.compute_issued(index, slot, free, free, complete);
                self.occupy_for_other_lanes(index, free);
            }
        }
        let queue = &mut self.queues[index];
        queue.head = self.arena.next_of(&mut queue.stream);
    }

    /// Hands the transfer that the queue issued last to the memory.
    fn submit(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        let flight = queue.in_flight.back_mut().expect("a transfer was issued");
        let Work::Transfer(transfer) = self.arena.commands[flight.command].work else {
            unreachable!("only transfers are set up");
        };
        let ticket = self.memory.submit(transfer, self.now);
        debug_assert_eq!(ticket.0, self.first_ticket + self.submitted.len() as u64, "tickets are consecutive");
        flight.ticket = Some(ticket);
        flight.was_alone = self.under_way == 0;
        self.submitted.push_back(Submitted { queue: index, is_done: false });
        self.under_way += 1;
    }

    fn push_event(&mut self, cycle: Cycles, index: usize, kind: EventKind) {
        self.sequence += 1;
        self.events.push(Reverse((cycle, self.sequence, index, kind)));
    }

    /// Books a compute command's phases. A queue retires in order, so no command completes before an earlier one.
    fn compute_issued(&mut self, index: usize, command: Slot, free: Cycles, released: Cycles, complete: Cycles) {
        let queue = &mut self.queues[index];
        let complete = complete.max(queue.last_complete);
        queue.last_complete = complete;
        // A unit may accept the next command while it still streams this one: time is busy once.
        let busy_until = queue.busy_until.max(free).max(released);
        queue.statistics.busy += busy_until - queue.busy_until.max(self.now);
        queue.busy_until = busy_until;
        queue.free_at = free;
        let signals = &self.arena.commands[command].signals;
        let releases = signals.iter().any(|signal| signal.moment == Moment::Released);
        queue.in_flight.push_back(InFlight {
            command,
            issued: self.now,
            completed: Some(complete),
            ticket: None,
            was_alone: false,
        });
        if releases {
            self.push_event(released, index, EventKind::Released);
        }
        self.push_event(complete, index, EventKind::Completed);
        if free != complete && !(releases && free == released) {
            self.push_event(free, index, EventKind::Free);
        }
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
                Counter::Credit(_) => StallCause::Credit,
                Counter::Loaded { .. } if self.raised_by_lone_transfer[counter.0 as usize] => StallCause::DramLatency,
                Counter::Loaded { .. } => StallCause::DramBandwidth,
                Counter::TilesComputed(_) | Counter::TilesFinished(_) | Counter::Rows(_) | Counter::NestDone(_) => {
                    StallCause::Dependency
                }
            },
        };
        (cause, waited)
    }

    fn transfer_done(&mut self, ticket: Ticket, observer: &mut dyn Observer) {
        let position = usize::try_from(ticket.0 - self.first_ticket).expect("a ticket under way is near the first");
        self.submitted[position].is_done = true;
        self.under_way -= 1;
        let index = self.submitted[position].queue;
        while self.submitted.front().is_some_and(|submitted| submitted.is_done) {
            self.submitted.pop_front();
            self.first_ticket += 1;
        }
        let now = self.now;
        // Transfers of one queue may overtake each other inside the memory; the queue retires them in order.
        let mut flights = self.queues[index].in_flight.iter_mut();
        let done = flights.find(|flight| flight.ticket == Some(ticket)).expect("a completed transfer is in flight");
        done.completed = Some(now);
        while self.queues[index].in_flight.front().is_some_and(|flight| flight.completed.is_some()) {
            self.retire(index, observer);
        }
        let queue = &mut self.queues[index];
        if queue.in_flight.is_empty() {
            queue.quiet_since = now;
        }
    }

    fn phase_ended(&mut self, index: usize, kind: EventKind, observer: &mut dyn Observer) {
        match kind {
            EventKind::Free => {}
            EventKind::SetUp => self.submit(index),
            EventKind::Released => {
                // Releases happen in order of issue, one for each command that has any.
                let commands = &mut self.arena.commands;
                let releases = |slot: Slot, commands: &[Command]| {
                    commands[slot].signals.iter().any(|signal| signal.moment == Moment::Released)
                };
                let flight = self.queues[index]
                    .in_flight
                    .iter()
                    .find(|flight| releases(flight.command, commands))
                    .expect("a release belongs to a command in flight");
                commands[flight.command].signals.retain(|signal| {
                    let is_release = signal.moment == Moment::Released;
                    if is_release {
                        self.counters[signal.counter.0 as usize] += signal.amount;
                    }
                    !is_release
                });
            }
            EventKind::Completed => self.retire(index, observer),
        }
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
            self.raised_by_lone_transfer[counter] = flight.was_alone;
        }
        let nest = &self.schedule.nests[command.nest.0];
        match (&command.work, &nest.vector) {
            (Work::Vector(_), Some(vector)) => {
                for step in &vector.steps {
                    let statistics = &mut self.ops[step.op.0];
                    statistics.end = statistics.end.max(completed);
                }
            }
            (Work::Transfer(_) | Work::Matrix(_) | Work::Vector(_), _) => {
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
                        statistics.busy = statistics.busy - beyond + drain;
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
