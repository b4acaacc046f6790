//! Figures that an independent program measured on the real layer.

use std::path::Path;

use serde_json::Value;

/// Asserts that the four matrix products of a report on `workloads/minilm-layer.yaml` have the SQNR that
/// `minilm_l3.expected.json` gives under `key`, within 0.1 dB. The file was made by an independent NumPy program (see
/// workloads/data/README.md); it leaves the bias out, as the report does.
pub(crate) fn assert_sqnr(report: &Value, key: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/data/minilm_l3.expected.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut compared = 0;
    for layer in report["layers"].as_array().unwrap() {
        let name = layer["name"].as_str().unwrap();
        let Some(expected) = expected[name][key].as_f64() else { continue };
        let found = layer["numerics"]["sqnr_db"].as_f64().unwrap();
        assert!((found - expected).abs() <= 0.1, "{key}, {name}: {found} dB, expected {expected} dB");
        compared += 1;
    }
    assert_eq!(compared, 4, "{key}");
}
