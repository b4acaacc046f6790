//! A file that a document names, to be read later: who asks for it early can say that it is not there, and where it is
//! named.

use std::path::PathBuf;

use crate::config::diagnostics::Diagnostic;
use crate::config::dotted_path::DottedPath;
use crate::config::input_files;
use crate::config::source::Place;

/// A file and the place that names it.
#[derive(Clone, Debug)]
pub struct NamedFile {
    path: PathBuf,
    place: Place,
    named_at: DottedPath,
}

impl NamedFile {
    /// The file at `path`, named by the value at `place` and `named_at`.
    pub(crate) fn new(path: impl Into<PathBuf>, place: &Place, named_at: &DottedPath) -> NamedFile {
        NamedFile { path: path.into(), place: place.clone(), named_at: named_at.clone() }
    }

    /// Its path, if it is a file.
    ///
    /// # Errors
    /// It is not there, or is no file.
    pub fn found(self) -> Result<PathBuf, Diagnostic> {
        match input_files::open(&self.path) {
            Ok(_) => Ok(self.path),
            Err(cause) => {
                let message = format!("the file {} cannot be read: {cause}", self.path.display());
                Err(Diagnostic::new(&self.place, &self.named_at, message).of_value())
            }
        }
    }
}
