//! 8-bit float with five exponent bits, a shortened binary16.

use crate::numerics::formats::{ElementFormat, Specials};

/// Largest 57344, smallest subnormal 2^-16, infinities and NaNs (OCP FP8 v1.0).
pub static FP8_E5M2: ElementFormat = ElementFormat::float("fp8_e5m2", 5, 2, 15, Specials::TopExponent);
