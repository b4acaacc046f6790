//! Whole simulations in time: against SCALE-Sim, and a language model.
//!
//! `cargo bench --bench peers`
//!
//! First the rows of the set `scalesim`, each with every stage of a run, over the CPU seconds that SCALE-Sim 3.0.0 itself
//! took for them (`peer_cpu_s`, measured on a shared machine of two cores; nothing here uses more than one). The limit is the
//! project's own: 1000 times faster in total. Then GPT-2 small, 12 layers at 1024 tokens, from lowering to the report without
//! values on `edge-int8` with the memory model `bandwidth_limited`, in at most 0.3 s. The products of attention stand as products with constants, head by head.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use npusim::config::defaults::Defaults;
use npusim::config::document::Document;
use npusim::config::source::Place;
use npusim::config::{hardware, presets, workload};
use npusim::report::data::Configuration;
use npusim::scheme::w8a8;
use npusim::simulation::{Setup, simulate};
use npusim::timing::observer::Unobserved;
use npusim::validate;

const RATIO_LIMIT: f64 = 1000.0;
const GPT2_LIMIT_S: f64 = 0.3;

fn main() {
    scalesim();
    gpt2();
}

/// Seconds of the fastest of `count` runs.
fn best_of(count: u32, mut run: impl FnMut()) -> f64 {
    (0..count).fold(f64::INFINITY, |best, _| {
        let start = Instant::now();
        run();
        best.min(start.elapsed().as_secs_f64())
    })
}

fn scalesim() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/scalesim");
    let (mut peer_cpu_s, mut rows) = (0.0, 0);
    for file in ["scalesim_calc.csv", "scalesim_user.csv"] {
        let text = std::fs::read_to_string(folder.join(file)).expect("the rows ship with the sources");
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().expect("the file has a header");
        let column = header.iter().position(|name| *name == "peer_cpu_s").expect("the rows have this column");
        for cells in lines {
            assert_eq!(cells.len(), header.len(), "no cell of these files holds a comma");
            peer_cpu_s += cells[column].parse::<f64>().expect("the column holds seconds");
            rows += 1;
        }
    }
    let set = validate::by_name("scalesim").expect("the set is registered");
    let seconds = best_of(3, || drop(set.run(&folder).expect("the shipped rows run")));
    println!(
        "scalesim: {rows} rows in {seconds:.3} s, SCALE-Sim {peer_cpu_s:.0} CPU s: {:.0} times faster, {:.2}x the limit of {RATIO_LIMIT:.0}",
        peer_cpu_s / seconds,
        peer_cpu_s / seconds / RATIO_LIMIT
    );
}

fn gpt2() {
    let document = Document::from_bytes("gpt2", gpt2_trace().as_bytes(), "").expect("the trace is YAML");
    let (workload, _) = workload::resolve(&document).expect("the trace is a workload");
    let mut machine = presets::open_hardware("edge-int8").expect("built in");
    let origin = Place::flag("the benchmark");
    machine.apply("memories.dram.dram.model", "bandwidth_limited", &origin).expect("it has a model");
    let npu = hardware::resolve(&machine, &mut Defaults::default()).expect("built in");
    let mut commands = 0;
    let seconds = best_of(5, || {
        let setup = Setup {
            npu: &npu,
            workload: &workload,
            scheme: &w8a8::PER_TOKEN_PER_CHANNEL,
            calibration: None,
            bindings: None,
            configuration: Configuration::default(),
            defaults: Vec::new(),
        };
        commands = simulate(setup, &mut Unobserved).expect("it fits").report.totals.commands;
    });
    println!(
        "gpt2 small, 12 layers, 1024 tokens: {} layers, {commands} commands in {seconds:.3} s, {:.2}x within the limit of {GPT2_LIMIT_S} s",
        workload.layers().len(),
        GPT2_LIMIT_S / seconds
    );
}

/// 12 blocks of 768 with 12 heads of 64.
fn gpt2_trace() -> String {
    let (mut tensors, mut layers) = (String::new(), String::new());
    for block in 0..12 {
        let mut products = vec![("qkv".to_owned(), 768, 2304)];
        for head in 0..12 {
            products.push((format!("scores{head}"), 64, 1024));
            products.push((format!("context{head}"), 1024, 64));
        }
        products.extend(
            [("attn_out", 768, 768), ("fc", 768, 3072), ("proj", 3072, 768)]
                .map(|(name, k, n)| (name.to_owned(), k, n)),
        );
        for (name, k, n) in products {
            let name = format!("l{block}_{name}");
            let into = "writing to a string does not fail";
            writeln!(tensors, "  - {{ name: {name}_x, shape: [1024, {k}] }}").expect(into);
            writeln!(tensors, "  - {{ name: {name}_w, shape: [{k}, {n}] }}").expect(into);
            writeln!(layers, "  - {{ name: {name}, gemm: {{ input: {name}_x, weight: {name}_w }} }}").expect(into);
        }
    }
    format!("name: gpt2\nactivation_format: fp16\ntensors:\n{tensors}layers:\n{layers}")
}
