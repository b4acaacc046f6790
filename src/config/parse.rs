//! From text to tree: the events of the YAML reader, within budgets, into [`Node`]s.
//!
//! The reader's events are used rather than its serde interface because only they keep a scalar as it was written:
//! through serde `1_024` has already become 1024.
//!
//! Budgets hold a hostile file to a bounded time and memory: depth, nodes, and nodes copied by aliases. The reader
//! delivers events one by one, so that a file of 100,000 opening brackets ends at the first one too many.

use std::collections::HashMap;
use std::sync::Arc;

use serde_yaml::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::config::diagnostics::{Diagnostic, quoted};
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Key, Node, Scalar, Value};
use crate::config::source::{Place, Source};

/// The deepest nesting of lists and mappings; our own files need six.
const MAX_DEPTH: usize = 64;
/// The most keys and values in one document: a layer trace of 100,000 layers with ten keys each.
const MAX_NODES: usize = 2_000_000;
/// The most values that aliases (`*name`) may add to a document.
const MAX_ALIASED_NODES: usize = 100_000;

/// The tree of the one document in `source`; `None` if it is empty.
///
/// # Errors
/// One diagnostic for text that is not YAML, holds several documents, a duplicate key, a tag, a merge key or a key that
/// is not a single value, or breaks a budget.
pub(crate) fn parse(source: &Arc<Source>) -> Result<Option<Node>, Diagnostic> {
    let mut builder = Builder { source, frames: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, aliased: 0 };
    let options = serde_yaml::granit_parser::options! { emit_comments: false };
    for event in Parser::new_from_str_with_options(source.text(), options) {
        let (event, span) = event.map_err(|error| builder.rewrite(&error))?;
        builder.accept(event, &span)?;
    }
    Ok(builder.root.filter(|node| node.as_scalar().is_none_or(|scalar| !scalar.is_null())))
}

/// A list or mapping that is not closed yet.
struct Frame {
    place: Place,
    anchor: usize,
    contents: Contents,
    nodes_before: usize,
}

enum Contents {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, lines: HashMap<Box<str>, usize>, key: Option<Key> },
}

struct Builder<'s> {
    source: &'s Arc<Source>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
    aliased: usize,
}

impl Builder<'_> {
    fn accept(&mut self, event: Event<'_>, span: &Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self
                .problem(span, "a second document starts here; a file holds exactly one")
                .help("remove the line \"---\", or put the second document into a file of its own")),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text_tag = tag.as_deref().is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                if !is_text_tag {
                    self.refuse_tag(tag.as_deref(), span)?;
                }
                let quoted = style != ScalarStyle::Plain || is_text_tag;
                // The reader reports a value that is not there at all as "~".
                let text = if span.is_empty() { "".into() } else { text.into() };
                let value = Value::Scalar(Scalar { text, quoted });
                self.place_node(Node { place: self.place(span), value }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span)?;
                self.open(span, anchor, Contents::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span)?;
                let contents = Contents::Mapping { entries: Vec::new(), lines: HashMap::new(), key: None };
                self.open(span, anchor, contents)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.copy(anchor, span),
            _ => Ok(()),
        }
    }

    fn open(&mut self, span: &Span, anchor: usize, contents: Contents) -> Result<(), Diagnostic> {
        if self.frames.len() == MAX_DEPTH {
            return Err(Diagnostic::new(&self.place(span), &DottedPath::default(), too_deep()));
        }
        let place = self.place(span);
        self.frames.push(Frame { place, anchor, contents, nodes_before: self.nodes });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let frame = self.frames.pop().expect("the reader pairs the ends of collections with their starts");
        let value = match frame.contents {
            Contents::Sequence(items) => Value::Sequence(items),
            Contents::Mapping { entries, .. } => Value::Mapping(entries),
        };
        let count = self.nodes - frame.nodes_before + 1;
        self.place_node(Node { place: frame.place, value }, frame.anchor, count)
    }

    fn copy(&mut self, anchor: usize, span: &Span) -> Result<(), Diagnostic> {
        let Some(count) = self.anchors.get(&anchor).map(|(_, count)| *count) else {
            return Err(self.problem(span, "this alias stands inside the value that it refers to"));
        };
        self.aliased += count;
        if self.aliased > MAX_ALIASED_NODES {
            let message = format!("aliases expand to more than {MAX_ALIASED_NODES} values");
            return Err(self.problem(span, message));
        }
        self.nodes += count - 1;
        let (node, _) = self.anchors[&anchor].clone();
        self.place_node(node, 0, count)
    }

    /// Puts a finished node where it belongs: as a key, a value, an item, or the root.
    fn place_node(&mut self, node: Node, anchor: usize, count: usize) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the document holds more than {MAX_NODES} values");
            return Err(Diagnostic::new(&node.place, &DottedPath::default(), message)
                .help("keep tensor data in safetensors or npy files"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), count));
        }
        match self.frames.last_mut().map(|frame| &mut frame.contents) {
            None => self.root = Some(node),
            Some(Contents::Sequence(items)) => items.push(node),
            Some(Contents::Mapping { entries, lines, key }) => match key.take() {
                Some(key) => {
                    let mut node = node;
                    if node.as_scalar().is_some_and(|scalar| scalar.is_null() && scalar.text.is_empty()) {
                        node.place = key.place.clone();
                    }
                    entries.push((key, node));
                }
                None => match checked_key(node, lines) {
                    Ok(checked) => *key = Some(checked),
                    Err(diagnostic) => return Err(diagnostic.under(self.path())),
                },
            },
        }
        Ok(())
    }

    /// The path of the value that comes next; for errors only.
    fn path(&self) -> DottedPath {
        let mut path = DottedPath::default();
        for frame in &self.frames {
            path = match &frame.contents {
                Contents::Sequence(items) => path.index(items.len()),
                Contents::Mapping { key: Some(key), .. } => path.key(key.text.to_string()),
                Contents::Mapping { key: None, .. } => path,
            };
        }
        path
    }

    fn place(&self, span: &Span) -> Place {
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            usize::from(span.start.index() != span.end.index())
        };
        Place::new(self.source, span.start.line().max(1), span.start.col() + 1, length)
    }

    fn problem(&self, span: &Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.place(span), &self.path(), message)
    }

    fn refuse_tag(&self, tag: Option<&Tag>, span: &Span) -> Result<(), Diagnostic> {
        match tag {
            None => Ok(()),
            Some(tag) => Err(self
                .problem(
                    &span.tag_span().unwrap_or(*span),
                    format!("the tag {} is not accepted", quoted(&tag.original())),
                )
                .help("remove the tag; put text into quotes")),
        }
    }

    fn rewrite(&self, error: &ScanError) -> Diagnostic {
        let marker = error.marker();
        let lines = self.source.text().lines().count();
        let (line, column) = if marker.line() > lines {
            // The end of the text: shown behind its last character.
            (lines, self.source.text().lines().next_back().unwrap_or_default().chars().count() + 1)
        } else {
            (marker.line(), marker.col() + 1)
        };
        let place = Place::new(self.source, line.max(1), column, 0);
        let (message, help) = words(error.kind());
        let problem = Diagnostic::new(&place, &DottedPath::default(), message);
        help.into_iter().fold(problem, Diagnostic::help)
    }
}

fn too_deep() -> String {
    format!("lists and mappings are nested deeper than {MAX_DEPTH} levels")
}

/// Our words for the mistakes that people make, and the reader's for the rest.
fn words(kind: &ErrorKind) -> (String, Option<&'static str>) {
    let (message, help) = match kind {
        ErrorKind::RecursionLimitExceeded => return (too_deep(), None),
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation | ErrorKind::TabNotAllowed => {
            ("a tab stands in the indentation", "indent with spaces")
        }
        ErrorKind::UnknownAnchor => (
            "this alias refers to no anchor above it",
            "define &name before *name, or put text that begins with * into quotes",
        ),
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            ("no key of the mapping above begins here", "check the indentation of this line")
        }
        ErrorKind::SimpleKeyExpected => ("the colon after a key is missing here", "write \"key: value\""),
        ErrorKind::MappingValueNotAllowed => (
            "a colon is not expected here",
            "check the colon and the indentation of the line above, or put text that holds \": \" into quotes",
        ),
        ErrorKind::InvalidColonPlacement => {
            ("a colon is not expected here", "check that every bracket above is closed")
        }
        ErrorKind::InvalidQuotedScalarIndent | ErrorKind::UnclosedQuotedScalar => {
            ("a quote is not closed", "close the quote at the end of the text")
        }
        other => return (format!("this is not valid YAML: {other}"), None),
    };
    (message.to_string(), Some(help))
}

fn checked_key(node: Node, lines: &mut HashMap<Box<str>, usize>) -> Result<Key, Diagnostic> {
    let problem = |message: String| Diagnostic::new(&node.place, &DottedPath::default(), message);
    let Value::Scalar(scalar) = node.value else {
        return Err(problem("a key must be a single value, not a list or mapping".to_string()));
    };
    if &*scalar.text == "<<" && !scalar.quoted {
        return Err(problem("merge keys (\"<<\") are not accepted".to_string())
            .help("write the keys out, or use an alias (*name) for the whole value"));
    }
    let line = node.place.line();
    if let Some(first) = lines.insert(scalar.text.clone(), line) {
        let message = format!("the key {} is given twice", quoted(&scalar.text));
        return Err(problem(message).note(format!("first given on line {first}")));
    }
    Ok(Key { text: scalar.text, place: node.place })
}
