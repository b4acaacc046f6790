//! MX products in three stated orders of accumulation.

use crate::numerics::accumulate::{AccumulationOrder, Destination};
use crate::numerics::block::{BlockTensor, ScaleRule};
use crate::numerics::formats::{self, Rounding};
use crate::numerics::gemm::float::{FloatTile, multiply_accumulate};
use crate::numerics::gemm::{GemmError, Operand};
use crate::shape::MatrixShape;
use crate::validate::ValidateError;
use crate::validate::comparison::ZeroSign;
use crate::validate::folder::Case;
use crate::validate::numerics::integer_products::compare_floats;
use crate::validate::numerics::{Findings, blocks, record_errors};

pub(super) fn run(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let (x, w) = if case.has("x_codes") { with_codes(case, findings)? } else { with_values(case, findings)? };
    let block = case.count("block")?;
    let orders = [
        ("y_seq_f32", AccumulationOrder::Sequential),
        ("y_exact_f32", AccumulationOrder::Exact),
        ("y_block_f32", AccumulationOrder::Block),
    ];
    let mut values = Vec::new();
    for (name, order) in orders {
        let compute = || -> Result<Vec<f32>, GemmError> {
            let (x, w) = (Operand::from_blocks(&x)?, Operand::from_blocks(&w)?);
            let mut tile = FloatTile::try_new(x.rows(), w.rows(), block, order, Destination::Fp32)?;
            multiply_accumulate(&x.whole(), &w.whole(), &mut tile)?;
            Ok(tile.values())
        };
        values = compute().map_err(|problem| case.error(problem.to_string()))?;
        compare_floats(case, name, &values, findings)?;
    }
    // The block order, which is the default, against products in double precision and in the library's own order.
    for name in ["y_exact_f64", "y_lib"] {
        let expected = case.doubles(name)?;
        case.expect_length(name, expected.len(), values.len())?;
        record_errors(findings, &values, &expected);
    }
    Ok(())
}

/// torchao: both operands are `[rows, K]` and come with scales and codes.
fn with_codes(case: &Case<'_>, findings: &mut Findings) -> Result<(BlockTensor, BlockTensor), ValidateError> {
    let names = case.field("formats").and_then(serde_json::Value::as_array);
    let names: Option<Vec<&str>> = names.map(|names| names.iter().filter_map(serde_json::Value::as_str).collect());
    let Some([x_format, w_format]) = names.as_deref() else {
        return Err(case.error("field `formats` must name two element formats"));
    };
    let options = blocks::options(case, blocks::scale_rule(case)?, Rounding::NearestEven)?;
    let mut operand = |name: &str, format: &str| -> Result<BlockTensor, ValidateError> {
        let unknown = || case.error(format!("`{format}` is no known element format"));
        let element = formats::by_name(format).ok_or_else(unknown)?;
        let tensor = blocks::quantized(case, blocks::mx_format(element, case)?, options, name)?;
        blocks::compare(case, &format!("{name}_"), &tensor, findings, blocks::torchao_quirks)?;
        Ok(tensor)
    };
    Ok((operand("x", x_format)?, operand("w", w_format)?))
}

/// microxcaling: `x` is `[M, K]`, `w` is `[K, N]`, and only the quantized values are there.
fn with_values(case: &Case<'_>, findings: &mut Findings) -> Result<(BlockTensor, BlockTensor), ValidateError> {
    let format = blocks::mx_format(case.element_format()?, case)?;
    let options = blocks::options(case, ScaleRule::Floor, blocks::rounding(case)?)?;
    let quantizer = format.quantizer(options).map_err(|problem| case.error(problem.to_string()))?;
    let x = blocks::quantized(case, format, options, "x")?;
    let (k, n) = case.matrix("w")?;
    let w = quantizer.quantize(&transposed(case.floats("w")?, k, n), MatrixShape::new(n as u64, k as u64));
    for (name, found) in [("x_dequant", x.dequantize()), ("w_dequant", transposed(&w.dequantize(), n, k))] {
        let expected = case.doubles(name)?;
        case.expect_length(name, expected.len(), found.len())?;
        for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            let place = || format!("{} {name} {at}", case.id);
            findings.equality.record_float(f64::from(found), expected, ZeroSign::Ignored, place);
        }
    }
    Ok((x, w))
}

fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
