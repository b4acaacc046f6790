//! Batches of equal matrix products, and how they lie in the matrices that hold their operands.
//!
//! A batch is a view: heads of attention stand side by side in the columns of a projection's output, and their scores one
//! below the other. So no operand is ever copied or transposed only to be split into heads; memories are read in rows
//! with a pitch.

use crate::shape::{MatrixShape, Span};

/// Along which axis of a matrix its batches lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchAxis {
    /// One below the other: `[batches * rows, columns]`.
    Rows,
    /// Side by side: `[rows, batches * columns]`.
    Columns,
}

impl BatchAxis {
    /// Axes by their name in files.
    pub const NAMES: [(&'static str, BatchAxis); 2] = [("rows", BatchAxis::Rows), ("columns", BatchAxis::Columns)];

    /// The axis along which the batches lie once the matrix is transposed.
    pub const fn turned(self) -> BatchAxis {
        match self {
            BatchAxis::Rows => BatchAxis::Columns,
            BatchAxis::Columns => BatchAxis::Rows,
        }
    }

    /// The matrix that holds `count` batches of shape `one`.
    pub const fn stacked(self, one: MatrixShape, count: u64) -> MatrixShape {
        match self {
            BatchAxis::Rows => MatrixShape::new(one.rows * count, one.columns),
            BatchAxis::Columns => MatrixShape::new(one.rows, one.columns * count),
        }
    }

    /// Rows and columns of batch `index`, each batch of shape `one`.
    pub const fn spans(self, one: MatrixShape, index: u64) -> (Span, Span) {
        let (row, column) = match self {
            BatchAxis::Rows => (index * one.rows, 0),
            BatchAxis::Columns => (0, index * one.columns),
        };
        (Span::new(row, row + one.rows), Span::new(column, column + one.columns))
    }
}

/// How many equal products there are, and where their operands lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batching {
    /// Number of products.
    pub count: u64,
    /// How many consecutive products share one right operand: 1, or the query heads of one key and value head. It divides
    /// `count`.
    pub right_sharing: u64,
    /// Where the left operands lie.
    pub left: BatchAxis,
    /// Where the right operands lie.
    pub right: BatchAxis,
    /// Where the products lie.
    pub output: BatchAxis,
}

impl Batching {
    /// A single product.
    pub const SINGLE: Batching =
        Batching { count: 1, right_sharing: 1, left: BatchAxis::Rows, right: BatchAxis::Rows, output: BatchAxis::Rows };

    /// Number of right operands.
    pub const fn right_count(&self) -> u64 {
        self.count / self.right_sharing
    }

    /// Which right operand a product uses.
    pub const fn right_of(&self, batch: u64) -> u64 {
        batch / self.right_sharing
    }

    /// Shape of one product in a matrix of `shape` that holds them all.
    pub const fn one_output(&self, shape: MatrixShape) -> MatrixShape {
        match self.output {
            BatchAxis::Rows => MatrixShape::new(shape.rows / self.count, shape.columns),
            BatchAxis::Columns => MatrixShape::new(shape.rows, shape.columns / self.count),
        }
    }
}

impl Default for Batching {
    fn default() -> Batching {
        Batching::SINGLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_their_matrix_once() {
        let one = MatrixShape::new(3, 5);
        for axis in [BatchAxis::Rows, BatchAxis::Columns] {
            let whole = axis.stacked(one, 4);
            let mut covered = vec![0; whole.elements() as usize];
            for index in 0..4 {
                let (rows, columns) = axis.spans(one, index);
                for row in rows.start..rows.end {
                    for column in columns.start..columns.end {
                        covered[(row * whole.columns + column) as usize] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|times| *times == 1), "{axis:?}");
        }
    }
}
