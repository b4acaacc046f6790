//! The workload in f64.
//!
//! Where a layer's output was recorded in a run of the original model, its consumers start from the record, exactly as
//! the simulated consumers do; so the error of each layer is its own.

use crate::numerics::real_functions;
use crate::workload::bindings::Bindings;
use crate::workload::graph::Workload;
use crate::workload::layer::{ActivationFunction, LayerOperation, LogicalGemm, ValueRef};
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
                let output = product(gemm, &value(gemm.input, &consumed)?, &source(gemm.weight)?, bias.as_deref());
                RealLayer { output, bias }
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
    let (k, n) = (size(gemm.shape.k), size(gemm.shape.n));
    let mut output = vec![0.0; size(gemm.shape.output().elements())];
    if n == 0 || k == 0 {
        return output;
    }
    for (row, out) in input.chunks_exact(k).zip(output.chunks_exact_mut(n)) {
        for (x, weights) in row.iter().zip(weight.chunks_exact(n)) {
            for (out, w) in out.iter_mut().zip(weights) {
                *out += x * w;
            }
        }
        if let Some(bias) = bias {
            for (out, bias) in out.iter_mut().zip(bias) {
                *out += bias;
            }
        }
    }
    output
}

fn activation(function: ActivationFunction) -> fn(f64) -> f64 {
    match function {
        ActivationFunction::Gelu => real_functions::gelu,
        ActivationFunction::GeluTanh => real_functions::gelu_tanh,
        ActivationFunction::Relu => real_functions::relu,
        ActivationFunction::Silu => real_functions::silu,
    }
}
