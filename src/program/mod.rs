//! The lowered program: what has to be computed, exactly, in an order that respects every dependency.
//!
//! A program knows formats, scales and their scopes; it knows no hardware, no tiles and no values. Everything after it
//! (schedule, timing, execution) reads the same program, so none of them can do work that another does not see.

pub mod channels;
pub mod op;
pub mod planned;
pub mod tensor;
pub mod text;
pub mod uses;
pub mod vector_rows;
pub mod verify;

use crate::hardware::matrix_unit::ProductFormats;
use crate::program::op::{Gemm, Op, OpId};
use crate::program::tensor::{ProgramTensor, TensorId};
use crate::workload::layer::LayerId;

/// A lowered workload.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Tensors, by [`TensorId`].
    pub tensors: Vec<ProgramTensor>,
    /// Operations on constants, done once before the run and not costed: quantizing weights and the like.
    pub preparation: Vec<Op>,
    /// Operations of the run, by [`OpId`], in an order that respects dependencies.
    pub ops: Vec<Op>,
    /// Values of constants that a calibration gave, by [`ConstantId`](crate::program::tensor::ConstantId).
    pub constants: Vec<Vec<f32>>,
    /// Names of the layers, by [`LayerId`].
    pub layers: Vec<ProgramLayer>,
}

/// A layer as the program knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramLayer {
    /// Name of the layer.
    pub name: String,
    /// Tensor that holds its real-valued output.
    pub output: TensorId,
    /// Where it is not lowered as the scheme's name says.
    pub deviations: Vec<Deviation>,
}

/// What a layer gets in place of what the name of its scheme says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Deviation {
    /// The scheme that lowers it, or what is done otherwise.
    pub got: String,
    /// Why: a property of the layer.
    pub reason: String,
}

impl Program {
    /// One tensor.
    pub fn tensor(&self, id: TensorId) -> &ProgramTensor {
        &self.tensors[id.0]
    }

    /// One operation of the run.
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.0]
    }

    /// One layer.
    pub fn layer(&self, id: LayerId) -> &ProgramLayer {
        &self.layers[id.0]
    }

    /// What a product asks of a matrix unit.
    pub fn product_formats(&self, gemm: &Gemm) -> ProductFormats {
        ProductFormats {
            activation: self.tensor(gemm.left.codes).format,
            weight: self.tensor(gemm.right.codes).format,
            accumulator: self.tensor(gemm.output).format,
        }
    }

    /// Adds a tensor.
    pub fn add_tensor(&mut self, tensor: ProgramTensor) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() - 1)
    }
}
