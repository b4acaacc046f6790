//! How far a computed tensor is from a reference: SQNR, largest error, relative error, cosine.
//!
//! Sums run in f64 in the order of the elements, so the figures are the same for any number of threads.

use serde::Serialize;
use serde::ser::Serializer;

/// Error of a tensor against a reference of equal length. Elements that are NaN, or the same infinity, on both sides have no
/// error that could be measured: they are left out, and counted. One NaN on either side alone makes every figure NaN.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ErrorMetrics {
    /// Signal to quantization noise ratio, `10 log10(sum reference^2 / sum error^2)`, in dB. Positive infinity where the
    /// tensors are equal. JSON has no infinity and no NaN: both are written as `null`, and `max_abs_error` tells equal
    /// tensors (0) from undefined ones (`null`).
    #[serde(serialize_with = "finite_or_null")]
    pub sqnr_db: f64,
    /// Largest absolute difference.
    #[serde(serialize_with = "finite_or_null")]
    pub max_abs_error: f64,
    /// Root mean square of the differences over that of the reference: 0 where the tensors are equal, infinite (`null`)
    /// where only the reference is all zero.
    #[serde(serialize_with = "finite_or_null")]
    pub relative_error: f64,
    /// Cosine of the angle between the tensors as vectors: 1 where both are all zero, 0 where one is.
    #[serde(serialize_with = "finite_or_null")]
    pub cosine: f64,
    /// Elements that the figures leave out: those that are NaN, or the same infinity, on both sides.
    pub left_out_values: u64,
}

/// Compares `actual` with `reference`, element by element in order. Panics if their lengths differ.
pub fn compare(reference: &[f64], actual: impl IntoIterator<Item = f64>) -> ErrorMetrics {
    let mut actual = actual.into_iter();
    let (mut signal, mut noise, mut power, mut product) = (0.0, 0.0, 0.0, 0.0);
    let (mut max_abs_error, mut left_out_values) = (0.0f64, 0);
    for &expected in reference {
        let found = actual.next().expect("the compared tensors have equal lengths");
        let equal = expected == found || expected.is_nan() && found.is_nan();
        if equal && !expected.is_finite() {
            left_out_values += 1;
            continue;
        }
        let error = (found - expected).abs();
        // `f64::max` would drop a NaN.
        let is_undefined = error.is_nan() || max_abs_error.is_nan();
        max_abs_error = if is_undefined { f64::NAN } else { max_abs_error.max(error) };
        signal += expected * expected;
        noise += error * error;
        power += found * found;
        product += expected * found;
    }
    if max_abs_error.is_nan() {
        let undefined = f64::NAN;
        return ErrorMetrics {
            sqnr_db: undefined,
            max_abs_error,
            relative_error: undefined,
            cosine: undefined,
            left_out_values,
        };
    }
    assert!(actual.next().is_none(), "the compared tensors have equal lengths");
    let relative_error = if noise == 0.0 { 0.0 } else { (noise / signal).sqrt() };
    let sqnr_db = if noise == 0.0 { f64::INFINITY } else { 10.0 * libm::log10(signal / noise) };
    let cosine = match (signal == 0.0, power == 0.0) {
        (true, true) => 1.0,
        (false, false) => product / (signal.sqrt() * power.sqrt()),
        _ => 0.0,
    };
    ErrorMetrics { sqnr_db, max_abs_error, relative_error, cosine, left_out_values }
}

fn finite_or_null<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_some(value) } else { serializer.serialize_none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_small_example_are_those_computed_by_hand() {
        // Errors 1 and 0 against (3, 4): noise 1, signal 25, so 10 log10(25) dB, 1/5, and 28 / (5 sqrt 32) for (4, 4).
        let metrics = compare(&[3.0, 4.0], [4.0, 4.0]);
        assert!((metrics.sqnr_db - 13.979400086720377).abs() < 1e-12);
        assert_eq!(metrics.max_abs_error, 1.0);
        assert_eq!(metrics.relative_error, 0.2);
        assert!((metrics.cosine - 28.0 / (5.0 * 32f64.sqrt())).abs() < 1e-15);
    }

    #[test]
    fn equal_tensors_have_an_infinite_sqnr_which_is_null_in_json() {
        let metrics = compare(&[1.0, f64::NAN, f64::INFINITY], [1.0, f64::NAN, f64::INFINITY]);
        assert_eq!((metrics.sqnr_db, metrics.max_abs_error, metrics.cosine), (f64::INFINITY, 0.0, 1.0));
        assert_eq!(
            serde_json::to_string(&metrics).unwrap(),
            r#"{"sqnr_db":null,"max_abs_error":0.0,"relative_error":0.0,"cosine":1.0,"left_out_values":2}"#
        );
    }

    #[test]
    fn a_nan_on_one_side_and_an_all_zero_side_are_visible() {
        for (reference, actual) in [([1.0, 2.0], [1.0, f64::NAN]), ([f64::NAN, 2.0], [1.0, 2.0])] {
            let metrics = compare(&reference, actual);
            assert!(metrics.max_abs_error.is_nan() && metrics.sqnr_db.is_nan() && metrics.cosine.is_nan());
        }
        let lost = compare(&[1.0, 2.0], [0.0, 0.0]);
        assert_eq!((lost.sqnr_db, lost.relative_error, lost.cosine), (0.0, 1.0, 0.0));
        let spurious = compare(&[0.0], [1.0]);
        assert_eq!((spurious.sqnr_db, spurious.relative_error), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(compare(&[], []).sqnr_db, f64::INFINITY);
    }
}
