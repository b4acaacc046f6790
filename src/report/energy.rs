//! Where the energy of a run went, by component, by part of the work and by what the figures rest on.
//!
//! Low and high ends are sums of low and high ends: the widest that the figures allow, as if all were wrong the same way.
//! What a mark's share says is how much of the typical total rests on figures of that mark.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::energy::RunEnergy;
use crate::hardware::actions::Component;
use crate::hardware::band::Band;
use crate::hardware::energy_table::{EnergyTable, Mark, OperatingPoint};
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::Path;
use crate::report::data::Totals;

/// Records in the table of sensitivities.
const MOST_SENSITIVITIES: usize = 5;

/// Where the energy of a run went.
#[derive(Clone, Debug, Serialize)]
pub struct EnergyReport {
    /// Of the whole run, in pJ.
    pub total_pj: Band,
    /// By component, in pJ.
    pub by_component_pj: BTreeMap<String, Band>,
    /// By part of the work, in pJ; parts that did nothing are left out.
    pub by_path: Vec<PathEnergy>,
    /// Share of the typical total that rests on figures of each mark.
    pub share_by_mark: BTreeMap<&'static str, f64>,
    /// Share of the typical total that rests on figures that were recalled, computed from others or chosen.
    pub weak_share: f64,
    /// The records that move the total most between their low and high ends, the others being typical.
    pub sensitivities: Vec<SensitivityReport>,
    /// What was done, and what it cost.
    pub actions: Vec<ActionReport>,
    /// What was done and has no figure, on purpose.
    pub left_out: Vec<LeftOut>,
    /// How many products had an operand that is zero.
    pub zero_operands: ZeroOperands,
    /// Supply voltage, and the one that the figures are for.
    pub operating_point: OperatingPoint,
    /// Energy and area against what was done.
    pub efficiency: Efficiency,
    /// Area of the chip in mm2, by component and `total`; empty where the energy table has no areas.
    pub area_mm2: BTreeMap<String, Band>,
}

/// Energy of a part of the work.
#[derive(Clone, Debug, Serialize)]
pub struct PathEnergy {
    /// Which part.
    pub path: &'static str,
    /// In pJ.
    pub total_pj: Band,
    /// The same by component.
    pub by_component_pj: BTreeMap<String, Band>,
}

/// How the total hangs on one record.
#[derive(Clone, Debug, Serialize)]
pub struct SensitivityReport {
    /// Key of the record.
    pub record: String,
    /// The total in pJ with the record at its low end.
    pub low_total_pj: f64,
    /// The total in pJ with the record at its high end.
    pub high_total_pj: f64,
    /// The difference.
    pub swing_pj: f64,
    /// How the record came to be known.
    pub mark: Mark,
}

/// An action of the run.
#[derive(Clone, Debug, Serialize)]
pub struct ActionReport {
    /// Its key in the energy table.
    pub action: String,
    /// The component that it is booked to.
    pub component: String,
    /// How often it was done.
    pub times: u64,
    /// What all of them cost, in pJ.
    pub energy_pj: Band,
    /// How the figure came to be known.
    pub mark: Mark,
}

/// An action that costs nothing here.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Its key.
    pub action: String,
    /// How often it was done.
    pub times: u64,
    /// Why it has no figure.
    pub reason: String,
}

/// Products with a zero operand.
#[derive(Clone, Debug, Serialize)]
pub struct ZeroOperands {
    /// `values`: counted from the numbers of the run. `assumed`: numbers were not computed, so none was taken to be zero.
    pub from: &'static str,
    /// Multiply-accumulates with a zero operand.
    pub macs: u64,
    /// Of all useful ones.
    pub share: f64,
}

/// Energy and area against what was done. An operation is half a multiply-accumulate.
#[derive(Clone, Debug, Serialize)]
pub struct Efficiency {
    /// pJ of the whole run for each useful multiply-accumulate; absent where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pj_per_mac: Option<Band>,
    /// The same without memories off the chip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_chip_pj_per_mac: Option<Band>,
    /// Operations a second of the run over its power, in tera; low where energy is high.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tops_per_watt: Option<Band>,
    /// Operations a second over the chip's area, in tera; low where area is high.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tops_per_mm2: Option<Band>,
    /// Mean power in mW.
    pub power_mw: Band,
    /// Energy times time, in pJ s.
    pub energy_delay_pj_s: Band,
}

/// Builds the part of a report that is about energy.
pub fn energy_report(program: &Program, npu: &Npu, energy: &RunEnergy, totals: &Totals) -> EnergyReport {
    let table = npu.energy();
    let total = energy.total.total();
    let mut share_by_mark: BTreeMap<&'static str, f64> = BTreeMap::new();
    let (mut actions, mut left_out) = (Vec::new(), Vec::new());
    for (action, times) in energy.counts.iter() {
        let key = action.to_string();
        if let Some(reason) = table.reason_left_out(&key) {
            left_out.push(LeftOut { action: key, times, reason: reason.to_owned() });
        } else if let Some(record) = table.record(action) {
            let cost = record.energy_pj.times(times as f64);
            *share_by_mark.entry(record.mark.name()).or_default() += share(cost.typical, total.typical);
            let component = action.component().to_string();
            actions.push(ActionReport { action: key, component, times, energy_pj: cost, mark: record.mark });
        }
    }
    let is_weak = |name: &str| Mark::NAMES.iter().any(|(known, mark)| *known == name && mark.is_weak());
    let weak_share = share_by_mark.iter().filter(|(name, _)| is_weak(name)).map(|(_, share)| share).sum();
    EnergyReport {
        total_pj: total,
        by_component_pj: energy.total.bands().map(|(component, band)| (component.to_string(), band)).collect(),
        by_path: by_path(program, energy),
        share_by_mark,
        weak_share,
        sensitivities: sensitivities(table, energy, total),
        actions,
        left_out,
        zero_operands: zero_operands(energy, totals),
        operating_point: table.operating_point(),
        efficiency: efficiency(npu, energy, totals),
        area_mm2: areas(table),
    }
}

fn by_path(program: &Program, energy: &RunEnergy) -> Vec<PathEnergy> {
    let of_path = |path: Path| {
        let ops = program.ops.iter().zip(&energy.ops).filter(move |(op, _)| op.path == path);
        let mut by_component: BTreeMap<String, Band> = BTreeMap::new();
        for (component, band) in ops.flat_map(|(_, breakdown)| breakdown.bands()) {
            let sum = by_component.entry(component.to_string()).or_default();
            *sum = *sum + band;
        }
        (!by_component.is_empty()).then(|| PathEnergy {
            path: path.name(),
            total_pj: by_component.values().copied().sum(),
            by_component_pj: by_component,
        })
    };
    Path::ALL.into_iter().filter_map(of_path).collect()
}

fn sensitivities(table: &EnergyTable, energy: &RunEnergy, total: Band) -> Vec<SensitivityReport> {
    let mark_of = |key: &str| table.records().find(|(known, _)| *known == key).map_or(Mark::Assumed, |(_, it)| it.mark);
    let most = table.sensitivities(&energy.counts).into_iter().take(MOST_SENSITIVITIES);
    most.map(|found| SensitivityReport {
        low_total_pj: total.typical - found.down_pj,
        high_total_pj: total.typical + found.up_pj,
        swing_pj: found.swing_pj(),
        mark: mark_of(&found.key),
        record: found.key,
    })
    .collect()
}

fn zero_operands(energy: &RunEnergy, totals: &Totals) -> ZeroOperands {
    let macs = energy.zero_macs.as_ref().map_or(0, |macs| macs.iter().sum());
    let all: u64 = totals.macs.values().sum();
    let from = if energy.zero_macs.is_some() { "values" } else { "assumed" };
    ZeroOperands { from, macs, share: share(macs as f64, all as f64) }
}

fn efficiency(npu: &Npu, energy: &RunEnergy, totals: &Totals) -> Efficiency {
    let macs: u64 = totals.macs.values().sum();
    let total = energy.total.total();
    let dram = Component::Memory(npu.memory(npu.dram_id()).name.clone());
    let on_chip: Band = energy.total.bands().filter(|(component, _)| **component != dram).map(|(_, band)| band).sum();
    let seconds = totals.time_us * 1e-6;
    let has_macs = macs > 0;
    let tera_operations = 2.0 * macs as f64 / 1e12;
    let area = npu.energy().areas().total_mm2();
    let per_second = |band: Band| if seconds > 0.0 { band.times(1.0 / seconds) } else { Band::default() };
    Efficiency {
        pj_per_mac: has_macs.then(|| total.times(1.0 / macs as f64)),
        on_chip_pj_per_mac: has_macs.then(|| on_chip.times(1.0 / macs as f64)),
        // Operations a joule: 1e12 pJ.
        tops_per_watt: has_macs.then(|| over(tera_operations * 1e12, total)),
        tops_per_mm2: area.filter(|_| has_macs && seconds > 0.0).map(|area| over(tera_operations / seconds, area)),
        // A milliwatt is 1e9 pJ a second.
        power_mw: per_second(total).times(1e-9),
        energy_delay_pj_s: total.times(seconds),
    }
}

/// `value` over a band: the low end is that over the high end.
fn over(value: f64, band: Band) -> Band {
    Band { low: value / band.high, typical: value / band.typical, high: value / band.low }
}

fn areas(table: &EnergyTable) -> BTreeMap<String, Band> {
    let areas = table.areas();
    let components = areas.components.iter().map(|(component, record)| (component.to_string(), record.area_mm2));
    let overhead = areas.overhead.iter().map(|record| ("overhead".to_owned(), record.area_mm2));
    let total = areas.total_mm2().map(|total| ("total".to_owned(), total));
    components.chain(overhead).chain(total).collect()
}

fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Lines about energy for people.
pub fn facts(energy: &EnergyReport) -> Vec<String> {
    let band = |band: &Band| {
        format!("{} ({} to {})", figure(band.typical / 1e6), figure(band.low / 1e6), figure(band.high / 1e6))
    };
    let list = |items: Vec<String>| items.join(", ");
    let paths = energy.by_path.iter().map(|path| format!("{} {}", path.path, band(&path.total_pj))).collect();
    let marks = energy.share_by_mark.iter().map(|(mark, share)| format!("{mark} {:.1} %", share * 100.0)).collect();
    let moves = energy.sensitivities.iter().map(|it| {
        let (low, high) = (figure(it.low_total_pj / 1e6), figure(it.high_total_pj / 1e6));
        format!("{} {low} to {high} ({})", it.record, it.mark.name())
    });
    let mut facts = vec![
        format!("energy, typical (low to high) [uJ]: {}", band(&energy.total_pj)),
        format!("energy by part of the work [uJ]: {}", list(paths)),
        format!(
            "energy rests on figures: {}; recalled, inferred or assumed {:.1} %",
            list(marks),
            energy.weak_share * 100.0
        ),
        format!("total [uJ] with one figure at its low or high end: {}", list(moves.collect())),
    ];
    let efficiency = &energy.efficiency;
    if let (Some(pj), Some(tops)) = (&efficiency.pj_per_mac, &efficiency.tops_per_watt) {
        let spread = |band: &Band| format!("{} ({} to {})", figure(band.typical), figure(band.low), figure(band.high));
        let area = efficiency.tops_per_mm2.as_ref().map(|band| format!(", {} TOPS/mm2", spread(band)));
        facts.push(format!(
            "efficiency: {} pJ a multiply-accumulate, {} TOPS/W{}, {} mW, energy x delay {:.4e} pJ s",
            spread(pj),
            spread(tops),
            area.unwrap_or_default(),
            spread(&efficiency.power_mw),
            efficiency.energy_delay_pj_s.typical
        ));
    }
    let zero = &energy.zero_operands;
    facts.push(match zero.from {
        "values" => format!("products with a zero operand: {} ({:.1} %)", zero.macs, zero.share * 100.0),
        _ => "products with a zero operand: not known without numbers, so all cost as full ones".to_owned(),
    });
    if !energy.left_out.is_empty() {
        let names = energy.left_out.iter().map(|it| format!("{} ({} times)", it.action, it.times)).collect();
        facts.push(format!("without a figure, so at no cost: {}", list(names)));
    }
    facts
}

/// Four significant digits.
fn figure(value: f64) -> String {
    let digits = [1000.0, 100.0, 10.0, 1.0, 0.1, 0.01].iter().position(|least| value.abs() >= *least).unwrap_or(6);
    format!("{value:.digits$}")
}
