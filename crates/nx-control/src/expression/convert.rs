//! JSON to CEL and back. Whole numbers become CEL's int and stay whole on the way back.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use cel::{Context, Program, objects::Key};
use nx_types::Timestamp;
use serde_json::{Map, Number, Value};

/// Deepest value that an expression may give.
const MAX_DEPTH: usize = 64;

pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => cel::Value::Int(whole),
            (None, Some(whole)) => cel::Value::UInt(whole),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let map: HashMap<String, cel::Value> =
                fields.iter().map(|(name, field)| (name.clone(), to_cel(field))).collect();
            map.into()
        }
    }
}

/// An instant as a CEL timestamp, made by CEL itself.
pub(super) fn time_to_cel(time: Timestamp) -> cel::Value {
    static MAKE: LazyLock<Option<Program>> = LazyLock::new(|| super::ENVIRONMENT.compile("timestamp(text)").ok());
    let text = time.to_string();
    let made = MAKE.as_ref().and_then(|program| {
        let mut context = Context::with_env(super::ENVIRONMENT.clone());
        context.add_variable_from_value("text", text.clone());
        program.execute(&context).ok()
    });
    made.unwrap_or_else(|| cel::Value::String(Arc::new(text)))
}

pub(super) fn to_json(value: &cel::Value) -> Result<Value, String> {
    json(value, MAX_DEPTH)
}

fn json(value: &cel::Value, depth: usize) -> Result<Value, String> {
    if depth == 0 {
        return Err(format!("its value is nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(flag) => Value::Bool(*flag),
        cel::Value::Int(whole) => Value::from(*whole),
        cel::Value::UInt(whole) => Value::from(*whole),
        cel::Value::Float(number) => {
            Value::Number(Number::from_f64(*number).ok_or("its value is not a finite number")?)
        }
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::List(items) => {
            Value::Array(items.iter().map(|item| json(item, depth - 1)).collect::<Result<_, _>>()?)
        }
        cel::Value::Map(map) => {
            let mut fields = Map::new();
            for (key, field) in map.map.iter().collect::<std::collections::BTreeMap<_, _>>() {
                let name = match key {
                    Key::String(name) => name.to_string(),
                    Key::Int(number) => number.to_string(),
                    Key::Uint(number) => number.to_string(),
                    Key::Bool(flag) => flag.to_string(),
                };
                fields.insert(name, json(field, depth - 1)?);
            }
            Value::Object(fields)
        }
        cel::Value::Timestamp(time) => {
            let text = time.to_rfc3339();
            let time: Timestamp = text.parse().map_err(|_err| format!("its value `{text}` is out of range"))?;
            Value::String(time.to_string())
        }
        cel::Value::Duration(length) => Value::from(length.num_milliseconds() as f64 / 1000.0),
        other => return Err(format!("its value is {}, which has no JSON form", other.type_of())),
    })
}

/// The length of the longest list or map within.
pub(super) fn longest(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(longest).fold(items.len() as u64, u64::max),
        Value::Object(fields) => fields.values().map(longest).fold(fields.len() as u64, u64::max),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

pub(super) fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
