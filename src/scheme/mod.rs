//! Quantization schemes: how a logical matrix product becomes operations of a program.
//!
//! A scheme sees the workload and its own parameters, never the hardware: what a machine makes of the operations is the
//! schedule's business. A new scheme is one file and one line in [`ALL`].

pub mod blocks;
pub mod cast;
pub mod integer;
pub mod lowering;
pub mod w8a8;

use crate::program::Program;
use crate::scheme::lowering::Lowering;
use crate::workload::graph::Workload;
use crate::workload::layer::{LayerId, LogicalGemm};

/// How a family of schemes turns matrix products into operations.
pub trait Scheme: Send + Sync + std::fmt::Debug {
    /// Name in files, reports and on the command line.
    fn name(&self) -> &str;

    /// One sentence for `npusim list`.
    fn description(&self) -> &str;

    /// Lowers one matrix product and returns its real-valued output.
    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> crate::program::tensor::TensorId;
}

/// Every scheme that can be named without a file, in the order of listings.
pub static ALL: &[&dyn Scheme] = &[
    &cast::FP16,
    &cast::BF16,
    &w8a8::PER_TENSOR,
    &w8a8::PER_TENSOR_PER_CHANNEL,
    &w8a8::PER_TOKEN_PER_CHANNEL,
    &w8a8::FP8_PER_TENSOR,
    &w8a8::FP8_PER_TOKEN_PER_CHANNEL,
    &blocks::MXFP8_E4M3,
    &blocks::MXFP8_E5M2,
    &blocks::MXFP6_E2M3,
    &blocks::MXFP6_E3M2,
    &blocks::MXFP4,
    &blocks::MXINT8,
    &blocks::MXINT4,
    &blocks::NVFP4,
    &blocks::NVFP4_ONE_LEVEL,
];

/// The scheme of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Scheme> {
    ALL.iter().copied().find(|scheme| scheme.name() == name)
}

/// Lowers a whole workload under one scheme.
pub fn lower(workload: &Workload, scheme: &dyn Scheme) -> Program {
    Lowering::new(workload).run(scheme)
}
