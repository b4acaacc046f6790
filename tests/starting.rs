//! What a newcomer and their editor get: starter files that run, and schemas that are those of the readers.

use assert_cmd::Command;
use npusim::config::schema::{SchemaKind, schema};
use serde_json::Value;

fn npusim() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_npusim"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn stdout_of(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr_of(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn the_starter_pair_runs_as_it_is_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new/place");
    let text = stdout_of(npusim().arg("init").arg(&into).assert().success());
    assert!(text.contains("try: npusim run --hw"), "{text}");
    let (hardware, workload) = (into.join("hardware.yaml"), into.join("workload.yaml"));
    npusim().arg("check").arg(&hardware).arg(&workload).assert().success();
    let out = folder.path().join("out");
    npusim()
        .arg("run")
        .arg("--hw")
        .arg(&hardware)
        .arg("--workload")
        .arg(&workload)
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    let report: Value = serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let layers = report["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    let expected = ["block.0.up", "block.0.gelu", "block.0.down", "block.1.up", "block.1.gelu", "block.1.down"];
    assert_eq!(names, expected);
    // Two products of 64 x 256 x 1024 in each of two blocks.
    assert_eq!(
        report["totals"]["macs"]["int8_x_int8"].as_u64().unwrap_or_default(),
        4 * 64 * 256 * 1024,
        "{}",
        report["totals"]["macs"]
    );
    // Weights of INT8 are within half a step of 1/127 of the largest value of a channel, some four standard deviations:
    // 1/127 x 4 / sqrt(12) is 1 % of the signal, 40 dB; activations with outliers of 20 deviations lose more of it.
    let sqnr = layers[0]["numerics"]["sqnr_db"].as_f64().unwrap();
    assert!((15.0..60.0).contains(&sqnr), "{sqnr}");
}

#[test]
fn a_starter_file_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("workload.yaml"), "mine").unwrap();
    let message = stderr_of(npusim().arg("init").arg(folder.path()).assert().code(2));
    assert!(message.contains("workload.yaml: this is there already and is not replaced"), "{message}");
    assert_eq!(std::fs::read_to_string(folder.path().join("workload.yaml")).unwrap(), "mine");
    assert!(!folder.path().join("hardware.yaml").exists(), "nothing is written where something is in the way");
}

/// Written anew by `for kind in hardware workload scheme energy study; do npusim schema $kind > schemas/$kind.json; done`.
#[test]
fn the_shipped_schemas_are_those_that_the_command_prints() {
    for kind in SchemaKind::ALL {
        let path = format!("{}/schemas/{}.json", env!("CARGO_MANIFEST_DIR"), kind.name());
        let shipped =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("schemas/{}.json: {error}", kind.name()));
        assert!(
            shipped == schema(kind),
            "schemas/{0}.json is stale: npusim schema {0} > schemas/{0}.json",
            kind.name()
        );
        assert_eq!(stdout_of(npusim().args(["schema", kind.name()]).assert().success()), shipped);
    }
    let message = stderr_of(npusim().args(["schema", "hardwear"]).assert().code(2));
    assert!(message.contains("did you mean \"hardware\"?"), "{message}");
}

#[test]
fn nothing_but_results_is_printed_where_no_terminal_is() {
    let run = ["run", "--hw", "edge-int8", "--workload", "minilm-layer", "--no-numerics"];
    assert_eq!(stderr_of(npusim().args(run).assert().success()), "");
}

#[test]
fn a_memory_too_small_for_any_tile_is_named_with_what_it_has_and_what_is_needed() {
    let run = ["run", "--hw", "starter/hardware.yaml", "--workload", "starter/workload.yaml", "--no-numerics"];
    let small = ["--set", "memories.sram.sram.partitions.weights=1"];
    let message = stderr_of(npusim().args(run).args(small).assert().code(2));
    assert!(
        message.contains("sram") && message.contains("weight partition") && message.contains("which has 1;"),
        "{message}"
    );
}
