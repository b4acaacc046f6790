//! Where a value stands in the tree of its document, such as `matrix_units[0].systolic_array.rows`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Cow<'static, str>),
    Index(usize),
}

/// A path from the root of a document; the empty path is the root. Cheap to clone: steps are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DottedPath(Option<Arc<(DottedPath, Step)>>);

impl DottedPath {
    /// The path of a key below this one.
    pub fn key(&self, key: impl Into<Cow<'static, str>>) -> DottedPath {
        DottedPath(Some(Arc::new((self.clone(), Step::Key(key.into())))))
    }

    /// The path of a list item below this one, counted from 0.
    pub fn index(&self, index: usize) -> DottedPath {
        DottedPath(Some(Arc::new((self.clone(), Step::Index(index)))))
    }

    /// Whether this is the root of the document.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }

    /// The path without its last step; the root for the root.
    pub fn parent(&self) -> DottedPath {
        self.0.as_ref().map(|link| link.0.clone()).unwrap_or_default()
    }

    /// The last step as text: a key or an index; empty for the root.
    pub fn last(&self) -> String {
        match self.0.as_deref() {
            Some((_, Step::Key(key))) => key.to_string(),
            Some((_, Step::Index(index))) => index.to_string(),
            None => String::new(),
        }
    }
}

impl fmt::Display for DottedPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            Some((parent, Step::Key(key))) if parent.is_root() => write!(formatter, "{}", key.escape_debug()),
            Some((parent, Step::Key(key))) => write!(formatter, "{parent}.{}", key.escape_debug()),
            Some((parent, Step::Index(index))) => write!(formatter, "{parent}[{index}]"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_joins_keys_by_dots_and_shows_indices_in_brackets() {
        let path = DottedPath::default().key("units").index(3).key("rows");
        assert_eq!(path.to_string(), "units[3].rows");
        assert_eq!(path.parent().to_string(), "units[3]");
        assert_eq!(path.last(), "rows");
        assert_eq!(DottedPath::default().to_string(), "");
    }
}
