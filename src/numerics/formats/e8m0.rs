//! Shared scale of OCP MX blocks.

use crate::numerics::formats::{ElementFormat, ElementKind};

/// `2^(code - 127)`, code 255 is NaN (OCP MX v1.0, 5.4.1).
pub static E8M0: ElementFormat =
    ElementFormat { name: "e8m0", storage_bits: 8, kind: ElementKind::Scale { bias: 127 } };
