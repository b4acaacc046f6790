//! Lower bounds that no schedule of a program can beat, from the program and the hardware alone.

use crate::hardware::matrix_unit::MatrixUnit;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::OpKind;
use crate::program::tensor::TensorId;
use crate::report::data::Bounds;
use crate::timing::statistics::RunStatistics;
use crate::units::Bytes;

/// The bounds of a run.
pub fn bounds(program: &Program, npu: &Npu, statistics: &RunStatistics) -> Bounds {
    let dram = npu.dram();
    let moved: Bytes = statistics
        .ops
        .iter()
        .filter_map(|op| op.traffic.get(npu.dram_id().0))
        .map(|traffic| traffic.read + traffic.written)
        .sum();
    Bounds {
        compute_cycles: compute_cycles(program, npu),
        compulsory_bandwidth_cycles: dram.bytes_per_cycle.cycles_for(compulsory_bytes(program).get()).get(),
        moved_bandwidth_cycles: dram.bytes_per_cycle.cycles_for(moved.get()).get(),
    }
}

/// Useful multiply-accumulates at the full rate of the fastest unit for each pair, shared out evenly among all units that
/// do any of the program's products: no schedule can keep a unit busier than always.
pub fn compute_cycles(program: &Program, npu: &Npu) -> u64 {
    let products = || {
        program.ops.iter().filter_map(|op| match &op.kind {
            OpKind::Gemm(gemm) => Some((gemm, program.product_formats(gemm))),
            OpKind::Reduce { .. }
            | OpKind::Quantize { .. }
            | OpKind::QuantizeBlocks { .. }
            | OpKind::Dequantize { .. }
            | OpKind::Activate { .. } => None,
        })
    };
    let rate = |unit: &MatrixUnit, formats| {
        let elements = unit.array.processing_elements();
        unit.support(formats).map(|support| elements * support.macs_per_element_per_cycle)
    };
    let cycles = products().map(|(gemm, formats)| {
        let fastest = npu.matrix_units().iter().filter_map(|unit| rate(unit, formats)).max();
        fastest.map_or(0, |rate| gemm.shape.macs().div_ceil(rate))
    });
    let units = npu.matrix_units().iter().filter(|unit| products().any(|(_, formats)| unit.support(formats).is_some()));
    cycles.sum::<u64>().div_ceil((units.count() as u64).max(1))
}

/// Each given tensor that the run reads, once, and each result that nobody reads, once.
pub fn compulsory_bytes(program: &Program) -> Bytes {
    let is_read = |id: TensorId| program.ops.iter().any(|op| op.kind.reads().contains(&id));
    let is_written = |id: TensorId| program.ops.iter().any(|op| op.kind.writes().contains(&id));
    (0..program.tensors.len())
        .map(TensorId)
        .filter(|id| if program.tensor(*id).is_given() { is_read(*id) } else { is_written(*id) && !is_read(*id) })
        .map(|id| program.tensor(id).bytes())
        .sum()
}
