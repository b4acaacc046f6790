//! Mutations that the anchors must catch: an anchor that nothing can break holds nothing.

use npusim::program::op::OpKind;
use npusim::program::tensor::TensorId;
use npusim::scheme::lowering::{Lowering, LoweringError};
use npusim::scheme::w8a8::PER_TOKEN_PER_CHANNEL;
use npusim::scheme::{self, Scheme};
use npusim::shape::{Blocking, GemmShape};
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::workload::layer::{LayerId, LogicalGemm};

use crate::anchors::{self, Finding, Run, run};
use crate::closed_form;
use crate::fixture;

/// A k of several blocks on the test accelerator.
const SHAPE: GemmShape = GemmShape::new(40, 1000, 24);

fn sound() -> Run {
    let run = run(fixture::parts(), &[SHAPE], &PER_TOKEN_PER_CHANNEL);
    assert!(gemm_grid(&run).k.count() > 1, "the mutations below need several blocks along k");
    run
}

fn gemm_grid(run: &Run) -> &npusim::schedule::grid::Grid {
    let nest = run.schedule.nests.iter().find(|nest| nest.matrix.is_some()).expect("there is a product");
    &nest.grid
}

/// Changes the grid of the product's nest and times the run again.
fn with_grid(change: impl Fn(&mut npusim::schedule::grid::Grid)) -> Run {
    let mut run = sound();
    for nest in run.schedule.nests.iter_mut().filter(|nest| nest.matrix.is_some()) {
        change(&mut nest.grid);
    }
    run.statistics = timing::run(&run.program, &run.schedule, &run.npu, &mut Unobserved).unwrap();
    run
}

fn assert_caught(anchor: &str, finding: Finding, says: &str) {
    let wrong = finding.expect_err(anchor);
    assert!(wrong.contains(says), "{anchor} says: {wrong}");
}

#[test]
fn the_unchanged_run_passes_every_anchor() {
    let run = sound();
    let anchors = [
        anchors::workload_is_done,
        anchors::products_agree,
        anchors::tiles_change_no_bit,
        anchors::time_and_energy_add_up,
        closed_form::bytes_match,
    ];
    for anchor in anchors {
        anchor(&run).unwrap();
    }
}

#[test]
fn a_scheduler_that_drops_the_last_k_block_is_caught() {
    let run = with_grid(|grid| {
        let kept = (grid.k.count() - 1) * grid.k.block();
        grid.k = Blocking::new(kept, grid.k.block());
    });
    assert_caught("products", anchors::products_agree(&run), "executed instead of");
    assert_caught("reference", anchors::tiles_change_no_bit(&run), "differs");
}

#[test]
fn a_timing_that_charges_work_twice_is_caught() {
    // Only the timed run sees the longer axis; the executed one stays sound.
    let longer = with_grid(|grid| grid.n = Blocking::new(2 * grid.n.extent(), grid.n.block()));
    let mut run = sound();
    run.statistics = longer.statistics;
    assert_caught("products", anchors::products_agree(&run), "timed instead of");
    assert_caught("bytes", closed_form::bytes_match(&run), "counted");
}

#[test]
fn a_timing_that_forgets_time_is_caught() {
    let mut run = sound();
    run.statistics.makespan.0 /= 2;
    assert!(anchors::time_and_energy_add_up(&run).is_err());
    let mut run = sound();
    run.statistics.queues[0].busy.0 += 1;
    assert_caught("accounts", anchors::time_and_energy_add_up(&run), "sums to");
}

/// W8A8 that forgets the bias.
#[derive(Debug)]
struct WithoutBias;

impl Scheme for WithoutBias {
    fn name(&self) -> &str {
        "without_bias"
    }

    fn description(&self) -> &str {
        "a mutation"
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        PER_TOKEN_PER_CHANNEL.lower_gemm(lowering, layer, &LogicalGemm { bias: None, ..gemm.clone() })
    }
}

#[test]
fn a_scheme_that_forgets_an_operation_is_caught() {
    let run = run(fixture::parts(), &[GemmShape::new(40, 10, 24)], &WithoutBias);
    // Both interpreters agree with each other; only the workload can tell.
    anchors::products_agree(&run).unwrap();
    anchors::tiles_change_no_bit(&run).unwrap();
    assert!(anchors::workload_is_done(&run).is_err());
}

#[test]
fn a_program_whose_quantize_was_lost_is_refused_by_the_verifier() {
    let mut program = sound().program;
    program.ops.retain(|op| !matches!(op.kind, OpKind::Quantize { .. }));
    assert!(npusim::program::verify::verify(&program).is_err());
    // And the registry's schemes pass the same verifier.
    let (workload, bindings) = fixture::chain(&[SHAPE], 1);
    for scheme in scheme::ALL.iter().filter(|scheme| !scheme.name().starts_with("osc")) {
        let calibration = anchors::calibration(&workload, &bindings, *scheme);
        npusim::program::verify::verify(&scheme::lower(&workload, *scheme, calibration.as_ref()).unwrap()).unwrap();
    }
}
