//! Quarantined extraction: something reads untrusted text and may give back only what fits a narrow shape: a yes or no, a
//! word of a list, a number, a date, an id that a trusted source knows. How much an attacker can say through it is its
//! capacity in bits; it is declared, checked when the shape is read, and kept by each value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bits that an extraction may declare.
const MAX_BITS: u32 = 4096;
/// Bits allowed where none are declared: no free text of more than a few letters fits.
const DEFAULT_BITS: u32 = 128;
/// Deepest nesting of a shape.
const MAX_DEPTH: usize = 8;
/// Most fields or words of a shape.
const MAX_ITEMS: usize = 1024;
/// Bits of a number without bounds, and of one that is not whole.
const NUMBER_BITS: u32 = 64;
/// Bits of a day between the years 0 and 9999.
const DATE_BITS: u32 = 22;
/// Bits of an id of a trusted source.
const ID_BITS: u32 = 20;

/// What an extraction may give back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Extract {
    shape: Shape,
    bits: u32,
    declared: Option<u32>,
    schema: Value,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    /// The subset of JSON Schema that [`Shape`] knows.
    schema: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity_bits: Option<u32>,
}

/// The shape of a value with a bounded capacity.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A number within bounds.
    Number {
        /// The least.
        min: Option<f64>,
        /// The greatest.
        max: Option<f64>,
        /// Only whole ones.
        whole: bool,
    },
    /// One of these.
    Enum(Vec<Value>),
    /// A day, `2025-01-11`.
    Date,
    /// A value that this source vouches for in the same run.
    From(String),
    /// Free text up to a length in bytes. Its capacity must be declared.
    Text(u32),
    /// Named fields; no others. Those that are not required may be left out.
    Object {
        /// The fields.
        fields: BTreeMap<String, Self>,
        /// Those that must be there.
        required: Vec<String>,
    },
    /// So many of them at most.
    List(Box<Self>, u32),
}

impl TryFrom<Written> for Extract {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let shape = Shape::read(&written.schema, 0)?;
        let bits = shape.bits();
        let most = written.capacity_bits.unwrap_or(DEFAULT_BITS);
        if most > MAX_BITS {
            return Err(format!("`capacityBits` is at most {MAX_BITS}"));
        }
        if bits > most {
            return Err(format!(
                "its shape carries up to {bits} bits, more than {most}; bound it (`enum`, `maximum`, `format: date`, \
                 `x-source`, `maxLength`), or declare `capacityBits`"
            ));
        }
        Ok(Self { shape, bits, declared: written.capacity_bits, schema: written.schema })
    }
}

impl From<Extract> for Written {
    fn from(extract: Extract) -> Self {
        Self { schema: extract.schema, capacity_bits: extract.declared }
    }
}

impl Extract {
    /// Most bits that a value carries.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Checks a value. `vouches` says whether a source vouches for a value in this run. The error says what does not fit.
    pub fn check(&self, value: &Value, vouches: &dyn Fn(&str, &Value) -> bool) -> Result<(), String> {
        self.shape.check(value, "", vouches)
    }
}

impl Shape {
    fn read(schema: &Value, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the schema is more than {MAX_DEPTH} levels deep"));
        }
        let known = [
            "type",
            "enum",
            "const",
            "minimum",
            "maximum",
            "format",
            "maxLength",
            "x-source",
            "properties",
            "required",
            "items",
            "maxItems",
            "description",
            "additionalProperties",
        ];
        let fields = schema.as_object().ok_or("a schema is a mapping")?;
        if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("`{unknown}` is not known in an extraction's schema; known are {}", known.join(", ")));
        }
        if let Some(word) = schema.get("const") {
            return Ok(Self::Enum(vec![word.clone()]));
        }
        if let Some(words) = schema.get("enum") {
            let words = words.as_array().filter(|words| !words.is_empty() && words.len() <= MAX_ITEMS);
            return Ok(Self::Enum(words.ok_or("`enum` is a list of 1 to 1024 values")?.clone()));
        }
        if let Some(source) = schema.get("x-source") {
            let source = source.as_str().filter(|source| !source.is_empty());
            return Ok(Self::From(source.ok_or("`x-source` names a source, such as `shop/find_order`")?.to_owned()));
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("boolean") => Ok(Self::Bool),
            Some(name @ ("integer" | "number")) => {
                let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
                Ok(Self::Number { min: bound("minimum"), max: bound("maximum"), whole: name == "integer" })
            }
            Some("string") if schema.get("format").and_then(Value::as_str) == Some("date") => Ok(Self::Date),
            Some("string") => {
                let most = schema.get("maxLength").and_then(Value::as_u64).and_then(|most| u32::try_from(most).ok());
                Ok(Self::Text(most.ok_or("a string needs `enum`, `format: date`, `x-source` or `maxLength`")?))
            }
            Some("object") => {
                let fields = schema.get("properties").and_then(Value::as_object).filter(|all| all.len() <= MAX_ITEMS);
                let fields = fields.ok_or("an object names its `properties`, at most 1024")?;
                let fields: Result<BTreeMap<_, _>, String> =
                    fields.iter().map(|(name, field)| Ok((name.clone(), Self::read(field, depth + 1)?))).collect();
                let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
                let required = required.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
                Ok(Self::Object { fields: fields?, required })
            }
            Some("array") => {
                let most = schema.get("maxItems").and_then(Value::as_u64).and_then(|most| u32::try_from(most).ok());
                let item = Self::read(schema.get("items").ok_or("an array says what its `items` are")?, depth + 1)?;
                Ok(Self::List(Box::new(item), most.ok_or("an array has `maxItems`")?))
            }
            _ => Err("`type` is boolean, integer, number, string, object or array".to_owned()),
        }
    }

    fn bits(&self) -> u32 {
        let choice = |count: f64| count.max(1.0).log2().ceil() as u32;
        match self {
            Self::Bool => 1,
            Self::Number { min: Some(min), max: Some(max), whole: true } => choice(max - min + 1.0).min(NUMBER_BITS),
            Self::Number { .. } => NUMBER_BITS,
            Self::Enum(words) => choice(words.len() as f64),
            Self::Date => DATE_BITS,
            Self::From(_) => ID_BITS,
            Self::Text(most) => most.saturating_mul(8),
            Self::Object { fields, required } => fields
                .iter()
                .map(|(name, field)| field.bits().saturating_add(u32::from(!required.contains(name))))
                .fold(0, u32::saturating_add),
            Self::List(item, most) => item.bits().saturating_mul(*most).saturating_add(choice(f64::from(*most) + 1.0)),
        }
    }

    fn check(&self, value: &Value, at: &str, vouches: &dyn Fn(&str, &Value) -> bool) -> Result<(), String> {
        let fits =
            |fits: bool, what: &dyn Fn() -> String| if fits { Ok(()) } else { Err(format!("`{at}` {}", what())) };
        match self {
            Self::Bool => fits(value.is_boolean(), &|| "is no boolean".to_owned()),
            Self::Number { min, max, whole } => {
                let number = value.as_f64();
                let inside = number.is_some_and(|number| {
                    min.is_none_or(|min| number >= min)
                        && max.is_none_or(|max| number <= max)
                        && (!whole || value.is_i64() || value.is_u64())
                });
                fits(inside, &|| "is no number within its bounds".to_owned())
            }
            Self::Enum(words) => fits(words.contains(value), &|| "is none of the words listed".to_owned()),
            Self::Date => fits(value.as_str().is_some_and(is_date), &|| "is no date like 2025-01-11".to_owned()),
            Self::From(source) => fits(vouches(source, value), &|| format!("is no value that `{source}` vouches for")),
            Self::Text(most) => fits(value.as_str().is_some_and(|text| text.len() <= *most as usize), &|| {
                format!("is no text of at most {most} bytes")
            }),
            Self::Object { fields, required } => {
                let Some(found) = value.as_object() else { return Err(format!("`{at}` is no object")) };
                if let Some(missing) = required.iter().find(|name| !found.contains_key(*name)) {
                    return Err(format!("`{at}/{missing}` is missing"));
                }
                found.iter().try_for_each(|(name, value)| {
                    let field = fields.get(name).ok_or_else(|| format!("`{at}/{name}` is not in the shape"))?;
                    field.check(value, &format!("{at}/{name}"), vouches)
                })
            }
            Self::List(item, most) => {
                let Some(found) = value.as_array() else { return Err(format!("`{at}` is no list")) };
                fits(found.len() <= *most as usize, &|| format!("has more than {most} items"))?;
                found
                    .iter()
                    .enumerate()
                    .try_for_each(|(place, value)| item.check(value, &format!("{at}/{place}"), vouches))
            }
        }
    }
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |len: usize, range: std::ops::RangeInclusive<u32>| {
        parts.next().is_some_and(|part| {
            part.len() == len
                && part.bytes().all(|b| b.is_ascii_digit())
                && part.parse().is_ok_and(|number| range.contains(&number))
        })
    };
    next(4, 0..=9999) && next(2, 1..=12) && next(2, 1..=31) && parts.next().is_none()
}
