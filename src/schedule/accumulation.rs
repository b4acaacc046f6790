//! How each matrix product adds up its terms.
//!
//! Order along m and n cannot change a bit; order along k can, for any accumulator that rounds or saturates. The plan
//! states it, the tile executor follows it, and the un-tiled reference is evaluated under the same plan.

use std::num::NonZeroU32;

use crate::hardware::matrix_unit::{Accumulation, FloatAccumulation};
use crate::numerics::accumulate::{AccumulationOrder, Destination, IntegerAccumulator};
use crate::schedule::team::TeamSplit;
use crate::shape::{Blocking, Span};

/// The order in which the terms of each output element are added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccumulationPlan {
    /// What holds the partial sums.
    pub accumulator: Accumulator,
    /// Segments along k, walked in ascending order; partial sums stay in the accumulator between them.
    pub segments: Blocking,
    /// How units share each segment. Along k each adds up its parts of all segments by itself; then their sums are added
    /// in ascending order of the members: floats in FP32, integers by the rule of the accumulator. Members without any
    /// part do not take part in it.
    pub split: TeamSplit,
}

impl AccumulationPlan {
    /// The spans of k that each member with any adds up, in ascending order.
    pub fn parts(&self) -> Vec<Vec<Span>> {
        let segments = || (0..self.segments.count()).map(|index| self.segments.span(index));
        if !self.split.is_along_k() {
            return vec![segments().collect()];
        }
        let parts = (0..self.split.members).map(|member| {
            let parts = segments().map(|segment| self.split.part_of(segment, member));
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
        });
        parts.filter(|parts| !parts.is_empty()).collect()
    }
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

    /// The same where products come one by one: each is added with a rounding of its own. An order that rounds once at the
    /// end has none to give, and integers do not care.
    pub fn one_by_one(self) -> Accumulator {
        let Accumulator::Float { order, destination, .. } = self else { return self };
        let order = match order {
            AccumulationOrder::Sequential | AccumulationOrder::Block => AccumulationOrder::Sequential,
            AccumulationOrder::Exact => order,
            AccumulationOrder::Fused(_) => AccumulationOrder::Fused(NonZeroU32::MIN),
            AccumulationOrder::Truncated(truncation) => AccumulationOrder::Truncated(truncation.of_single_products()),
        };
        Accumulator::Float { order, destination, depth: 1 }
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
