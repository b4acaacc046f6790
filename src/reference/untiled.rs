//! The program evaluated whole, one operation after the other, with plain loops over rows and columns.

use crate::numerics::dequantize::{RowScales, dequantize_row};
use crate::numerics::formats::{Overflow, Rounding};
use crate::numerics::functions;
use crate::numerics::gemm::{Matrix, MatrixMut, int8};
use crate::numerics::quantize::{Granularity, SymmetricQuantizer, abs_maxima};
use crate::numerics::tensor::{Elements, Tensor};
use crate::program::Program;
use crate::program::op::{Gemm, OpKind, Scale, Scope};
use crate::program::tensor::{Origin, TensorId};
use crate::shape::MatrixShape;
use crate::workload::bindings::Bindings;
use crate::workload::layer::ActivationFunction;

/// Evaluates `program`; returns each tensor as its consumers see it (records in place of computed values), and `None`
/// for what needs a tensor without values.
pub fn evaluate(program: &Program, bindings: &Bindings) -> Vec<Option<Tensor>> {
    let mut evaluator = Evaluator { program, tensors: vec![None; program.tensors.len()] };
    for (index, tensor) in program.tensors.iter().enumerate() {
        if let Origin::Source(id) = tensor.origin {
            evaluator.tensors[index] = bindings.get(id).cloned();
        }
    }
    for op in program.preparation.iter().chain(&program.ops) {
        let output = op.kind.output();
        let computed = evaluator.compute(&op.kind);
        evaluator.tensors[output.0] = match program.tensor(output).recorded {
            None => computed,
            Some(record) => bindings.get(record).and_then(|record| evaluator.real(output, &record.to_f32())),
        };
    }
    evaluator.tensors
}

struct Evaluator<'a> {
    program: &'a Program,
    tensors: Vec<Option<Tensor>>,
}

impl Evaluator<'_> {
    fn compute(&self, kind: &OpKind) -> Option<Tensor> {
        match kind {
            OpKind::Gemm(gemm) => self.product(gemm),
            OpKind::Reduce { input, output, scope, target } => {
                let quantizer = SymmetricQuantizer::try_new(target).ok()?;
                let granularity = match scope {
                    Scope::Tensor => Granularity::PerTensor,
                    Scope::Row => Granularity::PerRow,
                    Scope::Column => Granularity::PerColumn,
                };
                let input = self.get(*input)?;
                let maxima = abs_maxima(&input.to_f32(), input.shape(), granularity);
                let scales: Vec<f32> = maxima.into_iter().map(|maximum| quantizer.scale(maximum)).collect();
                self.real(*output, &scales)
            }
            OpKind::Quantize { input, scale, output } => self.quantize(*input, scale, *output),
            OpKind::Dequantize { input, left_scale, right_scale, bias, output } => {
                self.dequantize(*input, (left_scale, right_scale), *bias, *output)
            }
            OpKind::Activate { function, input, output } => {
                let apply = match function {
                    ActivationFunction::Gelu => functions::gelu,
                    ActivationFunction::GeluTanh => functions::gelu_tanh,
                    ActivationFunction::Relu => functions::relu,
                    ActivationFunction::Silu => functions::silu,
                };
                let values: Vec<f32> = self.get(*input)?.to_f32().into_iter().map(apply).collect();
                self.real(*output, &values)
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

    fn product(&self, gemm: &Gemm) -> Option<Tensor> {
        let size = |extent: u64| usize::try_from(extent).ok();
        let (m, k, n) = (size(gemm.shape.m)?, size(gemm.shape.k)?, size(gemm.shape.n)?);
        let left = Matrix::dense(self.get(gemm.left)?.as_i8()?, m, k).ok()?;
        let right = Matrix::dense(self.get(gemm.right)?.as_i8()?, k, n).ok()?;
        let mut sums = vec![0; m * n];
        int8::reference(left, right, MatrixMut::dense(&mut sums, m, n).ok()?).ok()?;
        let described = self.program.tensor(gemm.output);
        Tensor::try_new(described.shape, described.format, Elements::I32(sums)).ok()
    }

    fn quantize(&self, input: TensorId, scale: &Scale, output: TensorId) -> Option<Tensor> {
        let described = self.program.tensor(output);
        let quantizer = SymmetricQuantizer::try_new(described.format).ok()?;
        let values = self.get(input)?.to_f32();
        let scales = self.get(scale.tensor)?;
        let mut codes = vec![0i8; values.len()];
        let columns = described.shape.columns;
        for (index, (value, code)) in values.iter().zip(&mut codes).enumerate() {
            let (row, column) = (index as u64 / columns, index as u64 % columns);
            let factor = quantizer.factor_of_scale(scale_at(scales, scale.scope, row, column));
            quantizer.quantize_row_i8(std::slice::from_ref(value), factor, std::slice::from_mut(code));
        }
        Tensor::try_new(described.shape, described.format, Elements::I8(codes)).ok()
    }

    fn dequantize(
        &self,
        input: TensorId,
        (left, right): (&Scale, &Scale),
        bias: Option<TensorId>,
        output: TensorId,
    ) -> Option<Tensor> {
        let sums = self.get(input)?;
        let MatrixShape { columns, .. } = sums.shape();
        let (left_scales, right_scales) = (self.get(left.tensor)?, self.get(right.tensor)?);
        let bias = match bias {
            Some(bias) => Some(self.get(bias)?.to_f32()),
            None => None,
        };
        let mut values = vec![0.0; sums.as_i32()?.len()];
        for (index, (sum, value)) in sums.as_i32()?.iter().zip(&mut values).enumerate() {
            let (row, column) = (index as u64 / columns, index as u64 % columns);
            let right = [scale_at(right_scales, right.scope, row, column)];
            let scales = RowScales {
                left: scale_at(left_scales, left.scope, row, column),
                right: &right,
                bias: bias.as_ref().map(|bias| &bias[index % columns as usize..][..1]),
            };
            dequantize_row(&[*sum], scales, std::slice::from_mut(value));
        }
        self.real(output, &values)
    }
}

fn scale_at(scales: &Tensor, scope: Scope, row: u64, column: u64) -> f32 {
    let value = match scope {
        Scope::Tensor => scales.value(0, 0),
        Scope::Row => scales.value(row, 0),
        Scope::Column => scales.value(0, column),
    };
    value as f32
}
