//! What an activation goes through before it is quantized: smoothing, and taking channels out.
//!
//! A scale over the whole tensor takes two passes over the data: one that finds it, one that applies it. What comes before
//! the quantizer is then either done again in the second pass or stored by the first. Where the channels are found during
//! the run, the pass that finds them has the largest magnitude of each, from which the scale follows without another.
//!
//! Smoothing divides channels. That is free where whoever makes the activation can take the factors into its constants (a
//! norm's weights, the columns of a product's weights) and everyone who reads it wants the same; else the lanes divide.

use crate::numerics::formats::{ElementFormat, INT16, INT32};
use crate::program::channels::{ChannelSide, DivideChannels, ExtractChannels, GatherRows, Mover, Selection, Treatment};
use crate::program::op::{OpKind, Path, Scale, ScaleTarget, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::shape::MatrixShape;
use crate::workload::calibration::{LayerCalibration, OutlierRule};
use crate::workload::layer::{LayerId, LogicalGemm};

/// Why what a scheme asks of a calibration is there.
pub(crate) const ANSWERED: &str = "a layer's calibration was checked against what the scheme asks";

/// When outlier channels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// During the run, from the largest magnitude of each channel over all tokens: nothing is quantized before the last
    /// token is there.
    Online,
    /// Before the run, by a calibration.
    Frozen,
}

/// Whether the treated activation is stored between two passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// It is made anew in each pass over the data.
    Recomputed,
    /// It is written once and read again.
    Stored,
}

/// The channels of a layer that are treated apart.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) selection: Selection,
    pub(crate) mover: Mover,
}

impl Channels {
    /// Channels that a calibration gave, with their table.
    pub(crate) fn fixed(
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        channels: Vec<Option<u32>>,
        mover: Mover,
    ) -> Channels {
        let largest = channels.iter().flatten().max().copied().unwrap_or(0);
        let format = index_format(u64::from(largest));
        let indices = channels.iter().map(|channel| channel.map_or(-1.0, |channel| channel as f32)).collect();
        let table = lowering.constant(layer, "channels", format, indices, true);
        Channels { selection: Selection::Static { channels, table: Some(table) }, mover }
    }

    /// The outlier channels of a layer, by a calibration or found during the run; none where there are none.
    pub(crate) fn outliers(
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        input: &TreatedInput,
        calibration: &LayerCalibration,
        (rule, detection, mover): (OutlierRule, Detection, Mover),
    ) -> Option<Channels> {
        let outliers = calibration.outliers.as_deref().expect(ANSWERED);
        match detection {
            Detection::Frozen => {
                let channels = outliers.iter().copied().map(Some).collect::<Vec<_>>();
                (!channels.is_empty()).then(|| Channels::fixed(lowering, layer, channels, mover))
            }
            Detection::Online => {
                let source = input.smoothed(lowering, layer);
                let shape = MatrixShape::new(1, lowering.shape(source).columns);
                let maxima = lowering.produced(layer, "channel_maxima", shape, &crate::numerics::formats::FP32);
                let (scope, target) = (Scope::Column, ScaleTarget::Magnitude);
                let reduce = OpKind::Reduce { input: source, output: maxima, scope, target };
                lowering.push(layer, Path::Extraction, reduce);
                let count = outliers.len() as u64;
                let selection = Selection::Planned { maxima, rule, count, basis: lowering.calibration_basis() };
                (count > 0).then_some(Channels { selection, mover })
            }
        }
    }

    /// Takes the channels of `input` into dense columns of `format`.
    pub(crate) fn dense(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        role: &str,
        input: TensorId,
        format: &'static ElementFormat,
    ) -> TensorId {
        let shape = MatrixShape::new(lowering.shape(input).rows, self.selection.count());
        let dense = lowering.produced(layer, role, shape, format);
        let extract = ExtractChannels {
            input,
            selection: self.selection.clone(),
            treatment: Treatment::Zero,
            body: None,
            dense: Some(dense),
            moved_columns: self.selection.count(),
            mover: self.mover,
            is_separate_pass: false,
        };
        lowering.push(layer, Path::Extraction, OpKind::ExtractChannels(extract));
        dense
    }

    /// The rows of a constant weight `[k, n]` for these channels, gathered before the run where they are known by then.
    pub(crate) fn weight_rows(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        role: &str,
        weight: TensorId,
        format: &'static ElementFormat,
    ) -> TensorId {
        match &self.selection {
            Selection::Static { channels, .. } => lowering.prepared_rows(layer, role, weight, channels.clone(), format),
            Selection::Planned { count, .. } => {
                let shape = MatrixShape::new(*count, lowering.shape(weight).columns);
                let output = lowering.produced(layer, role, shape, format);
                let gather = GatherRows { input: weight, selection: self.selection.clone(), output, mover: self.mover };
                lowering.push(layer, Path::Extraction, OpKind::GatherRows(gather));
                output
            }
        }
    }
}

/// The integers of a table of channels up to `largest`.
pub(crate) fn index_format(largest: u64) -> &'static ElementFormat {
    if largest <= i16::MAX as u64 { &INT16 } else { &INT32 }
}

/// An activation before its quantizer.
#[derive(Clone, Debug)]
pub(crate) struct TreatedInput {
    source: TensorId,
    /// Factors of the smoothing, and who divides by them.
    factors: Option<(TensorId, ChannelSide)>,
    treatment: Option<(Channels, Treatment, Passes)>,
    stored: Option<TensorId>,
    /// Whether a stored body ends the walk that made it. A scale over the tensor does that anyway.
    is_separate_pass: bool,
}

impl TreatedInput {
    /// The input of a product, smoothed where the calibration has factors.
    pub(crate) fn new(
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
        calibration: Option<&LayerCalibration>,
    ) -> TreatedInput {
        let source = lowering.value(gemm.input);
        let side =
            if lowering.producer_absorbs_factors(layer) { ChannelSide::Absorbed } else { ChannelSide::Activation };
        // In the constants of whoever makes the activation they have no bytes of their own.
        let is_counted = side == ChannelSide::Activation;
        let factors = calibration.and_then(|calibration| calibration.smoothing.clone());
        let factors = factors
            .map(|factors| lowering.constant(layer, "smoothing", &crate::numerics::formats::FP32, factors, is_counted))
            .map(|factors| (factors, side));
        TreatedInput { source, factors, treatment: None, stored: None, is_separate_pass: true }
    }

    /// The same with channels treated.
    pub(crate) fn with(mut self, channels: Channels, treatment: Treatment, passes: Passes) -> TreatedInput {
        self.treatment = Some((channels, treatment, passes));
        self
    }

    /// The input after smoothing alone.
    pub(crate) fn smoothed(&self, lowering: &mut Lowering<'_>, layer: LayerId) -> TensorId {
        let Some((factors, side)) = self.factors else { return self.source };
        let (shape, format) = (lowering.shape(self.source), lowering.format(self.source));
        let output = lowering.produced(layer, "smoothed", shape, format);
        let divide = DivideChannels { input: self.source, factors, side, output };
        lowering.push(layer, Path::Quantization, OpKind::DivideChannels(divide));
        output
    }

    /// The weight that belongs to it: with the factors multiplied into its rows, before the run.
    pub(crate) fn weight(&self, lowering: &mut Lowering<'_>, layer: LayerId, gemm: &LogicalGemm) -> TensorId {
        let input = lowering.right_operand(layer);
        let Some((factors, _)) = self.factors else { return input };
        let output = lowering.prepared(layer, "w_smoothed", gemm.shape.right(), &crate::numerics::formats::FP32);
        let divide = DivideChannels { input, factors, side: ChannelSide::Weight, output };
        lowering.prepare(layer, Path::Quantization, OpKind::DivideChannels(divide));
        output
    }

    /// The treated activation for one pass over the data, and the channels taken out in `dense_format`, where asked for.
    pub(crate) fn pass(
        &mut self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        dense_format: Option<&'static ElementFormat>,
    ) -> (TensorId, Option<TensorId>) {
        if let (Some(stored), None) = (self.stored, dense_format) {
            return (stored, None);
        }
        let input = self.smoothed(lowering, layer);
        let Some((channels, treatment, passes)) = self.treatment.clone() else { return (input, None) };
        let (shape, format) = (lowering.shape(input), lowering.format(input));
        let body = lowering.produced(layer, "body", shape, format);
        let count = channels.selection.count();
        // What the DMA engine gathers is a walk of its own, before the one that makes the body.
        let gathered = dense_format
            .filter(|_| channels.mover == Mover::DmaGather)
            .map(|format| channels.dense(lowering, layer, "dense", input, format));
        let dense = dense_format
            .filter(|_| gathered.is_none())
            .map(|format| lowering.produced(layer, "dense", MatrixShape::new(shape.rows, count), format));
        let extract = ExtractChannels {
            input,
            selection: channels.selection,
            treatment,
            body: Some(body),
            dense,
            moved_columns: count,
            mover: channels.mover,
            is_separate_pass: passes == Passes::Stored && self.is_separate_pass,
        };
        lowering.push(layer, Path::Extraction, OpKind::ExtractChannels(extract));
        if passes == Passes::Stored {
            self.stored = Some(body);
        }
        (body, dense.or(gathered))
    }

    /// `[1, k]`: the largest magnitude of each channel after the treatment, where a pass over the data has found them to
    /// choose the channels by. It is rounded like the body, so its largest element is the body's.
    fn treated_maxima(&self, lowering: &mut Lowering<'_>, layer: LayerId) -> Option<TensorId> {
        let (channels, treatment, _) = self.treatment.as_ref()?;
        let Selection::Planned { maxima, .. } = channels.selection else { return None };
        let (shape, format) = (lowering.shape(maxima), lowering.format(self.source));
        let treated = lowering.produced(layer, "body_maxima", shape, format);
        let extract = ExtractChannels {
            input: maxima,
            selection: channels.selection.clone(),
            treatment: *treatment,
            body: Some(treated),
            dense: None,
            moved_columns: channels.selection.count(),
            mover: channels.mover,
            is_separate_pass: false,
        };
        lowering.push(layer, Path::ScaleReduction, OpKind::ExtractChannels(extract));
        Some(treated)
    }

    /// Codes of the treated activation with their scale, and the channels taken out in `dense_format`, where asked for.
    pub(crate) fn quantize(
        &mut self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        scope: Scope,
        format: &'static ElementFormat,
        dense_format: Option<&'static ElementFormat>,
    ) -> Quantized {
        let target = ScaleTarget::Element(format);
        let maxima = if scope == Scope::Tensor { self.treated_maxima(lowering, layer) } else { None };
        if let Some(maxima) = maxima {
            let scale = lowering.dynamic_scale(layer, maxima, scope, target);
            let (input, dense) = self.pass(lowering, layer, dense_format);
            let codes = lowering.quantize(layer, input, Some(scale), format);
            return Quantized { codes, scale, input, dense, maxima: Some(maxima) };
        }
        self.is_separate_pass = scope != Scope::Tensor;
        let (first, mut dense) = self.pass(lowering, layer, dense_format);
        let scale = lowering.dynamic_scale(layer, first, scope, target);
        // A scale of the whole tensor is known only after a pass of its own.
        let treats_again = scope == Scope::Tensor;
        let mut input = first;
        if treats_again {
            let dense_again = if self.stored.is_some() { None } else { dense_format.filter(|_| dense.is_none()) };
            let (again, more) = self.pass(lowering, layer, dense_again);
            (input, dense) = (again, dense.or(more));
        }
        let codes = lowering.quantize(layer, input, Some(scale), format);
        Quantized { codes, scale, input, dense, maxima: None }
    }

    /// Codes under a scale that a calibration gave.
    pub(crate) fn quantize_static(
        &mut self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        format: &'static ElementFormat,
        range: f32,
    ) -> Quantized {
        let (input, dense) = self.pass(lowering, layer, None);
        let scale = lowering.static_scale(layer, input, "x_scale", format, range);
        let codes = lowering.quantize(layer, input, Some(scale), format);
        Quantized { codes, scale, input, dense, maxima: None }
    }
}

/// A quantized activation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantized {
    pub(crate) codes: TensorId,
    pub(crate) scale: Scale,
    /// The real values that were quantized, still on the chip in the pass that quantized them.
    pub(crate) input: TensorId,
    pub(crate) dense: Option<TensorId>,
    /// `[1, k]`: the largest magnitude of each channel of `input`, where the scale follows from them.
    pub(crate) maxima: Option<TensorId>,
}

/// The calibration of a layer, where the scheme asks for any and there is one of this layer.
pub(crate) fn calibration_of<'a>(
    scheme: &dyn Scheme,
    lowering: &Lowering<'a>,
    layer: LayerId,
    gemm: &LogicalGemm,
) -> Result<Option<&'a LayerCalibration>, LoweringError> {
    if scheme.calibration().is_empty() {
        return Ok(None);
    }
    lowering.calibrated(layer, gemm)
}
