//! The families of scheme files that treat outlier channels apart: MUXQ and LLM.int8().

use std::borrow::Cow;

use serde::Deserialize;

use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::numerics::formats::{self, ElementFormat};
use crate::program::channels::Mover;
use crate::program::op::Scope;
use crate::scheme::llm_int8::LlmInt8;
use crate::scheme::muxq::{AuxScale, Auxiliary, Muxq};
use crate::scheme::treatment::{Detection, Passes};
use crate::workload::calibration::{Comparison, OutlierRule, Smoothing};

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
    };
    if scheme.aux_scale == AuxScale::Independent && scheme.auxiliary != Auxiliary::SeparateGemm {
        let message = "sums under two scales cannot be added in the accumulators";
        return Err(file.auxiliary.problem(message).help("write separate_gemm, or aux_scale: shared"));
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
    })
}

fn rule(threshold: &Field<f64>, comparison: &Field<String>) -> Result<OutlierRule, Diagnostic> {
    Ok(OutlierRule {
        threshold: threshold.required().in_range(0.0..=1e30)? as f32,
        comparison: comparison.required().one_of(&COMPARISONS)?,
    })
}

/// Smoothing by SmoothQuant's alpha, where one is given.
pub(crate) fn smoothing(alpha: &Field<f64>) -> Result<Option<Smoothing>, Diagnostic> {
    match alpha.optional() {
        None => Ok(None),
        Some(alpha) => Ok(Some(Smoothing { alpha: alpha.in_range(0.0..=1.0)? as f32 })),
    }
}
