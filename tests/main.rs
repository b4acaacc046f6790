//! The one integration test binary; each subject is a module.

mod anchors;
mod architecture;
mod bites;
mod calibrate;
mod claims;
mod cli;
mod closed_form;
mod compare;
mod config_files;
mod consistency;
mod energy;
mod expected;
mod explore;
mod fixture;
mod formats_end_to_end;
mod loop_orders;
mod phases;
mod products;
mod properties;
mod schemes;
mod shipped;
mod starting;
mod tiling;
mod traces;
mod units;
mod witness;
