//! Kinds of input file, told apart by their top-level keys.

use std::sync::LazyLock;

use crate::config::diagnostics::{ConfigError, Diagnostic};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::schema::FileForm;
use crate::config::{energy, hardware, scheme, study, workload};

/// What a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An accelerator.
    Hardware,
    /// What it computes.
    Workload,
    /// In which formats.
    Scheme,
    /// What its actions cost.
    EnergyTable,
    /// Which values of these vary.
    Study,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [FileKind; 5] =
        [FileKind::Hardware, FileKind::Workload, FileKind::Scheme, FileKind::EnergyTable, FileKind::Study];

    /// The word for it in messages, as in "a hardware file".
    pub fn noun(self) -> &'static str {
        match self {
            FileKind::Hardware => "hardware file",
            FileKind::Workload => "workload file",
            FileKind::Scheme => "scheme file",
            FileKind::EnergyTable => "energy table",
            FileKind::Study => "study",
        }
    }

    fn article(self) -> &'static str {
        if self == FileKind::EnergyTable { "an" } else { "a" }
    }

    /// Its top-level keys: those that its reader accepts.
    pub fn keys(self) -> &'static [&'static str] {
        static KEYS: LazyLock<[Vec<&'static str>; FileKind::ALL.len()]> =
            LazyLock::new(|| FileKind::ALL.map(|kind| kind.form().keys()));
        let position = FileKind::ALL.iter().position(|kind| *kind == self).expect("every kind is listed");
        &KEYS[position]
    }

    /// What such a file may hold.
    pub(crate) fn form(self) -> FileForm {
        match self {
            FileKind::Hardware => hardware::form(),
            FileKind::Workload => workload::form(),
            FileKind::Scheme => scheme::form(),
            FileKind::EnergyTable => energy::form(),
            FileKind::Study => study::form(),
        }
    }

    /// Where a run takes it.
    fn remedy(self) -> &'static str {
        match self {
            FileKind::Hardware => "pass it with --hw",
            FileKind::Workload => "pass it with --workload",
            FileKind::Scheme => "pass it with --scheme",
            FileKind::EnergyTable => "name it in a hardware file, under \"energy\"",
            FileKind::Study => "pass it to npusim explore",
        }
    }

    /// The kind that shares more keys with `document` than any other does, if there is one.
    pub fn of(document: &Document) -> Option<FileKind> {
        let keys_in_common =
            |kind: &FileKind| kind.keys().iter().filter(|key| document.root().get(key).is_some()).count();
        let most = Self::ALL.iter().map(keys_in_common).max()?;
        let mut candidates = Self::ALL.into_iter().filter(|kind| keys_in_common(kind) == most);
        candidates.next().filter(|_| candidates.next().is_none())
    }

    /// Fails if `document` fits another kind better, before its keys are held against those of this one.
    pub fn expect(self, document: &Document) -> Result<(), ConfigError> {
        match FileKind::of(document) {
            Some(other) if other != self => {
                let message = format!(
                    "this is {} {}, but {} {} is expected",
                    other.article(),
                    other.noun(),
                    self.article(),
                    self.noun()
                );
                let problem = Diagnostic::new(&document.root().place, &DottedPath::default(), message);
                Err(problem.help(other.remedy()).into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<FileKind> {
        FileKind::of(&Document::from_bytes("f.yaml", text.as_bytes(), "").unwrap())
    }

    #[test]
    fn the_kind_shows_from_the_keys_unless_they_fit_several_or_none() {
        assert_eq!(kind("name: a\nclock: 1 GHz\n"), Some(FileKind::Hardware));
        assert_eq!(kind("name: a\nlayers: []\nclok: 1\n"), Some(FileKind::Workload));
        assert_eq!(kind("actions: []\n"), Some(FileKind::EnergyTable));
        assert_eq!(kind("name: a\ngroups: {}\n"), Some(FileKind::Scheme));
        assert_eq!(kind("name: a\n"), None);
        assert_eq!(kind("colour: red\n"), None);
        assert_eq!(kind("[1, 2]\n"), None);
    }
}
