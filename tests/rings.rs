//! Intermediates that pass from one nest to the next in a ring of row blocks: the anchors, their bytes, and their credit.

use npusim::hardware::memory::MemoryKind;
use npusim::hardware::npu::NpuParts;
use npusim::schedule::commands::CommandStream;
use npusim::schedule::nest::{CreditPool, Destination};
use npusim::schedule::{Placement, Schedule, ring, token_run, verify};
use npusim::scheme::w8a8::{PER_TENSOR, PER_TOKEN_PER_CHANNEL};
use npusim::scheme::{Scheme, blocks, cast};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::units::Bytes;
use npusim::workload::mapping::{Intermediates, Mapping};

use crate::anchors::{self, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, DRAM, SRAM, chain, partitions_of};

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

fn rings(schedule: &Schedule) -> usize {
    schedule.placements.iter().filter(|placement| **placement == Some(Placement::Ring)).count()
}

fn dram_written(run: &Run) -> u64 {
    run.statistics.ops.iter().filter_map(|op| op.traffic.get(DRAM.0)).map(|traffic| traffic.written.get()).sum()
}

#[test]
fn what_passes_through_a_ring_crosses_no_pin() {
    // The first layer's output behind its GELU is 72 x 160 in FP32, 46080 bytes: more than all that may stay.
    let whole = run(parts(40 << 10), &SHAPES, &PER_TOKEN_PER_CHANNEL, Intermediates::Whole);
    let ringed = run(parts(40 << 10), &SHAPES, &PER_TOKEN_PER_CHANNEL, Intermediates::Rings);
    assert_eq!((rings(&whole.schedule), rings(&ringed.schedule)), (0, 1));
    assert_eq!(dram_written(&whole) - dram_written(&ringed), 72 * 160 * 4);
    closed_form::bytes_match(&ringed).unwrap();
    assert!(ringed.statistics.makespan < whole.statistics.makespan);
    // The last result, which nobody reads, is all that leaves the chip.
    assert_eq!(dram_written(&ringed), 72 * 96 * 4);
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

/// The ring of a schedule, to be changed.
fn pools(schedule: &mut Schedule) -> Vec<&mut CreditPool> {
    let outputs = schedule.nests.iter_mut().flat_map(|nest| nest.outputs.iter_mut());
    let pool = |destination| match destination {
        &mut Destination::Ring(ref mut pool) => Some(pool),
        &mut (Destination::Partition(_) | Destination::Resident) => None,
    };
    outputs.filter_map(|output| pool(&mut output.destination)).collect()
}

fn block_bytes(schedule: &Schedule) -> u64 {
    let (nest, output) =
        schedule.nests.iter().find_map(|nest| Some((nest, ring::output(nest)?))).expect("there is a ring");
    nest.grid.m.block() * output.storage.pitch()
}

#[test]
fn a_ring_of_one_row_block_is_enough_and_a_smaller_one_is_refused() {
    let sound = run(parts(40 << 10), &SHAPES, &PER_TOKEN_PER_CHANNEL, Intermediates::Rings);
    let of_capacity = |bytes| {
        let mut schedule = sound.schedule.clone();
        for pool in pools(&mut schedule) {
            pool.capacity = Bytes(bytes);
        }
        schedule
    };
    let makespan = |schedule| timing::run(&sound.program, schedule, &sound.npu, &mut Unobserved).unwrap().makespan;
    // Producer and reader take turns on one unit, so that more room gains nothing.
    let block = block_bytes(&sound.schedule);
    assert_eq!(makespan(&of_capacity(block)), makespan(&of_capacity(2 * block)));
    assert!(token_run::token_run(&of_capacity(block)).is_ok());
    assert!(token_run::token_run(&of_capacity(block - 1)).is_err());
    // The producer waits for what the reader gives back, from its second row block on.
    let mut schedule = of_capacity(block);
    let returned = pools(&mut schedule)[0].returned;
    let commands = schedule.queues.iter().flat_map(|queue| CommandStream::new(&schedule, *queue));
    let waiting = commands.filter(|command| command.waits.iter().any(|wait| wait.counter == returned));
    let (producer, _) = sound.schedule.nests.iter().enumerate().find(|(_, nest)| nest.leads_next).unwrap();
    let grid = &sound.schedule.nests[producer].grid;
    assert_eq!(waiting.count() as u64, (grid.m.count() - 1) * grid.n.count());
}

#[test]
fn a_reader_that_needs_all_rows_first_gets_no_ring() {
    // One scale for the whole tensor is known only with its last row.
    for resident in [10_000, 20_000, 40_000] {
        let run = run(parts(resident), &SHAPES, &PER_TENSOR, Intermediates::Rings);
        assert_eq!(rings(&run.schedule), 0);
    }
}
