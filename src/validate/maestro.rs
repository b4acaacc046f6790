//! Runtimes of MAESTRO, an analytical cost model.
//!
//! Its folds are nothing but their streams: no load, no fill, no drain. Rows whose off-chip interface delivers what the
//! mapping asks for (`offchip_bw_elems_per_cycle` at least `offchip_bw_req_elems_per_cycle`) must be equal. On the others
//! it charges the working set of every step to that interface, as if nothing were reused on the chip; those are reported
//! beside a run on a machine that does reuse, and not judged.

use std::collections::BTreeMap;
use std::path::Path;

use crate::validate::report::ErrorStatistic;
use crate::validate::rows;
use crate::validate::single_product::{self, FASTEST, PeerArray};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `maestro`.
pub struct Maestro;

const SET: &str = "maestro";

const COLUMNS: &[&str] = &[
    "M",
    "K",
    "N",
    "num_pes",
    "cluster_size",
    "mapping",
    "offchip_bw_elems_per_cycle",
    "offchip_bw_req_elems_per_cycle",
    "runtime_cycles",
];

/// Its mappings: our dataflow, what its folds consist of, and whether a cluster lies along the rows of our array (or
/// along the columns).
const MAPPINGS: &[(&str, (&str, &str, bool))] = &[
    ("ws", ("weight_stationary", "{ load: hidden, fill: none }", true)),
    ("os", ("output_stationary", "{ fill: none, drain: overlapped }", false)),
];

impl ValidationSet for Maestro {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "runtimes of MAESTRO's analytical model, two mappings"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut unconstrained: BTreeMap<(String, u64, u64), Comparison> = BTreeMap::new();
        let mut constrained: BTreeMap<(String, u64, u64), Vec<f64>> = BTreeMap::new();
        for row in rows::read(rows, COLUMNS)? {
            let (dataflow, serial_folds, is_along_rows) = row.one_of("mapping", MAPPINGS)?;
            let (elements, cluster): (u64, u64) = (row.number("num_pes")?, row.number("cluster_size")?);
            if cluster == 0 || !elements.is_multiple_of(cluster) {
                return Err(
                    row.error(format!("num_pes ({elements}) are not whole clusters of cluster_size ({cluster})"))
                );
            }
            let clusters = elements / cluster;
            let (array_rows, columns) = if is_along_rows { (cluster, clusters) } else { (clusters, cluster) };
            let bandwidth: f64 = row.number("offchip_bw_elems_per_cycle")?;
            let required: f64 = row.number("offchip_bw_req_elems_per_cycle")?;
            let expected: u64 = row.number("runtime_cycles")?;
            let is_unconstrained = bandwidth >= required;
            let dram_bytes_per_cycle =
                if is_unconstrained { FASTEST } else { row.number("offchip_bw_elems_per_cycle")? };
            let array = PeerArray { rows: array_rows, columns, dataflow, serial_folds, dram_bytes_per_cycle };
            let counts = single_product::run(&row, single_product::shape(&row)?, &array)?;
            let group = (row.text("mapping").to_owned(), array_rows, columns);
            if is_unconstrained {
                let found = counts.compute_cycles;
                let place = || format!("{}: cycles {found}, not {expected}", row.place());
                unconstrained.entry(group).or_default().record(found == expected, place);
            } else if expected == 0 {
                return Err(row.error("column `runtime_cycles` is 0"));
            } else {
                constrained.entry(group).or_default().push(counts.total_cycles as f64 / expected as f64);
            }
        }
        let judged = unconstrained.iter().map(|((mapping, rows, columns), comparison)| {
            ValidationRow::of_equality(SET, &format!("{mapping} {rows}x{columns}"), comparison)
        });
        let bands = constrained.into_iter().map(|((mapping, rows, columns), ratios)| {
            band(&format!("{mapping} {rows}x{columns}, narrow interface"), &ratios)
        });
        Ok(judged.chain(bands).collect())
    }
}

/// A group of rows that are reported and not judged; `ratios` are our cycles over its.
fn band(group: &str, ratios: &[f64]) -> ValidationRow {
    let errors = ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let note = format!(
        "it moves every step's operands off the chip; here they are reused, activations enter and results leave in 4 \
         bytes; our cycles are {least:.3} to {most:.3} times its"
    );
    let mut row = ValidationRow::of_errors(SET, group, errors, ErrorStatistic::Worst, 0.0);
    (row.pass, row.note) = (None, note);
    row
}

#[cfg(test)]
mod tests {
    use super::Maestro;
    use crate::validate::rows::tests::{check_refused, check_that_it_bites, first_shipped_row, run_text, text_of};

    #[test]
    fn unconstrained_cycles_are_held_to_the_last_one() {
        check_that_it_bites(&Maestro, "maestro/maestro.csv", "runtime_cycles");
    }

    #[test]
    fn elements_that_are_no_whole_clusters_are_an_error() {
        check_refused(&Maestro, "maestro/maestro.csv", &[("cluster_size", "7")], "whole clusters");
        check_refused(&Maestro, "maestro/maestro.csv", &[("mapping", "is")], "known are ws, os");
    }

    #[test]
    fn a_row_with_a_narrow_interface_is_reported_as_a_ratio_and_not_judged() {
        let mut row = first_shipped_row("maestro/maestro.csv");
        for (column, cell) in [("offchip_bw_elems_per_cycle", "2"), ("runtime_cycles", "1")] {
            row.iter_mut().find(|(name, _)| name == column).unwrap().1 = cell.to_owned();
        }
        let report = run_text(&Maestro, &text_of(&row)).unwrap();
        assert!(report.passes() && report.sets[0].pass.is_none());
        assert!(report.sets[0].worst_error.unwrap() > 1.0 && report.sets[0].note.contains("times its"), "{report}");
    }

    #[test]
    fn an_array_that_is_not_square_lies_as_the_clusters_of_its_mapping() {
        // K along a cluster of 4 and N over 2 clusters: ceil(9/4) ceil(5/2) 7 cycles; N along a cluster and M over
        // clusters: ceil(7/2) ceil(5/4) 9. The rule is MAESTRO's for directives that spread one dimension each.
        for (mapping, cycles) in [("ws", 3 * 3 * 7), ("os", 4 * 2 * 9)] {
            let mut row = first_shipped_row("maestro/maestro.csv");
            let cycles = cycles.to_string();
            for (column, cell) in
                [("M", "7"), ("K", "9"), ("N", "5"), ("num_pes", "8"), ("cluster_size", "4"), ("mapping", mapping)]
            {
                row.iter_mut().find(|(name, _)| name == column).unwrap().1 = cell.to_owned();
            }
            row.iter_mut().find(|(name, _)| name == "runtime_cycles").unwrap().1 = cycles;
            let report = run_text(&Maestro, &text_of(&row)).unwrap();
            assert!(report.passes() && report.sets[0].compared == 1, "{report}");
        }
    }
}
