//! The values that a workload describes, into [`Bindings`]: read from files, or generated.
//!
//! All values become `fp32`, and exactly: a file whose numbers `fp32` does not hold is refused rather than rounded. Of
//! generated ones the rounding is part of their definition.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, quoted};
use crate::config::field::Field;
use crate::config::named_file::NamedFile;
use crate::config::placed::Placed;
use crate::config::workload::{TensorFile, TensorPlaces};
use crate::config::{input_files, npy_file, safetensors_file};
use crate::numerics::formats::FP32;
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;
use crate::workload::bindings::Bindings;
use crate::workload::graph::Workload;
use crate::workload::layer::{Layer, ValueRef};
use crate::workload::tensor_description::{SourceTensorId, TensorDescription, TensorSource};

/// Whether the numbers of a workload can be computed, as far as its file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every tensor that a layer reads names a file or is generated.
    Whole,
    /// None does.
    ShapesOnly,
    /// These have only a shape, others have values.
    Partial(Vec<SourceTensorId>),
    /// The workload is a preset, whose values are not embedded.
    NotEmbedded,
}

/// Which tensors that layers of `workload` read have values. No tensor file is opened.
pub fn coverage(workload: &Workload, places: &TensorPlaces) -> Coverage {
    let read: BTreeSet<SourceTensorId> = workload.layers().iter().flat_map(tensors_read).collect();
    let (with, without): (Vec<_>, Vec<_>) = read.into_iter().partition(|id| workload.tensor(*id).source.is_some());
    let is_built_in = |id: &SourceTensorId| file_field(places.get(*id)).is_some_and(is_built_in);
    match (with.is_empty(), without.is_empty()) {
        (true, _) => Coverage::ShapesOnly,
        (false, _) if with.iter().any(is_built_in) => Coverage::NotEmbedded,
        (false, true) => Coverage::Whole,
        (false, false) => Coverage::Partial(without),
    }
}

fn tensors_read(layer: &Layer) -> Vec<SourceTensorId> {
    let input = |value: ValueRef| match value {
        ValueRef::Source(id) => Some(id),
        ValueRef::Layer(_) => None,
    };
    let inputs = layer.inputs().into_iter().filter_map(input);
    inputs.chain(layer.constants()).chain(layer.recorded_output).collect()
}

/// The error of a run that is to compute numbers of a workload that is only partly covered: cites each of the tensors
/// `without` values.
pub fn missing_values(workload: &Workload, places: &TensorPlaces, without: &[SourceTensorId]) -> ConfigError {
    let mut problems = Problems::default();
    for id in without {
        let name = quoted(&workload.tensor(*id).name);
        let message = format!("the tensor {name} has only a shape, but others have values; numbers need all of them");
        let help = "add safetensors: FILE, npy: FILE or generate: {..}; or run without numbers: --no-numerics";
        problems.push(places.get(*id).problem(message).help(help));
    }
    problems.keep_one_of_each_value();
    problems.finish().expect_err("there is a tensor without values")
}

/// Whether generated tensors are wanted along with those of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// They are computed.
    Wanted,
    /// They are left without values: nothing can be wrong with them.
    LeftOut,
}

/// The values of the tensors of `workload` that have a source; `None` for those that have only a shape.
///
/// # Errors
/// [`ConfigError::Invalid`], citing the tensors in the workload file: a file that is missing, truncated or of another
/// format; an entry that it lacks, or has in another shape or in a type that cannot be read exactly; a value that is not
/// finite; or the workload is a preset, whose values are not embedded.
pub fn load(workload: &Workload, places: &TensorPlaces, generated: Generated) -> Result<Bindings, ConfigError> {
    let mut by_file: BTreeMap<&Path, Vec<Wanted<'_>>> = BTreeMap::new();
    let mut problems = Problems::default();
    let mut tensors: Vec<Option<Tensor>> = vec![None; workload.tensors().len()];
    for (index, description) in workload.tensors().iter().enumerate() {
        let written = places.get(SourceTensorId(index));
        match &description.source {
            None => {}
            Some(TensorSource::Safetensors { file, entry }) => {
                by_file.entry(file).or_default().push(Wanted { index, description, entry, written });
            }
            Some(TensorSource::Npy { file }) => {
                tensors[index] = problems.take(npy_file::read(file, description.shape, written));
            }
            Some(TensorSource::Generated(_)) if generated == Generated::LeftOut => {}
            Some(TensorSource::Generated(generator)) => {
                let values = generator.values(&description.name, description.shape);
                let tensor = Tensor::try_new(description.shape, &FP32, Elements::F32(values));
                tensors[index] = Some(tensor.expect("a generator gives a value for each element"));
            }
        }
    }
    for (path, wanted) in by_file {
        safetensors_file::read(path, &wanted, &mut tensors, &mut problems);
    }
    // Of a repeated tensor each repetition may lack its entry.
    problems.keep_one_of_each_value();
    problems.finish()?;
    Ok(Bindings::new(tensors))
}

/// A tensor that is to be read from a file of several.
pub(crate) struct Wanted<'w> {
    pub(crate) index: usize,
    pub(crate) description: &'w TensorDescription,
    pub(crate) entry: &'w str,
    pub(crate) written: &'w Placed<TensorFile>,
}

/// The files that hold the values of the tensors of `workload`, each once; none of a built-in workload.
pub fn files(workload: &Workload, places: &TensorPlaces) -> Vec<NamedFile> {
    let mut files: BTreeMap<&Path, NamedFile> = BTreeMap::new();
    for (index, description) in workload.tensors().iter().enumerate() {
        let (Some(TensorSource::Safetensors { file, .. } | TensorSource::Npy { file }), Some(named)) =
            (&description.source, file_field(places.get(SourceTensorId(index))))
        else {
            continue;
        };
        if !is_built_in(named) {
            files.entry(file).or_insert_with(|| NamedFile::new(file, named.place(), named.path()));
        }
    }
    files.into_values().collect()
}

/// Where the file of a tensor is named.
fn file_field(tensor: &Placed<TensorFile>) -> Option<&Field<PathBuf>> {
    [&tensor.safetensors, &tensor.npy].into_iter().find(|field| field.is_given())
}

fn is_built_in(field: &Field<PathBuf>) -> bool {
    field.place().source().is_built_in()
}

/// Opens the tensor file that `cited` names; `kind` is what it should be, with its article.
pub(crate) fn open(path: &Path, cited: &Field<PathBuf>, kind: &str) -> Result<File, Diagnostic> {
    if is_built_in(cited) {
        return Err(cited
            .problem("the tensor values of a built-in workload are not part of the program")
            .note("only its shapes are")
            .help(
                "run without numbers: --no-numerics; or run the workload from its file in the repository (workloads/)",
            ));
    }
    input_files::open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidInput => {
            cited.problem(format!("{}: {cause}", path.display())).note(format!("{kind} is expected"))
        }
        _ => unreadable(path, cited, &cause),
    })
}

/// The error about a file that the system does not let us read.
pub(crate) fn unreadable(path: &Path, cited: &Field<PathBuf>, cause: &io::Error) -> Diagnostic {
    cited.problem(format!("the file {} cannot be read: {cause}", path.display()))
}

/// The tensor of these values, which must all be finite; `what` names where they come from.
pub(crate) fn finite(
    shape: MatrixShape,
    values: Vec<f32>,
    what: &str,
    cited: &impl Cited,
) -> Result<Tensor, Diagnostic> {
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        let (row, column) = (index as u64 / shape.columns, index as u64 % shape.columns);
        let message = format!("{what} holds {} at row {row}, column {column}", values[index]);
        return Err(cited.problem(message).note("all values must be finite"));
    }
    Ok(Tensor::try_new(shape, &FP32, Elements::F32(values)).expect("the header agrees with the shape"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::workload;

    /// A safetensors file of one entry `x`, byte by byte after the format.
    fn file_of(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let length = data.len();
        let header = format!("{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[0,{length}]}}}}");
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    const WORKLOAD: &str = "\
name: one
activation_format: fp32
tensors:
  - { name: x, shape: [3], safetensors: x.safetensors }
layers:
  - name: act
    activate: { input: x, function: relu }
";

    /// What a workload of one 1x3 tensor `x` gets from a file of these bytes.
    fn loaded(bytes: &[u8]) -> Result<Bindings, ConfigError> {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("x.safetensors"), bytes).unwrap();
        let document = Document::from_bytes("w.yaml", WORKLOAD.as_bytes(), folder.path()).unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        load(&workload, &places, Generated::Wanted)
    }

    fn values(bytes: &[u8]) -> Vec<f32> {
        loaded(bytes).unwrap().get(SourceTensorId(0)).unwrap().as_f32().unwrap().to_vec()
    }

    #[test]
    fn half_precision_and_bfloat16_become_fp32_exactly() {
        // 1, the smallest subnormal of binary16 (2^-24), and its largest number.
        let half = [0x3C00u16, 0x0001, 0x7BFF].map(u16::to_le_bytes).concat();
        assert_eq!(values(&file_of("F16", "[3]", &half)), [1.0, 5.960_464_5e-8, 65504.0]);
        // The upper halves of 1, -2.5 and the smallest normal number of binary32.
        let brain = [0x3F80u16, 0xC020, 0x0080].map(u16::to_le_bytes).concat();
        assert_eq!(values(&file_of("BF16", "[3]", &brain)), [1.0, -2.5, f32::MIN_POSITIVE]);
        let single = [0.1f32, -0.0, 3.0].map(f32::to_le_bytes).concat();
        assert_eq!(values(&file_of("F32", "[3]", &single)), [0.1, -0.0, 3.0]);
    }

    /// What a workload of one tensor `x` of that `shape` gets from a file of that name, through a product that reads it.
    fn loaded_as(shape: &str, file: &str, bytes: &[u8]) -> Result<Vec<f32>, ConfigError> {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join(file), bytes).unwrap();
        let key = file.split_once('.').unwrap().1;
        let text = format!(
            "name: one\nactivation_format: fp32\ntensors: [{{ name: x, shape: {shape}, {key}: {file} }}]\n\
             layers: [{{ name: act, activate: {{ input: x, function: relu }} }}]\n"
        );
        let document = Document::from_bytes("w.yaml", text.as_bytes(), folder.path()).unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        let bindings = load(&workload, &places, Generated::Wanted)?;
        Ok(bindings.get(SourceTensorId(0)).unwrap().as_f32().unwrap().to_vec())
    }

    #[test]
    fn an_image_and_a_kernel_are_read_in_their_own_axes_and_flattened() {
        let count = |elements: u8| (0..elements).collect::<Vec<u8>>();
        let as_values = |bytes: &[u8]| bytes.iter().map(|byte| f32::from(*byte)).collect::<Vec<f32>>();
        for (declared, flattened, elements) in [("[5, 6, 3]", "[30,3]", 90), ("[3, 3, 2, 4]", "[18,4]", 72)] {
            let data = count(elements);
            let axes = declared.replace(' ', "");
            for shape in [axes.as_str(), flattened] {
                let read = loaded_as(declared, "x.safetensors", &file_of("U8", shape, &data)).unwrap();
                assert_eq!(read, as_values(&data), "{declared} as {shape}");
            }
            // As many elements in other axes are another array.
            let turned = format!("[{}]", axes.trim_matches(['[', ']']).rsplit(',').collect::<Vec<_>>().join(","));
            for shape in [turned.as_str(), &format!("[1,{elements}]"), &format!("[1,{}", &axes[1..])] {
                let error = loaded_as(declared, "x.safetensors", &file_of("U8", shape, &data)).unwrap_err();
                assert_eq!(error.diagnostics()[0].path().to_string(), "tensors[0].shape", "{shape}");
            }
        }
        let error = loaded_as("[2, 1, 3]", "x.safetensors", &file_of("U8", "[3,2]", &[0; 6])).unwrap_err().to_string();
        assert!(error.contains("here it is [2, 1, 3], or 2x3 as a matrix"), "{error}");
    }

    #[test]
    fn a_transposed_matrix_is_called_so_with_the_way_to_use_it() {
        let error = loaded_as("[2, 3]", "x.safetensors", &file_of("U8", "[3,2]", &[0; 6])).unwrap_err().to_string();
        assert!(error.contains("it is the transpose") && error.contains("weight_transposed: true"), "{error}");
    }

    #[test]
    fn integers_and_eight_bit_floats_become_fp32_exactly() {
        assert_eq!(values(&file_of("I8", "[3]", &[0x80, 0xFF, 0x7F])), [-128.0, -1.0, 127.0]);
        assert_eq!(values(&file_of("U8", "[3]", &[0x80, 0xFF, 0x7F])), [128.0, 255.0, 127.0]);
        assert_eq!(values(&file_of("BOOL", "[3]", &[1, 0, 1])), [1.0, 0.0, 1.0]);
        let words = [i16::MIN, -2, i16::MAX].map(i16::to_le_bytes).concat();
        assert_eq!(values(&file_of("I16", "[3]", &words)), [-32768.0, -2.0, 32767.0]);
        // OCP 8-bit floating point specification, tables 1 and 2: 1, the largest number, the smallest subnormal.
        assert_eq!(values(&file_of("F8_E4M3", "[3]", &[0x38, 0x7E, 0x81])), [1.0, 448.0, -0.001_953_125]);
        assert_eq!(values(&file_of("F8_E5M2", "[3]", &[0x3C, 0x7B, 0x81])), [1.0, 57344.0, -1.0 / 65536.0]);
        for (dtype, code) in [("F8_E4M3", 0x7F), ("F8_E5M2", 0x7C), ("F8_E5M2", 0xFF)] {
            let error = loaded(&file_of(dtype, "[3]", &[0, code, 0])).unwrap_err().to_string();
            assert!(error.contains("at row 0, column 1"), "{dtype} {code:x}: {error}");
        }
    }

    #[test]
    fn an_array_longer_than_a_chunk_comes_out_whole_and_a_cut_one_is_refused() {
        // 70,000 elements of 2 bytes are two chunks and a part of one.
        let data: Vec<u8> = (0..70_000u32).flat_map(|index| ((index % 30_000) as u16).to_le_bytes()).collect();
        let file = file_of("I16", "[100,700]", &data);
        let read = loaded_as("[100, 700]", "x.safetensors", &file).unwrap();
        assert!(read.iter().enumerate().all(|(index, value)| *value == (index % 30_000) as f32));
        let error = loaded_as("[100, 700]", "x.safetensors", &file[..file.len() - 1]).unwrap_err().to_string();
        assert!(error.contains("x.safetensors is not whole"), "{error}");
    }

    #[test]
    fn a_vector_is_one_row_with_or_without_that_axis_in_the_file() {
        let data = [0u8; 12];
        assert_eq!(values(&file_of("F32", "[3]", &data)), values(&file_of("F32", "[1,3]", &data)));
        assert!(loaded(&file_of("F32", "[3,1]", &data)).is_err());
        assert!(loaded(&file_of("F32", "[1,1,3]", &data)).is_err());
    }

    #[test]
    fn no_cut_of_a_file_and_no_lie_in_its_header_makes_the_reader_panic() {
        let whole = file_of("F32", "[3]", &[0; 12]);
        for length in 0..whole.len() {
            let error = loaded(&whole[..length]).unwrap_err();
            assert_eq!(error.diagnostics()[0].path().to_string(), "tensors[0].safetensors", "{length} bytes: {error}");
        }
        for shape in ["[3,4611686018427387904]", "[4]", "[-1]", "3"] {
            assert!(loaded(&file_of("F32", shape, &[0; 12])).is_err(), "{shape}");
        }
    }

    #[test]
    fn a_file_with_bytes_behind_its_tensors_is_called_longer_than_its_header_says() {
        let whole = file_of("F32", "[3]", &[0; 12]);
        let length = whole.len();
        let error = loaded(&[whole, vec![0; 5]].concat()).unwrap_err().to_string();
        assert!(error.contains("is longer than its header says") && !error.contains("not whole"), "{error}");
        assert!(error.contains(&format!("accounts for {length} bytes, the file has {}", length + 5)), "{error}");
    }

    #[test]
    fn a_folder_in_the_place_of_a_tensor_file_is_called_so() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("x.safetensors")).unwrap();
        let document = Document::from_bytes("w.yaml", WORKLOAD.as_bytes(), folder.path()).unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        let error = load(&workload, &places, Generated::Wanted).unwrap_err().to_string();
        assert!(error.contains("x.safetensors: it is a folder, not a file"), "{error}");
    }

    #[test]
    fn an_infinite_half_is_refused_by_its_position() {
        let half = [0x3C00u16, 0x3C00, 0xFC00].map(u16::to_le_bytes).concat();
        let error = loaded(&file_of("F16", "[3]", &half)).unwrap_err();
        assert!(error.diagnostics()[0].message().ends_with("holds -inf at row 0, column 2"), "{error}");
    }

    #[test]
    fn coverage_counts_only_tensors_that_layers_read() {
        const FILE: &str = "safetensors: v.safetensors";
        let coverage_of = |x: &str, w: &str, unused: &str| {
            let text = format!(
                "name: n\nactivation_format: fp32\ntensors:\n  - {{ name: x, shape: [2, 3], {x} }}\n  - {{ name: w, shape: [3, 4], {w} }}\n  - {{ name: u, shape: [1], {unused} }}\nlayers: [{{ name: a, gemm: {{ input: x, weight: w }} }}]\n"
            );
            let document = Document::from_bytes("w.yaml", text.as_bytes(), "").unwrap();
            let (workload, places) = workload::resolve(&document).unwrap();
            let coverage = coverage(&workload, &places);
            if let Coverage::Partial(without) = &coverage {
                let error = missing_values(&workload, &places, without).to_string();
                assert!(error.starts_with("w.yaml:5:5: tensors[1]: the tensor \"w\" has only a shape"), "{error}");
            }
            coverage
        };
        assert_eq!(coverage_of(FILE, FILE, ""), Coverage::Whole);
        assert_eq!(coverage_of("", "", FILE), Coverage::ShapesOnly);
        assert_eq!(coverage_of(FILE, "", ""), Coverage::Partial(vec![SourceTensorId(1)]));
        let (workload, places) =
            workload::resolve(&crate::config::presets::open_workload("minilm-layer").unwrap()).unwrap();
        assert_eq!(coverage(&workload, &places), Coverage::NotEmbedded);
    }

    #[test]
    fn a_workload_without_files_has_no_values_and_that_is_no_mistake() {
        let text = "name: n\nactivation_format: fp32\ntensors: [{ name: x, shape: [3] }]\nlayers: [{ name: a, activate: { input: x, function: relu } }]\n";
        let document = Document::from_bytes("w.yaml", text.as_bytes(), "").unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        assert!(!load(&workload, &places, Generated::Wanted).unwrap().is_complete(1));
    }
}
