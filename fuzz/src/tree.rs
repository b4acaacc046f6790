//! Inputs as trees: what YAML and JSON files have in common, with keys that may be there twice and numbers as written.

use npusim::config::document::Document;
use npusim::config::node::{Node, Value};

/// A value of a file.
#[derive(Clone, Debug)]
pub enum Tree {
    /// A single value; in quotes it is text.
    Scalar { text: String, quoted: bool },
    /// A list.
    List(Vec<Tree>),
    /// Keys and values.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// A single value without quotes.
    pub fn plain(text: &str) -> Tree {
        Tree::Scalar { text: text.to_owned(), quoted: false }
    }

    /// The tree of a YAML or JSON text that is well-formed.
    pub fn parse(text: &str) -> Tree {
        let document =
            Document::from_bytes("corpus", text.as_bytes(), "").expect("files of the corpus are well-formed");
        Tree::of(document.root())
    }

    fn of(node: &Node) -> Tree {
        match &node.value {
            Value::Scalar(scalar) => Tree::Scalar { text: scalar.text.to_string(), quoted: scalar.quoted },
            Value::Sequence(items) => Tree::List(items.iter().map(Tree::of).collect()),
            Value::Mapping(entries) => {
                Tree::Map(entries.iter().map(|(key, node)| (key.text.to_string(), Tree::of(node))).collect())
            }
        }
    }

    /// How many values it has, itself included.
    pub fn count(&self) -> usize {
        match self {
            Tree::Scalar { .. } => 1,
            Tree::List(items) => 1 + items.iter().map(Tree::count).sum::<usize>(),
            Tree::Map(entries) => 1 + entries.iter().map(|(_, value)| value.count()).sum::<usize>(),
        }
    }

    /// The value at `position` in the order of the text, with the key that leads to it.
    pub fn at(&mut self, position: usize) -> (&mut Tree, &str) {
        self.below(position, "")
    }

    fn below<'t>(&'t mut self, mut position: usize, key: &'t str) -> (&'t mut Tree, &'t str) {
        if position == 0 {
            return (self, key);
        }
        position -= 1;
        let found = match self {
            Tree::Scalar { .. } => 0,
            Tree::List(items) => child(items.iter(), &mut position),
            Tree::Map(entries) => child(entries.iter().map(|(_, value)| value), &mut position),
        };
        match self {
            Tree::Scalar { .. } => unreachable!("positions are below the count"),
            Tree::List(items) => items[found].below(position, key),
            Tree::Map(entries) => {
                let (key, value) = &mut entries[found];
                value.below(position, key)
            }
        }
    }

    /// Each value with the key that leads to it.
    pub fn visit<'t>(&'t self, key: &'t str, seen: &mut impl FnMut(&'t str, &'t Tree)) {
        seen(key, self);
        match self {
            Tree::Scalar { .. } => {}
            Tree::List(items) => items.iter().for_each(|item| item.visit(key, seen)),
            Tree::Map(entries) => entries.iter().for_each(|(key, value)| value.visit(key, seen)),
        }
    }

    /// Each dotted path to a single value, with that value.
    pub fn paths(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.collect_paths(&mut String::new(), &mut found);
        found
    }

    fn collect_paths(&self, path: &mut String, found: &mut Vec<(String, String)>) {
        let length = path.len();
        let mut step = |path: &mut String, name: &str, value: &Tree| {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            value.collect_paths(path, found);
            path.truncate(length);
        };
        match self {
            Tree::Scalar { text, .. } => found.push((path.clone(), text.clone())),
            Tree::List(items) => {
                items.iter().enumerate().for_each(|(index, item)| step(path, &index.to_string(), item))
            }
            Tree::Map(entries) => entries.iter().for_each(|(key, value)| step(path, key, value)),
        }
    }

    /// The tree as JSON, which YAML readers read too. Values without quotes are written as they are where `is_yaml`, or if
    /// JSON has them.
    pub fn text(&self, is_yaml: bool) -> String {
        let mut text = String::new();
        self.write(&mut text, is_yaml);
        text
    }

    fn write(&self, text: &mut String, is_yaml: bool) {
        match self {
            Tree::Scalar { text: value, quoted } => {
                let is_plain = |letter: char| letter.is_ascii_alphanumeric() || " ._+-/<>=".contains(letter);
                let of_json = matches!(value.as_str(), "null" | "true" | "false" | "NaN")
                    || value.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-');
                let fits = if is_yaml { value.chars().all(is_plain) } else { of_json };
                if *quoted || value.is_empty() || !fits { quote(text, value) } else { text.push_str(value) }
            }
            Tree::List(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    item.write(text, is_yaml);
                }
                text.push(']');
            }
            Tree::Map(entries) => {
                text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    quote(text, key);
                    text.push_str(": ");
                    value.write(text, is_yaml);
                }
                text.push('}');
            }
        }
    }
}

/// Which of several trees the value at `position` is in; `position` becomes that within the tree.
fn child<'t>(children: impl Iterator<Item = &'t Tree>, position: &mut usize) -> usize {
    for (index, value) in children.enumerate() {
        let count = value.count();
        if *position < count {
            return index;
        }
        *position -= count;
    }
    unreachable!("positions are below the count")
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            letter if (letter as u32) < 0x20 => text.push_str(&format!("\\u{:04x}", letter as u32)),
            letter => text.push(letter),
        }
    }
    text.push('"');
}
