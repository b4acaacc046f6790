//! From counters to a report: every ratio and every sum is derived here, once.

use std::collections::BTreeMap;

use crate::energy::RunEnergy;
use crate::hardware::band::Band;
use crate::hardware::energy_table::EnergyBreakdown;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::{OpId, OpKind, Path};
use crate::program::planned;
use crate::program::uses::TensorUses;
use crate::report::bounds::{bounds, layer_bounds};
use crate::report::data::{
    Configuration, CountReport, LayerNumerics, LayerReport, MemoryReport, PathReport, QueueReport, Report,
    SCHEMA_VERSION, TakenDefault, TilingReport, Totals,
};
use crate::report::energy::energy_report;
use crate::report::queue_names::QueueNames;
use crate::schedule::Schedule;
use crate::timing::attribution::attributed_cycles;
use crate::timing::statistics::{OpStatistics, QueueStatistics, RunStatistics, StallCause, Stalls, Traffic};
use crate::units::Cycles;
use crate::workload::layer::LayerId;

/// What a report is built from.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The program that ran.
    pub program: &'a Program,
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// The hardware.
    pub npu: &'a Npu,
    /// The counters.
    pub statistics: &'a RunStatistics,
    /// The energy.
    pub energy: &'a RunEnergy,
    /// The numeric error of each layer, where values were given.
    pub numerics: Option<Vec<LayerNumerics>>,
    /// What the run found of what was planned, by operation, where values were given.
    pub observed_counts: Option<&'a [Option<u64>]>,
    /// What was simulated.
    pub configuration: Configuration,
    /// Defaults that were taken.
    pub defaults: Vec<TakenDefault>,
}

/// Builds the report of a run.
pub fn build(inputs: Inputs<'_>) -> Report {
    let Inputs { program, schedule, npu, statistics, energy, numerics, observed_counts, configuration, defaults } =
        inputs;
    let bounds = bounds(program, npu, statistics);
    let attributed = attributed_cycles(statistics);
    let uses = TensorUses::by_op(program);
    let attributed = &attributed;
    let (ops_of, tilings_of) = (ops_by_layer(program), tilings_by_layer(program, schedule));
    let context = Context { program, uses, npu, statistics, energy, attributed, observed_counts, ops_of, tilings_of };
    let layers = (0..program.layers.len())
        .map(|index| context.layer(LayerId(index), numerics.as_ref().map(|numerics| numerics[index])))
        .collect();
    let totals = context.totals(bounds.compute_cycles.max(bounds.compulsory_bandwidth_cycles));
    let energy = energy_report(program, npu, energy, &totals);
    let teams = statistics.teams.iter().map(Vec::as_slice);
    let names = QueueNames::new(npu, teams, statistics.queues.iter().map(|queue| queue.queue));
    Report {
        schema_version: SCHEMA_VERSION,
        npusim_version: env!("CARGO_PKG_VERSION"),
        configuration,
        defaults,
        tilings_chosen_for: schedule.objective.name(),
        totals,
        energy,
        bounds,
        queues: statistics.queues.iter().map(|queue| queue_report(&names, queue)).collect(),
        layers,
        timeline: None,
    }
}

struct Context<'a> {
    program: &'a Program,
    npu: &'a Npu,
    statistics: &'a RunStatistics,
    energy: &'a RunEnergy,
    attributed: &'a [Cycles],
    observed_counts: Option<&'a [Option<u64>]>,
    uses: TensorUses,
    /// Positions of each layer's operations.
    ops_of: Vec<Vec<usize>>,
    tilings_of: Vec<Vec<TilingReport>>,
}

impl Context<'_> {
    fn totals(&self, lower_bound_cycles: u64) -> Totals {
        let makespan = self.statistics.makespan.get();
        let mut memories = BTreeMap::new();
        for (index, memory) in self.npu.memories().iter().enumerate() {
            let traffic = self.statistics.ops.iter().filter_map(|op| op.traffic.get(index));
            memories.insert(memory.name.clone(), traffic.fold(MemoryReport::default(), add_traffic));
        }
        let dram = memories[&self.npu.memory(self.npu.dram_id()).name];
        let on_chip = |of: fn(&MemoryReport) -> u64| memories.values().map(of).sum::<u64>() - of(&dram);
        let mut macs: BTreeMap<String, u64> = BTreeMap::new();
        for (index, op) in self.statistics.ops.iter().enumerate() {
            if let OpKind::Gemm(gemm) = &self.program.op(OpId(index)).kind {
                let formats = self.program.product_formats(gemm);
                *macs.entry(format!("{}_x_{}", formats.activation, formats.weight)).or_default() += op.macs;
            }
        }
        let mut energy_pj: BTreeMap<String, f64> =
            self.energy.total.iter().map(|(component, energy)| (component.to_string(), energy)).collect();
        energy_pj.insert("total".to_owned(), self.energy.total.total_pj());
        let clock_hz = self.npu.clock_hz() as f64;
        Totals {
            cycles: makespan,
            time_us: makespan as f64 / clock_hz * 1e6,
            lower_bound_cycles,
            energy_pj,
            dram_read_bytes: dram.read_bytes,
            dram_write_bytes: dram.write_bytes,
            sram_read_bytes: on_chip(|memory| memory.read_bytes),
            sram_write_bytes: on_chip(|memory| memory.write_bytes),
            macs,
            issued_macs: self.statistics.ops.iter().map(|op| op.issued_macs).sum(),
            utilization: self.utilization(makespan),
            commands: self.statistics.commands,
            memories,
        }
    }

    /// Cycles that the useful work takes at each pair's full rate, over the makespan.
    fn utilization(&self, makespan: u64) -> BTreeMap<String, f64> {
        let units = self.npu.matrix_units().iter().enumerate();
        let share = |position| share(self.full_rate_cycles(position, 0..self.statistics.ops.len()), makespan);
        units.map(|(position, unit)| (unit.name.clone(), share(position))).collect()
    }

    /// Cycles that the useful work of some operations takes at full rate on one of the matrix units.
    fn full_rate_cycles(&self, position: usize, ops: impl Iterator<Item = usize>) -> f64 {
        let unit = &self.npu.matrix_units()[position];
        let cycles = ops.filter_map(|index| {
            let OpKind::Gemm(gemm) = &self.program.op(OpId(index)).kind else { return None };
            let macs = self.statistics.ops[index].unit_macs.get(position)?;
            let support = unit.support(self.program.product_formats(gemm))?;
            Some(*macs as f64 / (unit.array.processing_elements() * support.macs_per_element_per_cycle) as f64)
        });
        // The sum of nothing is a positive zero here.
        cycles.fold(0.0, |sum, cycles| sum + cycles)
    }

    /// The mean share of the matrix units that some operations of a layer have in its cycles.
    fn mean_share(&self, ops: &[usize], cycles: u64) -> f64 {
        let units = self.npu.matrix_units().len();
        let shares = (0..units).map(|position| share(self.full_rate_cycles(position, ops.iter().copied()), cycles));
        shares.sum::<f64>() / units as f64
    }

    /// What was planned for some operations, each kind of count once, and what was found.
    fn counts(&self, ops: &[usize]) -> Vec<CountReport> {
        let mut counts: Vec<CountReport> = Vec::new();
        for index in ops {
            let Some(planned) = planned::of(self.program, &self.program.ops[*index].kind) else { continue };
            let observed = self.observed_counts.and_then(|observed| observed[*index]);
            let count = CountReport {
                counted: planned.counted.name(),
                planned: planned.count,
                planned_by: planned.source.name(),
                observed,
                is_as_planned: observed.map(|observed| observed == planned.count),
            };
            if !counts.contains(&count) {
                counts.push(count);
            }
        }
        counts
    }

    fn layer(&self, id: LayerId, numerics: Option<LayerNumerics>) -> LayerReport {
        let ops = &self.ops_of[id.0];
        let of = |index: &usize| &self.statistics.ops[*index];
        let start = ops.iter().filter_map(|index| of(index).start).min().unwrap_or(Cycles::ZERO);
        let end = ops.iter().map(|index| of(index).end).max().unwrap_or(Cycles::ZERO);
        let begun = ops.iter().filter_map(|index| of(index).begun).min().map_or(start, |begun| begun.min(start));
        let paths: Vec<PathReport> = Path::ALL
            .into_iter()
            .filter_map(|path| {
                let ops: Vec<usize> =
                    ops.iter().copied().filter(|index| self.program.ops[*index].path == path).collect();
                (!ops.is_empty()).then(|| self.path(path, &ops, (end - start).get()))
            })
            .collect();
        let sum = |of: fn(&PathReport) -> u64| paths.iter().map(of).sum();
        LayerReport {
            name: self.program.layer(id).name.clone(),
            start_cycle: start.get(),
            end_cycle: end.get(),
            cycles: (end - start).get(),
            attributed_cycles: sum(|path| path.attributed_cycles),
            under_way_cycles: (end - begun).get(),
            compute_cycles: ops.iter().map(|index| of(index).compute.get()).sum(),
            stall_cycles: stall_map(self.leading_ops(ops).map(|index| &of(&index).stalls)),
            macs: sum(|path| path.macs),
            issued_macs: sum(|path| path.issued_macs),
            dram_read_bytes: sum(|path| path.dram_read_bytes),
            dram_write_bytes: sum(|path| path.dram_write_bytes),
            spilled_bytes: sum(|path| path.spilled_bytes),
            filled_bytes: sum(|path| path.filled_bytes),
            constant_bytes: self.constant_bytes(ops),
            utilization: self.mean_share(ops, (end - start).get()),
            bounds: layer_bounds(self.program, &self.uses, self.npu, ops),
            energy_pj: paths.iter().map(|path| path.energy_pj).sum(),
            energy_low_pj: paths.iter().map(|path| path.energy_low_pj).sum(),
            energy_high_pj: paths.iter().map(|path| path.energy_high_pj).sum(),
            deviations: self.program.layer(id).deviations.clone(),
            tilings: self.tilings_of[id.0].clone(),
            paths,
            numerics,
        }
    }

    fn path(&self, path: Path, ops: &[usize], layer_cycles: u64) -> PathReport {
        let of = |index: &usize| -> &OpStatistics { &self.statistics.ops[*index] };
        let dram = self.npu.dram_id().0;
        let traffic =
            ops.iter().filter_map(|index| of(index).traffic.get(dram)).fold(MemoryReport::default(), add_traffic);
        let energy: Band = ops.iter().map(|index| EnergyBreakdown::total(&self.energy.ops[*index])).sum();
        PathReport {
            path: path.name(),
            busy_cycles: ops.iter().map(|index| of(index).busy.get()).sum(),
            attributed_cycles: ops.iter().map(|index| self.attributed[*index].get()).sum(),
            stall_cycles: stall_map(ops.iter().map(|index| &of(index).stalls)),
            macs: ops.iter().map(|index| of(index).macs).sum(),
            issued_macs: ops.iter().map(|index| of(index).issued_macs).sum(),
            utilization: self.mean_share(ops, layer_cycles),
            dram_read_bytes: traffic.read_bytes,
            dram_write_bytes: traffic.write_bytes,
            spilled_bytes: ops.iter().map(|index| of(index).spilled.get()).sum(),
            filled_bytes: ops.iter().map(|index| of(index).filled.get()).sum(),
            energy_pj: energy.typical,
            energy_low_pj: energy.low,
            energy_high_pj: energy.high,
            counts: self.counts(ops),
        }
    }

    /// The operations whose stalls are the layer's: its products, or all of them where it has none. What else runs beside a
    /// product waits for it as a matter of course.
    fn leading_ops<'b>(&'b self, ops: &'b [usize]) -> impl Iterator<Item = usize> + 'b {
        let is_product = |index: usize| matches!(self.program.ops[index].kind, OpKind::Gemm(_));
        let has_product = ops.iter().any(|index| is_product(*index));
        ops.iter().copied().filter(move |index| !has_product || is_product(*index))
    }

    /// Bytes of the constants that these operations read: whatever is given before the run, activations aside.
    fn constant_bytes(&self, ops: &[usize]) -> u64 {
        let mut constants = std::collections::BTreeSet::new();
        for index in ops {
            let kind = &self.program.ops[*index].kind;
            let read = match kind {
                // Its left operand is an activation, whatever its origin.
                OpKind::Gemm(gemm) => {
                    std::iter::once(gemm.right.codes).chain(gemm.right.blocks.map(|blocks| blocks.scales)).collect()
                }
                OpKind::Vector(vector) => vector.constants.clone(),
                OpKind::GatherRows(_) => kind.reads(),
                OpKind::Reduce { .. }
                | OpKind::Quantize { .. }
                | OpKind::QuantizeBlocks { .. }
                | OpKind::Dequantize { .. }
                | OpKind::Activate { .. }
                | OpKind::ExtractChannels(_)
                | OpKind::ExtractTop(_)
                | OpKind::Merge(_)
                | OpKind::DivideChannels(_) => kind.reads().into_iter().skip(1).collect::<Vec<_>>(),
            };
            constants.extend(read.into_iter().filter(|tensor| self.program.tensor(*tensor).is_given()));
        }
        constants.into_iter().map(|tensor| self.program.tensor(tensor).bytes().get()).sum()
    }
}

/// Positions of the operations of each layer.
fn ops_by_layer(program: &Program) -> Vec<Vec<usize>> {
    let mut by_layer = vec![Vec::new(); program.layers.len()];
    for (index, op) in program.ops.iter().enumerate() {
        by_layer[op.layer.0].push(index);
    }
    by_layer
}

/// Tilings of the products of each layer, in program order.
fn tilings_by_layer(program: &Program, schedule: &Schedule) -> Vec<Vec<TilingReport>> {
    let mut by_layer = vec![Vec::new(); program.layers.len()];
    for (nest, chosen_by) in schedule.nests.iter().zip(&schedule.chosen_by) {
        let Some(matrix) = &nest.matrix else { continue };
        let (op, grid) = (program.op(matrix.op), nest.grid);
        by_layer[op.layer.0].push(TilingReport {
            path: op.path.name(),
            m: grid.m.block(),
            k: grid.k.block(),
            n: grid.n.block(),
            order: grid.order.name(),
            chosen_by: *chosen_by,
        });
    }
    by_layer
}

fn share(full_rate_cycles: f64, cycles: u64) -> f64 {
    if cycles == 0 { 0.0 } else { full_rate_cycles / cycles as f64 }
}

fn add_traffic(sum: MemoryReport, traffic: &Traffic) -> MemoryReport {
    MemoryReport {
        read_bytes: sum.read_bytes + traffic.read.get(),
        write_bytes: sum.write_bytes + traffic.written.get(),
    }
}

fn stall_map<'a>(stalls: impl Iterator<Item = &'a Stalls>) -> BTreeMap<String, u64> {
    let mut map = BTreeMap::new();
    for stalls in stalls {
        for cause in StallCause::ALL {
            let cycles = stalls.get(cause).get();
            if cycles > 0 {
                *map.entry(cause.name().to_owned()).or_default() += cycles;
            }
        }
    }
    map
}

fn queue_report(names: &QueueNames<'_>, statistics: &QueueStatistics) -> QueueReport {
    let (unit, queue) = names.of(statistics.queue);
    QueueReport {
        unit,
        queue,
        commands: statistics.commands,
        busy_cycles: statistics.busy.get(),
        stall_cycles: stall_map(std::iter::once(&statistics.stalls)),
        idle_cycles: statistics.idle.get(),
    }
}
