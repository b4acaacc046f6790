//! Cycles of NVIDIA's NVDLA, simulated from its Verilog: single layers, queued pairs, and its own trace tests.
//!
//! A row names one of the three configurations, which are hardware files here; its buffer partition and its memory replace
//! those of the file. The judged figure is the cycle of the last acknowledged result. Beside it stand the phases, because a
//! total can be right for the wrong reason: they are shown, and what is counted (rows into the array, beats) must be equal.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shape::GemmShape;
use crate::validate::accelerator_run::{self, IntegerLayer, Measured};
use crate::validate::report::ErrorStatistic;
use crate::validate::rows::{self, Row};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};
use crate::workload::convolution::{ConvolutionWindow, WindowAxis};

/// The set `nvdla`: single layers.
pub struct Nvdla;

/// The set `nvdla-pairs`: two layers queued back to back.
pub struct NvdlaPairs;

/// The set `nvdla-traces`: convolutions of NVIDIA's own tests.
pub struct NvdlaTraces;

/// Configurations: our file, bytes of a bank of the convolution buffer, bytes of a beat.
const CONFIGURATIONS: &[(&str, (&str, u64, u64))] = &[
    ("nv_small", ("nvdla-small", 4096, 8)),
    ("nv_small_256", ("nvdla-small-256", 4096, 8)),
    ("nv_large", ("nvdla-large", 32768, 32)),
];

/// Columns of the machine, in every set.
const MACHINE: &[&str] = &[
    "config",
    "data_banks",
    "weight_banks",
    "mem_read_latency",
    "mem_write_resp_latency",
    "mem_read_bytes_per_cycle",
    "mem_write_bytes_per_cycle",
];
const LAYER: &[&str] = &[
    "kind",
    "m",
    "k",
    "n",
    "in_h",
    "in_w",
    "in_c",
    "kern_r",
    "kern_s",
    "stride",
    "pad",
    "out_h",
    "out_w",
    "out_k",
    "cycles_total",
    "cyc_weights_loaded",
    "cyc_data_loaded",
    "cyc_first_mac",
    "cyc_last_mac",
    "mac_issue_cycles",
    "read_beats_data",
    "read_beats_weight",
    "write_beats",
];
const PAIR: &[&str] = &[
    "kind",
    "m1",
    "k1",
    "n1",
    "m2",
    "k2",
    "n2",
    "cycles_op1_done",
    "cycles_op2_done",
    "cyc_first_mac",
    "cyc_last_mac",
    "mac_issue_cycles",
    "read_beats_data",
    "read_beats_weight",
    "write_beats",
];
const TRACE: &[&str] = &[
    "kind",
    "in_h",
    "in_w",
    "in_c",
    "kern_r",
    "kern_s",
    "stride_x",
    "stride_y",
    "pad_left",
    "pad_right",
    "pad_top",
    "pad_bottom",
    "dilation_x",
    "dilation_y",
    "out_h",
    "out_w",
    "out_k",
    "cycles_total",
    "cyc_weights_loaded",
    "cyc_data_loaded",
    "cyc_first_mac",
    "cyc_last_mac",
    "mac_issue_cycles",
];

/// Bars on the relative errors of the cycles of a configuration.
#[derive(Clone, Copy)]
struct Bars {
    mean: f64,
    p90: f64,
    worst: f64,
}

const LAYER_BARS: Bars = Bars { mean: 0.02, p90: 0.05, worst: 0.10 };
const QUEUED_BARS: Bars = Bars { mean: 0.04, p90: f64::INFINITY, worst: f64::INFINITY };

/// The errors of a configuration's rows.
#[derive(Default)]
struct Errors {
    /// Relative error of the cycles of a row, and where it stands.
    cycles: Vec<(f64, String)>,
    /// Relative errors of phases, by column.
    phases: BTreeMap<&'static str, Vec<f64>>,
    counts: Comparison,
}

impl ValidationSet for Nvdla {
    fn name(&self) -> &'static str {
        "nvdla"
    }

    fn origin(&self) -> &'static str {
        "single layers on NVIDIA's NVDLA RTL, three configurations"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Errors> = BTreeMap::new();
        for row in rows::read(rows, &[MACHINE, LAYER].concat())? {
            let errors = groups.entry(row.text("config").to_owned()).or_default();
            let run = run_row(&row, &[single_layer(&row)?])?;
            errors.cycles(&row, "cycles_total", run.measured.layer_ends[0])?;
            errors.phases_of_layer(&row, &run.measured)?;
            errors.beats(&row, &run)?;
        }
        Ok(judged(self.name(), groups, LAYER_BARS))
    }
}

impl ValidationSet for NvdlaPairs {
    fn name(&self) -> &'static str {
        "nvdla-pairs"
    }

    fn origin(&self) -> &'static str {
        "pairs of queued layers on NVIDIA's NVDLA RTL"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Errors> = BTreeMap::new();
        for row in rows::read(rows, &[MACHINE, PAIR].concat())? {
            row.one_of("kind", &[("pair_pingpong", ())])?;
            let errors = groups.entry(row.text("config").to_owned()).or_default();
            let product = |[m, k, n]: [&str; 3]| -> Result<_, ValidateError> {
                let shape = GemmShape::new(row.number(m)?, row.number(k)?, row.number(n)?);
                Ok(IntegerLayer { shape, window: None })
            };
            let run = run_row(&row, &[product(["m1", "k1", "n1"])?, product(["m2", "k2", "n2"])?])?;
            errors.cycles(&row, "cycles_op1_done", run.measured.layer_ends[0])?;
            errors.cycles(&row, "cycles_op2_done", run.measured.layer_ends[1])?;
            errors.steps(&row, &run.measured)?;
            errors.beats(&row, &run)?;
        }
        Ok(judged(self.name(), groups, QUEUED_BARS))
    }
}

impl ValidationSet for NvdlaTraces {
    fn name(&self) -> &'static str {
        "nvdla-traces"
    }

    fn origin(&self) -> &'static str {
        "NVIDIA's convolution trace tests on its NVDLA RTL"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Errors> = BTreeMap::new();
        for row in rows::read(rows, &[MACHINE, TRACE].concat())? {
            row.one_of("kind", &[("conv_vendor_trace", ())])?;
            let errors = groups.entry(row.text("config").to_owned()).or_default();
            let axis = |columns: [&str; 6]| axis(&row, columns);
            let y = axis(["in_h", "kern_r", "stride_y", "dilation_y", "pad_top", "pad_bottom"])?;
            let x = axis(["in_w", "kern_s", "stride_x", "dilation_x", "pad_left", "pad_right"])?;
            let run = run_row(&row, &[convolution(&row, y, x)?])?;
            errors.cycles(&row, "cycles_total", run.measured.layer_ends[0])?;
            errors.phases_of_layer(&row, &run.measured)?;
        }
        Ok(judged(self.name(), groups, QUEUED_BARS))
    }
}

/// A row's run, and the bytes of a beat.
struct Run {
    measured: Measured,
    beat: u64,
}

fn run_row(row: &Row, layers: &[IntegerLayer]) -> Result<Run, ValidateError> {
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
    let measured = accelerator_run::run(&npu, layers, None).map_err(|error| row.error(error.to_string()))?;
    Ok(Run { measured, beat })
}

fn single_layer(row: &Row) -> Result<IntegerLayer, ValidateError> {
    let shape = GemmShape::new(row.number("m")?, row.number("k")?, row.number("n")?);
    let is_convolution = row.one_of("kind", &[("gemm", false), ("conv", true)])?;
    if !is_convolution {
        return Ok(IntegerLayer { shape, window: None });
    }
    let axis = |input, kernel| {
        let (stride, pad) = (row.number("stride")?, row.number("pad")?);
        let axis = WindowAxis::try_new(row.number(input)?, row.number(kernel)?, stride, 1, [pad, pad]);
        axis.map_err(|error| row.error(error.to_string()))
    };
    let layer = convolution(row, axis("in_h", "kern_r")?, axis("in_w", "kern_s")?)?;
    if layer.shape != shape {
        return Err(row.error(format!("the convolution is a product of {}, not of m, k and n", layer.shape)));
    }
    Ok(layer)
}

fn axis(row: &Row, [input, kernel, stride, dilation, before, after]: [&str; 6]) -> Result<WindowAxis, ValidateError> {
    let padding = [row.number(before)?, row.number(after)?];
    let [input, kernel, stride, dilation] = [input, kernel, stride, dilation].map(|column| row.number(column));
    WindowAxis::try_new(input?, kernel?, stride?, dilation?, padding).map_err(|error| row.error(error.to_string()))
}

/// The convolution of a row whose window is `y` by `x`.
fn convolution(row: &Row, y: WindowAxis, x: WindowAxis) -> Result<IntegerLayer, ValidateError> {
    let window = ConvolutionWindow { images: 1, y, x, channels: row.number("in_c")? };
    let outputs: [u64; 2] = [row.number("out_h")?, row.number("out_w")?];
    if outputs != [y.output(), x.output()] {
        return Err(row.error(format!("the window has {} x {} outputs, not out_h x out_w", y.output(), x.output())));
    }
    let shape = GemmShape::new(window.output_pixels(), window.depth(), row.number("out_k")?);
    Ok(IntegerLayer { shape, window: Some(window) })
}

impl Errors {
    fn cycles(&mut self, row: &Row, column: &str, found: u64) -> Result<(), ValidateError> {
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
    fn phases_of_layer(&mut self, row: &Row, measured: &Measured) -> Result<(), ValidateError> {
        self.phase(row, "cyc_data_loaded", measured.activations_loaded)?;
        self.phase(row, "cyc_weights_loaded", measured.weights_loaded)?;
        self.steps(row, measured)
    }

    fn steps(&mut self, row: &Row, measured: &Measured) -> Result<(), ValidateError> {
        self.phase(row, "cyc_first_mac", measured.first_step)?;
        self.phase(row, "cyc_last_mac", measured.last_step)?;
        self.count(row, "mac_issue_cycles", measured.steps)
    }

    fn beats(&mut self, row: &Row, run: &Run) -> Result<(), ValidateError> {
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
fn judged(set: &'static str, groups: BTreeMap<String, Errors>, bars: Bars) -> Vec<ValidationRow> {
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
        for (column, phase) in errors.phases {
            let group = format!("{config}, {column}");
            let mut row = ValidationRow::of_errors(set, &group, phase, ErrorStatistic::Worst, 0.0);
            (row.pass, row.note) = (None, "a phase, shown beside the cycles".to_owned());
            judged.push(row);
        }
    }
    judged
}
