//! Whether a study may stand in a folder: its journal grows there, so the folder is not exchanged for a new one as that of
//! other results is; the rule what may be replaced is the same.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::diagnostics::ConfigError;
use crate::config::files::{UNFINISHED, other_than_folder};
use crate::config::result_form::{ResultForm, foreign_words, is_journal, other_command};

/// Who else may be at work in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: what is not of an earlier study is refused.
    Alone,
    /// Other parts of the study, with what their schedulers put beside them, such as logs.
    WithParts,
}

/// Checks that a study can stand in `given`, which may be missing. `form` has the names of its results.
///
/// # Errors
/// [`ConfigError::Occupied`] if it holds the result of another command, files that no study wrote, or results of a study
/// without a journal; [`ConfigError::NoOutputFolder`] if it is no folder.
pub fn check(given: &Path, form: &ResultForm, sharing: Sharing) -> Result<(), ConfigError> {
    if fs::symlink_metadata(given).is_err() {
        return Ok(());
    }
    if let Some(found) = other_than_folder(given) {
        let help = "a study is a folder of files: name a new one with --out".to_owned();
        return Err(ConfigError::NoOutputFolder { path: given.to_path_buf(), found, help });
    }
    match reason_against(given, form, sharing) {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(ConfigError::Occupied { path: given.to_path_buf(), found }),
        Err(cause) => Err(ConfigError::Write { path: given.to_path_buf(), cause }),
    }
}

fn reason_against(folder: &Path, form: &ResultForm, sharing: Sharing) -> io::Result<Option<String>> {
    let (mut results, mut foreign, mut has_journal) = (Vec::new(), Vec::new(), false);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type()?.is_file();
        has_journal |= is_file && is_journal(&name);
        if is_file && form.files.contains(&name.as_str()) {
            results.push(name);
        } else if !(is_file && (is_journal(&name) || name.starts_with(UNFINISHED))) {
            foreign.push(if is_file { name } else { format!("{name}/") });
        }
    }
    if let Some(found) = other_command(form, foreign.iter().map(String::as_str)) {
        return Ok(Some(found));
    }
    if has_journal {
        return Ok(None);
    }
    if sharing == Sharing::Alone && !foreign.is_empty() {
        return Ok(Some(foreign_words(foreign)));
    }
    if results.is_empty() || form.has_stamp(folder)? {
        return Ok(None);
    }
    results.sort();
    Ok(Some(format!("it holds {}, but no journal of a study", results.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn form() -> ResultForm {
        ResultForm { files: vec!["study.json", "results.csv", "pareto.svg"], schema_version: 1 }
    }

    fn verdict(files: &[&str], sharing: Sharing) -> Result<(), String> {
        let folder = TempDir::new().unwrap();
        for name in files {
            let stamp = r#"{"schema_version": 1, "npusim_version": "0.1.0"}"#;
            fs::write(folder.path().join(name), if *name == "study.json" { stamp } else { "x" }).unwrap();
        }
        check(folder.path(), &form(), sharing).map_err(|error| error.to_string())
    }

    #[test]
    fn a_study_stands_in_a_new_or_empty_folder_or_in_its_own() {
        check(Path::new("no/such/folder"), &form(), Sharing::Alone).unwrap();
        for files in
            [&[][..], &["journal.jsonl", "results.csv"], &["journal.2-of-3.jsonl"], &["study.json", "pareto.svg"]]
        {
            assert_eq!(verdict(files, Sharing::Alone), Ok(()), "{files:?}");
        }
        // A journal shows that the folder is that of a study, whatever came into it later.
        assert_eq!(verdict(&["journal.jsonl", "notes.md", ".npusim-unfinished-a"], Sharing::Alone), Ok(()));
    }

    #[test]
    fn results_of_other_commands_and_foreign_files_are_refused() {
        for sharing in [Sharing::Alone, Sharing::WithParts] {
            let text = verdict(&["report.json", "layers.csv"], sharing).unwrap_err();
            assert!(text.contains("it holds the result of `npusim run` (report.json)"), "{text}");
            let text = verdict(&["results.csv"], sharing).unwrap_err();
            assert!(text.contains("it holds results.csv, but no journal of a study"), "{text}");
        }
        let text = verdict(&["part-1.log"], Sharing::Alone).unwrap_err();
        assert!(text.contains("it holds part-1.log, which npusim does not write"), "{text}");
        // The log of a scheduler is there before the first part is.
        assert_eq!(verdict(&["part-1.log"], Sharing::WithParts), Ok(()));
    }
}
