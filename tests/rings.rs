//! Intermediates that pass from one nest to the next in a ring of row blocks: the anchors and their bytes.

use npusim::hardware::memory::MemoryKind;
use npusim::hardware::npu::NpuParts;
use npusim::schedule::{Placement, Schedule, token_run, verify};
use npusim::scheme::w8a8::{PER_TENSOR, PER_TOKEN_PER_CHANNEL};
use npusim::scheme::{Scheme, blocks, cast};
use npusim::shape::GemmShape;
use npusim::units::Bytes;
use npusim::workload::mapping::{Intermediates, Mapping};

use crate::anchors::{self, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, SRAM, chain, partitions_of};

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
