//! Tiles of matrix products.

use std::ops::Range;

use crate::execute::values::Values;
use crate::numerics::accumulate::IntegerAccumulator;
use crate::numerics::gemm::float::{self, FloatTile};
use crate::numerics::gemm::int8::{self, PackedB};
use crate::numerics::gemm::{Matrix, MatrixMut, Operand, integer};
use crate::numerics::tensor::Elements;
use crate::program::Program;
use crate::program::op::{Gemm, OpId, OpKind, RightLayout};
use crate::schedule::accumulation::{AccumulationPlan, Accumulator};
use crate::schedule::grid::Tile;
use crate::schedule::team::TeamSplit;
use crate::shape::Span;

/// One product under way; its operands are prepared once.
pub(super) struct MatrixExecutor {
    gemm: Gemm,
    split: TeamSplit,
    arithmetic: Arithmetic,
    overflowed: u64,
}

enum Arithmetic {
    /// INT8 codes into INT32 sums, exact modulo 2^32.
    Int32 { right: PackedB },
    /// INT8 codes into an accumulator of another width, or so many that 32 bits can overflow; sums of the whole output, for
    /// each member of the team that has some.
    Integer { right: PackedB, accumulator: IntegerAccumulator, sums: Vec<Vec<i64>> },
    /// Codes with or without block scales into FP32 or BF16 sums in the plan's order; the tile under way, by member.
    Float { left: Box<Operand>, right: Box<Operand>, plan: AccumulationPlan, tiles: Vec<Option<FloatTile>> },
}

impl MatrixExecutor {
    pub(super) fn new(program: &Program, op: OpId, plan: &AccumulationPlan, values: &Values) -> MatrixExecutor {
        let OpKind::Gemm(gemm) = &program.op(op).kind else {
            unreachable!("the matrix operation of a nest is a product");
        };
        let arithmetic = match plan.accumulator {
            Accumulator::Integer(accumulator) => {
                let (rows, columns) = (size(gemm.shape.k), size(gemm.shape.n));
                let right = match values.elements(gemm.right.codes) {
                    Elements::I8(codes) => {
                        int8::prepare(Matrix::dense(codes, rows, columns).expect("shapes are verified"))
                    }
                    other => unreachable!("an integer product has i8 codes, not {other:?}"),
                };
                if accumulator == IntegerAccumulator::INT32 && rows <= int8::EXACT_DEPTH {
                    Arithmetic::Int32 { right }
                } else {
                    let holders = if plan.split.is_along_k() { plan.split.members } else { 1 };
                    let sums = vec![vec![0; size(gemm.shape.output().elements())]; size(holders)];
                    Arithmetic::Integer { right, accumulator, sums }
                }
            }
            Accumulator::Float { .. } => {
                let left = values.operand(gemm.left, RightLayout::NByK);
                let right = values.operand(gemm.right, gemm.right_layout);
                Arithmetic::Float { left: Box::new(left), right: Box::new(right), plan: *plan, tiles: Vec::new() }
            }
        };
        MatrixExecutor { gemm: gemm.clone(), split: plan.split, arithmetic, overflowed: 0 }
    }

    /// Sums so far that did not fit the accumulator.
    pub(super) const fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Whether the order of tiles cannot change a bit.
    pub(super) fn is_order_free(&self) -> bool {
        match self.arithmetic {
            Arithmetic::Int32 { .. } => true,
            Arithmetic::Integer { .. } | Arithmetic::Float { .. } => false,
        }
    }

    /// Adds a tile's products to the partial sums of the members that share it; returns the number of multiply-accumulates.
    pub(super) fn run(&mut self, values: &mut Values, tile: &Tile) -> u64 {
        let mut macs = 0;
        for (member, part) in self.split.parts_of(*tile) {
            self.add(values, size(member), &part, tile.k.start == 0);
            macs += part.m.len() * part.k.len() * part.n.len();
        }
        if tile.k.end == self.gemm.shape.k {
            self.finish(values, tile);
        }
        macs
    }

    /// Adds the products of one member's part.
    fn add(&mut self, values: &mut Values, member: usize, part: &Tile, is_first_k: bool) {
        let (m, k, n) = (range(part.m), range(part.k), range(part.n));
        match &mut self.arithmetic {
            Arithmetic::Int32 { right } => add_int32_tile(&self.gemm, right, values, part),
            Arithmetic::Integer { right, accumulator, sums } => {
                let shape = self.gemm.shape;
                let Elements::I8(left) = values.elements(self.gemm.left.codes) else {
                    unreachable!("an integer product has i8 codes");
                };
                let left = Matrix::dense(left, size(shape.m), size(shape.k)).expect("shapes are verified");
                let left = left.block(m.clone(), k.clone()).expect("tiles lie inside their tensors");
                let right = right.block(k, n.clone()).expect("tiles lie inside their tensors");
                let sums = if self.split.is_along_k() { &mut sums[member] } else { &mut sums[0] };
                let mut all = MatrixMut::dense(sums, size(shape.m), size(shape.n)).expect("shapes are verified");
                let sums = all.block(m, n).expect("tiles lie inside their tensors");
                integer::multiply_accumulate(*accumulator, left, right, sums).expect("tiles cut k between operations");
            }
            Arithmetic::Float { left, right, plan, tiles } => {
                let Accumulator::Float { order, destination, depth } = plan.accumulator else {
                    unreachable!("float arithmetic has a float accumulator");
                };
                tiles.resize_with(tiles.len().max(member + 1), || None);
                if is_first_k {
                    let fresh = FloatTile::try_new(m.len(), n.len(), size(depth), order, destination);
                    tiles[member] = Some(fresh.expect("a dot unit has a depth"));
                }
                let sums = tiles[member].as_mut().expect("k ascends from zero within an output tile");
                let left = left.part(m, k.clone()).expect("tiles lie inside their tensors");
                let right = right.part(n, k).expect("tiles lie inside their tensors");
                float::multiply_accumulate(&left, &right, sums).expect("tiles cut k between operations");
            }
        }
    }

    /// Reads the sums of an output tile, joins those of several members, and writes them.
    fn finish(&mut self, values: &mut Values, tile: &Tile) {
        match &mut self.arithmetic {
            Arithmetic::Int32 { .. } => {}
            Arithmetic::Integer { accumulator, sums, .. } => {
                let shape = self.gemm.shape;
                let (m, n) = (range(tile.m), range(tile.n));
                let (first, others) = sums.split_first_mut().expect("some member has sums");
                let mut all = MatrixMut::dense(first, size(shape.m), size(shape.n)).expect("shapes are verified");
                let mut sums = all.block(m.clone(), n.clone()).expect("tiles lie inside their tensors");
                self.overflowed += count_overflows(*accumulator, sums.reborrow());
                integer::read(*accumulator, sums.reborrow());
                for other in others {
                    let mut all = MatrixMut::dense(other, size(shape.m), size(shape.n)).expect("shapes are verified");
                    let mut other = all.block(m.clone(), n.clone()).expect("tiles lie inside their tensors");
                    self.overflowed += count_overflows(*accumulator, other.reborrow());
                    integer::read(*accumulator, other.reborrow());
                    for row in 0..other.rows() {
                        for (sum, part) in sums.row(row).iter_mut().zip(other.row(row)) {
                            *sum = accumulator.read(accumulator.add(*sum, *part));
                        }
                    }
                }
                for (index, row) in (tile.m.start..tile.m.end).enumerate() {
                    values.write_sums(self.gemm.output, row, tile.n.start, sums.row(index));
                }
            }
            Arithmetic::Float { tiles, .. } => {
                let mut parts: Vec<(Tile, Vec<f32>)> = Vec::new();
                for (sums, member) in tiles.iter_mut().zip(0..) {
                    let Some(sums) = sums.take() else { continue };
                    let part = self.split.part(tile, member).unwrap_or(*tile);
                    match parts.first_mut() {
                        Some((_, joined)) if self.split.is_along_k() => join(joined, &sums.values()),
                        Some(_) | None => parts.push((part, sums.values())),
                    }
                }
                for (part, sums) in parts {
                    for (row, sums) in (part.m.start..part.m.end).zip(sums.chunks_exact(size(part.n.len()))) {
                        values.write_row(self.gemm.output, row, part.n.start, sums);
                    }
                }
            }
        }
    }
}

/// Adds one member's sums to those of the members before it. There is one NaN, as in the accumulators.
fn join(joined: &mut [f32], part: &[f32]) {
    for (sum, part) in joined.iter_mut().zip(part) {
        let added = *sum + part;
        *sum = if added.is_nan() { f32::NAN } else { added };
    }
}

/// Sums that the accumulator cannot hold. Where it saturates on the way the exact sum is not known, and only sums at an end
/// of its range are counted.
fn count_overflows(accumulator: IntegerAccumulator, mut sums: MatrixMut<'_, i64>) -> u64 {
    let (smallest, largest) = (accumulator.smallest(), accumulator.largest());
    let is_beyond = |sum: &i64| {
        if accumulator.adjusts_at_end() {
            *sum < smallest || *sum > largest
        } else {
            *sum == smallest || *sum == largest
        }
    };
    (0..sums.rows()).map(|row| sums.row(row).iter().filter(|sum| is_beyond(sum)).count() as u64).sum()
}

fn add_int32_tile(gemm: &Gemm, right: &PackedB, values: &mut Values, tile: &Tile) {
    let (m, k, n) = (range(tile.m), range(tile.k), range(tile.n));
    let mut output = values.take(gemm.output);
    let (Elements::I8(left), Elements::I32(sums)) = (values.elements(gemm.left.codes), &mut output) else {
        unreachable!("an integer product multiplies i8 codes into i32 sums");
    };
    let shape = gemm.shape;
    let left = Matrix::dense(left, size(shape.m), size(shape.k)).expect("shapes are verified");
    let left = left.block(m.clone(), k.clone()).expect("tiles lie inside their tensors");
    let right = right.block(k, n.clone()).expect("tiles lie inside their tensors");
    let mut sums = MatrixMut::dense(sums, size(shape.m), size(shape.n)).expect("shapes are verified");
    let sums = sums.block(m, n).expect("tiles lie inside their tensors");
    int8::multiply_accumulate(left, right, sums).expect("blocks of one tile agree");
    values.put(gemm.output, output);
}

fn size(extent: u64) -> usize {
    usize::try_from(extent).expect("a tensor with values fits the address space")
}

fn range(span: Span) -> Range<usize> {
    size(span.start)..size(span.end)
}
