//! The tiling search against exhaustive enumeration: the estimate's optimum, and what the event-driven engine says of it.

use std::fmt::Write;

use npusim::hardware::array::{Array, BlockWeights, DotProductArray};
use npusim::hardware::memory::{MemoryKind, Partitions};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::numerics::formats::{ElementFormat, FP32, INT8, INT32};
use npusim::program::Program;
use npusim::program::ProgramLayer;
use npusim::program::op::{Gemm, GemmOperand, Op, OpKind, Path, RightLayout};
use npusim::program::tensor::{Origin, ProgramTensor, TensorId};
use npusim::schedule::estimate::estimate;
use npusim::schedule::grid::{Axis, Grid};
use npusim::schedule::lattice::block_unit;
use npusim::schedule::nest::Nest;
use npusim::schedule::room::exceeded;
use npusim::schedule::{self, Schedule};
use npusim::shape::{Blocking, GemmShape, MatrixShape};
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::timing::rehearsal::TimedAlone;
use npusim::units::{Bytes, Cycles, Rate};
use npusim::workload::layer::LayerId;
use npusim::workload::mapping::{LoopOrder, Mapping, Objective};

use crate::fixture::{self, ACCUMULATORS, dram_of, partitions_of};

/// One INT8 product with operands off the chip, its sums scaled to FP32 and stored.
fn product(shape: GemmShape) -> Program {
    let tensor = |name: &str, shape: MatrixShape, format: &'static ElementFormat, origin: Origin| ProgramTensor {
        name: name.to_owned(),
        shape,
        format,
        origin,
        recorded: None,
        is_counted: true,
    };
    let tensors = vec![
        tensor("x", shape.left(), &INT8, Origin::Prepared),
        tensor("w", shape.right(), &INT8, Origin::Prepared),
        tensor("sums", shape.output(), &INT32, Origin::Produced),
        tensor("y", shape.output(), &FP32, Origin::Produced),
    ];
    let [left, right, sums, output] = [0, 1, 2, 3].map(TensorId);
    let (layer, path) = (LayerId(0), Path::Body);
    let gemm = Gemm {
        shape,
        left: GemmOperand::plain(left),
        right: GemmOperand::plain(right),
        right_layout: RightLayout::KByN,
        output: sums,
    };
    let dequantize = OpKind::Dequantize { input: sums, left_scale: None, right_scale: None, bias: None, output };
    let ops =
        vec![Op { layer, path, kind: OpKind::Gemm(gemm) }, Op { layer, path: Path::Dequantization, kind: dequantize }];
    let layers = vec![ProgramLayer { name: "product".to_owned(), output }];
    Program { tensors, preparation: Vec::new(), ops, layers }
}

struct Case {
    machine: &'static str,
    npu: Npu,
    shape: GemmShape,
}

impl Case {
    fn schedule(&self, program: &Program, objective: Objective) -> Schedule {
        let mapping = Mapping { objective, ..Mapping::default() };
        let rehearsal = TimedAlone { program, npu: &self.npu };
        schedule::schedule_rehearsed(program, &self.npu, &mapping, &rehearsal).unwrap()
    }

    fn timed(&self, program: &Program, schedule: &mut Schedule, grid: Grid) -> u64 {
        schedule.nests[0].grid = grid;
        timing::run(program, schedule, &self.npu, &mut Unobserved).unwrap().makespan.get()
    }

    /// Every grid that the machine can run: all multiples of what may not be cut and of what the array works on at once.
    fn every_grid(&self, nest: &Nest) -> Vec<Grid> {
        let unit = &self.npu.matrix_units()[0];
        let at_once = npusim::dataflow::of(&unit.array).granularity(&unit.array, 1);
        let blocks = |axis: Axis, at_once: u64| -> Vec<Blocking> {
            let extent = nest.grid.blocking(axis).extent();
            let unit = at_once.max(block_unit(nest, axis));
            let multiples = (1..).map(|times| times * unit).take_while(|block| *block < extent);
            multiples.chain([extent]).map(|block| Blocking::new(extent, block)).collect()
        };
        let mut grids = Vec::new();
        for order in [LoopOrder::MNK, LoopOrder::NMK] {
            for m in blocks(Axis::M, at_once.m) {
                for k in blocks(Axis::K, at_once.k) {
                    grids.extend(blocks(Axis::N, at_once.n).into_iter().map(|n| Grid { m, k, n, order, ..nest.grid }));
                }
            }
        }
        grids.retain(|grid| exceeded(nest, grid).is_none());
        grids
    }
}

fn cases() -> Vec<Case> {
    let base = fixture::parts();
    let with = |change: &dyn Fn(&mut NpuParts)| {
        let mut parts = base.clone();
        change(&mut parts);
        parts
    };
    let dot = |m, k, weights| {
        Array::DotProduct(DotProductArray { m, n: 8, k, pipeline: Cycles(5), weights, sequencing: None })
    };
    let machines: Vec<(&'static str, NpuParts, Vec<[u64; 3]>)> = vec![
        ("weights stay", base.clone(), vec![[32, 96, 64], [40, 50, 29], [1, 300, 40], [24, 24, 200], [7, 256, 88]]),
        (
            "weights stay, slow DRAM",
            with(&|parts| dram_of(parts).bytes_per_cycle = Rate::try_new(3, 2).unwrap()),
            vec![[32, 96, 64], [20, 160, 48], [48, 17, 90], [1, 128, 128]],
        ),
        (
            "weights stay, launch and setup",
            with(&|parts| {
                parts.matrix_units[0].launch = Cycles(12);
                parts.dma.setup = Cycles(16);
                parts.dma.outstanding = 2;
            }),
            vec![[32, 96, 64], [50, 64, 24], [4, 200, 56], [36, 36, 36]],
        ),
        (
            "weights stay, little room",
            with(&|parts| {
                *partitions_of(parts) = Partitions {
                    activations: Bytes(512),
                    weights: Bytes(512),
                    outputs: Bytes(512),
                    resident: Bytes(0),
                };
                let MemoryKind::Sram(sram) = &mut parts.memories[ACCUMULATORS.0].kind else { unreachable!() };
                sram.capacity = Bytes(1024);
            }),
            vec![[32, 64, 48], [19, 100, 40], [64, 16, 64], [8, 120, 24]],
        ),
        (
            "outputs stay",
            with(&|parts| parts.matrix_units[0].array = fixture::systolic("output_stationary", true)),
            vec![[64, 96, 64], [56, 200, 56], [100, 27, 32], [8, 512, 40], [196, 72, 24]],
        ),
        (
            "inputs stay, serial",
            with(&|parts| parts.matrix_units[0].array = fixture::systolic("input_stationary", false)),
            vec![[64, 64, 20], [33, 130, 17], [128, 40, 8]],
        ),
        (
            "dot products",
            with(&|parts| parts.matrix_units[0].array = dot(4, 8, BlockWeights::Streamed)),
            vec![[64, 96, 64], [49, 64, 72], [128, 32, 16]],
        ),
        (
            "dot products, weights held",
            with(&|parts| {
                parts.matrix_units[0].array = dot(8, 8, BlockWeights::HeldDoubleBuffered);
                dram_of(parts).bytes_per_cycle = Rate::whole(64).unwrap();
            }),
            vec![[64, 96, 64], [121, 48, 40]],
        ),
    ];
    machines
        .into_iter()
        .flat_map(|(machine, parts, shapes)| {
            let npu = Npu::try_new(parts).unwrap();
            shapes.into_iter().map(move |[m, k, n]| Case { machine, npu: npu.clone(), shape: GemmShape::new(m, k, n) })
        })
        .collect()
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

fn shown(grid: &Grid) -> String {
    format!("{}x{}x{} {}", grid.m.block(), grid.k.block(), grid.n.block(), grid.order.name())
}

#[test]
fn the_chosen_tiling_is_within_two_percent_of_the_best_of_all_by_estimate_and_by_timing() {
    let cases = cases();
    let mut table = String::new();
    let mut worst = (1.0f64, 1.0f64);
    for case in &cases {
        let program = product(case.shape);
        let mut schedule = case.schedule(&program, Objective::Cycles);
        let chosen = schedule.nests[0].grid;
        let nest = schedule.nests[0].clone();
        let estimated = |grid: &Grid| estimate(&case.npu, &nest, grid).cycles.get();
        let every = case.every_grid(&nest);
        let least_estimate = every.iter().map(estimated).min().unwrap();
        let mut error = (0.0f64, 0.0f64);
        let mut fastest = (u64::MAX, chosen);
        for grid in &every {
            let timed = case.timed(&program, &mut schedule, *grid);
            let off = ratio(estimated(grid), timed) - 1.0;
            error = (error.0.min(off), error.1.max(off));
            if timed < fastest.0 {
                fastest = (timed, *grid);
            }
        }
        let timed = case.timed(&program, &mut schedule, chosen);
        let by_estimate = ratio(estimated(&chosen), least_estimate);
        let by_timing = ratio(timed, fastest.0);
        worst = (worst.0.max(by_estimate), worst.1.max(by_timing));
        writeln!(
            table,
            "| {} | {} | {} | {} | {by_estimate:.3} | {by_timing:.3} | {timed} | {:+.1} % | {:+.1} % .. {:+.1} % | {} {} {:+.1} % |",
            case.machine,
            case.shape,
            shown(&chosen),
            every.len(),
            (ratio(estimated(&chosen), timed) - 1.0) * 100.0,
            error.0 * 100.0,
            error.1 * 100.0,
            shown(&fastest.1),
            fastest.0,
            (ratio(estimated(&fastest.1), fastest.0) - 1.0) * 100.0,
        )
        .unwrap();
    }
    println!("{table}");
    assert!(worst.0 <= 1.02 && worst.1 <= 1.02, "{table}");
}
