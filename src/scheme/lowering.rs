//! The parts of lowering that every scheme shares: naming tensors, placing operations, element-wise layers.

mod absorption;
mod block_operands;
mod outside;

use std::collections::BTreeMap;

use crate::numerics::block::BlockFormat;
use crate::numerics::formats::{self, ElementFormat};
use crate::program::channels::{GatherRows, InitialSums, Mover, Selection};
use crate::program::op::{
    Gemm, GemmOperand, Op, OpKind, Path, RightLayout, Scale, ScaleSource, ScaleTarget, Scope, VectorOp,
};
use crate::program::tensor::{ConstantId, Origin, ProgramTensor, TensorId};
use crate::program::verify::scope_shape;
use crate::program::{Deviation, Program, ProgramLayer};
use crate::scheme::lowering::absorption::absorbed;
use crate::scheme::made::Made;
use crate::scheme::{Scheme, lower_product};
use crate::shape::{GemmShape, MatrixShape};
use crate::workload::answer::Fault;
use crate::workload::batching::{BatchAxis, Batching};
use crate::workload::calibration::{Calibration, CalibrationBasis, CalibrationRequest, LayerCalibration};
use crate::workload::graph::Workload;
use crate::workload::layer::{LayerId, LayerOperation, LogicalGemm, ValueRef};
use crate::workload::tensor_description::SourceTensorId;

/// How a tensor is scaled, and into which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QuantizedAs<Format: 'static> {
    scale: Option<Scale>,
    format: &'static Format,
}

/// A program under construction.
#[derive(Debug)]
pub struct Lowering<'a> {
    workload: &'a Workload,
    scheme: &'a dyn Scheme,
    calibration: Option<&'a Calibration>,
    program: Program,
    sources: Vec<Option<TensorId>>,
    /// Formats of the tensors from outside.
    source_formats: Vec<&'static ElementFormat>,
    /// The constant right operands that were transposed.
    transposed: BTreeMap<SourceTensorId, TensorId>,
    /// Layers whose input comes divided by the factors of its smoothing.
    absorbed: Vec<bool>,
    /// Scales and codes that several layers ask for: each is computed once.
    scales: Made<(Scope, ScaleTarget), Scale>,
    /// Calibrated scales, by the bits of the range.
    static_scales: Made<(&'static ElementFormat, u32), Scale>,
    codes: Made<QuantizedAs<ElementFormat>, TensorId>,
    /// By the run of blocks too.
    blocks: Made<(QuantizedAs<BlockFormat>, u64), GemmOperand>,
    /// Whether what is added now belongs to the run.
    arriving: Arriving,
}

/// How the activations of a product come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arriving {
    /// As real values: the run takes channels out and quantizes.
    Real,
    /// In quantized form, from off the chip: the region that cost models of single products look at.
    Prequantized,
}

/// Why a scheme cannot lower a workload.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoweringError {
    /// Nothing is known about the activations of a layer.
    #[error(
        "scheme `{scheme}` has to know the activations of layer `{layer}` before the run, but there is no calibration; give \
         the workload's tensors values, or give the scheme a calibration file (calibration: PATH) or a number of channels to \
         plan with (assumed_channels: N)"
    )]
    NoCalibration {
        /// The scheme.
        scheme: String,
        /// The layer.
        layer: String,
    },
    /// A calibration was made for something else, or was changed.
    #[error("the calibration does not fit layer `{layer}`: {fault}; make it anew from this workload and this scheme")]
    CalibrationMismatch {
        /// The layer.
        layer: String,
        /// What is wrong.
        fault: Box<Fault>,
    },
    /// A calibration was made for another request.
    #[error("the calibration answers another request: {given}; scheme `{scheme}` asks for {asked}")]
    AnotherRequest {
        /// The scheme.
        scheme: String,
        /// What the scheme asks for.
        asked: Box<CalibrationRequest>,
        /// What the calibration answers.
        given: Box<CalibrationRequest>,
    },
    /// A calibration lacks a layer.
    #[error("the calibration has no layer `{layer}`; make it anew from this workload and this scheme")]
    NotCalibrated {
        /// The layer.
        layer: String,
    },
    /// Parameters do not fit a layer.
    #[error("layer `{layer}`: {problem}")]
    Unfit {
        /// The layer.
        layer: String,
        /// What does not fit, and the remedy.
        problem: String,
    },
}

impl<'a> Lowering<'a> {
    /// Starts an empty program for `workload` under `scheme`.
    pub fn new(workload: &'a Workload, scheme: &'a dyn Scheme, calibration: Option<&'a Calibration>) -> Lowering<'a> {
        Lowering {
            workload,
            scheme,
            calibration,
            program: Program::default(),
            sources: vec![None; workload.tensors().len()],
            source_formats: workload.tensor_formats(),
            transposed: BTreeMap::new(),
            absorbed: absorbed(workload, scheme, calibration),
            scales: Made::new(),
            static_scales: Made::new(),
            codes: Made::new(),
            blocks: Made::new(),
            arriving: Arriving::Real,
        }
    }

    /// Lowers each layer in execution order.
    ///
    /// # Errors
    /// What the scheme refuses.
    pub fn run(mut self) -> Result<Program, LoweringError> {
        let (workload, scheme) = (self.workload, self.scheme);
        for name in scheme.layers() {
            if !workload.layers().iter().any(|layer| layer.name == name) {
                let products =
                    workload.layers().iter().filter(|layer| matches!(layer.operation, LayerOperation::Gemm(_)));
                let products: Vec<&str> = products.map(|layer| layer.name.as_str()).collect();
                let problem = format!(
                    "scheme `{}` names it, but the workload has no such layer; its products are: {}",
                    scheme.name(),
                    products.join(", ")
                );
                return Err(LoweringError::Unfit { layer: name.to_owned(), problem });
            }
        }
        for (index, layer) in workload.layers().iter().enumerate() {
            let id = LayerId(index);
            // The layer's line stands before its operations are added, because their text names it; the output is
            // known only afterwards.
            let (name, output) = (layer.name.clone(), TensorId(usize::MAX));
            self.program.layers.push(ProgramLayer { name, output, deviations: Vec::new() });
            let output = match &layer.operation {
                LayerOperation::Gemm(gemm) => lower_product(scheme, &mut self, id, &gemm.with_constant_by_rows())?,
                LayerOperation::Activate { function, input, shape } => {
                    let input = self.value(*input);
                    let output = self.produced(id, "out", *shape, workload.activation_format());
                    self.push(id, Path::Body, OpKind::Activate { function: *function, input, output });
                    output
                }
                LayerOperation::Vector(vector) => {
                    let inputs = vector.inputs.iter().map(|input| self.value(*input)).collect();
                    let constants = vector.constants.iter().map(|constant| self.source(*constant)).collect();
                    let output = self.produced(id, "out", vector.shape, workload.activation_format());
                    let function = vector.function;
                    self.push(id, Path::Body, OpKind::Vector(VectorOp { function, inputs, constants, output }));
                    output
                }
            };
            self.program.layers[index].output = output;
            self.program.tensors[output.0].recorded = layer.recorded_output;
        }
        Ok(self.program)
    }

    /// What the calibration knows about the operands of a product; `None` where it has nothing of one that channels cannot
    /// be treated of, as those have that were made before such products were calibrated.
    ///
    /// # Errors
    /// [`LoweringError`] where there is none, or it is of another request or shape, or is no possible answer.
    pub fn calibrated(
        &self,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<Option<&'a LayerCalibration>, LoweringError> {
        let (name, scheme) = (self.layer_name(layer), self.scheme);
        let Some(calibration) = self.calibration else {
            return Err(LoweringError::NoCalibration { scheme: scheme.name().to_owned(), layer: name });
        };
        let asked = scheme.calibration();
        if calibration.request != asked {
            let (asked, given) = (Box::new(asked), Box::new(calibration.request));
            return Err(LoweringError::AnotherRequest { scheme: scheme.name().to_owned(), asked, given });
        }
        let Some(of_layer) = calibration.layers.get(&name) else {
            return match gemm.is_plain() {
                true => Err(LoweringError::NotCalibrated { layer: name }),
                false => Ok(None),
            };
        };
        if let Some(fault) = of_layer.faults(&asked, gemm).into_iter().next() {
            return Err(LoweringError::CalibrationMismatch { layer: name, fault: Box::new(fault) });
        }
        Ok(Some(of_layer))
    }

    /// Records that a layer gets something else than the name of its scheme says.
    pub fn deviate(&mut self, layer: LayerId, got: &str, reason: &str) {
        let deviation = Deviation { got: got.to_owned(), reason: reason.to_owned() };
        let deviations = &mut self.program.layers[layer.0].deviations;
        if !deviations.contains(&deviation) {
            deviations.push(deviation);
        }
    }

    /// Whether whoever makes the input of `layer` takes up the factors of its smoothing.
    pub fn producer_absorbs_factors(&self, layer: LayerId) -> bool {
        self.absorbed[layer.0]
    }

    /// What the calibration was made from.
    pub fn calibration_basis(&self) -> CalibrationBasis {
        self.calibration.map_or(CalibrationBasis::Assumption, |calibration| calibration.basis)
    }

    /// Whether the activations of `layer` can be there in quantized form when the run starts.
    ///
    /// # Errors
    /// [`LoweringError::Unfit`] where another layer makes them.
    pub fn check_arriving(&self, layer: LayerId, gemm: &LogicalGemm, arriving: Arriving) -> Result<(), LoweringError> {
        let (Arriving::Prequantized, ValueRef::Layer(maker)) = (arriving, gemm.input) else { return Ok(()) };
        let problem = format!(
            "its activations are those of layer `{}`, which this run makes, so they cannot arrive quantized; write \
             activations: real, or give the layer an input from outside",
            self.layer_name(maker)
        );
        Err(LoweringError::Unfit { layer: self.layer_name(layer), problem })
    }

    /// Adds operations on activations that `of` makes: to the run, or, where they arrive quantized, to what is done before
    /// it and costs nothing.
    pub fn on_activations<T>(&mut self, arriving: Arriving, of: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.arriving, arriving);
        let made = of(self);
        self.arriving = before;
        made
    }

    fn produced_origin(&self) -> Origin {
        match self.arriving {
            Arriving::Real => Origin::Produced,
            Arriving::Prequantized => Origin::Prepared,
        }
    }

    /// Name of a layer.
    pub fn layer_name(&self, layer: LayerId) -> String {
        self.workload.layer(layer).name.clone()
    }

    /// Shape of a tensor.
    pub fn shape(&self, tensor: TensorId) -> MatrixShape {
        self.program.tensor(tensor).shape
    }

    /// A constant `[1, n]` of a calibration.
    pub fn constant(
        &mut self,
        layer: LayerId,
        role: &str,
        format: &'static ElementFormat,
        values: Vec<f32>,
        is_counted: bool,
    ) -> TensorId {
        let shape = MatrixShape::new(1, values.len() as u64);
        self.program.constants.push(values);
        let constant = ConstantId(self.program.constants.len() - 1);
        let tensor = self.tensor(layer, role, shape, format, Origin::Constant(constant));
        self.program.tensors[tensor.0].is_counted = is_counted;
        tensor
    }

    /// A tensor that the preparation writes, named `layer.role`.
    pub fn prepared(
        &mut self,
        layer: LayerId,
        role: &str,
        shape: MatrixShape,
        format: &'static ElementFormat,
    ) -> TensorId {
        self.tensor(layer, role, shape, format, Origin::Prepared)
    }

    /// Adds an operation of the preparation.
    pub fn prepare(&mut self, layer: LayerId, path: Path, kind: OpKind) {
        self.program.preparation.push(Op { layer, path, unit: None, kind });
    }

    /// The layer's output tensor, still without a writer.
    pub fn layer_output(&mut self, layer: LayerId, gemm: &LogicalGemm) -> TensorId {
        self.produced(layer, "out", gemm.output_shape(), self.workload.activation_format())
    }

    /// The real-valued tensor behind a workload value.
    pub fn value(&mut self, value: ValueRef) -> TensorId {
        match value {
            ValueRef::Layer(id) => self.program.layer(id).output,
            ValueRef::Source(id) => self.source(id),
        }
    }

    /// A tensor that an operation of the run writes, named `layer.role`.
    pub fn produced(
        &mut self,
        layer: LayerId,
        role: &str,
        shape: MatrixShape,
        format: &'static ElementFormat,
    ) -> TensorId {
        self.tensor(layer, role, shape, format, self.produced_origin())
    }

    /// Adds an operation of the run.
    pub fn push(&mut self, layer: LayerId, path: Path, kind: OpKind) {
        let ops = match self.arriving {
            Arriving::Real => &mut self.program.ops,
            Arriving::Prequantized => &mut self.program.preparation,
        };
        ops.push(Op { layer, path, unit: None, kind });
    }

    /// Asks for a matrix unit for the operation that was added last, a product.
    pub fn ask_unit(&mut self, unit: Option<&str>) {
        if let Some(op) = self.program.ops.last_mut() {
            op.unit = unit.map(str::to_owned);
        }
    }

    /// Adds a dynamic scale reduction of `input` and returns its scale; where an earlier layer has reduced the same tensor
    /// in the same way, that scale serves again.
    ///
    /// The windows of a convolution mix rows, so what cannot be scaled per row there is scaled per tensor.
    pub fn dynamic_scale(&mut self, layer: LayerId, input: TensorId, scope: Scope, target: ScaleTarget) -> Scale {
        let mixes_rows = match &self.workload.layer(layer).operation {
            LayerOperation::Gemm(gemm) => gemm.window.is_some_and(|window| !window.is_pointwise()),
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => false,
        };
        let is_widened = scope == Scope::Row && mixes_rows;
        if is_widened {
            self.deviate(layer, "one activation scale for the whole tensor", "windows of a convolution mix rows");
        }
        let scope = if is_widened { Scope::Tensor } else { scope };
        self.reduced_scale(layer, input, scope, target, "x_scale")
    }

    /// A scale over `input` whose largest magnitude `range` a calibration gave; where an earlier layer has scaled the same
    /// tensor so, that scale serves again.
    pub fn static_scale(
        &mut self,
        layer: LayerId,
        input: TensorId,
        role: &str,
        format: &'static ElementFormat,
        range: f32,
    ) -> Scale {
        let way = (format, range.to_bits());
        if let Some(scale) = self.static_scales.get(input, &way) {
            return scale;
        }
        let scale = crate::numerics::quantize::ScaledQuantizer::new(format).scale(range);
        let tensor = self.constant(layer, role, &formats::FP32, vec![scale], true);
        let scale = Scale { tensor, scope: Scope::Tensor, source: ScaleSource::Static };
        self.static_scales.keep(input, way, scale);
        scale
    }

    fn reduced_scale(
        &mut self,
        layer: LayerId,
        input: TensorId,
        scope: Scope,
        target: ScaleTarget,
        role: &str,
    ) -> Scale {
        let way = (scope, target);
        if let Some(scale) = self.scales.get(input, &way) {
            return scale;
        }
        let shape = scope_shape(scope, self.program.tensor(input).shape);
        let tensor = self.produced(layer, role, shape, &formats::FP32);
        self.push(layer, Path::ScaleReduction, OpKind::Reduce { input, output: tensor, scope, target });
        let scale = Scale { tensor, scope, source: ScaleSource::Dynamic };
        self.scales.keep(input, way, scale);
        scale
    }

    /// Quantizes `input` during the run; where an earlier layer has quantized the same tensor in the same way, those codes
    /// serve again, and what is in that format already is its own codes.
    pub fn quantize(
        &mut self,
        layer: LayerId,
        input: TensorId,
        scale: Option<Scale>,
        format: &'static ElementFormat,
    ) -> TensorId {
        self.quantized(layer, input, scale, format, "x_codes")
    }

    fn quantized(
        &mut self,
        layer: LayerId,
        input: TensorId,
        scale: Option<Scale>,
        format: &'static ElementFormat,
        role: &str,
    ) -> TensorId {
        if self.is_cast_to_itself(input, scale, format) {
            return input;
        }
        let way = QuantizedAs { scale, format };
        if let Some(codes) = self.codes.get(input, &way) {
            return codes;
        }
        let shape = self.program.tensor(input).shape;
        let output = self.produced(layer, role, shape, format);
        self.push(layer, Path::Quantization, OpKind::Quantize { input, scale, output });
        self.codes.keep(input, way, output);
        output
    }

    /// Whether rounding `input` to `format` would leave every element as it is.
    fn is_cast_to_itself(&self, input: TensorId, scale: Option<Scale>, format: &'static ElementFormat) -> bool {
        scale.is_none() && self.format(input) == format
    }

    /// How the right operand of a layer's product lies in the program.
    fn weight_layout(&self, layer: LayerId) -> RightLayout {
        self.product_of(layer).with_constant_by_rows().weight_layout
    }

    /// Quantizes the right operand of a product: a constant before the run, with a static scale; the output of another
    /// layer during the run, with a dynamic one. A scale per column is one for each output channel, however the operand is
    /// stored.
    pub fn prepared_weight(
        &mut self,
        layer: LayerId,
        scope: Option<Scope>,
        format: &'static ElementFormat,
    ) -> (TensorId, Option<Scale>) {
        let input = self.right_operand(layer);
        if let ValueRef::Source(_) = self.product_of(layer).weight {
            return self.prepared_matrix(layer, input, scope, format);
        }
        let scale = self
            .stored_scope(layer, scope)
            .map(|scope| self.reduced_scale(layer, input, scope, ScaleTarget::Element(format), "w_scale"));
        let codes = self.quantized(layer, input, scale, format, "w_codes");
        (codes, scale.zip(scope).map(|(scale, scope)| Scale { scope, ..scale }))
    }

    /// Quantizes a right operand that another layer computes by a scale over it whose largest magnitude `range` a
    /// calibration gave.
    pub fn static_weight(&mut self, layer: LayerId, format: &'static ElementFormat, range: f32) -> (TensorId, Scale) {
        let input = self.right_operand(layer);
        let scale = self.static_scale(layer, input, "w_scale", format, range);
        (self.quantized(layer, input, Some(scale), format, "w_codes"), scale)
    }

    /// Where the right operand is stored by output columns, its rows are what the program calls columns.
    fn stored_scope(&self, layer: LayerId, scope: Option<Scope>) -> Option<Scope> {
        scope.map(|scope| match (scope, self.weight_layout(layer)) {
            (Scope::Column, RightLayout::NByK) => Scope::Row,
            (scope, _) => scope,
        })
    }

    /// Quantizes a constant right operand of a product before the run: codes and static scale.
    pub fn prepared_matrix(
        &mut self,
        layer: LayerId,
        input: TensorId,
        scope: Option<Scope>,
        format: &'static ElementFormat,
    ) -> (TensorId, Option<Scale>) {
        let stored = self.stored_scope(layer, scope);
        if stored.is_none() && self.is_cast_to_itself(input, None, format) {
            return (input, None);
        }
        let shape = self.program.tensor(input).shape;
        let scale = stored.map(|scope| self.prepared_scale(layer, input, scope, ScaleTarget::Element(format)));
        let codes = self.tensor(layer, "w_codes", shape, format, Origin::Prepared);
        let quantize = OpKind::Quantize { input, scale, output: codes };
        self.program.preparation.push(Op { layer, path: Path::Quantization, unit: None, kind: quantize });
        (codes, scale.zip(scope).map(|(scale, scope)| Scale { scope, ..scale }))
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
        let sums = self.produced(layer, "sums", gemm.output_shape(), self.sums_format(left, right));
        // Blocks of weights run along k and are stored contiguously.
        let right_layout = if right.blocks.is_some() { RightLayout::NByK } else { gemm.weight_layout };
        let batching = Batching { right: right_axis(gemm, right_layout), ..gemm.batching };
        let (shape, window) = (gemm.shape, gemm.window);
        let (right_rows, initial) = (None, None);
        let product = Gemm { shape, left, right, right_layout, batching, window, right_rows, initial, output: sums };
        self.push(layer, Path::Body, OpKind::Gemm(product));
        let bias = gemm.bias.map(|bias| self.source(bias));
        let output = self.layer_output(layer, gemm);
        let kind = OpKind::Dequantize { input: sums, left_scale, right_scale, bias, batching, output };
        self.push(layer, Path::Dequantization, kind);
        output
    }

    /// Products of plain integers are summed in INT32, all others in FP32.
    fn sums_format(&self, left: GemmOperand, right: GemmOperand) -> &'static ElementFormat {
        let is_integer =
            |operand: GemmOperand| operand.blocks.is_none() && self.program.tensor(operand.codes).format.is_integer();
        if is_integer(left) && is_integer(right) { &formats::INT32 } else { &formats::FP32 }
    }

    /// Scales sums back to real values in `output`.
    pub fn dequantize(
        &mut self,
        layer: LayerId,
        sums: TensorId,
        [left_scale, right_scale]: [Option<Scale>; 2],
        bias: Option<SourceTensorId>,
        output: TensorId,
    ) {
        let bias = bias.map(|bias| self.source(bias));
        let batching = Batching::SINGLE;
        let kind = OpKind::Dequantize { input: sums, left_scale, right_scale, bias, batching, output };
        self.push(layer, Path::Dequantization, kind);
    }

    /// Format of a tensor.
    pub fn format(&self, tensor: TensorId) -> &'static ElementFormat {
        self.program.tensor(tensor).format
    }

    /// Adds a product; returns its sums. Products of plain integers are summed in INT32, all others in FP32.
    pub fn product(
        &mut self,
        layer: LayerId,
        path: Path,
        left: GemmOperand,
        right: GemmOperand,
        initial: Option<InitialSums>,
    ) -> TensorId {
        // Blocks of weights run along k and are stored contiguously.
        let right_layout = if right.blocks.is_some() { RightLayout::NByK } else { RightLayout::KByN };
        let MatrixShape { rows: m, columns: k } = self.shape(left.codes);
        let n = match right_layout {
            RightLayout::KByN => self.shape(right.codes).columns,
            RightLayout::NByK => self.shape(right.codes).rows,
        };
        let shape = GemmShape::new(m, k, n);
        let sums_format = self.sums_format(left, right);
        let role = match path {
            Path::Auxiliary => "auxiliary_sums",
            Path::Branch => "branch_sums",
            Path::Body
            | Path::Extraction
            | Path::ScaleReduction
            | Path::Quantization
            | Path::Merge
            | Path::Dequantization => "sums",
        };
        let output = self.produced(layer, role, shape.output(), sums_format);
        let (batching, window, right_rows) = (Batching::SINGLE, None, None);
        let gemm = Gemm { shape, left, right, right_layout, batching, window, right_rows, initial, output };
        self.push(layer, path, OpKind::Gemm(gemm));
        output
    }

    /// Adds a product of each row of `left` with rows of `right` of its own, which `rows` names: one sum of rows a token.
    pub fn product_of_gathered_rows(
        &mut self,
        layer: LayerId,
        path: Path,
        left: TensorId,
        right: TensorId,
        rows: TensorId,
    ) -> TensorId {
        let MatrixShape { rows: tokens, columns: k } = self.shape(left);
        let n = self.shape(right).columns;
        let [left, right] = [left, right].map(GemmOperand::plain);
        let format = self.sums_format(left, right);
        let output = self.produced(layer, "branch_sums", MatrixShape::new(tokens, n), format);
        let (axis, right_layout) = (BatchAxis::Rows, RightLayout::KByN);
        let batching = Batching { count: tokens, right_sharing: 1, left: axis, right: axis, output: axis };
        let (shape, window, right_rows, initial) = (GemmShape::new(1, k, n), None, Some(rows), None);
        let gemm = Gemm { shape, left, right, right_layout, batching, window, right_rows, initial, output };
        self.push(layer, path, OpKind::Gemm(gemm));
        output
    }

    /// Gathers the selected channels' rows of a constant weight `[k, n]` before the run, rounded to `format`.
    pub fn prepared_rows(
        &mut self,
        layer: LayerId,
        role: &str,
        input: TensorId,
        channels: Vec<Option<u32>>,
        format: &'static ElementFormat,
    ) -> TensorId {
        let shape = MatrixShape::new(channels.len() as u64, self.shape(input).columns);
        let output = self.prepared(layer, role, shape, format);
        let selection = Selection::Static { channels, table: None };
        self.prepare(
            layer,
            Path::Extraction,
            OpKind::GatherRows(GatherRows { input, selection, output, mover: Mover::Inline }),
        );
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

/// Along which axis of the stored codes right operands lie: codes that were transposed have turned their batches too.
fn right_axis(gemm: &LogicalGemm, stored: RightLayout) -> BatchAxis {
    if stored == gemm.weight_layout { gemm.batching.right } else { gemm.batching.right.turned() }
}
