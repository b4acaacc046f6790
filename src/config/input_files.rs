//! Files that a user names as input, opened and read so that nothing is read without end.
//!
//! A device such as `/dev/zero` never ends, and a pipe may never begin; both are refused before they are opened, because
//! opening a pipe already waits for its other end. A link is followed to what it names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The most bytes of a file that is read whole and is no YAML document: calibrations, reports, tables of results. The
/// calibration of a model of a million million parameters is smaller.
pub const MOST_BYTES: u64 = 1 << 30;

/// Opens the regular file at `path`.
///
/// # Errors
/// It cannot be opened, or it is a folder, a pipe or a device ([`io::ErrorKind::InvalidInput`]).
pub fn open(path: &Path) -> io::Result<File> {
    let metadata = fs::metadata(path)?;
    let found = match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => return File::open(path),
        (false, true) => "it is a folder",
        (false, false) => "it is a pipe, a socket or a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{found}, not a file")))
}

/// The bytes of the regular file at `path`, of which there may be `most`.
///
/// # Errors
/// As [`open`], or it is larger ([`io::ErrorKind::FileTooLarge`]).
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let too_large = |length: u64| {
        let message = format!("it has {length} bytes; at most {} MiB are read here", most >> 20);
        io::Error::new(io::ErrorKind::FileTooLarge, message)
    };
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large(length));
    }
    let mut bytes = Vec::new();
    // The length may be wrong: files of /proc have none, and a file may grow while it is read.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The text of the regular file at `path`, of at most `most` bytes.
///
/// # Errors
/// As [`read`], or it is no UTF-8 text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 text: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_refused_and_a_file_is_read_up_to_its_limit() {
        let folder = tempfile::TempDir::new().unwrap();
        assert!(open(folder.path()).unwrap_err().to_string().contains("it is a folder, not a file"));
        let path = folder.path().join("f");
        fs::write(&path, "seven\u{e9}").unwrap();
        assert_eq!(read_text(&path, 7).unwrap(), "seven\u{e9}");
        assert_eq!(read(&path, 6).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, b"\xff").unwrap();
        assert!(read_text(&path, 7).unwrap_err().to_string().contains("it is not UTF-8 text"));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_without_end_is_refused_at_once() {
        let error = read(Path::new("/dev/zero"), u64::MAX - 1).unwrap_err();
        assert!(error.to_string().contains("it is a pipe, a socket or a device, not a file"), "{error}");
    }
}
