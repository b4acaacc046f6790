//! Quantization without a zero point: an abs-max becomes a scale, values become codes around 0.

use crate::numerics::formats::{ElementFormat, FP32, Overflow, Rounding};
use crate::numerics::quantize::affine::IntegerLimits;
use crate::numerics::quantize::granularity::{Granularity, abs_maxima};
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::{Blocking, MatrixShape};

/// Which codes are used, and what abs-max they span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntegerRange {
    /// `-q..=q` with `q = 2^(bits-1) - 1`; the scale is `abs_max / q`.
    #[default]
    Symmetric,
    /// All codes, `-q-1..=q`; the scale is `abs_max / (q + 1/2)` (torchao's SYMMETRIC mapping).
    Full,
}

/// How a value is brought to code units, in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleArithmetic {
    /// `value / scale` (ONNX Runtime, SmoothQuant's authors).
    #[default]
    Divide,
    /// `value * (1 / scale)` (torchao).
    MultiplyByReciprocal,
    /// `value * (q / abs_max)`; the scale itself is not used (bitsandbytes).
    MultiplyByInverse,
}

/// Symmetric quantization to one integer format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SymmetricQuantizer {
    format: &'static ElementFormat,
    limits: IntegerLimits,
    /// What the abs-max is divided by: `q` or `q + 1/2`.
    span: f32,
    arithmetic: ScaleArithmetic,
    rounding: Rounding,
    scale_format: &'static ElementFormat,
}

/// A symmetrically quantized matrix: `value = code * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// The codes.
    pub codes: Tensor,
    /// The scales, row-major in the shape of [`Granularity::scales`].
    pub scales: Vec<f32>,
    /// Which codes share a scale.
    pub granularity: Granularity,
}

/// The format cannot be quantized to symmetrically.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{format} is not a signed integer format of at most 16 bits (int4, int8, int16)")]
pub struct UnsupportedFormat {
    /// The format asked for.
    pub format: &'static ElementFormat,
}

impl SymmetricQuantizer {
    /// Quantizes to `format` (`int4`, `int8` or `int16`) with the default rules: symmetric range, true division, ties to
    /// even, scales kept in f32.
    pub fn try_new(format: &'static ElementFormat) -> Result<SymmetricQuantizer, UnsupportedFormat> {
        let limits = IntegerLimits::of(format).filter(|limits| limits.minimum() < 0);
        let limits = limits.ok_or(UnsupportedFormat { format })?;
        let quantizer = SymmetricQuantizer {
            format,
            limits,
            span: limits.maximum() as f32,
            arithmetic: ScaleArithmetic::default(),
            rounding: Rounding::default(),
            scale_format: &FP32,
        };
        Ok(quantizer.with_range(IntegerRange::default()))
    }

    /// The same with another range.
    pub fn with_range(mut self, range: IntegerRange) -> SymmetricQuantizer {
        let all = IntegerLimits::of(self.format).expect("only integer formats are accepted");
        let maximum = all.maximum() as f32;
        (self.limits, self.span) = match range {
            IntegerRange::Symmetric => (all.symmetric(), maximum),
            IntegerRange::Full => (all, maximum + 0.5),
        };
        self
    }

    /// The same with another arithmetic.
    pub const fn with_arithmetic(mut self, arithmetic: ScaleArithmetic) -> SymmetricQuantizer {
        self.arithmetic = arithmetic;
        self
    }

    /// The same with another rounding.
    pub const fn with_rounding(mut self, rounding: Rounding) -> SymmetricQuantizer {
        self.rounding = rounding;
        self
    }

    /// The same with scales rounded to a float format (ties to even), such as `fp16`, before they are used.
    pub const fn with_scale_format(mut self, scale_format: &'static ElementFormat) -> SymmetricQuantizer {
        self.scale_format = scale_format;
        self
    }

    /// The format of the codes.
    pub const fn format(&self) -> &'static ElementFormat {
        self.format
    }

    /// The smallest and largest code in use.
    pub const fn limits(&self) -> IntegerLimits {
        self.limits
    }

    /// The scale of a group: `abs_max` over the span of the codes, rounded to f32 and then to the scale format. A group
    /// of zeros gets the scale 1, which makes all its codes 0. One whose scale underflows gets the smallest positive f32
    /// where values are divided by it, and else the scale 1 too: the reciprocal would be infinite.
    pub fn scale(&self, abs_max: f32) -> f32 {
        let scale = abs_max / self.span;
        if *self.scale_format != FP32 {
            let code = self.scale_format.encode_f32(scale, Rounding::NearestEven, Overflow::NonFinite);
            let scale = self.scale_format.decode(code) as f32;
            return if scale == 0.0 { 1.0 } else { scale };
        }
        match self.arithmetic {
            ScaleArithmetic::Divide => positive_scale(abs_max, scale),
            ScaleArithmetic::MultiplyByReciprocal | ScaleArithmetic::MultiplyByInverse if scale == 0.0 => 1.0,
            ScaleArithmetic::MultiplyByReciprocal | ScaleArithmetic::MultiplyByInverse => scale,
        }
    }

    /// What the values of a group of `abs_max` are divided by or multiplied with: the `factor` of the row kernels.
    pub fn factor(&self, abs_max: f32) -> f32 {
        match self.arithmetic {
            // An abs-max of zero would make 0 * infinity; any finite factor makes the codes 0.
            ScaleArithmetic::MultiplyByInverse if abs_max != 0.0 => self.span / abs_max,
            _ => self.factor_of_scale(self.scale(abs_max)),
        }
    }

    /// The factor of a scale that is given, say by a calibration, in place of an abs-max.
    pub fn factor_of_scale(&self, scale: f32) -> f32 {
        match self.arithmetic {
            ScaleArithmetic::Divide => scale,
            ScaleArithmetic::MultiplyByReciprocal | ScaleArithmetic::MultiplyByInverse => 1.0 / scale,
        }
    }

    /// Codes of `values` that share one factor, in i8. Panics for `int16`, or if the lengths differ.
    pub fn quantize_row_i8(&self, values: &[f32], factor: f32, codes: &mut [i8]) {
        assert!(self.format.storage_bits() <= 8, "{} codes do not fit i8", self.format);
        self.quantize_row(values, factor, codes, |code| code as i8);
    }

    /// Codes of `values` that share one factor, in i16. Panics if the lengths differ.
    pub fn quantize_row_i16(&self, values: &[f32], factor: f32, codes: &mut [i16]) {
        self.quantize_row(values, factor, codes, |code| code as i16);
    }

    /// Codes of `values`, each with its own factor (per-column scales), in i8. Panics for `int16`, or if the lengths
    /// differ.
    pub fn quantize_row_by_columns_i8(&self, values: &[f32], factors: &[f32], codes: &mut [i8]) {
        assert!(self.format.storage_bits() <= 8, "{} codes do not fit i8", self.format);
        self.quantize_row_by_columns(values, factors, codes, |code| code as i8);
    }

    /// Quantizes a row-major matrix. Panics if `values` does not fill `shape`.
    pub fn quantize(&self, values: &[f32], shape: MatrixShape, granularity: Granularity) -> Quantized {
        let maxima = abs_maxima(values, shape, granularity);
        let factors: Vec<f32> = maxima.iter().map(|abs_max| self.factor(*abs_max)).collect();
        let elements = if self.format.storage_bits() <= 8 {
            Elements::I8(self.quantize_with(values, shape, granularity, &factors, |code| code as i8))
        } else {
            Elements::I16(self.quantize_with(values, shape, granularity, &factors, |code| code as i16))
        };
        let codes = Tensor::try_new(shape, self.format, elements).expect("codes are clamped to the format");
        let scales = maxima.into_iter().map(|abs_max| self.scale(abs_max)).collect();
        Quantized { codes, scales, granularity }
    }

    fn quantize_with<T: Copy + Default>(
        &self,
        values: &[f32],
        shape: MatrixShape,
        granularity: Granularity,
        factors: &[f32],
        narrow: impl Fn(i32) -> T + Copy,
    ) -> Vec<T> {
        let mut codes = vec![T::default(); values.len()];
        let columns = shape.columns as usize;
        if columns == 0 {
            return codes;
        }
        let group = match granularity {
            Granularity::PerGroup { size } => Blocking::new(shape.columns, size).block() as usize,
            _ => columns,
        };
        for (row, (values, codes)) in values.chunks_exact(columns).zip(codes.chunks_exact_mut(columns)).enumerate() {
            let first = granularity.scale_index(shape, row as u64, 0);
            match granularity {
                Granularity::PerColumn | Granularity::PerColumnGroup { .. } => {
                    self.quantize_row_by_columns(values, &factors[first..first + columns], codes, narrow);
                }
                Granularity::PerTensor | Granularity::PerRow | Granularity::PerGroup { .. } => {
                    let groups = values.chunks(group).zip(codes.chunks_mut(group)).zip(&factors[first..]);
                    for ((values, codes), factor) in groups {
                        self.quantize_row(values, *factor, codes, narrow);
                    }
                }
            }
        }
        codes
    }

    fn quantize_row<T>(&self, values: &[f32], factor: f32, codes: &mut [T], narrow: impl Fn(i32) -> T) {
        assert_eq!(values.len(), codes.len(), "each value has a code");
        // The choices are made outside of the loops, so that each loop is straight-line code over the row.
        match self.arithmetic {
            ScaleArithmetic::Divide => {
                self.round_row(values.iter().map(|value| value / factor), codes, narrow);
            }
            ScaleArithmetic::MultiplyByReciprocal | ScaleArithmetic::MultiplyByInverse => {
                self.round_row(values.iter().map(|value| value * factor), codes, narrow);
            }
        }
    }

    fn quantize_row_by_columns<T>(&self, values: &[f32], factors: &[f32], codes: &mut [T], narrow: impl Fn(i32) -> T) {
        assert_eq!(values.len(), codes.len(), "each value has a code");
        assert_eq!(values.len(), factors.len(), "each value has a factor");
        let pairs = values.iter().zip(factors);
        match self.arithmetic {
            ScaleArithmetic::Divide => {
                self.round_row(pairs.map(|(value, factor)| value / factor), codes, narrow);
            }
            ScaleArithmetic::MultiplyByReciprocal | ScaleArithmetic::MultiplyByInverse => {
                self.round_row(pairs.map(|(value, factor)| value * factor), codes, narrow);
            }
        }
    }

    fn round_row<T>(&self, scaled: impl Iterator<Item = f32>, codes: &mut [T], narrow: impl Fn(i32) -> T) {
        let lowest = self.limits.minimum() as f32;
        let highest = self.limits.maximum() as f32;
        let scaled = scaled.map(|value| {
            // Clamping before rounding gives the same code, because the limits are integers.
            let value = if value.is_nan() { 0.0 } else { value };
            value.clamp(lowest, highest)
        });
        match self.rounding {
            Rounding::NearestEven => write_codes(scaled.map(nearest_even), codes, narrow),
            Rounding::NearestAway => write_codes(scaled.map(|value| value.round() as i32), codes, narrow),
            // The conversion of the language truncates.
            Rounding::TowardZero => write_codes(scaled.map(|value| value as i32), codes, narrow),
        }
    }
}

/// Rounds a value below 2^22 in magnitude: the sum with 1.5 * 2^23 has no room for a fraction, so the addition rounds to
/// the nearest integer, ties to even, and leaves it in the low bits. Unlike a rounding instruction, every processor
/// does this on whole vectors.
fn nearest_even(value: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32
}

fn write_codes<T>(rounded: impl Iterator<Item = i32>, codes: &mut [T], narrow: impl Fn(i32) -> T) {
    for (code, rounded) in codes.iter_mut().zip(rounded) {
        *code = narrow(rounded);
    }
}

/// The scale of a scope of `abs_max` whose rounded quotient is `scale`: 1 for zeros, and never 0.
pub(super) fn positive_scale(abs_max: f32, scale: f32) -> f32 {
    /// 2^-149, the smallest positive f32.
    const SMALLEST: f32 = f32::from_bits(1);
    match (abs_max == 0.0, scale == 0.0) {
        (true, _) => 1.0,
        (false, true) => SMALLEST,
        (false, false) => scale,
    }
}

impl Quantized {
    /// The values, row-major: `code * scale` in f32.
    pub fn dequantize(&self) -> Vec<f32> {
        let shape = self.codes.shape();
        let mut values = self.codes.to_f32();
        for row in 0..shape.rows {
            for column in 0..shape.columns {
                let scale = self.scales[self.granularity.scale_index(shape, row, column)];
                values[(row * shape.columns + column) as usize] *= scale;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats::{BF16, INT4, INT8, INT16, UINT8};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn int8() -> SymmetricQuantizer {
        SymmetricQuantizer::try_new(&INT8).unwrap()
    }

    #[test]
    fn only_signed_integers_of_up_to_16_bits_are_accepted() {
        for format in [&UINT8, &FP32] {
            assert_eq!(SymmetricQuantizer::try_new(format), Err(UnsupportedFormat { format }));
        }
        assert!(SymmetricQuantizer::try_new(&INT16).is_ok());
    }

    #[test]
    fn scales_are_those_of_the_named_libraries() {
        // torchao 0.18: SYMMETRIC_NO_CLIPPING_ERR amax / 7, SYMMETRIC amax / 7.5; 7.5 and 15 are exact.
        let int4 = SymmetricQuantizer::try_new(&INT4).unwrap();
        assert_eq!(int4.scale(14.0), 2.0);
        assert_eq!(int4.with_range(IntegerRange::Full).scale(15.0), 2.0);
        // 1/127 = 0.0078740157; bf16 keeps 8 significant bits: 129 * 2^-14.
        assert_eq!(int8().with_scale_format(&BF16).scale(1.0), 129.0 / 16384.0);
    }

    #[test]
    fn ties_round_as_named_and_codes_stop_at_the_range() {
        // With the factor 1 the codes are the rounded values.
        let values = [0.5, 1.5, -2.5, 126.5, -127.0, 127.0, -0.4];
        let codes = |quantizer: SymmetricQuantizer| {
            let mut codes = [0; 7];
            quantizer.quantize_row_i8(&values, 1.0, &mut codes);
            codes
        };
        assert_eq!(codes(int8()), [0, 2, -2, 126, -127, 127, 0]);
        assert_eq!(codes(int8().with_rounding(Rounding::NearestAway)), [1, 2, -3, 127, -127, 127, 0]);
        assert_eq!(codes(int8().with_rounding(Rounding::TowardZero)), [0, 1, -2, 126, -127, 127, 0]);
        // A static scale may be exceeded: symmetric stops at -127, full at -128.
        let mut clipped = [0; 2];
        int8().quantize_row_i8(&[-300.0, 300.0], 1.0, &mut clipped);
        assert_eq!(clipped, [-127, 127]);
        int8().with_range(IntegerRange::Full).quantize_row_i8(&[-300.0, 300.0], 1.0, &mut clipped);
        assert_eq!(clipped, [-128, 127]);
    }

    #[test]
    fn zeros_and_values_that_underflow_quantize_without_nan() {
        let smallest = f32::from_bits(1);
        for arithmetic in
            [ScaleArithmetic::Divide, ScaleArithmetic::MultiplyByReciprocal, ScaleArithmetic::MultiplyByInverse]
        {
            let quantizer = int8().with_arithmetic(arithmetic);
            let quantized = quantizer.quantize(&[0.0, -0.0, 0.0, 0.0], MatrixShape::new(2, 2), Granularity::PerRow);
            assert_eq!(quantized.codes.as_i8().unwrap(), [0; 4]);
            assert_eq!(quantized.scales, [1.0, 1.0]);
            // 2^-149 / 127 is 0 in f32. Divided by the smallest scale the code is 1; 1 / 2^-149 would be infinite.
            let scale = if arithmetic == ScaleArithmetic::Divide { smallest } else { 1.0 };
            assert_eq!(quantizer.scale(smallest), scale);
        }
    }

    #[test]
    fn a_nan_becomes_code_zero_and_shows_in_the_dequantized_tensor() {
        let shape = MatrixShape::new(1, 3);
        for spoiled in [f32::NAN, f32::INFINITY] {
            let quantized = int8().quantize(&[1.0, spoiled, 2.0], shape, Granularity::PerTensor);
            assert_eq!(quantized.codes.as_i8().unwrap(), [0; 3]);
            assert!(quantized.dequantize()[1].is_nan());
        }
    }

    #[test]
    fn the_three_arithmetics_round_a_tie_each_in_its_own_way() {
        // Half of the abs-max is 63.5 steps exactly. In binary32, computed with CPython's struct module:
        // 13.5 / (27/127) = 63.5, 13.5 * (1/(27/127)) = 63.499996, 13.5 * (127/27) = 63.500004;
        // 4.5 / (9/127) = 63.499996, the other two 63.5; 5.5 of 11: 63.499996, 63.499996, 63.500004.
        let arithmetics =
            [ScaleArithmetic::Divide, ScaleArithmetic::MultiplyByReciprocal, ScaleArithmetic::MultiplyByInverse];
        for (abs_max, expected) in [(27.0, [64, 63, 64]), (9.0, [63, 64, 64]), (11.0, [63, 63, 64])] {
            let codes = arithmetics.map(|arithmetic| {
                let quantizer = int8().with_arithmetic(arithmetic);
                let mut code = [0];
                quantizer.quantize_row_i8(&[abs_max / 2.0], quantizer.factor(abs_max), &mut code);
                code[0]
            });
            assert_eq!(codes, expected, "{abs_max}");
        }
    }

    #[test]
    fn a_matrix_is_quantized_like_its_groups_one_by_one() {
        let shape = MatrixShape::new(3, 5);
        let values: Vec<f32> = (0..15).map(|index| ((index * 37) % 29) as f32 - 11.3).collect();
        for granularity in [
            Granularity::PerTensor,
            Granularity::PerRow,
            Granularity::PerColumn,
            Granularity::PerGroup { size: 2 },
            Granularity::PerColumnGroup { size: 2 },
        ] {
            let quantized = int8().quantize(&values, shape, granularity);
            let maxima = abs_maxima(&values, shape, granularity);
            for (index, value) in values.iter().enumerate() {
                let scale = granularity.scale_index(shape, index as u64 / 5, index as u64 % 5);
                assert_eq!(quantized.scales[scale], maxima[scale] / 127.0);
                let expected = (value / quantized.scales[scale]).round_ties_even() as i8;
                assert_eq!(quantized.codes.as_i8().unwrap()[index], expected, "{granularity:?}");
                assert_eq!(quantized.dequantize()[index], f32::from(expected) * quantized.scales[scale]);
            }
        }
    }

    proptest! {
        #[test]
        fn the_addition_that_rounds_is_round_ties_even(value in -2_000_000.0f32..2_000_000.0, halves in -40_000i32..40_000) {
            for value in [value, halves as f32 * 0.5, (halves as f32 * 0.5).next_up()] {
                prop_assert_eq!(nearest_even(value), value.round_ties_even() as i32);
            }
        }

        #[test]
        fn the_error_of_a_code_is_at_most_half_a_step(values in proptest::collection::vec(-1e6f32..1e6, 1..40)) {
            let shape = MatrixShape::new(1, values.len() as u64);
            for format in [&INT4, &INT8, &INT16] {
                let quantized = SymmetricQuantizer::try_new(format).unwrap().quantize(&values, shape, Granularity::PerRow);
                for (value, back) in values.iter().zip(quantized.dequantize()) {
                    // Half a step, and the roundings of f32 on the way.
                    prop_assert!((value - back).abs() <= 0.50001 * quantized.scales[0] + value.abs() * 1e-6);
                }
            }
        }

        #[test]
        fn any_bits_quantize_without_panic(bits in proptest::collection::vec(any::<u32>(), 1..20)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let shape = MatrixShape::new(1, values.len() as u64);
            let quantized = int8().quantize(&values, shape, Granularity::PerRow);
            prop_assert!(quantized.codes.as_i8().unwrap().iter().all(|code| *code >= -127));
        }
    }
}
