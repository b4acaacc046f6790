//! Dot-product array: `m` x `n` outputs at once, each the sum of `k * macs_per_element` products a cycle.
//!
//! All units are fed side by side, so there is no skew; a pipeline of stated depth stands between the operands of a step
//! and its sum.
//!
//! With streamed weights ([`BlockWeights::Streamed`]) K is innermost: a block of outputs is worked on for
//! `ceil(k / depth)` steps and its sums stay in the array; they leave while the next block is worked on. A tile takes
//! `ceil(m / M) ceil(n / N) ceil(k / depth)` steps, and the pipeline once at its end. With held weights a block of
//! `depth` x `n` weights stays for the `ceil(m / M)` steps of all rows, and sums are added up in the accumulators, as in
//! the convolution core of NVDLA (nvdla.org, hardware architecture, "convolution core"): there `m = 1`.
//!
//! Which elements of a convolution may share a step follows from the same difference. A held block is the weights of some
//! channels at one kernel position, and meets the pixels there one after the other ("the atomic operation", same source). A
//! step of streamed weights takes the next elements of a row of im2col, whichever positions they belong to.

use crate::dataflow::folds::{Cut, Folds, Parts, held_operands, held_sums};
use crate::dataflow::ports::bytes;
use crate::dataflow::sequenced;
use crate::dataflow::{ArrayState, Dataflow, Granularity, Operand, Passes, TilePhases, TileWork};
use crate::hardware::array::{Array, BlockWeights, DotProductArray};
use crate::units::Cycles;

/// The dataflow.
#[derive(Clone, Copy, Debug)]
pub struct DotProduct;

/// Blocks of a tile along each axis.
struct Blocks {
    m: u64,
    k: u64,
    n: u64,
}

fn blocks(array: &DotProductArray, tile: &TileWork) -> Blocks {
    Blocks {
        m: tile.m.div_ceil(array.m),
        k: tile.k_blocks(array.k * tile.macs_per_element_per_cycle),
        n: tile.n.div_ceil(array.n),
    }
}

/// Blocks of outputs where weights are streamed, blocks of weights where they are held.
fn folds(array: &DotProductArray, tile: &TileWork) -> Folds {
    let ports = &tile.ports;
    let depth = array.k * tile.macs_per_element_per_cycle;
    let columns = Cut { extent: tile.n, at_once: array.n };
    match array.weights {
        BlockWeights::Streamed => {
            let rows = Cut { extent: tile.m, at_once: array.m };
            Folds::of(rows.pieces(), columns, |rows, columns| {
                let step = |k: u64| bytes(ports.activation_bits, rows * k) + bytes(ports.weight_bits, k * columns);
                let streamed = tile.k_pieces(depth).map(|(times, k)| times * step(k)).sum();
                let stream = ports.operands(tile.k_blocks(depth), streamed);
                Parts { load: 0, stream, drain: ports.sums(1, bytes(ports.sum_bits, rows * columns)) }
            })
        }
        BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => {
            let steps = tile.m.div_ceil(array.m);
            let all_rows = |each: &dyn Fn(u64) -> u64| tile.m / array.m * each(array.m) + each(tile.m % array.m);
            Folds::of(tile.k_pieces(depth), columns, |k, columns| {
                let streamed = all_rows(&|rows| bytes(ports.activation_bits, rows * k));
                let sums = all_rows(&|rows| bytes(ports.sum_bits, rows * columns));
                Parts {
                    load: ports.operands(1, bytes(ports.weight_bits, k * columns)),
                    stream: ports.operands(steps, streamed).max(ports.sums(steps, sums)),
                    drain: 0,
                }
            })
        }
    }
}

/// Cycles from the start of one fold's stream to the start of the next one's; of ends, where sums are held.
fn distance(array: &DotProductArray) -> impl Fn(Parts, Parts) -> u64 {
    let weights = array.weights;
    move |before, after| match weights {
        BlockWeights::Streamed => after.stream.max(before.drain),
        BlockWeights::HeldDoubleBuffered => before.stream.max(after.load),
        BlockWeights::HeldSingleBuffered => before.stream + after.load,
    }
}

impl Dataflow for DotProduct {
    fn name(&self) -> &'static str {
        DotProductArray::DATAFLOW
    }

    fn description(&self) -> &'static str {
        "dot-product units side by side, each several products deep (of dot_product_array)"
    }

    fn is_systolic(&self) -> bool {
        false
    }

    fn issue(&self, array: &Array, tile: &TileWork, ready: Cycles, state: &mut ArrayState) -> TilePhases {
        if let Some(sequencing) = &dot_product(array).sequencing {
            return sequenced::issue(dot_product(array), sequencing, tile, ready, state);
        }
        let array = dot_product(array);
        let folds = folds(array, tile);
        match array.weights {
            BlockWeights::Streamed => {
                let streams = held_sums(&folds, distance(array), ready, state);
                // The first step of the way out is the last one of the pipeline.
                let complete = streams.end + array.pipeline + Cycles(folds.last().drain - 1);
                TilePhases {
                    start: streams.start,
                    next_issue: streams.end,
                    operands_released: streams.end,
                    complete,
                    sequenced: None,
                }
            }
            BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => {
                let streams = held_operands(&folds, distance(array), ready, state);
                let next_load =
                    if array.weights == BlockWeights::HeldDoubleBuffered { streams.last_stream } else { streams.end };
                (state.load_free, state.stream_free) = (next_load, streams.end);
                TilePhases {
                    start: streams.start,
                    next_issue: next_load,
                    operands_released: streams.end,
                    complete: streams.end + array.pipeline,
                    sequenced: None,
                }
            }
        }
    }

    fn begin_product(&self, array: &Array, state: &mut ArrayState) {
        if let Some(sequencing) = &dot_product(array).sequencing {
            sequenced::begin_product(sequencing, state);
        }
    }

    fn steady_cycles(&self, array: &Array, tile: &TileWork) -> u64 {
        if let Some(sequencing) = &dot_product(array).sequencing {
            return sequenced::steady_cycles(dot_product(array), sequencing, tile);
        }
        folds(dot_product(array), tile).period(distance(dot_product(array)))
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = dot_product(array);
        Granularity { m: array.m, k: array.k * macs_per_element_per_cycle, n: array.n }
    }

    fn held(&self, array: &Array) -> Option<Operand> {
        match dot_product(array).weights {
            BlockWeights::Streamed => None,
            BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => Some(Operand::Weights),
        }
    }

    fn keeps_kernel_positions_apart(&self, array: &Array) -> bool {
        self.held(array).is_some()
    }

    fn fold_cycles(&self, array: &Array, tile: &TileWork) -> Folds {
        folds(dot_product(array), tile)
    }

    fn is_hindered(&self, array: &Array, tile: &TileWork) -> bool {
        match &dot_product(array).sequencing {
            Some(sequencing) => sequenced::is_hindered(dot_product(array), sequencing, tile),
            None => self.fold_cycles(array, tile) != self.fold_cycles(array, &tile.without_ports()),
        }
    }

    fn passes(&self, array: &Array, tile: &TileWork) -> Passes {
        let array = dot_product(array);
        let blocks = blocks(array, tile);
        match array.weights {
            BlockWeights::Streamed => Passes { activation_reads: blocks.n, weight_reads: blocks.m, sum_writes: 1 },
            BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => {
                let stripes = array.sequencing.as_ref().map(|sequencing| sequenced::stripes(array, sequencing, tile));
                Passes { activation_reads: blocks.n, weight_reads: stripes.unwrap_or(1), sum_writes: blocks.k }
            }
        }
    }

    fn folds(&self, array: &Array, tile: &TileWork) -> u64 {
        let array = dot_product(array);
        let blocks = blocks(array, tile);
        match array.weights {
            BlockWeights::Streamed => blocks.m * blocks.n,
            BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => blocks.k * blocks.n,
        }
    }

    fn issued_macs(&self, array: &Array, tile: &TileWork) -> u64 {
        let blocks = blocks(dot_product(array), tile);
        blocks.m * blocks.k * blocks.n * array.processing_elements() * tile.macs_per_element_per_cycle
    }
}

fn dot_product(array: &Array) -> &DotProductArray {
    match array {
        Array::DotProduct(array) => array,
        Array::Systolic(_) => panic!("the dot-product dataflow is given the array that names it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::Runs;
    use crate::dataflow::ports::{Port, Ports};
    use crate::units::Rate;

    /// Operands of a byte and sums of four, through ports of so many bytes a cycle.
    fn ports(operands: Option<u64>, sums: Option<u64>) -> Ports {
        let port = |bytes: u64| Port { bytes_per_cycle: Rate::whole(bytes).unwrap(), sharers: 1 };
        let (operands, sums_out) = (operands.map(port), sums.map(port));
        Ports { activation_bits: 8, weight_bits: 8, sum_bits: 32, operands, sums_out, sums_in: None }
    }

    fn array(weights: BlockWeights) -> Array {
        Array::DotProduct(DotProductArray { m: 4, n: 8, k: 16, pipeline: Cycles(5), weights, sequencing: None })
    }

    /// Completion, one after the other, each issued when the one before lets it.
    fn completions(array: &Array, tiles: &[TileWork]) -> Vec<u64> {
        let (mut state, mut ready) = (ArrayState::default(), Cycles(0));
        let mut issue = |tile| {
            let phases = DotProduct.issue(array, tile, ready, &mut state);
            ready = phases.next_issue;
            phases.complete.get()
        };
        tiles.iter().map(&mut issue).collect()
    }

    #[test]
    fn a_tile_takes_a_step_for_each_block_of_outputs_and_depth_and_the_pipeline_once() {
        // ceil(10 / 4) * ceil(9 / 8) * ceil(100 / 16) = 3 * 2 * 7, and two channels a multiplier: 3 * 2 * 4.
        let tiles = [TileWork::unhindered(10, 100, 9, 1), TileWork::unhindered(10, 100, 9, 2)];
        assert_eq!(completions(&array(BlockWeights::Streamed), &tiles), [42 + 5, 42 + 24 + 5]);
        let work = DotProduct.issued_macs(&array(BlockWeights::Streamed), &tiles[1]);
        assert_eq!(work, 24 * 4 * 8 * 16 * 2);
    }

    #[test]
    fn held_weights_load_behind_the_rows_or_before_them() {
        // Blocks of weights: ceil(100 / 16) * ceil(9 / 8) = 14, each for ceil(40 / 4) = 10 steps. Through 64 bytes a cycle a
        // block of 16 x 8 bytes takes 2 cycles; the one of four rows, and those of one column, take 1.
        let tile = TileWork { ports: ports(Some(64), None), ..TileWork::unhindered(40, 100, 9, 1) };
        assert_eq!(completions(&array(BlockWeights::HeldDoubleBuffered), &[tile; 2]), [2 + 140 + 5, 2 + 280 + 5]);
        let one = 140 + 6 * 2 + 8;
        assert_eq!(completions(&array(BlockWeights::HeldSingleBuffered), &[tile; 2]), [one + 5, 2 * one + 5]);
        // With one step of rows a block of weights is the bottleneck: the loads, and the last step.
        let short = TileWork { m: 4, ..tile };
        assert_eq!(completions(&array(BlockWeights::HeldDoubleBuffered), &[short]), [6 * 2 + 8 + 1 + 5]);
    }

    #[test]
    fn short_depths_are_paced_by_the_sums_that_leave_and_narrow_ports_by_the_operands() {
        // 3 * 2 blocks of 2 steps. Sums of 4 x 8 outputs of four bytes take 4 cycles through 32 bytes a cycle, those of the
        // last two rows 2, those of one column 1. The first block waits for nobody, and the second block of columns for
        // nothing but its own steps after those of the last two rows.
        let tile = TileWork { ports: ports(None, Some(32)), ..TileWork::unhindered(10, 32, 9, 1) };
        assert_eq!(completions(&array(BlockWeights::Streamed), &[tile]), [2 + 4 + 4 + 2 + 2 + 2 + 5]);
        // 4 x 100 + 100 x 8 bytes through 128 bytes a cycle: 9.4 cycles, rounded up.
        let tile = TileWork { ports: ports(Some(128), None), ..TileWork::unhindered(4, 100, 8, 1) };
        assert_eq!(completions(&array(BlockWeights::Streamed), &[tile]), [10 + 5]);
    }

    #[test]
    fn runs_along_k_take_steps_of_their_own_from_wherever_the_tile_starts() {
        // Runs of 12 in steps of up to 8: 8, 4, 8, 4. From 5 on: 7, then 8, 4, then 1 of the next.
        let apart =
            |k, before| TileWork { runs: Some(Runs { length: 12, before }), ..TileWork::unhindered(1, k, 1, 1) };
        let pieces =
            |tile: TileWork| tile.k_pieces(8).flat_map(|(times, k)| vec![k; times as usize]).collect::<Vec<_>>();
        assert_eq!(pieces(apart(24, 0)), [8, 4, 8, 4]);
        assert_eq!(pieces(apart(20, 5)), [7, 8, 4, 1]);
        assert_eq!(pieces(apart(3, 5)), [3]);
        assert_eq!(pieces(TileWork::unhindered(1, 20, 1, 1)), [8, 8, 4]);
        // Rows that come one by one.
        let single = TileWork { runs: Some(Runs { length: 1, before: 0 }), ..TileWork::unhindered(1, 5, 1, 1) };
        assert_eq!(pieces(single), [1; 5]);
    }

    #[test]
    fn streamed_weights_are_read_for_each_block_of_rows_and_held_ones_once() {
        let tile = TileWork::unhindered(10, 100, 9, 1);
        let streamed = DotProduct.passes(&array(BlockWeights::Streamed), &tile);
        assert_eq!(streamed, Passes { activation_reads: 2, weight_reads: 3, sum_writes: 1 });
        let held = DotProduct.passes(&array(BlockWeights::HeldSingleBuffered), &tile);
        assert_eq!(held, Passes { activation_reads: 2, weight_reads: 1, sum_writes: 7 });
    }
}
