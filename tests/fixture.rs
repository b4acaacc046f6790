//! Small accelerators and seeded workloads that several subjects share.

use std::collections::BTreeMap;

use npusim::hardware::array::{Array, SystolicArray};
use npusim::hardware::band::Band;
use npusim::hardware::energy_table::{EnergyRecord, EnergyTable, Mark};
use npusim::hardware::matrix_unit::{Accumulation, FloatAccumulation, FormatSupport, MatrixUnit};
use npusim::hardware::memory::{DmaEngine, Dram, Memory, MemoryId, MemoryKind, Partitions, Ports, Sram};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::hardware::requests::Requests;
use npusim::hardware::vector_unit::{Extractor, VectorFunction, VectorUnit};
use npusim::numerics::accumulate::{AccumulationOrder, Destination, IntegerAccumulator};
use npusim::numerics::formats::{self, ElementFormat, FP32, INT32};
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::shape::{GemmShape, MatrixShape};
use npusim::units::{Bytes, Cycles, Rate};
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{ActivationFunction, Layer, LayerId, LayerOperation, LogicalGemm, ValueRef};
use npusim::workload::tensor_description::{SourceTensorId, TensorDescription};

pub(crate) const DRAM: MemoryId = MemoryId(0);
pub(crate) const SRAM: MemoryId = MemoryId(1);
pub(crate) const ACCUMULATORS: MemoryId = MemoryId(2);
pub(crate) const SHARED: MemoryId = MemoryId(3);

fn rate(units_per_cycle: u64) -> Rate {
    Rate::whole(units_per_cycle).expect("not zero")
}

/// Parts of an accelerator with an 8x8 weight-stationary array and buffers small enough that nothing fits whole.
pub(crate) fn parts() -> NpuParts {
    let sram = |name: &str, capacity: u64, partitions| Memory {
        name: name.to_owned(),
        kind: MemoryKind::Sram(Sram {
            capacity: Bytes(capacity),
            read_bytes_per_cycle: rate(64),
            write_bytes_per_cycle: rate(64),
            latency: Cycles(0),
            banks: None,
            ports: Ports::Dual,
            partitions,
        }),
    };
    let partitions =
        Partitions { activations: Bytes(4096), weights: Bytes(4096), outputs: Bytes(4096), resident: Bytes(8192) };
    let dram = Dram::with_one_channel("ideal", Cycles(50), rate(8));
    NpuParts {
        name: "test".to_owned(),
        clock_hz: 1_000_000_000,
        matrix_units: vec![MatrixUnit {
            name: "array".to_owned(),
            array: systolic("weight_stationary", true),
            formats: every_pair(),
            operand_memory: SRAM,
            accumulator_memory: ACCUMULATORS,
            launch: Cycles(0),
            accumulator_shift: Cycles(1),
        }],
        vector_units: vec![VectorUnit {
            name: "vector".to_owned(),
            memory: SRAM,
            rates: [Some(rate(16)); VectorFunction::ALL.len()],
            latency: Cycles(4),
            extractor: Some(Extractor { elements_per_cycle: rate(16), table: Bytes(1 << 10), latency: Cycles(6) }),
        }],
        memories: vec![
            Memory { name: "dram".to_owned(), kind: MemoryKind::Dram(dram) },
            sram("sram", 32 << 10, Some(partitions)),
            sram("accumulators", 4 << 10, None),
        ],
        dma: DmaEngine {
            name: "dma".to_owned(),
            from: DRAM,
            to: SRAM,
            outstanding: 4,
            setup: Cycles(0),
            cycles_per_run: Cycles(0),
            requests: Requests::PLAIN,
        },
        shared_dma: None,
        energy: energy_table(1.0),
    }
}

/// Every element format with itself: integers into INT32, everything (block-scaled integers too) into FP32; 4-bit pairs at
/// twice the rate.
fn every_pair() -> Vec<FormatSupport> {
    let dot_unit = FloatAccumulation { order: AccumulationOrder::Block, destination: Destination::Fp32, dot_depth: 32 };
    let support = |format: &'static ElementFormat, accumulator: &'static ElementFormat| FormatSupport {
        activation: format,
        weight: format,
        accumulator,
        accumulation: if accumulator.is_integer() {
            Accumulation::Integer(IntegerAccumulator::INT32)
        } else {
            Accumulation::Float(dot_unit)
        },
        macs_per_element_per_cycle: if format.storage_bits() == 4 { 2 } else { 1 },
    };
    let operands = formats::ALL.iter().copied().filter(|format| format.storage_bits() <= 16);
    let integers = operands.clone().filter(|format| format.is_integer()).map(|format| support(format, &INT32));
    let narrow_weights = [(&formats::INT8, &INT32), (&formats::FP16, &FP32)]
        .map(|(activation, accumulator)| FormatSupport { weight: &formats::INT4, ..support(activation, accumulator) });
    let mixed = FormatSupport { weight: &formats::FP4_E2M1, ..support(&formats::FP8_E4M3, &FP32) };
    integers.chain(operands.map(|format| support(format, &FP32))).chain(narrow_weights).chain([mixed]).collect()
}

/// An 8x8 array.
pub(crate) fn systolic(dataflow: &'static str, double_buffered: bool) -> Array {
    Array::Systolic(SystolicArray { rows: 8, columns: 8, dataflow, double_buffered, serial_folds: None })
}

/// A table in which every action of the test accelerator costs `energy_pj`.
pub(crate) fn energy_table(energy_pj: f64) -> EnergyTable {
    let macs = formats::ALL.iter().map(|format| format!("mac_{format}_{format}"));
    let others = [
        "mac_int8_int4",
        "mac_fp16_int4",
        "mac_fp8_e4m3_fp4_e2m1",
        "idle_mac",
        "gated_mac",
        "weight_load",
        "register_shift",
        "accumulate",
        "accumulator_shift",
        "block_scale",
        "index_fetch",
        "dma_descriptor",
        "dma_burst",
        "vector_reduce",
        "vector_quantize",
        "vector_dequantize",
        "vector_add",
        "vector_activate",
        "vector_multiply",
        "vector_softmax",
        "vector_normalize",
        "vector_rotary",
        "vector_gather",
        "vector_merge",
        "vector_extract",
        "read_dram",
        "write_dram",
        "read_sram",
        "write_sram",
        "read_shared",
        "write_shared",
        "read_accumulators",
        "write_accumulators",
        "read_accumulators_1",
        "write_accumulators_1",
        "read_accumulators_2",
        "write_accumulators_2",
        "read_accumulators_3",
        "write_accumulators_3",
    ];
    let record = || {
        let source = "assumed: a round figure for tests".to_owned();
        EnergyRecord::new(Band::exactly(energy_pj), Mark::Assumed, source)
    };
    let components = ["matrix_units", "vector_units", "sram", "shared", "accumulators"];
    let numbered = ["accumulators_1", "accumulators_2", "accumulators_3"];
    let by_time = components.iter().chain(&numbered).map(|component| format!("leakage_{component}"));
    let by_time = by_time.chain(std::iter::once("background_dram".to_owned()));
    let actions = macs.chain(others.into_iter().map(str::to_owned)).chain(by_time);
    EnergyTable::new(actions.map(|action| (action, record())).collect::<BTreeMap<_, _>>())
}

/// The accelerator of [`parts`].
pub(crate) fn npu() -> Npu {
    Npu::try_new(parts()).expect("the parts fit together")
}

/// How the sums of several units are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    /// In one memory.
    Together,
    /// Each unit in a memory of its own.
    Apart,
}

/// [`parts`] with `count` equal matrix units, which are called array, array_1 and so on.
pub(crate) fn parts_with_units(count: usize, sums: Sums) -> NpuParts {
    let mut parts = parts();
    for index in 1..count {
        let mut unit = parts.matrix_units[0].clone();
        unit.name = format!("array_{index}");
        if sums == Sums::Apart {
            let memory = Memory { name: format!("accumulators_{index}"), ..parts.memories[ACCUMULATORS.0].clone() };
            parts.memories.push(memory);
            unit.accumulator_memory = MemoryId(parts.memories.len() - 1);
        }
        parts.matrix_units.push(unit);
    }
    parts
}

/// The accelerator of [`parts`] with a shared memory between the DRAM and the operand memory.
pub(crate) fn with_shared_memory(mut parts: NpuParts, capacity: Bytes) -> NpuParts {
    let sram = Sram {
        capacity,
        read_bytes_per_cycle: rate(32),
        write_bytes_per_cycle: rate(16),
        latency: Cycles(10),
        banks: None,
        ports: Ports::Dual,
        partitions: None,
    };
    parts.memories.push(Memory { name: "shared".to_owned(), kind: MemoryKind::Sram(sram) });
    let (name, cycles_per_run, requests) = ("shared dma".to_owned(), Cycles(0), Requests::PLAIN);
    parts.shared_dma =
        Some(DmaEngine { name, from: SHARED, to: SRAM, outstanding: 4, setup: Cycles(2), cycles_per_run, requests });
    parts
}

/// The dram of some parts, to be changed before building.
pub(crate) fn dram_of(parts: &mut NpuParts) -> &mut Dram {
    match &mut parts.memories[DRAM.0].kind {
        MemoryKind::Dram(dram) => dram,
        MemoryKind::Sram(_) => unreachable!("memory 0 is the DRAM"),
    }
}

/// The partitions of some parts, to be changed before building.
pub(crate) fn partitions_of(parts: &mut NpuParts) -> &mut Partitions {
    match &mut parts.memories[SRAM.0].kind {
        MemoryKind::Sram(Sram { partitions: Some(partitions), .. }) => partitions,
        MemoryKind::Sram(_) | MemoryKind::Dram(_) => unreachable!("memory 1 is the operand memory"),
    }
}

/// A chain of products with a GELU after each but the last; weights, biases and input seeded, one channel in 16 of the
/// input ten times larger.
pub(crate) fn chain(shapes: &[GemmShape], seed: u64) -> (Workload, Bindings) {
    let mut random = SplitMix(seed);
    let mut tensors = Vec::new();
    let mut values = Vec::new();
    let mut layers: Vec<Layer> = Vec::new();
    // Weights and biases are small enough for the activations to keep their size from layer to layer.
    let mut add = |name: String, shape: MatrixShape, outliers: bool| {
        let columns = shape.columns;
        let elements = (0..shape.elements())
            .map(|index| {
                let value = random.next_centred();
                match outliers {
                    true if (index % columns) % 16 == 3 => value * 10.0,
                    true => value,
                    false => value / 8.0,
                }
            })
            .collect();
        tensors.push(TensorDescription { name, shape, source: None, format: None });
        values.push(Some(Tensor::try_new(shape, &FP32, Elements::F32(elements)).expect("one value per element")));
        SourceTensorId(tensors.len() - 1)
    };
    let mut input = ValueRef::Source(add("x".to_owned(), shapes[0].left(), true));
    for (index, shape) in shapes.iter().enumerate() {
        let weight = add(format!("w{index}"), shape.right(), false);
        let bias = Some(add(format!("b{index}"), MatrixShape::new(1, shape.n), false));
        let operation = LayerOperation::Gemm(LogicalGemm::dense(*shape, input, weight, bias));
        layers.push(Layer { name: format!("gemm{index}"), operation, recorded_output: None });
        input = ValueRef::Layer(LayerId(layers.len() - 1));
        if index + 1 < shapes.len() {
            let operation =
                LayerOperation::Activate { function: ActivationFunction::Gelu, input, shape: shape.output() };
            layers.push(Layer { name: format!("gelu{index}"), operation, recorded_output: None });
            input = ValueRef::Layer(LayerId(layers.len() - 1));
        }
    }
    let workload = Workload::try_new("chain".to_owned(), &FP32, tensors, layers).expect("the chain's shapes agree");
    (workload, Bindings::new(values))
}

/// Products that do not depend on one another, each of its own input and weights.
pub(crate) fn independent(shapes: &[GemmShape]) -> (Workload, Bindings) {
    let mut random = SplitMix(11);
    let mut tensors = Vec::new();
    let mut values = Vec::new();
    let mut add = |name: String, shape: MatrixShape| {
        let elements = (0..shape.elements()).map(|_| random.next_centred()).collect();
        tensors.push(TensorDescription { name, shape, source: None, format: None });
        values.push(Some(Tensor::try_new(shape, &FP32, Elements::F32(elements)).expect("one value per element")));
        SourceTensorId(tensors.len() - 1)
    };
    let layer = |(index, shape): (usize, &GemmShape)| {
        let input = ValueRef::Source(add(format!("x{index}"), shape.left()));
        let weight = add(format!("w{index}"), shape.right());
        let operation = LayerOperation::Gemm(LogicalGemm::dense(*shape, input, weight, None));
        Layer { name: format!("gemm{index}"), operation, recorded_output: None }
    };
    let layers = shapes.iter().enumerate().map(layer).collect();
    let workload = Workload::try_new("independent".to_owned(), &FP32, tensors, layers).expect("the shapes agree");
    (workload, Bindings::new(values))
}

/// The SplitMix64 generator (Steele, Lea and Flood, 2014): portable and tiny.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A value in -1 to 1.
    pub(crate) fn next_centred(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
