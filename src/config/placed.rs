//! Wrappers for the inner parts of `..File` structs: mappings and lists that keep their path and place.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{self, Deserialize, SeqAccess, Visitor};

use crate::config::deserialize::{Captured, ONE_OR_MANY, PLACED, take_captured};
use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::dotted_path::DottedPath;
use crate::config::source::Place;

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

/// One item, or a list of at least one.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(Vec<T>);

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

struct OneOrManyVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an item or a list")
    }

    fn visit_newtype_struct<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        T::deserialize(deserializer).map(|item| OneOrMany(vec![item]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<OneOrMany<T>, A::Error> {
        let Items(items) = ItemsVisitor(PhantomData).visit_seq(sequence)?;
        Ok(OneOrMany(items))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        deserializer.deserialize_newtype_struct(ONE_OR_MANY, OneOrManyVisitor(PhantomData))
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
