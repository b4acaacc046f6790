//! Energy and area: what was counted times what it costs, and nothing else.

use std::collections::BTreeMap;

use npusim::config::defaults::Defaults;
use npusim::config::document::Document;
use npusim::config::source::Place;
use npusim::config::{hardware, presets, scheme, workload};
use npusim::energy::{self, Observed};
use npusim::hardware::actions::Component;
use npusim::hardware::band::Band;
use npusim::hardware::memory::MemoryKind;
use npusim::hardware::npu::Npu;
use npusim::report::data::{Configuration, Report};
use npusim::shape::GemmShape;
use npusim::simulation::{Setup, simulate};
use npusim::timing::observer::Unobserved;
use npusim::timing::statistics::OpStatistics;
use npusim::units::Cycles;

use crate::{anchors, fixture};

fn npu(name: &str, overrides: &[(&str, &str)]) -> Npu {
    let mut document = presets::open_hardware(name).unwrap();
    for (path, value) in overrides {
        document.apply(path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
    }
    hardware::resolve(&document, &mut Defaults::default()).unwrap()
}

/// A product of 64 x 128 x 64 under W8A8, without values.
fn report(npu: &Npu) -> Report {
    let text = "name: product\nactivation_format: fp32\n\
                tensors: [{ name: x, shape: [64, 128] }, { name: w, shape: [128, 64] }]\n\
                layers: [{ name: product, gemm: { input: x, weight: w } }]\n";
    let document = Document::from_bytes("product.yaml", text.as_bytes(), "").unwrap();
    let (workload, _) = workload::resolve(&document).unwrap();
    let scheme = scheme::resolve(&presets::open_scheme("w8a8_per_tensor").unwrap()).unwrap();
    let setup = Setup {
        npu,
        workload: &workload,
        scheme: scheme.as_ref(),
        calibration: None,
        bindings: None,
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    simulate(setup, &mut Unobserved).unwrap().report
}

#[test]
fn every_sum_is_counts_times_the_table_to_the_last_bit() {
    let npu = npu("edge-int8", &[]);
    let report = report(&npu);
    let mut by_component: BTreeMap<&str, Band> = BTreeMap::new();
    for action in &report.energy.actions {
        let (_, record) = npu.energy().records().find(|(key, _)| *key == action.action).unwrap();
        let Band { low, typical, high } = record.energy_pj;
        let times = action.times as f64;
        let cost = Band { low: times * low, typical: times * typical, high: times * high };
        assert_eq!(action.energy_pj, cost, "{}", action.action);
        let sum = by_component.entry(&action.component).or_default();
        *sum = *sum + cost;
    }
    let expected: BTreeMap<String, Band> =
        by_component.into_iter().map(|(component, band)| (component.to_owned(), band)).collect();
    assert_eq!(report.energy.by_component_pj, expected);
    for (component, band) in &expected {
        assert_eq!(report.totals.energy_pj[component], band.typical);
    }
    // Operations are costed one by one; their sum is that of the run but for the order of the additions.
    let paths: f64 = report.energy.by_path.iter().map(|path| path.total_pj.typical).sum();
    let shares: f64 = report.energy.share_by_mark.values().sum();
    assert!((paths / report.energy.total_pj.typical - 1.0).abs() < 1e-12 && (shares - 1.0).abs() < 1e-12);
    let low_and_high = report.energy.total_pj;
    assert!(low_and_high.low < low_and_high.typical && low_and_high.typical < low_and_high.high);
}

#[test]
fn zero_work_leaves_leakage_and_background_alone() {
    let scheme = scheme::resolve(&presets::open_scheme("w8a8_per_tensor").unwrap()).unwrap();
    let mut run = anchors::run(fixture::parts(), &[GemmShape::new(16, 16, 16)], scheme.as_ref());
    // A machine that is on for 1000 cycles, and whose arrays are not even clocked.
    run.schedule.nests.clear();
    run.statistics.queues.clear();
    run.statistics.makespan = Cycles::ZERO;
    for op in &mut run.statistics.ops {
        *op = OpStatistics::default();
    }
    run.statistics.ops[0].end = Cycles(1000);
    let observed = Observed::default();
    let cost = energy::cost(&run.program, &run.schedule, &run.npu, &run.statistics, &observed).unwrap();
    assert!(cost.counts.iter().all(|(action, _)| action.is_by_time()), "{:?}", cost.counts);
    let expected: u64 = energy::actions_of_time(&run.npu).iter().map(|(_, parts)| 1000 * parts).sum();
    assert_eq!(cost.total.total_pj(), expected as f64);
}

#[test]
fn twice_the_voltage_is_four_times_the_dynamic_energy_and_twice_the_leakage_on_the_chip() {
    let [nominal, doubled] = ["0.8", "1.6"].map(|voltage| report(&npu("edge-int8", &[("voltage", voltage)])));
    assert_eq!(nominal.totals.cycles, doubled.totals.cycles);
    let plain = report(&npu("edge-int8", &[]));
    assert_eq!(plain.totals.energy_pj, nominal.totals.energy_pj);
    for (before, after) in nominal.energy.actions.iter().zip(&doubled.energy.actions) {
        let factor = match before.action.as_str() {
            "read_dram" | "write_dram" | "background_dram" => 1.0,
            leakage if leakage.starts_with("leakage_") => 2.0,
            _ => 4.0,
        };
        assert_eq!(after.energy_pj.typical, factor * before.energy_pj.typical, "{}", before.action);
    }
}

#[test]
fn changing_one_figure_changes_exactly_what_uses_it() {
    let before = report(&npu("edge-int8", &[]));
    let after = report(&npu("edge-int8", &[("energy.actions.vector_quantize.energy_pj", "9.2")]));
    for (before, after) in before.energy.actions.iter().zip(&after.energy.actions) {
        let is_changed = before.energy_pj != after.energy_pj;
        assert_eq!(is_changed, before.action == "vector_quantize", "{}", before.action);
    }
    for (component, energy) in &before.totals.energy_pj {
        let is_changed = after.totals.energy_pj[component] != *energy;
        assert_eq!(is_changed, ["vector_units", "total"].contains(&component.as_str()), "{component}");
    }
    assert_eq!(before.totals.cycles, after.totals.cycles);
    assert_eq!(before.energy.area_mm2, after.energy.area_mm2);
}

#[test]
fn every_shipped_figure_has_a_source_that_begins_with_its_mark_and_ends_in_order() {
    for preset in presets::HARDWARE {
        let npu = npu(preset.name, &[]);
        for (key, record) in npu.energy().records() {
            let (mark, source) = record.source.split_once(": ").unwrap();
            assert_eq!(mark, record.mark.name(), "{} {key}", preset.name);
            assert!(source.len() > 10 && record.energy_pj.is_ordered(), "{} {key}: {source}", preset.name);
        }
        let areas = npu.energy().areas();
        assert!(areas.components.values().all(|record| record.area_mm2.is_ordered() && !record.source.is_empty()));
    }
}

/// Horowitz (ISSCC 2014): INT8 multiply 0.2 pJ and INT32 add 0.1 pJ, FP32 add 0.9 pJ; CACTI 7: 1 MiB of 45 nm lstp cells, 512
/// bits, eight banks; AccelForge: 0.084 pJ at 7 nm, (5/7)^0.684 = 0.794 of it at 5; Keller et al.: 38.7 TOPS/W at 0.67 V.
#[test]
fn the_anchors_of_45_and_5_nm_are_what_their_sources_say_and_the_machine_of_22_nm_runs_on_each() {
    let typical = |table: &str, action: &str| {
        let npu = npu("edge-int8", &[("energy", table)]);
        let (_, record) = npu.energy().records().find(|(key, _)| *key == action).unwrap();
        record.energy_pj.typical
    };
    let is_near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-3;
    assert_eq!([typical("edge-45nm", "mac_int8_int8"), typical("edge-45nm", "vector_add")], [0.3, 0.9]);
    let cacti = include_str!("../hw-configs/energy/cacti7_sram.csv");
    let row = cacti.lines().find(|row| row.starts_with("1048576,512,45,itrs-lstp,8,350,1,0,0,")).unwrap();
    let read_pj: f64 = row.split(',').nth(11).unwrap().parse().unwrap();
    assert_eq!(typical("edge-45nm", "read_sram"), read_pj / 64.0);
    assert!(is_near(typical("edge-5nm", "mac_int8_int8"), 0.084 * 0.7944));
    let table = Document::open("hw-configs/energy/edge-5nm.yaml").unwrap();
    assert!(table.source().text().contains("38.7 TOPS/W"));
    assert!(is_near(typical("edge-5nm", "mac_int4_int4"), 2.0 / 38.7 * (0.75f64 / 0.67).powi(2)));
    let totals = ["edge-45nm", "edge-22nm", "edge-5nm"]
        .map(|table| report(&npu("edge-int8", &[("energy", table)])).energy.by_component_pj["matrix_units"].typical);
    assert!(totals.is_sorted_by(|larger, smaller| larger > smaller), "{totals:?}");
}

#[test]
fn the_cell_decides_the_leakage_and_a_memory_of_the_table_follows_its_capacity() {
    let leakage = |cell: &str| {
        let report = report(&npu("edge-int8", &[("energy.arrays.0.cell", cell)]));
        let of = report.energy.actions.iter().find(|action| action.action == "leakage_sram").unwrap();
        of.energy_pj.typical / of.times as f64
    };
    // Eight banks of 0.0665 mW at 1 GHz (CACTI 7), and of itrs-hp more than a hundred times that at 22 nm.
    assert!((leakage("itrs-lstp") - 8.0 * 0.0665).abs() < 1e-12);
    assert!(leakage("itrs-hp") > 100.0 * leakage("itrs-lstp"));
    let whole = "{ memory: sram, cell: itrs-lstp, node_nm: 22, width_bits: 512 }";
    let area = |capacity: &str| {
        let npu = npu("edge-int8", &[("energy.arrays.0", whole), ("memories.sram.sram.capacity", capacity)]);
        npu.energy().areas().components[&Component::Memory("sram".to_owned())].area_mm2.typical
    };
    // One bank of 1 MiB is a run of CACTI 7; 1.5 MiB lies between it and 2 MiB.
    assert!((area("1 MiB") - 1.114).abs() < 1e-12);
    assert!((1.114..1.9382).contains(&area("1536 KiB")));
}

/// A row of the table of CACTI runs: its cells by the column's name.
fn cacti(start: &str) -> impl Fn(&str) -> f64 {
    let table = include_str!("../hw-configs/energy/cacti7_sram.csv");
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let cells: Vec<&str> = table.lines().find(|row| row.starts_with(start)).unwrap().split(',').collect();
    move |column| cells[header.iter().position(|known| *known == column).unwrap()].parse().unwrap()
}

/// D1 of the first use: 4 MiB with 64 to 128 bytes a cycle cost what CACTI's run of 4 MiB in eight banks costs.
#[test]
fn sram_of_4_mib_costs_what_cacti_says_of_4_mib_and_not_of_1_mib() {
    let npu = npu("edge-int8", &[("memories.sram.sram.capacity", "4 MiB")]);
    let typical = |action: &str| npu.energy().records().find(|(key, _)| *key == action).unwrap().1.energy_pj.typical;
    let run = cacti("4194304,512,22,itrs-lstp,8,350,1,0,0,");
    assert_eq!(typical("read_sram"), run("read_pj") / 64.0);
    assert_eq!(typical("write_sram"), run("write_pj") / 64.0);
    // A milliwatt is a picojoule a nanosecond.
    assert!((typical("leakage_sram") / (8.0 * run("leak_mw")) - 1.0).abs() < 1e-12);
    let area = npu.energy().areas().components[&Component::Memory("sram".to_owned())].area_mm2.typical;
    assert_eq!(area, run("area_mm2"));
    // The other memory is as it was: two halves of 128 KiB make 256 KiB with 128 bytes a cycle.
    let half = cacti("131072,512,22,itrs-lstp,1,350,1,0,0,");
    assert_eq!(typical("read_accumulators"), half("read_pj") / 64.0);
    assert!((typical("leakage_accumulators") / (2.0 * half("leak_mw")) - 1.0).abs() < 1e-12);
    let area = npu.energy().areas().components[&Component::Memory("accumulators".to_owned())].area_mm2.typical;
    assert_eq!(area, 2.0 * half("area_mm2"));
}

/// 64 times the capacity is eight times the length of the wires and 64 times the cells. The smallest memories, of 512 bytes, cost what
/// the smallest run of 8 KiB costs, so that an access to 64 times as much is only twice as dear.
#[test]
fn no_memory_of_a_shipped_machine_is_free() {
    for preset in presets::HARDWARE {
        let shipped = npu(preset.name, &[]);
        for memory in shipped.memories() {
            let MemoryKind::Sram(sram) = &memory.kind else { continue };
            let path = format!("memories.{}.sram.capacity", memory.name);
            let bytes = format!("{} B", 64 * sram.capacity.get());
            let grown = npu(preset.name, &[(path.as_str(), bytes.as_str())]);
            let what = format!("{} {}", preset.name, memory.name);
            for (verb, least, most) in [("read", 1.5, 16.0), ("write", 1.5, 16.0), ("leakage", 40.0, 64.1)] {
                let key = format!("{verb}_{}", memory.name);
                let typical =
                    |npu: &Npu| npu.energy().records().find(|(known, _)| *known == key).map(|it| it.1.energy_pj);
                let (Some(before), Some(after)) = (typical(&shipped), typical(&grown)) else {
                    assert!(shipped.energy().reason_left_out(&key).is_some(), "{what}: {key}");
                    continue;
                };
                let ratio = after.typical / before.typical;
                assert!(ratio > least && ratio <= most, "{what}: {key} times {ratio}");
            }
            let component = Component::Memory(memory.name.clone());
            let area = |npu: &Npu| npu.energy().areas().components.get(&component).map(|it| it.area_mm2.typical);
            let ratio = area(&grown).zip(area(&shipped)).map(|(after, before)| after / before);
            assert!(ratio.is_none_or(|ratio| (25.0..100.0).contains(&ratio)), "{what}: area times {ratio:?}");
            // The others are as they were.
            for (key, record) in shipped.energy().records().filter(|(key, _)| !key.ends_with(memory.name.as_str())) {
                let (_, after) = grown.energy().records().find(|(known, _)| known == &key).unwrap();
                assert_eq!(record.energy_pj, after.energy_pj, "{what}: {key}");
            }
        }
    }
}

const SRAM_ALONE: &str = "[{ memory: sram, cell: itrs-lstp, node_nm: 22 }]";
const READS: &str = "{ name: read_accumulators, energy_pj: 1, per_bytes: 1, source: why, mark: assumed }";
const WRITES: &str = "{ name: write_accumulators, energy_pj: 1, per_bytes: 1, source: why, mark: assumed }";
const LEFT_OUT: &str =
    "[{ name: dma_burst, reason: r }, { name: index_fetch, reason: r }, { name: background_dram, reason: r }]";

#[test]
fn a_figure_for_a_capacity_follows_the_square_root_of_it_and_leakage_the_capacity() {
    let typical = |name: &str, set: &[(&str, &str)], action: &str| {
        let npu = npu(name, set);
        let (_, record) = npu.energy().records().find(|(key, _)| *key == action).unwrap();
        record.energy_pj.typical
    };
    // AccelForge: 0.249 pJ per bit of VMEM as it is, 16 MiB; four times that is twice as far across.
    assert_eq!(typical("tpu-v4i-like", &[], "read_vmem"), 1.992);
    let larger = [("memories.vmem.sram.capacity", "64 MiB")];
    assert_eq!(typical("tpu-v4i-like", &larger, "read_vmem"), 2.0 * 1.992);
    // 0.0092 mW as that of a whole memory of 64 KiB, at 1 GHz; edge-int8 has four times as much.
    let leakage = "{ name: leakage_accumulators, power_mw: 0.0092, for_capacity: 64 KiB, source: why, mark: assumed }";
    let set = [
        ("energy.arrays", SRAM_ALONE),
        ("energy.actions.dma_burst", leakage),
        ("energy.actions.index_fetch", READS),
        ("energy.actions.background_dram", WRITES),
        ("energy.leaves_out", LEFT_OUT),
    ];
    assert!((typical("edge-int8", &set, "leakage_accumulators") / (4.0 * 0.0092) - 1.0).abs() < 1e-12);
    let refused = |path: &str, value: &str| {
        let mut document = presets::open_hardware("tpu-v4i-like").unwrap();
        document.apply(path, value, &Place::flag("--set")).unwrap();
        hardware::resolve(&document, &mut Defaults::default()).unwrap_err().to_string()
    };
    assert!(refused("energy.actions.read_hbm.for_capacity", "1 MiB").contains("off the chip"));
    assert!(refused("energy.actions.idle_mac.for_capacity", "1 MiB").contains("no action of a memory"));
    assert!(refused("energy.actions.zero_mac.for_capacity", "1 MiB").contains("follows what it is a multiple of"));
}

#[test]
fn a_table_that_fixes_the_size_of_a_memory_says_so_and_one_that_does_not_is_silent() {
    let notes = |name: &str, set: &[(&str, &str)]| -> Vec<String> {
        let mut document = presets::open_hardware(name).unwrap();
        for (path, value) in set {
            document.apply(path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
        }
        let (_, notes) = hardware::resolve_with_notes(&document, &mut Defaults::default()).unwrap();
        notes.iter().map(ToString::to_string).collect()
    };
    for preset in presets::HARDWARE {
        assert_eq!(notes(preset.name, &[]), Vec::<String>::new(), "{}", preset.name);
    }
    let said = notes("edge-int8", &[("energy.arrays.0.size", "4 MiB")]);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("fixes the size of sram at 4194304 B although it has 1048576 B"), "{said:?}");
    assert_eq!(notes("edge-int8", &[("energy.arrays.0.size", "1 MiB")]), Vec::<String>::new());
    // Two arrays of half the size are the memory's size.
    let halves = [("energy.arrays.0.size", "512 KiB"), ("energy.arrays.0.copies", "2"), ("energy.arrays.0.banks", "1")];
    assert_eq!(notes("edge-int8", &halves), Vec::<String>::new());
    // Figures that are for no capacity, of a memory whose capacity somebody sets.
    let figures = "{ name: read_vmem, energy_pj: 2, per_bytes: 1, source: why, mark: assumed }";
    let fixed = [("energy.actions.read_vmem", figures)];
    assert_eq!(notes("tpu-v4i-like", &fixed), Vec::<String>::new());
    let said = notes("tpu-v4i-like", &[fixed[0], ("memories.vmem.sram.capacity", "32 MiB")]);
    assert!(said.len() == 1 && said[0].contains("do not follow this capacity: read_vmem"), "{said:?}");
}

#[test]
fn products_with_a_zero_operand_are_those_of_the_values() {
    let scheme = scheme::resolve(&presets::open_scheme("w8a8_per_tensor").unwrap()).unwrap();
    let run = anchors::run(fixture::parts(), &[GemmShape::new(9, 16, 7)], scheme.as_ref());
    let granularity = npusim::execute::Granularity::Tiles;
    let execution = npusim::execute::run(&run.program, &run.schedule, &run.bindings, granularity).unwrap();
    // Counted product by product.
    let (op, gemm) = run
        .program
        .ops
        .iter()
        .enumerate()
        .find_map(|(index, op)| match &op.kind {
            npusim::program::op::OpKind::Gemm(gemm) => Some((index, gemm)),
            _ => None,
        })
        .unwrap();
    let [left, right] = [gemm.left.codes, gemm.right.codes].map(|tensor| execution.tensor(tensor).unwrap());
    let is_zero = |m, k, n| left.value(m, k) == 0.0 || right.value(k, n) == 0.0;
    let all = (0..9).flat_map(|m| (0..16).flat_map(move |k| (0..7).map(move |n| (m, k, n))));
    let expected = all.filter(|(m, k, n)| is_zero(*m, *k, *n)).count() as u64;
    assert_eq!(execution.activity().zero_macs()[op], expected);
}
