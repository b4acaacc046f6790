//! E2M1 elements under an E4M3 scale alone.

use crate::numerics::block::{BlockFormat, Scaling};
use crate::numerics::formats::FP4_E2M1;

/// NVFP4 without the f32 scale of the tensor: fewer steps, a smaller range.
pub static NVFP4_ONE_LEVEL: BlockFormat = BlockFormat {
    name: "nvfp4_one_level",
    element: &FP4_E2M1,
    implicit_exponent: 0,
    block: 16,
    scaling: Scaling::Fp8 { tensor_scale: false },
};
