//! Tilings that are given: whether they can be used, and how those of a schedule are taken over for another scheme.

use std::fmt;

use crate::program::Program;
use crate::program::op::{Op, OpKind};
use crate::schedule::grid::{Axis, Grid};
use crate::schedule::lattice::block_unit;
use crate::schedule::nest::Nest;
use crate::schedule::room::{Buffer, TooSmall, exceeded};
use crate::schedule::spill;
use crate::schedule::{Schedule, ScheduleError};
use crate::shape::Blocking;
use crate::workload::mapping::{FixedTiling, LoopOrder, Mapping, Unusable};

/// Why a given tiling cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableTiling {
    /// A block has no extent, or more than its axis has.
    OutOfRange {
        /// Axis of the block.
        axis: Axis,
        /// Extent of the block.
        block: u64,
        /// Extent of the axis.
        extent: u64,
    },
    /// The axis may not be cut there.
    Cut {
        /// Axis of the block.
        axis: Axis,
        /// Extent of the block.
        block: u64,
        /// What blocks must be multiples of.
        unit: u64,
        /// Extent of the axis.
        extent: u64,
    },
    /// The product has to be walked with k innermost.
    Order {
        /// The order that was given.
        order: LoopOrder,
    },
    /// The tiles of one step exceed a buffer.
    DoesNotFit(TooSmall),
}

impl fmt::Display for UnusableTiling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnusableTiling::OutOfRange { axis, block, extent } => {
                write!(formatter, "{block} is no block of {}; allowed: 1 to {extent}", axis.name())
            }
            UnusableTiling::Cut { axis, block, unit, extent } => {
                write!(
                    formatter,
                    "{} cannot be cut every {block}: what is summed as one, shares a scale or starts a byte spans \
                     {unit}; take ",
                    axis.name()
                )?;
                let below = block / unit * unit;
                if below > 0 {
                    write!(formatter, "{below} or ")?;
                }
                write!(formatter, "{}", block.next_multiple_of(*unit).min(*extent))
            }
            UnusableTiling::Order { order } => write!(
                formatter,
                "its sums have to stay in the accumulators until they are final, but {} has k outside of m or n; allowed: \
                 mnk, nmk",
                order.name()
            ),
            UnusableTiling::DoesNotFit(TooSmall { buffer, needed, available }) => {
                let buffer = buffer.name();
                write!(formatter, "its tiles need {needed} bytes of the {buffer}, which has {available}")
            }
        }
    }
}

impl UnusableTiling {
    /// The buffer that is too small, where that is the reason.
    pub const fn buffer(&self) -> Option<Buffer> {
        match self {
            UnusableTiling::DoesNotFit(too_small) => Some(too_small.buffer),
            UnusableTiling::OutOfRange { .. } | UnusableTiling::Cut { .. } | UnusableTiling::Order { .. } => None,
        }
    }
}

/// Checks that every given tiling is for a product of `program`, unless unusable ones are to be searched.
///
/// # Errors
/// [`ScheduleError::NoSuchProduct`].
pub fn check_products(program: &Program, mapping: &Mapping) -> Result<(), ScheduleError> {
    let products = || program.ops.iter().filter(|op| matches!(op.kind, OpKind::Gemm(_)));
    let named = |op: &Op| (program.layer(op.layer).name.as_str(), op.path.name());
    let is_missing =
        |tiling: &&FixedTiling| !products().any(|op| named(op) == (tiling.layer.as_str(), tiling.path.as_str()));
    match mapping.tilings.iter().find(is_missing) {
        Some(tiling) if mapping.unusable == Unusable::Refused => {
            let known: Vec<String> = products().map(named).map(|(layer, path)| format!("{path} of {layer}")).collect();
            let known = known.join(", ");
            Err(ScheduleError::NoSuchProduct { layer: tiling.layer.clone(), path: tiling.path.clone(), known })
        }
        Some(_) | None => Ok(()),
    }
}

/// The grids of `nest` that `tiling` allows: one, or one for each loop order with k innermost.
///
/// # Errors
/// [`UnusableTiling`].
pub fn grids(nest: &Nest, tiling: &FixedTiling) -> Result<Vec<Grid>, UnusableTiling> {
    let blocking = |axis: Axis, block: u64| {
        let extent = nest.grid.blocking(axis).extent();
        let unit = block_unit(nest, axis);
        if block == 0 || block > extent {
            return Err(UnusableTiling::OutOfRange { axis, block, extent });
        }
        if block < extent && !block.is_multiple_of(unit) {
            return Err(UnusableTiling::Cut { axis, block, unit, extent });
        }
        Ok(Blocking::new(extent, block))
    };
    let (m, k, n) = (blocking(Axis::M, tiling.m)?, blocking(Axis::K, tiling.k)?, blocking(Axis::N, tiling.n)?);
    let orders = match tiling.order {
        Some(order) if !spill::allows(nest, order) => return Err(UnusableTiling::Order { order }),
        Some(order) => vec![order],
        None => LoopOrder::WITH_K_INNERMOST.into_iter().filter(|order| spill::allows(nest, *order)).collect(),
    };
    let grid = |order| Grid { batches: nest.grid.batches, m, k, n, order };
    let grids: Vec<Grid> = orders.into_iter().map(grid).collect();
    match exceeded(nest, &grids[0]) {
        Some(too_small) => Err(UnusableTiling::DoesNotFit(too_small)),
        None => Ok(grids),
    }
}

/// The tilings of a schedule, to be fixed for the program of another scheme, so that a comparison of the two does not
/// compare the luck of two searches.
///
/// A product is known by its layer and path. Where the other program has no such product, nothing is fixed; where it has
/// one whose axes, formats or buffers do not allow the tiling, that product is searched, and the schedule says so
/// ([`ChosenBy::SearchedInstead`](crate::schedule::tiling::ChosenBy)).
pub fn mapping_of(schedule: &Schedule, program: &Program) -> Mapping {
    let mut tilings: Vec<FixedTiling> = Vec::new();
    for nest in &schedule.nests {
        let Some(matrix) = &nest.matrix else { continue };
        let op = program.op(matrix.op);
        let (layer, path) = (&program.layer(op.layer).name, op.path.name());
        // Of several products on one path the first one stands for all.
        if tilings.iter().any(|tiling| tiling.layer == *layer && tiling.path == path) {
            continue;
        }
        let Grid { m, k, n, order, .. } = nest.grid;
        tilings.push(FixedTiling {
            layer: layer.clone(),
            path: path.to_owned(),
            m: m.block(),
            k: k.block(),
            n: n.block(),
            order: Some(order),
        });
    }
    let Schedule { objective, split, intermediates, .. } = *schedule;
    Mapping { objective, tilings, unusable: Unusable::Searched, split, intermediates }
}
