//! Points of a study per second.
//!
//! `cargo bench --bench explore`
//!
//! The points: a 12-layer encoder of the size of all-MiniLM-L6-v2 (384 wide, 12 heads, 1536 in the middle) at 128 tokens on
//! `edge-int8` with the memory model `bandwidth_limited`, at bandwidths that all differ, each from its files to its metrics, the
//! search of the tilings included. The limits are the project's own: 50 points a second on one core, two threads at least
//! 1.8 times as fast as one, and 2000 points a second on one core where they are estimated (`mode: estimate`). What is
//! known of the workload and the scheme is made once for all estimated points, since only a bandwidth varies.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Instant;

use npusim::config::document::Document;
use npusim::explore::run::{Options, Progress, run};

const POINTS: u64 = 64;
const POINTS_PER_SECOND: f64 = 50.0;
const SCALING: f64 = 1.8;
const ESTIMATED_POINTS: u64 = 1024;
const ESTIMATED_POINTS_PER_SECOND: f64 = 2000.0;

const MODEL: &str = "\
name: encoder-12
activation_format: fp32
tensors:
  - { name: x, shape: [128, 384] }
layers:
  - name: block
    repeat:
      count: 12
      input: x
      tensors:
        - { name: qkv.w, shape: [384, 1152] }
        - { name: out.w, shape: [384, 384] }
        - { name: fc1.w, shape: [384, 1536] }
        - { name: fc2.w, shape: [1536, 384] }
      layers:
        - { name: qkv, gemm: { input: previous, weight: qkv.w, role: qkv } }
        - { name: out, gemm: { input: previous, weight: out.w, role: attention_output } }
        - { name: fc1, gemm: { input: out, weight: fc1.w, role: gate_up } }
        - { name: gelu, activate: { input: fc1, function: gelu } }
        - { name: fc2, gemm: { input: gelu, weight: fc2.w, role: down } }
";

struct Silent;

impl Progress for Silent {
    fn done(&self, _: u64, _: u64, _: u64) {}
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("model.yaml"), MODEL).expect("it can be written");
    let study = |points: u64, mode: &str| {
        let text = format!(
            "name: points\nhardware: edge-int8\nworkload: model.yaml\nscheme: w8a8_per_token_per_channel\nmode: {mode}\n\
             set: [{{ path: memories.dram.dram.model, value: bandwidth_limited }}]\n\
             parameters:\n  - {{ name: bandwidth, path: memories.dram.dram.bytes_per_cycle, range: {{ from: 8, to: {}, step: 1 }} }}\n\
             objectives: [{{ metric: cycles }}]\n",
            7 + points
        );
        Document::from_bytes("points.yaml", text.as_bytes(), folder.path()).expect("it is YAML")
    };
    let least_seconds = |name: &str, points: u64, mode: &str, threads: usize| {
        let document = study(points, mode);
        let rounds = (0..3).map(|round| {
            let out = folder.path().join(format!("{name}-{threads}-{round}"));
            let start = Instant::now();
            let finished = run(&document, &out, Options { threads, ..Options::default() }, &Silent).expect("it runs");
            let summary = finished.summary.expect("it is whole");
            assert_eq!((summary.points, summary.failed), (points, 0));
            start.elapsed().as_secs_f64()
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    let seconds = [1, 2].map(|threads| least_seconds("simulated", POINTS, "simulate", threads));
    let rate = POINTS as f64 / seconds[0];
    println!(
        "12-layer encoder, bandwidth_limited: {rate:.1} points a second on one core, {:.2}x the limit of {POINTS_PER_SECOND}",
        rate / POINTS_PER_SECOND
    );
    let scaling = seconds[0] / seconds[1];
    println!("two threads: {scaling:.2} times as fast, {:.2}x the limit of {SCALING}", scaling / SCALING);
    let rate = ESTIMATED_POINTS as f64 / least_seconds("estimated", ESTIMATED_POINTS, "estimate", 1);
    println!(
        "estimated: {rate:.0} points a second on one core, {:.2}x the limit of {ESTIMATED_POINTS_PER_SECOND}",
        rate / ESTIMATED_POINTS_PER_SECOND
    );
}
