//! An object as a Rust type, by the quick way.

use std::slice::Iter;

use serde::de::value::{CowStrDeserializer, Error, MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::quick::Reader;
use super::{Scalar, Value};

/// Reads an object whose members are scalars; arrays and objects among them can only be passed over. `None` if it is no
/// such object, or not of this type.
pub(crate) fn typed<T: DeserializeOwned>(text: &str) -> Option<T> {
    T::deserialize(MapAccessDeserializer::new(Object { reader: Reader::new(text), value: None })).ok()
}

/// The same of an object that was read before: the values of the type's fields, in their order.
pub(crate) fn typed_of_fields<T: DeserializeOwned>(fields: &[Scalar<'_>]) -> Option<T> {
    T::deserialize(SeqAccessDeserializer::new(Fields(fields.iter()))).ok()
}

struct Fields<'f, 'a>(Iter<'f, Scalar<'a>>);

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(value.clone())).transpose()
    }
}

struct Object<'a> {
    reader: Reader<'a>,
    /// Of the member whose name was read.
    value: Option<Scalar<'a>>,
}

fn malformed() -> Error {
    Error::custom("not an object of scalars")
}

impl<'de> MapAccess<'de> for Object<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        match self.reader.member(|_| false) {
            Some(Some((name, Value::Scalar(value)))) => {
                self.value = Some(value);
                seed.deserialize(CowStrDeserializer::new(name)).map(Some)
            }
            Some(None) => Ok(None),
            _ => Err(malformed()),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.value.take().ok_or_else(malformed)?)
    }
}

impl<'de> Deserializer<'de> for Scalar<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Int(value) => visitor.visit_i64(value),
            Self::Float(value) => visitor.visit_f64(value),
            Self::Text(text) => CowStrDeserializer::new(text).deserialize_any(visitor),
            Self::Composite => Err(malformed()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self == Self::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(text) => CowStrDeserializer::new(text).deserialize_enum(name, variants, visitor),
            _ => Err(malformed()),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier
    }
}
