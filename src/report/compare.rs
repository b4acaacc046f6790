//! Several schemes on one accelerator and one workload, as data: each with its figures and how they stand to a baseline.
//!
//! Every figure is taken from a scheme's [`Report`]; only ratios and differences are derived here. Field names are a
//! contract as those of the report; `schema_version` changes when one changes meaning.

use serde::Serialize;

use crate::numerics::error_metrics::ErrorMetrics;
use crate::program::Deviation;
use crate::report::data::{LayerReport, PathReport, Report};
use crate::report::deviations::{self, DeviatingLayers};

/// Version of the comparison's fields.
pub const SCHEMA_VERSION: u32 = 1;

/// What became of one scheme.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// It ran.
    Ran(Box<Report>),
    /// The hardware cannot run it, and why.
    CannotRun(String),
}

/// How the tiles of a comparison were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tilings {
    /// For each scheme anew.
    Searched,
    /// All schemes have those of the baseline; where a product cannot take them over, it was searched, which the report of
    /// that scheme says of it.
    Same,
}

/// A comparison of schemes.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Version of these fields.
    pub schema_version: u32,
    /// Version of the program that wrote them.
    pub npusim_version: &'static str,
    /// Name of the hardware.
    pub hardware: String,
    /// Name of the workload.
    pub workload: String,
    /// Values that replaced those of the files, as `PATH=VALUE`.
    pub overrides: Vec<String>,
    /// Name of the scheme that ratios and differences are against.
    pub baseline: String,
    /// How tiles were chosen.
    pub tilings: Tilings,
    /// The schemes in the order of the command line.
    pub schemes: Vec<SchemeRow>,
    /// The whole reports of the schemes that ran, in that order, complete enough to repeat them.
    pub reports: Vec<Report>,
}

/// One scheme.
#[derive(Clone, Debug, Serialize)]
pub struct SchemeRow {
    /// Its name.
    pub scheme: String,
    /// Why the hardware cannot run it; then there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The whole run. Its errors are those of the layer with the lowest SQNR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Figures>,
    /// Useful multiply-accumulates of the run over what the matrix units could have done, mean of the units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Layers that get something else than its name says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<DeviatingLayers>,
    /// The whole run by part of the work.
    pub paths: Vec<Part>,
    /// The layers in execution order, each with its parts.
    pub layers: Vec<Layer>,
}

/// A part of the work.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Which one, as in a report.
    pub path: &'static str,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A layer.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// What it gets in place of what the scheme's name says, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
    /// The same by part of the work.
    pub paths: Vec<Part>,
}

/// Figures and how they stand to those of the baseline. Ratios against nothing, or against a zero, are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Cycles by which the run moved on: of the whole run the makespan, which layers and parts sum to.
    pub cycles: u64,
    /// Baseline's cycles over these. Of layers and parts this says which of them the run is shorter by, and not how much faster
    /// they are: where work overlaps, cycles are booked with whichever layer ends last. See `span_speedup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speedup: Option<f64>,
    /// Cycles of a layer from its first compute command to its end, beside those of its neighbours; not of parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_cycles: Option<u64>,
    /// Baseline's span over this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_speedup: Option<f64>,
    /// The span with the transfers for the layer that came before: what its bound is to be held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_way_cycles: Option<u64>,
    /// Cycles below which no schedule could go: of the whole run, or of a layer by itself; not of parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_bound_cycles: Option<u64>,
    /// Baseline's bound over this one: what a scheme gains where nothing but arrays and off-chip bandwidth counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_bound_speedup: Option<f64>,
    /// What useful multiply-accumulates take at full rate, mean of the matrix units: over the makespan, or over the cycles of
    /// the layer from its start to its end. Parts sum to their whole.
    pub utilization: f64,
    /// Useful multiply-accumulates.
    pub macs: u64,
    /// Multiply-accumulates that the arrays were occupied with, padding included.
    pub issued_macs: u64,
    /// Energy in pJ.
    pub energy_pj: f64,
    /// The same where every figure is at its low end.
    pub energy_low_pj: f64,
    /// The same where every figure is at its high end.
    pub energy_high_pj: f64,
    /// Over the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_ratio: Option<f64>,
    /// Bytes read from and written to off-chip memory.
    pub dram_bytes: u64,
    /// Over the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dram_bytes_ratio: Option<f64>,
    /// Bytes that weights, scales, tables and biases take in off-chip memory; of layers, not of parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_bytes: Option<u64>,
    /// Over the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_bytes_ratio: Option<f64>,
    /// Error against the workload in f64, where values were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numerics: Option<ErrorMetrics>,
    /// SQNR less the baseline's, in dB; absent where either is infinite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqnr_db_difference: Option<f64>,
}

impl Figures {
    fn against(mut self, baseline: Option<&Figures>) -> Self {
        let Some(baseline) = baseline else { return self };
        let ratio = |of: f64, to: f64| (to != 0.0).then(|| of / to);
        let ratio_of_both =
            |of: Option<u64>, to: Option<u64>| of.zip(to).and_then(|(of, to)| ratio(of as f64, to as f64));
        self.speedup = ratio(baseline.cycles as f64, self.cycles as f64);
        self.span_speedup = ratio_of_both(baseline.span_cycles, self.span_cycles);
        self.lower_bound_speedup = ratio_of_both(baseline.lower_bound_cycles, self.lower_bound_cycles);
        self.energy_ratio = ratio(self.energy_pj, baseline.energy_pj);
        self.dram_bytes_ratio = ratio(self.dram_bytes as f64, baseline.dram_bytes as f64);
        self.constant_bytes_ratio = ratio_of_both(self.constant_bytes, baseline.constant_bytes);
        let differ = |(of, to): (ErrorMetrics, ErrorMetrics)| of.sqnr_db - to.sqnr_db;
        self.sqnr_db_difference =
            self.numerics.zip(baseline.numerics).map(differ).filter(|difference| difference.is_finite());
        self
    }

    fn of_layer(layer: &LayerReport) -> Self {
        Self {
            cycles: layer.attributed_cycles,
            span_cycles: Some(layer.cycles),
            under_way_cycles: Some(layer.under_way_cycles),
            energy_pj: layer.energy_pj,
            energy_low_pj: layer.energy_low_pj,
            energy_high_pj: layer.energy_high_pj,
            lower_bound_cycles: Some(layer.bounds.lower_bound_cycles),
            utilization: layer.utilization,
            macs: layer.macs,
            issued_macs: layer.issued_macs,
            dram_bytes: layer.dram_read_bytes + layer.dram_write_bytes,
            constant_bytes: Some(layer.constant_bytes),
            numerics: layer.numerics.map(|numerics| numerics.error),
            ..Self::default()
        }
    }

    fn of_path(path: &PathReport) -> Self {
        Self {
            cycles: path.attributed_cycles,
            energy_pj: path.energy_pj,
            energy_low_pj: path.energy_low_pj,
            energy_high_pj: path.energy_high_pj,
            utilization: path.utilization,
            macs: path.macs,
            issued_macs: path.issued_macs,
            dram_bytes: path.dram_read_bytes + path.dram_write_bytes,
            ..Self::default()
        }
    }

    fn of_run(report: &Report) -> Self {
        let errors = report.layers.iter().filter_map(|layer| layer.numerics).map(|numerics| numerics.error);
        Self {
            cycles: report.totals.cycles,
            energy_pj: report.totals.energy_pj.get("total").copied().unwrap_or(0.0),
            energy_low_pj: report.energy.total_pj.low,
            energy_high_pj: report.energy.total_pj.high,
            lower_bound_cycles: Some(report.totals.lower_bound_cycles),
            utilization: mean_utilization(report),
            macs: report.totals.macs.values().sum(),
            issued_macs: report.totals.issued_macs,
            dram_bytes: report.totals.dram_read_bytes + report.totals.dram_write_bytes,
            constant_bytes: Some(report.layers.iter().map(|layer| layer.constant_bytes).sum()),
            // The first of several equally bad ones; a NaN is worse than any number.
            numerics: errors.min_by(|a, b| rank(a).total_cmp(&rank(b))),
            ..Self::default()
        }
    }
}

fn mean_utilization(report: &Report) -> f64 {
    let shares = report.totals.utilization.values();
    if shares.len() == 0 { 0.0 } else { shares.sum::<f64>() / report.totals.utilization.len() as f64 }
}

fn rank(error: &ErrorMetrics) -> f64 {
    if error.sqnr_db.is_nan() { f64::NEG_INFINITY } else { error.sqnr_db }
}

/// Holds the `attempts`, each with the name of its scheme, against the one called `baseline`; `None` where that one did not
/// run.
pub fn compare(attempts: Vec<(String, Attempt)>, baseline: &str, tilings: Tilings) -> Option<Comparison> {
    let reports = attempts.iter().filter_map(|(name, attempt)| match attempt {
        Attempt::Ran(report) => Some((name, report)),
        Attempt::CannotRun(_) => None,
    });
    let base = reports.clone().find(|(name, _)| *name == baseline).map(|(_, report)| report)?;
    let plain = row(baseline, base, None);
    let schemes = attempts.iter().map(|(name, attempt)| match attempt {
        Attempt::Ran(report) => row(name, report, Some(&plain)),
        Attempt::CannotRun(reason) => SchemeRow {
            scheme: name.clone(),
            reason: Some(reason.clone()),
            total: None,
            utilization: None,
            deviations: Vec::new(),
            paths: Vec::new(),
            layers: Vec::new(),
        },
    });
    Some(Comparison {
        schema_version: SCHEMA_VERSION,
        npusim_version: env!("CARGO_PKG_VERSION"),
        hardware: base.configuration.hardware.name.clone(),
        workload: base.configuration.workload.name.clone(),
        overrides: base.configuration.overrides.clone(),
        baseline: baseline.to_owned(),
        tilings,
        schemes: schemes.collect(),
        reports: reports.map(|(_, report)| report.as_ref().clone()).collect(),
    })
}

fn row(scheme: &str, report: &Report, baseline: Option<&SchemeRow>) -> SchemeRow {
    let of_layer = |(index, layer): (usize, &LayerReport)| {
        let same = baseline.and_then(|row| row.layers.get(index));
        let paths = layer.paths.iter().map(|path| {
            let figures = Figures::of_path(path);
            part(path.path, figures, same.map(|layer| layer.paths.as_slice()))
        });
        let figures = Figures::of_layer(layer).against(same.map(|layer| &layer.figures));
        let deviations = layer.deviations.clone();
        Layer { name: layer.name.clone(), figures, deviations, paths: paths.collect() }
    };
    let mut sums: Vec<(&'static str, Figures)> = Vec::new();
    let of_run = |layer: &LayerReport, share: f64| share * layer.cycles as f64 / report.totals.cycles.max(1) as f64;
    for (layer, path) in report.layers.iter().flat_map(|layer| layer.paths.iter().map(move |path| (layer, path))) {
        let of_layer = Figures::of_path(path);
        let figures = Figures { utilization: of_run(layer, of_layer.utilization), ..of_layer };
        match sums.iter_mut().find(|(name, _)| *name == path.path) {
            None => sums.push((path.path, figures)),
            Some((_, sum)) => {
                sum.cycles += figures.cycles;
                sum.utilization += figures.utilization;
                sum.macs += figures.macs;
                sum.issued_macs += figures.issued_macs;
                sum.energy_pj += figures.energy_pj;
                sum.energy_low_pj += figures.energy_low_pj;
                sum.energy_high_pj += figures.energy_high_pj;
                sum.dram_bytes += figures.dram_bytes;
            }
        }
    }
    SchemeRow {
        scheme: scheme.to_owned(),
        reason: None,
        total: Some(Figures::of_run(report).against(baseline.and_then(|row| row.total.as_ref()))),
        utilization: Some(mean_utilization(report)),
        deviations: deviations::of_report(report),
        paths: sums.into_iter().map(|(path, sum)| part(path, sum, baseline.map(|row| row.paths.as_slice()))).collect(),
        layers: report.layers.iter().enumerate().map(of_layer).collect(),
    }
}

fn part(path: &'static str, figures: Figures, baseline: Option<&[Part]>) -> Part {
    let same = baseline.and_then(|parts| parts.iter().find(|part| part.path == path));
    Part { path, figures: figures.against(same.map(|part| &part.figures)) }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Figures, Tilings, compare};
    use crate::numerics::error_metrics::ErrorMetrics;

    fn error(sqnr_db: f64) -> Option<ErrorMetrics> {
        Some(ErrorMetrics { sqnr_db, max_abs_error: 0.0, relative_error: 0.0, cosine: 1.0, left_out_values: 0 })
    }

    #[test]
    fn ratios_are_against_the_baseline_and_absent_against_nothing() {
        let baseline =
            Figures { cycles: 200, energy_pj: 4.0, dram_bytes: 0, numerics: error(30.0), ..Figures::default() };
        let figures =
            Figures { cycles: 100, energy_pj: 1.0, dram_bytes: 7, numerics: error(36.5), ..Figures::default() };
        let found = figures.against(Some(&baseline));
        assert_eq!((found.speedup, found.energy_ratio, found.dram_bytes_ratio), (Some(2.0), Some(0.25), None));
        assert_eq!(found.sqnr_db_difference, Some(6.5));
        assert_eq!(figures.against(None), figures);
        let exact = Figures { numerics: error(f64::INFINITY), ..figures };
        assert_eq!(exact.against(Some(&baseline)).sqnr_db_difference, None);
    }

    #[test]
    fn there_is_no_comparison_against_a_scheme_that_did_not_run() {
        assert!(
            compare(vec![("a".to_owned(), Attempt::CannotRun("why".to_owned()))], "a", Tilings::Searched).is_none()
        );
        assert!(compare(Vec::new(), "a", Tilings::Same).is_none());
    }
}
