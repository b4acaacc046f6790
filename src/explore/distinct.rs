//! Points that were picked already, so that a finite space is not sampled twice.

use std::collections::BTreeSet;

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::explore::space::Choice;

/// How often a point is drawn before the next one that is left is taken.
const DRAWS: usize = 64;

/// The picks of a space. One with more than 2^128 combinations counts as endless: no pick is met twice in it.
#[derive(Clone, Debug)]
pub struct Distinct<'z> {
    sizes: &'z [u32],
    combinations: Option<u128>,
    met: BTreeSet<u128>,
}

/// How many combinations lists of these sizes have; `None` for more than 2^128.
pub fn combinations(sizes: &[u32]) -> Option<u128> {
    sizes.iter().try_fold(1_u128, |product, size| product.checked_mul(u128::from(*size)))
}

impl<'z> Distinct<'z> {
    /// No picks yet.
    pub fn new(sizes: &'z [u32]) -> Distinct<'z> {
        Distinct { sizes, combinations: combinations(sizes), met: BTreeSet::new() }
    }

    /// Notes a pick; whether it is a new one.
    pub fn is_new(&mut self, choice: &[u32]) -> bool {
        match self.number(choice) {
            Some(number) => self.met.insert(number),
            None => true,
        }
    }

    /// Whether it is a pick that was noted.
    pub fn is_met(&self, choice: &[u32]) -> bool {
        self.number(choice).is_some_and(|number| self.met.contains(&number))
    }

    /// The pick is none any more.
    pub fn forget(&mut self, choice: &[u32]) {
        if let Some(number) = self.number(choice) {
            self.met.remove(&number);
        }
    }

    /// A new pick, noted: drawn at random, or the next one that is left behind the last drawn. One must be left.
    pub fn another(&mut self, random: &mut Pcg64) -> Choice {
        for _ in 0..DRAWS {
            let choice: Choice = self.sizes.iter().map(|size| random.random_range(0..*size)).collect();
            if self.is_new(&choice) {
                return choice;
            }
        }
        let combinations = self.combinations.expect("in an endless space every draw is new");
        let mut number = random.random::<u128>() % combinations;
        while !self.met.insert(number) {
            number = (number + 1) % combinations;
        }
        self.choice(number)
    }

    /// The number of a combination, the last list turning fastest.
    fn number(&self, choice: &[u32]) -> Option<u128> {
        self.combinations?;
        let digits = self.sizes.iter().zip(choice);
        Some(digits.fold(0, |number, (size, digit)| number * u128::from(*size) + u128::from(*digit)))
    }

    fn choice(&self, mut number: u128) -> Choice {
        let mut choice: Choice = vec![0; self.sizes.len()];
        for (digit, size) in choice.iter_mut().zip(self.sizes).rev() {
            *digit = u32::try_from(number % u128::from(*size)).expect("below a size");
            number /= u128::from(*size);
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_combination_is_drawn_once_to_the_last() {
        let sizes = [3, 1, 5, 2];
        let mut distinct = Distinct::new(&sizes);
        let mut random = Pcg64::seed_from_u64(1);
        let drawn: BTreeSet<Choice> = (0..30).map(|_| distinct.another(&mut random)).collect();
        assert_eq!(drawn.len(), 30);
        assert!(drawn.iter().all(|choice| choice.iter().zip(&sizes).all(|(digit, size)| digit < size)));
        assert!(drawn.iter().all(|choice| distinct.is_met(choice)));
    }

    #[test]
    fn an_endless_space_meets_nothing_twice() {
        let sizes = [10_000; 40];
        assert_eq!(combinations(&sizes), None);
        let mut distinct = Distinct::new(&sizes);
        assert!(distinct.is_new(&[0; 40]) && distinct.is_new(&[0; 40]) && !distinct.is_met(&[0; 40]));
    }
}
