//! Tiles of matrix products.

use std::ops::Range;

use crate::execute::batches;
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

/// One product under way; the operands of its current batch are prepared once.
pub(super) struct MatrixExecutor {
    gemm: Gemm,
    arithmetic: Arithmetic,
    /// The batch whose operands are prepared.
    batch: Option<u64>,
    overflowed: u64,
}

enum Arithmetic {
    /// INT8 codes into INT32 sums, exact modulo 2^32.
    Int32 { operands: Option<IntegerOperands> },
    /// INT8 codes into an accumulator of another width, or so many that 32 bits can overflow; sums of the whole batch.
    Integer { operands: Option<IntegerOperands>, accumulator: IntegerAccumulator, sums: Vec<i64> },
    /// Codes with or without block scales into FP32 or BF16 sums in the plan's order; the tile is the one under way.
    Float { operands: Option<Box<[Operand; 2]>>, plan: AccumulationPlan, tile: Option<FloatTile> },
}

/// The operands of one batch: `[m, k]` codes, and `[k, n]` codes in the kernel's order.
struct IntegerOperands {
    left: Vec<i8>,
    right: PackedB,
}

impl IntegerOperands {
    fn of(values: &Values, gemm: &Gemm, batch: u64) -> IntegerOperands {
        let codes = |elements: Elements| match elements {
            Elements::I8(codes) => codes,
            other => unreachable!("an integer product has i8 codes, not {other:?}"),
        };
        let left = codes(batches::left(values, gemm, batch).into_elements());
        let right = batches::right(values, gemm, batch);
        let right = codes(match gemm.right_layout {
            RightLayout::KByN => right.into_elements(),
            RightLayout::NByK => right.transposed().into_elements(),
        });
        let right = Matrix::dense(&right, size(gemm.shape.k), size(gemm.shape.n)).expect("shapes are verified");
        IntegerOperands { left, right: int8::prepare(right) }
    }
}

impl MatrixExecutor {
    pub(super) fn new(program: &Program, op: OpId, plan: &AccumulationPlan) -> MatrixExecutor {
        let OpKind::Gemm(gemm) = &program.op(op).kind else {
            unreachable!("the matrix operation of a nest is a product");
        };
        let is_exact = size(gemm.shape.k) <= int8::EXACT_DEPTH;
        let arithmetic = match plan.accumulator {
            Accumulator::Integer(IntegerAccumulator::INT32) if is_exact => Arithmetic::Int32 { operands: None },
            Accumulator::Integer(accumulator) => Arithmetic::Integer { operands: None, accumulator, sums: Vec::new() },
            Accumulator::Float { .. } => Arithmetic::Float { operands: None, plan: *plan, tile: None },
        };
        MatrixExecutor { gemm: gemm.clone(), arithmetic, batch: None, overflowed: 0 }
    }

    /// Prepares the operands of a batch, unless they are those of the last tile.
    fn prepare(&mut self, values: &Values, batch: u64) {
        if self.batch == Some(batch) {
            return;
        }
        self.batch = Some(batch);
        let gemm = &self.gemm;
        match &mut self.arithmetic {
            Arithmetic::Int32 { operands } => *operands = Some(IntegerOperands::of(values, gemm, batch)),
            Arithmetic::Integer { operands, sums, .. } => {
                *operands = Some(IntegerOperands::of(values, gemm, batch));
                *sums = vec![0; size(gemm.shape.output().elements())];
            }
            Arithmetic::Float { operands, .. } => {
                *operands = Some(Box::new(batches::float_operands(values, gemm, batch)));
            }
        }
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
        self.prepare(values, tile.batch);
        // What the accumulators hold when the first product of an output tile arrives.
        let initial = self.gemm.initial.filter(|_| tile.k.start == 0);
        let shape = self.gemm.shape;
        let (rows, columns) = self.gemm.batching.output.spans(shape.output(), tile.batch);
        let (first_row, first_column) = (rows.start, columns.start + tile.n.start);
        // Where the tile lies in the sums of all batches.
        let output_rows = first_row + tile.m.start..first_row + tile.m.end;
        let output_columns = Span::new(first_column, first_column + tile.n.len());
        let (m, k, n) = (range(tile.m), range(tile.k), range(tile.n));
        const PREPARED: &str = "the operands of the batch were prepared";
        const INSIDE: &str = "tiles lie inside their tensors";
        match &mut self.arithmetic {
            Arithmetic::Int32 { operands } => {
                if let Some(initial) = initial {
                    for row in output_rows {
                        let sums = values.sums_row(initial.sums, row, output_columns);
                        let sums: Vec<i64> = sums.iter().map(|sum| i64::from(initial.factor.of_i32(*sum))).collect();
                        values.write_sums(self.gemm.output, row, first_column, &sums);
                    }
                }
                let operands = operands.as_ref().expect(PREPARED);
                let left = Matrix::dense(&operands.left, size(shape.m), size(shape.k)).expect("shapes are verified");
                let left = left.block(m.clone(), k.clone()).expect(INSIDE);
                let right = operands.right.block(k, n).expect(INSIDE);
                let whole = values.shape(self.gemm.output);
                let mut output = values.take(self.gemm.output);
                let Elements::I32(sums) = &mut output else {
                    unreachable!("an integer product has i32 sums");
                };
                let mut sums = MatrixMut::dense(sums, size(whole.rows), size(whole.columns)).expect(INSIDE);
                let first_row = first_row + tile.m.start;
                let rows = size(first_row)..size(first_row + tile.m.len());
                let columns = size(first_column)..size(first_column + tile.n.len());
                let sums = sums.block(rows, columns).expect(INSIDE);
                int8::multiply_accumulate(left, right, sums).expect("blocks of one tile agree");
                values.put(self.gemm.output, output);
            }
            Arithmetic::Integer { operands, accumulator, sums } => {
                let operands = operands.as_ref().expect(PREPARED);
                let left = Matrix::dense(&operands.left, size(shape.m), size(shape.k)).expect("shapes are verified");
                let left = left.block(m.clone(), k.clone()).expect(INSIDE);
                let right = operands.right.block(k, n.clone()).expect(INSIDE);
                let mut all = MatrixMut::dense(sums, size(shape.m), size(shape.n)).expect("shapes are verified");
                let mut sums = all.block(m, n).expect(INSIDE);
                if let Some(initial) = initial {
                    for (index, row) in output_rows.enumerate() {
                        let held = values.sums_row(initial.sums, row, output_columns);
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
                        values.write_sums(self.gemm.output, first_row + row, first_column, sums.row(index));
                    }
                }
            }
            Arithmetic::Float { operands, plan, tile: under_way } => {
                let Accumulator::Float { order, destination, depth } = plan.accumulator else {
                    unreachable!("float arithmetic has a float accumulator");
                };
                let [left, right] = &**operands.as_ref().expect(PREPARED);
                if tile.k.start == 0 {
                    let fresh = FloatTile::try_new(m.len(), n.len(), size(depth), order, destination);
                    let mut fresh = fresh.expect("a dot unit has a depth");
                    if let Some(initial) = initial {
                        let mut held = Vec::with_capacity(m.len() * n.len());
                        for row in output_rows {
                            values.read_row(initial.sums, row, output_columns, &mut held);
                        }
                        held.iter_mut().for_each(|sum| *sum = initial.factor.of_f32(*sum));
                        fresh.start_from(&held);
                    }
                    *under_way = Some(fresh);
                }
                let sums = under_way.as_mut().expect("k ascends from zero within an output tile");
                let left = left.part(m, k.clone()).expect(INSIDE);
                let right = right.part(n, k).expect(INSIDE);
                float::multiply_accumulate(&left, &right, sums).expect("tiles cut k between operations");
                if tile.k.end == shape.k {
                    let columns = size(tile.n.len());
                    for (row, sums) in (tile.m.start..tile.m.end).zip(sums.values().chunks_exact(columns)) {
                        values.write_row(self.gemm.output, first_row + row, first_column, sums);
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

fn size(extent: u64) -> usize {
    usize::try_from(extent).expect("a tensor with values fits the address space")
}

fn range(span: Span) -> Range<usize> {
    size(span.start)..size(span.end)
}
