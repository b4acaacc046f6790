//! Which points of a study are worth simulating: the best share of all by their estimates.

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::config::study::Study;
use crate::explore::evaluate::Evaluator;
use crate::explore::journal::RecordedOutcome;
use crate::explore::nsga2::{Fitness, places};
use crate::explore::results::fitness;
use crate::explore::sampler::Plan;

/// Numbers of the best `share` of all points of `plan`, rounded up, ascending: by rank among the fronts of the estimated
/// objectives, then by how far they are from their neighbours, then by number. Constraints without an estimate are left
/// to the simulation. The same for every part of a study.
pub fn kept(evaluator: &Evaluator<'_>, plan: &Plan<'_>, study: &Study, share: f64) -> Vec<u64> {
    let mut study = study.clone();
    study.constraints.retain(|constraint| constraint.metric.has_estimate());
    let estimate = |index: u64| match evaluator.estimate(&plan.choice(index)) {
        Ok(measured) => {
            let named = measured.into_iter().map(|(metric, value)| (metric.name().to_owned(), value));
            fitness(&study, &RecordedOutcome::Metrics(named.collect()))
        }
        Err(_) => Fitness::Failed,
    };
    let estimates: Vec<Fitness> = (0..plan.points()).into_par_iter().map(estimate).collect();
    best(&estimates, share)
}

/// Positions of the best `share` of `all`, rounded up, ascending.
fn best(all: &[Fitness], share: f64) -> Vec<u64> {
    let most = (share * all.len() as f64).ceil() as usize;
    let places = places(&all.iter().collect::<Vec<_>>());
    (0..).zip(places).filter(|(_, place)| *place < most).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_share_is_the_front_first_and_never_what_failed() {
        let of = |x: f64, y: f64| Fitness::Feasible(vec![x, y]);
        // By hand: (1, 4), (2, 2) and (4, 1) are the front; (3, 3) and (5, 5) are behind it, the last behind both.
        let all = [of(5.0, 5.0), of(1.0, 4.0), Fitness::Failed, of(2.0, 2.0), of(3.0, 3.0), of(4.0, 1.0)];
        assert_eq!(best(&all, 0.5), [1, 3, 5]);
        assert_eq!(best(&all, 0.6), [1, 3, 4, 5]);
        assert_eq!(best(&all, 1.0).len(), 6);
        assert_eq!(best(&all, 0.01).len(), 1);
    }
}
