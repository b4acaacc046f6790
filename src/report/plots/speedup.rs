//! Speedup of each scheme over the baseline, by layer and over the whole run.

use serde::Serialize;

use crate::report::plots::axes::{Field, Legend, NORMAL, SMALL, Sample, Scale, left_of};
use crate::report::plots::canvas::{
    Anchor, Area, BLACK, BOTH_COLUMNS, COLUMN, GREY, WHITE, cut_to, look, picture, text_width,
};
use crate::report::plots::saved::Saved;
use crate::report::plots::{Figure, Plot};

/// The most groups of bars: those of the layers that take longest, in order of the run, and the whole run.
const MOST_GROUPS: usize = 13;

/// Bars by scheme and layer.
pub(super) struct Speedup;

#[derive(Debug, Serialize)]
struct Data {
    baseline: String,
    /// `whole run` and layers.
    groups: Vec<String>,
    schemes: Vec<Bars>,
    /// Layers that are left out because they take the fewest cycles in the baseline.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct Bars {
    scheme: String,
    /// Baseline's cycles over this scheme's, by group.
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
    // Layers that take no time of their own have no ratio.
    let mut layers: Vec<usize> =
        (0..baseline.layers.len()).filter(|index| baseline.layers[*index].cycles > 0).collect();
    let left_out = layers.len().saturating_sub(MOST_GROUPS - 1);
    layers.sort_by_key(|index| (std::cmp::Reverse(baseline.layers[*index].cycles), *index));
    layers.truncate(MOST_GROUPS - 1);
    layers.sort_unstable();
    let mut groups = vec!["whole run".to_owned()];
    groups.extend(layers.iter().map(|index| baseline.layers[*index].name.clone()));
    let others = comparison.schemes.iter().filter(|row| row.scheme != comparison.baseline);
    let schemes = others
        .filter_map(|row| {
            let mut speedups = vec![row.total.as_ref()?.speedup];
            speedups.extend(layers.iter().map(|index| row.layers.get(*index).and_then(|layer| layer.speedup)));
            Some(Bars { scheme: row.scheme.clone(), speedups })
        })
        .collect::<Vec<_>>();
    let baseline = comparison.baseline.clone();
    (!schemes.is_empty()).then_some(Data { baseline, groups, schemes, left_out })
}

fn draw(data: &Data) -> String {
    const HEIGHT: f64 = 96.0;
    let bars = data.groups.len() * (data.schemes.len() + 1);
    let width = if bars <= 24 { COLUMN } else { BOTH_COLUMNS };
    let largest = data.schemes.iter().flat_map(|bars| &bars.speedups).flatten().copied().fold(1.0, f64::max);
    let y = Scale::from_zero(largest);
    let left = left_of(&y, HEIGHT);
    let entries = data.schemes.iter().enumerate().map(|(index, bars)| (bars.scheme.clone(), look(index)));
    let legend = Legend::new(entries.collect(), Sample::Bar, left, width - 4.0);
    let longest = data.groups.iter().map(|group| text_width(group, SMALL)).fold(0.0, f64::max);
    let group_width = (width - 4.0 - left) / data.groups.len() as f64;
    let is_turned = longest > group_width - 4.0;
    let below = if is_turned { longest.min(70.0) + 8.0 } else { SMALL + 6.0 };
    let note = note(data);
    let top = 4.0 + legend.height() + 6.0;
    let height = top + HEIGHT + below + if note.is_some() { NORMAL + 4.0 } else { 2.0 };
    picture(width, height, |canvas| {
        legend.draw(canvas, 4.0);
        let area = Area { left, top, right: width - 4.0, bottom: top + HEIGHT };
        let field = Field { canvas, area, x: Scale::Linear(0.0, data.groups.len() as f64), y };
        field.y_axis(&format!("speedup over {}", data.baseline));
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
    (data.left_out > 0).then(|| format!("{} shorter layers are part of the whole run only", data.left_out))
}
