//! The types of arguments: from a tool's JSON Schema to what Cedar knows, as far as that goes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::tool::Tool;

/// Deepest nesting of types that is read.
const MAX_DEPTH: usize = 16;
/// Most properties of one object that are read.
const MAX_PROPERTIES: usize = 1024;
/// Most parts of one schema that are read: references may meet again and again.
const MAX_PARTS: usize = 8192;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Long,
    Decimal,
    Text,
    Set(Box<Self>),
    /// Members with their types, and whether they must be there.
    Record(BTreeMap<String, (Self, bool)>),
    /// What Cedar has no type for, or what is not declared.
    Open,
}

impl Shape {
    /// Whether some part of it has no type.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Open => true,
            Self::Set(item) => item.is_open(),
            Self::Record(members) => members.values().any(|(shape, _)| shape.is_open()),
            Self::Bool | Self::Long | Self::Decimal | Self::Text => false,
        }
    }

    /// The type in Cedar's JSON form of schemas; `None` for what has none. Members without a type are left out.
    pub(super) fn cedar(&self) -> Option<Value> {
        Some(match self {
            Self::Bool => json!({"type": "Boolean"}),
            Self::Long => json!({"type": "Long"}),
            Self::Decimal => json!({"type": "Extension", "name": "decimal"}),
            Self::Text => json!({"type": "String"}),
            Self::Set(item) => json!({"type": "Set", "element": item.cedar()?}),
            Self::Record(members) => {
                let members: serde_json::Map<String, Value> = (members.iter())
                    .filter_map(|(name, (shape, required))| {
                        let mut member = shape.cedar()?;
                        member["required"] = Value::Bool(*required);
                        Some((name.clone(), member))
                    })
                    .collect();
                json!({"type": "Record", "attributes": members})
            }
            Self::Open => return None,
        })
    }
}

/// The types of a tool's arguments, by name, and whether they must be passed. `None` where none are declared.
pub(super) fn arguments(tool: &Tool) -> Option<BTreeMap<String, (Shape, bool)>> {
    match of(&tool.input_schema, &tool.input_schema) {
        (Shape::Record(members), _) => Some(members),
        _ => None,
    }
}

/// The type of one argument.
pub(super) fn argument(tool: &Tool, name: &str) -> Shape {
    let root = &tool.input_schema;
    root.get("properties").and_then(|properties| properties.get(name)).map_or(Shape::Open, |schema| of(schema, root).0)
}

/// The names of arguments that are known before a call is made: declared ones, and those that sinks name.
pub(super) fn names(tool: &Tool) -> BTreeSet<&str> {
    let declared = tool.input_schema.get("properties").and_then(Value::as_object);
    let sinks = tool.sinks.iter().flatten().filter_map(|sink| sink.root());
    declared.into_iter().flat_map(|names| names.keys().map(String::as_str)).chain(sinks).collect()
}

/// Whether [`names`] has this name.
pub(super) fn is_name(tool: &Tool, name: &str) -> bool {
    tool.input_schema.get("properties").is_some_and(|properties| properties.get(name).is_some())
        || tool.sinks.iter().flatten().any(|sink| sink.root() == Some(name))
}

/// The type that a schema says, and whether null is allowed besides.
fn of(schema: &Value, root: &Value) -> (Shape, bool) {
    Reader { root, parts: MAX_PARTS }.shape(schema, MAX_DEPTH)
}

struct Reader<'a> {
    root: &'a Value,
    /// How many parts may still be read.
    parts: usize,
}

impl<'a> Reader<'a> {
    fn shape(&mut self, schema: &'a Value, depth: usize) -> (Shape, bool) {
        let (Some(depth), Some(parts)) = (depth.checked_sub(1), self.parts.checked_sub(1)) else {
            return (Shape::Open, false);
        };
        self.parts = parts;
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or((Shape::Open, false), |target| self.shape(target, depth));
        }
        for union in ["anyOf", "oneOf", "allOf"] {
            if let Some(branches) = schema.get(union).and_then(Value::as_array) {
                return alternatives(branches.iter().take(MAX_PROPERTIES).map(|branch| self.shape(branch, depth)));
            }
        }
        match schema.get("type") {
            Some(Value::String(name)) => (self.named(name, schema, depth), name == "null"),
            Some(Value::Array(names)) => {
                let each = names.iter().take(MAX_PROPERTIES).filter_map(Value::as_str);
                alternatives(each.map(|name| (self.named(name, schema, depth), name == "null")))
            }
            Some(_) => (Shape::Open, false),
            None => (self.untyped(schema, depth), false),
        }
    }

    fn named(&mut self, name: &str, schema: &'a Value, depth: usize) -> Shape {
        match name {
            "string" => Shape::Text,
            "boolean" => Shape::Bool,
            "integer" => Shape::Long,
            "number" => Shape::Decimal,
            "array" => match schema.get("items").map(|items| self.shape(items, depth)) {
                Some((item, false)) => Shape::Set(Box::new(item)),
                _ => Shape::Open,
            },
            "object" => self.record(schema, depth),
            _ => Shape::Open,
        }
    }

    fn record(&mut self, schema: &'a Value, depth: usize) -> Shape {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Shape::Open };
        if properties.len() > MAX_PROPERTIES {
            return Shape::Open;
        }
        let required: BTreeSet<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let member = |(name, of): (&String, &'a Value)| {
            let (shape, nullable) = self.shape(of, depth);
            (name.clone(), (shape, required.contains(name.as_str()) && !nullable))
        };
        Shape::Record(properties.iter().map(member).collect())
    }

    /// A schema without `type`: what its constants or members tell.
    fn untyped(&mut self, schema: &'a Value, depth: usize) -> Shape {
        if schema.get("properties").is_some() {
            return self.record(schema, depth);
        }
        let constants = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let constants = constants.or_else(|| schema.get("const").map(std::slice::from_ref)).unwrap_or_default();
        if !constants.is_empty() && constants.iter().all(Value::is_string) { Shape::Text } else { Shape::Open }
    }
}

/// One type, or the same in every branch; null makes it optional.
fn alternatives(branches: impl Iterator<Item = (Shape, bool)>) -> (Shape, bool) {
    let mut found: Option<Shape> = None;
    let mut nullable = false;
    for (shape, null) in branches {
        nullable |= null;
        match &found {
            _ if null && shape == Shape::Open => {}
            None => found = Some(shape),
            Some(known) if *known == shape => {}
            Some(_) => return (Shape::Open, nullable),
        }
    }
    (found.unwrap_or(Shape::Open), nullable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schema: &Value) -> (Shape, bool) {
        super::of(schema, schema)
    }

    #[test]
    fn types_are_read_as_far_as_they_go() {
        assert_eq!(of(&json!({"type": "string", "format": "date"})), (Shape::Text, false));
        assert_eq!(of(&json!({"anyOf": [{"type": "integer"}, {"type": "null"}]})), (Shape::Long, true));
        assert_eq!(of(&json!({"type": ["null", "number"]})), (Shape::Decimal, true));
        assert_eq!(of(&json!({"type": ["string", "number"]})), (Shape::Open, false));
        assert_eq!(of(&json!({"enum": ["a", "b"]})), (Shape::Text, false));
        assert_eq!(of(&json!({})), (Shape::Open, false));
        assert_eq!(
            of(&json!({"type": "array", "items": {"type": "boolean"}})),
            (Shape::Set(Box::new(Shape::Bool)), false)
        );
        let nested = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"$ref": "#/$defs/A"}, "b": {"type": ["integer", "null"]}, "c": {"type": "object"}},
            "$defs": {"A": {"type": "array", "items": {"type": "string"}}}});
        let (shape, _) = of(&nested);
        assert!(shape.is_open());
        assert_eq!(
            shape.cedar().unwrap(),
            json!({"type": "Record", "attributes": {
                "a": {"type": "Set", "element": {"type": "String"}, "required": true},
                "b": {"type": "Long", "required": false}}})
        );
    }

    #[test]
    fn circles_end() {
        let circle = json!({"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}}}});
        assert!(of(&circle).0.is_open());
        assert_eq!(of(&json!({"$ref": "#"})).0, Shape::Open);
        assert_eq!(of(&json!({"$ref": "https://example.org/x"})).0, Shape::Open);
    }
}
