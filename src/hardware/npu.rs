//! A whole accelerator, checked for consistency when it is built.

use std::fmt;

use crate::hardware::area::AreaTable;
use crate::hardware::energy_table::EnergyTable;
use crate::hardware::matrix_unit::{MatrixUnit, MatrixUnitId};
use crate::hardware::memory::{DmaEngine, Dram, Memory, MemoryId, MemoryKind, Sram};
use crate::hardware::vector_unit::{VectorUnit, VectorUnitId};

/// The parts from which an [`Npu`] is built.
#[derive(Clone, Debug)]
pub struct NpuParts {
    /// Name of the accelerator.
    pub name: String,
    /// Frequency of the one clock domain, in Hz.
    pub clock_hz: u64,
    /// Matrix units.
    pub matrix_units: Vec<MatrixUnit>,
    /// Vector units.
    pub vector_units: Vec<VectorUnit>,
    /// Memories.
    pub memories: Vec<Memory>,
    /// The DMA engine between off-chip memory and the operand memory.
    pub dma: DmaEngine,
    /// The engine between a shared on-chip memory and the operand memory, if there is one.
    pub shared_dma: Option<DmaEngine>,
    /// Energy of each action.
    pub energy: EnergyTable,
}

/// A consistent accelerator.
#[derive(Clone, Debug)]
pub struct Npu {
    parts: NpuParts,
    dram: MemoryId,
}

/// Why parts do not make an accelerator.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HardwareError {
    /// A kind of unit is missing.
    #[error("an accelerator needs at least one {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Two parts share a name.
    #[error("two {what} are named `{name}`; names must be unique")]
    DuplicateName {
        /// Kind of part.
        what: &'static str,
        /// The shared name.
        name: String,
    },
    /// A part refers to a memory of the wrong kind.
    #[error("`{part}` needs {needed} as its {role}, but `{memory}` is {given}")]
    WrongMemory {
        /// The part that refers.
        part: String,
        /// What the memory is to that part.
        role: MemoryRole,
        /// What it needs.
        needed: &'static str,
        /// The memory that it names.
        memory: String,
        /// What that is.
        given: &'static str,
    },
    /// A unit reads operands from a memory that the DMA engine does not fill.
    #[error("`{part}` has `{memory}` as its {role}, but the DMA engine fills `{filled}`")]
    NotFilled {
        /// The unit.
        part: String,
        /// What the memory is to that unit.
        role: MemoryRole,
        /// The memory that it names.
        memory: String,
        /// The memory that the engine fills.
        filled: String,
    },
    /// A shared memory is the accumulators of a matrix unit as well.
    #[error(
        "`{part}` moves data from and to `{memory}`, which holds the partial sums of `{unit}`; give it a memory of its own"
    )]
    SharedAccumulators {
        /// The engine.
        part: String,
        /// The memory.
        memory: String,
        /// The matrix unit.
        unit: String,
    },
    /// The partitions of a memory exceed it.
    #[error("the partitions of `{memory}` take {partitions} bytes, but it holds {capacity}")]
    PartitionsTooLarge {
        /// The memory.
        memory: String,
        /// Sum of its partitions.
        partitions: u64,
        /// Its capacity.
        capacity: u64,
    },
}

/// What a memory is to the part that refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryRole {
    /// Operands of a matrix unit.
    MatrixOperands,
    /// Partial sums of a matrix unit.
    Accumulators,
    /// Inputs and results of a vector unit.
    VectorOperands,
    /// Off-chip side of the DMA engine.
    DmaSource,
    /// Far side of the engine of a shared memory.
    SharedSource,
    /// On-chip side of the DMA engine.
    DmaTarget,
}

impl fmt::Display for MemoryRole {
    /// The key that names the memory in hardware files.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            MemoryRole::MatrixOperands => "operand_memory",
            MemoryRole::Accumulators => "accumulator_memory",
            MemoryRole::VectorOperands => "memory",
            MemoryRole::DmaSource | MemoryRole::SharedSource => "from",
            MemoryRole::DmaTarget => "to",
        })
    }
}

impl Npu {
    /// Checks the parts against one another.
    ///
    /// # Errors
    /// [`HardwareError`] where a unit is missing, a name is used twice, a unit refers to a memory of the wrong kind or
    /// to one that the DMA engine does not fill, or partitions exceed their memory.
    pub fn try_new(parts: NpuParts) -> Result<Npu, HardwareError> {
        if parts.matrix_units.is_empty() {
            return Err(HardwareError::Missing { what: "matrix unit" });
        }
        if parts.vector_units.is_empty() {
            return Err(HardwareError::Missing { what: "vector unit" });
        }
        unique("matrix units", parts.matrix_units.iter().map(|unit| &unit.name))?;
        unique("vector units", parts.vector_units.iter().map(|unit| &unit.name))?;
        unique("memories", parts.memories.iter().map(|memory| &memory.name))?;
        for memory in &parts.memories {
            if let MemoryKind::Sram(Sram { capacity, partitions: Some(partitions), .. }) = &memory.kind
                && partitions.total() > *capacity
            {
                return Err(HardwareError::PartitionsTooLarge {
                    memory: memory.name.clone(),
                    partitions: partitions.total().get(),
                    capacity: capacity.get(),
                });
            }
        }
        let dma = &parts.dma;
        let expect = |part: &str, role: MemoryRole, id: MemoryId| check_role(part, role, &parts.memories[id.0]);
        let expect_filled = |part: &str, role: MemoryRole, id: MemoryId| {
            expect(part, role, id)?;
            if id == dma.to {
                return Ok(());
            }
            let name = |id: MemoryId| parts.memories[id.0].name.clone();
            Err(HardwareError::NotFilled { part: part.to_owned(), role, memory: name(id), filled: name(dma.to) })
        };
        expect(&dma.name, MemoryRole::DmaSource, dma.from)?;
        expect(&dma.name, MemoryRole::DmaTarget, dma.to)?;
        for unit in &parts.matrix_units {
            expect_filled(&unit.name, MemoryRole::MatrixOperands, unit.operand_memory)?;
            expect(&unit.name, MemoryRole::Accumulators, unit.accumulator_memory)?;
        }
        for unit in &parts.vector_units {
            expect_filled(&unit.name, MemoryRole::VectorOperands, unit.memory)?;
        }
        if let Some(shared) = &parts.shared_dma {
            let name = |id: MemoryId| parts.memories[id.0].name.clone();
            expect(&shared.name, MemoryRole::SharedSource, shared.from)?;
            if shared.to != dma.to {
                return Err(HardwareError::NotFilled {
                    part: shared.name.clone(),
                    role: MemoryRole::DmaTarget,
                    memory: name(shared.to),
                    filled: name(dma.to),
                });
            }
            if let Some(unit) = parts.matrix_units.iter().find(|unit| unit.accumulator_memory == shared.from) {
                let (part, memory) = (shared.name.clone(), name(shared.from));
                return Err(HardwareError::SharedAccumulators { part, memory, unit: unit.name.clone() });
            }
        }
        let dram = parts.dma.from;
        Ok(Npu { parts, dram })
    }

    /// Name of the accelerator.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Clock frequency in Hz.
    pub fn clock_hz(&self) -> u64 {
        self.parts.clock_hz
    }

    /// Matrix units.
    pub fn matrix_units(&self) -> &[MatrixUnit] {
        &self.parts.matrix_units
    }

    /// One matrix unit.
    pub fn matrix_unit(&self, id: MatrixUnitId) -> &MatrixUnit {
        &self.parts.matrix_units[id.0]
    }

    /// Vector units.
    pub fn vector_units(&self) -> &[VectorUnit] {
        &self.parts.vector_units
    }

    /// One vector unit.
    pub fn vector_unit(&self, id: VectorUnitId) -> &VectorUnit {
        &self.parts.vector_units[id.0]
    }

    /// Memories.
    pub fn memories(&self) -> &[Memory] {
        &self.parts.memories
    }

    /// One memory.
    pub fn memory(&self, id: MemoryId) -> &Memory {
        &self.parts.memories[id.0]
    }

    /// The DMA engine between off-chip memory and the operand memory.
    pub fn dma(&self) -> &DmaEngine {
        &self.parts.dma
    }

    /// The shared on-chip memory and the engine that moves data from and to it, if there is one.
    pub fn shared(&self) -> Option<(MemoryId, &DmaEngine)> {
        self.parts.shared_dma.as_ref().map(|engine| (engine.from, engine))
    }

    /// The engine that moves data between `memory` and the operand memory.
    pub fn engine_of(&self, memory: MemoryId) -> &DmaEngine {
        match &self.parts.shared_dma {
            Some(engine) if engine.from == memory => engine,
            Some(_) | None => &self.parts.dma,
        }
    }

    /// Whether a unit or an engine names that memory.
    pub fn uses(&self, memory: MemoryId) -> bool {
        let engines = std::iter::once(&self.parts.dma).chain(&self.parts.shared_dma);
        let of_engines = engines.flat_map(|engine| [engine.from, engine.to]);
        let of_matrix = self.parts.matrix_units.iter().flat_map(|unit| [unit.operand_memory, unit.accumulator_memory]);
        let of_vector = self.parts.vector_units.iter().map(|unit| unit.memory);
        of_engines.chain(of_matrix).chain(of_vector).any(|named| named == memory)
    }

    /// Which memory is off the chip.
    pub fn dram_id(&self) -> MemoryId {
        self.dram
    }

    /// The off-chip memory.
    pub fn dram(&self) -> &Dram {
        match &self.memory(self.dram).kind {
            MemoryKind::Dram(dram) => dram,
            MemoryKind::Sram(_) => unreachable!("try_new checked that the DMA engine reads from DRAM"),
        }
    }

    /// An on-chip memory.
    ///
    /// # Panics
    /// Where `id` is off the chip: units are checked to refer to on-chip memories.
    pub fn sram(&self, id: MemoryId) -> &Sram {
        match &self.memory(id).kind {
            MemoryKind::Sram(sram) => sram,
            MemoryKind::Dram(_) => unreachable!("try_new checked that units refer to on-chip memories"),
        }
    }

    /// The accelerator with the areas of its components.
    #[must_use]
    pub fn with_areas(mut self, areas: AreaTable) -> Npu {
        self.parts.energy = std::mem::take(&mut self.parts.energy).with_areas(areas);
        self
    }

    /// Energy of each action, and areas.
    pub fn energy(&self) -> &EnergyTable {
        &self.parts.energy
    }
}

fn check_role(part: &str, role: MemoryRole, memory: &Memory) -> Result<(), HardwareError> {
    const DRAM: &str = "an off-chip memory";
    const PARTITIONED: &str = "an on-chip memory with partitions";
    const PLAIN: &str = "an on-chip memory without partitions";
    let needed = match role {
        MemoryRole::DmaSource => DRAM,
        MemoryRole::MatrixOperands | MemoryRole::VectorOperands | MemoryRole::DmaTarget => PARTITIONED,
        MemoryRole::Accumulators | MemoryRole::SharedSource => PLAIN,
    };
    let given = match &memory.kind {
        MemoryKind::Dram(_) => DRAM,
        MemoryKind::Sram(Sram { partitions: Some(_), .. }) => PARTITIONED,
        MemoryKind::Sram(Sram { partitions: None, .. }) => PLAIN,
    };
    if needed == given {
        return Ok(());
    }
    Err(HardwareError::WrongMemory { part: part.to_owned(), role, needed, memory: memory.name.clone(), given })
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), HardwareError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(HardwareError::DuplicateName { what, name: name.clone() });
        }
    }
    Ok(())
}
