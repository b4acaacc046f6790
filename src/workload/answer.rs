//! Whether a calibration answers what a scheme asks of a layer.
//!
//! Every calibration passes here before a scheme sees it, from wherever it came, so that a scheme may take an answer as there
//! and possible. What is asked for has to be there, what is not asked for must not be (a scheme would use it), and each value
//! has to be one that some activations could have given.

use std::fmt;

use crate::workload::calibration::{CalibrationRequest, LayerCalibration, OutlierRule, ProtectionRule};
use crate::workload::layer::LogicalGemm;

/// What is wrong with one entry of a layer's calibration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key of the entry.
    pub key: &'static str,
    /// The item of its list that is wrong, where a single one is.
    pub item: Option<usize>,
    /// What was found.
    pub found: String,
    /// What is valid.
    pub valid: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.key)?;
        if let Some(item) = self.item {
            write!(formatter, "[{item}]")?;
        }
        write!(formatter, ": {}; valid: {}", self.found, self.valid)
    }
}

/// An entry that is checked, with what would be valid.
struct Entry {
    key: &'static str,
    valid: String,
}

impl Entry {
    fn fault(&self, item: Option<usize>, found: impl Into<String>) -> Fault {
        Fault { key: self.key, item, found: found.into(), valid: self.valid.clone() }
    }

    /// `known`, if it is asked for and there; nothing if it is neither.
    fn asked<'v, V>(&self, known: Option<&'v V>, is_asked: bool) -> Result<Option<&'v V>, Fault> {
        match (known, is_asked) {
            (Some(_), false) => {
                let valid = "no entry: remove it, or calibrate for a scheme that asks for it".to_owned();
                Err(Fault { key: self.key, item: None, found: "the request does not ask for it".to_owned(), valid })
            }
            (None, true) => Err(self.fault(None, "it is missing, but the request asks for it")),
            (known, _) => Ok(known),
        }
    }

    fn count(&self, found: usize, needed: u64, of: &str) -> Result<(), Fault> {
        let is_right = u64::try_from(found) == Ok(needed);
        if is_right { Ok(()) } else { Err(self.fault(None, format!("it has {found} {of}, not {needed}"))) }
    }
}

/// Why a number is no finite one above zero.
fn not_positive(value: f32) -> Option<String> {
    match value {
        value if !value.is_finite() => Some("the value exceeds the range of a 32-bit float".to_owned()),
        value if value <= 0.0 => Some(format!("{value} is not above 0")),
        _ => None,
    }
}

impl LayerCalibration {
    /// What is wrong with the entries as an answer to what `request` asks of the product `gemm`: at most one fault for each
    /// entry.
    pub fn faults(&self, request: &CalibrationRequest, gemm: &LogicalGemm) -> Vec<Fault> {
        let channels = gemm.input_channels();
        if self.channels != channels {
            let found = format!("it has {} input channels, the layer {channels}", self.channels);
            return vec![Fault { key: "channels", item: None, found, valid: channels.to_string() }];
        }
        self.faults_of_entries(&request.of_product(gemm), gemm.constant_weight().is_none())
    }

    /// The same for a layer of these channels, whose right operand another layer computes or not.
    fn faults_of_entries(&self, request: &CalibrationRequest, is_computed: bool) -> Vec<Fault> {
        let checks = [
            self.check_smoothing(request.smoothing.is_some()),
            self.check_outliers(request.outliers),
            self.check_protected(request.protection),
            self.check_range(request.range),
            self.check_weight_range(request.range && is_computed),
            self.check_outlier_range(request),
        ];
        checks.into_iter().filter_map(Result::err).collect()
    }

    fn check_smoothing(&self, is_asked: bool) -> Result<(), Fault> {
        let valid = format!("a factor for each of the {} channels, finite and above 0", self.channels);
        let entry = Entry { key: "smoothing", valid };
        let Some(factors) = entry.asked(self.smoothing.as_ref(), is_asked)? else { return Ok(()) };
        entry.count(factors.len(), self.channels, "factors")?;
        for (item, factor) in factors.iter().enumerate() {
            if let Some(found) = not_positive(*factor) {
                return Err(entry.fault(Some(item), found));
            }
        }
        Ok(())
    }

    fn check_outliers(&self, rule: Option<OutlierRule>) -> Result<(), Fault> {
        let channels = self.channels;
        let valid = format!("channels below {channels} in ascending order, each once, and not all of them");
        let entry = Entry { key: "outliers", valid };
        let Some(outliers) = entry.asked(self.outliers.as_ref(), rule.is_some())? else { return Ok(()) };
        for (item, channel) in outliers.iter().enumerate() {
            if u64::from(*channel) >= channels {
                return Err(entry.fault(Some(item), format!("channel {channel} does not exist")));
            }
            match item.checked_sub(1).map(|before| outliers[before]) {
                Some(before) if before == *channel => {
                    return Err(entry.fault(Some(item), format!("channel {channel} is there twice")));
                }
                Some(before) if before > *channel => {
                    return Err(entry.fault(Some(item), format!("channel {channel} follows channel {before}")));
                }
                _ => {}
            }
        }
        if outliers.len() as u64 == channels {
            return Err(entry.fault(None, format!("all {channels} channels are outliers, and none is left")));
        }
        Ok(())
    }

    fn check_protected(&self, rule: Option<ProtectionRule>) -> Result<(), Fault> {
        let ProtectionRule { group, per_group, .. } = match (rule, &self.protected) {
            (Some(rule), _) => rule,
            (None, known) => {
                let entry = Entry { key: "protected", valid: String::new() };
                return entry.asked(known.as_ref(), false).map(|_| ());
            }
        };
        let valid = format!(
            "{per_group} for each {group} of the {} channels, in the order of the groups: channels of the group, ascending and \
             each once, then null where it has fewer",
            self.channels
        );
        let entry = Entry { key: "protected", valid };
        let protected = entry.asked(self.protected.as_ref(), true)?.map(Vec::as_slice).unwrap_or_default();
        if !self.channels.is_multiple_of(group) {
            return Err(entry.fault(None, format!("{} channels do not divide into groups of {group}", self.channels)));
        }
        entry.count(protected.len(), (self.channels / group).saturating_mul(per_group), "entries")?;
        let mut before = None;
        for (item, channel) in protected.iter().enumerate() {
            let of_group = item as u64 / per_group;
            let is_first = (item as u64).is_multiple_of(per_group);
            let fault = |found: String| Err(entry.fault(Some(item), found));
            match (channel, before) {
                (None, _) => {}
                (Some(channel), _) if u64::from(*channel) / group != of_group => {
                    let (first, last) = (of_group * group, (of_group + 1) * group - 1);
                    return fault(format!("channel {channel} is not of its group, channels {first} to {last}"));
                }
                (Some(channel), Some(None)) if !is_first => {
                    return fault(format!("channel {channel} follows null in its group"));
                }
                (Some(channel), Some(Some(before))) if !is_first && before == channel => {
                    return fault(format!("channel {channel} is there twice"));
                }
                (Some(channel), Some(Some(before))) if !is_first && before > channel => {
                    return fault(format!("channel {channel} follows channel {before}"));
                }
                (Some(_), _) => {}
            }
            before = Some(channel.as_ref());
        }
        Ok(())
    }

    fn check_range(&self, is_asked: bool) -> Result<(), Fault> {
        let valid =
            "the largest magnitude of the activations, finite and above 0; 0 only if `observed` has nothing else";
        let entry = Entry { key: "range", valid: valid.to_owned() };
        let Some(range) = entry.asked(self.range.as_ref(), is_asked)? else { return Ok(()) };
        if *range == 0.0 && self.saw_zeros_alone() {
            return Ok(());
        }
        not_positive(*range).map_or(Ok(()), |found| Err(entry.fault(None, found)))
    }

    fn check_weight_range(&self, is_asked: bool) -> Result<(), Fault> {
        let valid = "the largest magnitude of the right operand, finite and above 0, or 0 if it has nothing else";
        let entry = Entry { key: "weight_range", valid: valid.to_owned() };
        let Some(range) = entry.asked(self.weight_range.as_ref(), is_asked)? else { return Ok(()) };
        // Nothing beside it says what was seen, so that zero is taken for what it says.
        let found = not_positive(*range).filter(|_| *range != 0.0);
        found.map_or(Ok(()), |found| Err(entry.fault(None, found)))
    }

    fn check_outlier_range(&self, request: &CalibrationRequest) -> Result<(), Fault> {
        let is_asked = request.range && request.range_with_outliers_shifted_by.is_some();
        let are_there = self.outliers.as_ref().is_some_and(|outliers| !outliers.is_empty());
        let valid = match are_there {
            true => "the largest magnitude of the shifted outlier channels, finite, above 0, and at most `range`",
            false => "0, because the layer has no outlier channels",
        };
        let entry = Entry { key: "outlier_range", valid: valid.to_owned() };
        let Some(range) = entry.asked(self.outlier_range.as_ref(), is_asked)? else { return Ok(()) };
        // Channels of zeros are outliers only where the rule takes zero for one.
        let may_be_zero = !are_there || request.outliers.is_some_and(|rule| rule.selects(0.0));
        match not_positive(*range) {
            Some(_) if *range == 0.0 && may_be_zero => Ok(()),
            Some(found) => Err(entry.fault(None, found)),
            None if !are_there => Err(entry.fault(None, format!("it is {range}"))),
            None if self.range.is_some_and(|whole| *range > whole) => {
                Err(entry.fault(None, format!("{range} exceeds `range`")))
            }
            None => Ok(()),
        }
    }

    /// Whether the observation says that every activation was zero.
    fn saw_zeros_alone(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| {
            observed.maxima.len() as u64 == self.channels && observed.maxima.iter().all(|maximum| *maximum == 0.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::calibration::{Comparison, Observed, ProtectionChoice, Smoothing};

    /// Everything that can be asked for, and an answer for eight channels.
    fn asked() -> (CalibrationRequest, LayerCalibration) {
        let request = CalibrationRequest {
            smoothing: Some(Smoothing { alpha: 0.5 }),
            outliers: Some(OutlierRule { threshold: 6.0, comparison: Comparison::Above }),
            protection: Some(ProtectionRule { group: 4, per_group: 2, choice: ProtectionChoice::HitCount }),
            range: true,
            range_with_outliers_shifted_by: Some(2),
        };
        let known = LayerCalibration {
            channels: 8,
            smoothing: Some(vec![1.0; 8]),
            outliers: Some(vec![2, 5]),
            protected: Some(vec![Some(0), Some(3), Some(4), None]),
            range: Some(9.0),
            weight_range: Some(3.0),
            outlier_range: Some(4.0),
            observed: None,
        };
        (request, known)
    }

    /// The faults after `edit`, as `key[item]: found`.
    fn faults(edit: impl FnOnce(&mut LayerCalibration)) -> Vec<String> {
        let (request, mut known) = asked();
        edit(&mut known);
        let shown = |fault: &Fault| fault.to_string().split("; valid").next().unwrap().to_owned();
        known.faults_of_entries(&request, true).iter().map(shown).collect()
    }

    #[test]
    fn what_was_asked_for_and_is_possible_is_taken() {
        assert_eq!(faults(|_| {}), [""; 0]);
        assert_eq!(faults(|known| known.outliers = Some(vec![7])), [""; 0]);
        let without = |known: &mut LayerCalibration| {
            known.outliers = Some(Vec::new());
            known.outlier_range = Some(0.0);
        };
        assert_eq!(faults(without), [""; 0]);
        assert_eq!(faults(|known| known.protected = Some(vec![None; 4])), [""; 0]);
    }

    #[test]
    fn a_missing_answer_runs_with_no_other_value() {
        let without = |known: &mut LayerCalibration| {
            *known = LayerCalibration { channels: 8, ..LayerCalibration::default() };
        };
        let keys = ["smoothing", "outliers", "protected", "range", "weight_range", "outlier_range"];
        assert_eq!(faults(without), keys.map(|key| format!("{key}: it is missing, but the request asks for it")));
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_not_applied() {
        let (_, mut known) = asked();
        known.channels = 8;
        let found: Vec<&str> =
            known.faults_of_entries(&CalibrationRequest::default(), false).iter().map(|fault| fault.key).collect();
        assert_eq!(found, ["smoothing", "outliers", "protected", "range", "weight_range", "outlier_range"]);
    }

    #[test]
    fn a_range_of_zero_below_zero_or_beyond_a_float_is_refused() {
        for (range, found) in [
            (0.0, "range: 0 is not above 0"),
            (-3.0, "range: -3 is not above 0"),
            (f32::INFINITY, "range: the value exceeds the range of a 32-bit float"),
            (f32::NAN, "range: the value exceeds the range of a 32-bit float"),
        ] {
            let known = faults(|known| known.range = Some(range));
            assert_eq!(known[0], found);
        }
        assert_eq!(faults(|known| known.weight_range = Some(-1.0)), ["weight_range: -1 is not above 0"]);
        assert_eq!(faults(|known| known.outlier_range = Some(9.5)), ["outlier_range: 9.5 exceeds `range`"]);
        assert_eq!(faults(|known| known.outlier_range = Some(0.0)), ["outlier_range: 0 is not above 0"]);
        assert_eq!(faults(|known| known.outliers = Some(Vec::new())), ["outlier_range: it is 4"]);
    }

    #[test]
    fn a_range_of_zero_is_taken_where_the_layer_saw_zeros_alone() {
        let request = CalibrationRequest { range: true, ..CalibrationRequest::default() };
        let with = |maxima: &[f32]| {
            let observed = Some(Observed { maxima: maxima.to_vec(), ..Observed::default() });
            LayerCalibration { channels: 2, range: Some(0.0), observed, ..LayerCalibration::default() }
        };
        assert_eq!(with(&[0.0, 0.0]).faults_of_entries(&request, false), []);
        assert_eq!(with(&[0.0, 1.0]).faults_of_entries(&request, false).len(), 1);
        assert_eq!(with(&[0.0]).faults_of_entries(&request, false).len(), 1);
    }

    #[test]
    fn smoothing_of_zero_below_zero_beyond_a_float_or_of_another_length_is_refused() {
        let set = |value: f32| move |known: &mut LayerCalibration| known.smoothing.as_mut().unwrap()[3] = value;
        assert_eq!(faults(set(0.0)), ["smoothing[3]: 0 is not above 0"]);
        assert_eq!(faults(set(-1.0)), ["smoothing[3]: -1 is not above 0"]);
        assert_eq!(faults(set(f32::INFINITY)), ["smoothing[3]: the value exceeds the range of a 32-bit float"]);
        assert_eq!(faults(|known| known.smoothing = Some(vec![1.0; 7])), ["smoothing: it has 7 factors, not 8"]);
    }

    #[test]
    fn outliers_twice_unsorted_beyond_the_channels_or_all_of_them_are_refused() {
        let set = |outliers: &[u32]| {
            let outliers = outliers.to_vec();
            faults(move |known| known.outliers = Some(outliers))
        };
        assert_eq!(set(&[2, 2]), ["outliers[1]: channel 2 is there twice"]);
        assert_eq!(set(&[5, 2]), ["outliers[1]: channel 2 follows channel 5"]);
        assert_eq!(set(&[2, 8]), ["outliers[1]: channel 8 does not exist"]);
        assert_eq!(set(&[0, 1, 2, 3, 4, 5, 6, 7]), ["outliers: all 8 channels are outliers, and none is left"]);
    }

    #[test]
    fn protected_channels_of_a_wrong_group_twice_too_few_or_too_many_are_refused() {
        let set = |protected: &[i64]| {
            let channel = |channel: &i64| u32::try_from(*channel).ok();
            let protected = protected.iter().map(channel).collect();
            faults(move |known| known.protected = Some(protected))
        };
        assert_eq!(set(&[0, 4, 5, -1]), ["protected[1]: channel 4 is not of its group, channels 0 to 3"]);
        assert_eq!(set(&[0, 3, 3, 5]), ["protected[2]: channel 3 is not of its group, channels 4 to 7"]);
        assert_eq!(set(&[0, 0, 4, 5]), ["protected[1]: channel 0 is there twice"]);
        assert_eq!(set(&[3, 0, 4, 5]), ["protected[1]: channel 0 follows channel 3"]);
        assert_eq!(set(&[-1, 0, 4, 5]), ["protected[1]: channel 0 follows null in its group"]);
        assert_eq!(set(&[0, 3, 4]), ["protected: it has 3 entries, not 4"]);
        assert_eq!(set(&[0, 3, 4, 5, 6]), ["protected: it has 5 entries, not 4"]);
    }
}
