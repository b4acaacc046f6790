//! The kinds of tile of a grid: full ones and those at a ragged edge, with how often each occurs.

use crate::schedule::grid::{Grid, Tile};
use crate::shape::{Blocking, Span};

/// Lengths of the blocks of an axis with how often each occurs: one or two.
pub fn lengths(blocking: Blocking) -> impl Iterator<Item = (u64, u64)> + Clone {
    let count = blocking.count();
    let (full, last) = (blocking.block(), blocking.span(count - 1).len());
    let kinds = if full == last { [(count, full), (0, 0)] } else { [(count - 1, full), (1, last)] };
    kinds.into_iter().filter(|(times, _)| *times > 0)
}

/// Tiles of every step by extents, placed at the origin, with how often each occurs: at most eight.
pub fn tiles(grid: &Grid) -> impl Iterator<Item = (u64, Tile)> + use<> {
    let (k, n) = (lengths(grid.k), lengths(grid.n));
    let span = |length| Span::new(0, length);
    let batches = grid.batches.count();
    lengths(grid.m).flat_map(move |(rows, m)| {
        let n = n.clone();
        k.clone().flat_map(move |(depths, k)| {
            let of = move |n| Tile { batch: 0, m: span(m), k: span(k), n: span(n) };
            n.clone().map(move |(columns, n)| (batches * rows * depths * columns, of(n)))
        })
    })
}

/// Tiles of the output by extents, with how often each occurs: at most four.
pub fn output_tiles(grid: &Grid) -> impl Iterator<Item = (u64, Tile)> + use<> {
    let whole_depth = Grid { k: Blocking::whole(grid.k.extent()), ..*grid };
    tiles(&whole_depth)
}
