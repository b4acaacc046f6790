//! Hardware files: an accelerator as written, into an [`Npu`].
//!
//! Ranges are wide, but such that the multiplier cycles of a run, padding included, stay below 2^63 for any workload that
//! [`workload`](crate::config::workload) accepts. A product of `m x k x n` on an array of depth `d` and `c` columns
//! occupies at most `m (k + d) (n + c) = mkn + mkc + mnd + mdc` of them. Over all layers the first term sums to at most
//! 2^60 (the limit of the workload), the middle ones to 2^45 x 2^16 (its elements, and the longest side of an array), the
//! last one to 2^16 x 2^22 x 2^24 (its layers and rows, and the multipliers of an array).

use serde::Deserialize;

use crate::config::checks::{culprit, exactly_one, place_of, plain_name, unique_names};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed};
use crate::config::document::Document;
use crate::config::energy::{self, Actor, EnergyFile};
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::config::presets::include_energy_table;
use crate::config::scalar::Hertz;
use crate::dataflow;
use crate::hardware::actions::Action;
use crate::hardware::matrix_unit::{FormatSupport, MatrixUnit, SystolicArray};
use crate::hardware::memory::{DmaEngine, Dram, Memory, MemoryId, MemoryKind, Partitions, Sram};
use crate::hardware::npu::{HardwareError, MemoryRole, Npu, NpuParts};
use crate::hardware::vector_unit::{VectorFunction, VectorUnit};
use crate::memory;
use crate::numerics::formats::{ALL as FORMATS, ElementFormat, ElementKind};
use crate::units::{Bytes, Cycles, Rate};

/// The longest fixed latency.
const MOST_CYCLES: u64 = 1_000_000;
/// The most multiply-accumulates that one array does a cycle.
const MOST_MULTIPLIERS: u64 = 1 << 24;
/// The longest side of an array, and the most of K that it takes a cycle.
const LONGEST_SIDE: u64 = 1 << 16;
const LARGEST_MEMORY: Bytes = Bytes(1 << 40);

#[derive(Deserialize)]
struct HardwareFile {
    name: Field<String>,
    clock: Field<Hertz>,
    matrix_units: List<Placed<MatrixUnitFile>>,
    vector_units: List<Placed<VectorUnitFile>>,
    memories: List<Placed<MemoryFile>>,
    dma: Placed<DmaFile>,
    energy: Placed<EnergyFile>,
}

#[derive(Deserialize)]
struct MatrixUnitFile {
    name: Field<String>,
    systolic_array: Option<Placed<SystolicArrayFile>>,
    formats: List<Placed<FormatFile>>,
    operand_memory: Field<String>,
    accumulator_memory: Field<String>,
    launch_cycles: Field<u64>,
}

#[derive(Deserialize)]
struct SystolicArrayFile {
    rows: Field<u64>,
    columns: Field<u64>,
    dataflow: Field<String>,
    double_buffered: Field<bool>,
}

#[derive(Deserialize)]
struct FormatFile {
    activation: Field<String>,
    weight: Field<String>,
    accumulator: Field<String>,
    macs_per_element_per_cycle: Field<u64>,
}

#[derive(Deserialize)]
struct VectorUnitFile {
    name: Field<String>,
    memory: Field<String>,
    elements_per_cycle: RatesFile,
    latency_cycles: Field<u64>,
}

#[derive(Deserialize)]
struct RatesFile {
    reduce: Field<Rate>,
    quantize: Field<Rate>,
    dequantize: Field<Rate>,
    add: Field<Rate>,
    activate: Field<Rate>,
}

#[derive(Deserialize)]
struct MemoryFile {
    name: Field<String>,
    dram: Option<Placed<DramFile>>,
    sram: Option<Placed<SramFile>>,
}

#[derive(Deserialize)]
struct DramFile {
    model: Field<String>,
    latency_cycles: Field<u64>,
    bytes_per_cycle: Field<Rate>,
}

#[derive(Deserialize)]
struct SramFile {
    capacity: Field<Bytes>,
    read_bytes_per_cycle: Field<Rate>,
    write_bytes_per_cycle: Field<Rate>,
    partitions: Option<Placed<PartitionsFile>>,
}

#[derive(Deserialize)]
struct PartitionsFile {
    activations: Field<Bytes>,
    weights: Field<Bytes>,
    outputs: Field<Bytes>,
    resident: Field<Bytes>,
}

#[derive(Deserialize)]
struct DmaFile {
    name: Field<String>,
    from: Field<String>,
    to: Field<String>,
    outstanding: Field<u32>,
    setup_cycles: Field<u64>,
}

/// The accelerator that `document` describes; an energy table that it names by path is read.
///
/// Defaults that stand in for missing keys are added to `defaults`.
///
/// # Errors
/// [`ConfigError::Invalid`] with what is wrong in each part: names that nothing has, values out of their range, parts
/// that do not fit together, actions without an energy figure. [`ConfigError::Read`] never: a missing energy table is
/// cited where it is named.
pub fn resolve(document: &Document, defaults: &mut Defaults) -> Result<Npu, ConfigError> {
    let mut document = document.clone();
    include_energy_table(&mut document)?;
    let file: HardwareFile = document.read()?;
    let mut problems = Problems::default();
    problems.take(unique_names(file.matrix_units.iter().map(|unit| &unit.name)));
    problems.take(unique_names(file.vector_units.iter().map(|unit| &unit.name)));
    problems.take(unique_names(file.memories.iter().map(|memory| &memory.name)));
    let name = problems.take(plain_name(&file.name));
    let clock = problems.take(file.clock.required().in_range(Hertz(1_000_000)..=Hertz(100_000_000_000)));
    let memory_names = memory_names(&file);
    let memories = file.memories.iter().filter_map(|memory| problems.take(resolve_memory(memory))).collect();
    let matrix_units = problems.take(file.matrix_units.at_least_one()).unwrap_or_default();
    let matrix_units = matrix_units
        .iter()
        .filter_map(|unit| problems.take(resolve_matrix_unit(unit, &memory_names, defaults)))
        .collect();
    let vector_units = problems.take(file.vector_units.at_least_one()).unwrap_or_default();
    let vector_units =
        vector_units.iter().filter_map(|unit| problems.take(resolve_vector_unit(unit, &memory_names))).collect();
    let dma = problems.take(resolve_dma(&file.dma, &memory_names));
    let energy = problems.take(energy::resolve(&file.energy));
    problems.finish()?;
    let whole = "no problem was noted";
    let parts = NpuParts {
        name: name.expect(whole),
        clock_hz: clock.expect(whole).0,
        matrix_units,
        vector_units,
        memories,
        dma: dma.expect(whole),
        energy: energy.expect(whole),
    };
    let npu = Npu::try_new(parts).map_err(|error| cite(&file, &error))?;
    energy::check_coverage(&actors(&file, &npu), npu.energy(), &file.energy)?;
    Ok(npu)
}

/// What each part of the accelerator does that costs energy. Parts stand in the order of the file.
fn actors<'f>(file: &'f HardwareFile, npu: &Npu) -> Vec<Actor<'f>> {
    let mut actors: Vec<Actor<'f>> = vec![Actor { part: &file.matrix_units, actions: vec![Action::IdleMac] }];
    for (written, unit) in file.matrix_units.iter().zip(npu.matrix_units()) {
        actors.extend(written.formats.iter().zip(&unit.formats).map(|(written, pair)| Actor {
            part: written,
            actions: vec![Action::Mac { activation: pair.activation, weight: pair.weight }],
        }));
    }
    let functions = || VectorFunction::ALL.map(Action::Vector).to_vec();
    actors.extend(file.vector_units.iter().map(|unit| Actor { part: unit, actions: functions() }));
    actors.extend(file.memories.iter().zip(npu.memories()).map(|(written, memory)| Actor {
        part: &written.name,
        actions: vec![Action::Read(memory.name.clone()), Action::Write(memory.name.clone())],
    }));
    actors
}

/// The memories by name. Ids are positions in the file, whether or not each of them resolves.
fn memory_names(file: &HardwareFile) -> Vec<(String, MemoryId)> {
    let name = |(index, memory): (usize, &Placed<MemoryFile>)| {
        memory.name.required().text().ok().map(|name| (name, MemoryId(index)))
    };
    file.memories.iter().enumerate().filter_map(name).collect()
}

fn resolve_memory(memory: &Placed<MemoryFile>) -> Result<Memory, Diagnostic> {
    /// Names that reports give to other things beside the memories.
    const TAKEN: [&str; 3] = ["matrix_units", "vector_units", "total"];
    let name = plain_name(&memory.name)?;
    if TAKEN.contains(&name.as_str()) {
        return Err(memory.name.problem(format!("a memory cannot be called \"{name}\": reports use that name")));
    }
    exactly_one(memory, &[("dram", place_of(&memory.dram)), ("sram", place_of(&memory.sram))])?;
    let kind = match (&memory.dram, &memory.sram) {
        (Some(dram), _) => MemoryKind::Dram(Dram {
            model: dram.model.required().one_of(&memory_models())?,
            latency: cycles(&dram.latency_cycles)?,
            bytes_per_cycle: rate(&dram.bytes_per_cycle)?,
        }),
        (None, Some(sram)) => MemoryKind::Sram(resolve_sram(sram)?),
        (None, None) => unreachable!("exactly one was given"),
    };
    Ok(Memory { name, kind })
}

fn resolve_sram(sram: &SramFile) -> Result<Sram, Diagnostic> {
    let partitions = match &sram.partitions {
        None => None,
        Some(partitions) => Some(Partitions {
            activations: capacity(&partitions.activations)?,
            weights: capacity(&partitions.weights)?,
            outputs: capacity(&partitions.outputs)?,
            // Without a resident share every tensor goes off the chip between layers: a design too.
            resident: partitions.resident.required().in_range(Bytes(0)..=LARGEST_MEMORY)?,
        }),
    };
    Ok(Sram {
        capacity: capacity(&sram.capacity)?,
        read_bytes_per_cycle: rate(&sram.read_bytes_per_cycle)?,
        write_bytes_per_cycle: rate(&sram.write_bytes_per_cycle)?,
        partitions,
    })
}

fn resolve_matrix_unit(
    unit: &Placed<MatrixUnitFile>,
    memories: &[(String, MemoryId)],
    defaults: &mut Defaults,
) -> Result<MatrixUnit, Diagnostic> {
    exactly_one(unit, &[("systolic_array", place_of(&unit.systolic_array))])?;
    let array = unit.systolic_array.as_ref().expect("exactly one was given");
    let resolved = SystolicArray {
        rows: array.rows.required().in_range(1..=LONGEST_SIDE)?,
        columns: array.columns.required().in_range(1..=LONGEST_SIDE)?,
        dataflow: array.dataflow.required().one_of(&dataflows())?,
        double_buffered: array.double_buffered.required().boolean()?,
    };
    let mut formats: Vec<FormatSupport> = Vec::new();
    for file in unit.formats.at_least_one()? {
        let format = resolve_format(file, defaults)?;
        let (rows, per_element) = (resolved.rows, format.macs_per_element_per_cycle);
        let multipliers = resolved.processing_elements() * per_element;
        if multipliers > MOST_MULTIPLIERS || rows * per_element > LONGEST_SIDE {
            let along_k = rows * per_element;
            let cited = culprit(array, &[&array.rows, &array.columns, &file.macs_per_element_per_cycle]);
            let message =
                format!("the array does {multipliers} multiply-accumulates a cycle, {along_k} of them along K");
            return Err(Diagnostic::new(cited.place(), cited.path(), message)
                .note(format!("allowed: up to {MOST_MULTIPLIERS}, and up to {LONGEST_SIDE} along K")));
        }
        if formats.iter().any(|known| (known.activation, known.weight) == (format.activation, format.weight)) {
            return Err(file.problem(format!("{} x {} is listed twice", format.activation, format.weight)));
        }
        formats.push(format);
    }
    Ok(MatrixUnit {
        name: plain_name(&unit.name)?,
        array: resolved,
        formats,
        operand_memory: unit.operand_memory.required().one_of(memories)?,
        accumulator_memory: unit.accumulator_memory.required().one_of(memories)?,
        launch: cycles(&unit.launch_cycles)?,
    })
}

fn resolve_format(file: &FormatFile, defaults: &mut Defaults) -> Result<FormatSupport, Diagnostic> {
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
        ElementKind::Float { .. } => {
            let exact = activation.is_integer() && weight.is_integer();
            !exact && format.storage_bits() >= activation.storage_bits().max(weight.storage_bits()).max(16)
        }
        ElementKind::Scale { .. } => false,
    };
    let accumulators: Vec<_> = named.iter().filter(|(_, format)| holds_sums(format)).copied().collect();
    Ok(FormatSupport {
        activation,
        weight,
        accumulator: file.accumulator.required().one_of(&accumulators)?,
        macs_per_element_per_cycle: file
            .macs_per_element_per_cycle
            .or_default(1, "one multiplier in each processing element", defaults)
            .in_range(1..=64)?,
    })
}

fn resolve_vector_unit(
    unit: &Placed<VectorUnitFile>,
    memories: &[(String, MemoryId)],
) -> Result<VectorUnit, Diagnostic> {
    let written = |function: VectorFunction| match function {
        VectorFunction::Reduce => &unit.elements_per_cycle.reduce,
        VectorFunction::Quantize => &unit.elements_per_cycle.quantize,
        VectorFunction::Dequantize => &unit.elements_per_cycle.dequantize,
        VectorFunction::Add => &unit.elements_per_cycle.add,
        VectorFunction::Activate => &unit.elements_per_cycle.activate,
    };
    let mut rates = [Rate::whole(1).expect("one is not zero"); VectorFunction::ALL.len()];
    for function in VectorFunction::ALL {
        rates[function.index()] = rate(written(function))?;
    }
    Ok(VectorUnit {
        name: plain_name(&unit.name)?,
        memory: unit.memory.required().one_of(memories)?,
        rates,
        latency: cycles(&unit.latency_cycles)?,
    })
}

fn resolve_dma(dma: &DmaFile, memories: &[(String, MemoryId)]) -> Result<DmaEngine, Diagnostic> {
    Ok(DmaEngine {
        name: plain_name(&dma.name)?,
        from: dma.from.required().one_of(memories)?,
        to: dma.to.required().one_of(memories)?,
        outstanding: dma.outstanding.required().in_range(1..=65_536)?,
        setup: cycles(&dma.setup_cycles)?,
    })
}

/// The registered dataflows by name.
fn dataflows() -> Vec<(&'static str, &'static str)> {
    dataflow::ALL.iter().map(|dataflow| (dataflow.name(), dataflow.name())).collect()
}

/// The registered memory models by name.
fn memory_models() -> Vec<(&'static str, &'static str)> {
    memory::ALL.iter().map(|model| (model.name(), model.name())).collect()
}

fn cycles(field: &Field<u64>) -> Result<Cycles, Diagnostic> {
    field.required().in_range(0..=MOST_CYCLES).map(Cycles)
}

fn capacity(field: &Field<Bytes>) -> Result<Bytes, Diagnostic> {
    field.required().in_range(Bytes(1)..=LARGEST_MEMORY)
}

/// A rate within limits. Its fraction must be short, because service times are computed in units of its parts.
fn rate(field: &Field<Rate>) -> Result<Rate, Diagnostic> {
    const LONGEST_PART: u64 = 1_000_000_000;
    let is_sensible = |rate: &Rate| {
        let (numerator, denominator) = (rate.numerator(), rate.denominator());
        let is_short = numerator.max(denominator) <= LONGEST_PART;
        is_short && numerator * 1024 >= denominator && numerator / denominator <= 1 << 20
    };
    field.required().must("a rate of 1/1024 to 1048576 a cycle with at most 9 digits", is_sensible)
}

/// Where in `file` the parts do not fit together, and what would.
fn cite(file: &HardwareFile, error: &HardwareError) -> Diagnostic {
    let is_called = |field: &Field<String>, wanted: &str| field.required().text().is_ok_and(|name| name == wanted);
    let role_field = |part: &str, role: MemoryRole| -> Option<&Field<String>> {
        let matrix_unit = || file.matrix_units.iter().find(|unit| is_called(&unit.name, part));
        let vector_unit = || file.vector_units.iter().find(|unit| is_called(&unit.name, part));
        match role {
            MemoryRole::MatrixOperands => matrix_unit().map(|unit| &unit.operand_memory),
            MemoryRole::Accumulators => matrix_unit().map(|unit| &unit.accumulator_memory),
            MemoryRole::VectorOperands => vector_unit().map(|unit| &unit.memory),
            MemoryRole::DmaSource => Some(&file.dma.from),
            MemoryRole::DmaTarget => Some(&file.dma.to),
        }
    };
    let fits = |memory: &MemoryFile, role: MemoryRole| match (role, &memory.sram) {
        (MemoryRole::DmaSource, sram) => sram.is_none(),
        (MemoryRole::Accumulators, sram) => sram.as_ref().is_some_and(|sram| sram.partitions.is_none()),
        (MemoryRole::MatrixOperands | MemoryRole::VectorOperands | MemoryRole::DmaTarget, sram) => {
            sram.as_ref().is_some_and(|sram| sram.partitions.is_some())
        }
    };
    let fitting = |role: MemoryRole| {
        let names = file.memories.iter().filter(|memory| fits(memory, role));
        let names: Vec<String> = names.filter_map(|memory| memory.name.required().text().ok()).collect();
        if names.is_empty() {
            return "no memory of this file is of that kind".to_string();
        }
        format!("of that kind: {}", listed(names.iter().map(String::as_str)))
    };
    let sram = |wanted: &str| -> Option<&Placed<SramFile>> {
        file.memories.iter().find(|memory| is_called(&memory.name, wanted))?.sram.as_ref()
    };
    let message = error.to_string();
    let found = match error {
        HardwareError::WrongMemory { part, role, .. } => {
            role_field(part, *role).map(|field| field.problem(&message).note(fitting(*role)))
        }
        HardwareError::NotFilled { part, role, filled, .. } => {
            role_field(part, *role).map(|field| field.problem(&message).note(format!("write {filled}")))
        }
        HardwareError::PartitionsTooLarge { memory, .. } => sram(memory).and_then(|sram| {
            let whole = sram.partitions.as_ref()?;
            let PartitionsFile { activations, weights, outputs, resident } = &**whole;
            let cited = culprit(whole, &[activations, weights, outputs, resident, &sram.capacity]);
            Some(Diagnostic::new(cited.place(), cited.path(), &message))
        }),
        // Both are reported from the lists themselves, before the parts are put together.
        HardwareError::Missing { .. } | HardwareError::DuplicateName { .. } => None,
    };
    found.unwrap_or_else(|| file.matrix_units.problem(message))
}
