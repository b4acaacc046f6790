//! From the largest magnitude of a block to its power-of-two scale.

use crate::numerics::block::BlockFormat;
use crate::numerics::float_bits::exponent_of_f32;

/// How the exponent of a power-of-two scale follows from the abs-max of its block. `emax` is the exponent of the largest
/// element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRule {
    /// `floor(log2(abs_max)) - emax` (OCP MX v1.0, section 6.3). The largest elements may saturate.
    #[default]
    Floor,
    /// `ceil(log2(abs_max)) - emax`.
    Ceil,
    /// `floor(log2(abs_max rounded to the mantissa of the elements, ties up)) - emax`.
    Even,
    /// `ceil(log2(abs_max / largest element))`, the quotient rounded to f32: no element saturates (torchao's RCEIL, NVIDIA's
    /// recipe).
    RoundUp,
}

/// The smallest exponent of an E8M0 scale.
pub(crate) const SMALLEST_EXPONENT: i32 = -127;
/// The largest.
pub(crate) const LARGEST_EXPONENT: i32 = 127;

/// The rule, with what it needs of a format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScaleExponent {
    rule: ScaleRule,
    largest_exponent: i32,
    largest_element: f32,
    /// Half a unit of the last mantissa bit of the elements, in units of the f32 mantissa.
    half_unit: u32,
}

impl ScaleExponent {
    pub(crate) fn new(rule: ScaleRule, format: &BlockFormat) -> ScaleExponent {
        ScaleExponent {
            rule,
            largest_exponent: format.largest_exponent(),
            largest_element: format.largest_element() as f32,
            half_unit: 1 << (22 - format.mantissa_bits()),
        }
    }

    /// The exponent of the scale of a block with a finite `abs_max`, in the range of E8M0; the smallest for zero.
    pub(crate) fn of(&self, abs_max: f32) -> i32 {
        let Some(exponent) = exponent_of_f32(abs_max) else { return SMALLEST_EXPONENT };
        let scale = match self.rule {
            ScaleRule::Floor => exponent - self.largest_exponent,
            ScaleRule::Ceil => exponent + i32::from(mantissa(abs_max, exponent) != 0) - self.largest_exponent,
            ScaleRule::Even => {
                let carries = mantissa(abs_max, exponent) + self.half_unit >= 1 << 23;
                exponent + i32::from(carries) - self.largest_exponent
            }
            ScaleRule::RoundUp => {
                let quotient = abs_max / self.largest_element;
                match exponent_of_f32(quotient) {
                    Some(exponent) => exponent + i32::from(mantissa(quotient, exponent) != 0),
                    None => SMALLEST_EXPONENT,
                }
            }
        };
        scale.clamp(SMALLEST_EXPONENT, LARGEST_EXPONENT)
    }
}

/// The 23 bits below the leading one of a positive finite f32 of that exponent, subnormals normalised.
fn mantissa(value: f32, exponent: i32) -> u32 {
    let leading = if exponent < -126 { -126 - exponent } else { 0 };
    value.to_bits() << leading & 0x007F_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::block::{MXFP4, MXFP8_E4M3, MXINT8};
    use crate::numerics::float_bits::power_of_two_f32;

    fn exponent(rule: ScaleRule, format: &BlockFormat, abs_max: f32) -> i32 {
        ScaleExponent::new(rule, format).of(abs_max)
    }

    #[test]
    fn a_power_of_two_has_the_same_scale_by_floor_ceil_and_even() {
        for power in -124..=127 {
            for rule in [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::Even] {
                assert_eq!(exponent(rule, &MXFP4, power_of_two_f32(power)), (power - 2).max(-127));
            }
        }
    }

    #[test]
    fn each_rule_steps_up_at_its_own_threshold() {
        // MXFP4: largest element 6 = 1.5 * 2^2, one mantissa bit, so even steps at 1.75.
        let threshold = |rule, at: f32| {
            (exponent(rule, &MXFP4, at.next_down()), exponent(rule, &MXFP4, at), exponent(rule, &MXFP4, at.next_up()))
        };
        assert_eq!(threshold(ScaleRule::Floor, 8.0), (0, 1, 1));
        assert_eq!(threshold(ScaleRule::Ceil, 4.0), (0, 0, 1));
        assert_eq!(threshold(ScaleRule::Even, 7.0), (0, 1, 1));
        assert_eq!(threshold(ScaleRule::RoundUp, 6.0), (0, 0, 1));
        // MXINT8 has six mantissa bits: 2 - 2^-7 steps up. MXFP8: 448 = 1.75 * 2^8.
        let even = 2.0 - power_of_two_f32(-7);
        assert_eq!(exponent(ScaleRule::Even, &MXINT8, even), 1);
        assert_eq!(exponent(ScaleRule::Even, &MXINT8, even.next_down()), 0);
        assert_eq!(exponent(ScaleRule::RoundUp, &MXFP8_E4M3, 448.0), 0);
        assert_eq!(exponent(ScaleRule::RoundUp, &MXFP8_E4M3, 448.0f32.next_up()), 1);
    }

    #[test]
    fn scales_stay_within_e8m0_and_zero_takes_the_smallest() {
        for rule in [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::Even, ScaleRule::RoundUp] {
            for tiny in [0.0, f32::from_bits(1), power_of_two_f32(-130)] {
                assert_eq!(exponent(rule, &MXFP4, tiny), -127, "{rule:?} {tiny}");
            }
            assert_eq!(exponent(rule, &MXINT8, f32::MAX), 127);
        }
        // 2^-127 and 1.5 * 2^-127 are subnormal; only the first is a power of two.
        assert_eq!(exponent(ScaleRule::Ceil, &MXINT8, power_of_two_f32(-127)), -127);
        assert_eq!(exponent(ScaleRule::Ceil, &MXINT8, 1.5 * power_of_two_f32(-127)), -126);
        assert_eq!(exponent(ScaleRule::Floor, &MXINT8, 1.5 * power_of_two_f32(-127)), -127);
    }
}
