//! Layers: the nodes of the workload graph.

use crate::shape::{GemmShape, MatrixShape};
use crate::workload::batching::Batching;
use crate::workload::convolution::ConvolutionWindow;
use crate::workload::tensor_description::SourceTensorId;
use crate::workload::vector::VectorLayer;

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
            LayerOperation::Gemm(gemm) => gemm.output_shape(),
            LayerOperation::Activate { shape, .. } => *shape,
            LayerOperation::Vector(vector) => vector.shape,
        }
    }

    /// Constants that it reads: weights, biases, parameters of a normalization.
    pub fn constants(&self) -> Vec<SourceTensorId> {
        match &self.operation {
            LayerOperation::Gemm(gemm) => gemm.constant_weight().into_iter().chain(gemm.bias).collect(),
            LayerOperation::Activate { .. } => Vec::new(),
            LayerOperation::Vector(vector) => vector.constants.clone(),
        }
    }

    /// Values that it reads from other layers or from outside, constants aside.
    pub fn inputs(&self) -> Vec<ValueRef> {
        match &self.operation {
            LayerOperation::Gemm(gemm) => {
                let right = matches!(gemm.weight, ValueRef::Layer(_)).then_some(gemm.weight);
                std::iter::once(gemm.input).chain(right).collect()
            }
            LayerOperation::Activate { input, .. } => vec![*input],
            LayerOperation::Vector(vector) => vector.inputs.clone(),
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
    /// Vector arithmetic over one or two matrices, or over whole rows.
    Vector(VectorLayer),
}

/// A matrix product before any scheme has decided its formats: `Y[m, n] = X[m, k] W[k, n] + b[n]`, for each batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalGemm {
    /// m, k, n of one batch.
    pub shape: GemmShape,
    /// X, `[m, k]` of each batch, or the images that the window moves over.
    pub input: ValueRef,
    /// W, `[k, n]` or `[n, k]` as the layout says: a constant, or the output of another layer (attention).
    pub weight: ValueRef,
    /// How each batch of W is stored.
    pub weight_layout: RightLayout,
    /// b, one value for each column of the output.
    pub bias: Option<SourceTensorId>,
    /// How many products there are, and where their operands lie.
    pub batching: Batching,
    /// The window of a convolution, whose k runs over kernel rows, kernel columns and channels.
    pub window: Option<ConvolutionWindow>,
    /// What part of a model it is, for schemes that treat some parts differently.
    pub role: Option<LayerRole>,
}

impl LogicalGemm {
    /// A single product with a constant `[k, n]` weight.
    pub const fn dense(
        shape: GemmShape,
        input: ValueRef,
        weight: SourceTensorId,
        bias: Option<SourceTensorId>,
    ) -> LogicalGemm {
        LogicalGemm {
            shape,
            input,
            weight: ValueRef::Source(weight),
            weight_layout: RightLayout::KByN,
            bias,
            batching: Batching::SINGLE,
            window: None,
            role: None,
        }
    }

    /// Whether it is a single product with a constant weight, without a window: what outlier schemes treat.
    pub fn is_plain(&self) -> bool {
        self.beyond_plain().is_none()
    }

    /// What makes it more than a single product with a constant weight; `None` for one that is no more.
    pub fn beyond_plain(&self) -> Option<&'static str> {
        let is_single = self.batching.count == 1;
        match (self.weight, &self.window) {
            (ValueRef::Layer(_), _) => Some("the run computes the right operand"),
            (ValueRef::Source(_), Some(_)) if is_single => Some("a convolution"),
            (ValueRef::Source(_), Some(_)) => Some("a grouped convolution"),
            (ValueRef::Source(_), None) if is_single => None,
            (ValueRef::Source(_), None) => Some("a batch of products"),
        }
    }

    /// The same product with its constant weight turned to `[k, n]`; as it is where another layer computes the weight.
    ///
    /// The order in which a file stores a constant is no property of the product: constants are prepared before the run, so
    /// they can be laid out either way then.
    pub fn with_constant_by_rows(&self) -> LogicalGemm {
        match (self.weight, self.weight_layout) {
            (ValueRef::Layer(_), _) | (ValueRef::Source(_), RightLayout::KByN) => self.clone(),
            (ValueRef::Source(_), RightLayout::NByK) => {
                let batching = Batching { right: self.batching.right.turned(), ..self.batching };
                LogicalGemm { weight_layout: RightLayout::KByN, batching, ..self.clone() }
            }
        }
    }

    /// Multiply-accumulates of all batches; those with padding count.
    pub const fn macs(&self) -> u64 {
        self.shape.macs() * self.batching.count
    }

    /// Shape of the matrix that holds X.
    pub const fn input_shape(&self) -> MatrixShape {
        match &self.window {
            Some(window) => window.input_shape(self.batching.count),
            None => self.batching.left.stacked(self.shape.left(), self.batching.count),
        }
    }

    /// Columns of the matrix that holds X: the input channels of all batches.
    pub const fn input_channels(&self) -> u64 {
        self.input_shape().columns
    }

    /// Shape of the matrix that holds W.
    pub const fn weight_shape(&self) -> MatrixShape {
        self.batching.right.stacked(self.weight_layout.shape(self.shape), self.batching.right_count())
    }

    /// Shape of the matrix that holds Y.
    pub const fn output_shape(&self) -> MatrixShape {
        self.batching.output.stacked(self.shape.output(), self.batching.count)
    }

    /// The weight, where it is a constant.
    pub const fn constant_weight(&self) -> Option<SourceTensorId> {
        match self.weight {
            ValueRef::Source(id) => Some(id),
            ValueRef::Layer(_) => None,
        }
    }
}

/// How the right operand of a product is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RightLayout {
    /// `[k, n]`.
    KByN,
    /// `[n, k]`: each output column's elements are contiguous.
    NByK,
}

impl RightLayout {
    /// Shape of a stored right operand.
    pub const fn shape(self, product: GemmShape) -> MatrixShape {
        match self {
            RightLayout::KByN => product.right(),
            RightLayout::NByK => MatrixShape::new(product.n, product.k),
        }
    }
}

/// The part that a matrix product plays in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerRole {
    /// Queries, keys and values, together or one of them.
    Qkv,
    /// Queries by keys.
    AttentionScores,
    /// Probabilities by values.
    AttentionValues,
    /// The projection after attention.
    AttentionOutput,
    /// The widening projections of a feed-forward block, gate or not.
    GateUp,
    /// The narrowing projection of a feed-forward block.
    Down,
    /// A convolution.
    Convolution,
    /// The last projection, to classes or to the vocabulary.
    Head,
}

impl LayerRole {
    /// Roles by their name in files.
    pub const NAMES: [(&'static str, LayerRole); 8] = [
        ("qkv", LayerRole::Qkv),
        ("attention_scores", LayerRole::AttentionScores),
        ("attention_values", LayerRole::AttentionValues),
        ("attention_output", LayerRole::AttentionOutput),
        ("gate_up", LayerRole::GateUp),
        ("down", LayerRole::Down),
        ("convolution", LayerRole::Convolution),
        ("head", LayerRole::Head),
    ];

    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }
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
