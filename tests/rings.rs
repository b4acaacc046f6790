//! Intermediates that pass from one nest to the next in a ring of row blocks: the anchors and their bytes.

use npusim::hardware::memory::MemoryKind;
use npusim::hardware::npu::NpuParts;
use npusim::schedule::counter::{Counter, CounterId, PartitionRole, Signal};
use npusim::schedule::{Placement, Schedule, token_run, verify};
use npusim::scheme::w8a8::{PER_TENSOR, PER_TOKEN_PER_CHANNEL};
use npusim::scheme::{Scheme, blocks, cast};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::{CommandRecord, Observer};
use npusim::units::{Bytes, Cycles};
use npusim::workload::mapping::{FixedTiling, Intermediates, LoopOrder, Mapping};

use crate::anchors::{self, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, ACCUMULATORS, SRAM, chain, partitions_of};

const SHAPES: [GemmShape; 2] = [GemmShape::new(72, 96, 160), GemmShape::new(72, 160, 96)];

fn parts(resident: u64) -> NpuParts {
    let mut parts = fixture::parts();
    let MemoryKind::Sram(sram) = &mut parts.memories[SRAM.0].kind else { unreachable!("it is on the chip") };
    sram.capacity = Bytes(1 << 20);
    partitions_of(&mut parts).resident = Bytes(resident);
    parts
}

fn run(parts: NpuParts, shapes: &[GemmShape], scheme: &dyn Scheme, intermediates: Intermediates) -> Run {
    let (workload, bindings) = chain(shapes, 7);
    let mapping = Mapping { intermediates, ..Mapping::default() };
    run_workload(parts, (workload.with_mapping(mapping), bindings), scheme)
}

/// [`parts`] with room for a row block of whole columns, and for the weights.
fn roomy_parts(resident: u64) -> NpuParts {
    let mut parts = parts(resident);
    let partitions = partitions_of(&mut parts);
    (partitions.weights, partitions.outputs) = (Bytes(1 << 16), Bytes(1 << 14));
    let MemoryKind::Sram(sums) = &mut parts.memories[ACCUMULATORS.0].kind else { unreachable!("it is on the chip") };
    sums.capacity = Bytes(1 << 14);
    parts
}

/// The chain of [`SHAPES`] with row blocks of 8 and whole columns, so that operands are fetched once whether or
/// not rows come first.
fn by_rows(resident: u64, intermediates: Intermediates) -> Run {
    let (workload, bindings) = chain(&SHAPES, 7);
    let rows_of_whole_columns = |(index, shape): (usize, &GemmShape)| FixedTiling {
        layer: format!("gemm{index}"),
        path: "body".to_owned(),
        m: 8,
        k: shape.k,
        n: shape.n,
        order: Some(LoopOrder::MNK),
    };
    let tilings = SHAPES.iter().enumerate().map(rows_of_whole_columns).collect();
    let mapping = Mapping { intermediates, tilings, ..Mapping::default() };
    run_workload(roomy_parts(resident), (workload.with_mapping(mapping), bindings), &PER_TOKEN_PER_CHANNEL)
}

/// Sizes of the resident partition for which the one intermediate of the chain goes through a ring.
fn sizes_with_a_ring() -> Vec<u64> {
    let sizes = (0..24).map(|step| step * 2000 + 300);
    let with: Vec<u64> = sizes.filter(|size| rings(&by_rows(*size, Intermediates::Rings).schedule) == 1).collect();
    assert!(with.len() > 2, "{with:?}");
    with
}

fn rings(schedule: &Schedule) -> usize {
    schedule.placements.iter().filter(|placement| **placement == Some(Placement::Ring)).count()
}

#[test]
fn rings_of_every_size_run_to_the_end_and_change_no_bit() {
    let schemes: [&dyn Scheme; 4] = [&PER_TOKEN_PER_CHANNEL, &PER_TENSOR, &blocks::MXFP8_E4M3, &cast::FP16];
    let chains = [
        SHAPES.to_vec(),
        vec![GemmShape::new(33, 64, 70), GemmShape::new(33, 70, 48), GemmShape::new(33, 48, 16)],
        vec![GemmShape::new(5, 64, 24), GemmShape::new(5, 24, 40)],
        vec![GemmShape::new(120, 24, 9), GemmShape::new(120, 9, 24)],
    ];
    let mut formed = 0;
    for shapes in &chains {
        for scheme in schemes {
            for resident in (0..24).map(|step| step * 2000 + 300) {
                let run = run(parts(resident), shapes, scheme, Intermediates::Rings);
                let described = || format!("{} {shapes:?} with {resident} bytes", scheme.name());
                verify::verify(&run.schedule).unwrap_or_else(|error| panic!("{}: {error}", described()));
                let commands = token_run::token_run(&run.schedule);
                assert_eq!(commands, Ok(run.statistics.commands), "{}", described());
                if rings(&run.schedule) == 0 {
                    continue;
                }
                formed += 1;
                let anchors = [
                    anchors::products_agree,
                    anchors::tiles_change_no_bit,
                    anchors::time_and_energy_add_up,
                    closed_form::bytes_match,
                ];
                for anchor in anchors {
                    anchor(&run).unwrap_or_else(|wrong| panic!("{}: {wrong}", described()));
                }
            }
        }
    }
    assert!(formed > 10, "{formed}");
}

#[test]
fn a_reader_that_needs_all_rows_first_gets_no_ring() {
    // One scale for the whole tensor is known only with its last row.
    for resident in [10_000, 20_000, 40_000] {
        let run = run(parts(resident), &SHAPES, &PER_TENSOR, Intermediates::Rings);
        assert_eq!(rings(&run.schedule), 0);
    }
}

#[test]
fn a_ring_saves_the_way_of_the_intermediate_out_and_back() {
    // What GELU leaves, 72 x 160 in FP32, goes to the quantization of the second product: 46,080 bytes out and as many in.
    let moved = |run: &Run| -> u64 {
        let dram = run.npu.dram_id();
        run.statistics
            .ops
            .iter()
            .filter_map(|op| op.traffic.get(dram.0))
            .map(|traffic| (traffic.read + traffic.written).get())
            .sum()
    };
    for size in sizes_with_a_ring() {
        let (ring, whole) = (by_rows(size, Intermediates::Rings), by_rows(size, Intermediates::Whole));
        assert_eq!(moved(&whole) - moved(&ring), 2 * 72 * 160 * 4, "with {size} bytes");
    }
}

/// Bytes of rings that are claimed and given back, each with the cycle.
#[derive(Default)]
struct RingCredit {
    credits: Vec<bool>,
    returned: Vec<(Cycles, u64)>,
    /// What the waits of a ring's producer ask to have been given back, with the cycle of issue.
    asked: Vec<(Cycles, u64)>,
}

impl Observer for RingCredit {
    fn signalled(&mut self, signal: &Signal, at: Cycles) {
        if self.credits[signal.counter.0 as usize] {
            self.returned.push((at, signal.amount));
        }
    }

    fn command(&mut self, record: &CommandRecord<'_>) {
        let is_ring = |counter: CounterId| self.credits[counter.0 as usize];
        let asked =
            record.command.waits.iter().filter(|wait| is_ring(wait.counter)).map(|wait| (record.issued, wait.at_least));
        self.asked.extend(asked.collect::<Vec<_>>());
        let given = record.command.signals.iter().filter(|signal| is_ring(signal.counter));
        self.returned.extend(given.map(|signal| (record.completed, signal.amount)).collect::<Vec<_>>());
    }
}

#[test]
fn a_ring_gives_back_every_row_and_nobody_writes_before_there_is_room() {
    for size in sizes_with_a_ring() {
        let run = by_rows(size, Intermediates::Rings);
        let is_ring = |counter: &Counter| matches!(counter, Counter::Credit(part) if part.role == PartitionRole::Ring);
        let credits = run.schedule.counters.iter().map(is_ring).collect();
        let mut seen = RingCredit { credits, ..RingCredit::default() };
        timing::run(&run.program, &run.schedule, &run.npu, &mut seen).unwrap();
        // 72 rows of 160 values in FP32 pass.
        assert_eq!(seen.returned.iter().map(|(_, bytes)| bytes).sum::<u64>(), 72 * 160 * 4, "with {size} bytes");
        assert!(seen.asked.iter().any(|(_, bytes)| *bytes > 0), "with {size} bytes nobody ever waits for room");
        for (issued, asked) in seen.asked {
            let back: u64 = seen.returned.iter().filter(|(at, _)| *at <= issued).map(|(_, bytes)| bytes).sum();
            assert!(back >= asked, "with {size} bytes, at {issued}: {back} of {asked} bytes were given back");
        }
    }
}
