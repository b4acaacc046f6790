//! Rings of row blocks: an intermediate that does not fit the chip as a whole, but passes from one nest to the next in the
//! order of its rows.
//!
//! The producer claims room for each of its tiles, the only reader gives it back row by row. That needs both nests under way
//! at once, while each queue is in order: so the two are *interleaved*, in every queue by the same rule. The commands of a row
//! block of the producer come first, then those commands of the reader that need no rows beyond it. This is one walk over
//! row blocks, to which the argument about deadlock applies as to any nest, if the operands of one step of both fit together.
//!
//! A ring forms where all of this holds; otherwise the intermediate goes whole through memory:
//! - the tensor is written by the vector chain of one nest and else read by the next one alone, a vector chain of the same lane;
//! - the reader walks its rows once, and of all else that the producer writes it needs no more than the same rows;
//! - the producer walks rows outermost, over one batch, and its results do not stream;
//! - what stays on the chip during either nest leaves room for at least one row block, and nothing that the reader fills waits
//!   for the end of the producer;
//! - what the producer then reads again is less than what the ring saves.

use std::collections::BTreeMap;

use crate::hardware::npu::Npu;
use crate::hardware::requests::ProductOrder;
use crate::program::Program;
use crate::program::op::OpKind;
use crate::program::tensor::TensorId;
use crate::program::uses::TensorUses;
use crate::schedule::binding::Binding;
use crate::schedule::estimate::{load_bytes, total_tile_bytes};
use crate::schedule::grid::{Axis, AxisSet, Grid};
use crate::schedule::grouping::Group;
use crate::schedule::nest::{BatchStride, Destination, Nest, Output, Reader, TileMap};
use crate::schedule::operands::vector_operands;
use crate::schedule::residency::Residents;
use crate::schedule::room::{Buffer, needed};
use crate::shape::Blocking;
use crate::units::Bytes;
use crate::workload::mapping::{Intermediates, LoopOrder, Mapping};

/// A ring that may form between a group and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The intermediate.
    pub tensor: TensorId,
    /// Resident bytes that no tensor has while either group runs.
    pub room: Bytes,
}

/// What the search for rings looks at.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The program.
    pub program: &'a Program,
    /// The accelerator.
    pub npu: &'a Npu,
    /// Its groups.
    pub groups: &'a [Group],
    /// Which group uses which tensor.
    pub uses: &'a TensorUses,
    /// Who runs what.
    pub binding: &'a Binding,
    /// What stays near.
    pub residents: &'a Residents,
    /// What stays in the shared memory.
    pub shared: &'a Residents,
}

/// The rings that may form, by their producers.
pub fn candidates(of: &Surroundings<'_>, mapping: &Mapping) -> BTreeMap<usize, Candidate> {
    if mapping.intermediates == Intermediates::Whole || of.npu.dma().requests.products == ProductOrder::Together {
        return BTreeMap::new();
    }
    let last = of.groups.len().saturating_sub(1);
    (0..last).filter_map(|producer| Some((producer, candidate(of, mapping, producer)?))).collect()
}

fn candidate(of: &Surroundings<'_>, mapping: &Mapping, producer: usize) -> Option<Candidate> {
    let Surroundings { program, groups, uses, binding, residents, shared, .. } = *of;
    let (from, to) = (&groups[producer], &groups[producer + 1]);
    if to.matrix.is_some() || binding.lane_of[producer] != binding.lane_of[producer + 1] {
        return None;
    }
    if let Some(op) = from.matrix {
        let OpKind::Gemm(gemm) = &program.op(op).kind else { return None };
        let unit = binding.teams[binding.team_of[producer]?.0].units[0];
        let layer = &program.layer(program.op(op).layer).name;
        let given = mapping.tiling(layer, program.op(op).path.name()).and_then(|tiling| tiling.order);
        let walks_rows = given.is_none_or(|order| order == LoopOrder::MNK);
        if gemm.batching.count > 1 || of.npu.matrix_unit(unit).array.streams_results() || !walks_rows {
            return None;
        }
    }
    let read: Vec<(TensorId, TileMap)> = to
        .chain
        .iter()
        .flat_map(|op| vector_operands(program, &program.op(*op).kind, BatchStride::NONE))
        .map(|(tensor, map, _)| (tensor, map))
        .filter(|(tensor, _)| uses.writer(*tensor) == Some(producer))
        .collect();
    if read.iter().any(|(_, map)| map.rows != Some(Axis::M)) {
        return None;
    }
    let walked = program.op(to.chain[0]).kind.walked_input()?;
    let shape = program.tensor(walked).shape;
    let by_chain = |tensor: TensorId| from.chain.iter().any(|op| program.op(*op).kind.writes().contains(&tensor));
    let passes = |tensor: TensorId| {
        read.iter().filter(|(other, _)| *other == tensor).all(|(_, map)| map.columns == Some(Axis::N))
            // What the producer itself reads of it, it reads from its own lanes.
            && uses.readers(tensor).iter().all(|reader| [producer, producer + 1].contains(reader))
            && by_chain(tensor)
            && !residents.contains(tensor)
            && program.tensor(tensor).shape == shape
    };
    let tensors = read.iter().map(|(tensor, _)| *tensor).filter(|tensor| passes(*tensor));
    let tensor = tensors.max_by_key(|tensor| (program.tensor(*tensor).bytes(), std::cmp::Reverse(*tensor)))?;
    // What the reader fills must not wait for what ends with the producer.
    shared.free_beside(producer, producer + 1)?;
    let room = residents.free_beside(producer, producer + 1)?;
    Some(Candidate { tensor, room })
}

/// The tensor that leaves `nest` through a ring.
pub fn output(nest: &Nest) -> Option<&Output> {
    nest.outputs.iter().find(|output| matches!(output.destination, Destination::Ring(_)))
}

/// Whether `producer`, walked by rows for the sake of the ring, reads no more bytes again than the ring saves: the tensor
/// out and in.
pub fn pays(producer: &Nest) -> bool {
    let grid = &producer.grid;
    let once = |axes: AxisSet| grid.fetches(axes) / grid.distinct(axes);
    let operands = producer.loads.iter().filter(|load| load.reader == Reader::Matrix);
    let again = operands.map(|load| {
        let bytes = load_bytes(load, grid);
        bytes - bytes / once(load.map.axes()).max(1)
    });
    let saved = output(producer).map_or(0, |output| 2 * total_tile_bytes(&output.storage, &output.map, grid));
    again.sum::<u64>() <= saved
}

/// The grid of the reader: the largest even part of the producer's row blocks with which the operands of both fit.
pub fn grid_beside(producer: &Nest, reader: &Nest) -> Option<Grid> {
    let rows = producer.grid.m;
    let fits = |grid: &Grid| {
        let is_within = |buffer| {
            let ours = needed(reader, grid, buffer);
            let theirs = needed(producer, &producer.grid, buffer);
            let bytes = ours.map_or(0, |(bytes, _)| bytes) + theirs.map_or(0, |(bytes, _)| bytes);
            ours.or(theirs).is_none_or(|(_, capacity)| bytes <= capacity.get())
        };
        let leaves = needed(reader, grid, Buffer::Outputs).is_none_or(|(bytes, capacity)| bytes <= capacity.get());
        is_within(Buffer::Activations) && is_within(Buffer::Weights) && leaves
    };
    let parts = (1..=rows.block()).filter(|parts| rows.block().is_multiple_of(*parts));
    let grids = parts.map(|parts| Grid { m: Blocking::new(rows.extent(), rows.block() / parts), ..reader.grid });
    grids.into_iter().find(fits)
}
