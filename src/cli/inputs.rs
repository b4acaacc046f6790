//! From the arguments of a run to models: documents, overrides, resolved hardware and workload.

use crate::cli::CliError;
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, nearest};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::source::Place;
use crate::config::workload::TensorPlaces;
use crate::config::{apply, hardware, presets, tensors, workload};
use crate::hardware::npu::Npu;
use crate::report::data::{Configuration, SourceText, TakenDefault};
use crate::scheme::{self, Scheme};
use crate::workload::bindings::Bindings;
use crate::workload::graph::Workload;

/// Everything that a run reads from files.
pub(super) struct Inputs {
    pub(super) npu: Npu,
    pub(super) workload: Workload,
    places: TensorPlaces,
    defaults: Defaults,
    configuration: Configuration,
}

impl Inputs {
    /// Opens both files, applies the overrides and resolves them.
    pub(super) fn open(hardware_name: &str, workload_name: &str, set: &[String]) -> Result<Inputs, ConfigError> {
        let mut hardware_document = presets::open_hardware(hardware_name)?;
        let mut workload_document = presets::open_workload(workload_name)?;
        for assignment in set {
            let origin = Place::flag(format!("--set {assignment}"));
            let (path, value) = apply::split_assignment(assignment, &origin)?;
            let (document, path) = target(&mut hardware_document, &mut workload_document, path, &origin)?;
            document.apply(path, value, &origin)?;
        }
        // An override may have named another energy table.
        presets::include_energy_table(&mut hardware_document)?;
        let mut defaults = Defaults::default();
        let npu = hardware::resolve(&hardware_document, &mut defaults)?;
        let (workload, places) = workload::resolve(&workload_document)?;
        let source_text = |name: &str, document: &Document| SourceText {
            name: name.to_owned(),
            file: document.source().name().to_owned(),
            text: document.source().text().to_owned(),
        };
        let configuration = Configuration {
            hardware: source_text(npu.name(), &hardware_document),
            workload: source_text(workload.name(), &workload_document),
            scheme: String::new(),
            overrides: set.to_vec(),
        };
        Ok(Inputs { npu, workload, places, defaults, configuration })
    }

    /// Values of the workload's tensors, or `None` where it has shapes only.
    pub(super) fn bindings(&self) -> Result<Option<Bindings>, ConfigError> {
        if self.workload.tensors().iter().all(|tensor| tensor.source.is_none()) {
            return Ok(None);
        }
        tensors::load(&self.workload, &self.places).map(Some)
    }

    /// What the report says was simulated, but for the scheme.
    pub(super) fn configuration(&self) -> Configuration {
        self.configuration.clone()
    }

    /// Defaults that were taken.
    pub(super) fn defaults(&self) -> Vec<TakenDefault> {
        let owned = |text: &dyn std::fmt::Display| text.to_string();
        self.defaults
            .taken()
            .iter()
            .map(|taken| TakenDefault {
                path: owned(&taken.path),
                value: owned(&taken.value),
                reason: owned(&taken.reason),
            })
            .collect()
    }
}

/// Which document a path belongs to: the one that its first word names, or else the one that has its first key.
fn target<'d, 'p>(
    hardware: &'d mut Document,
    workload: &'d mut Document,
    path: &'p str,
    origin: &Place,
) -> Result<(&'d mut Document, &'p str), Diagnostic> {
    if let Some(path) = path.strip_prefix("hardware.") {
        return Ok((hardware, path));
    }
    if let Some(path) = path.strip_prefix("workload.") {
        return Ok((workload, path));
    }
    let first = path.split(['.', '[']).next().unwrap_or(path);
    match (HARDWARE_KEYS.contains(&first), WORKLOAD_KEYS.contains(&first)) {
        (true, false) => Ok((hardware, path)),
        (false, true) => Ok((workload, path)),
        (true, true) => {
            let message = format!("both the hardware and the workload file have \"{first}\"");
            Err(Diagnostic::new(origin, &DottedPath::default(), message)
                .help(format!("write hardware.{path} or workload.{path}")))
        }
        (false, false) => {
            let keys = || HARDWARE_KEYS.iter().chain(WORKLOAD_KEYS).copied();
            let message = format!("neither the hardware nor the workload file has \"{first}\"");
            let problem = Diagnostic::new(origin, &DottedPath::default(), message);
            Err(match nearest(first, keys()) {
                Some(key) => problem.help(format!("did you mean \"{key}\"?")),
                None => problem.note(format!("known: {}", keys().collect::<Vec<_>>().join(", "))),
            })
        }
    }
}

/// Top-level keys of the two kinds of file, which also tell them apart.
pub(super) const HARDWARE_KEYS: &[&str] =
    &["name", "clock", "matrix_units", "vector_units", "memories", "dma", "energy"];
/// Top-level keys of a workload file.
pub(super) const WORKLOAD_KEYS: &[&str] = &["name", "activation_format", "tensors", "layers"];

/// The scheme of that name.
pub(super) fn scheme(name: &str) -> Result<&'static dyn Scheme, CliError> {
    scheme::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = scheme::ALL.iter().map(|scheme| scheme.name()).collect();
        CliError::unknown("scheme", name, nearest(name, names.iter().copied()), &names)
    })
}
