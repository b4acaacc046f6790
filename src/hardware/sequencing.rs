//! How a dot-product array is driven: stripes of rows, shortest blocks, the way of results out of the array.
//!
//! These are the rules of units whose controller, not their registers, decides the order of work, as in NVDLA (nvdla.org,
//! hardware architecture, convolution core: sequence controller and accumulator). What they mean in cycles is known to
//! `dataflow`; here stand the parameters only.

use crate::units::{Cycles, Rate};

/// The order of work of a dot-product array that holds its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequencing {
    /// What must be in the operand memory before a product starts.
    pub start: StartRule,
    /// Cycles from operands in their memory to the load of the first block of weights, where the array stands idle.
    pub first_block: Cycles,
    /// Rows of one stripe: all blocks of weights pass over a stripe before the next one begins.
    pub stripe: StripeLimits,
    /// Least cycles of a block of weights. It is what loading a block into the array takes, whatever part of it is used.
    pub shortest_block: Cycles,
    /// Cycles from the last read of a block of weights out of its memory to the block's first step.
    pub read_ahead: Cycles,
    /// How sums leave.
    pub results: ResultPath,
}

/// What must be in the operand memory before a product starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRule {
    /// The operands of the first tile; products may follow one another without a gap.
    FirstTile,
    /// All activations of the product, besides the weights of its first tile. The array finishes the product before.
    WholeActivation {
        /// Cycles that the whole activation must have been there.
        delay: Cycles,
    },
}

/// Lengths of stripes, in steps of the array: while at least twice `upper` remains, a stripe is `upper` long; what is no
/// longer than `upper` is the last stripe; in between a stripe is `lower` long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeLimits {
    /// Length of the stripes before the last.
    pub lower: u64,
    /// The longest stripe.
    pub upper: u64,
}

/// The way of final sums out of the array: they wait in a buffer and leave row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultPath {
    /// Sums a cycle; a row takes as long as its width, used or not.
    pub elements_per_cycle: Rate,
    /// Cycles between rows.
    pub row_pause: Cycles,
    /// Rows that the buffer holds. The last pass over a stripe starts only when all of its rows have room, so a stripe as
    /// long as the buffer is deep does not overlap with the way out of the stripe before.
    pub depth: u64,
    /// Cycles from a sum that leaves the array's pipeline to its first cycle on the way out.
    pub latency: Cycles,
    /// Cycles from a row that has left to the step that may use its room.
    pub credit_return: Cycles,
}

impl StripeLimits {
    /// The stripes of `steps`, in order, as `(how many, how long)`.
    pub fn stripes(self, steps: u64) -> impl Iterator<Item = (u64, u64)> {
        let StripeLimits { lower, upper } = self;
        let full = if steps >= 2 * upper { (steps - 2 * upper) / upper + 1 } else { 0 };
        let rest = steps - full * upper;
        // Fewer than two of the longest remain.
        let short = if rest > upper { (rest - upper).div_ceil(lower) } else { 0 };
        let last = rest - short * lower;
        [(full, upper), (short, lower), (1, last)].into_iter().filter(|(count, length)| *count > 0 && *length > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripes(steps: u64) -> Vec<u64> {
        let limits = StripeLimits { lower: 8, upper: 16 };
        limits.stripes(steps).flat_map(|(count, length)| std::iter::repeat_n(length, count as usize)).collect()
    }

    #[test]
    fn stripes_follow_the_rule_of_the_sequence_controller() {
        // The rule taken one stripe after the other, as documented.
        for steps in 1..300u64 {
            let (mut remaining, mut expected) = (steps, Vec::new());
            while remaining > 0 {
                let length = if remaining >= 32 {
                    16
                } else if remaining <= 16 {
                    remaining
                } else {
                    8
                };
                expected.push(length);
                remaining -= length;
            }
            assert_eq!(stripes(steps), expected, "{steps}");
        }
        assert_eq!(stripes(31), [8, 8, 15]);
    }
}
