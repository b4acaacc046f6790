//! Timing models of off-chip memory.
//!
//! A completion time is never returned when a transfer is submitted: under a real scheduler a later request can change
//! an earlier completion. Callers hold a [`Ticket`] and learn of completion from [`MemorySystem::advance`]. A new model
//! is one file and one line in [`ALL`].

pub mod ideal;

use crate::hardware::memory::Dram;
use crate::units::{Bytes, Cycles};

/// A stateless factory of memory systems.
pub trait MemoryModel: Sync + std::fmt::Debug {
    /// Name in files and reports.
    fn name(&self) -> &'static str;

    /// One sentence for `npusim list`.
    fn description(&self) -> &'static str;

    /// A fresh memory system with the parameters of `dram`.
    fn build(&self, dram: &Dram) -> Box<dyn MemorySystem>;
}

/// Every memory model, in the order of listings.
pub static ALL: &[&dyn MemoryModel] = &[&ideal::Ideal];

/// The memory model of that name.
pub fn by_name(name: &str) -> Option<&'static dyn MemoryModel> {
    ALL.iter().copied().find(|model| model.name() == name)
}

/// Direction of a transfer, seen from the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of the memory.
    Read,
    /// Into the memory.
    Write,
}

/// A rectangle of bytes to move: `rows` runs of `row_bytes`, their starts `pitch` bytes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Address of the first byte.
    pub base: u64,
    /// Number of runs.
    pub rows: u64,
    /// Bytes of each run.
    pub row_bytes: u64,
    /// Bytes from the start of one run to the start of the next.
    pub pitch: u64,
    /// Read or write.
    pub direction: Direction,
}

impl Transfer {
    /// Bytes moved.
    pub const fn bytes(&self) -> Bytes {
        Bytes(self.rows * self.row_bytes)
    }
}

/// Names a submitted transfer until it completes. Tickets of one system are numbered from 0 in order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A memory under way.
pub trait MemorySystem {
    /// Accepts a transfer at cycle `now`, which never runs backwards.
    fn submit(&mut self, transfer: Transfer, now: Cycles) -> Ticket;

    /// The next cycle at which a transfer may complete, unless something else is submitted before.
    fn next_event(&self) -> Option<Cycles>;

    /// Advances to cycle `now` and appends the transfers that have completed by then, earliest first.
    fn advance(&mut self, now: Cycles, completed: &mut Vec<Ticket>);
}
