//! Tiles of matrix products.

use std::ops::Range;

use crate::execute::values::Values;
use crate::numerics::gemm::int8::{self, PackedB};
use crate::numerics::gemm::{Matrix, MatrixMut};
use crate::numerics::tensor::Elements;
use crate::program::Program;
use crate::program::op::{Gemm, OpId, OpKind};
use crate::schedule::grid::Tile;
use crate::shape::Span;

/// One product under way; its right operand is packed once.
pub(super) struct MatrixExecutor {
    gemm: Gemm,
    right: PackedB,
}

impl MatrixExecutor {
    pub(super) fn new(program: &Program, op: OpId, values: &Values) -> MatrixExecutor {
        let OpKind::Gemm(gemm) = &program.op(op).kind else {
            unreachable!("the matrix operation of a nest is a product");
        };
        let (rows, columns) = (size(gemm.shape.k), size(gemm.shape.n));
        let right = match values.elements(gemm.right) {
            Elements::I8(codes) => int8::prepare(Matrix::dense(codes, rows, columns).expect("shapes are verified")),
            other => unreachable!("an integer product has i8 codes, not {other:?}"),
        };
        MatrixExecutor { gemm: gemm.clone(), right }
    }

    /// Adds a tile's products to the partial sums; returns the number of multiply-accumulates.
    pub(super) fn run(&mut self, values: &mut Values, tile: &Tile) -> u64 {
        let shape = self.gemm.shape;
        let (m, k, n) = (range(tile.m), range(tile.k), range(tile.n));
        let mut output = values.take(self.gemm.output);
        let (Elements::I8(left), Elements::I32(sums)) = (values.elements(self.gemm.left), &mut output) else {
            unreachable!("an integer product multiplies i8 codes into i32 sums");
        };
        let left = Matrix::dense(left, size(shape.m), size(shape.k)).expect("shapes are verified");
        let left = left.block(m.clone(), k.clone()).expect("tiles lie inside their tensors");
        let right = self.right.block(k, n.clone()).expect("tiles lie inside their tensors");
        let mut sums = MatrixMut::dense(sums, size(shape.m), size(shape.n)).expect("shapes are verified");
        let sums = sums.block(m, n).expect("tiles lie inside their tensors");
        int8::multiply_accumulate(left, right, sums).expect("blocks of one tile agree");
        values.put(self.gemm.output, output);
        tile.m.len() * tile.k.len() * tile.n.len()
    }
}

fn size(extent: u64) -> usize {
    usize::try_from(extent).expect("a tensor with values fits the address space")
}

fn range(span: Span) -> Range<usize> {
    size(span.start)..size(span.end)
}
