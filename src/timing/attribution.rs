//! Whose the time was: by how much each operation moved the run on.

use crate::timing::statistics::RunStatistics;
use crate::units::Cycles;

/// By how much each operation moved the run's progress on: the part of its time after all earlier operations had ended.
/// The parts sum to the makespan; an operation that ends behind an earlier one is hidden and gets zero.
pub fn attributed_cycles(statistics: &RunStatistics) -> Vec<Cycles> {
    let mut frontier = Cycles::ZERO;
    statistics
        .ops
        .iter()
        .map(|op| {
            let part = op.end.saturating_sub(frontier);
            frontier = frontier.max(op.end);
            part
        })
        .collect()
}
