//! Speed of the numeric kernels. The first lines give the INT8 product as a multiple of the plain triple loop of the same
//! run, which is the figure that survives a change of machine; then every benchmark with its own rate.
//!
//! `cargo bench --bench kernels`
//!
//! The peer of the INT8 product is MatMulInteger (u8 x i8) of onnxruntime, whose figure `onnxruntime_matmul_integer.py`
//! reproduces. Measured within one minute on one core of a Xeon with AVX-512 VNNI and AMX (a virtual machine), 256x2048x2048,
//! one thread each, best and median in GMAC/s:
//!
//! | | B packed before | packing included |
//! |---|---|---|
//! | this crate, rten-gemm 0.27.0 | 246, 235 | 91, 74 |
//! | onnxruntime 1.31.1 with AMX refused, so that it takes VNNI too | 309, 293 | 232, 222 |
//! | onnxruntime 1.31.1 as it comes, on AMX | 1011, 956 | 434, 412 |
//! | this crate without the `vnni` feature | 29, 28 | 26, 26 |
//!
//! So with B packed we reach 0.7 to 0.8 of onnxruntime on the same instructions, over several such minutes, and 0.23 to
//! 0.25 of it on AMX, which needs intrinsics that stable Rust does not have. AMX was refused by answering `arch_prctl(ARCH_REQ_XCOMP_PERM)` with an error.

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

/// 10^9 multiply-accumulates a second.
struct Rate {
    best: f64,
    median: f64,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "best {:.1}, median {:.1} GMAC/s", self.best, self.median)
    }
}

/// The rate of `product` over `repeats` runs, after one that is not counted.
fn rate(problem: &Problem, repeats: usize, mut product: impl FnMut(MatrixMut<'_, i32>)) -> Rate {
    let mut c = vec![0; problem.m * problem.n];
    let mut seconds: Vec<f64> = (0..=repeats)
        .map(|_| {
            let start = Instant::now();
            product(MatrixMut::dense(&mut c, problem.m, problem.n).expect("C was made to measure"));
            start.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| problem.macs() as f64 / seconds * 1e-9;
    Rate { best: rate(seconds[0]), median: rate(seconds[repeats / 2]) }
}

fn print_ratios() {
    let problem = Problem::new(256, 2048, 2048);
    let plain = rate(&problem, 1, |c| int8::reference(problem.a(), problem.b(), c).expect("shapes agree"));
    let vnni = if cfg!(feature = "vnni") { "with" } else { "without" };
    println!("INT8 256x2048x2048, one core, {vnni} feature `vnni`: triple loop {:.2} GMAC/s", plain.best);
    let packed = int8::prepare(problem.b());
    let mut own = plain.best;
    for set in InstructionSet::available() {
        let fast = rate(&problem, 10, |c| {
            int8::multiply_accumulate_with(set, problem.a(), packed.whole(), c).expect("shapes agree");
        });
        println!("  our kernel, {set:?}: {fast}, {:.1} times the triple loop", fast.best / plain.best);
        own = fast.best;
    }
    let print = |what: &str, fast: &Rate| {
        let (to_plain, to_own) = (fast.best / plain.best, fast.best / own);
        println!("  {what}: {fast}, {to_plain:.0} times the triple loop, {to_own:.1} times our widest kernel");
    };
    let fast = rate(&problem, 50, |c| {
        int8::multiply_accumulate(problem.a(), packed.whole(), c).expect("shapes agree");
    });
    print("what callers get, B packed before", &fast);
    let fast = rate(&problem, 20, |c| {
        let packed = int8::prepare(problem.b());
        int8::multiply_accumulate(problem.a(), packed.whole(), c).expect("shapes agree");
    });
    print("what callers get, packing included", &fast);
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
