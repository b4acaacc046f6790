//! Scheme files: which quantization a run lowers its products with.
//!
//! A scheme file names one family (`cast`, `w8a8`, `blocks`, `groups`, `integer`, `muxq`, `llm_int8`, `osc`) with its parameters. The
//! built-in names are files too.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::checks::{exactly_one, place_of, plain_name};
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::named_file::NamedFile;
use crate::config::outlier_schemes::{
    ACTIVATION_SCOPES, LlmInt8File, MuxqFile, OscFile, WEIGHT_SCOPES, arriving, resolve_llm_int8, resolve_muxq,
    resolve_osc, scale_source, smoothing, unused_keys_of_osc,
};
use crate::config::placed::{List, Placed};
use crate::config::schema::{FileForm, form_of};
use crate::numerics::block::{self, BlockFormat};
use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::Scope;
use crate::scheme::Scheme;
use crate::scheme::blocks::Blocks;
use crate::scheme::cast::Cast;
use crate::scheme::fallback::{ExceptedLayers, Exception, MainScheme, WithFallback};
use crate::scheme::integer::Integer;
use crate::scheme::lowering::Arriving;
use crate::scheme::w8a8::W8A8;
use crate::scheme::zeroquant::ZeroQuant;
use crate::workload::graph::Workload;
use crate::workload::layer::{LayerOperation, LayerRole};

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
    weight_format: Field<String>,
    count_scale_bytes: Field<bool>,
    activations: Field<String>,
}

/// The scheme that `document` describes.
///
/// # Errors
/// [`ConfigError::Invalid`] with what is wrong: no family or several, an unknown format or scope.
pub fn resolve(document: &Document) -> Result<Box<dyn Scheme>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let mut problems = Problems::default();
    let name = problems.take(plain_name(&file.name));
    // A family under a name that is wrong is looked through all the same.
    let scheme = problems.take(resolve_family(&file, name.unwrap_or_default()));
    problems.take(calibration_of(&file));
    let Some(fallback) = &file.fallback else { return problems.built(|| scheme) };
    let choices: Vec<(&str, &'static dyn Scheme)> = crate::scheme::ALL
        .iter()
        .filter(|scheme| scheme.calibration().is_empty())
        .map(|scheme| (scheme.name(), *scheme))
        .collect();
    let exception = |exception: &Placed<FallbackFile>| -> Result<_, ConfigError> {
        let mut problems = Problems::default();
        if exception.layer.is_given() && exception.role.is_given() {
            let problem = exception.role.problem("the exception names a layer already");
            problems
                .push(problem.help("leave one of `layer` and `role` out; several exceptions may follow one another"));
        }
        let layers = problems.take(match exception.role.optional() {
            Some(role) => role.one_of(&LayerRole::NAMES).map(ExceptedLayers::OfRole),
            None => exception.layer.required().text().map(ExceptedLayers::Named),
        });
        let scheme = problems.take(exception.scheme.required().one_of(&choices));
        problems.built(|| Some(Exception { layers: layers?, scheme: scheme? }))
    };
    let exceptions = fallback.iter().filter_map(|written| problems.take(exception(written))).collect();
    let described = |scheme| -> Box<dyn Scheme> {
        Box::new(WithFallback { scheme: MainScheme::Described(scheme), exceptions: Cow::Owned(exceptions) })
    };
    problems.built(|| scheme.map(described))
}

fn resolve_family(file: &Placed<SchemeFile>, name: String) -> Result<Box<dyn Scheme>, ConfigError> {
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
        let mut problems = Problems::default();
        let format = problems.take(blocks.format.required().one_of(&formats));
        let weight_format = match blocks.weight_format.optional() {
            Some(weights) => problems.take(weights.one_of(&formats)),
            None => format,
        };
        if let Some((format, weights)) = format.zip(weight_format).filter(|(a, b)| a.block() != b.block()) {
            let message = format!(
                "blocks of {weights} span {} values, those of {format} {}: they meet along K",
                weights.block(),
                format.block()
            );
            problems.push(blocks.weight_format.problem(message).help("choose formats with blocks of one length"));
        }
        let counts_scale_bytes = problems.take(blocks.count_scale_bytes.required().boolean());
        let arriving = problems.take(arriving(&blocks.activations));
        return problems.built(|| -> Option<Box<dyn Scheme>> {
            let blocks = Blocks::new(name, format?, counts_scale_bytes?, arriving?);
            Some(Box::new(blocks.with_weights(weight_format?)))
        });
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

fn resolve_groups(name: String, file: &GroupsFile) -> Result<Box<dyn Scheme>, ConfigError> {
    let mut problems = Problems::default();
    let integers = [("int4", &formats::INT4), ("int8", &formats::INT8)];
    let element = problems.take(file.format.required().one_of(&integers));
    let scales = [("fp16", &formats::FP16), ("fp32", &formats::FP32)];
    let scale = problems.take(file.scale_format.required().one_of(&scales));
    let format = match problems.take(file.group.required().in_range(1..=1 << 16)).zip(element.zip(scale)) {
        Some((group, (element, scale))) => problems.take(grouped(&file.group, group, element, scale)),
        None => None,
    };
    let counts_scale_bytes = problems.take(file.count_scale_bytes.required().boolean());
    let is_by_token = file.activation_scale_per.required().one_of(&[("group", false), ("token", true)]);
    let is_by_token = problems.take(is_by_token);
    let mut activation_format = None;
    if is_by_token == Some(true) {
        activation_format = problems.take(file.activation_format.required().one_of(&integers));
    } else if is_by_token == Some(false) && file.activation_format.is_given() {
        let message = "with activation_scale_per: group both operands are alike";
        problems.push(file.activation_format.problem(message).help("leave it out"));
    }
    problems.built(|| -> Option<Box<dyn Scheme>> {
        let (format, counts_scale_bytes) = (format?, counts_scale_bytes?);
        if !is_by_token? {
            return Some(Box::new(Blocks::new(name, format, counts_scale_bytes, Arriving::Real)));
        }
        let description = "integer weights in groups, integer activations with a scale per token";
        let (name, weights, activation_format) = (name.into(), format, activation_format?);
        Some(Box::new(ZeroQuant { name, description, weights, counts_scale_bytes, activation_format }))
    })
}

/// The format with a scale for each `group` elements, which stands in `field`.
fn grouped(
    field: &Field<u64>,
    group: u64,
    element: &ElementFormat,
    scale: &ElementFormat,
) -> Result<&'static BlockFormat, Diagnostic> {
    let alike = |format: &&&'static BlockFormat| format.element() == element && format.scale() == scale;
    block::ALL.iter().filter(alike).find(|format| format.block() == group).copied().ok_or_else(|| {
        let sizes: Vec<String> = block::ALL.iter().filter(alike).map(|format| format.block().to_string()).collect();
        let message = format!("groups of {group} are not supported");
        field.problem(message).note(format!("must be one of {}", sizes.join(", ")))
    })
}

/// For each role that `document` gives a scheme of its own and that no layer of `workload` has, what is said about it. That is
/// no mistake: a scheme file serves many workloads.
///
/// # Errors
/// As [`resolve`].
pub fn roles_without_layers(document: &Document, workload: &Workload) -> Result<Vec<Diagnostic>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let present: Vec<LayerRole> = workload
        .layers()
        .iter()
        .filter_map(|layer| match &layer.operation {
            LayerOperation::Gemm(gemm) => gemm.role,
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => None,
        })
        .collect();
    let absent = |written: &Placed<FallbackFile>| {
        let (name, role) = (written.role.required().text().ok()?, written.role.required().one_of(&LayerRole::NAMES));
        let has_layers = role.is_err() || role.is_ok_and(|role| present.contains(&role));
        (!has_layers).then(|| {
            let message = format!(
                "no layer of the workload `{}` has the role \"{name}\": this fallback does nothing",
                workload.name()
            );
            let names = LayerRole::NAMES.iter().filter(|(_, role)| present.contains(role)).map(|(name, _)| *name);
            let known = if present.is_empty() { "none".to_owned() } else { listed(names) };
            let note = format!("roles of its layers: {known}");
            written.role.problem(message).note(note).help("give layers a `role:` in the workload file, or name a layer")
        })
    };
    Ok(file.fallback.iter().flat_map(|written| written.iter()).filter_map(absent).collect())
}

/// Keys of `document` that do nothing under what else it says, each with why. They are allowed, so that a file serves while
/// one of its choices changes.
///
/// # Errors
/// As [`resolve`].
pub fn unused_keys(document: &Document) -> Result<Vec<Diagnostic>, ConfigError> {
    let request = resolve(document)?.calibration();
    let file: Placed<SchemeFile> = document.read()?;
    let mut unused = file.osc.as_ref().map(|osc| unused_keys_of_osc(osc)).unwrap_or_default();
    if request.is_empty() && file.calibration.is_given() {
        let message = "`calibration` does nothing: the scheme has to know no activations before the run";
        unused.push(file.calibration.problem(message));
    }
    if file.assumed_channels.is_given() {
        let reason = if request.outliers.is_none() {
            Some("the scheme does not look for outlier channels")
        } else if file.calibration.is_given() {
            Some("the calibration file says which channels are outliers")
        } else {
            None
        };
        let message = reason.map(|reason| format!("`assumed_channels` does nothing: {reason}"));
        unused.extend(message.map(|message| file.assumed_channels.problem(message)));
    }
    Ok(unused)
}

/// What is said about `assumed_channels` of `document` in a run that need not assume them.
///
/// # Errors
/// As [`resolve`].
pub fn assumption_not_needed(document: &Document) -> Result<Option<Diagnostic>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let message =
        "`assumed_channels` does nothing in this run: the outlier channels are counted on the values of its tensors";
    let field = &file.assumed_channels;
    Ok(field.is_given().then(|| field.problem(message).help("run with --no-numerics to plan with it")))
}

/// What is said about `assumed_channels` of `document` where layers of `workload` have fewer input channels than it assumes
/// outliers: one channel is left to the body of each.
///
/// # Errors
/// As [`resolve`].
pub fn assumption_too_large(document: &Document, workload: &Workload) -> Result<Option<Diagnostic>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let Some(assumed) = calibration_of(&file)?.assumed_channels else { return Ok(None) };
    let narrow: Vec<String> = workload
        .layers()
        .iter()
        .filter_map(|layer| match &layer.operation {
            LayerOperation::Gemm(gemm) if gemm.is_plain() && gemm.shape.k <= assumed => {
                Some(format!("`{}` (K = {})", layer.name, gemm.shape.k))
            }
            LayerOperation::Gemm(_) | LayerOperation::Activate { .. } | LayerOperation::Vector(_) => None,
        })
        .collect();
    if narrow.is_empty() {
        return Ok(None);
    }
    let message = format!(
        "{assumed} outlier channels are as many as all input channels of some layers, or more; there all but one are planned \
         with: {}",
        listed(narrow.iter().map(String::as_str))
    );
    Ok(Some(file.assumed_channels.problem(message).help("assume fewer channels, or give tensors values")))
}

/// The mistake of a scheme that has to know the outlier channels of `layer` where there is no calibration, cited at the key
/// that asks for them; none where no key does.
///
/// # Errors
/// As [`resolve`].
pub fn missing_calibration(document: &Document, layer: &str) -> Result<Option<Diagnostic>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let muxq = file.muxq.as_ref().map(|muxq| &muxq.detection);
    let Some(detection) = muxq.or(file.llm_int8.as_ref().map(|llm_int8| &llm_int8.detection)) else { return Ok(None) };
    let message =
        format!("the outlier channels of layer `{layer}` have to be known before the run, but there is no calibration");
    let problem = detection
        .problem(message)
        .note("frozen: which channels; online: for how many room is planned")
        .help("give the workload's tensors values, or run without --no-numerics")
        .help("or name a calibration file here: calibration: PATH (npusim calibrate writes one)")
        .help("or say how many channels to plan with: assumed_channels: N");
    Ok(Some(problem))
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
    calibration_of(&document.read()?)
}

/// The calibration file that `document` names.
///
/// # Errors
/// As [`resolve`].
pub fn calibration_file(document: &Document) -> Result<Option<NamedFile>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let path = calibration_of(&file)?.file;
    Ok(path.map(|path| NamedFile::new(path, file.calibration.place(), file.calibration.path())))
}

fn calibration_of(file: &Placed<SchemeFile>) -> Result<CalibrationSource, ConfigError> {
    let mut problems = Problems::default();
    let path = problems.take(file.calibration.optional().map(|path| path.path()).transpose());
    let assumed = file.assumed_channels.optional().map(|count| count.in_range(0..=1 << 22));
    let assumed = problems.take(assumed.transpose());
    problems.built(|| Some(CalibrationSource { file: path?, assumed_channels: assumed? }))
}

fn resolve_w8a8(name: String, file: &W8A8File) -> Result<W8A8, ConfigError> {
    let mut problems = Problems::default();
    let mut narrow = vec![("int8", &formats::INT8)];
    narrow.extend(floats_of(8));
    let mut activations = narrow.clone();
    activations.extend(floats_of(16));
    let activation_format = problems.take(file.format.required().one_of(&activations));
    let is_wide = activation_format.map(|format| format.storage_bits() == 16);
    narrow.push(("int4", &formats::INT4));
    let weight_format = match file.weight_format.optional() {
        Some(format) => problems.take(format.beside_others().one_of(&narrow)),
        None if is_wide == Some(true) => problems.take(file.weight_format.required().beside_others().one_of(&narrow)),
        None => activation_format,
    };
    let mut activation_scope = None;
    match activation_format.filter(|format| format.storage_bits() == 16) {
        None => activation_scope = problems.take(file.activation_scale_per.required().one_of(&ACTIVATION_SCOPES)),
        Some(wide) if file.activation_scale_per.is_given() => {
            let message = format!("{wide} activations are rounded as they are, without a scale");
            problems.push(file.activation_scale_per.problem(message).help("leave it out"));
        }
        Some(_) => {}
    }
    // A 16-bit float has no scale at all, and so none for all activations.
    let scope = if is_wide == Some(true) { Some(Scope::Row) } else { activation_scope };
    let activation_scale = problems.take(scale_source(&file.activation_scale, scope));
    let weight_scope = problems.take(file.weight_scale_per.required().one_of(&WEIGHT_SCOPES));
    let smoothing = problems.take(smoothing(&file.smoothing_alpha));
    problems.built(|| {
        Some(W8A8 {
            name: name.into(),
            description: "scaled operands of few bits",
            activation_format: activation_format?,
            weight_format: weight_format?,
            activation_scope,
            weight_scope: weight_scope?,
            activation_scale: activation_scale?,
            smoothing: smoothing?,
        })
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
