//! Timing models of off-chip memory.
//!
//! A completion time is never returned when a transfer is submitted: under a real scheduler a later request can change
//! an earlier completion. Callers hold a [`Ticket`] and learn of completion from [`MemorySystem::advance`]. A new model
//! is one file and one line in [`ALL`]. What models share that are pipes of some bandwidth stands in `channel`; one with
//! banks and rows (`banked_dram` would be its name) sees address, pitch and requester of each [`Transfer`] and needs none
//! of it.

pub mod bandwidth_limited;
mod channel;
pub mod ideal;

use crate::hardware::memory::{Dram, MemoryId, Requester};
use crate::units::{Bytes, Cycles, Rate};

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
pub static ALL: &[&dyn MemoryModel] = &[&ideal::Ideal, &bandwidth_limited::BandwidthLimited];

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
    /// The memory, outside of the units' buffers, that gives or takes the bytes.
    pub memory: MemoryId,
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
    /// Bytes asked for.
    pub const fn bytes(&self) -> Bytes {
        Bytes(self.rows * self.row_bytes)
    }

    /// Runs of neighbouring bytes: one where the rows follow one another without a gap.
    pub const fn runs(&self) -> u64 {
        if self.pitch == self.row_bytes && self.rows > 0 { 1 } else { self.rows }
    }

    /// Bytes that a memory moves which cannot move less than the whole aligned `burst`: each run is rounded outwards.
    pub fn moved(&self, burst: Bytes) -> Bytes {
        let (runs, burst) = (self.runs(), burst.get());
        if burst <= 1 || self.bytes() == Bytes::ZERO {
            return self.bytes();
        }
        let run_bytes = self.bytes().get() / runs;
        // A run from byte s on touches the bursts floor(s / burst) to floor((s + run_bytes - 1) / burst); where each starts as
        // far into a burst as the one before, all touch as many.
        if runs == 1 || self.pitch.is_multiple_of(burst) {
            return Bytes(runs * ((self.base % burst + run_bytes - 1) / burst + 1) * burst);
        }
        let bursts = |first_byte: u64| floor_sum(runs, burst, self.pitch, first_byte);
        Bytes((runs + bursts(self.base + run_bytes - 1) - bursts(self.base)) * burst)
    }
}

/// The sum of `floor((step * i + offset) / divisor)` over `i` from 0 to `count - 1`, by the steps of Euclid's algorithm
/// (Graham, Knuth and Patashnik, Concrete Mathematics, section 3.5).
fn floor_sum(count: u64, divisor: u64, step: u64, offset: u64) -> u64 {
    let (mut count, mut divisor, mut step, mut offset) =
        (u128::from(count), u128::from(divisor), u128::from(step), u128::from(offset));
    let mut sum = 0;
    while count > 0 {
        sum += (step / divisor) * (count * (count - 1) / 2) + (offset / divisor) * count;
        (step, offset) = (step % divisor, offset % divisor);
        // What is left lies below the line; counted along the other axis it is the same kind of sum.
        let top = step * count + offset;
        (count, offset) = (top / divisor, top % divisor);
        (step, divisor) = (divisor, step);
    }
    u64::try_from(sum).expect("bursts of a transfer lie within the addresses")
}

/// Names a submitted transfer until it completes. Tickets of one system are numbered from 0 in order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Bytes of one direction that a channel has moved, evenly over an interval of time.
///
/// Time and bytes are counted in ticks, so that nothing is rounded: a cycle has as many ticks as the numerator of `rate`, and a
/// byte takes as many as its denominator. What channels move in the same interval is never more than its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The way that the bytes went.
    pub direction: Direction,
    /// First tick.
    pub from: u128,
    /// One past the last tick.
    pub to: u128,
    /// Ticks of it in which the channel moved these bytes.
    pub ticks: u128,
    /// Bandwidth of the channel.
    pub rate: Rate,
}

/// A memory under way.
pub trait MemorySystem {
    /// Accepts a transfer of `requester` at cycle `now`, which never runs backwards.
    fn submit(&mut self, transfer: Transfer, requester: Requester, now: Cycles) -> Ticket;

    /// The next cycle at which a transfer may complete, unless something else is submitted before.
    fn next_event(&self) -> Option<Cycles>;

    /// Advances to cycle `now` and appends the transfers that have completed by then, earliest first.
    fn advance(&mut self, now: Cycles, completed: &mut Vec<Ticket>);

    /// Notes from now on when bytes are moved.
    fn watch(&mut self);

    /// Appends what has been noted since the last time: for each direction in order of time.
    fn take_service(&mut self, service: &mut Vec<Service>);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(base: u64, rows: u64, row_bytes: u64, pitch: u64, burst: u64) -> u64 {
        Transfer { memory: MemoryId(0), base, rows, row_bytes, pitch, direction: Direction::Read }
            .moved(Bytes(burst))
            .get()
    }

    #[test]
    fn each_run_moves_the_whole_bursts_that_it_touches() {
        assert_eq!(moved(7, 5, 100, 384, 1), 500);
        // One run of 500 bytes from byte 0: eight bursts of 64, or nine from byte 20 on (20 + 500 = 520 > 512).
        assert_eq!(moved(0, 5, 100, 100, 64), 8 * 64);
        assert_eq!(moved(20, 5, 100, 100, 64), 9 * 64);
        // Five rows of 100 bytes, each at a multiple of 64: two bursts each.
        assert_eq!(moved(0, 5, 100, 384, 64), 5 * 2 * 64);
        // From byte 60 of a burst on, 100 bytes touch three.
        assert_eq!(moved(60, 5, 100, 384, 64), 5 * 3 * 64);
        // Rows of 8 bytes every 24: starts 0, 24, 48 touch one burst of 32 each, but that at 24 + 8 = 32 ends within it.
        assert_eq!(moved(0, 3, 8, 24, 32), 3 * 32);
    }

    #[test]
    fn bursts_are_those_that_a_walk_over_the_rows_counts() {
        for (base, rows, row_bytes, pitch, burst) in
            [(3, 17, 29, 41, 16), (0, 100, 7, 13, 32), (63, 9, 65, 100, 64), (5, 12, 1, 9, 8), (1, 1, 1, 1, 64)]
        {
            let touched = |row: u64| {
                let first = base + row * pitch;
                (first + row_bytes - 1) / burst - first / burst + 1
            };
            let walked: u64 = (0..rows).map(touched).sum();
            assert_eq!(moved(base, rows, row_bytes, pitch, burst), walked * burst);
        }
    }
}
