//! One scheme for most layers and another for some: OSC keeps the inputs of the down projection in 8 bits.

use std::borrow::Cow;

use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::scheme::{Scheme, blocks, lower_product, osc};
use crate::workload::calibration::CalibrationRequest;
use crate::workload::layer::{LayerId, LayerRole, LogicalGemm};

/// A scheme with exceptions.
#[derive(Debug)]
pub struct WithFallback {
    /// For all layers but the excepted ones.
    pub scheme: MainScheme,
    /// Layers with a scheme of their own, which asks for no calibration. The first exception that a layer fits holds.
    pub exceptions: Cow<'static, [Exception]>,
}

/// The scheme of most layers.
#[derive(Debug)]
pub enum MainScheme {
    /// One of those that are registered.
    Registered(&'static dyn Scheme),
    /// One that a file describes.
    Described(Box<dyn Scheme>),
}

/// Layers with a scheme of their own.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Which ones.
    pub layers: ExceptedLayers,
    /// Their scheme.
    pub scheme: &'static dyn Scheme,
}

/// Which layers are excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExceptedLayers {
    /// The one of that name, which the workload must have.
    Named(String),
    /// All that play this part in a model; there may be none.
    OfRole(LayerRole),
}

/// OSC as its paper measures accuracy: the inputs of the down projection in MXFP8.
pub static OSC_MXFP4_FP8: WithFallback = WithFallback {
    scheme: MainScheme::Registered(&osc::MXFP4_BESIDE_FP8),
    exceptions: Cow::Borrowed(&[Exception {
        layers: ExceptedLayers::OfRole(LayerRole::Down),
        scheme: &blocks::MXFP8_E4M3,
    }]),
};

impl WithFallback {
    fn main(&self) -> &dyn Scheme {
        match &self.scheme {
            MainScheme::Registered(scheme) => *scheme,
            MainScheme::Described(scheme) => scheme.as_ref(),
        }
    }

    /// The scheme of one layer.
    fn of_layer(&self, name: &str, gemm: &LogicalGemm) -> &dyn Scheme {
        let fits = |exception: &&Exception| match &exception.layers {
            ExceptedLayers::Named(layer) => *layer == name,
            ExceptedLayers::OfRole(role) => gemm.role == Some(*role),
        };
        self.exceptions.iter().find(fits).map_or(self.main(), |exception| exception.scheme)
    }
}

impl Scheme for WithFallback {
    fn name(&self) -> &str {
        self.main().name()
    }

    fn description(&self) -> &str {
        self.main().description()
    }

    fn calibration(&self) -> CalibrationRequest {
        self.main().calibration()
    }

    fn smooths(&self, name: &str, gemm: &LogicalGemm) -> bool {
        self.of_layer(name, gemm).smooths(name, gemm)
    }

    fn layers(&self) -> Vec<&str> {
        let exceptions = self.exceptions.iter();
        let names = exceptions.filter_map(|exception| match &exception.layers {
            ExceptedLayers::Named(layer) => Some(layer.as_str()),
            ExceptedLayers::OfRole(_) => None,
        });
        names.collect()
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let name = lowering.layer_name(layer);
        lower_product(self.of_layer(&name, gemm), lowering, layer, gemm)
    }
}
