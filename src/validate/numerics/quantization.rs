//! Quantization of tensors to integers: ONNX Runtime, bitsandbytes and torchao.

use crate::numerics::formats::{BF16, ElementFormat, FP32, INT8, UINT8};
use crate::numerics::quantize::{
    AffineParameters, Granularity, IntegerLimits, IntegerRange, ScaleArithmetic, SymmetricQuantizer, abs_max,
    affine_parameters, quantize_affine,
};
use crate::shape::MatrixShape;
use crate::validate::ValidateError;
use crate::validate::folder::Case;
use crate::validate::numerics::integer_products::{compare_floats, compare_integers};
use crate::validate::numerics::{Findings, Run};

pub(super) fn run(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let library = case.text("library")?;
    let calls: [(&str, Run); 4] = [
        ("DynamicQuantizeLinear", dynamic_quantize_linear),
        ("QuantizeLinear", quantize_linear),
        ("int8_vectorwise_quant", vectorwise),
        ("quantize_affine", torchao_affine),
    ];
    let found = calls.iter().find(|(call, _)| library.contains(call));
    let (_, run) = found.ok_or_else(|| {
        let known = calls.map(|(call, _)| call).join(", ");
        case.error(format!("`library` names no known call; known are {known}"))
    })?;
    run(case, findings)
}

fn limits(case: &Case<'_>, format: &ElementFormat) -> Result<IntegerLimits, ValidateError> {
    IntegerLimits::of(format).ok_or_else(|| case.error(format!("{format} is no integer format of at most 16 bits")))
}

fn dynamic_quantize_linear(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let values = case.floats("x")?;
    let limits = limits(case, &UINT8)?;
    let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parameters = affine_parameters(lowest, highest, limits);
    let mut codes = vec![0; values.len()];
    quantize_affine(values, parameters, limits, &mut codes);
    compare_floats(case, "scale", &[parameters.scale], findings)?;
    compare_integers(case, "zero_point", &[parameters.zero_point], findings)?;
    compare_integers(case, "y", &codes, findings)
}

/// One scale and zero point for the tensor, for each row, or for each block of a row.
fn quantize_linear(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let values = case.floats("x")?;
    let (rows, columns) = case.matrix("x")?;
    let limits = limits(case, case.integer_format()?)?;
    let (scales, zero_points) = (case.floats("scale")?, case.narrow::<i32>("zero_point")?);
    case.expect_length("zero_point", zero_points.len(), scales.len())?;
    let groups = match case.array("scale")?.shape[..] {
        [] | [1] => None,
        [length] if length == rows => Some(1),
        [length, groups] if length == rows && groups > 0 && columns.is_multiple_of(groups) => Some(groups),
        ref other => {
            return Err(case.error(format!("scales of shape {other:?} fit no axis of {rows} x {columns} values")));
        }
    };
    let group = columns / groups.unwrap_or(1);
    let mut codes = vec![0; values.len()];
    if group > 0 {
        for (index, (values, codes)) in values.chunks(group).zip(codes.chunks_mut(group)).enumerate() {
            let at = if groups.is_none() { 0 } else { index };
            let parameters = AffineParameters { scale: scales[at], zero_point: zero_points[at] };
            quantize_affine(values, parameters, limits, codes);
        }
    }
    compare_integers(case, "y", &codes, findings)
}

/// bitsandbytes: `round(x * (127 / amax))` in f32, whatever the precision of the input: its abs-max is a float32 tensor, and
/// that decides the type of the quotient and of the product.
fn vectorwise(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let (rows, columns) = case.matrix("x")?;
    let quantizer = SymmetricQuantizer::try_new(&INT8)
        .map_err(|problem| case.error(problem.to_string()))?
        .with_arithmetic(ScaleArithmetic::MultiplyByInverse);
    let values = case.floats("x")?;
    let quantized = quantizer.quantize(values, MatrixShape::new(rows as u64, columns as u64), Granularity::PerRow);
    let maxima: Vec<f32> = values.chunks(columns.max(1)).map(abs_max).collect();
    compare_floats(case, "amax", &maxima, findings)?;
    compare_integers(case, "y", quantized.codes.as_i8().expect("integers of at most eight bits are bytes"), findings)
}

/// torchao: symmetric around zero over all codes. The scale is computed in the precision of the input, bfloat16 where every
/// value is one, the codes in f32.
fn torchao_affine(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let (rows, columns) = case.matrix("x")?;
    let (_, groups) = case.matrix("scale")?;
    let group = columns.checked_div(groups).unwrap_or(0);
    if group == 0 || group * groups != columns {
        return Err(case.error("the columns of `scale` must divide those of `x`"));
    }
    let values = case.floats("x")?;
    let precision = if values.iter().all(|value| value.to_bits() & 0xFFFF == 0) { &BF16 } else { &FP32 };
    let quantizer = SymmetricQuantizer::try_new(case.integer_format()?)
        .map_err(|problem| case.error(problem.to_string()))?
        .with_range(IntegerRange::Full)
        .with_arithmetic(ScaleArithmetic::MultiplyByReciprocal)
        .with_scale_format(precision);
    let shape = MatrixShape::new(rows as u64, columns as u64);
    let quantized = quantizer.quantize(values, shape, Granularity::PerGroup { size: group as u64 });
    compare_floats(case, "scale", &quantized.scales, findings)?;
    compare_integers(case, "y", quantized.codes.as_i8().expect("integers of at most eight bits are bytes"), findings)
}
