//! Layers as written, into layers with shapes.
//!
//! ```yaml
//! - { name: fc, gemm: { input: x, weight: w, bias: b, role: gate_up } }          # weight_transposed: true for [n, k]
//! - name: scores
//!   gemm: { input: q, weight: k, weight_transposed: true,
//!           batches: { count: 32, weight_shared_by: 4, input: columns, weight: columns, output: rows } }
//! - name: conv            # input [height, width, channels], weight [kernel height, kernel width, channels, outputs]
//!   convolution: { input: x, weight: w, stride: { y: 2, x: 2 }, padding: { top: 1, bottom: 1, left: 1, right: 1 },
//!                  dilation: { y: 1, x: 1 }, groups: 1 }
//! - { name: act, activate: { input: fc, function: gelu } }
//! - { name: sum, add: { left: x, right: fc } }                                   # multiply alike
//! - { name: probabilities, softmax: { input: scores, scale: 0.125, causal: true } }
//! - { name: ln, layer_norm: { input: x, weight: g, bias: b, epsilon: 1e-5 } }    # rms_norm alike, without bias
//! - { name: turned, rotary: { input: q, width: 128, base: 1000000, offset: 0 } }
//! ```
//!
//! Shapes are those of the tensors; what a layer computes says its own.

use serde::Deserialize;

use crate::config::checks::{exactly_one, place_of, plain_name};
use crate::config::convolutions::{self, ConvolutionFile, Steps};
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::config::repeat::{Instance, RepeatFile};
use crate::config::scopes::Values;
use crate::config::sequences::Sequences;
use crate::shape::{GemmShape, MatrixShape};
use crate::workload::batching::{BatchAxis, Batching};
use crate::workload::layer::{
    ActivationFunction, Layer, LayerOperation, LayerRole, LogicalGemm, RightLayout, ValueRef,
};
use crate::workload::tensor_description::SourceTensorId;
use crate::workload::vector::{Mask, Real, VectorArithmetic, VectorLayer};

/// The most batches of a product.
const MOST_BATCHES: u64 = 1 << 16;

/// The largest offset of rotary positions: with as many rows, each position is still a whole number in FP32.
const LARGEST_OFFSET: u64 = 1 << 22;

/// A layer, or a block of layers, as written.
#[derive(Deserialize)]
pub(crate) struct LayerFile {
    pub(crate) name: Field<String>,
    pub(crate) repeat: Option<Placed<RepeatFile>>,
    gemm: Option<Placed<GemmFile>>,
    convolution: Option<Placed<ConvolutionFile>>,
    activate: Option<Placed<ActivateFile>>,
    add: Option<Placed<PairFile>>,
    multiply: Option<Placed<PairFile>>,
    softmax: Option<Placed<SoftmaxFile>>,
    layer_norm: Option<Placed<LayerNormFile>>,
    rms_norm: Option<Placed<RmsNormFile>>,
    rotary: Option<Placed<RotaryFile>>,
    pub(crate) recorded_output: Field<String>,
}

#[derive(Deserialize)]
struct GemmFile {
    input: Field<String>,
    weight: Field<String>,
    weight_transposed: Field<bool>,
    bias: Field<String>,
    batches: Option<Placed<BatchesFile>>,
    role: Field<String>,
}

#[derive(Deserialize)]
struct BatchesFile {
    count: Field<u64>,
    weight_shared_by: Field<u64>,
    input: Field<String>,
    weight: Field<String>,
    output: Field<String>,
}

#[derive(Deserialize)]
struct ActivateFile {
    input: Field<String>,
    function: Field<String>,
}

#[derive(Deserialize)]
struct PairFile {
    left: Field<String>,
    right: Field<String>,
}

#[derive(Deserialize)]
struct SoftmaxFile {
    input: Field<String>,
    scale: Field<f64>,
    causal: Field<bool>,
}

#[derive(Deserialize)]
struct LayerNormFile {
    input: Field<String>,
    weight: Field<String>,
    bias: Field<String>,
    epsilon: Field<f64>,
    width: Field<u64>,
}

#[derive(Deserialize)]
struct RmsNormFile {
    input: Field<String>,
    weight: Field<String>,
    epsilon: Field<f64>,
    width: Field<u64>,
}

#[derive(Deserialize)]
struct RotaryFile {
    input: Field<String>,
    width: Field<u64>,
    base: Field<f64>,
    offset: Field<u64>,
}

/// What a layer computes, as written.
enum Kind<'f> {
    Gemm(&'f Placed<GemmFile>),
    Convolution(&'f Placed<ConvolutionFile>),
    Activate(&'f ActivateFile),
    Pair(VectorArithmetic, &'f PairFile),
    Softmax(&'f SoftmaxFile),
    LayerNorm(&'f Placed<LayerNormFile>),
    RmsNorm(&'f Placed<RmsNormFile>),
    Rotary(&'f RotaryFile),
}

/// Checks that a layer says what it computes, once.
pub(crate) fn check_kind(layer: &Placed<LayerFile>) -> Result<(), Diagnostic> {
    let kinds = [
        ("gemm", place_of(&layer.gemm)),
        ("convolution", place_of(&layer.convolution)),
        ("activate", place_of(&layer.activate)),
        ("add", place_of(&layer.add)),
        ("multiply", place_of(&layer.multiply)),
        ("softmax", place_of(&layer.softmax)),
        ("layer_norm", place_of(&layer.layer_norm)),
        ("rms_norm", place_of(&layer.rms_norm)),
        ("rotary", place_of(&layer.rotary)),
        ("repeat", place_of(&layer.repeat)),
    ];
    exactly_one(layer, &kinds).map(drop)
}

impl LayerFile {
    fn kind(&self) -> Option<Kind<'_>> {
        let gemm = self.gemm.as_ref().map(Kind::Gemm);
        gemm.or_else(|| self.convolution.as_ref().map(Kind::Convolution))
            .or_else(|| self.activate.as_deref().map(Kind::Activate))
            .or_else(|| self.add.as_deref().map(|pair| Kind::Pair(VectorArithmetic::Add, pair)))
            .or_else(|| self.multiply.as_deref().map(|pair| Kind::Pair(VectorArithmetic::Multiply, pair)))
            .or_else(|| self.softmax.as_deref().map(Kind::Softmax))
            .or_else(|| self.layer_norm.as_ref().map(Kind::LayerNorm))
            .or_else(|| self.rms_norm.as_ref().map(Kind::RmsNorm))
            .or_else(|| self.rotary.as_deref().map(Kind::Rotary))
    }

    /// Where the operand stands that a message about shapes calls `what`.
    pub(crate) fn operand(&self, what: &str) -> Option<&Field<String>> {
        let kind = self.kind()?;
        match what {
            "the recorded output" => Some(&self.recorded_output),
            "the input" => Some(kind.input()),
            "the second input" => match kind {
                Kind::Pair(_, pair) => Some(&pair.right),
                _ => None,
            },
            "the weight" => kind.weight(),
            "the bias" => kind.bias(),
            _ => None,
        }
    }
}

impl LayerFile {
    /// What to write where the weight is `given` in place of what is `expected`, and fits if it is read the other way round.
    pub(crate) fn other_weight_layout(&self, expected: MatrixShape, given: MatrixShape) -> Option<&'static str> {
        let gemm = self.gemm.as_ref()?;
        let batching = gemm.batches.as_ref().map_or(Ok(Batching::SINGLE), resolve_batches).ok()?;
        let is_transposed = gemm.weight_transposed.optional().is_some_and(|given| given.boolean().is_ok_and(|it| it));
        let [expected, given] = [expected, given].map(|whole| one_batch(whole, batching.right, batching.right_count()));
        match is_transposed {
            false if given.columns == expected.rows => {
                Some("its columns fit: if it is stored [n, k], add weight_transposed: true")
            }
            true if given.rows == expected.columns => {
                Some("its rows fit: if it is stored [k, n], leave weight_transposed out")
            }
            _ => None,
        }
    }
}

impl<'f> Kind<'f> {
    fn input(&self) -> &'f Field<String> {
        match self {
            Kind::Gemm(gemm) => &gemm.input,
            Kind::Convolution(convolution) => &convolution.input,
            Kind::Activate(activate) => &activate.input,
            Kind::Pair(_, pair) => &pair.left,
            Kind::Softmax(softmax) => &softmax.input,
            Kind::LayerNorm(norm) => &norm.input,
            Kind::RmsNorm(norm) => &norm.input,
            Kind::Rotary(rotary) => &rotary.input,
        }
    }

    fn weight(&self) -> Option<&'f Field<String>> {
        match self {
            Kind::Gemm(gemm) => Some(&gemm.weight),
            Kind::Convolution(convolution) => Some(&convolution.weight),
            Kind::LayerNorm(norm) => Some(&norm.weight),
            Kind::RmsNorm(norm) => Some(&norm.weight),
            Kind::Activate(_) | Kind::Pair(..) | Kind::Softmax(_) | Kind::Rotary(_) => None,
        }
    }

    fn bias(&self) -> Option<&'f Field<String>> {
        match self {
            Kind::Gemm(gemm) => Some(&gemm.bias),
            Kind::Convolution(convolution) => Some(&convolution.bias),
            Kind::LayerNorm(norm) => Some(&norm.bias),
            Kind::RmsNorm(_) | Kind::Activate(_) | Kind::Pair(..) | Kind::Softmax(_) | Kind::Rotary(_) => None,
        }
    }
}

/// What a layer computes, as far as that does not follow from shapes.
enum Meaning<'f> {
    Gemm { written: &'f GemmFile, weight_layout: RightLayout, batching: Batching, role: Option<LayerRole> },
    Convolution { written: &'f Placed<ConvolutionFile>, steps: Steps },
    Activate(ActivationFunction),
    Pair(VectorArithmetic),
    Softmax { written: &'f SoftmaxFile, scale: Real, is_causal: bool },
    LayerNorm { written: &'f LayerNormFile, epsilon: Real },
    RmsNorm { written: &'f RmsNormFile, epsilon: Real },
    Rotary { written: &'f RotaryFile, base: Real, offset: u64 },
}

/// A layer whose names are resolved and whose shape is not known yet.
pub(crate) struct Reference<'f> {
    name: String,
    meaning: Meaning<'f>,
    /// What it waits for: the input, and the other operand of a product or a pair.
    inputs: Vec<ValueRef>,
    weight: Option<SourceTensorId>,
    bias: Option<SourceTensorId>,
    recorded_output: Option<SourceTensorId>,
}

/// What is known of a value before it is computed.
#[derive(Clone)]
struct Output {
    axes: Axes,
    sequences: Sequences,
}

/// Axes of a tensor or of a layer's output, outermost first; the last one are the columns of its matrix.
pub(crate) type Axes = Vec<u64>;

/// The matrix that holds a tensor of `axes`: its last axis along the columns, all others along the rows.
pub(crate) fn matrix_of(axes: &[u64]) -> MatrixShape {
    match axes {
        [] => MatrixShape::new(1, 1),
        [rows @ .., columns] => MatrixShape::new(rows.iter().product(), *columns),
    }
}

/// Resolves the names of a layer, and what it says beside them.
///
/// # Errors
/// All that is wrong in it, but for what follows from shapes.
pub(crate) fn resolve<'f>(
    instance: &Instance<'f, LayerFile>,
    values: &Values<'_>,
) -> Result<Reference<'f>, ConfigError> {
    let layer = instance.written;
    let mut problems = Problems::default();
    problems.take(plain_name(&layer.name));
    let recorded_output = problems.take(values.optional_tensor(&layer.recorded_output));
    if problems.take(check_kind(layer)).is_none() {
        return problems.built(|| None);
    }
    let kind = layer.kind().expect("exactly one was given, and blocks are expanded");
    let mut inputs = vec![problems.take(values.value(kind.input()))];
    let mut weight = None;
    match &kind {
        // The weight of a product may be another layer.
        Kind::Gemm(gemm) => inputs.push(problems.take(values.value(&gemm.weight))),
        Kind::Convolution(convolution) => weight = problems.take(values.tensor(&convolution.weight)),
        Kind::Pair(_, pair) => inputs.push(problems.take(values.value(&pair.right))),
        Kind::LayerNorm(_) | Kind::RmsNorm(_) => {
            let field = kind.weight().expect("a norm has a place for a weight");
            weight = problems.take(values.optional_tensor(field)).flatten();
        }
        Kind::Activate(_) | Kind::Softmax(_) | Kind::Rotary(_) => {}
    }
    let bias = kind.bias().and_then(|field| problems.take(values.optional_tensor(field))).flatten();
    let meaning = problems.take(kind.meaning());
    problems.built(|| {
        let (inputs, name) = (inputs.into_iter().collect::<Option<_>>()?, instance.name.clone());
        Some(Reference { name, meaning: meaning?, inputs, weight, bias, recorded_output: recorded_output? })
    })
}

impl<'f> Kind<'f> {
    /// What the layer says beside names and shapes.
    fn meaning(&self) -> Result<Meaning<'f>, ConfigError> {
        let mut problems = Problems::default();
        match *self {
            Kind::Gemm(written) => {
                let is_transposed = written.weight_transposed.optional().map_or(Ok(false), |given| given.boolean());
                let is_transposed = problems.take(is_transposed);
                let batching = problems.take(written.batches.as_ref().map_or(Ok(Batching::SINGLE), resolve_batches));
                let role =
                    problems.take(written.role.optional().map(|role| role.one_of(&LayerRole::NAMES)).transpose());
                problems.built(|| {
                    let weight_layout = if is_transposed? { RightLayout::NByK } else { RightLayout::KByN };
                    Some(Meaning::Gemm { written, weight_layout, batching: batching?, role: role? })
                })
            }
            Kind::Convolution(written) => Ok(Meaning::Convolution { written, steps: convolutions::resolve(written)? }),
            Kind::Activate(written) => {
                Ok(Meaning::Activate(written.function.required().one_of(&ActivationFunction::NAMES)?))
            }
            Kind::Pair(function, _) => Ok(Meaning::Pair(function)),
            Kind::Softmax(written) => {
                let scale = match written.scale.optional() {
                    Some(scale) => problems.take(scale.must("a number above 0 and up to 1e9", is_positive).map(real)),
                    None => Some(Real::new(1.0)),
                };
                let is_causal = written.causal.optional().map_or(Ok(false), |causal| causal.boolean());
                let is_causal = problems.take(is_causal);
                problems.built(|| Some(Meaning::Softmax { written, scale: scale?, is_causal: is_causal? }))
            }
            Kind::LayerNorm(written) => {
                if written.bias.is_given() && !written.weight.is_given() {
                    let problem = written.bias.problem("a bias is given, but no weight");
                    problems.push(problem.help("add weight: TENSOR"));
                }
                let epsilon = problems.take(epsilon(&written.epsilon));
                problems.built(|| Some(Meaning::LayerNorm { written, epsilon: epsilon? }))
            }
            Kind::RmsNorm(written) => Ok(Meaning::RmsNorm { written, epsilon: epsilon(&written.epsilon)? }),
            Kind::Rotary(written) => {
                let base = problems.take(written.base.required().must("a number above 0 and up to 1e9", is_positive));
                let offset = written.offset.optional().map_or(Ok(0), |offset| offset.in_range(0..=LARGEST_OFFSET));
                let offset = problems.take(offset);
                problems.built(|| Some(Meaning::Rotary { written, base: real(base?), offset: offset? }))
            }
        }
    }
}

/// The layers with the shapes that follow from their inputs, in the given order.
///
/// A layer that waits for itself has no such shape; it stands as a sum of 1x1 matrices, because
/// [`Workload::try_new`](crate::workload::graph::Workload::try_new) looks for circles before it looks at shapes.
///
/// # Errors
/// Every layer whose parts do not make one, but for those that wait for such a layer.
pub(crate) fn with_shapes(tensors: &[Axes], references: Vec<Reference<'_>>) -> Result<Vec<Layer>, ConfigError> {
    let mut waiting: Vec<usize> = vec![0; references.len()];
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); references.len()];
    for (index, layer) in references.iter().enumerate() {
        for input in &layer.inputs {
            if let ValueRef::Layer(producer) = input {
                waiting[index] += 1;
                consumers[producer.0].push(index);
            }
        }
    }
    let mut ready: Vec<usize> = (0..references.len()).filter(|index| waiting[*index] == 0).collect();
    let mut outputs: Vec<Option<Output>> = vec![None; references.len()];
    let mut shaped: Vec<Option<LayerOperation>> = vec![None; references.len()];
    let mut problems = Problems::default();
    while let Some(index) = ready.pop() {
        let output_of = |value: &ValueRef| match value {
            ValueRef::Source(id) => {
                let axes = tensors[id.0].clone();
                Output { sequences: Sequences::of_tensor(&axes), axes }
            }
            ValueRef::Layer(id) => outputs[id.0].clone().expect("its producer came before it"),
        };
        let inputs: Vec<Output> = references[index].inputs.iter().map(output_of).collect();
        // Without a shape, what waits for it has none either.
        let Some((operation, axes)) = problems.take(references[index].shaped(&inputs, tensors)) else { continue };
        let of_inputs = inputs.iter().map(|input| input.sequences);
        let sequences = match &operation {
            LayerOperation::Gemm(gemm) => Sequences::of_product(gemm, inputs[0].sequences),
            _ => of_inputs.reduce(Sequences::joined).expect("a layer has an input"),
        };
        outputs[index] = Some(Output { axes, sequences });
        shaped[index] = Some(operation);
        for consumer in std::mem::take(&mut consumers[index]) {
            waiting[consumer] -= 1;
            if waiting[consumer] == 0 {
                ready.push(consumer);
            }
        }
    }
    problems.finish()?;
    let layer = |(reference, operation): (Reference<'_>, Option<LayerOperation>)| {
        let without_shape = || {
            let shape = MatrixShape::new(1, 1);
            let inputs = reference.inputs.clone();
            let function = VectorArithmetic::Add;
            LayerOperation::Vector(VectorLayer { function, inputs, constants: Vec::new(), shape })
        };
        let operation = operation.unwrap_or_else(without_shape);
        Layer { name: reference.name, operation, recorded_output: reference.recorded_output }
    };
    Ok(references.into_iter().zip(shaped).map(layer).collect())
}

impl Reference<'_> {
    /// What the layer computes, and the axes of its output.
    fn shaped(&self, inputs: &[Output], tensors: &[Axes]) -> Result<(LayerOperation, Axes), ConfigError> {
        let Output { axes, sequences } = &inputs[0];
        let matrix = matrix_of(axes);
        let constants: Vec<SourceTensorId> = [self.weight, self.bias].into_iter().flatten().collect();
        let vector = |function, constants| {
            let layer = VectorLayer { function, inputs: self.inputs.clone(), constants, shape: matrix };
            Ok((LayerOperation::Vector(layer), axes.clone()))
        };
        match &self.meaning {
            Meaning::Gemm { written, weight_layout, batching, role } => {
                let mut problems = Problems::default();
                let left = problems.take(one_of(&written.input, matrix, batching.left, batching.count));
                let right = matrix_of(&inputs[1].axes);
                let right = problems.take(one_of(&written.weight, right, batching.right, batching.right_count()));
                let (left, right) = problems.built(|| left.zip(right))?;
                let n = if *weight_layout == RightLayout::NByK { right.rows } else { right.columns };
                let gemm = LogicalGemm {
                    shape: GemmShape::new(left.rows, left.columns, n),
                    input: self.inputs[0],
                    weight: self.inputs[1],
                    weight_layout: *weight_layout,
                    bias: self.bias,
                    batching: *batching,
                    window: None,
                    role: *role,
                };
                let output = gemm.output_shape();
                Ok((LayerOperation::Gemm(gemm), vec![output.rows, output.columns]))
            }
            Meaning::Convolution { written, steps } => {
                let weight = self.weight.expect("the names of a convolution are resolved");
                let operands = (self.inputs[0], weight, self.bias);
                convolutions::shaped(written, steps, operands, axes, &tensors[weight.0])
            }
            Meaning::Activate(function) => {
                let (function, input) = (*function, self.inputs[0]);
                Ok((LayerOperation::Activate { function, input, shape: matrix }, axes.clone()))
            }
            Meaning::Pair(function) => vector(*function, constants),
            Meaning::Softmax { written, scale, is_causal } => {
                let mask = match is_causal {
                    true => sequences.causal_mask(matrix.rows, matrix.columns),
                    false => Ok(Mask::None),
                };
                let mask = mask.map_err(|(message, help)| written.causal.problem(message).help(help))?;
                vector(VectorArithmetic::Softmax { scale: *scale, mask }, constants)
            }
            Meaning::LayerNorm { written, epsilon } => {
                let width = width(&written.width, matrix, 1)?;
                vector(VectorArithmetic::LayerNorm { width, epsilon: *epsilon }, constants)
            }
            Meaning::RmsNorm { written, epsilon } => {
                let width = width(&written.width, matrix, 1)?;
                vector(VectorArithmetic::RmsNorm { width, epsilon: *epsilon }, constants)
            }
            Meaning::Rotary { written, base, offset } => {
                let width = width(&written.width, matrix, 2)?;
                let positions = sequences.positions(matrix.rows, *offset);
                vector(VectorArithmetic::Rotary { width, base: *base, positions }, constants)
            }
        }
    }
}

fn resolve_batches(written: &Placed<BatchesFile>) -> Result<Batching, ConfigError> {
    let mut problems = Problems::default();
    let count = problems.take(written.count.required().in_range(1..=MOST_BATCHES));
    let right_sharing = match (written.weight_shared_by.optional(), count) {
        (Some(shared), Some(count)) => problems.take(
            shared
                .beside_others()
                .must(&format!("a divisor of the {count} batches"), |by| *by > 0 && count.is_multiple_of(*by)),
        ),
        (Some(shared), None) => problems.take(shared.value()),
        (None, _) => Some(1),
    };
    let [left, right, output] = [&written.input, &written.weight, &written.output]
        .map(|axis| problems.take(axis.required().one_of(&BatchAxis::NAMES)));
    problems.built(|| {
        let (left, right, output) = (left?, right?, output?);
        Some(Batching { count: count?, right_sharing: right_sharing?, left, right, output })
    })
}

/// Shape of one of `count` batches that lie along `axis` of the matrix that `field` names.
fn one_of(field: &Field<String>, whole: MatrixShape, axis: BatchAxis, count: u64) -> Result<MatrixShape, Diagnostic> {
    let (extent, name) = match axis {
        BatchAxis::Rows => (whole.rows, "rows"),
        BatchAxis::Columns => (whole.columns, "columns"),
    };
    if !extent.is_multiple_of(count) {
        return Err(field.problem(format!("{extent} {name} cannot be split into {count} equal batches")));
    }
    Ok(one_batch(whole, axis, count))
}

const fn one_batch(whole: MatrixShape, axis: BatchAxis, count: u64) -> MatrixShape {
    match axis {
        BatchAxis::Rows => MatrixShape::new(whole.rows / count, whole.columns),
        BatchAxis::Columns => MatrixShape::new(whole.rows, whole.columns / count),
    }
}

/// The neighbouring columns that belong together: all of them, or a part that divides them.
fn width(field: &Field<u64>, of: MatrixShape, multiple_of: u64) -> Result<u64, Diagnostic> {
    let Some(given) = field.optional() else { return Ok(of.columns) };
    let even = if multiple_of > 1 { "an even divisor" } else { "a divisor" };
    given.beside_others().must(&format!("{even} of the {} columns", of.columns), |width| {
        *width > 0 && of.columns.is_multiple_of(*width) && width.is_multiple_of(multiple_of)
    })
}

fn epsilon(field: &Field<f64>) -> Result<Real, Diagnostic> {
    field.required().in_range(0.0..=1.0).map(real)
}

fn is_positive(value: &f64) -> bool {
    *value > 0.0 && *value <= 1e9
}

/// The nearest f32: what the arithmetic uses.
fn real(value: f64) -> Real {
    Real::new(value as f32)
}
