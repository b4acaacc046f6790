//! Sums that their accumulator does not hold: what is counted, against the definition in its own words.

use std::num::NonZeroU32;

use npusim::execute::{self, Execution, Granularity};
use npusim::hardware::matrix_unit::Accumulation;
use npusim::hardware::npu::NpuParts;
use npusim::numerics::accumulate::{IntegerAccumulator, IntegerOverflow, SaturationPoint};
use npusim::numerics::formats::FP32;
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::program::channels::SumFactor;
use npusim::program::op::{Gemm, OpId, OpKind, RightLayout};
use npusim::program::tensor::TensorId;
use npusim::scheme::w8a8::PER_TOKEN_PER_CHANNEL;
use npusim::scheme::{Scheme, muxq, w8a8};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LogicalGemm, ValueRef};
use npusim::workload::mapping::{FixedTiling, LoopOrder, Mapping, Split};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};

use crate::anchors::{Run, run_workload};
use crate::fixture::{self, Sums, chain};

fn modes() -> [IntegerOverflow; 4] {
    let every = SaturationPoint::Every(NonZeroU32::new(8).unwrap());
    [
        IntegerOverflow::Wrap,
        IntegerOverflow::Saturate(SaturationPoint::Step),
        IntegerOverflow::Saturate(every),
        IntegerOverflow::Saturate(SaturationPoint::End),
    ]
}

/// `parts` whose integer accumulators have `width` bits.
fn with_accumulators(mut parts: NpuParts, width: u32, overflow: IntegerOverflow) -> NpuParts {
    let accumulator = IntegerAccumulator::try_new(width, overflow).unwrap();
    for format in parts.matrix_units.iter_mut().flat_map(|unit| &mut unit.formats) {
        if let Accumulation::Integer(of_format) = &mut format.accumulation {
            *of_format = accumulator;
        }
    }
    parts
}

/// One product of codes: every row of `x` and every column of `w` holds a 127 or a -127, so that all scales are 1.
fn product(x: &[f32], w: &[f32], shape: GemmShape) -> (Workload, Bindings) {
    let tensor = |name: &str, shape: MatrixShape, values: &[f32]| {
        let description = TensorDescription { name: name.to_owned(), shape, source: None, format: None };
        (description, Tensor::try_new(shape, &FP32, Elements::F32(values.to_vec())).unwrap())
    };
    let [x, w] = [tensor("x", shape.left(), x), tensor("w", shape.right(), w)];
    let gemm = LogicalGemm::dense(shape, ValueRef::Source(SourceTensorId(0)), SourceTensorId(1), None);
    let layer = Layer { name: "y".to_owned(), operation: LayerOperation::Gemm(gemm), recorded_output: None };
    let workload = Workload::try_new("product".to_owned(), &FP32, vec![x.0, w.0], vec![layer]).unwrap();
    (workload, Bindings::new(vec![Some(x.1), Some(w.1)]))
}

fn executed(run: &Run, granularity: Granularity) -> Execution {
    execute::run(&run.program, &run.schedule, &run.bindings, granularity).unwrap()
}

fn counted(parts: NpuParts, workload: (Workload, Bindings)) -> u64 {
    let run = run_workload(parts, workload, &PER_TOKEN_PER_CHANNEL);
    executed(&run, Granularity::Products).overflowed_sums().iter().sum()
}

#[test]
fn a_sum_that_was_clamped_on_the_way_counts_though_it_ends_inside_the_range() {
    // 127 * 127 = 16129. Three of them leave 16 bits, three more are taken away: 16129, 32258, 32767 (not 48387), 16638,
    // 509, -15620 instead of 0.
    let sixes = [127.0, 127.0, 127.0, -127.0, -127.0, -127.0];
    let workload = || product(&[127.0; 12], &sixes, GemmShape::new(2, 6, 1));
    for (overflow, expected) in modes().into_iter().zip([0, 2, 0, 0]) {
        let parts = with_accumulators(fixture::parts(), 16, overflow);
        assert_eq!(counted(parts, workload()), expected, "{overflow:?}");
    }
}

#[test]
fn a_sum_that_ends_exactly_at_the_largest_value_did_not_overflow() {
    // 2 * 127 * 127 + 127 * 4 + 1 = 32767, reached from below.
    let workload = || product(&[127.0, 127.0, 127.0, 1.0], &[127.0, 127.0, 4.0, 1.0], GemmShape::new(1, 4, 1));
    for overflow in modes() {
        assert_eq!(counted(with_accumulators(fixture::parts(), 16, overflow), workload()), 0, "{overflow:?}");
    }
}

#[test]
fn sums_that_overflow_only_where_two_units_join_them_are_counted() {
    // 64 * 127 * 127 = 1032256 does not fit 20 bits (524287), half of it (516128) does.
    let (x, w) = ([127.0; 2 * 64], [127.0; 64 * 3]);
    let mut mapping = Mapping { split: Split::None, ..Mapping::default() };
    for split in [Split::None, Split::K] {
        mapping.split = split;
        for overflow in modes() {
            let (workload, bindings) = product(&x, &w, GemmShape::new(2, 64, 3));
            let parts = with_accumulators(fixture::parts_with_units(2, Sums::Apart), 20, overflow);
            let found = counted(parts, (workload.with_mapping(mapping.clone()), bindings));
            assert_eq!(found, 6, "{split:?} {overflow:?}");
        }
    }
}

/// What an integer tensor would hold if no accumulator had an end, from the codes that were multiplied.
fn exact(run: &Run, execution: &Execution, sums: TensorId) -> Vec<i128> {
    let op = run.program.ops.iter().find(|op| op.kind.writes().contains(&sums)).unwrap();
    match &op.kind {
        OpKind::Gemm(gemm) => {
            let mut all = products(execution, gemm);
            if let Some(initial) = gemm.initial {
                let before = exact(run, execution, initial.sums);
                all.iter_mut().zip(before).for_each(|(sum, before)| *sum += times(initial.factor, before));
            }
            all
        }
        OpKind::Merge(merge) => {
            let addends = exact(run, execution, merge.addend);
            let bases = merge.base.map(|base| exact(run, execution, base));
            let base = |index: usize| bases.as_ref().map_or(0, |bases| bases[index]);
            addends.into_iter().enumerate().map(|(index, sum)| base(index) + times(merge.factor, sum)).collect()
        }
        other => panic!("{other:?} has no sums"),
    }
}

fn times(factor: SumFactor, sum: i128) -> i128 {
    match factor {
        SumFactor::One => sum,
        SumFactor::Shift(exponent) => sum * 2i128.pow(exponent),
        SumFactor::ShiftSubtract(exponent) => sum * (2i128.pow(exponent) - 1),
    }
}

fn codes(execution: &Execution, id: TensorId) -> Vec<i128> {
    execution.tensor(id).unwrap().as_i8().unwrap().iter().map(|code| i128::from(*code)).collect()
}

/// The products of each output, k ascending.
fn terms(execution: &Execution, gemm: &Gemm) -> Vec<Vec<i128>> {
    let (left, right) = (codes(execution, gemm.left.codes), codes(execution, gemm.right.codes));
    let [m, k, n] = [gemm.shape.m, gemm.shape.k, gemm.shape.n].map(|extent| extent as usize);
    let right = |p: usize, j: usize| match gemm.right_layout {
        RightLayout::KByN => right[p * n + j],
        RightLayout::NByK => right[j * k + p],
    };
    let of = |i: usize, j: usize| (0..k).map(|p| left[i * k + p] * right(p, j)).collect();
    (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| of(i, j)).collect()
}

fn products(execution: &Execution, gemm: &Gemm) -> Vec<i128> {
    terms(execution, gemm).iter().map(|terms| terms.iter().sum()).collect()
}

/// Integer tensors that no product and no addition of integers reads.
fn last_sums(run: &Run, execution: &Execution) -> Vec<(OpId, TensorId)> {
    let is_read_on = |tensor: TensorId| {
        run.program.ops.iter().any(|op| match &op.kind {
            OpKind::Gemm(gemm) => gemm.initial.is_some_and(|initial| initial.sums == tensor),
            OpKind::Merge(merge) => merge.base == Some(tensor) || merge.addend == tensor,
            _ => false,
        })
    };
    let ops = (0..run.program.ops.len()).map(OpId);
    ops.flat_map(|op| run.program.op(op).kind.writes().into_iter().map(move |tensor| (op, tensor)))
        .filter(|(_, tensor)| execution.tensor(*tensor).unwrap().as_i32().is_some() && !is_read_on(*tensor))
        .collect()
}

/// Runs, and counts sums that differ from the exact ones by hand; returns how many there are.
fn check(run: &Run, what: &str) -> u64 {
    let mut total = 0;
    for granularity in [Granularity::Tiles, Granularity::Products] {
        let execution = executed(run, granularity);
        let mut expected = vec![0u64; run.program.ops.len()];
        for (op, tensor) in last_sums(run, &execution) {
            let stored = execution.tensor(tensor).unwrap().as_i32().unwrap();
            let exact = exact(run, &execution, tensor);
            expected[op.0] =
                stored.iter().zip(&exact).filter(|(sum, exact)| i128::from(**sum) != **exact).count() as u64;
        }
        assert_eq!(execution.overflowed_sums(), expected, "{what} {granularity:?}");
        total = expected.iter().sum();
    }
    total
}

#[test]
fn sums_are_counted_under_every_scheme_width_rule_and_way_to_add_them_up() {
    let shape = GemmShape::new(24, 96, 40);
    let order = |order| {
        let (layer, path) = ("gemm0".to_owned(), "body".to_owned());
        let tiling = FixedTiling { layer, path, m: 8, k: 32, n: 8, order: Some(order) };
        Mapping { tilings: vec![tiling], ..Mapping::default() }
    };
    let split = |split| Mapping { split, ..Mapping::default() };
    let one = |scheme: &'static dyn Scheme| (scheme, 1, Mapping::default());
    let cases: Vec<(&dyn Scheme, usize, Mapping)> = vec![
        one(&w8a8::PER_TENSOR),
        one(&muxq::PER_TENSOR),
        one(&muxq::SEPARATE),
        one(&muxq::TENDER),
        (&PER_TOKEN_PER_CHANNEL, 1, order(LoopOrder::KNM)),
        (&PER_TOKEN_PER_CHANNEL, 1, order(LoopOrder::MKN)),
        (&PER_TOKEN_PER_CHANNEL, 2, split(Split::K)),
        (&PER_TOKEN_PER_CHANNEL, 3, split(Split::K)),
        (&PER_TOKEN_PER_CHANNEL, 2, split(Split::M)),
        (&muxq::SEPARATE, 2, split(Split::N)),
    ];
    for (scheme, units, mapping) in cases {
        let mut total = 0;
        for overflow in modes() {
            for width in [10, 13, 15, 17, 19, 32] {
                let parts = with_accumulators(fixture::parts_with_units(units, Sums::Together), width, overflow);
                let (workload, bindings) = chain(&[shape], 7);
                let run = run_workload(parts, (workload.with_mapping(mapping.clone()), bindings), scheme);
                let found = check(&run, &format!("{} {units} {width} {overflow:?}", scheme.name()));
                assert!(width < 32 || found == 0, "{found} sums of 96 products of INT8 left 32 bits");
                total += found;
            }
        }
        assert!(total > 0, "{}: nothing overflowed, so nothing was tested", scheme.name());
    }
}
