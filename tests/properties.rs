//! What holds for files that nobody has thought of: no text makes a reader panic, and no run ends below its lower bounds.

use std::path::Path;

use npusim::config::defaults::Defaults;
use npusim::config::diagnostics::ConfigError;
use npusim::config::document::Document;
use npusim::config::source::Place;
use npusim::config::tensors::{Generated, load};
use npusim::config::{hardware, presets, scheme, workload};
use npusim::validate;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};

/// Reads a document as every kind of file; what is wrong must be said with its place.
fn read_as_all(document: &Document) {
    let check = |outcome: Result<(), ConfigError>| {
        if let Err(error) = outcome {
            assert!(!error.to_string().is_empty());
        }
    };
    check(hardware::resolve(document, &mut Defaults::default()).map(drop));
    check(scheme::resolve(document).map(drop));
    check(workload::resolve(document).and_then(|(workload, places)| {
        // Generated values are computed only where that is quick.
        let is_small = workload.tensors().iter().map(|tensor| tensor.shape.elements()).sum::<u64>() < 1 << 20;
        let generated = if is_small { Generated::Wanted } else { Generated::LeftOut };
        load(&workload, &places, generated).map(drop)
    }));
}

const FILES: [&str; 8] = [
    include_str!("../hw-configs/edge-int8.yaml"),
    include_str!("../hw-configs/mx-npu.yaml"),
    include_str!("../hw-configs/nvdla-small.yaml"),
    include_str!("../workloads/minilm-layer.yaml"),
    include_str!("../starter/hardware.yaml"),
    include_str!("../starter/workload.yaml"),
    include_str!("../workloads/schemes/mxfp4.yaml"),
    include_str!("../workloads/schemes/w8a8_per_tensor.yaml"),
];

/// A change that a hasty hand makes to a file.
#[derive(Clone, Debug)]
enum Slip {
    /// A line goes missing.
    Drop(usize),
    /// A line stands twice.
    Double(usize),
    /// Two lines change places.
    Swap(usize, usize),
    /// A piece of a line is replaced.
    Replace(usize, usize, String),
    /// The rest of the file is gone.
    Cut(usize),
}

fn slip() -> impl Strategy<Value = Slip> {
    let words = prop::sample::select(vec![
        "",
        " ",
        "  ",
        "-",
        ":",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "0",
        "-1",
        "1e999",
        ".nan",
        "~",
        "\"",
        "'",
        "#",
        "!",
        "\t",
        "99999999999999999999",
        "name",
        "repeat: { count: 9, layers: [] }",
        "{block}",
        "previous",
        "\u{0}",
        "é",
    ]);
    prop_oneof![
        any::<usize>().prop_map(Slip::Drop),
        any::<usize>().prop_map(Slip::Double),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Slip::Swap(a, b)),
        (any::<usize>(), any::<usize>(), words).prop_map(|(line, at, with)| Slip::Replace(line, at, with.to_owned())),
        any::<usize>().prop_map(Slip::Cut),
    ]
}

fn slipped(text: &str, slips: &[Slip]) -> String {
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect();
    for slip in slips {
        let count = lines.len().max(1);
        match slip {
            _ if lines.is_empty() => {}
            Slip::Drop(line) => drop(lines.remove(line % count)),
            Slip::Double(line) => lines.insert(line % count, lines[line % count].clone()),
            Slip::Swap(a, b) => lines.swap(a % count, b % count),
            Slip::Replace(line, at, with) => {
                let line = &mut lines[line % count];
                let letters: Vec<char> = line.chars().collect();
                let at = at % (letters.len() + 1);
                let end = (at + 3).min(letters.len());
                *line = letters[..at].iter().collect::<String>() + with + &letters[end..].iter().collect::<String>();
            }
            Slip::Cut(line) => lines.truncate(line % count),
        }
    }
    lines.join("\n")
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_slip_in_a_file_makes_a_reader_panic(file in prop::sample::select(FILES.to_vec()), slips in prop::collection::vec(slip(), 1..4)) {
        if let Ok(document) = Document::from_bytes("f.yaml", slipped(file, &slips).as_bytes(), "nowhere") {
            read_as_all(&document);
        }
    }

    #[test]
    fn no_override_makes_a_reader_panic(
        file in prop::sample::select(FILES.to_vec()),
        path in "[a-z_]{1,8}|(matrix_units|memories|tensors|layers|dma|defaults|w8a8|blocks)(\\.[0-9a-z_]{1,12}){0,3}",
        value in "\\PC{0,12}|-?[0-9]{1,20}|\\{[a-z]: 1\\}|\\[\\]",
    ) {
        let mut document = Document::from_bytes("f.yaml", file.as_bytes(), "nowhere").unwrap();
        if document.apply(&path, &value, &Place::flag("--set")).is_ok() {
            read_as_all(&document);
        }
    }

    #[test]
    fn no_bytes_in_the_place_of_tensors_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), is_npy in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        // After the first bytes of the format, so that more than those is read.
        let start: &[u8] = if is_npy { b"\x93NUMPY\x01\x00" } else { b"\x20\x00\x00\x00\x00\x00\x00\x00{\"x\":{" };
        std::fs::write(folder.path().join("x"), [start, &bytes].concat()).unwrap();
        let source = if is_npy { "npy" } else { "safetensors" };
        let text = format!("name: n\nactivation_format: fp32\ntensors: [{{ name: x, shape: [2, 2], {source}: x }}]\nlayers: [{{ name: a, activate: {{ input: x, function: relu }} }}]\n");
        let document = Document::from_bytes("w.yaml", text.as_bytes(), folder.path()).unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        assert!(load(&workload, &places, Generated::Wanted).is_err());
    }

    #[test]
    fn no_slip_in_rows_or_manifests_makes_validate_panic(slips in prop::collection::vec(slip(), 1..4), is_table in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let (set, name, text) = match is_table {
            true => ("scalesim", "scalesim_user.csv", include_str!("oracles/scalesim/scalesim_user.csv")),
            false => ("mx-rtl", "manifest.json", include_str!("oracles/mx_rtl/manifest.json")),
        };
        // The heading and a few rows: what is asked is whether they are read, not what comes out.
        let text: String = text.lines().take(4).map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.path().join(name), slipped(&text, &slips)).unwrap();
        let set = validate::by_name(set).unwrap();
        let _ = validate::run(&[set], Some(folder.path()), &[]);
    }
}

/// A random value for a path of the starter files.
fn figure() -> impl Strategy<Value = (&'static str, String)> {
    let from = |path: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values.to_vec()).prop_map(move |value| (path, value.to_owned()))
    };
    let upto = |path: &'static str, most: u64| (1..=most).prop_map(move |value| (path, value.to_string()));
    prop_oneof![
        upto("matrix_units.0.systolic_array.rows", 40),
        upto("matrix_units.0.systolic_array.columns", 40),
        from("matrix_units.0.systolic_array.dataflow", &["weight_stationary", "output_stationary", "input_stationary"]),
        from("matrix_units.0.systolic_array.double_buffered", &["true", "false"]),
        upto("matrix_units.0.launch_cycles", 100),
        upto("memories.0.dram.bytes_per_cycle", 64),
        upto("memories.0.dram.latency_cycles", 500),
        from("memories.0.dram.model", &["ideal", "bandwidth_limited"]),
        from("memories.1.sram.partitions.activations", &["4 KiB", "16 KiB", "64 KiB"]),
        from("memories.1.sram.partitions.weights", &["4 KiB", "16 KiB", "64 KiB"]),
        from("memories.1.sram.partitions.outputs", &["4 KiB", "16 KiB", "64 KiB"]),
        from("memories.1.sram.partitions.resident", &["0", "32 KiB", "192 KiB"]),
        from("memories.2.sram.capacity", &["4 KiB", "32 KiB", "128 KiB"]),
        upto("dma.outstanding", 16),
        upto("dma.setup_cycles", 64),
        upto("layers.0.repeat.count", 3),
        upto("tensors.0.shape.0", 90),
    ]
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Through the same public path as `npusim run`. A memory too small for any tile is refused, and that is no run.
    #[test]
    fn no_run_ends_below_its_lower_bounds(
        figures in prop::collection::vec(figure(), 0..8),
        scheme_name in prop_oneof![Just("w8a8_per_tensor"), Just("w8a8_per_token_per_channel")],
    ) {
        let mut npu = presets::open_hardware("starter/hardware.yaml").unwrap();
        let mut work = presets::open_workload("starter/workload.yaml").unwrap();
        for (path, value) in &figures {
            let is_work = path.starts_with("layers") || path.starts_with("tensors");
            let document = if is_work { &mut work } else { &mut npu };
            document.apply(path, value, &Place::flag("--set")).unwrap();
        }
        let npu = hardware::resolve(&npu, &mut Defaults::default()).unwrap();
        let workload = workload::resolve(&work).unwrap().0;
        let scheme = scheme::resolve(&presets::open_scheme(scheme_name).unwrap()).unwrap();
        let setup = npusim::simulation::Setup {
            npu: &npu,
            workload: &workload,
            scheme: scheme.as_ref(),
            calibration: None,
            bindings: None,
            configuration: Default::default(),
            defaults: Vec::new(),
        };
        if let Ok(outcome) = npusim::simulation::simulate(setup, &mut npusim::timing::observer::Unobserved) {
            let totals = &outcome.report.totals;
            assert!(totals.cycles >= totals.lower_bound_cycles, "{} < {}: {figures:?}", totals.cycles, totals.lower_bound_cycles);
        }
    }
}

/// The files that the properties change are the shipped ones, and sound.
#[test]
fn the_files_that_are_changed_at_random_are_sound() {
    for file in ["starter/hardware.yaml", "hw-configs/nvdla-small.yaml"] {
        assert!(Path::new(file).exists());
        hardware::resolve(&presets::open_hardware(file).unwrap(), &mut Defaults::default()).unwrap();
    }
    workload::resolve(&presets::open_workload("starter/workload.yaml").unwrap()).unwrap();
}
