//! What is wrong with a study at whichever point: said before the first one is simulated, by `check` and `explore` alike.
//!
//! A value may be wrong only beside others. Then its points fail, each with its reason, and the study goes on. What is
//! refused here is a value that its reader refuses by itself ([`Fault::Value`]), or a path that leads nowhere
//! ([`Fault::Path`]), and that in the same words at every point that was tried: with all other parameters at their first
//! values, with each of them at others, with every file that a parameter names, and at points picked at random.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, Fault, Problems};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::source::Place;
use crate::config::study::{Parameter, Target, Values};
use crate::config::{hardware, presets, scheme, tensors, workload};
use crate::explore::evaluate::Evaluator;
use crate::explore::space::Choice;
use crate::inputs::{file_of, whole_file};

/// The most values of another parameter beside which a refused value is tried again.
const OTHERS: u32 = 8;
/// The same of a parameter that names whole files.
const OTHER_FILES: u32 = 64;
/// Points picked at random beside these.
const RANDOM: usize = 32;
/// The most values of one parameter that are cited.
const CITED: usize = 20;
/// How much is read to try the values of one parameter, in lines of its file.
const LINES: usize = 400_000;
/// The fewest of its values that are tried, however long the file.
const FEWEST: usize = 8;
/// How many files a run has.
const FILES: usize = 3;

/// The files that points read while they are simulated: calibrations, energy tables, and tensors where values are computed.
///
/// # Errors
/// Everything that is wrong at every point.
pub(super) fn check(evaluator: &Evaluator<'_>) -> Result<BTreeSet<PathBuf>, ConfigError> {
    let check = Check { evaluator, points: points(evaluator) };
    let mut read = BTreeSet::new();
    let mut problems = Problems::default();
    check.sets(&mut problems, &mut read);
    for (position, parameter) in evaluator.study().parameters.iter().enumerate() {
        match parameter.values {
            Values::List(_) => check.list(position, parameter, &mut problems, &mut read),
            Values::Expression(_) => check.expression(parameter, &mut problems, &mut read),
        }
    }
    if problems.len() == 0 {
        check.files(&mut problems, &mut read);
    }
    problems.finish()?;
    Ok(read)
}

/// A few points that stand for all: the first, then those that differ from it in one list, then some at random.
fn points(evaluator: &Evaluator<'_>) -> Vec<Choice> {
    let sizes = evaluator.space().sizes();
    let first: Choice = vec![0; sizes.len()];
    let mut points = vec![first.clone()];
    let is_file = |parameter: &Parameter| parameter.paths.iter().any(|target| whole_file(&target.path).is_some());
    let lists = evaluator.study().parameters.iter().filter(|parameter| matches!(parameter.values, Values::List(_)));
    for (list, parameter) in lists.enumerate() {
        let most = if is_file(parameter) { OTHER_FILES } else { OTHERS };
        for level in spread(sizes[list] as usize, most as usize) {
            let mut point = first.clone();
            point[list] = u32::try_from(level).expect("lists are limited");
            points.push(point);
        }
    }
    let mut random = Pcg64::seed_from_u64(0);
    points.extend((0..RANDOM).map(|_| sizes.iter().map(|size| random.random_range(0..*size)).collect::<Choice>()));
    points.dedup();
    points
}

/// At most `most` positions of a list of `size`, the first and the last among them.
fn spread(size: usize, most: usize) -> Vec<usize> {
    if size <= most {
        return (0..size).collect();
    }
    (0..most).map(|step| step * (size - 1) / (most - 1)).collect()
}

struct Check<'c, 's> {
    evaluator: &'c Evaluator<'s>,
    points: Vec<Choice>,
}

/// Where a mistake must be cited to count.
#[derive(Clone, Copy)]
enum Cited<'p> {
    /// At this place of the study.
    At(&'p Place),
    /// Outside of the study: a file says so itself, whatever is put into it.
    Outside,
}

/// The files of a run, by their position among its documents, that something concerns.
type Concerned = BTreeSet<usize>;

impl Check<'_, '_> {
    /// What the study sets at every point.
    fn sets(&self, problems: &mut Problems, read: &mut BTreeSet<PathBuf>) {
        for assignment in &self.evaluator.study().set {
            let Some(position) = problems.take(file_of(&assignment.path, &assignment.place)) else { continue };
            let refused =
                self.everywhere(&Concerned::from([position]), Cited::At(&assignment.place), read, Clone::clone);
            refused.into_iter().for_each(|problem| problems.push(problem));
        }
    }

    /// The values of a parameter, each by itself.
    fn list(&self, position: usize, parameter: &Parameter, problems: &mut Problems, read: &mut BTreeSet<PathBuf>) {
        let before = &self.evaluator.study().parameters[..position];
        let list = before.iter().filter(|parameter| matches!(parameter.values, Values::List(_))).count();
        let levels = parameter.levels();
        let (wholes, within) = concerned(parameter);
        let lines =
            |positions: &Concerned| -> usize { positions.iter().map(|position| self.evaluator.lines(*position)).sum() };
        let most = LINES / lines(&within).max(lines(&wholes)).max(1);
        let noted = problems.len();
        for level in spread(levels.len(), most.max(FEWEST)) {
            let there = |point: &Choice| {
                let mut point = point.clone();
                point[list] = u32::try_from(level).expect("lists are limited");
                point
            };
            // A file that is named as a whole is wrong wherever it says so itself.
            let of_file = self.everywhere(&wholes, Cited::Outside, read, there);
            let refused = of_file.or_else(|| self.everywhere(&within, Cited::At(&levels[level].place), read, there));
            let Some(refused) = refused else { continue };
            if refused.fault() == Fault::Path && !within.is_empty() {
                // Whatever the value: the path is cited, once.
                let target = self.misled(parameter, &levels[level].text);
                problems.push(refused.at(&target.place));
                return;
            }
            problems.push(refused);
            if problems.len() >= noted + CITED {
                return;
            }
        }
    }

    /// What is computed, where no point accepts it.
    fn expression(&self, parameter: &Parameter, problems: &mut Problems, read: &mut BTreeSet<PathBuf>) {
        let Values::Expression(expression) = &parameter.values else { return };
        let is_computed = |point: &Choice| self.evaluator.space().values(point).is_ok();
        if !self.points.iter().any(is_computed) {
            let message =
                format!("the expression of {} has no finite value at any point that was tried", parameter.name);
            problems.push(Diagnostic::new(&expression.place, &DottedPath::default(), message));
            return;
        }
        let (_, within) = concerned(parameter);
        let mut first = None;
        for point in self.points.iter().filter(|point| is_computed(point)) {
            match self.refused(point, &within, Cited::At(&expression.place), read) {
                None => return,
                Some(refused) => drop(first.get_or_insert(refused)),
            }
        }
        let Some(refused) = first else { return };
        problems.push(match (refused.fault(), parameter.paths.first()) {
            (Fault::Path, Some(target)) => refused.at(&target.place),
            _ => refused,
        });
    }

    /// Files that are wrong whatever the parameters are.
    fn files(&self, problems: &mut Problems, read: &mut BTreeSet<PathBuf>) {
        for position in 0..FILES {
            let mut failures = Vec::new();
            for point in &self.points {
                let Ok(values) = self.evaluator.space().values(point) else { continue };
                let document = self.evaluator.document(position, &values);
                match document.and_then(|document| self.files_read(position, &document)) {
                    Ok(files) => {
                        read.extend(files);
                        failures.clear();
                        break;
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            let first = |failure: &ConfigError| failure.diagnostics().first().cloned();
            if failures.windows(2).all(|pair| first(&pair[0]) == first(&pair[1]))
                && let Some(failure) = failures.into_iter().next()
            {
                problems.take::<(), _>(Err(failure));
            }
        }
    }

    /// The mistake that is `cited` so at every point, in the same words, if there is one.
    fn everywhere(
        &self,
        positions: &Concerned,
        cited: Cited<'_>,
        read: &mut BTreeSet<PathBuf>,
        there: impl Fn(&Choice) -> Choice,
    ) -> Option<Diagnostic> {
        let mut first: Option<Diagnostic> = None;
        for point in &self.points {
            let refused = self.refused(&there(point), positions, cited, read)?;
            match &first {
                None => first = Some(refused),
                Some(first) if *first == refused => {}
                Some(_) => return None,
            }
        }
        first
    }

    /// The mistake at `point` that is one by itself and `cited` so.
    fn refused(
        &self,
        point: &Choice,
        positions: &Concerned,
        cited: Cited<'_>,
        read: &mut BTreeSet<PathBuf>,
    ) -> Option<Diagnostic> {
        let study = self.evaluator.study().hardware.place.source();
        let counts = |place: &Place| match cited {
            Cited::At(meant) => place == meant,
            Cited::Outside => !Arc::ptr_eq(place.source(), study),
        };
        let values = self.evaluator.space().values(point).ok()?;
        for position in positions {
            let document = self.evaluator.document(*position, &values);
            match document.and_then(|document| self.files_read(*position, &document)) {
                Ok(files) => read.extend(files),
                Err(error) => {
                    let is_meant =
                        |problem: &&Diagnostic| problem.fault() != Fault::Combination && counts(problem.place());
                    if let Some(problem) = error.diagnostics().iter().find(is_meant) {
                        return Some(problem.clone());
                    }
                }
            }
        }
        None
    }

    /// The files that a run reads beside a document of that position, which must be right.
    fn files_read(&self, position: usize, document: &Document) -> Result<Vec<PathBuf>, ConfigError> {
        let named = match position {
            0 => {
                hardware::resolve(document, &mut Defaults::default())?;
                presets::energy_table_file(document).into_iter().collect()
            }
            1 => {
                let (workload, places) = workload::resolve(document)?;
                if self.evaluator.study().numerics { tensors::files(&workload, &places) } else { Vec::new() }
            }
            _ => {
                scheme::resolve(document)?;
                scheme::calibration_file(document)?.into_iter().collect()
            }
        };
        let mut problems = Problems::default();
        let found = named.into_iter().filter_map(|file| problems.take(file.found())).collect();
        problems.finish()?;
        Ok(found)
    }

    /// The path of `parameter` that leads nowhere, as far as that shows from the first files.
    fn misled<'p>(&self, parameter: &'p Parameter, value: &str) -> &'p Target {
        let leads_nowhere = |target: &&Target| {
            let Ok(position) = file_of(&target.path, &target.place) else { return true };
            let mut document = self.evaluator.first_file(position).clone();
            let path = crate::inputs::within(&target.path);
            let outcome = document.apply(path, value, &target.place).map_err(ConfigError::from);
            let outcome = outcome.and_then(|()| self.files_read(position, &document));
            outcome.is_err_and(|error| error.diagnostics().iter().any(|problem| problem.fault() == Fault::Path))
        };
        let first = parameter.paths.first().expect("a path leads nowhere");
        parameter.paths.iter().filter(|target| whole_file(&target.path).is_none()).find(leads_nowhere).unwrap_or(first)
    }
}

/// The files that a parameter names as a whole, and those in which it has places.
fn concerned(parameter: &Parameter) -> (Concerned, Concerned) {
    let wholes = parameter.paths.iter().filter_map(|target| whole_file(&target.path)).collect();
    let places = parameter.paths.iter().filter(|target| whole_file(&target.path).is_none());
    (wholes, places.filter_map(|target| file_of(&target.path, &target.place).ok()).collect())
}
