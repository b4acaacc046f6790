//! Overriding values by dotted path: one mechanism for `--set PATH=VALUE`, studies and validation rows.
//!
//! A path is keys and list items joined by dots: `matrix_units.0.systolic_array.rows`. An item is named by its index
//! (from 0, also written `matrix_units[0]`) or by its `name:`. The document's tree is edited before it is mapped onto
//! its file type, so an overridden value is checked as a written one, and errors cite the flag or the study line.

use crate::config::diagnostics::{Diagnostic, listed, nearest, quoted};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Key, Node, Scalar, Value};
use crate::config::parse::{MAX_DEPTH, parse};
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
            Diagnostic::new(origin, &DottedPath::default(), message).of_value()
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
                .of_path()
                .help("a path is keys and indices joined by dots, such as matrix_units.0.systolic_array.rows")
        })?;
        if steps.len() > MAX_DEPTH {
            let message = format!("the path has more than {MAX_DEPTH} steps");
            return Err(Diagnostic::new(origin, &DottedPath::default(), message).of_path());
        }
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
    let problem = |message: String| Diagnostic::new(origin, path, message).of_path();
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

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
clock: 1 GHz
matrix_units:
  - name: main
    systolic_array: {rows: 32}
  - name: block.0.aux
    systolic_array: {rows: 8}
dram:
";

    fn document() -> Document {
        Document::from_bytes("f.yaml", TEXT.as_bytes(), "").unwrap()
    }

    fn applied(path: &str, value: &str) -> Result<Document, Diagnostic> {
        let mut document = document();
        document.apply(path, value, &Place::flag("--set"))?;
        Ok(document)
    }

    /// The rows of both matrix units.
    #[track_caller]
    fn rows(document: &Document) -> [String; 2] {
        let units = document.root().get("matrix_units").unwrap().as_sequence().unwrap();
        [0, 1].map(|unit: usize| {
            units[unit].get("systolic_array").unwrap().get("rows").unwrap().as_scalar().unwrap().text.to_string()
        })
    }

    #[track_caller]
    fn check_error(path: &str, value: &str, expected: &str) {
        assert_eq!(applied(path, value).unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_item_is_found_by_index_and_by_name() {
        for path in ["matrix_units.0.systolic_array.rows", "matrix_units[0].systolic_array.rows"] {
            assert_eq!(rows(&applied(path, "64").unwrap()), ["64", "8"]);
        }
        assert_eq!(rows(&applied("matrix_units.main.systolic_array.rows", "64").unwrap()), ["64", "8"]);
        assert_eq!(rows(&applied(" matrix_units[1].systolic_array.rows ", " 64 ").unwrap()), ["32", "64"]);
    }

    #[test]
    fn a_name_may_hold_dots_and_digits() {
        assert_eq!(rows(&applied("matrix_units.block.0.aux.systolic_array.rows", "64").unwrap()), ["32", "64"]);
    }

    #[test]
    fn an_overridden_value_is_placed_at_the_flag_and_the_rest_stays() {
        let document = applied("clock", "800 MHz").unwrap();
        let clock = document.root().get("clock").unwrap();
        assert_eq!((clock.place.to_string(), &*clock.as_scalar().unwrap().text), ("--set".to_string(), "800 MHz"));
        assert_eq!(document.root().get("matrix_units").unwrap().place.to_string(), "f.yaml:3:3");
    }

    #[test]
    fn lists_mappings_text_and_nothing_can_be_set() {
        let list = applied("clock", "[1, {a: 2}]").unwrap();
        let items = list.root().get("clock").unwrap().as_sequence().unwrap();
        assert_eq!(items[1].get("a").unwrap().place.to_string(), "--set");
        let text = applied("clock", "'12'").unwrap();
        assert!(text.root().get("clock").unwrap().as_scalar().unwrap().quoted);
        for nothing in ["", "~", "null"] {
            let document = applied("clock", nothing).unwrap();
            assert!(document.root().get("clock").unwrap().as_scalar().unwrap().is_null());
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_added_with_the_mappings_on_the_way() {
        let document = applied("energy.mac.pj", "0.2").unwrap();
        let mac = document.root().get("energy").unwrap().get("mac").unwrap();
        assert_eq!(mac.place.to_string(), "--set");
        assert_eq!(&*mac.get("pj").unwrap().as_scalar().unwrap().text, "0.2");
        let below_nothing = applied("dram.channels", "2").unwrap();
        assert!(below_nothing.root().get("dram").unwrap().get("channels").is_some());
    }

    #[test]
    fn an_item_that_is_not_there_is_refused_with_those_that_are() {
        check_error(
            "matrix_units.2.systolic_array.rows",
            "1",
            "--set: matrix_units: there is no item 2\n   indices are 0 to 1; names: main, block.0.aux",
        );
        check_error(
            "matrix_units.mian.systolic_array.rows",
            "1",
            "--set: matrix_units: there is no item \"mian\"\n   indices are 0 to 1; names: main, block.0.aux\n   help: did you mean \"main\"?",
        );
    }

    #[test]
    fn a_path_through_a_single_value_is_refused() {
        check_error(
            "clock.speed",
            "1",
            "--set: clock: there is no \"speed\" here: the value is \"1 GHz\", not a mapping",
        );
    }

    #[test]
    fn a_malformed_path_or_value_cites_the_flag() {
        const HELP: &str =
            "help: a path is keys and indices joined by dots, such as matrix_units.0.systolic_array.rows";
        check_error("clock..x", "1", &format!("--set: \"clock..x\" is not a path\n   {HELP}"));
        check_error("", "1", &format!("--set: \"\" is not a path\n   {HELP}"));
        let message = applied("clock", "[1, 2").unwrap_err().to_string();
        assert!(message.starts_with("--set: the value \"[1, 2\": "), "{message}");
        let deep = "a.".repeat(100_000) + "a";
        assert_eq!(applied(&deep, "1").unwrap_err().message(), "the path has more than 64 steps");
    }

    #[test]
    fn a_value_of_a_study_cites_the_place_in_the_study() {
        let study = Document::from_bytes("s.yaml", b"axes:\n  - [1, 2]\n", "").unwrap();
        let value = study.root().get("axes").unwrap().as_sequence().unwrap()[0].as_sequence().unwrap()[1].clone();
        let mut document = document();
        let place = value.place.clone();
        document.apply_node("clock", value, &place).unwrap();
        assert_eq!(document.root().get("clock").unwrap().place.to_string(), "s.yaml:2:9");
    }

    #[test]
    fn an_assignment_is_split_at_its_first_equals_sign() {
        let flag = Place::flag("--set");
        assert_eq!(split_assignment("a.b = x=y", &flag), Ok(("a.b", "x=y")));
        assert_eq!(split_assignment("a=", &flag), Ok(("a", "")));
        for malformed in ["a.b", "=1", ""] {
            assert_eq!(split_assignment(malformed, &flag).unwrap_err().message(), "PATH=VALUE is expected");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_or_value_makes_the_override_panic(path in "[a-z0-9.\\[\\]]{0,20}|matrix_units[.\\[]\\PC{0,9}", value in "\\PC{0,20}") {
            let _ = applied(&path, &value);
        }
    }
}
