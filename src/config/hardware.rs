//! Hardware files: an accelerator as written, into an [`Npu`].
//!
//! Ranges are wide, but such that the multiplier cycles of a run, padding included, stay below 2^63 for any workload that
//! [`workload`](crate::config::workload) accepts. A product of `m x k x n` on an array that works on `a x b x c` of it at
//! once occupies at most `(m + a)(k + b)(n + c)` of them. Over all layers `mkn` sums to at most 2^60 (the limit of the
//! workload); `kna + mnb + mkc` to 2^45 x 2^16 (its elements, and the longest side of an array); and `mbc + kac + nab` to
//! little more than 2^16 x 2^22 x 2^24 (its layers and longest axis, and the multipliers of an array: `abc` is at most
//! that, so that two of the three pairs are small).

use serde::Deserialize;

use crate::config::checks::{culprit, cycles, plain_name, unique_names};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed};
use crate::config::document::Document;
use crate::config::energy::{self, Actor, EnergyFile, Surroundings};
use crate::config::field::Field;
use crate::config::matrix_units::{self, MatrixUnitFile};
use crate::config::memories::{
    self, DmaFile, MemoryFile, PartitionsFile, SramFile, memory_names, rate, resolve_engines,
};
use crate::config::placed::{List, OneOrMany, Placed};
use crate::config::presets::include_energy_table;
use crate::config::scalar::Hertz;
use crate::config::schema::{FileForm, form_of};
use crate::hardware::actions::{Action, Component};
use crate::hardware::array::{Array, BlockWeights, DotProductArray};
use crate::hardware::memory::{Memory, MemoryId, MemoryKind};
use crate::hardware::npu::{HardwareError, MemoryRole, Npu, NpuParts};
use crate::hardware::vector_unit::{Extractor, VectorFunction, VectorUnit};
use crate::units::{Bytes, Rate};

#[derive(Deserialize)]
struct HardwareFile {
    name: Field<String>,
    clock: Field<Hertz>,
    voltage: Field<f64>,
    matrix_units: List<Placed<MatrixUnitFile>>,
    vector_units: List<Placed<VectorUnitFile>>,
    memories: List<Placed<MemoryFile>>,
    dma: Placed<OneOrMany<Placed<DmaFile>>>,
    energy: Placed<EnergyFile>,
}

#[derive(Deserialize)]
struct VectorUnitFile {
    name: Field<String>,
    memory: Field<String>,
    elements_per_cycle: RatesFile,
    latency_cycles: Field<u64>,
    extractor: Option<Placed<ExtractorFile>>,
}

#[derive(Deserialize)]
struct ExtractorFile {
    elements_per_cycle: Field<Rate>,
    table_bytes: Field<Bytes>,
    latency_cycles: Field<u64>,
}

#[derive(Deserialize)]
struct RatesFile {
    reduce: Field<Rate>,
    quantize: Field<Rate>,
    dequantize: Field<Rate>,
    add: Field<Rate>,
    activate: Field<Rate>,
    multiply: Field<Rate>,
    softmax: Field<Rate>,
    normalize: Field<Rate>,
    rotary: Field<Rate>,
    gather: Field<Rate>,
    merge: Field<Rate>,
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
    resolve_with_notes(document, defaults).map(|(npu, _)| npu)
}

/// As [`resolve`], with what is odd in the file and yet sound, each cited where it stands: an energy table that does not
/// follow the capacity of a memory.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with_notes(document: &Document, defaults: &mut Defaults) -> Result<(Npu, Vec<Diagnostic>), ConfigError> {
    let mut document = document.clone();
    include_energy_table(&mut document)?;
    let file: HardwareFile = document.read()?;
    let mut problems = Problems::default();
    problems.take(unique_names(file.matrix_units.iter().map(|unit| &unit.name)));
    problems.take(unique_names(file.vector_units.iter().map(|unit| &unit.name)));
    problems.take(unique_names(file.memories.iter().map(|memory| &memory.name)));
    let name = problems.take(plain_name(&file.name));
    let clock = problems.take(file.clock.required().in_range(Hertz(1_000_000)..=Hertz(100_000_000_000)));
    let memory_names = memory_names(&file.memories);
    let memories = file.memories.iter().filter_map(|memory| problems.take(memories::resolve(memory, defaults)));
    let memories: Vec<Memory> = memories.collect();
    let matrix_units = problems.take(file.matrix_units.at_least_one()).unwrap_or_default();
    let matrix_units = matrix_units
        .iter()
        .filter_map(|unit| problems.take(matrix_units::resolve(unit, &memory_names, defaults)))
        .collect();
    let vector_units = problems.take(file.vector_units.at_least_one()).unwrap_or_default();
    let vector_units =
        vector_units.iter().filter_map(|unit| problems.take(resolve_vector_unit(unit, &memory_names))).collect();
    let engines = problems.take(resolve_engines(&file.dma, &file.memories, &memory_names, defaults));
    let around = Surroundings {
        clock_hz: clock.map_or(1_000_000_000, |clock| clock.0),
        memories: &memories,
        voltage: Some(&file.voltage),
    };
    let energy = problems.take(energy::resolve_for(&file.energy, &around, defaults));
    problems.finish()?;
    let whole = "no problem was noted";
    let (dma, shared_dma) = engines.expect(whole);
    let parts = NpuParts {
        name: name.expect(whole),
        clock_hz: clock.expect(whole).0,
        matrix_units,
        vector_units,
        memories,
        dma,
        shared_dma,
        energy: energy.expect(whole),
    };
    let npu = Npu::try_new(parts).map_err(|error| cite(&file, &error))?;
    let areas = energy::areas(&file.energy, &npu)?;
    let npu = npu.with_areas(areas);
    energy::check_coverage(&actors(&file, &npu), npu.energy(), &file.energy)?;
    let notes = energy::fixed_sizes(&file.energy, npu.memories(), &set_capacities(&file));
    Ok((npu, notes))
}

/// Memories on the chip whose capacity was written elsewhere than they were: by an override.
fn set_capacities(file: &HardwareFile) -> Vec<(String, &Field<Bytes>)> {
    let set = file.memories.iter().filter_map(|memory| {
        let capacity = &memory.sram.as_ref()?.capacity;
        let is_set = capacity.place().source().name() != memory.name.place().source().name();
        let name = memory.name.required().text().ok()?;
        (is_set && capacity.is_given()).then_some((name, capacity))
    });
    set.collect()
}

/// Keys of the memories and engines of `document` that do nothing under what else it says, each with why; `npu` is what it
/// describes.
///
/// # Errors
/// As [`resolve`].
pub fn unused_keys(document: &Document, npu: &Npu) -> Result<Vec<Diagnostic>, ConfigError> {
    let mut document = document.clone();
    include_energy_table(&mut document)?;
    let file: HardwareFile = document.read()?;
    let of_memories = file.memories.iter().enumerate().flat_map(|(index, memory)| {
        let id = MemoryId(index);
        memories::unused_keys(memory, npu, id)
    });
    let of_engines = file.dma.iter().flat_map(|engine| memories::unused_keys_of_engine(engine, npu));
    Ok(of_memories.chain(of_engines).collect())
}

/// What each part of the accelerator does that costs energy. Parts stand in the order of the file.
fn actors<'f>(file: &'f HardwareFile, npu: &Npu) -> Vec<Actor<'f>> {
    let of_units = [Action::IdleMac, Action::GatedMac, Action::Accumulate, Action::AccumulatorShift];
    let of_units = of_units.into_iter().chain([Action::Leakage(Component::MatrixUnits)]).collect();
    let mut actors: Vec<Actor<'f>> = vec![Actor { part: &file.matrix_units, actions: of_units }];
    for (written, unit) in file.matrix_units.iter().zip(npu.matrix_units()) {
        let in_array = match unit.array {
            Array::Systolic(array) if array.dataflow == "output_stationary" => vec![Action::RegisterShift],
            Array::Systolic(_) => vec![Action::RegisterShift, Action::WeightLoad],
            Array::DotProduct(DotProductArray { weights: BlockWeights::Streamed, .. }) => Vec::new(),
            Array::DotProduct(_) => vec![Action::WeightLoad],
        };
        actors.push(Actor { part: &written.name, actions: in_array });
        actors.extend(written.formats.iter().zip(&unit.formats).map(|(written, pair)| {
            let mac = Action::Mac { activation: pair.activation, weight: pair.weight };
            // With a float accumulator a pair of narrow formats is one of block-scaled elements.
            let is_scaled = !pair.accumulator.is_integer() && pair.activation.storage_bits() <= 8;
            let actions = std::iter::once(mac).chain(is_scaled.then_some(Action::BlockScale)).collect();
            Actor { part: written, actions }
        }));
    }
    let functions = |unit: &VectorUnit| {
        let supported = VectorFunction::ALL.into_iter().filter(|function| unit.supports(*function));
        let index = unit.supports(VectorFunction::Gather).then_some(Action::IndexFetch);
        supported.map(Action::Vector).chain(index).chain([Action::Leakage(Component::VectorUnits)]).collect()
    };
    let units = file.vector_units.iter().zip(npu.vector_units());
    actors.extend(units.map(|(written, unit)| Actor { part: written, actions: functions(unit) }));
    actors.extend(file.memories.iter().zip(npu.memories()).map(|(written, memory)| {
        let name = || memory.name.clone();
        let by_time = match memory.kind {
            MemoryKind::Dram(_) => Action::Background(name()),
            MemoryKind::Sram(_) => Action::Leakage(Component::Memory(name())),
        };
        Actor { part: &written.name, actions: vec![Action::Read(name()), Action::Write(name()), by_time] }
    }));
    actors.push(Actor { part: &file.dma, actions: vec![Action::DmaDescriptor, Action::DmaBurst] });
    actors
}

fn resolve_vector_unit(
    unit: &Placed<VectorUnitFile>,
    memories: &[(String, MemoryId)],
) -> Result<VectorUnit, ConfigError> {
    let mut problems = Problems::default();
    let written = |function: VectorFunction| match function {
        VectorFunction::Extract => None,
        VectorFunction::Reduce => Some(&unit.elements_per_cycle.reduce),
        VectorFunction::Quantize => Some(&unit.elements_per_cycle.quantize),
        VectorFunction::Dequantize => Some(&unit.elements_per_cycle.dequantize),
        VectorFunction::Add => Some(&unit.elements_per_cycle.add),
        VectorFunction::Activate => Some(&unit.elements_per_cycle.activate),
        VectorFunction::Multiply => Some(&unit.elements_per_cycle.multiply),
        VectorFunction::Softmax => Some(&unit.elements_per_cycle.softmax),
        VectorFunction::Normalize => Some(&unit.elements_per_cycle.normalize),
        VectorFunction::Rotary => Some(&unit.elements_per_cycle.rotary),
        VectorFunction::Gather => Some(&unit.elements_per_cycle.gather),
        VectorFunction::Merge => Some(&unit.elements_per_cycle.merge),
    };
    // What every quantized product needs must be there; the rest is asked for by the layers that use it.
    let is_basic = |function: VectorFunction| function.index() <= VectorFunction::Activate.index();
    let mut rates = [None; VectorFunction::ALL.len()];
    for function in VectorFunction::ALL {
        if let Some(written) = written(function).filter(|written| is_basic(function) || written.is_given()) {
            rates[function.index()] = problems.take(rate(written));
        }
    }
    let extractor = match &unit.extractor {
        None => None,
        Some(written) => {
            let elements_per_cycle = problems.take(rate(&written.elements_per_cycle));
            let table = problems.take(written.table_bytes.required().in_range(Bytes(2)..=Bytes(1 << 30)));
            let latency = problems.take(cycles(&written.latency_cycles));
            rates[VectorFunction::Extract.index()] = elements_per_cycle;
            elements_per_cycle.zip(table).zip(latency).map(|((elements_per_cycle, table), latency)| Extractor {
                elements_per_cycle,
                table,
                latency,
            })
        }
    };
    let name = problems.take(plain_name(&unit.name));
    let memory = problems.take(unit.memory.required().beside_others().one_of(memories));
    let latency = problems.take(cycles(&unit.latency_cycles));
    problems.built(|| Some(VectorUnit { name: name?, memory: memory?, rates, latency: latency?, extractor }))
}

/// Where in `file` the parts do not fit together, and what would.
fn cite(file: &HardwareFile, error: &HardwareError) -> Diagnostic {
    let is_called = |field: &Field<String>, wanted: &str| field.required().text().is_ok_and(|name| name == wanted);
    let role_field = |part: &str, role: MemoryRole| -> Option<&Field<String>> {
        let matrix_unit = || file.matrix_units.iter().find(|unit| is_called(&unit.name, part));
        let vector_unit = || file.vector_units.iter().find(|unit| is_called(&unit.name, part));
        let engine = || file.dma.iter().find(|engine| is_called(&engine.name, part));
        match role {
            MemoryRole::MatrixOperands => matrix_unit().map(|unit| &unit.operand_memory),
            MemoryRole::Accumulators => matrix_unit().map(|unit| &unit.accumulator_memory),
            MemoryRole::VectorOperands => vector_unit().map(|unit| &unit.memory),
            MemoryRole::DmaSource | MemoryRole::SharedSource => engine().map(|engine| &engine.from),
            MemoryRole::DmaTarget => engine().map(|engine| &engine.to),
        }
    };
    let fits = |memory: &MemoryFile, role: MemoryRole| match (role, &memory.sram) {
        (MemoryRole::DmaSource, sram) => sram.is_none(),
        (MemoryRole::Accumulators | MemoryRole::SharedSource, sram) => {
            sram.as_ref().is_some_and(|sram| sram.partitions.is_none())
        }
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
        HardwareError::SharedAccumulators { part, .. } => {
            role_field(part, MemoryRole::SharedSource).map(|field| field.problem(&message))
        }
        // Both are reported from the lists themselves, before the parts are put together.
        HardwareError::Missing { .. } | HardwareError::DuplicateName { .. } => None,
    };
    found.unwrap_or_else(|| file.matrix_units.problem(message))
}

/// What such a file may hold.
pub(crate) fn form() -> FileForm {
    form_of::<HardwareFile>()
}
