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
use crate::config::tensors;
use crate::config::workload::TensorFile;
use crate::numerics::formats::FP16;
use crate::numerics::tensor::{Elements, Tensor};
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
    let is_equal = match axes.as_slice() {
        [columns] => shape == MatrixShape::new(1, *columns),
        [rows, columns] => shape == MatrixShape::new(*rows, *columns),
        _ => false,
    };
    if !is_equal {
        let message = format!("the array in {shown} has the shape {axes:?}");
        return Err(written.shape.problem(message).note(format!("here it is {shape}")));
    }
    let Some(element) = Element::of(&descr) else {
        let problem = cited.problem(format!("{shown} holds {}", described(&descr)));
        let problem = problem.note("float32, float16, int8 and uint8 can be read");
        return Err(match descr.ends_with("f8") {
            true => problem.help("float64 would have to be rounded; save array.astype(numpy.float32)"),
            false => problem,
        });
    };
    // The axes are those of the workload, so at most 2^22 each.
    let promised = header_end + shape.elements() * element.bytes() as u64;
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
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let values = element.values(&bytes);
    if values.len() as u64 != shape.elements() {
        return Err(cited.problem(format!("the file {shown} changed while it was read")));
    }
    let values = if fortran_order { rows_first(&values, shape) } else { values };
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
        "i2" => "int16",
        "i4" => "int32",
        "i8" => "int64",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        "b1" => "truth values",
        _ => return format!("the type {}", quoted(descr)),
    };
    name.to_owned()
}

/// A type whose every value FP32 holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    F32 { big_endian: bool },
    F16 { big_endian: bool },
    I8,
    U8,
}

impl Element {
    fn of(descr: &str) -> Option<Element> {
        let (order, kind) = descr.split_at_checked(1)?;
        let big_endian = match order {
            "<" => false,
            ">" => true,
            "|" => {
                return [("i1", Element::I8), ("u1", Element::U8)].into_iter().find(|it| it.0 == kind).map(|it| it.1);
            }
            _ => return None,
        };
        match kind {
            "f4" => Some(Element::F32 { big_endian }),
            "f2" => Some(Element::F16 { big_endian }),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Element::F32 { .. } => 4,
            Element::F16 { .. } => 2,
            Element::I8 | Element::U8 => 1,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Element::F32 { big_endian } => {
                let bits = |bytes: &[u8]| {
                    let bytes = bytes.try_into().expect("a chunk of four");
                    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
                };
                bytes.chunks_exact(4).map(bits).map(f32::from_bits).collect()
            }
            Element::F16 { big_endian } => {
                let code = |bytes: &[u8]| {
                    let bytes = bytes.try_into().expect("a chunk of two");
                    if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
                };
                let codes: Vec<u16> = bytes.chunks_exact(2).map(code).collect();
                let shape = MatrixShape::new(1, codes.len() as u64);
                let tensor = Tensor::try_new(shape, &FP16, Elements::Code16(codes));
                tensor.map_or_else(|_| Vec::new(), |tensor| tensor.to_f32())
            }
            Element::I8 => bytes.iter().map(|byte| f32::from(*byte as i8)).collect(),
            Element::U8 => bytes.iter().map(|byte| f32::from(*byte)).collect(),
        }
    }
}

/// Values written column after column, as rows.
fn rows_first(values: &[f32], shape: MatrixShape) -> Vec<f32> {
    let (rows, columns) = (shape.rows as usize, shape.columns as usize);
    (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).map(|(r, c)| values[c * rows + r]).collect()
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
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("x.npy"), bytes).unwrap();
        let text = "name: one\nactivation_format: fp32\ntensors: [{ name: x, shape: [2, 3], npy: x.npy }]\nlayers: [{ name: act, activate: { input: x, function: relu } }]\n";
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
            ("|i1", vec![1, 2, 3, 4, 5, 6]),
            ("|u1", vec![1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(loaded(&file_of(descr, "False", "(2, 3)", &data)).unwrap(), COUNT, "{descr}");
        }
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
            assert!(error.contains(words) && error.contains("float32, float16, int8 and uint8 can be read"), "{error}");
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
