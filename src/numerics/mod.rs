//! Exact arithmetic of number formats: what a value, a block or a product of them is, bit for bit.

pub mod gemm;
