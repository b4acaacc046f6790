//! Cycles of two layers that are queued in both register groups of NVIDIA's NVDLA, simulated from its Verilog: what of the
//! second hides behind the first.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shape::GemmShape;
use crate::validate::accelerator_run::IntegerLayer;
use crate::validate::nvdla_rows::{Errors, MACHINE, QUEUED_BARS, judged, run_row};
use crate::validate::rows;
use crate::validate::{ValidateError, ValidationRow, ValidationSet};

/// The set `nvdla-pairs`.
pub struct NvdlaPairs;

const COLUMNS: &[&str] = &[
    "kind",
    "m1",
    "k1",
    "n1",
    "m2",
    "k2",
    "n2",
    "cycles_op1_done",
    "cycles_op2_done",
    "cyc_first_mac",
    "cyc_last_mac",
    "mac_issue_cycles",
    "read_beats_data",
    "read_beats_weight",
    "write_beats",
];

impl ValidationSet for NvdlaPairs {
    fn name(&self) -> &'static str {
        "nvdla-pairs"
    }

    fn origin(&self) -> &'static str {
        "pairs of queued layers on NVIDIA's NVDLA RTL"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Errors> = BTreeMap::new();
        for row in rows::read(rows, &[MACHINE, COLUMNS].concat())? {
            row.one_of("kind", &[("pair_pingpong", ())])?;
            let errors = groups.entry(row.text("config").to_owned()).or_default();
            let product = |[m, k, n]: [&str; 3]| -> Result<_, ValidateError> {
                let shape = GemmShape::new(row.number(m)?, row.number(k)?, row.number(n)?);
                Ok(IntegerLayer { shape, window: None })
            };
            let run = run_row(&row, &[product(["m1", "k1", "n1"])?, product(["m2", "k2", "n2"])?], None)?;
            errors.cycles(&row, "cycles_op1_done", run.measured.layer_ends[0])?;
            errors.cycles(&row, "cycles_op2_done", run.measured.layer_ends[1])?;
            errors.steps(&row, &run.measured)?;
            errors.beats(&row, &run)?;
        }
        Ok(judged(self.name(), groups, QUEUED_BARS))
    }
}
