//! A matrix of codes of one element format, row-major, without scales.
//!
//! Codes are held in the narrowest machine integer that is convenient to compute with, not packed; what a tensor takes
//! in a memory is stated by [`Tensor::bits`] and [`Tensor::bytes`]. Deliberately absent: scales and zero points (they
//! belong to whoever quantized) and more than two dimensions (a batch is a list of matrices).

use half::{bf16, f16};

use crate::numerics::formats::{BF16, ElementFormat, ElementKind, FP16, FP32, Overflow, Rounding};
use crate::shape::{MatrixShape, Span};
use crate::units::Bytes;

/// A row-major matrix of codes of one element format.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: MatrixShape,
    format: &'static ElementFormat,
    elements: Elements,
}

/// The codes of a tensor, by how they are held.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// `int8`, and `int4` sign-extended.
    I8(Vec<i8>),
    /// `int16`.
    I16(Vec<i16>),
    /// `int32`.
    I32(Vec<i32>),
    /// `fp32`.
    F32(Vec<f32>),
    /// Codes of up to 8 bits that are not signed integers: `fp4`, `fp6`, `fp8`, `e8m0`, `uint8`; one code a byte.
    Code8(Vec<u8>),
    /// Codes of 16 bits: `fp16`, `bf16`.
    Code16(Vec<u16>),
}

/// Consecutive rows of a tensor, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: MatrixShape,
    format: &'static ElementFormat,
    elements: ElementsView<'a>,
}

/// The codes of a view; the variants are those of [`Elements`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ElementsView<'a> {
    /// `int8`, and `int4` sign-extended.
    I8(&'a [i8]),
    /// `int16`.
    I16(&'a [i16]),
    /// `int32`.
    I32(&'a [i32]),
    /// `fp32`.
    F32(&'a [f32]),
    /// Codes of up to 8 bits that are not signed integers.
    Code8(&'a [u8]),
    /// Codes of 16 bits.
    Code16(&'a [u16]),
}

/// Why a tensor could not be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// The number of elements does not fit the shape.
    #[error("a {shape} tensor has {} elements, {given} were given", .shape.rows as u128 * .shape.columns as u128)]
    WrongLength {
        /// The shape asked for.
        shape: MatrixShape,
        /// Elements given.
        given: usize,
    },
    /// The elements are held in a type that this format does not use.
    #[error("{format} elements are held as {expected}, not as {given}")]
    WrongStorage {
        /// The format asked for.
        format: &'static ElementFormat,
        /// How its elements are held.
        expected: &'static str,
        /// How the given ones are.
        given: &'static str,
    },
    /// A code does not exist in the format.
    #[error("element {index} is {code}, which is no {format} code")]
    NoSuchCode {
        /// The format asked for.
        format: &'static ElementFormat,
        /// Position in row-major order.
        index: usize,
        /// The offending code.
        code: i64,
    },
}

impl Tensor {
    /// A tensor of `elements`, row-major; refuses a wrong length, a wrong storage and codes that do not exist.
    pub fn try_new(
        shape: MatrixShape,
        format: &'static ElementFormat,
        elements: Elements,
    ) -> Result<Tensor, TensorError> {
        let given = elements.as_view();
        if given.len() as u128 != u128::from(shape.rows) * u128::from(shape.columns) {
            return Err(TensorError::WrongLength { shape, given: given.len() });
        }
        let expected = storage_name(format);
        if given.storage_name() != expected {
            return Err(TensorError::WrongStorage { format, expected, given: given.storage_name() });
        }
        // Only formats narrower than their storage can hold a code that does not exist.
        let unused = 8u32.saturating_sub(format.storage_bits());
        let wrong = match given {
            ElementsView::I8(codes) if unused > 0 => first(codes, |code| (code << unused) >> unused != code),
            ElementsView::Code8(codes) if unused > 0 => first(codes, |code| u32::from(code) > format.code_mask()),
            _ => None,
        };
        if let Some((index, code)) = wrong {
            return Err(TensorError::NoSuchCode { format, index, code });
        }
        Ok(Tensor { shape, format, elements })
    }

    /// A tensor whose codes are all 0: the value zero, except for `e8m0`, where it is `2^-127`.
    pub fn zeros(shape: MatrixShape, format: &'static ElementFormat) -> Tensor {
        let elements = Elements::from_codes(format, (0..shape.elements()).map(|_| 0));
        Tensor { shape, format, elements }
    }

    /// The row-major `values` rounded to `format`, one by one and without a scale.
    pub fn from_f32(
        shape: MatrixShape,
        format: &'static ElementFormat,
        values: &[f32],
        rounding: Rounding,
        overflow: Overflow,
    ) -> Result<Tensor, TensorError> {
        let plain = |value: f32| format.encode_f32(value, rounding, overflow);
        // The crate for 16-bit floats rounds like the codec (a test of the codec proves it), only faster; what it finds
        // not finite is left to the codec, which knows about overflow.
        let by_half = |value: f32| match (*format == FP16, *format == BF16) {
            (true, _) => Some(f16::from_f32(value)).filter(|half| half.is_finite()).map(f16::to_bits),
            (_, true) => Some(bf16::from_f32(value)).filter(|half| half.is_finite()).map(bf16::to_bits),
            _ => None,
        };
        let elements = match format {
            // Nothing rounds, and nothing overflows but what is infinite already.
            format if *format == FP32 && overflow == Overflow::NonFinite => Elements::F32(values.to_vec()),
            format if format.storage_bits() == 16 && !format.is_integer() && rounding == Rounding::NearestEven => {
                let code = |value: &f32| by_half(*value).unwrap_or_else(|| plain(*value) as u16);
                Elements::Code16(values.iter().map(code).collect())
            }
            format => Elements::from_codes(format, values.iter().map(|value| plain(*value))),
        };
        Tensor::try_new(shape, format, elements)
    }

    /// Rows and columns.
    pub const fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// The format of the elements.
    pub const fn format(&self) -> &'static ElementFormat {
        self.format
    }

    /// The codes.
    pub const fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The codes, without the shape.
    pub fn into_elements(self) -> Elements {
        self.elements
    }

    /// All rows.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: self.shape, format: self.format, elements: self.elements.as_view() }
    }

    /// The rows of `span`. Panics if they are not all there.
    pub fn rows(&self, span: Span) -> TensorView<'_> {
        self.view().rows(span)
    }

    /// The signed elements of up to 8 bits, if they are held so.
    pub fn as_i8(&self) -> Option<&[i8]> {
        self.view().as_i8()
    }

    /// The elements of an `int16` tensor.
    pub fn as_i16(&self) -> Option<&[i16]> {
        self.view().as_i16()
    }

    /// The elements of an `int32` tensor.
    pub fn as_i32(&self) -> Option<&[i32]> {
        self.view().as_i32()
    }

    /// The elements of an `fp32` tensor.
    pub fn as_f32(&self) -> Option<&[f32]> {
        self.view().as_f32()
    }

    /// The codes of up to 8 bits, if they are held so.
    pub fn as_code8(&self) -> Option<&[u8]> {
        self.view().as_code8()
    }

    /// The codes of an `fp16` or `bf16` tensor.
    pub fn as_code16(&self) -> Option<&[u16]> {
        self.view().as_code16()
    }

    /// The value at `row`, `column`. Panics outside the shape.
    pub fn value(&self, row: u64, column: u64) -> f64 {
        self.view().value(row, column)
    }

    /// All values, row-major, exactly.
    pub fn to_f64(&self) -> Vec<f64> {
        self.view().to_f64()
    }

    /// All values, row-major; exact but for `int32` beyond 24 bits, which rounds to the nearest, ties to even.
    pub fn to_f32(&self) -> Vec<f32> {
        self.view().to_f32()
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(&self) -> Tensor {
        let (rows, columns) = (self.shape.rows as usize, self.shape.columns as usize);
        let elements = match &self.elements {
            Elements::I8(codes) => Elements::I8(transposed(codes, rows, columns)),
            Elements::I16(codes) => Elements::I16(transposed(codes, rows, columns)),
            Elements::I32(codes) => Elements::I32(transposed(codes, rows, columns)),
            Elements::F32(values) => Elements::F32(transposed(values, rows, columns)),
            Elements::Code8(codes) => Elements::Code8(transposed(codes, rows, columns)),
            Elements::Code16(codes) => Elements::Code16(transposed(codes, rows, columns)),
        };
        Tensor { shape: MatrixShape::new(self.shape.columns, self.shape.rows), format: self.format, elements }
    }

    /// Bits of the elements in a memory, packed without gaps.
    pub fn bits(&self) -> u64 {
        packed_bits(self.shape, self.format)
    }

    /// Bytes in a memory: elements are packed without gaps along a row, and every row starts on a byte.
    pub fn bytes(&self) -> Bytes {
        packed_bytes(self.shape, self.format)
    }
}

/// Bits of a `shape` of `format` elements packed without gaps.
pub const fn packed_bits(shape: MatrixShape, format: &ElementFormat) -> u64 {
    shape.elements() * format.storage_bits() as u64
}

/// Bytes of a `shape` of `format` elements: packed without gaps along a row, every row starting on a byte.
pub const fn packed_bytes(shape: MatrixShape, format: &ElementFormat) -> Bytes {
    Bytes(shape.rows * (shape.columns * format.storage_bits() as u64).div_ceil(8))
}

impl Elements {
    /// Codes of `format`, held as that format is held.
    fn from_codes(format: &'static ElementFormat, codes: impl Iterator<Item = u32>) -> Elements {
        match (format.kind(), format.storage_bits()) {
            (ElementKind::Integer { signed: true }, bits @ ..=8) => {
                let unused = 8 - bits;
                Elements::I8(codes.map(|code| ((code as u8) << unused) as i8 >> unused).collect())
            }
            (ElementKind::Integer { signed: true }, ..=16) => Elements::I16(codes.map(|code| code as i16).collect()),
            (ElementKind::Integer { .. }, 17..) => Elements::I32(codes.map(|code| code as i32).collect()),
            (_, ..=8) => Elements::Code8(codes.map(|code| code as u8).collect()),
            (_, ..=16) => Elements::Code16(codes.map(|code| code as u16).collect()),
            (_, 17..) => Elements::F32(codes.map(f32::from_bits).collect()),
        }
    }

    /// The codes of `format` in `bytes`: each in the whole bytes that its bits fill, least significant byte first. Bytes
    /// behind the last whole code are left out.
    pub fn from_le_bytes(format: &'static ElementFormat, bytes: &[u8]) -> Elements {
        match format.storage_bits() {
            ..=8 => Elements::from_codes(format, bytes.iter().map(|byte| u32::from(*byte))),
            9..=16 => {
                let code = |bytes: &[u8; 2]| u32::from(u16::from_le_bytes(*bytes));
                Elements::from_codes(format, bytes.as_chunks().0.iter().map(code))
            }
            17.. => Elements::from_codes(format, bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes))),
        }
    }

    /// The codes, borrowed.
    pub fn as_view(&self) -> ElementsView<'_> {
        match self {
            Elements::I8(codes) => ElementsView::I8(codes),
            Elements::I16(codes) => ElementsView::I16(codes),
            Elements::I32(codes) => ElementsView::I32(codes),
            Elements::F32(values) => ElementsView::F32(values),
            Elements::Code8(codes) => ElementsView::Code8(codes),
            Elements::Code16(codes) => ElementsView::Code16(codes),
        }
    }
}

impl<'a> TensorView<'a> {
    /// Rows and columns.
    pub const fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// The format of the elements.
    pub const fn format(&self) -> &'static ElementFormat {
        self.format
    }

    /// The codes.
    pub const fn elements(&self) -> ElementsView<'a> {
        self.elements
    }

    /// The rows of `span`, counted from the first row of this view. Panics if they are not all there.
    pub fn rows(&self, span: Span) -> TensorView<'a> {
        let columns = self.shape.columns as usize;
        let range = span.start as usize * columns..span.end as usize * columns;
        let elements = match self.elements {
            ElementsView::I8(codes) => ElementsView::I8(&codes[range]),
            ElementsView::I16(codes) => ElementsView::I16(&codes[range]),
            ElementsView::I32(codes) => ElementsView::I32(&codes[range]),
            ElementsView::F32(values) => ElementsView::F32(&values[range]),
            ElementsView::Code8(codes) => ElementsView::Code8(&codes[range]),
            ElementsView::Code16(codes) => ElementsView::Code16(&codes[range]),
        };
        TensorView { shape: MatrixShape::new(span.len(), self.shape.columns), format: self.format, elements }
    }

    /// The signed elements of up to 8 bits, if they are held so.
    pub const fn as_i8(&self) -> Option<&'a [i8]> {
        if let ElementsView::I8(codes) = self.elements { Some(codes) } else { None }
    }

    /// The elements of an `int16` tensor.
    pub const fn as_i16(&self) -> Option<&'a [i16]> {
        if let ElementsView::I16(codes) = self.elements { Some(codes) } else { None }
    }

    /// The elements of an `int32` tensor.
    pub const fn as_i32(&self) -> Option<&'a [i32]> {
        if let ElementsView::I32(codes) = self.elements { Some(codes) } else { None }
    }

    /// The elements of an `fp32` tensor.
    pub const fn as_f32(&self) -> Option<&'a [f32]> {
        if let ElementsView::F32(values) = self.elements { Some(values) } else { None }
    }

    /// The codes of up to 8 bits, if they are held so.
    pub const fn as_code8(&self) -> Option<&'a [u8]> {
        if let ElementsView::Code8(codes) = self.elements { Some(codes) } else { None }
    }

    /// The codes of an `fp16` or `bf16` tensor.
    pub const fn as_code16(&self) -> Option<&'a [u16]> {
        if let ElementsView::Code16(codes) = self.elements { Some(codes) } else { None }
    }

    /// The value at `row`, `column`. Panics outside the shape.
    pub fn value(&self, row: u64, column: u64) -> f64 {
        assert!(row < self.shape.rows && column < self.shape.columns, "({row}, {column}) is outside {}", self.shape);
        let index = (row * self.shape.columns + column) as usize;
        match self.elements {
            ElementsView::I8(codes) => f64::from(codes[index]),
            ElementsView::I16(codes) => f64::from(codes[index]),
            ElementsView::I32(codes) => f64::from(codes[index]),
            ElementsView::F32(values) => f64::from(values[index]),
            ElementsView::Code8(codes) => self.format.decode(codes[index].into()),
            ElementsView::Code16(codes) => self.format.decode(codes[index].into()),
        }
    }

    /// All values, row-major, exactly.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.elements {
            ElementsView::I8(codes) => codes.iter().map(|code| f64::from(*code)).collect(),
            ElementsView::I16(codes) => codes.iter().map(|code| f64::from(*code)).collect(),
            ElementsView::I32(codes) => codes.iter().map(|code| f64::from(*code)).collect(),
            ElementsView::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            ElementsView::Code8(codes) => {
                let values: Vec<f64> = (0..256).map(|code| self.format.decode(code)).collect();
                codes.iter().map(|code| values[usize::from(*code)]).collect()
            }
            ElementsView::Code16(codes) => codes.iter().map(|code| self.format.decode((*code).into())).collect(),
        }
    }

    /// All values, row-major; exact but for `int32` beyond 24 bits, which rounds to the nearest, ties to even.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.elements {
            ElementsView::I8(codes) => codes.iter().map(|code| f32::from(*code)).collect(),
            ElementsView::I16(codes) => codes.iter().map(|code| f32::from(*code)).collect(),
            // The conversion of the language is the IEEE 754 one: to nearest, ties to even.
            ElementsView::I32(codes) => codes.iter().map(|code| *code as f32).collect(),
            ElementsView::F32(values) => values.to_vec(),
            ElementsView::Code16(codes) if *self.format == FP16 => {
                codes.iter().map(|code| f16::from_bits(*code).to_f32()).collect()
            }
            ElementsView::Code16(codes) if *self.format == BF16 => {
                codes.iter().map(|code| bf16::from_bits(*code).to_f32()).collect()
            }
            ElementsView::Code8(_) | ElementsView::Code16(_) => {
                self.to_f64().into_iter().map(|value| value as f32).collect()
            }
        }
    }
}

impl ElementsView<'_> {
    /// Number of elements.
    pub const fn len(&self) -> usize {
        match self {
            ElementsView::I8(codes) => codes.len(),
            ElementsView::I16(codes) => codes.len(),
            ElementsView::I32(codes) => codes.len(),
            ElementsView::F32(values) => values.len(),
            ElementsView::Code8(codes) => codes.len(),
            ElementsView::Code16(codes) => codes.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn storage_name(&self) -> &'static str {
        match self {
            ElementsView::I8(_) => "i8",
            ElementsView::I16(_) => "i16",
            ElementsView::I32(_) => "i32",
            ElementsView::F32(_) => "f32",
            ElementsView::Code8(_) => "8-bit codes",
            ElementsView::Code16(_) => "16-bit codes",
        }
    }
}

/// How elements of `format` are held, in the words of messages.
fn storage_name(format: &'static ElementFormat) -> &'static str {
    Elements::from_codes(format, std::iter::empty()).as_view().storage_name()
}

fn first<T: Copy + Into<i64>>(codes: &[T], is_wrong: impl Fn(T) -> bool) -> Option<(usize, i64)> {
    let index = codes.iter().position(|code| is_wrong(*code))?;
    Some((index, codes[index].into()))
}

/// The row-major `elements` with rows and columns exchanged.
pub fn transposed<T: Copy>(elements: &[T], rows: usize, columns: usize) -> Vec<T> {
    /// Columns that are written at a time, each a stream of its own: as many as caches follow.
    const STREAMS: usize = 16;
    let mut result = elements.to_vec();
    for first in (0..columns).step_by(STREAMS) {
        let last = columns.min(first + STREAMS);
        for row in 0..rows {
            for (column, element) in (first..last).zip(&elements[row * columns + first..]) {
                result[column * rows + row] = *element;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats::{ALL, E8M0, FP4_E2M1, FP6_E2M3, INT4, INT8, INT32, UINT8};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    const SHAPE: MatrixShape = MatrixShape::new(2, 3);

    #[test]
    fn a_tensor_refuses_wrong_lengths_storages_and_codes() {
        let wrong_length = Tensor::try_new(SHAPE, &INT8, Elements::I8(vec![0; 5]));
        assert_eq!(wrong_length, Err(TensorError::WrongLength { shape: SHAPE, given: 5 }));
        let wrong_storage = Tensor::try_new(SHAPE, &FP4_E2M1, Elements::I8(vec![0; 6]));
        assert_eq!(wrong_storage.unwrap_err().to_string(), "fp4_e2m1 elements are held as 8-bit codes, not as i8");
        let wrong_code = Tensor::try_new(SHAPE, &INT4, Elements::I8(vec![0, -8, 7, 8, 0, 0]));
        assert_eq!(wrong_code, Err(TensorError::NoSuchCode { format: &INT4, index: 3, code: 8 }));
        let wrong_code = Tensor::try_new(SHAPE, &FP6_E2M3, Elements::Code8(vec![0, 63, 64, 0, 0, 0]));
        assert_eq!(wrong_code, Err(TensorError::NoSuchCode { format: &FP6_E2M3, index: 2, code: 64 }));
    }

    #[test]
    fn every_format_holds_its_own_values() {
        // Values that all formats but the scale, the unsigned one aside, represent exactly.
        let values = [0.0, 1.0, 2.0, 4.0, 3.0, 6.0];
        for format in ALL.iter().copied().filter(|format| **format != E8M0) {
            let tensor = Tensor::from_f32(SHAPE, format, &values, Rounding::TowardZero, Overflow::Saturate).unwrap();
            assert_eq!(tensor.to_f32(), values, "{format}");
            assert_eq!(tensor.value(1, 2), 6.0);
            assert_eq!(tensor.rows(Span::new(1, 2)).to_f64(), [4.0, 3.0, 6.0]);
            assert_eq!(tensor.transposed().to_f64(), [0.0, 4.0, 1.0, 3.0, 2.0, 6.0]);
            assert_eq!(Tensor::zeros(SHAPE, format).to_f64(), [0.0; 6]);
            if format.is_integer() && *format != UINT8 {
                let negative = values.map(|value| -value);
                let tensor = Tensor::from_f32(SHAPE, format, &negative, Rounding::NearestEven, Overflow::Saturate);
                assert_eq!(tensor.unwrap().to_f32(), negative, "{format}");
            }
        }
    }

    proptest! {
        #[test]
        fn tensors_convert_like_the_codec_value_by_value(bits in proptest::collection::vec(any::<u32>(), 6)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            for format in ALL.iter().copied() {
                for rounding in [Rounding::NearestEven, Rounding::NearestAway, Rounding::TowardZero] {
                    for overflow in [Overflow::Saturate, Overflow::NonFinite] {
                        let tensor = Tensor::from_f32(SHAPE, format, &values, rounding, overflow).unwrap();
                        for (index, value) in values.iter().enumerate() {
                            let expected = format.decode(format.encode_f32(*value, rounding, overflow));
                            let singles = f64::from(tensor.to_f32()[index]);
                            for found in [tensor.to_f64()[index], singles] {
                                // An int32 beyond 24 bits rounds in f32.
                                let expected = if *format == INT32 { found } else { expected };
                                let bits = |value: f64| if value.is_nan() { 0 } else { value.to_bits() };
                                prop_assert_eq!(bits(found), bits(expected), "{} {}", format, value);
                                prop_assert_eq!(found.is_nan(), expected.is_nan(), "{} {}", format, value);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn codes_are_read_from_bytes_the_least_significant_first() {
        assert_eq!(Elements::from_le_bytes(&INT8, &[1, 0xFF]), Elements::I8(vec![1, -1]));
        assert_eq!(Elements::from_le_bytes(&UINT8, &[1, 0xFF]), Elements::Code8(vec![1, 255]));
        assert_eq!(Elements::from_le_bytes(&FP16, &[0x34, 0x12, 9]), Elements::Code16(vec![0x1234]));
        assert_eq!(Elements::from_le_bytes(&INT32, &[0xFE, 0xFF, 0xFF, 0xFF]), Elements::I32(vec![-2]));
        assert_eq!(Elements::from_le_bytes(&FP32, &1.5f32.to_le_bytes()), Elements::F32(vec![1.5]));
    }

    #[test]
    fn a_transpose_wider_than_its_streams_exchanges_each_element() {
        let elements: Vec<usize> = (0..3 * 37).collect();
        let expected: Vec<usize> = (0..37).flat_map(|column| (0..3).map(move |row| row * 37 + column)).collect();
        assert_eq!(transposed(&elements, 3, 37), expected);
    }

    #[test]
    fn rows_are_packed_to_bits_and_start_on_a_byte() {
        // Three 4-bit elements are 12 bits, two bytes a row; three 6-bit ones 18 bits, three bytes.
        assert_eq!((Tensor::zeros(SHAPE, &INT4).bits(), Tensor::zeros(SHAPE, &INT4).bytes()), (24, Bytes(4)));
        assert_eq!(Tensor::zeros(SHAPE, &FP6_E2M3).bytes(), Bytes(6));
        assert_eq!(Tensor::zeros(SHAPE, &INT32).bytes(), Bytes(24));
    }
}
