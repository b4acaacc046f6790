//! What a metric hangs on: rank correlation of each parameter with it.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::statistics::{Data, OrderStatistics, RankTieBreaker};

/// Spearman's rank correlation of one parameter and one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The parameter.
    pub parameter: String,
    /// The metric.
    pub metric: String,
    /// From -1 to 1: how nearly the one is a monotone function of the other.
    pub rank_correlation: f64,
    /// Probability of at least this much where there is none, by the t distribution; small samples make it approximate.
    pub p_value: f64,
    /// Points that it rests on.
    pub points: usize,
}

/// Spearman's coefficient with mean ranks for ties, and its two-sided p-value; `None` where one side does not vary or there
/// are fewer than three points.
pub fn rank_correlation(x: &[f64], y: &[f64]) -> Option<(f64, f64)> {
    let count = x.len();
    if count < 3 || count != y.len() {
        return None;
    }
    let ranks = |values: &[f64]| Data::new(values.to_vec()).ranks(RankTieBreaker::Average);
    let (x, y) = (ranks(x), ranks(y));
    let mean = (count as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&x, &x) * product(&y, &y)).sqrt();
    if spread == 0.0 {
        return None;
    }
    let coefficient = (product(&x, &y) / spread).clamp(-1.0, 1.0);
    let freedom = count as f64 - 2.0;
    let remainder = 1.0 - coefficient * coefficient;
    let p_value = if remainder <= 0.0 {
        0.0
    } else {
        let t = coefficient.abs() * (freedom / remainder).sqrt();
        let distribution = StudentsT::new(0.0, 1.0, freedom).ok()?;
        (2.0 * distribution.sf(t)).clamp(0.0, 1.0)
    };
    Some((coefficient, p_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monotone_relation_has_one_and_an_inverse_one_minus_one() {
        let x = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_eq!(rank_correlation(&x, &[1.0, 1.5, 1.6, 9.0, 9.5]), Some((1.0, 0.0)));
        assert_eq!(rank_correlation(&x, &[9.0, 8.0, 7.0, 6.0, 5.0]), Some((-1.0, 0.0)));
        assert_eq!(rank_correlation(&x, &[3.0; 5]), None);
        assert_eq!(rank_correlation(&x[..2], &[1.0, 2.0]), None);
    }

    #[test]
    fn the_coefficient_is_that_of_the_textbook() {
        // IQ and hours of television of ten people, the example of Wikipedia's article "Spearman's rank correlation
        // coefficient": rho = -29/165 = -0.175757..., p = 0.627188.
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let (coefficient, p_value) = rank_correlation(&iq, &hours).unwrap();
        assert!((coefficient + 29.0 / 165.0).abs() < 1e-12, "{coefficient}");
        assert!((p_value - 0.627_188).abs() < 1e-5, "{p_value}");
    }
}
