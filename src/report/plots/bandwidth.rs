//! Bytes a cycle of each memory over the run.

use serde::Serialize;

use crate::report::plots::axes::{BELOW, Field, Legend, SMALL, Sample, Scale, left_of, short};
use crate::report::plots::canvas::{Anchor, Area, BLACK, COLUMN, GREY, Hatch, Look, look, picture};
use crate::report::plots::saved::Saved;
use crate::report::plots::{Figure, Plot};
use crate::report::timeline::{MemoryTraffic, STEPS};

/// Areas over time, a panel for each memory.
pub(super) struct Bandwidth;

#[derive(Debug, Serialize)]
struct Data {
    cycles: u64,
    cycles_per_step: u64,
    memories: Vec<Memory>,
}

#[derive(Debug, Serialize)]
struct Memory {
    name: String,
    /// Bytes a cycle in each step.
    reads: Vec<f64>,
    writes: Vec<f64>,
    /// Mean over the run of reads and writes together.
    mean: f64,
}

impl Plot for Bandwidth {
    fn name(&self) -> &'static str {
        "bandwidth"
    }

    fn files(&self) -> [&'static str; 2] {
        ["bandwidth.svg", "bandwidth.png"]
    }

    fn shows(&self) -> &'static str {
        "bytes a cycle of off-chip and shared memories over time"
    }

    fn figure(&self, saved: &Saved) -> Option<Figure> {
        data(saved).map(|data| Figure::new(&data, draw))
    }
}

fn data(saved: &Saved) -> Option<Data> {
    let Saved::Run(report) = saved else { return None };
    let timeline = report.timeline.as_ref()?;
    let (cycles, step) = (report.totals.cycles, timeline.cycles_per_step);
    if timeline.memories.is_empty() || step == 0 || cycles == 0 {
        return None;
    }
    let of = |memory: &MemoryTraffic, bytes: &[u64]| -> Vec<f64> {
        // Steps without bytes follow the last one that has any, as long as there are no more of them than a run has.
        let longest = memory.read_bytes.len().max(memory.write_bytes.len());
        let steps = usize::try_from(cycles.div_ceil(step)).unwrap_or(usize::MAX).min((longest + 1).max(STEPS));
        // The last step may be cut by the end of the run.
        let length = |index: usize| step.min(cycles.saturating_sub(index as u64 * step)).max(1);
        (0..steps).map(|index| bytes.get(index).copied().unwrap_or(0) as f64 / length(index) as f64).collect()
    };
    let memories = timeline.memories.iter().map(|memory| {
        let bytes: u64 = memory.read_bytes.iter().chain(&memory.write_bytes).sum();
        Memory {
            name: memory.memory.clone(),
            reads: of(memory, &memory.read_bytes),
            writes: of(memory, &memory.write_bytes),
            mean: bytes as f64 / cycles as f64,
        }
    });
    Some(Data { cycles, cycles_per_step: step, memories: memories.collect() })
}

fn draw(data: &Data) -> String {
    const HEIGHT: f64 = 74.0;
    const BETWEEN: f64 = 14.0;
    let scales: Vec<Scale> = (data.memories.iter())
        .map(|memory| Scale::from_zero(memory.reads.iter().zip(&memory.writes).map(|(a, b)| a + b).fold(0.0, f64::max)))
        .collect();
    let left = scales.iter().map(|scale| left_of(scale, HEIGHT)).fold(0.0, f64::max);
    let plain = |index| Look { hatch: Hatch::None, ..look(index) };
    let entries = vec![("reads".to_owned(), plain(0)), ("writes, on top of reads".to_owned(), plain(1))];
    let legend = Legend::new(entries, Sample::Bar, left, COLUMN - 4.0);
    let count = data.memories.len() as f64;
    let height = legend.height() + count * (HEIGHT + BETWEEN) + BELOW + 2.0;
    picture(COLUMN, height, |canvas| {
        legend.draw(canvas, 4.0);
        let mut top = 4.0 + legend.height() + BETWEEN - 4.0;
        for (index, (memory, scale)) in data.memories.iter().zip(&scales).enumerate() {
            let area = Area { left, top, right: COLUMN - 12.0, bottom: top + HEIGHT };
            let field = Field { canvas, area, x: Scale::Linear(0.0, data.cycles as f64), y: *scale };
            canvas.text((left, top - SMALL / 2.0 - 1.0), &memory.name, SMALL, Anchor::Left, BLACK);
            field.y_axis("bandwidth [B/cycle]");
            let both: Vec<f64> =
                memory.reads.iter().zip(&memory.writes).map(|(reads, writes)| reads + writes).collect();
            // One area each: steps side by side would show their seams.
            for (of, rates) in [(1, &both), (0, &memory.reads)] {
                let steps = rates.iter().enumerate().flat_map(|(step, rate)| {
                    let start = step as u64 * data.cycles_per_step;
                    let end = start.saturating_add(data.cycles_per_step).min(data.cycles);
                    let y = field.y_at(*rate);
                    [(field.x_at(start as f64), y), (field.x_at(end as f64), y)]
                });
                let ends = [(area.right, area.bottom), (area.left, area.bottom)];
                canvas.polygon(&steps.chain(ends).collect::<Vec<_>>(), look(of).ink);
            }
            let mean = field.y_at(memory.mean);
            canvas.dashed((area.left, mean), (area.right, mean), BLACK, 0.7, 2.5);
            let text = format!("mean {}", short(memory.mean));
            canvas.text((area.right, top - SMALL / 2.0 - 1.0), &text, SMALL, Anchor::Right, GREY);
            if index + 1 == data.memories.len() {
                field.x_axis("time [cycles]");
            }
            field.frame();
            top += HEIGHT + BETWEEN;
        }
    })
}
