//! The equal arrays that an on-chip memory is made of, from its capacity and its ports, and their figures, also where the
//! runs of CACTI end.
//!
//! A run has one bank or eight; the runs of eight serve for any number of banks. Two rules continue the runs: the wires
//! across an array grow with its side, so an access to a larger one costs the square root of the ratio of the sizes, and
//! leakage and area go with the size. From 1 MiB to 8 MiB the same rules are within a third of the runs themselves (a test).
//! Below the smallest run an access costs what it costs there, because decoders and sense amplifiers remain.

use crate::hardware::memory::Sram;
use crate::hardware::sram_table::{Origin, OutsideTable, SramFigures, SramKind, figures};
use crate::units::Rate;

/// Sizes of the runs of one bank, in bytes.
const SIZES: [u64; 2] = [8 << 10, 8 << 20];
/// Widths of the runs of one bank, in bits.
pub const WIDTHS: [u64; 2] = [64, 512];
/// Banks of the runs that have several.
const RUN_BANKS: u64 = 8;
/// Sizes of the runs with banks, in bytes.
const BANKED_SIZES: [u64; 2] = [1 << 20, 8 << 20];
/// Widths of the runs with banks, in bits.
const BANKED_WIDTHS: [u64; 2] = [128, 512];

/// What of an organisation somebody has chosen; the memory decides the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Bytes of one array.
    pub size_bytes: Option<u64>,
    /// Bits of an access to one array.
    pub width_bits: Option<u64>,
    /// Banks of one array.
    pub banks: Option<u64>,
    /// Equal arrays.
    pub copies: Option<u64>,
}

/// Equal arrays that make a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// Arrays.
    pub copies: u64,
    /// Bytes of each.
    pub size_bytes: u64,
    /// Bits of an access to one.
    pub width_bits: u64,
    /// Banks of each.
    pub banks: u64,
}

impl Organisation {
    /// The arrays of `memory`.
    ///
    /// The port is the wider of its two. A port that is wider than the widest word of the runs is served by several banks,
    /// or, where there is one bank, by several arrays side by side, unless an array's size or width is chosen; one that is
    /// narrower than the narrowest word reads a word for several cycles.
    pub fn of(memory: &Sram, chosen: Chosen) -> Organisation {
        let [narrowest, widest] = WIDTHS;
        let ports = [memory.read_bytes_per_cycle, memory.write_bytes_per_cycle].map(Rate::per_cycle);
        let port_bits = 8 * ports[0].max(ports[1]).round() as u64;
        let capacity = memory.capacity.get();
        let banks = chosen.banks.or(memory.banks).unwrap_or(1);
        let is_one_word = chosen.size_bytes.is_some() || chosen.width_bits.is_some() || banks > 1;
        let words = if is_one_word { 1 } else { port_bits.div_ceil(widest).max(1) };
        let copies = chosen.copies.unwrap_or(words);
        Organisation {
            copies,
            size_bytes: chosen.size_bytes.unwrap_or(capacity.div_ceil(copies)),
            width_bits: chosen.width_bits.unwrap_or(port_bits.div_ceil(copies).clamp(narrowest, widest)),
            banks,
        }
    }
}

/// What the figures of an array rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A run.
    Run,
    /// Runs around it.
    Between,
    /// Runs of one bank, times what banks cost where there are runs of both.
    OneBank,
    /// The nearest run, by the rules of this module.
    Beyond,
}

/// The kind of runs that serves for `kind`.
pub fn of_runs(kind: SramKind) -> SramKind {
    SramKind { banks: if kind.banks > 1 { RUN_BANKS } else { 1 }, ..kind }
}

/// Figures of one array: those of the runs where they reach, and what the rules make of them beyond. The leakage is that of
/// the whole array.
///
/// # Errors
/// [`OutsideTable`] where no run has the cell at that node, or the width is none of the runs'.
pub fn array_figures(kind: SramKind, size_bytes: u64, width_bits: u64) -> Result<(SramFigures, Basis), OutsideTable> {
    let kind = of_runs(kind);
    let is_banked = kind.banks > 1;
    let (sizes, widths) = if is_banked { (BANKED_SIZES, BANKED_WIDTHS) } else { (SIZES, WIDTHS) };
    let near = (size_bytes.clamp(sizes[0], sizes[1]), width_bits.clamp(widths[0], widths[1]));
    let is_inside = near == (size_bytes, width_bits);
    if !is_inside && !is_banked && near.1 != width_bits {
        return figures(kind, size_bytes, width_bits).map(|(found, _)| (found, Basis::Run));
    }
    let (found, origin) = figures(kind, near.0, near.1)?;
    let found = SramFigures { leakage_mw_per_bank: found.leakage_mw_per_bank * kind.banks as f64, ..found };
    match origin {
        Origin::Run if is_inside => Ok((found, Basis::Run)),
        Origin::Interpolated if is_inside => Ok((found, Basis::Between)),
        Origin::Run | Origin::Interpolated if is_banked => {
            let one_bank = SramKind { banks: 1, ..kind };
            let (whole, basis) = array_figures(one_bank, size_bytes, width_bits)?;
            let basis = if basis == Basis::Beyond { basis } else { Basis::OneBank };
            let (at_near, _) = array_figures(one_bank, near.0, near.1)?;
            Ok((whole.times(found.over(at_near)), basis))
        }
        Origin::Run | Origin::Interpolated => {
            let access = if size_bytes < near.0 { 1.0 } else { access_energy_ratio(near.0, size_bytes) };
            let share = size_ratio(near.0, size_bytes);
            Ok((found.times([access, access, share, share, access]), Basis::Beyond))
        }
    }
}

/// What an access costs in a memory of `to_bytes`, relative to one of `from_bytes` of the same kind: wires grow with the side
/// of the array.
pub fn access_energy_ratio(from_bytes: u64, to_bytes: u64) -> f64 {
    size_ratio(from_bytes, to_bytes).sqrt()
}

/// What leaks and what lies on the chip, of `to_bytes` relative to `from_bytes`.
pub fn size_ratio(from_bytes: u64, to_bytes: u64) -> f64 {
    to_bytes as f64 / from_bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::memory::Ports;
    use crate::hardware::sram_table::SramCell;
    use crate::units::{Bytes, Cycles, Rate};

    fn memory(capacity: u64, bytes_per_cycle: u64) -> Sram {
        let rate = Rate::whole(bytes_per_cycle).unwrap();
        Sram {
            capacity: Bytes(capacity),
            read_bytes_per_cycle: rate,
            write_bytes_per_cycle: rate,
            latency: Cycles(0),
            banks: None,
            ports: Ports::Dual,
            partitions: None,
        }
    }

    fn of(memory: Sram, chosen: Chosen) -> [u64; 4] {
        let Organisation { copies, size_bytes, width_bits, banks } = Organisation::of(&memory, chosen);
        [copies, size_bytes, width_bits, banks]
    }

    #[test]
    fn a_wide_port_is_arrays_side_by_side_or_banks_and_a_narrow_one_a_word() {
        let nothing = Chosen::default();
        assert_eq!(of(memory(1 << 20, 64), nothing), [1, 1 << 20, 512, 1]);
        // 128 bytes are two words of 512 bits; 160 bytes are three of 427.
        assert_eq!(of(memory(256 << 10, 128), nothing), [2, 128 << 10, 512, 1]);
        assert_eq!(of(memory(48 << 10, 160), nothing), [3, 16 << 10, 427, 1]);
        assert_eq!(of(memory(512, 4), nothing), [1, 512, 64, 1]);
        let banks = Chosen { banks: Some(8), ..nothing };
        assert_eq!(of(memory(4 << 20, 128), banks), [1, 4 << 20, 512, 8]);
        assert_eq!(of(Sram { banks: Some(16), ..memory(2 << 20, 64) }, nothing), [1, 2 << 20, 512, 16]);
        // The wider of the two ports.
        let write_bytes_per_cycle = Rate::whole(64).unwrap();
        assert_eq!(of(Sram { write_bytes_per_cycle, ..memory(1 << 20, 8) }, nothing), [1, 1 << 20, 512, 1]);
    }

    #[test]
    fn what_is_chosen_is_taken() {
        let nothing = Chosen::default();
        let copies = Chosen { copies: Some(16), width_bits: Some(512), ..nothing };
        assert_eq!(of(memory(544 << 10, 128), copies), [16, 34 << 10, 512, 1]);
        let size = Chosen { size_bytes: Some(64 << 10), width_bits: Some(128), copies: Some(2), ..nothing };
        assert_eq!(of(memory(1 << 20, 64), size), [2, 64 << 10, 128, 1]);
    }

    /// Every kind with one bank, of which the table has runs from 8 KiB to 8 MiB.
    fn kinds() -> impl Iterator<Item = SramKind> {
        let cells = [SramCell::HighPerformance, SramCell::LowStandbyPower];
        let kind = |cell, node_nm, banks| SramKind { cell, node_nm, banks, has_extra_ports: false };
        let of_cell =
            move |cell| [45, 32, 22].into_iter().flat_map(move |node| [1, 8].map(|banks| kind(cell, node, banks)));
        cells.into_iter().flat_map(of_cell)
    }

    #[test]
    fn the_rules_hold_within_the_runs_so_they_may_continue_them() {
        for kind in kinds() {
            for width in [128, 512] {
                let at = |size| array_figures(kind, size, width).unwrap().0.values();
                for from in [1 << 20, 2 << 20, 4 << 20] {
                    let (access, share) = (access_energy_ratio(from, 8 << 20), size_ratio(from, 8 << 20));
                    let factors = [access, access, share, share, access];
                    for ((from, to), factor) in at(from).into_iter().zip(at(8 << 20)).zip(factors) {
                        let ratio = from * factor / to;
                        assert!((0.75..1.34).contains(&ratio), "{kind:?} {width} bits: {ratio}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_quantity_falls_as_the_memory_grows_by_half_and_none_jumps_where_the_runs_end() {
        for kind in kinds() {
            let at = |size: u64| array_figures(kind, size, 512).unwrap();
            assert_eq!(at(64 << 20).1, Basis::Beyond);
            assert_eq!(at(4096).1, Basis::Beyond);
            // Decoders and sense amplifiers of the smallest run remain; half the cells leak half.
            assert_eq!(at(4096).0.read_pj, at(8192).0.read_pj);
            assert!((at(4096).0.leakage_mw_per_bank / at(8192).0.leakage_mw_per_bank - 0.5).abs() < 1e-12);
            // 64 MiB are eight times the largest run: sqrt(8) times the energy, eight times the leakage.
            let (largest, beyond) = (at(8 << 20).0, at(64 << 20).0);
            assert!((beyond.read_pj / largest.read_pj - 8f64.sqrt()).abs() < 1e-12);
            assert!((beyond.leakage_mw_per_bank / largest.leakage_mw_per_bank - 8.0).abs() < 1e-12);
            let mut size = 1024;
            while size < 1 << 30 {
                let (small, large) = (at(size).0, at(size * 2).0);
                assert!(large.read_pj >= small.read_pj && large.write_pj >= small.write_pj, "{kind:?} {size}");
                assert!(large.leakage_mw_per_bank > 1.4 * small.leakage_mw_per_bank, "{kind:?} {size}");
                assert!(large.area_mm2 > 1.2 * small.area_mm2, "{kind:?} {size}");
                size *= 2;
            }
        }
    }

    #[test]
    fn runs_of_eight_banks_serve_for_any_number_and_below_1_mib_in_the_shape_of_one_bank() {
        let kind = SramKind { cell: SramCell::LowStandbyPower, node_nm: 22, banks: 8, has_extra_ports: false };
        let of = |banks, size| array_figures(SramKind { banks, ..kind }, size, 512).unwrap();
        // CACTI 7: 0.0665 mW for each of eight banks of 1 MiB.
        assert!((of(8, 1 << 20).0.leakage_mw_per_bank - 8.0 * 0.0665).abs() < 1e-12);
        assert_eq!(of(16, 2 << 20), of(8, 2 << 20));
        // 128.01 pJ over 116.48 pJ at 1 MiB, times 72.896 pJ for one bank of 512 KiB: rows of the table.
        let (found, basis) = of(8, 512 << 10);
        let row = |start: &str| -> f64 {
            let table = include_str!("../../hw-configs/energy/cacti7_sram.csv");
            let row = table.lines().find(|row| row.starts_with(start)).unwrap();
            row.split(',').nth(11).unwrap().parse().unwrap()
        };
        let expected = row("524288,512,22,itrs-lstp,1,350,1,0,") * row("1048576,512,22,itrs-lstp,8,350,1,0,")
            / row("1048576,512,22,itrs-lstp,1,350,1,0,");
        assert_eq!(basis, Basis::OneBank);
        assert!((found.read_pj / expected - 1.0).abs() < 1e-12, "{found:?} {expected}");
    }

    #[test]
    fn a_width_or_a_node_without_runs_is_refused() {
        let kind = SramKind { cell: SramCell::LowStandbyPower, node_nm: 22, banks: 1, has_extra_ports: false };
        assert!(array_figures(kind, 1 << 20, 1024).is_err());
        assert!(array_figures(SramKind { node_nm: 7, ..kind }, 1 << 20, 512).is_err());
        assert!(array_figures(SramKind { node_nm: 7, banks: 8, ..kind }, 1 << 20, 512).is_err());
    }
}
