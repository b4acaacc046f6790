//! The `npusim` command.

fn main() {}
