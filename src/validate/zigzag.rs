//! Latencies of ZigZag, a mapping search with an analytical cost model, on its `tpu_like` hardware.
//!
//! Its stall-free cycles must be equal; its totals are a band, because it overlaps neither the first load nor the last
//! store with the product. The machine is spelled out in the README beside the rows.

use std::path::Path;

use crate::validate::report::ErrorStatistic;
use crate::validate::rows::{self, Row};
use crate::validate::single_product;
use crate::validate::whole_product::{self, Machine};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `zigzag`.
pub struct ZigZag;

const SET: &str = "zigzag";

const COLUMNS: &[&str] = &["M", "K", "N", "ideal_cycles", "total_cycles"];

const MIB: u64 = 1 << 20;

/// `tpu_like`: 128 bytes of weights in each of 32 x 32 elements, and 2 MiB for the rest.
fn machine() -> Machine {
    let folds = "{ load: hidden, fill: none }";
    Machine {
        array: (
            "systolic_array",
            format!(
                "{{ rows: 32, columns: 32, dataflow: weight_stationary, double_buffered: false, serial_folds: {folds} }}"
            ),
        ),
        operand_bytes: [MIB, 128 << 10, MIB],
        accumulator_bytes: 2 * MIB,
        dram_bytes_per_cycle: "8",
        dram_latency_cycles: 1,
    }
}

impl ValidationSet for ZigZag {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "latencies of ZigZag 3.9.1 on its tpu_like hardware"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let machine = machine();
        let mut ideal = Comparison::default();
        let (mut single, mut several) = (Vec::new(), Vec::new());
        for row in rows::read(rows, COLUMNS)? {
            let shape = single_product::shape(&row)?;
            let counts = whole_product::run(&row, shape, &machine)?;
            let expected = whole_cycles(&row, "ideal_cycles")?;
            let found = counts.compute_cycles;
            ideal.record(found == expected, || format!("{}: cycles {found}, not {expected}", row.place()));
            let ratio = counts.total_cycles as f64 / whole_cycles(&row, "total_cycles")? as f64;
            if shape.m == 1 { single.push(ratio) } else { several.push(ratio) }
        }
        let worst = |bar| Some((ErrorStatistic::Worst, bar));
        let bands = [("total, M = 1", single, worst(0.05)), ("total, M > 1", several, worst(1.0))];
        let bands = bands.into_iter().filter(|(_, ratios, _)| !ratios.is_empty());
        let bands = bands.map(|(group, ratios, bar)| ValidationRow::of_ratios(SET, group, &ratios, bar, ""));
        Ok(std::iter::once(ValidationRow::of_equality(SET, "stall-free", &ideal)).chain(bands).collect())
    }
}

/// A column of cycles, which this tool writes as `10273.0`.
fn whole_cycles(row: &Row, column: &'static str) -> Result<u64, ValidateError> {
    let cycles: f64 = row.number(column)?;
    if cycles >= 1.0 && cycles.fract() == 0.0 && cycles < 1e15 {
        Ok(cycles as u64)
    } else {
        Err(row.error(format!("column `{column}` holds {cycles}, not a whole number of cycles of at least 1")))
    }
}

#[cfg(test)]
mod tests {
    use super::ZigZag;
    use crate::validate::rows::tests::{check_refused, first_shipped_row, run_text, text_of};

    #[test]
    fn stall_free_cycles_are_held_to_the_last_one_and_totals_to_their_band() {
        let row = first_shipped_row("zigzag/zigzag.csv");
        assert!(run_text(&ZigZag, &text_of(&row)).unwrap().passes());
        for (column, cell) in [("ideal_cycles", "2049"), ("total_cycles", "2000"), ("total_cycles", "90000")] {
            let mut changed = row.clone();
            changed.iter_mut().find(|(name, _)| name == column).unwrap().1 = cell.to_owned();
            assert!(!run_text(&ZigZag, &text_of(&changed)).unwrap().passes(), "{column} {cell}");
        }
    }

    #[test]
    fn a_row_without_whole_cycles_is_an_error() {
        check_refused(&ZigZag, "zigzag/zigzag.csv", &[("total_cycles", "0")], "total_cycles");
        check_refused(&ZigZag, "zigzag/zigzag.csv", &[("ideal_cycles", "1.5")], "whole number");
    }
}
