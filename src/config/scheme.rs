//! Scheme files: which quantization a run lowers its products with.
//!
//! A scheme file names one family (`cast`, `w8a8`, `blocks`, `groups`, `integer`, `muxq`, `llm_int8`, `osc`) with its parameters. The
//! built-in names are files too.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::checks::{exactly_one, place_of, plain_name};
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::outlier_schemes::{
    ACTIVATION_SCOPES, LlmInt8File, MuxqFile, OscFile, WEIGHT_SCOPES, arriving, resolve_llm_int8, resolve_muxq,
    resolve_osc, smoothing,
};
use crate::config::placed::{List, Placed};
use crate::config::schema::{FileForm, form_of};
use crate::numerics::block::{self, BlockFormat};
use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::{ScaleSource, Scope};
use crate::scheme::Scheme;
use crate::scheme::blocks::Blocks;
use crate::scheme::cast::Cast;
use crate::scheme::fallback::{ExceptedLayers, Exception, MainScheme, WithFallback};
use crate::scheme::integer::Integer;
use crate::scheme::lowering::Arriving;
use crate::scheme::w8a8::W8A8;
use crate::scheme::zeroquant::ZeroQuant;
use crate::workload::layer::LayerRole;

/// A scheme as written.
#[derive(Clone, Debug, Deserialize)]
struct SchemeFile {
    name: Field<String>,
    cast: Option<Placed<CastFile>>,
    w8a8: Option<Placed<W8A8File>>,
    blocks: Option<Placed<BlocksFile>>,
    groups: Option<Placed<GroupsFile>>,
    integer: Option<Placed<IntegerFile>>,
    muxq: Option<Placed<MuxqFile>>,
    llm_int8: Option<Placed<LlmInt8File>>,
    osc: Option<Placed<OscFile>>,
    fallback: Option<List<Placed<FallbackFile>>>,
    calibration: Field<PathBuf>,
    assumed_channels: Field<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct IntegerFile {
    format: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct CastFile {
    format: Field<String>,
}

/// Layers with a scheme of their own: the one of that name, or all of a role.
#[derive(Clone, Debug, Deserialize)]
struct FallbackFile {
    layer: Field<String>,
    role: Field<String>,
    scheme: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct W8A8File {
    format: Field<String>,
    weight_format: Field<String>,
    activation_scale: Field<String>,
    activation_scale_per: Field<String>,
    weight_scale_per: Field<String>,
    smoothing_alpha: Field<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct GroupsFile {
    format: Field<String>,
    group: Field<u64>,
    scale_format: Field<String>,
    activation_scale_per: Field<String>,
    activation_format: Field<String>,
    count_scale_bytes: Field<bool>,
}

#[derive(Clone, Debug, Deserialize)]
struct BlocksFile {
    format: Field<String>,
    count_scale_bytes: Field<bool>,
    activations: Field<String>,
}

/// The scheme that `document` describes.
///
/// # Errors
/// [`ConfigError::Invalid`] with what is wrong: no family or several, an unknown format or scope.
pub fn resolve(document: &Document) -> Result<Box<dyn Scheme>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let scheme = resolve_family(&file)?;
    let Some(fallback) = &file.fallback else { return Ok(scheme) };
    let choices: Vec<(&str, &'static dyn Scheme)> = crate::scheme::ALL
        .iter()
        .filter(|scheme| scheme.calibration().is_empty())
        .map(|scheme| (scheme.name(), *scheme))
        .collect();
    let exception = |exception: &Placed<FallbackFile>| -> Result<_, Diagnostic> {
        if exception.layer.is_given() && exception.role.is_given() {
            let problem = exception.role.problem("the exception names a layer already");
            return Err(problem.help("leave one of `layer` and `role` out; several exceptions may follow one another"));
        }
        let layers = match exception.role.optional() {
            Some(role) => ExceptedLayers::OfRole(role.one_of(&LayerRole::NAMES)?),
            None => ExceptedLayers::Named(exception.layer.required().text()?),
        };
        Ok(Exception { layers, scheme: exception.scheme.required().one_of(&choices)? })
    };
    let exceptions = fallback.iter().map(exception).collect::<Result<Vec<_>, _>>()?;
    let (scheme, exceptions) = (MainScheme::Described(scheme), Cow::Owned(exceptions));
    Ok(Box::new(WithFallback { scheme, exceptions }))
}

fn resolve_family(file: &Placed<SchemeFile>) -> Result<Box<dyn Scheme>, Diagnostic> {
    let name = plain_name(&file.name)?;
    exactly_one(
        file,
        &[
            ("cast", place_of(&file.cast)),
            ("w8a8", place_of(&file.w8a8)),
            ("blocks", place_of(&file.blocks)),
            ("groups", place_of(&file.groups)),
            ("integer", place_of(&file.integer)),
            ("muxq", place_of(&file.muxq)),
            ("llm_int8", place_of(&file.llm_int8)),
            ("osc", place_of(&file.osc)),
        ],
    )?;
    if let Some(cast) = &file.cast {
        return Ok(Box::new(Cast::new(name, cast.format.required().one_of(&floats_of(16))?)));
    }
    if let Some(w8a8) = &file.w8a8 {
        return Ok(Box::new(resolve_w8a8(name, w8a8)?));
    }
    if let Some(blocks) = &file.blocks {
        let formats: Vec<_> = block::ALL.iter().map(|format| (format.name(), *format)).collect();
        let format = blocks.format.required().one_of(&formats)?;
        let counts_scale_bytes = blocks.count_scale_bytes.required().boolean()?;
        return Ok(Box::new(Blocks::new(name, format, counts_scale_bytes, arriving(&blocks.activations)?)));
    }
    if let Some(groups) = &file.groups {
        return resolve_groups(name, groups);
    }
    if let Some(integer) = &file.integer {
        integer.format.required().one_of(&[("int8", ())])?;
        return Ok(Box::new(Integer::new(name)));
    }
    if let Some(muxq) = &file.muxq {
        return Ok(Box::new(resolve_muxq(name, muxq)?));
    }
    if let Some(osc) = &file.osc {
        return Ok(Box::new(resolve_osc(name, osc)?));
    }
    let llm_int8 = file.llm_int8.as_ref().expect("exactly one family was given");
    Ok(Box::new(resolve_llm_int8(name, llm_int8)?))
}

fn resolve_groups(name: String, file: &GroupsFile) -> Result<Box<dyn Scheme>, Diagnostic> {
    let integers = [("int4", &formats::INT4), ("int8", &formats::INT8)];
    let element = file.format.required().one_of(&integers)?;
    let scale = file.scale_format.required().one_of(&[("fp16", &formats::FP16), ("fp32", &formats::FP32)])?;
    let group = file.group.required().in_range(1..=1 << 16)?;
    let alike = |format: &&&'static BlockFormat| format.element() == element && format.scale() == scale;
    let Some(format) = block::ALL.iter().filter(alike).find(|format| format.block() == group) else {
        let sizes: Vec<String> = block::ALL.iter().filter(alike).map(|format| format.block().to_string()).collect();
        let message = format!("groups of {group} are not supported");
        return Err(file.group.problem(message).note(format!("must be one of {}", sizes.join(", "))));
    };
    let counts_scale_bytes = file.count_scale_bytes.required().boolean()?;
    let is_by_token = file.activation_scale_per.required().one_of(&[("group", false), ("token", true)])?;
    if !is_by_token {
        if file.activation_format.is_given() {
            let message = "with activation_scale_per: group both operands are alike";
            return Err(file.activation_format.problem(message).help("leave it out"));
        }
        return Ok(Box::new(Blocks::new(name, format, counts_scale_bytes, Arriving::Real)));
    }
    let activation_format = file.activation_format.required().one_of(&integers)?;
    let description = "integer weights in groups, integer activations with a scale per token";
    let (name, weights) = (name.into(), *format);
    Ok(Box::new(ZeroQuant { name, description, weights, counts_scale_bytes, activation_format }))
}

/// What a scheme file says about the activations that its scheme has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalibrationSource {
    /// A calibration file.
    pub file: Option<PathBuf>,
    /// So many outlier channels in each layer, where there are neither values nor a file.
    pub assumed_channels: Option<u64>,
}

/// Where `document` takes its calibration from.
///
/// # Errors
/// As [`resolve`].
pub fn calibration_source(document: &Document) -> Result<CalibrationSource, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let path = file.calibration.optional().map(|path| path.path()).transpose()?;
    let assumed = file.assumed_channels.optional().map(|count| count.in_range(0..=1 << 22)).transpose()?;
    Ok(CalibrationSource { file: path, assumed_channels: assumed })
}

fn resolve_w8a8(name: String, file: &W8A8File) -> Result<W8A8, Diagnostic> {
    let mut narrow = vec![("int8", &formats::INT8)];
    narrow.extend(floats_of(8));
    let mut activations = narrow.clone();
    activations.extend(floats_of(16));
    let activation_format = file.format.required().one_of(&activations)?;
    let is_wide = activation_format.storage_bits() == 16;
    narrow.push(("int4", &formats::INT4));
    let weight_format = match file.weight_format.optional() {
        Some(format) => format.one_of(&narrow)?,
        None if is_wide => file.weight_format.required().one_of(&narrow)?,
        None => activation_format,
    };
    let sources = [("dynamic", ScaleSource::Dynamic), ("static", ScaleSource::Static)];
    let activation_scale = match file.activation_scale.optional() {
        Some(source) => source.one_of(&sources)?,
        None => ScaleSource::Dynamic,
    };
    let activation_scope = if is_wide && !file.activation_scale_per.is_given() {
        None
    } else if is_wide {
        let message = format!("{activation_format} activations are rounded as they are, without a scale");
        return Err(file.activation_scale_per.problem(message).help("leave it out"));
    } else {
        Some(file.activation_scale_per.required().one_of(&ACTIVATION_SCOPES)?)
    };
    if activation_scale == ScaleSource::Static && activation_scope != Some(Scope::Tensor) {
        let message = "a static scale is one for all activations: tokens are not known before the run";
        return Err(file.activation_scale.problem(message).help("write activation_scale_per: tensor"));
    }
    Ok(W8A8 {
        name: name.into(),
        description: "scaled operands of few bits",
        activation_format,
        weight_format,
        activation_scope,
        weight_scope: file.weight_scale_per.required().one_of(&WEIGHT_SCOPES)?,
        activation_scale,
        smoothing: smoothing(&file.smoothing_alpha)?,
    })
}

/// Float formats of that many bits, by name.
fn floats_of(bits: u32) -> Vec<(&'static str, &'static ElementFormat)> {
    let fits = |format: &&'static ElementFormat| {
        format.storage_bits() == bits && matches!(format.kind(), formats::ElementKind::Float { .. })
    };
    formats::ALL.iter().copied().filter(fits).map(|format| (format.name(), format)).collect()
}

/// What such a file may hold.
pub(crate) fn form() -> FileForm {
    form_of::<Placed<SchemeFile>>()
}
