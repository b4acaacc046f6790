//! An exact element, scale or product: a small integer times a power of two.

use crate::numerics::formats::{ElementFormat, ElementKind, Significand};

/// An exact number with what an aligning dot-product unit knows of it.
///
/// Elements and scales are terms, and so are their products ([`Term::times`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// `significand * 2^exponent`.
    Finite {
        /// Signed integer.
        significand: i64,
        /// Weight of its lowest bit, as an exponent of two.
        exponent: i32,
        /// Exponent that the exponent fields state, before any normalisation: a subnormal has that of the smallest
        /// normal binade, a product the sum of those of its factors.
        leading: i32,
        /// The part of `leading` that comes from scales.
        scale: i32,
    },
    /// Infinity.
    Infinite {
        /// Whether the sign is minus.
        negative: bool,
    },
    /// Not a number.
    NotANumber,
}

impl Term {
    /// Exactly one.
    pub const ONE: Self = Self::Finite { significand: 1, exponent: 0, leading: 0, scale: 0 };

    /// The element `code` of `format` in units of `2^unit_exponent` (-6 for MXINT8, 0 for all floats).
    pub fn element(format: &ElementFormat, code: u32, unit_exponent: i32) -> Self {
        let fraction_bits = match format.kind() {
            ElementKind::Float { mantissa_bits, .. } => mantissa_bits as i32,
            // A signed integer with its sign and one integer bit in front: MXINT8 is 1.6.
            ElementKind::Integer { .. } => format.storage_bits() as i32 - 2,
            ElementKind::Scale { .. } => 0,
        };
        match format.significand(code) {
            Significand::Finite { negative, significand, exponent } => {
                let magnitude = i64::from(significand);
                let exponent = exponent + unit_exponent;
                let significand = if negative { -magnitude } else { magnitude };
                Self::Finite { significand, exponent, leading: exponent + fraction_bits, scale: 0 }
            }
            Significand::Infinite { negative } => Self::Infinite { negative },
            Significand::NotANumber => Self::NotANumber,
        }
    }

    /// The scale `code` of `format`, such as E8M0 or E4M3.
    pub fn scale(format: &ElementFormat, code: u32) -> Self {
        match Self::element(format, code, 0) {
            Self::Finite { significand, exponent, leading, .. } => {
                Self::Finite { significand, exponent, leading, scale: leading }
            }
            special => special,
        }
    }

    /// An f32, exactly.
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let (field, mantissa) = ((bits >> 23 & 0xFF) as i32, i64::from(bits & 0x7F_FFFF));
        let negative = bits >> 31 == 1;
        if field == 255 {
            return if mantissa == 0 { Self::Infinite { negative } } else { Self::NotANumber };
        }
        let magnitude = if field == 0 { mantissa } else { mantissa | 0x80_0000 };
        let leading = field.max(1) - 127;
        let significand = if negative { -magnitude } else { magnitude };
        Self::Finite { significand, exponent: leading - 23, leading, scale: 0 }
    }

    /// The product, exact; zero times infinity is NaN. The significands together must fit in 63 bits: four of the
    /// formats of this crate do (two 16-bit elements and two 8-bit scales).
    pub fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotANumber, _) | (_, Self::NotANumber) => Self::NotANumber,
            (
                Self::Finite { significand: x, exponent: xe, leading: xl, scale: xs },
                Self::Finite { significand: y, exponent: ye, leading: yl, scale: ys },
            ) => Self::Finite { significand: x * y, exponent: xe + ye, leading: xl + yl, scale: xs + ys },
            (Self::Infinite { negative }, Self::Infinite { negative: other }) => {
                Self::Infinite { negative: negative != other }
            }
            (Self::Infinite { negative }, Self::Finite { significand, .. })
            | (Self::Finite { significand, .. }, Self::Infinite { negative }) => match significand {
                0 => Self::NotANumber,
                _ => Self::Infinite { negative: negative != (significand < 0) },
            },
        }
    }

    /// Whether it is exactly zero.
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Finite { significand: 0, .. })
    }

    /// Whether it is neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        matches!(self, Self::Finite { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::Term;
    use crate::numerics::formats::{E8M0, FP4_E2M1, FP8_E4M3, FP8_E5M2, INT8};

    #[test]
    fn the_leading_exponent_of_a_subnormal_is_that_of_the_smallest_binade() {
        // E4M3: code 1 is 2^-9, the smallest normal binade is 2^-6 (OCP FP8 specification v1.0, table 1).
        assert_eq!(
            Term::element(&FP8_E4M3, 1, 0),
            Term::Finite { significand: 1, exponent: -9, leading: -6, scale: 0 }
        );
        // 448 = 1.75 * 2^8.
        assert_eq!(
            Term::element(&FP8_E4M3, 0x7E, 0),
            Term::Finite { significand: 14, exponent: 5, leading: 8, scale: 0 }
        );
    }

    #[test]
    fn a_product_multiplies_significands_and_adds_exponents() {
        let six = Term::element(&FP4_E2M1, 7, 0);
        let quarter = Term::scale(&E8M0, 125);
        let product = six.times(six).times(quarter);
        assert_eq!(product, Term::Finite { significand: 9, exponent: 0, leading: 2, scale: -2 });
        assert_eq!(
            Term::element(&INT8, 0x80, -6),
            Term::Finite { significand: -128, exponent: -6, leading: 0, scale: 0 }
        );
    }

    #[test]
    fn specials_multiply_as_in_ieee_754() {
        let infinity = Term::element(&FP8_E5M2, 0x7C, 0);
        let minus_one = Term::element(&FP8_E5M2, 0xBC, 0);
        assert_eq!(infinity.times(minus_one), Term::Infinite { negative: true });
        assert_eq!(infinity.times(Term::element(&FP8_E5M2, 0, 0)), Term::NotANumber);
        assert_eq!(minus_one.times(Term::scale(&E8M0, 255)), Term::NotANumber);
    }
}
