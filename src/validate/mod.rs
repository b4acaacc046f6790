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

mod accelerator_run;
pub mod cacti;
pub mod chips;
mod comparison;
mod folder;
mod integer_values;
pub mod maestro;
mod markdown;
pub mod mx_rtl;
pub mod numerics;
pub mod nvdla;
pub mod nvdla_pairs;
mod nvdla_rows;
pub mod nvdla_traces;
pub mod onnxim;
mod product_with_values;
mod report;
mod rows;
pub mod scalesim;
mod sha256;
mod single_product;
pub mod stonne;
pub mod tensors;
pub mod vela;
mod whole_product;
pub mod zigzag;

use std::path::{Path, PathBuf};

use crate::config::diagnostics::listed;
pub use comparison::Comparison;
pub use markdown::{COMMAND as PAGE_COMMAND, is_page, page as markdown_page};
pub use report::{ErrorStatistic, ValidationReport, ValidationRow};

/// A reference set.
pub trait ValidationSet: Sync {
    /// Its name on the command line, such as `mx-rtl`.
    fn name(&self) -> &'static str;

    /// Where its rows come from, in one line.
    fn origin(&self) -> &'static str;

    /// Where its rows ship, from the root of the source tree.
    fn shipped(&self) -> PathBuf {
        Path::new("tests").join("oracles").join(self.name().replace('-', "_"))
    }

    /// Names of the packs whose cases it runs, by which a folder shows which set it is for; none for sets of plain rows.
    fn packs(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Runs every row found at `rows`: a folder, or the manifest in it.
    ///
    /// # Errors
    /// [`ValidateError`] when the rows cannot be read or one of them cannot be run.
    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError>;
}

/// Every reference set.
pub static ALL: &[&dyn ValidationSet] = &[
    &numerics::Numerics,
    &mx_rtl::MxRtl,
    &scalesim::ScaleSim,
    &maestro::Maestro,
    &stonne::Stonne,
    &zigzag::ZigZag,
    &onnxim::OnnxIm,
    &vela::Vela,
    &nvdla::Nvdla,
    &nvdla_pairs::NvdlaPairs,
    &nvdla_traces::NvdlaTraces,
    &tensors::Tensors,
    &cacti::Cacti,
    &chips::Chips,
];

/// The set of that name.
pub fn by_name(name: &str) -> Option<&'static dyn ValidationSet> {
    ALL.iter().copied().find(|set| set.name() == name)
}

/// The set that runs every pack of `rows`, if there is only one.
///
/// # Errors
/// [`ValidateError`] when there are none or several, or when the manifest cannot be read.
pub fn set_for(rows: &Path) -> Result<&'static dyn ValidationSet, ValidateError> {
    let packs = folder::pack_names(rows)?;
    match sets_that_run(&packs).as_slice() {
        [set] => Ok(*set),
        _ => Err(ValidateError::UnknownRows { rows: rows.to_owned(), packs }),
    }
}

fn sets_that_run(packs: &[String]) -> Vec<&'static dyn ValidationSet> {
    ALL.iter().copied().filter(|set| runs_all(*set, packs)).collect()
}

fn runs_all(set: &dyn ValidationSet, packs: &[String]) -> bool {
    let known = set.packs();
    packs.iter().all(|pack| known.contains(&pack.as_str()))
}

/// Fails if `rows` are those of one other set than `set`. Rows of no set at all are left to the set itself to refuse.
fn expect_rows_of(set: &dyn ValidationSet, rows: &Path) -> Result<(), ValidateError> {
    if set.packs().is_empty() {
        // Plain rows: their columns tell, when they are read.
        return Ok(());
    }
    let packs = folder::pack_names(rows)?;
    match sets_that_run(&packs).as_slice() {
        [other] if !runs_all(set, &packs) => {
            Err(ValidateError::OtherSet { rows: rows.to_owned(), set: set.name(), other: other.name() })
        }
        _ => Ok(()),
    }
}

/// Runs the sets, each on `rows` or else on the rows that ship with the project, found from the folders `near`.
///
/// # Errors
/// [`ValidateError`] when rows cannot be found or read, are those of another set, or when one of them cannot be run. A
/// missed bar is no error; see [`ValidationReport::passes`].
pub fn run(
    sets: &[&dyn ValidationSet],
    rows: Option<&Path>,
    near: &[PathBuf],
) -> Result<ValidationReport, ValidateError> {
    let mut report = ValidationReport::default();
    for set in sets {
        let rows = match rows {
            Some(rows) => {
                expect_rows_of(*set, rows)?;
                rows.to_path_buf()
            }
            None => shipped_rows(set.name(), &set.shipped(), near)?,
        };
        report.sets.extend(set.run(&rows)?);
    }
    Ok(report)
}

/// `folder` in the nearest folder above those of `near` that has it.
fn shipped_rows(set: &str, folder: &Path, near: &[PathBuf]) -> Result<PathBuf, ValidateError> {
    near.iter()
        .flat_map(|start| start.ancestors())
        .map(|directory| directory.join(folder))
        .find(|candidate| candidate.exists())
        .ok_or_else(|| ValidateError::RowsNotFound { set: set.to_owned(), folder: folder.to_owned() })
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
    /// The rows fit no set, or several.
    #[error(
        "{}: which set these rows are for does not show from their packs ({})\n   help: name it with --set: {}",
        .rows.display(), listed(.packs.iter().map(String::as_str)), listed(ALL.iter().map(|set| set.name()))
    )]
    UnknownRows {
        /// The rows.
        rows: PathBuf,
        /// Their packs.
        packs: Vec<String>,
    },
    /// The rows are those of another set.
    #[error(
        "{}: these rows are not for the set `{set}` but for `{other}`, by the packs of their manifest\n   \
         help: name that one with --set {other}", .rows.display()
    )]
    OtherSet {
        /// The rows.
        rows: PathBuf,
        /// The set that was to run them.
        set: &'static str,
        /// The set that they are for.
        other: &'static str,
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
    use super::{ALL, ValidateError, by_name, run, set_for, shipped_rows};
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
    fn rows_show_which_set_they_are_for() {
        let near = [PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
        for set in ALL.iter().filter(|set| !set.packs().is_empty()) {
            let rows = shipped_rows(set.name(), &set.shipped(), &near).unwrap();
            assert_eq!(set_for(&rows).unwrap().name(), set.name());
            assert_eq!(set_for(&rows.join("manifest.json")).unwrap().name(), set.name());
        }
        let rows = shipped_rows("mx-rtl", &by_name("mx-rtl").unwrap().shipped(), &near).unwrap();
        let refused = run(&[by_name("numerics").unwrap()], Some(&rows), &near).unwrap_err();
        assert!(matches!(&refused, ValidateError::OtherSet { set: "numerics", other: "mx-rtl", .. }), "{refused}");
        assert!(refused.to_string().ends_with("--set mx-rtl"), "{refused}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.json"), r#"{"cases": {}, "packs": {"new": {"sha256": ""}}}"#)
            .unwrap();
        let refused = set_for(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("packs (new)") && refused.contains("with --set: numerics, mx-rtl"), "{refused}");
    }

    #[test]
    fn rows_that_are_nowhere_are_an_error_with_the_remedy() {
        let refused = shipped_rows("no-such-set", &PathBuf::from("no-such-folder"), &[PathBuf::from(".")]).unwrap_err();
        assert!(matches!(&refused, ValidateError::RowsNotFound { set, .. } if set == "no-such-set"));
        assert!(refused.to_string().contains("--rows"));
    }
}
