//! The workload graph, checked when it is built: shapes agree, names are unique, no layer waits for itself.

use std::collections::BTreeSet;

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::numerics::formats::{ElementFormat, FP32};
use crate::shape::MatrixShape;
use crate::workload::layer::{Layer, LayerId, LayerOperation, ValueRef};
use crate::workload::mapping::Mapping;
use crate::workload::tensor_description::{SourceTensorId, TensorDescription};

/// A consistent workload.
#[derive(Clone, Debug)]
pub struct Workload {
    name: String,
    activation_format: &'static ElementFormat,
    tensors: Vec<TensorDescription>,
    layers: Vec<Layer>,
    mapping: Mapping,
}

/// Why tensors and layers do not make a workload.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WorkloadError {
    /// No layer at all.
    #[error("a workload needs at least one layer")]
    Empty,
    /// A name is used twice.
    #[error("two {what} are named `{name}`; names must be unique")]
    DuplicateName {
        /// Kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Shapes of an operation do not agree.
    #[error("layer `{layer}`: {what} must be {expected}, but `{tensor}` is {given}")]
    ShapeMismatch {
        /// The layer.
        layer: String,
        /// Which operand.
        what: &'static str,
        /// Shape that the operation needs.
        expected: MatrixShape,
        /// Name of the operand.
        tensor: String,
        /// Its shape.
        given: MatrixShape,
    },
    /// Layers wait for each other.
    #[error("layers wait for each other in a circle: {}", .layers.join(" -> "))]
    Cycle {
        /// The layers of the circle, the first one repeated at the end.
        layers: Vec<String>,
    },
}

impl Workload {
    /// Orders the layers by their dependencies (ties by the given order) and checks shapes and names.
    ///
    /// Layer ids inside `layers` are positions in the given order; they are renumbered.
    ///
    /// # Errors
    /// [`WorkloadError`] on an empty workload, a name used twice, shapes that do not agree, or a circle.
    pub fn try_new(
        name: String,
        activation_format: &'static ElementFormat,
        tensors: Vec<TensorDescription>,
        layers: Vec<Layer>,
    ) -> Result<Workload, WorkloadError> {
        if layers.is_empty() {
            return Err(WorkloadError::Empty);
        }
        let mut names = BTreeSet::new();
        let things = tensors.iter().map(|tensor| ("tensors", &tensor.name));
        for (what, name) in things.chain(layers.iter().map(|layer| ("layers", &layer.name))) {
            if !names.insert(name) {
                return Err(WorkloadError::DuplicateName { what, name: name.clone() });
            }
        }
        let layers = in_execution_order(layers)?;
        let workload = Workload { name, activation_format, tensors, layers, mapping: Mapping::default() };
        for layer in &workload.layers {
            workload.check_shapes(layer)?;
        }
        Ok(workload)
    }

    /// The same workload, to be mapped to units and cut into tiles as `mapping` says.
    pub fn with_mapping(self, mapping: Mapping) -> Workload {
        Workload { mapping, ..self }
    }

    /// How its products are mapped to units and cut into tiles.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Name of the workload.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Format in which activations are stored between layers.
    pub fn activation_format(&self) -> &'static ElementFormat {
        self.activation_format
    }

    /// Tensors from outside.
    pub fn tensors(&self) -> &[TensorDescription] {
        &self.tensors
    }

    /// One tensor from outside.
    pub fn tensor(&self, id: SourceTensorId) -> &TensorDescription {
        &self.tensors[id.0]
    }

    /// Format in which each tensor from outside lies off the chip: its own where it has one; that of activations for what
    /// layers read as they read each other's outputs; FP32 for constants (weights, biases) and records, of which a scheme
    /// prepares what the run reads.
    pub fn tensor_formats(&self) -> Vec<&'static ElementFormat> {
        let mut formats = vec![&FP32; self.tensors.len()];
        for value in self.layers.iter().flat_map(Layer::inputs) {
            if let ValueRef::Source(id) = value {
                formats[id.0] = self.activation_format;
            }
        }
        for layer in &self.layers {
            layer.constants().into_iter().for_each(|id| formats[id.0] = &FP32);
        }
        let own = self.tensors.iter().map(|tensor| tensor.format);
        formats.into_iter().zip(own).map(|(format, own)| own.unwrap_or(format)).collect()
    }

    /// Layers in execution order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// One layer.
    pub fn layer(&self, id: LayerId) -> &Layer {
        &self.layers[id.0]
    }

    /// Multiply-accumulates of all layers.
    pub fn macs(&self) -> u64 {
        let macs = |layer: &Layer| match &layer.operation {
            LayerOperation::Gemm(gemm) => gemm.macs(),
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => 0,
        };
        self.layers.iter().map(macs).sum()
    }

    fn check_shapes(&self, layer: &Layer) -> Result<(), WorkloadError> {
        let check = |what, expected, tensor: &str, given| {
            if expected == given {
                return Ok(());
            }
            Err(WorkloadError::ShapeMismatch {
                layer: layer.name.clone(),
                what,
                expected,
                tensor: tensor.to_owned(),
                given,
            })
        };
        let check_value = |what, expected, value| match value {
            ValueRef::Source(id) => check(what, expected, &self.tensor(id).name, self.tensor(id).shape),
            ValueRef::Layer(id) => check(what, expected, &self.layer(id).name, self.layer(id).output_shape()),
        };
        match &layer.operation {
            LayerOperation::Gemm(gemm) => {
                check_value("the input", gemm.input_shape(), gemm.input)?;
                check_value("the weight", gemm.weight_shape(), gemm.weight)?;
                if let Some(bias) = gemm.bias {
                    let columns = gemm.output_shape().columns;
                    check_value("the bias", MatrixShape::new(1, columns), ValueRef::Source(bias))?;
                }
            }
            LayerOperation::Activate { input, shape, .. } => check_value("the input", *shape, *input)?,
            LayerOperation::Vector(vector) => {
                for (what, input) in ["the input", "the second input"].into_iter().zip(&vector.inputs) {
                    check_value(what, vector.shape, *input)?;
                }
                let expected = vector.function.constant_shape(vector.shape);
                for (what, constant) in ["the weight", "the bias"].into_iter().zip(&vector.constants) {
                    check_value(what, expected, ValueRef::Source(*constant))?;
                }
            }
        }
        if let Some(record) = layer.recorded_output {
            check_value("the recorded output", layer.output_shape(), ValueRef::Source(record))?;
        }
        Ok(())
    }
}

fn in_execution_order(layers: Vec<Layer>) -> Result<Vec<Layer>, WorkloadError> {
    let mut graph = DiGraph::<usize, ()>::new();
    let nodes: Vec<NodeIndex> = (0..layers.len()).map(|index| graph.add_node(index)).collect();
    for (index, layer) in layers.iter().enumerate() {
        for input in layer.inputs() {
            if let ValueRef::Layer(producer) = input {
                graph.add_edge(nodes[producer.0], nodes[index], ());
            }
        }
    }
    if toposort(&graph, None).is_err() {
        return Err(WorkloadError::Cycle { layers: circle(&graph, &layers) });
    }
    // petgraph's order among independent layers is its own; the user's order is kept wherever dependencies allow.
    let mut waiting: Vec<usize> =
        nodes.iter().map(|node| graph.neighbors_directed(*node, petgraph::Incoming).count()).collect();
    let mut ready: BTreeSet<usize> = (0..layers.len()).filter(|index| waiting[*index] == 0).collect();
    let mut order = Vec::with_capacity(layers.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for consumer in graph.neighbors(nodes[index]) {
            let consumer = graph[consumer];
            waiting[consumer] -= 1;
            if waiting[consumer] == 0 {
                ready.insert(consumer);
            }
        }
    }
    let mut new_position = vec![0; layers.len()];
    for (position, index) in order.iter().enumerate() {
        new_position[*index] = position;
    }
    let renumber = |value: &mut ValueRef| {
        if let ValueRef::Layer(id) = value {
            id.0 = new_position[id.0];
        }
    };
    let mut slots: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
    let take = |index: usize| {
        let mut layer = slots[index].take().expect("each layer stands in the order once");
        match &mut layer.operation {
            LayerOperation::Gemm(gemm) => {
                renumber(&mut gemm.input);
                renumber(&mut gemm.weight);
            }
            LayerOperation::Activate { input, .. } => renumber(input),
            LayerOperation::Vector(vector) => vector.inputs.iter_mut().for_each(renumber),
        }
        layer
    };
    Ok(order.into_iter().map(take).collect())
}

/// The names along one circle, in the direction of the data, first name repeated.
fn circle(graph: &DiGraph<usize, ()>, layers: &[Layer]) -> Vec<String> {
    let component = tarjan_scc(graph)
        .into_iter()
        .find(|nodes| nodes.len() > 1 || graph.contains_edge(nodes[0], nodes[0]))
        .expect("a graph without topological order has a circle");
    let members: BTreeSet<NodeIndex> = component.into_iter().collect();
    let start = *members.first().expect("a component is not empty");
    let mut path = vec![start];
    loop {
        let here = *path.last().expect("the path starts with a node");
        let next = graph
            .neighbors(here)
            .filter(|node| members.contains(node))
            .min()
            .expect("each node of a strongly connected component has a successor in it");
        if let Some(first) = path.iter().position(|node| *node == next) {
            path.push(next);
            return path[first..].iter().map(|node| layers[graph[*node]].name.clone()).collect();
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats;
    use crate::workload::layer::ActivationFunction;

    fn activation(name: &str, input: ValueRef) -> Layer {
        let operation =
            LayerOperation::Activate { function: ActivationFunction::Relu, input, shape: MatrixShape::new(2, 2) };
        Layer { name: name.to_owned(), operation, recorded_output: None }
    }

    fn build(layers: Vec<Layer>) -> Result<Workload, WorkloadError> {
        let input =
            TensorDescription { name: "x".to_owned(), shape: MatrixShape::new(2, 2), source: None, format: None };
        let format = formats::by_name("fp32").expect("fp32 is registered");
        Workload::try_new("test".to_owned(), format, vec![input], layers)
    }

    #[test]
    fn a_layer_written_before_its_producer_runs_after_it() {
        let source = ValueRef::Source(SourceTensorId(0));
        let workload =
            build(vec![activation("late", ValueRef::Layer(LayerId(1))), activation("early", source)]).unwrap();
        let names: Vec<&str> = workload.layers().iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["early", "late"]);
        assert_eq!(workload.layers()[1].inputs(), [ValueRef::Layer(LayerId(0))]);
    }

    #[test]
    fn a_circle_is_named_whole() {
        let error = build(vec![
            activation("a", ValueRef::Layer(LayerId(2))),
            activation("b", ValueRef::Layer(LayerId(0))),
            activation("c", ValueRef::Layer(LayerId(1))),
        ])
        .unwrap_err();
        assert_eq!(error.to_string(), "layers wait for each other in a circle: a -> b -> c -> a");
    }

    #[test]
    fn a_name_may_not_be_both_a_tensor_and_a_layer() {
        let error = build(vec![activation("x", ValueRef::Source(SourceTensorId(0)))]).unwrap_err();
        assert!(matches!(error, WorkloadError::DuplicateName { .. }));
    }
}
