//! Areas of an energy table: of a processing element, a lane, a memory, and what stands between them.

use serde::Deserialize;

use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::energy::one_line;
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::hardware::actions::Component;
use crate::hardware::area::{AreaRecord, AreaTable};
use crate::hardware::band::Band;
use crate::hardware::energy_table::Mark;
use crate::hardware::memory::{Memory, MemoryKind};
use crate::hardware::node_scaling;
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;

/// An area as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AreaFile {
    name: Field<String>,
    area_um2: Field<f64>,
    low_um2: Field<f64>,
    high_um2: Field<f64>,
    per: Field<String>,
    node_nm: Field<u64>,
    source: Field<String>,
    mark: Field<String>,
}

/// What an area is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Element,
    Lane,
    Byte,
    Chip,
    /// Square micrometres for each square millimetre of the others.
    SquareMillimetre,
}

const PER: [(&str, Per); 5] = [
    ("processing_element", Per::Element),
    ("lane", Per::Lane),
    ("byte", Per::Byte),
    ("chip", Per::Chip),
    ("mm2", Per::SquareMillimetre),
];

/// The name under which what stands between the components has its share.
const OVERHEAD: &str = "overhead";

struct Resolved {
    area_um2: Band,
    per: Per,
    mark: Mark,
    source: String,
}

/// Whether an area is sound by itself, in a table for `node_nm`.
///
/// # Errors
/// What is wrong in it.
pub(crate) fn check(area: &Placed<AreaFile>, node_nm: Option<u64>) -> Result<(), Diagnostic> {
    resolve_one(area, node_nm).map(drop)
}

fn resolve_one(area: &Placed<AreaFile>, node_nm: Option<u64>) -> Result<Resolved, Diagnostic> {
    const MOST: f64 = 1e12;
    area.name.required().text()?;
    let typical = area.area_um2.required().in_range(0.0..=MOST)?;
    let low = area.low_um2.required().beside_others().in_range(0.0..=typical)?;
    let high = area.high_um2.required().beside_others().in_range(typical..=MOST)?;
    let per = area.per.required().one_of(&PER)?;
    let mark = area.mark.required().one_of(&Mark::NAMES)?;
    let mut source = format!("{}: {}", mark.name(), one_line(&area.source.required().text()?));
    let mut band = Band { low, typical, high };
    if let (Some(reading), Some(to)) = (area.node_nm.optional(), node_nm) {
        let from = reading.in_range(1..=1000)?;
        if from != to {
            let factor = node_scaling::logic_area(from, to).ok_or_else(|| {
                area.node_nm
                    .problem(format!("from {from} to {to} nm is more than one step"))
                    .note("areas are scaled between neighbours of 45, 22, 16, 7 and 5 nm")
            })?;
            source.push_str(&format!(
                " ({typical} um2 at {from} nm; times {:.3} ({:.3} to {:.3}))",
                factor.typical, factor.low, factor.high
            ));
            band = band.by(factor);
        }
    }
    Ok(Resolved { area_um2: band, per, mark, source })
}

/// The areas of `npu` by component: those of the table, and those that its arrays gave.
///
/// # Errors
/// An area of something that the accelerator does not have.
pub(crate) fn of_npu<'f>(
    areas: impl Iterator<Item = &'f Placed<AreaFile>>,
    node_nm: Option<u64>,
    npu: &Npu,
) -> Result<AreaTable, Diagnostic> {
    let mut table = npu.energy().areas().clone();
    let mut share = None;
    for area in areas {
        let Resolved { area_um2, per, mark, source } = resolve_one(area, node_nm)?;
        let name = area.name.required().text()?;
        if name == OVERHEAD {
            // Chip-wide constants are a share of one square millimetre of nothing else.
            share = Some((area_um2, per, mark, source));
            continue;
        }
        let components: Vec<(String, Component)> = components(npu).map(|it| (it.to_string(), it)).collect();
        let component = match area.name.required().beside_others().one_of(&components) {
            Ok(component) => component,
            // A table may serve several accelerators, one of which lacks the memory.
            Err(_) if per == Per::Byte => continue,
            Err(problem) => return Err(problem),
        };
        let times = amount(npu, &component, per).ok_or_else(|| {
            Diagnostic::new(area.per.place(), area.per.path(), format!("{name} has no such parts"))
                .note("processing_element goes with matrix_units, lane with vector_units, byte with memories")
        })?;
        let area_mm2 = area_um2.times(times / 1e6);
        table.components.insert(component, AreaRecord { area_mm2, mark, source });
    }
    let sum: Band = table.components.values().map(|record| record.area_mm2).sum();
    table.overhead = share.map(|(area_um2, per, mark, source)| {
        let area_mm2 = area_um2.times(1.0 / 1e6);
        let area_mm2 = if per == Per::SquareMillimetre { area_mm2.by(sum) } else { area_mm2 };
        AreaRecord { area_mm2, mark, source }
    });
    if !table.components.is_empty() {
        table.missing = components(npu).filter(|component| !table.components.contains_key(component)).collect();
    }
    Ok(table)
}

/// What of the accelerator lies on the chip. DMA engines are part of what stands between.
fn components(npu: &Npu) -> impl Iterator<Item = Component> + '_ {
    let is_on_chip = |memory: &&Memory| matches!(memory.kind, MemoryKind::Sram(_));
    let memories = npu.memories().iter().filter(is_on_chip).map(|memory| Component::Memory(memory.name.clone()));
    [Component::MatrixUnits, Component::VectorUnits].into_iter().chain(memories)
}

fn amount(npu: &Npu, component: &Component, per: Per) -> Option<f64> {
    match (component, per) {
        (_, Per::Chip) => Some(1.0),
        (Component::MatrixUnits, Per::Element) => {
            Some(npu.matrix_units().iter().map(|unit| unit.array.processing_elements() as f64).sum())
        }
        (Component::VectorUnits, Per::Lane) => {
            Some(npu.vector_units().iter().map(|unit| unit.rate(VectorFunction::Add).per_cycle()).sum())
        }
        (Component::Memory(name), Per::Byte) => {
            npu.memories().iter().find(|memory| memory.name == *name).and_then(|memory| match &memory.kind {
                MemoryKind::Sram(sram) => Some(sram.capacity.get() as f64),
                MemoryKind::Dram(_) => None,
            })
        }
        _ => None,
    }
}
