//! Energy of a nest on a grid: closed-form counts of what the grid can change, times the accelerator's energy table.
//!
//! Useful multiply-accumulates and vector elements are the same on every grid and left out. An action without a figure
//! counts nothing here: a run that does it is refused with the name of the action.

use crate::dataflow;
use crate::hardware::actions::Action;
use crate::hardware::memory::MemoryId;
use crate::hardware::npu::Npu;
use crate::schedule::estimate::{load_bytes, loaded_from, stored_to, total_tile_bytes};
use crate::schedule::grid::{Grid, Tile};
use crate::schedule::nest::{Access, Nest, TileMap};
use crate::schedule::room::leaving;
use crate::schedule::spill::{spilled_bytes, spilled_to};
use crate::schedule::tile_kinds::{output_tiles, tiles};
use crate::schedule::tile_work::{run_length, tile_work};

/// Energy in pJ that depends on `grid`, alone on the machine.
pub fn energy_pj(npu: &Npu, nest: &Nest, grid: &Grid) -> f64 {
    let figure = |action: Action| npu.energy().energy_pj(&action).unwrap_or(0.0);
    let read = |memory: MemoryId, bytes: u64| bytes as f64 * figure(Action::Read(npu.memory(memory).name.clone()));
    let written = |memory: MemoryId, bytes: u64| bytes as f64 * figure(Action::Write(npu.memory(memory).name.clone()));
    let on_chip = npu.dma().to;

    let loads: u64 = nest.loads.iter().map(|load| load_bytes(load, grid)).sum();
    let stores: u64 = leaving(nest).map(|output| total_tile_bytes(&output.storage, &output.map, grid)).sum();
    let homes = [Some(npu.dram_id()), npu.shared().map(|(memory, _)| memory)];
    let far = homes
        .into_iter()
        .flatten()
        .map(|home| read(home, loaded_from(home, nest, grid)) + written(home, stored_to(home, nest, grid)));
    let mut energy = far.sum::<f64>() + written(on_chip, loads);
    let Some(matrix) = &nest.matrix else { return energy + read(on_chip, stores) + vector_energy(nest, grid, &read) };
    let unit = npu.matrix_unit(matrix.unit);
    let stores_from = if nest.vector.is_some() { on_chip } else { unit.accumulator_memory };
    energy += read(stores_from, stores);

    let spilled = spilled_bytes(nest, grid);
    energy += read(unit.accumulator_memory, spilled) + written(unit.accumulator_memory, spilled);
    let waiting = spilled_to(on_chip, nest, grid);
    energy += read(on_chip, waiting) + written(on_chip, waiting);

    let dataflow = dataflow::of(&unit.array);
    let (mut operand_bytes, mut sum_bytes, mut idle_macs) = (0, 0, 0);
    for (times, whole) in tiles(grid, run_length(npu, matrix)) {
        for (_, tile) in matrix.split.parts_of(whole) {
            let work = tile_work(npu, matrix, &tile);
            let passes = dataflow.passes(&unit.array, &work);
            let reads = [passes.activation_reads, passes.weight_reads];
            let sides = matrix.operands.iter().zip(&matrix.scales).zip(reads);
            for ((operand, scales), reads) in sides {
                for tensor in std::iter::once(operand).chain(scales) {
                    operand_bytes += times * reads * tensor.array_bytes(&tile).get();
                }
            }
            sum_bytes += times * passes.sum_writes * matrix.sums.tile_bytes(&TileMap::OUTPUT, &tile).get();
            idle_macs += times * (dataflow.issued_macs(&unit.array, &work) - work.m * work.k * work.n);
        }
    }
    // Members that share k each begin sums of their own.
    let holders = matrix.split.joins(grid.k.block()) + 1;
    let first_sums = total_tile_bytes(&matrix.sums, &TileMap::OUTPUT.in_output(nest.output_batches), grid);
    energy += read(unit.operand_memory, operand_bytes);
    energy += written(unit.accumulator_memory, sum_bytes);
    energy += read(unit.accumulator_memory, sum_bytes.saturating_sub(holders * first_sums));
    energy += idle_macs as f64 * figure(Action::IdleMac);
    energy + vector_energy(nest, grid, &read)
}

/// Reads of the vector chain; it reads sums and writes results once on every grid.
fn vector_energy(nest: &Nest, grid: &Grid, read: &impl Fn(MemoryId, u64) -> f64) -> f64 {
    let Some(vector) = &nest.vector else { return 0.0 };
    let inputs = vector.reads.iter().filter(|input| !matches!(input.access, Access::Internal | Access::Accumulators));
    let bytes =
        |tile: &Tile| -> u64 { inputs.clone().map(|input| input.storage.tile_bytes(&input.map, tile).get()).sum() };
    read(vector.memory, output_tiles(grid).map(|(times, tile)| times * bytes(&tile)).sum())
}
