//! ONNX's own tests of single operators, run on an engine.

use std::{collections::BTreeMap, fs, path::Path};

use nx_infer::{
    Data, Error, Tensor,
    engine::{Engine, Options, Session},
    onnx::{Limits, Model},
};
use serde_json::json;

use crate::figures::tensors;

/// What came of a test.
enum Outcome {
    Passed,
    Refused(String),
    Wrong(String),
    /// Values that are not passed here: sequences, strings, types of a byte and less.
    NotPassed,
}

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
pub(crate) fn run(nodes: &Path, name: &str, only: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    let engine = crate::engines::named(name)?;
    let mut tests: Vec<_> = fs::read_dir(nodes)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    tests.sort();
    // a panic is an outcome, not something to print
    std::panic::set_hook(Box::new(|_| ()));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for test in tests {
        let title = test.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if only.is_some_and(|only| !title.contains(only)) {
            continue;
        }
        let (outcome, detail) = match one(&*engine, &test) {
            Outcome::Passed => ("passed", String::new()),
            Outcome::NotPassed => ("not passed here", String::new()),
            Outcome::Refused(why) => ("refused", why),
            Outcome::Wrong(why) => ("wrong", why),
        };
        *counts.entry(outcome).or_default() += 1;
        if only.is_some() || outcome == "wrong" || outcome == "refused" {
            println!("{}", json!({ "engine": name, "test": title, "outcome": outcome, "detail": detail }));
        }
    }
    println!("{}", json!({ "engine": name, "version": engine.version(), "counts": counts }));
    Ok(())
}

fn one(engine: &dyn Engine, test: &Path) -> Outcome {
    let Ok(bytes) = fs::read(test.join("model.onnx")) else { return Outcome::NotPassed };
    let model = match Model::read(bytes.clone(), &Limits::default()) {
        Ok(model) => model,
        Err(error) => return Outcome::Wrong(format!("our reader: {error}")),
    };
    if model.inputs().is_err() || model.outputs().is_err() {
        return Outcome::NotPassed;
    }
    let set = test.join("test_data_set_0");
    let (Ok(inputs), Ok(wanted)) = (tensors(&set, "input"), tensors(&set, "output")) else { return Outcome::NotPassed };
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let result = Session::load(engine, bytes, &Options::default()).and_then(|mut session| session.run(&given));
    match result {
        Err(Error::Tensor { name, reason }) if reason.contains("is not given") => {
            Outcome::Refused(format!("{name}: {reason}"))
        }
        Err(error) => Outcome::Refused(error.to_string().chars().take(300).collect()),
        Ok(outputs) => {
            let differ = outputs
                .iter()
                .zip(&wanted)
                .find_map(|(found, (name, wanted))| differs(found, wanted).map(|why| format!("`{name}` {why}")));
            differ.map_or(Outcome::Passed, Outcome::Wrong)
        }
    }
}

fn differs(found: &Tensor, wanted: &Tensor) -> Option<String> {
    if found.shape() != wanted.shape() {
        return Some(format!("has shape {:?}, wanted {:?}", found.shape(), wanted.shape()));
    }
    if found.dtype() != wanted.dtype() {
        return Some(format!("is of {}, wanted {}", found.dtype(), wanted.dtype()));
    }
    let (a, b) = (numbers(found.data()), numbers(wanted.data()));
    let close = |(a, b): (&f64, &f64)| {
        a.total_cmp(b).is_eq() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-3 * b.abs() + 1e-5
    };
    let at = a.iter().zip(&b).position(|pair| !close(pair))?;
    let wrong = a.iter().zip(&b).filter(|pair| !close(*pair)).count();
    Some(format!("has {wrong} of {} numbers off, first {:?} for {:?}", a.len(), a.get(at), b.get(at)))
}

fn numbers(data: &Data) -> Vec<f64> {
    match data {
        Data::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::F64(values) => values.clone(),
        Data::F16(values) => values.iter().map(|v| v.to_f64()).collect(),
        Data::I64(values) => values.iter().map(|&v| v as f64).collect(),
        Data::I32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::I16(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::I8(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::U64(values) => values.iter().map(|&v| v as f64).collect(),
        Data::U32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::U16(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::U8(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Data::Bool(values) => values.iter().map(|&v| f64::from(u8::from(v))).collect(),
        _ => Vec::new(),
    }
}
