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
pub(crate) const MAX_DEPTH: usize = 64;
/// The most keys and values in one document: a layer trace of 100,000 layers with ten keys each.
const MAX_NODES: usize = 2_000_000;
/// The most values that anchors (`&name`) may keep and aliases (`*name`) may add, together.
const MAX_COPIED_NODES: usize = 100_000;

/// The tree of the one document in `source`; `None` if it is empty.
///
/// # Errors
/// One diagnostic for text that is not YAML, holds several documents, a duplicate key, a tag, a merge key or a key that
/// is not a single value, or breaks a budget.
pub(crate) fn parse(source: &Arc<Source>) -> Result<Option<Node>, Diagnostic> {
    let mut builder = Builder { source, frames: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, copied: 0 };
    let options = serde_yaml::granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
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
    copied: usize,
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
                let text: Box<str> = if span.is_empty() { "".into() } else { text.into() };
                self.refuse_control_characters(&text, span)?;
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
        self.charge(count, &self.place(span))?;
        self.nodes += count - 1;
        let (node, _) = self.anchors[&anchor].clone();
        self.place_node(node, 0, count)
    }

    /// Notes that `count` values are copied for an anchor or alias at `place`.
    fn charge(&mut self, count: usize, place: &Place) -> Result<(), Diagnostic> {
        self.copied += count;
        if self.copied <= MAX_COPIED_NODES {
            return Ok(());
        }
        let message = format!("anchors and aliases copy more than {MAX_COPIED_NODES} values");
        Err(Diagnostic::new(place, &self.path(), message))
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
            self.charge(count, &node.place)?;
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

    /// Keys and values end in tables, pictures and on the terminal, where such a character would be an order.
    fn refuse_control_characters(&self, text: &str, span: &Span) -> Result<(), Diagnostic> {
        let is_order = |character: &char| character.is_control() && !matches!(character, '\n' | '\t');
        match text.chars().find(is_order) {
            None => Ok(()),
            Some(found) => Err(self
                .problem(span, format!("{} holds the control character U+{:04X}", quoted(text), u32::from(found)))
                .help("leave it out: names and values are plain text")),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Node>, Diagnostic> {
        parse(&Source::document("f.yaml", text, ""))
    }

    /// The tree in one line, each value as `line:column+length=text`.
    fn shown(node: &Node) -> String {
        let place = format!("{}:{}+{}", node.place.line(), node.place.column(), node.place.length());
        match &node.value {
            Value::Scalar(scalar) if scalar.quoted => format!("{place}={:?}", scalar.text),
            Value::Scalar(scalar) => format!("{place}={}", scalar.text),
            Value::Sequence(items) => {
                format!("{place}=[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" "))
            }
            Value::Mapping(entries) => {
                let entry = |(key, node): &(Key, Node)| format!("{}: {}", key.text, shown(node));
                format!("{place}={{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[track_caller]
    fn check_tree(text: &str, expected: &str) {
        assert_eq!(shown(&parsed(text).unwrap().unwrap()), expected);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let shown = parsed(text).unwrap_err().to_string();
        let (first, _) = shown.split_once('\n').unwrap_or((&shown, ""));
        assert_eq!(first, expected);
    }

    // Lines and columns in the expected texts below were counted by hand.

    #[test]
    fn scalars_keep_their_text_and_place() {
        check_tree("a: 1_024  # comment\nb:   'no'\n", "1:1+0={a: 1:4+5=1_024 b: 2:6+4=\"no\"}");
        check_tree("é: ü\n日本: [0x20, .nan]\n", "1:1+0={é: 1:4+1=ü 日本: 2:5+1=[2:6+4=0x20 2:12+4=.nan]}");
        check_tree("a: |\n  one\n  two\n", "1:1+0={a: 2:3+1=\"one\\ntwo\\n\"}");
        check_tree("a: 1\r\nb: 2\r\n", "1:1+0={a: 1:4+1=1 b: 2:4+1=2}");
        check_tree("\u{feff}a: 1\n...\n", "1:1+0={a: 1:4+1=1}");
    }

    #[test]
    fn a_control_character_in_a_key_or_value_is_refused_where_it_stands() {
        let refusal = |shown: &str, code: &str| format!("{shown} holds the control character U+{code}");
        check_error("a: \"x\\e[31m\"\n", &format!("f.yaml:1:4: a: {}", refusal("\"x\\u{1b}[31m\"", "001B")));
        check_error("a: 1\n\"b\\x07\": 2\n", &format!("f.yaml:2:1: {}", refusal("\"b\\u{7}\"", "0007")));
        check_error("a: [1, \"\\x9b2J\"]\n", &format!("f.yaml:1:8: a[1]: {}", refusal("\"\\u{9b}2J\"", "009B")));
        check_error("a: \"x\\ry\"\n", &format!("f.yaml:1:4: a: {}", refusal("\"x\\ry\"", "000D")));
        // Lines and tabs are text.
        check_tree("a: \"x\\n\\ty\"\n", "1:1+0={a: 1:4+8=\"x\\n\\ty\"}");
    }

    #[test]
    fn an_empty_value_stands_at_its_key() {
        check_tree("a: 1\nrows:\nb: ~\n", "1:1+0={a: 1:4+1=1 rows: 2:1+4= b: 3:4+1=~}");
    }

    #[test]
    fn a_block_collection_stands_at_its_first_entry() {
        check_tree("a:\n  - x: 1\n    y: 2\n", "1:1+0={a: 2:3+0=[2:5+0={x: 2:8+1=1 y: 3:8+1=2}]}");
    }

    #[test]
    fn an_alias_is_a_copy_that_cites_the_anchor() {
        check_tree("a: &x {k: 5}\nb: *x\n", "1:1+0={a: 1:7+1={k: 1:11+1=5} b: 1:7+1={k: 1:11+1=5}}");
    }

    #[test]
    fn a_document_without_a_value_is_empty() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n"] {
            assert_eq!(parsed(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn a_duplicate_key_is_cited_at_its_second_use() {
        let error = parsed("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\
f.yaml:5:3: b: the key \"c\" is given twice
    5 |   c: 3
      |   ^ first given on line 3"
        );
        check_error("{a: 1, 'a': 2}", "f.yaml:1:8: the key \"a\" is given twice");
    }

    #[test]
    fn a_second_document_is_refused() {
        let error = parsed("a: 1\n---\nb: 2\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\
f.yaml:2:1: a second document starts here; a file holds exactly one
    2 | ---
      | ^^^
   help: remove the line \"---\", or put the second document into a file of its own"
        );
    }

    #[test]
    fn notation_that_we_do_not_read_is_refused_by_name() {
        check_error("a:\n  b: !foo 3\n", "f.yaml:2:6: a.b: the tag \"!foo\" is not accepted");
        check_error("a: [!!int 3]\n", "f.yaml:1:5: a[0]: the tag \"!!int\" is not accepted");
        check_error("x: &x {a: 1}\ny:\n  <<: *x\n", "f.yaml:3:3: y: merge keys (\"<<\") are not accepted");
        check_error("? [1, 2]\n: 3\n", "f.yaml:1:3: a key must be a single value, not a list or mapping");
        check_tree("a: !!str 3\n", "1:1+0={a: 1:10+1=\"3\"}");
    }

    #[test]
    fn common_mistakes_of_notation_are_told_in_plain_words() {
        check_error("a:\n\tb: 1\n", "f.yaml:2:2: a tab stands in the indentation");
        check_error("a:\n  b: 1\n c: 2\n", "f.yaml:3:2: no key of the mapping above begins here");
        check_error("rows 3\ncols: 4\n", "f.yaml:2:5: a colon is not expected here");
        check_error("a: [1, 2\nb: 3\n", "f.yaml:2:2: a colon is not expected here");
        check_error("a: \"abc\n", "f.yaml:1:8: a quote is not closed");
        check_error("a: *nope\n", "f.yaml:1:4: this alias refers to no anchor above it");
        check_error("a: &x [*x]\n", "f.yaml:1:8: a[0]: this alias stands inside the value that it refers to");
        check_error("a: \0\n", "f.yaml:1:4: this is not valid YAML: unexpected character: `\\u{0}'");
    }

    #[test]
    fn nesting_is_refused_at_the_65th_level_in_every_notation() {
        const MESSAGE: &str = "lists and mappings are nested deeper than 64 levels";
        let block: String = (0..5_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        for (text, place) in [
            ("[".repeat(100_000), "1:65"),
            ("[".repeat(100_000) + &"]".repeat(100_000), "1:65"),
            ("{a: ".repeat(100_000), "1:257"),
            ("- ".repeat(100_000), "1:129"),
            ("? ".repeat(100_000), "1:129"),
            (block, "65:65"),
        ] {
            check_error(&text, &format!("f.yaml:{place}: {MESSAGE}"));
        }
        let deepest = "[".repeat(64) + &"]".repeat(64);
        assert_eq!(parsed(&deepest).unwrap().unwrap().count(), 64);
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_expands() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..10 {
            let below = format!("*a{},", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        // A list of level n has 10, 91, 820, 7381, 66430 values; its aliases add that less one, its anchor keeps it.
        // Levels 0 to 3 sum to 16,591; with both of level 4 the sum is 149,450, on line 5.
        let error = parsed(&bomb).unwrap_err();
        assert_eq!(error.message(), "anchors and aliases copy more than 100000 values");
        assert_eq!(error.place().line(), 5);
    }

    #[test]
    fn anchors_around_one_another_cannot_multiply_a_large_list() {
        let starts: String = (0..60).map(|level| format!("&a{level} [")).collect();
        let text = format!("{starts}{}{}", "x, ".repeat(5_000), "]".repeat(60));
        assert_eq!(parsed(&text).unwrap_err().message(), "anchors and aliases copy more than 100000 values");
    }

    #[test]
    fn a_large_trace_is_accepted_and_an_endless_one_refused() {
        let layer = "- {m: 1, n: 2, k: 3}\n";
        let trace = parsed(&layer.repeat(100_000)).unwrap().unwrap();
        assert_eq!(trace.as_sequence().map(<[Node]>::len), Some(100_000));
        let error = parsed(&"- 1\n".repeat(2_000_001)).unwrap_err();
        assert_eq!(error.message(), "the document holds more than 2000000 values");
        assert_eq!(error.place().line(), 2_000_001);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = parsed(&text);
        }

        #[test]
        fn no_text_of_yaml_marks_makes_the_parser_panic(text in "[-a1 \\n\\t:,?&*!|>'\"%@#~<\\[\\]{}é]{0,60}") {
            if let Err(error) = parsed(&text) {
                proptest::prop_assert!(error.to_string().starts_with("f.yaml:"));
            }
        }
    }
}
