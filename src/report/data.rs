//! The report. Field names are a contract; each carries its unit. `schema_version` changes when one changes meaning.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::hardware::energy_table::Mark;
use crate::numerics::error_metrics::ErrorMetrics;
use crate::program::Deviation;
use crate::report::energy::EnergyReport;
use crate::report::timeline::Timeline;
use crate::schedule::tiling::ChosenBy;

/// Version of the report's fields.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that one run produced.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of these fields.
    pub schema_version: u32,
    /// Version of the program that wrote them.
    pub npusim_version: &'static str,
    /// What was simulated, complete enough to repeat it.
    pub configuration: Configuration,
    /// Defaults that were taken where a file was silent.
    pub defaults: Vec<TakenDefault>,
    /// What tilings were chosen for: `cycles`, `dram_bytes` or `energy`.
    pub tilings_chosen_for: &'static str,
    /// Sums over the run.
    pub totals: Totals,
    /// Where the energy went, and how sure that is.
    pub energy: EnergyReport,
    /// Cycles below which no schedule of this program could go.
    pub bounds: Bounds,
    /// Queues of the units, each with how it spent the run.
    pub queues: Vec<QueueReport>,
    /// Layers in execution order.
    pub layers: Vec<LayerReport>,
    /// When the units worked, where the run was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// What was simulated.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Configuration {
    /// Hardware file.
    pub hardware: SourceText,
    /// Workload file.
    pub workload: SourceText,
    /// Scheme file.
    pub scheme: SourceText,
    /// Energy figures of the run, by action.
    pub energy: BTreeMap<String, EnergyFigure>,
    /// Values that replaced those of the files, as `PATH=VALUE`.
    pub overrides: Vec<String>,
    /// What is odd in the files and yet no mistake, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Energy of one action.
#[derive(Clone, Debug, Serialize)]
pub struct EnergyFigure {
    /// pJ of one action: one multiply-accumulate, one element, one byte.
    pub energy_pj: f64,
    /// The least that is plausible.
    pub low_pj: f64,
    /// The most that is plausible.
    pub high_pj: f64,
    /// How the figure came to be known.
    pub mark: Mark,
    /// Where the figure comes from.
    pub source: String,
}

/// A file that the run was configured by.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceText {
    /// Name of what it describes.
    pub name: String,
    /// The file as it was given.
    pub file: String,
    /// Its whole text.
    pub text: String,
}

/// A default that was taken.
#[derive(Clone, Debug, Serialize)]
pub struct TakenDefault {
    /// Path of the value in its file.
    pub path: String,
    /// The value.
    pub value: String,
    /// Why it is the default.
    pub reason: String,
}

/// Sums over the run.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Makespan in cycles.
    pub cycles: u64,
    /// Makespan in microseconds at the hardware's clock.
    pub time_us: f64,
    /// The larger of the compute and the compulsory bandwidth bound, in cycles.
    pub lower_bound_cycles: u64,
    /// Energy in pJ by component, and `total`.
    pub energy_pj: BTreeMap<String, f64>,
    /// Bytes read from off-chip memory.
    pub dram_read_bytes: u64,
    /// Bytes written to off-chip memory.
    pub dram_write_bytes: u64,
    /// Bytes read from on-chip memories, accumulators included.
    pub sram_read_bytes: u64,
    /// Bytes written to on-chip memories, accumulators included.
    pub sram_write_bytes: u64,
    /// Bytes read and written by memory.
    pub memories: BTreeMap<String, MemoryReport>,
    /// Useful multiply-accumulates by format pair.
    pub macs: BTreeMap<String, u64>,
    /// Multiply-accumulates that the arrays were occupied with, padding included.
    pub issued_macs: u64,
    /// Useful multiply-accumulates over what each matrix unit could have done in the makespan.
    pub utilization: BTreeMap<String, f64>,
    /// Commands of all queues.
    pub commands: u64,
}

/// Traffic of one memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Bytes read from it.
    pub read_bytes: u64,
    /// Bytes written to it.
    pub write_bytes: u64,
}

/// Lower bounds in cycles, and the rates that no part of the run exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Useful multiply-accumulates at the arrays' full rate.
    pub compute_cycles: u64,
    /// Each given tensor in once and each result out once, at peak bandwidth.
    pub compulsory_bandwidth_cycles: u64,
    /// The bytes that this schedule moves, at peak bandwidth.
    pub moved_bandwidth_cycles: u64,
    /// Multiply-accumulates a cycle of all matrix units, each at its highest rate among the format pairs of the run.
    pub peak_macs_per_cycle: u64,
    /// Bytes a cycle of off-chip memory, both directions together.
    pub peak_dram_bytes_per_cycle: f64,
}

/// How a queue spent the run: `busy + stalls + idle` is the makespan.
#[derive(Clone, Debug, Serialize)]
pub struct QueueReport {
    /// Unit; several that work together are joined by `+`.
    pub unit: String,
    /// Queue of the unit, with the position of its lane where units work beside each other.
    pub queue: String,
    /// Commands issued.
    pub commands: u64,
    /// Cycles at work.
    pub busy_cycles: u64,
    /// Cycles in which a command could not start, by cause.
    pub stall_cycles: BTreeMap<String, u64>,
    /// Cycles after the last command.
    pub idle_cycles: u64,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Name; unique.
    pub name: String,
    /// Start of its first compute command.
    pub start_cycle: u64,
    /// End of its last command.
    pub end_cycle: u64,
    /// `end - start`; may overlap with neighbours.
    pub cycles: u64,
    /// By how much the run's progress in program order moved on with this layer; sums to the makespan.
    pub attributed_cycles: u64,
    /// From the first command for it, transfers included, to the end of its last: all that it computes and moves lies within.
    pub under_way_cycles: u64,
    /// Cycles of its matrix work without any stall.
    pub compute_cycles: u64,
    /// Cycles in which its matrix commands (or, without a product, its vector commands) could not start, by cause.
    pub stall_cycles: BTreeMap<String, u64>,
    /// Useful multiply-accumulates.
    pub macs: u64,
    /// Multiply-accumulates that the array was occupied with, padding included.
    pub issued_macs: u64,
    /// Bytes read from off-chip memory for it.
    pub dram_read_bytes: u64,
    /// Bytes written to off-chip memory by it.
    pub dram_write_bytes: u64,
    /// Bytes of partial sums that left the accumulators before they were final, to whichever memory; counted there as well.
    pub spilled_bytes: u64,
    /// Bytes of partial sums that came back into the accumulators.
    pub filled_bytes: u64,
    /// Bytes of its constants in off-chip memory: weights, scales, biases.
    pub constant_bytes: u64,
    /// What its useful multiply-accumulates take at full rate, over its cycles; mean of the matrix units.
    pub utilization: f64,
    /// Cycles below which no schedule of this layer alone could go.
    pub bounds: LayerBounds,
    /// Energy in pJ.
    pub energy_pj: f64,
    /// The same where every figure is at its low end.
    pub energy_low_pj: f64,
    /// The same where every figure is at its high end.
    pub energy_high_pj: f64,
    /// What it gets in place of what the scheme's name says, and why; a fallback that the scheme file names is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
    /// Tilings of its matrix products.
    pub tilings: Vec<TilingReport>,
    /// The same by part of the layer's work.
    pub paths: Vec<PathReport>,
    /// Error against the workload in f64, where values were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numerics: Option<LayerNumerics>,
}

/// Lower bounds of a layer by itself, in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerBounds {
    /// Useful multiply-accumulates at the arrays' full rate.
    pub compute_cycles: u64,
    /// Each given tensor in once and each result out once, at peak bandwidth. What passes between layers is left out.
    pub compulsory_bandwidth_cycles: u64,
    /// The larger of the two.
    pub lower_bound_cycles: u64,
}

/// The tiling of a matrix product. A workload file takes it as an item of `mapping.tilings`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TilingReport {
    /// Part of the layer's work that the product is.
    pub path: &'static str,
    /// Rows of a block.
    pub m: u64,
    /// Block of the reduction axis.
    pub k: u64,
    /// Columns of a block.
    pub n: u64,
    /// Loop order, outermost first.
    pub order: &'static str,
    /// Whether it was searched or given.
    pub chosen_by: ChosenBy,
}

/// One part of a layer's work.
#[derive(Clone, Debug, Serialize)]
pub struct PathReport {
    /// Which part.
    pub path: &'static str,
    /// Cycles in which a compute unit worked for it.
    pub busy_cycles: u64,
    /// By how much the run's progress in program order moved on with it; sums to the layer's.
    pub attributed_cycles: u64,
    /// Cycles in which its compute commands could not start, by cause.
    pub stall_cycles: BTreeMap<String, u64>,
    /// Useful multiply-accumulates.
    pub macs: u64,
    /// Multiply-accumulates that the array was occupied with, padding included.
    pub issued_macs: u64,
    /// What its useful multiply-accumulates take at full rate, over the layer's cycles; sums to the layer's.
    pub utilization: f64,
    /// Bytes read from off-chip memory.
    pub dram_read_bytes: u64,
    /// Bytes written to off-chip memory.
    pub dram_write_bytes: u64,
    /// Bytes of partial sums that left the accumulators before they were final.
    pub spilled_bytes: u64,
    /// Bytes of partial sums that came back into the accumulators.
    pub filled_bytes: u64,
    /// Energy in pJ.
    pub energy_pj: f64,
    /// The same where every figure is at its low end.
    pub energy_low_pj: f64,
    /// The same where every figure is at its high end.
    pub energy_high_pj: f64,
    /// Counts that depend on the values of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<CountReport>,
}

/// A count that was planned before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CountReport {
    /// `outlier_channels` or `protected_elements`.
    pub counted: &'static str,
    /// How many there is room for, and how many cost cycles, bytes and energy.
    pub planned: u64,
    /// Where the plan comes from: `calibration`, `assumption` or `definition`.
    pub planned_by: &'static str,
    /// How many the values of the run have, where there are values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<u64>,
    /// Whether both are the same number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_as_planned: Option<bool>,
}

/// An element of a matrix, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its row.
    pub row: u64,
    /// Its column.
    pub column: u64,
}

/// Numeric error of a layer.
///
/// For a matrix product the figures at the top compare `X W` without the bias: a bias is the same on both sides and
/// would only flatter the ratio. `with_bias` compares the output as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerNumerics {
    /// Error of the layer's own arithmetic.
    #[serde(flatten)]
    pub error: ErrorMetrics,
    /// Integer sums that came out different from the exact ones because they did not fit their accumulator: those that leave
    /// the integers, after parts of several units are joined and paths are merged.
    pub overflowed_sums: u64,
    /// Finite values that a cast of the layer clipped to the largest magnitude of a format (FP16, BF16, FP8, FP6, FP4, or an
    /// integer under a scale): with larger codes they would have rounded to one of them. Values that only round to the
    /// largest magnitude do not count, and an element that is cast again counts once.
    pub clipped_values: u64,
    /// Values of the layer's output that are NaN or infinite, and those that a cast of the layer turned into numbers.
    pub non_finite_values: u64,
    /// The first of the output, row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_non_finite: Option<Place>,
    /// Error of the output with the bias, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_bias: Option<ErrorMetrics>,
}
