//! Calibration files: JSON, written by a calibration and read by a run.
//!
//! What a file says is held against what the scheme asks before anything is made of it, and cited where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::config::diagnostics::{ConfigError, Diagnostic, Problems, cut, listed, nearest};
use crate::config::dotted_path::DottedPath;
use crate::config::input_files;
use crate::config::output_file::{OutputFile, ResultFile};
use crate::config::source::{Place, Source};
use crate::workload::answer::Fault;
use crate::workload::calibration::{Calibration, CalibrationRequest};
use crate::workload::graph::Workload;
use crate::workload::layer::LayerOperation;

const REMEDY: &str = "make the file anew: npusim calibrate --workload WORKLOAD --scheme SCHEME --out FILE";

/// A calibration file with its text.
#[derive(Debug)]
pub struct CalibrationFile {
    source: Arc<Source>,
    calibration: Calibration,
}

impl CalibrationFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Read`] where it cannot be read; [`ConfigError::Invalid`] where it is no calibration.
    pub fn open(path: &Path) -> Result<CalibrationFile, ConfigError> {
        let text = input_files::read(path, input_files::MOST_BYTES)
            .map_err(|cause| ConfigError::Read { path: path.to_path_buf(), cause })?;
        CalibrationFile::from_bytes(path.display().to_string(), &text)
    }

    /// Reads `bytes`, cited under `name`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] where they are no calibration.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<CalibrationFile, ConfigError> {
        let source = Source::document(name, String::from_utf8_lossy(bytes), "");
        let calibration = serde_json::from_slice(bytes).map_err(|problem| {
            let (line, column) = (problem.line().max(1), problem.column().max(1));
            let text = problem.to_string();
            let message = text.strip_suffix(&format!(" at line {line} column {}", problem.column()));
            // The reader counts bytes.
            let line_text = source.text().split('\n').nth(line - 1).unwrap_or_default();
            let column = line_text.char_indices().filter(|(at, _)| at + 1 < column).count() + 1;
            let message = format!("this is no calibration: {}", message.unwrap_or(&text).escape_debug());
            Diagnostic::new(&Place::new(&source, line, column, 0), &DottedPath::default(), message).help(REMEDY)
        })?;
        Ok(CalibrationFile { source, calibration })
    }

    /// The calibration, if it answers what `scheme` asks for of `workload`.
    ///
    /// # Errors
    /// It answers another request, or entries of the workload's products are missing or impossible.
    pub fn answer(
        &self,
        scheme: &str,
        asked: &CalibrationRequest,
        workload: &Workload,
    ) -> Result<&Calibration, ConfigError> {
        if self.calibration.request != *asked {
            return Err(self.of_another_request(scheme, asked).into());
        }
        let mut problems = Problems::default();
        for layer in workload.layers() {
            let LayerOperation::Gemm(gemm) = &layer.operation else { continue };
            let Some(known) = self.calibration.layers.get(&layer.name) else { continue };
            known.faults(asked, gemm).iter().for_each(|fault| problems.push(self.fault(&layer.name, fault)));
        }
        problems.finish()?;
        Ok(&self.calibration)
    }

    /// The error of a file that answers another request.
    pub fn of_another_request(&self, scheme: &str, asked: &CalibrationRequest) -> Diagnostic {
        let given = self.calibration.request;
        self.problem(
            &[Step::Key("request")],
            format!("it answers {given}, but scheme `{}` asks for {asked}", cut(scheme)),
        )
        .help(REMEDY)
    }

    /// The error of an entry of `layer`.
    pub fn fault(&self, layer: &str, fault: &Fault) -> Diagnostic {
        let mut steps = vec![Step::Key("layers"), Step::Key(layer), Step::Key(fault.key)];
        steps.extend(fault.item.map(Step::Index));
        self.problem(&steps, fault.found.as_str()).note(format!("valid: {}", fault.valid)).help(REMEDY)
    }

    /// The error of a file that lacks `layer`, one of `products`.
    pub fn without_layer<'p>(&self, layer: &str, products: impl Iterator<Item = &'p str>) -> Diagnostic {
        let message = format!("layer `{}` is missing, and the scheme has to know its activations", cut(layer));
        let problem = self.problem(&[Step::Key("layers")], message);
        // A name that the workload has too was meant for another layer.
        let problem = match nearest(layer, self.without(products)) {
            Some(name) => problem.help(format!("the file has a layer `{}`", cut(name))),
            None => problem.note(format!("the file has: {}", listed(self.without(std::iter::empty())))),
        };
        problem.help(REMEDY)
    }

    /// What the file knows of layers that are not among `products`: it stays unused.
    pub fn unused<'p>(&self, products: impl Iterator<Item = &'p str> + Clone) -> Option<Diagnostic> {
        let unused = self.without(products.clone());
        let first = unused.first()?;
        let names = listed(unused.iter().copied());
        let message = format!("the workload has no product of this name, so these layers stay unused: {names}");
        let problem = self.problem(&[Step::Key("layers"), Step::Key(first)], message);
        // A name that the file has too was not misspelt.
        let lacking = products.filter(|product| !self.calibration.layers.contains_key(*product));
        Some(match nearest(first, lacking) {
            Some(name) => problem.help(format!("did you mean `{}`?", cut(name))),
            None => problem,
        })
    }

    /// The layers of the file that are not among `products`.
    fn without<'p>(&self, products: impl Iterator<Item = &'p str>) -> Vec<&str> {
        let products: BTreeSet<&str> = products.collect();
        self.calibration.layers.keys().map(String::as_str).filter(|layer| !products.contains(layer)).collect()
    }

    /// An error in the value that `steps` lead to, cited where it, or what lacks it, was written.
    fn problem(&self, steps: &[Step<'_>], message: impl Into<String>) -> Diagnostic {
        let path = steps.iter().fold(DottedPath::default(), |path, step| match step {
            Step::Key(key) => path.key((*key).to_owned()),
            Step::Index(index) => path.index(*index),
        });
        Diagnostic::new(&self.place(steps), &path, message)
    }

    fn place(&self, steps: &[Step<'_>]) -> Place {
        let text = self.source.text();
        let value = serde_json::from_str(text).map_or(text, |whole| found(whole, steps));
        // The value is a part of the text, so that where it begins is a difference of addresses.
        let start = (value.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let is_whole = !value.starts_with(['{', '[']);
        Place::new(&self.source, line, column, if is_whole { value.chars().count() } else { 1 })
    }
}

/// A step into a JSON text.
#[derive(Clone, Copy, Debug)]
enum Step<'s> {
    Key(&'s str),
    Index(usize),
}

/// The text that `steps` lead to, as far as they do.
fn found<'t>(whole: &'t RawValue, steps: &[Step<'_>]) -> &'t str {
    let Some((step, rest)) = steps.split_first() else { return whole.get() };
    let below = match step {
        Step::Key(key) => serde_json::from_str::<BTreeMap<String, &RawValue>>(whole.get())
            .ok()
            .and_then(|members| members.get(*key).copied()),
        Step::Index(index) => {
            serde_json::from_str::<Vec<&RawValue>>(whole.get()).ok().and_then(|items| items.get(*index).copied())
        }
    };
    below.map_or(whole.get(), |below| found(below, rest))
}

/// A calibration as the text of its file.
pub fn to_json(calibration: &Calibration) -> String {
    serde_json::to_string_pretty(calibration).expect("a calibration has only names and finite numbers") + "\n"
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
    place.write(to_json(calibration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::workload;
    use crate::workload::calibration::{Comparison, LayerCalibration, OutlierRule};

    fn asked() -> CalibrationRequest {
        let rule = OutlierRule { threshold: 6.0, comparison: Comparison::Above };
        CalibrationRequest { outliers: Some(rule), ..CalibrationRequest::default() }
    }

    /// A workload of one product with three input channels.
    fn fc1() -> Workload {
        let text = "name: w\nactivation_format: fp32\ntensors:\n  - { name: x, shape: [2, 3] }\n  - { name: w, shape: [3, 4] }\n\
                    layers:\n  - { name: fc1, gemm: { input: x, weight: w } }\n";
        let document = Document::from_bytes("w.yaml", text.as_bytes(), "").unwrap();
        workload::resolve(&document).unwrap().0
    }

    /// A file of one layer with that entry as its outliers.
    fn file(outliers: &str) -> Result<CalibrationFile, ConfigError> {
        let text = format!(
            "{{\n  \"request\": {{\"outliers\": {{\"threshold\": 6.0, \"comparison\": \"above\"}}}},\n  \"layers\": {{\n    \
             \"fc1\": {{\"channels\": 3, \"outliers\": {outliers}}}\n  }}\n}}\n"
        );
        CalibrationFile::from_bytes("c.json", text.as_bytes())
    }

    fn refused(outliers: &str) -> String {
        match file(outliers) {
            Err(error) => error.to_string(),
            Ok(file) => file.answer("muxq", &asked(), &fc1()).unwrap_err().to_string(),
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let layer = LayerCalibration { channels: 3, outliers: Some(vec![1]), ..LayerCalibration::default() };
        let layers = [("fc1".to_owned(), layer)].into();
        let calibration = Calibration { request: asked(), layers, ..Calibration::default() };
        write(OutputFile::try_new(&path, FILE).unwrap(), &calibration).unwrap();
        let read = CalibrationFile::open(&path).unwrap();
        assert_eq!(*read.answer("muxq", &asked(), &fc1()).unwrap(), calibration);
        let refused = CalibrationFile::from_bytes("c.json", b"{\"request\": 3}").unwrap_err().to_string();
        assert!(refused.starts_with("c.json:1:13: this is no calibration: invalid type: integer `3`"), "{refused}");
    }

    #[test]
    fn a_wrong_entry_is_cited_by_line_column_and_layer_with_what_was_found_and_what_is_valid() {
        let text = refused("[1, 2, 4]");
        assert!(text.starts_with("c.json:4:47: layers.fc1.outliers[2]: channel 4 does not exist"), "{text}");
        assert!(text.contains("^ valid: channels below 3 in ascending order"), "{text}");
        // An entry that is null is cited itself, one that is not there by the layer that lacks it.
        let missing = refused("null");
        assert!(missing.starts_with("c.json:4:40: layers.fc1.outliers: it is missing"), "{missing}");
        let absent = file("null").unwrap();
        let source = absent.source.text().replace(", \"outliers\": null", "");
        let absent = CalibrationFile::from_bytes("c.json", source.as_bytes()).unwrap();
        let missing = absent.answer("muxq", &asked(), &fc1()).unwrap_err().to_string();
        assert!(missing.starts_with("c.json:4:12: layers.fc1.outliers: it is missing"), "{missing}");
    }

    #[test]
    fn entries_of_other_types_are_refused_where_they_stand() {
        for outliers in
            ["\"1\"", "[\"1\"]", "[1.5]", "[-1]", "[[1]]", "{}", "true", "[null]", "[99999999999999999999]", "[1] x"]
        {
            let text = refused(outliers);
            assert!(text.starts_with("c.json:4:") && text.contains("this is no calibration"), "{outliers}: {text}");
        }
        let text = refused("[1], \"outliers\": [1]");
        assert!(text.contains("duplicate field `outliers`"), "{text}");
        let text = refused("[1]}, \"fc1\": {\"channels\": 3, \"outliers\": [1]");
        assert!(text.contains("layer `fc1` is there twice"), "{text}");
        let nested = "[".repeat(100_000);
        assert!(refused(&nested).contains("this is no calibration"));
    }

    #[test]
    fn a_file_for_another_request_is_refused_in_words() {
        let another = CalibrationRequest { range: true, ..CalibrationRequest::default() };
        let text = file("[1]").unwrap().answer("w8a8_static", &another, &fc1()).unwrap_err().to_string();
        let words = "it answers outliers (magnitude > 6), but scheme `w8a8_static` asks for a range";
        assert!(text.starts_with("c.json:2:14: request: ") && text.contains(words), "{text}");
    }

    #[test]
    fn a_layer_under_a_wrong_name_is_named_from_both_sides() {
        let file = file("[1]").unwrap();
        let missing = file.without_layer("fc_1", ["fc_1", "other"].into_iter()).to_string();
        assert!(
            missing.contains("layer `fc_1` is missing") && missing.contains("the file has a layer `fc1`"),
            "{missing}"
        );
        let unused = file.unused(["fc_1", "other"].into_iter()).unwrap().to_string();
        assert!(unused.contains("layers.fc1") && unused.contains("did you mean `fc_1`?"), "{unused}");
        assert!(file.unused(["fc1"].into_iter()).is_none());
    }
}
