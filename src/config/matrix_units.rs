//! The matrix units of a hardware file: arrays and formats as written, into [`MatrixUnit`]s.

use serde::Deserialize;

use crate::config::accumulation::{self, OrderFile, OverflowFile, Pair, Written};
use crate::config::checks::{culprit, cycles, exactly_one, place_of, plain_name};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::config::sequencing::{self, SequencingFile};
use crate::dataflow;
use crate::hardware::array::{
    Array, BlockWeights, DotProductArray, Drain, Fill, SerialFolds, StationaryLoad, SystolicArray,
};
use crate::hardware::matrix_unit::{FormatSupport, MatrixUnit};
use crate::hardware::memory::MemoryId;
use crate::numerics::formats::{ALL as FORMATS, BF16, ElementFormat, ElementKind, FP32};
use crate::units::Cycles;

/// The most multiply-accumulates that one array does a cycle.
const MOST_MULTIPLIERS: u64 = 1 << 24;
/// The longest side of an array, and the most of K that it takes a cycle.
const LONGEST_SIDE: u64 = 1 << 16;
/// The most fixed cycles of a fold: there may be as many folds as outputs.
const MOST_FOLD_CYCLES: u64 = 1024;

#[derive(Deserialize)]
pub(crate) struct MatrixUnitFile {
    pub(crate) name: Field<String>,
    systolic_array: Option<Placed<SystolicArrayFile>>,
    dot_product_array: Option<Placed<DotProductArrayFile>>,
    pub(crate) formats: List<Placed<FormatFile>>,
    pub(crate) operand_memory: Field<String>,
    pub(crate) accumulator_memory: Field<String>,
    launch_cycles: Field<u64>,
    accumulator_shift_cycles: Field<u64>,
}

#[derive(Deserialize)]
struct SystolicArrayFile {
    rows: Field<u64>,
    columns: Field<u64>,
    dataflow: Field<String>,
    double_buffered: Field<bool>,
    serial_folds: Option<Placed<SerialFoldsFile>>,
}

#[derive(Deserialize)]
struct SerialFoldsFile {
    load: Field<String>,
    fill: Field<String>,
    drain: Field<String>,
    overhead_cycles: Field<u64>,
    corner_cycles: Field<u64>,
}

#[derive(Deserialize)]
struct DotProductArrayFile {
    m: Field<u64>,
    n: Field<u64>,
    k: Field<u64>,
    pipeline_cycles: Field<u64>,
    weights: Field<String>,
    sequencing: Option<Placed<SequencingFile>>,
}

#[derive(Deserialize)]
pub(crate) struct FormatFile {
    activation: Field<String>,
    weight: Field<String>,
    accumulator: Field<String>,
    accumulation: Option<Placed<OrderFile>>,
    accumulator_bits: Field<u64>,
    overflow: Option<Placed<OverflowFile>>,
    macs_per_element_per_cycle: Field<u64>,
}

/// A matrix unit; `memories` are those of the file by name.
pub(crate) fn resolve(
    unit: &Placed<MatrixUnitFile>,
    memories: &[(String, MemoryId)],
    defaults: &mut Defaults,
) -> Result<MatrixUnit, Diagnostic> {
    let array = resolve_array(unit, defaults)?;
    let mut formats: Vec<FormatSupport> = Vec::new();
    for file in unit.formats.at_least_one()? {
        let format = resolve_format(file, &array, defaults)?;
        check_size(unit, &array, file, &format)?;
        let pair = |format: &FormatSupport| (format.activation, format.weight, format.accumulator.is_integer());
        if formats.iter().any(|known| pair(known) == pair(&format)) {
            return Err(file.problem(format!("{} x {} is listed twice", format.activation, format.weight)).note(
                "a pair is listed once; one of integers once with an integer and once with a float accumulator",
            ));
        }
        formats.push(format);
    }
    Ok(MatrixUnit {
        name: plain_name(&unit.name)?,
        array,
        formats,
        operand_memory: unit.operand_memory.required().one_of(memories)?,
        accumulator_memory: unit.accumulator_memory.required().one_of(memories)?,
        launch: cycles(&unit.launch_cycles)?,
        // Tender (Lee et al., ISCA 2024) shifts all accumulators of an output-stationary array in one cycle.
        accumulator_shift: if unit.accumulator_shift_cycles.is_given() {
            cycles(&unit.accumulator_shift_cycles)?
        } else {
            Cycles(1)
        },
    })
}

/// Checks that the array is not larger in this format than counts can bear.
fn check_size(
    unit: &MatrixUnitFile,
    array: &Array,
    file: &FormatFile,
    format: &FormatSupport,
) -> Result<(), Diagnostic> {
    let per_element = format.macs_per_element_per_cycle;
    let along_k = dataflow::of(array).granularity(array, per_element).k;
    let multipliers = array.processing_elements() * per_element;
    if multipliers <= MOST_MULTIPLIERS && along_k <= LONGEST_SIDE {
        return Ok(());
    }
    let rate = &file.macs_per_element_per_cycle;
    let cited = match (&unit.systolic_array, &unit.dot_product_array) {
        (Some(array), _) => culprit(array, &[&array.rows, &array.columns, rate]),
        (None, Some(array)) => culprit(array, &[&array.m, &array.n, &array.k, rate]),
        (None, None) => unreachable!("exactly one was given"),
    };
    let message = format!("the array does {multipliers} multiply-accumulates a cycle, {along_k} of them along K");
    Err(Diagnostic::new(cited.place(), cited.path(), message)
        .note(format!("allowed: up to {MOST_MULTIPLIERS}, and up to {LONGEST_SIDE} along K")))
}

fn resolve_array(unit: &Placed<MatrixUnitFile>, defaults: &mut Defaults) -> Result<Array, Diagnostic> {
    let given =
        [("systolic_array", place_of(&unit.systolic_array)), ("dot_product_array", place_of(&unit.dot_product_array))];
    exactly_one(unit, &given)?;
    match (&unit.systolic_array, &unit.dot_product_array) {
        (Some(array), _) => resolve_systolic(array, defaults).map(Array::Systolic),
        (None, Some(array)) => resolve_dot_product(array, defaults).map(Array::DotProduct),
        (None, None) => unreachable!("exactly one was given"),
    }
}

fn resolve_systolic(array: &Placed<SystolicArrayFile>, defaults: &mut Defaults) -> Result<SystolicArray, Diagnostic> {
    let dataflow = array.dataflow.required().one_of(&systolic_dataflows())?;
    let double_buffered = array.double_buffered.required().boolean()?;
    let serial_folds = match &array.serial_folds {
        Some(folds) if double_buffered => {
            return Err(folds
                .problem("serial folds overlap with nothing, but the array is double-buffered")
                .help("set double_buffered: false, or remove serial_folds"));
        }
        Some(folds) => Some(resolve_serial_folds(folds, dataflow, defaults)?),
        None => None,
    };
    Ok(SystolicArray {
        rows: array.rows.required().in_range(1..=LONGEST_SIDE)?,
        columns: array.columns.required().in_range(1..=LONGEST_SIDE)?,
        dataflow,
        double_buffered,
        serial_folds,
    })
}

fn resolve_serial_folds(
    folds: &SerialFoldsFile,
    dataflow: &str,
    defaults: &mut Defaults,
) -> Result<SerialFolds, Diagnostic> {
    let loads = [("rows", StationaryLoad::Rows), ("hidden", StationaryLoad::Hidden)];
    let drains = [("rows", Drain::Rows), ("overlapped", Drain::Overlapped)];
    let absent = |field: &Field<String>, why: &str| match field.is_given() {
        true => Err(field.problem(why).help(format!("remove {}", field.path().last()))),
        false => Ok(()),
    };
    // What stays in the array decides which of the two parts there is.
    let (load, drain) = if dataflow == "output_stationary" {
        absent(&folds.load, "an output-stationary array loads nothing before its stream")?;
        (StationaryLoad::Hidden, folds.drain.required().one_of(&drains)?)
    } else {
        absent(&folds.drain, "sums leave this array with its stream: nothing stays that would drain")?;
        (folds.load.required().one_of(&loads)?, Drain::Overlapped)
    };
    let fills = [("full_array", Fill::FullArray), ("used", Fill::Used), ("none", Fill::None)];
    let mut fixed =
        |field: &Field<u64>, reason| field.or_default(0, reason, defaults).in_range(0..=MOST_FOLD_CYCLES).map(Cycles);
    Ok(SerialFolds {
        load,
        fill: folds.fill.required().one_of(&fills)?,
        drain,
        overhead: fixed(&folds.overhead_cycles, "folds follow one another without a pause")?,
        corner: fixed(&folds.corner_cycles, "handing both operands on takes no longer than handing on one")?,
    })
}

fn resolve_dot_product(array: &DotProductArrayFile, defaults: &mut Defaults) -> Result<DotProductArray, Diagnostic> {
    let weights = [
        ("streamed", BlockWeights::Streamed),
        ("held_double_buffered", BlockWeights::HeldDoubleBuffered),
        ("held_single_buffered", BlockWeights::HeldSingleBuffered),
    ];
    let streamed = "the weights of a step come with its activations";
    let chosen = array.weights.or_default(weights[0].0.to_owned(), streamed, defaults).one_of(&weights)?;
    let sequencing = match &array.sequencing {
        Some(sequencing) if chosen == BlockWeights::Streamed => {
            return Err(sequencing
                .problem("a sequencer passes rows over blocks of weights that stay, but weights are streamed")
                .help("set weights: held_double_buffered or held_single_buffered, or remove sequencing"));
        }
        Some(sequencing) => Some(sequencing::resolve(sequencing, defaults)?),
        None => None,
    };
    Ok(DotProductArray {
        m: array.m.required().in_range(1..=LONGEST_SIDE)?,
        n: array.n.required().in_range(1..=LONGEST_SIDE)?,
        k: array.k.required().in_range(1..=LONGEST_SIDE)?,
        pipeline: cycles(&array.pipeline_cycles)?,
        weights: chosen,
        sequencing,
    })
}

fn resolve_format(file: &FormatFile, array: &Array, defaults: &mut Defaults) -> Result<FormatSupport, Diagnostic> {
    let named: Vec<(&str, &'static ElementFormat)> = FORMATS.iter().map(|format| (format.name(), *format)).collect();
    let operands = |format: &&(&str, &ElementFormat)| !matches!(format.1.kind(), ElementKind::Scale { .. });
    let operands: Vec<_> = named.iter().filter(operands).copied().collect();
    let activation = file.activation.required().one_of(&operands)?;
    let weight = file.weight.required().one_of(&operands)?;
    let product_bits = activation.storage_bits() + weight.storage_bits();
    let holds_sums = |format: &ElementFormat| match format.kind() {
        ElementKind::Integer { signed } => {
            let exact = activation.is_integer() && weight.is_integer();
            exact && signed && format.storage_bits() >= product_bits
        }
        // Also of integers: the sums of block-scaled ones are real numbers.
        ElementKind::Float { .. } => {
            let floats = [activation, weight].into_iter().filter(|operand| !operand.is_integer());
            let widest = floats.map(ElementFormat::storage_bits).max().unwrap_or(0);
            [&BF16, &FP32].contains(&format) && format.storage_bits() >= widest
        }
        ElementKind::Scale { .. } => false,
    };
    let accumulators: Vec<_> = named.iter().filter(|(_, format)| holds_sums(format)).copied().collect();
    let accumulator = file.accumulator.required().one_of(&accumulators)?;
    let macs_per_element_per_cycle = file
        .macs_per_element_per_cycle
        .or_default(1, "one multiplier in each processing element", defaults)
        .in_range(1..=64)?;
    let pair = Pair { activation, weight, accumulator, macs_per_element_per_cycle };
    let written = Written {
        accumulator: &file.accumulator,
        accumulation: &file.accumulation,
        accumulator_bits: &file.accumulator_bits,
        overflow: &file.overflow,
    };
    let accumulation = accumulation::resolve(&written, &pair, array, defaults)?;
    Ok(FormatSupport { activation, weight, accumulator, accumulation, macs_per_element_per_cycle })
}

/// The registered dataflows of systolic arrays by name.
fn systolic_dataflows() -> Vec<(&'static str, &'static str)> {
    let systolic = dataflow::ALL.iter().filter(|dataflow| dataflow.is_systolic());
    systolic.map(|dataflow| (dataflow.name(), dataflow.name())).collect()
}
