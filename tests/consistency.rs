//! The anchors that hold the two interpreters of a schedule against things outside of both.
//!
//! A scheduler that loses a tile keeps timing and execution in agreement; so each is held against the workload, the
//! un-tiled reference, closed forms of bytes, and bounds.

use npusim::energy;
use npusim::execute;
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::program::Program;
use npusim::program::op::OpKind;
use npusim::reference::{real, untiled};
use npusim::report::build::attributed_cycles;
use npusim::report::numerics::layer_numerics;
use npusim::report::{bounds, data::Configuration, json};
use npusim::schedule::{self, Schedule, token_run, verify};
use npusim::scheme::{self, Scheme};
use npusim::shape::GemmShape;
use npusim::simulation::{Setup, simulate};
use npusim::timing::observer::{CommandRecord, Observer, Unobserved};
use npusim::timing::{self, statistics::RunStatistics};
use npusim::units::Cycles;
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;

use crate::fixture::{self, chain, dram_of, partitions_of};

/// Shapes with ragged edges on every axis, single rows and columns, and a chain.
fn cases() -> Vec<Vec<GemmShape>> {
    vec![
        vec![GemmShape::new(1, 1, 1)],
        vec![GemmShape::new(8, 8, 8)],
        vec![GemmShape::new(37, 50, 29)],
        vec![GemmShape::new(1, 300, 40)],
        vec![GemmShape::new(120, 24, 9)],
        vec![GemmShape::new(33, 64, 70), GemmShape::new(33, 70, 48), GemmShape::new(33, 48, 16)],
        vec![GemmShape::new(200, 96, 384), GemmShape::new(200, 384, 96)],
    ]
}

/// The test accelerator, and variants that move every decision: more room, less room, slower and faster memory.
fn machines() -> Vec<(&'static str, NpuParts)> {
    let base = fixture::parts();
    let mut roomy = base.clone();
    *partitions_of(&mut roomy) = npusim::hardware::memory::Partitions {
        activations: npusim::units::Bytes(6 << 10),
        weights: npusim::units::Bytes(6 << 10),
        outputs: npusim::units::Bytes(6 << 10),
        resident: npusim::units::Bytes(14 << 10),
    };
    let mut nothing_stays = base.clone();
    partitions_of(&mut nothing_stays).resident = npusim::units::Bytes(0);
    let mut slow = base.clone();
    dram_of(&mut slow).bytes_per_cycle = npusim::units::Rate::try_new(3, 2).unwrap();
    let mut fast = base.clone();
    dram_of(&mut fast).bytes_per_cycle = npusim::units::Rate::whole(512).unwrap();
    dram_of(&mut fast).latency = Cycles(0);
    let mut serial = base.clone();
    serial.matrix_units[0].array.double_buffered = false;
    serial.dma.outstanding = 1;
    serial.dma.setup = Cycles(3);
    vec![
        ("base", base),
        ("roomy", roomy),
        ("nothing stays", nothing_stays),
        ("slow", slow),
        ("fast", fast),
        ("serial", serial),
    ]
}

struct Run {
    npu: Npu,
    workload: Workload,
    bindings: Bindings,
    program: Program,
    schedule: Schedule,
    statistics: RunStatistics,
}

fn run(parts: NpuParts, shapes: &[GemmShape], scheme: &dyn Scheme) -> Run {
    let npu = Npu::try_new(parts).unwrap();
    let (workload, bindings) = chain(shapes, 7);
    let program = scheme::lower(&workload, scheme);
    npusim::program::verify::verify(&program).unwrap();
    let schedule = schedule::schedule(&program, &npu).unwrap();
    let statistics = timing::run(&program, &schedule, &npu, &mut Unobserved).unwrap();
    Run { npu, workload, bindings, program, schedule, statistics }
}

fn for_each_run(mut check: impl FnMut(&str, &Run)) {
    for shapes in cases() {
        for (machine, parts) in machines() {
            for scheme in scheme::ALL {
                let name = format!("{} on {machine} with {shapes:?}", scheme.name());
                check(&name, &run(parts.clone(), &shapes, *scheme));
            }
        }
    }
}

#[test]
fn each_scheme_does_the_products_of_the_workload_and_stays_within_its_error_bound() {
    for_each_run(|name, run| {
        let expected: u64 = run.workload.macs();
        let program: u64 = run.program.ops.iter().map(|op| gemm_macs(&op.kind)).sum();
        assert_eq!(program, expected, "{name}");
        let execution = execute::run(&run.program, &run.schedule, &run.bindings).unwrap();
        let real = real::evaluate(&run.workload, &run.bindings).unwrap();
        let errors = layer_numerics(&run.program, &execution, &real);
        check_error_bounds(name, run, &execution, &real);
        // A layer that was forgotten would not be within a few percent of the real workload.
        for (layer, numerics) in run.program.layers.iter().zip(errors) {
            assert!(numerics.error.relative_error < 0.2, "{name}, {}: {numerics:?}", layer.name);
        }
    });
}

/// For a layer whose input comes from outside, |error| <= sum over k of (|x| s_w + |w| s_x) / 2 + s_x s_w / 4: rounding
/// moves each factor by at most half a step. Scales are those of the abs-max rule, recomputed here from the values.
fn check_error_bounds(name: &str, run: &Run, execution: &execute::Execution, real: &[real::RealLayer]) {
    use npusim::workload::layer::{LayerOperation, ValueRef};
    for (index, layer) in run.workload.layers().iter().enumerate() {
        let LayerOperation::Gemm(gemm) = &layer.operation else { continue };
        let ValueRef::Source(input) = gemm.input else { continue };
        let x = run.bindings.get(input).unwrap().to_f64();
        let w = run.bindings.get(gemm.weight).unwrap().to_f64();
        let (m, k, n) = (gemm.shape.m as usize, gemm.shape.k as usize, gemm.shape.n as usize);
        // The coarsest of the schemes' scales: one per tensor.
        let step = |values: &[f64]| values.iter().fold(0.0f64, |a, b| a.max(b.abs())) / 127.0;
        let (x_step, w_step) = (step(&x), step(&w));
        let y = execution.computed(run.program.layers[index].output).unwrap().to_f64();
        for i in 0..m {
            for j in 0..n {
                let bound: f64 = (0..k)
                    .map(|p| {
                        (x[i * k + p].abs() * w_step + w[p * n + j].abs() * x_step) / 2.0 + x_step * w_step / 4.0
                    })
                    .sum();
                let error = (y[i * n + j] - real[index].output[i * n + j]).abs();
                // The remainder covers f32 rounding of scales, sums and bias.
                assert!(error <= bound * 1.0001 + 1e-5, "{name}, {} [{i}, {j}]: {error} > {bound}", layer.name);
            }
        }
    }
}

#[test]
fn executed_timed_and_programmed_products_are_the_same_number() {
    for_each_run(|name, run| {
        let execution = execute::run(&run.program, &run.schedule, &run.bindings).unwrap();
        for (index, op) in run.program.ops.iter().enumerate() {
            let expected = gemm_macs(&op.kind);
            assert_eq!(execution.macs()[index], expected, "executed, {name}");
            assert_eq!(run.statistics.ops[index].macs, expected, "timed, {name}");
        }
    });
}

fn gemm_macs(kind: &OpKind) -> u64 {
    match kind {
        OpKind::Gemm(gemm) => gemm.shape.macs(),
        OpKind::Reduce { .. } | OpKind::Quantize { .. } | OpKind::Dequantize { .. } | OpKind::Activate { .. } => 0,
    }
}

#[test]
fn tiled_execution_equals_the_untiled_reference_bit_for_bit() {
    for_each_run(|name, run| {
        let execution = execute::run(&run.program, &run.schedule, &run.bindings).unwrap();
        let reference = untiled::evaluate(&run.program, &run.bindings);
        for (index, tensor) in run.program.tensors.iter().enumerate() {
            let id = npusim::program::tensor::TensorId(index);
            assert_eq!(execution.tensor(id), reference[index].as_ref(), "{name}: {}", tensor.name);
        }
    });
}

#[test]
fn schedules_verify_and_their_tokens_run_to_the_end() {
    for_each_run(|name, run| {
        verify::verify(&run.schedule).unwrap_or_else(|error| panic!("{name}: {error}"));
        let commands = token_run::token_run(&run.schedule).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(commands, run.statistics.commands, "{name}");
    });
}

#[test]
fn no_run_is_faster_than_its_bounds_and_each_queue_accounts_for_the_makespan() {
    for_each_run(|name, run| {
        let makespan = run.statistics.makespan;
        let bounds = bounds::bounds(&run.program, &run.npu, &run.statistics);
        assert!(bounds.moved_bandwidth_cycles >= bounds.compulsory_bandwidth_cycles, "{name}: {bounds:?}");
        assert!(makespan.get() >= bounds.compute_cycles, "{name}: {makespan} < {bounds:?}");
        assert!(makespan.get() >= bounds.moved_bandwidth_cycles, "{name}: {makespan} < {bounds:?}");
        for queue in &run.statistics.queues {
            assert_eq!(queue.busy + queue.stalls.total() + queue.idle, makespan, "{name}: {queue:?}");
        }
        let attributed: Cycles = attributed_cycles(&run.statistics).into_iter().sum();
        assert_eq!(attributed, makespan, "{name}");
    });
}

#[test]
fn energy_is_counts_times_cost() {
    for_each_run(|name, run| {
        let energy = energy::cost(&run.program, &run.npu, &run.statistics).unwrap();
        // Every action costs 1 pJ in the test table.
        let actions: u64 = energy.counts.iter().map(|(_, times)| times).sum();
        assert_eq!(energy.total.total_pj(), actions as f64, "{name}");
        let by_op: f64 = energy.ops.iter().map(|op| op.total_pj()).sum();
        assert_eq!(by_op, actions as f64, "{name}");
    });
}

#[test]
fn with_a_fixed_schedule_a_faster_memory_is_never_slower() {
    for shapes in cases() {
        for scheme in scheme::ALL {
            let base = run(fixture::parts(), &shapes, *scheme);
            let mut last = Cycles(u64::MAX);
            for bytes_per_cycle in [1, 2, 5, 8, 64, 4096] {
                let mut parts = fixture::parts();
                dram_of(&mut parts).bytes_per_cycle = npusim::units::Rate::whole(bytes_per_cycle).unwrap();
                let npu = Npu::try_new(parts).unwrap();
                let timed = timing::run(&base.program, &base.schedule, &npu, &mut Unobserved).unwrap();
                assert!(timed.makespan <= last, "{} {shapes:?} at {bytes_per_cycle} B/cycle", scheme.name());
                last = timed.makespan;
            }
        }
    }
}

#[test]
fn two_runs_give_the_same_report_byte_for_byte() {
    let npu = fixture::npu();
    let (workload, bindings) = chain(&cases()[5], 7);
    let report = || {
        let setup = Setup {
            npu: &npu,
            workload: &workload,
            scheme: scheme::ALL[0],
            bindings: Some(&bindings),
            configuration: Configuration::default(),
            defaults: Vec::new(),
        };
        json::to_json(&simulate(setup, &mut Unobserved).unwrap().report)
    };
    let first = report();
    assert_eq!(first, report());
    let elsewhere = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(report)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(elsewhere.iter().all(|report| *report == first));
}

/// Watches that commands of a queue end in order and that every record is whole.
#[derive(Default)]
struct InOrder {
    last: std::collections::BTreeMap<npusim::schedule::commands::Queue, Cycles>,
    records: u64,
}

impl Observer for InOrder {
    fn command(&mut self, record: &CommandRecord<'_>) {
        assert!(record.issued <= record.completed);
        let last = self.last.entry(record.queue).or_default();
        assert!(*last <= record.completed, "{:?} went back from {last} to {}", record.queue, record.completed);
        *last = record.completed;
        self.records += 1;
    }
}

#[test]
fn an_observer_sees_every_command_once_and_in_order_within_its_queue() {
    for (_, parts) in machines() {
        let run = run(parts, &cases()[6], scheme::ALL[2]);
        let mut observer = InOrder::default();
        timing::run(&run.program, &run.schedule, &run.npu, &mut observer).unwrap();
        assert_eq!(observer.records, run.statistics.commands);
    }
}
