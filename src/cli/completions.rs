//! `npusim completions`: what a shell needs to complete commands, options and files.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::arguments::{Arguments, CompletionsArguments};
use crate::cli::{CliError, print};

pub(super) fn run(arguments: &CompletionsArguments) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "npusim", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
