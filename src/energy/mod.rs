//! Energy: what was done, times what it costs. Nothing is estimated here that was not counted.
//!
//! Most counts are those of the timed run. Three kinds are derived from it: what the array does inside a tile is a closed
//! form of the schedule's tiles ([`mod@array`]); processing elements without a tile, and what leaks for as long as the run
//! lasts, belong to an operation in proportion to the cycles by which it moved the run on; descriptors and bursts are seen
//! by an observer of the run ([`transfers`]). Products with a zero operand are known only where numbers were computed;
//! elsewhere every product counts as a full one, which is the most that it can cost.

pub mod array;
pub mod transfers;

use crate::energy::array::ArrayActions;
use crate::energy::transfers::TransferCounts;
use crate::execute::activity::OperandActivity;
use crate::hardware::actions::{Action, ActionCounts, Component};
use crate::hardware::energy_table::{EnergyBreakdown, MissingAction};
use crate::hardware::matrix_unit::ProductFormats;
use crate::hardware::memory::MemoryKind;
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;
use crate::program::Program;
use crate::program::op::{OpId, OpKind};
use crate::schedule::Schedule;
use crate::schedule::commands::Queue;
use crate::timing::attribution::attributed_cycles;
use crate::timing::statistics::{OpStatistics, RunStatistics};
use crate::units::Cycles;

/// What was seen of a run beside its statistics.
#[derive(Clone, Debug, Default)]
pub struct Observed<'a> {
    /// Descriptors and bursts; none are counted where nobody watched.
    pub transfers: TransferCounts,
    /// Products with a zero operand, where numbers were computed.
    pub activity: Option<&'a OperandActivity>,
}

/// Energy of a run.
#[derive(Clone, Debug)]
pub struct RunEnergy {
    /// By operation, in the program's order.
    pub ops: Vec<EnergyBreakdown>,
    /// Of the whole run: all counts together, times the table.
    pub total: EnergyBreakdown,
    /// All counts together.
    pub counts: ActionCounts,
    /// Useful products with a zero operand, by operation; none where numbers were not computed.
    pub zero_macs: Option<Vec<u64>>,
}

/// Costs the counts of a run.
///
/// # Errors
/// [`MissingAction`] where the run did something that the energy table has no figure for.
pub fn cost(
    program: &Program,
    schedule: &Schedule,
    npu: &Npu,
    statistics: &RunStatistics,
    observed: &Observed<'_>,
) -> Result<RunEnergy, MissingAction> {
    let table = npu.energy();
    let array_actions = array::count(program, schedule, npu);
    let attributed = attributed_cycles(statistics);
    let gated = shares(gated_element_cycles(schedule, npu, statistics), &attributed);
    let by_time = actions_of_time(npu);
    let mut all = ActionCounts::default();
    let mut ops = Vec::with_capacity(statistics.ops.len());
    for (index, op) in statistics.ops.iter().enumerate() {
        let zero_macs = observed.activity.map_or(0, |activity| activity.zero_macs()[index]);
        let mut counts = count(program, npu, OpId(index), op, zero_macs);
        add_array_actions(&mut counts, &array_actions[index]);
        counts.add(Action::DmaDescriptor, observed.transfers.descriptors(OpId(index)));
        counts.add(Action::DmaBurst, observed.transfers.bursts(OpId(index)));
        counts.add(Action::GatedMac, gated[index]);
        for (action, parts) in &by_time {
            counts.add(action.clone(), attributed[index].get() * parts);
        }
        ops.push(table.cost(&counts)?);
        all.merge(&counts);
    }
    let zero_macs = observed.activity.map(|activity| activity.zero_macs().to_vec());
    Ok(RunEnergy { ops, total: table.cost(&all)?, counts: all, zero_macs })
}

/// The actions of one operation that its statistics tell. `zero_macs` of its products have a zero operand.
fn count(program: &Program, npu: &Npu, id: OpId, statistics: &OpStatistics, zero_macs: u64) -> ActionCounts {
    let mut counts = ActionCounts::default();
    let kind = &program.op(id).kind;
    if let OpKind::Gemm(gemm) = kind {
        let ProductFormats { activation, weight, .. } = program.product_formats(gemm);
        let zero = Action::ZeroMac { activation, weight };
        // A table that does not tell them apart charges each as any other product.
        let zero_macs = if npu.energy().covers(&zero) { zero_macs } else { 0 };
        counts.add(Action::Mac { activation, weight }, statistics.macs - zero_macs);
        counts.add(zero, zero_macs);
        counts.add(Action::IdleMac, statistics.issued_macs - statistics.macs);
        // Partial sums of several units are added by the vector unit.
        counts.add(Action::Vector(VectorFunction::Add), statistics.joined_sums);
    }
    for function in kind.vector_functions() {
        if *function == VectorFunction::Gather {
            counts.add(Action::Vector(*function), statistics.gathered_elements);
            counts.add(Action::IndexFetch, statistics.gathered_elements);
        } else {
            counts.add(Action::Vector(*function), statistics.vector_elements);
        }
    }
    for (memory, traffic) in npu.memories().iter().zip(&statistics.traffic) {
        counts.add(Action::Read(memory.name.clone()), traffic.read.get());
        counts.add(Action::Write(memory.name.clone()), traffic.written.get());
    }
    counts
}

fn add_array_actions(counts: &mut ActionCounts, actions: &ArrayActions) {
    counts.add(Action::WeightLoad, actions.weight_loads);
    counts.add(Action::RegisterShift, actions.register_shifts);
    counts.add(Action::Accumulate, actions.accumulations);
    counts.add(Action::AccumulatorShift, actions.accumulator_shifts);
    counts.add(Action::BlockScale, actions.block_scales);
}

/// What costs energy in every cycle of a run on `npu`, used or not, and of how many parts: processing elements, lanes of
/// additions, and each memory as a whole.
pub fn actions_of_time(npu: &Npu) -> Vec<(Action, u64)> {
    let elements = npu.matrix_units().iter().map(|unit| unit.array.processing_elements()).sum();
    let lanes = npu.vector_units().iter().map(|unit| unit.rate(VectorFunction::Add).per_cycle().ceil() as u64).sum();
    let units = [(Component::MatrixUnits, elements), (Component::VectorUnits, lanes)];
    let of_memory = npu.memories().iter().map(|memory| match memory.kind {
        MemoryKind::Dram(_) => (Action::Background(memory.name.clone()), 1),
        MemoryKind::Sram(_) => (Action::Leakage(Component::Memory(memory.name.clone())), 1),
    });
    units.map(|(component, parts)| (Action::Leakage(component), parts)).into_iter().chain(of_memory).collect()
}

/// Cycles of processing elements whose array had no tile, over all units. A team that is at work for a product that only some of
/// its members share leaves the others without a tile.
fn gated_element_cycles(schedule: &Schedule, npu: &Npu, statistics: &RunStatistics) -> u64 {
    let mut busy = vec![Cycles::ZERO; npu.matrix_units().len()];
    for queue in &statistics.queues {
        if let Queue::Matrix(team) = queue.queue {
            for unit in &statistics.teams[team.0] {
                busy[unit.0] += queue.busy;
            }
        }
    }
    for nest in &schedule.nests {
        for matrix in nest.matrix.iter().chain(&nest.prologue) {
            // No tile is larger than the first.
            let members = matrix.split.parts_of(nest.grid.first_tile()).count();
            for unit in statistics.teams[matrix.team.0].iter().skip(members) {
                busy[unit.0] = busy[unit.0].saturating_sub(statistics.ops[matrix.op.0].busy);
            }
        }
    }
    let idle = |busy: Cycles| statistics.makespan.saturating_sub(busy).get();
    npu.matrix_units().iter().zip(busy).map(|(unit, busy)| unit.array.processing_elements() * idle(busy)).sum()
}

/// `whole` shared out in proportion to `parts`: each has what the sum up to it adds to the sum before it, rounded down.
fn shares(whole: u64, parts: &[Cycles]) -> Vec<u64> {
    let all: u128 = parts.iter().map(|part| u128::from(part.get())).sum();
    let (mut up_to, mut given) = (0u128, 0u64);
    let share = |part: &Cycles| {
        up_to += u128::from(part.get());
        let due = (u128::from(whole) * up_to).checked_div(all).unwrap_or(0);
        let due = u64::try_from(due).expect("a part is no more than the whole");
        let share = due - given;
        given = due;
        share
    };
    parts.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_the_whole_and_stay_in_proportion() {
        let parts = [3, 0, 4, 3].map(Cycles);
        assert_eq!(shares(10, &parts), [3, 0, 4, 3]);
        assert_eq!(shares(7, &parts), [2, 0, 2, 3]);
        assert_eq!(shares(7, &[Cycles(0)]), [0]);
    }
}
