//! Unsigned 8-bit integer.

use crate::numerics::formats::ElementFormat;

/// 0..=255, the code is the value: activations with a zero point.
pub static UINT8: ElementFormat = ElementFormat::integer("uint8", 8, false);
