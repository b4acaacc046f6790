//! The command line: arguments in, tables and files out. The only layer that prints.
//!
//! Results go to standard output, everything else to standard error. Exit status 0 means done, 1 that the run itself
//! failed (a bar was missed, a result could not be written), 2 that the usage or the input was wrong; then nothing has
//! been written; 130 and 143 that SIGINT or SIGTERM ended it. A reader that closes the pipe early has seen enough: what
//! follows is dropped without a word, and the status is the one that the command has anyway, so that
//! `npusim check FILE... | head -1` still tells wrong files. A standard output that is closed from the start (`>&-`) is
//! `/dev/null` before `main` begins, by the rule of the standard library, and cannot be told from it.

mod arguments;
mod calibrate;
mod check;
mod compare;
mod completions;
mod explore;
mod init;
mod interrupts;
mod list;
mod plot;
mod progress;
mod results;
mod run;
mod schema;
mod table;
mod validate;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::calibrate::CalibrationError;
use crate::config::diagnostics::ConfigError;
use crate::config::unfinished::uninterrupted;
use crate::explore::run::ExploreError;
use crate::inputs::InputError;
use crate::simulation::SimulationError;
use crate::validate::ValidateError;
use arguments::{Arguments, Command};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    interrupts::listen();
    let outcome = run();
    // A process that is told to end has its own status and last words.
    uninterrupted(|| ());
    outcome.unwrap_or_else(|error| {
        print_error(&error.to_string());
        error.status()
    })
}

fn run() -> Result<ExitCode, CliError> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // clap prints its own usage errors and leaves with status 2. It repeats arguments as they are, in its colours.
        Err(answer) if answer.use_stderr() && std::env::args().all(|argument| shown(&argument) == argument) => {
            answer.exit()
        }
        Err(answer) if answer.use_stderr() => {
            print_message(&answer.to_string());
            return Ok(ExitCode::from(2));
        }
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
        if self.is_failure() { ExitCode::FAILURE } else { ExitCode::from(2) }
    }

    fn is_failure(&self) -> bool {
        let is_unwritten =
            |error: &ConfigError| matches!(error, ConfigError::Write { .. } | ConfigError::Leftover { .. });
        match self {
            CliError::Print(_) | CliError::Trace(_) => true,
            CliError::Config(error) | CliError::Explore(ExploreError::Config(error)) => is_unwritten(error),
            CliError::Explore(error) => error.is_failure(),
            _ => false,
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

/// `text` with its control characters escaped, but for ends of lines and tabs: names of files, arguments and what other
/// programs wrote may hold some, and none of them may steer the terminal.
fn shown(text: &str) -> Cow<'_, str> {
    let is_order = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_order(character) {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Prints a result.
///
/// # Errors
/// It cannot be written. A closed pipe is no error.
#[allow(clippy::print_stdout, reason = "the command line is where results are printed")]
fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let text = shown(text.trim_end_matches('\n'));
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).or_else(forgive_closed_pipe)
}

fn forgive_closed_pipe(cause: io::Error) -> Result<(), CliError> {
    if cause.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(CliError::Print(cause)) }
}

fn print_error(text: &str) {
    print_message(&format!("error: {text}"));
}

/// What is odd in files and yet no mistake: the command goes on, and its status does not change.
fn print_notes<Note: std::fmt::Display>(notes: &[Note]) {
    notes.iter().for_each(|note| print_message(&format!("note: {note}")));
}

#[allow(clippy::print_stderr, reason = "the command line is where messages are printed")]
fn print_message(text: &str) {
    // There is nowhere left to tell that this fails.
    let _ = writeln!(io::stderr(), "{}", shown(text.trim_end_matches('\n')));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_failure_and_no_wrong_input_whichever_command_meets_it() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let write = || ConfigError::Write { path: "results.csv".into(), cause: full() };
        assert!(CliError::Config(write()).is_failure());
        assert!(CliError::Explore(ExploreError::Config(write())).is_failure());
        let journal = |cause| CliError::Explore(ExploreError::Journal { path: "journal.jsonl".into(), cause });
        assert!(journal(full()).is_failure());
        assert!(CliError::Print(full()).is_failure());
        // What stands there is wrong input.
        assert!(!journal(io::Error::from(io::ErrorKind::InvalidData)).is_failure());
        let read = ConfigError::Read { path: "study.yaml".into(), cause: io::Error::from(io::ErrorKind::NotFound) };
        assert!(!CliError::Explore(ExploreError::Config(read)).is_failure());
    }

    #[test]
    fn no_control_character_reaches_the_terminal_but_lines_and_tabs() {
        assert_eq!(shown("a\u{1b}[31mb\r\u{9b}\u{7f}"), "a\\u{1b}[31mb\\r\\u{9b}\\u{7f}");
        assert!(matches!(shown("one\n\ttwo \u{e9}"), Cow::Borrowed(_)));
    }
}
