//! E3M2 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::FP6_E3M2;

/// OCP MX v1.0, 5.3.2.
pub static MXFP6_E3M2: BlockFormat = BlockFormat::microscaling("mxfp6_e3m2", &FP6_E3M2, 0);
