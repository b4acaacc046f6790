//! `npusim check`.

use std::process::ExitCode;

use crate::calibrate::lowered_from_shapes;
use crate::cli::arguments::CheckArguments;
use crate::cli::{CliError, print, print_error, print_notes};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, listed};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::kinds::FileKind;
use crate::config::tensors::{Coverage, Generated};
use crate::config::{energy, hardware, presets, scheme, tensors, workload};
use crate::explore::run;
use crate::report::deviations;

/// Checks every file, so that one wrong file does not hide the next one's mistakes.
pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, CliError> {
    let mut status = ExitCode::SUCCESS;
    let (mut workloads, mut schemes) = (Vec::new(), Vec::new());
    for file in &arguments.files {
        match presets::open_any(file).and_then(|document| Ok((check(&document)?, document))) {
            Ok((verdict, document)) => {
                print(&format!("{}: {verdict}", file.display()))?;
                print_notes(&unused_keys(&document)?);
                match FileKind::of(&document) {
                    Some(FileKind::Workload) => workloads.push(document),
                    Some(FileKind::Scheme) => schemes.push(document),
                    _ => {}
                }
            }
            Err(error) => {
                print_error(&error.to_string());
                status = ExitCode::from(2);
            }
        }
    }
    for document in &workloads {
        let (workload, _) = workload::resolve(document)?;
        for document in &schemes {
            print_notes(&scheme::roles_without_layers(document, &workload)?);
            print_notes(scheme::assumption_too_large(document, &workload)?.as_slice());
            let scheme = scheme::resolve(document)?;
            let name = scheme.name();
            let notes = match lowered_from_shapes(&workload, scheme.as_ref()) {
                Ok(program) => deviations::of_program(&program).iter().map(|group| group.line(name)).collect(),
                Err(refusal) => vec![format!("scheme `{name}` cannot lower `{}`: {refusal}", workload.name())],
            };
            print_notes(&notes);
        }
    }
    Ok(status)
}

/// Keys of a sound file that do nothing under what else it says.
fn unused_keys(document: &Document) -> Result<Vec<Diagnostic>, ConfigError> {
    match FileKind::of(document) {
        Some(FileKind::Hardware) => {
            hardware::unused_keys(document, &hardware::resolve(document, &mut Defaults::default())?)
        }
        Some(FileKind::Scheme) => scheme::unused_keys(document),
        Some(FileKind::Workload | FileKind::EnergyTable | FileKind::Study) | None => Ok(Vec::new()),
    }
}

/// The verdict on a sound file.
fn check(document: &Document) -> Result<String, ConfigError> {
    let Some(kind) = FileKind::of(document) else {
        let message = "this is neither a hardware nor a workload nor a scheme file, nor an energy table, nor a study";
        let problem = Diagnostic::new(&document.root().place, &DottedPath::default(), message);
        let keys = FileKind::ALL.map(|kind| format!("{}: {}", kind.noun(), kind.keys().join(", ")));
        return Err(problem.help(format!("their keys are: {}", keys.join("; "))).into());
    };
    match kind {
        FileKind::Hardware => {
            let (_, notes) = hardware::resolve_with_notes(document, &mut Defaults::default())?;
            print_notes(&notes);
        }
        FileKind::Workload => return check_workload(document),
        FileKind::Scheme => scheme::resolve(document).map(drop)?,
        FileKind::EnergyTable => energy::resolve(&document.read()?).map(drop)?,
        FileKind::Study => run::check(document)?,
    }
    Ok(format!("a sound {}", kind.noun()))
}

/// A workload file is sound without values; what that means for its numbers is said.
fn check_workload(document: &Document) -> Result<String, ConfigError> {
    let (workload, places) = workload::resolve(document)?;
    let coverage = tensors::coverage(&workload, &places);
    if coverage != Coverage::NotEmbedded {
        tensors::load(&workload, &places, Generated::LeftOut)?;
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
