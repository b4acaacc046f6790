//! Quantization to any element format by scales that are given: what a simulated vector unit does with a row.

use crate::numerics::formats::{ElementFormat, Overflow, Rounding};
use crate::numerics::quantize::SymmetricQuantizer;
use crate::numerics::quantize::symmetric::positive_scale;

/// Quantizes rows to one element format: integers to their symmetric range, floats by a cast that saturates; ties to even.
#[derive(Clone, Copy, Debug)]
pub struct ScaledQuantizer {
    format: &'static ElementFormat,
    /// For signed integer formats.
    symmetric: Option<SymmetricQuantizer>,
}

impl ScaledQuantizer {
    /// A quantizer to `format`.
    pub fn new(format: &'static ElementFormat) -> ScaledQuantizer {
        ScaledQuantizer { format, symmetric: SymmetricQuantizer::try_new(format).ok() }
    }

    /// The scale that brings `abs_max` to the largest value of the format: `abs_max / 127` for INT8, `abs_max / 448` for
    /// FP8 E4M3. A scope of zeros gets the scale 1, which makes all its codes 0; one so small that its scale would be 0
    /// gets the smallest positive f32.
    pub fn scale(&self, abs_max: f32) -> f32 {
        match &self.symmetric {
            Some(symmetric) => symmetric.scale(abs_max),
            None => positive_scale(abs_max, abs_max / self.format.max_finite() as f32),
        }
    }

    /// Whether `value`, brought to code units as `scaled`, is finite and clipped to the largest magnitude of the format.
    pub fn clips(&self, value: f32, scale: f32) -> bool {
        let scaled = value / scale;
        let is_clipped = scaled.is_infinite() || self.format.clips(f64::from(scaled), Rounding::NearestEven);
        value.is_finite() && is_clipped
    }

    /// Codes of `values / scale` for formats held in i8: `scales` has one scale, one per value, or none. Panics for other
    /// formats, or if the lengths differ.
    pub fn quantize_i8(&self, values: &[f32], scales: &[f32], codes: &mut [i8]) {
        let symmetric = self.symmetric.expect("only signed integers are held in i8");
        match scales {
            [] => symmetric.quantize_row_i8(values, 1.0, codes),
            [scale] => symmetric.quantize_row_i8(values, symmetric.factor_of_scale(*scale), codes),
            // The default arithmetic divides, so a scale is its own factor.
            _ => symmetric.quantize_row_by_columns_i8(values, scales, codes),
        }
    }

    /// The same for floats of up to 8 bits.
    pub fn quantize_code8(&self, values: &[f32], scales: &[f32], codes: &mut [u8]) {
        self.cast(values, scales, codes, |code| code as u8);
    }

    /// The same for floats of 16 bits.
    pub fn quantize_code16(&self, values: &[f32], scales: &[f32], codes: &mut [u16]) {
        self.cast(values, scales, codes, |code| code as u16);
    }

    fn cast<C>(&self, values: &[f32], scales: &[f32], codes: &mut [C], narrow: impl Fn(u32) -> C) {
        assert_eq!(values.len(), codes.len(), "one code per value");
        assert!(scales.len() < 2 || scales.len() == values.len(), "one scale, one per value, or none");
        for (index, (value, code)) in values.iter().zip(codes).enumerate() {
            let scaled = match scales {
                [] => *value,
                [scale] => *value / scale,
                _ => *value / scales[index],
            };
            *code = narrow(self.format.encode_f32(scaled, Rounding::NearestEven, Overflow::Saturate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats::{FP8_E4M3, FP16, INT8};

    #[test]
    fn the_largest_magnitude_reaches_the_largest_code() {
        let quantizer = ScaledQuantizer::new(&FP8_E4M3);
        let scale = quantizer.scale(896.0);
        assert_eq!(scale, 2.0);
        let mut codes = [0u8; 3];
        quantizer.quantize_code8(&[896.0, -2.0, 1000.0], &[scale], &mut codes);
        // 448 = 0x7E, -1 = 0xB8, and 500 saturates to 448 (OCP OFP8, table 1).
        assert_eq!(codes, [0x7E, 0xB8, 0x7E]);
        assert_eq!(quantizer.scale(0.0), 1.0);
        // A scale for each value: 4 / 1 = 4 = 0x48 and 4 / 2 = 2 = 0x40.
        quantizer.quantize_code8(&[4.0, 4.0], &[1.0, 2.0], &mut codes[..2]);
        assert_eq!(codes[..2], [0x48, 0x40]);
    }

    #[test]
    fn a_value_is_clipped_where_its_code_would_be_beyond_the_largest() {
        // Under a scale of 2, 255 is a tie between 127 and 128 that goes to the even 128; 254.9 rounds to 127.
        let int8 = ScaledQuantizer::new(&INT8);
        let clipped = |value| [int8.clips(value, 2.0), int8.clips(-value, 2.0)];
        assert_eq!((clipped(254.9), clipped(255.0), clipped(1e30)), ([false; 2], [true; 2], [true; 2]));
        assert!(int8.clips(1e30, 1e-30), "a quotient beyond f32 is beyond the format too");
        assert!(!int8.clips(f32::INFINITY, 2.0) && !int8.clips(f32::NAN, 2.0), "there is no value to clip");
        let fp8 = ScaledQuantizer::new(&FP8_E4M3);
        assert!(!fp8.clips(464.0, 1.0) && fp8.clips(464.1, 1.0));
    }

    #[test]
    fn a_scope_of_any_size_has_a_positive_finite_scale_and_clips_nothing() {
        for format in [&INT8, &FP8_E4M3] {
            let quantizer = ScaledQuantizer::new(format);
            for exponent in -149..=127 {
                let abs_max = crate::numerics::float_bits::power_of_two_f32(exponent);
                let scale = quantizer.scale(abs_max);
                assert!(scale > 0.0 && scale.is_finite(), "{format} 2^{exponent}");
                // A subnormal scale has fewer bits, so that the quotient may miss the largest code.
                let is_exact_enough = abs_max >= 448.0 * f32::MIN_POSITIVE;
                assert!(!is_exact_enough || !quantizer.clips(abs_max, scale), "{format} 2^{exponent}");
            }
        }
        // The smallest scale is one unit of the subnormals: 50 of them are the code 50, and not 0 under a scale of 1.
        let tiny = f32::from_bits(50);
        let mut code = [0i8];
        let quantizer = ScaledQuantizer::new(&INT8);
        quantizer.quantize_i8(&[tiny], &[quantizer.scale(tiny)], &mut code);
        assert_eq!((quantizer.scale(tiny), code), (f32::from_bits(1), [50]));
    }

    #[test]
    fn without_a_scale_values_are_rounded_as_they_are() {
        let mut codes = [0u16; 2];
        // 1 + 2^-11 lies halfway between 1 and 1 + 2^-10: ties to even. 70000 saturates to 65504.
        ScaledQuantizer::new(&FP16).quantize_code16(&[1.0 + 1.0 / 2048.0, 70000.0], &[], &mut codes);
        assert_eq!(codes, [0x3C00, 0x7BFF]);
        let mut codes = [0i8; 2];
        ScaledQuantizer::new(&INT8).quantize_i8(&[2.5, -200.0], &[], &mut codes);
        assert_eq!(codes, [2, -127]);
    }
}
