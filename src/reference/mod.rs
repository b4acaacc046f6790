//! Two things to hold an execution against, both without tiles.
//!
//! [`untiled`] evaluates the same program whole, with plain loops: a tiled execution must equal it bit for bit under the
//! same accumulation plan. [`real`] evaluates the workload itself in f64, without any quantization: numeric error is
//! measured against it. Neither shares code with `execute` above the level of one row's arithmetic.

mod channels;
mod gather;
pub mod real;
mod real_vector;
pub mod untiled;
