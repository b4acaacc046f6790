//! The verifier: what must hold of every program, whoever made it.

use crate::numerics::block::BlockFormat;
use crate::program::Program;
use crate::program::channels::{ChannelSide, Selection};
use crate::program::op::{BlockAxis, Gemm, Op, OpKind, Scale, Scope};
use crate::program::tensor::{ProgramTensor, TensorId};
use crate::shape::{BlockRuns, MatrixShape};

/// A rule of programs that is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A tensor is read before anything has written it.
    #[error("`{layer}` reads %{tensor} before anything has written it")]
    ReadBeforeWrite {
        /// Layer of the reader.
        layer: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor is written twice, or a given one is written.
    #[error("%{tensor} is written by more than one operation")]
    WrittenTwice {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has no writer.
    #[error("%{tensor} is never written")]
    NeverWritten {
        /// The tensor.
        tensor: String,
    },
    /// Shapes do not agree.
    #[error("`{layer}`: %{tensor} is {given}, but the operation needs {expected}")]
    Shape {
        /// Layer of the operation.
        layer: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        given: MatrixShape,
        /// The shape that the operation needs.
        expected: MatrixShape,
    },
    /// Accumulators hold only the sums of the operation right before.
    #[error("`{layer}` adds to %{tensor}, which is not the product right before it")]
    SumsNotHeld {
        /// Layer of the product.
        layer: String,
        /// The sums.
        tensor: String,
    },
    /// A channel does not exist.
    #[error("`{layer}`: channel {channel} is selected, but there are {channels}")]
    Channel {
        /// Layer of the operation.
        layer: String,
        /// The channel.
        channel: u64,
        /// How many there are.
        channels: u64,
    },
    /// A scale cannot have that scope there.
    #[error("`{layer}`: a scale per {scope} cannot be applied here")]
    ScaleScope {
        /// Layer of the operation.
        layer: String,
        /// The scope.
        scope: &'static str,
    },
}

/// Checks that every tensor is written exactly once before it is read and that all shapes and scopes agree.
///
/// # Errors
/// The first broken rule.
pub fn verify(program: &Program) -> Result<(), ProgramError> {
    let mut written: Vec<bool> = program.tensors.iter().map(ProgramTensor::is_bound).collect();
    let mut last_sums = None;
    for op in program.preparation.iter().chain(&program.ops) {
        let layer = || program.layer(op.layer).name.clone();
        for read in op.kind.reads() {
            if !written[read.0] {
                return Err(ProgramError::ReadBeforeWrite { layer: layer(), tensor: name(program, read) });
            }
        }
        for output in op.kind.writes() {
            if std::mem::replace(&mut written[output.0], true) {
                return Err(ProgramError::WrittenTwice { tensor: name(program, output) });
            }
        }
        if let OpKind::Gemm(Gemm { initial: Some(initial), .. }) = &op.kind
            && last_sums != Some(initial.sums)
        {
            return Err(ProgramError::SumsNotHeld { layer: layer(), tensor: name(program, initial.sums) });
        }
        last_sums = match &op.kind {
            OpKind::Gemm(gemm) if gemm.initial.is_none() => Some(gemm.output),
            _ => None,
        };
        verify_shapes(program, op)?;
    }
    match written.iter().position(|written| !written) {
        Some(index) => Err(ProgramError::NeverWritten { tensor: name(program, TensorId(index)) }),
        None => Ok(()),
    }
}

fn name(program: &Program, id: TensorId) -> String {
    program.tensor(id).name.clone()
}

fn verify_shapes(program: &Program, op: &Op) -> Result<(), ProgramError> {
    let shape = |id: TensorId| program.tensor(id).shape;
    let expect = |id: TensorId, expected: MatrixShape| {
        let given = shape(id);
        if given == expected {
            return Ok(());
        }
        let layer = program.layer(op.layer).name.clone();
        Err(ProgramError::Shape { layer, tensor: name(program, id), given, expected })
    };
    let expect_scale = |scale: &Scale, of: MatrixShape| expect(scale.tensor, scope_shape(scale.scope, of));
    let expect_selection = |selection: &Selection, channels: u64| match selection {
        Selection::Static { channels: selected, .. } => {
            match selected.iter().flatten().find(|channel| u64::from(**channel) >= channels) {
                Some(channel) => {
                    let layer = program.layer(op.layer).name.clone();
                    Err(ProgramError::Channel { layer, channel: u64::from(*channel), channels })
                }
                None => Ok(()),
            }
        }
        Selection::Planned { maxima, .. } => expect(*maxima, MatrixShape::new(1, channels)),
    };
    match &op.kind {
        OpKind::Gemm(gemm) => {
            let right = match gemm.right_rows {
                Some(_) => MatrixShape::new(shape(gemm.right.codes).rows, gemm.shape.n),
                None => gemm.right_shape(),
            };
            let [left_run, right_run] = gemm.block_runs();
            for (operand, expected, run) in [(gemm.left, gemm.left_shape(), left_run), (gemm.right, right, right_run)] {
                expect(operand.codes, expected)?;
                if let Some(blocks) = operand.blocks {
                    expect(blocks.scales, block_scales_shape(blocks.format, run, expected))?;
                }
            }
            if let Some(rows) = gemm.right_rows {
                expect(rows, MatrixShape::new(gemm.batching.count, gemm.shape.k))?;
            }
            if let Some(initial) = gemm.initial {
                expect(initial.sums, gemm.output_shape())?;
            }
            expect(gemm.output, gemm.output_shape())
        }
        OpKind::Reduce { input, output, scope, .. } => expect(*output, scope_shape(*scope, shape(*input))),
        OpKind::Quantize { input, scale, output } => {
            if let Some(scale) = scale {
                expect_scale(scale, shape(*input))?;
            }
            expect(*output, shape(*input))
        }
        OpKind::QuantizeBlocks { input, format, along, run, tensor_scale, codes, scales } => {
            if let Some(scale) = tensor_scale {
                expect_scale(scale, shape(*input))?;
            }
            let stored = match along {
                BlockAxis::Columns => shape(*input),
                BlockAxis::Rows => MatrixShape::new(shape(*input).columns, shape(*input).rows),
            };
            expect(*codes, stored)?;
            expect(*scales, block_scales_shape(format, *run, stored))
        }
        OpKind::Dequantize { input, left_scale, right_scale, bias, batching, output } => {
            for (scale, wrong) in [(left_scale, Scope::Column), (right_scale, Scope::Row)] {
                let Some(scale) = scale else { continue };
                if scale.scope == wrong {
                    let layer = program.layer(op.layer).name.clone();
                    let scope = crate::program::text::scope_name(wrong);
                    return Err(ProgramError::ScaleScope { layer, scope });
                }
                let one = batching.one_output(shape(*input));
                // A vector of scales may stand upright or lie, and serve each batch or all of them.
                let (extent, batches) = match scale.scope {
                    Scope::Tensor => (1, 1),
                    Scope::Row => (one.rows, batching.count),
                    Scope::Column => (one.columns, batching.right_count()),
                };
                let given = shape(scale.tensor);
                let is_vector = given.rows == 1 || given.columns == 1;
                if !is_vector || ![extent, extent * batches].contains(&given.elements()) {
                    expect(scale.tensor, scope_shape(scale.scope, one))?;
                }
            }
            if let Some(bias) = bias {
                expect(*bias, MatrixShape::new(1, shape(*input).columns))?;
            }
            expect(*output, shape(*input))
        }
        OpKind::Activate { input, output, .. } => expect(*output, shape(*input)),
        OpKind::Vector(vector) => {
            vector.inputs.iter().try_for_each(|input| expect(*input, shape(vector.output)))?;
            let constant = vector.function.constant_shape(shape(vector.output));
            vector.constants.iter().try_for_each(|id| expect(*id, constant))
        }
        OpKind::ExtractChannels(extract) => {
            let input = shape(extract.input);
            expect_selection(&extract.selection, input.columns)?;
            if let Some(body) = extract.body {
                expect(body, input)?;
            }
            match extract.dense {
                Some(dense) => expect(dense, MatrixShape::new(input.rows, extract.selection.count())),
                None => Ok(()),
            }
        }
        OpKind::ExtractTop(top) => {
            let input = shape(top.input);
            expect(top.body, input)?;
            let Some(positions) = top.positions else { return expect(top.kept, input) };
            let one_of_each = MatrixShape::new(input.rows, input.columns.div_ceil(top.group));
            expect(top.kept, one_of_each)?;
            expect(positions, one_of_each)
        }
        OpKind::GatherRows(gather) => {
            let input = shape(gather.input);
            expect_selection(&gather.selection, input.rows)?;
            expect(gather.output, MatrixShape::new(gather.selection.count(), input.columns))
        }
        OpKind::Merge(merge) => {
            if let Some(base) = merge.base {
                expect(base, shape(merge.addend))?;
            }
            expect(merge.output, shape(merge.addend))
        }
        OpKind::DivideChannels(divide) => {
            let input = shape(divide.input);
            let channels = match divide.side {
                ChannelSide::Activation | ChannelSide::Absorbed => input.columns,
                ChannelSide::Weight => input.rows,
            };
            expect(divide.factors, MatrixShape::new(1, channels))?;
            expect(divide.output, input)
        }
    }
}

/// Shape of the block scales of codes: one per block of each row, blocks starting anew after each `run` columns.
pub const fn block_scales_shape(format: &BlockFormat, run: u64, codes: MatrixShape) -> MatrixShape {
    MatrixShape::new(codes.rows, BlockRuns::new(format.block(), run).count(codes.columns))
}

/// Shape of the scales of a `[m, n]` tensor.
pub const fn scope_shape(scope: Scope, of: MatrixShape) -> MatrixShape {
    match scope {
        Scope::Tensor => MatrixShape::new(1, 1),
        Scope::Row => MatrixShape::new(of.rows, 1),
        Scope::Column => MatrixShape::new(1, of.columns),
    }
}
