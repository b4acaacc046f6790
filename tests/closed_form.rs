//! Bytes by closed form, from shapes, formats, grids and placements alone.
//!
//! A plain triple loop over the blocks of each nest sees when an operand's tile changes; that, times the tile's bytes, is
//! what must have crossed. Nothing of the simulator's command generation is used.

use npusim::hardware::array::{Array, BlockWeights};
use npusim::program::Program;
use npusim::program::channels::ChannelSide;
use npusim::program::op::{Gemm, OpKind, RightLayout, Scale, Scope};
use npusim::program::tensor::{ProgramTensor, TensorId};
use npusim::schedule::Placement;
use npusim::schedule::grid::{Axis, Grid};
use npusim::schedule::nest::Nest;
use npusim::schedule::spill;
use npusim::workload::batching::BatchAxis;
use npusim::workload::convolution::ConvolutionWindow;
use npusim::workload::mapping::LoopOrder;

use crate::anchors::{Finding, Run};
use crate::fixture::{ACCUMULATORS, DRAM, SHARED, SRAM};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    read: u64,
    written: u64,
}

/// Anchor 3: the bytes counted at each memory are those of the operands that cross it.
pub(crate) fn bytes_match(run: &Run) -> Finding {
    let mut expected = [Level::default(); 4];
    let mut pinned = Vec::new();
    for nest in &run.schedule.nests {
        expect_nest(run, nest, &mut pinned, &mut expected);
    }
    let names = [("dram", DRAM), ("sram", SRAM), ("accumulators", ACCUMULATORS), ("shared", SHARED)];
    for ((name, memory), expected) in names.into_iter().zip(expected) {
        let mut counted = Level::default();
        for op in &run.statistics.ops {
            if let Some(traffic) = op.traffic.get(memory.0) {
                counted.read += traffic.read.get();
                counted.written += traffic.written.get();
            }
        }
        if counted != expected {
            return Err(format!("{name}: counted {counted:?}, expected {expected:?}"));
        }
    }
    Ok(())
}

/// The axes that a tensor's rows and columns follow, as positions in (m, k, n), and the columns' indices to one column.
#[derive(Clone, Copy)]
struct Follows {
    axes: [Option<usize>; 2],
    block: u64,
    batches: PerBatch,
    window: Option<ConvolutionWindow>,
}

/// Whether each batch has a part of its own (shared by so many neighbours), and which rows or columns that is where they
/// follow no axis.
#[derive(Clone, Copy)]
enum PerBatch {
    Same,
    Own { sharing: u64, columns: Option<u64> },
}

impl Follows {
    const fn axes(rows: Option<usize>, columns: Option<usize>) -> Follows {
        Follows { axes: [rows, columns], block: 1, batches: PerBatch::Same, window: None }
    }

    /// The same, of which each batch has its own part.
    fn of_each(self, sharing: u64) -> Follows {
        Follows { batches: PerBatch::Own { sharing, columns: None }, ..self }
    }
}

fn expect_nest(run: &Run, nest: &Nest, pinned: &mut Vec<TensorId>, levels: &mut [Level; 4]) {
    let program = &run.program;
    let grid = &nest.grid;
    let array = &run.npu.matrix_units()[0].array;
    // Blocks that the array makes of an axis, as positions in (m, k, n).
    let own_sides = sides(array);
    let mut sides = own_sides;
    sides[1] *= nest.matrix.as_ref().map_or(1, |matrix| matrix.macs_per_element_per_cycle);
    let [left_again, right_again, sums_stay] = reuse(array);
    let written: Vec<TensorId> = ops_of(nest).iter().flat_map(|op| program.op(*op).kind.writes()).collect();
    let sums = nest.matrix.as_ref().map(|matrix| program.op(matrix.op).kind.writes()[0]);
    let parts = Parts::of(nest);
    // Along k each member that has a part of the first block has sums of every output.
    let holders = parts.along_k(spans(grid.k)[0]).len() as u64;
    let mut seen = Vec::new();
    for op in ops_of(nest) {
        let kind = &program.op(op).kind;
        let prologue = nest.prologue.as_ref().filter(|prologue| prologue.op == op);
        let mut sides = sides;
        if let Some(prologue) = prologue {
            sides[1] = own_sides[1] * prologue.macs_per_element_per_cycle;
        }
        if let (OpKind::Gemm(Gemm { right_rows: Some(_), .. }), Array::DotProduct(_)) = (kind, array) {
            // Gathered rows take a step each.
            sides[1] = 1;
        }
        let blocks = |lengths: [u64; 3], axis: usize| lengths[axis].div_ceil(sides[axis]);
        for (tensor, mut follows) in operands(program, nest, kind) {
            if prologue.is_some() {
                // Its depth is not cut: what follows k is there whole with each output tile.
                follows.axes = follows.axes.map(|axis| axis.filter(|axis| *axis != 1));
            }
            if seen.contains(&tensor) {
                continue;
            }
            seen.push(tensor);
            if Some(tensor) == sums {
                // Read once by the chain, from each member of a team that holds some of it.
                levels[2].read += holders * bytes(program.tensor(tensor));
                continue;
            }
            if written.contains(&tensor) {
                continue;
            }
            let placement = run.schedule.placements[tensor.0];
            let stays = pinned.contains(&tensor) || matches!(placement, Some(Placement::Resident | Placement::Ring));
            let is_pinned_here = nest
                .loads
                .iter()
                .any(|load| load.tensor == tensor && load.destination == npusim::schedule::nest::Destination::Resident);
            if is_pinned_here {
                pinned.push(tensor);
            }
            if !stays {
                // A chain takes its operands as output tiles become final, with the last block of k.
                let passes = if matches!(kind, OpKind::Gemm(_)) { 0 } else { grid.k.count() - 1 };
                let fetched = fetched_bytes(grid, passes, program.tensor(tensor), follows);
                levels[home(run, tensor)].read += fetched;
                levels[1].written += fetched;
            }
            // What the unit itself reads on the chip.
            levels[1].read += match kind {
                OpKind::Gemm(gemm) if prologue.is_some() => {
                    let (again, axis) = if is_left(gemm, tensor) { (left_again, 2) } else { (right_again, 0) };
                    let times = |tile| if again { blocks(tile, axis) } else { 1 };
                    let mut read = 0;
                    visit(grid, |_, index, lengths| {
                        if index[1] == 0 {
                            for part in parts.of_tile(lengths) {
                                let bytes = tile_bytes(grid, program.tensor(tensor), follows, index, part);
                                read += bytes * times(part);
                            }
                        }
                    });
                    read
                }
                OpKind::Gemm(gemm) if is_left(gemm, tensor) => {
                    // The array reads the elements of each window; a plain operand is its own window.
                    let follows = match follows.window {
                        None => follows,
                        Some(_) => Follows { block: follows.block, ..Follows::axes(Some(0), Some(1)) },
                    };
                    let times = |part| if left_again { blocks(part, 2) } else { 1 };
                    per_part(grid, parts, program.tensor(tensor), follows, times)
                }
                OpKind::Gemm(_) => {
                    let times = |part| if right_again { blocks(part, 0) } else { 1 };
                    per_part(grid, parts, program.tensor(tensor), follows, times)
                }
                OpKind::Reduce { .. }
                | OpKind::Quantize { .. }
                | OpKind::QuantizeBlocks { .. }
                | OpKind::Dequantize { .. }
                | OpKind::Vector(_)
                | OpKind::Activate { .. }
                | OpKind::ExtractChannels(_)
                | OpKind::ExtractTop(_)
                | OpKind::GatherRows(_)
                | OpKind::Merge(_)
                | OpKind::DivideChannels(_) => per_output_tile(grid, program.tensor(tensor), follows),
            };
        }
        match kind {
            OpKind::Gemm(gemm) => {
                // Each k fold writes the sums, each but the first of an output tile reads them back.
                let fold_count = |length: &u64| if sums_stay { 1 } else { length.div_ceil(sides[1]) };
                let depths = if prologue.is_some() { vec![gemm.shape.k] } else { spans(grid.k) };
                let folds: u64 =
                    depths.iter().map(|block| parts.along_k(*block).iter().map(fold_count).sum::<u64>()).sum();
                let sums = gemm.shape.m * gemm.shape.n * gemm.batching.count * 4;
                levels[2].written += sums * folds;
                // The first fold starts at zero, or at what the product before it left.
                let first = if gemm.initial.is_none() { holders } else { 0 };
                levels[2].read += sums * (folds - first);
                if prologue.is_none() {
                    let (level, waiting) = waiting_sums(run, nest, gemm);
                    for level in [2, level] {
                        levels[level].read += waiting;
                        levels[level].written += waiting;
                    }
                }
            }
            OpKind::Reduce { .. }
            | OpKind::Quantize { .. }
            | OpKind::QuantizeBlocks { .. }
            | OpKind::Dequantize { .. }
            | OpKind::Vector(_)
            | OpKind::Activate { .. }
            | OpKind::ExtractChannels(_)
            | OpKind::ExtractTop(_)
            | OpKind::GatherRows(_)
            | OpKind::Merge(_)
            | OpKind::DivideChannels(_) => {
                for output in kind.writes() {
                    let tensor = program.tensor(output);
                    match run.schedule.placements[output.0] {
                        None => {}
                        Some(Placement::Resident | Placement::Ring) => levels[1].written += bytes(tensor),
                        Some(Placement::Dram { .. } | Placement::Shared) => {
                            levels[1].written += bytes(tensor);
                            levels[1].read += bytes(tensor);
                            levels[home(run, output)].written += bytes(tensor);
                        }
                    }
                }
            }
        }
    }
}

/// The level that keeps a tensor which does not stay in the operand memory.
fn home(run: &Run, tensor: TensorId) -> usize {
    if run.schedule.placements[tensor.0] == Some(Placement::Shared) { 3 } else { 0 }
}

/// What the array works on at once along (m, k, n), one INT8 product an element.
fn sides(array: &Array) -> [u64; 3] {
    match array {
        Array::Systolic(array) => match array.dataflow {
            "weight_stationary" => [1, array.rows, array.columns],
            "input_stationary" => [array.columns, array.rows, 1],
            "output_stationary" => [array.rows, 1, array.columns],
            other => unreachable!("{other} has no closed form here"),
        },
        Array::DotProduct(array) => [array.m, array.k, array.n],
    }
}

/// Whether the left operand is read again for each block of columns, the right one again for each block of rows, and
/// whether sums stay in the array for the whole depth of a tile. What stays in the array is read once.
fn reuse(array: &Array) -> [bool; 3] {
    match array {
        Array::Systolic(array) => match array.dataflow {
            "weight_stationary" => [true, false, false],
            "input_stationary" => [false, true, false],
            "output_stationary" => [true, true, true],
            other => unreachable!("{other} has no closed form here"),
        },
        Array::DotProduct(array) if array.weights == BlockWeights::Streamed => [true, true, true],
        Array::DotProduct(_) => [true, false, false],
    }
}

fn ops_of(nest: &Nest) -> Vec<npusim::program::op::OpId> {
    let chain = nest.vector.iter().flat_map(|vector| vector.steps.iter().map(|step| step.op));
    nest.prologue.iter().chain(&nest.matrix).map(|matrix| matrix.op).chain(chain).collect()
}

fn is_left(gemm: &Gemm, tensor: TensorId) -> bool {
    tensor == gemm.left.codes || gemm.left.blocks.is_some_and(|blocks| tensor == blocks.scales)
}

fn operands(program: &Program, nest: &Nest, kind: &OpKind) -> Vec<(TensorId, Follows)> {
    let (m, k, n) = (Some(0), Some(1), Some(2));
    // Element-wise operands of a batched product have a part for each batch.
    let of_output = |follows: Follows| if nest.matrix.is_some() { follows.of_each(1) } else { follows };
    let by_scope = |scale: &Scale| {
        let follows = match scale.scope {
            Scope::Tensor => Follows::axes(None, None),
            Scope::Row => Follows::axes(m, None),
            Scope::Column => Follows::axes(None, n),
        };
        (scale.tensor, follows)
    };
    match kind {
        OpKind::Gemm(gemm) => {
            let right = match gemm.right_layout {
                RightLayout::KByN => Follows::axes(k, n),
                RightLayout::NByK => Follows::axes(n, k),
            };
            let left = match gemm.window {
                None => Follows::axes(m, k).of_each(1),
                Some(window) => Follows {
                    window: Some(window),
                    batches: PerBatch::Own { sharing: 1, columns: Some(window.channels) },
                    ..Follows::axes(m, None)
                },
            };
            let right = right.of_each(gemm.batching.right_sharing);
            let mut operands: Vec<_> = gemm.right_rows.iter().map(|table| (*table, left)).collect();
            for (operand, follows) in [(gemm.left, left), (gemm.right, right)] {
                operands.push((operand.codes, follows));
                if let Some(blocks) = operand.blocks {
                    operands.push((blocks.scales, Follows { block: blocks.format.block(), ..follows }));
                }
            }
            operands
        }
        OpKind::Reduce { input, .. } | OpKind::Activate { input, .. } => vec![(*input, of_output(Follows::axes(m, n)))],
        OpKind::Vector(vector) => {
            let constants = vector.constants.iter().map(|constant| (*constant, Follows::axes(None, None)));
            let inputs = vector.inputs.iter().map(|input| (*input, of_output(Follows::axes(m, n))));
            inputs.chain(constants).collect()
        }
        OpKind::Quantize { input, scale, .. } | OpKind::QuantizeBlocks { input, tensor_scale: scale, .. } => {
            std::iter::once((*input, of_output(Follows::axes(m, n)))).chain(scale.as_ref().map(by_scope)).collect()
        }
        OpKind::Dequantize { input, left_scale, right_scale, bias, batching, .. } => {
            let mut operands = vec![(*input, of_output(Follows::axes(m, n)))];
            let one = batching.one_output(program.tensor(*input).shape);
            operands.extend([left_scale, right_scale].into_iter().flatten().map(|scale| {
                let (tensor, follows) = by_scope(scale);
                let shape = program.tensor(tensor).shape;
                let upright = scale.scope == Scope::Column && shape.rows > 1;
                let follows = if upright { Follows::axes(n, None) } else { follows };
                let (extent, sharing) = match scale.scope {
                    Scope::Tensor => (1, 1),
                    Scope::Row => (one.rows, 1),
                    Scope::Column => (one.columns, batching.right_sharing),
                };
                (tensor, if shape.elements() > extent { follows.of_each(sharing) } else { follows })
            }));
            let bias_follows = Follows::axes(None, n);
            operands.extend(bias.map(|bias| match batching.output {
                BatchAxis::Rows => (bias, bias_follows),
                BatchAxis::Columns => (bias, bias_follows.of_each(1)),
            }));
            operands
        }
        OpKind::ExtractChannels(extract) => {
            let table = extract.selection.reads().map(|table| (table, Follows::axes(None, None)));
            std::iter::once((extract.input, Follows::axes(m, n))).chain(table).collect()
        }
        OpKind::ExtractTop(top) => vec![(top.input, Follows::axes(m, n))],
        OpKind::GatherRows(gather) => {
            let table = gather.selection.reads().map(|table| (table, Follows::axes(None, None)));
            std::iter::once((gather.input, Follows::axes(m, n))).chain(table).collect()
        }
        OpKind::Merge(merge) => {
            merge.base.into_iter().chain([merge.addend]).map(|tensor| (tensor, Follows::axes(m, n))).collect()
        }
        OpKind::DivideChannels(divide) => {
            let factors = (divide.side == ChannelSide::Activation).then_some((divide.factors, Follows::axes(None, n)));
            std::iter::once((divide.input, Follows::axes(m, n))).chain(factors).collect()
        }
    }
}

fn spans(blocking: npusim::shape::Blocking) -> Vec<u64> {
    let mut left = blocking.extent();
    let mut lengths = Vec::new();
    while left > 0 {
        lengths.push(left.min(blocking.block()));
        left -= lengths[lengths.len() - 1];
    }
    lengths
}

/// Visits every step: block indices and lengths along (m, k, n).
fn visit(grid: &Grid, mut step: impl FnMut(u64, [usize; 3], [u64; 3])) {
    (0..grid.batches.count()).for_each(|batch| visit_batch(grid, |index, lengths| step(batch, index, lengths)));
}

fn visit_batch(grid: &Grid, mut step: impl FnMut([usize; 3], [u64; 3])) {
    let lengths = [spans(grid.m), spans(grid.k), spans(grid.n)];
    let [outer, middle, inner] = axes_of(grid.order);
    for a in 0..lengths[outer].len() {
        for b in 0..lengths[middle].len() {
            for c in 0..lengths[inner].len() {
                let mut index = [0; 3];
                (index[outer], index[middle], index[inner]) = (a, b, c);
                step(index, [0, 1, 2].map(|axis| lengths[axis][index[axis]]));
            }
        }
    }
}

/// The loops of an order as positions in (m, k, n), outermost first: its name says them.
fn axes_of(order: LoopOrder) -> [usize; 3] {
    let position = |letter| "mkn".find(letter).expect("an order is named by its axes");
    let axes: Vec<usize> = order.name().chars().map(position).collect();
    axes.try_into().expect("there are three axes")
}

/// Bytes of partial sums that leave the accumulators between passes along k, and the level where they wait: all of them after
/// each pass but the last, where the tiles that are open at once do not fit.
fn waiting_sums(run: &Run, nest: &Nest, gemm: &Gemm) -> (usize, u64) {
    let (grid, matrix) = (&nest.grid, nest.matrix.as_ref().expect("it is the nest of a product"));
    let inside_k = axes_of(grid.order).into_iter().skip_while(|axis| *axis != 1).skip(1);
    let counts = [grid.m, grid.k, grid.n].map(|axis| spans(axis).len() as u64);
    let open: u64 = inside_k.map(|axis| counts[axis]).product();
    let largest = [grid.m, grid.n].map(|axis| spans(axis)[0]);
    let parts = Parts::of(nest).of_tile([largest[0], 1, largest[1]]);
    let claimed = matrix.split.members * parts[0][0] * parts[0][2] * 4;
    if counts[1] == 1 || open * claimed <= matrix.accumulators.capacity.get() {
        return (0, 0);
    }
    let home = spill::home(nest, grid).expect("sums that do not fit wait somewhere").memory;
    let level = [DRAM, SRAM, ACCUMULATORS, SHARED].iter().position(|memory| *memory == home);
    let sums = gemm.shape.m * gemm.shape.n * gemm.batching.count * 4;
    assert!(run.npu.memory(home).name != "accumulators");
    (level.expect("it is a memory of the test machine"), (counts[1] - 1) * sums)
}

fn tile_bytes(grid: &Grid, tensor: &ProgramTensor, follows: Follows, index: [usize; 3], lengths: [u64; 3]) -> u64 {
    let [rows, columns] = follows.axes;
    let rows = match &follows.window {
        Some(window) => image_rows(window, index[0] as u64 * grid.m.block(), lengths[0]) * window.x.input(),
        None => rows.map_or(tensor.shape.rows, |axis| lengths[axis]),
    };
    let own_columns = match follows.batches {
        PerBatch::Own { columns: Some(columns), .. } => columns.div_ceil(follows.block),
        PerBatch::Own { columns: None, .. } | PerBatch::Same => tensor.shape.columns,
    };
    let columns = columns.map_or(own_columns, |axis| lengths[axis].div_ceil(follows.block));
    rows * (columns * tensor.counted_bits()).div_ceil(8)
}

/// Image rows from the first to the last under the windows of `pixels` neighbouring outputs, padding aside.
fn image_rows(window: &ConvolutionWindow, first: u64, pixels: u64) -> u64 {
    let (width, height) = (window.x.output(), window.y.output());
    let (stride, before) = (window.y.stride() as i64, window.y.padding()[0] as i64);
    let mut touched = Vec::new();
    for output_row in first / width..=(first + pixels - 1) / width {
        let (image, y) = (output_row / height, output_row % height);
        for tap in 0..window.y.reach() {
            let input = y as i64 * stride + tap as i64 - before;
            if (0..window.y.input() as i64).contains(&input) {
                touched.push(image as i64 * window.y.input() as i64 + input);
            }
        }
    }
    (touched[touched.len() - 1] - touched[0] + 1) as u64
}

fn bytes(tensor: &ProgramTensor) -> u64 {
    tensor.shape.rows * (tensor.shape.columns * tensor.counted_bits()).div_ceil(8)
}

/// A tile is fetched whenever it is not the one of the step before, from pass `first` along k on.
fn fetched_bytes(grid: &Grid, first: u64, tensor: &ProgramTensor, follows: Follows) -> u64 {
    let mut last = None;
    let mut sum = 0;
    let follows_m = follows.window.is_some().then_some(0);
    visit(grid, |batch, index, lengths| {
        if (index[1] as u64) < first {
            return;
        }
        let part = match follows.batches {
            PerBatch::Same => 0,
            PerBatch::Own { sharing, .. } => batch / sharing,
        };
        let [rows, columns] = follows.axes;
        let key = (part, [rows.or(follows_m), columns].map(|axis| axis.map(|axis| index[axis])));
        if last != Some(key) {
            sum += tile_bytes(grid, tensor, follows, index, lengths);
            last = Some(key);
        }
    });
    sum
}

/// How the members of a team share each tile: whole quanta of one axis, as evenly as they go.
#[derive(Clone, Copy)]
struct Parts {
    axis: Option<usize>,
    members: u64,
    quantum: u64,
}

impl Parts {
    fn of(nest: &Nest) -> Parts {
        let Some(split) = nest.matrix.map(|matrix| matrix.split) else {
            return Parts { axis: None, members: 1, quantum: 1 };
        };
        let axis = split.axis.map(|axis| match axis {
            Axis::M => 0,
            Axis::K => 1,
            Axis::N => 2,
        });
        Parts { axis, members: split.members, quantum: split.quantum }
    }

    /// Lengths of the parts of so many indices.
    fn of_length(self, length: u64) -> Vec<u64> {
        let most = length.div_ceil(self.quantum).div_ceil(self.members) * self.quantum;
        let mut left = length;
        let mut parts = Vec::new();
        while left > 0 {
            parts.push(left.min(most));
            left -= parts[parts.len() - 1];
        }
        parts
    }

    fn along_k(self, length: u64) -> Vec<u64> {
        if self.axis == Some(1) { self.of_length(length) } else { vec![length] }
    }

    /// The parts of a tile by their lengths along (m, k, n).
    fn of_tile(self, lengths: [u64; 3]) -> Vec<[u64; 3]> {
        let Some(axis) = self.axis else { return vec![lengths] };
        let with = |length| {
            let mut part = lengths;
            part[axis] = length;
            part
        };
        self.of_length(lengths[axis]).into_iter().map(with).collect()
    }
}

fn per_part(
    grid: &Grid,
    parts: Parts,
    tensor: &ProgramTensor,
    follows: Follows,
    times: impl Fn([u64; 3]) -> u64,
) -> u64 {
    let mut sum = 0;
    visit(grid, |_, index, lengths| {
        for part in parts.of_tile(lengths) {
            sum += tile_bytes(grid, tensor, follows, index, part) * times(part);
        }
    });
    sum
}

fn per_output_tile(grid: &Grid, tensor: &ProgramTensor, follows: Follows) -> u64 {
    let mut sum = 0;
    visit(grid, |_, index, lengths| {
        if index[1] == 0 {
            sum += tile_bytes(grid, tensor, follows, index, lengths);
        }
    });
    sum
}
