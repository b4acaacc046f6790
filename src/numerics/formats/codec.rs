//! The one codec of all element formats: code to value and value to code, from the descriptor alone.
//!
//! The codes of one sign of a float format are ordered like their magnitudes, so rounding works on the code itself:
//! the bits kept form the lower candidate code, the bits dropped decide whether to take the next one, and a carry
//! runs from the mantissa into the exponent by itself. This is the plain, exact definition; the fast paths of
//! `block` are held equal to it by tests.

use crate::numerics::float_bits::{Magnitude, float_parts, power_of_two_f64};
use crate::numerics::formats::{ElementFormat, ElementKind, Overflow, Rounding, Specials};

/// What a code stands for, in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Significand {
    /// `±significand * 2^exponent`; zero has a significand of 0 and keeps its sign.
    Finite {
        /// Whether the sign is minus, also of zero.
        negative: bool,
        /// Magnitude in units of `2^exponent`.
        significand: u32,
        /// Weight of the lowest bit of the significand.
        exponent: i32,
    },
    /// Infinity.
    Infinite {
        /// Whether the sign is minus.
        negative: bool,
    },
    /// Not a number.
    NotANumber,
}

impl Significand {
    /// The value as an f64, which holds every element format exactly.
    pub fn value(self) -> f64 {
        match self {
            Significand::Finite { negative, significand, exponent } => {
                let magnitude = f64::from(significand) * power_of_two_f64(exponent);
                if negative { -magnitude } else { magnitude }
            }
            Significand::Infinite { negative: false } => f64::INFINITY,
            Significand::Infinite { negative: true } => f64::NEG_INFINITY,
            Significand::NotANumber => f64::NAN,
        }
    }
}

impl ElementFormat {
    /// What `code` stands for, in integers. Bits above the width of the format are ignored.
    pub fn significand(&self, code: u32) -> Significand {
        let code = code & self.code_mask();
        match self.kind() {
            ElementKind::Integer { signed } => {
                let unused = 32 - self.storage_bits();
                let value = if signed { i64::from(((code << unused) as i32) >> unused) } else { i64::from(code) };
                let significand = u32::try_from(value.unsigned_abs()).expect("integers have at most 32 bits");
                Significand::Finite { negative: value < 0, significand, exponent: 0 }
            }
            ElementKind::Scale { .. } if code == self.code_mask() => Significand::NotANumber,
            ElementKind::Scale { bias } => {
                Significand::Finite { negative: false, significand: 1, exponent: code as i32 - bias }
            }
            ElementKind::Float { mantissa_bits, bias, specials, .. } => {
                let negative = code & self.sign_mask() != 0;
                let magnitude = code & !self.sign_mask();
                if magnitude > self.largest_magnitude() {
                    return match specials {
                        Specials::TopExponent if magnitude == self.largest_magnitude() + 1 => {
                            Significand::Infinite { negative }
                        }
                        _ => Significand::NotANumber,
                    };
                }
                let field = magnitude >> mantissa_bits;
                let mantissa = magnitude & ((1 << mantissa_bits) - 1);
                // Subnormals share the exponent of the smallest normal binade.
                let (hidden, field) = if field == 0 { (0, 1) } else { (1 << mantissa_bits, field) };
                let exponent = field as i32 - bias - mantissa_bits as i32;
                Significand::Finite { negative, significand: hidden | mantissa, exponent }
            }
        }
    }

    /// The value of `code`, exactly; NaN for NaN codes. Bits above the width of the format are ignored.
    pub fn decode(&self, code: u32) -> f64 {
        self.significand(code).value()
    }

    /// The code of `value`, rounded once.
    ///
    /// Beyond the range `overflow` decides; integers and formats without infinity and NaN saturate always. NaN keeps its
    /// sign and becomes a quiet NaN; an integer, which has none, takes 0, and a float format without NaN takes the
    /// zero of the opposite sign, like ml_dtypes 0.6 (callers that care refuse NaN before). A scale has no zero and no
    /// sign: zero, negative values and values that round below its smallest power of two become NaN, like gfloat 0.5.
    pub fn encode(&self, value: f64, rounding: Rounding, overflow: Overflow) -> u32 {
        let parts = float_parts(value);
        match self.kind() {
            ElementKind::Integer { signed } => self.encode_integer(parts.negative, parts.magnitude, signed, rounding),
            ElementKind::Scale { bias } => {
                let not_a_number = self.code_mask();
                let code = match parts.magnitude {
                    _ if parts.negative => return not_a_number,
                    Magnitude::Zero | Magnitude::NotANumber => return not_a_number,
                    Magnitude::Infinite => i64::from(not_a_number),
                    Magnitude::Finite { significand, exponent } => {
                        let binade = i64::from(exponent) + 52 + i64::from(bias);
                        rounded(significand, 52, binade - 1, rounding)
                    }
                };
                match u32::try_from(code) {
                    Ok(code) if code < not_a_number => code,
                    Ok(_) if overflow == Overflow::Saturate || rounding == Rounding::TowardZero => {
                        if parts.magnitude == Magnitude::Infinite && overflow == Overflow::NonFinite {
                            not_a_number
                        } else {
                            not_a_number - 1
                        }
                    }
                    _ => not_a_number,
                }
            }
            ElementKind::Float { .. } => {
                let sign = if parts.negative { self.sign_mask() } else { 0 };
                match parts.magnitude {
                    Magnitude::Zero => sign,
                    Magnitude::NotANumber => self.not_a_number(sign),
                    Magnitude::Infinite if overflow == Overflow::NonFinite => self.non_finite(sign),
                    Magnitude::Infinite => sign | self.largest_magnitude(),
                    Magnitude::Finite { significand, exponent } => {
                        let code = self.unlimited(significand, exponent, rounding);
                        if code <= i64::from(self.largest_magnitude()) {
                            sign | code as u32
                        } else if overflow == Overflow::Saturate || rounding == Rounding::TowardZero {
                            sign | self.largest_magnitude()
                        } else {
                            self.non_finite(sign)
                        }
                    }
                }
            }
        }
    }

    /// The code of an f32, rounded once; see [`ElementFormat::encode`].
    pub fn encode_f32(&self, value: f32, rounding: Rounding, overflow: Overflow) -> u32 {
        self.encode(f64::from(value), rounding, overflow)
    }

    /// Whether a finite `value` is clipped to the largest magnitude: were there larger ones, it would round to one of them.
    /// A value above the largest one by less than half a step is not clipped, only rounded. Infinity and NaN are no
    /// values, and scales have no largest magnitude that anything is clipped to. Integers are taken to be symmetric.
    pub fn clips(&self, value: f64, rounding: Rounding) -> bool {
        match (self.kind(), float_parts(value).magnitude) {
            (ElementKind::Integer { .. } | ElementKind::Float { .. }, Magnitude::Finite { significand, exponent }) => {
                self.unlimited(significand, exponent, rounding) > i64::from(self.max_finite_code())
            }
            _ => false,
        }
    }

    /// The code of a magnitude of an integer or float format, as if codes went on beyond the largest finite one.
    fn unlimited(&self, significand: u64, exponent: i32, rounding: Rounding) -> i64 {
        match self.kind() {
            ElementKind::Float { mantissa_bits, bias, .. } => {
                let smallest_binade = 1 - bias;
                let binade = (exponent + 52).max(smallest_binade);
                let dropped = (binade - mantissa_bits as i32 - exponent) as u32;
                let base = i64::from(binade - smallest_binade) << mantissa_bits;
                rounded(significand, dropped, base, rounding)
            }
            // From 2^53 on every float is an integer far beyond 32 bits.
            ElementKind::Integer { .. } | ElementKind::Scale { .. } if exponent > 0 => i64::MAX,
            ElementKind::Integer { .. } | ElementKind::Scale { .. } => {
                rounded(significand, exponent.unsigned_abs(), 0, rounding)
            }
        }
    }

    /// The largest finite value.
    pub fn max_finite(&self) -> f64 {
        self.decode(self.max_finite_code())
    }

    /// The code of the largest finite value.
    pub const fn max_finite_code(&self) -> u32 {
        match self.kind() {
            ElementKind::Integer { signed: true } => self.code_mask() >> 1,
            ElementKind::Integer { signed: false } => self.code_mask(),
            ElementKind::Scale { .. } => self.code_mask() - 1,
            ElementKind::Float { .. } => self.largest_magnitude(),
        }
    }

    fn encode_integer(&self, negative: bool, magnitude: Magnitude, signed: bool, rounding: Rounding) -> u32 {
        let largest = i64::from(self.max_finite_code());
        let limit = match (negative, signed) {
            (false, _) => largest,
            (true, true) => largest + 1,
            (true, false) => 0,
        };
        let magnitude = match magnitude {
            Magnitude::Zero | Magnitude::NotANumber => 0,
            Magnitude::Infinite => limit,
            Magnitude::Finite { significand, exponent } => self.unlimited(significand, exponent, rounding).min(limit),
        };
        let value = if negative { -magnitude } else { magnitude };
        value as u32 & self.code_mask()
    }

    const fn sign_mask(&self) -> u32 {
        1 << (self.storage_bits() - 1)
    }

    /// The magnitude bits of the largest finite value of a float format.
    const fn largest_magnitude(&self) -> u32 {
        let all_ones = self.code_mask() >> 1;
        match self.kind() {
            ElementKind::Float { specials: Specials::AllOnesIsNotANumber, .. } => all_ones - 1,
            ElementKind::Float { specials: Specials::TopExponent, mantissa_bits, .. } => {
                all_ones - (1 << mantissa_bits)
            }
            _ => all_ones,
        }
    }

    const fn not_a_number(&self, sign: u32) -> u32 {
        match self.kind() {
            ElementKind::Float { specials: Specials::TopExponent, mantissa_bits, .. } => {
                sign | (self.largest_magnitude() + 1) | 1 << (mantissa_bits - 1)
            }
            ElementKind::Float { specials: Specials::AllOnesIsNotANumber, .. } => sign | self.code_mask() >> 1,
            _ => sign ^ self.sign_mask(),
        }
    }

    const fn non_finite(&self, sign: u32) -> u32 {
        match self.kind() {
            ElementKind::Float { specials: Specials::None, .. } => sign | self.largest_magnitude(),
            _ => sign | (self.largest_magnitude() + 1),
        }
    }
}

/// `base + significand / 2^dropped`, rounded. A tie goes to the even sum, which is the even code: for a format without
/// mantissa bits the evenness lies in the exponent, that is, in `base`.
fn rounded(significand: u64, dropped: u32, base: i64, rounding: Rounding) -> i64 {
    if dropped == 0 {
        return base + significand as i64;
    }
    if dropped > 63 {
        // The significand has 53 bits: less than half of the unit.
        return base;
    }
    let lower = base + (significand >> dropped) as i64;
    let remainder = significand & ((1 << dropped) - 1);
    let half = 1 << (dropped - 1);
    let up = match rounding {
        Rounding::NearestEven => remainder > half || remainder == half && lower & 1 == 1,
        Rounding::NearestAway => remainder >= half,
        Rounding::TowardZero => false,
    };
    lower + i64::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats::{
        ALL, BF16, E8M0, FP4_E2M1, FP6_E2M3, FP6_E3M2, FP8_E4M3, FP8_E5M2, FP16, FP32, INT4, INT8, INT32, UINT8,
    };
    use half::{bf16, f16};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    const ROUNDINGS: [Rounding; 3] = [Rounding::NearestEven, Rounding::NearestAway, Rounding::TowardZero];

    /// The finite values of a format of at most 16 bits, sorted, without the duplicate zero.
    fn finite_values(format: &ElementFormat) -> Vec<f64> {
        let mut values: Vec<f64> =
            (0..format.codes() as u32).map(|code| format.decode(code)).filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    }

    #[test]
    fn the_largest_values_and_smallest_steps_are_those_of_the_standards() {
        // OCP MX v1.0 tables 2 to 6, OCP FP8 v1.0 table 1, IEEE 754-2019 table 3.5.
        let expected = [
            (&INT4, 7.0, 1.0),
            (&INT8, 127.0, 1.0),
            (&UINT8, 255.0, 1.0),
            (&INT32, 2147483647.0, 1.0),
            (&FP4_E2M1, 6.0, 0.5),
            (&FP6_E2M3, 7.5, 0.125),
            (&FP6_E3M2, 28.0, 0.0625),
            (&FP8_E4M3, 448.0, power_of_two_f64(-9)),
            (&FP8_E5M2, 57344.0, power_of_two_f64(-16)),
            (&FP16, 65504.0, power_of_two_f64(-24)),
            (&BF16, f64::from(bf16::MAX.to_f32()), power_of_two_f64(-133)),
            (&FP32, f64::from(f32::MAX), power_of_two_f64(-149)),
            (&E8M0, power_of_two_f64(127), power_of_two_f64(-126)),
        ];
        for (format, largest, first) in expected {
            assert_eq!((format.max_finite(), format.decode(1)), (largest, first), "{format}");
        }
        assert_eq!(E8M0.decode(0), power_of_two_f64(-127));
    }

    #[test]
    fn the_sixteen_codes_of_e2m1_are_those_of_the_mx_specification() {
        let magnitudes = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for (code, magnitude) in magnitudes.into_iter().enumerate() {
            assert_eq!(FP4_E2M1.decode(code as u32), magnitude);
            assert_eq!(FP4_E2M1.decode(code as u32 | 8).to_bits(), (-magnitude).to_bits());
        }
    }

    #[test]
    fn the_codes_that_are_not_finite_are_those_of_the_standards() {
        for code in 0..256 {
            let magnitude = code & 0x7F;
            assert_eq!(FP8_E4M3.decode(code).is_nan(), magnitude == 0x7F);
            assert_eq!(FP8_E5M2.decode(code).is_nan(), magnitude > 0x7C);
            assert_eq!(FP8_E5M2.decode(code).is_infinite(), magnitude == 0x7C);
            assert_eq!(E8M0.decode(code).is_nan(), code == 0xFF);
        }
        for format in [&FP4_E2M1, &FP6_E2M3, &FP6_E3M2] {
            assert!((0..format.codes() as u32).all(|code| format.decode(code).is_finite()));
        }
    }

    #[test]
    fn a_value_is_clipped_from_half_a_step_above_the_largest_on() {
        // The largest value, and halfway to where the next one would be. A tie goes to the even code: the largest code of
        // E4M3 (0x7E) is even and keeps its tie, the others are odd and give it up.
        let expected = [
            (&INT4, 7.0, 7.5, true),
            (&INT8, 127.0, 127.5, true),
            (&FP4_E2M1, 6.0, 7.0, true),
            (&FP6_E2M3, 7.5, 7.75, true),
            (&FP6_E3M2, 28.0, 30.0, true),
            (&FP8_E4M3, 448.0, 464.0, false),
            (&FP8_E5M2, 57344.0, 61440.0, true),
            (&FP16, 65504.0, 65520.0, true),
        ];
        for (format, largest, halfway, tie_is_clipped) in expected {
            let (largest, halfway): (f64, f64) = (largest, halfway);
            for sign in [1.0, -1.0] {
                let clips = |value: f64| format.clips(sign * value, Rounding::NearestEven);
                assert!(!clips(largest) && !clips(halfway.next_down()) && clips(halfway.next_up()), "{format}");
                assert_eq!(clips(halfway), tie_is_clipped, "{format}");
                assert!(clips(f64::MAX) && !clips(f64::INFINITY) && !clips(f64::NAN) && !clips(0.0), "{format}");
                assert!(!format.clips(sign * halfway, Rounding::TowardZero), "{format}");
                assert!(format.clips(sign * (2.0 * halfway - largest), Rounding::TowardZero), "{format}");
            }
        }
    }

    #[test]
    fn nan_becomes_the_zero_of_the_opposite_sign_in_a_float_format_without_nan() {
        // As in ml_dtypes 0.6: the sign bit is the top one of 4 and of 6.
        for (format, minus_zero) in [(&FP4_E2M1, 0b1000), (&FP6_E2M3, 0b10_0000), (&FP6_E3M2, 0b10_0000)] {
            for overflow in [Overflow::Saturate, Overflow::NonFinite] {
                assert_eq!(format.encode(f64::NAN, Rounding::NearestEven, overflow), minus_zero, "{format}");
                assert_eq!(format.encode(-f64::NAN, Rounding::NearestEven, overflow), 0, "{format}");
            }
        }
    }

    #[test]
    fn a_finite_value_beyond_the_range_that_is_cut_toward_zero_becomes_the_largest_finite_one() {
        // IEEE 754-2019, 7.4: roundTowardZero carries all overflows to the largest finite number, with any overflow rule.
        let toward_zero =
            |format: &ElementFormat, value| format.encode(value, Rounding::TowardZero, Overflow::NonFinite);
        for format in [&E8M0, &FP8_E4M3, &FP8_E5M2, &FP16] {
            assert_eq!(toward_zero(format, f64::MAX), format.max_finite_code(), "{format}");
        }
        assert_eq!(E8M0.encode(f64::MAX, Rounding::NearestEven, Overflow::NonFinite), 0xFF);
        // An infinity is no finite value.
        assert_eq!(toward_zero(&E8M0, f64::INFINITY), 0xFF);
        assert!(FP8_E5M2.decode(toward_zero(&FP8_E5M2, f64::INFINITY)).is_infinite());
    }

    #[test]
    fn every_code_of_up_to_16_bits_comes_back_from_its_value() {
        for format in ALL.iter().filter(|format| format.storage_bits() <= 16) {
            for code in 0..format.codes() as u32 {
                let value = format.decode(code);
                for rounding in ROUNDINGS {
                    for overflow in [Overflow::Saturate, Overflow::NonFinite] {
                        let back = format.encode(value, rounding, overflow);
                        if value.is_nan() {
                            assert!(format.decode(back).is_nan(), "{format} {code}");
                        } else if value.is_finite() || overflow == Overflow::NonFinite {
                            assert_eq!(back, code, "{format} {value}");
                        } else {
                            assert_eq!(format.decode(back).abs(), format.max_finite());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn values_rise_with_the_code_of_each_sign() {
        for format in ALL.iter().filter(|format| format.storage_bits() <= 16) {
            for code in 1..=format.max_finite_code() {
                assert!(format.decode(code) > format.decode(code - 1), "{format} {code}");
            }
        }
    }

    #[test]
    fn ties_and_their_neighbours_round_as_each_mode_says() {
        // Stated on values: between neighbours a < b the midpoint is the tie, whatever the encoding.
        for format in ALL
            .iter()
            .filter(|format| format.storage_bits() <= 8 && !matches!(format.kind(), ElementKind::Scale { .. }))
        {
            let values = finite_values(format);
            for pair in values.windows(2) {
                let (low, high) = (pair[0], pair[1]);
                let middle = (low + high) / 2.0;
                let (inner, outer) = if low.abs() < high.abs() { (low, high) } else { (high, low) };
                let even = |value: f64| format.encode(value, Rounding::TowardZero, Overflow::Saturate) & 1 == 0;
                let expected_even = if even(low) { low } else { high };
                let check = |value: f64, rounding, expected: f64| {
                    let found = format.decode(format.encode(value, rounding, Overflow::Saturate));
                    assert_eq!(found, expected, "{format} {value} {rounding:?}");
                };
                check(middle, Rounding::NearestEven, expected_even);
                check(middle, Rounding::NearestAway, outer);
                for nearest in [Rounding::NearestEven, Rounding::NearestAway] {
                    check(middle.next_down(), nearest, low);
                    check(middle.next_up(), nearest, high);
                }
                for value in [middle.next_down(), middle, middle.next_up(), outer.abs().next_down().copysign(outer)] {
                    check(value, Rounding::TowardZero, inner);
                }
            }
        }
    }

    #[test]
    fn overflow_saturates_or_leaves_the_finite_range_at_the_documented_value() {
        let code = |format: &ElementFormat, value, overflow| format.encode(value, Rounding::NearestEven, overflow);
        // 464 is the tie between 448 and the absent 480; the even code is 448 (ml_dtypes 0.6.0 and gfloat 0.5.2).
        assert_eq!(FP8_E4M3.decode(code(&FP8_E4M3, 464.0, Overflow::NonFinite)), 448.0);
        assert!(FP8_E4M3.decode(code(&FP8_E4M3, 464.0f64.next_up(), Overflow::NonFinite)).is_nan());
        assert!(FP8_E4M3.decode(code(&FP8_E4M3, f64::INFINITY, Overflow::NonFinite)).is_nan());
        assert_eq!(FP8_E4M3.decode(code(&FP8_E4M3, f64::INFINITY, Overflow::Saturate)), 448.0);
        // 61440 is the tie between 57344 and infinity; infinity has the even code.
        assert_eq!(FP8_E5M2.decode(code(&FP8_E5M2, 61440.0, Overflow::NonFinite)), f64::INFINITY);
        assert_eq!(FP8_E5M2.decode(code(&FP8_E5M2, 61440.0f64.next_down(), Overflow::NonFinite)), 57344.0);
        assert_eq!(FP8_E5M2.decode(code(&FP8_E5M2, -1e9, Overflow::Saturate)), -57344.0);
        for format in [&FP4_E2M1, &FP6_E2M3, &FP6_E3M2] {
            for overflow in [Overflow::Saturate, Overflow::NonFinite] {
                assert_eq!(format.decode(code(format, f64::NEG_INFINITY, overflow)), -format.max_finite());
            }
        }
        // IEEE 754-2019, 7.4: roundTowardZero carries all overflows to the largest finite number.
        assert_eq!(FP16.decode(FP16.encode(1e9, Rounding::TowardZero, Overflow::NonFinite)), 65504.0);
        assert_eq!(INT8.encode(1e9, Rounding::NearestEven, Overflow::NonFinite), 0x7F);
        assert_eq!(INT8.encode(f64::NEG_INFINITY, Rounding::NearestEven, Overflow::Saturate), 0x80);
        assert_eq!(UINT8.encode(-3.0, Rounding::NearestEven, Overflow::Saturate), 0);
        assert_eq!(INT32.encode(-2147483648.4, Rounding::NearestEven, Overflow::Saturate), 0x8000_0000);
        assert_eq!(INT8.encode(f64::NAN, Rounding::NearestEven, Overflow::Saturate), 0);
    }

    #[test]
    fn zeros_keep_their_sign_and_so_do_values_that_round_to_zero() {
        for format in [&FP4_E2M1, &FP6_E2M3, &FP6_E3M2, &FP8_E4M3, &FP8_E5M2, &FP16, &BF16, &FP32] {
            for value in [-0.0, -1e-300, -f64::from_bits(1)] {
                let back = format.decode(format.encode(value, Rounding::NearestEven, Overflow::Saturate));
                assert_eq!(back.to_bits(), (-0.0f64).to_bits(), "{format} {value}");
            }
        }
    }

    #[test]
    fn a_scale_rounds_to_the_even_code_and_has_no_zero() {
        // gfloat 0.5.2 format_info_ocp_e8m0, encode_float(round_float(..., TiesToEven)).
        let encode = |value, overflow| E8M0.encode(value, Rounding::NearestEven, overflow);
        assert_eq!(encode(1.5, Overflow::Saturate), 128);
        assert_eq!(encode(3.0, Overflow::Saturate), 128);
        assert_eq!(encode(1.75 * power_of_two_f64(-127), Overflow::Saturate), 1);
        assert_eq!(encode(1.5 * power_of_two_f64(-128), Overflow::Saturate), 0);
        assert_eq!(encode(1.25 * power_of_two_f64(-128), Overflow::Saturate), 0xFF);
        assert_eq!(encode(1.75 * power_of_two_f64(127), Overflow::Saturate), 0xFE);
        assert_eq!(encode(1.75 * power_of_two_f64(127), Overflow::NonFinite), 0xFF);
        for value in [0.0, -0.0, -1.0, f64::NAN] {
            assert_eq!(encode(value, Overflow::Saturate), 0xFF);
        }
    }

    #[test]
    fn every_half_and_bfloat_code_agrees_with_the_half_crate() {
        for code in 0..=u16::MAX {
            let pairs = [
                (FP16.decode(code.into()), f16::from_bits(code).to_f64()),
                (BF16.decode(code.into()), bf16::from_bits(code).to_f64()),
            ];
            for (ours, theirs) in pairs {
                assert!(
                    ours == theirs && ours.is_sign_negative() == theirs.is_sign_negative()
                        || ours.is_nan() && theirs.is_nan()
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_f32_rounds_to_half_and_bfloat_as_the_half_crate_does(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let encode = |format: &ElementFormat| format.encode_f32(value, Rounding::NearestEven, Overflow::NonFinite);
            if !value.is_nan() {
                prop_assert_eq!(encode(&FP16), u32::from(f16::from_f32(value).to_bits()));
                prop_assert_eq!(encode(&BF16), u32::from(bf16::from_f32(value).to_bits()));
                prop_assert_eq!(encode(&FP32), bits);
            }
        }

        #[test]
        fn any_f64_rounds_to_f32_as_the_processor_does(bits in any::<u64>(), exponent in -160i32..130) {
            // IEEE 754 conversion of the compiler (`as`); exponents around the range of f32 are tried on purpose.
            let wide = f64::from_bits(bits);
            let near = f64::from_bits(bits & 0x800F_FFFF_FFFF_FFFF | ((exponent + 1023) as u64) << 52);
            for value in [wide, near] {
                if !value.is_nan() {
                    let code = FP32.encode(value, Rounding::NearestEven, Overflow::NonFinite);
                    prop_assert_eq!(code, (value as f32).to_bits());
                }
            }
        }

        #[test]
        fn rounding_never_skips_a_code_and_keeps_order(a in any::<f32>(), b in any::<f32>()) {
            if a <= b {
                for format in ALL.iter().filter(|format| !matches!(format.kind(), ElementKind::Scale { .. })) {
                    for rounding in ROUNDINGS {
                        let value = |x: f32| format.decode(format.encode_f32(x, rounding, Overflow::Saturate));
                        prop_assert!(value(a) <= value(b), "{} {} {}", format, a, b);
                    }
                }
            }
        }
    }
}
