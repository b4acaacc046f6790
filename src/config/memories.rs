//! The memories of a hardware file, and the engine that moves data between them: as written, into models.

use serde::Deserialize;

use crate::config::checks::{MOST_CYCLES, cycles, exactly_one, place_of, plain_name, unique_names};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
use crate::config::field::{Field, Reading};
use crate::config::placed::{OneOrMany, Placed};
use crate::hardware::memory::{
    Arbitration, DmaEngine, Dram, Memory, MemoryId, MemoryKind, Partitions, Ports, Sram, WriteChannel,
};
use crate::hardware::npu::Npu;
use crate::hardware::requests::{ProductOrder, Requests};
use crate::memory::bandwidth_limited::BandwidthLimited;
use crate::memory::{self, MemoryModel};
use crate::units::{Bytes, Cycles, Rate};

const LARGEST_MEMORY: Bytes = Bytes(1 << 40);

#[derive(Deserialize)]
pub(crate) struct MemoryFile {
    pub(crate) name: Field<String>,
    dram: Option<Placed<DramFile>>,
    pub(crate) sram: Option<Placed<SramFile>>,
}

#[derive(Deserialize)]
struct DramFile {
    model: Field<String>,
    latency_cycles: Field<u64>,
    bytes_per_cycle: Option<Field<Rate>>,
    duplex: Option<Placed<DuplexFile>>,
    quantum_bytes: Field<u64>,
    weights: Option<Placed<WeightsFile>>,
    burst_bytes: Field<u64>,
}

#[derive(Deserialize)]
struct DuplexFile {
    read_bytes_per_cycle: Field<Rate>,
    write_bytes_per_cycle: Field<Rate>,
    write_response_latency_cycles: Field<u64>,
}

#[derive(Deserialize)]
struct WeightsFile {
    activations: Field<u32>,
    weights: Field<u32>,
    stores: Field<u32>,
}

#[derive(Deserialize)]
pub(crate) struct SramFile {
    pub(crate) capacity: Field<Bytes>,
    read_bytes_per_cycle: Field<Rate>,
    write_bytes_per_cycle: Field<Rate>,
    latency_cycles: Field<u64>,
    banks: Field<u64>,
    ports: Field<String>,
    pub(crate) partitions: Option<Placed<PartitionsFile>>,
}

#[derive(Deserialize)]
pub(crate) struct PartitionsFile {
    pub(crate) activations: Field<Bytes>,
    pub(crate) weights: Field<Bytes>,
    pub(crate) outputs: Field<Bytes>,
    pub(crate) resident: Field<Bytes>,
}

#[derive(Deserialize)]
pub(crate) struct DmaFile {
    pub(crate) name: Field<String>,
    pub(crate) from: Field<String>,
    pub(crate) to: Field<String>,
    outstanding: Field<u32>,
    setup_cycles: Field<u64>,
    cycles_per_run: Field<u64>,
    requests: Option<Placed<RequestsFile>>,
}

#[derive(Deserialize)]
struct RequestsFile {
    longest: Field<Bytes>,
    start_cycles: Field<u64>,
    arrival_cycles: Field<u64>,
    activation_bytes_per_cycle: Field<Rate>,
    activation_atom_bytes: Field<u64>,
    weight_multiple_bytes: Field<u64>,
    products: Field<String>,
}

/// The memories by name. Ids are positions in the file, whether or not each of them resolves.
pub(crate) fn memory_names(memories: &[Placed<MemoryFile>]) -> Vec<(String, MemoryId)> {
    let name = |(index, memory): (usize, &Placed<MemoryFile>)| {
        memory.name.required().text().ok().map(|name| (name, MemoryId(index)))
    };
    memories.iter().enumerate().filter_map(name).collect()
}

/// A memory of a hardware file.
///
/// # Errors
/// What is wrong in it.
pub(crate) fn resolve(memory: &Placed<MemoryFile>, defaults: &mut Defaults) -> Result<Memory, ConfigError> {
    let mut problems = Problems::default();
    let name = problems.take(memory_name(&memory.name));
    let kind = problems.take(resolve_kind(memory, defaults));
    problems.built(|| Some(Memory { name: name?, kind: kind? }))
}

fn memory_name(field: &Field<String>) -> Result<String, Diagnostic> {
    /// Names that reports give to other things beside the memories.
    const TAKEN: [&str; 4] = ["matrix_units", "vector_units", "dma", "total"];
    let name = plain_name(field)?;
    if TAKEN.contains(&name.as_str()) {
        return Err(field.problem(format!("a memory cannot be called \"{name}\": reports use that name")));
    }
    Ok(name)
}

fn resolve_kind(memory: &Placed<MemoryFile>, defaults: &mut Defaults) -> Result<MemoryKind, ConfigError> {
    exactly_one(memory, &[("dram", place_of(&memory.dram)), ("sram", place_of(&memory.sram))])?;
    match (&memory.dram, &memory.sram) {
        (Some(dram), _) => resolve_dram(dram, defaults).map(MemoryKind::Dram),
        (None, Some(sram)) => resolve_sram(sram).map(MemoryKind::Sram),
        (None, None) => unreachable!("exactly one was given"),
    }
}

fn resolve_dram(dram: &Placed<DramFile>, defaults: &mut Defaults) -> Result<Dram, ConfigError> {
    let mut problems = Problems::default();
    let model = problems.take(dram.model.required().one_of(&memory_models()));
    let latency = problems.take(cycles(&dram.latency_cycles));
    let channels = problems.take(resolve_channels(dram, latency, defaults));
    let arbitration = model.and_then(|model| problems.take(resolve_arbitration(dram, model, defaults)));
    let burst = problems.take(dram.burst_bytes.optional().map_or(Ok(1), |reading| {
        reading.must("a power of two up to 4096", |bytes| bytes.is_power_of_two() && *bytes <= 4096)
    }));
    problems.built(|| {
        let (bytes_per_cycle, write_channel) = channels?;
        let (arbitration, burst) = (arbitration?, Bytes(burst?));
        Some(Dram { model: model?, latency: latency?, bytes_per_cycle, write_channel, arbitration, burst })
    })
}

/// The rate of the channel, and the channel for writes if they have one of their own.
fn resolve_channels(
    dram: &Placed<DramFile>,
    latency: Option<Cycles>,
    defaults: &mut Defaults,
) -> Result<(Rate, Option<WriteChannel>), ConfigError> {
    exactly_one(dram, &[("bytes_per_cycle", place_of(&dram.bytes_per_cycle)), ("duplex", place_of(&dram.duplex))])?;
    let duplex = match (&dram.bytes_per_cycle, &dram.duplex) {
        (Some(bytes_per_cycle), _) => return Ok((rate(bytes_per_cycle)?, None)),
        (None, Some(duplex)) => duplex,
        (None, None) => unreachable!("exactly one was given"),
    };
    let mut problems = Problems::default();
    let read = problems.take(rate(&duplex.read_bytes_per_cycle));
    let write = problems.take(rate(&duplex.write_bytes_per_cycle));
    let response = &duplex.write_response_latency_cycles;
    let reason = "a write is acknowledged as late as a read arrives";
    // Of a latency that cannot be read a mistake is noted by the caller.
    let latency = latency.unwrap_or_default().get();
    let response = problems.take(response.or_default(latency, reason, defaults).in_range(0..=MOST_CYCLES));
    problems.built(|| {
        let write_channel = WriteChannel { bytes_per_cycle: write?, response_latency: Cycles(response?) };
        Some((read?, Some(write_channel)))
    })
}

/// Keys of a memory that do nothing, each with why: those of another memory model, those that the part which it plays in
/// `npu` leaves idle.
pub(crate) fn unused_keys(file: &MemoryFile, npu: &Npu, id: MemoryId) -> Vec<Diagnostic> {
    let memory = &npu.memory(id).name;
    if !npu.uses(id) {
        let message = format!("no unit and no engine names the memory `{memory}`: it does nothing");
        return vec![file.name.problem(message)];
    }
    let mut unused = Vec::new();
    if let (Some(dram), MemoryKind::Dram(Dram { model, .. })) = (&file.dram, &npu.memory(id).kind)
        && !arbitrates(model)
    {
        let given = [
            dram.quantum_bytes.is_given().then_some(&dram.quantum_bytes as &dyn Cited),
            dram.weights.as_ref().map(|weights| weights as &dyn Cited),
        ];
        unused.extend(given.into_iter().flatten().map(|cited| {
            let message = format!(
                "this does nothing: the model \"{model}\" serves transfers in order of submission and has no turns"
            );
            let arbitrating = MemoryModel::name(&BandwidthLimited);
            Diagnostic::new(cited.place(), cited.path(), message).help(format!("write model: {arbitrating}"))
        }));
    }
    let Some(sram) = &file.sram else { return unused };
    if sram.latency_cycles.is_given() && npu.shared().is_none_or(|(shared, _)| shared != id) {
        let message = format!(
            "`latency_cycles` does nothing in `{memory}`: only a memory that an engine of its own reads and writes, between \
             the buffers and the off-chip memory, has a latency"
        );
        unused.push(sram.latency_cycles.problem(message));
    }
    unused
}

/// Keys of an engine that do nothing, each with why.
pub(crate) fn unused_keys_of_engine(file: &DmaFile, npu: &Npu) -> Vec<Diagnostic> {
    let is_shared =
        npu.shared().is_some_and(|(_, engine)| file.name.required().text().is_ok_and(|it| it == engine.name));
    let Some(requests) = file.requests.as_ref().filter(|_| is_shared) else { return Vec::new() };
    let RequestsFile {
        longest,
        start_cycles,
        arrival_cycles: _,
        activation_bytes_per_cycle,
        activation_atom_bytes,
        weight_multiple_bytes,
        products,
    } = &**requests;
    let given: [(&str, bool, &dyn Cited); 6] = [
        ("longest", longest.is_given(), longest),
        ("start_cycles", start_cycles.is_given(), start_cycles),
        ("activation_bytes_per_cycle", activation_bytes_per_cycle.is_given(), activation_bytes_per_cycle),
        ("activation_atom_bytes", activation_atom_bytes.is_given(), activation_atom_bytes),
        ("weight_multiple_bytes", weight_multiple_bytes.is_given(), weight_multiple_bytes),
        ("products", products.is_given(), products),
    ];
    let unused = given.into_iter().filter(|(_, is_given, _)| *is_given).map(|(key, _, cited)| {
        let message =
            format!("`{key}` does nothing here: the engine from off-chip memory says how tiles are asked for");
        Diagnostic::new(cited.place(), cited.path(), message)
    });
    unused.collect()
}

/// Whether the requesters of a memory model take turns.
fn arbitrates(model: &str) -> bool {
    model == MemoryModel::name(&BandwidthLimited)
}

/// How queues share the bandwidth, in a model that arbitrates; others leave what is said about it unused.
fn resolve_arbitration(dram: &DramFile, model: &str, defaults: &mut Defaults) -> Result<Arbitration, ConfigError> {
    let mut problems = Problems::default();
    let quantum = Arbitration::DEFAULT.quantum.get();
    let reason = "a burst of eight on a 64-bit channel (JEDEC JESD79-4, DDR4)";
    if !arbitrates(model) {
        // What is left out has no default where nothing reads it.
        let mut unused = Defaults::default();
        problems.take(dram.quantum_bytes.or_default(quantum, reason, &mut unused).in_range(1..=1 << 20));
        let weights = dram.weights.iter().flat_map(|of| [&of.activations, &of.weights, &of.stores]);
        for weight in weights {
            problems.take(weight.or_default(1, "a turn of one quantum", &mut unused).in_range(1..=1024));
        }
        return problems.built(|| Some(Arbitration::DEFAULT));
    }
    let quantum = problems.take(dram.quantum_bytes.or_default(quantum, reason, defaults).in_range(1..=1 << 20));
    let weights = match &dram.weights {
        None => Arbitration::DEFAULT.weights.map(Some),
        Some(weights) => [&weights.activations, &weights.weights, &weights.stores]
            .map(|weight| problems.take(weight.or_default(1, "a turn of one quantum", defaults).in_range(1..=1024))),
    };
    problems.built(|| {
        let [activations, weights, stores] = weights;
        Some(Arbitration { quantum: Bytes(quantum?), weights: [activations?, weights?, stores?] })
    })
}

fn resolve_sram(sram: &SramFile) -> Result<Sram, ConfigError> {
    let mut problems = Problems::default();
    let capacity = problems.take(sram.capacity.required().in_range(Bytes(1)..=LARGEST_MEMORY));
    let banks = problems.take(sram.banks.optional().map(|banks| equal_banks(banks, capacity)).transpose());
    let ports = problems.take(resolve_ports(sram));
    let bank = capacity.zip(banks.flatten()).map(|(capacity, banks)| capacity.get() / banks);
    let partitions = problems.take(sram.partitions.as_ref().map(|parts| resolve_partitions(parts, bank)).transpose());
    let read_bytes_per_cycle = problems.take(rate(&sram.read_bytes_per_cycle));
    let write_bytes_per_cycle = problems.take(rate(&sram.write_bytes_per_cycle));
    let latency = sram.latency_cycles.optional().map_or(Ok(0), |reading| reading.in_range(0..=MOST_CYCLES));
    let latency = problems.take(latency);
    problems.built(|| {
        Some(Sram {
            capacity: capacity?,
            read_bytes_per_cycle: read_bytes_per_cycle?,
            write_bytes_per_cycle: write_bytes_per_cycle?,
            latency: Cycles(latency?),
            banks: banks?,
            ports: ports?,
            partitions: partitions?,
        })
    })
}

/// A number of banks that divides the `capacity`; of one that is not known, any.
fn equal_banks(banks: Reading<'_, u64>, capacity: Option<Bytes>) -> Result<u64, Diagnostic> {
    let Some(capacity) = capacity else { return banks.must("a number of equal banks", |banks| *banks > 0) };
    let allowed = format!("a number of equal banks of {capacity}");
    banks.beside_others().must(&allowed, |banks| *banks > 0 && capacity.get().is_multiple_of(*banks))
}

fn resolve_ports(sram: &SramFile) -> Result<Ports, Diagnostic> {
    let ports = match sram.ports.optional() {
        None => Ports::Dual,
        Some(reading) => reading.one_of(&[("single", Ports::Single), ("dual", Ports::Dual)])?,
    };
    if ports == Ports::Single && !sram.banks.is_given() {
        let problem = sram.ports.problem("single-ported banks are told apart, but none are given");
        return Err(problem.note("write banks: too"));
    }
    Ok(ports)
}

/// The partitions, each of whole banks of so many bytes where there are banks.
fn resolve_partitions(file: &PartitionsFile, bank: Option<u64>) -> Result<Partitions, ConfigError> {
    let mut problems = Problems::default();
    let mut part = |field: &Field<Bytes>, least: u64| {
        let bytes = problems.take(field.required().beside_others().in_range(Bytes(least)..=LARGEST_MEMORY))?;
        let Some(bank) = bank else { return Some(bytes) };
        let allowed = format!("whole banks, a multiple of {bank} bytes");
        problems.take(field.required().beside_others().must(&allowed, |bytes| bytes.get().is_multiple_of(bank)))
    };
    let (activations, weights, outputs) = (part(&file.activations, 1), part(&file.weights, 1), part(&file.outputs, 1));
    // Without a resident share every tensor goes off the chip between layers: a design too.
    let resident = part(&file.resident, 0);
    problems.built(|| {
        Some(Partitions { activations: activations?, weights: weights?, outputs: outputs?, resident: resident? })
    })
}

/// The engines of a hardware file: the one that reaches off-chip memory, and that of a shared memory if there is one.
///
/// # Errors
/// What is wrong in one of them, or that there are others.
pub(crate) fn resolve_engines(
    engines: &Placed<OneOrMany<Placed<DmaFile>>>,
    memories: &[Placed<MemoryFile>],
    names: &[(String, MemoryId)],
    defaults: &mut Defaults,
) -> Result<(DmaEngine, Option<DmaEngine>), ConfigError> {
    let mut problems = Problems::default();
    problems.take(unique_names(engines.iter().map(|engine| &engine.name)));
    let (mut far, mut shared) = (None, None);
    let all: Vec<_> =
        engines.iter().map(|engine| (engine, problems.take(resolve_dma(engine, names, defaults)))).collect();
    // Which engine is which follows from all of them.
    problems.finish()?;
    for (engine, resolved) in all {
        let resolved = resolved.expect("of each engine that is missing a mistake was noted");
        let is_far = engines.len() == 1 || memories[resolved.from.0].sram.is_none();
        let (place, what) = if is_far { (&mut far, "off-chip") } else { (&mut shared, "shared") };
        if place.replace(resolved).is_some() {
            let message = format!("this is a second engine from {what} memory");
            return Err(engine.from.problem(message).note("one engine may come from each of the two").into());
        }
    }
    let none_from_dram = || {
        engines
            .problem("no engine comes from off-chip memory")
            .note("one must, the other may come from a shared memory")
    };
    Ok((far.ok_or_else(none_from_dram)?, shared))
}

fn resolve_dma(
    dma: &DmaFile,
    memories: &[(String, MemoryId)],
    defaults: &mut Defaults,
) -> Result<DmaEngine, ConfigError> {
    let mut problems = Problems::default();
    let name = problems.take(plain_name(&dma.name));
    let from = problems.take(dma.from.required().beside_others().one_of(memories));
    let to = problems.take(dma.to.required().beside_others().one_of(memories));
    let outstanding = problems.take(dma.outstanding.required().in_range(1..=65_536));
    let setup = problems.take(cycles(&dma.setup_cycles));
    let cycles_per_run = dma.cycles_per_run.optional().map_or(Ok(0), |reading| reading.in_range(0..=1024));
    let cycles_per_run = problems.take(cycles_per_run);
    let requests = problems.take(match &dma.requests {
        None => Ok(Requests::PLAIN),
        Some(requests) => resolve_requests(requests, defaults),
    });
    problems.built(|| {
        Some(DmaEngine {
            name: name?,
            from: from?,
            to: to?,
            outstanding: outstanding?,
            setup: setup?,
            cycles_per_run: Cycles(cycles_per_run?),
            requests: requests?,
        })
    })
}

fn resolve_requests(file: &RequestsFile, defaults: &mut Defaults) -> Result<Requests, ConfigError> {
    let mut problems = Problems::default();
    let products = [("independent", ProductOrder::Independent), ("together", ProductOrder::Together)];
    let independent = "each queue goes on to the next product as soon as it has credit";
    let order = file.products.or_default("independent".to_owned(), independent, defaults).one_of(&products);
    let order = problems.take(order);
    let mut granule = |field: &Field<u64>, reason| {
        let granule = field.or_default(1, reason, defaults);
        let granule = granule.must("a power of two up to 4096", |bytes| bytes.is_power_of_two() && *bytes <= 4096);
        problems.take(granule.map(Bytes))
    };
    let activation_atom = granule(&file.activation_atom_bytes, "rows are packed to the byte");
    let weight_multiple = granule(&file.weight_multiple_bytes, "weights are fetched to the byte");
    let mut latency = |field: &Field<u64>, reason| {
        problems.take(field.or_default(0, reason, defaults).in_range(0..=MOST_CYCLES).map(Cycles))
    };
    let start = latency(&file.start_cycles, "the first request is made at once");
    let arrival = latency(&file.arrival_cycles, "what has arrived can be read at once");
    let longest = file.longest.optional().map(|longest| longest.in_range(Bytes(8)..=LARGEST_MEMORY));
    let longest = problems.take(longest.transpose());
    let activation_bytes_per_cycle =
        file.activation_bytes_per_cycle.is_given().then(|| rate(&file.activation_bytes_per_cycle));
    let activation_bytes_per_cycle = problems.take(activation_bytes_per_cycle.transpose());
    problems.built(|| {
        Some(Requests {
            longest: longest?,
            start: start?,
            arrival: arrival?,
            activation_bytes_per_cycle: activation_bytes_per_cycle?,
            activation_atom: activation_atom?,
            weight_multiple: weight_multiple?,
            products: order?,
        })
    })
}

/// The registered memory models by name.
fn memory_models() -> Vec<(&'static str, &'static str)> {
    memory::ALL.iter().map(|model| (model.name(), model.name())).collect()
}

/// A rate within limits. Its fraction must be short, because service times are computed in units of its parts.
pub(crate) fn rate(field: &Field<Rate>) -> Result<Rate, Diagnostic> {
    const LONGEST_PART: u64 = 1_000_000_000;
    let is_sensible = |rate: &Rate| {
        let (numerator, denominator) = (rate.numerator(), rate.denominator());
        let is_short = numerator.max(denominator) <= LONGEST_PART;
        is_short && numerator * 1024 >= denominator && numerator / denominator <= 1 << 20
    };
    field.required().must("a rate of 1/1024 to 1048576 a cycle with at most 9 digits", is_sensible)
}
