//! Block formats on both sides: OCP MX, NVFP4, and integers in groups under a float scale. Weights may be narrower than
//! activations, in blocks of the same length.
//!
//! Activations are quantized during the run, weights before it, both in blocks along k; the matrix unit applies the block
//! scales and sums in FP32 (OCP Microscaling Formats 1.0, section 6). A block's scale needs only the block, so there is no
//! barrier, except for two-level NVFP4, whose tensor scale needs the whole tensor.

use std::borrow::Cow;

use crate::numerics::block::{self, BlockFormat};
use crate::program::op::{ScaleTarget, Scope, block_runs};
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Arriving, Lowering, LoweringError};
use crate::scheme::{Scheme, Substitute, cast};
use crate::workload::layer::{LayerId, LogicalGemm, RightLayout, ValueRef};

/// Both operands in a block format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    name: Cow<'static, str>,
    description: &'static str,
    format: &'static BlockFormat,
    weight_format: &'static BlockFormat,
    counts_scale_bytes: bool,
    arriving: Arriving,
}

impl Blocks {
    /// Both operands in `format`. Without `counts_scale_bytes` the block scales take no room and no bandwidth, as in cost
    /// models that leave them out.
    pub fn new(name: String, format: &'static BlockFormat, counts_scale_bytes: bool, arriving: Arriving) -> Blocks {
        let description = "both operands in one block format";
        Blocks { name: Cow::Owned(name), description, format, weight_format: format, counts_scale_bytes, arriving }
    }

    /// The same with constant weights in `weight_format`, whose blocks are as long as those of the activations.
    pub fn with_weights(self, weight_format: &'static BlockFormat) -> Blocks {
        Blocks { weight_format, ..self }
    }
}

macro_rules! both_operands {
    ($($scheme:ident $name:literal: $description:literal),+ $(,)?) => {
        $(
            #[doc = concat!($description, ", both operands.")]
            pub static $scheme: Blocks = Blocks {
                name: Cow::Borrowed($name),
                description: $description,
                format: &block::$scheme,
                weight_format: &block::$scheme,
                counts_scale_bytes: true,
                arriving: Arriving::Real,
            };
        )+
    };
}

both_operands! {
    MXFP8_E4M3 "mxfp8_e4m3": "blocks of 32 FP8 E4M3 with a power-of-two scale",
    MXFP8_E5M2 "mxfp8_e5m2": "blocks of 32 FP8 E5M2 with a power-of-two scale",
    MXFP6_E2M3 "mxfp6_e2m3": "blocks of 32 FP6 E2M3 with a power-of-two scale",
    MXFP6_E3M2 "mxfp6_e3m2": "blocks of 32 FP6 E3M2 with a power-of-two scale",
    MXFP4 "mxfp4": "blocks of 32 FP4 E2M1 with a power-of-two scale",
    MXINT8 "mxint8": "blocks of 32 INT8 with a power-of-two scale",
    MXINT4 "mxint4": "blocks of 32 INT4 with a power-of-two scale",
    NVFP4 "nvfp4": "blocks of 16 FP4 E2M1 with an E4M3 scale and a scale per tensor",
    NVFP4_ONE_LEVEL "nvfp4_one_level": "blocks of 16 FP4 E2M1 with an E4M3 scale",
    INT4_G32 "int4_g32": "groups of 32 INT4 with an FP16 scale",
    INT4_G128 "int4_g128": "groups of 128 INT4 with an FP16 scale",
    INT8_G128 "int8_g128": "groups of 128 INT8 with an FP16 scale",
}

/// MXFP4 weights, MXFP8 activations.
pub static W4A8_MX: Blocks = Blocks {
    name: Cow::Borrowed("w4a8_mx"),
    description: "weights in blocks of 32 FP4 E2M1, activations in blocks of 32 FP8 E4M3, each with a power-of-two scale",
    weight_format: &block::MXFP4,
    ..MXFP8_E4M3
};

impl Scheme for Blocks {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn substitute(&self, gemm: &LogicalGemm) -> Option<Substitute> {
        // What another layer writes k by n has no blocks along k: those products of attention stay in 16 bits.
        let is_across = matches!(gemm.weight, ValueRef::Layer(_)) && gemm.weight_layout == RightLayout::KByN;
        if is_across {
            let reason = "the run computes the right operand k by n, which has no blocks along k";
            return Some(Substitute { scheme: &cast::FP16, reason });
        }
        // The format of weights is for constants: between what the run computes, both are activations.
        let is_computed = gemm.constant_weight().is_none() && self.format != self.weight_format;
        let reason = "the run computes the right operand, and the format of weights is for constants";
        let scheme = is_computed.then(|| of_activations(self.format)).flatten()?;
        Some(Substitute { scheme, reason })
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let (name, block) = (self.format.name(), self.format.block());
        let [run, _] = block_runs(gemm.shape, gemm.window.as_ref());
        // Batches have blocks of their own, each along its own k. The window of a convolution is one k of several pixels.
        let pixels = gemm.window.map_or(1, |window| window.y.kernel() * window.x.kernel());
        if pixels > 1 && !run.is_multiple_of(block) {
            let problem = format!(
                "blocks of {name} span {block} elements along k, of which {run} lie together; give the layer another scheme \
                 (fallback: [{{ layer: {}, scheme: fp16 }}])",
                lowering.layer_name(layer)
            );
            return Err(LoweringError::Unfit { layer: lowering.layer_name(layer), problem });
        }
        lowering.check_arriving(layer, gemm, self.arriving)?;
        let right = lowering.prepared_block_weight(layer, self.weight_format, self.counts_scale_bytes);
        let input = lowering.value(gemm.input);
        let (left, tensor_scale) = lowering.on_activations(self.arriving, |lowering| {
            let has_scale = self.format.has_tensor_scale();
            let target = ScaleTarget::Blocks(self.format);
            let scale = has_scale.then(|| lowering.dynamic_scale(layer, input, Scope::Tensor, target));
            (lowering.quantize_blocks(layer, input, (self.format, Some(run)), scale, self.counts_scale_bytes), scale)
        });
        Ok(lowering.gemm_and_dequantize(layer, gemm, (left, tensor_scale), right))
    }
}

/// The registered scheme that has both operands in `format`.
fn of_activations(format: &'static BlockFormat) -> Option<&'static dyn Scheme> {
    crate::scheme::by_name(format.name())
}
