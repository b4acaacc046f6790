//! Cycles over two parameters: the fewest of all points that share both values.

use serde::Serialize;

use crate::report::plots::axes::{NORMAL, SMALL, short};
use crate::report::plots::canvas::{Anchor, Area, BLACK, COLUMN, Ink, WHITE, cut_to, picture, tail_of, text_width};
use crate::report::plots::saved::{Saved, varied};
use crate::report::plots::{Figure, Plot};

/// Colours from few to many cycles, dark to light as print shows them too: five of viridis (Smith and van der Walt, 2015).
const COLOURS: [Ink; 5] = [Ink(68, 1, 84), Ink(59, 82, 139), Ink(33, 145, 140), Ink(94, 201, 98), Ink(253, 231, 37)];
/// The most values along a side.
const MOST_VALUES: usize = 16;

/// Coloured cells with their numbers.
pub(super) struct HeatMap;

#[derive(Debug, Serialize)]
struct Data {
    x: Side,
    y: Side,
    /// Fewest cycles by value of `y`, then of `x`; none where no point has both.
    cycles: Vec<Vec<Option<f64>>>,
}

#[derive(Debug, Serialize)]
struct Side {
    parameter: String,
    values: Vec<String>,
}

impl Plot for HeatMap {
    fn name(&self) -> &'static str {
        "heat_map"
    }

    fn files(&self) -> [&'static str; 2] {
        ["heat_map.svg", "heat_map.png"]
    }

    fn shows(&self) -> &'static str {
        "cycles over two parameters"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

/// The two parameters with the most values; among equals the first.
fn data(saved: &Saved) -> Option<Data> {
    let Saved::Points(points) = saved else { return None };
    let mut varied = varied(points);
    varied.sort_by_key(|(_, values)| std::cmp::Reverse(values.len()));
    let mut sides = varied.into_iter().filter(|(_, values)| values.len() <= MOST_VALUES);
    let mut side = || sides.next().map(|(parameter, values)| Side { parameter, values });
    let (x, y) = (side()?, side()?);
    let mut cycles = vec![vec![None::<f64>; x.values.len()]; y.values.len()];
    for point in points {
        let index = |side: &Side| {
            let value = point.parameters.get(&side.parameter).map_or("as in the file", String::as_str);
            side.values.iter().position(|known| known == value)
        };
        let (row, column) = (index(&y)?, index(&x)?);
        let found = point.objective("cycles")?;
        let cell = &mut cycles[row][column];
        *cell = Some(cell.map_or(found, |known| known.min(found)));
    }
    Some(Data { x, y, cycles })
}

fn draw(data: &Data) -> String {
    let widest = data.y.values.iter().map(|value| text_width(value, SMALL)).fold(0.0, f64::max).min(90.0);
    let left = 4.0 + NORMAL + 4.0 + widest + 4.0;
    let cell_width = (COLUMN - 4.0 - left) / data.x.values.len() as f64;
    let cell_height = 18.0;
    let top = 6.0;
    let bottom = top + cell_height * data.y.values.len() as f64;
    let all = || data.cycles.iter().flatten().flatten().copied();
    let (least, most) =
        all().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
    let longest = data.x.values.iter().map(|value| text_width(value, SMALL)).fold(0.0, f64::max);
    let is_turned = longest > cell_width - 2.0;
    let below = if is_turned { longest.min(70.0) + 6.0 } else { SMALL + 6.0 };
    let height = bottom + below + NORMAL + 4.0 + SMALL + 8.0;
    picture(COLUMN, height, |canvas| {
        for (row, cells) in data.cycles.iter().enumerate() {
            let top = top + row as f64 * cell_height;
            for (column, cell) in cells.iter().enumerate() {
                let left = left + column as f64 * cell_width;
                let area = Area { left, top, right: left + cell_width, bottom: top + cell_height };
                let Some(value) = cell else {
                    canvas.border(area, BLACK, 0.3);
                    continue;
                };
                let share = if most > least { libm::log(value / least) / libm::log(most / least) } else { 0.5 };
                canvas.fill(area, mixed(share));
                canvas.border(area, WHITE, 0.5);
                let text = short(*value);
                let size = if text_width(&text, SMALL) < cell_width - 2.0 { SMALL } else { 5.0 };
                if text_width(&text, size) < cell_width - 1.0 {
                    let ink = if share < 0.55 { WHITE } else { BLACK };
                    let middle = (left + cell_width / 2.0, top + cell_height / 2.0);
                    canvas.text(middle, &text, size, Anchor::Middle, ink);
                }
            }
            let name = cut_to(&data.y.values[row], SMALL, widest);
            canvas.text((left - 4.0, top + cell_height / 2.0), &name, SMALL, Anchor::Right, BLACK);
        }
        for (column, value) in data.x.values.iter().enumerate() {
            let middle = left + (column as f64 + 0.5) * cell_width;
            if is_turned {
                let value = cut_to(value, SMALL, 70.0);
                canvas.text_upwards((middle, bottom + 3.0), &value, SMALL, Anchor::Right, BLACK);
            } else {
                canvas.text((middle, bottom + 3.0 + SMALL / 2.0), value, SMALL, Anchor::Middle, BLACK);
            }
        }
        let middle = (left + COLUMN - 4.0) / 2.0;
        canvas.text((middle, bottom + below + NORMAL / 2.0), &data.x.parameter, NORMAL, Anchor::Middle, BLACK);
        let y = tail_of(&data.y.parameter, NORMAL, height - 8.0);
        // Along the cells, but within the picture.
        let centre = ((top + bottom) / 2.0).max(4.0 + text_width(&y, NORMAL) / 2.0);
        canvas.text_upwards((4.0 + NORMAL / 2.0, centre), &y, NORMAL, Anchor::Middle, BLACK);
        let note = "cells: time [cycles], fewest of the points; dark: few";
        canvas.text((middle, height - SMALL / 2.0 - 3.0), note, SMALL, Anchor::Middle, BLACK);
    })
}

/// The colour at `share` of the way from few to many.
fn mixed(share: f64) -> Ink {
    let place = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let index = (place as usize).min(COLOURS.len() - 2);
    let part = place - index as f64;
    let mix = |one: u8, other: u8| (f64::from(one) * (1.0 - part) + f64::from(other) * part).round() as u8;
    let (one, other) = (COLOURS[index], COLOURS[index + 1]);
    Ink(mix(one.0, other.0), mix(one.1, other.1), mix(one.2, other.2))
}
