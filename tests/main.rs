//! The one integration test binary; each subject is a module.

mod architecture;
mod witness;
