//! The rules themselves, as functions from the text of a file to what is wrong with it.
//!
//! They know neither the repository nor its tables: both are given, so the tests below can show on a few lines of
//! source that each rule finds its offender.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};

use super::syntax::{Reading, Reference, written_paths};

/// One thing wrong: the line (zero for the file as a whole) and a sentence with the remedy.
pub(crate) type Finding = (usize, String);

/// Where an outside name may be used.
pub(crate) struct Fence {
    /// A path (`std::fs`, a crate), a macro with its mark (`println!`) or a method with its dot (`.read_dir`).
    pub(crate) name: &'static str,
    /// Modules that may use it, each with all below it: `*` for every module, `tests` for the unit tests of every
    /// module, nothing for the integration tests only.
    pub(crate) modules: &'static [&'static str],
}

/// A source file of the crate.
pub(crate) struct Source {
    /// Module path: `["numerics", "block"]`, `["main"]`, `["lib"]`.
    pub(crate) module: Vec<String>,
    /// What it names.
    pub(crate) reading: Reading,
}

impl Source {
    /// Reads the text of the file at `path`, relative to `src` and with forward slashes.
    ///
    /// # Panics
    /// When the text is not Rust.
    pub(crate) fn read(path: &str, text: &str) -> Source {
        let stem = path.strip_suffix(".rs").unwrap_or(path);
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        let module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        let is_root = ["main", "lib"].contains(&stem);
        let inside = if is_root { &[] } else { module.as_slice() };
        let reading = Reading::of(text, inside).unwrap_or_else(|error| panic!("src/{path} is not Rust: {error}"));
        Source { module, reading }
    }

    fn is_inside(&self, modules: &[&str]) -> bool {
        modules.iter().any(|allowed| {
            let allowed: Vec<&str> = allowed.split("::").collect();
            allowed == ["*"]
                || (self.module.len() >= allowed.len() && self.module.iter().zip(&allowed).all(|(a, b)| a == b))
        })
    }
}

/// The layer of a top-level module, if the table has it.
fn layer_of(layers: &[&[&str]], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// What `source` imports from its own layer or above it, or from no module at all.
pub(crate) fn layer_findings(source: &Source, layers: &[&[&str]]) -> Vec<Finding> {
    let own = source.module[0].as_str();
    let Some(own_layer) = layer_of(layers, own) else {
        return vec![(0, format!("the top-level module `{own}` has no row in the layer table; give it one"))];
    };
    let mut findings = Vec::new();
    for reference in source.reading.references.iter().filter(|reference| reference.path[0] == "crate") {
        let written = reference.path.join("::");
        let Some(target) = reference.path.get(1).filter(|target| *target != "*") else {
            findings.push((reference.line, format!("`{written}` names the crate root; name the module instead")));
            continue;
        };
        match layer_of(layers, target) {
            None => findings.push((
                reference.line,
                format!("`{written}`: `{target}` is no module of the layer table; name an item by its module"),
            )),
            Some(layer) if target != own && layer >= own_layer => findings.push((
                reference.line,
                format!("`{written}`: layer {own_layer} ({own}) may not import layer {layer} ({target})"),
            )),
            Some(_) => {}
        }
    }
    for (line, chain) in &source.reading.super_chains {
        findings.push((*line, format!("`{chain}`: write a path from `crate` instead of a chain of `super`")));
    }
    findings
}

/// The names of [`Fence`]s that `source` uses outside of them.
pub(crate) fn fence_findings(source: &Source, fences: &[Fence]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for fence in fences.iter().filter(|fence| !source.is_inside(fence.modules)) {
        let lines: BTreeSet<usize> = match fence.name.strip_suffix('!') {
            Some(name) => places(&source.reading.macros, name),
            None => match fence.name.strip_prefix('.') {
                Some(name) => places(&source.reading.methods, name),
                None => references_to(source, fence.name)
                    .filter(|reference| !(reference.in_tests && fence.modules.contains(&"tests")))
                    .map(|reference| reference.line)
                    .collect(),
            },
        };
        let allowed = if fence.modules.is_empty() { "tests/".to_owned() } else { fence.modules.join(", ") };
        findings
            .extend(lines.into_iter().map(|line| (line, format!("`{}` may be used in {allowed} only", fence.name))));
    }
    findings
}

fn places(places: &[(usize, String)], name: &str) -> BTreeSet<usize> {
    places.iter().filter(|(_, found)| found == name).map(|(line, _)| *line).collect()
}

/// Where `source` names `name` or what lies below it, or imports it with a glob.
fn references_to<'a>(source: &'a Source, name: &str) -> impl Iterator<Item = &'a Reference> + 'a {
    let name: Vec<String> = name.split("::").map(str::to_owned).collect();
    let hits = move |path: &[String]| match path.strip_suffix(&["*".to_owned()]) {
        Some(prefix) if name.starts_with(prefix) => true,
        _ => path.starts_with(&name),
    };
    source.reading.references.iter().filter(move |reference| hits(&reference.path))
}

/// Whether `source` uses the crate `name` anywhere.
pub(crate) fn uses_crate(source: &Source, name: &str) -> bool {
    references_to(source, name).next().is_some()
}

/// Crates declared in the text of a `Cargo.toml`, by their name in code: those of the program, and those of its tests.
pub(crate) fn declared_crates(manifest: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut program, mut tests) = (BTreeSet::new(), BTreeSet::new());
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        }
        let (table, name) = match section.rsplit_once("dependencies.") {
            Some((before, name)) => (format!("{before}dependencies"), Some(name)),
            None => (section.clone(), line.split_once('=').map(|(name, _)| name.trim())),
        };
        let crates = match table.rsplit('.').next() {
            Some("dependencies" | "build-dependencies") => &mut program,
            Some("dev-dependencies") => &mut tests,
            _ => continue,
        };
        crates.extend(name.filter(|name| !name.starts_with('#')).map(|name| name.replace('-', "_")));
    }
    (program, tests)
}

/// Files (by module path) that no `mod` declares, so that they are never compiled.
pub(crate) fn undeclared_modules(sources: &[Source]) -> Vec<String> {
    let is_declared = |source: &Source| {
        let Some((name, parent)) = source.module.split_last() else { return true };
        let roots = [vec!["lib".to_owned()], vec!["main".to_owned()]];
        let parents = if parent.is_empty() { &roots[..] } else { &[parent.to_vec()] };
        roots.contains(&source.module)
            || sources.iter().any(|source| parents.contains(&source.module) && source.reading.binds(name))
    };
    sources.iter().filter(|source| !is_declared(source)).map(|source| source.module.join("::")).collect()
}

/// What the text of any Rust file must not hold, whatever its place.
pub(crate) fn text_findings(text: &str, longest: usize) -> Vec<Finding> {
    let reading = Reading::of(text, &[]).unwrap_or_default();
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push((1, "the file opens without a `//!` sentence on what it is for".to_owned()));
    }
    let lines = text.lines().count();
    if lines > longest {
        findings.push((0, format!("{lines} lines, more than {longest}: split it by ideas")));
    }
    for (line, name) in &reading.macros {
        if ["todo", "unimplemented", "dbg"].contains(&name.as_str()) {
            findings.push((*line, format!("`{name}!` does not go into a commit")));
        }
    }
    for (line, _) in reading.attribute_words.iter().filter(|(_, word)| word == "ignore") {
        findings.push((*line, "a test is ignored: mend it, or assert the gap as present".to_owned()));
    }
    for (line, text) in text.lines().enumerate() {
        let text = text.trim_start();
        let fence = text.strip_prefix("///").or_else(|| text.strip_prefix("//!")).map(str::trim_start);
        if fence.is_some_and(|text| text.starts_with("```") && text.split([',', '`']).any(|word| word == "ignore")) {
            findings.push((line + 1, "an example is ignored: make it compile".to_owned()));
        }
    }
    findings
}

/// Lines of `text` that name a place on one machine: a home, a working or a temporary directory.
pub(crate) fn machine_paths(text: &str) -> Vec<Finding> {
    // Spelled in two halves, or this file would find itself.
    const PLACES: [&str; 6] = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
        concat!("C:", "\\"),
    ];
    let starts_path = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"._-/}".contains(before))
    };
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for place in PLACES {
            if line.match_indices(place).any(|(at, _)| starts_path(line, at)) {
                findings.push((number + 1, format!("`{place}` is a place on one machine")));
            }
        }
    }
    findings
}

/// The entries (files without `.rs`, folders) that the list `constant` of the registry `text` does not name.
pub(crate) fn missing_from_registry<'a>(text: &str, constant: &str, entries: &'a [String]) -> Vec<&'a str> {
    let reading = Reading::of(text, &["registry".to_owned()]).expect("the registry is Rust");
    let tokens: Vec<TokenTree> = text.parse::<TokenStream>().expect("read above").into_iter().collect();
    let is = |token: Option<&TokenTree>, wanted: &str| token.is_some_and(|token| token.to_string() == wanted);
    let named: BTreeSet<String> = (0..tokens.len())
        .filter(|at| is(tokens.get(*at), "static") || is(tokens.get(*at), "const"))
        .filter(|at| is(tokens.get(at + 1), constant))
        .map(|at| {
            tokens[at..].iter().take_while(|token| !is(Some(token), ";")).skip_while(|token| !is(Some(token), "="))
        })
        .flat_map(|list| written_paths(list.cloned().collect()))
        .flat_map(|path| reading.follow(&path, 0))
        .flatten()
        .collect();
    entries.iter().filter(|entry| !named.contains(*entry)).map(String::as_str).collect()
}

/// The contents of the first fences of a Markdown text that are marked `sh`.
pub(crate) fn shell_fences(markdown: &str) -> Vec<Vec<&str>> {
    let mut fences: Vec<Vec<&str>> = Vec::new();
    let (mut inside, mut shell) = (false, false);
    for line in markdown.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            shell = !inside && language == "sh";
            inside = !inside;
            if shell {
                fences.push(Vec::new());
            }
        } else if shell {
            fences.last_mut().expect("opened above").push(line);
        }
    }
    fences
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: &[&[&str]] = &[&["units", "shape"], &["numerics"], &["schedule"], &["execute", "timing"], &["main"]];

    fn layers(path: &str, text: &str) -> Vec<String> {
        layer_findings(&Source::read(path, text), LAYERS).into_iter().map(|(_, message)| message).collect()
    }

    /// Each source breaks the layers in exactly one place, which the message names.
    fn check_refused(path: &str, text: &str, named: &str) {
        let found = layers(path, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(named), "{text}: {found:?}");
    }

    #[test]
    fn an_import_from_a_higher_layer_is_found_in_whatever_form_it_is_written() {
        for text in [
            "use crate::timing::run;",
            "use crate::{numerics::Format, timing::{run}};",
            "use crate::{units, timing as numerics};",
            "use crate::timing::*;",
            "pub use super::timing::run;",
            "use self::super::timing::run;",
            "mod inner { use crate::timing::run; }",
            "fn f() { use crate::timing::run; }",
            "fn f() -> u64 { crate::timing::run() }",
            "fn f(timeline: &crate::timing::Timeline) {}",
            "fn f() { assert_eq!(1, crate::timing::run()); }",
            "fn f() { g(0..crate::timing::LIMIT); }",
            "#[derive(crate::timing::Trace)] struct S;",
            "macro_rules! m { () => { $crate::timing::run() } }",
            "macro_rules! m { ($n:ident) => { use $crate::{units, timing::$n}; } }",
            "fn f() { npusim::timing::run() }",
            "#[cfg(test)] mod tests { use crate::timing::run; }",
            "impl crate::timing::Observer for S {} struct S;",
            "fn f() { <crate::timing::Timeline as Default>::default(); }",
            "fn f() { Vec::<crate::timing::Timeline>::new(); }",
            "pub(in crate::timing) struct S;",
        ] {
            check_refused("schedule.rs", text, "layer 2 (schedule) may not import layer 3 (timing)");
        }
    }

    #[test]
    fn modules_of_one_layer_do_not_import_each_other() {
        check_refused(
            "timing/mod.rs",
            "use crate::execute::Output;",
            "layer 3 (timing) may not import layer 3 (execute)",
        );
        check_refused("units.rs", "use crate::shape::GemmShape;", "layer 0 (units) may not import layer 0 (shape)");
    }

    #[test]
    fn lower_layers_and_the_own_module_may_be_imported() {
        for text in [
            "use crate::units::Cycles; use crate::numerics::{block::Block, formats::{self, Format}};",
            "use crate::schedule::tiling; use super::Schedule; use self::inner::Nest; mod inner {}",
            "use std::fmt; pub(crate) struct S; pub(super) struct T; fn f() -> fmt::Result { fmt::Result::Ok(()) }",
            "#[cfg(test)] mod tests { use super::*; }",
            "/// See `crate::timing::run`.\npub fn f() { let text = \"crate::timing\"; }",
        ] {
            assert_eq!(layers("schedule/streams.rs", text), [""; 0], "{text}");
        }
        assert_eq!(layers("main.rs", "fn main() { npusim::timing::run(crate::units::ZERO) }"), [""; 0]);
    }

    #[test]
    fn the_crate_root_is_not_a_module_to_import_from() {
        check_refused("timing.rs", "use crate::*;", "crate root");
        check_refused("timing.rs", "use crate as root;", "crate root");
        check_refused("timing.rs", "use crate::Cycles;", "`Cycles` is no module");
        check_refused("timing/mod.rs", "use super::*;", "crate root");
    }

    #[test]
    fn a_chain_of_super_is_followed_and_refused() {
        let found = layers("schedule/tiling.rs", "use super::super::timing::run;");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`crate::timing::run`") && found[1].contains("chain of `super`"), "{found:?}");
        let found = layers("schedule/tiling.rs", "fn f() { self::super::super::units::f() }");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("chain of `super`"), "{found:?}");
    }

    #[test]
    fn a_module_without_a_layer_is_refused() {
        check_refused("helpers/mod.rs", "", "`helpers` has no row");
    }

    const FENCES: &[Fence] = &[
        Fence { name: "serde_yaml", modules: &["config"] },
        Fence { name: "statrs", modules: &["numerics::error_metrics"] },
        Fence { name: "std::fs", modules: &["config"] },
        Fence { name: "std::io::stdout", modules: &["cli"] },
        Fence { name: "println!", modules: &["cli"] },
        Fence { name: ".read_dir", modules: &["config"] },
        Fence { name: "insta", modules: &[] },
        Fence { name: "serde", modules: &["*"] },
        Fence { name: "serde_json", modules: &["report", "tests"] },
    ];

    fn fenced(path: &str, text: &str) -> Vec<Finding> {
        fence_findings(&Source::read(path, text), FENCES)
    }

    #[test]
    fn a_fenced_name_is_found_outside_its_fence_in_whatever_form_it_is_written() {
        for text in [
            "use serde_yaml::Value;",
            "use serde_yaml as yaml;",
            "use {std::fmt, serde_yaml::Value};",
            "fn f() { ::serde_yaml::from_str(text) }",
            "impl ::serde_yaml::Visitor for S {} struct S;",
            "#[derive(serde_yaml::Magic)] struct S;",
            "fn f() { assert!(serde_yaml::from_str(text).is_ok()) }",
            "extern crate serde_yaml;",
            "use std::fs::File;",
            "use std::{fmt, fs};",
            "use std::{fmt, fs::{self as files}};",
            "use std::io::*;",
            "fn f() { std::fs::read(path) }",
            "use std::io; fn f() { io::stdout() }",
            "use std as s; fn f() { s::io::stdout() }",
            "fn f() { println!(\"{}\", 1) }",
            "fn f() { std::println!() }",
            "fn f() { g!(println!()) }",
            "fn f() { path.read_dir(); }",
            "fn f() { statrs::mean() }",
            "#[test] fn f() { insta::assert_snapshot!(1) }",
        ] {
            assert_eq!(fenced("numerics/block.rs", text).len(), 1, "{text}: {:?}", fenced("numerics/block.rs", text));
        }
    }

    #[test]
    fn a_fenced_name_is_free_inside_its_fence() {
        assert_eq!(fenced("config/file/reader.rs", "use serde_yaml::Value; use std::fs; fn f() { p.read_dir(); }"), []);
        assert_eq!(fenced("numerics/error_metrics.rs", "use statrs::statistics::Data;"), []);
        assert_eq!(fenced("numerics/error_metrics/mod.rs", "use statrs::statistics::Data;"), []);
        assert_eq!(fenced("cli/mod.rs", "use std::io; fn f() { println!(); io::stdout() }"), []);
    }

    #[test]
    fn a_fence_may_be_open_to_unit_tests_alone() {
        let test = "#[cfg(test)] mod tests { #[test] fn f() { serde_json::to_string(&1); } }";
        assert_eq!(fenced("numerics/block.rs", test), []);
        assert_eq!(fenced("numerics/block.rs", "fn f() { serde_json::to_string(&1); }").len(), 1);
    }

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let files = [
            ("lib.rs", "pub mod units; mod report;"),
            ("main.rs", "mod cli;"),
            ("units.rs", ""),
            ("cli/mod.rs", ""),
            ("report/mod.rs", "#[cfg(test)] mod tests; pub mod csv { pub mod inner; }"),
            ("report/csv.rs", ""),
            ("report/json.rs", ""),
            ("energy.rs", ""),
        ];
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::read(path, text)).collect();
        assert_eq!(undeclared_modules(&sources), ["report::json", "energy"]);
    }

    #[test]
    fn a_name_that_only_resembles_a_fenced_one_is_free() {
        for text in [
            "mod statrs; fn f() { statrs::mean() }",
            "use crate::report::statrs; fn f() { statrs::mean() }",
            "fn f() { if a != println { structure.read_dir } }",
            "use std::io::{Read, Write}; use std::fmt::*; fn f() { println() }",
        ] {
            assert_eq!(fenced("report.rs", text), [], "{text}");
        }
    }

    #[test]
    fn the_crates_of_a_manifest_are_read_by_their_names_in_code() {
        let manifest = "[package]\nname = \"npusim\"\n[dependencies]\n# rand = 1\ncomfy-table = \"8\"\n\
            serde = { version = \"1\", features = [\"derive\"] }\n[dependencies.half]\nversion = \"2\"\n\
            [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n[dev-dependencies]\ninsta = \"1\"\n[profile.dev]\nlto = 1\n";
        let (program, tests) = declared_crates(manifest);
        assert_eq!(program.into_iter().collect::<Vec<_>>(), ["comfy_table", "half", "libc", "serde"]);
        assert_eq!(tests.into_iter().collect::<Vec<_>>(), ["insta"]);
    }

    #[test]
    fn a_file_without_a_purpose_or_with_unfinished_work_is_found() {
        let check = |text: &str, named: &str| {
            let found = text_findings(text, 5);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].1.contains(named), "{text}: {found:?}");
        };
        check("fn f() {}\n", "`//!`");
        check("//! A.\nfn f() { todo!() }\n", "`todo!`");
        check("//! A.\nfn f() { g(unimplemented!(\"later\")) }\n", "`unimplemented!`");
        check("//! A.\nfn f() { vec![dbg!(1)]; }\n", "`dbg!`");
        check("//! A.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n", "a test is ignored");
        check("//! A.\n#[cfg_attr(debug_assertions, ignore)]\nfn f() {}\n", "a test is ignored");
        check("//! A.\n/// ```rust,ignore\n/// f();\n/// ```\nfn f() {}\n", "an example is ignored");
        check("//! A.\n\n\n\n\n\n", "6 lines");
        assert_eq!(text_findings("//! A.\n/// ```\n/// f(ignore)\n/// ```\nfn todo() {}\n", 5), []);
    }

    #[test]
    fn a_place_on_one_machine_is_told_from_an_address() {
        let home = concat!("/ho", "me/");
        assert_eq!(machine_paths(&format!("see\n`{home}me/x`")).len(), 1);
        assert_eq!(machine_paths(&format!("{home}me")).len(), 1);
        assert_eq!(machine_paths(&format!("https://example.org{home}page and src{home}x")), []);
    }

    #[test]
    fn an_entry_that_its_registry_does_not_name_is_missing() {
        let entries = ["integer", "minifloat", "posit", "bfloat"].map(str::to_owned);
        let text = "mod integer; mod minifloat; mod posit; mod bfloat; use bfloat::Bf16 as Brain;
            /// Every one.
            pub static ALL: &[&dyn Format] = &[&integer::INT8, &Brain, &self::minifloat::E4M3];
            static OTHERS: &[&dyn Format] = &[&posit::POSIT8];";
        assert_eq!(missing_from_registry(text, "ALL", &entries), ["posit"]);
        assert_eq!(missing_from_registry("mod integer;", "ALL", &entries[..1]), ["integer"]);
    }

    #[test]
    fn shell_fences_are_told_from_other_fences() {
        let text = "a\n```sh\none\n```\n```text\nno\n```\n  ```sh\ntwo\nthree\n  ```\n";
        assert_eq!(shell_fences(text), [vec!["one"], vec!["two", "three"]]);
    }
}
