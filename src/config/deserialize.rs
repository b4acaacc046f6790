//! Serde over our own tree: `..File` structs are plain `#[derive(Deserialize)]` structs, and still every error has its
//! path and place.
//!
//! What a field of such a struct may be:
//! - [`crate::config::field::Field`]: a single value, converted late. It may be absent: its reader says so.
//! - [`crate::config::placed::Placed`]`<T>`: a `T` that keeps its path and place, for errors that concern it as a whole;
//!   [`crate::config::placed::List`]`<T>` likewise for lists.
//! - a struct, `Vec<T>` or `BTreeMap<String, T>` of these: must be there.
//! - a struct renamed to `SHORT_FORM`: a mapping, or a single value that stands for its first field.
//! - `Option<T>` of these: may be absent. An empty value (`key:`) is not absent.
//! - [`Node`]: any value, as a tree; must be there.
//!
//! Defaults are decided, and recorded, in the resolvers; so `#[serde(default)]` has no effect here, and neither
//! `flatten`, `alias` nor enums are supported. Unknown keys are always refused.
//!
//! The reason for a deserializer of our own rather than the YAML crate's: that one gives neither paths nor found values
//! in its errors, stops at the first, and cannot cite a flag that has overridden a value.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::config::diagnostics::{ConfigError, Diagnostic, MAX_DIAGNOSTICS, Problems, listed, nearest, quoted};
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Key, Node, Value};
use crate::config::source::Place;

/// The newtype name by which a leaf asks for its path, place and text instead of for a value.
pub(crate) const LEAF: &str = "npusim::Leaf";
/// The newtype name by which a wrapper asks for path and place before the value itself.
pub(crate) const PLACED: &str = "npusim::Placed";

/// The newtype name by which a value may be one item or a list of them.
pub(crate) const ONE_OR_MANY: &str = "npusim::OneOrMany";

/// The struct name by which `key: value` may stand for `key: {first_field: value}`.
pub(crate) const SHORT_FORM: &str = "npusim::ShortForm";

thread_local! {
    /// Serde's data model cannot carry places, so they pass beside it: filled right before a visitor of [`LEAF`] or
    /// [`PLACED`] is called, and emptied as the first act of that visitor. It never outlives that call.
    static CAPTURED: Cell<Option<Captured>> = const { Cell::new(None) };
}

/// What a leaf or wrapper learns about itself.
pub(crate) struct Captured {
    pub(crate) path: DottedPath,
    /// Of the value; of the mapping that lacks it, where it is absent.
    pub(crate) place: Place,
    /// `None` where the value is absent, and for wrappers.
    pub(crate) node: Option<Node>,
}

/// Leaves `captured` for the visitor that is called next.
pub(crate) fn leave_captured(captured: Captured) {
    CAPTURED.set(Some(captured));
}

/// Takes what the deserializer left for the visitor that it is calling.
pub(crate) fn take_captured<E: de::Error>() -> Result<Captured, E> {
    CAPTURED.take().ok_or_else(|| E::custom("this type can be read from documents only"))
}

/// Maps a tree onto a file type.
pub(crate) fn from_node<T: DeserializeOwned>(root: &Node) -> Result<T, ConfigError> {
    let problems = RefCell::new(Problems::default());
    let target = NodeDeserializer { target: Target::Present(root), path: DottedPath::default(), problems: &problems };
    let outcome = T::deserialize(target);
    let mut problems = problems.into_inner();
    match outcome {
        Ok(value) => problems.finish().map(|()| value),
        Err(error) => {
            error.placed(&root.place, &DottedPath::default()).into_iter().for_each(|problem| problems.push(problem));
            Err(problems.finish().expect_err("an error is either noted or has just been"))
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
                let captured = take_captured()?;
                captured.node.ok_or_else(|| E::custom(format!("the key \"{}\" is missing", captured.path.last())))
            }
        }
        deserializer.deserialize_newtype_struct(LEAF, NodeVisitor)
    }
}

/// Serde's error: bare until the nearest value gives it path and place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Bare(String),
    #[error("{0}")]
    Placed(Diagnostic),
    #[error("noted already")]
    Noted,
}

impl ReadError {
    /// The mistake in the value at `place` and `path`, unless it was noted already.
    fn placed(self, place: &Place, path: &DottedPath) -> Option<Diagnostic> {
        match self {
            ReadError::Bare(message) => Some(Diagnostic::new(place, path, message)),
            ReadError::Placed(diagnostic) => Some(diagnostic),
            ReadError::Noted => None,
        }
    }

    fn or_placed(self, place: &Place, path: &DottedPath) -> ReadError {
        self.placed(place, path).map_or(ReadError::Noted, ReadError::Placed)
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> ReadError {
        ReadError::Bare(message.to_string())
    }
}

#[derive(Clone, Copy)]
enum Target<'n> {
    Present(&'n Node),
    /// A key that the struct knows and the mapping lacks.
    Absent {
        mapping: &'n Place,
    },
}

struct NodeDeserializer<'n> {
    target: Target<'n>,
    path: DottedPath,
    problems: &'n RefCell<Problems>,
}

impl<'n> NodeDeserializer<'n> {
    fn place(&self) -> &'n Place {
        match self.target {
            Target::Present(node) => &node.place,
            Target::Absent { mapping } => mapping,
        }
    }

    /// The node, where it must be there.
    fn node(&self) -> Result<&'n Node, ReadError> {
        match self.target {
            Target::Present(node) => Ok(node),
            Target::Absent { mapping } => Err(ReadError::Placed(missing(mapping, &self.path).note("in this mapping"))),
        }
    }

    fn entries(&self, keys: &[&str]) -> Result<&'n [(Key, Node)], ReadError> {
        let node = self.node()?;
        node.as_mapping().ok_or_else(|| {
            let given = given_instead(node);
            let message = format!("{given}; a mapping is expected here");
            let problem = Diagnostic::new(&node.place, &self.path, message).of_value();
            ReadError::Placed(match keys {
                [] => problem,
                keys => problem.help(format!("its keys are: {}", listed(keys.iter().copied()))),
            })
        })
    }

    fn capture(&self, with_node: bool) {
        let node = match self.target {
            Target::Present(node) if with_node => Some(node.clone()),
            _ => None,
        };
        leave_captured(Captured { path: self.path.clone(), place: self.place().clone(), node });
    }
}

/// The words for a value of the wrong kind.
pub(crate) fn given_instead(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) if !scalar.is_null() => quoted(&scalar.text),
        _ => format!("this is {}", node.kind()),
    }
}

/// A key that is missing in the mapping at `mapping`; `path` is that of the key.
pub(crate) fn missing(mapping: &Place, path: &DottedPath) -> Diagnostic {
    Diagnostic::new(mapping, &path.parent(), format!("the key \"{}\" is missing", path.last()))
}

impl<'de> de::Deserializer<'de> for NodeDeserializer<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.node()?;
        match &node.value {
            Value::Scalar(scalar) => {
                visitor.visit_str(&scalar.text).map_err(|error: ReadError| error.or_placed(&node.place, &self.path))
            }
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.target {
            Target::Present(_) => visitor.visit_some(self),
            Target::Absent { .. } => visitor.visit_none(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match name {
            LEAF => {
                self.capture(true);
                visitor.visit_unit::<ReadError>().map_err(|error| error.or_placed(self.place(), &self.path))
            }
            PLACED => {
                self.node()?;
                self.capture(false);
                visitor.visit_newtype_struct(self)
            }
            ONE_OR_MANY if self.node()?.as_sequence().is_some() => self.deserialize_seq(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let node = self.node()?;
        let Some(items) = node.as_sequence() else {
            let message = format!("{}; a list is expected here", given_instead(node));
            return Err(ReadError::Placed(Diagnostic::new(&node.place, &self.path, message).of_value()));
        };
        visitor.visit_seq(Items { items: items.iter().enumerate(), path: &self.path, problems: self.problems })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let entries = self.entries(&[])?;
        let keys = entries.iter().map(|(key, node)| {
            let name = key.text.to_string();
            (Cow::Owned(name.clone()), self.path.key(name), Target::Present(node))
        });
        visitor.visit_map(Entries { entries: keys, value: None, problems: self.problems })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if let (SHORT_FORM, Target::Present(node)) = (name, self.target)
            && node.as_scalar().is_some()
        {
            let absent = Target::Absent { mapping: &node.place };
            let keys = fields.iter().enumerate().map(|(position, field)| match position {
                0 => (Cow::Borrowed(*field), self.path.clone(), self.target),
                _ => (Cow::Borrowed(*field), self.path.key(*field), absent),
            });
            return visitor.visit_map(Entries { entries: keys, value: None, problems: self.problems });
        }
        let entries = self.entries(fields)?;
        for (key, _) in entries.iter().filter(|(key, _)| !fields.contains(&&*key.text)).take(MAX_DIAGNOSTICS) {
            self.problems.borrow_mut().push(unknown_key(key, fields, &self.path));
        }
        let mapping = self.place();
        let keys = fields.iter().map(|field| {
            let known = entries.iter().find(|(key, _)| &*key.text == *field);
            let target = known.map_or(Target::Absent { mapping }, |(_, node)| Target::Present(node));
            (Cow::Borrowed(*field), self.path.key(*field), target)
        });
        visitor.visit_map(Entries { entries: keys, value: None, problems: self.problems })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

fn unknown_key(key: &Key, known: &[&str], path: &DottedPath) -> Diagnostic {
    let problem = Diagnostic::new(&key.place, path, format!("unknown key {}", quoted(&key.text))).of_path();
    let problem = match nearest(&key.text, known.iter().copied()) {
        Some(name) => problem.note(format!("did you mean \"{name}\"?")),
        None => problem,
    };
    problem.help(format!("the keys known here are: {}", listed(known.iter().copied())))
}

struct Items<'n, I> {
    items: I,
    path: &'n DottedPath,
    problems: &'n RefCell<Problems>,
}

impl<'de, 'n, I: Iterator<Item = (usize, &'n Node)>> SeqAccess<'de> for Items<'n, I> {
    type Error = ReadError;

    /// A mistake in an item is noted here, so that a visitor that goes on after it (that of
    /// [`crate::config::placed::List`]) shows the mistakes of all items.
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if self.problems.borrow().len() >= MAX_DIAGNOSTICS {
            return Ok(None);
        }
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = self.path.index(index);
        let target = NodeDeserializer { target: Target::Present(node), path: path.clone(), problems: self.problems };
        seed.deserialize(target).map(Some).map_err(|error| {
            if let Some(diagnostic) = error.placed(&node.place, &path) {
                self.problems.borrow_mut().push(diagnostic);
            }
            ReadError::Noted
        })
    }
}

struct Entries<'n, I> {
    entries: I,
    value: Option<(DottedPath, Target<'n>)>,
    problems: &'n RefCell<Problems>,
}

impl<'de, 'n, I: Iterator<Item = (Cow<'static, str>, DottedPath, Target<'n>)>> MapAccess<'de> for Entries<'n, I> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((name, path, target)) = self.entries.next() else { return Ok(None) };
        self.value = Some((path, target));
        let key: StrDeserializer<'_, ReadError> = (*name).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let (path, target) = self.value.take().expect("serde asks for the key first");
        seed.deserialize(NodeDeserializer { target, path, problems: self.problems })
    }
}
