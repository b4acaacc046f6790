//! Rules of the event loop that no total shows: what may be under way at once, and what may not end before what.

use std::collections::BTreeMap;

use npusim::config::defaults::Defaults;
use npusim::config::{hardware, presets, workload};
use npusim::report::bounds;
use npusim::schedule::commands::{Queue, Work};
use npusim::schedule::counter::NestId;
use npusim::schedule::nest::DmaQueue;
use npusim::schedule::schedule;
use npusim::scheme::{self, w8a8};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::{CommandRecord, Observer};
use npusim::units::Cycles;
use npusim::workload::mapping::{FixedTiling, LoopOrder, Mapping};

use crate::anchors::{self, run_workload};
use crate::fixture::{self, Sums, dram_of};

/// When commands left their queues and ended.
#[derive(Default)]
struct Times {
    transfers: BTreeMap<Queue, Vec<[Cycles; 2]>>,
    products: BTreeMap<NestId, Vec<[Cycles; 2]>>,
    chains: BTreeMap<NestId, Vec<[Cycles; 2]>>,
}

impl Observer for Times {
    fn command(&mut self, record: &CommandRecord<'_>) {
        let times = match record.command.work {
            Work::Transfer(_) | Work::Sums(_) => self.transfers.entry(record.queue).or_default(),
            Work::Matrix(_) => self.products.entry(record.command.nest).or_default(),
            Work::Vector(_) => self.chains.entry(record.command.nest).or_default(),
        };
        times.push([record.issued, record.completed]);
    }
}

#[test]
fn as_many_transfers_of_a_queue_are_under_way_as_may_be_and_never_one_more() {
    for outstanding in [1, 2, 3, 5] {
        let mut parts = fixture::parts();
        parts.dma.outstanding = outstanding;
        // A tile of 64 bytes takes 8 cycles on the way and 500 of latency, so that the limit is always reached.
        dram_of(&mut parts).latency = Cycles(500);
        let tiling = FixedTiling {
            layer: "gemm0".to_owned(),
            path: "body".to_owned(),
            m: 8,
            k: 8,
            n: 8,
            order: Some(LoopOrder::MNK),
        };
        let mapping = Mapping { tilings: vec![tiling], ..Mapping::default() };
        let (workload, bindings) = fixture::chain(&[GemmShape::new(16, 64, 24)], 7);
        let run = run_workload(parts, (workload.with_mapping(mapping), bindings), &w8a8::PER_TENSOR);
        let mut times = Times::default();
        timing::run(&run.program, &run.schedule, &run.npu, &mut times).unwrap();
        for (queue, transfers) in &times.transfers {
            let under_way = |at: Cycles| transfers.iter().filter(|[issued, end]| *issued <= at && at < *end).count();
            let most = transfers.iter().map(|[issued, _]| under_way(*issued)).max().unwrap();
            assert!(most <= outstanding as usize, "{queue:?}: {most} of {outstanding}");
            if matches!(queue, Queue::Dma(stream) if stream.queue == DmaQueue::Weights) {
                assert_eq!(most, outstanding as usize, "{queue:?}");
            }
        }
    }
}

#[test]
fn a_chain_whose_input_streams_begins_with_its_first_result_and_ends_no_earlier_than_its_last() {
    let document = presets::open_hardware("nvdla-small").unwrap();
    let npu = hardware::resolve(&document, &mut Defaults::default()).unwrap();
    let (workload, _) = workload::resolve(&presets::open_workload("minilm-layer").unwrap()).unwrap();
    let program = scheme::lower(&workload, &w8a8::PER_TOKEN_PER_CHANNEL, None).unwrap();
    let schedule = schedule(&program, &npu, workload.mapping()).unwrap();
    let mut times = Times::default();
    timing::run(&program, &schedule, &npu, &mut times).unwrap();
    let mut streamed = 0;
    for (nest, products) in &times.products {
        let Some(chains) = times.chains.get(nest) else { continue };
        assert!(schedule.nests[nest.0].matrix.is_some_and(|matrix| matrix.streams_results));
        // All of k in one step: each tile of the product has one of the chain.
        assert_eq!(products.len(), chains.len());
        for ([_, produced], [begun, ended]) in products.iter().zip(chains) {
            assert!(ended >= produced, "{nest:?}: {ended} before {produced}");
            streamed += u64::from(begun < produced);
        }
    }
    assert!(streamed > 0, "no chain began while its input was on its way");
}

#[test]
fn a_part_of_a_cycle_of_arithmetic_is_a_cycle_of_the_bound() {
    // 1 x 13 x 5 are 65 products for 64 elements; 1 x 43 x 3 are 129: three cycles of one unit, or two of two.
    let compute = |units, shape| {
        let run = anchors::run(fixture::parts_with_units(units, Sums::Together), &[shape], &w8a8::PER_TENSOR);
        bounds::compute_cycles(&run.program, &run.npu)
    };
    assert_eq!(compute(1, GemmShape::new(1, 13, 5)), 2);
    assert_eq!(compute(1, GemmShape::new(1, 43, 3)), 3);
    assert_eq!(compute(2, GemmShape::new(1, 43, 3)), 2);
    assert_eq!(compute(1, GemmShape::new(1, 64, 1)), 1);
}
