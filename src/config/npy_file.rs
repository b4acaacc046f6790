//! Tensors from NumPy files: a magic string, a version, a header in Python's notation, the data of one array.
//!
//! After the format's definition (`numpy.lib.format`, NumPy Enhancement Proposal 1): versions 1 to 3, both byte orders,
//! rows or columns first. A reader of our own, because those of the registry bring a parser generator and C code for
//! three keys of a header.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::diagnostics::{Cited, Diagnostic, quoted};
use crate::config::placed::Placed;
use crate::config::stored_array::{self, ByteOrder};
use crate::config::tensors;
use crate::config::workload::TensorFile;
use crate::numerics::formats::{ElementFormat, FP16, FP32, INT8, INT16, UINT8};
use crate::numerics::tensor::{Tensor, transposed};
use crate::shape::MatrixShape;

/// Magic string and version.
const PREFIX_BYTES: usize = 8;
/// The longest header in bytes: NumPy's own reader refuses longer ones.
const LONGEST_HEADER: usize = 10_000;

/// The values of the array at `path`, for a tensor of that `shape`.
///
/// # Errors
/// The file is missing, truncated, too long or no npy file; the array has another shape or a type that FP32 does not
/// hold exactly; a value is not finite. Cites the path in `written`, or the shape.
pub(crate) fn read(path: &Path, shape: MatrixShape, written: &Placed<TensorFile>) -> Result<Tensor, Diagnostic> {
    let shown = path.display();
    let cited = &written.npy;
    let unreadable = |cause: std::io::Error| tensors::unreadable(path, cited, &cause);
    let not_npy = |why: &str| cited.problem(format!("{shown} is not an npy file: {why}"));
    let mut file = tensors::open(path, cited, "an npy file")?;
    let length = file.metadata().map_err(unreadable)?.len();
    let (header, header_end) = read_header(&mut file).map_err(unreadable)?.map_err(|why| not_npy(&why))?;
    let Header { descr, fortran_order, shape: axes } = Header::parse(&header).map_err(|why| not_npy(&why))?;
    stored_array::check_shape(&axes, shape, written, &format!("the array in {shown}"))?;
    let Some((format, order)) = element(&descr) else {
        let problem = cited.problem(format!("{shown} holds {}", described(&descr)));
        let problem = problem.note("float32, float16, int16, int8, uint8 and bool can be read");
        return Err(match descr.ends_with("f8") {
            true => problem.help("float64 would have to be rounded; save array.astype(numpy.float32)"),
            false => problem,
        });
    };
    // The axes are those of the workload, so at most 2^22 each.
    let promised = header_end + shape.elements() * u64::from(format.storage_bits() / 8);
    if promised != length {
        let (state, help) = match promised > length {
            true => ("is not whole", "it was cut off; copy or write it anew"),
            false => ("is longer than its header says", "something was appended to it; write it anew"),
        };
        return Err(cited
            .problem(format!("the file {shown} {state}"))
            .note(format!("the header accounts for {promised} bytes, the file has {length}"))
            .help(help));
    }
    let values = stored_array::values(&mut file, format, order, shape.elements()).map_err(unreadable)?;
    let values = if fortran_order { last_axis_innermost(values, &axes) } else { values };
    tensors::finite(shape, values, &format!("the array in {shown}"), cited)
}

/// The text of the header and the byte after it; the inner error says why it is none.
fn read_header(file: &mut File) -> std::io::Result<Result<(String, u64), String>> {
    let mut prefix = Vec::new();
    file.take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
    if !prefix.starts_with(b"\x93NUMPY") || prefix.len() < PREFIX_BYTES {
        return Ok(Err("it does not begin as one".to_owned()));
    }
    let width = match prefix[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Ok(Err(format!("its version {version} is unknown"))),
    };
    let mut count = Vec::new();
    file.take(width).read_to_end(&mut count)?;
    let header_bytes = count.iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    if header_bytes > LONGEST_HEADER {
        return Ok(Err(format!("its header would have {header_bytes} bytes")));
    }
    let mut header = Vec::new();
    file.take(header_bytes as u64).read_to_end(&mut header)?;
    if count.len() < width as usize || header.len() < header_bytes {
        return Ok(Err("it ends within its header".to_owned()));
    }
    let end = PREFIX_BYTES as u64 + width + header_bytes as u64;
    Ok(String::from_utf8(header).map(|header| (header, end)).map_err(|_| "its header is not text".to_owned()))
}

/// What the header says.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
    fn parse(text: &str) -> Result<Header, String> {
        let wrong = || format!("its header is {}", quoted(text.trim_end()));
        let mut rest = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(wrong)?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted_text(rest).ok_or_else(wrong)?;
            let after = after.trim_start().strip_prefix(':').ok_or_else(wrong)?.trim_start();
            rest = match key {
                "descr" if after.starts_with('[') => return Err("it holds records, not numbers".to_owned()),
                "descr" => {
                    let (value, after) = quoted_text(after).ok_or_else(wrong)?;
                    descr = Some(value.to_owned());
                    after
                }
                "fortran_order" => {
                    let value = after.starts_with("True");
                    fortran_order = Some(value);
                    after.strip_prefix(if value { "True" } else { "False" }).ok_or_else(wrong)?
                }
                "shape" => {
                    let (inner, after) = after.strip_prefix('(').and_then(|it| it.split_once(')')).ok_or_else(wrong)?;
                    let axes = inner.split(',').map(str::trim).filter(|axis| !axis.is_empty());
                    shape = Some(axes.map(str::parse).collect::<Result<Vec<u64>, _>>().map_err(|_| wrong())?);
                    after
                }
                _ => return Err(wrong()),
            };
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
            _ => Err(wrong()),
        }
    }
}

/// A quoted text and what follows it.
fn quoted_text(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// A type of the array in NumPy's words.
fn described(descr: &str) -> String {
    let name = match descr.trim_start_matches(['<', '>', '=', '|']) {
        "f8" => "float64",
        "f16" => "extended precision floats",
        "i4" => "int32",
        "i8" => "int64",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        _ => return format!("the type {}", quoted(descr)),
    };
    name.to_owned()
}

/// The type of elements whose every value FP32 holds, and the order of its bytes. Truth values are 0 and 1.
fn element(descr: &str) -> Option<(&'static ElementFormat, ByteOrder)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let order = match order {
        "<" => ByteOrder::Little,
        ">" => ByteOrder::Big,
        "|" if kind.ends_with('1') => ByteOrder::Little,
        _ => return None,
    };
    let formats = [("f4", &FP32), ("f2", &FP16), ("i2", &INT16), ("i1", &INT8), ("u1", &UINT8), ("b1", &UINT8)];
    formats.into_iter().find(|(name, _)| *name == kind).map(|(_, format)| (format, order))
}

/// Values of an array of `axes` whose first axis is innermost, as one whose last axis is.
fn last_axis_innermost(values: Vec<f32>, axes: &[u64]) -> Vec<f32> {
    // As rows of its first axis, one for each position along all others; and each row of the transpose is again such an
    // array, of one axis less.
    let [first, others @ ..] = axes else { return values };
    let first = *first as usize;
    if others.is_empty() || first == 0 {
        return values;
    }
    let part = values.len() / first;
    let mut turned = transposed(&values, part, first);
    drop(values);
    if others.len() > 1 {
        for part in turned.chunks_exact_mut(part) {
            let inner = last_axis_innermost(part.to_vec(), others);
            part.copy_from_slice(&inner);
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use crate::config::diagnostics::ConfigError;
    use crate::config::document::Document;
    use crate::config::tensors::{Generated, load};
    use crate::config::workload;
    use crate::workload::tensor_description::SourceTensorId;

    /// A file of version 1 as `numpy.save` writes it: the header ends in a line break and is filled up with blanks so
    /// that the data start at a multiple of 64.
    fn file_of(descr: &str, fortran_order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}");
        let filled = (10 + header.len() + 1).next_multiple_of(64) - 11;
        let header = format!("{header:filled$}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    /// What a workload of one 2x3 tensor `x` gets from a file of these bytes.
    fn loaded(bytes: &[u8]) -> Result<Vec<f32>, ConfigError> {
        loaded_as("[2, 3]", bytes)
    }

    /// The same for a tensor of that shape.
    fn loaded_as(shape: &str, bytes: &[u8]) -> Result<Vec<f32>, ConfigError> {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("x.npy"), bytes).unwrap();
        let text = format!(
            "name: one\nactivation_format: fp32\ntensors: [{{ name: x, shape: {shape}, npy: x.npy }}]\nlayers: [{{ name: act, activate: {{ input: x, function: relu }} }}]\n"
        );
        let document = Document::from_bytes("w.yaml", text.as_bytes(), folder.path()).unwrap();
        let (workload, places) = workload::resolve(&document).unwrap();
        let bindings = load(&workload, &places, Generated::Wanted)?;
        Ok(bindings.get(SourceTensorId(0)).unwrap().as_f32().unwrap().to_vec())
    }

    fn error(bytes: &[u8]) -> String {
        let error = loaded(bytes).unwrap_err();
        assert!(error.to_string().starts_with("w.yaml:3:"), "{error}");
        error.diagnostics()[0].to_string()
    }

    const COUNT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn all_types_that_fp32_holds_come_out_exactly_in_both_byte_orders() {
        for (descr, data) in [
            ("<f4", COUNT.map(f32::to_le_bytes).concat()),
            (">f4", COUNT.map(f32::to_be_bytes).concat()),
            // Codes of binary16: 1 is 0x3C00, 2 0x4000, 3 0x4200, 4 0x4400, 5 0x4500, 6 0x4600.
            ("<f2", [0x3C00u16, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600].map(u16::to_le_bytes).concat()),
            (">f2", [0x3C00u16, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600].map(u16::to_be_bytes).concat()),
            ("<i2", [1i16, 2, 3, 4, 5, 6].map(i16::to_le_bytes).concat()),
            (">i2", [1i16, 2, 3, 4, 5, 6].map(i16::to_be_bytes).concat()),
            ("|i1", vec![1, 2, 3, 4, 5, 6]),
            ("|u1", vec![1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(loaded(&file_of(descr, "False", "(2, 3)", &data)).unwrap(), COUNT, "{descr}");
        }
        assert_eq!(
            loaded(&file_of("|b1", "False", "(2, 3)", &[0, 1, 0, 1, 1, 0])).unwrap(),
            [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(loaded(&file_of("<i2", "False", "(2, 3)", &[0x00, 0x80].repeat(6))).unwrap(), [-32768.0; 6]);
        assert_eq!(loaded(&file_of("|i1", "False", "(2, 3)", &[0xFF; 6])).unwrap(), [-1.0; 6]);
        assert_eq!(loaded(&file_of("|u1", "False", "(2, 3)", &[0xFF; 6])).unwrap(), [255.0; 6]);
    }

    #[test]
    fn an_array_in_the_order_of_fortran_is_turned_into_rows() {
        // Column by column: (1, 4), (2, 5), (3, 6).
        let data = [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0].map(f32::to_le_bytes).concat();
        assert_eq!(loaded(&file_of("<f4", "True", "(2, 3)", &data)).unwrap(), COUNT);
    }

    #[test]
    fn a_kernel_of_four_axes_is_read_in_both_orders() {
        // numpy.arange(120).reshape(2, 3, 4, 5): element (a, b, c, d) is ((a 3 + b) 4 + c) 5 + d. In the order of Fortran it
        // stands at a + 2 (b + 3 (c + 4 d)).
        let mut by_column = vec![0; 120];
        for index in 0..120usize {
            let (a, b, c, d) = (index / 60, index / 20 % 3, index / 5 % 4, index % 5);
            by_column[a + 2 * (b + 3 * (c + 4 * d))] = index as u8;
        }
        let by_row: Vec<u8> = (0..120).collect();
        let expected: Vec<f32> = (0..120).map(|value| value as f32).collect();
        for (order, data) in [("False", &by_row), ("True", &by_column)] {
            let file = file_of("|u1", order, "(2, 3, 4, 5)", data);
            assert_eq!(loaded_as("[2, 3, 4, 5]", &file).unwrap(), expected, "fortran_order {order}");
            assert!(loaded_as("[3, 2, 4, 5]", &file).is_err());
        }
        let flattened = file_of("|u1", "False", "(24, 5)", &by_row);
        assert_eq!(loaded_as("[2, 3, 4, 5]", &flattened).unwrap(), expected);
    }

    #[test]
    fn versions_two_and_three_have_a_longer_count_of_header_bytes() {
        let one = file_of("|i1", "False", "(2, 3)", &[7; 6]);
        for version in [2, 3] {
            let mut file = one.clone();
            file[6] = version;
            file.splice(10..10, [0, 0]);
            assert_eq!(loaded(&file).unwrap(), [7.0; 6]);
        }
        let mut file = one;
        file[6] = 4;
        assert!(error(&file).contains("x.npy is not an npy file: its version 4 is unknown"));
    }

    #[test]
    fn types_that_would_have_to_be_rounded_or_guessed_are_refused_by_name() {
        for (descr, words) in [
            ("<f8", "holds float64"),
            ("<i8", "holds int64"),
            ("|V2", "holds the type \"|V2\""),
            ("", "holds the type \"\""),
            ("é", "holds the type"),
        ] {
            let error = error(&file_of(descr, "False", "(2, 3)", &[0; 48]));
            assert!(
                error.contains(words) && error.contains("float32, float16, int16, int8, uint8 and bool can be read"),
                "{error}"
            );
        }
        assert!(error(&file_of("<f8", "False", "(2, 3)", &[0; 48])).contains("astype(numpy.float32)"));
        let text = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }";
        let records = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
        assert!(error(&records).contains("it holds records, not numbers"), "{}", error(&records));
    }

    #[test]
    fn another_shape_is_cited_at_the_shape() {
        for (shape, shown) in [("(3, 2)", "[3, 2]"), ("(6,)", "[6]"), ("()", "[]"), ("(1, 2, 3)", "[1, 2, 3]")] {
            let error = loaded(&file_of("|i1", "False", shape, &[0; 6])).unwrap_err();
            assert_eq!(error.diagnostics()[0].path().to_string(), "tensors[0].shape");
            assert!(error.diagnostics()[0].message().ends_with(&format!("has the shape {shown}")), "{error}");
        }
    }

    #[test]
    fn no_cut_and_no_changed_byte_of_a_file_makes_the_reader_panic() {
        let whole = file_of("<f4", "False", "(2, 3)", &[0; 24]);
        for length in 0..whole.len() {
            let error = error(&whole[..length]);
            assert!(error.contains("is not an npy file") || error.contains("is not whole"), "{length} bytes: {error}");
        }
        for position in 0..whole.len() - 24 {
            for byte in [0, b'\'', b'(', 0xFF, b'9'] {
                let mut file = whole.clone();
                file[position] = byte;
                let _ = loaded(&file);
            }
        }
        let longer = error(&[&whole[..], &[0]].concat());
        assert!(longer.contains("is longer than its header says"), "{longer}");
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused_by_its_position() {
        let data = [0.0f32, 0.0, 0.0, 0.0, f32::NAN, 0.0].map(f32::to_le_bytes).concat();
        assert!(error(&file_of("<f4", "False", "(2, 3)", &data)).contains("x.npy holds NaN at row 1, column 1"));
    }
}
