//! Picks that are known before anything is simulated: the n-th point is the same whoever asks for it, and whenever.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::config::study::{Picks, Sampler};
use crate::explore::distinct::{Distinct, combinations};
use crate::explore::space::{Choice, Space};

/// A list of picks, no two of them equal.
#[derive(Debug)]
pub struct Plan<'s> {
    space: &'s Space<'s>,
    sizes: Vec<u32>,
    kind: Kind,
    points: u64,
    /// Picks that had been met before, by their numbers, with what was taken instead.
    instead: BTreeMap<u64, Choice>,
}

#[derive(Debug)]
enum Kind {
    Grid,
    Random(u64),
    /// For each list the order in which points take its shares.
    LatinHypercube(Vec<Vec<u32>>),
    /// The seed, and which points of the sequence are taken.
    Sobol(u32, Vec<u32>),
}

/// How many points a sampler asks for; a grid for none in particular.
const fn asked(sampler: Sampler) -> Option<u64> {
    match sampler {
        Sampler::Grid => None,
        Sampler::Random(Picks { points, .. })
        | Sampler::LatinHypercube(Picks { points, .. })
        | Sampler::Sobol(Picks { points, .. }) => Some(points),
        Sampler::Nsga2 { population, generations, .. } => Some(population * (generations + 1)),
    }
}

/// How many points `sampler` asks for, where `space` has fewer: then each is done once.
pub fn asked_beyond(space: &Space<'_>, sampler: Sampler) -> Option<u64> {
    let all = combinations(&space.sizes())?;
    asked(sampler).filter(|asked| u128::from(*asked) > all)
}

impl<'s> Plan<'s> {
    /// The picks of `sampler`: distinct ones, or all of a space that has no more than are asked for. `None` where the next
    /// ones depend on results.
    pub fn new(space: &'s Space<'s>, sampler: Sampler) -> Option<Plan<'s>> {
        let sizes = space.sizes();
        let all = combinations(&sizes).and_then(|all| u64::try_from(all).ok());
        let mut plan = Plan { space, sizes, kind: Kind::Grid, points: 0, instead: BTreeMap::new() };
        if let Some(all) = all.filter(|all| asked(sampler).is_none_or(|asked| asked >= *all)) {
            return Some(Plan { points: all, ..plan });
        }
        match sampler {
            Sampler::Grid => unreachable!("a study has at most so many combinations that they can be counted"),
            Sampler::Random(Picks { points, seed }) => {
                (plan.points, plan.kind) = (points, Kind::Random(seed));
                plan.replace_met(seed);
            }
            Sampler::LatinHypercube(Picks { points, seed }) => {
                let orders = (0..plan.sizes.len() as u64).map(|list| shuffled(points, stream(seed, list)));
                (plan.points, plan.kind) = (points, Kind::LatinHypercube(orders.collect()));
                plan.exchange_met(seed);
                plan.replace_met(seed);
            }
            Sampler::Sobol(Picks { points, seed }) => {
                plan.points = points;
                plan.kind = Kind::Sobol(fold(seed), Vec::new());
                plan.pass_over_met();
                plan.replace_met(seed);
            }
            Sampler::Nsga2 { .. } => return None,
        }
        Some(plan)
    }

    /// How many points there are.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// The point of that number.
    pub fn choice(&self, index: u64) -> Choice {
        if let Some(choice) = self.instead.get(&index) {
            return choice.clone();
        }
        match &self.kind {
            Kind::Grid => self.space.combination(index),
            Kind::Random(seed) => {
                let mut random = stream(*seed, index);
                self.sizes.iter().map(|size| random.random_range(0..*size)).collect()
            }
            Kind::LatinHypercube(orders) => {
                let point = usize::try_from(index).expect("points are limited");
                let each = self.sizes.iter().zip(orders);
                each.map(|(size, order)| value_of_share(order[point], *size, self.points)).collect()
            }
            Kind::Sobol(seed, taken) => {
                // Those behind the end of the sequence have all been replaced.
                let point = usize::try_from(index).ok().and_then(|index| taken.get(index));
                sobol(*point.unwrap_or(&0), &self.sizes, *seed)
            }
        }
    }

    /// Takes another point where one was met before: at random, among those that are left.
    fn replace_met(&mut self, seed: u64) {
        let sizes = self.sizes.clone();
        let mut distinct = Distinct::new(&sizes);
        let met: Vec<u64> = (0..self.points).filter(|index| !distinct.is_new(&self.choice(*index))).collect();
        // A generator that no point has.
        let mut random = stream(seed, u64::MAX);
        self.instead = met.into_iter().map(|index| (index, distinct.another(&mut random))).collect();
    }

    /// Exchanges a value with another point where one was met before, so that every value keeps its share.
    fn exchange_met(&mut self, seed: u64) {
        const TRIES: usize = 256;
        let (sizes, points) = (self.sizes.clone(), self.points);
        let mut distinct = Distinct::new(&sizes);
        let met: Vec<u64> = (0..points).filter(|index| !distinct.is_new(&self.choice(*index))).collect();
        let is_met: BTreeSet<u64> = met.iter().copied().collect();
        let mut random = stream(seed, u64::MAX - 1);
        for index in met {
            for _ in 0..TRIES {
                let other = random.random_range(0..points);
                let list = random.random_range(0..sizes.len());
                if is_met.contains(&other) {
                    continue;
                }
                let (mut here, mut there) = (self.choice(index), self.choice(other));
                let before = there.clone();
                std::mem::swap(&mut here[list], &mut there[list]);
                if here == there || distinct.is_met(&here) || distinct.is_met(&there) {
                    continue;
                }
                distinct.forget(&before);
                distinct.is_new(&here);
                distinct.is_new(&there);
                let Kind::LatinHypercube(orders) = &mut self.kind else { unreachable!("only shares are exchanged") };
                let position = |index: u64| usize::try_from(index).expect("points are limited");
                orders[list].swap(position(index), position(other));
                break;
            }
        }
    }

    /// Takes the points of the sequence that were not met before, as far as it goes.
    fn pass_over_met(&mut self) {
        let Kind::Sobol(seed, taken) = &mut self.kind else { unreachable!("only a sequence is walked") };
        let mut distinct = Distinct::new(&self.sizes);
        let is_new = |point: &u32| distinct.is_new(&sobol(*point, &self.sizes, *seed));
        let points = usize::try_from(self.points).expect("a Sobol sequence is limited");
        *taken = (0..SOBOL_POINTS).filter(is_new).take(points).collect();
    }
}

/// How many points a Sobol sequence has.
const SOBOL_POINTS: u32 = 1 << 16;

/// A point of an Owen-scrambled Sobol sequence, over lists of these sizes.
fn sobol(point: u32, sizes: &[u32], seed: u32) -> Choice {
    let value = |(dimension, size): (u32, &u32)| {
        let sample = sobol_burley::sample(point, dimension, seed);
        // Below 1, but the product may round up to the size.
        ((f64::from(sample) * f64::from(*size)) as u32).min(size - 1)
    };
    (0..).zip(sizes).map(value).collect()
}

/// The value that a share of the points takes from a list.
fn value_of_share(share: u32, size: u32, points: u64) -> u32 {
    u32::try_from(u64::from(share) * u64::from(size) / points).expect("below the size")
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
        choices_of(study(sampler))
    }

    /// A space of 16 x 3 x 5 = 240 points.
    fn wide(sampler: &str) -> Vec<Choice> {
        let text = format!(
            "name: s\nhardware: edge-int8\nworkload: minilm-layer\nscheme: fp16\n\
             parameters:\n  - {{ name: a, range: {{ from: 1, to: 16, step: 1 }} }}\n  - {{ name: b, values: [x, y, z] }}\n  - {{ name: c, range: {{ from: 1, to: 5, step: 1 }} }}\n\
             objectives: [{{ metric: cycles }}]\nsampler: {{ {sampler} }}\n"
        );
        choices_of(study::resolve(&Document::from_bytes("s.yaml", text.as_bytes(), "").unwrap()).unwrap())
    }

    fn choices_of(study: Study) -> Vec<Choice> {
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
    fn a_latin_hypercube_gives_each_value_its_share_and_no_point_twice() {
        for seed in 0..5 {
            for points in [30, 120, 180] {
                let picks = wide(&format!("latin_hypercube: {{ points: {points}, seed: {seed} }}"));
                let distinct: BTreeSet<&Choice> = picks.iter().collect();
                assert_eq!((picks.len(), distinct.len()), (points, points), "{points} {seed}");
                // Shares are exchanged, so that they stay those of a Latin hypercube: 16 and 5 divide 120 unevenly at most by one.
                for (list, size) in [(0, 16), (1, 3), (2, 5)] {
                    for value in 0..size {
                        let share = picks.iter().filter(|choice| choice[list] == value).count();
                        let exact = points as f64 / f64::from(size);
                        assert!((share as f64 - exact).abs() < 1.0, "{share} of {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn sobol_points_fill_powers_of_two_evenly() {
        // Any 2^k consecutive points of a (t, s)-sequence in base 2 from a multiple of 2^k on, in one dimension: one in
        // each of 2^k equal intervals. So 16 points are one in each sixteenth, if none of them is passed over.
        let picks = wide("sobol: { points: 16, seed: 3 }");
        for value in 0..16 {
            assert_eq!(picks.iter().filter(|choice| choice[0] == value).count(), 1);
        }
    }

    #[test]
    fn no_sampler_picks_a_point_twice_and_all_of_a_small_space_are_picked_once() {
        for sampler in ["random", "latin_hypercube", "sobol"] {
            for points in [1, 100, 239, 240, 241, 5000] {
                for seed in 0..3 {
                    let picks = wide(&format!("{sampler}: {{ points: {points}, seed: {seed} }}"));
                    let distinct: BTreeSet<&Choice> = picks.iter().collect();
                    let expected = points.min(240);
                    assert_eq!((picks.len(), distinct.len()), (expected, expected), "{sampler} {points} {seed}");
                }
            }
        }
        // 12 points, of which a genetic search asks for 4 x 3.
        assert_eq!(choices("sampler: { nsga2: { population: 4, generations: 2 } }\n").len(), 12);
        assert_eq!(choices("sampler: { random: { points: 1000 } }\n"), choices(""));
    }

    #[test]
    fn more_points_than_there_are_are_said_to_be_asked_for() {
        let beyond = |sampler: &str| {
            let study = study(sampler);
            asked_beyond(&Space::new(&study), study.sampler)
        };
        assert_eq!(beyond("sampler: { random: { points: 13 } }\n"), Some(13));
        assert_eq!(beyond("sampler: { random: { points: 12 } }\n"), None);
        assert_eq!(beyond("sampler: { nsga2: { population: 4, generations: 3 } }\n"), Some(16));
        assert_eq!(beyond(""), None);
    }

    #[test]
    fn picks_depend_on_the_seed_and_on_nothing_else() {
        let random = |seed: u64| wide(&format!("random: {{ points: 50, seed: {seed} }}"));
        assert_eq!(random(1), random(1));
        assert_ne!(random(1), random(2));
        assert!(random(1).iter().any(|choice| *choice != random(1)[0]));
    }
}
