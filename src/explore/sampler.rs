//! Picks that are known before anything is simulated: the n-th point is the same whoever asks for it, and whenever.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::config::study::{Picks, Sampler};
use crate::explore::space::{Choice, Space};

/// A list of picks.
#[derive(Debug)]
pub struct Plan<'s> {
    space: &'s Space<'s>,
    sizes: Vec<u32>,
    kind: Kind,
    points: u64,
}

#[derive(Debug)]
enum Kind {
    Grid,
    Random(u64),
    /// For each list the order in which points take its shares.
    LatinHypercube(Vec<Vec<u32>>),
    Sobol(u32),
}

impl<'s> Plan<'s> {
    /// The picks of `sampler`; `None` where the next ones depend on results.
    pub fn new(space: &'s Space<'s>, sampler: Sampler) -> Option<Plan<'s>> {
        let sizes = space.sizes();
        let (kind, points) = match sampler {
            Sampler::Grid => (Kind::Grid, space.combinations()),
            Sampler::Random(Picks { points, seed }) => (Kind::Random(seed), points),
            Sampler::LatinHypercube(Picks { points, seed }) => {
                let orders = (0..sizes.len() as u64).map(|list| shuffled(points, stream(seed, list)));
                (Kind::LatinHypercube(orders.collect()), points)
            }
            Sampler::Sobol(Picks { points, seed }) => (Kind::Sobol(fold(seed)), points),
            Sampler::Nsga2 { .. } => return None,
        };
        Some(Plan { space, sizes, kind, points })
    }

    /// How many points there are.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// The point of that number.
    pub fn choice(&self, index: u64) -> Choice {
        let each = |pick: &dyn Fn(usize, u32) -> u32| -> Choice {
            self.sizes.iter().enumerate().map(|(list, size)| pick(list, *size)).collect()
        };
        match &self.kind {
            Kind::Grid => self.space.combination(index),
            Kind::Random(seed) => {
                let mut random = stream(*seed, index);
                self.sizes.iter().map(|size| random.random_range(0..*size)).collect()
            }
            Kind::LatinHypercube(orders) => each(&|list, size| {
                let share = orders[list][usize::try_from(index).expect("points are limited")];
                let position = u64::from(share) * u64::from(size) / self.points;
                u32::try_from(position).expect("below the size")
            }),
            Kind::Sobol(seed) => each(&|list, size| {
                let index = u32::try_from(index).expect("a Sobol sequence is limited");
                let dimension = u32::try_from(list).expect("parameters are limited");
                let sample = sobol_burley::sample(index, dimension, *seed);
                // Below 1, but the product may round up to the size.
                ((f64::from(sample) * f64::from(size)) as u32).min(size - 1)
            }),
        }
    }
}

/// A generator of its own for each number.
fn stream(seed: u64, number: u64) -> Pcg64 {
    // Pcg64 takes a seed and a stream; both are spread by its own seeding.
    let mut start = Pcg64::seed_from_u64(seed);
    let high: u64 = start.random();
    Pcg64::seed_from_u64(high ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The numbers below `count` in random order.
fn shuffled(count: u64, mut random: Pcg64) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..u32::try_from(count).expect("points are limited")).collect();
    for last in (1..numbers.len()).rev() {
        numbers.swap(last, random.random_range(0..=last));
    }
    numbers
}

const fn fold(seed: u64) -> u32 {
    (seed ^ (seed >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::study::{self, Study};

    fn study(sampler: &str) -> Study {
        let text = format!(
            "name: s\nhardware: edge-int8\nworkload: minilm-layer\nscheme: fp16\n\
             parameters:\n  - {{ name: a, range: {{ from: 1, to: 4, step: 1 }} }}\n  - {{ name: b, values: [x, y, z] }}\n\
             objectives: [{{ metric: cycles }}]\n{sampler}"
        );
        study::resolve(&Document::from_bytes("s.yaml", text.as_bytes(), "").unwrap()).unwrap()
    }

    fn choices(sampler: &str) -> Vec<Choice> {
        let study = study(sampler);
        let space = Space::new(&study);
        let plan = Plan::new(&space, study.sampler).unwrap();
        (0..plan.points()).map(|index| plan.choice(index)).collect()
    }

    #[test]
    fn a_grid_has_every_combination_once_and_the_last_parameter_turns_fastest() {
        let grid = choices("");
        assert_eq!(grid.len(), 12);
        assert_eq!(&grid[..4], [[0, 0], [0, 1], [0, 2], [1, 0]]);
        let distinct: std::collections::BTreeSet<_> = grid.iter().collect();
        assert_eq!(distinct.len(), 12);
    }

    #[test]
    fn a_latin_hypercube_gives_each_value_its_share() {
        for seed in 0..5 {
            let picks = choices(&format!("sampler: {{ latin_hypercube: {{ points: 24, seed: {seed} }} }}\n"));
            for value in 0..4 {
                assert_eq!(picks.iter().filter(|choice| choice[0] == value).count(), 6);
            }
            for value in 0..3 {
                assert_eq!(picks.iter().filter(|choice| choice[1] == value).count(), 8);
            }
        }
    }

    #[test]
    fn sobol_points_fill_powers_of_two_evenly() {
        // Any 2^k consecutive points of a (t, s)-sequence in base 2 from a multiple of 2^k on, in one dimension: one in
        // each of 2^k equal intervals. So 16 points are 4 in each quarter.
        let picks = choices("sampler: { sobol: { points: 16, seed: 3 } }\n");
        for value in 0..4 {
            assert_eq!(picks.iter().filter(|choice| choice[0] == value).count(), 4);
        }
    }

    #[test]
    fn picks_depend_on_the_seed_and_on_nothing_else() {
        let random = |seed: u64| choices(&format!("sampler: {{ random: {{ points: 50, seed: {seed} }} }}\n"));
        assert_eq!(random(1), random(1));
        assert_ne!(random(1), random(2));
        assert!(random(1).iter().any(|choice| *choice != random(1)[0]));
    }
}
