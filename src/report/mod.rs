//! What happened, as data, and the files that people and programs read.
//!
//! [`data`] is the report itself; [`build`] derives it once from the counters of a run; each writer beside them turns it
//! into one kind of file. Nothing here simulates.

pub mod bounds;
pub mod build;
pub mod compare;
pub mod compare_text;
pub mod csv;
pub mod data;
pub mod deviations;
pub mod energy;
pub mod json;
pub mod numerics;
pub mod plots;
pub mod queue_names;
mod steps;
pub mod summary;
pub mod timeline;
pub mod trace;
