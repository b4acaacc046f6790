//! The kinds of tile of a grid: full ones and those at a ragged edge, with how often each occurs.

use crate::schedule::grid::{Grid, Tile};
use crate::shape::{Blocking, Span, least_common_multiple};

/// Lengths of the blocks of an axis with how often each occurs: one or two.
pub fn lengths(blocking: Blocking) -> impl Iterator<Item = (u64, u64)> + Clone {
    let count = blocking.count();
    let (full, last) = (blocking.block(), blocking.span(count - 1).len());
    let kinds = if full == last { [(count, full), (0, 0)] } else { [(count - 1, full), (1, last)] };
    kinds.into_iter().filter(|(times, _)| *times > 0)
}

/// Blocks of an axis that differ in length or in where they start within runs of `run` indices, with how often each occurs.
fn spans(blocking: Blocking, run: u64) -> Vec<(u64, Span)> {
    let (count, block) = (blocking.count(), blocking.block());
    let last = blocking.span(count - 1);
    let full = if last.len() == block { count } else { count - 1 };
    // So many blocks later one starts at the same place of a run.
    let period = least_common_multiple(block, run) / block;
    let mut spans: Vec<_> =
        (0..period.min(full)).map(|index| ((full - index).div_ceil(period), blocking.span(index))).collect();
    if full < count {
        spans.push((1, last));
    }
    spans
}

/// Tiles of every step by extents, with how often each occurs: at most eight. Along m and n they are placed at the origin, and
/// along k where the first one like it lies; where an array works in runs of `run` indices, those that start elsewhere in a
/// run are told apart.
pub fn tiles(grid: &Grid, run: Option<u64>) -> impl Iterator<Item = (u64, Tile)> + use<> {
    let (k, n) = (spans(grid.k, run.unwrap_or(1)), lengths(grid.n));
    let span = |length| Span::new(0, length);
    let batches = grid.batches.count();
    lengths(grid.m).flat_map(move |(rows, m)| {
        let n = n.clone();
        k.clone().into_iter().flat_map(move |(depths, k)| {
            let of = move |n| Tile { batch: 0, m: span(m), k, n: span(n) };
            n.clone().map(move |(columns, n)| (batches * rows * depths * columns, of(n)))
        })
    })
}

/// Tiles of the output by extents, with how often each occurs: at most four.
pub fn output_tiles(grid: &Grid) -> impl Iterator<Item = (u64, Tile)> + use<> {
    let whole_depth = Grid { k: Blocking::whole(grid.k.extent()), ..*grid };
    tiles(&whole_depth, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_told_apart_by_length_and_by_their_place_in_a_run() {
        // 27 in blocks of 4, runs of 6: starts 0, 4, 8, 12, 16, 20 are 0, 4, 2 of a run, twice each; the last block has 3.
        let span = |start, end| Span::new(start, end);
        let found = spans(Blocking::new(27, 4), 6);
        assert_eq!(found, [(2, span(0, 4)), (2, span(4, 8)), (2, span(8, 12)), (1, span(24, 27))]);
        assert_eq!(spans(Blocking::new(24, 12), 6), [(2, span(0, 12))]);
        assert_eq!(spans(Blocking::new(27, 4), 1), [(6, span(0, 4)), (1, span(24, 27))]);
        // Runs longer than the axis: each block starts elsewhere.
        assert_eq!(spans(Blocking::new(12, 4), 100).len(), 3);
    }
}
