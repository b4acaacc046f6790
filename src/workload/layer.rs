//! Layers: the nodes of the workload graph.

use crate::shape::{GemmShape, MatrixShape};
use crate::workload::tensor_description::SourceTensorId;

/// Index of a layer in [`Workload::layers`](crate::workload::graph::Workload::layers), which are in execution order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct LayerId(pub usize);

/// A named layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Unique name.
    pub name: String,
    /// What it computes.
    pub operation: LayerOperation,
    /// Activations recorded at this layer's output in a run of the original model. Where given, the consumers of this
    /// layer start from the record, so their numeric error is their own and not inherited.
    pub recorded_output: Option<SourceTensorId>,
}

impl Layer {
    /// Shape of the output, `[m, n]`.
    pub fn output_shape(&self) -> MatrixShape {
        match &self.operation {
            LayerOperation::Gemm(gemm) => gemm.shape.output(),
            LayerOperation::Activate { shape, .. } => *shape,
        }
    }

    /// Values that it reads from other layers or from outside, constants aside.
    pub fn inputs(&self) -> Vec<ValueRef> {
        match &self.operation {
            LayerOperation::Gemm(gemm) => vec![gemm.input],
            LayerOperation::Activate { input, .. } => vec![*input],
        }
    }
}

/// What a layer computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerOperation {
    /// `Y = X W + b`.
    Gemm(LogicalGemm),
    /// A function of each element.
    Activate {
        /// The function.
        function: ActivationFunction,
        /// Its input, `[m, n]`.
        input: ValueRef,
        /// Shape of input and output.
        shape: MatrixShape,
    },
}

/// A matrix product before any scheme has decided its formats: `Y[m, n] = X[m, k] W[k, n] + b[n]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalGemm {
    /// m, k, n.
    pub shape: GemmShape,
    /// X, `[m, k]`.
    pub input: ValueRef,
    /// W, `[k, n]`.
    pub weight: SourceTensorId,
    /// b, `[1, n]`.
    pub bias: Option<SourceTensorId>,
}

/// A value that a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueRef {
    /// A tensor from outside.
    Source(SourceTensorId),
    /// The output of another layer.
    Layer(LayerId),
}

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationFunction {
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + exp(-x))`.
    Silu,
}

impl ActivationFunction {
    /// Functions by their name in files.
    pub const NAMES: [(&'static str, ActivationFunction); 4] = [
        ("gelu", ActivationFunction::Gelu),
        ("gelu_tanh", ActivationFunction::GeluTanh),
        ("relu", ActivationFunction::Relu),
        ("silu", ActivationFunction::Silu),
    ];

    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }
}
