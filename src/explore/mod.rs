//! Studies: many runs over values of the files, kept in a journal, and what they say together.

pub mod pareto;
pub mod sampler;
pub mod sensitivity;
pub mod space;
