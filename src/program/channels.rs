//! Operations on single channels: taking outlier channels out of an activation, gathering weight rows for them, merging two
//! paths.
//!
//! Which channels is either known when the program is made (from a calibration) or found during the run from the
//! activations themselves. In the second case the program holds only a *planned* number: room for that many channels. What
//! is found beyond the plan stays where it was, and whoever executes the program can see that it did.

use crate::program::tensor::TensorId;
use crate::workload::calibration::{CalibrationBasis, OutlierRule};

/// Which channels, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Known before the run.
    Static {
        /// One entry for each column of the dense result; `None` is a column of zeros.
        channels: Vec<Option<u32>>,
        /// The table of indices that the hardware reads; none where the order is built into the constants.
        table: Option<TensorId>,
    },
    /// Channels whose largest magnitude meets a rule, found during the run; the first `count` of them.
    Planned {
        /// `[1, k]`: the largest magnitude of each channel.
        maxima: TensorId,
        /// What makes a channel an outlier.
        rule: OutlierRule,
        /// Columns of the dense result.
        count: u64,
        /// What the count was found from.
        basis: CalibrationBasis,
    },
}

impl ExtractChannels {
    /// Whether it walks the dense columns, whose elements are gathered one by one, and not the activation.
    pub const fn is_gathered(&self) -> bool {
        matches!(self.mover, Mover::DmaGather) && self.body.is_none()
    }
}

impl Selection {
    /// Columns of the dense result.
    pub fn count(&self) -> u64 {
        match self {
            Selection::Static { channels, .. } => channels.len() as u64,
            Selection::Planned { count, .. } => *count,
        }
    }

    /// The tensor that says which channels, if the run reads one.
    pub fn reads(&self) -> Option<TensorId> {
        match self {
            Selection::Static { table, .. } => *table,
            Selection::Planned { maxima, .. } => Some(*maxima),
        }
    }

    /// The channels, one for each dense column, given the largest magnitude of each channel (unused by a static selection).
    pub fn channels(&self, maxima: &[f32]) -> Vec<Option<u32>> {
        match self {
            Selection::Static { channels, .. } => channels.clone(),
            Selection::Planned { rule, count, .. } => {
                let outliers = (0u32..).zip(maxima).filter(|(_, maximum)| rule.selects(**maximum));
                let mut channels: Vec<_> = outliers.map(|(channel, _)| Some(channel)).collect();
                channels.resize(usize::try_from(*count).expect("a planned count is a number of channels"), None);
                channels
            }
        }
    }
}

/// What happens to the selected channels in the activation that they are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// They become zero.
    Zero,
    /// They are divided by two to this power, which is exact in a float format.
    ShiftDown(u32),
}

/// Channels taken out of an activation `[m, k]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractChannels {
    /// `[m, k]`, real values or codes.
    pub input: TensorId,
    /// Which channels.
    pub selection: Selection,
    /// What happens to them in the body.
    pub treatment: Treatment,
    /// `[m, k]`: the activation with its selected channels treated.
    pub body: Option<TensorId>,
    /// `[m, count]`: the selected channels, untreated, in the format of this tensor.
    pub dense: Option<TensorId>,
    /// Elements of each row that are moved or changed one by one. Where the rest is only read in another order, through an
    /// index buffer, this is less than the dense columns.
    pub moved_columns: u64,
    /// Who moves them.
    pub mover: Mover,
    /// Whether the body is written out and read again by whoever uses it: a second pass over the data.
    pub is_separate_pass: bool,
}

/// Who extracts channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mover {
    /// The lanes of the vector unit, at their gather rate.
    VectorUnit,
    /// A unit in the way of the data, at the rate of the data: it costs no cycles of its own.
    Inline,
    /// The extractor beside the vector unit, at its own rate for all that passes it.
    Extractor,
    /// The DMA engine asks for each element that is taken out, a run of its own, from off the chip, where the activation then
    /// is kept; the vector unit rounds or copies what arrives. Channels that are changed in place are masked by the lanes,
    /// which costs nothing.
    DmaGather,
}

impl Mover {
    /// Who moves channels of each token's own, which are found in the token while it passes; nobody for the DMA engine,
    /// which would have to fetch once more what is there already.
    pub const fn of_each_token(self) -> Option<TokenMover> {
        match self {
            Mover::VectorUnit => Some(TokenMover::VectorUnit),
            Mover::Inline => Some(TokenMover::Inline),
            Mover::Extractor => Some(TokenMover::Extractor),
            Mover::DmaGather => None,
        }
    }
}

/// Who extracts channels that each token has of its own. Whoever does, the lanes of the vector unit find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenMover {
    /// As [`Mover::VectorUnit`]: the lanes, at their gather rate, for each element that is taken.
    VectorUnit,
    /// As [`Mover::Inline`].
    Inline,
    /// As [`Mover::Extractor`]: its table holds the channels of one token.
    Extractor,
}

/// The largest element of each group of each row, taken out during the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtractTop {
    /// `[m, k]`, real values.
    pub input: TensorId,
    /// Neighbouring channels of which one is taken; the lowest index of equals.
    pub group: u64,
    /// `[m, k]`: the input with the taken elements set to zero.
    pub body: TensorId,
    /// The taken elements, in the format of this tensor: `[m, k]`, where they were, with zeros elsewhere; or, with a table
    /// of positions, `[m, k / group]`, one of each group.
    pub kept: TensorId,
    /// `[m, k / group]`: the channel of each taken element.
    pub positions: Option<TensorId>,
    /// Who moves them.
    pub mover: TokenMover,
}

/// Rows gathered from a matrix `[k, n]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherRows {
    /// `[k, n]`.
    pub input: TensorId,
    /// Which rows.
    pub selection: Selection,
    /// `[count, n]`, rounded to its format.
    pub output: TensorId,
    /// Who moves them. Each row is a run of the DMA engine whoever does; this is about the way from the buffer to where the
    /// product reads them.
    pub mover: Mover,
}

/// `base + factor * addend`, element by element; without a base the scaled addend alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// `[m, n]`.
    pub base: Option<TensorId>,
    /// `[m, n]`.
    pub addend: TensorId,
    /// What the addend counts.
    pub factor: SumFactor,
    /// `[m, n]`.
    pub output: TensorId,
}

/// By what a sum is multiplied with shifts and one subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SumFactor {
    /// 1.
    One,
    /// `2^e`.
    Shift(u32),
    /// `2^e - 1`: a shift and a subtraction.
    ShiftSubtract(u32),
}

impl SumFactor {
    /// `factor * sum` in 32 bits, as a shifter and an adder of that width compute it: modulo 2^32.
    pub const fn of_i32(self, sum: i32) -> i32 {
        match self {
            SumFactor::One => sum,
            SumFactor::Shift(exponent) => sum.wrapping_shl(exponent),
            SumFactor::ShiftSubtract(exponent) => sum.wrapping_shl(exponent).wrapping_sub(sum),
        }
    }

    /// `factor * sum` as an f32, exact but for overflow and one rounding where the factor is `2^e - 1`.
    pub fn of_f32(self, sum: f32) -> f32 {
        match self {
            SumFactor::One => sum,
            SumFactor::Shift(exponent) => sum * power_of_two(exponent),
            SumFactor::ShiftSubtract(exponent) => sum * (power_of_two(exponent) - 1.0),
        }
    }

    /// Single-bit shifts of an accumulator.
    pub const fn shifts(self) -> u32 {
        match self {
            SumFactor::One => 0,
            SumFactor::Shift(exponent) | SumFactor::ShiftSubtract(exponent) => exponent,
        }
    }
}

/// `2^exponent`.
pub fn power_of_two(exponent: u32) -> f32 {
    crate::numerics::float_bits::power_of_two_f64(exponent.cast_signed()) as f32
}

/// Sums that a product starts from instead of zero: those of the product before it, which stay in the accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialSums {
    /// `[m, n]`, written by a product.
    pub sums: TensorId,
    /// By what they are multiplied in the accumulators before this product adds to them.
    pub factor: SumFactor,
}

/// Columns of an activation divided by factors that were folded into the weights (SmoothQuant).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivideChannels {
    /// `[m, k]`, or the weight `[k, n]`.
    pub input: TensorId,
    /// `[1, k]`.
    pub factors: TensorId,
    /// Of an activation the columns are divided, of a weight the rows are multiplied, and by whom.
    pub side: ChannelSide,
    /// Like the input.
    pub output: TensorId,
}

/// Along which axis of a matrix its input channels lie, and who divides or multiplies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelSide {
    /// The columns of an activation `[m, k]`; the lanes of the vector unit divide them.
    Activation,
    /// The columns of an activation whose producer gives them divided: the factors are in its constants, which costs nothing.
    Absorbed,
    /// The rows of a weight `[k, n]`; they are multiplied.
    Weight,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::calibration::Comparison;

    #[test]
    fn a_planned_selection_takes_outliers_in_order_up_to_its_count_and_fills_up_with_zeros() {
        let rule = OutlierRule { threshold: 6.0, comparison: Comparison::Above };
        let basis = CalibrationBasis::Values;
        let selection = |count| Selection::Planned { maxima: TensorId(0), rule, count, basis };
        let maxima = [7.0, 6.0, 9.0, 1.0, 8.0];
        assert_eq!(selection(2).channels(&maxima), [Some(0), Some(2)]);
        assert_eq!(selection(4).channels(&maxima), [Some(0), Some(2), Some(4), None]);
    }

    #[test]
    fn factors_are_shifts_with_and_without_a_subtraction() {
        // e = 2: 3 x and 4 x; e = 1: x itself.
        assert_eq!(SumFactor::ShiftSubtract(2).of_i32(-3948), -11844);
        assert_eq!(SumFactor::Shift(2).of_i32(-3948), -15792);
        assert_eq!(SumFactor::ShiftSubtract(1).of_i32(7), 7);
        assert_eq!(SumFactor::ShiftSubtract(2).of_f32(0.5), 1.5);
    }
}
