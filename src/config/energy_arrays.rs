//! Memories of an energy table that are looked up among runs of CACTI 7, by the cell that the user names.

use serde::Deserialize;

use crate::config::checks::plain_name;
use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::energy::Surroundings;
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::hardware::actions::{Action, Component};
use crate::hardware::area::AreaRecord;
use crate::hardware::band::Band;
use crate::hardware::energy_table::{EnergyRecord, Mark};
use crate::hardware::memory::{Memory, MemoryKind};
use crate::hardware::node_scaling;
use crate::hardware::sram_table::{Origin, SramCell, SramKind, figures};
use crate::units::Bytes;

/// CACTI 7 is within a factor of two of the figures of Horowitz (ISSCC 2014) at 45 nm, of 0.5 to 1.0 times those.
const FACTOR: f64 = 1.5;

/// An array as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SramArrayFile {
    memory: Field<String>,
    cell: Field<String>,
    node_nm: Field<u64>,
    size: Field<Bytes>,
    width_bits: Field<u64>,
    banks: Field<u64>,
    copies: Field<u64>,
}

/// What an array gives to the table.
pub(crate) struct Found {
    pub(crate) component: Component,
    pub(crate) records: Vec<(String, EnergyRecord)>,
    pub(crate) area: Option<AreaRecord>,
}

/// The records and the area of a memory that is made of `copies` of one array.
///
/// # Errors
/// An unknown cell, a memory off the chip, or an array that lies outside of the table.
pub(crate) fn resolve(
    array: &Placed<SramArrayFile>,
    table_node_nm: Option<u64>,
    around: &Surroundings<'_>,
) -> Result<Found, Diagnostic> {
    let name = plain_name(&array.memory)?;
    let memory = around.memories.iter().find(|memory| memory.name == name);
    let cell = array.cell.required().one_of(&SramCell::NAMES)?;
    let node_nm = array.node_nm.required().in_range(1..=1000)?;
    let banks = array.banks.optional().map_or(Ok(1), |reading| reading.in_range(1..=1024))?;
    let copies = array.copies.optional().map_or(Ok(1), |reading| reading.in_range(1..=1 << 16))?;
    let sram = memory.and_then(sram_of);
    let size = match (array.size.optional(), sram) {
        (Some(reading), _) => reading.in_range(Bytes(1)..=Bytes(1 << 40))?.get(),
        (None, Some((capacity, _))) => capacity / copies,
        (None, None) if memory.is_some() => {
            return Err(array.memory.problem("this memory is off the chip; arrays are on it"));
        }
        // A table may be shared, and is sound by itself: who has this memory has its size.
        (None, None) => 1 << 20,
    };
    let width_bits = match (array.width_bits.optional(), sram) {
        (Some(reading), _) => reading.in_range(1..=1 << 20)?,
        (None, Some((_, bytes_per_cycle))) => bytes_per_cycle * 8 / copies,
        (None, None) => 128,
    };
    let kind = SramKind { cell, node_nm, banks, has_extra_ports: false };
    let (found, origin) = figures(kind, size, width_bits).map_err(|outside| {
        let message = format!("{copies} times {size} bytes of {width_bits} bits in {banks} banks: {outside}");
        Diagnostic::new(array.place(), array.path(), message).note("give size, width_bits, banks and copies")
    })?;
    // Arrays of a neighbouring node are taken to the table's as logic is.
    let scaling = match table_node_nm {
        Some(to) if to != node_nm => {
            let factors = node_scaling::logic_energy(node_nm, to).zip(node_scaling::logic_area(node_nm, to));
            Some((
                to,
                factors.ok_or_else(|| {
                    let message = format!("from {node_nm} to {to} nm is more than one step");
                    array
                        .node_nm
                        .problem(message)
                        .note("arrays are scaled between neighbours of 45, 22, 16, 7 and 5 nm")
                })?,
            ))
        }
        Some(_) | None => None,
    };
    let (energy_scale, area_scale) = scaling.map_or((Band::exactly(1.0), Band::exactly(1.0)), |(_, factors)| factors);
    let how = match origin {
        Origin::Run => "a run",
        Origin::Interpolated => "interpolated between runs",
    };
    let (mark, factor) = match origin {
        Origin::Run if scaling.is_some() => (Mark::Inference, FACTOR),
        Origin::Run => (Mark::Run, FACTOR),
        // The mean error of leaving one run out is below 5 %, the worst below 50 %.
        Origin::Interpolated => (Mark::Inference, FACTOR * 1.05),
    };
    let scaled = scaling.map(|(to, (energy, _))| format!("; energy times {:.3} to {to} nm", energy.typical));
    let source = format!(
        "{}: CACTI 7, {} cells, {node_nm} nm, {size} bytes of {width_bits} bits in {banks} banks, times {copies}; {how}{}",
        mark.name(),
        SramCell::NAMES.iter().find(|(_, known)| *known == cell).map_or("", |(name, _)| name),
        scaled.unwrap_or_default(),
    );
    let record =
        |energy: f64| EnergyRecord::new(Band::within_factor(energy, factor).by(energy_scale), mark, source.clone());
    let bytes = width_bits as f64 / 8.0;
    let component = Component::Memory(name.clone());
    let leakage_mw = found.leakage_mw_per_bank * (banks * copies) as f64;
    let records = vec![
        (Action::Read(name.clone()).to_string(), record(found.read_pj / bytes)),
        (Action::Write(name).to_string(), record(found.write_pj / bytes)),
        // A milliwatt is 1e9 pJ a second.
        (Action::Leakage(component.clone()).to_string(), record(leakage_mw * 1e9 / around.clock_hz as f64)),
    ];
    let area_mm2 = Band::within_factor(found.area_mm2 * copies as f64, FACTOR).by(area_scale);
    Ok(Found { component, records, area: Some(AreaRecord { area_mm2, mark, source }) })
}

/// Capacity, and bytes that a port reads a cycle.
fn sram_of(memory: &Memory) -> Option<(u64, u64)> {
    match &memory.kind {
        MemoryKind::Sram(sram) => Some((sram.capacity.get(), sram.read_bytes_per_cycle.per_cycle().round() as u64)),
        MemoryKind::Dram(_) => None,
    }
}
