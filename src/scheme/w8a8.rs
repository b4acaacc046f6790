//! W8A8: INT8 weights and activations with symmetric abs-max scales.
//!
//! `q = round(x / s)`, `s = max|x| / 127`, `Y = s_X s_W (X_q W_q)`. Activation scales are dynamic: found over the very
//! activations that they scale. A scale per tensor makes every consumer wait for the producer's last row; one per token
//! does not. This is the naive baseline of the outlier schemes.

use crate::numerics::formats;
use crate::program::op::Scope;
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::Lowering;
use crate::workload::layer::{LayerId, LogicalGemm};

/// INT8 with the given scopes of scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct W8A8 {
    name: &'static str,
    description: &'static str,
    activation_scope: Scope,
    weight_scope: Scope,
}

/// One activation scale per tensor, one weight scale per tensor.
pub static PER_TENSOR: W8A8 = W8A8 {
    name: "w8a8_per_tensor",
    description: "INT8, one dynamic scale for all activations and one for all weights",
    activation_scope: Scope::Tensor,
    weight_scope: Scope::Tensor,
};

/// One activation scale per tensor, one weight scale per output channel.
pub static PER_TENSOR_PER_CHANNEL: W8A8 = W8A8 {
    name: "w8a8_per_tensor_per_channel",
    description: "INT8, one dynamic scale for all activations and one per output channel of the weights",
    activation_scope: Scope::Tensor,
    weight_scope: Scope::Column,
};

/// One activation scale per token, one weight scale per output channel.
pub static PER_TOKEN_PER_CHANNEL: W8A8 = W8A8 {
    name: "w8a8_per_token_per_channel",
    description: "INT8, one dynamic scale per token and one per output channel of the weights",
    activation_scope: Scope::Row,
    weight_scope: Scope::Column,
};

impl Scheme for W8A8 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn lower_gemm(&self, lowering: &mut Lowering<'_>, layer: LayerId, gemm: &LogicalGemm) -> TensorId {
        let format = &formats::INT8;
        let weight = lowering.prepared_weight(layer, gemm.weight, self.weight_scope, format);
        let input = lowering.value(gemm.input);
        let scale = lowering.dynamic_scale(layer, input, self.activation_scope, format);
        let codes = lowering.quantize(layer, input, scale, format);
        lowering.gemm_and_dequantize(layer, gemm, (codes, scale), weight)
    }
}
