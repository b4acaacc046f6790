//! `layers.csv`: one line per layer, units in the column names.

use crate::report::data::{LayerNumerics, LayerReport, Report};

const COLUMNS: [&str; 27] = [
    "layer",
    "start_cycle",
    "end_cycle",
    "cycles",
    "attributed_cycles",
    "compute_cycles",
    "stall_cycles",
    "macs",
    "issued_macs",
    "dram_read_bytes",
    "dram_write_bytes",
    "constant_bytes",
    "energy_pj",
    "energy_low_pj",
    "energy_high_pj",
    "sqnr_db",
    "max_abs_error",
    "relative_error",
    "cosine",
    "sqnr_with_bias_db",
    "spilled_bytes",
    "filled_bytes",
    "under_way_cycles",
    "overflowed_sums",
    "clipped_values",
    "non_finite_values",
    "left_out_values",
];

/// The layers as CSV. Figures that a run did not produce are empty.
pub fn to_csv(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let into_memory = "writing to memory does not fail";
    writer.write_record(COLUMNS).expect(into_memory);
    for layer in &report.layers {
        writer.write_record(record(layer)).expect(into_memory);
    }
    String::from_utf8(writer.into_inner().expect(into_memory)).expect("names and numbers are text")
}

fn record(layer: &LayerReport) -> [String; COLUMNS.len()] {
    let error = layer.numerics.map(|numerics| numerics.error);
    let with_bias = layer.numerics.and_then(|numerics| numerics.with_bias);
    let count = |of: fn(&LayerNumerics) -> u64| layer.numerics.as_ref().map(|numerics| of(numerics).to_string());
    let count = |of| count(of).unwrap_or_default();
    let figure = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        layer.name.clone(),
        layer.start_cycle.to_string(),
        layer.end_cycle.to_string(),
        layer.cycles.to_string(),
        layer.attributed_cycles.to_string(),
        layer.compute_cycles.to_string(),
        layer.stall_cycles.values().sum::<u64>().to_string(),
        layer.macs.to_string(),
        layer.issued_macs.to_string(),
        layer.dram_read_bytes.to_string(),
        layer.dram_write_bytes.to_string(),
        layer.constant_bytes.to_string(),
        layer.energy_pj.to_string(),
        layer.energy_low_pj.to_string(),
        layer.energy_high_pj.to_string(),
        figure(error.map(|error| error.sqnr_db)),
        figure(error.map(|error| error.max_abs_error)),
        figure(error.map(|error| error.relative_error)),
        figure(error.map(|error| error.cosine)),
        figure(with_bias.map(|error| error.sqnr_db)),
        layer.spilled_bytes.to_string(),
        layer.filled_bytes.to_string(),
        layer.under_way_cycles.to_string(),
        count(|numerics| numerics.overflowed_sums),
        count(|numerics| numerics.clipped_values),
        count(|numerics| numerics.non_finite_values),
        count(|numerics| numerics.error.left_out_values),
    ]
}
