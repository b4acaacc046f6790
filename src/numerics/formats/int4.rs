//! Signed 4-bit integer.

use crate::numerics::formats::ElementFormat;

/// Two's complement, -8..=7.
pub static INT4: ElementFormat = ElementFormat::integer("int4", 4, true);
