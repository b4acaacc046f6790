//! The command line: arguments in, tables and files out. The only layer that prints.
//!
//! Results go to standard output, everything else to standard error. Exit status 0 means done, 1 that the run itself
//! failed (a bar was missed, a result could not be written), 2 that the usage or the input was wrong; then nothing has
//! been written. A reader that closes the pipe early has seen enough: what follows is dropped without a word, and the
//! status is the one that the command has anyway, so that `npusim check FILE... | head -1` still tells wrong files.

mod arguments;
mod calibrate;
mod check;
mod compare;
mod completions;
mod explore;
mod init;
mod list;
mod plot;
mod progress;
mod results;
mod run;
mod schema;
mod table;
mod validate;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::calibrate::CalibrationError;
use crate::config::diagnostics::{ConfigError, Diagnostic};
use crate::explore::run::ExploreError;
use crate::inputs::InputError;
use crate::simulation::SimulationError;
use crate::validate::ValidateError;
use arguments::{Arguments, Command};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        print_error(&error.to_string());
        error.status()
    })
}

fn run() -> Result<ExitCode, CliError> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // clap prints its own usage errors and leaves with status 2.
        Err(answer) if answer.use_stderr() => answer.exit(),
        // The help and the version are results, so they may fail to be written like others.
        Err(answer) => return answer.print().or_else(forgive_closed_pipe).map(|()| ExitCode::SUCCESS),
    };
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Plot(arguments) => plot::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Explore(arguments) => explore::run(&arguments),
        Command::Merge(arguments) => explore::merge(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
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
    /// The activations cannot be calibrated on.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// A reference set could not be run.
    #[error("{}", with_causes(.0))]
    Validate(#[from] ValidateError),
    /// A study could not be run.
    #[error(transparent)]
    Explore(#[from] ExploreError),
    /// A result cannot be printed.
    #[error("standard output: cannot write: {0}")]
    Print(#[source] io::Error),
    /// No scheme of a comparison, or not its baseline, can run on the hardware.
    #[error("{0}")]
    NothingToCompare(String),
    /// The scheme asks for no calibration, or the workload has no values for one.
    #[error("{0}")]
    NothingToCalibrate(String),
    /// A trace cannot be written.
    #[error("trace.json: cannot write: {0}")]
    Trace(#[source] io::Error),
    /// What was named cannot be drawn.
    #[error("{0}")]
    NothingToDraw(String),
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

impl From<InputError> for CliError {
    fn from(error: InputError) -> CliError {
        match error {
            InputError::Config(error) => error.into(),
            InputError::Calibration(error) => error.into(),
        }
    }
}

impl CliError {
    /// 1 where the input is right but a result could not be written, else 2.
    fn status(&self) -> ExitCode {
        match self {
            CliError::Explore(ExploreError::Journal { .. } | ExploreError::Threads(_)) => ExitCode::FAILURE,
            CliError::Print(_)
            | CliError::Trace(_)
            | CliError::Config(ConfigError::Write { .. } | ConfigError::Leftover { .. }) => ExitCode::FAILURE,
            _ => ExitCode::from(2),
        }
    }

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

/// Prints a result.
///
/// # Errors
/// It cannot be written. A closed pipe is no error.
#[allow(clippy::print_stdout, reason = "the command line is where results are printed")]
fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()).or_else(forgive_closed_pipe)
}

fn forgive_closed_pipe(cause: io::Error) -> Result<(), CliError> {
    if cause.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(CliError::Print(cause)) }
}

#[allow(clippy::print_stderr, reason = "the command line is where messages are printed")]
fn print_error(text: &str) {
    // There is nowhere left to tell that this fails.
    let _ = writeln!(io::stderr(), "error: {text}");
}

/// What is odd in files and yet no mistake: the command goes on, and its status does not change.
#[allow(clippy::print_stderr, reason = "the command line is where messages are printed")]
fn print_notes(notes: &[Diagnostic]) {
    for note in notes {
        let _ = writeln!(io::stderr(), "note: {note}");
    }
}
