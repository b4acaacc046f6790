//! Cycles over the values of one parameter, a line for each combination of the others.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, Sample, Scale, left_of};
use crate::report::plots::canvas::{Area, COLUMN, look, picture};
use crate::report::plots::saved::{Point, Saved, quantity, varied};
use crate::report::plots::{Figure, Plot};

/// The most lines that can be told apart.
const MOST_LINES: usize = 12;

/// Lines over a parameter.
pub(super) struct Sweep;

#[derive(Debug, Serialize)]
struct Data {
    parameter: String,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    /// Values of the other parameters.
    name: String,
    /// Value of the parameter, and cycles.
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
        "cycles over the values of a parameter"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

/// Along x lies the numeric parameter with the most values; among equals the first.
fn data(saved: &Saved) -> Option<Data> {
    let Saved::Points(points) = saved else { return None };
    let varied = varied(points);
    let is_numeric = |values: &[String]| values.iter().all(|value| quantity(value).is_some());
    let numeric = varied.iter().filter(|(_, values)| is_numeric(values));
    let (parameter, _) = numeric.reduce(|best, next| if next.1.len() > best.1.len() { next } else { best })?;
    let others: Vec<&String> = varied.iter().map(|(path, _)| path).filter(|path| *path != parameter).collect();
    let name = |point: &Point| -> String {
        let value = |path: &&String| {
            let value = point.parameters.get(*path).map_or("as in the file", String::as_str);
            format!("{} {value}", path.rsplit('.').next().unwrap_or(path))
        };
        others.iter().map(value).collect::<Vec<_>>().join(", ")
    };
    let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for point in points {
        let x = point.parameters.get(parameter).and_then(|value| quantity(value))?;
        lines.entry(name(point)).or_default().push((x, point.objective("cycles")?));
    }
    for points in lines.values_mut() {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    let lines: Vec<Line> = lines.into_iter().map(|(name, points)| Line { name, points }).collect();
    (lines.len() <= MOST_LINES).then(|| Data { parameter: parameter.clone(), lines })
}

fn draw(data: &Data) -> String {
    const HEIGHT: f64 = 120.0;
    let xs = data.lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let ys = data.lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let (least, most) = xs.clone().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), x| (low.min(x), high.max(x)));
    let x = if least > 0.0 && most / least >= 8.0 { Scale::logarithmic(xs) } else { Scale::around(xs) };
    let y = Scale::from_zero(ys.fold(0.0, f64::max));
    let left = left_of(&y, HEIGHT);
    let named = data.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty());
    let legend = Legend::new(
        named.map(|(index, line)| (line.name.clone(), look(index))).collect(),
        Sample::Point,
        4.0,
        COLUMN - 4.0,
    );
    let top = 4.0 + legend.height() + 2.0;
    picture(COLUMN, top + HEIGHT + BELOW, |canvas| {
        legend.draw(canvas, 4.0);
        let area = Area { left, top, right: COLUMN - 10.0, bottom: top + HEIGHT };
        let field = Field { canvas, area, x, y };
        field.x_axis(&data.parameter);
        field.y_axis("time [cycles]");
        for (index, line) in data.lines.iter().enumerate() {
            let at: Vec<_> = line.points.iter().map(|(x, y)| field.at(*x, *y)).collect();
            canvas.line(&at, look(index).ink, 1.0);
            at.iter().for_each(|point| canvas.marker(*point, look(index), 2.4));
        }
        field.frame();
    })
}
