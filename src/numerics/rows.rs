//! Functions of whole rows in f32: softmax, normalizations, rotary positions.
//!
//! Each formula is evaluated in the order written, every operation rounded to f32, sums in ascending order from zero;
//! `exp`, `pow`, `sin`, `cos` are those of [`functions`](crate::numerics::functions). So the bits are the same on every machine.

use crate::numerics::functions::{cos, exp, pow, sin, sqrt};

/// `exp(s x_i - m) / sum_j exp(s x_j - m)` over the first `visible` values, `m` the largest `s x_j` of them; 0 behind them.
///
/// The largest is taken off first, as every implementation does, so that nothing overflows.
pub fn softmax(row: &mut [f32], scale: f32, visible: usize) {
    let (seen, hidden) = row.split_at_mut(visible.min(row.len()));
    hidden.fill(0.0);
    let mut largest = f32::NEG_INFINITY;
    for value in &mut *seen {
        *value *= scale;
        largest = largest.max(*value);
    }
    let mut sum = 0.0;
    for value in &mut *seen {
        *value = exp(*value - largest);
        sum += *value;
    }
    for value in seen {
        *value /= sum;
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias`, mean and variance (over n) of the row (Ba, Kiros and Hinton,
/// arXiv 1607.06450). `weight` and `bias` have one value for each of the row's, or none.
pub fn layer_norm(row: &mut [f32], epsilon: f32, weight: &[f32], bias: &[f32]) {
    let count = row.len() as f32;
    let mean = row.iter().fold(0.0, |sum, value| sum + value) / count;
    let variance = row.iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean)) / count;
    let factor = 1.0 / sqrt(variance + epsilon);
    for (index, value) in row.iter_mut().enumerate() {
        *value = (*value - mean) * factor;
        if let Some(weight) = weight.get(index) {
            *value *= weight;
        }
        if let Some(bias) = bias.get(index) {
            *value += bias;
        }
    }
}

/// `x / sqrt(mean of x^2 + epsilon) * weight` (Zhang and Sennrich, arXiv 1910.07467).
pub fn rms_norm(row: &mut [f32], epsilon: f32, weight: &[f32]) {
    let mean = row.iter().fold(0.0, |sum, value| sum + value * value) / row.len() as f32;
    let factor = 1.0 / sqrt(mean + epsilon);
    for (index, value) in row.iter_mut().enumerate() {
        *value *= factor;
        if let Some(weight) = weight.get(index) {
            *value *= weight;
        }
    }
}

/// Turns each pair `(x_i, x_{i + d/2})` of a head of `d` values by `position * base^(-2i/d)` (Su et al., arXiv 2104.09864;
/// pairs half a head apart, as in GPT-NeoX, Llama and Qwen).
pub fn rotary(head: &mut [f32], position: f32, base: f32) {
    let half = head.len() / 2;
    let (first, second) = head.split_at_mut(half);
    for (index, (a, b)) in first.iter_mut().zip(second).enumerate() {
        let angle = position * pow(base, -(index as f32) / half as f32);
        let (cosine, sine) = (cos(angle), sin(angle));
        (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn softmax_of_logarithms_is_their_arguments_share() {
        // exp(ln a) / (exp(ln 1) + exp(ln 2) + exp(ln 5)) = a / 8.
        let mut row = [0.0, 2f32.ln(), 5f32.ln()];
        softmax(&mut row, 1.0, 3);
        near(&row, &[0.125, 0.25, 0.625]);
        // Scaled by 2: 1, 4, 25 of 30; the last one hidden: 1, 4 of 5.
        let mut row = [0.0, 2f32.ln(), 5f32.ln()];
        softmax(&mut row, 2.0, 3);
        near(&row, &[1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0]);
        let mut row = [0.0, 2f32.ln(), 5f32.ln()];
        softmax(&mut row, 2.0, 2);
        near(&row, &[0.2, 0.8, 0.0]);
    }

    #[test]
    fn softmax_of_large_values_does_not_overflow() {
        let mut row = [1000.0, 1000.0];
        softmax(&mut row, 1.0, 2);
        assert_eq!(row, [0.5, 0.5]);
    }

    #[test]
    fn norms_agree_with_hand_computed_rows() {
        // Mean 4, variance ((-3)^2 + (-1)^2 + 1 + 3^2) / 4 = 5.
        let mut row = [1.0, 3.0, 5.0, 7.0];
        layer_norm(&mut row, 0.0, &[1.0, 1.0, 2.0, 2.0], &[0.0, 1.0, 0.0, 1.0]);
        let unit = 1.0 / 5f64.sqrt();
        near(&row, &[-3.0 * unit, 1.0 - unit, 2.0 * unit, 1.0 + 6.0 * unit]);
        // Mean of squares (1 + 49) / 2 = 25.
        let mut row = [1.0, 7.0];
        rms_norm(&mut row, 0.0, &[5.0, 10.0]);
        near(&row, &[1.0, 14.0]);
    }

    #[test]
    fn rotary_turns_pairs_half_a_head_apart() {
        // A head of 4 at position 3 with base 9: angles 3 and 3 * 9^(-1/2) = 1.
        let mut head = [1.0, 1.0, 0.0, 0.0];
        rotary(&mut head, 3.0, 9.0);
        near(&head, &[3f64.cos(), 1f64.cos(), 3f64.sin(), 1f64.sin()]);
    }
}
