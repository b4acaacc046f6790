//! Dataflows: how an array works through one tile, as closed-form phases with carried state.
//!
//! A dataflow never steps cycles. It is handed a tile and the moment at which the tile may start, and answers when each
//! phase ends; what must wait for what across tiles is kept in [`ArrayState`]. It knows neither programs nor schedules.
//! A new dataflow is one file and one line in [`ALL`].

pub mod weight_stationary;

use crate::hardware::matrix_unit::SystolicArray;
use crate::units::Cycles;

/// A dataflow of systolic arrays.
pub trait Dataflow: Sync + std::fmt::Debug {
    /// Name in files and reports.
    fn name(&self) -> &'static str;

    /// One sentence for `npusim list`.
    fn description(&self) -> &'static str;

    /// Runs `tile` from cycle `ready` on, after whatever `state` says is still under way, and updates `state`.
    fn issue(&self, array: &SystolicArray, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases;

    /// Cycles between two folds of `m` streamed rows in the steady state, where no port is in the way.
    fn steady_period(&self, array: &SystolicArray, m: u64) -> u64;

    /// Folds that the array makes of a tile of `k` x `n` stationary elements and `m` streamed rows.
    fn folds(&self, array: &SystolicArray, tile: &TileWork) -> u64;

    /// Processing-element cycles that a tile occupies, padding included: the issued multiply-accumulates.
    fn issued_macs(&self, array: &SystolicArray, tile: &TileWork) -> u64;
}

/// Every dataflow, in the order of listings.
pub static ALL: &[&dyn Dataflow] = &[&weight_stationary::WeightStationary];

/// The dataflow of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Dataflow> {
    ALL.iter().copied().find(|dataflow| dataflow.name() == name)
}

/// The work of one tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileWork {
    /// Rows of X.
    pub m: u64,
    /// Columns of X, rows of W.
    pub k: u64,
    /// Columns of W.
    pub n: u64,
    /// Multiply-accumulates that one processing element does a cycle, along K.
    pub macs_per_element_per_cycle: u64,
    /// Cycles between two streamed rows: 1, or more where a port cannot deliver a row a cycle.
    pub row_interval: u64,
    /// Cycles between two rows of stationary elements being loaded: 1, or more where a port cannot deliver them.
    pub load_interval: u64,
}

/// What earlier tiles have left under way in an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrayState {
    /// When the stationary registers accept the next fold.
    pub load_free: Cycles,
    /// When the array accepts the next streamed row.
    pub stream_free: Cycles,
}

/// When the phases of a tile end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePhases {
    /// The tile's first action in the array.
    pub start: Cycles,
    /// From here on the next tile may start its first action.
    pub next_issue: Cycles,
    /// The last operand element has been read; buffers may be refilled.
    pub operands_released: Cycles,
    /// The last result is in the accumulators.
    pub complete: Cycles,
}
