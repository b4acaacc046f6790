//! Energy of each scheme, stacked by component and by part of the work.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale, short};
use crate::report::plots::canvas::{
    Anchor, Area, BLACK, BOTH_COLUMNS, COLUMN, Canvas, cut_to, look, picture, text_width,
};
use crate::report::plots::saved::Saved;
use crate::report::plots::{Figure, Plot};

/// Shares of the whole below this are one part, `other`.
const LEAST_SHARE: f64 = 0.005;
/// The most parts of a stack.
const MOST_PARTS: usize = 8;

/// Two panels of stacked bars.
pub(super) struct Energy;

#[derive(Debug, Serialize)]
struct Data {
    schemes: Vec<String>,
    /// Energy of each scheme in µJ, by typical figures.
    totals_uj: Vec<f64>,
    /// The same if all figures are low, and if all are high.
    ends_uj: Vec<[f64; 2]>,
    panels: [Panel; 2],
}

#[derive(Debug, Serialize)]
struct Panel {
    name: &'static str,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    name: String,
    /// By scheme, in µJ.
    energy_uj: Vec<f64>,
}

impl Plot for Energy {
    fn name(&self) -> &'static str {
        "energy"
    }

    fn files(&self) -> [&'static str; 2] {
        ["energy.svg", "energy.png"]
    }

    fn shows(&self) -> &'static str {
        "energy by component and by part of the work"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

fn data(saved: &Saved) -> Option<Data> {
    let reports = saved.reports();
    let totals_uj: Vec<f64> = reports.iter().map(|(_, report)| report.energy.total_pj.typical / 1e6).collect();
    let ends = reports.iter().map(|(_, report)| [report.energy.total_pj.low, report.energy.total_pj.high]);
    if totals_uj.iter().all(|total| *total <= 0.0) {
        return None;
    }
    let components = reports.iter().map(|(_, report)| {
        let parts = report.energy.by_component_pj.iter();
        parts.map(|(name, energy)| (name.clone(), energy.typical)).collect()
    });
    let paths = reports.iter().map(|(_, report)| {
        let parts = report.energy.by_path.iter();
        parts.map(|part| (part.path.clone(), part.total_pj.typical)).collect::<BTreeMap<_, _>>()
    });
    Some(Data {
        schemes: reports.iter().map(|(scheme, _)| (*scheme).to_owned()).collect(),
        panels: [
            Panel { name: "by component", parts: stacked(&components.collect::<Vec<_>>()) },
            Panel { name: "by part of the work", parts: stacked(&paths.collect::<Vec<_>>()) },
        ],
        ends_uj: ends.map(|ends| ends.map(|end| end / 1e6)).collect(),
        totals_uj,
    })
}

/// The parts of several wholes, largest first; small ones together.
fn stacked(wholes: &[BTreeMap<String, f64>]) -> Vec<Part> {
    let largest = wholes.iter().map(|whole| whole.values().sum::<f64>()).fold(0.0, f64::max);
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, energy) in wholes.iter().flatten() {
        *sums.entry(name).or_default() += energy;
    }
    let mut names: Vec<(&str, f64)> = sums.into_iter().collect();
    names.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(other.0)));
    let is_small = |name: &str| wholes.iter().all(|whole| whole.get(name).is_none_or(|pj| *pj < largest * LEAST_SHARE));
    let (mut shown, mut other) = (Vec::new(), Vec::new());
    for (name, _) in names {
        if is_small(name) || shown.len() + 1 == MOST_PARTS { other.push(name) } else { shown.push(name) }
    }
    let sum_of = |names: &[&str]| -> Vec<f64> {
        let of = |whole: &BTreeMap<String, f64>| names.iter().filter_map(|name| whole.get(*name)).sum::<f64>() / 1e6;
        wholes.iter().map(of).collect()
    };
    let mut parts: Vec<Part> =
        shown.iter().map(|name| Part { name: (*name).replace('_', " "), energy_uj: sum_of(&[*name]) }).collect();
    if other.iter().any(|name| wholes.iter().any(|whole| whole.get(*name).is_some_and(|energy| *energy > 0.0))) {
        parts.push(Part { name: "other".to_owned(), energy_uj: sum_of(&other) });
    }
    parts
}

/// The most schemes with one panel below the other; more have both side by side.
const MOST_BELOW: usize = 8;

fn draw(data: &Data) -> String {
    let is_wide = data.schemes.len() > MOST_BELOW;
    let (bar, row) = if is_wide { (8.0, 10.5) } else { (13.0, 17.0) };
    let width = if is_wide { BOTH_COLUMNS } else { COLUMN };
    let widest = data.schemes.iter().map(|name| text_width(name, SMALL)).fold(0.0, f64::max).min(122.0);
    let left = 4.0 + widest + 4.0;
    // Room for the number behind the longest whisker.
    const NUMBER: f64 = 26.0;
    let panel_width = if is_wide { (width - left) / 2.0 - NUMBER } else { width - left - NUMBER };
    let lefts = if is_wide { [left, left + panel_width + NUMBER] } else { [left; 2] };
    let legend_ends =
        |of: usize| if is_wide { (lefts[of], lefts[of] + panel_width + NUMBER - 8.0) } else { (4.0, width - 4.0) };
    let legend = |of: usize| {
        let entries = data.panels[of].parts.iter().enumerate().map(|(index, part)| (part.name.clone(), look(index)));
        let (from, to) = legend_ends(of);
        Legend::new(entries.collect(), Sample::Bar, from, to)
    };
    let legends = [legend(0), legend(1)];
    let rows = row * data.schemes.len() as f64 + 4.0;
    let head = SMALL + 5.0;
    let tops = match is_wide {
        true => [head + 4.0 + legends[0].height().max(legends[1].height()); 2],
        false => {
            let first = 4.0 + head + legends[0].height();
            [first, first + rows + SMALL + 10.0 + head + legends[1].height()]
        }
    };
    let largest = data.ends_uj.iter().map(|[_, high]| *high).fold(0.0, f64::max);
    let x = Scale::from_zero(largest);
    picture(width, tops[1] + rows + BELOW, |canvas| {
        for (of, (shown, legend)) in data.panels.iter().zip(&legends).enumerate() {
            let (left, top) = (lefts[of], tops[of]);
            let above =
                if is_wide { tops[of] - legends[0].height().max(legends[1].height()) } else { top - legend.height() };
            canvas.text((legend_ends(of).0, above - head + SMALL / 2.0), shown.name, SMALL + 0.5, Anchor::Left, BLACK);
            legend.draw(canvas, above - 2.0);
            let area = Area { left, top, right: left + panel_width, bottom: top + rows };
            let field = Field { canvas, area, x, y: Scale::Linear(0.0, 1.0) };
            match is_wide {
                true => field.x_axis("energy [µJ]; whiskers: figures low, high"),
                false if of + 1 == data.panels.len() => field.x_axis("energy [µJ]; whiskers: all figures low or high"),
                false => field.x_ticks(),
            }
            for (index, scheme) in data.schemes.iter().enumerate() {
                let top = area.top + 3.0 + index as f64 * row;
                let middle = top + bar / 2.0;
                if !is_wide || of == 0 {
                    let name = cut_to(scheme, SMALL, widest);
                    canvas.text((left - 4.0, middle), &name, SMALL, Anchor::Right, BLACK);
                }
                stack(&field, shown, index, top, bar);
                let [low, high] = data.ends_uj[index].map(|end| field.x_at(end));
                canvas.line(&[(low, middle), (high, middle)], BLACK, 0.8);
                for end in [low, high] {
                    canvas.line(&[(end, middle - 2.5), (end, middle + 2.5)], BLACK, 0.8);
                }
                let text = short(data.totals_uj[index]);
                canvas.text((high + 2.0, middle), &text, SMALL, Anchor::Left, BLACK);
            }
            field.frame();
        }
    })
}

fn stack(field: &Field<'_, '_>, panel: &Panel, row: usize, top: f64, height: f64) {
    let canvas: &Canvas<'_> = field.canvas;
    let mut sum = 0.0;
    for (index, part) in panel.parts.iter().enumerate() {
        let energy = part.energy_uj[row];
        if energy > 0.0 {
            let (left, right) = (field.x_at(sum), field.x_at(sum + energy));
            canvas.bar(Area { left, top, right, bottom: top + height }, look(index));
        }
        sum += energy;
    }
}
