//! Codes of scaled values, fast: the same rounding as the codec of `formats`, in straight-line f32 and integer
//! arithmetic that compilers turn into vector code.
//!
//! A magnitude `a` is rounded by adding a power of two so large that the sum has no room below the quantum of the
//! element: the addition rounds to the nearest multiple, ties to even, and leaves the multiple in the low bits. The
//! quantum follows from the exponent of `a`, but never falls below that of the subnormals. Ties away and truncation are
//! corrections of that result by one, recognised from the (exact) rounding error.

use crate::numerics::block::BlockFormat;
use crate::numerics::float_bits::power_of_two_f32;
use crate::numerics::formats::{ElementKind, Rounding};
use crate::numerics::quantize::IntegerRange;

/// Rounds values in units of the block scale to codes, saturating. Values must not be NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ElementEncoder {
    rounding: Rounding,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    Integer(IntegerLayout),
    Float(FloatLayout),
}

/// Constants of an integer format with an implicit exponent.
#[derive(Clone, Copy, Debug, PartialEq)]
struct IntegerLayout {
    /// Codes in the value 1: 64 for MXINT8.
    unit: f32,
    largest: i32,
    most_negative: i32,
}

/// Constants of a float format, in bits of f32.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FloatLayout {
    /// Bits of the largest finite value.
    largest: i32,
    /// Bits of the smallest normal value.
    smallest_normal: i32,
    /// From the exponent field of a value to the addend that rounds it.
    to_addend: i32,
    /// From an exponent field in place to the codes below its binade.
    binade_shift: u32,
    sign_shift: u32,
}

impl ElementEncoder {
    pub(crate) fn new(format: &BlockFormat, rounding: Rounding, range: IntegerRange) -> ElementEncoder {
        let element = format.element();
        let layout = match element.kind() {
            ElementKind::Float { mantissa_bits, bias, .. } => Layout::Float(FloatLayout {
                largest: (format.largest_element() as f32).to_bits() as i32,
                smallest_normal: power_of_two_f32(1 - bias).to_bits() as i32,
                to_addend: (23 - mantissa_bits as i32) << 23,
                binade_shift: 23 - mantissa_bits,
                sign_shift: 32 - element.storage_bits(),
            }),
            ElementKind::Integer { .. } | ElementKind::Scale { .. } => {
                let largest = element.max_finite_code() as i32;
                let most_negative = match range {
                    IntegerRange::Symmetric => largest,
                    IntegerRange::Full => largest + 1,
                };
                let unit = power_of_two_f32(-format.implicit_exponent());
                Layout::Integer(IntegerLayout { unit, largest, most_negative })
            }
        };
        ElementEncoder { rounding, layout }
    }

    /// The codes of `values * multiplier`; `narrow` takes the low bits (an integer code is sign-extended).
    #[inline(always)]
    pub(crate) fn encode<T>(&self, values: &[f32], multiplier: f32, codes: &mut [T], narrow: impl Fn(i32) -> T) {
        // All choices are made here, and the loops use wrapping arithmetic: a branch in them, be it the check of an
        // overflow that cannot happen, would keep the compiler from using vectors.
        match (self.layout, self.rounding) {
            (Layout::Float(layout), Rounding::NearestEven) => {
                encode_float::<NearestEven, T>(layout, values, multiplier, codes, narrow);
            }
            (Layout::Float(layout), Rounding::NearestAway) => {
                encode_float::<NearestAway, T>(layout, values, multiplier, codes, narrow);
            }
            (Layout::Float(layout), Rounding::TowardZero) => {
                encode_float::<TowardZero, T>(layout, values, multiplier, codes, narrow);
            }
            (Layout::Integer(layout), Rounding::NearestEven) => {
                encode_integer::<NearestEven, T>(layout, values, multiplier, codes, narrow);
            }
            (Layout::Integer(layout), Rounding::NearestAway) => {
                encode_integer::<NearestAway, T>(layout, values, multiplier, codes, narrow);
            }
            (Layout::Integer(layout), Rounding::TowardZero) => {
                encode_integer::<TowardZero, T>(layout, values, multiplier, codes, narrow);
            }
        }
    }
}

#[inline(always)]
fn encode_float<R: Correction, T>(
    layout: FloatLayout,
    values: &[f32],
    multiplier: f32,
    codes: &mut [T],
    narrow: impl Fn(i32) -> T,
) {
    // Masked, so that no check of the shift distance is left in the loop.
    let (shift, sign_shift) = (layout.binade_shift & 31, layout.sign_shift & 31);
    for (code, value) in codes.iter_mut().zip(values) {
        let bits = (value * multiplier).to_bits();
        let magnitude = (bits & 0x7FFF_FFFF) as i32;
        let magnitude = magnitude.min(layout.largest);
        let binade = (magnitude & 0x7F80_0000).max(layout.smallest_normal);
        let multiple = multiples::<R>(f32::from_bits(magnitude as u32), binade.wrapping_add(layout.to_addend));
        let below = binade.wrapping_sub(layout.smallest_normal) >> shift;
        let sign = (bits & 0x8000_0000) >> sign_shift;
        *code = narrow(below.wrapping_add(multiple) | sign as i32);
    }
}

#[inline(always)]
fn encode_integer<R: Correction, T>(
    layout: IntegerLayout,
    values: &[f32],
    multiplier: f32,
    codes: &mut [T],
    narrow: impl Fn(i32) -> T,
) {
    /// Bits of 2^23, whose quantum is 1.
    const ADDEND: i32 = 0x4B00_0000;
    let farthest = (layout.most_negative as f32).to_bits() as i32;
    for (code, value) in codes.iter_mut().zip(values) {
        // Two steps, because the product of both factors may leave the range of f32.
        let bits = (value * multiplier * layout.unit).to_bits();
        let magnitude = ((bits & 0x7FFF_FFFF) as i32).min(farthest);
        let multiple = multiples::<R>(f32::from_bits(magnitude as u32), ADDEND);
        let negative = (bits as i32) >> 31;
        // Two's complement negation where `negative` is all ones.
        *code = narrow((multiple ^ negative).wrapping_sub(negative).min(layout.largest));
    }
}

/// `magnitude` in multiples of the last place of the f32 of bits `addend`, rounded.
#[inline(always)]
fn multiples<R: Correction>(magnitude: f32, addend: i32) -> i32 {
    let base = f32::from_bits(addend as u32);
    let sum = magnitude + base;
    // Both differences are exact: the rounded value is a multiple of the quantum, the error at most half of it.
    let error = magnitude - (sum - base);
    // The quantum is 2^-23 of the addend.
    let half_quantum = f32::from_bits(addend.wrapping_sub(24 << 23) as u32);
    (sum.to_bits() as i32).wrapping_sub(addend).wrapping_add(R::correction(error, half_quantum))
}

/// From the nearest multiple, ties to even, to that of another rounding: what to add, given `error` = value - multiple.
trait Correction {
    fn correction(error: f32, half_quantum: f32) -> i32;
}

struct NearestEven;
struct NearestAway;
struct TowardZero;

impl Correction for NearestEven {
    #[inline(always)]
    fn correction(_: f32, _: f32) -> i32 {
        0
    }
}

impl Correction for NearestAway {
    /// A tie that went down goes up.
    #[inline(always)]
    fn correction(error: f32, half_quantum: f32) -> i32 {
        i32::from(error == half_quantum)
    }
}

impl Correction for TowardZero {
    /// What went up goes down.
    #[inline(always)]
    fn correction(error: f32, _: f32) -> i32 {
        i32::from(error < 0.0).wrapping_neg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::block::ALL;
    use crate::numerics::formats::Overflow;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    const ROUNDINGS: [Rounding; 3] = [Rounding::NearestEven, Rounding::NearestAway, Rounding::TowardZero];

    /// The code by the codec, and by the encoder under test.
    fn both(format: &BlockFormat, rounding: Rounding, value: f32) -> (i32, i32) {
        let mut code = [0];
        let encoder = ElementEncoder::new(format, rounding, IntegerRange::Full);
        encoder.encode(&[value], 1.0, &mut code, |code| code & format.element().code_mask() as i32);
        let unscaled = f64::from(value) / format.element_value(1).abs() * format.element().decode(1);
        (format.element().encode(unscaled, rounding, Overflow::Saturate) as i32, code[0])
    }

    #[test]
    fn every_code_tie_and_neighbour_agrees_with_the_codec() {
        for format in ALL {
            let element = format.element();
            let mut values: Vec<f32> = (0..element.codes() as u32)
                .map(|code| format.element_value(code) as f32)
                .filter(|value| value.is_finite())
                .collect();
            values.sort_by(f32::total_cmp);
            let ties: Vec<f32> = values.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
            let largest = format.largest_element() as f32;
            let beyond = [1.25, 1.5, 2.0, 100.0].map(|times| times * largest);
            let tiny = [f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, f32::INFINITY];
            let magnitudes = values.into_iter().chain(ties).chain(beyond).chain(tiny);
            for magnitude in magnitudes {
                for value in [magnitude, magnitude.next_up(), magnitude.next_down()] {
                    for rounding in ROUNDINGS {
                        for value in [value, -value] {
                            let (expected, found) = both(format, rounding, value);
                            assert_eq!(found, expected, "{format} {value} {rounding:?}");
                        }
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_value_agrees_with_the_codec(bits in any::<u32>(), near in -40.0f32..40.0) {
            for value in [f32::from_bits(bits), near] {
                for format in ALL.iter().filter(|_| !value.is_nan()) {
                    for rounding in ROUNDINGS {
                        let (expected, found) = both(format, rounding, value);
                        prop_assert_eq!(found, expected, "{} {} {:?}", format, value, rounding);
                    }
                }
            }
        }
    }
}
