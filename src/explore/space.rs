//! The points of a study: which value of each list a point picks, and what that makes of every parameter.

use crate::config::source::Place;
use crate::config::study::{Level, Parameter, Study, Values, number_text};

/// For each parameter with a list, in the study's order: the position of the picked value.
pub type Choice = Vec<u32>;

/// The lists of a study, numbered.
#[derive(Clone, Debug)]
pub struct Space<'s> {
    parameters: &'s [Parameter],
    lists: Vec<&'s [Level]>,
}

/// The value of one parameter at one point.
#[derive(Clone, Debug)]
pub struct PointValue<'s> {
    /// The parameter.
    pub parameter: &'s Parameter,
    /// As it would be written, without the unit.
    pub text: String,
    /// As a number, if it is one.
    pub number: Option<f64>,
    /// Where the study has it.
    pub place: &'s Place,
}

impl<'s> Space<'s> {
    /// The space of `study`.
    pub fn new(study: &'s Study) -> Space<'s> {
        let lists = study.parameters.iter().filter_map(|parameter| match &parameter.values {
            Values::List(levels) => Some(levels.as_slice()),
            Values::Expression(_) => None,
        });
        Space { parameters: &study.parameters, lists: lists.collect() }
    }

    /// How many values each list has.
    pub fn sizes(&self) -> Vec<u32> {
        self.lists.iter().map(|levels| u32::try_from(levels.len()).expect("lists are limited")).collect()
    }

    /// The combination of that number: the last list turns fastest.
    pub fn combination(&self, mut index: u64) -> Choice {
        let mut choice: Choice = vec![0; self.lists.len()];
        for (position, levels) in self.lists.iter().enumerate().rev() {
            let size = levels.len() as u64;
            choice[position] = u32::try_from(index % size).expect("lists are limited");
            index /= size;
        }
        choice
    }

    /// The value of every parameter, in the study's order.
    ///
    /// # Errors
    /// An expression has no finite value at this point.
    pub fn values(&self, choice: &[u32]) -> Result<Vec<PointValue<'s>>, String> {
        let mut values: Vec<PointValue<'s>> = Vec::with_capacity(self.parameters.len());
        let mut picked = self.lists.iter().zip(choice);
        for parameter in self.parameters {
            let value = match &parameter.values {
                Values::List(_) => {
                    let (levels, position) = picked.next().expect("a choice has an entry for each list");
                    let level = &levels[*position as usize];
                    PointValue { parameter, text: level.text.clone(), number: level.number, place: &level.place }
                }
                Values::Expression(expression) => {
                    let numbers: Option<Vec<f64>> = expression.uses.iter().map(|used| values[*used].number).collect();
                    let value = numbers.and_then(|numbers| expression.value(&numbers));
                    let value = value
                        .ok_or_else(|| format!("the expression of {} has no finite value here", parameter.name))?;
                    PointValue { parameter, text: number_text(value), number: Some(value), place: &expression.place }
                }
            };
            values.push(value);
        }
        Ok(values)
    }
}
