//! By what an earlier result folder of ours is known, so that nothing else is ever replaced.
//!
//! A folder counts as a result only if every entry is a plain file that a run writes and its report is ours. A report
//! beside other files does not make them ours.

use std::fs;
use std::io::{self, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::config::diagnostics::cut;
use crate::config::input_files;

/// The file by which a result folder of a run is known.
pub const REPORT: &str = "report.json";

/// Foreign entries that a refusal names.
const SHOWN: usize = 3;

/// What the result folders of a command hold.
#[derive(Clone, Debug)]
pub struct ResultForm {
    /// Names of all files that it may write; the first is the report by which a result is known.
    pub files: Vec<&'static str>,
    /// The value of `schema_version` in its report.
    pub schema_version: u32,
}

/// The files by which results are known, with the command that writes them.
const KNOWN_BY: [(&str, &str); 3] =
    [(REPORT, "npusim run"), ("compare.json", "npusim compare"), ("study.json", "npusim explore")];

/// Whether a file of that name is the journal of a study, or of a part of one.
pub(crate) fn is_journal(name: &str) -> bool {
    name.starts_with("journal.") && name.ends_with(".jsonl")
}

/// Words for the result of another command than that of `form` among the names of files.
pub(crate) fn other_command<'n>(form: &ResultForm, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let command = |name: &str| {
        let known = KNOWN_BY.iter().find(|(file, _)| *file == name && form.files.first() != Some(file));
        known.map(|(_, command)| *command).or_else(|| is_journal(name).then_some("npusim explore"))
    };
    let mut found: Vec<(&str, &str)> = names.filter_map(|name| Some((name, command(name)?))).collect();
    found.sort_unstable();
    let (name, command) = found.first()?;
    Some(format!("it holds the result of `{command}` ({name})"))
}

/// Words for files that no command writes.
pub(crate) fn foreign_words(mut names: Vec<String>) -> String {
    names.sort();
    let mut text = names.iter().take(SHOWN).map(|name| cut(name)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    format!("it holds {text}, which npusim does not write")
}

/// What stands in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Nothing at all.
    Nothing,
    /// A result of ours and nothing else.
    EarlierResult,
    /// Something that is not ours to replace, told in words.
    Foreign(String),
}

/// What a report says of itself.
#[derive(Deserialize)]
struct Stamp {
    schema_version: u64,
    #[serde(rename = "npusim_version")]
    _npusim_version: String,
}

impl ResultForm {
    /// What stands in `folder`. No link is followed: a link is foreign, whatever it points at.
    ///
    /// # Errors
    /// It is no folder or cannot be read.
    pub(crate) fn examine(&self, folder: &Path) -> io::Result<Contents> {
        if fs::symlink_metadata(folder)?.is_symlink() {
            return Ok(Contents::Foreign("it is a link".to_owned()));
        }
        let (mut ours, mut foreign) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            match () {
                () if kind.is_file() && self.files.contains(&name.as_str()) => ours.push(name),
                () if kind.is_dir() => foreign.push(format!("{name}/")),
                () => foreign.push(name),
            }
        }
        if let Some(found) = other_command(self, foreign.iter().map(String::as_str)) {
            return Ok(Contents::Foreign(found));
        }
        if !foreign.is_empty() {
            return Ok(Contents::Foreign(foreign_words(foreign)));
        }
        if ours.is_empty() {
            return Ok(Contents::Nothing);
        }
        let stamp = self.files.first().expect("a result has a report");
        if !ours.iter().any(|name| name == stamp) {
            ours.sort();
            return Ok(Contents::Foreign(format!("it holds {}, but no {stamp}", ours.join(", "))));
        }
        if self.has_stamp(folder)? {
            return Ok(Contents::EarlierResult);
        }
        let text = format!("its {stamp} is none of npusim with schema_version {}", self.schema_version);
        Ok(Contents::Foreign(text))
    }

    /// Whether the report in `folder` is one of ours.
    ///
    /// # Errors
    /// It cannot be opened, though it is there.
    pub(crate) fn has_stamp(&self, folder: &Path) -> io::Result<bool> {
        let report = match input_files::open(&folder.join(self.files.first().expect("a result has a report"))) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            report => BufReader::new(report?),
        };
        let stamp = serde_json::from_reader::<_, Stamp>(report);
        Ok(stamp.is_ok_and(|stamp| stamp.schema_version == u64::from(self.schema_version)))
    }

    /// Removes the files of a result by their names, and the folder if nothing else has come into it.
    ///
    /// # Errors
    /// A file or the folder cannot be removed; what has not been removed stands where it stood.
    pub(crate) fn remove(&self, folder: &Path) -> io::Result<()> {
        for name in &self.files {
            match fs::remove_file(folder.join(name)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        fs::remove_dir(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const OURS: &str = r#"{"schema_version": 1, "npusim_version": "0.1.0", "layers": []}"#;

    fn form() -> ResultForm {
        ResultForm { files: vec![REPORT, "layers.csv"], schema_version: 1 }
    }

    fn folder_of(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
        folder
    }

    fn examined(folder: &TempDir) -> Contents {
        form().examine(folder.path()).unwrap()
    }

    fn foreign(folder: &TempDir) -> String {
        match examined(folder) {
            Contents::Foreign(found) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_an_empty_folder_and_a_result_alone_are_ours() {
        assert_eq!(examined(&folder_of(&[])), Contents::Nothing);
        assert_eq!(examined(&folder_of(&[(REPORT, OURS)])), Contents::EarlierResult);
        assert_eq!(examined(&folder_of(&[(REPORT, OURS), ("layers.csv", "")])), Contents::EarlierResult);
    }

    #[test]
    fn any_other_name_beside_a_report_is_foreign_and_the_first_ones_are_named() {
        let mut files = vec![(REPORT, OURS), ("layers.csv", ""), ("notes.md", "")];
        assert_eq!(foreign(&folder_of(&files)), "it holds notes.md, which npusim does not write");
        files.extend([("a", ""), ("b", ""), ("c", "")]);
        let folder = folder_of(&files);
        fs::create_dir(folder.path().join("0")).unwrap();
        assert_eq!(foreign(&folder), "it holds 0/, a, b and 2 more, which npusim does not write");
    }

    #[test]
    fn the_result_of_another_command_is_called_so() {
        let found = |name| foreign(&folder_of(&[(name, "{}"), ("notes.md", "")]));
        assert_eq!(found("compare.json"), "it holds the result of `npusim compare` (compare.json)");
        assert_eq!(found("journal.jsonl"), "it holds the result of `npusim explore` (journal.jsonl)");
        assert_eq!(found("journal.1-of-3.jsonl"), "it holds the result of `npusim explore` (journal.1-of-3.jsonl)");
    }

    #[test]
    fn a_subfolder_is_foreign_even_under_the_name_of_a_file_of_ours() {
        let folder = folder_of(&[(REPORT, OURS)]);
        fs::create_dir(folder.path().join("layers.csv")).unwrap();
        assert_eq!(foreign(&folder), "it holds layers.csv/, which npusim does not write");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_foreign_even_under_the_name_of_a_file_of_ours() {
        let folder = folder_of(&[(REPORT, OURS)]);
        std::os::unix::fs::symlink(folder.path().join(REPORT), folder.path().join("layers.csv")).unwrap();
        assert_eq!(foreign(&folder), "it holds layers.csv, which npusim does not write");
    }

    #[test]
    fn a_report_of_another_tool_or_version_or_none_at_all_is_foreign() {
        let other_tool = r#"{"schema_version": 1, "tests": 12}"#;
        let other_version = OURS.replace("\": 1", "\": 2");
        for text in ["", "{", "[]", "{}", "first", other_tool, &other_version] {
            let found = foreign(&folder_of(&[(REPORT, text)]));
            assert_eq!(found, "its report.json is none of npusim with schema_version 1", "{text}");
        }
        assert_eq!(foreign(&folder_of(&[("layers.csv", "")])), "it holds layers.csv, but no report.json");
    }

    #[test]
    fn removal_stops_at_what_is_not_ours() {
        let folder = folder_of(&[(REPORT, OURS), ("notes.md", "mine")]);
        assert!(form().remove(folder.path()).is_err());
        assert_eq!(fs::read_to_string(folder.path().join("notes.md")).unwrap(), "mine");
    }
}
