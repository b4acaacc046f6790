//! What the tiles of a nest need of each operand: which part, and which queue brings it.

use crate::program::Program;
use crate::program::channels::ChannelSide;
use crate::program::op::{Gemm, OpKind, RightLayout, Scale, Scope};
use crate::program::tensor::TensorId;
use crate::schedule::nest::{BatchStride, DmaQueue, TileMap};
use crate::shape::MatrixShape;
use crate::workload::batching::Batching;

/// How the tiles of the left and of the right operand follow the grid of a product.
pub fn operand_maps(gemm: &Gemm, starts_whole: bool) -> [TileMap; 2] {
    let Batching { count, right_sharing, left, right, .. } = gemm.batching;
    let left_map = match gemm.window {
        None => TileMap::LEFT.with_batches(BatchStride::new(left, gemm.shape.left(), 1)),
        Some(window) => {
            let batches = BatchStride { rows: 0, columns: window.channels, sharing: 1 };
            TileMap::of_window(window).with_whole_images(starts_whole).with_batches(batches)
        }
    };
    let right_map = match gemm.right_layout {
        RightLayout::KByN => TileMap::RIGHT,
        RightLayout::NByK => TileMap::RIGHT_BY_COLUMNS,
    };
    let right_map = right_map.with_batches(BatchStride::new(right, gemm.right_layout.shape(gemm.shape), right_sharing));
    if count == 1 {
        [left_map, right_map].map(|map| map.with_batches(BatchStride::NONE))
    } else {
        [left_map, right_map]
    }
}

/// What a vector operation reads, how it follows the tiles, and which queue brings it.
pub fn vector_operands(program: &Program, kind: &OpKind, batches: BatchStride) -> Vec<(TensorId, TileMap, DmaQueue)> {
    let element_wise = |tensor: TensorId| (tensor, TileMap::OUTPUT.in_output(batches), DmaQueue::Activations);
    match kind {
        OpKind::Gemm(_) => unreachable!("a product runs on a matrix unit"),
        OpKind::Reduce { input, .. } | OpKind::Activate { input, .. } => {
            vec![element_wise(*input)]
        }
        OpKind::Vector(vector) => {
            let constants = vector.constants.iter().map(|constant| (*constant, TileMap::WHOLE, DmaQueue::Weights));
            vector.inputs.iter().map(|input| element_wise(*input)).chain(constants).collect()
        }
        OpKind::Quantize { input, scale, .. } | OpKind::QuantizeBlocks { input, tensor_scale: scale, .. } => {
            let scale =
                scale.map(|scale| (scale.tensor, scope_map(scale.scope).in_output(batches), scale_queue(scale.scope)));
            std::iter::once(element_wise(*input)).chain(scale).collect()
        }
        OpKind::Dequantize { input, left_scale, right_scale, bias, batching, .. } => {
            let one = batching.one_output(program.tensor(*input).shape);
            let mut operands = vec![element_wise(*input)];
            operands.extend([left_scale, right_scale].into_iter().flatten().copied().map(|scale| {
                let map = product_scale_map(scale, program.tensor(scale.tensor).shape, one, batching);
                (scale.tensor, map, scale_queue(scale.scope))
            }));
            operands.extend(bias.map(|bias| (bias, TileMap::PER_COLUMN.in_output(batches), DmaQueue::Weights)));
            operands
        }
        OpKind::ExtractChannels(extract) => {
            let table = extract.selection.reads().map(|table| (table, TileMap::WHOLE, DmaQueue::Weights));
            std::iter::once((extract.input, TileMap::OUTPUT, DmaQueue::Activations)).chain(table).collect()
        }
        OpKind::ExtractTop(top) => vec![(top.input, TileMap::OUTPUT, DmaQueue::Activations)],
        // As many rows are read as are gathered, wherever they lie.
        OpKind::GatherRows(gather) => {
            let table = gather.selection.reads().map(|table| (table, TileMap::WHOLE, DmaQueue::Weights));
            std::iter::once((gather.input, TileMap::OUTPUT, DmaQueue::Weights)).chain(table).collect()
        }
        OpKind::Merge(merge) => {
            let both = merge.base.into_iter().chain([merge.addend]);
            both.map(|tensor| (tensor, TileMap::OUTPUT, DmaQueue::Activations)).collect()
        }
        OpKind::DivideChannels(divide) => {
            let factors = match divide.side {
                ChannelSide::Activation => Some((divide.factors, TileMap::PER_COLUMN, DmaQueue::Weights)),
                // They are a part of whoever makes the activation, or of what is prepared.
                ChannelSide::Absorbed | ChannelSide::Weight => None,
            };
            std::iter::once((divide.input, TileMap::OUTPUT, DmaQueue::Activations)).chain(factors).collect()
        }
    }
}

/// The map of the scales of a product's operand: of a shape of their own, and for all batches or for each of them.
fn product_scale_map(scale: Scale, scales: MatrixShape, one: MatrixShape, batching: &Batching) -> TileMap {
    match scale.scope {
        Scope::Tensor => TileMap::WHOLE,
        Scope::Row => {
            let rows = if scales.rows > one.rows { one.rows } else { 0 };
            TileMap::PER_ROW.with_batches(BatchStride { rows, columns: 0, sharing: 1 })
        }
        Scope::Column => {
            let stride = if scales.elements() > one.columns { one.columns } else { 0 };
            let sharing = batching.right_sharing;
            if scales.rows > 1 {
                TileMap::PER_COLUMN_UPRIGHT.with_batches(BatchStride { rows: stride, columns: 0, sharing })
            } else {
                TileMap::PER_COLUMN.with_batches(BatchStride { rows: 0, columns: stride, sharing })
            }
        }
    }
}

/// The map of a scale of one tensor.
pub const fn scope_map(scope: Scope) -> TileMap {
    match scope {
        Scope::Tensor => TileMap::WHOLE,
        Scope::Row => TileMap::PER_ROW,
        Scope::Column => TileMap::PER_COLUMN,
    }
}

/// Scales per row travel with the activations, all others with the weights.
const fn scale_queue(scope: Scope) -> DmaQueue {
    match scope {
        Scope::Row => DmaQueue::Activations,
        Scope::Tensor | Scope::Column => DmaQueue::Weights,
    }
}
