//! One product with values through the whole simulation: what sets of numbers are held against.

use crate::config::document::Document;
use crate::config::workload;
use crate::hardware::npu::Npu;
use crate::numerics::formats::FP32;
use crate::numerics::tensor::{Elements, Tensor};
use crate::report::data::Configuration;
use crate::scheme::Scheme;
use crate::shape::MatrixShape;
use crate::simulation::{Outcome, Setup, SimulationError, simulate};
use crate::timing::observer::Unobserved;
use crate::workload::bindings::Bindings;
use crate::workload::calibration::{Calibration, LayerCalibration};

/// Name of the only layer.
pub(super) const LAYER: &str = "y";

/// A real-valued matrix, row-major.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Simulates `x w` under `scheme`, which knows about the activations what `known` says.
///
/// # Errors
/// [`SimulationError`] where a stage refuses the product.
pub(super) fn simulated(
    npu: &Npu,
    [x, w]: [Values<'_>; 2],
    scheme: &dyn Scheme,
    known: LayerCalibration,
) -> Result<Outcome, SimulationError> {
    let (m, k, n) = (x.rows, x.columns, w.columns);
    let text = format!(
        "name: product\nactivation_format: fp32\n\
         tensors: [{{ name: x, shape: [{m}, {k}] }}, {{ name: w, shape: [{k}, {n}] }}]\n\
         layers: [{{ name: {LAYER}, gemm: {{ input: x, weight: w }} }}]\n"
    );
    let (workload, _) = workload::resolve(&Document::from_bytes("its workload", text.as_bytes(), "")?)?;
    let bind = |matrix: Values<'_>| {
        let shape = MatrixShape::new(matrix.rows as u64, matrix.columns as u64);
        Tensor::try_new(shape, &FP32, Elements::F32(matrix.values.to_vec())).expect("a matrix fills its shape")
    };
    let bindings = Bindings::new(vec![Some(bind(x)), Some(bind(w))]);
    let (request, layers) = (scheme.calibration(), [(LAYER.to_owned(), known)].into());
    let calibration = Calibration { request, layers, ..Calibration::default() };
    let setup = Setup {
        npu: &npu.clone(),
        workload: &workload,
        scheme,
        calibration: Some(&calibration),
        bindings: Some(&bindings),
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    simulate(setup, &mut Unobserved)
}
