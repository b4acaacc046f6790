//! Held against others: reference sets made by other tools, and how far this crate is from each.
//!
//! A set is one file (or folder) here and one line in [`ALL`]. It reads rows from a folder or file, computes each through
//! the same public functions as the simulator, and returns [`ValidationRow`]s; printing is the command line's.
//!
//! Rows that ship with the project live in `tests/oracles/NAME` of its source tree, with their provenance. They are not
//! embedded in the program: some sets take megabytes, and a user who doubts a result wants to read the rows. [`run`]
//! finds that folder from the working directory or from the place of the executable; an installed program away from its
//! sources is given `--rows`.
//!
//! A row that cannot be run is an error, never a gap; elements that a reference itself declares wrong are counted as
//! excluded, with the reason.

mod comparison;
mod folder;
pub mod maestro;
pub mod mx_rtl;
pub mod numerics;
mod report;
mod rows;
pub mod scalesim;
mod sha256;
mod single_product;
pub mod stonne;

use std::path::{Path, PathBuf};

pub use comparison::Comparison;
pub use report::{ErrorStatistic, ValidationReport, ValidationRow};

/// A reference set.
pub trait ValidationSet: Sync {
    /// Its name on the command line, such as `mx-rtl`.
    fn name(&self) -> &'static str;

    /// Where its rows come from, in one line.
    fn origin(&self) -> &'static str;

    /// Runs every row found at `rows`.
    ///
    /// # Errors
    /// [`ValidateError`] when the rows cannot be read or one of them cannot be run.
    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError>;
}

/// Every reference set.
pub static ALL: &[&dyn ValidationSet] =
    &[&numerics::Numerics, &mx_rtl::MxRtl, &scalesim::ScaleSim, &maestro::Maestro, &stonne::Stonne];

/// The set of that name.
pub fn by_name(name: &str) -> Option<&'static dyn ValidationSet> {
    ALL.iter().copied().find(|set| set.name() == name)
}

/// Runs the sets, each on `rows` or else on the rows that ship with the project, found from the folders `near`.
///
/// # Errors
/// [`ValidateError`] when rows cannot be found or read, or when one of them cannot be run. A missed bar is no error; see
/// [`ValidationReport::passes`].
pub fn run(
    sets: &[&dyn ValidationSet],
    rows: Option<&Path>,
    near: &[PathBuf],
) -> Result<ValidationReport, ValidateError> {
    let mut report = ValidationReport::default();
    for set in sets {
        let rows = match rows {
            Some(rows) => rows.to_path_buf(),
            None => shipped_rows(set.name(), near)?,
        };
        report.sets.extend(set.run(&rows)?);
    }
    Ok(report)
}

/// `tests/oracles/NAME` in the nearest folder above those of `near` that has it.
fn shipped_rows(set: &str, near: &[PathBuf]) -> Result<PathBuf, ValidateError> {
    let folder = Path::new("tests").join("oracles").join(set.replace('-', "_"));
    near.iter()
        .flat_map(|start| start.ancestors())
        .map(|directory| directory.join(&folder))
        .find(|candidate| candidate.exists())
        .ok_or_else(|| ValidateError::RowsNotFound { set: set.to_owned(), folder })
}

/// Why a reference set could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The rows that ship with the project are not near.
    #[error(
        "the rows of set `{set}` are not here: no `{}` above the working directory or above the executable; \
         run inside the source tree or name a folder with --rows", .folder.display()
    )]
    RowsNotFound {
        /// The set.
        set: String,
        /// The folder looked for.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A manifest is not JSON.
    #[error("{}: not a JSON document", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest lacks its cases or packs, or they have another form.
    #[error("{}: {problem}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A pack is not a safetensors file.
    #[error("{}: not a safetensors file", .path.display())]
    Pack {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A pack is not the one that the manifest describes.
    #[error("{}: its SHA-256 is {found}, the manifest says {expected}", .path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// A case cannot be run.
    #[error("{}: case `{case}`: {problem}", .folder.display())]
    Case {
        /// The folder of the rows.
        folder: PathBuf,
        /// The case.
        case: String,
        /// What is missing or unknown, and what is known.
        problem: String,
    },
    /// A table is not CSV.
    #[error("{}: not a CSV table with rows of one length", .path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        #[source]
        source: csv::Error,
    },
    /// A column that the set needs is not there, or not once.
    #[error("{}: column `{column}` {problem}", .path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no table, or none has rows.
    #[error("{}: no rows: a CSV file with rows is expected, or a folder that has one", .path.display())]
    NoRows {
        /// The file or folder.
        path: PathBuf,
    },
    /// A row of a table cannot be run.
    #[error("{}:{line}: {problem}", .file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong, and what is known.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::{ALL, ValidateError, by_name, run, shipped_rows};
    use std::path::PathBuf;

    #[test]
    fn the_shipped_rows_of_every_set_meet_their_bars() {
        let report = run(ALL, None, &[PathBuf::from(env!("CARGO_MANIFEST_DIR"))]).unwrap();
        assert!(report.passes(), "{report}");
        assert!(report.sets.iter().all(|row| row.pass.is_none() || row.compared > 0), "{report}");
    }

    #[test]
    fn every_file_of_this_folder_that_is_a_set_is_registered() {
        let declared = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .map(|name| name.replace('_', "-"));
        let mut count = 0;
        for name in declared {
            assert!(by_name(&name).is_some(), "{name} is missing from ALL");
            count += 1;
        }
        assert_eq!(count, ALL.len());
    }

    #[test]
    fn rows_that_are_nowhere_are_an_error_with_the_remedy() {
        let refused = shipped_rows("no-such-set", &[PathBuf::from(".")]).unwrap_err();
        assert!(matches!(&refused, ValidateError::RowsNotFound { set, .. } if set == "no-such-set"));
        assert!(refused.to_string().contains("--rows"));
    }
}
