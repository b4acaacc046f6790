//! INT8 products with INT32 accumulation: a triple loop to trust, and a fast kernel that is held against it.
//!
//! Integer sums are exact in any order, so the fast kernel may vectorise along `k`. It repacks B once, column by column
//! ([`PackedB`]), and computes 2 x 4 outputs at a time as dot products of contiguous bytes; the compiler turns those into
//! widening multiply-adds of the widest unit that the machine reports at run time. The loop body is written once and
//! compiled for each [`InstructionSet`]. With the `vnni` feature, products large enough to repay its set-up go to the
//! kernel of `int8_vnni` where the machine has AVX-512 VNNI; callers see no difference but the time.
//!
//! All sums are taken modulo 2^32, which is what a wrapping 32-bit accumulator holds in whatever order it is fed. They
//! are the exact sums while those fit: from a zero C that is every `k` up to [`EXACT_DEPTH`]. For deeper products use
//! [`multiply_accumulate_wide`], which is exact for every `k`.

use multiversion::multiversion;

#[cfg(feature = "vnni")]
use crate::numerics::gemm::int8_vnni;
use crate::numerics::gemm::{GemmError, Matrix, MatrixMut, check_shapes};

/// The largest `k` whose products cannot leave an INT32 accumulator that started from zero: `k * 128 * 128 < 2^31`.
pub const EXACT_DEPTH: usize = (1 << 31) / (128 * 128) - 1;

/// Outputs of one inner loop: rows of A times columns of B.
const TILE_ROWS: usize = 2;
const TILE_COLUMNS: usize = 4;

/// B with each of its columns contiguous: the weights of a layer, packed once and used for every row block.
#[derive(Debug, Clone)]
pub struct PackedB {
    columns: Vec<i8>,
    k: usize,
    n: usize,
    #[cfg(feature = "vnni")]
    panels: int8_vnni::PanelStore,
}

impl PackedB {
    /// Depth of the product: the rows of B.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The part of B in the given rows and columns, without copying.
    ///
    /// # Errors
    /// [`GemmError::BlockOutOfBounds`] when the block is not inside B.
    pub fn block(
        &self,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) -> Result<PackedBlock<'_>, GemmError> {
        let transposed = Matrix::dense(&self.columns, self.n, self.k)?;
        let swapped = |_| GemmError::BlockOutOfBounds {
            rows: rows.clone(),
            columns: columns.clone(),
            of_rows: self.k,
            of_columns: self.n,
        };
        Ok(PackedBlock {
            transposed: transposed.block(columns.clone(), rows.clone()).map_err(swapped)?,
            #[cfg(feature = "vnni")]
            panels: &self.panels,
            #[cfg(feature = "vnni")]
            origin: (rows.start, columns.start),
        })
    }

    /// All of B.
    pub fn whole(&self) -> PackedBlock<'_> {
        self.block(0..self.k, 0..self.n).expect("the whole of B lies inside B")
    }
}

/// A block of a [`PackedB`].
#[derive(Debug, Clone, Copy)]
pub struct PackedBlock<'a> {
    /// Row `j` holds column `j` of B.
    transposed: Matrix<'a, i8>,
    #[cfg(feature = "vnni")]
    panels: &'a int8_vnni::PanelStore,
    /// Row and column of B where the block starts.
    #[cfg(feature = "vnni")]
    origin: (usize, usize),
}

impl<'a> PackedBlock<'a> {
    /// The elements of column `j`, k ascending; `j` is below the number of columns.
    pub(super) fn column(&self, j: usize) -> &[i8] {
        self.transposed.row(j)
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.transposed.columns(), self.transposed.rows())
    }

    /// The block with its columns as rows.
    #[cfg(feature = "vnni")]
    pub(super) fn transposed(&self) -> Matrix<'a, i8> {
        self.transposed
    }

    /// Where the panels of B are kept, and the row and column of B where this block starts.
    #[cfg(feature = "vnni")]
    pub(super) fn panels(&self) -> (&'a int8_vnni::PanelStore, (usize, usize)) {
        (self.panels, self.origin)
    }
}

/// Packs B (`k` x `n`) for [`multiply_accumulate`].
pub fn prepare(b: Matrix<'_, i8>) -> PackedB {
    // Square blocks go through a buffer of their own: written straight to `columns`, the lines of one block lie `k` bytes
    // apart, and where `k` is a large power of two they evict each other from the first-level cache.
    const BLOCK: usize = 32;
    let (k, n) = b.shape();
    let mut columns = vec![0; k * n];
    let mut transposed = [[0; BLOCK]; BLOCK];
    for (first_k, first_n) in (0..k).step_by(BLOCK).flat_map(|p| (0..n).step_by(BLOCK).map(move |j| (p, j))) {
        let (depth, width) = (BLOCK.min(k - first_k), BLOCK.min(n - first_n));
        for p in 0..depth {
            for (column, &weight) in transposed.iter_mut().zip(&b.row(first_k + p)[first_n..][..width]) {
                column[p] = weight;
            }
        }
        for (j, column) in transposed[..width].iter().enumerate() {
            columns[(first_n + j) * k + first_k..][..depth].copy_from_slice(&column[..depth]);
        }
    }
    PackedB {
        columns,
        k,
        n,
        #[cfg(feature = "vnni")]
        panels: int8_vnni::PanelStore::new(k * n),
    }
}

/// The vector units that the kernel is compiled for, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// Whatever the target of the build guarantees (SSE2 on x86-64).
    Baseline,
    /// 256-bit integer vectors.
    Avx2,
    /// 512-bit integer vectors with all that Ice Lake and its successors have; on earlier AVX-512 processors, whose clock
    /// drops under them, the narrower vectors serve.
    Avx512,
}

impl InstructionSet {
    const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// Those that this machine can run, narrowest first; never empty.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The widest that this machine can run.
    pub fn widest() -> Self {
        Self::ALL.into_iter().rev().find(|set| set.is_available()).unwrap_or(Self::Baseline)
    }

    /// Must name every feature that `multiversion` asks for, or a kernel would fall back to the baseline unseen.
    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        use std::is_x86_feature_detected;
        match self {
            Self::Baseline => true,
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512ifma")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("avx512vbmi2")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512bitalg")
                    && is_x86_feature_detected!("avx512vpopcntdq")
                    && is_x86_feature_detected!("gfni")
                    && is_x86_feature_detected!("vaes")
                    && is_x86_feature_detected!("vpclmulqdq")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Baseline
    }
}

/// `C += A x B` modulo 2^32, with the fastest kernel of this machine.
///
/// A is `m` x `k`, B is `k` x `n`, C is `m` x `n`.
///
/// # Errors
/// [`GemmError::ShapeMismatch`] when the shapes do not make a product.
pub fn multiply_accumulate(a: Matrix<'_, i8>, b: PackedBlock<'_>, c: MatrixMut<'_, i32>) -> Result<(), GemmError> {
    #[cfg(feature = "vnni")]
    let mut c = c;
    #[cfg(feature = "vnni")]
    if check_shapes(a.shape(), b.shape(), c.shape()).is_ok() && int8_vnni::multiply_accumulate(a, b, &mut c) {
        return Ok(());
    }
    multiply_accumulate_with(InstructionSet::widest(), a, b, c)
}

/// [`multiply_accumulate`] on a chosen vector unit; one that this machine lacks falls back to the baseline.
///
/// # Errors
/// [`GemmError::ShapeMismatch`] when the shapes do not make a product.
pub fn multiply_accumulate_with(
    set: InstructionSet,
    a: Matrix<'_, i8>,
    b: PackedBlock<'_>,
    mut c: MatrixMut<'_, i32>,
) -> Result<(), GemmError> {
    check_shapes(a.shape(), b.shape(), c.shape())?;
    run(set, a, b.transposed, &mut c);
    Ok(())
}

fn run(set: InstructionSet, a: Matrix<'_, i8>, columns: Matrix<'_, i8>, c: &mut MatrixMut<'_, i32>) {
    match set {
        InstructionSet::Baseline => kernel(a, columns, c),
        InstructionSet::Avx2 => kernel_avx2(a, columns, c),
        InstructionSet::Avx512 => kernel_avx512(a, columns, c),
    }
}

/// `C += A x B` in 64 bits, exact for every `k` (up to 2^49 products of full size from a zero C).
///
/// # Errors
/// [`GemmError::ShapeMismatch`] when the shapes do not make a product.
pub fn multiply_accumulate_wide(
    a: Matrix<'_, i8>,
    b: PackedBlock<'_>,
    mut c: MatrixMut<'_, i64>,
) -> Result<(), GemmError> {
    check_shapes(a.shape(), b.shape(), c.shape())?;
    let (k, n) = b.shape();
    let set = InstructionSet::widest();
    let mut partial = vec![0i32; n];
    for i in 0..a.rows() {
        for start in (0..k).step_by(EXACT_DEPTH) {
            let segment = start..k.min(start + EXACT_DEPTH);
            partial.fill(0);
            let columns = b.transposed.block(0..n, segment.clone())?;
            run(set, a.block(i..i + 1, segment)?, columns, &mut MatrixMut::dense(&mut partial, 1, n)?);
            for (sum, &part) in c.row(i).iter_mut().zip(&partial) {
                *sum += i64::from(part);
            }
        }
    }
    Ok(())
}

/// `C += A x B` modulo 2^32 by the plain triple loop: the definition that the fast kernel is held against.
///
/// A is `m` x `k`, B is `k` x `n` and not packed, C is `m` x `n`.
///
/// # Errors
/// [`GemmError::ShapeMismatch`] when the shapes do not make a product.
pub fn reference(a: Matrix<'_, i8>, b: Matrix<'_, i8>, mut c: MatrixMut<'_, i32>) -> Result<(), GemmError> {
    check_shapes(a.shape(), b.shape(), c.shape())?;
    for i in 0..a.rows() {
        for j in 0..b.columns() {
            for p in 0..b.rows() {
                let product = i32::from(a.row(i)[p]) * i32::from(b.row(p)[j]);
                c.row(i)[j] = c.row(i)[j].wrapping_add(product);
            }
        }
    }
    Ok(())
}

#[multiversion(targets("x86_64+avx2"))]
fn kernel_avx2(a: Matrix<'_, i8>, columns: Matrix<'_, i8>, c: &mut MatrixMut<'_, i32>) {
    kernel(a, columns, c);
}

#[multiversion(targets("x86_64+avx512f"))]
fn kernel_avx512(a: Matrix<'_, i8>, columns: Matrix<'_, i8>, c: &mut MatrixMut<'_, i32>) {
    kernel(a, columns, c);
}

/// Must be inlined into its callers: that is how it is compiled for their instruction sets.
#[inline(always)]
fn kernel(a: Matrix<'_, i8>, columns: Matrix<'_, i8>, c: &mut MatrixMut<'_, i32>) {
    let (m, n) = (a.rows(), columns.rows());
    let (whole_m, whole_n) = (m - m % TILE_ROWS, n - n % TILE_COLUMNS);
    for j in (0..whole_n).step_by(TILE_COLUMNS) {
        let b = [columns.row(j), columns.row(j + 1), columns.row(j + 2), columns.row(j + 3)];
        for i in (0..whole_m).step_by(TILE_ROWS) {
            let sums = dot_tile([a.row(i), a.row(i + 1)], b);
            for (row, sums) in sums.iter().enumerate() {
                for (sum, &part) in c.row(i + row)[j..j + TILE_COLUMNS].iter_mut().zip(sums) {
                    *sum = sum.wrapping_add(part);
                }
            }
        }
        for i in whole_m..m {
            for (column, b) in b.iter().enumerate() {
                let sum = &mut c.row(i)[j + column];
                *sum = sum.wrapping_add(dot(a.row(i), b));
            }
        }
    }
    for j in whole_n..n {
        for i in 0..m {
            let sum = &mut c.row(i)[j];
            *sum = sum.wrapping_add(dot(a.row(i), columns.row(j)));
        }
    }
}

#[inline(always)]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0, |sum: i32, (&a, &b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
}

/// Eight dot products that share their loads. The sums are separate variables because the vectoriser follows those.
#[inline(always)]
fn dot_tile(a: [&[i8]; TILE_ROWS], b: [&[i8]; TILE_COLUMNS]) -> [[i32; TILE_COLUMNS]; TILE_ROWS] {
    let k = a[0].len();
    let (a0, a1) = (&a[0][..k], &a[1][..k]);
    let (b0, b1, b2, b3) = (&b[0][..k], &b[1][..k], &b[2][..k], &b[3][..k]);
    let (mut s00, mut s01, mut s02, mut s03) = (0i32, 0i32, 0i32, 0i32);
    let (mut s10, mut s11, mut s12, mut s13) = (0i32, 0i32, 0i32, 0i32);
    for p in 0..k {
        let (x0, x1) = (i32::from(a0[p]), i32::from(a1[p]));
        let (y0, y1, y2, y3) = (i32::from(b0[p]), i32::from(b1[p]), i32::from(b2[p]), i32::from(b3[p]));
        s00 = s00.wrapping_add(x0 * y0);
        s01 = s01.wrapping_add(x0 * y1);
        s02 = s02.wrapping_add(x0 * y2);
        s03 = s03.wrapping_add(x0 * y3);
        s10 = s10.wrapping_add(x1 * y0);
        s11 = s11.wrapping_add(x1 * y1);
        s12 = s12.wrapping_add(x1 * y2);
        s13 = s13.wrapping_add(x1 * y3);
    }
    [[s00, s01, s02, s03], [s10, s11, s12, s13]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, proptest};

    use super::{
        EXACT_DEPTH, InstructionSet, multiply_accumulate, multiply_accumulate_wide, multiply_accumulate_with, prepare,
        reference,
    };
    use crate::numerics::gemm::{GemmError, Matrix, MatrixMut};

    type Problem = (usize, usize, usize, Vec<i8>, Vec<i8>, Vec<i32>);

    fn ragged_problem() -> impl Strategy<Value = Problem> {
        (0usize..9, 0usize..11, 0usize..150).prop_flat_map(|(m, n, k)| {
            let bytes = |count| prop::collection::vec(any::<i8>(), count);
            (Just(m), Just(n), Just(k), bytes(m * k), bytes(k * n), prop::collection::vec(any::<i32>(), m * n))
        })
    }

    proptest! {
        #[test]
        fn every_vector_unit_of_this_machine_gives_the_triple_loop(
            (m, n, k, a, b, c) in ragged_problem()
        ) {
            let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
            let mut expected = c.clone();
            reference(a, b, MatrixMut::dense(&mut expected, m, n).unwrap()).unwrap();
            let packed = prepare(b);
            for set in InstructionSet::available() {
                let mut sums = c.clone();
                let view = MatrixMut::dense(&mut sums, m, n).unwrap();
                multiply_accumulate_with(set, a, packed.whole(), view).unwrap();
                prop_assert_eq!(&sums, &expected, "{:?}", set);
            }
        }

        #[test]
        fn a_walk_over_tiles_and_segments_of_k_gives_the_whole_product(
            (m, n, k, a, b, _) in ragged_problem(),
            (tile_m, tile_n, tile_k) in (1usize..5, 1usize..7, 1usize..70)
        ) {
            let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
            let (mut expected, mut sums) = (vec![0; m * n], vec![0; m * n]);
            reference(a, b, MatrixMut::dense(&mut expected, m, n).unwrap()).unwrap();
            let packed = prepare(b);
            let mut view = MatrixMut::dense(&mut sums, m, n).unwrap();
            for i in (0..m).step_by(tile_m) {
                for j in (0..n).step_by(tile_n) {
                    for p in (0..k).step_by(tile_k) {
                        let (i, j, p) = (i..m.min(i + tile_m), j..n.min(j + tile_n), p..k.min(p + tile_k));
                        let (a, b) = (a.block(i.clone(), p.clone()).unwrap(), packed.block(p, j.clone()).unwrap());
                        multiply_accumulate(a, b, view.block(i, j).unwrap()).unwrap();
                    }
                }
            }
            prop_assert_eq!(sums, expected);
        }
    }

    #[test]
    fn the_exact_depth_is_the_last_that_cannot_overflow() {
        // (-128)^2 = 2^14 is the largest product; 2^31 / 2^14 = 2^17 of them would be one too many for i32::MAX.
        assert_eq!(EXACT_DEPTH, (1 << 17) - 1);
        let depth = EXACT_DEPTH;
        let lowest = vec![-128i8; depth];
        let mut sum = [0];
        let (a, b) = (Matrix::dense(&lowest, 1, depth).unwrap(), Matrix::dense(&lowest, depth, 1).unwrap());
        multiply_accumulate(a, prepare(b).whole(), MatrixMut::dense(&mut sum, 1, 1).unwrap()).unwrap();
        assert_eq!(i64::from(sum[0]), depth as i64 * 16384);
    }

    #[test]
    fn one_product_beyond_the_exact_depth_wraps_and_the_wide_sum_does_not() {
        let depth = EXACT_DEPTH + 1;
        let lowest = vec![-128i8; depth];
        let (a, b) = (Matrix::dense(&lowest, 1, depth).unwrap(), Matrix::dense(&lowest, depth, 1).unwrap());
        let packed = prepare(b);
        let (mut narrow, mut wide) = ([0], [5]);
        multiply_accumulate(a, packed.whole(), MatrixMut::dense(&mut narrow, 1, 1).unwrap()).unwrap();
        multiply_accumulate_wide(a, packed.whole(), MatrixMut::dense(&mut wide, 1, 1).unwrap()).unwrap();
        assert_eq!(narrow[0], i32::MIN);
        assert_eq!(wide[0], (1 << 31) + 5);
    }

    #[test]
    fn shapes_that_do_not_make_a_product_are_refused() {
        let (a, b, mut c) = ([0i8; 6], [0i8; 8], [0i32; 8]);
        let packed = prepare(Matrix::dense(&b, 2, 4).unwrap());
        let a = Matrix::dense(&a, 2, 3).unwrap();
        let refused = multiply_accumulate(a, packed.whole(), MatrixMut::dense(&mut c, 2, 4).unwrap());
        assert!(matches!(refused, Err(GemmError::ShapeMismatch { a_columns: 3, b_rows: 2, .. })));
        assert!(packed.block(0..3, 0..1).is_err());
    }
}
