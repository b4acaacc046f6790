//! Output that is whole or not there: files and folders are built under a temporary name and then renamed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::config::diagnostics::ConfigError;

/// The file by which a folder is known as an earlier result of ours, which a new result may replace.
pub const RESULT_MARKER: &str = "report.json";

const TEMPORARY_PREFIX: &str = ".npusim-unfinished-";

/// Writes `contents` to `path`, replacing a file that is there; on failure the old file stays as it was.
///
/// # Errors
/// [`ConfigError::Write`], also where `path` is a folder or its folder does not exist.
pub fn write_whole(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<(), ConfigError> {
    let path = path.as_ref();
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = temporary_file(folder)?;
        file.write_all(contents.as_ref())?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|cause| ConfigError::Write { path: path.to_path_buf(), cause })
}

/// An output folder under construction. Its files appear at their final path all at once, by
/// [`OutputDirectory::commit`]; if that is never reached, nothing is left behind.
#[derive(Debug)]
pub struct OutputDirectory {
    target: PathBuf,
    staging: TempDir,
}

impl OutputDirectory {
    /// Starts the folder that will stand at `target`, beside it or in the nearest ancestor that exists.
    ///
    /// # Errors
    /// [`ConfigError::Occupied`] if `target` holds something other than an earlier result ([`RESULT_MARKER`]), so that
    /// this is known before a long run and not after it; [`ConfigError::Write`] if it is no folder or cannot be made.
    pub fn create(target: impl AsRef<Path>) -> Result<OutputDirectory, ConfigError> {
        let target = target.as_ref();
        refuse_foreign(target)?;
        let stage = || -> io::Result<OutputDirectory> {
            // A link is followed, so that the result lands behind it and the link survives.
            let target = if target.exists() { target.canonicalize()? } else { std::path::absolute(target)? };
            let parent =
                target.parent().ok_or_else(|| io::Error::other("the root folder cannot be an output folder"))?;
            let existing = parent.ancestors().find(|folder| folder.is_dir());
            let existing = existing.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let staging = temporary_folder(existing)?;
            Ok(OutputDirectory { target, staging })
        };
        stage().map_err(|cause| ConfigError::Write { path: target.to_path_buf(), cause })
    }

    /// Where the files are to be written until the commit.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Writes one file of the folder; `name` may lead through subfolders, which are made.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn write(&self, name: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<(), ConfigError> {
        self.create_file(name)?.write_all(contents.as_ref()).map_err(|cause| self.failure(cause))
    }

    /// Opens one file of the folder for output that is too large to hold, such as a trace.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn create_file(&self, name: impl AsRef<Path>) -> Result<fs::File, ConfigError> {
        let path = self.path().join(name);
        let open = || -> io::Result<fs::File> {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::File::create(&path)
        };
        open().map_err(|cause| self.failure(cause))
    }

    /// Puts the folder in its place, in exchange for an empty folder or an earlier result, and returns its path.
    ///
    /// # Errors
    /// As [`OutputDirectory::create`]; what stood at the target then stands there still.
    pub fn commit(self) -> Result<PathBuf, ConfigError> {
        refuse_foreign(&self.target)?;
        match exchange(&self.target, self.staging.path()) {
            Ok(()) => {
                // The folder has moved away; there is nothing left to clean up under its temporary name.
                let _ = self.staging.keep();
                Ok(self.target)
            }
            Err(cause) => Err(self.failure(cause)),
        }
    }

    fn failure(&self, cause: io::Error) -> ConfigError {
        ConfigError::Write { path: self.target.clone(), cause }
    }
}

/// Renames `staging` to `target`; what stood there is put back if that fails, and removed if it succeeds.
fn exchange(target: &Path, staging: &Path) -> io::Result<()> {
    let parent = target.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(parent)?;
    if !target.exists() {
        return fs::rename(staging, target);
    }
    let mut earlier = temporary_folder(parent)?;
    let kept = earlier.path().join("earlier");
    fs::rename(target, &kept)?;
    fs::rename(staging, target).inspect_err(|_| {
        if fs::rename(&kept, target).is_err() {
            // Rather leave the earlier result under its temporary name than delete it.
            earlier.disable_cleanup(true);
        }
    })
}

fn refuse_foreign(target: &Path) -> Result<(), ConfigError> {
    let failure = |cause| ConfigError::Write { path: target.to_path_buf(), cause };
    match fs::read_dir(target) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(failure(cause)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(Ok(_)) if target.join(RESULT_MARKER).is_file() => Ok(()),
            Some(Ok(_)) => Err(ConfigError::Occupied { path: target.to_path_buf() }),
            Some(Err(cause)) => Err(failure(cause)),
        },
    }
}

/// A temporary file with the permissions of an ordinary one; `tempfile` alone would keep it from all other users.
fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A temporary folder with the permissions of an ordinary one.
fn temporary_folder(folder: &Path) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn finished(target: &Path, text: &str) {
        let output = OutputDirectory::create(target).unwrap();
        output.write(RESULT_MARKER, text).unwrap();
        output.commit().unwrap();
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
        let output = OutputDirectory::create(&target).unwrap();
        output.write(RESULT_MARKER, "{}").unwrap();
        output.write("plots/roofline.svg", "<svg/>").unwrap();
        assert!(!folder.path().join("runs").exists());
        assert_eq!(output.commit().unwrap(), target);
        assert_eq!(names(&target), ["plots", RESULT_MARKER]);
        assert_eq!(names(folder.path()), ["runs"]);
    }

    #[test]
    fn an_output_folder_that_is_not_committed_leaves_nothing_behind() {
        let folder = TempDir::new().unwrap();
        let output = OutputDirectory::create(folder.path().join("one")).unwrap();
        output.write("a", "text").unwrap();
        drop(output);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_earlier_result_and_an_empty_folder_are_replaced() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("one");
        fs::create_dir(&target).unwrap();
        finished(&target, "first");
        fs::write(target.join("layers.csv"), "of the first").unwrap();
        finished(&target, "second");
        assert_eq!(names(&target), [RESULT_MARKER]);
        assert_eq!(fs::read_to_string(target.join(RESULT_MARKER)).unwrap(), "second");
        assert_eq!(names(folder.path()), ["one"]);
    }

    #[test]
    fn a_folder_with_foreign_files_is_refused_before_and_after_the_run() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("home");
        let early = OutputDirectory::create(&target).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.tex"), "").unwrap();
        let late = early.commit().unwrap_err();
        assert!(matches!(late, ConfigError::Occupied { .. }), "{late}");
        let refused = OutputDirectory::create(&target).unwrap_err().to_string();
        let expected = "the folder exists and holds no earlier npusim result, so it is not replaced\n   help: name another folder with --out, or remove this one first";
        assert_eq!(refused, format!("{}: {expected}", target.display()));
        assert_eq!(names(&target), ["thesis.tex"]);
        assert_eq!(names(folder.path()), ["home"]);
    }

    #[test]
    fn a_file_where_the_output_folder_should_stand_is_refused() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "text").unwrap();
        assert!(matches!(OutputDirectory::create(&target), Err(ConfigError::Write { .. })));
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
    fn a_link_to_the_output_folder_is_followed_and_survives() {
        let folder = TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        finished(&link, "text");
        assert_eq!(fs::read_to_string(real.join(RESULT_MARKER)).unwrap(), "text");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
