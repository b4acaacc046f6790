//! Cycles of ONNXim, a simulator of multi-core NPUs, on single products.
//!
//! Its totals are bands: it cuts tiles by a fixed rule and has a DRAM of its own, which is set here to the bandwidth that it
//! was observed to reach. Products with one row only stream their weights; the others also show how often it moves them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shape::GemmShape;
use crate::validate::report::ErrorStatistic;
use crate::validate::rows::{self, Row};
use crate::validate::single_product;
use crate::validate::whole_product::{self, Machine};
use crate::validate::{ValidateError, ValidationRow, ValidationSet};

/// The set `onnxim`.
pub struct OnnxIm;

const SET: &str = "onnxim";

const COLUMNS: &[&str] = &[
    "M",
    "K",
    "N",
    "array_rows",
    "array_cols",
    "dataflow",
    "spad_kb",
    "accum_spad_kb",
    "total_cycles",
    "dram_reads",
    "dram_writes",
];

const DATAFLOWS: &[(&str, &str)] = &[("ws", "weight_stationary")];

/// Bytes of one of its DRAM requests.
const REQUEST_BYTES: f64 = 32.0;

/// Ratios of a group.
#[derive(Default)]
struct Ratios {
    cycles: Vec<f64>,
    dram_bytes: Vec<f64>,
}

impl ValidationSet for OnnxIm {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "cycles of ONNXim on weight-stationary arrays with DDR4"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<(bool, u64, u64), Ratios> = BTreeMap::new();
        for row in rows::read(rows, COLUMNS)? {
            let (array_rows, columns): (u64, u64) = (row.number("array_rows")?, row.number("array_cols")?);
            let shape: GemmShape = single_product::shape(&row)?;
            let counts = whole_product::run(&row, shape, &machine(&row, array_rows, columns)?)?;
            let total: u64 = row.number("total_cycles")?;
            let requests: u64 = row.number::<u64>("dram_reads")?.saturating_add(row.number("dram_writes")?);
            if total == 0 || requests == 0 {
                return Err(row.error("`total_cycles`, or `dram_reads` and `dram_writes`, are 0"));
            }
            let group = groups.entry((shape.m > 1, array_rows, columns)).or_default();
            group.cycles.push(counts.total_cycles as f64 / total as f64);
            group.dram_bytes.push(counts.dram_bytes as f64 / (requests as f64 * REQUEST_BYTES));
        }
        let judged = groups.into_iter().map(|((has_several_rows, rows, columns), ratios)| {
            let (group, bar) = if has_several_rows {
                (format!("total, M > 1, {rows}x{columns}"), (ErrorStatistic::Median, 1.0))
            } else {
                (format!("total, M = 1, {rows}x{columns}"), (ErrorStatistic::Mean, 0.15))
            };
            let least = ratios.dram_bytes.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.dram_bytes.iter().copied().fold(0.0, f64::max);
            let note = format!("DRAM bytes {least:.3} to {most:.3} times theirs");
            ValidationRow::of_ratios(SET, &group, &ratios.cycles, Some(bar), &note)
        });
        Ok(judged.collect())
    }
}

fn machine(row: &Row, array_rows: u64, columns: u64) -> Result<Machine, ValidateError> {
    let dataflow = row.one_of("dataflow", DATAFLOWS)?;
    let kib = |column: &'static str| {
        let size: u64 = row.number(column)?;
        if (1..=1 << 20).contains(&size) {
            Ok(size << 10)
        } else {
            Err(row.error(format!("column `{column}` holds {size}; 1 to {} KiB can be run", 1 << 20)))
        }
    };
    let (scratchpad, accumulators) = (kib("spad_kb")?, kib("accum_spad_kb")?);
    Ok(Machine {
        array: (
            "systolic_array",
            format!("{{ rows: {array_rows}, columns: {columns}, dataflow: {dataflow}, double_buffered: true }}"),
        ),
        // Results of one byte leave the accumulators of four: they need room for a quarter.
        operand_bytes: [scratchpad / 2, scratchpad / 2, accumulators / 4],
        accumulator_bytes: accumulators,
        dram_bytes_per_cycle: "5.9",
        dram_latency_cycles: 50,
    })
}

#[cfg(test)]
mod tests {
    use super::OnnxIm;
    use crate::validate::rows::tests::{check_refused, first_shipped_row, run_text, text_of};

    #[test]
    fn totals_are_held_to_their_band() {
        let row = first_shipped_row("onnxim/onnxim.csv");
        assert!(run_text(&OnnxIm, &text_of(&row)).unwrap().passes());
        for total in ["10000", "60000"] {
            let mut changed = row.clone();
            changed.iter_mut().find(|(name, _)| name == "total_cycles").unwrap().1 = total.to_owned();
            assert!(!run_text(&OnnxIm, &text_of(&changed)).unwrap().passes(), "{total}");
        }
    }

    #[test]
    fn a_row_that_no_file_could_describe_is_an_error() {
        let file = "onnxim/onnxim.csv";
        check_refused(&OnnxIm, file, &[("dataflow", "os")], "known are ws");
        check_refused(&OnnxIm, file, &[("spad_kb", "0")], "spad_kb");
        check_refused(&OnnxIm, file, &[("total_cycles", "0")], "total_cycles");
    }
}
