//! The errors of this layer: where, what was given, what is allowed, and the remedy.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::dotted_path::DottedPath;
use crate::config::source::Place;

/// The most diagnostics that one error shows.
pub const MAX_DIAGNOSTICS: usize = 100;

/// One mistake of the user, cited where it was written.
///
/// ```text
/// hw-configs/edge.yaml:12:11: matrix_units[0].systolic_array.rows: 0 is out of range
///    12 |     rows: 0
///       |           ^ allowed: 1 to 65536
///    help: ...
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    place: Place,
    path: DottedPath,
    message: String,
    note: String,
    help: Vec<String>,
    fault: Fault,
}

/// What is at fault, for who puts the same value into many documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Values that do not go together, as far as the diagnostic tells: in another document the value may be right.
    Combination,
    /// The value by itself: of the wrong kind, or outside of what is ever allowed there.
    Value,
    /// The path: nothing stands there, or can stand there.
    Path,
}

impl Diagnostic {
    /// A mistake at `place`, in the value at `path` (the root, where no value is concerned).
    pub fn new(place: &Place, path: &DottedPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic(Box::new(Parts {
            place: place.clone(),
            path: path.clone(),
            message: message.into(),
            note: String::new(),
            help: Vec::new(),
            fault: Fault::Combination,
        }))
    }

    /// With what is allowed, shown beside the caret; a second note follows the first.
    pub fn note(mut self, note: impl AsRef<str>) -> Diagnostic {
        if !self.0.note.is_empty() {
            self.0.note.push_str("; ");
        }
        self.0.note.push_str(note.as_ref());
        self
    }

    /// With one more remedy, shown below the source line.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.0.help.push(help.into());
        self
    }

    /// The same mistake, known for one of the value by itself.
    pub(crate) fn of_value(mut self) -> Diagnostic {
        self.0.fault = Fault::Value;
        self
    }

    /// The same mistake, known for one of the path.
    pub(crate) fn of_path(mut self) -> Diagnostic {
        self.0.fault = Fault::Path;
        self
    }

    /// What is at fault.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// The same mistake, cited at `place`.
    pub fn at(mut self, place: &Place) -> Diagnostic {
        self.0.place = place.clone();
        self
    }

    /// The same mistake, in the value at `path`.
    pub(crate) fn under(mut self, path: DottedPath) -> Diagnostic {
        self.0.path = path;
        self
    }

    /// Where it was written.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// The value that it concerns.
    pub fn path(&self) -> &DottedPath {
        &self.0.path
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { place, path, message, note, help, fault: _ } = &*self.0;
        write!(formatter, "{place}: ")?;
        if !path.is_root() {
            write!(formatter, "{path}: ")?;
        }
        formatter.write_str(message)?;
        let snippet = place.snippet(note);
        if !snippet.is_empty() {
            write!(formatter, "\n{snippet}")?;
        } else if !note.is_empty() {
            write!(formatter, "\n   {note}")?;
        }
        help.iter().try_for_each(|help| write!(formatter, "\n   help: {help}"))
    }
}

impl std::error::Error for Diagnostic {}

/// Something with a path and a place, which an error can cite.
pub trait Cited {
    /// Where it was written; for something absent, where the mapping that lacks it was written.
    fn place(&self) -> &Place;

    /// Its path in the document.
    fn path(&self) -> &DottedPath;

    /// An error about it.
    fn problem(&self, message: impl Into<String>) -> Diagnostic
    where
        Self: Sized,
    {
        Diagnostic::new(self.place(), self.path(), message)
    }
}

/// What can go wrong between the files of the user and the models, and when results are written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The input is wrong; at least one diagnostic, in the order of the text.
    #[error("{}", shown(.0))]
    Invalid(Vec<Diagnostic>),
    /// A file cannot be read.
    #[error("{}: cannot read the file: {cause}", path.display())]
    Read {
        /// The path as given.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A file or a folder cannot be written.
    #[error("{}: cannot write: {cause}", path.display())]
    Write {
        /// The path as given.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The output folder holds something that is not ours to replace.
    #[error(
        "{}: this folder is not replaced: {found}\n   help: choose another folder with --out: a new or empty one, or one that holds an earlier result of this command and nothing else",
        path.display()
    )]
    Occupied {
        /// The path as given.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// No output folder can stand there.
    #[error("{}: {found}\n   help: {help}", path.display())]
    NoOutputFolder {
        /// The path as given.
        path: PathBuf,
        /// What stands there instead.
        found: String,
        /// What would do.
        help: String,
    },
    /// An earlier result that was set aside could not be removed, or not be put back.
    #[error("{}: the earlier result now stands at {}: {cause}", path.display(), earlier.display())]
    Leftover {
        /// The path as given.
        path: PathBuf,
        /// Where the earlier result is.
        earlier: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

impl From<Diagnostic> for ConfigError {
    fn from(diagnostic: Diagnostic) -> ConfigError {
        ConfigError::Invalid(vec![diagnostic])
    }
}

impl ConfigError {
    /// The diagnostics of wrong input; none for errors of the file system.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            ConfigError::Invalid(diagnostics) => diagnostics,
            ConfigError::Read { .. }
            | ConfigError::Write { .. }
            | ConfigError::Occupied { .. }
            | ConfigError::NoOutputFolder { .. }
            | ConfigError::Leftover { .. } => &[],
        }
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    let mut text: Vec<String> = diagnostics.iter().take(MAX_DIAGNOSTICS).map(ToString::to_string).collect();
    if diagnostics.len() > MAX_DIAGNOSTICS {
        text.push(format!("and {} more", diagnostics.len() - MAX_DIAGNOSTICS));
    }
    text.join("\n")
}

/// Gathers independent mistakes, so that the user sees them all at once.
#[derive(Debug, Default)]
pub struct Problems {
    diagnostics: Vec<Diagnostic>,
    failure: Option<ConfigError>,
}

impl Problems {
    /// The value, or `None` after noting what is wrong.
    pub fn take<T, E: Into<ConfigError>>(&mut self, outcome: Result<T, E>) -> Option<T> {
        match outcome.map_err(Into::into) {
            Ok(value) => return Some(value),
            Err(ConfigError::Invalid(diagnostics)) => self.diagnostics.extend(diagnostics),
            Err(failure) => self.failure = self.failure.take().or(Some(failure)),
        }
        None
    }

    /// Notes a mistake.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// How many mistakes were noted.
    pub(crate) fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// Keeps one mistake of each value: the first that was noted. For values that stand for many, of which any may be
    /// wrong in the same way.
    pub(crate) fn keep_one_of_each_value(&mut self) {
        let mut seen = BTreeSet::new();
        self.diagnostics.retain(|diagnostic| seen.insert(diagnostic.path().to_string()));
    }

    /// The part that `put_together` makes of the values that were taken, unless anything was noted. It asks each of them
    /// with `?`, and so gives `None` only where one is missing, of which a mistake was noted.
    ///
    /// # Errors
    /// As [`Problems::finish`].
    pub fn built<T>(self, put_together: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        self.finish()?;
        Ok(put_together().expect("of each missing value a mistake was noted"))
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// The first failure of the file system if there was one, else [`ConfigError::Invalid`] with all that was noted,
    /// in the order of the text; what was noted several times in the same words, as of repeated layers, is there once.
    pub fn finish(mut self) -> Result<(), ConfigError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.diagnostics.is_empty() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        self.diagnostics
            .retain(|it| seen.insert((it.place().to_string(), it.path().to_string(), it.message().to_owned())));
        self.diagnostics.sort_by(|a, b| a.place().order().cmp(&b.place().order()));
        Err(ConfigError::Invalid(self.diagnostics))
    }
}

/// Offers known names in place of unknown ones, as often as an error shows problems. Each search goes through all names, so
/// that searches without a limit would take time that grows with the square of a file of wrong names.
#[derive(Debug, Default)]
pub(crate) struct Offers(Cell<usize>);

impl Offers {
    /// `problem` with the `names` that are known, introduced by `what`, and the nearest one to `given`.
    pub(crate) fn offer<'k, N: Iterator<Item = &'k str>>(
        &self,
        problem: Diagnostic,
        given: &str,
        what: &str,
        names: impl Fn() -> N,
    ) -> Diagnostic {
        let made = self.0.replace(self.0.get() + 1);
        if made >= MAX_DIAGNOSTICS {
            return problem;
        }
        let problem = problem.note(format!("{what}: {}", listed(names())));
        match nearest(given, names()) {
            Some(name) => problem.help(format!("did you mean \"{name}\"?")),
            None => problem,
        }
    }
}

/// The known name that `given` was most likely meant to be, if one is near enough; ties go to the first.
///
/// Distance by Damerau and Levenshtein over lower-case letters, with `-` and blanks read as `_`; at most a third of
/// the longer name may differ.
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    let fold = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    if given.len() > LONGEST {
        return None;
    }
    let given = fold(given);
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let distance = strsim::damerau_levenshtein(&given, &fold(name));
        let near = distance * 3 <= given.chars().count().max(name.chars().count());
        if near && best.is_none_or(|(smallest, _)| distance < smallest) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// `text` as shown in messages: numbers bare, everything else in quotes; see [`cut`].
pub fn quoted(text: &str) -> String {
    let is_number = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-./_eE".contains(&byte));
    if is_number { cut(text) } else { format!("\"{}\"", cut(text)) }
}

/// The first 60 characters of `text`, control characters escaped.
pub fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    let head: String = text.chars().take(SHOWN).collect();
    let tail = if head.len() < text.len() { "..." } else { "" };
    format!("{}{tail}", head.escape_debug())
}

/// Names separated by commas, control characters escaped; at most the first 24, each cut after 60 characters.
pub fn listed<'k>(names: impl IntoIterator<Item = &'k str>) -> String {
    const SHOWN: usize = 24;
    let names: Vec<&str> = names.into_iter().collect();
    let mut text: Vec<String> = names.iter().take(SHOWN).map(|name| cut(name)).collect();
    if names.len() > SHOWN {
        text.push(format!("... ({} in all)", names.len()));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;

    #[test]
    fn names_are_offered_for_as_many_problems_as_an_error_shows() {
        let (offers, searches) = (Offers::default(), Cell::new(0));
        let names = || {
            searches.set(searches.get() + 1);
            ["rows"].into_iter()
        };
        let source = Source::document("f.yaml", "a: 1", "");
        let place = Place::new(&source, 1, 1, 1);
        let problems = (0..10 * MAX_DIAGNOSTICS).map(|_| {
            let problem = Diagnostic::new(&place, &DottedPath::default(), "there is no \"rowz\"");
            offers.offer(problem, "rowz", "known", names).to_string()
        });
        let helped = problems.filter(|problem| problem.contains("did you mean \"rows\"?")).count();
        // One search lists the names, one looks for the nearest.
        assert_eq!((helped, searches.get()), (MAX_DIAGNOSTICS, 2 * MAX_DIAGNOSTICS));
    }

    #[test]
    fn a_diagnostic_shows_place_path_text_allowed_values_and_remedy() {
        let source = Source::document("hw-configs/edge.yaml", "a: 1\nrows: 0\n", "");
        let diagnostic =
            Diagnostic::new(&Place::new(&source, 2, 7, 1), &DottedPath::default().key("rows"), "0 is out of range")
                .note("allowed: 1 to 65536")
                .help("take a power of two");
        assert_eq!(
            diagnostic.to_string(),
            "hw-configs/edge.yaml:2:7: rows: 0 is out of range\n    2 | rows: 0\n      |       ^ allowed: 1 to 65536\n   help: take a power of two"
        );
    }

    #[test]
    fn a_flag_is_cited_as_typed_without_a_source_line() {
        let diagnostic = Diagnostic::new(&Place::flag("--set rows=0"), &DottedPath::default().key("rows"), "bad");
        assert_eq!(diagnostic.note("allowed: 1").to_string(), "--set rows=0: rows: bad\n   allowed: 1");
    }

    #[test]
    fn the_nearest_name_is_found_through_typos_case_and_hyphens_but_not_at_any_distance() {
        let known = ["rows", "columns", "systolic_array"];
        assert_eq!(nearest("rowz", known), Some("rows"));
        assert_eq!(nearest("Systolic-Array", known), Some("systolic_array"));
        assert_eq!(nearest("colunms", known), Some("columns"));
        assert_eq!(nearest("banks", known), None);
        assert_eq!(nearest(&"r".repeat(100_000), known), None);
    }

    #[test]
    fn text_is_quoted_and_escaped_while_numbers_stay_bare() {
        assert_eq!(quoted("1_024"), "1_024");
        assert_eq!(quoted("abc\u{1b}"), "\"abc\\u{1b}\"");
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}...\"", "x".repeat(60)));
    }
}
