//! How fast the memory ports of an array can serve its phases.

use crate::units::Rate;

/// Service of one port: a step takes a cycle, or longer where its bytes exceed what the port moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bytes_per_step: u64,
    bytes_per_cycle: Option<Rate>,
}

impl Pace {
    /// A step every cycle.
    pub const EVERY_CYCLE: Pace = Pace { bytes_per_step: 0, bytes_per_cycle: None };

    /// Steps of `bytes_per_step` through a port of `bytes_per_cycle`.
    pub const fn of(bytes_per_step: u64, bytes_per_cycle: Rate) -> Pace {
        Pace { bytes_per_step, bytes_per_cycle: Some(bytes_per_cycle) }
    }

    /// Whether a step may take longer than a cycle.
    const fn is_slow(self) -> bool {
        match self.bytes_per_cycle {
            None => false,
            Some(rate) => self.bytes_per_step * rate.denominator() > rate.numerator(),
        }
    }

    /// Cycles of `steps` steps in a row. What does not fill a cycle at the end of a step serves the next one, so the
    /// rounding is that of the whole phase.
    pub fn cycles(self, steps: u64) -> u64 {
        if !self.is_slow() {
            return steps;
        }
        let moved = self.bytes_per_cycle.map_or(0, |rate| rate.cycles_for(self.bytes_per_step * steps).get());
        moved.max(steps)
    }
}

/// The ports of an array at work on one tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paces {
    /// Operands of the streamed steps.
    pub stream: Pace,
    /// Operands that are loaded and stay.
    pub load: Pace,
    /// Partial sums on their way into the accumulators.
    pub sums_out: Pace,
    /// Partial sums on their way back.
    pub sums_in: Pace,
}

impl Paces {
    /// No port is in the way.
    pub const UNHINDERED: Paces = Paces {
        stream: Pace::EVERY_CYCLE,
        load: Pace::EVERY_CYCLE,
        sums_out: Pace::EVERY_CYCLE,
        sums_in: Pace::EVERY_CYCLE,
    };

    /// Whether a port may hold the array up.
    pub const fn hinder(&self) -> bool {
        self.stream.is_slow() || self.load.is_slow() || self.sums_out.is_slow() || self.sums_in.is_slow()
    }

    /// Cycles of `steps` steps that each bring results.
    pub(super) fn sums(&self, steps: u64) -> u64 {
        self.sums_out.cycles(steps).max(self.sums_in.cycles(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_a_cycle_at_least_and_narrow_ports_stretch_the_whole_phase() {
        let port = |bytes| Pace::of(bytes, Rate::whole(64).unwrap());
        assert_eq!(port(8).cycles(10), 10);
        assert_eq!(port(64).cycles(10), 10);
        // 650 bytes at 64 a cycle.
        assert_eq!(port(65).cycles(10), 11);
        assert_eq!(Pace::EVERY_CYCLE.cycles(10), 10);
    }
}
