//! Silicon area of an accelerator, by component.

use std::collections::BTreeMap;

use crate::hardware::actions::Component;
use crate::hardware::band::Band;
use crate::hardware::energy_table::Mark;

/// Area of one component and where the figure comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaRecord {
    /// Of the whole component, in mm2.
    pub area_mm2: Band,
    /// How it came to be known.
    pub mark: Mark,
    /// Where the figure was read, or why it was chosen.
    pub source: String,
}

/// The area of the components whose figures are known. Empty where the energy table says nothing about area.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AreaTable {
    /// By component.
    pub components: BTreeMap<Component, AreaRecord>,
    /// What control, wiring and unused silicon add: a share of the sum of the components.
    pub overhead: Option<AreaRecord>,
    /// Components of the chip that have no figure.
    pub missing: Vec<Component>,
}

impl AreaTable {
    /// Area of the whole chip in mm2; none where a component has no figure.
    pub fn total_mm2(&self) -> Option<Band> {
        let sum: Band = self.components.values().map(|record| record.area_mm2).sum();
        let overhead = self.overhead.as_ref().map_or(Band::default(), |record| record.area_mm2);
        (self.missing.is_empty() && !self.components.is_empty()).then(|| sum + overhead)
    }
}
