//! Overriding values by dotted path: one mechanism for `--set PATH=VALUE`, studies and validation rows.
//!
//! A path is keys and list items joined by dots: `matrix_units.0.systolic_array.rows`. An item is named by its index
//! (from 0, also written `matrix_units[0]`) or by its `name:`. The document's tree is edited before it is mapped onto
//! its file type, so an overridden value is checked as a written one, and errors cite the flag or the study line.

use crate::config::diagnostics::{Diagnostic, listed, nearest, quoted};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Key, Node, Scalar, Value};
use crate::config::parse::parse;
use crate::config::source::{Place, Source};

impl Document {
    /// Sets the value at `path` to `value`, written as in YAML: a scalar, or a list or mapping in brackets.
    ///
    /// A key that the document lacks is added, with the mappings on the way to it; whether its file type knows it, is
    /// found out when the document is mapped onto the type. `origin` is what errors cite from now on: the flag
    /// ([`Place::flag`]) or the place in a study.
    ///
    /// # Errors
    /// The path is malformed, names a list item that is not there, or leads through a single value; or the value is
    /// not valid YAML.
    pub fn apply(&mut self, path: &str, value: &str, origin: &Place) -> Result<(), Diagnostic> {
        let parsed = parse(&Source::document("value", value, "")).map_err(|problem| {
            let message = format!("the value {}: {}", quoted(value), problem.message());
            Diagnostic::new(origin, &DottedPath::default(), message)
        })?;
        let null = || Node { place: origin.clone(), value: Value::Scalar(Scalar { text: "".into(), quoted: false }) };
        let node = parsed.unwrap_or_else(null);
        self.apply_node(path, node, origin)
    }

    /// Sets the value at `path` to `node`, as [`Document::apply`] does.
    ///
    /// # Errors
    /// As [`Document::apply`].
    pub fn apply_node(&mut self, path: &str, node: Node, origin: &Place) -> Result<(), Diagnostic> {
        let steps = steps_of(path).ok_or_else(|| {
            Diagnostic::new(origin, &DottedPath::default(), format!("{} is not a path", quoted(path)))
                .help("a path is keys and indices joined by dots, such as matrix_units.0.systolic_array.rows")
        })?;
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        set(&mut self.root, &steps, node.placed_at(origin), origin, &DottedPath::default())
    }
}

/// Splits `PATH=VALUE` of a flag at the first `=`.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn split_assignment<'t>(assignment: &'t str, origin: &Place) -> Result<(&'t str, &'t str), Diagnostic> {
    match assignment.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim(), value.trim())),
        _ => Err(Diagnostic::new(origin, &DottedPath::default(), "PATH=VALUE is expected")
            .help("for example matrix_units.0.systolic_array.rows=16")),
    }
}

/// The steps of a path; `a[0].b` is read as `a.0.b`.
fn steps_of(path: &str) -> Option<Vec<String>> {
    let dotted = path.trim().replace('[', ".").replace("].", ".");
    let dotted = dotted.strip_suffix(']').unwrap_or(&dotted);
    let steps: Vec<String> = dotted.split('.').map(|step| step.trim().to_string()).collect();
    steps.iter().all(|step| !step.is_empty()).then_some(steps)
}

fn set(node: &mut Node, steps: &[&str], new: Node, origin: &Place, path: &DottedPath) -> Result<(), Diagnostic> {
    let [step, rest @ ..] = steps else {
        *node = new;
        return Ok(());
    };
    if node.as_scalar().is_some_and(Scalar::is_null) {
        *node = Node { place: origin.clone(), value: Value::Mapping(Vec::new()) };
    }
    let problem = |message: String| Diagnostic::new(origin, path, message);
    match &mut node.value {
        Value::Mapping(entries) => {
            let below = path.key(step.to_string());
            if let Some((_, value)) = entries.iter_mut().find(|(key, _)| &*key.text == *step) {
                return set(value, rest, new, origin, &below);
            }
            let mut value = Node { place: origin.clone(), value: Value::Mapping(Vec::new()) };
            set(&mut value, rest, new, origin, &below)?;
            entries.push((Key { text: (*step).into(), place: origin.clone() }, value));
            Ok(())
        }
        Value::Sequence(items) => match item_of(items, steps) {
            Some((index, used)) => set(&mut items[index], &steps[used..], new, origin, &path.index(index)),
            None => Err(no_such_item(items, step, problem)),
        },
        Value::Scalar(scalar) => {
            let given = quoted(&scalar.text);
            Err(problem(format!("there is no {} here: the value is {given}, not a mapping", quoted(step))))
        }
    }
}

/// The item that the first steps name, and how many steps that takes: an index, or a `name:`, which may hold dots.
fn item_of(items: &[Node], steps: &[&str]) -> Option<(usize, usize)> {
    for used in 1..=steps.len() {
        let name = steps[..used].join(".");
        if let Some(index) = items.iter().position(|item| name_of(item) == Some(&name)) {
            return Some((index, used));
        }
    }
    let index = steps[0].parse::<usize>().ok()?;
    (index < items.len()).then_some((index, 1))
}

fn name_of(item: &Node) -> Option<&str> {
    item.get("name")?.as_scalar().map(|scalar| &*scalar.text)
}

fn no_such_item(items: &[Node], step: &str, problem: impl Fn(String) -> Diagnostic) -> Diagnostic {
    let names: Vec<&str> = items.iter().filter_map(name_of).collect();
    let is_index = step.bytes().all(|byte| byte.is_ascii_digit());
    let problem = problem(format!("there is no item {}", if is_index { step.to_string() } else { quoted(step) }));
    let there = match items.len() {
        0 => "the list is empty".to_string(),
        1 => "the only index is 0".to_string(),
        count => format!("indices are 0 to {}", count - 1),
    };
    let problem = problem.note(if names.is_empty() {
        there
    } else {
        format!("{there}; names: {}", listed(names.iter().copied()))
    });
    match nearest(step, names.iter().copied()) {
        Some(name) if !is_index => problem.help(format!("did you mean \"{name}\"?")),
        _ => problem,
    }
}
