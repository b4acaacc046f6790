//! Who watches a run.

use crate::hardware::memory::MemoryId;
use crate::hardware::npu::Npu;
use crate::memory::Service;
use crate::program::Program;
use crate::schedule::Schedule;
use crate::schedule::commands::{Command, Queue};
use crate::schedule::counter::Signal;
use crate::units::Cycles;

/// What is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The program, which names what commands work for.
    pub program: &'a Program,
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// The hardware.
    pub npu: &'a Npu,
}

/// One command that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CommandRecord<'a> {
    /// Its queue.
    pub queue: Queue,
    /// The command.
    pub command: &'a Command,
    /// When it left its queue.
    pub issued: Cycles,
    /// When its results were there.
    pub completed: Cycles,
}

/// Sees every command as it ends: in order within a queue, and across queues in order of the events.
pub trait Observer {
    /// A run begins; its commands follow.
    fn begin(&mut self, _setting: &Setting<'_>) {}

    /// A command under way has raised a counter before its end, at the cycle `at`. When it ends, this signal is no longer with it.
    fn signalled(&mut self, _signal: &Signal, _at: Cycles) {}

    /// A command has ended.
    fn command(&mut self, record: &CommandRecord<'_>);

    /// Whether it wants to know when memories move bytes.
    fn watches_memories(&self) -> bool {
        false
    }

    /// `memory` has moved bytes. For each memory and direction these come in order of time.
    fn moved(&mut self, _memory: MemoryId, _service: &Service) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    #[inline]
    fn command(&mut self, _record: &CommandRecord<'_>) {}
}

/// Several that watch one run, each of which sees everything.
pub struct All<'o>(pub Vec<&'o mut dyn Observer>);

impl Observer for All<'_> {
    fn begin(&mut self, setting: &Setting<'_>) {
        self.0.iter_mut().for_each(|observer| observer.begin(setting));
    }

    fn signalled(&mut self, signal: &Signal, at: Cycles) {
        self.0.iter_mut().for_each(|observer| observer.signalled(signal, at));
    }

    fn command(&mut self, record: &CommandRecord<'_>) {
        self.0.iter_mut().for_each(|observer| observer.command(record));
    }

    fn watches_memories(&self) -> bool {
        self.0.iter().any(|observer| observer.watches_memories())
    }

    fn moved(&mut self, memory: MemoryId, service: &Service) {
        self.0.iter_mut().for_each(|observer| observer.moved(memory, service));
    }
}
