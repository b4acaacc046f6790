//! The schedule: every decision about when and where, made once.
//!
//! It binds operations to units, gives them tile grids and buffers, and says what waits for what. Timing and execution
//! walk the same schedule and decide nothing. It is compact: commands come from [`commands::CommandStream`], one at a
//! time, so its size depends on the number of layers and never on the number of tiles.

pub mod accumulation;
pub mod binding;
pub mod commands;
pub mod compute_ends;
pub mod counter;
pub mod energy_estimate;
pub mod estimate;
pub mod extraction;
pub mod fixed_tiling;
pub mod gather;
pub mod grid;
pub mod grouping;
pub mod k_outside;
pub mod lattice;
pub mod lead;
pub mod likeness;
pub mod nest;
pub mod operands;
pub mod placement;
pub mod plan;
pub mod residency;
pub mod ring;
pub mod room;
pub mod spill;
pub mod splits;
pub mod team;
pub mod tile_kinds;
pub mod tile_work;
pub mod tiling;
pub mod token_run;
pub mod verify;

use crate::program::op::OpId;
use crate::program::tensor::TensorId;
use crate::schedule::accumulation::AccumulationPlan;
use crate::schedule::commands::Queue;
use crate::schedule::counter::Counter;
use crate::schedule::fixed_tiling::UnusableTiling;
use crate::schedule::nest::Nest;
use crate::schedule::team::Team;
use crate::schedule::tiling::ChosenBy;
use crate::workload::mapping::{Intermediates, Objective, Split};

pub use fixed_tiling::mapping_of;
pub use plan::{schedule, schedule_rehearsed};

/// A schedule of one program on one accelerator.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Nests in program order.
    pub nests: Vec<Nest>,
    /// Every queue of the units in a fixed order, with those of units without work.
    pub queues: Vec<Queue>,
    /// Teams of matrix units.
    pub teams: Vec<Team>,
    /// What each counter counts.
    pub counters: Vec<Counter>,
    /// Where each tensor is kept between nests; `None` for tensors that never leave a nest.
    pub placements: Vec<Option<Placement>>,
    /// How each matrix product accumulates; `None` for other operations.
    pub accumulation: Vec<Option<AccumulationPlan>>,
    /// What tilings were chosen for.
    pub objective: Objective,
    /// What the choice of splits was.
    pub split: Split,
    /// What becomes of intermediates that do not fit the chip.
    pub intermediates: Intermediates,
    /// How the tiling of each nest came about.
    pub chosen_by: Vec<ChosenBy>,
}

/// Where a tensor is kept between nests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Off the chip.
    Dram {
        /// Address of its first byte.
        base: u64,
    },
    /// In the shared on-chip memory, from its first to its last use.
    Shared,
    /// In the resident partition, from its first to its last use.
    Resident,
    /// In a ring of row blocks of the resident partition, from the nest that makes it to the one that reads it.
    Ring,
}

impl Schedule {
    /// How a matrix product accumulates.
    pub fn accumulation_plan(&self, op: OpId) -> Option<&AccumulationPlan> {
        self.accumulation[op.0].as_ref()
    }

    /// Where a tensor is kept.
    pub fn placement(&self, tensor: TensorId) -> Option<Placement> {
        self.placements[tensor.0]
    }
}

/// Why a program cannot be scheduled on an accelerator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No matrix unit multiplies this pair of formats.
    #[error("layer `{layer}` multiplies {activation} by {weight}, which no matrix unit does; there are: {supported}")]
    UnsupportedFormats {
        /// The layer.
        layer: String,
        /// Format of the left operand.
        activation: String,
        /// Format of the right operand.
        weight: String,
        /// Pairs that the units have.
        supported: String,
    },
    /// An operation asks for a matrix unit that there is not.
    #[error(
        "layer `{layer}` asks for the matrix unit `{unit}`, which the accelerator does not have; there are: {known}"
    )]
    UnknownUnit {
        /// The layer.
        layer: String,
        /// The unit.
        unit: String,
        /// Units that there are.
        known: String,
    },
    /// An operation asks for a matrix unit that does not multiply its formats.
    #[error(
        "layer `{layer}` asks for the matrix unit `{unit}` to multiply {activation} by {weight}, which it does not do; \
         it does: {supported}"
    )]
    UnitLacksFormats {
        /// The layer.
        layer: String,
        /// The unit.
        unit: String,
        /// Format of the left operand.
        activation: String,
        /// Format of the right operand.
        weight: String,
        /// Pairs that the unit has.
        supported: String,
    },
    /// The partial sums of a split along k would have to be added where no vector operation follows.
    #[error(
        "layer `{layer}`: a product whose sums no vector operation reads cannot be split along k; choose split: auto, \
         none, m or n"
    )]
    NothingAddsSums {
        /// The layer.
        layer: String,
    },
    /// The vector unit has no rate for a function.
    #[error(
        "layer `{layer}` needs the vector function `{function}`, for which vector unit `{unit}` has no rate; add \
         `{function}: RATE` to its elements_per_cycle"
    )]
    MissingVectorFunction {
        /// The layer.
        layer: String,
        /// Name of the function.
        function: &'static str,
        /// The vector unit.
        unit: String,
    },
    /// Channels shall be taken out by an extractor that there is not.
    #[error(
        "layer `{layer}` takes channels out by an extractor, which the vector unit `{unit}` does not have; describe one \
         (vector_units: [{{ extractor: {{ elements_per_cycle, table_bytes, latency_cycles }} }}]), or choose another mover"
    )]
    NoExtractor {
        /// The layer.
        layer: String,
        /// The vector unit.
        unit: String,
    },
    /// The table of an extractor is too small.
    #[error(
        "layer `{layer}` takes out channels whose table has {needed} bytes, but that of the extractor of `{unit}` has \
         {available}; enlarge it to at least {needed} bytes"
    )]
    TableTooLarge {
        /// The layer.
        layer: String,
        /// The vector unit.
        unit: String,
        /// Bytes of the layer's table.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// Even the smallest tile does not fit a buffer.
    #[error(
        "layer `{layer}`: the smallest tile needs {needed} bytes of the {partition} of memory `{memory}`, which has \
         {available}; enlarge it to at least {needed} bytes"
    )]
    DoesNotFit {
        /// The layer.
        layer: String,
        /// The memory.
        memory: String,
        /// Which part of it.
        partition: &'static str,
        /// Bytes that the smallest tile needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// A given tiling cannot be used.
    #[error("layer `{layer}`, path `{path}`: the given tiling cannot be used: {reason}{}", .memory.as_ref().map(|memory| format!(" (memory `{memory}`)")).unwrap_or_default())]
    UnusableTiling {
        /// The layer.
        layer: String,
        /// The path of the product.
        path: &'static str,
        /// What is wrong with it.
        reason: UnusableTiling,
        /// The memory that it does not fit.
        memory: Option<String>,
    },
    /// A tiling is given for a product that the program does not have.
    #[error("a tiling is given for path `{path}` of layer `{layer}`, which has no such product; there are: {known}")]
    NoSuchProduct {
        /// The layer.
        layer: String,
        /// The path.
        path: String,
        /// Products of the program.
        known: String,
    },
}
