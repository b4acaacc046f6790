//! From integer partial sums back to real values.

/// Scales and bias of one row of partial sums.
#[derive(Clone, Copy, Debug)]
pub struct RowScales<'a> {
    /// Scale of the left operand's row.
    pub left: f32,
    /// Scales of the right operand: one for all columns, or one per column.
    pub right: &'a [f32],
    /// One value per column, added last.
    pub bias: Option<&'a [f32]>,
}

/// `out[j] = sums[j] * (left * right[j]) + bias[j]`, each operation rounded to f32 in this order; the sum is first rounded
/// to f32 (to nearest, ties to even), which is exact up to 2^24.
///
/// Panics if the lengths differ; a `right` of one element serves all columns.
pub fn dequantize_row(sums: &[i32], scales: RowScales<'_>, out: &mut [f32]) {
    assert_eq!(sums.len(), out.len(), "one result per partial sum");
    if let [right] = scales.right {
        let scale = scales.left * right;
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = *sum as f32 * scale;
        }
    } else {
        assert_eq!(sums.len(), scales.right.len(), "one right scale, or one per column");
        for ((out, sum), right) in out.iter_mut().zip(sums).zip(scales.right) {
            *out = *sum as f32 * (scales.left * right);
        }
    }
    if let Some(bias) = scales.bias {
        assert_eq!(out.len(), bias.len(), "one bias per column");
        for (out, bias) in out.iter_mut().zip(bias) {
            *out += bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_is_added_after_scaling() {
        let mut out = [0.0; 2];
        let scales = RowScales { left: 0.5, right: &[0.25, 2.0], bias: Some(&[1.0, -1.0]) };
        dequantize_row(&[8, -3], scales, &mut out);
        // 8 * 0.125 + 1 and -3 * 1 - 1, exact in f32.
        assert_eq!(out, [2.0, -4.0]);
    }

    #[test]
    fn a_sum_beyond_24_bits_rounds_to_the_nearest_float() {
        let mut out = [0.0];
        dequantize_row(&[(1 << 24) + 1], RowScales { left: 1.0, right: &[1.0], bias: None }, &mut out);
        // 16777217 lies halfway between 16777216 and 16777218: ties to even.
        assert_eq!(out, [16_777_216.0]);
    }
}
