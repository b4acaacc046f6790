//! Tensors from outside in a program: in which format they lie off the chip, and constants laid out as products read them.

use crate::numerics::formats::ElementFormat;
use crate::program::tensor::{Origin, ProgramTensor, TensorId};
use crate::scheme::lowering::{Lowering, LoweringError};
use crate::shape::MatrixShape;
use crate::workload::layer::{LayerId, LayerOperation, LogicalGemm, RightLayout, ValueRef};
use crate::workload::tensor_description::{SourceTensorId, TensorDescription};

impl<'a> Lowering<'a> {
    /// A tensor from outside, held in off-chip memory in the format that the workload says; its values are rounded to it.
    pub fn source(&mut self, id: SourceTensorId) -> TensorId {
        self.source_in(id, self.source_formats[id.0])
    }

    /// A tensor from outside that `layer` reads as codes of `format`; its values are rounded to it. The first use decides
    /// for all.
    ///
    /// # Errors
    /// [`LoweringError::Unfit`] where the workload gives it another format.
    pub fn source_as(
        &mut self,
        layer: LayerId,
        id: SourceTensorId,
        format: &'static ElementFormat,
    ) -> Result<TensorId, LoweringError> {
        self.check_own_format(layer, id, format)?;
        Ok(self.source_in(id, format))
    }

    fn check_own_format(
        &self,
        layer: LayerId,
        id: SourceTensorId,
        format: &'static ElementFormat,
    ) -> Result<(), LoweringError> {
        let TensorDescription { name, format: own, .. } = self.workload.tensor(id);
        match own.filter(|own| *own != format) {
            None => Ok(()),
            Some(own) => {
                let problem = format!(
                    "the workload gives the tensor `{name}` in {own}, but the scheme takes it as codes of {format}; leave \
                     format: out at the tensor, or choose a scheme that quantizes"
                );
                Err(LoweringError::Unfit { layer: self.layer_name(layer), problem })
            }
        }
    }

    fn source_in(&mut self, id: SourceTensorId, format: &'static ElementFormat) -> TensorId {
        if let Some(tensor) = self.sources[id.0] {
            return tensor;
        }
        let description = self.workload.tensor(id);
        let tensor = self.program.add_tensor(ProgramTensor {
            name: description.name.clone(),
            shape: description.shape,
            format,
            origin: Origin::Source(id),
            recorded: None,
            is_counted: true,
        });
        self.sources[id.0] = Some(tensor);
        tensor
    }

    /// The right operand of a layer's product, a constant by rows, whatever the order that it is stored in.
    pub fn right_operand(&mut self, layer: LayerId) -> TensorId {
        self.right_operand_in(layer, None)
    }

    /// The same with a constant as codes of `format`. The first use decides for all.
    ///
    /// # Errors
    /// As [`Lowering::source_as`].
    pub fn right_operand_as(
        &mut self,
        layer: LayerId,
        format: &'static ElementFormat,
    ) -> Result<TensorId, LoweringError> {
        if let ValueRef::Source(id) = self.product_of(layer).weight {
            self.check_own_format(layer, id, format)?;
        }
        Ok(self.right_operand_in(layer, Some(format)))
    }

    /// The right operand with a constant in `format`, or in that of the workload.
    fn right_operand_in(&mut self, layer: LayerId, format: Option<&'static ElementFormat>) -> TensorId {
        let gemm = self.product_of(layer);
        let in_format = |this: &Self, id: SourceTensorId| format.unwrap_or(this.source_formats[id.0]);
        let (id, format) = match (gemm.weight, gemm.weight_layout) {
            (value @ ValueRef::Layer(_), _) => return self.value(value),
            (ValueRef::Source(id), RightLayout::KByN) => return self.source_in(id, in_format(self, id)),
            (ValueRef::Source(id), RightLayout::NByK) => (id, in_format(self, id)),
        };
        if let Some(tensor) = self.transposed.get(&id) {
            return *tensor;
        }
        let description = self.workload.tensor(id);
        let MatrixShape { rows, columns } = description.shape;
        let tensor = self.program.add_tensor(ProgramTensor {
            name: format!("{}^T", description.name),
            shape: MatrixShape::new(columns, rows),
            format,
            origin: Origin::Transposed(id),
            recorded: None,
            is_counted: true,
        });
        self.transposed.insert(id, tensor);
        tensor
    }

    /// The product of a layer as the workload has it.
    pub(super) fn product_of(&self, layer: LayerId) -> &'a LogicalGemm {
        match &self.workload.layer(layer).operation {
            LayerOperation::Gemm(gemm) => gemm,
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => {
                unreachable!("only a product has a right operand")
            }
        }
    }
}
