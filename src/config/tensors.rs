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
use crate::config::placed::Placed;
use crate::config::workload::{TensorFile, TensorPlaces};
use crate::config::{npy_file, safetensors_file};
use crate::numerics::formats::FP32;
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;
use crate::workload::bindings::Bindings;
use crate::workload::graph::Workload;
use crate::workload::layer::{Layer, LayerOperation, ValueRef};
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
    let constants = match &layer.operation {
        LayerOperation::Gemm(gemm) => [gemm.constant_weight(), gemm.bias],
        LayerOperation::Activate { .. } => [None, None],
        LayerOperation::Vector(vector) => [0, 1].map(|index| vector.constants.get(index).copied()),
    };
    let input = |value: ValueRef| match value {
        ValueRef::Source(id) => Some(id),
        ValueRef::Layer(_) => None,
    };
    let inputs = layer.inputs().into_iter().filter_map(input);
    inputs.chain(constants.into_iter().flatten()).chain(layer.recorded_output).collect()
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
    // Asked before it is opened, because to open a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(|cause| unreadable(path, cited, &cause))?.is_file() {
        return Err(cited
            .problem(format!("{} is a folder, a pipe or a device", path.display()))
            .note(format!("{kind} is expected")));
    }
    File::open(path).map_err(|cause| unreadable(path, cited, &cause))
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
        assert!(error.contains("x.safetensors is a folder, a pipe or a device"), "{error}");
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
