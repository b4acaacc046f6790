//! Integer products: zero points, narrow accumulators, and quantized operands with f32 scales.

use std::num::NonZeroU32;

use crate::numerics::accumulate::{IntegerAccumulator, IntegerOverflow, SaturationPoint};
use crate::numerics::formats;
use crate::numerics::gemm::dequantize::add_dequantized;
use crate::numerics::gemm::{GemmError, Matrix, MatrixMut, int8, integer, zero_points};
use crate::numerics::quantize::{Granularity, ScaleArithmetic, SymmetricQuantizer};
use crate::shape::MatrixShape;
use crate::validate::ValidateError;
use crate::validate::comparison::ZeroSign;
use crate::validate::folder::Case;
use crate::validate::numerics::{Findings, record_errors};

/// INT8, UINT8 and INT4 products to INT32, and accumulators of a stated width.
pub(super) fn run_integer(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    if case.field("width").is_some() {
        return run_width(case, findings);
    }
    let sums = product(case, "a", "b", "a_zero_point", "b_zero_point")?;
    compare_integers(case, "y", &sums, findings)
}

/// `(a - a_zero) x (b - b_zero)` for arrays `[M, K]` and `[K, N]`; absent zero points are 0, that of b may be one a column.
pub(super) fn product(
    case: &Case<'_>,
    a: &str,
    b: &str,
    a_zero: &str,
    b_zero: &str,
) -> Result<Vec<i32>, ValidateError> {
    let ((m, k), (b_rows, n)) = (case.matrix(a)?, case.matrix(b)?);
    if k != b_rows {
        return Err(case.error(format!("`{a}` is {m} x {k} and `{b}` is {b_rows} x {n}: not a product")));
    }
    let (a_codes, a_shift) = signed(case, a)?;
    let (b_codes, b_shift) = signed(case, b)?;
    let a_zero = if case.has(a_zero) { case.single::<i32>(a_zero)? } else { 0 } + a_shift;
    let mut b_zeros: Vec<i32> = if case.has(b_zero) { case.narrow(b_zero)? } else { vec![0] };
    if b_zeros.len() == 1 {
        b_zeros = vec![b_zeros[0]; n];
    }
    b_zeros.iter_mut().for_each(|zero| *zero += b_shift);
    let mut sums = vec![0; m * n];
    let compute = |sums: &mut [i32]| -> Result<(), GemmError> {
        let (a, b) = (Matrix::dense(&a_codes, m, k)?, Matrix::dense(&b_codes, k, n)?);
        int8::multiply_accumulate(a, int8::prepare(b).whole(), MatrixMut::dense(sums, m, n)?)?;
        let (row_sums, column_sums) = (zero_points::row_sums(a), zero_points::column_sums(b));
        zero_points::correct(MatrixMut::dense(sums, m, n)?, k, a_zero, &b_zeros, &row_sums, &column_sums)
    };
    compute(&mut sums).map_err(|problem| case.error(problem.to_string()))?;
    Ok(sums)
}

/// Codes as signed bytes, and what that adds to their zero point.
fn signed(case: &Case<'_>, name: &str) -> Result<(Vec<i8>, i32), ValidateError> {
    match case.integer_range(name)? {
        (0, 255) => Ok((zero_points::signed_codes(&case.narrow::<u8>(name)?), zero_points::signed_zero_point(0))),
        _ => Ok((case.narrow(name)?, 0)),
    }
}

fn run_width(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let width = u32::try_from(case.count("width")?).map_err(|_| case.error("`width` is out of range"))?;
    let ((m, k), (_, n)) = (case.matrix("a")?, case.matrix("b")?);
    let (a, b) = (case.narrow::<i8>("a")?, case.narrow::<i8>("b")?);
    for name in case.array_names()?.filter(|name| name.starts_with('y')) {
        let overflow = match name.strip_prefix("y_sat_") {
            Some("step") => IntegerOverflow::Saturate(SaturationPoint::Step),
            Some("end") => IntegerOverflow::Saturate(SaturationPoint::End),
            Some(block) => {
                let products = block.strip_prefix("block").and_then(|digits| digits.parse().ok());
                let products: Option<NonZeroU32> = products;
                let unknown = || case.error(format!("array `{name}` is no known point of saturation"));
                IntegerOverflow::Saturate(SaturationPoint::Every(products.ok_or_else(unknown)?))
            }
            None => IntegerOverflow::Wrap,
        };
        let accumulator = match name {
            "y" => Ok(IntegerAccumulator::INT32),
            _ => IntegerAccumulator::try_new(width, overflow),
        };
        let accumulator = accumulator.map_err(|problem| case.error(problem.to_string()))?;
        let mut sums = vec![0i64; m * n];
        let compute = |sums: &mut [i64]| -> Result<(), GemmError> {
            let packed = int8::prepare(Matrix::dense(&b, k, n)?);
            let a = Matrix::dense(&a, m, k)?;
            integer::multiply_accumulate(accumulator, a, packed.whole(), MatrixMut::dense(sums, m, n)?)?;
            integer::read(accumulator, MatrixMut::dense(sums, m, n)?);
            Ok(())
        };
        compute(&mut sums).map_err(|problem| case.error(problem.to_string()))?;
        compare_integers(case, name, &sums, findings)?;
    }
    Ok(())
}

/// Abs-max quantization of both operands, INT32 sums by group, and their dequantization.
pub(super) fn run_quantized(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let bits = case.count("bits")?;
    let format = formats::by_name(&format!("int{bits}")).ok_or_else(|| case.error(format!("no int{bits} format")))?;
    // What torchao computes: the product with the reciprocal of the scale.
    let quantizer = SymmetricQuantizer::try_new(format)
        .map_err(|problem| case.error(problem.to_string()))?
        .with_arithmetic(ScaleArithmetic::MultiplyByReciprocal);
    let ((m, k), (n, w_columns)) = (case.matrix("x")?, case.matrix("w")?);
    if k != w_columns {
        return Err(case.error("`x` and `w` must have the same number of columns"));
    }
    let (granularity, group) = match case.text("granularity")? {
        "tensor" => (Granularity::PerTensor, k),
        "token_channel" => (Granularity::PerRow, k),
        other => {
            let size = other.strip_prefix("group").and_then(|digits| digits.parse::<u64>().ok());
            let size = size.filter(|&size| size > 0).ok_or_else(|| {
                case.error(format!("`granularity` is `{other}`; known are tensor, token_channel, group<size>"))
            })?;
            (Granularity::PerGroup { size }, size as usize)
        }
    };
    let x = quantizer.quantize(case.floats("x")?, MatrixShape::new(m as u64, k as u64), granularity);
    let w = quantizer.quantize(case.floats("w")?, MatrixShape::new(n as u64, k as u64), granularity);
    for (name, quantized) in [("x", &x), ("w", &w)] {
        let codes = quantized.codes.as_i8().expect("integers of at most eight bits are bytes");
        compare_integers(case, &format!("{name}_q"), codes, findings)?;
        compare_floats(case, &format!("{name}_scale"), &quantized.scales, findings)?;
    }
    let (x_codes, w_codes) = (x.codes.as_i8(), w.codes.transposed());
    let (x_codes, w_codes) = (x_codes.expect("a byte each"), w_codes.as_i8().expect("a byte each"));
    let groups = k.div_ceil(group);
    let scale_of = |quantized: &[f32], row: usize, group: usize| match granularity {
        Granularity::PerTensor => quantized[0],
        _ => quantized[row * groups + group],
    };
    let (mut sums, mut y) = (vec![0i32; groups * m * n], vec![0f32; m * n]);
    let compute = |sums: &mut [i32], y: &mut [f32]| -> Result<(), GemmError> {
        let packed = int8::prepare(Matrix::dense(w_codes, k, n)?);
        let a = Matrix::dense(x_codes, m, k)?;
        for (index, sums) in sums.chunks_mut(m * n).enumerate() {
            let segment = index * group..k.min((index + 1) * group);
            let b = packed.block(segment.clone(), 0..n)?;
            int8::multiply_accumulate(a.block(0..m, segment)?, b, MatrixMut::dense(sums, m, n)?)?;
            let row_scales: Vec<f32> = (0..m).map(|row| scale_of(&x.scales, row, index)).collect();
            let column_scales: Vec<f32> = (0..n).map(|row| scale_of(&w.scales, row, index)).collect();
            let sums = Matrix::dense(&*sums, m, n)?;
            add_dequantized(sums, &row_scales, &column_scales, MatrixMut::dense(y, m, n)?)?;
        }
        Ok(())
    };
    compute(&mut sums, &mut y).map_err(|problem| case.error(problem.to_string()))?;
    compare_integers(case, "acc", &sums, findings)?;
    compare_floats(case, "y_f32", &y, findings)?;
    let reference = case.doubles("y_f64")?;
    case.expect_length("y_f64", reference.len(), y.len())?;
    record_errors(findings, &y, &reference);
    Ok(())
}

pub(super) fn compare_integers<T: Copy + Into<i64>>(
    case: &Case<'_>,
    name: &str,
    found: &[T],
    findings: &mut Findings,
) -> Result<(), ValidateError> {
    let expected = case.integers(name)?;
    case.expect_length(name, expected.len(), found.len())?;
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        findings.equality.record_integer(found.into(), expected, || format!("{} {name} {at}", case.id));
    }
    Ok(())
}

pub(super) fn compare_floats(
    case: &Case<'_>,
    name: &str,
    found: &[f32],
    findings: &mut Findings,
) -> Result<(), ValidateError> {
    let expected = case.doubles(name)?;
    case.expect_length(name, expected.len(), found.len())?;
    for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let place = || format!("{} {name} {at}", case.id);
        findings.equality.record_float(f64::from(found), expected, ZeroSign::Compared, place);
    }
    Ok(())
}
