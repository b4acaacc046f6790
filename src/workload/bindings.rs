//! Values of the tensors that the workload is given.

use crate::numerics::tensor::Tensor;
use crate::workload::tensor_description::SourceTensorId;

/// Values by source tensor. Held apart from the workload, so that timing cannot see a value by its type.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    tensors: Vec<Option<Tensor>>,
}

impl Bindings {
    /// Values in the order of the workload's tensors; `None` where a tensor has only a shape.
    pub fn new(tensors: Vec<Option<Tensor>>) -> Bindings {
        Bindings { tensors }
    }

    /// Values of one tensor.
    pub fn get(&self, id: SourceTensorId) -> Option<&Tensor> {
        self.tensors.get(id.0).and_then(Option::as_ref)
    }

    /// Whether each of `count` tensors has values.
    pub fn is_complete(&self, count: usize) -> bool {
        self.tensors.len() >= count && self.tensors.iter().all(Option::is_some)
    }
}
