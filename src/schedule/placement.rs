//! Where each tensor is kept between nests, and at which address off the chip.

use crate::program::Program;
use crate::program::tensor::TensorId;
use crate::program::uses::TensorUses;
use crate::schedule::Placement;
use crate::schedule::residency::Residents;

/// Tensors off the chip start at multiples of this.
pub const ALIGNMENT: u64 = 4096;

/// Where tensors are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// By tensor; `None` for those that never leave a nest.
    pub placements: Vec<Option<Placement>>,
    /// First address off the chip beyond all tensors.
    pub end: u64,
}

/// Where every tensor is kept that crosses from one group to another, comes from outside, or is a result.
pub fn place(program: &Program, uses: &TensorUses, residents: &Residents, shared: &Residents) -> Places {
    let mut next_base = 0;
    let mut placements = Vec::with_capacity(program.tensors.len());
    for (index, tensor) in program.tensors.iter().enumerate() {
        let id = TensorId(index);
        let readers = uses.readers(id);
        // A result that nobody reads is what the run is for.
        let leaves_its_group =
            uses.writer(id).is_some_and(|writer| readers.is_empty() || readers.iter().any(|reader| *reader != writer));
        let is_used = if tensor.is_given() { !readers.is_empty() } else { leaves_its_group };
        let is_given = tensor.is_given();
        placements.push(if !is_used {
            None
        } else if residents.contains(id) && !is_given {
            Some(Placement::Resident)
        } else if shared.contains(id) {
            Some(Placement::Shared)
        } else {
            let base = next_base;
            next_base += tensor.bytes().get().next_multiple_of(ALIGNMENT);
            Some(Placement::Dram { base })
        });
    }
    Places { placements, end: next_base }
}
