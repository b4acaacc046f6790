//! One scheme for most layers and another for some: OSC keeps the inputs of the down projection in 8 bits.

use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::scheme::{Scheme, lower_product};
use crate::workload::calibration::CalibrationRequest;
use crate::workload::layer::{LayerId, LogicalGemm};

/// A scheme with exceptions.
#[derive(Debug)]
pub struct WithFallback {
    /// For all layers but the named ones.
    pub scheme: Box<dyn Scheme>,
    /// Names of layers, each with its own scheme; none of those asks for a calibration.
    pub exceptions: Vec<(String, &'static dyn Scheme)>,
}

impl Scheme for WithFallback {
    fn name(&self) -> &str {
        self.scheme.name()
    }

    fn description(&self) -> &str {
        self.scheme.description()
    }

    fn calibration(&self) -> CalibrationRequest {
        self.scheme.calibration()
    }

    fn layers(&self) -> Vec<&str> {
        self.exceptions.iter().map(|(layer, _)| layer.as_str()).collect()
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let name = lowering.layer_name(layer);
        match self.exceptions.iter().find(|(layer, _)| *layer == name) {
            Some((_, scheme)) => lower_product(*scheme, lowering, layer, gemm),
            None => lower_product(self.scheme.as_ref(), lowering, layer, gemm),
        }
    }
}
