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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::study::resolve;

    fn mode_of(text: &str) -> Result<Mode, String> {
        let study = format!(
            "name: s\nhardware: edge-int8\nworkload: minilm-layer\nscheme: w8a8_per_tensor\nparameters: [{{ name: a, values: [1, 2] }}]\n{text}\n"
        );
        let document = Document::from_bytes("s.yaml", study.as_bytes(), "").map_err(|error| error.to_string())?;
        resolve(&document).map(|study| study.mode).map_err(|error| error.to_string())
    }

    const CYCLES: &str = "objectives: [{ metric: cycles }]";

    #[test]
    fn points_are_simulated_unless_the_study_says_otherwise() {
        assert_eq!(mode_of(CYCLES), Ok(Mode::Simulate));
        assert_eq!(mode_of(&format!("{CYCLES}\nmode: estimate")), Ok(Mode::Estimate));
        assert_eq!(mode_of(&format!("{CYCLES}\nmode: prune")), Ok(Mode::Prune { keep: 0.1 }));
        assert_eq!(mode_of(&format!("{CYCLES}\nmode: prune\nkeep: 0.25")), Ok(Mode::Prune { keep: 0.25 }));
    }

    #[test]
    fn what_cannot_be_estimated_is_refused_where_the_mode_stands() {
        let refused = |text: &str, words: &str| {
            let error = mode_of(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused(&format!("{CYCLES}\nmode: guess"), "\"guess\" is not known here");
        refused(&format!("{CYCLES}\nkeep: 0.5"), "only mode: prune keeps a share");
        refused(&format!("{CYCLES}\nmode: prune\nkeep: 0"), "0 is not above 0 and at most 1");
        refused(
            "objectives: [{ metric: utilization }]\nmode: estimate",
            "s.yaml:7:7: mode: \"utilization\" has no estimate",
        );
        refused(
            &format!("{CYCLES}\nconstraints: [{{ metric: utilization, at_least: 0.5 }}]\nmode: estimate"),
            "\"utilization\" has no estimate",
        );
        refused(&format!("{CYCLES}\nnumerics: true\nmode: estimate"), "an estimate computes no values");
        refused(
            &format!("{CYCLES}\nsampler: {{ nsga2: {{ population: 4, generations: 1 }} }}\nmode: prune"),
            "none are there to be pruned",
        );
        // A constraint on what only simulation knows does not keep points from being pruned.
        let kept = format!("{CYCLES}\nconstraints: [{{ metric: utilization, at_least: 0.5 }}]\nmode: prune");
        assert_eq!(mode_of(&kept), Ok(Mode::Prune { keep: 0.1 }));
    }
}
