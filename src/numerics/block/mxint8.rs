//! INT8 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::INT8;

/// Elements are 64ths, two's complement (OCP MX v1.0, 5.3.4).
pub static MXINT8: BlockFormat = BlockFormat::microscaling("mxint8", &INT8, -6);
