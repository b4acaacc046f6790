//! A matrix in a block format: codes, block scales, tensor scale.

use crate::numerics::block::BlockFormat;
use crate::numerics::tensor::{ElementsView, Tensor};
use crate::shape::{MatrixShape, Span};
use crate::units::Bytes;

/// A row-major matrix in a block format, blocks along its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockTensor {
    format: &'static BlockFormat,
    block: u64,
    codes: Tensor,
    scales: Tensor,
    tensor_scale: f32,
}

/// Why codes and scales do not make a block tensor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BlockTensorError {
    /// The codes or scales are of another element format.
    #[error("{format} wants {expected} {what}, {given} were given")]
    WrongFormat {
        /// The block format.
        format: &'static BlockFormat,
        /// Codes or scales.
        what: &'static str,
        /// Their format by the block format.
        expected: &'static str,
        /// The format given.
        given: &'static str,
    },
    /// There is not one scale for each block.
    #[error("blocks of {block} along the rows of a {shape} matrix have {expected} scales, {given} were given")]
    WrongScales {
        /// Elements in a block.
        block: u64,
        /// Shape of the codes.
        shape: MatrixShape,
        /// Shape that the scales should have.
        expected: MatrixShape,
        /// Shape that they have.
        given: MatrixShape,
    },
    /// A block has at least one element.
    #[error("a block has at least one element, 0 were asked for")]
    EmptyBlock,
}

impl BlockTensor {
    /// `codes` with one scale for every `block` of them along a row; `scales` has a row for each row of `codes`.
    pub fn try_new(
        format: &'static BlockFormat,
        block: u64,
        codes: Tensor,
        scales: Tensor,
        tensor_scale: f32,
    ) -> Result<BlockTensor, BlockTensorError> {
        let formats = [("codes", format.element(), codes.format()), ("scales", format.scale(), scales.format())];
        for (what, expected, given) in formats {
            if expected != given {
                let (expected, given) = (expected.name(), given.name());
                return Err(BlockTensorError::WrongFormat { format, what, expected, given });
            }
        }
        if block == 0 {
            return Err(BlockTensorError::EmptyBlock);
        }
        let shape = codes.shape();
        let expected = MatrixShape::new(shape.rows, shape.columns.div_ceil(block));
        if scales.shape() != expected {
            return Err(BlockTensorError::WrongScales { block, shape, expected, given: scales.shape() });
        }
        Ok(BlockTensor { format, block, codes, scales, tensor_scale })
    }

    /// The block format.
    pub const fn format(&self) -> &'static BlockFormat {
        self.format
    }

    /// Elements in a block.
    pub const fn block(&self) -> u64 {
        self.block
    }

    /// Rows and columns.
    pub const fn shape(&self) -> MatrixShape {
        self.codes.shape()
    }

    /// The element codes.
    pub const fn codes(&self) -> &Tensor {
        &self.codes
    }

    /// The block scales: a row for each row of codes, a column for each block.
    pub const fn scales(&self) -> &Tensor {
        &self.scales
    }

    /// The scale of the tensor; 1 for formats without one.
    pub const fn tensor_scale(&self) -> f32 {
        self.tensor_scale
    }

    /// All values, row-major: element times scale (times tensor scale), rounded to f32 once; for NVFP4 the two scales are
    /// multiplied first. A block of scale NaN is NaN.
    pub fn dequantize(&self) -> Vec<f32> {
        self.dequantize_rows(Span::new(0, self.shape().rows))
    }

    /// The values of the rows of `span`. Panics if they are not all there.
    pub fn dequantize_rows(&self, span: Span) -> Vec<f32> {
        let columns = self.shape().columns as usize;
        if columns == 0 {
            return Vec::new();
        }
        let elements: Vec<f32> = (0..256).map(|code| self.format.element_value(code) as f32).collect();
        let scales = self.scales.rows(span).to_f32();
        let scales: Vec<f32> = match self.format.has_tensor_scale() {
            true => scales.into_iter().map(|scale| self.tensor_scale * scale).collect(),
            false => scales,
        };
        match self.codes.rows(span).elements() {
            ElementsView::I8(codes) => self.scaled(codes, &scales, |code: i8| elements[usize::from(code as u8)]),
            ElementsView::Code8(codes) => self.scaled(codes, &scales, |code: u8| elements[usize::from(code)]),
            _ => unreachable!("elements of block formats have at most 8 bits"),
        }
    }

    fn scaled<T: Copy>(&self, codes: &[T], scales: &[f32], element: impl Fn(T) -> f32) -> Vec<f32> {
        let (columns, block) = (self.shape().columns as usize, self.block as usize);
        let mut values = Vec::with_capacity(codes.len());
        for (codes, scales) in codes.chunks_exact(columns).zip(scales.chunks_exact(columns.div_ceil(block))) {
            for (codes, scale) in codes.chunks(block).zip(scales) {
                values.extend(codes.iter().map(|code| element(*code) * scale));
            }
        }
        values
    }

    /// Bits of codes, block scales and tensor scale (32 where the format has one), packed without gaps.
    pub fn bits(&self) -> u64 {
        self.codes.bits() + self.scales.bits() + if self.format.has_tensor_scale() { 32 } else { 0 }
    }

    /// Bytes of codes, block scales and tensor scale; every row of codes and of scales starts on a byte.
    pub fn bytes(&self) -> Bytes {
        let tensor_scale = Bytes(if self.format.has_tensor_scale() { 4 } else { 0 });
        self.codes.bytes() + self.scales.bytes() + tensor_scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::block::{ALL, BlockOptions, MXFP4, MXFP6_E2M3, MXFP8_E4M3, MXINT8, NVFP4};
    use crate::numerics::float_bits::power_of_two_f32;
    use crate::numerics::formats::{E8M0, FP4_E2M1, INT8};
    use crate::numerics::tensor::Elements;

    #[test]
    fn a_block_takes_the_bits_that_the_specification_states() {
        // OCP MX v1.0: 264, 200 and 136 bits a block of 32; NVFP4: 72 bits a block of 16 and 32 for the tensor.
        let bits = |format: &'static BlockFormat, columns: u64| {
            let values = vec![0.0; columns as usize];
            let tensor = format.quantizer(BlockOptions::default()).unwrap();
            tensor.quantize(&values, MatrixShape::new(1, columns)).bits()
        };
        assert_eq!([&MXINT8, &MXFP8_E4M3, &MXFP6_E2M3, &MXFP4].map(|format| bits(format, 32)), [264, 264, 200, 136]);
        assert_eq!(bits(&NVFP4, 16), 104);
    }

    #[test]
    fn every_code_under_every_scale_is_their_product_rounded_once() {
        for format in ALL.iter().copied().filter(|format| *format.scale() == E8M0) {
            let bits = format.element().storage_bits();
            for scale in [0, 1, 64, 127, 200, 254] {
                let codes: Vec<u32> = (0..1 << bits).collect();
                let shape = MatrixShape::new(1, codes.len() as u64);
                let elements = match format.element().is_integer() {
                    true => Elements::I8(codes.iter().map(|code| format.element().decode(*code) as i8).collect()),
                    false => Elements::Code8(codes.iter().map(|code| *code as u8).collect()),
                };
                let codes_tensor = Tensor::try_new(shape, format.element(), elements).unwrap();
                let scales = Tensor::try_new(MatrixShape::new(1, 1), &E8M0, Elements::Code8(vec![scale])).unwrap();
                let tensor = BlockTensor::try_new(format, 256, codes_tensor, scales, 1.0).unwrap();
                for (code, value) in codes.iter().zip(tensor.dequantize()) {
                    let power = f64::from(power_of_two_f32(i32::from(scale) - 127));
                    let expected = (format.element_value(*code) * power) as f32;
                    assert!(value == expected || value.is_nan() && expected.is_nan(), "{format} {code} {scale}");
                }
            }
        }
    }

    #[test]
    fn a_block_tensor_refuses_codes_and_scales_that_do_not_fit() {
        let codes = || Tensor::zeros(MatrixShape::new(2, 40), &FP4_E2M1);
        let scales = |columns| Tensor::zeros(MatrixShape::new(2, columns), &E8M0);
        assert!(BlockTensor::try_new(&MXFP4, 32, codes(), scales(2), 1.0).is_ok());
        assert_eq!(
            BlockTensor::try_new(&MXFP4, 16, codes(), scales(2), 1.0).unwrap_err().to_string(),
            "blocks of 16 along the rows of a 2x40 matrix have 2x3 scales, 2x2 were given"
        );
        assert_eq!(
            BlockTensor::try_new(&MXINT8, 32, codes(), scales(2), 1.0).unwrap_err().to_string(),
            "mxint8 wants int8 codes, fp4_e2m1 were given"
        );
        let wrong_scales = Tensor::zeros(MatrixShape::new(2, 2), &INT8);
        assert!(BlockTensor::try_new(&MXFP4, 32, codes(), wrong_scales, 1.0).is_err());
        assert_eq!(BlockTensor::try_new(&MXFP4, 0, codes(), scales(2), 1.0), Err(BlockTensorError::EmptyBlock));
    }

    #[test]
    fn rows_dequantize_alone_as_they_do_together() {
        let values: Vec<f32> = (0..150).map(|index| (index * 31 % 47) as f32 - 20.0).collect();
        for format in ALL {
            let tensor = format.quantizer(BlockOptions::default()).unwrap().quantize(&values, MatrixShape::new(3, 50));
            assert_eq!(tensor.dequantize_rows(Span::new(1, 3)), tensor.dequantize()[50..], "{format}");
        }
    }
}
