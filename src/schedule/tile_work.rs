//! What a tile of a product is to the array that works on it: its extents, and what the ports of the memories allow.

use crate::dataflow::ports::{Port, Ports};
use crate::dataflow::{self, Runs, TileWork};
use crate::hardware::npu::Npu;
use crate::schedule::grid::Tile;
use crate::schedule::nest::MatrixWork;

/// The work of one member of the team on its part of a tile of `matrix`. The members stream at the same time, each its own
/// operands, so they share the ports of the operand memory evenly.
pub fn tile_work(npu: &Npu, matrix: &MatrixWork, part: &Tile) -> TileWork {
    let unit = npu.matrix_unit(matrix.unit);
    let accumulators = npu.sram(unit.accumulator_memory);
    let [left, right] = &matrix.operands;
    let port = |bytes_per_cycle, sharers| Some(Port { bytes_per_cycle, sharers });
    let (members, holders) = (matrix.split.parts(), matrix.sharing_sums.min(matrix.split.parts()));
    let length = run_length(npu, matrix);
    TileWork {
        m: part.m.len(),
        k: part.k.len(),
        n: part.n.len(),
        runs: length.map(|length| Runs { length, before: part.k.start % length }),
        macs_per_element_per_cycle: matrix.macs_per_element_per_cycle,
        ports: Ports {
            activation_bits: left.storage.element_bits,
            weight_bits: right.storage.element_bits,
            sum_bits: matrix.sums.element_bits,
            operands: port(npu.sram(unit.operand_memory).read_bytes_per_cycle, members),
            sums_out: port(accumulators.write_bytes_per_cycle, holders),
            sums_in: port(accumulators.read_bytes_per_cycle, holders),
        },
    }
}

/// Indices along k of a run that no step of the array crosses; `None` where it takes them as they come.
pub fn run_length(npu: &Npu, matrix: &MatrixWork) -> Option<u64> {
    let array = &npu.matrix_unit(matrix.unit).array;
    let dataflow = dataflow::of(array);
    // Rows that come one by one are worked on one by one, unless an array holds them first.
    if matrix.is_gathered && !dataflow.is_systolic() {
        return Some(1);
    }
    let window = matrix.window.filter(|_| dataflow.keeps_kernel_positions_apart(array));
    window.map(|window| window.channels)
}
