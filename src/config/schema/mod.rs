//! JSON Schemas (draft 2020-12) of the input files, for editors: keys with their descriptions, units and ranges.
//!
//! The keys and kinds of values come from the structs that read the files (`trace`); descriptions and ranges stand in
//! `notes`, and tests hold those to what the resolvers say. What a schema leaves to `npusim check`: which keys must be
//! there, and whatever depends on other values.

mod notes;
mod scheme_notes;
mod study_notes;
mod trace;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::config::kinds::FileKind;
use notes::{Limit, Note};
use trace::{Form, Struct};

/// A kind of file that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// Accelerators.
    Hardware,
    /// Workloads.
    Workload,
    /// Quantization schemes.
    Scheme,
    /// Energy tables.
    Energy,
    /// Studies.
    Study,
}

impl SchemaKind {
    /// Every kind.
    pub const ALL: [SchemaKind; 5] =
        [SchemaKind::Hardware, SchemaKind::Workload, SchemaKind::Scheme, SchemaKind::Energy, SchemaKind::Study];

    /// The name on the command line, and of the shipped file `schemas/NAME.json`.
    pub fn name(self) -> &'static str {
        match self {
            SchemaKind::Hardware => "hardware",
            SchemaKind::Workload => "workload",
            SchemaKind::Scheme => "scheme",
            SchemaKind::Energy => "energy",
            SchemaKind::Study => "study",
        }
    }

    /// The kind of file that it is of.
    pub fn file(self) -> FileKind {
        match self {
            SchemaKind::Hardware => FileKind::Hardware,
            SchemaKind::Workload => FileKind::Workload,
            SchemaKind::Scheme => FileKind::Scheme,
            SchemaKind::Energy => FileKind::EnergyTable,
            SchemaKind::Study => FileKind::Study,
        }
    }

    fn form(self) -> Form {
        self.file().form()
    }

    fn notes(self) -> Vec<Note> {
        match self {
            SchemaKind::Hardware => notes::hardware(),
            SchemaKind::Workload => notes::workload(),
            SchemaKind::Scheme => scheme_notes::scheme(),
            SchemaKind::Energy => notes::energy(""),
            SchemaKind::Study => study_notes::study(),
        }
    }
}

/// The form of a file type, for the modules that know their own.
pub(crate) use trace::form_of;

/// The type that says what a file may hold.
pub(crate) type FileForm = Form;

/// The schema of a kind of file, as text that ends in a line break.
pub fn schema(kind: SchemaKind) -> String {
    let notes = kind.notes();
    let mut writer = Writer { notes: &notes, recursive: BTreeSet::new(), definitions: Map::new() };
    let form = kind.form();
    writer.find_recursion(&form);
    let mut root = writer.value(&form, "");
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!(format!("{} file of npusim", kind.name())));
    if !writer.definitions.is_empty() {
        root.insert("$defs".to_owned(), Value::Object(writer.definitions));
    }
    let text = serde_json::to_string_pretty(&root).expect("a schema has string keys and plain values");
    format!("{text}\n")
}

struct Writer<'n> {
    notes: &'n [Note],
    recursive: BTreeSet<&'static str>,
    definitions: Map<String, Value>,
}

impl Writer<'_> {
    fn find_recursion(&mut self, form: &Form) {
        match form {
            Form::Leaf(_) => {}
            Form::Recursion(name) => drop(self.recursive.insert(name)),
            Form::List(item) | Form::OneOrMany(item) | Form::Map(item) => self.find_recursion(item),
            Form::Struct(of) => of.fields.iter().for_each(|(_, form)| self.find_recursion(form)),
        }
    }

    fn value(&mut self, form: &Form, path: &str) -> Map<String, Value> {
        let mut schema = match form {
            Form::Leaf(expected) => leaf(expected),
            Form::List(item) => object(json!({ "type": "array", "items": self.value(item, &format!("{path}[]")) })),
            Form::OneOrMany(item) => {
                let item = self.value(item, path);
                object(json!({ "anyOf": [item, { "type": "array", "items": item }] }))
            }
            Form::Map(item) => {
                object(json!({ "type": "object", "additionalProperties": self.value(item, &format!("{path}.*")) }))
            }
            Form::Recursion(name) => object(json!({ "$ref": format!("#/$defs/{name}") })),
            Form::Struct(of) if self.recursive.contains(of.name) => {
                if !self.definitions.contains_key(of.name) {
                    self.definitions.insert(of.name.to_owned(), Value::Null);
                    let definition = self.mapping(of, path);
                    self.definitions.insert(of.name.to_owned(), Value::Object(definition));
                }
                object(json!({ "$ref": format!("#/$defs/{}", of.name) }))
            }
            Form::Struct(of) => self.mapping(of, path),
        };
        if let Some(note) = self.notes.iter().find(|note| note.path == path) {
            schema.insert("description".to_owned(), json!(note.text));
            match &note.limit {
                Limit::None => {}
                Limit::Whole(least, most) => {
                    schema.insert("minimum".to_owned(), json!(least));
                    schema.insert("maximum".to_owned(), json!(most));
                }
                Limit::Decimal(least, most) => {
                    schema.insert("minimum".to_owned(), json!(least));
                    schema.insert("maximum".to_owned(), json!(most));
                }
                Limit::Names(names) => drop(schema.insert("enum".to_owned(), json!(names))),
                Limit::OrName => schema = or_single_value(schema),
            }
        }
        schema
    }

    fn mapping(&mut self, of: &Struct, path: &str) -> Map<String, Value> {
        let dot = if path.is_empty() { "" } else { "." };
        let properties: Map<String, Value> = of
            .fields
            .iter()
            .map(|(name, form)| ((*name).to_owned(), Value::Object(self.value(form, &format!("{path}{dot}{name}")))))
            .collect();
        let first = of.fields.first().map(|(name, _)| properties[*name].clone());
        let mapping = object(json!({ "type": "object", "properties": properties, "additionalProperties": false }));
        match first.filter(|_| of.has_short_form) {
            Some(first) => object(json!({ "anyOf": [first, mapping] })),
            None => mapping,
        }
    }
}

/// The mapping, or the name of something that stands for it.
fn or_single_value(mut mapping: Map<String, Value>) -> Map<String, Value> {
    let description = mapping.remove("description");
    object(json!({ "description": description, "anyOf": [{ "type": "string" }, mapping] }))
}

fn leaf(expected: &str) -> Map<String, Value> {
    object(match expected {
        "a whole number" | "a whole number (negative ones too)" => json!({ "type": "integer" }),
        "a decimal number" => json!({ "type": "number" }),
        "true or false" => json!({ "type": "boolean" }),
        "text" | "a path" => json!({ "type": "string" }),
        "a value" => json!({ "type": ["string", "number", "boolean"] }),
        // Sizes, rates, frequencies: a number or a text with a unit.
        _ => json!({ "type": ["number", "string"] }),
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("written as a mapping: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::node::{self, Node};
    use crate::config::presets::{self, Preset};
    use crate::config::{hardware, scheme, workload};

    fn parsed(kind: SchemaKind) -> Value {
        serde_json::from_str(&schema(kind)).unwrap()
    }

    /// Every path of a form that may hold a value, a list or a mapping with a meaning of its own.
    fn paths(form: &Form, path: &str, all: &mut BTreeSet<String>) {
        match form {
            Form::Leaf(_) | Form::Recursion(_) => {}
            Form::OneOrMany(item) => paths(item, path, all),
            Form::List(item) | Form::Map(item) => paths(item, &format!("{path}[]"), all),
            Form::Struct(of) => {
                for (name, form) in &of.fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{name}");
                    paths(form, &path, all);
                    all.insert(path);
                }
            }
        }
    }

    #[test]
    fn every_key_that_a_reader_knows_is_described_and_no_other() {
        for kind in SchemaKind::ALL {
            let mut known = BTreeSet::new();
            paths(&kind.form(), "", &mut known);
            let described: BTreeSet<String> = kind.notes().iter().map(|note| note.path.clone()).collect();
            let missing: Vec<_> = known.difference(&described).collect();
            let stale: Vec<_> = described.difference(&known).collect();
            assert!(missing.is_empty() && stale.is_empty(), "{kind:?}: without a note {missing:?}, stale {stale:?}");
            assert_eq!(kind.notes().len(), described.len(), "a key is described once");
        }
    }

    #[test]
    fn every_description_is_a_sentence() {
        for note in SchemaKind::ALL.into_iter().flat_map(SchemaKind::notes) {
            assert!(note.text.ends_with('.') && note.text.starts_with(|c: char| c.is_uppercase()), "{}", note.path);
        }
    }

    /// Whether `value` has the form that `schema` says; only what our schemas use is understood.
    fn validate(root: &Value, schema: &Value, value: &Node, path: &str) -> Result<(), String> {
        let schema = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => &root["$defs"][reference.strip_prefix("#/$defs/").unwrap()],
            None => schema,
        };
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            let failures: Vec<_> = any.iter().filter_map(|it| validate(root, it, value, path).err()).collect();
            return if failures.len() < any.len() { Ok(()) } else { Err(failures.join(" and ")) };
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => vec![one.as_str().unwrap()],
        };
        match &value.value {
            node::Value::Mapping(entries) if types.contains(&"object") => entries.iter().try_for_each(|(key, node)| {
                let path = format!("{path}.{}", key.text);
                let schema = schema["properties"].get(&*key.text).unwrap_or(&schema["additionalProperties"]);
                match schema {
                    Value::Bool(false) | Value::Null => Err(format!("{path} is unknown")),
                    schema => validate(root, schema, node, &path),
                }
            }),
            node::Value::Sequence(items) if types.contains(&"array") => {
                items.iter().try_for_each(|item| validate(root, &schema["items"], item, path))
            }
            node::Value::Scalar(scalar) => {
                let text = &*scalar.text;
                let number = text.parse::<f64>().ok().filter(|_| !scalar.quoted);
                let fits = types.iter().any(|kind| match *kind {
                    "integer" => number.is_some_and(|number| number.fract() == 0.0),
                    "number" => number.is_some(),
                    "boolean" => matches!(text, "true" | "false"),
                    "string" => number.is_none(),
                    _ => false,
                });
                let is_named =
                    schema.get("enum").and_then(Value::as_array).is_none_or(|names| names.iter().any(|it| it == text));
                let is_in_range = number.is_none_or(|number| {
                    schema["minimum"].as_f64().is_none_or(|least| number >= least)
                        && schema["maximum"].as_f64().is_none_or(|most| number <= most)
                });
                if fits && is_named && is_in_range {
                    Ok(())
                } else {
                    Err(format!("{path}: {text} does not fit {schema}"))
                }
            }
            _ => Err(format!("{path}: {} does not fit {schema}", value.kind())),
        }
    }

    const PRESETS: [(SchemaKind, &[Preset]); 4] = [
        (SchemaKind::Hardware, presets::HARDWARE),
        (SchemaKind::Workload, presets::WORKLOADS),
        (SchemaKind::Scheme, presets::SCHEMES),
        (SchemaKind::Energy, presets::ENERGY_TABLES),
    ];

    #[test]
    fn every_shipped_file_fits_the_schema_that_it_names() {
        for (kind, presets) in PRESETS {
            let schema = parsed(kind);
            for preset in presets {
                let document = Document::built_in(preset.name, preset.text()).unwrap();
                validate(&schema, &schema, document.root(), preset.name).unwrap();
                let line = preset.text().lines().find(|line| line.starts_with("# yaml-language-server: $schema="));
                let line = line.unwrap_or_else(|| panic!("{} does not name its schema for editors", preset.name));
                assert!(line.ends_with(&format!("/schemas/{}.json", kind.name())), "{}: {line}", preset.name);
            }
        }
    }

    #[test]
    fn a_schema_finds_unknown_keys_wrong_kinds_and_values_out_of_range() {
        let schema = parsed(SchemaKind::Hardware);
        let text = presets::HARDWARE.iter().find(|preset| preset.name == "edge-int8").expect("it is built in").text();
        for (right, wrong) in [
            ("launch_cycles: 4", "lunch_cycles: 4"),
            ("rows: 32", "rows: wide"),
            ("rows: 32", "rows: 0"),
            ("dataflow: weight_stationary", "dataflow: weight"),
            ("double_buffered: true", "double_buffered: maybe"),
        ] {
            assert!(text.contains(right));
            let document = Document::built_in("wrong", &text.replacen(right, wrong, 1)).unwrap();
            assert!(validate(&schema, &schema, document.root(), "").is_err(), "{wrong}");
        }
    }

    /// The resolvers say what they allow when they are given something else: held to the ranges and names here.
    #[test]
    fn ranges_and_names_are_those_of_the_resolvers() {
        use crate::config::defaults::Defaults;
        use crate::config::source::Place;
        let mut held = 0;
        let differing = std::cell::RefCell::new(Vec::new());
        let mut hold = |kind: SchemaKind, document: &Document, resolve: &dyn Fn(&Document) -> Option<String>| {
            for note in kind.notes() {
                let path = note.path.replace("[]", ".0");
                let wrong = match &note.limit {
                    Limit::Whole(..) | Limit::Decimal(..) => "18446744073709551615",
                    Limit::Names(_) => "no-such-name",
                    Limit::None | Limit::OrName => continue,
                };
                let steps = |node: &Node| {
                    path.split('.').try_fold(node.clone(), |node, step| match &node.value {
                        node::Value::Sequence(items) => items.get(step.parse::<usize>().ok()?).cloned(),
                        _ => node.get(step).cloned(),
                    })
                };
                if steps(document.root()).is_none() {
                    continue;
                }
                let mut changed = document.clone();
                changed.apply(&path, wrong, &Place::flag("--set")).unwrap();
                let message = resolve(&changed).unwrap_or_default();
                let allowed = match &note.limit {
                    Limit::Whole(least, most) => format!("allowed: {least} to {most}"),
                    Limit::Decimal(least, most) => format!("{least} to {most}"),
                    Limit::Names(names) => names.first().copied().unwrap_or_default().to_owned(),
                    Limit::None | Limit::OrName => unreachable!("passed over"),
                };
                if !message.contains(&allowed) {
                    differing.borrow_mut().push(format!("{path}={wrong}: {allowed}: {message}"));
                }
                held += 1;
            }
        };
        let hardware =
            |document: &Document| hardware::resolve(document, &mut Defaults::default()).err().map(|it| it.to_string());
        for preset in presets::HARDWARE {
            hold(SchemaKind::Hardware, &presets::open_hardware(preset.name).unwrap(), &hardware);
        }
        let workload = |document: &Document| workload::resolve(document).err().map(|it| it.to_string());
        for preset in presets::WORKLOADS {
            hold(SchemaKind::Workload, &presets::open_workload(preset.name).unwrap(), &workload);
        }
        let scheme = |document: &Document| scheme::resolve(document).err().map(|it| it.to_string());
        for preset in presets::SCHEMES {
            hold(SchemaKind::Scheme, &presets::open_scheme(preset.name).unwrap(), &scheme);
        }
        assert!(held > 20, "{held}");
        assert!(differing.borrow().is_empty(), "{}", differing.borrow().join("\n"));
    }
}
