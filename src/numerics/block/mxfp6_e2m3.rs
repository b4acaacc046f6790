//! E2M3 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::FP6_E2M3;

/// OCP MX v1.0, 5.3.2.
pub static MXFP6_E2M3: BlockFormat = BlockFormat::microscaling("mxfp6_e2m3", &FP6_E2M3, 0);
