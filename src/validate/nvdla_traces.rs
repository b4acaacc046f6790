//! Cycles of NVIDIA's own convolution tests on its NVDLA, simulated from its Verilog.

use std::collections::BTreeMap;
use std::path::Path;

use crate::validate::nvdla_rows::{Errors, MACHINE, QUEUED_BARS, axis, convolution, judged, run_row};
use crate::validate::rows;
use crate::validate::{ValidateError, ValidationRow, ValidationSet};

/// The set `nvdla-traces`.
pub struct NvdlaTraces;

const COLUMNS: &[&str] = &[
    "kind",
    "in_h",
    "in_w",
    "in_c",
    "kern_r",
    "kern_s",
    "stride_x",
    "stride_y",
    "pad_left",
    "pad_right",
    "pad_top",
    "pad_bottom",
    "dilation_x",
    "dilation_y",
    "out_h",
    "out_w",
    "out_k",
    "cycles_total",
    "cyc_weights_loaded",
    "cyc_data_loaded",
    "cyc_first_mac",
    "cyc_last_mac",
    "mac_issue_cycles",
];

impl ValidationSet for NvdlaTraces {
    fn name(&self) -> &'static str {
        "nvdla-traces"
    }

    fn origin(&self) -> &'static str {
        "NVIDIA's convolution trace tests on its NVDLA RTL"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Errors> = BTreeMap::new();
        for row in rows::read(rows, &[MACHINE, COLUMNS].concat())? {
            row.one_of("kind", &[("conv_vendor_trace", ())])?;
            let errors = groups.entry(row.text("config").to_owned()).or_default();
            let axis = |columns: [&str; 6]| axis(&row, columns);
            let y = axis(["in_h", "kern_r", "stride_y", "dilation_y", "pad_top", "pad_bottom"])?;
            let x = axis(["in_w", "kern_s", "stride_x", "dilation_x", "pad_left", "pad_right"])?;
            let run = run_row(&row, &[convolution(&row, y, x)?], None)?;
            errors.cycles(&row, "cycles_total", run.measured.layer_ends[0])?;
            errors.phases_of_layer(&row, &run.measured)?;
        }
        Ok(judged(self.name(), groups, QUEUED_BARS))
    }
}
