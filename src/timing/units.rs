//! How long a command keeps a unit, and what it moves: closed forms over the hardware's parameters.

use crate::dataflow::{self, ArrayState, Dataflow, TilePhases, TileWork};
use crate::hardware::matrix_unit::{MatrixUnit, MatrixUnitId};
use crate::hardware::npu::Npu;
use crate::memory::{Direction, Transfer};
use crate::schedule::commands::VectorTile;
use crate::schedule::grid::Tile;
use crate::schedule::nest::{Access, MatrixWork, Nest, TileMap};
use crate::schedule::tile_work::tile_work;
use crate::timing::statistics::{OpStatistics, Traffic};
use crate::units::{Bytes, Cycles};

/// A matrix unit under way.
pub(super) struct MatrixEngine {
    unit: MatrixUnit,
    dataflow: &'static dyn Dataflow,
    state: ArrayState,
    /// The same tiles without any stall, restarted with each operation: what `compute` cycles are read from.
    unstalled: ArrayState,
    unstalled_op: Option<usize>,
    unstalled_ready: Cycles,
}

impl MatrixEngine {
    pub(super) fn new(npu: &Npu, id: MatrixUnitId) -> MatrixEngine {
        let unit = npu.matrix_unit(id).clone();
        let dataflow = dataflow::of(&unit.array);
        MatrixEngine {
            unit,
            dataflow,
            state: ArrayState::default(),
            unstalled: ArrayState::default(),
            unstalled_op: None,
            unstalled_ready: Cycles::ZERO,
        }
    }

    /// Runs one tile from cycle `now` on and counts its work.
    pub(super) fn issue(
        &mut self,
        npu: &Npu,
        matrix: &MatrixWork,
        tile: &Tile,
        now: Cycles,
        statistics: &mut OpStatistics,
    ) -> TilePhases {
        let work = tile_work(npu, matrix, [tile.m.len(), tile.k.len(), tile.n.len()]);
        let array = &self.unit.array;
        let phases = self.dataflow.issue(array, &work, now + self.unit.launch, &mut self.state);

        if self.unstalled_op != Some(matrix.op.0) {
            (self.unstalled, self.unstalled_ready) = (ArrayState::default(), Cycles::ZERO);
            self.unstalled_op = Some(matrix.op.0);
        }
        let ready = self.unstalled_ready + self.unit.launch;
        let unstalled = self.dataflow.issue(array, &work, ready, &mut self.unstalled);
        self.unstalled_ready = unstalled.next_issue;

        statistics.compute = unstalled.complete.max(statistics.compute);
        statistics.macs += work.m * work.k * work.n;
        statistics.issued_macs += self.dataflow.issued_macs(array, &work);
        self.count_traffic(npu, matrix, tile, &work, statistics);
        phases
    }

    /// Operands are read, and partial sums written, as often as the dataflow says; sums are read back as often, but for
    /// the first time of their output tile.
    fn count_traffic(
        &self,
        npu: &Npu,
        matrix: &MatrixWork,
        tile: &Tile,
        work: &TileWork,
        statistics: &mut OpStatistics,
    ) {
        let passes = self.dataflow.passes(&self.unit.array, work);
        let [left, right] = &matrix.operands;
        let operand_traffic = traffic(npu, self.unit.operand_memory.0, statistics);
        operand_traffic.read += left.storage.tile_bytes(left.map, tile) * passes.activation_reads;
        operand_traffic.read += right.storage.tile_bytes(right.map, tile) * passes.weight_reads;
        for (scales, times) in matrix.scales.iter().zip([passes.activation_reads, passes.weight_reads]) {
            operand_traffic.read +=
                scales.map_or(Bytes::ZERO, |scales| scales.storage.tile_bytes(scales.map, tile)) * times;
        }
        let sums = matrix.sums.tile_bytes(TileMap::OUTPUT, tile);
        let sums_traffic = traffic(npu, self.unit.accumulator_memory.0, statistics);
        sums_traffic.written += sums * passes.sum_writes;
        sums_traffic.read += sums * (passes.sum_writes - u64::from(tile.k.start == 0));
    }
}

/// Cycles of a vector command until the unit can accept the next one; counts its work per operation.
///
/// The lanes run the chain's functions one after the other; the ports move each input and each result once. The slower
/// of lanes and ports decides, and what the ports add is booked on the first operation.
pub(super) fn vector_occupancy(npu: &Npu, nest: &Nest, work: &VectorTile, ops: &mut [OpStatistics]) -> Cycles {
    let vector = nest.vector.as_ref().expect("a vector command belongs to a nest with a chain");
    let unit = npu.vector_unit(vector.unit);
    let memory = npu.sram(vector.memory);
    let elements = work.tile.m.len() * work.tile.n.len();
    let mut lanes = Cycles::ZERO;
    for step in &vector.steps {
        let cycles = step.functions.iter().map(|function| unit.rate(*function).cycles_for(elements)).sum();
        let statistics = &mut ops[step.op.0];
        statistics.busy += cycles;
        statistics.vector_elements += elements;
        lanes += cycles;
    }
    let first = &mut ops[vector.steps[0].op.0];
    let mut read = Bytes::ZERO;
    let mut sums = Bytes::ZERO;
    for input in &vector.reads {
        let bytes = input.storage.tile_bytes(input.map, &work.tile);
        match input.access {
            Access::Internal => {}
            Access::Accumulators => sums += bytes,
            Access::Loaded(_) | Access::Resident(_) => read += bytes,
        }
    }
    traffic(npu, vector.memory.0, first).read += read;
    let mut ports = memory.read_bytes_per_cycle.cycles_for(read.get());
    if let Some(matrix) = &nest.matrix {
        let accumulators = npu.matrix_unit(matrix.unit).accumulator_memory;
        traffic(npu, accumulators.0, first).read += sums;
        ports = ports.max(npu.sram(accumulators).read_bytes_per_cycle.cycles_for(sums.get()));
    }
    let mut written = Bytes::ZERO;
    for output in nest.outputs.iter().filter(|output| nest.completes(output, work.is_last_n, work.is_last)) {
        let bytes = output.storage.tile_bytes(output.map, &work.tile);
        traffic(npu, vector.memory.0, &mut ops[output.op.0]).written += bytes;
        written += bytes;
    }
    ports = ports.max(memory.write_bytes_per_cycle.cycles_for(written.get()));
    ops[vector.steps[0].op.0].busy += ports.saturating_sub(lanes);
    lanes.max(ports)
}

/// Counts the bytes of a transfer: off the chip on one side, on the chip on the other.
pub(super) fn count_transfer(npu: &Npu, nest: &Nest, transfer: &Transfer, statistics: &mut OpStatistics) {
    let bytes = transfer.bytes();
    let on_chip = npu.dma().to.0;
    match transfer.direction {
        Direction::Read => {
            traffic(npu, npu.dram_id().0, statistics).read += bytes;
            traffic(npu, on_chip, statistics).written += bytes;
        }
        Direction::Write => {
            traffic(npu, npu.dram_id().0, statistics).written += bytes;
            // Without a vector chain the partial sums themselves leave the chip.
            let source = match (&nest.vector, &nest.matrix) {
                (None, Some(matrix)) => npu.matrix_unit(matrix.unit).accumulator_memory.0,
                (Some(_), _) | (None, None) => on_chip,
            };
            traffic(npu, source, statistics).read += bytes;
        }
    }
}

/// The traffic of one memory; the list is made with the first byte.
fn traffic<'a>(npu: &Npu, memory: usize, statistics: &'a mut OpStatistics) -> &'a mut Traffic {
    if statistics.traffic.is_empty() {
        statistics.traffic = vec![Traffic::default(); npu.memories().len()];
    }
    &mut statistics.traffic[memory]
}
