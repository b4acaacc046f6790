//! Signal-to-noise ratios of real layers, as an independent program measured them.
//!
//! A folder of pairs `NAME.safetensors` and `NAME.expected.json`. The tensors are `LAYER.x`, `LAYER.w` and what a calibration
//! on other text found, `LAYER.calib_absmax` and `LAYER.calib_meanabs`; the expected file gives a ratio in dB for each layer
//! and scheme. Errors are absolute differences in dB. Outlier channels are those of the layer's own activations, smoothing
//! factors and protected channels those of the other text, as in the program that measured.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::calibrate::{Activations, layer_calibration};
use crate::config::defaults::Defaults;
use crate::config::{hardware, input_files, presets};
use crate::hardware::npu::Npu;
use crate::numerics::block;
use crate::numerics::formats;
use crate::program::op::Scope;
use crate::scheme::Scheme;
use crate::scheme::blocks::Blocks;
use crate::scheme::llm_int8::{self, LlmInt8};
use crate::scheme::lowering::Arriving;
use crate::scheme::muxq::{self, Muxq};
use crate::scheme::osc::{self, MergePoint, Osc, Protection, WeightRows};
use crate::validate::product_with_values::{LAYER, Values, simulated};
use crate::validate::{ErrorStatistic, ValidateError, ValidationRow, ValidationSet};
use crate::workload::calibration::{ProtectionChoice, ProtectionRule, Smoothing};

/// The set `tensors`.
pub struct Tensors;

const SET: &str = "tensors";

/// Largest difference in dB: the note beside the expected figures suggests it.
const BAR_DB: f64 = 0.1;

impl ValidationSet for Tensors {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "signal-to-noise ratios of real layers, by an independent NumPy program; errors in dB"
    }

    fn shipped(&self) -> PathBuf {
        Path::new("workloads").join("data")
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let read = |source: std::io::Error| ValidateError::Read { path: rows.to_owned(), source };
        let mut expected: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(rows).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.to_string_lossy().ends_with(".expected.json") {
                expected.push(path);
            }
        }
        expected.sort();
        if expected.is_empty() {
            return Err(ValidateError::NoRows { path: rows.to_owned() });
        }
        let mut report = Vec::new();
        for path in expected {
            report.extend(run_pair(&path)?);
        }
        Ok(report)
    }
}

fn run_pair(expected: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
    let tensors = PathBuf::from(expected.to_string_lossy().replace(".expected.json", ".safetensors"));
    let bytes = |path: &Path| {
        input_files::read(path, input_files::MOST_BYTES)
            .map_err(|source| ValidateError::Read { path: path.to_owned(), source })
    };
    let figures: Value = serde_json::from_slice(&bytes(expected)?)
        .map_err(|source| ValidateError::Json { path: expected.to_owned(), source })?;
    let name =
        expected.file_name().map(|name| name.to_string_lossy().replace(".expected.json", "")).unwrap_or_default();
    let layers = figures.as_object().into_iter().flatten();
    let layers: Vec<(&String, &serde_json::Map<String, Value>)> =
        layers.filter_map(|(layer, figures)| Some((layer, figures.as_object()?))).collect();
    if figures.get("metric").is_some() {
        let note = "figures of a whole model, which needs its attention and normalization: not covered";
        return Ok(vec![ValidationRow::not_judged(SET, &name, 1, note)]);
    }
    let pack = bytes(&tensors)?;
    let pack =
        SafeTensors::deserialize(&pack).map_err(|source| ValidateError::Pack { path: tensors.clone(), source })?;
    let refuse = |problem: String| ValidateError::Manifest { path: tensors.clone(), problem };
    let document = presets::open_hardware("mx-npu").map_err(|problem| refuse(problem.to_string()))?;
    let npu = hardware::resolve(&document, &mut Defaults::default()).map_err(|problem| refuse(problem.to_string()))?;
    let mut errors: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut without: BTreeMap<String, u64> = BTreeMap::new();
    for (layer, figures) in layers {
        let floats = |role: &str| floats(&pack, &format!("{layer}.{role}")).map_err(&refuse);
        let real = Layer {
            x: floats("x")?,
            w: floats("w")?,
            maxima: floats("calib_absmax")?.0,
            means: floats("calib_meanabs")?.0,
        };
        for (key, expected) in figures {
            let Some(expected) = expected.as_f64().filter(|_| !is_fact(key)) else { continue };
            match scheme_of(key) {
                Some((scheme, source)) => {
                    let found = ratio(&npu, &real, scheme.as_ref(), source)
                        .map_err(|problem| refuse(format!("{layer}, {key}: {problem}")))?;
                    errors.entry(format!("{name}: {key}")).or_default().push((found - expected).abs());
                }
                None => *without.entry(format!("{name}: {key}")).or_default() += 1,
            }
        }
    }
    let judged = errors
        .into_iter()
        .map(|(group, errors)| ValidationRow::of_errors(SET, &group, errors, ErrorStatistic::Worst, BAR_DB));
    let note = "no scheme of this name is known";
    let others = without.into_iter().map(|(group, rows)| ValidationRow::not_judged(SET, &group, rows, note));
    Ok(judged.chain(others).collect())
}

/// A figure about the layer rather than a scheme.
fn is_fact(key: &str) -> bool {
    key.starts_with("n_channels") || key == "absmax_over_median"
}

struct Layer {
    x: (Vec<f32>, [usize; 2]),
    w: (Vec<f32>, [usize; 2]),
    maxima: Vec<f32>,
    means: Vec<f32>,
}

/// What a scheme is calibrated on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The layer's own activations.
    Own,
    /// Statistics over other text.
    OtherText,
}

fn ratio(npu: &Npu, layer: &Layer, scheme: &dyn Scheme, source: Source) -> Result<f64, String> {
    let activations = match source {
        Source::Own => Activations::Tokens(&layer.x.0),
        Source::OtherText => Activations::Statistics { maxima: &layer.maxima, means: &layer.means },
    };
    let known = layer_calibration(scheme.calibration(), LAYER, activations, &layer.w.0, layer.w.1[1]);
    let known = known.map_err(|problem| problem.to_string())?;
    let operands = [&layer.x, &layer.w].map(|(values, [rows, columns])| {
        let (rows, columns) = (*rows, *columns);
        Values { values, rows, columns }
    });
    let outcome = simulated(npu, operands, scheme, known).map_err(|problem| problem.to_string())?;
    let numerics = outcome.report.layers.first().and_then(|layer| layer.numerics);
    numerics.map(|numerics| numerics.error.sqnr_db).ok_or_else(|| "no numbers were computed".to_owned())
}

/// The scheme behind a key of the expected file, and what it is calibrated on.
fn scheme_of(key: &str) -> Option<(Box<dyn Scheme>, Source)> {
    let registered = |name: &str| -> Option<Box<dyn Scheme>> {
        let document = presets::open_scheme(name).ok()?;
        crate::config::scheme::resolve(&document).ok()
    };
    let smooth = |name: &str| registered(name).map(|scheme| (scheme, Source::OtherText));
    let plain = |name: &str| registered(name).map(|scheme| (scheme, Source::Own));
    match key {
        "fp16" => return plain("fp16"),
        "int8_per_tensor" => return plain("w8a8_per_tensor"),
        "int8_per_tensor_x_per_channel_w" => return plain("w8a8_per_tensor_per_channel"),
        "int8_per_token_x_per_channel_w" => return plain("w8a8_per_token_per_channel"),
        "llm_int8_thr6" => return plain("llm_int8"),
        "llm_int8_per_tensor_thr6" => {
            let scopes = (Scope::Tensor, Scope::Tensor);
            let scheme = LlmInt8 { activation_scope: scopes.0, weight_scope: scopes.1, ..llm_int8::FROZEN.clone() };
            return Some((Box::new(scheme), Source::Own));
        }
        "smoothquant_a0.5_per_tensor" => return smooth("smoothquant_per_tensor"),
        "smoothquant_a0.5_per_token" => return smooth("smoothquant_per_token"),
        "smoothquant_then_muxq_thr6_e2" => {
            let smoothing = Some(Smoothing { alpha: 0.5 });
            return Some((Box::new(Muxq { smoothing, ..muxq::PER_TENSOR.clone() }), Source::OtherText));
        }
        "mxfp8_e4m3_b32" => return plain("mxfp8_e4m3"),
        "mxfp4_b32" => return plain("mxfp4"),
        _ => {}
    }
    if let Some(format) = block::by_name(key) {
        return Some((Box::new(Blocks::new(key.to_owned(), format, true, Arriving::Real)), Source::Own));
    }
    if let Some(exponent) = key.strip_prefix("muxq_thr6_e") {
        let exponent = exponent.parse().ok()?;
        return Some((Box::new(Muxq { exponent, ..muxq::PER_TENSOR.clone() }), Source::Own));
    }
    let (format, rest) = key.strip_prefix("osc_")?.split_once("_group")?;
    let format = match format.strip_prefix("int4g") {
        Some(group) => block::by_name(&format!("int4_g{group}"))?,
        None => block::by_name(format)?,
    };
    let (rest, branch_format) = match rest.strip_suffix("_bf16") {
        Some(rest) => (rest, &formats::BF16),
        None => (rest, &formats::FP16),
    };
    let (group, per_group) = rest.split_once("_k")?;
    let rule = ProtectionRule {
        group: group.parse().ok()?,
        per_group: per_group.parse().ok()?,
        choice: ProtectionChoice::MeanAbs,
    };
    let scheme = Osc {
        name: Cow::Borrowed("osc"),
        format,
        protection: Protection::Fixed(rule),
        branch_format,
        weight_rows: WeightRows::Zeroed,
        merge: MergePoint::VectorUnit,
        ..osc::MXFP4.clone()
    };
    Some((Box::new(scheme), Source::OtherText))
}

/// An FP32 or FP16 array of one or two axes.
fn floats(pack: &SafeTensors<'_>, name: &str) -> Result<(Vec<f32>, [usize; 2]), String> {
    let view = pack.tensor(name).map_err(|problem| format!("`{name}`: {problem}"))?;
    let shape = match view.shape() {
        [columns] => [1, *columns],
        [rows, columns] => [*rows, *columns],
        other => return Err(format!("`{name}` has {} axes, one or two are expected", other.len())),
    };
    let values = match view.dtype() {
        Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect(),
        Dtype::F16 => {
            let decode =
                |bytes: &[u8]| formats::FP16.decode(u32::from(u16::from_le_bytes([bytes[0], bytes[1]]))) as f32;
            view.data().chunks_exact(2).map(decode).collect()
        }
        other => return Err(format!("`{name}` is of {other:?}; F32 or F16 is expected")),
    };
    Ok((values, shape))
}
