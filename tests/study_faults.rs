//! Studies with something wrong in or around them: said before the first point, in plain words, and nothing is mixed or lost.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;

const STUDY: &str = "\
name: small
hardware: edge-int8
workload: w.yaml
scheme: w8a8_per_tensor
parameters:
  - name: rows
    path: matrix_units.main.systolic_array.rows
    values: [8, 16]
  - name: bandwidth
    path: memories.dram.dram.bytes_per_cycle
    values: [10, 20, 40]
objectives:
  - { metric: cycles }
";

const WORKLOAD: &str = "\
name: one
activation_format: fp16
defaults:
  tensors: { generate: { distribution: normal, mean: 0, std: 1, seed: 5, outliers: { channels: 0.1, magnitude: 30, persistence: 0.7 } } }
tensors:
  - { name: x, shape: [40, 64] }
  - { name: w, shape: [64, 72] }
layers:
  - { name: fc, gemm: { input: x, weight: w } }
";

const WORKLOAD_OF_FILES: &str = "\
name: one
activation_format: fp16
tensors:
  - { name: x, shape: [40, 64], npy: x.npy }
  - { name: w, shape: [64, 72], npy: w.npy }
layers:
  - { name: fc, gemm: { input: x, weight: w } }
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(study: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("s.yaml", study);
        folder.write("w.yaml", WORKLOAD);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_npusim"));
        command.current_dir(self.path()).args(arguments);
        command
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], status: i32) -> String {
        let assert = self.command(arguments).assert().code(status);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }

    /// What both `check` and `explore` say against the study, before anything is written.
    #[track_caller]
    fn refused(&self) -> String {
        let checked = self.fails(&["check", "s.yaml"], 2);
        assert_eq!(self.fails(&["explore", "s.yaml", "--out", "out"], 2), checked);
        assert!(!self.path().join("out").exists());
        checked
    }
}

#[track_caller]
fn refusal(from: &str, to: &str) -> String {
    assert!(STUDY.contains(from), "{from}");
    Folder::new(&STUDY.replace(from, to)).refused()
}

#[test]
fn a_path_that_no_file_has_is_refused_before_the_first_point() {
    let text = refusal("dram.bytes_per_cycle", "dram.bandwidth");
    assert!(text.starts_with("error: s.yaml:10:11: memories[0].dram: unknown key \"bandwidth\""), "{text}");
    assert!(text.contains("the keys known here are: ") && text.contains("bytes_per_cycle"), "{text}");
    assert_eq!(text.matches("unknown key").count(), 1, "a path is wrong once, not once for each value: {text}");
    let text = refusal("dram.bytes_per_cycle", "dram.bytes_per_cycel");
    assert!(text.contains("did you mean \"bytes_per_cycle\"?"), "{text}");
    let text = refusal("memories.dram.dram", "memories.drum.dram");
    assert!(text.starts_with("error: s.yaml:10:11: memories: there is no item \"drum\""), "{text}");
    assert!(text.contains("did you mean \"dram\"?"), "{text}");
    let text = refusal("memories.dram.dram.bytes_per_cycle", "clock.speed");
    assert!(text.starts_with("error: s.yaml:10:11: clock: there is no \"speed\" here"), "{text}");
    let text = refusal("parameters:", "set: [{ path: memories.dram.dram.speed, value: 4 }]\nparameters:");
    assert!(text.contains("s.yaml:5:") && text.contains("unknown key \"speed\""), "{text}");
    let text = refusal("parameters:", "set: [{ path: memorise.dram.dram.bytes_per_cycle, value: 4 }]\nparameters:");
    assert!(text.contains("s.yaml:5:") && text.contains("did you mean \"memories\"?"), "{text}");
    // One of several.
    let text = refusal(
        "path: matrix_units.main.systolic_array.rows",
        "path: [matrix_units.main.systolic_array.rows, matrix_units.main.systolic_array.rose]",
    );
    assert!(text.starts_with("error: s.yaml:7:51: matrix_units[0].systolic_array: unknown key \"rose\""), "{text}");
}

#[test]
fn a_path_that_one_of_the_files_has_is_none_to_refuse() {
    // The unit of mx-npu is no systolic array: its points fail with their reason, those of the other file do not.
    let files = "  - { name: npu, path: hardware, values: [mx-npu, edge-int8] }\n  - name: rows";
    let folder = Folder::new(&STUDY.replace("  - name: rows", files));
    folder.succeeds(&["check", "s.yaml"]);
    let text = folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
    assert!(text.contains("12 points, 6 could not be simulated"), "{text}");
    assert!(text.contains("  6 points: <built-in mx-npu>:"), "equal reasons are one line: {text}");
}

#[test]
fn a_path_with_a_single_value_that_one_of_the_files_has_is_none_to_refuse() {
    let files = "  - { name: npu, path: hardware, values: [core.yaml, edge-int8] }\n  - name: rows";
    let folder = Folder::new(&STUDY.replace("  - name: rows", files).replace("[8, 16]", "[8]"));
    let edge = Path::new(env!("CARGO_MANIFEST_DIR")).join("hw-configs/edge-int8.yaml");
    let core = fs::read_to_string(edge).unwrap().replace("name: main", "name: core");
    folder.write("core.yaml", &core.replace("energy/edge-22nm.yaml", "edge-22nm"));
    folder.succeeds(&["check", "core.yaml", "s.yaml"]);
    let text = folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
    assert!(text.contains("6 points, 3 could not be simulated"), "{text}");
    assert!(text.contains("  3 points: s.yaml:") && text.contains("there is no item \"main\""), "{text}");
}

#[test]
fn an_impossible_value_is_refused_before_the_first_point() {
    for (value, line, words) in [
        ("[10, .nan, 40]", "s.yaml:11:18", "nan"),
        ("[10, -1, 40]", "s.yaml:11:18", "is not a rate"),
        ("[10, 20, wide]", "s.yaml:11:22", "\"wide\""),
        ("[10, 20, 1e99]", "s.yaml:11:22", "1e99"),
    ] {
        let text = refusal("[10, 20, 40]", value);
        assert!(text.starts_with(&format!("error: {line}: memories[0].dram.bytes_per_cycle: ")), "{value}: {text}");
        assert!(text.to_lowercase().contains(words) || words == "is not a rate", "{value}: {text}");
    }
    for (value, words) in [
        ("values: [8, 0]", "0 is out of range"),
        ("values: [8, 65537]", "65537 is out of range"),
        ("values: [8.5, 8]", "8.5"),
        ("values: [8, '[1, 2]']", "a whole number is expected"),
        ("range: { from: 0, to: 16, step: 8 }", "0 is out of range"),
        ("range: { from: 8, to: 9, step: 0.5 }", "8.5"),
    ] {
        let text = refusal("values: [8, 16]", value);
        assert!(text.contains("s.yaml:8:") && text.contains("systolic_array.rows"), "{value}: {text}");
        assert!(text.contains(words), "{value}: {text}");
    }
    // Computed, and impossible whatever it is computed from.
    let text = refusal("values: [10, 20, 40]", "expression: 0 - rows");
    assert!(text.contains("s.yaml:11:") && text.contains("bytes_per_cycle"), "{text}");
    let text = refusal("values: [10, 20, 40]", "expression: rows / (rows - rows)");
    assert!(text.contains("s.yaml:11:") && text.contains("no finite value"), "{text}");
}

#[test]
fn a_value_that_is_wrong_beside_others_alone_is_a_point_with_its_reason() {
    // The second value of rows computes to no whole number.
    let odd = STUDY.replace("values: [8, 16]", "values: [9, 16]");
    let odd = odd.replace("  - name: bandwidth", "  - name: columns\n    path: matrix_units.main.systolic_array.columns\n    expression: rows / 2\n  - name: bandwidth");
    let folder = Folder::new(&odd);
    folder.succeeds(&["check", "s.yaml"]);
    let text = folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
    assert!(text.contains("6 points, 3 could not be simulated"), "{text}");
    assert!(text.contains("  3 points: s.yaml:"), "{text}");
    // A capacity that its banks do not divide: either may be right beside another.
    let banks = STUDY.replace("path: matrix_units.main.systolic_array.rows", "path: memories.sram.sram.banks");
    let folder = Folder::new(&banks.replace("values: [8, 16]", "values: [1, 7]"));
    folder.succeeds(&["check", "s.yaml"]);
}

#[test]
fn a_missing_file_is_refused_before_the_first_point() {
    let text = refusal("hardware: edge-int8", "hardware: nope.yaml");
    assert!(text.starts_with("error: s.yaml:2:11: there is no such file, and no built-in hardware"), "{text}");
    let text = refusal("hardware: edge-int8", "hardware: edge-int9");
    assert!(text.contains("s.yaml:2:11") && text.contains("did you mean \"edge-int8\"?"), "{text}");
    let text = refusal("workload: w.yaml", "workload: v.yaml");
    assert!(text.starts_with("error: s.yaml:3:11: there is no such file"), "{text}");
    let schemes = "  - { name: scheme, path: scheme, values: [fp16, nope] }\n  - name: rows";
    let text = refusal("  - name: rows", schemes);
    assert!(text.contains("s.yaml:6:") && text.contains("no built-in scheme called \"nope\""), "{text}");
    let calibrations = "  - { name: known, path: scheme.calibration, values: [a.json, b.json] }\n  - name: rows";
    let text =
        Folder::new(&STUDY.replace("  - name: rows", calibrations).replace("w8a8_per_tensor", "muxq_static")).refused();
    assert!(text.contains("s.yaml:6:") && text.contains("a.json cannot be read"), "{text}");
    let tables = "  - { name: table, path: energy, values: [edge-22nm, none.yaml] }\n  - name: rows";
    let text = refusal("  - name: rows", tables);
    assert!(text.contains("s.yaml:6:") && text.contains("none.yaml cannot be read"), "{text}");
    let folder = Folder::new(&format!("{STUDY}numerics: true\n"));
    folder.write("w.yaml", WORKLOAD_OF_FILES);
    let text = folder.refused();
    assert!(text.contains("w.yaml:4:") && text.contains("x.npy cannot be read"), "{text}");
}

#[test]
fn a_first_point_that_fails_does_not_end_a_study_with_values() {
    // Point 0 computes columns: 4.5.
    let text =
        STUDY.replace("values: [8, 16]", "values: [9, 16]").replace("w8a8_per_tensor", "w8a8_per_token_per_channel");
    let text = text.replace("  - name: bandwidth", "  - name: columns\n    path: matrix_units.main.systolic_array.columns\n    expression: rows / 2\n  - name: bandwidth");
    for numerics in [true, false] {
        let folder = Folder::new(&format!("{text}numerics: {numerics}\n"));
        let text = folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
        assert!(text.contains("6 points, 3 could not be simulated"), "numerics: {numerics}: {text}");
    }
}

#[test]
fn resume_refuses_a_calibration_or_tensor_file_that_changed() {
    let text = STUDY.replace("w8a8_per_tensor", "scheme.yaml") + "numerics: true\n";
    let folder = Folder::new(&text);
    let scheme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/schemes/w8a8_static.yaml")).unwrap();
    folder.write("scheme.yaml", &format!("{scheme}\ncalibration: cal.json\n"));
    folder.succeeds(&["calibrate", "--workload", "w.yaml", "--scheme", "w8a8_static", "--out", "cal.json"]);
    folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
    let journal = folder.read("out/journal.jsonl");
    let half: String = journal.split_inclusive('\n').take(4).collect();
    folder.write("out/journal.jsonl", &half);
    // Another seed, another calibration.
    let calibration = folder.read("cal.json");
    folder.write("other.yaml", &WORKLOAD.replace("seed: 5", "seed: 6"));
    folder.succeeds(&["calibrate", "--workload", "other.yaml", "--scheme", "w8a8_static", "--out", "cal.json"]);
    assert_ne!(folder.read("cal.json"), calibration);
    let text = folder.fails(&["explore", "s.yaml", "--out", "out", "--resume"], 2);
    assert!(text.contains("the journal of another study or of other files"), "{text}");
    assert_eq!(folder.read("out/journal.jsonl"), half);
    // The same contents are the same file.
    folder.write("cal.json", &calibration);
    folder.succeeds(&["explore", "s.yaml", "--out", "out", "--resume"]);
    assert_eq!(folder.read("out/journal.jsonl"), journal);
}

#[test]
fn any_number_of_parts_is_counted_and_merged_without_listing_them() {
    let folder = Folder::new(STUDY);
    for part in ["1/18446744073709551615", "18446744073709551615/18446744073709551615"] {
        folder.succeeds(&["explore", "s.yaml", "--shard", part, "--out", "out"]);
    }
    let text = folder.fails(&["merge", "out"], 2);
    assert!(text.contains("18446744073709551613 are missing: 2 to 18446744073709551614"), "{text}");
}

#[test]
fn a_second_process_is_told_that_another_is_at_work() {
    let folder = Folder::new(STUDY);
    fs::create_dir(folder.path().join("out")).unwrap();
    // Locked before its first line is written: the other process must not take it for torn.
    let held = fs::File::create(folder.path().join("out/journal.jsonl")).unwrap();
    held.try_lock().unwrap();
    let text = folder.fails(&["explore", "s.yaml", "--out", "out", "--resume"], 1);
    assert!(text.contains("another process is at work on this study") && text.contains("--out"), "{text}");
    assert!(folder.path().join("out/journal.jsonl").exists());
    drop(held);
    folder.succeeds(&["explore", "s.yaml", "--out", "out", "--resume"]);
}

#[test]
fn a_small_space_is_done_once_whatever_a_sampler_asks_for() {
    for sampler in [
        "random: { points: 1000 }",
        "sobol: { points: 7 }",
        "latin_hypercube: { points: 60 }",
        "nsga2: { population: 20, generations: 2 }",
    ] {
        let folder = Folder::new(&format!("{STUDY}sampler: {{ {sampler} }}\n"));
        let text = folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
        assert!(text.contains("small: 6 points") && text.contains("fewer points than the"), "{sampler}: {text}");
        assert_eq!(folder.read("out/results.csv").lines().count(), 7, "{sampler}");
        assert!(folder.read("out/study.json").contains("\"asked_points\""), "{sampler}");
    }
    let folder = Folder::new(&format!("{STUDY}sampler: {{ random: {{ points: 6 }} }}\n"));
    let text = folder.succeeds(&["explore", "s.yaml", "--out", "out"]);
    assert!(text.contains("small: 6 points") && !text.contains("fewer points than"), "{text}");
}

#[test]
fn a_control_character_is_refused_in_a_study_and_never_reaches_the_terminal() {
    let text = refusal(
        "name: rows\n    path: matrix_units.main.systolic_array.rows\n    values: [8, 16]",
        "name: label\n    values: [\"a\\e[31mRED\", b]",
    );
    assert!(text.contains("s.yaml:7:14: parameters[0].values[0]:") && text.contains("U+001B"), "{text}");
    let text = refusal("[10, 20, 40]", "[\"4\\x01\", 16]");
    assert!(text.contains("U+0001"), "{text}");
    let folder = Folder::new(STUDY);
    for arguments in [
        &["check", "a\u{1b}[31m.yaml"][..],
        &["a\u{1b}[31m"],
        &["plot", "a\u{9b}31m"],
        &["run", "--hw", "a\u{1b}[31m", "--workload", "w.yaml"],
    ] {
        let text = folder.fails(arguments, 2);
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }
}

#[test]
fn a_study_does_not_mix_its_files_into_the_folder_of_a_run_nor_a_run_into_that_of_a_study() {
    let folder = Folder::new(STUDY);
    let run = ["run", "--hw", "edge-int8", "--workload", "w.yaml", "--no-numerics", "--out"];
    let compare = [
        "compare",
        "--hw",
        "edge-int8",
        "--workload",
        "w.yaml",
        "--schemes",
        "w8a8_per_tensor",
        "--no-numerics",
        "--out",
    ];
    let explore = ["explore", "s.yaml", "--out"];
    let into = |command: &[&'static str], out: &'static str| [command, &[out]].concat();
    folder.succeeds(&into(&run, "r"));
    folder.succeeds(&into(&compare, "c"));
    folder.succeeds(&into(&explore, "e"));
    folder.write("notes.md", "mine");
    fs::create_dir(folder.path().join("n")).unwrap();
    folder.write("n/notes.md", "mine");
    let report = folder.read("r/report.json");
    for (command, out, words) in [
        (&run[..], "c", "`npusim compare` (compare.json)"),
        (&run, "e", "`npusim explore` (journal.jsonl)"),
        (&compare, "r", "`npusim run` (report.json)"),
        (&compare, "e", "`npusim explore` (journal.jsonl)"),
        (&explore, "r", "`npusim run` (report.json)"),
        (&explore, "c", "`npusim compare` (compare.json)"),
        (&run, "n", "it holds notes.md, which npusim does not write"),
        (&compare, "n", "it holds notes.md, which npusim does not write"),
        (&explore, "n", "it holds notes.md, which npusim does not write"),
        (&["plot", "r", "--out"], "n", "it holds notes.md, which npusim does not write"),
        (&explore, "notes.md", "this is a file"),
    ] {
        let text = folder.fails(&into(command, out), 2);
        assert!(text.contains(words) && text.contains("--out"), "{command:?} {out}: {text}");
    }
    assert_eq!(folder.read("r/report.json"), report);
    assert_eq!(fs::read_dir(folder.path().join("n")).unwrap().count(), 1);
    // Where each belongs, it is replaced or gone on with.
    folder.succeeds(&into(&run, "r"));
    folder.succeeds(&into(&compare, "c"));
    folder.succeeds(&["explore", "s.yaml", "--out", "e", "--resume"]);
    // Pictures: into a new folder, again into the same one, and not over one that was drawn elsewhere.
    folder.succeeds(&["plot", "r", "--out", "p"]);
    folder.succeeds(&["plot", "r", "--out", "p"]);
    let picture = fs::read_dir(folder.path().join("p")).unwrap().next().unwrap().unwrap().path();
    fs::write(&picture, "mine").unwrap();
    let text = folder.fails(&["plot", "r", "--out", "p"], 2);
    assert!(text.contains("it is no picture that npusim drew"), "{text}");
    assert_eq!(fs::read_to_string(&picture).unwrap(), "mine");
}

#[test]
fn a_file_of_the_user_is_not_overwritten_by_a_calibration_or_a_page() {
    let folder = Folder::new(STUDY);
    let calibrate = ["calibrate", "--workload", "w.yaml", "--scheme", "w8a8_static", "--out"];
    let validate = ["validate", "--set", "stonne", "--markdown"];
    for (command, noun) in [(&calibrate[..], "a calibration"), (&validate, "a validation page")] {
        for mine in ["years of work", "{\"layers\": 3}", "# Validation\n\nof my own"] {
            folder.write("mine", mine);
            let text = folder.fails(&[command, &["mine"]].concat(), 2);
            assert!(text.contains(&format!("it is not {noun} that npusim wrote")) && text.contains("help: "), "{text}");
            assert_eq!(folder.read("mine"), mine);
        }
        for _ in 0..2 {
            folder.succeeds(&[command, &["ours"]].concat());
        }
        fs::remove_file(folder.path().join("ours")).unwrap();
    }
}

/// Sends `signal` to a process that was told to be slow enough.
#[cfg(unix)]
fn interrupted(
    folder: &Folder,
    arguments: &[&str],
    signal: &str,
    is_ready: impl Fn() -> bool,
) -> (Option<i32>, String) {
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_npusim"))
        .current_dir(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !is_ready() {
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args([signal, &child.id().to_string()]).assert().success();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_ends_its_line_says_how_to_go_on_and_ends_in_the_same_bytes() {
    let many = STUDY.replace("values: [10, 20, 40]", "range: { from: 1, to: 400, step: 1 }");
    let folder = Folder::new(&many);
    folder.succeeds(&["explore", "s.yaml", "--out", "whole"]);
    let journal = folder.path().join("out/journal.jsonl");
    let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    for (signal, status, more) in [("-INT", 130, &[][..]), ("-TERM", 143, &["--resume"])] {
        let before = lines();
        let arguments = [&["explore", "s.yaml", "--threads", "1", "--out", "out"][..], more].concat();
        let (code, text) = interrupted(&folder, &arguments, signal, || lines() > before + 3);
        assert_eq!(code, Some(status), "{text}");
        assert!(text.contains("npusim explore s.yaml --out out --resume --threads 1"), "{text}");
        assert!(fs::read_to_string(&journal).unwrap().ends_with("}\n"));
        assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
    }
    folder.succeeds(&["explore", "s.yaml", "--out", "out", "--resume"]);
    for name in ["journal.jsonl", "results.csv", "study.json"] {
        assert_eq!(folder.read(&format!("out/{name}")), folder.read(&format!("whole/{name}")), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_no_unfinished_folder() {
    let folder = Folder::new(STUDY);
    // Long enough to be met at work.
    folder.write("w.yaml", &WORKLOAD.replace("[40, 64]", "[40000, 4096]").replace("[64, 72]", "[4096, 4096]"));
    let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let arguments = ["run", "--hw", "edge-int8", "--workload", "w.yaml", "--no-numerics", "--trace", "--out", "o"];
        let is_writing = || names().any(|name| name.starts_with(".npusim-unfinished-"));
        let (code, text) = interrupted(&folder, &arguments, signal, is_writing);
        assert_eq!(code, Some(status), "{text}");
        let mut left: Vec<String> = names().collect();
        left.sort();
        assert_eq!(left, ["s.yaml", "w.yaml"]);
    }
}
