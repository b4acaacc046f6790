//! Weight-stationary: each PE keeps a weight while activations pass from left to right and sums from top to bottom.
//!
//! A PE(r,c) has four registers:
//! - `activation`, which the PE to its right reads;
//! - `sum`, which the PE below reads; in the last row it is the write port of the accumulator memory, so a result is
//!   written in the cycle in which the last row computes it;
//! - `shadow`, a weight on its way or waiting. Weights enter at the top of a column, the one for the bottom row first,
//!   and each carries the number of rows it still has to go: with rows to go it moves down one row every cycle, without
//!   it rests. A column takes one weight register a cycle, so a fold needs R cycles;
//! - `active`, the weight in use. The first activations of a fold carry a swap tag. In the cycle in which the tag is at
//!   a PE, the multiplier takes the shadow weight past `active`, and `active` takes it at the edge; on that same edge
//!   the shadow register may take a weight from above.
//!
//! Because a weight only disturbs the rows that it has reached, a load runs down the column as a diagonal wave, just as
//! the swap tag does, and may follow it immediately: row `r` of column `c` swaps in cycle `t + r + c`, and the first
//! new weight reaches it in `s + r + c`, if column `c` is loaded `c` cycles late, as it is. So `s = t` is legal. Had all
//! rows of a column shifted together, the load would have to wait until the bottom row has swapped, and a fold would
//! take `2R - 1` cycles at least. The rows-to-go count buys the difference.
//!
//! The accumulator memory has one word for each output of a tile and per column one read, shift, add and write in one
//! cycle. A fold that opens a channel group has a shift tag, which travels with its activations and sums and reaches
//! the memory with them, so the shift costs no cycle. Groups start a new fold.

use std::ops::Range;

use super::{
    Config, FoldTimes, Hazard, Operands, Starts, Tile, Trace, dot, lane_channels, padded, pieces, plain_product,
};

/// Runs the tiles back to back, each cut into folds of R (times lanes) channels by C outputs, channels innermost.
///
/// # Panics
/// When a conflict occurs or an output differs from the plain product: the witness would be wrong.
pub(crate) fn run(config: &Config, tiles: &[Tile]) -> Trace {
    simulate(config, tiles, Starts::WhenReady).unwrap_or_else(|hazard| panic!("{hazard:?} of {config:?} {tiles:?}"))
}

/// Channels and outputs of one residence of weights.
struct Fold {
    tile: usize,
    /// Activation rows that pass, m.
    rows: usize,
    channels: Range<usize>,
    outputs: Range<usize>,
    /// Bits that the accumulators shift by before this fold is added.
    shift: u32,
    /// Channels of one PE.
    lanes: usize,
}

fn folds_of(config: &Config, tiles: &[Tile]) -> Vec<Fold> {
    let mut folds = Vec::new();
    for (index, tile) in tiles.iter().enumerate() {
        let lanes = tile.lanes(config);
        for outputs in pieces(0..tile.n, config.columns) {
            for (group, bits) in tile.groups() {
                for channels in pieces(group.clone(), config.rows * lanes) {
                    let shift = if channels.start == group.start { bits } else { 0 };
                    folds.push(Fold { tile: index, rows: tile.m, channels, outputs: outputs.clone(), shift, lanes });
                }
            }
        }
    }
    folds
}

#[derive(Clone)]
struct Weight {
    lanes: Vec<i32>,
    fold: usize,
}

#[derive(Clone)]
struct Shadow {
    weight: Weight,
    rows_to_go: usize,
}

#[derive(Clone)]
struct Activation {
    lanes: Vec<i32>,
    fold: usize,
    row: usize,
    swap: bool,
}

#[derive(Clone)]
struct Sum {
    value: i32,
    fold: usize,
    row: usize,
}

#[derive(Clone, Default)]
struct ProcessingElement {
    activation: Option<Activation>,
    sum: Option<Sum>,
    shadow: Option<Shadow>,
    active: Option<Weight>,
}

/// Cycles in which the two streams of a fold start.
type FoldStart = (u64, u64);

struct Array<'a> {
    config: &'a Config,
    folds: &'a [Fold],
    operands: &'a [Operands],
    elements: Vec<ProcessingElement>,
    /// What was put on the skewed feeds in each past cycle: (fold, position in the fold).
    weight_feed: Vec<Option<(usize, usize)>>,
    row_feed: Vec<Option<(usize, usize)>>,
    next_weight: (usize, usize),
    next_row: (usize, usize),
    times: Vec<FoldTimes>,
    /// Results of each fold that reached the bottom, padded columns included.
    drained: Vec<usize>,
    accumulators: Vec<Vec<i32>>,
    macs: u64,
    issued_macs: u64,
}

fn simulate(config: &Config, tiles: &[Tile], starts: Starts<'_, FoldStart>) -> Result<Trace, Hazard> {
    let folds = folds_of(config, tiles);
    let operands: Vec<Operands> =
        tiles.iter().enumerate().map(|(index, tile)| Operands::of(tile, index, tile.lanes(config))).collect();
    let time = |fold: &Fold| FoldTimes {
        tile: fold.tile,
        weights_enter: 0,
        first_row_enters: 0,
        last_row_enters: 0,
        completed: 0,
    };
    let mut array = Array {
        config,
        folds: &folds,
        operands: &operands,
        elements: vec![ProcessingElement::default(); config.rows * config.columns],
        weight_feed: Vec::new(),
        row_feed: Vec::new(),
        next_weight: (0, 0),
        next_row: (0, 0),
        times: folds.iter().map(time).collect(),
        drained: vec![0; folds.len()],
        accumulators: tiles.iter().map(|tile| vec![0; tile.m * tile.n]).collect(),
        macs: 0,
        issued_macs: 0,
    };
    while !(0..folds.len()).all(|fold| array.is_drained(fold)) {
        array.step(starts)?;
    }
    for ((tile, operands), output) in tiles.iter().zip(&operands).zip(&array.accumulators) {
        assert_eq!(*output, plain_product(tile, operands), "the array does not compute {tile:?} on {config:?}");
    }
    Ok(Trace {
        completed: array.times.iter().map(|times| times.completed).max().unwrap_or(0),
        folds: array.times,
        macs: array.macs,
        issued_macs: array.issued_macs,
        output: array.accumulators.concat(),
    })
}

impl Array<'_> {
    fn is_drained(&self, fold: usize) -> bool {
        self.drained[fold] == self.folds[fold].rows * self.config.columns
    }

    /// One cycle: what enters, then every register at the edge.
    fn step(&mut self, starts: Starts<'_, FoldStart>) -> Result<(), Hazard> {
        let cycle = self.row_feed.len() as u64;
        // The rows first: a swap at PE(0,0) in this cycle allows a weight there on the same edge.
        self.feed_rows(cycle, starts)?;
        self.feed_weights(cycle, starts)?;
        let mut next = Vec::with_capacity(self.elements.len());
        for row in 0..self.config.rows {
            for column in 0..self.config.columns {
                next.push(self.clock(cycle, row, column)?);
            }
        }
        self.elements = next;
        Ok(())
    }

    fn feed_rows(&mut self, cycle: u64, starts: Starts<'_, FoldStart>) -> Result<(), Hazard> {
        let (fold, row) = self.next_row;
        let ready = fold < self.folds.len()
            && (row > 0
                || match starts {
                    Starts::WhenReady => self.elements[0]
                        .shadow
                        .as_ref()
                        .is_some_and(|shadow| shadow.weight.fold == fold && shadow.rows_to_go == 0),
                    Starts::At(starts) => on_time(cycle, starts[fold].1)?,
                });
        self.row_feed.push(ready.then_some((fold, row)));
        if ready {
            if row == 0 {
                self.times[fold].first_row_enters = cycle;
            }
            self.times[fold].last_row_enters = cycle;
            self.next_row = if row + 1 == self.folds[fold].rows { (fold + 1, 0) } else { (fold, row + 1) };
        }
        Ok(())
    }

    fn feed_weights(&mut self, cycle: u64, starts: Starts<'_, FoldStart>) -> Result<(), Hazard> {
        let (fold, position) = self.next_weight;
        let ready = fold < self.folds.len()
            && (position > 0
                || match starts {
                    Starts::At(starts) => on_time(cycle, starts[fold].0)?,
                    Starts::WhenReady if fold == 0 => true,
                    // PE(0,0) has swapped, in this cycle at the latest.
                    Starts::WhenReady if self.config.double_buffered => self.next_row > (fold - 1, 0),
                    Starts::WhenReady => self.is_drained(fold - 1),
                });
        self.weight_feed.push(ready.then_some((fold, position)));
        if ready {
            if position == 0 {
                self.times[fold].weights_enter = cycle;
            }
            self.next_weight = if position + 1 == self.config.rows { (fold + 1, 0) } else { (fold, position + 1) };
        }
        Ok(())
    }

    /// The registers of one PE after the edge that ends `cycle`.
    fn clock(&mut self, cycle: u64, row: usize, column: usize) -> Result<ProcessingElement, Hazard> {
        let hazard = |what| Hazard { cycle, what };
        let own = &self.elements[row * self.config.columns + column];
        let above = row.checked_sub(1).map(|above| &self.elements[above * self.config.columns + column]);

        let activation = match column {
            0 => skewed(&self.row_feed, row).map(|(fold, index)| self.activation(fold, index, row)),
            _ => self.elements[row * self.config.columns + column - 1].activation.clone(),
        };
        let arriving = match above {
            None => skewed(&self.weight_feed, column).map(|(fold, position)| self.weight(fold, position, column)),
            Some(above) => above.shadow.clone().filter(|shadow| shadow.rows_to_go > 0),
        };

        let mut shadow = own.shadow.clone();
        let mut active = own.active.clone();
        if let Some(activation) = activation.as_ref().filter(|activation| activation.swap) {
            let taken = shadow.take().ok_or(hazard("the swap tag finds no weight"))?;
            if taken.rows_to_go > 0 || taken.weight.fold != activation.fold {
                return Err(hazard("the swap tag finds the weight of another PE or fold"));
            }
            active = Some(taken.weight);
        }
        if shadow.as_ref().is_some_and(|shadow| shadow.rows_to_go > 0) {
            shadow = None; // It moves down on this edge.
        }
        if let Some(arriving) = arriving {
            if shadow.is_some() {
                return Err(hazard("a weight is replaced before it was used"));
            }
            // The feed gives the rows to go at the top; each move takes one off.
            let rows_to_go = arriving.rows_to_go - usize::from(row > 0);
            shadow = Some(Shadow { rows_to_go, ..arriving });
        }

        let sum = activation.as_ref().map(|activation| {
            let weight = active.as_ref().expect("the first activations of a fold bring the swap");
            assert_eq!(weight.fold, activation.fold, "PE({row},{column}) multiplies by the weight of another fold");
            let before = above.map_or(0, |above| {
                let sum = above.sum.as_ref().expect("sums keep step with activations");
                assert_eq!((sum.fold, sum.row), (activation.fold, activation.row), "sums keep step with activations");
                sum.value
            });
            let value = before + dot(&activation.lanes, &weight.lanes);
            Sum { value, fold: activation.fold, row: activation.row }
        });
        if let Some(sum) = &sum {
            self.count(cycle, row, column, sum);
        }
        Ok(ProcessingElement { activation, sum, shadow, active })
    }

    /// Counts the work of a PE, and writes the result that leaves the last row.
    fn count(&mut self, cycle: u64, row: usize, column: usize, sum: &Sum) {
        let fold = &self.folds[sum.fold];
        self.issued_macs += fold.lanes as u64;
        if column < fold.outputs.len() {
            self.macs += lane_channels(&fold.channels, row, fold.lanes).len() as u64;
        }
        if row + 1 < self.config.rows {
            return;
        }
        self.drained[sum.fold] += 1;
        if column < fold.outputs.len() {
            let output_columns = self.operands[fold.tile].w[0].len();
            let address = sum.row * output_columns + fold.outputs.start + column;
            let accumulator = &mut self.accumulators[fold.tile][address];
            *accumulator = (*accumulator << fold.shift) + sum.value;
            self.times[sum.fold].completed = cycle + 1;
        }
    }

    /// What enters row `row` of the array with activation row `index` of a fold.
    fn activation(&self, fold: usize, index: usize, row: usize) -> Activation {
        let Fold { tile, channels, lanes, .. } = &self.folds[fold];
        let x = &self.operands[*tile].x[index];
        let lanes = padded(lane_channels(channels, row, *lanes), *lanes, |channel| x[channel]);
        Activation { lanes, fold, row: index, swap: index == 0 }
    }

    /// What enters column `column` as weight number `position` of a fold: the bottom row's is number 0.
    fn weight(&self, fold: usize, position: usize, column: usize) -> Shadow {
        let Fold { tile, channels, outputs, lanes, .. } = &self.folds[fold];
        let row = self.config.rows - 1 - position;
        let w = &self.operands[*tile].w;
        let at = |channel: usize| outputs.clone().nth(column).map_or(0, |output| w[channel][output]);
        let lanes = padded(lane_channels(channels, row, *lanes), *lanes, at);
        Shadow { weight: Weight { lanes, fold }, rows_to_go: row }
    }
}

/// What a feed gives in this cycle to the row or column that is `delay` cycles late.
fn skewed(feed: &[Option<(usize, usize)>], delay: usize) -> Option<(usize, usize)> {
    feed.len().checked_sub(1 + delay).and_then(|cycle| feed[cycle])
}

/// Whether the cycle set for a start has come; a conflict if the port was still busy then.
fn on_time(cycle: u64, start: u64) -> Result<bool, Hazard> {
    if cycle > start { Err(Hazard { cycle, what: "the port is still busy" }) } else { Ok(cycle == start) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::arrays;

    /// The closed form that the tests hold the array to, fold by fold.
    ///
    /// A load that starts in cycle s fills PE(0,0) on the edge of s + R - 1, so the first row enters at s + R. It swaps
    /// PE(0,0) in that cycle t, and from then on the next load may run: s' = t. The next first row waits for its weights,
    /// t + R, and for the last of the m rows before it, t + m: t' = t + max(m, R). Without double buffering s' is the
    /// cycle count at which the whole fold, its padded columns too, has left the array.
    /// Row i of a fold is at PE(R-1,c) in cycle t + i + R - 1 + c, which writes its result: for the last row and the last
    /// used column n - 1 that is t + m + R + n - 3, and one more as a count.
    fn closed_form(config: &Config, tiles: &[Tile]) -> Vec<FoldTimes> {
        let (rows, columns) = (config.rows as u64, config.columns as u64);
        let mut weights_enter = 0;
        let mut earliest = 0;
        let mut times = Vec::new();
        for fold in folds_of(config, tiles) {
            let (m, n) = (fold.rows as u64, fold.outputs.len() as u64);
            let first_row_enters = (weights_enter + rows).max(earliest);
            times.push(FoldTimes {
                tile: fold.tile,
                weights_enter,
                first_row_enters,
                last_row_enters: first_row_enters + m - 1,
                completed: first_row_enters + m + rows + n - 2,
            });
            earliest = first_row_enters + m;
            weights_enter =
                if config.double_buffered { first_row_enters } else { first_row_enters + m + rows + columns - 2 };
        }
        times
    }

    /// Products that are smaller than, equal to and larger than the arrays, ragged in each axis.
    fn tile_sequences() -> Vec<Vec<Tile>> {
        let mut sequences = Vec::new();
        for m in [1, 2, 7, 8, 9, 20] {
            sequences.push(vec![Tile::new(m, 8, 8)]);
            sequences.push(vec![Tile::new(m, 19, 11)]);
            sequences.push(vec![Tile::new(m, 32, 16), Tile::new(1, 3, 2), Tile::new(m, 5, 9)]);
        }
        sequences.push(vec![Tile::new(1, 1, 1); 5]);
        sequences.push(vec![
            Tile::new(9, 20, 8).at_rate(2),
            Tile::new(9, 3, 8).at_rate(1),
            Tile::new(2, 9, 3).at_rate(4),
        ]);
        sequences
    }

    #[test]
    fn a_two_by_two_array_agrees_with_a_count_by_hand() {
        // Weights of row 1 at cycle 0, of row 0 at 1. Rows at 2, 3, 4. The last row is at PE(0,0) in 4, at PE(1,0) and
        // PE(0,1) in 5, at PE(1,1) in 6, which writes the last of the six results: seven cycles.
        let config = Config { rows: 2, columns: 2, double_buffered: true, macs_per_pe: 1 };
        let trace = run(&config, &[Tile::new(3, 2, 2)]);
        let fold = FoldTimes { tile: 0, weights_enter: 0, first_row_enters: 2, last_row_enters: 4, completed: 7 };
        assert_eq!(trace.folds, [fold]);
        assert_eq!((trace.completed, trace.macs, trace.issued_macs), (7, 12, 12));
    }

    #[test]
    fn a_serial_fold_takes_twice_the_rows_and_the_columns_and_m_less_two() {
        // Samajdar et al., ISPASS 2020 (SCALE-Sim): 2R + C + T - 2 cycles a fold, where T = m.
        for config in arrays(false) {
            for m in [1, 3, 8, 21] {
                let folds = 3;
                let tile = Tile::new(m, config.rows * config.macs_per_pe, config.columns * folds);
                let expected = folds * (2 * config.rows + config.columns + m - 2);
                assert_eq!(run(&config, &[tile]).completed, expected as u64, "{config:?} m={m}");
            }
        }
    }

    #[test]
    fn a_double_buffered_fold_takes_the_larger_of_m_and_the_rows_in_the_steady_state() {
        for config in arrays(true) {
            for m in [1, config.rows, config.rows + 1, 21] {
                let tile = Tile::new(m, config.rows * config.macs_per_pe * 2, config.columns * 3);
                let folds = run(&config, &[tile]).folds;
                assert_eq!(folds.len(), 6);
                for pair in folds.windows(2) {
                    let period = pair[1].first_row_enters - pair[0].first_row_enters;
                    assert_eq!(period, m.max(config.rows) as u64, "{config:?} m={m}");
                }
            }
        }
    }

    #[test]
    fn every_fold_of_every_sequence_follows_the_closed_form() {
        for config in [arrays(true), arrays(false)].concat() {
            for tiles in tile_sequences() {
                let trace = run(&config, &tiles);
                let expected = closed_form(&config, &tiles);
                assert_eq!(trace.folds, expected, "{config:?} {tiles:?}");
                assert_eq!(Some(trace.completed), expected.iter().map(|times| times.completed).max());
            }
        }
    }

    #[test]
    fn one_cycle_earlier_is_too_early_for_every_stream_of_every_fold() {
        for config in arrays(true) {
            for tiles in tile_sequences() {
                if folds_of(&config, &tiles).len() > 24 {
                    continue; // A rerun for every start: enough on the larger arrays.
                }
                let trace = run(&config, &tiles);
                let starts: Vec<FoldStart> =
                    trace.folds.iter().map(|times| (times.weights_enter, times.first_row_enters)).collect();
                assert_eq!(simulate(&config, &tiles, Starts::At(&starts)).as_ref(), Ok(&trace));
                for fold in 0..starts.len() {
                    let mut early = starts.clone();
                    early[fold].1 -= 1;
                    assert!(simulate(&config, &tiles, Starts::At(&early)).is_err(), "rows of {fold}: {config:?}");
                    let mut early = starts.clone();
                    if fold > 0 {
                        early[fold].0 -= 1;
                        assert!(
                            simulate(&config, &tiles, Starts::At(&early)).is_err(),
                            "weights of {fold}: {config:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn tiles_follow_each_other_as_folds_of_one_tile_do() {
        for config in arrays(true) {
            let apart = run(&config, &[Tile::new(9, 32, 16), Tile::new(9, 32, 16)]);
            let together = run(&config, &[Tile::new(9, 64, 16)]);
            let starts = |trace: &Trace| trace.folds.iter().map(|times| times.first_row_enters).collect::<Vec<_>>();
            if 32 % (config.rows * config.macs_per_pe) == 0 {
                assert_eq!(starts(&apart), starts(&together), "{config:?}");
                assert_eq!(apart.completed, together.completed, "{config:?}");
            }
        }
    }

    #[test]
    fn two_lanes_a_pe_halve_the_folds_along_k() {
        let config = |macs_per_pe| Config { rows: 8, columns: 8, double_buffered: true, macs_per_pe };
        let tile = [Tile::new(12, 64, 8)];
        assert_eq!(run(&config(1), &tile).folds.len(), 8);
        assert_eq!(run(&config(2), &tile).folds.len(), 4);
        // R + 7 * 12 + 12 + R + C - 2 against three periods of 12 in place of seven.
        assert_eq!(run(&config(1), &tile).completed, 118);
        assert_eq!(run(&config(2), &tile).completed, 70);
    }

    #[test]
    fn a_shift_between_groups_that_fill_their_folds_costs_no_cycle() {
        for config in [arrays(true), arrays(false)].concat() {
            let depth = config.rows * config.macs_per_pe;
            let plain = run(&config, &[Tile::new(6, 3 * depth, 5)]);
            let shifted = run(&config, &[Tile::with_shifts(6, 3 * depth, 5, &[(depth, 2), (2 * depth, 1)])]);
            assert_eq!(shifted.folds, plain.folds, "{config:?}");
        }
    }

    #[test]
    fn a_ragged_group_pays_the_fold_that_it_does_not_fill() {
        let config = Config { rows: 8, columns: 8, double_buffered: true, macs_per_pe: 1 };
        // 3 + 13 channels: one fold and two folds, where 16 channels without groups take two.
        let grouped = run(&config, &[Tile::with_shifts(10, 16, 8, &[(3, 4)])]);
        let plain = run(&config, &[Tile::new(10, 16, 8)]);
        assert_eq!((grouped.folds.len(), plain.folds.len()), (3, 2));
        assert_eq!(grouped.completed, plain.completed + 10);
        assert_eq!(grouped.macs, plain.macs);
    }

    #[test]
    fn the_pes_count_the_work_of_the_products_and_the_padding_apart() {
        for config in [arrays(true), arrays(false)].concat() {
            for tiles in tile_sequences() {
                let trace = run(&config, &tiles);
                let macs: usize = tiles.iter().map(|tile| tile.m * tile.k * tile.n).sum();
                assert_eq!(trace.macs, macs as u64, "{config:?} {tiles:?}");
                let lane_rows = |times: &FoldTimes| tiles[times.tile].m * tiles[times.tile].lanes(&config);
                let lane_rows: usize = trace.folds.iter().map(lane_rows).sum();
                let elements = config.rows * config.columns;
                assert_eq!(trace.issued_macs, (lane_rows * elements) as u64, "{config:?} {tiles:?}");
            }
        }
    }
}
