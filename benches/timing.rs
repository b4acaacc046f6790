//! How many tile commands a second the event loop handles, dependencies and counters on.
//!
//! Case: one INT8 product of 2048 x 2048 x 2048 on an 8x8 weight-stationary array with 4 KiB buffers and each model of DRAM
//! without banks, so that tiles are tiny and commands are many. The limit is the project's own: 10 million commands a second.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/fixture.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
mod fixture;

use std::time::Instant;

use npusim::hardware::npu::Npu;
use npusim::schedule;
use npusim::scheme::{self, w8a8};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::workload::mapping::Mapping;

const LIMIT: f64 = 10e6;

fn main() {
    for model in ["ideal", "bandwidth_limited"] {
        measure(model);
    }
}

fn measure(model: &'static str) {
    let mut parts = fixture::parts();
    fixture::dram_of(&mut parts).model = model;
    let npu = Npu::try_new(parts).expect("the parts fit together");
    let (workload, _) = fixture::chain(&[GemmShape::new(2048, 512, 2048)], 1);
    let program = scheme::lower(&workload, &w8a8::PER_TENSOR, None).expect("W8A8 needs no calibration");
    let schedule = schedule::schedule(&program, &npu, &Mapping::default()).expect("the case fits the test accelerator");
    let mut best = f64::INFINITY;
    let mut commands = 0;
    for _ in 0..5 {
        let start = Instant::now();
        let statistics = timing::run(&program, &schedule, &npu, &mut Unobserved).expect("the schedule proceeds");
        best = best.min(start.elapsed().as_secs_f64());
        commands = statistics.commands;
    }
    let rate = commands as f64 / best;
    println!(
        "timing, {model}: {commands} commands in {:.1} ms = {:.1} M/s, {:.2}x the limit of {:.0} M/s",
        best * 1e3,
        rate / 1e6,
        rate / LIMIT,
        LIMIT / 1e6
    );
}
