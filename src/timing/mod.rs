//! Timing: when each command of a schedule starts and ends.
//!
//! A discrete-event loop over in-order queues. A command starts when its queue is free and its counters have reached
//! their thresholds; inside a unit, time is closed-form. All times are integers and events at the same cycle are handled
//! in the order in which they were made, so a run is the same on every machine. Timing reads a schedule and decides
//! nothing; it never sees a value. Whoever wants to know more than the totals watches through an
//! [`Observer`](observer::Observer): nothing here grows with the length of the run.

pub mod attribution;
mod bank_contention;
mod engine;
mod flows;
mod levels;
pub mod observer;
pub mod rehearsal;
pub mod statistics;
mod units;
mod wakes;

pub use engine::run;

/// Why a schedule could not be timed to its end: a mistake of the scheduler, never of the user's input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schedule cannot proceed at cycle {cycle}: {waiting}")]
pub struct TimingError {
    /// When everything stood still.
    pub cycle: u64,
    /// The heads of the queues and what they wait for.
    pub waiting: String,
}
