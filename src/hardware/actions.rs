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
    /// One useful multiply-accumulate of a format pair of which an operand is zero: its product is known before.
    ZeroMac {
        /// Format of the left element.
        activation: &'static ElementFormat,
        /// Format of the right element.
        weight: &'static ElementFormat,
    },
    /// One processing-element cycle in an active fold that did no useful work (padding).
    IdleMac,
    /// One processing-element cycle in which its array had no tile.
    GatedMac,
    /// One element of a stationary operand into the registers of an array.
    WeightLoad,
    /// One processing-element cycle in which operands and sums are handed on to its neighbours.
    RegisterShift,
    /// One partial sum that is added to the one in the accumulators.
    Accumulate,
    /// One sum shifted and added to itself in the accumulators, before another product adds to it.
    AccumulatorShift,
    /// The scales of one pair of blocks, applied to the sum of their products.
    BlockScale,
    /// One element through a vector function.
    Vector(VectorFunction),
    /// The index of one gathered element.
    IndexFetch,
    /// One descriptor of the DMA engines: a transfer is set up.
    DmaDescriptor,
    /// One burst that a DMA engine asks for.
    DmaBurst,
    /// One byte read from the named memory.
    Read(String),
    /// One byte written to the named memory.
    Write(String),
    /// One cycle of leakage of a processing element, of a lane, or of a whole memory on the chip.
    Leakage(Component),
    /// One cycle of what the named off-chip memory takes whether or not it is used.
    Background(String),
}

impl Action {
    /// The kinds that have neither a format, a function nor a memory.
    pub const PLAIN: [Action; 10] = [
        Action::IdleMac,
        Action::GatedMac,
        Action::WeightLoad,
        Action::RegisterShift,
        Action::Accumulate,
        Action::AccumulatorShift,
        Action::BlockScale,
        Action::IndexFetch,
        Action::DmaDescriptor,
        Action::DmaBurst,
    ];

    /// Component to which reports book the action.
    pub fn component(&self) -> Component {
        match self {
            Action::Mac { .. }
            | Action::ZeroMac { .. }
            | Action::IdleMac
            | Action::GatedMac
            | Action::WeightLoad
            | Action::RegisterShift
            | Action::Accumulate
            | Action::AccumulatorShift
            | Action::BlockScale => Component::MatrixUnits,
            Action::Vector(_) | Action::IndexFetch => Component::VectorUnits,
            Action::DmaDescriptor | Action::DmaBurst => Component::Dma,
            Action::Read(memory) | Action::Write(memory) | Action::Background(memory) => {
                Component::Memory(memory.clone())
            }
            Action::Leakage(component) => component.clone(),
        }
    }

    /// Whether it costs energy for as long as it lasts, whatever is done meanwhile.
    pub const fn is_by_time(&self) -> bool {
        matches!(self, Action::Leakage(_) | Action::Background(_))
    }
}

impl fmt::Display for Action {
    /// The key of the action in energy tables, such as `mac_int8_int8` or `read_sram`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Mac { activation, weight } => write!(formatter, "mac_{activation}_{weight}"),
            Action::ZeroMac { activation, weight } => write!(formatter, "zero_mac_{activation}_{weight}"),
            Action::IdleMac => formatter.write_str("idle_mac"),
            Action::GatedMac => formatter.write_str("gated_mac"),
            Action::WeightLoad => formatter.write_str("weight_load"),
            Action::RegisterShift => formatter.write_str("register_shift"),
            Action::Accumulate => formatter.write_str("accumulate"),
            Action::AccumulatorShift => formatter.write_str("accumulator_shift"),
            Action::BlockScale => formatter.write_str("block_scale"),
            Action::Vector(function) => write!(formatter, "vector_{}", function.name()),
            Action::IndexFetch => formatter.write_str("index_fetch"),
            Action::DmaDescriptor => formatter.write_str("dma_descriptor"),
            Action::DmaBurst => formatter.write_str("dma_burst"),
            Action::Read(memory) => write!(formatter, "read_{memory}"),
            Action::Write(memory) => write!(formatter, "write_{memory}"),
            Action::Leakage(component) => write!(formatter, "leakage_{component}"),
            Action::Background(memory) => write!(formatter, "background_{memory}"),
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
    /// All DMA engines.
    Dma,
    /// One memory.
    Memory(String),
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::MatrixUnits => formatter.write_str("matrix_units"),
            Component::VectorUnits => formatter.write_str("vector_units"),
            Component::Dma => formatter.write_str("dma"),
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
