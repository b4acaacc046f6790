//! Quantization with a zero point: `code = clamp(round(value / scale) + zero_point)`.

use crate::numerics::formats::{ElementFormat, ElementKind};

/// The smallest and largest code of an integer quantization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct IntegerLimits {
    minimum: i32,
    maximum: i32,
}

/// One scale and its zero point: the code that stands for zero.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct AffineParameters {
    /// Value of one step.
    pub scale: f32,
    /// The code of zero.
    pub zero_point: i32,
}

impl IntegerLimits {
    /// All codes of an integer format of at most 16 bits; `None` for any other.
    pub fn of(format: &ElementFormat) -> Option<IntegerLimits> {
        let ElementKind::Integer { signed } = format.kind() else { return None };
        if format.storage_bits() > 16 {
            return None;
        }
        let maximum = format.max_finite_code() as i32;
        Some(IntegerLimits { minimum: if signed { -maximum - 1 } else { 0 }, maximum })
    }

    /// The limits without the most negative code: `-maximum..=maximum`.
    pub const fn symmetric(self) -> IntegerLimits {
        IntegerLimits { minimum: -self.maximum, maximum: self.maximum }
    }

    /// The smallest code.
    pub const fn minimum(self) -> i32 {
        self.minimum
    }

    /// The largest code.
    pub const fn maximum(self) -> i32 {
        self.maximum
    }
}

/// Parameters that map `minimum..=maximum`, widened to hold zero, onto `limits`, as ONNX's DynamicQuantizeLinear does for
/// `uint8`: `scale = (maximum - minimum) / codes`, `zero_point = round(clamp(lowest code - minimum / scale))`, ties to
/// even, each operation rounded to f32. A range that holds only zero, or underflows, gets the scale 1.
pub fn affine_parameters(minimum: f32, maximum: f32, limits: IntegerLimits) -> AffineParameters {
    let (minimum, maximum) = (minimum.min(0.0), maximum.max(0.0));
    let scale = (maximum - minimum) / (limits.maximum - limits.minimum) as f32;
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let (lowest, highest) = (limits.minimum as f32, limits.maximum as f32);
    let zero_point = (lowest - minimum / scale).clamp(lowest, highest).round_ties_even() as i32;
    AffineParameters { scale, zero_point }
}

/// Codes of `values` by true division, ties to even, the zero point added after rounding (ONNX's QuantizeLinear).
/// Panics if `codes` is not as long as `values`.
pub fn quantize_affine(values: &[f32], parameters: AffineParameters, limits: IntegerLimits, codes: &mut [i32]) {
    assert_eq!(values.len(), codes.len(), "each value has a code");
    let AffineParameters { scale, zero_point } = parameters;
    for (code, value) in codes.iter_mut().zip(values) {
        // The conversion saturates and takes NaN to 0; saturating addition keeps the far ends far.
        let rounded = (value / scale).round_ties_even() as i32;
        *code = rounded.saturating_add(zero_point).clamp(limits.minimum, limits.maximum);
    }
}

impl AffineParameters {
    /// The value of a code, `(code - zero_point) * scale`.
    pub fn value(self, code: i32) -> f32 {
        (code - self.zero_point) as f32 * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats::{FP32, INT4, INT8, INT16, INT32, UINT8};

    #[test]
    fn limits_are_those_of_the_format_with_or_without_the_lowest_code() {
        let ends = |format| IntegerLimits::of(format).map(|limits| (limits.minimum(), limits.maximum()));
        assert_eq!(ends(&UINT8), Some((0, 255)));
        assert_eq!(ends(&INT4), Some((-8, 7)));
        assert_eq!(ends(&INT16), Some((-32768, 32767)));
        assert_eq!((ends(&INT32), ends(&FP32)), (None, None));
        assert_eq!(IntegerLimits::of(&INT8).unwrap().symmetric(), IntegerLimits { minimum: -127, maximum: 127 });
    }

    #[test]
    fn the_example_of_the_onnx_operator_specification_is_reproduced() {
        // ONNX operator DynamicQuantizeLinear, test cases of its reference: x, scale 0.0196078438, zero point 153.
        let limits = IntegerLimits::of(&UINT8).unwrap();
        let values = [0.0, 2.0, -3.0, -2.5, 1.34, 0.5];
        let parameters = affine_parameters(-3.0, 2.0, limits);
        assert_eq!(parameters, AffineParameters { scale: 0.019607844, zero_point: 153 });
        let mut codes = [0; 6];
        quantize_affine(&values, parameters, limits, &mut codes);
        assert_eq!(codes, [153, 255, 0, 26, 221, 179]);
    }

    #[test]
    fn a_range_is_widened_to_hold_zero_and_an_empty_one_keeps_zero() {
        let limits = IntegerLimits::of(&UINT8).unwrap();
        // The same specification, "max_adjusted": all values negative, so zero is the top code.
        let negative = affine_parameters(-4.3, -1.0, limits);
        assert_eq!((negative.scale, negative.zero_point), (0.016862746, 255));
        let nothing = affine_parameters(0.0, 0.0, limits);
        let mut codes = [7; 2];
        quantize_affine(&[0.0, f32::NAN], nothing, limits, &mut codes);
        assert_eq!((nothing.value(codes[0]), codes[1]), (0.0, nothing.zero_point));
    }

    #[test]
    fn the_zero_point_is_added_after_rounding_to_even() {
        let limits = IntegerLimits::of(&INT8).unwrap();
        let mut codes = [0; 5];
        let parameters = AffineParameters { scale: 2.0, zero_point: 3 };
        quantize_affine(&[1.0, 3.0, -1.0, 1e30, -1e30], parameters, limits, &mut codes);
        // 0.5, 1.5 and -0.5 are ties: 0, 2, 0.
        assert_eq!(codes, [3, 5, 3, 127, -128]);
    }
}
