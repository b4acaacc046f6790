//! Tiles of matrix products.

use std::collections::BTreeMap;
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
use crate::schedule::team::TeamSplit;
use crate::shape::Span;

/// One product under way; the operands of its current batch are prepared once.
pub(super) struct MatrixExecutor {
    gemm: Gemm,
    split: TeamSplit,
    arithmetic: Arithmetic,
    /// The batch whose operands are prepared.
    batch: Option<u64>,
    overflowed: u64,
}

enum Arithmetic {
    /// INT8 codes into INT32 sums, exact modulo 2^32.
    Int32 { operands: Option<IntegerOperands> },
    /// INT8 codes into an accumulator of another width, or so many that 32 bits can overflow; sums of the whole batch, for
    /// each member of the team that has some.
    Integer { operands: Option<IntegerOperands>, accumulator: IntegerAccumulator, sums: Vec<Vec<i64>> },
    /// Codes with or without block scales into FP32 or BF16 sums in the plan's order.
    Float { operands: Option<Box<[Operand; 2]>>, plan: AccumulationPlan, open: OpenTiles },
}

/// Sums that are not final, by the first row and column of their output tile and by member: one tile where k is innermost,
/// and all that a pass along k leaves open where it is not. Sums that wait outside of the accumulators are as they were in
/// them.
type OpenTiles = BTreeMap<(u64, u64), Vec<Option<FloatTile>>>;

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

const PREPARED: &str = "the operands of the batch were prepared";
const INSIDE: &str = "tiles lie inside their tensors";

impl MatrixExecutor {
    pub(super) fn new(program: &Program, op: OpId, plan: &AccumulationPlan) -> MatrixExecutor {
        let OpKind::Gemm(gemm) = &program.op(op).kind else {
            unreachable!("the matrix operation of a nest is a product");
        };
        let is_exact = size(gemm.shape.k) <= int8::EXACT_DEPTH;
        let arithmetic = match plan.accumulator {
            Accumulator::Integer(IntegerAccumulator::INT32) if is_exact => Arithmetic::Int32 { operands: None },
            Accumulator::Integer(accumulator) => Arithmetic::Integer { operands: None, accumulator, sums: Vec::new() },
            Accumulator::Float { .. } => Arithmetic::Float { operands: None, plan: *plan, open: OpenTiles::new() },
        };
        MatrixExecutor { gemm: gemm.clone(), split: plan.split, arithmetic, batch: None, overflowed: 0 }
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
                let holders = if self.split.is_along_k() { self.split.members } else { 1 };
                *sums = vec![vec![0; size(gemm.shape.output().elements())]; size(holders)];
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

    /// Adds a tile's products to the partial sums of the members that share it; returns the number of multiply-accumulates.
    pub(super) fn run(&mut self, values: &mut Values, tile: &Tile) -> u64 {
        self.prepare(values, tile.batch);
        let mut macs = 0;
        for (member, part) in self.split.parts_of(*tile) {
            self.add(values, tile, size(member), &part);
            macs += part.m.len() * part.k.len() * part.n.len();
        }
        if tile.k.end == self.gemm.shape.k {
            self.finish(values, tile);
        }
        macs
    }

    /// First row and column of the batch in the output.
    fn origin(&self, batch: u64) -> (u64, u64) {
        let (rows, columns) = self.gemm.batching.output.spans(self.gemm.shape.output(), batch);
        (rows.start, columns.start)
    }

    /// Adds the products of one member's part of `tile`.
    fn add(&mut self, values: &mut Values, tile: &Tile, member: usize, part: &Tile) {
        let is_first_k = tile.k.start == 0;
        // What the accumulators hold when the first product of an output tile arrives; such products are not split along k.
        let initial = self.gemm.initial.filter(|_| is_first_k);
        let shape = self.gemm.shape;
        let (first_row, first_column) = self.origin(part.batch);
        // Where the part lies in the sums of all batches.
        let (output_rows, output_columns) = (part.m.shifted(first_row), part.n.shifted(first_column));
        let (m, k, n) = (range(part.m), range(part.k), range(part.n));
        match &mut self.arithmetic {
            Arithmetic::Int32 { operands } => {
                if let Some(initial) = initial {
                    for row in output_rows.start..output_rows.end {
                        let sums = values.sums_row(initial.sums, row, output_columns);
                        let sums: Vec<i64> = sums.iter().map(|sum| i64::from(initial.factor.of_i32(*sum))).collect();
                        values.write_sums(self.gemm.output, row, output_columns.start, &sums);
                    }
                }
                let operands = operands.as_ref().expect(PREPARED);
                let left = Matrix::dense(&operands.left, size(shape.m), size(shape.k)).expect("shapes are verified");
                let left = left.block(m, k.clone()).expect(INSIDE);
                let right = operands.right.block(k, n).expect(INSIDE);
                let whole = values.shape(self.gemm.output);
                let mut output = values.take(self.gemm.output);
                let Elements::I32(sums) = &mut output else {
                    unreachable!("an integer product has i32 sums");
                };
                let mut sums = MatrixMut::dense(sums, size(whole.rows), size(whole.columns)).expect(INSIDE);
                let sums = sums.block(range(output_rows), range(output_columns)).expect(INSIDE);
                int8::multiply_accumulate(left, right, sums).expect("blocks of one tile agree");
                values.put(self.gemm.output, output);
            }
            Arithmetic::Integer { operands, accumulator, sums } => {
                let operands = operands.as_ref().expect(PREPARED);
                let left = Matrix::dense(&operands.left, size(shape.m), size(shape.k)).expect("shapes are verified");
                let left = left.block(m.clone(), k.clone()).expect(INSIDE);
                let right = operands.right.block(k, n.clone()).expect(INSIDE);
                let sums = if self.split.is_along_k() { &mut sums[member] } else { &mut sums[0] };
                let mut all = MatrixMut::dense(sums, size(shape.m), size(shape.n)).expect("shapes are verified");
                let mut sums = all.block(m, n).expect(INSIDE);
                if let Some(initial) = initial {
                    for (index, row) in (output_rows.start..output_rows.end).enumerate() {
                        let held = values.sums_row(initial.sums, row, output_columns);
                        for (sum, held) in sums.row(index).iter_mut().zip(held) {
                            *sum = accumulator.add(0, i64::from(initial.factor.of_i32(held)));
                        }
                    }
                }
                integer::multiply_accumulate(*accumulator, left, right, sums).expect("tiles cut k between operations");
            }
            Arithmetic::Float { operands, plan, open } => {
                let Accumulator::Float { order, destination, depth } = plan.accumulator else {
                    unreachable!("float arithmetic has a float accumulator");
                };
                let [left, right] = &**operands.as_ref().expect(PREPARED);
                let tiles = open.entry((tile.m.start, tile.n.start)).or_default();
                tiles.resize_with(tiles.len().max(member + 1), || None);
                if is_first_k {
                    let fresh = FloatTile::try_new(m.len(), n.len(), size(depth), order, destination);
                    let mut fresh = fresh.expect("a dot unit has a depth");
                    if let Some(initial) = initial {
                        let mut held = Vec::with_capacity(m.len() * n.len());
                        for row in output_rows.start..output_rows.end {
                            values.read_row(initial.sums, row, output_columns, &mut held);
                        }
                        held.iter_mut().for_each(|sum| *sum = initial.factor.of_f32(*sum));
                        fresh.start_from(&held);
                    }
                    tiles[member] = Some(fresh);
                }
                let sums = tiles[member].as_mut().expect("k ascends from zero within an output tile");
                let left = left.part(m, k.clone()).expect(INSIDE);
                let right = right.part(n, k).expect(INSIDE);
                float::multiply_accumulate(&left, &right, sums).expect("tiles cut k between operations");
            }
        }
    }

    /// Reads the sums of an output tile, joins those of several members, and writes them.
    fn finish(&mut self, values: &mut Values, tile: &Tile) {
        let (first_row, first_column) = self.origin(tile.batch);
        match &mut self.arithmetic {
            Arithmetic::Int32 { .. } => {}
            Arithmetic::Integer { accumulator, sums, .. } => {
                let shape = self.gemm.shape;
                let (m, n) = (range(tile.m), range(tile.n));
                let (first, others) = sums.split_first_mut().expect("some member has sums");
                let mut all = MatrixMut::dense(first, size(shape.m), size(shape.n)).expect("shapes are verified");
                let mut sums = all.block(m.clone(), n.clone()).expect(INSIDE);
                self.overflowed += count_overflows(*accumulator, sums.reborrow());
                integer::read(*accumulator, sums.reborrow());
                for other in others {
                    let mut all = MatrixMut::dense(other, size(shape.m), size(shape.n)).expect("shapes are verified");
                    let mut other = all.block(m.clone(), n.clone()).expect(INSIDE);
                    self.overflowed += count_overflows(*accumulator, other.reborrow());
                    integer::read(*accumulator, other.reborrow());
                    for row in 0..other.rows() {
                        for (sum, part) in sums.row(row).iter_mut().zip(other.row(row)) {
                            *sum = accumulator.read(accumulator.add(*sum, *part));
                        }
                    }
                }
                for (index, row) in (tile.m.start..tile.m.end).enumerate() {
                    values.write_sums(self.gemm.output, first_row + row, first_column + tile.n.start, sums.row(index));
                }
            }
            Arithmetic::Float { open, .. } => {
                let tiles = open.remove(&(tile.m.start, tile.n.start)).expect("the tile has sums");
                let mut parts: Vec<(Tile, Vec<f32>)> = Vec::new();
                for (sums, member) in tiles.into_iter().zip(0..) {
                    let Some(sums) = sums else { continue };
                    let part = self.split.part(tile, member).unwrap_or(*tile);
                    match parts.first_mut() {
                        Some((_, joined)) if self.split.is_along_k() => join(joined, &sums.values()),
                        Some(_) | None => parts.push((part, sums.values())),
                    }
                }
                for (part, sums) in parts {
                    for (row, sums) in (part.m.start..part.m.end).zip(sums.chunks_exact(size(part.n.len()))) {
                        values.write_row(self.gemm.output, first_row + row, first_column + part.n.start, sums);
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

fn size(extent: u64) -> usize {
    usize::try_from(extent).expect("a tensor with values fits the address space")
}

fn range(span: Span) -> Range<usize> {
    size(span.start)..size(span.end)
}
