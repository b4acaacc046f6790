//! E2M1 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::FP4_E2M1;

/// OCP MX v1.0, 5.3.3.
pub static MXFP4: BlockFormat = BlockFormat::microscaling("mxfp4", &FP4_E2M1, 0);
