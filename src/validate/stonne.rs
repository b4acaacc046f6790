//! Cycles of STONNE, which steps an output-stationary mesh cycle by cycle and checks the values it computes.
//!
//! Its folds are serial, pass the skew of the elements that have work only, and cost four cycles each, and one more where
//! both operands are handed on (several rows and several columns in use). It has no off-chip memory.

use std::collections::BTreeMap;
use std::path::Path;

use crate::validate::rows;
use crate::validate::single_product::{self, FASTEST, PeerArray};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `stonne`.
pub struct Stonne;

const SET: &str = "stonne";

const COLUMNS: &[&str] = &[
    "M",
    "K",
    "N",
    "array_rows",
    "array_cols",
    "dataflow",
    "distribution_bw_elems",
    "reduction_bw_elems",
    "total_cycles",
    "self_check_passed",
];

/// Its one dataflow: ours, and what its folds consist of.
const DATAFLOWS: &[(&str, (&str, &str))] =
    &[("os", ("output_stationary", "{ fill: used, drain: overlapped, overhead_cycles: 4, corner_cycles: 1 }"))];

impl ValidationSet for Stonne {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "cycles of STONNE's output-stationary mesh, stepped cycle by cycle"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<(String, u64, u64), Comparison> = BTreeMap::new();
        for row in rows::read(rows, COLUMNS)? {
            let (array_rows, columns) = (row.number::<u64>("array_rows")?, row.number::<u64>("array_cols")?);
            let comparison = groups.entry((row.text("dataflow").to_owned(), array_rows, columns)).or_default();
            if !row.one_of("self_check_passed", &[("True", true), ("False", false)])? {
                comparison.exclude(1, "its own check of the values failed");
                continue;
            }
            let networks = [
                ("distribution_bw_elems", array_rows.saturating_add(columns)),
                ("reduction_bw_elems", array_rows.saturating_mul(columns)),
            ];
            for (column, needed) in networks {
                if row.number::<u64>(column)? < needed {
                    return Err(row.error(format!(
                        "column `{column}` is below the {needed} elements that the mesh takes a cycle; a network that \
                         holds the mesh up is not modelled"
                    )));
                }
            }
            let (dataflow, serial_folds) = row.one_of("dataflow", DATAFLOWS)?;
            let array = PeerArray { rows: array_rows, columns, dataflow, serial_folds, dram_bytes_per_cycle: FASTEST };
            let found = single_product::run(&row, single_product::shape(&row)?, &array)?.compute_cycles;
            let expected: u64 = row.number("total_cycles")?;
            comparison.record(found == expected, || format!("{}: cycles {found}, not {expected}", row.place()));
        }
        let judged = groups.iter().map(|((dataflow, rows, columns), comparison)| {
            ValidationRow::of_equality(SET, &format!("{dataflow} {rows}x{columns}"), comparison)
        });
        Ok(judged.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Stonne;
    use crate::validate::rows::tests::{check_refused, check_that_it_bites, first_shipped_row, run_text, text_of};

    #[test]
    fn cycles_are_held_to_the_last_one() {
        check_that_it_bites(&Stonne, "stonne/stonne.csv", "total_cycles");
    }

    #[test]
    fn a_mesh_that_its_networks_hold_up_is_an_error() {
        check_refused(&Stonne, "stonne/stonne.csv", &[("distribution_bw_elems", "1")], "distribution_bw_elems");
        check_refused(&Stonne, "stonne/stonne.csv", &[("dataflow", "ws")], "known are os");
    }

    #[test]
    fn a_row_whose_values_the_peer_found_wrong_is_left_out_and_counted() {
        let mut row = first_shipped_row("stonne/stonne.csv");
        row.iter_mut().find(|(name, _)| name == "self_check_passed").unwrap().1 = "False".to_owned();
        let report = run_text(&Stonne, &text_of(&row)).unwrap();
        assert_eq!((report.sets[0].rows, report.sets[0].compared, report.sets[0].excluded), (1, 0, 1));
    }
}
