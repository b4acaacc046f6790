//! E2M1 elements under an E4M3 scale, and an f32 scale for the tensor.

use crate::numerics::block::{BlockFormat, Scaling};
use crate::numerics::formats::FP4_E2M1;

/// NVIDIA's FP4 with both levels of scale, blocks of 16.
pub static NVFP4: BlockFormat = BlockFormat {
    name: "nvfp4",
    element: &FP4_E2M1,
    implicit_exponent: 0,
    block: 16,
    scaling: Scaling::Fp8 { tensor_scale: true },
};
