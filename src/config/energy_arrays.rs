//! Memories of an energy table that are looked up among runs of CACTI 7, by the cell that the user names. Capacity and ports of
//! the memory decide how many arrays of which size and width there are, but for what the table chooses.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::config::checks::plain_name;
use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::energy::Surroundings;
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::config::scalar::ScalarType;
use crate::hardware::actions::{Action, Component};
use crate::hardware::area::AreaRecord;
use crate::hardware::band::Band;
use crate::hardware::energy_table::{EnergyRecord, Mark};
use crate::hardware::memory::{Memory, MemoryKind, Ports, Sram};
use crate::hardware::node_scaling;
use crate::hardware::sram_array::{Basis, Chosen, Organisation, array_figures, of_runs};
use crate::hardware::sram_table::{SramCell, SramKind, figures};
use crate::units::{Bytes, Cycles, Rate};

/// CACTI 7 is within a factor of two of the figures of Horowitz (ISSCC 2014) at 45 nm, of 0.5 to 1.0 times those.
const FACTOR: f64 = 1.5;

/// The largest array that a table may name.
const LARGEST: Bytes = Bytes(1 << 40);

/// What a memory is that a table by itself does not know.
const STAND_IN: Sram = Sram {
    capacity: Bytes(1 << 20),
    read_bytes_per_cycle: SIXTEEN,
    write_bytes_per_cycle: SIXTEEN,
    latency: Cycles(0),
    banks: None,
    ports: Ports::Dual,
    partitions: None,
};

const SIXTEEN: Rate = match Rate::whole(16) {
    Some(rate) => rate,
    None => unreachable!(),
};

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
    let chosen = Chosen {
        size_bytes: choice(&array.size, Bytes(1)..=LARGEST)?.map(Bytes::get),
        width_bits: choice(&array.width_bits, 1..=1 << 20)?,
        banks: choice(&array.banks, 1..=1024)?,
        copies: choice(&array.copies, 1..=1 << 16)?,
    };
    let sram = match (memory.map(|memory| &memory.kind), array.size.is_given()) {
        (Some(MemoryKind::Sram(sram)), _) => *sram,
        (Some(MemoryKind::Dram(_)), false) => {
            return Err(array.memory.problem("this memory is off the chip; arrays are on it"));
        }
        // A table may be shared, and is sound by itself: who has this memory has its size.
        (Some(MemoryKind::Dram(_)), true) | (None, _) => STAND_IN,
    };
    let Organisation { copies, size_bytes, width_bits, banks } = Organisation::of(&sram, chosen);
    let kind = SramKind { cell, node_nm, banks, has_extra_ports: false };
    // A size that is chosen is claimed to be among the runs.
    let is_among_runs = match chosen.size_bytes {
        Some(_) => figures(of_runs(kind), size_bytes, width_bits).map(drop),
        None => Ok(()),
    };
    let (found, basis) =
        is_among_runs.and_then(|()| array_figures(kind, size_bytes, width_bits)).map_err(|outside| {
            let message = format!("{copies} times {size_bytes} bytes of {width_bits} bits in {banks} banks: {outside}");
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
    let (mark, factor, how) = match basis {
        Basis::Run if scaling.is_some() => (Mark::Inference, FACTOR, "a run"),
        Basis::Run => (Mark::Run, FACTOR, "a run"),
        // The mean error of leaving one run out is below 5 %, the worst below 50 %.
        Basis::Between => (Mark::Inference, FACTOR * 1.05, "interpolated between runs"),
        // What banks cost differs by a tenth from size to size.
        Basis::OneBank => (Mark::Inference, FACTOR * 1.1, "runs of one bank times what eight cost at the nearest size"),
        // The rules are within a third of the runs that they could be held to.
        Basis::Beyond => (
            Mark::Assumed,
            FACTOR * 4.0 / 3.0,
            "the nearest run, accesses times the square root of the sizes' ratio, leakage and area times the ratio",
        ),
    };
    let scaled = scaling.map(|(to, (energy, _))| format!("; energy times {:.3} to {to} nm", energy.typical));
    let source = format!(
        "{}: CACTI 7, {} cells, {node_nm} nm, {size_bytes} bytes of {width_bits} bits in {banks} banks, times {copies}; {how}{}",
        mark.name(),
        SramCell::NAMES.iter().find(|(_, known)| *known == cell).map_or("", |(name, _)| name),
        scaled.unwrap_or_default(),
    );
    let record =
        |energy: f64| EnergyRecord::new(Band::within_factor(energy, factor).by(energy_scale), mark, source.clone());
    let bytes = width_bits as f64 / 8.0;
    let component = Component::Memory(name.clone());
    let leakage_mw = found.leakage_mw_per_bank * copies as f64;
    let records = vec![
        (Action::Read(name.clone()).to_string(), record(found.read_pj / bytes)),
        (Action::Write(name).to_string(), record(found.write_pj / bytes)),
        // A milliwatt is 1e9 pJ a second.
        (Action::Leakage(component.clone()).to_string(), record(leakage_mw * 1e9 / around.clock_hz as f64)),
    ];
    let area_mm2 = Band::within_factor(found.area_mm2 * copies as f64, factor).by(area_scale);
    Ok(Found { component, records, area: Some(AreaRecord { area_mm2, mark, source }) })
}

/// A key that may be left out, within a range.
fn choice<T: ScalarType + PartialOrd + fmt::Display>(
    field: &Field<T>,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Diagnostic> {
    field.optional().map(|reading| reading.in_range(range)).transpose()
}

/// The memory for which the array has another size than its capacity, because the table chose it; the energy, leakage and
/// area of that memory do not follow its capacity.
pub(crate) fn fixed_size(array: &SramArrayFile, memories: &[Memory]) -> Option<Diagnostic> {
    let size = array.size.optional()?.value().ok()?;
    let copies = array.copies.optional().and_then(|copies| copies.value().ok()).unwrap_or(1);
    let name = array.memory.required().text().ok()?;
    let capacity = memories.iter().find_map(|memory| match &memory.kind {
        MemoryKind::Sram(sram) if memory.name == name => Some(sram.capacity),
        MemoryKind::Sram(_) | MemoryKind::Dram(_) => None,
    })?;
    (size * copies != capacity).then(|| {
        let message = format!(
            "the energy table fixes the size of {name} at {} although it has {capacity}: its energy, leakage and area do \
             not follow its capacity",
            size * copies
        );
        array.size.problem(message).note("leave size out and the capacity decides")
    })
}
