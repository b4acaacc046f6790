//! Energy tables: files of figures, each with its unit, process node, voltage and source, into an [`EnergyTable`].
//!
//! A hardware file names its table under `energy:`; the table's tree then stands there in place of the name, so that
//! its figures are overridden as all others (`energy.actions.read_sram.energy_pj`). A figure is written as its source
//! gives it: per 64-byte access, or for another node together with the factor that takes it to the node of the table
//! (`energy_figures`). SRAM arrays may be looked up in a table of CACTI runs instead (`energy_arrays`), and areas stand
//! beside the energies (`energy_areas`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::checks::unique_names;
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed, quoted};
use crate::config::dotted_path::DottedPath;
use crate::config::energy_areas::{self, AreaFile};
use crate::config::energy_arrays::{self, SramArrayFile};
use crate::config::energy_figures::{self, Conditions, FigureFile, Uncertainty, UncertaintyFile};
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::config::schema::{FileForm, form_of};
use crate::hardware::actions::Action;
use crate::hardware::area::AreaTable;
use crate::hardware::energy_table::{EnergyRecord, EnergyTable, OperatingPoint};
use crate::hardware::memory::{Memory, MemoryKind};
use crate::hardware::npu::Npu;
use crate::numerics::real_functions::pow;
use crate::units::Bytes;

/// Volts that a supply may have.
pub(crate) const VOLTAGES: std::ops::RangeInclusive<f64> = 0.1..=5.0;

/// An energy table as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EnergyFile {
    node_nm: Field<u64>,
    voltage: Field<f64>,
    leakage_exponent: Field<f64>,
    uncertainty: Option<Placed<UncertaintyFile>>,
    actions: List<Placed<FigureFile>>,
    arrays: Option<List<Placed<SramArrayFile>>>,
    areas: Option<List<Placed<AreaFile>>>,
    leaves_out: Option<List<Placed<LeftOutFile>>>,
}

#[derive(Clone, Debug, Deserialize)]
struct LeftOutFile {
    name: Field<String>,
    reason: Field<String>,
}

/// What a table must know of the accelerator that it is for.
pub(crate) struct Surroundings<'a> {
    /// Clock in Hz: what leaks is given in mW and counted in cycles.
    pub(crate) clock_hz: u64,
    /// Memories, whose capacity and width an array has where it gives none.
    pub(crate) memories: &'a [Memory],
    /// Supply voltage, where it is not the table's.
    pub(crate) voltage: Option<&'a Field<f64>>,
}

/// The table by itself, with a clock of 1 GHz and nothing around it.
///
/// # Errors
/// As [`resolve_for`].
pub(crate) fn resolve(file: &EnergyFile) -> Result<EnergyTable, ConfigError> {
    let around = Surroundings { clock_hz: 1_000_000_000, memories: &[], voltage: None };
    resolve_for(file, &around, &mut Defaults::default())
}

/// The table as a model: energy per single byte, multiply-accumulate, element or cycle.
///
/// # Errors
/// Every figure that is wrong, without a source, counted in the wrong unit, of an unknown action, of another node
/// than the table's without a factor, or of one that is not its neighbour; an action with two figures.
pub(crate) fn resolve_for(
    file: &EnergyFile,
    around: &Surroundings<'_>,
    defaults: &mut Defaults,
) -> Result<EnergyTable, ConfigError> {
    let mut problems = Problems::default();
    problems.take(unique_names(file.actions.iter().map(|figure| &figure.name)));
    let node_nm = problems.take(file.node_nm.required().in_range(1..=1000));
    let nominal = file.voltage.optional().map(|reading| reading.in_range(VOLTAGES)).transpose();
    let nominal = problems.take(nominal).flatten();
    let uncertainty = match &file.uncertainty {
        Some(given) => energy_figures::uncertainty(given),
        None => Ok(energy_figures::default_uncertainty(defaults)),
    };
    let uncertainty = problems.take(uncertainty).unwrap_or(Uncertainty::DEFAULT);
    let conditions =
        Conditions { node_nm, voltage: nominal, uncertainty, clock_hz: around.clock_hz, memories: around.memories };
    let mut records: BTreeMap<String, EnergyRecord> = BTreeMap::new();
    for figure in file.actions.iter().filter(|figure| !figure.is_relative()) {
        records.extend(problems.take(energy_figures::resolve(figure, &conditions)));
    }
    for figure in file.actions.iter().filter(|figure| figure.is_relative()) {
        records.extend(problems.take(energy_figures::resolve_relative(figure, &records)).unwrap_or_default());
    }
    let mut areas = AreaTable::default();
    for array in file.arrays.iter().flatten() {
        let Some(found) = problems.take(energy_arrays::resolve(array, node_nm, around)) else { continue };
        for (key, record) in found.records {
            if records.insert(key.clone(), record).is_some() {
                problems.push(array.problem(format!("{} has a figure among the actions as well", quoted(&key))));
            }
        }
        if let Some(area) = found.area {
            areas.components.insert(found.component, area);
        }
    }
    let mut left_out = BTreeMap::new();
    for entry in file.leaves_out.iter().flatten() {
        left_out.extend(problems.take(resolve_left_out(entry, &records)));
    }
    for area in file.areas.iter().flatten() {
        problems.take(energy_areas::check(area, node_nm));
    }
    let leakage_exponent = file.leakage_exponent.optional().map(|reading| reading.in_range(0.0..=10.0)).transpose();
    let leakage_exponent = problems.take(leakage_exponent).flatten();
    let supply = match around.voltage.filter(|field| field.is_given()) {
        None => None,
        Some(field) => problems.take(supply(field, nominal)),
    };
    problems.finish()?;
    let table = EnergyTable::new(records).leaving_out(left_out).with_areas(areas);
    let Some((supply, nominal)) = supply else {
        return Ok(table.at(OperatingPoint { voltage: nominal, nominal_voltage: nominal, leakage_exponent }));
    };
    let ratio = supply / nominal;
    let exponent = leakage_exponent.unwrap_or_else(|| {
        let reason = "leakage current is taken not to change with the voltage";
        defaults.record(&DottedPath::default().key("energy").key("leakage_exponent"), &1, reason);
        1.0
    });
    let leakage = pow(ratio, exponent);
    let leakage_exponent = Some(exponent);
    let is_off_chip = |name: &str| {
        around.memories.iter().any(|memory| memory.name == name && matches!(memory.kind, MemoryKind::Dram(_)))
    };
    let point = OperatingPoint { voltage: Some(supply), nominal_voltage: Some(nominal), leakage_exponent };
    Ok(table.at_voltage(ratio * ratio, leakage, is_off_chip).at(point))
}

/// The areas of `npu`, its arrays' included.
///
/// # Errors
/// An area of something that the accelerator does not have.
pub(crate) fn areas(file: &EnergyFile, npu: &Npu) -> Result<AreaTable, Diagnostic> {
    let node_nm = file.node_nm.required().value().ok();
    energy_areas::of_npu(file.areas.iter().flatten(), node_nm, npu)
}

/// What of `file` does not follow the capacity of a memory, each cited where it stands: an array of another size, and, for
/// each of the capacities that were `set`, figures that do not say for which capacity they are.
pub(crate) fn fixed_sizes(file: &EnergyFile, memories: &[Memory], set: &[(String, &Field<Bytes>)]) -> Vec<Diagnostic> {
    let arrays = file.arrays.iter().flatten().filter_map(|array| energy_arrays::fixed_size(array, memories));
    let figures = set.iter().filter_map(|(memory, capacity)| {
        let fixed = file.actions.iter().filter_map(|figure| energy_figures::fixed_for(figure, memory));
        let fixed: Vec<String> = fixed.collect();
        (!fixed.is_empty()).then(|| {
            let names = listed(fixed.iter().map(String::as_str));
            capacity
                .problem(format!("the energy table has figures that do not follow this capacity: {names}"))
                .note("a figure with for_capacity: BYTES follows it")
        })
    });
    arrays.chain(figures).collect()
}

/// The supply voltage and the one that the table is for.
fn supply(field: &Field<f64>, nominal: Option<f64>) -> Result<(f64, f64), Diagnostic> {
    let supply = field.required().in_range(VOLTAGES)?;
    let nominal = nominal.ok_or_else(|| {
        field
            .problem("the energy table does not say for which voltage its figures are")
            .note("write voltage: in the energy table, or leave this one out")
    })?;
    Ok((supply, nominal))
}

fn resolve_left_out(
    entry: &Placed<LeftOutFile>,
    records: &BTreeMap<String, EnergyRecord>,
) -> Result<(String, String), Diagnostic> {
    let name = energy_figures::known_action(&entry.name)?;
    let reason = one_line(&entry.reason.required().text()?);
    if records.contains_key(&name) {
        let message = format!("{} is left out, but the table has a figure for it", quoted(&name));
        return Err(entry.name.problem(message).note("write one or the other"));
    }
    Ok((name, reason))
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
            actions.iter().filter(|action| !energy.covers(action)).map(Action::to_string).collect();
        if missing.is_empty() {
            continue;
        }
        let names = listed(missing.iter().map(String::as_str));
        let message = format!("the energy table has no figure for {names}");
        problems.push(
            Diagnostic::new(part.place(), part.path(), message)
                .note("each action needs one; one that costs nothing stands under leaves_out:, with its reason")
                .help(format!("the table is at {}; it has: {}", file.actions.place(), listed(known.iter().copied()))),
        );
    }
    problems.finish()
}

/// `text` with its line breaks and indents as single blanks.
pub(crate) fn one_line(text: &str) -> String {
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
    use crate::hardware::band::Band;

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
        assert_eq!(records[0].1.energy_pj.typical, 0.15);
        assert_eq!(
            records[0].1.source,
            "secondary: a paper (0.3 pJ per 1 multiply-accumulates at 45 nm; times 0.5: a rule)"
        );
        assert_eq!(records[1].0, "read_sram");
        assert_eq!(records[1].1.energy_pj.typical, 2.0);
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
    /// The record of `key` in [`TABLE`] with `more` at its end.
    fn record(more: &str, key: &str) -> EnergyRecord {
        let table = table(&format!("{TABLE}{more}")).unwrap();
        table.records().find(|(known, _)| *known == key).unwrap().1.clone()
    }

    #[test]
    fn ends_are_those_that_are_given_or_a_factor_by_mark() {
        // 1.5 either way for the output of a tool; 0.3 pJ to 0.9 pJ as given, times 0.5.
        let run = table(TABLE).unwrap().records().nth(1).unwrap().1.energy_pj;
        assert_eq!((run.low, run.high), (2.0 / 1.5, 3.0));
        let given = TABLE.replace("energy_pj: 0.3", "energy_pj: 0.3\n    low_pj: 0.2\n    high_pj: 0.9");
        let given = table(&given).unwrap().records().next().unwrap().1.energy_pj;
        assert_eq!((given.low, given.typical, given.high), (0.1, 0.15, 0.45));
        let text = error("energy_pj: 0.3", "energy_pj: 0.3\n    low_pj: 0.4\n    high_pj: 0.9");
        assert!(text.contains("actions[1].low_pj") && text.contains("allowed: 0 to 0.3"), "{text}");
    }

    #[test]
    fn a_ratio_multiplies_each_end_and_stands_for_every_pair_where_it_is_of_zero_operands() {
        let ratio = |name: &str, base: &str| {
            format!(
                "  - name: {name}\n    relative_to: {base}\n    ratio: {{ low: 0.5, typical: 2, high: 4 }}\n    source: why\n    mark: assumed\n"
            )
        };
        let found = record(&ratio("mac_int4_int4", "mac_int8_int8"), "mac_int4_int4");
        let Band { low, typical, high } = found.energy_pj;
        // 0.1, 0.15 and 0.225 pJ: a factor of 1.5 around 0.15.
        let is_near = |value: f64, expected: f64| (value - expected).abs() < 1e-12;
        assert!(is_near(low, 0.05) && is_near(typical, 0.3) && is_near(high, 0.9), "{:?}", found.energy_pj);
        assert_eq!(found.relative_to.unwrap().0, "mac_int8_int8");
        assert_eq!(record(&ratio("zero_mac", "mac"), "zero_mac_int8_int8").energy_pj.typical, 0.3);
        let text = table(&format!("{TABLE}{}", ratio("mac_int4_int4", "mac_int8_int9"))).unwrap_err().to_string();
        assert!(text.contains("actions[2].relative_to") && text.contains("did you mean"), "{text}");
    }

    #[test]
    fn a_factor_over_more_than_one_step_between_nodes_is_refused_and_an_equation_bridges_one() {
        let text = TABLE.replacen("node_nm: 22", "node_nm: 16", 1).replace("    node_nm: 22\n", "");
        let refused = table(&text).unwrap_err().to_string();
        assert!(refused.contains("from 45 to 16 nm is more than one step"), "{refused}");
        let bridged = TABLE.replace("{ by: 0.5, reason: a rule }", "{ equation: logic_energy }");
        let found = table(&bridged).unwrap().records().next().unwrap().1.energy_pj;
        // (22 / 45)^0.684 = 0.613.
        assert!((found.typical / 0.3 - 0.613).abs() < 1e-3 && found.low < found.typical, "{found:?}");
    }

    #[test]
    fn leakage_in_milliwatts_is_picojoules_a_cycle_and_only_what_leaks_has_a_power() {
        let power = |name: &str| format!("  - name: {name}\n    power_mw: 3\n    source: why\n    mark: assumed\n");
        // 3 mW at 1 GHz.
        assert_eq!(record(&power("leakage_sram"), "leakage_sram").energy_pj.typical, 3.0);
        let refused = table(&format!("{TABLE}{}", power("idle_mac"))).unwrap_err().to_string();
        assert!(refused.contains("only what leaks has a power"), "{refused}");
    }

    #[test]
    fn what_is_left_out_says_why_and_has_no_figure() {
        let left = |name: &str| format!("{TABLE}leaves_out:\n  - {{ name: {name}, reason: not here }}\n");
        assert_eq!(table(&left("idle_mac")).unwrap().reason_left_out("idle_mac"), Some("not here"));
        let refused = table(&left("read_sram")).unwrap_err().to_string();
        assert!(refused.contains("the table has a figure for it"), "{refused}");
    }

    #[test]
    fn an_array_gives_energies_by_the_byte_and_leakage_from_the_table_of_runs() {
        let array =
            "arrays:\n  - { memory: vmem, cell: itrs-lstp, node_nm: 22, size: 1 MiB, width_bits: 512, banks: 8 }\n";
        // CACTI 7: 128.01 pJ a read of 64 bytes, and 0.0665 mW for each of the eight banks.
        assert_eq!(record(array, "read_vmem").energy_pj.typical, 128.01 / 64.0);
        assert_eq!(record(array, "leakage_vmem").energy_pj.typical, 0.0665 * 8.0);
        let refused = table(&format!("{TABLE}{}", array.replace("itrs-lstp", "sram"))).unwrap_err().to_string();
        assert!(refused.contains("allowed: itrs-hp, itrs-lstp"), "{refused}");
        let refused = table(&format!("{TABLE}{}", array.replace("1 MiB", "1 KiB"))).unwrap_err().to_string();
        assert!(refused.contains("outside of the CACTI table"), "{refused}");
    }
}
