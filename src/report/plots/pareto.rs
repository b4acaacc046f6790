//! Points of a study by cycles and energy, with the front of those that no other beats in both.

use crate::report::plots::saved::{Point, Saved, varied};
use crate::report::plots::scatter::{Better, Scatter};
use crate::report::plots::{Figure, Plot};

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
        "points by cycles and energy, and their Pareto front"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, Scatter::draw))
    }
}

fn data(saved: &Saved) -> Option<Scatter> {
    let Saved::Points(points) = saved else { return None };
    let names: Vec<String> = varied(points).into_iter().map(|(path, _)| path).collect();
    let name = |point: &Point| {
        let value = |path: &String| {
            let value = point.parameters.get(path).map_or("as in the file", String::as_str);
            // The last step of a path says enough where it stands beside its value.
            format!("{} {value}", path.rsplit('.').next().unwrap_or(path))
        };
        names.iter().map(value).collect::<Vec<_>>().join(", ")
    };
    let placed = |point: &Point| Some((name(point), point.objective("cycles")?, point.objective("energy_pj")? / 1e6));
    let placed: Vec<_> = points.iter().filter_map(placed).collect();
    (placed.len() > 1).then(|| Scatter::new("time [cycles]", "energy [µJ]", Better::Smaller, placed))
}
