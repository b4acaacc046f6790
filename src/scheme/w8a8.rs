//! W8A8 and its like: 8-bit weights and activations, INT8 or FP8, with symmetric abs-max scales.
//!
//! `q = round(x / s)`, `s = max|x| / 127` (448 for FP8 E4M3), `Y = s_X s_W (X_q W_q)`. Activation scales are dynamic: found over the very
//! activations that they scale. A scale per tensor makes every consumer wait for the producer's last row; one per token
//! does not. This is the naive baseline of the outlier schemes. A static scale comes from a calibration, for every product:
//! convolutions, batches, and both operands of attention. SmoothQuant (Xiao
//! et al., ICML 2023) divides the activation's channels by factors and multiplies the weight's rows by them before all this;
//! the division is a part of whoever makes the activation, and costs nothing here.

use std::borrow::Cow;

use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::{GemmOperand, ScaleSource, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::scheme::treatment::{TreatedInput, calibration_of};
use crate::scheme::{Scheme, Substitute, cast};
use crate::workload::calibration::{CalibrationRequest, Smoothing};
use crate::workload::layer::{LayerId, LogicalGemm, ValueRef};

/// Scaled operands with the given formats and scopes of scales.
#[derive(Clone, Debug, PartialEq)]
pub struct W8A8 {
    /// Name in files and reports.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub description: &'static str,
    /// INT8, FP8, or a 16-bit float, which is only rounded.
    pub activation_format: &'static ElementFormat,
    /// INT8, INT4 or FP8.
    pub weight_format: &'static ElementFormat,
    /// Tensor or row; none for a 16-bit float.
    pub activation_scope: Option<Scope>,
    /// Tensor or column.
    pub weight_scope: Scope,
    /// When the activation's scale is known. A static one is per tensor.
    pub activation_scale: ScaleSource,
    /// Smoothing before everything else.
    pub smoothing: Option<Smoothing>,
}

const INT8: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_per_tensor"),
    description: "INT8, one dynamic scale for all activations and one for all weights",
    activation_format: &formats::INT8,
    weight_format: &formats::INT8,
    activation_scope: Some(Scope::Tensor),
    weight_scope: Scope::Tensor,
    activation_scale: ScaleSource::Dynamic,
    smoothing: None,
};

/// One activation scale per tensor, one weight scale per tensor.
pub static PER_TENSOR: W8A8 = INT8;

/// One activation scale per tensor, one weight scale per output channel.
pub static PER_TENSOR_PER_CHANNEL: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_per_tensor_per_channel"),
    description: "INT8, one dynamic scale for all activations and one per output channel of the weights",
    weight_scope: Scope::Column,
    ..INT8
};

/// One activation scale per token, one weight scale per output channel.
pub static PER_TOKEN_PER_CHANNEL: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_per_token_per_channel"),
    description: "INT8, one dynamic scale per token and one per output channel of the weights",
    activation_scope: Some(Scope::Row),
    weight_scope: Scope::Column,
    ..INT8
};

/// FP8 E4M3 with one activation scale per tensor, one weight scale per tensor.
pub static FP8_PER_TENSOR: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_fp8_per_tensor"),
    description: "FP8 E4M3, one dynamic scale for all activations and one for all weights",
    activation_format: &formats::FP8_E4M3,
    weight_format: &formats::FP8_E4M3,
    ..INT8
};

/// FP8 E4M3 with one activation scale per token, one weight scale per output channel.
pub static FP8_PER_TOKEN_PER_CHANNEL: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_fp8_per_token_per_channel"),
    description: "FP8 E4M3, one dynamic scale per token and one per output channel of the weights",
    activation_format: &formats::FP8_E4M3,
    weight_format: &formats::FP8_E4M3,
    activation_scope: Some(Scope::Row),
    weight_scope: Scope::Column,
    ..INT8
};

/// INT8 with an activation scale that a calibration gave: no pass over the data finds it.
pub static STATIC: W8A8 = W8A8 {
    name: Cow::Borrowed("w8a8_static"),
    description: "INT8, one calibrated scale for all activations and one per output channel of the weights",
    weight_scope: Scope::Column,
    activation_scale: ScaleSource::Static,
    ..INT8
};

/// INT4 weights, INT8 activations.
pub static W4A8: W8A8 = W8A8 {
    name: Cow::Borrowed("w4a8"),
    description: "INT4 weights with a scale per output channel, INT8 activations with a dynamic one per token",
    weight_format: &formats::INT4,
    activation_scope: Some(Scope::Row),
    weight_scope: Scope::Column,
    ..INT8
};

/// INT4 weights, FP16 activations.
pub static W4A16: W8A8 = W8A8 {
    name: Cow::Borrowed("w4a16"),
    description: "INT4 weights with a scale per output channel, FP16 activations",
    activation_format: &formats::FP16,
    weight_format: &formats::INT4,
    activation_scope: None,
    weight_scope: Scope::Column,
    ..INT8
};

/// SmoothQuant with one scale for all activations and one for all weights.
pub static SMOOTHQUANT_PER_TENSOR: W8A8 = W8A8 {
    name: Cow::Borrowed("smoothquant_per_tensor"),
    description: "SmoothQuant (alpha 0.5) in INT8, one dynamic scale for all activations and one for all weights",
    smoothing: Some(Smoothing { alpha: 0.5 }),
    ..INT8
};

/// SmoothQuant with one scale per token and one per output channel.
pub static SMOOTHQUANT_PER_TOKEN: W8A8 = W8A8 {
    name: Cow::Borrowed("smoothquant_per_token"),
    description: "SmoothQuant (alpha 0.5) in INT8, one dynamic scale per token and one per output channel of the weights",
    activation_scope: Some(Scope::Row),
    weight_scope: Scope::Column,
    smoothing: Some(Smoothing { alpha: 0.5 }),
    ..INT8
};

impl Scheme for W8A8 {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn calibration(&self) -> CalibrationRequest {
        let range = self.activation_scale == ScaleSource::Static;
        CalibrationRequest { smoothing: self.smoothing, range, ..CalibrationRequest::default() }
    }

    fn substitute(&self, gemm: &LogicalGemm) -> Option<Substitute> {
        let is_computed = gemm.constant_weight().is_none();
        let is_narrow = self.weight_format.storage_bits() < 8;
        let reason = match (self.smoothing, is_narrow && is_computed) {
            (_, true) => "the run computes the right operand, and the format of weights is for constants",
            (Some(_), false) => gemm.beyond_plain()?,
            (None, false) => return None,
        };
        let scheme: &'static dyn Scheme = match (self.activation_scope, self.activation_scale) {
            (None, _) => &cast::FP16,
            (Some(_), ScaleSource::Static) => &STATIC,
            (Some(Scope::Row), ScaleSource::Dynamic) => &PER_TOKEN_PER_CHANNEL,
            (Some(_), ScaleSource::Dynamic) if self.weight_scope == Scope::Column => &PER_TENSOR_PER_CHANNEL,
            (Some(_), ScaleSource::Dynamic) => &PER_TENSOR,
        };
        Some(Substitute { scheme, reason })
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let calibration = calibration_of(self, lowering, layer, gemm)?;
        let mut input = TreatedInput::new(lowering, layer, gemm, calibration);
        let scope = Some(self.weight_scope);
        let is_static = self.activation_scale == ScaleSource::Static;
        let range = calibration.and_then(|calibration| calibration.range).filter(|_| is_static);
        let weight_range = calibration.and_then(|calibration| calibration.weight_range).filter(|_| is_static);
        let is_computed = gemm.constant_weight().is_none();
        if is_static && (range.is_none() || is_computed && weight_range.is_none()) {
            lowering.deviate(layer, "dynamic scales", "the calibration has no range of the layer");
        }
        let (weight, weight_scale) = match (gemm.weight, weight_range) {
            // Nothing that another layer writes can be prepared; it is quantized like an activation.
            (ValueRef::Layer(_), Some(range)) => {
                let (codes, scale) = lowering.static_weight(layer, self.weight_format, range);
                (codes, Some(scale))
            }
            (ValueRef::Layer(_), None) => lowering.prepared_weight(layer, scope, self.weight_format),
            (ValueRef::Source(_), _) => {
                let weight = input.weight(lowering, layer, gemm);
                lowering.prepared_matrix(layer, weight, scope, self.weight_format)
            }
        };
        let (codes, scale) = match (self.activation_scope, range) {
            (None, _) => {
                let (input, _) = input.pass(lowering, layer, None);
                (lowering.quantize(layer, input, None, self.activation_format), None)
            }
            (Some(_), Some(range)) => {
                let x = input.quantize_static(lowering, layer, self.activation_format, range);
                (x.codes, Some(x.scale))
            }
            (Some(scope), None) => {
                let x = input.quantize(lowering, layer, scope, self.activation_format, None);
                (x.codes, Some(x.scale))
            }
        };
        let left = (GemmOperand::plain(codes), scale);
        Ok(lowering.gemm_and_dequantize(layer, gemm, left, (GemmOperand::plain(weight), weight_scale)))
    }
}
