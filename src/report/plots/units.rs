//! When each queue of each unit worked, and for which layer.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale};
use crate::report::plots::canvas::{
    Anchor, Area, BLACK, BOTH_COLUMNS, COLUMN, Hatch, Look, Marker, PALE, cut_to, look, picture, text_width,
};
use crate::report::plots::saved::{Saved, kind_of};
use crate::report::plots::{Figure, Plot};

/// The most layers with a look of their own; the rest are `other layers`.
const MOST_LAYERS: usize = 14;

/// Bars over time, a row for each queue.
pub(super) struct Units;

#[derive(Debug, Serialize)]
struct Data {
    cycles: u64,
    /// Layers in order of the run; with many layers, kinds of them.
    layers: Vec<String>,
    queues: Vec<Queue>,
}

#[derive(Debug, Serialize)]
struct Queue {
    name: String,
    spans: Vec<Span>,
}

#[derive(Debug, Serialize)]
struct Span {
    /// Index of the layer; beyond the list for one without a look of its own.
    layer: usize,
    start_cycle: u64,
    end_cycle: u64,
    /// Part of the span in which the queue had work under way for it.
    busy: f64,
}

impl Plot for Units {
    fn name(&self) -> &'static str {
        "units"
    }

    fn files(&self) -> [&'static str; 2] {
        ["units.svg", "units.png"]
    }

    fn shows(&self) -> &'static str {
        "when each queue of each unit worked, and for which layer"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

fn data(saved: &Saved) -> Option<Data> {
    let Saved::Run(report) = saved else { return None };
    let timeline = report.timeline.as_ref()?;
    // Where there are many layers, those of repeated blocks are one.
    let are_many = report.layers.len() > MOST_LAYERS;
    let name = |layer: &str| if are_many { kind_of(layer) } else { layer.to_owned() };
    let mut all: Vec<(String, u64)> = Vec::new();
    for layer in &report.layers {
        let name = name(&layer.name);
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, cycles)) => *cycles += layer.attributed_cycles,
            None => all.push((name, layer.attributed_cycles)),
        }
    }
    let mut longest: Vec<usize> = (0..all.len()).collect();
    longest.sort_by_key(|index| (std::cmp::Reverse(all[*index].1), *index));
    longest.truncate(MOST_LAYERS);
    longest.sort_unstable();
    let layers: Vec<String> = longest.iter().map(|index| all[*index].0.clone()).collect();
    let mut queues: Vec<Queue> = Vec::new();
    for span in &timeline.spans {
        let layer = name(&span.layer);
        let name = format!("{} {}", span.unit, span.queue);
        let part = Span {
            layer: layers.iter().position(|known| *known == layer).unwrap_or(layers.len()),
            start_cycle: span.start_cycle,
            end_cycle: span.end_cycle,
            busy: span.busy_cycles as f64 / (span.end_cycle - span.start_cycle).max(1) as f64,
        };
        match queues.iter_mut().find(|queue| queue.name == name) {
            Some(queue) => queue.spans.push(part),
            None => queues.push(Queue { name, spans: vec![part] }),
        }
    }
    (!queues.is_empty() && report.totals.cycles > 0).then_some(Data { cycles: report.totals.cycles, layers, queues })
}

/// Layers without a look of their own.
const OTHER: Look = Look { ink: PALE, hatch: Hatch::None, marker: Marker::Round };

fn draw(data: &Data) -> String {
    const ROW: f64 = 18.0;
    const BAR: f64 = 14.0;
    let spans: usize = data.queues.iter().map(|queue| queue.spans.len()).sum();
    let width = if data.layers.len() <= 6 && spans <= 200 { COLUMN } else { BOTH_COLUMNS };
    let widest = data.queues.iter().map(|queue| text_width(&queue.name, SMALL)).fold(0.0, f64::max).min(110.0);
    let left = 4.0 + widest + 4.0;
    let mut entries: Vec<_> =
        data.layers.iter().enumerate().map(|(index, layer)| (layer.clone(), look(index))).collect();
    if data.queues.iter().flat_map(|queue| &queue.spans).any(|span| span.layer == data.layers.len()) {
        entries.push(("other layers".to_owned(), OTHER));
    }
    let legend = Legend::new(entries, Sample::Bar, left, width - 4.0);
    let top = 4.0 + legend.height();
    let rows = ROW * data.queues.len() as f64 + 2.0;
    picture(width, top + rows + BELOW, |canvas| {
        legend.draw(canvas, 4.0);
        let area = Area { left, top, right: width - 12.0, bottom: top + rows };
        let field = Field { canvas, area, x: Scale::Linear(0.0, data.cycles as f64), y: Scale::Linear(0.0, 1.0) };
        field.x_axis("time [cycles]; height: part of it at work");
        for (row, queue) in data.queues.iter().enumerate() {
            let bottom = area.top + (row as f64 + 1.0) * ROW;
            canvas.line(&[(area.left, bottom), (area.right, bottom)], PALE, 0.4);
            let name = cut_to(&queue.name, SMALL, widest);
            canvas.text((left - 4.0, bottom - BAR / 2.0), &name, SMALL, Anchor::Right, BLACK);
            // Longer spans first, so that short ones stay in sight.
            let mut spans: Vec<&Span> = queue.spans.iter().collect();
            spans.sort_by_key(|span| std::cmp::Reverse(span.end_cycle - span.start_cycle));
            for span in spans {
                let look = if span.layer < data.layers.len() { look(span.layer) } else { OTHER };
                let (start, end) = (field.x_at(span.start_cycle as f64), field.x_at(span.end_cycle as f64));
                let height = (BAR * span.busy).max(1.0);
                let area = Area { left: start, top: bottom - height, right: end.max(start + 0.3), bottom };
                canvas.bar(area, look);
            }
        }
        field.frame();
    })
}
