//! Actions that cost energy, and how often each was done.

use std::collections::BTreeMap;
use std::fmt;

use crate::hardware::vector_unit::VectorFunction;
use crate::numerics::formats::ElementFormat;

/// Something a component does that costs energy. Memories are named, because each has an energy of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// One useful multiply-accumulate of a format pair.
    Mac {
        /// Format of the left element.
        activation: &'static ElementFormat,
        /// Format of the right element.
        weight: &'static ElementFormat,
    },
    /// One processing-element cycle in an active fold that did no useful work (padding).
    IdleMac,
    /// One element through a vector function.
    Vector(VectorFunction),
    /// One byte read from the named memory.
    Read(String),
    /// One byte written to the named memory.
    Write(String),
}

impl Action {
    /// Component to which reports book the action.
    pub fn component(&self) -> Component {
        match self {
            Action::Mac { .. } | Action::IdleMac => Component::MatrixUnits,
            Action::Vector(_) => Component::VectorUnits,
            Action::Read(memory) | Action::Write(memory) => Component::Memory(memory.clone()),
        }
    }
}

impl fmt::Display for Action {
    /// The key of the action in energy tables, such as `mac_int8_int8` or `read_sram`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Mac { activation, weight } => write!(formatter, "mac_{activation}_{weight}"),
            Action::IdleMac => formatter.write_str("idle_mac"),
            Action::Vector(function) => write!(formatter, "vector_{}", function.name()),
            Action::Read(memory) => write!(formatter, "read_{memory}"),
            Action::Write(memory) => write!(formatter, "write_{memory}"),
        }
    }
}

/// A component in an energy breakdown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// All matrix units.
    MatrixUnits,
    /// All vector units.
    VectorUnits,
    /// One memory.
    Memory(String),
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::MatrixUnits => formatter.write_str("matrix_units"),
            Component::VectorUnits => formatter.write_str("vector_units"),
            Component::Memory(name) => formatter.write_str(name),
        }
    }
}

/// How often each action was done. Ordered, so that every iteration gives the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionCounts {
    counts: BTreeMap<Action, u64>,
}

impl ActionCounts {
    /// Adds `times` of `action`; zero leaves no trace.
    pub fn add(&mut self, action: Action, times: u64) {
        if times > 0 {
            *self.counts.entry(action).or_default() += times;
        }
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &ActionCounts) {
        for (action, times) in other.iter() {
            self.add(action.clone(), times);
        }
    }

    /// How often `action` was done.
    pub fn get(&self, action: &Action) -> u64 {
        self.counts.get(action).copied().unwrap_or(0)
    }

    /// Actions in order with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&Action, u64)> {
        self.counts.iter().map(|(action, times)| (action, *times))
    }
}
