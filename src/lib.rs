//! # npusim
//!
//! A cycle-approximate simulator of integer NPUs. One description of the hardware, one of the workload and one of the
//! quantization scheme go in; cycles, energy, bandwidth and the exact numbers come out of the same lowered program.
//!
//! The modules below stand in layers, lowest first; a module imports only from those above it in this list.

pub mod config;
pub mod numerics;
pub mod shape;
pub mod units;
pub mod validate;
