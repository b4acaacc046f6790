//! 6-bit float of OCP MX with three exponent bits.

use crate::numerics::formats::{ElementFormat, Specials};

/// Largest 28, smallest subnormal 2^-4 (OCP MX v1.0, 5.3.2).
pub static FP6_E3M2: ElementFormat = ElementFormat::float("fp6_e3m2", 3, 2, 3, Specials::None);
