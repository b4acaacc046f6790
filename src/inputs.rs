//! From the arguments of a run to models: documents, overrides, resolved hardware and workload.

use std::collections::BTreeMap;

use crate::calibrate::{self, CalibrationError};
use crate::config::calibration::CalibrationFile;
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, nearest};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::kinds::FileKind;
use crate::config::scheme::CalibrationSource;
use crate::config::source::Place;
use crate::config::tensors::{Coverage, Generated};
use crate::config::workload::TensorPlaces;
use crate::config::{apply, hardware, presets, scheme, tensors, workload};
use crate::hardware::energy_table::EnergyRecord;
use crate::hardware::npu::Npu;
use crate::report::data::{Configuration, EnergyFigure, SourceText, TakenDefault};
use crate::scheme::Scheme;
use crate::scheme::lowering::LoweringError;
use crate::simulation::SimulationError;
use crate::workload::bindings::Bindings;
use crate::workload::calibration::Calibration;
use crate::workload::graph::Workload;
use crate::workload::layer::LayerOperation;

/// Everything that a run reads from files.
pub struct Inputs {
    /// The accelerator.
    pub npu: Npu,
    /// The workload.
    pub workload: Workload,
    /// The scheme.
    pub scheme: Box<dyn Scheme>,
    calibration_source: CalibrationSource,
    /// What it names, once it was read.
    calibration_file: Option<CalibrationFile>,
    places: TensorPlaces,
    defaults: Defaults,
    configuration: Configuration,
    scheme_document: Document,
    notes: Vec<Diagnostic>,
}

/// The files of a run as documents, with the values that replace theirs.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Hardware, workload and scheme.
    documents: [Document; 3],
    overrides: Vec<String>,
}

impl Documents {
    /// Opens the files.
    ///
    /// # Errors
    /// One of them is not there, no YAML document, or of another kind.
    pub fn open(names: Names<'_>) -> Result<Documents, ConfigError> {
        Ok(Documents::of([open_file(0, names.hardware)?, open_file(1, names.workload)?, open_file(2, names.scheme)?]))
    }

    /// Documents that have been opened by [`open_file`]: hardware, workload, scheme.
    pub fn of(documents: [Document; 3]) -> Documents {
        Documents { documents, overrides: Vec::new() }
    }

    /// Replaces a value, as `PATH=VALUE` says.
    ///
    /// # Errors
    /// It is no assignment, or no file of the run has such a place.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let origin = Place::flag(format!("--set {assignment}"));
        let (path, value) = apply::split_assignment(assignment, &origin)?;
        self.assign(path, value, &origin)
    }

    /// Replaces the value at `path`; errors cite `origin`.
    ///
    /// # Errors
    /// No file of the run has such a place.
    pub fn assign(&mut self, path: &str, value: &str, origin: &Place) -> Result<(), ConfigError> {
        let (kind, within) = target(path, origin)?;
        self.documents[kind].apply(within, value, origin)?;
        self.overrides.push(format!("{path}={value}"));
        Ok(())
    }

    /// The documents with the values that stand in them now: hardware, workload, scheme.
    pub fn each(&self) -> &[Document; 3] {
        &self.documents
    }

    /// What they describe.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn resolve(self) -> Result<Inputs, ConfigError> {
        let [hardware_document, workload_document, scheme_document] = self.documents;
        let mut defaults = Defaults::default();
        let (npu, mut notes) = hardware::resolve_with_notes(&hardware_document, &mut defaults)?;
        let (workload, places) = workload::resolve(&workload_document)?;
        let scheme = scheme::resolve(&scheme_document)?;
        let calibration_source = scheme::calibration_source(&scheme_document)?;
        notes.extend(scheme::roles_without_layers(&scheme_document, &workload)?);
        notes.extend(scheme::unused_keys(&scheme_document)?);
        notes.extend(hardware::unused_keys(&hardware_document, &npu)?);
        let source_text = |name: &str, document: &Document| SourceText {
            name: name.to_owned(),
            file: document.source().name().to_owned(),
            text: document.source().text().to_owned(),
        };
        let configuration = Configuration {
            hardware: source_text(npu.name(), &hardware_document),
            workload: source_text(workload.name(), &workload_document),
            scheme: source_text(scheme.name(), &scheme_document),
            energy: energy_figures(&npu),
            overrides: self.overrides,
            notes: notes.iter().map(ToString::to_string).collect(),
        };
        Ok(Inputs {
            npu,
            workload,
            scheme,
            calibration_source,
            calibration_file: None,
            places,
            defaults,
            configuration,
            scheme_document,
            notes,
        })
    }
}

/// Why the inputs of a run are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The activations cannot be calibrated on.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

impl Inputs {
    /// Opens the files, applies the overrides and resolves them.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn open(names: Names<'_>, set: &[String]) -> Result<Inputs, ConfigError> {
        let mut documents = Documents::open(names)?;
        set.iter().try_for_each(|assignment| documents.set(assignment))?;
        documents.resolve()
    }

    /// Values of the workload's tensors, or `None` where it has shapes only.
    ///
    /// # Errors
    /// As [`bindings`].
    pub fn bindings(&self) -> Result<Option<Bindings>, ConfigError> {
        bindings(&self.workload, &self.places)
    }

    /// What the scheme knows about the activations: from its file, else from the values of this run, else so many channels
    /// as it plans with, else nothing. What was not asked for is recorded as a default.
    pub fn calibration(&mut self, bindings: Option<&Bindings>) -> Result<Option<Calibration>, InputError> {
        let request = self.scheme.calibration();
        if request.is_empty() {
            return Ok(None);
        }
        if let Some(file) = &self.calibration_source.file {
            let file = CalibrationFile::open(file)?;
            let calibration = file.answer(self.scheme.name(), &request, &self.workload)?.clone();
            if let Some(note) = file.unused(self.products()) {
                self.configuration.notes.push(note.to_string());
                self.notes.push(note);
            }
            self.calibration_file = Some(file);
            return Ok(Some(calibration));
        }
        let path = DottedPath::default().key("scheme").key("calibration");
        if let Some(bindings) = bindings {
            self.note(scheme::assumption_not_needed(&self.scheme_document)?);
            let reason = "no calibration file is given: the tensors of this run serve as calibration too";
            self.defaults.record(&path, &"this run", reason);
            return Ok(Some(calibrate::calibrate(&self.workload, bindings, request)?));
        }
        if request.outliers.is_none() || self.calibration_source.assumed_channels.is_some() {
            let assumed = self.calibration_source.assumed_channels.unwrap_or(0);
            if request.outliers.is_some() {
                self.note(scheme::assumption_too_large(&self.scheme_document, &self.workload)?);
            }
            let reason = "without values the places of channels are assumed; costs depend on their number alone";
            self.defaults.record(&path, &"assumed", reason);
            return Ok(Some(calibrate::assumed(&self.workload, request, assumed)));
        }
        Ok(None)
    }

    /// The names of the workload's matrix products.
    fn products(&self) -> impl Iterator<Item = &str> + Clone {
        let layers = self.workload.layers().iter();
        layers.filter(|layer| matches!(layer.operation, LayerOperation::Gemm(_))).map(|layer| layer.name.as_str())
    }

    fn note(&mut self, note: Option<Diagnostic>) {
        let known = |notes: &[Diagnostic], note: &Diagnostic| notes.iter().any(|it| it.to_string() == note.to_string());
        let Some(note) = note.filter(|note| !known(&self.notes, note)) else { return };
        self.configuration.notes.push(note.to_string());
        self.notes.push(note);
    }

    /// What is odd in the files and yet no mistake, each cited where it stands; after [`Inputs::calibration`] with what
    /// that had to say.
    pub fn notes(&self) -> &[Diagnostic] {
        &self.notes
    }

    /// The same error, cited in the calibration file where that does not suit a layer, or at the scheme's key where a
    /// calibration is missing that the key asks for.
    pub fn cited(&self, error: SimulationError) -> SimulationError {
        let SimulationError::Lowering(reason) = &error else { return error };
        let problem = match (reason, &self.calibration_file) {
            (LoweringError::NoCalibration { layer, .. }, _) => {
                scheme::missing_calibration(&self.scheme_document, layer).ok().flatten()
            }
            (LoweringError::NotCalibrated { layer }, Some(file)) => Some(file.without_layer(layer, self.products())),
            (LoweringError::CalibrationMismatch { layer, fault }, Some(file)) => Some(file.fault(layer, fault)),
            (LoweringError::AnotherRequest { scheme, asked, .. }, Some(file)) => {
                Some(file.of_another_request(scheme, asked))
            }
            _ => None,
        };
        problem.map_or(error, |problem| ConfigError::from(problem).into())
    }

    /// What the report says was simulated.
    pub fn configuration(&self) -> Configuration {
        self.configuration.clone()
    }

    /// Defaults that were taken.
    pub fn defaults(&self) -> Vec<TakenDefault> {
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

/// Values of the tensors of `workload`, or `None` where it has shapes only.
///
/// # Errors
/// Only some tensors have values, or values cannot be read.
pub fn bindings(workload: &Workload, places: &TensorPlaces) -> Result<Option<Bindings>, ConfigError> {
    match tensors::coverage(workload, places) {
        Coverage::ShapesOnly => Ok(None),
        Coverage::Partial(without) => Err(tensors::missing_values(workload, places, &without)),
        Coverage::Whole | Coverage::NotEmbedded => tensors::load(workload, places, Generated::Wanted).map(Some),
    }
}

/// Files or built-in names of a run.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Hardware file.
    pub hardware: &'a str,
    /// Workload file.
    pub workload: &'a str,
    /// Scheme file.
    pub scheme: &'a str,
}

fn energy_figures(npu: &Npu) -> BTreeMap<String, EnergyFigure> {
    let figure = |record: &EnergyRecord| EnergyFigure {
        energy_pj: record.energy_pj.typical,
        low_pj: record.energy_pj.low,
        high_pj: record.energy_pj.high,
        mark: record.mark,
        source: record.source.clone(),
    };
    npu.energy().records().map(|(action, record)| (action.to_owned(), figure(record))).collect()
}

/// The files of a run, in the order of its documents, each with the word that leads to it in a `--set`.
const RUN_KINDS: [(&str, FileKind); 3] =
    [("hardware", FileKind::Hardware), ("workload", FileKind::Workload), ("scheme", FileKind::Scheme)];

/// The file of that position among [`Documents::each`] that `path` leads into.
///
/// # Errors
/// No file of a run has its first key, or several have.
pub fn file_of(path: &str, origin: &Place) -> Result<usize, Diagnostic> {
    target(path, origin).map(|(kind, _)| kind)
}

/// `path` within its file: without the word that names the kind of file.
pub fn within(path: &str) -> &str {
    let rest = |kind: &str| path.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'));
    RUN_KINDS.iter().find_map(|(kind, _)| rest(kind)).unwrap_or(path)
}

/// The position among [`Documents::each`] of the file that `word` stands for as a whole, if it does.
pub fn whole_file(word: &str) -> Option<usize> {
    RUN_KINDS.iter().position(|(kind, _)| *kind == word)
}

/// Opens the file of that position among [`Documents::each`].
///
/// # Errors
/// It is not there, no YAML document, or of another kind.
pub fn open_file(position: usize, name: &str) -> Result<Document, ConfigError> {
    let opener = [presets::open_hardware, presets::open_workload, presets::open_scheme][position];
    let document = opener(name)?;
    RUN_KINDS[position].1.expect(&document)?;
    Ok(document)
}

/// Which kind of file a path belongs to: the one that its first word names, or else the one that has its first key.
fn target<'p>(path: &'p str, origin: &Place) -> Result<(usize, &'p str), Diagnostic> {
    for (position, (kind, _)) in RUN_KINDS.iter().enumerate() {
        if let Some(rest) = path.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) {
            return Ok((position, rest));
        }
    }
    let first = path.split(['.', '[']).next().unwrap_or(path);
    let having: Vec<usize> = (0..RUN_KINDS.len()).filter(|kind| RUN_KINDS[*kind].1.keys().contains(&first)).collect();
    match having.as_slice() {
        [kind] => Ok((*kind, path)),
        [] => {
            let keys = || RUN_KINDS.iter().flat_map(|(_, kind)| kind.keys().iter().copied());
            let message = format!("no file of this run has \"{first}\"");
            let problem = Diagnostic::new(origin, &DottedPath::default(), message).of_path();
            Err(match nearest(first, keys()) {
                Some(key) => problem.help(format!("did you mean \"{key}\"?")),
                None => problem.note(format!("known: {}", keys().collect::<Vec<_>>().join(", "))),
            })
        }
        several => {
            let kinds: Vec<&str> = several.iter().map(|kind| RUN_KINDS[*kind].0).collect();
            let message = format!("the {} files all have \"{first}\"", kinds.join(", "));
            let choices: Vec<String> = kinds.iter().map(|kind| format!("{kind}.{path}")).collect();
            Err(Diagnostic::new(origin, &DottedPath::default(), message)
                .help(format!("write {}", choices.join(" or "))))
        }
    }
}
