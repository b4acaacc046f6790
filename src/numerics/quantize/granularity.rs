//! Which elements of a matrix share a scale, and the largest magnitude among them.

use crate::shape::{Blocking, MatrixShape};

/// Which elements of a row-major matrix share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// All of them.
    PerTensor,
    /// Those of a row (a token of activations `[M, K]`).
    PerRow,
    /// Those of a column (an output channel of weights `[K, N]`).
    PerColumn,
    /// `size` consecutive elements of a row: groups along K of activations `[M, K]`. The last group may be short.
    PerGroup {
        /// Elements in a group.
        size: u64,
    },
    /// `size` consecutive elements of a column: groups along K of weights `[K, N]`. The last group may be short.
    PerColumnGroup {
        /// Elements in a group.
        size: u64,
    },
}

impl Granularity {
    /// The matrix of scales of a matrix of `shape`: row-major, one entry for every group.
    pub const fn scales(self, shape: MatrixShape) -> MatrixShape {
        match self {
            Granularity::PerTensor => MatrixShape::new(1, 1),
            Granularity::PerRow => MatrixShape::new(shape.rows, 1),
            Granularity::PerColumn => MatrixShape::new(1, shape.columns),
            Granularity::PerGroup { size } => MatrixShape::new(shape.rows, Blocking::new(shape.columns, size).count()),
            Granularity::PerColumnGroup { size } => {
                MatrixShape::new(Blocking::new(shape.rows, size).count(), shape.columns)
            }
        }
    }

    /// Position in the row-major scales of the one that `row`, `column` uses.
    pub const fn scale_index(self, shape: MatrixShape, row: u64, column: u64) -> usize {
        let index = match self {
            Granularity::PerTensor => 0,
            Granularity::PerRow => row,
            Granularity::PerColumn => column,
            Granularity::PerGroup { size } => {
                let blocking = Blocking::new(shape.columns, size);
                row * blocking.count() + column / blocking.block()
            }
            Granularity::PerColumnGroup { size } => {
                row / Blocking::new(shape.rows, size).block() * shape.columns + column
            }
        };
        index as usize
    }
}

/// The largest magnitude among `values`: 0 for none, infinity where one is infinite, NaN where one is NaN.
///
/// Magnitudes are compared as integers: the bits of non-negative floats are ordered like their values, with NaN above
/// all, so NaN cannot be lost and the order of the elements does not matter.
pub fn abs_max(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().fold(0, |largest, value| largest.max(magnitude_bits(*value))))
}

/// Widens one running abs-max per column by `rows`, whole rows of `maxima.len()` elements; start from zeros. Lets a
/// per-column or per-tensor reduction run row block by row block.
pub fn widen_column_abs_maxima(rows: &[f32], maxima: &mut [f32]) {
    if maxima.is_empty() {
        return;
    }
    for row in rows.chunks_exact(maxima.len()) {
        for (largest, value) in maxima.iter_mut().zip(row) {
            *largest = f32::from_bits(largest.to_bits().max(magnitude_bits(*value)));
        }
    }
}

/// The abs-max of each group of a row-major matrix, in the order of its scales (see [`Granularity::scales`]). Panics if
/// `values` does not fill `shape`.
pub fn abs_maxima(values: &[f32], shape: MatrixShape, granularity: Granularity) -> Vec<f32> {
    assert_eq!(values.len() as u64, shape.elements(), "the values fill the shape");
    let columns = shape.columns as usize;
    if columns == 0 {
        return vec![0.0; granularity.scales(shape).elements() as usize];
    }
    let by_columns = |rows: &[f32]| {
        let mut maxima = vec![0.0; columns];
        widen_column_abs_maxima(rows, &mut maxima);
        maxima
    };
    match granularity {
        Granularity::PerTensor => vec![abs_max(values)],
        Granularity::PerRow => values.chunks_exact(columns).map(abs_max).collect(),
        Granularity::PerColumn => by_columns(values),
        Granularity::PerGroup { size } => {
            let size = Blocking::new(shape.columns, size).block() as usize;
            values.chunks_exact(columns).flat_map(|row| row.chunks(size).map(abs_max)).collect()
        }
        Granularity::PerColumnGroup { size } => {
            let size = Blocking::new(shape.rows, size).block() as usize;
            values.chunks(size * columns).flat_map(by_columns).collect()
        }
    }
}

fn magnitude_bits(value: f32) -> u32 {
    value.to_bits() & 0x7FFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: MatrixShape = MatrixShape::new(3, 4);
    const VALUES: [f32; 12] = [1.0, -2.0, 3.0, 0.5, -0.0, 8.0, -1.0, 0.25, 7.0, 0.0, -9.0, 4.0];

    #[test]
    fn each_granularity_reduces_its_own_groups() {
        let maxima = |granularity| abs_maxima(&VALUES, SHAPE, granularity);
        assert_eq!(maxima(Granularity::PerTensor), [9.0]);
        assert_eq!(maxima(Granularity::PerRow), [3.0, 8.0, 9.0]);
        assert_eq!(maxima(Granularity::PerColumn), [7.0, 8.0, 9.0, 4.0]);
        assert_eq!(maxima(Granularity::PerGroup { size: 3 }), [3.0, 0.5, 8.0, 0.25, 9.0, 4.0]);
        assert_eq!(maxima(Granularity::PerColumnGroup { size: 2 }), [1.0, 8.0, 3.0, 0.5, 7.0, 0.0, 9.0, 4.0]);
    }

    #[test]
    fn every_element_is_below_the_abs_max_that_its_scale_index_points_at() {
        for granularity in [
            Granularity::PerTensor,
            Granularity::PerRow,
            Granularity::PerColumn,
            Granularity::PerGroup { size: 3 },
            Granularity::PerGroup { size: 100 },
            Granularity::PerColumnGroup { size: 2 },
            Granularity::PerColumnGroup { size: 1 },
        ] {
            let maxima = abs_maxima(&VALUES, SHAPE, granularity);
            assert_eq!(maxima.len() as u64, granularity.scales(SHAPE).elements());
            let mut reached = vec![false; maxima.len()];
            for (index, value) in VALUES.iter().enumerate() {
                let scale = granularity.scale_index(SHAPE, index as u64 / 4, index as u64 % 4);
                assert!(value.abs() <= maxima[scale]);
                reached[scale] |= value.abs() == maxima[scale];
            }
            assert!(reached.iter().all(|reached| *reached), "{granularity:?}");
        }
    }

    #[test]
    fn a_nan_or_infinity_survives_the_reduction() {
        assert!(abs_max(&[1.0, f32::NAN, f32::INFINITY, 2.0]).is_nan());
        assert_eq!(abs_max(&[1.0, f32::NEG_INFINITY, 2.0]), f32::INFINITY);
        assert_eq!(abs_max(&[-0.0]).to_bits(), 0);
        assert_eq!(abs_max(&[]), 0.0);
    }

    #[test]
    fn a_column_reduction_may_run_in_row_blocks() {
        let mut maxima = [0.0; 4];
        widen_column_abs_maxima(&VALUES[..4], &mut maxima);
        widen_column_abs_maxima(&VALUES[4..], &mut maxima);
        assert_eq!(maxima.to_vec(), abs_maxima(&VALUES, SHAPE, Granularity::PerColumn));
    }
}
