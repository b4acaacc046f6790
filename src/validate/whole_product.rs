//! One INT8 product from off-chip memory and back, through the same stages as `npusim run`, for tools that count transfers.
//!
//! The machine is the preset `edge-int8` with overrides; the workload is a shape without values. What the peers have no
//! word for (launches, descriptors, vector lanes, ports) is out of the way. Both operands lie quantized off the chip and
//! the sums are saturated to INT8 on their way back, as with the peers.

use crate::config::defaults::Defaults;
use crate::config::diagnostics::ConfigError;
use crate::config::document::Document;
use crate::config::source::Place;
use crate::config::{hardware, presets, workload};
use crate::hardware::npu::Npu;
use crate::program::op::OpKind;
use crate::report::data::Configuration;
use crate::scheme::integer::Integer;
use crate::shape::GemmShape;
use crate::simulation::{Setup, SimulationError, simulate};
use crate::timing::observer::Unobserved;
use crate::validate::ValidateError;
use crate::validate::rows::Row;
use crate::validate::single_product::FASTEST;

/// A peer's machine, each part as in a hardware file.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Key and mapping of the array, such as `systolic_array`.
    pub(super) array: (&'static str, String),
    /// Bytes of on-chip room for activations, weights and results.
    pub(super) operand_bytes: [u64; 3],
    /// Bytes of partial sums, 4 each.
    pub(super) accumulator_bytes: u64,
    /// Bytes that cross the border of the chip in a cycle, as a decimal number.
    pub(super) dram_bytes_per_cycle: &'static str,
    /// Cycles until the first of them comes.
    pub(super) dram_latency_cycles: u64,
}

/// What the engine counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WholeCounts {
    /// Cycles of all tiles of the product back to back, without any stall.
    pub(super) compute_cycles: u64,
    /// Cycles of the whole run.
    pub(super) total_cycles: u64,
    /// Bytes read from and written to off-chip memory.
    pub(super) dram_bytes: u64,
}

/// Runs `row`'s product on `machine`.
///
/// # Errors
/// The shape or the machine is none that files may describe; [`ValidateError::Row`] says why.
pub(super) fn run(row: &Row, shape: GemmShape, machine: &Machine) -> Result<WholeCounts, ValidateError> {
    simulated(shape, machine).map_err(|error| row.error(error.to_string()))
}

fn simulated(shape: GemmShape, machine: &Machine) -> Result<WholeCounts, SimulationError> {
    let npu = npu(machine)?;
    let GemmShape { m, k, n } = shape;
    let text = format!(
        "name: product\nactivation_format: fp32\n\
         tensors: [{{ name: x, shape: [{m}, {k}] }}, {{ name: w, shape: [{k}, {n}] }}]\n\
         layers: [{{ name: product, gemm: {{ input: x, weight: w }} }}]\n"
    );
    let (workload, _) = workload::resolve(&Document::from_bytes("its workload", text.as_bytes(), "")?)?;
    let setup = Setup {
        npu: &npu,
        workload: &workload,
        scheme: &Integer::new("quantized".to_owned()),
        calibration: None,
        bindings: None,
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    let outcome = simulate(setup, &mut Unobserved)?;
    let compute = outcome.program.ops.iter().zip(&outcome.statistics.ops);
    let compute =
        compute.filter(|(op, _)| matches!(op.kind, OpKind::Gemm(_))).map(|(_, counted)| counted.compute.get());
    let totals = &outcome.report.totals;
    Ok(WholeCounts {
        compute_cycles: compute.sum(),
        total_cycles: totals.cycles,
        dram_bytes: totals.dram_read_bytes + totals.dram_write_bytes,
    })
}

fn npu(machine: &Machine) -> Result<Npu, ConfigError> {
    let mut document = presets::open_hardware("edge-int8")?;
    let (array, parameters) = &machine.array;
    let unit = format!(
        "[{{ name: main, {array}: {parameters}, operand_memory: sram, accumulator_memory: accumulators, launch_cycles: 0, \
         formats: [{{ activation: int8, weight: int8, accumulator: int32, macs_per_element_per_cycle: 1 }}] }}]"
    );
    let ports = format!("read_bytes_per_cycle: {FASTEST}, write_bytes_per_cycle: {FASTEST}");
    let [activations, weights, outputs] = machine.operand_bytes;
    let sram = format!(
        "{{ capacity: {} B, {ports}, partitions: {{ activations: {activations} B, weights: {weights} B, \
         outputs: {outputs} B, resident: 0 B }} }}",
        activations + weights + outputs
    );
    let each = ["reduce", "quantize", "dequantize", "add", "activate"].map(|name| format!("{name}: {FASTEST}"));
    let (latency, rate) = (machine.dram_latency_cycles, machine.dram_bytes_per_cycle);
    for (path, value) in [
        ("matrix_units", unit),
        ("vector_units.vector.elements_per_cycle", format!("{{ {} }}", each.join(", "))),
        ("vector_units.vector.latency_cycles", "0".to_owned()),
        ("memories.dram.dram", format!("{{ model: ideal, latency_cycles: {latency}, bytes_per_cycle: {rate} }}")),
        ("memories.sram.sram", sram),
        ("memories.accumulators.sram", format!("{{ capacity: {} B, {ports} }}", machine.accumulator_bytes)),
        ("dma.setup_cycles", "0".to_owned()),
    ] {
        document.apply(path, &value, &Place::flag(format!("its hardware, {path}={value}")))?;
    }
    hardware::resolve(&document, &mut Defaults::default())
}

#[cfg(test)]
mod tests {
    use super::{Machine, simulated};
    use crate::shape::GemmShape;

    #[test]
    fn each_operand_enters_and_leaves_once_in_one_byte_an_element_where_everything_fits() {
        let machine = Machine {
            array: ("systolic_array", ARRAY.to_owned()),
            operand_bytes: [1 << 20; 3],
            accumulator_bytes: 1 << 22,
            dram_bytes_per_cycle: "8",
            dram_latency_cycles: 0,
        };
        let counts = simulated(GemmShape::new(96, 128, 64), &machine).unwrap();
        assert_eq!(counts.dram_bytes, 96 * 128 + 128 * 64 + 96 * 64);
        assert_eq!(counts.compute_cycles, 4 * 2 * 96);
        // Not below either bound, and not above their sum.
        let transfers = counts.dram_bytes / 8;
        assert!((transfers..=transfers + counts.compute_cycles + 8).contains(&counts.total_cycles), "{counts:?}");
    }

    const ARRAY: &str = "{ rows: 32, columns: 32, dataflow: weight_stationary, double_buffered: false, \
                         serial_folds: { load: hidden, fill: none } }";
}
