//! Sums to f32 values: one scale a row of A times one a column of B, groups of k added in ascending order; and the tensor
//! scales of NVFP4.

use crate::numerics::gemm::{GemmError, Matrix, MatrixMut, check_length};

/// `y = f32(y + f32(f32(sum) * f32(row_scale * column_scale)))` for each output.
///
/// `sums` and `y` are `m` x `n`; called once for each group of k, ascending. With a zero `y` it is the plain dequantization
/// of a product, bit for bit.
///
/// # Errors
/// [`GemmError::WrongLength`] when the shapes or the numbers of scales differ.
pub fn add_dequantized(
    sums: Matrix<'_, i32>,
    row_scales: &[f32],
    column_scales: &[f32],
    mut y: MatrixMut<'_, f32>,
) -> Result<(), GemmError> {
    check_length("rows of the sums", y.rows(), sums.rows())?;
    check_length("columns of the sums", y.columns(), sums.columns())?;
    check_length("row scales", y.rows(), row_scales.len())?;
    check_length("column scales", y.columns(), column_scales.len())?;
    for (i, &row_scale) in row_scales.iter().enumerate() {
        for ((y, &sum), &column_scale) in y.row(i).iter_mut().zip(sums.row(i)).zip(column_scales) {
            *y += sum as f32 * (row_scale * column_scale);
        }
    }
    Ok(())
}

/// Applies the tensor scales of both operands to an accumulated product: `y = f32(y * f32(a_scale * b_scale))`.
pub fn apply_tensor_scales(values: &mut [f32], a_scale: f32, b_scale: f32) {
    let scale = a_scale * b_scale;
    for value in values {
        *value *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::{add_dequantized, apply_tensor_scales};
    use crate::numerics::gemm::{Matrix, MatrixMut};

    #[test]
    fn the_scales_are_multiplied_before_the_sum() {
        // f32(5 * f32(0.1 * 0.1)), worked out in exact arithmetic: 0.1f = 13421773 * 2^-27, its square rounds to
        // 0x3C23D70B = 10737419 * 2^-30, five times that is 53687095 * 2^-30, which rounds to 13421774 * 2^-28. The other
        // order gives 13421773 * 2^-28.
        let sums = [5];
        let mut y = [0f32];
        let view = MatrixMut::dense(&mut y, 1, 1).unwrap();
        add_dequantized(Matrix::dense(&sums, 1, 1).unwrap(), &[0.1], &[0.1], view).unwrap();
        assert_eq!(y[0], 13_421_774.0 * 2f32.powi(-28));
    }

    #[test]
    fn tensor_scales_are_multiplied_first() {
        // 5 * f32(0.1 * 0.1) as above.
        let mut values = [5.0];
        apply_tensor_scales(&mut values, 0.1, 0.1);
        assert_eq!(values[0], 13_421_774.0 * 2f32.powi(-28));
    }

    #[test]
    fn missing_scales_are_refused() {
        let (sums, mut y) = ([1, 2], [0f32; 2]);
        let view = MatrixMut::dense(&mut y, 1, 2).unwrap();
        assert!(add_dequantized(Matrix::dense(&sums, 1, 2).unwrap(), &[1.0], &[1.0], view).is_err());
    }
}
