//! Cycles of single layers on NVIDIA's NVDLA, simulated from its Verilog in three configurations.
//!
//! The results of the smaller rows are computed as well, and compared with exact integers.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shape::GemmShape;
use crate::validate::accelerator_run::IntegerLayer;
use crate::validate::integer_values;
use crate::validate::nvdla_rows::{Errors, LAYER_BARS, MACHINE, MOST_COMPUTED, convolution, judged, run_row};
use crate::validate::rows::{self, Row};
use crate::validate::{ValidateError, ValidationRow, ValidationSet};
use crate::workload::convolution::WindowAxis;

/// The set `nvdla`.
pub struct Nvdla;

const COLUMNS: &[&str] = &[
    "kind",
    "m",
    "k",
    "n",
    "in_h",
    "in_w",
    "in_c",
    "kern_r",
    "kern_s",
    "stride",
    "pad",
    "out_h",
    "out_w",
    "out_k",
    "cycles_total",
    "cyc_weights_loaded",
    "cyc_data_loaded",
    "cyc_first_mac",
    "cyc_last_mac",
    "mac_issue_cycles",
    "read_beats_data",
    "read_beats_weight",
    "write_beats",
];

impl ValidationSet for Nvdla {
    fn name(&self) -> &'static str {
        "nvdla"
    }

    fn origin(&self) -> &'static str {
        "single layers on NVIDIA's NVDLA RTL, three configurations"
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let mut groups: BTreeMap<String, Errors> = BTreeMap::new();
        for row in rows::read(rows, &[MACHINE, COLUMNS].concat())? {
            let errors = groups.entry(row.text("config").to_owned()).or_default();
            let layer = single_layer(&row)?;
            let values = (layer.shape.macs() <= MOST_COMPUTED).then(|| integer_values::operands(&layer));
            let run = run_row(&row, &[layer], values.clone().map(|values| vec![values]))?;
            errors.cycles(&row, "cycles_total", run.measured.layer_ends[0])?;
            errors.phases_of_layer(&row, &run.measured)?;
            errors.beats(&row, &run)?;
            if let (Some(values), Some(output)) = (values, &run.measured.output) {
                let expected = integer_values::saturated_product(&layer, &values);
                let found = output.as_i8().unwrap_or_default();
                let differing = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
                let is_equal = differing == 0 && found.len() == expected.len();
                errors.results.record(is_equal, || format!("{}: {differing} elements", row.place()));
            }
        }
        Ok(judged(self.name(), groups, LAYER_BARS))
    }
}

fn single_layer(row: &Row) -> Result<IntegerLayer, ValidateError> {
    let shape = GemmShape::new(row.number("m")?, row.number("k")?, row.number("n")?);
    let is_convolution = row.one_of("kind", &[("gemm", false), ("conv", true)])?;
    if !is_convolution {
        return Ok(IntegerLayer { shape, window: None });
    }
    let axis = |input, kernel| {
        let (stride, pad) = (row.number("stride")?, row.number("pad")?);
        let axis = WindowAxis::try_new(row.number(input)?, row.number(kernel)?, stride, 1, [pad, pad]);
        axis.map_err(|error| row.error(error.to_string()))
    };
    let layer = convolution(row, axis("in_h", "kern_r")?, axis("in_w", "kern_s")?)?;
    if layer.shape != shape {
        return Err(row.error(format!("the convolution is a product of {}, not of m, k and n", layer.shape)));
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::Nvdla;
    use crate::shape::GemmShape;
    use crate::validate::accelerator_run::{self, IntegerLayer};
    use crate::validate::nvdla_pairs::NvdlaPairs;
    use crate::validate::nvdla_traces::NvdlaTraces;
    use crate::validate::rows::tests::{check_refused, first_shipped_row, run_text, text_of};
    use crate::validate::{ValidationRow, ValidationSet};

    /// The row of cycles after one shipped row, with other cells, has been run.
    fn cycles(set: &dyn ValidationSet, file: &str, cells: &[(&str, &str)]) -> ValidationRow {
        let mut row = first_shipped_row(file);
        for (column, cell) in cells {
            row.iter_mut().find(|(name, _)| name == column).unwrap().1 = (*cell).to_owned();
        }
        run_text(set, &text_of(&row)).unwrap().sets.remove(0)
    }

    #[test]
    fn a_shipped_row_of_each_set_is_within_two_percent_and_a_wrong_one_is_not() {
        let sets: [(&dyn ValidationSet, &str, &str); 3] = [
            (&Nvdla, "nvdla/nvdla_nv_small.csv", "cycles_total"),
            (&NvdlaPairs, "nvdla_pairs/nvdla_pairs.csv", "cycles_op2_done"),
            (&NvdlaTraces, "nvdla_traces/nvdla_vendor_traces.csv", "cycles_total"),
        ];
        for (set, file, column) in sets {
            let row = cycles(set, file, &[]);
            assert!(row.pass == Some(true) && row.worst_error.unwrap() < 0.02, "{}: {row:?}", set.name());
            assert_eq!(cycles(set, file, &[(column, "100")]).pass, Some(false), "{}", set.name());
        }
    }

    #[test]
    fn a_larger_weight_buffer_can_be_slower_as_in_the_rtl() {
        // 32 x 256 x 64, 1 and 28 banks for weights: the RTL takes 10193 and 10568 cycles (rows Pc004 and Pc010). Weights
        // of later groups that have room to come early take turns with the activations that all groups wait for.
        let product = IntegerLayer { shape: GemmShape::new(32, 256, 64), window: None };
        let cycles = |weights: &str| {
            let partition = |part: &str| format!("memories.sram.sram.partitions.{part}");
            let (activations, banks) = (partition("activations"), partition("weights"));
            let overrides = [(activations.as_str(), "8 KiB".to_owned()), (banks.as_str(), weights.to_owned())];
            let npu = accelerator_run::accelerator("nvdla-small", &overrides).unwrap();
            accelerator_run::run(&npu, &[product], None).unwrap().layer_ends[0]
        };
        let (small, large) = (cycles("4 KiB"), cycles("112 KiB"));
        assert!(small.abs_diff(10193) < 102 && large.abs_diff(10568) < 106 && small < large, "{small}, {large}");
    }

    #[test]
    fn rows_that_no_configuration_describes_are_errors() {
        let file = "nvdla/nvdla_nv_small.csv";
        check_refused(&Nvdla, file, &[("config", "nv_medium")], "nv_large");
        check_refused(&Nvdla, file, &[("kind", "pool")], "gemm, conv");
        check_refused(&Nvdla, file, &[("weight_banks", "0")], "weights");
        // 3 x 3 without padding over 9 x 11 pixels has 7 x 9 outputs.
        let convolution =
            [("kind", "conv"), ("in_h", "9"), ("in_w", "11"), ("kern_r", "3"), ("kern_s", "3"), ("out_h", "9")];
        check_refused(&Nvdla, file, &convolution, "7 x 9");
    }
}
