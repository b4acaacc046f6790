//! INT4 elements under a power of two.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::INT4;

/// Elements are quarters, two's complement. Not an OCP format: the `int4` of Microsoft's microxcaling.
pub static MXINT4: BlockFormat = BlockFormat::microscaling("mxint4", &INT4, -2);
