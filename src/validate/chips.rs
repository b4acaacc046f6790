//! Published chips: area, energy per multiply-accumulate and rates, beside what the same machine is said to have here.
//!
//! These are sanity checks with wide bands, not a fit: no figure of an energy table comes from the rows that it is held
//! against, but for the array of TPUv4i, which shows that the accounting adds nothing to it. What a machine is here, and why a
//! band is as wide as it is, stands in `tests/oracles/chips/README.md`.

use std::path::Path;

use crate::config::defaults::Defaults;
use crate::config::document::Document;
use crate::config::source::Place;
use crate::config::{hardware, presets, scheme, workload};
use crate::hardware::band::Band;
use crate::report::data::{Configuration, Report};
use crate::simulation::{Setup, simulate};
use crate::timing::observer::Unobserved;
use crate::validate::report::ErrorStatistic;
use crate::validate::rows::{self, Row};
use crate::validate::{ValidateError, ValidationRow, ValidationSet};

/// The set `chips`.
pub struct Chips;

const SET: &str = "chips";

const COLUMNS: &[&str] = &[
    "chip",
    "clock_ghz",
    "macs",
    "on_chip_kb",
    "bandwidth_gb_s",
    "peak_tops",
    "power",
    "tops_per_w",
    "utilisation_or_throughput",
    "note",
];

/// Multiply-accumulates of a frame of ResNet-50 at 224 x 224 pixels, as the rows take it.
const RESNET_50_MACS: f64 = 4.1e9;

/// Multipliers of an NVDLA as kernels x channels that it takes at once. assumed: as square as powers of two allow, but for the
/// two that NVIDIA's specification files give.
const NVDLA: [(&str, (u64, u64)); 7] = [
    ("2048", (32, 64)),
    ("1024", (16, 64)),
    ("512", (16, 32)),
    ("256", (8, 32)),
    ("128", (8, 16)),
    ("64", (8, 8)),
    ("32", (4, 8)),
];

/// Ratios of ours to theirs, and how many of theirs lie between our low and high ends.
#[derive(Default)]
struct Banded {
    ratios: Vec<f64>,
    inside: u64,
}

impl Banded {
    fn add(&mut self, ours: Band, theirs: f64) {
        self.ratios.push(ours.typical / theirs);
        self.inside += u64::from((ours.low..=ours.high).contains(&theirs));
    }

    fn judged(&self, group: &str, bar: Option<f64>, why: &str) -> Option<ValidationRow> {
        let bar = bar.map(|bar| (ErrorStatistic::Worst, bar));
        let note = format!("{} of {} lie within our low and high ends{why}", self.inside, self.ratios.len());
        (!self.ratios.is_empty()).then(|| ValidationRow::of_ratios(SET, group, &self.ratios, bar, &note))
    }
}

#[derive(Default)]
struct Found {
    large_areas: Banded,
    small_areas: Banded,
    large_energies: Banded,
    small_energies: Banded,
    mx_rates: Vec<f64>,
    mx_energies: Banded,
    array_energies: Banded,
    peaks: Vec<f64>,
    others: Vec<String>,
}

impl ValidationSet for Chips {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "published chips: area, energy per multiply-accumulate, rates"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut found = Found::default();
        for row in rows::read(rows, COLUMNS)? {
            let chip = row.text("chip").to_owned();
            if let Some(macs) = chip.strip_prefix("NVDLA-") {
                found.nvdla(&row, macs)?;
            } else if chip.starts_with("SNAX") {
                found.mx_array(&row)?;
            } else if chip.starts_with("TPUv4i") {
                found.tpu(&row)?;
            } else if peak_rate(&row).is_none() {
                found.others.push(chip.clone());
            }
            found.peaks.extend(peak_rate(&row));
        }
        Ok(found.judged())
    }
}

impl Found {
    fn nvdla(&mut self, row: &Row, macs: &str) -> Result<(), ValidateError> {
        let (_, (kernels, channels)) = NVDLA.into_iter().find(|(known, _)| *known == macs).ok_or_else(|| {
            row.error(format!("known are NVDLA of {} multipliers", NVDLA.map(|(macs, _)| macs).join(", ")))
        })?;
        let kibibytes: u64 = row.number("on_chip_kb")?;
        let bandwidth: f64 = row.number("bandwidth_gb_s")?;
        let half = format!("{} KiB", kibibytes / 2);
        let report = run(
            row,
            "nvdla-large",
            &[
                ("matrix_units.0.dot_product_array.n", kernels.to_string()),
                ("matrix_units.0.dot_product_array.k", channels.to_string()),
                ("matrix_units.0.dot_product_array.sequencing.shortest_block_cycles", kernels.to_string()),
                ("memories.sram.sram.capacity", format!("{} KiB", kibibytes + 32)),
                ("memories.sram.sram.partitions.activations", half.clone()),
                ("memories.sram.sram.partitions.weights", half),
                ("memories.dram.dram.duplex.read_bytes_per_cycle", bandwidth.to_string()),
                ("memories.dram.dram.duplex.write_bytes_per_cycle", bandwidth.to_string()),
                ("energy.arrays.0.copies", (kibibytes / 32).max(1).to_string()),
            ],
            // The 3 x 3 convolutions of the fourth stage of ResNet-50: 14 x 14 pixels, 256 channels in and out.
            [14 * 14, 9 * 256, 256],
            "w8a8_static",
        )?;
        let area = report.energy.area_mm2.get("total").copied();
        let area = area.ok_or_else(|| row.error("the energy table of nvdla-large has no areas"))?;
        let theirs =
            number_before(row.text("note"), "16nm", " mm2").ok_or_else(|| row.error("no area at 16 nm in `note`"))?;
        let is_large = macs.parse::<u64>().is_ok_and(|macs| macs >= 512);
        let (areas, energies) = match is_large {
            true => (&mut self.large_areas, &mut self.large_energies),
            false => (&mut self.small_areas, &mut self.small_energies),
        };
        areas.add(area, theirs);
        let average = number_before(row.text("power"), "avg", " mW");
        let frames = number_before(row.text("utilisation_or_throughput"), "ResNet-50", " fps");
        let (average, frames) =
            average.zip(frames).ok_or_else(|| row.error("no average power in `power` or frames in the throughput"))?;
        // mW is 1e9 pJ a second.
        energies.add(body_pj_per_mac(&report), average * 1e9 / (frames * RESNET_50_MACS));
        Ok(())
    }

    fn mx_array(&mut self, row: &Row) -> Result<(), ValidateError> {
        let rates = slashed(row.text("peak_tops"));
        let efficiencies = slashed(row.text("tops_per_w"));
        let (Some(rates), Some(efficiencies)) = (rates, efficiencies) else {
            return Err(row.error("`peak_tops` and `tops_per_w` are to give MXINT8, MXFP8/6 and MXFP4 as A/B/C"));
        };
        let mut cycles = Vec::new();
        for (scheme, tops_per_watt) in ["mxint8", "mxfp8_e4m3", "mxfp4"].into_iter().zip(efficiencies) {
            let report = run(row, "mx-npu", &mx_overrides(), [128, 512, 128], scheme)?;
            cycles.push(report.layers.iter().map(|layer| layer.compute_cycles).sum::<u64>() as f64);
            // Two operations a multiply-accumulate.
            self.mx_energies.add(body_pj_per_mac(&report), 2.0 / tops_per_watt);
        }
        for (cycles_of, rate) in cycles.iter().zip(rates) {
            self.mx_rates.push(((cycles[0] / cycles_of) / (rate / rates[0]) - 1.0).abs());
        }
        Ok(())
    }

    fn tpu(&mut self, row: &Row) -> Result<(), ValidateError> {
        /// AccelForge, examples/arches/tpu_v4i.yaml, for one multiply-accumulate in an array.
        const ARRAY_PJ: f64 = 0.084;
        let report = run(row, "tpu-v4i-like", &[], [1024, 1024, 1024], "w8a8_static")?;
        let macs: u64 = report.totals.macs.values().sum();
        let array = report.energy.by_component_pj.get("matrix_units").copied().unwrap_or_default();
        self.array_energies.add(array.times(1.0 / macs as f64), ARRAY_PJ);
        Ok(())
    }

    fn judged(self) -> Vec<ValidationRow> {
        let small = "; most of these is fixed control and the post-processor, which no file describes";
        let whole = "; theirs are of a whole system with its processor and streamers, in a node that was not read";
        let mut judged: Vec<ValidationRow> = [
            self.large_areas.judged("NVDLA of 512 and more, area", Some(1.0), ""),
            self.small_areas.judged("NVDLA of 256 and less, area", None, small),
            self.large_energies.judged("NVDLA of 512 and more, energy per MAC on the chip", Some(2.0), ""),
            self.small_energies.judged("NVDLA of 256 and less, energy per MAC on the chip", None, small),
            self.mx_energies.judged("SNAX MX array, energy per MAC", None, whole),
            self.array_energies.judged("TPUv4i, energy per MAC in the arrays", Some(0.25), ""),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (group, errors, bar) in
            [("SNAX MX array, rates to one another", self.mx_rates, 0.05), ("peak rate", self.peaks, 0.02)]
        {
            if !errors.is_empty() {
                judged.push(ValidationRow::of_errors(SET, group, errors, ErrorStatistic::Worst, bar));
            }
        }
        if !self.others.is_empty() {
            let note = format!("no figure that a run gives: {}", self.others.join(", "));
            judged.push(ValidationRow::not_judged(SET, "other chips", self.others.len() as u64, &note));
        }
        judged
    }
}

/// The array of SNAX: 8 x 8 elements that multiply one pair of MXINT8, four of MXFP8 or MXFP6, eight of MXFP4 a cycle.
fn mx_overrides() -> Vec<(&'static str, String)> {
    let text = |text: &str| text.to_owned();
    let partitions = "{ activations: 32 KiB, weights: 32 KiB, outputs: 32 KiB, resident: 32 KiB }";
    vec![
        ("clock", text("500 MHz")),
        ("matrix_units.0.dot_product_array.m", text("8")),
        ("matrix_units.0.dot_product_array.n", text("8")),
        ("matrix_units.0.dot_product_array.k", text("1")),
        ("matrix_units.0.formats.3.macs_per_element_per_cycle", text("1")),
        ("matrix_units.0.formats.6.macs_per_element_per_cycle", text("4")),
        ("matrix_units.0.formats.8.macs_per_element_per_cycle", text("4")),
        ("matrix_units.0.formats.10.macs_per_element_per_cycle", text("8")),
        ("memories.sram.sram.capacity", text("128 KiB")),
        ("memories.sram.sram.partitions", text(partitions)),
        ("memories.accumulators.sram.capacity", text("64 KiB")),
        ("energy.arrays.0.size", text("64 KiB")),
        ("energy.arrays.0.banks", text("1")),
        ("energy.arrays.0.copies", text("2")),
        ("energy.arrays.1.copies", text("1")),
    ]
}

/// Energy of the product itself on the chip, a multiply-accumulate: arrays and on-chip memories, without vector units.
fn body_pj_per_mac(report: &Report) -> Band {
    let macs: u64 = report.totals.macs.values().sum();
    let of_product = ["matrix_units", "sram", "accumulators"];
    let body = report.energy.by_path.iter().filter(|path| path.path == "body");
    let parts = body.flat_map(|path| of_product.iter().filter_map(|component| path.by_component_pj.get(*component)));
    parts.copied().sum::<Band>().times(1.0 / macs as f64)
}

/// Deviation of a chip's stated peak from two operations a multiplier and cycle, where it states all three.
fn peak_rate(row: &Row) -> Option<f64> {
    let number = |column: &str| row.text(column).parse::<f64>().ok().filter(|value| *value > 0.0);
    let (macs, clock, peak) = (number("macs")?, number("clock_ghz")?, number("peak_tops")?);
    Some((2.0 * macs * clock / 1e3 / peak - 1.0).abs())
}

fn run(
    row: &Row,
    hardware_name: &str,
    overrides: &[(&str, String)],
    [m, k, n]: [u64; 3],
    scheme_name: &str,
) -> Result<Report, ValidateError> {
    let failed = |error: &dyn std::fmt::Display| row.error(error.to_string());
    let mut document = presets::open_hardware(hardware_name).map_err(|error| failed(&error))?;
    for (path, value) in overrides {
        let place = Place::flag(format!("a chip, {path}={value}"));
        document.apply(path, value, &place).map_err(|error| failed(&error))?;
    }
    let npu = hardware::resolve(&document, &mut Defaults::default()).map_err(|error| failed(&error))?;
    let text = format!(
        "name: product\nactivation_format: fp32\n\
         tensors: [{{ name: x, shape: [{m}, {k}] }}, {{ name: w, shape: [{k}, {n}] }}]\n\
         layers: [{{ name: product, gemm: {{ input: x, weight: w }} }}]\n"
    );
    let document = Document::from_bytes("a chip's workload", text.as_bytes(), "").map_err(|error| failed(&error))?;
    let (workload, _) = workload::resolve(&document).map_err(|error| failed(&error))?;
    let document = presets::open_scheme(scheme_name).map_err(|error| failed(&error))?;
    let scheme = scheme::resolve(&document).map_err(|error| failed(&error))?;
    let calibration = crate::calibrate::assumed(&workload, scheme.calibration(), 0);
    let setup = Setup {
        npu: &npu,
        workload: &workload,
        scheme: scheme.as_ref(),
        calibration: (!scheme.calibration().is_empty()).then_some(&calibration),
        bindings: None,
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    simulate(setup, &mut Unobserved).map(|outcome| outcome.report).map_err(|error| failed(&error))
}

/// The number in `text` after `word` and before `unit`.
fn number_before(text: &str, word: &str, unit: &str) -> Option<f64> {
    let (_, after) = text.split_once(word)?;
    let (number, _) = after.split_once(unit)?;
    number.trim().parse().ok()
}

/// Three numbers parted by slashes; of a range its geometric mean.
fn slashed(text: &str) -> Option<[f64; 3]> {
    let number = |part: &str| match part.split_once('-') {
        None => part.trim().parse::<f64>().ok(),
        Some((low, high)) => Some((low.trim().parse::<f64>().ok()? * high.trim().parse::<f64>().ok()?).sqrt()),
    };
    let numbers: Option<Vec<f64>> = text.split('/').map(number).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Chips, number_before, slashed};
    use crate::validate::rows::tests::{check_refused, first_shipped_row, run_text, text_of};

    #[test]
    fn figures_are_read_out_of_their_words() {
        assert_eq!(number_before("peak 766 / avg 291 mW", "avg", " mW"), Some(291.0));
        assert_eq!(number_before("area 28nm 5.5 mm2, 16nm 3.3 mm2 with memories", "16nm", " mm2"), Some(3.3));
        assert_eq!(slashed("0.657/1.438-1.438/4.065"), Some([0.657, 1.438, 4.065]));
        assert_eq!(slashed("1/2"), None);
    }

    #[test]
    fn a_chip_twice_as_large_and_ten_times_as_hungry_misses_the_bands() {
        let row = first_shipped_row("chips/chips.csv");
        assert!(run_text(&Chips, &text_of(&row)).unwrap().passes());
        for (column, from, to) in
            [("note", "16nm 3.3", "16nm 33"), ("power", "avg 291", "avg 2910"), ("peak_tops", "4.", "5.")]
        {
            let mut changed = row.clone();
            let (_, cell) = changed.iter_mut().find(|(name, _)| name == column).unwrap();
            *cell = cell.replace(from, to);
            assert!(!run_text(&Chips, &text_of(&changed)).unwrap().passes(), "{column}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_run_is_an_error() {
        check_refused(&Chips, "chips/chips.csv", &[("chip", "NVDLA-48")], "known are NVDLA of 2048");
        check_refused(&Chips, "chips/chips.csv", &[("note", "no area")], "16 nm");
    }
}
