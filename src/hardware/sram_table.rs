//! Energy, leakage, area and access time of SRAM arrays, from 320 runs of CACTI 7 (commit 1ffd8dfb, scratch RAM, 350 K, ED^2
//! objective), and in between.
//!
//! A point of the table is given as it is. Between points each quantity is interpolated on logarithmic axes of size and
//! width. CACTI chooses the organisation of an array anew at every point, which no smooth curve follows; but it tends to
//! choose alike for other cells and nodes. So where the table has the point for others and not for the one that is asked
//! for, they give the shape: the ratio to each of them is interpolated from the nearest points that both have, and the
//! median of what they say is taken. Beyond the table's sizes and widths nothing is given here (`sram_array` continues it). The cell is the user's to name:
//! the leakage of two cells differs a thousandfold.

use std::sync::OnceLock;

use crate::numerics::real_functions::{exp, ln};

/// The runs, as a CSV table with a header.
const TABLE: &str = include_str!("../../hw-configs/energy/cacti7_sram.csv");

/// Quantities of an array.
const QUANTITIES: usize = 5;

/// A kind of array: everything but its size and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SramKind {
    /// Cell and periphery, as CACTI names them.
    pub cell: SramCell,
    /// Process node in nm.
    pub node_nm: u64,
    /// Banks.
    pub banks: u64,
    /// Whether there is a port for reads and one for writes beside the one for both.
    pub has_extra_ports: bool,
}

/// Transistors of the cells and their periphery (ITRS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SramCell {
    /// High performance: fast and leaking.
    HighPerformance,
    /// Low standby power: slower, with a thousandth of the leakage.
    LowStandbyPower,
}

impl SramCell {
    /// Every cell with its name in files.
    pub const NAMES: [(&'static str, SramCell); 2] =
        [("itrs-hp", SramCell::HighPerformance), ("itrs-lstp", SramCell::LowStandbyPower)];
}

/// Figures of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SramFigures {
    /// Energy of a read of the whole width, in pJ.
    pub read_pj: f64,
    /// Energy of a write of the whole width, in pJ.
    pub write_pj: f64,
    /// Leakage of each bank, in mW.
    pub leakage_mw_per_bank: f64,
    /// Area of all banks, in mm2.
    pub area_mm2: f64,
    /// Time of an access, in ns.
    pub access_ns: f64,
}

impl SramFigures {
    /// The figures in the order of [`SramFigures::NAMES`].
    pub const fn values(&self) -> [f64; QUANTITIES] {
        [self.read_pj, self.write_pj, self.leakage_mw_per_bank, self.area_mm2, self.access_ns]
    }

    /// What they are called, and the columns of the table that hold them.
    pub const NAMES: [(&'static str, &'static str); QUANTITIES] = [
        ("read energy", "read_pj"),
        ("write energy", "write_pj"),
        ("leakage", "leak_mw"),
        ("area", "area_mm2"),
        ("access time", "access_ns"),
    ];

    /// Each figure times a factor of its own.
    #[must_use]
    pub fn times(&self, factors: [f64; QUANTITIES]) -> SramFigures {
        let mut values = self.values();
        values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        SramFigures::of(values)
    }

    /// Each figure over that of `other`.
    pub fn over(&self, other: SramFigures) -> [f64; QUANTITIES] {
        let mut values = self.values();
        values.iter_mut().zip(other.values()).for_each(|(value, other)| *value /= other);
        values
    }

    const fn of([read_pj, write_pj, leakage_mw_per_bank, area_mm2, access_ns]: [f64; QUANTITIES]) -> SramFigures {
        SramFigures { read_pj, write_pj, leakage_mw_per_bank, area_mm2, access_ns }
    }
}

/// Why the table has no figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutsideTable {
    /// No run is of this kind.
    #[error("the CACTI table has no such arrays; it has 45, 32 and 22 nm, one bank or (from 1 MiB on) eight")]
    Kind,
    /// Beyond the runs of this kind.
    #[error(
        "{size_bytes} bytes of {width_bits} bits lie outside of the CACTI table, which has {sizes} bytes and {widths} bits"
    )]
    Range {
        /// Bytes asked for.
        size_bytes: u64,
        /// Bits asked for.
        width_bits: u64,
        /// What there is.
        sizes: String,
        /// What there is.
        widths: String,
    },
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A run of CACTI 7.
    Run,
    /// Between runs.
    Interpolated,
}

/// Figures of an array of `kind`.
///
/// # Errors
/// [`OutsideTable`] where no run is of this kind, or the array is smaller, larger, narrower or wider than all of them.
pub fn figures(kind: SramKind, size_bytes: u64, width_bits: u64) -> Result<(SramFigures, Origin), OutsideTable> {
    let table = table();
    match table.find(kind, size_bytes, width_bits) {
        Some(run) => Ok((SramFigures::of(run.values), Origin::Run)),
        None => Ok((interpolated(&table.runs, kind, size_bytes, width_bits)?, Origin::Interpolated)),
    }
}

/// Figures of a point of the table as they would be interpolated if it were not there; with `alone`, without a look at
/// other cells and nodes.
///
/// # Errors
/// As [`figures`], and for points at the table's rim that have nothing beyond them and, alone, no others to go by.
pub fn without_the_point(
    kind: SramKind,
    size_bytes: u64,
    width_bits: u64,
    alone: bool,
) -> Result<SramFigures, OutsideTable> {
    let is_kept = |run: &&Run| {
        let is_point = run.kind == kind && run.size_bytes == size_bytes && run.width_bits == width_bits;
        !is_point && (!alone || run.kind == kind)
    };
    let runs: Vec<Run> = table().runs.iter().filter(is_kept).copied().collect();
    interpolated(&runs, kind, size_bytes, width_bits)
}

#[derive(Clone, Copy, Debug)]
struct Run {
    kind: SramKind,
    size_bytes: u64,
    width_bits: u64,
    values: [f64; QUANTITIES],
}

struct Table {
    runs: Vec<Run>,
}

impl Table {
    fn find(&self, kind: SramKind, size_bytes: u64, width_bits: u64) -> Option<&Run> {
        find(&self.runs, kind, size_bytes, width_bits)
    }
}

fn find(runs: &[Run], kind: SramKind, size_bytes: u64, width_bits: u64) -> Option<&Run> {
    runs.iter().find(|run| run.kind == kind && run.size_bytes == size_bytes && run.width_bits == width_bits)
}

fn table() -> &'static Table {
    static READ: OnceLock<Table> = OnceLock::new();
    READ.get_or_init(|| Table { runs: parse(TABLE) })
}

fn parse(text: &str) -> Vec<Run> {
    let ours = "the table is part of this program and has this column";
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect(ours).split(',').collect();
    let column = |name: &str| header.iter().position(|known| *known == name).expect(ours);
    let run = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let whole = |name: &str| cells[column(name)].parse::<u64>().expect(ours);
        let cell = SramCell::NAMES.iter().find(|(name, _)| *name == cells[column("cell")]).expect(ours).1;
        let kind = SramKind {
            cell,
            node_nm: whole("tech_nm"),
            banks: whole("banks"),
            has_extra_ports: whole("excl_read_ports") > 0,
        };
        let values = SramFigures::NAMES.map(|(_, name)| cells[column(name)].parse().expect(ours));
        Run { kind, size_bytes: whole("size_bytes"), width_bits: whole("width_bits"), values }
    };
    lines.filter(|line| !line.is_empty()).map(run).collect()
}

fn interpolated(runs: &[Run], kind: SramKind, size: u64, width: u64) -> Result<SramFigures, OutsideTable> {
    let of_kind: Vec<&Run> = runs.iter().filter(|run| run.kind == kind).collect();
    if of_kind.is_empty() {
        return Err(OutsideTable::Kind);
    }
    let outside = || {
        let ends = |of: fn(&Run) -> u64| {
            let values = of_kind.iter().map(|run| of(run));
            format!("{} to {}", values.clone().min().unwrap_or(0), values.max().unwrap_or(0))
        };
        let (sizes, widths) = (ends(|run| run.size_bytes), ends(|run| run.width_bits));
        OutsideTable::Range { size_bytes: size, width_bits: width, sizes, widths }
    };
    let others: Vec<&Run> = runs
        .iter()
        .filter(|run| run.size_bytes == size && run.width_bits == width && is_alike(run.kind, kind))
        .collect();
    let mut values = [0.0; QUANTITIES];
    for (quantity, value) in values.iter_mut().enumerate() {
        let by_others = others.iter().filter_map(|other| like(runs, kind, other, quantity));
        let mut by_others: Vec<f64> = by_others.collect();
        let found = if by_others.is_empty() {
            between(&of_kind, size, width, quantity).ok_or_else(outside)?
        } else {
            median(&mut by_others)
        };
        *value = exp(found);
    }
    Ok(SramFigures::of(values))
}

/// Other cells and nodes of the same banks and ports.
fn is_alike(a: SramKind, b: SramKind) -> bool {
    a != b && a.banks == b.banks && a.has_extra_ports == b.has_extra_ports
}

/// The logarithm of a quantity where `other` has the point: the other's, and the median ratio at the nearest points that
/// both have, up and down in size and in width.
fn like(runs: &[Run], kind: SramKind, other: &Run, quantity: usize) -> Option<f64> {
    let ratio_at = |run: &&Run| {
        let theirs = find(runs, other.kind, run.size_bytes, run.width_bits)?;
        Some(ln(run.values[quantity] / theirs.values[quantity]))
    };
    let (size, width) = (other.size_bytes, other.width_bits);
    let mut ratios: Vec<f64> = Vec::new();
    let same_width = || runs.iter().filter(|run| run.kind == kind && run.width_bits == width);
    let same_size = || runs.iter().filter(|run| run.kind == kind && run.size_bytes == size);
    let nearest = [
        same_width().filter(|run| run.size_bytes < size).max_by_key(|run| run.size_bytes),
        same_width().filter(|run| run.size_bytes > size).min_by_key(|run| run.size_bytes),
        same_size().filter(|run| run.width_bits < width).max_by_key(|run| run.width_bits),
        same_size().filter(|run| run.width_bits > width).min_by_key(|run| run.width_bits),
    ];
    ratios.extend(nearest.into_iter().flatten().filter_map(|run| ratio_at(&run)));
    (!ratios.is_empty()).then(|| ln(other.values[quantity]) + median(&mut ratios))
}

/// The logarithm of a quantity from the runs around a point: along the size at each of the two nearest widths and then
/// across; where one of the four corners is missing, along the size and along the width through the point, their mean.
fn between(runs: &[&Run], size: u64, width: u64, quantity: usize) -> Option<f64> {
    let at = |size: u64, width: u64| {
        let run = runs.iter().find(|run| run.size_bytes == size && run.width_bits == width)?;
        Some(ln(run.values[quantity]))
    };
    let along_size = |width: u64| {
        let sizes = runs.iter().filter(|run| run.width_bits == width).map(|run| run.size_bytes);
        let (below, above) = around(sizes, size)?;
        Some(line(below, above, size, at(below, width)?, at(above, width)?))
    };
    let along_width = |size: u64| {
        let widths = runs.iter().filter(|run| run.size_bytes == size).map(|run| run.width_bits);
        let (below, above) = around(widths, width)?;
        Some(line(below, above, width, at(size, below)?, at(size, above)?))
    };
    let is_missing_inside =
        runs.iter().any(|run| run.size_bytes == size) && runs.iter().any(|run| run.width_bits == width);
    if is_missing_inside {
        let found: Vec<f64> = [along_size(width), along_width(size)].into_iter().flatten().collect();
        return (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64);
    }
    let (narrow, wide) = around(runs.iter().map(|run| run.width_bits), width)?;
    Some(line(narrow, wide, width, along_size(narrow)?, along_size(wide)?))
}

/// The nearest values at or below and at or above `wanted`.
fn around(values: impl Iterator<Item = u64> + Clone, wanted: u64) -> Option<(u64, u64)> {
    let below = values.clone().filter(|value| *value <= wanted).max()?;
    Some((below, values.filter(|value| *value >= wanted).min()?))
}

/// A straight line over the logarithm of `at`.
fn line(below: u64, above: u64, at: u64, low: f64, high: f64) -> f64 {
    if below == above {
        return low;
    }
    let share = ln(at as f64 / below as f64) / ln(above as f64 / below as f64);
    low + share * (high - low)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: SramKind = SramKind { cell: SramCell::LowStandbyPower, node_nm: 22, banks: 1, has_extra_ports: false };

    #[test]
    fn every_run_is_given_as_it_is() {
        assert_eq!(table().runs.len(), 320);
        for run in &table().runs {
            let (found, origin) = figures(run.kind, run.size_bytes, run.width_bits).unwrap();
            assert_eq!((found.values(), origin), (run.values, Origin::Run));
        }
    }

    #[test]
    fn half_way_between_two_runs_lies_their_geometric_mean() {
        let at = |size, width| figures(KIND, size, width).unwrap().0.values();
        // The size 4 : 1 is at its geometric middle at 2 : 1, but that is a run; 256 KiB and 512 KiB meet at 370728 bytes.
        let (low, high, middle) = (at(1 << 18, 128), at(1 << 19, 128), at(370_728, 128));
        for ((low, high), middle) in low.into_iter().zip(high).zip(middle) {
            assert!((middle / (low * high).sqrt() - 1.0).abs() < 1e-5, "{low} {middle} {high}");
        }
    }

    #[test]
    fn beyond_the_table_nothing_is_given() {
        let refused = figures(KIND, 4096, 128).unwrap_err().to_string();
        assert!(refused.contains("8192 to 8388608 bytes and 64 to 512 bits"), "{refused}");
        assert_eq!(figures(SramKind { node_nm: 7, ..KIND }, 8192, 128), Err(OutsideTable::Kind));
    }

    #[test]
    fn the_two_cells_differ_a_thousandfold_in_leakage() {
        let of = |cell| figures(SramKind { cell, node_nm: 45, ..KIND }, 1 << 20, 64).unwrap().0.leakage_mw_per_bank;
        assert!(of(SramCell::HighPerformance) > 1000.0 * of(SramCell::LowStandbyPower));
    }

    #[test]
    fn a_missing_point_takes_its_shape_from_its_siblings_and_at_the_rim_has_no_neighbours_of_its_own() {
        assert!(without_the_point(KIND, 8192, 64, false).is_ok());
        assert!(without_the_point(KIND, 8192, 64, true).is_err());
        assert!(without_the_point(KIND, 65536, 128, true).is_ok());
    }
}
