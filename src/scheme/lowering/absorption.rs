//! Which divisions of a smoothing cost nothing: those that go into the constants of whoever makes the activation.
//!
//! SmoothQuant (Xiao et al., ICML 2023, section 4) divides the channels of an activation and multiplies the rows of the
//! weight, both before the run: the divisors go into the parameters of the layer before. That needs a layer before that has
//! parameters for each channel, and nobody else who reads its output as it was.

use crate::scheme::Scheme;
use crate::workload::calibration::{Calibration, CalibrationBasis};
use crate::workload::graph::Workload;
use crate::workload::layer::{Layer, LayerOperation, LogicalGemm, ValueRef};
use crate::workload::vector::VectorArithmetic;

/// For each layer of `workload`, whether the layer before it takes up the factors by which `scheme` smooths its input.
pub(super) fn absorbed(workload: &Workload, scheme: &dyn Scheme, calibration: Option<&Calibration>) -> Vec<bool> {
    let layers = workload.layers();
    let mut absorbed = vec![false; layers.len()];
    if scheme.calibration().smoothing.is_none() {
        return absorbed;
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
    for (index, layer) in layers.iter().enumerate() {
        for value in layer.inputs() {
            if let ValueRef::Layer(producer) = value {
                readers[producer.0].push(index);
            }
        }
    }
    let smoothed = |index: usize| -> Option<&LogicalGemm> {
        let Layer { name, operation, .. } = &layers[index];
        match operation {
            LayerOperation::Gemm(gemm) => Some(gemm).filter(|gemm| scheme.smooths(name, gemm)),
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => None,
        }
    };
    // Factors that are assumed are those of no layer in particular.
    let known = calibration.filter(|calibration| calibration.basis == CalibrationBasis::Values);
    let factors = |index: usize| known?.layers.get(&layers[index].name)?.smoothing.as_ref();
    for (_, readers) in layers.iter().zip(&readers).filter(|(layer, _)| has_parameters_of_channels(layer)) {
        let [first, others @ ..] = readers.as_slice() else { continue };
        let are_alike = others.iter().all(|other| factors(*first).is_some() && factors(*first) == factors(*other));
        if are_alike && readers.iter().all(|reader| smoothed(*reader).is_some()) {
            readers.iter().for_each(|reader| absorbed[*reader] = true);
        }
    }
    absorbed
}

/// Whether constants of `layer` scale each channel of its output on its own: the columns of a product's weight and bias, the
/// weight and bias of a norm over whole rows.
fn has_parameters_of_channels(layer: &Layer) -> bool {
    match &layer.operation {
        LayerOperation::Gemm(gemm) => gemm.is_plain(),
        LayerOperation::Activate { .. } => false,
        LayerOperation::Vector(vector) => match vector.function {
            VectorArithmetic::LayerNorm { width, .. } | VectorArithmetic::RmsNorm { width, .. } => {
                width == vector.shape.columns && !vector.constants.is_empty()
            }
            VectorArithmetic::Add
            | VectorArithmetic::Multiply
            | VectorArithmetic::Softmax { .. }
            | VectorArithmetic::Rotary { .. } => false,
        },
    }
}
