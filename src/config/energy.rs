//! Energy tables: files of figures, each with its unit, process node and source, into an [`EnergyTable`].
//!
//! A hardware file names its table under `energy:`; the table's tree then stands there in place of the name, so that
//! its figures are overridden as all others (`energy.actions.read_sram.energy_pj`). A figure is written as its source
//! gives it: per 64-byte access, or for another node together with the factor that takes it to the node of the table.

use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::config::checks::{exactly_one, unique_names};
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed, quoted};
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::config::schema::{FileForm, form_of};
use crate::hardware::actions::Action;
use crate::hardware::energy_table::{EnergyRecord, EnergyTable};
use crate::hardware::vector_unit::VectorFunction;
use crate::numerics::formats::ALL as FORMATS;

/// The most energy that one figure may state, in pJ: a millijoule.
const MOST_PJ: f64 = 1e9;

/// An energy table as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EnergyFile {
    node_nm: Field<u64>,
    actions: List<Placed<FigureFile>>,
}

#[derive(Clone, Debug, Deserialize)]
struct FigureFile {
    name: Field<String>,
    energy_pj: Field<f64>,
    per_bytes: Field<u64>,
    per_macs: Field<u64>,
    per_elements: Field<u64>,
    per_cycles: Field<u64>,
    node_nm: Field<u64>,
    scaled: Option<Placed<ScaledFile>>,
    source: Field<String>,
    mark: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ScaledFile {
    by: Field<f64>,
    reason: Field<String>,
}

/// How a figure came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Seen in the source that is named.
    Read,
    /// Seen in a re-tabulation of the source that is named.
    Secondary,
    /// From memory, not looked up.
    Recall,
    /// Computed from other figures, as the source text says.
    Inference,
    /// The output of a tool that was run.
    Run,
    /// Chosen, for the reason that the source text gives.
    Assumed,
}

impl Mark {
    const NAMES: [(&'static str, Mark); 6] = [
        ("read", Mark::Read),
        ("secondary", Mark::Secondary),
        ("recall", Mark::Recall),
        ("inference", Mark::Inference),
        ("run", Mark::Run),
        ("assumed", Mark::Assumed),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mark)| *mark == self).map_or("", |(name, _)| name)
    }
}

/// What one action is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Macs,
    Elements,
    Cycles,
}

impl Unit {
    const ALL: [Unit; 4] = [Unit::Bytes, Unit::Macs, Unit::Elements, Unit::Cycles];

    fn key(self) -> &'static str {
        match self {
            Unit::Bytes => "per_bytes",
            Unit::Macs => "per_macs",
            Unit::Elements => "per_elements",
            Unit::Cycles => "per_cycles",
        }
    }

    fn amount(self, figure: &FigureFile) -> &Field<u64> {
        match self {
            Unit::Bytes => &figure.per_bytes,
            Unit::Macs => &figure.per_macs,
            Unit::Elements => &figure.per_elements,
            Unit::Cycles => &figure.per_cycles,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Unit::Bytes => "bytes",
            Unit::Macs => "multiply-accumulates",
            Unit::Elements => "elements",
            Unit::Cycles => "cycles",
        })
    }
}

/// The table as a model: energy per single byte, multiply-accumulate, element or cycle.
///
/// # Errors
/// Every figure that is wrong, without a source, counted in the wrong unit, of an unknown action, or of another node
/// than the table's without a factor; an action with two figures.
pub(crate) fn resolve(file: &EnergyFile) -> Result<EnergyTable, ConfigError> {
    let mut problems = Problems::default();
    problems.take(unique_names(file.actions.iter().map(|figure| &figure.name)));
    let node_nm = problems.take(file.node_nm.required().in_range(1..=1000));
    let figures = file.actions.iter().map(|figure| resolve_figure(figure, node_nm));
    let records = figures.filter_map(|record| problems.take(record)).collect();
    problems.finish()?;
    Ok(EnergyTable::new(records))
}

/// A part of an accelerator and the actions that it does.
pub(crate) struct Actor<'f> {
    /// The part as written.
    pub(crate) part: &'f dyn Cited,
    /// What it does.
    pub(crate) actions: Vec<Action>,
}

/// Checks that `energy` has a figure for each action of each part, so that no run ends for want of one.
///
/// # Errors
/// The parts whose actions lack a figure, with the place of the table, `file`.
pub(crate) fn check_coverage(actors: &[Actor<'_>], energy: &EnergyTable, file: &EnergyFile) -> Result<(), ConfigError> {
    let known: Vec<&str> = energy.records().map(|(key, _)| key).collect();
    let mut problems = Problems::default();
    for Actor { part, actions } in actors {
        let missing: Vec<String> =
            actions.iter().map(Action::to_string).filter(|key| !known.contains(&key.as_str())).collect();
        if missing.is_empty() {
            continue;
        }
        let names = listed(missing.iter().map(String::as_str));
        let message = format!("the energy table has no figure for {names}");
        problems.push(
            Diagnostic::new(part.place(), part.path(), message)
                .note("each action needs one; one that costs nothing says so, with its reason")
                .help(format!("the table is at {}; it has: {}", file.actions.place(), listed(known.iter().copied()))),
        );
    }
    problems.finish()
}

fn resolve_figure(figure: &Placed<FigureFile>, node_nm: Option<u64>) -> Result<(String, EnergyRecord), Diagnostic> {
    let name = figure.name.required().text()?;
    let unit = unit_of(figure, &name)?;
    let figure_pj = figure.energy_pj.required().in_range(0.0..=MOST_PJ)?;
    let amount = unit.amount(figure).required().in_range(1..=1 << 32)?;
    let mark = figure.mark.required().one_of(&Mark::NAMES)?;
    let mut source = format!("{}: {} ", mark.name(), one_line(&figure.source.required().text()?));
    source.push_str(&format!("({figure_pj} pJ per {amount} {unit}"));
    let figure_node = match figure.node_nm.optional() {
        Some(reading) => Some(reading.in_range(1..=1000)?),
        None => None,
    };
    if let Some(node) = figure_node {
        source.push_str(&format!(" at {node} nm"));
    }
    let mut factor = 1.0;
    if let Some(scaled) = &figure.scaled {
        factor = scaled.by.required().in_range(1e-6..=1e6)?;
        let reason = one_line(&scaled.reason.required().text()?);
        source.push_str(&format!("; times {factor}: {reason}"));
    } else if let (Some(figure_node), Some(table_node)) = (figure_node, node_nm)
        && figure_node != table_node
    {
        return Err(figure
            .node_nm
            .problem(format!("the figure is for {figure_node} nm, but the table is for {table_node} nm"))
            .note("a figure of another node states how it is scaled")
            .help("add scaled: { by: FACTOR, reason: \"...\" }"));
    }
    source.push(')');
    Ok((name, EnergyRecord { energy_pj: figure_pj / amount as f64 * factor, source }))
}

/// The unit of an action, after a check that the figure is given in it.
fn unit_of(figure: &Placed<FigureFile>, name: &str) -> Result<Unit, Diagnostic> {
    // The one open set: memories are named by hardware files, which may share a table.
    let of_memory = ["read_", "write_"].iter().any(|verb| name.strip_prefix(verb).is_some_and(|rest| !rest.is_empty()));
    let unit = if of_memory { Unit::Bytes } else { figure.name.required().one_of(&UNITS_BY_ACTION)? };
    let place = |unit: Unit| Some(unit.amount(figure)).filter(|amount| amount.is_given()).map(Cited::place);
    let given = Unit::ALL.map(|unit| (unit.key(), place(unit)));
    let given = Unit::ALL[exactly_one(figure, &given)?];
    if given != unit {
        return Err(given
            .amount(figure)
            .problem(format!("{} is counted in {unit}, not in {given}", quoted(name)))
            .note(format!("use {}", unit.key())));
    }
    Ok(unit)
}

/// Every action but those of memories, most usual ones first.
static UNITS_BY_ACTION: LazyLock<Vec<(String, Unit)>> = LazyLock::new(|| {
    let mut units = vec![(Action::IdleMac.to_string(), Unit::Cycles)];
    units.extend(VectorFunction::ALL.map(|function| (Action::Vector(function).to_string(), Unit::Elements)));
    for activation in FORMATS {
        for weight in FORMATS {
            units.push((Action::Mac { activation, weight }.to_string(), Unit::Macs));
        }
    }
    units
});

/// `text` with its line breaks and indents as single blanks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What such a file may hold.
pub(crate) fn form() -> FileForm {
    form_of::<EnergyFile>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;

    const TABLE: &str = "\
node_nm: 22
actions:
  - name: read_sram
    energy_pj: 128
    per_bytes: 64
    node_nm: 22
    source: a tool
    mark: run
  - name: mac_int8_int8
    energy_pj: 0.3
    per_macs: 1
    node_nm: 45
    scaled: { by: 0.5, reason: a rule }
    source: a paper
    mark: secondary
";

    fn table(text: &str) -> Result<EnergyTable, ConfigError> {
        let file: EnergyFile = Document::from_bytes("t.yaml", text.as_bytes(), "")?.read()?;
        resolve(&file)
    }

    fn error(from: &str, to: &str) -> String {
        assert!(TABLE.contains(from), "{from}");
        table(&TABLE.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_figure_per_access_becomes_one_per_byte_and_a_scaled_one_says_by_how_much() {
        let table = table(TABLE).unwrap();
        let records: Vec<_> = table.records().collect();
        // 0.3 pJ x 0.5, and 128 pJ / 64 bytes.
        assert_eq!(records[0].0, "mac_int8_int8");
        assert_eq!(records[0].1.energy_pj, 0.15);
        assert_eq!(
            records[0].1.source,
            "secondary: a paper (0.3 pJ per 1 multiply-accumulates at 45 nm; times 0.5: a rule)"
        );
        assert_eq!(records[1].0, "read_sram");
        assert_eq!(records[1].1.energy_pj, 2.0);
        assert_eq!(records[1].1.source, "run: a tool (128 pJ per 64 bytes at 22 nm)");
    }

    #[test]
    fn a_figure_of_another_node_without_a_factor_is_refused() {
        let text = error("    scaled: { by: 0.5, reason: a rule }\n", "");
        assert!(
            text.starts_with("t.yaml:12:14: actions[1].node_nm: the figure is for 45 nm, but the table is for 22 nm"),
            "{text}"
        );
    }

    #[test]
    fn a_figure_in_the_wrong_unit_names_the_right_key() {
        assert_eq!(
            error("per_bytes", "per_macs"),
            "\
t.yaml:5:15: actions[0].per_macs: \"read_sram\" is counted in bytes, not in multiply-accumulates
    5 |     per_macs: 64
      |               ^^ use per_bytes"
        );
    }

    #[test]
    fn an_unknown_action_offers_the_nearest_one() {
        let text = error("mac_int8_int8", "mac_int8_imt8");
        assert!(text.starts_with("t.yaml:9:11: actions[1].name: \"mac_int8_imt8\" is not known here"), "{text}");
        assert!(text.ends_with("help: did you mean \"mac_int8_int8\"?"), "{text}");
    }

    #[test]
    fn a_figure_without_a_source_or_with_a_made_up_mark_is_refused() {
        let text = error("    source: a tool\n", "");
        assert!(text.contains("actions[0]: the key \"source\" is missing"), "{text}");
        let text = error("mark: run", "mark: trust");
        assert!(text.contains("allowed: read, secondary, recall, inference, run, assumed"), "{text}");
    }

    #[test]
    fn two_figures_of_one_action_are_refused() {
        let text = error("mac_int8_int8", "read_sram");
        assert!(text.starts_with("t.yaml:9:11: actions[1].name: the name \"read_sram\" is used twice"), "{text}");
    }
}
