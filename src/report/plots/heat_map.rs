//! The first objective over two parameters: the best of all points that share both values.

use serde::Serialize;

use crate::report::plots::axes::{NORMAL, SMALL, short};
use crate::report::plots::canvas::{
    Anchor, Area, BLACK, COLUMN, GREY, Ink, WHITE, cut_to, picture, tail_of, text_width,
};
use crate::report::plots::saved::{Better, Saved, SavedStudy, varied};
use crate::report::plots::{Figure, Plot};

/// Colours from small to large, dark to light as print shows them too: five of viridis (Smith and van der Walt, 2015).
const COLOURS: [Ink; 5] = [Ink(68, 1, 84), Ink(59, 82, 139), Ink(33, 145, 140), Ink(94, 201, 98), Ink(253, 231, 37)];
/// The most values along a side.
const MOST_VALUES: usize = 16;

/// Coloured cells with their numbers.
pub(super) struct HeatMap;

#[derive(Debug, Serialize)]
struct Data {
    x: Side,
    y: Side,
    /// What the cells hold.
    axis: String,
    better: Better,
    /// Best by value of `y`, then of `x`; none where no point has both.
    cells: Vec<Vec<Option<f64>>>,
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
        "the first objective over two parameters"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

/// The two parameters with the most values; among equals the first.
fn data(saved: &Saved) -> Option<Data> {
    let Saved::Points(SavedStudy { points, objectives, .. }) = saved else { return None };
    let objective = objectives.first()?;
    let mut varied = varied(points);
    varied.sort_by_key(|(_, values)| std::cmp::Reverse(values.len()));
    let mut sides = varied.into_iter().filter(|(_, values)| values.len() <= MOST_VALUES);
    let mut side = || sides.next().map(|(parameter, values)| Side { parameter, values });
    let (x, y) = (side()?, side()?);
    let mut cells = vec![vec![None::<f64>; x.values.len()]; y.values.len()];
    for point in points.iter().filter(|point| point.is_feasible) {
        let index = |side: &Side| side.values.iter().position(|known| known == point.parameter(&side.parameter));
        let (row, column) = (index(&y)?, index(&x)?);
        let Some(found) = point.value(objective.metric) else { continue };
        let cell = &mut cells[row][column];
        if cell.is_none_or(|known| objective.better.holds(found, known)) {
            *cell = Some(found);
        }
    }
    Some(Data { x, y, axis: objective.axis.clone(), better: objective.better, cells })
}

fn draw(data: &Data) -> String {
    let widest = data.y.values.iter().map(|value| text_width(value, SMALL)).fold(0.0, f64::max).min(90.0);
    let left = 4.0 + NORMAL + 4.0 + widest + 4.0;
    let cell_width = (COLUMN - 4.0 - left) / data.x.values.len() as f64;
    let cell_height = 18.0;
    let top = 6.0;
    let bottom = top + cell_height * data.y.values.len() as f64;
    let all = || data.cells.iter().flatten().flatten().copied();
    let (least, most) = all()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
    let longest = data.x.values.iter().map(|value| text_width(value, SMALL)).fold(0.0, f64::max);
    let is_turned = longest > cell_width - 2.0;
    let below = if is_turned { longest.min(70.0) + 6.0 } else { SMALL + 6.0 };
    let height = bottom + below + NORMAL + 4.0 + SMALL + 8.0;
    picture(COLUMN, height, |canvas| {
        for (row, cells) in data.cells.iter().enumerate() {
            let top = top + row as f64 * cell_height;
            for (column, cell) in cells.iter().enumerate() {
                let left = left + column as f64 * cell_width;
                let area = Area { left, top, right: left + cell_width, bottom: top + cell_height };
                let Some(value) = cell else {
                    canvas.border(area, BLACK, 0.3);
                    continue;
                };
                let share = match most > least {
                    true if least > 0.0 => libm::log(value / least) / libm::log(most / least),
                    true => (value - least) / (most - least),
                    false => 0.5,
                };
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
        let best = if data.better == Better::Smaller { "smallest" } else { "largest" };
        let note = format!("cells: {}, {best} of all points there; dark: small", data.axis);
        canvas.text((4.0, height - SMALL / 2.0 - 2.0), &note, SMALL - 0.5, Anchor::Left, GREY);
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
