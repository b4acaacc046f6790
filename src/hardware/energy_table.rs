//! Energy per action, every figure with its source and with how far it may be off.

use std::collections::BTreeMap;

use crate::hardware::actions::{Action, ActionCounts, Component};
use crate::hardware::area::AreaTable;
use crate::hardware::band::Band;

/// How a figure came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
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
    /// Every mark with its name in files and reports.
    pub const NAMES: [(&'static str, Mark); 6] = [
        ("read", Mark::Read),
        ("secondary", Mark::Secondary),
        ("recall", Mark::Recall),
        ("inference", Mark::Inference),
        ("run", Mark::Run),
        ("assumed", Mark::Assumed),
    ];

    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        Self::NAMES[Self::NAMES.iter().position(|(_, mark)| *mark == self).unwrap_or(0)].0
    }

    /// Whether the figure was not seen in a source or a tool's output, but recalled, computed from others, or chosen.
    pub const fn is_weak(self) -> bool {
        matches!(self, Mark::Recall | Mark::Inference | Mark::Assumed)
    }
}

/// Energy of one action and where the figure comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyRecord {
    /// Energy of one action, in pJ.
    pub energy_pj: Band,
    /// Key of the record that it is a multiple of, and by how much; none where it stands for itself.
    pub relative_to: Option<(String, Band)>,
    /// How it came to be known.
    pub mark: Mark,
    /// Where the figure was read, or `assumed:` with the reasoning.
    pub source: String,
}

impl EnergyRecord {
    /// A record that stands for itself.
    pub fn new(energy_pj: Band, mark: Mark, source: String) -> EnergyRecord {
        EnergyRecord { energy_pj, relative_to: None, mark, source }
    }
}

/// Energy records by action key (the `Display` of [`Action`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergyTable {
    records: BTreeMap<String, EnergyRecord>,
    left_out: BTreeMap<String, String>,
    areas: AreaTable,
    operating_point: OperatingPoint,
}

/// The voltage that figures hold at.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct OperatingPoint {
    /// Supply of the chip in V, if it is known. Dynamic energy on the chip is that of the figures times the square of its
    /// ratio to the nominal one. Memories off the chip have a supply of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voltage: Option<f64>,
    /// Voltage in V that the figures are for, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominal_voltage: Option<f64>,
    /// Leakage power on the chip is that of the figures times the ratio of the voltages to this power.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leakage_exponent: Option<f64>,
}

/// A run did an action for which the table has no figure. Never a silent zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the energy table has no figure for the action `{action}`, which this run does {times} times; it has: {known}")]
pub struct MissingAction {
    /// Key of the action.
    pub action: String,
    /// How often the run did it.
    pub times: u64,
    /// Keys that the table has.
    pub known: String,
}

impl EnergyTable {
    /// A table of the given records by action key.
    pub fn new(records: BTreeMap<String, EnergyRecord>) -> EnergyTable {
        EnergyTable { records, ..EnergyTable::default() }
    }

    /// The table, with the actions that it leaves out on purpose and why. They cost nothing, and reports say so.
    #[must_use]
    pub fn leaving_out(mut self, left_out: BTreeMap<String, String>) -> EnergyTable {
        self.left_out = left_out;
        self
    }

    /// The table with the areas of components.
    #[must_use]
    pub fn with_areas(mut self, areas: AreaTable) -> EnergyTable {
        self.areas = areas;
        self
    }

    /// The table of which it is known for which voltage it holds.
    #[must_use]
    pub fn at(mut self, operating_point: OperatingPoint) -> EnergyTable {
        self.operating_point = operating_point;
        self
    }

    /// Areas of components.
    pub fn areas(&self) -> &AreaTable {
        &self.areas
    }

    /// The voltage that the figures hold at.
    pub fn operating_point(&self) -> OperatingPoint {
        self.operating_point
    }

    /// Records in order of their key.
    pub fn records(&self) -> impl Iterator<Item = (&str, &EnergyRecord)> {
        self.records.iter().map(|(key, record)| (key.as_str(), record))
    }

    /// Why the action of that key is left out, if it is.
    pub fn reason_left_out(&self, key: &str) -> Option<&str> {
        self.left_out.get(key).map(String::as_str)
    }

    /// Whether the table says what `action` costs, or that it is left out.
    pub fn covers(&self, action: &Action) -> bool {
        let key = action.to_string();
        self.records.contains_key(&key) || self.left_out.contains_key(&key)
    }

    /// The record of `action`.
    pub fn record(&self, action: &Action) -> Option<&EnergyRecord> {
        self.records.get(&action.to_string())
    }

    /// Typical energy of one `action` in pJ, if the table has a figure for it.
    pub fn energy_pj(&self, action: &Action) -> Option<f64> {
        self.record(action).map(|record| record.energy_pj.typical)
    }

    /// The table at another voltage: on the chip, actions cost `dynamic` times as much and leakage `leakage` times.
    /// Memories off the chip, of which `is_off_chip` knows the names, have a supply of their own.
    #[must_use]
    pub fn at_voltage(mut self, dynamic: f64, leakage: f64, is_off_chip: impl Fn(&str) -> bool) -> EnergyTable {
        for (key, record) in &mut self.records {
            let memory = ["read_", "write_", "background_"].iter().find_map(|verb| key.strip_prefix(verb));
            let factor = match memory {
                Some(memory) if is_off_chip(memory) => 1.0,
                _ if key.starts_with("leakage_") => leakage,
                _ => dynamic,
            };
            record.energy_pj = record.energy_pj.times(factor);
        }
        self
    }

    /// Energy of the counted actions, by component: `times` each record, added in the order of the actions.
    ///
    /// # Errors
    /// [`MissingAction`] where an action was done and the table neither has a record of it nor leaves it out.
    pub fn cost(&self, counts: &ActionCounts) -> Result<EnergyBreakdown, MissingAction> {
        let mut breakdown = EnergyBreakdown::default();
        for (action, times) in counts.iter() {
            let key = action.to_string();
            if self.left_out.contains_key(&key) {
                continue;
            }
            let record = self.records.get(&key).ok_or_else(|| MissingAction {
                action: key.clone(),
                times,
                known: self.records.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            let sum = breakdown.by_component.entry(action.component()).or_default();
            *sum = *sum + record.energy_pj.times(times as f64);
        }
        Ok(breakdown)
    }

    /// By how much the total moves when one record alone goes from its low to its high end, the others being typical: the
    /// records that move it most first, equal ones in order of their key. What is a multiple of a record moves with it.
    pub fn sensitivities(&self, counts: &ActionCounts) -> Vec<Sensitivity> {
        let mut moves: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        let mut add = |key, times: f64, figure: Band| {
            let (down, up): &mut (f64, f64) = moves.entry(key).or_default();
            *down += times * (figure.typical - figure.low);
            *up += times * (figure.high - figure.typical);
        };
        for (action, times) in counts.iter() {
            let Some((key, record)) = self.records.get_key_value(&action.to_string()) else { continue };
            let times = times as f64;
            match record.relative_to.as_ref().and_then(|(base, ratio)| Some((self.records.get_key_value(base)?, ratio)))
            {
                None => add(key.as_str(), times, record.energy_pj),
                Some(((base_key, base), ratio)) => {
                    add(key.as_str(), times * base.energy_pj.typical, *ratio);
                    add(base_key.as_str(), times * ratio.typical, base.energy_pj);
                }
            }
        }
        let found = moves.into_iter().filter(|(_, (down, up))| down + up > 0.0);
        let mut found: Vec<Sensitivity> =
            found.map(|(key, (down_pj, up_pj))| Sensitivity { key: key.to_owned(), down_pj, up_pj }).collect();
        found.sort_by(|a, b| b.swing_pj().total_cmp(&a.swing_pj()));
        found
    }
}

/// How the total of a run hangs on one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// Key of the record.
    pub key: String,
    /// By how much the total falls at its low end, in pJ.
    pub down_pj: f64,
    /// By how much the total rises at its high end, in pJ.
    pub up_pj: f64,
}

impl Sensitivity {
    /// The total at its high end less that at its low end.
    pub fn swing_pj(&self) -> f64 {
        self.down_pj + self.up_pj
    }
}

/// Energy by component, in pJ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergyBreakdown {
    by_component: BTreeMap<Component, Band>,
}

impl EnergyBreakdown {
    /// Components in order with their typical energy in pJ.
    pub fn iter(&self) -> impl Iterator<Item = (&Component, f64)> {
        self.bands().map(|(component, energy)| (component, energy.typical))
    }

    /// Components in order with their energy in pJ.
    pub fn bands(&self) -> impl Iterator<Item = (&Component, Band)> {
        self.by_component.iter().map(|(component, energy)| (component, *energy))
    }

    /// Sum over components in pJ, added in their order.
    pub fn total(&self) -> Band {
        self.by_component.values().copied().sum()
    }

    /// The typical one of [`EnergyBreakdown::total`].
    pub fn total_pj(&self) -> f64 {
        self.total().typical
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(low: f64, typical: f64, high: f64) -> EnergyRecord {
        EnergyRecord::new(Band { low, typical, high }, Mark::Assumed, "assumed: test".to_owned())
    }

    fn table(records: &[(&str, EnergyRecord)]) -> EnergyTable {
        EnergyTable::new(records.iter().map(|(key, record)| ((*key).to_owned(), record.clone())).collect())
    }

    fn counts(of: &[(Action, u64)]) -> ActionCounts {
        let mut counts = ActionCounts::default();
        of.iter().for_each(|(action, times)| counts.add(action.clone(), *times));
        counts
    }

    fn read(memory: &str) -> Action {
        Action::Read(memory.to_owned())
    }

    #[test]
    fn an_action_without_a_figure_is_named_instead_of_costing_nothing() {
        let table = table(&[("read_sram", record(2.0, 2.0, 2.0))]);
        let mut counts = counts(&[(read("sram"), 8)]);
        assert_eq!(table.cost(&counts).unwrap().total_pj(), 16.0);
        counts.add(Action::Write("sram".to_owned()), 3);
        let error = table.cost(&counts).unwrap_err();
        assert_eq!((error.action.as_str(), error.times), ("write_sram", 3));
        // Left out on purpose, it costs nothing and the table knows why.
        let left_out = BTreeMap::from([("write_sram".to_owned(), "the port is in another table".to_owned())]);
        let table = table.leaving_out(left_out);
        assert_eq!(table.cost(&counts).unwrap().total_pj(), 16.0);
        assert_eq!(table.reason_left_out("write_sram"), Some("the port is in another table"));
    }

    #[test]
    fn a_record_moves_the_total_by_its_range_times_its_count_and_takes_its_multiples_along() {
        let mut twice = record(2.0 * 1.5, 4.0 * 2.0, 5.0 * 4.0);
        twice.relative_to = Some(("idle_mac".to_owned(), Band { low: 1.5, typical: 2.0, high: 4.0 }));
        let table =
            table(&[("idle_mac", record(2.0, 4.0, 5.0)), ("gated_mac", twice), ("read_sram", record(1.0, 1.0, 1.0))]);
        let counts = counts(&[(Action::IdleMac, 10), (Action::GatedMac, 3), (read("sram"), 99)]);
        // idle_mac: (10 + 3 x 2) times 2 down and 1 up; the ratio alone: 3 x 4 pJ times 0.5 down and 2 up. A figure without
        // a range moves nothing.
        let expected = [("idle_mac", 32.0, 16.0), ("gated_mac", 6.0, 24.0)].map(|(key, down_pj, up_pj)| Sensitivity {
            key: key.to_owned(),
            down_pj,
            up_pj,
        });
        assert_eq!(table.sensitivities(&counts), expected);
    }

    #[test]
    fn twice_the_voltage_is_four_times_the_dynamic_energy_and_leaves_memories_off_the_chip_alone() {
        let keys = ["idle_mac", "read_sram", "leakage_sram", "read_dram", "background_dram"];
        let table = table(&keys.map(|key| (key, record(1.0, 2.0, 3.0)))).at_voltage(4.0, 2.0, |name| name == "dram");
        let of = |key: &str| table.records().find(|(known, _)| *known == key).unwrap().1.energy_pj.typical;
        assert_eq!(keys.map(of), [8.0, 8.0, 4.0, 2.0, 2.0]);
    }
}
