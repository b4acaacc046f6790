//! The fast paths of `float`: panels of B that stay in the first-level cache while all rows of A pass over them.
//!
//! Each output still sees its products k ascending, and every rounding of its order: the vectors lie across columns.

use multiversion::multiversion;

use crate::numerics::accumulate::round;
use crate::numerics::formats::Rounding;
use crate::numerics::gemm::operand::{IntegerElements, Integers, OperandPart};

/// Columns of C that are computed together.
const LANES: usize = 16;

/// Steps along k of a panel of B in the sequential order.
const PANEL_DEPTH: usize = 64;

/// `values[i][j] = values[i][j] + left[i][p] * right[p][j]` for `p` ascending, each step rounded to f32.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn sequential_order(
    a: &OperandPart<'_>,
    b: &OperandPart<'_>,
    left: &[f32],
    right: &[f32],
    values: &mut [f32],
) {
    let (columns, stride, k) = (b.rows.len(), b.operand.rows(), a.operand.k());
    // A panel of B stays in the first-level cache while all rows pass over it.
    for start in a.k.clone().step_by(PANEL_DEPTH) {
        let segment = start..a.k.end.min(start + PANEL_DEPTH);
        for j in (0..columns).step_by(4 * LANES) {
            let lanes = columns.min(j + 4 * LANES) - j;
            for (i, row) in a.rows.clone().enumerate() {
                let sums = &mut values[i * columns + j..][..lanes];
                let left = &left[row * k..][segment.clone()];
                let right = &right[start * stride + b.rows.start + j..];
                match <&mut [f32; 4 * LANES]>::try_from(&mut *sums) {
                    Ok(sums) => sequential_lanes(left, right, stride, sums),
                    Err(_) => sequential_lanes(left, right, stride, sums),
                }
            }
        }
    }
}

/// With an array as `sums` the compiler keeps them in registers.
#[inline(always)]
fn sequential_lanes<L: AsMut<[f32]> + ?Sized>(left: &[f32], right: &[f32], stride: usize, sums: &mut L) {
    let sums = sums.as_mut();
    for (p, &x) in left.iter().enumerate() {
        let row = &right[p * stride..][..sums.len()];
        for (sum, &y) in sums.iter_mut().zip(row) {
            *sum += x * y;
        }
    }
}

/// The `block` order in integers; `false`, with nothing done, when a block may not fit in 64 bits.
pub(super) fn block_order(
    a: &OperandPart<'_>,
    b: &OperandPart<'_>,
    left: &Integers,
    right: &Integers,
    block: usize,
    values: &mut [f32],
) -> bool {
    let scales = left.largest_scale_significand.checked_mul(right.largest_scale_significand);
    let largest = left.largest.checked_mul(right.largest).and_then(|product| product.checked_mul(scales?));
    // The last bound keeps i64 sums, and the f32 that they become, far from overflow.
    let Some(bound) = largest.and_then(|product| product.checked_mul(i64::try_from(block).ok()?)) else {
        return false;
    };
    let work = BlockWork { a, b, left, right, block };
    match (&left.elements, &right.elements) {
        (IntegerElements::I32(x), IntegerElements::I32(y)) if bound <= i64::from(i32::MAX) => {
            block_order_32(&work, x, y, values);
        }
        (IntegerElements::I32(x), IntegerElements::I32(y)) => block_order_64(&work, x, y, values),
        (IntegerElements::I64(x), IntegerElements::I32(y)) => block_order_64_left(&work, x, y, values),
        (IntegerElements::I32(x), IntegerElements::I64(y)) => block_order_64_right(&work, x, y, values),
        (IntegerElements::I64(x), IntegerElements::I64(y)) => block_order_64_both(&work, x, y, values),
    }
    true
}

struct BlockWork<'a> {
    a: &'a OperandPart<'a>,
    b: &'a OperandPart<'a>,
    left: &'a Integers,
    right: &'a Integers,
    block: usize,
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn block_order_32(work: &BlockWork<'_>, left: &[i32], right: &[i32], values: &mut [f32]) {
    block_order_in::<i32, i32, i32>(work, left, right, values);
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn block_order_64(work: &BlockWork<'_>, left: &[i32], right: &[i32], values: &mut [f32]) {
    block_order_in::<i32, i32, i64>(work, left, right, values);
}

fn block_order_64_left(work: &BlockWork<'_>, left: &[i64], right: &[i32], values: &mut [f32]) {
    block_order_in::<i64, i32, i64>(work, left, right, values);
}

fn block_order_64_right(work: &BlockWork<'_>, left: &[i32], right: &[i64], values: &mut [f32]) {
    block_order_in::<i32, i64, i64>(work, left, right, values);
}

fn block_order_64_both(work: &BlockWork<'_>, left: &[i64], right: &[i64], values: &mut [f32]) {
    block_order_in::<i64, i64, i64>(work, left, right, values);
}

/// An integer that the products of one block fit in.
trait BlockSum: Copy + Into<i64> {
    const ZERO: Self;
    fn add_product(self, x: Self, y: Self) -> Self;
    fn times(self, scale: i32) -> Self;
    fn nearest_f32(self) -> f32;
}

impl BlockSum for i32 {
    const ZERO: Self = 0;
    #[inline(always)]
    fn add_product(self, x: Self, y: Self) -> Self {
        self.wrapping_add(x.wrapping_mul(y))
    }
    #[inline(always)]
    fn times(self, scale: i32) -> Self {
        self.wrapping_mul(scale)
    }
    #[inline(always)]
    fn nearest_f32(self) -> f32 {
        self as f32
    }
}

impl BlockSum for i64 {
    const ZERO: Self = 0;
    #[inline(always)]
    fn add_product(self, x: Self, y: Self) -> Self {
        self.wrapping_add(x.wrapping_mul(y))
    }
    #[inline(always)]
    fn times(self, scale: i32) -> Self {
        self.wrapping_mul(Self::from(scale))
    }
    #[inline(always)]
    fn nearest_f32(self) -> f32 {
        self as f32
    }
}

/// Must be inlined into its callers: that is how it is compiled for their instruction sets.
#[inline(always)]
fn block_order_in<X, Y, S>(work: &BlockWork<'_>, left: &[X], right: &[Y], values: &mut [f32])
where
    X: Copy + Into<S>,
    Y: Copy + Into<S>,
    S: BlockSum,
{
    let BlockWork { a, b, block, .. } = *work;
    let (columns, stride, k) = (b.rows.len(), b.operand.rows(), a.operand.k());
    for start in (a.k.start..a.k.end).step_by(block) {
        let segment = start..a.k.end.min(start + block);
        for j in (0..columns).step_by(LANES) {
            let lanes = LANES.min(columns - j);
            let column = b.rows.start + j;
            // A panel of B stays in the first-level cache while all rows pass over it.
            for (i, row) in a.rows.clone().enumerate() {
                let left = &left[row * k..][segment.clone()];
                let right = &right[start * stride + column..];
                let mut sums = [S::ZERO; LANES];
                if lanes == LANES {
                    for (p, &x) in left.iter().enumerate() {
                        let right: &[Y; LANES] = right[p * stride..].first_chunk().expect("a full panel has all lanes");
                        let x: S = x.into();
                        for lane in 0..LANES {
                            sums[lane] = sums[lane].add_product(x, right[lane].into());
                        }
                    }
                } else {
                    for (p, &x) in left.iter().enumerate() {
                        for (sum, &y) in sums.iter_mut().zip(&right[p * stride..][..lanes]) {
                            *sum = sum.add_product(x.into(), y.into());
                        }
                    }
                }
                let accumulators = &mut values[i * columns + j..][..lanes];
                add_scaled(work, row, column, start / block, &sums, accumulators);
            }
        }
    }
}

/// Rounds the scaled sum of each block to f32 and adds it to its accumulator.
#[inline(always)]
fn add_scaled<S: BlockSum>(
    work: &BlockWork<'_>,
    row: usize,
    column: usize,
    block_index: usize,
    sums: &[S; LANES],
    accumulators: &mut [f32],
) {
    let lanes = accumulators.len();
    let (mut exponents, mut significands) = ([0i32; LANES], [1i32; LANES]);
    if !work.right.scale_exponents.is_empty() {
        let at = block_index * work.b.operand.rows() + column;
        exponents[..lanes].copy_from_slice(&work.right.scale_exponents[at..][..lanes]);
        significands[..lanes].copy_from_slice(&work.right.scale_significands[at..][..lanes]);
    }
    let mut common_exponent = work.left.unit_exponent + work.right.unit_exponent;
    let mut common_significand = 1;
    if !work.left.scale_exponents.is_empty() {
        let at = row * work.a.operand.k().div_ceil(work.block) + block_index;
        common_exponent += work.left.scale_exponents[at];
        common_significand = work.left.scale_significands[at];
    }
    let mut normal = true;
    for exponent in &mut exponents {
        *exponent = exponent.wrapping_add(common_exponent);
        // The sum is zero or at least 1 and below 2^63, so within these bounds its multiple is a normal number and the
        // multiplication by a power of two is exact.
        normal &= (-126..=63).contains(exponent);
    }
    if normal {
        let mut rounded = [0f32; LANES];
        for lane in 0..LANES {
            // One after the other: the product of two scales of FP32 alone does not fit 32 bits.
            let sum = sums[lane].times(significands[lane]).times(common_significand);
            let power = f32::from_bits(((exponents[lane].wrapping_add(127)) as u32) << 23);
            rounded[lane] = sum.nearest_f32() * power;
        }
        for (accumulator, &sum) in accumulators.iter_mut().zip(&rounded) {
            *accumulator += sum;
        }
    } else {
        for lane in 0..lanes {
            let sum: i64 = sums[lane].times(significands[lane]).times(common_significand).into();
            let magnitude = u128::from(sum.unsigned_abs());
            accumulators[lane] += round(sum < 0, magnitude, exponents[lane], 24, Rounding::NearestEven);
        }
    }
}
