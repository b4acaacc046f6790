//! Signed 32-bit integer.

use crate::numerics::formats::ElementFormat;

/// Two's complement; what a matrix unit accumulates integers in.
pub static INT32: ElementFormat = ElementFormat::integer("int32", 32, true);
