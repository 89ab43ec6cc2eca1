//! JSON lines: `{"inputs": {"x": [[1, 2]]}, "label": "cat"}`. An input is numbers in nested lists, `{"tensor": [1, 2], "shape":
//! [1, 2]}`, or `{"file": "cat.png"}` beside the file of lines. A model of one input may have `"x"` in place of `"inputs"`.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    Source, Take, Wanted,
    fit::{Numbers, tensor},
    source::bytes,
    wrong,
};
use crate::{Error, Tensor, manifest::Input, search::Sample};

/// Deepest nesting of lists of numbers.
const DIMENSIONS: usize = 8;

pub(super) fn read(source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
    let path = &source.path;
    let file = bytes(path)?;
    let text = std::str::from_utf8(&file).map_err(|error| wrong(path, format!("is no UTF-8: {error}")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (at, (number, line)) in lines.enumerate() {
        if !source.has(at) {
            continue;
        }
        let here = |reason: String| wrong(path, format!("line {}: {reason}", number + 1));
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| here(error.to_string()))?;
        let mut inputs = Vec::new();
        for input in &wanted.manifest.inputs {
            let named = object.get("inputs").and_then(|inputs| inputs.get(&input.name));
            let only = || if wanted.manifest.inputs.len() == 1 { object.get("x") } else { None };
            let Some(value) = named.or_else(only) else {
                return Err(here(format!("there is no input `{}`", input.name)));
            };
            inputs.push((input.name.clone(), one(path, wanted, input, value).map_err(|error| here(told(&error)))?));
        }
        let truth = if wanted.truths {
            let label = match object.get("label") {
                Some(Value::String(label)) => label.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => return Err(here("there is no `label`, a text or a number".to_owned())),
            };
            Some(wanted.truth(path, &label).map_err(|error| here(told(&error)))?)
        } else {
            None
        };
        take(Sample { inputs, truth })?;
    }
    Ok(())
}

/// Without the path, which stands before the line.
fn told(error: &Error) -> String {
    if let Error::Data { reason, .. } = error { reason.clone() } else { error.to_string() }
}

fn one(path: &Path, wanted: &Wanted<'_>, input: &Input, value: &Value) -> Result<Tensor, Error> {
    if let Some(file) = value.get("file").and_then(Value::as_str) {
        let file = path.parent().unwrap_or_else(|| Path::new(".")).join(file);
        return wanted.file(&file, input, &bytes(&file)?);
    }
    let (value, shape) = match value.get("tensor") {
        Some(list) => (list, value.get("shape")),
        None => (value, None),
    };
    let mut nested = Vec::new();
    let mut inner = value;
    while let Value::Array(items) = inner {
        nested.push(items.len());
        let (Some(first), true) = (items.first(), nested.len() <= DIMENSIONS) else { break };
        inner = first;
    }
    let mut flat = Vec::new();
    flatten(value, &nested, &mut flat).map_err(|reason| wrong(path, format!("input `{}` {reason}", input.name)))?;
    let given = shape.and_then(Value::as_array).map(|sides| sides.iter().filter_map(Value::as_u64));
    let shape: Vec<usize> = given.map_or(nested, |sides| sides.map(|side| side as usize).collect());
    if shape.iter().product::<usize>() != flat.len() {
        return Err(wrong(path, format!("input `{}` has {} numbers, not {shape:?}", input.name, flat.len())));
    }
    tensor(path, input, &shape, Numbers::Real(flat))
}

fn flatten(value: &Value, shape: &[usize], flat: &mut Vec<f64>) -> Result<(), String> {
    match (value, shape) {
        (Value::Array(items), [length, inner @ ..]) if items.len() == *length => {
            items.iter().try_for_each(|item| flatten(item, inner, flat))
        }
        (value, []) => {
            let number = value.as_f64().or_else(|| value.as_bool().map(|one| f64::from(u8::from(one))));
            flat.push(number.ok_or_else(|| format!("holds {value}, which is no number"))?);
            Ok(())
        }
        _ => Err("has lists of different lengths; a tensor's rows are equally long".to_owned()),
    }
}
