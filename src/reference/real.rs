//! The workload in f64.
//!
//! Where a layer's output was recorded in a run of the original model, its consumers start from the record, exactly as
//! the simulated consumers do; so the error of each layer is its own.

use crate::numerics::real_functions;
use crate::reference::real_vector;
use crate::shape::GemmShape;
use crate::workload::bindings::Bindings;
use crate::workload::convolution::ConvolutionWindow;
use crate::workload::graph::Workload;
use crate::workload::layer::{ActivationFunction, LayerOperation, LogicalGemm, RightLayout, ValueRef};
use crate::workload::tensor_description::SourceTensorId;

/// The real-valued outputs of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RealLayer {
    /// Output, row-major, from the inputs that the layer was given; the bias is included.
    pub output: Vec<f64>,
    /// Bias of each column, where there is one.
    pub bias: Option<Vec<f64>>,
}

/// A tensor from outside has no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tensor `{tensor}` has only a shape; the workload cannot be evaluated without its values")]
pub struct MissingValues {
    /// Name of the tensor.
    pub tensor: String,
}

/// Evaluates every layer, in execution order.
///
/// # Errors
/// [`MissingValues`] where a tensor that a layer reads has none.
pub fn evaluate(workload: &Workload, bindings: &Bindings) -> Result<Vec<RealLayer>, MissingValues> {
    let source = |id: SourceTensorId| -> Result<Vec<f64>, MissingValues> {
        let tensor = bindings.get(id).ok_or_else(|| MissingValues { tensor: workload.tensor(id).name.clone() })?;
        Ok(tensor.to_f64())
    };
    let mut layers: Vec<RealLayer> = Vec::with_capacity(workload.layers().len());
    let mut consumed: Vec<Vec<f64>> = Vec::with_capacity(workload.layers().len());
    for layer in workload.layers() {
        let value = |value: ValueRef, consumed: &[Vec<f64>]| match value {
            ValueRef::Source(id) => source(id),
            ValueRef::Layer(id) => Ok(consumed[id.0].clone()),
        };
        let real = match &layer.operation {
            LayerOperation::Gemm(gemm) => {
                let bias = gemm.bias.map(source).transpose()?;
                let output =
                    product(gemm, &value(gemm.input, &consumed)?, &value(gemm.weight, &consumed)?, bias.as_deref());
                RealLayer { output, bias }
            }
            LayerOperation::Vector(vector) => {
                let inputs: Vec<Vec<f64>> =
                    vector.inputs.iter().map(|input| value(*input, &consumed)).collect::<Result<_, _>>()?;
                let constants: Vec<Vec<f64>> =
                    vector.constants.iter().map(|id| source(*id)).collect::<Result<_, _>>()?;
                RealLayer { output: real_vector::evaluate(vector, &inputs, &constants), bias: None }
            }
            LayerOperation::Activate { function, input, .. } => {
                let apply = activation(*function);
                let output = value(*input, &consumed)?.into_iter().map(apply).collect();
                RealLayer { output, bias: None }
            }
        };
        consumed.push(match layer.recorded_output {
            Some(record) => source(record)?,
            None => real.output.clone(),
        });
        layers.push(real);
    }
    Ok(layers)
}

fn product(gemm: &LogicalGemm, input: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let size = |extent: u64| usize::try_from(extent).expect("a tensor with values fits the address space");
    let GemmShape { m, k, n } = gemm.shape;
    let (inputs, weights, outputs) = (gemm.input_shape(), gemm.weight_shape(), gemm.output_shape());
    let mut output = vec![0.0; size(outputs.elements())];
    let mut row_of_weights = vec![0.0; size(n)];
    for batch in 0..gemm.batching.count {
        let group = batch / gemm.batching.right_sharing;
        let one = gemm.weight_layout.shape(gemm.shape);
        let (weight_rows, weight_columns) = gemm.batching.right.spans(one, group);
        let (rows, columns) = gemm.batching.output.spans(gemm.shape.output(), batch);
        for depth in 0..k {
            for (column, weight_of) in row_of_weights.iter_mut().enumerate() {
                let (row, column) = match gemm.weight_layout {
                    RightLayout::KByN => (depth, column as u64),
                    RightLayout::NByK => (column as u64, depth),
                };
                *weight_of = weight[size((weight_rows.start + row) * weights.columns + weight_columns.start + column)];
            }
            for row in 0..m {
                let x = match &gemm.window {
                    Some(window) => pixel(window, input, inputs.columns, [batch, row, depth]),
                    None => {
                        let (rows, columns) = gemm.batching.left.spans(gemm.shape.left(), batch);
                        input[size((rows.start + row) * inputs.columns + columns.start + depth)]
                    }
                };
                let first = size((rows.start + row) * outputs.columns + columns.start);
                for (out, w) in output[first..].iter_mut().zip(&row_of_weights) {
                    *out += x * w;
                }
            }
        }
    }
    if let Some(bias) = bias {
        for (out, bias) in output.iter_mut().zip(bias.iter().cycle()) {
            *out += bias;
        }
    }
    output
}

/// What output pixel `row` of group `group` sees at position `depth` of its window.
fn pixel(window: &ConvolutionWindow, input: &[f64], columns: u64, [group, row, depth]: [u64; 3]) -> f64 {
    let (tap, channel) = (depth / window.channels, depth % window.channels);
    let taps = [tap / window.x.kernel(), tap % window.x.kernel()];
    let position = window.pixel_of(row, taps).map(|pixel| pixel * columns + group * window.channels + channel);
    position.map_or(0.0, |position| input[position as usize])
}

fn activation(function: ActivationFunction) -> fn(f64) -> f64 {
    match function {
        ActivationFunction::Gelu => real_functions::gelu,
        ActivationFunction::GeluTanh => real_functions::gelu_tanh,
        ActivationFunction::Relu => real_functions::relu,
        ActivationFunction::Silu => real_functions::silu,
    }
}
