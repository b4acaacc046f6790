//! Exact arithmetic of number formats: what a value, a block or a product of them is, bit for bit.
//!
//! Everything here is a function of its arguments: no hardware, no time, no platform library. Exponents are read from
//! bits and powers of two are built from bits, rounding and overflow are named at every step, so the same codes come
//! out on every machine.

pub mod accumulate;
pub mod block;
pub mod channel_statistics;
pub mod dequantize;
pub mod error_metrics;
pub mod float_bits;
pub mod formats;
pub mod functions;
pub mod gemm;
pub mod normal;
pub mod quantize;
pub mod real_functions;
pub mod requantize;
pub mod rows;
pub mod tensor;
