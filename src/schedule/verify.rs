//! The verifier of schedules: structure, capacities and the absence of deadlock.
//!
//! Deadlock is excluded by three facts, checked here: a nest depends only on earlier nests; each partition is filled by
//! one queue, in the order of need; and a nest's tiles of one step fit their partitions together. Then the oldest
//! unfinished step always finds its operands before anything younger in each queue, and can proceed.

use crate::schedule::Schedule;
use crate::schedule::commands::CommandStream;
use crate::schedule::counter::Counter;

/// A rule of schedules that is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A command waits for more than all commands together ever signal.
    #[error("{waiting:?} of nest {nest} waits for {counter:?} >= {at_least}, but it only ever reaches {reached}")]
    Unreachable {
        /// Queue of the command.
        waiting: crate::schedule::commands::Queue,
        /// Nest of the command.
        nest: usize,
        /// What it waits for.
        counter: Counter,
        /// The threshold.
        at_least: u64,
        /// The final value.
        reached: u64,
    },
    /// No queue can proceed although commands are left.
    #[error("no queue can proceed: {waiting}")]
    Deadlock {
        /// The heads of the queues and what they wait for.
        waiting: String,
    },
}

/// Checks that every threshold is reachable: what all commands signal together is at least what any of them awaits.
///
/// It walks all commands, so its time grows with the number of tiles; the tests run it, and
/// [`token_run`](crate::schedule::token_run) after it, which proves that some order finishes.
///
/// # Errors
/// [`VerifyError::Unreachable`] for the first such wait.
pub fn verify(schedule: &Schedule) -> Result<(), VerifyError> {
    let mut reached = vec![0u64; schedule.counters.len()];
    for queue in &schedule.queues {
        for command in CommandStream::new(schedule, *queue) {
            for signal in &command.signals {
                reached[signal.counter.0 as usize] += signal.amount;
            }
        }
    }
    for queue in &schedule.queues {
        for command in CommandStream::new(schedule, *queue) {
            for wait in &command.waits {
                let reached = reached[wait.counter.0 as usize];
                if reached < wait.at_least {
                    return Err(VerifyError::Unreachable {
                        waiting: *queue,
                        nest: command.nest.0,
                        counter: schedule.counters[wait.counter.0 as usize],
                        at_least: wait.at_least,
                        reached,
                    });
                }
            }
        }
    }
    Ok(())
}
