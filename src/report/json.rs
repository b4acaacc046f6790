//! `report.json`: the whole report.

use crate::report::data::Report;

/// The report as indented JSON with a final newline.
pub fn to_json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has string keys and plain values");
    text.push('\n');
    text
}
