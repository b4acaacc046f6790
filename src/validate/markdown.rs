//! What a validation found as a page of Markdown, so that the state of every set can stand in the repository.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;

use crate::validate::report::{ValidationReport, ValidationRow};

/// The command that makes a page.
pub const COMMAND: &str = "npusim validate";
/// How a page begins.
const START: &str = "# Validation\n\nMade by `";

/// Whether `file` begins as a page does.
pub fn is_page(file: File) -> bool {
    let start = format!("{START}{COMMAND}");
    let mut text = Vec::new();
    file.take(start.len() as u64).read_to_end(&mut text).is_ok_and(|_| text == start.as_bytes())
}

/// A page with one line a group: how many were compared, the errors in per cent, the bar and whether it is met. Ends with a
/// line break. `command` is what makes the page anew.
pub fn page(report: &ValidationReport, command: &str) -> String {
    let count = |pass: Option<bool>| report.sets.iter().filter(|row| row.pass == pass).count();
    let (met, missed, open) = (count(Some(true)), count(Some(false)), count(None));
    let mut page = format!(
        "{START}{command}`. {met} groups meet their bar, {missed} miss it, {open} are shown and not judged. \
         Errors are relative; where equality is asked for, differing rows or elements are counted.\n\n\
         | set | group | compared | differing | mean | median | p90 | worst | bar | met | note |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n"
    );
    for row in &report.sets {
        writeln!(page, "{}", line(row)).expect("a string takes everything");
    }
    page
}

fn line(row: &ValidationRow) -> String {
    let per_cent = |error: Option<f64>| error.map_or_else(|| "-".to_owned(), |error| format!("{:.2} %", error * 100.0));
    let bar = match (row.pass, row.mean_error) {
        (None, _) => "-".to_owned(),
        (Some(_), None) => format!("{} differ", row.bar),
        (Some(_), Some(_)) => per_cent(Some(row.bar)),
    };
    let met = match row.pass {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not judged",
    };
    let (compared, differing) = (row.compared.to_string(), row.differing.to_string());
    let errors = [row.mean_error, row.median_error, row.p90_error, row.worst_error].map(per_cent);
    let [mean, median, p90, worst] = &errors;
    // A bar within a cell would end it.
    let cells =
        [row.set, &row.group, &compared, &differing, mean, median, p90, worst, &bar, met, &row.note.replace('\n', " ")]
            .map(|cell| cell.replace('|', "\\|"));
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::validate::report::{ErrorStatistic, ValidationReport, ValidationRow};

    #[test]
    fn a_page_has_a_line_a_group_with_errors_in_per_cent() {
        let judged = ValidationRow::of_errors("chips", "a|b", vec![0.01, 0.03], ErrorStatistic::Mean, 0.05);
        let shown = ValidationRow::not_judged("chips", "c", 3, "why");
        let page = page(&ValidationReport { sets: vec![judged, shown] }, "npusim validate");
        assert!(page.contains("1 groups meet their bar, 0 miss it, 1 are shown"), "{page}");
        let lines: Vec<&str> = page.lines().rev().take(2).collect();
        assert_eq!(
            lines[1],
            "| chips | a\\|b | 2 | 0 | 2.00 % | 1.00 % | 3.00 % | 3.00 % | 5.00 % | yes | bar on the mean error |"
        );
        assert_eq!(lines[0], "| chips | c | 0 | 0 | - | - | - | - | - | not judged | why |");
    }
}
