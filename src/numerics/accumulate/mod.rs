//! In which order, and with how many roundings, the products of a dot product are summed.
//!
//! A product of two low-precision elements is exact in a wide enough register, so it is the *order* of the additions
//! and the place of each rounding that fix the bits of a result. This module names those orders ([`AccumulationOrder`]
//! for floating point accumulators, [`IntegerAccumulator`] for integer ones) and gives the plain, exact evaluation of
//! each; `gemm` has the fast paths, held equal to these by tests.
//!
//! Deliberately absent: which hardware uses which order, and how long it takes.

mod exact_sum;
mod float;
mod integer;
mod order;
mod rounding;
mod term;

pub use exact_sum::ExactSum;
pub use float::FloatAccumulator;
pub use integer::{IntegerAccumulator, IntegerOverflow, SaturationPoint, WidthError};
pub use order::{AccumulationOrder, Destination, Truncation, TruncationError};
pub use rounding::round;
pub use term::Term;
