//! What vector arithmetic does to one row: the single row's arithmetic that execution and its reference share.

use crate::numerics::rows;
use crate::program::tensor::TensorId;
use crate::workload::vector::VectorArithmetic;

/// The values of the constants of an operation, each read by `read`.
pub fn constants(ids: &[TensorId], read: impl Fn(TensorId, &mut Vec<f32>)) -> Vec<Vec<f32>> {
    let values = |id: &TensorId| {
        let mut values = Vec::new();
        read(*id, &mut values);
        values
    };
    ids.iter().map(values).collect()
}

/// Applies `function` to row number `index` in place; `second` is the same row of the second input, where there is one.
pub fn apply(function: VectorArithmetic, index: u64, row: &mut [f32], second: &[f32], constants: &[Vec<f32>]) {
    let constant = |position: usize| constants.get(position).map_or(&[][..], Vec::as_slice);
    let heads = |width: u64| usize::try_from(width).expect("a row with values fits the address space");
    match function {
        VectorArithmetic::Add => row.iter_mut().zip(second).for_each(|(a, b)| *a += b),
        VectorArithmetic::Multiply => row.iter_mut().zip(second).for_each(|(a, b)| *a *= b),
        VectorArithmetic::Softmax { scale, mask } => {
            let visible = heads(mask.visible(index, row.len() as u64));
            rows::softmax(row, scale.get(), visible);
        }
        VectorArithmetic::LayerNorm { width, epsilon } => {
            let parts = row.chunks_exact_mut(heads(width));
            parts.for_each(|part| rows::layer_norm(part, epsilon.get(), constant(0), constant(1)));
        }
        VectorArithmetic::RmsNorm { width, epsilon } => {
            let parts = row.chunks_exact_mut(heads(width));
            parts.for_each(|part| rows::rms_norm(part, epsilon.get(), constant(0)));
        }
        VectorArithmetic::Rotary { width, base, positions } => {
            let parts = row.chunks_exact_mut(heads(width));
            parts.for_each(|part| rows::rotary(part, positions.of(index) as f32, base.get()));
        }
    }
}
