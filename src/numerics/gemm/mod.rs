//! Matrix products `C += A x B` on integer, block-scaled and 16-bit floating point operands.
//!
//! Every kernel works on [`Matrix`] views with an explicit row stride, so a caller can compute one tile of a larger
//! product in place, and walk `k` in ascending segments: the bits do not depend on the tiling of `m` and `n`, nor on the
//! vector unit that the machine happens to have.
//!
//! The kernels know nothing of layers, schedules or buffers, and none of them allocates the output.

pub mod dequantize;
pub mod float;
pub mod int8;
#[cfg(feature = "vnni")]
mod int8_vnni;
pub mod integer;
mod matrix;
mod operand;
mod panels;
pub mod zero_points;

use std::ops::Range;

pub use matrix::{Matrix, MatrixMut};
pub use operand::{BlockScales, Operand, OperandPart};

use crate::numerics::formats::ElementFormat;

/// Why a product was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GemmError {
    /// A view would reach past the end of its elements.
    #[error("a view of {rows} x {columns} elements with a row stride of {stride} does not fit in {available} elements")]
    ViewOutOfBounds {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Elements from the start of one row to the start of the next.
        stride: usize,
        /// Elements that the slice holds.
        available: usize,
    },
    /// A block does not lie inside the view it was cut from.
    #[error("the block of rows {rows:?} and columns {columns:?} is not inside a view of {of_rows} x {of_columns}")]
    BlockOutOfBounds {
        /// Rows asked for.
        rows: Range<usize>,
        /// Columns asked for.
        columns: Range<usize>,
        /// Rows of the view.
        of_rows: usize,
        /// Columns of the view.
        of_columns: usize,
    },
    /// The three shapes do not make a product.
    #[error("A is {a_rows} x {a_columns}, B is {b_rows} x {b_columns}, C is {c_rows} x {c_columns}: not a product")]
    ShapeMismatch {
        /// Rows of A.
        a_rows: usize,
        /// Columns of A, the depth of the product.
        a_columns: usize,
        /// Rows of B, the depth of the product.
        b_rows: usize,
        /// Columns of B.
        b_columns: usize,
        /// Rows of C.
        c_rows: usize,
        /// Columns of C.
        c_columns: usize,
    },
    /// The kernel has no use for elements of this format.
    #[error("elements of format {format} cannot be multiplied here")]
    UnsupportedFormat {
        /// The format given.
        format: &'static ElementFormat,
    },
    /// The number of scales is not one a block.
    #[error("{given} block scales for {rows} rows of {k} elements in blocks of {block}")]
    WrongScales {
        /// Rows of the operand.
        rows: usize,
        /// Elements of a row.
        k: usize,
        /// Elements of a block.
        block: usize,
        /// Scales given.
        given: usize,
    },
    /// The operands are scaled in other blocks than the accumulators expect.
    #[error("the operand has blocks of {operand} elements, the accumulators expect {accumulator}")]
    BlockMismatch {
        /// Elements of a block of the operand.
        operand: usize,
        /// Elements of a block as the accumulators count.
        accumulator: usize,
    },
    /// The operands give different segments of k.
    #[error("A gives k {a:?}, B gives k {b:?}, or their depths differ")]
    SegmentMismatch {
        /// Segment of A.
        a: Range<usize>,
        /// Segment of B.
        b: Range<usize>,
    },
    /// A segment of k would cut one operation of the accumulation order in two.
    #[error("k {segment:?} does not start and end at a multiple of {step}, the products of one operation")]
    SplitOperation {
        /// The segment given.
        segment: Range<usize>,
        /// Products of one operation.
        step: usize,
    },
    /// A slice has another length than the shape asks for.
    #[error("{what}: {expected} elements are needed, {given} were given")]
    WrongLength {
        /// Which argument.
        what: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        given: usize,
    },
}

fn check_length(what: &'static str, expected: usize, given: usize) -> Result<(), GemmError> {
    if expected == given { Ok(()) } else { Err(GemmError::WrongLength { what, expected, given }) }
}

/// Holds the three shapes of a product against each other; each is `(rows, columns)`.
fn check_shapes(a: (usize, usize), b: (usize, usize), c: (usize, usize)) -> Result<(), GemmError> {
    if a.1 == b.0 && a.0 == c.0 && b.1 == c.1 {
        return Ok(());
    }
    Err(GemmError::ShapeMismatch {
        a_rows: a.0,
        a_columns: a.1,
        b_rows: b.0,
        b_columns: b.1,
        c_rows: c.0,
        c_columns: c.1,
    })
}
