//! Studies: many runs over values of the files, kept in a journal, and what they say together.

pub mod distinct;
pub mod estimate;
pub mod evaluate;
pub mod journal;
pub mod nsga2;
pub mod pareto;
#[cfg(feature = "parquet")]
pub mod parquet_table;
pub mod pruning;
mod refusals;
pub mod results;
pub mod run;
pub mod sampler;
pub mod sensitivity;
pub mod space;
