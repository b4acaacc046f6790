//! NSGA-II (Deb et al. 2002, IEEE Trans. Evol. Comp. 6(2)): parents by binary tournaments on rank and crowding, survivors
//! from parents and children together. Genes are positions in lists, so that children are made by uniform crossover, and
//! mutation steps to a neighbour or anywhere.
//!
//! A generation depends on the results of those before it and on the seed, on nothing else: whoever has the results can
//! go on from them.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::explore::distinct::Distinct;
use crate::explore::pareto::{crowding, ranks};
use crate::explore::space::Choice;

/// How good a point is, all objectives minimised.
#[derive(Clone, Debug, PartialEq)]
pub enum Fitness {
    /// It keeps to every constraint.
    Feasible(Vec<f64>),
    /// By how much it breaks the constraints, each relative to its limit.
    Breaking(f64),
    /// It could not be simulated.
    Failed,
}

/// A point with its fitness.
#[derive(Clone, Debug)]
pub struct Individual {
    /// Its genes.
    pub choice: Choice,
    /// Its fitness.
    pub fitness: Fitness,
}

/// The first generation: random points that `met` does not have, which are noted there.
pub fn first_generation(population: u64, seed: u64, met: &mut Distinct<'_>) -> Vec<Choice> {
    let mut random = Pcg64::seed_from_u64(seed);
    (0..population).map(|_| met.another(&mut random)).collect()
}

/// How often a child that was met before is mutated again, before any point that was not met takes its place.
const MUTATIONS: usize = 8;

/// Children of `parents`, as many as they are, for generation `number` (from 1). None of them was met before; they are noted.
pub fn children(parents: &[Individual], sizes: &[u32], seed: u64, number: u64, met: &mut Distinct<'_>) -> Vec<Choice> {
    let mut random = Pcg64::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let fitness: Vec<&Fitness> = parents.iter().map(|parent| &parent.fitness).collect();
    let order = places(&fitness);
    let tournament = |random: &mut Pcg64| {
        let (a, b) = (random.random_range(0..parents.len()), random.random_range(0..parents.len()));
        if order[a] <= order[b] { a } else { b }
    };
    let mut children = Vec::with_capacity(parents.len());
    while children.len() < parents.len() {
        let (mother, father) = (tournament(&mut random), tournament(&mut random));
        let mut pair = [parents[mother].choice.clone(), parents[father].choice.clone()];
        if random.random_bool(0.9) {
            for gene in 0..sizes.len() {
                if random.random_bool(0.5) {
                    let [a, b] = &mut pair;
                    std::mem::swap(&mut a[gene], &mut b[gene]);
                }
            }
        }
        for mut child in pair {
            if children.len() == parents.len() {
                break;
            }
            mutate(&mut child, sizes, &mut random);
            for _ in 0..MUTATIONS {
                if !met.is_met(&child) {
                    break;
                }
                mutate(&mut child, sizes, &mut random);
            }
            children.push(if met.is_new(&child) { child } else { met.another(&mut random) });
        }
    }
    children
}

/// On average one gene changes: half of the time by one step, else to anything.
fn mutate(child: &mut Choice, sizes: &[u32], random: &mut Pcg64) {
    let probability = 1.0 / (sizes.len() as f64).max(1.0);
    for (gene, size) in child.iter_mut().zip(sizes) {
        if !random.random_bool(probability) {
            continue;
        }
        *gene = if random.random_bool(0.5) {
            let up = random.random_bool(0.5);
            if up { (*gene + 1).min(size - 1) } else { gene.saturating_sub(1) }
        } else {
            random.random_range(0..*size)
        };
    }
}

/// The better half of `all`.
pub fn survivors(all: Vec<Individual>, population: usize) -> Vec<Individual> {
    let fitness: Vec<&Fitness> = all.iter().map(|individual| &individual.fitness).collect();
    let order = places(&fitness);
    let mut ranked: Vec<(usize, Individual)> = order.into_iter().zip(all).collect();
    ranked.sort_by_key(|(place, _)| *place);
    ranked.into_iter().take(population).map(|(_, individual)| individual).collect()
}

/// The place of each individual, the best first: feasible ones by rank and then by crowding, then those that break
/// constraints by how much, then those that failed; ties by position.
pub fn places(all: &[&Fitness]) -> Vec<usize> {
    let feasible: Vec<(usize, &Vec<f64>)> = all
        .iter()
        .enumerate()
        .filter_map(|(index, fitness)| match fitness {
            Fitness::Feasible(objectives) => Some((index, objectives)),
            Fitness::Breaking(_) | Fitness::Failed => None,
        })
        .collect();
    let points: Vec<Vec<f64>> = feasible.iter().map(|(_, objectives)| (*objectives).clone()).collect();
    let ranks = ranks(&points);
    let distances = crowding(&points, &ranks);
    // Class, rank or how much is broken, crowding: all ascending.
    let mut keys: Vec<(u8, f64, f64)> = all
        .iter()
        .map(|fitness| match fitness {
            Fitness::Feasible(_) => (0, 0.0, 0.0),
            Fitness::Breaking(by) => (1, *by, 0.0),
            Fitness::Failed => (2, 0.0, 0.0),
        })
        .collect();
    for (position, (index, _)) in feasible.iter().enumerate() {
        keys[*index] = (0, ranks[position] as f64, -distances[position]);
    }
    let mut best_first: Vec<usize> = (0..all.len()).collect();
    best_first.sort_by(|a, b| {
        let (a_key, b_key) = (keys[*a], keys[*b]);
        a_key.0.cmp(&b_key.0).then(a_key.1.total_cmp(&b_key.1)).then(a_key.2.total_cmp(&b_key.2)).then(a.cmp(b))
    });
    let mut places = vec![0; all.len()];
    best_first.into_iter().enumerate().for_each(|(place, index)| places[index] = place);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::pareto::hypervolume;

    /// Two objectives that pull in opposite directions along the first gene; the others are best at 0.
    fn fitness(choice: &Choice) -> Fitness {
        let [x, rest] = [f64::from(choice[0]), choice[1..].iter().map(|gene| f64::from(*gene)).sum()];
        Fitness::Feasible(vec![x + rest, 31.0 - x + rest])
    }

    fn evolved(seed: u64, generations: u64) -> Vec<Individual> {
        let sizes = [32, 16, 16];
        let individual = |choice: Choice| Individual { fitness: fitness(&choice), choice };
        let mut met = Distinct::new(&sizes);
        let mut parents: Vec<Individual> = first_generation(40, seed, &mut met).into_iter().map(individual).collect();
        for number in 1..=generations {
            let born = children(&parents, &sizes, seed, number, &mut met).into_iter().map(individual);
            parents = survivors(parents.into_iter().chain(born).collect(), 40);
        }
        parents
    }

    #[test]
    fn it_finds_the_front_of_a_problem_whose_front_is_known() {
        // The front is the line x in 0..32 with all other genes 0; its hypervolume below (63, 63) is a sum over steps.
        let points = |all: &[Individual]| -> Vec<Vec<f64>> {
            let feasible = all.iter().filter_map(|individual| match &individual.fitness {
                Fitness::Feasible(objectives) => Some(objectives.clone()),
                Fitness::Breaking(_) | Fitness::Failed => None,
            });
            feasible.collect()
        };
        let front: Vec<Vec<f64>> = (0..32).map(|x| vec![f64::from(x), 31.0 - f64::from(x)]).collect();
        let whole = hypervolume(&front, &[63.0, 63.0]);
        let start = hypervolume(&points(&evolved(1, 0)), &[63.0, 63.0]);
        let found = hypervolume(&points(&evolved(1, 40)), &[63.0, 63.0]);
        assert!(start < 0.97 * whole, "{start} of {whole}");
        assert!(found > 0.99 * whole, "{found} of {whole}");
    }

    #[test]
    fn feasible_points_survive_before_broken_ones_and_those_before_failed_ones() {
        let individual = |gene: u32, fitness| Individual { choice: vec![gene], fitness };
        let all = vec![
            individual(0, Fitness::Failed),
            individual(1, Fitness::Breaking(0.5)),
            individual(2, Fitness::Breaking(0.1)),
            individual(3, Fitness::Feasible(vec![9.0])),
        ];
        let kept: Vec<u32> = survivors(all, 3).iter().map(|individual| individual.choice[0]).collect();
        assert_eq!(kept, [3, 2, 1]);
    }

    #[test]
    fn no_point_is_born_twice() {
        // 4 x 4 x 4 = 64 points, of which 8 x 8 are met to the last.
        let sizes = [4, 4, 4];
        let individual = |choice: Choice| Individual { fitness: fitness(&choice), choice };
        let mut met = Distinct::new(&sizes);
        let mut parents: Vec<Individual> = first_generation(8, 1, &mut met).into_iter().map(individual).collect();
        let mut all: Vec<Choice> = parents.iter().map(|parent| parent.choice.clone()).collect();
        for number in 1..8 {
            let born = children(&parents, &sizes, 1, number, &mut met);
            all.extend(born.iter().cloned());
            parents = survivors(parents.into_iter().chain(born.into_iter().map(individual)).collect(), 8);
        }
        let distinct: std::collections::BTreeSet<&Choice> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (64, 64));
    }

    #[test]
    fn a_generation_depends_on_the_seed_and_the_parents_alone() {
        let genes =
            |seed| -> Vec<Choice> { evolved(seed, 5).into_iter().map(|individual| individual.choice).collect() };
        assert_eq!(genes(3), genes(3));
        assert_ne!(genes(3), genes(4));
    }
}
