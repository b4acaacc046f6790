//! Shapes of matrices and of matrix products, and the arithmetic of tiling them.

use std::fmt;

/// Rows x columns of a row-major matrix. A vector is a matrix of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct MatrixShape {
    /// Number of rows.
    pub rows: u64,
    /// Number of columns.
    pub columns: u64,
}

impl MatrixShape {
    /// A shape of `rows` x `columns`.
    pub const fn new(rows: u64, columns: u64) -> MatrixShape {
        MatrixShape { rows, columns }
    }

    /// Number of elements.
    pub const fn elements(self) -> u64 {
        self.rows * self.columns
    }
}

impl fmt::Display for MatrixShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.rows, self.columns)
    }
}

/// The shape of `Y[m, n] = X[m, k] * W[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct GemmShape {
    /// Rows of X and Y (tokens).
    pub m: u64,
    /// Columns of X, rows of W (input channels).
    pub k: u64,
    /// Columns of W and Y (output channels).
    pub n: u64,
}

impl GemmShape {
    /// A product of `[m, k]` by `[k, n]`.
    pub const fn new(m: u64, k: u64, n: u64) -> GemmShape {
        GemmShape { m, k, n }
    }

    /// Multiply-accumulates of the dense product, `m * k * n`.
    pub const fn macs(self) -> u64 {
        self.m * self.k * self.n
    }

    /// Shape of the left operand, `[m, k]`.
    pub const fn left(self) -> MatrixShape {
        MatrixShape::new(self.m, self.k)
    }

    /// Shape of the right operand, `[k, n]`.
    pub const fn right(self) -> MatrixShape {
        MatrixShape::new(self.k, self.n)
    }

    /// Shape of the product, `[m, n]`.
    pub const fn output(self) -> MatrixShape {
        MatrixShape::new(self.m, self.n)
    }
}

impl fmt::Display for GemmShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}x{}", self.m, self.k, self.n)
    }
}

/// A half-open range of indices along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Span {
    /// First index.
    pub start: u64,
    /// One past the last index.
    pub end: u64,
}

impl Span {
    /// The indices `start..end`.
    pub const fn new(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    /// The indices `start + by..end + by`.
    #[inline]
    pub const fn shifted(self, by: u64) -> Span {
        Span { start: self.start + by, end: self.end + by }
    }

    /// Number of indices.
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds no index.
    pub const fn is_empty(self) -> bool {
        self.end == self.start
    }
}

/// One axis of `extent` indices cut into blocks of `block`; the last block may be ragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Blocking {
    extent: u64,
    block: u64,
    count: u64,
}

impl Blocking {
    /// Cuts `extent` into blocks of at most `block` (clamped to `1..=extent`).
    pub const fn new(extent: u64, block: u64) -> Blocking {
        let block = if block == 0 {
            1
        } else if extent != 0 && block > extent {
            extent
        } else {
            block
        };
        Blocking { extent, block, count: extent.div_ceil(block) }
    }

    /// One block that covers the whole axis.
    pub const fn whole(extent: u64) -> Blocking {
        Blocking::new(extent, extent)
    }

    /// Indices along the axis.
    pub const fn extent(self) -> u64 {
        self.extent
    }

    /// Indices in each block but possibly the last.
    pub const fn block(self) -> u64 {
        self.block
    }

    /// Number of blocks, the ragged one included.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// Whether block `index` is the last one.
    pub const fn is_last(self, index: u64) -> bool {
        index + 1 == self.count
    }

    /// The indices of block `index`.
    pub const fn span(self, index: u64) -> Span {
        let start = index * self.block;
        let end = start + self.block;
        Span::new(start, if end > self.extent { self.extent } else { end })
    }
}

/// Blocks of neighbouring indices of an axis that start anew after each run of them: a block never spans two runs, and the
/// last one of a run may be ragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRuns {
    block: u64,
    run: u64,
}

impl BlockRuns {
    /// Each index is a block.
    pub const SINGLE: BlockRuns = BlockRuns { block: 1, run: 1 };

    /// Blocks of `block` indices in runs of `run`; both are at least 1.
    pub const fn new(block: u64, run: u64) -> BlockRuns {
        BlockRuns { block, run }
    }

    /// Indices of a block, but for a ragged one.
    pub const fn block(self) -> u64 {
        self.block
    }

    /// Indices of a run.
    pub const fn run(self) -> u64 {
        self.run
    }

    /// Blocks of `extent` indices from the start of a run.
    pub const fn count(self, extent: u64) -> u64 {
        extent / self.run * self.run.div_ceil(self.block) + (extent % self.run).div_ceil(self.block)
    }

    /// The block that holds `index`.
    pub const fn block_of(self, index: u64) -> u64 {
        index / self.run * self.run.div_ceil(self.block) + index % self.run / self.block
    }

    /// The blocks that indices are in. An empty span is in none.
    pub const fn blocks_of(self, span: Span) -> Span {
        Span::new(self.block_of(span.start), self.count(span.end))
    }
}

/// The smallest number that both divide; both are at least 1.
pub const fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut larger, mut smaller) = (a, b);
    while smaller != 0 {
        (larger, smaller) = (smaller, larger % smaller);
    }
    a / larger * b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_start_anew_with_each_run() {
        // Runs of 7 in blocks of 3: 3, 3 and 1. Counted index by index.
        let runs = BlockRuns::new(3, 7);
        let blocks: Vec<u64> = [0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5, 6, 6].to_vec();
        for (index, block) in blocks.iter().enumerate() {
            assert_eq!(runs.block_of(index as u64), *block);
            assert_eq!(runs.count(index as u64 + 1), block + 1);
        }
        assert_eq!(runs.count(0), 0);
        assert_eq!(runs.blocks_of(Span::new(3, 14)), Span::new(1, 6));
        assert_eq!(runs.blocks_of(Span::new(7, 7)), Span::new(3, 3));
        assert_eq!(BlockRuns::SINGLE.blocks_of(Span::new(2, 5)), Span::new(2, 5));
    }

    #[test]
    fn the_last_block_is_ragged_and_the_blocks_cover_the_axis_once() {
        let blocking = Blocking::new(10, 4);
        assert_eq!(blocking.count(), 3);
        assert_eq!(blocking.span(2), Span::new(8, 10));
        let covered: u64 = (0..blocking.count()).map(|index| blocking.span(index).len()).sum();
        assert_eq!(covered, 10);
    }
}
