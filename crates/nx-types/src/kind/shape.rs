//! Checks a value against the JSON Schemas that schemars derives, and says everything that is wrong at once: serde
//! stops at the first error and knows no place. Keywords that schemars does not derive are not looked at.

use std::{cmp::Reverse, collections::BTreeSet};

use serde_json::{Map, Value};

use super::{
    FieldError, formats,
    nearest::{list, nearest},
};
use crate::json::escape;

/// Most errors that one check reports.
const MOST_ERRORS: usize = 64;
/// Most schemas followed from one value to its leaves, references included.
const DEEPEST: usize = 128;

/// Everything that is wrong with `value`; pointers start with `pointer`. At most 64 errors.
pub fn check_shape(schema: &Value, value: &Value, pointer: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    Checker { root: schema }.check(schema, value, pointer, DEEPEST, &mut errors);
    errors.truncate(MOST_ERRORS);
    errors
}

/// How likely a branch of a union was meant: its tag is there, names that it knows, least errors.
type Likely = (bool, usize, Reverse<usize>);

struct Checker<'a> {
    root: &'a Value,
}

impl<'a> Checker<'a> {
    fn check(&self, schema: &'a Value, value: &Value, pointer: &str, depth: usize, errors: &mut Vec<FieldError>) {
        if depth == 0 {
            return errors.push(FieldError::new(pointer, "nested too deep"));
        }
        let Value::Object(rules) = schema else {
            if schema == &Value::Bool(false) {
                errors.push(FieldError::new(pointer, "must not be set"));
            }
            return;
        };
        if let Some(target) = self.resolve(rules) {
            self.check(target, value, pointer, depth - 1, errors);
        }
        for part in rules.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.check(part, value, pointer, depth - 1, errors);
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(branches) = rules.get(union).and_then(Value::as_array) {
                self.check_union(branches, value, pointer, depth - 1, errors);
            }
        }
        if !type_matches(rules, value) {
            let wanted = type_name(rules);
            return errors.push(FieldError::new(pointer, format!("expected {wanted}, got {}", describe(value))));
        }
        check_choice(rules, value, pointer, errors);
        match value {
            Value::Object(fields) => self.check_object(rules, fields, pointer, depth - 1, errors),
            Value::Array(items) => self.check_array(rules, items, pointer, depth - 1, errors),
            Value::String(text) => check_text(rules, text, pointer, errors),
            Value::Number(_) => check_number(rules, value, pointer, errors),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn resolve(&self, rules: &Map<String, Value>) -> Option<&'a Value> {
        let pointer = rules.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer)
    }

    /// The schema behind references.
    fn target(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..8 {
            match schema.as_object().and_then(|rules| self.resolve(rules)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn check_object(
        &self,
        rules: &'a Map<String, Value>,
        fields: &Map<String, Value>,
        pointer: &str,
        depth: usize,
        errors: &mut Vec<FieldError>,
    ) {
        let known = rules.get("properties").and_then(Value::as_object);
        for name in rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                errors.push(FieldError::new(pointer, format!("field `{name}` is missing")));
            }
        }
        for (name, field) in fields {
            if errors.len() > MOST_ERRORS {
                return;
            }
            let place = format!("{pointer}/{}", escape(name));
            if let Some(schema) = known.and_then(|known| known.get(name)) {
                self.check(schema, field, &place, depth, errors);
                continue;
            }
            match rules.get("additionalProperties") {
                Some(Value::Bool(false)) => errors.push(FieldError::new(place, unknown_field(name, known))),
                Some(schema) => self.check(schema, field, &place, depth, errors),
                None => {}
            }
        }
        if let Some(least) = rules.get("minProperties").and_then(Value::as_u64)
            && (fields.len() as u64) < least
        {
            errors.push(FieldError::new(pointer, format!("needs at least {least} entries")));
        }
    }

    fn check_array(
        &self,
        rules: &'a Map<String, Value>,
        items: &[Value],
        pointer: &str,
        depth: usize,
        errors: &mut Vec<FieldError>,
    ) {
        let count = items.len() as u64;
        if rules.get("minItems").and_then(Value::as_u64).is_some_and(|least| count < least) {
            errors.push(FieldError::new(pointer, format!("has too few items ({count})")));
        }
        if rules.get("maxItems").and_then(Value::as_u64).is_some_and(|most| count > most) {
            errors.push(FieldError::new(pointer, format!("has too many items ({count})")));
        }
        let fixed = rules.get("prefixItems").and_then(Value::as_array);
        for (place, item) in items.iter().enumerate() {
            if errors.len() > MOST_ERRORS {
                return;
            }
            let schema = fixed.and_then(|fixed| fixed.get(place)).or_else(|| rules.get("items"));
            if let Some(schema) = schema {
                self.check(schema, item, &format!("{pointer}/{place}"), depth, errors);
            }
        }
    }

    /// The branches behind references and nested unions (an optional enum is a union of a union), less `null` unless
    /// the value is.
    fn flatten(&self, branches: &'a [Value], value: &Value, depth: usize, flat: &mut Vec<&'a Value>) {
        for branch in branches {
            let branch = self.target(branch);
            let nested = ["anyOf", "oneOf"].iter().find_map(|union| branch.get(*union).and_then(Value::as_array));
            match nested {
                Some(nested) if depth > 0 && branch.get("type").is_none() => {
                    self.flatten(nested, value, depth - 1, flat);
                }
                _ if branch.get("type") == Some(&Value::from("null")) && !value.is_null() => {}
                _ => flat.push(branch),
            }
        }
    }

    /// One branch must hold. When none does, the errors of the branch that was most likely meant are reported.
    fn check_union(
        &self,
        branches: &'a [Value],
        value: &Value,
        pointer: &str,
        depth: usize,
        errors: &mut Vec<FieldError>,
    ) {
        let mut flat = Vec::new();
        self.flatten(branches, value, 8, &mut flat);
        if let [only] = flat.as_slice() {
            return self.check(only, value, pointer, depth, errors);
        }
        let mut best: Option<(Likely, Vec<FieldError>)> = None;
        let mut scalars: BTreeSet<&str> = BTreeSet::new();
        let mut tags: Vec<&str> = Vec::new();
        let mut wanted: Vec<String> = Vec::new();
        for branch in flat {
            let mut found = Vec::new();
            self.check(branch, value, pointer, depth, &mut found);
            if found.is_empty() {
                return;
            }
            let Value::Object(rules) = branch else { continue };
            scalars.extend(choices(rules));
            if let (Value::Object(fields), Some(known)) = (value, rules.get("properties").and_then(Value::as_object)) {
                tags.extend(known.keys().map(String::as_str));
                // What is named counts most, then how little is wrong.
                let named = fields.keys().filter(|name| known.contains_key(*name)).count();
                let tagged = known
                    .iter()
                    .any(|(name, schema)| schema.get("const").is_some_and(|wanted| fields.get(name) == Some(wanted)));
                let likely = (tagged, named, Reverse(found.len()));
                if named > 0 && best.as_ref().is_none_or(|(most, _)| likely > *most) {
                    best = Some((likely, found));
                }
            } else if type_matches(rules, value) && rules.contains_key("type") && choices(rules).is_empty() {
                let likely = (false, 0, Reverse(found.len()));
                if best.as_ref().is_none_or(|(most, _)| likely > *most) {
                    best = Some((likely, found));
                }
            }
            let name = type_name(rules);
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        if let Some((_, found)) = best {
            return errors.extend(found);
        }
        errors.push(FieldError::new(pointer, union_message(value, &scalars, &tags, &wanted)));
    }
}

fn union_message(value: &Value, scalars: &BTreeSet<&str>, tags: &[&str], wanted: &[String]) -> String {
    match value {
        Value::String(text) if !scalars.is_empty() => unknown_value(text, scalars.iter().copied()),
        Value::Object(fields) if !tags.is_empty() => match fields.keys().next() {
            Some(name) => unknown_name("field", name, tags),
            None => format!("needs one of {}", list(tags)),
        },
        other => format!("expected {}, got {}", wanted.join(" or "), describe(other)),
    }
}

fn unknown_field(name: &str, known: Option<&Map<String, Value>>) -> String {
    let names: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    unknown_name("field", name, &names)
}

fn unknown_name(what: &str, name: &str, valid: &[&str]) -> String {
    let name = clip(name);
    // In one order, whatever order this build's schemas keep.
    let mut valid = valid.to_vec();
    valid.sort_unstable();
    match nearest(&name, valid.iter().copied()) {
        Some(best) if valid.len() > 1 => {
            format!("unknown {what} `{name}`; did you mean `{best}`? valid are {}", list(&valid))
        }
        Some(best) => format!("unknown {what} `{name}`; the only valid one is `{best}`"),
        None => format!("unknown {what} `{name}`; none is valid here"),
    }
}

fn unknown_value<'a>(text: &str, valid: impl Iterator<Item = &'a str>) -> String {
    unknown_name("value", text, &valid.collect::<Vec<_>>())
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The texts that `enum` and `const` allow.
fn choices(rules: &Map<String, Value>) -> Vec<&str> {
    let listed = rules.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(rules.get("const")).filter_map(Value::as_str).collect()
}

fn check_choice(rules: &Map<String, Value>, value: &Value, pointer: &str, errors: &mut Vec<FieldError>) {
    let listed = rules.get("enum").and_then(Value::as_array);
    let allowed = listed.is_none_or(|listed| listed.contains(value))
        && rules.get("const").is_none_or(|constant| constant == value);
    if allowed {
        return;
    }
    let message = match value {
        Value::String(text) => unknown_value(text, choices(rules).into_iter()),
        other => format!("expected {}, got {}", list(&choices(rules)), describe(other)),
    };
    errors.push(FieldError::new(pointer, message));
}

fn check_text(rules: &Map<String, Value>, text: &str, pointer: &str, errors: &mut Vec<FieldError>) {
    if let Some(format) = rules.get("format").and_then(Value::as_str)
        && let Err(message) = formats::check(format, text)
    {
        errors.push(FieldError::new(pointer, message));
    }
    let length = text.chars().count() as u64;
    if rules.get("minLength").and_then(Value::as_u64).is_some_and(|least| length < least) {
        let message = if length == 0 { "must not be empty".to_owned() } else { format!("is too short ({length})") };
        errors.push(FieldError::new(pointer, message));
    }
    if let Some(most) = rules.get("maxLength").and_then(Value::as_u64).filter(|most| length > *most) {
        errors.push(FieldError::new(pointer, format!("has {length} characters, at most {most} are allowed")));
    }
}

fn check_number(rules: &Map<String, Value>, value: &Value, pointer: &str, errors: &mut Vec<FieldError>) {
    let Some(number) = value.as_f64() else { return };
    let bound = |name: &str| rules.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        errors.push(FieldError::new(pointer, format!("must be at least {least}, is {value}")));
    }
    if let Some(least) = bound("exclusiveMinimum").filter(|least| number <= *least) {
        errors.push(FieldError::new(pointer, format!("must be more than {least}, is {value}")));
    }
    if let Some(most) = bound("maximum").filter(|most| number > *most) {
        errors.push(FieldError::new(pointer, format!("must be at most {most}, is {value}")));
    }
}

fn types(rules: &Map<String, Value>) -> Vec<&str> {
    match rules.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn type_matches(rules: &Map<String, Value>, value: &Value) -> bool {
    let types = types(rules);
    types.is_empty()
        || types.iter().any(|name| match *name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_u64() || value.is_i64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            _ => true,
        })
}

fn type_name(rules: &Map<String, Value>) -> String {
    let names: Vec<&str> = types(rules)
        .into_iter()
        .filter(|name| *name != "null")
        .map(|name| match name {
            "string" => match rules.get("format").and_then(Value::as_str) {
                Some("neuraxis-duration") => "a duration such as `1h30m`",
                Some("date-time") => "an RFC 3339 time",
                _ => "a text",
            },
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "`true` or `false`",
            "array" => "a list",
            "object" => "a map",
            other => other,
        })
        .collect();
    if names.is_empty() { "something else".to_owned() } else { names.join(" or ") }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => format!("`{flag}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => format!("the text `{}`", clip(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
