//! Speedup of each scheme over the baseline, by layer and over the whole run.
//!
//! That of a layer is the ratio of spans, from its first compute command to its end. The cycles by which a layer extends the run
//! are no measure of it: where layers overlap, they are booked with whichever ends last.

use serde::Serialize;

use crate::report::plots::axes::{Field, Legend, NORMAL, SMALL, Sample, Scale, left_of};
use crate::report::plots::canvas::{
    Anchor, Area, BLACK, BOTH_COLUMNS, COLUMN, GREY, Ink, WHITE, cut_to, look, picture, text_width,
};
use crate::report::plots::saved::{LayerRow, Saved, SchemeRow, kind_of};
use crate::report::plots::{Figure, Plot};

/// The most groups of bars: those of the layers that take longest, in order of the run, and the whole run.
const MOST_GROUPS: usize = 13;

/// Bars by scheme and layer.
pub(super) struct Speedup;

#[derive(Debug, Serialize)]
struct Data {
    baseline: String,
    /// `whole run` and layers; with many layers, kinds of them.
    groups: Vec<String>,
    schemes: Vec<Bars>,
    /// Layers that are left out because they take the fewest cycles in the baseline.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct Bars {
    scheme: String,
    /// Baseline's cycles over this scheme's, by group: of the whole run, and of the spans of layers.
    speedups: Vec<Option<f64>>,
}

impl Plot for Speedup {
    fn name(&self) -> &'static str {
        "speedup"
    }

    fn files(&self) -> [&'static str; 2] {
        ["speedup.svg", "speedup.png"]
    }

    fn shows(&self) -> &'static str {
        "speedup over the baseline by scheme and layer"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

fn data(saved: &Saved) -> Option<Data> {
    let Saved::Comparison(comparison) = saved else { return None };
    let baseline = comparison.schemes.iter().find(|row| row.scheme == comparison.baseline)?;
    // Where there are many layers, those of repeated blocks are one. What takes no time of its own has no ratio.
    let are_many = baseline.layers.len() >= MOST_GROUPS;
    let name = |layer: &LayerRow| if are_many { kind_of(&layer.name) } else { layer.name.clone() };
    let mut kinds: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, layer) in baseline.layers.iter().enumerate().filter(|(_, layer)| layer.span_cycles > Some(0)) {
        let name = name(layer);
        match kinds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push(index),
            None => kinds.push((name, vec![index])),
        }
    }
    let cycles = |row: &SchemeRow, members: &[usize]| -> Option<u64> {
        members.iter().map(|index| row.layers.get(*index)?.span_cycles).sum()
    };
    let left_out = kinds.len().saturating_sub(MOST_GROUPS - 1);
    let mut longest: Vec<usize> = (0..kinds.len()).collect();
    longest.sort_by_key(|index| (std::cmp::Reverse(cycles(baseline, &kinds[*index].1)), *index));
    longest.truncate(MOST_GROUPS - 1);
    longest.sort_unstable();
    let mut groups = vec!["whole run".to_owned()];
    groups.extend(longest.iter().map(|index| kinds[*index].0.clone()));
    let others = comparison.schemes.iter().filter(|row| row.scheme != comparison.baseline);
    let schemes = others
        .filter_map(|row| {
            let speedup = |members: &[usize]| {
                let (own, of_baseline) = (cycles(row, members)?, cycles(baseline, members)?);
                (own > 0).then(|| of_baseline as f64 / own as f64)
            };
            let mut speedups = vec![row.total.as_ref()?.speedup];
            speedups.extend(longest.iter().map(|index| speedup(&kinds[*index].1)));
            Some(Bars { scheme: row.scheme.clone(), speedups })
        })
        .collect::<Vec<_>>();
    let baseline = comparison.baseline.clone();
    (!schemes.is_empty()).then_some(Data { baseline, groups, schemes, left_out })
}

/// The most schemes whose bars can be told apart; of more there is a table.
const MOST_BARS: usize = 12;

fn draw(data: &Data) -> String {
    if data.schemes.len() > MOST_BARS { table(data) } else { bars(data) }
}

/// A row of numbers for each scheme, the darker the faster.
fn table(data: &Data) -> String {
    const ROW: f64 = 10.5;
    let width = if data.groups.len() <= 6 { COLUMN } else { BOTH_COLUMNS };
    let widest = data.schemes.iter().map(|bars| text_width(&bars.scheme, SMALL)).fold(0.0, f64::max).min(122.0);
    let left = 4.0 + widest + 4.0;
    let cell = (width - 4.0 - left) / data.groups.len() as f64;
    let longest = data.groups.iter().map(|group| text_width(group, SMALL)).fold(0.0, f64::max);
    let is_turned = longest > cell - 3.0;
    let top = 4.0 + if is_turned { longest.min(70.0) + 4.0 } else { SMALL + 4.0 };
    let bottom = top + ROW * data.schemes.len() as f64;
    let all = || data.schemes.iter().flat_map(|bars| &bars.speedups).flatten().copied();
    let (least, most) = all().fold((1.0_f64, 1.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let note = note(data);
    let height = bottom + (SMALL + 3.0) * (1.0 + note.is_some() as u8 as f64) + 4.0;
    picture(width, height, |canvas| {
        for (column, name) in data.groups.iter().enumerate() {
            let middle = left + (column as f64 + 0.5) * cell;
            if is_turned {
                canvas.text_upwards((middle, top - 3.0), &cut_to(name, SMALL, 70.0), SMALL, Anchor::Left, BLACK);
            } else {
                canvas.text((middle, top - 3.0 - SMALL / 2.0), name, SMALL, Anchor::Middle, BLACK);
            }
        }
        for (row, bars) in data.schemes.iter().enumerate() {
            let top = top + row as f64 * ROW;
            let middle = top + ROW / 2.0;
            let name = cut_to(&bars.scheme, SMALL, widest);
            canvas.text((left - 4.0, middle), &name, SMALL, Anchor::Right, BLACK);
            for (column, speedup) in bars.speedups.iter().enumerate() {
                let from = left + column as f64 * cell;
                let area = Area { left: from, top, right: from + cell, bottom: top + ROW };
                let (text, share) = match speedup {
                    None => ("–".to_owned(), 0.5),
                    Some(speedup) => (format!("{speedup:.2}"), share_of(*speedup, least, most)),
                };
                canvas.fill(area, tint(share));
                canvas.border(area, WHITE, 0.5);
                let ink = if (0.25..=0.75).contains(&share) { BLACK } else { WHITE };
                canvas.text((from + cell / 2.0, middle), &text, SMALL, Anchor::Middle, ink);
            }
        }
        let text = format!("speedup over {}, of layers by span; blue: faster, orange: slower", data.baseline);
        let text = cut_to(&text, SMALL, width - 8.0);
        canvas.text((4.0, bottom + 4.0 + SMALL / 2.0), &text, SMALL, Anchor::Left, BLACK);
        if let Some(note) = note {
            canvas.text((4.0, bottom + SMALL + 7.0 + SMALL / 2.0), &note, SMALL, Anchor::Left, GREY);
        }
    })
}

/// Where a speedup lies from the slowest (0) over 1 (0.5) to the fastest (1), by its logarithm.
fn share_of(speedup: f64, least: f64, most: f64) -> f64 {
    let end = if speedup < 1.0 { least } else { most };
    let part = if end == 1.0 { 0.0 } else { libm::log(speedup) / libm::log(end) };
    if speedup < 1.0 { 0.5 - part / 2.0 } else { 0.5 + part / 2.0 }
}

/// From orange over white to blue, whose ends every kind of colour vision tells apart.
fn tint(share: f64) -> Ink {
    let end = if share < 0.5 { Ink(166, 70, 0) } else { Ink(0, 90, 150) };
    let part = (share - 0.5).abs() * 2.0;
    let mix = |end: u8| (255.0 * (1.0 - part) + f64::from(end) * part).round() as u8;
    Ink(mix(end.0), mix(end.1), mix(end.2))
}

fn bars(data: &Data) -> String {
    const HEIGHT: f64 = 96.0;
    let bars = data.groups.len() * (data.schemes.len() + 1);
    let width = if bars <= 24 { COLUMN } else { BOTH_COLUMNS };
    let largest = data.schemes.iter().flat_map(|bars| &bars.speedups).flatten().copied().fold(1.0, f64::max);
    // Room for the number on the highest bar.
    let y = Scale::from_zero(largest * 1.12);
    let left = left_of(&y, HEIGHT);
    let entries = data.schemes.iter().enumerate().map(|(index, bars)| (bars.scheme.clone(), look(index)));
    let legend = Legend::new(entries.collect(), Sample::Bar, left, width - 4.0);
    let longest = data.groups.iter().map(|group| text_width(group, SMALL)).fold(0.0, f64::max);
    let group_width = (width - 4.0 - left) / data.groups.len() as f64;
    let is_turned = longest > group_width - 4.0;
    let below = if is_turned { longest.min(70.0) + 8.0 } else { SMALL + 6.0 };
    let note = note(data);
    let top = 4.0 + legend.height() + SMALL + 3.0;
    let height = top + HEIGHT + below + if note.is_some() { NORMAL + 4.0 } else { 2.0 };
    picture(width, height, |canvas| {
        legend.draw(canvas, 4.0);
        let over = cut_to(&format!("over {}, of layers by span", data.baseline), SMALL, width - left - 8.0);
        canvas.text((left + 4.0, top - SMALL / 2.0 - 1.0), &over, SMALL, Anchor::Left, GREY);
        let area = Area { left, top, right: width - 4.0, bottom: top + HEIGHT };
        let field = Field { canvas, area, x: Scale::Linear(0.0, data.groups.len() as f64), y };
        field.y_axis("speedup [1]");
        let one = field.y_at(1.0);
        canvas.dashed((area.left, one), (area.right, one), GREY, 0.7, 2.5);
        let bar_width = group_width * 0.84 / data.schemes.len() as f64;
        for (group, name) in data.groups.iter().enumerate() {
            let start = area.left + group as f64 * group_width + group_width * 0.08;
            for (index, bars) in data.schemes.iter().enumerate() {
                let left = start + index as f64 * bar_width;
                let middle = left + bar_width / 2.0;
                let Some(speedup) = bars.speedups[group] else {
                    canvas.text((middle, area.bottom - SMALL / 2.0), "–", SMALL, Anchor::Middle, BLACK);
                    continue;
                };
                let top = field.y_at(speedup);
                canvas.bar(Area { left, top, right: left + bar_width, bottom: area.bottom }, look(index));
                let text = format!("{speedup:.2}");
                if bar_width >= text_width(&text, 5.5) + 1.0 {
                    let half = text_width(&text, 5.5) / 2.0;
                    let behind = Area { left: middle - half, top: top - 6.8, right: middle + half, bottom: top - 1.0 };
                    canvas.fill(behind, WHITE);
                    canvas.text((middle, top - 4.0), &text, 5.5, Anchor::Middle, BLACK);
                } else if bar_width >= 6.0 {
                    let length = text_width(&text, 5.5) + 2.0;
                    let behind = Area { left: middle - 2.8, top: top - length, right: middle + 2.8, bottom: top - 1.0 };
                    canvas.fill(behind, WHITE);
                    canvas.text_upwards((middle, top - 1.5), &text, 5.5, Anchor::Left, BLACK);
                }
            }
            let middle = area.left + (group as f64 + 0.5) * group_width;
            if is_turned {
                let name = cut_to(name, SMALL, 70.0);
                canvas.text_upwards((middle, area.bottom + 4.0), &name, SMALL, Anchor::Right, BLACK);
            } else {
                canvas.text((middle, area.bottom + 3.0 + SMALL / 2.0), name, SMALL, Anchor::Middle, BLACK);
            }
        }
        field.frame();
        if let Some(note) = note {
            canvas.text((area.left, height - NORMAL / 2.0 - 1.0), &note, SMALL, Anchor::Left, GREY);
        }
    })
}

/// What the picture does not show.
fn note(data: &Data) -> Option<String> {
    (data.left_out > 0).then(|| format!("{} shorter kinds of layers are part of the whole run only", data.left_out))
}
