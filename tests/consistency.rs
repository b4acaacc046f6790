//! The anchors that hold the two interpreters of a schedule against things outside of both.
//!
//! A scheduler that loses a tile keeps timing and execution in agreement; so each is held against the workload, the
//! un-tiled reference, closed forms of bytes, and bounds.

use npusim::hardware::array::{Array, BlockWeights, DotProductArray};
use npusim::hardware::memory::{Arbitration, Dram, MemoryKind, Partitions, Ports, WriteChannel};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::hardware::vector_unit::VectorFunction;
use npusim::report::{data::Configuration, json};
use npusim::schedule::commands::{CommandStream, Queue, Work};
use npusim::schedule::nest::Destination;
use npusim::schedule::tiling::Rehearsal;
use npusim::schedule::{token_run, verify};
use npusim::scheme::w8a8::PER_TOKEN_PER_CHANNEL;
use npusim::scheme::{self, Scheme};
use npusim::shape::GemmShape;
use npusim::simulation::{Setup, simulate};
use npusim::timing;
use npusim::timing::observer::{CommandRecord, Observer, Unobserved};
use npusim::timing::rehearsal::TimedAlone;
use npusim::timing::statistics::{RunStatistics, StallCause};
use npusim::units::{Bytes, Cycles, Rate};

use crate::anchors::{self, Finding, Run, run};
use crate::closed_form;
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
        vec![GemmShape::new(72, 96, 160), GemmShape::new(72, 160, 96)],
        vec![GemmShape::new(5, 64, 24)],
    ]
}

/// The test accelerator, and variants that move every decision: more room, less room, slower and faster memory.
fn machines() -> Vec<(&'static str, NpuParts)> {
    let base = fixture::parts();
    let mut roomy = base.clone();
    *partitions_of(&mut roomy) = Partitions {
        activations: Bytes(6 << 10),
        weights: Bytes(6 << 10),
        outputs: Bytes(6 << 10),
        resident: Bytes(14 << 10),
    };
    let mut nothing_stays = base.clone();
    partitions_of(&mut nothing_stays).resident = Bytes(0);
    let mut slow = base.clone();
    dram_of(&mut slow).bytes_per_cycle = Rate::try_new(3, 2).unwrap();
    let mut fast = base.clone();
    dram_of(&mut fast).bytes_per_cycle = Rate::whole(512).unwrap();
    dram_of(&mut fast).latency = Cycles(0);
    let mut serial = base.clone();
    serial.matrix_units[0].array = fixture::systolic("weight_stationary", false);
    serial.dma.outstanding = 1;
    serial.dma.setup = Cycles(3);
    let shared = |latency, write_channel| {
        let mut parts = fixture::parts();
        let arbitration = Arbitration { quantum: Bytes(48), weights: [2, 3, 1] };
        let bytes_per_cycle = Rate::try_new(19, 3).unwrap();
        let one = Dram::with_one_channel("bandwidth_limited", Cycles(latency), bytes_per_cycle);
        *dram_of(&mut parts) = Dram { write_channel, arbitration, ..one };
        parts
    };
    let write_channel = WriteChannel { bytes_per_cycle: Rate::whole(4).unwrap(), response_latency: Cycles(9) };
    let mut two_pipes = base.clone();
    dram_of(&mut two_pipes).write_channel = Some(write_channel);
    let mut single_ported = base.clone();
    let MemoryKind::Sram(sram) = &mut single_ported.memories[fixture::SRAM.0].kind else {
        panic!("memory 1 is an SRAM")
    };
    (sram.banks, sram.ports) = (Some(32), Ports::Single);
    let with_array = |array| {
        let mut parts = fixture::parts();
        parts.matrix_units[0].array = array;
        parts
    };
    let dot_product = |weights| {
        Array::DotProduct(DotProductArray { m: 4, n: 8, k: 2, pipeline: Cycles(5), weights, sequencing: None })
    };
    vec![
        ("output-stationary", with_array(fixture::systolic("output_stationary", true))),
        ("serial output-stationary", with_array(fixture::systolic("output_stationary", false))),
        ("input-stationary", with_array(fixture::systolic("input_stationary", true))),
        ("dot-product", with_array(dot_product(BlockWeights::Streamed))),
        ("dot-product with held weights", with_array(dot_product(BlockWeights::HeldDoubleBuffered))),
        ("dot-product with weights held once", with_array(dot_product(BlockWeights::HeldSingleBuffered))),
        ("shared bandwidth", shared(20, None)),
        ("shared bandwidth and a channel of writes", shared(0, Some(write_channel))),
        ("a pipe of reads and one of writes", two_pipes),
        ("a shared memory between", fixture::with_shared_memory(nothing_stays.clone(), Bytes(20 << 10))),
        ("single-ported banks", single_ported),
        ("base", base),
        ("roomy", roomy),
        ("nothing stays", nothing_stays),
        ("slow", slow),
        ("fast", fast),
        ("serial", serial),
    ]
}

/// The registered schemes, without those of groups of 32 channels where these do not divide the depth.
fn schemes_for(shapes: &[GemmShape]) -> Vec<&'static dyn Scheme> {
    let divides = shapes.iter().all(|shape| shape.k.is_multiple_of(32));
    scheme::ALL.iter().copied().filter(|scheme| divides || !scheme.name().starts_with("osc")).collect()
}

fn for_each_run(mut check: impl FnMut(&Run) -> Finding) {
    for shapes in cases() {
        for (machine, parts) in machines() {
            for scheme in schemes_for(&shapes) {
                let found = check(&run(parts.clone(), &shapes, scheme));
                found.unwrap_or_else(|wrong| panic!("{} on {machine} with {shapes:?}: {wrong}", scheme.name()));
            }
        }
    }
}

#[test]
fn each_scheme_does_the_products_of_the_workload_and_stays_within_its_error_bound() {
    for_each_run(anchors::workload_is_done);
}

#[test]
fn executed_timed_and_programmed_products_are_the_same_number() {
    for_each_run(anchors::products_agree);
}

#[test]
fn tiled_execution_equals_the_untiled_reference_bit_for_bit() {
    for_each_run(anchors::tiles_change_no_bit);
}

#[test]
fn bytes_counted_are_the_bytes_of_the_operands_that_cross_each_level() {
    for_each_run(closed_form::bytes_match);
}

#[test]
fn no_run_is_faster_than_its_bounds_and_all_cycles_and_joules_are_accounted_for() {
    for_each_run(anchors::time_and_energy_add_up);
}

#[test]
fn schedules_verify_and_their_tokens_run_to_the_end() {
    for_each_run(|run| {
        verify::verify(&run.schedule).map_err(|error| error.to_string())?;
        let commands = token_run::token_run(&run.schedule).map_err(|error| error.to_string())?;
        assert_eq!(commands, run.statistics.commands);
        Ok(())
    });
}

/// A product after the one that its sums start with once waited in its rehearsal for what nobody brought, and was tiled by
/// estimate alone.
#[test]
fn every_part_of_a_schedule_can_be_timed_alone() {
    for_each_run(|run| {
        let alone = TimedAlone { program: &run.program, npu: &run.npu };
        for (index, nest) in run.schedule.nests.iter().enumerate() {
            let cycles = alone.cycles(nest, &run.schedule.teams).ok_or(format!("nest {index} never ends alone"))?;
            assert!(cycles > Cycles(0));
        }
        Ok(())
    });
}

#[test]
fn what_the_shared_memory_holds_crosses_no_pin() {
    let shapes = [GemmShape::new(72, 96, 160), GemmShape::new(72, 160, 96)];
    let mut parts = fixture::parts();
    partitions_of(&mut parts).resident = Bytes(0);
    // Room for all sums of a product, so that none of them waits in the shared memory.
    let MemoryKind::Sram(sums) = &mut parts.memories[fixture::ACCUMULATORS.0].kind else { panic!("it is on the chip") };
    sums.capacity = Bytes(72 * 160 * 4);
    let without = run(parts.clone(), &shapes, &PER_TOKEN_PER_CHANNEL);
    let with = run(fixture::with_shared_memory(parts, Bytes(1 << 20)), &shapes, &PER_TOKEN_PER_CHANNEL);
    let traffic = |run: &Run, memory: usize| {
        let all = || run.statistics.ops.iter().filter_map(|op| op.traffic.get(memory));
        (all().map(|traffic| traffic.read.get()).sum::<u64>(), all().map(|traffic| traffic.written.get()).sum::<u64>())
    };
    // Everything that the run produces fits; only the last result, which nobody reads, leaves the chip: 72 x 96 FP32.
    assert_eq!(traffic(&with, fixture::DRAM.0).1, 72 * 96 * 4);
    // The INT8 copy of x and its scales; the first layer's output in FP32; the INT8 copy and scales of its GELU, which itself
    // stays within the chain that quantizes it.
    let produced = 72 * (96 + 4) + 72 * 160 * 4 + 72 * (160 + 4);
    assert_eq!(traffic(&with, fixture::SHARED.0).1, produced);
    assert_eq!(traffic(&without, fixture::DRAM.0).1, 72 * 96 * 4 + produced);
    assert!(with.statistics.makespan < without.statistics.makespan);
    let causes: Vec<_> =
        with.statistics.queues.iter().map(|queue| queue.stalls.get(StallCause::SharedMemory)).collect();
    assert!(causes.iter().any(|cycles| *cycles > Cycles(0)), "{causes:?}");
}

#[test]
fn a_narrow_port_is_a_stall_and_leaves_the_compute_cycles_as_they_are() {
    let shapes = [GemmShape::new(64, 64, 64)];
    let wide = run(fixture::parts(), &shapes, &PER_TOKEN_PER_CHANNEL);
    let mut parts = fixture::parts();
    let MemoryKind::Sram(sram) = &mut parts.memories[fixture::SRAM.0].kind else { panic!("memory 1 is on the chip") };
    // A step of the array takes 8 INT8 activations: at 4 bytes a cycle two cycles.
    sram.read_bytes_per_cycle = Rate::whole(4).unwrap();
    let npu = Npu::try_new(parts).unwrap();
    let narrow = timing::run(&wide.program, &wide.schedule, &npu, &mut Unobserved).unwrap();
    let product = wide.schedule.nests.iter().find_map(|nest| nest.matrix).unwrap().op.0;
    let (before, after) = (&wide.statistics.ops[product], &narrow.ops[product]);
    assert_eq!(before.stalls.get(StallCause::Port), Cycles(0));
    assert_eq!(after.compute, before.compute);
    // Each of the 8 x 8 folds streams 64 rows, which takes 64 cycles more.
    let (more, folds) = (after.stalls.get(StallCause::Port).get(), 64);
    assert!((folds * 64..folds * 64 + folds * 16).contains(&more), "{more}");
    for queue in &narrow.queues {
        assert_eq!(queue.busy + queue.stalls.total() + queue.idle, narrow.makespan);
    }
}

#[test]
fn runs_of_a_strided_transfer_cost_the_engine_time_and_the_memory_whole_bursts() {
    let shapes = [GemmShape::new(40, 200, 24)];
    let base = run(fixture::parts(), &shapes, &PER_TOKEN_PER_CHANNEL);
    let timed = |change: &dyn Fn(&mut NpuParts)| {
        let mut parts = fixture::parts();
        change(&mut parts);
        timing::run(&base.program, &base.schedule, &Npu::try_new(parts).unwrap(), &mut Unobserved).unwrap()
    };
    let dram_bytes = |statistics: &RunStatistics| -> u64 {
        let traffic = statistics.ops.iter().filter_map(|op| op.traffic.get(fixture::DRAM.0));
        traffic.map(|traffic| (traffic.read + traffic.written).get()).sum()
    };
    let slow = timed(&|parts| parts.dma.cycles_per_run = Cycles(20));
    assert!(slow.makespan > base.statistics.makespan);
    assert_eq!(dram_bytes(&slow), dram_bytes(&base.statistics));
    let bursts = timed(&|parts| dram_of(parts).burst = Bytes(64));
    // Every transfer of the schedule, row by row: the aligned bursts of 64 bytes from its first to its last byte.
    let mut walked = 0;
    for queue in &base.schedule.queues {
        for command in CommandStream::new(&base.schedule, *queue) {
            let Work::Transfer(transfer) = command.work else { continue };
            let is_dense = transfer.pitch == transfer.row_bytes;
            let (rows, bytes) =
                if is_dense { (1, transfer.bytes().get()) } else { (transfer.rows, transfer.row_bytes) };
            let start = |row: u64| transfer.base + row * transfer.pitch;
            walked += (0..rows).map(|row| (start(row) + bytes).div_ceil(64) - start(row) / 64).sum::<u64>() * 64;
        }
    }
    assert_eq!(dram_bytes(&bursts), walked);
    assert!(walked > dram_bytes(&base.statistics));
    assert!(bursts.makespan > base.statistics.makespan);
}

#[test]
fn what_is_written_into_single_ported_banks_is_taken_from_the_reads_of_the_array() {
    let shapes = [GemmShape::new(64, 256, 64)];
    let dual = run(fixture::parts(), &shapes, &PER_TOKEN_PER_CHANNEL);
    let mut parts = fixture::parts();
    let MemoryKind::Sram(sram) = &mut parts.memories[fixture::SRAM.0].kind else { panic!("memory 1 is on the chip") };
    (sram.banks, sram.ports) = (Some(32), Ports::Single);
    let npu = Npu::try_new(parts).unwrap();
    let single = timing::run(&dual.program, &dual.schedule, &npu, &mut Unobserved).unwrap();
    let product = dual.schedule.nests.iter().find_map(|nest| nest.matrix).unwrap().op.0;
    let port = single.ops[product].stalls.get(StallCause::Port).get();
    // 4 of 32 KiB at 64 B/cycle have 8 B/cycle; all that the product loads takes at most that many cycles.
    let loaded = single.ops[product].traffic[fixture::DRAM.0].read.get();
    assert!(port > 0 && port <= loaded / 8, "{port} cycles for {loaded} bytes");
    assert_eq!(dual.statistics.ops[product].stalls.get(StallCause::Port), Cycles(0));
    assert_eq!(single.ops[product].compute, dual.statistics.ops[product].compute);
    for queue in &single.queues {
        assert_eq!(queue.busy + queue.stalls.total() + queue.idle, single.makespan);
    }
}

#[test]
fn with_a_fixed_schedule_a_faster_memory_is_never_slower() {
    for shapes in cases() {
        for scheme in schemes_for(&shapes) {
            let base = run(fixture::parts(), &shapes, scheme);
            let mut last = Cycles(u64::MAX);
            for bytes_per_cycle in [1, 2, 5, 8, 64, 4096] {
                let mut parts = fixture::parts();
                dram_of(&mut parts).bytes_per_cycle = Rate::whole(bytes_per_cycle).unwrap();
                let npu = Npu::try_new(parts).unwrap();
                let timed = timing::run(&base.program, &base.schedule, &npu, &mut Unobserved).unwrap();
                assert!(timed.makespan <= last, "{} {shapes:?} at {bytes_per_cycle} B/cycle", scheme.name());
                last = timed.makespan;
            }
        }
    }
}

/// The test accelerator with a memory that serves everything at once, so that nobody can get into another's way.
fn without_contention() -> NpuParts {
    let mut parts = fixture::parts();
    dram_of(&mut parts).bytes_per_cycle = Rate::whole(1 << 40).unwrap();
    parts
}

#[test]
fn without_contention_more_lanes_and_more_credit_are_never_slower() {
    for shapes in cases() {
        for scheme in schemes_for(&shapes) {
            let base = run(without_contention(), &shapes, scheme);
            let mut last = Cycles(u64::MAX);
            for lanes in [1, 3, 16, 1000] {
                let timed = with_lanes(&base, without_contention(), lanes);
                assert!(timed <= last, "{} {shapes:?} with {lanes} lanes: {timed} after {last}", scheme.name());
                last = timed;
            }
            let mut last = base.statistics.makespan;
            for factor in [2, 8] {
                let timed = with_credit(&base, factor);
                assert!(timed <= last, "{} {shapes:?} with {factor} times the credit", scheme.name());
                last = timed;
            }
        }
    }
}

/// Under arbitration faster lanes can be slower: stores come earlier and take the memory's pipe ahead of a load that the
/// array waits for. Real machines do this too; the model shows it, somewhere among small shapes, and must go on doing so.
#[test]
fn under_contention_faster_lanes_can_be_slower() {
    let is_slower_with_more = |rows: u64, columns: u64| {
        let base = run(fixture::parts(), &[GemmShape::new(rows, 50, columns)], &PER_TOKEN_PER_CHANNEL);
        let timed = [1, 2, 3, 5, 8, 16].map(|lanes| with_lanes(&base, fixture::parts(), lanes));
        timed.windows(2).any(|pair| pair[1] > pair[0])
    };
    let shapes = (20..60).step_by(3).flat_map(|rows| (17..60).step_by(4).map(move |columns| (rows, columns)));
    let found = shapes.filter(|(rows, columns)| is_slower_with_more(*rows, *columns)).count();
    assert!(found > 0, "no case was found");
}

fn with_lanes(base: &Run, mut parts: NpuParts, lanes: u64) -> Cycles {
    parts.vector_units[0].rates = [Some(Rate::whole(lanes).unwrap()); VectorFunction::ALL.len()];
    let npu = Npu::try_new(parts).unwrap();
    timing::run(&base.program, &base.schedule, &npu, &mut Unobserved).unwrap().makespan
}

fn with_credit(base: &Run, factor: u64) -> Cycles {
    let mut schedule = base.schedule.clone();
    for nest in &mut schedule.nests {
        for load in &mut nest.loads {
            if let Destination::Partition(pool) = &mut load.destination {
                pool.capacity = pool.capacity * factor;
            }
        }
        if let Some(matrix) = &mut nest.matrix {
            matrix.accumulators.capacity = matrix.accumulators.capacity * factor;
        }
        if let Some(vector) = &mut nest.vector {
            vector.outputs.capacity = vector.outputs.capacity * factor;
        }
    }
    timing::run(&base.program, &schedule, &base.npu, &mut Unobserved).unwrap().makespan
}

#[test]
fn a_longer_run_holds_no_more_commands_at_once() {
    let held = |rows: u64| {
        let run = run(fixture::parts(), &[GemmShape::new(rows, 500, 64)], scheme::ALL[0]);
        (run.statistics.commands, run.statistics.most_commands_held)
    };
    let (few, held_by_few) = held(100);
    let (many, held_by_many) = held(2000);
    assert!(many > 10 * few, "{many} against {few} commands");
    assert!(held_by_many <= held_by_few + 4, "{held_by_many} against {held_by_few}");
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
            calibration: None,
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
    last: std::collections::BTreeMap<Queue, Cycles>,
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
