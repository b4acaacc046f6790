//! Matrix products `C += A x B` on integer, block-scaled and 16-bit floating point operands.
//!
//! Every kernel works on [`Matrix`] views with an explicit row stride, so a caller can compute one tile of a larger
//! product in place, and walk `k` in ascending segments: the bits do not depend on the tiling of `m` and `n`, nor on the
//! vector unit that the machine happens to have.
//!
//! The kernels know nothing of layers, schedules or buffers, and none of them allocates the output.

pub mod int8;
mod matrix;

pub use matrix::{Matrix, MatrixMut};

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
        rows: std::ops::Range<usize>,
        /// Columns asked for.
        columns: std::ops::Range<usize>,
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
