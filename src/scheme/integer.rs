//! Integer networks: every tensor is INT8 codes from the start, and sums are saturated back to INT8.
//!
//! What an accelerator without scales computes: `y = saturate(sum x w)`, as NVDLA's convolution with its output shift at
//! zero. Real values that such a network is given are rounded to codes as they are.

use crate::numerics::formats;
use crate::program::op::{Gemm, GemmOperand, OpKind, Path, RightLayout};
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::Lowering;
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

    fn lower_gemm(&self, lowering: &mut Lowering<'_>, layer: LayerId, gemm: &LogicalGemm) -> TensorId {
        let left = match gemm.input {
            ValueRef::Source(id) => lowering.source_as(id, &formats::INT8),
            ValueRef::Layer(_) => lowering.value(gemm.input),
        };
        let right = lowering.source_as(gemm.weight, &formats::INT8);
        let shape = gemm.shape;
        let sums = lowering.produced(layer, "sums", shape.output(), &formats::INT32);
        let [left, right] = [left, right].map(GemmOperand::plain);
        let product = Gemm { shape, left, right, right_layout: RightLayout::KByN, output: sums };
        lowering.push(layer, Path::Body, OpKind::Gemm(product));
        let input = match gemm.bias {
            None => sums,
            Some(bias) => {
                let bias = Some(lowering.source(bias));
                let output = lowering.produced(layer, "biased", shape.output(), &formats::FP32);
                let kind = OpKind::Dequantize { input: sums, left_scale: None, right_scale: None, bias, output };
                lowering.push(layer, Path::Dequantization, kind);
                output
            }
        };
        let output = lowering.produced(layer, "out", shape.output(), &formats::INT8);
        lowering.push(layer, Path::Quantization, OpKind::Quantize { input, scale: None, output });
        output
    }
}
