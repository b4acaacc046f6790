//! Tensor files: the values that a workload describes, read from safetensors into [`Bindings`].
//!
//! Only the entries that are asked for are read, each file in one pass, so a file of a whole model may be far larger
//! than the layers that use it. All values become `fp32`, which holds those of F32, F16 and BF16 exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed, nearest, quoted};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::config::workload::{TensorFile, TensorPlaces};
use crate::numerics::formats::{BF16, ElementFormat, FP16, FP32};
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;
use crate::workload::bindings::Bindings;
use crate::workload::graph::Workload;
use crate::workload::layer::{Layer, LayerOperation, ValueRef};
use crate::workload::tensor_description::{SourceTensorId, TensorDescription, TensorSource};

/// The longest header of a safetensors file in bytes, as in the format's own reader.
const LONGEST_HEADER: u64 = 100_000_000;

/// Whether the numbers of a workload can be computed, as far as its file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every tensor that a layer reads names a file.
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
    let is_built_in = |id: &SourceTensorId| places.get(*id).safetensors.place().source().is_built_in();
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
    let mistake = |id: &SourceTensorId| {
        let name = quoted(&workload.tensor(*id).name);
        let message = format!("the tensor {name} has only a shape, but others have values; numbers need all of them");
        places.get(*id).problem(message).help("add safetensors: FILE, or run without numbers: --no-numerics")
    };
    ConfigError::Invalid(without.iter().map(mistake).collect())
}

/// The values of the tensors of `workload` that name a file; `None` for those that do not.
///
/// # Errors
/// [`ConfigError::Invalid`], citing the tensors in the workload file: a file that is missing, truncated or no
/// safetensors file; an entry that it lacks, or has in another shape or in a type that cannot be read exactly; a value
/// that is not finite; or the workload is a preset, whose values are not embedded.
pub fn load(workload: &Workload, places: &TensorPlaces) -> Result<Bindings, ConfigError> {
    let mut by_file: BTreeMap<&Path, Vec<Wanted<'_>>> = BTreeMap::new();
    for (index, description) in workload.tensors().iter().enumerate() {
        let written = places.get(SourceTensorId(index));
        if let Some(TensorSource::Safetensors { file, entry }) = &description.source {
            by_file.entry(file).or_default().push(Wanted { index, description, entry, written });
        }
    }
    let mut problems = Problems::default();
    let mut tensors: Vec<Option<Tensor>> = vec![None; workload.tensors().len()];
    for (path, wanted) in by_file {
        // A file that cannot be read at all is cited once, by the first tensor that names it.
        let Some(mut file) = problems.take(open(path, &wanted[0].written.safetensors)) else { continue };
        let mut found: Vec<(&Wanted<'_>, TensorInfo)> = Vec::new();
        for wanted in &wanted {
            let info = problems.take(file.find(path, wanted));
            found.extend(info.map(|info| (wanted, info)));
        }
        found.sort_by_key(|(wanted, info)| (info.data_offsets.0, wanted.index));
        for (wanted, info) in found {
            tensors[wanted.index] = problems.take(file.read(path, wanted, &info));
        }
    }
    problems.finish()?;
    Ok(Bindings::new(tensors))
}

/// A tensor that is to be read.
struct Wanted<'w> {
    index: usize,
    description: &'w TensorDescription,
    entry: &'w str,
    written: &'w Placed<TensorFile>,
}

impl Wanted<'_> {
    /// Where the entry is named: at `entry:`, or at `name:`, which stands in for it.
    fn entry_field(&self) -> &Field<String> {
        if self.written.entry.is_given() { &self.written.entry } else { &self.written.name }
    }
}

/// An open safetensors file: eight bytes of header length, the header, the data without gaps.
struct SafetensorsFile {
    file: File,
    header: Metadata,
    data_start: u64,
}

fn open(path: &Path, cited: &Field<std::path::PathBuf>) -> Result<SafetensorsFile, Diagnostic> {
    if cited.place().source().is_built_in() {
        return Err(cited
            .problem("the tensor values of a built-in workload are not part of the program")
            .note("only its shapes are")
            .help(
                "run without numbers: --no-numerics; or run the workload from its file in the repository (workloads/)",
            ));
    }
    let unreadable = |cause: io::Error| cited.problem(format!("the file {} cannot be read: {cause}", path.display()));
    let broken = |what: &str| cited.problem(format!("the file {} is not whole: {what}", path.display()));
    // Asked before it is opened, because to open a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(cited
            .problem(format!("{} is a folder, a pipe or a device", path.display()))
            .note("a safetensors file is expected"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut prefix = [0; 8];
    if length < prefix.len() as u64 {
        return Err(broken("it is shorter than the length of its header"));
    }
    file.read_exact(&mut prefix).map_err(unreadable)?;
    let header_bytes = u64::from_le_bytes(prefix);
    let data_start = header_bytes.saturating_add(prefix.len() as u64);
    if header_bytes > LONGEST_HEADER {
        let message =
            format!("{} is not a safetensors file: its header would have {header_bytes} bytes", path.display());
        return Err(cited.problem(message));
    }
    if data_start > length {
        return Err(broken(&format!("its header should end at byte {data_start}, but it has {length} bytes")));
    }
    let mut header = vec![0; usize::try_from(header_bytes).expect("at most LONGEST_HEADER")];
    file.read_exact(&mut header).map_err(unreadable)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| {
        cited.problem(format!("{} is not a safetensors file: its header is wrong: {error}", path.display()))
    })?;
    let promised = data_start.saturating_add(header.data_len() as u64);
    if promised > length {
        return Err(broken(&format!("its header promises {promised} bytes, but it has {length}")));
    }
    if promised < length {
        let message = format!("the file {} is longer than its header says", path.display());
        return Err(cited
            .problem(message)
            .note(format!("the header accounts for {promised} bytes, the file has {length}"))
            .help("something was appended to it, or its header is that of another file; write it anew"));
    }
    Ok(SafetensorsFile { file, header, data_start })
}

impl SafetensorsFile {
    /// The entry of a tensor, if it is there and as described.
    fn find(&self, path: &Path, wanted: &Wanted<'_>) -> Result<TensorInfo, Diagnostic> {
        let Some(info) = self.header.info(wanted.entry) else {
            let names = self.header.offset_keys();
            let names = || names.iter().map(String::as_str);
            let message = format!("{} has no entry {}", path.display(), quoted(wanted.entry));
            let problem = wanted.entry_field().problem(message).note(format!("it has: {}", listed(names())));
            return Err(match nearest(wanted.entry, names()) {
                Some(name) => problem.help(format!("did you mean \"{name}\"?")),
                None => problem,
            });
        };
        let shape = wanted.description.shape;
        let is_equal = match info.shape.as_slice() {
            [columns] => shape == MatrixShape::new(1, *columns as u64),
            [rows, columns] => shape == MatrixShape::new(*rows as u64, *columns as u64),
            _ => false,
        };
        if !is_equal {
            let message =
                format!("the entry {} of {} has the shape {:?}", quoted(wanted.entry), path.display(), info.shape);
            return Err(wanted.written.shape.problem(message).note(format!("here it is {shape}")));
        }
        if format_of(info.dtype).is_none() {
            let message = format!("the entry {} of {} holds {:?}", quoted(wanted.entry), path.display(), info.dtype);
            return Err(wanted.entry_field().problem(message).note("F32, F16 and BF16 can be read"));
        }
        Ok(info.clone())
    }

    /// The values of an entry that [`SafetensorsFile::find`] has accepted.
    fn read(&mut self, path: &Path, wanted: &Wanted<'_>, info: &TensorInfo) -> Result<Tensor, Diagnostic> {
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|cause| {
                wanted.written.safetensors.problem(format!("the file {} cannot be read: {cause}", path.display()))
            })?;
        let format = format_of(info.dtype).expect("an entry of another type was refused");
        let shape = wanted.description.shape;
        let values = as_f32(shape, format, &bytes);
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (index as u64 / shape.columns, index as u64 % shape.columns);
            let message = format!(
                "the entry {} of {} holds {} at row {row}, column {column}",
                quoted(wanted.entry),
                path.display(),
                values[index]
            );
            return Err(wanted.entry_field().problem(message).note("all values must be finite"));
        }
        Ok(Tensor::try_new(shape, &FP32, Elements::F32(values)).expect("the header agrees with the shape"))
    }
}

/// The format of entries that `fp32` holds exactly. F64 is not among them, so it is refused rather than rounded.
fn format_of(dtype: Dtype) -> Option<&'static ElementFormat> {
    match dtype {
        Dtype::F32 => Some(&FP32),
        Dtype::F16 => Some(&FP16),
        Dtype::BF16 => Some(&BF16),
        _ => None,
    }
}

/// Little-endian codes as values.
fn as_f32(shape: MatrixShape, format: &'static ElementFormat, bytes: &[u8]) -> Vec<f32> {
    if format == &FP32 {
        let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("a chunk of four"));
        return bytes.chunks_exact(4).map(value).collect();
    }
    let code = |bytes: &[u8]| u16::from_le_bytes(bytes.try_into().expect("a chunk of two"));
    let codes = bytes.chunks_exact(2).map(code).collect();
    Tensor::try_new(shape, format, Elements::Code16(codes)).expect("the header agrees with the shape").to_f32()
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
        load(&workload, &places)
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
        let error = load(&workload, &places).unwrap_err().to_string();
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
        assert!(!load(&workload, &places).unwrap().is_complete(1));
    }
}
