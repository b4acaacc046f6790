//! Single figures of an energy table: what their source says, and what one action then costs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::config::checks::exactly_one;
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, Diagnostic, quoted};
use crate::config::dotted_path::DottedPath;
use crate::config::energy::{VOLTAGES, one_line};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::hardware::actions::Action;
use crate::hardware::band::Band;
use crate::hardware::energy_table::{EnergyRecord, Mark};
use crate::hardware::memory::{Memory, MemoryKind};
use crate::hardware::node_scaling;
use crate::hardware::sram_array::{access_energy_ratio, size_ratio};
use crate::hardware::vector_unit::VectorFunction;
use crate::numerics::formats::ALL as FORMATS;
use crate::units::Bytes;

/// The most energy that one figure may state, in pJ: a millijoule.
const MOST_PJ: f64 = 1e9;
/// The most power that one figure may state, in mW: a kilowatt.
const MOST_MW: f64 = 1e6;

/// A figure as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FigureFile {
    pub(crate) name: Field<String>,
    energy_pj: Field<f64>,
    low_pj: Field<f64>,
    high_pj: Field<f64>,
    power_mw: Field<f64>,
    low_mw: Field<f64>,
    high_mw: Field<f64>,
    relative_to: Field<String>,
    ratio: Option<Placed<BandFile>>,
    per_bytes: Field<u64>,
    per_macs: Field<u64>,
    per_elements: Field<u64>,
    per_cycles: Field<u64>,
    per_requests: Field<u64>,
    node_nm: Field<u64>,
    voltage: Field<f64>,
    for_capacity: Field<Bytes>,
    scaled: Option<Placed<ScaledFile>>,
    source: Field<String>,
    mark: Field<String>,
}

/// Low, typical and high.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BandFile {
    low: Field<f64>,
    typical: Field<f64>,
    high: Field<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct ScaledFile {
    by: Field<f64>,
    low: Field<f64>,
    high: Field<f64>,
    equation: Field<String>,
    reason: Field<String>,
}

/// Factors between the typical and either end of figures that state no ends, by mark, as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UncertaintyFile {
    read: Field<f64>,
    secondary: Field<f64>,
    recall: Field<f64>,
    inference: Field<f64>,
    run: Field<f64>,
    assumed: Field<f64>,
}

/// Factors between the typical and either end, in the order of [`Mark::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Uncertainty([f64; 6]);

impl Uncertainty {
    /// Sources differ by a factor of two to three for one operation: half of that either way for what was seen, more for
    /// what was recalled or computed, the whole for what was chosen. CACTI 7 is within a factor of two of Horowitz (ISSCC
    /// 2014) at 45 nm.
    pub(crate) const DEFAULT: Uncertainty = Uncertainty([1.5, 1.5, 2.0, 2.0, 1.5, 3.0]);

    fn of(&self, mark: Mark) -> f64 {
        self.0[mark as usize]
    }
}

/// The factors of a table that gives none.
pub(crate) fn default_uncertainty(defaults: &mut Defaults) -> Uncertainty {
    let path = DottedPath::default().key("energy").key("uncertainty");
    let factors = Mark::NAMES.iter().zip(Uncertainty::DEFAULT.0).map(|((name, _), factor)| format!("{name}: {factor}"));
    let reason = "sources of one operation differ by a factor of two to three";
    defaults.record(&path, &factors.collect::<Vec<_>>().join(", "), reason);
    Uncertainty::DEFAULT
}

/// The factors of a table, those left out being [`Uncertainty::DEFAULT`]'s.
pub(crate) fn uncertainty(file: &UncertaintyFile) -> Result<Uncertainty, Diagnostic> {
    let fields = [&file.read, &file.secondary, &file.recall, &file.inference, &file.run, &file.assumed];
    let mut factors = Uncertainty::DEFAULT.0;
    for (factor, field) in factors.iter_mut().zip(fields) {
        if let Some(reading) = field.optional() {
            *factor = reading.in_range(1.0..=100.0)?;
        }
    }
    Ok(Uncertainty(factors))
}

/// What holds for every figure of a table.
pub(crate) struct Conditions<'a> {
    pub(crate) node_nm: Option<u64>,
    pub(crate) voltage: Option<f64>,
    pub(crate) uncertainty: Uncertainty,
    pub(crate) clock_hz: u64,
    /// Memories, whose capacity decides what an access and leakage cost where a figure says for which it is.
    pub(crate) memories: &'a [Memory],
}

/// What one action is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Macs,
    Elements,
    Cycles,
    Requests,
}

impl Unit {
    const ALL: [Unit; 5] = [Unit::Bytes, Unit::Macs, Unit::Elements, Unit::Cycles, Unit::Requests];

    fn key(self) -> &'static str {
        match self {
            Unit::Bytes => "per_bytes",
            Unit::Macs => "per_macs",
            Unit::Elements => "per_elements",
            Unit::Cycles => "per_cycles",
            Unit::Requests => "per_requests",
        }
    }

    fn amount(self, figure: &FigureFile) -> &Field<u64> {
        match self {
            Unit::Bytes => &figure.per_bytes,
            Unit::Macs => &figure.per_macs,
            Unit::Elements => &figure.per_elements,
            Unit::Cycles => &figure.per_cycles,
            Unit::Requests => &figure.per_requests,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Unit::Bytes => "bytes",
            Unit::Macs => "multiply-accumulates",
            Unit::Elements => "elements",
            Unit::Cycles => "cycles",
            Unit::Requests => "requests",
        })
    }
}

impl FigureFile {
    /// Whether it is a multiple of another figure.
    pub(crate) fn is_relative(&self) -> bool {
        self.ratio.is_some() || self.relative_to.is_given()
    }
}

/// The action and the record of a figure that stands for itself.
pub(crate) fn resolve(
    figure: &Placed<FigureFile>,
    conditions: &Conditions<'_>,
) -> Result<(String, EnergyRecord), Diagnostic> {
    let name = figure.name.required().text()?;
    let place = |field: &Field<f64>| field.is_given().then(|| field.place().clone());
    let (energy, power) = (place(&figure.energy_pj), place(&figure.power_mw));
    let is_power = exactly_one(figure, &[("energy_pj", energy.as_ref()), ("power_mw", power.as_ref())])? == 1;
    let unit = unit_of(figure, &name, is_power)?;
    let mark = figure.mark.required().one_of(&Mark::NAMES)?;
    let stated = one_line(&figure.source.required().text()?);
    let figure_node = figure.node_nm.optional().map(|reading| reading.in_range(1..=1000)).transpose()?;
    let voltage = figure.voltage.optional().map(|reading| reading.in_range(VOLTAGES)).transpose()?;

    let (typical, ends, most) = match is_power {
        false => (&figure.energy_pj, [&figure.low_pj, &figure.high_pj], MOST_PJ),
        true => (&figure.power_mw, [&figure.low_mw, &figure.high_mw], MOST_MW),
    };
    let typical_value = typical.required().beside_others().in_range(0.0..=most)?;
    let ends = band_around(figure, typical_value, ends, most)?;
    let figure_band = ends.unwrap_or_else(|| Band::within_factor(typical_value, conditions.uncertainty.of(mark)));
    let mut source = format!("{}: {stated} (", mark.name());
    let per_action = if is_power {
        source.push_str(&format!("{typical_value} mW"));
        // A milliwatt is 1e9 pJ a second.
        1e9 / conditions.clock_hz as f64
    } else {
        let amount = unit.amount(figure).required().in_range(1..=1 << 32)?;
        source.push_str(&format!("{typical_value} pJ per {amount} {unit}"));
        1.0 / amount as f64
    };
    if let Some(node) = figure_node {
        source.push_str(&format!(" at {node} nm"));
    }
    if let Some(voltage) = voltage {
        source.push_str(&format!(" and {voltage} V"));
    }
    let factor = factor(figure, figure_node, voltage, conditions, &mut source)?;
    let factor = factor.times(capacity_ratio(figure, &name, conditions.memories, &mut source)?);
    source.push(')');
    // Divided first: a figure per 64 bytes is so the same as one per byte.
    let per_action = if is_power { figure_band.times(per_action) } else { divided(figure_band, 1.0 / per_action) };
    Ok((name, EnergyRecord::new(per_action.by(factor), mark, source)))
}

fn divided(band: Band, by: f64) -> Band {
    let by = by.round();
    Band { low: band.low / by, typical: band.typical / by, high: band.high / by }
}

/// The stated ends around a typical value, if any are.
fn band_around(
    figure: &Placed<FigureFile>,
    typical: f64,
    [low, high]: [&Field<f64>; 2],
    most: f64,
) -> Result<Option<Band>, Diagnostic> {
    let other = [&figure.low_pj, &figure.high_pj, &figure.low_mw, &figure.high_mw];
    let is_of_typical = |field: &&Field<f64>| std::ptr::eq(*field, low) || std::ptr::eq(*field, high);
    if let Some(field) = other.into_iter().find(|field| field.is_given() && !is_of_typical(field)) {
        return Err(field.problem("an end of a range in another unit than the figure"));
    }
    if !low.is_given() && !high.is_given() {
        return Ok(None);
    }
    let low = low.required().beside_others().in_range(0.0..=typical)?;
    let high = high.required().beside_others().in_range(typical..=most)?;
    Ok(Some(Band { low, typical, high }))
}

/// What takes a figure to the node and the voltage of the table.
fn factor(
    figure: &Placed<FigureFile>,
    figure_node: Option<u64>,
    voltage: Option<f64>,
    conditions: &Conditions<'_>,
    source: &mut String,
) -> Result<Band, Diagnostic> {
    let nodes = figure_node.zip(conditions.node_nm);
    if let Some(scaled) = &figure.scaled {
        if let Some((from, to)) = nodes
            && !node_scaling::are_neighbours(from, to)
        {
            return Err(scaled
                .problem(format!("from {from} to {to} nm is more than one step"))
                .note("figures are scaled between neighbours of 45, 22, 16, 7 and 5 nm")
                .help("take a figure of a nearer node"));
        }
        return scaling(scaled, nodes, source);
    }
    if let Some((from, to)) = nodes
        && from != to
    {
        return Err(figure
            .node_nm
            .problem(format!("the figure is for {from} nm, but the table is for {to} nm"))
            .note("a figure of another node states how it is scaled")
            .help("add scaled: { by: FACTOR, reason: \"...\" }"));
    }
    match voltage.zip(conditions.voltage) {
        Some((from, to)) if from != to => {
            source.push_str(&format!("; times ({to} / {from})^2: the square of the voltage"));
            Ok(Band::exactly((to / from) * (to / from)))
        }
        Some(_) | None => Ok(Band::exactly(1.0)),
    }
}

/// What takes a figure of a memory to the capacity that the memory has.
fn capacity_ratio(
    figure: &FigureFile,
    name: &str,
    memories: &[Memory],
    source: &mut String,
) -> Result<f64, Diagnostic> {
    let Some(reading) = figure.for_capacity.optional() else { return Ok(1.0) };
    let from = reading.in_range(Bytes(1)..=Bytes(1 << 40))?;
    let Some((memory, is_access)) = memory_of(name) else {
        let message = format!("{} is no action of a memory on the chip", quoted(name));
        return Err(figure.for_capacity.problem(message).note("leave it out"));
    };
    let capacity = match memories.iter().find(|known| known.name == memory).map(|known| &known.kind) {
        Some(MemoryKind::Sram(sram)) => sram.capacity,
        Some(MemoryKind::Dram(_)) => {
            return Err(figure.for_capacity.problem("this memory is off the chip").note("leave it out"));
        }
        // A table may be shared, and is sound by itself.
        None => return Ok(1.0),
    };
    if capacity == from {
        return Ok(1.0);
    }
    let (ratio, rule) = if is_access {
        (access_energy_ratio(from.get(), capacity.get()), "the square root of the capacities' ratio")
    } else {
        (size_ratio(from.get(), capacity.get()), "the capacities' ratio")
    };
    source.push_str(&format!("; times {ratio:.3}: {rule}, {capacity} over {from}"));
    Ok(ratio)
}

/// The memory that reads, writes or leaks under that name, and whether it is an access.
fn memory_of(name: &str) -> Option<(&str, bool)> {
    let is_memory = |name: &&str| !UNITS_THAT_LEAK.contains(name);
    let access = ["read_", "write_"].into_iter().find_map(|verb| name.strip_prefix(verb));
    let leakage = name.strip_prefix("leakage_").filter(is_memory);
    access.map(|memory| (memory, true)).or(leakage.map(|memory| (memory, false)))
}

/// What leaks beside memories.
const UNITS_THAT_LEAK: [&str; 2] = ["matrix_units", "vector_units"];

/// The name of the figure, if it is one of `memory` that does not say for which capacity it is.
pub(crate) fn fixed_for(figure: &FigureFile, memory: &str) -> Option<String> {
    let name = figure.name.required().text().ok()?;
    let is_of_memory = memory_of(&name).is_some_and(|(known, _)| known == memory);
    (is_of_memory && !figure.is_relative() && !figure.for_capacity.is_given()).then_some(name)
}

fn scaling(scaled: &Placed<ScaledFile>, nodes: Option<(u64, u64)>, source: &mut String) -> Result<Band, Diagnostic> {
    const FACTORS: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
    let by = scaled.by.is_given().then(|| scaled.by.place());
    let equation = scaled.equation.is_given().then(|| scaled.equation.place());
    if exactly_one(scaled, &[("by", by), ("equation", equation)])? == 1 {
        scaled.equation.required().one_of(&[("logic_energy", ())])?;
        let (from, to) = nodes.ok_or_else(|| {
            scaled.equation.problem("an equation needs the node of the figure").note("write node_nm: beside the figure")
        })?;
        let factor = node_scaling::logic_energy(from, to).expect("the nodes were seen to be neighbours");
        source.push_str(&format!(
            "; times {:.3} ({:.3} to {:.3}): power law from {from} to {to} nm",
            factor.typical, factor.low, factor.high
        ));
        return Ok(factor);
    }
    let typical = scaled.by.required().in_range(FACTORS)?;
    let reason = one_line(&scaled.reason.required().text()?);
    let ends = [&scaled.low, &scaled.high];
    let factor = if ends.iter().any(|end| end.is_given()) {
        let low = scaled.low.required().beside_others().in_range(*FACTORS.start()..=typical)?;
        let high = scaled.high.required().beside_others().in_range(typical..=*FACTORS.end())?;
        Band { low, typical, high }
    } else {
        Band::exactly(typical)
    };
    source.push_str(&format!("; times {typical}: {reason}"));
    Ok(factor)
}

/// The records of a figure that is a multiple of another one, or of each multiply-accumulate.
pub(crate) fn resolve_relative(
    figure: &Placed<FigureFile>,
    records: &BTreeMap<String, EnergyRecord>,
) -> Result<Vec<(String, EnergyRecord)>, Diagnostic> {
    /// Stands for all format pairs, on both sides.
    const EACH: (&str, &str) = ("zero_mac", "mac");
    let name = figure.name.required().text()?;
    let base = figure.relative_to.required().text()?;
    let Some(ratio) = &figure.ratio else {
        return Err(figure
            .relative_to
            .problem("how much of it is missing")
            .note("write ratio: { low, typical, high }"));
    };
    let absolute = [&figure.energy_pj, &figure.power_mw].into_iter().find(|field| field.is_given());
    if let Some(field) = absolute {
        return Err(field.problem("a figure is a multiple of another one or stands for itself, not both"));
    }
    if let Some(scaled) = &figure.scaled {
        return Err(scaled.problem("a multiple has the node of what it is a multiple of"));
    }
    if figure.for_capacity.is_given() {
        return Err(figure.for_capacity.problem("a multiple follows what it is a multiple of").note("leave it out"));
    }
    let ratio = resolve_band(ratio)?;
    let mark = figure.mark.required().one_of(&Mark::NAMES)?;
    let stated = one_line(&figure.source.required().text()?);
    let record = |base: &str| {
        let of = records.get(base)?;
        let source = format!("{}: {stated} ({} times {base})", mark.name(), ratio.typical);
        let energy_pj = of.energy_pj.by(ratio);
        Some(EnergyRecord { energy_pj, relative_to: Some((base.to_owned(), ratio)), mark, source })
    };
    if (name.as_str(), base.as_str()) == EACH {
        let macs = records.keys().filter(|key| key.starts_with("mac_"));
        return Ok(macs.filter_map(|mac| Some((format!("zero_{mac}"), record(mac)?))).collect());
    }
    let name = known_action(&figure.name)?;
    match record(&base) {
        Some(record) => Ok(vec![(name, record)]),
        None => {
            let names: Vec<(&String, ())> = records.keys().map(|key| (key, ())).collect();
            figure.relative_to.required().beside_others().one_of(&names)?;
            unreachable!("a name without a record is not among those of the records")
        }
    }
}

pub(crate) fn resolve_band(file: &Placed<BandFile>) -> Result<Band, Diagnostic> {
    let typical = file.typical.required().in_range(0.0..=1e9)?;
    let low = file.low.required().beside_others().in_range(0.0..=typical)?;
    let high = file.high.required().beside_others().in_range(typical..=1e9)?;
    Ok(Band { low, typical, high })
}

/// The unit of an action, after a check that the figure is given in it.
fn unit_of(figure: &Placed<FigureFile>, name: &str, is_power: bool) -> Result<Unit, Diagnostic> {
    let unit = unit_of_action(&figure.name, name)?;
    let place = |unit: Unit| Some(unit.amount(figure)).filter(|amount| amount.is_given()).map(Cited::place);
    if is_power {
        if unit != Unit::Cycles || !is_by_time(name) {
            let message = format!("{} is counted in {unit}; only what leaks has a power", quoted(name));
            return Err(figure.power_mw.problem(message).note("write energy_pj"));
        }
        if let Some(given) = Unit::ALL.into_iter().find(|unit| place(*unit).is_some()) {
            return Err(given.amount(figure).problem("a power is per time already").note("leave it out"));
        }
        return Ok(unit);
    }
    let given = Unit::ALL.map(|unit| (unit.key(), place(unit)));
    let given = Unit::ALL[exactly_one(figure, &given)?];
    if given != unit {
        return Err(given
            .amount(figure)
            .problem(format!("{} is counted in {unit}, not in {given}", quoted(name)))
            .note(format!("use {}", unit.key())));
    }
    Ok(unit)
}

fn is_by_time(name: &str) -> bool {
    ["leakage_", "background_"].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
}

/// The name of an action that accelerators can do.
pub(crate) fn known_action(field: &Field<String>) -> Result<String, Diagnostic> {
    let name = field.required().text()?;
    unit_of_action(field, &name).map(|_| name)
}

fn unit_of_action(field: &Field<String>, name: &str) -> Result<Unit, Diagnostic> {
    // The one open set: memories are named by hardware files, which may share a table.
    let of_memory = ["read_", "write_"].iter().any(|verb| name.strip_prefix(verb).is_some_and(|rest| !rest.is_empty()));
    match (of_memory, is_by_time(name)) {
        (true, _) => Ok(Unit::Bytes),
        (_, true) => Ok(Unit::Cycles),
        (false, false) => field.required().one_of(&UNITS_BY_ACTION),
    }
}

/// Every action but those of memories, most usual ones first.
static UNITS_BY_ACTION: LazyLock<Vec<(String, Unit)>> = LazyLock::new(|| {
    let plain = |action: &Action| match action {
        Action::IdleMac | Action::GatedMac | Action::RegisterShift => Unit::Cycles,
        Action::DmaDescriptor | Action::DmaBurst => Unit::Requests,
        _ => Unit::Elements,
    };
    let mut units: Vec<(String, Unit)> =
        Action::PLAIN.iter().map(|action| (action.to_string(), plain(action))).collect();
    units.extend(VectorFunction::ALL.map(|function| (Action::Vector(function).to_string(), Unit::Elements)));
    for activation in FORMATS {
        for weight in FORMATS {
            units.push((Action::Mac { activation, weight }.to_string(), Unit::Macs));
            units.push((Action::ZeroMac { activation, weight }.to_string(), Unit::Macs));
        }
    }
    units
});
