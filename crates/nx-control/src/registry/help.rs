//! What `neuraxis help KIND` says, read from the kind's schema: doc comments of the spec's fields are its text.

use std::fmt::Write as _;

use nx_types::KindDescriptor;
use serde::Serialize;
use serde_json::Value;

/// Deepest field that is explained.
const MAX_DEPTH: usize = 6;
/// Most fields that are explained.
const MAX_FIELDS: usize = 400;
/// Width of the text.
const WIDTH: usize = 100;

/// A field of a kind's spec.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldHelp {
    /// Its dotted path below `spec`; `[]` marks items of a list, `*` any name.
    pub path: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether it must be given.
    pub required: bool,
    /// What stands when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it is for.
    pub about: String,
}

pub(super) fn fields(schema: &Value) -> Vec<FieldHelp> {
    let mut found = Vec::new();
    Walker { root: schema }.object(schema, "", MAX_DEPTH, &mut found);
    found
}

pub(super) fn text(kind: &KindDescriptor) -> String {
    let mut text = format!("{} ({}): {}\n\nFields of `spec`:\n", kind.kind, kind.plural, kind.about);
    let fields = fields(&(kind.schema)());
    let widest = fields.iter().map(|field| field.path.len()).max().unwrap_or(0).min(32);
    for field in &fields {
        let mut notes = field.type_name.clone();
        if field.required {
            notes.push_str(", required");
        }
        if let Some(default) = field.default.as_ref().filter(|default| !matches!(default, Value::Null)) {
            let _written = write!(notes, ", default {default}");
        }
        let _written = writeln!(text, "  {:widest$}  {notes}", field.path);
        for line in wrap(&field.about, WIDTH - widest - 6) {
            let _written = writeln!(text, "  {:widest$}    {line}", "");
        }
    }
    let _written = write!(text, "\nExample (neuraxis init {}):\n\n", kind.kind);
    for line in kind.example.lines() {
        let _written = writeln!(text, "  {line}");
    }
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

struct Walker<'a> {
    root: &'a Value,
}

impl<'a> Walker<'a> {
    /// The schema behind references and `null` alternatives, and the description found on the way.
    fn target(&self, schema: &'a Value) -> (&'a Value, Option<&'a str>) {
        let mut schema = schema;
        let mut about = None;
        for _ in 0..8 {
            about = about.or_else(|| schema.get("description").and_then(Value::as_str));
            let reference = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
            let next = match reference {
                Some(pointer) => self.root.pointer(pointer),
                None => only_alternative(schema),
            };
            match next {
                Some(next) => schema = next,
                None => break,
            }
        }
        (schema, about)
    }

    fn object(&self, schema: &'a Value, path: &str, depth: usize, found: &mut Vec<FieldHelp>) {
        let (schema, _) = self.target(schema);
        let required = schema.get("required").and_then(Value::as_array);
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let required = required.is_some_and(|names| names.iter().any(|given| given == name.as_str()));
            self.field(field, &path, required, depth, found);
        }
        for branch in alternatives(schema) {
            self.object(branch, path, depth.saturating_sub(1), found);
        }
    }

    fn field(&self, schema: &'a Value, path: &str, required: bool, depth: usize, found: &mut Vec<FieldHelp>) {
        if depth == 0 || found.len() >= MAX_FIELDS || found.iter().any(|field| field.path == path) {
            return;
        }
        let (target, about) = self.target(schema);
        found.push(FieldHelp {
            path: path.to_owned(),
            type_name: self.type_name(target),
            required,
            default: schema.get("default").cloned(),
            about: about.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
        });
        if let Some(items) = target.get("items") {
            self.object(items, &format!("{path}[]"), depth - 1, found);
        }
        if let Some(values) = target.get("additionalProperties").filter(|values| values.is_object()) {
            self.object(values, &format!("{path}.*"), depth - 1, found);
        }
        self.object(target, path, depth - 1, found);
    }

    fn type_name(&self, schema: &'a Value) -> String {
        let choices: Vec<String> = choices(schema).iter().map(|choice| format!("`{choice}`")).collect();
        if !choices.is_empty() {
            return choices.join(" | ");
        }
        let branches = alternatives(schema);
        if !branches.is_empty() {
            let mut names: Vec<String> = Vec::new();
            for branch in branches {
                let (target, _) = self.target(branch);
                let name = self.type_name(target);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            return names.join(" | ");
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return "any value".to_owned(),
        };
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let names = types.into_iter().filter(|name| *name != "null").map(|name| match (name, format) {
            ("string", "neuraxis-duration") => "duration".to_owned(),
            ("string", "date-time") => "time".to_owned(),
            ("string", "neuraxis-event-type") => "event type".to_owned(),
            ("string", _) => "text".to_owned(),
            ("integer", _) => "whole number".to_owned(),
            ("boolean", _) => "true | false".to_owned(),
            ("array", _) => match schema.get("items") {
                Some(items) => format!("list of {}", self.type_name(self.target(items).0)),
                None => "list".to_owned(),
            },
            ("object", _) => "map".to_owned(),
            (other, _) => other.to_owned(),
        });
        names.collect::<Vec<_>>().join(" | ")
    }
}

/// The alternatives of a union, `null` left out.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let union = ["anyOf", "oneOf"].iter().find_map(|name| schema.get(*name).and_then(Value::as_array));
    let not_null = |branch: &&Value| branch.get("type").is_none_or(|name| name != "null");
    union.into_iter().flatten().filter(not_null).collect()
}

fn only_alternative(schema: &Value) -> Option<&Value> {
    match alternatives(schema).as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

fn choices(schema: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    found.extend(listed.chain(schema.get("const")).filter_map(Value::as_str));
    for branch in alternatives(schema) {
        match choices(branch).as_slice() {
            [] => return Vec::new(),
            several => found.extend(several),
        }
    }
    found
}
