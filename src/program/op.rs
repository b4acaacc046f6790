//! Operations: a closed set, matched everywhere without a wildcard, so a new one makes the compiler list every pass
//! that has to learn it.

use crate::numerics::formats::ElementFormat;
use crate::program::tensor::TensorId;
use crate::shape::GemmShape;
use crate::workload::layer::{ActivationFunction, LayerId};

/// Index of an operation in [`Program::ops`](crate::program::Program::ops).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub usize);

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Layer whose work it is.
    pub layer: LayerId,
    /// Which part of that layer's work it is.
    pub path: Path,
    /// What it does.
    pub kind: OpKind,
}

/// The part of a layer's work that an operation belongs to. Reports break every figure down by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The work that the layer would do without any outlier handling.
    Body,
    /// An auxiliary product that corrects the body (MUXQ).
    Auxiliary,
    /// A second product over extracted channels (OSC, LLM.int8).
    Branch,
    /// Moving outlier channels out of the body.
    Extraction,
    /// Finding scales.
    ScaleReduction,
    /// Rounding to a narrow format.
    Quantization,
    /// Adding paths together.
    Merge,
    /// Scaling partial sums back to real values.
    Dequantization,
}

impl Path {
    /// Every path, in the order of reports.
    pub const ALL: [Path; 8] = [
        Path::Body,
        Path::Auxiliary,
        Path::Branch,
        Path::Extraction,
        Path::ScaleReduction,
        Path::Quantization,
        Path::Merge,
        Path::Dequantization,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Path::Body => "body",
            Path::Auxiliary => "auxiliary",
            Path::Branch => "branch",
            Path::Extraction => "extraction",
            Path::ScaleReduction => "scale_reduction",
            Path::Quantization => "quantization",
            Path::Merge => "merge",
            Path::Dequantization => "dequantization",
        }
    }
}

/// Over which elements one scale holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole tensor: a scale tensor of `[1, 1]`. A dynamic one is a barrier: it waits for the last row.
    Tensor,
    /// One row (a token): a scale tensor of `[m, 1]`.
    Row,
    /// One column (an output channel): a scale tensor of `[1, n]`.
    Column,
}

/// When a scale is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleSource {
    /// Before the run.
    Static,
    /// Computed during the run from the values themselves.
    Dynamic,
}

/// A scale and how it is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The scale tensor.
    pub tensor: TensorId,
    /// Over which elements each scale holds.
    pub scope: Scope,
    /// When it is known.
    pub source: ScaleSource,
}

/// What an operation does. Tensors are named by id; shapes are those of the tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// `output[m, n] = left[m, k] right[k, n]`, accumulated in the output's format.
    Gemm(Gemm),
    /// The scale `max |x| / largest code` over each scope of the input.
    Reduce {
        /// `[m, n]`.
        input: TensorId,
        /// The scales; shape by scope.
        output: TensorId,
        /// Over which elements.
        scope: Scope,
        /// Format whose largest code the largest magnitude shall reach.
        target: &'static ElementFormat,
    },
    /// `round(input / scale)`, clipped to the symmetric range of the output's format.
    Quantize {
        /// `[m, n]`, real-valued.
        input: TensorId,
        /// Scale of each element.
        scale: Scale,
        /// `[m, n]` codes.
        output: TensorId,
    },
    /// `input * row_scale * column_scale + bias`.
    Dequantize {
        /// `[m, n]` partial sums.
        input: TensorId,
        /// Scale of the left operand: scope tensor or row.
        left_scale: Scale,
        /// Scale of the right operand: scope tensor or column.
        right_scale: Scale,
        /// `[1, n]`.
        bias: Option<TensorId>,
        /// `[m, n]`, real-valued.
        output: TensorId,
    },
    /// A function of each element.
    Activate {
        /// The function.
        function: ActivationFunction,
        /// `[m, n]`.
        input: TensorId,
        /// `[m, n]`.
        output: TensorId,
    },
}

/// A matrix product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// m, k, n.
    pub shape: GemmShape,
    /// `[m, k]` codes.
    pub left: TensorId,
    /// `[k, n]` codes.
    pub right: TensorId,
    /// `[m, n]` partial sums.
    pub output: TensorId,
}

impl OpKind {
    /// Every tensor that it reads.
    pub fn reads(&self) -> Vec<TensorId> {
        match self {
            OpKind::Gemm(gemm) => vec![gemm.left, gemm.right],
            OpKind::Reduce { input, .. } | OpKind::Activate { input, .. } => vec![*input],
            OpKind::Quantize { input, scale, .. } => vec![*input, scale.tensor],
            OpKind::Dequantize { input, left_scale, right_scale, bias, .. } => {
                let mut reads = vec![*input, left_scale.tensor, right_scale.tensor];
                reads.extend(bias);
                reads
            }
        }
    }

    /// The tensor that it writes.
    pub fn output(&self) -> TensorId {
        match self {
            OpKind::Gemm(gemm) => gemm.output,
            OpKind::Reduce { output, .. }
            | OpKind::Quantize { output, .. }
            | OpKind::Dequantize { output, .. }
            | OpKind::Activate { output, .. } => *output,
        }
    }
}
