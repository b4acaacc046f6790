//! Which matrix units work on each product, and which lane each group of operations goes through.
//!
//! An operation that names a unit gets it. Otherwise the fastest unit that multiplies the formats does it, or all units
//! equal to that one together; where each product stays whole, products that do not wait for one another go to the equal
//! unit that is free first. Ties go to the unit that is listed first.

use crate::hardware::matrix_unit::{FormatSupport, MatrixUnit, MatrixUnitId};
use crate::hardware::memory::MemoryKind;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::{Gemm, GemmOperand, OpId, OpKind};
use crate::schedule::ScheduleError;
use crate::schedule::grouping::Group;
use crate::schedule::team::{LaneId, Team, TeamId};
use crate::workload::mapping::Split;

/// The most lanes: each takes its share of every buffer.
const MOST_LANES: usize = 4;

/// The units of a whole program.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Teams that have work, in the order of their first products; then each unit without work as a team of its own.
    pub teams: Vec<Team>,
    /// Number of lanes.
    pub lanes: usize,
    /// Team of each group that has a product.
    pub team_of: Vec<Option<TeamId>>,
    /// Lane of each group.
    pub lane_of: Vec<LaneId>,
    /// Whether a unit has work.
    pub is_used: Vec<bool>,
}

/// Binds the groups of `program` to the units of `npu`.
///
/// # Errors
/// [`ScheduleError::UnsupportedFormats`] where no unit multiplies a pair of formats, [`ScheduleError::UnknownUnit`] and
/// [`ScheduleError::UnitLacksFormats`] where an operation names a unit that there is not or that does not multiply them.
pub fn bind(program: &Program, npu: &Npu, groups: &[Group], split: Split) -> Result<Binding, ScheduleError> {
    let mut teams: Vec<Team> = Vec::new();
    let mut team_of = Vec::with_capacity(groups.len());
    let mut clock = Clock::new(program, npu);
    for group in groups {
        let Some(op) = group.matrix else {
            clock.pass(group, None);
            team_of.push(None);
            continue;
        };
        let mut candidates = candidates(program, npu, op)?;
        if let Some(prologue) = group.prologue {
            // Both products fill the same accumulators: the same unit does them.
            let formats = program.product_formats(gemm(program, prologue));
            candidates.retain(|unit| npu.matrix_unit(*unit).support(formats).is_some());
            if candidates.is_empty() {
                return Err(unsupported(program, npu, prologue));
            }
        }
        let units = match split {
            Split::None => vec![clock.free_first(group, &candidates)],
            Split::Auto | Split::M | Split::N | Split::K => candidates,
        };
        clock.pass(group, Some(&units));
        let id = teams.iter().position(|team| team.units == units).unwrap_or_else(|| {
            teams.push(Team { units, lane: LaneId(0) });
            teams.len() - 1
        });
        team_of.push(Some(TeamId(id)));
    }
    let lanes = give_lanes(&mut teams);
    let is_used: Vec<bool> = (0..npu.matrix_units().len())
        .map(|unit| teams.iter().any(|team| team.units.contains(&MatrixUnitId(unit))))
        .collect();
    let unused = is_used.iter().enumerate().filter(|(_, is_used)| !**is_used);
    teams.extend(unused.map(|(unit, _)| Team { units: vec![MatrixUnitId(unit)], lane: LaneId(0) }));
    let lane_of = lanes_of_groups(program, groups, &teams, &team_of);
    Ok(Binding { teams, lanes, team_of, lane_of, is_used })
}

/// The equal units among which a product may be shared, or the one that it asks for.
fn candidates(program: &Program, npu: &Npu, op: OpId) -> Result<Vec<MatrixUnitId>, ScheduleError> {
    let gemm = gemm(program, op);
    let formats = program.product_formats(gemm);
    let all = || (0..npu.matrix_units().len()).map(MatrixUnitId);
    let layer = || program.layer(program.op(op).layer).name.clone();
    let (activation, weight) = (operand_format(program, gemm.left), operand_format(program, gemm.right));
    if let Some(name) = &program.op(op).unit {
        let Some(asked) = all().find(|id| npu.matrix_unit(*id).name == *name) else {
            let known: Vec<_> = npu.matrix_units().iter().map(|unit| format!("`{}`", unit.name)).collect();
            return Err(ScheduleError::UnknownUnit { layer: layer(), unit: name.clone(), known: known.join(", ") });
        };
        let unit = npu.matrix_unit(asked);
        if unit.support(formats).is_none() {
            let (unit, supported) = (name.clone(), pairs(unit).join(", "));
            return Err(ScheduleError::UnitLacksFormats { layer: layer(), unit, activation, weight, supported });
        }
        return Ok(vec![asked]);
    }
    let fastest = all().filter_map(|id| Some((id, macs_per_cycle(npu, id, program, gemm)?))).fold(
        None,
        |best: Option<(MatrixUnitId, u64)>, (id, rate)| match best {
            Some((_, most)) if most >= rate => best,
            Some(_) | None => Some((id, rate)),
        },
    );
    let Some((fastest, _)) = fastest else {
        return Err(unsupported(program, npu, op));
    };
    Ok(all().filter(|id| are_equal(npu, fastest, *id)).collect())
}

/// No unit multiplies the formats of `op`.
fn unsupported(program: &Program, npu: &Npu, op: OpId) -> ScheduleError {
    let gemm = gemm(program, op);
    let (activation, weight) = (operand_format(program, gemm.left), operand_format(program, gemm.right));
    let layer = program.layer(program.op(op).layer).name.clone();
    let supported = npu.matrix_units().iter().flat_map(pairs).collect::<Vec<_>>().join(", ");
    ScheduleError::UnsupportedFormats { layer, activation, weight, supported }
}

/// The pairs of formats that a unit multiplies, for messages.
fn pairs(unit: &MatrixUnit) -> Vec<String> {
    let pair = |support: &FormatSupport| format!("{} x {} ({})", support.activation, support.weight, unit.name);
    unit.formats.iter().map(pair).collect()
}

/// Whether two units differ in nothing but their names and in which of several equal memories holds their sums.
fn are_equal(npu: &Npu, a: MatrixUnitId, b: MatrixUnitId) -> bool {
    let [a, b] = [a, b].map(|id| npu.matrix_unit(id));
    let formats = |unit: &MatrixUnit| -> Vec<_> {
        let fields = |support: &crate::hardware::matrix_unit::FormatSupport| {
            let kinds = (support.activation, support.weight, support.accumulator);
            (kinds, support.accumulation, support.macs_per_element_per_cycle)
        };
        unit.formats.iter().map(fields).collect()
    };
    let sums = |unit: &MatrixUnit| match &npu.memory(unit.accumulator_memory).kind {
        MemoryKind::Sram(sram) => Some((sram.capacity, sram.read_bytes_per_cycle, sram.write_bytes_per_cycle)),
        MemoryKind::Dram(_) => None,
    };
    a.array == b.array
        && formats(a) == formats(b)
        && a.operand_memory == b.operand_memory
        && sums(a) == sums(b)
        && a.launch == b.launch
}

fn macs_per_cycle(npu: &Npu, id: MatrixUnitId, program: &Program, gemm: &Gemm) -> Option<u64> {
    let unit = npu.matrix_unit(id);
    let support = unit.support(program.product_formats(gemm))?;
    Some(unit.array.processing_elements() * support.macs_per_element_per_cycle)
}

fn gemm(program: &Program, op: OpId) -> &Gemm {
    match &program.op(op).kind {
        OpKind::Gemm(gemm) => gemm,
        other => unreachable!("the matrix operation of a group is a product, not {other:?}"),
    }
}

fn operand_format(program: &Program, operand: GemmOperand) -> String {
    match operand.blocks {
        Some(blocks) => blocks.format.name().to_owned(),
        None => program.tensor(operand.codes).format.to_string(),
    }
}

/// When tensors are ready and units are free, if products took the time of their multiply-accumulates and all else none.
struct Clock<'a> {
    program: &'a Program,
    npu: &'a Npu,
    ready_at: Vec<u64>,
    free_at: Vec<u64>,
}

impl<'a> Clock<'a> {
    fn new(program: &'a Program, npu: &'a Npu) -> Clock<'a> {
        Clock { program, npu, ready_at: vec![0; program.tensors.len()], free_at: vec![0; npu.matrix_units().len()] }
    }

    fn inputs_ready(&self, group: &Group) -> u64 {
        let reads = group.ops().flat_map(|op| self.program.op(op).kind.reads());
        reads.map(|tensor| self.ready_at[tensor.0]).max().unwrap_or(0)
    }

    /// The unit that could start the group's product first.
    fn free_first(&self, group: &Group, units: &[MatrixUnitId]) -> MatrixUnitId {
        let ready = self.inputs_ready(group);
        let first = units.iter().copied().min_by_key(|unit| (self.free_at[unit.0].max(ready), *unit));
        first.expect("a product has a candidate")
    }

    /// Lets the group run on `units` together.
    fn pass(&mut self, group: &Group, units: Option<&[MatrixUnitId]>) {
        let mut end = self.inputs_ready(group);
        if let (Some(op), Some(units)) = (group.matrix, units) {
            let gemm = gemm(self.program, op);
            let rates = units.iter().filter_map(|unit| macs_per_cycle(self.npu, *unit, self.program, gemm));
            let rate: u64 = rates.sum();
            end = units.iter().map(|unit| self.free_at[unit.0]).fold(end, u64::max);
            end = end.saturating_add(gemm.macs().div_ceil(rate.max(1)));
            units.iter().for_each(|unit| self.free_at[unit.0] = end);
        }
        for tensor in group.ops().flat_map(|op| self.program.op(op).kind.writes()) {
            self.ready_at[tensor.0] = end;
        }
    }
}

/// Teams that share a unit share a lane; returns the number of lanes.
fn give_lanes(teams: &mut [Team]) -> usize {
    // Joins teams until no two of different numbers share a unit: a handful of teams.
    let mut numbers: Vec<usize> = (0..teams.len()).collect();
    for a in 0..teams.len() {
        for b in 0..a {
            let shares = teams[a].units.iter().any(|unit| teams[b].units.contains(unit));
            if shares && numbers[a] != numbers[b] {
                let (from, to) = (numbers[a].max(numbers[b]), numbers[a].min(numbers[b]));
                numbers.iter_mut().filter(|number| **number == from).for_each(|number| *number = to);
            }
        }
    }
    let mut distinct = numbers.clone();
    distinct.sort_unstable();
    distinct.dedup();
    for (team, number) in teams.iter_mut().zip(&numbers) {
        let position = distinct.binary_search(number).expect("every number is in its own list");
        team.lane = LaneId(position % MOST_LANES);
    }
    distinct.len().clamp(1, MOST_LANES)
}

/// A product's group has its team's lane; a chain alone that of its first reader, or of its input's writer where nobody
/// reads it.
fn lanes_of_groups(program: &Program, groups: &[Group], teams: &[Team], team_of: &[Option<TeamId>]) -> Vec<LaneId> {
    let mut lanes: Vec<Option<LaneId>> = team_of.iter().map(|team| team.map(|team| teams[team.0].lane)).collect();
    let writes = |group: &Group| -> Vec<_> { group.ops().flat_map(|op| program.op(op).kind.writes()).collect() };
    let reads = |group: &Group| -> Vec<_> { group.ops().flat_map(|op| program.op(op).kind.reads()).collect() };
    let mut writer = vec![None; program.tensors.len()];
    let mut first_reader = vec![None; program.tensors.len()];
    for (index, group) in groups.iter().enumerate() {
        for tensor in reads(group) {
            if writer[tensor.0].is_some_and(|writer| writer != index) {
                first_reader[tensor.0].get_or_insert(index);
            }
        }
        writes(group).into_iter().for_each(|tensor| writer[tensor.0] = Some(index));
    }
    for index in (0..groups.len()).rev() {
        let reader = writes(&groups[index]).into_iter().filter_map(|tensor| first_reader[tensor.0]).min();
        let reader_lane = reader.and_then(|reader| lanes[reader]);
        lanes[index] = lanes[index].or(reader_lane);
    }
    for index in 0..groups.len() {
        let writer = reads(&groups[index]).into_iter().filter_map(|tensor| writer[tensor.0]).find(|w| *w < index);
        let writer_lane = writer.and_then(|writer| lanes[writer]);
        lanes[index] = lanes[index].or(writer_lane);
    }
    lanes.into_iter().map(|lane| lane.unwrap_or(LaneId(0))).collect()
}
