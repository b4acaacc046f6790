//! How fast the ports of the memories serve the phases of an array.
//!
//! A phase takes a cycle for each of its steps, or longer where its bytes exceed what the port moves in that time. Only
//! elements that exist pass a port: a step of rows or columns beyond the tile takes its cycle and no bytes.

use crate::units::Rate;

/// One direction of a memory's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// What it moves.
    pub bytes_per_cycle: Rate,
    /// Members of a team that use it at the same time, each for bytes of its own.
    pub sharers: u64,
}

impl Port {
    /// Cycles of `steps` steps in a row that move `bytes` together. What does not fill a cycle at the end of a step serves
    /// the next one, so the rounding is that of the whole phase.
    fn cycles(port: Option<Port>, steps: u64, bytes: u64) -> u64 {
        let Some(Port { bytes_per_cycle, sharers }) = port else { return steps };
        let bytes = bytes * sharers;
        if bytes * bytes_per_cycle.denominator() <= bytes_per_cycle.numerator() * steps {
            return steps;
        }
        bytes_per_cycle.cycles_for(bytes).get()
    }
}

/// The ports of an array at work on one tile, and how wide what passes them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Bits of an activation.
    pub activation_bits: u64,
    /// Bits of a weight.
    pub weight_bits: u64,
    /// Bits of a partial sum.
    pub sum_bits: u64,
    /// Gives both operands; `None` where it is never in the way.
    pub operands: Option<Port>,
    /// Takes partial sums into the accumulators.
    pub sums_out: Option<Port>,
    /// Gives them back.
    pub sums_in: Option<Port>,
}

/// Whole bytes of `elements` of `bits` each.
pub(super) const fn bytes(bits: u64, elements: u64) -> u64 {
    (bits * elements).div_ceil(8)
}

impl Ports {
    /// No port is in the way.
    pub const UNHINDERED: Ports =
        Ports { activation_bits: 0, weight_bits: 0, sum_bits: 0, operands: None, sums_out: None, sums_in: None };

    /// Cycles of `steps` steps that read `bytes` of operands together.
    pub(super) fn operands(&self, steps: u64, bytes: u64) -> u64 {
        Port::cycles(self.operands, steps, bytes)
    }

    /// Cycles of `steps` steps that bring `bytes` of partial sums together.
    pub(super) fn sums(&self, steps: u64, bytes: u64) -> u64 {
        Port::cycles(self.sums_out, steps, bytes).max(Port::cycles(self.sums_in, steps, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_a_cycle_at_least_and_narrow_ports_stretch_the_whole_phase() {
        let port = |sharers| Some(Port { bytes_per_cycle: Rate::whole(64).unwrap(), sharers });
        assert_eq!(Port::cycles(port(1), 10, 80), 10);
        assert_eq!(Port::cycles(port(1), 10, 640), 10);
        // 650 bytes at 64 a cycle.
        assert_eq!(Port::cycles(port(1), 10, 650), 11);
        assert_eq!(Port::cycles(port(2), 10, 650), 21);
        assert_eq!(Port::cycles(None, 10, 650), 10);
        assert_eq!(bytes(4, 3), 2);
    }
}
