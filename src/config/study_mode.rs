//! How the points of a study are evaluated: simulated, estimated, or first estimated and the best of them simulated.

use crate::config::diagnostics::{Cited, Diagnostic, quoted};
use crate::config::field::Field;
use crate::config::study::{Metric, Sampler};

/// How points are evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Every point is simulated.
    Simulate,
    /// Every point is estimated in closed form, and nothing is simulated.
    Estimate,
    /// Every point is estimated, and this share of them, the best, is simulated; results have these alone.
    Prune {
        /// Above 0 and at most 1.
        keep: f64,
    },
}

impl Mode {
    /// Name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Simulate => "simulate",
            Mode::Estimate => "estimate",
            Mode::Prune { .. } => "prune",
        }
    }
}

/// The share that is simulated where a study does not say it.
const USUAL_SHARE: f64 = 0.1;

/// The mode that a study names, with the share it keeps.
pub(crate) fn mode(written: &Field<String>, keep: &Field<f64>) -> Result<Mode, Diagnostic> {
    let names =
        [("simulate", Mode::Simulate), ("estimate", Mode::Estimate), ("prune", Mode::Prune { keep: USUAL_SHARE })];
    let mode = written.optional().map(|mode| mode.one_of(&names)).transpose()?.unwrap_or(Mode::Simulate);
    let Some(share) = keep.optional() else { return Ok(mode) };
    if !matches!(mode, Mode::Prune { .. }) {
        return Err(keep.problem("only mode: prune keeps a share of the points").help("add mode: prune"));
    }
    Ok(Mode::Prune { keep: share.must("above 0 and at most 1", |share| *share > 0.0 && *share <= 1.0)? })
}

/// Checks that what `mode` estimates can be estimated.
pub(crate) fn check(
    mode: Mode,
    written: &Field<String>,
    sampler: Sampler,
    numerics: bool,
    metrics: impl Iterator<Item = Metric>,
) -> Result<(), Diagnostic> {
    if mode == Mode::Simulate {
        return Ok(());
    }
    if numerics && mode == Mode::Estimate {
        return Err(written.problem("an estimate computes no values").help("leave numerics out, or take mode: prune"));
    }
    if matches!((mode, sampler), (Mode::Prune { .. }, Sampler::Nsga2 { .. })) {
        let problem =
            written.problem("the sampler nsga2 picks points by simulated ones, so none are there to be pruned");
        return Err(problem.help("take mode: simulate or mode: estimate, or another sampler"));
    }
    let known: Vec<&str> = Metric::ALL.into_iter().filter(|metric| metric.has_estimate()).map(Metric::name).collect();
    let mut unknown = metrics.filter(|metric| !metric.has_estimate());
    match unknown.next() {
        None => Ok(()),
        Some(metric) => Err(written
            .problem(format!("{} has no estimate", quoted(metric.name())))
            .note(format!("what has one: {}", known.join(", ")))),
    }
}
