//! Numeric error of each layer: the executed output against the workload in f64.

use crate::execute::Execution;
use crate::numerics::error_metrics::{ErrorMetrics, compare};
use crate::program::Program;
use crate::reference::real::RealLayer;
use crate::report::data::LayerNumerics;

/// The error of each layer, in execution order.
pub fn layer_numerics(program: &Program, execution: &Execution, real: &[RealLayer]) -> Vec<LayerNumerics> {
    program
        .layers
        .iter()
        .zip(real)
        .enumerate()
        .map(|(index, (layer, real))| {
            let of_layer = program.ops.iter().zip(execution.overflowed_sums()).filter(|(op, _)| op.layer.0 == index);
            let overflowed_sums = of_layer.map(|(_, sums)| sums).sum();
            let computed = execution.computed(layer.output).expect("execution computes every layer");
            let computed = computed.to_f64();
            let whole = compare(&real.output, computed.iter().copied());
            match &real.bias {
                None => LayerNumerics { error: whole, overflowed_sums, with_bias: None },
                Some(bias) => {
                    let error = without(bias, &real.output, &computed);
                    LayerNumerics { error, overflowed_sums, with_bias: Some(whole) }
                }
            }
        })
        .collect()
}

/// The error with the bias of each column taken off both sides.
fn without(bias: &[f64], expected: &[f64], computed: &[f64]) -> ErrorMetrics {
    let strip = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(bias.iter().cycle()).map(|(value, bias)| value - bias).collect()
    };
    compare(&strip(expected), strip(computed))
}
