//! Row-major views of a matrix, whole or a block of a larger one.

use std::ops::Range;

use crate::numerics::gemm::GemmError;

/// A read-only row-major view: element `(i, j)` stands at `i * stride + j`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    elements: &'a [T],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A view of `rows` x `columns` elements whose rows start `stride` elements apart.
    ///
    /// # Errors
    /// [`GemmError::ViewOutOfBounds`] when the last row would end past `elements`, or rows would overlap.
    pub fn try_new(elements: &'a [T], rows: usize, columns: usize, stride: usize) -> Result<Self, GemmError> {
        check_bounds(elements.len(), rows, columns, stride)?;
        Ok(Self { elements, rows, columns, stride })
    }

    /// A view of a matrix without gaps between its rows.
    ///
    /// # Errors
    /// [`GemmError::ViewOutOfBounds`] when `elements` is shorter than `rows * columns`.
    pub fn dense(elements: &'a [T], rows: usize, columns: usize) -> Result<Self, GemmError> {
        Self::try_new(elements, rows, columns, columns)
    }

    /// The block of the given rows and columns, in place.
    ///
    /// # Errors
    /// [`GemmError::BlockOutOfBounds`] when the block is not inside this view.
    pub fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Result<Self, GemmError> {
        check_block(&rows, &columns, self.rows, self.columns)?;
        let start = (rows.start * self.stride + columns.start).min(self.elements.len());
        let elements = &self.elements[start..];
        Ok(Self { elements, rows: rows.len(), columns: columns.len(), stride: self.stride })
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The elements of row `i`, which must be below [`Self::rows`].
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        if self.columns == 0 {
            return &[];
        }
        &self.elements[i * self.stride..][..self.columns]
    }

    /// The elements from the first of row 0 on, and how many lie between the starts of two rows.
    #[cfg(feature = "vnni")]
    pub(super) fn elements_and_stride(&self) -> (&'a [T], usize) {
        (self.elements, self.stride)
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }
}

/// A writable row-major view: element `(i, j)` stands at `i * stride + j`.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    elements: &'a mut [T],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a, T> MatrixMut<'a, T> {
    /// A writable view of `rows` x `columns` elements whose rows start `stride` elements apart.
    ///
    /// # Errors
    /// [`GemmError::ViewOutOfBounds`] when the last row would end past `elements`, or rows would overlap.
    pub fn try_new(elements: &'a mut [T], rows: usize, columns: usize, stride: usize) -> Result<Self, GemmError> {
        check_bounds(elements.len(), rows, columns, stride)?;
        Ok(Self { elements, rows, columns, stride })
    }

    /// A writable view of a matrix without gaps between its rows.
    ///
    /// # Errors
    /// [`GemmError::ViewOutOfBounds`] when `elements` is shorter than `rows * columns`.
    pub fn dense(elements: &'a mut [T], rows: usize, columns: usize) -> Result<Self, GemmError> {
        Self::try_new(elements, rows, columns, columns)
    }

    /// The writable block of the given rows and columns, in place.
    ///
    /// # Errors
    /// [`GemmError::BlockOutOfBounds`] when the block is not inside this view.
    pub fn block(&mut self, rows: Range<usize>, columns: Range<usize>) -> Result<MatrixMut<'_, T>, GemmError> {
        check_block(&rows, &columns, self.rows, self.columns)?;
        let start = (rows.start * self.stride + columns.start).min(self.elements.len());
        let elements = &mut self.elements[start..];
        Ok(MatrixMut { elements, rows: rows.len(), columns: columns.len(), stride: self.stride })
    }

    /// The same view again, for a callee that consumes it.
    #[inline]
    pub fn reborrow(&mut self) -> MatrixMut<'_, T> {
        MatrixMut { elements: self.elements, rows: self.rows, columns: self.columns, stride: self.stride }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The writable elements of row `i`, which must be below [`Self::rows`].
    #[inline]
    pub fn row(&mut self, i: usize) -> &mut [T] {
        if self.columns == 0 {
            return &mut [];
        }
        &mut self.elements[i * self.stride..][..self.columns]
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }
}

fn check_bounds(available: usize, rows: usize, columns: usize, stride: usize) -> Result<(), GemmError> {
    let refused = GemmError::ViewOutOfBounds { rows, columns, stride, available };
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    if rows > 1 && stride < columns {
        return Err(refused);
    }
    let end = (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns));
    if end.is_some_and(|end| end <= available) { Ok(()) } else { Err(refused) }
}

fn check_block(
    rows: &Range<usize>,
    columns: &Range<usize>,
    of_rows: usize,
    of_columns: usize,
) -> Result<(), GemmError> {
    let inside = |range: &Range<usize>, size: usize| range.start <= range.end && range.end <= size;
    if inside(rows, of_rows) && inside(columns, of_columns) {
        return Ok(());
    }
    Err(GemmError::BlockOutOfBounds { rows: rows.clone(), columns: columns.clone(), of_rows, of_columns })
}

#[cfg(test)]
mod tests {
    use super::{Matrix, MatrixMut};

    #[test]
    fn a_block_of_a_view_reads_and_writes_its_own_elements_only() {
        let numbers: Vec<i32> = (0..20).collect();
        let whole = Matrix::dense(&numbers, 4, 5).unwrap();
        let block = whole.block(1..3, 2..5).unwrap();
        assert_eq!(block.row(0), &[7, 8, 9]);
        assert_eq!(block.row(1), &[12, 13, 14]);

        let mut target = vec![0; 20];
        let mut view = MatrixMut::dense(&mut target, 4, 5).unwrap();
        view.block(3..4, 4..5).unwrap().row(0)[0] = 1;
        assert_eq!(target.iter().sum::<i32>(), 1);
        assert_eq!(target[19], 1);
    }

    #[test]
    fn a_view_past_the_end_of_its_elements_is_refused() {
        let numbers = [0u8; 11];
        assert!(Matrix::dense(&numbers, 3, 4).is_err());
        assert!(Matrix::try_new(&numbers, 3, 3, 4).is_ok(), "the last row needs no gap after it");
        assert!(Matrix::try_new(&numbers, 2, 3, 2).is_err(), "rows must not overlap");
        assert!(Matrix::try_new(&numbers, usize::MAX, 1, 2).is_err());
    }

    #[test]
    fn a_block_outside_its_view_is_refused_and_an_empty_one_is_not() {
        let numbers = [0u8; 12];
        let view = Matrix::dense(&numbers, 3, 4).unwrap();
        assert!(view.block(0..4, 0..1).is_err());
        assert!(view.block(0..1, 3..5).is_err());
        assert_eq!(view.block(3..3, 4..4).unwrap().rows(), 0);
    }
}
