//! Output-stationary: each PE sums one output while activations pass from left to right and weights from top to bottom.
//!
//! A fold is R x C outputs. Step `i` of k brings `macs_per_pe` channels to every PE; it enters PE(0,0) in some cycle `t`
//! from both sides and is at PE(r,c) in `t + r + c`. A PE(r,c) has four registers:
//! - `left` and `top`, the operands, which the PEs to its right and below read;
//! - `accumulator`. The first step of a fold carries a tag that starts it from zero;
//! - `result`, the output register. The last step carries a tag, and in that cycle the finished sum goes past the
//!   accumulator into `result`, so the accumulator is free for the next fold in the next cycle.
//!
//! Results leave down the columns. The bottom row finishes last; in the cycle after it has, the whole column starts to
//! move, one row a cycle, and the bottom register goes to memory: R cycles, the top row's result last. Each result has
//! one bit that says that it is under way, because the upper rows may already hold the next fold's results, which must
//! wait. A register may be loaded on the edge on which its content moves on.
//!
//! With double buffering the next fold's steps follow at once. Only its last step may have to be held back, as long as
//! PE(0,0) has a result that does not move in that cycle: this happens when k is short against R. The other PEs need
//! no look: the run shows that they follow. Without double buffering (one register for sum and result would do) the
//! first step of a fold waits until the predecessor, padding included, has left the array.
//!
//! An accumulator shift is a step of its own: a tag that travels like an operand, in one cycle of every PE in which it
//! shifts its sum and multiplies nothing. A channel group takes whole steps, so a ragged one leaves lanes empty.

use std::ops::Range;

use super::{Config, FoldTimes, Hazard, Operands, Starts, Tile, Trace, dot, padded, pieces, plain_product};

/// Runs the tiles back to back, each cut into folds of R x C outputs, rows innermost.
///
/// # Panics
/// When a conflict occurs or an output differs from the plain product: the witness would be wrong.
pub(crate) fn run(config: &Config, tiles: &[Tile]) -> Trace {
    simulate(config, tiles, Starts::WhenReady).unwrap_or_else(|hazard| panic!("{hazard:?} of {config:?} {tiles:?}"))
}

/// What every PE does in one cycle.
#[derive(Clone, Debug)]
enum Step {
    /// Multiplies and adds these channels.
    Channels(Range<usize>),
    /// Shifts its sum left by these bits.
    Shift(u32),
}

/// The outputs of one residence, and the way to them.
struct Fold {
    tile: usize,
    rows: Range<usize>,
    outputs: Range<usize>,
    steps: Vec<Step>,
    /// Channels of one step.
    lanes: usize,
}

fn folds_of(config: &Config, tiles: &[Tile]) -> Vec<Fold> {
    let mut folds = Vec::new();
    for (index, tile) in tiles.iter().enumerate() {
        let lanes = tile.lanes(config);
        let mut steps = Vec::new();
        for (channels, bits) in tile.groups() {
            if bits > 0 {
                steps.push(Step::Shift(bits));
            }
            steps.extend(pieces(channels, lanes).into_iter().map(Step::Channels));
        }
        for outputs in pieces(0..tile.n, config.columns) {
            for rows in pieces(0..tile.m, config.rows) {
                folds.push(Fold { tile: index, rows, outputs: outputs.clone(), steps: steps.clone(), lanes });
            }
        }
    }
    folds
}

/// What travels with the data of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tag {
    fold: usize,
    step: usize,
}

#[derive(Clone)]
struct Operand {
    tag: Tag,
    lanes: Vec<i32>,
}

#[derive(Clone)]
struct Finished {
    value: i32,
    fold: usize,
    row: usize,
    under_way: bool,
}

#[derive(Clone, Default)]
struct ProcessingElement {
    left: Option<Operand>,
    top: Option<Operand>,
    accumulator: i32,
    result: Option<Finished>,
}

struct Array<'a> {
    config: &'a Config,
    folds: &'a [Fold],
    operands: &'a [Operands],
    elements: Vec<ProcessingElement>,
    /// What was put on the skewed feeds in each past cycle.
    feed: Vec<Option<Tag>>,
    next: Tag,
    times: Vec<FoldTimes>,
    /// Results of each fold that left the array, padding included.
    drained: Vec<usize>,
    outputs: Vec<Vec<i32>>,
    macs: u64,
    issued_macs: u64,
}

/// With [`Starts::At`], `starts` holds the cycle of each fold's last step, the others following each other up to it.
fn simulate(config: &Config, tiles: &[Tile], starts: Starts<'_, u64>) -> Result<Trace, Hazard> {
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
        feed: Vec::new(),
        next: Tag { fold: 0, step: 0 },
        times: folds.iter().map(time).collect(),
        drained: vec![0; folds.len()],
        outputs: tiles.iter().map(|tile| vec![0; tile.m * tile.n]).collect(),
        macs: 0,
        issued_macs: 0,
    };
    while !(0..folds.len()).all(|fold| array.is_drained(fold)) {
        array.step(starts)?;
    }
    for ((tile, operands), output) in tiles.iter().zip(&operands).zip(&array.outputs) {
        assert_eq!(*output, plain_product(tile, operands), "the array does not compute {tile:?} on {config:?}");
    }
    Ok(Trace {
        completed: array.times.iter().map(|times| times.completed).max().unwrap_or(0),
        folds: array.times,
        macs: array.macs,
        issued_macs: array.issued_macs,
        output: array.outputs.concat(),
    })
}

impl Array<'_> {
    fn is_drained(&self, fold: usize) -> bool {
        self.drained[fold] == self.config.rows * self.config.columns
    }

    fn element(&self, row: usize, column: usize) -> &ProcessingElement {
        &self.elements[row * self.config.columns + column]
    }

    /// Whether PE(row,column) has a result that moves down on the edge of this cycle.
    fn moves(&self, row: usize, column: usize) -> bool {
        let bottom = self.element(self.config.rows - 1, column).result.as_ref();
        let starts = bottom.is_some_and(|bottom| !bottom.under_way);
        self.element(row, column).result.as_ref().is_some_and(|result| starts || result.under_way)
    }

    /// One cycle: what enters, then every register at the edge.
    fn step(&mut self, starts: Starts<'_, u64>) -> Result<(), Hazard> {
        let cycle = self.feed.len() as u64;
        self.feed_step(cycle, starts)?;
        let mut next = Vec::with_capacity(self.elements.len());
        for row in 0..self.config.rows {
            for column in 0..self.config.columns {
                next.push(self.clock(cycle, row, column)?);
            }
        }
        self.elements = next;
        Ok(())
    }

    fn feed_step(&mut self, cycle: u64, starts: Starts<'_, u64>) -> Result<(), Hazard> {
        let Tag { fold, step } = self.next;
        if fold == self.folds.len() {
            self.feed.push(None);
            return Ok(());
        }
        let last = self.folds[fold].steps.len() - 1;
        let ready = match starts {
            Starts::At(starts) => match starts[fold].checked_sub((last - step) as u64) {
                Some(start) if start >= cycle => start == cycle,
                _ => return Err(Hazard { cycle, what: "the port is still busy" }),
            },
            Starts::WhenReady => {
                let output_is_free = self.element(0, 0).result.is_none() || self.moves(0, 0);
                let array_is_free = self.config.double_buffered || step > 0 || fold == 0 || self.is_drained(fold - 1);
                array_is_free && (step < last || output_is_free)
            }
        };
        self.feed.push(ready.then_some(self.next));
        if ready {
            let times = &mut self.times[fold];
            if step == 0 {
                (times.weights_enter, times.first_row_enters) = (cycle, cycle);
            }
            times.last_row_enters = cycle;
            self.next = if step == last { Tag { fold: fold + 1, step: 0 } } else { Tag { fold, step: step + 1 } };
        }
        Ok(())
    }

    /// The registers of one PE after the edge that ends `cycle`.
    fn clock(&mut self, cycle: u64, row: usize, column: usize) -> Result<ProcessingElement, Hazard> {
        let hazard = |what| Hazard { cycle, what };
        let left = match column {
            0 => self.skewed(row).map(|tag| self.activation(tag, row)),
            _ => self.element(row, column - 1).left.clone(),
        };
        let top = match row {
            0 => self.skewed(column).map(|tag| self.weight(tag, column)),
            _ => self.element(row - 1, column).top.clone(),
        };

        let own = self.element(row, column);
        let mut accumulator = own.accumulator;
        let mut result = own.result.clone();
        if self.moves(row, column) {
            let leaving = result.take().expect("what moves is there");
            if row + 1 == self.config.rows {
                self.write(cycle, column, &leaving);
            }
        }
        if row > 0 && self.moves(row - 1, column) {
            let arriving = self.element(row - 1, column).result.clone().expect("what moves is there");
            if result.is_some() {
                return Err(hazard("a result moves onto one that waits"));
            }
            result = Some(Finished { under_way: true, ..arriving });
        }

        match (&left, &top) {
            (None, None) => {}
            (Some(activation), Some(weight)) => {
                assert_eq!(activation.tag, weight.tag, "the operands of a step meet in PE({row},{column})");
                let Tag { fold, step } = activation.tag;
                let before = if step == 0 { 0 } else { accumulator };
                accumulator = match &self.folds[fold].steps[step] {
                    Step::Channels(_) => before + dot(&activation.lanes, &weight.lanes),
                    Step::Shift(bits) => before << bits,
                };
                self.count(row, column, activation.tag);
                if step + 1 == self.folds[fold].steps.len() {
                    if result.is_some() {
                        return Err(hazard("a result is overwritten before it left"));
                    }
                    result = Some(Finished { value: accumulator, fold, row, under_way: false });
                }
            }
            _ => panic!("the operands of a step meet in PE({row},{column})"),
        }
        Ok(ProcessingElement { left, top, accumulator, result })
    }

    fn count(&mut self, row: usize, column: usize, tag: Tag) {
        let fold = &self.folds[tag.fold];
        if let Step::Channels(channels) = &fold.steps[tag.step] {
            self.issued_macs += fold.lanes as u64;
            if row < fold.rows.len() && column < fold.outputs.len() {
                self.macs += channels.len() as u64;
            }
        }
    }

    /// Takes what leaves the bottom of a column into memory.
    fn write(&mut self, cycle: u64, column: usize, leaving: &Finished) {
        let fold = &self.folds[leaving.fold];
        self.drained[leaving.fold] += 1;
        if leaving.row < fold.rows.len() && column < fold.outputs.len() {
            let output_columns = self.operands[fold.tile].w[0].len();
            let address = (fold.rows.start + leaving.row) * output_columns + fold.outputs.start + column;
            self.outputs[fold.tile][address] = leaving.value;
            self.times[leaving.fold].completed = cycle + 1;
        }
    }

    /// What the feed gives in this cycle to the row or column that is `delay` cycles late.
    fn skewed(&self, delay: usize) -> Option<Tag> {
        self.feed.len().checked_sub(1 + delay).and_then(|cycle| self.feed[cycle])
    }

    fn activation(&self, tag: Tag, row: usize) -> Operand {
        let fold = &self.folds[tag.fold];
        let x = &self.operands[fold.tile].x;
        self.operand(tag, |channel| fold.rows.clone().nth(row).map_or(0, |row| x[row][channel]))
    }

    fn weight(&self, tag: Tag, column: usize) -> Operand {
        let fold = &self.folds[tag.fold];
        let w = &self.operands[fold.tile].w;
        self.operand(tag, |channel| fold.outputs.clone().nth(column).map_or(0, |output| w[channel][output]))
    }

    fn operand(&self, tag: Tag, at: impl Fn(usize) -> i32) -> Operand {
        let channels = match &self.folds[tag.fold].steps[tag.step] {
            Step::Channels(channels) => channels.clone(),
            Step::Shift(_) => 0..0,
        };
        Operand { tag, lanes: padded(channels, self.folds[tag.fold].lanes, at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::arrays;

    /// Cycles that the operands of a tile take to enter: whole steps for each channel group, and one for each shift.
    fn steps_of(config: &Config, tile: &Tile) -> u64 {
        let steps: usize = tile.groups().into_iter().map(|(group, _)| group.len().div_ceil(tile.lanes(config))).sum();
        (steps + tile.shifts.len()) as u64
    }

    /// Cycle of each fold's last step, and cycles until it is complete, by the closed form.
    ///
    /// Let e be the cycle in which the last step enters. PE(R-1,c) finishes in e + R - 1 + c, and the column's R results
    /// leave in the R cycles after it, the top row's in e + 2R - 1 + c: as a count, with the last used column n - 1,
    /// e + 2R + n - 1. With e = k - 1 that is k + 2R + n - 2.
    /// PE(0,0)'s result moves in e + R, and on that edge at the earliest the next result may come: e' >= e + R. The steps
    /// themselves take e' >= e + k'. So e' = e + max(k', R). Serially the next fold starts at the count at which the
    /// array has drained: e' = (e + 2R + C - 1) + k' - 1.
    fn closed_form(config: &Config, tiles: &[Tile]) -> Vec<(u64, u64)> {
        let (rows, columns) = (config.rows as u64, config.columns as u64);
        let mut last_step: Option<u64> = None;
        let mut times = Vec::new();
        for fold in folds_of(config, tiles) {
            let steps = steps_of(config, &tiles[fold.tile]);
            let last = match last_step {
                None => steps - 1,
                Some(before) if config.double_buffered => before + steps.max(rows),
                Some(before) => before + 2 * rows + columns - 1 + steps - 1,
            };
            times.push((last, last + 2 * rows + fold.outputs.len() as u64 - 1));
            last_step = Some(last);
        }
        times
    }

    /// Products with k below, at and above the number of rows, ragged in each axis, with and without shifts.
    fn tile_sequences() -> Vec<Vec<Tile>> {
        let mut sequences = Vec::new();
        for k in [1, 2, 7, 8, 9, 20] {
            sequences.push(vec![Tile::new(8, k, 8)]);
            sequences.push(vec![Tile::new(19, k, 11)]);
            sequences.push(vec![Tile::new(16, k, 16), Tile::new(3, 1, 2), Tile::new(5, k, 9)]);
            sequences.push(vec![Tile::with_shifts(16, k + 3, 9, &[(1, 3), (k + 1, 1)]); 2]);
        }
        sequences.push(vec![Tile::new(1, 1, 1); 5]);
        sequences.push(vec![
            Tile::new(8, 20, 9).at_rate(2),
            Tile::new(9, 3, 8).at_rate(1),
            Tile::new(2, 9, 3).at_rate(4),
        ]);
        sequences
    }

    #[test]
    fn a_two_by_two_array_agrees_with_a_count_by_hand() {
        // Steps at cycles 0, 1, 2. PE(1,1) is two later and finishes in 4; the results of column 1 leave in 5 and 6:
        // seven cycles.
        let config = Config { rows: 2, columns: 2, double_buffered: true, macs_per_pe: 1 };
        let trace = run(&config, &[Tile::new(2, 3, 2)]);
        let fold = FoldTimes { tile: 0, weights_enter: 0, first_row_enters: 0, last_row_enters: 2, completed: 7 };
        assert_eq!(trace.folds, [fold]);
        assert_eq!((trace.completed, trace.macs, trace.issued_macs), (7, 12, 12));
    }

    #[test]
    fn a_serial_fold_takes_twice_the_rows_and_the_columns_and_k_less_two() {
        // Samajdar et al., ISPASS 2020 (SCALE-Sim): 2R + C + T - 2 cycles a fold, where T = k.
        for config in arrays(false) {
            for steps in [1, 3, 8, 21] {
                let folds = 3;
                let tile = Tile::new(config.rows * folds, steps * config.macs_per_pe, config.columns);
                let expected = folds * (2 * config.rows + config.columns + steps - 2);
                assert_eq!(run(&config, &[tile]).completed, expected as u64, "{config:?} steps={steps}");
            }
        }
    }

    #[test]
    fn a_double_buffered_fold_takes_the_larger_of_its_steps_and_the_rows_in_the_steady_state() {
        for config in arrays(true) {
            for steps in [1, config.rows, config.rows + 1, 21] {
                let tile = Tile::new(config.rows * 3, steps * config.macs_per_pe, config.columns * 2);
                let folds = run(&config, &[tile]).folds;
                assert_eq!(folds.len(), 6);
                for pair in folds.windows(2) {
                    let period = pair[1].completed - pair[0].completed;
                    assert_eq!(period, steps.max(config.rows) as u64, "{config:?} steps={steps}");
                }
            }
        }
    }

    #[test]
    fn every_fold_of_every_sequence_follows_the_closed_form() {
        for config in [arrays(true), arrays(false)].concat() {
            for tiles in tile_sequences() {
                let trace = run(&config, &tiles);
                let measured: Vec<(u64, u64)> =
                    trace.folds.iter().map(|times| (times.last_row_enters, times.completed)).collect();
                let expected = closed_form(&config, &tiles);
                assert_eq!(measured, expected, "{config:?} {tiles:?}");
                assert_eq!(Some(trace.completed), expected.iter().map(|(_, completed)| *completed).max());
            }
        }
    }

    #[test]
    fn one_cycle_earlier_is_too_early_for_every_fold() {
        for config in arrays(true) {
            for tiles in tile_sequences() {
                if folds_of(&config, &tiles).len() > 24 {
                    continue; // A rerun for every start: enough on the larger arrays.
                }
                let trace = run(&config, &tiles);
                let starts: Vec<u64> = trace.folds.iter().map(|times| times.last_row_enters).collect();
                let repeated =
                    simulate(&config, &tiles, Starts::At(&starts)).expect("the measured starts are possible");
                assert_eq!((repeated.completed, &repeated.output), (trace.completed, &trace.output));
                for fold in 0..starts.len() {
                    let mut early = starts.clone();
                    early[fold] = early[fold].wrapping_sub(1);
                    if early[fold] != u64::MAX {
                        assert!(simulate(&config, &tiles, Starts::At(&early)).is_err(), "{fold}: {config:?} {tiles:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_shift_of_the_accumulators_costs_one_cycle_a_fold() {
        for config in [arrays(true), arrays(false)].concat() {
            // Groups of whole steps that are longer than the drain, so that nothing hides the bubble.
            let group = 10 * config.macs_per_pe;
            let tile = |shifts: &[(usize, u32)]| Tile::with_shifts(config.rows * 3, group * 3, config.columns, shifts);
            let plain = run(&config, &[tile(&[])]);
            let shifted = run(&config, &[tile(&[(group, 2), (group * 2, 1)])]);
            assert_eq!(shifted.completed, plain.completed + 3 * 2, "{config:?}");
            assert_eq!(shifted.macs, plain.macs);
            assert_eq!(shifted.issued_macs, plain.issued_macs);
        }
    }

    #[test]
    fn two_lanes_a_pe_halve_the_steps_of_k_and_a_ragged_group_leaves_a_lane_empty() {
        let config = |macs_per_pe| Config { rows: 8, columns: 8, double_buffered: true, macs_per_pe };
        // k + 2R + C - 2 with k = 64, then 32 steps.
        assert_eq!(run(&config(1), &[Tile::new(8, 64, 8)]).completed, 64 + 22);
        assert_eq!(run(&config(2), &[Tile::new(8, 64, 8)]).completed, 32 + 22);
        // Groups of 3 and 61 channels: 2 and 31 steps, and one for the shift.
        let grouped = run(&config(2), &[Tile::with_shifts(8, 64, 8, &[(3, 4)])]);
        assert_eq!(grouped.completed, 2 + 1 + 31 + 22);
        assert_eq!((grouped.macs, grouped.issued_macs), (8 * 64 * 8, 8 * 8 * 33 * 2));
    }

    #[test]
    fn the_pes_count_the_work_of_the_products_and_the_padding_apart() {
        for config in [arrays(true), arrays(false)].concat() {
            for tiles in tile_sequences() {
                let trace = run(&config, &tiles);
                let macs: usize = tiles.iter().map(|tile| tile.m * tile.k * tile.n).sum();
                assert_eq!(trace.macs, macs as u64, "{config:?} {tiles:?}");
                let multiplying = |times: &FoldTimes| {
                    let tile = &tiles[times.tile];
                    (steps_of(&config, tile) - tile.shifts.len() as u64) * tile.lanes(&config) as u64
                };
                let lane_steps: u64 = trace.folds.iter().map(multiplying).sum();
                let elements = (config.rows * config.columns) as u64;
                assert_eq!(trace.issued_macs, lane_steps * elements, "{config:?} {tiles:?}");
            }
        }
    }
}
