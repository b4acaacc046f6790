//! W8A8: 8-bit weights and activations, INT8 or FP8, with symmetric abs-max scales.
//!
//! `q = round(x / s)`, `s = max|x| / 127` (448 for FP8 E4M3), `Y = s_X s_W (X_q W_q)`. Activation scales are dynamic: found over the very
//! activations that they scale. A scale per tensor makes every consumer wait for the producer's last row; one per token
//! does not. This is the naive baseline of the outlier schemes.

use std::borrow::Cow;

use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::{GemmOperand, ScaleTarget, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::workload::layer::{LayerId, LogicalGemm};

/// 8-bit operands with the given scopes of scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct W8A8 {
    name: Cow<'static, str>,
    description: &'static str,
    format: &'static ElementFormat,
    activation_scope: Scope,
    weight_scope: Scope,
}

/// One activation scale per tensor, one weight scale per tensor.
pub static PER_TENSOR: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_per_tensor"),
    description: "INT8, one dynamic scale for all activations and one for all weights",
    format: &formats::INT8,
    activation_scope: Scope::Tensor,
    weight_scope: Scope::Tensor,
};

/// One activation scale per tensor, one weight scale per output channel.
pub static PER_TENSOR_PER_CHANNEL: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_per_tensor_per_channel"),
    description: "INT8, one dynamic scale for all activations and one per output channel of the weights",
    format: &formats::INT8,
    activation_scope: Scope::Tensor,
    weight_scope: Scope::Column,
};

/// One activation scale per token, one weight scale per output channel.
pub static PER_TOKEN_PER_CHANNEL: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_per_token_per_channel"),
    description: "INT8, one dynamic scale per token and one per output channel of the weights",
    format: &formats::INT8,
    activation_scope: Scope::Row,
    weight_scope: Scope::Column,
};

/// FP8 E4M3 with one activation scale per tensor, one weight scale per tensor.
pub static FP8_PER_TENSOR: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_fp8_per_tensor"),
    description: "FP8 E4M3, one dynamic scale for all activations and one for all weights",
    format: &formats::FP8_E4M3,
    activation_scope: Scope::Tensor,
    weight_scope: Scope::Tensor,
};

/// FP8 E4M3 with one activation scale per token, one weight scale per output channel.
pub static FP8_PER_TOKEN_PER_CHANNEL: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_fp8_per_token_per_channel"),
    description: "FP8 E4M3, one dynamic scale per token and one per output channel of the weights",
    format: &formats::FP8_E4M3,
    activation_scope: Scope::Row,
    weight_scope: Scope::Column,
};

impl W8A8 {
    /// Operands of an 8-bit `format` (INT8 or FP8), one scale for each `activation_scope` (tensor or row) of the activations
    /// and each `weight_scope` (tensor or column) of the weights.
    pub fn new(name: String, format: &'static ElementFormat, activation_scope: Scope, weight_scope: Scope) -> W8A8 {
        let description = "8-bit operands with dynamic activation scales";
        W8A8 { name: Cow::Owned(name), description, format, activation_scope, weight_scope }
    }
}

impl Scheme for W8A8 {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let (weight, weight_scale) = lowering.prepared_weight(layer, gemm.weight, Some(self.weight_scope), self.format);
        let input = lowering.value(gemm.input);
        let scale = lowering.dynamic_scale(layer, input, self.activation_scope, ScaleTarget::Element(self.format));
        let codes = lowering.quantize(layer, input, Some(scale), self.format);
        let left = (GemmOperand::plain(codes), Some(scale));
        Ok(lowering.gemm_and_dequantize(layer, gemm, left, (GemmOperand::plain(weight), weight_scale)))
    }
}
