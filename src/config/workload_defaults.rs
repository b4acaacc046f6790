//! What a workload file says once for all of its tensors and layers.
//!
//! ```yaml
//! defaults:
//!   tensors: { generate: { distribution: normal, mean: 0, std: 0.02, seed: 1 } }   # or safetensors: FILE, or npy: FILE
//!   layers: { activate: { function: gelu } }
//! ```
//!
//! A key that a tensor or layer gives itself stands; those that it leaves out come from here, also within mappings and
//! within repeated blocks. Where its values come from is one choice: a tensor with a source of another kind takes no
//! source from here. A layer takes what is here under its own kind. Keys come with their place, so that a mistake in
//! them is cited here.

use serde::Deserialize;

use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::layers::LayerFile;
use crate::config::node::{Node, Value};
use crate::config::placed::Placed;
use crate::config::tensor_source::GenerateFile;

/// The section as written. It is read so that its keys are checked; what it says is taken from the tree.
#[derive(Deserialize)]
pub(crate) struct DefaultsFile {
    #[serde(rename = "tensors")]
    _tensors: Option<Placed<TensorDefaultsFile>>,
    layers: Option<Placed<LayerFile>>,
}

#[derive(Deserialize)]
pub(crate) struct TensorDefaultsFile {
    #[serde(rename = "safetensors")]
    _safetensors: Field<String>,
    #[serde(rename = "entry")]
    _entry: Field<String>,
    #[serde(rename = "npy")]
    _npy: Field<String>,
    #[serde(rename = "generate")]
    _generate: Option<Placed<GenerateFile>>,
}

/// Keys of which a tensor has one at most.
const SOURCES: [&str; 3] = ["safetensors", "npy", "generate"];

/// Refuses defaults for what makes a layer the one that it is.
///
/// # Errors
/// A name, a record or a block among the defaults of layers.
pub(crate) fn check(defaults: &Option<Placed<DefaultsFile>>) -> Result<(), Diagnostic> {
    let Some(layers) = defaults.as_ref().and_then(|defaults| defaults.layers.as_ref()) else { return Ok(()) };
    let of_one_layer = "this belongs to one layer and has no default";
    if let Some(repeat) = &layers.repeat {
        return Err(repeat.problem(of_one_layer));
    }
    [&layers.name, &layers.recorded_output]
        .into_iter()
        .find(|field| field.is_given())
        .map_or(Ok(()), |field| Err(field.problem(of_one_layer)))
}

/// The document with its defaults in all places that lack them.
pub(crate) fn filled_in(document: &Document) -> Document {
    let mut filled = document.clone();
    if let Some(defaults) = document.root().get("defaults") {
        fill_block(&mut filled.root, defaults);
    }
    filled
}

/// Fills the tensors and layers of a file or of a block, and those of the blocks in it.
fn fill_block(block: &mut Node, defaults: &Node) {
    let Value::Mapping(entries) = &mut block.value else { return };
    for (key, node) in entries {
        let Value::Sequence(items) = &mut node.value else { continue };
        match (&*key.text, defaults.get("tensors"), defaults.get("layers")) {
            ("tensors", Some(defaults), _) => items.iter_mut().for_each(|tensor| fill_tensor(tensor, defaults)),
            ("layers", _, of_layers) => {
                items.iter_mut().for_each(|layer| fill_layer(layer, of_layers, defaults));
            }
            _ => {}
        }
    }
}

fn fill_tensor(tensor: &mut Node, defaults: &Node) {
    let is_taken = |key: &str| match SOURCES.iter().find(|source| tensor.get(source).is_some()) {
        None => true,
        // An entry belongs to the file beside it.
        Some(given) => key == *given || (key == "entry" && *given == "safetensors"),
    };
    let Value::Mapping(entries) = &defaults.value else { return };
    let taken: Vec<_> = entries.iter().filter(|(key, _)| is_taken(&key.text)).cloned().collect();
    fill(tensor, &Node { place: defaults.place.clone(), value: Value::Mapping(taken) });
}

fn fill_layer(layer: &mut Node, of_layers: Option<&Node>, defaults: &Node) {
    let Value::Mapping(entries) = &mut layer.value else { return };
    for (key, node) in entries {
        if &*key.text == "repeat" {
            fill_block(node, defaults);
        } else if let Some(of_kind) = of_layers.and_then(|of_layers| of_layers.get(&key.text)) {
            fill(node, of_kind);
        }
    }
}

/// Adds to a mapping the keys that it lacks; does nothing to what is no mapping.
fn fill(target: &mut Node, defaults: &Node) {
    let (Value::Mapping(target), Value::Mapping(defaults)) = (&mut target.value, &defaults.value) else { return };
    for (key, default) in defaults {
        match target.iter_mut().find(|(known, _)| known.text == key.text) {
            Some((_, node)) => fill(node, default),
            None => target.push((key.clone(), default.clone())),
        }
    }
}
