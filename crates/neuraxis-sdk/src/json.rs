//! Values on their way into the record: I-JSON or a clear error. `serde_json` writes NaN as `null` and keeps integers
//! that half of the world's readers would round; here both are refused, with the fix.

use nx_types::json::{JsonError, MAX_DEPTH, MAX_SAFE_INTEGER, escape};
use serde::{Serialize, de::DeserializeOwned, ser};
use serde_json::Value;

use crate::error::{Error, ValueError};

/// The key of a reference to a blob.
pub(crate) const BLOB: &str = "$blob";

/// The JSON form of a value, checked.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<Value, Error> {
    let checked = match value.serialize(Check { depth: 0 }) {
        Ok(()) => serde_json::to_value(value).map_err(|error| ValueError::Serialize(error.to_string())),
        Err(refusal) => Err(refusal.into_error()),
    };
    let checked =
        checked.and_then(|value| if blob_of(&value).is_some() { Err(ValueError::Reserved) } else { Ok(value) });
    checked.map_err(|source| Error::Value { what: what.into(), source })
}

/// A value of the record as the type that the code expects.
pub(crate) fn decode<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Error> {
    serde_json::from_value(value)
        .map_err(|error| Error::Shape { what: what.into(), reason: error.to_string().into_boxed_str() })
}

/// The blob that a value refers to, if it is a reference.
pub(crate) fn blob_of(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.get(BLOB)?.as_str()
}

/// Why a value was refused; the pointer grows as the error passes the containers.
#[derive(Debug)]
struct Refusal {
    why: Why,
    path: Vec<String>,
}

#[derive(Debug)]
enum Why {
    NotFinite(&'static str),
    Integer(String),
    Depth,
    Serialize(String),
}

impl Refusal {
    fn new(why: Why) -> Self {
        Self { why, path: Vec::new() }
    }

    fn under(mut self, segment: impl FnOnce() -> String) -> Self {
        self.path.push(segment());
        self
    }

    fn into_error(self) -> ValueError {
        let pointer = || self.path.iter().rev().fold(String::new(), |text, part| text + "/" + &escape(part));
        match self.why {
            Why::NotFinite(number) => ValueError::NotFinite { number, pointer: pointer() },
            Why::Integer(ref number) => JsonError::Integer { number: number.clone(), pointer: pointer() }.into(),
            Why::Depth => JsonError::Depth.into(),
            Why::Serialize(message) => ValueError::Serialize(message),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.why)
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(Why::Serialize(message.to_string()))
    }
}

/// A serializer that writes nothing and refuses what is not I-JSON.
#[derive(Clone, Copy)]
struct Check {
    depth: usize,
}

type Checked = Result<(), Refusal>;

impl Check {
    fn deeper(self) -> Result<Inside, Refusal> {
        if self.depth >= MAX_DEPTH {
            return Err(Refusal::new(Why::Depth));
        }
        Ok(Inside { check: Self { depth: self.depth + 1 }, place: 0 })
    }

    fn unsigned(number: u128) -> Checked {
        if number <= u128::from(MAX_SAFE_INTEGER) {
            return Ok(());
        }
        Err(Refusal::new(Why::Integer(number.to_string())))
    }

    fn signed(number: i128) -> Checked {
        if number.unsigned_abs() <= u128::from(MAX_SAFE_INTEGER) {
            return Ok(());
        }
        Err(Refusal::new(Why::Integer(number.to_string())))
    }

    fn float(number: f64) -> Checked {
        let name = match number {
            n if n.is_nan() => "NaN",
            f64::INFINITY => "Infinity",
            f64::NEG_INFINITY => "-Infinity",
            _ => return Ok(()),
        };
        Err(Refusal::new(Why::NotFinite(name)))
    }
}

/// Within an array or object.
struct Inside {
    check: Check,
    place: usize,
}

impl Inside {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        let place = self.place;
        self.place += 1;
        value.serialize(self.check).map_err(|refusal| refusal.under(|| place.to_string()))
    }

    fn field<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Checked {
        value.serialize(self.check).map_err(|refusal| refusal.under(|| name.to_owned()))
    }
}

macro_rules! fine {
    ($($method:ident: $type:ty),*) => { $(fn $method(self, _value: $type) -> Checked { Ok(()) })* };
}

macro_rules! whole {
    ($($method:ident: $type:ty => $check:ident),*) => { $(fn $method(self, value: $type) -> Checked { Self::$check(value.into()) })* };
}

impl ser::Serializer for Check {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Inside;
    type SerializeTuple = Inside;
    type SerializeTupleStruct = Inside;
    type SerializeTupleVariant = Inside;
    type SerializeMap = Inside;
    type SerializeStruct = Inside;
    type SerializeStructVariant = Inside;

    fine!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_u8: u8,
        serialize_u16: u16, serialize_u32: u32, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str);
    whole!(serialize_i64: i64 => signed, serialize_i128: i128 => signed, serialize_u64: u64 => unsigned,
        serialize_u128: u128 => unsigned, serialize_f32: f32 => float, serialize_f64: f64 => float);

    fn serialize_none(self) -> Checked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Checked {
        Ok(())
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, _variant: &'static str) -> Checked {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Checked {
        self.deeper()?.field(variant, value)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn serialize_tuple(self, _len: usize) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Inside, Refusal> {
        self.deeper()
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, _value: &T) -> Checked {
        Ok(())
    }
}

macro_rules! items {
    ($($trait:ident::$method:ident),*) => { $(
        impl ser::$trait for Inside {
            type Ok = ();
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
                self.item(value)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        }
    )* };
}

items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! fields {
    ($($trait:ident),*) => { $(
        impl ser::$trait for Inside {
            type Ok = ();
            type Error = Refusal;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Checked {
                self.field(name, value)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        }
    )* };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Inside {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _key: &T) -> Checked {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.field("…", value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(&mut self, key: &K, value: &V) -> Checked {
        value.serialize(self.check).map_err(|refusal| {
            refusal.under(|| match serde_json::to_value(key) {
                Ok(Value::String(name)) => name,
                Ok(other) => other.to_string(),
                Err(_) => "…".to_owned(),
            })
        })
    }

    fn end(self) -> Checked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Point {
        x: f64,
        ids: Vec<u64>,
        more: BTreeMap<String, f32>,
    }

    fn refusal(value: &impl Serialize) -> String {
        match encode(value, "the test") {
            Err(Error::Value { source, .. }) => source.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_ijson_is_refused_with_its_place() {
        let mut point = Point { x: 1.0, ids: vec![1, MAX_SAFE_INTEGER], more: BTreeMap::new() };
        assert!(encode(&point, "the test").is_ok());
        point.more.insert("a/b".to_owned(), f32::INFINITY);
        assert_eq!(refusal(&point), "`Infinity` at `/more/a~1b` has no JSON form; send null or a string");
        point.ids.push(MAX_SAFE_INTEGER + 1);
        assert!(refusal(&point).starts_with("integer `9007199254740993` at `/ids/2`"));
        point.x = f64::NAN;
        assert!(refusal(&point).starts_with("`NaN` at `/x`"));
        assert!(refusal(&serde_json::json!({"$blob": "00"})).contains("reserved"));
        let mut deep = Value::Null;
        for _ in 0..200 {
            deep = Value::Array(vec![deep]);
        }
        assert!(refusal(&deep).contains("nested"));
    }
}
