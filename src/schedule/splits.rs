//! Along which axes the members of a team may share a product.

use crate::dataflow;
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::VectorFunction;
use crate::schedule::ScheduleError;
use crate::schedule::grid::Axis;
use crate::schedule::nest::{Access, Nest, VectorWork};
use crate::schedule::team::TeamSplit;
use crate::shape::least_common_multiple;
use crate::workload::mapping::Split;

/// The ways of sharing the product of `nest` among its team that `split` allows; `layer` names it in messages.
///
/// # Errors
/// [`ScheduleError`] where the members' sums would have to be added and nothing can.
pub fn splits(
    npu: &Npu,
    nest: &Nest,
    split: Split,
    layer: impl Fn() -> String,
) -> Result<Vec<TeamSplit>, ScheduleError> {
    let Some(matrix) = &nest.matrix else { return Ok(vec![TeamSplit::alone(1)]) };
    let members = matrix.split.members;
    let alone = TeamSplit::alone(members);
    if members == 1 {
        return Ok(vec![alone]);
    }
    let array = &npu.matrix_unit(matrix.unit).array;
    let at_once = dataflow::of(array).granularity(array, matrix.macs_per_element_per_cycle);
    let along = |axis: Axis| {
        let quantum = match axis {
            Axis::M => at_once.m,
            Axis::N => at_once.n,
            Axis::K => least_common_multiple(at_once.k, matrix.depth_unit),
        };
        TeamSplit { axis: Some(axis), members, quantum }
    };
    // Sums that leave the array at once cannot wait for those of the other members, and those of a prologue are there
    // once.
    let sums_wait = |vector: &&VectorWork| {
        !matrix.streams_results
            && nest.prologue.is_none()
            && vector.reads.iter().any(|read| read.access == Access::Accumulators)
    };
    let adding = nest.vector.as_ref().filter(sums_wait).map(|vector| npu.vector_unit(vector.unit));
    Ok(match split {
        Split::None => vec![alone],
        // The sums that a prologue leaves are there once.
        Split::K if nest.prologue.is_some() => vec![alone],
        Split::M => vec![along(Axis::M)],
        Split::N => vec![along(Axis::N)],
        Split::K => match adding {
            Some(unit) if unit.supports(VectorFunction::Add) => vec![along(Axis::K)],
            Some(unit) => {
                let (layer, function) = (layer(), VectorFunction::Add.name());
                return Err(ScheduleError::MissingVectorFunction { layer, function, unit: unit.name.clone() });
            }
            None => return Err(ScheduleError::NothingAddsSums { layer: layer() }),
        },
        Split::Auto => {
            let along_k = adding.filter(|unit| unit.supports(VectorFunction::Add)).map(|_| along(Axis::K));
            [alone, along(Axis::M), along(Axis::N)].into_iter().chain(along_k).collect()
        }
    })
}
