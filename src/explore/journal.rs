//! The journal: what has been simulated so far, a line a point, each with a checksum. It alone is the truth of a study:
//! results are made from it, and a study that was broken off goes on from it.
//!
//! A line is written by one call, when its point is done. A process that is killed leaves at most one torn line, the last
//! one; it is cut off when the study goes on. A line whose checksum does not hold is left out, and its point is
//! simulated again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::input_files;
use crate::explore::space::Choice;

/// Version of the lines.
const VERSION: u32 = 1;
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

/// A journal that points are added to. Nobody else can at the same time.
#[derive(Debug)]
pub struct Journal {
    file: File,
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
    /// Begins a journal.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub fn begin(path: &Path, header: &Header) -> io::Result<Journal> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.try_lock()?;
        let mut journal = Journal { file };
        journal.write(&to_line("header", header))?;
        Ok(journal)
    }

    /// Goes on with a journal from which `contents` was read: what is torn at its end is cut off.
    ///
    /// # Errors
    /// Another process is at work on it, or it cannot be written.
    pub fn go_on(path: &Path, contents: &Contents) -> io::Result<Journal> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.try_lock()?;
        file.set_len(contents.whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Journal { file })
    }

    /// Adds a point.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, record: &Record) -> io::Result<()> {
        self.write(&to_line("point", record))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())
    }
}

/// Reads a journal; `None` where not even its first line is whole.
///
/// # Errors
/// It cannot be read, or its first line is none of a journal.
pub fn read(path: &Path) -> io::Result<Option<Contents>> {
    let mut reader = BufReader::new(input_files::open(path)?);
    let mut bytes = Vec::new();
    let mut next = |bytes: &mut Vec<u8>| -> io::Result<Option<usize>> {
        bytes.clear();
        let length = reader.read_until(b'\n', bytes)?;
        Ok((bytes.last() == Some(&b'\n')).then_some(length))
    };
    let Some(length) = next(&mut bytes)? else { return Ok(None) };
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "its first line is not the header of a journal");
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
    format!("{{\"check\":\"{}\",\"{key}\":{json}}}\n", checksum(&json))
}

fn from_line<T: for<'de> Deserialize<'de>>(key: &str, line: &str) -> Option<T> {
    let rest = line.strip_prefix("{\"check\":\"")?;
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
        let mut journal = Journal::begin(&path, &header()).unwrap();
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
            let Some(contents) = read(&path).unwrap() else {
                assert_eq!(lines, 0, "{cut}");
                continue;
            };
            assert_eq!(contents.records.len(), lines - 1);
            assert_eq!(contents.damaged, 0);
            let mut journal = Journal::go_on(&path, &contents).unwrap();
            (lines as u64 - 1..3).for_each(|index| journal.add(&record(index)).unwrap());
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
        let _held = Journal::begin(&path, &header()).unwrap();
        let contents = read(&path).unwrap().unwrap();
        assert!(Journal::go_on(&path, &contents).is_err());
        assert_eq!(Journal::begin(&path, &header()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, "hello\n").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
