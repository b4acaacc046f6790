//! Operands in block formats: activations quantized during the run, constant weights before it.

use crate::numerics::block::BlockFormat;
use crate::program::op::{
    BlockAxis, GemmOperand, Op, OpKind, OperandBlocks, Path, RightLayout, Scale, ScaleTarget, Scope, block_runs,
};
use crate::program::tensor::{Origin, TensorId};
use crate::program::verify::block_scales_shape;
use crate::scheme::lowering::{Lowering, QuantizedAs};
use crate::shape::MatrixShape;
use crate::workload::layer::{LayerId, ValueRef};

impl Lowering<'_> {
    /// Quantizes `input` to a block format during the run, blocks along its columns, starting anew after each `run` of them
    /// (k of a batch) or never.
    pub fn quantize_blocks(
        &mut self,
        layer: LayerId,
        input: TensorId,
        (format, run): (&'static BlockFormat, Option<u64>),
        tensor_scale: Option<Scale>,
        counts_scale_bytes: bool,
    ) -> GemmOperand {
        let run = effective_run(format, run, self.shape(input).columns);
        let way = (QuantizedAs { scale: tensor_scale, format }, run);
        if let Some(operand) = self.blocks.get(input, &way) {
            return operand;
        }
        let names = ["x_codes", "x_block_scales"];
        let kind = self.block_quantization(layer, input, (format, BlockAxis::Columns, run), tensor_scale, names);
        self.set_counted(&kind, counts_scale_bytes);
        let operand = block_operand(&kind);
        self.push(layer, Path::Quantization, kind);
        self.blocks.keep(input, way, operand);
        operand
    }

    /// Quantizes the weight of a layer to a block format, blocks along the k of each batch: before the run, or, where it is
    /// the output of another layer and stored `[n, k]`, during it.
    ///
    /// # Panics
    /// A right operand that another layer writes `[k, n]`: a scheme refuses it first.
    pub fn prepared_block_weight(
        &mut self,
        layer: LayerId,
        format: &'static BlockFormat,
        counts_scale_bytes: bool,
    ) -> (GemmOperand, Option<Scale>) {
        let input = self.right_operand(layer);
        let gemm = self.product_of(layer);
        let [_, run] = block_runs(gemm.shape, gemm.window.as_ref());
        if let ValueRef::Layer(_) = gemm.weight {
            let layout = self.weight_layout(layer);
            assert_eq!(layout, RightLayout::NByK, "schemes of block formats refuse right operands written [k, n]");
            let tensor_scale = format
                .has_tensor_scale()
                .then(|| self.reduced_scale(layer, input, Scope::Tensor, ScaleTarget::Blocks(format), "w_scale"));
            let format = (format, Some(run));
            return (self.quantize_blocks(layer, input, format, tensor_scale, counts_scale_bytes), tensor_scale);
        }
        self.prepared_block_matrix(layer, input, (format, Some(run)), counts_scale_bytes)
    }

    /// Quantizes a constant right operand of a product to a block format before the run, blocks along k, starting anew after
    /// each `run` of them or never.
    pub fn prepared_block_matrix(
        &mut self,
        layer: LayerId,
        input: TensorId,
        (format, run): (&'static BlockFormat, Option<u64>),
        counts_scale_bytes: bool,
    ) -> (GemmOperand, Option<Scale>) {
        let along = match self.weight_layout(layer) {
            RightLayout::KByN => BlockAxis::Rows,
            RightLayout::NByK => BlockAxis::Columns,
        };
        let tensor_scale = format
            .has_tensor_scale()
            .then(|| self.prepared_scale(layer, input, Scope::Tensor, ScaleTarget::Blocks(format)));
        let names = ["w_codes", "w_block_scales"];
        let shape = self.shape(input);
        let run = effective_run(format, run, if along == BlockAxis::Rows { shape.rows } else { shape.columns });
        let kind = self.block_quantization(layer, input, (format, along, run), tensor_scale, names);
        self.set_origin(&kind, Origin::Prepared);
        self.set_counted(&kind, counts_scale_bytes);
        let operand = block_operand(&kind);
        self.program.preparation.push(Op { layer, path: Path::Quantization, unit: None, kind });
        (operand, tensor_scale)
    }

    fn set_origin(&mut self, kind: &OpKind, origin: Origin) {
        for written in kind.writes() {
            self.program.tensors[written.0].origin = origin;
        }
    }

    fn set_counted(&mut self, kind: &OpKind, counts_scale_bytes: bool) {
        if let OpKind::QuantizeBlocks { scales, .. } = kind {
            self.program.tensors[scales.0].is_counted = counts_scale_bytes;
        }
    }

    fn block_quantization(
        &mut self,
        layer: LayerId,
        input: TensorId,
        (format, along, run): (&'static BlockFormat, BlockAxis, u64),
        tensor_scale: Option<Scale>,
        [codes, scales]: [&str; 2],
    ) -> OpKind {
        let shape = self.program.tensor(input).shape;
        let (stored, origin) = match along {
            BlockAxis::Columns => (shape, self.produced_origin()),
            BlockAxis::Rows => (MatrixShape::new(shape.columns, shape.rows), Origin::Prepared),
        };
        let codes = self.tensor(layer, codes, stored, format.element(), origin);
        let scales = self.tensor(layer, scales, block_scales_shape(format, run, stored), format.scale(), origin);
        OpKind::QuantizeBlocks { input, format, along, run, tensor_scale, codes, scales }
    }
}

/// The run of blocks along an axis of `extent`: all of it where blocks start anew after each `run` anyway, so that what is
/// quantized alike is quantized once.
fn effective_run(format: &BlockFormat, run: Option<u64>, extent: u64) -> u64 {
    run.filter(|run| !run.is_multiple_of(format.block())).unwrap_or(extent)
}

/// The operand that a block quantization makes.
fn block_operand(kind: &OpKind) -> GemmOperand {
    match kind {
        OpKind::QuantizeBlocks { format, codes, scales, .. } => {
            GemmOperand { codes: *codes, blocks: Some(OperandBlocks { scales: *scales, format }) }
        }
        other => unreachable!("{other:?} is no block quantization"),
    }
}
