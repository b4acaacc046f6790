//! The command line: arguments in, tables and files out. The only layer that prints.
//!
//! Results go to standard output, everything else to standard error. Exit status 0 means done, 1 that the run itself
//! failed (a bar was missed), 2 that the usage or the input was wrong; then nothing has been written.

mod arguments;
mod check;
mod inputs;
mod list;
mod results;
mod run;
mod table;
mod validate;

use std::process::ExitCode;

use clap::Parser;

use crate::config::diagnostics::ConfigError;
use crate::simulation::SimulationError;
use crate::validate::ValidateError;
use arguments::{Arguments, Command};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // clap prints its own usage errors and leaves with status 2.
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
    };
    match outcome {
        Ok(status) => status,
        Err(error) => {
            print_error(&error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// A file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A stage of the simulation refused.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// A reference set could not be run.
    #[error("{}", with_causes(.0))]
    Validate(#[from] ValidateError),
    /// A name on the command line is unknown.
    #[error("there is no {kind} called \"{given}\"{}\n   there are: {}", did_you_mean(.nearest.as_deref()), .known.join(", "))]
    UnknownName {
        /// Kind of thing.
        kind: &'static str,
        /// What was given.
        given: String,
        /// The nearest name, if any is near.
        nearest: Option<String>,
        /// Every name.
        known: Vec<String>,
    },
}

impl CliError {
    fn unknown(kind: &'static str, given: &str, nearest: Option<&str>, known: &[&str]) -> CliError {
        CliError::UnknownName {
            kind,
            given: given.to_owned(),
            nearest: nearest.map(str::to_owned),
            known: known.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

/// An error with the errors that caused it, on one line each.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    std::iter::once(error.to_string())
        .chain(causes.map(ToString::to_string))
        .collect::<Vec<_>>()
        .join("\n   caused by: ")
}

#[allow(clippy::print_stdout, reason = "the command line is where results are printed")]
fn print(text: &str) {
    use std::io::Write;
    // A closed pipe is the reader's choice, not an error.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
}

#[allow(clippy::print_stderr, reason = "the command line is where messages are printed")]
fn print_error(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
