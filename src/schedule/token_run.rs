//! A run without time: commands fire as soon as their waits hold, in the worst order for buffers.
//!
//! Every queue is drained as far as it goes before the next one is looked at, so the first queue runs as far ahead as
//! credits allow. If that finishes, credits and thresholds admit an order; since counters only grow and queues are in
//! order, the set of commands that can ever run does not depend on the order in which they do.

use crate::schedule::Schedule;
use crate::schedule::commands::CommandStream;
use crate::schedule::verify::VerifyError;

/// Runs all commands; returns how many there are.
///
/// # Errors
/// [`VerifyError::Deadlock`] with the head of each blocked queue.
pub fn token_run(schedule: &Schedule) -> Result<u64, VerifyError> {
    let mut streams: Vec<_> =
        schedule.queues.iter().map(|queue| (*queue, CommandStream::new(schedule, *queue).peekable())).collect();
    let mut values = vec![0u64; schedule.counters.len()];
    let mut commands = 0;
    loop {
        let before = commands;
        for (_, stream) in &mut streams {
            let ready = |command: &crate::schedule::commands::Command, values: &[u64]| {
                command.waits.iter().all(|wait| values[wait.counter.0 as usize] >= wait.at_least)
            };
            while let Some(command) = stream.next_if(|command| ready(command, &values)) {
                for signal in &command.signals {
                    values[signal.counter.0 as usize] += signal.amount;
                }
                commands += 1;
            }
        }
        if commands == before {
            break;
        }
    }
    let mut blocked = Vec::new();
    for (queue, stream) in &mut streams {
        if let Some(command) = stream.peek() {
            let missing = command.waits.iter().find(|wait| values[wait.counter.0 as usize] < wait.at_least);
            blocked.push(format!("{queue:?} at nest {} for {missing:?}", command.nest.0));
        }
    }
    if blocked.is_empty() { Ok(commands) } else { Err(VerifyError::Deadlock { waiting: blocked.join("; ") }) }
}
