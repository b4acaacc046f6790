//! Axes, ticks and legends.

use crate::report::plots::canvas::{Anchor, Area, At, BLACK, Canvas, Look, PALE, cut_to, text_width};

/// Size of the numbers at ticks and in legends, in points.
pub(super) const SMALL: f64 = 6.5;
/// Size of the names of axes, in points.
pub(super) const NORMAL: f64 = 7.5;
/// Space between texts and what they belong to.
const GAP: f64 = 3.0;

/// How values become places along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From the first value to the second in equal steps.
    Linear(f64, f64),
    /// From the first value to the second, both above zero, in equal factors.
    Logarithmic(f64, f64),
}

impl Scale {
    /// From zero to a round number above `largest`.
    pub(super) fn from_zero(largest: f64) -> Scale {
        let largest = if largest > 0.0 { largest * 1.04 } else { 1.0 };
        let step = step_for(largest);
        Scale::Linear(0.0, (largest / step).ceil() * step)
    }

    /// Around all `values`, with a margin on both sides.
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let (least, largest) = ends(values);
        let span = largest - least;
        let margin = if span > 0.0 { span * 0.08 } else { largest.abs().max(1.0) * 0.1 };
        let (from, to) = (least - margin, largest + margin);
        Scale::Linear(if least >= 0.0 { from.max(0.0) } else { from }, to)
    }

    /// Around all `values` above zero, from a tenth to the tenfold at most.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let (least, largest) = ends(values.filter(|value| *value > 0.0));
        if least > largest || least <= 0.0 {
            return Scale::Logarithmic(1.0, 10.0);
        }
        Scale::Logarithmic(least / 1.6, largest * 1.6)
    }

    /// Where `value` lies, from 0 at the start to 1 at the end.
    pub(super) fn share(&self, value: f64) -> f64 {
        match self {
            Scale::Linear(from, to) => (value - from) / (to - from),
            Scale::Logarithmic(from, to) => libm::log10(value.max(*from * 1e-3) / from) / libm::log10(to / from),
        }
    }

    /// Values to be marked, with their texts.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match *self {
            Scale::Linear(from, to) => {
                let mut step = step_for(to - from);
                while (to - from) / step > most as f64 {
                    step = next_step(step);
                }
                let unit = unit_of(from.abs().max(to.abs()) / 2.0);
                let first = (from / step).ceil();
                let values = (0..=most + 1).map(|index| (first + index as f64) * step);
                let within = values.filter(|value| *value <= to + step * 1e-6);
                within.map(|value| (value, number(value, step, unit))).collect()
            }
            Scale::Logarithmic(from, to) => {
                let decades = libm::log10(to / from);
                let multiples: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let lowest = libm::floor(libm::log10(from)) as i32;
                let highest = libm::ceil(libm::log10(to)) as i32;
                let stride = ((highest - lowest) as usize / most + 1).max(1);
                let mut ticks = Vec::new();
                for exponent in (lowest..=highest).step_by(stride) {
                    for multiple in multiples {
                        let value = libm::pow(10.0, f64::from(exponent)) * multiple;
                        if value >= from * 0.9999 && value <= to * 1.0001 {
                            ticks.push((value, number(value, value, unit_of(value))));
                        }
                    }
                }
                ticks
            }
        }
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, largest), value| (least.min(value), largest.max(value)))
}

/// A step of 1, 2 or 5 times a power of ten that divides `span` into four to eight.
fn step_for(span: f64) -> f64 {
    let decade = libm::pow(10.0, libm::floor(libm::log10(span.max(1e-300))));
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0].map(|multiple| multiple * decade);
    steps.into_iter().find(|step| span / step <= 8.0).unwrap_or(decade)
}

/// The next longer step of 1, 2 or 5 times a power of ten.
fn next_step(step: f64) -> f64 {
    let decade = libm::pow(10.0, libm::floor(libm::log10(step * 1.0001)));
    let multiple = (step / decade).round();
    step * if multiple == 2.0 { 2.5 } else { 2.0 }
}

/// Units of large numbers, with their prefixes.
const PREFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// The largest unit that is at most `value`, with its prefix.
fn unit_of(value: f64) -> (f64, &'static str) {
    PREFIXES.into_iter().find(|(unit, _)| value.abs() >= *unit * 0.9999).unwrap_or((1.0, ""))
}

/// A number in `unit`, with as many digits as a step of `step` needs.
fn number(value: f64, step: f64, (unit, prefix): (f64, &str)) -> String {
    let step = step.abs() / unit;
    let decimals = (0..6).find(|decimals| {
        let scaled = step * libm::pow(10.0, f64::from(*decimals));
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
    });
    let decimals = decimals.unwrap_or(3) as usize;
    if value.abs() < step * unit * 1e-6 {
        return "0".to_owned();
    }
    format!("{:.decimals$}{prefix}", value / unit).replace('-', "−")
}

/// A number with three digits that matter.
pub(super) fn short(value: f64) -> String {
    let (unit, prefix) = unit_of(value);
    let scaled = value / unit;
    let decimals = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{scaled:.decimals$}{prefix}").replace('-', "−")
}

/// A field of values with an axis at its left and one below it.
pub(super) struct Field<'c, 's> {
    pub(super) canvas: &'c Canvas<'s>,
    pub(super) area: Area,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Field<'_, '_> {
    /// Where the value pair lies.
    pub(super) fn at(&self, x: f64, y: f64) -> At {
        (self.x_at(x), self.y_at(y))
    }

    pub(super) fn x_at(&self, x: f64) -> f64 {
        self.area.left + self.x.share(x).clamp(0.0, 1.0) * self.area.width()
    }

    pub(super) fn y_at(&self, y: f64) -> f64 {
        self.area.bottom - self.y.share(y).clamp(0.0, 1.0) * self.area.height()
    }

    /// The axis at the left, with lines across the field at its ticks. The name says the unit in brackets.
    pub(super) fn y_axis(&self, name: &str) {
        let mut widest: f64 = 0.0;
        for (value, text) in self.y.ticks((self.area.height() / 14.0) as usize) {
            let y = self.y_at(value);
            self.canvas.line(&[(self.area.left, y), (self.area.right, y)], PALE, 0.4);
            self.canvas.line(&[(self.area.left - 2.0, y), (self.area.left, y)], BLACK, 0.5);
            self.canvas.text((self.area.left - GAP, y), &text, SMALL, Anchor::Right, BLACK);
            widest = widest.max(text_width(&text, SMALL));
        }
        let middle = (self.area.top + self.area.bottom) / 2.0;
        let name = cut_to(name, NORMAL, self.area.height() + 24.0);
        let x = self.area.left - GAP - widest - GAP - NORMAL / 2.0;
        self.canvas.text_upwards((x, middle), &name, NORMAL, Anchor::Middle, BLACK);
    }

    /// The axis below, with lines up the field at its ticks.
    pub(super) fn x_axis(&self, name: &str) {
        self.x_ticks();
        self.x_name(name, self.area.bottom + GAP + SMALL + GAP);
    }

    /// Lines up the field at the ticks of the axis below, for a field above another one with the same axis.
    pub(super) fn x_grid(&self) {
        for (value, _) in self.x.ticks((self.area.width() / 26.0) as usize) {
            let x = self.x_at(value);
            self.canvas.line(&[(x, self.area.top), (x, self.area.bottom)], PALE, 0.4);
        }
    }

    /// The axis below without its name.
    pub(super) fn x_ticks(&self) {
        for (value, text) in self.x.ticks((self.area.width() / 26.0) as usize) {
            let x = self.x_at(value);
            self.canvas.line(&[(x, self.area.top), (x, self.area.bottom)], PALE, 0.4);
            self.canvas.line(&[(x, self.area.bottom), (x, self.area.bottom + 2.0)], BLACK, 0.5);
            self.canvas.text((x, self.area.bottom + GAP + SMALL / 2.0), &text, SMALL, Anchor::Middle, BLACK);
        }
    }

    /// The name of the axis below, whose upper edge is at `top`.
    pub(super) fn x_name(&self, name: &str, top: f64) {
        // Below the middle of the field, but within the picture.
        let name = &cut_to(name, NORMAL, self.canvas.width() - 4.0);
        let half = text_width(name, NORMAL) / 2.0 + 2.0;
        let middle = ((self.area.left + self.area.right) / 2.0).min(self.canvas.width() - half).max(half);
        self.canvas.text((middle, top + NORMAL / 2.0), name, NORMAL, Anchor::Middle, BLACK);
    }

    /// Lines at the left and below, over everything else.
    pub(super) fn frame(&self) {
        let Area { left, top, right, bottom } = self.area;
        self.canvas.line(&[(left, top), (left, bottom), (right, bottom)], BLACK, 0.6);
    }
}

/// Space that [`Field::x_axis`] needs below the field.
pub(super) const BELOW: f64 = GAP + SMALL + GAP + NORMAL + GAP;

/// Space at the left of a field whose ticks have texts up to that of `scale`, and the name of the axis.
pub(super) fn left_of(scale: &Scale, height: f64) -> f64 {
    let ticks = scale.ticks((height / 14.0) as usize);
    let widest = ticks.iter().map(|(_, text)| text_width(text, SMALL)).fold(0.0, f64::max);
    GAP + widest + GAP + NORMAL + GAP
}

/// Whether an entry of a legend is an area or a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    Bar,
    Point,
}

/// A legend above a picture: names with their looks, in rows as wide as the picture.
pub(super) struct Legend {
    entries: Vec<(String, Look)>,
    rows: Vec<Vec<usize>>,
    sample: Sample,
    left: f64,
}

impl Legend {
    const SAMPLE: f64 = 10.0;
    const BETWEEN: f64 = 9.0;
    const ROW: f64 = 10.0;

    /// A legend from `left` to `right`.
    pub(super) fn new(entries: Vec<(String, Look)>, sample: Sample, left: f64, right: f64) -> Legend {
        let width = right - left;
        let entries: Vec<(String, Look)> =
            entries.into_iter().map(|(name, look)| (cut_to(&name, SMALL, width - Self::SAMPLE - GAP), look)).collect();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut taken = f64::INFINITY;
        for (index, (name, _)) in entries.iter().enumerate() {
            let needed = Self::SAMPLE + GAP + text_width(name, SMALL) + Self::BETWEEN;
            if taken + needed - Self::BETWEEN > width {
                rows.push(Vec::new());
                taken = 0.0;
            }
            taken += needed;
            rows.last_mut().expect("the first entry opens a row").push(index);
        }
        Legend { entries, rows, sample, left }
    }

    /// Its height in points, with the space below it.
    pub(super) fn height(&self) -> f64 {
        self.rows.len() as f64 * Self::ROW + GAP
    }

    /// Draws it with its upper edge at `top`.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, top: f64) {
        for (row, indices) in self.rows.iter().enumerate() {
            let middle = top + (row as f64 + 0.5) * Self::ROW;
            let mut x = self.left;
            for (name, look) in indices.iter().map(|index| &self.entries[*index]) {
                match self.sample {
                    Sample::Bar => {
                        let area = Area { left: x, top: middle - 3.2, right: x + Self::SAMPLE, bottom: middle + 3.2 };
                        canvas.bar(area, *look);
                    }
                    Sample::Point => canvas.marker((x + Self::SAMPLE / 2.0, middle), *look, 2.6),
                }
                canvas.text((x + Self::SAMPLE + GAP, middle), name, SMALL, Anchor::Left, BLACK);
                x += Self::SAMPLE + GAP + text_width(name, SMALL) + Self::BETWEEN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_scale() {
        let texts = |scale: Scale, most| scale.ticks(most).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        // From zero to the least multiple of the step above the largest value and its margin of 4 %: 1.508, 494.5k.
        assert_eq!(texts(Scale::from_zero(1.45), 4), ["0", "0.5", "1.0", "1.5"]);
        assert_eq!(texts(Scale::from_zero(1.45), 8), ["0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4", "1.6"]);
        assert_eq!(texts(Scale::from_zero(475_521.0), 7), ["0", "100k", "200k", "300k", "400k", "500k"]);
        // One unit along an axis, and plain numbers up to two of the next.
        assert_eq!(texts(Scale::Linear(0.0, 3000.0), 7), ["0", "0.5k", "1.0k", "1.5k", "2.0k", "2.5k", "3.0k"]);
        assert_eq!(texts(Scale::Linear(800.0, 1400.0), 3), ["800", "1000", "1200", "1400"]);
        assert_eq!(texts(Scale::Logarithmic(1.0, 1000.0), 7), ["1", "10", "100", "1k"]);
        assert_eq!(texts(Scale::Logarithmic(1.0, 10.0), 7), ["1", "2", "5", "10"]);
        assert_eq!(texts(Scale::Linear(-10.0, 10.0), 7), ["−10", "−5", "0", "5", "10"]);
    }

    #[test]
    fn fewer_ticks_are_farther_apart_by_round_steps() {
        assert_eq!([1.0, 2.0, 5.0, 10.0, 0.2].map(next_step), [2.0, 5.0, 10.0, 20.0, 0.5]);
    }

    #[test]
    fn numbers_keep_three_digits_and_a_prefix() {
        let numbers = [0.0123, 1.234, 12.34, 123.4, 475_521.0, 2.5e9].map(short);
        assert_eq!(numbers, ["0.012", "1.23", "12.3", "123", "476k", "2.50G"]);
    }

    #[test]
    fn a_place_on_a_logarithmic_scale_follows_the_factor() {
        assert!((Scale::Logarithmic(1.0, 100.0).share(10.0) - 0.5).abs() < 1e-12);
        assert!((Scale::Linear(0.0, 4.0).share(1.0) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_legend_takes_a_second_row_rather_than_leaving_the_picture() {
        let entries = |count| {
            (0..count).map(|index| (format!("scheme number {index}"), crate::report::plots::canvas::look(index)))
        };
        let rows = |count| Legend::new(entries(count).collect(), Sample::Bar, 0.0, 250.0).rows;
        assert_eq!(rows(2), [[0, 1]]);
        assert_eq!(rows(5).len(), 2);
    }
}
