//! Statistics of the columns of an activation, and what outlier schemes choose by them. Matrices are row-major `[rows, k]`,
//! k = `columns`. Ties go to the lowest index.

use crate::numerics::quantize::widen_column_abs_maxima;

/// The largest magnitude of each column.
pub fn channel_maxima(values: &[f32], columns: usize) -> Vec<f32> {
    let mut maxima = vec![0.0; columns];
    for row in values.chunks_exact(columns.max(1)) {
        widen_column_abs_maxima(row, &mut maxima);
    }
    maxima
}

/// The mean magnitude of each column, summed in f64.
pub fn channel_means(values: &[f32], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0f64; columns];
    let rows = values.len() / columns.max(1);
    for row in values.chunks_exact(columns.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(value.abs()));
    }
    sums.into_iter().map(|sum| sum / rows.max(1) as f64).collect()
}

/// How often each column is among the `top` largest magnitudes of its group of `group` columns.
pub fn group_hits(values: &[f32], columns: usize, group: usize, top: usize) -> Vec<u64> {
    hits_of(values, columns, group, top, 0.0)
}

/// How often each column is the largest of its group in a row where that largest exceeds `threshold`.
pub fn group_hits_over(values: &[f32], columns: usize, group: usize, threshold: f64) -> Vec<u64> {
    hits_of(values, columns, group, 1, threshold)
}

/// How much the largest columns of groups stay the same: of the rows in which the largest of a group exceeds `threshold`, the
/// share in which it is the column that is so most often; mean over the groups that have such rows, `None` where none has
/// (OSC, arXiv 2604.12782, section 3).
pub fn clustering_density(values: &[f32], columns: usize, group: usize, threshold: f64) -> Option<f64> {
    let hits = group_hits_over(values, columns, group, threshold);
    let shares = hits.chunks(group).filter_map(|hits| {
        let total: u64 = hits.iter().sum();
        let most = hits.iter().max()?;
        (total > 0).then(|| *most as f64 / total as f64)
    });
    let shares: Vec<f64> = shares.collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

fn hits_of(values: &[f32], columns: usize, group: usize, top: usize, threshold: f64) -> Vec<u64> {
    let mut hits = vec![0; columns];
    for row in values.chunks_exact(columns.max(1)) {
        for (index, members) in row.chunks(group).enumerate() {
            let magnitudes: Vec<f64> = members.iter().map(|value| f64::from(value.abs())).collect();
            for best in largest(&magnitudes, top) {
                if threshold == 0.0 || magnitudes[best] > threshold {
                    hits[index * group + best] += 1;
                }
            }
        }
    }
    hits
}

/// The `top` columns of each group with the highest scores above zero, ascending; groups with fewer are filled with `None`.
pub fn best_of_groups(scores: &[f64], group: usize, top: usize) -> Vec<Option<u32>> {
    let mut channels = Vec::new();
    for (index, members) in scores.chunks(group).enumerate() {
        let best = largest(members, top).into_iter().filter(|best| members[*best] > 0.0);
        let mut best: Vec<u32> = best.filter_map(|best| u32::try_from(index * group + best).ok()).collect();
        best.sort_unstable();
        let found = best.len();
        channels.extend(best.into_iter().map(Some));
        channels.extend(std::iter::repeat_n(None, top.min(members.len()) - found));
    }
    channels
}

/// Positions of the `top` largest values, largest first.
fn largest(values: &[f64], top: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // The sort is stable: of equals the lower index stays first.
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(top);
    order
}

/// SmoothQuant's factors: `max|X_j|^alpha / max|W_j|^(1 - alpha)`, both maxima and the factor at least 1e-5.
pub fn smoothing_factors(activation_maxima: &[f32], weight_row_maxima: &[f32], alpha: f32) -> Vec<f32> {
    const LEAST: f64 = 1e-5;
    let alpha = f64::from(alpha);
    let factor = |(x, w): (&f32, &f32)| {
        let (x, w) = (f64::from(*x).max(LEAST), f64::from(*w).max(LEAST));
        (libm::pow(x, alpha) / libm::pow(w, 1.0 - alpha)).max(LEAST) as f32
    };
    activation_maxima.iter().zip(weight_row_maxima).map(factor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_zeros_count_for_the_lowest_column_unless_a_threshold_is_asked_for() {
        // Ties go to the lowest index, and zeros tie; no magnitude of them exceeds a threshold.
        let values = [0.0, 0.0, 0.0, 3.0];
        assert_eq!(group_hits(&values, 2, 2, 1), [1, 1]);
        assert_eq!(group_hits_over(&values, 2, 2, 1.0), [0, 1]);
    }

    #[test]
    fn hits_go_to_the_lowest_index_of_equals() {
        let values = [1.0, -1.0, 0.5, 0.0, 2.0, 3.0, -3.0, 0.0];
        assert_eq!(group_hits(&values, 4, 2, 1), [1, 1, 2, 0]);
        assert_eq!(group_hits_over(&values, 4, 2, 2.5), [0, 1, 1, 0]);
    }

    #[test]
    fn density_is_the_share_of_the_most_frequent_channel_in_groups_with_outliers() {
        // Largest of the first group by rows: column 0, column 0, column 1, none above 5; the second group never exceeds 5.
        let rows = [9.0, 1.0, 1.0, 1.0, -8.0, 1.0, 1.0, 1.0, 1.0, 7.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0];
        assert_eq!(clustering_density(&rows, 4, 2, 5.0), Some(2.0 / 3.0));
        assert_eq!(clustering_density(&rows, 4, 2, 9.0), None);
    }

    #[test]
    fn the_best_of_each_group_stand_in_ascending_order_and_groups_without_any_have_none() {
        let scores = [1.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        assert_eq!(best_of_groups(&scores, 4, 2), [Some(1), Some(2), Some(7), None]);
    }

    #[test]
    fn smoothing_shares_the_range_between_both_sides() {
        // alpha 1/2: sqrt(16 / 4) = 2; alpha 1: 16; a dead channel has the floor on both sides.
        assert_eq!(smoothing_factors(&[16.0], &[4.0], 0.5), [2.0]);
        assert_eq!(smoothing_factors(&[16.0], &[4.0], 1.0), [16.0]);
        assert_eq!(smoothing_factors(&[0.0], &[0.0], 0.5), [1.0]);
    }
}
