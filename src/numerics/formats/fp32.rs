//! IEEE 754 binary32.

use crate::numerics::formats::{ElementFormat, Specials};

/// What non-quantized tensors are held in.
pub static FP32: ElementFormat = ElementFormat::float("fp32", 8, 23, 127, Specials::TopExponent);
