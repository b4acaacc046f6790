//! What the user wrote: documents, their spans, and the errors that cite them.
//!
//! A file goes through four steps. [`document`] parses the text into a tree of [`node`]s that know their line and
//! column; [`apply`] overrides values of that tree by dotted path; [`deserialize`] maps the tree onto `..File` structs
//! whose leaves are [`field::Field`]s; and the resolver of each file type converts those leaves late, so that every
//! mistake is reported with its text, place, path, allowed values and remedy ([`diagnostics`]).
//!
//! The generic half of this layer knows nothing of hardware, workloads or schemes.

mod accumulation;
pub mod apply;
pub mod calibration;
pub mod checks;
mod convolutions;
pub mod defaults;
pub mod deserialize;
pub mod diagnostics;
pub mod document;
pub mod dotted_path;
pub mod energy;
mod energy_areas;
mod energy_arrays;
mod energy_figures;
pub mod field;
pub mod files;
pub mod hardware;
pub mod input_files;
pub mod kinds;
mod layers;
mod mapping;
mod matrix_units;
mod memories;
pub mod named_file;
pub mod node;
mod npy_file;
mod outlier_schemes;
pub mod output_file;
mod parse;
pub mod placed;
pub mod presets;
mod repeat;
pub mod result_form;
mod safetensors_file;
pub mod scalar;
pub mod schema;
pub mod scheme;
mod scopes;
mod sequences;
pub(crate) mod sequencing;
pub mod source;
mod stored_array;
pub mod study;
pub mod study_folder;
pub mod study_mode;
mod tensor_source;
pub mod tensors;
pub mod unfinished;
#[cfg(test)]
mod worked_example;
pub mod workload;
mod workload_defaults;
