//! Whole quantization schemes: MUXQ and OSC through lowering, schedule and execution of one product; LLM.int8() and
//! SmoothQuant, whose packs hold what their libraries compute, by the functions that the schemes are made of.

use std::borrow::Cow;

use crate::calibrate::{Activations, layer_calibration};
use crate::config::defaults::Defaults;
use crate::config::source::Place;
use crate::config::{hardware, presets};
use crate::numerics::accumulate::{AccumulationOrder, Destination};
use crate::numerics::block::{BlockOptions, INT4_G32_FP32, MXFP4, ScaleRule};
use crate::numerics::channel_statistics::{best_of_groups, channel_maxima, group_hits, smoothing_factors};
use crate::numerics::formats::{self, INT8};
use crate::numerics::gemm::dequantize::add_dequantized;
use crate::numerics::gemm::float::{FloatTile, multiply_accumulate};
use crate::numerics::gemm::{GemmError, Matrix, MatrixMut, Operand};
use crate::numerics::quantize::{Granularity, ScaleArithmetic, SymmetricQuantizer, abs_max};
use crate::numerics::tensor::{Elements, Tensor};
use crate::program::op::Scope;
use crate::scheme::Scheme;
use crate::scheme::muxq::{self, Auxiliary, Muxq};
use crate::scheme::osc::{self, MergePoint, Osc, Protection};
use crate::shape::MatrixShape;
use crate::simulation::Outcome;
use crate::validate::ValidateError;
use crate::validate::comparison::ZeroSign;
use crate::validate::folder::Case;
use crate::validate::numerics::integer_products::{compare_floats, compare_integers};
use crate::validate::numerics::{Findings, record_errors};
use crate::validate::product_with_values::{LAYER, Values, simulated};
use crate::workload::calibration::{Comparison, OutlierRule, ProtectionChoice, ProtectionRule};

/// One simulated product.
struct Simulated(Outcome);

impl Simulated {
    /// Simulates `x w` on mx-npu, whose 16-bit floats add one by one here; what the scheme has to know is calibrated on
    /// `tokens`.
    fn run(case: &Case<'_>, scheme: &dyn Scheme, tokens: &[f32]) -> Result<Simulated, ValidateError> {
        let ((m, k), (_, n)) = (case.matrix("x")?, case.matrix("w")?);
        let refused = |problem: &dyn std::fmt::Display| case.error(format!("cannot be simulated: {problem}"));
        let mut document = presets::open_hardware("mx-npu").map_err(|problem| refused(&problem))?;
        for pair in 0..2 {
            let path = format!("matrix_units.main.formats.{pair}.accumulation");
            let place = Place::flag(format!("its hardware, {path}=sequential"));
            document.apply(&path, "sequential", &place).map_err(|problem| refused(&problem))?;
        }
        let npu = hardware::resolve(&document, &mut Defaults::default()).map_err(|problem| refused(&problem))?;
        let x = Values { values: case.floats("x")?, rows: m, columns: k };
        let w = Values { values: case.floats("w")?, rows: k, columns: n };
        let known = layer_calibration(scheme.calibration(), LAYER, Activations::Tokens(tokens), w.values, n);
        let known = known.map_err(|problem| refused(&problem))?;
        simulated(&npu, [x, w], scheme, known).map(Simulated).map_err(|problem| refused(&problem))
    }

    /// The values of the tensor called `name`.
    fn tensor(&self, case: &Case<'_>, name: &str) -> Result<&Tensor, ValidateError> {
        let position = self.0.program.tensors.iter().position(|tensor| tensor.name == name);
        let id = position.map(crate::program::tensor::TensorId);
        let execution = self.0.execution.as_ref();
        let tensor = id.and_then(|id| execution.and_then(|execution| execution.tensor(id)));
        tensor.ok_or_else(|| case.error(format!("the simulated program has no tensor `{name}`")))
    }

    fn compare(&self, case: &Case<'_>, array: &str, name: &str, findings: &mut Findings) -> Result<(), ValidateError> {
        let tensor = self.tensor(case, name)?;
        match tensor.elements() {
            Elements::I8(codes) => compare_integers(case, array, codes, findings),
            Elements::I32(sums) => compare_integers(case, array, sums, findings),
            Elements::F32(values) => compare_floats(case, array, values, findings),
            Elements::Code8(codes) => compare_codes(case, array, codes, findings),
            Elements::Code16(codes) => compare_integers(case, array, codes, findings),
            Elements::I16(codes) => compare_integers(case, array, codes, findings),
        }
    }
}

/// Codes of four bits, whose zeros may have either sign.
fn compare_codes(case: &Case<'_>, array: &str, codes: &[u8], findings: &mut Findings) -> Result<(), ValidateError> {
    let is_element = array.ends_with("_codes");
    let plain = |code: i64| if is_element && code == 8 { 0 } else { code };
    let expected = case.integers(array)?;
    case.expect_length(array, expected.len(), codes.len())?;
    for (at, (&found, &expected)) in codes.iter().zip(expected).enumerate() {
        let place = || format!("{} {array} {at}", case.id);
        findings.equality.record_integer(plain(i64::from(found)), plain(expected), place);
    }
    Ok(())
}

pub(super) fn run_muxq(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let (activation_scope, weight_scope) = match case.text("granularity")? {
        "tensor" => (Scope::Tensor, Scope::Tensor),
        "token" => (Scope::Row, Scope::Column),
        other => return Err(case.error(format!("`granularity` is `{other}`; known are tensor, token"))),
    };
    let threshold = case.floats("threshold")?.first().copied().unwrap_or(f32::NAN);
    let exponent = u32::try_from(case.integer("exp")?).map_err(|_| case.error("`exp` is negative"))?;
    let scheme = |auxiliary| Muxq {
        name: Cow::Borrowed("muxq"),
        rule: OutlierRule { threshold, comparison: Comparison::Above },
        exponent,
        activation_scope,
        weight_scope,
        auxiliary,
        ..muxq::PER_TENSOR.clone()
    };
    let x = case.floats("x")?;
    let separate = Simulated::run(case, &scheme(Auxiliary::SeparateGemm), x)?;
    let mut compared = vec![
        ("body_q", "y.x_codes"),
        ("w_q", "y.w_codes"),
        ("x_scale", "y.x_scale"),
        ("w_scale", "y.w_scale"),
        ("acc_body", "y.sums"),
        ("y", "y.out"),
    ];
    if case.integers("outlier_cols")?.iter().all(|column| *column >= 0) {
        let table = separate.tensor(case, "y.channels")?.to_f32();
        let columns: Vec<i64> = table.iter().map(|channel| *channel as i64).collect();
        compare_integers(case, "outlier_cols", &columns, findings)?;
        compared.extend([("aux_q", "y.x_auxiliary"), ("acc_aux", "y.auxiliary_sums"), ("acc", "y.merged_sums")]);
        // The other two ways to the same integers.
        for auxiliary in [Auxiliary::FusedAccumulate, Auxiliary::TenderShift] {
            let simulated = Simulated::run(case, &scheme(auxiliary), x)?;
            simulated.compare(case, "acc", "y.sums", findings)?;
            simulated.compare(case, "y", "y.out", findings)?;
        }
    }
    for (array, name) in compared {
        separate.compare(case, array, name, findings)?;
    }
    Ok(())
}

pub(super) fn run_osc(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let (group, top) = (case.count("group")?, case.count("top_k")?);
    let (_, k) = case.matrix("x")?;
    let tokens = case.floats("calibration")?;
    let hits = group_hits(tokens, k, group, top);
    let counted: Vec<i64> = hits.iter().map(|hits| *hits as i64).collect();
    compare_integers(case, "hits", &counted, findings)?;
    let scores: Vec<f64> = hits.iter().map(|hits| *hits as f64).collect();
    let selected: Vec<i64> = best_of_groups(&scores, group, top).into_iter().flatten().map(i64::from).collect();
    compare_integers(case, "selected", &selected, findings)?;
    let branch_format = if case.id.ends_with("bf16") { &formats::BF16 } else { &formats::FP16 };
    let choice = ProtectionChoice::HitCount;
    let rule = ProtectionRule { group: group as u64, per_group: top as u64, choice };
    let scheme = Osc {
        name: Cow::Borrowed("osc"),
        protection: Protection::Fixed(rule),
        branch_format,
        merge: MergePoint::VectorUnit,
        ..osc::MXFP4.clone()
    };
    let simulated = Simulated::run(case, &scheme, tokens)?;
    // Path B does not depend on the narrow format.
    let path_b = [("x_o_bits", "y.dense"), ("w_o_bits", "y.w_branch"), ("yo_f32", "y.branch_sums")];
    let path_a = [
        ("x_codes", "y.x_codes"),
        ("x_scale", "y.x_block_scales"),
        ("w_codes", "y.w_codes"),
        ("w_scale", "y.w_block_scales"),
        ("y4_f32", "y.sums"),
        ("y", "y.out"),
    ];
    for (array, name) in path_b {
        simulated.compare(case, array, name, findings)?;
    }
    if case.id.contains("mxfp4_FLOOR") {
        for (array, name) in path_a {
            simulated.compare(case, array, name, findings)?;
        }
        return Ok(());
    }
    if case.id.contains("int4_g32") {
        let scheme = Osc { format: &INT4_G32_FP32, ..scheme };
        let simulated = Simulated::run(case, &scheme, tokens)?;
        for (array, name) in &path_a[..4] {
            simulated.compare(case, array, name, findings)?;
        }
        // A dot unit rounds once, where it adds; the pack has these sums in double precision.
        record_errors(findings, &simulated.tensor(case, "y.sums")?.to_f32(), &case.doubles("y4_exact_f64")?);
        // The pack's own f32 sums round each group's product of scales, the scaled sum of the group, and the addition.
        let parts = ["y.x_codes", "y.x_block_scales", "y.w_codes", "y.w_block_scales"];
        let [x_codes, x_scales, w_codes, w_scales] = parts.map(|name| simulated.tensor(case, name).map(Tensor::to_f32));
        let y4 = sums_of_groups([&x_codes?, &w_codes?], [&x_scales?, &w_scales?], k);
        let y4 = y4.map_err(|problem| case.error(problem.to_string()))?;
        return compare_both_paths(case, &simulated, &y4, findings);
    }
    let y4 = run_osc_path_a(case, findings, &selected)?;
    compare_both_paths(case, &simulated, &y4, findings)
}

/// Sums of groups of 32 integer codes along `k`, each group's integers scaled and added in f32.
fn sums_of_groups([x, w]: [&[f32]; 2], [x_scales, w_scales]: [&[f32]; 2], k: usize) -> Result<Vec<f32>, GemmError> {
    const GROUP: usize = 32;
    let (m, n, groups) = (x.len() / k, w.len() / k, k.div_ceil(GROUP));
    let mut sums = vec![0.0; m * n];
    for group in 0..groups {
        let part = |codes: &[f32], row: usize| codes[row * k..][group * GROUP..k.min((group + 1) * GROUP)].to_vec();
        let product = |row: usize, column: usize| -> i32 {
            part(x, row).iter().zip(part(w, column)).map(|(a, b)| *a as i32 * b as i32).sum()
        };
        let integers: Vec<i32> = (0..m * n).map(|index| product(index / n, index % n)).collect();
        let of_group = |scales: &[f32]| -> Vec<f32> { scales.iter().skip(group).step_by(groups).copied().collect() };
        let integers = Matrix::dense(&integers, m, n)?;
        add_dequantized(integers, &of_group(x_scales), &of_group(w_scales), MatrixMut::dense(&mut sums, m, n)?)?;
    }
    Ok(sums)
}

/// Path A by itself, and with the simulated path B.
fn compare_both_paths(
    case: &Case<'_>,
    path_b: &Simulated,
    path_a: &[f32],
    findings: &mut Findings,
) -> Result<(), ValidateError> {
    compare_floats(case, "y4_f32", path_a, findings)?;
    let path_b = path_b.tensor(case, "y.branch_sums")?.to_f32();
    let y: Vec<f32> = path_a.iter().zip(&path_b).map(|(a, b)| a + b).collect();
    compare_floats(case, "y", &y, findings)
}

/// Narrow operands that no scheme makes, because their scales come from another rule: codes and scales are compared; returned are
/// the sums of their products, block by block, as the array forms those of other rules.
fn run_osc_path_a(case: &Case<'_>, findings: &mut Findings, selected: &[i64]) -> Result<Vec<f32>, ValidateError> {
    let ((m, k), (_, n)) = (case.matrix("x")?, case.matrix("w")?);
    let mut x = case.floats("x")?.to_vec();
    for (index, value) in x.iter_mut().enumerate() {
        if selected.contains(&((index % k) as i64)) {
            *value = 0.0;
        }
    }
    let w = case.floats("w")?;
    let w: Vec<f32> = (0..n).flat_map(|column| (0..k).map(move |row| w[row * n + column])).collect();
    let mut operands = Vec::new();
    for (name, values, rows) in [("x", &x, m), ("w", &w, n)] {
        let shape = MatrixShape::new(rows as u64, k as u64);
        let options = BlockOptions { scale_rule: ScaleRule::Even, ..BlockOptions::default() };
        let quantizer = MXFP4.quantizer(options).map_err(|problem| case.error(problem.to_string()))?;
        let blocks = quantizer.quantize(values, shape);
        let codes = blocks.codes().as_code8().expect("four bits are held in a byte");
        compare_codes(case, &format!("{name}_codes"), codes, findings)?;
        let scales = blocks.scales().as_code8().expect("E8M0 is a byte");
        compare_codes(case, &format!("{name}_scale"), scales, findings)?;
        operands.push(blocks);
    }
    let sums = || -> Result<Vec<f32>, GemmError> {
        let (x, w) = (Operand::from_blocks(&operands[0])?, Operand::from_blocks(&operands[1])?);
        let block = usize::try_from(MXFP4.block()).expect("blocks are small");
        let mut tile = FloatTile::try_new(m, n, block, AccumulationOrder::Block, Destination::Fp32)?;
        multiply_accumulate(&x.whole(), &w.whole(), &mut tile)?;
        Ok(tile.values())
    };
    sums().map_err(|problem| case.error(problem.to_string()))
}

/// bitsandbytes zeroes the outlier elements before it finds the row's scale, then whole columns of codes; its constant
/// 6.200124e-05 for 1/127^2 is a quirk, so products are compared with the exact composition.
pub(super) fn run_llm_int8(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    const THRESHOLD: f32 = 6.0;
    let ((m, k), (n, _)) = (case.matrix("x")?, case.matrix("w")?);
    let (x, w) = (case.floats("x")?, case.floats("w")?);
    let rule = OutlierRule { threshold: THRESHOLD, comparison: Comparison::AtLeast };
    let maxima = channel_maxima(x, k);
    let outliers: Vec<usize> = (0..k).filter(|channel| rule.selects(maxima[*channel])).collect();
    let listed: Vec<i64> = outliers.iter().map(|channel| *channel as i64).collect();
    compare_integers(case, "outlier_cols", if listed.is_empty() { &[-1] } else { &listed }, findings)?;
    let quantizer = SymmetricQuantizer::try_new(&INT8)
        .map_err(|problem| case.error(problem.to_string()))?
        .with_arithmetic(ScaleArithmetic::MultiplyByInverse);
    let quantize = |values: &[f32], rows: usize| {
        quantizer.quantize(values, MatrixShape::new(rows as u64, k as u64), Granularity::PerRow)
    };
    let mut kept: Vec<f32> = x.iter().map(|value| if value.abs() >= THRESHOLD { 0.0 } else { *value }).collect();
    let x_maxima: Vec<f32> = kept.chunks_exact(k).map(abs_max).collect();
    let w_maxima: Vec<f32> = w.chunks_exact(k).map(abs_max).collect();
    compare_floats(case, "x_amax", &x_maxima, findings)?;
    compare_floats(case, "w_amax", &w_maxima, findings)?;
    // The row's scale is found before the columns are gone.
    let mut codes: Vec<i8> = quantize(&kept, m).codes.as_i8().expect("a byte each").to_vec();
    for (index, (code, value)) in codes.iter_mut().zip(&mut kept).enumerate() {
        if outliers.contains(&(index % k)) {
            (*code, *value) = (0, 0.0);
        }
    }
    let w_quantized = quantize(w, n);
    let w_codes = w_quantized.codes.as_i8().expect("a byte each");
    compare_integers(case, "x_q", &codes, findings)?;
    compare_integers(case, "w_q", w_codes, findings)?;
    let dot =
        |row: &[i8], column: &[i8]| -> i32 { row.iter().zip(column).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum() };
    let acc: Vec<i32> =
        codes.chunks_exact(k).flat_map(|row| w_codes.chunks_exact(k).map(move |column| dot(row, column))).collect();
    compare_integers(case, "acc", &acc, findings)?;
    let y: Vec<f32> = (0..m * n)
        .map(|index| {
            let (row, column) = (index / n, index % n);
            let scale = f64::from(x_maxima[row]) * f64::from(w_maxima[column]) / (127.0 * 127.0);
            let branch: f64 = outliers
                .iter()
                .map(|channel| {
                    let weight = f64::from(w_codes[column * k + channel]) * f64::from(w_maxima[column]) / 127.0;
                    f64::from(x[row * k + channel]) * weight
                })
                .sum();
            (f64::from(acc[index]) * scale + branch) as f32
        })
        .collect();
    record_errors(findings, &y, &case.doubles("y_f64")?);
    Ok(())
}

pub(super) fn run_smoothquant(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let ((m, k), (n, _)) = (case.matrix("x")?, case.matrix("w")?);
    let (x, w) = (case.floats("x")?, case.floats("w")?);
    let alpha = case.floats("alpha")?.first().copied().unwrap_or(f32::NAN);
    let factors = smoothing_factors(&channel_maxima(x, k), &channel_maxima(w, k), alpha);
    record_errors(findings, &factors, &case.doubles("factor_torchao")?);
    let inverse: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
    record_errors(findings, &inverse, &case.doubles("ln_weight")?);
    let smoothed: Vec<f32> = x.iter().enumerate().map(|(index, value)| value / factors[index % k]).collect();
    record_errors(findings, &smoothed, &case.doubles("x_smooth")?);
    let smoothed: Vec<f32> = w.iter().enumerate().map(|(index, value)| value * factors[index % k]).collect();
    record_errors(findings, &smoothed, &case.doubles("w_smooth")?);
    let quantizer = SymmetricQuantizer::try_new(&INT8).map_err(|problem| case.error(problem.to_string()))?;
    for (source, array, rows, granularity) in [
        ("x_smooth", "x_token_fakeq", m, Granularity::PerRow),
        ("x_smooth", "x_tensor_fakeq", m, Granularity::PerTensor),
        ("w_smooth", "w_channel_fakeq", n, Granularity::PerRow),
        ("w_smooth", "w_tensor_fakeq", n, Granularity::PerTensor),
    ] {
        let shape = MatrixShape::new(rows as u64, k as u64);
        let found = quantizer.quantize(case.floats(source)?, shape, granularity).dequantize();
        let expected = case.doubles(array)?;
        case.expect_length(array, expected.len(), found.len())?;
        for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            let place = || format!("{} {array} {at}", case.id);
            findings.equality.record_float(f64::from(found), expected, ZeroSign::Ignored, place);
        }
    }
    Ok(())
}
