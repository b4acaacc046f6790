//! The validated description of an accelerator: what it can do, at which rate, and what each action costs.
//!
//! Everything here is immutable and knows neither files (that is `config`) nor programs. A quantity that decides a
//! cycle is an integer or an exact rational; floats appear only in energy figures.

pub mod actions;
pub mod area;
pub mod array;
pub mod band;
pub mod energy_table;
pub mod matrix_unit;
pub mod memory;
pub mod node_scaling;
pub mod npu;
pub mod requests;
pub mod sequencing;
pub mod sram_array;
pub mod sram_table;
pub mod vector_unit;
