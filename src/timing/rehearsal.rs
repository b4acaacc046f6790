//! One nest timed alone, so that the tiling search can ask how the best of its candidates really do.
//!
//! What other nests bring or leave is there from the start: only the nest's own loads, work and stores take time.

use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::schedule::Schedule;
use crate::schedule::commands::{DmaStream, Queue, VectorStream};
use crate::schedule::counter::{Counter, CounterId, NestId};
use crate::schedule::nest::{Access, Destination, DmaQueue, Nest, Read};
use crate::schedule::team::{LaneId, Team, TeamId};
use crate::schedule::tiling::Rehearsal;
use crate::timing;
use crate::timing::observer::Unobserved;
use crate::units::Cycles;
use crate::workload::mapping::{Intermediates, Objective, Split};

/// Times nests of one program on one accelerator.
#[derive(Clone, Copy, Debug)]
pub struct TimedAlone<'a> {
    /// The program whose operations the nests name.
    pub program: &'a Program,
    /// The accelerator.
    pub npu: &'a Npu,
}

impl Rehearsal for TimedAlone<'_> {
    fn cycles(&self, nest: &Nest, teams: &[Team]) -> Option<Cycles> {
        let mut nest = alone(nest);
        let lane = LaneId(0);
        nest.lane = lane;
        let dma = [DmaQueue::Activations, DmaQueue::Weights, DmaQueue::Stores];
        let mut queues: Vec<Queue> = dma.map(|queue| Queue::Dma(DmaStream { queue, lane })).to_vec();
        let team = nest.matrix.as_mut().map(|matrix| {
            let team = Team { units: teams[matrix.team.0].units.clone(), lane };
            matrix.team = TeamId(0);
            team
        });
        queues.extend(team.is_some().then_some(Queue::Matrix(TeamId(0))));
        let vector = nest.vector.as_ref().map(|vector| VectorStream { unit: vector.unit, lane });
        queues.extend(vector.map(Queue::Vector));
        // Which counter is which matters to the causes of stalls only.
        let counters = vec![Counter::NestDone(NestId(0)); highest_counter(&nest) + 1];
        let schedule = Schedule {
            nests: vec![nest],
            queues,
            teams: team.into_iter().collect(),
            counters,
            placements: Vec::new(),
            accumulation: Vec::new(),
            objective: Objective::default(),
            split: Split::default(),
            intermediates: Intermediates::default(),
            chosen_by: Vec::new(),
        };
        let statistics = timing::run(self.program, &schedule, self.npu, &mut Unobserved).ok()?;
        Some(statistics.makespan)
    }
}

/// The nest without anything that it waits for from other nests.
fn alone(nest: &Nest) -> Nest {
    let mut nest = nest.clone();
    nest.fill_waits.clear();
    nest.load_waits.clear();
    let mut brought: Vec<CounterId> = Vec::new();
    for load in &mut nest.loads {
        load.produced = None;
        load.table = None;
        if load.destination == Destination::Resident {
            brought.push(load.arrived);
        }
    }
    // The reader of a ring is not there to give its room back.
    for output in nest.outputs.iter_mut().filter(|output| matches!(output.destination, Destination::Ring(_))) {
        output.destination = Destination::Resident;
    }
    nest.leads_next = false;
    let release = |read: &mut Read| {
        let is_there = match read.access {
            Access::Resident(counter) => !brought.contains(&counter),
            Access::Ring { .. } => true,
            Access::Loaded(_) | Access::Accumulators | Access::Internal => false,
        };
        if is_there {
            read.access = Access::Internal;
        }
    };
    if let Some(spilling) = &mut nest.spilling {
        spilling.claimed_before = 0;
    }
    for matrix in nest.prologue.iter_mut().chain(&mut nest.matrix) {
        matrix.unit_waits = [None; 2];
        matrix.operands.iter_mut().for_each(release);
        matrix.scales.iter_mut().flatten().for_each(release);
    }
    if let Some(vector) = &mut nest.vector {
        vector.reads.iter_mut().for_each(release);
    }
    nest
}

/// The highest index of a counter that the nest's commands wait for or signal.
fn highest_counter(nest: &Nest) -> usize {
    let pool = |destination: &Destination| match destination {
        Destination::Partition(pool) | Destination::Ring(pool) => Some(pool.returned),
        Destination::Resident => None,
    };
    let own = [nest.tiles_computed, nest.tiles_finished, nest.done];
    let loads = nest.loads.iter().flat_map(|load| [Some(load.arrived), pool(&load.destination)]);
    let outputs = nest.outputs.iter().flat_map(|output| [Some(output.rows), pool(&output.destination)]);
    let units = [
        nest.matrix.map(|matrix| matrix.accumulators.returned),
        nest.vector.as_ref().map(|vector| vector.outputs.returned),
    ];
    let sums = nest.spilling.iter().flat_map(|spilling| [spilling.computed, spilling.spilled, spilling.filled]);
    let all = own.into_iter().chain(loads.chain(outputs).chain(units).flatten()).chain(sums);
    all.map(|counter| counter.0 as usize).max().unwrap_or(0)
}
