//! `npusim check`.

use std::process::ExitCode;

use crate::cli::arguments::CheckArguments;
use crate::cli::inputs::{HARDWARE_KEYS, WORKLOAD_KEYS};
use crate::cli::{CliError, print, print_error};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::{hardware, presets, tensors, workload};

/// Checks every file, so that one wrong file does not hide the next one's mistakes.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, CliError> {
    let mut status = ExitCode::SUCCESS;
    for file in &arguments.files {
        match Document::open(file).and_then(check) {
            Ok(kind) => print(&format!("{}: a sound {kind} file", file.display())),
            Err(error) => {
                print_error(&error.to_string());
                status = ExitCode::from(2);
            }
        }
    }
    Ok(status)
}

fn check(mut document: Document) -> Result<&'static str, ConfigError> {
    let keys: Vec<String> =
        document.root().as_mapping().into_iter().flatten().map(|(key, _)| key.text.to_string()).collect();
    let count = |known: &[&str]| keys.iter().filter(|key| known.contains(&key.as_str())).count();
    let (as_hardware, as_workload) = (count(HARDWARE_KEYS), count(WORKLOAD_KEYS));
    if as_hardware == as_workload {
        let problem = Diagnostic::new(
            &document.root().place,
            &DottedPath::default(),
            "this is neither a hardware nor a workload file",
        );
        return Err(problem
            .note(format!("a hardware file has {}", HARDWARE_KEYS.join(", ")))
            .help(format!("a workload file has {}", WORKLOAD_KEYS.join(", ")))
            .into());
    }
    if as_hardware > as_workload {
        presets::include_energy_table(&mut document)?;
        hardware::resolve(&document, &mut Defaults::default())?;
        return Ok("hardware");
    }
    let (workload, places) = workload::resolve(&document)?;
    tensors::load(&workload, &places)?;
    Ok("workload")
}
