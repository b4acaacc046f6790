//! Saved results as plots read them: the fields of `report.json`, `compare.json` and a study's table that pictures are made of.
//!
//! Pictures are drawn from these alone, so that those that a run makes and those that are drawn again later are the same. A
//! file may have been edited or damaged since it was written. So each value is checked here, once, and what draws may add,
//! divide and write down whatever it finds.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::study::Metric;
use crate::report::timeline::Timeline;

/// What pictures are drawn from.
#[derive(Clone, Debug)]
pub enum Saved {
    /// One run.
    Run(Box<SavedReport>),
    /// Schemes held against each other.
    Comparison(Box<SavedComparison>),
    /// Several runs that differ in values of their files: points of a study.
    Points(SavedStudy),
}

/// Points of a study, and what it looked for.
#[derive(Clone, Debug)]
pub struct SavedStudy {
    pub(super) points: Vec<Point>,
    /// At least one.
    pub(super) objectives: Vec<Objective>,
    is_estimated: bool,
}

impl SavedStudy {
    fn new(points: Vec<Point>, is_estimated: bool) -> SavedStudy {
        SavedStudy { objectives: usual_objectives(&points, is_estimated), points, is_estimated }
    }
}

/// A metric that a study looks for the best of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Objective {
    pub(super) metric: Metric,
    /// What it is called along an axis; estimates are called so.
    pub(super) axis: String,
    pub(super) better: Better,
}

/// Whether larger or smaller values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Better {
    Larger,
    Smaller,
}

impl Better {
    /// Whether `one` is better than `other`.
    pub(super) fn holds(self, one: f64, other: f64) -> bool {
        match self {
            Better::Larger => one > other,
            Better::Smaller => one < other,
        }
    }
}

/// A report, as far as it is drawn.
#[derive(Clone, Debug, Deserialize)]
pub struct SavedReport {
    pub(super) configuration: Configuration,
    pub(super) totals: Totals,
    pub(super) energy: Energy,
    pub(super) bounds: Bounds,
    pub(super) layers: Vec<Layer>,
    pub(super) timeline: Option<Timeline>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Configuration {
    pub(super) hardware: Named,
    pub(super) workload: Named,
    pub(super) scheme: Named,
    pub(super) overrides: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Totals {
    pub(super) cycles: u64,
    pub(super) dram_read_bytes: u64,
    pub(super) dram_write_bytes: u64,
    pub(super) macs: BTreeMap<String, u64>,
}

/// Where the energy went, in pJ.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Energy {
    pub(super) total_pj: Band,
    pub(super) by_component_pj: BTreeMap<String, Band>,
    pub(super) by_path: Vec<PathEnergy>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PathEnergy {
    pub(super) path: String,
    pub(super) total_pj: Band,
}

/// What figures allow: all of them low, typical, or high.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Band {
    pub(super) low: f64,
    pub(super) typical: f64,
    pub(super) high: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Bounds {
    pub(super) compute_cycles: u64,
    pub(super) moved_bandwidth_cycles: u64,
    /// Absent in results of earlier versions.
    pub(super) peak_macs_per_cycle: Option<u64>,
    pub(super) peak_dram_bytes_per_cycle: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) cycles: u64,
    pub(super) attributed_cycles: u64,
    /// Absent in results of earlier versions.
    pub(super) under_way_cycles: Option<u64>,
    pub(super) macs: u64,
    pub(super) dram_read_bytes: u64,
    pub(super) dram_write_bytes: u64,
    pub(super) numerics: Option<Numerics>,
}

/// Of exact results there is no ratio.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Numerics {
    pub(super) sqnr_db: Option<f64>,
}

/// A comparison, as far as it is drawn.
#[derive(Clone, Debug, Deserialize)]
pub struct SavedComparison {
    pub(super) baseline: String,
    pub(super) schemes: Vec<SchemeRow>,
    pub(super) reports: Vec<SavedReport>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SchemeRow {
    pub(super) scheme: String,
    pub(super) total: Option<Figures>,
    pub(super) layers: Vec<LayerRow>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Figures {
    pub(super) cycles: u64,
    pub(super) speedup: Option<f64>,
    /// Of the layer with the lowest ratio.
    pub(super) numerics: Option<Numerics>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct LayerRow {
    pub(super) name: String,
    /// Absent in results of earlier versions.
    pub(super) span_cycles: Option<u64>,
}

/// One point of a study: the values that were set, and what came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its number in the study.
    pub index: u64,
    /// Values that replaced those of the files, by path, in the order of the study.
    pub parameters: Vec<(String, String)>,
    /// What came out.
    pub measured: BTreeMap<Metric, f64>,
    /// Whether it breaks no constraint.
    pub is_feasible: bool,
}

/// Why a text is no saved result.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableResult {
    /// It is no JSON of the fields that are drawn.
    #[error("this is no report.json or compare.json of this version of npusim: {0}")]
    Json(#[from] serde_json::Error),
    /// It has the right fields, but a value that no run gives.
    #[error("this is no result of a run: {0}")]
    Impossible(String),
    /// It begins as the table of a study and is none.
    #[error("this is no table of a study: {0}")]
    Table(#[from] csv::Error),
    /// A cell of a study's table is of another type than its column.
    #[error("line {line}, column `{column}`: \"{}\" is not valid here; valid: {valid}", .found.escape_debug())]
    Cell {
        /// Line of the table, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        valid: &'static str,
    },
    /// A study's summary names something else than objectives.
    #[error("study.json: objectives[{index}]: \"{}\" is not valid here; valid: minimize METRIC or maximize METRIC", .found.escape_debug())]
    Objective {
        /// Its position.
        index: usize,
        /// What stands there.
        found: String,
    },
    /// Comparisons are drawn one by one.
    #[error("several results are drawn together only if each is the report.json of a run")]
    SeveralComparisons,
    /// Nothing was named.
    #[error("there is no result to draw")]
    Nothing,
}

/// Either of the two files; a comparison is known by its list of schemes.
enum File {
    Report(Box<SavedReport>),
    Comparison(Box<SavedComparison>),
}

/// The points of a study's table that were measured. What is neither a metric nor a mark of the table is a parameter.
/// Tables of estimates say so in the names of their metrics.
fn table(text: &str) -> Result<(Vec<Point>, bool), UnreadableResult> {
    const MARKS: [&str; 4] = ["index", "feasible", "front", "error"];
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers()?.clone();
    let is_estimated = head.iter().any(|name| name.starts_with(ESTIMATED));
    let mut points = Vec::new();
    for row in reader.records() {
        let row = row?;
        let line = row.position().map_or(0, csv::Position::line);
        let mut point = Point { index: 0, parameters: Vec::new(), measured: BTreeMap::new(), is_feasible: true };
        for (name, cell) in head.iter().zip(row.iter()) {
            let wrong = |valid| UnreadableResult::Cell {
                line,
                column: printable(name),
                found: cell.chars().take(60).collect(),
                valid,
            };
            let plain = name.strip_prefix(ESTIMATED).unwrap_or(name);
            match (Metric::ALL.into_iter().find(|metric| metric.name() == plain), name) {
                (Some(_), _) if cell.is_empty() => {}
                (Some(metric), _) => {
                    let value = cell.parse().ok().filter(|value| is_drawable(*value));
                    point.measured.insert(metric, value.ok_or_else(|| wrong("a finite number, or nothing"))?);
                }
                (None, "index") => point.index = cell.parse().map_err(|_| wrong("the number of the point"))?,
                (None, "feasible") if matches!(cell, "true" | "false" | "") => point.is_feasible = cell != "false",
                (None, "feasible") => return Err(wrong("true or false")),
                (None, name) if MARKS.contains(&name) => {}
                (None, name) => point.parameters.push((printable(name), printable(cell))),
            }
        }
        if !point.measured.is_empty() {
            points.push(point);
        }
    }
    Ok((points, is_estimated))
}

/// What stands before the names of metrics in tables of estimates.
const ESTIMATED: &str = "estimated_";

fn axis_of(metric: Metric, is_estimated: bool) -> String {
    if is_estimated { format!("estimated {}", axis(metric)) } else { axis(metric).to_owned() }
}

/// What is looked at where a result does not say what was looked for.
fn usual_objectives(points: &[Point], is_estimated: bool) -> Vec<Objective> {
    let usual = [Metric::Cycles, Metric::EnergyPj, Metric::SqnrDb].map(|metric| Objective {
        metric,
        axis: axis_of(metric, is_estimated),
        better: if metric == Metric::SqnrDb { Better::Larger } else { Better::Smaller },
    });
    let is_there = |objective: &Objective| points.iter().any(|point| point.measured.contains_key(&objective.metric));
    usual.into_iter().filter(is_there).collect()
}

/// The part of a study's summary that says what it looked for.
#[derive(Deserialize)]
struct Summary {
    /// As `minimize METRIC` or `maximize METRIC`.
    objectives: Vec<String>,
}

fn read(text: &str) -> Result<File, UnreadableResult> {
    #[derive(Deserialize)]
    struct Kind {
        schemes: Option<IgnoredAny>,
    }
    Ok(if serde_json::from_str::<Kind>(text)?.schemes.is_some() {
        let comparison: SavedComparison = parsed(text)?;
        comparison.check().map_err(UnreadableResult::Impossible)?;
        File::Comparison(Box::new(comparison))
    } else {
        let report: SavedReport = parsed(text)?;
        report.check("").map_err(UnreadableResult::Impossible)?;
        File::Report(Box::new(report))
    })
}

/// The fields that are drawn, every text in them fit for a picture.
fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    // Read from the text first, because only then does an error have its line and column.
    serde_json::from_str::<T>(text)?;
    let mut value = serde_json::from_str(text)?;
    make_printable(&mut value);
    serde_json::from_value(value)
}

fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) => *text = printable(text),
        Value::Array(items) => items.iter_mut().for_each(make_printable),
        Value::Object(members) => {
            let old = std::mem::take(members);
            members.extend(old.into_iter().map(|(key, mut value)| {
                make_printable(&mut value);
                (printable(&key), value)
            }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `text` with what cannot stand in a picture written as an escape: control characters and others that XML forbids, and those
/// that change the direction of what follows.
fn printable(text: &str) -> String {
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(letter, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
    };
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether a number has a place along an axis: beyond this, sums and squares would be infinite.
fn is_drawable(value: f64) -> bool {
    value.abs() <= 1e100
}

/// The error of a value that no run gives.
fn impossible<V: std::fmt::Display>(path: &str, found: V, valid: &str) -> String {
    format!("{path}: {found} is not valid here; valid: {valid}")
}

/// The sum of counts, which has to be a count too: those that draw add any of them.
fn check_sum(path: &str, counts: impl IntoIterator<Item = u64>) -> Result<(), String> {
    let sum = counts.into_iter().try_fold(0u64, u64::checked_add);
    sum.map(|_| ()).ok_or_else(|| format!("{path}: the values add up to more than {}, the largest count", u64::MAX))
}

fn check_energy(path: &str, band: Band) -> Result<(), String> {
    let Band { low, typical, high } = band;
    for (name, value) in [("low", low), ("typical", typical), ("high", high)] {
        if value < 0.0 || !is_drawable(value) {
            return Err(impossible(&format!("{path}.{name}"), value, "a finite number of at least 0"));
        }
    }
    Ok(())
}

impl SavedReport {
    /// Whether a run could have given the values; `path` leads to the report.
    fn check(&self, path: &str) -> Result<(), String> {
        let at = |steps: &str| if path.is_empty() { steps.to_owned() } else { format!("{path}.{steps}") };
        let Totals { cycles: _, dram_read_bytes, dram_write_bytes, macs } = &self.totals;
        check_sum(&at("totals.dram_read_bytes and dram_write_bytes"), [*dram_read_bytes, *dram_write_bytes])?;
        check_sum(&at("totals.macs"), macs.values().copied())?;
        check_sum(&at("layers.attributed_cycles"), self.layers.iter().map(|layer| layer.attributed_cycles))?;
        for (index, layer) in self.layers.iter().enumerate() {
            let bytes = [layer.dram_read_bytes, layer.dram_write_bytes];
            check_sum(&at(&format!("layers[{index}].dram_read_bytes and dram_write_bytes")), bytes)?;
            let ratio = layer.numerics.as_ref().and_then(|numerics| numerics.sqnr_db);
            if let Some(ratio) = ratio.filter(|ratio| !is_drawable(*ratio)) {
                return Err(impossible(&at(&format!("layers[{index}].numerics.sqnr_db")), ratio, "a finite number"));
            }
        }
        check_energy(&at("energy.total_pj"), self.energy.total_pj)?;
        for (component, energy) in &self.energy.by_component_pj {
            check_energy(&at(&format!("energy.by_component_pj.{component}")), *energy)?;
        }
        for (index, part) in self.energy.by_path.iter().enumerate() {
            check_energy(&at(&format!("energy.by_path[{index}].total_pj")), part.total_pj)?;
        }
        let Some(timeline) = &self.timeline else { return Ok(()) };
        for (index, span) in timeline.spans.iter().enumerate() {
            let step = |key: &str| at(&format!("timeline.spans[{index}].{key}"));
            let Some(length) = span.end_cycle.checked_sub(span.start_cycle) else {
                let valid = format!("at least start_cycle, {}", span.start_cycle);
                return Err(impossible(&step("end_cycle"), span.end_cycle, &valid));
            };
            if span.busy_cycles > length {
                let valid = format!("at most {length}, the cycles between start_cycle and end_cycle");
                return Err(impossible(&step("busy_cycles"), span.busy_cycles, &valid));
            }
        }
        for (index, memory) in timeline.memories.iter().enumerate() {
            let bytes = memory.read_bytes.iter().chain(&memory.write_bytes).copied();
            check_sum(&at(&format!("timeline.memories[{index}].read_bytes and write_bytes")), bytes)?;
        }
        Ok(())
    }
}

impl SavedComparison {
    /// Whether runs could have given the values.
    fn check(&self) -> Result<(), String> {
        for (index, row) in self.schemes.iter().enumerate() {
            let path = format!("schemes[{index}]");
            check_sum(&format!("{path}.layers.span_cycles"), row.layers.iter().filter_map(|layer| layer.span_cycles))?;
            let Some(Figures { speedup, numerics, .. }) = &row.total else { continue };
            if let Some(speedup) = speedup.filter(|speedup| *speedup <= 0.0 || !is_drawable(*speedup)) {
                return Err(impossible(&format!("{path}.total.speedup"), speedup, "a finite number above 0"));
            }
            let ratio = numerics.as_ref().and_then(|numerics| numerics.sqnr_db);
            if let Some(ratio) = ratio.filter(|ratio| !is_drawable(*ratio)) {
                return Err(impossible(&format!("{path}.total.numerics.sqnr_db"), ratio, "a finite number"));
            }
        }
        self.reports.iter().enumerate().try_for_each(|(index, report)| report.check(&format!("reports[{index}]")))
    }
}

impl Saved {
    /// What the texts of one or more result files hold: one run, comparison or study's table, or several runs as points.
    ///
    /// # Errors
    /// A text is no result, or several are not runs.
    pub fn read(texts: &[String]) -> Result<Saved, UnreadableResult> {
        match texts {
            [] => Err(UnreadableResult::Nothing),
            [one] if one.starts_with("index,") => {
                let (points, is_estimated) = table(one)?;
                Ok(Saved::Points(SavedStudy::new(points, is_estimated)))
            }
            [one] => Ok(match read(one)? {
                File::Report(report) => Saved::Run(report),
                File::Comparison(comparison) => Saved::Comparison(comparison),
            }),
            several => {
                let mut points = Vec::new();
                for (index, text) in several.iter().enumerate() {
                    match read(text)? {
                        File::Report(report) => points.push(Point::of(index as u64, &report)),
                        File::Comparison(_) => return Err(UnreadableResult::SeveralComparisons),
                    }
                }
                Ok(Saved::Points(SavedStudy::new(points, false)))
            }
        }
    }

    /// The same with the objectives that the summary of its study, `study.json`, names.
    ///
    /// # Errors
    /// The text is no summary.
    pub fn with_summary(mut self, summary: &str) -> Result<Saved, UnreadableResult> {
        if let Saved::Points(study) = &mut self {
            let summary: Summary = serde_json::from_str(summary)?;
            let mut named: Vec<Objective> = Vec::new();
            for (index, text) in summary.objectives.iter().enumerate() {
                let better = |goal| match goal {
                    "maximize" => Some(Better::Larger),
                    "minimize" => Some(Better::Smaller),
                    _ => None,
                };
                let read = text.split_once(' ').and_then(|(goal, name)| {
                    let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name)?;
                    Some(Objective { metric, axis: axis_of(metric, study.is_estimated), better: better(goal)? })
                });
                let objective =
                    read.ok_or_else(|| UnreadableResult::Objective { index, found: text.chars().take(60).collect() })?;
                if named.iter().all(|known| known.metric != objective.metric) {
                    named.push(objective);
                }
            }
            if !named.is_empty() {
                study.objectives = named;
            }
        }
        Ok(self)
    }

    /// The reports in it, each with the name of its scheme.
    pub(super) fn reports(&self) -> Vec<(&str, &SavedReport)> {
        match self {
            Saved::Run(report) => vec![(report.configuration.scheme.name.as_str(), report.as_ref())],
            Saved::Comparison(comparison) => {
                comparison.reports.iter().map(|report| (report.configuration.scheme.name.as_str(), report)).collect()
            }
            Saved::Points(_) => Vec::new(),
        }
    }
}

impl Point {
    /// The overrides of a run, its scheme, workload and hardware as parameters; cycles, energy, bytes and the lowest SQNR.
    fn of(index: u64, report: &SavedReport) -> Point {
        let Configuration { hardware, workload, scheme, overrides } = &report.configuration;
        let mut parameters: BTreeMap<String, String> = BTreeMap::new();
        for (key, named) in [("hardware", hardware), ("workload", workload), ("scheme", scheme)] {
            parameters.insert(key.to_owned(), named.name.clone());
        }
        let assignments = overrides.iter().filter_map(|text| text.split_once('='));
        parameters.extend(assignments.map(|(path, value)| (path.to_owned(), value.to_owned())));
        let totals = &report.totals;
        let mut measured = BTreeMap::from([
            (Metric::Cycles, totals.cycles as f64),
            (Metric::EnergyPj, report.energy.total_pj.typical),
            (Metric::DramBytes, (totals.dram_read_bytes + totals.dram_write_bytes) as f64),
        ]);
        let ratios = report.layers.iter().filter_map(|layer| layer.numerics.as_ref()?.sqnr_db);
        measured.extend(ratios.min_by(f64::total_cmp).map(|lowest| (Metric::SqnrDb, lowest)));
        Point { index, parameters: parameters.into_iter().collect(), measured, is_feasible: true }
    }

    /// What was measured, in the unit of [`axis`].
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        let of_unit = if metric == Metric::EnergyPj { 1e6 } else { 1.0 };
        self.measured.get(&metric).map(|value| value / of_unit)
    }

    /// The value of a parameter.
    pub(super) fn parameter(&self, path: &str) -> &str {
        let found = self.parameters.iter().find(|(known, _)| known == path);
        found.map_or("as in the file", |(_, value)| value.as_str())
    }
}

/// A parameter with its value, as legends have it: the last step of a path says enough beside the value.
pub(super) fn setting(point: &Point, path: &str) -> String {
    format!("{} {}", path.rsplit('.').next().unwrap_or(path), point.parameter(path))
}

/// What a metric is called along an axis, with its unit.
pub(super) fn axis(metric: Metric) -> &'static str {
    match metric {
        Metric::Cycles => "time [cycles]",
        Metric::TimeUs => "time [µs]",
        Metric::EnergyPj => "energy [µJ]",
        Metric::EnergyDelay => "energy x delay [pJ s]",
        Metric::DramBytes => "DRAM traffic [B]",
        Metric::SramBytes => "SRAM traffic [B]",
        Metric::Utilization => "utilization of arrays [1]",
        Metric::OverBound => "cycles over lower bound [1]",
        Metric::SqnrDb => "lowest SQNR of a layer [dB]",
        Metric::RelativeError => "largest relative error [1]",
    }
}

/// The parameters that are not the same in all `points`, each with its values in order: numbers ascending, before texts.
/// Of parameters that always change together, such as one that is computed from another, only the first is there.
pub(super) fn varied(points: &[Point]) -> Vec<(String, Vec<String>)> {
    let mut paths: Vec<&String> = Vec::new();
    for (path, _) in points.iter().flat_map(|point| &point.parameters) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let mut kept: Vec<(String, Vec<String>)> = Vec::new();
    for path in paths {
        let mut values: Vec<String> = points.iter().map(|point| point.parameter(path).to_owned()).collect();
        values.sort_by(|a, b| match (quantity(a), quantity(b)) {
            (Some(one), Some(other)) => one.total_cmp(&other).then(a.cmp(b)),
            (one, other) => other.is_some().cmp(&one.is_some()).then(a.cmp(b)),
        });
        values.dedup();
        let goes_with = |(other, others): &(String, Vec<String>)| {
            let pairs: std::collections::BTreeSet<(&str, &str)> =
                points.iter().map(|point| (point.parameter(other), point.parameter(path))).collect();
            pairs.len() == others.len() && pairs.len() == values.len()
        };
        if values.len() > 1 && !kept.iter().any(goes_with) {
            kept.push((path.clone(), values));
        }
    }
    kept
}

/// Whether all values are numbers.
pub(super) fn is_numeric(values: &[String]) -> bool {
    values.iter().all(|value| quantity(value).is_some())
}

/// The name of a layer with `*` for the number of its repetition: what layers of repeated blocks have in common.
pub(super) fn kind_of(layer: &str) -> String {
    let is_number = |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    layer.split('.').map(|step| if is_number(step) { "*" } else { step }).collect::<Vec<_>>().join(".")
}

/// The value as a number: also with a binary or decimal unit, as `64 KiB` or `1 GHz`.
pub(super) fn quantity(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kHz", 1e3),
        ("MHz", 1e6),
        ("GHz", 1e9),
        ("Hz", 1.0),
        ("B", 1.0),
    ];
    let text = text.trim();
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| is_drawable(*value));
    number(text).or_else(|| {
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
        number(&text[..text.len() - unit.len()]).map(|value| value * factor)
    })
}
