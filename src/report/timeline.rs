//! When the units worked, and for what: an observer of the run that grows with the program, not with the run.
//!
//! For each queue, layer and path there is one span. Bytes of memories are summed over at most [`STEPS`] equal steps of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hardware::memory::MemoryId;
use crate::memory::{Direction, Service};
use crate::program::op::{OpId, Path};
use crate::report::queue_names::QueueNames;
use crate::report::steps::Steps;
use crate::schedule::commands::Queue;
use crate::timing::observer::{CommandRecord, Observer, Setting};
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
    /// Bytes that its channel read in each step.
    pub read_bytes: Vec<u64>,
    /// Bytes that it wrote in each step.
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
        let memories = (0..self.memories.len()).filter_map(|memory| {
            let [read, written] = [false, true].map(|is_write| self.moved.amounts(&(memory, is_write)));
            (read.is_some() || written.is_some()).then(|| MemoryTraffic {
                memory: self.memories[memory].clone(),
                read_bytes: read.unwrap_or_default(),
                write_bytes: written.unwrap_or_default(),
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
            ..Recorder::default()
        };
    }

    fn command(&mut self, record: &CommandRecord<'_>) {
        let (issued, completed) = (record.issued.get(), record.completed.get());
        self.work(record.queue, record.command.op, issued, completed);
    }

    fn watches_memories(&self) -> bool {
        true
    }

    fn moved(&mut self, memory: MemoryId, service: &Service) {
        self.moved.serve((memory.0, service.direction == Direction::Write), service);
    }
}
