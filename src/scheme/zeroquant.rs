//! ZeroQuant (Yao et al., NeurIPS 2022): weights in groups along k, activations with one dynamic scale per token.
//!
//! The scales of the groups are applied by the matrix unit, which sums in FP32; the token's scale is multiplied afterwards.
//! The paper fuses the quantization of activations into the operation before it.

use std::borrow::Cow;

use crate::numerics::block::{self, BlockFormat};
use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::{GemmOperand, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::scheme::treatment::TreatedInput;
use crate::scheme::{Scheme, Substitute, w8a8};
use crate::workload::layer::{LayerId, LogicalGemm};

/// Weights in groups, activations by tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroQuant {
    /// Name in files and reports.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub description: &'static str,
    /// Format and group of the weights.
    pub weights: &'static BlockFormat,
    /// Whether the scales of the groups take room and bandwidth.
    pub counts_scale_bytes: bool,
    /// INT8 or INT4.
    pub activation_format: &'static ElementFormat,
}

/// INT8 on both sides, groups of 128.
pub static ZEROQUANT: ZeroQuant = ZeroQuant {
    name: Cow::Borrowed("zeroquant"),
    description: "ZeroQuant: INT8 weights in groups of 128 with an FP16 scale, INT8 activations with a dynamic scale per token",
    weights: &block::INT8_G128,
    counts_scale_bytes: true,
    activation_format: &formats::INT8,
};

impl Scheme for ZeroQuant {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn substitute(&self, gemm: &LogicalGemm) -> Option<Substitute> {
        // What is computed during the run has no groups of weights: attention is quantized by tokens alone.
        gemm.beyond_plain().map(|reason| Substitute { scheme: &w8a8::PER_TOKEN_PER_CHANNEL, reason })
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let right = lowering.prepared_block_weight(layer, self.weights, self.counts_scale_bytes);
        let mut input = TreatedInput::new(lowering, layer, gemm, None);
        let x = input.quantize(lowering, layer, Scope::Row, self.activation_format, None);
        let left = (GemmOperand::plain(x.codes), Some(x.scale));
        Ok(lowering.gemm_and_dequantize(layer, gemm, left, right))
    }
}
