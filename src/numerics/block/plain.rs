//! The definition of every block format, one value at a time in f64, against which the fast path is tested.
//!
//! It shares only the descriptors and the codec of `formats` with the code under test: the exponent of the abs-max is
//! found by comparing it with powers of two, not from bits.

use crate::numerics::block::{BlockFormat, BlockOptions, ScaleRule, Scaling, TinyBlocks};
use crate::numerics::float_bits::power_of_two_f64;
use crate::numerics::formats::{ElementFormat, FP8_E4M3, Overflow, Rounding};
use crate::numerics::quantize::IntegerRange;

/// One quantized row.
pub(crate) struct PlainRow {
    pub(crate) codes: Vec<u32>,
    pub(crate) scales: Vec<u32>,
    pub(crate) values: Vec<f32>,
}

/// The options without what does not apply to the format.
pub(crate) fn applicable(format: &BlockFormat, mut options: BlockOptions) -> BlockOptions {
    if !format.element().is_integer() {
        options.integer_range = IntegerRange::Symmetric;
    }
    if format.scaling() != Scaling::PowerOfTwo {
        options.scale_rule = ScaleRule::Floor;
        options.tiny_blocks = TinyBlocks::Keep;
    }
    options
}

/// Bits of a value, all NaNs equal.
pub(crate) fn comparable(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

pub(crate) fn quantize_row(format: &BlockFormat, options: BlockOptions, values: &[f32]) -> PlainRow {
    let mut row = PlainRow { codes: Vec::new(), scales: Vec::new(), values: Vec::new() };
    let tensor_scale = match format.scaling() {
        Scaling::Fp8 { tensor_scale: true } => match largest(values) {
            0.0 => 1.0,
            largest if largest as f32 / 2688.0 == 0.0 => power_of_two_f64(-149) as f32,
            largest => largest as f32 / 2688.0,
        },
        _ => 1.0,
    };
    for block in values.chunks(options.block.unwrap_or(format.block()) as usize) {
        match format.scaling() {
            Scaling::PowerOfTwo => power_of_two_block(format, options, block, &mut row),
            Scaling::Fp8 { .. } => fp8_block(format, options, block, tensor_scale, &mut row),
            Scaling::Float { scale } => float_block(format, (options, scale), block, &mut row),
        }
    }
    row
}

fn power_of_two_block(format: &BlockFormat, options: BlockOptions, block: &[f32], row: &mut PlainRow) {
    let largest = largest(block);
    if !largest.is_finite() {
        return spoiled(0xFF, block, row);
    }
    let scale = scale_exponent(format, options.scale_rule, largest);
    row.scales.push((scale + 127) as u32);
    for value in block {
        let value = if options.tiny_blocks == TinyBlocks::Flush && largest < power_of_two_f64(-126) {
            value * 0.0
        } else {
            *value
        };
        let unscaled = f64::from(value) * power_of_two_f64(-scale) * power_of_two_f64(-format.implicit_exponent());
        let code = element(format, options, unscaled);
        row.codes.push(code);
        row.values.push((format.element_value(code) * power_of_two_f64(scale)) as f32);
    }
}

fn fp8_block(format: &BlockFormat, options: BlockOptions, block: &[f32], tensor_scale: f32, row: &mut PlainRow) {
    let largest = largest(block) as f32;
    let wanted = (largest / 6.0 / tensor_scale).max(power_of_two_f64(-6) as f32).min(448.0);
    let code = FP8_E4M3.encode_f32(wanted, Rounding::NearestEven, Overflow::Saturate);
    let scale = FP8_E4M3.decode(code) as f32;
    if !largest.is_finite() || !tensor_scale.is_finite() {
        return spoiled(0x7F, block, row);
    }
    row.scales.push(code);
    for value in block {
        let factor = 1.0 / tensor_scale / scale;
        let scaled = if factor.is_finite() { value * factor } else { value / tensor_scale / scale };
        let code = element(format, options, f64::from(scaled));
        row.codes.push(code);
        row.values.push(format.element_value(code) as f32 * (tensor_scale * scale));
    }
}

fn float_block(
    format: &BlockFormat,
    (options, scale_format): (BlockOptions, &'static ElementFormat),
    block: &[f32],
    row: &mut PlainRow,
) {
    let round = |value: f32| scale_format.encode_f32(value, Rounding::NearestEven, Overflow::Saturate);
    let largest = largest(block) as f32;
    let mut code = round(largest / format.largest_element() as f32);
    if scale_format.decode(code) == 0.0 {
        code = if largest == 0.0 { round(1.0) } else { 1 };
    }
    let scale = scale_format.decode(code) as f32;
    if !largest.is_finite() {
        return spoiled(round(f32::NAN), block, row);
    }
    row.scales.push(code);
    for value in block {
        let scaled = if (1.0 / scale).is_finite() { value * (1.0 / scale) } else { value / scale };
        let code = element(format, options, f64::from(scaled));
        row.codes.push(code);
        row.values.push(format.element_value(code) as f32 * scale);
    }
}

fn spoiled(scale: u32, block: &[f32], row: &mut PlainRow) {
    row.scales.push(scale);
    row.codes.extend(block.iter().map(|_| 0));
    row.values.extend(block.iter().map(|_| f32::NAN));
}

fn element(format: &BlockFormat, options: BlockOptions, unscaled: f64) -> u32 {
    let limited = match (format.element().is_integer(), options.integer_range) {
        (true, IntegerRange::Symmetric) => unscaled.max(-format.element().max_finite()),
        _ => unscaled,
    };
    format.element().encode(limited, options.rounding, Overflow::Saturate)
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest: f64, value| {
        let magnitude = f64::from(value.abs());
        if largest.is_nan() || magnitude.is_nan() { f64::NAN } else { largest.max(magnitude) }
    })
}

fn scale_exponent(format: &BlockFormat, rule: ScaleRule, largest: f64) -> i32 {
    if largest == 0.0 {
        return -127;
    }
    let emax = floor_log2(format.largest_element());
    let exponent = match rule {
        ScaleRule::Floor => floor_log2(largest) - emax,
        ScaleRule::Ceil => ceil_log2(largest) - emax,
        ScaleRule::Even => {
            // Rounded to the mantissa of the elements, ties up: half a unit is added and the exponent read.
            let half_unit = power_of_two_f64(floor_log2(largest) - format.mantissa_bits() as i32 - 1);
            floor_log2(largest + half_unit) - emax
        }
        ScaleRule::RoundUp => match largest as f32 / format.largest_element() as f32 {
            0.0 => -127,
            quotient => ceil_log2(f64::from(quotient)),
        },
    };
    exponent.clamp(-127, 127)
}

fn floor_log2(value: f64) -> i32 {
    (-200..=200).rev().find(|exponent| power_of_two_f64(*exponent) <= value).expect("an f32 magnitude")
}

fn ceil_log2(value: f64) -> i32 {
    (-200..=200).find(|exponent| power_of_two_f64(*exponent) >= value).expect("an f32 magnitude")
}
