//! The scheme that was asked for is the scheme that runs, and where it is not, the layer is named.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use npusim::config::{presets, scheme};
use npusim::execute::{self, Granularity};
use npusim::hardware::npu::Npu;
use npusim::numerics::formats::FP32;
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::timing::observer::Unobserved;
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LogicalGemm, RightLayout, ValueRef};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};
use npusim::{calibrate, schedule, timing};
use serde_json::Value;

use crate::fixture;

fn npusim() -> Command {
    let mut npusim = Command::new(env!("CARGO_BIN_EXE_npusim"));
    npusim.current_dir(env!("CARGO_MANIFEST_DIR"));
    npusim
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

/// Depth that every group and block of the built-in schemes divides.
const SHAPE: GemmShape = GemmShape::new(6, 128, 20);

/// Values around 1 with a few channels of x above the thresholds of 6, different in each element.
fn values() -> [Vec<f32>; 2] {
    let noise = |index: usize| ((index * 2_654_435_761) % 1_000_003) as f32 / 500_001.5 - 1.0;
    let (k, n) = (SHAPE.k as usize, SHAPE.n as usize);
    let x = (0..SHAPE.m as usize * k).map(|index| noise(index) * if index % k % 61 == 7 { 20.0 } else { 1.5 });
    let w = (0..k * n).map(|index| noise(index + 77));
    [x.collect(), w.collect()]
}

fn turned(w: &[f32]) -> Vec<f32> {
    let (k, n) = (SHAPE.k as usize, SHAPE.n as usize);
    (0..n).flat_map(|column| (0..k).map(move |row| w[row * n + column])).collect()
}

/// The product with its weight stored by rows, or by columns.
fn product(layout: RightLayout) -> (Workload, Bindings) {
    let [x, w] = values();
    let w = if layout == RightLayout::NByK { turned(&w) } else { w };
    let tensor = |name: &str, shape: MatrixShape, values: Vec<f32>| {
        let description = TensorDescription { name: name.to_owned(), shape, source: None, format: None };
        (description, Tensor::try_new(shape, &FP32, Elements::F32(values)).unwrap())
    };
    let [x, w] = [tensor("x", SHAPE.left(), x), tensor("w", layout.shape(SHAPE), w)];
    let dense = LogicalGemm::dense(SHAPE, ValueRef::Source(SourceTensorId(0)), SourceTensorId(1), None);
    let operation = LayerOperation::Gemm(LogicalGemm { weight_layout: layout, ..dense });
    let layer = Layer { name: "fc".to_owned(), operation, recorded_output: None };
    let workload = Workload::try_new("product".to_owned(), &FP32, vec![x.0, w.0], vec![layer]).unwrap();
    (workload, Bindings::new(vec![Some(x.1), Some(w.1)]))
}

#[test]
fn a_weight_stored_by_columns_gives_the_bits_of_one_stored_by_rows_under_every_built_in_scheme() {
    let npu = Npu::try_new(fixture::parts()).unwrap();
    for preset in presets::SCHEMES {
        let scheme = scheme::resolve(&preset.document().unwrap()).unwrap();
        let run = |layout| {
            let (workload, bindings) = product(layout);
            let request = scheme.calibration();
            let known = calibrate::calibrate(&workload, &bindings, request).unwrap();
            assert_eq!(known.layers.contains_key("fc"), !request.is_empty(), "{}", preset.name);
            let known = (!request.is_empty()).then_some(known);
            let program = npusim::scheme::lower(&workload, scheme.as_ref(), known.as_ref()).unwrap();
            npusim::program::verify::verify(&program).unwrap();
            let schedule = schedule::schedule(&program, &npu, workload.mapping()).unwrap();
            let execution = execute::run(&program, &schedule, &bindings, Granularity::Tiles).unwrap();
            let cycles = timing::run(&program, &schedule, &npu, &mut Unobserved).unwrap().makespan;
            let output = execution.tensor(program.layers[0].output).unwrap().to_f32();
            let bits: Vec<u32> = output.into_iter().map(f32::to_bits).collect();
            (bits, cycles, known, program.layers[0].deviations.clone())
        };
        let (by_rows, by_columns) = (run(RightLayout::KByN), run(RightLayout::NByK));
        assert_eq!(by_rows, by_columns, "{}", preset.name);
        assert!(by_rows.3.is_empty(), "{}: {:?}", preset.name, by_rows.3);
    }
}

/// A NumPy file of version 1.0 with one matrix of FP32 (`numpy.lib.format`).
fn write_npy(path: &Path, shape: MatrixShape, values: &[f32]) {
    let MatrixShape { rows, columns } = shape;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// The product as files, and the workload file's path.
fn product_files(folder: &Path, name: &str, layout: RightLayout) -> PathBuf {
    let [x, w] = values();
    let w = if layout == RightLayout::NByK { turned(&w) } else { w };
    write_npy(&folder.join("x.npy"), SHAPE.left(), &x);
    write_npy(&folder.join(format!("{name}.npy")), layout.shape(SHAPE), &w);
    let MatrixShape { rows, columns } = layout.shape(SHAPE);
    let text = format!(
        "name: product\nactivation_format: fp32\ntensors:\n  - {{ name: x, shape: [{}, {}], npy: x.npy }}\n  - {{ name: w, \
         shape: [{rows}, {columns}], npy: {name}.npy }}\nlayers:\n  - name: fc\n    gemm: {{ input: x, weight: w, \
         weight_transposed: {} }}\n",
        SHAPE.m,
        SHAPE.k,
        layout == RightLayout::NByK
    );
    let path = folder.join(format!("{name}.yaml"));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn calibrate_and_compare_read_a_transposed_weight_as_they_read_one_stored_by_rows() {
    let folder = tempfile::tempdir().unwrap();
    let found = [("rows", RightLayout::KByN), ("columns", RightLayout::NByK)].map(|(name, layout)| {
        let workload = product_files(folder.path(), name, layout);
        let out = folder.path().join(format!("{name}.json"));
        // Smoothing reads the weight itself.
        let command = ["calibrate", "--scheme", "smoothquant_per_tensor", "--workload"];
        npusim().args(command).arg(&workload).arg("--out").arg(&out).assert().success();
        let compared = folder.path().join(name);
        let schemes =
            "smoothquant_per_tensor,muxq_per_tensor,llm_int8,osc_mxfp4,osc_dynamic_row_gather,zeroquant,w8a8_static";
        let command = ["compare", "--hw", "mx-npu", "--schemes", schemes, "--workload"];
        npusim().args(command).arg(&workload).arg("--out").arg(&compared).assert().success();
        (json(&out), json(&compared.join("compare.json"))["schemes"].clone())
    });
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0].0["layers"]["fc"]["smoothing"].as_array().unwrap().len(), SHAPE.k as usize);
}

/// `report.json` of a run, whose standard output is returned too.
fn run(hardware: &str, workload: &str, scheme: &str, more: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let names = ["run", "--hw", hardware, "--workload", workload, "--scheme", scheme];
    let text = stdout(npusim().args(names).args(more).arg("--out").arg(&out));
    (json(&out.join("report.json")), text)
}

fn has_path(report: &Value, path: &str) -> bool {
    let layers = report["layers"].as_array().unwrap().iter();
    layers.flat_map(|layer| layer["paths"].as_array().unwrap()).any(|of| of["path"] == path)
}

#[test]
fn static_scales_of_convolutions_are_known_before_the_run() {
    for hardware in ["edge-int8", "nvdla-small"] {
        for more in [&[][..], &["--no-numerics"]] {
            let (fixed, text) = run(hardware, "small-convnet", "w8a8_static", more);
            let (found, _) = run(hardware, "small-convnet", "w8a8_per_tensor_per_channel", more);
            assert!(!has_path(&fixed, "scale_reduction") && has_path(&found, "scale_reduction"));
            let cycles = |report: &Value| report["totals"]["cycles"].as_u64().unwrap();
            assert!(cycles(&fixed) < cycles(&found), "{hardware}: {} and {}", cycles(&fixed), cycles(&found));
            assert!(!text.contains("not as w8a8_static says"), "{text}");
        }
    }
    // What MUXQ does not treat has the calibrated scale of its whole input as well.
    let (fixed, text) = run("edge-int8", "small-convnet", "muxq_static", &[]);
    assert!(!has_path(&fixed, "scale_reduction"));
    assert!(text.contains("not as muxq_static says") && text.contains("w8a8_static, because: a convolution"), "{text}");
}

/// A convolution, a product of two computed matrices, and a linear layer, over values known by hand.
const MIXED: &str = "
name: mixed
activation_format: fp32
tensors:
  - { name: image, shape: [1, 2, 2], npy: image.npy }
  - { name: kernel, shape: [1, 1, 2, 32], generate: { distribution: normal, mean: 0, std: 1, seed: 2 } }
  - { name: a, shape: [32, 32], npy: a.npy }
  - { name: w, shape: [32, 32], generate: { distribution: normal, mean: 0, std: 1, seed: 3 } }
layers:
  - { name: left, activate: { input: a, function: relu } }
  - { name: scores, gemm: { input: left, weight: left, weight_transposed: true } }
  - { name: values, gemm: { input: left, weight: left } }
  - { name: fc, gemm: { input: a, weight: w } }
  - { name: conv, convolution: { input: image, weight: kernel } }
";

fn mixed(folder: &Path) -> String {
    write_npy(&folder.join("image.npy"), MatrixShape::new(2, 2), &[0.5, -3.0, 1.0, 2.0]);
    let mut a = vec![0.25; 32 * 32];
    (a[5], a[40]) = (4.0, -7.0);
    write_npy(&folder.join("a.npy"), MatrixShape::new(32, 32), &a);
    let path = folder.join("mixed.yaml");
    std::fs::write(&path, MIXED).unwrap();
    path.display().to_string()
}

/// The layers that a report names, each with what it gets.
fn deviating(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let layers = report["layers"].as_array().unwrap().iter();
    let of = |layer: &Value| layer["deviations"].as_array().cloned().unwrap_or_default();
    layers.flat_map(|layer| of(layer).into_iter().map(|one| (text(&layer["name"]), text(&one["got"])))).collect()
}

#[test]
fn a_calibration_has_the_largest_magnitude_of_every_operand_that_the_run_quantizes() {
    let folder = tempfile::tempdir().unwrap();
    let workload = mixed(folder.path());
    let out = folder.path().join("static.json");
    let command = ["calibrate", "--scheme", "w8a8_static", "--workload", &workload, "--out"];
    npusim().args(command).arg(&out).assert().success();
    let known = json(&out)["layers"].clone();
    let range = |layer: &str, of: &str| known[layer][of].as_f64();
    // relu(a) loses the -7; the kernel and the weight are constants, whose scales are found before the run anyway.
    for (layer, input, weight) in
        [("scores", 4.0, Some(4.0)), ("values", 4.0, Some(4.0)), ("fc", 7.0, None), ("conv", 3.0, None)]
    {
        assert_eq!((range(layer, "range"), range(layer, "weight_range")), (Some(input), weight), "{layer}");
    }
    assert_eq!((&known["conv"]["channels"], &known["fc"]["channels"]), (&Value::from(2), &Value::from(32)));
    let (report, _) = run("mx-npu", &workload, "w8a8_static", &[]);
    assert!(!has_path(&report, "scale_reduction"));
    assert_eq!(deviating(&report), []);
}

#[test]
fn a_calibration_without_a_layer_that_was_not_calibrated_once_finds_its_scale_in_the_run_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let workload = mixed(folder.path());
    let out = folder.path().join("static.json");
    let command = ["calibrate", "--scheme", "w8a8_static", "--workload", &workload, "--out"];
    npusim().args(command).arg(&out).assert().success();
    let mut known = json(&out);
    let layers = known["layers"].as_object_mut().unwrap();
    layers.retain(|layer, _| layer == "fc");
    std::fs::write(&out, known.to_string()).unwrap();
    let given = format!("scheme.calibration={}", out.display());
    let (report, text) = run("mx-npu", &workload, "w8a8_static", &["--set", &given]);
    let dynamic = |layer: &str| (layer.to_owned(), "dynamic scales".to_owned());
    assert_eq!(deviating(&report), ["scores", "values", "conv"].map(dynamic));
    let line = "not as w8a8_static says: scores, values, conv (3 layers) get dynamic scales, because: the calibration has \
                no range of the layer";
    assert!(text.contains(line), "{text}");
}

#[test]
fn calibrate_writes_no_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("empty.json");
    let command = ["calibrate", "--scheme", "smoothquant_per_tensor", "--workload", "small-convnet", "--out"];
    // The values of a built-in workload are not part of the program; those of its file are.
    let command = command.map(|word| if word == "small-convnet" { "workloads/small-convnet.yaml" } else { word });
    let assert = npusim().args(command).arg(&out).assert().code(2);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(text.contains("conv*, pointwise, fc") && text.contains("because: a convolution"), "{text}");
    assert!(text.contains("depthwise gets w8a8_per_tensor, because: a grouped convolution"), "{text}");
    assert!(!out.exists());
}

#[test]
fn a_layer_that_gets_something_else_than_the_scheme_says_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let workload = mixed(folder.path());
    for (scheme, expected) in [
        ("osc_mxfp4", &[("scores", "fp16"), ("values", "fp16"), ("conv", "fp16")][..]),
        ("mxfp8_e4m3", &[("values", "fp16")]),
        ("w4a16", &[("scores", "fp16"), ("values", "fp16")]),
        (
            "llm_int8",
            &[
                ("scores", "w8a8_per_token_per_channel"),
                ("values", "w8a8_per_token_per_channel"),
                ("conv", "w8a8_per_token_per_channel"),
            ],
        ),
        ("w8a8_per_token_per_channel", &[]),
        ("fp16", &[]),
    ] {
        let (report, text) =
            run("mx-npu", &workload, scheme, &["--no-numerics", "--set", ASSUMED[usize::from(scheme != "llm_int8")]]);
        let expected: Vec<_> = expected.iter().map(|(layer, got)| ((*layer).to_owned(), (*got).to_owned())).collect();
        assert_eq!(deviating(&report), expected, "{scheme}");
        assert_eq!(text.contains(&format!("not as {scheme} says: ")), !expected.is_empty(), "{text}");
    }
}

#[test]
fn a_scale_per_token_becomes_one_per_tensor_where_windows_mix_rows_and_the_layers_are_named() {
    let (report, text) = run("edge-int8", "small-convnet", "w8a8_per_token_per_channel", &["--no-numerics"]);
    // The window of the pointwise convolution is one pixel, which is one row.
    let widened = |layer: &str| (layer.to_owned(), "one activation scale for the whole tensor".to_owned());
    assert_eq!(deviating(&report), ["conv1", "conv2", "depthwise", "fc"].map(widened));
    assert!(text.contains("not as w8a8_per_token_per_channel says: conv*, depthwise, fc (4 layers) get one"), "{text}");
}

/// A number of channels to plan with, for the scheme that needs one; an override that changes nothing for others.
const ASSUMED: [&str; 2] = ["scheme.assumed_channels=2", "workload.name=mixed"];

#[test]
fn compare_marks_the_scheme_and_the_layer_that_got_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let workload = mixed(folder.path());
    let out = folder.path().join("out");
    let command =
        ["compare", "--hw", "mx-npu", "--schemes", "fp16,osc_mxfp4,osc_int4", "--workload", &workload, "--out"];
    let text = stdout(npusim().args(command).arg(&out));
    assert!(text.contains("| osc_mxfp4 *") && !text.contains("| fp16 *"), "{text}");
    // Schemes that deviate alike share a line.
    let line = "* not as osc_mxfp4, osc_int4 says: scores, values (2 layers) get fp16, because: the run computes the right \
                operand";
    assert!(text.contains(line), "{text}");
    let found = json(&out.join("compare.json"));
    let row = &found["schemes"][1];
    assert_eq!(row["deviations"][0]["layers"], Value::from(vec!["scores", "values"]));
    assert_eq!(deviating(row).len(), 3);
    let csv = std::fs::read_to_string(out.join("compare.csv")).unwrap();
    let of_layer = |line: &&str| line.starts_with("osc_int4,layer,scores,");
    assert!(
        csv.lines().find(of_layer).unwrap().ends_with("\"fp16, because: the run computes the right operand\""),
        "{csv}"
    );
}

#[test]
fn check_names_the_layers_that_a_scheme_beside_the_workload_does_not_treat() {
    let folder = tempfile::tempdir().unwrap();
    let workload = mixed(folder.path());
    let assert = npusim().args(["check", &workload, "workloads/schemes/osc_int4.yaml"]).assert().success();
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(text.contains("note: not as osc_int4 says: scores, values (2 layers) get fp16"), "{text}");
}

#[test]
fn a_fallback_that_the_scheme_file_names_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let workload = mixed(folder.path());
    let scheme = folder.path().join("scheme.yaml");
    let own = std::fs::read_to_string("workloads/schemes/osc_mxfp4.yaml").unwrap();
    let fallback =
        "fallback: [{ layer: scores, scheme: fp16 }, { layer: values, scheme: fp16 }, { layer: conv, scheme: fp16 }]";
    std::fs::write(&scheme, format!("{own}\n{fallback}\n")).unwrap();
    let (report, text) = run("mx-npu", &workload, &scheme.display().to_string(), &["--no-numerics"]);
    assert_eq!(deviating(&report), []);
    assert!(!text.contains("not as "), "{text}");
}
