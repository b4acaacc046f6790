//! Integer products with an accumulator of a chosen width.

use crate::numerics::accumulate::IntegerAccumulator;
use crate::numerics::gemm::int8::{self, PackedBlock};
use crate::numerics::gemm::{GemmError, Matrix, MatrixMut, check_shapes};

/// Adds `A x B` to the running sums of `accumulator`, k ascending.
///
/// A is `m` x `k`, B is `k` x `n`. The running sums, `m` x `n`, start from zero; [`read`] turns them into results. A segment
/// of k starts at a multiple of [`IntegerAccumulator::products_per_operation`]; only the last may be shorter.
///
/// # Errors
/// [`GemmError::ShapeMismatch`] when the shapes do not make a product.
pub fn multiply_accumulate(
    accumulator: IntegerAccumulator,
    a: Matrix<'_, i8>,
    b: PackedBlock<'_>,
    mut sums: MatrixMut<'_, i64>,
) -> Result<(), GemmError> {
    check_shapes(a.shape(), b.shape(), sums.shape())?;
    if accumulator.adjusts_at_end() {
        return int8::multiply_accumulate_wide(a, b, sums);
    }
    let products = accumulator.products_per_operation();
    for i in 0..a.rows() {
        let row = a.row(i);
        for (j, sum) in sums.row(i).iter_mut().enumerate() {
            for (a, b) in row.chunks(products).zip(b.column(j).chunks(products)) {
                let operation = a.iter().zip(b).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum();
                *sum = accumulator.add(*sum, operation);
            }
        }
    }
    Ok(())
}

/// Turns running sums into what is read from the accumulators, in place.
pub fn read(accumulator: IntegerAccumulator, mut sums: MatrixMut<'_, i64>) {
    for i in 0..sums.rows() {
        for sum in sums.row(i) {
            *sum = accumulator.read(*sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{multiply_accumulate, read};
    use crate::numerics::accumulate::{IntegerAccumulator, IntegerOverflow, SaturationPoint};
    use crate::numerics::gemm::int8::prepare;
    use crate::numerics::gemm::{Matrix, MatrixMut};

    proptest! {
        #[test]
        fn a_product_follows_the_accumulator_step_by_step(
            a in prop::collection::vec(any::<i8>(), 3 * 70), b in prop::collection::vec(any::<i8>(), 70 * 5),
            width in 14u32..34, cut in 0usize..70
        ) {
            let every = SaturationPoint::Every(NonZeroU32::new(32).unwrap());
            for overflow in [
                IntegerOverflow::Wrap,
                IntegerOverflow::Saturate(SaturationPoint::Step),
                IntegerOverflow::Saturate(every),
                IntegerOverflow::Saturate(SaturationPoint::End),
            ] {
                let accumulator = IntegerAccumulator::try_new(width, overflow).unwrap();
                let cut = cut - cut % accumulator.products_per_operation();
                let (a, b) = (Matrix::dense(&a, 3, 70).unwrap(), Matrix::dense(&b, 70, 5).unwrap());
                let packed = prepare(b);
                let mut sums = vec![0i64; 15];
                let mut view = MatrixMut::dense(&mut sums, 3, 5).unwrap();
                for segment in [0..cut, cut..70] {
                    let (a, b) = (a.block(0..3, segment.clone()).unwrap(), packed.block(segment, 0..5).unwrap());
                    multiply_accumulate(accumulator, a, b, view.reborrow()).unwrap();
                }
                read(accumulator, view);
                for i in 0..3 {
                    for j in 0..5 {
                        // The definition in its own words: what a register of `width` bits goes through.
                        let (low, high) = (-(1i64 << (width - 1)), (1i64 << (width - 1)) - 1);
                        let (mut sum, mut operation) = (0i64, 0i64);
                        for p in 0..70 {
                            operation += i64::from(a.row(i)[p]) * i64::from(b.row(p)[j]);
                            let ends = match overflow {
                                IntegerOverflow::Saturate(SaturationPoint::Every(_)) => p % 32 == 31 || p == 69,
                                IntegerOverflow::Saturate(SaturationPoint::End) => p == 69,
                                _ => true,
                            };
                            if ends {
                                sum += operation;
                                operation = 0;
                                if overflow == IntegerOverflow::Wrap {
                                    sum = (sum - low).rem_euclid(1 << width) + low;
                                } else {
                                    sum = sum.max(low).min(high);
                                }
                            }
                        }
                        prop_assert_eq!(sums[i * 5 + j], sum, "{:?}", overflow);
                    }
                }
            }
        }
    }
}
