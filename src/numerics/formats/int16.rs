//! Signed 16-bit integer.

use crate::numerics::formats::ElementFormat;

/// Two's complement, -32768..=32767.
pub static INT16: ElementFormat = ElementFormat::integer("int16", 16, true);
