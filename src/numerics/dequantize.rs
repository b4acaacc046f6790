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

/// `sums[j] * (left * right[j]) + bias[j]` in place, each operation rounded to f32 in this order. INT32 sums are rounded to
/// f32 before (to nearest, ties to even), which is exact up to 2^24. Where the product of the scales is no normal f32, it
/// would lose bits that the result has: then the scales are applied one after the other, `sums[j] * left * right[j]`.
///
/// Panics if the lengths differ; a `right` of one element serves all columns.
pub fn dequantize_row(sums: &mut [f32], scales: RowScales<'_>) {
    if let [right] = scales.right {
        for sum in &mut *sums {
            *sum = scaled(*sum, scales.left, *right);
        }
    } else {
        assert_eq!(sums.len(), scales.right.len(), "one right scale, or one per column");
        for (sum, right) in sums.iter_mut().zip(scales.right) {
            *sum = scaled(*sum, scales.left, *right);
        }
    }
    if let Some(bias) = scales.bias {
        assert_eq!(sums.len(), bias.len(), "one bias per column");
        for (sum, bias) in sums.iter_mut().zip(bias) {
            *sum += bias;
        }
    }
}

#[inline(always)]
fn scaled(sum: f32, left: f32, right: f32) -> f32 {
    let scale = left * right;
    if scale.is_normal() { sum * scale } else { sum * left * right }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_whose_product_leaves_the_range_of_f32_are_applied_one_after_the_other() {
        let power = crate::numerics::float_bits::power_of_two_f32;
        // 2^20 * 2^-100 * 2^-60 = 2^-140, though 2^-160 is 0; 2^-120 * 2^100 * 2^100 = 2^80, though 2^200 is infinite.
        for (sum, left, right, expected) in [(20, -100, -60, -140), (-120, 100, 100, 80)] {
            let mut sums = [power(sum); 2];
            dequantize_row(&mut sums[..1], RowScales { left: power(left), right: &[power(right)], bias: None });
            assert_eq!(sums[0], power(expected));
            let mut sums = [power(sum); 2];
            dequantize_row(&mut sums, RowScales { left: power(left), right: &[power(right); 2], bias: None });
            assert_eq!(sums, [power(expected); 2]);
        }
        // A scale of zero or NaN is what it says.
        let mut sums = [3.0, 3.0];
        dequantize_row(&mut sums, RowScales { left: 1.0, right: &[0.0, f32::NAN], bias: None });
        assert!(sums[0] == 0.0 && sums[1].is_nan());
    }

    #[test]
    fn the_bias_is_added_after_scaling() {
        let mut sums = [8.0, -3.0];
        let scales = RowScales { left: 0.5, right: &[0.25, 2.0], bias: Some(&[1.0, -1.0]) };
        dequantize_row(&mut sums, scales);
        // 8 * 0.125 + 1 and -3 * 1 - 1, exact in f32.
        assert_eq!(sums, [2.0, -4.0]);
    }

    #[test]
    fn scales_are_multiplied_with_each_other_first() {
        // f32(5 * f32(0.1 * 0.1)), worked out in exact arithmetic: 0.1f = 13421773 * 2^-27, its square rounds to
        // 10737419 * 2^-30, five times that is 53687095 * 2^-30, which rounds to 13421774 * 2^-28. The other order,
        // f32(f32(5 * 0.1) * 0.1), gives 13421773 * 2^-28.
        let mut sums = [5.0];
        dequantize_row(&mut sums, RowScales { left: 0.1, right: &[0.1], bias: None });
        assert_eq!(sums[0], 13_421_774.0 * 2f32.powi(-28));
    }
}
