//! The files of a result folder. A new one is a line in [`FILES`], or a plot: what is not listed, no later run replaces.

use std::path::PathBuf;

use crate::config::diagnostics::ConfigError;
use crate::config::files::OutputDirectory;
use crate::config::result_form::{REPORT, ResultForm};
use crate::report::data::{Report, SCHEMA_VERSION};
use crate::report::plots::saved::Saved;
use crate::report::plots::{self, PictureFile};
use crate::report::{csv, json, summary};

/// Makes the text of one file.
type Writer = fn(&Report) -> String;

/// Every file that a run writes.
static FILES: &[(&str, Writer)] =
    &[(REPORT, json::to_json), ("layers.csv", csv::to_csv), ("summary.md", summary::to_markdown)];

/// The form by which an earlier result is known.
pub(super) fn form() -> ResultForm {
    let texts = FILES.iter().map(|(name, _)| *name);
    let files = texts.chain([TRACE]).chain(plots::file_names()).collect();
    ResultForm { files, schema_version: SCHEMA_VERSION }
}

/// The trace of a run, which is written while it goes on.
pub(super) const TRACE: &str = "trace.json";

/// Writes all files, puts the folder in its place and returns it with their names.
pub(super) fn write(folder: OutputDirectory, report: &Report) -> Result<(PathBuf, String), ConfigError> {
    let mut names: Vec<&str> = Vec::new();
    for (name, writer) in FILES {
        folder.write(name, writer(report))?;
        names.push(name);
    }
    for picture in pictures(&json::to_json(report)) {
        folder.write(picture.name, picture.contents)?;
        names.push(picture.name);
    }
    Ok((folder.commit()?, names.join(", ")))
}

/// The pictures of a result, drawn from its text, so that they are those that `plot` draws from its file.
pub(super) fn pictures(text: &str) -> Vec<PictureFile> {
    let saved = Saved::read(&[text.to_owned()]).expect("a result of ours has the fields that are drawn");
    plots::files(&saved)
}
