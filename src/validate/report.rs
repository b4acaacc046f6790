//! What a validation found, as data and as a table.

use std::fmt;

use crate::validate::comparison::Comparison;

/// The outcome of the sets that were run. Serializes as `{"sets": [row, ..]}`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ValidationReport {
    /// One row a group, in the order of the sets.
    pub sets: Vec<ValidationRow>,
}

impl ValidationReport {
    /// Whether no judged group misses its bar.
    pub fn passes(&self) -> bool {
        self.sets.iter().all(|row| row.pass != Some(false))
    }
}

/// How one group of a reference set compares.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ValidationRow {
    /// The set.
    pub set: &'static str,
    /// The reference's configuration, such as a pack of cases.
    pub group: String,
    /// Rows or elements of the input, all of them.
    pub rows: u64,
    /// Of these, those that were compared.
    pub compared: u64,
    /// Of these, those left out because the reference itself declares them wrong; `note` says why.
    pub excluded: u64,
    /// Compared ones that are not equal, where equality is asked for.
    pub differing: u64,
    /// Mean relative error (0.05 is 5 %), where errors are measured.
    pub mean_error: Option<f64>,
    /// Median relative error.
    pub median_error: Option<f64>,
    /// 90th percentile of the relative error.
    pub p90_error: Option<f64>,
    /// Largest relative error.
    pub worst_error: Option<f64>,
    /// The bar: differing elements allowed where equality is asked for, else the largest allowed value of the statistic that
    /// `note` names.
    pub bar: f64,
    /// Whether the bar is met; absent for groups that are not judged.
    pub pass: Option<bool>,
    /// What was left out and why, or what the bar is on; empty where there is nothing to say.
    pub note: String,
}

/// The statistic of the errors that a bar is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorStatistic {
    /// Arithmetic mean.
    Mean,
    /// The middle one.
    Median,
    /// The one that 90 % do not exceed.
    P90,
    /// The largest.
    Worst,
}

impl ValidationRow {
    /// A group whose elements must be equal.
    pub fn of_equality(set: &'static str, group: &str, comparison: &Comparison) -> Self {
        Self {
            set,
            group: group.to_owned(),
            rows: comparison.compared() + comparison.excluded(),
            compared: comparison.compared(),
            excluded: comparison.excluded(),
            differing: comparison.differing(),
            mean_error: None,
            median_error: None,
            p90_error: None,
            worst_error: None,
            bar: 0.0,
            pass: Some(comparison.differing() == 0),
            note: comparison.reasons(),
        }
    }

    /// A group whose relative errors are measured; a NaN among them misses every bar.
    pub fn of_errors(set: &'static str, group: &str, mut errors: Vec<f64>, on: ErrorStatistic, bar: f64) -> Self {
        errors.sort_by(f64::total_cmp);
        let count = errors.len();
        // Nearest rank: the smallest error that at least this share of all does not exceed.
        let rank = |percent: usize| errors.get((count * percent).div_ceil(100).max(1) - 1).copied();
        let mean = (count > 0).then(|| errors.iter().sum::<f64>() / count as f64);
        let (judged, name) = match on {
            ErrorStatistic::Mean => (mean, "mean"),
            ErrorStatistic::Median => (rank(50), "median"),
            ErrorStatistic::P90 => (rank(90), "p90"),
            ErrorStatistic::Worst => (rank(100), "worst"),
        };
        Self {
            set,
            group: group.to_owned(),
            rows: count as u64,
            compared: count as u64,
            excluded: 0,
            differing: 0,
            mean_error: mean,
            median_error: rank(50),
            p90_error: rank(90),
            worst_error: rank(100),
            bar,
            pass: Some(judged.is_none_or(|value| value <= bar)),
            note: format!("bar on the {name} error"),
        }
    }

    /// A group of `ratios`, ours over theirs. The error of a row is its deviation: the larger over the smaller, less one,
    /// so that twice and half are equally far. `note` adds to what the ratios are; without a bar nothing is judged.
    pub fn of_ratios(
        set: &'static str,
        group: &str,
        ratios: &[f64],
        bar: Option<(ErrorStatistic, f64)>,
        note: &str,
    ) -> Self {
        let deviations = ratios.iter().map(|ratio| ratio.max(1.0 / ratio) - 1.0).collect();
        let (on, limit) = bar.unwrap_or((ErrorStatistic::Worst, 0.0));
        let mut row = Self::of_errors(set, group, deviations, on, limit);
        let spread = Spread::of(ratios);
        let judged = if bar.is_some() {
            format!("; {}", row.note)
        } else {
            row.pass = None;
            String::new()
        };
        row.note = format!("ours are {spread} times theirs{judged}{}{note}", if note.is_empty() { "" } else { "; " });
        row
    }

    /// A group that is present in the input but not judged, and why.
    pub fn not_judged(set: &'static str, group: &str, rows: u64, note: &str) -> Self {
        Self {
            set,
            group: group.to_owned(),
            rows,
            compared: 0,
            excluded: rows,
            differing: 0,
            mean_error: None,
            median_error: None,
            p90_error: None,
            worst_error: None,
            bar: 0.0,
            pass: None,
            note: note.to_owned(),
        }
    }
}

/// Least, arithmetic mean, median and largest of ratios.
struct Spread {
    least: f64,
    mean: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(ratios: &[f64]) -> Self {
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            least: at(0),
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            median: at(sorted.len().div_ceil(2).max(1) - 1),
            most: at(sorted.len().max(1) - 1),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, mean, median, most } = self;
        write!(formatter, "{least:.3} to {most:.3} (mean {mean:.3}, median {median:.3})")
    }
}

impl fmt::Display for ValidationReport {
    /// A table with one line a group.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["set", "group", "rows", "compared", "differing", "mean", "median", "p90", "worst", "bar", "pass"];
        let mut lines = vec![header.map(str::to_owned)];
        let error = |error: Option<f64>| error.map_or_else(|| "-".to_owned(), |error| format!("{error:.3e}"));
        for row in &self.sets {
            let pass = match row.pass {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not judged",
            };
            lines.push([
                row.set.to_owned(),
                row.group.clone(),
                row.rows.to_string(),
                row.compared.to_string(),
                row.differing.to_string(),
                error(row.mean_error),
                error(row.median_error),
                error(row.p90_error),
                error(row.worst_error),
                if row.mean_error.is_some() { format!("{:.1e}", row.bar) } else { row.bar.to_string() },
                pass.to_owned(),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let notes = std::iter::once("note").chain(self.sets.iter().map(|row| row.note.as_str()));
        for (line, note) in lines.iter().zip(notes) {
            let mut text = String::new();
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                // Names stand left, numbers right.
                let cell = if column < 2 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
                text.push_str(&cell);
            }
            text.push_str(note);
            writeln!(formatter, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorStatistic, ValidationReport, ValidationRow};
    use crate::validate::Comparison;

    #[test]
    fn the_statistics_of_ten_errors_are_the_nearest_ranks() {
        let errors = (1..=10).rev().map(f64::from).collect();
        let row = ValidationRow::of_errors("chips", "all", errors, ErrorStatistic::P90, 8.5);
        assert_eq!(row.mean_error, Some(5.5));
        assert_eq!(row.median_error, Some(5.0));
        assert_eq!(row.p90_error, Some(9.0));
        assert_eq!(row.worst_error, Some(10.0));
        assert_eq!(row.pass, Some(false));
    }

    #[test]
    fn half_and_twice_deviate_equally_and_only_a_bar_judges() {
        let row = ValidationRow::of_ratios("a", "b", &[2.0, 0.5, 1.0], Some((ErrorStatistic::Worst, 1.0)), "why");
        assert_eq!((row.mean_error, row.median_error, row.worst_error), (Some(2.0 / 3.0), Some(1.0), Some(1.0)));
        assert_eq!(row.pass, Some(true));
        assert_eq!(
            row.note,
            "ours are 0.500 to 2.000 (mean 1.167, median 1.000) times theirs; bar on the worst error; why"
        );
        assert_eq!(ValidationRow::of_ratios("a", "b", &[9.0], None, "").pass, None);
        let bar = Some((ErrorStatistic::Worst, 1.0));
        assert_eq!(ValidationRow::of_ratios("a", "b", &[0.499], bar, "").pass, Some(false));
    }

    #[test]
    fn a_report_passes_unless_a_judged_group_misses_its_bar() {
        let mut comparison = Comparison::default();
        comparison.exclude(3, "published defects");
        let equal = ValidationRow::of_equality("a", "b", &comparison);
        let skipped = ValidationRow::not_judged("a", "c", 4, "not covered yet");
        let mut report = ValidationReport { sets: vec![equal, skipped] };
        assert!(report.passes());
        assert!(report.to_string().contains("not covered yet"));
        report.sets.push(ValidationRow::of_errors("a", "d", vec![f64::NAN], ErrorStatistic::Worst, 1.0));
        assert!(!report.passes());
    }

    #[test]
    fn the_json_form_has_the_documented_fields() {
        let row = ValidationRow::of_errors("a", "b", vec![0.5], ErrorStatistic::Mean, 1.0);
        let json = serde_json::to_value(ValidationReport { sets: vec![row] }).unwrap();
        for field in [
            "set",
            "group",
            "rows",
            "differing",
            "mean_error",
            "median_error",
            "p90_error",
            "worst_error",
            "bar",
            "pass",
        ] {
            assert!(json["sets"][0].get(field).is_some(), "{field}");
        }
    }
}
