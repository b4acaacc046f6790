//! `npusim check`.

use std::process::ExitCode;

use crate::cli::arguments::CheckArguments;
use crate::cli::inputs::KINDS;
use crate::cli::{CliError, print, print_error};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::{hardware, scheme, tensors, workload};

/// Checks every file, so that one wrong file does not hide the next one's mistakes.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, CliError> {
    let mut status = ExitCode::SUCCESS;
    for file in &arguments.files {
        match Document::open(file).and_then(check) {
            Ok(kind) => print(&format!("{}: a sound {kind} file", file.display()))?,
            Err(error) => {
                print_error(&error.to_string());
                status = ExitCode::from(2);
            }
        }
    }
    Ok(status)
}

fn check(document: Document) -> Result<&'static str, ConfigError> {
    let root = document.root();
    let has = |key: &&str| root.get(key).is_some();
    let counts = KINDS.map(|(_, keys)| keys.iter().filter(|key| has(key)).count());
    let most = counts.into_iter().max().unwrap_or(0);
    let kinds: Vec<&str> =
        KINDS.iter().zip(counts).filter(|(_, count)| *count == most).map(|((kind, _), _)| *kind).collect();
    match kinds.as_slice() {
        ["hardware"] => hardware::resolve(&document, &mut Defaults::default()).map(|_| "hardware"),
        ["workload"] => {
            let (workload, places) = workload::resolve(&document)?;
            tensors::load(&workload, &places).map(|_| "workload")
        }
        ["scheme"] => scheme::resolve(&document).map(|_| "scheme"),
        _ => {
            let message = "this is neither a hardware nor a workload nor a scheme file";
            let keys = KINDS.map(|(kind, keys)| format!("a {kind} file has {}", keys.join(", ")));
            Err(Diagnostic::new(&root.place, &DottedPath::default(), message).help(keys.join("; ")).into())
        }
    }
}
