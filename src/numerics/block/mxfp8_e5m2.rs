//! E5M2 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::FP8_E5M2;

/// OCP MX v1.0, 5.3.1.
pub static MXFP8_E5M2: BlockFormat = BlockFormat::microscaling("mxfp8_e5m2", &FP8_E5M2, 0);
