//! A dot-product array driven by a sequencer: stripes of rows, blocks of weights, and results that leave through a buffer.
//!
//! For each block of output columns: for each stripe of rows: for each block along K, one pass of the stripe's rows over
//! the block. A pass takes a step a row, and never less than the shortest block. Sums stay in the accumulators for the
//! passes of a stripe and leave with the last one, through a buffer of stated depth: the last pass starts only when the
//! buffer has room for the whole stripe. Room comes back row by row, so the rows that are leaving are kept in
//! [`ResultQueue`] as few runs of equal pace. (Rules: nvdla.org, hardware architecture, convolution core; the depth and the
//! pause between rows: `tests/oracles/nvdla/README.md`.)

use std::collections::VecDeque;

use crate::dataflow::ports::bytes;
use crate::dataflow::{ArrayState, SequencedPhases, TilePhases, TileWork};
use crate::hardware::array::{BlockWeights, DotProductArray};
use crate::hardware::sequencing::{ResultPath, Sequencing, StartRule};
use crate::units::Cycles;

/// Final sums on their way out of an array, by rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResultQueue {
    leaving: VecDeque<Leaving>,
    /// Rows that were ever granted room.
    granted: u64,
    /// When the last row has left.
    free: Cycles,
}

/// Rows of one stripe that leave one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaving {
    /// Rows granted up to and with these.
    up_to: u64,
    rows: u64,
    start: Cycles,
}

impl ResultQueue {
    /// When there is room for `rows` more, which are granted it.
    fn grant(&mut self, path: &ResultPath, row_elements: u64, rows: u64) -> Cycles {
        self.granted += rows;
        // All but the last `depth` rows must have left.
        let must_have_left = self.granted.saturating_sub(path.depth.max(rows));
        while self.leaving.front().is_some_and(|leaving| leaving.up_to < must_have_left) {
            self.leaving.pop_front();
        }
        match self.leaving.front() {
            Some(leaving) if must_have_left > leaving.up_to - leaving.rows => {
                let rows = must_have_left - (leaving.up_to - leaving.rows);
                leaving.start + leave_cycles(path, row_elements, rows) + path.credit_return
            }
            Some(_) | None => Cycles::ZERO,
        }
    }

    /// Lets the `rows` granted last leave, the first of them from `ready` on; returns when the first one starts and when
    /// the last one has left. Rows come no slower than they leave.
    fn leave(&mut self, path: &ResultPath, row_elements: u64, rows: u64, ready: Cycles) -> (Cycles, Cycles) {
        let start = ready.max(self.free);
        self.free = start + leave_cycles(path, row_elements, rows);
        self.leaving.push_back(Leaving { up_to: self.granted, rows, start });
        (start, self.free)
    }
}

fn leave_cycles(path: &ResultPath, row_elements: u64, rows: u64) -> Cycles {
    path.elements_per_cycle.cycles_for(rows * row_elements) + path.row_pause * rows
}

/// Passes of one tile.
struct Passes {
    /// Blocks of weights along K.
    blocks: u64,
    /// Blocks of output columns.
    groups: u64,
    /// Rows, in steps of the array.
    steps: u64,
    /// Sums of a step.
    row_elements: u64,
}

fn passes(array: &DotProductArray, tile: &TileWork) -> Passes {
    Passes {
        blocks: tile.k_blocks(array.k * tile.macs_per_element_per_cycle),
        groups: tile.n.div_ceil(array.n),
        steps: tile.m.div_ceil(array.m),
        row_elements: array.m * array.n,
    }
}

/// Cycles of one pass of `steps` over a block of `k` indices.
fn pass_cycles(array: &DotProductArray, sequencing: &Sequencing, tile: &TileWork, steps: u64, k: u64) -> u64 {
    let step = bytes(tile.ports.activation_bits, array.m.min(tile.m) * k);
    let stream = tile.ports.operands(steps, steps * step);
    let load = sequencing.shortest_block.get();
    match array.weights {
        BlockWeights::HeldSingleBuffered => load + stream,
        BlockWeights::HeldDoubleBuffered | BlockWeights::Streamed => stream.max(load),
    }
}

/// Cycles of the passes of `steps` over all blocks along K, and of the last of them.
fn all_passes(array: &DotProductArray, sequencing: &Sequencing, tile: &TileWork, steps: u64) -> (u64, u64) {
    let pieces = tile.k_pieces(array.k * tile.macs_per_element_per_cycle);
    pieces.fold((0, 0), |(all, _), (times, k)| {
        let pass = pass_cycles(array, sequencing, tile, steps, k);
        (all + times * pass, pass)
    })
}

/// Whether a port makes a pass longer.
pub(super) fn is_hindered(array: &DotProductArray, sequencing: &Sequencing, tile: &TileWork) -> bool {
    let free = tile.without_ports();
    let steps = sequencing.stripe.stripes(passes(array, tile).steps).map(|(_, length)| length);
    let passes = |tile: &TileWork, steps: u64| all_passes(array, sequencing, tile, steps);
    steps.into_iter().any(|steps| passes(tile, steps) != passes(&free, steps))
}

/// The next tile is of another product.
pub(super) fn begin_product(sequencing: &Sequencing, state: &mut ArrayState) {
    if let StartRule::WholeActivation { delay } = sequencing.start {
        state.product_start = Some((state.stream_free, delay));
    }
}

/// [`Dataflow::issue`](crate::dataflow::Dataflow::issue) of such an array.
pub(super) fn issue(
    array: &DotProductArray,
    sequencing: &Sequencing,
    tile: &TileWork,
    ready: Cycles,
    state: &mut ArrayState,
) -> TilePhases {
    let Passes { blocks, groups, steps, row_elements } = passes(array, tile);
    let path = &sequencing.results;
    let (asked, ready) = match state.product_start.take() {
        Some((array_free, delay)) => (ready, ready.max(array_free) + delay),
        None => (ready, ready),
    };
    let load = sequencing.shortest_block;
    let start = (ready + sequencing.first_block).max(state.load_free);
    let first_step = (start + load).max(state.stream_free);
    let mut cursor = first_step;
    let (mut first_result, mut last_pass, mut last_step) = (None, first_step, first_step);
    let mut waited_for_room = Cycles::ZERO;
    for _ in 0..groups {
        for (count, length) in sequencing.stripe.stripes(steps) {
            let (all, last) = all_passes(array, sequencing, tile, length);
            for _ in 0..count {
                let room = state.results.grant(path, row_elements, length);
                let follows = cursor + Cycles(all - last);
                last_pass = follows.max(room);
                waited_for_room += last_pass - follows;
                let sums = last_pass + array.pipeline + path.latency;
                let (leaves, _) = state.results.leave(path, row_elements, length, sums);
                first_result.get_or_insert(leaves);
                last_step = last_pass + Cycles(length - 1);
                cursor = last_pass + Cycles(last);
            }
        }
    }
    state.load_free = last_pass;
    state.stream_free = cursor;
    // The next tile's latency passes behind this one.
    let hidden = sequencing.first_block + load;
    TilePhases {
        start,
        next_issue: cursor.saturating_sub(hidden).max(ready),
        operands_released: last_pass.saturating_sub(sequencing.read_ahead).max(ready),
        complete: state.results.free,
        sequenced: Some(SequencedPhases {
            first_step,
            last_step,
            steps: blocks * groups * steps,
            first_result: first_result.unwrap_or(first_step),
            start_barrier: ready - asked,
            result_path: waited_for_room,
        }),
    }
}

/// [`Dataflow::steady_cycles`](crate::dataflow::Dataflow::steady_cycles) of such an array: the slower of passes and way
/// out, and both in turns where a stripe fills the buffer.
pub(super) fn steady_cycles(array: &DotProductArray, sequencing: &Sequencing, tile: &TileWork) -> u64 {
    let Passes { groups, steps, row_elements, .. } = passes(array, tile);
    let path = &sequencing.results;
    let stripes = sequencing.stripe.stripes(steps).map(|(count, length)| {
        let (all, _) = all_passes(array, sequencing, tile, length);
        let leave = leave_cycles(path, row_elements, length);
        let latency = array.pipeline + path.latency + path.credit_return;
        let out = if length >= path.depth { leave + latency } else { leave };
        count * all.max(out.get())
    });
    groups * stripes.sum::<u64>()
}

/// Stripes of a tile: each reads all blocks of weights anew.
pub(super) fn stripes(array: &DotProductArray, sequencing: &Sequencing, tile: &TileWork) -> u64 {
    sequencing.stripe.stripes(passes(array, tile).steps).map(|(count, _)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::sequencing::StripeLimits;
    use crate::units::Rate;

    /// NVDLA's documented small configuration, without latencies.
    fn small(depth: u64) -> (DotProductArray, Sequencing) {
        let results = ResultPath {
            elements_per_cycle: Rate::whole(1).unwrap(),
            row_pause: Cycles(1),
            depth,
            latency: Cycles(0),
            credit_return: Cycles(0),
        };
        let sequencing = Sequencing {
            start: StartRule::FirstTile,
            first_block: Cycles(0),
            stripe: StripeLimits { lower: 8, upper: 16 },
            shortest_block: Cycles(8),
            read_ahead: Cycles(0),
            results,
        };
        let weights = BlockWeights::HeldDoubleBuffered;
        let array = DotProductArray { m: 1, n: 8, k: 8, pipeline: Cycles(0), weights, sequencing: Some(sequencing) };
        (array, sequencing)
    }

    fn issue_all(depth: u64, tiles: &[TileWork]) -> Vec<TilePhases> {
        let (array, sequencing) = small(depth);
        let (mut state, mut ready) = (ArrayState::default(), Cycles(0));
        let mut one = |tile| {
            let phases = issue(&array, &sequencing, tile, ready, &mut state);
            ready = phases.next_issue;
            phases
        };
        tiles.iter().map(&mut one).collect()
    }

    fn detail(phases: &TilePhases) -> SequencedPhases {
        phases.sequenced.unwrap()
    }

    #[test]
    fn deep_products_take_a_pass_of_each_stripe_for_each_block_and_load_once() {
        // 100 rows: 5 stripes of 16, one of 8, one of 12. 38 blocks each: (80 + 8 + 12) * 38, behind one load of 8.
        let tile = TileWork::unhindered(100, 300, 8, 1);
        let phases = issue_all(16, &[tile; 2]);
        assert_eq!(detail(&phases[0]).first_step, Cycles(8));
        assert_eq!(detail(&phases[0]).last_step, Cycles(8 + 3800 - 1));
        assert_eq!(detail(&phases[1]).last_step - detail(&phases[0]).last_step, Cycles(3800));
        assert_eq!(detail(&phases[0]).steps, 3800);
        // The last stripe's 12 rows leave in 9 cycles each from its last pass on.
        assert_eq!(phases[0].complete, Cycles(8 + 3800 - 12 + 12 * 9));
    }

    #[test]
    fn a_pass_over_few_rows_takes_the_shortest_block() {
        let phases = issue_all(16, &[TileWork::unhindered(2, 64, 8, 1)]);
        // Eight blocks of 8 cycles; the last step is the second row of the last one.
        assert_eq!(detail(&phases[0]).last_step, Cycles(8 + 7 * 8 + 1));
        assert_eq!(detail(&phases[0]).steps, 16);
    }

    #[test]
    fn a_stripe_as_long_as_the_buffer_waits_for_the_whole_stripe_before_and_a_deeper_buffer_hides_that() {
        // One block of K: two stripes of 16 rows, out in 144 cycles each.
        let tile = TileWork::unhindered(32, 8, 8, 1);
        let full = issue_all(16, &[tile]);
        assert_eq!(detail(&full[0]).last_step, Cycles(8 + 144 + 15));
        let deep = issue_all(32, &[tile]);
        assert_eq!(detail(&deep[0]).last_step, Cycles(8 + 16 + 15));
        assert_eq!(deep[0].complete, Cycles(8 + 2 * 144));
        // Twelve rows in a buffer of 16: the next twelve wait for eight of them, 72 cycles.
        let short = issue_all(16, &[TileWork::unhindered(12, 8, 8, 1); 2]);
        assert_eq!(detail(&short[1]).first_step, Cycles(8 + 12));
        assert_eq!(detail(&short[1]).last_step, Cycles(8 + 72 + 11));
    }

    #[test]
    fn waits_for_room_and_for_the_start_are_stated() {
        // As above: the second stripe could follow 16 cycles after the first and waits for all of its 144.
        let tile = TileWork::unhindered(32, 8, 8, 1);
        assert_eq!(detail(&issue_all(16, &[tile])[0]).result_path, Cycles(144 - 16));
        assert_eq!(detail(&issue_all(32, &[tile])[0]).result_path, Cycles(0));
        // The array is at work until 8 + 144 + 16; a product that is asked for at 100 starts 5 cycles after that.
        let (array, mut sequencing) = small(16);
        let mut state = ArrayState::default();
        issue(&array, &sequencing, &tile, Cycles(0), &mut state);
        sequencing.start = StartRule::WholeActivation { delay: Cycles(5) };
        begin_product(&sequencing, &mut state);
        let second = issue(&array, &sequencing, &tile, Cycles(100), &mut state);
        assert_eq!(detail(&second).start_barrier, Cycles(168 + 5 - 100));
    }

    #[test]
    fn the_estimate_is_the_distance_of_two_tiles() {
        for (m, k) in [(64, 256), (12, 8), (100, 300), (64, 8), (3, 1000)] {
            let (array, sequencing) = small(1000);
            let tile = TileWork::unhindered(m, k, 8, 1);
            let phases = issue_all(1000, &[tile; 8]);
            let distance = (phases[7].complete - phases[6].complete).get();
            assert_eq!(distance, steady_cycles(&array, &sequencing, &tile), "{m} x {k}");
        }
    }
}
