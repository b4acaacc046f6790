//! What a point would cost by closed forms alone: the estimate that the search of tilings ranks by, summed over the nests.
//!
//! Nothing is rehearsed and nothing is timed. Cycles are those of the nests one after the other, each alone on the machine,
//! so that what neighbours overlap is counted twice. Energy is that of traffic, products, vector functions and time; what
//! arrays do inside a tile beside products, and the descriptors and bursts of DMA engines, is left out. The numbers rank
//! points; simulation measures them.

use crate::config::study::Metric;
use crate::energy::actions_of_time;
use crate::explore::evaluate::Measured;
use crate::hardware::actions::Action;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::op::OpKind;
use crate::schedule::energy_estimate::energy_pj;
use crate::schedule::estimate::estimate;
use crate::schedule::{ScheduleError, schedule};
use crate::workload::mapping::Mapping;

/// Estimates of the metrics that have one.
///
/// # Errors
/// The program does not fit the hardware.
pub fn estimated(program: &Program, npu: &Npu, mapping: &Mapping) -> Result<Measured, ScheduleError> {
    let schedule = schedule(program, npu, mapping)?;
    let figure = |action: &Action| npu.energy().energy_pj(action).unwrap_or(0.0);
    let (mut cycles, mut dram_bytes, mut energy) = (0, 0, 0.0);
    for nest in &schedule.nests {
        let cost = estimate(npu, nest, &nest.grid);
        cycles += cost.cycles.get();
        dram_bytes += cost.dram_bytes.get();
        energy += energy_pj(npu, nest, &nest.grid);
        let elements = nest.grid.m.extent() * nest.grid.n.extent() * nest.grid.batches.count();
        for step in nest.vector.iter().flat_map(|vector| &vector.steps) {
            let worked_on =
                step.columns.map_or(elements, |columns| nest.grid.m.extent() * nest.grid.batches.count() * columns);
            let figures = step.functions.iter().map(|function| figure(&Action::Vector(*function)));
            energy += figures.sum::<f64>() * worked_on as f64;
        }
    }
    for op in &program.ops {
        if let OpKind::Gemm(gemm) = &op.kind {
            let formats = program.product_formats(gemm);
            let (activation, weight) = (formats.activation, formats.weight);
            energy += figure(&Action::Mac { activation, weight }) * gemm.macs() as f64;
        }
    }
    let of_a_cycle: f64 = actions_of_time(npu).iter().map(|(action, parts)| figure(action) * *parts as f64).sum();
    energy += of_a_cycle * cycles as f64;
    let time_us = cycles as f64 / npu.clock_hz() as f64 * 1e6;
    Ok(Measured::from([
        (Metric::Cycles, cycles as f64),
        (Metric::TimeUs, time_us),
        (Metric::EnergyPj, energy),
        (Metric::EnergyDelay, energy * time_us * 1e-6),
        (Metric::DramBytes, dram_bytes as f64),
    ]))
}
