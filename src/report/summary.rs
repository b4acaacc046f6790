//! `summary.md`: the run for people, and the rows of the terminal's table.

use std::fmt::Write;

use crate::report::data::{CountReport, LayerNumerics, LayerReport, Report, TilingReport};
use crate::report::{deviations, energy};
use crate::schedule::tiling::ChosenBy;

const IN_MEMORY: &str = "writing to a string does not fail";

/// Headings of the layer table, with units.
const HEADINGS: [&str; 9] = [
    "layer",
    "span [cycles]",
    "attributed [cycles]",
    "compute [cycles]",
    "stalls [cycles]",
    "DRAM [KiB]",
    "energy [uJ]",
    "SQNR [dB]",
    "relative error",
];

/// A count beside the errors, with its heading.
type Loss = (&'static str, fn(&LayerNumerics) -> u64);

/// Each has a column where some layer has any.
const LOSSES: [Loss; 3] = [
    ("overflowed", |numerics| numerics.overflowed_sums),
    ("clipped", |numerics| numerics.clipped_values),
    ("not finite", |numerics| numerics.non_finite_values),
];

fn losses(report: &Report) -> impl Iterator<Item = Loss> + '_ {
    LOSSES.into_iter().filter(|(_, of)| report.layers.iter().filter_map(|layer| layer.numerics).any(|it| of(&it) > 0))
}

/// Headings of the layer table.
pub fn headings(report: &Report) -> Vec<&'static str> {
    HEADINGS.into_iter().chain(losses(report).map(|(heading, _)| heading)).collect()
}

/// Rows of the layer table: one per layer and a last one of totals.
pub fn rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = report.layers.iter().map(|layer| row(layer).to_vec()).collect();
    let totals = &report.totals;
    let sum = |of: fn(&LayerReport) -> u64| report.layers.iter().map(of).sum::<u64>().to_string();
    rows.push(vec![
        "total".to_owned(),
        totals.cycles.to_string(),
        sum(|layer| layer.attributed_cycles),
        sum(|layer| layer.compute_cycles),
        sum(|layer| layer.stall_cycles.values().sum()),
        kibibytes(totals.dram_read_bytes + totals.dram_write_bytes),
        microjoules(totals.energy_pj["total"]),
        String::new(),
        String::new(),
    ]);
    for (_, of) in losses(report) {
        let counts: Vec<Option<u64>> = report.layers.iter().map(|layer| layer.numerics.as_ref().map(of)).collect();
        let total = counts.iter().flatten().sum();
        let cells = counts.into_iter().chain([Some(total)]);
        for (row, count) in rows.iter_mut().zip(cells) {
            row.push(count.map(|count: u64| count.to_string()).unwrap_or_default());
        }
    }
    rows
}

fn row(layer: &LayerReport) -> [String; HEADINGS.len()] {
    let error = layer.numerics.map(|numerics| numerics.error);
    [
        layer.name.clone(),
        layer.cycles.to_string(),
        layer.attributed_cycles.to_string(),
        layer.compute_cycles.to_string(),
        layer.stall_cycles.values().sum::<u64>().to_string(),
        kibibytes(layer.dram_read_bytes + layer.dram_write_bytes),
        microjoules(layer.energy_pj),
        error.map(|error| decibels(error.sqnr_db)).unwrap_or_default(),
        error.map(|error| format!("{:.3e}", error.relative_error)).unwrap_or_default(),
    ]
}

/// The lines above and below the table: what ran, and how far it is from its bounds.
pub fn headline(report: &Report) -> String {
    let totals = &report.totals;
    let configuration = &report.configuration;
    format!(
        "{} on {} under {}: {} cycles = {:.1} us, {:.2}x the lower bound of {} cycles",
        configuration.workload.name,
        configuration.hardware.name,
        configuration.scheme.name,
        totals.cycles,
        totals.time_us,
        ratio(totals.cycles, totals.lower_bound_cycles),
        totals.lower_bound_cycles,
    )
}

/// One line per fact about the whole run.
pub fn facts(report: &Report) -> Vec<String> {
    let (totals, bounds) = (&report.totals, &report.bounds);
    let by_component: Vec<String> = totals
        .energy_pj
        .iter()
        .filter(|(component, _)| *component != "total")
        .map(|(component, energy)| format!("{component} {}", microjoules(*energy)))
        .collect();
    let utilization: Vec<String> =
        totals.utilization.iter().map(|(unit, share)| format!("{unit} {:.1} %", share * 100.0)).collect();
    vec![
        format!(
            "bounds [cycles]: compute {}, compulsory bandwidth {}, moved bytes {}",
            bounds.compute_cycles, bounds.compulsory_bandwidth_cycles, bounds.moved_bandwidth_cycles
        ),
        format!("energy [uJ]: {}; total {}", by_component.join(", "), microjoules(totals.energy_pj["total"])),
        format!(
            "bytes: DRAM {} read, {} written; on chip {} read, {} written",
            totals.dram_read_bytes, totals.dram_write_bytes, totals.sram_read_bytes, totals.sram_write_bytes
        ),
        format!("utilization: {}", utilization.join(", ")),
        "a layer's span is from its first compute command to its end, and may overlap with its neighbours'; attributed are \
         the cycles by which it extends the run, which sum to the total"
            .to_owned(),
    ]
    .into_iter()
    .chain(deviations::of_report(report).iter().map(|group| group.line(&report.configuration.scheme.name)))
    .chain(energy::facts(&report.energy))
    .chain(loss_facts(report))
    .chain(count_facts(report, |_| true))
    .collect()
}

/// What sums and casts of each layer could not hold, and where NaN and infinity begin.
fn loss_facts(report: &Report) -> Vec<String> {
    let mut facts = Vec::new();
    let mut is_first = true;
    let layers = report.layers.iter().filter_map(|layer| Some((&layer.name, layer.numerics?)));
    for (name, LayerNumerics { overflowed_sums: sums, clipped_values: clipped, .. }) in layers.clone() {
        if sums > 0 {
            facts.push(format!("overflow: {sums} sums of `{name}` did not fit the accumulator"));
        }
        if clipped > 0 {
            facts.push(format!(
                "clipped: {clipped} values of `{name}` were beyond the largest magnitude of their format"
            ));
        }
    }
    for (name, numerics) in layers.filter(|(_, numerics)| numerics.non_finite_values > 0) {
        let first =
            numerics.first_non_finite.map(|place| format!(" (first: row {}, column {})", place.row, place.column));
        let first = first.unwrap_or_else(|| " (before a cast)".to_owned());
        let count = numerics.non_finite_values;
        let mut fact = format!("not finite: {count} values of `{name}`{first} are NaN or infinite");
        if std::mem::take(&mut is_first) {
            fact.push_str("; no layer before it has any");
        }
        match numerics.error.left_out_values {
            0 => {}
            left_out => fact.push_str(&format!(
                "; its errors leave out {left_out} elements that are so in real arithmetic as well"
            )),
        }
        facts.push(fact);
    }
    facts
}

/// A line for each planned count that `is_shown`.
pub fn count_facts(report: &Report, is_shown: impl Fn(&CountReport) -> bool) -> Vec<String> {
    let mut facts = Vec::new();
    for layer in &report.layers {
        for path in &layer.paths {
            for count in path.counts.iter().filter(|count| is_shown(count)) {
                let found = match (count.observed, count.is_as_planned) {
                    (Some(observed), Some(false)) => format!(", {observed} observed: not as planned"),
                    (Some(observed), _) => format!(", {observed} observed"),
                    (None, _) => String::new(),
                };
                let CountReport { counted, planned, planned_by, .. } = count;
                let what = counted.replace('_', " ");
                facts.push(format!(
                    "{what} of `{}`, {}: {planned} planned by {planned_by}{found}",
                    layer.name, path.path
                ));
            }
        }
    }
    facts
}

/// The whole summary.
pub fn to_markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n", headline(report));
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let headings = headings(report);
    text.push_str(&line(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>()));
    text.push_str(&line(&vec!["---".to_owned(); headings.len()]));
    for row in rows(report) {
        text.push_str(&line(&row));
    }
    text.push('\n');
    for fact in facts(report) {
        writeln!(text, "- {fact}").expect("writing to a string does not fail");
    }
    write!(text, "\nTilings, m x k x n and loop order, chosen for {}:\n\n", report.tilings_chosen_for)
        .expect(IN_MEMORY);
    for layer in &report.layers {
        for TilingReport { path, m, k, n, order, chosen_by } in &layer.tilings {
            let by = match chosen_by {
                ChosenBy::Search => "",
                ChosenBy::Given => " (given)",
                ChosenBy::SearchedInstead => " (searched, as the given one cannot be used)",
            };
            writeln!(text, "- `{}` {path}: {m} x {k} x {n} {order}{by}", layer.name).expect(IN_MEMORY);
        }
    }
    if !report.defaults.is_empty() {
        text.push_str("\nDefaults taken where the files were silent:\n\n");
        for default in &report.defaults {
            writeln!(text, "- `{}` = {}: {}", default.path, default.value, default.reason)
                .expect("writing to a string does not fail");
        }
    }
    text
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { f64::INFINITY } else { a as f64 / b as f64 }
}

fn kibibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0)
}

fn microjoules(picojoules: f64) -> String {
    format!("{:.3}", picojoules / 1e6)
}

fn decibels(value: f64) -> String {
    if value == f64::INFINITY { "exact".to_owned() } else { format!("{value:.2}") }
}
