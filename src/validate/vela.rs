//! Estimates of Vela, the offline compiler of Arm's Ethos-U, for fully connected layers.
//!
//! With one row such a layer streams its weights, and the totals are comparable. With more, Vela charges weight decoding to
//! the NPU, so that our stall-free cycles, which know no decoder, may not exceed its NPU cycles. By how much they stay
//! below, and how the totals compare, is shown and not judged.

use std::collections::BTreeMap;
use std::path::Path;

use crate::validate::report::ErrorStatistic;
use crate::validate::rows;
use crate::validate::single_product;
use crate::validate::whole_product::{self, Machine};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `vela`.
pub struct Vela;

const SET: &str = "vela";

const COLUMNS: &[&str] = &["M", "K", "N", "accelerator", "npu_cycles", "total_cycles"];

/// Its accelerators: sides of the dot units (rows, output channels, input channels), and bytes a cycle of the memory that
/// holds the weights.
const ACCELERATORS: &[(&str, ([u64; 3], &str))] = &[
    ("ethos-u55-256", ([4, 8, 8], "1")),
    ("ethos-u65-512", ([4, 16, 8], "3.75")),
    ("ethos-u85-256", ([4, 8, 8], "3.75")),
    ("ethos-u85-2048", ([8, 16, 16], "12")),
];

/// Ratios of an accelerator's rows.
#[derive(Default)]
struct Ratios {
    single: Vec<f64>,
    bound: Comparison,
    several_npu: Vec<f64>,
    several_total: Vec<f64>,
}

impl ValidationSet for Vela {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "estimates of Vela 5.2.0 for fully connected layers on Arm Ethos-U"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Ratios> = BTreeMap::new();
        for row in rows::read(rows, COLUMNS)? {
            let (sides, bytes_per_cycle) = row.one_of("accelerator", ACCELERATORS)?;
            let shape = single_product::shape(&row)?;
            let counts = whole_product::run(&row, shape, &machine(sides, bytes_per_cycle))?;
            let (npu, total): (u64, u64) = (row.number("npu_cycles")?, row.number("total_cycles")?);
            if npu == 0 || total == 0 {
                return Err(row.error("column `npu_cycles` or `total_cycles` is 0"));
            }
            let group = groups.entry(row.text("accelerator").to_owned()).or_default();
            let total_ratio = counts.total_cycles as f64 / total as f64;
            if shape.m == 1 {
                group.single.push(total_ratio);
            } else {
                let found = counts.compute_cycles;
                group.bound.record(found <= npu, || format!("{}: {found} cycles, more than its {npu}", row.place()));
                group.several_npu.push(found as f64 / npu as f64);
                group.several_total.push(total_ratio);
            }
        }
        let mut found = Vec::new();
        for (accelerator, ratios) in groups {
            let named = |what: &str| format!("{accelerator}, {what}");
            if ratios.bound.compared() > 0 {
                let mut row = ValidationRow::of_equality(SET, &named("NPU bound, M > 1"), &ratios.bound);
                let reasons = if row.note.is_empty() { String::new() } else { format!("; {}", row.note) };
                row.note = format!("ours may not exceed theirs, which wait for weight decoding{reasons}");
                found.push(row);
            }
            for (what, ratios, bar, note) in [
                ("total, M = 1", &ratios.single, Some((ErrorStatistic::Worst, 0.35)), ""),
                ("NPU, M > 1", &ratios.several_npu, None, "weight decoding is not modelled here"),
                ("total, M > 1", &ratios.several_total, None, UNLIKE_TOTALS),
            ] {
                if !ratios.is_empty() {
                    found.push(ValidationRow::of_ratios(SET, &named(what), ratios, bar, note));
                }
            }
        }
        Ok(found)
    }
}

/// Why totals of several rows are no match.
const UNLIKE_TOTALS: &str = "activations stay on the chip (U55; here they share one memory with the weights), or short writes \
                             are charged as whole bursts (U65, U85)";

fn machine([m, n, k]: [u64; 3], dram_bytes_per_cycle: &'static str) -> Machine {
    let parameters = format!("{{ m: {m}, n: {n}, k: {k}, pipeline_cycles: 0, weights: held_double_buffered }}");
    Machine {
        array: ("dot_product_array", parameters),
        operand_bytes: [192 << 10, 192 << 10, 128 << 10],
        accumulator_bytes: 512 << 10,
        dram_bytes_per_cycle,
        // DRAM of the U65 and U85 systems in `Arm/vela.ini`; flash answers sooner, which is nothing beside its rate.
        dram_latency_cycles: 500,
    }
}

#[cfg(test)]
mod tests {
    use super::Vela;
    use crate::validate::rows::tests::{check_refused, first_shipped_row, run_text, text_of};

    #[test]
    fn npu_cycles_of_several_rows_are_a_bound_and_their_totals_are_not() {
        // 16 x 4096 x 16 on 4 x 8 x 8: 4 row and 2 channel blocks of 512 steps, and one cycle for the first weights.
        for (column, cell, passes) in
            [("npu_cycles", "4097", true), ("npu_cycles", "4096", false), ("total_cycles", "1", true)]
        {
            let mut row = first_shipped_row("vela/vela.csv");
            row.iter_mut().find(|(name, _)| name == column).unwrap().1 = cell.to_owned();
            assert_eq!(run_text(&Vela, &text_of(&row)).unwrap().passes(), passes, "{column} {cell}");
        }
    }

    #[test]
    fn totals_of_one_row_are_held_to_their_band() {
        for (total, passes) in [("600000", true), ("1000000", false), ("400000", false)] {
            let mut row = first_shipped_row("vela/vela.csv");
            for (column, cell) in [("M", "1"), ("K", "768"), ("N", "768"), ("total_cycles", total)] {
                row.iter_mut().find(|(name, _)| name == column).unwrap().1 = cell.to_owned();
            }
            assert_eq!(run_text(&Vela, &text_of(&row)).unwrap().passes(), passes, "{total}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_compared_is_an_error() {
        check_refused(&Vela, "vela/vela.csv", &[("accelerator", "ethos-n78")], "known are ethos-u55-256");
        check_refused(&Vela, "vela/vela.csv", &[("npu_cycles", "0")], "npu_cycles");
    }
}
