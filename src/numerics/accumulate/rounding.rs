//! One rounding from an exact integer to a float of the binary32 exponent range.

use crate::numerics::formats::Rounding;

/// `±magnitude * 2^exponent` rounded once to `significand_bits` significant bits (hidden bit included) with the
/// exponent range of binary32: 24 gives an f32, 8 a BF16 value, which an f32 holds.
///
/// Subnormals are kept and are rounded at their own, coarser grid. A magnitude beyond the range becomes infinity in
/// every mode, toward zero too, as in the dot-product units whose models this serves (IEEE 754 would stop at the
/// largest finite value there). A magnitude of zero gives +0, a non-zero one that rounds to zero keeps its sign.
///
/// `significand_bits` is 2 to 24. A caller with more than 128 bits may fold the bits below into the lowest one of the
/// magnitude: no mode distinguishes what is that far below its last place.
pub fn round(negative: bool, magnitude: u128, exponent: i32, significand_bits: u32, rounding: Rounding) -> f32 {
    if magnitude == 0 {
        return 0.0;
    }
    let kept = significand_bits as i32;
    let smallest_unit = -126 - (kept - 1);
    let length = 128 - magnitude.leading_zeros() as i32;
    // Weight of the last place of the result.
    let unit = (length + exponent - kept).max(smallest_unit);
    let dropped = unit - exponent;
    let mut significand = if dropped <= 0 {
        // Left shifts stay short: the result has at most `kept` bits.
        magnitude << -dropped
    } else {
        shifted_right(magnitude, dropped as u32, rounding)
    };
    let mut unit = unit;
    if significand >> kept != 0 {
        significand >>= 1;
        unit += 1;
    }
    let field = if significand >> (kept - 1) != 0 { unit - smallest_unit + 1 } else { 0 };
    let sign = u32::from(negative) << 31;
    if field >= 255 {
        return f32::from_bits(sign | 0x7F80_0000);
    }
    let mantissa = (significand as u32 & ((1 << (kept - 1)) - 1)) << (24 - kept);
    f32::from_bits(sign | (field as u32) << 23 | mantissa)
}

/// `magnitude / 2^dropped` rounded to an integer; `dropped` is at least 1.
fn shifted_right(magnitude: u128, dropped: u32, rounding: Rounding) -> u128 {
    let (below, rest, half) = match dropped {
        1..=127 => (magnitude >> dropped, magnitude & ((1 << dropped) - 1), 1 << (dropped - 1)),
        128 => (0, magnitude, 1 << 127),
        _ => return 0,
    };
    let up = match rounding {
        Rounding::NearestEven => rest > half || (rest == half && below & 1 == 1),
        Rounding::NearestAway => rest >= half,
        Rounding::TowardZero => false,
    };
    below + u128::from(up)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::round;
    use crate::numerics::formats::Rounding;

    proptest! {
        #[test]
        fn twenty_four_bits_to_nearest_even_is_the_conversion_of_the_processor(integer in any::<u64>(), shift in 0u32..64) {
            // IEEE 754 convertFromInt rounds to nearest even, and Rust's `as` is specified to do the same.
            let integer = integer >> shift;
            let rounded = round(false, u128::from(integer), 0, 24, Rounding::NearestEven);
            prop_assert_eq!(rounded, integer as f32);
        }

        #[test]
        fn a_float64_rounds_like_the_cast_of_the_processor(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let field = (bits >> 52 & 0x7FF) as i32;
            if field != 0 && field != 0x7FF {
                let significand = (bits & ((1 << 52) - 1)) | 1 << 52;
                let rounded = round(value < 0.0, u128::from(significand), field - 1075, 24, Rounding::NearestEven);
                prop_assert_eq!(rounded.to_bits(), (value as f32).to_bits());
            }
        }

        #[test]
        fn eight_bits_to_nearest_even_is_bfloat16(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            if value.is_normal() {
                let significand = (bits & 0x7F_FFFF) | 0x80_0000;
                let exponent = (bits >> 23 & 0xFF) as i32 - 150;
                let rounded = round(value < 0.0, u128::from(significand), exponent, 8, Rounding::NearestEven);
                prop_assert_eq!(rounded.to_bits(), half::bf16::from_f32(value).to_f32().to_bits());
            }
        }
    }

    #[test]
    fn the_smallest_subnormal_is_reached_from_above_its_half_only() {
        // 2^-150 is the tie between 0 and 2^-149 and goes to the even zero.
        assert_eq!(round(false, 1, -150, 24, Rounding::NearestEven).to_bits(), 0);
        assert_eq!(round(true, 1, -150, 24, Rounding::NearestEven).to_bits(), 1 << 31);
        assert_eq!(round(false, 3, -151, 24, Rounding::NearestEven).to_bits(), 1);
        assert_eq!(round(false, 1, -150, 24, Rounding::NearestAway).to_bits(), 1);
        assert_eq!(round(false, 3, -151, 24, Rounding::TowardZero).to_bits(), 0);
        assert_eq!(round(false, u128::MAX, -149 - 128, 24, Rounding::NearestEven).to_bits(), 1);
        let just_below_half = round(false, u128::MAX, -149 - 129, 24, Rounding::NearestEven);
        assert_eq!(just_below_half.to_bits(), 0);
    }

    #[test]
    fn half_an_ulp_above_the_largest_finite_value_overflows() {
        let tie = (1u128 << 25) - 1;
        assert_eq!(round(false, tie, 103, 24, Rounding::NearestEven), f32::INFINITY);
        assert_eq!(round(false, tie, 103, 24, Rounding::TowardZero), f32::MAX);
        assert_eq!(round(true, 1, 128, 24, Rounding::TowardZero), f32::NEG_INFINITY);
    }
}
