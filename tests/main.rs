//! The one integration test binary; each subject is a module.

mod architecture;
mod consistency;
mod fixture;
mod phases;
mod witness;
