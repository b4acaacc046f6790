//! Element formats: what a code of `n` bits stands for, and which code a value becomes.
//!
//! A format is a plain descriptor; one generic codec (`codec.rs`) serves them all, exactly and without tables. Adding
//! a format is one file with its static and one line in [`ALL`]. The layouts of the FP4, FP6, FP8 and E8M0 formats are
//! those of the OCP Microscaling Formats specification v1.0 (sections 5.3 and 5.4) and of the OCP 8-bit floating point
//! specification v1.0; FP16 and FP32 are IEEE 754 binary16 and binary32, BF16 is the upper half of binary32.
//!
//! Deliberately absent: scales of blocks and tensors. An `int8` here is an integer; that an MXINT8 element stands for
//! 1/64 of it is known to `block`.

mod bf16;
mod codec;
mod e8m0;
mod fp16;
mod fp32;
mod fp4_e2m1;
mod fp6_e2m3;
mod fp6_e3m2;
mod fp8_e4m3;
mod fp8_e5m2;
mod int16;
mod int32;
mod int4;
mod int8;
mod uint8;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

pub use bf16::BF16;
pub use codec::Significand;
pub use e8m0::E8M0;
pub use fp4_e2m1::FP4_E2M1;
pub use fp6_e2m3::FP6_E2M3;
pub use fp6_e3m2::FP6_E3M2;
pub use fp8_e4m3::FP8_E4M3;
pub use fp8_e5m2::FP8_E5M2;
pub use fp16::FP16;
pub use fp32::FP32;
pub use int4::INT4;
pub use int8::INT8;
pub use int16::INT16;
pub use int32::INT32;
pub use uint8::UINT8;

/// Every element format, narrow ones first.
pub static ALL: &[&ElementFormat] = &[
    &INT4, &FP4_E2M1, &FP6_E2M3, &FP6_E3M2, &INT8, &UINT8, &FP8_E4M3, &FP8_E5M2, &E8M0, &INT16, &FP16, &BF16, &INT32,
    &FP32,
];

/// The element format called `name`, such as `int8` or `fp8_e4m3`.
pub fn by_name(name: &str) -> Option<&'static ElementFormat> {
    ALL.iter().copied().find(|format| format.name == name)
}

/// One element format. Compared, ordered, hashed, printed and serialized by its name.
#[derive(Clone, Copy, Debug)]
pub struct ElementFormat {
    name: &'static str,
    storage_bits: u32,
    kind: ElementKind,
}

/// What the bits of a code mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementKind {
    /// An integer; two's complement where signed.
    Integer {
        /// Whether the top bit weighs negative.
        signed: bool,
    },
    /// Sign, exponent and mantissa bits, most significant first; an exponent field of zero holds zero and subnormals.
    Float {
        /// Width of the exponent field.
        exponent_bits: u32,
        /// Width of the mantissa field, without the hidden bit.
        mantissa_bits: u32,
        /// Subtracted from the exponent field.
        bias: i32,
        /// Which codes are not finite.
        specials: Specials,
    },
    /// An unsigned exponent field and nothing else: `2^(code - bias)`, the all-ones code is NaN. No zero, no sign.
    Scale {
        /// Subtracted from the code.
        bias: i32,
    },
}

/// Which codes of a float format are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// None: the FP4 and FP6 formats of OCP MX.
    None,
    /// Only the all-ones magnitude is NaN, there is no infinity: OCP E4M3.
    AllOnesIsNotANumber,
    /// The top exponent holds infinity and NaNs, as in IEEE 754.
    TopExponent,
}

/// What happens to a value between two codes. All modes act on the magnitude.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest, a tie to the even code (IEEE 754 roundTiesToEven).
    #[default]
    NearestEven,
    /// To the nearest, a tie away from zero.
    NearestAway,
    /// Toward zero.
    TowardZero,
}

/// What happens to a value beyond the largest finite one after rounding, and to infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// It becomes the largest finite value of its sign, infinity too.
    #[default]
    Saturate,
    /// It becomes infinity, or NaN where the format has no infinity; a format that has neither saturates. Rounding
    /// toward zero takes a finite value to the largest finite one (IEEE 754-2019, 7.4).
    NonFinite,
}

impl ElementFormat {
    const fn integer(name: &'static str, storage_bits: u32, signed: bool) -> ElementFormat {
        ElementFormat { name, storage_bits, kind: ElementKind::Integer { signed } }
    }

    const fn float(
        name: &'static str,
        exponent_bits: u32,
        mantissa_bits: u32,
        bias: i32,
        specials: Specials,
    ) -> ElementFormat {
        let kind = ElementKind::Float { exponent_bits, mantissa_bits, bias, specials };
        ElementFormat { name, storage_bits: 1 + exponent_bits + mantissa_bits, kind }
    }

    /// Its name in files, reports and messages.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Bits of one element in memory, packed without gaps.
    pub const fn storage_bits(&self) -> u32 {
        self.storage_bits
    }

    /// What its bits mean.
    pub const fn kind(&self) -> ElementKind {
        self.kind
    }

    /// Whether its codes are plain integers.
    pub const fn is_integer(&self) -> bool {
        matches!(self.kind, ElementKind::Integer { .. })
    }

    /// Number of codes, `2^storage_bits`.
    pub const fn codes(&self) -> u64 {
        1 << self.storage_bits
    }

    /// Mask of the bits of a code.
    pub const fn code_mask(&self) -> u32 {
        u32::MAX >> (32 - self.storage_bits)
    }
}

impl PartialEq for ElementFormat {
    fn eq(&self, other: &ElementFormat) -> bool {
        self.name == other.name
    }
}

impl Eq for ElementFormat {}

impl Hash for ElementFormat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Ord for ElementFormat {
    fn cmp(&self, other: &ElementFormat) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl PartialOrd for ElementFormat {
    fn partial_cmp(&self, other: &ElementFormat) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ElementFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name)
    }
}

impl serde::Serialize for ElementFormat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name_and_names_are_unique() {
        for format in ALL {
            assert_eq!(by_name(format.name()), Some(*format));
            assert_eq!(ALL.iter().filter(|other| other.name() == format.name()).count(), 1);
        }
        assert_eq!(by_name("int5"), None);
    }

    #[test]
    fn every_file_of_this_folder_is_a_registered_format() {
        // The names of the modules above, read from this very file.
        let declared = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
            .filter(|name| *name != "codec");
        let mut count = 0;
        for name in declared {
            assert!(by_name(name).is_some(), "{name} is missing from ALL");
            count += 1;
        }
        assert_eq!(count, ALL.len());
    }

    #[test]
    fn a_format_serializes_and_prints_as_its_name() {
        assert_eq!(serde_json::to_string(&FP8_E4M3).unwrap(), "\"fp8_e4m3\"");
        assert_eq!(format!("{:>6}", INT8), "  int8");
    }
}
