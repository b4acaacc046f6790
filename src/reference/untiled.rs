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
use crate::program::op::{BlockAxis, Gemm, GemmOperand, OpKind, OperandBlocks, Scale, ScaleTarget, Scope, VectorOp};
use crate::program::tensor::{Origin, TensorId};
use crate::program::vector_rows;
use crate::reference::gather;
use crate::schedule::accumulation::{AccumulationPlan, Accumulator};
use crate::shape::{MatrixShape, Span};
use crate::workload::batching::{BatchAxis, Batching};
use crate::workload::bindings::Bindings;
use crate::workload::layer::ActivationFunction;

/// Evaluates `program` under the accumulation plans of its products, by operation; returns each tensor as its consumers see
/// it (records in place of computed values), and `None` for what needs a tensor without values.
pub fn evaluate(program: &Program, plans: &[Option<AccumulationPlan>], bindings: &Bindings) -> Vec<Option<Tensor>> {
    let mut evaluator = Evaluator { program, tensors: vec![None; program.tensors.len()] };
    for (index, tensor) in program.tensors.iter().enumerate() {
        evaluator.tensors[index] = match tensor.origin {
            Origin::Source(id) => bindings.get(id).cloned(),
            Origin::Transposed(id) => bindings.get(id).map(Tensor::transposed),
            Origin::Constant(id) => evaluator.real(TensorId(index), &program.constants[id.0]),
            Origin::Prepared | Origin::Produced => None,
        };
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

pub(super) struct Evaluator<'a> {
    pub(super) program: &'a Program,
    tensors: Vec<Option<Tensor>>,
}

impl Evaluator<'_> {
    /// The tensors that an operation writes, in its order.
    fn compute(&self, kind: &OpKind, plan: Option<&AccumulationPlan>) -> Vec<Option<Tensor>> {
        match kind {
            OpKind::Gemm(gemm) => vec![plan.and_then(|plan| self.product(gemm, plan))],
            OpKind::Reduce { input, output, scope, target } => vec![self.scales(*input, *output, *scope, *target)],
            OpKind::Quantize { input, scale, output } => vec![self.quantize(*input, scale.as_ref(), *output)],
            OpKind::QuantizeBlocks { input, format, along, run, tensor_scale, codes, scales } => {
                let blocks = self.quantize_blocks(*input, format, (*along, *run), tensor_scale.as_ref());
                let stored = |part: &Tensor, id: TensorId| {
                    let elements = part.elements().clone();
                    Tensor::try_new(self.program.tensor(id).shape, part.format(), elements).ok()
                };
                let parts = blocks.map(|blocks| (stored(blocks.codes(), *codes), stored(blocks.scales(), *scales)));
                let (codes, scales) = parts.unzip();
                vec![codes.flatten(), scales.flatten()]
            }
            OpKind::Dequantize { input, left_scale, right_scale, bias, batching, output } => {
                let scales = [left_scale.as_ref(), right_scale.as_ref()];
                vec![self.dequantize((*input, batching), scales, *bias, *output)]
            }
            OpKind::Vector(vector) => vec![self.vector(vector)],
            OpKind::ExtractChannels(extract) => self.extract(extract),
            OpKind::ExtractTop(top) => {
                let unknown = || vec![None; kind.writes().len()];
                self.extract_top(top).map_or_else(unknown, |tensors| tensors.into_iter().map(Some).collect())
            }
            OpKind::GatherRows(gather) => {
                let values = self.selected(&gather.selection).and_then(|channels| {
                    let input = self.get(gather.input)?;
                    let columns = input.shape().columns;
                    let row = |channel: Option<u32>| {
                        (0..columns).map(move |n| channel.map_or(0.0, |k| input.value(u64::from(k), n) as f32))
                    };
                    Some(channels.into_iter().flat_map(row).collect::<Vec<f32>>())
                });
                vec![values.and_then(|values| self.real(gather.output, &values))]
            }
            OpKind::Merge(merge) => vec![self.merge(merge)],
            OpKind::DivideChannels(divide) => vec![self.divide(divide)],
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

    pub(super) fn get(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
    }

    /// Real values in the format of a tensor.
    pub(super) fn real(&self, id: TensorId, values: &[f32]) -> Option<Tensor> {
        let described = self.program.tensor(id);
        Tensor::from_f32(described.shape, described.format, values, Rounding::NearestEven, Overflow::Saturate).ok()
    }

    fn vector(&self, vector: &VectorOp) -> Option<Tensor> {
        let whole = |id: &TensorId| self.get(*id).map(Tensor::to_f32);
        let constants: Vec<Vec<f32>> = vector.constants.iter().map(whole).collect::<Option<_>>()?;
        let inputs: Vec<Vec<f32>> = vector.inputs.iter().map(whole).collect::<Option<_>>()?;
        let columns = usize::try_from(self.program.tensor(vector.output).shape.columns).ok()?;
        let mut values = inputs.first()?.clone();
        for (index, row) in values.chunks_exact_mut(columns).enumerate() {
            let second = inputs.get(1).map_or(&[][..], |second| &second[index * columns..][..columns]);
            vector_rows::apply(vector.function, index as u64, row, second, &constants);
        }
        self.real(vector.output, &values)
    }

    /// Batch after batch, each element's products in ascending k.
    fn product(&self, gemm: &Gemm, plan: &AccumulationPlan) -> Option<Tensor> {
        let size = |extent: u64| usize::try_from(extent).ok();
        let (m, k, n) = (size(gemm.shape.m)?, size(gemm.shape.k)?, size(gemm.shape.n)?);
        let described = self.program.tensor(gemm.output);
        let parts = plan.parts();
        let (mut integers, mut reals) = (Vec::new(), Vec::new());
        match plan.accumulator {
            Accumulator::Integer(_) => integers = vec![0i32; size(described.shape.elements())?],
            Accumulator::Float { .. } => reals = vec![0f32; size(described.shape.elements())?],
        }
        let held = self.initial_sums(gemm)?;
        for batch in 0..gemm.batching.count {
            let left = gather::left(self.get(gemm.left.codes)?, gemm, batch, 1)?;
            let right = match gemm.right_rows {
                None => gather::right_by_columns(self.get(gemm.right.codes)?, gemm, batch, 1)?,
                Some(rows) => gather::rows_by_columns(self.get(gemm.right.codes)?, self.get(rows)?, batch)?,
            };
            let positions = (0..gemm.shape.m)
                .flat_map(|row| (0..gemm.shape.n).map(move |column| gather::output_position(gemm, batch, row, column)));
            let held: Option<Vec<f64>> = match &held {
                None => None,
                Some(held) => Some(positions.clone().map(|at| size(at).map(|at| held[at])).collect::<Option<_>>()?),
            };
            match plan.accumulator {
                Accumulator::Integer(accumulator) => {
                    // What the accumulators hold before the first term.
                    let start = held.map(|held| held.into_iter().map(|sum| sum as i32).collect::<Vec<_>>());
                    let mut sums = start.clone().unwrap_or_else(|| vec![0; m * n]);
                    if accumulator == IntegerAccumulator::INT32 {
                        let right = right.transposed();
                        let left = Matrix::dense(left.as_i8()?, m, k).ok()?;
                        let right = Matrix::dense(right.as_i8()?, k, n).ok()?;
                        int8::reference(left, right, MatrixMut::dense(&mut sums, m, n).ok()?).ok()?;
                    } else {
                        let start = start.as_deref();
                        narrow_sums(accumulator, left.as_i8()?, right.as_i8()?, (k, &parts), start, &mut sums)?;
                    }
                    for (position, sum) in positions.zip(sums) {
                        integers[size(position)?] = sum;
                    }
                }
                Accumulator::Float { order, destination, depth } => {
                    let left_scales = self.block_scales(gemm.left, gemm, batch, gather::left)?;
                    let right_scales = self.block_scales(gemm.right, gemm, batch, gather::right_by_columns)?;
                    let (left, right) = (operand(&left, &left_scales)?, operand(&right, &right_scales)?);
                    let mut joined: Option<Vec<f32>> = None;
                    for spans in &parts {
                        let mut tile = FloatTile::try_new(m, n, size(depth)?, order, destination).ok()?;
                        if let (Some(held), None) = (&held, &joined) {
                            tile.start_from(&held.iter().map(|sum| *sum as f32).collect::<Vec<_>>());
                        }
                        for Span { start, end } in spans {
                            let depth = size(*start)?..size(*end)?;
                            let (left, right) = (left.part(0..m, depth.clone()).ok()?, right.part(0..n, depth).ok()?);
                            float::reference(&left, &right, &mut tile).ok()?;
                        }
                        joined = Some(match joined {
                            None => tile.values(),
                            Some(before) => added(&before, &tile.values()),
                        });
                    }
                    for (position, sum) in positions.zip(joined?) {
                        reals[size(position)?] = sum;
                    }
                }
            }
        }
        match plan.accumulator {
            Accumulator::Integer(_) => Tensor::try_new(described.shape, described.format, Elements::I32(integers)).ok(),
            Accumulator::Float { .. } => self.real(gemm.output, &reals),
        }
    }

    /// What the accumulators hold before a product, each an integer of 32 bits or a float of as many; the outer `None`
    /// where it is not known.
    fn initial_sums(&self, gemm: &Gemm) -> Option<Option<Vec<f64>>> {
        let Some(initial) = gemm.initial else { return Some(None) };
        let held = self.get(initial.sums)?;
        Some(Some(match held.as_i32() {
            Some(sums) => sums.iter().map(|sum| f64::from(initial.factor.of_i32(*sum))).collect(),
            None => held.to_f32().into_iter().map(|sum| f64::from(initial.factor.of_f32(sum))).collect(),
        }))
    }

    /// The block scales of an operand's batch, if it has any.
    fn block_scales(
        &self,
        operand: GemmOperand,
        gemm: &Gemm,
        batch: u64,
        part: fn(&Tensor, &Gemm, u64, u64) -> Option<Tensor>,
    ) -> Option<Option<(&'static BlockFormat, Tensor)>> {
        let Some(OperandBlocks { scales, format }) = operand.blocks else { return Some(None) };
        Some(Some((format, part(self.get(scales)?, gemm, batch, format.block())?)))
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
            ScaleTarget::Magnitude => maxima,
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
        let saturates = scale.is_none() && self.program.tensor(input).format.is_integer();
        let lowest = if format.is_integer() && !saturates { -format.max_finite() as f32 } else { f32::NEG_INFINITY };
        let clipped: Vec<f32> = divided.into_iter().map(|value| if value < lowest { lowest } else { value }).collect();
        self.real(output, &clipped)
    }

    fn quantize_blocks(
        &self,
        input: TensorId,
        format: &'static BlockFormat,
        (along, run): (BlockAxis, u64),
        tensor_scale: Option<&Scale>,
    ) -> Option<BlockTensor> {
        let input = match along {
            BlockAxis::Columns => self.get(input)?.clone(),
            BlockAxis::Rows => self.get(input)?.transposed(),
        };
        let quantizer = format.quantizer(BlockOptions::default()).ok()?;
        // Row-major, each run is a row of its own.
        let runs = MatrixShape::new(input.shape().elements() / run, run);
        let blocks = quantizer.quantize(&input.to_f32(), runs);
        if let Some(scale) = tensor_scale {
            // The whole-matrix quantizer finds the tensor scale by itself; it must be the one that the program reduced.
            let reduced = self.get(scale.tensor)?.value(0, 0) as f32;
            (blocks.tensor_scale().to_bits() == reduced.to_bits()).then_some(())?;
        }
        Some(blocks)
    }

    fn dequantize(
        &self,
        (input, batching): (TensorId, &Batching),
        scales: [Option<&Scale>; 2],
        bias: Option<TensorId>,
        output: TensorId,
    ) -> Option<Tensor> {
        let sums = self.get(input)?;
        let MatrixShape { columns, .. } = sums.shape();
        let one = batching.one_output(sums.shape());
        let bias = match bias {
            Some(bias) => Some(self.get(bias)?.to_f32()),
            None => None,
        };
        let mut values = sums.to_f32();
        for (index, value) in values.iter_mut().enumerate() {
            let (row, column) = (index as u64 / columns, index as u64 % columns);
            let (batch, row, of_batch) = match batching.output {
                BatchAxis::Rows => (row / one.rows, row % one.rows, column),
                BatchAxis::Columns => (column / one.columns, row, column % one.columns),
            };
            let [left, right] = scales.map(|scale| {
                let Some(scale) = scale else { return Some(1.0) };
                let scales = self.get(scale.tensor)?.to_f32();
                let (position, further) = match scale.scope {
                    Scope::Tensor => (0, 0),
                    Scope::Row => (row, batch * one.rows),
                    Scope::Column => (of_batch, batch / batching.right_sharing * one.columns),
                };
                // One scale for each row or column of a batch, or of all of them.
                scales.get(usize::try_from(position + further).ok()?).or(scales.get(position as usize)).copied()
            });
            *value *= left? * right?;
            if let Some(bias) = &bias {
                *value += bias[index % columns as usize];
            }
        }
        self.real(output, &values)
    }
}

/// Sums in an accumulator of another width than 32 bits, of `[m, k]` by `[n, k]` codes.
fn narrow_sums(
    accumulator: IntegerAccumulator,
    left: &[i8],
    right_by_columns: &[i8],
    (k, parts): (usize, &[Vec<Span>]),
    held: Option<&[i32]>,
    sums: &mut [i32],
) -> Option<()> {
    let products = accumulator.products_per_operation();
    let pairs = left.chunks_exact(k).flat_map(|row| right_by_columns.chunks_exact(k).map(move |column| (row, column)));
    for (index, ((row, column), out)) in pairs.zip(sums).enumerate() {
        // The first part starts from what the accumulators hold.
        let mut start = held.map_or(0, |held| accumulator.add(0, i64::from(held[index])));
        let mut sum_of = |spans: &Vec<Span>| {
            let mut sum = std::mem::take(&mut start);
            for span in spans {
                let span = span.start as usize..span.end as usize;
                for (row, column) in row[span.clone()].chunks(products).zip(column[span].chunks(products)) {
                    let terms = row.iter().zip(column).map(|(a, b)| i64::from(*a) * i64::from(*b));
                    sum = accumulator.add(sum, terms.sum());
                }
            }
            accumulator.read(sum)
        };
        let joined = parts.iter().map(&mut sum_of).reduce(|sum, part| accumulator.read(accumulator.add(sum, part)));
        *out = i32::try_from(joined?).ok()?;
    }
    Some(())
}

/// Sums of two units, added; there is one NaN, whatever its origin.
fn added(before: &[f32], sums: &[f32]) -> Vec<f32> {
    let pairs = before.iter().zip(sums);
    pairs.map(|(a, b)| if (a + b).is_nan() { f32::NAN } else { a + b }).collect()
}

fn operand(codes: &Tensor, scales: &Option<(&'static BlockFormat, Tensor)>) -> Option<Operand> {
    let Some((format, scales)) = scales else {
        return Operand::try_new(codes.view(), 0, None).ok();
    };
    let block = usize::try_from(format.block()).ok()?;
    let scales = BlockScales { format: format.scale(), codes: scales.view().elements(), block };
    Operand::try_new(codes.view(), format.implicit_exponent(), Some(scales)).ok()
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
