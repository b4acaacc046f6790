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
use crate::shape::Span;

/// One product under way; its operands are prepared once.
pub(super) struct MatrixExecutor {
    gemm: Gemm,
    arithmetic: Arithmetic,
    overflowed: u64,
}

enum Arithmetic {
    /// INT8 codes into INT32 sums, exact modulo 2^32.
    Int32 { right: PackedB },
    /// INT8 codes into an accumulator of another width, or so many that 32 bits can overflow; sums of the whole output.
    Integer { right: PackedB, accumulator: IntegerAccumulator, sums: Vec<i64> },
    /// Codes with or without block scales into FP32 or BF16 sums in the plan's order; the tile is the one under way.
    Float { left: Box<Operand>, right: Box<Operand>, plan: AccumulationPlan, tile: Option<FloatTile> },
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
                    let sums = vec![0; size(gemm.shape.output().elements())];
                    Arithmetic::Integer { right, accumulator, sums }
                }
            }
            Accumulator::Float { .. } => {
                let left = values.operand(gemm.left, RightLayout::NByK);
                let right = values.operand(gemm.right, gemm.right_layout);
                Arithmetic::Float { left: Box::new(left), right: Box::new(right), plan: *plan, tile: None }
            }
        };
        MatrixExecutor { gemm: gemm.clone(), arithmetic, overflowed: 0 }
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

    /// Adds a tile's products to the partial sums; returns the number of multiply-accumulates.
    pub(super) fn run(&mut self, values: &mut Values, tile: &Tile) -> u64 {
        // What the accumulators hold when the first product of an output tile arrives.
        let initial = self.gemm.initial.filter(|_| tile.k.start == 0);
        match &mut self.arithmetic {
            Arithmetic::Int32 { right } => {
                if let Some(initial) = initial {
                    for row in tile.m.start..tile.m.end {
                        let sums = values.sums_row(initial.sums, row, tile.n);
                        let sums: Vec<i64> = sums.iter().map(|sum| i64::from(initial.factor.of_i32(*sum))).collect();
                        values.write_sums(self.gemm.output, row, tile.n.start, &sums);
                    }
                }
                add_int32_tile(&self.gemm, right, values, tile);
            }
            Arithmetic::Integer { right, accumulator, sums } => {
                let shape = self.gemm.shape;
                let (m, k, n) = (range(tile.m), range(tile.k), range(tile.n));
                let Elements::I8(left) = values.elements(self.gemm.left.codes) else {
                    unreachable!("an integer product has i8 codes");
                };
                let left = Matrix::dense(left, size(shape.m), size(shape.k)).expect("shapes are verified");
                let left = left.block(m.clone(), k.clone()).expect("tiles lie inside their tensors");
                let right = right.block(k, n.clone()).expect("tiles lie inside their tensors");
                let mut all = MatrixMut::dense(sums, size(shape.m), size(shape.n)).expect("shapes are verified");
                let mut sums = all.block(m, n).expect("tiles lie inside their tensors");
                if let Some(initial) = initial {
                    for (index, row) in (tile.m.start..tile.m.end).enumerate() {
                        let held = values.sums_row(initial.sums, row, tile.n);
                        for (sum, held) in sums.row(index).iter_mut().zip(held) {
                            *sum = accumulator.add(0, i64::from(initial.factor.of_i32(held)));
                        }
                    }
                }
                integer::multiply_accumulate(*accumulator, left, right, sums.reborrow())
                    .expect("tiles cut k between operations");
                if tile.k.end == shape.k {
                    self.overflowed += count_overflows(*accumulator, sums.reborrow());
                    integer::read(*accumulator, sums.reborrow());
                    for (index, row) in (tile.m.start..tile.m.end).enumerate() {
                        values.write_sums(self.gemm.output, row, tile.n.start, sums.row(index));
                    }
                }
            }
            Arithmetic::Float { left, right, plan, tile: under_way } => {
                let Accumulator::Float { order, destination, depth } = plan.accumulator else {
                    unreachable!("float arithmetic has a float accumulator");
                };
                let (m, k, n) = (range(tile.m), range(tile.k), range(tile.n));
                if tile.k.start == 0 {
                    let fresh = FloatTile::try_new(m.len(), n.len(), size(depth), order, destination);
                    let mut fresh = fresh.expect("a dot unit has a depth");
                    if let Some(initial) = initial {
                        let mut held = Vec::with_capacity(m.len() * n.len());
                        for row in tile.m.start..tile.m.end {
                            values.read_row(initial.sums, row, tile.n, &mut held);
                        }
                        held.iter_mut().for_each(|sum| *sum = initial.factor.of_f32(*sum));
                        fresh.start_from(&held);
                    }
                    *under_way = Some(fresh);
                }
                let sums = under_way.as_mut().expect("k ascends from zero within an output tile");
                let left = left.part(m, k.clone()).expect("tiles lie inside their tensors");
                let right = right.part(n, k).expect("tiles lie inside their tensors");
                float::multiply_accumulate(&left, &right, sums).expect("tiles cut k between operations");
                if tile.k.end == self.gemm.shape.k {
                    let columns = size(tile.n.len());
                    for (row, sums) in (tile.m.start..tile.m.end).zip(sums.values().chunks_exact(columns)) {
                        values.write_row(self.gemm.output, row, tile.n.start, sums);
                    }
                }
            }
        }
        tile.m.len() * tile.k.len() * tile.n.len()
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
