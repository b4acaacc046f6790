//! The shipped hardware and workload files, and a collection of wrong ones with the exact place of each mistake.

use std::num::NonZeroU32;

use npusim::config::defaults::Defaults;
use npusim::config::diagnostics::ConfigError;
use npusim::config::document::Document;
use npusim::config::node::{Node, Value};
use npusim::config::source::Place;
use npusim::config::{hardware, presets, scheme, tensors, workload};
use npusim::hardware::matrix_unit::{Accumulation, FloatAccumulation};
use npusim::hardware::memory::MemoryKind;
use npusim::hardware::npu::Npu;
use npusim::numerics::accumulate::{
    AccumulationOrder, Destination, IntegerAccumulator, IntegerOverflow, SaturationPoint, Truncation,
};
use npusim::shape::GemmShape;
use npusim::units::Bytes;
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::layer::LayerOperation;

fn npu(document: &Document) -> Result<Npu, ConfigError> {
    hardware::resolve(document, &mut Defaults::default())
}

fn workload_with_values(document: &Document) -> Result<(Workload, Bindings), ConfigError> {
    let (workload, places) = workload::resolve(document)?;
    let bindings = tensors::load(&workload, &places, tensors::Generated::Wanted)?;
    Ok((workload, bindings))
}

/// Names of the YAML files of a folder of the repository, without extension, sorted.
fn yaml_files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_str().unwrap().strip_suffix(".yaml").map(str::to_owned)
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names
}

#[test]
fn every_shipped_file_is_embedded_and_says_the_same_from_both_places() {
    let names = |presets: &[presets::Preset]| presets.iter().map(|preset| preset.name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(presets::HARDWARE), yaml_files("hw-configs"));
    assert_eq!(names(presets::ENERGY_TABLES), yaml_files("hw-configs/energy"));
    assert_eq!(names(presets::WORKLOADS), yaml_files("workloads"));
    for name in names(presets::HARDWARE) {
        let from_file = npu(&presets::open_hardware(&format!("hw-configs/{name}.yaml")).unwrap()).unwrap();
        let embedded = npu(&presets::open_hardware(&name).unwrap()).unwrap();
        assert_eq!(format!("{from_file:?}"), format!("{embedded:?}"));
    }
    for name in names(presets::WORKLOADS) {
        let from_file = workload::resolve(&presets::open_workload(&format!("workloads/{name}.yaml")).unwrap()).unwrap();
        let embedded = workload::resolve(&presets::open_workload(&name).unwrap()).unwrap();
        assert_eq!(from_file.0.layers(), embedded.0.layers());
    }
}

#[test]
fn the_edge_npu_has_the_figures_of_its_header_and_its_partitions_fill_the_memory() {
    let npu = npu(&presets::open_hardware("edge-int8").unwrap()).unwrap();
    assert_eq!(npu.clock_hz(), 1_000_000_000);
    assert_eq!(npu.matrix_units()[0].array.processing_elements(), 1024);
    let MemoryKind::Sram(sram) = npu.memory(npu.dma().to).kind else { panic!("the DMA engine fills an SRAM") };
    assert_eq!(sram.partitions.unwrap().total(), sram.capacity);
    // One activation of MiniLM, 192 x 384 x 4 bytes, and its INT8 copy stay resident; the FP32 output of fc1 cannot.
    assert!(Bytes(192 * 384 * (4 + 1)) <= sram.partitions.unwrap().resident);
    assert!(Bytes(192 * 1536 * 4) > sram.capacity);
    // 128.01 pJ per 64-byte access; 0.3 pJ x 0.613.
    let figure = |key: &str| npu.energy().records().find(|(known, _)| *known == key).unwrap().1.energy_pj.typical;
    assert!((figure("read_sram") - 2.000_156_25).abs() < 1e-12);
    assert!((figure("mac_int8_int8") - 0.1839).abs() < 1e-12);
    assert!(figure("idle_mac") < figure("mac_int8_int8"));
}

#[test]
fn npus_after_published_ones_have_their_peak_rates_memories_and_full_partitions() {
    // Operations a second (two a multiplier, at one product of a multiplier a cycle), on-chip bytes, off-chip bytes a second. Gemmini: DAC 2021; TPUv4i: 138 TOPS,
    // 614 GB/s (ISCA 2021); Ethos-U65: 1.0 TOPS, 3.75 GB/s (Arm/vela.ini of ethos-u-vela 5.2.0).
    // DaVinci: 16 TOPS a core, L1, unified buffer and L0C, 1.2 TB/s over 32 cores (Hot Chips 31).
    for (name, tera_operations, on_chip, giga_bytes) in [
        ("cube-like", 8.192, (1024 + 256 + 256) << 10, 37.5),
        ("gemmini-16x16", 0.512, (128 + 128) << 10, 16.0),
        ("tpu-v4i-like", 137.6, (128 + 16 + 4) << 20, 614.0),
        ("ethos-u65-512", 1.024, (384 + 96) << 10, 3.75),
    ] {
        let npu = npu(&presets::open_hardware(name).unwrap()).unwrap();
        let multipliers: u64 = npu.matrix_units().iter().map(|unit| unit.array.processing_elements()).sum();
        let clock = npu.clock_hz() as f64;
        assert!((multipliers as f64 * 2.0 * clock / 1e12 - tera_operations).abs() < 0.05, "{name}");
        let mut capacity = 0;
        for memory in npu.memories() {
            if let MemoryKind::Sram(sram) = &memory.kind {
                capacity += sram.capacity.get();
                assert!(sram.partitions.is_none_or(|parts| parts.total() == sram.capacity), "{name}");
            }
        }
        assert_eq!(capacity, on_chip, "{name}");
        let rate = 1e6 / npu.dram().bytes_per_cycle.cycles_for(1_000_000).get() as f64;
        assert!((rate * clock / 1e9 / giga_bytes - 1.0).abs() < 1e-3, "{name}");
    }
}

#[test]
fn the_minilm_layer_has_its_products_and_all_its_values() {
    let document = presets::open_workload("workloads/minilm-layer.yaml").unwrap();
    let (workload, bindings) = workload_with_values(&document).unwrap();
    let shapes: Vec<(&str, GemmShape)> = workload
        .layers()
        .iter()
        .filter_map(|layer| match &layer.operation {
            LayerOperation::Gemm(gemm) => Some((layer.name.as_str(), gemm.shape)),
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => None,
        })
        .collect();
    // 384 channels, three of them side by side in qkv, 1536 in the MLP: the model card's configuration.
    let expected = [
        ("qkv", GemmShape::new(192, 384, 1152)),
        ("attn_out", GemmShape::new(192, 384, 384)),
        ("fc1", GemmShape::new(192, 384, 1536)),
        ("fc2", GemmShape::new(192, 1536, 384)),
    ];
    assert_eq!(shapes, expected);
    assert_eq!(workload.macs(), 192 * 384 * (1152 + 384 + 1536 + 1536));
    assert!(bindings.is_complete(workload.tensors().len()));
    let values = |name: &str| {
        let index = workload.tensors().iter().position(|tensor| tensor.name == name).unwrap();
        bindings.get(npusim::workload::tensor_description::SourceTensorId(index)).unwrap()
    };
    // The model itself is the witness: the recorded input of fc2 is GELU(fc1.x fc1.w + fc1.b), here in float64.
    let (x, w, b, recorded) = (values("fc1.x"), values("fc1.w"), values("fc1.b"), values("fc2.x"));
    for (row, column) in [(0, 0), (17, 1535), (100, 700), (191, 3)] {
        let sum: f64 = (0..384).map(|k| x.value(row, k) * w.value(k, column)).sum::<f64>() + b.value(0, column);
        let gelu = f64::from(npusim::numerics::functions::gelu(sum as f32));
        assert!((gelu - recorded.value(row, column)).abs() < 1e-5, "{row}, {column}");
    }
}

/// Calls `visit` with the dotted path of every scalar below `node`.
fn scalars(node: &Node, path: &str, visit: &mut impl FnMut(&str, &Node)) {
    let below = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match &node.value {
        Value::Scalar(_) => visit(path, node),
        Value::Sequence(items) => {
            items.iter().enumerate().for_each(|(index, item)| scalars(item, &below(&index.to_string()), visit));
        }
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| scalars(value, &below(&key.text), visit)),
    }
}

/// Sets every scalar to itself, one by one, and hands each outcome to `check`.
fn override_each(document: &Document, mut check: impl FnMut(&str, &Document)) -> usize {
    let mut count = 0;
    scalars(document.root(), "", &mut |path, node| {
        let scalar = node.as_scalar().unwrap();
        let value = if scalar.quoted { serde_json::to_string(&scalar.text).unwrap() } else { scalar.text.to_string() };
        let mut overridden = document.clone();
        overridden.apply(path, &value, &Place::flag(format!("--set {path}={value}"))).unwrap();
        check(path, &overridden);
        count += 1;
    });
    count
}

#[test]
fn every_scalar_of_a_shipped_file_can_be_overridden_by_its_path() {
    for preset in presets::HARDWARE {
        let document = presets::open_hardware(preset.name).unwrap();
        let before = format!("{:?}", npu(&document).unwrap());
        let count = override_each(&document, |path, overridden| {
            assert_eq!(format!("{:?}", npu(overridden).unwrap()), before, "{path}");
        });
        assert!(count > 80, "{count}");
    }
    for preset in presets::WORKLOADS {
        let document = presets::open_workload(preset.name).unwrap();
        let before = workload::resolve(&document).unwrap().0;
        override_each(&document, |path, overridden| {
            let after = workload::resolve(overridden).unwrap().0;
            assert_eq!((after.tensors(), after.layers()), (before.tensors(), before.layers()), "{path}");
        });
    }
}

/// Whatever a user writes in the place of any value, the answer is a model or an error that cites something.
#[test]
fn no_value_in_any_place_makes_a_resolver_panic() {
    const VALUES: [&str; 14] = [
        "~",
        "0",
        "-1",
        "1",
        "4194304",
        "18446744073709551615",
        "1e999",
        ".nan",
        "1/3",
        "1 TiB",
        "x",
        "[]",
        "[7, 7]",
        "{ name: x }",
    ];
    let check = |document: &Document, resolve: &dyn Fn(&Document) -> Result<(), ConfigError>| {
        let mut refused = 0;
        scalars(document.root(), "", &mut |path, _| {
            for value in VALUES {
                let mut overridden = document.clone();
                overridden.apply(path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
                if let Err(error) = resolve(&overridden) {
                    refused += 1;
                    assert!(!error.diagnostics().is_empty(), "{path}={value}: {error}");
                }
            }
        });
        assert!(refused > 0);
    };
    check(&presets::open_hardware("edge-int8").unwrap(), &|document| npu(document).map(drop));
    check(&presets::open_workload("minilm-layer").unwrap(), &|document| workload::resolve(document).map(drop));
}

#[test]
fn an_override_changes_the_model_by_index_and_by_name_down_to_a_figure_of_the_energy_table() {
    let mut document = presets::open_hardware("edge-int8").unwrap();
    for (path, value) in [
        ("matrix_units.0.systolic_array.rows", "16"),
        ("memories.sram.sram.partitions.resident", "64 KiB"),
        ("energy.actions.read_dram.energy_pj", "100"),
    ] {
        document.apply(path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
    }
    let npu = npu(&document).unwrap();
    assert_eq!(npu.matrix_units()[0].array.processing_elements(), 16 * 32);
    assert_eq!(npu.sram(npu.dma().to).partitions.unwrap().resident, Bytes(64 * 1024));
    assert!(npu.energy().records().any(|(key, record)| key == "read_dram" && record.energy_pj.typical == 100.0));
}

#[test]
fn accumulators_are_what_a_file_says_and_what_it_leaves_out_is_recorded() {
    let sums = |changes: &[(&str, &str)], pair: usize| {
        let mut document = presets::open_hardware("mx-npu").unwrap();
        for (key, value) in changes {
            let path = format!("matrix_units.0.formats.{pair}.{key}");
            document.apply(&path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
        }
        let mut defaults = Defaults::default();
        let npu = hardware::resolve(&document, &mut defaults).unwrap();
        let taken = defaults.taken().iter().filter(|taken| taken.path.contains(&format!("formats[{pair}]")));
        let taken: Vec<String> = taken.map(|taken| taken.value.clone()).collect();
        (npu.matrix_units()[0].formats[pair].accumulation, taken)
    };
    let integer = |bits, overflow| Accumulation::Integer(IntegerAccumulator::try_new(bits, overflow).unwrap());
    let count = |count| NonZeroU32::new(count).unwrap();
    // FP8, whose adders sum 16 products at twice the rate.
    let float = |order| Accumulation::Float(FloatAccumulation { order, destination: Destination::Fp32, dot_depth: 32 });
    let (int8, fp8) = (2, 6);
    let all = |wanted: &[&str]| wanted.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    assert_eq!(sums(&[], int8), (integer(32, IntegerOverflow::Wrap), all(&["32", "wrap"])));
    let saturate = |point| integer(24, IntegerOverflow::Saturate(point));
    for (overflow, point) in [
        ("saturate_each_step", SaturationPoint::Step),
        ("saturate_at_end", SaturationPoint::End),
        ("{ saturate_every: 32 }", SaturationPoint::Every(count(32))),
    ] {
        let changes = [("accumulator_bits", "24"), ("overflow", overflow)];
        assert_eq!(sums(&changes, int8), (saturate(point), Vec::new()), "{overflow}");
    }
    let hopper = Truncation::try_new(count(32), 13).unwrap().with_result_bits(14).unwrap();
    for (accumulation, order) in [
        ("block", AccumulationOrder::Block),
        ("sequential", AccumulationOrder::Sequential),
        ("exact", AccumulationOrder::Exact),
        ("{ fused: 8 }", AccumulationOrder::Fused(count(8))),
        ("{ truncated: { n: 32, bits: 13, group: 1, result_bits: 14 } }", AccumulationOrder::Truncated(hopper)),
    ] {
        assert_eq!(sums(&[("accumulation", accumulation)], fp8), (float(order), Vec::new()), "{accumulation}");
    }
}

#[test]
fn a_systolic_array_adds_floats_one_by_one_unless_its_file_says_otherwise() {
    let mut document = presets::open_hardware("edge-int8").unwrap();
    let formats = "[{ activation: fp16, weight: fp16, accumulator: fp32 }, { activation: int8, weight: int8, accumulator: fp32 }]";
    for (path, value) in [("matrix_units.0.formats", formats), ("energy", "mx-22nm")] {
        document.apply(path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
    }
    let npu = npu(&document).unwrap();
    let orders = npu.matrix_units()[0].formats.iter().map(|format| match format.accumulation {
        Accumulation::Float(accumulation) => (accumulation.order, accumulation.dot_depth),
        Accumulation::Integer(_) => panic!("both accumulate in FP32"),
    });
    // Integers into floats are block-scaled ones: the scale belongs to the sum of a block.
    let expected = [(AccumulationOrder::Sequential, 1), (AccumulationOrder::Block, 1)];
    assert_eq!(orders.collect::<Vec<_>>(), expected);
}

#[test]
fn a_flag_that_makes_parts_disagree_is_cited_although_its_value_alone_would_do() {
    for (path, value, words) in [
        // 256 + 256 + 128 + 1024 KiB in 1 MiB, and 1 MiB in 512 KiB.
        ("memories.sram.sram.partitions.resident", "1 MiB", "the partitions of `sram` take 1703936 bytes"),
        ("memories.sram.sram.capacity", "512 KiB", "the partitions of `sram` take 1048576 bytes, but it holds 524288"),
        ("matrix_units.main.operand_memory", "accumulators", "`main` needs an on-chip memory with partitions"),
    ] {
        let mut document = presets::open_hardware("edge-int8").unwrap();
        let flag = format!("--set {path}={value}");
        document.apply(path, value, &Place::flag(flag.as_str())).unwrap();
        let error = npu(&document).unwrap_err();
        assert_eq!(error.diagnostics()[0].place().to_string(), flag, "{error}");
        assert!(error.diagnostics()[0].message().starts_with(words), "{error}");
    }
}

#[test]
fn an_energy_table_named_by_a_flag_is_looked_up_by_its_built_in_name_or_from_the_working_folder() {
    let resolved = |table: &str| {
        let mut document = presets::open_hardware("edge-int8").unwrap();
        document.apply("energy", table, &Place::flag(format!("--set energy={table}"))).unwrap();
        npu(&document)
    };
    assert!(resolved("edge-22nm").is_ok());
    assert!(resolved("hw-configs/energy/edge-22nm.yaml").is_ok());
    let error = resolved("nowhere.yaml").unwrap_err().to_string();
    let expected = "--set energy=nowhere.yaml: energy: the energy table nowhere.yaml cannot be read: ";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("built-in tables: edge-22nm"), "{error}");
}

#[test]
fn a_name_that_is_neither_a_file_nor_a_preset_offers_the_nearest_preset() {
    assert_eq!(
        presets::open_hardware("edge-int9").unwrap_err().to_string(),
        "\
edge-int9: there is no such file, and no built-in hardware called \"edge-int9\"
   built-in hardware: cube-like, edge-int8, ethos-u65-512, gemmini-16x16, mx-npu, nvdla-large, nvdla-small, nvdla-small-256, tpu-v4i-like
   help: did you mean \"edge-int8\"?"
    );
    let error = presets::open_workload("workloads/missing.yaml").unwrap_err().to_string();
    assert!(error.contains("built-in workload: gpt2-small-block, minilm-layer"), "{error}");
}

#[test]
fn the_values_of_a_built_in_workload_are_refused_with_the_way_to_them() {
    let error = workload_with_values(&presets::open_workload("minilm-layer").unwrap()).unwrap_err();
    let diagnostic = &error.diagnostics()[0];
    assert_eq!(diagnostic.message(), "the tensor values of a built-in workload are not part of the program");
    assert_eq!(diagnostic.path().to_string(), "tensors[0].safetensors");
    assert!(diagnostic.place().to_string().starts_with("<built-in minilm-layer>:"));
}

/// Each wrong file of `tests/cases/errors` with the line and column of its mistake and the words that name it, worked
/// out by hand from the file.
///
/// The alias bomb: list `a` makes 11 nodes with itself, `b` 111, `c` 1111, `d` 11111. An anchor keeps its list and an
/// alias copies one: 11 + (110 + 111) + (1110 + 1111) + (11110 + 11111) = 24674 nodes up to `d`. Six aliases of `d` make
/// that 91340, the seventh 102451: it stands in column 8 + 6 x 4.
///
/// The tensor files in `data` are written byte by byte after the safetensors format (eight bytes of header length, a JSON
/// header, the data): `small` is right, the others are named for what is wrong.
const CASES: &[(&str, usize, usize, &str)] = &[
    ("hardware_accumulator_wider_than_its_format", 7, 81, "40 is out of range"),
    ("hardware_alias_bomb", 5, 32, "anchors and aliases copy more than 100000 values"),
    ("hardware_ambiguous_size", 21, 17, "the unit of \"64 KB\" may mean 1000 or 1024"),
    ("hardware_array_beyond_counting", 5, 21, "the array does 4294967296 multiply-accumulates a cycle"),
    ("hardware_atom_of_three_bytes", 27, 109, "3 is not a power of two up to 4096"),
    ("hardware_bandwidth_twice", 18, 77, "these keys exclude one another: bytes_per_cycle, duplex"),
    ("hardware_burst_of_three_bytes", 18, 82, "3 is not a power of two up to 4096"),
    ("hardware_drain_without_held_sums", 5, 144, "sums leave this array with its stream"),
    ("hardware_duplicate_key", 5, 32, "the key \"rows\" is given twice"),
    ("hardware_duplicate_name", 25, 11, "the name \"sram\" is used twice"),
    ("hardware_empty_list", 3, 15, "the list is empty; at least one item is expected"),
    ("hardware_energy_below_nothing", 31, 41, "-0.3 is out of range"),
    ("hardware_energy_in_an_unknown_unit", 31, 46, "unknown key \"per_bits\""),
    ("hardware_energy_of_a_node_out_of_reach", 31, 80, "from 45 to 7 nm is more than one step"),
    ("hardware_energy_of_an_unknown_mark", 31, 131, "\"measured\" is not known here"),
    ("hardware_energy_table_missing", 28, 9, "the energy table tests/cases/errors/energy/none.yaml cannot be read"),
    ("hardware_energy_with_its_low_end_above_its_high_end", 32, 50, "0.03 is out of range"),
    ("hardware_energy_without_a_figure", 25, 11, "the energy table has no figure for read_sums, write_sums"),
    ("hardware_energy_without_a_source", 31, 7, "the key \"source\" is missing"),
    ("hardware_format_listed_twice", 8, 9, "int8 x int8 is listed twice"),
    (
        "hardware_fused_in_a_systolic_array",
        7,
        85,
        "an operation adds 4 products, but an element of this array has 1 at once",
    ),
    ("hardware_group_of_wide_products", 7, 114, "fp16 has products too wide"),
    ("hardware_huge", 21, 17, "\"2 TiB\" is out of range"),
    ("hardware_list_for_a_mapping", 26, 11, "this is a list of 1 item; a mapping is expected here"),
    ("hardware_memory_of_the_wrong_kind", 9, 25, "`main` needs an on-chip memory without partitions"),
    ("hardware_memory_that_nothing_fills", 13, 13, "`vector` has `scratch` as its memory, but the DMA engine fills"),
    ("hardware_missing_key", 5, 21, "the key \"columns\" is missing"),
    ("hardware_narrow_accumulator", 7, 56, "\"int8\" is not known here"),
    ("hardware_negative", 18, 43, "-100 is negative"),
    ("hardware_no_variant", 17, 5, "one of these keys is missing: dram, sram"),
    ("hardware_not_a_number", 18, 65, "\".nan\" is not a rate"),
    // 16 + 16 + 8 + 32 KiB = 72 KiB = 73728 bytes, in 64 KiB.
    ("hardware_order_of_integer_sums", 7, 77, "an order says where sums are rounded, and int32 does not round"),
    ("hardware_overflow_without_a_rule", 7, 73, "one of these keys is missing: rule, saturate_every"),
    ("hardware_partition_of_half_a_bank", 25, 68, "\"8 KiB\" is not whole banks, a multiple of 16384 bytes"),
    ("hardware_partitions_exceed_the_memory", 24, 19, "the partitions of `sram` take 73728 bytes, but it holds 65536"),
    ("hardware_result_buffer_shorter_than_a_stripe", 5, 233, "8 is out of range"),
    ("hardware_sequencing_of_streamed_weights", 5, 95, "a sequencer passes rows over blocks of weights that stay"),
    (
        "hardware_serial_folds_of_a_double_buffer",
        5,
        110,
        "serial folds overlap with nothing, but the array is double-buffered",
    ),
    ("hardware_several_documents", 11, 1, "a second document starts here; a file holds exactly one"),
    ("hardware_several_mistakes_in_each_part", 4, 11, "\"ma in\" is not a name"),
    (
        "hardware_shared_accumulators",
        29,
        22,
        "`b` moves data from and to `accumulators`, which holds the partial sums of `main`",
    ),
    ("hardware_single_ports_without_banks", 22, 14, "single-ported banks are told apart"),
    ("hardware_text_for_a_number", 5, 29, "\"wide\" is not a whole number"),
    ("hardware_three_mistakes", 2, 8, "\"fast\" is not a frequency"),
    ("hardware_two_arrays", 6, 24, "these keys exclude one another: systolic_array, dot_product_array"),
    ("hardware_two_engines_from_dram", 29, 22, "this is a second engine from off-chip memory"),
    ("hardware_two_variants", 19, 11, "these keys exclude one another: dram, sram"),
    ("hardware_unknown_dataflow", 5, 54, "\"weigth_stationary\" is not known here"),
    ("hardware_unknown_format", 7, 37, "\"int7\" is not known here"),
    ("hardware_unknown_key", 10, 5, "unknown key \"launch_cylces\""),
    ("hardware_unknown_memory", 8, 21, "\"srma\" is not known here"),
    ("hardware_unprintable_name", 4, 11, "\"ma\\tin\" is not a name of at most 100 letters, digits"),
    ("hardware_weight_of_nothing", 18, 101, "0 is out of range"),
    ("hardware_width_of_float_sums", 7, 80, "fp32 has a fixed width"),
    ("hardware_zero", 5, 29, "0 is out of range"),
    ("scheme_alpha_beyond_one", 3, 96, "1.5 is out of range"),
    ("scheme_channels_of_dynamic_protection", 8, 23, "dynamic protection takes one element of each group"),
    ("scheme_fallback_of_an_unknown_role", 4, 20, "\"dwon\" is not known here"),
    ("scheme_fallback_that_needs_a_calibration", 4, 34, "\"llm_int8\" is not known here"),
    ("scheme_group_of_48", 3, 32, "groups of 48 are not supported"),
    (
        "scheme_independent_scales_in_the_accumulators",
        11,
        14,
        "sums under two scales cannot be added in the accumulators",
    ),
    ("scheme_protection_of_whole_groups", 8, 23, "32 of 32 channels leave nothing for the narrow path"),
    ("scheme_row_gather_in_the_accumulators", 12, 10, "a token with weight rows of its own is a product by itself"),
    ("scheme_several_mistakes", 1, 7, "\"my muxq\" is not a name"),
    ("scheme_static_scale_of_muxq_per_token", 8, 21, "a static scale is one for all activations"),
    ("scheme_static_scale_per_token", 3, 41, "a static scale is one for all activations"),
    ("scheme_tender_with_online_outliers", 11, 14, "the order of the weight's rows is fixed before the run"),
    ("scheme_tensor_scale_in_the_accumulators", 12, 10, "nvfp4 has a scale per tensor"),
    ("scheme_unit_of_paths_in_the_accumulators", 15, 9, "paths that meet in the accumulators run on one unit"),
    ("scheme_unknown_family", 3, 1, "unknown key \"muxg\""),
    ("scheme_weights_in_blocks_of_another_length", 2, 46, "blocks of nvfp4_one_level span 16 values"),
    ("workload_activations_of_integers", 2, 20, "\"int8\" is not known here"),
    ("workload_axis_beyond_counting", 4, 24, "4194305 is out of range"),
    ("workload_batches_of_unequal_parts", 9, 31, "10 columns cannot be split into 4 equal batches"),
    ("workload_bias_too_long", 9, 40, "layer `fc`: the bias must be 1x4, but `b` is 1x5"),
    (
        "workload_causal_scores_that_are_not_square",
        9,
        34,
        "6 rows are not as many queries as the 10 keys, for each head",
    ),
    ("workload_convolution_with_a_flat_weight", 9, 38, "the weight of a convolution has 4 axes, and this has 2"),
    ("workload_cycle", 8, 3, "layers wait for each other in a circle: fc -> act -> fc"),
    // The 65th bracket stands in column 8 + 65.
    ("workload_deep_nesting", 4, 73, "lists and mappings are nested deeper than 64 levels"),
    ("workload_double_precision", 5, 13, "the entry \"w\" of tests/cases/errors/data/doubles.safetensors holds F64"),
    ("workload_double_precision_npy", 5, 36, "tests/cases/errors/data/doubles.npy holds float64"),
    ("workload_duplicate_name", 10, 11, "the name \"x\" is used twice"),
    ("workload_entry_without_a_file", 6, 35, "an entry is given, but no file"),
    ("workload_file_of_another_kind", 5, 44, "tests/cases/errors/data/text.safetensors is not a safetensors file"),
    ("workload_five_axes", 4, 23, "the shape has 5 axes"),
    ("workload_generated_without_a_seed", 4, 41, "the key \"seed\" is missing"),
    ("workload_groups_that_do_not_divide", 9, 49, "4 is not a divisor of the 6 channels and of the 8 outputs"),
    ("workload_integer_values", 5, 13, "the entry \"w\" of tests/cases/errors/data/integers.safetensors holds I64"),
    ("workload_layer_for_a_bias", 9, 40, "this is a layer; the name of a tensor is expected here"),
    ("workload_mapping_block_beyond_its_axis", 13, 35, "4 is out of range"),
    ("workload_mapping_block_of_nothing", 12, 29, "0 is out of range"),
    ("workload_mapping_of_a_layer_without_a_product", 12, 22, "this layer has no matrix product"),
    ("workload_mapping_twice", 14, 16, "path \"body\" of layer \"fc\" has a tiling already"),
    ("workload_mapping_unknown_layer", 12, 22, "there is no layer called \"fd\""),
    ("workload_mapping_unknown_objective", 12, 14, "\"energie\" is not known here"),
    ("workload_mapping_unknown_order", 12, 51, "\"mkk\" is not known here"),
    ("workload_missing_entry", 5, 75, "tests/cases/errors/data/small.safetensors has no entry \"ww\""),
    ("workload_missing_file", 5, 44, "the file tests/cases/errors/data/none.safetensors cannot be read"),
    ("workload_no_layers", 7, 9, "the list is empty; at least one item is expected"),
    // Element 6 of three rows of four.
    (
        "workload_not_finite",
        5,
        13,
        "the entry \"w\" of tests/cases/errors/data/not_finite.safetensors holds NaN at row 1",
    ),
    ("workload_outlier_persistence_beyond_one", 9, 57, "1.5 is out of range"),
    // The second repetition gets 2x5 where it needs 4 columns.
    ("workload_repeated_shapes_disagree", 13, 56, "layer `block.1.fc`: the weight must be 5x5, but `block.1.w` is 4x5"),
    ("workload_repeated_typo", 14, 43, "there is no tensor or layer called \"fcc\""),
    ("workload_rotary_of_odd_heads", 9, 32, "5 is not an even divisor of the 10 columns"),
    ("workload_several_layers", 7, 42, "5 columns cannot be split into 3 equal batches"),
    ("workload_several_mistakes_in_each_part", 4, 13, "\"x y\" is not a name"),
    ("workload_several_mistakes_of_a_tiling", 9, 14, "\"fast\" is not known here"),
    ("workload_shapes_disagree", 9, 31, "layer `fc`: the weight must be 3x4, but `w` is 4x4"),
    ("workload_truncated_file", 5, 44, "the file tests/cases/errors/data/truncated.safetensors is not whole"),
    ("workload_truncated_npy", 5, 36, "the file tests/cases/errors/data/truncated.npy is not whole"),
    ("workload_two_sources", 5, 73, "safetensors and npy are both given"),
    ("workload_two_variants", 12, 15, "these keys exclude one another: gemm, activate"),
    ("workload_unknown_distribution", 4, 57, "\"uniform\" is not known here"),
    ("workload_unknown_function", 11, 38, "\"gellu\" is not known here"),
    ("workload_unknown_role", 9, 40, "\"gate\" is not known here"),
    ("workload_unknown_split", 10, 10, "\"rows\""),
    ("workload_unknown_value", 11, 24, "there is no tensor or layer called \"fcc\""),
    ("workload_wrong_shape_in_the_file", 5, 23, "the entry \"w\" of tests/cases/errors/data/transposed.safetensors"),
];

/// The cases with several mistakes that do not follow from one another, and the line and column of each.
const SEVERAL: &[(&str, &[(usize, usize)])] = &[
    ("hardware_partition_of_half_a_bank", &[(25, 68), (25, 85)]),
    (
        "hardware_several_mistakes_in_each_part",
        &[
            (4, 11),
            (5, 29),
            (5, 41),
            (5, 57),
            (5, 80),
            (7, 23),
            (7, 37),
            (7, 91),
            (8, 56),
            (9, 21),
            (10, 25),
            (11, 20),
            (14, 12),
            (14, 44),
            (15, 68),
            (15, 89),
            (16, 46),
            (16, 80),
            (18, 94),
            (18, 103),
            (23, 11),
            (24, 13),
            (25, 35),
            (25, 48),
            (26, 21),
            (28, 11),
            (29, 20),
            (29, 42),
            (29, 78),
            (29, 104),
            (29, 122),
            (33, 29),
            (34, 30),
            (35, 14),
            (36, 14),
            (37, 34),
            (37, 50),
            (40, 14),
            (40, 26),
            (40, 36),
            (40, 56),
            (40, 73),
        ],
    ),
    ("hardware_three_mistakes", &[(2, 8), (10, 20), (27, 35)]),
    (
        "scheme_several_mistakes",
        &[
            (1, 7),
            (3, 11),
            (4, 14),
            (5, 15),
            (6, 13),
            (8, 25),
            (10, 14),
            (10, 14),
            (12, 9),
            (14, 20),
            (16, 13),
            (16, 27),
            (17, 19),
        ],
    ),
    ("workload_several_layers", &[(7, 42), (8, 57), (10, 43)]),
    (
        "workload_several_mistakes_in_each_part",
        &[
            (4, 13),
            (4, 26),
            (4, 29),
            (4, 49),
            (4, 65),
            (4, 80),
            (4, 90),
            (4, 115),
            (4, 129),
            (4, 146),
            (7, 13),
            (7, 33),
            (7, 45),
            (7, 55),
            (7, 78),
            (7, 93),
            (8, 44),
            (8, 54),
            (9, 37),
            (9, 51),
            (10, 37),
            (10, 48),
            (10, 60),
            (11, 40),
            (11, 52),
            (11, 65),
            (12, 41),
            (12, 69),
            (12, 75),
            (12, 96),
            (12, 108),
        ],
    ),
    (
        "workload_several_mistakes_of_a_tiling",
        &[(9, 14), (11, 23), (11, 29), (11, 35), (11, 45), (12, 16), (12, 26), (12, 34)],
    ),
];

/// Everything that is wrong with a case, from parsing to the values of tensors.
fn error_of(case: &str) -> ConfigError {
    let path = format!("tests/cases/errors/{case}.yaml");
    let outcome = match case.split_once('_').unwrap().0 {
        "hardware" => presets::open_hardware(&path).and_then(|document| npu(&document).map(drop)),
        "scheme" => presets::open_scheme(&path).and_then(|document| scheme::resolve(&document).map(drop)),
        "workload" => presets::open_workload(&path).and_then(|document| workload_with_values(&document).map(drop)),
        kind => panic!("there is no kind of file called {kind}"),
    };
    outcome.expect_err("a case has a mistake")
}

#[test]
fn every_wrong_file_is_refused_at_the_line_and_column_of_its_mistake() {
    let names: Vec<&str> = CASES.iter().map(|(case, ..)| *case).collect();
    assert_eq!(yaml_files("tests/cases/errors"), names);
    for (case, line, column, words) in CASES {
        let error = error_of(case);
        let first = &error.diagnostics()[0];
        let expected = format!("tests/cases/errors/{case}.yaml:{line}:{column}");
        assert_eq!(first.place().to_string(), expected, "{error}");
        assert!(first.message().starts_with(words), "{error}");
        let places: Vec<_> = error.diagnostics().iter().map(|it| (it.place().line(), it.place().column())).collect();
        let several = SEVERAL.iter().find(|(several, _)| several == case);
        assert_eq!(places, several.map_or(&[(*line, *column)][..], |(_, places)| *places), "{error}");
    }
}

#[test]
fn a_part_shows_all_of_its_mistakes_at_once_in_the_order_of_the_text() {
    for (case, places) in SEVERAL {
        assert!(places.is_sorted() && places.len() > 1, "{case}");
        assert!(CASES.iter().any(|(known, ..)| known == case), "{case}");
    }
}

/// The whole texts, so that a change of any of them is seen. What they must say is asserted above.
#[test]
fn the_messages_about_wrong_files_are_as_recorded() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("cases/errors");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // What the system says about a missing file is not ours.
    settings.add_filter(r"cannot be read: .*", "cannot be read: [words of the system]");
    settings.bind(|| {
        for (case, ..) in CASES {
            insta::assert_snapshot!(*case, error_of(case).to_string());
        }
    });
}
