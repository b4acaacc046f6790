//! Tensors from safetensors files: eight bytes of header length, a JSON header, the data.
//!
//! Only the entries that are asked for are read, each file in one pass, so a file of a whole model may be far larger
//! than the layers that use it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::config::diagnostics::{Cited, Diagnostic, Offers, Problems, quoted};
use crate::config::field::Field;
use crate::config::stored_array::{self, ByteOrder};
use crate::config::tensors::{self, Wanted};
use crate::numerics::formats::{BF16, ElementFormat, FP8_E4M3, FP8_E5M2, FP16, FP32, INT8, INT16, UINT8};
use crate::numerics::tensor::Tensor;

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
    /// Names of the entries, in the order of their data.
    names: Vec<String>,
    offers: Offers,
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
    let (names, offers) = (header.offset_keys(), Offers::default());
    Ok(SafetensorsFile { file, header, names, offers, data_start })
}

impl SafetensorsFile {
    /// The entry of a tensor, if it is there and as described.
    fn find(&self, path: &Path, wanted: &Wanted<'_>) -> Result<TensorInfo, Diagnostic> {
        let Some(info) = self.header.info(wanted.entry) else {
            let message = format!("{} has no entry {}", path.display(), quoted(wanted.entry));
            let problem = wanted.entry_field().problem(message);
            return Err(self.offers.offer(problem, wanted.entry, "it has", || self.names.iter().map(String::as_str)));
        };
        let what = format!("the entry {} of {}", quoted(wanted.entry), path.display());
        let axes: Vec<u64> = info.shape.iter().map(|axis| *axis as u64).collect();
        stored_array::check_shape(&axes, wanted.description.shape, wanted.written, &what)?;
        if format_of(info.dtype).is_none() {
            let problem = wanted.entry_field().problem(format!("{what} holds {:?}", info.dtype));
            return Err(problem.note("F32, F16, BF16, F8_E4M3, F8_E5M2, I16, I8, U8 and BOOL can be read"));
        }
        Ok(info.clone())
    }

    /// The values of an entry that [`SafetensorsFile::find`] has accepted.
    fn read(&mut self, path: &Path, wanted: &Wanted<'_>, info: &TensorInfo) -> Result<Tensor, Diagnostic> {
        let format = format_of(info.dtype).expect("an entry of another type was refused");
        let shape = wanted.description.shape;
        let values = self
            .file
            .seek(SeekFrom::Start(self.data_start + info.data_offsets.0 as u64))
            .and_then(|_| stored_array::values(&mut self.file, format, ByteOrder::Little, shape.elements()))
            .map_err(|cause| tensors::unreadable(path, &wanted.written.safetensors, &cause))?;
        let what = format!("the entry {} of {}", quoted(wanted.entry), path.display());
        tensors::finite(shape, values, &what, wanted.entry_field())
    }
}

/// The format of entries that `fp32` holds exactly, truth values as 0 and 1. F64 and wide integers are not among them, so
/// they are refused rather than rounded.
fn format_of(dtype: Dtype) -> Option<&'static ElementFormat> {
    match dtype {
        Dtype::F32 => Some(&FP32),
        Dtype::F16 => Some(&FP16),
        Dtype::BF16 => Some(&BF16),
        Dtype::F8_E4M3 => Some(&FP8_E4M3),
        Dtype::F8_E5M2 => Some(&FP8_E5M2),
        Dtype::I16 => Some(&INT16),
        Dtype::I8 => Some(&INT8),
        Dtype::U8 | Dtype::BOOL => Some(&UINT8),
        _ => None,
    }
}
