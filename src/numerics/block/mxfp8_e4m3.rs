//! E4M3 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::FP8_E4M3;

/// OCP MX v1.0, 5.3.1.
pub static MXFP8_E4M3: BlockFormat = BlockFormat::microscaling("mxfp8_e4m3", &FP8_E4M3, 0);
