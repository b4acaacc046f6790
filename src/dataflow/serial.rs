//! Systolic folds that overlap with nothing, as the sum of their stated parts.

use crate::dataflow::folds::{Folds, Parts};
use crate::dataflow::{ArrayState, Mapped, TilePhases};
use crate::hardware::array::{Drain, Fill, SerialFolds, StationaryLoad, SystolicArray};
use crate::units::Cycles;

/// All folds of a tile, one after the other.
pub(super) fn issue(
    array: &SystolicArray,
    serial: &SerialFolds,
    mapped: &Mapped,
    folds: &Folds,
    ready: Cycles,
    state: &mut ArrayState,
) -> TilePhases {
    let start = ready.max(state.stream_free);
    let complete = start + Cycles(cycles(array, serial, mapped, folds));
    let last = Mapped {
        rows: (mapped.rows - 1) % array.rows + 1,
        columns: (mapped.columns - 1) % array.columns + 1,
        steps: mapped.steps,
    };
    let [load, stream, drain] = shares(serial, folds.last());
    let last_fold = load + stream + drain + serial.overhead.get() + ways(array, serial, &last);
    let released = Cycles(complete.get() - last_fold + load + stream);
    (state.load_free, state.stream_free, state.results_free) = (complete, complete, complete);
    TilePhases { start, next_issue: complete, operands_released: released, complete, sequenced: None }
}

/// Cycles of all folds of a tile.
pub(super) fn cycles(array: &SystolicArray, serial: &SerialFolds, mapped: &Mapped, folds: &Folds) -> u64 {
    let paced = folds.sum(|parts| shares(serial, parts).into_iter().sum());
    paced + folds.count() * serial.overhead.get() + ways(array, serial, mapped)
}

/// The ways of operands and sums through the array, in all folds of a tile.
fn ways(array: &SystolicArray, serial: &SerialFolds, mapped: &Mapped) -> u64 {
    let (row_folds, column_folds) = (mapped.row_folds(array), mapped.column_folds(array));
    let count = row_folds * column_folds;
    let fill = match serial.fill {
        Fill::FullArray => count * (array.rows + array.columns - 2),
        // Each row fold meets each column fold, so the used rows are passed once per column fold, and conversely.
        Fill::Used => column_folds * mapped.rows + row_folds * mapped.columns - 2 * count,
        Fill::None => 0,
    };
    let corners = longer_than_one(mapped.rows, array.rows) * longer_than_one(mapped.columns, array.columns);
    fill + corners * serial.corner.get()
}

/// Load, stream and drain as far as the folds have them.
fn shares(serial: &SerialFolds, parts: Parts) -> [u64; 3] {
    let load = match serial.load {
        StationaryLoad::Rows => parts.load,
        StationaryLoad::Hidden => 0,
    };
    let drain = match serial.drain {
        Drain::Rows => parts.drain,
        Drain::Overlapped => 0,
    };
    [load, parts.stream, drain]
}

/// Pieces of more than one element when `extent` is cut into pieces of `length`.
const fn longer_than_one(extent: u64, length: u64) -> u64 {
    if length == 1 { 0 } else { extent.div_ceil(length) - (extent % length == 1) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::ports::{Port, Ports};
    use crate::dataflow::{self, TileWork};
    use crate::hardware::array::Array;
    use crate::units::Rate;

    fn array(dataflow: &'static str, [rows, columns]: [u64; 2], folds: SerialFolds) -> Array {
        let double_buffered = false;
        Array::Systolic(SystolicArray { rows, columns, dataflow, double_buffered, serial_folds: Some(folds) })
    }

    /// One product, m x k x n, as a single tile.
    fn completed(array: &Array, [m, k, n]: [u64; 3]) -> u64 {
        let (dataflow, tile) = (dataflow::of(array), TileWork::unhindered(m, k, n, 1));
        let phases = dataflow.issue(array, &tile, Cycles(0), &mut ArrayState::default());
        assert_eq!(phases.complete.get(), dataflow.steady_cycles(array, &tile));
        assert!(phases.operands_released <= phases.complete && phases.complete == phases.next_issue);
        phases.complete.get()
    }

    const BARE: SerialFolds = SerialFolds {
        load: StationaryLoad::Hidden,
        fill: Fill::None,
        drain: Drain::Overlapped,
        overhead: Cycles(0),
        corner: Cycles(0),
    };

    /// Compute cycles and words read and written of runs of SCALE-Sim 3.0.0 (commit 1d62b68, CALC mode): dataflow,
    /// [m, k, n], square array, cycles, input reads, filter reads, output writes.
    ///
    /// It reports the index of the last cycle, one less than their number (scalesim-project/SCALE-Sim, issue 125), and
    /// adds rows + columns per fold to the output writes of the output-stationary array; both are taken out here.
    const SCALE_SIM: [(&str, [u64; 3], u64, [u64; 4]); 15] = [
        ("output_stationary", [16, 4096, 16], 8, [16439, 131_072, 131_072, 320 - 4 * 16]),
        ("output_stationary", [1024, 64, 1024], 128, [20351, 524_288, 524_288, 1_064_960 - 64 * 256]),
        ("output_stationary", [127, 127, 127], 128, [380, 16129, 16129, 16385 - 256]),
        ("output_stationary", [17, 257, 31], 8, [3251, 17476, 23901, 719 - 12 * 16]),
        ("output_stationary", [16, 64, 1024], 32, [4031, 32768, 65536, 18432 - 32 * 64]),
        ("weight_stationary", [16, 4096, 16], 32, [14079, 65536, 65536, 32768]),
        ("weight_stationary", [1, 3072, 768], 128, [55151, 18432, 2_359_296, 18432]),
        ("weight_stationary", [127, 127, 127], 16, [11071, 129_032, 16129, 129_032]),
        ("weight_stationary", [17, 257, 31], 128, [1196, 4369, 7967, 1581]),
        ("weight_stationary", [1024, 64, 16], 8, [16735, 131_072, 1024, 131_072]),
        ("input_stationary", [16, 4096, 16], 8, [38911, 65536, 131_072, 131_072]),
        ("input_stationary", [1024, 64, 1024], 128, [11247, 65536, 524_288, 1_048_576]),
        ("input_stationary", [127, 127, 127], 32, [3535, 16129, 64516, 64516]),
        ("input_stationary", [64, 64, 64], 8, [5503, 4096, 32768, 32768]),
        ("input_stationary", [1024, 64, 16], 32, [7039, 65536, 32768, 32768]),
    ];

    #[test]
    fn folds_that_load_rows_and_fill_the_full_array_take_the_cycles_of_scale_sim() {
        for (dataflow, shape @ [m, k, n], side, [cycles, inputs, filters, outputs]) in SCALE_SIM {
            let load = if dataflow == "output_stationary" { StationaryLoad::Hidden } else { StationaryLoad::Rows };
            let array = array(dataflow, [side; 2], SerialFolds { load, fill: Fill::FullArray, ..BARE });
            assert_eq!(completed(&array, shape), cycles + 1, "{dataflow} {shape:?}");
            let passes = dataflow::of(&array).passes(&array, &TileWork::unhindered(m, k, n, 1));
            let words = [m * k * passes.activation_reads, k * n * passes.weight_reads, m * n * passes.sum_writes];
            assert_eq!(words, [inputs, filters, outputs], "{dataflow} {shape:?}");
        }
    }

    #[test]
    fn a_drain_by_rows_gives_the_published_equation_of_output_stationary_folds() {
        // Samajdar et al., ISPASS 2020: 2R + C + T - 2; a ragged fold as long as a full one.
        let folds = SerialFolds { fill: Fill::FullArray, drain: Drain::Rows, ..BARE };
        let array = array("output_stationary", [8, 4], folds);
        assert_eq!(completed(&array, [17, 20, 5]), 3 * 2 * (2 * 8 + 4 + 20 - 2));
    }

    #[test]
    fn folds_that_fill_what_they_use_and_pay_for_a_corner_take_the_cycles_of_stonne() {
        // STONNE (commit 22634b8), OS_MESH with TPU_OS_DENSE: m, k, n, side of the mesh, total cycles.
        for (shape, side, cycles) in [
            ([16, 4096, 16], 16, 4131),
            ([1, 768, 768], 16, 37776),
            ([1, 768, 3072], 32, 77088),
            ([100, 77, 50], 8, 8630),
            ([127, 127, 127], 32, 3096),
            ([127, 127, 127], 8, 37344),
            ([33, 65, 129], 16, 2509),
            ([17, 257, 31], 32, 308),
            ([17, 257, 31], 8, 3277),
            ([16, 64, 1024], 8, 21248),
            ([1, 64, 64], 16, 332),
            ([8, 8, 8], 16, 27),
        ] {
            let folds = SerialFolds { fill: Fill::Used, overhead: Cycles(4), corner: Cycles(1), ..BARE };
            assert_eq!(completed(&array("output_stationary", [side; 2], folds), shape), cycles, "{shape:?} on {side}");
        }
    }

    #[test]
    fn folds_of_nothing_but_their_streams_take_the_cycles_of_maestro() {
        // MAESTRO (commit 4eb08d1), unconstrained interfaces: mapping, m, k, n, side, runtime.
        for (dataflow, shape, side, cycles) in [
            ("weight_stationary", [8, 8, 8], 128, 8),
            ("weight_stationary", [16, 4096, 16], 8, 16384),
            ("weight_stationary", [16, 4096, 16], 32, 2048),
            ("output_stationary", [16, 4096, 16], 16, 4096),
            ("output_stationary", [16, 4096, 16], 128, 4096),
            ("output_stationary", [1, 5120, 1280], 8, 819_200),
            ("output_stationary", [1, 5120, 1280], 128, 51200),
        ] {
            assert_eq!(completed(&array(dataflow, [side; 2], BARE), shape), cycles, "{dataflow} {shape:?} on {side}");
        }
    }

    #[test]
    fn operands_of_a_serial_fold_are_released_when_the_last_step_has_entered() {
        let folds = SerialFolds { load: StationaryLoad::Rows, fill: Fill::Used, overhead: Cycles(7), ..BARE };
        let array = array("weight_stationary", [8, 8], folds);
        let tile = TileWork::unhindered(20, 8, 11, 1);
        let phases = dataflow::of(&array).issue(&array, &tile, Cycles(100), &mut ArrayState::default());
        // A full fold, 8 + 20 + 14 + 7, then 8 + 20 of the fold of three columns, and its 8 + 3 - 2 and 7.
        assert_eq!(phases.operands_released, Cycles(100 + 49 + 28));
        assert_eq!(phases.complete, Cycles(100 + 49 + 28 + 9 + 7));
    }

    #[test]
    fn a_narrow_port_takes_the_time_of_the_bytes_that_pass_it_and_of_no_others() {
        // A byte takes 1000 cycles, so nothing but bytes counts: each operand once for each of its passes, no more and no
        // fewer, also where a tile leaves most of the array without work. INT8 operands, sums of four bytes.
        let slow = || Some(Port { bytes_per_cycle: Rate::try_new(1, 1000).unwrap(), sharers: 1 });
        let [eights, none] = [8, 0].map(|bits| Ports { activation_bits: bits, weight_bits: bits, ..Ports::UNHINDERED });
        let operands = Ports { operands: slow(), ..eights };
        let sums = Ports { sum_bits: 32, sums_out: slow(), ..none };
        for name in ["weight_stationary", "input_stationary", "output_stationary"] {
            let load = if name == "output_stationary" { StationaryLoad::Hidden } else { StationaryLoad::Rows };
            let array = array(name, [16, 8], SerialFolds { load, drain: Drain::Rows, ..BARE });
            for [m, k, n] in [[1, 1, 1], [3, 16, 8], [16, 32, 24], [5, 17, 9], [40, 100, 33], [129, 7, 3]] {
                for lanes in [1, 4] {
                    let tile = TileWork::unhindered(m, k, n, lanes);
                    let cycles = |ports| dataflow::of(&array).steady_cycles(&array, &TileWork { ports, ..tile });
                    let passes = dataflow::of(&array).passes(&array, &tile);
                    let read = m * k * passes.activation_reads + k * n * passes.weight_reads;
                    let unhindered = cycles(Ports::UNHINDERED);
                    // What is not paced by the operands is the drain, a cycle for each row of a fold.
                    let folds = dataflow::of(&array).folds(&array, &tile);
                    let drains = if name == "output_stationary" { 16 * folds } else { 0 };
                    assert_eq!(cycles(operands), 1000 * read + drains, "{name} {m}x{k}x{n}, {lanes} lanes");
                    let written = 4 * m * n * passes.sum_writes;
                    let streams_and_drains = cycles(sums) - 1000 * written;
                    assert!(streams_and_drains <= unhindered, "{name} {m}x{k}x{n}, {lanes} lanes");
                }
            }
        }
    }

    #[test]
    fn rows_that_do_not_exist_take_no_port_time() {
        // 16 x 128 weights in an array of 128 rows: 2048 bytes pass a port of 64 bytes a cycle in 32 cycles, behind the 128
        // of the shift chain. At 8 bytes a cycle they take 256.
        let port = |bytes| Some(Port { bytes_per_cycle: Rate::whole(bytes).unwrap(), sharers: 1 });
        let array = array("weight_stationary", [128, 128], SerialFolds { load: StationaryLoad::Rows, ..BARE });
        let cycles = |bytes| {
            let ports = Ports { activation_bits: 8, weight_bits: 8, operands: port(bytes), ..Ports::UNHINDERED };
            let tile = TileWork { ports, ..TileWork::unhindered(64, 16, 1024, 1) };
            dataflow::of(&array).steady_cycles(&array, &tile)
        };
        assert_eq!(cycles(128), 8 * (128 + 64));
        assert_eq!(cycles(64), 8 * (128 + 64));
        assert_eq!(cycles(8), 8 * (256 + 16 * 64 / 8));
    }
}
