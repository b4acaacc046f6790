//! Tiles of matrix products.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::execute::values::Values;
use crate::execute::{batches, exact_sums};
use crate::numerics::accumulate::{IntegerAccumulator, IntegerOverflow};
use crate::numerics::gemm::float::{self, FloatTile};
use crate::numerics::gemm::int8::{self, PackedB};
use crate::numerics::gemm::{Matrix, MatrixMut, Operand, integer};
use crate::numerics::tensor::Elements;
use crate::program::Program;
use crate::program::channels::InitialSums;
use crate::program::op::{Gemm, OpId, OpKind, RightLayout};
use crate::schedule::Schedule;
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
}

enum Arithmetic {
    /// INT8 codes into INT32 sums that no codes can make too large.
    Int32 { operands: Option<IntegerOperands> },
    /// INT8 codes into an accumulator that some codes can make overflow.
    Integer(IntegerSums),
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
        let [left, right] = integer_codes(values, gemm, batch);
        IntegerOperands::packed(left, &right, gemm)
    }

    fn packed(left: Vec<i8>, right: &[i8], gemm: &Gemm) -> IntegerOperands {
        let right = Matrix::dense(right, size(gemm.shape.k), size(gemm.shape.n)).expect("shapes are verified");
        IntegerOperands { left, right: int8::prepare(right) }
    }
}

/// `[m, k]` and `[k, n]` codes of one batch, row-major.
fn integer_codes(values: &Values, gemm: &Gemm, batch: u64) -> [Vec<i8>; 2] {
    let codes = |elements: Elements| match elements {
        Elements::I8(codes) => codes,
        other => unreachable!("an integer product has i8 codes, not {other:?}"),
    };
    let right = batches::right(values, gemm, batch);
    let right = match gemm.right_layout {
        RightLayout::KByN => right.into_elements(),
        RightLayout::NByK => right.transposed().into_elements(),
    };
    [codes(batches::left(values, gemm, batch).into_elements()), codes(right)]
}

/// The sums of one batch in accumulators that may overflow.
struct IntegerSums {
    operands: Option<IntegerOperands>,
    accumulator: IntegerAccumulator,
    /// The largest magnitude that the product may start from, where that is sure to be exact.
    bound_of_start: Option<i64>,
    /// Running sums of each member of the team that has some.
    sums: Vec<Vec<i64>>,
    /// The exact sums of all products, for an accumulator that saturates on the way; empty where the running sums show them.
    products: Vec<i64>,
}

impl IntegerSums {
    fn prepare(&mut self, values: &Values, gemm: &Gemm, batch: u64, holders: u64) {
        let [left, right] = integer_codes(values, gemm, batch);
        let largest = |codes: &[i8]| codes.iter().map(|code| i64::from(code.unsigned_abs())).max().unwrap_or(0);
        let products = largest(&left) * largest(&right) * gemm.shape.k.cast_signed();
        let may_overflow =
            self.bound_of_start.is_none_or(|start| start.saturating_add(products) > self.accumulator.largest());
        let outputs = size(gemm.shape.output().elements());
        self.sums = vec![vec![0; outputs]; size(holders)];
        self.products = vec![0; if may_overflow && !self.accumulator.adjusts_at_end() { outputs } else { 0 }];
        self.operands = Some(IntegerOperands::packed(left, &right, gemm));
    }

    /// Adds the products of a part of an output tile to the sums of `holder`, which start from `start` where that is given.
    fn add(&mut self, gemm: &Gemm, holder: usize, part: &Tile, start: Option<Vec<Start>>) {
        let operands = self.operands.as_ref().expect(PREPARED);
        let shape = gemm.shape;
        let (m, k, n) = (range(part.m), range(part.k), range(part.n));
        let left = Matrix::dense(&operands.left, size(shape.m), size(shape.k)).expect("shapes are verified");
        let left = left.block(m.clone(), k.clone()).expect(INSIDE);
        let right = operands.right.block(k, n.clone()).expect(INSIDE);
        let mut all =
            MatrixMut::dense(&mut self.sums[holder], size(shape.m), size(shape.n)).expect("shapes are verified");
        let mut sums = all.block(m.clone(), n.clone()).expect(INSIDE);
        for (index, start) in start.iter().flatten().enumerate() {
            sums.row(index).copy_from_slice(&start.held);
        }
        const CUT: &str = "tiles cut k between operations";
        if self.products.is_empty() {
            // Nothing saturates before the end.
            int8::multiply_accumulate_wide(left, right, sums).expect(CUT);
        } else {
            integer::multiply_accumulate(self.accumulator, left, right, sums).expect(CUT);
            let mut all =
                MatrixMut::dense(&mut self.products, size(shape.m), size(shape.n)).expect("shapes are verified");
            int8::multiply_accumulate_wide(left, right, all.block(m, n).expect(INSIDE)).expect(CUT);
        }
    }

    /// What is read of one row of an output tile once the members' sums are joined, and the exact sums.
    fn read(&self, row: Range<usize>, start: Option<&Start>) -> (Vec<i64>, Vec<i64>) {
        let (first, others) = self.sums.split_first().expect("some member has sums");
        let mut joined: Vec<i64> = first[row.clone()].iter().map(|sum| self.accumulator.read(*sum)).collect();
        for other in others {
            for (sum, part) in joined.iter_mut().zip(&other[row.clone()]) {
                *sum = self.accumulator.read(self.accumulator.add(*sum, self.accumulator.read(*part)));
            }
        }
        let mut exact = if self.products.is_empty() {
            let mut exact = vec![0; row.len()];
            for sums in &self.sums {
                exact.iter_mut().zip(&sums[row.clone()]).for_each(|(exact, sum)| *exact += sum);
            }
            exact.iter_mut().zip(start.iter().flat_map(|start| &start.held)).for_each(|(exact, held)| *exact -= held);
            exact
        } else {
            self.products[row].to_vec()
        };
        let starts = start.iter().flat_map(|start| &start.exact);
        exact.iter_mut().zip(starts).for_each(|(exact, start)| *exact = exact.saturating_add(*start));
        (joined, exact)
    }
}

/// What the accumulators of one row hold before the first product, and what they would hold if they had no end.
struct Start {
    held: Vec<i64>,
    exact: Vec<i64>,
}

impl Start {
    fn of(accumulator: IntegerAccumulator, initial: InitialSums, values: &Values, row: u64, columns: Span) -> Start {
        let held = values.sums_row(initial.sums, row, columns);
        let exact = values.exact_sums_row(initial.sums, row, columns);
        Start {
            held: held.iter().map(|sum| accumulator.add(0, i64::from(initial.factor.of_i32(*sum)))).collect(),
            exact: exact.iter().map(|sum| initial.factor.of_exact(*sum)).collect(),
        }
    }
}

const PREPARED: &str = "the operands of the batch were prepared";
const INSIDE: &str = "tiles lie inside their tensors";

impl MatrixExecutor {
    pub(super) fn new(program: &Program, schedule: &Schedule, op: OpId, plan: &AccumulationPlan) -> MatrixExecutor {
        let OpKind::Gemm(gemm) = &program.op(op).kind else {
            unreachable!("the matrix operation of a nest is a product");
        };
        let is_exact = exact_sums::bound(program, schedule, gemm.output).is_some();
        let arithmetic = match plan.accumulator {
            Accumulator::Integer(IntegerAccumulator::INT32) if is_exact => Arithmetic::Int32 { operands: None },
            Accumulator::Integer(accumulator) => Arithmetic::Integer(IntegerSums {
                operands: None,
                accumulator,
                bound_of_start: exact_sums::bound_of_start(program, schedule, gemm),
                sums: Vec::new(),
                products: Vec::new(),
            }),
            Accumulator::Float { .. } => Arithmetic::Float { operands: None, plan: *plan, open: OpenTiles::new() },
        };
        MatrixExecutor { gemm: gemm.clone(), split: plan.split, arithmetic, batch: None }
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
            Arithmetic::Integer(sums) => {
                let holders = if self.split.is_along_k() { self.split.members } else { 1 };
                sums.prepare(values, gemm, batch, holders);
            }
            Arithmetic::Float { operands, .. } => {
                *operands = Some(Box::new(batches::float_operands(values, gemm, batch)));
            }
        }
    }

    /// Whether the order of tiles cannot change a bit.
    pub(super) fn is_order_free(&self) -> bool {
        match self.arithmetic {
            Arithmetic::Int32 { .. } => true,
            // Sums modulo a power of two have no order, also not those of several members.
            Arithmetic::Integer(IntegerSums { accumulator, .. }) => accumulator.overflow() == IntegerOverflow::Wrap,
            Arithmetic::Float { .. } => false,
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
                        values.write_sums(self.gemm.output, row, output_columns.start, &sums, &sums);
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
            Arithmetic::Integer(sums) => {
                let start = initial.map(|initial| {
                    let rows = output_rows.start..output_rows.end;
                    rows.map(|row| Start::of(sums.accumulator, initial, values, row, output_columns)).collect()
                });
                sums.add(&self.gemm, if self.split.is_along_k() { member } else { 0 }, part, start);
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
            Arithmetic::Integer(sums) => {
                let columns = tile.n.shifted(first_column);
                for row in tile.m.start..tile.m.end {
                    let output_row = first_row + row;
                    let start = self.gemm.initial;
                    let start = start.map(|initial| Start::of(sums.accumulator, initial, values, output_row, columns));
                    let of_batch = row * self.gemm.shape.n;
                    let (read, exact) = sums.read(range(tile.n.shifted(of_batch)), start.as_ref());
                    values.write_sums(self.gemm.output, output_row, columns.start, &read, &exact);
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

fn size(extent: u64) -> usize {
    usize::try_from(extent).expect("a tensor with values fits the address space")
}

fn range(span: Span) -> Range<usize> {
    size(span.start)..size(span.end)
}
