//! Rows of f32 to codes and block scales.

use std::ops::Range;

use crate::numerics::block::encoder::ElementEncoder;
use crate::numerics::block::scale_rule::{LARGEST_EXPONENT, ScaleExponent, ScaleRule};
use crate::numerics::block::{BlockError, BlockFormat, BlockOptions, BlockTensor, MXFP8_E4M3, Scaling, TinyBlocks};
use crate::numerics::float_bits::{power_of_two_f32, power_of_two_f64};
use crate::numerics::formats::{ElementFormat, FP8_E4M3, Overflow, Rounding};
use crate::numerics::quantize::{IntegerRange, abs_max};
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;

/// Quantizes to one block format with one set of options.
///
/// A block of power-of-two scale `2^s` holds `round(value * 2^-s)`; the product is exact. NVFP4 follows torchao bit for
/// bit, each operation rounded to f32: the scale is `E4M3(clamp(abs_max / 6 / tensor_scale, 2^-6, 448))`, an element is
/// `E2M1(value * (1 / tensor_scale / scale))`.
///
/// A finite block never becomes NaN. Where a reciprocal is beyond f32, which happens below an abs-max of 2^-116.5 (7.9e-36),
/// values are divided by both scales instead (torchao 0.18 clamps such blocks to +-6 there, so there is nothing to agree
/// with). A float scale beyond its format becomes the largest finite one, and the values above are clipped; one
/// below becomes the smallest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockQuantizer {
    format: &'static BlockFormat,
    options: BlockOptions,
    block: usize,
    scale_exponent: ScaleExponent,
    encoder: ElementEncoder,
    /// Rounds E4M3 scales.
    scale_encoder: ElementEncoder,
    tensor_scale: f32,
}

/// The scale of one block: its code, and what brings values to element units.
struct BlockScale {
    code: u32,
    units: Units,
}

/// How the values of a block are brought to element units.
#[derive(Clone, Copy)]
enum Units {
    /// Multiplied by the reciprocal of the scale.
    Multiply(f32),
    /// Divided by one scale and then by another: the reciprocal is beyond f32.
    Divide([f32; 2]),
    /// The block is NaN.
    NotANumber,
}

impl Units {
    /// Of a block whose scale is the product of two.
    fn of(abs_max: f32, scales: [f32; 2]) -> Units {
        let factor = 1.0 / scales[0] / scales[1];
        let is_number = abs_max.is_finite() && scales.iter().all(|scale| scale.is_finite());
        match (is_number, factor.is_finite()) {
            (true, true) => Units::Multiply(factor),
            (true, false) => Units::Divide(scales),
            (false, _) => Units::NotANumber,
        }
    }

    fn apply(self, value: f32) -> f32 {
        match self {
            Units::Multiply(factor) => value * factor,
            Units::Divide([first, second]) => value / first / second,
            Units::NotANumber => f32::NAN,
        }
    }
}

/// Room for the scales of a row, in the storage of their format.
#[derive(Debug)]
pub enum ScaleCodesMut<'a> {
    /// Formats of up to 8 bits.
    Code8(&'a mut [u8]),
    /// FP16.
    Code16(&'a mut [u16]),
    /// FP32.
    F32(&'a mut [f32]),
}

impl<'a> ScaleCodesMut<'a> {
    /// A part of stored scales; `None` for elements that no scale is stored in. Panics beyond their end.
    pub fn of(elements: &'a mut Elements, range: Range<usize>) -> Option<ScaleCodesMut<'a>> {
        match elements {
            Elements::Code8(codes) => Some(ScaleCodesMut::Code8(&mut codes[range])),
            Elements::Code16(codes) => Some(ScaleCodesMut::Code16(&mut codes[range])),
            Elements::F32(values) => Some(ScaleCodesMut::F32(&mut values[range])),
            Elements::I8(_) | Elements::I16(_) | Elements::I32(_) => None,
        }
    }
}

/// E8M0 and E4M3 codes of NaN.
const POWER_OF_TWO_NAN: u32 = 0xFF;
const FP8_NAN: u32 = 0x7F;

impl BlockQuantizer {
    pub(crate) fn try_new(format: &'static BlockFormat, options: BlockOptions) -> Result<BlockQuantizer, BlockError> {
        let block = options.block.unwrap_or(format.block());
        if block == 0 {
            return Err(BlockError::EmptyBlock { format });
        }
        if options.integer_range != IntegerRange::Symmetric && !format.element().is_integer() {
            return Err(BlockError::NotAnInteger { format, element: format.element() });
        }
        let plain_scale = options.scale_rule == ScaleRule::Floor && options.tiny_blocks == TinyBlocks::Keep;
        if !plain_scale && format.scaling() != Scaling::PowerOfTwo {
            return Err(BlockError::NotAPowerOfTwo { format, scale: format.scale() });
        }
        Ok(BlockQuantizer {
            format,
            options,
            // A block larger than memory can hold is as good as any larger than the row.
            block: usize::try_from(block).unwrap_or(usize::MAX),
            scale_exponent: ScaleExponent::new(options.scale_rule, format),
            encoder: ElementEncoder::new(format, options.rounding, options.integer_range),
            scale_encoder: ElementEncoder::new(&MXFP8_E4M3, Rounding::NearestEven, IntegerRange::Symmetric),
            tensor_scale: 1.0,
        })
    }

    /// The format.
    pub const fn format(&self) -> &'static BlockFormat {
        self.format
    }

    /// The options.
    pub const fn options(&self) -> BlockOptions {
        self.options
    }

    /// Elements in a block.
    pub const fn block(&self) -> u64 {
        self.block as u64
    }

    /// Block scales of a row of `columns` elements.
    pub const fn blocks_of(&self, columns: usize) -> usize {
        columns.div_ceil(self.block)
    }

    /// The tensor scale that suits an abs-max over the tensor: `abs_max / (448 * 6)` for NVFP4, at least the smallest positive
    /// f32, and 1 for zero and for formats without one.
    pub fn tensor_scale_of(&self, abs_max: f32) -> f32 {
        if !self.format.has_tensor_scale() || abs_max == 0.0 {
            return 1.0;
        }
        let scale = abs_max / (FP8_E4M3.max_finite() * self.format.largest_element()) as f32;
        if scale == 0.0 { f32::from_bits(1) } else { scale }
    }

    /// The same quantizer under a tensor scale; formats without one ignore it.
    pub const fn with_tensor_scale(mut self, tensor_scale: f32) -> BlockQuantizer {
        if self.format.has_tensor_scale() {
            self.tensor_scale = tensor_scale;
        }
        self
    }

    /// Codes and scales of one row (or of whole blocks of it) for formats of integer elements. Returns the positions of the
    /// finite values that were clipped to the largest magnitude of an element. Panics for other formats, and unless there
    /// are as many codes as values and [`BlockQuantizer::blocks_of`] as many scales.
    pub fn quantize_row_i8(&self, values: &[f32], codes: &mut [i8], scales: ScaleCodesMut<'_>) -> Vec<usize> {
        assert!(self.format.element().is_integer(), "{} codes are not integers", self.format);
        self.quantize_row(values, codes, scales, |code| code as i8)
    }

    /// The same for formats of float elements.
    pub fn quantize_row_code8(&self, values: &[f32], codes: &mut [u8], scales: ScaleCodesMut<'_>) -> Vec<usize> {
        assert!(!self.format.element().is_integer(), "{} codes are integers", self.format);
        self.quantize_row(values, codes, scales, |code| code as u8)
    }

    /// Quantizes a row-major matrix, blocks along its rows. A format with a tensor scale takes it from the whole matrix.
    /// Panics if `values` does not fill `shape`.
    pub fn quantize(&self, values: &[f32], shape: MatrixShape) -> BlockTensor {
        assert_eq!(values.len() as u64, shape.elements(), "the values fill the shape");
        let quantizer = if self.format.has_tensor_scale() {
            self.with_tensor_scale(self.tensor_scale_of(abs_max(values)))
        } else {
            *self
        };
        let columns = shape.columns as usize;
        let scales_shape = MatrixShape::new(shape.rows, self.blocks_of(columns) as u64);
        let mut scales = Tensor::zeros(scales_shape, self.format.scale()).into_elements();
        let elements = if self.format.element().is_integer() {
            Elements::I8(quantizer.quantize_rows(values, columns, &mut scales, |code| code as i8))
        } else {
            Elements::Code8(quantizer.quantize_rows(values, columns, &mut scales, |code| code as u8))
        };
        let codes = Tensor::try_new(shape, self.format.element(), elements);
        let scales = Tensor::try_new(scales_shape, self.format.scale(), scales);
        let (codes, scales) = codes.and_then(|codes| Ok((codes, scales?))).expect("codes are within their formats");
        BlockTensor::try_new(self.format, self.block(), codes, scales, quantizer.tensor_scale)
            .expect("a quantizer writes the shapes it promises")
    }

    fn quantize_rows<T: Copy + Default>(
        &self,
        values: &[f32],
        columns: usize,
        scales: &mut Elements,
        narrow: impl Fn(i32) -> T + Copy,
    ) -> Vec<T> {
        let mut codes = vec![T::default(); values.len()];
        if columns == 0 {
            return codes;
        }
        let blocks = self.blocks_of(columns);
        let rows = values.chunks_exact(columns).zip(codes.chunks_exact_mut(columns));
        for (row, (values, codes)) in rows.enumerate() {
            let scales = ScaleCodesMut::of(scales, row * blocks..(row + 1) * blocks);
            self.quantize_row(values, codes, scales.expect("scales are made for their format"), narrow);
        }
        codes
    }

    fn quantize_row<T: Copy + Default>(
        &self,
        values: &[f32],
        codes: &mut [T],
        scales: ScaleCodesMut<'_>,
        narrow: impl Fn(i32) -> T + Copy,
    ) -> Vec<usize> {
        match scales {
            ScaleCodesMut::Code8(scales) => self.quantize_blocks(values, codes, scales, narrow, |code| code as u8),
            ScaleCodesMut::Code16(scales) => self.quantize_blocks(values, codes, scales, narrow, |code| code as u16),
            ScaleCodesMut::F32(scales) => self.quantize_blocks(values, codes, scales, narrow, f32::from_bits),
        }
    }

    fn quantize_blocks<T: Copy + Default, S>(
        &self,
        values: &[f32],
        codes: &mut [T],
        scales: &mut [S],
        narrow: impl Fn(i32) -> T + Copy,
        narrow_scale: impl Fn(u32) -> S,
    ) -> Vec<usize> {
        assert_eq!(values.len(), codes.len(), "each value has a code");
        assert_eq!(self.blocks_of(values.len()), scales.len(), "each block has a scale");
        let mut clipped = Vec::new();
        let largest = self.format.largest_element() as f32;
        let blocks = values.chunks(self.block).zip(codes.chunks_mut(self.block));
        for (index, ((values, codes), scale)) in blocks.zip(scales).enumerate() {
            let abs_max = abs_max(values);
            let found = match self.format.scaling() {
                Scaling::PowerOfTwo => self.power_of_two_scale(abs_max),
                Scaling::Fp8 { .. } => self.fp8_scale(abs_max),
                Scaling::Float { scale } => self.float_scale(scale, abs_max),
            };
            *scale = narrow_scale(found.code);
            match found.units {
                Units::Multiply(factor) => self.encoder.encode(values, factor, codes, narrow),
                Units::Divide(_) => {
                    let scaled: Vec<f32> = values.iter().map(|value| found.units.apply(*value)).collect();
                    self.encoder.encode(&scaled, 1.0, codes, narrow);
                }
                Units::NotANumber => codes.fill(T::default()),
            }
            if found.units.apply(abs_max) > largest {
                let of_block = values.iter().enumerate();
                let of_block = of_block.filter(|(_, value)| self.clips(found.units.apply(**value)));
                clipped.extend(of_block.map(|(position, _)| index * self.block + position));
            }
        }
        clipped
    }

    /// Whether a finite value, in units of the block scale, is clipped to the largest magnitude of an element.
    fn clips(&self, scaled: f32) -> bool {
        let element = self.format.element();
        let unscaled = f64::from(scaled) * power_of_two_f64(-self.format.implicit_exponent());
        let reaches_farther = self.options.integer_range == IntegerRange::Full && scaled < 0.0;
        // The most negative code is one step farther from zero than the largest.
        let unscaled = if reaches_farther { unscaled + 1.0 } else { unscaled };
        scaled.is_infinite() || element.clips(unscaled, self.options.rounding)
    }

    fn power_of_two_scale(&self, abs_max: f32) -> BlockScale {
        if !abs_max.is_finite() {
            return BlockScale { code: POWER_OF_TWO_NAN, units: Units::NotANumber };
        }
        let exponent = self.scale_exponent.of(abs_max);
        let is_flushed = self.options.tiny_blocks == TinyBlocks::Flush && abs_max < f32::MIN_POSITIVE;
        let factor = if is_flushed { 0.0 } else { power_of_two_f32(-exponent) };
        BlockScale { code: (exponent + LARGEST_EXPONENT) as u32, units: Units::Multiply(factor) }
    }

    fn fp8_scale(&self, abs_max: f32) -> BlockScale {
        /// The smallest normal E4M3 value: torchao keeps scales out of the subnormals.
        const SMALLEST: f32 = 0.015625;
        let largest = FP8_E4M3.max_finite() as f32;
        let wanted = abs_max / self.format.largest_element() as f32 / self.tensor_scale;
        let mut code = [0];
        self.scale_encoder.encode(&[wanted.clamp(SMALLEST, largest)], 1.0, &mut code, |code| code as u8);
        match Units::of(abs_max, [self.tensor_scale, FP8_E4M3.decode(code[0].into()) as f32]) {
            Units::NotANumber => BlockScale { code: FP8_NAN, units: Units::NotANumber },
            units => BlockScale { code: code[0].into(), units },
        }
    }

    fn float_scale(&self, format: &'static ElementFormat, abs_max: f32) -> BlockScale {
        /// The code of the smallest positive value of every float format.
        const SMALLEST: u32 = 1;
        let encode = |scale| format.encode_f32(scale, Rounding::NearestEven, Overflow::Saturate);
        let code = match encode(abs_max / self.format.largest_element() as f32) {
            0 if abs_max == 0.0 => encode(1.0),
            0 => SMALLEST,
            code => code,
        };
        match Units::of(abs_max, [format.decode(code) as f32, 1.0]) {
            Units::NotANumber => BlockScale { code: encode(f32::NAN), units: Units::NotANumber },
            units => BlockScale { code, units },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::block::{ALL, INT4_G32, INT4_G32_FP32, MXFP4, MXFP8_E5M2, MXINT4, MXINT8, NVFP4, plain};
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    fn dequantized(format: &'static BlockFormat, options: BlockOptions, values: &[f32]) -> Vec<f32> {
        let shape = MatrixShape::new(1, values.len() as u64);
        format.quantizer(options).unwrap().quantize(values, shape).dequantize()
    }

    #[test]
    fn a_block_without_outliers_becomes_the_published_example() {
        // Computed with Microsoft's microxcaling (round "even"); the tail of the block is empty.
        let values = [0.1, -0.3, 0.7, 1.2, -2.4, 3.3, 5.0, -7.1];
        let expected: [(&'static BlockFormat, [f32; 8]); 4] = [
            (&MXFP4, [0.0, -0.5, 0.5, 1.0, -2.0, 3.0, 4.0, -6.0]),
            (&MXINT4, [0.0, 0.0, 1.0, 1.0, -2.0, 3.0, 5.0, -7.0]),
            (&MXINT8, [0.125, -0.3125, 0.6875, 1.1875, -2.375, 3.3125, 5.0, -7.125]),
            (&MXFP8_E4M3, [0.1015625, -0.3125, 0.6875, 1.25, -2.5, 3.25, 5.0, -7.0]),
        ];
        for (format, expected) in expected {
            assert_eq!(dequantized(format, BlockOptions::default(), &values), expected, "{format}");
        }
    }

    #[test]
    fn ties_round_to_even_by_default_and_away_or_down_if_asked() {
        // The 5 fixes the scale at 1; each other value is halfway between two E2M1 values.
        let ties = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -0.25, -5.0];
        let with = |rounding| dequantized(&MXFP4, BlockOptions { rounding, ..BlockOptions::default() }, &ties);
        assert_eq!(with(Rounding::NearestEven), [0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, -0.0, -4.0]);
        assert_eq!(with(Rounding::NearestAway), [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.5, -6.0]);
        assert_eq!(with(Rounding::TowardZero), [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, -0.0, -4.0]);
    }

    #[test]
    fn the_largest_element_saturates_under_the_floor_rule_and_never_under_round_up() {
        let values = [7.9, 1.0];
        assert_eq!(dequantized(&MXFP4, BlockOptions::default(), &values), [6.0, 1.0]);
        let round_up = BlockOptions { scale_rule: ScaleRule::RoundUp, ..BlockOptions::default() };
        assert_eq!(dequantized(&MXFP4, round_up, &values), [8.0, 1.0]);
        // 1.995 rounds to 128 / 64, one more than the symmetric range; the full range has it for negative values only.
        let full = BlockOptions { integer_range: IntegerRange::Full, ..BlockOptions::default() };
        assert_eq!(dequantized(&MXINT8, BlockOptions::default(), &[-1.995, 1.995]), [-1.984375, 1.984375]);
        assert_eq!(dequantized(&MXINT8, full, &[-1.995, 1.995]), [-2.0, 1.984375]);
    }

    #[test]
    fn a_nan_or_infinity_makes_its_block_nan_and_leaves_the_others_alone() {
        for format in ALL.iter().filter(|format| !format.has_tensor_scale()) {
            for spoiled in [f32::NAN, f32::NEG_INFINITY] {
                let options = BlockOptions { block: Some(2), ..BlockOptions::default() };
                let largest = format.largest_element() as f32;
                let found = dequantized(format, options, &[6.0, spoiled, largest, -largest]);
                assert!(found[0].is_nan() && found[1].is_nan(), "{format}");
                assert_eq!(found[2..], [largest, -largest], "{format}");
            }
        }
        // The scale of the tensor covers all blocks, so there all are NaN.
        assert!(dequantized(&NVFP4, BlockOptions::default(), &[1.0, f32::NAN]).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn a_block_of_zeros_has_the_scale_code_0_and_gives_zeros() {
        let quantizer = MXFP8_E5M2.quantizer(BlockOptions::default()).unwrap();
        let (mut codes, mut scales) = ([1; 40], [1; 2]);
        quantizer.quantize_row_code8(&[0.0; 40], &mut codes, ScaleCodesMut::Code8(&mut scales));
        assert_eq!((codes, scales), ([0; 40], [0; 2]));
        for format in ALL {
            assert_eq!(dequantized(format, BlockOptions::default(), &[0.0, -0.0]), [0.0, 0.0], "{format}");
        }
    }

    #[test]
    fn blocks_below_the_normal_range_are_kept_or_flushed() {
        let tiny = 1.5 * power_of_two_f32(-127);
        let flush = BlockOptions { tiny_blocks: TinyBlocks::Flush, ..BlockOptions::default() };
        assert_eq!(dequantized(&MXINT8, BlockOptions::default(), &[tiny, -tiny]), [tiny, -tiny]);
        assert_eq!(dequantized(&MXINT8, flush, &[tiny, -tiny]), [0.0, 0.0]);
        assert_eq!(dequantized(&MXINT8, flush, &[f32::MIN_POSITIVE]), [f32::MIN_POSITIVE]);
    }

    #[test]
    fn integers_in_groups_have_the_largest_magnitude_on_their_largest_code() {
        // 14 / 7 = 2 and 0.875 / 7 = 0.125 are exact in FP16; codes 3, -7 (tie 2.5 to even: 2), and 8 units of 1/8.
        let quantizer = INT4_G32.quantizer(BlockOptions { block: Some(3), ..BlockOptions::default() }).unwrap();
        let quantized = quantizer.quantize(&[6.0, -14.0, 5.0, 0.875, 0.25, -0.3], MatrixShape::new(1, 6));
        assert_eq!(quantized.codes().as_i8().unwrap(), [3, -7, 2, 7, 2, -2]);
        assert_eq!(quantized.scales().to_f32(), [2.0, 0.125]);
        // 1/7 in FP16 is 1170 * 2^-13, in FP32 the nearest to 0.142857...
        let scale = |format: &'static BlockFormat| {
            format
                .quantizer(BlockOptions::default())
                .unwrap()
                .quantize(&[1.0], MatrixShape::new(1, 1))
                .scales()
                .to_f32()
        };
        assert_eq!(scale(&INT4_G32), [1170.0 / 8192.0]);
        assert_eq!(scale(&INT4_G32_FP32), [1.0 / 7.0]);
        // Zeros have the scale 1; a magnitude whose scale is beyond FP16 is clipped to 7 * 65504, and one whose scale is
        // below FP16 has the smallest, 2^-24.
        assert_eq!(dequantized(&INT4_G32, BlockOptions::default(), &[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(dequantized(&INT4_G32, BlockOptions::default(), &[1e6, -65504.0]), [458_528.0, -65504.0]);
        let tiny = power_of_two_f32(-24);
        assert_eq!(dequantized(&INT4_G32, BlockOptions::default(), &[3.0 * tiny, -tiny]), [3.0 * tiny, -tiny]);
        assert_eq!(dequantized(&INT4_G32_FP32, BlockOptions::default(), &[7e6, 1e6]), [7e6, 1e6]);
    }

    #[test]
    fn the_scales_of_nvfp4_follow_from_the_largest_magnitudes() {
        // 6 * 448 = 2688: the tensor scale is 1, the first block has the largest scale 448, the second 1 (6 / 6).
        let mut values = [0.0f32; 32];
        (values[0], values[16], values[17]) = (2688.0, 6.0, -0.75);
        let quantized = NVFP4.quantizer(BlockOptions::default()).unwrap().quantize(&values, MatrixShape::new(1, 32));
        assert_eq!(quantized.tensor_scale(), 1.0);
        assert_eq!(quantized.scales().to_f32(), [448.0, 1.0]);
        assert_eq!(quantized.dequantize()[16..18], [6.0, -1.0]);
        // Without the tensor scale, one block of 1e6 saturates at 448 * 6.
        let one_level = crate::numerics::block::NVFP4_ONE_LEVEL.quantizer(BlockOptions::default()).unwrap();
        assert_eq!(one_level.quantize(&[1e6], MatrixShape::new(1, 1)).dequantize(), [2688.0]);
    }

    #[test]
    fn a_value_beyond_the_largest_element_is_clipped_and_one_that_only_rounds_to_it_is_not() {
        let clipped_by = |quantizer: BlockQuantizer, values: &[f32]| {
            let blocks = quantizer.blocks_of(values.len());
            let mut scales =
                Tensor::zeros(MatrixShape::new(1, blocks as u64), quantizer.format().scale()).into_elements();
            let scales = ScaleCodesMut::of(&mut scales, 0..blocks).unwrap();
            if quantizer.format().element().is_integer() {
                quantizer.quantize_row_i8(values, &mut vec![0; values.len()], scales)
            } else {
                quantizer.quantize_row_code8(values, &mut vec![0; values.len()], scales)
            }
        };
        let clipped = |format: &'static BlockFormat, options: BlockOptions, values: &[f32]| {
            clipped_by(format.quantizer(options).unwrap(), values)
        };
        let defaults = BlockOptions::default();
        // The floor rule gives 7.9 the scale 1, under which 7 is halfway between 6 and 8 and 6.9 rounds to 6.
        assert_eq!(clipped(&MXFP4, defaults, &[7.9, 6.9, -7.0, 1.0]), [0, 2]);
        let round_up = BlockOptions { scale_rule: ScaleRule::RoundUp, ..defaults };
        assert_eq!(clipped(&MXFP4, round_up, &[7.9, 6.9, -7.0, 1.0]), [0usize; 0]);
        // 128 / 64 is beyond the symmetric range; the full range has it on the negative side.
        let full = BlockOptions { integer_range: IntegerRange::Full, ..defaults };
        assert_eq!(clipped(&MXINT8, defaults, &[-1.995, 1.995, 1.98]), [0, 1]);
        assert_eq!(clipped(&MXINT8, full, &[-1.995, 1.995, 1.98, -1.999]), [1]);
        // Positions are those of the row, not of the block.
        let pairs = BlockOptions { block: Some(2), ..defaults };
        assert_eq!(clipped(&MXFP4, pairs, &[1.0, 1.0, 7.9, 1.0, 1.0, 7.9]), [2, 5]);
        // Under a tensor scale of 2^-100 that was given, 2^127 is 2^218 in units of a block, beyond f32.
        let tiny_scale = NVFP4.quantizer(defaults).unwrap().with_tensor_scale(power_of_two_f32(-100));
        assert_eq!(clipped_by(tiny_scale, &[power_of_two_f32(127), 0.0]), [0]);
        // 7 * 65504 = 458528 is the most that FP16 scales reach; 491280 is halfway to the next step.
        assert_eq!(clipped(&INT4_G32, defaults, &[1e6, 491_281.0, -491_279.0, 0.0]), [0, 1]);
        assert_eq!(clipped(&INT4_G32, defaults, &[1e5, 1.0]), [0usize; 0]);
        assert_eq!(clipped(&crate::numerics::block::NVFP4_ONE_LEVEL, defaults, &[1e6, 3136.1, 3135.0]), [0, 1]);
    }

    /// 32 values in a straight line from -2^exponent to 2^exponent.
    fn line(exponent: i32) -> Vec<f32> {
        let steps = (0..32).map(|step| (2.0 * f64::from(step) / 31.0 - 1.0) * power_of_two_f64(exponent));
        steps.map(|value| value as f32).collect()
    }

    #[test]
    fn a_finite_tensor_of_any_size_stays_finite() {
        for exponent in -149..=127 {
            for format in ALL {
                let found = dequantized(format, BlockOptions::default(), &line(exponent));
                assert!(found.iter().all(|value| value.is_finite()), "{format} 2^{exponent}: {found:?}");
            }
        }
    }

    #[test]
    fn nvfp4_keeps_a_tensor_whose_second_scale_would_be_zero() {
        // 6 * 2^-149 / 2688 is 0 in f32; under the tensor scale 2^-149 the block scale is 1 and the codes are 6 and -3.
        let unit = f32::from_bits(1);
        assert_eq!(dequantized(&NVFP4, BlockOptions::default(), &[6.0 * unit, -3.0 * unit]), [6.0 * unit, -3.0 * unit]);
    }

    /// Between the stated ends of the scales, a power of two moves the scale and leaves the codes. Where scales are floats
    /// with all their bits, that is so as long as they are normal; NVFP4's second scale makes up for subnormal first ones,
    /// until those have too few bits to bring the largest magnitude to 448.
    #[test]
    fn the_error_does_not_depend_on_the_size_of_a_tensor_within_the_range_of_its_scales() {
        let ratio = |format: &'static BlockFormat, exponent| {
            let values = line(exponent);
            let found = dequantized(format, BlockOptions::default(), &values);
            let noise: f64 = values.iter().zip(&found).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
            let signal: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
            10.0 * (signal / noise).log10()
        };
        for format in ALL {
            // Scales are 2^(e - emax) from 2^-127 on; FP16 has all its bits from 2^-14 to 65504; E4M3 alone reaches from
            // 2^-6 to 448 with all its bits.
            let (from, to) = match format.scaling() {
                Scaling::PowerOfTwo => (format.largest_exponent() - 126, 127),
                Scaling::Fp8 { tensor_scale: true } => (-126, 126),
                Scaling::Fp8 { tensor_scale: false } => (-3, 11),
                Scaling::Float { scale } if *scale == crate::numerics::formats::FP16 => {
                    (if format.largest_element() > 100.0 { -7 } else { -11 }, 18)
                }
                Scaling::Float { .. } => (-116, 127),
            };
            // Subnormal values have fewer bits themselves.
            for exponent in from.max(-120)..=to {
                let (found, expected) = (ratio(format, exponent), ratio(format, 1));
                assert!((found - expected).abs() < 0.05, "{format} 2^{exponent}: {found} dB instead of {expected} dB");
            }
        }
        // Identity weights, the figures of a straight line in 16 levels and in the eight magnitudes of E2M1.
        assert!((ratio(&INT4_G32, 10) - 23.3).abs() < 0.1 && (ratio(&NVFP4, -118) - 19.6).abs() < 0.1);
    }

    /// Values of the same magnitude, of any, and special ones.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => -8.0f32..8.0,
            4 => any::<u32>().prop_map(f32::from_bits),
            2 => (-64i32..64).prop_map(|quarters| quarters as f32 * 0.25),
            1 => (0u32..0x0100_0000).prop_map(f32::from_bits),
            1 => Just(0.0f32),
        ]
    }

    fn options() -> impl Strategy<Value = BlockOptions> {
        let rounding =
            prop_oneof![Just(Rounding::NearestEven), Just(Rounding::NearestAway), Just(Rounding::TowardZero)];
        let rule =
            prop_oneof![Just(ScaleRule::Floor), Just(ScaleRule::Ceil), Just(ScaleRule::Even), Just(ScaleRule::RoundUp)];
        let tiny = prop_oneof![Just(TinyBlocks::Keep), Just(TinyBlocks::Flush)];
        let range = prop_oneof![Just(IntegerRange::Symmetric), Just(IntegerRange::Full)];
        (rounding, rule, tiny, range, 1u64..40).prop_map(|(rounding, scale_rule, tiny_blocks, integer_range, block)| {
            BlockOptions { rounding, scale_rule, tiny_blocks, integer_range, block: Some(block) }
        })
    }

    proptest! {
        #[test]
        fn every_quantizer_equals_its_plain_definition(
            values in proptest::collection::vec(value(), 1..100),
            options in options(),
        ) {
            for format in ALL.iter().copied() {
                let options = plain::applicable(format, options);
                let quantizer = format.quantizer(options).unwrap();
                let quantized = quantizer.quantize(&values, MatrixShape::new(1, values.len() as u64));
                let expected = plain::quantize_row(format, options, &values);
                let codes: Vec<u32> = match quantized.codes().elements() {
                    Elements::I8(codes) => {
                        codes.iter().map(|code| *code as u32 & format.element().code_mask()).collect()
                    }
                    Elements::Code8(codes) => codes.iter().map(|code| u32::from(*code)).collect(),
                    other => panic!("{other:?} are no codes of a block format"),
                };
                prop_assert_eq!(codes, expected.codes, "{} {:?}", format, options);
                let wanted = expected.scales.iter().map(|code| plain::comparable(format.scale().decode(*code) as f32));
                let found = quantized.scales().to_f32();
                let found: Vec<u32> = found.iter().map(|scale| plain::comparable(*scale)).collect();
                prop_assert_eq!(found, wanted.collect::<Vec<u32>>(), "{} {:?}", format, options);
                let found: Vec<u32> = quantized.dequantize().iter().map(|value| plain::comparable(*value)).collect();
                let wanted: Vec<u32> = expected.values.iter().map(|value| plain::comparable(*value)).collect();
                prop_assert_eq!(found, wanted, "{} {:?}", format, options);
            }
        }

        #[test]
        fn quantizing_what_was_quantized_changes_nothing(values in proptest::collection::vec(-1e3f32..1e3, 1..70)) {
            // Under the floor rule the abs-max keeps its binade, so the scale stays and every value is a code.
            for format in ALL.iter().filter(|format| format.scaling() == Scaling::PowerOfTwo) {
                let once = dequantized(format, BlockOptions::default(), &values);
                prop_assert_eq!(&dequantized(format, BlockOptions::default(), &once), &once, "{}", format);
            }
        }
    }
}
