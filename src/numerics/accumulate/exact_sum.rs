//! A sum without rounding: a fixed-point register wide enough for every product of every supported format.
//!
//! This is the accumulator of U. Kulisch ("Computer Arithmetic and Validity", 2008, chapter 8): the lowest bit weighs
//! less than the smallest product and the highest more than the largest sum, so additions are integer additions.

use crate::numerics::accumulate::rounding::round;
use crate::numerics::accumulate::term::Term;
use crate::numerics::formats::Rounding;

const WORDS: usize = 18;

/// Weight of the lowest bit, as an exponent of two. The smallest products of all are those of BF16 subnormals under the
/// smallest E8M0 scales, `(2^-133 * 2^-127)^2 = 2^-520`; MXFP8 E5M2 reaches `2^-286`.
const LOWEST: i32 = -544;

/// An exact running sum. The register ends at `2^607`; the largest product is below `2^510` (BF16 under the largest
/// scales), so more than `2^96` of them fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactSum {
    /// Two's complement, lowest word first.
    words: [u64; WORDS],
    positive_infinity: bool,
    negative_infinity: bool,
    not_a_number: bool,
}

impl ExactSum {
    /// A sum of nothing.
    pub const ZERO: Self =
        Self { words: [0; WORDS], positive_infinity: false, negative_infinity: false, not_a_number: false };

    /// Adds `significand * 2^exponent`, which must lie on the grid of the register and be far inside its range.
    pub fn add(&mut self, significand: i128, exponent: i32) {
        if significand == 0 {
            return;
        }
        let offset = usize::try_from(exponent - LOWEST).expect("no product is smaller than the lowest bit");
        let (word, bit) = (offset / 64, offset % 64);
        let (low, high) = (significand as u64, (significand >> 64) as u64);
        let sign = (significand >> 127) as u64;
        let carried = |from: u64| if bit == 0 { 0 } else { from >> (64 - bit) };
        let shifted = [low << bit, high << bit | carried(low), sign << bit | carried(high)];
        let mut carry = false;
        for (index, sum) in self.words[word..].iter_mut().enumerate() {
            if index >= shifted.len() && carry == (sign != 0) {
                // Adding zeros without, or ones with a carry changes nothing above.
                break;
            }
            let addend = shifted.get(index).copied().unwrap_or(sign);
            let (partial, first) = sum.overflowing_add(addend);
            let (total, second) = partial.overflowing_add(u64::from(carry));
            (*sum, carry) = (total, first | second);
        }
    }

    /// Adds a product; infinities and NaN follow IEEE 754, and stay.
    pub fn add_term(&mut self, term: Term) {
        match term {
            Term::Finite { significand, exponent, .. } => self.add(i128::from(significand), exponent),
            Term::Infinite { negative: false } => self.positive_infinity = true,
            Term::Infinite { negative: true } => self.negative_infinity = true,
            Term::NotANumber => self.not_a_number = true,
        }
    }

    /// Adds an f32.
    pub fn add_f32(&mut self, value: f32) {
        self.add_term(Term::from_f32(value));
    }

    /// Whether the sum is exactly zero.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The sum, rounded once to `significand_bits` in the exponent range of binary32; see [`round`].
    pub fn rounded(&self, significand_bits: u32, rounding: Rounding) -> f32 {
        match (self.not_a_number, self.positive_infinity, self.negative_infinity) {
            (true, _, _) | (_, true, true) => return f32::NAN,
            (_, true, _) => return f32::INFINITY,
            (_, _, true) => return f32::NEG_INFINITY,
            _ => {}
        }
        let negative = self.words[WORDS - 1] >> 63 == 1;
        let magnitude = if negative { negated(&self.words) } else { self.words };
        let Some(top) = magnitude.iter().rposition(|&word| word != 0) else {
            return 0.0;
        };
        // The leading 65 to 128 bits; what is below them only says whether they are exact.
        let below = top.saturating_sub(1);
        let leading = u128::from(magnitude[below]) | if top > 0 { u128::from(magnitude[top]) << 64 } else { 0 };
        let sticky = magnitude[..below].iter().any(|&word| word != 0);
        round(negative, leading | u128::from(sticky), LOWEST + 64 * below as i32, significand_bits, rounding)
    }
}

fn negated(words: &[u64; WORDS]) -> [u64; WORDS] {
    let mut carry = true;
    words.map(|word| {
        let (negated, overflow) = (!word).overflowing_add(u64::from(carry));
        carry = overflow;
        negated
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::ExactSum;
    use crate::numerics::formats::Rounding;

    proptest! {
        #[test]
        fn a_sum_that_fits_in_128_bits_is_the_integer_sum(
            terms in prop::collection::vec((any::<i64>(), 0i32..40), 0..40), base in -544i32..300
        ) {
            let mut sum = ExactSum::ZERO;
            let mut expected = 0i128;
            for &(significand, shift) in &terms {
                sum.add(i128::from(significand), base + shift);
                expected += i128::from(significand) << shift;
            }
            let rounded = super::round(expected < 0, expected.unsigned_abs(), base, 24, Rounding::NearestEven);
            prop_assert_eq!(sum.rounded(24, Rounding::NearestEven).to_bits(), rounded.to_bits());
        }

        #[test]
        fn what_is_added_and_taken_away_leaves_no_trace(
            terms in prop::collection::vec((any::<i64>(), -544i32..500), 1..30), kept in -1_000_000i64..1_000_000
        ) {
            let mut sum = ExactSum::ZERO;
            sum.add(i128::from(kept), -40);
            for &(significand, exponent) in &terms {
                sum.add(i128::from(significand), exponent);
            }
            for &(significand, exponent) in terms.iter().rev() {
                sum.add(-i128::from(significand), exponent);
            }
            prop_assert_eq!(sum.rounded(24, Rounding::NearestEven), kept as f32 * 2f32.powi(-40));
        }
    }

    #[test]
    fn a_bit_far_below_decides_a_tie() {
        // 1 + 2^-24 is a tie that goes down to 1; anything above it, however small, goes up.
        let mut sum = ExactSum::ZERO;
        sum.add(1, 0);
        sum.add(1, -24);
        assert_eq!(sum.rounded(24, Rounding::NearestEven), 1.0);
        sum.add(1, -544);
        assert_eq!(sum.rounded(24, Rounding::NearestEven), 1.0 + f32::EPSILON);
        sum.add(-2, -544);
        assert_eq!(sum.rounded(24, Rounding::NearestEven), 1.0);
    }

    #[test]
    fn infinities_of_both_signs_make_not_a_number() {
        let mut sum = ExactSum::ZERO;
        sum.add_f32(f32::INFINITY);
        sum.add(-1, 200);
        assert_eq!(sum.rounded(24, Rounding::NearestEven), f32::INFINITY);
        sum.add_f32(f32::NEG_INFINITY);
        assert!(sum.rounded(24, Rounding::NearestEven).is_nan());
    }
}
