//! What requests carry, parsed at the edge. The bounds stand in the OpenAPI description too.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Names and other short texts: 1 to 256 characters.
pub(crate) const MAX_TEXT: usize = 256;
/// Reasons: at most 1024 characters.
pub(crate) const MAX_REASON: usize = 1024;

/// A page's size, 1 to 1000.
pub(crate) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match Option::<Whole>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Whole(number @ 1..=1000)) => Ok(Some(number as usize)),
        Some(Whole(number)) => Err(D::Error::custom(format!("limit {number} is not within 1 to 1000"))),
    }
}

/// A score, 1 to 100.
pub(crate) fn score<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match Option::<Whole>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Whole(number @ 1..=100)) => Ok(u8::try_from(number).ok()),
        Some(Whole(number)) => Err(D::Error::custom(format!("the score {number} is not within 1 to 100"))),
    }
}

/// A place or an ordinal, 0 to 2^53.
pub(crate) fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<Whole>::deserialize(deserializer)? {
        Some(Whole(number)) if number > nx_types::json::MAX_SAFE_INTEGER => {
            Err(D::Error::custom(format!("{number} is beyond 2^53")))
        }
        other => Ok(other.map(|Whole(number)| number)),
    }
}

/// A whole number, from a query's text or from JSON, where `28.0` is one too (JSON Schema says so).
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Float(f64),
            Text(String),
        }
        let wrong = |text: &str| {
            D::Error::custom(format!("`{}` is not a whole number", text.chars().take(32).collect::<String>()))
        };
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Float(float) if float >= 0.0 && float.fract() == 0.0 && float < 1.8e19 => Ok(Self(float as u64)),
            Form::Float(float) => Err(wrong(&float.to_string())),
            Form::Text(text) => text.parse().map(Self).map_err(|_err| wrong(&text)),
        }
    }
}

/// What must be an object: a struct would take its fields from a list too, by their places.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// An object.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// A list of objects.
pub(crate) fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let found = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(found.into_iter().map(|Object(value)| value).collect())
}

/// A list of objects, where it may be left out.
pub(crate) fn optional_objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let found = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(found.map(|found| found.into_iter().map(|Object(value)| value).collect()))
}

fn bounded(text: &str, least: usize, most: usize) -> Result<(), String> {
    let length = text.chars().count();
    if (least..=most).contains(&length) {
        Ok(())
    } else {
        Err(format!("a text of {length} characters; {least} to {most} are taken"))
    }
}

/// A text of 1 to [`MAX_TEXT`] characters.
pub(crate) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    bounded(&text, 1, MAX_TEXT).map(|()| text).map_err(D::Error::custom)
}

/// The same, where it may be left out.
pub(crate) fn optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref().map_or(Ok(()), |text| bounded(text, 1, MAX_TEXT)).map(|()| text).map_err(D::Error::custom)
}

/// A reason that must be given.
pub(crate) fn needed_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    bounded(&text, 0, MAX_REASON).map(|()| text).map_err(D::Error::custom)
}

/// A reason of at most [`MAX_REASON`] characters.
pub(crate) fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref().map_or(Ok(()), |text| bounded(text, 0, MAX_REASON)).map(|()| text).map_err(D::Error::custom)
}
