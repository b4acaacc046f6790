//! What a point would cost by closed forms alone: the estimate that the search of tilings ranks by, summed over the nests.
//!
//! Nothing is rehearsed and nothing is timed. Tilings are searched at a few values of what belongs to off-chip memory and
//! taken over to those between, because the search is nearly all of the time that an estimate takes. Cycles are those of the nests one after the other, each alone on the machine,
//! so that what neighbours overlap is counted twice. Energy leaves out descriptors and bursts of DMA engines and what vector units
//! write back, and takes an element for gated whenever it multiplies nothing useful. The numbers rank points; simulation
//! measures them.

use crate::config::study::Metric;
use crate::energy::{actions_of_time, array};
use crate::explore::evaluate::Measured;
use crate::hardware::actions::Action;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::OpKind;
use crate::schedule::energy_estimate::energy_pj;
use crate::schedule::estimate::{Estimate, estimate};
use crate::schedule::nest::Nest;
use crate::schedule::{ScheduleError, schedule};
use crate::workload::mapping::Mapping;

/// A scheduled program, to be estimated on accelerators that differ in off-chip memory alone.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Nests with their number. Those that cost the same are taken for alike, as layers of repeated blocks are.
    kinds: Vec<(u64, Nest)>,
    dram_bytes: u64,
    /// Energy of counts; what hangs on time is not in it.
    energy_pj: f64,
    macs: u64,
}

impl Prepared {
    /// The program with its tilings searched by estimates on `npu`.
    ///
    /// # Errors
    /// The program does not fit the hardware.
    pub fn of(program: &Program, npu: &Npu, mapping: &Mapping) -> Result<Prepared, ScheduleError> {
        let schedule = schedule(program, npu, mapping)?;
        let figure = |action: &Action| npu.energy().energy_pj(action).unwrap_or(0.0);
        let (mut dram_bytes, mut energy) = (0, 0.0);
        let mut kinds: Vec<(u64, (Estimate, f64), Nest)> = Vec::new();
        for nest in &schedule.nests {
            let (cost, of_grid) = (estimate(npu, nest, &nest.grid), energy_pj(npu, nest, &nest.grid));
            dram_bytes += cost.dram_bytes.get();
            energy += of_grid;
            let rows = nest.grid.m.extent() * nest.grid.batches.count();
            for step in nest.vector.iter().flat_map(|vector| &vector.steps) {
                let elements = |function| rows * step.columns(function).unwrap_or(nest.grid.n.extent());
                let of = |function: &_| figure(&Action::Vector(*function)) * elements(*function) as f64;
                energy += step.functions.iter().map(of).sum::<f64>();
            }
            let alike = |(_, known, other): &&mut (u64, (Estimate, f64), Nest)| {
                *known == (cost, of_grid) && other.grid == nest.grid
            };
            match kinds.iter_mut().find(alike) {
                Some((number, ..)) => *number += 1,
                None => kinds.push((1, (cost, of_grid), nest.clone())),
            }
        }
        let mut macs = 0;
        for (op, within) in program.ops.iter().zip(array::count(program, &schedule, npu)) {
            let OpKind::Gemm(gemm) = &op.kind else { continue };
            let formats = program.product_formats(gemm);
            let (activation, weight) = (formats.activation, formats.weight);
            macs += gemm.macs();
            let counts = [
                (Action::Mac { activation, weight }, gemm.macs()),
                (Action::WeightLoad, within.weight_loads),
                (Action::RegisterShift, within.register_shifts),
                (Action::Accumulate, within.accumulations),
                (Action::AccumulatorShift, within.accumulator_shifts),
                (Action::BlockScale, within.block_scales),
            ];
            energy += counts.iter().map(|(action, count)| figure(action) * *count as f64).sum::<f64>();
        }
        let kinds = kinds.into_iter().map(|(number, _, nest)| (number, nest)).collect();
        Ok(Prepared { kinds, dram_bytes, energy_pj: energy, macs })
    }

    fn cycles(&self, npu: &Npu) -> u64 {
        self.kinds.iter().map(|(number, nest)| number * estimate(npu, nest, &nest.grid).cycles.get()).sum()
    }
}

/// Estimates of the metrics that have one, on `npu`: those of whichever of `prepared`, at least one, takes the fewest cycles
/// there, and of equal ones the first.
pub fn estimated(prepared: &[Prepared], npu: &Npu) -> Measured {
    let each = prepared.iter().map(|prepared| (prepared.cycles(npu), prepared));
    let (cycles, fastest) = each.min_by_key(|(cycles, _)| *cycles).expect("there is at least one");
    let figure = |action: &Action| npu.energy().energy_pj(action).unwrap_or(0.0);
    let elements: u64 = npu.matrix_units().iter().map(|unit| unit.array.processing_elements()).sum();
    let gated = figure(&Action::GatedMac) * (elements * cycles).saturating_sub(fastest.macs) as f64;
    let of_a_cycle: f64 = actions_of_time(npu).iter().map(|(action, parts)| figure(action) * *parts as f64).sum();
    let energy = fastest.energy_pj + gated + of_a_cycle * cycles as f64;
    let time_us = cycles as f64 / npu.clock_hz() as f64 * 1e6;
    Measured::from([
        (Metric::Cycles, cycles as f64),
        (Metric::TimeUs, time_us),
        (Metric::EnergyPj, energy),
        (Metric::EnergyDelay, energy * time_us * 1e-6),
        (Metric::DramBytes, fastest.dram_bytes as f64),
    ])
}
