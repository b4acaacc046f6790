//! Hardware files: an accelerator as written, into an [`Npu`].
//!
//! Ranges are wide, but such that the multiplier cycles of a run, padding included, stay below 2^63 for any workload that
//! [`workload`](crate::config::workload) accepts. A product of `m x k x n` on an array that works on `a x b x c` of it at
//! once occupies at most `(m + a)(k + b)(n + c)` of them. Over all layers `mkn` sums to at most 2^60 (the limit of the
//! workload); `kna + mnb + mkc` to 2^45 x 2^16 (its elements, and the longest side of an array); and `mbc + kac + nab` to
//! little more than 2^16 x 2^22 x 2^24 (its layers and longest axis, and the multipliers of an array: `abc` is at most
//! that, so that two of the three pairs are small).

use serde::Deserialize;

use crate::config::checks::{culprit, cycles, exactly_one, place_of, plain_name, unique_names};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed};
use crate::config::document::Document;
use crate::config::energy::{self, Actor, EnergyFile};
use crate::config::field::Field;
use crate::config::matrix_units::{self, MatrixUnitFile};
use crate::config::placed::{List, Placed};
use crate::config::presets::include_energy_table;
use crate::config::scalar::Hertz;
use crate::hardware::actions::Action;
use crate::hardware::memory::{DmaEngine, Dram, Memory, MemoryId, MemoryKind, Partitions, Sram};
use crate::hardware::npu::{HardwareError, MemoryRole, Npu, NpuParts};
use crate::hardware::vector_unit::{VectorFunction, VectorUnit};
use crate::memory;
use crate::units::{Bytes, Rate};

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
    gather: Field<Rate>,
    merge: Field<Rate>,
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
        .filter_map(|unit| problems.take(matrix_units::resolve(unit, &memory_names, defaults)))
        .collect();
    let vector_units = problems.take(file.vector_units.at_least_one()).unwrap_or_default();
    let vector_units = vector_units
        .iter()
        .filter_map(|unit| problems.take(resolve_vector_unit(unit, &memory_names, defaults)))
        .collect();
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
    let functions = |unit: &VectorUnitFile| -> Vec<Action> {
        let given = VectorFunction::ALL.into_iter().filter(|function| {
            !is_optional(*function)
                || match function {
                    VectorFunction::Gather => unit.elements_per_cycle.gather.is_given(),
                    VectorFunction::Merge => unit.elements_per_cycle.merge.is_given(),
                    _ => true,
                }
        });
        given.map(Action::Vector).collect()
    };
    actors.extend(file.vector_units.iter().map(|unit| Actor { part: unit, actions: functions(unit) }));
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

fn resolve_vector_unit(
    unit: &Placed<VectorUnitFile>,
    memories: &[(String, MemoryId)],
    defaults: &mut Defaults,
) -> Result<VectorUnit, Diagnostic> {
    let written = |function: VectorFunction| match function {
        VectorFunction::Reduce => &unit.elements_per_cycle.reduce,
        VectorFunction::Quantize => &unit.elements_per_cycle.quantize,
        VectorFunction::Dequantize => &unit.elements_per_cycle.dequantize,
        VectorFunction::Add => &unit.elements_per_cycle.add,
        VectorFunction::Activate => &unit.elements_per_cycle.activate,
        VectorFunction::Gather => &unit.elements_per_cycle.gather,
        VectorFunction::Merge => &unit.elements_per_cycle.merge,
    };
    let mut rates = [Rate::whole(1).expect("one is not zero"); VectorFunction::ALL.len()];
    for function in VectorFunction::ALL {
        let field = written(function);
        if !field.is_given() && is_optional(function) {
            rates[function.index()] = rates[VectorFunction::Add.index()];
            defaults.record(field.path(), &rates[function.index()], "as many lanes as add two matrices");
            continue;
        }
        rates[function.index()] = rate(field)?;
    }
    Ok(VectorUnit {
        name: plain_name(&unit.name)?,
        memory: unit.memory.required().one_of(memories)?,
        rates,
        latency: cycles(&unit.latency_cycles)?,
    })
}

/// Functions that only outlier schemes use: a file may leave out their rates, and then their energy.
const fn is_optional(function: VectorFunction) -> bool {
    matches!(function, VectorFunction::Gather | VectorFunction::Merge)
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

/// The registered memory models by name.
fn memory_models() -> Vec<(&'static str, &'static str)> {
    memory::ALL.iter().map(|model| (model.name(), model.name())).collect()
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
