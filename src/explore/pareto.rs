//! Dominance: fronts, their hypervolume, and the ranks that the genetic algorithm needs. Every objective is minimised here;
//! whoever maximises negates.

use std::cmp::Ordering;

/// Whether `a` is nowhere worse than `b` and somewhere better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let mut better = false;
    for (a, b) in a.iter().zip(b) {
        if a > b {
            return false;
        }
        better |= a < b;
    }
    better
}

/// Positions of the points that no other dominates, ascending. Of equal points all are on the front.
pub fn front(points: &[Vec<f64>]) -> Vec<usize> {
    // Nothing that comes later in lexicographic order dominates what comes before it, so that each point is held only
    // against the front so far.
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| lexicographic(&points[*a], &points[*b]).then(a.cmp(b)));
    let mut front: Vec<usize> = Vec::new();
    for candidate in order {
        if !front.iter().any(|member| dominates(&points[*member], &points[candidate])) {
            front.push(candidate);
        }
    }
    front.sort_unstable();
    front
}

fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Volume of what lies between the points and `reference` and is dominated by any of them. Points that are not below the
/// reference in every objective add nothing.
///
/// Exact: by slices along the last objective, each of which is a hypervolume of one objective fewer.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = points.iter().filter(|point| point.iter().zip(reference).all(|(value, limit)| value < limit));
    let inside: Vec<Vec<f64>> = inside.cloned().collect();
    let on_front: Vec<Vec<f64>> = front(&inside).into_iter().map(|index| inside[index].clone()).collect();
    sliced(on_front, reference)
}

fn sliced(mut points: Vec<Vec<f64>>, reference: &[f64]) -> f64 {
    let Some((limit, rest)) = reference.split_last() else { return 0.0 };
    if points.is_empty() {
        return 0.0;
    }
    let last = rest.len();
    if last == 0 {
        return limit - points.iter().map(|point| point[0]).fold(f64::INFINITY, f64::min);
    }
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    let mut volume = 0.0;
    for slice in 0..points.len() {
        let next = points.get(slice + 1).map_or(*limit, |point| point[last]);
        let depth = next - points[slice][last];
        if depth > 0.0 {
            let below: Vec<Vec<f64>> = points[..=slice].iter().map(|point| point[..last].to_vec()).collect();
            let on_front = front(&below).into_iter().map(|index| below[index].clone()).collect();
            volume += depth * sliced(on_front, rest);
        }
    }
    volume
}

/// The rank of each point: 0 on the front, 1 on the front of the rest, and so on.
pub fn ranks(points: &[Vec<f64>]) -> Vec<usize> {
    let mut ranks = vec![usize::MAX; points.len()];
    let mut left: Vec<usize> = (0..points.len()).collect();
    for rank in 0.. {
        if left.is_empty() {
            break;
        }
        let rest: Vec<Vec<f64>> = left.iter().map(|index| points[*index].clone()).collect();
        for member in front(&rest) {
            ranks[left[member]] = rank;
        }
        left.retain(|index| ranks[*index] == usize::MAX);
    }
    ranks
}

/// How far each point's neighbours of the same rank are from it, over all objectives; infinite at the ends.
pub fn crowding(points: &[Vec<f64>], ranks: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; points.len()];
    let objectives = points.first().map_or(0, Vec::len);
    for rank in 0..=ranks.iter().copied().max().unwrap_or(0) {
        let mut members: Vec<usize> = (0..points.len()).filter(|index| ranks[*index] == rank).collect();
        (0..objectives).for_each(|objective| {
            members.sort_by(|a, b| points[*a][objective].total_cmp(&points[*b][objective]).then(a.cmp(b)));
            let (Some(first), Some(last)) = (members.first(), members.last()) else { return };
            let spread = points[*last][objective] - points[*first][objective];
            distances[*first] = f64::INFINITY;
            distances[*last] = f64::INFINITY;
            for three in members.windows(3) {
                if spread > 0.0 {
                    distances[three[1]] += (points[three[2]][objective] - points[three[0]][objective]) / spread;
                }
            }
        });
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, proptest};

    fn points(rows: &[&[f64]]) -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.to_vec()).collect()
    }

    #[test]
    fn the_front_is_what_nobody_beats_and_equal_points_share_it() {
        let all = points(&[&[1.0, 4.0], &[2.0, 2.0], &[3.0, 3.0], &[4.0, 1.0], &[2.0, 2.0], &[1.0, 5.0]]);
        assert_eq!(front(&all), [0, 1, 3, 4]);
        assert_eq!(ranks(&all), [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn the_hypervolume_of_boxes_is_that_of_their_union() {
        // Boxes from (1, 2) and (2, 1) to (3, 3): 2 + 2 - 1.
        assert_eq!(hypervolume(&points(&[&[1.0, 2.0], &[2.0, 1.0], &[2.5, 2.5]]), &[3.0, 3.0]), 3.0);
        // Cubes of side 2 that overlap in one of side 1.
        let cubes = points(&[&[0.0, 0.0, 1.0], &[1.0, 1.0, 0.0]]);
        // [0,2]x[0,2]x[1,2] and [1,2]x[1,2]x[0,2]: 4 + 2 - 1.
        assert_eq!(hypervolume(&cubes, &[2.0, 2.0, 2.0]), 5.0);
        assert_eq!(hypervolume(&points(&[&[5.0, 0.0]]), &[3.0, 3.0]), 0.0);
    }

    #[test]
    fn crowding_is_infinite_at_the_ends_and_adds_up_between_them() {
        let line = points(&[&[0.0, 4.0], &[1.0, 3.0], &[4.0, 0.0]]);
        assert_eq!(crowding(&line, &[0, 0, 0]), [f64::INFINITY, 2.0, f64::INFINITY]);
    }

    proptest! {
        #[test]
        fn the_front_is_what_comparing_all_pairs_gives(
            all in prop::collection::vec(prop::collection::vec(0_u8..6, 3), 0..40)
        ) {
            let all: Vec<Vec<f64>> = all.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect();
            let expected: Vec<usize> =
                (0..all.len()).filter(|a| !all.iter().any(|b| dominates(b, &all[*a]))).collect();
            assert_eq!(front(&all), expected);
        }

        #[test]
        fn the_hypervolume_is_what_counting_unit_cells_gives(
            all in prop::collection::vec(prop::collection::vec(0_u8..5, 3), 0..12)
        ) {
            let all: Vec<Vec<f64>> = all.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect();
            let cells = (0..125_u32).filter(|cell| {
                let corner = [cell % 5, cell / 5 % 5, cell / 25].map(f64::from);
                all.iter().any(|point| point.iter().zip(corner).all(|(value, corner)| *value <= corner))
            });
            assert_eq!(hypervolume(&all, &[5.0, 5.0, 5.0]), cells.count() as f64);
        }
    }
}
