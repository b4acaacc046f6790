//! Operations: a closed set, matched everywhere without a wildcard, so a new one makes the compiler list every pass
//! that has to learn it.

use crate::hardware::vector_unit::VectorFunction;
use crate::numerics::block::BlockFormat;
use crate::numerics::formats::ElementFormat;
use crate::program::Program;
use crate::program::channels::{
    ChannelSide, DivideChannels, ExtractChannels, ExtractTop, GatherRows, InitialSums, Merge, Mover, TokenMover,
};
use crate::program::tensor::TensorId;
use crate::shape::{GemmShape, MatrixShape};
use crate::workload::batching::Batching;
use crate::workload::convolution::ConvolutionWindow;
use crate::workload::layer::{ActivationFunction, LayerId};
use crate::workload::vector::VectorArithmetic;

pub use crate::workload::layer::RightLayout;

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
    /// Matrix unit that is asked for by its name; without one the schedule chooses. Only products have one.
    pub unit: Option<String>,
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
    /// The scale `max |x| / largest value of the target` over each scope of the input.
    Reduce {
        /// `[m, n]`.
        input: TensorId,
        /// The scales; shape by scope.
        output: TensorId,
        /// Over which elements.
        scope: Scope,
        /// What the largest magnitude shall reach.
        target: ScaleTarget,
    },
    /// `round(input / scale)`, clipped to the range of the output's format (the symmetric one for integers). Integer sums
    /// without a scale are saturated to the whole range, exactly.
    Quantize {
        /// `[m, n]`, real-valued.
        input: TensorId,
        /// Scale of each element; without one the values are rounded as they are.
        scale: Option<Scale>,
        /// `[m, n]` codes.
        output: TensorId,
    },
    /// Codes and scales of a block format; each block's scale is found and applied in one pass.
    QuantizeBlocks {
        /// `[m, n]`, real-valued.
        input: TensorId,
        /// The block format.
        format: &'static BlockFormat,
        /// Along which axis of the input the blocks run.
        along: BlockAxis,
        /// Indices along that axis after which blocks start anew: k of a batch, so that no block spans two batches.
        run: u64,
        /// Scale of the whole tensor, for formats that have one.
        tensor_scale: Option<Scale>,
        /// Codes, blocks contiguous: `[m, n]` for blocks along columns, `[n, m]` for blocks along rows.
        codes: TensorId,
        /// Block scales, one per block of each run of each row of the codes.
        scales: TensorId,
    },
    /// `input * (left_scale * right_scale) + bias`.
    Dequantize {
        /// `[m, n]` partial sums.
        input: TensorId,
        /// Scale of the left operand: scope tensor or row. One scale for each row of one batch, or of all.
        left_scale: Option<Scale>,
        /// Scale of the right operand: scope tensor or column, as a row or a column of scales. One for each column of one
        /// batch, or of all right operands.
        right_scale: Option<Scale>,
        /// `[1, n]`.
        bias: Option<TensorId>,
        /// The batches of the product that made the partial sums.
        batching: Batching,
        /// `[m, n]`, real-valued.
        output: TensorId,
    },
    /// Vector arithmetic over one or two matrices, or over whole rows.
    Vector(VectorOp),
    /// A function of each element.
    Activate {
        /// The function.
        function: ActivationFunction,
        /// `[m, n]`.
        input: TensorId,
        /// `[m, n]`.
        output: TensorId,
    },
    /// Takes channels out of an activation.
    ExtractChannels(ExtractChannels),
    /// Takes the largest element of each group of each row out of an activation.
    ExtractTop(ExtractTop),
    /// Gathers rows of a weight.
    GatherRows(GatherRows),
    /// Adds two paths together.
    Merge(Merge),
    /// Divides channels of an activation by factors, or multiplies those of a weight.
    DivideChannels(DivideChannels),
}

/// Vector arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorOp {
    /// What it computes.
    pub function: VectorArithmetic,
    /// `[m, n]` each, one or two.
    pub inputs: Vec<TensorId>,
    /// Weight and bias of a normalization, `[1, width]` each.
    pub constants: Vec<TensorId>,
    /// `[m, n]`.
    pub output: TensorId,
}

/// What a scale brings the largest magnitude of its scope to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleTarget {
    /// The largest code (of the symmetric range) or the largest finite value of an element format.
    Element(&'static ElementFormat),
    /// The largest value that a block format with a tensor scale can hold.
    Blocks(&'static BlockFormat),
    /// Itself: the result is the largest magnitude, not a scale.
    Magnitude,
}

/// Along which axis of a matrix blocks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockAxis {
    /// Neighbouring columns of one row: activations, whose k runs along the row.
    Columns,
    /// Neighbouring rows of one column: weights `[k, n]`; their codes are stored `[n, k]`.
    Rows,
}

/// A matrix product, or a batch of equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// m, k, n of one batch.
    pub shape: GemmShape,
    /// `[m, k]` codes of each batch, or the pixels that the window moves over.
    pub left: GemmOperand,
    /// `[k, n]` codes of each batch, or `[n, k]` as the layout says.
    pub right: GemmOperand,
    /// How the right operand is stored.
    pub right_layout: RightLayout,
    /// How many products there are, and where their operands lie.
    pub batching: Batching,
    /// The window of a convolution.
    pub window: Option<ConvolutionWindow>,
    /// `[batches, k]`: which rows of one right operand `[any, n]` each batch multiplies, in that order; without it the right
    /// operand has the rows of each batch and no others.
    ///
    /// Rows that are gathered one after the other are added one after the other, each with a rounding of its own.
    pub right_rows: Option<TensorId>,
    /// Sums of an earlier product that stay in the accumulators and that this one adds to; without them it starts at zero.
    pub initial: Option<InitialSums>,
    /// `[m, n]` partial sums of each batch.
    pub output: TensorId,
}

impl Gemm {
    /// Multiply-accumulates of all batches.
    pub const fn macs(&self) -> u64 {
        self.shape.macs() * self.batching.count
    }

    /// Shape of the matrix that holds the left operand's codes.
    pub const fn left_shape(&self) -> MatrixShape {
        match &self.window {
            Some(window) => window.input_shape(self.batching.count),
            None => self.batching.left.stacked(self.shape.left(), self.batching.count),
        }
    }

    /// Shape of the matrix that holds the right operand's codes.
    pub const fn right_shape(&self) -> MatrixShape {
        self.batching.right.stacked(self.right_layout.shape(self.shape), self.batching.right_count())
    }

    /// Columns of the stored left and right operand after which their blocks start anew.
    pub const fn block_runs(&self) -> [u64; 2] {
        block_runs(self.shape, self.window.as_ref())
    }

    /// Shape of the matrix that holds the partial sums.
    pub const fn output_shape(&self) -> MatrixShape {
        self.batching.output.stacked(self.shape.output(), self.batching.count)
    }
}

/// Columns of the stored left and right operand of a product of that `shape` after which their blocks start anew: k of a
/// batch, or the channels of a group under a window.
pub const fn block_runs(shape: GemmShape, window: Option<&ConvolutionWindow>) -> [u64; 2] {
    match window {
        Some(window) => [window.channels, shape.k],
        None => [shape.k, shape.k],
    }
}

/// An operand of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmOperand {
    /// The codes.
    pub codes: TensorId,
    /// Scales of blocks along k that the matrix unit applies.
    pub blocks: Option<OperandBlocks>,
}

impl GemmOperand {
    /// An operand whose elements are the codes alone.
    pub const fn plain(codes: TensorId) -> GemmOperand {
        GemmOperand { codes, blocks: None }
    }
}

/// The blocks of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandBlocks {
    /// One scale per block of each run of each row of the codes.
    pub scales: TensorId,
    /// The block format.
    pub format: &'static BlockFormat,
}

impl OpKind {
    /// Every tensor that it reads.
    pub fn reads(&self) -> Vec<TensorId> {
        match self {
            OpKind::Gemm(gemm) => {
                let operands = [gemm.left, gemm.right];
                let scales = operands.iter().filter_map(|operand| operand.blocks.map(|blocks| blocks.scales));
                let initial = gemm.initial.map(|initial| initial.sums);
                let codes = operands.iter().map(|operand| operand.codes);
                codes.chain(scales).chain(gemm.right_rows).chain(initial).collect()
            }
            OpKind::Reduce { input, .. } | OpKind::Activate { input, .. } => vec![*input],
            OpKind::Vector(vector) => vector.inputs.iter().chain(&vector.constants).copied().collect(),
            OpKind::Quantize { input, scale, .. } | OpKind::QuantizeBlocks { input, tensor_scale: scale, .. } => {
                std::iter::once(*input).chain(scale.map(|scale| scale.tensor)).collect()
            }
            OpKind::Dequantize { input, left_scale, right_scale, bias, .. } => {
                let scales = [left_scale, right_scale].into_iter().flatten().map(|scale| scale.tensor);
                std::iter::once(*input).chain(scales).chain(*bias).collect()
            }
            OpKind::ExtractChannels(extract) => {
                std::iter::once(extract.input).chain(extract.selection.reads()).collect()
            }
            OpKind::ExtractTop(top) => vec![top.input],
            OpKind::GatherRows(gather) => std::iter::once(gather.input).chain(gather.selection.reads()).collect(),
            OpKind::Merge(merge) => merge.base.into_iter().chain([merge.addend]).collect(),
            OpKind::DivideChannels(divide) => vec![divide.input, divide.factors],
        }
    }

    /// Every tensor that it writes.
    pub fn writes(&self) -> Vec<TensorId> {
        match self {
            OpKind::Gemm(gemm) => vec![gemm.output],
            OpKind::Reduce { output, .. }
            | OpKind::Quantize { output, .. }
            | OpKind::Dequantize { output, .. }
            | OpKind::Activate { output, .. } => vec![*output],
            OpKind::Vector(vector) => vec![vector.output],
            OpKind::QuantizeBlocks { codes, scales, .. } => vec![*codes, *scales],
            OpKind::ExtractChannels(extract) => extract.body.into_iter().chain(extract.dense).collect(),
            OpKind::ExtractTop(top) => [top.body, top.kept].into_iter().chain(top.positions).collect(),
            OpKind::GatherRows(GatherRows { output, .. })
            | OpKind::Merge(Merge { output, .. })
            | OpKind::DivideChannels(DivideChannels { output, .. }) => vec![*output],
        }
    }

    /// Every matrix whose elements it walks beside one another; none for a product.
    pub fn walked_inputs(&self) -> Vec<TensorId> {
        match self {
            OpKind::Vector(vector) => vector.inputs.clone(),
            OpKind::Merge(merge) => merge.base.into_iter().chain([merge.addend]).collect(),
            OpKind::Gemm(_)
            | OpKind::Reduce { .. }
            | OpKind::Quantize { .. }
            | OpKind::QuantizeBlocks { .. }
            | OpKind::Dequantize { .. }
            | OpKind::ExtractChannels(_)
            | OpKind::ExtractTop(_)
            | OpKind::GatherRows(_)
            | OpKind::DivideChannels(_)
            | OpKind::Activate { .. } => self.walked_input().into_iter().collect(),
        }
    }

    /// The first matrix whose elements an element-wise operation walks; `None` for a product.
    pub fn walked_input(&self) -> Option<TensorId> {
        match self {
            OpKind::Gemm(_) => None,
            OpKind::Vector(vector) => vector.inputs.first().copied(),
            OpKind::Reduce { input, .. }
            | OpKind::Quantize { input, .. }
            | OpKind::QuantizeBlocks { input, .. }
            | OpKind::Dequantize { input, .. }
            | OpKind::Activate { input, .. } => Some(*input),
            // Only the elements that are gathered are touched.
            OpKind::ExtractChannels(extract) if extract.is_gathered() => extract.dense,
            OpKind::ExtractChannels(extract) => Some(extract.input),
            OpKind::ExtractTop(top) => Some(top.input),
            // Only the rows that are gathered are touched.
            OpKind::GatherRows(gather) => Some(gather.output),
            OpKind::Merge(merge) => Some(merge.base.unwrap_or(merge.addend)),
            OpKind::DivideChannels(divide) => Some(divide.input),
        }
    }

    /// Elements of each row that the lanes gather, where these are not all of them.
    pub fn gathered_columns(&self, program: &Program) -> Option<u64> {
        match self {
            OpKind::ExtractChannels(extract) => Some(extract.moved_columns),
            OpKind::ExtractTop(top) => Some(program.tensor(top.input).shape.columns.div_ceil(top.group)),
            OpKind::Gemm(_)
            | OpKind::Reduce { .. }
            | OpKind::Quantize { .. }
            | OpKind::QuantizeBlocks { .. }
            | OpKind::Dequantize { .. }
            | OpKind::Activate { .. }
            | OpKind::Vector(_)
            | OpKind::GatherRows(_)
            | OpKind::Merge(_)
            | OpKind::DivideChannels(_) => None,
        }
    }

    /// What it costs a vector unit: each once per element, but a gather once per element that is moved; nothing for a
    /// product.
    pub const fn vector_functions(&self) -> &'static [VectorFunction] {
        match self {
            OpKind::Gemm(_) => &[],
            OpKind::Reduce { .. } => &[VectorFunction::Reduce],
            OpKind::Quantize { .. } => &[VectorFunction::Quantize],
            OpKind::QuantizeBlocks { .. } => &[VectorFunction::Reduce, VectorFunction::Quantize],
            OpKind::Dequantize { .. } => &[VectorFunction::Dequantize],
            OpKind::Activate { .. } => &[VectorFunction::Activate],
            OpKind::Vector(vector) => match vector.function {
                VectorArithmetic::Add => &[VectorFunction::Add],
                VectorArithmetic::Multiply => &[VectorFunction::Multiply],
                VectorArithmetic::Softmax { .. } => &[VectorFunction::Softmax],
                VectorArithmetic::LayerNorm { .. } | VectorArithmetic::RmsNorm { .. } => &[VectorFunction::Normalize],
                VectorArithmetic::Rotary { .. } => &[VectorFunction::Rotary],
            },
            OpKind::ExtractChannels(extract) => match extract.mover {
                Mover::VectorUnit => &[VectorFunction::Gather],
                Mover::Inline => &[],
                Mover::Extractor => &[VectorFunction::Extract],
                Mover::DmaGather if extract.is_gathered() => &[VectorFunction::Quantize],
                Mover::DmaGather => &[],
            },
            OpKind::ExtractTop(top) => match top.mover {
                TokenMover::VectorUnit => &[VectorFunction::Reduce, VectorFunction::Gather],
                TokenMover::Inline => &[VectorFunction::Reduce],
                TokenMover::Extractor => &[VectorFunction::Reduce, VectorFunction::Extract],
            },
            OpKind::GatherRows(gather) => match gather.mover {
                Mover::VectorUnit => &[VectorFunction::Gather],
                Mover::Extractor => &[VectorFunction::Extract],
                Mover::Inline | Mover::DmaGather => &[],
            },
            OpKind::Merge(_) => &[VectorFunction::Merge],
            OpKind::DivideChannels(divide) => match divide.side {
                // By the reciprocal of each factor.
                ChannelSide::Activation => &[VectorFunction::Multiply],
                ChannelSide::Absorbed | ChannelSide::Weight => &[],
            },
        }
    }
}
