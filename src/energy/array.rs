//! What arrays do inside their tiles, as closed forms of the schedule: the same tiles that the timed run works through.

use crate::dataflow::{self, Operand};
use crate::hardware::array::Array;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::OpKind;
use crate::schedule::Schedule;
use crate::schedule::grid::{Grid, Tile};
use crate::schedule::nest::MatrixWork;
use crate::schedule::tile_kinds::{output_tiles, tiles};
use crate::schedule::tile_work::{run_length, tile_work};
use crate::shape::Span;

/// Actions of one operation inside the arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrayActions {
    /// Elements of a stationary operand into the registers of an array.
    pub weight_loads: u64,
    /// Processing-element cycles in which operands and sums are handed on; none where dot units are fed side by side.
    pub register_shifts: u64,
    /// Partial sums added to those in the accumulators.
    pub accumulations: u64,
    /// Sums shifted and added to themselves before another product adds to them.
    pub accumulator_shifts: u64,
    /// Pairs of block scales applied to a sum.
    pub block_scales: u64,
}

/// The actions of every operation, in the program's order.
pub fn count(program: &Program, schedule: &Schedule, npu: &Npu) -> Vec<ArrayActions> {
    let mut actions = vec![ArrayActions::default(); program.ops.len()];
    for nest in &schedule.nests {
        let Some(matrix) = &nest.matrix else { continue };
        add_tiles(npu, matrix, tiles(&nest.grid, run_length(npu, matrix)), &mut actions[matrix.op.0]);
        if let Some(prologue) = &nest.prologue {
            let depth = Span::new(0, prologue.operands[0].storage.shape.columns);
            add_tiles(npu, prologue, whole_depth(&nest.grid, depth), &mut actions[prologue.op.0]);
        }
    }
    for (op, actions) in program.ops.iter().zip(&mut actions) {
        let OpKind::Gemm(gemm) = &op.kind else { continue };
        let outputs = gemm.shape.m * gemm.shape.n * gemm.batching.count;
        if let Some(initial) = &gemm.initial
            && initial.factor.shifts() > 0
        {
            actions.accumulator_shifts = outputs;
        }
        let blocks = gemm.left.blocks.or(gemm.right.blocks);
        actions.block_scales = blocks.map_or(0, |blocks| outputs * gemm.shape.k.div_ceil(blocks.format.block()));
    }
    actions
}

/// Tiles of the output, each over the whole `depth` of a product that precedes the nest's own.
fn whole_depth(grid: &Grid, depth: Span) -> impl Iterator<Item = (u64, Tile)> + use<> {
    output_tiles(grid).map(move |(times, tile)| (times, Tile { k: depth, ..tile }))
}

fn add_tiles(npu: &Npu, matrix: &MatrixWork, tiles: impl Iterator<Item = (u64, Tile)>, actions: &mut ArrayActions) {
    let unit = npu.matrix_unit(matrix.unit);
    let dataflow = dataflow::of(&unit.array);
    for (times, whole) in tiles {
        for (_, tile) in matrix.split.parts_of(whole) {
            let work = tile_work(npu, matrix, &tile);
            let passes = dataflow.passes(&unit.array, &work);
            actions.weight_loads += times
                * match dataflow.held(&unit.array) {
                    None => 0,
                    Some(Operand::Weights) => passes.weight_reads * work.k * work.n,
                    Some(Operand::Activations) => passes.activation_reads * work.m * work.k,
                };
            actions.accumulations += times * passes.sum_writes * work.m * work.n;
            match unit.array {
                Array::Systolic(_) => {
                    let lanes = work.macs_per_element_per_cycle;
                    actions.register_shifts += times * dataflow.issued_macs(&unit.array, &work) / lanes;
                }
                Array::DotProduct(_) => {}
            }
        }
    }
}
