//! The named orders of floating point accumulation.

use std::fmt;
use std::num::NonZeroU32;

/// The float format of an accumulator. Every rounding of an order is to this format, to nearest even unless stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// IEEE 754 binary32.
    #[default]
    Fp32,
    /// bfloat16; results are handed out as the f32 of the same value.
    Bf16,
}

impl Destination {
    /// Significant bits, the hidden one included.
    pub const fn significand_bits(self) -> u32 {
        match self {
            Self::Fp32 => 24,
            Self::Bf16 => 8,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        })
    }
}

/// How the products of one output are summed, k ascending.
///
/// Serialized as `sequential`, `block`, `exact`, `{fused: n}` and `{truncated: {n, bits, ..}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccumulationOrder {
    /// Each product is rounded, then added to the accumulator with a rounding.
    Sequential,
    /// The products of a block (those that share their scales) are summed exactly and rounded once; that sum is added to
    /// the accumulator with a second rounding: a 32-deep dot unit that feeds a float adder.
    #[default]
    Block,
    /// All products are summed exactly and rounded once, at the end.
    Exact,
    /// `n` products and the accumulator are summed exactly and rounded once, as in MXDOTP (pulp-platform `cvfpu`,
    /// İslamoğlu et al., arXiv 2505.13159): a chain of these is the accumulation.
    Fused(NonZeroU32),
    /// `n` products and the accumulator are aligned to the largest exponent among them, cut, summed and cut again, as in
    /// the published models of NVIDIA matrix units.
    Truncated(Truncation),
}

impl AccumulationOrder {
    /// Products that enter one operation when a block has `block` products. A product may be computed in segments of k
    /// that each start at a multiple of this, with the same bits as in one piece.
    pub fn products_per_operation(self, block: usize) -> usize {
        match self {
            Self::Sequential | Self::Exact => 1,
            Self::Block => block,
            Self::Fused(products) => products.get() as usize,
            Self::Truncated(truncation) => truncation.products.get() as usize,
        }
    }
}

impl fmt::Display for AccumulationOrder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequential => formatter.pad("sequential"),
            Self::Block => formatter.pad("block"),
            Self::Exact => formatter.pad("exact"),
            Self::Fused(products) => formatter.pad(&format!("fused:{products}")),
            Self::Truncated(truncation) => formatter.pad(&truncation.to_string()),
        }
    }
}

/// The parameters of [`AccumulationOrder::Truncated`].
///
/// The rule, after MMA-Sim (Microsoft, commit c785138): every product, or every exact sum of `group` products, and the
/// accumulator are cut toward zero `bits` bits below `2^e`, where `e` is the largest exponent among them. A single
/// product counts with the sum of its factors' exponents unless it is zero; a group counts with the exponent of its
/// scales. The exact sum of the cut values is cut toward zero to `result_bits` significant bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Truncation {
    #[serde(rename = "n")]
    products: NonZeroU32,
    bits: u32,
    group: NonZeroU32,
    result_bits: u32,
}

/// Why the parameters of a truncating order were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TruncationError {
    /// The frame is empty or wider than the exact integers that evaluate it.
    #[error("a truncating order keeps {given} bits below the largest exponent; 1 to 80 are possible")]
    Bits {
        /// Bits asked for.
        given: u32,
    },
    /// A group that does not divide the products.
    #[error("groups of {group} do not divide the {products} products of an operation")]
    Group {
        /// Products of a group.
        group: NonZeroU32,
        /// Products of an operation.
        products: NonZeroU32,
    },
    /// A result that binary32 cannot hold.
    #[error("a truncating order rounds to {given} significant bits; 2 to 24 are possible")]
    ResultBits {
        /// Significant bits asked for.
        given: u32,
    },
}

impl Truncation {
    /// `products` at a time in a frame of `bits`, each product cut on its own, results of 24 significant bits.
    ///
    /// # Errors
    /// [`TruncationError::Bits`] outside of 1 to 80.
    pub fn try_new(products: NonZeroU32, bits: u32) -> Result<Self, TruncationError> {
        if !(1..=80).contains(&bits) {
            return Err(TruncationError::Bits { given: bits });
        }
        Ok(Self { products, bits, group: NonZeroU32::MIN, result_bits: 24 })
    }

    /// The same with exact sums of `group` products before the cut.
    ///
    /// # Errors
    /// [`TruncationError::Group`] when `group` does not divide the products of an operation.
    pub fn with_group(self, group: NonZeroU32) -> Result<Self, TruncationError> {
        if !self.products.get().is_multiple_of(group.get()) {
            return Err(TruncationError::Group { group, products: self.products });
        }
        Ok(Self { group, ..self })
    }

    /// The same with results of `result_bits` significant bits, the hidden one included.
    ///
    /// # Errors
    /// [`TruncationError::ResultBits`] outside of 2 to 24.
    pub fn with_result_bits(self, result_bits: u32) -> Result<Self, TruncationError> {
        if !(2..=24).contains(&result_bits) {
            return Err(TruncationError::ResultBits { given: result_bits });
        }
        Ok(Self { result_bits, ..self })
    }

    /// The same with one product at a time.
    pub const fn of_single_products(self) -> Self {
        Self { products: NonZeroU32::MIN, group: NonZeroU32::MIN, ..self }
    }

    /// Products of one operation.
    pub const fn products(&self) -> NonZeroU32 {
        self.products
    }

    /// Bits kept below the largest exponent.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// Products that are summed exactly before the cut.
    pub const fn group(&self) -> NonZeroU32 {
        self.group
    }

    /// Significant bits of a result.
    pub const fn result_bits(&self) -> u32 {
        self.result_bits
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "truncated:{}:{}", self.products, self.bits)?;
        if self.group.get() > 1 {
            write!(formatter, ":group{}", self.group)?;
        }
        if self.result_bits != 24 {
            write!(formatter, ":result{}", self.result_bits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{AccumulationOrder, Truncation, TruncationError};

    fn count(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    #[test]
    fn orders_are_written_as_in_a_hardware_file() {
        let json = |order| serde_json::to_string(&order).unwrap();
        assert_eq!(json(AccumulationOrder::Block), "\"block\"");
        assert_eq!(json(AccumulationOrder::Fused(count(8))), "{\"fused\":8}");
        let hopper = Truncation::try_new(count(32), 13).unwrap().with_result_bits(14).unwrap();
        assert_eq!(
            json(AccumulationOrder::Truncated(hopper)),
            "{\"truncated\":{\"n\":32,\"bits\":13,\"group\":1,\"result_bits\":14}}"
        );
        assert_eq!(AccumulationOrder::Truncated(hopper).to_string(), "truncated:32:13:result14");
        assert_eq!(AccumulationOrder::Fused(count(8)).to_string(), "fused:8");
    }

    #[test]
    fn parameters_that_cannot_be_evaluated_are_refused() {
        assert_eq!(Truncation::try_new(count(8), 0), Err(TruncationError::Bits { given: 0 }));
        let rule = Truncation::try_new(count(64), 35).unwrap();
        assert!(rule.with_group(count(16)).is_ok());
        assert!(rule.with_group(count(24)).is_err());
        assert!(rule.with_result_bits(25).is_err());
    }
}
