//! OSC (arXiv 2604.12782): a few channels of each group bypass the 4-bit path in a dense 16-bit product.
//!
//! ```text
//! B = X[:, L]  in 16 bits           one column for each protected channel
//! X[:, L] = 0                       block scales are found after this, so they are tighter
//! Y = (Q_X Q_W) + B W[L, :]         path A in blocks of 4 bits, path B in 16 bits, both summed in FP32
//! ```
//!
//! The channels L are fixed by a calibration (algorithm 1), or are the largest of each group of each token, found during the
//! run ("Dynamic" of table 3). A group without a protected channel gives path B a column of zeros (`dense`, the paper's cost
//! model) or none (`compact`). Where the paths meet is a choice of hardware with bits of its own: in the accumulators, path B
//! first, or on the vector unit after both were rounded to FP32.

use std::borrow::Cow;

use crate::numerics::block::{self, BlockFormat};
use crate::numerics::formats::{self, ElementFormat, FP32};
use crate::program::channels::{ExtractTop, InitialSums, Merge, Mover, SumFactor, TokenMover, Treatment};
use crate::program::op::{GemmOperand, OpKind, Path, Scale, ScaleTarget, Scope};
use crate::program::tensor::TensorId;
use crate::scheme::lowering::{Arriving, Lowering, LoweringError};
use crate::scheme::treatment::{ANSWERED, Channels, Passes, TreatedInput, calibration_of, index_format};
use crate::scheme::{Scheme, Substitute, cast};
use crate::shape::MatrixShape;
use crate::workload::calibration::{CalibrationRequest, ProtectionChoice, ProtectionRule, Smoothing};
use crate::workload::layer::{LayerId, LogicalGemm};

/// OSC with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Osc {
    /// Name in files and reports.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub description: &'static str,
    /// The narrow format of path A.
    pub format: &'static BlockFormat,
    /// Whether its block scales take room and bandwidth.
    pub counts_scale_bytes: bool,
    /// Which channels are protected.
    pub protection: Protection,
    /// The wide format of path B: `fp16` or `bf16`.
    pub branch_format: &'static ElementFormat,
    /// Whether groups without a protected channel have a column in path B.
    pub columns: Columns,
    /// Whether path A keeps the weight rows of protected channels, which its zeros make idle.
    pub weight_rows: WeightRows,
    /// Where the paths meet.
    pub merge: MergePoint,
    /// Whether the zeroed activation is stored before it is quantized.
    pub passes: Passes,
    /// Who extracts channels that are the same for all tokens.
    pub mover: Mover,
    /// Smoothing before everything else.
    pub smoothing: Option<Smoothing>,
    /// Matrix unit of path B, by its name; without one the schedule chooses. Only for paths that meet on the vector unit.
    pub unit: Option<Cow<'static, str>>,
    /// How activations come: with channels to be taken out of them, or with that done.
    pub arriving: Arriving,
}

/// Which channels are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The same ones for all tokens, by a calibration.
    Fixed(ProtectionRule),
    /// The largest element of each group of so many channels of each token, found during the run.
    Dynamic {
        /// Neighbouring channels that form a group.
        group: u64,
        /// What path B makes of them.
        branch: DynamicBranch,
        /// Who moves them.
        mover: TokenMover,
    },
}

/// Path B where each token has protected channels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicBranch {
    /// One product over the whole depth, with zeros wherever nothing is protected.
    MaskedDense,
    /// For each token a product with the weight rows of its own channels, which the DMA engine gathers for it. Rows come,
    /// and are added, one by one: the sums are those of the masked product wherever that adds at most one protected channel
    /// at a time.
    RowGather,
}

/// The width of path B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// A column of zeros for a group without a protected channel.
    Dense,
    /// Protected channels alone.
    Compact,
}

/// What path A keeps of the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightRows {
    /// All rows.
    Kept,
    /// Zeros in the rows of protected channels, so that they do not widen the scales of their blocks.
    Zeroed,
}

/// Where two paths meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergePoint {
    /// In the accumulators, path B first.
    Accumulators,
    /// On the vector unit, after both sums were rounded.
    VectorUnit,
}

const fn fixed(group: u64, per_group: u64) -> Protection {
    Protection::Fixed(ProtectionRule { group, per_group, choice: ProtectionChoice::ModeOverThreshold { factor: 5.0 } })
}

const PAPER: Osc = Osc {
    name: Cow::Borrowed("osc_mxfp4"),
    description: "OSC: one channel of each 32 in FP16, the rest in MXFP4; channels by calibration, paths merged in the accumulators",
    format: &block::MXFP4,
    counts_scale_bytes: true,
    protection: fixed(32, 1),
    branch_format: &formats::FP16,
    columns: Columns::Dense,
    weight_rows: WeightRows::Kept,
    merge: MergePoint::Accumulators,
    passes: Passes::Recomputed,
    mover: Mover::VectorUnit,
    smoothing: None,
    unit: None,
    arriving: Arriving::Real,
};

/// One channel of each 32, merged in the accumulators.
pub static MXFP4: Osc = PAPER;

/// The same, merged on the vector unit, without columns for groups that protect nothing.
pub static MXFP4_COMPACT: Osc = Osc {
    name: Cow::Borrowed("osc_mxfp4_compact"),
    description: "OSC with MXFP4: groups without outliers have no column, paths merged on the vector unit",
    columns: Columns::Compact,
    merge: MergePoint::VectorUnit,
    ..PAPER
};

/// The largest element of each group of each token.
pub static DYNAMIC: Osc = Osc {
    name: Cow::Borrowed("osc_dynamic"),
    description: "OSC with MXFP4 and protection found during the run: the largest of each 32 channels of each token in FP16",
    protection: Protection::Dynamic { group: 32, branch: DynamicBranch::MaskedDense, mover: TokenMover::VectorUnit },
    ..PAPER
};

/// The largest element of each group of each token, its weight rows gathered for it.
pub static DYNAMIC_ROW_GATHER: Osc = Osc {
    name: Cow::Borrowed("osc_dynamic_row_gather"),
    description: "osc_dynamic with the weight rows of each token's protected channels gathered for it, paths merged on the vector unit",
    protection: Protection::Dynamic { group: 32, branch: DynamicBranch::RowGather, mover: TokenMover::VectorUnit },
    merge: MergePoint::VectorUnit,
    ..PAPER
};

/// One channel of each 32, the rest in INT4 groups.
pub static INT4: Osc = Osc {
    name: Cow::Borrowed("osc_int4"),
    description: "OSC on INT4: one channel of each 32 in FP16, the rest in groups of 32 INT4 with an FP16 scale",
    format: &block::INT4_G32,
    ..PAPER
};

/// What layers beside the down projection have where that one falls back to FP8.
pub(crate) static MXFP4_BESIDE_FP8: Osc = Osc {
    name: Cow::Borrowed("osc_mxfp4_fp8_fallback"),
    description: "OSC with MXFP4, and the layers of the role `down` in MXFP8",
    ..PAPER
};

impl Scheme for Osc {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn calibration(&self) -> CalibrationRequest {
        let protection = match self.protection {
            Protection::Fixed(rule) => Some(rule),
            Protection::Dynamic { .. } => None,
        };
        CalibrationRequest { smoothing: self.smoothing, protection, ..CalibrationRequest::default() }
    }

    fn substitute(&self, gemm: &LogicalGemm) -> Option<Substitute> {
        // The paper quantizes linear layers only: attention stays in 16 bits.
        gemm.beyond_plain().map(|reason| Substitute { scheme: &cast::FP16, reason })
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let k = gemm.shape.k;
        let (Protection::Fixed(ProtectionRule { group, .. }) | Protection::Dynamic { group, .. }) = self.protection;
        if !k.is_multiple_of(group) {
            let layer = lowering.layer_name(layer);
            let problem =
                format!("{k} input channels do not divide into groups of {group}; choose a group that divides them");
            return Err(LoweringError::Unfit { layer, problem });
        }
        lowering.check_arriving(layer, gemm, self.arriving)?;
        let calibration = calibration_of(self, lowering, layer, gemm)?;
        let input = TreatedInput::new(lowering, layer, gemm, calibration);
        let weight = input.weight(lowering, layer, gemm);
        let parts = lowering.on_activations(self.arriving, |lowering| match self.protection {
            Protection::Dynamic { group, branch, mover } => {
                self.dynamic_parts(lowering, layer, (&input, weight), (group, branch, mover))
            }
            Protection::Fixed(_) => {
                let known = calibration.and_then(|calibration| calibration.protected.clone()).expect(ANSWERED);
                let protected = match self.columns {
                    Columns::Dense => known,
                    Columns::Compact => known.into_iter().filter(Option::is_some).collect(),
                };
                self.fixed_parts(lowering, layer, (input, weight), protected)
            }
        });
        Ok(self.join(lowering, layer, gemm, &parts))
    }
}

/// The operands of both paths.
struct Parts {
    left: GemmOperand,
    scale: Option<Scale>,
    /// The real-valued weight of path A.
    weight: TensorId,
    /// Path B.
    branch: Option<Branch>,
}

/// The operands of path B.
struct Branch {
    activation: TensorId,
    weight: TensorId,
    /// Which rows of the weight each token takes, where it does not take all.
    rows: Option<TensorId>,
}

impl Osc {
    fn dynamic_parts(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        (input, weight): (&TreatedInput, TensorId),
        (group, branch, mover): (u64, DynamicBranch, TokenMover),
    ) -> Parts {
        let wide = self.branch_format;
        let source = input.smoothed(lowering, layer);
        let (shape, format) = (lowering.shape(source), lowering.format(source));
        let body = lowering.produced(layer, "body", shape, format);
        let (kept, positions) = match branch {
            DynamicBranch::MaskedDense => (lowering.produced(layer, "kept", shape, wide), None),
            DynamicBranch::RowGather => {
                let one_of_each = MatrixShape::new(shape.rows, shape.columns / group);
                let indices = index_format(shape.columns - 1);
                let kept = lowering.produced(layer, "kept", one_of_each, wide);
                (kept, Some(lowering.produced(layer, "kept_channels", one_of_each, indices)))
            }
        };
        let top = ExtractTop { input: source, group, body, kept, positions, mover };
        lowering.push(layer, Path::Extraction, OpKind::ExtractTop(top));
        let scale = self.tensor_scale(lowering, layer, body);
        let left = self.quantize(lowering, layer, body, scale);
        let (rows, _) = lowering.prepared_matrix(layer, weight, None, wide);
        Parts { left, scale, weight, branch: Some(Branch { activation: kept, weight: rows, rows: positions }) }
    }

    fn fixed_parts(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        (mut input, weight): (TreatedInput, TensorId),
        protected: Vec<Option<u32>>,
    ) -> Parts {
        if protected.is_empty() {
            let (source, _) = input.pass(lowering, layer, None);
            let scale = self.tensor_scale(lowering, layer, source);
            return Parts { left: self.quantize(lowering, layer, source, scale), scale, weight, branch: None };
        }
        let remaining = match self.weight_rows {
            WeightRows::Kept => weight,
            WeightRows::Zeroed => {
                let k = lowering.shape(weight).rows as u32;
                let rows = (0..k).map(|row| (!protected.contains(&Some(row))).then_some(row)).collect();
                lowering.prepared_rows(layer, "w_remaining", weight, rows, &FP32)
            }
        };
        let channels = Channels::fixed(lowering, layer, protected, self.mover);
        let rows = channels.weight_rows(lowering, layer, "w_branch", weight, self.branch_format);
        let mut input = input.with(channels, Treatment::Zero, self.passes);
        let (first, dense) = input.pass(lowering, layer, Some(self.branch_format));
        let scale = self.tensor_scale(lowering, layer, first);
        // A scale of the whole tensor is known only after a pass of its own.
        let body = if scale.is_some() { input.pass(lowering, layer, None).0 } else { first };
        let left = self.quantize(lowering, layer, body, scale);
        let dense = dense.expect("dense columns were asked for");
        Parts { left, scale, weight: remaining, branch: Some(Branch { activation: dense, weight: rows, rows: None }) }
    }

    fn tensor_scale(&self, lowering: &mut Lowering<'_>, layer: LayerId, input: TensorId) -> Option<Scale> {
        let target = ScaleTarget::Blocks(self.format);
        self.format.has_tensor_scale().then(|| lowering.dynamic_scale(layer, input, Scope::Tensor, target))
    }

    fn quantize(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        input: TensorId,
        scale: Option<Scale>,
    ) -> GemmOperand {
        lowering.quantize_blocks(layer, input, (self.format, None), scale, self.counts_scale_bytes)
    }

    fn join(&self, lowering: &mut Lowering<'_>, layer: LayerId, gemm: &LogicalGemm, parts: &Parts) -> TensorId {
        let right = lowering.prepared_block_matrix(layer, parts.weight, (self.format, None), self.counts_scale_bytes);
        let left = (parts.left, parts.scale);
        let Some(branch) = &parts.branch else {
            return lowering.gemm_and_dequantize(layer, gemm, left, right);
        };
        let path_b = |lowering: &mut Lowering<'_>| match branch.rows {
            None => {
                let [dense, rows] = [branch.activation, branch.weight].map(GemmOperand::plain);
                lowering.product(layer, Path::Branch, dense, rows, None)
            }
            Some(rows) => {
                let (dense, weight) = (branch.activation, branch.weight);
                lowering.product_of_gathered_rows(layer, Path::Branch, dense, weight, rows)
            }
        };
        let scales = [left.1, right.1];
        let output = lowering.layer_output(layer, gemm);
        match self.merge {
            MergePoint::Accumulators => {
                let sums = path_b(lowering);
                let initial = Some(InitialSums { sums, factor: SumFactor::One });
                let sums = lowering.product(layer, Path::Body, left.0, right.0, initial);
                lowering.dequantize(layer, sums, scales, gemm.bias, output);
            }
            MergePoint::VectorUnit => {
                let sums = lowering.product(layer, Path::Body, left.0, right.0, None);
                let base = lowering.produced(layer, "body_out", gemm.shape.output(), &FP32);
                lowering.dequantize(layer, sums, scales, gemm.bias, base);
                let addend = path_b(lowering);
                lowering.ask_unit(self.unit.as_deref());
                let merge = Merge { base: Some(base), addend, factor: SumFactor::One, output };
                lowering.push(layer, Path::Merge, OpKind::Merge(merge));
            }
        }
        output
    }
}
