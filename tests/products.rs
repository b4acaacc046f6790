//! Convolutions and batches of products: the same anchors as plain products, and arithmetic written out anew.

use npusim::energy;
use npusim::execute::{self, Granularity};
use npusim::hardware::array::{Array, BlockWeights, DotProductArray};
use npusim::hardware::npu::NpuParts;
use npusim::numerics::formats::FP32;
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::program::op::OpKind;
use npusim::schedule::{token_run, verify};
use npusim::scheme::{Scheme, cast, w8a8};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::units::Cycles;
use npusim::workload::batching::{BatchAxis, Batching};
use npusim::workload::bindings::Bindings;
use npusim::workload::convolution::{ConvolutionWindow, WindowAxis};
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerId, LayerOperation, LogicalGemm, RightLayout, ValueRef};
use npusim::workload::mapping::{FixedTiling, Mapping};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};

use crate::anchors::{self, Finding, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, SplitMix, partitions_of};

/// Seeded tensors of the given shapes, and the layers made from them.
fn workload(shapes: &[MatrixShape], layers: Vec<(&str, LogicalGemm)>) -> (Workload, Bindings) {
    let mut random = SplitMix(11);
    let (mut tensors, mut values) = (Vec::new(), Vec::new());
    for (index, shape) in shapes.iter().enumerate() {
        tensors.push(TensorDescription { name: format!("t{index}"), shape: *shape, source: None, format: None });
        let elements =
            (0..shape.elements()).map(|_| (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect();
        values.push(Some(Tensor::try_new(*shape, &FP32, Elements::F32(elements)).unwrap()));
    }
    let layer = |(name, gemm): (&str, LogicalGemm)| Layer {
        name: name.to_owned(),
        operation: LayerOperation::Gemm(gemm),
        recorded_output: None,
    };
    let layers = layers.into_iter().map(layer).collect();
    (Workload::try_new("test".to_owned(), &FP32, tensors, layers).unwrap(), Bindings::new(values))
}

const fn source(index: usize) -> ValueRef {
    ValueRef::Source(SourceTensorId(index))
}

/// Height, width, channels and output channels; groups; kernel, stride, dilation and padding before and after (y, x).
struct Convolution {
    images: u64,
    input: [u64; 2],
    channels: u64,
    outputs: u64,
    groups: u64,
    kernel: [u64; 2],
    stride: [u64; 2],
    dilation: [u64; 2],
    padding: [[u64; 2]; 2],
}

impl Convolution {
    fn gemm(&self, input: ValueRef, weight: SourceTensorId, bias: Option<SourceTensorId>) -> LogicalGemm {
        let axis = |axis: usize| {
            let (input, kernel) = (self.input[axis], self.kernel[axis]);
            WindowAxis::try_new(input, kernel, self.stride[axis], self.dilation[axis], self.padding[axis]).unwrap()
        };
        let channels = self.channels / self.groups;
        let window = ConvolutionWindow { images: self.images, y: axis(0), x: axis(1), channels };
        let shape = GemmShape::new(window.output_pixels(), window.depth(), self.outputs / self.groups);
        let batching = Batching {
            count: self.groups,
            right_sharing: 1,
            left: BatchAxis::Columns,
            right: BatchAxis::Columns,
            output: BatchAxis::Columns,
        };
        LogicalGemm { window: Some(window), batching, ..LogicalGemm::dense(shape, input, weight, bias) }
    }

    fn workload(&self) -> (Workload, Bindings) {
        let gemm = self.gemm(source(0), SourceTensorId(1), Some(SourceTensorId(2)));
        let shapes = [gemm.input_shape(), gemm.weight_shape(), MatrixShape::new(1, self.outputs)];
        workload(&shapes, vec![("conv", gemm)])
    }

    /// Seven plain loops over `[image, y, x, channel]` codes and `[tap y, tap x, channel, output]` weights.
    fn naive(&self, x: &[i8], w: &[i8]) -> Vec<i32> {
        let [height, width] = self.input;
        let channels = self.channels / self.groups;
        let outputs = self.outputs / self.groups;
        let extent = |axis: usize| {
            let padded = self.input[axis] + self.padding[axis][0] + self.padding[axis][1];
            (padded - self.dilation[axis] * (self.kernel[axis] - 1) - 1) / self.stride[axis] + 1
        };
        let mut sums = Vec::new();
        for image in 0..self.images {
            for out_y in 0..extent(0) {
                for out_x in 0..extent(1) {
                    for output in 0..self.outputs {
                        let group = output / outputs;
                        let mut sum = 0i32;
                        for tap_y in 0..self.kernel[0] {
                            for tap_x in 0..self.kernel[1] {
                                let y = (out_y * self.stride[0] + tap_y * self.dilation[0]) as i64
                                    - self.padding[0][0] as i64;
                                let x_at = (out_x * self.stride[1] + tap_x * self.dilation[1]) as i64
                                    - self.padding[1][0] as i64;
                                if !(0..height as i64).contains(&y) || !(0..width as i64).contains(&x_at) {
                                    continue;
                                }
                                let pixel = (image * height + y as u64) * width + x_at as u64;
                                for channel in 0..channels {
                                    let code = x[(pixel * self.channels + group * channels + channel) as usize];
                                    let tap = (tap_y * self.kernel[1] + tap_x) * channels + channel;
                                    sum += i32::from(code) * i32::from(w[(tap * self.outputs + output) as usize]);
                                }
                            }
                        }
                        sums.push(sum);
                    }
                }
            }
        }
        sums
    }
}

fn convolutions() -> Vec<Convolution> {
    let plain = |input, channels, outputs, kernel| Convolution {
        images: 1,
        input,
        channels,
        outputs,
        groups: 1,
        kernel,
        stride: [1, 1],
        dilation: [1, 1],
        padding: [[0, 0]; 2],
    };
    vec![
        plain([6, 5], 3, 4, [3, 3]),
        plain([4, 4], 8, 8, [1, 1]),
        Convolution { padding: [[1, 1]; 2], ..plain([14, 9], 5, 11, [3, 3]) },
        Convolution { padding: [[2, 1], [0, 1]], stride: [2, 3], images: 2, ..plain([11, 10], 4, 9, [4, 2]) },
        Convolution { padding: [[2, 2]; 2], dilation: [2, 2], ..plain([9, 9], 6, 8, [3, 3]) },
        Convolution { groups: 3, padding: [[1, 1]; 2], ..plain([7, 8], 6, 9, [3, 3]) },
        Convolution { groups: 10, images: 2, padding: [[1, 1]; 2], ..plain([6, 6], 10, 10, [3, 3]) },
    ]
}

/// Attention heads: `query_heads` of them, so many sharing one key and value head.
fn attention(tokens: u64, query_heads: u64, sharing: u64, depth: u64) -> (Workload, Bindings) {
    let kv_heads = query_heads / sharing;
    let projection = |heads: u64| GemmShape::new(tokens, 20, heads * depth);
    let dense = |heads, weight| LogicalGemm::dense(projection(heads), source(0), SourceTensorId(weight), None);
    let layer = |index| ValueRef::Layer(LayerId(index));
    let batching = Batching {
        count: query_heads,
        right_sharing: sharing,
        left: BatchAxis::Columns,
        right: BatchAxis::Columns,
        output: BatchAxis::Rows,
    };
    let base = dense(1, 1);
    let scores = LogicalGemm {
        shape: GemmShape::new(tokens, depth, tokens),
        input: layer(0),
        weight: layer(1),
        weight_layout: RightLayout::NByK,
        batching,
        ..base.clone()
    };
    let values = LogicalGemm {
        shape: GemmShape::new(tokens, tokens, depth),
        input: layer(3),
        weight: layer(2),
        batching: Batching { left: BatchAxis::Rows, output: BatchAxis::Columns, ..batching },
        ..base
    };
    let shapes = [
        MatrixShape::new(tokens, 20),
        projection(query_heads).right(),
        projection(kv_heads).right(),
        projection(kv_heads).right(),
    ];
    let layers = vec![
        ("q", dense(query_heads, 1)),
        ("k", dense(kv_heads, 2)),
        ("v", dense(kv_heads, 3)),
        ("scores", scores),
        ("values", values),
    ];
    workload(&shapes, layers)
}

/// Products of constants in batches, one below the other.
fn stacked(count: u64, sharing: u64) -> (Workload, Bindings) {
    let shape = GemmShape::new(9, 21, 13);
    let dense = LogicalGemm::dense(shape, source(0), SourceTensorId(1), Some(SourceTensorId(2)));
    let batching = Batching { count, right_sharing: sharing, ..Batching::SINGLE };
    let gemm = LogicalGemm { batching, ..dense };
    workload(&[gemm.input_shape(), gemm.weight_shape(), MatrixShape::new(1, 13)], vec![("stack", gemm)])
}

fn machines() -> Vec<NpuParts> {
    let base = fixture::parts();
    let mut streams = base.clone();
    partitions_of(&mut streams).resident = npusim::units::Bytes(0);
    let mut output_stationary = base.clone();
    output_stationary.matrix_units[0].array = fixture::systolic("output_stationary", true);
    vec![base, streams, output_stationary]
}

fn schemes() -> [&'static dyn Scheme; 5] {
    [
        &w8a8::PER_TENSOR,
        &w8a8::PER_TENSOR_PER_CHANNEL,
        &w8a8::PER_TOKEN_PER_CHANNEL,
        &w8a8::FP8_PER_TOKEN_PER_CHANNEL,
        &cast::FP16,
    ]
}

fn for_each_run(mut check: impl FnMut(&Run) -> Finding) {
    let mut cases: Vec<_> = convolutions().iter().map(Convolution::workload).collect();
    cases.extend([attention(19, 2, 1, 8), attention(40, 6, 3, 12), stacked(4, 1), stacked(6, 2)]);
    for workload in cases {
        for parts in machines() {
            for scheme in schemes() {
                let run = run_workload(parts.clone(), workload.clone(), scheme);
                check(&run).unwrap_or_else(|wrong| panic!("{}: {wrong}\n{}", scheme.name(), run.program));
            }
        }
    }
}

#[test]
fn convolutions_and_batches_hold_every_anchor_of_plain_products() {
    for_each_run(|run| {
        anchors::workload_is_done(run)?;
        anchors::products_agree(run)?;
        anchors::tiles_change_no_bit(run)?;
        anchors::time_and_energy_add_up(run)?;
        verify::verify(&run.schedule).map_err(|error| error.to_string())?;
        token_run::token_run(&run.schedule).map_err(|error| error.to_string())?;
        Ok(())
    });
}

#[test]
fn bytes_are_those_of_the_pixels_and_of_the_operands_that_each_batch_needs() {
    for_each_run(closed_form::bytes_match);
}

#[test]
fn sums_of_a_convolution_equal_seven_plain_loops_over_its_codes() {
    for convolution in convolutions() {
        for parts in machines() {
            let run = run_workload(parts, convolution.workload(), &w8a8::PER_TENSOR_PER_CHANNEL);
            for granularity in [Granularity::Tiles, Granularity::Products] {
                let execution = execute::run(&run.program, &run.schedule, &run.bindings, granularity).unwrap();
                let gemm = run.program.ops.iter().find_map(|op| match &op.kind {
                    OpKind::Gemm(gemm) => Some(gemm),
                    _ => None,
                });
                let gemm = gemm.unwrap();
                let codes = |id| execution.tensor(id).unwrap().as_i8().unwrap();
                let expected = convolution.naive(codes(gemm.left.codes), codes(gemm.right.codes));
                assert_eq!(execution.tensor(gemm.output).unwrap().as_i32().unwrap(), expected);
            }
        }
    }
}

#[test]
fn a_pointwise_convolution_is_the_same_program_as_a_plain_product() {
    let convolution = &convolutions()[1];
    let (pixels, channels, outputs) = (16, 8, 8);
    let dense = LogicalGemm::dense(
        GemmShape::new(pixels, channels, outputs),
        source(0),
        SourceTensorId(1),
        Some(SourceTensorId(2)),
    );
    let shapes = [dense.input_shape(), dense.weight_shape(), MatrixShape::new(1, outputs)];
    // The search has more blocks to choose from where rows are those of an image.
    let tiling = FixedTiling { layer: "conv".to_owned(), path: "body".to_owned(), m: 8, k: 8, n: 8, order: None };
    let mapping = Mapping { tilings: vec![tiling], ..Mapping::default() };
    let run = |(workload, bindings): (Workload, Bindings)| {
        run_workload(fixture::parts(), (workload.with_mapping(mapping.clone()), bindings), &w8a8::PER_TENSOR)
    };
    let plain = run(workload(&shapes, vec![("conv", dense)]));
    let window = run(convolution.workload());
    let outputs = [&plain, &window].map(|run| {
        let execution = execute::run(&run.program, &run.schedule, &run.bindings, Granularity::Tiles).unwrap();
        execution.tensor(run.program.layers[0].output).unwrap().clone()
    });
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(plain.statistics.makespan, window.statistics.makespan);
}

#[test]
fn a_schedule_is_no_larger_with_more_batches() {
    let size = |heads| {
        let mut parts = fixture::parts();
        partitions_of(&mut parts).resident = npusim::units::Bytes(0);
        let run = run_workload(parts, attention(16, heads, 1, 8), &w8a8::PER_TENSOR);
        (run.schedule.nests.len(), run.schedule.counters.len(), run.statistics.most_commands_held)
    };
    assert_eq!(size(2).0, size(32).0);
    assert_eq!(size(2).1, size(32).1);
    assert!(size(32).2 <= size(2).2 + 4);
}

#[test]
fn a_right_operand_that_fits_is_read_once_for_all_batches_that_share_it() {
    let run = run_workload(fixture::parts(), stacked(6, 3), &w8a8::PER_TENSOR);
    let product = run.program.ops.iter().position(|op| matches!(op.kind, OpKind::Gemm(_))).unwrap();
    let read = run.statistics.ops[product].traffic[fixture::DRAM.0].read.get();
    let grid = run.schedule.nests.iter().find(|nest| nest.matrix.is_some()).unwrap().grid;
    assert_eq!([grid.k.count(), grid.n.count()], [1, 1], "the whole operand is one tile");
    // The left codes stay on the chip; two right operands of 21 x 13 bytes are all that comes.
    assert_eq!(read, 2 * 21 * 13);
}

/// Steps along k of a walk over `depth` indices in blocks of `block`: a new one after `at_once` indices, at the start of a
/// block, and, where `run` is given, at the start of each run of so many.
fn steps_along_k(depth: u64, block: u64, at_once: u64, run: Option<u64>) -> u64 {
    let (mut steps, mut room) = (0, 0);
    for index in 0..depth {
        if room == 0 || index % block == 0 || run.is_some_and(|run| index % run == 0) {
            (steps, room) = (steps + 1, at_once);
        }
        room -= 1;
    }
    steps
}

#[test]
fn the_whole_window_of_a_convolution_packs_as_every_shorter_block_of_it_does() {
    // 5 x 5 kernel positions of 3 channels, on 4 x 8 dot products of 16: 25 positions one by one are 25 steps, 75 rows of
    // im2col are 5. A unit that holds weights takes the channels of one position at a time, in whole and in part.
    let convolution = Convolution {
        images: 1,
        input: [6, 6],
        channels: 3,
        outputs: 8,
        groups: 1,
        kernel: [5, 5],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [[2, 2], [2, 2]],
    };
    let (pixels, depth, at_once) = (36, 75, 16);
    for (weights, run) in [(BlockWeights::Streamed, None), (BlockWeights::HeldDoubleBuffered, Some(3))] {
        let mut issued_before = None;
        for block in (1..=depth).rev() {
            let mut parts = fixture::parts();
            let (m, n, pipeline) = (4, 8, Cycles(5));
            parts.matrix_units[0].array =
                Array::DotProduct(DotProductArray { m, n, k: at_once, pipeline, weights, sequencing: None });
            let tiling = FixedTiling {
                layer: "conv".to_owned(),
                path: "body".to_owned(),
                m: pixels,
                k: block,
                n: 8,
                order: None,
            };
            let mapping = Mapping { tilings: vec![tiling], ..Mapping::default() };
            let (workload, bindings) = convolution.workload();
            let run_of = run_workload(parts, (workload.with_mapping(mapping), bindings), &w8a8::PER_TENSOR);
            let product = run_of.program.ops.iter().position(|op| matches!(op.kind, OpKind::Gemm(_))).unwrap();
            let statistics = &run_of.statistics.ops[product];
            let steps = steps_along_k(depth, block, at_once, run);
            assert_eq!(statistics.issued_macs, pixels * 8 * at_once * steps, "{weights:?}, blocks of {block}");
            let spent = energy::array::count(&run_of.program, &run_of.schedule, &run_of.npu)[product];
            let joined = if weights == BlockWeights::Streamed { depth.div_ceil(block) } else { steps };
            assert_eq!(spent.accumulations, pixels * 8 * joined, "{weights:?}, blocks of {block}");
            // One block that covers the window is never worse than a cut of it.
            assert!(statistics.issued_macs >= issued_before.unwrap_or(0), "{weights:?}, blocks of {block}");
            issued_before = issued_before.or(Some(statistics.issued_macs));
        }
    }
}
