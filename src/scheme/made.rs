//! What several layers ask for and is computed once: scales and codes by the tensor that they are made from.

use std::collections::BTreeMap;

use crate::program::tensor::TensorId;

/// Results by the tensor and the way they are made from it. A tensor has a few at most.
#[derive(Clone, Debug)]
pub(super) struct Made<Way, Result> {
    by_input: BTreeMap<TensorId, Vec<(Way, Result)>>,
}

impl<Way: PartialEq, Result: Copy> Made<Way, Result> {
    /// Nothing yet.
    pub(super) const fn new() -> Made<Way, Result> {
        Made { by_input: BTreeMap::new() }
    }

    /// What has been made from `input` in this way.
    pub(super) fn get(&self, input: TensorId, way: &Way) -> Option<Result> {
        self.by_input.get(&input)?.iter().find(|(known, _)| known == way).map(|(_, result)| *result)
    }

    /// Keeps what was made.
    pub(super) fn keep(&mut self, input: TensorId, way: Way, result: Result) {
        self.by_input.entry(input).or_default().push((way, result));
    }
}
