//! The tree of a parsed document: scalars as written, lists and mappings, each with its place.
//!
//! Scalars stay text. What `1_024`, `no` or `.nan` mean depends on the value that is wanted there, so they are
//! converted late, by [`crate::config::field`].

use crate::config::source::Place;

/// One value of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it was written.
    pub place: Place,
    /// What was written.
    pub value: Value,
}

/// What was written in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list, in order.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the text; keys are unique.
    Mapping(Vec<(Key, Node)>),
}

/// A single value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text after YAML's escapes, without quotes.
    pub text: Box<str>,
    /// Whether it stood in quotes or in a text block: then it is text, never a number.
    pub quoted: bool,
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key as text.
    pub text: Box<str>,
    /// Where it was written.
    pub place: Place,
}

impl Scalar {
    /// Whether it is YAML's null: nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        !self.quoted && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    /// The items of a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        if let Value::Sequence(items) = &self.value { Some(items) } else { None }
    }

    /// The entries of a mapping.
    pub fn as_mapping(&self) -> Option<&[(Key, Node)]> {
        if let Value::Mapping(entries) = &self.value { Some(entries) } else { None }
    }

    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        if let Value::Scalar(scalar) = &self.value { Some(scalar) } else { None }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.iter().find(|(known, _)| &*known.text == key).map(|(_, node)| node)
    }

    /// The kind in the words of our messages, such as "a list of 3 items".
    pub fn kind(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "empty".to_string(),
            Value::Scalar(_) => "a single value".to_string(),
            Value::Sequence(items) if items.len() == 1 => "a list of 1 item".to_string(),
            Value::Sequence(items) => format!("a list of {} items", items.len()),
            Value::Mapping(_) => "a mapping".to_string(),
        }
    }

    /// Gives the node and all below it the place `place`: for values that come from a flag or from another file.
    pub fn placed_at(mut self, place: &Place) -> Node {
        self.place = place.clone();
        match &mut self.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => {
                for item in std::mem::take(items) {
                    items.push(item.placed_at(place));
                }
            }
            Value::Mapping(entries) => {
                for (key, node) in std::mem::take(entries) {
                    entries.push((Key { text: key.text, place: place.clone() }, node.placed_at(place)));
                }
            }
        }
        self
    }

    /// How many nodes the tree has, itself included.
    pub fn count(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::Sequence(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Value::Mapping(entries) => 1 + entries.iter().map(|(_, node)| node.count()).sum::<usize>(),
        }
    }
}
