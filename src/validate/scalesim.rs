//! Stall-free cycles and buffer accesses of SCALE-Sim, a simulator of systolic arrays.
//!
//! Its folds are serial: the stationary operand enters row by row, the stream follows, and the skew of the full array
//! passes, however few elements have work. Two of its counts are corrected before they are compared, as the README beside
//! the rows says: it reports the index of the last cycle instead of their number, and adds rows + columns per fold to the
//! output writes of an output-stationary array. Its stall model is not compared.

use std::collections::BTreeMap;
use std::path::Path;

use crate::validate::rows::{self, Row};
use crate::validate::single_product::{self, FASTEST, PeerArray};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `scalesim`.
pub struct ScaleSim;

const SET: &str = "scalesim";

const COLUMNS: &[&str] = &[
    "M",
    "K",
    "N",
    "array_rows",
    "array_cols",
    "dataflow",
    "compute_cycles",
    "sram_ifmap_reads",
    "sram_filter_reads",
    "sram_ofmap_writes",
];

/// Its dataflows: ours, what their folds consist of, and whether outputs stay.
const DATAFLOWS: &[(&str, (&str, &str))] = &[
    ("os", ("output_stationary", "{ fill: full_array, drain: overlapped }")),
    ("ws", ("weight_stationary", "{ load: rows, fill: full_array }")),
    ("is", ("input_stationary", "{ load: rows, fill: full_array }")),
];

impl ValidationSet for ScaleSim {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "stall-free cycles and buffer accesses of SCALE-Sim 3.0.0"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<(String, u64, u64), Comparison> = BTreeMap::new();
        for row in rows::read(rows, COLUMNS)? {
            let (array_rows, columns) = (row.number("array_rows")?, row.number("array_cols")?);
            let group = (row.text("dataflow").to_owned(), array_rows, columns);
            let differences = differences(&row, array_rows, columns)?;
            let place = || format!("{}: {}", row.place(), differences.join(", "));
            groups.entry(group).or_default().record(differences.is_empty(), place);
        }
        let judged = groups.iter().map(|((dataflow, rows, columns), comparison)| {
            let mut row = ValidationRow::of_equality(SET, &format!("{dataflow} {rows}x{columns}"), comparison);
            let taken_off = if dataflow == "os" { "; without its rows + columns of writes per fold" } else { "" };
            let reasons = if row.note.is_empty() { String::new() } else { format!("; {}", row.note) };
            row.note = format!("its cycle index is counted from 0{taken_off}{reasons}");
            row
        });
        Ok(judged.collect())
    }
}

/// What of a row is not equal.
fn differences(row: &Row, array_rows: u64, columns: u64) -> Result<Vec<String>, ValidateError> {
    let (dataflow, serial_folds) = row.one_of("dataflow", DATAFLOWS)?;
    let array = PeerArray { rows: array_rows, columns, dataflow, serial_folds, dram_bytes_per_cycle: FASTEST };
    let shape = single_product::shape(row)?;
    let counts = single_product::run(row, shape, &array)?;
    let expected = |column: &str| row.number::<u64>(column).map(i128::from);
    let (inputs, filters) = (expected("sram_ifmap_reads")?, expected("sram_filter_reads")?);
    let counted_too_often = if dataflow == "output_stationary" {
        i128::from(shape.m.div_ceil(array_rows) * shape.n.div_ceil(columns)) * i128::from(array_rows + columns)
    } else {
        0
    };
    let compared = [
        ("cycles", counts.compute_cycles, expected("compute_cycles")? + 1),
        ("ifmap reads", counts.activation_reads, inputs),
        ("filter reads", counts.weight_reads, filters),
        ("reads counted by the run", counts.operand_reads, inputs + filters),
        ("ofmap writes", counts.sum_writes, expected("sram_ofmap_writes")? - counted_too_often),
    ];
    let differing = compared.iter().filter(|(_, found, expected)| i128::from(*found) != *expected);
    Ok(differing.map(|(what, found, expected)| format!("{what} {found}, not {expected}")).collect())
}

#[cfg(test)]
mod tests {
    use super::ScaleSim;
    use crate::validate::rows::tests::{check_refused, check_that_it_bites};

    #[test]
    fn every_compared_column_is_held_to_the_last_unit() {
        for column in ["compute_cycles", "sram_ifmap_reads", "sram_filter_reads", "sram_ofmap_writes"] {
            for file in ["scalesim/scalesim_calc.csv", "scalesim/scalesim_user.csv"] {
                check_that_it_bites(&ScaleSim, file, column);
            }
        }
    }

    #[test]
    fn a_row_that_no_file_could_describe_is_an_error() {
        check_refused(&ScaleSim, "scalesim/scalesim_calc.csv", &[("dataflow", "rs")], "os, ws, is");
        check_refused(&ScaleSim, "scalesim/scalesim_calc.csv", &[("array_rows", "0")], "rows");
        check_refused(&ScaleSim, "scalesim/scalesim_calc.csv", &[("K", "0")], "shape");
    }
}
