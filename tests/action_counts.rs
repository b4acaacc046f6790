//! How often each action is done: closed forms written down from shapes and blocks by hand, beside what a run counts.
//!
//! The product is 21 x 50 x 30 in tiles of 16 x 32 x 24 on an array of 8 x 8 (`fixture`), so that every axis has a ragged edge: rows of
//! 16 + 5, a depth of 32 + 18, columns of 24 + 6. Padded to whole folds of the array the depth is 32 + 24 = 56 and the columns
//! are 24 + 8 = 32; there are 4 + 3 = 7 folds along the depth, and each makes one partial sum of each output.

use npusim::config::defaults::Defaults;
use npusim::config::{hardware, presets};
use npusim::energy::transfers::{TransferCounter, TransferCounts};
use npusim::energy::{self, Observed};
use npusim::execute;
use npusim::hardware::array::{Array, BlockWeights, DotProductArray};
use npusim::hardware::matrix_unit::MatrixUnitId;
use npusim::hardware::npu::NpuParts;
use npusim::hardware::sequencing::{ResultPath, Sequencing, StartRule, StripeLimits};
use npusim::hardware::vector_unit::VectorFunction;
use npusim::numerics::formats::FP32;
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::program::op::OpId;
use npusim::report::bounds;
use npusim::schedule::commands::{Queue, Work};
use npusim::scheme::w8a8::PER_TOKEN_PER_CHANNEL;
use npusim::scheme::{Scheme, blocks, llm_int8, muxq};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::{CommandRecord, Observer, Unobserved};
use npusim::units::{Bytes, Cycles, Rate};
use npusim::workload::batching::{BatchAxis, Batching};
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{Layer, LayerOperation, LogicalGemm, ValueRef};
use npusim::workload::mapping::{FixedTiling, LoopOrder, Mapping, Split};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};

use crate::anchors::{Run, run_workload};
use crate::fixture::{self, SRAM, SplitMix, Sums, chain, dram_of, partitions_of};

const SHAPE: GemmShape = GemmShape::new(21, 50, 30);
const OUTPUTS: u64 = 21 * 30;
/// Processing elements of the array.
const ELEMENTS: u64 = 8 * 8;

fn mapping(split: Split) -> Mapping {
    tiled([16, 32, 24], split)
}

fn tiled([m, k, n]: [u64; 3], split: Split) -> Mapping {
    let (layer, path) = ("gemm0".to_owned(), "body".to_owned());
    let tiling = FixedTiling { layer, path, m, k, n, order: Some(LoopOrder::MNK) };
    Mapping { tilings: vec![tiling], split, ..Mapping::default() }
}

fn run(parts: NpuParts, scheme: &dyn Scheme, split: Split) -> Run {
    let (workload, bindings) = chain(&[SHAPE], 7);
    run_workload(parts, (workload.with_mapping(mapping(split)), bindings), scheme)
}

/// A run, how often it did what, and its transfers.
struct Counted {
    run: Run,
    counts: Vec<(String, u64)>,
    transfers: TransferCounts,
}

impl Counted {
    fn of(run: Run) -> Counted {
        let mut nobody = Unobserved;
        let mut counter = TransferCounter::new(&run.npu, &mut nobody);
        timing::run(&run.program, &run.schedule, &run.npu, &mut counter).unwrap();
        let transfers = counter.into_counts();
        let observed = Observed { transfers: transfers.clone(), activity: None };
        let energy = energy::cost(&run.program, &run.schedule, &run.npu, &run.statistics, &observed).unwrap();
        let counts = energy.counts.iter().map(|(action, times)| (action.to_string(), times)).collect();
        Counted { run, counts, transfers }
    }

    fn get(&self, action: &str) -> u64 {
        self.counts.iter().find(|(known, _)| known == action).map_or(0, |(_, times)| *times)
    }

    fn assert(&self, expected: &[(&str, u64)]) {
        for (action, times) in expected {
            assert_eq!(self.get(action), *times, "{action}");
        }
    }

    fn makespan(&self) -> u64 {
        self.run.statistics.makespan.get()
    }

    /// Cycles in which the matrix queues were busy, over all of them.
    fn matrix_busy(&self) -> u64 {
        let queues = self.run.statistics.queues.iter().filter(|queue| matches!(queue.queue, Queue::Matrix(_)));
        queues.map(|queue| queue.busy.get()).sum()
    }
}

#[test]
fn a_weight_stationary_array_does_what_the_shape_says() {
    let counted = Counted::of(run(fixture::parts(), &PER_TOKEN_PER_CHANNEL, Split::None));
    counted.assert(&[
        ("mac_int8_int8", 21 * 50 * 30),
        ("idle_mac", 21 * (56 * 32 - 50 * 30)),
        ("register_shift", 21 * 56 * 32),
        // Each of two row blocks loads all weights anew.
        ("weight_load", 2 * 50 * 30),
        ("accumulate", 7 * OUTPUTS),
        ("accumulator_shift", 0),
        ("block_scale", 0),
        // Each token's abs-max and its codes, and each output once.
        ("vector_reduce", 21 * 50),
        ("vector_quantize", 21 * 50),
        ("vector_dequantize", OUTPUTS),
        ("vector_add", 0),
        // Sums of four bytes: seven are written, all but the first of them after the one before was read, and the chain reads
        // the last.
        ("write_accumulators", 4 * 7 * OUTPUTS),
        ("read_accumulators", 4 * (6 + 1) * OUTPUTS),
        // Results leave in FP32.
        ("write_dram", 4 * OUTPUTS),
    ]);
}

#[test]
fn the_other_dataflows_do_what_the_shape_says() {
    let with = |array: Array| {
        let mut parts = fixture::parts();
        parts.matrix_units[0].array = array;
        Counted::of(run(parts, &PER_TOKEN_PER_CHANNEL, Split::None))
    };
    // Activations stay, rows along the columns of the array: 16 + 8 of them padded. Two column blocks load them anew.
    with(fixture::systolic("input_stationary", true)).assert(&[
        ("idle_mac", 30 * (56 * 24 - 50 * 21)),
        ("register_shift", 30 * 56 * 24),
        ("weight_load", 2 * 21 * 50),
        ("accumulate", 7 * OUTPUTS),
    ]);
    // Outputs stay: rows padded to 16 + 8, columns to 24 + 8. Each of two depths adds to the sums once; nothing is loaded.
    with(fixture::systolic("output_stationary", true)).assert(&[
        ("idle_mac", 50 * (24 * 32 - OUTPUTS)),
        ("register_shift", 50 * 24 * 32),
        ("weight_load", 0),
        ("accumulate", 2 * OUTPUTS),
    ]);
    let dot = |weights| {
        let (pipeline, sequencing) = (Cycles(3), None);
        with(Array::DotProduct(DotProductArray { m: 1, n: 8, k: 8, pipeline, weights, sequencing }))
    };
    // Dot units are fed side by side: nothing is handed on.
    let held = dot(BlockWeights::HeldDoubleBuffered);
    held.assert(&[
        ("idle_mac", 21 * (56 * 32 - 50 * 30)),
        ("register_shift", 0),
        ("weight_load", 2 * 50 * 30),
        ("accumulate", 7 * OUTPUTS),
    ]);
    dot(BlockWeights::Streamed).assert(&[("register_shift", 0), ("weight_load", 0), ("accumulate", 2 * OUTPUTS)]);
}

/// Three batches of 16 x 64 x 8 under MXFP8: blocks of 32 along k.
#[test]
fn every_batch_counts() {
    let batching =
        Batching { count: 3, right_sharing: 1, left: BatchAxis::Rows, right: BatchAxis::Rows, output: BatchAxis::Rows };
    let (x, w) = (ValueRef::Source(SourceTensorId(0)), SourceTensorId(1));
    let gemm = LogicalGemm { batching, ..LogicalGemm::dense(GemmShape::new(16, 64, 8), x, w, None) };
    let mut random = SplitMix(3);
    let shapes = [gemm.input_shape(), gemm.weight_shape()];
    let tensors = ["x", "w"].into_iter().zip(shapes);
    let tensors = tensors
        .map(|(name, shape)| TensorDescription { name: name.to_owned(), shape, source: None, format: None })
        .collect();
    let values = shapes.map(|shape| {
        let elements = (0..shape.elements()).map(|_| random.next_centred()).collect();
        Some(Tensor::try_new(shape, &FP32, Elements::F32(elements)).unwrap())
    });
    let operation = LayerOperation::Gemm(gemm);
    let layers = vec![Layer { name: "gemm0".to_owned(), operation, recorded_output: None }];
    let workload = Workload::try_new("batches".to_owned(), &FP32, tensors, layers).unwrap();
    let workload = workload.with_mapping(tiled([16, 64, 8], Split::None));
    let run = run_workload(fixture::parts(), (workload, Bindings::new(values.to_vec())), &blocks::MXFP8_E4M3);
    Counted::of(run).assert(&[
        ("mac_fp8_e4m3_fp8_e4m3", 3 * 16 * 64 * 8),
        ("idle_mac", 0),
        ("register_shift", 3 * 16 * 64 * 8),
        ("weight_load", 3 * 64 * 8),
        ("accumulate", 3 * (64 / 8) * 16 * 8),
        ("block_scale", 3 * 16 * 8 * 2),
    ]);
}

/// A depth of 50 is a block of 32 and one of 18.
#[test]
fn a_last_block_that_is_not_full_has_a_scale_too() {
    let counted = Counted::of(run(fixture::parts(), &blocks::MXFP8_E4M3, Split::None));
    counted.assert(&[
        ("block_scale", OUTPUTS * 2),
        ("mac_fp8_e4m3_fp8_e4m3", 21 * 50 * 30),
        // A quantizer of blocks finds each block's largest magnitude and then its codes.
        ("vector_reduce", 21 * 50),
        ("vector_quantize", 21 * 50),
    ]);
    // What the array reads: codes and scales of x for each of four folds of columns (three of 24, one of 6), and of the
    // weights for each of two row blocks, a byte each.
    let product = product(&counted.run);
    let traffic = &counted.run.statistics.ops[product.0].traffic;
    assert_eq!(traffic[SRAM.0].read, Bytes(4 * 21 * (50 + 2) + 2 * 30 * (50 + 2)));
    // The same in one tile, whose weights are read once.
    let (workload, bindings) = chain(&[SHAPE], 7);
    let workload = workload.with_mapping(tiled([21, 50, 30], Split::None));
    let whole = run_workload(fixture::parts(), (workload, bindings), &blocks::MXFP8_E4M3);
    let traffic = &whole.statistics.ops[self::product(&whole).0].traffic;
    assert_eq!(traffic[SRAM.0].read, Bytes(4 * 21 * (50 + 2) + 30 * (50 + 2)));
}

/// An element multiplies two pairs of FP4 a cycle, so that a fold is 16 deep: two folds for each of the depths 32 and 18.
#[test]
fn an_element_that_does_two_products_a_cycle_shifts_its_registers_once() {
    let counted = Counted::of(run(fixture::parts(), &blocks::MXFP4, Split::None));
    counted.assert(&[
        ("register_shift", 21 * 4 * 8 * 32),
        ("idle_mac", 21 * (64 * 32 - 50 * 30)),
        ("accumulate", 4 * OUTPUTS),
    ]);
}

#[test]
fn products_with_a_zero_operand_are_taken_from_the_others() {
    let mut parts = fixture::parts();
    // The fixture's own table does not tell them apart.
    let document = presets::open_hardware("edge-int8").unwrap();
    parts.energy = hardware::resolve(&document, &mut Defaults::default()).unwrap().energy().clone();
    let run = run(parts, &PER_TOKEN_PER_CHANNEL, Split::None);
    let execution = execute::run(&run.program, &run.schedule, &run.bindings, execute::Granularity::Tiles).unwrap();
    let zero: u64 = execution.activity().zero_macs().iter().sum();
    let observed = Observed { transfers: TransferCounts::default(), activity: Some(execution.activity()) };
    let energy = energy::cost(&run.program, &run.schedule, &run.npu, &run.statistics, &observed).unwrap();
    let times = |key: &str| energy.counts.iter().find(|(action, _)| action.to_string() == key).map(|(_, times)| times);
    assert!(zero > 0);
    assert_eq!(times("zero_mac_int8_int8"), Some(zero));
    assert_eq!(times("mac_int8_int8"), Some(21 * 50 * 30 - zero));
}

/// Channels 3, 19 and 35 of the fixture's input are ten times larger than the others.
#[test]
fn each_gathered_element_has_an_index() {
    let (workload, bindings) = chain(&[SHAPE], 7);
    let counted = Counted::of(run_workload(fixture::parts(), (workload, bindings), &llm_int8::FROZEN));
    counted.assert(&[("vector_gather", 21 * 3), ("index_fetch", 21 * 3), ("vector_merge", OUTPUTS)]);
}

fn product(run: &Run) -> OpId {
    let is_product = |kind: &npusim::program::op::OpKind| matches!(kind, npusim::program::op::OpKind::Gemm(_));
    OpId(run.program.ops.iter().position(|op| is_product(&op.kind)).unwrap())
}

#[test]
fn joining_sums_that_were_split_along_k_costs_an_addition_for_each_output_and_further_unit() {
    for sums in [Sums::Together, Sums::Apart] {
        let counted = Counted::of(run(fixture::parts_with_units(2, sums), &PER_TOKEN_PER_CHANNEL, Split::K));
        counted.assert(&[
            ("vector_add", OUTPUTS),
            ("mac_int8_int8", 21 * 50 * 30),
            // Depths of 16 + 16 and 16 + 2: two folds of each member, and two and one.
            ("accumulate", 7 * OUTPUTS),
            ("weight_load", 2 * 50 * 30),
        ]);
    }
    // Along m and n nothing is joined.
    for split in [Split::M, Split::N] {
        let counted = Counted::of(run(fixture::parts_with_units(2, Sums::Together), &PER_TOKEN_PER_CHANNEL, split));
        counted.assert(&[("vector_add", 0)]);
    }
}

#[test]
fn what_leaks_does_so_for_every_element_lane_and_memory_in_every_cycle() {
    for (count, split) in [(1, Split::None), (2, Split::M), (3, Split::N)] {
        let mut parts = fixture::parts_with_units(count, Sums::Together);
        // A second vector unit with five lanes every two cycles, which are three.
        let mut second = parts.vector_units[0].clone();
        second.name = "second".to_owned();
        second.rates = [Rate::try_new(5, 2); VectorFunction::ALL.len()];
        parts.vector_units.push(second);
        let counted = Counted::of(run(parts, &PER_TOKEN_PER_CHANNEL, split));
        let cycles = counted.makespan();
        let units = u64::try_from(count).unwrap();
        counted.assert(&[
            ("leakage_matrix_units", cycles * units * ELEMENTS),
            ("leakage_vector_units", cycles * (16 + 3)),
            ("leakage_sram", cycles),
            ("leakage_accumulators", cycles),
            ("background_dram", cycles),
        ]);
    }
}

#[test]
fn every_unit_of_a_team_is_gated_while_the_team_has_no_tile_and_a_unit_without_work_always() {
    for count in [1, 2, 3] {
        let split = if count == 1 { Split::None } else { Split::M };
        let parts = fixture::parts_with_units(count, Sums::Together);
        let counted = Counted::of(run(parts, &PER_TOKEN_PER_CHANNEL, split));
        let gated = counted.makespan() - counted.matrix_busy();
        counted.assert(&[("gated_mac", u64::try_from(count).unwrap() * ELEMENTS * gated)]);
    }
    // One of two units does the product alone.
    let parts = fixture::parts_with_units(2, Sums::Together);
    let counted = Counted::of(run(parts, &PER_TOKEN_PER_CHANNEL, Split::None));
    let (cycles, busy) = (counted.makespan(), counted.matrix_busy());
    counted.assert(&[("gated_mac", ELEMENTS * (cycles - busy) + ELEMENTS * cycles)]);
}

/// The second product is as small as the array, so that one unit does it while the other, of the same team, has no tile.
#[test]
fn a_unit_is_gated_while_the_rest_of_its_team_works_alone() {
    let (workload, bindings) = chain(&[GemmShape::new(8, 64, 8), GemmShape::new(8, 8, 8)], 7);
    let (m, n) = (8, 8);
    let tiling =
        |layer: &str, k| FixedTiling { layer: layer.to_owned(), path: "body".to_owned(), m, k, n, order: None };
    let tilings = vec![tiling("gemm0", 64), tiling("gemm1", 8)];
    let mapping = Mapping { tilings, split: Split::K, ..Mapping::default() };
    let parts = fixture::parts_with_units(2, Sums::Together);
    let counted = Counted::of(run_workload(parts, (workload.with_mapping(mapping), bindings), &PER_TOKEN_PER_CHANNEL));
    let statistics = &counted.run.statistics;
    assert_eq!(statistics.teams, [vec![MatrixUnitId(0), MatrixUnitId(1)]]);
    let alone = statistics.ops.iter().filter(|op| op.macs == 8 * 8 * 8).map(|op| op.busy.get()).sum::<u64>();
    assert!(alone > 0);
    let gated = 2 * (counted.makespan() - counted.matrix_busy()) + alone;
    counted.assert(&[("gated_mac", ELEMENTS * gated)]);
}

#[test]
fn sums_that_are_shifted_before_a_product_adds_to_them_are_all_shifted() {
    let counted = Counted::of(run(fixture::parts(), &muxq::TENDER, Split::None));
    let shifted = counted.run.program.ops.iter().filter_map(|op| match &op.kind {
        npusim::program::op::OpKind::Gemm(gemm) => gemm.initial,
        _ => None,
    });
    assert_eq!(shifted.filter(|initial| initial.factor.shifts() > 0).count(), 1, "one product is shifted onto");
    counted.assert(&[
        ("accumulator_shift", OUTPUTS),
        // Three outlier channels come first, over their whole depth; of the 47 others 32 and 15 make four and two folds. Each of
        // two row blocks loads all weights.
        ("mac_int8_int8", 21 * 50 * 30),
        ("weight_load", 2 * (3 + 47) * 30),
        ("accumulate", (1 + 6) * OUTPUTS),
    ]);
}

/// Everything is one tile: x is read twice by the chain that quantizes it or once, as the schedule has it, so only the product
/// and the results are written down here.
#[test]
fn each_tile_is_a_descriptor_and_each_burst_of_64_bytes_that_it_touches_a_burst() {
    let mut parts = fixture::parts();
    partitions_of(&mut parts).resident = Bytes(8192);
    let counted = Counted::of(run(parts, &PER_TOKEN_PER_CHANNEL, Split::None));
    // Codes of x stay on the chip. Weights: two row blocks of two by two tiles.
    let product = product(&counted.run);
    assert_eq!(counted.transfers.descriptors(product), 8);
    // Rows of 24 and 6 bytes, 30 bytes apart: each touches one burst of 64, or two where it crosses a multiple of 64.
    let bursts = |first_row: u64, rows: u64, first: u64, bytes: u64| -> u64 {
        let touched = |row: u64| {
            let start = row * 30 + first;
            (start + bytes - 1) / 64 - start / 64 + 1
        };
        (first_row..first_row + rows).map(touched).sum()
    };
    let tiles = [(0, 32, 0, 24), (32, 18, 0, 24), (0, 32, 24, 6), (32, 18, 24, 6)];
    let expected: u64 = tiles.into_iter().map(|(row, rows, first, bytes)| bursts(row, rows, first, bytes)).sum();
    assert_eq!(counted.transfers.bursts(product), 2 * expected);
    let all: u64 = (0..counted.run.program.ops.len()).map(|op| counted.transfers.descriptors(OpId(op))).sum();
    let bursts: u64 = (0..counted.run.program.ops.len()).map(|op| counted.transfers.bursts(OpId(op))).sum();
    counted.assert(&[("dma_descriptor", all), ("dma_burst", bursts)]);
    assert!(bursts > all);
}

#[test]
fn the_compute_bound_rounds_up() {
    // 31500 products on 64 elements: 492.2 cycles, and half of 493 on two units.
    for (count, cycles) in [(1, 493), (2, 247)] {
        let run = run(fixture::parts_with_units(count, Sums::Together), &PER_TOKEN_PER_CHANNEL, Split::None);
        assert_eq!(bounds::compute_cycles(&run.program, &run.npu), cycles);
        let bounds = bounds::bounds(&run.program, &run.npu, &run.statistics);
        assert_eq!(bounds.compute_cycles, cycles);
        // x, weights and their scales and the bias in; results out, in FP32, over 8 bytes a cycle.
        let bytes = 4 * 21 * 50 + 50 * 30 + 4 * 30 + 4 * 30 + 4 * 21 * 30;
        assert_eq!(bounds.compulsory_bandwidth_cycles, u64::div_ceil(bytes, 8));
    }
}

/// When each transfer of a queue was under way.
#[derive(Default)]
struct UnderWay(Vec<(Queue, Cycles, Cycles)>);

impl Observer for UnderWay {
    fn command(&mut self, record: &CommandRecord<'_>) {
        if matches!(record.command.work, Work::Transfer(_) | Work::Sums(_)) {
            self.0.push((record.queue, record.issued, record.completed));
        }
    }
}

#[test]
fn no_more_transfers_of_a_queue_are_under_way_than_may_be_and_as_many_where_latency_rules() {
    for outstanding in 1..=5 {
        let mut parts = fixture::parts();
        parts.dma.outstanding = outstanding;
        // A memory that is far away and otherwise unlimited.
        dram_of(&mut parts).latency = Cycles(1000);
        dram_of(&mut parts).bytes_per_cycle = Rate::whole(1 << 20).unwrap();
        partitions_of(&mut parts).weights = Bytes(16 << 10);
        let run = run(parts, &PER_TOKEN_PER_CHANNEL, Split::None);
        let mut seen = UnderWay::default();
        timing::run(&run.program, &run.schedule, &run.npu, &mut seen).unwrap();
        let mut most = 0;
        for (queue, issued, _) in &seen.0 {
            let is_under_way =
                |(other, from, to): &&(Queue, Cycles, Cycles)| other == queue && from <= issued && issued < to;
            let under_way = seen.0.iter().filter(is_under_way).count();
            assert!(under_way <= outstanding as usize, "{queue:?} at {issued}: {under_way} of {outstanding}");
            most = most.max(under_way);
        }
        // Eight tiles of weights wait for nothing but their turn.
        assert_eq!(most, outstanding as usize);
    }
}

/// When the tiles of products ended, and when those of vector chains did, in order.
#[derive(Default)]
struct Ends {
    products: Vec<(Cycles, Cycles)>,
    chains: Vec<(Cycles, Cycles)>,
}

impl Observer for Ends {
    fn command(&mut self, record: &CommandRecord<'_>) {
        let times = (record.issued, record.completed);
        match record.command.work {
            Work::Matrix(_) => self.products.push(times),
            Work::Vector(tile) if tile.tile.k.start == 0 && !self.products.is_empty() => self.chains.push(times),
            Work::Vector(_) | Work::Transfer(_) | Work::Sums(_) => {}
        }
    }
}

#[test]
fn a_vector_chain_does_not_end_before_the_input_that_streams_into_it() {
    let results = ResultPath {
        elements_per_cycle: Rate::whole(1).unwrap(),
        row_pause: Cycles(0),
        depth: 16,
        latency: Cycles(0),
        credit_return: Cycles(0),
    };
    let sequencing = Sequencing {
        start: StartRule::FirstTile,
        first_block: Cycles(0),
        stripe: StripeLimits { lower: 8, upper: 16 },
        shortest_block: Cycles(8),
        read_ahead: Cycles(0),
        results,
    };
    let weights = BlockWeights::HeldDoubleBuffered;
    let array = DotProductArray { m: 1, n: 8, k: 8, pipeline: Cycles(0), weights, sequencing: Some(sequencing) };
    let mut parts = fixture::parts();
    parts.matrix_units[0].array = Array::DotProduct(array);
    // Sums leave one a cycle; the chain takes 64 a cycle.
    parts.vector_units[0].rates = [Rate::whole(64); VectorFunction::ALL.len()];
    let (workload, bindings) = chain(&[SHAPE], 7);
    let run = run_workload(parts, (workload, bindings), &PER_TOKEN_PER_CHANNEL);
    let mut seen = Ends::default();
    timing::run(&run.program, &run.schedule, &run.npu, &mut seen).unwrap();
    let latency = run.npu.vector_units()[0].latency;
    // Each tile of the product is whole along k, and its chain follows it.
    let chains = &seen.chains[seen.chains.len() - seen.products.len()..];
    for ((issued, complete), (chain_issued, chain_complete)) in seen.products.iter().zip(chains) {
        assert!(issued < chain_issued && chain_issued < complete, "the chain begins while results stream");
        assert!(*chain_complete >= *complete + latency, "chain until {chain_complete}, its input until {complete}");
    }
    assert!(!seen.products.is_empty());
}
