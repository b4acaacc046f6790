//! Workload files: tensors and layers as written, into a [`Workload`].
//!
//! Shapes are written once, at the tensors; those of layers follow from them. The limits keep all counts of a run below
//! 2^63: see [`hardware`](crate::config::hardware) for their other half.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::config::checks::plain_name;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::layers::{self, Axes, LayerFile, matrix_of};
use crate::config::mapping::{self, MappingFile};
use crate::config::placed::{List, Placed};
use crate::config::repeat::{self, Expanded, Instance};
use crate::config::schema::{FileForm, form_of};
use crate::config::tensor_source::{self, GenerateFile};
use crate::config::workload_defaults::{self, DefaultsFile};
use crate::numerics::formats::{ALL as FORMATS, ElementFormat, ElementKind, FP8_E4M3, FP8_E5M2};
use crate::shape::GemmShape;
use crate::workload::graph::{Workload, WorkloadError};
use crate::workload::layer::{Layer, LayerOperation};
use crate::workload::tensor_description::{SourceTensorId, TensorDescription};

/// The largest extent of one axis: tokens, channels, vocabulary.
const LONGEST_AXIS: u64 = 1 << 22;
/// The most elements that all layers together may read and write: 35 million million.
const MOST_ELEMENTS: u128 = 1 << 45;
/// The most multiply-accumulates of all layers together: a million million million.
const MOST_MACS: u128 = 1 << 60;

#[derive(Deserialize)]
struct WorkloadFile {
    name: Field<String>,
    activation_format: Field<String>,
    defaults: Option<Placed<DefaultsFile>>,
    tensors: List<Placed<TensorFile>>,
    layers: List<Placed<LayerFile>>,
    mapping: Option<Placed<MappingFile>>,
}

/// A tensor as written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TensorFile {
    pub(crate) name: Field<String>,
    pub(crate) shape: List<Field<u64>>,
    format: Field<String>,
    pub(crate) safetensors: Field<PathBuf>,
    pub(crate) entry: Field<String>,
    pub(crate) npy: Field<PathBuf>,
    pub(crate) generate: Option<Placed<GenerateFile>>,
}

impl TensorFile {
    /// The axes as written, of a tensor whose shape was resolved.
    pub(crate) fn declared_axes(&self) -> Axes {
        self.shape.iter().map(|axis| axis.required().value().expect("the shape was resolved")).collect()
    }
}

/// Where each tensor of a workload was written, for errors found when its values are read.
#[derive(Clone, Debug)]
pub struct TensorPlaces(Vec<Arc<Placed<TensorFile>>>);

impl TensorPlaces {
    /// Those of `tensors`; repetitions share what was written.
    fn of(tensors: &[Instance<'_, TensorFile>]) -> TensorPlaces {
        let mut written: BTreeMap<*const Placed<TensorFile>, Arc<Placed<TensorFile>>> = BTreeMap::new();
        let mut shared = |tensor: &Placed<TensorFile>| {
            Arc::clone(written.entry(std::ptr::from_ref(tensor)).or_insert_with(|| Arc::new(tensor.clone())))
        };
        TensorPlaces(tensors.iter().map(|tensor| shared(tensor.written)).collect())
    }

    /// The tensor as written.
    pub(crate) fn get(&self, id: SourceTensorId) -> &Placed<TensorFile> {
        &self.0[id.0]
    }
}

/// The workload that `document` describes, and where its tensors were written. No tensor file is opened.
///
/// # Errors
/// [`ConfigError::Invalid`] with what is wrong in each tensor and layer: names that nothing has, shapes that do not
/// agree (cites the reference), layers that wait for each other (cites the list of layers).
pub fn resolve(document: &Document) -> Result<(Workload, TensorPlaces), ConfigError> {
    let file: WorkloadFile = workload_defaults::filled_in(document).read()?;
    let mut problems = Problems::default();
    problems.take(workload_defaults::check(&file.defaults));
    let expanded = repeat::expand(&file.tensors, &file.layers, &mut problems);
    let name = problems.take(plain_name(&file.name));
    let formats: Vec<_> = activation_formats();
    let activation_format = problems.take(file.activation_format.required().one_of(&formats));
    let (tensors, axes): (Vec<_>, Vec<_>) =
        expanded.tensors.iter().filter_map(|tensor| problems.take(resolve_tensor(tensor))).unzip();
    let references: Vec<_> = expanded
        .layers
        .iter()
        .filter_map(|layer| problems.take(layers::resolve(layer, &expanded.scopes.values(layer.scope))))
        .collect();
    problems.finish()?;
    let whole = "no problem was noted";
    let layers = layers::with_shapes(&axes, references)?;
    check_size(&expanded, &layers)?;
    let mapping = mapping::resolve(file.mapping.as_ref(), &layers)?;
    let workload = Workload::try_new(name.expect(whole), activation_format.expect(whole), tensors, layers)
        .map_err(|error| cite(&file, &expanded, &error))?
        .with_mapping(mapping);
    Ok((workload, TensorPlaces::of(&expanded.tensors)))
}

/// Formats in which activations and tensors from outside can be stored: those that hold real numbers without a scale beside them, if only within a
/// narrow range.
fn activation_formats() -> Vec<(&'static str, &'static ElementFormat)> {
    let is_real = |format: &&&ElementFormat| {
        let is_wide = matches!(format.kind(), ElementKind::Float { .. }) && format.storage_bits() >= 16;
        is_wide || [&FP8_E4M3, &FP8_E5M2].contains(*format)
    };
    FORMATS.iter().filter(is_real).map(|format| (format.name(), *format)).collect()
}

fn resolve_tensor(instance: &Instance<'_, TensorFile>) -> Result<(TensorDescription, Axes), ConfigError> {
    let mut problems = Problems::default();
    problems.take(plain_name(&instance.written.name));
    let axes = problems.take(resolve_axes(&instance.written.shape));
    let shape = axes.as_deref().map(matrix_of);
    let source = problems.take(tensor_source::resolve(instance, shape));
    let formats = activation_formats();
    let format = problems.take(instance.written.format.optional().map(|format| format.one_of(&formats)).transpose());
    problems.built(|| {
        let (name, format) = (instance.name.clone(), format?);
        let description = TensorDescription { name, shape: shape?, source: source?, format };
        Some((description, axes?))
    })
}

fn resolve_axes(shape: &List<Field<u64>>) -> Result<Axes, ConfigError> {
    let mut problems = Problems::default();
    let axes = shape.iter().map(|axis| problems.take(axis.required().in_range(1..=LONGEST_AXIS)));
    let axes: Vec<Option<u64>> = axes.collect();
    let axes: Axes = problems.built(|| axes.into_iter().collect())?;
    if !(1..=4).contains(&axes.len()) {
        let problem = shape.problem(format!("the shape has {} axes", axes.len()));
        let expected = "one (a vector) or two (rows, columns) are expected, three or four for convolutions";
        return Err(problem.note(expected).into());
    }
    // The last axis lies along the columns, the others together along the rows.
    let rows = axes[..axes.len() - 1].iter().try_fold(1u64, |rows, axis| rows.checked_mul(*axis));
    if rows.is_none_or(|rows| rows > LONGEST_AXIS) {
        let message = format!("all axes but the last have more than {LONGEST_AXIS} elements together");
        return Err(shape.problem(message).into());
    }
    Ok(axes)
}

/// Refuses what could not be counted in 64 bits.
fn check_size(expanded: &Expanded<'_>, layers: &[Layer]) -> Result<(), Diagnostic> {
    let (mut elements, mut macs) = (0u128, 0u128);
    for (layer, instance) in layers.iter().zip(&expanded.layers) {
        let (shape, times) = match &layer.operation {
            LayerOperation::Gemm(gemm) => (gemm.shape, gemm.batching.count),
            LayerOperation::Activate { shape, .. } => (GemmShape::new(shape.rows, 1, shape.columns), 1),
            LayerOperation::Vector(vector) => {
                (GemmShape::new(vector.shape.rows, 1, vector.shape.columns), vector.inputs.len() as u64)
            }
        };
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b) * u128::from(times);
        elements += product(shape.m, shape.k) + product(shape.k, shape.n) + product(shape.m, shape.n);
        macs += product(shape.m, shape.k) * u128::from(shape.n);
        if elements > MOST_ELEMENTS || macs > MOST_MACS {
            return Err(instance
                .written
                .problem("with this layer the workload is too large to be counted")
                .note(format!("allowed: up to {MOST_ELEMENTS} elements and {MOST_MACS} multiply-accumulates")));
        }
    }
    Ok(())
}

/// Where in `file` the parts do not fit together.
fn cite(file: &WorkloadFile, expanded: &Expanded<'_>, error: &WorkloadError) -> Diagnostic {
    let message = error.to_string();
    let operand = |layer: &str, what: &str| -> Option<&Field<String>> {
        let layer = expanded.layers.iter().find(|instance| instance.name == layer)?.written;
        layer.operand(what)
    };
    match error {
        WorkloadError::ShapeMismatch { layer, what, expected: shape, tensor, given } => {
            let problem = operand(layer, what).map(|field| field.problem(&message));
            let problem = problem.unwrap_or_else(|| file.layers.problem(&message));
            let written = expanded.layers.iter().find(|instance| instance.name == *layer);
            let other_layout = written.filter(|_| *what == "the weight");
            let other_layout = other_layout.and_then(|layer| layer.written.other_weight_layout(*shape, *given));
            let problem = other_layout.into_iter().fold(problem, Diagnostic::help);
            match expanded.tensors.iter().find(|instance| instance.name == *tensor) {
                Some(tensor) => problem.help(format!("its shape is given at {}", tensor.written.shape.place())),
                None => problem,
            }
        }
        WorkloadError::Cycle { .. } | WorkloadError::Empty | WorkloadError::DuplicateName { .. } => {
            file.layers.problem(message)
        }
    }
}

/// What such a file may hold.
pub(crate) fn form() -> FileForm {
    form_of::<WorkloadFile>()
}
