//! Named points in a field of two objectives, and the front of those that no other point beats.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale, left_of};
use crate::report::plots::canvas::{Anchor, Area, At, BLACK, BOTH_COLUMNS, COLUMN, GREY, look, picture, text_width};
use crate::report::plots::saved::Better;

/// The most series in the width of one column.
const MOST_NARROW: usize = 12;
/// The most points of a front with boxes around them.
const MOST_BOXES: usize = 24;

/// A point before the front is known.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    /// What it shares its look with.
    pub(super) series: String,
    /// What stands beside it if it is on the front.
    pub(super) label: Option<String>,
    pub(super) x: f64,
    pub(super) y: f64,
    /// False for one that breaks a constraint.
    pub(super) may_be_on_front: bool,
}

/// Points and their axes.
#[derive(Debug, Serialize)]
pub(super) struct Scatter {
    pub(super) axes: [String; 2],
    pub(super) better: [Better; 2],
    /// In order of their first points.
    pub(super) series: Vec<String>,
    pub(super) points: Vec<ScatterPoint>,
}

#[derive(Debug, Serialize)]
pub(super) struct ScatterPoint {
    pub(super) name: String,
    /// Position among the series.
    pub(super) series: usize,
    pub(super) label: Option<String>,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Whether no other point is better in one and at least as good in the other.
    pub(super) is_on_front: bool,
}

impl Scatter {
    /// The points by name, with the front marked.
    pub(super) fn new(axes: [&str; 2], better: [Better; 2], points: Vec<Named>) -> Scatter {
        let beats = |one: &Named, other: &Named| {
            let is_worse = better[0].holds(other.x, one.x) || better[1].holds(other.y, one.y);
            let is_better = better[0].holds(one.x, other.x) || better[1].holds(one.y, other.y);
            one.may_be_on_front && is_better && !is_worse
        };
        let fronts: Vec<bool> = (points.iter())
            .map(|point| point.may_be_on_front && !points.iter().any(|other| beats(other, point)))
            .collect();
        let mut series: Vec<String> = Vec::new();
        for point in &points {
            if !series.contains(&point.series) {
                series.push(point.series.clone());
            }
        }
        let marked = points.into_iter().zip(fronts).map(|(point, is_on_front)| ScatterPoint {
            series: series.iter().position(|name| *name == point.series).expect("all are listed above"),
            name: point.name,
            label: point.label,
            x: point.x,
            y: point.y,
            is_on_front,
        });
        Scatter { axes: axes.map(str::to_owned), better, points: marked.collect(), series }
    }

    /// The picture: the front as steps that a point on it would have to go below.
    pub(super) fn draw(&self) -> String {
        let is_wide = self.series.len() > MOST_NARROW;
        let (width, field_height) = if is_wide { (BOTH_COLUMNS, 190.0) } else { (COLUMN, 130.0) };
        let (x, y) = (
            Scale::around(self.points.iter().map(|point| point.x)),
            Scale::around(self.points.iter().map(|point| point.y)),
        );
        let left = left_of(&y, field_height);
        let entries = self.series.iter().enumerate().map(|(index, name)| (name.clone(), look(index))).collect();
        let legend =
            Legend::new(if self.series.len() > 1 { entries } else { Vec::new() }, Sample::Point, 4.0, width - 4.0);
        let top = 4.0 + legend.height() + 2.0;
        let height = top + field_height + BELOW + SMALL + 3.0;
        let radius = match self.points.len() {
            0..=60 => 2.8,
            61..=200 => 2.2,
            _ => 1.7,
        };
        picture(width, height, |canvas| {
            legend.draw(canvas, 4.0);
            let area = Area { left, top, right: width - 10.0, bottom: top + field_height };
            let field = Field { canvas, area, x, y };
            field.x_axis(&self.axes[0]);
            field.y_axis(&self.axes[1]);
            let mut front: Vec<&ScatterPoint> = self.points.iter().filter(|point| point.is_on_front).collect();
            front.sort_by(|one, other| one.x.total_cmp(&other.x).then(one.y.total_cmp(&other.y)));
            for pair in front.windows(2) {
                let (from, to) = (field.at(pair[0].x, pair[0].y), field.at(pair[1].x, pair[1].y));
                // A step goes by the values of which both are worse.
                let corner = match self.better[0] {
                    Better::Smaller => (to.0, from.1),
                    Better::Larger => (from.0, to.1),
                };
                canvas.line(&[from, corner, to], GREY, 0.8);
            }
            let (behind, before): (Vec<&ScatterPoint>, Vec<&ScatterPoint>) =
                self.points.iter().rev().partition(|point| !point.is_on_front);
            for point in behind.into_iter().chain(before) {
                canvas.marker(field.at(point.x, point.y), look(point.series), radius);
            }
            if front.len() <= MOST_BOXES {
                self.mark(&field, &front, radius);
            }
            field.frame();
            let is_numbered = front.iter().any(|point| point.label.is_some());
            let note = match (front.len() <= MOST_BOXES, is_numbered) {
                (true, true) => "in a box, with its number: no other is better in one and as good in the other",
                (true, false) => "in a box: no other is better in one and as good in the other",
                (false, _) => "on the line: no other is better in one and as good in the other",
            };
            canvas.text((4.0, height - SMALL / 2.0 - 2.0), note, SMALL - 0.5, Anchor::Left, GREY);
        })
    }

    /// Boxes around the points of the front, and their labels where there is room.
    fn mark(&self, field: &Field<'_, '_>, front: &[&ScatterPoint], radius: f64) {
        const SIZE: f64 = 5.5;
        let canvas = field.canvas;
        let side = radius + 1.7;
        let around = |(x, y): At| Area { left: x - side, top: y - side, right: x + side, bottom: y + side };
        let mut taken: Vec<Area> = self
            .points
            .iter()
            .map(|point| {
                let (x, y) = field.at(point.x, point.y);
                Area { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
            })
            .collect();
        taken.extend(front.iter().map(|point| around(field.at(point.x, point.y))));
        let mut boxed: Vec<At> = Vec::new();
        for point in front {
            let at = field.at(point.x, point.y);
            // One box for points that lie upon each other.
            if boxed.iter().any(|(x, y)| (x - at.0).abs() < 0.5 && (y - at.1).abs() < 0.5) {
                continue;
            }
            boxed.push(at);
            canvas.border(around(at), BLACK, 0.4);
            let Some(label) = &point.label else { continue };
            let wide = text_width(label, SIZE);
            let (right, left, up) = (side + 1.0, -side - 1.0 - wide, side + 3.5);
            let beside = [(right, 0.0), (left, 0.0), (-wide / 2.0, -up), (-wide / 2.0, up)];
            let aslant = [(right, -up), (left, -up), (right, up), (left, up)];
            let places = beside.into_iter().chain(aslant);
            let mut free = places.map(|(dx, dy)| {
                let (left, middle) = (at.0 + dx, at.1 + dy);
                Area { left, top: middle - SIZE / 2.0, right: left + wide, bottom: middle + SIZE / 2.0 }
            });
            let is_free = |area: &Area| {
                let is_within = area.left > field.area.left
                    && area.right < canvas.width()
                    && area.top > field.area.top
                    && area.bottom < field.area.bottom;
                is_within
                    && !taken.iter().any(|other| {
                        area.left < other.right
                            && other.left < area.right
                            && area.top < other.bottom
                            && other.top < area.bottom
                    })
            };
            if let Some(area) = free.find(is_free) {
                canvas.text((area.left, (area.top + area.bottom) / 2.0), label, SIZE, Anchor::Left, BLACK);
                taken.push(area);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(better: [Better; 2], points: &[(f64, f64)]) -> Vec<bool> {
        let named = |(x, y): &(f64, f64)| Named {
            name: String::new(),
            series: String::new(),
            label: None,
            x: *x,
            y: *y,
            may_be_on_front: true,
        };
        let scatter = Scatter::new(["x", "y"], better, points.iter().map(named).collect());
        scatter.points.iter().map(|point| point.is_on_front).collect()
    }

    #[test]
    fn the_front_has_the_points_that_no_other_beats() {
        // By hand: (2, 2) is beaten by (1, 2), and (3, 3) by all; of two equal points neither beats the other.
        let points = [(1.0, 2.0), (2.0, 2.0), (2.0, 1.0), (3.0, 3.0), (2.0, 1.0)];
        assert_eq!(front([Better::Smaller, Better::Smaller], &points), [true, false, true, false, true]);
        assert_eq!(front([Better::Smaller, Better::Larger], &points), [true, false, false, true, false]);
        assert_eq!(front([Better::Larger, Better::Larger], &points), [false, false, false, true, false]);
    }
}
