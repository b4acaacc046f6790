//! The families of scheme files that treat outlier channels apart: MUXQ, LLM.int8() and OSC.

use std::borrow::Cow;

use serde::Deserialize;

use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::numerics::block;
use crate::numerics::formats::{self, ElementFormat};
use crate::program::channels::Mover;
use crate::program::op::{ScaleSource, Scope};
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
pub(crate) const MOVERS: [(&str, Mover); 4] = [
    ("vector_unit", Mover::VectorUnit),
    ("inline", Mover::Inline),
    ("extractor", Mover::Extractor),
    ("dma_gather", Mover::DmaGather),
];

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
    activation_scale: Field<String>,
    activation_scale_per: Field<String>,
    weight_scale_per: Field<String>,
    auxiliary: Field<String>,
    pub(crate) detection: Field<String>,
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
    pub(crate) detection: Field<String>,
    body: Field<String>,
    mover: Field<String>,
    unit: Field<String>,
}

/// MUXQ as a file describes it.
pub(crate) fn resolve_muxq(name: String, file: &Placed<MuxqFile>) -> Result<Muxq, ConfigError> {
    let auxiliaries = [
        ("separate_gemm", Auxiliary::SeparateGemm),
        ("fused_accumulate", Auxiliary::FusedAccumulate),
        ("tender_shift", Auxiliary::TenderShift),
    ];
    let scales = [("shared", AuxScale::Shared), ("independent", AuxScale::Independent)];
    let mut problems = Problems::default();
    let formats = [("int8", &formats::INT8), ("int4", &formats::INT4)];
    let format = problems.take(file.format.required().one_of(&formats));
    let rule = problems.take(rule(&file.threshold, &file.comparison));
    let exponent = problems.take(file.exponent.required().in_range(1..=15));
    let aux_scale = problems.take(file.aux_scale.required().one_of(&scales));
    let activation_scope = problems.take(file.activation_scale_per.required().one_of(&ACTIVATION_SCOPES));
    let activation_scale = problems.take(scale_source(&file.activation_scale, activation_scope));
    let weight_scope = problems.take(file.weight_scale_per.required().one_of(&WEIGHT_SCOPES));
    let auxiliary = problems.take(file.auxiliary.required().one_of(&auxiliaries));
    let detection = problems.take(file.detection.required().one_of(&DETECTIONS));
    let passes = problems.take(file.body.required().one_of(&PASSES));
    let mover = problems.take(file.mover.required().one_of(&MOVERS));
    let smoothing = problems.take(smoothing(&file.smoothing_alpha));
    let unit = problems.take(unit(&file.unit));
    let shares_accumulators = auxiliary.is_some_and(|auxiliary| auxiliary != Auxiliary::SeparateGemm);
    if aux_scale == Some(AuxScale::Independent) && shares_accumulators {
        let message = "sums under two scales cannot be added in the accumulators";
        problems.push(file.auxiliary.problem(message).help("write separate_gemm, or aux_scale: shared"));
    }
    if file.unit.is_given() && shares_accumulators {
        let message = "an auxiliary product that fills the accumulators of the body runs on the unit of the body";
        problems.push(file.unit.problem(message).help("leave it out, or write auxiliary: separate_gemm"));
    }
    if auxiliary == Some(Auxiliary::TenderShift) && detection == Some(Detection::Online) {
        let message =
            "the order of the weight's rows is fixed before the run; outliers found during it cannot go first";
        problems.push(file.auxiliary.problem(message).help("write fused_accumulate, or detection: frozen"));
    }
    problems.built(|| {
        Some(Muxq {
            name: Cow::Owned(name),
            description: "INT8 with outlier channels scaled down and an auxiliary product",
            format: format?,
            rule: rule?,
            exponent: exponent?,
            aux_scale: aux_scale?,
            activation_scope: activation_scope?,
            activation_scale: activation_scale?,
            weight_scope: weight_scope?,
            auxiliary: auxiliary?,
            detection: detection?,
            passes: passes?,
            mover: mover?,
            smoothing: smoothing?,
            unit: unit?,
        })
    })
}

/// LLM.int8() as a file describes it.
pub(crate) fn resolve_llm_int8(name: String, file: &Placed<LlmInt8File>) -> Result<LlmInt8, ConfigError> {
    let mut problems = Problems::default();
    let rule = problems.take(rule(&file.threshold, &file.comparison));
    let activation_scope = problems.take(file.activation_scale_per.required().one_of(&ACTIVATION_SCOPES));
    let weight_scope = problems.take(file.weight_scale_per.required().one_of(&WEIGHT_SCOPES));
    let branch_format = problems.take(file.branch_format.required().one_of(&wide_formats()));
    let detection = problems.take(file.detection.required().one_of(&DETECTIONS));
    let passes = problems.take(file.body.required().one_of(&PASSES));
    let mover = problems.take(file.mover.required().one_of(&MOVERS));
    let unit = problems.take(unit(&file.unit));
    problems.built(|| {
        Some(LlmInt8 {
            name: Cow::Owned(name),
            description: "INT8 with outlier channels in a 16-bit float",
            rule: rule?,
            activation_scope: activation_scope?,
            weight_scope: weight_scope?,
            branch_format: branch_format?,
            detection: detection?,
            passes: passes?,
            mover: mover?,
            unit: unit?,
        })
    })
}

fn rule(threshold: &Field<f64>, comparison: &Field<String>) -> Result<OutlierRule, ConfigError> {
    let mut problems = Problems::default();
    let threshold = problems.take(threshold.required().in_range(0.0..=1e30));
    let comparison = problems.take(comparison.required().one_of(&COMPARISONS));
    problems.built(|| Some(OutlierRule { threshold: threshold? as f32, comparison: comparison? }))
}

/// The matrix unit that a second product asks for, where one is named.
fn unit(unit: &Field<String>) -> Result<Option<Cow<'static, str>>, Diagnostic> {
    unit.optional().map(|unit| unit.text().map(Cow::Owned)).transpose()
}

/// When scales of activations are known; dynamic if nothing is said. A static one is per tensor.
pub(crate) fn scale_source(source: &Field<String>, scope: Option<Scope>) -> Result<ScaleSource, Diagnostic> {
    let sources = [("dynamic", ScaleSource::Dynamic), ("static", ScaleSource::Static)];
    let Some(given) = source.optional() else { return Ok(ScaleSource::Dynamic) };
    let given = given.one_of(&sources)?;
    if given == ScaleSource::Static && scope.is_some_and(|scope| scope != Scope::Tensor) {
        let message = "a static scale is one for all activations: tokens are not known before the run";
        return Err(source.problem(message).help("write activation_scale_per: tensor"));
    }
    Ok(given)
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

/// Keys of an OSC scheme that do nothing under the protection that it selects, each with why.
pub(crate) fn unused_keys_of_osc(file: &OscFile) -> Vec<Diagnostic> {
    if !file.protection.required().text().is_ok_and(|protection| protection == "dynamic") {
        return Vec::new();
    }
    let keys = [("columns", &file.columns), ("weight_rows", &file.weight_rows), ("body", &file.body)];
    let given = keys.into_iter().filter(|(_, field)| field.is_given());
    let unused = given.map(|(key, field)| {
        field.problem(format!(
            "`{key}` does nothing under protection: dynamic, where each token has channels of its own"
        ))
    });
    unused.collect()
}

/// OSC as a file describes it.
pub(crate) fn resolve_osc(name: String, file: &Placed<OscFile>) -> Result<Osc, ConfigError> {
    let formats: Vec<_> = block::ALL.iter().map(|format| (format.name(), *format)).collect();
    let columns = [("dense", Columns::Dense), ("compact", Columns::Compact)];
    let weight_rows = [("kept", WeightRows::Kept), ("zeroed", WeightRows::Zeroed)];
    let merges = [("accumulators", MergePoint::Accumulators), ("vector_unit", MergePoint::VectorUnit)];
    let mut problems = Problems::default();
    let format = problems.take(file.format.required().one_of(&formats));
    let counts_scale_bytes = problems.take(file.count_scale_bytes.required().boolean());
    let group = problems.take(file.group.required().in_range(1..=1 << 16));
    let mover = problems.take(file.mover.required().one_of(&MOVERS));
    let protection = problems.take(resolve_protection(file, group, mover));
    let branch_format = problems.take(file.branch_format.required().one_of(&wide_formats()));
    let is_dynamic = matches!(protection, Some(Protection::Dynamic { .. }));
    // Only channels that are the same for all tokens have columns, weight rows and a body that can be stored for itself.
    let is_left_out = |field: &Field<String>| is_dynamic && !field.is_given();
    let columns = match is_left_out(&file.columns) {
        true => Some(Columns::Dense),
        false => problems.take(file.columns.required().one_of(&columns)),
    };
    let weight_rows = match is_left_out(&file.weight_rows) {
        true => Some(WeightRows::Kept),
        false => problems.take(file.weight_rows.required().one_of(&weight_rows)),
    };
    let passes = match is_left_out(&file.body) {
        true => Some(Passes::Recomputed),
        false => problems.take(file.body.required().one_of(&PASSES)),
    };
    let merge = problems.take(file.merge.required().one_of(&merges));
    let smoothing = problems.take(smoothing(&file.smoothing_alpha));
    let unit = problems.take(unit(&file.unit));
    let arriving = problems.take(arriving(&file.activations));
    if file.unit.is_given() && merge == Some(MergePoint::Accumulators) {
        let message = "paths that meet in the accumulators run on one unit";
        problems.push(file.unit.problem(message).help("leave it out, or write merge: vector_unit"));
    }
    if let Some(format) = format.filter(|format| format.has_tensor_scale())
        && merge == Some(MergePoint::Accumulators)
    {
        let message = format!("{format} has a scale per tensor, which the sums of path B do not have");
        problems.push(file.merge.problem(message).help("write vector_unit"));
    }
    if matches!(protection, Some(Protection::Dynamic { branch: DynamicBranch::RowGather, .. }))
        && merge == Some(MergePoint::Accumulators)
    {
        let message =
            "a token with weight rows of its own is a product by itself, which cannot leave its sums for the body";
        problems.push(file.merge.problem(message).help("write vector_unit, or dynamic_branch: masked_dense"));
    }
    problems.built(|| {
        Some(Osc {
            name: Cow::Owned(name),
            description: "a block format with protected channels in a 16-bit float",
            format: format?,
            counts_scale_bytes: counts_scale_bytes?,
            protection: protection?,
            branch_format: branch_format?,
            columns: columns?,
            weight_rows: weight_rows?,
            merge: merge?,
            passes: passes?,
            mover: mover?,
            smoothing: smoothing?,
            unit: unit?,
            arriving: arriving?,
        })
    })
}

/// The protection of groups that have so many channels; a size that is not known counts as the largest, a mover as the lanes.
fn resolve_protection(file: &OscFile, group: Option<u64>, mover: Option<Mover>) -> Result<Protection, ConfigError> {
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
    let mut problems = Problems::default();
    if kind != Kind::Mode && file.threshold_factor.is_given() {
        let problem = file.threshold_factor.problem("only mode_over_threshold has a threshold");
        problems.push(problem.help("leave it out"));
    }
    if kind != Kind::Dynamic && file.dynamic_branch.is_given() {
        let problem = file.dynamic_branch.problem("the channels are the same for all tokens");
        problems.push(problem.help("leave it out"));
    }
    let group = group.unwrap_or(u64::MAX);
    let choice = match kind {
        Kind::Dynamic => {
            if file.channels_per_group.is_given() {
                let message = "dynamic protection takes one element of each group";
                problems.push(file.channels_per_group.problem(message).help("leave it out"));
            }
            let branches = [("masked_dense", DynamicBranch::MaskedDense), ("row_gather", DynamicBranch::RowGather)];
            let branch = match file.dynamic_branch.optional() {
                None => Some(DynamicBranch::MaskedDense),
                Some(branch) => problems.take(branch.one_of(&branches)),
            };
            let mover = mover.unwrap_or(Mover::VectorUnit).of_each_token();
            if mover.is_none() {
                let message = "the channels of each token are found while it passes on the chip, where the DMA engine does not \
                               fetch from";
                let help = "write vector_unit, inline or extractor, or another protection";
                problems.push(file.mover.problem(message).help(help));
            }
            return problems.built(|| Some(Protection::Dynamic { group, branch: branch?, mover: mover? }));
        }
        Kind::Mode => problems
            .take(file.threshold_factor.required().in_range(0.0..=1e6))
            .map(|factor| ProtectionChoice::ModeOverThreshold { factor: factor as f32 }),
        Kind::Hits => Some(ProtectionChoice::HitCount),
        Kind::Mean => Some(ProtectionChoice::MeanAbs),
    };
    let per_group = problems.take(file.channels_per_group.required().in_range(1..=1 << 16));
    if let Some(per_group) = per_group.filter(|per_group| *per_group >= group) {
        let message = format!("{per_group} of {group} channels leave nothing for the narrow path");
        problems.push(file.channels_per_group.problem(message).note("must be less than the group"));
    }
    problems.built(|| Some(Protection::Fixed(ProtectionRule { group, per_group: per_group?, choice: choice? })))
}
