//! The matrix units of a hardware file: arrays and formats as written, into [`MatrixUnit`]s.

use serde::Deserialize;

use crate::config::accumulation::{self, OrderFile, OverflowFile, Pair, Written};
use crate::config::checks::{culprit, cycles, exactly_one, place_of, plain_name};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
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
) -> Result<MatrixUnit, ConfigError> {
    let mut problems = Problems::default();
    let name = problems.take(plain_name(&unit.name));
    let array = problems.take(resolve_array(unit, defaults));
    let formats = resolve_formats(unit, array.as_ref(), &mut problems, defaults);
    let operand_memory = problems.take(unit.operand_memory.required().beside_others().one_of(memories));
    let accumulator_memory = problems.take(unit.accumulator_memory.required().beside_others().one_of(memories));
    let launch = problems.take(cycles(&unit.launch_cycles));
    let accumulator_shift = if unit.accumulator_shift_cycles.is_given() {
        problems.take(cycles(&unit.accumulator_shift_cycles))
    } else {
        // Tender (Lee et al., ISCA 2024) shifts all accumulators of an output-stationary array in one cycle.
        Some(Cycles(1))
    };
    problems.built(|| {
        Some(MatrixUnit {
            name: name?,
            array: array?,
            formats,
            operand_memory: operand_memory?,
            accumulator_memory: accumulator_memory?,
            launch: launch?,
            accumulator_shift: accumulator_shift?,
        })
    })
}

/// The format pairs of a unit. What follows from an array that could not be read is not checked.
fn resolve_formats(
    unit: &Placed<MatrixUnitFile>,
    array: Option<&Array>,
    problems: &mut Problems,
    defaults: &mut Defaults,
) -> Vec<FormatSupport> {
    let mut formats: Vec<FormatSupport> = Vec::new();
    for file in problems.take(unit.formats.at_least_one()).unwrap_or_default() {
        let Some(pair) = problems.take(resolve_pair(file, defaults)) else { continue };
        if let Some(array) = array {
            problems.take(check_size(unit, array, file, pair.macs_per_element_per_cycle));
        }
        let Some(format) = problems.take(resolve_format(file, &pair, array, defaults)) else { continue };
        let pair = |format: &FormatSupport| (format.activation, format.weight, format.accumulator.is_integer());
        if formats.iter().any(|known| pair(known) == pair(&format)) {
            let problem = file.problem(format!("{} x {} is listed twice", format.activation, format.weight));
            problems.push(
                problem.note(
                    "a pair is listed once; one of integers once with an integer and once with a float accumulator",
                ),
            );
        }
        formats.push(format);
    }
    formats
}

/// Checks that the array is not larger in this format than counts can bear.
fn check_size(unit: &MatrixUnitFile, array: &Array, file: &FormatFile, per_element: u64) -> Result<(), Diagnostic> {
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

fn resolve_array(unit: &Placed<MatrixUnitFile>, defaults: &mut Defaults) -> Result<Array, ConfigError> {
    let given =
        [("systolic_array", place_of(&unit.systolic_array)), ("dot_product_array", place_of(&unit.dot_product_array))];
    exactly_one(unit, &given)?;
    match (&unit.systolic_array, &unit.dot_product_array) {
        (Some(array), _) => resolve_systolic(array, defaults).map(Array::Systolic),
        (None, Some(array)) => resolve_dot_product(array, defaults).map(Array::DotProduct),
        (None, None) => unreachable!("exactly one was given"),
    }
}

fn resolve_systolic(array: &Placed<SystolicArrayFile>, defaults: &mut Defaults) -> Result<SystolicArray, ConfigError> {
    let mut problems = Problems::default();
    let rows = problems.take(array.rows.required().in_range(1..=LONGEST_SIDE));
    let columns = problems.take(array.columns.required().in_range(1..=LONGEST_SIDE));
    let dataflow = problems.take(array.dataflow.required().one_of(&systolic_dataflows()));
    let double_buffered = problems.take(array.double_buffered.required().boolean());
    let mut serial_folds = None;
    if let Some(folds) = &array.serial_folds {
        if double_buffered == Some(true) {
            let problem = folds.problem("serial folds overlap with nothing, but the array is double-buffered");
            problems.push(problem.help("set double_buffered: false, or remove serial_folds"));
        }
        serial_folds = dataflow.and_then(|dataflow| problems.take(resolve_serial_folds(folds, dataflow, defaults)));
    }
    problems.built(|| {
        let (rows, columns, dataflow) = (rows?, columns?, dataflow?);
        Some(SystolicArray { rows, columns, dataflow, double_buffered: double_buffered?, serial_folds })
    })
}

fn resolve_serial_folds(
    folds: &SerialFoldsFile,
    dataflow: &str,
    defaults: &mut Defaults,
) -> Result<SerialFolds, ConfigError> {
    let mut problems = Problems::default();
    let loads = [("rows", StationaryLoad::Rows), ("hidden", StationaryLoad::Hidden)];
    let drains = [("rows", Drain::Rows), ("overlapped", Drain::Overlapped)];
    let absent = |field: &Field<String>, why: &str| match field.is_given() {
        true => Err(field.problem(why).help(format!("remove {}", field.path().last()))),
        false => Ok(()),
    };
    // What stays in the array decides which of the two parts there is.
    let (load, drain) = if dataflow == "output_stationary" {
        problems.take(absent(&folds.load, "an output-stationary array loads nothing before its stream"));
        (Some(StationaryLoad::Hidden), problems.take(folds.drain.required().one_of(&drains)))
    } else {
        problems.take(absent(&folds.drain, "sums leave this array with its stream: nothing stays that would drain"));
        (problems.take(folds.load.required().one_of(&loads)), Some(Drain::Overlapped))
    };
    let fills = [("full_array", Fill::FullArray), ("used", Fill::Used), ("none", Fill::None)];
    let fill = problems.take(folds.fill.required().one_of(&fills));
    let mut fixed = |field: &Field<u64>, reason| {
        problems.take(field.or_default(0, reason, defaults).in_range(0..=MOST_FOLD_CYCLES).map(Cycles))
    };
    let overhead = fixed(&folds.overhead_cycles, "folds follow one another without a pause");
    let corner = fixed(&folds.corner_cycles, "handing both operands on takes no longer than handing on one");
    problems.built(|| {
        let (load, fill, drain) = (load?, fill?, drain?);
        Some(SerialFolds { load, fill, drain, overhead: overhead?, corner: corner? })
    })
}

fn resolve_dot_product(array: &DotProductArrayFile, defaults: &mut Defaults) -> Result<DotProductArray, ConfigError> {
    let mut problems = Problems::default();
    let weights = [
        ("streamed", BlockWeights::Streamed),
        ("held_double_buffered", BlockWeights::HeldDoubleBuffered),
        ("held_single_buffered", BlockWeights::HeldSingleBuffered),
    ];
    let streamed = "the weights of a step come with its activations";
    let chosen = array.weights.or_default(weights[0].0.to_owned(), streamed, defaults).beside_others().one_of(&weights);
    let chosen = problems.take(chosen);
    let mut sequencing = None;
    if let Some(written) = &array.sequencing {
        if chosen == Some(BlockWeights::Streamed) {
            let message = "a sequencer passes rows over blocks of weights that stay, but weights are streamed";
            let help = "set weights: held_double_buffered or held_single_buffered, or remove sequencing";
            problems.push(written.problem(message).help(help));
        }
        sequencing = problems.take(sequencing::resolve(written, defaults));
    }
    let [m, n, k] =
        [&array.m, &array.n, &array.k].map(|side| problems.take(side.required().in_range(1..=LONGEST_SIDE)));
    let pipeline = problems.take(cycles(&array.pipeline_cycles));
    problems.built(|| Some(DotProductArray { m: m?, n: n?, k: k?, pipeline: pipeline?, weights: chosen?, sequencing }))
}

/// The formats of a pair and its rate.
fn resolve_pair(file: &FormatFile, defaults: &mut Defaults) -> Result<Pair, ConfigError> {
    let mut problems = Problems::default();
    let named: Vec<(&str, &'static ElementFormat)> = FORMATS.iter().map(|format| (format.name(), *format)).collect();
    let operands = |format: &&(&str, &ElementFormat)| !matches!(format.1.kind(), ElementKind::Scale { .. });
    let operands: Vec<_> = named.iter().filter(operands).copied().collect();
    let activation = problems.take(file.activation.required().one_of(&operands));
    let weight = problems.take(file.weight.required().one_of(&operands));
    let accumulator = activation.zip(weight).and_then(|(activation, weight)| {
        problems.take(file.accumulator.required().beside_others().one_of(&accumulators_of(activation, weight)))
    });
    let macs_per_element_per_cycle = file
        .macs_per_element_per_cycle
        .or_default(1, "one multiplier in each processing element", defaults)
        .in_range(1..=64);
    let macs_per_element_per_cycle = problems.take(macs_per_element_per_cycle);
    problems.built(|| {
        let (activation, weight, accumulator) = (activation?, weight?, accumulator?);
        Some(Pair { activation, weight, accumulator, macs_per_element_per_cycle: macs_per_element_per_cycle? })
    })
}

/// The formats that hold sums of products of two others, by name.
fn accumulators_of(
    activation: &'static ElementFormat,
    weight: &'static ElementFormat,
) -> Vec<(&'static str, &'static ElementFormat)> {
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
    FORMATS.iter().filter(|format| holds_sums(format)).map(|format| (format.name(), *format)).collect()
}

fn resolve_format(
    file: &FormatFile,
    pair: &Pair,
    array: Option<&Array>,
    defaults: &mut Defaults,
) -> Result<FormatSupport, ConfigError> {
    let written = Written {
        accumulator: &file.accumulator,
        accumulation: &file.accumulation,
        accumulator_bits: &file.accumulator_bits,
        overflow: &file.overflow,
    };
    let accumulation = accumulation::resolve(&written, pair, array, defaults)?;
    let Pair { activation, weight, accumulator, macs_per_element_per_cycle } = *pair;
    Ok(FormatSupport { activation, weight, accumulator, accumulation, macs_per_element_per_cycle })
}

/// The registered dataflows of systolic arrays by name.
fn systolic_dataflows() -> Vec<(&'static str, &'static str)> {
    let systolic = dataflow::ALL.iter().filter(|dataflow| dataflow.is_systolic());
    systolic.map(|dataflow| (dataflow.name(), dataflow.name())).collect()
}
