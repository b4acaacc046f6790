//! What pictures are drawn on: lengths in points (1/72 inch), as a paper is set, by way of `plotters` into SVG.
//!
//! `plotters` puts everything on whole pixels. So a picture is drawn a hundred pixels to the point and its size is then
//! written down in points: what is lost is a hundredth of a point. Text stays text; how wide it is, for legends and margins,
//! comes from the widths of the one font that is part of the program.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle};

use crate::report::plots::letters;

/// Width of a column of a two-column paper, in points (3.5 inches).
pub(super) const COLUMN: f64 = 252.0;
/// Width of both columns and the gap between them, in points (7.16 inches).
pub(super) const BOTH_COLUMNS: f64 = 516.0;

/// Pixels of `plotters` to a point.
const PIXELS: f64 = 100.0;
/// What `plotters` divides a font's size by.
const FONT_DIVISOR: f64 = 1.24;
/// The font of the program, and what stands in for it where an SVG is shown without it.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink(pub(super) u8, pub(super) u8, pub(super) u8);

/// Axes and text.
pub(super) const BLACK: Ink = Ink(0, 0, 0);
/// Grid lines.
pub(super) const PALE: Ink = Ink(221, 221, 221);
/// What stands behind.
pub(super) const GREY: Ink = Ink(119, 119, 119);
/// Paper.
pub(super) const WHITE: Ink = Ink(255, 255, 255);

/// Colours that differ for every kind of colour vision: Okabe and Ito, "Color Universal Design" (2008), darkest last but
/// for black, which is left to axes.
const SERIES: [Ink; 7] = [
    Ink(0, 114, 178),
    Ink(230, 159, 0),
    Ink(0, 158, 115),
    Ink(204, 121, 167),
    Ink(86, 180, 233),
    Ink(213, 94, 0),
    Ink(240, 228, 66),
];

/// Lines over a filled area, so that it is known without its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hatch {
    None,
    Rising,
    Falling,
    Crossed,
    Level,
    Upright,
}

const HATCHES: [Hatch; 6] = [Hatch::None, Hatch::Rising, Hatch::Falling, Hatch::Crossed, Hatch::Level, Hatch::Upright];

/// A point of a scatter or a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Round,
    Square,
    Up,
    Down,
    Diamond,
}

const MARKERS: [Marker; 5] = [Marker::Round, Marker::Square, Marker::Up, Marker::Diamond, Marker::Down];

/// How one of several series looks: with seven colours, six hatches and five markers, 35 and more differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) ink: Ink,
    pub(super) hatch: Hatch,
    pub(super) marker: Marker,
}

/// The look of the series at `index`.
pub(super) fn look(index: usize) -> Look {
    Look {
        ink: SERIES[index % SERIES.len()],
        hatch: HATCHES[index % HATCHES.len()],
        marker: MARKERS[index % MARKERS.len()],
    }
}

/// Where a text stands at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
}

/// A point in the picture, in points from its upper left corner.
pub(super) type At = (f64, f64);

/// A rectangle in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(super) fn height(&self) -> f64 {
        self.bottom - self.top
    }
}

/// A picture under way.
pub(super) struct Canvas<'s> {
    width: f64,
    area: DrawingArea<SVGBackend<'s>, Shift>,
}

/// A picture of `width` x `height` points, as SVG.
pub(super) fn picture(width: f64, height: f64, draw: impl FnOnce(&Canvas<'_>)) -> String {
    let mut text = String::new();
    let size = ((width * PIXELS) as u32, (height * PIXELS) as u32);
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&colour(WHITE)).expect(UNFAILING);
        let canvas = Canvas { width, area };
        draw(&canvas);
        canvas.area.present().expect(UNFAILING);
    }
    let in_pixels = format!("<svg width=\"{}\" height=\"{}\"", size.0, size.1);
    let in_points = format!("<svg width=\"{width}pt\" height=\"{height}pt\"");
    text.replacen(&in_pixels, &in_points, 1)
}

const UNFAILING: &str = "a picture is written into a text in memory";

fn colour(ink: Ink) -> RGBColor {
    RGBColor(ink.0, ink.1, ink.2)
}

fn pixels((x, y): At) -> (i32, i32) {
    ((x * PIXELS).round() as i32, (y * PIXELS).round() as i32)
}

fn stroke(ink: Ink, width: f64) -> ShapeStyle {
    colour(ink).stroke_width((width * PIXELS).round() as u32)
}

impl Canvas<'_> {
    /// Width of the picture.
    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// A filled polygon without a border.
    pub(super) fn polygon(&self, corners: &[At], ink: Ink) {
        let corners: Vec<(i32, i32)> = corners.iter().map(|corner| pixels(*corner)).collect();
        self.area.draw(&Polygon::new(corners, colour(ink).filled())).expect(UNFAILING);
    }

    /// A line through `points`, `width` points thick.
    pub(super) fn line(&self, points: &[At], ink: Ink, width: f64) {
        let points: Vec<(i32, i32)> = points.iter().map(|point| pixels(*point)).collect();
        self.area.draw(&PathElement::new(points, stroke(ink, width))).expect(UNFAILING);
    }

    /// A dashed line from `from` to `to`: `dash` points long, with gaps as long.
    pub(super) fn dashed(&self, from: At, to: At, ink: Ink, width: f64, dash: f64) {
        let length = ((to.0 - from.0).powi(2) + (to.1 - from.1).powi(2)).sqrt();
        let at = |along: f64| {
            let share = if length > 0.0 { (along / length).min(1.0) } else { 0.0 };
            (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
        };
        let mut along = 0.0;
        while along < length {
            self.line(&[at(along), at(along + dash)], ink, width);
            along += 2.0 * dash;
        }
    }

    /// A filled rectangle without a border.
    pub(super) fn fill(&self, area: Area, ink: Ink) {
        let corners = [pixels((area.left, area.top)), pixels((area.right, area.bottom))];
        self.area.draw(&Rectangle::new(corners, colour(ink).filled())).expect(UNFAILING);
    }

    /// The border of a rectangle.
    pub(super) fn border(&self, area: Area, ink: Ink, width: f64) {
        // As a line: the SVG of `plotters` gives rectangles no width of their borders.
        let Area { left, top, right, bottom } = area;
        self.line(&[(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], ink, width);
    }

    /// A filled and hatched rectangle with a thin border, as a bar. One too thin for these is of its colour alone.
    pub(super) fn bar(&self, area: Area, look: Look) {
        self.fill(area, look.ink);
        let thin = area.width().min(area.height());
        if thin >= 2.0 {
            self.hatch(area, look.hatch);
        }
        if thin >= 0.9 {
            self.border(area, BLACK, 0.4);
        }
    }

    fn hatch(&self, area: Area, hatch: Hatch) {
        const GAP: f64 = 3.2;
        let (width, height) = (area.width(), area.height());
        let draw = |from: At, to: At| self.line(&[from, to], WHITE, 0.55);
        let slanted = |rises: bool| {
            // The line through the lower (or upper) left corner, moved along by `shift`, within the rectangle.
            let mut shift = GAP / 2.0 - height;
            while shift < width {
                let (from, to) = (shift.max(0.0), (shift + height).min(width));
                if to > from {
                    let y = |x: f64| if rises { area.bottom - (x - shift) } else { area.top + (x - shift) };
                    draw((area.left + from, y(from)), (area.left + to, y(to)));
                }
                shift += GAP;
            }
        };
        match hatch {
            Hatch::None => {}
            Hatch::Rising => slanted(true),
            Hatch::Falling => slanted(false),
            Hatch::Crossed => {
                slanted(true);
                slanted(false);
            }
            Hatch::Level => {
                let mut y = area.bottom - GAP / 2.0;
                while y > area.top {
                    draw((area.left, y), (area.right, y));
                    y -= GAP;
                }
            }
            Hatch::Upright => {
                let mut x = area.left + GAP / 2.0;
                while x < area.right {
                    draw((x, area.top), (x, area.bottom));
                    x += GAP;
                }
            }
        }
    }

    /// A marker `radius` points wide in each direction.
    pub(super) fn marker(&self, (x, y): At, look: Look, radius: f64) {
        let polygon = |corners: &[At]| {
            let points: Vec<(i32, i32)> =
                corners.iter().map(|(dx, dy)| pixels((x + dx * radius, y + dy * radius))).collect();
            self.area.draw(&Polygon::new(points.clone(), colour(look.ink).filled())).expect(UNFAILING);
            let outline = points.iter().chain(points.first()).copied().collect::<Vec<_>>();
            self.area.draw(&PathElement::new(outline, stroke(BLACK, 0.4))).expect(UNFAILING);
        };
        match look.marker {
            Marker::Round => {
                let radius = (radius * PIXELS) as i32;
                self.area.draw(&Circle::new(pixels((x, y)), radius, colour(look.ink).filled())).expect(UNFAILING);
                self.area.draw(&Circle::new(pixels((x, y)), radius, stroke(BLACK, 0.4))).expect(UNFAILING);
            }
            Marker::Square => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            Marker::Up => polygon(&[(0.0, -1.15), (1.05, 0.85), (-1.05, 0.85)]),
            Marker::Down => polygon(&[(0.0, 1.15), (1.05, -0.85), (-1.05, -0.85)]),
            Marker::Diamond => polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
        }
    }

    /// A text of `size` points, whose middle line is at `at`.
    pub(super) fn text(&self, at: At, text: &str, size: f64, anchor: Anchor, ink: Ink) {
        self.write(at, text, size, anchor, ink, FontTransform::None);
    }

    /// A text that runs upwards; its anchor lies along it.
    pub(super) fn text_upwards(&self, at: At, text: &str, size: f64, anchor: Anchor, ink: Ink) {
        self.write(at, text, size, anchor, ink, FontTransform::Rotate270);
    }

    fn write(&self, at: At, text: &str, size: f64, anchor: Anchor, ink: Ink, turned: FontTransform) {
        let horizontal = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let font = (FontFamily::Name(FAMILY), size * PIXELS * FONT_DIVISOR, FontStyle::Normal);
        // The base line of capitals and digits is 0.36 of the size below their middle, and `VPos::Bottom` lifts a text by half
        // an x-height, which is half the size.
        let drop = (0.36 + 0.25) * size;
        let base = if matches!(turned, FontTransform::None) { (at.0, at.1 + drop) } else { (at.0 + drop, at.1) };
        let ink = colour(ink);
        let style = TextStyle::from(font).color(&ink).transform(turned).pos(Pos::new(horizontal, VPos::Bottom));
        self.area.draw(&Text::new(text.to_owned(), pixels(base), style)).expect(UNFAILING);
    }
}

/// How wide a text of `size` points is, in points.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(letters::width).sum::<f64>() * size
}

/// The end of a dotted path that is at most `width` points wide: it says more than the beginning.
pub(super) fn tail_of(path: &str, size: f64, width: f64) -> String {
    let mut tail = path;
    while text_width(tail, size) > width {
        let Some((_, rest)) = tail.split_once('.') else { break };
        tail = rest;
    }
    cut_to(tail, size, width)
}

/// `text`, or as much of it as is at most `width` points wide, with dots at its end.
pub(super) fn cut_to(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for letter in text.chars() {
        if text_width(&cut, size) + (letters::width(letter) + letters::width('…')) * size > width {
            break;
        }
        cut.push(letter);
    }
    cut + "…"
}
