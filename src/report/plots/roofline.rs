//! The roofline of a run: multiply-accumulates a cycle of each layer over those for each byte of off-chip memory.
//!
//! After Williams, Waterman and Patterson, "Roofline" (Communications of the ACM, 2009). The roofs are the peaks of the report's
//! bounds: the highest rate of the arrays among the formats of the run, and the bandwidth off the chip. A layer's time is that
//! from the first command for it to the end of its last. All that it computes and moves lies within, so no point lies above a
//! roof; where layers overlap, each has the time of both.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale, left_of, short};
use crate::report::plots::canvas::{Anchor, Area, BLACK, COLUMN, GREY, look, picture};
use crate::report::plots::saved::{Layer, Saved, kind_of};
use crate::report::plots::{Figure, Plot};

/// The most points that are named: the whole run, and the layers with the most multiply-accumulates.
const MOST_NAMED: usize = 10;

/// A scatter below two roofs.
pub(super) struct Roofline;

#[derive(Debug, Serialize)]
struct Data {
    /// The most multiply-accumulates a cycle.
    macs_per_cycle: f64,
    /// The most bytes a cycle of off-chip memory.
    bytes_per_cycle: f64,
    /// The whole run; then layers with the most work first.
    layers: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    name: String,
    macs_per_byte: f64,
    macs_per_cycle: f64,
}

impl Plot for Roofline {
    fn name(&self) -> &'static str {
        "roofline"
    }

    fn files(&self) -> [&'static str; 2] {
        ["roofline.svg", "roofline.png"]
    }

    fn shows(&self) -> &'static str {
        "layers below the roofs of arithmetic and off-chip bandwidth"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

fn data(saved: &Saved) -> Option<Data> {
    let Saved::Run(report) = saved else { return None };
    let (totals, bounds) = (&report.totals, &report.bounds);
    let macs: u64 = totals.macs.values().sum();
    let bytes = totals.dram_read_bytes + totals.dram_write_bytes;
    if macs == 0 || bytes == 0 || totals.cycles == 0 || bounds.compute_cycles == 0 || bounds.moved_bandwidth_cycles == 0
    {
        return None;
    }
    // A layer that moves nothing off the chip has no place under a roofline. Older reports know only the span of its work.
    let cycles = |layer: &Layer| layer.under_way_cycles.unwrap_or(layer.cycles);
    let has_place =
        |layer: &&Layer| layer.macs > 0 && cycles(layer) > 0 && layer.dram_read_bytes + layer.dram_write_bytes > 0;
    let mut layers: Vec<(u64, Point)> = (report.layers.iter().filter(has_place))
        .map(|layer| {
            let bytes = layer.dram_read_bytes + layer.dram_write_bytes;
            let placed = Point {
                name: layer.name.clone(),
                macs_per_byte: layer.macs as f64 / bytes as f64,
                macs_per_cycle: layer.macs as f64 / cycles(layer) as f64,
            };
            (layer.macs, placed)
        })
        .collect();
    layers.sort_by_key(|(macs, _)| std::cmp::Reverse(*macs));
    let whole = Point {
        name: "whole run".to_owned(),
        macs_per_byte: macs as f64 / bytes as f64,
        macs_per_cycle: macs as f64 / totals.cycles as f64,
    };
    layers.insert(0, (macs, whole));
    Some(Data {
        macs_per_cycle: bounds
            .peak_macs_per_cycle
            .map_or(macs as f64 / bounds.compute_cycles as f64, |peak| peak as f64),
        bytes_per_cycle: bounds
            .peak_dram_bytes_per_cycle
            .unwrap_or(bytes as f64 / bounds.moved_bandwidth_cycles as f64),
        layers: layers.into_iter().map(|(_, layer)| layer).collect(),
    })
}

fn draw(data: &Data) -> String {
    const HEIGHT: f64 = 130.0;
    let ridge = data.macs_per_cycle / data.bytes_per_cycle;
    let xs = data.layers.iter().map(|layer| layer.macs_per_byte).chain([ridge / 4.0, ridge * 4.0]);
    let ys =
        data.layers.iter().map(|layer| layer.macs_per_cycle).chain([data.macs_per_cycle, data.macs_per_cycle / 8.0]);
    let (x, y) = (Scale::logarithmic(xs), Scale::logarithmic(ys));
    let left = left_of(&y, HEIGHT);
    // Where there are many layers, those of repeated blocks look alike.
    let are_many = data.layers.len() > MOST_NAMED;
    let kind = |layer: &Point| if are_many { kind_of(&layer.name) } else { layer.name.clone() };
    let mut kinds: Vec<String> = Vec::new();
    for layer in &data.layers {
        if !kinds.contains(&kind(layer)) {
            kinds.push(kind(layer));
        }
    }
    let named = kinds.len().min(MOST_NAMED);
    let entries = kinds[..named].iter().enumerate().map(|(index, name)| (name.clone(), look(index)));
    let mut entries: Vec<_> = entries.collect();
    if named < kinds.len() {
        entries.push((format!("{} more", kinds.len() - named), look(named)));
    }
    let legend = Legend::new(entries, Sample::Point, left, COLUMN - 4.0);
    let top = 4.0 + legend.height();
    let height = top + HEIGHT + BELOW + SMALL + 3.0;
    picture(COLUMN, height, |canvas| {
        legend.draw(canvas, 4.0);
        let area = Area { left, top, right: COLUMN - 6.0, bottom: top + HEIGHT };
        let field = Field { canvas, area, x, y };
        field.x_axis("multiply-accumulates (MACs) a byte of DRAM traffic [1/B]");
        field.y_axis("MACs a cycle [1/cycle]");
        let Scale::Logarithmic(least, most) = x else { unreachable!("made so above") };
        let Scale::Logarithmic(lowest, _) = y else { unreachable!("made so above") };
        let start = least.max(lowest / data.bytes_per_cycle);
        let roof = [(start, start * data.bytes_per_cycle), (ridge, data.macs_per_cycle), (most, data.macs_per_cycle)];
        canvas.line(&roof.map(|(x, y)| field.at(x, y)), BLACK, 1.0);
        let (peak, slope) = (short(data.macs_per_cycle), short(data.bytes_per_cycle));
        let above = field.y_at(data.macs_per_cycle) - SMALL / 2.0 - 1.0;
        canvas.text((area.right - 2.0, above), &format!("{peak} a cycle"), SMALL, Anchor::Right, BLACK);
        let (x, y) = field.at(start.max(least * 1.05), (start * data.bytes_per_cycle).max(lowest));
        canvas.text((x + 8.0, y - 3.0), &format!("{slope} B a cycle"), SMALL, Anchor::Left, BLACK);
        for layer in data.layers.iter().rev() {
            let index = kinds.iter().position(|known| *known == kind(layer)).unwrap_or(named);
            canvas.marker(field.at(layer.macs_per_byte, layer.macs_per_cycle), look(index.min(named)), 2.8);
        }
        field.frame();
        let note = "time of a layer: from its first transfer or command to its end, beside other layers";
        canvas.text((4.0, height - SMALL / 2.0 - 2.0), note, SMALL - 0.5, Anchor::Left, GREY);
    })
}
