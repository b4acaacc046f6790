//! Zero points of integer products, as a correction of the product of the codes.
//!
//! `sum (a - z_a)(b - z_b) = sum a b - z_a sum b - z_b sum a + k z_a z_b` (B. Jacob et al., CVPR 2018, equation 7), so the
//! fast signed kernel serves unsigned codes as well: `a` as u8 with zero point `z` is `a - 128` as i8 with `z - 128`.

use crate::numerics::gemm::{GemmError, Matrix, MatrixMut, check_length};

/// Unsigned codes as signed ones; their zero point moves by -128 with them ([`signed_zero_point`]).
pub fn signed_codes(codes: &[u8]) -> Vec<i8> {
    codes.iter().map(|&code| (code ^ 0x80) as i8).collect()
}

/// The zero point that goes with [`signed_codes`].
pub const fn signed_zero_point(zero_point: i32) -> i32 {
    zero_point - 128
}

/// The sum of each row of A, for [`correct`].
pub fn row_sums(a: Matrix<'_, i8>) -> Vec<i32> {
    (0..a.rows()).map(|i| a.row(i).iter().map(|&code| i32::from(code)).sum()).collect()
}

/// The sum of each column of B, for [`correct`]; a property of the weights.
pub fn column_sums(b: Matrix<'_, i8>) -> Vec<i32> {
    let mut sums = vec![0i32; b.columns()];
    for p in 0..b.rows() {
        for (sum, &code) in sums.iter_mut().zip(b.row(p)) {
            *sum = sum.wrapping_add(i32::from(code));
        }
    }
    sums
}

/// Turns C = A x B of codes into the product of the values: zero point `a_zero` for A and one for each column of B.
///
/// `k` is the depth of the product. Arithmetic is modulo 2^32, like the product itself.
///
/// # Errors
/// [`GemmError::WrongLength`] when a slice does not have one element a row or column of C.
pub fn correct(
    mut c: MatrixMut<'_, i32>,
    k: usize,
    a_zero: i32,
    b_zeros: &[i32],
    row_sums: &[i32],
    column_sums: &[i32],
) -> Result<(), GemmError> {
    check_length("row sums", c.rows(), row_sums.len())?;
    check_length("column sums", c.columns(), column_sums.len())?;
    check_length("zero points of B", c.columns(), b_zeros.len())?;
    let depth_times_zero = (k as i32).wrapping_mul(a_zero);
    for (i, &row_sum) in row_sums.iter().enumerate() {
        for ((sum, &column_sum), &b_zero) in c.row(i).iter_mut().zip(column_sums).zip(b_zeros) {
            *sum = sum
                .wrapping_sub(a_zero.wrapping_mul(column_sum))
                .wrapping_add(b_zero.wrapping_mul(depth_times_zero.wrapping_sub(row_sum)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{column_sums, correct, row_sums, signed_codes, signed_zero_point};
    use crate::numerics::gemm::{Matrix, MatrixMut, int8};

    proptest! {
        #[test]
        fn a_corrected_product_of_unsigned_codes_is_the_product_of_the_values(
            a in prop::collection::vec(any::<u8>(), 3 * 17), b in prop::collection::vec(any::<i8>(), 17 * 4),
            a_zero in 0i32..256, b_zeros in prop::collection::vec(-128i32..128, 4)
        ) {
            let signed = signed_codes(&a);
            let (left, right) = (Matrix::dense(&signed, 3, 17).unwrap(), Matrix::dense(&b, 17, 4).unwrap());
            let mut c = vec![0; 12];
            let packed = int8::prepare(right);
            int8::multiply_accumulate(left, packed.whole(), MatrixMut::dense(&mut c, 3, 4).unwrap()).unwrap();
            let view = MatrixMut::dense(&mut c, 3, 4).unwrap();
            let (rows, columns) = (row_sums(left), column_sums(right));
            correct(view, 17, signed_zero_point(a_zero), &b_zeros, &rows, &columns).unwrap();
            for i in 0..3 {
                for j in 0..4 {
                    let value = |p| (i32::from(a[i * 17 + p]) - a_zero) * (i32::from(b[p * 4 + j]) - b_zeros[j]);
                    prop_assert_eq!(c[i * 4 + j], (0..17).map(value).sum::<i32>());
                }
            }
        }
    }
}
