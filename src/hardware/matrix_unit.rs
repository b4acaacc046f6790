//! Matrix units: an array of multipliers, the formats it accepts and where its operands live.

use crate::hardware::array::Array;
use crate::hardware::memory::MemoryId;
use crate::numerics::accumulate::{AccumulationOrder, Destination, IntegerAccumulator};
use crate::numerics::formats::ElementFormat;
use crate::units::Cycles;

/// Index of a matrix unit in [`Npu::matrix_units`](crate::hardware::npu::Npu::matrix_units).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatrixUnitId(pub usize);

/// A matrix unit.
#[derive(Clone, Debug)]
pub struct MatrixUnit {
    /// Unique name.
    pub name: String,
    /// The array of multipliers.
    pub array: Array,
    /// Format pairs that the array multiplies, each with its rate and accumulator.
    pub formats: Vec<FormatSupport>,
    /// Memory from which activations and weights stream into the array.
    pub operand_memory: MemoryId,
    /// Memory that holds the partial sums.
    pub accumulator_memory: MemoryId,
    /// Cycles from the moment a command's operands are ready to its first action in the array.
    pub launch: Cycles,
    /// Cycles that the sums of a tile take to be shifted by one bit, before another product adds to them.
    pub accumulator_shift: Cycles,
}

impl MatrixUnit {
    /// How this unit does products of the given formats, or `None` where it cannot.
    pub fn support(&self, formats: ProductFormats) -> Option<&FormatSupport> {
        self.formats.iter().find(|support| {
            support.activation == formats.activation
                && support.weight == formats.weight
                && support.accumulator.is_integer() == formats.accumulator.is_integer()
        })
    }
}

/// What a product asks of a matrix unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductFormats {
    /// Format of the left operand's elements.
    pub activation: &'static ElementFormat,
    /// Format of the right operand's elements.
    pub weight: &'static ElementFormat,
    /// Kind of sums: integers, or floats (block-scaled integers are summed as floats).
    pub accumulator: &'static ElementFormat,
}

/// One format pair of a matrix unit.
#[derive(Clone, Copy, Debug)]
pub struct FormatSupport {
    /// Format of the left operand's elements.
    pub activation: &'static ElementFormat,
    /// Format of the right operand's elements.
    pub weight: &'static ElementFormat,
    /// Format of the partial sums. With a float one, a pair of integers is one of block-scaled integers.
    pub accumulator: &'static ElementFormat,
    /// How products are added up in it.
    pub accumulation: Accumulation,
    /// Multiply-accumulates that one processing element does a cycle in this pair, along K.
    pub macs_per_element_per_cycle: u64,
}

/// How the products of one output are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulation {
    /// As integers, exactly but for what happens beyond the width.
    Integer(IntegerAccumulator),
    /// As floats, in a stated order.
    Float(FloatAccumulation),
}

/// An order of float accumulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatAccumulation {
    /// Which products enter one operation, and where it rounds.
    pub order: AccumulationOrder,
    /// Format of the accumulator.
    pub destination: Destination,
    /// Products of one operation of the `block` order where the operands have no scales: the depth of the array's adders.
    /// Where they have, it is the block that shares a scale.
    pub dot_depth: u64,
}
