//! Counts of what is equal and what is not, element by element.

use std::collections::BTreeMap;

/// Running counts of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    compared: u64,
    differing: u64,
    excluded: BTreeMap<&'static str, u64>,
    first_difference: Option<String>,
}

/// Whether the two zeros are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZeroSign {
    Compared,
    Ignored,
}

impl Comparison {
    /// Elements compared.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Elements that differ.
    pub fn differing(&self) -> u64 {
        self.differing
    }

    /// Elements left out.
    pub fn excluded(&self) -> u64 {
        self.excluded.values().sum()
    }

    /// What was left out and why, and the first difference, in words.
    pub fn reasons(&self) -> String {
        let excluded = self.excluded.iter().map(|(reason, count)| format!("{count} left out: {reason}"));
        let difference = self.first_difference.iter().map(|place| format!("first difference: {place}"));
        excluded.chain(difference).collect::<Vec<_>>().join("; ")
    }

    /// Counts elements that are left out, for a reason that the reference gives.
    pub fn exclude(&mut self, count: u64, reason: &'static str) {
        if count > 0 {
            *self.excluded.entry(reason).or_default() += count;
        }
    }

    /// Counts one element; `place` is asked for when it is the first that differs.
    pub fn record(&mut self, equal: bool, place: impl FnOnce() -> String) {
        self.compared += 1;
        if !equal {
            self.differing += 1;
            if self.first_difference.is_none() {
                self.first_difference = Some(place());
            }
        }
    }

    /// Adds the counts of another comparison.
    pub fn merge(&mut self, other: Self) {
        self.compared += other.compared;
        self.differing += other.differing;
        for (reason, count) in other.excluded {
            self.exclude(count, reason);
        }
        self.first_difference = self.first_difference.take().or(other.first_difference);
    }

    /// Counts one float: NaN equals NaN, whatever its payload.
    pub(super) fn record_float(&mut self, found: f64, expected: f64, zeros: ZeroSign, place: impl FnOnce() -> String) {
        self.record(same_float(found, expected, zeros), || format!("{} is {found:e}, not {expected:e}", place()));
    }

    /// Counts one integer or code.
    pub(super) fn record_integer(&mut self, found: i64, expected: i64, place: impl FnOnce() -> String) {
        self.record(found == expected, || format!("{} is {found}, not {expected}", place()));
    }
}

/// Equality of values; f32 values compare exactly after widening.
pub(super) fn same_float(found: f64, expected: f64, zeros: ZeroSign) -> bool {
    if found.is_nan() || expected.is_nan() {
        return found.is_nan() && expected.is_nan();
    }
    found == expected && (zeros == ZeroSign::Ignored || found.is_sign_negative() == expected.is_sign_negative())
}

#[cfg(test)]
mod tests {
    use super::{Comparison, ZeroSign, same_float};

    #[test]
    fn zeros_differ_in_sign_only_where_asked_and_nan_equals_nan() {
        assert!(!same_float(0.0, -0.0, ZeroSign::Compared));
        assert!(same_float(0.0, -0.0, ZeroSign::Ignored));
        assert!(same_float(f64::NAN, -f64::NAN, ZeroSign::Compared));
        assert!(!same_float(f64::NAN, 1.0, ZeroSign::Ignored));
    }

    #[test]
    fn counts_and_reasons_add_up() {
        let mut comparison = Comparison::default();
        comparison.record_integer(1, 1, || unreachable!());
        comparison.record_integer(1, 2, || "code 5".to_owned());
        comparison.record_integer(1, 3, || unreachable!());
        comparison.exclude(2, "quirk");
        comparison.exclude(4, "quirk");
        assert_eq!((comparison.compared(), comparison.differing(), comparison.excluded()), (3, 2, 6));
        assert_eq!(comparison.reasons(), "6 left out: quirk; first difference: code 5 is 1, not 2");
    }
}
