//! What a `..File` struct accepts, found out by letting it read: the keys are those that serde asks for, so they cannot
//! differ from what a document may hold.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::deserialize::{Captured, LEAF, ONE_OR_MANY, PLACED, ReadError, SHORT_FORM, leave_captured};
use crate::config::dotted_path::DottedPath;
use crate::config::node::{Node, Scalar, Value};
use crate::config::source::Place;

/// What may stand in one place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A single value, in the words of its reader: "a whole number".
    Leaf(String),
    /// A list of such items.
    List(Box<Form>),
    /// Such an item, or a list of them.
    OneOrMany(Box<Form>),
    /// A mapping with keys of the user.
    Map(Box<Form>),
    /// A mapping with these keys.
    Struct(Struct),
    /// The mapping of that name around this place.
    Recursion(&'static str),
}

/// A mapping with known keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Struct {
    pub(crate) name: &'static str,
    /// Whether a single value may stand for the first key.
    pub(crate) has_short_form: bool,
    pub(crate) fields: Vec<(&'static str, Form)>,
}

impl Form {
    /// The keys of a mapping with known keys, in the order of its reader; none of anything else.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        match self {
            Form::Struct(of) => of.fields.iter().map(|(name, _)| *name).collect(),
            _ => Vec::new(),
        }
    }
}

/// The form of the documents that are read as a `T`.
pub(crate) fn form_of<T: DeserializeOwned>() -> Form {
    let (found, open) = (RefCell::new(None), RefCell::new(Vec::new()));
    let outcome = T::deserialize(Tracer { found: &found, open: &open });
    assert!(outcome.is_ok(), "a file type reads whatever has its form");
    found.into_inner().expect("a file type asks for something")
}

#[derive(Clone, Copy)]
struct Tracer<'t> {
    found: &'t RefCell<Option<Form>>,
    /// The structs around this place.
    open: &'t RefCell<Vec<(&'static str, &'static [&'static str])>>,
}

impl Tracer<'_> {
    /// Leaves an empty value for a leaf or wrapper.
    fn capture(&self) {
        let place = Place::flag("schema");
        let scalar = Scalar { text: "".into(), quoted: false };
        let node = Node { place: place.clone(), value: Value::Scalar(scalar) };
        leave_captured(Captured { path: DottedPath::default(), place, node: Some(node) });
    }
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.found.replace(Some(Form::Leaf((&visitor as &dyn Expected).to_string())));
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match name {
            LEAF => {
                self.capture();
                self.deserialize_any(visitor)
            }
            PLACED => {
                self.capture();
                visitor.visit_newtype_struct(self)
            }
            ONE_OR_MANY => {
                let value = visitor.visit_newtype_struct(self)?;
                let item = self.found.take().expect("an item asks for something");
                self.found.replace(Some(Form::OneOrMany(Box::new(item))));
                Ok(value)
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let item = RefCell::new(None);
        let value = visitor.visit_seq(OneItem { tracer: Some(Tracer { found: &item, open: self.open }) })?;
        let item = item.into_inner().expect("a list asks for its first item");
        self.found.replace(Some(Form::List(Box::new(item))));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let fields = RefCell::new(Vec::new());
        let value =
            visitor.visit_map(EachField { names: ["any"].iter(), name: None, fields: &fields, open: self.open })?;
        let (_, form) = fields.into_inner().pop().expect("a mapping asks for its first value");
        self.found.replace(Some(Form::Map(Box::new(form))));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if self.open.borrow().contains(&(name, names)) {
            self.found.replace(Some(Form::Recursion(name)));
            // The list around this place goes on after a wrong item, and there is no other way to recur.
            return Err(ReadError::Noted);
        }
        self.open.borrow_mut().push((name, names));
        let fields = RefCell::new(Vec::new());
        let value =
            visitor.visit_map(EachField { names: names.iter(), name: None, fields: &fields, open: self.open })?;
        self.open.borrow_mut().pop();
        let has_short_form = name == SHORT_FORM;
        self.found.replace(Some(Form::Struct(Struct { name, has_short_form, fields: fields.into_inner() })));
        Ok(value)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

struct OneItem<'t> {
    tracer: Option<Tracer<'t>>,
}

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.tracer.take().map(|tracer| seed.deserialize(tracer)).transpose()
    }
}

struct EachField<'t, I> {
    names: I,
    name: Option<&'static str>,
    fields: &'t RefCell<Vec<(&'static str, Form)>>,
    open: &'t RefCell<Vec<(&'static str, &'static [&'static str])>>,
}

impl<'de, 't, I: Iterator<Item = &'t &'static str>> MapAccess<'de> for EachField<'t, I> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.name = self.names.next().copied();
        let Some(name) = self.name else { return Ok(None) };
        let key: StrDeserializer<'_, ReadError> = name.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let found = RefCell::new(None);
        let value = seed.deserialize(Tracer { found: &found, open: self.open })?;
        let form = found.into_inner().expect("a field asks for something");
        self.fields.borrow_mut().push((self.name.expect("serde asks for the key first"), form));
        Ok(value)
    }
}
