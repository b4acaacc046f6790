//! Runs of CACTI 7: SRAM arrays by cell, node, banks, size and width.
//!
//! A row that is in the embedded table must come back as it is, and is then interpolated as if it were not there. A row
//! that is not in it is interpolated. Rows are read by their columns, so those of other sizes and widths are welcome.

use std::path::{Path, PathBuf};

use crate::hardware::sram_table::{Origin, SramCell, SramFigures, SramKind, figures, without_the_point};
use crate::validate::report::ErrorStatistic;
use crate::validate::rows::{self, Row};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `cacti`.
pub struct Cacti;

const SET: &str = "cacti";

/// The largest mean error of what is interpolated.
const BAR: f64 = 0.05;

const COLUMNS: &[&str] = &[
    "size_bytes",
    "width_bits",
    "tech_nm",
    "cell",
    "banks",
    "temp_k",
    "rw_ports",
    "excl_read_ports",
    "excl_write_ports",
    "access_ns",
    "read_pj",
    "write_pj",
    "leak_mw",
    "area_mm2",
];

impl ValidationSet for Cacti {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "SRAM arrays of CACTI 7: energy, leakage, area and access time"
    }

    fn shipped(&self) -> PathBuf {
        Path::new("hw-configs").join("energy").join("cacti7_sram.csv")
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut reproduced = Comparison::default();
        // Errors of each quantity: of rows that are not in the table, and of those that are, left out one at a time.
        let mut errors: [[Vec<f64>; SramFigures::NAMES.len()]; 3] = Default::default();
        for row in rows::read(rows, COLUMNS)? {
            let (kind, size, width) = array(&row)?;
            let mut expected = [0.0; SramFigures::NAMES.len()];
            for ((name, column), expected) in SramFigures::NAMES.iter().zip(&mut expected) {
                *expected = row.number(column)?;
                if *expected <= 0.0 {
                    return Err(row.error(format!("column `{column}` ({name}) is not positive")));
                }
            }
            let (found, origin) = figures(kind, size, width).map_err(|error| row.error(error.to_string()))?;
            let mut add = |group: usize, found: SramFigures| {
                for ((errors, found), expected) in errors[group].iter_mut().zip(found.values()).zip(expected) {
                    errors.push((found / expected - 1.0).abs());
                }
            };
            match origin {
                Origin::Interpolated => add(0, found),
                Origin::Run => {
                    for ((found, expected), (name, _)) in
                        found.values().into_iter().zip(expected).zip(SramFigures::NAMES)
                    {
                        let place = || format!("{}: {name} {found}, not {expected}", row.place());
                        reproduced.record(found.to_bits() == expected.to_bits(), place);
                    }
                    for (group, alone) in [(1, false), (2, true)] {
                        // A corner of the table has nothing around it; only its siblings tell.
                        if let Ok(found) = without_the_point(kind, size, width, alone) {
                            add(group, found);
                        }
                    }
                }
            }
        }
        let mut found = Vec::new();
        if reproduced.compared() > 0 {
            found.push(ValidationRow::of_equality(SET, "in the table", &reproduced));
        }
        let groups = ["interpolated", "left out", "left out, alone"].into_iter().zip(errors);
        for (position, (group, errors)) in groups.enumerate() {
            for ((name, _), errors) in SramFigures::NAMES.iter().zip(errors) {
                if errors.is_empty() {
                    continue;
                }
                let mut row =
                    ValidationRow::of_errors(SET, &format!("{group}, {name}"), errors, ErrorStatistic::Mean, BAR);
                if position == 2 {
                    (row.pass, row.bar) = (None, 0.0);
                    row.note =
                        "without a look at other cells and nodes; its neighbours are a factor of four apart".to_owned();
                }
                found.push(row);
            }
        }
        Ok(found)
    }
}

fn array(row: &Row) -> Result<(SramKind, u64, u64), ValidateError> {
    let ports: [u64; 3] = [row.number("rw_ports")?, row.number("excl_read_ports")?, row.number("excl_write_ports")?];
    let has_extra_ports = match ports {
        [1, 0, 0] => false,
        [1, 1, 1] => true,
        _ => return Err(row.error("known are one port for both, with or without one each for reads and writes")),
    };
    row.one_of("temp_k", &[("350", ())])?;
    let kind = SramKind {
        cell: row.one_of("cell", &SramCell::NAMES)?,
        node_nm: row.number("tech_nm")?,
        banks: row.number("banks")?,
        has_extra_ports,
    };
    Ok((kind, row.number("size_bytes")?, row.number("width_bits")?))
}

#[cfg(test)]
mod tests {
    use super::Cacti;
    use crate::validate::rows::tests::run_text;

    const HEADER: &str = "size_bytes,width_bits,tech_nm,cell,banks,temp_k,rw_ports,excl_read_ports,excl_write_ports,\
                          access_ns,cycle_ns,read_pj,write_pj,leak_mw,area_mm2,read_fj_per_bit";
    const FIRST: &str = "8192,64,45,itrs-lstp,1,350,1,0,0,1.0638,0.88626,6.137,7.8781,0.0015318,0.026267,95.891";

    fn run(row: &str) -> Result<crate::validate::ValidationReport, crate::validate::ValidateError> {
        run_text(&Cacti, &format!("{HEADER}\n{row}\n"))
    }

    #[test]
    fn a_row_of_the_table_must_come_back_to_the_last_digit() {
        assert_eq!(run(FIRST).unwrap().sets[0].differing, 0);
        let changed = run(&FIRST.replace("6.137", "6.138")).unwrap();
        assert_eq!((changed.sets[0].differing, changed.passes()), (1, false));
    }

    #[test]
    fn a_row_between_those_of_the_table_is_interpolated_and_held_to_the_bar() {
        // Sizes and energies between 8 KiB (6.137 pJ) and 16 KiB (11.61 pJ).
        let between = FIRST.replacen("8192", "12288", 1);
        let report = run(&between.replace("6.137", "8.92")).unwrap();
        let read = report.sets.iter().find(|row| row.group == "interpolated, read energy").unwrap();
        assert_eq!((read.pass, read.rows), (Some(true), 1), "{report}");
        assert!(!run(&between.replace("6.137", "3.0")).unwrap().passes());
    }

    #[test]
    fn a_row_that_cannot_be_looked_up_is_an_error() {
        for (from, to, word) in
            [("itrs-lstp", "sram", "known are"), (",1,0,0,", ",2,0,0,", "one port"), ("8192,", "4096,", "outside")]
        {
            let refused = run(&FIRST.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
