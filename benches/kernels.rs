//! Speed of the numeric kernels. The first lines give each INT8 vector unit as a multiple of the plain triple loop of the
//! same run, which is the figure that survives a change of machine; then every benchmark with its own rate.
//!
//! `cargo bench --bench kernels`

#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::time::Instant;

use divan::counter::{BytesCount, ItemsCount};
use npusim::numerics::accumulate::{AccumulationOrder, Destination};
use npusim::numerics::block::{self, BlockOptions};
use npusim::numerics::gemm::float::{self, FloatTile};
use npusim::numerics::gemm::int8::{self, InstructionSet};
use npusim::numerics::gemm::{Matrix, MatrixMut, Operand};
use npusim::shape::MatrixShape;

fn main() {
    print_ratios();
    divan::main();
}

/// A product of `m` x `k` by `k` x `n` with operands from a fixed congruential generator.
struct Problem {
    m: usize,
    k: usize,
    n: usize,
    a: Vec<i8>,
    b: Vec<i8>,
}

impl Problem {
    fn new(m: usize, k: usize, n: usize) -> Self {
        let mut state = 0x2026_1120_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8 as i8
        };
        let a = (0..m * k).map(|_| next()).collect();
        let b = (0..k * n).map(|_| next()).collect();
        Self { m, k, n, a, b }
    }

    fn macs(&self) -> usize {
        self.m * self.k * self.n
    }

    fn a(&self) -> Matrix<'_, i8> {
        Matrix::dense(&self.a, self.m, self.k).expect("A was made to measure")
    }

    fn b(&self) -> Matrix<'_, i8> {
        Matrix::dense(&self.b, self.k, self.n).expect("B was made to measure")
    }
}

/// 10^9 multiply-accumulates a second, the best of `repeats` runs.
fn rate(problem: &Problem, repeats: usize, mut product: impl FnMut(MatrixMut<'_, i32>)) -> f64 {
    let mut c = vec![0; problem.m * problem.n];
    let mut best = f64::INFINITY;
    for _ in 0..repeats {
        let start = Instant::now();
        product(MatrixMut::dense(&mut c, problem.m, problem.n).expect("C was made to measure"));
        best = best.min(start.elapsed().as_secs_f64());
    }
    problem.macs() as f64 / best * 1e-9
}

fn print_ratios() {
    let problem = Problem::new(64, 2048, 512);
    let plain = rate(&problem, 2, |c| int8::reference(problem.a(), problem.b(), c).expect("shapes agree"));
    println!("INT8 64x2048x512, one core: triple loop {plain:.2} GMAC/s");
    let packed = int8::prepare(problem.b());
    for set in InstructionSet::available() {
        let fast = rate(&problem, 20, |c| {
            int8::multiply_accumulate_with(set, problem.a(), packed.whole(), c).expect("shapes agree");
        });
        println!("  {set:?}: {fast:.1} GMAC/s, {:.0} times the triple loop", fast / plain);
    }
}

#[divan::bench]
fn int8_256x2048x2048(bencher: divan::Bencher<'_, '_>) {
    let problem = Problem::new(256, 2048, 2048);
    let packed = int8::prepare(problem.b());
    let mut c = vec![0; problem.m * problem.n];
    bencher.counter(ItemsCount::new(problem.macs())).bench_local(|| {
        let view = MatrixMut::dense(&mut c, problem.m, problem.n).expect("C was made to measure");
        int8::multiply_accumulate(problem.a(), packed.whole(), view).expect("shapes agree");
    });
}

#[divan::bench]
fn packing_2048x2048(bencher: divan::Bencher<'_, '_>) {
    let problem = Problem::new(1, 2048, 2048);
    bencher.counter(ItemsCount::new(problem.b.len())).bench_local(|| int8::prepare(problem.b()));
}

/// Values of both signs over a few binades.
fn values(count: usize) -> Vec<f32> {
    Problem::new(1, count, 0).a.iter().map(|&byte| f32::from(byte) / 16.0).collect()
}

fn operand(format: &str, rows: usize, k: usize) -> Operand {
    let format = block::by_name(format).expect("the format is registered");
    let quantizer = format.quantizer(BlockOptions::default()).expect("defaults fit every format");
    let tensor = quantizer.quantize(&values(rows * k), MatrixShape::new(rows as u64, k as u64));
    Operand::from_blocks(&tensor).expect("blocks of eight bits are operands")
}

fn block_scaled(bencher: divan::Bencher<'_, '_>, format: &str, order: AccumulationOrder) {
    let (m, k, n) = (64, 2048, 1024);
    let (a, b) = (operand(format, m, k), operand(format, n, k));
    bencher.counter(ItemsCount::new(m * k * n)).bench_local(|| {
        let mut tile = FloatTile::try_new(m, n, 32, order, Destination::Fp32).expect("a block has elements");
        float::multiply_accumulate(&a.whole(), &b.whole(), &mut tile).expect("shapes agree");
        tile.values()
    });
}

#[divan::bench(args = ["mxfp4", "mxint8", "mxfp8_e4m3"])]
fn block_order_64x2048x1024(bencher: divan::Bencher<'_, '_>, format: &str) {
    block_scaled(bencher, format, AccumulationOrder::Block);
}

#[divan::bench(args = ["mxfp4", "mxfp8_e4m3"])]
fn sequential_order_64x2048x1024(bencher: divan::Bencher<'_, '_>, format: &str) {
    block_scaled(bencher, format, AccumulationOrder::Sequential);
}

/// One output at a time: what the orders without a fast path cost.
#[divan::bench(sample_count = 10, args = ["mxfp8_e4m3"])]
fn exact_order_8x2048x64(bencher: divan::Bencher<'_, '_>, format: &str) {
    let (m, k, n) = (8, 2048, 64);
    let (a, b) = (operand(format, m, k), operand(format, n, k));
    bencher.counter(ItemsCount::new(m * k * n)).bench_local(|| {
        let order = AccumulationOrder::Exact;
        let mut tile = FloatTile::try_new(m, n, 32, order, Destination::Fp32).expect("a block has elements");
        float::multiply_accumulate(&a.whole(), &b.whole(), &mut tile).expect("shapes agree");
        tile.values()
    });
}

/// Bytes are those of the f32 input.
#[divan::bench(args = ["mxfp4", "mxint8", "mxfp8_e4m3", "nvfp4"])]
fn quantize_1024x2048(bencher: divan::Bencher<'_, '_>, format: &str) {
    let values = values(1024 * 2048);
    let format = block::by_name(format).expect("the format is registered");
    let quantizer = format.quantizer(BlockOptions::default()).expect("defaults fit every format");
    bencher
        .counter(BytesCount::of_slice(&values))
        .bench_local(|| quantizer.quantize(&values, MatrixShape::new(1024, 2048)));
}
