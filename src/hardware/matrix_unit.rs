//! Matrix units: arrays of multiply-accumulate elements, the formats they accept and where their operands live.

use crate::hardware::memory::MemoryId;
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
    /// The array of processing elements.
    pub array: SystolicArray,
    /// Format pairs that the array multiplies, each with its rate and accumulator.
    pub formats: Vec<FormatSupport>,
    /// Memory from which activations and weights stream into the array.
    pub operand_memory: MemoryId,
    /// Memory that holds the partial sums.
    pub accumulator_memory: MemoryId,
    /// Cycles from the moment a command's operands are ready to its first action in the array.
    pub launch: Cycles,
}

impl MatrixUnit {
    /// How this unit multiplies `activation` by `weight`, or `None` where it cannot.
    pub fn support(&self, activation: &ElementFormat, weight: &ElementFormat) -> Option<&FormatSupport> {
        self.formats.iter().find(|support| support.activation == activation && support.weight == weight)
    }
}

/// A systolic array of `rows` x `columns` processing elements.
///
/// In the weight-stationary dataflow rows run along K and columns along N; other dataflows say what theirs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystolicArray {
    /// Processing elements along a column.
    pub rows: u64,
    /// Processing elements along a row.
    pub columns: u64,
    /// Registered name of the dataflow (`dataflow::ALL`).
    pub dataflow: &'static str,
    /// Whether a second set of stationary registers lets the next fold load while this one streams.
    pub double_buffered: bool,
}

impl SystolicArray {
    /// Number of processing elements.
    pub const fn processing_elements(&self) -> u64 {
        self.rows * self.columns
    }
}

/// One format pair of a matrix unit.
#[derive(Clone, Copy, Debug)]
pub struct FormatSupport {
    /// Format of the left operand's elements.
    pub activation: &'static ElementFormat,
    /// Format of the right operand's elements.
    pub weight: &'static ElementFormat,
    /// Format of the partial sums.
    pub accumulator: &'static ElementFormat,
    /// Multiply-accumulates that one processing element does a cycle in this pair, along K.
    pub macs_per_element_per_cycle: u64,
}
