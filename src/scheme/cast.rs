//! Plain 16-bit floats: both operands rounded to FP16 or BF16, no scales, sums in FP32.

use std::borrow::Cow;

use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::GemmOperand;
use crate::program::tensor::TensorId;
use crate::scheme::Scheme;
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::workload::layer::{LayerId, LogicalGemm};

/// Both operands in one float format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    name: Cow<'static, str>,
    description: &'static str,
    format: &'static ElementFormat,
}

/// IEEE half precision.
pub static FP16: Cast =
    Cast { name: Cow::Borrowed("fp16"), description: "FP16 operands, FP32 sums", format: &formats::FP16 };

/// The upper half of FP32.
pub static BF16: Cast =
    Cast { name: Cow::Borrowed("bf16"), description: "BF16 operands, FP32 sums", format: &formats::BF16 };

impl Cast {
    /// Both operands in `format`, which must be a float format of at most 16 bits.
    pub fn new(name: String, format: &'static ElementFormat) -> Cast {
        Cast { name: Cow::Owned(name), description: "both operands in one float format, FP32 sums", format }
    }
}

impl Scheme for Cast {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> Result<TensorId, LoweringError> {
        let (weight, _) = lowering.prepared_weight(layer, None, self.format);
        let input = lowering.value(gemm.input);
        let codes = lowering.quantize(layer, input, None, self.format);
        let [left, right] = [codes, weight].map(|codes| (GemmOperand::plain(codes), None));
        Ok(lowering.gemm_and_dequantize(layer, gemm, left, right))
    }
}
