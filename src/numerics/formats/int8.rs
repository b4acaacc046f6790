//! Signed 8-bit integer.

use crate::numerics::formats::ElementFormat;

/// Two's complement, -128..=127.
pub static INT8: ElementFormat = ElementFormat::integer("int8", 8, true);
