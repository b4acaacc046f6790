//! Tensors from safetensors files: eight bytes of header length, a JSON header, the data.
//!
//! Only the entries that are asked for are read, each file in one pass, so a file of a whole model may be far larger
//! than the layers that use it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::config::diagnostics::{Cited, Diagnostic, Problems, listed, nearest, quoted};
use crate::config::field::Field;
use crate::config::tensors::{self, Wanted};
use crate::numerics::formats::{BF16, ElementFormat, FP16, FP32};
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;

/// The longest header of a safetensors file in bytes, as in the format's own reader.
const LONGEST_HEADER: u64 = 100_000_000;

/// Puts the tensors that are `wanted` from the file at `path` into their places among `all`, and notes what is wrong.
pub(crate) fn read(path: &Path, wanted: &[Wanted<'_>], all: &mut [Option<Tensor>], problems: &mut Problems) {
    // A file that cannot be read at all is cited once, by the first tensor that names it.
    let Some(mut file) = problems.take(open(path, &wanted[0].written.safetensors)) else { return };
    let mut found: Vec<(&Wanted<'_>, TensorInfo)> = Vec::new();
    for wanted in wanted {
        let info = problems.take(file.find(path, wanted));
        found.extend(info.map(|info| (wanted, info)));
    }
    found.sort_by_key(|(wanted, info)| (info.data_offsets.0, wanted.index));
    for (wanted, info) in found {
        all[wanted.index] = problems.take(file.read(path, wanted, &info));
    }
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

fn open(path: &Path, cited: &Field<PathBuf>) -> Result<SafetensorsFile, Diagnostic> {
    let unreadable = |cause: io::Error| tensors::unreadable(path, cited, &cause);
    let broken = |what: &str| cited.problem(format!("the file {} is not whole: {what}", path.display()));
    let mut file = tensors::open(path, cited, "a safetensors file")?;
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
            .map_err(|cause| tensors::unreadable(path, &wanted.written.safetensors, &cause))?;
        let format = format_of(info.dtype).expect("an entry of another type was refused");
        let shape = wanted.description.shape;
        let values = as_f32(shape, format, &bytes);
        let what = format!("the entry {} of {}", quoted(wanted.entry), path.display());
        tensors::finite(shape, values, &what, wanted.entry_field())
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
