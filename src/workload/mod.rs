//! The workload as the user means it: a graph of named layers over real-valued tensors, without any quantization.
//!
//! Tensors are described here, not opened; their values travel in [`bindings::Bindings`], so everything that only needs
//! shapes runs without them.

pub mod answer;
pub mod batching;
pub mod bindings;
pub mod calibration;
pub mod convolution;
pub mod generator;
pub mod graph;
pub mod layer;
pub mod mapping;
pub mod tensor_description;
pub mod vector;
