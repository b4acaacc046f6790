//! Tensors of a program.

use crate::numerics::formats::ElementFormat;
use crate::shape::MatrixShape;
use crate::units::Bytes;
use crate::workload::tensor_description::SourceTensorId;

/// Index of a tensor in [`Program::tensors`](crate::program::Program::tensors).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// Index of the values of a constant in [`Program::constants`](crate::program::Program::constants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConstantId(pub usize);

/// A tensor of elements of one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramTensor {
    /// Name for people: layer and role.
    pub name: String,
    /// Rows and columns.
    pub shape: MatrixShape,
    /// Format of the elements.
    pub format: &'static ElementFormat,
    /// Where its values come from.
    pub origin: Origin,
    /// Values recorded in a run of the original model that replace the computed ones for every consumer.
    pub recorded: Option<SourceTensorId>,
    /// Whether its bytes count. A cost model that leaves scales out takes them to be free.
    pub is_counted: bool,
}

/// Where the values of a tensor come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the workload, in off-chip memory when the run starts.
    Source(SourceTensorId),
    /// From the workload too, transposed before the run: the constant right operand of a product whose file has it `[n, k]`.
    Transposed(SourceTensorId),
    /// From a calibration: a table of channels, static scales; in off-chip memory when the run starts.
    Constant(ConstantId),
    /// From the program's preparation: a constant, in off-chip memory when the run starts.
    Prepared,
    /// Written by an operation of the run.
    Produced,
}

impl ProgramTensor {
    /// Bytes of `rows` x `columns` elements stored densely, each row rounded up to whole bytes.
    pub fn bytes_of(&self, rows: u64, columns: u64) -> Bytes {
        Bytes(rows * self.row_bytes(columns).get())
    }

    /// Bytes of `columns` neighbouring elements of one row, rounded up.
    pub fn row_bytes(&self, columns: u64) -> Bytes {
        Bytes((columns * self.counted_bits()).div_ceil(8))
    }

    /// Bits of an element as far as memories are concerned: zero where its bytes do not count.
    pub fn counted_bits(&self) -> u64 {
        if self.is_counted { u64::from(self.format.storage_bits()) } else { 0 }
    }

    /// Bytes of the whole tensor.
    pub fn bytes(&self) -> Bytes {
        self.bytes_of(self.shape.rows, self.shape.columns)
    }

    /// Whether it is there before the run starts.
    pub fn is_given(&self) -> bool {
        match self.origin {
            Origin::Source(_) | Origin::Transposed(_) | Origin::Constant(_) | Origin::Prepared => true,
            Origin::Produced => false,
        }
    }

    /// Whether its values are given, so that no operation writes it.
    pub fn is_bound(&self) -> bool {
        match self.origin {
            Origin::Source(_) | Origin::Transposed(_) | Origin::Constant(_) => true,
            Origin::Prepared | Origin::Produced => false,
        }
    }
}
