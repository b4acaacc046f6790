//! When the units worked, and for what: an observer of the run that grows with the program, not with the run.
//!
//! For each queue, layer and path there is one span. Bytes of memories are summed over at most [`STEPS`] equal steps of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::memory::Direction;
use crate::program::op::{OpId, Path};
use crate::report::queue_names::QueueNames;
use crate::report::service::Service;
use crate::report::steps::Steps;
use crate::schedule::commands::{Queue, Work};
use crate::timing::observer::{CommandRecord, Observer, Setting};
use crate::units::Bytes;
use crate::workload::layer::LayerId;

/// The most steps that bytes are summed over.
pub const STEPS: usize = 256;

/// When the units worked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Spans of the queues, in order of queues, layers and paths.
    pub spans: Vec<Span>,
    /// Length of a step in cycles.
    pub cycles_per_step: u64,
    /// Bytes that memories moved in each step, for those that transfers went from and to.
    pub memories: Vec<MemoryTraffic>,
}

/// The work of one queue for one part of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Unit; several that work together are joined by `+`.
    pub unit: String,
    /// Queue of the unit.
    pub queue: String,
    /// Layer.
    pub layer: String,
    /// Part of the layer's work.
    pub path: String,
    /// When its first command left the queue.
    pub start_cycle: u64,
    /// When its last command ended.
    pub end_cycle: u64,
    /// Cycles between the two in which at least one of its commands was under way.
    pub busy_cycles: u64,
}

/// Bytes of one memory by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryTraffic {
    /// Its name.
    pub memory: String,
    /// Bytes read in each step, as if each transfer was served at the full rate, and then came the latency.
    pub read_bytes: Vec<u64>,
    /// Bytes written in each step.
    pub write_bytes: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Worked {
    start: u64,
    end: u64,
    busy: u64,
}

/// Records a [`Timeline`].
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Of each operation: its layer and path.
    ops: Vec<(LayerId, Path)>,
    layers: Vec<String>,
    memories: Vec<String>,
    queues: BTreeMap<Queue, (String, String)>,
    dram: usize,
    burst: Bytes,
    service: Service,
    worked: BTreeMap<(Queue, LayerId, Path), Worked>,
    /// Bytes by memory, reads (`false`) before writes.
    moved: Steps<(usize, bool)>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            ops: Vec::new(),
            layers: Vec::new(),
            memories: Vec::new(),
            queues: BTreeMap::new(),
            dram: 0,
            burst: Bytes(1),
            service: Service::default(),
            worked: BTreeMap::new(),
            moved: Steps::new(STEPS),
        }
    }
}

impl Recorder {
    /// What was recorded.
    pub fn timeline(&self) -> Timeline {
        let span = |((queue, layer, path), worked): (&(Queue, LayerId, Path), &Worked)| {
            let (unit, queue) = self.queues[queue].clone();
            Span {
                unit,
                queue,
                layer: self.layers[layer.0].clone(),
                path: path.name().to_owned(),
                start_cycle: worked.start,
                end_cycle: worked.end,
                busy_cycles: worked.busy,
            }
        };
        let series = self.moved.series();
        let memories = (0..self.memories.len()).filter_map(|memory| {
            let [read, written] = [false, true].map(|is_write| series.get(&(memory, is_write)));
            let of = |bytes: Option<&Vec<u64>>| bytes.cloned().unwrap_or_default();
            (read.is_some() || written.is_some()).then(|| MemoryTraffic {
                memory: self.memories[memory].clone(),
                read_bytes: of(read),
                write_bytes: of(written),
            })
        });
        Timeline {
            spans: self.worked.iter().map(span).collect(),
            cycles_per_step: self.moved.cycles_per_step(),
            memories: memories.collect(),
        }
    }

    fn work(&mut self, queue: Queue, op: OpId, issued: u64, completed: u64) {
        let (layer, path) = self.ops[op.0];
        let first = Worked { start: issued, end: issued, busy: 0 };
        let worked = self.worked.entry((queue, layer, path)).or_insert(first);
        worked.start = worked.start.min(issued);
        // Commands of a queue end in order, so that what is new of this one lies behind the end so far.
        worked.busy += completed.saturating_sub(worked.end.max(issued));
        worked.end = worked.end.max(completed);
    }
}

impl Observer for Recorder {
    fn begin(&mut self, setting: &Setting<'_>) {
        let Setting { program, schedule, npu } = setting;
        let teams = schedule.teams.iter().map(|team| team.units.as_slice());
        let names = QueueNames::new(npu, teams, schedule.queues.iter().copied());
        *self = Recorder {
            ops: program.ops.iter().map(|op| (op.layer, op.path)).collect(),
            layers: program.layers.iter().map(|layer| layer.name.clone()).collect(),
            memories: npu.memories().iter().map(|memory| memory.name.clone()).collect(),
            queues: schedule.queues.iter().map(|queue| (*queue, names.of(*queue))).collect(),
            dram: npu.dram_id().0,
            burst: npu.dram().burst,
            service: Service::of_dram(npu),
            ..Recorder::default()
        };
    }

    fn command(&mut self, record: &CommandRecord<'_>) {
        let (issued, completed) = (record.issued.get(), record.completed.get());
        self.work(record.queue, record.command.op, issued, completed);
        if let Work::Transfer(transfer) | Work::Sums(transfer) = &record.command.work {
            let memory = transfer.memory.0;
            let moved = if memory == self.dram { transfer.moved(self.burst) } else { transfer.bytes() };
            let is_write = transfer.direction == Direction::Write;
            let (from, to) = self.service.of(transfer, moved, record);
            self.moved.spread((memory, is_write), moved.get(), from, to);
        }
    }
}
