//! Saved results as plots read them: the fields of `report.json`, `compare.json` and a study's table that pictures are made of.
//!
//! Pictures are drawn from these alone, so that those that a run makes and those that are drawn again later are the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// It begins as the table of a study and is none.
    #[error("this is no table of a study: {0}")]
    Table(#[from] csv::Error),
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
        let mut point = Point { index: 0, parameters: Vec::new(), measured: BTreeMap::new(), is_feasible: true };
        for (name, cell) in head.iter().zip(row.iter()) {
            let plain = name.strip_prefix(ESTIMATED).unwrap_or(name);
            match (Metric::ALL.into_iter().find(|metric| metric.name() == plain), name) {
                (Some(metric), _) => point.measured.extend(cell.parse().ok().map(|value| (metric, value))),
                (None, "index") => point.index = cell.parse().unwrap_or_default(),
                (None, "feasible") => point.is_feasible = cell != "false",
                (None, name) if MARKS.contains(&name) => {}
                (None, name) => point.parameters.push((name.to_owned(), cell.to_owned())),
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
    let value: serde_json::Value = serde_json::from_str(text)?;
    Ok(match value.get("schemes") {
        Some(_) => File::Comparison(Box::new(serde_json::from_value(value)?)),
        None => File::Report(Box::new(serde_json::from_value(value)?)),
    })
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
            let objective = |text: &String| {
                let (goal, name) = text.split_once(' ')?;
                let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name)?;
                let better = if goal == "maximize" { Better::Larger } else { Better::Smaller };
                Some(Objective { metric, axis: axis_of(metric, study.is_estimated), better })
            };
            let named: Vec<Objective> = summary.objectives.iter().filter_map(objective).collect();
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
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    number(text).or_else(|| {
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
        number(&text[..text.len() - unit.len()]).map(|value| value * factor)
    })
}
