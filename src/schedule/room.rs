//! The room that a grid's tiles need in the buffers.

use crate::schedule::grid::Grid;
use crate::schedule::nest::{CreditPool, Destination, DmaQueue, Nest, Output};
use crate::schedule::{ring, spill};
use crate::units::Bytes;

/// A buffer that tiles pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The activation partition of the operand memory.
    Activations,
    /// Its weight partition.
    Weights,
    /// Its output partition.
    Outputs,
    /// The accumulators.
    Accumulators,
    /// The resident partition, as far as a ring of row blocks has it.
    Ring,
}

impl Buffer {
    /// What messages call it, as in "the weight partition of memory `sram`".
    pub const fn name(self) -> &'static str {
        match self {
            Buffer::Activations => "activation partition",
            Buffer::Weights => "weight partition",
            Buffer::Outputs => "output partition",
            Buffer::Accumulators => "capacity",
            Buffer::Ring => "free resident partition",
        }
    }
}

/// A buffer that is too small for the tiles of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// Which one.
    pub buffer: Buffer,
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available.
    pub available: u64,
}

/// What one step needs of `buffer` and what there is; `None` where the nest does not use it.
pub fn needed(nest: &Nest, grid: &Grid, buffer: Buffer) -> Option<(u64, Bytes)> {
    let tile = grid.first_tile();
    // Results that leave at once wait in neither.
    let streams_results = nest.matrix.as_ref().is_some_and(|matrix| matrix.streams_results);
    match buffer {
        Buffer::Outputs | Buffer::Accumulators if streams_results => None,
        Buffer::Activations => needed_for_loads(nest, grid, DmaQueue::Activations),
        Buffer::Weights => needed_for_loads(nest, grid, DmaQueue::Weights),
        Buffer::Outputs => {
            let pool = nest.vector.as_ref()?.outputs;
            let bytes = leaving(nest).map(|output| output.storage.tile_bytes(&output.map, &tile).get()).sum();
            (bytes > 0).then_some((bytes, pool.capacity))
        }
        Buffer::Ring => {
            let output = ring::output(nest)?;
            let Destination::Ring(pool) = output.destination else { return None };
            Some((grid.m.block() * output.storage.pitch(), pool.capacity))
        }
        Buffer::Accumulators => {
            let matrix = nest.matrix.as_ref()?;
            // Sums that leave between passes take room one by one, others for all that are open at once.
            let bytes = match spill::home(nest, grid) {
                Some(_) => matrix.claimed_sum_bytes(&tile),
                None => spill::open_bytes(nest, grid),
            };
            Some((bytes, matrix.accumulators.capacity))
        }
    }
}

fn needed_for_loads(nest: &Nest, grid: &Grid, queue: DmaQueue) -> Option<(u64, Bytes)> {
    let mut needed: Option<(u64, Bytes)> = None;
    for load in nest.loads.iter().filter(|load| load.queue == queue) {
        let Destination::Partition(CreditPool { capacity, .. }) = load.destination else { continue };
        let bytes = load.storage.most_tile_bytes(&load.map, grid);
        needed = Some((needed.map_or(0, |(sum, _)| sum) + bytes, capacity));
    }
    needed
}

/// Tensors that leave the chip.
pub fn leaving(nest: &Nest) -> impl Iterator<Item = &Output> {
    nest.outputs.iter().filter(|output| matches!(output.destination, Destination::Partition(_)))
}

/// The first buffer that the tiles of one step of `grid` exceed.
pub fn exceeded(nest: &Nest, grid: &Grid) -> Option<TooSmall> {
    let buffers = [Buffer::Accumulators, Buffer::Activations, Buffer::Weights, Buffer::Outputs, Buffer::Ring];
    buffers.into_iter().find_map(|buffer| {
        let (needed, available) = needed(nest, grid, buffer)?;
        let available = available.get();
        (needed > available).then_some(TooSmall { buffer, needed, available })
    })
}
