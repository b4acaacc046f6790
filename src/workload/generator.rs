//! Values of tensors that no file holds: seeded normal samples, with outlier channels where asked for.
//!
//! The same seed, tensor name and shape give the same bits on every machine. Each stream of random words is a PCG64
//! generator (XSL-RR 128/64, O'Neill 2014) whose 32 bytes of seed are SHA-256 of the given seed (eight bytes,
//! little-endian) and the name of the stream. The values of a tensor come from the stream of its own name, its outliers
//! from the stream `NAME \0 outliers`: so two tensors of one seed are independent, and a tensor with outliers differs
//! from the same tensor without them in the outliers alone.
//!
//! # Outliers
//! The columns are divided into as many groups of neighbours as there are outlier channels: of `K` columns, group `g` of
//! `C` has those from `floor(g K / C)` up to `floor((g + 1) K / C)`. Each group has a fixed channel, drawn once, and a
//! side, up or down, drawn once (the outlier features of language models are one-sided: Dettmers et al., LLM.int8(),
//! 2022). Each row, a token, has one outlier in each group: with the probability `persistence` in the fixed channel, else
//! in another channel of the group, all equally likely. An outlier is the value that would stand there, moved by
//! `magnitude` standard deviations to the side of its group. So the number of outliers and their size are the same
//! whatever the persistence: only where they stand changes, and with another persistence only those tokens change whose
//! outlier moves.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use sha2::{Digest, Sha256};

use crate::numerics::normal::{normal_pair, unit_interval};
use crate::shape::MatrixShape;

/// Normal values from a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generator {
    /// Mean of the ordinary values.
    pub mean: f64,
    /// Standard deviation of the ordinary values, above 0.
    pub standard_deviation: f64,
    /// The seed; tensors of other names get other values from it.
    pub seed: u64,
    /// The outliers, if any.
    pub outliers: Option<Outliers>,
}

/// One outlier a token in each of `channels` groups of columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outliers {
    /// How many channels have outliers, from 1 to the number of columns.
    pub channels: u64,
    /// How far an outlier is moved from its ordinary value, in standard deviations.
    pub magnitude: f64,
    /// Probability, from 0 to 1, that the outlier of a token stands in the fixed channel of its group.
    pub persistence: f64,
}

/// Neighbouring columns that share one outlier channel.
struct Group {
    first: u64,
    columns: u64,
    fixed: u64,
    offset: f64,
}

impl Generator {
    /// The values of the tensor `name`, row-major, each rounded once to FP32.
    pub fn values(&self, name: &str, shape: MatrixShape) -> Vec<f32> {
        let count = usize::try_from(shape.elements()).expect("a tensor that is generated is small enough to be held");
        let mut words = stream(self.seed, name.as_bytes());
        let mut samples: Vec<f64> = Vec::with_capacity(count + 1);
        while samples.len() < count {
            let (first, second) = (words.next_u64(), words.next_u64());
            samples.extend(normal_pair(first, second));
        }
        samples.truncate(count);
        if let Some(outliers) = &self.outliers {
            self.add(outliers, name, shape, &mut samples);
        }
        samples.into_iter().map(|sample| (self.mean + self.standard_deviation * sample) as f32).collect()
    }

    fn add(&self, outliers: &Outliers, name: &str, shape: MatrixShape, samples: &mut [f64]) {
        let mut words = stream(self.seed, &[name.as_bytes(), b"\0outliers"].concat());
        let start = |group: u64| (u128::from(group) * u128::from(shape.columns) / u128::from(outliers.channels)) as u64;
        let groups: Vec<Group> = (0..outliers.channels)
            .map(|group| {
                let (first, columns) = (start(group), start(group + 1) - start(group));
                let fixed = first + below(&mut words, columns);
                let is_up = words.next_u64() >> 63 == 0;
                Group { first, columns, fixed, offset: if is_up { outliers.magnitude } else { -outliers.magnitude } }
            })
            .collect();
        for row in 0..shape.rows {
            for group in &groups {
                // Both words are drawn whatever comes of them, so that another persistence moves nothing else.
                let stays = unit_interval(words.next_u64()) < outliers.persistence;
                let other = group.first + below(&mut words, group.columns - 1);
                let other = if other >= group.fixed { other + 1 } else { other };
                let column = if stays || group.columns == 1 { group.fixed } else { other };
                samples[(row * shape.columns + column) as usize] += group.offset;
            }
        }
    }
}

fn stream(seed: u64, name: &[u8]) -> Pcg64 {
    Pcg64::from_seed(Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize().into())
}

/// A whole number below `limit`, or 0: the upper half of the product with a random word. The most likely number is so by
/// less than `limit / 2^64`.
fn below(words: &mut Pcg64, limit: u64) -> u64 {
    ((u128::from(words.next_u64()) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Generator = Generator { mean: 0.0, standard_deviation: 1.0, seed: 7, outliers: None };

    fn with(channels: u64, magnitude: f64, persistence: f64) -> Generator {
        Generator { outliers: Some(Outliers { channels, magnitude, persistence }), ..PLAIN }
    }

    /// Where the values of `generator` differ from those without outliers, and by how much.
    fn moved(generator: &Generator, shape: MatrixShape) -> Vec<(u64, u64, f64)> {
        let ordinary = Generator { outliers: None, ..*generator }.values("x", shape);
        let difference = |(index, (value, ordinary)): (usize, (f32, f32))| {
            let difference = f64::from(value) - f64::from(ordinary);
            let index = index as u64;
            (difference != 0.0).then_some((index / shape.columns, index % shape.columns, difference))
        };
        generator.values("x", shape).into_iter().zip(ordinary).enumerate().filter_map(difference).collect()
    }

    /// From Python 3.11: `hashlib.sha256`, PCG64 in whole numbers after the paper, `math.log`, `math.cos` and `math.sin`.
    #[test]
    fn seed_and_name_give_the_values_that_the_definition_says() {
        let expected =
            [0.085_953_924_821_980_15, -1.485_500_730_931_214, 0.184_470_130_371_990_64, 0.957_841_399_627_737f64];
        let values = PLAIN.values("x", MatrixShape::new(1, 5));
        assert_eq!(&values[..4], expected.map(|value| value as f32));
        assert_eq!(values[4], 0.536_669_523_663_861_6f64 as f32);
        // The second is drawn with the first, so an odd number of values is the start of an even one.
        assert_eq!(PLAIN.values("x", MatrixShape::new(2, 3))[..5], values);
        assert_eq!(stream(7, b"x").next_u64(), 0x549d_c75d_858f_63b0);
    }

    /// From the same script, which follows the module's text: columns 0 to 4 with 4 as the fixed one, upwards; 5 to 9
    /// with 8, downwards.
    #[test]
    fn outliers_stand_where_the_definition_says() {
        let moved = moved(&with(2, 20.0, 0.5), MatrixShape::new(3, 10));
        let expected = [(0, 4, 20.0), (0, 8, -20.0), (1, 4, 20.0), (1, 8, -20.0), (2, 2, 20.0), (2, 6, -20.0)];
        assert_eq!(moved.len(), expected.len());
        for ((row, column, by), (expected_row, expected_column, offset)) in moved.into_iter().zip(expected) {
            assert_eq!((row, column), (expected_row, expected_column));
            // Two roundings to FP32 below 32.
            assert!((by - offset).abs() < 4e-6, "{by}");
        }
    }

    /// Of `n` samples the mean deviates from the true one by `std / sqrt(n)` (one standard error), the mean square of the
    /// deviations by `std^2 sqrt(2 / n)`, and the share beyond one standard deviation, 0.3173, by
    /// `sqrt(0.3173 (1 - 0.3173) / n)`; five standard errors are exceeded once in 1.7 million seeds.
    #[test]
    fn mean_deviation_and_tails_are_those_of_the_normal_distribution() {
        let n = 100_000.0f64;
        let generator = Generator { mean: 3.0, standard_deviation: 2.0, ..PLAIN };
        let values = generator.values("w", MatrixShape::new(100, 1000));
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
        let variance = values.iter().map(|value| (f64::from(*value) - 3.0).powi(2)).sum::<f64>() / n;
        let tails = values.iter().filter(|value| (**value - 3.0).abs() > 2.0).count() as f64 / n;
        assert!((mean - 3.0).abs() < 5.0 * 2.0 / n.sqrt(), "{mean}");
        assert!((variance - 4.0).abs() < 5.0 * 4.0 * (2.0 / n).sqrt(), "{variance}");
        assert!((tails - 0.317_310_5).abs() < 5.0 * (0.317_310_5 * 0.682_689_5 / n).sqrt(), "{tails}");
    }

    /// Each of `T` tokens and `C` groups is one trial: five standard errors of the share that stays, as above.
    #[test]
    fn persistence_is_the_share_of_outliers_in_fixed_channels_and_no_token_lacks_one() {
        let (tokens, channels) = (2000, 8);
        let shape = MatrixShape::new(tokens, 512);
        let fixed: Vec<u64> =
            moved(&with(channels, 50.0, 1.0), MatrixShape::new(1, 512)).iter().map(|at| at.1).collect();
        for persistence in [0.0, 0.25, 0.9, 1.0] {
            let moved = moved(&with(channels, 50.0, persistence), shape);
            assert_eq!(moved.len() as u64, tokens * channels);
            let groups = moved.iter().map(|(_, column, _)| column / 64);
            assert!(groups.eq((0..tokens).flat_map(|_| 0..channels)), "one in each group of 64 columns");
            let trials = (tokens * channels) as f64;
            let stayed = moved.iter().filter(|(_, column, _)| fixed.contains(column)).count() as f64 / trials;
            let bound = 5.0 * (persistence * (1.0 - persistence) / trials).sqrt();
            assert!((stayed - persistence).abs() <= bound, "{persistence}: {stayed}");
        }
    }

    /// The other 63 channels of a group are equally likely: chi-squared of 63 cells has 62 degrees of freedom, so mean 62
    /// and standard deviation sqrt(124) = 11.1; six of them are not exceeded.
    #[test]
    fn wandering_outliers_reach_the_other_channels_evenly() {
        let tokens = 6300;
        let moved = moved(&with(1, 50.0, 0.0), MatrixShape::new(tokens, 64));
        let mut counts = [0.0f64; 64];
        moved.iter().for_each(|(_, column, _)| counts[*column as usize] += 1.0);
        let empty: Vec<usize> = (0..64).filter(|column| counts[*column] == 0.0).collect();
        assert_eq!(empty.len(), 1, "the fixed channel alone has none: {empty:?}");
        let reached = counts.iter().filter(|count| **count > 0.0);
        let chi_squared: f64 = reached.map(|count| (count - 100.0).powi(2) / 100.0).sum();
        assert!((chi_squared - 62.0).abs() < 6.0 * 124f64.sqrt(), "{chi_squared}");
    }

    #[test]
    fn another_persistence_moves_outliers_and_changes_nothing_else() {
        let shape = MatrixShape::new(50, 100);
        let (often, seldom) = (moved(&with(4, 9.0, 0.8), shape), moved(&with(4, 9.0, 0.2), shape));
        let fixed: Vec<u64> = moved(&with(4, 9.0, 1.0), shape)[..4].iter().map(|at| at.1).collect();
        for (often, seldom) in often.iter().zip(&seldom) {
            // Who wanders with the higher persistence wanders with the lower one, and to the same channel.
            assert!(often.1 == seldom.1 || fixed.contains(&often.1), "{often:?} {seldom:?}");
        }
    }

    #[test]
    fn tensors_of_one_seed_and_seeds_of_one_tensor_are_independent() {
        // The correlation of n independent pairs has the standard error 1 / sqrt(n).
        let shape = MatrixShape::new(100, 100);
        let other_seed = Generator { seed: 8, ..PLAIN };
        for (a, b) in [
            (PLAIN.values("x", shape), PLAIN.values("y", shape)),
            (PLAIN.values("x", shape), other_seed.values("x", shape)),
        ] {
            let correlation = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum::<f64>() / 10_000.0;
            assert!(correlation.abs() < 5.0 / 100.0, "{correlation}");
        }
    }

    #[test]
    fn as_many_outlier_channels_as_columns_leave_no_room_to_wander() {
        let shape = MatrixShape::new(3, 5);
        assert_eq!(moved(&with(5, 30.0, 0.0), shape), moved(&with(5, 30.0, 1.0), shape));
    }
}
