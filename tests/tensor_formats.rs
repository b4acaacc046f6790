//! In which format tensors cross the pins, in bytes counted by hand: no bit of it comes from the program.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// 256 x 1024 elements.
const TENSOR: u64 = 256 * 1024;

const TWO_INPUTS: &str = "name: two
activation_format: bf16
tensors:
  - { name: x, shape: [256, 1024] }
  - { name: y, shape: [256, 1024] }
layers:
  - { name: a, add: { left: x, right: y } }
  - { name: b, add: { left: a, right: y } }
  - { name: c, activate: { input: b, function: silu } }
";

const TWO_PRODUCTS: &str = "name: chain
activation_format: fp16
tensors:
  - { name: x, shape: [64, 64], generate: { distribution: normal, mean: 0, std: 1, seed: 1 } }
  - { name: v, shape: [64, 64], generate: { distribution: normal, mean: 0, std: 0.1, seed: 2 } }
  - { name: w, shape: [64, 64], generate: { distribution: normal, mean: 0, std: 0.1, seed: 3 } }
layers:
  - { name: first, gemm: { input: x, weight: v } }
  - { name: second, gemm: { input: first, weight: w } }
";

fn npusim(folder: &Path, workload: &str, scheme: &str, more: &[&str]) -> assert_cmd::assert::Assert {
    std::fs::write(folder.join("workload.yaml"), workload).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_npusim"));
    let run = ["run", "--hw", "mx-npu", "--workload", "workload.yaml", "--scheme", scheme];
    // Nothing stays on the chip between layers, so what is read is counted where it is read.
    let nothing_stays = ["--set", "memories.sram.sram.partitions.resident=0"];
    command.current_dir(folder).args(run).args(nothing_stays).args(more).assert()
}

fn report(workload: &str, scheme: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    npusim(folder.path(), workload, scheme, &[&["--out", "out"], more].concat()).success();
    serde_json::from_str(&std::fs::read_to_string(folder.path().join("out/report.json")).unwrap()).unwrap()
}

fn dram_bytes(report: &Value) -> [u64; 2] {
    ["dram_read_bytes", "dram_write_bytes"].map(|field| report["totals"][field].as_u64().unwrap())
}

/// The three layers are one walk that reads each input once and writes its result once.
#[test]
fn a_tensor_from_outside_crosses_the_pins_in_the_format_of_activations() {
    let run = report(TWO_INPUTS, "bf16", &["--no-numerics"]);
    assert_eq!(dram_bytes(&run), [2 * TENSOR * 2, TENSOR * 2]);
    // 3 x 524288 bytes at 51.2 a cycle.
    assert_eq!(run["bounds"]["compulsory_bandwidth_cycles"], 30_720);
}

#[test]
fn a_tensor_from_outside_may_have_a_format_of_its_own() {
    let own = TWO_INPUTS.replacen("shape: [256, 1024] }", "shape: [256, 1024], format: fp32 }", 1);
    let run = report(&own, "bf16", &["--no-numerics"]);
    assert_eq!(dram_bytes(&run), [TENSOR * 4 + TENSOR * 2, TENSOR * 2]);
    // (4 + 2 + 2) x 262144 bytes at 51.2 a cycle.
    assert_eq!(run["bounds"]["compulsory_bandwidth_cycles"], 40_960);
    let folder = tempfile::tempdir().unwrap();
    let unknown = own.replace("fp32 }", "int4 }");
    let refused = npusim(folder.path(), &unknown, "bf16", &["--no-numerics"]).code(2);
    let message = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(message.contains("workload.yaml:4:") && message.contains("fp16"), "{message}");
}

/// 2049 lies between the FP16 numbers 2048 and 2050, and is rounded to the even one on its way in.
#[test]
fn values_from_outside_are_rounded_to_the_format_in_which_they_come() {
    let constant = |format: &str| {
        let workload = format!(
            "name: one\nactivation_format: fp32\ntensors:\n  - {{ name: x, shape: [4, 64], format: {format}, generate: {{ \
             distribution: normal, mean: 2049, std: 0.000001, seed: 1 }} }}\nlayers:\n  - {{ name: a, activate: {{ input: x, \
             function: relu }} }}\n"
        );
        report(&workload, "fp16", &[])["layers"][0]["numerics"]["max_abs_error"].as_f64().unwrap()
    };
    assert_eq!((constant("fp32"), constant("fp16")), (0.0, 1.0));
}

/// Each product reads its activations and its weights of 64 x 64 FP16 elements once, and writes its result.
#[test]
fn a_cast_from_a_format_to_itself_is_no_operation() {
    let run = report(TWO_PRODUCTS, "fp16", &[]);
    let matrix = 64 * 64 * 2;
    assert_eq!(dram_bytes(&run), [4 * matrix, 2 * matrix]);
    for layer in run["layers"].as_array().unwrap() {
        let paths = layer["paths"].as_array().unwrap();
        assert!(paths.iter().all(|path| path["path"] != "quantization"), "{layer}");
    }
    // A cast that rounds is still one.
    let run = report(TWO_PRODUCTS, "bf16", &["--no-numerics"]);
    let paths = run["layers"][1]["paths"].as_array().unwrap();
    assert!(paths.iter().any(|path| path["path"] == "quantization"), "{paths:?}");
}

#[test]
fn codes_of_an_integer_network_cannot_have_another_format() {
    let integer = "name: integer\ninteger: { format: int8 }\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("integer.yaml"), integer).unwrap();
    let given = TWO_PRODUCTS.replacen("shape: [64, 64],", "shape: [64, 64], format: fp16,", 1);
    let refused = npusim(folder.path(), &given, "integer.yaml", &["--no-numerics"]).code(2);
    let message = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(message.contains("the tensor `x` in fp16") && message.contains("codes of int8"), "{message}");
}
