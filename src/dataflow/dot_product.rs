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

use crate::dataflow::overlap::{held_operands, held_sums};
use crate::dataflow::sequenced;
use crate::dataflow::{ArrayState, Dataflow, Granularity, OperandElements, Passes, Step, TilePhases, TileWork};
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

/// Cycles of the phases of one fold.
struct FoldCycles {
    /// Loading what is held.
    load: u64,
    /// The steps.
    stream: u64,
    /// Held sums leaving.
    drain: u64,
    /// From one fold to the next in the steady state.
    period: u64,
}

fn fold_cycles(array: &DotProductArray, tile: &TileWork) -> FoldCycles {
    let blocks = blocks(array, tile);
    match array.weights {
        BlockWeights::Streamed => {
            let (stream, drain) = (tile.paces.stream.cycles(blocks.k), tile.paces.sums(1));
            FoldCycles { load: 0, stream, drain, period: stream.max(drain) }
        }
        BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => {
            let stream = tile.paces.stream.cycles(blocks.m).max(tile.paces.sums(blocks.m));
            let load = tile.paces.load.cycles(1);
            let period =
                if array.weights == BlockWeights::HeldDoubleBuffered { stream.max(load) } else { load + stream };
            FoldCycles { load, stream, drain: 0, period }
        }
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
        let folds = self.folds(array, tile);
        let array = dot_product(array);
        let FoldCycles { load, stream, drain, period } = fold_cycles(array, tile);
        match array.weights {
            BlockWeights::Streamed => {
                let streams = held_sums((stream, drain, period), folds, ready, state);
                // The first step of the way out is the last one of the pipeline.
                let complete = streams.end + array.pipeline + Cycles(drain - 1);
                TilePhases {
                    start: streams.start,
                    next_issue: streams.end,
                    operands_released: streams.end,
                    complete,
                    sequenced: None,
                }
            }
            BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => {
                let streams = held_operands((load, stream, period), folds, ready, state);
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
        self.folds(array, tile) * fold_cycles(dot_product(array), tile).period
    }

    fn granularity(&self, array: &Array, macs_per_element_per_cycle: u64) -> Granularity {
        let array = dot_product(array);
        Granularity { m: array.m, k: array.k * macs_per_element_per_cycle, n: array.n }
    }

    fn step(&self, array: &Array, tile: &TileWork) -> Step {
        let at_once = self.granularity(array, tile.macs_per_element_per_cycle);
        let (m, k, n) = (tile.m.min(at_once.m), tile.k.min(at_once.k), tile.n.min(at_once.n));
        let weights = OperandElements { activations: 0, weights: k * n };
        let activations = OperandElements { activations: m * k, weights: 0 };
        match dot_product(array).weights {
            BlockWeights::Streamed => Step {
                streamed: OperandElements { weights: k * n, ..activations },
                loaded: OperandElements::default(),
                sums: m * n,
            },
            BlockWeights::HeldDoubleBuffered | BlockWeights::HeldSingleBuffered => {
                Step { streamed: activations, loaded: weights, sums: m * n }
            }
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
    use crate::dataflow::pace::{Pace, Paces};
    use crate::units::Rate;

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
        // Blocks of weights: ceil(100 / 16) * ceil(9 / 8) = 14, each for ceil(40 / 4) = 10 steps. A block of 16 x 8 bytes
        // takes 2 cycles through 64 bytes a cycle.
        let load = Pace::of(128, Rate::whole(64).unwrap());
        let paces = Paces { load, ..Paces::UNHINDERED };
        let tile = TileWork { paces, ..TileWork::unhindered(40, 100, 9, 1) };
        assert_eq!(completions(&array(BlockWeights::HeldDoubleBuffered), &[tile; 2]), [2 + 140 + 5, 2 + 280 + 5]);
        assert_eq!(completions(&array(BlockWeights::HeldSingleBuffered), &[tile; 2]), [14 * 12 + 5, 28 * 12 + 5]);
        // With one step of rows a block of weights is the bottleneck: 14 loads of 2 cycles, and the last step.
        let short = TileWork { paces, ..TileWork::unhindered(4, 100, 9, 1) };
        assert_eq!(completions(&array(BlockWeights::HeldDoubleBuffered), &[short]), [28 + 1 + 5]);
    }

    #[test]
    fn short_depths_are_paced_by_the_sums_that_leave_and_narrow_ports_by_the_operands() {
        let sums_out = Pace::of(128, Rate::whole(32).unwrap());
        let paces = Paces { sums_out, ..Paces::UNHINDERED };
        // 3 * 2 blocks of 2 steps, whose 32 sums of 4 bytes take 4 cycles: the first waits for nobody.
        let tile = TileWork { paces, ..TileWork::unhindered(10, 32, 9, 1) };
        assert_eq!(completions(&array(BlockWeights::Streamed), &[tile]), [2 + 5 * 4 + 5 + 3]);
        // 4 x 16 + 16 x 8 bytes a step, through 128 bytes a cycle: seven steps take 10.5 cycles, rounded up.
        let stream = Pace::of(192, Rate::whole(128).unwrap());
        let tile = TileWork { paces: Paces { stream, ..Paces::UNHINDERED }, ..TileWork::unhindered(4, 100, 8, 1) };
        assert_eq!(completions(&array(BlockWeights::Streamed), &[tile]), [11 + 5]);
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
