//! The memories of a hardware file, and the engine that moves data between them: as written, into models.

use serde::Deserialize;

use crate::config::checks::{MOST_CYCLES, cycles, exactly_one, place_of, plain_name, unique_names};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::field::Field;
use crate::config::placed::{OneOrMany, Placed};
use crate::hardware::memory::{
    Arbitration, DmaEngine, Dram, Memory, MemoryId, MemoryKind, Partitions, Ports, Sram, WriteChannel,
};
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
pub(crate) fn resolve(memory: &Placed<MemoryFile>, defaults: &mut Defaults) -> Result<Memory, Diagnostic> {
    /// Names that reports give to other things beside the memories.
    const TAKEN: [&str; 3] = ["matrix_units", "vector_units", "total"];
    let name = plain_name(&memory.name)?;
    if TAKEN.contains(&name.as_str()) {
        return Err(memory.name.problem(format!("a memory cannot be called \"{name}\": reports use that name")));
    }
    exactly_one(memory, &[("dram", place_of(&memory.dram)), ("sram", place_of(&memory.sram))])?;
    let kind = match (&memory.dram, &memory.sram) {
        (Some(dram), _) => MemoryKind::Dram(resolve_dram(dram, defaults)?),
        (None, Some(sram)) => MemoryKind::Sram(resolve_sram(sram)?),
        (None, None) => unreachable!("exactly one was given"),
    };
    Ok(Memory { name, kind })
}

fn resolve_dram(dram: &Placed<DramFile>, defaults: &mut Defaults) -> Result<Dram, Diagnostic> {
    let model = dram.model.required().one_of(&memory_models())?;
    let latency = cycles(&dram.latency_cycles)?;
    exactly_one(dram, &[("bytes_per_cycle", place_of(&dram.bytes_per_cycle)), ("duplex", place_of(&dram.duplex))])?;
    let (bytes_per_cycle, write_channel) = match (&dram.bytes_per_cycle, &dram.duplex) {
        (Some(bytes_per_cycle), _) => (rate(bytes_per_cycle)?, None),
        (None, Some(duplex)) => {
            let response = &duplex.write_response_latency_cycles;
            let reason = "a write is acknowledged as late as a read arrives";
            let response = response.or_default(latency.get(), reason, defaults).in_range(0..=MOST_CYCLES)?;
            let bytes_per_cycle = rate(&duplex.write_bytes_per_cycle)?;
            let write_channel = WriteChannel { bytes_per_cycle, response_latency: Cycles(response) };
            (rate(&duplex.read_bytes_per_cycle)?, Some(write_channel))
        }
        (None, None) => unreachable!("exactly one was given"),
    };
    let arbitration = resolve_arbitration(dram, model, defaults)?;
    let burst = dram.burst_bytes.optional().map_or(Ok(1), |reading| {
        reading.must("a power of two up to 4096", |bytes| bytes.is_power_of_two() && *bytes <= 4096)
    })?;
    Ok(Dram { model, latency, bytes_per_cycle, write_channel, arbitration, burst: Bytes(burst) })
}

/// How queues share the bandwidth; only a model that arbitrates may be told.
fn resolve_arbitration(dram: &DramFile, model: &str, defaults: &mut Defaults) -> Result<Arbitration, Diagnostic> {
    let arbitrating = MemoryModel::name(&BandwidthLimited);
    if model != arbitrating {
        let given = [
            dram.quantum_bytes.is_given().then_some(&dram.quantum_bytes as &dyn Cited),
            dram.weights.as_ref().map(|weights| weights as &dyn Cited),
        ];
        return match given.into_iter().flatten().next() {
            None => Ok(Arbitration::DEFAULT),
            Some(cited) => {
                let message = format!("the model \"{model}\" serves transfers in order of submission and has no turns");
                Err(Diagnostic::new(cited.place(), cited.path(), message)
                    .note(format!("leave it out, or write model: {arbitrating}")))
            }
        };
    }
    let quantum = Arbitration::DEFAULT.quantum.get();
    let reason = "a burst of eight on a 64-bit channel (JEDEC JESD79-4, DDR4)";
    let quantum = dram.quantum_bytes.or_default(quantum, reason, defaults).in_range(1..=1 << 20)?;
    let weights = match &dram.weights {
        None => Arbitration::DEFAULT.weights,
        Some(weights) => {
            let mut weight =
                |field: &Field<u32>| field.or_default(1, "a turn of one quantum", defaults).in_range(1..=1024);
            [weight(&weights.activations)?, weight(&weights.weights)?, weight(&weights.stores)?]
        }
    };
    Ok(Arbitration { quantum: Bytes(quantum), weights })
}

fn resolve_sram(sram: &SramFile) -> Result<Sram, Diagnostic> {
    let whole = capacity(&sram.capacity)?;
    let banks = sram.banks.optional().map(|reading| {
        let allowed = format!("a number of equal banks of {whole}");
        reading.must(&allowed, |banks| *banks > 0 && whole.get().is_multiple_of(*banks))
    });
    let banks = banks.transpose()?;
    let bank = banks.map(|banks| whole.get() / banks);
    let ports = match sram.ports.optional() {
        None => Ports::Dual,
        Some(reading) => reading.one_of(&[("single", Ports::Single), ("dual", Ports::Dual)])?,
    };
    if ports == Ports::Single && banks.is_none() {
        return Err(sram
            .ports
            .problem("single-ported banks are told apart, but none are given")
            .note("write banks: too"));
    }
    let partitions = match &sram.partitions {
        None => None,
        Some(partitions) => {
            let part = |field: &Field<Bytes>, least: u64| {
                let bytes = field.required().in_range(Bytes(least)..=LARGEST_MEMORY)?;
                match bank {
                    Some(bank) => {
                        let allowed = format!("whole banks, a multiple of {bank} bytes");
                        field.required().must(&allowed, |bytes| bytes.get().is_multiple_of(bank))
                    }
                    None => Ok(bytes),
                }
            };
            Some(Partitions {
                activations: part(&partitions.activations, 1)?,
                weights: part(&partitions.weights, 1)?,
                outputs: part(&partitions.outputs, 1)?,
                // Without a resident share every tensor goes off the chip between layers: a design too.
                resident: part(&partitions.resident, 0)?,
            })
        }
    };
    Ok(Sram {
        capacity: whole,
        read_bytes_per_cycle: rate(&sram.read_bytes_per_cycle)?,
        write_bytes_per_cycle: rate(&sram.write_bytes_per_cycle)?,
        latency: Cycles(sram.latency_cycles.optional().map_or(Ok(0), |reading| reading.in_range(0..=MOST_CYCLES))?),
        banks,
        ports,
        partitions,
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
) -> Result<(DmaEngine, Option<DmaEngine>), Diagnostic> {
    unique_names(engines.iter().map(|engine| &engine.name))?;
    let (mut far, mut shared) = (None, None);
    for engine in engines.iter() {
        let resolved = resolve_dma(engine, names, defaults)?;
        let is_far = engines.len() == 1 || memories[resolved.from.0].sram.is_none();
        let (place, what) = if is_far { (&mut far, "off-chip") } else { (&mut shared, "shared") };
        if place.replace(resolved).is_some() {
            let message = format!("this is a second engine from {what} memory");
            return Err(engine.from.problem(message).note("one engine may come from each of the two"));
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
) -> Result<DmaEngine, Diagnostic> {
    Ok(DmaEngine {
        name: plain_name(&dma.name)?,
        from: dma.from.required().one_of(memories)?,
        to: dma.to.required().one_of(memories)?,
        outstanding: dma.outstanding.required().in_range(1..=65_536)?,
        setup: cycles(&dma.setup_cycles)?,
        cycles_per_run: Cycles(dma.cycles_per_run.optional().map_or(Ok(0), |reading| reading.in_range(0..=1024))?),
        requests: match &dma.requests {
            None => Requests::PLAIN,
            Some(requests) => resolve_requests(requests, defaults)?,
        },
    })
}

fn resolve_requests(file: &RequestsFile, defaults: &mut Defaults) -> Result<Requests, Diagnostic> {
    let products = [("independent", ProductOrder::Independent), ("together", ProductOrder::Together)];
    let independent = "each queue goes on to the next product as soon as it has credit";
    let order = file.products.or_default("independent".to_owned(), independent, defaults).one_of(&products)?;
    let mut granule = |field: &Field<u64>, reason| {
        let granule = field.or_default(1, reason, defaults);
        granule.must("a power of two up to 4096", |bytes| bytes.is_power_of_two() && *bytes <= 4096).map(Bytes)
    };
    let activation_atom = granule(&file.activation_atom_bytes, "rows are packed to the byte")?;
    let weight_multiple = granule(&file.weight_multiple_bytes, "weights are fetched to the byte")?;
    let mut latency =
        |field: &Field<u64>, reason| field.or_default(0, reason, defaults).in_range(0..=MOST_CYCLES).map(Cycles);
    let longest = file.longest.optional().map(|longest| longest.in_range(Bytes(8)..=LARGEST_MEMORY)).transpose()?;
    let activation_bytes_per_cycle =
        file.activation_bytes_per_cycle.is_given().then(|| rate(&file.activation_bytes_per_cycle)).transpose()?;
    Ok(Requests {
        longest,
        start: latency(&file.start_cycles, "the first request is made at once")?,
        arrival: latency(&file.arrival_cycles, "what has arrived can be read at once")?,
        activation_bytes_per_cycle,
        activation_atom,
        weight_multiple,
        products: order,
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
pub(crate) fn rate(field: &Field<Rate>) -> Result<Rate, Diagnostic> {
    const LONGEST_PART: u64 = 1_000_000_000;
    let is_sensible = |rate: &Rate| {
        let (numerator, denominator) = (rate.numerator(), rate.denominator());
        let is_short = numerator.max(denominator) <= LONGEST_PART;
        is_short && numerator * 1024 >= denominator && numerator / denominator <= 1 << 20
    };
    field.required().must("a rate of 1/1024 to 1048576 a cycle with at most 9 digits", is_sensible)
}
