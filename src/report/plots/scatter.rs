//! Named points in a field of two objectives, and the front of those that no other point beats.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale, left_of};
use crate::report::plots::canvas::{Anchor, Area, BLACK, COLUMN, GREY, PALE, look, picture};

/// The most points with a look of their own.
const MOST_NAMED: usize = 16;

/// Whether larger or smaller values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Better {
    Larger,
    Smaller,
}

/// Points and their axes. Of the one along x, smaller values are better.
#[derive(Debug, Serialize)]
pub(super) struct Scatter {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) better_y: Better,
    pub(super) points: Vec<ScatterPoint>,
}

#[derive(Debug, Serialize)]
pub(super) struct ScatterPoint {
    pub(super) name: String,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Whether no other point is better in one and at least as good in the other.
    pub(super) is_on_front: bool,
}

impl Scatter {
    /// The points by name, with the front marked.
    pub(super) fn new(x: &str, y: &str, better_y: Better, points: Vec<(String, f64, f64)>) -> Scatter {
        let beats = |one: &(String, f64, f64), other: &(String, f64, f64)| {
            let (dx, dy) =
                (other.1 - one.1, if better_y == Better::Smaller { other.2 - one.2 } else { one.2 - other.2 });
            dx >= 0.0 && dy >= 0.0 && (dx > 0.0 || dy > 0.0)
        };
        let is_on_front = |point: &(String, f64, f64)| !points.iter().any(|other| beats(other, point));
        let marked = points.iter().map(|point| ScatterPoint {
            name: point.0.clone(),
            x: point.1,
            y: point.2,
            is_on_front: is_on_front(point),
        });
        Scatter { x: x.to_owned(), y: y.to_owned(), better_y, points: marked.collect() }
    }

    /// The picture: the front as steps that a point on it would have to go below.
    pub(super) fn draw(&self) -> String {
        const HEIGHT: f64 = 130.0;
        let xs = self.points.iter().map(|point| point.x);
        let ys = self.points.iter().map(|point| point.y);
        let (x, y) = (Scale::around(xs), Scale::around(ys));
        let left = left_of(&y, HEIGHT);
        let named = self.points.len().min(MOST_NAMED);
        let mut entries: Vec<_> =
            self.points[..named].iter().enumerate().map(|(index, point)| (point.name.clone(), look(index))).collect();
        let rest = crate::report::plots::canvas::Look { ink: PALE, ..look(0) };
        if named < self.points.len() {
            entries.push((format!("{} more", self.points.len() - named), rest));
        }
        let legend = Legend::new(entries, Sample::Point, 4.0, COLUMN - 4.0);
        let top = 4.0 + legend.height() + 2.0;
        let height = top + HEIGHT + BELOW + SMALL + 3.0;
        picture(COLUMN, height, |canvas| {
            legend.draw(canvas, 4.0);
            let area = Area { left, top, right: COLUMN - 10.0, bottom: top + HEIGHT };
            let field = Field { canvas, area, x, y };
            field.x_axis(&self.x);
            field.y_axis(&self.y);
            let mut front: Vec<&ScatterPoint> = self.points.iter().filter(|point| point.is_on_front).collect();
            front.sort_by(|one, other| one.x.total_cmp(&other.x));
            for pair in front.windows(2) {
                let (from, to) = (field.at(pair[0].x, pair[0].y), field.at(pair[1].x, pair[1].y));
                canvas.line(&[from, (to.0, from.1), to], GREY, 0.8);
            }
            for (index, point) in self.points.iter().enumerate().rev() {
                let at = field.at(point.x, point.y);
                canvas.marker(at, if index < named { look(index) } else { rest }, 3.0);
                if point.is_on_front {
                    let side = 4.6;
                    let around = Area { left: at.0 - side, top: at.1 - side, right: at.0 + side, bottom: at.1 + side };
                    canvas.border(around, BLACK, 0.4);
                }
            }
            field.frame();
            let note = "in a box: no other is better in one and as good in the other";
            canvas.text((4.0, height - SMALL / 2.0 - 2.0), note, SMALL - 0.5, Anchor::Left, GREY);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(better_y: Better, points: &[(f64, f64)]) -> Vec<bool> {
        let points = points.iter().map(|(x, y)| (String::new(), *x, *y)).collect();
        Scatter::new("x", "y", better_y, points).points.iter().map(|point| point.is_on_front).collect()
    }

    #[test]
    fn the_front_has_the_points_that_no_other_beats() {
        // By hand: (2, 2) is beaten by (1, 2), and (3, 3) by all; of two equal points neither beats the other.
        let points = [(1.0, 2.0), (2.0, 2.0), (2.0, 1.0), (3.0, 3.0), (2.0, 1.0)];
        assert_eq!(front(Better::Smaller, &points), [true, false, true, false, true]);
        assert_eq!(front(Better::Larger, &points), [true, false, false, true, false]);
    }
}
