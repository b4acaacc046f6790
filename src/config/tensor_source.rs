//! Where a tensor says that its values come from.
//!
//! ```yaml
//! - { name: x, shape: [128, 768], safetensors: model.safetensors, entry: layer.0.x }   # entry: the name, if left out
//! - { name: x, shape: [128, 768], npy: x.npy }
//! - name: x
//!   shape: [128, 768]
//!   generate:
//!     distribution: normal
//!     mean: 0
//!     std: 1
//!     seed: 7
//!     outliers: { channels: 8, magnitude: 20, persistence: 0.9 }    # or channels: 0.01 of the columns
//! ```

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
use crate::config::field::Field;
use crate::config::node::Scalar;
use crate::config::placed::Placed;
use crate::config::repeat::Instance;
use crate::config::scalar::{Mismatch, ScalarType};
use crate::config::workload::TensorFile;
use crate::shape::MatrixShape;
use crate::workload::generator::{Generator, Outliers};
use crate::workload::tensor_description::TensorSource;

/// The most elements of a generated tensor: 4 GiB of FP32.
const MOST_GENERATED: u64 = 1 << 30;
/// The largest figure of a distribution, so that no value overflows FP32.
const LARGEST: f64 = 1e9;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GenerateFile {
    distribution: Field<String>,
    mean: Field<f64>,
    std: Field<f64>,
    seed: Field<u64>,
    outliers: Option<Placed<OutliersFile>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OutliersFile {
    channels: Field<Share>,
    magnitude: Field<f64>,
    persistence: Field<f64>,
}

/// Some of the columns: a count of them, or a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Share {
    Count(u64),
    Fraction(f64),
}

impl ScalarType for Share {
    const EXPECTED: &'static str = "a whole number of columns, or a fraction of them such as 0.01";

    /// A number with a decimal point is a fraction, one without is a count.
    fn convert(scalar: &Scalar) -> Result<Share, Mismatch> {
        if scalar.quoted || !scalar.text.contains('.') {
            return u64::convert(scalar).map(Share::Count);
        }
        f64::convert(scalar).map(Share::Fraction)
    }
}

/// The source of the values of `tensor`, if one is given; its `shape`, if that is known.
///
/// # Errors
/// Several are given, an entry without its file, or a figure out of its range.
pub(crate) fn resolve(
    instance: &Instance<'_, TensorFile>,
    shape: Option<MatrixShape>,
) -> Result<Option<TensorSource>, ConfigError> {
    let tensor = instance.written;
    let path = |field: &Field<PathBuf>| -> Result<PathBuf, Diagnostic> {
        let path = field.required().value()?;
        let path = path
            .to_str()
            .map_or(Ok(path.clone()), |text| instance.repetition.fill_in(text, field).map(PathBuf::from))?;
        Ok(field.place().source().resolve_path(path))
    };
    let mut given: Vec<(&str, &dyn Cited)> = Vec::new();
    given.extend(tensor.safetensors.is_given().then_some(("safetensors", &tensor.safetensors as &dyn Cited)));
    given.extend(tensor.npy.is_given().then_some(("npy", &tensor.npy as &dyn Cited)));
    given.extend(tensor.generate.as_ref().map(|generate| ("generate", generate as &dyn Cited)));
    if let [(first, _), (second, cited), ..] = given.as_slice() {
        let message = format!("{first} and {second} are both given, but the values come from one place");
        let problem = Diagnostic::new(cited.place(), cited.path(), message);
        return Err(problem.note("give one of: safetensors, npy, generate").into());
    }
    if tensor.entry.is_given() && !tensor.safetensors.is_given() {
        return Err(tensor.entry.problem("an entry is given, but no file").help("add safetensors: PATH").into());
    }
    if tensor.safetensors.is_given() {
        let mut problems = Problems::default();
        let entry = problems.take(match tensor.entry.optional() {
            Some(entry) => entry.text().and_then(|entry| instance.repetition.fill_in(&entry, &tensor.entry)),
            None => Ok(instance.name.clone()),
        });
        let file = problems.take(path(&tensor.safetensors));
        return problems.built(|| Some(Some(TensorSource::Safetensors { file: file?, entry: entry? })));
    }
    if tensor.npy.is_given() {
        return Ok(Some(TensorSource::Npy { file: path(&tensor.npy)? }));
    }
    tensor.generate.as_ref().map(|generate| resolve_generator(generate, shape).map(TensorSource::Generated)).transpose()
}

fn resolve_generator(file: &Placed<GenerateFile>, shape: Option<MatrixShape>) -> Result<Generator, ConfigError> {
    let mut problems = Problems::default();
    problems.take(file.distribution.required().one_of(&[("normal", ())]));
    let is_positive = |value: &f64| *value > 0.0 && *value <= LARGEST;
    let mean = problems.take(file.mean.required().in_range(-LARGEST..=LARGEST));
    let standard_deviation = problems.take(file.std.required().must("above 0 and at most 1000000000", is_positive));
    let seed = problems.take(file.seed.required().value());
    let outliers = file.outliers.as_ref().map(|outliers| resolve_outliers(outliers, shape)).transpose();
    let outliers = problems.take(outliers);
    if let Some(shape) = shape.filter(|shape| shape.elements() > MOST_GENERATED) {
        let problem = file.problem(format!("{shape} is too large to be generated"));
        let problem = problem.note(format!("allowed: up to {MOST_GENERATED} elements"));
        problems.push(problem.help("leave generate out: cycles, bytes and energy need only the shape"));
    }
    problems.built(|| {
        let (mean, standard_deviation) = (mean?, standard_deviation?);
        Some(Generator { mean, standard_deviation, seed: seed?, outliers: outliers? })
    })
}

fn resolve_outliers(file: &OutliersFile, shape: Option<MatrixShape>) -> Result<Outliers, ConfigError> {
    let mut problems = Problems::default();
    let channels = problems.take(resolve_channels(&file.channels, shape));
    let magnitude = problems.take(file.magnitude.required().in_range(0.0..=LARGEST));
    let persistence = problems.take(file.persistence.required().in_range(0.0..=1.0));
    problems.built(|| Some(Outliers { channels: channels?, magnitude: magnitude?, persistence: persistence? }))
}

/// So many of the columns; of a shape that is not known, of any number of them.
fn resolve_channels(field: &Field<Share>, shape: Option<MatrixShape>) -> Result<u64, Diagnostic> {
    let columns = shape.map_or(u64::MAX, |shape| shape.columns);
    let note = match shape {
        Some(_) => format!("allowed: 1 to {columns} columns, or a fraction above 0 and below 1"),
        None => "allowed: a number of columns, or a fraction above 0 and below 1".to_owned(),
    };
    let channels = match field.required().value().map_err(|problem| problem.note(&note))? {
        Share::Count(count) => count,
        Share::Fraction(fraction) if fraction > 0.0 && fraction < 1.0 => {
            ((fraction * columns as f64).round() as u64).clamp(1, columns)
        }
        Share::Fraction(_) => 0,
    };
    if channels == 0 || channels > columns {
        return Err(field.problem("that many channels cannot have outliers").note(note));
    }
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::tensors::{Coverage, Generated, coverage, load};
    use crate::config::workload;
    use crate::workload::tensor_description::SourceTensorId;

    const GENERATE: &str = "distribution: normal, mean: 1, std: 0.5, seed: 3";

    fn workload_of(source: &str) -> Document {
        let text = format!(
            "name: one\nactivation_format: fp32\ntensors: [{{ name: x, shape: [2, 400], {source} }}]\nlayers: [{{ name: act, activate: {{ input: x, function: relu }} }}]\n"
        );
        Document::from_bytes("w.yaml", text.as_bytes(), "").unwrap()
    }

    fn generator(outliers: &str) -> Result<Generator, String> {
        let resolved = workload::resolve(&workload_of(&format!("generate: {{ {GENERATE}, outliers: {outliers} }}")));
        match &resolved.map_err(|error| error.to_string())?.0.tensors()[0].source {
            Some(TensorSource::Generated(generator)) => Ok(*generator),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn outlier_channels_are_a_count_or_a_fraction_of_the_columns() {
        for (written, channels) in [("8", 8), ("0.01", 4), ("0.999", 400), ("0.0001", 1), ("1", 1), ("400", 400)] {
            let generator = generator(&format!("{{ channels: {written}, magnitude: 20, persistence: 0.5 }}")).unwrap();
            assert_eq!(generator.outliers, Some(Outliers { channels, magnitude: 20.0, persistence: 0.5 }), "{written}");
            assert_eq!((generator.mean, generator.standard_deviation, generator.seed), (1.0, 0.5, 3));
        }
        for (channels, words) in [
            ("0", "that many channels cannot have outliers"),
            ("401", "allowed: 1 to 400 columns, or a fraction above 0 and below 1"),
            ("1.0", "that many channels cannot have outliers"),
            ("-0.5", "that many channels cannot have outliers"),
            ("few", "\"few\" is not a whole number"),
        ] {
            let error = generator(&format!("{{ channels: {channels}, magnitude: 20, persistence: 0.5 }}")).unwrap_err();
            assert!(error.contains(words) && error.contains("generate.outliers.channels"), "{channels}: {error}");
        }
    }

    #[test]
    fn generated_values_are_part_of_a_workload_without_any_file() {
        let (workload, places) = workload::resolve(&workload_of(&format!("generate: {{ {GENERATE} }}"))).unwrap();
        assert_eq!(coverage(&workload, &places), Coverage::Whole);
        let id = SourceTensorId(0);
        let values = load(&workload, &places, Generated::Wanted).unwrap();
        let values = values.get(id).unwrap().as_f32().unwrap().to_vec();
        // 800 values around 1: the mean is within five standard errors of 0.5 / sqrt(800).
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 800.0;
        assert!((mean - 1.0).abs() < 5.0 * 0.5 / 800f64.sqrt(), "{mean}");
        assert!(load(&workload, &places, Generated::LeftOut).unwrap().get(id).is_none());
    }

    #[test]
    fn values_come_from_one_place() {
        let error = workload::resolve(&workload_of(&format!("npy: x.npy, generate: {{ {GENERATE} }}"))).unwrap_err();
        let first = &error.diagnostics()[0];
        assert_eq!(first.path().to_string(), "tensors[0].generate");
        assert_eq!(first.message(), "npy and generate are both given, but the values come from one place");
    }
}
