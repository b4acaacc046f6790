//! Quantization schemes: how a logical matrix product becomes operations of a program.
//!
//! A scheme sees the workload and its own parameters, never the hardware: what a machine makes of the operations is the
//! schedule's business. A new scheme is one file and one line in [`ALL`].

pub mod blocks;
pub mod cast;
pub mod fallback;
pub mod integer;
pub mod llm_int8;
pub mod lowering;
mod made;
pub mod muxq;
pub mod osc;
pub mod treatment;
pub mod w8a8;
pub mod zeroquant;

use crate::program::Program;
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::workload::calibration::{Calibration, CalibrationRequest};
use crate::workload::graph::Workload;
use crate::workload::layer::{LayerId, LogicalGemm};

/// How a family of schemes turns matrix products into operations.
pub trait Scheme: Send + Sync + std::fmt::Debug {
    /// Name in files, reports and on the command line.
    fn name(&self) -> &str;

    /// One sentence for `npusim list`.
    fn description(&self) -> &str;

    /// What it has to know about the activations before the run.
    fn calibration(&self) -> CalibrationRequest {
        CalibrationRequest::default()
    }

    /// Layers that it names and that a workload must have.
    fn layers(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The scheme that lowers `gemm` in its place, where this one is not made for it: outlier schemes treat single products
    /// with constant weights, and weights of four bits are no format for what a run computes.
    fn substitute(&self, _gemm: &LogicalGemm) -> Option<Substitute> {
        None
    }

    /// Whether it divides the input channels of the product `gemm` of the layer `name` by factors (SmoothQuant).
    fn smooths(&self, _name: &str, gemm: &LogicalGemm) -> bool {
        self.calibration().smoothing.is_some() && self.substitute(gemm).is_none()
    }

    /// Lowers one matrix product and returns its real-valued output.
    ///
    /// # Errors
    /// [`LoweringError`] where a calibration is missing or does not fit, or parameters do not fit the layer.
    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError>;
}

/// A scheme in the place of the one that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Substitute {
    /// The scheme.
    pub scheme: &'static dyn Scheme,
    /// What of the layer the other one is not made for.
    pub reason: &'static str,
}

/// Every scheme that can be named without a file, in the order of listings.
pub static ALL: &[&dyn Scheme] = &[
    &cast::FP16,
    &cast::BF16,
    &w8a8::PER_TENSOR,
    &w8a8::PER_TENSOR_PER_CHANNEL,
    &w8a8::PER_TOKEN_PER_CHANNEL,
    &w8a8::FP8_PER_TENSOR,
    &w8a8::FP8_PER_TOKEN_PER_CHANNEL,
    &w8a8::STATIC,
    &w8a8::W4A8,
    &w8a8::W4A16,
    &w8a8::SMOOTHQUANT_PER_TENSOR,
    &w8a8::SMOOTHQUANT_PER_TOKEN,
    &muxq::PER_TENSOR,
    &muxq::PER_TOKEN_PER_CHANNEL,
    &muxq::SEPARATE,
    &muxq::TENDER,
    &muxq::STATIC,
    &llm_int8::FROZEN,
    &llm_int8::ONLINE,
    &osc::MXFP4,
    &osc::MXFP4_COMPACT,
    &osc::DYNAMIC,
    &osc::DYNAMIC_ROW_GATHER,
    &osc::INT4,
    &fallback::OSC_MXFP4_FP8,
    &zeroquant::ZEROQUANT,
    &blocks::MXFP8_E4M3,
    &blocks::MXFP8_E5M2,
    &blocks::MXFP6_E2M3,
    &blocks::MXFP6_E3M2,
    &blocks::MXFP4,
    &blocks::MXINT8,
    &blocks::MXINT4,
    &blocks::NVFP4,
    &blocks::NVFP4_ONE_LEVEL,
    &blocks::W4A8_MX,
    &blocks::INT4_G32,
    &blocks::INT4_G128,
    &blocks::INT8_G128,
];

/// The scheme of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Scheme> {
    ALL.iter().copied().find(|scheme| scheme.name() == name)
}

/// Lowers one matrix product by `scheme`, or by the one that takes its place there.
///
/// # Errors
/// As [`Scheme::lower_gemm`].
pub fn lower_product(
    scheme: &dyn Scheme,
    lowering: &mut Lowering<'_>,
    layer: LayerId,
    gemm: &LogicalGemm,
) -> Result<TensorId, LoweringError> {
    match scheme.substitute(gemm) {
        Some(Substitute { scheme, reason }) => {
            lowering.deviate(layer, scheme.name(), reason);
            scheme.lower_gemm(lowering, layer, gemm)
        }
        None => scheme.lower_gemm(lowering, layer, gemm),
    }
}

/// Lowers a whole workload under one scheme.
///
/// # Errors
/// [`LoweringError`] where the scheme needs a calibration that is not there or does not fit, or where its parameters do not
/// fit a layer.
pub fn lower(
    workload: &Workload,
    scheme: &dyn Scheme,
    calibration: Option<&Calibration>,
) -> Result<Program, LoweringError> {
    Lowering::new(workload, scheme, calibration).run()
}
