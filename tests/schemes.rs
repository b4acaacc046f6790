//! Outlier schemes against worked examples and identities.

use std::borrow::Cow;

use npusim::calibrate;
use npusim::execute::{self, Execution, Granularity};
use npusim::hardware::npu::Npu;
use npusim::numerics::block::INT8_G32;
use npusim::numerics::formats::{FP4_E2M1, FP8_E4M3, FP32, INT32};
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::program::Program;
use npusim::program::op::Path;
use npusim::program::tensor::TensorId;
use npusim::schedule::{self, Schedule};
use npusim::scheme::lowering::LoweringError;
use npusim::scheme::muxq::{self, AuxScale, Auxiliary, Muxq};
use npusim::scheme::osc;
use npusim::scheme::treatment::Detection;
use npusim::scheme::zeroquant::{self, ZeroQuant};
use npusim::scheme::{self, Scheme, blocks, fallback, w8a8};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::timing::statistics::RunStatistics;
use npusim::units::Cycles;
use npusim::workload::bindings::Bindings;
use npusim::workload::calibration::{Calibration, CalibrationRequest, Comparison, OutlierRule};
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LayerRole, LogicalGemm, ValueRef};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};

use crate::anchors::calibration;
use crate::fixture;

/// A single product without a bias.
fn product(x: &[f32], w: &[f32], shape: GemmShape) -> (Workload, Bindings) {
    let tensor = |name: &str, shape: MatrixShape, values: &[f32]| {
        let description = TensorDescription { name: name.to_owned(), shape, source: None };
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
    let npu = Npu::try_new(fixture::parts()).unwrap();
    let calibration = calibration(workload, bindings, scheme);
    let program = scheme::lower(workload, scheme, calibration.as_ref()).unwrap();
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

#[test]
fn outliers_found_during_the_run_are_those_of_a_calibration_on_it() {
    let (workload, bindings) = fixture::chain(&[GemmShape::new(37, 50, 29)], 3);
    let online = Muxq { detection: Detection::Online, ..muxq(Auxiliary::FusedAccumulate) };
    let online = run(&workload, &bindings, &online);
    let frozen = run(&workload, &bindings, &muxq(Auxiliary::FusedAccumulate));
    assert_eq!(online.output(), frozen.output());
    // Finding them takes a pass of its own over all tokens.
    assert!(online.cycles > frozen.cycles, "{} against {}", online.cycles, frozen.cycles);
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
    assert!(refused(&other).contains("scheme `muxq_per_tensor` asks"), "{}", refused(&other));
    let mut other = known;
    other.layers.clear();
    assert!(refused(&other).contains("it has no such layer"), "{}", refused(&other));
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
