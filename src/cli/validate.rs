//! `npusim validate`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::arguments::ValidateArguments;
use crate::cli::{CliError, print};
use crate::config::diagnostics::nearest;
use crate::config::output_file::{OutputFile, ResultFile};
use crate::validate;

/// The page; an earlier one is known by how it begins.
const PAGE: ResultFile = ResultFile { noun: "a validation page", option: "--markdown", is_earlier: validate::is_page };

pub(super) fn run(arguments: &ValidateArguments) -> Result<ExitCode, CliError> {
    let sets = match (arguments.set.as_slice(), &arguments.rows) {
        ([], None) => validate::ALL.to_vec(),
        ([], Some(rows)) => vec![validate::set_for(rows)?],
        (names, _) => names.iter().map(|name| set(name)).collect::<Result<_, _>>()?,
    };
    let near: Vec<PathBuf> = [std::env::current_dir(), std::env::current_exe()].into_iter().flatten().collect();
    // The place is checked before the work, so that an unusable one is refused at once.
    let place = arguments.markdown.as_ref().map(|path| OutputFile::try_new(path, PAGE)).transpose()?;
    let report = validate::run(&sets, arguments.rows.as_deref(), &near)?;
    if let (Some(place), Some(path)) = (place, &arguments.markdown) {
        let command = format!("{} --markdown {}", validate::PAGE_COMMAND, path.display());
        place.write(validate::markdown_page(&report, &command))?;
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&report).expect("a validation report has string keys and plain values"))?;
    } else {
        print(&report.to_string())?;
    }
    Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn set(name: &str) -> Result<&'static dyn validate::ValidationSet, CliError> {
    validate::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = validate::ALL.iter().map(|set| set.name()).collect();
        CliError::unknown("validation set", name, nearest(name, names.iter().copied()), &names)
    })
}
