//! Products walked with k outside of m or n: the anchors, the bytes of sums that leave and come back, and their time.

use std::collections::VecDeque;

use npusim::energy::transfers::TransferCounter;
use npusim::hardware::memory::{MemoryId, MemoryKind, Sram};
use npusim::hardware::npu::NpuParts;
use npusim::memory::Direction;
use npusim::program::op::{OpId, OpKind};
use npusim::schedule::commands::{Command, CommandStream, Queue, Work};
use npusim::schedule::{Schedule, spill, token_run, verify};
use npusim::scheme::w8a8::PER_TOKEN_PER_CHANNEL;
use npusim::scheme::{Scheme, blocks, cast, muxq, w8a8};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::units::{Bytes, Cycles, Rate};
use npusim::workload::mapping::{FixedTiling, LoopOrder, Mapping, Split};

use crate::anchors::{self, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, ACCUMULATORS, DRAM, SHARED, SRAM, Sums, chain, dram_of, partitions_of};

/// The same blocks for every product of a chain.
fn given(layers: usize, [m, k, n]: [u64; 3], order: LoopOrder, split: Split) -> Mapping {
    let tiling =
        |index| FixedTiling { layer: format!("gemm{index}"), path: "body".to_owned(), m, k, n, order: Some(order) };
    Mapping { tilings: (0..layers).map(tiling).collect(), split, ..Mapping::default() }
}

fn run(parts: NpuParts, shapes: &[GemmShape], scheme: &dyn Scheme, mapping: Mapping) -> Run {
    let (workload, bindings) = chain(shapes, 7);
    run_workload(parts, (workload.with_mapping(mapping), bindings), scheme)
}

fn sram_of(parts: &mut NpuParts, memory: MemoryId) -> &mut Sram {
    match &mut parts.memories[memory.0].kind {
        MemoryKind::Sram(sram) => sram,
        MemoryKind::Dram(_) => unreachable!("it is on the chip"),
    }
}

/// Machines on which sums wait in every memory, or nowhere.
fn machines() -> Vec<(&'static str, NpuParts, Split)> {
    let base = fixture::parts();
    let with = |change: &dyn Fn(&mut NpuParts)| {
        let mut parts = base.clone();
        change(&mut parts);
        parts
    };
    let nothing_stays = with(&|parts| partitions_of(parts).resident = Bytes(0));
    let room = |bytes| {
        with(&|parts| {
            sram_of(parts, SRAM).capacity = Bytes(1 << 20);
            partitions_of(parts).resident = bytes;
        })
    };
    vec![
        ("off the chip", nothing_stays.clone(), Split::Auto),
        ("where tensors stay", room(Bytes(64 << 10)), Split::Auto),
        ("in a shared memory", fixture::with_shared_memory(nothing_stays, Bytes(64 << 10)), Split::Auto),
        ("where there is room", base.clone(), Split::Auto),
        ("nowhere", with(&|parts| sram_of(parts, ACCUMULATORS).capacity = Bytes(64 << 10)), Split::Auto),
        (
            "outputs stay in the array",
            with(&|parts| parts.matrix_units[0].array = fixture::systolic("output_stationary", true)),
            Split::Auto,
        ),
        (
            "one transfer at a time",
            with(&|parts| {
                parts.dma.outstanding = 1;
                parts.dma.setup = Cycles(3);
                dram_of(parts).bytes_per_cycle = Rate::try_new(3, 2).unwrap();
            }),
            Split::Auto,
        ),
        ("two units that share rows", fixture::parts_with_units(2, Sums::Together), Split::M),
        ("two units that share columns", fixture::parts_with_units(2, Sums::Together), Split::N),
    ]
}

#[test]
fn every_anchor_holds_in_every_loop_order() {
    let schemes: [&dyn Scheme; 4] = [&PER_TOKEN_PER_CHANNEL, &w8a8::PER_TENSOR, &cast::FP16, &blocks::MXFP8_E4M3];
    let chains = [vec![GemmShape::new(40, 96, 56)], vec![GemmShape::new(33, 64, 70), GemmShape::new(33, 70, 48)]];
    let mut spilled = 0;
    for (machine, parts, split) in machines() {
        for shapes in &chains {
            for scheme in schemes {
                for (name, order) in LoopOrder::NAMES {
                    let run = run(parts.clone(), shapes, scheme, given(shapes.len(), [16, 32, 24], order, split));
                    let anchors = [
                        anchors::workload_is_done,
                        anchors::products_agree,
                        anchors::tiles_change_no_bit,
                        anchors::time_and_energy_add_up,
                        closed_form::bytes_match,
                    ];
                    for anchor in anchors {
                        let found = anchor(&run);
                        found.unwrap_or_else(|wrong| panic!("{} {name} {machine} {shapes:?}: {wrong}", scheme.name()));
                    }
                    verify::verify(&run.schedule).unwrap();
                    assert_eq!(token_run::token_run(&run.schedule), Ok(run.statistics.commands));
                    spilled += run.statistics.ops.iter().map(|op| op.spilled.get()).sum::<u64>();
                }
            }
        }
    }
    assert!(spilled > 0);
}

/// One product of 40 x 96 x 56 in blocks of 16 x 32 x 24 on `parts`: bytes spilled and filled, and where they waited.
fn spilled(parts: NpuParts, order: LoopOrder) -> (u64, u64, Option<MemoryId>) {
    let run = run(parts, &[SHAPE], &PER_TOKEN_PER_CHANNEL, given(1, [16, 32, 24], order, Split::Auto));
    let product = product_of(&run);
    let nest = run.schedule.nests.iter().find(|nest| nest.matrix.is_some()).unwrap();
    let home = spill::home(nest, &nest.grid).map(|home| home.memory);
    (run.statistics.ops[product].spilled.get(), run.statistics.ops[product].filled.get(), home)
}

const SHAPE: GemmShape = GemmShape::new(40, 96, 56);

fn product_of(run: &Run) -> usize {
    run.program.ops.iter().position(|op| matches!(op.kind, OpKind::Gemm(_))).unwrap()
}

#[test]
fn all_sums_leave_and_come_back_between_the_passes_along_k() {
    let mut parts = fixture::parts();
    partitions_of(&mut parts).resident = Bytes(0);
    // Three passes: 2 x 40 x 56 sums of four bytes each way.
    let each_way = 2 * 40 * 56 * 4;
    for order in LoopOrder::WITH_K_OUTSIDE {
        assert_eq!(spilled(parts.clone(), order), (each_way, each_way, Some(DRAM)), "{order:?}");
    }
    for order in LoopOrder::WITH_K_INNERMOST {
        assert_eq!(spilled(parts.clone(), order), (0, 0, None), "{order:?}");
    }
    // Three tiles of 16 x 24 sums of four bytes are open in a row block, nine in all; those of three fit 4608 bytes.
    sram_of(&mut parts, ACCUMULATORS).capacity = Bytes(3 * 16 * 24 * 4);
    assert_eq!(spilled(parts.clone(), LoopOrder::MKN), (0, 0, None));
    assert_eq!(spilled(parts.clone(), LoopOrder::NKM), (0, 0, None));
    assert_eq!(spilled(parts.clone(), LoopOrder::KMN), (each_way, each_way, Some(DRAM)));
    sram_of(&mut parts, ACCUMULATORS).capacity = Bytes(9 * 16 * 24 * 4);
    assert_eq!(spilled(parts, LoopOrder::KNM), (0, 0, None));
}

#[test]
fn spilled_sums_cost_descriptors_and_bursts() {
    let mut parts = fixture::parts();
    partitions_of(&mut parts).resident = Bytes(0);
    let run = run(parts, &[SHAPE], &PER_TOKEN_PER_CHANNEL, given(1, [16, 32, 24], LoopOrder::KMN, Split::Auto));
    let mut nobody = Unobserved;
    let mut counter = TransferCounter::new(&run.npu, &mut nobody);
    timing::run(&run.program, &run.schedule, &run.npu, &mut counter).unwrap();
    let counted = counter.into_counts();
    // What the product moves beside its sums, from the commands of its queues.
    let product = OpId(product_of(&run));
    let commands = run.schedule.queues.iter().flat_map(|queue| CommandStream::new(&run.schedule, *queue));
    let others: Vec<u64> = commands
        .filter(|command| command.op == product)
        .filter_map(|command| match command.work {
            Work::Transfer(transfer) => Some(transfer.moved(Bytes(64)).get() / 64),
            Work::Sums(_) | Work::Matrix(_) | Work::Vector(_) => None,
        })
        .collect();
    // Nine tiles leave after two of three passes and come back: 36 transfers. Rows of 16 + 16 + 8 and columns of 24 + 24 + 8
    // sums of four bytes: 40 x 56 x 4 / 64 = 140 bursts each time, because every tile is a multiple of 64 bytes.
    assert_eq!(counted.descriptors(product), others.len() as u64 + 36);
    assert_eq!(counted.bursts(product), others.iter().sum::<u64>() + 4 * 140);
}

#[test]
fn sums_wait_in_the_nearest_memory_with_room_for_all_that_are_open() {
    let mut parts = fixture::parts();
    sram_of(&mut parts, SRAM).capacity = Bytes(1 << 20);
    // INT8 codes of x and their scales stay; x itself, of 15360 bytes in FP32, does not.
    let stays = 40 * 96 + 40 * 4;
    let home = |parts: &NpuParts, order| spilled(parts.clone(), order).2;
    partitions_of(&mut parts).resident = Bytes(stays + 3 * 16 * 24 * 4);
    assert_eq!(home(&parts, LoopOrder::MKN), Some(SRAM));
    assert_eq!(home(&parts, LoopOrder::KMN), Some(DRAM));
    let mut shared = fixture::with_shared_memory(parts.clone(), Bytes(9 * 16 * 24 * 4));
    assert_eq!(home(&shared, LoopOrder::MKN), Some(SRAM));
    assert_eq!(home(&shared, LoopOrder::KMN), Some(SHARED));
    sram_of(&mut shared, SHARED).capacity = Bytes(9 * 16 * 24 * 4 - 1);
    assert_eq!(home(&shared, LoopOrder::KMN), Some(DRAM));
}

#[test]
fn sums_that_leave_take_the_time_of_the_port_that_they_pass() {
    let mut parts = fixture::parts();
    sram_of(&mut parts, SRAM).capacity = Bytes(1 << 20);
    partitions_of(&mut parts).resident = Bytes(128 << 10);
    let mapping = || given(1, [16, 32, 24], LoopOrder::KNM, Split::Auto);
    let run = run(parts.clone(), &[SHAPE], &PER_TOKEN_PER_CHANNEL, mapping());
    let each_way = 2 * 40 * 56 * 4;
    for (write, read) in [(1, 64), (64, 1)] {
        let sram = sram_of(&mut parts, SRAM);
        (sram.write_bytes_per_cycle, sram.read_bytes_per_cycle) =
            (Rate::whole(write).unwrap(), Rate::whole(read).unwrap());
        let npu = npusim::hardware::npu::Npu::try_new(parts.clone()).unwrap();
        let slow = timing::run(&run.program, &run.schedule, &npu, &mut Unobserved).unwrap();
        let product = &slow.ops[product_of(&run)];
        assert!((product.end - product.start.unwrap()).get() >= each_way, "{product:?}");
    }
}

#[test]
fn weights_are_read_once_where_sums_make_room_for_them() {
    let mut parts = fixture::parts();
    partitions_of(&mut parts).resident = Bytes(0);
    let bytes_of_weights = |order| {
        let run = run(parts.clone(), &[SHAPE], &PER_TOKEN_PER_CHANNEL, given(1, [16, 32, 24], order, Split::Auto));
        let product = product_of(&run);
        let all = run.statistics.ops[product].traffic[DRAM.0].read.get();
        // The activations are 40 x 96 bytes, once for each of three column blocks, or once.
        let activations = match order {
            LoopOrder::KMN => 40 * 96,
            _ => 3 * 40 * 96,
        };
        all - activations - run.statistics.ops[product].filled.get()
    };
    assert_eq!(bytes_of_weights(LoopOrder::NMK), 3 * 96 * 56);
    assert_eq!(bytes_of_weights(LoopOrder::NKM), 96 * 56);
    assert_eq!(bytes_of_weights(LoopOrder::KNM), 96 * 56);
    assert_eq!(bytes_of_weights(LoopOrder::KMN), 3 * 96 * 56);
}

#[test]
fn an_order_that_a_product_cannot_take_is_refused_with_those_that_it_can() {
    let refused = |parts, scheme: &dyn Scheme, split| {
        let (workload, bindings) = chain(&[SHAPE], 7);
        let calibration = anchors::calibration(&workload, &bindings, scheme);
        let program = npusim::scheme::lower(&workload, scheme, calibration.as_ref()).unwrap();
        let npu = npusim::hardware::npu::Npu::try_new(parts).unwrap();
        let mapping = given(1, [16, 32, 24], LoopOrder::KMN, split);
        npusim::schedule::schedule(&program, &npu, &mapping).unwrap_err().to_string()
    };
    let says = "but kmn has k outside of m or n; allowed: mnk, nmk";
    // The auxiliary product leaves its sums for the body to add to.
    assert!(refused(fixture::parts(), &muxq::PER_TENSOR, Split::Auto).ends_with(says));
    assert!(refused(fixture::parts_with_units(2, Sums::Together), &PER_TOKEN_PER_CHANNEL, Split::K).ends_with(says));
}

/// Runs the commands of all queues without time, those that `keep` refuses left out; whether none is left at the end.
fn finishes(schedule: &Schedule, keep: impl Fn(&Command) -> bool) -> bool {
    let commands = |queue: &Queue| CommandStream::new(schedule, *queue).filter(&keep).collect::<VecDeque<_>>();
    let mut queues: Vec<VecDeque<Command>> = schedule.queues.iter().map(commands).collect();
    let mut values = vec![0; schedule.counters.len()];
    loop {
        let is_ready =
            |command: &Command| command.waits.iter().all(|wait| values[wait.counter.0 as usize] >= wait.at_least);
        let Some(queue) = queues.iter_mut().find(|queue| queue.front().is_some_and(is_ready)) else { break };
        for signal in queue.pop_front().unwrap().signals {
            values[signal.counter.0 as usize] += signal.amount;
        }
    }
    queues.iter().all(VecDeque::is_empty)
}

#[test]
fn a_spill_or_a_fill_that_is_lost_is_caught() {
    let mut parts = fixture::parts();
    partitions_of(&mut parts).resident = Bytes(0);
    let mut sound = run(parts, &[SHAPE], &PER_TOKEN_PER_CHANNEL, given(1, [16, 32, 24], LoopOrder::KNM, Split::Auto));
    assert!(finishes(&sound.schedule, |_| true));
    for lost in [Direction::Read, Direction::Write] {
        let keep = |command: &Command| !matches!(command.work, Work::Sums(transfer) if transfer.direction == lost);
        assert!(!finishes(&sound.schedule, keep), "{lost:?}");
    }
    // Timing that lets them stay counts bytes that no grid of this machine moves.
    let mut stays = sound.schedule.clone();
    for matrix in stays.nests.iter_mut().filter_map(|nest| nest.matrix.as_mut()) {
        matrix.accumulators.capacity = Bytes(1 << 20);
    }
    sound.statistics = timing::run(&sound.program, &stays, &sound.npu, &mut Unobserved).unwrap();
    assert!(closed_form::bytes_match(&sound).unwrap_err().contains("counted"));
}
