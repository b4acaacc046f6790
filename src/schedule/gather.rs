//! Operands that are gathered: rows at places that a table names, which the DMA engine asks for one by one.
//!
//! Where they lie is known only with the table's values, which a schedule does not see. For addresses they are taken to be
//! evenly spaced over the matrix that holds them; bytes, runs and what waits for the table are exact.

use crate::program::Program;
use crate::program::channels::Selection;
use crate::program::op::OpKind;
use crate::program::tensor::TensorId;
use crate::schedule::nest::Layout;
use crate::shape::MatrixShape;

/// What is gathered of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Rows and columns of all that is gathered, one below the other.
    pub shape: MatrixShape,
    /// How it lies in the memory that gives it.
    pub layout: Layout,
    /// The table that has to be there first, where the run makes it.
    pub table: Option<TensorId>,
    /// Gathered rows that each row of the table names.
    pub rows_of_each: u64,
}

/// What `kind` gathers of `tensor`; nothing where it reads the rows as they are stored.
pub fn of(program: &Program, kind: &OpKind, tensor: TensorId) -> Option<Gathered> {
    let stored = program.tensor(tensor).shape;
    match kind {
        OpKind::Gemm(gemm) if gemm.right.codes == tensor => {
            let table = gemm.right_rows?;
            let rows_of_each = gemm.shape.k;
            let shape = MatrixShape::new(gemm.batching.count * rows_of_each, stored.columns);
            let layout = Layout::ScatteredRows { spacing: spacing(stored.rows, rows_of_each) };
            Some(Gathered { shape, layout, table: Some(table), rows_of_each })
        }
        OpKind::GatherRows(gather) if gather.input == tensor => {
            let count = gather.selection.count();
            let layout = Layout::ScatteredRows { spacing: spacing(stored.rows, count) };
            let table = match &gather.selection {
                Selection::Static { .. } => None,
                Selection::Planned { maxima, .. } => Some(*maxima),
            };
            let shape = MatrixShape::new(count, stored.columns);
            Some(Gathered { shape, layout, table, rows_of_each: count.max(1) })
        }
        OpKind::Gemm(_)
        | OpKind::GatherRows(_)
        | OpKind::Reduce { .. }
        | OpKind::Quantize { .. }
        | OpKind::QuantizeBlocks { .. }
        | OpKind::Dequantize { .. }
        | OpKind::Activate { .. }
        | OpKind::Vector(_)
        | OpKind::ExtractChannels(_)
        | OpKind::ExtractTop(_)
        | OpKind::Merge(_)
        | OpKind::DivideChannels(_) => None,
    }
}

/// Rows from one of `count` to the next among `all`; no two are neighbours unless all of them are taken.
fn spacing(all: u64, count: u64) -> u64 {
    if count >= all { 1 } else { (all / count.max(1)).max(2) }
}

#[cfg(test)]
mod tests {
    use super::spacing;

    #[test]
    fn some_rows_never_touch_and_all_rows_always_do() {
        assert_eq!([spacing(384, 12), spacing(384, 200), spacing(384, 384), spacing(384, 0)], [32, 2, 1, 384]);
    }
}
