//! Several matrix units: who works on what, how long it takes, and that splitting a product loses nothing.

use std::borrow::Cow;

use npusim::hardware::array::{Array, BlockWeights, DotProductArray};
use npusim::hardware::matrix_unit::Accumulation;
use npusim::hardware::memory::{MemoryKind, Partitions};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::hardware::vector_unit::VectorFunction;
use npusim::numerics::accumulate::{IntegerAccumulator, IntegerOverflow, SaturationPoint};
use npusim::numerics::formats::FP32;
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::report::data::Configuration;
use npusim::report::{bounds, json};
use npusim::schedule::grid::Axis;
use npusim::schedule::team::TeamSplit;
use npusim::schedule::{ScheduleError, schedule, token_run, verify};
use npusim::scheme;
use npusim::scheme::osc::{self, MergePoint, Osc};
use npusim::scheme::w8a8::PER_TOKEN_PER_CHANNEL;
use npusim::shape::{GemmShape, MatrixShape};
use npusim::simulation::{Setup, simulate};
use npusim::timing;
use npusim::timing::observer::Unobserved;
use npusim::units::{Bytes, Cycles, Rate};
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::mapping::{FixedTiling, Mapping, Split};

use crate::anchors::{self, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, Sums, chain, dram_of, independent, partitions_of, parts_with_units};

const SPLITS: [Split; 5] = [Split::Auto, Split::None, Split::M, Split::N, Split::K];

fn run(parts: NpuParts, shapes: &[GemmShape], scheme: &dyn scheme::Scheme, split: Split) -> Run {
    let (workload, bindings) = chain(shapes, 7);
    run_workload(parts, (mapped(workload, split), bindings), scheme)
}

fn mapped(workload: Workload, split: Split) -> Workload {
    workload.with_mapping(Mapping { split, ..Mapping::default() })
}

fn run_apart(parts: NpuParts, shapes: &[GemmShape], split: Split) -> Run {
    let (workload, bindings) = independent(shapes);
    run_workload(parts, (mapped(workload, split), bindings), &PER_TOKEN_PER_CHANNEL)
}

/// Units in front of memories, ports and lanes that never hold them up, with room for everything.
fn unhindered(count: usize) -> NpuParts {
    let fast = Rate::whole(1 << 30).unwrap();
    let mut parts = parts_with_units(count, Sums::Apart);
    dram_of(&mut parts).bytes_per_cycle = fast;
    dram_of(&mut parts).latency = Cycles(0);
    let share = Bytes(1 << 20);
    *partitions_of(&mut parts) = Partitions { activations: share, weights: share, outputs: share, resident: share };
    for memory in &mut parts.memories {
        if let MemoryKind::Sram(sram) = &mut memory.kind {
            sram.capacity = Bytes(4 << 20);
            (sram.read_bytes_per_cycle, sram.write_bytes_per_cycle) = (fast, fast);
        }
    }
    parts.vector_units[0].rates = [Some(fast); VectorFunction::ALL.len()];
    parts
}

/// A product of 512x64x64 on an 8x8 weight-stationary array that loads the next weights behind the stream: 8 x 8 folds of
/// 512 rows.
const PRODUCT: GemmShape = GemmShape::new(512, 64, 64);
const PRODUCT_CYCLES: u64 = 8 * 8 * 512;

/// Beside the streams there are filling and draining the array and the latency of vector commands, a few dozen for each.
const ENDS: u64 = 2000;

#[track_caller]
fn assert_takes(run: &Run, streamed: u64) {
    let makespan = run.statistics.makespan.get();
    assert!((streamed..streamed + ENDS).contains(&makespan), "{makespan} instead of {streamed} and a little");
}

#[test]
fn two_independent_products_on_two_equal_units_take_half_as_long_as_on_one() {
    assert_takes(&run_apart(unhindered(1), &[PRODUCT; 2], Split::None), 2 * PRODUCT_CYCLES);
    let two = run_apart(unhindered(2), &[PRODUCT; 2], Split::None);
    assert_takes(&two, PRODUCT_CYCLES);
    for op in two.statistics.ops.iter().filter(|op| op.macs > 0) {
        assert_eq!(op.unit_macs.iter().filter(|macs| **macs > 0).count(), 1, "each product stays on one unit");
    }
}

#[test]
fn products_that_depend_on_one_another_stay_on_the_first_unit() {
    let run = run(unhindered(2), &[PRODUCT, GemmShape::new(512, 64, 64)], &PER_TOKEN_PER_CHANNEL, Split::None);
    assert_takes(&run, 2 * PRODUCT_CYCLES);
    let on_second: u64 = run.statistics.ops.iter().filter_map(|op| op.unit_macs.get(1)).sum();
    assert_eq!(on_second, 0);
}

#[test]
fn a_product_split_over_four_units_takes_a_quarter_along_any_axis() {
    // A fold holds 8 rows of weights while 512 / 4 = 128 rows of activations stream: the load stays behind the stream.
    for split in [Split::M, Split::N, Split::K, Split::Auto] {
        let run = run(unhindered(4), &[PRODUCT], &PER_TOKEN_PER_CHANNEL, split);
        assert_takes(&run, PRODUCT_CYCLES / 4);
        let product = run.statistics.ops.iter().find(|op| op.macs > 0).expect("there is a product");
        assert_eq!(product.unit_macs, [PRODUCT.macs() / 4; 4], "{split:?}");
        match split {
            Split::M | Split::N => assert_eq!(product.joined_sums, 0),
            Split::K => assert_eq!(product.joined_sums, 3 * 512 * 64, "three additions an output"),
            Split::Auto | Split::None => {}
        }
    }
}

#[test]
fn a_single_row_with_few_columns_is_split_along_k_when_the_schedule_chooses() {
    // One row and eight columns are one fold wide: only k can be shared. 4096 / 8 folds, each as long as its weights load.
    let run = run(unhindered(4), &[GemmShape::new(1, 4096, 8)], &PER_TOKEN_PER_CHANNEL, Split::Auto);
    let matrix = run.schedule.nests.iter().find_map(|nest| nest.matrix).expect("there is a product");
    assert_eq!(matrix.split.axis, Some(Axis::K));
}

#[test]
fn an_operation_gets_the_unit_that_it_asks_for() {
    let base = run_apart(unhindered(2), &[PRODUCT; 2], Split::Auto);
    let mut program = base.program.clone();
    let mut names = ["array_1", "array"].into_iter();
    for op in program.ops.iter_mut().filter(|op| op.kind.walked_input().is_none()) {
        op.unit = names.next().map(str::to_owned);
    }
    let scheduled = schedule(&program, &base.npu, &Mapping::default()).unwrap();
    let statistics = timing::run(&program, &scheduled, &base.npu, &mut Unobserved).unwrap();
    let units: Vec<_> = statistics.ops.iter().filter(|op| op.macs > 0).map(|op| op.unit_macs.clone()).collect();
    assert_eq!(units, [vec![0, PRODUCT.macs()], vec![PRODUCT.macs(), 0]]);
}

#[test]
fn a_unit_that_there_is_not_or_that_lacks_the_formats_is_refused_with_what_there_is() {
    let base = run_apart(fixture::parts(), &[GemmShape::new(8, 8, 8)], Split::Auto);
    let mut program = base.program.clone();
    for op in program.ops.iter_mut().filter(|op| op.kind.walked_input().is_none()) {
        op.unit = Some("tensor_core".to_owned());
    }
    let error = schedule(&program, &base.npu, &Mapping::default()).unwrap_err();
    assert!(matches!(&error, ScheduleError::UnknownUnit { .. }), "{error}");
    let message = error.to_string();
    for part in ["`gemm0`", "`tensor_core`", "`array`"] {
        assert!(message.contains(part), "{message}");
    }
    let mut parts = parts_with_units(2, Sums::Together);
    parts.matrix_units[1].name = "tensor_core".to_owned();
    parts.matrix_units[1].formats.retain(|support| support.activation.name() == "fp16");
    let error = schedule(&program, &Npu::try_new(parts).unwrap(), &Mapping::default()).unwrap_err();
    assert!(matches!(&error, ScheduleError::UnitLacksFormats { .. }), "{error}");
    assert!(error.to_string().contains("int8") && error.to_string().contains("fp16"), "{error}");
}

#[test]
fn the_fastest_unit_that_has_the_formats_does_a_product() {
    let mut parts = parts_with_units(2, Sums::Together);
    let dot =
        DotProductArray { m: 8, n: 8, k: 4, pipeline: Cycles(5), weights: BlockWeights::Streamed, sequencing: None };
    parts.matrix_units[1].array = Array::DotProduct(dot);
    let run = run(parts, &[GemmShape::new(33, 64, 70)], &PER_TOKEN_PER_CHANNEL, Split::Auto);
    let product = run.statistics.ops.iter().find(|op| op.macs > 0).expect("there is a product");
    assert_eq!(product.unit_macs, [0, 33 * 64 * 70]);
}

fn machines() -> Vec<(String, NpuParts)> {
    let mut machines = Vec::new();
    for count in [2, 3, 4] {
        for sums in [Sums::Together, Sums::Apart] {
            machines.push((format!("{count} units, sums {sums:?}"), parts_with_units(count, sums)));
        }
    }
    let mut own_lanes = parts_with_units(2, Sums::Together);
    let mut second = own_lanes.vector_units[0].clone();
    second.name = "vector_1".to_owned();
    own_lanes.vector_units.push(second);
    machines.push(("two vector units".to_owned(), own_lanes));
    machines
}

#[test]
fn however_products_are_shared_the_anchors_hold() {
    let cases = [vec![GemmShape::new(1, 300, 40)], vec![GemmShape::new(33, 200, 70), GemmShape::new(33, 70, 48)]];
    for shapes in &cases {
        for (machine, parts) in machines() {
            // Every scheme on one machine of each kind; the machines differ in numbers only.
            let schemes = if machine.starts_with('3') { scheme::ALL } else { &scheme::ALL[..2] };
            // OSC protects channels of whole groups of 32.
            let divides = shapes.iter().all(|shape| shape.k.is_multiple_of(32));
            for scheme in schemes.iter().filter(|scheme| divides || !scheme.name().starts_with("osc")) {
                for split in SPLITS {
                    let run = run(parts.clone(), shapes, *scheme, split);
                    check(&run, &format!("{} {split:?} on {machine} with {shapes:?}", scheme.name()));
                }
            }
        }
    }
    for (machine, parts) in machines() {
        for split in SPLITS {
            let run = run_apart(parts.clone(), &[GemmShape::new(40, 100, 30); 5], split);
            check(&run, &format!("independent products, {split:?} on {machine}"));
        }
    }
}

fn check(run: &Run, what: &str) {
    let anchors = [
        anchors::workload_is_done,
        anchors::products_agree,
        anchors::tiles_change_no_bit,
        anchors::time_and_energy_add_up,
    ];
    for anchor in anchors {
        anchor(run).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    }
    verify::verify(&run.schedule).unwrap_or_else(|error| panic!("{what}: {error}"));
    let commands = token_run::token_run(&run.schedule).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(commands, run.statistics.commands, "{what}");
    let by_unit: u64 = run.statistics.ops.iter().flat_map(|op| &op.unit_macs).sum();
    // Auxiliary and branch products are on top of those of the workload.
    assert_eq!(by_unit, run.statistics.ops.iter().map(|op| op.macs).sum::<u64>(), "{what}");
    // The closed form knows one memory of sums.
    if run.npu.memories().len() == fixture::parts().memories.len() {
        closed_form::bytes_match(run).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    }
    let bound = bounds::compute_cycles(&run.program, &run.npu);
    assert!(run.statistics.makespan.get() >= bound, "{what}");
}

#[test]
fn a_machine_with_one_unit_is_not_changed_by_any_split() {
    for split in SPLITS {
        let run = run(fixture::parts(), &[GemmShape::new(37, 50, 29)], &PER_TOKEN_PER_CHANNEL, split);
        closed_form::bytes_match(&run).unwrap();
        assert!(run.schedule.nests.iter().filter_map(|nest| nest.matrix).all(|work| work.split == TeamSplit::alone(1)));
    }
}

/// Path B multiplies the whole depth here, and FP4 runs at twice the rate: one and a half times path B on one unit, on two
/// hardly more than path B.
#[test]
fn a_branch_on_a_unit_of_its_own_runs_beside_the_body() {
    let makespan = |unit: &'static str| {
        let unit = Some(Cow::Borrowed(unit));
        let scheme = Osc { merge: MergePoint::VectorUnit, unit, ..osc::DYNAMIC.clone() };
        let run = run(unhindered(2), &[PRODUCT], &scheme, Split::None);
        anchors::tiles_change_no_bit(&run).unwrap();
        run.statistics.makespan.get()
    };
    let (together, apart) = (makespan("array"), makespan("array_1"));
    assert!(together >= PRODUCT_CYCLES * 3 / 2, "{together}");
    assert!((PRODUCT_CYCLES..PRODUCT_CYCLES * 5 / 4).contains(&apart), "{apart}");
}

/// Members round by themselves before their sums are joined: a forgotten split in either interpreter must show.
#[test]
fn float_sums_split_along_k_differ_from_whole_ones_and_equal_the_reference() {
    let scheme = scheme::ALL.iter().find(|scheme| scheme.name() == "fp16").expect("fp16 is registered");
    let shapes = [GemmShape::new(9, 999, 17)];
    let outputs = [Split::None, Split::K].map(|split| {
        let run = run(parts_with_units(4, Sums::Together), &shapes, *scheme, split);
        anchors::tiles_change_no_bit(&run).unwrap();
        let plans = &run.schedule.accumulation;
        npusim::reference::untiled::evaluate(&run.program, plans, &run.bindings).pop().flatten().expect("an output")
    });
    assert_ne!(outputs[0], outputs[1]);
}

/// 16 products of 127 x 127 = 16129 and then 16 of -16129. In one accumulator of 16 bits that saturates at each step the sum
/// climbs to 32767 and falls to -32768; on two units one ends at 32767, the other at -32768, and their sum is -1.
#[test]
fn accumulators_saturate_before_the_sums_of_members_are_joined() {
    let saturating = IntegerOverflow::Saturate(SaturationPoint::Step);
    let mut parts = parts_with_units(2, Sums::Together);
    for support in parts.matrix_units.iter_mut().flat_map(|unit| &mut unit.formats) {
        support.accumulation = match support.accumulation {
            Accumulation::Integer(_) => {
                Accumulation::Integer(IntegerAccumulator::try_new(16, saturating).expect("16 bits can be had"))
            }
            other => other,
        };
    }
    let (workload, _) = independent(&[GemmShape::new(1, 32, 8)]);
    let tensor = |shape, values: Vec<f32>| Tensor::try_new(shape, &FP32, Elements::F32(values)).ok();
    let weights = (0..32 * 8).map(|index| if index < 16 * 8 { 1.0 } else { -1.0 }).collect();
    let values = vec![tensor(MatrixShape::new(1, 32), vec![1.0; 32]), tensor(MatrixShape::new(32, 8), weights)];
    for (split, expected) in [(Split::None, -32768.0), (Split::K, -1.0)] {
        // One block along k, of which each member takes one half.
        let (layer, path) = ("gemm0".to_owned(), "body".to_owned());
        let whole = FixedTiling { layer, path, m: 1, k: 32, n: 8, order: None };
        let mapping = Mapping { split, tilings: vec![whole], ..Mapping::default() };
        let workload = workload.clone().with_mapping(mapping);
        let run = run_workload(parts.clone(), (workload, Bindings::new(values.clone())), &PER_TOKEN_PER_CHANNEL);
        anchors::tiles_change_no_bit(&run).unwrap();
        let plans = &run.schedule.accumulation;
        let outputs = npusim::reference::untiled::evaluate(&run.program, plans, &run.bindings);
        let output = outputs.into_iter().next_back().flatten().expect("an output").to_f32();
        // One unit of the sum is 1/127 x 1/127.
        assert!(output.iter().all(|value| (value * 16129.0 - expected).abs() < 0.01), "{split:?}: {output:?}");
    }
}

#[test]
fn two_runs_on_several_units_give_the_same_report_byte_for_byte() {
    for split in SPLITS {
        let npu = Npu::try_new(parts_with_units(3, Sums::Apart)).unwrap();
        let (workload, bindings) = chain(&[GemmShape::new(33, 200, 70), GemmShape::new(33, 70, 48)], 7);
        let workload = mapped(workload, split);
        let report = || {
            let setup = Setup {
                npu: &npu,
                workload: &workload,
                scheme: &PER_TOKEN_PER_CHANNEL,
                calibration: None,
                bindings: Some(&bindings),
                configuration: Configuration::default(),
                defaults: Vec::new(),
            };
            json::to_json(&simulate(setup, &mut Unobserved).unwrap().report)
        };
        assert_eq!(report(), report(), "{split:?}");
    }
}
