//! Output that is whole or not there: files and folders are built under a temporary name and then renamed.
//!
//! What stands at the place of an output folder is replaced only if it is empty or an earlier result
//! ([`ResultForm`]). Nothing is ever deleted recursively or through a link: an earlier result is set aside by a rename,
//! and its files are then removed by their names.
//!
//! What is unfinished when the process is told to end is removed ([`crate::config::unfinished`]). What a killed process
//! leaves behind is not cleaned up later, since another live process may be writing it; its name says what it is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, PersistError, TempDir};

use crate::config::diagnostics::ConfigError;
use crate::config::result_form::{Contents, ResultForm};
use crate::config::unfinished::{Unfinished, uninterrupted};

/// Prefix of what is being written.
pub(crate) const UNFINISHED: &str = ".npusim-unfinished-";
/// Prefix of the folder in which an earlier result stands while the new one takes its place.
const EARLIER: &str = ".npusim-earlier-";

/// Writes `contents` to `path`, replacing a file that is there; on failure the old file stays as it was.
///
/// # Errors
/// [`ConfigError::Write`], also where `path` is a folder or its folder does not exist.
pub fn write_whole(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<(), ConfigError> {
    let path = path.as_ref();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    staged(folder, contents.as_ref())
        .and_then(|file| file.replace(path))
        .map_err(|cause| ConfigError::Write { path: path.to_path_buf(), cause })
}

/// Writes files into `folder`, each replacing one of its name: all of them are written before the first takes its place.
///
/// # Errors
/// As [`write_whole`].
pub fn write_all_whole<'n>(
    folder: &Path,
    files: impl IntoIterator<Item = (&'n str, Vec<u8>)>,
) -> Result<(), ConfigError> {
    let failure = |name: &str| {
        let path = folder.join(name);
        move |cause| ConfigError::Write { path, cause }
    };
    let mut written = Vec::new();
    for (name, contents) in files {
        written.push((name, staged(folder, &contents).map_err(failure(name))?));
    }
    written.into_iter().try_for_each(|(name, file)| file.replace(&folder.join(name)).map_err(failure(name)))
}

/// Writes files that are not there yet into `folder`, which is made if need be, and returns their paths.
///
/// # Errors
/// [`ConfigError::NoOutputFolder`] if one of them is there already, before any is written; [`ConfigError::Write`].
pub fn write_new(folder: impl AsRef<Path>, files: &[(&str, &str)]) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = folder.as_ref();
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        return Err(ConfigError::NoOutputFolder {
            path: path.clone(),
            found: "this is there already and is not replaced".to_owned(),
            help: "name another folder".to_owned(),
        });
    }
    let failure = |path: &Path| {
        let path = path.to_path_buf();
        move |cause| ConfigError::Write { path, cause }
    };
    fs::create_dir_all(folder).map_err(failure(folder))?;
    let mut written = Vec::new();
    for (path, (_, text)) in paths.iter().zip(files) {
        written.push((path, staged(folder, text.as_bytes()).map_err(failure(path))?));
    }
    for (path, file) in written {
        file.place(|file| file.persist_noclobber(path)).map_err(failure(path))?;
    }
    Ok(paths)
}

/// A file that is written and not in its place yet.
struct Staged {
    file: NamedTempFile,
    _unfinished: Unfinished,
}

impl Staged {
    fn replace(self, path: &Path) -> io::Result<()> {
        self.place(|file| file.persist(path))
    }

    fn place(self, put: impl FnOnce(NamedTempFile) -> Result<fs::File, PersistError>) -> io::Result<()> {
        uninterrupted(|| put(self.file).map(drop).map_err(|failure| failure.error))
    }
}

/// `contents` under a temporary name in `folder`.
fn staged(folder: &Path, contents: &[u8]) -> io::Result<Staged> {
    let mut staged = uninterrupted(|| -> io::Result<Staged> {
        let file = temporary_file(folder)?;
        Ok(Staged { _unfinished: Unfinished::note(file.path()), file })
    })?;
    // Past the wrapper, whose errors name the temporary file instead of the one that is meant.
    staged.file.as_file_mut().write_all(contents)?;
    Ok(staged)
}

/// A place where an output folder can stand. Nothing is written there yet, so that a run that is broken off leaves
/// nothing behind.
#[derive(Debug)]
pub struct OutputPlace {
    /// As the user wrote it.
    given: PathBuf,
    /// Without links.
    target: PathBuf,
    /// The nearest folder above it that exists.
    existing: PathBuf,
    form: ResultForm,
}

impl OutputPlace {
    /// Checks that a result of that form can stand at `given`, so that this is known before a long run, not after it.
    ///
    /// A link to an empty folder is followed, so that the result lands behind it and the link survives.
    ///
    /// # Errors
    /// [`ConfigError::Occupied`] if something stands there that is neither empty nor an earlier result, or an earlier
    /// result stands behind a link; [`ConfigError::NoOutputFolder`] if no folder can stand there or be exchanged: a file,
    /// a link to nothing, the working folder, a mount point; [`ConfigError::Write`] if the folder above cannot be
    /// written.
    pub fn try_new(given: impl AsRef<Path>, form: ResultForm) -> Result<OutputPlace, ConfigError> {
        let given = given.as_ref().to_path_buf();
        let failure = |cause| ConfigError::Write { path: given.clone(), cause };
        let unfit = |found: &str, help: &str| ConfigError::NoOutputFolder {
            path: given.clone(),
            found: found.to_owned(),
            help: help.to_owned(),
        };
        // Without a slash or a dot at its end, which would hide that it is a link.
        let plain: PathBuf = given.components().collect();
        let target = match fs::symlink_metadata(&plain) {
            Err(cause) if is_absent(&cause) => std::path::absolute(&plain).map_err(failure)?,
            Err(cause) => return Err(failure(cause)),
            Ok(metadata) => {
                if let Some(found) = other_than_folder(&plain) {
                    return Err(unfit(&found, "results are a folder of files: name a new one with --out"));
                }
                let target = plain.canonicalize().map_err(failure)?;
                match form.examine(&target).map_err(failure)? {
                    Contents::Nothing => {}
                    Contents::EarlierResult if !metadata.is_symlink() => {}
                    Contents::EarlierResult => {
                        let found = format!("it is a link to the earlier result {}", target.display());
                        return Err(ConfigError::Occupied { path: given, found });
                    }
                    Contents::Foreign(found) => return Err(ConfigError::Occupied { path: given, found }),
                }
                if Path::new(".").canonicalize().is_ok_and(|working_folder| working_folder == target) {
                    let help = "name a folder in it, such as --out result";
                    return Err(unfit("this is the working folder, which cannot be exchanged for a new one", help));
                }
                if is_mount_point(&target).map_err(failure)? {
                    let help = format!("name a folder in it, such as --out {}", given.join("result").display());
                    return Err(unfit("this is a mount point, which cannot be exchanged for a new folder", &help));
                }
                target
            }
        };
        let mut above = target.ancestors().skip(1);
        let existing = above.find(|folder| fs::symlink_metadata(folder).is_ok());
        let existing = existing.ok_or_else(|| unfit("this is the root folder", "name another folder with --out"))?;
        if let Some(found) = other_than_folder(existing) {
            let found = format!("nothing can stand below {}: {found}", existing.display());
            return Err(unfit(&found, "name another folder with --out"));
        }
        let existing = existing.to_path_buf();
        // Whether it can be written shows only by writing.
        uninterrupted(|| temporary_folder(&existing, UNFINISHED).and_then(TempDir::close))
            .map_err(|cause| ConfigError::Write { path: existing.clone(), cause })?;
        Ok(OutputPlace { given, target, existing, form })
    }

    /// Starts the folder, beside its place or in the nearest folder above it that exists.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn begin(self) -> Result<OutputDirectory, ConfigError> {
        let begun = uninterrupted(|| {
            let staging = temporary_folder(&self.existing, UNFINISHED)?;
            Ok((Unfinished::note(staging.path()), staging))
        });
        match begun {
            Ok((unfinished, staging)) => Ok(OutputDirectory { place: self, staging, _unfinished: unfinished }),
            Err(cause) => Err(ConfigError::Write { path: self.given, cause }),
        }
    }
}

/// An output folder under construction. Its files appear at their final path all at once, by
/// [`OutputDirectory::commit`]; if that is never reached, nothing is left behind.
#[derive(Debug)]
pub struct OutputDirectory {
    place: OutputPlace,
    staging: TempDir,
    _unfinished: Unfinished,
}

impl OutputDirectory {
    /// Where the files are to be written until the commit.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Writes one file of the folder, which must be one of its form: else the next run could not replace it.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<(), ConfigError> {
        self.create_file(name)?.write_all(contents.as_ref()).map_err(|cause| self.failure(cause))
    }

    /// Opens one file of the folder for output that is too large to hold, such as a trace.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn create_file(&self, name: &str) -> Result<fs::File, ConfigError> {
        assert!(self.place.form.files.contains(&name), "{name} is missing from the form of the result");
        fs::File::create(self.path().join(name)).map_err(|cause| self.failure(cause))
    }

    /// Puts the folder in its place, in exchange for an empty folder or an earlier result, and returns its path.
    ///
    /// # Errors
    /// As [`OutputPlace::try_new`]; what stood at the target then stands there still. [`ConfigError::Leftover`] if the
    /// new result is in its place but the earlier one cannot be removed.
    pub fn commit(self) -> Result<PathBuf, ConfigError> {
        let OutputDirectory { place, staging, _unfinished } = self;
        uninterrupted(|| exchange(&place, staging.path()))?;
        // The folder has moved away; there is nothing left to clean up under its temporary name.
        let _ = staging.keep();
        Ok(place.target)
    }

    fn failure(&self, cause: io::Error) -> ConfigError {
        ConfigError::Write { path: self.place.given.clone(), cause }
    }
}

/// Renames `staging` to its place. What stands there is examined only after it was set aside, when nobody finds it to
/// add to it; it is put back if it is foreign or the exchange fails.
fn exchange(place: &OutputPlace, staging: &Path) -> Result<(), ConfigError> {
    let OutputPlace { given, target, form, .. } = place;
    let failure = |cause| ConfigError::Write { path: given.clone(), cause };
    let parent = target.parent().expect("the root folder was refused");
    fs::create_dir_all(parent).map_err(failure)?;
    if fs::symlink_metadata(target).is_err_and(|cause| is_absent(&cause)) {
        // On an empty folder made just now the rename succeeds as well, on any other it fails.
        return fs::rename(staging, target).map_err(failure);
    }
    // Never removed as a whole: only what is known is removed from it.
    let aside = temporary_folder(parent, EARLIER).map_err(failure)?.keep();
    let kept = aside.join(target.file_name().unwrap_or("earlier".as_ref()));
    if let Err(cause) = fs::rename(target, &kept) {
        let _ = fs::remove_dir(&aside);
        return Err(failure(cause));
    }
    let exchanged = match form.examine(&kept) {
        Err(cause) => Err(failure(cause)),
        Ok(Contents::Foreign(found)) => Err(ConfigError::Occupied { path: given.clone(), found }),
        Ok(Contents::Nothing | Contents::EarlierResult) => fs::rename(staging, target).map_err(failure),
    };
    let leftover = |cause| ConfigError::Leftover { path: given.clone(), earlier: kept.clone(), cause };
    if let Err(refusal) = exchanged {
        fs::rename(&kept, target).map_err(leftover)?;
        let _ = fs::remove_dir(&aside);
        return Err(refusal);
    }
    form.remove(&kept).and_then(|()| fs::remove_dir(&aside)).map_err(leftover)
}

/// Whether nothing stands at a path, be it that a part of the path is a file.
fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What stands at `path` in words, if it is no folder and no link to one.
pub(crate) fn other_than_folder(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(metadata) if metadata.is_file() => Some("this is a file".to_owned()),
        Ok(_) => Some("this is a device, a pipe or a socket".to_owned()),
        Err(_) => Some(match fs::read_link(path) {
            Ok(end) => format!("this is a link to {}, which does not exist", end.display()),
            Err(cause) => format!("it cannot be looked at: {cause}"),
        }),
    }
}

/// Whether `folder` is the root of a file system of its own, out of which nothing can be renamed.
#[cfg(unix)]
fn is_mount_point(folder: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    folder.parent().map_or(Ok(false), |parent| Ok(device(folder)? != device(parent)?))
}

#[cfg(not(unix))]
fn is_mount_point(_folder: &Path) -> io::Result<bool> {
    Ok(false)
}

/// A temporary file with the permissions of an ordinary one; `tempfile` alone would keep it from all other users.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A temporary folder with the permissions of an ordinary one.
fn temporary_folder(folder: &Path, prefix: &str) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::result_form::REPORT;

    const FIRST: &str = r#"{"schema_version": 1, "npusim_version": "0.1.0", "run": "first"}"#;
    const SECOND: &str = r#"{"schema_version": 1, "npusim_version": "0.1.0", "run": "second"}"#;

    fn form() -> ResultForm {
        ResultForm { files: vec![REPORT, "layers.csv"], schema_version: 1 }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn begun(target: &Path) -> OutputDirectory {
        OutputPlace::try_new(target, form()).unwrap().begin().unwrap()
    }

    fn finished(target: &Path, text: &str) {
        let output = begun(target);
        output.write(REPORT, text).unwrap();
        output.commit().unwrap();
    }

    fn refused(target: &Path) -> String {
        let error = OutputPlace::try_new(target, form()).unwrap_err();
        assert!(matches!(error, ConfigError::Occupied { .. } | ConfigError::NoOutputFolder { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("help: ") && text.contains("--out"), "{text}");
        text.strip_prefix(&format!("{}: ", target.display())).expect("the path stands first").to_owned()
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_file() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.csv");
        write_whole(&path, "one").unwrap();
        write_whole(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_no_temporary_file() {
        let folder = TempDir::new().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("x"), "").unwrap();
        let error = write_whole(&taken, "text").unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: cannot write: ", taken.display())), "{error}");
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(write_whole(folder.path().join("missing/a.csv"), "text").is_err());
    }

    #[test]
    fn an_output_folder_appears_only_at_the_commit() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("runs/one");
        let output = begun(&target);
        output.write(REPORT, FIRST).unwrap();
        output.write("layers.csv", "layer\n").unwrap();
        assert!(!folder.path().join("runs").exists());
        assert_eq!(output.commit().unwrap(), target);
        assert_eq!(names(&target), ["layers.csv", REPORT]);
        assert_eq!(names(folder.path()), ["runs"]);
    }

    #[test]
    fn a_run_killed_before_it_writes_leaves_no_temporary_folder() {
        let folder = TempDir::new().unwrap();
        // What a killed process does not do is drop the place.
        std::mem::forget(OutputPlace::try_new(folder.path().join("one"), form()).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_output_folder_that_is_not_committed_leaves_nothing_behind() {
        let folder = TempDir::new().unwrap();
        let output = begun(&folder.path().join("one"));
        output.write(REPORT, "text").unwrap();
        assert!(names(folder.path())[0].starts_with(".npusim-unfinished-"));
        drop(output);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_earlier_result_and_an_empty_folder_are_replaced() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("one");
        fs::create_dir(&target).unwrap();
        finished(&target, FIRST);
        fs::write(target.join("layers.csv"), "of the first").unwrap();
        finished(&target, SECOND);
        assert_eq!(names(&target), [REPORT]);
        assert_eq!(fs::read_to_string(target.join(REPORT)).unwrap(), SECOND);
        assert_eq!(names(folder.path()), ["one"]);
    }

    #[test]
    fn a_file_beside_an_earlier_report_is_not_deleted_with_it() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("home");
        finished(&target, FIRST);
        fs::write(target.join("thesis.tex"), "years of work").unwrap();
        let expected = "this folder is not replaced: it holds thesis.tex, which npusim does not write\n   help: choose another folder with --out: a new or empty one, or one that holds an earlier result of this command and nothing else";
        assert_eq!(refused(&target), expected);
        assert_eq!(names(&target), [REPORT, "thesis.tex"]);
    }

    #[test]
    fn a_file_that_came_into_the_folder_during_the_run_is_not_deleted() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("home");
        for earlier in ["", FIRST] {
            if !earlier.is_empty() {
                finished(&target, earlier);
            }
            let output = begun(&target);
            output.write(REPORT, SECOND).unwrap();
            fs::create_dir_all(&target).unwrap();
            fs::write(target.join("thesis.tex"), "years of work").unwrap();
            let late = output.commit().unwrap_err();
            assert!(matches!(late, ConfigError::Occupied { .. }), "{late}");
            assert_eq!(fs::read_to_string(target.join("thesis.tex")).unwrap(), "years of work");
            assert_eq!(names(folder.path()), ["home"]);
            fs::remove_file(target.join("thesis.tex")).unwrap();
        }
        assert_eq!(fs::read_to_string(target.join(REPORT)).unwrap(), FIRST);
    }

    #[test]
    fn the_earlier_result_is_back_in_its_place_when_the_exchange_fails() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("one");
        finished(&target, FIRST);
        let output = begun(&target);
        fs::remove_dir_all(output.path()).unwrap();
        assert!(matches!(output.commit(), Err(ConfigError::Write { .. })));
        assert_eq!(fs::read_to_string(target.join(REPORT)).unwrap(), FIRST);
        assert_eq!(names(folder.path()), ["one"]);
    }

    #[test]
    fn a_file_where_the_output_folder_or_one_above_it_should_stand_is_called_a_file() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "text").unwrap();
        assert!(refused(&target).starts_with("this is a file"));
        let below = target.join("deep/result");
        assert!(refused(&below).starts_with(&format!("nothing can stand below {}: this is a file", target.display())));
        assert_eq!(fs::read_to_string(&target).unwrap(), "text");
    }

    #[test]
    fn the_working_folder_and_the_root_are_not_exchanged() {
        assert!(refused(Path::new(".")).starts_with("this folder is not replaced: it holds "));
        assert!(refused(Path::new("/")).starts_with("this folder is not replaced: it holds "));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_and_a_link_to_nothing_are_called_so() {
        assert!(refused(Path::new("/dev/null")).starts_with("this is a device"));
        let folder = TempDir::new().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(refused(&link).starts_with("this is a link to nowhere, which does not exist"));
        let below = refused(&link.join("result"));
        assert!(below.contains("this is a link to nowhere, which does not exist"), "{below}");
    }

    #[cfg(unix)]
    #[test]
    fn results_have_the_permissions_of_ordinary_files_and_folders() {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (ordinary_file, ordinary_folder) = (folder.path().join("file"), folder.path().join("folder"));
        fs::write(&ordinary_file, "").unwrap();
        fs::create_dir(&ordinary_folder).unwrap();
        let (ours, target) = (folder.path().join("ours"), folder.path().join("result"));
        write_whole(&ours, "").unwrap();
        finished(&target, "");
        assert_eq!(mode(&ours), mode(&ordinary_file));
        assert_eq!(mode(&target), mode(&ordinary_folder));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_an_empty_folder_is_followed_and_one_to_a_result_is_refused() {
        let folder = TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        finished(&link, FIRST);
        assert_eq!(fs::read_to_string(real.join(REPORT)).unwrap(), FIRST);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        for way in [link.clone(), link.join(""), link.join(".")] {
            assert!(refused(&way).contains("it is a link to the earlier result"));
        }
        assert_eq!(fs::read_to_string(real.join(REPORT)).unwrap(), FIRST);
    }
}
