//! Objectives over the values of one parameter, a line for each combination of the others.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale, left_of};
use crate::report::plots::canvas::{Anchor, Area, COLUMN, GREY, cut_to, look, picture};
use crate::report::plots::saved::{Objective, Point, Saved, SavedStudy, is_numeric, quantity, setting, varied};
use crate::report::plots::{Figure, Plot};

/// The most lines that can be told apart.
const MOST_LINES: usize = 12;
/// The most values along a line: of many more, as random samplers pick, no line is made.
const MOST_VALUES: usize = 40;
/// The most objectives, one panel each.
const MOST_PANELS: usize = 2;

/// Lines over a parameter.
pub(super) struct Sweep;

#[derive(Debug, Serialize)]
struct Data {
    parameter: String,
    /// Parameters of whose values each line has the best.
    best_of: Vec<String>,
    panels: Vec<Panel>,
}

#[derive(Debug, Serialize)]
struct Panel {
    axis: String,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    /// Values of the other parameters.
    name: String,
    /// Value of the parameter, and of the objective in the unit of the axis.
    points: Vec<(f64, f64)>,
}

impl Plot for Sweep {
    fn name(&self) -> &'static str {
        "sweep"
    }

    fn files(&self) -> [&'static str; 2] {
        ["sweep.svg", "sweep.png"]
    }

    fn shows(&self) -> &'static str {
        "objectives over the values of a parameter"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

/// Along x lies the numeric parameter with the most values; among equals the first. Where the others would make too many
/// lines, those with the most values are left out, and each line has the best of the points that it stands for.
fn data(saved: &Saved) -> Option<Data> {
    let Saved::Points(SavedStudy { points, objectives, .. }) = saved else { return None };
    let varied = varied(points);
    let numeric = varied.iter().filter(|(_, values)| is_numeric(values) && values.len() <= MOST_VALUES);
    let (parameter, _) = numeric.reduce(|best, next| if next.1.len() > best.1.len() { next } else { best })?;
    let mut others: Vec<(&String, usize)> =
        varied.iter().filter(|(path, _)| path != parameter).map(|(path, values)| (path, values.len())).collect();
    let mut best_of: Vec<String> = Vec::new();
    while others.iter().map(|(_, values)| values).product::<usize>() > MOST_LINES {
        let most = others.iter().map(|(_, values)| *values).max()?;
        let (path, _) = others.remove(others.iter().position(|(_, values)| *values == most)?);
        best_of.push(path.rsplit('.').next().unwrap_or(path).to_owned());
    }
    let name = |point: &Point| others.iter().map(|(path, _)| setting(point, path)).collect::<Vec<_>>().join(", ");
    let panel = |objective: &Objective| {
        let mut lines: Vec<Line> = Vec::new();
        for point in points.iter().filter(|point| point.is_feasible) {
            let x = quantity(point.parameter(parameter));
            let (Some(x), Some(found)) = (x, point.value(objective.metric)) else { continue };
            let name = name(point);
            let position = lines.iter().position(|line| line.name == name).unwrap_or_else(|| {
                lines.push(Line { name, points: Vec::new() });
                lines.len() - 1
            });
            let line = &mut lines[position].points;
            match line.iter_mut().find(|(known, _)| *known == x) {
                Some((_, best)) if objective.better.holds(found, *best) => *best = found,
                Some(_) => {}
                None => line.push((x, found)),
            }
        }
        lines.iter_mut().for_each(|line| line.points.sort_by(|one, other| one.0.total_cmp(&other.0)));
        Panel { axis: objective.axis.clone(), lines }
    };
    let panels: Vec<Panel> = objectives.iter().take(MOST_PANELS).map(panel).collect();
    let is_line = |panel: &Panel| panel.lines.iter().any(|line| line.points.len() > 1);
    panels.iter().all(is_line).then(|| Data { parameter: parameter.clone(), best_of, panels })
}

fn draw(data: &Data) -> String {
    let panel_height = if data.panels.len() > 1 { 88.0 } else { 120.0 };
    const BETWEEN: f64 = 10.0;
    let points = || data.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let xs = points().map(|point| point.0);
    let (least, most) = xs.clone().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), x| (low.min(x), high.max(x)));
    let x = if least > 0.0 && most / least >= 8.0 { Scale::logarithmic(xs) } else { Scale::around(xs) };
    let scales: Vec<Scale> = (data.panels.iter())
        .map(|panel| {
            let ys = panel.lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
            // Of what may be below zero, such as dB, zero is no natural end.
            let least = ys.clone().fold(f64::INFINITY, f64::min);
            if least < 0.0 { Scale::around(ys) } else { Scale::from_zero(ys.fold(0.0, f64::max)) }
        })
        .collect();
    let left = scales.iter().map(|scale| left_of(scale, panel_height)).fold(0.0, f64::max);
    let lines = &data.panels[0].lines;
    let named = lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty());
    let legend = Legend::new(
        named.map(|(index, line)| (line.name.clone(), look(index))).collect(),
        Sample::Point,
        4.0,
        COLUMN - 4.0,
    );
    let first = 4.0 + legend.height() + 2.0;
    let panels = data.panels.len() as f64;
    let note = (!data.best_of.is_empty()).then(|| format!("best of all values of {}", data.best_of.join(", ")));
    let note_height = if note.is_some() { SMALL + 3.0 } else { 0.0 };
    let height = first + panels * panel_height + (panels - 1.0) * BETWEEN + BELOW + note_height;
    picture(COLUMN, height, |canvas| {
        legend.draw(canvas, 4.0);
        for (index, (panel, scale)) in data.panels.iter().zip(&scales).enumerate() {
            let top = first + index as f64 * (panel_height + BETWEEN);
            let area = Area { left, top, right: COLUMN - 10.0, bottom: top + panel_height };
            let field = Field { canvas, area, x, y: *scale };
            if index + 1 == data.panels.len() {
                field.x_axis(&data.parameter);
            } else {
                field.x_grid();
            }
            field.y_axis(&panel.axis);
            for line in &panel.lines {
                let index = lines.iter().position(|known| known.name == line.name).unwrap_or(lines.len());
                let at: Vec<_> = line.points.iter().map(|(x, y)| field.at(*x, *y)).collect();
                canvas.line(&at, look(index).ink, 1.0);
                at.iter().for_each(|point| canvas.marker(*point, look(index), 2.4));
            }
            field.frame();
        }
        if let Some(note) = note {
            let note = cut_to(&note, SMALL - 0.5, COLUMN - 8.0);
            canvas.text((4.0, height - SMALL / 2.0 - 2.0), &note, SMALL - 0.5, Anchor::Left, GREY);
        }
    })
}
