//! Calibration files: JSON, written by a calibration and read by a run.

use std::io::BufReader;
use std::path::Path;

use crate::config::diagnostics::ConfigError;
use crate::config::input_files;
use crate::config::output_file::{OutputFile, ResultFile};
use crate::workload::calibration::Calibration;

/// The calibration in the file at `path`.
///
/// # Errors
/// [`ConfigError::Read`] where it cannot be read or is no calibration; the reason has its line and column.
pub fn read(path: &Path) -> Result<Calibration, ConfigError> {
    let failure = |cause: std::io::Error| ConfigError::Read { path: path.to_path_buf(), cause };
    let text = input_files::read(path, input_files::MOST_BYTES).map_err(failure)?;
    serde_json::from_slice(&text).map_err(|problem| {
        let message = format!("it is no calibration: {problem}");
        failure(std::io::Error::new(std::io::ErrorKind::InvalidData, message))
    })
}

/// The file of a calibration; an earlier one is known by its form.
pub const FILE: ResultFile = ResultFile {
    noun: "a calibration",
    option: "--out",
    is_earlier: |file| serde_json::from_reader::<_, Calibration>(BufReader::new(file)).is_ok(),
};

/// Writes a calibration whole or not at all.
///
/// # Errors
/// As [`OutputFile::write`].
pub fn write(place: OutputFile, calibration: &Calibration) -> Result<(), ConfigError> {
    let text = serde_json::to_string_pretty(calibration).expect("a calibration has only names and finite numbers");
    place.write(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::calibration::{CalibrationRequest, Comparison, LayerCalibration, OutlierRule};

    #[test]
    fn what_was_written_is_read_back_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let rule = OutlierRule { threshold: 6.0, comparison: Comparison::Above };
        let request = CalibrationRequest { outliers: Some(rule), ..CalibrationRequest::default() };
        let layer = LayerCalibration { channels: 3, outliers: Some(vec![1]), ..LayerCalibration::default() };
        let calibration = Calibration { request, layers: [("fc1".to_owned(), layer)].into(), ..Calibration::default() };
        write(OutputFile::try_new(&path, FILE).unwrap(), &calibration).unwrap();
        assert_eq!(read(&path).unwrap(), calibration);
        std::fs::write(&path, "{\"request\": 3}").unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("it is no calibration") && refused.contains("line 1"), "{refused}");
    }
}
