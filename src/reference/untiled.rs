//! The program evaluated whole, one operation after the other, with plain loops over rows and columns.

use crate::numerics::accumulate::IntegerAccumulator;
use crate::numerics::block::{BlockFormat, BlockOptions, BlockTensor};
use crate::numerics::formats::{ElementFormat, Overflow, Rounding};
use crate::numerics::functions;
use crate::numerics::gemm::float::{self, FloatTile};
use crate::numerics::gemm::{BlockScales, Matrix, MatrixMut, Operand, int8};
use crate::numerics::quantize::{Granularity, abs_maxima};
use crate::numerics::tensor::{Elements, Tensor};
use crate::program::Program;
use crate::program::op::{BlockAxis, Gemm, GemmOperand, OpKind, OperandBlocks, RightLayout, Scale, ScaleTarget, Scope};
use crate::program::tensor::{Origin, TensorId};
use crate::schedule::accumulation::{AccumulationPlan, Accumulator};
use crate::shape::{MatrixShape, Span};
use crate::workload::bindings::Bindings;
use crate::workload::layer::ActivationFunction;

/// Evaluates `program` under the accumulation plans of its products, by operation; returns each tensor as its consumers see
/// it (records in place of computed values), and `None` for what needs a tensor without values.
pub fn evaluate(program: &Program, plans: &[Option<AccumulationPlan>], bindings: &Bindings) -> Vec<Option<Tensor>> {
    let mut evaluator = Evaluator { program, tensors: vec![None; program.tensors.len()] };
    for (index, tensor) in program.tensors.iter().enumerate() {
        if let Origin::Source(id) = tensor.origin {
            evaluator.tensors[index] = bindings.get(id).cloned();
        }
    }
    let preparation = program.preparation.iter().map(|op| (op, None));
    for (op, plan) in preparation.chain(program.ops.iter().zip(plans.iter().map(Option::as_ref))) {
        let computed = evaluator.compute(&op.kind, plan);
        for (id, tensor) in op.kind.writes().into_iter().zip(computed) {
            evaluator.tensors[id.0] = match program.tensor(id).recorded {
                None => tensor,
                Some(record) => bindings.get(record).and_then(|record| evaluator.real(id, &record.to_f32())),
            };
        }
    }
    evaluator.tensors
}

struct Evaluator<'a> {
    program: &'a Program,
    tensors: Vec<Option<Tensor>>,
}

impl Evaluator<'_> {
    /// The tensors that an operation writes, in its order.
    fn compute(&self, kind: &OpKind, plan: Option<&AccumulationPlan>) -> Vec<Option<Tensor>> {
        match kind {
            OpKind::Gemm(gemm) => vec![plan.and_then(|plan| self.product(gemm, plan))],
            OpKind::Reduce { input, output, scope, target } => vec![self.scales(*input, *output, *scope, *target)],
            OpKind::Quantize { input, scale, output } => vec![self.quantize(*input, scale.as_ref(), *output)],
            OpKind::QuantizeBlocks { input, format, along, tensor_scale, .. } => {
                let blocks = self.quantize_blocks(*input, format, *along, tensor_scale.as_ref());
                let parts = blocks.map(|blocks| (blocks.codes().clone(), blocks.scales().clone()));
                let (codes, scales) = parts.unzip();
                vec![codes, scales]
            }
            OpKind::Dequantize { input, left_scale, right_scale, bias, output } => {
                vec![self.dequantize(*input, [left_scale.as_ref(), right_scale.as_ref()], *bias, *output)]
            }
            OpKind::Activate { function, input, output } => {
                let apply = match function {
                    ActivationFunction::Gelu => functions::gelu,
                    ActivationFunction::GeluTanh => functions::gelu_tanh,
                    ActivationFunction::Relu => functions::relu,
                    ActivationFunction::Silu => functions::silu,
                };
                let values = self.get(*input).map(|input| input.to_f32().into_iter().map(apply).collect::<Vec<_>>());
                vec![values.and_then(|values| self.real(*output, &values))]
            }
        }
    }

    fn get(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
    }

    /// Real values in the format of a tensor.
    fn real(&self, id: TensorId, values: &[f32]) -> Option<Tensor> {
        let described = self.program.tensor(id);
        Tensor::from_f32(described.shape, described.format, values, Rounding::NearestEven, Overflow::Saturate).ok()
    }

    fn product(&self, gemm: &Gemm, plan: &AccumulationPlan) -> Option<Tensor> {
        let size = |extent: u64| usize::try_from(extent).ok();
        let (m, k, n) = (size(gemm.shape.m)?, size(gemm.shape.k)?, size(gemm.shape.n)?);
        match plan.accumulator {
            Accumulator::Integer(accumulator) if accumulator != IntegerAccumulator::INT32 => {
                let left = self.get(gemm.left.codes)?.as_i8()?;
                let right = self.get(gemm.right.codes)?.transposed();
                let products = accumulator.products_per_operation();
                let mut sums = Vec::with_capacity(m * n);
                let parts = plan.parts();
                for row in left.chunks_exact(k) {
                    for column in right.as_i8()?.chunks_exact(k) {
                        let sum_of = |spans: &Vec<Span>| {
                            let mut sum = 0;
                            for span in spans {
                                let span = span.start as usize..span.end as usize;
                                let operations = row[span.clone()].chunks(products).zip(column[span].chunks(products));
                                for (row, column) in operations {
                                    let terms = row.iter().zip(column).map(|(a, b)| i64::from(*a) * i64::from(*b));
                                    sum = accumulator.add(sum, terms.sum());
                                }
                            }
                            accumulator.read(sum)
                        };
                        let joined = parts.iter().map(sum_of);
                        let sum = joined.reduce(|sum, part| accumulator.read(accumulator.add(sum, part)))?;
                        sums.push(i32::try_from(sum).ok()?);
                    }
                }
                let described = self.program.tensor(gemm.output);
                Tensor::try_new(described.shape, described.format, Elements::I32(sums)).ok()
            }
            Accumulator::Integer(_) => {
                let left = Matrix::dense(self.get(gemm.left.codes)?.as_i8()?, m, k).ok()?;
                let right = Matrix::dense(self.get(gemm.right.codes)?.as_i8()?, k, n).ok()?;
                let mut sums = vec![0; m * n];
                int8::reference(left, right, MatrixMut::dense(&mut sums, m, n).ok()?).ok()?;
                let described = self.program.tensor(gemm.output);
                Tensor::try_new(described.shape, described.format, Elements::I32(sums)).ok()
            }
            Accumulator::Float { order, destination, depth } => {
                let left = self.operand(gemm.left, RightLayout::NByK)?;
                let right = self.operand(gemm.right, gemm.right_layout)?;
                let mut joined: Option<Vec<f32>> = None;
                for spans in plan.parts() {
                    let mut tile = FloatTile::try_new(m, n, size(depth)?, order, destination).ok()?;
                    for Span { start, end } in spans {
                        let depth = size(start)?..size(end)?;
                        let (left, right) = (left.part(0..m, depth.clone()).ok()?, right.part(0..n, depth).ok()?);
                        float::reference(&left, &right, &mut tile).ok()?;
                    }
                    let sums = tile.values();
                    joined = Some(match joined {
                        None => sums,
                        // One NaN, whatever its origin.
                        Some(before) => before
                            .iter()
                            .zip(&sums)
                            .map(|(a, b)| if (a + b).is_nan() { f32::NAN } else { a + b })
                            .collect(),
                    });
                }
                self.real(gemm.output, &joined?)
            }
        }
    }

    fn operand(&self, operand: GemmOperand, layout: RightLayout) -> Option<Operand> {
        let codes = self.get(operand.codes)?;
        let codes = if layout == RightLayout::KByN { codes.transposed() } else { codes.clone() };
        let Some(OperandBlocks { scales, format }) = operand.blocks else {
            return Operand::try_new(codes.view(), 0, None).ok();
        };
        let block = usize::try_from(format.block()).ok()?;
        let scales = BlockScales { format: format.scale(), codes: self.get(scales)?.as_code8()?, block };
        Operand::try_new(codes.view(), format.implicit_exponent(), Some(scales)).ok()
    }

    fn scales(&self, input: TensorId, output: TensorId, scope: Scope, target: ScaleTarget) -> Option<Tensor> {
        let granularity = match scope {
            Scope::Tensor => Granularity::PerTensor,
            Scope::Row => Granularity::PerRow,
            Scope::Column => Granularity::PerColumn,
        };
        let input = self.get(input)?;
        let maxima = abs_maxima(&input.to_f32(), input.shape(), granularity);
        let scales: Vec<f32> = match target {
            ScaleTarget::Element(format) => maxima.into_iter().map(|abs_max| scale_of(format, abs_max)).collect(),
            ScaleTarget::Blocks(format) => {
                let quantizer = format.quantizer(BlockOptions::default()).ok()?;
                maxima.into_iter().map(|abs_max| quantizer.tensor_scale_of(abs_max)).collect()
            }
        };
        self.real(output, &scales)
    }

    fn quantize(&self, input: TensorId, scale: Option<&Scale>, output: TensorId) -> Option<Tensor> {
        let MatrixShape { columns, .. } = self.program.tensor(output).shape;
        let scales = match scale {
            Some(scale) => Some((self.get(scale.tensor)?, scale.scope)),
            None => None,
        };
        let divided = self.get(input)?.to_f32().into_iter().enumerate().map(|(index, value)| match scales {
            None => value,
            Some((scales, scope)) => {
                let (row, column) = (index as u64 / columns, index as u64 % columns);
                value / scale_at(scales, scope, row, column)
            }
        });
        let divided: Vec<f32> = divided.collect();
        // An integer's symmetric range leaves out the lowest code.
        let format = self.program.tensor(output).format;
        let lowest = if format.is_integer() { -format.max_finite() as f32 } else { f32::NEG_INFINITY };
        let clipped: Vec<f32> = divided.into_iter().map(|value| if value < lowest { lowest } else { value }).collect();
        self.real(output, &clipped)
    }

    fn quantize_blocks(
        &self,
        input: TensorId,
        format: &'static BlockFormat,
        along: BlockAxis,
        tensor_scale: Option<&Scale>,
    ) -> Option<BlockTensor> {
        let input = match along {
            BlockAxis::Columns => self.get(input)?.clone(),
            BlockAxis::Rows => self.get(input)?.transposed(),
        };
        let quantizer = format.quantizer(BlockOptions::default()).ok()?;
        let blocks = quantizer.quantize(&input.to_f32(), input.shape());
        if let Some(scale) = tensor_scale {
            // The whole-matrix quantizer finds the tensor scale by itself; it must be the one that the program reduced.
            let reduced = self.get(scale.tensor)?.value(0, 0) as f32;
            (blocks.tensor_scale().to_bits() == reduced.to_bits()).then_some(())?;
        }
        Some(blocks)
    }

    fn dequantize(
        &self,
        input: TensorId,
        scales: [Option<&Scale>; 2],
        bias: Option<TensorId>,
        output: TensorId,
    ) -> Option<Tensor> {
        let sums = self.get(input)?;
        let MatrixShape { columns, .. } = sums.shape();
        let bias = match bias {
            Some(bias) => Some(self.get(bias)?.to_f32()),
            None => None,
        };
        let mut values = sums.to_f32();
        for (index, value) in values.iter_mut().enumerate() {
            let (row, column) = (index as u64 / columns, index as u64 % columns);
            let [left, right] = scales.map(|scale| match scale {
                None => Some(1.0),
                Some(scale) => Some(scale_at(self.get(scale.tensor)?, scale.scope, row, column)),
            });
            *value *= left? * right?;
            if let Some(bias) = &bias {
                *value += bias[index % columns as usize];
            }
        }
        self.real(output, &values)
    }
}

fn scale_of(format: &'static ElementFormat, abs_max: f32) -> f32 {
    let scale = abs_max / format.max_finite() as f32;
    if scale == 0.0 { 1.0 } else { scale }
}

fn scale_at(scales: &Tensor, scope: Scope, row: u64, column: u64) -> f32 {
    let value = match scope {
        Scope::Tensor => scales.value(0, 0),
        Scope::Row => scales.value(row, 0),
        Scope::Column => scales.value(0, column),
    };
    value as f32
}
