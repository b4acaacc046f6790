//! An independent witness of systolic timing: arrays of processing elements, stepped clock edge by clock edge.
//!
//! Real integers move through registers here, and the array must arrive at the plain matrix product, so a schedule that
//! is too fast to be built cannot pass: a weight that is replaced too early, or a result that is overwritten before it
//! left, is a [`Hazard`] or a wrong number. What is measured is when things happen, in cycles.
//!
//! The model knows nothing of the simulator: no module of the crate is used, no closed form steers it. Each stream
//! starts when the registers at the corner PE(0,0) allow it; that the rest of the array follows without a conflict is
//! what the run shows. Closed forms stand only in the tests, each with its derivation, and the tests that start every
//! stream one cycle early show that no start could be sooner.
//!
//! Conventions of both arrays:
//! - Cycle `t` is the interval between two clock edges, counted from 0. A register written in cycle `t` can be read in
//!   cycle `t + 1`. A field `.._enters` is the cycle in which the operand is at the edge of the array, and the PE there
//!   uses it in that same cycle. `completed` is a count: the last cycle in which something was written, plus one.
//! - PE(r,c) is `r` rows below and `c` columns right of PE(0,0). An operand moves one PE a cycle, so a stream that
//!   enters at cycle `t` passes PE(r,c) at `t + r + c`; row `r` is fed `r`, column `c` `c` cycles late ("skew").
//! - The array always works at its full size. Ragged tiles are padded with zeros at the bottom rows and right columns.
//! - A PE does `macs_per_pe` multiply-accumulates along k a cycle: 1 for INT8, 2 for INT4 through the same wires.

pub(crate) mod output_stationary;
pub(crate) mod weight_stationary;

use std::ops::Range;

/// The array and its way of working.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Rows R of PEs.
    pub(crate) rows: usize,
    /// Columns C of PEs.
    pub(crate) columns: usize,
    /// Whether a fold may use the array while its neighbour still occupies it; otherwise folds are serial.
    pub(crate) double_buffered: bool,
    /// Multiply-accumulates along k of one PE in one cycle, where the tile does not say otherwise.
    pub(crate) macs_per_pe: usize,
}

/// One product `Y[m, n] = X[m, k] * W[k, n]`, run after its predecessor without a pause.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// Rows of X and Y.
    pub(crate) m: usize,
    /// Columns of X, rows of W.
    pub(crate) k: usize,
    /// Columns of W and Y.
    pub(crate) n: usize,
    /// Shifts of the accumulator, by ascending channel.
    pub(crate) shifts: Vec<Shift>,
    /// The rate of this tile's format, if not that of the array's configuration.
    pub(crate) macs_per_pe: Option<usize>,
}

/// Before `channel`, the first of a channel group, every accumulator of the tile shifts left by `bits` (Tender,
/// Lee et al., ISCA 2024: groups of falling scale, each a power of two below its predecessor).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shift {
    /// First channel of the group after the shift, in `1..k`.
    pub(crate) channel: usize,
    /// Bits to shift by.
    pub(crate) bits: u32,
}

/// What happened in one fold: one residence of weights (weight-stationary) or of outputs (output-stationary).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoldTimes {
    /// Index of the tile that the fold is part of.
    pub(crate) tile: usize,
    /// Cycle of the first weight at the top of column 0. Output-stationary: the same as `first_row_enters`.
    pub(crate) weights_enter: u64,
    /// Cycle of the first activations at the left of row 0 (output-stationary: of the first step of k).
    pub(crate) first_row_enters: u64,
    /// Cycle of the last activations at the left of row 0 (output-stationary: of the last step of k).
    pub(crate) last_row_enters: u64,
    /// Cycles until the fold's last result of a used row and column was written.
    pub(crate) completed: u64,
}

/// What a run measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// In order of execution.
    pub(crate) folds: Vec<FoldTimes>,
    /// Cycles from the first operand's entry until the last useful result was written.
    pub(crate) completed: u64,
    /// Multiply-accumulates of operands that are no padding, counted in the PEs.
    pub(crate) macs: u64,
    /// Multiply-accumulates of all PEs in cycles in which they held operands, padding included.
    pub(crate) issued_macs: u64,
    /// Y of each tile, row-major, one after the other.
    pub(crate) output: Vec<i32>,
}

/// A conflict that a stream caused by starting too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hazard {
    cycle: u64,
    what: &'static str,
}

impl Tile {
    /// A product without shifts.
    pub(crate) fn new(m: usize, k: usize, n: usize) -> Tile {
        Tile::with_shifts(m, k, n, &[])
    }

    /// A product whose accumulators shift before each of the given channels.
    pub(crate) fn with_shifts(m: usize, k: usize, n: usize, shifts: &[(usize, u32)]) -> Tile {
        assert!(m > 0 && k > 0 && n > 0, "a product without elements takes no array");
        assert!(shifts.is_sorted_by(|a, b| a.0 < b.0), "shifts come by ascending channel");
        assert!(shifts.iter().all(|(channel, _)| (1..k).contains(channel)), "a shift stands between two channels");
        assert!(shifts.iter().all(|(_, bits)| *bits > 0), "a shift by nothing is none");
        let shifts = shifts.iter().map(|&(channel, bits)| Shift { channel, bits }).collect();
        Tile { m, k, n, shifts, macs_per_pe: None }
    }

    /// The same product in a format of another rate: a branch in INT8 after a body in INT4.
    pub(crate) fn at_rate(self, macs_per_pe: usize) -> Tile {
        Tile { macs_per_pe: Some(macs_per_pe), ..self }
    }

    fn lanes(&self, config: &Config) -> usize {
        self.macs_per_pe.unwrap_or(config.macs_per_pe)
    }

    /// The channel groups, each with the bits that the accumulator shifts by before it.
    fn groups(&self) -> Vec<(Range<usize>, u32)> {
        let starts = std::iter::once((0, 0)).chain(self.shifts.iter().map(|shift| (shift.channel, shift.bits)));
        let ends = self.shifts.iter().map(|shift| shift.channel).chain([self.k]);
        starts.zip(ends).map(|((start, bits), end)| (start..end, bits)).collect()
    }
}

/// X and W of a tile: arbitrary integers that fill the range of the format, the same in every run.
struct Operands {
    x: Vec<Vec<i32>>,
    w: Vec<Vec<i32>>,
}

impl Operands {
    fn of(tile: &Tile, index: usize, lanes: usize) -> Operands {
        let bits = 8 / u32::try_from(lanes).expect("1, 2 or 4 lanes share 8 bits");
        let mut state = index as u64;
        let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<i32>> {
            (0..rows).map(|_| (0..columns).map(|_| signed_bits(&mut state, bits)).collect()).collect()
        };
        let x = matrix(tile.m, tile.k);
        let w = matrix(tile.k, tile.n);
        Operands { x, w }
    }
}

/// The next `bits` of a SplitMix64 sequence (Steele, Lea, Flood, OOPSLA 2014), as a signed integer.
fn signed_bits(state: &mut u64, bits: u32) -> i32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = (mixed ^ (mixed >> 31)) as i64;
    (mixed >> (64 - bits)) as i32
}

/// Y of a tile by three loops, with the accumulator shifts in their place along k.
fn plain_product(tile: &Tile, operands: &Operands) -> Vec<i32> {
    let element = |row: usize, column: usize| {
        tile.groups().into_iter().fold(0, |sum: i32, (channels, bits)| {
            channels.fold(sum << bits, |sum, channel| sum + operands.x[row][channel] * operands.w[channel][column])
        })
    };
    (0..tile.m).flat_map(|row| (0..tile.n).map(move |column| (row, column))).map(|(r, c)| element(r, c)).collect()
}

/// `range` cut into pieces of at most `length`.
fn pieces(range: Range<usize>, length: usize) -> Vec<Range<usize>> {
    let end = range.end;
    range.step_by(length).map(|start| start..end.min(start + length)).collect()
}

/// `count` numbers: those of `at` for each index of `range`, then zeros.
fn padded(range: Range<usize>, count: usize, at: impl Fn(usize) -> i32) -> Vec<i32> {
    let zeros = count - range.len();
    range.map(at).chain(std::iter::repeat_n(0, zeros)).collect()
}

/// The `lanes` channels of the PE `position` PEs along k into `channels`; empty where there are none left.
fn lane_channels(channels: &Range<usize>, position: usize, lanes: usize) -> Range<usize> {
    let start = channels.end.min(channels.start + position * lanes);
    start..channels.end.min(start + lanes)
}

fn dot(left: &[i32], right: &[i32]) -> i32 {
    assert_eq!(left.len(), right.len(), "operands of one PE have the same lanes");
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

/// When each stream starts.
#[derive(Clone, Copy)]
enum Starts<'a, T> {
    /// As soon as the registers at PE(0,0) allow it.
    WhenReady,
    /// In the given cycles, ready or not, one entry a fold. Only tests use it, to show that earlier is too early.
    At(&'a [T]),
}

/// Array shapes that the tests go through, with both formats.
#[cfg(test)]
fn arrays(double_buffered: bool) -> Vec<Config> {
    let shapes = [(8, 8), (4, 4), (5, 3), (2, 6), (1, 1)];
    let config = |(rows, columns), macs_per_pe| Config { rows, columns, double_buffered, macs_per_pe };
    shapes.into_iter().flat_map(|shape| [config(shape, 1), config(shape, 2)]).collect()
}
