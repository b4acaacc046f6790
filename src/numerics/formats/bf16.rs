//! The upper half of binary32.

use crate::numerics::formats::{ElementFormat, Specials};

/// Range of binary32 with seven mantissa bits.
pub static BF16: ElementFormat = ElementFormat::float("bf16", 8, 7, 127, Specials::TopExponent);
