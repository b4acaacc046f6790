//! # npusim
//!
//! A cycle-approximate simulator of integer NPUs. One description of the hardware, one of the workload and one of the
//! quantization scheme go in; cycles, energy, bandwidth and the exact numbers come out of the same lowered program.
//!
//! The modules below stand in layers, lowest first; a module imports only from those above it in this list.

pub mod calibrate;
pub mod cli;
pub mod config;
pub mod dataflow;
pub mod energy;
pub mod execute;
pub mod explore;
pub mod hardware;
pub mod inputs;
pub mod memory;
pub mod numerics;
pub mod program;
pub mod reference;
pub mod report;
pub mod schedule;
pub mod scheme;
pub mod shape;
pub mod simulation;
pub mod timing;
pub mod units;
pub mod validate;
pub mod workload;
