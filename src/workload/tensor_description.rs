//! Tensors that come from outside: inputs, weights, biases and recorded activations.

use std::path::PathBuf;

use crate::numerics::formats::ElementFormat;
use crate::shape::MatrixShape;
use crate::workload::generator::Generator;

/// Index of a tensor in [`Workload::tensors`](crate::workload::graph::Workload::tensors).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceTensorId(pub usize);

/// A tensor that the workload is given.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDescription {
    /// Unique name.
    pub name: String,
    /// Rows and columns; a vector has one row.
    pub shape: MatrixShape,
    /// Where its values come from, if from anywhere.
    pub source: Option<TensorSource>,
    /// Format in which it lies off the chip, where one is given.
    pub format: Option<&'static ElementFormat>,
}

/// Where the values of a tensor come from.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorSource {
    /// An entry of a safetensors file.
    Safetensors {
        /// The file, resolved against the folder of the workload file.
        file: PathBuf,
        /// Name of the entry.
        entry: String,
    },
    /// A NumPy file of one array.
    Npy {
        /// The file, resolved against the folder of the workload file.
        file: PathBuf,
    },
    /// Computed from a seed.
    Generated(Generator),
}
