//! The journal: what has been simulated so far, a line a point, each with a checksum. It alone is the truth of a study:
//! results are made from it, and a study that was broken off goes on from it.
//!
//! A line is written by one call, when its point is done. A process that is killed leaves at most one torn line, the last
//! one; it is cut off when the study goes on. A line whose checksum does not hold is left out, and its point is
//! simulated again.

#[cfg(unix)]
use std::fs::Metadata;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::input_files;
use crate::config::unfinished::uninterrupted;
use crate::explore::space::Choice;

/// Version of the lines, and of which points a sampler picks.
const VERSION: u32 = 2;
/// How every line begins.
const LINE_START: &str = "{\"check\":\"";
/// Digits of a checksum.
const DIGITS: usize = 16;

/// What a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the lines.
    pub journal_version: u32,
    /// Version of the program.
    pub npusim_version: String,
    /// Name of the study.
    pub study: String,
    /// The study file, as it was named and as it is.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Folder from which the paths in it are seen.
    pub folder: PathBuf,
    /// Digest of all files of the study; where it is another, results do not belong together.
    pub fingerprint: String,
    /// Which part of the study this is.
    pub shard: Option<Shard>,
    /// Numbers of the points that are simulated, where estimates decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Vec<u64>>,
}

impl Header {
    /// A header of this version.
    pub fn new(study: &str, file: &str, text: &str, folder: PathBuf, fingerprint: String) -> Header {
        Header {
            journal_version: VERSION,
            npusim_version: env!("CARGO_PKG_VERSION").to_owned(),
            study: study.to_owned(),
            file: file.to_owned(),
            text: text.to_owned(),
            folder,
            fingerprint,
            shard: None,
            kept: None,
        }
    }
}

/// One of several equal parts of a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// Whether a point belongs to it.
    pub const fn holds(self, index: u64) -> bool {
        index % self.of == self.number - 1
    }

    /// Name of its journal.
    pub fn file_name(this: Option<Shard>) -> String {
        match this {
            None => "journal.jsonl".to_owned(),
            Some(Shard { number, of }) => format!("journal.{number}-of-{of}.jsonl"),
        }
    }
}

/// A point that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub index: u64,
    /// Which values it picks.
    pub choice: Choice,
    /// What was measured, by name of the metric, or why nothing was.
    #[serde(flatten)]
    pub outcome: RecordedOutcome,
}

/// What became of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedOutcome {
    /// It was measured.
    Metrics(std::collections::BTreeMap<String, f64>),
    /// It could not be simulated.
    Error(String),
    /// The program panicked.
    Panic(String),
}

/// A journal that this process alone may write. The lock is held before anything is read, and nothing is ever unlinked
/// that another process may have opened: whoever finds a journal without a whole first line begins it in its place.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// Bytes of whole lines.
    whole: u64,
    /// Whether a line could not be written: then no later one is.
    is_broken: bool,
}

/// What a journal holds.
#[derive(Debug)]
pub struct Contents {
    /// What it belongs to.
    pub header: Header,
    /// Points, as they stand there, each with its line.
    pub records: Vec<(Record, String)>,
    /// Lines whose checksum does not hold.
    pub damaged: usize,
    /// Bytes up to the end of the last whole line.
    whole: u64,
}

impl Journal {
    /// Makes a journal that is not there yet, without a line.
    ///
    /// # Errors
    /// There is one already ([`io::ErrorKind::AlreadyExists`]), another process took hold of it at the same moment
    /// ([`io::ErrorKind::WouldBlock`]), or it cannot be made.
    pub fn create(path: &Path) -> io::Result<Journal> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.try_lock()?;
        Ok(Journal { file, whole: 0, is_broken: false })
    }

    /// Takes hold of a journal that is there.
    ///
    /// # Errors
    /// Another process is at work on it ([`io::ErrorKind::WouldBlock`]), or it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Journal> {
        // Neither a pipe nor a device, which would be read for ever.
        drop(input_files::open(path)?);
        loop {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            file.try_lock()?;
            // A study that ended in between has put a sorted journal in its place.
            if is_at(&file, path)? {
                return Ok(Journal { file, whole: 0, is_broken: false });
            }
        }
    }

    /// What it holds; `None` where not even its first line is whole.
    ///
    /// # Errors
    /// It cannot be read, or its first line is none of a journal ([`io::ErrorKind::InvalidData`]).
    pub fn contents(&mut self) -> io::Result<Option<Contents>> {
        self.file.seek(SeekFrom::Start(0))?;
        contents_of(&self.file)
    }

    /// Begins it: whatever it held goes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.cut(0)?;
        self.write(&to_line("header", header))
    }

    /// Goes on after what `contents` was read: what is torn at its end is cut off.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn go_on(&mut self, contents: &Contents) -> io::Result<()> {
        self.cut(contents.whole)
    }

    /// Adds a point.
    ///
    /// # Errors
    /// It cannot be written. Then no point is added any more, and no torn line is left.
    pub fn add(&mut self, record: &Record) -> io::Result<()> {
        self.write(&to_line("point", record))
    }

    fn cut(&mut self, whole: u64) -> io::Result<()> {
        self.file.set_len(whole)?;
        self.file.seek(SeekFrom::Start(whole))?;
        self.whole = whole;
        Ok(())
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier line could not be written"));
        }
        match uninterrupted(|| self.file.write_all(line.as_bytes())) {
            Ok(()) => {
                self.whole += line.len() as u64;
                Ok(())
            }
            Err(cause) => {
                self.is_broken = true;
                // What cannot be cut off is a torn line, which is left out when it is read.
                let _ = self.cut(self.whole);
                Err(cause)
            }
        }
    }
}

/// Whether `file` is what stands at `path` now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    Ok(identity(file.metadata()?) == identity(std::fs::metadata(path)?))
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Reads a journal; `None` where not even its first line is whole.
///
/// # Errors
/// It cannot be read, or its first line is none of a journal.
pub fn read(path: &Path) -> io::Result<Option<Contents>> {
    contents_of(&input_files::open(path)?)
}

fn contents_of(file: &File) -> io::Result<Option<Contents>> {
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    let mut next = |bytes: &mut Vec<u8>| -> io::Result<Option<usize>> {
        bytes.clear();
        let length = reader.read_until(b'\n', bytes)?;
        Ok((bytes.last() == Some(&b'\n')).then_some(length))
    };
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "its first line is not the header of a journal");
    let Some(length) = next(&mut bytes)? else {
        // Torn, or the text of something else.
        let begins = LINE_START.as_bytes();
        let is_torn = bytes.iter().zip(begins).all(|(found, wanted)| found == wanted);
        return if is_torn { Ok(None) } else { Err(foreign()) };
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| foreign())?;
    let header = from_line("header", text).ok_or_else(foreign)?;
    let mut contents = Contents { header, records: Vec::new(), damaged: 0, whole: length as u64 };
    while let Some(length) = next(&mut bytes)? {
        contents.whole += length as u64;
        match std::str::from_utf8(&bytes).ok().and_then(|text| Some((from_line("point", text)?, text.to_owned()))) {
            Some(record) => contents.records.push(record),
            None => contents.damaged += 1,
        }
    }
    Ok(Some(contents))
}

/// A value as a line of the journal.
pub fn to_line(key: &str, value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("string keys and finite numbers");
    format!("{LINE_START}{}\",\"{key}\":{json}}}\n", checksum(&json))
}

fn from_line<T: for<'de> Deserialize<'de>>(key: &str, line: &str) -> Option<T> {
    let rest = line.strip_prefix(LINE_START)?;
    let (check, rest) = rest.split_at_checked(DIGITS)?;
    let json = rest.strip_prefix(&format!("\",\"{key}\":"))?.strip_suffix("}\n")?;
    if checksum(json) != check {
        return None;
    }
    serde_json::from_str(json).ok()
}

fn checksum(text: &str) -> String {
    digest([text])[..DIGITS].to_owned()
}

/// SHA-256 of texts one after the other, each with its length before it, in hexadecimal.
pub fn digest<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hexadecimal(hasher)
}

/// SHA-256 of what stands in a file, in hexadecimal. It is read piece by piece.
///
/// # Errors
/// It cannot be read.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    let mut file = input_files::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(hasher)),
            length => hasher.update(&piece[..length]),
        }
    }
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    fn header() -> Header {
        Header::new("s", "s.yaml", "name: s\n", PathBuf::new(), "f".to_owned())
    }

    fn record(index: u64) -> Record {
        let outcome = RecordedOutcome::Metrics(BTreeMap::from([("cycles".to_owned(), 0.1 + index as f64)]));
        Record { index, choice: vec![1, 2], outcome }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("journal.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        journal.begin(&header()).unwrap();
        (0..3).for_each(|index| journal.add(&record(index)).unwrap());
        path
    }

    #[test]
    fn a_journal_cut_anywhere_gives_the_whole_lines_before_the_cut_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let whole = fs::read(&path).unwrap();
        let ends: Vec<usize> =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = ends.iter().filter(|end| **end <= cut).count();
            let mut journal = Journal::open(&path).unwrap();
            match journal.contents().unwrap() {
                None => {
                    assert_eq!(lines, 0, "{cut}");
                    journal.begin(&header()).unwrap();
                }
                Some(contents) => {
                    assert_eq!(contents.records.len(), lines - 1);
                    assert_eq!(contents.damaged, 0);
                    journal.go_on(&contents).unwrap();
                }
            }
            (lines.max(1) as u64 - 1..3).for_each(|index| journal.add(&record(index)).unwrap());
            drop(journal);
            assert_eq!(fs::read(&path).unwrap(), whole, "{cut}");
        }
    }

    #[test]
    fn a_changed_byte_costs_its_line_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let whole = fs::read(&path).unwrap();
        let first_end = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let second_end = first_end + whole[first_end..].iter().position(|byte| *byte == b'\n').unwrap();
        for at in first_end..second_end {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let contents = read(&path).unwrap().unwrap();
            let indices: Vec<u64> = contents.records.iter().map(|(record, _)| record.index).collect();
            assert_eq!((indices, contents.damaged), (vec![1, 2], 1), "{at}");
        }
    }

    #[test]
    fn two_processes_cannot_write_one_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut held = Journal::create(&path).unwrap();
        // Before its first line is written, and after.
        assert_eq!(Journal::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        held.begin(&header()).unwrap();
        assert_eq!(Journal::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(Journal::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        held.add(&record(0)).unwrap();
        drop(held);
        assert_eq!(Journal::open(&path).unwrap().contents().unwrap().unwrap().records.len(), 1);
    }

    /// The device that is always full stands for a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn after_a_line_that_could_not_be_written_no_other_is() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut journal = Journal { file, whole: 0, is_broken: false };
        assert_eq!(journal.add(&record(0)).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(journal.add(&record(1)).unwrap_err().to_string().contains("earlier line"));
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, "hello\n").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
