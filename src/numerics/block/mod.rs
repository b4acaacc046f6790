//! Block formats: a few elements of a narrow format under one shared scale (OCP Microscaling, NVFP4).
//!
//! A block format is a descriptor; one file per format holds its static, [`ALL`] lists them. `quantizer` turns rows of
//! f32 into codes and scales, `tensor` holds a quantized matrix and gives its values back.
//!
//! Blocks lie along the columns of a row-major matrix, that is along K of activations `[M, K]`; weights `[K, N]` are
//! quantized as their transpose `[N, K]`. A last block that K does not fill has the scale of its real elements, which
//! is what padding with zeros gives.
//!
//! Sources: OCP Microscaling Formats specification v1.0, sections 5 and 6. Where it leaves a choice open, the
//! defaults are: scale by the floor rule, ties to even, saturation, `-127..=127` for MXINT8, blocks below 2^-126 kept,
//! scale code 0 for a block of zeros, and NaN as the scale of a block that holds a NaN or an infinity, so that the failure
//! stays visible in every product.

mod encoder;
mod integer_groups;
mod mxfp4;
mod mxfp6_e2m3;
mod mxfp6_e3m2;
mod mxfp8_e4m3;
mod mxfp8_e5m2;
mod mxint4;
mod mxint8;
mod nvfp4;
mod nvfp4_one_level;
#[cfg(test)]
mod plain;
mod quantizer;
mod scale_rule;
mod tensor;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::numerics::float_bits::{Magnitude, float_parts, power_of_two_f64};
use crate::numerics::formats::{E8M0, ElementFormat, ElementKind, FP8_E4M3, Rounding};
use crate::numerics::quantize::IntegerRange;

pub use integer_groups::{
    INT4_G32, INT4_G32_FP32, INT4_G64, INT4_G64_FP32, INT4_G128, INT4_G128_FP32, INT8_G32, INT8_G32_FP32, INT8_G64,
    INT8_G64_FP32, INT8_G128, INT8_G128_FP32,
};
pub use mxfp4::MXFP4;
pub use mxfp6_e2m3::MXFP6_E2M3;
pub use mxfp6_e3m2::MXFP6_E3M2;
pub use mxfp8_e4m3::MXFP8_E4M3;
pub use mxfp8_e5m2::MXFP8_E5M2;
pub use mxint4::MXINT4;
pub use mxint8::MXINT8;
pub use nvfp4::NVFP4;
pub use nvfp4_one_level::NVFP4_ONE_LEVEL;
pub use quantizer::{BlockQuantizer, ScaleCodesMut};
pub use scale_rule::ScaleRule;
pub use tensor::{BlockTensor, BlockTensorError};

/// Every block format, narrow ones first.
pub static ALL: &[&BlockFormat] = &[
    &MXINT4,
    &MXFP4,
    &NVFP4,
    &NVFP4_ONE_LEVEL,
    &MXFP6_E2M3,
    &MXFP6_E3M2,
    &MXINT8,
    &MXFP8_E4M3,
    &MXFP8_E5M2,
    &INT4_G32,
    &INT4_G64,
    &INT4_G128,
    &INT4_G32_FP32,
    &INT4_G64_FP32,
    &INT4_G128_FP32,
    &INT8_G32,
    &INT8_G64,
    &INT8_G128,
    &INT8_G32_FP32,
    &INT8_G64_FP32,
    &INT8_G128_FP32,
];

/// The block format called `name`, such as `mxfp4`.
pub fn by_name(name: &str) -> Option<&'static BlockFormat> {
    ALL.iter().copied().find(|format| format.name == name)
}

/// One block format. Compared, ordered, hashed, printed and serialized by its name.
#[derive(Clone, Copy, Debug)]
pub struct BlockFormat {
    name: &'static str,
    element: &'static ElementFormat,
    implicit_exponent: i32,
    block: u64,
    scaling: Scaling,
}

/// What stands before the elements of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// A power of two, E8M0 (OCP MX).
    PowerOfTwo,
    /// An E4M3 number (NVFP4).
    Fp8 {
        /// Whether one more f32 scale covers the whole tensor.
        tensor_scale: bool,
    },
    /// A float of 16 or 32 bits, `max|x| / largest element` (integers in groups). A group of zeros has the scale 1, one so
    /// small that its scale would be 0 the smallest scale, and one so large that its scale would be infinite the largest:
    /// above 458,528 (INT4) and 8,319,008 (INT8) values are clipped under FP16 scales. Below 2^-14 FP16 scales have
    /// fewer bits.
    Float {
        /// FP16 or FP32.
        scale: &'static ElementFormat,
    },
}

/// The choices that the specifications leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct BlockOptions {
    /// How elements round.
    pub rounding: Rounding,
    /// How a power-of-two scale is found.
    pub scale_rule: ScaleRule,
    /// What happens to blocks below the normal range of f32.
    pub tiny_blocks: TinyBlocks,
    /// Whether an integer element uses its most negative code.
    pub integer_range: IntegerRange,
    /// Elements in a block; that of the format where absent.
    pub block: Option<u64>,
}

/// What happens to a block whose largest magnitude is below 2^-126, the smallest normal f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TinyBlocks {
    /// It is quantized like any other, down to the scale 2^-127.
    #[default]
    Keep,
    /// Its elements become 0.
    Flush,
}

/// Why options do not fit a block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A block has at least one element.
    #[error("{format}: a block has at least one element, 0 were asked for")]
    EmptyBlock {
        /// The format.
        format: &'static BlockFormat,
    },
    /// Only integer elements have a most negative code without a positive twin.
    #[error("{format}: the full integer range was asked for, but its elements are {element}")]
    NotAnInteger {
        /// The format.
        format: &'static BlockFormat,
        /// Its elements.
        element: &'static ElementFormat,
    },
    /// A float scale follows from the abs-max alone; rules and tiny blocks are about powers of two.
    #[error("{format}: scale rule and tiny blocks apply to power-of-two scales, its scales are {scale}")]
    NotAPowerOfTwo {
        /// The format.
        format: &'static BlockFormat,
        /// Its scales.
        scale: &'static ElementFormat,
    },
}

impl BlockFormat {
    /// An OCP MX format: blocks of 32 with an E8M0 scale.
    const fn microscaling(name: &'static str, element: &'static ElementFormat, implicit_exponent: i32) -> BlockFormat {
        BlockFormat { name, element, implicit_exponent, block: 32, scaling: Scaling::PowerOfTwo }
    }

    /// Its name in files, reports and messages.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The format of the elements.
    pub const fn element(&self) -> &'static ElementFormat {
        self.element
    }

    /// The format of the block scales.
    pub const fn scale(&self) -> &'static ElementFormat {
        match self.scaling {
            Scaling::PowerOfTwo => &E8M0,
            Scaling::Fp8 { .. } => &FP8_E4M3,
            Scaling::Float { scale } => scale,
        }
    }

    /// What kind of scale the blocks have.
    pub const fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// Whether one f32 scale covers the whole tensor.
    pub const fn has_tensor_scale(&self) -> bool {
        matches!(self.scaling, Scaling::Fp8 { tensor_scale: true })
    }

    /// Elements in a block, unless the options say otherwise.
    pub const fn block(&self) -> u64 {
        self.block
    }

    /// An element stands for `decode(code) * 2^implicit_exponent`: -6 for MXINT8, whose codes are 64ths.
    pub const fn implicit_exponent(&self) -> i32 {
        self.implicit_exponent
    }

    /// The value of an element before the scale.
    pub fn element_value(&self, code: u32) -> f64 {
        self.element.decode(code) * power_of_two_f64(self.implicit_exponent)
    }

    /// The largest value of an element before the scale.
    pub fn largest_element(&self) -> f64 {
        self.element_value(self.element.max_finite_code())
    }

    /// `floor(log2)` of the largest element: what a power-of-two scale subtracts from the exponent of the abs-max.
    pub fn largest_exponent(&self) -> i32 {
        match float_parts(self.largest_element()).magnitude {
            Magnitude::Finite { exponent, .. } => exponent + 52,
            _ => unreachable!("the largest finite element is neither zero nor infinite"),
        }
    }

    /// Significant bits below the leading one in the top binade of the elements.
    pub const fn mantissa_bits(&self) -> u32 {
        match self.element.kind() {
            ElementKind::Float { mantissa_bits, .. } => mantissa_bits,
            ElementKind::Integer { .. } => self.element.storage_bits() - 2,
            ElementKind::Scale { .. } => 0,
        }
    }

    /// A quantizer to this format; refuses options that do not apply to it.
    pub fn quantizer(&'static self, options: BlockOptions) -> Result<BlockQuantizer, BlockError> {
        BlockQuantizer::try_new(self, options)
    }
}

impl PartialEq for BlockFormat {
    fn eq(&self, other: &BlockFormat) -> bool {
        self.name == other.name
    }
}

impl Eq for BlockFormat {}

impl Hash for BlockFormat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Ord for BlockFormat {
    fn cmp(&self, other: &BlockFormat) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl PartialOrd for BlockFormat {
    fn partial_cmp(&self, other: &BlockFormat) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name)
    }
}

impl serde::Serialize for BlockFormat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name_and_every_file_is_registered() {
        for format in ALL {
            assert_eq!(by_name(format.name()), Some(*format));
        }
        let others = ["encoder", "integer_groups", "plain", "quantizer", "scale_rule", "tensor"];
        let declared: Vec<&str> = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
            .filter(|name| !others.contains(name))
            .collect();
        assert_eq!(declared.len() + integer_groups::ALL.len(), ALL.len());
        assert!(integer_groups::ALL.iter().all(|format| by_name(format.name()).is_some()));
        assert!(declared.into_iter().all(|name| by_name(name).is_some()));
    }

    #[test]
    fn element_ranges_and_exponents_are_those_of_the_specification() {
        // OCP MX v1.0, table 1 and sections 5.3.1 to 5.3.4; MXINT4 is microxcaling's int4 (quarters, largest 1.75).
        let expected = [
            (&MXINT8, 127.0 / 64.0, 0, 6),
            (&MXINT4, 1.75, 0, 2),
            (&MXFP4, 6.0, 2, 1),
            (&MXFP6_E2M3, 7.5, 2, 3),
            (&MXFP6_E3M2, 28.0, 4, 2),
            (&MXFP8_E4M3, 448.0, 8, 3),
            (&MXFP8_E5M2, 57344.0, 15, 2),
        ];
        for (format, largest, exponent, mantissa_bits) in expected {
            let found = (format.largest_element(), format.largest_exponent(), format.mantissa_bits());
            assert_eq!(found, (largest, exponent, mantissa_bits), "{format}");
            assert_eq!((format.block(), format.scale()), (32, &E8M0));
        }
        assert_eq!((NVFP4.block(), NVFP4.scale(), NVFP4.largest_element()), (16, &FP8_E4M3, 6.0));
    }

    #[test]
    fn options_that_do_not_apply_are_refused_with_the_reason() {
        let refused = |format: &'static BlockFormat, options| format.quantizer(options).unwrap_err().to_string();
        let defaults = BlockOptions::default();
        assert_eq!(
            refused(&MXFP4, BlockOptions { block: Some(0), ..defaults }),
            "mxfp4: a block has at least one element, 0 were asked for"
        );
        assert_eq!(
            refused(&MXFP4, BlockOptions { integer_range: IntegerRange::Full, ..defaults }),
            "mxfp4: the full integer range was asked for, but its elements are fp4_e2m1"
        );
        assert_eq!(
            refused(&NVFP4, BlockOptions { scale_rule: ScaleRule::Even, ..defaults }),
            "nvfp4: scale rule and tiny blocks apply to power-of-two scales, its scales are fp8_e4m3"
        );
    }
}
