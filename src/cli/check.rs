//! `npusim check`.

use std::process::ExitCode;

use crate::cli::arguments::CheckArguments;
use crate::cli::inputs::KINDS;
use crate::cli::{CliError, print, print_error};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, listed};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::tensors::Coverage;
use crate::config::{hardware, scheme, tensors, workload};

/// Checks every file, so that one wrong file does not hide the next one's mistakes.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, CliError> {
    let mut status = ExitCode::SUCCESS;
    for file in &arguments.files {
        match Document::open(file).and_then(check) {
            Ok(verdict) => print(&format!("{}: {verdict}", file.display()))?,
            Err(error) => {
                print_error(&error.to_string());
                status = ExitCode::from(2);
            }
        }
    }
    Ok(status)
}

/// The verdict on a sound file.
fn check(document: Document) -> Result<String, ConfigError> {
    let root = document.root();
    let has = |key: &&str| root.get(key).is_some();
    let counts = KINDS.map(|(_, keys)| keys.iter().filter(|key| has(key)).count());
    let most = counts.into_iter().max().unwrap_or(0);
    let kinds: Vec<&str> =
        KINDS.iter().zip(counts).filter(|(_, count)| *count == most).map(|((kind, _), _)| *kind).collect();
    match kinds.as_slice() {
        ["hardware"] => {
            hardware::resolve(&document, &mut Defaults::default()).map(|_| "a sound hardware file".to_owned())
        }
        ["workload"] => check_workload(&document),
        ["scheme"] => scheme::resolve(&document).map(|_| "a sound scheme file".to_owned()),
        _ => {
            let message = "this is neither a hardware nor a workload nor a scheme file";
            let keys = KINDS.map(|(kind, keys)| format!("a {kind} file has {}", keys.join(", ")));
            Err(Diagnostic::new(&root.place, &DottedPath::default(), message).help(keys.join("; ")).into())
        }
    }
}

/// A workload file is sound without values; what that means for its numbers is said.
fn check_workload(document: &Document) -> Result<String, ConfigError> {
    let (workload, places) = workload::resolve(document)?;
    let coverage = tensors::coverage(&workload, &places);
    if coverage != Coverage::NotEmbedded {
        tensors::load(&workload, &places)?;
    }
    let reason = match coverage {
        Coverage::Whole => return Ok("a sound workload file".to_owned()),
        Coverage::ShapesOnly => "its tensors have only shapes".to_owned(),
        Coverage::Partial(without) => {
            let names: Vec<&str> = without.iter().map(|id| workload.tensor(*id).name.as_str()).collect();
            format!("some tensors have values, but these have only a shape: {}", listed(names))
        }
        Coverage::NotEmbedded => "the values of a built-in workload are not part of the program".to_owned(),
    };
    Ok(format!("a sound workload file, but without numbers ({reason}); cycles, bytes and energy need none"))
}
