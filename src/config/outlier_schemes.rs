//! The families of scheme files that treat outlier channels apart: MUXQ, LLM.int8() and OSC.

use std::borrow::Cow;

use serde::Deserialize;

use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::numerics::block;
use crate::numerics::formats::{self, ElementFormat};
use crate::program::channels::Mover;
use crate::program::op::Scope;
use crate::scheme::llm_int8::LlmInt8;
use crate::scheme::lowering::Arriving;
use crate::scheme::muxq::{AuxScale, Auxiliary, Muxq};
use crate::scheme::osc::{Columns, DynamicBranch, MergePoint, Osc, Protection, WeightRows};
use crate::scheme::treatment::{Detection, Passes};
use crate::workload::calibration::{Comparison, OutlierRule, ProtectionChoice, ProtectionRule, Smoothing};

/// Names of scopes of activation scales.
pub(crate) const ACTIVATION_SCOPES: [(&str, Scope); 2] = [("tensor", Scope::Tensor), ("token", Scope::Row)];
/// Names of scopes of weight scales.
pub(crate) const WEIGHT_SCOPES: [(&str, Scope); 2] = [("tensor", Scope::Tensor), ("channel", Scope::Column)];
const COMPARISONS: [(&str, Comparison); 2] = [(">", Comparison::Above), (">=", Comparison::AtLeast)];
const DETECTIONS: [(&str, Detection); 2] = [("online", Detection::Online), ("frozen", Detection::Frozen)];
pub(crate) const PASSES: [(&str, Passes); 2] = [("recomputed", Passes::Recomputed), ("stored", Passes::Stored)];
pub(crate) const MOVERS: [(&str, Mover); 2] = [("vector_unit", Mover::VectorUnit), ("inline", Mover::Inline)];

/// The wide formats of outlier products.
pub(crate) fn wide_formats() -> [(&'static str, &'static ElementFormat); 2] {
    [("fp16", &formats::FP16), ("bf16", &formats::BF16)]
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MuxqFile {
    format: Field<String>,
    threshold: Field<f64>,
    comparison: Field<String>,
    exponent: Field<u32>,
    aux_scale: Field<String>,
    activation_scale_per: Field<String>,
    weight_scale_per: Field<String>,
    auxiliary: Field<String>,
    detection: Field<String>,
    body: Field<String>,
    mover: Field<String>,
    smoothing_alpha: Field<f64>,
    unit: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LlmInt8File {
    threshold: Field<f64>,
    comparison: Field<String>,
    activation_scale_per: Field<String>,
    weight_scale_per: Field<String>,
    branch_format: Field<String>,
    detection: Field<String>,
    body: Field<String>,
    mover: Field<String>,
    unit: Field<String>,
}

/// MUXQ as a file describes it.
pub(crate) fn resolve_muxq(name: String, file: &Placed<MuxqFile>) -> Result<Muxq, Diagnostic> {
    let auxiliaries = [
        ("separate_gemm", Auxiliary::SeparateGemm),
        ("fused_accumulate", Auxiliary::FusedAccumulate),
        ("tender_shift", Auxiliary::TenderShift),
    ];
    let scheme = Muxq {
        name: Cow::Owned(name),
        description: "INT8 with outlier channels scaled down and an auxiliary product",
        format: file.format.required().one_of(&[("int8", &formats::INT8), ("int4", &formats::INT4)])?,
        rule: rule(&file.threshold, &file.comparison)?,
        exponent: file.exponent.required().in_range(1..=15)?,
        aux_scale: file
            .aux_scale
            .required()
            .one_of(&[("shared", AuxScale::Shared), ("independent", AuxScale::Independent)])?,
        activation_scope: file.activation_scale_per.required().one_of(&ACTIVATION_SCOPES)?,
        weight_scope: file.weight_scale_per.required().one_of(&WEIGHT_SCOPES)?,
        auxiliary: file.auxiliary.required().one_of(&auxiliaries)?,
        detection: file.detection.required().one_of(&DETECTIONS)?,
        passes: file.body.required().one_of(&PASSES)?,
        mover: file.mover.required().one_of(&MOVERS)?,
        smoothing: smoothing(&file.smoothing_alpha)?,
        unit: unit(&file.unit)?,
    };
    if scheme.aux_scale == AuxScale::Independent && scheme.auxiliary != Auxiliary::SeparateGemm {
        let message = "sums under two scales cannot be added in the accumulators";
        return Err(file.auxiliary.problem(message).help("write separate_gemm, or aux_scale: shared"));
    }
    if scheme.unit.is_some() && scheme.auxiliary != Auxiliary::SeparateGemm {
        let message = "an auxiliary product that fills the accumulators of the body runs on the unit of the body";
        return Err(file.unit.problem(message).help("leave it out, or write auxiliary: separate_gemm"));
    }
    if scheme.auxiliary == Auxiliary::TenderShift && scheme.detection == Detection::Online {
        let message =
            "the order of the weight's rows is fixed before the run; outliers found during it cannot go first";
        return Err(file.auxiliary.problem(message).help("write fused_accumulate, or detection: frozen"));
    }
    Ok(scheme)
}

/// LLM.int8() as a file describes it.
pub(crate) fn resolve_llm_int8(name: String, file: &Placed<LlmInt8File>) -> Result<LlmInt8, Diagnostic> {
    Ok(LlmInt8 {
        name: Cow::Owned(name),
        description: "INT8 with outlier channels in a 16-bit float",
        rule: rule(&file.threshold, &file.comparison)?,
        activation_scope: file.activation_scale_per.required().one_of(&ACTIVATION_SCOPES)?,
        weight_scope: file.weight_scale_per.required().one_of(&WEIGHT_SCOPES)?,
        branch_format: file.branch_format.required().one_of(&wide_formats())?,
        detection: file.detection.required().one_of(&DETECTIONS)?,
        passes: file.body.required().one_of(&PASSES)?,
        mover: file.mover.required().one_of(&MOVERS)?,
        unit: unit(&file.unit)?,
    })
}

fn rule(threshold: &Field<f64>, comparison: &Field<String>) -> Result<OutlierRule, Diagnostic> {
    Ok(OutlierRule {
        threshold: threshold.required().in_range(0.0..=1e30)? as f32,
        comparison: comparison.required().one_of(&COMPARISONS)?,
    })
}

/// The matrix unit that a second product asks for, where one is named.
fn unit(unit: &Field<String>) -> Result<Option<Cow<'static, str>>, Diagnostic> {
    unit.optional().map(|unit| unit.text().map(Cow::Owned)).transpose()
}

/// How activations come to a product; as real values if nothing is said.
pub(crate) fn arriving(activations: &Field<String>) -> Result<Arriving, Diagnostic> {
    let choices = [("real", Arriving::Real), ("prequantized", Arriving::Prequantized)];
    activations.optional().map_or(Ok(Arriving::Real), |activations| activations.one_of(&choices))
}

/// Smoothing by SmoothQuant's alpha, where one is given.
pub(crate) fn smoothing(alpha: &Field<f64>) -> Result<Option<Smoothing>, Diagnostic> {
    match alpha.optional() {
        None => Ok(None),
        Some(alpha) => Ok(Some(Smoothing { alpha: alpha.in_range(0.0..=1.0)? as f32 })),
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OscFile {
    format: Field<String>,
    count_scale_bytes: Field<bool>,
    group: Field<u64>,
    protection: Field<String>,
    channels_per_group: Field<u64>,
    threshold_factor: Field<f64>,
    dynamic_branch: Field<String>,
    branch_format: Field<String>,
    columns: Field<String>,
    weight_rows: Field<String>,
    merge: Field<String>,
    body: Field<String>,
    mover: Field<String>,
    smoothing_alpha: Field<f64>,
    unit: Field<String>,
    activations: Field<String>,
}

/// OSC as a file describes it.
pub(crate) fn resolve_osc(name: String, file: &Placed<OscFile>) -> Result<Osc, Diagnostic> {
    let formats: Vec<_> = block::ALL.iter().map(|format| (format.name(), *format)).collect();
    let group = file.group.required().in_range(1..=1 << 16)?;
    let scheme = Osc {
        name: Cow::Owned(name),
        description: "a block format with protected channels in a 16-bit float",
        format: file.format.required().one_of(&formats)?,
        counts_scale_bytes: file.count_scale_bytes.required().boolean()?,
        protection: resolve_protection(file, group)?,
        branch_format: file.branch_format.required().one_of(&wide_formats())?,
        columns: file.columns.required().one_of(&[("dense", Columns::Dense), ("compact", Columns::Compact)])?,
        weight_rows: file
            .weight_rows
            .required()
            .one_of(&[("kept", WeightRows::Kept), ("zeroed", WeightRows::Zeroed)])?,
        merge: file
            .merge
            .required()
            .one_of(&[("accumulators", MergePoint::Accumulators), ("vector_unit", MergePoint::VectorUnit)])?,
        passes: file.body.required().one_of(&PASSES)?,
        mover: file.mover.required().one_of(&MOVERS)?,
        smoothing: smoothing(&file.smoothing_alpha)?,
        unit: unit(&file.unit)?,
        arriving: arriving(&file.activations)?,
    };
    if scheme.unit.is_some() && scheme.merge == MergePoint::Accumulators {
        let message = "paths that meet in the accumulators run on one unit";
        return Err(file.unit.problem(message).help("leave it out, or write merge: vector_unit"));
    }
    if scheme.format.has_tensor_scale() && scheme.merge == MergePoint::Accumulators {
        let message = format!("{} has a scale per tensor, which the sums of path B do not have", scheme.format);
        return Err(file.merge.problem(message).help("write vector_unit"));
    }
    if matches!(scheme.protection, Protection::Dynamic { branch: DynamicBranch::RowGather, .. })
        && scheme.merge == MergePoint::Accumulators
    {
        let message =
            "a token with weight rows of its own is a product by itself, which cannot leave its sums for the body";
        return Err(file.merge.problem(message).help("write vector_unit, or dynamic_branch: masked_dense"));
    }
    Ok(scheme)
}

fn resolve_protection(file: &OscFile, group: u64) -> Result<Protection, Diagnostic> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Mode,
        Hits,
        Mean,
        Dynamic,
    }
    let kinds = [
        ("mode_over_threshold", Kind::Mode),
        ("hit_count", Kind::Hits),
        ("mean_abs", Kind::Mean),
        ("dynamic", Kind::Dynamic),
    ];
    let kind = file.protection.required().one_of(&kinds)?;
    if kind != Kind::Mode && file.threshold_factor.is_given() {
        return Err(file.threshold_factor.problem("only mode_over_threshold has a threshold").help("leave it out"));
    }
    if kind != Kind::Dynamic && file.dynamic_branch.is_given() {
        return Err(file.dynamic_branch.problem("the channels are the same for all tokens").help("leave it out"));
    }
    let choice = match kind {
        Kind::Dynamic => {
            if file.channels_per_group.is_given() {
                let message = "dynamic protection takes one element of each group";
                return Err(file.channels_per_group.problem(message).help("leave it out"));
            }
            let branches = [("masked_dense", DynamicBranch::MaskedDense), ("row_gather", DynamicBranch::RowGather)];
            let branch =
                file.dynamic_branch.optional().map_or(Ok(DynamicBranch::MaskedDense), |of| of.one_of(&branches))?;
            return Ok(Protection::Dynamic { group, branch });
        }
        Kind::Mode => {
            ProtectionChoice::ModeOverThreshold { factor: file.threshold_factor.required().in_range(0.0..=1e6)? as f32 }
        }
        Kind::Hits => ProtectionChoice::HitCount,
        Kind::Mean => ProtectionChoice::MeanAbs,
    };
    let per_group = file.channels_per_group.required().in_range(1..=1 << 16)?;
    if per_group >= group {
        let message = format!("{per_group} of {group} channels leave nothing for the narrow path");
        return Err(file.channels_per_group.problem(message).note("must be less than the group"));
    }
    Ok(Protection::Fixed(ProtectionRule { group, per_group, choice }))
}
