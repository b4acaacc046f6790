//! Energy per action, every figure with its source.

use std::collections::BTreeMap;

use crate::hardware::actions::{Action, ActionCounts, Component};

/// Energy of one action and where the figure comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyRecord {
    /// Typical energy of one action, in pJ.
    pub energy_pj: f64,
    /// Where the figure was read, or `assumed:` with the reasoning.
    pub source: String,
}

/// Energy records by action key (the `Display` of [`Action`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergyTable {
    records: BTreeMap<String, EnergyRecord>,
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
        EnergyTable { records }
    }

    /// Records in order of their key.
    pub fn records(&self) -> impl Iterator<Item = (&str, &EnergyRecord)> {
        self.records.iter().map(|(key, record)| (key.as_str(), record))
    }

    /// Energy of one `action` in pJ, if the table has a figure for it.
    pub fn energy_pj(&self, action: &Action) -> Option<f64> {
        self.records.get(&action.to_string()).map(|record| record.energy_pj)
    }

    /// Energy of the counted actions in pJ, by component.
    ///
    /// # Errors
    /// [`MissingAction`] where an action was done and the table has no record of it.
    pub fn cost(&self, counts: &ActionCounts) -> Result<EnergyBreakdown, MissingAction> {
        let mut breakdown = EnergyBreakdown::default();
        for (action, times) in counts.iter() {
            let key = action.to_string();
            let record = self.records.get(&key).ok_or_else(|| MissingAction {
                action: key.clone(),
                times,
                known: self.records.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            *breakdown.by_component.entry(action.component()).or_default() += times as f64 * record.energy_pj;
        }
        Ok(breakdown)
    }
}

/// Energy by component, in pJ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergyBreakdown {
    by_component: BTreeMap<Component, f64>,
}

impl EnergyBreakdown {
    /// Components in order with their energy in pJ.
    pub fn iter(&self) -> impl Iterator<Item = (&Component, f64)> {
        self.by_component.iter().map(|(component, energy)| (component, *energy))
    }

    /// Sum over components in pJ, added in their order.
    pub fn total_pj(&self) -> f64 {
        self.by_component.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_without_a_figure_is_named_instead_of_costing_nothing() {
        let record = EnergyRecord { energy_pj: 2.0, source: "assumed: test".to_owned() };
        let table = EnergyTable::new(BTreeMap::from([("read_sram".to_owned(), record)]));
        let mut counts = ActionCounts::default();
        counts.add(Action::Read("sram".to_owned()), 8);
        assert_eq!(table.cost(&counts).unwrap().total_pj(), 16.0);
        counts.add(Action::Write("sram".to_owned()), 3);
        let error = table.cost(&counts).unwrap_err();
        assert_eq!((error.action.as_str(), error.times), ("write_sram", 3));
    }
}
