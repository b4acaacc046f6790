//! The parts of lowering that every scheme shares: naming tensors, placing operations, element-wise layers.

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::{
    BlockAxis, Gemm, GemmOperand, Op, OpKind, OperandBlocks, Path, RightLayout, Scale, ScaleSource, ScaleTarget, Scope,
};
use crate::program::tensor::{Origin, ProgramTensor, TensorId};
use crate::program::verify::{block_scales_shape, scope_shape};
use crate::program::{Program, ProgramLayer};
use crate::scheme::Scheme;
use crate::shape::MatrixShape;
use crate::workload::graph::Workload;
use crate::workload::layer::{LayerId, LayerOperation, LogicalGemm, ValueRef};
use crate::workload::tensor_description::SourceTensorId;

/// A program under construction.
#[derive(Debug)]
pub struct Lowering<'a> {
    workload: &'a Workload,
    program: Program,
    sources: Vec<Option<TensorId>>,
}

impl<'a> Lowering<'a> {
    /// Starts an empty program for `workload`.
    pub fn new(workload: &'a Workload) -> Lowering<'a> {
        Lowering { workload, program: Program::default(), sources: vec![None; workload.tensors().len()] }
    }

    /// Lowers each layer in execution order.
    pub fn run(mut self, scheme: &dyn Scheme) -> Program {
        let workload = self.workload;
        for (index, layer) in workload.layers().iter().enumerate() {
            let id = LayerId(index);
            // The layer's line stands before its operations are added, because their text names it; the output is
            // known only afterwards.
            self.program.layers.push(ProgramLayer { name: layer.name.clone(), output: TensorId(usize::MAX) });
            let output = match &layer.operation {
                LayerOperation::Gemm(gemm) => scheme.lower_gemm(&mut self, id, gemm),
                LayerOperation::Activate { function, input, shape } => {
                    let input = self.value(*input);
                    let output = self.produced(id, "out", *shape, workload.activation_format());
                    self.push(id, Path::Body, OpKind::Activate { function: *function, input, output });
                    output
                }
            };
            self.program.layers[index].output = output;
            self.program.tensors[output.0].recorded = layer.recorded_output;
        }
        self.program
    }

    /// The real-valued tensor behind a workload value.
    pub fn value(&mut self, value: ValueRef) -> TensorId {
        match value {
            ValueRef::Layer(id) => self.program.layer(id).output,
            ValueRef::Source(id) => self.source(id),
        }
    }

    /// A tensor from outside, held in off-chip memory in FP32 (what the workload's tensor files carry).
    pub fn source(&mut self, id: SourceTensorId) -> TensorId {
        if let Some(tensor) = self.sources[id.0] {
            return tensor;
        }
        let description = self.workload.tensor(id);
        let tensor = self.program.add_tensor(ProgramTensor {
            name: description.name.clone(),
            shape: description.shape,
            format: &formats::FP32,
            origin: Origin::Source(id),
            recorded: None,
            is_counted: true,
        });
        self.sources[id.0] = Some(tensor);
        tensor
    }

    /// A tensor that an operation of the run writes, named `layer.role`.
    pub fn produced(
        &mut self,
        layer: LayerId,
        role: &str,
        shape: MatrixShape,
        format: &'static ElementFormat,
    ) -> TensorId {
        self.tensor(layer, role, shape, format, Origin::Produced)
    }

    /// Adds an operation of the run.
    pub fn push(&mut self, layer: LayerId, path: Path, kind: OpKind) {
        self.program.ops.push(Op { layer, path, unit: None, kind });
    }

    /// Adds a dynamic scale reduction of `input` and returns its scale.
    pub fn dynamic_scale(&mut self, layer: LayerId, input: TensorId, scope: Scope, target: ScaleTarget) -> Scale {
        let shape = scope_shape(scope, self.program.tensor(input).shape);
        let tensor = self.produced(layer, "x_scale", shape, &formats::FP32);
        self.push(layer, Path::ScaleReduction, OpKind::Reduce { input, output: tensor, scope, target });
        Scale { tensor, scope, source: ScaleSource::Dynamic }
    }

    /// Quantizes `input` during the run.
    pub fn quantize(
        &mut self,
        layer: LayerId,
        input: TensorId,
        scale: Option<Scale>,
        format: &'static ElementFormat,
    ) -> TensorId {
        let shape = self.program.tensor(input).shape;
        let output = self.produced(layer, "x_codes", shape, format);
        self.push(layer, Path::Quantization, OpKind::Quantize { input, scale, output });
        output
    }

    /// Quantizes `input` to a block format during the run, blocks along its columns.
    pub fn quantize_blocks(
        &mut self,
        layer: LayerId,
        input: TensorId,
        format: &'static BlockFormat,
        tensor_scale: Option<Scale>,
        counts_scale_bytes: bool,
    ) -> GemmOperand {
        let names = ["x_codes", "x_block_scales"];
        let kind = self.block_quantization(layer, input, (format, BlockAxis::Columns), tensor_scale, names);
        self.set_counted(&kind, counts_scale_bytes);
        let operand = block_operand(&kind);
        self.push(layer, Path::Quantization, kind);
        operand
    }

    /// Quantizes a weight `[k, n]` to a block format before the run, blocks along k.
    pub fn prepared_block_weight(
        &mut self,
        layer: LayerId,
        weight: SourceTensorId,
        format: &'static BlockFormat,
        counts_scale_bytes: bool,
    ) -> (GemmOperand, Option<Scale>) {
        let input = self.source(weight);
        let tensor_scale = format
            .has_tensor_scale()
            .then(|| self.prepared_scale(layer, input, Scope::Tensor, ScaleTarget::Blocks(format)));
        let names = ["w_codes", "w_block_scales"];
        let kind = self.block_quantization(layer, input, (format, BlockAxis::Rows), tensor_scale, names);
        self.set_counted(&kind, counts_scale_bytes);
        let operand = block_operand(&kind);
        self.program.preparation.push(Op { layer, path: Path::Quantization, unit: None, kind });
        (operand, tensor_scale)
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
        (format, along): (&'static BlockFormat, BlockAxis),
        tensor_scale: Option<Scale>,
        [codes, scales]: [&str; 2],
    ) -> OpKind {
        let shape = self.program.tensor(input).shape;
        let (stored, origin) = match along {
            BlockAxis::Columns => (shape, Origin::Produced),
            BlockAxis::Rows => (MatrixShape::new(shape.columns, shape.rows), Origin::Prepared),
        };
        let codes = self.tensor(layer, codes, stored, format.element(), origin);
        let scales = self.tensor(layer, scales, block_scales_shape(format, stored), format.scale(), origin);
        OpKind::QuantizeBlocks { input, format, along, tensor_scale, codes, scales }
    }

    /// Quantizes a weight before the run: codes and static scale.
    pub fn prepared_weight(
        &mut self,
        layer: LayerId,
        weight: SourceTensorId,
        scope: Option<Scope>,
        format: &'static ElementFormat,
    ) -> (TensorId, Option<Scale>) {
        let input = self.source(weight);
        let shape = self.program.tensor(input).shape;
        let scale = scope.map(|scope| self.prepared_scale(layer, input, scope, ScaleTarget::Element(format)));
        let codes = self.tensor(layer, "w_codes", shape, format, Origin::Prepared);
        let quantize = OpKind::Quantize { input, scale, output: codes };
        self.program.preparation.push(Op { layer, path: Path::Quantization, unit: None, kind: quantize });
        (codes, scale)
    }

    fn prepared_scale(&mut self, layer: LayerId, input: TensorId, scope: Scope, target: ScaleTarget) -> Scale {
        let shape = scope_shape(scope, self.program.tensor(input).shape);
        let tensor = self.tensor(layer, "w_scale", shape, &formats::FP32, Origin::Prepared);
        let kind = OpKind::Reduce { input, output: tensor, scope, target };
        self.program.preparation.push(Op { layer, path: Path::ScaleReduction, unit: None, kind });
        Scale { tensor, scope, source: ScaleSource::Static }
    }

    /// Adds the product of quantized operands, scaled back to real values with the bias. Products of plain integers are
    /// summed in INT32, all others in FP32.
    pub fn gemm_and_dequantize(
        &mut self,
        layer: LayerId,
        gemm: &LogicalGemm,
        (left, left_scale): (GemmOperand, Option<Scale>),
        (right, right_scale): (GemmOperand, Option<Scale>),
    ) -> TensorId {
        let shape = gemm.shape;
        let is_integer =
            |operand: GemmOperand| operand.blocks.is_none() && self.program.tensor(operand.codes).format.is_integer();
        let sums_format = if is_integer(left) && is_integer(right) { &formats::INT32 } else { &formats::FP32 };
        let sums = self.produced(layer, "sums", shape.output(), sums_format);
        // Blocks of weights run along k and are stored contiguously.
        let right_layout = if right.blocks.is_some() { RightLayout::NByK } else { RightLayout::KByN };
        self.push(layer, Path::Body, OpKind::Gemm(Gemm { shape, left, right, right_layout, output: sums }));
        let bias = gemm.bias.map(|bias| self.source(bias));
        let output = self.produced(layer, "out", shape.output(), self.workload.activation_format());
        let kind = OpKind::Dequantize { input: sums, left_scale, right_scale, bias, output };
        self.push(layer, Path::Dequantization, kind);
        output
    }

    fn tensor(
        &mut self,
        layer: LayerId,
        role: &str,
        shape: MatrixShape,
        format: &'static ElementFormat,
        origin: Origin,
    ) -> TensorId {
        let name = format!("{}.{role}", self.workload.layer(layer).name);
        self.program.add_tensor(ProgramTensor { name, shape, format, origin, recorded: None, is_counted: true })
    }
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
