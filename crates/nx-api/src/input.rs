//! What requests carry, parsed at the edge. The bounds stand in the OpenAPI description too.

use serde::{Deserialize, Deserializer, de::Error as _};

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
