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
