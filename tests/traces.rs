//! Whole layers: small ones with values through every anchor, the shipped ones against plain counting.

use npusim::config::defaults::Defaults;
use npusim::config::document::Document;
use npusim::config::{hardware, presets, tensors, workload};
use npusim::hardware::npu::Npu;
use npusim::hardware::vector_unit::VectorFunction;
use npusim::report::bounds;
use npusim::schedule::{self, ScheduleError, token_run, verify};
use npusim::scheme::{self, Scheme, blocks, cast, w8a8};
use npusim::units::Bytes;
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;

use crate::anchors::{self, run_workload};
use crate::closed_form;
use crate::fixture::{self, partitions_of};

/// A decoder layer of four query and two key and value heads of eight columns over 12 tokens, with every vector layer.
const DECODER: &str = "\
name: decoder
activation_format: fp32
defaults:
  tensors: { generate: { distribution: normal, mean: 0, std: 0.3, seed: 3 } }
tensors:
  - { name: x, shape: [12, 32] }
  - { name: ln.g, shape: [32] }
  - { name: ln.b, shape: [32] }
  - { name: q.w, shape: [32, 32] }
  - { name: k.w, shape: [32, 16] }
  - { name: v.w, shape: [32, 16] }
  - { name: v.b, shape: [16] }
  - { name: norm.g, shape: [8] }
  - { name: o.w, shape: [32, 32] }
  - { name: gate.w, shape: [32, 40] }
  - { name: up.w, shape: [32, 40] }
  - { name: down.w, shape: [40, 32] }
layers:
  - { name: ln, layer_norm: { input: x, weight: ln.g, bias: ln.b, epsilon: 1e-5 } }
  - { name: q, gemm: { input: ln, weight: q.w, role: qkv } }
  - { name: q_norm, rms_norm: { input: q, weight: norm.g, epsilon: 1e-6, width: 8 } }
  - { name: q_turned, rotary: { input: q_norm, width: 8, base: 10000 } }
  - { name: k, gemm: { input: ln, weight: k.w, role: qkv } }
  - { name: k_turned, rotary: { input: k, width: 8, base: 10000 } }
  - { name: v, gemm: { input: ln, weight: v.w, bias: v.b, role: qkv } }
  - name: scores
    gemm:
      input: q_turned
      weight: k_turned
      weight_transposed: true
      batches: { count: 4, weight_shared_by: 2, input: columns, weight: columns, output: rows }
  - { name: probabilities, softmax: { input: scores, scale: 0.35, causal: true } }
  - name: attention
    gemm:
      input: probabilities
      weight: v
      batches: { count: 4, weight_shared_by: 2, input: rows, weight: columns, output: columns }
  - { name: o, gemm: { input: attention, weight: o.w } }
  - { name: residual1, add: { left: o, right: x } }
  - { name: ln2, layer_norm: { input: residual1, epsilon: 1e-5 } }
  - { name: up, gemm: { input: ln2, weight: up.w } }
  - { name: gate, gemm: { input: ln2, weight: gate.w } }
  - { name: silu, activate: { input: gate, function: silu } }
  - { name: gated, multiply: { left: silu, right: up } }
  - { name: down, gemm: { input: gated, weight: down.w } }
  - { name: residual2, add: { left: down, right: residual1 } }
";

pub(crate) fn decoder() -> (Workload, Bindings) {
    let document = Document::from_bytes("decoder.yaml", DECODER.as_bytes(), ".").unwrap();
    let (workload, places) = workload::resolve(&document).unwrap();
    let bindings = tensors::load(&workload, &places, tensors::Generated::Wanted).unwrap();
    (workload, bindings)
}

#[test]
fn a_decoder_layer_holds_every_anchor() {
    let base = fixture::parts();
    let mut streams = base.clone();
    partitions_of(&mut streams).resident = Bytes(0);
    // Heads of 8 are no multiple of any block.
    let schemes: [&dyn Scheme; 7] = [
        &w8a8::PER_TENSOR,
        &w8a8::PER_TOKEN_PER_CHANNEL,
        &w8a8::FP8_PER_TENSOR,
        &cast::BF16,
        &blocks::MXFP8_E4M3,
        &blocks::NVFP4,
        &blocks::INT8_G128,
    ];
    for parts in [base, streams] {
        for scheme in schemes {
            let run = run_workload(parts.clone(), decoder(), scheme);
            let check = || {
                anchors::workload_is_done(&run)?;
                anchors::products_agree(&run)?;
                anchors::tiles_change_no_bit(&run)?;
                anchors::time_and_energy_add_up(&run)?;
                closed_form::bytes_match(&run)?;
                verify::verify(&run.schedule).map_err(|error| error.to_string())?;
                token_run::token_run(&run.schedule).map(drop).map_err(|error| error.to_string())
            };
            check().unwrap_or_else(|wrong| panic!("{}: {wrong}\n{}", scheme.name(), run.program));
        }
    }
}

#[test]
fn layers_that_read_the_same_activations_quantize_them_once() {
    let run = run_workload(fixture::parts(), decoder(), &w8a8::PER_TENSOR);
    let writes = |name: &str| {
        let written = run.program.ops.iter().flat_map(|op| op.kind.writes());
        written.filter(|tensor| run.program.tensor(*tensor).name.ends_with(name)).count()
    };
    // Of eleven products' inputs (two for each product of attention), q, k and v share one, and so do up and gate.
    assert_eq!(writes(".x_codes") + writes(".w_codes"), 8);
}

#[test]
fn a_function_without_a_rate_is_named_with_its_layer_and_unit() {
    let mut parts = fixture::parts();
    parts.vector_units[0].rates[VectorFunction::Softmax.index()] = None;
    let npu = Npu::try_new(parts).unwrap();
    let (workload, _) = decoder();
    let program = scheme::lower(&workload, &w8a8::PER_TENSOR, None).unwrap();
    let error = schedule::schedule(&program, &npu, workload.mapping()).unwrap_err();
    assert!(matches!(error, ScheduleError::MissingVectorFunction { .. }));
    assert_eq!(
        error.to_string(),
        "layer `probabilities` needs the vector function `softmax`, for which vector unit `vector` has no rate; add \
         `softmax: RATE` to its elements_per_cycle"
    );
}

#[test]
fn block_formats_refuse_windows_whose_blocks_would_be_cut() {
    let (convnet, _) = workload::resolve(&presets::open_workload("small-convnet").unwrap()).unwrap();
    let error = scheme::lower(&convnet, &blocks::MXINT8, None).unwrap_err().to_string();
    let expected = "layer `conv1`: blocks of mxint8 span 32 elements along k, of which 3 lie together; give the layer another \
                    scheme (fallback: [{ layer: conv1, scheme: fp16 }])";
    assert_eq!(error, expected);
    assert!(scheme::lower(&convnet, &w8a8::PER_TENSOR, None).is_ok());
}

/// A shipped trace on edge-int8 under W8A8 per tensor: the multiply-accumulates and compulsory bytes of the report.
fn counted(name: &str) -> [u64; 2] {
    let document = presets::open_hardware("edge-int8").unwrap();
    let npu = hardware::resolve(&document, &mut Defaults::default()).unwrap();
    let (workload, _) = workload::resolve(&presets::open_workload(name).unwrap()).unwrap();
    let program = scheme::lower(&workload, &w8a8::PER_TENSOR, None).unwrap();
    npusim::program::verify::verify(&program).unwrap();
    let schedule = schedule::schedule(&program, &npu, workload.mapping()).unwrap();
    let statistics = npusim::timing::run(&program, &schedule, &npu, &mut npusim::timing::observer::Unobserved).unwrap();
    let macs: u64 = statistics.ops.iter().map(|op| op.macs).sum();
    assert_eq!(macs, workload.macs(), "timed against the workload");
    let compulsory = bounds::compulsory_traffic(&program);
    [macs, (compulsory.read + compulsory.written).get()]
}

/// Products of `[m, k]` by `[k, n]` weights, one INT8 code each and one FP32 scale for each weight.
fn dense(m: u64, weights: &[[u64; 2]]) -> [u64; 2] {
    let (mut macs, mut bytes) = (0, 0);
    for [k, n] in weights {
        macs += m * k * n;
        bytes += k * n + 4;
    }
    [macs, bytes]
}

/// Queries by keys and probabilities by values, head by head.
fn attention_macs(tokens: u64, heads: u64, depth: u64) -> u64 {
    let mut macs = 0;
    for _head in 0..heads {
        macs += tokens * depth * tokens + tokens * tokens * depth;
    }
    macs
}

#[test]
fn gpt2_small_does_the_products_and_moves_at_least_the_bytes_of_its_published_shapes() {
    let (tokens, hidden, inner) = (1024, 768, 3072);
    let [macs, weight_bytes] = dense(
        tokens,
        &[[hidden, hidden], [hidden, hidden], [hidden, hidden], [hidden, hidden], [hidden, inner], [inner, hidden]],
    );
    // Input and output, weights and biases of two norms, five biases as wide as the hidden state and the one of fc1.
    let bytes = weight_bytes + 4 * (2 * tokens * hidden + 4 * hidden + 5 * hidden + inner);
    assert_eq!(counted("gpt2-small-block"), [macs + attention_macs(tokens, 12, 64), bytes]);
}

#[test]
fn qwen3_8b_does_the_products_and_moves_at_least_the_bytes_of_its_published_shapes() {
    let (tokens, hidden, inner, keys) = (1024, 4096, 12288, 8 * 128);
    let weights = [
        [hidden, 32 * 128],
        [hidden, keys],
        [hidden, keys],
        [32 * 128, hidden],
        [hidden, inner],
        [hidden, inner],
        [inner, hidden],
    ];
    let [macs, weight_bytes] = dense(tokens, &weights);
    // Input and output cross the pins in BF16, the activation format; two norms of rows and two of heads stay FP32.
    let bytes = weight_bytes + (2 + 2) * tokens * hidden + 4 * (2 * hidden + 2 * 128);
    assert_eq!(counted("qwen3-8b-layer"), [macs + attention_macs(tokens, 32, 128), bytes]);
}

#[test]
fn the_small_convnet_does_the_products_of_its_loops() {
    // Output height and width, taps, channels that an output sees, outputs.
    let layers = [[32, 9, 3, 16], [16, 9, 16, 32], [8, 9, 1, 32], [8, 1, 32, 64], [1, 64, 64, 10]];
    let (mut macs, mut bytes) = (0, 4 * (32 * 32 * 3 + 10));
    for [side, taps, channels, outputs] in layers {
        for _pixel in 0..side * side {
            for _output in 0..outputs {
                macs += taps * channels;
            }
        }
        // Codes and scale of the weight, and the bias.
        bytes += taps * channels * outputs + 4 + 4 * outputs;
    }
    assert_eq!(counted("small-convnet"), [macs, bytes]);
}
