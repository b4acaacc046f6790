//! Units as types: cycles, bytes and rational rates.
//!
//! Counters are integers throughout the simulator. Time, energy and ratios are derived from them once, at the end,
//! so no rounding can accumulate and equal inputs give equal bytes on every machine.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $suffix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: $name = $name(0);
            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The difference, or zero where `other` is larger.
            pub const fn saturating_sub(self, other: $name) -> $name {
                $name(self.0.saturating_sub(other.0))
            }
        }
        impl Add for $name {
            type Output = $name;
            fn add(self, other: $name) -> $name {
                $name(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = $name;
            fn sub(self, other: $name) -> $name {
                $name(self.0 - other.0)
            }
        }
        impl Mul<u64> for $name {
            type Output = $name;
            fn mul(self, times: u64) -> $name {
                $name(self.0 * times)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: $name) {
                self.0 += other.0;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = $name>>(items: I) -> $name {
                items.fold($name::ZERO, Add::add)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!("{} ", $suffix), self.0)
            }
        }
    };
}

counter!(
    /// Clock cycles of the NPU's one clock domain.
    Cycles,
    "cycles"
);
counter!(
    /// Bytes moved or held.
    Bytes,
    "B"
);

/// An exact rational rate per cycle, such as 25.6 bytes a cycle = 128 / 5.
///
/// Kept as integers because a float rate would make completion cycles depend on the order of additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    numerator: u64,
    denominator: u64,
}

impl Rate {
    /// `numerator / denominator` units a cycle in lowest terms; `None` if either is zero.
    pub const fn try_new(numerator: u64, denominator: u64) -> Option<Rate> {
        if numerator == 0 || denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Some(Rate { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// A whole number of units a cycle; `None` if zero.
    pub const fn whole(units_per_cycle: u64) -> Option<Rate> {
        Rate::try_new(units_per_cycle, 1)
    }

    /// Cycles to pass `units` at this rate, rounded up to whole cycles.
    pub fn cycles_for(self, units: u64) -> Cycles {
        // Wide division is slow, and almost never needed.
        if let Some(product) = units.checked_mul(self.denominator) {
            return Cycles(product.div_ceil(self.numerator));
        }
        let cycles = (units as u128 * self.denominator as u128).div_ceil(self.numerator as u128);
        Cycles(u64::try_from(cycles).expect("work is bounded by the checked sizes of the workload"))
    }

    /// Numerator in lowest terms.
    pub const fn numerator(self) -> u64 {
        self.numerator
    }

    /// Denominator in lowest terms.
    pub const fn denominator(self) -> u64 {
        self.denominator
    }

    /// The rate as a float, for display only.
    pub fn per_cycle(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.denominator == 1 {
            write!(formatter, "{}", self.numerator)
        } else {
            write!(formatter, "{}/{}", self.numerator, self.denominator)
        }
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_in_lowest_terms_and_rounds_time_up() {
        let rate = Rate::try_new(256, 10).unwrap();
        assert_eq!((rate.numerator(), rate.denominator()), (128, 5));
        // 128 bytes at 25.6 B/cycle take exactly five cycles, one byte more takes a sixth.
        assert_eq!(rate.cycles_for(128), Cycles(5));
        assert_eq!(rate.cycles_for(129), Cycles(6));
        assert_eq!(rate.cycles_for(0), Cycles(0));
        assert_eq!(Rate::try_new(0, 1), None);
        assert_eq!(Rate::try_new(1, 0), None);
    }
}
