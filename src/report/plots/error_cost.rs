//! What each scheme costs and what it does to the values: the lowest signal-to-noise ratio of a layer against cycles.

use crate::config::study::Metric;
use crate::report::plots::saved::{Better, Saved, axis};
use crate::report::plots::scatter::{Named, Scatter};
use crate::report::plots::{Figure, Plot};

/// A scatter of schemes.
pub(super) struct ErrorCost;

impl Plot for ErrorCost {
    fn name(&self) -> &'static str {
        "error_cost"
    }

    fn files(&self) -> [&'static str; 2] {
        ["error_cost.svg", "error_cost.png"]
    }

    fn shows(&self) -> &'static str {
        "lowest SQNR of a layer against cycles, by scheme"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, Scatter::draw))
    }
}

/// The schemes whose numbers were computed; an exact one has no ratio.
fn data(saved: &Saved) -> Option<Scatter> {
    let Saved::Comparison(comparison) = saved else { return None };
    let points = comparison.schemes.iter().filter_map(|row| {
        let total = row.total.as_ref()?;
        let (x, y) = (total.cycles as f64, total.numerics.as_ref()?.sqnr_db?);
        Some(Named { name: row.scheme.clone(), series: row.scheme.clone(), label: None, x, y, may_be_on_front: true })
    });
    let points: Vec<_> = points.collect();
    let axes = [axis(Metric::Cycles), axis(Metric::SqnrDb)];
    (points.len() > 1).then(|| Scatter::new(axes, [Better::Smaller, Better::Larger], points))
}
