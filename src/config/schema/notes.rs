//! What each key means: a sentence with its unit, and its range or names. Paths are those of the file; `[]` is any item
//! of a list.

use crate::hardware::vector_unit::VectorFunction;
use crate::numerics::formats;
use crate::program::op::Path;
use crate::workload::batching::BatchAxis;
use crate::workload::layer::{ActivationFunction, LayerRole};
use crate::workload::mapping::{Intermediates, LoopOrder, Objective, Split};
use crate::{dataflow, memory};

/// What is to be known of one key.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) limit: Limit,
}

/// What a value is held to, beside its kind.
#[derive(Clone, Debug)]
pub(super) enum Limit {
    /// Nothing that can be said in a schema.
    None,
    /// A whole number between these, both included.
    Whole(u64, u64),
    /// A decimal number between these, both included.
    Decimal(f64, f64),
    /// One of these names.
    Names(Vec<&'static str>),
    /// The name of something may stand in the place of the mapping.
    OrName,
}

pub(super) fn note(path: &str, text: &str) -> Note {
    Note { path: path.to_owned(), text: text.to_owned(), limit: Limit::None }
}

pub(super) fn whole(path: &str, least: u64, most: u64, text: &str) -> Note {
    Note { limit: Limit::Whole(least, most), ..note(path, text) }
}

pub(super) fn decimal(path: &str, least: f64, most: f64, text: &str) -> Note {
    Note { limit: Limit::Decimal(least, most), ..note(path, text) }
}

pub(super) fn names(path: &str, names: impl IntoIterator<Item = &'static str>, text: &str) -> Note {
    Note { limit: Limit::Names(names.into_iter().collect()), ..note(path, text) }
}

const SIDE: u64 = 1 << 16;
const CYCLES: u64 = 1_000_000;
const CAPACITY: &str = "such as 512 KiB, up to 1 TiB.";
const RATE: &str = "a number or a fraction, from 1/1024 to 1048576.";

/// Keys of hardware files.
pub(super) fn hardware() -> Vec<Note> {
    let operands = || formats::ALL.iter().filter(|it| !matches!(it.kind(), formats::ElementKind::Scale { .. }));
    let systolic = dataflow::ALL.iter().filter(|dataflow| dataflow.is_systolic()).map(|dataflow| dataflow.name());
    let mut notes = vec![
        note("name", "Name of the accelerator in reports."),
        note("clock", "The one clock, such as 1 GHz, from 1 MHz to 100 GHz; all rates are per cycle of it."),
        decimal("voltage", 0.1, 5.0, "Supply voltage of the chip, in volts, if it is not that of the energy table."),
        note("matrix_units", "The units that multiply matrices; at least one."),
        note("vector_units", "The units that work on vectors; at least one."),
        note("memories", "The memories: one off the chip, the others on it."),
        note("dma", "The engine that moves data between the off-chip memory and the chip, or a list of engines."),
        Note {
            limit: Limit::OrName,
            ..note(
                "energy",
                "The energy table: a path from the folder of this file, the name of a built-in table, or the table itself.",
            )
        },
        note("matrix_units[].name", "Unique name of the unit."),
        note(
            "matrix_units[].systolic_array",
            "A grid of elements that hand operands to their neighbours; or give dot_product_array.",
        ),
        note("matrix_units[].dot_product_array", "An array of dot products (tensor core); or give systolic_array."),
        note("matrix_units[].formats", "The pairs of number formats that the unit multiplies; at least one."),
        note("matrix_units[].operand_memory", "Name of the partitioned on-chip memory that operands come from."),
        note("matrix_units[].accumulator_memory", "Name of the on-chip memory without partitions that holds the sums."),
        whole(
            "matrix_units[].accumulator_shift_cycles",
            0,
            CYCLES,
            "Time of shifting held sums, in cycles, for schemes that merge in the accumulators.",
        ),
        whole("matrix_units[].launch_cycles", 0, CYCLES, "Fixed time to start a command, in cycles."),
        whole("matrix_units[].systolic_array.rows", 1, SIDE, "Rows of the array, in elements."),
        whole("matrix_units[].systolic_array.columns", 1, SIDE, "Columns of the array, in elements."),
        names("matrix_units[].systolic_array.dataflow", systolic, "What stays in the array while the rest streams by."),
        note(
            "matrix_units[].systolic_array.double_buffered",
            "Whether the next stationary operand is loaded while this one is in use.",
        ),
        note(
            "matrix_units[].systolic_array.serial_folds",
            "What each fold pays where nothing overlaps; only with double_buffered: false.",
        ),
        names(
            "matrix_units[].systolic_array.serial_folds.load",
            ["rows", "hidden"],
            "What loading the stationary operand costs: a cycle for each row, or nothing.",
        ),
        names(
            "matrix_units[].systolic_array.serial_folds.fill",
            ["full_array", "used", "none"],
            "What filling the pipeline costs: the whole array, the used part, or nothing.",
        ),
        names(
            "matrix_units[].systolic_array.serial_folds.drain",
            ["rows", "overlapped"],
            "What draining held sums costs: a cycle for each row, or nothing.",
        ),
        whole(
            "matrix_units[].systolic_array.serial_folds.overhead_cycles",
            0,
            1024,
            "Fixed pause after each fold, in cycles; 0 if left out.",
        ),
        whole(
            "matrix_units[].systolic_array.serial_folds.corner_cycles",
            0,
            1024,
            "Extra time where both operands are handed on, in cycles; 0 if left out.",
        ),
        whole("matrix_units[].dot_product_array.m", 1, SIDE, "Rows of outputs computed at once."),
        whole("matrix_units[].dot_product_array.n", 1, SIDE, "Columns of outputs computed at once."),
        whole("matrix_units[].dot_product_array.k", 1, SIDE, "Products that are added for each output in a cycle."),
        whole("matrix_units[].dot_product_array.pipeline_cycles", 0, CYCLES, "Depth of the pipeline, in cycles."),
        names(
            "matrix_units[].dot_product_array.weights",
            ["streamed", "held_double_buffered", "held_single_buffered"],
            "Whether weights come with the activations or are held in the array; streamed if left out.",
        ),
        names("matrix_units[].formats[].activation", operands().map(|it| it.name()), "Number format of activations."),
        names("matrix_units[].formats[].weight", operands().map(|it| it.name()), "Number format of weights."),
        note("matrix_units[].formats[].accumulator", "Number format of the sums, wide enough for the products."),
        note(
            "matrix_units[].formats[].accumulation",
            "Order in which float sums are rounded: sequential, block or exact, or a mapping.",
        ),
        note("matrix_units[].formats[].accumulation.order", "Order without parameters: sequential, block or exact."),
        note("matrix_units[].formats[].accumulation.fused", "Products that are added before one rounding."),
        note(
            "matrix_units[].formats[].accumulation.truncated",
            "Products aligned to the largest one and cut off below.",
        ),
        note("matrix_units[].formats[].accumulation.truncated.n", "Products that are aligned together."),
        note("matrix_units[].formats[].accumulation.truncated.bits", "Fraction bits kept after alignment."),
        note(
            "matrix_units[].formats[].accumulation.truncated.group",
            "Products that are summed exactly before the alignment.",
        ),
        note("matrix_units[].formats[].accumulation.truncated.result_bits", "Fraction bits of the result."),
        note(
            "matrix_units[].formats[].accumulator_bits",
            "Width of integer sums in bits, if narrower than their format.",
        ),
        note(
            "matrix_units[].formats[].overflow",
            "What integer sums do beyond their width: wrap, saturate_each_step or saturate_at_end, or a mapping.",
        ),
        note(
            "matrix_units[].formats[].overflow.rule",
            "Rule without parameters: wrap, saturate_each_step or saturate_at_end.",
        ),
        note("matrix_units[].formats[].overflow.saturate_every", "Sums are clipped after this many products."),
        whole(
            "matrix_units[].formats[].macs_per_element_per_cycle",
            1,
            64,
            "Multiply-accumulates of one element in a cycle; 1 if left out.",
        ),
        note("vector_units[].name", "Unique name of the unit."),
        note("vector_units[].memory", "Name of the partitioned on-chip memory that it works on."),
        note("vector_units[].elements_per_cycle", "Rate of each function, in elements a cycle."),
        whole("vector_units[].latency_cycles", 0, CYCLES, "Depth of the pipeline, in cycles."),
        note(
            "vector_units[].extractor",
            "A part beside the lanes that takes outlier channels out; for `mover: extractor`.",
        ),
        note(
            "vector_units[].extractor.elements_per_cycle",
            &format!("Elements that pass it, taken out or not, in elements a cycle: {RATE}"),
        ),
        note("vector_units[].extractor.table_bytes", "Room for the indices of the channels of a layer."),
        whole("vector_units[].extractor.latency_cycles", 0, CYCLES, "Time that an element is in it, in cycles."),
        note("memories[].name", "Unique name of the memory."),
        note("memories[].dram", "An off-chip memory; or give sram."),
        note("memories[].sram", "An on-chip memory; or give dram."),
        names("memories[].dram.model", memory::ALL.iter().map(|model| model.name()), "Timing model."),
        whole("memories[].dram.latency_cycles", 0, CYCLES, "Time from a request to its data, in cycles."),
        note(
            "memories[].dram.bytes_per_cycle",
            &format!("Bandwidth shared by reads and writes, in bytes a cycle: {RATE}"),
        ),
        note("memories[].dram.duplex", "Separate channels for reads and writes, in the place of bytes_per_cycle."),
        note("memories[].dram.duplex.read_bytes_per_cycle", &format!("Bandwidth of reads, in bytes a cycle: {RATE}")),
        note("memories[].dram.duplex.write_bytes_per_cycle", &format!("Bandwidth of writes, in bytes a cycle: {RATE}")),
        whole(
            "memories[].dram.duplex.write_response_latency_cycles",
            0,
            CYCLES,
            "Time from the end of a write to its acknowledgement, in cycles; latency_cycles if left out.",
        ),
        whole(
            "memories[].dram.quantum_bytes",
            1,
            1 << 20,
            "Bytes of one turn of the arbiter; only with model: bandwidth_limited.",
        ),
        note("memories[].dram.weights", "Turns of each queue in a round; only with model: bandwidth_limited."),
        whole("memories[].dram.weights.activations", 1, 1024, "Turns of activation loads in a round; 1 if left out."),
        whole("memories[].dram.weights.weights", 1, 1024, "Turns of weight loads in a round; 1 if left out."),
        whole("memories[].dram.weights.stores", 1, 1024, "Turns of stores in a round; 1 if left out."),
        note(
            "memories[].dram.burst_bytes",
            "Bytes to which every transfer is rounded up: a power of two up to 4096; 1 if left out.",
        ),
        note("memories[].sram.capacity", &format!("Size in bytes, {CAPACITY}")),
        note("memories[].sram.read_bytes_per_cycle", &format!("Bandwidth of reads, in bytes a cycle: {RATE}")),
        note("memories[].sram.write_bytes_per_cycle", &format!("Bandwidth of writes, in bytes a cycle: {RATE}")),
        whole(
            "memories[].sram.latency_cycles",
            0,
            CYCLES,
            "Time from a request to its data, in cycles; 0 if left out.",
        ),
        note("memories[].sram.banks", "Equal banks of the memory; not told apart if left out."),
        names(
            "memories[].sram.ports",
            ["single", "dual"],
            "Whether a bank reads and writes in the same cycle; dual if left out. Single needs banks.",
        ),
        note("memories[].sram.partitions", "Parts of the memory by what they hold; together at most its capacity."),
        note("memories[].sram.partitions.activations", &format!("Room for tiles of activations in bytes, {CAPACITY}")),
        note("memories[].sram.partitions.weights", &format!("Room for tiles of weights in bytes, {CAPACITY}")),
        note("memories[].sram.partitions.outputs", &format!("Room for tiles of outputs in bytes, {CAPACITY}")),
        note("memories[].sram.partitions.resident", "Room for tensors that stay between layers, in bytes; 0 for none."),
        note("dma.name", "Name of the engine."),
        note("dma.from", "Name of the off-chip memory."),
        note("dma.to", "Name of the partitioned on-chip memory."),
        whole("dma.outstanding", 1, 65_536, "Requests that may be under way at once."),
        whole("dma.setup_cycles", 0, CYCLES, "Fixed time to start a request, in cycles."),
        whole(
            "dma.cycles_per_run",
            0,
            1024,
            "Time that each run of bytes that lie apart adds, in cycles; 0 if left out.",
        ),
    ];
    notes.extend(sequencing());
    notes.extend(requests());
    notes.extend(VectorFunction::ALL.into_iter().filter(|function| *function != VectorFunction::Extract).map(
        |function| {
            let name = function.name();
            note(
                &format!("vector_units[].elements_per_cycle.{name}"),
                &format!("Rate of {name}, in elements a cycle: {RATE}"),
            )
        },
    ));
    notes.extend(energy("energy."));
    notes
}

/// Keys of the sequencer of a dot-product array.
fn sequencing() -> Vec<Note> {
    let at = |key: &str| format!("matrix_units[].dot_product_array.sequencing{key}");
    let cycles = |key: &str, text: &str| whole(&at(key), 0, CYCLES, &format!("{text}, in cycles; 0 if left out."));
    vec![
        note(&at(""), "Order of work and way of results of a sequenced array; only where weights are held."),
        names(
            &at(".start"),
            ["first_tile", "whole_activation"],
            "What a product waits for: its first tile, or all of its activations.",
        ),
        cycles(".start_delay_cycles", "Time from the last activation to the start; only with start: whole_activation"),
        cycles(".first_block_cycles", "Time before the first block of a product enters"),
        note(&at(".stripe"), "Rows that pass over one block of weights."),
        note(&at(".stripe.lower"), "Shortest stripe, in rows."),
        note(&at(".stripe.upper"), "Longest stripe, in rows; at least lower."),
        whole(&at(".shortest_block_cycles"), 1, 1 << 16, "Shortest time of a block of weights, in cycles."),
        cycles(".read_ahead_cycles", "How long before its block starts the weights have been read"),
        note(&at(".results"), "The way of the sums out of the array."),
        note(&at(".results.elements_per_cycle"), &format!("Rate of results, in elements a cycle: {RATE}")),
        cycles(".results.row_pause_cycles", "Pause after each row"),
        note(&at(".results.depth_rows"), "Rows of sums that the buffer holds; at least the longest stripe."),
        cycles(".results.latency_cycles", "Time from the final sum to its delivery"),
        cycles(".results.credit_return_cycles", "Time until the room of a delivered row is used again"),
    ]
}

/// Keys of how the DMA engine cuts transfers into requests.
fn requests() -> Vec<Note> {
    let at = |key: &str| format!("dma.requests{key}");
    vec![
        note(&at(""), "How transfers are cut into requests."),
        note(&at(".longest"), "Longest request in bytes, at least 8; unlimited if left out."),
        whole(&at(".start_cycles"), 0, CYCLES, "Time before the first request, in cycles; 0 if left out."),
        whole(&at(".arrival_cycles"), 0, CYCLES, "Time from arrival to use, in cycles; 0 if left out."),
        note(&at(".activation_bytes_per_cycle"), &format!("Limit on activations, in bytes a cycle: {RATE}")),
        note(
            &at(".activation_atom_bytes"),
            "Bytes to which rows of activations are filled up: a power of two up to 4096; 1 if left out.",
        ),
        note(
            &at(".weight_multiple_bytes"),
            "Bytes to which weights are filled up: a power of two up to 4096; 1 if left out.",
        ),
        names(
            &at(".products"),
            ["independent", "together"],
            "Whether queues go on to the next product each for itself or together; independent if left out.",
        ),
    ]
}

/// Keys of energy tables, below `prefix`.
pub(super) fn energy(prefix: &str) -> Vec<Note> {
    let keys = [
        ("node_nm", "Process node that the figures are for, in nanometres."),
        ("voltage", "Supply voltage that the figures are for, in volts."),
        ("leakage_exponent", "Leakage power goes with the voltage to this power; 1 if left out."),
        ("uncertainty", "Factors from the typical value to either end, by mark, of figures that give no ends."),
        ("uncertainty.read", "Factor of figures that were seen in their source; 1.5 if left out."),
        ("uncertainty.secondary", "Factor of figures that were seen in a re-tabulation; 1.5 if left out."),
        ("uncertainty.recall", "Factor of figures from memory; 2 if left out."),
        ("uncertainty.inference", "Factor of figures computed from others; 2 if left out."),
        ("uncertainty.run", "Factor of a tool's output; 1.5 if left out."),
        ("uncertainty.assumed", "Factor of chosen figures; 3 if left out."),
        ("actions", "The figures: one for each action of the accelerator."),
        ("actions[].name", "The action, such as mac_int8_int8 or read_sram."),
        ("actions[].energy_pj", "Energy in picojoules: the typical one."),
        ("actions[].low_pj", "The least energy that is plausible, with high_pj; else a factor by mark."),
        ("actions[].high_pj", "The most energy that is plausible, with low_pj."),
        ("actions[].power_mw", "Power in milliwatts, of what leaks; in the place of energy_pj."),
        ("actions[].low_mw", "The least power that is plausible, with high_mw."),
        ("actions[].high_mw", "The most power that is plausible, with low_mw."),
        (
            "actions[].relative_to",
            "Another action of which this one is a multiple, with ratio; in the place of energy_pj.",
        ),
        ("actions[].ratio", "How much of it."),
        ("actions[].ratio.low", "The least that is plausible."),
        ("actions[].ratio.typical", "The typical one."),
        ("actions[].ratio.high", "The most that is plausible."),
        ("actions[].per_requests", "Requests that the figure is for: descriptors or bursts."),
        ("actions[].voltage", "Supply voltage of the source, in volts."),
        ("actions[].per_bytes", "Bytes that the figure is for."),
        ("actions[].per_macs", "Multiply-accumulates that the figure is for."),
        ("actions[].per_elements", "Elements that the figure is for."),
        ("actions[].per_cycles", "Cycles that the figure is for."),
        ("actions[].node_nm", "Process node of the source, in nanometres, if it is another one."),
        (
            "actions[].for_capacity",
            "Capacity of the on-chip memory that the figure is for: accesses follow the square root of the capacity, \
             leakage the capacity. A figure without it is taken as it is.",
        ),
        ("actions[].scaled", "Factor from the node of the source to that of the table."),
        ("actions[].scaled.by", "The factor."),
        ("actions[].scaled.low", "The least factor that is plausible, with high."),
        ("actions[].scaled.high", "The largest factor that is plausible, with low."),
        ("actions[].scaled.equation", "Equation from a node to its neighbour, in the place of a factor: logic_energy."),
        ("actions[].scaled.reason", "Where the factor comes from."),
        ("actions[].source", "Where the figure comes from."),
        ("actions[].mark", "How the figure came to be known: read, secondary, recall, inference, run or assumed."),
        ("arrays", "On-chip memories that are looked up among runs of CACTI 7."),
        ("arrays[].memory", "Name of the memory."),
        ("arrays[].cell", "Transistors: itrs-hp (fast, leaking) or itrs-lstp (a thousandth of the leakage)."),
        ("arrays[].node_nm", "Process node: 45, 32 or 22 nm."),
        (
            "arrays[].size",
            "Bytes of one array, which then does not follow the memory; its capacity over its copies if left out.",
        ),
        ("arrays[].width_bits", "Bits of an access; the memory's wider port over its copies, 64 to 512, if left out."),
        (
            "arrays[].banks",
            "Banks of one array; those of the memory if left out, else 1. Runs of 8 serve for more than one.",
        ),
        (
            "arrays[].copies",
            "Equal arrays that make the memory; if left out as many as its port needs words of 512 bits, or 1 where size, \
             width_bits or several banks are given.",
        ),
        ("areas", "Areas of components."),
        ("areas[].name", "The component: matrix_units, vector_units, an on-chip memory, or overhead."),
        ("areas[].area_um2", "Area in square micrometres."),
        ("areas[].low_um2", "The least that is plausible."),
        ("areas[].high_um2", "The most that is plausible."),
        ("areas[].per", "What it is for: processing_element, lane, byte, chip, or mm2 of all others."),
        ("areas[].node_nm", "Process node of the source, a neighbour of the table's."),
        ("areas[].source", "Where the figure comes from."),
        ("areas[].mark", "How the figure came to be known."),
        ("leaves_out", "Actions that have no figure on purpose and cost nothing; reports say so."),
        ("leaves_out[].name", "The action."),
        ("leaves_out[].reason", "Why it has no figure."),
    ];
    keys.map(|(path, text)| note(&format!("{prefix}{path}"), text)).into()
}

/// Keys of workload files.
pub(super) fn workload() -> Vec<Note> {
    let functions = || ActivationFunction::NAMES.iter().map(|(name, _)| *name);
    let batch_axes = || BatchAxis::NAMES.iter().map(|(name, _)| *name);
    let roles = || LayerRole::NAMES.iter().map(|(name, _)| *name);
    let mut notes = vec![
        note("name", "Name of the workload in reports."),
        note(
            "activation_format",
            "Number format in which activations are stored between layers and come from outside: fp32, fp16, bf16, or an 8-bit \
             float without a scale.",
        ),
        note("defaults", "What tensors and layers take where they leave it out."),
        note("defaults.tensors", "Source of values for tensors that give none."),
        note("defaults.layers", "Keys of layers by kind, such as activate: { function: gelu }."),
        note("tensors", "Tensors from outside: inputs, weights, biases, recorded activations."),
        note("layers", "Layers in any order, and blocks of layers; at least one."),
        note(
            "mapping",
            "How products are shared among matrix units, what tilings are chosen for, and which are given.",
        ),
        names("mapping.objective", Objective::NAMES.map(|it| it.0), "What tilings are chosen for; cycles if left out."),
        names(
            "mapping.split",
            Split::NAMES.map(|it| it.0),
            "Whether and along which axis products are split over equal matrix units; auto if left out.",
        ),
        names(
            "mapping.intermediates",
            Intermediates::NAMES.map(|it| it.0),
            "Whether intermediates that do not fit the chip pass through rings of row blocks where they can; whole if left out.",
        ),
        note("mapping.tilings", "Tilings that are given, at most one for each product."),
        note("mapping.tilings[].layer", "Layer with a product."),
        names(
            "mapping.tilings[].path",
            Path::ALL.map(Path::name),
            "Path of the product in the lowered layer; body if left out.",
        ),
        note("mapping.tilings[].m", "Rows of a block, at most those of the product."),
        note("mapping.tilings[].k", "Depth of a block, at most that of the product."),
        note("mapping.tilings[].n", "Columns of a block, at most those of the product."),
        names("mapping.tilings[].order", LoopOrder::NAMES.map(|it| it.0), "Order of the loops, outermost first."),
    ];
    for prefix in ["tensors[].", "layers[].repeat.tensors[].", "defaults.layers.repeat.tensors[]."] {
        notes.push(note(
            &format!("{prefix}name"),
            "Unique name; within a block, that of the block and the number of the repetition stand before it.",
        ));
        notes.push(note(
            &format!("{prefix}shape"),
            "Rows and columns, or the length of a vector; of images height, width and channels; up to 4194304 each.",
        ));
        notes.push(note(
            &format!("{prefix}format"),
            "Number format in which it lies off the chip, and to which its values are rounded: as activation_format. Left out: \
             activation_format for what layers read as they read each other's outputs, fp32 for weights and other constants.",
        ));
        notes.extend(sources(prefix));
    }
    notes.extend(sources("defaults.tensors."));
    for prefix in ["layers[].", "defaults.layers."] {
        let at = |key: &str| format!("{prefix}{key}");
        notes.extend([
            note(&at("name"), "Unique name of the layer or block."),
            note(&at("gemm"), "A matrix product: input x weight + bias."),
            note(&at("gemm.input"), "Tensor or layer that is multiplied; previous, in a block, is what comes from the repetition before."),
            note(&at("gemm.weight"), "Tensor or layer that it is multiplied by, rows by columns."),
            note(&at("gemm.bias"), "Tensor that is added to each row."),
            note(&at("gemm.weight_transposed"), "Whether the weight is stored by its output columns: true or false. It changes no value: a constant is turned before the run."),
            note(&at("gemm.batches"), "Equal products over parts of the matrices, such as the heads of attention."),
            whole(&at("gemm.batches.count"), 1, 65_536, "Number of products."),
            note(&at("gemm.batches.weight_shared_by"), "How many neighbouring products share one weight; it divides their number, and is 1 if left out."),
            names(&at("gemm.batches.input"), batch_axes(), "Along which axis of the input the batches lie."),
            names(&at("gemm.batches.weight"), batch_axes(), "Along which axis of the weight the batches lie."),
            names(&at("gemm.batches.output"), batch_axes(), "Along which axis of the output the batches lie."),
            names(&at("gemm.role"), roles(), "The part that it plays in a model."),
            note(&at("convolution"), "A two-dimensional convolution: windows over images, times a weight, plus a bias."),
            note(&at("convolution.input"), "Tensor or layer with images: height, width and channels, or as many images before them."),
            note(&at("convolution.weight"), "Tensor of kernel height, kernel width, channels of a group, and outputs."),
            note(&at("convolution.bias"), "Tensor that is added to each output pixel."),
            note(&at("convolution.stride"), "Input pixels from one output pixel to the next; 1 if left out."),
            whole(&at("convolution.stride.y"), 1, 65_536, "The same downwards."),
            whole(&at("convolution.stride.x"), 1, 65_536, "The same to the right."),
            note(&at("convolution.padding"), "Zeros around the image; none if left out."),
            whole(&at("convolution.padding.top"), 0, 65_536, "Rows of zeros above the image."),
            whole(&at("convolution.padding.bottom"), 0, 65_536, "Rows of zeros below the image."),
            whole(&at("convolution.padding.left"), 0, 65_536, "Columns of zeros left of the image."),
            whole(&at("convolution.padding.right"), 0, 65_536, "Columns of zeros right of the image."),
            note(&at("convolution.dilation"), "Input pixels from one tap of the kernel to the next; 1 if left out."),
            whole(&at("convolution.dilation.y"), 1, 65_536, "The same downwards."),
            whole(&at("convolution.dilation.x"), 1, 65_536, "The same to the right."),
            whole(&at("convolution.groups"), 1, 65_536, "Groups of channels that see only each other; as many as channels make it depthwise."),
            names(&at("convolution.role"), roles(), "The part that it plays in a model."),
            note(&at("add"), "The sum of two matrices."),
            note(&at("add.left"), "Tensor or layer that is added to."),
            note(&at("add.right"), "Tensor or layer that is added."),
            note(&at("multiply"), "The product of two matrices, element by element."),
            note(&at("multiply.left"), "Tensor or layer that is multiplied."),
            note(&at("multiply.right"), "Tensor or layer that it is multiplied by."),
            note(&at("softmax"), "Softmax of each row."),
            note(&at("softmax.input"), "Tensor or layer that it is applied to."),
            note(&at("softmax.scale"), "Factor of the input, above 0 and at most 1e9; 1 if left out."),
            note(&at("softmax.causal"), "Whether a query sees only the keys up to its own position: true or false. The last query of each head is the newest token, which sees all keys."),
            note(&at("layer_norm"), "LayerNorm of each row, or of each part of it."),
            note(&at("layer_norm.input"), "Tensor or layer that is normalized."),
            note(&at("layer_norm.weight"), "Tensor that each normalized row, or part of it, is multiplied by."),
            note(&at("layer_norm.bias"), "Tensor that is added to it."),
            decimal(&at("layer_norm.epsilon"), 0.0, 1.0, "What is added to the variance."),
            note(&at("layer_norm.width"), "Columns that are normalized together; a divisor of all, which they are if left out."),
            note(&at("rms_norm"), "RMSNorm of each row, or of each part of it."),
            note(&at("rms_norm.input"), "Tensor or layer that is normalized."),
            note(&at("rms_norm.weight"), "Tensor that each normalized row, or part of it, is multiplied by."),
            decimal(&at("rms_norm.epsilon"), 0.0, 1.0, "What is added to the mean square."),
            note(&at("rms_norm.width"), "Columns that are normalized together; a divisor of all, which they are if left out."),
            note(&at("rotary"), "Rotary positions: row r of each batch is turned by position offset + r."),
            note(&at("rotary.input"), "Tensor or layer that is turned."),
            note(&at("rotary.width"), "Columns of a head; an even divisor of all, which they are if left out."),
            note(&at("rotary.base"), "Base of the frequencies, above 0 and at most 1e9."),
            whole(&at("rotary.offset"), 0, 1 << 22, "Position of the first row: as many tokens as the cache holds already; 0 if left out."),
            note(&at("activate"), "A function of each element."),
            note(&at("activate.input"), "Tensor or layer that it is applied to; previous, in a block, is what comes from the repetition before."),
            names(&at("activate.function"), functions(), "The function."),
            note(&at("recorded_output"), "Tensor with the output recorded in the original model, from which the consumers start."),
            note(&at("repeat"), "A block of layers that repeats, each time with names of its own: NAME.0.LAYER, NAME.1.LAYER."),
            whole(&at("repeat.count"), 1, 65_536, "How often the block runs."),
            note(&at("repeat.input"), "What previous is in the first repetition: a tensor or layer."),
            note(&at("repeat.output"), "Layer of the block that the next repetition gets as previous; the last one if left out."),
            note(&at("repeat.tensors"), "Tensors of which each repetition has its own."),
            note(&at("repeat.layers"), "Layers of the block; blocks too."),
        ]);
    }
    notes
}

/// Keys that say where the values of a tensor come from.
fn sources(prefix: &str) -> Vec<Note> {
    let at = |key: &str| format!("{prefix}{key}");
    vec![
        note(
            &at("safetensors"),
            "File with the values, in the axes of the shape or flattened to a matrix, from the folder of this file; {BLOCK} is the number of the repetition.",
        ),
        note(&at("entry"), "Name of the tensor in the safetensors file; its name here if left out."),
        note(
            &at("npy"),
            "NumPy file with the values, in the axes of the shape or flattened to a matrix: float32, float16, int16, int8, uint8 or bool.",
        ),
        note(&at("generate"), "Values from a seed, the same on every machine."),
        names(&at("generate.distribution"), ["normal"], "Distribution of the values."),
        decimal(&at("generate.mean"), -1e9, 1e9, "Mean of the values."),
        note(&at("generate.std"), "Standard deviation of the values, above 0 and at most 1e9."),
        note(&at("generate.seed"), "Seed; tensors of other names get other values from it."),
        note(
            &at("generate.outliers"),
            "One outlier a row in each of as many groups of columns as there are outlier channels.",
        ),
        note(
            &at("generate.outliers.channels"),
            "Outlier channels: a count of columns, or a fraction of them such as 0.01.",
        ),
        decimal(
            &at("generate.outliers.magnitude"),
            0.0,
            1e9,
            "How far an outlier is moved from its ordinary value, in standard deviations.",
        ),
        decimal(
            &at("generate.outliers.persistence"),
            0.0,
            1.0,
            "Probability that the outlier of a row stands in the fixed channel of its group.",
        ),
    ]
}
