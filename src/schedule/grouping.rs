//! Which operations share a nest.
//!
//! A matrix product takes along the vector operations that follow each of its output tiles; neighbouring vector
//! operations over the same rows form one chain. What ends a group is a barrier: a scale over the whole tensor is known
//! only after the last tile, so its consumer starts another walk over the data.

use std::collections::BTreeSet;

use crate::program::Program;
use crate::program::op::{OpId, OpKind, Scope};
use crate::program::tensor::TensorId;

/// Operations of one nest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The matrix product, if any.
    pub matrix: Option<OpId>,
    /// Vector operations in order.
    pub chain: Vec<OpId>,
}

impl Group {
    /// Every operation, in program order.
    pub fn ops(&self) -> impl Iterator<Item = OpId> + '_ {
        self.matrix.into_iter().chain(self.chain.iter().copied())
    }
}

/// Groups the operations of `program`, in order.
pub fn group(program: &Program) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for index in 0..program.ops.len() {
        let id = OpId(index);
        if let OpKind::Gemm(_) = program.op(id).kind {
            groups.push(Group { matrix: Some(id), chain: Vec::new() });
        } else if let Some(last) = groups.last_mut().filter(|group| joins(program, group, id)) {
            last.chain.push(id);
        } else {
            groups.push(Group { matrix: None, chain: vec![id] });
        }
    }
    groups
}

/// Whether a vector operation can follow the others of `group` on each tile.
fn joins(program: &Program, group: &Group, id: OpId) -> bool {
    let kind = &program.op(id).kind;
    let written: BTreeSet<TensorId> = group.ops().map(|op| program.op(op).kind.output()).collect();
    let touched = |tensor: TensorId| {
        written.contains(&tensor)
            || (group.matrix.is_none() && group.ops().any(|op| main_input(&program.op(op).kind) == Some(tensor)))
    };
    let shares_the_walk = main_input(kind).is_some_and(touched);
    // A product's output tiles may split a row, so even a scale per row is complete only after the walk.
    let waits_for_the_walk = kind.reads().into_iter().filter(|read| written.contains(read)).any(|read| {
        group.ops().any(|op| match &program.op(op).kind {
            OpKind::Reduce { output, scope, .. } if *output == read => match scope {
                Scope::Row => group.matrix.is_some(),
                Scope::Tensor | Scope::Column => true,
            },
            OpKind::Reduce { .. }
            | OpKind::Gemm(_)
            | OpKind::Quantize { .. }
            | OpKind::Dequantize { .. }
            | OpKind::Activate { .. } => false,
        })
    });
    shares_the_walk && !waits_for_the_walk
}

/// The tensor whose rows and columns an element-wise operation walks.
fn main_input(kind: &OpKind) -> Option<TensorId> {
    match kind {
        OpKind::Gemm(_) => None,
        OpKind::Reduce { input, .. }
        | OpKind::Quantize { input, .. }
        | OpKind::Dequantize { input, .. }
        | OpKind::Activate { input, .. } => Some(*input),
    }
}
