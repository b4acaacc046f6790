//! A run as a trace that Perfetto and Chrome open: written to its file while the run goes on.
//!
//! The format is the JSON object form of "Trace Event Format" (Google, the document that Chrome and Perfetto name): complete
//! events (`X`) for commands, counters (`C`), flows (`s`, `f`) from the command that a wait was last for to the one that
//! waited, and metadata (`M`). A nanosecond in the viewer is a cycle. Transfers of one queue overlap, and slices of a track
//! must not, so a queue has as many tracks as it has transfers under way at once.
//!
//! Commands are written up to a number of events; counters are sums over at most [`COUNTER_STEPS`] steps and come last. So
//! neither memory nor the file grows without a bound.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufWriter, Write};

use crate::hardware::memory::MemoryId;
use crate::memory::{Direction, Service};
use crate::program::op::Path;
use crate::report::queue_names::QueueNames;
use crate::report::steps::Steps;
use crate::schedule::commands::{Queue, Work};
use crate::schedule::counter::{Counter, CounterId, PartitionRole, Signal};
use crate::schedule::nest::DmaQueue;
use crate::timing::observer::{CommandRecord, Observer, Setting};
use crate::units::Cycles;
use crate::workload::layer::LayerId;

/// The most events of commands and flows that a trace holds by default: about 150 MB.
pub const MOST_EVENTS: u64 = 1_000_000;
/// The most steps of a counter.
pub const COUNTER_STEPS: usize = 2048;
/// The last raises of a counter that a flow may start from.
const RAISES: usize = 64;
/// The process that counters are shown under.
const COUNTERS: usize = 1;

/// What became of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Events of commands and flows.
    pub events: u64,
    /// Commands that are left out because the trace was full.
    pub left_out_commands: u64,
}

/// A track of the viewer: commands of one queue that do not overlap.
#[derive(Clone, Copy, Debug)]
struct Track {
    process: usize,
    thread: usize,
}

/// What is known of a queue.
#[derive(Clone, Debug)]
struct QueueTracks {
    unit: String,
    name: String,
    process: usize,
    first_thread: usize,
    /// When the last command of each track ends.
    ends: Vec<u64>,
}

/// A counter has come to a value.
#[derive(Clone, Copy, Debug)]
struct Raise {
    value: u64,
    at: u64,
    /// The track of the command that did it by its end. What a command tells before its end has no place to leave from.
    by: Option<Track>,
}

/// A series of numbers over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Series {
    Read(MemoryId),
    Write(MemoryId),
    Depth(Queue),
    Claimed(MemoryId, PartitionRole),
    Returned(MemoryId, PartitionRole),
}

/// Writes a trace.
#[derive(Debug)]
pub struct TraceWriter<W: Write> {
    out: BufWriter<W>,
    most_events: u64,
    failure: Option<io::Error>,
    written: Written,
    is_first: bool,
    flows: u64,
    end: u64,
    ops: Vec<(LayerId, Path)>,
    layers: Vec<String>,
    memories: Vec<String>,
    /// The operand memory that transfers fill.
    filled: MemoryId,
    queues: BTreeMap<Queue, QueueTracks>,
    counters: Vec<Counter>,
    values: Vec<u64>,
    raises: Vec<VecDeque<Raise>>,
    steps: Steps<Series>,
}

impl<W: Write> TraceWriter<W> {
    /// A trace that goes to `out`, with at most so many events of commands and flows.
    pub fn new(out: W, most_events: u64) -> TraceWriter<W> {
        TraceWriter {
            out: BufWriter::new(out),
            most_events,
            failure: None,
            written: Written { events: 0, left_out_commands: 0 },
            is_first: true,
            flows: 0,
            end: 0,
            ops: Vec::new(),
            layers: Vec::new(),
            memories: Vec::new(),
            filled: MemoryId(0),
            queues: BTreeMap::new(),
            counters: Vec::new(),
            values: Vec::new(),
            raises: Vec::new(),
            steps: Steps::new(COUNTER_STEPS),
        }
    }

    /// Writes the counters and the end.
    ///
    /// # Errors
    /// The first failure of the output.
    pub fn finish(mut self) -> io::Result<Written> {
        self.write_counters();
        let Written { left_out_commands, .. } = self.written;
        let mut tail = String::from("\n],\"displayTimeUnit\":\"ns\",\"otherData\":{\"cycle\":\"1 ns\"");
        if left_out_commands > 0 {
            tail.push_str(&format!(",\"left_out_commands\":\"{left_out_commands}\""));
        }
        tail.push_str("}}\n");
        self.put(&tail);
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.out.flush()?;
        Ok(self.written)
    }

    fn put(&mut self, text: &str) {
        if self.failure.is_none()
            && let Err(failure) = self.out.write_all(text.as_bytes())
        {
            self.failure = Some(failure);
        }
    }

    fn event(&mut self, text: &str) {
        let before = if self.is_first { "{\"traceEvents\":[\n" } else { ",\n" };
        self.is_first = false;
        self.put(before);
        self.put(text);
    }

    fn name(&mut self, what: &str, process: usize, thread: usize, name: &str) {
        let name = quoted(name);
        self.event(&format!(
            "{{\"ph\":\"M\",\"pid\":{process},\"tid\":{thread},\"name\":\"{what}_name\",\"args\":{{\"name\":{name}}}}}"
        ));
        self.event(&format!(
            "{{\"ph\":\"M\",\"pid\":{process},\"tid\":{thread},\"name\":\"{what}_sort_index\",\"args\":{{\"sort_index\":{}}}}}",
            if what == "process" { process } else { thread }
        ));
    }

    /// The first track of the queue that is free at `issued`; a new one if none is. Commands leave a queue in order.
    fn track(&mut self, queue: Queue, issued: u64, completed: u64) -> Track {
        let tracks = self.queues.get_mut(&queue).expect("the schedule lists every queue");
        let (process, first) = (tracks.process, tracks.first_thread);
        let free = tracks.ends.iter().position(|end| *end <= issued);
        let index = free.unwrap_or(tracks.ends.len());
        if free.is_some() {
            tracks.ends[index] = completed;
        } else {
            tracks.ends.push(completed);
            let number = if index == 0 { String::new() } else { format!(" ({})", index + 1) };
            let name = format!("{} {}{number}", tracks.unit, tracks.name);
            self.name("thread", process, first + index, &name);
        }
        Track { process, thread: first + index }
    }

    fn slice(&mut self, record: &CommandRecord<'_>, track: Track) {
        let (issued, completed) = (record.issued.get(), record.completed.get());
        let (layer, path) = self.ops[record.command.op.0];
        let name = quoted(&format!("{} {}", self.layers[layer.0], path.name()));
        let (kind, bytes) = match &record.command.work {
            Work::Transfer(transfer) | Work::Sums(transfer) => match transfer.direction {
                Direction::Read => ("read", format!(",\"bytes\":{}", transfer.bytes().get())),
                Direction::Write => ("write", format!(",\"bytes\":{}", transfer.bytes().get())),
            },
            Work::Matrix(_) => ("matrix", String::new()),
            Work::Vector(_) => ("vector", String::new()),
        };
        let Track { process, thread } = track;
        let (start, length) = (time(issued), time(completed - issued));
        self.written.events += 1;
        self.event(&format!(
            "{{\"ph\":\"X\",\"pid\":{process},\"tid\":{thread},\"ts\":{start},\"dur\":{length},\"name\":{name},\"cat\":\"{kind}\",\"args\":{{\"start_cycle\":{issued},\"end_cycle\":{completed}{bytes}}}}}"
        ));
    }

    /// An arrow from the command that last let this one start, if that ran on another queue.
    fn flow(&mut self, record: &CommandRecord<'_>, track: Track) {
        let reached = |counter: CounterId, at_least: u64| {
            self.raises[counter.0 as usize].iter().find(|raise| raise.value >= at_least).copied()
        };
        let waited =
            record.command.waits.iter().filter_map(|wait| {
                Some((reached(wait.counter, wait.at_least)?, self.counters[wait.counter.0 as usize]))
            });
        let Some((raise, counter)) = waited.max_by_key(|(raise, _)| raise.at) else { return };
        let Some(by) = raise.by.filter(|by| (by.process, by.thread) != (track.process, track.thread)) else { return };
        if raise.at > record.issued.get() {
            return;
        }
        let kind = if matches!(counter, Counter::Credit(_)) { "room" } else { "data" };
        let id = self.flows;
        self.flows += 1;
        self.written.events += 2;
        // Within the slice that it leaves, so that the viewer binds it to that.
        let from = time(raise.at - 1);
        let Track { process, thread } = by;
        self.event(&format!(
            "{{\"ph\":\"s\",\"pid\":{process},\"tid\":{thread},\"ts\":{from},\"id\":{id},\"name\":\"{kind}\",\"cat\":\"dependency\"}}"
        ));
        let to = time(record.issued.get());
        let Track { process, thread } = track;
        self.event(&format!(
            "{{\"ph\":\"f\",\"bp\":\"e\",\"pid\":{process},\"tid\":{thread},\"ts\":{to},\"id\":{id},\"name\":\"{kind}\",\"cat\":\"dependency\"}}"
        ));
    }

    fn count(&mut self, record: &CommandRecord<'_>) {
        let (issued, completed) = (record.issued.get(), record.completed.get());
        self.end = self.end.max(completed);
        self.steps.spread(Series::Depth(record.queue), completed - issued, issued, completed);
        if let Work::Transfer(transfer) = &record.command.work
            && transfer.direction == Direction::Read
            && let Queue::Dma(stream) = record.queue
        {
            let role = match stream.queue {
                DmaQueue::Activations => Some(PartitionRole::Activations),
                DmaQueue::Weights => Some(PartitionRole::Weights),
                DmaQueue::Stores => None,
            };
            if let Some(role) = role {
                let claimed = Series::Claimed(self.filled, role);
                self.steps.spread(claimed, transfer.bytes().get(), issued, issued);
            }
        }
    }

    fn raise(&mut self, signal: &Signal, at: u64, by: Option<Track>) {
        let counter = signal.counter.0 as usize;
        if let Counter::Credit(partition) = self.counters[counter] {
            self.steps.spread(Series::Returned(partition.memory, partition.role), signal.amount, at, at);
        }
        self.values[counter] += signal.amount;
        let raises = &mut self.raises[counter];
        if raises.len() == RAISES {
            raises.pop_front();
        }
        raises.push_back(Raise { value: self.values[counter], at, by });
    }

    fn write_counters(&mut self) {
        let step = self.steps.cycles_per_step();
        let all: Vec<(Series, Vec<u64>)> =
            self.steps.keys().filter_map(|series| Some((*series, self.steps.amounts(series)?))).collect();
        let per_cycle = |sum: u64| format!("{:.3}", sum as f64 / step as f64);
        for (series, sums) in &all {
            let (name, unit) = match series {
                Series::Read(memory) => (format!("{} reads", self.memories[memory.0]), "B/cycle"),
                Series::Write(memory) => (format!("{} writes", self.memories[memory.0]), "B/cycle"),
                Series::Depth(queue) => {
                    let tracks = &self.queues[queue];
                    (format!("{} {} under way", tracks.unit, tracks.name), "commands")
                }
                Series::Claimed(memory, role) => {
                    let returned = all.iter().find(|(other, _)| *other == Series::Returned(*memory, *role));
                    self.write_occupancy(*memory, *role, sums, returned.map_or(&[], |(_, sums)| sums));
                    continue;
                }
                Series::Returned(..) => continue,
            };
            let values: Vec<String> = sums.iter().map(|sum| per_cycle(*sum)).collect();
            self.write_counter(&name, unit, &values);
        }
    }

    fn write_occupancy(&mut self, memory: MemoryId, role: PartitionRole, claimed: &[u64], returned: &[u64]) {
        let role = match role {
            PartitionRole::Activations => "activations",
            PartitionRole::Weights => "weights",
            PartitionRole::Outputs => "outputs",
            PartitionRole::Accumulators => "accumulators",
            PartitionRole::Ring => "ring",
        };
        let mut held = 0u64;
        let values = (0..claimed.len().max(returned.len())).map(|index| {
            let at = |sums: &[u64]| sums.get(index).copied().unwrap_or(0);
            held = (held + at(claimed)).saturating_sub(at(returned));
            held.to_string()
        });
        let values: Vec<String> = values.collect();
        let name = format!("{} {role} held", self.memories[memory.0]);
        self.write_counter(&name, "B", &values);
    }

    /// A counter at the start of each step, where it changes, and zero after the last one.
    fn write_counter(&mut self, name: &str, unit: &str, values: &[String]) {
        let name = quoted(&format!("{name} [{unit}]"));
        let step = self.steps.cycles_per_step();
        let mut before: Option<&str> = None;
        let points = values.iter().enumerate().map(|(index, value)| (index as u64 * step, value.as_str()));
        let after = (self.end.min(values.len() as u64 * step), "0");
        for (cycle, value) in points.chain([after]) {
            if before == Some(value) {
                continue;
            }
            before = Some(value);
            let at = time(cycle);
            self.event(&format!(
                "{{\"ph\":\"C\",\"pid\":{COUNTERS},\"tid\":0,\"ts\":{at},\"name\":{name},\"args\":{{\"{unit}\":{value}}}}}"
            ));
        }
    }
}

impl<W: Write> Observer for TraceWriter<W> {
    fn begin(&mut self, setting: &Setting<'_>) {
        let Setting { program, schedule, npu } = setting;
        self.ops = program.ops.iter().map(|op| (op.layer, op.path)).collect();
        self.layers = program.layers.iter().map(|layer| layer.name.clone()).collect();
        self.memories = npu.memories().iter().map(|memory| memory.name.clone()).collect();
        self.filled = npu.dma().to;
        self.counters = schedule.counters.clone();
        self.values = vec![0; schedule.counters.len()];
        self.raises = vec![VecDeque::new(); schedule.counters.len()];
        let teams = schedule.teams.iter().map(|team| team.units.as_slice());
        let names = QueueNames::new(npu, teams, schedule.queues.iter().copied());
        self.name("process", COUNTERS, 0, "counters (1 ns is 1 cycle)");
        let mut units: Vec<String> = Vec::new();
        for (position, queue) in schedule.queues.iter().enumerate() {
            let (unit, name) = names.of(*queue);
            let known = units.iter().position(|other| *other == unit);
            let process = COUNTERS + 1 + known.unwrap_or(units.len());
            if known.is_none() {
                self.name("process", process, 0, &unit);
                units.push(unit.clone());
            }
            let first_thread = (position + 1) * 100_000;
            self.queues.insert(*queue, QueueTracks { unit, name, process, first_thread, ends: Vec::new() });
        }
    }

    fn command(&mut self, record: &CommandRecord<'_>) {
        self.count(record);
        if self.written.events >= self.most_events {
            if self.written.left_out_commands == 0 {
                let at = time(record.issued.get());
                self.event(&format!(
                    "{{\"ph\":\"i\",\"s\":\"g\",\"pid\":{COUNTERS},\"tid\":0,\"ts\":{at},\"name\":\"the trace is full: later commands are left out\"}}"
                ));
            }
            self.written.left_out_commands += 1;
            record.command.signals.iter().for_each(|signal| self.raise(signal, record.completed.get(), None));
            return;
        }
        let (issued, completed) = (record.issued.get(), record.completed.get());
        let track = self.track(record.queue, issued, completed);
        self.slice(record, track);
        self.flow(record, track);
        let by = Some(track).filter(|_| completed > issued);
        record.command.signals.iter().for_each(|signal| self.raise(signal, completed, by));
    }

    fn signalled(&mut self, signal: &Signal, at: Cycles) {
        self.raise(signal, at.get(), None);
    }

    fn watches_memories(&self) -> bool {
        true
    }

    fn moved(&mut self, memory: MemoryId, service: &Service) {
        let series = match service.direction {
            Direction::Read => Series::Read(memory),
            Direction::Write => Series::Write(memory),
        };
        self.steps.serve(series, service);
    }
}

/// A time in microseconds with all of its digits; a cycle is a nanosecond.
fn time(cycles: u64) -> String {
    format!("{}.{:03}", cycles / 1000, cycles % 1000)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
