//! The shipped hardware, energy and workload files, embedded in the program, and the way from a name or a path to a
//! document.
//!
//! A preset is called by the name of its file without folder and extension, so that `--hw edge-int8` works without a
//! checkout. A preset's name wins over a file of the same name, which is then called `./edge-int8`. Tensor values are
//! not embedded (they are megabytes): a preset workload has shapes only, and
//! [`tensors::load`](crate::config::tensors::load) says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::config::diagnostics::{ConfigError, Diagnostic, listed, nearest, quoted};
use crate::config::document::Document;
use crate::config::dotted_path::DottedPath;
use crate::config::named_file::NamedFile;
use crate::config::node::Scalar;
use crate::config::source::{Place, Source};

/// An embedded file.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Name of the file without folder and extension.
    pub name: &'static str,
    text: &'static str,
}

impl Preset {
    /// Its text.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// Its document. Studies and references open the same few presets thousands of times; each is parsed once.
    ///
    /// # Errors
    /// As [`Document::built_in`].
    pub fn document(&self) -> Result<Document, ConfigError> {
        static PARSED: Mutex<BTreeMap<&'static str, Document>> = Mutex::new(BTreeMap::new());
        let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = parsed.get(self.text) {
            return Ok(document.clone());
        }
        let document = Document::built_in(self.name, self.text)?;
        parsed.insert(self.text, document.clone());
        Ok(document)
    }
}

/// Embedded hardware files, in the order of listings.
pub static HARDWARE: &[Preset] = &[
    Preset { name: "cube-like", text: include_str!("../../hw-configs/cube-like.yaml") },
    Preset { name: "edge-int8", text: include_str!("../../hw-configs/edge-int8.yaml") },
    Preset { name: "ethos-u65-512", text: include_str!("../../hw-configs/ethos-u65-512.yaml") },
    Preset { name: "gemmini-16x16", text: include_str!("../../hw-configs/gemmini-16x16.yaml") },
    Preset { name: "mx-npu", text: include_str!("../../hw-configs/mx-npu.yaml") },
    Preset { name: "nvdla-large", text: include_str!("../../hw-configs/nvdla-large.yaml") },
    Preset { name: "nvdla-small", text: include_str!("../../hw-configs/nvdla-small.yaml") },
    Preset { name: "nvdla-small-256", text: include_str!("../../hw-configs/nvdla-small-256.yaml") },
    Preset { name: "tpu-v4i-like", text: include_str!("../../hw-configs/tpu-v4i-like.yaml") },
];

/// Embedded energy tables.
pub static ENERGY_TABLES: &[Preset] = &[
    Preset { name: "edge-22nm", text: include_str!("../../hw-configs/energy/edge-22nm.yaml") },
    Preset { name: "edge-45nm", text: include_str!("../../hw-configs/energy/edge-45nm.yaml") },
    Preset { name: "edge-5nm", text: include_str!("../../hw-configs/energy/edge-5nm.yaml") },
    Preset { name: "ethos-u65-22nm", text: include_str!("../../hw-configs/energy/ethos-u65-22nm.yaml") },
    Preset { name: "gemmini-22nm", text: include_str!("../../hw-configs/energy/gemmini-22nm.yaml") },
    Preset { name: "mx-22nm", text: include_str!("../../hw-configs/energy/mx-22nm.yaml") },
    Preset { name: "nvdla-16nm", text: include_str!("../../hw-configs/energy/nvdla-16nm.yaml") },
    Preset { name: "tpu-v4i-7nm", text: include_str!("../../hw-configs/energy/tpu-v4i-7nm.yaml") },
];

/// Embedded workload files.
pub static WORKLOADS: &[Preset] = &[
    Preset { name: "gpt2-small-block", text: include_str!("../../workloads/gpt2-small-block.yaml") },
    Preset { name: "minilm-layer", text: include_str!("../../workloads/minilm-layer.yaml") },
    Preset { name: "qwen3-8b-layer", text: include_str!("../../workloads/qwen3-8b-layer.yaml") },
    Preset { name: "small-convnet", text: include_str!("../../workloads/small-convnet.yaml") },
];

/// Embedded scheme files: one for each registered scheme.
pub static SCHEMES: &[Preset] = &[
    Preset { name: "fp16", text: include_str!("../../workloads/schemes/fp16.yaml") },
    Preset { name: "bf16", text: include_str!("../../workloads/schemes/bf16.yaml") },
    Preset { name: "w8a8_per_tensor", text: include_str!("../../workloads/schemes/w8a8_per_tensor.yaml") },
    Preset {
        name: "w8a8_per_tensor_per_channel",
        text: include_str!("../../workloads/schemes/w8a8_per_tensor_per_channel.yaml"),
    },
    Preset {
        name: "w8a8_per_token_per_channel",
        text: include_str!("../../workloads/schemes/w8a8_per_token_per_channel.yaml"),
    },
    Preset { name: "w8a8_fp8_per_tensor", text: include_str!("../../workloads/schemes/w8a8_fp8_per_tensor.yaml") },
    Preset {
        name: "w8a8_fp8_per_token_per_channel",
        text: include_str!("../../workloads/schemes/w8a8_fp8_per_token_per_channel.yaml"),
    },
    Preset { name: "muxq_per_tensor", text: include_str!("../../workloads/schemes/muxq_per_tensor.yaml") },
    Preset {
        name: "muxq_per_token_per_channel",
        text: include_str!("../../workloads/schemes/muxq_per_token_per_channel.yaml"),
    },
    Preset { name: "muxq_separate_gemm", text: include_str!("../../workloads/schemes/muxq_separate_gemm.yaml") },
    Preset { name: "muxq_tender_shift", text: include_str!("../../workloads/schemes/muxq_tender_shift.yaml") },
    Preset { name: "muxq_static", text: include_str!("../../workloads/schemes/muxq_static.yaml") },
    Preset { name: "llm_int8", text: include_str!("../../workloads/schemes/llm_int8.yaml") },
    Preset { name: "llm_int8_online", text: include_str!("../../workloads/schemes/llm_int8_online.yaml") },
    Preset { name: "osc_mxfp4", text: include_str!("../../workloads/schemes/osc_mxfp4.yaml") },
    Preset { name: "osc_mxfp4_compact", text: include_str!("../../workloads/schemes/osc_mxfp4_compact.yaml") },
    Preset { name: "osc_dynamic", text: include_str!("../../workloads/schemes/osc_dynamic.yaml") },
    Preset {
        name: "osc_dynamic_row_gather",
        text: include_str!("../../workloads/schemes/osc_dynamic_row_gather.yaml"),
    },
    Preset { name: "osc_int4", text: include_str!("../../workloads/schemes/osc_int4.yaml") },
    Preset {
        name: "osc_mxfp4_fp8_fallback",
        text: include_str!("../../workloads/schemes/osc_mxfp4_fp8_fallback.yaml"),
    },
    Preset { name: "zeroquant", text: include_str!("../../workloads/schemes/zeroquant.yaml") },
    Preset { name: "int4_g32", text: include_str!("../../workloads/schemes/int4_g32.yaml") },
    Preset { name: "int4_g128", text: include_str!("../../workloads/schemes/int4_g128.yaml") },
    Preset { name: "int8_g128", text: include_str!("../../workloads/schemes/int8_g128.yaml") },
    Preset { name: "w8a8_static", text: include_str!("../../workloads/schemes/w8a8_static.yaml") },
    Preset { name: "w4a8", text: include_str!("../../workloads/schemes/w4a8.yaml") },
    Preset { name: "w4a16", text: include_str!("../../workloads/schemes/w4a16.yaml") },
    Preset {
        name: "smoothquant_per_tensor",
        text: include_str!("../../workloads/schemes/smoothquant_per_tensor.yaml"),
    },
    Preset { name: "smoothquant_per_token", text: include_str!("../../workloads/schemes/smoothquant_per_token.yaml") },
    Preset { name: "mxfp8_e4m3", text: include_str!("../../workloads/schemes/mxfp8_e4m3.yaml") },
    Preset { name: "mxfp8_e5m2", text: include_str!("../../workloads/schemes/mxfp8_e5m2.yaml") },
    Preset { name: "mxfp6_e2m3", text: include_str!("../../workloads/schemes/mxfp6_e2m3.yaml") },
    Preset { name: "mxfp6_e3m2", text: include_str!("../../workloads/schemes/mxfp6_e3m2.yaml") },
    Preset { name: "mxfp4", text: include_str!("../../workloads/schemes/mxfp4.yaml") },
    Preset { name: "mxint8", text: include_str!("../../workloads/schemes/mxint8.yaml") },
    Preset { name: "mxint4", text: include_str!("../../workloads/schemes/mxint4.yaml") },
    Preset { name: "nvfp4", text: include_str!("../../workloads/schemes/nvfp4.yaml") },
    Preset { name: "nvfp4_one_level", text: include_str!("../../workloads/schemes/nvfp4_one_level.yaml") },
    Preset { name: "w4a8_mx", text: include_str!("../../workloads/schemes/w4a8_mx.yaml") },
];

/// The scheme document of that preset name or path.
///
/// # Errors
/// There is neither a preset nor a file of that name; or as [`Document::open`].
pub fn open_scheme(name_or_path: &str) -> Result<Document, ConfigError> {
    open("scheme", SCHEMES, name_or_path)
}

/// The hardware document of that preset name or path, its energy table included.
///
/// # Errors
/// There is neither a preset nor a file of that name; or as [`Document::open`] and [`include_energy_table`].
pub fn open_hardware(name_or_path: &str) -> Result<Document, ConfigError> {
    let mut document = open("hardware", HARDWARE, name_or_path)?;
    include_energy_table(&mut document)?;
    Ok(document)
}

/// The workload document of that preset name or path.
///
/// # Errors
/// There is neither a preset nor a file of that name; or as [`Document::open`].
pub fn open_workload(name_or_path: &str) -> Result<Document, ConfigError> {
    open("workload", WORKLOADS, name_or_path)
}

/// The file of the energy table that `document` names, unless the table stands there or is built in.
pub fn energy_table_file(document: &Document) -> Option<NamedFile> {
    let node = document.root().get("energy")?;
    let name = &node.as_scalar().filter(|scalar| !scalar.is_null())?.text;
    let source = node.place.source();
    let file = || NamedFile::new(source.resolve_path(&**name), &node.place, &DottedPath::default().key("energy"));
    embedded_table(name, source).is_none().then(file)
}

/// The embedded energy table that is meant by `name` in a document.
fn embedded_table(name: &str, source: &Source) -> Option<&'static Preset> {
    ENERGY_TABLES
        .iter()
        .find(|preset| name == preset.name || (source.is_built_in() && name == format!("energy/{}.yaml", preset.name)))
}

/// Puts the energy table that `document` names under `energy:` in the place of its name; does nothing where the table
/// stands there already.
///
/// The name is that of an embedded table, or a path relative to the file (or, in a flag, to the working folder).
///
/// # Errors
/// The table cannot be read (cites the name), or its text is not one YAML document (cites the table).
pub fn include_energy_table(document: &mut Document) -> Result<(), ConfigError> {
    let Some(node) = document.value_mut("energy") else { return Ok(()) };
    let Some(name) = node.as_scalar().filter(|scalar| !scalar.is_null()).map(|scalar: &Scalar| scalar.text.to_string())
    else {
        return Ok(());
    };
    let source = node.place.source();
    let table = match embedded_table(&name, source) {
        Some(preset) => preset.document()?,
        None => Document::open(source.resolve_path(&name)).map_err(|error| match error {
            ConfigError::Read { path, cause } => {
                let message = format!("the energy table {} cannot be read: {cause}", path.display());
                let names = listed(ENERGY_TABLES.iter().map(|preset| preset.name));
                Diagnostic::new(&node.place, &DottedPath::default().key("energy"), message)
                    .of_value()
                    .note(format!("a path from the folder of this file, or one of the built-in tables: {names}"))
                    .into()
            }
            other => other,
        })?,
    };
    *node = table.into_root();
    Ok(())
}

/// The document of that path, or of that preset of any kind.
///
/// # Errors
/// There is neither a preset nor a file of that name; or as [`Document::open`].
pub fn open_any(name_or_path: &Path) -> Result<Document, ConfigError> {
    let shown = name_or_path.display().to_string();
    let presets = || CATALOGUES.iter().flat_map(|(_, presets)| presets.iter());
    if let Some(preset) = presets().find(|preset| name_or_path.as_os_str() == preset.name) {
        return preset.document();
    }
    if !is_missing(name_or_path) {
        return Document::open(name_or_path);
    }
    let message = format!("there is no such file, and nothing built in is called {}", quoted(&shown));
    let problem = Diagnostic::new(&Place::flag(&shown), &DottedPath::default(), message);
    Err(or_nearest(problem, &shown, presets().map(|preset| preset.name)).into())
}

/// Presets by kind.
static CATALOGUES: &[(&str, &[Preset])] = &[
    ("hardware file", HARDWARE),
    ("workload file", WORKLOADS),
    ("scheme file", SCHEMES),
    ("energy table", ENERGY_TABLES),
];

/// Whether a file of any kind is built in under this name.
pub fn is_built_in(name: &str) -> bool {
    CATALOGUES.iter().any(|(_, presets)| presets.iter().any(|preset| preset.name == name))
}

fn open(kind: &str, presets: &[Preset], name_or_path: &str) -> Result<Document, ConfigError> {
    if let Some(preset) = presets.iter().find(|preset| preset.name == name_or_path) {
        return preset.document();
    }
    if !is_missing(Path::new(name_or_path)) {
        return Document::open(name_or_path);
    }
    let names = || presets.iter().map(|preset| preset.name);
    let message = format!("there is no such file, and no built-in {kind} called {}", quoted(name_or_path));
    let problem = Diagnostic::new(&Place::flag(name_or_path), &DottedPath::default(), message)
        .note(format!("built-in {kind}: {}", listed(names())));
    let has = |presets: &[Preset]| presets.iter().any(|preset| preset.name == name_or_path);
    Err(match CATALOGUES.iter().find(|(_, presets)| has(presets)) {
        Some((other, _)) => problem.help(format!("there is a built-in {other} of this name")),
        None => or_nearest(problem, name_or_path, names()),
    }
    .into())
}

/// Whether there is surely no such file. One that cannot be looked at is left to its reader, who says why.
fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

fn or_nearest<'k>(problem: Diagnostic, given: &str, names: impl Iterator<Item = &'k str>) -> Diagnostic {
    match nearest(given, names) {
        Some(name) => problem.help(format!("did you mean \"{name}\"?")),
        None => problem,
    }
}
