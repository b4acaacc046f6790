//! Schemes over a whole model, and execution against its arithmetic.
//!
//! `cargo bench --bench schemes`
//!
//! First every built-in scheme that `mx-npu` can run, with the memory model `bandwidth_limited`, over the products of a 36-layer
//! model of the size of Qwen3-8B at 128 tokens: from lowering to the report, on one core; what a scheme has to know of the
//! activations is assumed to be no channels. The limit for all of them together is the project's own, 1 s. Then the execution
//! of the lowered program of `minilm-layer` under INT8 against its arithmetic alone, and what values add to a whole run,
//! real-valued layers shared and errors included. Last, 65,536 equal layers against 4,096: time has to grow with their number.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use npusim::config::presets;
use npusim::execute::{self, Granularity};
use npusim::inputs::{Inputs, Names};
use npusim::numerics::gemm::{Matrix, MatrixMut, int8};
use npusim::program::Program;
use npusim::program::op::OpKind;
use npusim::program::tensor::TensorId;
use npusim::schedule;
use npusim::scheme;
use npusim::simulation::{RealValues, Setup, SimulationError, simulate, simulate_sharing};
use npusim::timing::observer::Unobserved;

const LIMIT_S: f64 = 1.0;
/// Execution against its arithmetic: the project's own.
const LIMIT_RATIO: f64 = 2.0;

const MODEL: &str = "\
name: qwen3-8b-36
activation_format: bf16
tensors:
  - { name: x, shape: [128, 4096] }
layers:
  - name: block
    repeat:
      count: 36
      input: x
      tensors:
        - { name: q.w, shape: [4096, 4096] }
        - { name: k.w, shape: [4096, 1024] }
        - { name: v.w, shape: [4096, 1024] }
        - { name: o.w, shape: [4096, 4096] }
        - { name: gate.w, shape: [4096, 12288] }
        - { name: up.w, shape: [4096, 12288] }
        - { name: down.w, shape: [12288, 4096] }
      layers:
        - { name: q, gemm: { input: previous, weight: q.w, role: qkv } }
        - { name: k, gemm: { input: previous, weight: k.w, role: qkv } }
        - { name: v, gemm: { input: previous, weight: v.w, role: qkv } }
        - { name: o, gemm: { input: q, weight: o.w, role: attention_output } }
        - { name: gate, gemm: { input: o, weight: gate.w, role: gate_up } }
        - { name: up, gemm: { input: o, weight: up.w, role: gate_up } }
        - { name: gated, multiply: { left: gate, right: up } }
        - { name: down, gemm: { input: gated, weight: down.w, role: down } }
";

fn main() {
    all_schemes();
    execution();
    layers();
}

fn all_schemes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model.yaml");
    std::fs::write(&model, MODEL).expect("it can be written");
    let workload = model.to_str().expect("a temporary path is text");
    let set = ["memories.dram.dram.model=bandwidth_limited".to_owned(), "scheme.assumed_channels=0".to_owned()];
    let (mut total, mut ran, mut slowest) = (0.0, 0, (0.0, ""));
    for preset in presets::SCHEMES {
        let mut inputs = Inputs::open(Names { hardware: "mx-npu", workload, scheme: preset.name }, &set)
            .expect("the files are sound");
        let calibration = inputs.calibration(None).expect("channels are assumed");
        let setup = Setup {
            npu: &inputs.npu,
            workload: &inputs.workload,
            scheme: inputs.scheme.as_ref(),
            calibration: calibration.as_ref(),
            bindings: None,
            configuration: inputs.configuration(),
            defaults: inputs.defaults(),
        };
        let start = Instant::now();
        let outcome = simulate(setup, &mut Unobserved);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(_) => ran += 1,
            Err(SimulationError::Schedule(_) | SimulationError::Lowering(_)) => continue,
            Err(other) => panic!("{}: {other}", preset.name),
        }
        total += seconds;
        if seconds > slowest.0 {
            slowest = (seconds, preset.name);
        }
    }
    println!(
        "36 layers, {ran} of {} schemes in {total:.3} s (the slowest, {}, in {:.3} s): {:.2}x the limit of {LIMIT_S} s",
        presets::SCHEMES.len(),
        slowest.1,
        slowest.0,
        total / LIMIT_S
    );
}

/// Time for a chain of products, from the files to the report, by the number of layers.
fn layers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let seconds = |count: u64| {
        let file = folder.path().join(format!("layers-{count}.yaml"));
        let text = format!(
            "name: chain\nactivation_format: fp32\ntensors: [{{ name: x, shape: [16, 64] }}, {{ name: w, shape: [64, 64] }}]\n\
             layers: [{{ name: b, repeat: {{ count: {count}, input: x, layers: [{{ name: a, gemm: {{ input: previous, weight: w }} }}] }} }}]\n"
        );
        std::fs::write(&file, text).expect("it can be written");
        let start = Instant::now();
        let workload = file.to_str().expect("a temporary path is text");
        let names = Names { hardware: "edge-int8", workload, scheme: "w8a8_per_token_per_channel" };
        let inputs = Inputs::open(names, &[]).expect("the files are sound");
        let setup = Setup {
            npu: &inputs.npu,
            workload: &inputs.workload,
            scheme: inputs.scheme.as_ref(),
            calibration: None,
            bindings: None,
            configuration: inputs.configuration(),
            defaults: inputs.defaults(),
        };
        black_box(simulate(setup, &mut Unobserved).expect("it runs"));
        start.elapsed().as_secs_f64()
    };
    let (few, many) = (seconds(4096), seconds(65_536));
    println!(
        "65,536 layers in {many:.2} s, 4,096 in {few:.3} s: a layer takes {:.2}x as long among 16 times as many \
         (linear: 1)",
        many / few / 16.0
    );
}

fn execution() {
    let workload = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/minilm-layer.yaml");
    let names = Names { hardware: "edge-int8", workload, scheme: "w8a8_per_token_per_channel" };
    let mut inputs = Inputs::open(names, &[]).expect("the files are sound");
    let bindings = inputs.bindings().expect("the values ship with the sources").expect("it has values");
    let calibration = inputs.calibration(Some(&bindings)).expect("the scheme needs none");
    let mut real = RealValues::of(&inputs.workload, &bindings).expect("it has values");
    let mut timed = |bindings| {
        (0..5).fold(f64::INFINITY, |best: f64, _| {
            let setup = Setup {
                npu: &inputs.npu,
                workload: &inputs.workload,
                scheme: inputs.scheme.as_ref(),
                calibration: calibration.as_ref(),
                bindings,
                configuration: inputs.configuration(),
                defaults: inputs.defaults(),
            };
            let start = Instant::now();
            simulate_sharing(setup, &mut real, &mut Unobserved).expect("it runs");
            best.min(start.elapsed().as_secs_f64())
        })
    };
    let (with, without) = (timed(Some(&bindings)), timed(None));
    let program = scheme::lower(&inputs.workload, inputs.scheme.as_ref(), None).expect("it needs no calibration");
    let schedule = schedule::schedule(&program, &inputs.npu, inputs.workload.mapping()).expect("it fits");
    let executed = best_of(|| {
        execute::run(&program, &schedule, &bindings, Granularity::Products).expect("it has values");
    });
    let arithmetic = best_of(|| arithmetic(&program));
    println!(
        "minilm-layer: {:.1} ms with values, {:.1} ms without; execution takes {:.1} ms, its products and element-wise \
         operations alone {:.1} ms: {:.2}x (limit {LIMIT_RATIO})",
        with * 1e3,
        without * 1e3,
        executed * 1e3,
        arithmetic * 1e3,
        executed / arithmetic
    );
}

fn best_of(mut work: impl FnMut()) -> f64 {
    (0..7).fold(f64::INFINITY, |best, _| {
        let start = Instant::now();
        work();
        best.min(start.elapsed().as_secs_f64())
    })
}

/// What a run of `program` computes, with nothing around it: the preparation's and the run's quantizations and scales, the
/// integer products, their dequantization and the activation function, each over arrays that are simply there.
fn arithmetic(program: &Program) {
    for op in program.preparation.iter().chain(&program.ops) {
        let elements = |id: TensorId| usize::try_from(program.tensor(id).shape.elements()).expect("it fits memory");
        match &op.kind {
            OpKind::Gemm(gemm) => {
                let size = |extent: u64| usize::try_from(extent).expect("it fits memory");
                let (m, k, n) = (size(gemm.shape.m), size(gemm.shape.k), size(gemm.shape.n));
                let (a, b, mut c) = (vec![3i8; m * k], vec![-5i8; k * n], vec![0i32; m * n]);
                let packed = int8::prepare(Matrix::dense(&b, k, n).expect("its shape"));
                let c = MatrixMut::dense(&mut c, m, n).expect("its shape");
                let a = Matrix::dense(&a, m, k).expect("its shape");
                int8::multiply_accumulate(a, packed.whole(), c).expect("shapes agree");
            }
            OpKind::Reduce { input, .. } => {
                let values = vec![0.5f32; elements(*input)];
                black_box(values.iter().fold(0.0f32, |largest, value| largest.max(value.abs())));
            }
            OpKind::Quantize { input, .. } => {
                let values = vec![0.5f32; elements(*input)];
                black_box(values.iter().map(|value| (value * 3.0).round_ties_even() as i8).collect::<Vec<i8>>());
            }
            OpKind::Dequantize { input, .. } => {
                let sums = vec![7i32; elements(*input)];
                black_box(sums.iter().map(|sum| (*sum as f32) * 0.1 * 0.2 + 0.5).collect::<Vec<f32>>());
            }
            OpKind::Activate { input, .. } => {
                let values = vec![0.5f32; elements(*input)];
                let gelu = |value: &f32| 0.5 * value * (1.0 + libm::erff(value * std::f32::consts::FRAC_1_SQRT_2));
                black_box(values.iter().map(gelu).collect::<Vec<f32>>());
            }
            other => unreachable!("no operation of INT8 on an encoder layer: {other:?}"),
        }
    }
}
