//! Arrays of multipliers: their extents, and how they are driven where that is not what the registers alone would allow.
//!
//! What an array does with a tile, and when, is known to `dataflow`; here stand the parameters only.

use crate::hardware::sequencing::{Sequencing, StartRule};
use crate::units::Cycles;

/// The multipliers of a matrix unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Array {
    /// Processing elements that hand their operands on to their neighbours.
    Systolic(SystolicArray),
    /// Dot-product units that are fed side by side.
    DotProduct(DotProductArray),
}

impl Array {
    /// Registered name of the dataflow (`dataflow::ALL`).
    pub const fn dataflow(&self) -> &'static str {
        match self {
            Array::Systolic(array) => array.dataflow,
            Array::DotProduct(_) => DotProductArray::DATAFLOW,
        }
    }

    /// Processing elements. Times the multiply-accumulates of one element a cycle in a format pair, this is the peak rate
    /// of the array in that pair.
    pub const fn processing_elements(&self) -> u64 {
        match self {
            Array::Systolic(array) => array.rows * array.columns,
            Array::DotProduct(array) => array.m * array.n * array.k,
        }
    }

    /// Whether results leave the array, and go on to their consumers, while it works on a tile.
    pub const fn streams_results(&self) -> bool {
        match self {
            Array::Systolic(_) => false,
            Array::DotProduct(array) => array.sequencing.is_some(),
        }
    }

    /// Whether a product starts only with all of its activations in the operand memory.
    pub const fn starts_whole(&self) -> bool {
        match self {
            Array::Systolic(_) | Array::DotProduct(DotProductArray { sequencing: None, .. }) => false,
            Array::DotProduct(DotProductArray { sequencing: Some(sequencing), .. }) => match sequencing.start {
                StartRule::FirstTile => false,
                StartRule::WholeActivation { .. } => true,
            },
        }
    }

    /// Products that one adder sums at once where each element does `macs_per_element_per_cycle`: the depth of a dot
    /// unit; in a systolic array the lanes of one element.
    pub const fn dot_depth(&self, macs_per_element_per_cycle: u64) -> u64 {
        match self {
            Array::Systolic(_) => macs_per_element_per_cycle,
            Array::DotProduct(array) => array.k * macs_per_element_per_cycle,
        }
    }
}

/// A systolic array of `rows` x `columns` processing elements; its dataflow says what runs along which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystolicArray {
    /// Processing elements along a column.
    pub rows: u64,
    /// Processing elements along a row.
    pub columns: u64,
    /// Registered name of the dataflow (`dataflow::ALL`).
    pub dataflow: &'static str,
    /// Whether a second set of registers lets the next fold enter while this one is under way.
    pub double_buffered: bool,
    /// Where given, folds follow one another without any overlap, and each takes the sum of these parts.
    pub serial_folds: Option<SerialFolds>,
}

/// The parts of a fold that overlaps with nothing: `load + stream + fill + drain + overhead`, and `corner` where it
/// applies. Simple simulators and controllers work like that; what they differ in is which of the parts they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialFolds {
    /// Whether the stationary operand is shifted in before the stream starts.
    pub load: StationaryLoad,
    /// What the way of operands and sums through the array adds.
    pub fill: Fill,
    /// How results leave that stay in the array until they are final.
    pub drain: Drain,
    /// Fixed cycles of every fold.
    pub overhead: Cycles,
    /// Cycles of a fold that uses several rows and several columns: only then is there an element that gets both of its
    /// operands from neighbours.
    pub corner: Cycles,
}

/// How the stationary operand of a serial fold comes into the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationaryLoad {
    /// One row of elements after the other, before the stream.
    Rows,
    /// Behind an earlier fold, or there is none.
    Hidden,
}

/// What the way through the array adds to a serial fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// `rows + columns - 2`: operands are handed on through the whole array, however few elements have work.
    FullArray,
    /// The same for the rows and columns that the fold uses.
    Used,
    /// Nothing: operands reach all elements at once.
    None,
}

/// How results leave that stay in the array until they are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// One row of the array after the other, when the last element has finished.
    Rows,
    /// On paths of their own, or there are none.
    Overlapped,
}

/// `m` x `n` dot-product units, each `k` deep: a tensor core, a cube unit, or with `m = 1` a row of dot units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DotProductArray {
    /// Rows of the outputs that are worked on at once.
    pub m: u64,
    /// Columns of the outputs that are worked on at once.
    pub n: u64,
    /// Products of each output a cycle, at one multiply-accumulate of an element a cycle.
    pub k: u64,
    /// Cycles from the operands of a step to its sum.
    pub pipeline: Cycles,
    /// Where the weights of a step come from.
    pub weights: BlockWeights,
    /// Where given, a sequencer decides the order of work; weights are held then.
    pub sequencing: Option<Sequencing>,
}

impl DotProductArray {
    /// The one dataflow of these arrays.
    pub const DATAFLOW: &'static str = "dot_product";
}

/// Where the weights of a dot-product array come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockWeights {
    /// With the activations, each step anew. Sums stay in the array for the whole depth of a tile.
    Streamed,
    /// A block of `k` x `n` weights is held for all rows of a tile, and the next one loads behind it. Sums are added up
    /// in the accumulators.
    HeldDoubleBuffered,
    /// The same, but the next block loads only when the last row of this one has entered.
    HeldSingleBuffered,
}
