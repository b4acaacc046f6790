//! The tiling of a nest: the given one, or the best of a fixed lattice by the closed-form estimate.
//!
//! The search is bounded by the number of its candidates ([`MOST_CANDIDATES`](crate::schedule::lattice::MOST_CANDIDATES)),
//! never by time. For cycles, among candidates within one part in `SLACK` of the fewest the one with the fewest off-chip
//! bytes wins, and of several the one with the fewest steps: the estimate is no finer than that, bytes cost energy, and
//! each step costs descriptors and commands. Ties are broken by fewer cycles, then by loop order and block sizes. Nests of
//! one [`Likeness`] are searched once.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::hardware::npu::Npu;
use crate::schedule::energy_estimate::energy_pj;
use crate::schedule::estimate::{Estimate, Estimator, estimate};
use crate::schedule::fixed_tiling::{self, UnusableTiling};
use crate::schedule::grid::{Axis, Grid};
use crate::schedule::k_outside;
use crate::schedule::lattice::candidates;
use crate::schedule::lead::Lead;
use crate::schedule::likeness::Likeness;
use crate::schedule::nest::Nest;
use crate::schedule::room::{TooSmall, exceeded};
use crate::schedule::team::Team;
use crate::units::{Bytes, Cycles};
use crate::workload::mapping::{FixedTiling, LoopOrder, Mapping, Objective, Unusable};

/// A rehearsed candidate is as good as another when it is slower by less than one part in this many.
const SLACK: u64 = 100;
/// The same for one that is only estimated.
const ESTIMATE_SLACK: u64 = 50;

/// The most candidates of a nest that are rehearsed.
const REHEARSED: usize = 64;
/// The most steps that they may have together.
const REHEARSED_STEPS: u64 = 1 << 16;
/// How often the neighbours of the fastest are rehearsed as well.
const CLIMBS: usize = 6;
/// The most rehearsed candidates that share their columns, or their rows, and the loop order.
const ALIKE: usize = 6;

/// Asks how many cycles a nest really takes alone on the machine. The search puts its best candidates to it; it is given
/// from outside, because this layer does not know how time is counted.
pub trait Rehearsal {
    /// Cycles of `nest`, whose team is one of `teams`, on its grid, or `None` where that cannot be told.
    fn cycles(&self, nest: &Nest, teams: &[Team]) -> Option<Cycles>;
}

/// Nothing is rehearsed: the estimate decides.
#[derive(Clone, Copy, Debug)]
pub struct Unrehearsed;

impl Rehearsal for Unrehearsed {
    fn cycles(&self, _: &Nest, _: &[Team]) -> Option<Cycles> {
        None
    }
}

/// How the tiling of a nest came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    /// The search.
    #[default]
    Search,
    /// It was given.
    Given,
    /// The search, because the given one could not be used.
    SearchedInstead,
}

/// Why a nest has no tiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTiling {
    /// Even the smallest tiles exceed a buffer.
    TooSmall(TooSmall),
    /// The given tiling cannot be used.
    Unusable(UnusableTiling),
}

/// What the best tiling of a nest costs, to be compared with the same nest shared otherwise among units.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    objective: Objective,
    cycles: Cycles,
    dram_bytes: Bytes,
    energy_pj: f64,
}

impl Cost {
    /// Whether it is less than `other` by the objective, and by cycles and bytes where that says nothing.
    pub fn is_below(&self, other: &Cost) -> bool {
        let first = match self.objective {
            Objective::Cycles => Ordering::Equal,
            Objective::DramBytes => self.dram_bytes.cmp(&other.dram_bytes),
            Objective::Energy => self.energy_pj.total_cmp(&other.energy_pj),
        };
        first.then(self.cycles.cmp(&other.cycles)).then(self.dram_bytes.cmp(&other.dram_bytes)).is_lt()
    }
}

/// Chooses grids, and remembers what it has found.
pub struct Tiler<'a> {
    npu: &'a Npu,
    rehearsal: &'a dyn Rehearsal,
    mapping: &'a Mapping,
    teams: Vec<Team>,
    found: Vec<(Likeness, Option<Lead>, Grid)>,
    /// Nests on their grids, with their cycles alone.
    timed: Vec<(Likeness, Cycles)>,
    /// Of the nest whose tiling is asked for next.
    lead: Option<Lead>,
}

impl<'a> Tiler<'a> {
    /// A tiler for `npu`, whose units work in `teams`, that follows `mapping`.
    pub fn new(npu: &'a Npu, mapping: &'a Mapping, rehearsal: &'a dyn Rehearsal, teams: Vec<Team>) -> Tiler<'a> {
        Tiler { npu, rehearsal, mapping, teams, found: Vec::new(), timed: Vec::new(), lead: None }
    }

    /// Looks at the tilings of `nest` as those of one that comes right behind `before`, which has its grid.
    pub fn follow(&mut self, before: Option<&Nest>, nest: &Nest) {
        self.lead = before.and_then(|before| {
            let cycles = self.alone(before);
            Lead::of(before, cycles, nest)
        });
    }

    /// Cycles of a nest alone on its grid.
    fn alone(&mut self, nest: &Nest) -> Cycles {
        let likeness = Likeness::of(self.npu, nest);
        if let Some((_, cycles)) = self.timed.iter().find(|(known, _)| *known == likeness) {
            return *cycles;
        }
        let nest = likeness.nest();
        let cycles = self.rehearsed_or_estimated(nest, estimate(self.npu, nest, &nest.grid));
        self.timed.push((likeness, cycles));
        cycles
    }

    fn rehearsed_or_estimated(&self, nest: &Nest, estimate: Estimate) -> Cycles {
        let is_short = nest.grid.steps() <= REHEARSED_STEPS / REHEARSED as u64;
        let rehearsed = if is_short { self.rehearsal.cycles(nest, &self.teams) } else { None };
        rehearsed.unwrap_or(estimate.cycles)
    }

    /// What `nest` costs on `grid`.
    pub fn cost(&self, nest: &Nest, grid: &Grid) -> Cost {
        let estimate = estimate(self.npu, nest, grid);
        let energy_pj = energy_pj(self.npu, nest, grid);
        let on_grid = Nest { grid: *grid, ..nest.clone() };
        let cycles = self.rehearsed_or_estimated(&on_grid, estimate);
        Cost { objective: self.mapping.objective, cycles, dram_bytes: estimate.dram_bytes, energy_pj }
    }

    /// The grid of `nest`, for which `given` was asked.
    ///
    /// # Errors
    /// [`NoTiling`].
    pub fn choose(&mut self, nest: &Nest, given: Option<&FixedTiling>) -> Result<(Grid, ChosenBy), NoTiling> {
        let Some(tiling) = given else { return self.search(nest).map(|grid| (grid, ChosenBy::Search)) };
        match fixed_tiling::grids(nest, tiling) {
            Ok(grids) => {
                let estimated = Estimator::new(self.npu, nest).each(grids);
                let best = best(self.npu, nest, &estimated, self.mapping.objective, self.rehearsing());
                Ok((best.expect("a given tiling allows a loop order"), ChosenBy::Given))
            }
            Err(unusable) => match self.mapping.unusable {
                Unusable::Refused => Err(NoTiling::Unusable(unusable)),
                Unusable::Searched => self.search(nest).map(|grid| (grid, ChosenBy::SearchedInstead)),
            },
        }
    }

    fn rehearsing(&self) -> Rehearsing<'_> {
        Rehearsing { rehearsal: self.rehearsal, teams: &self.teams, lead: self.lead }
    }

    fn search(&mut self, nest: &Nest) -> Result<Grid, NoTiling> {
        let likeness = Likeness::of(self.npu, nest);
        let is_known = |(known, lead, _): &&(Likeness, Option<Lead>, Grid)| *lead == self.lead && *known == likeness;
        if let Some((.., grid)) = self.found.iter().find(is_known) {
            return Ok(*grid);
        }
        let found = search_with(self.npu, likeness.nest(), self.mapping.objective, self.rehearsing());
        let grid = found.map_err(NoTiling::TooSmall)?;
        self.found.push((likeness, self.lead, grid));
        Ok(grid)
    }
}

/// A rehearsal with the teams of the schedule, behind the nest that brings the rows if there is one.
#[derive(Clone, Copy)]
struct Rehearsing<'a> {
    rehearsal: &'a dyn Rehearsal,
    teams: &'a [Team],
    lead: Option<Lead>,
}

impl Rehearsing<'_> {
    fn cycles(self, nest: &Nest) -> Option<Cycles> {
        let alone = self.rehearsal.cycles(nest, self.teams)?;
        Some(self.behind(alone, &nest.grid))
    }

    fn behind(self, alone: Cycles, grid: &Grid) -> Cycles {
        self.lead.map_or(alone, |lead| lead.behind(alone, grid))
    }

    fn estimated(self, (estimate, grid): (Estimate, Grid)) -> (Estimate, Grid) {
        let (cycles, at_least) = (self.behind(estimate.cycles, &grid), self.behind(estimate.at_least, &grid));
        (Estimate { cycles, at_least, ..estimate }, grid)
    }
}

/// The best grid of the lattice for a nest whose team is one of `teams`.
///
/// # Errors
/// [`TooSmall`] where no candidate fits: the buffer that the one which comes nearest exceeds.
pub fn search(
    npu: &Npu,
    nest: &Nest,
    objective: Objective,
    rehearsal: &dyn Rehearsal,
    teams: &[Team],
) -> Result<Grid, TooSmall> {
    search_with(npu, nest, objective, Rehearsing { rehearsal, teams, lead: None })
}

fn search_with(npu: &Npu, nest: &Nest, objective: Objective, rehearsal: Rehearsing<'_>) -> Result<Grid, TooSmall> {
    let candidates = candidates(npu, nest);
    let mut estimator = Estimator::new(npu, nest);
    let fitting = candidates.iter().copied().filter(|grid| exceeded(nest, grid).is_none());
    let mut estimated = estimator.each(fitting);
    if let Some(least) = estimated.iter().map(|(estimate, _)| estimate.dram_bytes).min() {
        let outside = k_outside::candidates(npu, nest, &estimated, least);
        estimated.extend(estimator.each(outside));
    }
    let estimated: Vec<_> = estimated.into_iter().map(|candidate| rehearsal.estimated(candidate)).collect();
    best(npu, nest, &estimated, objective, rehearsal).ok_or_else(|| {
        let exceeding = candidates.iter().filter_map(|grid| exceeded(nest, grid));
        exceeding.min_by_key(|too_small| too_small.needed - too_small.available).expect("the lattice has a candidate")
    })
}

/// The best of the grids that were estimated.
fn best(
    npu: &Npu,
    nest: &Nest,
    estimated: &[(Estimate, Grid)],
    objective: Objective,
    rehearsal: Rehearsing<'_>,
) -> Option<Grid> {
    if let [(_, only)] = estimated {
        return Some(*only);
    }
    let best = match objective {
        Objective::Cycles => {
            let rehearsed = rehearsed(nest, estimated, rehearsal);
            match rehearsed.is_empty() {
                true => fewest_cycles(estimated, ESTIMATE_SLACK),
                false => fewest_cycles(&rehearsed, SLACK),
            }
        }
        Objective::DramBytes => {
            estimated.iter().min_by_key(|(estimate, grid)| (estimate.dram_bytes, estimate.cycles, ties(grid))).copied()
        }
        Objective::Energy => {
            let energies = estimated.iter().map(|(estimate, grid)| (energy_pj(npu, nest, grid), *estimate, *grid));
            let least = energies.min_by(|(a, fast, first), (b, slow, second)| {
                a.total_cmp(b).then_with(|| (fast.cycles, ties(first)).cmp(&(slow.cycles, ties(second))))
            });
            least.map(|(_, estimate, grid)| (estimate, grid))
        }
    };
    best.map(|(_, grid)| grid)
}

/// Order of grids that cost the same: fewer steps, then loop order, then smaller blocks.
fn ties(grid: &Grid) -> (u64, LoopOrder, u64, u64, u64) {
    (grid.steps(), grid.order, grid.m.block(), grid.k.block(), grid.n.block())
}

/// Of those within one part in `slack` of the fewest cycles, the one with the fewest off-chip bytes, in the fewest steps.
fn fewest_cycles(costs: &[(Estimate, Grid)], slack: u64) -> Option<(Estimate, Grid)> {
    let fewest = costs.iter().map(|(cost, _)| cost.cycles.get()).min()?;
    let close = costs.iter().filter(|(cost, _)| cost.cycles.get() <= fewest + fewest / slack);
    close.min_by_key(|(cost, grid)| (cost.dram_bytes, grid.steps(), cost.cycles, ties(grid))).copied()
}

/// Whether a candidate cannot win against those that were rehearsed, however well it does: even at its lower bound it is not
/// so fast that the best of them were too slow beside it, and the best has fewer bytes, or as many in fewer steps.
fn is_hopeless(costs: &[(Estimate, Grid)], (estimate, grid): &(Estimate, Grid)) -> bool {
    let Some((best, best_grid)) = fewest_cycles(costs, SLACK) else { return false };
    let at_least = estimate.at_least;
    let ranks = |bytes: Bytes, cycles: Cycles, grid: &Grid| (bytes, grid.steps(), cycles, ties(grid));
    best.cycles <= at_least + Cycles(at_least.get() / SLACK)
        && ranks(best.dram_bytes, best.cycles, &best_grid) < ranks(estimate.dram_bytes, at_least, grid)
}

/// The best by estimate, of which few are alike, with rehearsed cycles; none where rehearsals cannot tell or would take
/// too many steps.
fn rehearsed(nest: &Nest, all: &[(Estimate, Grid)], rehearsal: Rehearsing<'_>) -> Vec<(Estimate, Grid)> {
    // Those that differ by less than the slack are ranked as the choice will be, so that the first leaves the next ones out.
    let least = all.iter().map(|(estimate, _)| estimate.cycles.get()).min().unwrap_or(0);
    let step = (least / SLACK).max(1);
    // Few of many are looked at: a heap gives them in order without sorting the rest.
    let rank = |(index, (estimate, grid)): (usize, &(Estimate, Grid))| {
        Reverse(((estimate.cycles.get() - least) / step, estimate.dram_bytes, ties(grid), index))
    };
    let mut ranked: BinaryHeap<_> = all.iter().enumerate().map(rank).collect();
    let mut costs: Vec<(Estimate, Grid)> = Vec::new();
    let mut considered: Vec<&Grid> = Vec::new();
    let mut steps = 0;
    let mut nest = nest.clone();
    while let Some(Reverse((.., index))) = ranked.pop() {
        let candidate @ (estimate, grid) = &all[index];
        let alike = |of: fn(&Grid) -> u64| {
            considered.iter().filter(|other| (other.order, of(other)) == (grid.order, of(grid))).count()
        };
        if alike(|grid| grid.n.block()) >= ALIKE || alike(|grid| grid.m.block()) >= ALIKE {
            continue;
        }
        steps += grid.steps();
        if considered.len() == REHEARSED || steps > REHEARSED_STEPS {
            break;
        }
        considered.push(grid);
        if is_hopeless(&costs, candidate) {
            continue;
        }
        nest.grid = *grid;
        let Some(cycles) = rehearsal.cycles(&nest) else { break };
        costs.push((Estimate { cycles, ..*estimate }, *grid));
    }
    climb(&mut nest, all, rehearsal, &mut costs);
    costs
}

/// Rehearses the neighbours of the fastest candidate so far, and theirs, as long as they are faster and few.
fn climb(nest: &mut Nest, all: &[(Estimate, Grid)], rehearsal: Rehearsing<'_>, costs: &mut Vec<(Estimate, Grid)>) {
    for _ in 0..CLIMBS {
        let Some((_, fastest)) = costs.iter().min_by_key(|(cost, grid)| (cost.cycles, ties(grid))).copied() else {
            return;
        };
        if fastest.steps() > REHEARSED_STEPS / REHEARSED as u64 {
            return;
        }
        let known = costs.len();
        for candidate @ (estimate, grid) in neighbours(all, &fastest) {
            if costs.iter().any(|(_, other)| other == grid) || is_hopeless(costs, candidate) {
                continue;
            }
            nest.grid = *grid;
            if let Some(cycles) = rehearsal.cycles(nest) {
                costs.push((Estimate { cycles, ..*estimate }, *grid));
            }
        }
        if costs.len() == known {
            return;
        }
    }
}

/// Candidates that differ from `grid` by the loop order, or by the next shorter or longer block along one axis.
fn neighbours<'g>(all: &'g [(Estimate, Grid)], grid: &Grid) -> Vec<&'g (Estimate, Grid)> {
    let axes = [Axis::M, Axis::K, Axis::N];
    let other_order = all.iter().filter(|(_, other)| {
        other.order != grid.order && axes.iter().all(|axis| other.blocking(*axis) == grid.blocking(*axis))
    });
    let mut neighbours: Vec<_> = other_order.collect();
    for axis in axes {
        let block = |grid: &Grid| grid.blocking(axis).block();
        let differs_here = |other: &&(Estimate, Grid)| {
            let rest = axes.iter().filter(|rest| **rest != axis);
            other.1.order == grid.order
                && block(&other.1) != block(grid)
                && rest.copied().all(|rest| other.1.blocking(rest) == grid.blocking(rest))
        };
        let (shorter, longer): (Vec<&(Estimate, Grid)>, Vec<_>) =
            all.iter().filter(differs_here).partition(|(_, other)| block(other) < block(grid));
        neighbours.extend(shorter.iter().copied().max_by_key(|(_, other)| block(other)));
        neighbours.extend(longer.iter().copied().min_by_key(|(_, other)| block(other)));
    }
    neighbours
}
