//! IEEE 754 binary16.

use crate::numerics::formats::{ElementFormat, Specials};

/// Largest 65504, smallest subnormal 2^-24.
pub static FP16: ElementFormat = ElementFormat::float("fp16", 5, 10, 15, Specials::TopExponent);
