//! A comparison as JSON, CSV, Markdown and the rows of the terminal's tables.

use crate::program::Deviation;
use crate::report::compare::{Comparison, Figures, SchemeRow, Tilings};
use crate::report::data::{LayerNumerics, Report};
use crate::report::deviations::DeviatingLayers;
use crate::report::summary::count_facts;
use crate::schedule::tiling::ChosenBy;

/// Headings of the table of whole runs.
pub const TOTAL_HEADINGS: [&str; 18] = [
    "scheme",
    "makespan [cycles]",
    "speedup",
    "bound [cycles]",
    "speedup of bound",
    "utilization",
    "issued / useful MACs",
    "energy [uJ]",
    "low to high [uJ]",
    "ratio",
    "DRAM [KiB]",
    "ratio",
    "constants [KiB]",
    "ratio",
    "SQNR [dB]",
    "difference",
    "relative error",
    "cosine",
];

/// Headings of the tables of layers and of parts.
pub const PART_HEADINGS: [&str; TOTAL_HEADINGS.len() + 3] = [
    "scheme",
    "of",
    "attributed [cycles]",
    "span [cycles]",
    "speedup of span",
    "under way [cycles]",
    "bound [cycles]",
    "speedup of bound",
    "utilization",
    "issued / useful MACs",
    "energy [uJ]",
    "low to high [uJ]",
    "ratio",
    "DRAM [KiB]",
    "ratio",
    "constants [KiB]",
    "ratio",
    "SQNR [dB]",
    "difference",
    "relative error",
    "cosine",
];

/// What is compared, in a line.
pub fn headline(comparison: &Comparison) -> String {
    let ran = comparison.schemes.iter().filter(|row| row.total.is_some()).count();
    format!(
        "{} on {} under {ran} of {} schemes, against {}; tilings {}",
        comparison.workload,
        comparison.hardware,
        comparison.schemes.len(),
        comparison.baseline,
        match comparison.tilings {
            Tilings::Searched => "searched for each scheme",
            Tilings::Same => "of the baseline for all",
        }
    )
}

/// A name, with a star where something else was done than the scheme's name says.
fn marked(name: &str, deviates: bool) -> String {
    format!("{name}{}", if deviates { " *" } else { "" })
}

/// One row a scheme, with a star where layers deviate from it; those that cannot run have the word in the place of their
/// cycles.
pub fn total_rows(comparison: &Comparison) -> Vec<[String; TOTAL_HEADINGS.len()]> {
    let row = |row: &SchemeRow| {
        let mut cells = [const { String::new() }; TOTAL_HEADINGS.len()];
        cells[0] = marked(&row.scheme, !row.deviations.is_empty());
        let Some(total) = &row.total else {
            "cannot run".clone_into(&mut cells[1]);
            return cells;
        };
        let times = [total.cycles.to_string(), ratio(total.speedup)];
        for (cell, text) in cells[1..].iter_mut().zip(times.into_iter().chain(figures_cells(total))) {
            *cell = text;
        }
        cells
    };
    comparison.schemes.iter().map(row).collect()
}

/// One row a layer and scheme, the schemes of a layer together.
pub fn layer_rows(comparison: &Comparison) -> Vec<[String; PART_HEADINGS.len()]> {
    let most = comparison.schemes.iter().map(|row| row.layers.len()).max().unwrap_or(0);
    let of_layer = |index: usize| {
        let rows = comparison.schemes.iter().filter_map(move |row| Some((row, row.layers.get(index)?)));
        rows.map(|(row, layer)| {
            part_row(&row.scheme, &marked(&layer.name, !layer.deviations.is_empty()), &layer.figures)
        })
    };
    (0..most).flat_map(of_layer).collect()
}

/// One row a part of the work and scheme.
pub fn path_rows(comparison: &Comparison) -> Vec<[String; PART_HEADINGS.len()]> {
    let rows = comparison.schemes.iter().flat_map(|row| row.paths.iter().map(move |part| (row, part)));
    rows.map(|(row, part)| part_row(&row.scheme, part.path, &part.figures)).collect()
}

fn part_row(scheme: &str, of: &str, figures: &Figures) -> [String; PART_HEADINGS.len()] {
    let mut cells = [const { String::new() }; PART_HEADINGS.len()];
    [cells[0], cells[1]] = [scheme, of].map(str::to_owned);
    let cycles = |cycles: Option<u64>| cycles.map(|cycles| cycles.to_string()).unwrap_or_default();
    let times = [
        figures.cycles.to_string(),
        cycles(figures.span_cycles),
        ratio(figures.span_speedup),
        cycles(figures.under_way_cycles),
    ];
    for (cell, text) in cells[2..].iter_mut().zip(times.into_iter().chain(figures_cells(figures))) {
        *cell = text;
    }
    cells
}

/// The cells of figures from the bound on, in the order of the headings.
fn figures_cells(figures: &Figures) -> [String; TOTAL_HEADINGS.len() - 3] {
    let [sqnr, relative, cosine] = errors(figures);
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let padding = (figures.macs > 0).then(|| figures.issued_macs as f64 / figures.macs as f64);
    [
        figures.lower_bound_cycles.map(|cycles| cycles.to_string()).unwrap_or_default(),
        ratio(figures.lower_bound_speedup),
        if figures.macs > 0 { percent(figures.utilization) } else { String::new() },
        ratio(padding),
        microjoules(figures.energy_pj),
        band(figures),
        ratio(figures.energy_ratio),
        kibibytes(figures.dram_bytes),
        ratio(figures.dram_bytes_ratio),
        figures.constant_bytes.map(kibibytes).unwrap_or_default(),
        ratio(figures.constant_bytes_ratio),
        sqnr,
        figures.sqnr_db_difference.map(|decibels| format!("{decibels:+.2}")).unwrap_or_default(),
        relative,
        cosine,
    ]
}

/// A line for each scheme that the hardware cannot run, and what the columns are.
pub fn facts(comparison: &Comparison) -> Vec<String> {
    let reason = |row: &SchemeRow| Some(format!("{} cannot run: {}", row.scheme, row.reason.as_ref()?));
    let mut facts: Vec<String> = comparison.schemes.iter().filter_map(reason).collect();
    facts.extend(deviation_facts(comparison));
    for (row, report) in comparison.schemes.iter().filter(|row| row.total.is_some()).zip(&comparison.reports) {
        let searched = report.layers.iter().flat_map(|layer| {
            let instead = layer.tilings.iter().filter(|tiling| tiling.chosen_by == ChosenBy::SearchedInstead);
            instead.map(|tiling| format!("{} of {}", tiling.path, layer.name))
        });
        let searched: Vec<String> = searched.collect();
        if !searched.is_empty() {
            facts.push(format!(
                "{}: cannot take over tilings, so searched instead: {}",
                row.scheme,
                searched.join(", ")
            ));
        }
        facts.extend(losses(&row.scheme, report));
        let differing = count_facts(report, |count| count.is_as_planned == Some(false));
        facts.extend(differing.into_iter().map(|fact| format!("{}: {fact}", row.scheme)));
    }
    for (row, report) in comparison.schemes.iter().filter(|row| row.total.is_some()).zip(&comparison.reports) {
        let moves =
            report.energy.sensitivities.iter().map(|it| format!("{} by {}", it.record, microjoules(it.swing_pj)));
        facts.push(format!(
            "{}: {:.1} % of the energy rests on recalled, inferred or assumed figures; the total moves most [uJ] with {}",
            row.scheme,
            report.energy.weak_share * 100.0,
            moves.collect::<Vec<_>>().join(", ")
        ));
    }
    facts.push(format!(
        "ratios are against {} (more than 1.000 is more; a speedup of more than 1.000 is faster); attributed are the cycles by \
         which a layer or part extends the run, a span is from a layer's first compute command to its end, and it is under way \
         from its first transfer on; bounds are those of a whole run or of a layer by itself; errors of a run are those of its layer with the lowest SQNR; \
         constants are weights, scales, tables and biases off the chip",
        comparison.baseline
    ));
    facts
}

/// A line for each group of layers that deviate alike; schemes that share it are named together.
fn deviation_facts(comparison: &Comparison) -> Vec<String> {
    let mut shared: Vec<(&DeviatingLayers, Vec<&str>)> = Vec::new();
    for (row, group) in comparison.schemes.iter().flat_map(|row| row.deviations.iter().map(move |group| (row, group))) {
        match shared.iter_mut().find(|(known, _)| *known == group) {
            Some((_, schemes)) => schemes.push(&row.scheme),
            None => shared.push((group, vec![&row.scheme])),
        }
    }
    shared.iter().map(|(group, schemes)| format!("* {}", group.line(&schemes.join(", ")))).collect()
}

/// How many sums and values of a run did not fit, and the first layer with values that are no numbers.
fn losses(scheme: &str, report: &Report) -> Vec<String> {
    let layers = || report.layers.iter().filter_map(|layer| Some((&layer.name, layer.numerics?)));
    let sum = |of: fn(&LayerNumerics) -> u64| layers().map(|(_, numerics)| of(&numerics)).sum::<u64>();
    let mut facts = Vec::new();
    match sum(|numerics| numerics.overflowed_sums) {
        0 => {}
        sums => facts.push(format!("{scheme}: {sums} sums did not fit their accumulator")),
    }
    match sum(|numerics| numerics.clipped_values) {
        0 => {}
        clipped => {
            facts.push(format!("{scheme}: {clipped} values were clipped to the largest magnitude of their format"))
        }
    }
    if let Some((name, _)) = layers().find(|(_, numerics)| numerics.non_finite_values > 0) {
        let count = sum(|numerics| numerics.non_finite_values);
        let left_out = sum(|numerics| numerics.error.left_out_values);
        facts.push(format!(
            "{scheme}: {count} values are NaN or infinite, the first in layer `{name}`; errors leave out {left_out} elements \
             that are so in real arithmetic as well"
        ));
    }
    facts
}

/// `compare.json`: everything.
pub fn to_json(comparison: &Comparison) -> String {
    let mut text = serde_json::to_string_pretty(comparison).expect("a comparison has string keys and plain values");
    text.push('\n');
    text
}

const COLUMNS: [&str; 28] = [
    "scheme",
    "level",
    "layer",
    "path",
    "cycles",
    "speedup",
    "utilization",
    "energy_pj",
    "energy_ratio",
    "dram_bytes",
    "dram_bytes_ratio",
    "constant_bytes",
    "constant_bytes_ratio",
    "sqnr_db",
    "sqnr_db_difference",
    "relative_error",
    "cosine",
    "lower_bound_cycles",
    "lower_bound_speedup",
    "macs",
    "issued_macs",
    "energy_low_pj",
    "energy_high_pj",
    "reason",
    "span_cycles",
    "span_speedup",
    "under_way_cycles",
    "deviations",
];

/// `compare.csv`: a line for each run, each of its parts, each layer and each part of a layer. What there is not is empty.
pub fn to_csv(comparison: &Comparison) -> String {
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    for row in &comparison.schemes {
        let line = |level: &str, layer: &str, path: &str, figures: Option<&Figures>| {
            let mut cells = [const { String::new() }; COLUMNS.len()];
            [cells[0], cells[1], cells[2], cells[3]] = [&row.scheme, level, layer, path].map(str::to_owned);
            if let Some(figures) = figures {
                let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
                let numerics = figures.numerics;
                cells[4] = figures.cycles.to_string();
                cells[5] = text(figures.speedup);
                cells[6] = figures.utilization.to_string();
                cells[7] = figures.energy_pj.to_string();
                cells[8] = text(figures.energy_ratio);
                cells[9] = figures.dram_bytes.to_string();
                cells[10] = text(figures.dram_bytes_ratio);
                cells[11] = figures.constant_bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
                cells[12] = text(figures.constant_bytes_ratio);
                cells[13] = text(numerics.map(|error| error.sqnr_db));
                cells[14] = text(figures.sqnr_db_difference);
                cells[15] = text(numerics.map(|error| error.relative_error));
                cells[16] = text(numerics.map(|error| error.cosine));
                cells[17] = figures.lower_bound_cycles.map(|cycles| cycles.to_string()).unwrap_or_default();
                cells[18] = text(figures.lower_bound_speedup);
                cells[19] = figures.macs.to_string();
                cells[20] = figures.issued_macs.to_string();
                cells[21] = figures.energy_low_pj.to_string();
                cells[22] = figures.energy_high_pj.to_string();
                cells[24] = figures.span_cycles.map(|cycles| cycles.to_string()).unwrap_or_default();
                cells[25] = text(figures.span_speedup);
                cells[26] = figures.under_way_cycles.map(|cycles| cycles.to_string()).unwrap_or_default();
            }
            cells
        };
        let mut total = line("run", "", "", row.total.as_ref());
        total[23] = row.reason.clone().unwrap_or_default();
        total[27] = row.deviations.iter().map(|group| group.line(&row.scheme)).collect::<Vec<_>>().join("; ");
        lines.push(total);
        lines.extend(row.paths.iter().map(|part| line("run_path", "", part.path, Some(&part.figures))));
        for layer in &row.layers {
            let mut whole = line("layer", &layer.name, "", Some(&layer.figures));
            let deviations =
                layer.deviations.iter().map(|Deviation { got, reason }| format!("{got}, because: {reason}"));
            whole[27] = deviations.collect::<Vec<_>>().join("; ");
            lines.push(whole);
            let parts = layer.paths.iter();
            lines.extend(parts.map(|part| line("layer_path", &layer.name, part.path, Some(&part.figures))));
        }
    }
    let into_memory = "writing to memory does not fail";
    let mut writer = csv::Writer::from_writer(Vec::new());
    lines.iter().for_each(|line| writer.write_record(line).expect(into_memory));
    String::from_utf8(writer.into_inner().expect(into_memory)).expect("names and numbers are text")
}

/// `summary.md`: the tables and facts for people.
pub fn to_markdown(comparison: &Comparison) -> String {
    let mut text = format!("# {}\n\n", headline(comparison));
    push_table(&mut text, &TOTAL_HEADINGS, &total_rows(comparison));
    text.push('\n');
    facts(comparison).iter().for_each(|fact| text.push_str(&format!("- {fact}\n")));
    text.push_str("\n## Layers\n\n");
    push_table(&mut text, &PART_HEADINGS, &layer_rows(comparison));
    text.push_str("\n## Parts of the work\n\n");
    push_table(&mut text, &PART_HEADINGS, &path_rows(comparison));
    text
}

fn push_table<const N: usize>(text: &mut String, headings: &[&str; N], rows: &[[String; N]]) {
    let mut push = |cells: &[&str]| text.push_str(&format!("| {} |\n", cells.join(" | ")));
    push(headings);
    push(&["---"; N]);
    rows.iter().for_each(|row| push(&row.each_ref().map(String::as_str)));
}

fn errors(figures: &Figures) -> [String; 3] {
    let Some(error) = figures.numerics else { return [const { String::new() }; 3] };
    let sqnr = if error.sqnr_db == f64::INFINITY { "exact".to_owned() } else { format!("{:.2}", error.sqnr_db) };
    [sqnr, format!("{:.3e}", error.relative_error), format!("{:.6}", error.cosine)]
}

/// Energy where every figure is at its low or its high end.
fn band(figures: &Figures) -> String {
    format!("{} to {}", microjoules(figures.energy_low_pj), microjoules(figures.energy_high_pj))
}

fn ratio(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.3}")).unwrap_or_default()
}

fn kibibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0)
}

fn microjoules(picojoules: f64) -> String {
    format!("{:.3}", picojoules / 1e6)
}
