//! How each matrix product adds up its terms.
//!
//! Order along m and n cannot change a bit; order along k can, for any accumulator that rounds or saturates. The plan
//! states it, the tile executor follows it, and the un-tiled reference is evaluated under the same plan.

use crate::numerics::accumulate::{AccumulationOrder, Destination};
use crate::shape::Blocking;

/// The order in which the terms of each output element are added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccumulationPlan {
    /// What holds the partial sums.
    pub accumulator: Accumulator,
    /// Segments along k, walked in ascending order; partial sums stay in the accumulator between them.
    pub segments: Blocking,
}

/// What holds the partial sums of a product, and how terms enter it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accumulator {
    /// A 32-bit integer that wraps: exact in any order while it does not.
    Int32Wrapping,
    /// A float.
    Float {
        /// How products are joined.
        order: AccumulationOrder,
        /// Format of the sums.
        destination: Destination,
        /// Products that share a scale, and the depth of a dot unit for operands without scales.
        depth: u64,
    },
}
