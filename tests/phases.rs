//! The closed-form phases of the dataflows against the PE-stepped witness.

use npusim::dataflow::{self, ArrayState, TileWork};
use npusim::hardware::array::{Array, SystolicArray};
use npusim::units::Cycles;

use crate::fixture::SplitMix;
use crate::witness::{Config, Tile, Trace, output_stationary, weight_stationary};

fn config(rows: usize, columns: usize, double_buffered: bool) -> Config {
    Config { rows, columns, double_buffered, macs_per_pe: 1 }
}

/// A dataflow and the witness of its tiles.
#[derive(Clone, Copy)]
struct Subject {
    dataflow: &'static str,
    witness: fn(&Config, &[Tile]) -> Trace,
}

const SUBJECTS: [Subject; 3] = [
    Subject { dataflow: "weight_stationary", witness: weight_stationary::run },
    Subject { dataflow: "output_stationary", witness: output_stationary::run },
    Subject { dataflow: "input_stationary", witness: transposed },
];

/// `Y^T = W^T X^T` on the weight-stationary array is the input-stationary product.
fn transposed(config: &Config, tiles: &[Tile]) -> Trace {
    let exchange = |tile: &Tile| Tile { macs_per_pe: tile.macs_per_pe, ..Tile::new(tile.n, tile.k, tile.m) };
    weight_stationary::run(config, &tiles.iter().map(exchange).collect::<Vec<_>>())
}

/// Issues the tiles back to back and returns, per tile, when the last result was there, and the issued products.
fn phases(dataflow: &'static str, config: &Config, tiles: &[Tile]) -> (Vec<u64>, u64) {
    let array = Array::Systolic(SystolicArray {
        rows: config.rows as u64,
        columns: config.columns as u64,
        dataflow,
        double_buffered: config.double_buffered,
        serial_folds: None,
    });
    let dataflow = dataflow::of(&array);
    let mut state = ArrayState::default();
    let mut ready = Cycles(0);
    let mut issued = 0;
    let completed = tiles
        .iter()
        .map(|tile| {
            let rate = tile.macs_per_pe.unwrap_or(config.macs_per_pe) as u64;
            let work = TileWork::unhindered(tile.m as u64, tile.k as u64, tile.n as u64, rate);
            let phases = dataflow.issue(&array, &work, ready, &mut state);
            assert!(phases.start <= phases.next_issue && phases.operands_released <= phases.complete);
            ready = phases.next_issue;
            issued += dataflow.issued_macs(&array, &work);
            phases.complete.get()
        })
        .collect();
    (completed, issued)
}

fn check(subject: Subject, config: &Config, tiles: &[Tile]) {
    let trace = (subject.witness)(config, tiles);
    let witnessed: Vec<u64> = (0..tiles.len())
        .map(|tile| trace.folds.iter().filter(|fold| fold.tile == tile).map(|fold| fold.completed).max().unwrap())
        .collect();
    let (completed, issued) = phases(subject.dataflow, config, tiles);
    assert_eq!(completed, witnessed, "{} {config:?} {tiles:?}", subject.dataflow);
    assert_eq!(issued, trace.issued_macs, "{} {config:?} {tiles:?}", subject.dataflow);
}

#[test]
fn the_phases_of_each_dataflow_agree_with_the_stepped_array_on_every_small_tile() {
    let all_tiles = || {
        let axes = ([1, 2, 7, 8, 9, 20], [1, 8, 9, 24], [1, 5, 8, 9, 17]);
        let pairs = axes.0.into_iter().flat_map(move |m| axes.1.into_iter().map(move |k| (m, k)));
        pairs.flat_map(move |(m, k)| axes.2.into_iter().map(move |n| Tile::new(m, k, n)))
    };
    for subject in SUBJECTS {
        for double_buffered in [true, false] {
            for tile in all_tiles() {
                check(subject, &config(8, 8, double_buffered), &[tile]);
            }
        }
    }
}

#[test]
fn the_phases_of_each_dataflow_agree_on_seeded_sequences_of_tiles_and_arrays() {
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
        for subject in SUBJECTS {
            check(subject, &config, &tiles);
        }
    }
}
