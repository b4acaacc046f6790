//! A figure together with how far it may be off.

use std::iter::Sum;
use std::ops::Add;

/// Low, typical and high value of one quantity. What is added and scaled keeps its three values apart, so that the low end
/// of a sum is reached where every part of it is at its low end: the widest that the parts allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Band {
    /// The least that is plausible.
    pub low: f64,
    /// The value that is used.
    pub typical: f64,
    /// The most that is plausible.
    pub high: f64,
}

impl Band {
    /// A value without any uncertainty.
    pub const fn exactly(value: f64) -> Band {
        Band { low: value, typical: value, high: value }
    }

    /// `typical` divided and multiplied by `factor`, which is at least 1.
    pub fn within_factor(typical: f64, factor: f64) -> Band {
        Band { low: typical / factor, typical, high: typical * factor }
    }

    /// Each value times `factor`, which is not negative.
    #[must_use]
    pub fn times(self, factor: f64) -> Band {
        Band { low: factor * self.low, typical: factor * self.typical, high: factor * self.high }
    }

    /// Low by low, typical by typical, high by high: the product of two quantities that are not negative.
    #[must_use]
    pub fn by(self, other: Band) -> Band {
        Band { low: self.low * other.low, typical: self.typical * other.typical, high: self.high * other.high }
    }

    /// Whether the three values ascend.
    pub fn is_ordered(&self) -> bool {
        self.low <= self.typical && self.typical <= self.high
    }
}

impl Add for Band {
    type Output = Band;

    fn add(self, other: Band) -> Band {
        Band { low: self.low + other.low, typical: self.typical + other.typical, high: self.high + other.high }
    }
}

impl Sum for Band {
    fn sum<I: Iterator<Item = Band>>(bands: I) -> Band {
        bands.fold(Band::default(), Add::add)
    }
}
