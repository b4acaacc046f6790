//! MUXQ (arXiv 2604.04701): outlier channels are scaled down by a power of two, so that one INT8 scale suits all channels,
//! and an auxiliary product puts back what that took away.
//!
//! ```text
//! O = { j : max_i |X[i,j]| > threshold }      Body = X with columns O divided by 2^e      Aux = Body[:, O]
//! Y = Body W + (2^e - 1) Aux W[O, :]
//! ```
//!
//! With one scale for both (`shared`) Aux is a copy of quantized columns of Body, and both products add up as integers. The
//! scale is that of Body, `max|Body| / 127`. With scales of their own (`independent`, as the authors' released code does
//! it) the two are added after dequantization. Where the outlier columns go is a choice of hardware:
//! `separate_gemm` stores the auxiliary sums and adds them later; `fused_accumulate` leaves them in the accumulators,
//! multiplies them there by `2^e - 1` and lets the body add to them; `tender_shift` does the outlier channels first, shifts
//! the accumulators by `e` and goes on with the others, without a product more than the plain scheme (a schedule of two
//! groups of Tender, Lee et al., ISCA 2024). The integers are the same in all three.

use std::borrow::Cow;

use crate::numerics::formats::{self, ElementFormat, FP32, INT32};
use crate::program::channels::{InitialSums, Merge, Mover, Selection, SumFactor, Treatment};
use crate::program::op::{GemmOperand, OpKind, Path, Scale, ScaleSource, ScaleTarget, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::scheme::treatment::{ANSWERED, Channels, Detection, Passes, Quantized, TreatedInput, calibration_of};
use crate::scheme::{Scheme, Substitute, w8a8};
use crate::shape::MatrixShape;
use crate::workload::calibration::{CalibrationRequest, Comparison, LayerCalibration, OutlierRule, Smoothing};
use crate::workload::layer::{LayerId, LogicalGemm};

/// MUXQ with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Muxq {
    /// Name in files and reports.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub description: &'static str,
    /// Format of the codes: `int8` or `int4`.
    pub format: &'static ElementFormat,
    /// What makes a channel an outlier.
    pub rule: OutlierRule,
    /// Outlier channels are divided by two to this power, at least 1.
    pub exponent: u32,
    /// Whether Aux has a scale of its own.
    pub aux_scale: AuxScale,
    /// Tensor or row.
    pub activation_scope: Scope,
    /// When the scales of Body and Aux are known. Static ones are per tensor, from a calibration with the outliers shifted.
    pub activation_scale: ScaleSource,
    /// Tensor or column.
    pub weight_scope: Scope,
    /// How the auxiliary product is added.
    pub auxiliary: Auxiliary,
    /// When outlier channels are found.
    pub detection: Detection,
    /// Whether the body is stored between passes.
    pub passes: Passes,
    /// Who moves and shifts channels.
    pub mover: Mover,
    /// Smoothing before everything else.
    pub smoothing: Option<Smoothing>,
    /// Matrix unit of a separate auxiliary product, by its name; without one the schedule chooses.
    pub unit: Option<Cow<'static, str>>,
}

/// The scale of the auxiliary activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuxScale {
    /// That of the body: its codes are columns of the body's codes.
    Shared,
    /// Its own.
    Independent,
}

/// How the auxiliary product is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auxiliary {
    /// A product of its own, whose sums leave the accumulators and come back.
    SeparateGemm,
    /// In the accumulators of the body, before it.
    FusedAccumulate,
    /// The outlier channels first, then a shift of the accumulators, then the others: no products in addition.
    TenderShift,
}

const PAPER: Muxq = Muxq {
    name: Cow::Borrowed("muxq_per_tensor"),
    description: "MUXQ in INT8: outlier channels divided by 4, an auxiliary product in the same accumulators; one scale for all activations, one for all weights",
    format: &formats::INT8,
    rule: OutlierRule { threshold: 6.0, comparison: Comparison::Above },
    exponent: 2,
    aux_scale: AuxScale::Shared,
    activation_scope: Scope::Tensor,
    activation_scale: ScaleSource::Dynamic,
    weight_scope: Scope::Tensor,
    auxiliary: Auxiliary::FusedAccumulate,
    detection: Detection::Frozen,
    passes: Passes::Recomputed,
    mover: Mover::VectorUnit,
    smoothing: None,
    unit: None,
};

/// One scale for all activations, one for all weights.
pub static PER_TENSOR: Muxq = PAPER;

/// One scale per token, one per output channel.
pub static PER_TOKEN_PER_CHANNEL: Muxq = Muxq {
    name: Cow::Borrowed("muxq_per_token_per_channel"),
    description: "MUXQ in INT8: outlier channels divided by 4, an auxiliary product in the same accumulators; one scale per token and one per output channel",
    activation_scope: Scope::Row,
    weight_scope: Scope::Column,
    ..PAPER
};

/// The auxiliary product by itself, its sums stored and added later.
pub static SEPARATE: Muxq = Muxq {
    name: Cow::Borrowed("muxq_separate_gemm"),
    description: "muxq_per_tensor with outliers found during the run and an auxiliary product whose sums are stored and added later",
    auxiliary: Auxiliary::SeparateGemm,
    detection: Detection::Online,
    ..PAPER
};

/// Outlier channels first, then a shift of the accumulators.
pub static TENDER: Muxq = Muxq {
    name: Cow::Borrowed("muxq_tender_shift"),
    description: "muxq_per_tensor with outlier channels first and a shift of the accumulators in place of an auxiliary product",
    auxiliary: Auxiliary::TenderShift,
    ..PAPER
};

/// With an activation scale that a calibration gave: no pass over the data finds it.
pub static STATIC: Muxq = Muxq {
    name: Cow::Borrowed("muxq_static"),
    description: "MUXQ in INT8 with one calibrated scale for all activations, one per output channel of the weights, and an auxiliary product in the same accumulators",
    activation_scale: ScaleSource::Static,
    weight_scope: Scope::Column,
    ..PAPER
};

impl Scheme for Muxq {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn calibration(&self) -> CalibrationRequest {
        let range = self.activation_scale == ScaleSource::Static;
        CalibrationRequest {
            smoothing: self.smoothing,
            outliers: Some(self.rule),
            range,
            range_with_outliers_shifted_by: range.then_some(self.exponent),
            ..CalibrationRequest::default()
        }
    }

    fn substitute(&self, gemm: &LogicalGemm) -> Option<Substitute> {
        let scheme: &'static dyn Scheme = match (self.activation_scale, self.activation_scope) {
            (ScaleSource::Static, _) => &w8a8::STATIC,
            (ScaleSource::Dynamic, Scope::Row) => &w8a8::PER_TOKEN_PER_CHANNEL,
            (ScaleSource::Dynamic, Scope::Tensor | Scope::Column) => &w8a8::PER_TENSOR,
        };
        gemm.beyond_plain().map(|reason| Substitute { scheme, reason })
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let calibration = calibration_of(self, lowering, layer, gemm)?;
        let mut input = TreatedInput::new(lowering, layer, gemm, calibration);
        let weight = input.weight(lowering, layer, gemm);
        let (weight, weight_scale) = lowering.prepared_matrix(layer, weight, Some(self.weight_scope), self.format);
        let calibration = calibration.expect("outlier channels were asked for");
        let how = (self.rule, self.detection, self.mover);
        let channels = Channels::outliers(lowering, layer, &input, calibration, how);
        let Some(channels) = channels else {
            let x = self.quantized(lowering, layer, &mut input, calibration);
            let left = (GemmOperand::plain(x.codes), Some(x.scale));
            let right = (GemmOperand::plain(weight), weight_scale);
            return Ok(lowering.gemm_and_dequantize(layer, gemm, left, right));
        };
        let shift = Treatment::ShiftDown(self.exponent);
        let mut input = input.with(channels.clone(), shift, self.passes);
        let x = self.quantized(lowering, layer, &mut input, calibration);
        let aux_range = calibration.outlier_range;
        let parts = Parts { gemm, layer, channels, x, weight, weight_scale, aux_range };
        Ok(match self.aux_scale {
            AuxScale::Shared => self.lower_shared(lowering, &parts),
            AuxScale::Independent => self.lower_independent(lowering, &parts),
        })
    }
}

/// What both kinds of scales start from.
struct Parts<'a> {
    gemm: &'a LogicalGemm,
    layer: LayerId,
    channels: Channels,
    x: Quantized,
    weight: TensorId,
    weight_scale: Option<Scale>,
    /// The largest magnitude of Aux, where it is calibrated.
    aux_range: Option<f32>,
}

impl Muxq {
    fn quantized(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        input: &mut TreatedInput,
        calibration: &LayerCalibration,
    ) -> Quantized {
        match self.activation_scale {
            ScaleSource::Static => {
                input.quantize_static(lowering, layer, self.format, calibration.range.expect(ANSWERED))
            }
            ScaleSource::Dynamic => input.quantize(lowering, layer, self.activation_scope, self.format, None),
        }
    }

    fn lower_shared(&self, lowering: &mut Lowering<'_>, parts: &Parts<'_>) -> TensorId {
        let Parts { gemm, layer, channels, x, weight, weight_scale, .. } = parts;
        let layer = *layer;
        let aux = channels.dense(lowering, layer, "x_auxiliary", x.codes, self.format);
        // In another order the same channels are read: only the outliers are moved, an index buffer names the rest.
        let body = match (self.auxiliary, &channels.selection) {
            (Auxiliary::TenderShift, Selection::Static { channels, .. }) => {
                let others = others(channels, gemm.shape.k);
                let rows = lowering.prepared_rows(layer, "w_others", *weight, others.clone(), self.format);
                let codes = reordered(lowering, layer, x.codes, others, self.format);
                (codes, rows)
            }
            _ => (x.codes, *weight),
        };
        let rows = channels.weight_rows(lowering, layer, "w_auxiliary", *weight, self.format);
        let [aux, rows, left, right] = [aux, rows, body.0, body.1].map(GemmOperand::plain);
        let sums = lowering.product(layer, Path::Auxiliary, aux, rows, None);
        lowering.ask_unit(self.unit.as_deref());
        let factor = match self.auxiliary {
            Auxiliary::TenderShift => SumFactor::Shift(self.exponent),
            Auxiliary::SeparateGemm | Auxiliary::FusedAccumulate => SumFactor::ShiftSubtract(self.exponent),
        };
        let sums = match self.auxiliary {
            Auxiliary::FusedAccumulate | Auxiliary::TenderShift => {
                lowering.product(layer, Path::Body, left, right, Some(InitialSums { sums, factor }))
            }
            Auxiliary::SeparateGemm => {
                let shape = gemm.shape.output();
                let scaled = lowering.produced(layer, "scaled_auxiliary_sums", shape, &INT32);
                let merge = Merge { base: None, addend: sums, factor, output: scaled };
                lowering.push(layer, Path::Merge, OpKind::Merge(merge));
                let base = lowering.product(layer, Path::Body, left, right, None);
                let output = lowering.produced(layer, "merged_sums", shape, &INT32);
                let merge = Merge { base: Some(base), addend: scaled, factor: SumFactor::One, output };
                lowering.push(layer, Path::Merge, OpKind::Merge(merge));
                output
            }
        };
        let output = lowering.layer_output(layer, gemm);
        let scales = [Some(x.scale), *weight_scale];
        lowering.dequantize(layer, sums, scales, gemm.bias, output);
        output
    }

    fn lower_independent(&self, lowering: &mut Lowering<'_>, parts: &Parts<'_>) -> TensorId {
        let Parts { gemm, layer, channels, x, weight, weight_scale, aux_range } = parts;
        let layer = *layer;
        let shape = gemm.shape.output();
        let aux = channels.dense(lowering, layer, "x_auxiliary", x.input, &FP32);
        let aux_scale = match (self.activation_scale, aux_range) {
            (ScaleSource::Static, range) => {
                lowering.static_scale(layer, aux, "auxiliary_scale", self.format, range.expect(ANSWERED))
            }
            (ScaleSource::Dynamic, _) => {
                let target = ScaleTarget::Element(self.format);
                let maxima = x.maxima.map(|of| channels.dense(lowering, layer, "auxiliary_maxima", of, &FP32));
                lowering.dynamic_scale(layer, maxima.unwrap_or(aux), self.activation_scope, target)
            }
        };
        let aux = lowering.quantize(layer, aux, Some(aux_scale), self.format);
        let rows = channels.weight_rows(lowering, layer, "w_auxiliary", *weight, self.format);
        let [aux, rows, left, right] = [aux, rows, x.codes, *weight].map(GemmOperand::plain);
        let sums = lowering.product(layer, Path::Body, left, right, None);
        let base = lowering.produced(layer, "body_out", shape, &FP32);
        lowering.dequantize(layer, sums, [Some(x.scale), *weight_scale], gemm.bias, base);
        let sums = lowering.product(layer, Path::Auxiliary, aux, rows, None);
        lowering.ask_unit(self.unit.as_deref());
        let addend = lowering.produced(layer, "auxiliary_out", shape, &FP32);
        lowering.dequantize(layer, sums, [Some(aux_scale), *weight_scale], None, addend);
        let output = lowering.layer_output(layer, gemm);
        let factor = SumFactor::ShiftSubtract(self.exponent);
        let merge = Merge { base: Some(base), addend, factor, output };
        lowering.push(layer, Path::Merge, OpKind::Merge(merge));
        output
    }
}

/// All channels but the selected ones, ascending.
fn others(selected: &[Option<u32>], k: u64) -> Vec<Option<u32>> {
    let all = 0..u32::try_from(k).expect("axes of workloads are shorter than 2^32");
    all.map(Some).filter(|channel| !selected.contains(channel)).collect()
}

/// Columns of codes in another order, read through an index buffer.
fn reordered(
    lowering: &mut Lowering<'_>,
    layer: LayerId,
    input: TensorId,
    channels: Vec<Option<u32>>,
    format: &'static ElementFormat,
) -> TensorId {
    let shape = MatrixShape::new(lowering.shape(input).rows, channels.len() as u64);
    let dense = lowering.produced(layer, "x_others", shape, format);
    let extract = crate::program::channels::ExtractChannels {
        input,
        selection: Selection::Static { channels, table: None },
        treatment: Treatment::Zero,
        body: None,
        dense: Some(dense),
        moved_columns: 0,
        mover: Mover::Inline,
        is_separate_pass: false,
    };
    lowering.push(layer, Path::Extraction, OpKind::ExtractChannels(extract));
    dense
}
