//! Points of a study by its first two objectives, with the front of those that no other beats in both.

use crate::report::plots::saved::{Objective, Point, Saved, SavedStudy, is_numeric, setting, varied};
use crate::report::plots::scatter::{Named, Scatter};
use crate::report::plots::{Figure, Plot};

/// The most values of a parameter that colours and markers tell apart.
const MOST_SERIES: usize = 12;

/// A scatter of points.
pub(super) struct Pareto;

impl Plot for Pareto {
    fn name(&self) -> &'static str {
        "pareto"
    }

    fn files(&self) -> [&'static str; 2] {
        ["pareto.svg", "pareto.png"]
    }

    fn shows(&self) -> &'static str {
        "points by two objectives, and their Pareto front"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, Scatter::draw))
    }
}

/// Points of one look share the value of a parameter: the first whose values are texts, else the one with the fewest values.
fn data(saved: &Saved) -> Option<Scatter> {
    let Saved::Points(SavedStudy { points, objectives, .. }) = saved else { return None };
    let [x, y] = [objectives.first()?, objectives.get(1)?];
    let varied = varied(points);
    let few = || varied.iter().filter(|(_, values)| values.len() <= MOST_SERIES);
    let texts = few().find(|(_, values)| !is_numeric(values));
    let telling = texts.or_else(|| few().min_by_key(|(_, values)| values.len()));
    let name = |point: &Point| varied.iter().map(|(path, _)| setting(point, path)).collect::<Vec<_>>().join(", ");
    let series = |point: &Point| telling.map_or_else(|| "points".to_owned(), |(path, _)| setting(point, path));
    let of = |objective: &Objective, point: &Point| point.value(objective.metric);
    let placed = points.iter().filter_map(|point| {
        Some(Named {
            name: name(point),
            series: series(point),
            label: Some(point.index.to_string()),
            x: of(x, point)?,
            y: of(y, point)?,
            may_be_on_front: point.is_feasible,
        })
    });
    let placed: Vec<Named> = placed.collect();
    (placed.len() > 1).then(|| Scatter::new([&x.axis, &y.axis], [x.better, y.better], placed))
}
