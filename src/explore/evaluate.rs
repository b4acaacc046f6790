//! One point: its files put together, simulated, measured.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, Problems};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Node, Value};
use crate::config::source::Place;
use crate::config::study::{Metric, Parameter, StudiedFile, Study, Target, Values, resolve_file};
use crate::config::study_mode::Mode;
use crate::config::{hardware, workload};
use crate::explore::estimate::{Prepared, estimated};
use crate::explore::journal;
use crate::explore::refusals;
use crate::explore::space::{Choice, PointValue, Space};
use crate::inputs::{Documents, bindings, file_of, open_file, whole_file, within};
use crate::report::data::Report;
use crate::scheme;
use crate::simulation::{RealValues, Setup, simulate_sharing};
use crate::timing::observer::Unobserved;
use crate::workload::bindings::Bindings;
use crate::workload::graph::Workload;

/// What was measured of a point. Metrics that it does not have, such as errors without values, are left out.
pub type Measured = BTreeMap<Metric, f64>;

/// Simulates points of one study.
pub struct Evaluator<'s> {
    study: &'s Study,
    space: &'s Space<'s>,
    /// Hardware, workload and scheme where no parameter names others.
    files: [Document; 3],
    /// Files that parameters name, by position among the three and name.
    named: BTreeMap<(usize, String), Document>,
    /// Values, where all points have the same.
    shared: Option<(Bindings, RealValues)>,
    /// Files that points read while they are simulated.
    read: BTreeSet<PathBuf>,
    /// What may differ between points that share their tilings.
    off_chip: OffChip,
    /// Scheduled programs of estimated points, by all values but those of off-chip memory.
    prepared: Mutex<BTreeMap<Vec<String>, Arc<Vec<Prepared>>>>,
}

/// The parameters that change nothing but off-chip memories, whose rates and latencies decide no room and no unit.
#[derive(Default)]
struct OffChip {
    /// Whether each parameter is one.
    parameters: Vec<bool>,
    /// Positions in a choice of those that have a list of values.
    lists: Vec<usize>,
}

impl OffChip {
    fn of(study: &Study) -> OffChip {
        let is_off_chip = |target: &Target| {
            let path = target.path.strip_prefix("hardware.").unwrap_or(&target.path);
            let steps: Vec<&str> = path.split('.').collect();
            matches!(steps.as_slice(), ["memories", _, "dram", _, ..])
        };
        let here = |parameter: &Parameter| !parameter.paths.is_empty() && parameter.paths.iter().all(is_off_chip);
        let uses = |parameter: &Parameter, position: usize| match &parameter.values {
            Values::Expression(expression) => expression.uses.contains(&position),
            Values::List(_) => false,
        };
        // What something on the chip is computed from belongs to the chip.
        let on_chip =
            |position: usize| study.parameters.iter().any(|parameter| uses(parameter, position) && !here(parameter));
        let parameters: Vec<bool> = study
            .parameters
            .iter()
            .enumerate()
            .map(|(position, parameter)| here(parameter) && !on_chip(position))
            .collect();
        let is_list = |parameter: &Parameter| matches!(parameter.values, Values::List(_));
        let lists = study.parameters.iter().zip(&parameters).filter(|(parameter, _)| is_list(parameter));
        let lists = lists.enumerate().filter(|(_, (_, is_here))| **is_here).map(|(position, _)| position).collect();
        OffChip { parameters, lists }
    }
}

/// The most scheduled programs that are kept.
const MOST_PREPARED: usize = 64;
/// The positions of the files of a run.
const HARDWARE: usize = 0;
const WORKLOAD: usize = 1;
const SCHEME: usize = 2;

/// Why a point has no measures.
#[derive(Debug)]
enum Failure {
    /// The simulation said so.
    Refused(String),
    /// It panicked, which is a mistake of the program.
    Panicked(String),
}

impl<'s> Evaluator<'s> {
    /// Opens every file that the study or a parameter names, and looks for what is wrong at every point.
    ///
    /// # Errors
    /// A file is missing or wrong, a path leads nowhere, or a value is none that its place takes.
    pub fn open(study: &'s Study, space: &'s Space<'s>) -> Result<Evaluator<'s>, ConfigError> {
        let mut problems = Problems::default();
        let [hardware, workload, scheme] = [&study.hardware, &study.workload, &study.scheme];
        let mut first = |position, file: &StudiedFile| problems.take(open_cited(position, &file.name, &file.place));
        let files = [first(HARDWARE, hardware), first(WORKLOAD, workload), first(SCHEME, scheme)];
        let mut named = BTreeMap::new();
        for parameter in &study.parameters {
            for target in &parameter.paths {
                let Some(position) = whole_file(&target.path) else {
                    problems.take(file_of(&target.path, &target.place));
                    continue;
                };
                for level in parameter.levels() {
                    let name = resolve_file(&level.text, &level.place);
                    let document = problems.take(open_cited(position, &name, &level.place));
                    named.extend(document.map(|document| ((position, name), document)));
                }
            }
        }
        let files = problems.built(|| {
            let [hardware, workload, scheme] = files;
            Some([hardware?, workload?, scheme?])
        })?;
        let mut evaluator = Evaluator {
            study,
            space,
            files,
            named,
            read: BTreeSet::new(),
            shared: None,
            off_chip: OffChip::of(study),
            prepared: Mutex::default(),
        };
        evaluator.read = refusals::check(&evaluator)?;
        Ok(evaluator)
    }

    /// Computes what all points share, so that each need not.
    ///
    /// # Errors
    /// As [`Evaluator::shared_values`].
    pub fn share_values(&mut self) -> Result<(), ConfigError> {
        if let Some((workload, bindings)) = self.shared_values()?
            && let Ok(real) = RealValues::of(&workload, &bindings)
        {
            self.shared = Some((bindings, real));
        }
        Ok(())
    }

    /// The workload with its values, if these are computed with and all points have the same.
    ///
    /// # Errors
    /// The workload has no values, though a metric needs them, or they cannot be read.
    pub fn shared_values(&self) -> Result<Option<(Workload, Bindings)>, ConfigError> {
        if !self.study.numerics || self.varies_workload() {
            return Ok(None);
        }
        // What the study sets is in it, whatever the parameters are: they leave it alone.
        let (workload, places) = workload::resolve(&self.document(WORKLOAD, &[])?)?;
        if let Some(bindings) = bindings(&workload, &places)? {
            return Ok(Some((workload, bindings)));
        }
        let metrics = self.study.objectives.iter().map(|objective| objective.metric);
        let mut metrics = metrics.chain(self.study.constraints.iter().map(|constraint| constraint.metric));
        let Some(metric) = metrics.find(|metric| metric.needs_values()) else { return Ok(None) };
        let message = format!("its tensors have shapes but no values, so that {} is never known", metric.name());
        Err(Diagnostic::new(&self.study.workload.place, &DottedPath::default(), message).into())
    }

    /// Digest of the study in `document` and of all files that its points are put together from or read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn fingerprint(&self, document: &Document) -> Result<String, ConfigError> {
        let mut texts: Vec<String> = Vec::new();
        for path in &self.read {
            let failure = |cause| ConfigError::Read { path: path.clone(), cause };
            texts.extend([path.display().to_string(), journal::digest_of_file(path).map_err(failure)?]);
        }
        let documents = std::iter::once(document).chain(&self.files).chain(self.named.values());
        Ok(fingerprint(documents, texts.iter().map(String::as_str)))
    }

    pub(super) fn study(&self) -> &'s Study {
        self.study
    }

    pub(super) fn space(&self) -> &'s Space<'s> {
        self.space
    }

    /// The file of that position where no parameter names another.
    pub(super) fn first_file(&self, position: usize) -> &Document {
        &self.files[position]
    }

    /// How long the file of that position is.
    pub(super) fn lines(&self, position: usize) -> usize {
        self.files[position].source().text().lines().count()
    }

    fn varies_workload(&self) -> bool {
        let targets = self.study.parameters.iter().flat_map(|parameter| &parameter.paths);
        targets.into_iter().any(|target| {
            let file = whole_file(&target.path).or_else(|| file_of(&target.path, &target.place).ok());
            file == Some(WORKLOAD)
        })
    }

    /// Measures a point, or estimates it where the study says so.
    ///
    /// # Errors
    /// Why it cannot be simulated, and whether that is a mistake of the program.
    pub fn evaluate(&self, choice: &[u32]) -> Result<Measured, (String, bool)> {
        match self.study.mode {
            Mode::Estimate => self.estimate(choice),
            Mode::Simulate | Mode::Prune { .. } => caught(|| self.simulate(choice)),
        }
    }

    /// Estimates a point. Tilings are those found where parameters of off-chip memory have their first, middle and last
    /// values, whichever is best here.
    ///
    /// # Errors
    /// As of [`Evaluator::evaluate`].
    pub fn estimate(&self, choice: &[u32]) -> Result<Measured, (String, bool)> {
        caught(|| {
            let values = self.space.values(choice)?;
            let prepared = self.prepared(choice, &values)?;
            let hardware = self.document(HARDWARE, &values);
            let npu = hardware.and_then(|hardware| hardware::resolve(&hardware, &mut Defaults::default()));
            let npu = npu.map_err(|error| error.to_string())?;
            Ok(estimated(&prepared, &npu))
        })
    }

    fn prepared(&self, choice: &[u32], values: &[PointValue<'_>]) -> Result<Arc<Vec<Prepared>>, String> {
        if self.off_chip.lists.is_empty() {
            return Ok(Arc::new(vec![self.prepare(values)?]));
        }
        let others = values.iter().zip(&self.off_chip.parameters).filter(|(_, is_off_chip)| !**is_off_chip);
        let key: Vec<String> = others.map(|(value, _)| value.text.clone()).collect();
        let unpoisoned = "no thread panics while it holds this";
        if let Some(known) = self.prepared.lock().expect(unpoisoned).get(&key) {
            return Ok(Arc::clone(known));
        }
        let sizes = self.space.sizes();
        let levels: [fn(u32) -> u32; 3] = [|_| 0, |size| (size - 1) / 2, |size| size - 1];
        let mut anchors: Vec<Choice> = Vec::new();
        for level in levels {
            let mut anchor = choice.to_vec();
            self.off_chip.lists.iter().for_each(|position| anchor[*position] = level(sizes[*position]));
            if !anchors.contains(&anchor) {
                anchors.push(anchor);
            }
        }
        let prepared = anchors.iter().map(|anchor| self.prepare(&self.space.values(anchor)?));
        let prepared = Arc::new(prepared.collect::<Result<Vec<Prepared>, String>>()?);
        let mut all = self.prepared.lock().expect(unpoisoned);
        if all.len() == MOST_PREPARED {
            all.clear();
        }
        all.insert(key, Arc::clone(&prepared));
        Ok(prepared)
    }

    fn prepare(&self, values: &[PointValue<'_>]) -> Result<Prepared, String> {
        let text = |error: ConfigError| error.to_string();
        let mut inputs = self.documents(values).and_then(Documents::resolve).map_err(text)?;
        let own = match (&self.shared, self.study.numerics) {
            (None, true) => inputs.bindings().map_err(text)?,
            (Some(_), _) | (None, false) => None,
        };
        let bindings = self.shared.as_ref().map(|(bindings, _)| bindings).or(own.as_ref());
        let calibration = inputs.calibration(bindings).map_err(|error| error.to_string())?;
        let program = scheme::lower(&inputs.workload, inputs.scheme.as_ref(), calibration.as_ref());
        let program = program.map_err(|error| inputs.cited(error.into()).to_string())?;
        Prepared::of(&program, &inputs.npu, inputs.workload.mapping()).map_err(|error| error.to_string())
    }

    /// One file of a point, as [`Evaluator::documents`] would put it together.
    ///
    /// # Errors
    /// A path leads nowhere in it.
    pub(super) fn document(&self, position: usize, values: &[PointValue<'_>]) -> Result<Document, ConfigError> {
        let targets =
            || values.iter().flat_map(|value| value.parameter.paths.iter().map(move |target| (value, target)));
        let whole = targets().rfind(|(_, target)| whole_file(&target.path) == Some(position));
        let mut document = match whole {
            Some((value, _)) => self.named[&(position, resolve_file(&value.text, value.place))].clone(),
            None => self.files[position].clone(),
        };
        let mut assign = |path: &str, value: &str, place: &Place| -> Result<(), ConfigError> {
            if whole_file(path).is_some() || file_of(path, place).map_err(ConfigError::from)? != position {
                return Ok(());
            }
            document.apply(within(path), value, place)?;
            Ok(())
        };
        for assignment in &self.study.set {
            assign(&assignment.path, &assignment.value, &assignment.place)?;
        }
        for (value, target) in targets() {
            match &value.parameter.unit {
                None => assign(&target.path, &value.text, value.place)?,
                Some(unit) => assign(&target.path, &format!("{} {unit}", value.text), value.place)?,
            }
        }
        Ok(document)
    }

    fn simulate(&self, choice: &[u32]) -> Result<Measured, String> {
        let values = self.space.values(choice)?;
        let text = |error: ConfigError| error.to_string();
        let mut inputs = self.documents(&values).and_then(Documents::resolve).map_err(text)?;
        let own = match (&self.shared, self.study.numerics) {
            (None, true) => inputs.bindings().map_err(text)?,
            (Some(_), _) | (None, false) => None,
        };
        let (bindings, mut real) = match &self.shared {
            Some((bindings, real)) => (Some(bindings), real.clone()),
            None => (own.as_ref(), RealValues::default()),
        };
        let calibration = inputs.calibration(bindings).map_err(|error| error.to_string())?;
        let setup = Setup {
            npu: &inputs.npu,
            workload: &inputs.workload,
            scheme: inputs.scheme.as_ref(),
            calibration: calibration.as_ref(),
            bindings,
            configuration: inputs.configuration(),
            defaults: inputs.defaults(),
        };
        let outcome = simulate_sharing(setup, &mut real, &mut Unobserved);
        let outcome = outcome.map_err(|error| inputs.cited(error).to_string())?;
        Ok(measure(&outcome.report))
    }

    /// The files of a point: first those that it names, then what the study sets, then its own values.
    fn documents(&self, values: &[PointValue<'_>]) -> Result<Documents, ConfigError> {
        let mut files = self.files.clone();
        let targets =
            || values.iter().flat_map(|value| value.parameter.paths.iter().map(move |target| (value, target)));
        for (value, target) in targets() {
            if let Some(position) = whole_file(&target.path) {
                let name = resolve_file(&value.text, value.place);
                files[position].clone_from(&self.named[&(position, name)]);
            }
        }
        let mut documents = Documents::of(files);
        for assignment in &self.study.set {
            documents.assign(&assignment.path, &assignment.value, &assignment.place)?;
        }
        for (value, target) in targets().filter(|(_, target)| whole_file(&target.path).is_none()) {
            match &value.parameter.unit {
                None => documents.assign(&target.path, &value.text, value.place)?,
                Some(unit) => documents.assign(&target.path, &format!("{} {unit}", value.text), value.place)?,
            }
        }
        Ok(documents)
    }
}

/// What `measure` gives; a panic in it is a failure as well.
fn caught(measure: impl FnOnce() -> Result<Measured, String>) -> Result<Measured, (String, bool)> {
    let outcome = catch_unwind(AssertUnwindSafe(measure));
    let failure = match outcome {
        Ok(Ok(measured)) => return Ok(measured),
        Ok(Err(reason)) => Failure::Refused(reason),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Failure::Panicked(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
        }
    };
    Err(match failure {
        Failure::Refused(reason) => (reason, false),
        Failure::Panicked(text) => (format!("panic (a mistake of npusim, not of its input): {text}"), true),
    })
}

/// The metrics of a report.
pub fn measure(report: &Report) -> Measured {
    let totals = &report.totals;
    let energy_pj = totals.energy_pj.get("total").copied();
    let errors = || report.layers.iter().filter_map(|layer| layer.numerics.as_ref()).map(|numerics| &numerics.error);
    let value = |metric| match metric {
        Metric::Cycles => Some(totals.cycles as f64),
        Metric::TimeUs => Some(totals.time_us),
        Metric::EnergyPj => energy_pj,
        Metric::EnergyDelay => energy_pj.map(|energy| energy * totals.time_us * 1e-6),
        Metric::DramBytes => Some((totals.dram_read_bytes + totals.dram_write_bytes) as f64),
        Metric::SramBytes => Some((totals.sram_read_bytes + totals.sram_write_bytes) as f64),
        Metric::Utilization => {
            let units = totals.utilization.len() as f64;
            Some(totals.utilization.values().sum::<f64>() / units)
        }
        Metric::OverBound => Some(totals.cycles as f64 / totals.lower_bound_cycles as f64),
        Metric::SqnrDb => errors().map(|error| error.sqnr_db).reduce(f64::min),
        Metric::RelativeError => errors().map(|error| error.relative_error).reduce(f64::max),
    };
    let all = Metric::ALL.into_iter().filter_map(|metric| Some((metric, value(metric)?)));
    all.filter(|(_, value)| value.is_finite()).collect()
}

/// The document of a file that the study names at `place`, which is cited if there is none.
fn open_cited(position: usize, name: &str, place: &Place) -> Result<Document, ConfigError> {
    open_file(position, name).map_err(|error| match error {
        ConfigError::Invalid(problems) => {
            let cited = |problem: Diagnostic| if problem.place().is_flag() { problem.at(place) } else { problem };
            ConfigError::Invalid(problems.into_iter().map(cited).collect())
        }
        other => other,
    })
}

/// Digest of documents, every key and value, not where they stand; and of more texts behind them.
fn fingerprint<'d>(documents: impl IntoIterator<Item = &'d Document>, more: impl Iterator<Item = &'d str>) -> String {
    let mut texts = Vec::new();
    for document in documents {
        gather(document.root(), &mut texts);
        texts.push("\u{0}");
    }
    texts.extend(more);
    journal::digest(texts)
}

fn gather<'n>(node: &'n Node, texts: &mut Vec<&'n str>) {
    match &node.value {
        Value::Scalar(scalar) => texts.push(&scalar.text),
        Value::Sequence(items) => {
            texts.push("[");
            items.iter().for_each(|item| gather(item, texts));
            texts.push("]");
        }
        Value::Mapping(entries) => {
            texts.push("{");
            for (key, value) in entries {
                texts.push(&key.text);
                gather(value, texts);
            }
            texts.push("}");
        }
    }
}
