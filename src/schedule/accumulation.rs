//! How each matrix product adds up its terms.
//!
//! Order along m and n cannot change a bit; order along k can, for any accumulator that rounds or saturates. The plan
//! states it, the tile executor follows it, and the un-tiled reference is evaluated under the same plan.

use crate::hardware::matrix_unit::{Accumulation, FloatAccumulation};
use crate::numerics::accumulate::{AccumulationOrder, Destination, IntegerAccumulator};
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
    /// An integer, exact but for what happens beyond its width.
    Integer(IntegerAccumulator),
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

impl Accumulator {
    /// The accumulator of a matrix unit for operands whose blocks (1 without scales) share a scale.
    pub fn of(accumulation: Accumulation, block: u64) -> Accumulator {
        match accumulation {
            Accumulation::Integer(accumulator) => Accumulator::Integer(accumulator),
            Accumulation::Float(FloatAccumulation { order, destination, dot_depth }) => {
                Accumulator::Float { order, destination, depth: if block > 1 { block } else { dot_depth } }
            }
        }
    }

    /// Products that enter as one: k may only be cut at multiples of this.
    pub fn products_per_operation(&self) -> u64 {
        match self {
            Accumulator::Integer(accumulator) => accumulator.products_per_operation() as u64,
            Accumulator::Float { order, depth, .. } => {
                order.products_per_operation(usize::try_from(*depth).expect("a dot unit's depth is small")) as u64
            }
        }
    }
}
