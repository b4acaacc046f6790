//! Blocks of layers that repeat: written once, with a name of its own for each repetition.
//!
//! ```yaml
//! layers:
//!   - name: block
//!     repeat:
//!       count: 12
//!       input: x                # what `previous` is in the first repetition
//!       output: fc2             # what `previous` is in the next one; the last layer, if left out
//!       tensors:
//!         - { name: fc1.w, shape: [768, 3072] }                      # block.0.fc1.w, block.1.fc1.w, ..
//!       layers:
//!         - name: fc1                                                # block.0.fc1, block.1.fc1, ..
//!           gemm: { input: previous, weight: fc1.w }
//! ```
//!
//! Within the block its own names come first, then those around it. Outside, `block` is the output of the last
//! repetition. `{block}` in the path or the entry of a tensor is the number of the repetition, from 0; an entry that is
//! left out is the whole name of the tensor. Blocks may hold blocks.

use serde::Deserialize;

use crate::config::checks::{plain_name, unique_names};
use crate::config::diagnostics::{Cited, Diagnostic, Problems, listed, quoted};
use crate::config::field::Field;
use crate::config::layers::{LayerFile, check_kind};
use crate::config::placed::{List, Placed};
use crate::config::scopes::{ScopeId, Scopes};
use crate::config::workload::TensorFile;
use crate::workload::layer::{LayerId, ValueRef};
use crate::workload::tensor_description::SourceTensorId;

/// The most layers of a workload, repetitions included.
pub(crate) const MOST_LAYERS: usize = 1 << 16;
/// The most tensors of a workload, repetitions included.
const MOST_TENSORS: usize = 1 << 18;
/// The name of the value that one repetition hands to the next.
const PREVIOUS: &str = "previous";

/// A block as written.
#[derive(Deserialize)]
pub(crate) struct RepeatFile {
    count: Field<u64>,
    input: Field<String>,
    output: Field<String>,
    tensors: Option<List<Placed<TensorFile>>>,
    layers: List<Placed<LayerFile>>,
}

/// Every tensor and layer of a workload, repetitions included, in the order of the text and of the repetitions.
pub(crate) struct Expanded<'f> {
    pub(crate) tensors: Vec<Instance<'f, TensorFile>>,
    pub(crate) layers: Vec<Instance<'f, LayerFile>>,
    pub(crate) scopes: Scopes,
}

/// One repetition of something written.
pub(crate) struct Instance<'f, T> {
    /// The name with those of the blocks around it, such as `block.3.fc1`.
    pub(crate) name: String,
    /// What was written.
    pub(crate) written: &'f Placed<T>,
    /// Which repetition of the blocks around it this is.
    pub(crate) repetition: Repetition,
    /// The names that it can use.
    pub(crate) scope: ScopeId,
}

/// Blocks and the numbers of their repetitions, from the outermost one on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repetition(Vec<(String, u64)>);

impl Repetition {
    fn prefixed(&self, name: &str) -> String {
        let prefix: String = self.0.iter().map(|(block, number)| format!("{block}.{number}.")).collect();
        prefix + name
    }

    /// `text`, which stands in `cited`, with the number of the repetition in the place of each `{block}`.
    ///
    /// Outside of blocks braces are letters like others.
    ///
    /// # Errors
    /// Braces hold something else than the name of a block around them.
    pub(crate) fn fill_in(&self, text: &str, cited: &impl Cited) -> Result<String, Diagnostic> {
        if self.0.is_empty() {
            return Ok(text.to_owned());
        }
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let Some((_, number)) = self.0.iter().find(|(block, _)| block == name) else {
                let names = listed(self.0.iter().map(|(block, _)| block.as_str()));
                return Err(cited.problem(format!("no block called {} is around this", quoted(name))).note(format!(
                    "in braces stands the name of a block, which becomes the number of its repetition: {names}"
                )));
            };
            filled.push_str(before);
            filled.push_str(&number.to_string());
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Writes out every repetition. What is wrong with the blocks themselves is noted in `problems`, once for each line.
pub(crate) fn expand<'f>(
    tensors: &'f List<Placed<TensorFile>>,
    layers: &'f List<Placed<LayerFile>>,
    problems: &mut Problems,
) -> Expanded<'f> {
    let expanded = Expanded { tensors: Vec::new(), layers: Vec::new(), scopes: Scopes::default() };
    let mut expander = Expander { expanded, inputs: Vec::new(), problems, is_too_large: false };
    let file = expander.expanded.scopes.open(None);
    expander.block(Some(tensors), layers, file, &Repetition::default());
    // From the outside in, so that an `input: previous` finds the value of the block around it.
    for (scope, around, input) in std::mem::take(&mut expander.inputs) {
        let value = expander.expanded.scopes.values(around).value(input);
        if let Some(value) = expander.problems.take(value) {
            expander.expanded.scopes.define(scope, PREVIOUS, value);
        }
    }
    expander.expanded
}

struct Expander<'f, 'p> {
    expanded: Expanded<'f>,
    /// The scope of each first repetition, the scope around it, and what it starts from there.
    inputs: Vec<(ScopeId, ScopeId, &'f Field<String>)>,
    problems: &'p mut Problems,
    is_too_large: bool,
}

impl<'f> Expander<'f, '_> {
    /// Adds the tensors and layers of one repetition, and returns its last layer's value.
    fn block(
        &mut self,
        tensors: Option<&'f List<Placed<TensorFile>>>,
        layers: &'f List<Placed<LayerFile>>,
        scope: ScopeId,
        repetition: &Repetition,
    ) -> Option<ValueRef> {
        let tensors = || tensors.into_iter().flatten();
        let is_first = repetition.0.iter().all(|(_, number)| *number == 0);
        if is_first {
            let names = tensors().map(|tensor| &tensor.name).chain(layers.iter().map(|layer| &layer.name));
            self.problems.take(unique_names(names));
            self.problems.take(layers.at_least_one());
            let names = tensors().map(|tensor| &tensor.name).chain(layers.iter().map(|layer| &layer.name));
            let is_reserved = |name: &&Field<String>| name.required().text().is_ok_and(|name| name == PREVIOUS);
            for name in names.filter(|_| !repetition.0.is_empty()).filter(is_reserved) {
                let message = "in a block this is the name of what comes from the repetition before";
                self.problems.push(name.problem(message).help("choose another name"));
            }
        }
        for written in tensors() {
            let name = written.name.required().text().unwrap_or_default();
            let id = SourceTensorId(self.expanded.tensors.len());
            self.expanded.scopes.define(scope, &name, ValueRef::Source(id));
            let name = repetition.prefixed(&name);
            self.expanded.tensors.push(Instance { name, written, repetition: repetition.clone(), scope });
        }
        let mut last = None;
        for written in layers {
            let name = written.name.required().text().unwrap_or_default();
            last = match &written.repeat {
                Some(repeat) => {
                    if is_first {
                        self.check_block(written);
                    }
                    self.repeat(repeat, &name, scope, repetition, is_first)
                }
                None => {
                    let id = LayerId(self.expanded.layers.len());
                    let name = repetition.prefixed(&name);
                    self.expanded.layers.push(Instance { name, written, repetition: repetition.clone(), scope });
                    Some(ValueRef::Layer(id))
                }
            };
            if let Some(value) = last {
                self.expanded.scopes.define(scope, &name, value);
            }
        }
        let (layers_now, tensors_now) = (self.expanded.layers.len(), self.expanded.tensors.len());
        if (layers_now > MOST_LAYERS || tensors_now > MOST_TENSORS) && !self.is_too_large {
            self.is_too_large = true;
            let (count, what, most) = match layers_now > MOST_LAYERS {
                true => (layers_now, "layers", MOST_LAYERS),
                false => (tensors_now, "tensors", MOST_TENSORS),
            };
            let problem = layers.problem(format!("{count} {what} are too many"));
            self.problems.push(problem.note(format!("allowed: up to {most}, repetitions included")));
        }
        last
    }

    fn check_block(&mut self, written: &Placed<LayerFile>) {
        self.problems.take(plain_name(&written.name));
        self.problems.take(check_kind(written));
        if written.recorded_output.is_given() {
            let problem = written.recorded_output.problem("a block has no record of its own");
            self.problems.push(problem.help("give it to the layer of the block whose output was recorded"));
        }
    }

    /// Adds all repetitions of a block, and returns the output of the last one.
    fn repeat(
        &mut self,
        repeat: &'f Placed<RepeatFile>,
        name: &str,
        around: ScopeId,
        repetition: &Repetition,
        is_first: bool,
    ) -> Option<ValueRef> {
        let count = repeat.count.required().in_range(1..=MOST_LAYERS as u64);
        let count = if is_first { self.problems.take(count) } else { count.ok() }.unwrap_or(1);
        let mut output = None;
        for number in 0..count {
            let layers_before = self.expanded.layers.len();
            let scope = self.expanded.scopes.open(Some(around));
            match output {
                Some(value) if number > 0 => self.expanded.scopes.define(scope, PREVIOUS, value),
                _ if repeat.input.is_given() => self.inputs.push((scope, around, &repeat.input)),
                _ => {}
            }
            let mut inner = repetition.clone();
            inner.0.push((name.to_owned(), number));
            let last = self.block(repeat.tensors.as_ref(), &repeat.layers, scope, &inner);
            output = match repeat.output.optional() {
                None => last,
                Some(reading) => {
                    let local = reading.text().ok().and_then(|name| self.expanded.scopes.local(scope, &name));
                    if local.is_none() && is_first && number == 0 {
                        let names = repeat.layers.iter().filter_map(|layer| layer.name.required().text().ok());
                        let names: Vec<String> = names.collect();
                        let problem = repeat.output.problem("this is no layer of the block");
                        let known = listed(names.iter().map(String::as_str));
                        self.problems.push(problem.note(format!("its layers: {known}")));
                    }
                    local
                }
            };
            // A block without layers is a mistake that has been noted, and nothing would end its repetitions.
            if self.is_too_large || self.expanded.layers.len() == layers_before {
                break;
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use crate::config::diagnostics::ConfigError;
    use crate::config::document::Document;
    use crate::config::tensors::{Generated, load};
    use crate::config::workload;
    use crate::workload::graph::Workload;
    use crate::workload::layer::{LayerOperation, ValueRef};
    use crate::workload::tensor_description::TensorSource;

    /// The linear layers of GPT-2 (124 million parameters): 12 blocks, 768 channels, 3072 in the MLP (Radford et al.,
    /// 2019, table 2, and the published configuration).
    const GPT2: &str = "\
name: gpt2
activation_format: fp32
defaults:
  tensors: { safetensors: model.safetensors }
tensors:
  - { name: x, shape: [1024, 768], npy: x.npy }
layers:
  - name: block
    repeat:
      count: 12
      input: x
      tensors:
        - { name: qkv.w, shape: [768, 2304], entry: \"h.{block}.attn.c_attn.weight\" }
        - { name: out.w, shape: [768, 768] }
        - { name: fc1.w, shape: [768, 3072] }
        - { name: fc2.w, shape: [3072, 768] }
      layers:
        - { name: qkv, gemm: { input: previous, weight: qkv.w } }
        - { name: out, gemm: { input: previous, weight: out.w } }
        - { name: fc1, gemm: { input: out, weight: fc1.w } }
        - { name: gelu, activate: { input: fc1, function: gelu_tanh } }
        - { name: fc2, gemm: { input: gelu, weight: fc2.w } }
  - { name: last, activate: { input: block, function: relu } }
";

    fn resolved(text: &str) -> Result<Workload, ConfigError> {
        let document = Document::from_bytes("w.yaml", text.as_bytes(), "models").unwrap();
        workload::resolve(&document).map(|(workload, _)| workload)
    }

    /// Names of the layers, each with the name of what it reads.
    fn edges(workload: &Workload) -> Vec<(String, String)> {
        let name = |value: ValueRef| match value {
            ValueRef::Source(id) => workload.tensor(id).name.clone(),
            ValueRef::Layer(id) => workload.layer(id).name.clone(),
        };
        workload.layers().iter().map(|layer| (layer.name.clone(), name(layer.inputs()[0]))).collect()
    }

    fn errors(text: &str) -> Vec<String> {
        let error = resolved(text).unwrap_err();
        let shown = |it: &crate::config::diagnostics::Diagnostic| format!("{}: {}", it.place(), it.message());
        error.diagnostics().iter().map(shown).collect()
    }

    #[test]
    fn twelve_blocks_of_gpt_2_are_one_block_of_text() {
        let workload = resolved(GPT2).unwrap();
        assert_eq!(workload.layers().len(), 12 * 5 + 1);
        assert_eq!(workload.tensors().len(), 12 * 4 + 1);
        // Per block 3 + 1 + 4 + 4 products of 768 x 768 on 1024 tokens.
        assert_eq!(workload.macs(), 12 * 1024 * 12 * 768 * 768);
        let edges = edges(&workload);
        let edge = |name: &str| edges.iter().find(|(layer, _)| layer == name).unwrap().1.as_str();
        assert_eq!(edge("block.0.qkv"), "x");
        assert_eq!(edge("block.1.qkv"), "block.0.fc2");
        assert_eq!(edge("block.11.fc1"), "block.11.out");
        assert_eq!(edge("last"), "block.11.fc2");
        let weight = |name: &str| {
            let layer = workload.layers().iter().find(|layer| layer.name == name).unwrap();
            let LayerOperation::Gemm(gemm) = &layer.operation else { panic!("{name} is a product") };
            let ValueRef::Source(weight) = gemm.weight else { panic!("{name} has a weight of the file") };
            workload.tensor(weight).clone()
        };
        assert_eq!(weight("block.7.out").name, "block.7.out.w");
        let entry = |name: &str| match weight(name).source {
            Some(TensorSource::Safetensors { file, entry }) => (file.display().to_string(), entry),
            other => panic!("{other:?}"),
        };
        let file = std::path::Path::new("models").join("model.safetensors").display().to_string();
        assert_eq!(entry("block.7.qkv"), (file.clone(), "h.7.attn.c_attn.weight".to_owned()));
        assert_eq!(entry("block.7.out"), (file, "block.7.out.w".to_owned()));
        assert!(matches!(workload.tensors()[0].source, Some(TensorSource::Npy { .. })), "its own source stands");
    }

    #[test]
    fn a_block_may_hold_blocks_and_hand_on_another_layer_than_its_last() {
        let text = "\
name: nested
activation_format: fp32
tensors: [{ name: x, shape: [2, 2] }]
layers:
  - name: outer
    repeat:
      count: 2
      input: x
      output: inner
      layers:
        - name: inner
          repeat: { count: 2, input: previous, layers: [{ name: a, activate: { input: previous, function: relu } }] }
        - { name: side, activate: { input: inner, function: relu } }
";
        let expected = [
            ("outer.0.inner.0.a", "x"),
            ("outer.0.inner.1.a", "outer.0.inner.0.a"),
            ("outer.0.side", "outer.0.inner.1.a"),
            ("outer.1.inner.0.a", "outer.0.inner.1.a"),
            ("outer.1.inner.1.a", "outer.1.inner.0.a"),
            ("outer.1.side", "outer.1.inner.1.a"),
        ];
        assert_eq!(edges(&resolved(text).unwrap()), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_mistake_in_a_block_is_cited_once_for_all_repetitions() {
        let unknown = GPT2.replace("input: gelu,", "input: gello,");
        assert_eq!(errors(&unknown), ["w.yaml:22:39: there is no tensor or layer called \"gello\""]);
        let twice = GPT2.replace("name: fc1,", "name: out,");
        assert!(errors(&twice)[0].starts_with("w.yaml:20:19: the name \"out\" is used twice"), "{:?}", errors(&twice));
        let shape = GPT2.replace("[768, 3072]", "[0, 3072]");
        assert_eq!(errors(&shape), ["w.yaml:15:34: 0 is out of range"]);
        let braces = GPT2.replace("h.{block}.", "h.{blok}.");
        assert_eq!(errors(&braces), ["w.yaml:13:53: no block called \"blok\" is around this"]);
        let start = GPT2.replace("      input: x\n", "");
        assert_eq!(errors(&start).len(), 2, "{:?}", errors(&start));
        let output = GPT2.replace("input: x\n", "input: x\n      output: fc3\n");
        assert_eq!(errors(&output)[0], "w.yaml:12:15: this is no layer of the block");
        let reserved = GPT2.replace("name: out.w", "name: previous");
        assert!(errors(&reserved)[0].contains("in a block this is the name of what comes from the repetition before"));
    }

    #[test]
    fn values_missing_in_many_repetitions_are_cited_once_at_their_line() {
        let folder = tempfile::TempDir::new().unwrap();
        let text = GPT2.replace("{ name: x, shape: [1024, 768], npy: x.npy }", "{ name: x, shape: [1024, 768] }");
        let text = text.replace("safetensors: model.safetensors", "npy: w.npy");
        let text = text.replace(", entry: \"h.{block}.attn.c_attn.weight\"", "");
        let document = Document::from_bytes("w.yaml", text.as_bytes(), folder.path()).unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        let error = load(&workload, &places, Generated::Wanted).unwrap_err();
        // One for `x`, which takes the default too, and four for the weights; all are cited where the default stands.
        assert_eq!(error.diagnostics().len(), 5, "{error}");
        assert!(
            error.diagnostics().iter().all(|diagnostic| diagnostic.place().to_string() == "w.yaml:4:19"),
            "{error}"
        );
    }

    #[test]
    fn counts_beyond_the_limit_are_refused_without_writing_them_all_out() {
        let many = GPT2.replace("count: 12", "count: 65536");
        assert!(errors(&many)[0].contains("layers are too many"), "{:?}", errors(&many));
        assert_eq!(errors(&GPT2.replace("count: 12", "count: 0"))[0], "w.yaml:10:14: 0 is out of range");
        let empty = "name: e\nactivation_format: fp32\ntensors: []\nlayers: [{ name: a, repeat: { count: 65536, layers: [{ name: b, repeat: { count: 65536, layers: [] } }] } }]\n";
        assert!(errors(empty).iter().any(|error| error.contains("the list is empty")), "{:?}", errors(empty));
    }

    #[test]
    fn a_typo_among_the_defaults_is_found_although_nothing_uses_it() {
        for (defaults, words) in [
            ("layers: { gemn: { bias: b } }", "unknown key \"gemn\""),
            ("layers: { gemm: { bais: b } }", "unknown key \"bais\""),
            ("tensors: { safetensor: x }", "unknown key \"safetensor\""),
            ("layers: { name: a }", "this belongs to one layer and has no default"),
        ] {
            let text = GPT2.replace("tensors: { safetensors: model.safetensors }", defaults);
            assert!(errors(&text)[0].contains(words), "{:?}", errors(&text));
        }
    }

    #[test]
    fn defaults_of_layers_reach_into_blocks_and_yield_to_what_is_written() {
        let text = GPT2.replace("  tensors: {", "  layers: { activate: { function: silu } }\n  tensors: {");
        let text = text.replace("input: fc1, function: gelu_tanh", "input: fc1");
        let functions: Vec<&str> = resolved(&text)
            .unwrap()
            .layers()
            .iter()
            .filter_map(|layer| match &layer.operation {
                LayerOperation::Activate { function, .. } => Some(function.name()),
                LayerOperation::Gemm(_) | LayerOperation::Vector(_) => None,
            })
            .collect();
        assert_eq!((functions[0], functions[11], functions[12]), ("silu", "silu", "relu"));
    }
}
