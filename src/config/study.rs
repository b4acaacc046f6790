//! Study files: which values of the hardware, workload and scheme files vary, how points are picked from them, and what is
//! looked for.
//!
//! A parameter is a finite list of values for one or several places of the files, or an expression of parameters before
//! it. Whether a place exists and takes the value is found out by the files themselves; the error then cites the study's
//! line.

use std::fmt;

use exmex::{Express, FlatEx};
use serde::Deserialize;

use crate::config::checks::{exactly_one, plain_name, unique_names};
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed, quoted};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::placed::{List, OneOrMany, Placed};
use crate::config::presets;
use crate::config::scalar::Literal;
use crate::config::schema::{FileForm, form_of};
use crate::config::source::Place;
use crate::config::study_mode::{self, Mode};

/// The most values of one parameter.
const MOST_VALUES: usize = 10_000;
/// The most points of a study.
pub const MOST_POINTS: u64 = 10_000_000;
/// How many points a Sobol sequence has.
const MOST_SOBOL_POINTS: u64 = 1 << 16;
/// How many dimensions it has.
const MOST_SOBOL_PARAMETERS: usize = 256;

/// A study as written.
#[derive(Clone, Debug, Deserialize)]
struct StudyFile {
    name: Field<String>,
    hardware: Field<String>,
    workload: Field<String>,
    scheme: Field<String>,
    numerics: Field<bool>,
    mode: Field<String>,
    keep: Field<f64>,
    set: Option<List<Placed<AssignmentFile>>>,
    parameters: List<Placed<ParameterFile>>,
    sampler: Option<Placed<SamplerFile>>,
    objectives: List<Placed<ObjectiveFile>>,
    constraints: Option<List<Placed<ConstraintFile>>>,
}

#[derive(Clone, Debug, Deserialize)]
struct AssignmentFile {
    path: Field<String>,
    value: Field<Literal>,
}

#[derive(Clone, Debug, Deserialize)]
struct ParameterFile {
    name: Field<String>,
    path: Option<OneOrMany<Field<String>>>,
    values: Option<List<Field<Literal>>>,
    range: Option<Placed<RangeFile>>,
    log_range: Option<Placed<LogRangeFile>>,
    expression: Field<String>,
    unit: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct RangeFile {
    from: Field<f64>,
    to: Field<f64>,
    step: Field<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct LogRangeFile {
    from: Field<f64>,
    to: Field<f64>,
    factor: Field<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct SamplerFile {
    random: Option<Placed<PointsFile>>,
    latin_hypercube: Option<Placed<PointsFile>>,
    sobol: Option<Placed<PointsFile>>,
    nsga2: Option<Placed<GenerationsFile>>,
}

#[derive(Clone, Debug, Deserialize)]
struct PointsFile {
    points: Field<u64>,
    seed: Field<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct GenerationsFile {
    population: Field<u64>,
    generations: Field<u64>,
    seed: Field<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct ObjectiveFile {
    metric: Field<String>,
    goal: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ConstraintFile {
    metric: Field<String>,
    at_most: Field<f64>,
    at_least: Field<f64>,
}

/// A study.
#[derive(Clone, Debug)]
pub struct Study {
    /// Its name.
    pub name: String,
    /// Hardware file.
    pub hardware: StudiedFile,
    /// Workload file.
    pub workload: StudiedFile,
    /// Scheme file.
    pub scheme: StudiedFile,
    /// Whether values are computed too, where the workload has some.
    pub numerics: bool,
    /// How points are evaluated.
    pub mode: Mode,
    /// Values that are other than in the files at every point.
    pub set: Vec<Assignment>,
    /// What varies, each after all that it depends on.
    pub parameters: Vec<Parameter>,
    /// How points are picked.
    pub sampler: Sampler,
    /// What is looked for, at least one.
    pub objectives: Vec<Objective>,
    /// What a point must keep to.
    pub constraints: Vec<Constraint>,
}

/// A file of the points, where no parameter names another.
#[derive(Clone, Debug)]
pub struct StudiedFile {
    /// A built-in name, or a path from the working folder.
    pub name: String,
    /// Where the study names it.
    pub place: Place,
}

/// A value at a place of the files.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Path of the value; its first word may be the kind of file.
    pub path: String,
    /// The value as it would be written there.
    pub value: String,
    /// Where the study says so.
    pub place: Place,
}

/// What varies.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in results and expressions.
    pub name: String,
    /// The places that take its value; `hardware`, `workload` or `scheme` for the whole file. May be none: then other
    /// parameters depend on it.
    pub paths: Vec<Target>,
    /// Its values.
    pub values: Values,
    /// What stands behind a number, such as KiB.
    pub unit: Option<String>,
}

impl Parameter {
    /// Its list of values; empty for an expression.
    pub fn levels(&self) -> &[Level] {
        match &self.values {
            Values::List(levels) => levels,
            Values::Expression(_) => &[],
        }
    }
}

/// A place that takes a value.
#[derive(Clone, Debug)]
pub struct Target {
    /// The path.
    pub path: String,
    /// Where the study names it.
    pub place: Place,
}

/// The values of a parameter.
#[derive(Clone, Debug)]
pub enum Values {
    /// These, one of which each point picks.
    List(Vec<Level>),
    /// What other parameters make of it.
    Expression(Box<Expression>),
}

/// One value of a parameter.
#[derive(Clone, Debug)]
pub struct Level {
    /// As it is written, without its unit.
    pub text: String,
    /// As a number, if it is one.
    pub number: Option<f64>,
    /// Where the study has it.
    pub place: Place,
}

/// A dependent value.
#[derive(Clone)]
pub struct Expression {
    parsed: FlatEx<f64>,
    /// The parameters that it depends on, by their position.
    pub uses: Vec<usize>,
    /// Where the study has it.
    pub place: Place,
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Expression").field(&self.parsed.unparse()).finish()
    }
}

impl Expression {
    /// Its value for the numbers of the parameters that it uses, in that order; `None` where it has none.
    pub fn value(&self, numbers: &[f64]) -> Option<f64> {
        self.parsed.eval(numbers).ok().filter(|value| value.is_finite())
    }
}

/// How points are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// Every combination, the last parameter fastest.
    Grid,
    /// So many, each value with equal probability.
    Random(Picks),
    /// So many, of which each parameter's values take equal shares.
    LatinHypercube(Picks),
    /// The first so many of an Owen-scrambled Sobol sequence.
    Sobol(Picks),
    /// The non-dominated sorting genetic algorithm II.
    Nsga2 {
        /// Points of a generation, an even number.
        population: u64,
        /// Generations after the first.
        generations: u64,
        /// Seed.
        seed: u64,
    },
}

/// A number of points and the seed that decides which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picks {
    /// How many.
    pub points: u64,
    /// Seed.
    pub seed: u64,
}

/// What is measured of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Makespan in cycles.
    Cycles,
    /// Makespan in microseconds.
    TimeUs,
    /// Energy in pJ.
    EnergyPj,
    /// Energy times time, in pJ s.
    EnergyDelay,
    /// Bytes from and to off-chip memory.
    DramBytes,
    /// Bytes from and to on-chip memories.
    SramBytes,
    /// Useful multiply-accumulates over what all matrix units could have done.
    Utilization,
    /// Distance to the lower bound of cycles: 1 is the bound.
    OverBound,
    /// Signal to quantization noise of the worst layer, in dB.
    SqnrDb,
    /// Relative error of the worst layer.
    RelativeError,
}

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The less the better.
    Minimize,
    /// The more the better.
    Maximize,
}

impl Goal {
    const NAMES: [(&'static str, Goal); 2] = [("minimize", Goal::Minimize), ("maximize", Goal::Maximize)];
}

impl Metric {
    /// Every metric, in the order of results.
    pub const ALL: [Metric; 10] = [
        Metric::Cycles,
        Metric::TimeUs,
        Metric::EnergyPj,
        Metric::EnergyDelay,
        Metric::DramBytes,
        Metric::SramBytes,
        Metric::Utilization,
        Metric::OverBound,
        Metric::SqnrDb,
        Metric::RelativeError,
    ];

    /// Name in files, with its unit.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Cycles => "cycles",
            Metric::TimeUs => "time_us",
            Metric::EnergyPj => "energy_pj",
            Metric::EnergyDelay => "energy_delay_pjs",
            Metric::DramBytes => "dram_bytes",
            Metric::SramBytes => "sram_bytes",
            Metric::Utilization => "utilization",
            Metric::OverBound => "over_bound",
            Metric::SqnrDb => "sqnr_db",
            Metric::RelativeError => "relative_error",
        }
    }

    /// Which way it is better.
    pub const fn goal(self) -> Goal {
        match self {
            Metric::Utilization | Metric::SqnrDb => Goal::Maximize,
            Metric::Cycles
            | Metric::TimeUs
            | Metric::EnergyPj
            | Metric::EnergyDelay
            | Metric::DramBytes
            | Metric::SramBytes
            | Metric::OverBound
            | Metric::RelativeError => Goal::Minimize,
        }
    }

    /// Whether there is a closed form of it, which needs no simulation.
    pub const fn has_estimate(self) -> bool {
        matches!(self, Metric::Cycles | Metric::TimeUs | Metric::EnergyPj | Metric::EnergyDelay | Metric::DramBytes)
    }

    /// Whether it is known only where values are computed.
    pub const fn needs_values(self) -> bool {
        matches!(self, Metric::SqnrDb | Metric::RelativeError)
    }

    fn names() -> [(&'static str, Metric); 10] {
        Metric::ALL.map(|metric| (metric.name(), metric))
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The metric.
    pub metric: Metric,
    /// Which way.
    pub goal: Goal,
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goal = Goal::NAMES.iter().find(|(_, goal)| *goal == self.goal).map_or("", |(name, _)| name);
        write!(formatter, "{goal} {}", self.metric.name())
    }
}

/// What a point must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constraint {
    /// The metric.
    pub metric: Metric,
    /// Its limits, both included.
    pub at_least: Option<f64>,
    /// The same.
    pub at_most: Option<f64>,
}

impl Constraint {
    /// Whether `value` keeps to it.
    pub fn admits(&self, value: f64) -> bool {
        self.at_least.is_none_or(|least| value >= least) && self.at_most.is_none_or(|most| value <= most)
    }
}

/// The study that `document` describes.
///
/// # Errors
/// Every mistake in it that can be seen without the files that it names.
pub fn resolve(document: &Document) -> Result<Study, ConfigError> {
    let file: StudyFile = document.read()?;
    let mut problems = Problems::default();
    problems.take(unique_names(file.parameters.iter().map(|parameter| &parameter.name)));
    problems.take(file.parameters.at_least_one());
    problems.take(file.objectives.at_least_one());
    let name = problems.take(plain_name(&file.name));
    let mut file_of = |field: &Field<String>| problems.take(file_name(field));
    let (hardware, workload, scheme) = (file_of(&file.hardware), file_of(&file.workload), file_of(&file.scheme));
    let numerics = file.numerics.optional().map(|given| problems.take(given.boolean()).unwrap_or_default());
    let numerics = numerics.unwrap_or(false);
    let set = file.set.iter().flatten().filter_map(|item| problems.take(assignment(item))).collect();
    let mut parameters: Vec<Parameter> = Vec::new();
    for written in &file.parameters {
        parameters.extend(problems.take(parameter(written, &parameters)));
    }
    let sampler = match &file.sampler {
        None => Some(Sampler::Grid),
        Some(written) => problems.take(sampler(written)),
    };
    let objectives = file.objectives.iter().filter_map(|written| problems.take(objective(written, numerics)));
    let objectives: Vec<Objective> = objectives.collect();
    let constraints = file.constraints.iter().flatten();
    let constraints = constraints.filter_map(|written| problems.take(constraint(written, numerics)));
    let constraints: Vec<Constraint> = constraints.collect();
    let mode = problems.take(study_mode::mode(&file.mode, &file.keep));
    if let (Some(mode), Some(sampler)) = (mode, sampler) {
        let looked_for = objectives.iter().map(|objective| objective.metric);
        // What is pruned by estimates is held to its constraints by simulation.
        let kept_to = constraints.iter().filter(|_| mode == Mode::Estimate).map(|constraint| constraint.metric);
        problems.take(study_mode::check(mode, &file.mode, sampler, numerics, looked_for.chain(kept_to)));
    }
    if let (Some(sampler), true) = (sampler, parameters.len() == file.parameters.len()) {
        problems.take(check_size(&file, sampler, &parameters));
    }
    problems.finish()?;
    let found = "every mistake has been noted";
    Ok(Study {
        name: name.expect(found),
        hardware: hardware.expect(found),
        workload: workload.expect(found),
        scheme: scheme.expect(found),
        numerics,
        mode: mode.expect(found),
        set,
        parameters,
        sampler: sampler.expect(found),
        objectives,
        constraints,
    })
}

/// A built-in name, or a path from the folder of the study.
fn file_name(field: &Field<String>) -> Result<StudiedFile, Diagnostic> {
    let name = resolve_file(&field.required().text()?, field.place());
    Ok(StudiedFile { name, place: field.place().clone() })
}

/// A built-in name as it is, and any other seen from the folder of the file that has it at `place`.
pub fn resolve_file(name: &str, place: &Place) -> String {
    if presets::is_built_in(name) { name.to_owned() } else { place.source().resolve_path(name).display().to_string() }
}

fn assignment(written: &Placed<AssignmentFile>) -> Result<Assignment, Diagnostic> {
    Ok(Assignment {
        path: written.path.required().text()?,
        value: written.value.required().value()?.0,
        place: written.value.place().clone(),
    })
}

fn parameter(written: &Placed<ParameterFile>, before: &[Parameter]) -> Result<Parameter, Diagnostic> {
    let name = plain_name(&written.name)?;
    let given = [
        ("values", written.values.as_ref().map(Cited::place)),
        ("range", written.range.as_ref().map(Cited::place)),
        ("log_range", written.log_range.as_ref().map(Cited::place)),
        ("expression", written.expression.is_given().then(|| written.expression.place())),
    ];
    exactly_one(written, &given)?;
    let values = match (&written.values, &written.range, &written.log_range) {
        (Some(list), ..) => Values::List(levels_of_list(list)?),
        (_, Some(range), _) => Values::List(levels_of_range(range)?),
        (_, _, Some(range)) => Values::List(levels_of_log_range(range)?),
        (None, None, None) => Values::Expression(Box::new(expression(&written.expression, before)?)),
    };
    let target = |field: &Field<String>| -> Result<Target, Diagnostic> {
        Ok(Target { path: field.required().text()?, place: field.place().clone() })
    };
    let paths = written.path.iter().flat_map(|paths| paths.iter()).map(target).collect::<Result<_, _>>()?;
    let unit = written.unit.optional().map(|unit| unit.text()).transpose()?;
    Ok(Parameter { name, paths, values, unit })
}

fn levels_of_list(list: &List<Field<Literal>>) -> Result<Vec<Level>, Diagnostic> {
    let fields = list.at_least_one()?;
    let level = |field: &Field<Literal>| -> Result<Level, Diagnostic> {
        let Literal(text) = field.required().value()?;
        Ok(Level {
            number: text.parse().ok().filter(|number: &f64| number.is_finite()),
            text,
            place: field.place().clone(),
        })
    };
    let levels: Vec<Level> = fields.iter().map(level).collect::<Result<_, _>>()?;
    for (index, level) in levels.iter().enumerate() {
        if levels[..index].iter().any(|other| other.text == level.text) {
            return Err(fields[index].problem(format!("the value {} stands here twice", quoted(&level.text))));
        }
    }
    few_enough(list, levels)
}

fn levels_of_range(range: &Placed<RangeFile>) -> Result<Vec<Level>, Diagnostic> {
    let (from, to) = ends(range, &range.from, &range.to)?;
    let step = range.step.required().must("a number above 0", |step| *step > 0.0 && step.is_finite())?;
    // Each value is computed from the first, so that no rounding adds up; the last may be met to a millionth of a step.
    let count = ((to - from) / step + 1e-6).floor();
    if count >= MOST_VALUES as f64 {
        return Err(range.step.problem(format!("it gives more than {MOST_VALUES} values")).help("take a longer step"));
    }
    let values = (0..=count as u32).map(|index| from + f64::from(index) * step);
    Ok(numbers(values, range.place()))
}

fn levels_of_log_range(range: &Placed<LogRangeFile>) -> Result<Vec<Level>, Diagnostic> {
    let (from, to) = ends(range, &range.from, &range.to)?;
    if from <= 0.0 {
        return Err(range.from.problem("the values of a log_range are above 0"));
    }
    let factor = match range.factor.optional() {
        None => 2.0,
        Some(factor) => factor.must("a number above 1", |factor| *factor > 1.0 && factor.is_finite())?,
    };
    let count = ((to / from).ln() / factor.ln() + 1e-6).floor();
    if count >= MOST_VALUES as f64 {
        return Err(range.problem(format!("it gives more than {MOST_VALUES} values")).help("take a larger factor"));
    }
    let values = (0..=count as i32).map(|index| from * factor.powi(index));
    Ok(numbers(values, range.place()))
}

fn ends(range: &dyn Cited, from: &Field<f64>, to: &Field<f64>) -> Result<(f64, f64), Diagnostic> {
    let finite = "a finite number";
    let from = from.required().must(finite, |value| value.is_finite())?;
    let to = to.required().must(finite, |value| value.is_finite())?;
    if to < from {
        let message = format!("it goes from {from} down to {to}");
        return Err(Diagnostic::new(range.place(), range.path(), message).help("swap the two"));
    }
    Ok((from, to))
}

fn numbers(values: impl Iterator<Item = f64>, place: &Place) -> Vec<Level> {
    values.map(|value| Level { text: number_text(value), number: Some(value), place: place.clone() }).collect()
}

/// A number as a file would have it: twelve digits are more than anyone writes, and hide the rounding of sums.
pub fn number_text(value: f64) -> String {
    let rounded: f64 = format!("{value:.11e}").parse().unwrap_or(value);
    rounded.to_string()
}

fn few_enough(cited: &dyn Cited, levels: Vec<Level>) -> Result<Vec<Level>, Diagnostic> {
    if levels.len() > MOST_VALUES {
        let message = format!("it has {} values; at most {MOST_VALUES} are allowed", levels.len());
        return Err(Diagnostic::new(cited.place(), cited.path(), message));
    }
    Ok(levels)
}

fn expression(field: &Field<String>, before: &[Parameter]) -> Result<Expression, Diagnostic> {
    let text = field.required().text()?;
    let parsed = exmex::parse::<f64>(&text).map_err(|error| {
        field
            .problem(format!("{} is no expression: {error}", quoted(&text)))
            .note("numbers, names of parameters above, + - * / ^ and parentheses")
    })?;
    let names = || before.iter().map(|parameter| parameter.name.as_str());
    let find = |name: &String| {
        let found = before.iter().position(|parameter| parameter.name == *name);
        let unknown = || {
            field
                .problem(format!("no parameter above is called {}", quoted(name)))
                .note(format!("above are: {}", listed(names())))
        };
        let position = found.ok_or_else(unknown)?;
        if let Values::List(levels) = &before[position].values
            && let Some(text) = levels.iter().find(|level| level.number.is_none())
        {
            let message = format!("{} is no number, so that nothing can be computed from it", quoted(&text.text));
            return Err(field.problem(format!("{} cannot be used here: {message}", quoted(name))));
        }
        Ok(position)
    };
    let uses = parsed.var_names().iter().map(find).collect::<Result<_, _>>()?;
    Ok(Expression { parsed, uses, place: field.place().clone() })
}

fn sampler(written: &Placed<SamplerFile>) -> Result<Sampler, Diagnostic> {
    let SamplerFile { random, latin_hypercube, sobol, nsga2 } = &**written;
    let given = [
        ("random", random.as_ref().map(Cited::place)),
        ("latin_hypercube", latin_hypercube.as_ref().map(Cited::place)),
        ("sobol", sobol.as_ref().map(Cited::place)),
        ("nsga2", nsga2.as_ref().map(Cited::place)),
    ];
    exactly_one(written, &given).map_err(|problem| problem.help("leave the sampler out for every combination"))?;
    let picks = |file: &PointsFile, most| -> Result<Picks, Diagnostic> {
        Ok(Picks { points: file.points.required().in_range(1..=most)?, seed: seed(&file.seed)? })
    };
    Ok(match (random, latin_hypercube, sobol, nsga2) {
        (Some(file), ..) => Sampler::Random(picks(file, MOST_POINTS)?),
        (_, Some(file), ..) => Sampler::LatinHypercube(picks(file, MOST_POINTS)?),
        (_, _, Some(file), _) => Sampler::Sobol(picks(file, MOST_SOBOL_POINTS)?),
        (_, _, _, Some(file)) => Sampler::Nsga2 {
            population: file
                .population
                .required()
                .must("an even number from 4 to 10000", |size| size.is_multiple_of(2) && (4..=10_000).contains(size))?,
            generations: file.generations.required().in_range(1..=10_000)?,
            seed: seed(&file.seed)?,
        },
        (None, None, None, None) => unreachable!("exactly one is given"),
    })
}

fn seed(field: &Field<u64>) -> Result<u64, Diagnostic> {
    field.optional().map_or(Ok(0), |seed| seed.in_range(0..=u64::MAX))
}

fn metric(field: &Field<String>, numerics: bool) -> Result<Metric, Diagnostic> {
    let metric = field.required().one_of(&Metric::names())?;
    if metric.needs_values() && !numerics {
        let problem = field.problem(format!("{} is known only where values are computed", quoted(metric.name())));
        return Err(problem.help("add numerics: true, with a workload that has values"));
    }
    Ok(metric)
}

fn objective(written: &Placed<ObjectiveFile>, numerics: bool) -> Result<Objective, Diagnostic> {
    let metric = metric(&written.metric, numerics)?;
    let goal = written.goal.optional().map(|goal| goal.one_of(&Goal::NAMES)).transpose()?;
    Ok(Objective { metric, goal: goal.unwrap_or(metric.goal()) })
}

fn constraint(written: &Placed<ConstraintFile>, numerics: bool) -> Result<Constraint, Diagnostic> {
    let metric = metric(&written.metric, numerics)?;
    let limit = |field: &Field<f64>| {
        field.optional().map(|limit| limit.must("a finite number", |limit| limit.is_finite())).transpose()
    };
    let (at_least, at_most) = (limit(&written.at_least)?, limit(&written.at_most)?);
    if at_least.is_none() && at_most.is_none() {
        return Err(written.problem("one of these keys is missing: at_least, at_most"));
    }
    Ok(Constraint { metric, at_least, at_most })
}

fn check_size(file: &StudyFile, sampler: Sampler, parameters: &[Parameter]) -> Result<(), Diagnostic> {
    let lists = || {
        parameters.iter().filter_map(|parameter| match &parameter.values {
            Values::List(levels) => Some(levels.len() as u64),
            Values::Expression(_) => None,
        })
    };
    match sampler {
        Sampler::Grid => {
            let points = lists().try_fold(1_u64, u64::checked_mul).filter(|points| *points <= MOST_POINTS);
            points.map(drop).ok_or_else(|| {
                file.parameters
                    .problem(format!("their combinations are more than {MOST_POINTS} points"))
                    .help("pick some of them with sampler: { random: { points: 1000 } }")
            })
        }
        Sampler::Sobol(_) if lists().count() > MOST_SOBOL_PARAMETERS => {
            Err(file.parameters.problem(format!("a Sobol sequence has at most {MOST_SOBOL_PARAMETERS} parameters")))
        }
        Sampler::Random(_) | Sampler::LatinHypercube(_) | Sampler::Sobol(_) | Sampler::Nsga2 { .. } => Ok(()),
    }
}

/// What such a file may hold.
pub(crate) fn form() -> FileForm {
    form_of::<StudyFile>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = "\
name: example
hardware: edge-int8
workload: minilm-layer
scheme: w8a8_per_tensor
parameters:
  - name: rows
    path: matrix_units.0.systolic_array.rows
    log_range: { from: 8, to: 64 }
  - name: columns
    path: matrix_units.0.systolic_array.columns
    expression: rows * 2
  - name: bandwidth
    path: memories.dram.dram.bytes_per_cycle
    range: { from: 8, to: 9.2, step: 0.4 }
  - name: mode
    values: [a, b]
objectives:
  - { metric: cycles }
";

    fn study(text: &str) -> Result<Study, ConfigError> {
        resolve(&Document::from_bytes("s.yaml", text.as_bytes(), "")?)
    }

    fn error(from: &str, to: &str) -> String {
        assert!(STUDY.contains(from), "{from}");
        study(&STUDY.replacen(from, to, 1)).unwrap_err().to_string()
    }

    fn texts(parameter: &Parameter) -> Vec<&str> {
        match &parameter.values {
            Values::List(levels) => levels.iter().map(|level| level.text.as_str()).collect(),
            Values::Expression(_) => Vec::new(),
        }
    }

    #[test]
    fn ranges_are_lists_and_expressions_use_what_stands_above_them() {
        let study = study(STUDY).unwrap();
        assert_eq!(texts(&study.parameters[0]), ["8", "16", "32", "64"]);
        let Values::Expression(expression) = &study.parameters[1].values else { panic!("it is an expression") };
        assert_eq!(expression.uses, [0]);
        assert_eq!(expression.value(&[16.0]), Some(32.0));
        assert_eq!(texts(&study.parameters[2]), ["8", "8.4", "8.8", "9.2"]);
        assert_eq!(texts(&study.parameters[3]), ["a", "b"]);
        assert_eq!(study.sampler, Sampler::Grid);
        assert_eq!(study.objectives, [Objective { metric: Metric::Cycles, goal: Goal::Minimize }]);
    }

    #[test]
    fn mistakes_are_cited_where_they_stand() {
        let text = error("expression: rows * 2", "expression: row * 2");
        assert!(
            text.starts_with("s.yaml:11:17: parameters[1].expression: no parameter above is called \"row\""),
            "{text}"
        );
        let text = error("expression: rows * 2", "expression: (rows");
        assert!(text.starts_with("s.yaml:11:17: parameters[1].expression: \"(rows\" is no expression"), "{text}");
        let text = error("to: 64", "to: 4");
        assert!(text.starts_with("s.yaml:8:16: parameters[0].log_range: it goes from 8 down to 4"), "{text}");
        let text = error("step: 0.4", "step: 0");
        assert!(text.contains("0 is not a number above 0"), "{text}");
        let text = error("metric: cycles", "metric: cycle");
        assert!(text.ends_with("help: did you mean \"cycles\"?"), "{text}");
        let text = error("metric: cycles", "metric: sqnr_db");
        assert!(text.contains("known only where values are computed"), "{text}");
        let text = error("values: [a, b]", "values: [a, a]");
        assert!(text.contains("the value \"a\" stands here twice"), "{text}");
        let text = error("    values: [a, b]\n", "    unit: x\n");
        assert!(text.contains("one of these keys is missing: values, range, log_range, expression"), "{text}");
    }
}
