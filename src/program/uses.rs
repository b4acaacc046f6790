//! Who writes and who reads each tensor, gathered in one walk.

use crate::program::Program;
use crate::program::op::OpKind;
use crate::program::tensor::TensorId;

/// The users of each tensor, numbered as whoever gathers them likes: operations, or groups of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorUses {
    by_tensor: Vec<Uses>,
}

/// The users of one tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Uses {
    writer: Option<usize>,
    /// Ascending, each once.
    readers: Vec<usize>,
}

impl TensorUses {
    /// The users of the tensors of `program`: `uses` are its operations with who each belongs to, in ascending order.
    pub fn gather<'p>(program: &Program, uses: impl Iterator<Item = (usize, &'p OpKind)>) -> TensorUses {
        let mut by_tensor = vec![Uses::default(); program.tensors.len()];
        for (user, kind) in uses {
            for TensorId(read) in kind.reads() {
                let readers = &mut by_tensor[read].readers;
                if readers.last() != Some(&user) {
                    readers.push(user);
                }
            }
            for TensorId(written) in kind.writes() {
                by_tensor[written].writer.get_or_insert(user);
            }
        }
        TensorUses { by_tensor }
    }

    /// The operations of a run as users, by their [`OpId`](crate::program::op::OpId).
    pub fn by_op(program: &Program) -> TensorUses {
        TensorUses::gather(program, program.ops.iter().map(|op| &op.kind).enumerate())
    }

    /// Who reads a tensor, ascending.
    pub fn readers(&self, tensor: TensorId) -> &[usize] {
        &self.by_tensor[tensor.0].readers
    }

    /// Who writes a tensor first; `None` for one that is given.
    pub fn writer(&self, tensor: TensorId) -> Option<usize> {
        self.by_tensor[tensor.0].writer
    }
}
