//! Block quantization: scales, codes and values of four MX libraries and of NVFP4.

use crate::numerics::block::{self, BlockFormat, BlockOptions, BlockTensor, ScaleRule, Scaling, TinyBlocks};
use crate::numerics::formats::{ElementFormat, Rounding};
use crate::numerics::quantize::{IntegerRange, abs_max};
use crate::numerics::tensor::ElementsView;
use crate::shape::MatrixShape;
use crate::validate::ValidateError;
use crate::validate::comparison::ZeroSign;
use crate::validate::folder::Case;
use crate::validate::numerics::{Findings, mantissa, near_power_of_two};

const LOGARITHM: &str = "the library takes the float32 log2 of an abs-max next to a power of two";
const HALVED: &str = "torchao halves or loses values under scale code 0";
const INFINITY: &str = "an infinity leaves the block finite in this library";
const ZERO_SCALE: &str = "microxcaling gives integer blocks of zeros the scale code 1";
const QUARK_INTEGERS: &str =
    "Quark rounds the abs-max of an int8 block at eight bits, or loses bits of a scale near 2^-126";
const CODES_OF_NAN: &str = "codes under a scale that is NaN have no meaning";

/// What is known of one block.
#[derive(Clone, Copy)]
pub(super) struct BlockFacts {
    abs_max: f32,
    /// The scale code of this crate.
    scale: u8,
    /// Of `scale_exact`, where the reference marks blocks.
    marked_inexact: bool,
}

/// What is left out of one block, and why.
#[derive(Clone, Copy)]
pub(super) struct Exclusion {
    block: Option<&'static str>,
    scale: Option<&'static str>,
    /// Asked for each value of the block.
    element: fn(f32) -> Option<&'static str>,
}

const NOTHING: Exclusion = Exclusion { block: None, scale: None, element: |_| None };

pub(super) fn run_microxcaling(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let options = options(case, ScaleRule::Floor, rounding(case)?)?;
    let tensor = quantized(case, mx_format(case.element_format()?, case)?, options, "x")?;
    let integer = tensor.format().element().is_integer();
    compare(case, "", &tensor, findings, |facts| Exclusion {
        block: facts.marked_inexact.then_some(LOGARITHM),
        scale: (integer && facts.abs_max == 0.0).then_some(ZERO_SCALE),
        // The same logarithm gives elements their exponent; only truncation shows it.
        element: match options.rounding {
            Rounding::TowardZero => |value| near_power_of_two(value).then_some(LOGARITHM),
            _ => |_| None,
        },
    })
}

pub(super) fn run_torchao(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let options = options(case, scale_rule(case)?, Rounding::NearestEven)?;
    let tensor = quantized(case, mx_format(case.element_format()?, case)?, options, "x")?;
    compare(case, "", &tensor, findings, torchao_quirks)
}

/// Quirks 2 and 3 of the README beside the rows.
pub(super) fn torchao_quirks(facts: BlockFacts) -> Exclusion {
    let halved = facts.scale == 0 && facts.abs_max > 0.0;
    let block = if halved { Some(HALVED) } else { facts.abs_max.is_infinite().then_some(INFINITY) };
    Exclusion { block, ..NOTHING }
}

pub(super) fn run_quark(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let rule = scale_rule(case)?;
    let options = options(case, rule, Rounding::NearestEven)?;
    let tensor = quantized(case, mx_format(case.element_format()?, case)?, options, "x")?;
    let integer = tensor.format().element().is_integer();
    compare(case, "", &tensor, findings, |facts| {
        let block = if rule == ScaleRule::Even && facts.abs_max.is_infinite() {
            Some(INFINITY)
        } else if rule != ScaleRule::Even && near_power_of_two(facts.abs_max) {
            Some(LOGARITHM)
        } else if integer && (facts.scale < 8 || rule == ScaleRule::Even && between_roundings(facts.abs_max)) {
            Some(QUARK_INTEGERS)
        } else {
            None
        };
        Exclusion { block, ..NOTHING }
    })
}

pub(super) fn run_gfloat(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let mut options = options(case, ScaleRule::Floor, Rounding::NearestEven)?;
    let format = mx_format(case.element_format()?, case)?;
    if format.element().is_integer() {
        options.integer_range = IntegerRange::Full;
    }
    let tensor = quantized(case, format, options, "x")?;
    compare(case, "", &tensor, findings, |_| NOTHING)
}

pub(super) fn run_nvfp4(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let name = match case.integer("levels")? {
        1 => "nvfp4_one_level",
        2 => "nvfp4",
        other => return Err(case.error(format!("`levels` is {other}; known are 1 and 2"))),
    };
    let format = block::by_name(name).ok_or_else(|| case.error(format!("there is no block format `{name}`")))?;
    let options = BlockOptions { block: Some(case.count("block")? as u64), ..BlockOptions::default() };
    let (rows, columns) = case.matrix("x")?;
    let mut quantizer = format.quantizer(options).map_err(|problem| case.error(problem.to_string()))?;
    let values = case.floats("x")?;
    if case.has("tensor_scale") {
        let expected = case.doubles("tensor_scale")?;
        case.expect_length("tensor_scale", expected.len(), 1)?;
        let found = quantizer.tensor_scale_of(abs_max(values));
        let place = || format!("{} tensor scale", case.id);
        findings.equality.record_float(f64::from(found), expected[0], ZeroSign::Compared, place);
        quantizer = quantizer.with_tensor_scale(found);
    }
    let tensor = quantizer.quantize(values, MatrixShape::new(rows as u64, columns as u64));
    compare(case, "", &tensor, findings, |_| NOTHING)
}

/// The block format of power-of-two scales with these elements.
pub(super) fn mx_format(
    element: &'static ElementFormat,
    case: &Case<'_>,
) -> Result<&'static BlockFormat, ValidateError> {
    let mut formats = block::ALL.iter().copied();
    let found = formats.find(|format| format.element() == element && format.scaling() == Scaling::PowerOfTwo);
    found.ok_or_else(|| case.error(format!("there is no MX format of {element} elements")))
}

/// The options that the fields of a case state.
pub(super) fn options(
    case: &Case<'_>,
    scale_rule: ScaleRule,
    rounding: Rounding,
) -> Result<BlockOptions, ValidateError> {
    let flushes = case.field("flush_fp32_subnorms").and_then(serde_json::Value::as_bool) == Some(true);
    Ok(BlockOptions {
        rounding,
        scale_rule,
        tiny_blocks: if flushes { TinyBlocks::Flush } else { TinyBlocks::Keep },
        block: Some(case.count("block")? as u64),
        ..BlockOptions::default()
    })
}

/// microxcaling's names of roundings.
pub(super) fn rounding(case: &Case<'_>) -> Result<Rounding, ValidateError> {
    match case.text("round")? {
        "nearest" => Ok(Rounding::NearestAway),
        "even" => Ok(Rounding::NearestEven),
        "floor" => Ok(Rounding::TowardZero),
        other => Err(case.error(format!("`round` is `{other}`; known are nearest, even, floor"))),
    }
}

pub(super) fn scale_rule(case: &Case<'_>) -> Result<ScaleRule, ValidateError> {
    match case.text("scale_mode")?.to_lowercase().as_str() {
        "floor" => Ok(ScaleRule::Floor),
        "ceil" => Ok(ScaleRule::Ceil),
        "even" => Ok(ScaleRule::Even),
        "rceil" => Ok(ScaleRule::RoundUp),
        other => Err(case.error(format!("`scale_mode` is `{other}`; known are floor, ceil, even, rceil"))),
    }
}

/// Array `name`, blocks along its rows.
pub(super) fn quantized(
    case: &Case<'_>,
    format: &'static BlockFormat,
    options: BlockOptions,
    name: &str,
) -> Result<BlockTensor, ValidateError> {
    let (rows, columns) = case.matrix(name)?;
    let quantizer = format.quantizer(options).map_err(|problem| case.error(problem.to_string()))?;
    Ok(quantizer.quantize(case.floats(name)?, MatrixShape::new(rows as u64, columns as u64)))
}

/// Element codes, integers with their sign.
pub(super) fn codes_of(tensor: &BlockTensor) -> Vec<i64> {
    match tensor.codes().view().elements() {
        ElementsView::I8(codes) => codes.iter().map(|&code| i64::from(code)).collect(),
        ElementsView::Code8(codes) => codes.iter().map(|&code| i64::from(code)).collect(),
        _ => unreachable!("block elements have at most eight bits"),
    }
}

/// Compares the arrays `{prefix}scale`, `{prefix}codes`, `{prefix}dequant` and `{prefix}dequant64` that the case has.
/// Values compare without the sign of zero, and so do codes of zero.
pub(super) fn compare(
    case: &Case<'_>,
    prefix: &str,
    tensor: &BlockTensor,
    findings: &mut Findings,
    exclusion: impl Fn(BlockFacts) -> Exclusion,
) -> Result<(), ValidateError> {
    let name = |array: &str| format!("{prefix}{array}");
    let (rows, columns) = (tensor.shape().rows as usize, tensor.shape().columns as usize);
    let block = tensor.block() as usize;
    let blocks = columns.div_ceil(block);
    let source = case.floats(if prefix.is_empty() { "x" } else { prefix.trim_end_matches('_') })?;
    let integers = |array: &str, length: usize| -> Result<Option<&[i64]>, ValidateError> {
        let array = name(array);
        if !case.has(&array) {
            return Ok(None);
        }
        let values = case.integers(&array)?;
        case.expect_length(&array, values.len(), length)?;
        Ok(Some(values))
    };
    let (scales, codes) = (integers("scale", rows * blocks)?, integers("codes", rows * columns)?);
    let exact = integers("scale_exact", rows * blocks)?;
    let mut values = None;
    for array in ["dequant", "dequant64"].map(name) {
        if case.has(&array) {
            let expected = case.doubles(&array)?;
            case.expect_length(&array, expected.len(), rows * columns)?;
            values = Some(expected);
        }
    }
    let (found_codes, found_values) = (codes_of(tensor), tensor.dequantize());
    let found_scales = tensor.scales().as_code8().expect("block scales are bytes");
    let element = tensor.format().element();
    for row in 0..rows {
        for index in 0..blocks {
            let scale_at = row * blocks + index;
            let elements = row * columns + index * block..row * columns + columns.min((index + 1) * block);
            let facts = BlockFacts {
                abs_max: abs_max(&source[elements.clone()]),
                scale: found_scales[scale_at],
                marked_inexact: exact.is_some_and(|exact| exact[scale_at] == 0),
            };
            let exclusion = exclusion(facts);
            let equality = &mut findings.equality;
            if let Some(reason) = exclusion.block {
                let arrays = usize::from(codes.is_some()) + usize::from(values.is_some());
                equality.exclude((arrays * elements.len() + usize::from(scales.is_some())) as u64, reason);
                continue;
            }
            if let Some(scales) = scales {
                match exclusion.scale {
                    Some(reason) => equality.exclude(1, reason),
                    None => equality.record_integer(i64::from(facts.scale), scales[scale_at], || {
                        format!("{} {prefix}scale of row {row} block {index}", case.id)
                    }),
                }
            }
            if let Some(codes) = codes {
                if facts.abs_max.is_finite() {
                    for at in elements.clone() {
                        // Integers come with or without their sign.
                        let bits = |code: i64| code as u32 & element.code_mask();
                        let zero = |code: i64| element.decode(bits(code)) == 0.0;
                        let (found, expected) = (found_codes[at], codes[at]);
                        let equal = bits(found) == bits(expected) || zero(found) && zero(expected);
                        equality.record(equal, || format!("{} {prefix}code {at} is {found}, not {expected}", case.id));
                    }
                } else {
                    equality.exclude(elements.len() as u64, CODES_OF_NAN);
                }
            }
            if let Some(values) = &values {
                for at in elements {
                    if let Some(reason) = (exclusion.element)(source[at]) {
                        equality.exclude(1, reason);
                        continue;
                    }
                    let place = || format!("{} {prefix}dequant {at}", case.id);
                    equality.record_float(f64::from(found_values[at]), values[at], ZeroSign::Ignored, place);
                }
            }
        }
    }
    Ok(())
}

/// Carries into the next binade when rounded at six bits below the leading one, and does not at eight.
fn between_roundings(abs_max: f32) -> bool {
    let Some(mantissa) = mantissa(abs_max) else { return false };
    ((1 << 23) - (1 << 16)..(1 << 23) - (1 << 14)).contains(&mantissa)
}

#[cfg(test)]
mod tests {
    use super::between_roundings;

    #[test]
    fn six_and_eight_bits_part_between_their_thresholds() {
        // Half a unit below 2: 2 - 2^-7 for six bits, 2 - 2^-9 for eight.
        assert!(between_roundings(2.0 - 2f32.powi(-7)) && between_roundings((2.0 - 2f32.powi(-9)).next_down()));
        assert!(!between_roundings((2.0 - 2f32.powi(-7)).next_down()) && !between_roundings(2.0 - 2f32.powi(-9)));
    }
}
