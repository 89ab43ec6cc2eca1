//! Values that are larger, deeper or otherwise shaped than declared.
//!
//! The part of JSON Schema (2020-12) that tells a value's shape: `type`, `properties`, `required`, `additionalProperties`, `items`,
//! `enum`, `const`, lengths and ranges. What else a schema says is not checked, and nothing is found for it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Detector, Finding, Kind, Located};

/// What is usual, where no schema says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all names and leaves.
    pub bytes: usize,
    /// Bytes of one leaf.
    pub leaf_bytes: usize,
    /// Levels.
    pub depth: usize,
    /// Members and elements of all levels.
    pub members: usize,
    /// Findings that are kept.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, leaf_bytes: 256 * 1024, depth: 32, members: 10_000, findings: 100 }
    }
}

/// What stands out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// The findings; their offsets are 0.
    pub findings: Vec<Located>,
    /// Whether all was looked at.
    pub complete: bool,
    /// Bytes of names and leaves that were counted.
    pub bytes: usize,
    /// Members and elements that were counted.
    pub members: usize,
    /// The deepest level.
    pub depth: usize,
}

/// Looks at the shape of a value, beside its schema if it has one.
pub fn shape(value: &Value, schema: Option<&Value>, limits: Limits) -> Shape {
    let mut walk = Walk { limits, shape: Shape { complete: true, ..Shape::default() }, path: Vec::new() };
    walk.value(value, schema.and_then(Value::as_object));
    walk.shape
}

struct Walk<'v> {
    limits: Limits,
    shape: Shape,
    path: Vec<Part<'v>>,
}

#[derive(Clone, Copy)]
enum Part<'v> {
    Name(&'v str),
    Place(usize),
}

type Schema<'v> = Option<&'v Map<String, Value>>;

impl<'v> Walk<'v> {
    fn find(&mut self, kind: Kind, score: u8) {
        if self.shape.findings.len() >= self.limits.findings {
            self.shape.complete = false;
            return;
        }
        let pointer = self.path.iter().fold(String::new(), |mut pointer, part| {
            pointer.push('/');
            match part {
                Part::Name(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
                Part::Place(place) => pointer.push_str(&place.to_string()),
            }
            pointer
        });
        let finding = Finding { start: 0, end: 0, detector: Detector::Anomaly, kind, score };
        self.shape.findings.push(Located { pointer, in_name: false, finding });
    }

    fn count(&mut self, bytes: usize) -> bool {
        self.shape.members += 1;
        self.shape.bytes = self.shape.bytes.saturating_add(bytes);
        let (many, large) = (self.shape.members > self.limits.members, self.shape.bytes > self.limits.bytes);
        if self.shape.complete && (many || large) {
            self.find(if many { Kind::Count } else { Kind::Size }, 80);
            self.shape.complete = false;
        }
        self.shape.complete
    }

    fn value(&mut self, value: &'v Value, schema: Schema<'v>) {
        let bytes = match value {
            Value::String(text) => text.len(),
            Value::Number(_) | Value::Bool(_) => 8,
            Value::Null | Value::Array(_) | Value::Object(_) => 0,
        };
        if !self.count(bytes) {
            return;
        }
        if bytes > self.limits.leaf_bytes {
            self.find(Kind::Size, 70);
        }
        self.shape.depth = self.shape.depth.max(self.path.len());
        if let Some(schema) = schema {
            self.declared(value, schema);
        }
        let inner = matches!(value, Value::Array(items) if !items.is_empty())
            || matches!(value, Value::Object(fields) if !fields.is_empty());
        if inner && self.path.len() >= self.limits.depth {
            self.find(Kind::Depth, 80);
            self.shape.complete = false;
            return;
        }
        match value {
            Value::Array(items) => {
                let items_schema = schema.and_then(|schema| schema.get("items")).and_then(Value::as_object);
                for (place, item) in items.iter().enumerate() {
                    self.inside(Part::Place(place), item, items_schema);
                }
            }
            Value::Object(fields) => {
                let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
                let others = schema.and_then(|schema| schema.get("additionalProperties"));
                for (name, field) in fields {
                    if !self.count(name.len()) {
                        return;
                    }
                    let declared = properties.and_then(|properties| properties.get(name)).or(others);
                    self.inside(Part::Name(name), field, declared.and_then(Value::as_object));
                }
            }
            _ => {}
        }
    }

    fn inside(&mut self, part: Part<'v>, value: &'v Value, schema: Schema<'v>) {
        if self.shape.complete {
            self.path.push(part);
            self.value(value, schema);
            self.path.pop();
        }
    }

    fn declared(&mut self, value: &'v Value, schema: &'v Map<String, Value>) {
        if let Some(kinds) = schema.get("type")
            && !typed(value, kinds)
        {
            self.find(Kind::Type, 70);
            return;
        }
        if !chosen(value, schema) || !ranged(value, schema) {
            self.find(Kind::Range, 60);
        }
        let Value::Object(fields) = value else { return };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !fields.contains_key(*name)) {
            self.path.push(Part::Name(name));
            self.find(Kind::Missing, 60);
            self.path.pop();
        }
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            let properties = schema.get("properties").and_then(Value::as_object);
            for name in fields.keys().filter(|name| !properties.is_some_and(|known| known.contains_key(*name))) {
                self.path.push(Part::Name(name));
                self.find(Kind::Unexpected, 60);
                self.path.pop();
            }
        }
    }
}

fn typed(value: &Value, kinds: &Value) -> bool {
    let one = |kind: &Value| match (kind.as_str(), value) {
        (Some("null"), Value::Null)
        | (Some("boolean"), Value::Bool(_))
        | (Some("string"), Value::String(_))
        | (Some("array"), Value::Array(_))
        | (Some("object"), Value::Object(_))
        | (Some("number"), Value::Number(_)) => true,
        (Some("integer"), Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    };
    kinds.as_array().map_or_else(|| one(kinds), |kinds| kinds.iter().any(one))
}

fn chosen(value: &Value, schema: &Map<String, Value>) -> bool {
    schema.get("enum").and_then(Value::as_array).is_none_or(|choices| choices.contains(value))
        && schema.get("const").is_none_or(|only| only == value)
}

fn ranged(value: &Value, schema: &Map<String, Value>) -> bool {
    let (number, least, most) = match value {
        Value::String(text) => (text.chars().count() as f64, "minLength", "maxLength"),
        Value::Array(items) => (items.len() as f64, "minItems", "maxItems"),
        Value::Object(fields) => (fields.len() as f64, "minProperties", "maxProperties"),
        Value::Number(number) => (number.as_f64().unwrap_or(0.0), "minimum", "maximum"),
        Value::Null | Value::Bool(_) => return true,
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let open = |name: &str| if value.is_number() { bound(name) } else { None };
    bound(least).is_none_or(|least| number >= least)
        && bound(most).is_none_or(|most| number <= most)
        && open("exclusiveMinimum").is_none_or(|least| number > least)
        && open("exclusiveMaximum").is_none_or(|most| number < most)
}
