//! Lower bounds that no schedule of a program can beat, from the program and the hardware alone.

use std::collections::BTreeSet;

use crate::hardware::matrix_unit::{MatrixUnit, ProductFormats};
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::{Op, OpKind};
use crate::program::tensor::TensorId;
use crate::program::uses::TensorUses;
use crate::report::data::{Bounds, LayerBounds};
use crate::timing::statistics::{RunStatistics, Traffic};
use crate::units::Bytes;

/// The bounds of a run.
pub fn bounds(program: &Program, npu: &Npu, statistics: &RunStatistics) -> Bounds {
    let dram = npu.dram();
    let moved = || statistics.ops.iter().filter_map(|op| op.traffic.get(npu.dram_id().0));
    let read = moved().map(|traffic| traffic.read).sum();
    let written = moved().map(|traffic| traffic.written).sum();
    let compulsory = compulsory_traffic(program);
    Bounds {
        compute_cycles: compute_cycles(program, npu),
        compulsory_bandwidth_cycles: dram.busy_cycles(compulsory.read, compulsory.written).get(),
        moved_bandwidth_cycles: dram.busy_cycles(read, written).get(),
        peak_macs_per_cycle: peak_macs_per_cycle(program, npu),
        peak_dram_bytes_per_cycle: dram.peak_bytes_per_cycle(),
    }
}

/// Useful multiply-accumulates at the full rate of the fastest unit for each pair, shared out evenly among all units that
/// do any of the program's products: no schedule can keep a unit busier than always.
pub fn compute_cycles(program: &Program, npu: &Npu) -> u64 {
    compute_cycles_of(program, npu, program.ops.iter())
}

/// The bounds of one layer by itself, whose operations stand at the positions `ops`; `uses` are those of all operations.
pub fn layer_bounds(program: &Program, uses: &TensorUses, npu: &Npu, ops: &[usize]) -> LayerBounds {
    let of_layer = || ops.iter().map(|index| &program.ops[*index]);
    let compute_cycles = compute_cycles_of(program, npu, of_layer());
    let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
    for op in of_layer() {
        read.extend(op.kind.reads().into_iter().filter(|id| program.tensor(*id).is_given()));
        written.extend(op.kind.writes().into_iter().filter(|id| uses.readers(*id).is_empty()));
    }
    let bytes = |ids: BTreeSet<TensorId>| -> Bytes {
        ids.into_iter()
            .map(|id| {
                let readers: Vec<usize> = uses.readers(id).iter().copied().filter(|op| ops.contains(op)).collect();
                needed_bytes(program, &readers, id)
            })
            .sum()
    };
    let compulsory_bandwidth_cycles = npu.dram().busy_cycles(bytes(read), bytes(written)).get();
    let lower_bound_cycles = compute_cycles.max(compulsory_bandwidth_cycles);
    LayerBounds { compute_cycles, compulsory_bandwidth_cycles, lower_bound_cycles }
}

/// Multiply-accumulates a cycle of all matrix units, each at its highest rate among the products of the program.
fn peak_macs_per_cycle(program: &Program, npu: &Npu) -> u64 {
    let products = program.ops.iter().filter_map(|op| match &op.kind {
        OpKind::Gemm(gemm) => Some(program.product_formats(gemm)),
        _ => None,
    });
    let highest = |unit: &MatrixUnit| products.clone().filter_map(|formats| full_rate(unit, formats)).max();
    npu.matrix_units().iter().filter_map(highest).sum()
}

fn compute_cycles_of<'p>(program: &Program, npu: &Npu, ops: impl Iterator<Item = &'p Op> + Clone) -> u64 {
    let products = || {
        ops.clone().filter_map(|op| match &op.kind {
            OpKind::Gemm(gemm) => Some((gemm, program.product_formats(gemm))),
            OpKind::Reduce { .. }
            | OpKind::Quantize { .. }
            | OpKind::QuantizeBlocks { .. }
            | OpKind::Dequantize { .. }
            | OpKind::Vector(_)
            | OpKind::ExtractChannels(_)
            | OpKind::ExtractTop(_)
            | OpKind::GatherRows(_)
            | OpKind::Merge(_)
            | OpKind::DivideChannels(_)
            | OpKind::Activate { .. } => None,
        })
    };
    let cycles = products().map(|(gemm, formats)| {
        let fastest = npu.matrix_units().iter().filter_map(|unit| full_rate(unit, formats)).max();
        fastest.map_or(0, |rate| gemm.macs().div_ceil(rate))
    });
    let units = npu.matrix_units().iter().filter(|unit| products().any(|(_, formats)| unit.support(formats).is_some()));
    cycles.sum::<u64>().div_ceil((units.count() as u64).max(1))
}

/// Multiply-accumulates a cycle of a unit that multiplies these formats.
fn full_rate(unit: &MatrixUnit, formats: ProductFormats) -> Option<u64> {
    let elements = unit.array.processing_elements();
    unit.support(formats).map(|support| elements * support.macs_per_element_per_cycle)
}

/// Each given tensor that the run reads, once, and each result that nobody reads, once.
pub fn compulsory_traffic(program: &Program) -> Traffic {
    let uses = TensorUses::by_op(program);
    let is_read = |id: TensorId| !uses.readers(id).is_empty();
    let is_written = |id: TensorId| uses.writer(id).is_some();
    let bytes = |of: &dyn Fn(TensorId) -> bool| -> Bytes {
        let tensors = (0..program.tensors.len()).map(TensorId).filter(|id| of(*id));
        tensors.map(|id| needed_bytes(program, uses.readers(id), id)).sum()
    };
    Traffic {
        read: bytes(&|id| program.tensor(id).is_given() && is_read(id)),
        written: bytes(&|id| !program.tensor(id).is_given() && is_written(id) && !is_read(id)),
    }
}

/// Bytes of a tensor, or of the rows that are gathered from it where nothing else reads it.
fn needed_bytes(program: &Program, readers: &[usize], id: TensorId) -> Bytes {
    let tensor = program.tensor(id);
    let mut rows = 0;
    for reader in readers {
        match &program.ops[*reader].kind {
            OpKind::GatherRows(gather) if gather.input == id => rows += gather.selection.count(),
            // Each row of one token at least: others may take the same ones.
            OpKind::Gemm(gemm) if gemm.right_rows.is_some() && gemm.right.codes == id => rows = rows.max(gemm.shape.k),
            _ => return tensor.bytes(),
        }
    }
    if rows == 0 { tensor.bytes() } else { tensor.bytes_of(rows.min(tensor.shape.rows), tensor.shape.columns) }
}
