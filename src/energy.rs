//! Energy: what was done, times what it costs. Nothing is estimated here that was not counted.

use crate::hardware::actions::{Action, ActionCounts};
use crate::hardware::energy_table::{EnergyBreakdown, MissingAction};
use crate::hardware::matrix_unit::ProductFormats;
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;
use crate::program::Program;
use crate::program::op::{OpId, OpKind};
use crate::timing::statistics::{OpStatistics, RunStatistics};

/// Energy of a run.
#[derive(Clone, Debug)]
pub struct RunEnergy {
    /// By operation, in the program's order.
    pub ops: Vec<EnergyBreakdown>,
    /// Of the whole run: all counts together, times the table.
    pub total: EnergyBreakdown,
    /// All counts together.
    pub counts: ActionCounts,
}

/// Costs the counts of a run.
///
/// # Errors
/// [`MissingAction`] where the run did something that the energy table has no figure for.
pub fn cost(program: &Program, npu: &Npu, statistics: &RunStatistics) -> Result<RunEnergy, MissingAction> {
    let table = npu.energy();
    let mut all = ActionCounts::default();
    let mut ops = Vec::with_capacity(statistics.ops.len());
    for (index, op) in statistics.ops.iter().enumerate() {
        let counts = count(program, npu, OpId(index), op);
        ops.push(table.cost(&counts)?);
        all.merge(&counts);
    }
    Ok(RunEnergy { ops, total: table.cost(&all)?, counts: all })
}

/// The actions of one operation.
pub fn count(program: &Program, npu: &Npu, id: OpId, statistics: &OpStatistics) -> ActionCounts {
    let mut counts = ActionCounts::default();
    let kind = &program.op(id).kind;
    if let OpKind::Gemm(gemm) = kind {
        let ProductFormats { activation, weight, .. } = program.product_formats(gemm);
        counts.add(Action::Mac { activation, weight }, statistics.macs);
        counts.add(Action::IdleMac, statistics.issued_macs - statistics.macs);
        // Partial sums of several units are added by the vector unit.
        counts.add(Action::Vector(VectorFunction::Add), statistics.joined_sums);
    }
    for function in kind.vector_functions() {
        counts.add(Action::Vector(*function), statistics.vector_elements);
    }
    for (memory, traffic) in npu.memories().iter().zip(&statistics.traffic) {
        counts.add(Action::Read(memory.name.clone()), traffic.read.get());
        counts.add(Action::Write(memory.name.clone()), traffic.written.get());
    }
    counts
}
