//! Saved results as plots read them: the fields of `report.json`, `compare.json` and a study's table that pictures are made of.
//!
//! Pictures are drawn from these alone, so that those that a run makes and those that are drawn again later are the same.

use std::collections::BTreeMap;

use serde::Deserialize;

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
    Points(Vec<Point>),
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
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) attributed_cycles: u64,
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
    pub(super) cycles: u64,
    pub(super) speedup: Option<f64>,
}

/// One point of a study: the values that were set, and what came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Values that replaced those of the files, by path.
    pub parameters: BTreeMap<String, String>,
    /// What came out, by the name of its metric.
    pub objectives: Vec<(&'static str, f64)>,
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

/// The points of a study's table that were simulated. What is neither a metric nor a mark of the table is a parameter.
fn table(text: &str) -> Result<Vec<Point>, UnreadableResult> {
    const MARKS: [&str; 4] = ["index", "feasible", "front", "error"];
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers()?.clone();
    let mut points = Vec::new();
    for row in reader.records() {
        let row = row?;
        let mut point = Point { parameters: BTreeMap::new(), objectives: Vec::new() };
        for (name, cell) in head.iter().zip(row.iter()) {
            match Metric::ALL.into_iter().find(|metric| metric.name() == name) {
                Some(metric) => point.objectives.extend(cell.parse().ok().map(|value| (metric.name(), value))),
                None if MARKS.contains(&name) => {}
                None => {
                    point.parameters.insert(name.to_owned(), cell.to_owned());
                }
            }
        }
        if !point.objectives.is_empty() {
            points.push(point);
        }
    }
    Ok(points)
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
            [one] if one.starts_with("index,") => Ok(Saved::Points(table(one)?)),
            [one] => Ok(match read(one)? {
                File::Report(report) => Saved::Run(report),
                File::Comparison(comparison) => Saved::Comparison(comparison),
            }),
            several => {
                let mut points = Vec::new();
                for text in several {
                    match read(text)? {
                        File::Report(report) => points.push(Point::of(&report)),
                        File::Comparison(_) => return Err(UnreadableResult::SeveralComparisons),
                    }
                }
                Ok(Saved::Points(points))
            }
        }
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
    fn of(report: &SavedReport) -> Point {
        let Configuration { hardware, workload, scheme, overrides } = &report.configuration;
        let mut parameters: BTreeMap<String, String> = BTreeMap::new();
        for (key, named) in [("hardware", hardware), ("workload", workload), ("scheme", scheme)] {
            parameters.insert(key.to_owned(), named.name.clone());
        }
        let assignments = overrides.iter().filter_map(|text| text.split_once('='));
        parameters.extend(assignments.map(|(path, value)| (path.to_owned(), value.to_owned())));
        let totals = &report.totals;
        let mut objectives = vec![
            (Metric::Cycles.name(), totals.cycles as f64),
            (Metric::EnergyPj.name(), report.energy.total_pj.typical),
            (Metric::DramBytes.name(), (totals.dram_read_bytes + totals.dram_write_bytes) as f64),
        ];
        let ratios = report.layers.iter().filter_map(|layer| layer.numerics.as_ref()?.sqnr_db);
        if let Some(lowest) = ratios.min_by(f64::total_cmp) {
            objectives.push((Metric::SqnrDb.name(), lowest));
        }
        Point { parameters, objectives }
    }

    /// An objective by the name of its metric.
    pub(super) fn objective(&self, name: &str) -> Option<f64> {
        self.objectives.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// The name of a metric as pictures show it, without its unit.
pub(super) fn objective_label(name: &str) -> &str {
    match name {
        "time_us" => "time",
        "energy_pj" => "energy",
        "energy_delay_pjs" => "energy x delay",
        "dram_bytes" => "DRAM bytes",
        "sram_bytes" => "SRAM bytes",
        "sqnr_db" => "lowest SQNR",
        "relative_error" => "largest relative error",
        other => other,
    }
}

/// The parameters that are not the same in all `points`, in order of their paths, each with its values in order: numbers
/// ascending, before texts.
pub(super) fn varied(points: &[Point]) -> Vec<(String, Vec<String>)> {
    let paths: std::collections::BTreeSet<&String> = points.iter().flat_map(|point| point.parameters.keys()).collect();
    let values_of = |path: &String| {
        let mut values: Vec<String> = points
            .iter()
            .map(|point| point.parameters.get(path).cloned().unwrap_or_else(|| "as in the file".into()))
            .collect();
        values.sort_by(|a, b| match (quantity(a), quantity(b)) {
            (Some(one), Some(other)) => one.total_cmp(&other).then(a.cmp(b)),
            (one, other) => other.is_some().cmp(&one.is_some()).then(a.cmp(b)),
        });
        values.dedup();
        (path.clone(), values)
    };
    paths.into_iter().map(values_of).filter(|(_, values)| values.len() > 1).collect()
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
