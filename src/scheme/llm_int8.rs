//! LLM.int8() (Dettmers et al., NeurIPS 2022): outlier channels in 16-bit floats, the rest in INT8 with one scale per token
//! and one per output channel.
//!
//! `Y = X[:, O] W[O, :] + (s_x s_w) Xq Wq`, where `O = { j : max_i |X[i,j]| > threshold }` and `Xq` has zeros in `O`. The
//! activation's scales are found after these columns are gone. The weight's scales are too, where the channels are known
//! before the run; else they are over all of its rows, as in the released library.

use std::borrow::Cow;

use crate::numerics::formats::{self, ElementFormat, FP32};
use crate::program::channels::{Merge, Mover, Selection, SumFactor, Treatment};
use crate::program::op::{GemmOperand, OpKind, Path, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::scheme::treatment::{Channels, Detection, Passes, TreatedInput, calibration_of};
use crate::scheme::{Scheme, Substitute, w8a8};
use crate::workload::calibration::{CalibrationRequest, Comparison, OutlierRule};
use crate::workload::layer::{LayerId, LogicalGemm};

/// LLM.int8() with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmInt8 {
    /// Name in files and reports.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub description: &'static str,
    /// What makes a channel an outlier.
    pub rule: OutlierRule,
    /// Row, or tensor.
    pub activation_scope: Scope,
    /// Column, or tensor.
    pub weight_scope: Scope,
    /// Format of the outlier product: `fp16` or `bf16`.
    pub branch_format: &'static ElementFormat,
    /// When outlier channels are found.
    pub detection: Detection,
    /// Whether the body is stored between passes.
    pub passes: Passes,
    /// Who moves channels.
    pub mover: Mover,
    /// Matrix unit of the outlier product, by its name; without one the schedule chooses.
    pub unit: Option<Cow<'static, str>>,
}

const PAPER: LlmInt8 = LlmInt8 {
    name: Cow::Borrowed("llm_int8"),
    description: "LLM.int8(): outlier channels in FP16, found before the run; the rest in INT8, one scale per token and per output channel",
    rule: OutlierRule { threshold: 6.0, comparison: Comparison::Above },
    activation_scope: Scope::Row,
    weight_scope: Scope::Column,
    branch_format: &formats::FP16,
    detection: Detection::Frozen,
    passes: Passes::Recomputed,
    mover: Mover::VectorUnit,
    unit: None,
};

/// Outlier channels known before the run.
pub static FROZEN: LlmInt8 = PAPER;

/// Outlier channels found during the run.
pub static ONLINE: LlmInt8 = LlmInt8 {
    name: Cow::Borrowed("llm_int8_online"),
    description: "LLM.int8() as published: outlier channels found during the run, their weight rows gathered then",
    detection: Detection::Online,
    ..PAPER
};

impl Scheme for LlmInt8 {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn calibration(&self) -> CalibrationRequest {
        CalibrationRequest { outliers: Some(self.rule), ..CalibrationRequest::default() }
    }

    fn substitute(&self, gemm: &LogicalGemm) -> Option<Substitute> {
        gemm.beyond_plain().map(|reason| Substitute { scheme: &w8a8::PER_TOKEN_PER_CHANNEL, reason })
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let calibration = calibration_of(self, lowering, layer, gemm)?.expect("outlier channels were asked for");
        let input = TreatedInput::new(lowering, layer, gemm, None);
        let weight = lowering.right_operand(layer);
        let how = (self.rule, self.detection, self.mover);
        let channels = Channels::outliers(lowering, layer, &input, calibration, how);
        let int8 = &formats::INT8;
        let Some(channels) = channels else {
            let (weight, weight_scale) = lowering.prepared_matrix(layer, weight, Some(self.weight_scope), int8);
            let x = { input }.quantize(lowering, layer, self.activation_scope, int8, None);
            let left = (GemmOperand::plain(x.codes), Some(x.scale));
            return Ok(lowering.gemm_and_dequantize(layer, gemm, left, (GemmOperand::plain(weight), weight_scale)));
        };
        let (remaining, wide) = match &channels.selection {
            Selection::Static { channels, .. } => {
                let kept = |row: u32| (!channels.contains(&Some(row))).then_some(row);
                let rows = (0..gemm.shape.k as u32).map(kept).collect();
                (lowering.prepared_rows(layer, "w_remaining", weight, rows, &FP32), weight)
            }
            // Any row may be asked for: all of them are kept in the wide format as well.
            Selection::Planned { .. } => (weight, lowering.prepared_matrix(layer, weight, None, self.branch_format).0),
        };
        let (codes, weight_scale) = lowering.prepared_matrix(layer, remaining, Some(self.weight_scope), int8);
        let mut input = input.with(channels.clone(), Treatment::Zero, self.passes);
        let x = input.quantize(lowering, layer, self.activation_scope, int8, Some(self.branch_format));
        let rows = channels.weight_rows(lowering, layer, "w_branch", wide, self.branch_format);
        let [left, right] = [x.codes, codes].map(GemmOperand::plain);
        let sums = lowering.product(layer, Path::Body, left, right, None);
        let base = lowering.produced(layer, "body_out", gemm.shape.output(), &FP32);
        lowering.dequantize(layer, sums, [Some(x.scale), weight_scale], gemm.bias, base);
        let dense = x.dense.expect("dense columns were asked for");
        let [left, right] = [dense, rows].map(GemmOperand::plain);
        let addend = lowering.product(layer, Path::Branch, left, right, None);
        lowering.ask_unit(self.unit.as_deref());
        let output = lowering.layer_output(layer, gemm);
        let merge = Merge { base: Some(base), addend, factor: SumFactor::One, output };
        lowering.push(layer, Path::Merge, OpKind::Merge(merge));
        Ok(output)
    }
}
