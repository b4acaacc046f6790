//! What the sets of NVDLA share: the machine of a row, its run, and how the errors of a configuration are judged.
//!
//! A row names one of the three configurations, which are hardware files here; its buffer partition and its memory replace
//! those of the file. The judged figure is the cycle of the last acknowledged result. Beside it stand the phases, because a
//! total can be right for the wrong reason: they are shown, and what is counted (rows into the array, beats) must be equal.

use std::collections::BTreeMap;

use crate::numerics::tensor::Tensor;
use crate::shape::GemmShape;
use crate::validate::accelerator_run::{self, IntegerLayer, Measured};
use crate::validate::report::ErrorStatistic;
use crate::validate::rows::Row;
use crate::validate::{Comparison, ValidateError, ValidationRow};
use crate::workload::convolution::{ConvolutionWindow, WindowAxis};

/// Configurations: our file, bytes of a bank of the convolution buffer, bytes of a beat.
const CONFIGURATIONS: &[(&str, (&str, u64, u64))] = &[
    ("nv_small", ("nvdla-small", 4096, 8)),
    ("nv_small_256", ("nvdla-small-256", 4096, 8)),
    ("nv_large", ("nvdla-large", 32768, 32)),
];

/// Columns of the machine, in every set.
pub(super) const MACHINE: &[&str] = &[
    "config",
    "data_banks",
    "weight_banks",
    "mem_read_latency",
    "mem_write_resp_latency",
    "mem_read_bytes_per_cycle",
    "mem_write_bytes_per_cycle",
];
/// The most multiply-accumulates of a row whose results are computed as well.
pub(super) const MOST_COMPUTED: u64 = 300_000;

/// Bars on the relative errors of the cycles of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Bars {
    pub(super) mean: f64,
    pub(super) p90: f64,
    pub(super) worst: f64,
}

pub(super) const LAYER_BARS: Bars = Bars { mean: 0.02, p90: 0.05, worst: 0.10 };
pub(super) const QUEUED_BARS: Bars = Bars { mean: 0.04, p90: f64::INFINITY, worst: f64::INFINITY };

/// The errors of a configuration's rows.
#[derive(Default)]
pub(super) struct Errors {
    /// Relative error of the cycles of a row, and where it stands.
    cycles: Vec<(f64, String)>,
    /// Relative errors of phases, by column.
    phases: BTreeMap<&'static str, Vec<f64>>,
    counts: Comparison,
    /// Rows whose results were computed, and equal an exact product of integers.
    pub(super) results: Comparison,
}

/// A row's run, and the bytes of a beat.
pub(super) struct Run {
    pub(super) measured: Measured,
    beat: u64,
}

pub(super) fn run_row(
    row: &Row,
    layers: &[IntegerLayer],
    values: Option<Vec<[Tensor; 2]>>,
) -> Result<Run, ValidateError> {
    let (file, bank, beat) = row.one_of("config", CONFIGURATIONS)?;
    let bytes = |column: &str| -> Result<String, ValidateError> {
        let banks: u64 = row.number(column)?;
        Ok(format!("{} B", banks.saturating_mul(bank)))
    };
    let text = |column: &str| row.text(column).to_owned();
    let overrides = [
        ("memories.sram.sram.partitions.activations", bytes("data_banks")?),
        ("memories.sram.sram.partitions.weights", bytes("weight_banks")?),
        ("memories.dram.dram.latency_cycles", text("mem_read_latency")),
        ("memories.dram.dram.duplex.read_bytes_per_cycle", text("mem_read_bytes_per_cycle")),
        ("memories.dram.dram.duplex.write_bytes_per_cycle", text("mem_write_bytes_per_cycle")),
        ("memories.dram.dram.duplex.write_response_latency_cycles", text("mem_write_resp_latency")),
    ];
    let npu = accelerator_run::accelerator(file, &overrides).map_err(|error| row.error(error.to_string()))?;
    let measured = accelerator_run::run(&npu, layers, values).map_err(|error| row.error(error.to_string()))?;
    Ok(Run { measured, beat })
}

pub(super) fn axis(
    row: &Row,
    [input, kernel, stride, dilation, before, after]: [&str; 6],
) -> Result<WindowAxis, ValidateError> {
    let padding = [row.number(before)?, row.number(after)?];
    let [input, kernel, stride, dilation] = [input, kernel, stride, dilation].map(|column| row.number(column));
    WindowAxis::try_new(input?, kernel?, stride?, dilation?, padding).map_err(|error| row.error(error.to_string()))
}

/// The convolution of a row whose window is `y` by `x`.
pub(super) fn convolution(row: &Row, y: WindowAxis, x: WindowAxis) -> Result<IntegerLayer, ValidateError> {
    let window = ConvolutionWindow { images: 1, y, x, channels: row.number("in_c")? };
    let outputs: [u64; 2] = [row.number("out_h")?, row.number("out_w")?];
    if outputs != [y.output(), x.output()] {
        return Err(row.error(format!("the window has {} x {} outputs, not out_h x out_w", y.output(), x.output())));
    }
    let shape = GemmShape::new(window.output_pixels(), window.depth(), row.number("out_k")?);
    Ok(IntegerLayer { shape, window: Some(window) })
}

impl Errors {
    pub(super) fn cycles(&mut self, row: &Row, column: &str, found: u64) -> Result<(), ValidateError> {
        let error = relative(row, column, found)?;
        let (sign, percent) = (if error < 0.0 { "-" } else { "+" }, error.abs() * 100.0);
        self.cycles.push((error.abs(), format!("{} {column} {sign}{percent:.2} %", row.place())));
        Ok(())
    }

    fn phase(&mut self, row: &Row, column: &'static str, found: u64) -> Result<(), ValidateError> {
        self.phases.entry(column).or_default().push(relative(row, column, found)?.abs());
        Ok(())
    }

    /// Phases of a single layer.
    pub(super) fn phases_of_layer(&mut self, row: &Row, measured: &Measured) -> Result<(), ValidateError> {
        self.phase(row, "cyc_data_loaded", measured.activations_loaded)?;
        self.phase(row, "cyc_weights_loaded", measured.weights_loaded)?;
        self.steps(row, measured)
    }

    pub(super) fn steps(&mut self, row: &Row, measured: &Measured) -> Result<(), ValidateError> {
        self.phase(row, "cyc_first_mac", measured.first_step)?;
        self.phase(row, "cyc_last_mac", measured.last_step)?;
        self.count(row, "mac_issue_cycles", measured.steps)
    }

    pub(super) fn beats(&mut self, row: &Row, run: &Run) -> Result<(), ValidateError> {
        let Measured { activation_bytes, weight_bytes, written_bytes, .. } = &run.measured;
        self.count(row, "read_beats_data", activation_bytes.div_ceil(run.beat))?;
        self.count(row, "read_beats_weight", weight_bytes.div_ceil(run.beat))?;
        self.count(row, "write_beats", written_bytes.div_ceil(run.beat))
    }

    fn count(&mut self, row: &Row, column: &str, found: u64) -> Result<(), ValidateError> {
        let expected: u64 = row.number(column)?;
        self.counts.record(found == expected, || format!("{}: {column} {found}, not {expected}", row.place()));
        Ok(())
    }
}

fn relative(row: &Row, column: &str, found: u64) -> Result<f64, ValidateError> {
    match row.number::<u64>(column)? {
        0 => Err(row.error(format!("column `{column}` is 0"))),
        expected => Ok(found as f64 / expected as f64 - 1.0),
    }
}

/// One judged row of cycles, one of what is counted, and one of each phase for every configuration.
pub(super) fn judged(set: &'static str, groups: BTreeMap<String, Errors>, bars: Bars) -> Vec<ValidationRow> {
    let mut judged = Vec::new();
    for (config, errors) in groups {
        let worst = errors.cycles.iter().max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, place)| place.clone());
        let all = errors.cycles.iter().map(|(error, _)| *error).collect();
        let mut cycles = ValidationRow::of_errors(set, &config, all, ErrorStatistic::Mean, bars.mean);
        let within = |error: Option<f64>, bar: f64| error.is_none_or(|error| error <= bar);
        let others = within(cycles.p90_error, bars.p90) && within(cycles.worst_error, bars.worst);
        cycles.pass = cycles.pass.map(|pass| pass && others);
        if bars.p90.is_finite() {
            cycles.note += &format!(", p90 at most {}, worst at most {}", bars.p90, bars.worst);
        }
        cycles.note += &format!("; worst: {}", worst.unwrap_or_default());
        judged.push(cycles);
        judged.push(ValidationRow::of_equality(set, &format!("{config}, counts"), &errors.counts));
        if errors.results.compared() > 0 {
            let mut results = ValidationRow::of_equality(set, &format!("{config}, results"), &errors.results);
            results.note = format!("rows of up to {MOST_COMPUTED} products, against exact integers; {}", results.note);
            judged.push(results);
        }
        for (column, phase) in errors.phases {
            let group = format!("{config}, {column}");
            let mut row = ValidationRow::of_errors(set, &group, phase, ErrorStatistic::Worst, 0.0);
            (row.pass, row.note) = (None, "a phase, shown beside the cycles".to_owned());
            judged.push(row);
        }
    }
    judged
}
