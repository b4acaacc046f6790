//! Block formats on both sides: OCP MX and NVFP4.
//!
//! Activations are quantized during the run, weights before it, both in blocks along k; the matrix unit applies the block
//! scales and sums in FP32 (OCP Microscaling Formats 1.0, section 6). A block's scale needs only the block, so there is no
//! barrier, except for two-level NVFP4, whose tensor scale needs the whole tensor.

use crate::numerics::block::{self, BlockFormat};
use crate::program::op::{ScaleTarget, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::Lowering;
use crate::workload::layer::{LayerId, LogicalGemm};

/// Both operands in one block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    format: &'static BlockFormat,
    description: &'static str,
}

macro_rules! both_operands {
    ($($scheme:ident: $description:literal),+ $(,)?) => {
        $(
            #[doc = concat!($description, ", both operands.")]
            pub static $scheme: Blocks = Blocks { format: &block::$scheme, description: $description };
        )+
    };
}

both_operands! {
    MXFP8_E4M3: "blocks of 32 FP8 E4M3 with a power-of-two scale",
    MXFP8_E5M2: "blocks of 32 FP8 E5M2 with a power-of-two scale",
    MXFP6_E2M3: "blocks of 32 FP6 E2M3 with a power-of-two scale",
    MXFP6_E3M2: "blocks of 32 FP6 E3M2 with a power-of-two scale",
    MXFP4: "blocks of 32 FP4 E2M1 with a power-of-two scale",
    MXINT8: "blocks of 32 INT8 with a power-of-two scale",
    MXINT4: "blocks of 32 INT4 with a power-of-two scale",
    NVFP4: "blocks of 16 FP4 E2M1 with an E4M3 scale and a scale per tensor",
    NVFP4_ONE_LEVEL: "blocks of 16 FP4 E2M1 with an E4M3 scale",
}

impl Scheme for Blocks {
    fn name(&self) -> &'static str {
        self.format.name()
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn lower_gemm(&self, lowering: &mut Lowering<'_>, layer: LayerId, gemm: &LogicalGemm) -> TensorId {
        let right = lowering.prepared_block_weight(layer, gemm.weight, self.format);
        let input = lowering.value(gemm.input);
        let tensor_scale = self
            .format
            .has_tensor_scale()
            .then(|| lowering.dynamic_scale(layer, input, Scope::Tensor, ScaleTarget::Blocks(self.format)));
        let left = lowering.quantize_blocks(layer, input, self.format, tensor_scale);
        lowering.gemm_and_dequantize(layer, gemm, (left, tensor_scale), right)
    }
}
