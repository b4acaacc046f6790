//! Leaves, wrappers and lists of `..File` structs, and the readers that turn them into checked values.
//!
//! A [`Field`] keeps the text, path and place of what was written. Resolvers read it by one of [`Field::required`],
//! [`Field::optional`] and [`Field::or_default`], and finish with a check: [`Reading::value`], [`Reading::in_range`],
//! [`Reading::must`], [`Reading::one_of`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, RangeInclusive};
use std::path::PathBuf;

use serde::de::{self, Deserialize, SeqAccess, Visitor};

use crate::config::deserialize::{Captured, LEAF, PLACED, given_instead, missing, take_captured};
use crate::config::diagnostics::{Diagnostic, listed, nearest, quoted};
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Node, Value};
use crate::config::scalar::ScalarType;
use crate::config::source::Place;

/// Something with a path and a place, which an error can cite.
pub trait Cited {
    /// Where it was written; for something absent, where the mapping that lacks it was written.
    fn place(&self) -> &Place;

    /// Its path in the document.
    fn path(&self) -> &DottedPath;

    /// An error about it.
    fn problem(&self, message: impl Into<String>) -> Diagnostic
    where
        Self: Sized,
    {
        Diagnostic::new(self.place(), self.path(), message)
    }
}

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
            Some(node) => self.convert(node),
        };
        Reading { field: self, outcome }
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
        Reading { field: self, outcome: Ok(default) }
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
}

impl<T> Reading<'_, T> {
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
        let allowed = format!("allowed: {} to {}", range.start(), range.end());
        let value = self.outcome.map_err(|problem| problem.note(allowed.clone()))?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.field.problem(format!("{} is out of range", self.field.given(&value))).note(allowed))
    }

    /// The value if it is `acceptable`, which is said in words by `allowed`, such as "a power of two".
    ///
    /// # Errors
    /// Also if it is not acceptable.
    pub fn must(self, allowed: &str, acceptable: impl FnOnce(&T) -> bool) -> Result<T, Diagnostic>
    where
        T: fmt::Display,
    {
        let note = format!("must be {allowed}");
        let value = self.outcome.map_err(|problem| problem.note(note.clone()))?;
        if acceptable(&value) {
            return Ok(value);
        }
        Err(self.field.problem(format!("{} is not {allowed}", self.field.given(&value))).note(note))
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
        let allowed = if choices.is_empty() {
            "there is none to choose from".to_string()
        } else {
            format!("allowed: {}", listed(names()))
        };
        let given = self.outcome.map_err(|problem| problem.note(allowed.clone()))?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| name.as_ref() == given) {
            return Ok(choice.clone());
        }
        let problem = self.field.problem(format!("{} is not known here", quoted(&given))).note(allowed);
        Err(match nearest(&given, names()) {
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

impl<'de, T> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a single value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Field<T>, E> {
        let Captured { path, place, node } = take_captured()?;
        Ok(Field { path, place, node, wanted: PhantomData })
    }
}

impl<'de, T> Deserialize<'de> for Field<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_newtype_struct(LEAF, FieldVisitor(PhantomData))
    }
}

/// A `T` that knows its path and place.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    path: DottedPath,
    place: Place,
    value: T,
}

impl<T> Cited for Placed<T> {
    fn place(&self) -> &Place {
        &self.place
    }

    fn path(&self) -> &DottedPath {
        &self.path
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

struct PlacedVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
    type Value = Placed<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of a document")
    }

    fn visit_newtype_struct<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Placed<T>, D::Error> {
        let Captured { path, place, .. } = take_captured()?;
        T::deserialize(deserializer).map(|value| Placed { path, place, value })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Placed<T>, D::Error> {
        deserializer.deserialize_newtype_struct(PLACED, PlacedVisitor(PhantomData))
    }
}

/// A list that knows its path and place, and whose mistakes are all shown at once.
#[derive(Clone, Debug)]
pub struct List<T>(Placed<Items<T>>);

#[derive(Clone, Debug)]
struct Items<T>(Vec<T>);

impl<T> List<T> {
    /// The items, of which there must be one at least.
    ///
    /// # Errors
    /// The list is empty.
    pub fn at_least_one(&self) -> Result<&[T], Diagnostic> {
        if self.is_empty() {
            return Err(self.problem("the list is empty; at least one item is expected"));
        }
        Ok(self)
    }
}

impl<T> Cited for List<T> {
    fn place(&self) -> &Place {
        self.0.place()
    }

    fn path(&self) -> &DottedPath {
        self.0.path()
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0.value.0
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<List<T>, D::Error> {
        Placed::deserialize(deserializer).map(List)
    }
}

struct ItemsVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemsVisitor<T> {
    type Value = Items<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    /// Goes on after a wrong item: the sequence has noted the mistake, and the document is refused in the end.
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Items<T>, A::Error> {
        let mut items = Vec::new();
        loop {
            match sequence.next_element() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Items(items)),
                Err(_) => {}
            }
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Items<T>, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

/// Every default that a resolver has put in for a missing key: the report lists them, because they change results.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Defaults(Vec<TakenDefault>);

/// One missing key and what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TakenDefault {
    /// The path of the missing key.
    pub path: String,
    /// What was taken instead.
    pub value: String,
    /// Why this value: a sentence.
    pub reason: String,
}

impl Defaults {
    /// Notes that `value` stands in for the missing key at `path`.
    pub fn record(&mut self, path: &DottedPath, value: &impl fmt::Display, reason: &str) {
        self.0.push(TakenDefault { path: path.to_string(), value: value.to_string(), reason: reason.to_string() });
    }

    /// All that were taken, in the order of resolving.
    pub fn taken(&self) -> &[TakenDefault] {
        &self.0
    }
}

/// Checks that no two of `names` are equal; every later one is an error that cites the first.
///
/// Names that cannot be read are left to their own reader to report.
///
/// # Errors
/// The second use of a name.
pub fn unique_names<'f>(names: impl IntoIterator<Item = &'f Field<String>>) -> Result<(), Diagnostic> {
    let mut seen = std::collections::BTreeMap::new();
    for field in names {
        let Ok(name) = field.required().text() else { continue };
        if let Some(first) = seen.insert(name.clone(), field.place()) {
            return Err(field
                .problem(format!("the name {} is used twice", quoted(&name)))
                .note("names must differ")
                .help(format!("it was first used at {first}")));
        }
    }
    Ok(())
}

/// The index of the one sibling that was given, for variants written as sibling optional mappings.
///
/// # Errors
/// None or several of `siblings` (key and whether it was given) were; cites `parent`.
pub fn exactly_one(parent: &impl Cited, siblings: &[(&str, bool)]) -> Result<usize, Diagnostic> {
    let given: Vec<usize> = (0..siblings.len()).filter(|&index| siblings[index].1).collect();
    let names = |indices: &[usize]| listed(indices.iter().map(|&index| siblings[index].0));
    let all: Vec<usize> = (0..siblings.len()).collect();
    match given.as_slice() {
        [one] => Ok(*one),
        [] => Err(parent.problem(format!("one of these keys is missing: {}", names(&all))).note("give exactly one")),
        several => Err(parent
            .problem(format!("these keys exclude one another: {}", names(several)))
            .note(format!("give exactly one of: {}", names(&all)))),
    }
}
