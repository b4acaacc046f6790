//! One matrix product on one systolic array whose folds are serial, through the same stages as `npusim run`.
//!
//! The machine is the preset `edge-int8` with overrides, the workload a shape without values, the scheme INT8 x INT8, so
//! that a word of the peers, one element, is one byte. Only the product's own counters are read off; the vector work
//! before and after it is none of the peers'.
//!
//! So that tiles do not show, whatever surrounds the array is out of the way: buffers hold any operand whole, ports and
//! vector units are as fast as a file may ask for, and nothing waits for a latency. Where the search cuts a product
//! nevertheless, it does so at whole folds, and those add up to the same cycles and words.

use crate::config::defaults::Defaults;
use crate::config::diagnostics::ConfigError;
use crate::config::document::Document;
use crate::config::source::Place;
use crate::config::{hardware, presets, scheme, workload};
use crate::dataflow;
use crate::hardware::npu::Npu;
use crate::program::op::OpKind;
use crate::report::data::Configuration;
use crate::schedule::Schedule;
use crate::schedule::grid::AxisSet;
use crate::schedule::tile_work::tile_work;
use crate::shape::GemmShape;
use crate::simulation::{Setup, SimulationError, simulate};
use crate::timing::observer::Unobserved;
use crate::validate::ValidateError;
use crate::validate::rows::Row;

/// A systolic array of a peer.
#[derive(Clone, Copy)]
pub(super) struct PeerArray {
    pub(super) rows: u64,
    pub(super) columns: u64,
    /// Our name of its dataflow.
    pub(super) dataflow: &'static str,
    /// What its folds consist of: the mapping under `serial_folds`, as in a hardware file.
    pub(super) serial_folds: &'static str,
    /// Bytes that cross the border of the chip in a cycle.
    pub(super) dram_bytes_per_cycle: u64,
}

/// As fast as a hardware file may ask for.
pub(super) const FASTEST: u64 = 1 << 20;

/// What the engine counted of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Cycles of all its tiles back to back, without any stall.
    pub(super) compute_cycles: u64,
    /// Cycles of the whole run: transfers and vector work included.
    pub(super) total_cycles: u64,
    /// Elements of both operands that the array read.
    pub(super) operand_reads: u64,
    /// Of these, activations.
    pub(super) activation_reads: u64,
    /// Of these, weights.
    pub(super) weight_reads: u64,
    /// Partial sums that the array wrote.
    pub(super) sum_writes: u64,
}

/// `M`, `K` and `N` of a row.
pub(super) fn shape(row: &Row) -> Result<GemmShape, ValidateError> {
    Ok(GemmShape::new(row.number("M")?, row.number("K")?, row.number("N")?))
}

/// Runs `row`'s product on `array`.
///
/// # Errors
/// The shape or the array is none that files may describe; [`ValidateError::Row`] says why.
pub(super) fn run(row: &Row, shape: GemmShape, array: &PeerArray) -> Result<Counts, ValidateError> {
    simulated(shape, array).map_err(|error| row.error(error.to_string()))
}

fn simulated(shape: GemmShape, array: &PeerArray) -> Result<Counts, SimulationError> {
    let npu = npu(array)?;
    let GemmShape { m, k, n } = shape;
    let text = format!(
        "name: product\nactivation_format: fp32\n\
         tensors: [{{ name: x, shape: [{m}, {k}] }}, {{ name: w, shape: [{k}, {n}] }}]\n\
         layers: [{{ name: product, gemm: {{ input: x, weight: w }} }}]\n"
    );
    let (workload, _) = workload::resolve(&Document::from_bytes("its workload", text.as_bytes(), "")?)?;
    let scheme = scheme::resolve(&presets::open_scheme("w8a8_per_tensor")?)?;
    let setup = Setup {
        npu: &npu,
        workload: &workload,
        scheme: scheme.as_ref(),
        calibration: None,
        bindings: None,
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    let outcome = simulate(setup, &mut Unobserved)?;
    let product = outcome.program.ops.iter().position(|op| matches!(op.kind, OpKind::Gemm(_)));
    let counted = &outcome.statistics.ops[product.expect("a product is lowered to one")];
    let unit = &npu.matrix_units()[0];
    let (activation_reads, weight_reads, sum_bytes) = reads(&npu, &outcome.schedule);
    Ok(Counts {
        compute_cycles: counted.compute.get(),
        total_cycles: outcome.statistics.makespan.get(),
        operand_reads: counted.traffic[unit.operand_memory.0].read.get(),
        activation_reads,
        weight_reads,
        sum_writes: counted.traffic[unit.accumulator_memory.0].written.get() / sum_bytes,
    })
}

fn npu(array: &PeerArray) -> Result<Npu, ConfigError> {
    let PeerArray { rows, columns, dataflow, serial_folds, dram_bytes_per_cycle } = array;
    let mut document = presets::open_hardware("edge-int8")?;
    let systolic = format!(
        "{{ rows: {rows}, columns: {columns}, dataflow: {dataflow}, double_buffered: false, serial_folds: {serial_folds} }}"
    );
    let ports = format!("read_bytes_per_cycle: {FASTEST}, write_bytes_per_cycle: {FASTEST}");
    let sram = format!(
        "{{ capacity: 1024 GiB, {ports}, \
         partitions: {{ activations: 256 GiB, weights: 256 GiB, outputs: 256 GiB, resident: 256 GiB }} }}"
    );
    let each = ["reduce", "quantize", "dequantize", "add", "activate"].map(|name| format!("{name}: {FASTEST}"));
    for (path, value) in [
        ("matrix_units.main.systolic_array", systolic),
        ("matrix_units.main.launch_cycles", "0".to_owned()),
        ("vector_units.vector.elements_per_cycle", format!("{{ {} }}", each.join(", "))),
        ("vector_units.vector.latency_cycles", "0".to_owned()),
        (
            "memories.dram.dram",
            format!("{{ model: ideal, latency_cycles: 0, bytes_per_cycle: {dram_bytes_per_cycle} }}"),
        ),
        ("memories.sram.sram", sram),
        ("memories.accumulators.sram", format!("{{ capacity: 1024 GiB, {ports} }}")),
        ("dma.setup_cycles", "0".to_owned()),
    ] {
        document.apply(path, &value, &Place::flag(format!("its hardware, {path}={value}")))?;
    }
    hardware::resolve(&document, &mut Defaults::default())
}

/// Activations and weights that the array reads in the tiles of the schedule, and bytes of a partial sum. The counters of
/// a run hold both operands in one number; this tells them apart.
fn reads(npu: &Npu, schedule: &Schedule) -> (u64, u64, u64) {
    let (mut activations, mut weights, mut sum_bytes) = (0, 0, 1);
    for nest in &schedule.nests {
        let Some(matrix) = &nest.matrix else { continue };
        let array = &npu.matrix_unit(matrix.unit).array;
        sum_bytes = matrix.sums.element_bits / 8;
        for step in nest.grid.walk(AxisSet::MKN) {
            let [m, k, n] = [step.tile.m, step.tile.k, step.tile.n].map(|span| span.len());
            let passes = dataflow::of(array).passes(array, &tile_work(npu, matrix, &step.tile));
            activations += m * k * passes.activation_reads;
            weights += k * n * passes.weight_reads;
        }
    }
    (activations, weights, sum_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Counts, FASTEST, PeerArray, simulated};
    use crate::shape::GemmShape;

    /// Shapes and arrays, also tiny and oblong ones, on which a tiling that cuts folds would show.
    fn for_each_case(mut check: impl FnMut([u64; 3], [u64; 2])) {
        for shape in [[1, 1, 1], [1, 768, 96], [64, 64, 64], [257, 17, 31], [3, 2000, 5], [1024, 9, 40]] {
            for side in [[1, 1], [1, 8], [2, 3], [8, 4], [16, 128]] {
                check(shape, side);
            }
        }
    }

    fn counts(
        dataflow: &'static str,
        serial_folds: &'static str,
        shape: [u64; 3],
        [rows, columns]: [u64; 2],
    ) -> Counts {
        let array = PeerArray { rows, columns, dataflow, serial_folds, dram_bytes_per_cycle: FASTEST };
        simulated(GemmShape::new(shape[0], shape[1], shape[2]), &array).unwrap()
    }

    #[test]
    fn folds_of_full_skew_give_the_published_closed_forms_of_cycles_and_accesses() {
        // SCALE-Sim: 2R + C + T - 2 a fold (Samajdar et al., ISPASS 2020), without a drain of R where outputs stay.
        for_each_case(|[m, k, n], [r, c]| {
            let shape = [m, k, n];
            let (rows, columns) = (k.div_ceil(r), n.div_ceil(c));
            let found = counts("weight_stationary", "{ load: rows, fill: full_array }", shape, [r, c]);
            let reads = [m * k * columns, k * n];
            assert_eq!(found.compute_cycles, rows * columns * (m + 2 * r + c - 2), "{shape:?} on {r}x{c}");
            assert_eq!([found.activation_reads, found.weight_reads], reads, "{shape:?} on {r}x{c}");
            assert_eq!((found.operand_reads, found.sum_writes), (reads[0] + reads[1], m * n * rows));

            let found = counts("output_stationary", "{ fill: full_array, drain: overlapped }", shape, [r, c]);
            let folds = [m.div_ceil(r), n.div_ceil(c)];
            assert_eq!(found.compute_cycles, folds[0] * folds[1] * (k + r + c - 2), "{shape:?} on {r}x{c}");
            assert_eq!([found.activation_reads, found.weight_reads], [m * k * folds[1], k * n * folds[0]]);
            assert_eq!(found.sum_writes, m * n);

            let found = counts("input_stationary", "{ load: rows, fill: full_array }", shape, [r, c]);
            let folds = [k.div_ceil(r), m.div_ceil(c)];
            assert_eq!(found.compute_cycles, folds[0] * folds[1] * (n + 2 * r + c - 2), "{shape:?} on {r}x{c}");
            assert_eq!([found.activation_reads, found.weight_reads], [m * k, k * n * folds[1]]);
            assert_eq!(found.sum_writes, m * n * folds[0]);
        });
    }

    #[test]
    fn folds_of_used_skew_cost_what_their_own_rows_and_columns_are() {
        // STONNE: K + m + n + 3 of the rows m and columns n in use, less 1 where either is 1; tile after tile.
        for_each_case(|[m, k, n], [r, c]| {
            let used =
                |extent: u64, side: u64| (0..extent.div_ceil(side)).map(move |fold| side.min(extent - fold * side));
            let tile = |m: u64, n: u64| k + m + n + 3 - u64::from(m == 1 || n == 1);
            let expected: u64 = used(m, r).map(|rows| used(n, c).map(|columns| tile(rows, columns)).sum::<u64>()).sum();
            let folds = "{ fill: used, drain: overlapped, overhead_cycles: 4, corner_cycles: 1 }";
            let found = counts("output_stationary", folds, [m, k, n], [r, c]);
            assert_eq!(found.compute_cycles, expected, "{m}x{k}x{n} on {r}x{c}");
        });
    }
}
