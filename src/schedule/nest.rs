//! Nests: which operations share one walk over a tile grid, on which units, through which buffers.
//!
//! A nest is at most one matrix product and the chain of vector operations that follows each of its output tiles, or a
//! chain of vector operations alone. It is a few hundred bytes whatever the number of its tiles.

use crate::hardware::matrix_unit::MatrixUnitId;
use crate::hardware::memory::{MemoryId, Requester};
use crate::hardware::npu::Npu;
use crate::hardware::vector_unit::{VectorFunction, VectorUnitId};
use crate::program::op::OpId;
use crate::program::tensor::TensorId;
use crate::schedule::accumulation::Accumulator;
use crate::schedule::counter::{CounterId, Wait};
use crate::schedule::grid::{Axis, AxisSet, BatchDependence, Grid, Tile};
use crate::schedule::spill::Spilling;
use crate::schedule::team::{LaneId, TeamId, TeamSplit};
use crate::shape::{BlockRuns, MatrixShape, Span};
use crate::units::{Bytes, Cycles};
use crate::workload::batching::BatchAxis;
use crate::workload::convolution::ConvolutionWindow;

/// A nest.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// Lane whose queues it goes through.
    pub lane: LaneId,
    /// Tile grid.
    pub grid: Grid,
    /// Where the batches of its outputs lie.
    pub output_batches: BatchStride,
    /// A product over the same outputs that runs before the first block of k of each output tile, on the same unit; its
    /// sums stay in the accumulators, where the matrix product adds to them.
    pub prologue: Option<MatrixWork>,
    /// The matrix product, if any.
    pub matrix: Option<MatrixWork>,
    /// The vector chain, if any.
    pub vector: Option<VectorWork>,
    /// Whether its commands alternate with those of the next nest, row block by row block: they share a ring.
    pub leads_next: bool,
    /// How the sums of the product leave the accumulators and come back; `None` where they have to stay until they are final.
    pub spilling: Option<Spilling>,
    /// Operands that come from off-chip or shared memory.
    pub loads: Vec<Load>,
    /// Tensors that leave the nest.
    pub outputs: Vec<Output>,
    /// Conditions before anything is written into space that earlier tensors occupied.
    pub fill_waits: Vec<Wait>,
    /// Conditions before the first tile of each load is asked for.
    pub load_waits: Vec<Wait>,
    /// Counts output tiles with final partial sums.
    pub tiles_computed: CounterId,
    /// Counts output tiles that the vector chain has written.
    pub tiles_finished: CounterId,
    /// Becomes 1 with the last compute command.
    pub done: CounterId,
}

/// How the rows and columns of a tensor follow the axes of the grid; an axis that does not follow is covered whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileMap {
    /// Axis that the tensor's rows follow.
    pub rows: Option<Axis>,
    /// Axis that the tensor's columns follow.
    pub columns: Option<Axis>,
    /// Which indices of that axis make up one column: several for the scales of blocks.
    pub blocks: BlockRuns,
    /// Where the part of a batch lies.
    pub batch: BatchStride,
    /// The window of a convolution, where the rows are the pixels that it moves over.
    pub window: Option<ConvolutionWindow>,
    /// Whether a tile of all output pixels takes every row of the images, those that no window covers too.
    pub takes_whole_images: bool,
}

/// How far the part of a tensor that a batch uses lies from that of the one before. With a stride along an axis that
/// follows none of the grid, a batch covers one stride of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStride {
    /// In rows.
    pub rows: u64,
    /// In columns, or in indices where several make a column.
    pub columns: u64,
    /// How many neighbouring batches use the same part.
    pub sharing: u64,
}

impl BatchStride {
    /// All batches use the same part.
    pub const NONE: BatchStride = BatchStride { rows: 0, columns: 0, sharing: 1 };

    /// Batches of shape `one` that lie along `axis`, each used by `sharing` neighbours.
    pub const fn new(axis: BatchAxis, one: MatrixShape, sharing: u64) -> BatchStride {
        match axis {
            BatchAxis::Rows => BatchStride { rows: one.rows, columns: 0, sharing },
            BatchAxis::Columns => BatchStride { rows: 0, columns: one.columns, sharing },
        }
    }

    const fn dependence(self) -> BatchDependence {
        match (self.rows + self.columns, self.sharing) {
            (0, _) => BatchDependence::None,
            (_, 1) => BatchDependence::Each,
            (_, _) => BatchDependence::Group,
        }
    }
}

impl TileMap {
    /// Rows follow m, columns follow n.
    pub const OUTPUT: TileMap = TileMap::new(Some(Axis::M), Some(Axis::N));
    /// Rows follow m, columns follow k.
    pub const LEFT: TileMap = TileMap::new(Some(Axis::M), Some(Axis::K));
    /// Rows follow k, columns follow n.
    pub const RIGHT: TileMap = TileMap::new(Some(Axis::K), Some(Axis::N));
    /// Rows follow n, columns follow k.
    pub const RIGHT_BY_COLUMNS: TileMap = TileMap::new(Some(Axis::N), Some(Axis::K));
    /// One value per row of the output.
    pub const PER_ROW: TileMap = TileMap::new(Some(Axis::M), None);
    /// One value per column of the output.
    pub const PER_COLUMN: TileMap = TileMap::new(None, Some(Axis::N));
    /// One value per column of the output, one below the other.
    pub const PER_COLUMN_UPRIGHT: TileMap = TileMap::new(Some(Axis::N), None);
    /// The same whole tensor at each tile.
    pub const WHOLE: TileMap = TileMap::new(None, None);

    const fn new(rows: Option<Axis>, columns: Option<Axis>) -> TileMap {
        TileMap {
            rows,
            columns,
            blocks: BlockRuns::SINGLE,
            batch: BatchStride::NONE,
            window: None,
            takes_whole_images: false,
        }
    }

    /// The map of the pixels that a window moves over: their rows follow m through it, and their channels are whole.
    pub const fn of_window(window: ConvolutionWindow) -> TileMap {
        TileMap { window: Some(window), ..TileMap::new(Some(Axis::M), None) }
    }

    /// The same map where a unit starts only with whole images.
    pub const fn with_whole_images(self, takes_whole_images: bool) -> TileMap {
        TileMap { takes_whole_images, ..self }
    }

    /// The same map of batches.
    pub const fn with_batches(self, batch: BatchStride) -> TileMap {
        TileMap { batch, ..self }
    }

    /// The same map for batches of the output: what follows its rows or columns follows their strides as well.
    pub fn in_output(self, output: BatchStride) -> TileMap {
        let rows = if self.rows == Some(Axis::M) { output.rows } else { 0 };
        let columns = if self.columns == Some(Axis::N) { output.columns } else { 0 };
        self.with_batches(BatchStride { rows, columns, sharing: output.sharing })
    }

    /// The map of the scales of an operand's blocks.
    pub const fn of_block_scales(self, blocks: BlockRuns) -> TileMap {
        TileMap { blocks, ..self }
    }

    /// The same map where each tile takes the reduction axis whole.
    pub fn of_whole_depth(self) -> TileMap {
        let but_depth = |axis: Option<Axis>| axis.filter(|axis| *axis != Axis::K);
        TileMap { rows: but_depth(self.rows), columns: but_depth(self.columns), ..self }
    }

    /// Whether the tile is what the grid says, without batches, blocks or a window.
    const fn is_plain(&self) -> bool {
        self.window.is_none() && self.blocks.block() == 1 && self.batch.rows + self.batch.columns == 0
    }

    /// Axes that the tensor's tile depends on.
    pub fn axes(&self) -> AxisSet {
        let axes = match (self.rows, self.columns) {
            (None, None) => AxisSet::NONE,
            (Some(Axis::M), None) => AxisSet::M,
            (None, Some(Axis::N)) | (Some(Axis::N), None) => AxisSet::N,
            (Some(Axis::M), Some(Axis::N)) => AxisSet::MN,
            (Some(Axis::M), Some(Axis::K)) => AxisSet::MK,
            (Some(Axis::K), Some(Axis::N)) | (Some(Axis::N), Some(Axis::K)) => AxisSet::KN,
            (rows, columns) => unreachable!("no operand follows {rows:?} and {columns:?}"),
        };
        axes.with_batch(self.batch.dependence())
    }

    /// Rows and columns of a tensor of `shape` that `tile` covers.
    #[inline]
    pub fn spans(&self, tile: &Tile, shape: MatrixShape) -> (Span, Span) {
        if self.is_plain() {
            let along = |axis: Option<Axis>, extent: u64| match axis {
                None => Span::new(0, extent),
                Some(Axis::M) => tile.m,
                Some(Axis::K) => tile.k,
                Some(Axis::N) => tile.n,
            };
            return (along(self.rows, shape.rows), along(self.columns, shape.columns));
        }
        self.spans_of_batches(tile, shape)
    }

    /// The same with batches, blocks of columns, or a window.
    fn spans_of_batches(&self, tile: &Tile, shape: MatrixShape) -> (Span, Span) {
        let along = |axis: Option<Axis>, extent: u64, stride: u64| match axis {
            None if stride > 0 => Span::new(0, stride),
            None => Span::new(0, extent),
            Some(Axis::M) => tile.m,
            Some(Axis::K) => tile.k,
            Some(Axis::N) => tile.n,
        };
        let BatchStride { rows: row_stride, columns: column_stride, sharing } = self.batch;
        let index = if row_stride + column_stride == 0 { 0 } else { tile.batch / sharing };
        let rows = match &self.window {
            Some(window) if self.takes_whole_images && tile.m.len() == window.output_pixels() => {
                Span::new(0, window.input_pixels())
            }
            Some(window) => window.inputs_of(tile.m),
            None => along(self.rows, shape.rows, row_stride),
        };
        let columns = along(self.columns, shape.columns, column_stride).shifted(index * column_stride);
        let is_whole = self.columns.is_none() && column_stride == 0;
        let blocks = if is_whole { columns } else { self.blocks.blocks_of(columns) };
        (rows.shifted(index * row_stride), blocks)
    }

    /// The most rows that a tile of `grid` covers of a tensor of `shape`.
    pub fn most_rows(&self, grid: &Grid, shape: MatrixShape) -> u64 {
        match &self.window {
            Some(window) if self.takes_whole_images && grid.m.block() >= window.output_pixels() => {
                window.input_pixels()
            }
            Some(window) => window.most_inputs_of_tiles(grid.m.block()),
            None => self.spans(&grid.first_tile(), shape).0.len(),
        }
    }
}

/// The storage of a tensor, as far as counting its bytes needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Rows and columns of the whole tensor.
    pub shape: MatrixShape,
    /// Bits of an element.
    pub element_bits: u64,
    /// Where the tensor is kept while it is in no buffer.
    pub home: MemoryId,
    /// Address of its first byte there.
    pub base: u64,
    /// Each row of a tile is whole atoms of so many bytes.
    pub atom: u64,
    /// Whether neighbouring elements and rows are neighbours in memory too.
    pub layout: Layout,
}

/// How the elements of a tile lie in the memory that gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Rows of the stored matrix, from one column to another.
    Stored,
    /// Each row at a place of its own: for addresses, so many rows of the stored matrix apart.
    ScatteredRows {
        /// At least 2, or 1 where every row is taken.
        spacing: u64,
    },
    /// Each element at a place of its own: for addresses, so many elements apart.
    ScatteredElements {
        /// At least 2.
        spacing: u64,
    },
}

impl Storage {
    /// Bytes of `columns` neighbouring elements, rounded up.
    #[inline]
    pub const fn row_bytes(&self, columns: u64) -> u64 {
        (columns * self.element_bits).div_ceil(8).next_multiple_of(self.atom)
    }

    /// Bytes from one row to the next off the chip.
    #[inline]
    pub const fn pitch(&self) -> u64 {
        self.row_bytes(self.shape.columns)
    }

    /// Bytes of the tile that `map` takes of the tensor at `tile`.
    #[inline]
    pub fn tile_bytes(&self, map: &TileMap, tile: &Tile) -> Bytes {
        let (rows, columns) = map.spans(tile, self.shape);
        Bytes(rows.len() * self.row_bytes(columns.len()))
    }

    /// Bytes of the largest tile that `map` takes of the tensor on `grid`.
    pub fn most_tile_bytes(&self, map: &TileMap, grid: &Grid) -> u64 {
        let (_, columns) = map.spans(&grid.first_tile(), self.shape);
        map.most_rows(grid, self.shape) * self.row_bytes(columns.len())
    }
}

/// A tensor that a unit reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    /// The tensor.
    pub tensor: TensorId,
    /// Its storage.
    pub storage: Storage,
    /// Which part each tile needs.
    pub map: TileMap,
    /// Where it is read.
    pub access: Access,
}

impl Read {
    /// Bytes that an array reads once over `tile`. No line buffer stands before it: of a tensor under a window it reads the
    /// elements of each window.
    pub fn array_bytes(&self, tile: &Tile) -> Bytes {
        match self.map.window {
            None => self.storage.tile_bytes(&self.map, tile),
            Some(_) => Bytes(tile.m.len() * self.storage.row_bytes(self.map.blocks.count(tile.k.len()))),
        }
    }
}

/// Where a tensor is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From a partition, after the load at this position has brought it.
    Loaded(usize),
    /// From resident space, once this counter of its rows is high enough.
    Resident(CounterId),
    /// From a ring of row blocks, once the counter of its rows is high enough.
    Ring {
        /// Counts its final rows.
        rows: CounterId,
        /// Takes the room of the rows that have been read.
        pool: CreditPool,
    },
    /// From the accumulators, after the nest's own product.
    Accumulators,
    /// Written earlier by the same command.
    Internal,
}

/// A tensor that comes from off-chip memory tile by tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The tensor.
    pub tensor: TensorId,
    /// Its storage.
    pub storage: Storage,
    /// Which part each tile needs.
    pub map: TileMap,
    /// Operation that needs it.
    pub op: OpId,
    /// Queue that brings it.
    pub queue: DmaQueue,
    /// Who reads it.
    pub reader: Reader,
    /// Where it goes.
    pub destination: Destination,
    /// Counts arrived tiles, or arrived rows where the destination is resident.
    pub arrived: CounterId,
    /// Rows of the tensor that must be final before they are read, where the run produces it.
    pub produced: Option<CounterId>,
    /// The longest request, where a tile is asked for piece by piece.
    pub longest_request: Option<Bytes>,
    /// Bytes that are fetched with the last tile beyond the tensor's end.
    pub padding: Bytes,
    /// What names the rows that are fetched, where the run makes it.
    pub table: Option<Table>,
}

/// A table of rows to be gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Counts its final rows.
    pub rows: CounterId,
    /// Gathered rows that each of its rows names.
    pub rows_of_each: u64,
}

impl Load {
    /// The walk in which its reader takes its tiles: the product every block of k, a chain whole output tiles.
    pub fn walked(&self, grid: &Grid) -> Grid {
        match self.reader {
            Reader::Matrix => *grid,
            Reader::Vector => grid.of_outputs(),
        }
    }

    /// How often a tile is fetched on `grid`.
    pub fn fetches(&self, grid: &Grid) -> u64 {
        self.walked(grid).fetches(self.map.axes())
    }
}

/// Who reads a loaded tensor and returns its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The matrix unit.
    Matrix,
    /// The vector unit.
    Vector,
}

/// Queues of the DMA engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DmaQueue {
    /// Activations, into the activation partition.
    Activations,
    /// Weights, scales and biases, into the weight partition.
    Weights,
    /// Results, out of the output partition.
    Stores,
}

impl DmaQueue {
    /// This queue, as a memory sees it that arbitrates between queues.
    pub const fn requester(self) -> Requester {
        Requester(match self {
            DmaQueue::Activations => 0,
            DmaQueue::Weights => 1,
            DmaQueue::Stores => 2,
        })
    }
}

/// Where a tensor goes on the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Through a partition, tile by tile.
    Partition(CreditPool),
    /// To stay, whole, until its last reader is done.
    Resident,
    /// Into a ring of row blocks, whose reader gives the room back.
    Ring(CreditPool),
}

/// A credit: bytes of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditPool {
    /// Counts returned bytes.
    pub returned: CounterId,
    /// Bytes of the partition.
    pub capacity: Bytes,
}

/// A matrix product in a nest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixWork {
    /// Team that does it.
    pub team: TeamId,
    /// First unit of the team: the others are equal to it.
    pub unit: MatrixUnitId,
    /// How the team shares each tile.
    pub split: TeamSplit,
    /// Members whose partial sums are in the same memory and share its ports.
    pub sharing_sums: u64,
    /// Conditions before the first tile: another team with some of the same units is done and its sums are read.
    pub unit_waits: [Option<Wait>; 2],
    /// The operation.
    pub op: OpId,
    /// The window of a convolution: kernel, strides and channels, for dataflows that work in its terms.
    pub window: Option<ConvolutionWindow>,
    /// Left and right operand.
    pub operands: [Read; 2],
    /// Block scales of the left and the right operand; beside a gathered right operand the table of its rows.
    pub scales: [Option<Read>; 2],
    /// Whether the rows of the right operand are gathered: they come one by one, and are added one by one.
    pub is_gathered: bool,
    /// What holds the partial sums.
    pub accumulator: Accumulator,
    /// Blocks of k may only be cut at multiples of this: products that are summed as one, and blocks that share a scale.
    pub depth_unit: u64,
    /// Storage of the partial sums.
    pub sums: Storage,
    /// Credit of the accumulators.
    pub accumulators: CreditPool,
    /// Multiply-accumulates of one processing element a cycle.
    pub macs_per_element_per_cycle: u64,
    /// Whether results leave the array while it works on a tile: then no sums wait in the accumulators or in the output
    /// partition for its end.
    pub streams_results: bool,
    /// Single-bit shifts of the sums that an earlier product left, before this one adds to them.
    pub initial_shifts: u32,
}

impl MatrixWork {
    /// Bytes of the accumulators that an output tile takes, over all members of the team. Each reserves as much as the one
    /// with the largest part; along k every member holds sums of the whole tile.
    #[inline]
    pub fn claimed_sum_bytes(&self, tile: &Tile) -> u64 {
        let largest = match self.split.axis {
            None | Some(Axis::K) => *tile,
            Some(Axis::M | Axis::N) => self.split.part(tile, 0).expect("the first member always has a part"),
        };
        self.split.members * self.sums.tile_bytes(&TileMap::OUTPUT, &largest).get()
    }

    /// Bytes of an output tile's partial sums that pass the port of the memory that has most of them to give, when `read`
    /// takes them up and `holders` members hold some along k.
    pub fn most_sum_bytes(&self, read: &Read, tile: &Tile, holders: u64) -> u64 {
        let bytes = |tile: &Tile| read.storage.tile_bytes(&read.map, tile).get();
        match self.split.axis {
            None => bytes(tile),
            Some(Axis::K) => self.sharing_sums.min(holders) * bytes(tile),
            Some(Axis::M | Axis::N) if self.sharing_sums > 1 => bytes(tile),
            Some(Axis::M | Axis::N) => bytes(&self.split.part(tile, 0).expect("the first member always has a part")),
        }
    }
}

/// A vector chain in a nest: operations that run one after the other on each output tile.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorWork {
    /// Unit that does it.
    pub unit: VectorUnitId,
    /// Operations in order, each with the function that it costs.
    pub steps: Vec<VectorStep>,
    /// What the chain reads.
    pub reads: Vec<Read>,
    /// Memory that holds them, partial sums aside.
    pub memory: MemoryId,
    /// Credit of the output partition.
    pub outputs: CreditPool,
}

impl VectorWork {
    /// Cycles from the start of a command to its first result: the unit's, and the extractor's where the chain needs it.
    pub fn latency(&self, npu: &Npu) -> Cycles {
        let unit = npu.vector_unit(self.unit);
        let extracts = self.steps.iter().any(|step| step.functions.contains(&VectorFunction::Extract));
        let extractor = unit.extractor.filter(|_| extracts);
        unit.latency + extractor.map_or(Cycles::ZERO, |extractor| extractor.latency)
    }
}

/// One operation of a vector chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorStep {
    /// The operation.
    pub op: OpId,
    /// What it costs the unit, each once per element that it works on.
    pub functions: &'static [VectorFunction],
    /// Elements of each row that the lanes gather, where these are not all of the tile.
    pub gathered_columns: Option<u64>,
}

impl VectorStep {
    /// Elements of a tile that `function` works on. What is gathered of whole rows is booked with their last tile.
    pub const fn elements(&self, function: VectorFunction, tile: &Tile, is_last_n: bool) -> u64 {
        match self.columns(function) {
            None => tile.m.len() * tile.n.len(),
            Some(columns) if is_last_n => tile.m.len() * columns,
            Some(_) => 0,
        }
    }

    /// Elements of each row that `function` works on, where these are not all of the tile.
    pub const fn columns(&self, function: VectorFunction) -> Option<u64> {
        match function {
            VectorFunction::Gather => self.gathered_columns,
            _ => None,
        }
    }
}

/// A tensor that leaves a nest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// The tensor.
    pub tensor: TensorId,
    /// Its storage.
    pub storage: Storage,
    /// Which part each tile writes. A scale per tensor or row is written with the tile that completes it.
    pub map: TileMap,
    /// Operation that writes it.
    pub op: OpId,
    /// Where it goes.
    pub destination: Destination,
    /// Counts its final rows.
    pub rows: CounterId,
}

impl Nest {
    /// Whether `tile`, with the facts of its step, completes a part of `output`.
    #[inline]
    pub fn completes(&self, output: &Output, is_last_n: bool, is_last: bool) -> bool {
        match (output.map.rows, output.map.columns) {
            (Some(_), Some(_)) => true,
            (Some(_), None) => is_last_n,
            (None, _) => is_last,
        }
    }

    /// The rows and columns of the outputs that `tile` covers, batches included, in place of those within its batch.
    #[inline]
    pub fn output_tile(&self, tile: &Tile) -> Tile {
        let BatchStride { rows, columns, .. } = self.output_batches;
        let (m, n) = (tile.m.shifted(tile.batch * rows), tile.n.shifted(tile.batch * columns));
        Tile { m, n, ..*tile }
    }

    /// The operation whose work dominates the nest, for messages.
    pub fn main_op(&self) -> OpId {
        match (&self.matrix, &self.vector) {
            (Some(matrix), _) => matrix.op,
            (None, Some(vector)) => vector.steps[0].op,
            (None, None) => unreachable!("a nest has a product or a chain"),
        }
    }
}
