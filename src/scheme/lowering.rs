//! The parts of lowering that every scheme shares: naming tensors, placing operations, element-wise layers.

use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::{Gemm, Op, OpKind, Path, Scale, ScaleSource, Scope};
use crate::program::tensor::{Origin, ProgramTensor, TensorId};
use crate::program::verify::scope_shape;
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
        self.program.ops.push(Op { layer, path, kind });
    }

    /// Adds a dynamic scale reduction of `input` and returns its scale.
    pub fn dynamic_scale(
        &mut self,
        layer: LayerId,
        input: TensorId,
        scope: Scope,
        target: &'static ElementFormat,
    ) -> Scale {
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
        scale: Scale,
        format: &'static ElementFormat,
    ) -> TensorId {
        let shape = self.program.tensor(input).shape;
        let output = self.produced(layer, "x_codes", shape, format);
        self.push(layer, Path::Quantization, OpKind::Quantize { input, scale, output });
        output
    }

    /// Quantizes a weight before the run: codes and static scale.
    pub fn prepared_weight(
        &mut self,
        layer: LayerId,
        weight: SourceTensorId,
        scope: Scope,
        format: &'static ElementFormat,
    ) -> (TensorId, Scale) {
        let input = self.source(weight);
        let shape = self.program.tensor(input).shape;
        let scale_shape = scope_shape(scope, shape);
        let tensor = self.tensor(layer, "w_scale", scale_shape, &formats::FP32, Origin::Prepared);
        let codes = self.tensor(layer, "w_codes", shape, format, Origin::Prepared);
        let scale = Scale { tensor, scope, source: ScaleSource::Static };
        let reduce = OpKind::Reduce { input, output: tensor, scope, target: format };
        self.program.preparation.push(Op { layer, path: Path::ScaleReduction, kind: reduce });
        let quantize = OpKind::Quantize { input, scale, output: codes };
        self.program.preparation.push(Op { layer, path: Path::Quantization, kind: quantize });
        (codes, scale)
    }

    /// Adds the integer product of quantized operands, scaled back to real values with the bias.
    pub fn gemm_and_dequantize(
        &mut self,
        layer: LayerId,
        gemm: &LogicalGemm,
        (left, left_scale): (TensorId, Scale),
        (right, right_scale): (TensorId, Scale),
    ) -> TensorId {
        let shape = gemm.shape;
        let sums = self.produced(layer, "sums", shape.output(), &formats::INT32);
        self.push(layer, Path::Body, OpKind::Gemm(Gemm { shape, left, right, output: sums }));
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
        self.program.add_tensor(ProgramTensor { name, shape, format, origin, recorded: None })
    }
}
