//! The shipped hardware and workload files, and a collection of wrong ones with the exact place of each mistake.

use npusim::config::defaults::Defaults;
use npusim::config::diagnostics::ConfigError;
use npusim::config::document::Document;
use npusim::config::node::{Node, Value};
use npusim::config::source::Place;
use npusim::config::{hardware, presets, tensors, workload};
use npusim::hardware::memory::MemoryKind;
use npusim::hardware::npu::Npu;
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
    let bindings = tensors::load(&workload, &places)?;
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
    let figure = |key: &str| npu.energy().records().find(|(known, _)| *known == key).unwrap().1.energy_pj;
    assert!((figure("read_sram") - 2.000_156_25).abs() < 1e-12);
    assert!((figure("mac_int8_int8") - 0.1839).abs() < 1e-12);
    assert!(figure("idle_mac") < figure("mac_int8_int8"));
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
            LayerOperation::Activate { .. } => None,
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

#[test]
fn an_override_changes_the_model_by_index_and_by_name_down_to_a_figure_of_the_energy_table() {
    let mut document = presets::open_hardware("edge-int8").unwrap();
    for (path, value) in [
        ("matrix_units.0.systolic_array.rows", "16"),
        ("memories.sram.sram.partitions.resident", "64 KiB"),
        ("energy.actions.read_sram.energy_pj", "640"),
    ] {
        document.apply(path, value, &Place::flag(format!("--set {path}={value}"))).unwrap();
    }
    let npu = npu(&document).unwrap();
    assert_eq!(npu.matrix_units()[0].array.processing_elements(), 16 * 32);
    assert_eq!(npu.sram(npu.dma().to).partitions.unwrap().resident, Bytes(64 * 1024));
    assert!(npu.energy().records().any(|(key, record)| key == "read_sram" && record.energy_pj == 10.0));
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
   built-in hardware: edge-int8
   help: did you mean \"edge-int8\"?"
    );
    let error = presets::open_workload("workloads/missing.yaml").unwrap_err().to_string();
    assert!(error.contains("built-in workload: minilm-layer"), "{error}");
}

#[test]
fn the_values_of_a_built_in_workload_are_refused_with_the_way_to_them() {
    let error = workload_with_values(&presets::open_workload("minilm-layer").unwrap()).unwrap_err();
    let diagnostic = &error.diagnostics()[0];
    assert_eq!(diagnostic.message(), "the tensor values of a built-in workload are not part of the program");
    assert_eq!(diagnostic.path().to_string(), "tensors[0].safetensors");
    assert!(diagnostic.place().to_string().starts_with("<built-in minilm-layer>:"));
}
