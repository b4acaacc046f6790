//! Leaves of `..File` structs, and the readers that turn them into checked values.
//!
//! A [`Field`] keeps the text, path and place of what was written. Resolvers read it by one of [`Field::required`],
//! [`Field::optional`] and [`Field::or_default`], and finish with a check: [`Reading::value`], [`Reading::in_range`],
//! [`Reading::must`], [`Reading::one_of`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Visitor};

use crate::config::defaults::Defaults;
use crate::config::deserialize::{Captured, LEAF, given_instead, missing, take_captured};
use crate::config::diagnostics::{Cited, Diagnostic, Fault, listed, nearest, quoted};
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Node, Value};
use crate::config::scalar::ScalarType;
use crate::config::source::Place;

/// A single value as written, to be read as a `T`; possibly absent.
#[derive(Clone, Debug)]
pub struct Field<T> {
    path: DottedPath,
    place: Place,
    node: Option<Node>,
    wanted: PhantomData<fn() -> T>,
}

impl<T> Cited for Field<T> {
    fn place(&self) -> &Place {
        &self.place
    }

    fn path(&self) -> &DottedPath {
        &self.path
    }
}

impl<T> Field<T> {
    /// Whether the key was given.
    pub fn is_given(&self) -> bool {
        self.node.is_some()
    }
}

impl<T: ScalarType> Field<T> {
    /// The value, which must be there.
    pub fn required(&self) -> Reading<'_, T> {
        let outcome = match &self.node {
            None => Err(missing(&self.place, &self.path).note(format!("{} is expected in this mapping", T::EXPECTED))),
            Some(node) => self.convert(node).map_err(Diagnostic::of_value),
        };
        Reading { field: self, outcome, fault: Fault::Value }
    }

    /// The value if the key was given. A key without a value is a mistake, not an absent key.
    pub fn optional(&self) -> Option<Reading<'_, T>> {
        self.is_given().then(|| self.required())
    }

    /// The value if the key was given, else `default`, which is recorded with the `reason` for it.
    pub fn or_default(&self, default: T, reason: &str, defaults: &mut Defaults) -> Reading<'_, T>
    where
        T: fmt::Display,
    {
        if self.is_given() {
            return self.required();
        }
        defaults.record(&self.path, &default, reason);
        Reading { field: self, outcome: Ok(default), fault: Fault::Value }
    }

    fn convert(&self, node: &Node) -> Result<T, Diagnostic> {
        match &node.value {
            Value::Scalar(scalar) if scalar.is_null() => {
                Err(self.problem(format!("the key \"{}\" has no value; {} is expected", self.path.last(), T::EXPECTED)))
            }
            Value::Scalar(scalar) => T::convert(scalar).map_err(|mismatch| {
                let problem = self.problem(mismatch.message);
                mismatch.help.into_iter().fold(problem, Diagnostic::help)
            }),
            Value::Sequence(_) | Value::Mapping(_) => {
                Err(self.problem(format!("{}; {} is expected", given_instead(node), T::EXPECTED)))
            }
        }
    }
}

/// A value on its way from a [`Field`] to the model: finish it with one check.
#[derive(Debug)]
#[must_use = "a reading checks nothing until it is finished"]
pub struct Reading<'f, T> {
    field: &'f Field<T>,
    outcome: Result<T, Diagnostic>,
    /// What is at fault if the check that finishes it fails.
    fault: Fault,
}

impl<T> Reading<'_, T> {
    /// The check that follows depends on other values of the document: what it refuses may be right beside others.
    pub(crate) fn beside_others(self) -> Self {
        Reading { fault: Fault::Combination, ..self }
    }

    /// A mistake that the check found.
    fn refused(&self, message: String, note: String) -> Diagnostic {
        let problem = self.field.problem(message).note(note);
        if self.fault == Fault::Value { problem.of_value() } else { problem }
    }

    /// The value without further checks.
    ///
    /// # Errors
    /// The key is missing or empty, or its text is not a `T`; so too for all other finishers.
    pub fn value(self) -> Result<T, Diagnostic> {
        self.outcome
    }

    /// The value if it lies in `range`, both ends included.
    ///
    /// # Errors
    /// Also if it is out of range.
    pub fn in_range(self, range: RangeInclusive<T>) -> Result<T, Diagnostic>
    where
        T: PartialOrd + fmt::Display,
    {
        let allowed = || format!("allowed: {} to {}", range.start(), range.end());
        let value = self.outcome.as_ref().map_err(|problem| problem.clone().note(allowed()))?;
        if !range.contains(value) {
            let message = format!("{} is out of range", self.field.given(value));
            return Err(self.refused(message, allowed()));
        }
        self.outcome
    }

    /// The value if it is `acceptable`, which is said in words by `allowed`, such as "a power of two".
    ///
    /// # Errors
    /// Also if it is not acceptable.
    pub fn must(self, allowed: &str, acceptable: impl FnOnce(&T) -> bool) -> Result<T, Diagnostic>
    where
        T: fmt::Display,
    {
        let note = || format!("must be {allowed}");
        let value = self.outcome.as_ref().map_err(|problem| problem.clone().note(note()))?;
        if !acceptable(value) {
            let message = format!("{} is not {allowed}", self.field.given(value));
            return Err(self.refused(message, note()));
        }
        self.outcome
    }
}

impl Reading<'_, String> {
    /// The text.
    ///
    /// # Errors
    /// As [`Reading::value`].
    pub fn text(self) -> Result<String, Diagnostic> {
        self.outcome
    }

    /// What the text names in `choices`.
    ///
    /// # Errors
    /// Also if it is none of the names; the nearest one is offered.
    pub fn one_of<N: AsRef<str>, C: Clone>(self, choices: &[(N, C)]) -> Result<C, Diagnostic> {
        let names = || choices.iter().map(|(name, _)| name.as_ref());
        let allowed = || match choices {
            [] => "there is none to choose from".to_string(),
            _ => format!("allowed: {}", listed(names())),
        };
        let given = self.outcome.as_ref().map_err(|problem| problem.clone().note(allowed()))?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| name.as_ref() == given) {
            return Ok(choice.clone());
        }
        let problem = self.refused(format!("{} is not known here", quoted(given)), allowed());
        Err(match nearest(given, names()) {
            Some(name) => problem.help(format!("did you mean \"{name}\"?")),
            None => problem,
        })
    }
}

impl Reading<'_, bool> {
    /// The switch.
    ///
    /// # Errors
    /// As [`Reading::value`].
    pub fn boolean(self) -> Result<bool, Diagnostic> {
        self.outcome
    }
}

impl Reading<'_, PathBuf> {
    /// The path, seen from the folder of the document that it was written in.
    ///
    /// # Errors
    /// As [`Reading::value`].
    pub fn path(self) -> Result<PathBuf, Diagnostic> {
        let path = self.outcome?;
        Ok(self.field.place.source().resolve_path(path))
    }
}

impl<T> Field<T> {
    /// The text as written, or the default that stands in for it.
    fn given(&self, value: &impl fmt::Display) -> String {
        match self.node.as_ref().and_then(Node::as_scalar) {
            Some(scalar) => quoted(&scalar.text),
            None => format!("the default {value}"),
        }
    }
}

struct FieldVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: ScalarType> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Field<T>, E> {
        let Captured { path, place, node } = take_captured()?;
        Ok(Field { path, place, node, wanted: PhantomData })
    }
}

impl<'de, T: ScalarType> Deserialize<'de> for Field<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_newtype_struct(LEAF, FieldVisitor(PhantomData))
    }
}
