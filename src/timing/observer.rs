//! Who watches a run.

use crate::schedule::commands::{Command, Queue};
use crate::units::Cycles;

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
    /// A command has ended.
    fn command(&mut self, record: &CommandRecord<'_>);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    #[inline]
    fn command(&mut self, _record: &CommandRecord<'_>) {}
}
