//! How strongly objectives follow each parameter: Spearman's rank correlation over the points of a study.
//!
//! Spearman, "The Proof and Measurement of Association between Two Things" (1904): the correlation of ranks, ties at their
//! mean rank. Parameters whose values are texts have no ranks.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale};
use crate::report::plots::canvas::{Anchor, Area, BLACK, COLUMN, look, picture, tail_of, text_width};
use crate::report::plots::saved::{Objective, Saved, SavedStudy, is_numeric, quantity, varied};
use crate::report::plots::{Figure, Plot};

/// Bars by parameter and objective.
pub(super) struct Sensitivity;

#[derive(Debug, Serialize)]
struct Data {
    objectives: Vec<String>,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Serialize)]
struct Parameter {
    path: String,
    /// By objective, from -1 to 1; none where an objective does not vary.
    correlations: Vec<Option<f64>>,
}

impl Plot for Sensitivity {
    fn name(&self) -> &'static str {
        "sensitivity"
    }

    fn files(&self) -> [&'static str; 2] {
        ["sensitivity.svg", "sensitivity.png"]
    }

    fn shows(&self) -> &'static str {
        "how strongly objectives follow each parameter"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

fn data(saved: &Saved) -> Option<Data> {
    let Saved::Points(SavedStudy { points, objectives, .. }) = saved else { return None };
    if points.len() < 3 {
        return None;
    }
    let of = |(path, _): (String, Vec<String>)| {
        let correlation = |objective: &Objective| {
            let pairs = points
                .iter()
                .filter_map(|point| Some((quantity(point.parameter(&path))?, *point.measured.get(&objective.metric)?)));
            let (along, found): (Vec<f64>, Vec<f64>) = pairs.unzip();
            rank_correlation(&along, &found)
        };
        Parameter { correlations: objectives.iter().map(correlation).collect(), path }
    };
    let numeric = varied(points).into_iter().filter(|(_, values)| is_numeric(values));
    let parameters: Vec<Parameter> = numeric.map(of).collect();
    let objectives = objectives.iter().map(|objective| objective.axis.clone()).collect();
    (!parameters.is_empty()).then_some(Data { objectives, parameters })
}

/// Correlation of the ranks of two lists of equal length; none where one of them does not vary.
fn rank_correlation(one: &[f64], other: &[f64]) -> Option<f64> {
    let (one, other) = (ranks(one), ranks(other));
    let mean = (one.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let (own, others) = (product(&one, &one), product(&other, &other));
    (own > 0.0 && others > 0.0).then(|| product(&one, &other) / (own * others).sqrt())
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count() as f64;
        let equal = values.iter().filter(|other| *other == value).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

fn draw(data: &Data) -> String {
    const BAR: f64 = 7.0;
    let group = BAR * data.objectives.len() as f64 + 6.0;
    let widest =
        data.parameters.iter().map(|parameter| text_width(&parameter.path, SMALL)).fold(0.0, f64::max).min(110.0);
    let left = 4.0 + widest + 4.0;
    let entries = data
        .objectives
        .iter()
        .enumerate()
        .map(|(index, name)| (name.split(" [").next().unwrap_or(name).to_owned(), look(index)));
    let legend = Legend::new(entries.collect(), Sample::Bar, 4.0, COLUMN - 4.0);
    let top = 4.0 + legend.height();
    let rows = group * data.parameters.len() as f64;
    picture(COLUMN, top + rows + BELOW, |canvas| {
        legend.draw(canvas, 4.0);
        let area = Area { left, top, right: COLUMN - 10.0, bottom: top + rows };
        let field = Field { canvas, area, x: Scale::Linear(-1.0, 1.0), y: Scale::Linear(0.0, 1.0) };
        field.x_axis("rank correlation [1]");
        for (row, parameter) in data.parameters.iter().enumerate() {
            let top = area.top + row as f64 * group + 3.0;
            let name = tail_of(&parameter.path, SMALL, widest);
            canvas.text((left - 4.0, top + group / 2.0 - 3.0), &name, SMALL, Anchor::Right, BLACK);
            for (index, correlation) in parameter.correlations.iter().enumerate() {
                let top = top + index as f64 * BAR;
                let Some(correlation) = correlation else {
                    canvas.text((field.x_at(0.0) + 2.0, top + BAR / 2.0), "–", SMALL, Anchor::Left, BLACK);
                    continue;
                };
                let (zero, end) = (field.x_at(0.0), field.x_at(*correlation));
                canvas.bar(Area { left: zero.min(end), top, right: zero.max(end), bottom: top + BAR }, look(index));
            }
        }
        let zero = field.x_at(0.0);
        canvas.line(&[(zero, area.top), (zero, area.bottom)], BLACK, 0.6);
        field.frame();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correlation_is_that_of_ranks_with_ties_at_their_mean() {
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0]), Some(1.0));
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(rank_correlation(&[1.0, 2.0], &[5.0, 5.0]), None);
        assert_eq!(ranks(&[7.0, 5.0, 7.0]), [2.5, 1.0, 2.5]);
        // Without ties 1 - 6 sum(d^2) / (n (n^2 - 1)); here d = 1, -1, 0, so 1 - 12 / 24.
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[2.0, 1.0, 3.0]), Some(0.5));
    }
}
