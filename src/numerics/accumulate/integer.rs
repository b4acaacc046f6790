//! Integer accumulators of a chosen width, and what they do when a sum does not fit.

use std::num::NonZeroU32;

/// An integer accumulator: two's complement, `width` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct IntegerAccumulator {
    width: u32,
    overflow: IntegerOverflow,
}

/// What happens to a sum that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntegerOverflow {
    /// The bits above the width are lost.
    Wrap,
    /// The sum stops at the ends of the range, at the stated point.
    Saturate(SaturationPoint),
}

/// Where along k a saturating accumulator compares with its range; the three differ in their results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SaturationPoint {
    /// After every product.
    Step,
    /// After the exact sum of every `n` products: a dot unit `n` deep in front of the accumulator.
    Every(NonZeroU32),
    /// Once, when the result is read: the accumulator itself is wide enough.
    End,
}

/// An accumulator width that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an integer accumulator of {given} bits was asked for; 2 to 63 are possible")]
pub struct WidthError {
    /// The width asked for, in bits.
    pub given: u32,
}

impl IntegerAccumulator {
    /// INT32 that wraps: what exact INT8 products up to a depth of 131071 cannot even reach.
    pub const INT32: Self = Self { width: 32, overflow: IntegerOverflow::Wrap };

    /// An accumulator of `width` bits, sign included.
    ///
    /// # Errors
    /// [`WidthError`] outside of 2 to 63 bits.
    pub fn try_new(width: u32, overflow: IntegerOverflow) -> Result<Self, WidthError> {
        if !(2..=63).contains(&width) {
            return Err(WidthError { given: width });
        }
        Ok(Self { width, overflow })
    }

    /// Bits, sign included.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// What happens to a sum that does not fit.
    pub const fn overflow(&self) -> IntegerOverflow {
        self.overflow
    }

    /// The smallest value that it holds.
    pub const fn smallest(&self) -> i64 {
        -(1 << (self.width - 1))
    }

    /// The largest value that it holds.
    pub const fn largest(&self) -> i64 {
        (1 << (self.width - 1)) - 1
    }

    /// Products between two comparisons with the range. A product may be computed in segments of k that each start at a
    /// multiple of this, with the same bits as in one piece.
    pub fn products_per_operation(&self) -> usize {
        match self.overflow {
            IntegerOverflow::Saturate(SaturationPoint::Every(products)) => products.get() as usize,
            _ => 1,
        }
    }

    /// Whether the sum may be taken exactly in any order and adjusted once by [`Self::read`].
    pub fn adjusts_at_end(&self) -> bool {
        matches!(self.overflow, IntegerOverflow::Wrap | IntegerOverflow::Saturate(SaturationPoint::End))
    }

    /// Adds the exact sum of the next [`Self::products_per_operation`] products to `sum`, k ascending.
    #[inline]
    pub fn add(&self, sum: i64, operation: i64) -> i64 {
        let sum = sum.wrapping_add(operation);
        if self.adjusts_at_end() { sum } else { sum.clamp(self.smallest(), self.largest()) }
    }

    /// The value that is read from an accumulator whose running sum is `sum`.
    #[inline]
    pub fn read(&self, sum: i64) -> i64 {
        match self.overflow {
            IntegerOverflow::Wrap => sum << (64 - self.width) >> (64 - self.width),
            IntegerOverflow::Saturate(_) => sum.clamp(self.smallest(), self.largest()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{IntegerAccumulator, IntegerOverflow, SaturationPoint};

    fn total(overflow: IntegerOverflow, products: &[i64]) -> i64 {
        let accumulator = IntegerAccumulator::try_new(8, overflow).unwrap();
        let sum = products
            .chunks(accumulator.products_per_operation())
            .fold(0, |sum, operation| accumulator.add(sum, operation.iter().sum()));
        accumulator.read(sum)
    }

    #[test]
    fn the_point_of_saturation_decides_the_result() {
        // In eight bits, by hand: step 100, 127, 27; pairs 127 then 27 + 0; exact 100; 200 wraps to -56.
        let products = [100, 100, -100, 0];
        let every = SaturationPoint::Every(NonZeroU32::new(2).unwrap());
        assert_eq!(total(IntegerOverflow::Saturate(SaturationPoint::Step), &products), 27);
        assert_eq!(total(IntegerOverflow::Saturate(every), &products), 27);
        assert_eq!(total(IntegerOverflow::Saturate(every), &[100, 27, 100, -100]), 127);
        assert_eq!(total(IntegerOverflow::Saturate(SaturationPoint::Step), &[100, 27, 100, -100]), 27);
        assert_eq!(total(IntegerOverflow::Saturate(SaturationPoint::End), &products), 100);
        assert_eq!(total(IntegerOverflow::Wrap, &[100, 100]), -56);
        assert_eq!(total(IntegerOverflow::Wrap, &products), 100, "a wrap that is undone leaves no trace");
    }

    #[test]
    fn widths_without_a_sign_bit_or_beyond_the_machine_are_refused() {
        assert!(IntegerAccumulator::try_new(1, IntegerOverflow::Wrap).is_err());
        assert!(IntegerAccumulator::try_new(64, IntegerOverflow::Wrap).is_err());
        let widest = IntegerAccumulator::try_new(63, IntegerOverflow::Wrap).unwrap();
        assert_eq!(widest.largest(), (1 << 62) - 1);
    }
}
