//! The plain evaluation of every floating point order, one output at a time.

use crate::numerics::accumulate::exact_sum::ExactSum;
use crate::numerics::accumulate::order::{AccumulationOrder, Destination, Truncation};
use crate::numerics::accumulate::rounding::round;
use crate::numerics::accumulate::term::Term;
use crate::numerics::formats::Rounding;

/// The accumulator of one output.
///
/// Infinities and NaN follow IEEE 754 in every order: a NaN, or infinities of both signs, make the result NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatAccumulator {
    order: AccumulationOrder,
    destination: Destination,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Rounded(f32),
    Exact(Box<ExactSum>),
}

impl FloatAccumulator {
    /// An accumulator that holds `start`, which must be a value of the destination.
    pub fn new(order: AccumulationOrder, destination: Destination, start: f32) -> Self {
        let state = match order {
            AccumulationOrder::Exact => {
                let mut sum = ExactSum::ZERO;
                sum.add_f32(start);
                State::Exact(Box::new(sum))
            }
            _ => State::Rounded(start),
        };
        Self { order, destination, state }
    }

    /// Adds products in the order given. `block` is the number of products that share their scales; the slice starts at
    /// a multiple of [`AccumulationOrder::products_per_operation`] of the whole dot product, and the last operation may
    /// be shorter than the others. A truncating order with groups of more than one product takes elements of at most
    /// eight bits, whose products span few enough bits to be summed in one integer.
    pub fn accumulate(&mut self, products: &[Term], block: usize) {
        let bits = self.destination.significand_bits();
        let accumulator = match &mut self.state {
            State::Exact(sum) => return products.iter().for_each(|&product| sum.add_term(product)),
            State::Rounded(accumulator) => accumulator,
        };
        for operation in products.chunks(self.order.products_per_operation(block).max(1)) {
            *accumulator = match self.order {
                AccumulationOrder::Sequential | AccumulationOrder::Block | AccumulationOrder::Exact => {
                    added(*accumulator, fused_sum(None, operation, bits), self.destination)
                }
                AccumulationOrder::Fused(_) => fused_sum(Some(*accumulator), operation, bits),
                AccumulationOrder::Truncated(rule) => truncated_sum(*accumulator, operation, rule),
            };
        }
    }

    /// The accumulated value, a value of the destination.
    pub fn value(&self) -> f32 {
        match &self.state {
            State::Rounded(accumulator) => *accumulator,
            State::Exact(sum) => sum.rounded(self.destination.significand_bits(), Rounding::NearestEven),
        }
    }
}

/// The float adder: one rounding to the destination.
///
/// For BF16 the sum of two 8-bit significands is first rounded to 24 bits, which is innocuous: 24 >= 2 * 8 + 2
/// (S. Figueroa, "When is double rounding innocuous?", SIGNUM 1995), and subnormal sums are exact in both formats.
fn added(accumulator: f32, addend: f32, destination: Destination) -> f32 {
    let sum = accumulator + addend;
    match destination {
        Destination::Fp32 => sum,
        Destination::Bf16 => match Term::from_f32(sum) {
            Term::Finite { significand: 0, .. } | Term::Infinite { .. } | Term::NotANumber => sum,
            Term::Finite { significand, exponent, .. } => round(
                significand < 0,
                u128::from(significand.unsigned_abs()),
                exponent,
                destination.significand_bits(),
                Rounding::NearestEven,
            ),
        },
    }
}

/// The exact sum of the products and the accumulator, rounded once.
fn fused_sum(accumulator: Option<f32>, products: &[Term], significand_bits: u32) -> f32 {
    let accumulator = accumulator.map(Term::from_f32);
    let terms = || products.iter().copied().chain(accumulator);
    if let Some((sum, exponent)) = narrow_sum(terms()) {
        return round(sum < 0, sum.unsigned_abs(), exponent, significand_bits, Rounding::NearestEven);
    }
    let mut sum = ExactSum::ZERO;
    terms().for_each(|term| sum.add_term(term));
    sum.rounded(significand_bits, Rounding::NearestEven)
}

/// The sum as an integer and the exponent of its lowest bit, when all terms are finite and lie close enough together.
fn narrow_sum(terms: impl Iterator<Item = Term> + Clone) -> Option<(i128, i32)> {
    let (mut lowest, mut highest, mut count) = (i32::MAX, i32::MIN, 0u32);
    for term in terms.clone() {
        let Term::Finite { significand, exponent, .. } = term else { return None };
        if significand != 0 {
            lowest = lowest.min(exponent);
            highest = highest.max(exponent + 64 - significand.unsigned_abs().leading_zeros() as i32);
            count += 1;
        }
    }
    if count == 0 {
        return Some((0, 0));
    }
    if highest - lowest + 32 - count.leading_zeros() as i32 > 126 {
        return None;
    }
    let sum = terms
        .filter_map(|term| match term {
            Term::Finite { significand, exponent, .. } if significand != 0 => {
                Some(i128::from(significand) << (exponent - lowest))
            }
            _ => None,
        })
        .sum();
    Some((sum, lowest))
}

/// One operation of [`AccumulationOrder::Truncated`].
fn truncated_sum(accumulator: f32, products: &[Term], rule: Truncation) -> f32 {
    let accumulator = Term::from_f32(accumulator);
    if products.iter().chain([&accumulator]).any(|term| !term.is_finite()) {
        let mut sum = ExactSum::ZERO;
        products.iter().chain([&accumulator]).for_each(|&term| sum.add_term(term));
        return sum.rounded(rule.result_bits(), Rounding::TowardZero);
    }
    // Sums to be aligned: significand, exponent of its lowest bit, exponent that it is aligned by.
    let mut sums: Vec<(i128, i32, i32)> = Vec::with_capacity(products.len() + 1);
    let grouped = rule.group().get() > 1;
    for group in products.chunks(rule.group().get() as usize) {
        let (sum, exponent) = narrow_sum(group.iter().copied())
            .expect("products of 8-bit elements under one scale span fewer than 126 bits");
        let aligned_by = group
            .iter()
            .filter_map(|term| match *term {
                Term::Finite { leading, scale, .. } => Some(if grouped { scale } else { leading }),
                _ => None,
            })
            .max();
        sums.push((sum, exponent, aligned_by.unwrap_or(i32::MIN)));
    }
    if let Term::Finite { significand, exponent, leading, .. } = accumulator {
        let leading = if significand == 0 { -126 } else { leading };
        sums.push((i128::from(significand), exponent, leading));
    }
    if !grouped {
        sums.retain(|&(sum, _, _)| sum != 0);
    }
    let Some(largest) = sums.iter().map(|&(_, _, aligned_by)| aligned_by).max() else {
        return 0.0;
    };
    let lowest = largest - rule.bits() as i32;
    let sum: i128 = sums.iter().map(|&(sum, exponent, _)| cut_toward_zero(sum, exponent - lowest)).sum();
    round(sum < 0, sum.unsigned_abs(), lowest, rule.result_bits(), Rounding::TowardZero)
}

/// `significand * 2^shift` cut toward zero to an integer.
fn cut_toward_zero(significand: i128, shift: i32) -> i128 {
    match shift {
        0.. => significand << shift,
        -126..=-1 => significand / (1 << -shift),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::FloatAccumulator;
    use crate::numerics::accumulate::{AccumulationOrder, Destination, Term, Truncation};
    use crate::numerics::formats::{E8M0, FP8_E4M3, FP8_E5M2};

    fn product(significand: i64, exponent: i32) -> Term {
        let leading = exponent + 63 - significand.unsigned_abs().leading_zeros() as i32;
        Term::Finite { significand, exponent, leading, scale: 0 }
    }

    fn sum(order: AccumulationOrder, destination: Destination, products: &[Term], block: usize) -> f32 {
        let mut accumulator = FloatAccumulator::new(order, destination, 0.0);
        accumulator.accumulate(products, block);
        accumulator.value()
    }

    fn fused(products: u32) -> AccumulationOrder {
        AccumulationOrder::Fused(NonZeroU32::new(products).unwrap())
    }

    #[test]
    fn each_order_rounds_where_it_says() {
        // 2^24 + 1 + 1 + 1 + 1 in binary32, where 2^24 + 1 is a tie that goes to 2^24.
        let products = [product(1, 24), product(1, 0), product(1, 0), product(1, 0), product(1, 0)];
        let base = 16_777_216.0;
        let single = |order| sum(order, Destination::Fp32, &products, 2);
        assert_eq!(single(AccumulationOrder::Sequential), base, "every 1 is lost alone");
        // Blocks (2^24 + 1 -> 2^24), (1 + 1), (1): 2^24 + 2, then a tie that goes up to the even 2^24 + 4.
        assert_eq!(single(AccumulationOrder::Block), base + 4.0);
        assert_eq!(single(AccumulationOrder::Exact), base + 4.0);
        // (2^24 + 1) -> 2^24; + 2 -> 2^24 + 2; + 1 is a tie between 2^24 + 2 and the even 2^24 + 4.
        assert_eq!(single(fused(2)), base + 4.0);
        // (2^24 + 3) is a tie between 2^24 + 2 and the even 2^24 + 4; then + 1 is a tie that stays even.
        assert_eq!(single(fused(4)), base + 4.0);
        // A frame of 24 bits below 2^24 keeps units; the result of 24 significant bits drops them.
        let rule = Truncation::try_new(NonZeroU32::new(5).unwrap(), 24).unwrap();
        assert_eq!(single(AccumulationOrder::Truncated(rule)), base + 4.0);
        // A frame of 23 bits below 2^24 has a unit of 2: every 1 is cut.
        let rule = Truncation::try_new(NonZeroU32::new(5).unwrap(), 23).unwrap();
        assert_eq!(single(AccumulationOrder::Truncated(rule)), base);
    }

    #[test]
    fn a_truncating_order_cuts_products_of_both_signs_toward_zero() {
        // A frame of 2 bits below 2^2 has a unit of 1: 4 - 1.5 - 1.5 is 4 - 1 - 1, and with the signs turned it is -4 + 1 + 1.
        // Rounding down would give 4 - 2 - 2 and -4 + 1 + 1.
        let rule = Truncation::try_new(NonZeroU32::new(3).unwrap(), 2).unwrap();
        for sign in [1, -1] {
            let products = [product(4 * sign, 0), product(-3 * sign, -1), product(-3 * sign, -1)];
            let found = sum(AccumulationOrder::Truncated(rule), Destination::Fp32, &products, 3);
            assert_eq!(found, 2.0 * sign as f32);
        }
    }

    #[test]
    fn a_bfloat16_destination_rounds_every_step_to_eight_bits() {
        // 256 + 1 + 1 in bfloat16, whose unit at 256 is 2: each 1 is a tie that goes to the even 256.
        let products = [product(1, 8), product(1, 0), product(1, 0)];
        assert_eq!(sum(AccumulationOrder::Sequential, Destination::Bf16, &products, 1), 256.0);
        assert_eq!(sum(AccumulationOrder::Exact, Destination::Bf16, &products, 1), 258.0);
        assert_eq!(sum(fused(3), Destination::Bf16, &products, 1), 258.0);
    }

    #[test]
    fn a_product_far_below_the_accumulator_still_decides_a_tie() {
        let mut accumulator = FloatAccumulator::new(fused(2), Destination::Fp32, 1.0);
        accumulator.accumulate(&[product(1, -24), product(1, -280)], 2);
        assert_eq!(accumulator.value(), 1.0 + f32::EPSILON);
        let mut accumulator = FloatAccumulator::new(fused(2), Destination::Fp32, 1.0);
        accumulator.accumulate(&[product(1, -24), product(-1, -280)], 2);
        assert_eq!(accumulator.value(), 1.0);
    }

    #[test]
    fn not_a_number_and_opposite_infinities_spoil_every_order() {
        let rule = Truncation::try_new(NonZeroU32::new(2).unwrap(), 25).unwrap();
        let infinity = Term::Infinite { negative: false };
        for order in [
            AccumulationOrder::Sequential,
            AccumulationOrder::Block,
            AccumulationOrder::Exact,
            fused(2),
            AccumulationOrder::Truncated(rule),
        ] {
            let single = |products: &[Term]| sum(order, Destination::Fp32, products, 2);
            assert!(single(&[product(1, 0), Term::NotANumber, product(1, 0)]).is_nan(), "{order}");
            assert!(single(&[infinity, product(1, 0), Term::Infinite { negative: true }]).is_nan(), "{order}");
            assert_eq!(single(&[infinity, product(-1, 3)]), f32::INFINITY, "{order}");
        }
    }

    proptest! {
        #[test]
        fn the_sequential_order_is_a_loop_of_float_multiplies_and_adds(
            codes in prop::collection::vec((any::<u8>(), any::<u8>(), 100u8..150, 100u8..150), 0..60)
        ) {
            let mut expected = 0f32;
            let mut products = Vec::new();
            for (a, b, scale_a, scale_b) in codes {
                let value = |code: u8, scale: u8| {
                    FP8_E4M3.decode(u32::from(code)) as f32 * E8M0.decode(u32::from(scale)) as f32
                };
                expected += value(a, scale_a) * value(b, scale_b);
                let term = |code: u8, scale: u8| {
                    Term::element(&FP8_E4M3, u32::from(code), 0).times(Term::scale(&E8M0, u32::from(scale)))
                };
                products.push(term(a, scale_a).times(term(b, scale_b)));
            }
            let result = sum(AccumulationOrder::Sequential, Destination::Fp32, &products, 32);
            prop_assert_eq!(result.is_nan(), expected.is_nan());
            if !expected.is_nan() {
                prop_assert_eq!(result.to_bits(), expected.to_bits());
            }
        }

        #[test]
        fn segments_of_whole_operations_give_the_same_bits(
            codes in prop::collection::vec((any::<u8>(), any::<u8>()), 1..80), cut in 0usize..20
        ) {
            let products: Vec<Term> = codes
                .iter()
                .map(|&(a, b)| Term::element(&FP8_E5M2, u32::from(a), 0).times(Term::element(&FP8_E4M3, u32::from(b), 0)))
                .collect();
            let rule = Truncation::try_new(NonZeroU32::new(4).unwrap(), 25).unwrap();
            let orders = [
                AccumulationOrder::Sequential,
                AccumulationOrder::Block,
                AccumulationOrder::Exact,
                fused(4),
                AccumulationOrder::Truncated(rule),
            ];
            for order in orders {
                let cut = (cut * order.products_per_operation(8)).min(products.len());
                let mut accumulator = FloatAccumulator::new(order, Destination::Fp32, 0.0);
                accumulator.accumulate(&products[..cut], 8);
                accumulator.accumulate(&products[cut..], 8);
                let whole = sum(order, Destination::Fp32, &products, 8);
                prop_assert_eq!(accumulator.value().to_bits(), whole.to_bits(), "{}", order);
            }
        }
    }
}
