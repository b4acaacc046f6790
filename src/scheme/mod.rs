//! Quantization schemes: how a logical matrix product becomes operations of a program.
//!
//! A scheme sees the workload and its own parameters, never the hardware: what a machine makes of the operations is the
//! schedule's business. A new scheme is one file and one line in [`ALL`].

pub mod lowering;
pub mod w8a8;

use crate::program::Program;
use crate::scheme::lowering::Lowering;
use crate::workload::graph::Workload;
use crate::workload::layer::{LayerId, LogicalGemm};

/// How a family of schemes turns matrix products into operations.
pub trait Scheme: Sync + std::fmt::Debug {
    /// Name in files and on the command line.
    fn name(&self) -> &'static str;

    /// One sentence for `npusim list`.
    fn description(&self) -> &'static str;

    /// Lowers one matrix product and returns its real-valued output.
    fn lower_gemm(
        &self,
        lowering: &mut Lowering<'_>,
        layer: LayerId,
        gemm: &LogicalGemm,
    ) -> crate::program::tensor::TensorId;
}

/// Every scheme that can be named without a file, in the order of listings.
pub static ALL: &[&dyn Scheme] = &[&w8a8::PER_TENSOR, &w8a8::PER_TENSOR_PER_CHANNEL, &w8a8::PER_TOKEN_PER_CHANNEL];

/// The scheme of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Scheme> {
    ALL.iter().copied().find(|scheme| scheme.name() == name)
}

/// Lowers a whole workload under one scheme.
pub fn lower(workload: &Workload, scheme: &dyn Scheme) -> Program {
    Lowering::new(workload).run(scheme)
}
