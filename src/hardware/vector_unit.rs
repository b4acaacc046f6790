//! Vector units: lanes that reduce, quantize, dequantize and apply element-wise functions.

use crate::hardware::memory::MemoryId;
use crate::units::{Bytes, Cycles, Rate};

/// Index of a vector unit in [`Npu::vector_units`](crate::hardware::npu::Npu::vector_units).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorUnitId(pub usize);

/// Cycles of the parts of a vector unit that work beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionCycles {
    /// Of the lanes.
    pub lanes: Cycles,
    /// Of the extractor.
    pub extractor: Cycles,
}

/// A kind of work that a vector unit does, each with a rate and an energy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorFunction {
    /// Abs-max and its like: one result per scope.
    Reduce,
    /// Scale, round and clip to a narrow format.
    Quantize,
    /// Scale partial sums back to real values, bias included.
    Dequantize,
    /// Add two matrices.
    Add,
    /// A non-linear function of one element.
    Activate,
    /// Multiply two matrices element by element.
    Multiply,
    /// Softmax of a row: maximum, exponential, sum and division.
    Softmax,
    /// LayerNorm or RMSNorm of a row: its moments and their application.
    Normalize,
    /// Rotary positions: each element from a pair, a sine and a cosine.
    Rotary,
    /// Move one element to or from a place that an index names.
    Gather,
    /// Shift, subtract and add two paths together.
    Merge,
    /// Pass one element by a table that says which channels are taken out: of an extractor, never of the lanes.
    Extract,
}

impl VectorFunction {
    /// Every function, in the order of the hardware files.
    pub const ALL: [VectorFunction; 12] = [
        VectorFunction::Reduce,
        VectorFunction::Quantize,
        VectorFunction::Dequantize,
        VectorFunction::Add,
        VectorFunction::Activate,
        VectorFunction::Multiply,
        VectorFunction::Softmax,
        VectorFunction::Normalize,
        VectorFunction::Rotary,
        VectorFunction::Gather,
        VectorFunction::Merge,
        VectorFunction::Extract,
    ];

    /// Name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            VectorFunction::Reduce => "reduce",
            VectorFunction::Quantize => "quantize",
            VectorFunction::Dequantize => "dequantize",
            VectorFunction::Add => "add",
            VectorFunction::Activate => "activate",
            VectorFunction::Multiply => "multiply",
            VectorFunction::Softmax => "softmax",
            VectorFunction::Normalize => "normalize",
            VectorFunction::Rotary => "rotary",
            VectorFunction::Gather => "gather",
            VectorFunction::Merge => "merge",
            VectorFunction::Extract => "extract",
        }
    }

    /// Position in [`VectorFunction::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A vector unit. One command runs its functions one after the other over the same tile. A row buffer holds the row
/// under way, so whatever the number of functions, each input is read once and each result written once.
#[derive(Clone, Debug)]
pub struct VectorUnit {
    /// Unique name.
    pub name: String,
    /// Memory that it reads and writes.
    pub memory: MemoryId,
    /// Elements a cycle for each function, in the order of [`VectorFunction::ALL`]; `None` for what it cannot do.
    pub rates: [Option<Rate>; VectorFunction::ALL.len()],
    /// Cycles from the start of a command to its first result.
    pub latency: Cycles,
    /// What takes channels out beside the lanes, where there is such a part.
    pub extractor: Option<Extractor>,
}

/// A part in the way of the elements to the lanes that takes channels out, or changes them, by a table.
///
/// It works beside the lanes: a command takes as long as the slower of both, and one that needs it begins later by its latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extractor {
    /// Elements that pass it in a cycle, whether they are taken out or not.
    pub elements_per_cycle: Rate,
    /// Bytes of its table.
    pub table: Bytes,
    /// Cycles that an element is in it.
    pub latency: Cycles,
}

impl VectorUnit {
    /// Whether it can do `function`.
    pub const fn supports(&self, function: VectorFunction) -> bool {
        self.rates[function.index()].is_some()
    }

    /// Cycles for functions, each over so many elements as `elements` says, one function after the other on the lanes; the
    /// extractor beside them.
    pub fn cycles(&self, functions: &[VectorFunction], elements: impl Fn(VectorFunction) -> u64) -> FunctionCycles {
        let mut cycles = FunctionCycles::default();
        for function in functions {
            let taken = self.rate(*function).cycles_for(elements(*function));
            match function {
                VectorFunction::Extract => cycles.extractor += taken,
                _ => cycles.lanes += taken,
            }
        }
        cycles
    }

    /// Elements a cycle for `function`.
    ///
    /// # Panics
    /// The unit cannot do it: schedules use only what it supports.
    pub const fn rate(&self, function: VectorFunction) -> Rate {
        self.rates[function.index()].expect("schedules use only functions that the unit supports")
    }
}
