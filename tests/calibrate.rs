//! `npusim calibrate` as a stranger runs it.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const MINILM: [&str; 2] = ["--workload", "workloads/minilm-layer.yaml"];

fn npusim() -> Command {
    let mut npusim = Command::new(env!("CARGO_BIN_EXE_npusim"));
    npusim.current_dir(env!("CARGO_MANIFEST_DIR"));
    npusim
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_calibration_finds_the_outliers_of_the_real_layer_and_a_run_that_reuses_it_is_the_run_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("muxq.json");
    npusim().arg("calibrate").args(MINILM).args(["--scheme", "muxq_per_tensor", "--out"]).arg(&file).assert().success();
    let found = json(&file);
    // Channels above 6 by layer: `n_channels_absmax_gt6` of workloads/data/minilm_l3.expected.json.
    let expected = json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/data/minilm_l3.expected.json"));
    for layer in ["qkv", "attn_out", "fc1", "fc2"] {
        let known = &found["layers"][layer];
        let outliers = known["outliers"].as_array().unwrap().len();
        assert_eq!(Value::from(outliers), expected[layer]["n_channels_absmax_gt6"], "{layer}");
        let observed = &known["observed"];
        assert_eq!(observed["tokens"], 192);
        let shares = observed["outlier_persistence"].as_array();
        assert_eq!(shares.map_or(0, Vec::len), outliers);
        // A channel is an outlier because it is one in some token.
        let in_some_token = |share: &Value| share.as_f64().is_some_and(|share| (1.0 / 192.0..=1.0).contains(&share));
        assert!(shares.is_none_or(|shares| shares.iter().all(in_some_token)), "{observed}");
    }
    let total = |name: &str, more: &[String]| {
        let out = folder.path().join(name);
        let run = ["run", "--hw", "mx-npu", "--scheme", "muxq_per_tensor", "--out"];
        npusim().args(run).arg(&out).args(MINILM).args(more).assert().success();
        let report = json(&out.join("report.json"));
        (report["totals"].clone(), report["layers"].clone())
    };
    let reused = format!("scheme.calibration={}", file.display());
    assert_eq!(total("reused", &["--set".to_owned(), reused]), total("of_this_run", &[]));
}

#[test]
fn a_calibration_has_the_density_of_the_protected_groups() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("osc.json");
    npusim().arg("calibrate").args(MINILM).args(["--scheme", "osc_mxfp4", "--out"]).arg(&file).assert().success();
    let found = json(&file);
    let fc1 = &found["layers"]["fc1"];
    // 384 channels in groups of 32, one protected in each that has an outlier.
    assert_eq!(fc1["protected"].as_array().unwrap().len(), 12);
    // The most frequent of 32 channels has at least a thirty-second of the hits.
    let density = fc1["observed"]["clustering_density"].as_f64().unwrap();
    assert!((1.0 / 32.0..=1.0).contains(&density), "{density}");
}

#[test]
fn what_cannot_be_calibrated_is_refused_with_the_reason() {
    for (workload, scheme, reason) in [
        ("workloads/minilm-layer.yaml", "w8a8_per_tensor", "asks nothing of a calibration"),
        ("workloads/qwen3-8b-layer.yaml", "osc_mxfp4", "have shapes but no values"),
        ("hw-configs/mx-npu.yaml", "osc_mxfp4", "this is a hardware file"),
    ] {
        let assert = npusim().args(["calibrate", "--workload", workload, "--scheme", scheme]).assert().code(2);
        let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(text.contains(reason), "{text}");
    }
}

/// What a run says of the calibration that `scheme` asked for, after `edit` changed it; nothing where it ran.
fn refusal(scheme: &str, edit: impl FnOnce(&mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calibration.json");
    npusim().args(["calibrate", "--workload", SMALL, "--scheme", scheme, "--out"]).arg(&file).assert().success();
    let mut calibration = json(&file);
    edit(&mut calibration);
    std::fs::write(&file, serde_json::to_string_pretty(&calibration).unwrap()).unwrap();
    let set = format!("scheme.calibration={}", file.display());
    let run = ["run", "--hw", "mx-npu", "--workload", SMALL, "--scheme", scheme, "--set"];
    let ran = npusim().args(run).arg(&set).assert();
    let output = ran.get_output();
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    if output.status.success() {
        return String::new();
    }
    assert_eq!(output.status.code(), Some(2), "{text}");
    // The file, a line and a column.
    let place = text.split("calibration.json:").nth(1).unwrap_or_else(|| panic!("{text}"));
    assert!(place.split(':').take(2).all(|number| number.parse::<u64>().is_ok_and(|number| number > 0)), "{text}");
    text
}

const SMALL: &str = "tests/cases/calibration/two_products.yaml";

#[test]
fn a_calibration_that_nobody_changed_runs() {
    for scheme in ["w8a8_static", "muxq_static", "smoothquant_per_tensor", "llm_int8", "osc_mxfp4"] {
        assert_eq!(refusal(scheme, |_| {}), "", "{scheme}");
    }
}

#[test]
fn a_calibration_with_a_missing_or_impossible_entry_is_refused_by_layer() {
    let fc1 =
        |key: &'static str, value: Value| move |calibration: &mut Value| calibration["layers"]["fc1"][key] = value;
    let cases: [(&str, &'static str, Value, &str); 16] = [
        ("w8a8_static", "range", Value::Null, "range: it is missing"),
        ("w8a8_static", "range", Value::from(0), "range: 0 is not above 0"),
        ("w8a8_static", "range", Value::from(-1.5), "range: -1.5 is not above 0"),
        ("w8a8_static", "range", Value::from(1e39), "number out of range"),
        ("w8a8_static", "range", Value::from("3"), "invalid type: string"),
        ("w8a8_static", "smoothing", Value::from(vec![1; 64]), "the request does not ask for it"),
        ("w8a8_static", "channels", Value::from(65), "it has 65 input channels, the layer 64"),
        ("muxq_static", "outlier_range", Value::Null, "outlier_range: it is missing"),
        ("muxq_static", "outliers", Value::from(vec![1, 1]), "channel 1 is there twice"),
        ("muxq_static", "outliers", Value::from(vec![64]), "channel 64 does not exist"),
        ("muxq_static", "outliers", Value::from("none"), "invalid type: string"),
        ("smoothquant_per_tensor", "smoothing", Value::from(vec![1; 63]), "it has 63 factors, not 64"),
        ("smoothquant_per_tensor", "smoothing", Value::from(vec![0; 64]), "smoothing[0]: 0 is not above 0"),
        ("llm_int8", "outliers", Value::Null, "outliers: it is missing"),
        ("osc_mxfp4", "protected", Value::from(vec![0]), "it has 1 entries, not 2"),
        ("osc_mxfp4", "protected", Value::from(vec![0, 1]), "channel 1 is not of its group, channels 32 to 63"),
    ];
    for (scheme, key, value, found) in cases {
        let text = refusal(scheme, fc1(key, value.clone()));
        assert!(text.contains(found), "{scheme} {key} {value}: {text}");
    }
}

#[test]
fn a_layer_that_a_calibration_lacks_is_named_with_the_nearest_that_it_has() {
    let renamed = |calibration: &mut Value| {
        let layers = calibration["layers"].as_object_mut().unwrap();
        let known = layers.remove("fc1").unwrap();
        layers.insert("fc_1".to_owned(), known);
    };
    let text = refusal("w8a8_static", renamed);
    assert!(text.contains("layer `fc1` is missing") && text.contains("the file has a layer `fc_1`"), "{text}");
}
