//! The `npusim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    npusim::cli::main()
}
