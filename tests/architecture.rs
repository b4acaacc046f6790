//! Holds the source to the architecture: layers, fences around outside crates, registries, and the habits that every
//! file keeps. The tables here are the law; `check` has the rules and shows that each finds its offender.
//!
//! A new module, crate or extension folder fails a test below until its line is written here, so that it is decided on
//! rather than drifted into.

mod check;
mod syntax;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use check::{Fence, Finding, Source};

/// Top-level modules, lowest layer first. A module imports from lower rows only: not from its own row, not from above.
const LAYERS: &[&[&str]] = &[
    &["units", "shape"],
    &["numerics"],
    &["hardware"],
    &["workload"],
    &["program"],
    &["scheme", "dataflow", "memory"],
    &["config"],
    &["schedule"],
    &["execute", "timing", "reference"],
    &["energy"],
    &["report"],
    &["simulation"],
    &["calibrate"],
    &["validate", "inputs", "import"],
    &["explore"],
    &["cli"],
    &["main", "lib"],
];

/// Modules that may read and write files. All others are given texts and values.
const FILES: &[&str] = &["config", "report", "explore", "import", "validate", "cli"];
const TERMINAL: &[&str] = &["cli", "main"];
const TABLES: &[&str] = &["config", "report", "calibrate", "validate", "explore", "import", "cli"];
/// Modules that read or write JSON. Unit tests of the others may look at what serializing a value gives.
const JSON: &[&str] = &["config", "report", "calibrate", "validate", "explore", "import", "cli", "tests"];
const EVERYWHERE: &[&str] = &["*"];
const TESTS_ONLY: &[&str] = &[];

/// Outside names and the modules that may use them. Every crate of `Cargo.toml` has a line.
const FENCES: &[Fence] = &[
    Fence { name: "arrayvec", modules: &["schedule", "timing"] },
    Fence { name: "clap", modules: TERMINAL },
    Fence { name: "clap_complete", modules: &["cli"] },
    Fence { name: "comfy_table", modules: TERMINAL },
    Fence { name: "csv", modules: TABLES },
    Fence { name: "exmex", modules: &["config::study"] },
    Fence { name: "half", modules: &["numerics"] },
    Fence { name: "indicatif", modules: &["cli"] },
    Fence { name: "libm", modules: &["numerics", "report::plots"] },
    Fence { name: "multiversion", modules: &["numerics"] },
    Fence { name: "parquet", modules: &["explore::parquet_table"] },
    Fence { name: "petgraph", modules: &["workload", "program"] },
    Fence { name: "plotters", modules: &["report::plots"] },
    Fence { name: "pulp", modules: &["numerics"] },
    Fence { name: "rand", modules: &["workload", "explore"] },
    Fence { name: "rand_pcg", modules: &["workload", "explore"] },
    Fence { name: "rayon", modules: &["numerics", "explore"] },
    Fence { name: "resvg", modules: &["report::plots"] },
    Fence { name: "rten_gemm", modules: &["numerics"] },
    Fence { name: "rten_tensor", modules: &["numerics"] },
    Fence { name: "safetensors", modules: FILES },
    Fence { name: "serde", modules: EVERYWHERE },
    Fence { name: "serde_json", modules: JSON },
    Fence { name: "serde_yaml", modules: &["config"] },
    Fence { name: "sha2", modules: &["workload", "validate", "explore"] },
    Fence { name: "signal_hook", modules: &["cli::interrupts"] },
    Fence { name: "sobol_burley", modules: &["explore"] },
    Fence { name: "statrs", modules: &["numerics::error_metrics", "report", "explore"] },
    Fence { name: "strsim", modules: &["config", "cli"] },
    Fence { name: "tempfile", modules: FILES },
    Fence { name: "thiserror", modules: EVERYWHERE },
    // Crates of the tests. `proptest` also serves the unit tests beside the code.
    Fence { name: "assert_cmd", modules: TESTS_ONLY },
    Fence { name: "divan", modules: TESTS_ONLY },
    Fence { name: "insta", modules: TESTS_ONLY },
    Fence { name: "proc_macro2", modules: TESTS_ONLY },
    Fence { name: "proptest", modules: EVERYWHERE },
    Fence { name: "syn", modules: TESTS_ONLY },
    // Files.
    Fence { name: "std::fs", modules: FILES },
    Fence { name: ".canonicalize", modules: FILES },
    Fence { name: ".exists", modules: FILES },
    Fence { name: ".is_dir", modules: FILES },
    Fence { name: ".is_file", modules: FILES },
    Fence { name: ".read_dir", modules: FILES },
    Fence { name: ".try_exists", modules: FILES },
    Fence { name: "std::path::Path::canonicalize", modules: FILES },
    Fence { name: "std::path::Path::exists", modules: FILES },
    Fence { name: "std::path::Path::is_dir", modules: FILES },
    Fence { name: "std::path::Path::is_file", modules: FILES },
    Fence { name: "std::path::Path::read_dir", modules: FILES },
    // The terminal and the process.
    Fence { name: "std::io::stdin", modules: TERMINAL },
    Fence { name: "std::io::stdout", modules: TERMINAL },
    Fence { name: "std::io::stderr", modules: TERMINAL },
    Fence { name: "std::env", modules: TERMINAL },
    Fence { name: "std::process", modules: TERMINAL },
    Fence { name: "print!", modules: TERMINAL },
    Fence { name: "println!", modules: TERMINAL },
    Fence { name: "eprint!", modules: TERMINAL },
    Fence { name: "eprintln!", modules: TERMINAL },
    // The wall clock: no result may depend on it.
    Fence { name: "std::time::Instant", modules: TERMINAL },
    Fence { name: "std::time::SystemTime", modules: TERMINAL },
];

/// A folder with one extension a file.
struct Registry {
    folder: &'static str,
    /// The file with the list, relative to `src`.
    file: &'static str,
    list: &'static str,
    /// Files of the folder that serve the extensions and are none.
    support: &'static [&'static str],
}

/// Files of `numerics/block` that serve the formats.
const BLOCK_SUPPORT: &[&str] = &["encoder", "plain", "quantizer", "scale_rule", "tensor"];
/// Files of `dataflow` that serve the dataflows.
const DATAFLOW_SUPPORT: &[&str] = &["folds", "ports", "sequenced", "serial"];
/// Files of `validate` that serve the sets.
const VALIDATE_SUPPORT: &[&str] = &[
    "accelerator_run",
    "comparison",
    "folder",
    "integer_values",
    "markdown",
    "nvdla_rows",
    "product_with_values",
    "report",
    "rows",
    "sha256",
    "single_product",
    "whole_product",
];

/// What plots are drawn with.
const PLOT_SUPPORT: &[&str] = &["axes", "canvas", "letters", "png", "saved", "scatter"];

/// The open sets. A folder that does not exist is not checked.
const REGISTRIES: &[Registry] = &[
    Registry { folder: "numerics/formats", file: "numerics/formats/mod.rs", list: "ALL", support: &["codec"] },
    Registry { folder: "numerics/block", file: "numerics/block/mod.rs", list: "ALL", support: BLOCK_SUPPORT },
    // `integer` is a family of scheme files only: without scales its error depends on the values alone.
    Registry {
        folder: "scheme",
        file: "scheme/mod.rs",
        list: "ALL",
        support: &["fallback", "integer", "lowering", "made", "treatment"],
    },
    Registry { folder: "dataflow", file: "dataflow/mod.rs", list: "ALL", support: DATAFLOW_SUPPORT },
    Registry { folder: "memory", file: "memory/mod.rs", list: "ALL", support: &["channel"] },
    Registry { folder: "validate", file: "validate/mod.rs", list: "ALL", support: VALIDATE_SUPPORT },
    Registry { folder: "report/plots", file: "report/plots/mod.rs", list: "ALL", support: PLOT_SUPPORT },
];

/// Lines after which a file is split.
const LONGEST_FILE: usize = 800;

/// Files that may be longer, up to the given number of lines, each with the reason.
const LONGER_FILES: &[(&str, usize, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files below `folder` (relative to the root, with forward slashes), sorted, without what git ignores.
fn files_below(folder: &str) -> Vec<String> {
    fn visit(folder: &Path, files: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.map(|entry| entry.expect("a folder of the repository is readable")) {
            let path = entry.path();
            let relative = path.strip_prefix(root()).expect("below the root");
            let ignored = [".git", "target"].iter().any(|ignored| relative == Path::new(ignored))
                || (relative.parent() == Some(Path::new("reports")) && !relative.ends_with("examples"));
            match path.is_dir() {
                _ if ignored => {}
                true => visit(&path, files),
                false => files.push(relative.to_owned()),
            }
        }
    }
    let mut files = Vec::new();
    if root().join(folder).is_dir() {
        visit(&root().join(folder), &mut files);
    }
    let mut files: Vec<String> = files.iter().map(|path| path.to_string_lossy().replace('\\', "/")).collect();
    files.sort();
    files
}

fn rust_files(folders: &[&str]) -> Vec<String> {
    folders.iter().flat_map(|folder| files_below(folder)).filter(|path| path.ends_with(".rs")).collect()
}

fn sources() -> Vec<(String, Source)> {
    let read = |path: String| {
        let below_src = path.strip_prefix("src/").expect("listed below src");
        let source = Source::read(below_src, &text_of(&path));
        (path, source)
    };
    rust_files(&["src"]).into_iter().map(read).collect()
}

/// Fails with every finding as `file:line: message`.
fn assert_clean(findings: impl IntoIterator<Item = (String, Vec<Finding>)>) {
    let report: Vec<String> = findings
        .into_iter()
        .flat_map(|(path, findings)| {
            findings.into_iter().map(move |(line, message)| match line {
                0 => format!("{path}: {message}"),
                _ => format!("{path}:{line}: {message}"),
            })
        })
        .collect();
    assert!(report.is_empty(), "\n{}\n", report.join("\n"));
}

#[test]
fn modules_import_from_lower_layers_only() {
    assert_clean(sources().into_iter().map(|(path, source)| (path, check::layer_findings(&source, LAYERS))));
}

#[test]
fn outside_names_stay_inside_their_fences() {
    assert_clean(sources().into_iter().map(|(path, source)| (path, check::fence_findings(&source, FENCES))));
}

#[test]
fn every_dependency_has_a_fence() {
    let fenced: BTreeSet<&str> = FENCES.iter().map(|fence| fence.name).collect();
    let (program, tests) = check::declared_crates(&text_of("Cargo.toml"));
    let unfenced: Vec<&String> = program.union(&tests).filter(|name| !fenced.contains(name.as_str())).collect();
    assert!(unfenced.is_empty(), "crates of Cargo.toml without a line in FENCES: {unfenced:?}");
}

/// Dependencies may stand in the manifest before the code that needs them, but only until the command line, the top
/// layer, is there: then the program is whole, and a crate that nothing uses is a leftover.
#[test]
fn every_dependency_is_used() {
    let sources = sources();
    if !sources.iter().any(|(_, source)| source.module[0] == "cli") {
        return;
    }
    let (program, _) = check::declared_crates(&text_of("Cargo.toml"));
    let is_used = |name: &str| sources.iter().any(|(_, source)| check::uses_crate(source, name));
    let unused: Vec<&String> = program.iter().filter(|name| !is_used(name)).collect();
    assert!(unused.is_empty(), "crates of Cargo.toml that no file of src names: {unused:?}");
}

#[test]
fn every_file_is_part_of_the_crate() {
    let sources: Vec<Source> = sources().into_iter().map(|(_, source)| source).collect();
    let undeclared = check::undeclared_modules(&sources);
    assert!(undeclared.is_empty(), "no `mod` declares {undeclared:?}, so they are never compiled");
}

#[test]
fn every_file_says_what_it_is_for_and_is_finished() {
    assert_clean(rust_files(&["src", "tests", "benches"]).into_iter().map(|path| {
        let longer = LONGER_FILES.iter().find(|(file, ..)| *file == path);
        let findings = check::text_findings(&text_of(&path), longer.map_or(LONGEST_FILE, |(_, lines, _)| *lines));
        (path, findings)
    }));
}

#[test]
fn every_extension_is_registered() {
    assert_clean(REGISTRIES.iter().map(|registry| {
        let folder = format!("src/{}/", registry.folder);
        // A subfolder is one extension, so only the first segment below the folder counts.
        let entries: BTreeSet<String> = files_below(&folder)
            .iter()
            .filter_map(|path| path.strip_prefix(&folder)?.split('/').next())
            .filter(|entry| !entry.contains('.') || entry.ends_with(".rs"))
            .map(|entry| entry.trim_end_matches(".rs").to_owned())
            .filter(|entry| entry != "mod" && !registry.support.contains(&entry.as_str()))
            .collect();
        let entries: Vec<String> = entries.into_iter().collect();
        let file = format!("src/{}", registry.file);
        let missing = match entries.is_empty() {
            true => Vec::new(),
            false => check::missing_from_registry(&text_of(&file), registry.list, &entries),
        };
        let message = |entry: &str| (0, format!("`{}` does not name `{}/{entry}`", registry.list, registry.folder));
        (file, missing.into_iter().map(message).collect())
    }));
}

#[test]
fn no_text_names_a_place_on_one_machine() {
    assert_clean(files_below("").into_iter().filter_map(|path| {
        let text = String::from_utf8(fs::read(root().join(&path)).ok()?).ok()?;
        let findings = check::machine_paths(&text);
        Some((path, findings))
    }));
}

/// Who tries the project copies these two lines, and `.ci/run` runs the second, so neither can go stale alone.
#[test]
fn the_readme_opens_with_one_command_to_run_and_one_to_test() {
    let readme = text_of("README.md");
    let fences = check::shell_fences(&readme);
    assert!(fences.len() >= 2, "README.md has {} fences marked sh; the first two are to run and to test", fences.len());
    for fence in &fences[..2] {
        assert!(fence.len() == 1 && !fence[0].trim().is_empty(), "not one command on one line: {fence:?}");
    }
    let test = fences[1][0].trim();
    assert!(text_of(".ci/run").lines().any(|line| line.trim() == test), ".ci/run has no line `{test}`");
}
