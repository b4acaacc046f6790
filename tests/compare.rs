//! `npusim compare` as a stranger runs it.

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

const PER_TENSOR: &str = "w8a8_per_tensor";
const PER_TOKEN: &str = "w8a8_per_token_per_channel";

fn npusim(command: &str) -> Command {
    let mut npusim = Command::new(env!("CARGO_BIN_EXE_npusim"));
    npusim.current_dir(env!("CARGO_MANIFEST_DIR"));
    npusim.args([command, "--hw", "edge-int8", "--workload", "workloads/minilm-layer.yaml"]);
    npusim
}

fn compare(more: &[&str]) -> Assert {
    npusim("compare").args(more).assert()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn refused(more: &[&str]) -> String {
    String::from_utf8(compare(more).code(2).get_output().stderr.clone()).unwrap()
}

#[test]
fn each_scheme_has_the_figures_of_its_own_run_and_ratios_to_the_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let schemes = format!("{PER_TENSOR},{PER_TOKEN}");
    let more =
        ["--schemes", &schemes, "--baseline", PER_TOKEN, "--set", "memories.dram.dram.bytes_per_cycle=8", "--out"];
    compare(&[&more[..], &[out.to_str().unwrap()]].concat()).success();
    let found = json(&out.join("compare.json"));
    assert_eq!((&found["schema_version"], &found["baseline"]), (&Value::from(1), &Value::from(PER_TOKEN)));
    assert_eq!(found["tilings"], "searched");
    let mut cycles = Vec::new();
    for (index, scheme) in [PER_TENSOR, PER_TOKEN].into_iter().enumerate() {
        let run = folder.path().join(scheme);
        npusim("run").args(["--scheme", scheme, more[4], more[5], "--out"]).arg(&run).assert().success();
        let mut report = json(&run.join("report.json"));
        // When units worked is recorded for single runs only.
        assert!(report.as_object_mut().unwrap().remove("timeline").is_some());
        let row = &found["schemes"][index];
        assert_eq!((&row["scheme"], &row["total"]["cycles"]), (&Value::from(scheme), &report["totals"]["cycles"]));
        assert_eq!(row["total"]["energy_pj"], report["totals"]["energy_pj"]["total"]);
        assert_eq!(found["reports"][index], report);
        for (layer, of_run) in row["layers"].as_array().unwrap().iter().zip(report["layers"].as_array().unwrap()) {
            assert_eq!((&layer["name"], &layer["cycles"]), (&of_run["name"], &of_run["attributed_cycles"]));
            assert_eq!(layer["numerics"]["sqnr_db"], of_run["numerics"]["sqnr_db"]);
            // One quantity has one name, and a bound stands beside what it bounds.
            assert_eq!(
                (&layer["span_cycles"], &layer["under_way_cycles"]),
                (&of_run["cycles"], &of_run["under_way_cycles"])
            );
            let [span, under_way, bound] =
                ["span_cycles", "under_way_cycles", "lower_bound_cycles"].map(|field| layer[field].as_u64().unwrap());
            assert!(span <= under_way && bound <= under_way, "{layer}");
            let baseline =
                found["schemes"][1]["layers"].as_array().unwrap().iter().find(|it| it["name"] == layer["name"]);
            let of_baseline = baseline.unwrap()["span_cycles"].as_f64().unwrap();
            let speedup = layer["span_speedup"].as_f64().unwrap();
            assert!((speedup - of_baseline / span as f64).abs() < 1e-12 * speedup, "{layer}");
        }
        // Layers, and parts of the work, each sum to the whole.
        for parts in ["layers", "paths"] {
            let sum: u64 = row[parts].as_array().unwrap().iter().map(|part| part["cycles"].as_u64().unwrap()).sum();
            assert_eq!(sum, row["total"]["cycles"].as_u64().unwrap(), "{parts}");
        }
        let lowest =
            report["layers"].as_array().unwrap().iter().map(|layer| layer["numerics"]["sqnr_db"].as_f64().unwrap());
        assert_eq!(row["total"]["numerics"]["sqnr_db"].as_f64().unwrap(), lowest.fold(f64::INFINITY, f64::min));
        cycles.push(row["total"]["cycles"].as_u64().unwrap());
    }
    // Quotients of whole numbers below 2^53 are correctly rounded; reading the decimals back may cost 1 ulp.
    let (speedup, expected) =
        (found["schemes"][0]["total"]["speedup"].as_f64().unwrap(), cycles[1] as f64 / cycles[0] as f64);
    assert!(speedup.to_bits().abs_diff(expected.to_bits()) <= 1, "{speedup} is not {expected}");
    assert_eq!(found["schemes"][1]["total"]["speedup"], 1.0);
    let summary = std::fs::read_to_string(out.join("summary.md")).unwrap();
    assert!(summary.contains("| w8a8_per_tensor | ") && summary.contains("## Layers"), "{summary}");
    assert!(summary.contains("| makespan [cycles] | speedup |"), "{summary}");
    assert!(
        summary.contains(
            "| attributed [cycles] | span [cycles] | speedup of span | under way [cycles] | bound [cycles] |"
        )
    );
    let table = std::fs::read_to_string(out.join("compare.csv")).unwrap();
    let columns = |line: &str| line.split(',').count();
    assert!(table.lines().all(|line| columns(line) == columns(table.lines().next().unwrap())), "{table}");
}

#[test]
fn a_scheme_that_the_hardware_cannot_run_is_a_row_with_its_reason_and_the_first_that_can_is_the_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let assert = compare(&["--schemes", "all", "--no-numerics", "--out", out.to_str().unwrap()]).success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("6 of 39 schemes, against w8a8_per_tensor;"), "{text}");
    assert!(text.contains("fp16 cannot run: layer `qkv` multiplies fp16 by fp16"), "{text}");
    let found = json(&out.join("compare.json"));
    let fp16 = &found["schemes"][0];
    assert!(fp16["reason"].as_str().unwrap().contains("no matrix unit does") && fp16.get("total").is_none());
    assert!(found["schemes"][2]["total"].get("numerics").is_none());
}

#[test]
fn what_cannot_be_compared_is_refused_and_the_message_says_why() {
    let both = format!("fp16,{PER_TOKEN}");
    let message = refused(&["--schemes", &both, "--baseline", "fp16", "--no-numerics"]);
    assert!(
        message.contains("fp16 cannot run: layer `qkv`") && message.contains("choose another baseline"),
        "{message}"
    );
    let message = refused(&["--schemes", "fp16,bf16", "--no-numerics"]);
    assert!(message.contains("fp16 cannot run"), "{message}");
    let message = refused(&["--schemes", &both, "--baseline", "fp15", "--no-numerics"]);
    assert!(message.contains("did you mean \"fp16\"?"), "{message}");
    let message = refused(&["--schemes", "fp16,fp16", "--no-numerics"]);
    assert!(message.contains("two schemes called \"fp16\""), "{message}");
    let message = refused(&["--schemes", "fp17"]);
    assert!(message.contains("no built-in scheme called \"fp17\""), "{message}");
}

#[test]
fn under_the_same_tilings_each_product_has_that_of_the_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let schemes = format!("{PER_TENSOR},{PER_TOKEN}");
    let more = ["--schemes", &schemes, "--baseline", PER_TOKEN, "--no-numerics", "--same-tiling", "--out"];
    let assert = compare(&[&more[..], &[out.to_str().unwrap()]].concat()).success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("tilings of the baseline for all"), "{text}");
    let found = json(&out.join("compare.json"));
    assert_eq!(found["tilings"], "same");
    let reports = found["reports"].as_array().unwrap();
    // The order of the rows is that of the command line although the baseline ran first.
    assert_eq!(found["schemes"][0]["scheme"], PER_TENSOR);
    let mut compared = 0;
    for (taken, given) in
        reports[0]["layers"].as_array().unwrap().iter().zip(reports[1]["layers"].as_array().unwrap().iter())
    {
        for (taken, given) in
            taken["tilings"].as_array().unwrap().iter().zip(given["tilings"].as_array().unwrap().iter())
        {
            assert_eq!((&given["chosen_by"], &taken["chosen_by"]), (&"search".into(), &"given".into()));
            for field in ["path", "m", "k", "n", "order"] {
                assert_eq!(taken[field], given[field], "{field}");
            }
            compared += 1;
        }
    }
    // qkv, attn_out, fc1, fc2.
    assert_eq!(compared, 4);
}

#[test]
fn an_earlier_comparison_is_replaced_and_the_result_of_a_run_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (out, run) = (folder.path().join("out"), folder.path().join("run"));
    let into = ["--schemes", PER_TENSOR, "--no-numerics", "--out"];
    for _ in 0..2 {
        compare(&[&into[..], &[out.to_str().unwrap()]].concat()).success();
    }
    npusim("run").args(["--no-numerics", "--out"]).arg(&run).assert().success();
    let message = refused(&[&into[..], &[run.to_str().unwrap()]].concat());
    assert!(message.contains("it holds the result of `npusim run` (report.json)"), "{message}");
    for name in ["report.json", "layers.csv", "summary.md", "energy.svg"] {
        assert!(run.join(name).is_file(), "{name} is still there");
    }
}
