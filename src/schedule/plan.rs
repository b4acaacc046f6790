//! From a program to a schedule: units, placements, grids, counters.

use std::collections::BTreeMap;

use crate::hardware::matrix_unit::{FormatSupport, MatrixUnitId};
use crate::hardware::memory::{MemoryId, Partitions};
use crate::hardware::npu::Npu;
use crate::hardware::requests::ProductOrder;
use crate::hardware::vector_unit::VectorUnitId;
use crate::program::Program;
use crate::program::op::{Gemm, OpId, OpKind, Scope};
use crate::program::tensor::TensorId;
use crate::program::uses::TensorUses;
use crate::schedule::accumulation::{AccumulationPlan, Accumulator};
use crate::schedule::binding::{Binding, bind};
use crate::schedule::commands::{DmaStream, Queue, VectorStream};
use crate::schedule::compute_ends::ComputeEnds;
use crate::schedule::counter::{Counter, CounterId, NestId, PartitionId, PartitionRole, Wait};
use crate::schedule::grid::{Batches, Grid};
use crate::schedule::grouping::{Group, group};
use crate::schedule::nest::{
    Access, BatchStride, CreditPool, Destination, DmaQueue, Layout, Load, MatrixWork, Nest, Output, Read, Reader,
    Storage, Table, TileMap, VectorStep, VectorWork,
};
use crate::schedule::operands::{operand_maps, scope_map, vector_operands};
use crate::schedule::placement::{Places, place};
use crate::schedule::residency::Residents;
use crate::schedule::ring::{self, Surroundings};
use crate::schedule::room::{Buffer, TooSmall, needed};
use crate::schedule::spill::{self, Home, Spilling};
use crate::schedule::splits::splits;
use crate::schedule::team::{LaneId, TeamId, TeamSplit};
use crate::schedule::tiling::{ChosenBy, Cost, NoTiling, Rehearsal, Tiler, Unrehearsed};
use crate::schedule::{Placement, Schedule, ScheduleError, extraction, fixed_tiling, gather};
use crate::shape::{BlockRuns, Blocking, least_common_multiple};
use crate::units::Bytes;
use crate::workload::mapping::{LoopOrder, Mapping};

/// Schedules `program` on `npu`, its products cut into tiles as `mapping` says.
///
/// # Errors
/// [`ScheduleError`] where no unit multiplies a pair of formats, an operation asks for a unit that cannot do it, the
/// smallest tile does not fit a buffer, or a given tiling cannot be used.
pub fn schedule(program: &Program, npu: &Npu, mapping: &Mapping) -> Result<Schedule, ScheduleError> {
    schedule_rehearsed(program, npu, mapping, &Unrehearsed)
}

/// The same, with the best tilings by estimate put to `rehearsal`.
///
/// # Errors
/// As [`schedule`].
pub fn schedule_rehearsed(
    program: &Program,
    npu: &Npu,
    mapping: &Mapping,
    rehearsal: &dyn Rehearsal,
) -> Result<Schedule, ScheduleError> {
    fixed_tiling::check_products(program, mapping)?;
    let groups = group(program);
    let binding = bind(program, npu, &groups, mapping.split)?;
    let mut tiler = Tiler::new(npu, mapping, rehearsal, binding.teams.clone());
    let planner = Planner::new(program, npu, &groups, binding, mapping);
    planner.run(&groups, &mut tiler, mapping)
}

#[derive(Clone)]
struct Planner<'a> {
    program: &'a Program,
    npu: &'a Npu,
    binding: Binding,
    residents: Residents,
    /// What the shared memory holds.
    shared: Residents,
    placements: Vec<Option<Placement>>,
    /// First address off the chip beyond all tensors.
    beyond_tensors: u64,
    /// Where the nests so far end.
    ends: ComputeEnds,
    counters: Vec<Counter>,
    rows: BTreeMap<TensorId, CounterId>,
    credits: BTreeMap<PartitionId, CounterId>,
    /// Bytes of its accumulators that each team's nests so far claim.
    claimed: BTreeMap<TeamId, u64>,
    /// Whether a given tensor that stays has already been loaded.
    is_pinned: Vec<bool>,
    /// Rings that may form, by their producers.
    rings: BTreeMap<usize, ring::Candidate>,
    /// The ring that the nests under way share.
    ring: Option<(TensorId, CreditPool)>,
}

impl<'a> Planner<'a> {
    fn new(program: &'a Program, npu: &'a Npu, groups: &[Group], binding: Binding, mapping: &Mapping) -> Planner<'a> {
        let resident_capacity = partitions(npu, npu.dma().to).resident;
        let users = groups.iter().enumerate().flat_map(|(index, group)| group.ops().map(move |op| (index, op)));
        let uses = TensorUses::gather(program, users.map(|(index, op)| (index, &program.op(op).kind)));
        let residents = Residents::choose(program, groups, &uses, resident_capacity);
        let shared_capacity = npu.shared().map_or(Bytes::ZERO, |(memory, _)| npu.sram(memory).capacity);
        let shared = Residents::choose_spilled(program, groups, &uses, &residents, shared_capacity);
        let Places { placements, end: beyond_tensors } = place(program, &uses, &residents, &shared);
        let is_pinned = vec![false; program.tensors.len()];
        let (binding_ref, residents_ref, shared_ref, uses) = (&binding, &residents, &shared, &uses);
        let surroundings = Surroundings {
            program,
            npu,
            groups,
            uses,
            binding: binding_ref,
            residents: residents_ref,
            shared: shared_ref,
        };
        let rings = ring::candidates(&surroundings, mapping);
        let (counters, rows, credits, claimed) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Planner {
            program,
            npu,
            binding,
            residents,
            shared,
            placements,
            beyond_tensors,
            ends: ComputeEnds::default(),
            counters,
            rows,
            credits,
            claimed,
            is_pinned,
            rings,
            ring: None,
        }
    }

    fn run(mut self, groups: &[Group], tiler: &mut Tiler<'_>, mapping: &Mapping) -> Result<Schedule, ScheduleError> {
        let mut chosen_by = Vec::with_capacity(groups.len());
        let mut nests: Vec<Nest> = Vec::with_capacity(groups.len());
        while nests.len() < groups.len() {
            let index = nests.len();
            if let Some(ring) = self.rings.get(&index).copied()
                && let Some((with_ring, [producer, reader], by)) =
                    self.clone().ringed(ring, groups, tiler, mapping, &nests)
            {
                self = with_ring;
                nests.extend([producer, reader]);
                chosen_by.extend([by, ChosenBy::Search]);
                continue;
            }
            let mut nest = self.begun(index, groups, &nests)?;
            tiler.follow(nests.last(), &nest);
            chosen_by.push(self.cut(&mut nest, tiler, mapping)?);
            self.hold_sums(&mut nest, index);
            self.ends.add(index, &nest);
            nests.push(nest);
        }
        let accumulation = self.accumulation(&nests);
        let queues = self.queues();
        let Planner { binding, counters, placements, .. } = self;
        let Mapping { objective, split, intermediates, .. } = *mapping;
        let teams = binding.teams;
        Ok(Schedule {
            nests,
            queues,
            teams,
            counters,
            placements,
            accumulation,
            objective,
            split,
            intermediates,
            chosen_by,
        })
    }

    /// The nest of a group with everything but its grid.
    fn begun(&mut self, index: usize, groups: &[Group], earlier: &[Nest]) -> Result<Nest, ScheduleError> {
        let mut nest = self.nest(NestId(index), &groups[index])?;
        let done = self.residents.fill(index).max(self.shared.fill(index));
        nest.fill_waits = self.ends.waits(done);
        nest.load_waits = self.load_waits(earlier);
        self.share_units(&mut nest, earlier);
        Ok(nest)
    }

    /// The next two nests with a ring between them, and how the first one's tiling came about; `None` where it cannot form
    /// or does not pay.
    fn ringed(
        mut self,
        ring: ring::Candidate,
        groups: &[Group],
        tiler: &mut Tiler<'_>,
        mapping: &Mapping,
        earlier: &[Nest],
    ) -> Option<(Self, [Nest; 2], ChosenBy)> {
        let (index, memory) = (earlier.len(), self.npu.dma().to);
        let partition = PartitionId { memory, role: PartitionRole::Ring, holder: index };
        let mut pool = self.pool(partition, ring.room);
        self.ring = Some((ring.tensor, pool));
        let mut producer = self.begun(index, groups, earlier).ok()?;
        producer.spilling = None;
        tiler.follow(earlier.last(), &producer);
        let by = self.cut(&mut producer, tiler, mapping).ok()?;
        if !ring::pays(&producer) {
            return None;
        }
        // Both work on one vector unit, in turns: a row block has been read before the next one is made.
        let (block, _) = needed(&producer, &producer.grid, Buffer::Ring)?;
        pool.capacity = Bytes(block);
        let passed = producer.outputs.iter_mut().find(|output| output.tensor == ring.tensor)?;
        passed.destination = Destination::Ring(pool);
        self.ring = Some((ring.tensor, pool));
        let held = self.residents.hold(index + 1, pool.capacity);
        producer.fill_waits = self.ends.waits(held.max(self.shared.done()));
        producer.leads_next = true;
        self.hold_sums(&mut producer, index);
        self.ends.add(index, &producer);
        self.placements[ring.tensor.0] = Some(Placement::Ring);
        let all = [earlier, &[producer]].concat();
        let mut reader = self.begun(index + 1, groups, &all).ok()?;
        let producer = all.into_iter().next_back()?;
        reader.grid = ring::grid_beside(&producer, &reader)?;
        self.ends.add(index + 1, &reader);
        self.ring = None;
        Some((self, [producer, reader], by))
    }

    /// How the products of all nests accumulate.
    fn accumulation(&self, nests: &[Nest]) -> Vec<Option<AccumulationPlan>> {
        let mut accumulation = vec![None; self.program.ops.len()];
        for nest in nests {
            let Some(matrix) = &nest.matrix else { continue };
            let plan = |work: &MatrixWork, segments| {
                let (accumulator, split) = (work.accumulator, matrix.split);
                AccumulationPlan { accumulator, segments, split }
            };
            accumulation[matrix.op.0] = Some(plan(matrix, nest.grid.k));
            if let Some(prologue) = &nest.prologue {
                let segments = Blocking::whole(self.gemm(prologue.op).shape.k);
                accumulation[prologue.op.0] = Some(plan(prologue, segments));
            }
        }
        accumulation
    }

    /// The queues of each lane's transfers, of each team, and of each lane's vector work; units without work come last.
    fn queues(&self) -> Vec<Queue> {
        let lanes = || (0..self.binding.lanes).map(LaneId);
        let dma = |lane| {
            let all = [DmaQueue::Activations, DmaQueue::Weights, DmaQueue::Stores];
            all.map(|queue| Queue::Dma(DmaStream { queue, lane }))
        };
        let mut queues: Vec<Queue> = lanes().flat_map(dma).collect();
        queues.extend((0..self.binding.teams.len()).map(|team| Queue::Matrix(TeamId(team))));
        queues.extend(lanes().map(|lane| Queue::Vector(VectorStream { unit: self.vector_unit(lane), lane })));
        let unused = self.binding.lanes..self.npu.vector_units().len();
        queues.extend(unused.map(|unit| Queue::Vector(VectorStream { unit: VectorUnitId(unit), lane: LaneId(0) })));
        queues
    }

    /// Lanes take the vector units in turn: each reads the operand memory, which all of them share.
    fn vector_unit(&self, lane: LaneId) -> VectorUnitId {
        VectorUnitId(lane.0 % self.npu.vector_units().len())
    }

    /// A lane's share of the partitions through which tiles pass; what stays is not shared out.
    fn share(&self, memory: MemoryId) -> Partitions {
        let whole = partitions(self.npu, memory);
        let share = |bytes: Bytes| Bytes(bytes.get() / self.binding.lanes as u64);
        Partitions {
            activations: share(whole.activations),
            weights: share(whole.weights),
            outputs: share(whole.outputs),
            resident: whole.resident,
        }
    }

    /// A nest with everything but its grid and its fill waits.
    fn nest(&mut self, id: NestId, group: &Group) -> Result<Nest, ScheduleError> {
        let tiles_computed = self.counter(Counter::TilesComputed(id));
        let tiles_finished = self.counter(Counter::TilesFinished(id));
        let done = self.counter(Counter::NestDone(id));
        let mut nest = Nest {
            lane: self.binding.lane_of[id.0],
            grid: self.whole_grid(group),
            output_batches: self.output_batches(group),
            prologue: None,
            matrix: None,
            vector: None,
            leads_next: false,
            spilling: None,
            loads: Vec::new(),
            outputs: Vec::new(),
            fill_waits: Vec::new(),
            load_waits: Vec::new(),
            tiles_computed,
            tiles_finished,
            done,
        };
        if let Some(op) = group.prologue {
            nest.prologue = Some(self.matrix_work(&mut nest.loads, id, op, Depth::Whole));
        }
        if let Some(op) = group.matrix {
            let matrix = self.matrix_work(&mut nest.loads, id, op, Depth::Tiled);
            let sums_may_leave = !matrix.streams_results && nest.prologue.is_none();
            nest.spilling = sums_may_leave.then(|| self.spilling(id, matrix.team));
            nest.matrix = Some(matrix);
        }
        if !group.chain.is_empty() {
            nest.vector = Some(self.vector_work(&mut nest.loads, id, group)?);
        }
        nest.outputs = self.outputs(group, &nest);
        Ok(nest)
    }

    /// Where the sums of a product may wait between passes along k: in on-chip space that no tensor has while it runs, or
    /// beyond all tensors off the chip.
    fn spilling(&mut self, id: NestId, team: TeamId) -> Spilling {
        let [computed, spilled, filled] =
            [Counter::SumsComputed(id), Counter::SumsSpilled(id), Counter::SumsFilled(id)].map(|it| self.counter(it));
        let near = |memory, residents: &Residents| Home { memory, base: 0, room: residents.free_at(id.0) };
        let shared = self.npu.shared().map(|(memory, _)| near(memory, &self.shared));
        let near = [Some(near(self.npu.dma().to, &self.residents)), shared];
        let far = Home { memory: self.npu.dram_id(), base: self.beyond_tensors, room: Bytes(u64::MAX) };
        let claimed_before = self.claimed.get(&team).copied().unwrap_or(0);
        Spilling { computed, spilled, filled, near, far, claimed_before }
    }

    /// Takes note of what a nest claims of its accumulators, and of the on-chip space where its sums wait. Its prologue is
    /// shared among the team as the product is.
    fn hold_sums(&mut self, nest: &mut Nest, index: usize) {
        let Some(matrix) = &nest.matrix else { return };
        let (team, split) = (matrix.team, matrix.split);
        if let Some(prologue) = &mut nest.prologue {
            prologue.split = split;
        }
        *self.claimed.entry(team).or_default() += spill::claimed_bytes(nest);
        let Some(home) = spill::home(nest, &nest.grid) else { return };
        let near = match home.memory {
            memory if memory == self.npu.dram_id() => return,
            memory if memory == self.npu.dma().to => &mut self.residents,
            _ => &mut self.shared,
        };
        let held = near.hold(index, spill::waiting_bytes(nest, &nest.grid));
        if held.is_some() {
            nest.fill_waits = self.ends.waits(held.max(self.residents.done()).max(self.shared.done()));
        }
    }

    fn whole_grid(&self, group: &Group) -> Grid {
        let (batches, m, k, n) = match group.matrix {
            Some(op) => {
                let Gemm { shape, batching, .. } = self.gemm(op);
                (Batches::of(batching), shape.m, shape.k, shape.n)
            }
            None => {
                let input = self.program.op(group.chain[0]).kind.walked_input().expect("a chain is element-wise");
                let shape = self.program.tensor(input).shape;
                (Batches::SINGLE, shape.rows, 1, shape.columns)
            }
        };
        let [m, k, n] = [m, k, n].map(Blocking::whole);
        Grid { batches, m, k, n, order: LoopOrder::MNK }
    }

    /// Where the batches of a group's outputs lie.
    fn output_batches(&self, group: &Group) -> BatchStride {
        let Some(Gemm { shape, batching, .. }) = group.matrix.map(|op| self.gemm(op)) else { return BatchStride::NONE };
        match batching.count {
            1 => BatchStride::NONE,
            _ => BatchStride::new(batching.output, shape.output(), 1),
        }
    }

    fn matrix_work(&mut self, loads: &mut Vec<Load>, id: NestId, op: OpId, depth: Depth) -> MatrixWork {
        let gemm = self.gemm(op).clone();
        let team = self.binding.team_of[id.0].expect("binding gave every product a team");
        let units = self.binding.teams[team.0].units.clone();
        let unit = units[0];
        let support = self.npu.matrix_unit(unit).support(self.program.product_formats(&gemm));
        let support = support.expect("binding chose units that multiply the formats");
        let FormatSupport { macs_per_element_per_cycle, accumulation, accumulator: sums_format, .. } = *support;
        let [left_map, right_map] =
            operand_maps(&gemm, self.npu.matrix_unit(unit).array.starts_whole()).map(|map| match depth {
                Depth::Tiled => map,
                Depth::Whole => map.of_whole_depth(),
            });
        let sides = [(gemm.left, left_map, DmaQueue::Activations), (gemm.right, right_map, DmaQueue::Weights)];
        let mut read = |planner: &mut Self, tensor, map, queue| {
            let access = planner.access(loads, id, Request { tensor, map, queue, op, reader: Reader::Matrix });
            Read { tensor, storage: planner.storage(tensor), map, access }
        };
        let operands = sides.map(|(operand, map, queue)| read(self, operand.codes, map, queue));
        let runs = gemm.block_runs();
        let scales = [0, 1].map(|side| {
            let (operand, map, queue) = sides[side];
            let blocks = operand.blocks?;
            let block_runs = BlockRuns::new(blocks.format.block(), runs[side]);
            Some(read(self, blocks.scales, map.of_block_scales(block_runs), queue))
        });
        let scales = [scales[0], gemm.right_rows.map(|rows| read(self, rows, left_map, sides[0].2)).or(scales[1])];
        let blocks = sides.iter().filter_map(|(operand, ..)| operand.blocks);
        let block = blocks.map(|blocks| blocks.format.block()).max().unwrap_or(1);
        let memory = self.npu.matrix_unit(unit).accumulator_memory;
        let share = units.iter().map(|unit| self.accumulator_share(*unit)).min().expect("a team has a unit");
        let capacity = share * units.len() as u64;
        let accumulators =
            self.pool(PartitionId { memory, role: PartitionRole::Accumulators, holder: team.0 }, capacity);
        let sharing_sums =
            units.iter().filter(|unit| self.npu.matrix_unit(**unit).accumulator_memory == memory).count();
        // The program says what the sums mean, the unit how wide it keeps them.
        let element_bits = u64::from(sums_format.storage_bits());
        let sums = Storage { element_bits, ..self.storage(gemm.output) };
        let (accumulator, is_gathered) = (Accumulator::of(accumulation, block), gemm.right_rows.is_some());
        let accumulator = if is_gathered { accumulator.one_by_one() } else { accumulator };
        let depth_unit = least_common_multiple(block, accumulator.products_per_operation());
        MatrixWork {
            team,
            unit,
            split: TeamSplit::alone(units.len() as u64),
            sharing_sums: sharing_sums as u64,
            unit_waits: [None; 2],
            op,
            window: gemm.window,
            operands,
            scales,
            is_gathered,
            accumulator,
            depth_unit,
            sums,
            accumulators,
            macs_per_element_per_cycle,
            streams_results: self.npu.matrix_unit(unit).array.streams_results(),
            initial_shifts: gemm.initial.map_or(0, |initial| initial.factor.shifts()),
        }
    }

    /// A unit's share of the memory that holds its sums: an even one among all units with work that have theirs there.
    fn accumulator_share(&self, unit: MatrixUnitId) -> Bytes {
        let memory = self.npu.matrix_unit(unit).accumulator_memory;
        let is_sharing = |other: &usize| {
            self.binding.is_used[*other] && self.npu.matrix_units()[*other].accumulator_memory == memory
        };
        let sharing = (0..self.npu.matrix_units().len()).filter(is_sharing).count();
        Bytes(self.npu.sram(memory).capacity.get() / sharing as u64)
    }

    fn vector_work(&mut self, loads: &mut Vec<Load>, id: NestId, group: &Group) -> Result<VectorWork, ScheduleError> {
        let lane = self.binding.lane_of[id.0];
        let unit = self.vector_unit(lane);
        let memory = self.npu.vector_unit(unit).memory;
        let written: Vec<TensorId> = group.ops().flat_map(|op| self.program.op(op).kind.writes()).collect();
        let output_batches = self.output_batches(group);
        let mut reads: Vec<Read> = Vec::new();
        let mut steps = Vec::new();
        for op in group.chain.iter().copied() {
            let kind = &self.program.op(op).kind;
            let functions = kind.vector_functions();
            let described = self.npu.vector_unit(unit);
            extraction::check(self.program, op, described)?;
            steps.push(VectorStep { op, functions, gathered_columns: kind.gathered_columns(self.program) });
            for (tensor, map, queue) in vector_operands(self.program, kind, output_batches) {
                if reads.iter().any(|read| read.tensor == tensor) {
                    continue;
                }
                let access = if group.matrix.is_some_and(|matrix| self.gemm(matrix).output == tensor) {
                    Access::Accumulators
                } else if written.contains(&tensor) {
                    Access::Internal
                } else {
                    self.access(loads, id, Request { tensor, map, queue, op, reader: Reader::Vector })
                };
                reads.push(Read { tensor, storage: self.storage(tensor), map, access });
            }
        }
        let outputs =
            self.pool(PartitionId { memory, role: PartitionRole::Outputs, holder: lane.0 }, self.share(memory).outputs);
        Ok(VectorWork { unit, steps, reads, memory, outputs })
    }

    /// Tensors that outlive the group, in the order of their operations.
    fn outputs(&mut self, group: &Group, nest: &Nest) -> Vec<Output> {
        let mut outputs = Vec::new();
        let written = group.ops().flat_map(|op| self.program.op(op).kind.writes().into_iter().map(move |id| (op, id)));
        for (op, tensor) in written {
            let destination = match self.placements[tensor.0] {
                None => continue,
                Some(Placement::Resident) => Destination::Resident,
                Some(_) if self.ring.is_some_and(|(ring, _)| ring == tensor) => {
                    Destination::Ring(self.ring.expect("it was just seen").1)
                }
                Some(Placement::Ring) => unreachable!("a ring has one producer"),
                Some(Placement::Dram { .. } | Placement::Shared) => {
                    Destination::Partition(match (&nest.vector, &nest.matrix) {
                        (Some(vector), _) => vector.outputs,
                        (None, Some(matrix)) => matrix.accumulators,
                        (None, None) => unreachable!("a nest has a product or a chain"),
                    })
                }
            };
            let map = match &self.program.op(op).kind {
                // The last tile writes all of them.
                OpKind::Reduce { scope: Scope::Column, .. } => TileMap::WHOLE,
                OpKind::Reduce { scope, .. } => scope_map(*scope),
                OpKind::QuantizeBlocks { format, run, scales, .. } if *scales == tensor => {
                    TileMap::OUTPUT.of_block_scales(BlockRuns::new(format.block(), *run))
                }
                OpKind::ExtractChannels(extract) if extract.dense == Some(tensor) => TileMap::PER_ROW,
                OpKind::ExtractTop(top) if top.positions.is_some() && top.body != tensor => TileMap::PER_ROW,
                OpKind::Gemm(_)
                | OpKind::Quantize { .. }
                | OpKind::QuantizeBlocks { .. }
                | OpKind::Dequantize { .. }
                | OpKind::Vector(_)
                | OpKind::Activate { .. }
                | OpKind::ExtractChannels(_)
                | OpKind::ExtractTop(_)
                | OpKind::GatherRows(_)
                | OpKind::Merge(_)
                | OpKind::DivideChannels(_) => TileMap::OUTPUT,
            };
            let map = map.in_output(nest.output_batches);
            let rows = self.rows_counter(tensor);
            let atom = match destination {
                Destination::Partition(_) => self.npu.dma().requests.activation_atom.get(),
                Destination::Resident | Destination::Ring(_) => 1,
            };
            let storage = Storage { atom, ..self.storage(tensor) };
            outputs.push(Output { tensor, storage, map, op, destination, rows });
        }
        outputs
    }

    /// Where a unit reads a tensor; adds a load where it has to be brought.
    fn access(&mut self, loads: &mut Vec<Load>, nest: NestId, request: Request) -> Access {
        let Request { tensor, map, queue, op, reader } = request;
        let is_resident = self.residents.contains(tensor);
        let is_given = self.program.tensor(tensor).is_given();
        if is_resident && (!is_given || self.is_pinned[tensor.0]) {
            return Access::Resident(self.rows_counter(tensor));
        }
        if let Some((ring, pool)) = self.ring
            && ring == tensor
        {
            return Access::Ring { rows: self.rows_counter(tensor), pool };
        }
        let index = loads.len();
        let requests = &self.npu.dma().requests;
        let mut storage = self.storage(tensor);
        let mut padding = Bytes::ZERO;
        match queue {
            DmaQueue::Activations => storage.atom = requests.activation_atom.get(),
            DmaQueue::Weights => {
                let bytes = self.program.tensor(tensor).bytes().get();
                padding = Bytes(bytes.next_multiple_of(requests.weight_multiple.get()) - bytes);
            }
            DmaQueue::Stores => {}
        }
        let longest_request = requests.longest;
        let gathered = gather::of(self.program, &self.program.op(op).kind, tensor);
        let table = gathered.and_then(|gathered| {
            (storage.shape, storage.layout) = (gathered.shape, gathered.layout);
            if let Layout::ScatteredElements { .. } = storage.layout {
                (storage.atom, storage.element_bits) = (1, storage.element_bits.next_multiple_of(8));
            }
            Some(Table { rows: self.rows_counter(gathered.table?), rows_of_each: gathered.rows_of_each })
        });
        let (destination, arrived, produced) = if is_resident {
            // A given tensor that several nests read: the first one brings it to stay.
            self.is_pinned[tensor.0] = true;
            (Destination::Resident, self.rows_counter(tensor), None)
        } else {
            let (lane, memory) = (self.binding.lane_of[nest.0], self.npu.dma().to);
            let all = self.share(memory);
            let (role, capacity) = match queue {
                DmaQueue::Activations => (PartitionRole::Activations, all.activations),
                DmaQueue::Weights => (PartitionRole::Weights, all.weights),
                DmaQueue::Stores => unreachable!("nothing is loaded through the store queue"),
            };
            let pool = self.pool(PartitionId { memory, role, holder: lane.0 }, capacity);
            let arrived = self.counter(Counter::Loaded { nest, load: index });
            (Destination::Partition(pool), arrived, (!is_given).then(|| self.rows_counter(tensor)))
        };
        loads.push(Load {
            tensor,
            storage,
            map,
            op,
            queue,
            reader,
            destination,
            arrived,
            produced,
            longest_request,
            padding,
            table,
        });
        if is_resident { Access::Resident(arrived) } else { Access::Loaded(index) }
    }

    /// Lets a product wait for the last one of another team that has some of the same units: until its sums are read. In
    /// one lane nests end in order, so the last one stands for all before it.
    fn share_units(&self, nest: &mut Nest, earlier: &[Nest]) {
        let Some(matrix) = &mut nest.matrix else { return };
        let units = &self.binding.teams[matrix.team.0].units;
        let products = earlier.iter().rev().filter_map(|nest| Some((nest, nest.matrix.as_ref()?)));
        let shares = |team: TeamId| self.binding.teams[team.0].units.iter().any(|unit| units.contains(unit));
        let since = products.take_while(|(_, other)| other.team != matrix.team);
        let mut found = since.filter(|(_, other)| shares(other.team)).map(|(nest, _)| nest);
        let chained = |nest: &Nest| nest.vector.is_some();
        let Some(last) = found.next() else { return };
        let other = found.find(|nest| chained(nest) != chained(last));
        matrix.unit_waits = [Some(last), other].map(|nest| {
            let nest = nest?;
            let leaving = nest.outputs.iter().find(|output| matches!(output.destination, Destination::Partition(_)));
            Some(match leaving {
                Some(output) if nest.vector.is_none() => {
                    Wait { counter: output.rows, at_least: output.storage.shape.rows }
                }
                Some(_) | None => Wait { counter: nest.done, at_least: 1 },
            })
        });
    }

    /// Chooses the grid, and how the team shares it: of the splits that are allowed the cheapest, then the first of none, m,
    /// n, k.
    fn cut(&self, nest: &mut Nest, tiler: &mut Tiler<'_>, mapping: &Mapping) -> Result<ChosenBy, ScheduleError> {
        let splits = splits(self.npu, nest, mapping.split, || self.layer_name(nest.main_op()))?;
        let mut best: Option<(Cost, TeamSplit, Grid, ChosenBy)> = None;
        let mut refused = None;
        for split in splits.iter().copied() {
            for matrix in nest.prologue.iter_mut().chain(&mut nest.matrix) {
                matrix.split = split;
            }
            match self.grid(nest, tiler, mapping) {
                Err(error) => refused = refused.or(Some(error)),
                Ok((grid, chosen_by)) if splits.len() == 1 => {
                    nest.grid = grid;
                    return Ok(chosen_by);
                }
                Ok((grid, chosen_by)) => {
                    let cost = tiler.cost(nest, &grid);
                    if best.as_ref().is_none_or(|(least, ..)| cost.is_below(least)) {
                        best = Some((cost, split, grid, chosen_by));
                    }
                }
            }
        }
        let Some((_, split, grid, chosen_by)) = best else { return Err(refused.expect("a split was tried")) };
        if let Some(matrix) = &mut nest.matrix {
            matrix.split = split;
        }
        nest.grid = grid;
        Ok(chosen_by)
    }

    /// Conditions before this nest's first loads: where queues take products together, all loads of the nest before.
    fn load_waits(&self, earlier: &[Nest]) -> Vec<Wait> {
        match self.npu.dma().requests.products {
            ProductOrder::Independent => Vec::new(),
            ProductOrder::Together => {
                let Some(last) = earlier.iter().rev().find(|nest| !nest.loads.is_empty()) else { return Vec::new() };
                let all = |load: &Load| match load.destination {
                    Destination::Partition(_) => load.fetches(&last.grid),
                    Destination::Resident => load.storage.shape.rows,
                    Destination::Ring(_) => unreachable!("nothing is loaded into a ring"),
                };
                last.loads.iter().map(|load| Wait { counter: load.arrived, at_least: all(load) }).collect()
            }
        }
    }

    fn grid(&self, nest: &Nest, tiler: &mut Tiler<'_>, mapping: &Mapping) -> Result<(Grid, ChosenBy), ScheduleError> {
        let main = self.program.op(nest.main_op());
        let layer = &self.program.layer(main.layer).name;
        let path = main.path.name();
        let given = if nest.matrix.is_some() { mapping.tiling(layer, path) } else { None };
        tiler.choose(nest, given).map_err(|none| match none {
            NoTiling::TooSmall(too_small) => {
                let TooSmall { buffer, needed, available } = too_small;
                let (layer, memory) = (layer.clone(), self.memory_of(nest, buffer));
                ScheduleError::DoesNotFit { layer, memory, partition: buffer.name(), needed, available }
            }
            NoTiling::Unusable(reason) => {
                let memory = reason.buffer().map(|buffer| self.memory_of(nest, buffer));
                ScheduleError::UnusableTiling { layer: layer.clone(), path, reason, memory }
            }
        })
    }

    /// Name of the memory that `buffer` of a nest is a part of.
    fn memory_of(&self, nest: &Nest, buffer: Buffer) -> String {
        let memory = match (buffer, &nest.matrix) {
            (Buffer::Accumulators, Some(matrix)) => self.npu.matrix_unit(matrix.unit).accumulator_memory,
            (Buffer::Activations | Buffer::Weights | Buffer::Outputs | Buffer::Accumulators | Buffer::Ring, _) => {
                self.npu.dma().to
            }
        };
        self.npu.memory(memory).name.clone()
    }

    fn layer_name(&self, op: OpId) -> String {
        self.program.layer(self.program.op(op).layer).name.clone()
    }

    fn gemm(&self, op: OpId) -> &'a Gemm {
        match &self.program.op(op).kind {
            OpKind::Gemm(gemm) => gemm,
            other => unreachable!("the matrix operation of a group is a product, not {other:?}"),
        }
    }

    fn storage(&self, tensor: TensorId) -> Storage {
        let described = self.program.tensor(tensor);
        let (home, base) = match (self.placements[tensor.0], self.npu.shared()) {
            (Some(Placement::Shared), Some((memory, _))) => (memory, 0),
            (Some(Placement::Dram { base }), _) => (self.npu.dram_id(), base),
            (Some(Placement::Shared | Placement::Resident | Placement::Ring) | None, _) => (self.npu.dram_id(), 0),
        };
        let (shape, element_bits, layout) = (described.shape, described.counted_bits(), Layout::Stored);
        Storage { shape, element_bits, home, base, atom: 1, layout }
    }

    fn counter(&mut self, counter: Counter) -> CounterId {
        let id = CounterId(u32::try_from(self.counters.len()).expect("a few counters per nest fit 32 bits"));
        self.counters.push(counter);
        id
    }

    fn rows_counter(&mut self, tensor: TensorId) -> CounterId {
        if let Some(counter) = self.rows.get(&tensor) {
            return *counter;
        }
        let counter = self.counter(Counter::Rows(tensor));
        self.rows.insert(tensor, counter);
        counter
    }

    fn pool(&mut self, partition: PartitionId, capacity: Bytes) -> CreditPool {
        let returned = match self.credits.get(&partition) {
            Some(counter) => *counter,
            None => {
                let counter = self.counter(Counter::Credit(partition));
                self.credits.insert(partition, counter);
                counter
            }
        };
        CreditPool { returned, capacity }
    }
}

/// Whether the depth of a product is cut into blocks.
#[derive(Clone, Copy)]
enum Depth {
    Tiled,
    Whole,
}

/// A unit's wish to read a tensor.
struct Request {
    tensor: TensorId,
    map: TileMap,
    queue: DmaQueue,
    op: OpId,
    reader: Reader,
}

fn partitions(npu: &Npu, memory: MemoryId) -> Partitions {
    npu.sram(memory).partitions.expect("Npu::try_new checked that operand memories have partitions")
}
