//! Integer quantization with one scale per tensor, row, column or group.
//!
//! `granularity` says which elements share a scale and reduces their largest magnitude, `symmetric` turns that into a
//! scale and values into codes, `affine` does the same with a zero point. Every step is f32 arithmetic, one operation at
//! a time in the order written, so each library whose order is offered is matched bit for bit.
//!
//! The kernels work on slices (a row, or a part of one), because hardware quantizes tile by tile; the functions on
//! matrices are loops over them.
//!
//! Values that no integer can stand for: NaN becomes the code of zero. A NaN or an infinity makes the abs-max and with
//! it the scale NaN or infinite, so the dequantized tensor shows it.

mod affine;
mod granularity;
mod scaled;
mod symmetric;

pub use affine::{AffineParameters, IntegerLimits, affine_parameters, quantize_affine};
pub use granularity::{Granularity, abs_max, abs_maxima, widen_column_abs_maxima};
pub use scaled::ScaledQuantizer;
pub use symmetric::{IntegerRange, Quantized, ScaleArithmetic, SymmetricQuantizer, UnsupportedFormat};
