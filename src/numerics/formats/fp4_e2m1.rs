//! 4-bit float of OCP MX.

use crate::numerics::formats::{ElementFormat, Specials};

/// Magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6 (OCP MX v1.0, 5.3.3).
pub static FP4_E2M1: ElementFormat = ElementFormat::float("fp4_e2m1", 2, 1, 1, Specials::None);
