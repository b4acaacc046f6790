//! Single-ported banks: what an engine writes into them, no unit can read at the same time.
//!
//! A partition is a set of whole banks and has its share of the memory's width. Bytes that arrive in the set while a matrix
//! unit is at work take that many cycles of the set's ports from the unit, and hold its next tile up. That is the most that
//! it can be: the unit is taken to read every bank of the set in every cycle.

use crate::hardware::memory::{Partitions, Ports};
use crate::hardware::npu::Npu;
use crate::schedule::nest::DmaQueue;
use crate::units::{Bytes, Cycles};

/// What each unit has lost and not yet made up for.
pub(super) struct BankContention {
    /// The banks that are filled with activations, and with weights.
    sets: [BankSet; 2],
    /// Ticks lost, by queue of the schedule and set.
    lost: Vec<[u128; 2]>,
}

/// A set of banks. A cycle of its ports has `ticks_per_cycle`, a byte takes `ticks_per_byte` of them.
#[derive(Clone, Copy)]
struct BankSet {
    ticks_per_byte: u128,
    ticks_per_cycle: u128,
}

impl BankContention {
    /// For `queues` queues; `None` where reads and writes do not collide.
    pub(super) fn new(npu: &Npu, queues: usize) -> Option<BankContention> {
        let sram = npu.sram(npu.dma().to);
        let Partitions { activations, weights, .. } = sram.partitions?;
        if sram.ports == Ports::Dual {
            return None;
        }
        let rate = sram.write_bytes_per_cycle;
        let set = |part: Bytes| BankSet {
            ticks_per_byte: u128::from(sram.capacity.get()) * u128::from(rate.denominator()),
            ticks_per_cycle: u128::from(part.get()) * u128::from(rate.numerator()),
        };
        Some(BankContention { sets: [set(activations), set(weights)], lost: vec![[0; 2]; queues] })
    }

    /// Notes that `bytes` have arrived through `from` while the unit of `queue` was at work.
    pub(super) fn arrived(&mut self, from: DmaQueue, bytes: Bytes, queue: usize) {
        let set = match from {
            DmaQueue::Activations => 0,
            DmaQueue::Weights => 1,
            DmaQueue::Stores => return,
        };
        self.lost[queue][set] += u128::from(bytes.get()) * self.sets[set].ticks_per_byte;
    }

    /// Whole cycles by which the next tile of `queue` is held up; what is left of a cycle counts for a later one.
    pub(super) fn take(&mut self, queue: usize) -> Cycles {
        let cycles = self.lost[queue].iter_mut().zip(self.sets).map(|(lost, set)| {
            let cycles = *lost / set.ticks_per_cycle;
            *lost %= set.ticks_per_cycle;
            Cycles(u64::try_from(cycles).expect("cycles fit 64 bits"))
        });
        cycles.sum()
    }
}
