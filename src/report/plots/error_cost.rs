//! What each scheme costs and what it does to the values: the lowest signal-to-noise ratio of a layer against cycles.

use crate::report::plots::saved::Saved;
use crate::report::plots::scatter::{Better, Scatter};
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
        Some((row.scheme.clone(), total.cycles as f64, total.numerics.as_ref()?.sqnr_db?))
    });
    let points: Vec<_> = points.collect();
    let y = "lowest SQNR of a layer [dB]";
    (points.len() > 1).then(|| Scatter::new("time [cycles]", y, Better::Larger, points))
}
