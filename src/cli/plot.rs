//! `npusim plot`: pictures of saved results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::arguments::PlotArguments;
use crate::cli::{CliError, print};
use crate::config::diagnostics::ConfigError;
use crate::config::files::{other_than_folder, write_all_whole};
use crate::config::input_files;
use crate::config::result_form::foreign_words;
use crate::explore::run::{SUMMARY, TABLE};
use crate::report::plots::saved::Saved;
use crate::report::plots::{self, PictureFile};

/// The files by which a result is known, most usual one first.
const RESULTS: [&str; 3] = ["report.json", "compare.json", TABLE];

pub(super) fn run(arguments: &PlotArguments) -> Result<ExitCode, CliError> {
    let files: Vec<PathBuf> = arguments.results.iter().map(|given| result_file(given)).collect::<Result<_, _>>()?;
    let texts: Vec<String> = files.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    let shown = || files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    let unreadable = |reason| CliError::NothingToDraw(format!("{}: {reason}", shown()));
    let mut saved = Saved::read(&texts).map_err(unreadable)?;
    // What a study looked for stands beside its table.
    if let [table] = files.as_slice()
        && matches!(saved, Saved::Points(_))
        && table.with_file_name(SUMMARY).is_file()
    {
        saved = saved.with_summary(&read(&table.with_file_name(SUMMARY))?).map_err(unreadable)?;
    }
    let folder = match (&arguments.out, files.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [one]) => one.parent().unwrap_or(Path::new("")).to_path_buf(),
        (None, _) => {
            let problem =
                "several results have no folder in common\n   help: name a folder for the pictures with --out";
            return Err(CliError::NothingToDraw(problem.to_owned()));
        }
    };
    let pictures = plots::files(&saved);
    if pictures.is_empty() {
        let problem = format!("{}: there is nothing in it that a picture shows", shown());
        return Err(CliError::NothingToDraw(problem));
    }
    if arguments.out.is_some() {
        check_place(&folder)?;
    }
    let is_new = !folder.as_os_str().is_empty() && !folder.exists();
    if is_new {
        fs::create_dir_all(&folder).map_err(|cause| ConfigError::Write { path: folder.clone(), cause })?;
    }
    let names = write(&folder, pictures).inspect_err(|_| {
        // It goes if nothing came into it.
        let _ = if is_new { fs::remove_dir(&folder) } else { Ok(()) };
    })?;
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    print(&format!("written: {} ({})", place.display(), names.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws the table of the study in `folder`, and returns the names of the pictures, of which there may be none.
pub(super) fn of_study(folder: &Path) -> Result<Vec<&'static str>, CliError> {
    let text = read(&folder.join(TABLE))?;
    let summary = read(&folder.join(SUMMARY))?;
    let saved = Saved::read(&[text]).and_then(|saved| saved.with_summary(&summary));
    let saved = saved.map_err(|reason| CliError::NothingToDraw(reason.to_string()))?;
    Ok(write(folder, plots::files(&saved))?)
}

/// Checks that pictures can stand in `folder`, whose name the user gives: a new or empty one, one with pictures of ours alone,
/// or that of a result.
fn check_place(folder: &Path) -> Result<(), ConfigError> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    if let Some(found) = other_than_folder(folder) {
        let help = "pictures are files in a folder: name a new one with --out".to_owned();
        return Err(ConfigError::NoOutputFolder { path: folder.to_path_buf(), found, help });
    }
    if RESULTS.iter().any(|name| folder.join(name).is_file()) {
        return Ok(());
    }
    let failure = |cause| ConfigError::Read { path: folder.to_path_buf(), cause };
    let names =
        fs::read_dir(folder).map_err(failure)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_, _>>().map_err(failure)?;
    names.retain(|name| !plots::file_names().any(|picture| picture == name));
    match names.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::Occupied { path: folder.to_path_buf(), found: foreign_words(names) }),
    }
}

/// Writes the pictures; one that is there is replaced only if it was drawn here.
fn write(folder: &Path, pictures: Vec<PictureFile>) -> Result<Vec<&'static str>, ConfigError> {
    let names: Vec<&'static str> = pictures.iter().map(|picture| picture.name).collect();
    let is_ours = |name: &str| {
        let path = folder.join(name);
        fs::symlink_metadata(&path).is_err()
            || input_files::read(&path, input_files::MOST_BYTES).is_ok_and(|file| plots::is_drawn_here(name, &file))
    };
    if let Some(name) = names.iter().find(|name| !is_ours(name)) {
        return Err(ConfigError::NoOutputFolder {
            path: folder.join(name),
            found: "this file is not replaced: it is no picture that npusim drew".to_owned(),
            help: "move it, or name another folder with --out".to_owned(),
        });
    }
    write_all_whole(folder, pictures.into_iter().map(|picture| (picture.name, picture.contents)))?;
    Ok(names)
}

/// The result file that is meant by a folder or a file.
fn result_file(given: &Path) -> Result<PathBuf, CliError> {
    if !given.is_dir() {
        return Ok(given.to_path_buf());
    }
    RESULTS.iter().map(|name| given.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        let problem = format!("{}: this folder holds no result", given.display());
        CliError::NothingToDraw(format!("{problem}\n   help: it would hold {}", RESULTS.join(" or ")))
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    input_files::read_text(path, input_files::MOST_BYTES)
        .map_err(|cause| ConfigError::Read { path: path.to_path_buf(), cause })
}
