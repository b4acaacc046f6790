//! A file that the user names for a result: one that is there is replaced only if it is empty or an earlier result of the
//! same kind. The same rule as for folders ([`crate::config::files`]).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::diagnostics::ConfigError;
use crate::config::files::write_whole;

/// A kind of result that is one file.
#[derive(Clone, Copy, Debug)]
pub struct ResultFile {
    /// What it is, with its article: "a calibration".
    pub noun: &'static str,
    /// The option that names it.
    pub option: &'static str,
    /// Whether a file is an earlier one.
    pub is_earlier: fn(File) -> bool,
}

/// A place where such a file can stand.
#[derive(Debug)]
pub struct OutputFile {
    given: PathBuf,
    kind: ResultFile,
}

impl OutputFile {
    /// Checks that a file of that kind can stand at `given`, so that this is known before the work.
    ///
    /// # Errors
    /// [`ConfigError::NoOutputFolder`] if something else stands there, or no folder around it.
    pub fn try_new(given: impl AsRef<Path>, kind: ResultFile) -> Result<OutputFile, ConfigError> {
        let place = OutputFile { given: given.as_ref().to_path_buf(), kind };
        place.target()?;
        Ok(place)
    }

    /// Writes it, whole or not at all. A link to an earlier one is followed.
    ///
    /// # Errors
    /// As [`OutputFile::try_new`], for what came there in between; [`ConfigError::Write`].
    pub fn write(self, contents: impl AsRef<[u8]>) -> Result<(), ConfigError> {
        let target = self.target()?;
        write_whole(target, contents).map_err(|error| match error {
            ConfigError::Write { cause, .. } => ConfigError::Write { path: self.given, cause },
            other => other,
        })
    }

    /// Where it is written: behind links.
    fn target(&self) -> Result<PathBuf, ConfigError> {
        let OutputFile { given, kind } = self;
        let failure = |cause| ConfigError::Write { path: given.clone(), cause };
        let refused = |found: String| {
            let help = format!("name another file with {}", kind.option);
            Err(ConfigError::NoOutputFolder { path: given.clone(), found, help })
        };
        let metadata = match fs::metadata(given) {
            Ok(metadata) => metadata,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                if let Ok(end) = fs::read_link(given) {
                    return refused(format!("this is a link to {}, which does not exist", end.display()));
                }
                let folder = given.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                return match folder.is_dir() {
                    true => Ok(given.clone()),
                    false => refused(format!("there is no folder {}", folder.display())),
                };
            }
            Err(cause) => return Err(failure(cause)),
        };
        if metadata.is_dir() {
            return refused(format!("this is a folder; {} is a file", kind.noun));
        }
        if !metadata.is_file() {
            return refused("this is a device, a pipe or a socket".to_owned());
        }
        if metadata.len() > 0 && !(kind.is_earlier)(File::open(given).map_err(failure)?) {
            return refused(format!("this file is not replaced: it is not {} that npusim wrote", kind.noun));
        }
        given.canonicalize().map_err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use tempfile::TempDir;

    const KIND: ResultFile = ResultFile {
        noun: "a calibration",
        option: "--out",
        is_earlier: |mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).is_ok_and(|_| text.starts_with("ours"))
        },
    };

    fn written(path: &Path) -> Result<(), ConfigError> {
        OutputFile::try_new(path, KIND)?.write("ours, anew")
    }

    #[test]
    fn a_file_is_replaced_only_if_it_is_empty_or_an_earlier_one_of_its_kind() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f");
        for before in [None, Some(""), Some("ours, before")] {
            if let Some(before) = before {
                fs::write(&path, before).unwrap();
            }
            written(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "ours, anew");
        }
        fs::write(&path, "years of work").unwrap();
        let refusal = written(&path).unwrap_err().to_string();
        let expected = "this file is not replaced: it is not a calibration that npusim wrote\n   help: name another file with --out";
        assert_eq!(refusal, format!("{}: {expected}", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "years of work");
    }

    #[test]
    fn a_file_that_came_during_the_work_is_not_replaced() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f");
        let place = OutputFile::try_new(&path, KIND).unwrap();
        fs::write(&path, "years of work").unwrap();
        assert!(place.write("ours").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "years of work");
    }

    #[test]
    fn no_folder_and_no_folder_around_it_is_a_place() {
        let folder = TempDir::new().unwrap();
        assert!(written(folder.path()).unwrap_err().to_string().contains("this is a folder"));
        assert!(written(&folder.path().join("no/f")).unwrap_err().to_string().contains("there is no folder"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_an_earlier_one_is_followed_and_a_device_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(written(&link).unwrap_err().to_string().contains("does not exist"));
        fs::write(&real, "ours").unwrap();
        written(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "ours, anew");
        assert!(written(Path::new("/dev/null")).unwrap_err().to_string().contains("this is a device"));
    }
}
