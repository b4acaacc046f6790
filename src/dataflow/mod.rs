//! Dataflows: how an array works through one tile, as closed-form phases with carried state.
//!
//! A dataflow never steps cycles. It is handed a tile and the moment at which the tile may start, and answers when each
//! phase ends; what must wait for what across tiles is kept in [`ArrayState`]. It also answers whatever else depends on
//! what runs along the rows and columns of an array, so that nobody else computes with them. It knows neither programs
//! nor schedules. A new dataflow is one file and one line in [`ALL`].

pub mod dot_product;
mod folds;
pub mod input_stationary;
pub mod output_stationary;
pub mod ports;
mod sequenced;
mod serial;
pub mod weight_stationary;

use crate::dataflow::folds::Folds;
use crate::dataflow::ports::Ports;
use crate::dataflow::sequenced::ResultQueue;
use crate::hardware::array::{Array, SystolicArray};
use crate::units::Cycles;

/// A dataflow.
///
/// Every method takes the array that names this dataflow ([`Array::dataflow`]); with an array of another kind it panics.
pub trait Dataflow: Sync + std::fmt::Debug {
    /// Name in files and reports.
    fn name(&self) -> &'static str;

    /// One sentence for `npusim list`.
    fn description(&self) -> &'static str;

    /// Whether it is one of systolic arrays, which files may choose by its name.
    fn is_systolic(&self) -> bool {
        true
    }

    /// Runs `tile` from cycle `ready` on, after whatever `state` says is still under way, and updates `state`.
    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases;

    /// Says that the next tile is of another product than those before. Nothing follows from that unless a sequencer has a
    /// rule for it.
    fn begin_product(&self, _array: &Array, _state: &mut ArrayState) {}

    /// Cycles by which a tile delays its successor in the steady state.
    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64;

    /// What the array holds, or works on at once, along each axis: below these extents, work is padded.
    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity;

    /// Which operand is loaded and stays in the array, if any.
    fn held(&self, array: &Array) -> Option<Operand>;

    /// Whether the array takes a convolution's kernel positions one by one, each with its channels: a step never spans two
    /// of them. One that reads rows of im2col takes them as they come.
    fn keeps_kernel_positions_apart(&self, _array: &Array) -> bool {
        false
    }

    /// The folds of a tile, each as long as the ports make it.
    fn fold_cycles(&self, array: &Array, tile: &TileWork) -> Folds;

    /// Whether a port makes any phase of the tile longer.
    fn is_hindered(&self, array: &Array, tile: &TileWork) -> bool {
        self.fold_cycles(array, tile) != self.fold_cycles(array, &tile.without_ports())
    }

    /// How often the elements of a tile pass the ports.
    fn passes(&self, array: &Array, tile: &TileWork) -> Passes;

    /// Folds that the array makes of a tile: residences of stationary operands or of outputs.
    fn folds(&self, array: &Array, tile: &TileWork) -> u64;

    /// Multiply-accumulates of all elements in the cycles in which a tile occupies them, padding included.
    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64;
}

/// Every dataflow, in the order of listings.
pub static ALL: &[&dyn Dataflow] = &[
    &weight_stationary::WeightStationary,
    &output_stationary::OutputStationary,
    &input_stationary::InputStationary,
    &dot_product::DotProduct,
];

/// The dataflow of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Dataflow> {
    ALL.iter().copied().find(|dataflow| dataflow.name() == name)
}

/// The dataflow of `array`.
pub fn of(array: &Array) -> &'static dyn Dataflow {
    by_name(array.dataflow()).expect("arrays name a registered dataflow")
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
    /// Runs along K that no step crosses, where there are such.
    pub runs: Option<Runs>,
    /// Multiply-accumulates that one processing element does a cycle, along K.
    pub macs_per_element_per_cycle: u64,
    /// What the ports allow.
    pub ports: Ports,
}

/// Runs along K that no step crosses, all equally long: the positions of a convolution's kernel, each with its channels, or
/// rows that come one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Indices of a run.
    pub length: u64,
    /// Indices of the tile's first run that lie before the tile.
    pub before: u64,
}

impl TileWork {
    /// A tile whose operands and sums are not held up by any port.
    pub const fn unhindered(m: u64, k: u64, n: u64, macs_per_element_per_cycle: u64) -> TileWork {
        TileWork { m, k, n, runs: None, macs_per_element_per_cycle, ports: Ports::UNHINDERED }
    }

    /// The same tile with no port in the way.
    pub const fn without_ports(&self) -> TileWork {
        TileWork { ports: Ports::UNHINDERED, ..*self }
    }

    /// The pieces of at most `depth` into which K falls, equal ones together, with how often each occurs. The last one
    /// listed is the tile's last.
    fn k_pieces(&self, depth: u64) -> impl Iterator<Item = (u64, u64)> + Clone {
        let Runs { length: run, before } = self.runs.unwrap_or(Runs { length: self.k, before: 0 });
        let first = self.k.min(run - before);
        let rest = self.k - first;
        let pieces = [(1, first), (rest / run, run), (1, rest % run)]
            .into_iter()
            .flat_map(move |(times, length)| [(times * (length / depth), depth), (times, length % depth)]);
        pieces.filter(|(times, length)| times * length > 0)
    }

    /// How many these are.
    fn k_blocks(&self, depth: u64) -> u64 {
        self.k_pieces(depth).map(|(times, _)| times).sum()
    }

    /// Steps along K when an element takes all its lanes at once.
    const fn lane_steps(&self) -> u64 {
        self.k.div_ceil(self.macs_per_element_per_cycle)
    }
}

/// Extents, in elements along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granularity {
    /// Rows of X and Y.
    pub m: u64,
    /// Columns of X, rows of W.
    pub k: u64,
    /// Columns of W and Y.
    pub n: u64,
}

/// One of the two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// X.
    Activations,
    /// W.
    Weights,
}

/// How often each element of a tile passes a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Reads of each activation.
    pub activation_reads: u64,
    /// Reads of each weight.
    pub weight_reads: u64,
    /// Writes of each output's partial sum. It is read back as often, but for the first time of an output.
    pub sum_writes: u64,
}

/// What earlier tiles have left under way in an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrayState {
    /// When the registers of stationary operands accept the next fold.
    load_free: Cycles,
    /// When the array accepts the next streamed step.
    stream_free: Cycles,
    /// When the registers of finished results accept the next fold's.
    results_free: Cycles,
    /// Under a sequencer: sums on their way out.
    results: ResultQueue,
    /// Under a sequencer: when the array was free at the start of a product, and how long that start takes.
    product_start: Option<(Cycles, Cycles)>,
}

impl ArrayState {
    /// Lets everything that is under way take longer by `cycles`.
    pub fn hold_up(&mut self, cycles: Cycles) {
        self.load_free += cycles;
        self.stream_free += cycles;
        self.results_free += cycles;
    }
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
    /// The last result is in the accumulators, or has left the array where results leave at once.
    pub complete: Cycles,
    /// What else is known where a sequencer decides the order of work.
    pub sequenced: Option<SequencedPhases>,
}

impl TilePhases {
    /// The phases of two parts of a tile that two arrays work on beside each other: it is over when both are.
    pub fn beside(self, other: TilePhases) -> TilePhases {
        let sequenced = match (self.sequenced, other.sequenced) {
            (Some(a), Some(b)) => Some(SequencedPhases {
                first_step: a.first_step.min(b.first_step),
                last_step: a.last_step.max(b.last_step),
                steps: a.steps + b.steps,
                first_result: a.first_result.min(b.first_result),
                start_barrier: a.start_barrier.max(b.start_barrier),
                result_path: a.result_path.max(b.result_path),
            }),
            (one, None) | (None, one) => one,
        };
        TilePhases {
            start: self.start.min(other.start),
            next_issue: self.next_issue.max(other.next_issue),
            operands_released: self.operands_released.max(other.operands_released),
            complete: self.complete.max(other.complete),
            sequenced,
        }
    }
}

/// When a sequenced array steps through a tile. Its results leave while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencedPhases {
    /// The first row of activations enters.
    pub first_step: Cycles,
    /// The last one enters.
    pub last_step: Cycles,
    /// Rows of activations that enter; in the other cycles in between the array stands still.
    pub steps: u64,
    /// The first result starts on its way out.
    pub first_result: Cycles,
    /// How long the rule of the start kept the tile from beginning: until the product before had left the array, and the
    /// delay that follows.
    pub start_barrier: Cycles,
    /// How long last passes over stripes waited for room on the way of results.
    pub result_path: Cycles,
}

/// A tile on the rows and columns of a systolic array.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    /// Elements along the rows of the array.
    rows: u64,
    /// Elements along its columns.
    columns: u64,
    /// Steps of the stream of one fold.
    steps: u64,
}

impl Mapped {
    const fn row_folds(&self, array: &SystolicArray) -> u64 {
        self.rows.div_ceil(array.rows)
    }

    const fn column_folds(&self, array: &SystolicArray) -> u64 {
        self.columns.div_ceil(array.columns)
    }

    const fn folds(&self, array: &SystolicArray) -> u64 {
        self.row_folds(array) * self.column_folds(array)
    }

    /// Columns that the last fold uses.
    const fn last_columns(&self, array: &SystolicArray) -> u64 {
        (self.columns - 1) % array.columns + 1
    }

    const fn issued_macs(&self, array: &SystolicArray, macs_per_element_per_cycle: u64) -> u64 {
        self.folds(array) * self.steps * array.rows * array.columns * macs_per_element_per_cycle
    }
}

/// The array of a systolic dataflow.
fn systolic(array: &Array) -> &SystolicArray {
    match array {
        Array::Systolic(array) => array,
        Array::DotProduct(_) => panic!("a systolic dataflow is given the array that names it"),
    }
}
