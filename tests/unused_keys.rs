//! Every key of a scheme, of a memory and of an engine acts, or is refused, or is listed as unused; none does nothing in
//! silence.
//!
//! Each key is given another value in a run in which it could matter. The keys come from the schemas, so a new key without
//! a line here is found.

use std::path::Path;

use assert_cmd::Command;
use npusim::config::schema::{SchemaKind, schema};
use npusim::inputs::{Inputs, Names};
use npusim::simulation::{Setup, simulate};
use npusim::timing::observer::Unobserved;
use serde_json::Value;

/// What a run came to: its report without the files that it repeats, and what was noted.
type Outcome = Result<(Value, Vec<String>), String>;

const WORKLOAD: &str = "name: product
activation_format: fp16
tensors:
  - { name: x, shape: [48, 128], npy: x.npy }
  - { name: w, shape: [128, 96], generate: { distribution: normal, mean: 0, std: 0.1, seed: 2 } }
  - { name: v, shape: [96, 64], generate: { distribution: normal, mean: 0, std: 0.1, seed: 3 } }
layers:
  - { name: fc, gemm: { input: x, weight: w } }
  - { name: next, gemm: { input: fc, weight: v } }
";

/// 48 x 128 values: channel 3 reaches 20, channel 40 reaches 13, channel 7 exactly the threshold of 6, all others 2.
fn write_inputs(folder: &Path) {
    let value = |row: usize, channel: usize| {
        let largest = match channel {
            3 => 20.0,
            7 => 6.0,
            40 => 13.0,
            _ => 2.0,
        };
        let step = ((row * 37 + channel * 11) % 48) as f32;
        largest * (1.0 - step / 24.0 + 1.0 / 48.0).clamp(-1.0, 1.0)
    };
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (48, 128), }";
    let header = format!("{header:117}\n");
    let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    let all = (0..48).flat_map(|row| (0..128).map(move |channel| value(row, channel)));
    all.for_each(|value| bytes.extend(value.to_le_bytes()));
    std::fs::write(folder.join("x.npy"), bytes).unwrap();
    std::fs::write(folder.join("workload.yaml"), WORKLOAD).unwrap();
}

fn outcome(folder: &Path, hardware: &str, scheme: &str, set: &[&str], has_values: bool) -> Outcome {
    let workload = folder.join("workload.yaml");
    let names = Names { hardware, workload: workload.to_str().unwrap(), scheme };
    let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    let mut inputs = Inputs::open(names, &set).map_err(|error| error.to_string())?;
    let bindings = if has_values { inputs.bindings().map_err(|error| error.to_string())? } else { None };
    let calibration = inputs.calibration(bindings.as_ref()).map_err(|error| error.to_string())?;
    let setup = Setup {
        npu: &inputs.npu,
        workload: &inputs.workload,
        scheme: inputs.scheme.as_ref(),
        calibration: calibration.as_ref(),
        bindings: bindings.as_ref(),
        configuration: inputs.configuration(),
        defaults: inputs.defaults(),
    };
    let report = simulate(setup, &mut Unobserved).map_err(|error| error.to_string())?.report;
    let notes = report.configuration.notes.clone();
    let mut report = serde_json::to_value(report).unwrap();
    for repeated in ["configuration", "defaults"] {
        report.as_object_mut().unwrap().remove(repeated);
    }
    Ok((report, notes))
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acts,
    Refused,
    Noted,
    /// It changes nothing and nothing says so.
    Silent,
}

/// A run that a key is changed in: hardware, scheme, what is set before, and the path and other value of the key.
struct Change {
    hardware: &'static str,
    scheme: &'static str,
    before: &'static [&'static str],
    path: &'static str,
    value: &'static str,
    has_values: bool,
}

fn fate(folder: &Path, change: &Change) -> Fate {
    let Change { hardware, scheme, before, path, value, has_values } = change;
    let run = |set: &[&str]| outcome(folder, hardware, scheme, set, *has_values);
    let (plain, notes) = run(before).unwrap_or_else(|error| panic!("{scheme} with {before:?}: {error}"));
    let changed = format!("{path}={value}");
    match run(&[before, [changed.as_str()].as_slice()].concat()) {
        Err(_) => Fate::Refused,
        Ok((report, more)) if more.len() > notes.len() => {
            let key = path.rsplit('.').next().unwrap();
            assert!(more.iter().any(|note| note.contains(key) && note.contains("does nothing")), "{changed}: {more:?}");
            assert_eq!(report, plain, "{changed} is called unused, but acts");
            Fate::Noted
        }
        Ok((report, _)) if report == plain => Fate::Silent,
        Ok(_) => Fate::Acts,
    }
}

const MUXQ: &str = "muxq_separate_gemm";
const INDEPENDENT: &[&str] = &["scheme.muxq.aux_scale=independent"];
const FIXED: &str = "osc_mxfp4";
const HARDWARE: &str = "mx-npu";

/// Keys of the families, without the family: scheme, what is set before, key, another value, what becomes of it.
const SCHEME_KEYS: &[(&str, &[&str], &str, &str, Fate)] = &[
    ("fp16", &[], "cast.format", "bf16", Fate::Acts),
    ("w8a8_per_tensor", &[], "w8a8.format", "fp8_e4m3", Fate::Acts),
    ("w8a8_per_tensor", &[], "w8a8.weight_format", "int4", Fate::Acts),
    ("w8a8_per_tensor", &[], "w8a8.activation_scale", "static", Fate::Acts),
    ("w8a8_per_tensor", &[], "w8a8.activation_scale_per", "token", Fate::Acts),
    ("w8a8_per_tensor", &[], "w8a8.weight_scale_per", "channel", Fate::Acts),
    ("w8a8_per_tensor", &[], "w8a8.smoothing_alpha", "0.5", Fate::Acts),
    ("mxfp4", &[], "blocks.format", "mxfp8_e4m3", Fate::Acts),
    ("mxfp8_e4m3", &[], "blocks.weight_format", "mxfp4", Fate::Acts),
    ("mxfp4", &[], "blocks.count_scale_bytes", "false", Fate::Acts),
    ("mxfp4", &[], "blocks.activations", "prequantized", Fate::Refused),
    ("int4_g32", &[], "groups.format", "int8", Fate::Acts),
    ("int4_g32", &[], "groups.group", "64", Fate::Acts),
    ("int4_g32", &[], "groups.scale_format", "fp32", Fate::Acts),
    ("int4_g32", &[], "groups.activation_scale_per", "token", Fate::Refused),
    ("zeroquant", &[], "groups.activation_format", "int4", Fate::Refused),
    ("int4_g32", &[], "groups.activation_format", "int8", Fate::Refused),
    ("int4_g32", &[], "groups.count_scale_bytes", "false", Fate::Acts),
    (MUXQ, &[], "muxq.format", "int4", Fate::Acts),
    (MUXQ, &[], "muxq.threshold", "15", Fate::Acts),
    (MUXQ, &[], "muxq.comparison", "'>='", Fate::Acts),
    (MUXQ, &[], "muxq.exponent", "3", Fate::Acts),
    (MUXQ, &[], "muxq.aux_scale", "independent", Fate::Acts),
    (MUXQ, &[], "muxq.activation_scale", "static", Fate::Acts),
    (MUXQ, &[], "muxq.activation_scale_per", "token", Fate::Acts),
    (MUXQ, &[], "muxq.weight_scale_per", "channel", Fate::Acts),
    (MUXQ, &[], "muxq.auxiliary", "fused_accumulate", Fate::Acts),
    (MUXQ, INDEPENDENT, "muxq.auxiliary", "fused_accumulate", Fate::Refused),
    (MUXQ, &[], "muxq.detection", "frozen", Fate::Acts),
    (MUXQ, &[], "muxq.body", "stored", Fate::Acts),
    (MUXQ, &[], "muxq.mover", "dma_gather", Fate::Acts),
    (MUXQ, &[], "muxq.mover", "inline", Fate::Acts),
    (MUXQ, &[], "muxq.mover", "extractor", Fate::Acts),
    (MUXQ, &[], "muxq.smoothing_alpha", "0.5", Fate::Acts),
    (MUXQ, &[], "muxq.unit", "none_of_that_name", Fate::Refused),
    ("muxq_per_tensor", &[], "muxq.unit", "main", Fate::Refused),
    ("llm_int8", &[], "llm_int8.threshold", "15", Fate::Acts),
    ("llm_int8", &[], "llm_int8.comparison", "'>='", Fate::Acts),
    ("llm_int8", &[], "llm_int8.activation_scale_per", "tensor", Fate::Acts),
    ("llm_int8", &[], "llm_int8.weight_scale_per", "tensor", Fate::Acts),
    ("llm_int8", &[], "llm_int8.branch_format", "bf16", Fate::Acts),
    ("llm_int8", &[], "llm_int8.detection", "online", Fate::Acts),
    ("llm_int8", &[], "llm_int8.body", "stored", Fate::Acts),
    ("llm_int8", &[], "llm_int8.mover", "inline", Fate::Acts),
    ("llm_int8", &[], "llm_int8.unit", "none_of_that_name", Fate::Refused),
    (FIXED, &[], "osc.format", "mxfp8_e4m3", Fate::Acts),
    (FIXED, &[], "osc.count_scale_bytes", "false", Fate::Acts),
    (FIXED, &[], "osc.group", "16", Fate::Acts),
    (FIXED, &[], "osc.protection", "mean_abs", Fate::Refused),
    (FIXED, &[], "osc.protection", "dynamic", Fate::Refused),
    (FIXED, &[], "osc.channels_per_group", "2", Fate::Acts),
    (FIXED, &[], "osc.threshold_factor", "1000000", Fate::Acts),
    (FIXED, &[], "osc.dynamic_branch", "row_gather", Fate::Refused),
    ("osc_dynamic", &["scheme.osc.merge=vector_unit"], "osc.dynamic_branch", "row_gather", Fate::Acts),
    (FIXED, &[], "osc.branch_format", "bf16", Fate::Acts),
    (FIXED, &["scheme.osc.threshold_factor=3"], "osc.columns", "compact", Fate::Acts),
    (FIXED, &[], "osc.weight_rows", "zeroed", Fate::Acts),
    (FIXED, &[], "osc.merge", "vector_unit", Fate::Acts),
    (FIXED, &[], "osc.body", "stored", Fate::Acts),
    (FIXED, &[], "osc.mover", "inline", Fate::Acts),
    (FIXED, &[], "osc.smoothing_alpha", "0.5", Fate::Acts),
    (FIXED, &[], "osc.unit", "main", Fate::Refused),
    (FIXED, &[], "osc.activations", "prequantized", Fate::Refused),
    ("osc_dynamic", &[], "osc.columns", "compact", Fate::Noted),
    ("osc_dynamic", &[], "osc.weight_rows", "zeroed", Fate::Noted),
    ("osc_dynamic", &[], "osc.body", "stored", Fate::Noted),
    ("osc_dynamic", &[], "osc.mover", "inline", Fate::Acts),
    ("osc_dynamic", &[], "osc.mover", "extractor", Fate::Acts),
    ("osc_dynamic", &[], "osc.mover", "dma_gather", Fate::Refused),
    ("osc_dynamic", &[], "osc.channels_per_group", "1", Fate::Refused),
    ("osc_dynamic", &[], "osc.threshold_factor", "5", Fate::Refused),
    ("mxfp4", &[], "assumed_channels", "3", Fate::Noted),
    ("mxfp4", &[], "calibration", "none.json", Fate::Noted),
    ("w8a8_static", &[], "assumed_channels", "3", Fate::Noted),
    ("w8a8_static", &[], "calibration", "none.json", Fate::Refused),
    // The tensors have values.
    (MUXQ, &[], "assumed_channels", "2", Fate::Noted),
];

#[test]
fn every_key_of_a_scheme_acts_or_is_refused_or_is_listed_as_unused() {
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path());
    let mut wrong = Vec::new();
    for (scheme, before, key, value, expected) in SCHEME_KEYS {
        let path: &'static str = Box::leak(format!("scheme.{key}").into_boxed_str());
        let change = Change { hardware: HARDWARE, scheme, before, path, value, has_values: true };
        let found = fate(folder.path(), &change);
        if found != *expected {
            wrong.push(format!("{scheme} {before:?} {key}={value}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // One value, so a change is refused; fallbacks without layers are told of elsewhere.
    let elsewhere = ["integer.format", "name", "fallback"];
    let schema: Value = serde_json::from_str(&schema(SchemaKind::Scheme)).unwrap();
    for (family, form) in schema["properties"].as_object().unwrap() {
        let keys = form["properties"].as_object();
        let paths: Vec<String> = match keys {
            Some(keys) => keys.keys().map(|key| format!("{family}.{key}")).collect(),
            None => vec![family.clone()],
        };
        for path in paths {
            let is_listed = SCHEME_KEYS.iter().any(|(_, _, key, ..)| *key == path);
            assert!(is_listed || elsewhere.contains(&path.as_str()), "`{path}` is in no run");
        }
    }
}

const TURNS: &[&str] = &["memories.dram.dram.model=bandwidth_limited", "memories.dram.dram.bytes_per_cycle=4"];

const NOTHING_STAYS: &[&str] = &["memories.sram.sram.partitions.resident=0"];

/// Weights arrive in few banks and fast enough for the array to be at work meanwhile.
const COLLIDING: &[&str] = &[
    "memories.sram.sram.banks=16",
    "memories.sram.sram.partitions.weights=128 KiB",
    "memories.dram.dram.bytes_per_cycle=256",
];

const HARDWARE_KEYS: &[(&str, &[&str], &str, &str, Fate)] = &[
    (HARDWARE, &[], "memories.dram.dram.model", "bandwidth_limited", Fate::Acts),
    (HARDWARE, &[], "memories.dram.dram.latency_cycles", "400", Fate::Acts),
    (HARDWARE, &[], "memories.dram.dram.bytes_per_cycle", "3", Fate::Acts),
    (HARDWARE, &[], "memories.dram.dram.quantum_bytes", "128", Fate::Noted),
    (HARDWARE, &[], "memories.dram.dram.weights", "{ activations: 2 }", Fate::Noted),
    (HARDWARE, TURNS, "memories.dram.dram.quantum_bytes", "4096", Fate::Acts),
    (HARDWARE, TURNS, "memories.dram.dram.weights", "{ weights: 64 }", Fate::Acts),
    (HARDWARE, &[], "memories.dram.dram.burst_bytes", "4096", Fate::Acts),
    ("gemmini-16x16", &[], "memories.dram.dram.duplex.read_bytes_per_cycle", "2", Fate::Acts),
    ("gemmini-16x16", &[], "memories.dram.dram.duplex.write_bytes_per_cycle", "0.125", Fate::Acts),
    ("gemmini-16x16", &[], "memories.dram.dram.duplex.write_response_latency_cycles", "900", Fate::Acts),
    (HARDWARE, &[], "memories.sram.sram.capacity", "1 MiB", Fate::Refused),
    (HARDWARE, &[], "memories.sram.sram.read_bytes_per_cycle", "1", Fate::Acts),
    (HARDWARE, &[], "memories.sram.sram.write_bytes_per_cycle", "1", Fate::Acts),
    (HARDWARE, &[], "memories.sram.sram.latency_cycles", "7", Fate::Noted),
    (HARDWARE, &[], "memories.sram.sram.banks", "3", Fate::Refused),
    (HARDWARE, &[], "memories.sram.sram.ports", "single", Fate::Refused),
    (HARDWARE, COLLIDING, "memories.sram.sram.ports", "single", Fate::Acts),
    (HARDWARE, NOTHING_STAYS, "memories.sram.sram.partitions.activations", "512 B", Fate::Acts),
    (HARDWARE, &[], "memories.sram.sram.partitions.weights", "4 KiB", Fate::Acts),
    (HARDWARE, &[], "memories.sram.sram.partitions.outputs", "4 KiB", Fate::Acts),
    (HARDWARE, &[], "memories.sram.sram.partitions.resident", "0", Fate::Acts),
    (HARDWARE, &[], "memories.accumulators.sram.capacity", "4 KiB", Fate::Acts),
    (HARDWARE, &[], "memories.accumulators.sram.read_bytes_per_cycle", "1", Fate::Acts),
    (HARDWARE, &[], "memories.accumulators.sram.write_bytes_per_cycle", "1", Fate::Acts),
    (HARDWARE, &[], "memories.accumulators.sram.latency_cycles", "7", Fate::Noted),
    (HARDWARE, &[], "memories.accumulators.sram.banks", "4", Fate::Acts),
    (HARDWARE, &[], "memories.accumulators.sram.ports", "single", Fate::Refused),
    (HARDWARE, &[], "dma.outstanding", "1", Fate::Acts),
    (HARDWARE, &[], "dma.setup_cycles", "100", Fate::Acts),
    (HARDWARE, &[], "dma.cycles_per_run", "9", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ longest: 64 }", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ start_cycles: 500 }", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ arrival_cycles: 500 }", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ activation_bytes_per_cycle: 1 }", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ activation_atom_bytes: 4096 }", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ weight_multiple_bytes: 4096 }", Fate::Acts),
    (HARDWARE, &[], "dma.requests", "{ products: together }", Fate::Acts),
];

#[test]
fn every_key_of_a_memory_acts_or_is_refused_or_is_listed_as_unused() {
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path());
    let mut wrong = Vec::new();
    for (hardware, before, path, value, expected) in HARDWARE_KEYS {
        let change = Change { hardware, scheme: "w8a8_per_tensor", before, path, value, has_values: false };
        let found = fate(folder.path(), &change);
        if found != *expected {
            wrong.push(format!("{hardware} {before:?} {path}={value}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let schema: Value = serde_json::from_str(&schema(SchemaKind::Hardware)).unwrap();
    let keys = |form: &Value| -> Vec<String> { form["properties"].as_object().unwrap().keys().cloned().collect() };
    let memory = &schema["properties"]["memories"]["items"]["properties"];
    for key in [keys(&memory["dram"]), keys(&memory["sram"])].concat() {
        let is_listed = HARDWARE_KEYS.iter().any(|(_, _, path, ..)| path.split('.').any(|part| part == key));
        assert!(is_listed, "`{key}` is in no run");
    }
}

/// `fc` has 128 input channels, `next` 96.
#[test]
fn more_assumed_channels_than_a_layer_has_is_said_and_not_clipped_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path());
    let notes = |assumed: &str| {
        let set = [assumed];
        outcome(folder.path(), HARDWARE, MUXQ, &set, false).unwrap().1
    };
    assert_eq!(notes("scheme.assumed_channels=95"), [""; 0]);
    let said = notes("scheme.assumed_channels=100");
    assert!(said.len() == 1 && said[0].contains("`next` (K = 96)") && !said[0].contains("`fc`"), "{said:?}");
    let said = notes("scheme.assumed_channels=128");
    assert!(said[0].contains("`fc` (K = 128)") && said[0].contains("`next` (K = 96)"), "{said:?}");
}

#[test]
fn unused_keys_are_listed_by_check_and_by_the_run() {
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path());
    let scheme = "name: plain\nassumed_channels: 8\nw8a8: { format: int8, activation_scale_per: tensor, weight_scale_per: tensor }\n";
    std::fs::write(folder.path().join("scheme.yaml"), scheme).unwrap();
    let said = |arguments: &[&str]| {
        let mut npusim = Command::new(env!("CARGO_BIN_EXE_npusim"));
        let done = npusim.current_dir(folder.path()).args(arguments).assert().success();
        String::from_utf8(done.get_output().stderr.clone()).unwrap()
    };
    let note = "`assumed_channels` does nothing: the scheme does not look for outlier channels";
    let run = ["run", "--hw", "mx-npu", "--workload", "workload.yaml", "--scheme", "scheme.yaml", "--no-numerics"];
    for said in [said(&["check", "scheme.yaml"]), said(&run)] {
        assert!(said.contains("scheme.yaml:2:") && said.contains(note), "{said}");
    }
}
