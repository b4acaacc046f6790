//! How each matrix product adds up its terms.
//!
//! Order along m and n cannot change a bit; order along k can, for any accumulator that rounds or saturates. The plan
//! states it, the tile executor follows it, and the un-tiled reference is evaluated under the same plan.

use crate::numerics::formats::ElementFormat;
use crate::shape::Blocking;

/// The order in which the terms of each output element are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccumulationPlan {
    /// Format of the partial sums.
    pub accumulator: &'static ElementFormat,
    /// Segments along k, walked in ascending order; partial sums stay in the accumulator between them.
    pub segments: Blocking,
}
