//! Every shipped file is sound, and every key that a schema shows can be reached by its path.

use std::path::PathBuf;

use assert_cmd::Command;
use npusim::config::document::Document;
use npusim::config::node::{self, Node};
use npusim::config::schema::{SchemaKind, schema};
use npusim::config::source::Place;
use npusim::config::{presets, study};
use npusim::inputs::{Documents, Names};
use serde_json::Value;

/// Folders of the repository with files for users.
const FOLDERS: [&str; 7] = [
    "hw-configs",
    "hw-configs/energy",
    "workloads",
    "workloads/schemes",
    "workloads/studies",
    "starter",
    "examples/slurm",
];

#[test]
fn check_calls_every_shipped_file_sound() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let paths = entries.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")));
    }
    files.sort();
    let embedded = [presets::HARDWARE, presets::ENERGY_TABLES, presets::WORKLOADS, presets::SCHEMES];
    files.extend(embedded.iter().flat_map(|presets| presets.iter()).map(|preset| PathBuf::from(preset.name)));
    let checked = Command::new(env!("CARGO_BIN_EXE_npusim")).arg("check").args(&files).assert().success();
    let text = String::from_utf8(checked.get_output().stdout.clone()).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(": a sound ")).count(), files.len(), "{text}");
}

/// One step of a path in a schema.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Item,
    AnyKey,
}

/// Every value of a schema that is no list and no mapping, with its path and something that may stand there.
fn leaves(
    root: &Value,
    schema: &Value,
    path: &mut Vec<Step>,
    within: &mut Vec<String>,
    all: &mut Vec<(Vec<Step>, String)>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        // A layer may repeat layers: one round shows every key.
        if !within.iter().any(|name| name == reference) {
            within.push(reference.to_owned());
            let name = reference.strip_prefix("#/$defs/").unwrap();
            leaves(root, &root["$defs"][name], path, within, all);
            within.pop();
        }
        return;
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        leaves(root, choice, path, within, all);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        path.push(Step::Key(key.clone()));
        leaves(root, value, path, within, all);
        path.pop();
    }
    if schema["items"].is_object() {
        path.push(Step::Item);
        leaves(root, &schema["items"], path, within, all);
        path.pop();
    }
    if schema["additionalProperties"].is_object() {
        path.push(Step::AnyKey);
        leaves(root, &schema["additionalProperties"], path, within, all);
        path.pop();
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    let value = match (&schema["enum"], &schema["minimum"]) {
        (Value::Array(names), _) => names[0].as_str().unwrap().to_owned(),
        (_, Value::Number(least)) => least.to_string(),
        _ if types.contains(&"boolean") => "true".to_owned(),
        _ if types.iter().any(|kind| matches!(*kind, "integer" | "number")) => "1".to_owned(),
        _ if types.contains(&"string") => "x".to_owned(),
        _ => return,
    };
    all.push((path.clone(), value));
}

/// `PATH` and `VALUE` that set the leaf at `steps`: an item of a list that `root` has is named by its number, a list that
/// it lacks is written out, and a value that is there is set again. Also how many of the steps are there already.
fn assignment(root: &Node, steps: &[Step], value: &str) -> (String, String, usize) {
    let written_out = |steps: &[Step]| {
        steps.iter().rev().fold(value.to_owned(), |inner, step| match step {
            Step::Key(key) => format!("{{{key}: {inner}}}"),
            Step::AnyKey => format!("{{any: {inner}}}"),
            Step::Item => format!("[{inner}]"),
        })
    };
    let mut path = Vec::new();
    let mut node = Some(root);
    for (depth, step) in steps.iter().enumerate() {
        let (text, next) = match (step, node.map(|node| &node.value)) {
            (Step::Key(key), _) => (key.clone(), node.and_then(|node| node.get(key))),
            (Step::AnyKey, _) => ("any".to_owned(), None),
            (Step::Item, Some(node::Value::Sequence(items))) if !items.is_empty() => {
                // The item that already leads on.
                let leads_on = |item: &Node| match steps.get(depth + 1) {
                    Some(Step::Key(key)) => item.get(key).is_some(),
                    _ => false,
                };
                let index = items.iter().position(leads_on).unwrap_or(0);
                (index.to_string(), Some(&items[index]))
            }
            (Step::Item, _) => return (path.join("."), written_out(&steps[depth..]), depth),
        };
        if let (Some(node::Value::Scalar(_)), Some(_)) = (node.map(|node| &node.value), steps.get(depth)) {
            // The short form: the mapping is written instead.
            return (path.join("."), written_out(&steps[depth..]), depth);
        }
        path.push(text);
        node = next;
    }
    let there = node.and_then(Node::as_scalar).filter(|scalar| !scalar.is_null());
    let depth = steps.len() - usize::from(there.is_none());
    // Text that is more than a word needs its quotes again.
    let is_word = |text: &str| text.chars().all(|letter| letter.is_alphanumeric() || "._-+/ ".contains(letter));
    let again = |text: &str| if is_word(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) };
    (path.join("."), there.map_or(value.to_owned(), |scalar| again(&scalar.text)), depth)
}

/// Sets every leaf of `kind` in the document that has most of its path, and hands the outcome to a judgement.
fn set_every_key(kind: SchemaKind, bases: &[Document], set: impl Fn(usize, &str, &str) -> Result<(), String>) {
    let root: Value = serde_json::from_str(&schema(kind)).unwrap();
    let mut all = Vec::new();
    leaves(&root, &root, &mut Vec::new(), &mut Vec::new(), &mut all);
    let mut accepted = 0;
    let mut wrong = Vec::new();
    for (steps, value) in &all {
        let choices =
            bases.iter().enumerate().map(|(base, document)| (base, assignment(document.root(), steps, value)));
        let (base, (path, value, depth)) = choices.max_by_key(|(_, (.., depth))| *depth).unwrap();
        let key = steps.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            _ => None,
        });
        let key = key.unwrap();
        match set(base, &path, &value) {
            Ok(()) => accepted += 1,
            Err(text) => {
                // The flag, or a key on the way: what the value does not go together with may be written elsewhere.
                let mut keys = path.split('.').filter(|step| step.parse::<usize>().is_err());
                let is_cited = text.contains(&format!("--set {path}")) || keys.any(|key| text.contains(key));
                let is_unknown =
                    text.contains(&format!("unknown key \"{key}\"")) || text.contains("no file of this run");
                if !is_cited || is_unknown || depth == steps.len() {
                    wrong.push(format!("{path}={value}: {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{kind:?}:\n{}", wrong.join("\n"));
    assert!(accepted * 4 > all.len(), "{kind:?}: {accepted} of {} keys take a value of their schema", all.len());
}

#[test]
fn every_key_of_a_schema_is_known_to_set() {
    let documents = |presets: &[presets::Preset], open: fn(&str) -> Result<Document, _>| -> Vec<Document> {
        presets.iter().map(|preset| open(preset.name).unwrap()).collect()
    };
    let run = |names: Names<'_>, path: &str, value: &str| {
        let mut documents = Documents::open(names).map_err(|error| error.to_string())?;
        documents.set(&format!("{path}={value}")).map_err(|error| error.to_string())?;
        documents.resolve().map(drop).map_err(|error| error.to_string())
    };
    let usual = Names { hardware: "edge-int8", workload: "minilm-layer", scheme: "w8a8_per_tensor" };
    set_every_key(SchemaKind::Hardware, &documents(presets::HARDWARE, presets::open_hardware), |base, path, value| {
        run(Names { hardware: presets::HARDWARE[base].name, ..usual }, &format!("hardware.{path}"), value)
    });
    set_every_key(SchemaKind::Workload, &documents(presets::WORKLOADS, presets::open_workload), |base, path, value| {
        run(Names { workload: presets::WORKLOADS[base].name, ..usual }, &format!("workload.{path}"), value)
    });
    set_every_key(SchemaKind::Scheme, &documents(presets::SCHEMES, presets::open_scheme), |base, path, value| {
        run(Names { scheme: presets::SCHEMES[base].name, ..usual }, &format!("scheme.{path}"), value)
    });
    // Keys that one kind alone has need no word before them.
    for (path, value) in [("groups.format", "int4"), ("assumed_channels", "4"), ("mapping.split", "k")] {
        let outcome = run(Names { scheme: "int4_g32", ..usual }, path, value);
        assert!(!outcome.as_ref().is_err_and(|text| text.contains("no file of this run")), "{path}: {outcome:?}");
    }
    let text = "name: s\nhardware: edge-int8\nworkload: minilm-layer\nscheme: fp16\nset: [{ path: clock, value: 1 GHz }]\n\
                parameters: [{ name: a, path: clock, range: { from: 1, to: 4, step: 1 } }]\n\
                objectives: [{ metric: cycles }]\nconstraints: [{ metric: cycles, at_most: 4 }]\n";
    let base = Document::from_bytes("s.yaml", text.as_bytes(), "").unwrap();
    set_every_key(SchemaKind::Study, std::slice::from_ref(&base), |_, path, value| {
        let mut changed = base.clone();
        let flag = Place::flag(format!("--set {path}={value}"));
        changed.apply(path, value, &flag).map_err(|error| error.to_string())?;
        study::resolve(&changed).map(drop).map_err(|error| error.to_string())
    });
}
