//! The command as a stranger runs it: on shipped files, on wrong files, into folders.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

use crate::expected::assert_sqnr;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn npusim() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_npusim"));
    command.current_dir(root());
    command
}

const RUN: [&str; 5] = ["run", "--hw", "hw-configs/edge-int8.yaml", "--workload", "workloads/minilm-layer.yaml"];

/// Runs the shipped workload and returns the folder that it wrote and the report in it.
fn run_into(folder: &Path, more: &[&str]) -> (PathBuf, Value) {
    let out = folder.join("out");
    npusim().args(RUN).args(more).arg("--out").arg(&out).assert().success();
    let report = std::fs::read_to_string(out.join("report.json")).unwrap();
    (out, serde_json::from_str(&report).unwrap())
}

fn stderr_of(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn the_real_layer_reaches_the_expected_signal_to_noise_ratio_under_each_int8_scheme() {
    for (scheme, key) in [
        ("w8a8_per_tensor", "int8_per_tensor"),
        ("w8a8_per_tensor_per_channel", "int8_per_tensor_x_per_channel_w"),
        ("w8a8_per_token_per_channel", "int8_per_token_x_per_channel_w"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (_, report) = run_into(folder.path(), &["--scheme", scheme]);
        assert_sqnr(&report, key);
    }
}

#[test]
fn the_report_keeps_its_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (out, report) = run_into(folder.path(), &[]);
    assert_eq!(report["schema_version"], 1);
    let totals = &report["totals"];
    for field in [
        "cycles",
        "time_us",
        "lower_bound_cycles",
        "dram_read_bytes",
        "dram_write_bytes",
        "sram_read_bytes",
        "sram_write_bytes",
    ] {
        assert!(totals[field].as_f64().unwrap() > 0.0, "{field}");
    }
    assert!(totals["energy_pj"]["total"].as_f64().unwrap() > 0.0);
    // 192 x 384 x 1152 + 192 x 384 x 384 + 2 x 192 x 384 x 1536
    assert_eq!(totals["macs"]["int8_x_int8"], 339_738_624);
    assert!(totals["cycles"].as_u64() >= totals["lower_bound_cycles"].as_u64());
    let layers = report["layers"].as_array().unwrap();
    let attributed: u64 = layers.iter().map(|layer| layer["attributed_cycles"].as_u64().unwrap()).sum();
    assert_eq!(Some(attributed), totals["cycles"].as_u64());
    for layer in layers {
        let cycles = |field: &str| layer[field].as_u64().unwrap();
        assert_eq!(cycles("cycles"), cycles("end_cycle") - cycles("start_cycle"));
        assert!(!layer["paths"].as_array().unwrap().is_empty());
    }
    // The run can be repeated from the report alone.
    assert!(report["configuration"]["hardware"]["text"].as_str().unwrap().contains("matrix_units"));
    assert!(report["configuration"]["workload"]["text"].as_str().unwrap().contains("layers"));
    let csv = std::fs::read_to_string(out.join("layers.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + layers.len());
    let summary = std::fs::read_to_string(out.join("summary.md")).unwrap();
    assert!(summary.contains("lower bound"));
}

#[test]
fn a_scale_over_the_whole_tensor_makes_its_consumer_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (_, per_tensor) = run_into(folder.path(), &["--scheme", "w8a8_per_tensor_per_channel", "--no-numerics"]);
    let (_, per_token) = run_into(folder.path(), &["--scheme", "w8a8_per_token_per_channel", "--no-numerics"]);
    // The first layer reads its input from off-chip memory in both cases, so what its product waits for beside the memory
    // is the scale.
    let waits_for_scales = |report: &Value| {
        let paths = report["layers"][0]["paths"].as_array().unwrap();
        let body = paths.iter().find(|path| path["path"] == "body").unwrap();
        body["stall_cycles"]["dependency"].as_u64().unwrap()
    };
    assert!(waits_for_scales(&per_tensor) > waits_for_scales(&per_token));
}

#[test]
fn without_numerics_the_cycles_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (_, with) = run_into(folder.path(), &[]);
    let (_, without) = run_into(folder.path(), &["--no-numerics"]);
    // Which products have a zero operand, and so cost less, is known only with values; nothing else differs.
    let all_but_energy = |report: &Value| {
        let mut totals = report["totals"].clone();
        totals.as_object_mut().unwrap().remove("energy_pj");
        totals
    };
    assert_eq!(all_but_energy(&with), all_but_energy(&without));
    let energy = |report: &Value| report["totals"]["energy_pj"]["total"].as_f64().unwrap();
    assert!(energy(&with) < energy(&without));
    assert!(without["layers"][0].get("numerics").is_none());
}

#[test]
fn a_value_set_on_the_command_line_replaces_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = run_into(folder.path(), &["--no-numerics"]);
    let set = "memories.dram.dram.bytes_per_cycle=64";
    let (_, fast) = run_into(folder.path(), &["--no-numerics", "--set", set]);
    assert!(fast["totals"]["cycles"].as_u64() < base["totals"]["cycles"].as_u64());
    assert_eq!(fast["configuration"]["overrides"][0], set);
}

#[test]
fn a_wrong_flag_is_cited_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (flag, expected) in [
        ("matrix_units.0.systolic_array.rowz=8", "did you mean \"rows\"?"),
        ("matrix_units.0.systolic_array.rows=0", "allowed: 1 to 65536"),
        ("matrixunits.0=8", "did you mean \"matrix_units\"?"),
        ("name=other", "hardware.name or workload.name or scheme.name"),
        ("matrix_units.0.systolic_array.rows", "="),
    ] {
        let assert = npusim().args(RUN).args(["--set", flag, "--out"]).arg(&out).assert().code(2);
        let message = stderr_of(assert);
        assert!(message.contains(expected) && message.contains(flag), "{flag}: {message}");
        assert!(!out.exists());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn unknown_names_are_answered_with_the_nearest_one() {
    let assert = npusim().args(RUN).args(["--scheme", "w8a8_per_tenser"]).assert().code(2);
    assert!(stderr_of(assert).contains("did you mean \"w8a8_per_tensor\"?"));
    let assert = npusim().args(["run", "--hw", "edge-int9", "--workload", RUN[4]]).assert().code(2);
    assert!(stderr_of(assert).contains("did you mean \"edge-int8\"?"));
    let assert = npusim().args(["validate", "--set", "numeric"]).assert().code(2);
    assert!(stderr_of(assert).contains("did you mean \"numerics\"?"));
}

#[test]
fn a_machine_that_is_too_small_says_which_memory_and_how_much_is_needed() {
    let set = "memories.sram.sram.partitions.weights=1 KiB";
    let assert = npusim().args(RUN).args(["--no-numerics", "--set", set]).assert().code(2);
    let message = stderr_of(assert);
    assert!(message.contains("weight partition of memory `sram`") && message.contains("enlarge"), "{message}");
}

/// Every file and folder below `folder` with its contents, links not followed.
fn everything_in(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let is_file = entry.file_type().unwrap().is_file();
        found.push((entry.path(), is_file.then(|| std::fs::read(entry.path()).unwrap())));
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything_in(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Runs into `out` from `working_folder`, expects a refusal that changes nothing below `folder`, and returns its words.
fn refused_into(folder: &Path, working_folder: &Path, out: &Path) -> String {
    let before = everything_in(folder);
    let run = ["run", "--hw", "edge-int8", "--workload", "minilm-layer", "--no-numerics", "--out"];
    let assert = npusim().current_dir(working_folder).args(run).arg(out).assert().code(2);
    assert_eq!(everything_in(folder), before, "{}", out.display());
    stderr_of(assert)
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let message = refused_into(folder.path(), root(), folder.path());
    assert!(message.contains("it holds thesis.tex") && message.contains("choose another folder"), "{message}");
}

#[test]
fn files_and_folders_beside_an_earlier_report_are_not_deleted_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _) = run_into(folder.path(), &["--no-numerics"]);
    run_into(folder.path(), &["--no-numerics"]);
    std::fs::write(out.join("notes.md"), "what I saw").unwrap();
    std::fs::create_dir(out.join("plots")).unwrap();
    std::fs::write(out.join("plots/one.svg"), "<svg/>").unwrap();
    let message = refused_into(folder.path(), root(), &out);
    assert!(message.contains("it holds notes.md, plots/"), "{message}");
    let message = refused_into(folder.path(), &out, Path::new("."));
    assert!(message.contains("it holds notes.md, plots/"), "{message}");
}

#[test]
fn a_report_of_another_tool_does_not_make_a_folder_replaceable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.json"), r#"{"schema_version": 1, "tests": 12}"#).unwrap();
    let message = refused_into(folder.path(), root(), folder.path());
    assert!(message.contains("its report.json is none of npusim"), "{message}");
}

#[test]
fn the_working_folder_is_not_exchanged_under_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let message = refused_into(folder.path(), folder.path(), Path::new("."));
    assert!(message.contains("this is the working folder") && message.contains("--out result"), "{message}");
}

#[cfg(unix)]
#[test]
fn an_earlier_result_is_not_deleted_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _) = run_into(folder.path(), &["--no-numerics"]);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    let message = refused_into(folder.path(), root(), &link);
    assert!(message.contains("it is a link to the earlier result"), "{message}");
}

#[cfg(unix)]
#[test]
fn an_output_folder_that_is_a_file_a_device_or_a_dangling_link_is_told_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    std::fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for (out, expected) in [
        (file.as_path(), "this is a file"),
        (link.as_path(), "this is a link to nowhere, which does not exist"),
        (Path::new("/dev/null"), "this is a device"),
        (&file.join("below"), "nothing can stand below"),
    ] {
        let message = refused_into(folder.path(), root(), out);
        assert!(message.contains(expected) && message.contains("help: "), "{message}");
        assert!(!message.contains("os error"), "{message}");
    }
}

#[test]
fn check_finds_shipped_files_sound_and_tells_the_kinds_apart() {
    let assert = npusim().args(["check", RUN[2], RUN[4]]).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("a sound hardware file") && text.contains("a sound workload file"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.yaml");
    std::fs::write(&other, "colour: red\n").unwrap();
    let message = stderr_of(npusim().arg("check").arg(&other).assert().code(2));
    assert!(message.contains("neither a hardware nor a workload nor a scheme file, nor an energy table"), "{message}");
}

/// The real layer has products without roles; OSC's fallback is for the role `down`.
#[test]
fn a_fallback_for_a_role_that_no_layer_has_is_noted_by_check_run_and_report_and_changes_no_status() {
    let scheme = "workloads/schemes/osc_mxfp4_fp8_fallback.yaml";
    let note = format!(
        "note: {scheme}:20:13: fallback[0].role: no layer of the workload `minilm-layer` has the role \"down\""
    );
    let checked = npusim().args(["check", "workloads/minilm-layer.yaml", scheme]).assert().success();
    let told = stderr_of(checked);
    assert!(told.starts_with(&note) && told.contains("roles of its layers: none"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = ["run", "--hw", "mx-npu", "--workload", "minilm-layer", "--no-numerics", "--scheme"];
    let assert = npusim().args(run).args([scheme, "--out"]).arg(&out).assert().success();
    assert!(stderr_of(assert).contains(&note));
    let text = std::fs::read_to_string(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report["configuration"]["notes"][0].as_str().unwrap().starts_with(&note["note: ".len()..]));
    // A workload that has the role is nothing to speak of.
    let checked = npusim().args(["check", "qwen3-8b-layer", scheme]).assert().success();
    assert!(!stderr_of(checked).contains("no layer of the workload"));
}

#[test]
fn a_missing_calibration_is_cited_at_the_key_that_asks_for_it() {
    let run = ["run", "--hw", "mx-npu", "--workload", "minilm-layer", "--no-numerics", "--scheme"];
    for (scheme, place) in [
        ("workloads/schemes/muxq_per_tensor.yaml", ":16:14: muxq.detection: "),
        ("workloads/schemes/llm_int8.yaml", ": llm_int8.detection: "),
    ] {
        let message = stderr_of(npusim().args(run).arg(scheme).assert().code(2));
        assert!(message.starts_with(&format!("error: {scheme}:")), "{message}");
        assert!(message.contains(place) && message.contains("assumed_channels: N"), "{message}");
    }
    let flag = npusim().args(run).args(["muxq_per_tensor", "--set", "muxq.detection=online"]).assert().code(2);
    let message = stderr_of(flag);
    assert!(
        message.starts_with("error: --set muxq.detection=online: muxq.detection: the outlier channels"),
        "{message}"
    );
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn completions_of_each_shell_know_every_command() {
    let help = stdout(npusim().arg("--help"));
    let commands: Vec<&str> = (help.lines().skip_while(|line| *line != "Commands:").skip(1))
        .take_while(|line| !line.is_empty())
        // What goes on below a command's line is indented farther.
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"explore") && commands.contains(&"completions"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(npusim().args(["completions", shell]));
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
        assert!(script.contains("no-numerics"), "{shell} knows no options");
    }
    npusim().args(["completions", "tcsh"]).assert().code(2);
}

#[test]
fn list_names_every_registered_thing() {
    let assert = npusim().arg("list").assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    for name in ["w8a8_per_tensor", "weight_stationary", "ideal", "fp8_e4m3", "edge-int8", "minilm-layer"] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

/// `/dev/full` takes nothing: every write to it fails for want of space (full(4)).
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_a_failure() {
    let run = ["run", "--hw", "edge-int8", "--workload", "minilm-layer", "--no-numerics"];
    let validate = ["validate", "--set", "mx-rtl"];
    for arguments in
        [&run[..], &validate, &["list"], &["check", RUN[2]], &["--help"], &["run", "--help"], &["--version"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_npusim"))
            .current_dir(root())
            .args(arguments)
            .stdout(full)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("error: standard output: cannot write: "), "{arguments:?}: {message}");
    }
}

#[test]
fn a_pipe_closed_by_its_reader_ends_the_command_quietly_with_its_own_status() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "colour: red\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    for (arguments, status, words) in [
        (&["list"][..], 0, ""),
        (&["--help"], 0, ""),
        (&["check", RUN[2], RUN[4]], 0, ""),
        (&["check", RUN[2], wrong], 2, "neither a hardware"),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_npusim"))
            .current_dir(root())
            .args(arguments)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.is_empty() == words.is_empty() && message.contains(words), "{arguments:?}: {message}");
    }
}

#[test]
fn rows_named_by_their_manifest_or_without_their_set_are_validated() {
    for rows in ["tests/oracles/mx_rtl/manifest.json", "tests/oracles/mx_rtl"] {
        let assert = npusim().args(["validate", "--rows", rows]).assert().success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert!(text.contains("mx-rtl") && !text.contains("numerics"), "{text}");
    }
    let wrong = ["validate", "--set", "numerics", "--rows", "tests/oracles/mx_rtl"];
    let message = stderr_of(npusim().args(wrong).assert().code(2));
    assert!(message.contains("--set mx-rtl"), "{message}");
    let missing = ["validate", "--set", "numerics", "--rows", "tests/oracles/absent/manifest.json"];
    let message = stderr_of(npusim().args(missing).assert().code(2));
    assert!(message.starts_with("error: tests/oracles/absent/manifest.json: cannot be read"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_tensor_file_is_refused_without_waiting_for_its_other_end() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("x.safetensors")).status().unwrap();
    assert!(made.success());
    let workload = folder.path().join("w.yaml");
    std::fs::write(&workload, "name: w\nactivation_format: fp32\ntensors: [{ name: x, shape: [3], safetensors: x.safetensors }]\nlayers: [{ name: a, activate: { input: x, function: relu } }]\n").unwrap();
    let assert = npusim().arg("check").arg(&workload).timeout(std::time::Duration::from_secs(20)).assert().code(2);
    let message = stderr_of(assert);
    assert!(message.contains("it is a pipe, a socket or a device"), "{message}");
}

#[test]
fn a_tensor_without_values_among_others_with_values_is_cited_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join(RUN[4])).unwrap();
    let data = root().join("workloads/data").display().to_string();
    let text = text.replace("safetensors: data", &format!("safetensors: {data}"));
    let line = text.lines().position(|line| line.contains("name: qkv.w")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let bare = "  - { name: qkv.w, shape: [384, 1152] }";
    let text = [&lines[..line], &[bare], &lines[line + 1..]].concat().join("\n");
    let workload = folder.path().join("w.yaml");
    std::fs::write(&workload, text).unwrap();
    let run =
        |more: &[&str]| npusim().args(["run", "--hw", "edge-int8", "--workload"]).arg(&workload).args(more).assert();
    let message = stderr_of(run(&[]).code(2));
    let expected = format!("{}:{}:5: tensors[1]: the tensor \"qkv.w\" has only a shape", workload.display(), line + 1);
    assert!(message.contains(&expected) && message.contains("--no-numerics"), "{message}");
    run(&["--no-numerics"]).success();
    let assert = npusim().arg("check").arg(&workload).assert().success();
    let verdict = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(verdict.contains("without numbers") && verdict.contains("only a shape: qkv.w"), "{verdict}");
}

#[test]
fn a_built_in_workload_run_with_numbers_is_told_how_to_run_without() {
    let run = ["run", "--hw", "edge-int8", "--workload", "minilm-layer"];
    let message = stderr_of(npusim().args(run).assert().code(2));
    assert!(message.contains("help: run without numbers: --no-numerics"), "{message}");
}

#[test]
fn check_takes_names_of_built_in_files_and_energy_tables() {
    for (name, verdict) in [
        ("edge-int8", "a sound hardware file\n"),
        ("w8a8_per_tensor", "a sound scheme file\n"),
        ("minilm-layer", "a sound workload file, but without numbers (the values of a built-in workload"),
        ("edge-22nm", "a sound energy table\n"),
        ("hw-configs/energy/edge-22nm.yaml", "a sound energy table\n"),
        ("hw-configs/energy/mx-22nm.yaml", "a sound energy table\n"),
    ] {
        let assert = npusim().args(["check", name]).assert().success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert!(text.starts_with(&format!("{name}: {verdict}")), "{text}");
    }
    let message = stderr_of(npusim().args(["check", "edge-int9"]).assert().code(2));
    assert!(message.contains("no such file") && message.contains("did you mean \"edge-int8\"?"), "{message}");
}

#[test]
fn a_wrong_figure_of_an_energy_table_is_found_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("hw-configs/energy/edge-22nm.yaml")).unwrap();
    let table = folder.path().join("table.yaml");
    std::fs::write(&table, text.replacen("per_macs", "per_bytes", 1)).unwrap();
    let message = stderr_of(npusim().arg("check").arg(&table).assert().code(2));
    assert!(message.contains("actions[0].per_bytes") && message.contains("use per_macs"), "{message}");
}

#[test]
fn swapped_files_are_told_the_flag_that_they_belong_to() {
    let scheme = "workloads/schemes/mxfp4.yaml";
    let table = "hw-configs/energy/edge-22nm.yaml";
    let (hardware, workload) = (RUN[2], RUN[4]);
    for (hw, work, other, found, help) in [
        (workload, hardware, "fp16", "this is a workload file, but a hardware file", "pass it with --workload"),
        (hardware, hardware, "fp16", "this is a hardware file, but a workload file", "pass it with --hw"),
        (hardware, scheme, "fp16", "this is a scheme file, but a workload file", "pass it with --scheme"),
        (hardware, workload, workload, "this is a workload file, but a scheme file", "pass it with --workload"),
        (table, workload, "fp16", "this is an energy table, but a hardware file", "under \"energy\""),
        (
            "minilm-layer",
            workload,
            "fp16",
            "no built-in hardware called",
            "there is a built-in workload file of this name",
        ),
    ] {
        let run = ["run", "--hw", hw, "--workload", work, "--scheme", other];
        let message = stderr_of(npusim().args(run).assert().code(2));
        assert!(message.contains(found) && message.contains(help), "{message}");
    }
}

#[test]
fn descriptions_in_lists_end_with_their_sentence_and_stand_left() {
    let assert = npusim().arg("list").assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("384 channels, 1536 in the MLP |"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with("|-")) {
        let description = line.split('|').nth(2).unwrap();
        assert!(description.starts_with(' ') && !description.starts_with("  "), "{line}");
        assert!(!description.trim_end().ends_with([',', '.', ':']), "{line}");
    }
}

/// Runs the command under a time limit that a file without end would exceed, and returns what it says.
fn refused_at_once(arguments: &[&str]) -> String {
    let assert = npusim().args(arguments).timeout(std::time::Duration::from_secs(60)).assert().code(2);
    stderr_of(assert)
}

#[cfg(unix)]
#[test]
fn devices_pipes_and_folders_in_the_place_of_a_file_are_refused_instead_of_being_read_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let written = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for named in ["/dev/zero", pipe, "/tmp"] {
        let is_refused = |arguments: &[&str]| {
            let said = refused_at_once(arguments);
            assert!(said.contains("not a file"), "{arguments:?}: {said}");
        };
        for wrong in ["--hw", "--workload", "--scheme"] {
            let mut arguments = vec!["run", "--hw", "edge-int8", "--workload", "gpt2-small-block", "--scheme", "fp16"];
            let position = arguments.iter().position(|argument| *argument == wrong).unwrap();
            arguments[position + 1] = named;
            is_refused(&arguments);
        }
        is_refused(&["check", named]);
        is_refused(&["explore", named]);
        for key in ["npy", "safetensors"] {
            let text = format!(
                "name: n\nactivation_format: fp32\ntensors: [{{ name: x, shape: [4, 4], {key}: {named} }}]\n\
                 layers: [{{ name: a, activate: {{ input: x, function: relu }} }}]\n"
            );
            let workload = written("w.yaml", text);
            is_refused(&["run", "--hw", "edge-int8", "--workload", &workload, "--scheme", "fp16"]);
        }
        let calibration = format!("scheme.calibration={named}");
        let scheme = ["--scheme", "smoothquant_per_token", "--set", &calibration];
        is_refused(&[&["run", "--hw", "edge-int8", "--workload", "gpt2-small-block"], &scheme[..]].concat());
    }
    for named in ["/dev/zero", pipe] {
        let said = refused_at_once(&["plot", named]);
        assert!(said.contains("not a file"), "plot {named}: {said}");
    }
}
