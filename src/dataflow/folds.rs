//! Folds of a tile, and how far they overlap: the two patterns from which the dataflows are made.
//!
//! Either an operand stays and the next one loads behind the stream ([`held_operands`]), or sums stay and leave behind
//! the next fold's stream ([`held_sums`]). A fold at the edge of a tile takes the steps of a whole one, but only the port
//! time of the rows and columns that it has; so a tile has up to four kinds of fold.

use crate::dataflow::ArrayState;
use crate::units::Cycles;

/// An axis of a tile, and how much of it the array takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) extent: u64,
    pub(super) at_once: u64,
}

impl Cut {
    const fn count(self) -> u64 {
        self.extent.div_ceil(self.at_once)
    }

    const fn last(self) -> u64 {
        (self.extent - 1) % self.at_once + 1
    }

    /// Pieces in order, equal ones together, with how often each occurs.
    pub(super) fn pieces(self) -> impl Iterator<Item = (u64, u64)> + Clone {
        let pieces = [(self.count() - 1, self.at_once), (1, self.last())];
        pieces.into_iter().filter(|(times, _)| *times > 0)
    }
}

/// Cycles of the phases of one fold, each as long as the ports make it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Loading the operand that stays.
    pub(super) load: u64,
    /// The steps of the stream.
    pub(super) stream: u64,
    /// Results leaving.
    pub(super) drain: u64,
}

/// The most different lengths of pieces along the rows.
const KINDS: usize = 6;

/// The folds of a tile in order: for each fold along the columns all folds along the rows. Along the columns all but the last
/// are alike; along the rows those that are alike follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folds {
    columns: u64,
    /// Of columns of folds that are not, and that is, the last: how often each kind occurs. The last kind does.
    kinds: [[(u64, Parts); KINDS]; 2],
}

impl Folds {
    /// Folds of `rows`, pieces in order with how often each occurs, by `columns`; their parts follow from the extents that
    /// they have of each.
    pub(super) fn of(
        rows: impl Iterator<Item = (u64, u64)> + Clone,
        columns: Cut,
        parts: impl Fn(u64, u64) -> Parts,
    ) -> Folds {
        let kinds = |columns: u64| {
            let mut kinds = [(0, Parts::default()); KINDS];
            let given = rows.clone().map(|(times, rows)| (times, parts(rows, columns)));
            // The last kind stands last, wherever the others do.
            let free = KINDS - rows.clone().count();
            kinds[free..].iter_mut().zip(given).for_each(|(kind, given)| *kind = given);
            kinds
        };
        let kinds = [kinds(columns.at_once.min(columns.extent)), kinds(columns.last())];
        Folds { columns: columns.count(), kinds }
    }

    /// Kinds that occur, in order.
    fn kinds(&self, column: usize) -> impl Iterator<Item = (u64, Parts)> + '_ {
        self.kinds[column].iter().copied().filter(|(times, _)| *times > 0)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.columns * self.kinds(1).map(|(times, _)| times).sum::<u64>()
    }

    /// The first fold of one column of folds.
    fn first_of(&self, column: usize) -> Parts {
        self.kinds(column).next().map_or(Parts::default(), |(_, parts)| parts)
    }

    /// The first of all.
    pub(super) fn first(&self) -> Parts {
        self.first_of(if self.columns == 1 { 1 } else { 0 })
    }

    /// The last of all.
    pub(super) const fn last(&self) -> Parts {
        self.kinds[1][KINDS - 1].1
    }

    /// The last fold before the last column of folds, if there are several columns.
    pub(super) fn before_last_column(&self) -> Option<Parts> {
        (self.columns > 1).then_some(self.kinds[0][KINDS - 1].1)
    }

    /// The sum of `cycles` over all folds.
    pub(super) fn sum(&self, cycles: impl Fn(Parts) -> u64) -> u64 {
        let of_column = |column| self.kinds(column).map(|(times, parts)| times * cycles(parts)).sum::<u64>();
        (self.columns - 1) * of_column(0) + of_column(1)
    }

    /// The sum of `distance` over neighbours within one column of folds.
    fn along_column(&self, column: usize, distance: &impl Fn(Parts, Parts) -> u64) -> u64 {
        let mut before: Option<Parts> = None;
        let mut sum = 0;
        for (times, parts) in self.kinds(column) {
            sum += before.map_or(0, |before| distance(before, parts)) + (times - 1) * distance(parts, parts);
            before = Some(parts);
        }
        sum
    }

    /// The sum of `distance` over all neighbours, from the first fold to the last.
    pub(super) fn distance(&self, distance: impl Fn(Parts, Parts) -> u64) -> u64 {
        let last = self.along_column(1, &distance);
        if self.columns == 1 {
            return last;
        }
        let to = |column| distance(self.kinds[0][KINDS - 1].1, self.first_of(column));
        let others = self.columns - 1;
        others * self.along_column(0, &distance) + (others - 1) * to(0) + to(1) + last
    }

    /// The part of it from the last fold before the last column to the last of all.
    pub(super) fn distance_of_last_column(&self, distance: impl Fn(Parts, Parts) -> u64) -> u64 {
        distance(self.kinds[0][KINDS - 1].1, self.first_of(1)) + self.along_column(1, &distance)
    }

    /// Cycles by which a tile of these folds delays the next one like it.
    pub(super) fn period(&self, distance: impl Fn(Parts, Parts) -> u64) -> u64 {
        self.distance(&distance) + distance(self.last(), self.first())
    }
}

/// When the streams of a tile's folds run.
pub(super) struct Streams {
    /// The first action: loading, or the first step.
    pub(super) start: Cycles,
    /// The first step of the last fold.
    pub(super) last_stream: Cycles,
    /// One past the last step.
    pub(super) end: Cycles,
}

/// Folds that each load and stream, the start of a stream `distance` cycles after that of the one before.
///
/// The first load waits for the registers that hold the operand, its stream for the stream before it.
pub(super) fn held_operands(
    folds: &Folds,
    distance: impl Fn(Parts, Parts) -> u64,
    ready: Cycles,
    state: &ArrayState,
) -> Streams {
    let start = ready.max(state.load_free);
    let first_stream = (start + Cycles(folds.first().load)).max(state.stream_free);
    let last_stream = first_stream + Cycles(folds.distance(distance));
    Streams { start, last_stream, end: last_stream + Cycles(folds.last().stream) }
}

/// Folds that each stream, the end of a stream `distance` cycles after that of the one before, and whose results leave from
/// the last step on.
///
/// The result registers take the results of the next fold when those before have moved out. Only the last step waits for
/// that; the steps before it are not held back.
pub(super) fn held_sums(
    folds: &Folds,
    distance: impl Fn(Parts, Parts) -> u64,
    ready: Cycles,
    state: &mut ArrayState,
) -> Streams {
    let start = ready.max(state.stream_free);
    let Parts { stream, drain, .. } = folds.last();
    let first_end = (start + Cycles(folds.first().stream)).max(state.results_free + Cycles(1));
    let end = first_end + Cycles(folds.distance(distance));
    state.stream_free = end;
    state.results_free = Cycles(end.get() - 1 + drain);
    Streams { start, last_stream: Cycles(end.get() - stream), end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_sums_are_those_over_the_folds_one_by_one() {
        let parts = |rows: u64, columns: u64| Parts { load: rows + 100 * columns, stream: 7 * rows, drain: columns };
        let distance = |before: Parts, after: Parts| before.stream * 1000 + after.load;
        for (rows, columns) in [(3, 2), (8, 4), (9, 4), (17, 4), (17, 5), (24, 13), (5, 13)] {
            let folds =
                Folds::of(Cut { extent: rows, at_once: 8 }.pieces(), Cut { extent: columns, at_once: 4 }, parts);
            let pieces = |extent: u64, at_once: u64| {
                (0..extent).step_by(at_once as usize).map(move |start| at_once.min(extent - start))
            };
            let listed: Vec<(Parts, bool)> = pieces(columns, 4)
                .enumerate()
                .flat_map(|(index, columns_of)| {
                    let is_last = index as u64 + 1 == columns.div_ceil(4);
                    pieces(rows, 8).map(move |rows_of| (parts(rows_of, columns_of), is_last))
                })
                .collect();
            let kinds: Vec<Parts> = listed.iter().map(|(parts, _)| *parts).collect();
            let between = |from: usize| kinds[from..].windows(2).map(|pair| distance(pair[0], pair[1])).sum::<u64>();
            assert_eq!(folds.count(), kinds.len() as u64);
            assert_eq!((folds.first(), folds.last()), (kinds[0], kinds[kinds.len() - 1]));
            assert_eq!(folds.sum(|parts| parts.load), kinds.iter().map(|parts| parts.load).sum::<u64>());
            assert_eq!(folds.distance(distance), between(0), "{rows} x {columns}");
            if let Some(before) = folds.before_last_column() {
                let from = listed.iter().rposition(|(_, is_last)| !is_last).unwrap();
                assert_eq!((before, folds.distance_of_last_column(distance)), (kinds[from], between(from)));
            }
        }
    }
}
