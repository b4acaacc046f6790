//! Outlier schemes against worked examples and identities.

use std::borrow::Cow;

use npusim::calibrate;
use npusim::execute::{self, Execution, Granularity};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::hardware::vector_unit::{Extractor, VectorFunction};
use npusim::numerics::block::{self, INT8_G32};
use npusim::numerics::formats::{FP4_E2M1, FP8_E4M3, FP32, INT32};
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::program::Program;
use npusim::program::channels::{Mover, TokenMover};
use npusim::program::op::{OpKind, Path, ScaleSource, Scope};
use npusim::program::planned::{self, PlanSource};
use npusim::program::tensor::TensorId;
use npusim::schedule::commands::{CommandStream, Work};
use npusim::schedule::{self, Schedule};
use npusim::scheme::llm_int8::{self, LlmInt8};
use npusim::scheme::lowering::{Arriving, LoweringError};
use npusim::scheme::muxq::{self, AuxScale, Auxiliary, Muxq};
use npusim::scheme::osc;
use npusim::scheme::treatment::{Detection, Passes};
use npusim::scheme::zeroquant::{self, ZeroQuant};
use npusim::scheme::{self, Scheme, blocks, fallback, w8a8};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::timing::statistics::{OpStatistics, RunStatistics};
use npusim::units::{Bytes, Cycles};
use npusim::workload::bindings::Bindings;
use npusim::workload::calibration::{
    Calibration, CalibrationRequest, Comparison, OutlierRule, ProtectionChoice, ProtectionRule,
};
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LayerRole, LogicalGemm, ValueRef};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};

use crate::anchors::{self, calibration};
use crate::{closed_form, fixture};

/// A single product without a bias.
fn product(x: &[f32], w: &[f32], shape: GemmShape) -> (Workload, Bindings) {
    let tensor = |name: &str, shape: MatrixShape, values: &[f32]| {
        let description = TensorDescription { name: name.to_owned(), shape, source: None, format: None };
        (description, Tensor::try_new(shape, &FP32, Elements::F32(values.to_vec())).unwrap())
    };
    let [x, w] = [tensor("x", shape.left(), x), tensor("w", shape.right(), w)];
    let input = ValueRef::Source(SourceTensorId(0));
    let gemm = LogicalGemm::dense(shape, input, SourceTensorId(1), None);
    let layer = Layer { name: "y".to_owned(), operation: LayerOperation::Gemm(gemm), recorded_output: None };
    let workload = Workload::try_new("product".to_owned(), &FP32, vec![x.0, w.0], vec![layer]).unwrap();
    (workload, Bindings::new(vec![Some(x.1), Some(w.1)]))
}

struct Ran {
    program: Program,
    schedule: Schedule,
    execution: Execution,
    statistics: RunStatistics,
    cycles: Cycles,
}

fn run(workload: &Workload, bindings: &Bindings, scheme: &dyn Scheme) -> Ran {
    run_with(workload, bindings, scheme, calibration(workload, bindings, scheme).as_ref())
}

fn run_with(workload: &Workload, bindings: &Bindings, scheme: &dyn Scheme, calibration: Option<&Calibration>) -> Ran {
    run_on(fixture::parts(), workload, bindings, scheme, calibration)
}

fn run_on(
    parts: NpuParts,
    workload: &Workload,
    bindings: &Bindings,
    scheme: &dyn Scheme,
    calibration: Option<&Calibration>,
) -> Ran {
    let npu = Npu::try_new(parts).unwrap();
    let program = scheme::lower(workload, scheme, calibration).unwrap();
    npusim::program::verify::verify(&program).unwrap();
    let schedule = schedule::schedule(&program, &npu, workload.mapping()).unwrap();
    let execution = execute::run(&program, &schedule, bindings, Granularity::Tiles).unwrap();
    let statistics = timing::run(&program, &schedule, &npu, &mut Unobserved).unwrap();
    let cycles = statistics.makespan;
    Ran { program, schedule, execution, statistics, cycles }
}

impl Ran {
    fn tensor(&self, name: &str) -> &Tensor {
        let index = self.program.tensors.iter().position(|tensor| tensor.name == name).unwrap();
        self.execution.tensor(TensorId(index)).unwrap()
    }

    fn output(&self) -> &Tensor {
        self.execution.tensor(self.program.layers.last().unwrap().output).unwrap()
    }
}

fn mini_case() -> (Workload, Bindings) {
    let x = [0.5, -1.0, 9.3, 2.0, 1.5, 0.25, -12.6, -0.75];
    let w = [1.0, -2.0, 3.0, 1.0, -1.0, 2.0, 2.0, -3.0];
    product(&x, &w, GemmShape::new(2, 4, 2))
}

fn muxq(auxiliary: Auxiliary) -> Muxq {
    Muxq { name: Cow::Borrowed("muxq"), auxiliary, ..muxq::PER_TENSOR.clone() }
}

/// Worked out by hand with s_X = 3.15 / 127, s_W = 3 / 127, O = {2}, e = 2: Body is X with its third column over 4.
#[test]
fn muxq_gives_the_integers_of_the_worked_example() {
    let (workload, bindings) = mini_case();
    let ran = run(&workload, &bindings, &muxq(Auxiliary::SeparateGemm));
    assert_eq!(ran.tensor("y.x_codes").as_i8().unwrap(), [20, -40, 94, 81, 60, 10, -127, -30]);
    assert_eq!(ran.tensor("y.w_codes").as_i8().unwrap(), [42, -85, 127, 42, -42, 85, 85, -127]);
    assert_eq!(ran.tensor("y.sums").as_i32().unwrap(), [-1303, -5677, 6574, -11665]);
    assert_eq!(ran.tensor("y.auxiliary_sums").as_i32().unwrap(), [-3948, 7990, 5334, -10795]);
    assert_eq!(ran.tensor("y.merged_sums").as_i32().unwrap(), [-13147, 18293, 22576, -44050]);
    for (found, expected) in ran.output().to_f32().iter().zip([-7.703, 10.718, 13.227, -25.809]) {
        assert!((found - expected).abs() < 5e-4, "{found} instead of {expected}");
    }
}

#[test]
fn muxq_in_the_accumulators_and_tenders_shift_give_the_same_integers() {
    let (workload, bindings) = mini_case();
    for auxiliary in [Auxiliary::FusedAccumulate, Auxiliary::TenderShift] {
        let ran = run(&workload, &bindings, &muxq(auxiliary));
        assert_eq!(ran.tensor("y.sums").format(), &INT32);
        assert_eq!(ran.tensor("y.sums").as_i32().unwrap(), [-13147, 18293, 22576, -44050], "{auxiliary:?}");
    }
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29), GemmShape::new(37, 29, 40)], 3);
    let outputs = [Auxiliary::SeparateGemm, Auxiliary::FusedAccumulate, Auxiliary::TenderShift]
        .map(|auxiliary| run(&workload, &bindings, &muxq(auxiliary)).output().clone());
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn tender_multiplies_no_more_than_the_plain_scheme_and_muxq_one_column_for_each_outlier() {
    let (workload, bindings) = mini_case();
    let macs = |scheme: &dyn Scheme| run(&workload, &bindings, scheme).execution.macs().iter().sum::<u64>();
    assert_eq!(macs(&w8a8::PER_TENSOR), 2 * 4 * 2);
    assert_eq!(macs(&muxq(Auxiliary::TenderShift)), 2 * 4 * 2);
    assert_eq!(macs(&muxq(Auxiliary::FusedAccumulate)), 2 * 4 * 2 + 2 * 2);
}

/// The authors' released code scales Aux by itself. Its columns are those of Body over a scale of their own, so where the
/// outliers set the body's scale anyway, both are the same codes: here 12.6 / 4 does.
#[test]
fn scales_of_their_own_change_nothing_where_outliers_set_the_scale_anyway() {
    let (workload, bindings) = mini_case();
    let independent = Muxq { aux_scale: AuxScale::Independent, ..muxq(Auxiliary::SeparateGemm) };
    let independent = run(&workload, &bindings, &independent).output().to_f32();
    let shared = run(&workload, &bindings, &muxq(Auxiliary::SeparateGemm)).output().to_f32();
    for (independent, shared) in independent.iter().zip(&shared) {
        assert!((independent - shared).abs() <= 1e-5 * shared.abs(), "{independent} instead of {shared}");
    }
}

/// Calibrated on the run itself, the largest magnitude of Body (12.6 / 4 of the worked example) is that which a pass over the
/// data finds; only that pass is gone.
#[test]
fn a_calibrated_scale_of_muxq_gives_the_integers_of_a_found_one_in_fewer_cycles() {
    let (workload, bindings) = mini_case();
    for auxiliary in [Auxiliary::FusedAccumulate, Auxiliary::TenderShift] {
        let scheme = Muxq { activation_scale: ScaleSource::Static, ..muxq(auxiliary) };
        let ran = run(&workload, &bindings, &scheme);
        assert_eq!(ran.tensor("y.sums").as_i32().unwrap(), [-13147, 18293, 22576, -44050], "{auxiliary:?}");
    }
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29)], 3);
    for aux_scale in [AuxScale::Shared, AuxScale::Independent] {
        let found = Muxq { aux_scale, ..muxq(Auxiliary::SeparateGemm) };
        let calibrated = Muxq { activation_scale: ScaleSource::Static, ..found.clone() };
        let [found, calibrated] = [found, calibrated].map(|scheme| run(&workload, &bindings, &scheme));
        assert_eq!(found.output(), calibrated.output(), "{aux_scale:?}");
        assert!(calibrated.cycles < found.cycles, "{} against {}", calibrated.cycles, found.cycles);
    }
}

/// What exceeds the calibrated range saturates: 2 x 3.15 over the scale of 3.15 / 127 is 254, held at 127.
#[test]
fn activations_beyond_the_calibrated_range_saturate() {
    let (workload, bindings) = mini_case();
    let scheme = Muxq { activation_scale: ScaleSource::Static, ..muxq(Auxiliary::SeparateGemm) };
    let known = calibration(&workload, &bindings, &scheme).unwrap();
    assert_eq!((known.layers["y"].range, known.layers["y"].outlier_range), (Some(12.6f32 / 4.0), Some(12.6f32 / 4.0)));
    let doubled = [1.0, -2.0, 18.6, 4.0, 3.0, 0.5, -25.2, -1.5];
    let (workload, bindings) = product(&doubled, &[1.0, -2.0, 3.0, 1.0, -1.0, 2.0, 2.0, -3.0], GemmShape::new(2, 4, 2));
    let ran = run_with(&workload, &bindings, &scheme, Some(&known));
    // 1, -2, 18.6 / 4 and 4 over 3.15 / 127: 40.3, -80.6, 187.5 and 161.3.
    assert_eq!(ran.tensor("y.x_codes").as_i8().unwrap(), [40, -81, 127, 127, 121, 20, -127, -60]);
}

#[test]
fn outliers_found_during_the_run_are_those_of_a_calibration_on_it() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29)], 3);
    let online = Muxq { detection: Detection::Online, ..muxq(Auxiliary::FusedAccumulate) };
    let online = run(&workload, &bindings, &online);
    let frozen = run(&workload, &bindings, &muxq(Auxiliary::FusedAccumulate));
    assert_eq!(online.output(), frozen.output());
    // Finding them takes a pass of its own over all tokens. It need not take longer: no weights compete with it for bandwidth.
    let is_maxima = |kind: &OpKind| matches!(kind, OpKind::Reduce { scope: Scope::Column, .. });
    let maxima = |ran: &Ran| -> u64 {
        let ops = ran.program.ops.iter().zip(&ran.statistics.ops);
        ops.filter(|(op, _)| is_maxima(&op.kind)).map(|(_, statistics)| statistics.vector_elements).sum()
    };
    assert_eq!((maxima(&online), maxima(&frozen)), (37 * 50, 0));
}

/// The largest magnitude of the body is the largest of the channel maxima with the outliers' divided or zeroed, so one walk
/// finds channels and scale, and one quantizes: two loads of all 37 x 50 FP32 values, and the bits of a frozen mask, whose
/// scale is found in the data.
#[test]
fn online_channels_under_one_scale_take_no_third_pass_over_the_activation() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29)], 3);
    let mut schemes: Vec<[Box<dyn Scheme>; 2]> = Vec::new();
    // Tender's order of the weight's rows is fixed before the run: it has no channels that are found online.
    for auxiliary in [Auxiliary::SeparateGemm, Auxiliary::FusedAccumulate] {
        let frozen = muxq(auxiliary);
        schemes.push([Box::new(Muxq { detection: Detection::Online, ..frozen.clone() }), Box::new(frozen)]);
    }
    let frozen = Muxq { aux_scale: AuxScale::Independent, ..muxq(Auxiliary::SeparateGemm) };
    schemes.push([Box::new(Muxq { detection: Detection::Online, ..frozen.clone() }), Box::new(frozen)]);
    for [online, frozen] in &schemes {
        let mut parts = fixture::parts();
        fixture::partitions_of(&mut parts).resident = Bytes(0);
        let known = calibration(&workload, &bindings, online.as_ref());
        let ran = run_on(parts, &workload, &bindings, online.as_ref(), known.as_ref());
        assert_eq!(*ran.output(), *run(&workload, &bindings, frozen.as_ref()).output(), "{frozen:?}");
        let ops = ran.program.ops.iter().zip(&ran.statistics.ops).filter(|(op, _)| {
            let input = op.kind.walked_input().map(|input| ran.program.tensor(input).name.as_str());
            input == Some("x") && !matches!(op.kind, OpKind::Gemm(_))
        });
        let read: u64 = ops.map(|(_, statistics)| statistics.traffic[fixture::DRAM.0].read.get()).sum();
        assert_eq!(read / (37 * 50 * 4), 2, "{online:?}");
    }
    // The weight's scales differ with the detection; the activation's do not.
    let per_tensor = LlmInt8 { activation_scope: Scope::Tensor, ..llm_int8::FROZEN.clone() };
    let online = LlmInt8 { detection: Detection::Online, ..per_tensor.clone() };
    let [online, frozen] = [online, per_tensor].map(|scheme| run(&workload, &bindings, &scheme));
    assert_eq!(online.tensor("gemm0.x_scale"), frozen.tensor("gemm0.x_scale"));
    assert_eq!(online.tensor("gemm0.x_codes"), frozen.tensor("gemm0.x_codes"));
}

/// A scale over the whole tensor takes two walks. What waits between them is the activation function's result for the plain
/// scheme, and so for every scheme that treats it anew in each walk; one that stores what it made of it keeps that instead.
#[test]
fn the_same_matrix_waits_between_two_walks_whatever_is_done_to_it_in_each() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(33, 64, 70), GemmShape::new(33, 70, 48)], 3);
    let rule = OutlierRule { threshold: 1.5, comparison: Comparison::Above };
    let recomputed = Muxq { rule, ..muxq(Auxiliary::FusedAccumulate) };
    let stored = Muxq { passes: Passes::Stored, ..recomputed.clone() };
    let llm_int8 = LlmInt8 { rule, activation_scope: Scope::Tensor, ..llm_int8::FROZEN.clone() };
    let kept = |scheme: &dyn Scheme| -> (bool, bool, usize) {
        let ran = run(&workload, &bindings, scheme);
        let placed = |name: &str| {
            let tensors = ran.program.tensors.iter().enumerate().filter(|(_, tensor)| tensor.name == name);
            let placed: Vec<bool> =
                tensors.map(|(index, _)| ran.schedule.placement(TensorId(index)).is_some()).collect();
            (placed.contains(&true), placed.len())
        };
        let ((body, bodies), (smoothed, smoothings)) = (placed("gemm1.body"), placed("gemm1.smoothed"));
        (placed("gelu0.out").0, body || smoothed, bodies + smoothings)
    };
    assert_eq!(kept(&w8a8::PER_TENSOR), (true, false, 0));
    assert_eq!(kept(&w8a8::SMOOTHQUANT_PER_TENSOR), (true, false, 2));
    assert_eq!(kept(&recomputed), (true, false, 2));
    assert_eq!(kept(&llm_int8), (true, false, 2));
    assert_eq!(kept(&stored), (false, true, 1));
}

/// The auxiliary sums, 37 x 29 of 4 bytes, leave after their product and come back for the merge: through the on-chip memory
/// where it has room for them, else through DRAM.
#[test]
fn sums_of_a_separate_auxiliary_product_that_do_not_fit_the_chip_cross_its_pins_twice() {
    let crossing = |resident: Bytes| {
        let mut parts = fixture::parts();
        fixture::partitions_of(&mut parts).resident = resident;
        let run = anchors::run(parts, &[GemmShape::new(37, 50, 29)], &muxq(Auxiliary::SeparateGemm));
        closed_form::bytes_match(&run).unwrap();
        let merges = run.program.ops.iter().zip(&run.statistics.ops).filter(|(op, _)| op.path == Path::Merge);
        let dram = merges.map(|(_, statistics)| statistics.traffic[fixture::DRAM.0]);
        let bytes =
            dram.fold([0, 0], |[read, written], traffic| [read + traffic.read.get(), written + traffic.written.get()]);
        (bytes, run.statistics.makespan)
    };
    let (through_dram, slow) = crossing(Bytes(0));
    let (on_the_chip, fast) = crossing(Bytes(8192));
    assert_eq!(through_dram, [37 * 29 * 4; 2]);
    assert_eq!(on_the_chip, [0, 0]);
    assert!(slow > fast, "{slow} against {fast}");
}

#[test]
fn without_outliers_muxq_is_plain_int8_in_values_and_with_a_frozen_mask_in_cycles() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29), GemmShape::new(37, 29, 40)], 3);
    let none = OutlierRule { threshold: 1e9, comparison: Comparison::Above };
    let plain = run(&workload, &bindings, &w8a8::PER_TENSOR);
    for auxiliary in [Auxiliary::SeparateGemm, Auxiliary::FusedAccumulate, Auxiliary::TenderShift] {
        let frozen = run(&workload, &bindings, &Muxq { rule: none, ..muxq(auxiliary) });
        assert_eq!((frozen.output(), frozen.cycles), (plain.output(), plain.cycles), "{auxiliary:?}");
    }
    let online = Muxq { rule: none, detection: Detection::Online, ..muxq(Auxiliary::FusedAccumulate) };
    assert_eq!(run(&workload, &bindings, &online).output(), plain.output());
}

#[test]
fn without_protected_channels_osc_is_its_narrow_format() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(20, 96, 40)], 3);
    let protection = osc::Protection::Fixed(npusim::workload::calibration::ProtectionRule {
        group: 32,
        per_group: 1,
        choice: npusim::workload::calibration::ProtectionChoice::ModeOverThreshold { factor: 1e6 },
    });
    let plain = run(&workload, &bindings, &blocks::MXFP4);
    let compact = run(&workload, &bindings, &osc::Osc { protection, ..osc::MXFP4_COMPACT.clone() });
    assert_eq!((compact.output(), compact.cycles), (plain.output(), plain.cycles));
    let dense = run(&workload, &bindings, &osc::Osc { protection, ..osc::MXFP4.clone() });
    assert_eq!(dense.output(), plain.output());
}

/// Both multiply the same elements by the same rows; a dot unit 32 deep adds at most one that is not zero of each group of 32.
#[test]
fn gathered_rows_give_the_bits_of_the_masked_product_and_move_the_rows_of_each_token() {
    let (m, k, n) = (20, 96, 40);
    let (workload, bindings) = fixture::chain(&[GemmShape::new(m, k, n)], 3);
    let masked = osc::Osc { merge: osc::MergePoint::VectorUnit, ..osc::DYNAMIC.clone() };
    let masked = run(&workload, &bindings, &masked);
    let gathered = run(&workload, &bindings, &osc::DYNAMIC_ROW_GATHER);
    assert_eq!(gathered.output(), masked.output());
    assert_eq!(gathered.tensor("gemm0.branch_sums"), masked.tensor("gemm0.branch_sums"));
    let branch = |ran: &Ran| {
        let op = ran.program.ops.iter().position(|op| op.path == Path::Branch).unwrap();
        (ran.statistics.ops[op].macs, ran.statistics.ops[op].traffic[fixture::DRAM.0].read.get())
    };
    // Three rows of 40 FP16 weights for each token; masked, all weights at least once and three times the products.
    let (macs, bytes) = branch(&gathered);
    assert_eq!(macs, m * n * (k / 32));
    // Everything else that the product reads stays on the chip or is smaller: its activations and the table of rows.
    assert_eq!(bytes / (m * (k / 32) * n * 2), 1);
    assert_eq!(branch(&masked).0, m * n * k);
}

#[test]
fn each_gathered_row_is_a_run_that_costs_the_engine_time() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(20, 96, 40)], 3);
    let ran = run(&workload, &bindings, &osc::DYNAMIC_ROW_GATHER);
    let cycles = |cycles_per_run: u64| {
        let mut parts = fixture::parts();
        parts.dma.cycles_per_run = Cycles(cycles_per_run);
        let npu = Npu::try_new(parts).unwrap();
        timing::run(&ran.program, &ran.schedule, &npu, &mut Unobserved).unwrap().makespan.get()
    };
    // Twenty tokens with three rows each: two runs a token beyond the first, one after the other in the queue of weights.
    assert!(cycles(100) >= 20 * 2 * 100, "{}", cycles(100));
    assert!(cycles(0) < 20 * 2 * 100, "{}", cycles(0));
}

const MOVERS: [Mover; 4] = [Mover::VectorUnit, Mover::Inline, Mover::Extractor, Mover::DmaGather];

/// Schemes with each way of moving channels, under the names by which the anchors know them.
fn moved_by(mover: Mover) -> Vec<Box<dyn Scheme>> {
    vec![
        Box::new(Muxq { mover, ..muxq::PER_TENSOR.clone() }),
        Box::new(Muxq { mover, ..muxq::SEPARATE.clone() }),
        Box::new(LlmInt8 { mover, ..llm_int8::FROZEN.clone() }),
        Box::new(LlmInt8 { mover, ..llm_int8::ONLINE.clone() }),
        Box::new(osc::Osc { mover, ..osc::MXFP4.clone() }),
        Box::new(osc::Osc { mover, ..osc::MXFP4_COMPACT.clone() }),
    ]
}

#[test]
fn whoever_moves_channels_the_values_are_the_same_and_the_anchors_hold() {
    let shapes = [GemmShape::new(37, 96, 64), GemmShape::new(37, 64, 40)];
    for (index, plain) in moved_by(Mover::VectorUnit).iter().enumerate() {
        let (workload, bindings) = fixture::chain(&shapes, 7);
        let expected = run(&workload, &bindings, plain.as_ref()).output().clone();
        for mover in MOVERS {
            let scheme = &moved_by(mover)[index];
            let ran = run(&workload, &bindings, scheme.as_ref());
            assert_eq!(*ran.output(), expected, "{} by {mover:?}", scheme.name());
            let ran = anchors::run(fixture::parts(), &shapes, scheme.as_ref());
            for check in [
                anchors::workload_is_done,
                anchors::products_agree,
                anchors::tiles_change_no_bit,
                anchors::time_and_energy_add_up,
                closed_form::bytes_match,
            ] {
                check(&ran).unwrap_or_else(|wrong| panic!("{} by {mover:?}: {wrong}", scheme.name()));
            }
        }
    }
}

/// 20 tokens of 96 channels with three protected ones: the lanes gather 60 elements, the extractor sees all 1920, and the DMA
/// engine asks for 60 elements of 4 bytes, each a run, which the lanes round.
#[test]
fn each_mover_is_charged_for_what_it_does() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(20, 96, 40)], 3);
    let of = |mover: Mover| run(&workload, &bindings, &osc::Osc { mover, ..osc::MXFP4.clone() });
    let extraction = |ran: &Ran| {
        let ops = ran.program.ops.iter().zip(&ran.statistics.ops).filter(|(op, _)| op.path == Path::Extraction);
        let of = |statistics: &OpStatistics| [statistics.vector_elements, statistics.gathered_elements];
        ops.map(|(op, statistics)| (op.kind.vector_functions(), of(statistics))).collect::<Vec<_>>()
    };
    assert_eq!(extraction(&of(Mover::VectorUnit)), [(&[VectorFunction::Gather][..], [20 * 96, 60])]);
    assert_eq!(extraction(&of(Mover::Extractor)), [(&[VectorFunction::Extract][..], [20 * 96, 0])]);
    assert_eq!(extraction(&of(Mover::Inline)), [(&[][..], [20 * 96, 0])]);
    let gathered = of(Mover::DmaGather);
    assert_eq!(extraction(&gathered), [(&[VectorFunction::Quantize][..], [60, 0]), (&[][..], [20 * 96, 0])]);
    let op = gathered.program.ops.iter().position(|op| op.path == Path::Extraction).unwrap();
    let transfers = gathered.schedule.queues.iter().flat_map(|queue| CommandStream::new(&gathered.schedule, *queue));
    let of_op = transfers.filter(|command| command.op.0 == op).filter_map(|command| match command.work {
        Work::Transfer(transfer) if transfer.row_bytes == 4 => Some((transfer.runs(), transfer.bytes().get())),
        _ => None,
    });
    let (runs, bytes) = of_op.fold((0, 0), |(runs, bytes), (more, further)| (runs + more, bytes + further));
    assert_eq!((runs, bytes), (60, 60 * 4));
    // Each run costs the engine time.
    let cycles = |cycles_per_run: u64| {
        let mut parts = fixture::parts();
        parts.dma.cycles_per_run = Cycles(cycles_per_run);
        let npu = Npu::try_new(parts).unwrap();
        timing::run(&gathered.program, &gathered.schedule, &npu, &mut Unobserved).unwrap().makespan.get()
    };
    assert!(cycles(50) >= cycles(0) + 50 * 40, "{} and {}", cycles(0), cycles(50));
}

/// The lanes compare all 20 x 96 elements to find three of each token, whoever moves them. Then they gather those 60, or the
/// extractor sees all 1920 beside them, or nothing more is to be done. At 16 elements a cycle for each of the three:
/// 120 cycles for comparing, 4 (60 / 16) for gathering, 120 for extracting.
#[test]
fn channels_that_each_token_protects_are_charged_to_their_mover_and_only_those_taken() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(20, 96, 40)], 3);
    for branch in [osc::DynamicBranch::MaskedDense, osc::DynamicBranch::RowGather] {
        let of = |mover: TokenMover| {
            let protection = osc::Protection::Dynamic { group: 32, branch, mover };
            let merge = osc::MergePoint::VectorUnit;
            run(&workload, &bindings, &osc::Osc { protection, merge, ..osc::DYNAMIC.clone() })
        };
        let [lanes, inline, extractor] = [TokenMover::VectorUnit, TokenMover::Inline, TokenMover::Extractor].map(of);
        for ran in [&inline, &extractor] {
            assert_eq!(ran.output(), lanes.output());
        }
        let extraction = |ran: &Ran| {
            let mut ops = ran.program.ops.iter().zip(&ran.statistics.ops).filter(|(op, _)| op.path == Path::Extraction);
            let statistics = ops.next().unwrap().1;
            [statistics.vector_elements, statistics.gathered_elements]
        };
        assert_eq!(extraction(&lanes), [20 * 96, 60]);
        assert_eq!(extraction(&inline), [20 * 96, 0]);
        assert_eq!(extraction(&extractor), [20 * 96, 0]);
        let busy = |ran: &Ran| {
            let ops = ran.program.ops.iter().zip(&ran.statistics.ops).filter(|(op, _)| op.path == Path::Extraction);
            ops.map(|(_, statistics)| statistics.busy.get()).sum::<u64>()
        };
        assert_eq!(busy(&extractor), 2 * busy(&inline));
        // Each command that ends rows rounds its gather up by less than a cycle.
        assert!((4..=20).contains(&(busy(&lanes) - busy(&inline))), "{} and {}", busy(&lanes), busy(&inline));
    }
}

#[test]
fn an_extractor_that_is_missing_or_too_small_is_named() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(20, 96, 40)], 3);
    let scheme = osc::Osc { mover: Mover::Extractor, ..osc::MXFP4.clone() };
    let known = calibration(&workload, &bindings, &scheme);
    let program = scheme::lower(&workload, &scheme, known.as_ref()).unwrap();
    let refused = |extractor: Option<Extractor>| {
        let mut parts = fixture::parts();
        parts.vector_units[0].extractor = extractor;
        let npu = Npu::try_new(parts).unwrap();
        schedule::schedule(&program, &npu, workload.mapping()).unwrap_err().to_string()
    };
    let message = refused(None);
    assert!(message.contains("does not have") && message.contains("elements_per_cycle, table_bytes"), "{message}");
    // Three channels of 2 bytes.
    let small = Extractor { table: Bytes(4), ..fixture::parts().vector_units[0].extractor.unwrap() };
    assert!(refused(Some(small)).contains("enlarge it to at least 6 bytes"), "{}", refused(Some(small)));
}

#[test]
fn what_a_run_finds_is_held_against_what_was_planned() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29)], 3);
    let npu = fixture::npu();
    // Channels 3, 19 and 35 reach 10, and so does the last one of 16 that is there in part.
    let observed = |planned: u64| {
        let scheme = &llm_int8::ONLINE;
        let assumed = calibrate::assumed(&workload, scheme.calibration(), planned);
        let program = scheme::lower(&workload, scheme, Some(&assumed)).unwrap();
        let schedule = schedule::schedule(&program, &npu, workload.mapping()).unwrap();
        let execution = execute::run(&program, &schedule, &bindings, Granularity::Tiles).unwrap();
        let counts = program.ops.iter().zip(execution.observed_counts());
        let counts = counts.filter_map(|(op, observed)| Some((planned::of(&program, &op.kind)?, (*observed)?)));
        counts.map(|(planned, observed)| (planned.count, observed, planned.source)).collect::<Vec<_>>()
    };
    let found = observed(2);
    assert!(found.len() > 1 && found.iter().all(|count| *count == (2, 3, PlanSource::Assumption)), "{found:?}");
    assert!(observed(3).iter().all(|(planned, observed, _)| planned == observed));
}

/// Groups that are smaller and larger than the blocks of 32 and no multiple of them, and several channels of each.
#[test]
fn groups_need_not_be_blocks_and_may_protect_several_channels() {
    let shapes = [GemmShape::new(20, 96, 40)];
    for (group, per_group) in [(16, 1), (24, 2), (48, 1), (96, 5)] {
        let rule = ProtectionRule { group, per_group, choice: ProtectionChoice::MeanAbs };
        for merge in [osc::MergePoint::Accumulators, osc::MergePoint::VectorUnit] {
            let protection = osc::Protection::Fixed(rule);
            let scheme = osc::Osc { name: Cow::Borrowed("osc"), protection, merge, ..osc::MXFP4.clone() };
            let ran = anchors::run(fixture::parts(), &shapes, &scheme);
            let branch = ran.program.ops.iter().find(|op| op.path == Path::Branch).unwrap();
            let OpKind::Gemm(gemm) = &branch.kind else { panic!("a branch is a product") };
            assert_eq!(gemm.shape, GemmShape::new(20, 96 / group * per_group, 40));
            for check in [anchors::products_agree, anchors::tiles_change_no_bit, closed_form::bytes_match] {
                check(&ran).unwrap_or_else(|wrong| panic!("groups of {group}: {wrong}"));
            }
        }
    }
}

#[test]
fn activations_that_another_layer_makes_cannot_arrive_quantized() {
    let (workload, _) = fixture::chain(&[GemmShape::new(20, 64, 32), GemmShape::new(20, 32, 8)], 3);
    let scheme = blocks::Blocks::new("arrived".to_owned(), &block::MXFP4, true, Arriving::Prequantized);
    let refused = scheme::lower(&workload, &scheme, None).unwrap_err().to_string();
    assert!(refused.contains("layer `gemm1`") && refused.contains("cannot arrive quantized"), "{refused}");
}

#[test]
fn a_scheme_without_the_calibration_that_it_needs_says_how_to_get_one() {
    let (workload, _) = mini_case();
    let refused = scheme::lower(&workload, &muxq::PER_TENSOR, None).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, LoweringError::NoCalibration { .. }), "{text}");
    assert!(text.contains("layer `y`") && text.contains("assumed_channels: N"), "{text}");
}

#[test]
fn a_calibration_of_another_shape_or_another_rule_is_refused() {
    let (workload, bindings) = mini_case();
    let known = calibration(&workload, &bindings, &muxq::PER_TENSOR).unwrap();
    let refused = |calibration: &Calibration| {
        scheme::lower(&workload, &muxq::PER_TENSOR, Some(calibration)).unwrap_err().to_string()
    };
    let mut other = known.clone();
    other.layers.get_mut("y").unwrap().channels = 8;
    assert!(refused(&other).contains("it has 8 input channels, the layer 4"), "{}", refused(&other));
    let mut other = known.clone();
    other.request = CalibrationRequest::default();
    assert!(refused(&other).contains("nothing; scheme `muxq_per_tensor` asks for outliers"), "{}", refused(&other));
    let mut other = known;
    other.layers.clear();
    assert!(refused(&other).contains("the calibration has no layer `y`"), "{}", refused(&other));
}

#[test]
fn a_threshold_that_every_channel_exceeds_is_refused_with_the_one_that_would_not() {
    let (workload, bindings) = mini_case();
    let rule = OutlierRule { threshold: 0.1, comparison: Comparison::Above };
    let request = CalibrationRequest { outliers: Some(rule), ..CalibrationRequest::default() };
    let refused = calibrate::calibrate(&workload, &bindings, request).unwrap_err().to_string();
    // The second channel reaches 1.
    assert!(refused.contains("each of its 4 input channels") && refused.contains("above 1,"), "{refused}");
}

#[test]
fn a_group_that_does_not_divide_the_depth_is_refused() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(20, 50, 40)], 3);
    let refused = calibrate::calibrate(&workload, &bindings, osc::MXFP4.calibration()).unwrap_err().to_string();
    assert!(refused.contains("50 input channels do not divide into groups of 32"), "{refused}");
    let refused = scheme::lower(&workload, &osc::DYNAMIC, None).unwrap_err().to_string();
    assert!(refused.contains("50 input channels do not divide into groups of 32"), "{refused}");
}

#[test]
fn layers_of_a_role_fall_back_and_others_do_not() {
    let shape = GemmShape::new(3, 64, 5);
    let format_of = |role: Option<LayerRole>| {
        let (x, w) = (vec![1.0; 3 * 64], vec![0.5; 64 * 5]);
        let (plain, bindings) = product(&x, &w, shape);
        let mut gemm = LogicalGemm::dense(shape, ValueRef::Source(SourceTensorId(0)), SourceTensorId(1), None);
        gemm.role = role;
        let layer = Layer { name: "y".to_owned(), operation: LayerOperation::Gemm(gemm), recorded_output: None };
        let tensors = plain.tensors().to_vec();
        let workload = Workload::try_new("product".to_owned(), &FP32, tensors, vec![layer]).unwrap();
        run(&workload, &bindings, &fallback::OSC_MXFP4_FP8).tensor("y.x_codes").format()
    };
    assert_eq!(format_of(Some(LayerRole::Down)), &FP8_E4M3);
    assert_eq!(format_of(Some(LayerRole::GateUp)), &FP4_E2M1);
    assert_eq!(format_of(None), &FP4_E2M1);
}

/// FP8 E4M3 holds 1, 2 and 3 as they are under a scale of 2^-7 (448 = 1.75 x 2^8, and 3 = 1.5 x 2^1), FP4 E2M1 holds 0.5 and
/// 6 under a scale of 1: the sum 1 x 0.5 + 2 x 6 + 3 x 0.5 = 14 is exact. Seven bits of a mantissa would not be.
#[test]
fn fp4_weights_meet_fp8_activations_block_by_block() {
    let (mut x, mut w) = (vec![0.0; 32], vec![0.0; 32]);
    (x[0], x[1], x[2]) = (1.0, 2.0, 3.0);
    (w[0], w[1], w[2]) = (0.5, 6.0, 0.5);
    let (workload, bindings) = product(&x, &w, GemmShape::new(1, 32, 1));
    let ran = run(&workload, &bindings, &blocks::W4A8_MX);
    assert_eq!(ran.tensor("y.x_codes").format(), &FP8_E4M3);
    assert_eq!(ran.tensor("y.w_codes").format(), &FP4_E2M1);
    assert_eq!(ran.output().to_f32(), [14.0]);
}

/// x = [7, 3] has the token scale 7 / 127, so the codes are 127 and 54 (54.43); the group of w has 254 / 127 = 2 and the codes
/// 127 and 2 (5 / 2 is a tie). Sum: 2 (127 x 127 + 54 x 2) = 32474; times 7 / 127.
#[test]
fn zeroquant_scales_groups_in_the_array_and_tokens_behind_it() {
    let (workload, bindings) = product(&[7.0, 3.0], &[254.0, 5.0], GemmShape::new(1, 2, 1));
    let scheme = ZeroQuant { weights: &INT8_G32, ..zeroquant::ZEROQUANT.clone() };
    let ran = run(&workload, &bindings, &scheme);
    assert_eq!(ran.tensor("y.x_codes").as_i8().unwrap(), [127, 54]);
    assert_eq!(ran.tensor("y.w_codes").as_i8().unwrap(), [127, 2]);
    assert_eq!(ran.tensor("y.sums").to_f32(), [32474.0]);
    assert_eq!(ran.output().to_f32(), [32474.0 * (7.0 / 127.0)]);
}
