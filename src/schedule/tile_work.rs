//! What a tile of a product is to the array that works on it: its extents, and what the ports of the memories allow.

use crate::dataflow::pace::{Pace, Paces};
use crate::dataflow::{self, OperandElements, TileWork};
use crate::hardware::npu::Npu;
use crate::schedule::nest::MatrixWork;

/// The work of one member of the team on its part, `m x k x n`, of a tile of `matrix`. The members stream at the same time,
/// each its own operands, so they share the ports of the operand memory evenly.
pub fn tile_work(npu: &Npu, matrix: &MatrixWork, [m, k, n]: [u64; 3]) -> TileWork {
    let unit = npu.matrix_unit(matrix.unit);
    let mut work = TileWork::unhindered(m, k, n, matrix.macs_per_element_per_cycle);
    if let Some(window) = &matrix.window
        && k == window.depth()
    {
        work.k_runs = window.y.kernel() * window.x.kernel();
    }
    let dataflow = dataflow::of(&unit.array);
    let step = if matrix.is_gathered {
        dataflow.step(&unit.array, &TileWork { k: 1, ..work })
    } else {
        dataflow.step(&unit.array, &work)
    };
    if matrix.is_gathered && !dataflow.is_systolic() {
        // Rows that come one by one take a step each, whatever the depth of a step.
        work.k *= dataflow.granularity(&unit.array, matrix.macs_per_element_per_cycle).k;
    }
    let [left, right] = &matrix.operands;
    let operand_bytes = |elements: OperandElements| {
        matrix.split.parts()
            * (left.storage.row_bytes(elements.activations) + right.storage.row_bytes(elements.weights))
    };
    let operands = npu.sram(unit.operand_memory).read_bytes_per_cycle;
    let accumulators = npu.sram(unit.accumulator_memory);
    let sharing = matrix.sharing_sums.min(matrix.split.parts());
    let sum_bytes = sharing * matrix.sums.row_bytes(step.sums);
    let paces = Paces {
        stream: Pace::of(operand_bytes(step.streamed), operands),
        load: Pace::of(operand_bytes(step.loaded), operands),
        sums_out: Pace::of(sum_bytes, accumulators.write_bytes_per_cycle),
        sums_in: Pace::of(sum_bytes, accumulators.read_bytes_per_cycle),
    };
    TileWork { paces, ..work }
}
