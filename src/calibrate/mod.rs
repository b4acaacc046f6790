//! Calibration: from recorded or computed activations to what a scheme has to know before a run.
//!
//! The activations of a layer are those that its products read: the record where the workload has one, else the layer before
//! it in f64. Which channels are outliers or protected, and by which factors a layer is smoothed, follows from the whole of
//! them. Channels are treated of single products with constant weights; the range of a static scale is known of every
//! operand that a run quantizes. Files are not known here.

use std::collections::BTreeMap;

use crate::numerics::channel_statistics::{
    best_of_groups, channel_maxima, channel_means, clustering_density, group_hits, group_hits_over, smoothing_factors,
};
use crate::numerics::quantize::abs_max;
use crate::numerics::tensor::Tensor;
use crate::program::Program;
use crate::reference::real;
use crate::scheme::lowering::LoweringError;
use crate::scheme::{self, Scheme};
use crate::workload::bindings::Bindings;
use crate::workload::calibration::{
    Calibration, CalibrationBasis, CalibrationRequest, LayerCalibration, Observed, OutlierRule, ProtectionChoice,
};
use crate::workload::graph::Workload;
use crate::workload::layer::{Layer, LayerOperation, RightLayout, ValueRef};

/// Why a calibration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A tensor has no values.
    #[error(transparent)]
    Real(#[from] real::MissingValues),
    /// An activation is NaN or infinite, so that no range can be found.
    #[error(
        "layer `{layer}`: its input is {value} in row {row}, column {column} (counted from 0), and a calibration is made of \
         finite values; mend the layer or tensor that it comes from"
    )]
    NotFinite {
        /// The layer that reads the value.
        layer: String,
        /// The value.
        value: f32,
        /// Row of the layer's input.
        row: usize,
        /// Column of the layer's input.
        column: usize,
    },
    /// Every channel is an outlier, so that nothing is left for the body.
    #[error(
        "layer `{layer}`: each of its {channels} input channels has a magnitude {rule}; raise the threshold above \
         {smallest}, the smallest of their maxima"
    )]
    EveryChannel {
        /// The layer.
        layer: String,
        /// Its input channels.
        channels: u64,
        /// The rule.
        rule: String,
        /// The smallest of the channels' maxima.
        smallest: f32,
    },
    /// Channels do not form whole groups.
    #[error(
        "layer `{layer}`: {channels} input channels do not divide into groups of {group}; choose a group that divides them"
    )]
    Groups {
        /// The layer.
        layer: String,
        /// Its input channels.
        channels: u64,
        /// The group.
        group: u64,
    },
}

/// What is known of the activations of a layer.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// All of them, row-major.
    Tokens(&'a [f32]),
    /// The largest and the mean magnitude of each channel, over tokens that are gone.
    Statistics {
        /// Largest magnitudes.
        maxima: &'a [f32],
        /// Mean magnitudes.
        means: &'a [f32],
    },
}

/// Calibrates every matrix product of `workload`, as far as the request is for it, on the values of its tensors.
///
/// # Errors
/// [`CalibrationError`] where a tensor has no values or the request does not fit a layer.
pub fn calibrate(
    workload: &Workload,
    bindings: &Bindings,
    request: CalibrationRequest,
) -> Result<Calibration, CalibrationError> {
    // A range of zero is an answer only beside the zeros that it was found over.
    let is_zero = |known: &LayerCalibration| known.range == Some(0.0);
    calibrate_with(workload, bindings, request, |known, input| is_zero(known).then(|| observed(request, known, input)))
}

/// As [`calibrate`], with what was seen of the activations beside what was asked for.
///
/// # Errors
/// As [`calibrate`].
pub fn calibrate_and_observe(
    workload: &Workload,
    bindings: &Bindings,
    request: CalibrationRequest,
) -> Result<Calibration, CalibrationError> {
    calibrate_with(workload, bindings, request, |known, input| Some(observed(request, known, input)))
}

fn calibrate_with(
    workload: &Workload,
    bindings: &Bindings,
    request: CalibrationRequest,
    observe: impl Fn(&LayerCalibration, &[f32]) -> Option<Observed>,
) -> Result<Calibration, CalibrationError> {
    let real = real::evaluate(workload, bindings)?;
    let mut calibration = Calibration { request, ..Calibration::default() };
    let source = |id| bindings.get(id).map(Tensor::to_f32).unwrap_or_default();
    let values = |value| match value {
        ValueRef::Source(id) => source(id),
        ValueRef::Layer(id) => match workload.layer(id).recorded_output {
            Some(record) => source(record),
            None => real[id.0].output.iter().map(|value| *value as f32).collect(),
        },
    };
    for layer in workload.layers() {
        let LayerOperation::Gemm(gemm) = &layer.operation else { continue };
        let asked = request.of_product(gemm);
        if asked.is_empty() {
            continue;
        }
        let input = values(gemm.input);
        check_finite(workload, layer, gemm.input, &input)?;
        let mut known = match gemm.constant_weight().filter(|_| gemm.is_plain()) {
            Some(weight) => {
                let weight = match gemm.weight_layout {
                    RightLayout::KByN => source(weight),
                    RightLayout::NByK => {
                        bindings.get(weight).map(|weight| weight.transposed().to_f32()).unwrap_or_default()
                    }
                };
                let columns = usize::try_from(gemm.shape.n).expect("a tensor with values fits memory");
                layer_calibration(asked, &layer.name, Activations::Tokens(&input), &weight, columns)?
            }
            None => {
                let (channels, range) = (gemm.input_channels(), asked.range.then(|| abs_max(&input)));
                let is_computed = gemm.constant_weight().is_none();
                let weight = (asked.range && is_computed).then(|| values(gemm.weight));
                if let Some(weight) = &weight {
                    check_finite(workload, layer, gemm.weight, weight)?;
                }
                let weight_range = weight.as_deref().map(abs_max);
                LayerCalibration { channels, range, weight_range, ..LayerCalibration::default() }
            }
        };
        known.observed = observe(&known, &input);
        calibration.layers.insert(layer.name.clone(), known);
    }
    Ok(calibration)
}

/// Refuses NaN and infinity among the `values` that a layer reads of a tensor or of another layer.
fn check_finite(workload: &Workload, layer: &Layer, read: ValueRef, values: &[f32]) -> Result<(), CalibrationError> {
    let shape = match read {
        ValueRef::Source(id) => workload.tensor(id).shape,
        ValueRef::Layer(id) => workload.layer(id).output_shape(),
    };
    let columns = usize::try_from(shape.columns).expect("a tensor with values fits memory").max(1);
    match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((position, value)) => {
            let (layer, row, column) = (layer.name.clone(), position / columns, position % columns);
            Err(CalibrationError::NotFinite { layer, value: *value, row, column })
        }
    }
}

/// Calibrates one layer: `weight` is `[k, n]` with n = `weight_columns`.
///
/// # Errors
/// [`CalibrationError`] where the request does not fit the layer.
pub fn layer_calibration(
    request: CalibrationRequest,
    name: &str,
    activations: Activations<'_>,
    weight: &[f32],
    weight_columns: usize,
) -> Result<LayerCalibration, CalibrationError> {
    let k = weight.len() / weight_columns.max(1);
    let channels = k as u64;
    let (mut maxima, mut means) = match activations {
        Activations::Tokens(values) => (channel_maxima(values, k), channel_means(values, k)),
        Activations::Statistics { maxima, means } => {
            (maxima.to_vec(), means.iter().map(|mean| f64::from(*mean)).collect())
        }
    };
    let smoothing = request.smoothing.map(|smoothing| {
        let row_maxima: Vec<f32> = weight
            .chunks_exact(weight_columns.max(1))
            .map(|row| row.iter().fold(0.0f32, |largest, value| largest.max(value.abs())))
            .collect();
        smoothing_factors(&maxima, &row_maxima, smoothing.alpha)
    });
    if let Some(factors) = &smoothing {
        maxima.iter_mut().zip(factors).for_each(|(maximum, factor)| *maximum /= factor);
        means.iter_mut().zip(factors).for_each(|(mean, factor)| *mean /= f64::from(*factor));
    }
    let outliers = match request.outliers {
        None => None,
        Some(rule) => {
            let selected = (0u32..).zip(&maxima).filter(|(_, maximum)| rule.selects(**maximum));
            let selected: Vec<u32> = selected.map(|(channel, _)| channel).collect();
            if selected.len() == k {
                let smallest = maxima.iter().copied().fold(f32::INFINITY, f32::min);
                let (layer, rule) = (name.to_owned(), rule.to_string());
                return Err(CalibrationError::EveryChannel { layer, channels, rule, smallest });
            }
            Some(selected)
        }
    };
    let protected = match request.protection {
        None => None,
        Some(rule) => {
            if !channels.is_multiple_of(rule.group) {
                return Err(CalibrationError::Groups { layer: name.to_owned(), channels, group: rule.group });
            }
            let smoothed = |values: &[f32]| -> Vec<f32> {
                let factors = smoothing.as_deref();
                let divided = values.iter().enumerate();
                divided.map(|(index, value)| factors.map_or(*value, |factors| value / factors[index % k])).collect()
            };
            let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            let (group, top) = (size(rule.group), size(rule.per_group));
            let as_scores = |hits: Vec<u64>| hits.into_iter().map(|hits| hits as f64).collect::<Vec<f64>>();
            let scores = match (rule.choice, activations) {
                (ProtectionChoice::MeanAbs, _) | (_, Activations::Statistics { .. }) => means,
                (ProtectionChoice::HitCount, Activations::Tokens(values)) => {
                    as_scores(group_hits(&smoothed(values), k, group, top))
                }
                (ProtectionChoice::ModeOverThreshold { factor }, Activations::Tokens(values)) => {
                    let mean = means.iter().sum::<f64>() / k as f64;
                    as_scores(group_hits_over(&smoothed(values), k, group, f64::from(factor) * mean))
                }
            };
            Some(best_of_groups(&scores, group, top))
        }
    };
    let largest = |maxima: &[f32]| maxima.iter().copied().fold(0.0, f32::max);
    let outlier_range = request.range_with_outliers_shifted_by.filter(|_| request.range).map(|exponent| {
        // A power of two from its bits: exponents of MUXQ are 1 to 15.
        let shift = f32::from_bits((127 - exponent.min(126)) << 23);
        let channels = outliers.iter().flatten().map(|channel| *channel as usize);
        channels.for_each(|channel| maxima[channel] *= shift);
        largest(&outliers.iter().flatten().map(|channel| maxima[*channel as usize]).collect::<Vec<_>>())
    });
    let range = request.range.then(|| largest(&maxima));
    Ok(LayerCalibration {
        channels,
        smoothing,
        outliers,
        protected,
        range,
        outlier_range,
        ..LayerCalibration::default()
    })
}

/// The threshold of OSC where a scheme has none of its own, times the mean magnitude of the layer (arXiv 2604.12782,
/// section 3).
const DENSITY_FACTOR: f32 = 5.0;

fn observed(request: CalibrationRequest, known: &LayerCalibration, input: &[f32]) -> Observed {
    let k = usize::try_from(known.channels).unwrap_or(usize::MAX);
    let smoothed = |(index, value): (usize, &f32)| match &known.smoothing {
        Some(factors) => value / factors[index % k],
        None => *value,
    };
    let values: Vec<f32> = input.iter().enumerate().map(smoothed).collect();
    let tokens = values.len() / k.max(1);
    let (maxima, means) = (channel_maxima(&values, k), channel_means(&values, k));
    let persistence = |channel: u32, rule: OutlierRule| {
        let column = values.iter().skip(channel as usize).step_by(k);
        column.filter(|value| rule.selects(value.abs())).count() as f64 / tokens.max(1) as f64
    };
    let outliers = known.outliers.iter().flatten().zip(std::iter::repeat(request.outliers));
    let outlier_persistence = outliers.filter_map(|(channel, rule)| Some(persistence(*channel, rule?))).collect();
    let density = request.protection.and_then(|rule| {
        let factor = match rule.choice {
            ProtectionChoice::ModeOverThreshold { factor } => factor,
            ProtectionChoice::HitCount | ProtectionChoice::MeanAbs => DENSITY_FACTOR,
        };
        let threshold = f64::from(factor) * means.iter().sum::<f64>() / k.max(1) as f64;
        clustering_density(&values, k, usize::try_from(rule.group).unwrap_or(usize::MAX), threshold)
    });
    Observed { tokens: tokens as u64, maxima, means, outlier_persistence, clustering_density: density }
}

/// The program of a workload under a scheme from shapes alone: which operations each layer has, whatever its values.
///
/// # Errors
/// What the scheme refuses.
pub fn lowered_from_shapes(workload: &Workload, scheme: &dyn Scheme) -> Result<Program, LoweringError> {
    // One channel for each layer is enough to see how channels are treated.
    let assumed = assumed(workload, scheme.calibration(), 1);
    scheme::lower(workload, scheme, Some(&assumed))
}

/// A calibration without activations: `outliers` channels of each layer are taken to be outliers, and the first ones of each
/// group to be protected. Costs depend on how many there are, not on which; numbers cannot be computed with it.
pub fn assumed(workload: &Workload, request: CalibrationRequest, outliers: u64) -> Calibration {
    let (basis, layers) = (CalibrationBasis::Assumption, BTreeMap::new());
    let mut calibration = Calibration { request, basis, layers };
    for layer in workload.layers() {
        let LayerOperation::Gemm(gemm) = &layer.operation else { continue };
        let (request, channels) = (request.of_product(gemm), gemm.input_channels());
        if request.is_empty() {
            continue;
        }
        let is_computed = gemm.constant_weight().is_none();
        let narrow = |channel: u64| u32::try_from(channel).expect("axes of workloads are shorter than 2^32");
        // Spread evenly; a product keeps at least one channel for its body.
        let count = outliers.min(channels.saturating_sub(1));
        let known = LayerCalibration {
            channels,
            smoothing: request.smoothing.map(|_| vec![1.0; usize::try_from(channels).unwrap_or(0)]),
            outliers: request.outliers.map(|_| (0..count).map(|index| narrow(index * channels / count)).collect()),
            protected: request.protection.map(|rule| {
                let groups = 0..channels.div_ceil(rule.group);
                let of_group = |group: u64| {
                    let end = channels.min((group + 1) * rule.group);
                    (group * rule.group..end).take(usize::try_from(rule.per_group).unwrap_or(usize::MAX))
                };
                groups.flat_map(of_group).map(|channel| Some(narrow(channel))).collect()
            }),
            range: request.range.then_some(1.0),
            weight_range: (request.range && is_computed).then_some(1.0),
            outlier_range: (request.range_with_outliers_shifted_by.filter(|_| request.range))
                .map(|_| if count > 0 { 1.0 } else { 0.0 }),
            observed: None,
        };
        calibration.layers.insert(layer.name.clone(), known);
    }
    calibration
}
