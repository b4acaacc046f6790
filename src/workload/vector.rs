//! Layers of vector arithmetic: element by element over one or two matrices, or over whole rows.

use crate::shape::MatrixShape;
use crate::workload::layer::ValueRef;
use crate::workload::tensor_description::SourceTensorId;

/// A layer of vector arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorLayer {
    /// What it computes.
    pub function: VectorArithmetic,
    /// What it walks, each of the layer's shape: one matrix, or two.
    pub inputs: Vec<ValueRef>,
    /// Weight and bias of a normalization, one row of its width each.
    pub constants: Vec<SourceTensorId>,
    /// Shape of inputs and output.
    pub shape: MatrixShape,
}

/// What a vector layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorArithmetic {
    /// The sum of two matrices.
    Add,
    /// The product of two matrices, element by element.
    Multiply,
    /// Softmax of each row.
    Softmax {
        /// Factor of the inputs.
        scale: Real,
        /// Which columns a row sees.
        mask: Mask,
    },
    /// LayerNorm of each `width` neighbouring columns of a row.
    LayerNorm {
        /// Columns that are normalized together.
        width: u64,
        /// What is added to the variance.
        epsilon: Real,
    },
    /// RMSNorm of each `width` neighbouring columns of a row.
    RmsNorm {
        /// Columns that are normalized together.
        width: u64,
        /// What is added to the mean square.
        epsilon: Real,
    },
    /// Rotary positions.
    Rotary {
        /// Columns of a head.
        width: u64,
        /// Base of the frequencies.
        base: Real,
        /// Which token a row is.
        positions: Positions,
    },
}

/// Which columns a row of softmax sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// All.
    None,
    /// Those up to its own position. The rows are queries of heads one below the other, and the last query of each head is
    /// the newest token, which sees all columns (the bottom right corner of the mask).
    Causal {
        /// Queries of a head, no more than there are columns.
        queries: u64,
    },
}

impl Mask {
    /// How many columns row `row` of `columns` sees.
    pub const fn visible(self, row: u64, columns: u64) -> u64 {
        match self {
            Mask::None => columns,
            Mask::Causal { queries } => columns - queries + row % queries + 1,
        }
    }
}

/// Which tokens the rows of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Positions {
    /// The token of the first row: as many as a cache holds already.
    pub offset: u64,
    /// Rows of a sequence; sequences lie one below the other.
    pub period: u64,
}

impl Positions {
    /// The token of row `row`.
    pub const fn of(self, row: u64) -> u64 {
        self.offset + row % self.period
    }
}

impl VectorArithmetic {
    /// Name in files, programs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            VectorArithmetic::Add => "add",
            VectorArithmetic::Multiply => "multiply",
            VectorArithmetic::Softmax { .. } => "softmax",
            VectorArithmetic::LayerNorm { .. } => "layer_norm",
            VectorArithmetic::RmsNorm { .. } => "rms_norm",
            VectorArithmetic::Rotary { .. } => "rotary",
        }
    }

    /// Whether a result depends on other columns of its row.
    pub const fn needs_whole_rows(self) -> bool {
        match self {
            VectorArithmetic::Add | VectorArithmetic::Multiply => false,
            VectorArithmetic::Softmax { .. }
            | VectorArithmetic::LayerNorm { .. }
            | VectorArithmetic::RmsNorm { .. }
            | VectorArithmetic::Rotary { .. } => true,
        }
    }

    /// Shape of the constants.
    pub const fn constant_shape(self, layer: MatrixShape) -> MatrixShape {
        match self {
            VectorArithmetic::LayerNorm { width, .. } | VectorArithmetic::RmsNorm { width, .. } => {
                MatrixShape::new(1, width)
            }
            VectorArithmetic::Add
            | VectorArithmetic::Multiply
            | VectorArithmetic::Softmax { .. }
            | VectorArithmetic::Rotary { .. } => MatrixShape::new(1, layer.columns),
        }
    }
}

/// An f32 parameter that can be compared: by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Real(u32);

impl Real {
    /// The parameter `value`.
    pub const fn new(value: f32) -> Real {
        Real(value.to_bits())
    }

    /// Its value.
    pub const fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl std::fmt::Debug for Real {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.get())
    }
}
