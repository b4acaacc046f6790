//! The targets: for each reader of files one, how inputs for it are made, and what has to hold of each.
//!
//! An input is bytes, so that a failing one can be kept, shortened and run again. A reader may refuse an input; it must not
//! panic, which the harness sees, and what it accepts must hold what [`Target::run`] asks.

use std::fs;
use std::path::{Path, PathBuf};

use npusim::config::calibration::CalibrationFile;
use npusim::config::defaults::Defaults;
use npusim::config::document::Document;
use npusim::config::source::Place;
use npusim::config::study::{self, Values};
use npusim::config::tensors::{self, Generated};
use npusim::config::{hardware, presets, scheme, workload};
use npusim::explore::journal;
use npusim::inputs::{Documents, open_file};
use npusim::report::plots;
use npusim::report::plots::saved::Saved;
use npusim::workload::graph::Workload;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::corpus::Corpus;
use crate::mutate::{Dictionary, change, change_bytes, pick};
use crate::tree::Tree;
use crate::whole_run::WholeRun;

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was read, and what has to hold holds.
    Accepted,
    /// It was refused in words.
    Refused,
    /// It would take too long, and was not run.
    TooLarge,
    /// Something does not hold.
    Wrong(String),
}

impl Verdict {
    fn of<T, E>(outcome: &Result<T, E>) -> Verdict {
        if outcome.is_ok() { Verdict::Accepted } else { Verdict::Refused }
    }
}

/// A reader with its inputs.
pub trait Target: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Executions of one for so many of the cheapest targets, where all run.
    fn cost(&self) -> u64;

    /// A new input.
    fn make(&self, random: &mut Pcg64) -> Vec<u8>;

    /// Reads an input. `folder` is for files of this thread.
    fn run(&self, input: &[u8], folder: &Path) -> Verdict;
}

/// Every target.
pub fn all(corpus: &Corpus) -> Vec<Box<dyn Target>> {
    let yaml = |name, files: &[String], cost, read: fn(&[u8]) -> Verdict| -> Box<dyn Target> {
        Box::new(TreeFile::new(name, files, true, cost, Box::new(read)))
    };
    let products = corpus.products.clone();
    let calibration = TreeFile::new(
        "calibration",
        &corpus.calibrations,
        false,
        10,
        Box::new(move |input| read_calibration(input, &products)),
    );
    vec![
        yaml("hardware", &corpus.hardware, 40, read_hardware),
        yaml("workload", &corpus.workloads, 40, read_workload),
        yaml("scheme", &corpus.schemes, 10, read_scheme),
        yaml("study", &corpus.studies, 20, read_study),
        yaml("energy", &corpus.energy, 80, read_energy),
        Box::new(calibration),
        Box::new(TreeFile::new("plot", &corpus.results, false, 2000, Box::new(read_result))),
        Box::new(TableFile { tables: corpus.tables.clone() }),
        Box::new(JournalFile::new(&corpus.journal)),
        Box::new(NpyFile),
        Box::new(SafetensorsFile::new()),
        Box::new(SetFlag::new(corpus)),
        Box::new(DottedPaths::new(corpus)),
        Box::new(Expressions),
        Box::new(WholeRun::new(corpus)),
    ]
}

/// A file that is a tree: YAML or JSON.
struct TreeFile {
    name: &'static str,
    texts: Vec<String>,
    trees: Vec<Tree>,
    dictionary: Dictionary,
    is_yaml: bool,
    cost: u64,
    read: Reader,
}

/// What reads a file.
type Reader = Box<dyn Fn(&[u8]) -> Verdict + Send + Sync>;

impl TreeFile {
    fn new(name: &'static str, texts: &[String], is_yaml: bool, cost: u64, read: Reader) -> TreeFile {
        let trees: Vec<Tree> = texts.iter().map(|text| Tree::parse(text)).collect();
        let dictionary = Dictionary::of(&trees);
        TreeFile { name, texts: texts.to_vec(), trees, dictionary, is_yaml, cost, read }
    }
}

impl Target for TreeFile {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cost(&self) -> u64 {
        self.cost
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        // One in eight starts from a text as it was written, with its comments, blocks and quotes.
        if random.random_range(0..8) == 0 {
            let mut bytes = pick(&self.texts, random).clone().into_bytes();
            change_bytes(&mut bytes, 4, random);
            return bytes;
        }
        let mut tree = pick(&self.trees, random).clone();
        change(&mut tree, 4, &self.dictionary, random);
        let mut bytes = tree.text(self.is_yaml).into_bytes();
        if random.random_range(0..12) == 0 {
            change_bytes(&mut bytes, 3, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], _folder: &Path) -> Verdict {
        (self.read)(input)
    }
}

fn document(input: &[u8]) -> Option<Document> {
    Document::from_bytes("fuzz.yaml", input, "").ok()
}

fn read_hardware(input: &[u8]) -> Verdict {
    // The shipped files name energy tables beside them.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../hw-configs");
    let Ok(mut document) = Document::from_bytes("fuzz.yaml", input, folder) else { return Verdict::Refused };
    if presets::include_energy_table(&mut document).is_err() {
        return Verdict::Refused;
    }
    Verdict::of(&hardware::resolve(&document, &mut Defaults::default()))
}

/// An energy table is read as the part of a hardware file that it is put into.
fn read_energy(input: &[u8]) -> Verdict {
    let Ok(table) = std::str::from_utf8(input) else { return Verdict::Refused };
    let Ok(mut document) = presets::open_hardware("edge-int8") else {
        return Verdict::Wrong("no edge-int8".to_owned());
    };
    if document.apply("energy", table, &Place::flag("energy")).is_err() {
        return Verdict::Refused;
    }
    Verdict::of(&hardware::resolve(&document, &mut Defaults::default()))
}

fn read_workload(input: &[u8]) -> Verdict {
    let Some(document) = document(input) else { return Verdict::Refused };
    let Ok((workload, places)) = workload::resolve(&document) else { return Verdict::Refused };
    // The coverage is asked for, but no value is made: a shape alone may be large.
    tensors::coverage(&workload, &places);
    Verdict::Accepted
}

fn read_scheme(input: &[u8]) -> Verdict {
    let Some(document) = document(input) else { return Verdict::Refused };
    Verdict::of(&scheme::resolve(&document))
}

fn read_study(input: &[u8]) -> Verdict {
    let Some(document) = document(input) else { return Verdict::Refused };
    Verdict::of(&study::resolve(&document))
}

/// A calibration is lowered too: what a scheme is given must be usable.
fn read_calibration(input: &[u8], workload: &Workload) -> Verdict {
    let Ok(file) = CalibrationFile::from_bytes("calibration.json", input) else { return Verdict::Refused };
    let mut verdict = Verdict::Refused;
    for scheme in npusim::scheme::ALL {
        let asked = scheme.calibration();
        let Ok(known) = file.answer(scheme.name(), &asked, workload) else { continue };
        if let Ok(program) = npusim::scheme::lower(workload, *scheme, Some(known)) {
            if let Err(problem) = npusim::program::verify::verify(&program) {
                return Verdict::Wrong(format!("the program under {} is inconsistent: {problem}", scheme.name()));
            }
            verdict = Verdict::Accepted;
        }
    }
    verdict
}

fn read_result(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else { return Verdict::Refused };
    let Ok(saved) = Saved::read(&[text.to_owned()]) else { return Verdict::Refused };
    drawn(&saved, input)
}

/// Draws all pictures; pixels, which take longest, of one input in 32.
fn drawn(saved: &Saved, input: &[u8]) -> Verdict {
    let has_pixels = input.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte))) % 32 == 0;
    for plot in plots::ALL {
        let Some(figure) = plot.figure(saved) else { continue };
        let is_forbidden = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
        if figure.svg.contains(is_forbidden) {
            return Verdict::Wrong(format!("{} has a control character", plot.name()));
        }
        if has_pixels {
            figure.png();
        }
    }
    Verdict::Accepted
}

/// The table of a study, with its summary after a line of `---`.
struct TableFile {
    tables: Vec<(String, String)>,
}

const BETWEEN: &str = "\n-----\n";

impl Target for TableFile {
    fn name(&self) -> &'static str {
        "table"
    }

    fn cost(&self) -> u64 {
        200
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let (table, summary) = pick(&self.tables, random);
        // A few of its points are enough, and quicker.
        let mut lines: Vec<Vec<String>> =
            table.lines().take(12).map(|line| line.split(',').map(str::to_owned).collect()).collect();
        for _ in 0..random.random_range(1..4) {
            let (row, other) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
            let column = random.random_range(0..lines[row].len());
            let cells =
                ["", "inf", "nan", "-1", "1e308", "1e-308", "0", "true", "\"a,b\"", "64 KiB", "x\u{1}", "cycles"];
            match random.random_range(0..6) {
                0 => drop(lines[row].remove(column)),
                1 => lines.swap(row, other),
                2 => lines[row] = lines[other].clone(),
                _ => lines[row][column] = (*pick(&cells, random)).to_owned(),
            }
            if lines[row].is_empty() {
                lines[row].push(String::new());
            }
        }
        let lines: Vec<String> = lines.iter().map(|cells| cells.join(",")).collect();
        let mut bytes = format!("{}\n{BETWEEN}{summary}", lines.join("\n")).into_bytes();
        if random.random_range(0..6) == 0 {
            change_bytes(&mut bytes, 3, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], _folder: &Path) -> Verdict {
        let Ok(text) = std::str::from_utf8(input) else { return Verdict::Refused };
        let (table, summary) = text.split_once(BETWEEN).unwrap_or((text, ""));
        let saved = Saved::read(&[table.to_owned()]);
        let saved = if summary.is_empty() { saved } else { saved.and_then(|saved| saved.with_summary(summary)) };
        saved.map_or(Verdict::Refused, |saved| drawn(&saved, input))
    }
}

/// A journal whose lines were changed, with checksums that hold again.
struct JournalFile {
    lines: Vec<(String, Tree)>,
    dictionary: Dictionary,
}

impl JournalFile {
    fn new(lines: &[(String, String)]) -> JournalFile {
        let lines: Vec<(String, Tree)> = lines.iter().map(|(key, json)| (key.clone(), Tree::parse(json))).collect();
        let dictionary = Dictionary::of(lines.iter().map(|(_, tree)| tree));
        JournalFile { lines, dictionary }
    }
}

impl Target for JournalFile {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn cost(&self) -> u64 {
        20
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, tree) in &self.lines {
            let mut tree = tree.clone();
            if random.random_range(0..3) == 0 {
                change(&mut tree, 2, &self.dictionary, random);
            }
            let json = tree.text(false);
            let check = &journal::digest([json.as_str()])[..16];
            bytes.extend(format!("{{\"check\":\"{check}\",\"{key}\":{json}}}\n").bytes());
        }
        if random.random_range(0..4) == 0 {
            change_bytes(&mut bytes, 3, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], folder: &Path) -> Verdict {
        with_file(folder, "journal.jsonl", input, |path| match journal::read(path) {
            Ok(Some(_)) => Verdict::Accepted,
            Ok(None) | Err(_) => Verdict::Refused,
        })
    }
}

/// Puts `bytes` into a file of `folder`.
fn with_file(folder: &Path, name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> Verdict) -> Verdict {
    let path: PathBuf = folder.join(name);
    match fs::write(&path, bytes) {
        Ok(()) => read(&path),
        Err(problem) => Verdict::Wrong(format!("{}: {problem}", path.display())),
    }
}

/// Loads the values of a workload whose first tensor, 2 x 3, is in a file beside it.
fn load_tensor(folder: &Path, kind: &str, file: &str) -> Verdict {
    let text = format!(
        "name: w\nactivation_format: fp32\ntensors:\n  - {{ name: x, shape: [2, 3], {kind}: {file} }}\n  - {{ name: w, shape: \
         [3, 2], generate: {{ distribution: normal, mean: 0, std: 1, seed: 1 }} }}\nlayers:\n  - {{ name: y, gemm: {{ input: x, weight: w }} }}\n"
    );
    let document = Document::from_bytes("w.yaml", text.as_bytes(), folder);
    let resolved = document.and_then(|document| workload::resolve(&document));
    match resolved {
        Ok((workload, places)) => Verdict::of(&tensors::load(&workload, &places, Generated::Wanted)),
        Err(problem) => Verdict::Wrong(problem.to_string()),
    }
}

/// NumPy files: a header that is nearly right, and as many bytes as it promises or nearly so.
struct NpyFile;

impl Target for NpyFile {
    fn name(&self) -> &'static str {
        "npy"
    }

    fn cost(&self) -> u64 {
        20
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let descr = *pick(&["<f4", "<f8", "<f2", "|i1", "|u1", "<i4", ">f4", "<i8", "O", "V4", "<f16", "x"], random);
        let order = *pick(&["False", "True", "false", "0", ""], random);
        let shape = *pick(
            &["(2, 3)", "(2, 3,)", "(6,)", "()", "(3, 2)", "(-2, -3)", "(1e9, 3)", "(99999999999999999999, 3)"],
            random,
        );
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}").into_bytes();
        if random.random_range(0..3) == 0 {
            change_bytes(&mut header, 2, random);
        }
        let version = *pick(&[[1u8, 0], [2, 0], [3, 0], [0, 0], [255, 255]], random);
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend(version);
        while !(header.len() + 11).is_multiple_of(64) {
            header.push(b' ');
        }
        header.push(b'\n');
        let length =
            if random.random_range(0..8) == 0 { random.random_range(0..=u32::MAX) } else { header.len() as u32 };
        match version[0] {
            1 => bytes.extend((length as u16).to_le_bytes()),
            _ => bytes.extend(length.to_le_bytes()),
        }
        bytes.extend(header);
        let size = *pick(&[24usize, 48, 12, 6, 23, 25, 0], random);
        bytes.extend((0..size).map(|_| random.random_range(0..=255u8)));
        if random.random_range(0..8) == 0 {
            change_bytes(&mut bytes, 2, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], folder: &Path) -> Verdict {
        with_file(folder, "x.npy", input, |_| load_tensor(folder, "npy", "x.npy"))
    }
}

/// Safetensors files: a header whose tree was changed, its length before it, and the data.
struct SafetensorsFile {
    header: Tree,
    dictionary: Dictionary,
}

impl SafetensorsFile {
    fn new() -> SafetensorsFile {
        let header = Tree::parse(
            "{\"__metadata__\": {\"format\": \"np\"}, \"x\": {\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": [0, 24]}, \"y\": \
             {\"dtype\": \"F16\", \"shape\": [2, 3], \"data_offsets\": [24, 36]}, \"z\": {\"dtype\": \"I8\", \"shape\": [6], \
             \"data_offsets\": [36, 42]}}",
        );
        let dictionary = Dictionary::of([&header]);
        SafetensorsFile { header, dictionary }
    }
}

impl Target for SafetensorsFile {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn cost(&self) -> u64 {
        20
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let mut header = self.header.clone();
        if random.random_range(0..8) > 0 {
            change(&mut header, 3, &self.dictionary, random);
        }
        let header = header.text(false).into_bytes();
        let length = match random.random_range(0..10) {
            0 => random.random_range(0..=u64::MAX),
            1 => header.len() as u64 + 1,
            _ => header.len() as u64,
        };
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(header);
        let size = if random.random_range(0..6) == 0 { random.random_range(0..64) } else { 42 };
        bytes.extend((0..size).map(|_| random.random_range(0..=255u8)));
        if random.random_range(0..8) == 0 {
            change_bytes(&mut bytes, 2, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], folder: &Path) -> Verdict {
        with_file(folder, "x.safetensors", input, |_| load_tensor(folder, "safetensors", "x.safetensors"))
    }
}

/// `--set PATH=VALUE` on the files of a run, which are then resolved.
struct SetFlag {
    paths: Vec<(String, String)>,
    opened: Option<[Document; 3]>,
}

impl SetFlag {
    fn new(corpus: &Corpus) -> SetFlag {
        let names = ["edge-int8", "minilm-layer", "muxq_per_tensor"];
        let mut opened = Vec::new();
        for (position, name) in names.iter().enumerate() {
            opened.extend(open_file(position, name));
        }
        let all = corpus.hardware.iter().chain(&corpus.workloads).chain(&corpus.schemes);
        let paths = all.flat_map(|text| Tree::parse(text).paths()).collect();
        SetFlag { paths, opened: opened.try_into().ok() }
    }
}

impl Target for SetFlag {
    fn name(&self) -> &'static str {
        "set"
    }

    fn cost(&self) -> u64 {
        100
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let (path, value) = pick(&self.paths, random);
        let mut tree = Tree::plain(value);
        let (_, other) = pick(&self.paths, random);
        if random.random_range(0..3) == 0 {
            tree = Tree::plain(other);
        }
        change(&mut tree, 2, &Dictionary::default(), random);
        let word = *pick(&["", "", "hardware.", "workload.", "scheme.", "study."], random);
        let mut bytes = format!("{word}{path}={}", tree.text(true)).into_bytes();
        if random.random_range(0..4) == 0 {
            change_bytes(&mut bytes, 2, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], _folder: &Path) -> Verdict {
        let Ok(assignment) = std::str::from_utf8(input) else { return Verdict::Refused };
        let Some(opened) = &self.opened else { return Verdict::Wrong("the files of a run are not there".to_owned()) };
        let mut documents = Documents::of(opened.clone());
        if documents.set(assignment).is_err() {
            return Verdict::Refused;
        }
        Verdict::of(&documents.resolve())
    }
}

/// Dotted paths alone, into the tree of a document.
struct DottedPaths {
    paths: Vec<String>,
    document: Document,
}

impl DottedPaths {
    fn new(corpus: &Corpus) -> DottedPaths {
        let text = "{a: [1, {b: 2}], c: {d: {e: 3}}, 'k.l': 4, m: text}";
        let document = Document::from_bytes("tree.yaml", text.as_bytes(), "").expect("a well-formed document");
        let mut paths: Vec<String> =
            Tree::parse(&corpus.hardware[0]).paths().into_iter().map(|(path, _)| path).collect();
        paths.extend(
            ["a", "a.0", "a.1.b", "a[1].b", "c.d.e", "c.d", "k.l", "m", "a.2", "c.d.e.f", ""].map(str::to_owned),
        );
        DottedPaths { paths, document }
    }
}

impl Target for DottedPaths {
    fn name(&self) -> &'static str {
        "path"
    }

    fn cost(&self) -> u64 {
        1
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let mut bytes = pick(&self.paths, random).clone().into_bytes();
        if random.random_range(0..8) > 0 {
            change_bytes(&mut bytes, 3, random);
        }
        bytes.extend(pick(&[&b"=1"[..], b"=", b"={}", b"=[1, 2]", b"= x", b""], random).iter());
        bytes
    }

    fn run(&self, input: &[u8], _folder: &Path) -> Verdict {
        let Ok(text) = std::str::from_utf8(input) else { return Verdict::Refused };
        let origin = Place::flag("--set");
        let Ok((path, value)) = npusim::config::apply::split_assignment(text, &origin) else { return Verdict::Refused };
        Verdict::of(&self.document.clone().apply(path, value, &origin))
    }
}

/// Expressions of a study's parameters, grown from a grammar; accepted ones are computed.
struct Expressions;

fn expression(depth: u32, random: &mut Pcg64) -> String {
    let leaf =
        |random: &mut Pcg64| (*pick(&["a", "b", "1", "2", "0", "0.5", "1e308", "-3", "c", "64"], random)).to_owned();
    if depth == 0 {
        return leaf(random);
    }
    let (one, other) = (expression(depth - 1, random), expression(depth - 1, random));
    match random.random_range(0..8) {
        0 => leaf(random),
        1 => format!("({one})"),
        2 => format!("-{one}"),
        3 => {
            let function =
                *pick(&["floor", "ceil", "round", "sqrt", "abs", "min", "max", "log2", "exp", "sin", "f"], random);
            format!("{function}({one}{}{other})", pick(&[", ", " "], random))
        }
        _ => format!("{one} {} {other}", pick(&["+", "-", "*", "/", "^", "%", "<", "&&", "//", "**"], random)),
    }
}

impl Target for Expressions {
    fn name(&self) -> &'static str {
        "expression"
    }

    fn cost(&self) -> u64 {
        5
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let depth = random.random_range(0..4);
        let mut bytes = expression(depth, random).into_bytes();
        if random.random_range(0..3) == 0 {
            change_bytes(&mut bytes, 2, random);
        }
        bytes
    }

    fn run(&self, input: &[u8], _folder: &Path) -> Verdict {
        let Ok(text) = std::str::from_utf8(input) else { return Verdict::Refused };
        let quoted = Tree::Scalar { text: text.to_owned(), quoted: true }.text(true);
        let study = format!(
            "name: s\nhardware: edge-int8\nworkload: minilm-layer\nscheme: fp16\nparameters:\n  - {{ name: a, values: [1, 8] }}\n  \
             - {{ name: b, values: [0, 3] }}\n  - {{ name: x, path: matrix_units.0.launch_cycles, expression: {quoted} }}\nobjectives:\n  \
             - {{ metric: cycles }}\n"
        );
        let study = Document::from_bytes("s.yaml", study.as_bytes(), "").and_then(|document| study::resolve(&document));
        let Ok(study) = study else { return Verdict::Refused };
        for parameter in &study.parameters {
            let Values::Expression(expression) = &parameter.values else { continue };
            let numbers = vec![8.0; expression.uses.len()];
            if expression.value(&numbers).is_some_and(|value| !value.is_finite()) {
                return Verdict::Wrong(format!("`{text}` gives a value that is not finite"));
            }
        }
        Verdict::Accepted
    }
}
