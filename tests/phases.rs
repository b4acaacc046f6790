//! The closed-form phases of the dataflows against the PE-stepped witness.

use npusim::dataflow::{self, ArrayState, TileWork};
use npusim::hardware::matrix_unit::SystolicArray;
use npusim::units::Cycles;

use crate::fixture::SplitMix;
use crate::witness::{Config, Tile, weight_stationary};

fn config(rows: usize, columns: usize, double_buffered: bool) -> Config {
    Config { rows, columns, double_buffered, macs_per_pe: 1 }
}

/// Issues the tiles back to back and returns, per tile, when the last result was there, and the issued products.
fn phases(config: &Config, tiles: &[Tile]) -> (Vec<u64>, u64) {
    let array = SystolicArray {
        rows: config.rows as u64,
        columns: config.columns as u64,
        dataflow: "weight_stationary",
        double_buffered: config.double_buffered,
    };
    let dataflow = dataflow::by_name(array.dataflow).expect("registered");
    let mut state = ArrayState::default();
    let mut ready = Cycles(0);
    let mut issued = 0;
    let completed = tiles
        .iter()
        .map(|tile| {
            let work = TileWork {
                m: tile.m as u64,
                k: tile.k as u64,
                n: tile.n as u64,
                macs_per_element_per_cycle: tile.macs_per_pe.unwrap_or(config.macs_per_pe) as u64,
                row_interval: 1,
                load_interval: 1,
            };
            let phases = dataflow.issue(&array, &work, ready, &mut state);
            ready = phases.next_issue;
            issued += dataflow.issued_macs(&array, &work);
            phases.complete.get()
        })
        .collect();
    (completed, issued)
}

fn check(config: &Config, tiles: &[Tile]) {
    let trace = weight_stationary::run(config, tiles);
    let witnessed: Vec<u64> = (0..tiles.len())
        .map(|tile| trace.folds.iter().filter(|fold| fold.tile == tile).map(|fold| fold.completed).max().unwrap())
        .collect();
    let (completed, issued) = phases(config, tiles);
    assert_eq!(completed, witnessed, "{config:?} {tiles:?}");
    assert_eq!(issued, trace.issued_macs, "{config:?} {tiles:?}");
}

#[test]
fn weight_stationary_phases_agree_with_the_stepped_array_on_every_small_tile() {
    for double_buffered in [true, false] {
        for m in [1, 2, 7, 8, 9, 20] {
            for k in [1, 8, 9, 24] {
                for n in [1, 5, 8, 9, 17] {
                    check(&config(8, 8, double_buffered), &[Tile::new(m, k, n)]);
                }
            }
        }
    }
}

#[test]
fn weight_stationary_phases_agree_on_seeded_sequences_of_tiles_and_arrays() {
    let mut random = SplitMix(11);
    let mut draw = |limit: u64| (random.next() % limit) as usize + 1;
    for _ in 0..200 {
        let config = config(draw(8), draw(9), draw(2) == 1);
        let tiles: Vec<Tile> = (0..draw(4))
            .map(|_| {
                let tile = Tile::new(draw(20), draw(20), draw(20));
                // INT4 in the same array: two channels of k per element and cycle.
                if draw(3) == 1 { tile.at_rate(2) } else { tile }
            })
            .collect();
        check(&config, &tiles);
    }
}
