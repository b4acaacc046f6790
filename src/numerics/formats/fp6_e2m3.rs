//! 6-bit float of OCP MX with three mantissa bits.

use crate::numerics::formats::{ElementFormat, Specials};

/// Largest 7.5, smallest subnormal 2^-3 (OCP MX v1.0, 5.3.2).
pub static FP6_E2M3: ElementFormat = ElementFormat::float("fp6_e2m3", 2, 3, 1, Specials::None);
