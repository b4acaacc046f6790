//! Named texts and the places in them that diagnostics cite.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A text that values come from: a file, an embedded preset, or one flag of the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: Option<String>,
    folder: PathBuf,
    is_built_in: bool,
}

impl Source {
    /// A whole document, cited as `name:line:column`; relative paths written in it start at `folder`.
    pub fn document(name: impl Into<String>, text: impl Into<String>, folder: impl Into<PathBuf>) -> Arc<Source> {
        Arc::new(Source { name: name.into(), text: Some(text.into()), folder: folder.into(), is_built_in: false })
    }

    /// A preset that is embedded in the program, cited as `<built-in NAME>`; it stands in no folder.
    pub fn built_in(name: &str, text: impl Into<String>) -> Arc<Source> {
        let name = format!("<built-in {name}>");
        Arc::new(Source { name, text: Some(text.into()), folder: PathBuf::new(), is_built_in: true })
    }

    /// Whether it is embedded in the program, so that the files that it names need not be there.
    pub fn is_built_in(&self) -> bool {
        self.is_built_in
    }

    /// How the user knows it: the path as given, `<built-in NAME>`, or the flag as typed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a document; empty for a flag.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// `path` as seen from the folder of this document (absolute paths, and those of flags, are left as they are).
    pub fn resolve_path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }
}

/// Where one key or value was written. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    line: u32,
    column: u32,
    length: u32,
}

impl Place {
    /// `length` characters of `source` from `line` and `column` on.
    pub fn new(source: &Arc<Source>, line: usize, column: usize, length: usize) -> Place {
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Place { source: Arc::clone(source), line: narrow(line), column: narrow(column), length: narrow(length) }
    }

    /// A flag as typed, such as `--set matrix_units.0.rows=16`; cited as it stands, without line and column.
    pub fn flag(text: impl Into<String>) -> Place {
        let source = Arc::new(Source { name: text.into(), text: None, folder: PathBuf::new(), is_built_in: false });
        Place { source, line: 1, column: 1, length: 0 }
    }

    /// Whether it is a flag or a name on the command line, which is cited as it stands.
    pub fn is_flag(&self) -> bool {
        self.source.text.is_none()
    }

    /// The text that the place is in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Line, from 1.
    pub fn line(&self) -> usize {
        self.line as usize
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> usize {
        self.column as usize
    }

    /// Characters covered on the first line; zero where only the start is known.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// A key that sorts places by source, then by position.
    pub(crate) fn order(&self) -> (&str, u32, u32) {
        (&self.source.name, self.line, self.column)
    }

    /// The source line with a caret line below it that ends in `note`; empty for a flag.
    ///
    /// Long lines are cropped around the caret and control characters are replaced, so that a hostile file
    /// can neither flood nor steer the terminal.
    pub fn snippet(&self, note: &str) -> String {
        const BEFORE: usize = 60;
        const SHOWN: usize = 110;
        let Some(line) = self.source.text().lines().nth(self.line() - 1) else { return String::new() };
        let caret = self.column() - 1;
        let first = caret.saturating_sub(BEFORE);
        let first = if first < 8 { 0 } else { first };
        let mut rest = line.chars().skip(first);
        let shown: String = rest.by_ref().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (head, tail) = (if first > 0 { "..." } else { "" }, if rest.next().is_some() { "..." } else { "" });
        let caret = caret - first + head.len();
        let width = (head.len() + shown.chars().count()).saturating_sub(caret);
        let marks = "^".repeat(self.length().min(width).max(1));
        let note = if note.is_empty() { String::new() } else { format!(" {note}") };
        let line = format!("{:>5}", self.line);
        format!("{line} | {head}{shown}{tail}\n{:margin$} | {:caret$}{marks}{note}", "", "", margin = line.len())
    }
}

impl fmt::Display for Place {
    /// `file:line:column`, or the flag.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.text {
            Some(_) => write!(formatter, "{}:{}:{}", self.source.name, self.line, self.column),
            None => formatter.write_str(&self.source.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_shows_its_line_with_a_caret_under_the_value() {
        let source = Source::document("a.yaml", "one: 1\n  rows: 33\n", "");
        let place = Place::new(&source, 2, 9, 2);
        assert_eq!(place.to_string(), "a.yaml:2:9");
        assert_eq!(place.snippet("here"), "    2 |   rows: 33\n      |         ^^ here");
    }

    #[test]
    fn a_long_line_is_cropped_around_the_caret_and_control_characters_are_blanked() {
        let text = format!("{}\u{1b}X{}", "a".repeat(499), "b".repeat(500));
        let source = Source::document("a.yaml", text, "");
        let snippet = Place::new(&source, 1, 501, 1).snippet("");
        let (line, caret) = snippet.split_once('\n').unwrap();
        assert!(line.len() < 130 && line.ends_with("..."), "{line}");
        assert_eq!(line.chars().nth(caret.find('^').unwrap()), Some('X'));
        assert!(!snippet.contains('\u{1b}'));
    }

    #[test]
    fn a_path_in_a_document_starts_at_the_folder_of_the_document() {
        let source = Source::document("studies/a.yaml", "", "studies");
        assert_eq!(source.resolve_path("x.npy"), PathBuf::from("studies/x.npy"));
        assert_eq!(source.resolve_path("/x.npy"), PathBuf::from("/x.npy"));
        assert_eq!(Place::flag("--set a=x.npy").source().resolve_path("x.npy"), PathBuf::from("x.npy"));
    }
}
