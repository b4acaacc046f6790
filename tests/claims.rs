//! What the papers claim, from the operations, formats and bytes of lowered programs and from timed runs.
//!
//! The files are those of `workloads/studies/`. OSC: arXiv 2604.12782, table 2 and section 4. It names no
//! device; FP16 : FP8 : FP4 = 1 : 2 : 4, 70 FP8 multiply-accumulates for each byte, 1-byte outputs and free scales give its
//! figures.

use std::path::Path;

use assert_cmd::Command;
use npusim::calibrate;
use npusim::config::defaults::Defaults;
use npusim::config::tensors::Generated;
use npusim::config::{hardware, presets, scheme as scheme_files, tensors, workload as workload_files};
use npusim::hardware::npu::Npu;
use npusim::numerics::formats::{self, ElementFormat};
use npusim::program::Program;
use npusim::program::op::OpKind;
use npusim::report::bounds;
use npusim::report::data::{Configuration, Report};
use npusim::scheme::{self, Scheme};
use npusim::shape::GemmShape;
use npusim::simulation::{Setup, simulate};
use npusim::timing::observer::Unobserved;
use npusim::workload::bindings::Bindings;
use npusim::workload::calibration::Calibration;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LogicalGemm, ValueRef};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};
use serde_json::Value;

const GROUPS: [u64; 3] = [16, 32, 64];

fn study_scheme(name: &str) -> Box<dyn Scheme> {
    let document = presets::open_scheme(&format!("workloads/studies/{name}.yaml"));
    scheme_files::resolve(&document.or_else(|_| presets::open_scheme(name)).unwrap()).unwrap()
}

fn workload_file(name: &str) -> (Workload, Bindings) {
    let (workload, places) = workload_files::resolve(&presets::open_workload(name).unwrap()).unwrap();
    let bindings = tensors::load(&workload, &places, Generated::Wanted).unwrap();
    (workload, bindings)
}

fn shapes_of(name: &str) -> Workload {
    workload_files::resolve(&presets::open_workload(name).unwrap()).unwrap().0
}

fn mx_npu() -> Npu {
    hardware::resolve(&presets::open_hardware("mx-npu").unwrap(), &mut Defaults::default()).unwrap()
}

fn assumed(workload: &Workload, scheme: &dyn Scheme, outliers: u64) -> Option<Calibration> {
    let request = scheme.calibration();
    (!request.is_empty()).then(|| calibrate::assumed(workload, request, outliers))
}

fn lowered(workload: &Workload, scheme: &dyn Scheme) -> Program {
    scheme::lower(workload, scheme, assumed(workload, scheme, 0).as_ref()).unwrap()
}

fn simulated(
    workload: &Workload,
    bindings: Option<&Bindings>,
    scheme: &dyn Scheme,
    calibration: Option<&Calibration>,
) -> Report {
    let npu = mx_npu();
    let (configuration, defaults) = (Configuration::default(), Vec::new());
    let setup = Setup { npu: &npu, workload, scheme, calibration, bindings, configuration, defaults };
    simulate(setup, &mut Unobserved).unwrap().report
}

/// One product with activations of `format` between layers.
fn product(shape: GemmShape, format: &'static ElementFormat) -> Workload {
    let tensor = |name: &str, shape| TensorDescription { name: name.to_owned(), shape, source: None, format: None };
    let tensors = vec![tensor("x", shape.left()), tensor("w", shape.right())];
    let gemm = LogicalGemm::dense(shape, ValueRef::Source(SourceTensorId(0)), SourceTensorId(1), None);
    let layer = Layer { name: "y".to_owned(), operation: LayerOperation::Gemm(gemm), recorded_output: None };
    Workload::try_new("product".to_owned(), format, tensors, vec![layer]).unwrap()
}

/// Quarters of an FP16 multiply-accumulate that the products of a program take: 4 for FP16, 2 for FP8, 1 for FP4.
fn quarters(program: &Program, counts: impl Fn(&str) -> bool) -> u64 {
    let of_op = |op: &npusim::program::op::Op| match &op.kind {
        OpKind::Gemm(gemm) if counts(&program.layer(op.layer).name) => {
            let bits = u64::from(program.product_formats(gemm).activation.storage_bits());
            gemm.macs() * bits / 4
        }
        _ => 0,
    };
    program.ops.iter().map(of_op).sum()
}

/// Bytes of quantized operands in and results out.
fn operand_bytes(program: &Program) -> u64 {
    let mut bytes: u64 = program.layers.iter().map(|layer| program.tensor(layer.output).bytes().get()).sum();
    for op in &program.ops {
        let OpKind::Gemm(gemm) = &op.kind else { continue };
        for operand in [gemm.left, gemm.right] {
            let scales = operand.blocks.map(|blocks| blocks.scales);
            bytes += [Some(operand.codes), scales]
                .into_iter()
                .flatten()
                .map(|id| program.tensor(id).bytes().get())
                .sum::<u64>();
        }
    }
    bytes
}

/// Half FP8 multiply-accumulates that the longer of both sides takes.
fn time(program: &Program) -> u64 {
    const FP8_MACS_PER_BYTE: u64 = 70;
    quarters(program, |_| true).max(2 * FP8_MACS_PER_BYTE * operand_bytes(program))
}

fn shapes(m: u64) -> impl Iterator<Item = GemmShape> {
    const SIZES: [u64; 5] = [512, 768, 2048, 4096, 12288];
    SIZES.into_iter().flat_map(move |k| SIZES.into_iter().map(move |n| GemmShape::new(m, k, n)))
}

/// The least and the largest speedup over the shapes.
fn speedups(ms: &[u64], (baseline, scheme): (&dyn Scheme, &dyn Scheme), output: &'static ElementFormat) -> [f64; 2] {
    let mut range = [f64::INFINITY, 0.0];
    for shape in ms.iter().flat_map(|m| shapes(*m)) {
        let workload = product(shape, output);
        let speedup = time(&lowered(&workload, baseline)) as f64 / time(&lowered(&workload, scheme)) as f64;
        range = [range[0].min(speedup), range[1].max(speedup)];
    }
    range
}

fn assert_near(found: f64, claimed: f64, what: &str) {
    assert!((found - claimed).abs() <= 0.0005 + 1e-9, "{what}: {found:.4}, claimed {claimed}");
}

#[test]
fn osc_is_faster_than_w8a8_by_2_over_1_plus_4_over_g_where_the_arrays_bound_both() {
    let workload = shapes_of("workloads/studies/square.yaml");
    let npu = mx_npu();
    for baseline in ["mxfp8_without_scale_bytes", "w8a8_fp8_per_tensor"] {
        let baseline = bounds::compute_cycles(&lowered(&workload, study_scheme(baseline).as_ref()), &npu);
        for group in GROUPS {
            let osc =
                bounds::compute_cycles(&lowered(&workload, study_scheme(&format!("osc_g{group}")).as_ref()), &npu);
            // baseline / osc = 2 / (1 + 4 / G) in whole numbers.
            assert_eq!(baseline * (group + 4), osc * 2 * group, "G = {group}");
        }
    }
}

#[test]
fn the_tile_model_has_that_ratio_where_path_b_fills_the_depth_of_the_array_and_a_padded_one_elsewhere() {
    const DEPTH: u64 = 16;
    for (k, group, padded) in [(1024, 16, 64), (1024, 32, 32), (1024, 64, 16), (512, 64, DEPTH), (768, 64, DEPTH)] {
        let workload = product(GemmShape::new(64, k, 64), &formats::BF16);
        let issued = |scheme: &str| {
            let scheme = study_scheme(scheme);
            let report = simulated(&workload, None, scheme.as_ref(), assumed(&workload, scheme.as_ref(), 0).as_ref());
            let paths = report.layers[0].paths.iter().map(|path| (path.path, path.issued_macs));
            paths.filter(|(_, macs)| *macs > 0).collect::<Vec<_>>()
        };
        let outputs = 64 * 64;
        assert_eq!(issued("mxfp8_without_scale_bytes"), [("body", outputs * k)]);
        let mut osc = issued(&format!("osc_g{group}"));
        osc.sort_unstable();
        // K / G columns, rounded up to whole steps of the array: at 512 / 64 = 8 the gain is 1.778 instead of 1.882.
        assert_eq!(padded, (k / group).next_multiple_of(DEPTH));
        assert_eq!(osc, [("body", outputs * k), ("branch", outputs * padded)], "K = {k}, G = {group}");
    }
}

#[test]
fn the_memory_bound_rows_of_table_2_are_reproduced_with_operands_that_are_quantized_already() {
    let baseline = study_scheme("mxfp8_without_scale_bytes");
    for (group, claimed) in [(16, [1.500, 1.599]), (32, [1.637, 1.776]), (64, [1.715, 1.880])] {
        let osc = study_scheme(&format!("osc_g{group}"));
        let range = speedups(&[16, 32, 64], (baseline.as_ref(), osc.as_ref()), &formats::FP8_E4M3);
        assert_near(range[0], claimed[0], "least");
        assert_near(range[1], claimed[1], "largest");
    }
}

#[test]
fn between_64_and_128_rows_every_shape_becomes_bound_by_the_arrays() {
    let baseline = study_scheme("mxfp8_without_scale_bytes");
    for group in GROUPS {
        let osc = study_scheme(&format!("osc_g{group}"));
        for (m, is_bound) in [(64, false), (128, true)] {
            for shape in shapes(m) {
                let workload = product(shape, &formats::FP8_E4M3);
                let [slow, fast] = [&baseline, &osc].map(|scheme| time(&lowered(&workload, scheme.as_ref())));
                assert_eq!(slow * (group + 4) == fast * 2 * group, is_bound, "G = {group}, {shape:?}");
            }
        }
    }
}

#[test]
fn wider_outputs_and_scales_that_count_take_from_the_gain() {
    let free = study_scheme("mxfp8_without_scale_bytes");
    let osc = study_scheme("osc_g32");
    let [least, _] = speedups(&[64], (free.as_ref(), osc.as_ref()), &formats::FP32);
    assert_near(least, 1.413, "4-byte outputs, M = 64");
    // Weights decide for few rows: 8 + 8/32 bits against 4 + 8/32 + 16/32, less than 1.737.
    let counted = study_scheme("mxfp8_e4m3");
    let osc = study_scheme("osc_mxfp4");
    let [_, largest] = speedups(&[16], (counted.as_ref(), osc.as_ref()), &formats::FP8_E4M3);
    assert!((1.72..8.25 / 4.75).contains(&largest), "{largest}");
}

#[test]
fn whole_layers_with_the_down_projection_in_fp8_gain_less() {
    let linear = |name: &str| !["scores", "attention"].contains(&name);
    for (workload, claims) in [
        ("workloads/qwen3-8b-layer.yaml", [(16, 1.383), (32, 1.478), (64, 1.530)]),
        ("workloads/studies/qwen3-30b-a3b-products.yaml", [(16, 1.412), (32, 1.516), (64, 1.574)]),
    ] {
        let workload = shapes_of(workload);
        let of = |scheme: &str| quarters(&lowered(&workload, study_scheme(scheme).as_ref()), linear) as f64;
        let baseline = of("w8a8_fp8_per_tensor");
        for (group, claimed) in claims {
            assert_near(baseline / of(&format!("osc_g{group}_fp8_down")), claimed, workload.name());
        }
        // Without the fallback the layer gains what a product gains: 16/9 at G = 32.
        assert_near(baseline / of("osc_g32"), 16.0 / 9.0, workload.name());
    }
}

#[test]
fn errors_fall_from_plain_int8_over_muxq_to_llm_int8_on_the_layer_with_outliers() {
    let (workload, bindings) = workload_file("workloads/studies/minilm-fc1.yaml");
    for schemes in [
        ["w8a8_per_tensor", "muxq_per_tensor", "llm_int8_per_tensor"],
        ["w8a8_per_token_per_channel", "muxq_per_token_per_channel", "llm_int8"],
    ] {
        let sqnr = schemes.map(|name| {
            let scheme = study_scheme(name);
            let request = scheme.calibration();
            let known = (!request.is_empty()).then(|| calibrate::calibrate(&workload, &bindings, request).unwrap());
            let report = simulated(&workload, Some(&bindings), scheme.as_ref(), known.as_ref());
            report.layers[0].numerics.unwrap().error.sqnr_db
        });
        assert!(sqnr[0] < sqnr[1] && sqnr[1] < sqnr[2], "{schemes:?}: {sqnr:?}");
    }
}

#[test]
fn muxq_costs_no_more_than_llm_int8_and_osc_lies_between_four_and_eight_bits_where_the_arrays_bound_a_run() {
    let workload = shapes_of("workloads/studies/square.yaml");
    let cycles = |name: &str| {
        let scheme = study_scheme(name);
        simulated(&workload, None, scheme.as_ref(), assumed(&workload, scheme.as_ref(), 64).as_ref()).totals.cycles
    };
    let [plain, muxq, llm_int8] = ["w8a8_per_token_per_channel", "muxq_per_token_per_channel", "llm_int8"].map(cycles);
    assert!(plain <= muxq && muxq < llm_int8, "{plain}, {muxq}, {llm_int8}");
    let [four, osc, eight] = ["mxfp4", "osc_mxfp4", "mxfp8_e4m3"].map(cycles);
    assert!(four < osc && osc < eight, "{four}, {osc}, {eight}");
}

/// What `npusim compare` writes, with the files of `workloads/studies/` named in short.
fn compared(workload: &str, schemes: &[&str], more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let study = |name: &str| {
        let path = format!("workloads/studies/{name}.yaml");
        if Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists() { path } else { name.to_owned() }
    };
    let schemes: Vec<String> = schemes.iter().map(|name| study(name)).collect();
    let mut npusim = Command::new(env!("CARGO_BIN_EXE_npusim"));
    npusim.current_dir(env!("CARGO_MANIFEST_DIR"));
    npusim.args(["compare", "--hw", "mx-npu", "--workload", &study(workload), "--schemes", &schemes.join(",")]);
    npusim.args(more).arg("--out").arg(&out).assert().success();
    serde_json::from_str(&std::fs::read_to_string(out.join("compare.json")).unwrap()).unwrap()
}

/// 16 x 16 x 16 elements do 8192 FP8 products a cycle: at 70 for each byte, 117.03 bytes a cycle.
const TABLE_2: [&str; 3] = ["--set", "memories.dram.dram.bytes_per_cycle=117.0286", "--no-numerics"];

/// The least and the largest gain of a scheme's bounds, over the products with `m` rows.
fn bound_speedups(comparison: &Value, scheme: usize, m: u64) -> [f64; 2] {
    let layers = comparison["schemes"][scheme]["layers"].as_array().unwrap();
    let of_rows = layers.iter().filter(|layer| layer["name"].as_str().unwrap().starts_with(&format!("m{m}.")));
    let speedups: Vec<f64> = of_rows.map(|layer| layer["lower_bound_speedup"].as_f64().unwrap()).collect();
    assert_eq!(speedups.len(), 25);
    speedups.into_iter().fold([f64::INFINITY, 0.0], |[least, largest], of| [least.min(of), largest.max(of)])
}

/// A bound is a whole number of cycles, at least a thousand of them: both may be one too many.
fn assert_close(found: f64, claimed: f64, what: &str) {
    assert!((found - claimed).abs() < 0.002, "{what}: {found:.4}, claimed {claimed}");
}

#[test]
fn one_command_gives_table_2_and_its_crossover_between_64_and_128_rows() {
    let schemes = ["table_2_w8a8", "table_2_osc_g16", "table_2_osc_g32", "table_2_osc_g64"];
    let found = compared("osc-table-2", &schemes, &TABLE_2);
    for (index, (group, claimed)) in
        [(16.0, [1.500, 1.599]), (32.0, [1.637, 1.776]), (64.0, [1.715, 1.880])].into_iter().enumerate()
    {
        let ranges = [16, 32, 64].map(|m| bound_speedups(&found, index + 1, m));
        let least = ranges.iter().map(|range| range[0]).fold(f64::INFINITY, f64::min);
        let largest = ranges.iter().map(|range| range[1]).fold(0.0, f64::max);
        assert_close(least, claimed[0], "least");
        assert_close(largest, claimed[1], "largest");
        let by_arrays = 2.0 / (1.0 + 4.0 / group);
        // With 64 rows no product is bound by the arrays alone, with 128 all are.
        assert!(ranges[2][1] < by_arrays - 0.002, "{ranges:?}");
        let bound = bound_speedups(&found, index + 1, 128);
        bound.into_iter().for_each(|speedup| assert_close(speedup, by_arrays, "128 rows"));
    }
}

#[test]
fn four_byte_outputs_and_counted_scales_take_from_table_2_what_they_must() {
    let wide = [&TABLE_2[..], &["--set", "activation_format=fp32"]].concat();
    let found = compared("osc-table-2", &["table_2_w8a8", "table_2_osc_g32"], &wide);
    assert_close(bound_speedups(&found, 1, 64)[0], 1.413, "4-byte outputs, 64 rows");
    let found = compared("osc-table-2", &["table_2_w8a8_scale_bytes", "table_2_osc_g32_scale_bytes"], &TABLE_2);
    // Weights decide for few rows: 8 + 8/32 bits against 4 + 8/32 + 16/32, which is 1.737.
    let [_, largest] = bound_speedups(&found, 1, 16);
    assert!((1.73..8.25 / 4.75).contains(&largest), "{largest}");
}

#[test]
fn the_commands_for_whole_layers_give_the_ratios_of_the_arrays() {
    for (workload, claims) in
        [("qwen3-8b-products", [1.383, 1.478, 1.530]), ("qwen3-30b-a3b-products", [1.412, 1.516, 1.574])]
    {
        let schemes =
            ["mxfp8_without_scale_bytes", "osc_g16_fp8_down", "osc_g32_fp8_down", "osc_g64_fp8_down", "osc_g32"];
        let found = compared(workload, &schemes, &["--no-numerics"]);
        let cycles = |index: usize| found["reports"][index]["bounds"]["compute_cycles"].as_f64().unwrap();
        for (index, claimed) in claims.into_iter().enumerate() {
            assert_near(cycles(0) / cycles(index + 1), claimed, workload);
        }
        assert_near(cycles(0) / cycles(4), 16.0 / 9.0, workload);
    }
}

/// 128 experts of three matrices of 2048 x 768: in FP8 589,824 KiB, each read once although 8 tokens use it; in FP4 with an
/// FP16 row of each 32 (4 + 16/32 bits) all but the down projections, which have FP8 and a scale byte for each 32.
#[test]
fn weights_of_an_expert_cross_the_pins_once_for_all_tokens_that_use_it() {
    let schemes = ["mxfp8_without_scale_bytes", "osc_g32_fp8_down"];
    let found = compared("qwen3-30b-a3b-experts", &schemes, &["--no-numerics"]);
    let bytes = |scheme: usize| found["schemes"][scheme]["total"]["constant_bytes"].as_u64().unwrap();
    let matrix = 128 * 2048 * 768;
    assert_eq!(bytes(0), 3 * matrix);
    let tables: u64 = 128 * 2 * (2048 / 32) * 2;
    assert_eq!(bytes(1), matrix + matrix / 32 + 2 * matrix * 9 / 16 + tables);
    let speedup = found["schemes"][1]["total"]["lower_bound_speedup"].as_f64().unwrap();
    assert!((1.37..1.38).contains(&speedup), "{speedup}");
}

#[test]
fn the_commands_for_the_orderings_show_them() {
    let found = compared("minilm-fc1", &["w8a8_per_tensor", "muxq_per_tensor", "llm_int8_per_tensor"], &[]);
    let sqnr = [0, 1, 2].map(|index| found["schemes"][index]["total"]["numerics"]["sqnr_db"].as_f64().unwrap());
    assert!(sqnr[0] < sqnr[1] && sqnr[1] < sqnr[2], "{sqnr:?}");
    let more = ["--set", "scheme.assumed_channels=64", "--no-numerics"];
    for (schemes, is_strict) in [
        (["w8a8_per_token_per_channel", "muxq_per_token_per_channel", "llm_int8"], false),
        (["mxfp4", "osc_mxfp4", "mxfp8_e4m3"], true),
    ] {
        let found = compared("square", &schemes, &more);
        let cycles = [0, 1, 2].map(|index| found["schemes"][index]["total"]["cycles"].as_u64().unwrap());
        assert!(cycles[0] + u64::from(is_strict) <= cycles[1] && cycles[1] < cycles[2], "{schemes:?}: {cycles:?}");
    }
}
