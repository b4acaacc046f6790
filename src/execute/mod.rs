//! Execution: the exact numbers that the scheduled program produces.
//!
//! It walks the same commands as timing, tile by tile, in program order of the nests; a tile that the schedule lost is a
//! tile that is not computed. Integer arithmetic is exact; float arithmetic follows the stated order of the accumulation
//! plan. Kernels vectorise across outputs, so bits do not depend on the machine. It decides nothing and knows no time.

pub mod activity;
mod batches;
pub mod casts;
mod channels;
mod exact_sums;
mod matrix;
mod values;
mod vector;

use std::collections::BTreeMap;

use crate::numerics::tensor::Tensor;
use crate::program::Program;
use crate::program::tensor::TensorId;
use crate::schedule::Schedule;
use crate::schedule::commands::{CommandStream, Queue, VectorStream, Work};
use crate::schedule::counter::NestId;
use crate::schedule::grid::Tile;
use crate::shape::Span;
use crate::workload::bindings::Bindings;

use activity::OperandActivity;
use casts::CastLosses;
use matrix::MatrixExecutor;
use values::Values;
use vector::VectorExecutor;

/// What an execution produced.
#[derive(Clone, Debug)]
pub struct Execution {
    tensors: Vec<Option<Tensor>>,
    computed: BTreeMap<TensorId, Tensor>,
    macs: Vec<u64>,
    overflowed_sums: Vec<u64>,
    cast_losses: Vec<CastLosses>,
    observed_counts: Vec<Option<u64>>,
    activity: OperandActivity,
}

impl Execution {
    /// The values of a tensor as its consumers saw them.
    pub fn tensor(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
    }

    /// The values of a tensor as they were computed: they differ from [`Execution::tensor`] where a record replaced them.
    pub fn computed(&self, id: TensorId) -> Option<&Tensor> {
        self.computed.get(&id).or_else(|| self.tensor(id))
    }

    /// Integer sums that came out different from the exact ones, by the operation that they end in: parts that several units
    /// join, that the next product goes on from or that are merged count once, as the sum that leaves the integers.
    pub fn overflowed_sums(&self) -> &[u64] {
        &self.overflowed_sums
    }

    /// What casts could not keep, by layer: each element once, in the layer that casts it.
    pub fn cast_losses(&self) -> &[CastLosses] {
        &self.cast_losses
    }

    /// What was found of what [`planned`](crate::program::planned) counts, by operation; `None` where nothing was planned.
    pub fn observed_counts(&self) -> &[Option<u64>] {
        &self.observed_counts
    }

    /// Products that an operand made zero.
    pub fn activity(&self) -> &OperandActivity {
        &self.activity
    }

    /// Multiply-accumulates executed, by operation.
    pub fn macs(&self) -> &[u64] {
        &self.macs
    }
}

/// A tensor from outside has no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tensor `{tensor}` has only a shape; numbers cannot be computed without its values")]
pub struct MissingValues {
    /// Name of the tensor.
    pub tensor: String,
}

/// How integer products are computed. The bits are the same: sums modulo 2^32 have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// Each tile by itself, as the array works.
    Tiles,
    /// The box that a product's tiles fill, at once; where they do not fill one exactly, tile by tile.
    Products,
}

/// Executes `schedule`.
///
/// # Errors
/// [`MissingValues`] where a tensor that the program reads has none.
pub fn run(
    program: &Program,
    schedule: &Schedule,
    bindings: &Bindings,
    granularity: Granularity,
) -> Result<Execution, MissingValues> {
    let mut values = Values::bind(program, bindings)?;
    let mut macs = vec![0; program.ops.len()];
    let mut preparation = VectorExecutor::default();
    for op in &program.preparation {
        let walked = op.kind.walked_input().expect("nothing is multiplied before the run");
        let shape = program.tensor(walked).shape;
        let whole = Tile { batch: 0, m: Span::new(0, shape.rows), k: Span::new(0, 1), n: Span::new(0, shape.columns) };
        preparation.run(&mut values, &op.kind, &whole, true, true);
    }
    for (index, nest) in schedule.nests.iter().enumerate() {
        let commands = |queue| CommandStream::of_nest(schedule, queue, NestId(index));
        if let Some(work) = &nest.matrix {
            let plan = schedule.accumulation_plan(work.op).expect("every product has an accumulation plan");
            let mut executor = MatrixExecutor::new(program, schedule, work.op, plan);
            let mut prologue = nest.prologue.map(|prologue| {
                let plan = schedule.accumulation_plan(prologue.op).expect("every product has an accumulation plan");
                let depth = prologue.operands[0].storage.shape.columns;
                (prologue.op, Span::new(0, depth), MatrixExecutor::new(program, schedule, prologue.op, plan))
            });
            // The product before it does the same outputs over its own depth, before the first block of k.
            let mut run_prologue = |values: &mut Values, tile: &Tile| {
                if let Some((op, depth, executor)) = &mut prologue
                    && tile.k.start == 0
                {
                    macs[op.0] += executor.run(values, &Tile { k: *depth, ..*tile });
                }
            };
            let tiles = || {
                commands(Queue::Matrix(work.team)).filter_map(|command| match command.work {
                    Work::Matrix(tile) => Some(tile),
                    Work::Transfer(_) | Work::Sums(_) | Work::Vector(_) => None,
                })
            };
            let whole =
                (granularity == Granularity::Products && executor.is_order_free()).then(|| filled_boxes(tiles()));
            let mut run = |values: &mut Values, tile: &Tile| {
                run_prologue(values, tile);
                executor.run(values, tile)
            };
            let executed: u64 = match whole.flatten() {
                Some(tiles) => tiles.iter().map(|tile| run(&mut values, tile)).sum(),
                None => tiles().map(|tile| run(&mut values, &tile)).sum(),
            };
            macs[work.op.0] += executed;
        }
        if let Some(work) = &nest.vector {
            let mut executor = VectorExecutor::default();
            for command in commands(Queue::Vector(VectorStream { unit: work.unit, lane: nest.lane })) {
                if let Work::Vector(vector) = command.work {
                    for step in &work.steps {
                        let kind = &program.op(step.op).kind;
                        let tile = nest.output_tile(&vector.tile);
                        executor.run(&mut values, kind, &tile, vector.is_last_n, vector.is_last);
                    }
                }
            }
        }
    }
    let observed_counts = program.ops.iter().map(|op| channels::observed(&values, &op.kind)).collect();
    let activity = OperandActivity::of(program, &values);
    let overflowed_sums = exact_sums::overflowed(program, &values);
    let cast_losses = values.cast_losses(program);
    let (tensors, computed) = values.into_tensors();
    Ok(Execution { tensors, computed, macs, overflowed_sums, cast_losses, observed_counts, activity })
}

/// The boxes that the tiles of each batch fill without a gap, if they all do: the hulls whose volume is the sum of theirs.
fn filled_boxes(tiles: impl Iterator<Item = Tile>) -> Option<Vec<Tile>> {
    let hull = |a: Span, b: Span| Span::new(a.start.min(b.start), a.end.max(b.end));
    let volume = |tile: &Tile| tile.m.len() * tile.k.len() * tile.n.len();
    let mut boxes: BTreeMap<u64, (Tile, u64)> = BTreeMap::new();
    for tile in tiles {
        let (whole, sum) = boxes.entry(tile.batch).or_insert((tile, 0));
        *sum += volume(&tile);
        *whole = Tile { m: hull(whole.m, tile.m), k: hull(whole.k, tile.k), n: hull(whole.n, tile.n), ..*whole };
    }
    boxes.into_values().map(|(whole, sum)| (volume(&whole) == sum).then_some(whole)).collect()
}
