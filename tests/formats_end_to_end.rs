//! Formats beyond INT8, from YAML to report, on the real layer: numbers against an independent program, bytes by hand.

use assert_cmd::Command;
use serde_json::Value;

use crate::expected::assert_sqnr;

fn report(more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    Command::new(env!("CARGO_BIN_EXE_npusim"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--hw", "hw-configs/mx-npu.yaml", "--workload", "workloads/minilm-layer.yaml"])
        .args(more)
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
}

#[test]
fn the_real_layer_reaches_the_expected_ratio_in_fp16_mxfp8_and_mxfp4() {
    for (scheme, key) in [("fp16", "fp16"), ("mxfp8_e4m3", "mxfp8_e4m3_b32"), ("mxfp4", "mxfp4_b32")] {
        assert_sqnr(&report(&["--scheme", scheme]), key);
    }
}

#[test]
fn a_unit_of_one_to_two_to_four_needs_half_and_a_quarter_of_the_cycles() {
    let bound =
        |scheme: &str| report(&["--no-numerics", "--scheme", scheme])["bounds"]["compute_cycles"].as_u64().unwrap();
    // 339,738,624 multiply-accumulates at 16 x 16 x 16 a cycle in FP16.
    assert_eq!(bound("fp16"), 82_944);
    assert_eq!(bound("mxfp8_e4m3"), 41_472);
    assert_eq!(bound("mxint8"), 41_472);
    assert_eq!(bound("mxfp4"), 20_736);
}

#[test]
fn scale_bytes_are_counted_unless_the_scheme_leaves_them_out() {
    let constants = |flags: &[&str]| {
        let mut all = vec!["--no-numerics", "--scheme", "mxfp4"];
        all.extend(flags);
        report(&all)["layers"][0]["constant_bytes"].as_u64().unwrap()
    };
    // qkv: 384 x 1152 weights of 4 bits, one scale byte per 32 of them, a bias of 1152 x 4 bytes.
    let (weights, scales, bias) = (384 * 1152 / 2, 384 * 1152 / 32, 1152 * 4);
    assert_eq!(constants(&[]), weights + scales + bias);
    assert_eq!(constants(&["--set", "scheme.blocks.count_scale_bytes=false"]), weights + bias);
}

/// FP16 moves a scale by at most 2^-11 of itself, far less than four bits move a value.
#[test]
fn groups_of_four_bits_are_as_good_with_scales_of_16_bits_as_with_scales_of_32() {
    let sqnr = |format: &str| {
        let set = format!("scheme.groups.scale_format={format}");
        report(&["--scheme", "int4_g32", "--set", &set])["layers"][0]["numerics"]["sqnr_db"].as_f64().unwrap()
    };
    let [narrow, wide] = ["fp16", "fp32"].map(sqnr);
    assert!(wide > 10.0 && (narrow - wide).abs() < 0.1, "{narrow} and {wide}");
}

#[test]
fn a_narrow_accumulator_loses_sums_and_the_report_counts_them() {
    let narrow = ["--scheme", "w8a8_per_token_per_channel", "--set", "matrix_units.main.formats.2.accumulator_bits=16"];
    let report = report(&narrow);
    let numerics = &report["layers"][0]["numerics"];
    assert!(numerics["overflowed_sums"].as_u64().unwrap() > 0);
    assert!(numerics["sqnr_db"].as_f64().unwrap() < 20.0);
}
