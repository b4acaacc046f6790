//! The files of a result folder. A new one is a line in [`FILES`]: what is not listed there, no later run replaces.

use std::path::PathBuf;

use crate::config::diagnostics::ConfigError;
use crate::config::files::OutputPlace;
use crate::config::result_form::{REPORT, ResultForm};
use crate::report::data::{Report, SCHEMA_VERSION};
use crate::report::{csv, json, summary};

/// Makes the text of one file.
type Writer = fn(&Report) -> String;

/// Every file that a run writes.
static FILES: &[(&str, Writer)] =
    &[(REPORT, json::to_json), ("layers.csv", csv::to_csv), ("summary.md", summary::to_markdown)];

/// The form by which an earlier result is known.
pub(super) fn form() -> ResultForm {
    ResultForm { files: FILES.iter().map(|(name, _)| *name).collect(), schema_version: SCHEMA_VERSION }
}

/// Writes all files and returns the folder and their names.
pub(super) fn write(place: OutputPlace, report: &Report) -> Result<(PathBuf, String), ConfigError> {
    let folder = place.begin()?;
    for (name, writer) in FILES {
        folder.write(name, writer(report))?;
    }
    Ok((folder.commit()?, form().files.join(", ")))
}
