//! INT32 accumulators to narrow integers: `clamp(round(accumulator * scale) + zero_point)`.
//!
//! What "round" and "times" mean differs between shipped kernels, even within one library; the four rules in use are
//! offered by name. The integer rules use a multiplier of 31 bits and a shift, derived from the real scale as in
//! Jacob et al., arXiv 1712.05877, section 2.2. The zero point is added after rounding in all of them.

use crate::numerics::float_bits::{Magnitude, float_parts};

/// How an accumulator is scaled and rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequantizeRule {
    /// One 64-bit product, one rounding, ties away from zero (LiteRT reference kernels).
    #[default]
    SingleAway,
    /// The high half of the doubled product, its ties toward +infinity, then a shift, its ties away from zero (gemmlowp,
    /// Vela).
    DoubleGemmlowp,
    /// The same two steps, the ties of both toward +infinity (LiteRT optimized kernels).
    DoubleUp,
    /// A float32 product, ties to even (XNNPACK, ONNX Runtime's QLinearMatMul).
    F32Even,
}

/// A positive real scale as `multiplier * 2^-(31 + right_shift)` with `2^30 <= multiplier < 2^31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct QuantizedMultiplier {
    multiplier: i32,
    right_shift: i32,
}

/// The real factor between an accumulator and its output, in both precisions that kernels derive it in.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct EffectiveScale {
    double: f64,
    single: f32,
}

/// Requantizes the accumulators that share one scale.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Requantizer {
    rule: RequantizeRule,
    scale: f32,
    multiplier: QuantizedMultiplier,
    zero_point: i32,
    minimum: i32,
    maximum: i32,
}

/// Why a scale cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RequantizeError {
    /// It is zero, negative, not finite, or so large that the shift would turn left by 31 bits or more.
    #[error("the scale from accumulator to output is {scale}; it must be above 0 and below 2^31")]
    ScaleOutOfRange {
        /// The scale.
        scale: f64,
    },
    /// The output has no value.
    #[error("the output range {minimum}..={maximum} is empty")]
    EmptyRange {
        /// Its smallest value.
        minimum: i32,
        /// Its largest.
        maximum: i32,
    },
}

impl QuantizedMultiplier {
    /// The nearest multiplier and shift to `scale`, ties away from zero.
    pub fn try_new(scale: f64) -> Result<QuantizedMultiplier, RequantizeError> {
        let parts = float_parts(scale);
        let (false, Magnitude::Finite { significand, exponent }) = (parts.negative, parts.magnitude) else {
            return Err(RequantizeError::ScaleOutOfRange { scale });
        };
        // 53 significant bits to 31; a carry out of the top makes the next power of two.
        let rounded = (significand + (1 << 21)) >> 22;
        let carry = (rounded >> 31) as i32;
        let multiplier = (rounded >> carry) as i32;
        // scale = multiplier * 2^(exponent + 22 + carry).
        let right_shift = -(exponent + 22 + carry) - 31;
        if right_shift < -31 {
            return Err(RequantizeError::ScaleOutOfRange { scale });
        }
        Ok(QuantizedMultiplier { multiplier, right_shift })
    }

    /// The Q31 multiplier, `2^30..2^31`.
    pub const fn multiplier(self) -> i32 {
        self.multiplier
    }

    /// Right shift after the high half of the product; negative shifts left.
    pub const fn right_shift(self) -> i32 {
        self.right_shift
    }

    /// `accumulator * scale` by one of the integer rules, before zero point and clamp; `F32Even` is not one of them.
    fn apply(self, rule: IntegerRule, accumulator: i32) -> i64 {
        let product = i64::from(self.multiplier) * i64::from(accumulator);
        match rule {
            IntegerRule::SingleAway => match 31 + self.right_shift {
                0 => product,
                shift @ 1..=62 => {
                    let magnitude = (product.abs() + (1 << (shift - 1))) >> shift;
                    if product < 0 { -magnitude } else { magnitude }
                }
                // Below 2^62 in magnitude, so less than half of the unit.
                _ => 0,
            },
            IntegerRule::DoubleGemmlowp => {
                let high = saturating_rounding_doubling_high_mul(self.shifted_left(accumulator), self.multiplier);
                rounding_divide_by_power_of_two(high, self.right_shift.max(0) as u32).into()
            }
            IntegerRule::DoubleUp => {
                let doubled = i64::from(self.shifted_left(accumulator)) * i64::from(self.multiplier);
                let high = (doubled + (1 << 30)) >> 31;
                match self.right_shift.clamp(0, 62) {
                    0 => high,
                    shift => (high + (1 << (shift - 1))) >> shift,
                }
            }
        }
    }

    /// The accumulator times `2^-right_shift` where that turns left, saturated to 32 bits (gemmlowp leaves the overflow
    /// undefined).
    fn shifted_left(self, accumulator: i32) -> i32 {
        let shifted = i64::from(accumulator) << (-self.right_shift).max(0);
        shifted.clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }
}

#[derive(Clone, Copy)]
enum IntegerRule {
    SingleAway,
    DoubleGemmlowp,
    DoubleUp,
}

/// gemmlowp's `SaturatingRoundingDoublingHighMul`: the high 32 bits of `2ab`, rounded to nearest, ties toward +infinity.
pub fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    let product = i64::from(a) * i64::from(b);
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    // Division truncates; with the nudges above both signs round to nearest.
    ((product + nudge) / (1 << 31)) as i32
}

/// gemmlowp's `RoundingDivideByPOT`: `value / 2^exponent`, rounded to nearest, ties away from zero.
pub fn rounding_divide_by_power_of_two(value: i32, exponent: u32) -> i32 {
    if exponent > 32 {
        return 0;
    }
    let value = i64::from(value);
    let mask = (1i64 << exponent) - 1;
    let threshold = (mask >> 1) + i64::from(value < 0);
    ((value >> exponent) + i64::from(value & mask > threshold)) as i32
}

impl EffectiveScale {
    /// The scale of a product of two quantized operands over that of the output: `input * weight / output`, in f64 for
    /// the integer rules and in f32, rounded after each operation, for `f32_even`.
    pub fn of_product(input_scale: f32, weight_scale: f32, output_scale: f32) -> EffectiveScale {
        EffectiveScale {
            double: f64::from(input_scale) * f64::from(weight_scale) / f64::from(output_scale),
            single: input_scale * weight_scale / output_scale,
        }
    }

    /// A scale that is given as one number.
    pub fn of(scale: f64) -> EffectiveScale {
        EffectiveScale { double: scale, single: scale as f32 }
    }
}

impl Requantizer {
    /// A requantizer into `minimum..=maximum` (such as -128..=127).
    pub fn try_new(
        rule: RequantizeRule,
        scale: EffectiveScale,
        zero_point: i32,
        minimum: i32,
        maximum: i32,
    ) -> Result<Requantizer, RequantizeError> {
        if minimum > maximum {
            return Err(RequantizeError::EmptyRange { minimum, maximum });
        }
        let multiplier = QuantizedMultiplier::try_new(scale.double)?;
        Ok(Requantizer { rule, scale: scale.single, multiplier, zero_point, minimum, maximum })
    }

    /// The code of one accumulator.
    pub fn requantize(&self, accumulator: i32) -> i32 {
        let scaled = match self.rule {
            RequantizeRule::SingleAway => self.multiplier.apply(IntegerRule::SingleAway, accumulator),
            RequantizeRule::DoubleGemmlowp => self.multiplier.apply(IntegerRule::DoubleGemmlowp, accumulator),
            RequantizeRule::DoubleUp => self.multiplier.apply(IntegerRule::DoubleUp, accumulator),
            // The conversion saturates, far outside of any output range.
            RequantizeRule::F32Even => (accumulator as f32 * self.scale).round_ties_even() as i64,
        };
        let code = scaled.saturating_add(self.zero_point.into());
        code.clamp(self.minimum.into(), self.maximum.into()) as i32
    }

    /// The multiplier and shift of the integer rules.
    pub const fn multiplier(&self) -> QuantizedMultiplier {
        self.multiplier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    const RULES: [RequantizeRule; 4] =
        [RequantizeRule::SingleAway, RequantizeRule::DoubleGemmlowp, RequantizeRule::DoubleUp, RequantizeRule::F32Even];

    fn requantizer(rule: RequantizeRule, scale: f64) -> Requantizer {
        Requantizer::try_new(rule, EffectiveScale::of(scale), 0, -128, 127).unwrap()
    }

    #[test]
    fn halves_round_as_the_kernels_of_each_rule_round_them() {
        // -5.5 to 5.5 in halves with a scale of 2^-4, as LiteRT 2.3.0 gives them: reference, optimized and XNNPACK
        // kernels. For gemmlowp the high product is exact here, which leaves its shift with ties away from zero.
        let expected = [
            (RequantizeRule::SingleAway, [-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6]),
            (RequantizeRule::DoubleGemmlowp, [-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6]),
            (RequantizeRule::DoubleUp, [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6]),
            (RequantizeRule::F32Even, [-6, -4, -4, -2, -2, 0, 0, 2, 2, 4, 4, 6]),
        ];
        for (rule, codes) in expected {
            let halves = requantizer(rule, 0.0625);
            for (step, code) in codes.into_iter().enumerate() {
                assert_eq!(halves.requantize((step as i32 * 2 - 11) * 8), code, "{rule:?}");
            }
        }
    }

    #[test]
    fn a_scale_becomes_a_31_bit_multiplier_and_a_shift() {
        // 1/4 = 2^30 * 2^-(31+1); 1/3 = 0.101010..b: significand 4/3 in Q30 = 1431655765.33.
        let quarter = QuantizedMultiplier::try_new(0.25).unwrap();
        assert_eq!((quarter.multiplier(), quarter.right_shift()), (1 << 30, 1));
        let third = QuantizedMultiplier::try_new(1.0 / 3.0).unwrap();
        assert_eq!((third.multiplier(), third.right_shift()), (1431655765, 1));
        // Just below a power of two the rounding carries into it.
        let below_one = QuantizedMultiplier::try_new(1.0f64.next_down()).unwrap();
        assert_eq!(below_one, QuantizedMultiplier::try_new(1.0).unwrap());
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 2147483648.0, 4294967296.0] {
            assert!(QuantizedMultiplier::try_new(scale).is_err(), "{scale}");
        }
        // 1.5 * 2^30 = (1.5 * 2^30) * 2^-(31 - 31), the largest shift to the left.
        let largest = QuantizedMultiplier::try_new(1_610_612_736.0).unwrap();
        assert_eq!((largest.multiplier(), largest.right_shift()), (1_610_612_736, -31));
    }

    #[test]
    fn ties_go_where_each_rule_says() {
        // Scale 1/2: 0.5, -0.5, 1.5 and -1.5 are ties. gemmlowp rounds the high half up, and there is no shift after it.
        let half = QuantizedMultiplier::try_new(0.5).unwrap();
        let rounded = |rule| [1, -1, 3, -3].map(|accumulator| half.apply(rule, accumulator));
        assert_eq!(rounded(IntegerRule::SingleAway), [1, -1, 2, -2]);
        assert_eq!(rounded(IntegerRule::DoubleUp), [1, 0, 2, -1]);
        assert_eq!(rounded(IntegerRule::DoubleGemmlowp), [1, 0, 2, -1]);
        // -2^31 * 2^-32 is a tie too, the smallest product that is not 0; half of it is 0.
        let smallest = QuantizedMultiplier::try_new(1.0 / 4_294_967_296.0).unwrap();
        assert_eq!(smallest.apply(IntegerRule::SingleAway, i32::MIN), -1);
        assert_eq!(smallest.apply(IntegerRule::SingleAway, i32::MIN + 1), 0);
        let half_of_it = QuantizedMultiplier::try_new(0.5 / 4_294_967_296.0).unwrap();
        assert_eq!(half_of_it.apply(IntegerRule::SingleAway, i32::MIN), 0);
    }

    #[test]
    fn the_zero_point_is_added_after_rounding_and_before_the_clamp() {
        let scale = EffectiveScale::of_product(0.5, 1.0, 1.0);
        let shifted = Requantizer::try_new(RequantizeRule::SingleAway, scale, 100, -128, 127).unwrap();
        assert_eq!([5, -5, 60, -600].map(|accumulator| shifted.requantize(accumulator)), [103, 97, 127, -128]);
    }

    #[test]
    fn extreme_scales_and_accumulators_give_zero_or_the_limits() {
        for rule in RULES {
            for accumulator in [i32::MIN, -1, 1, i32::MAX] {
                assert_eq!(requantizer(rule, 1e-30).requantize(accumulator), 0, "{rule:?}");
                let limit = if accumulator < 0 { -128 } else { 127 };
                assert_eq!(requantizer(rule, 1e9).requantize(accumulator), limit, "{rule:?}");
            }
        }
        assert_eq!(saturating_rounding_doubling_high_mul(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(rounding_divide_by_power_of_two(i32::MIN, 32), -1);
        assert_eq!(rounding_divide_by_power_of_two(i32::MIN, 33), 0);
    }

    proptest! {
        #[test]
        fn one_rounding_is_the_exact_product_rounded_away(accumulator in any::<i32>(), multiplier in 1i64 << 30..1 << 31, shift in 0i32..20) {
            // Checked in 128-bit integers: |2^(31+s) y - a q| is at most half of 2^(31+s), and ties are away from zero.
            let quantized = QuantizedMultiplier { multiplier: multiplier as i32, right_shift: shift };
            let found = i128::from(quantized.apply(IntegerRule::SingleAway, accumulator));
            let product = i128::from(accumulator) * i128::from(multiplier);
            let error = (found << (31 + shift)) - product;
            let half = 1i128 << (30 + shift);
            prop_assert!(error.abs() < half || error.abs() == half && error.signum() == product.signum());
        }

        #[test]
        fn all_rules_are_within_one_of_the_real_product(accumulator in -(1i32 << 24)..1 << 24, scale in 1e-6f64..1e-5) {
            let exact = f64::from(accumulator) * scale;
            for rule in RULES {
                let found = f64::from(requantizer(rule, scale).requantize(accumulator));
                prop_assert!((found - exact.clamp(-128.0, 127.0)).abs() < 0.75, "{:?} {}", rule, found);
            }
        }

        #[test]
        fn the_high_product_is_the_nearest_integer(a in any::<i32>(), b in 0i32..) {
            // ties toward +infinity: floor(2ab / 2^32 + 1/2).
            let expected = (2 * i128::from(a) * i128::from(b) + (1 << 31)) >> 32;
            prop_assert_eq!(i128::from(saturating_rounding_doubling_high_mul(a, b)), expected);
        }
    }
}
