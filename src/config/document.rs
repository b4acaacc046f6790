//! A document of the user: its text, read within limits, and the tree parsed from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::config::deserialize;
use crate::config::diagnostics::{ConfigError, Diagnostic};
use crate::config::dotted_path::DottedPath;
use crate::config::input_files;
use crate::config::node::{Node, Value};
use crate::config::parse::parse;
use crate::config::source::{Place, Source};

/// The largest document in bytes. Tensor data belongs into safetensors or npy files, not into YAML.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A parsed document. Values can be overridden ([`Document::apply`]) before it is mapped onto its file type.
#[derive(Clone, Debug)]
pub struct Document {
    source: Arc<Source>,
    pub(crate) root: Node,
}

impl Document {
    /// Reads and parses the file at `path`; relative paths written in it start at its folder.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if it cannot be read or exceeds [`MAX_BYTES`]; [`ConfigError::Invalid`] if its text is
    /// not one YAML document within the budgets.
    pub fn open(path: impl AsRef<Path>) -> Result<Document, ConfigError> {
        let path = path.as_ref();
        let failure = |cause| ConfigError::Read { path: path.to_path_buf(), cause };
        let bytes = input_files::read(path, MAX_BYTES).map_err(failure)?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Document::from_bytes(path.display().to_string(), &bytes, folder)
    }

    /// Parses a preset that is embedded in the program, cited as `<built-in NAME>`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], as [`Document::open`].
    pub fn built_in(name: &str, text: &str) -> Result<Document, ConfigError> {
        Document::from_source(Source::built_in(name, text))
    }

    /// Parses `bytes`, cited under `name`; relative paths written in it start at `folder`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the place of the first byte that is not UTF-8, or as [`Document::open`].
    pub fn from_bytes(
        name: impl Into<String>,
        bytes: &[u8],
        folder: impl Into<PathBuf>,
    ) -> Result<Document, ConfigError> {
        let text = std::str::from_utf8(bytes);
        let valid = text.map_or_else(|error| &bytes[..error.valid_up_to()], str::as_bytes);
        let source = Source::document(name, String::from_utf8_lossy(valid), folder);
        if text.is_err() {
            let line = source.text().split('\n').count();
            let column = source.text().rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            return Err(Diagnostic::new(
                &Place::new(&source, line, column, 0),
                &DottedPath::default(),
                "the byte that follows here is not UTF-8 text",
            )
            .into());
        }
        Document::from_source(source)
    }

    fn from_source(source: Arc<Source>) -> Result<Document, ConfigError> {
        let empty = || Diagnostic::new(&Place::new(&source, 1, 1, 0), &DottedPath::default(), "the document is empty");
        let root = parse(&source)?.ok_or_else(empty)?;
        Ok(Document { source, root })
    }

    /// The text and its name.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The tree, overrides included.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The value of a key of the outermost mapping, to be replaced.
    pub(crate) fn value_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Mapping(entries) = &mut self.root.value else { return None };
        entries.iter_mut().find(|(known, _)| &*known.text == key).map(|(_, node)| node)
    }

    /// The tree without its document; its places know their text still.
    pub(crate) fn into_root(self) -> Node {
        self.root
    }

    /// Maps the tree onto the file type `T`; see [`crate::config::deserialize`] for what its fields may be.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every unknown key, and with every missing key or value of the wrong kind that is
    /// independent of the others.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        deserialize::from_node(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop};

    #[test]
    fn an_empty_document_is_refused_by_name() {
        let error = Document::from_bytes("f.yaml", b"", "").unwrap_err();
        assert_eq!(error.to_string(), "f.yaml:1:1: the document is empty");
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_at_their_place() {
        let error = Document::from_bytes("f.yaml", b"a: 1\nb: x\xff\n", "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\
f.yaml:2:5: the byte that follows here is not UTF-8 text
    2 | b: x
      |     ^"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let missing = folder.path().join("missing.yaml");
        let error = Document::open(&missing).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: cannot read the file: ", missing.display())), "{error}");
        assert!(matches!(Document::open(folder.path()), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn paths_in_a_file_start_at_its_folder_and_its_name_is_as_given() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "a: 1\n").unwrap();
        let document = Document::open(&path).unwrap();
        assert_eq!(document.source().name(), path.display().to_string());
        assert_eq!(document.source().resolve_path("x.npy"), folder.path().join("x.npy"));
    }

    #[test]
    fn a_built_in_document_is_cited_as_such() {
        let error = Document::built_in("edge", "a: [").unwrap_err();
        assert!(error.to_string().starts_with("<built-in edge>:1:"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = Document::from_bytes("f.yaml", &bytes, "") {
                proptest::prop_assert!(error.to_string().starts_with("f.yaml:"));
            }
        }
    }
}
