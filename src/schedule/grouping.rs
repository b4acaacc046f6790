//! Which operations share a nest.
//!
//! A matrix product takes along the vector operations that follow each of its output tiles; neighbouring vector
//! operations over the same rows form one chain. What ends a group is a barrier: a scale over the whole tensor is known
//! only after the last tile, so its consumer starts another walk over the data. What a scheme does to an activation in each
//! pass (take channels out, smooth) is done in the walk that it belongs to, from the same matrix: whatever the scheme, that
//! matrix is what waits between two walks, unless the scheme stores what it made of it.

use std::collections::BTreeSet;

use crate::program::Program;
use crate::program::op::{OpId, OpKind, Scope};
use crate::program::tensor::TensorId;
use crate::shape::MatrixShape;

/// The most operations of a chain.
const LONGEST_CHAIN: usize = 8;
/// The most tensors that a chain reads from outside of its nest.
const MOST_READS: usize = 6;

/// Operations of one nest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// A product whose sums stay in the accumulators for the matrix product to add to.
    pub prologue: Option<OpId>,
    /// The matrix product, if any.
    pub matrix: Option<OpId>,
    /// Vector operations in order.
    pub chain: Vec<OpId>,
}

impl Group {
    /// Every operation, in program order.
    pub fn ops(&self) -> impl Iterator<Item = OpId> + '_ {
        self.prologue.into_iter().chain(self.matrix).chain(self.chain.iter().copied())
    }
}

/// Groups the operations of `program`, in order.
pub fn group(program: &Program) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for index in 0..program.ops.len() {
        let id = OpId(index);
        if let OpKind::Gemm(gemm) = &program.op(id).kind {
            match groups.last_mut() {
                Some(last) if gemm.initial.is_some() => {
                    last.prologue = last.matrix.replace(id);
                }
                Some(_) | None => groups.push(Group { matrix: Some(id), ..Group::default() }),
            }
        } else if let Some(last) = groups.last_mut().filter(|group| joins(program, group, id)) {
            last.chain.push(id);
        } else {
            groups.push(Group { chain: vec![id], ..Group::default() });
        }
    }
    groups
}

/// Whether a vector operation can follow the others of `group` on each tile.
fn joins(program: &Program, group: &Group, id: OpId) -> bool {
    let kind = &program.op(id).kind;
    let written: BTreeSet<TensorId> = group.ops().flat_map(|op| program.op(op).kind.writes()).collect();
    let touched = |tensor: TensorId| {
        written.contains(&tensor)
            || (group.matrix.is_none() && group.ops().any(|op| program.op(op).kind.walked_inputs().contains(&tensor)))
    };
    // A product's output tiles may split a row: then even a scale per row is complete only after the walk, and blocks
    // along the row would be cut.
    let needs_whole_rows = match kind {
        OpKind::QuantizeBlocks { .. } | OpKind::ExtractTop(_) => group.matrix.is_some(),
        OpKind::Vector(vector) => vector.function.needs_whole_rows() && group.matrix.is_some(),
        // Dense columns are gathered from a whole row; a mask applies to any part of it.
        OpKind::ExtractChannels(extract) => group.matrix.is_some() && extract.dense.is_some(),
        OpKind::Gemm(_)
        | OpKind::Reduce { .. }
        | OpKind::Quantize { .. }
        | OpKind::Dequantize { .. }
        | OpKind::Activate { .. }
        | OpKind::GatherRows(_)
        | OpKind::Merge(_)
        | OpKind::DivideChannels(_) => false,
    };
    let waits_for_the_walk = kind.reads().into_iter().filter(|read| written.contains(read)).any(|read| {
        group.ops().any(|op| match &program.op(op).kind {
            OpKind::Reduce { output, scope, .. } if *output == read => match scope {
                Scope::Row => group.matrix.is_some(),
                Scope::Tensor | Scope::Column => true,
            },
            OpKind::ExtractChannels(extract) => extract.is_separate_pass,
            OpKind::Reduce { .. }
            | OpKind::Gemm(_)
            | OpKind::Quantize { .. }
            | OpKind::QuantizeBlocks { .. }
            | OpKind::Dequantize { .. }
            | OpKind::Vector(_)
            | OpKind::Activate { .. }
            | OpKind::ExtractTop(_)
            | OpKind::GatherRows(_)
            | OpKind::Merge(_)
            | OpKind::DivideChannels(_) => false,
        })
    });
    // Each tensor from outside is a condition of the chain's commands, which hold a bounded number of them.
    let reads = group.ops().flat_map(|op| program.op(op).kind.reads()).chain(kind.reads());
    let outside: BTreeSet<TensorId> = reads.filter(|read| !written.contains(read)).collect();
    let of_matrix = group.matrix.map_or(0, |op| program.op(op).kind.reads().len());
    let has_room = group.chain.len() < LONGEST_CHAIN && outside.len() - of_matrix.min(outside.len()) <= MOST_READS;
    // Dense columns beside the walked matrix are a matrix of their own.
    let is_of_the_grid = |tensor: TensorId| program.tensor(tensor).shape == grid_shape(program, group);
    let walked = kind.walked_inputs().into_iter().find(|tensor| touched(*tensor));
    let begins_a_pass = group.chain.iter().any(|earlier| repeats(&program.op(*earlier).kind, kind));
    walked.is_some_and(is_of_the_grid) && !needs_whole_rows && !waits_for_the_walk && !begins_a_pass && has_room
}

/// Whether `later` makes of a matrix what `earlier` made of it: it does so for another pass over the data.
fn repeats(earlier: &OpKind, later: &OpKind) -> bool {
    match (earlier, later) {
        (OpKind::ExtractChannels(earlier), OpKind::ExtractChannels(later)) => {
            let has_bodies = earlier.body.is_some() && later.body.is_some();
            has_bodies && earlier.input == later.input && earlier.selection == later.selection
        }
        (OpKind::DivideChannels(earlier), OpKind::DivideChannels(later)) => {
            earlier.input == later.input && earlier.factors == later.factors
        }
        _ => false,
    }
}

/// Rows and columns of the matrix over whose tiles a group walks.
fn grid_shape(program: &Program, group: &Group) -> MatrixShape {
    let walked = match group.matrix {
        Some(matrix) => program.op(matrix).kind.writes()[0],
        None => program.op(group.chain[0]).kind.walked_input().expect("a chain of vector operations walks a matrix"),
    };
    program.tensor(walked).shape
}
