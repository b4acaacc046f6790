//! Integer networks: every tensor is INT8 codes from the start, and sums are saturated back to INT8.
//!
//! What an accelerator without scales computes: `y = saturate(sum x w)`, as NVDLA's convolution with its output shift at
//! zero. Real values that such a network is given are rounded to codes as they are.

use crate::numerics::formats;
use crate::program::op::{Gemm, GemmOperand, OpKind, Path};
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::workload::layer::{LayerId, LogicalGemm, ValueRef};

/// INT8 in, INT32 sums, INT8 out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integer {
    name: String,
}

impl Integer {
    /// The scheme, called `name`.
    pub fn new(name: String) -> Integer {
        Integer { name }
    }
}

impl Scheme for Integer {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        "INT8 codes without scales, sums saturated to INT8"
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let left = match gemm.input {
            ValueRef::Source(id) => lowering.source_as(layer, id, &formats::INT8)?,
            ValueRef::Layer(_) => lowering.value(gemm.input),
        };
        let right = lowering.right_operand_as(layer, &formats::INT8)?;
        let [left, right] = [left, right].map(GemmOperand::plain);
        let LogicalGemm { shape, weight_layout: right_layout, batching, window, .. } = *gemm;
        let sums = lowering.produced(layer, "sums", gemm.output_shape(), &formats::INT32);
        let (right_rows, initial) = (None, None);
        let product = Gemm { shape, left, right, right_layout, batching, window, right_rows, initial, output: sums };
        lowering.push(layer, Path::Body, OpKind::Gemm(product));
        let input = match gemm.bias {
            None => sums,
            Some(bias) => {
                let bias = Some(lowering.source(bias));
                let output = lowering.produced(layer, "biased", gemm.output_shape(), &formats::FP32);
                let (left_scale, right_scale) = (None, None);
                let kind = OpKind::Dequantize { input: sums, left_scale, right_scale, bias, batching, output };
                lowering.push(layer, Path::Dequantization, kind);
                output
            }
        };
        let output = lowering.produced(layer, "out", gemm.output_shape(), &formats::INT8);
        lowering.push(layer, Path::Quantization, OpKind::Quantize { input, scale: None, output });
        Ok(output)
    }
}
