//! 8-bit float with three mantissa bits and no infinity.

use crate::numerics::formats::{ElementFormat, Specials};

/// Largest 448, smallest subnormal 2^-9, one NaN per sign (OCP FP8 v1.0).
pub static FP8_E4M3: ElementFormat = ElementFormat::float("fp8_e4m3", 4, 3, 7, Specials::AllOnesIsNotANumber);
