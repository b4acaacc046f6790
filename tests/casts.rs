//! What casts cannot hold, NaN that a run makes itself, and tensors at both ends of f32.

use std::path::Path;

use assert_cmd::Command;
use npusim::execute::{self, Execution, Granularity};
use npusim::numerics::formats::{self, ElementFormat, FP16, FP32, Rounding};
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::program::op::{OpKind, ScaleSource};
use npusim::reference::real;
use npusim::report::numerics::layer_numerics;
use npusim::scheme::{self, Scheme, blocks, cast, muxq, w8a8};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LogicalGemm, ValueRef};
use npusim::workload::mapping::{FixedTiling, Mapping};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};
use serde_json::Value;

use crate::anchors::{Run, run_workload};
use crate::fixture::{self, chain};

/// One product `y = x w`, the inputs and outputs stored in `format`.
fn product(format: &'static ElementFormat, x: &[f32], w: &[f32], shape: GemmShape) -> (Workload, Bindings) {
    let tensor = |name: &str, shape: MatrixShape, values: &[f32]| {
        let description = TensorDescription { name: name.to_owned(), shape, source: None, format: None };
        (description, Tensor::try_new(shape, &FP32, Elements::F32(values.to_vec())).unwrap())
    };
    let [x, w] = [tensor("x", shape.left(), x), tensor("w", shape.right(), w)];
    let gemm = LogicalGemm::dense(shape, ValueRef::Source(SourceTensorId(0)), SourceTensorId(1), None);
    let layer = Layer { name: "y".to_owned(), operation: LayerOperation::Gemm(gemm), recorded_output: None };
    let workload = Workload::try_new("product".to_owned(), format, vec![x.0, w.0], vec![layer]).unwrap();
    (workload, Bindings::new(vec![Some(x.1), Some(w.1)]))
}

fn executed(run: &Run, granularity: Granularity) -> Execution {
    execute::run(&run.program, &run.schedule, &run.bindings, granularity).unwrap()
}

fn clipped(run: &Run) -> u64 {
    let counts = |granularity| {
        let losses = executed(run, granularity).cast_losses().to_vec();
        losses.iter().map(|losses| losses.clipped_values).sum::<u64>()
    };
    assert_eq!(counts(Granularity::Tiles), counts(Granularity::Products));
    counts(Granularity::Tiles)
}

/// Finite values that the quantizing casts of a run clip, from the definition: brought to code units in f32 and rounded
/// in f64 as if the format had no end.
fn clipped_by_hand(run: &Run) -> u64 {
    let execution = executed(run, Granularity::Tiles);
    let tensor = |id| execution.tensor(id).unwrap();
    let mut count = 0;
    for op in run.program.preparation.iter().chain(&run.program.ops) {
        let OpKind::Quantize { input, scale: Some(scale), output } = &op.kind else { continue };
        let (values, scales, output) = (tensor(*input).to_f32(), tensor(scale.tensor).to_f32(), tensor(*output));
        let columns = output.shape().columns as usize;
        for (position, value) in values.iter().enumerate() {
            let at = match tensor(scale.tensor).shape() {
                MatrixShape { rows: 1, columns: 1 } => 0,
                MatrixShape { columns: 1, .. } => position / columns,
                MatrixShape { .. } => position % columns,
            };
            let magnitude = f64::from((value / scales[at]).abs());
            // INT8 ends at 127, where a tie goes to 128; E4M3 ends at 448, where a tie between it and 480 goes to it.
            count += u64::from(if output.format().is_integer() { magnitude >= 127.5 } else { magnitude > 464.0 });
        }
    }
    count
}

#[test]
fn a_dynamic_scale_clips_nothing_and_a_static_one_what_lies_beyond_its_range() {
    let shape = GemmShape::new(24, 96, 40);
    let dynamic: [&dyn Scheme; 5] =
        [&w8a8::PER_TENSOR, &w8a8::PER_TOKEN_PER_CHANNEL, &w8a8::FP8_PER_TENSOR, &muxq::PER_TENSOR, &muxq::TENDER];
    for scheme in dynamic {
        assert_eq!(clipped(&run_workload(fixture::parts(), chain(&[shape], 7), scheme)), 0, "{}", scheme.name());
    }
    // Calibrated on the chain of seed 7, run on three times its input.
    let calibrated = run_workload(fixture::parts(), chain(&[shape], 7), &w8a8::STATIC);
    assert_eq!(clipped(&calibrated), 0);
    let mut run = calibrated;
    let given = |index| run.bindings.get(SourceTensorId(index)).cloned().unwrap();
    let larger = given(0).to_f32().into_iter().map(|value| value * 3.0).collect();
    let larger = Tensor::try_new(shape.left(), &FP32, Elements::F32(larger)).unwrap();
    run.bindings = Bindings::new(vec![Some(larger), Some(given(1)), Some(given(2))]);
    let expected = clipped_by_hand(&run);
    assert!(
        expected > 10
            && run.program.ops.iter().any(|op| match &op.kind {
                OpKind::Quantize { scale: Some(scale), .. } => scale.source == ScaleSource::Static,
                _ => false,
            })
    );
    assert_eq!(clipped(&run), expected);
}

#[test]
fn a_cast_to_fp16_clips_from_65520_on() {
    // x is stored in FP16: 65519 rounds to 65504, 65520 would round to 65536. y = 2 x is beyond it too where x was.
    let x = [65519.0, -65520.0, 1e6, 3.0];
    let (workload, bindings) = product(&FP16, &x, &[1.0, 0.0, 0.0, 1.0], GemmShape::new(2, 2, 2));
    let run = run_workload(fixture::parts(), (workload, bindings), &cast::FP16);
    assert_eq!(clipped(&run), 2);
    let (workload, bindings) =
        product(&FP16, &[65504.0, -40000.0, 1e4, 3.0], &[2.0, 0.0, 0.0, 2.0], GemmShape::new(2, 2, 2));
    let run = run_workload(fixture::parts(), (workload, bindings), &cast::FP16);
    assert_eq!(clipped(&run), 2, "131008 and -80000 of the output");
}

#[test]
fn elements_of_blocks_that_the_floor_rule_clips_are_counted_whatever_the_tiles() {
    let shape = GemmShape::new(24, 96, 40);
    let counts: Vec<u64> = [[8, 32, 8], [24, 96, 40], [16, 64, 24]]
        .into_iter()
        .map(|[m, k, n]| {
            let (layer, path) = ("gemm0".to_owned(), "body".to_owned());
            let mapping =
                Mapping { tilings: vec![FixedTiling { layer, path, m, k, n, order: None }], ..Mapping::default() };
            let (workload, bindings) = chain(&[shape], 7);
            let mut parts = fixture::parts();
            *fixture::partitions_of(&mut parts) = npusim::hardware::memory::Partitions {
                activations: npusim::units::Bytes(8192),
                ..*fixture::partitions_of(&mut parts)
            };
            clipped(&run_workload(parts, (workload.with_mapping(mapping), bindings), &blocks::MXFP4))
        })
        .collect();
    // By hand: under the scale 2^(floor(log2 max) - 2) of its block of 32, a magnitude of 7 or more would round to 8.
    let (_, bindings) = chain(&[shape], 7);
    let by_hand = |values: Vec<f32>| -> u64 {
        let of_block = |block: &[f32]| {
            let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let scale = 2f64.powi(f64::from(largest).log2().floor() as i32 - 2);
            block.iter().filter(|value| f64::from(value.abs()) / scale >= 7.0).count() as u64
        };
        values.chunks(32).map(of_block).sum()
    };
    let x = bindings.get(SourceTensorId(0)).unwrap().to_f32();
    let w = bindings.get(SourceTensorId(1)).unwrap().transposed().to_f32();
    let expected = by_hand(x) + by_hand(w);
    assert!(expected > 20);
    assert_eq!(counts, [expected; 3]);
}

/// 32 values in a straight line from `-2^exponent` to `2^exponent` through an identity: the outputs.
fn through_identity(exponent: i32, scheme: &dyn Scheme) -> (Vec<f32>, Vec<f32>) {
    let x: Vec<f32> = (0..32).map(|step| ((2.0 * f64::from(step) / 31.0 - 1.0) * 2f64.powi(exponent)) as f32).collect();
    let w: Vec<f32> = (0..32 * 32).map(|index| if index % 33 == 0 { 1.0 } else { 0.0 }).collect();
    let run = run_workload(fixture::parts(), product(&FP32, &x, &w, GemmShape::new(1, 32, 32)), scheme);
    let execution = executed(&run, Granularity::Products);
    (x, execution.tensor(run.program.layers[0].output).unwrap().to_f32())
}

#[test]
fn tiny_and_huge_finite_tensors_do_not_become_nan_under_any_scheme() {
    for scheme in scheme::ALL {
        // Outlier schemes take every channel of a huge tensor for an outlier; what they calibrate is not tried here.
        if !scheme.calibration().is_empty() {
            continue;
        }
        for exponent in [-149, -148, -140, -133, -127, -126, -125, -120, -116, -100, 15, 16, 17, 100, 126, 127] {
            let (_, y) = through_identity(exponent, *scheme);
            assert!(y.iter().all(|value| value.is_finite()), "{} 2^{exponent}: {y:?}", scheme.name());
        }
    }
}

#[test]
fn the_sqnr_of_scale_free_schemes_does_not_depend_on_the_size() {
    let ratio = |exponent, scheme: &dyn Scheme| {
        let (x, y) = through_identity(exponent, scheme);
        let noise: f64 = x.iter().zip(&y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
        10.0 * (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / noise).log10()
    };
    let schemes: [(&dyn Scheme, i32); 5] = [
        (&blocks::NVFP4, -126),
        (&w8a8::PER_TENSOR, -119),
        (&w8a8::PER_TOKEN_PER_CHANNEL, -119),
        (&w8a8::FP8_PER_TENSOR, -117),
        (&blocks::MXINT8, -120),
    ];
    for (scheme, smallest) in schemes {
        let expected = ratio(0, scheme);
        for exponent in [smallest, -110, -40, 40, 100, 126] {
            let found = ratio(exponent, scheme);
            assert!((found - expected).abs() < 0.1, "{} 2^{exponent}: {found} instead of {expected}", scheme.name());
        }
    }
    assert!((ratio(-120, &blocks::NVFP4) - 19.6).abs() < 0.1);
}

/// Six tokens through an RMSNorm without an epsilon and a product; the third is padding.
fn padded() -> &'static str {
    "\
name: padded
activation_format: fp32
tensors:
- name: x
  shape: [6, 8]
  npy: x.npy
- name: g
  shape: [8]
  npy: g.npy
- name: w
  shape: [8, 4]
  npy: w.npy
layers:
- name: norm
  rms_norm: { input: x, weight: g, epsilon: 0 }
- name: fc
  gemm: { input: norm, weight: w }
"
}

fn write_npy(path: &Path, shape: &str, values: impl Iterator<Item = f32>) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let padding = 64 - (10 + header.len() + 1) % 64;
    let header = format!("{header}{}\n", " ".repeat(padding % 64));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    values.for_each(|value| bytes.extend(value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

fn padded_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("workload.yaml"), padded()).unwrap();
    let token = |index: usize| if index / 8 == 2 { 0.0 } else { (index * 7 % 11) as f32 - 4.5 };
    write_npy(&at("x.npy"), "(6, 8)", (0..48).map(token));
    write_npy(&at("g.npy"), "(8,)", (0..8).map(|_| 1.0));
    write_npy(&at("w.npy"), "(8, 4)", (0..32).map(|index| (index * 5 % 7) as f32 - 2.5));
    folder
}

fn npusim(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_npusim"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).arg("--workload");
    command.arg(folder.join("workload.yaml")).output().unwrap()
}

#[test]
fn nan_of_a_row_of_zeros_is_counted_and_its_first_layer_is_named() {
    let folder = padded_folder();
    let out = folder.path().join("out");
    let found = npusim(
        folder.path(),
        &["run", "--hw", "mx-npu", "--scheme", "w8a8_per_token_per_channel", "--out", out.to_str().unwrap()],
    );
    assert!(found.status.success());
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(
        text.contains(
            "not finite: 8 values of `norm` (first: row 2, column 0) are NaN or infinite; no layer before it has any; its \
             errors leave out 8 elements that are so in real arithmetic as well\n"
        ),
        "{text}"
    );
    assert!(text.contains("not finite: 4 values of `fc` (first: row 2, column 0) are NaN or infinite;"), "{text}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    for (index, count) in [(0, 8), (1, 4)] {
        let numerics = &report["layers"][index]["numerics"];
        assert_eq!([&numerics["non_finite_values"], &numerics["left_out_values"]], [count, count], "{numerics}");
        assert_eq!(numerics["first_non_finite"]["row"], 2);
    }
}

#[test]
fn a_calibration_refuses_nan_and_names_the_layer_and_the_place() {
    let folder = padded_folder();
    let file = folder.path().join("calibration.json");
    let found = npusim(folder.path(), &["calibrate", "--scheme", "w8a8_static", "--out", file.to_str().unwrap()]);
    assert_eq!(found.status.code(), Some(2));
    let message = String::from_utf8(found.stderr).unwrap();
    assert!(message.contains("layer `fc`: its input is NaN in row 2, column 0 (counted from 0)"), "{message}");
    assert!(!file.exists());
}

#[test]
fn the_report_counts_clipped_values_beside_the_errors() {
    let x = [65519.0, -65520.0, 1e6, 3.0];
    let (workload, bindings) = product(&FP16, &x, &[1.0, 0.0, 0.0, 1.0], GemmShape::new(2, 2, 2));
    let run = run_workload(fixture::parts(), (workload, bindings), &cast::FP16);
    let real = real::evaluate(&run.workload, &run.bindings).unwrap();
    let numerics = layer_numerics(&run.program, &executed(&run, Granularity::Products), &real);
    assert_eq!((numerics[0].clipped_values, numerics[0].non_finite_values), (2, 0));
    assert!(formats::ALL.iter().all(|format| !format.clips(1.0, Rounding::NearestEven)));
}
