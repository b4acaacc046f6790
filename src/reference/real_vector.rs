//! Vector layers in f64, from the formulas and apart from the f32 arithmetic of `numerics::rows`.

use crate::numerics::real_functions;
use crate::workload::vector::{VectorArithmetic, VectorLayer};

/// The output of `layer`, row-major.
pub(super) fn evaluate(layer: &VectorLayer, inputs: &[Vec<f64>], constants: &[Vec<f64>]) -> Vec<f64> {
    let columns = usize::try_from(layer.shape.columns).expect("a tensor with values fits the address space");
    let second = |index: usize| inputs.get(1).map_or(0.0, |second| second[index]);
    let x = &inputs[0];
    let constant = |which: usize, index: usize, absent: f64| constants.get(which).map_or(absent, |row| row[index]);
    if let VectorArithmetic::Softmax { scale, mask } = layer.function {
        let rows = x.chunks_exact(columns).enumerate();
        return rows
            .flat_map(|(row, values)| {
                softmax(values, f64::from(scale.get()), mask.visible(row as u64, columns as u64) as usize)
            })
            .collect();
    }
    let at = |index: usize| {
        let (row, column) = (index / columns, index % columns);
        let values = &x[row * columns..][..columns];
        match layer.function {
            VectorArithmetic::Add => x[index] + second(index),
            VectorArithmetic::Multiply => x[index] * second(index),
            VectorArithmetic::Softmax { .. } => unreachable!("a softmax is evaluated by rows"),
            VectorArithmetic::LayerNorm { width, epsilon } => {
                let part = part(values, column, width);
                let mean = part.iter().sum::<f64>() / part.len() as f64;
                let variance = part.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / part.len() as f64;
                let normalized = (x[index] - mean) / (variance + f64::from(epsilon.get())).sqrt();
                let place = column % part.len();
                normalized * constant(0, place, 1.0) + constant(1, place, 0.0)
            }
            VectorArithmetic::RmsNorm { width, epsilon } => {
                let part = part(values, column, width);
                let mean = part.iter().map(|value| value * value).sum::<f64>() / part.len() as f64;
                let place = column % part.len();
                x[index] / (mean + f64::from(epsilon.get())).sqrt() * constant(0, place, 1.0)
            }
            VectorArithmetic::Rotary { width, base, positions } => {
                let part = part(values, column, width);
                let (half, place) = (part.len() / 2, column % part.len());
                let frequency = real_functions::pow(f64::from(base.get()), -((place % half) as f64) / half as f64);
                let (sine, cosine) = real_functions::sine_and_cosine(positions.of(row as u64) as f64 * frequency);
                if place < half {
                    part[place] * cosine - part[place + half] * sine
                } else {
                    part[place] * cosine + part[place - half] * sine
                }
            }
        }
    };
    (0..x.len()).map(at).collect()
}

fn softmax(row: &[f64], scale: f64, visible: usize) -> Vec<f64> {
    let largest = row[..visible].iter().fold(f64::NEG_INFINITY, |a, b| a.max(b * scale));
    let seen = |(column, value): (usize, &f64)| {
        if column < visible { real_functions::exp(value * scale - largest) } else { 0.0 }
    };
    let powers: Vec<f64> = row.iter().enumerate().map(seen).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The `width` columns that `column` is normalized or turned with.
fn part(row: &[f64], column: usize, width: u64) -> &[f64] {
    let width = usize::try_from(width).unwrap_or(row.len());
    &row[column / width * width..][..width]
}
