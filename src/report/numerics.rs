//! Numeric error of each layer: the executed output against the workload in f64.

use crate::execute::Execution;
use crate::numerics::error_metrics::{ErrorMetrics, compare};
use crate::program::Program;
use crate::reference::real::RealLayer;
use crate::report::data::{LayerNumerics, Place};

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
            let output = execution.computed(layer.output).expect("execution computes every layer");
            let computed = output.to_f64();
            let whole = compare(&real.output, computed.iter().copied());
            let (error, with_bias) = match &real.bias {
                None => (whole, None),
                Some(bias) => (without(bias, &real.output, &computed), Some(whole)),
            };
            let losses = execution.cast_losses()[index];
            let non_finite = || computed.iter().enumerate().filter(|(_, value)| !value.is_finite());
            let columns = output.shape().columns.max(1);
            LayerNumerics {
                error,
                overflowed_sums,
                clipped_values: losses.clipped_values,
                non_finite_values: losses.non_finite_values + non_finite().count() as u64,
                first_non_finite: non_finite().next().map(|(position, _)| {
                    let position = position as u64;
                    Place { row: position / columns, column: position % columns }
                }),
                with_bias,
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
