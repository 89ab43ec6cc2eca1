//! What a model takes on an engine: `cargo run --release -p nx-infer --example engines -- run MODEL_DIR ENGINE THREADS`. With
//! `conform NODES_DIR ENGINE` it runs ONNX's own test of every operator and says which pass, which are refused, which answer
//! wrongly. One JSON object a line. A model's directory holds `model.onnx` and `test_data_set_0`, as ONNX's tests do.

mod conform;
mod engines;
mod figures;
mod shrink;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["run", model, engine, threads] => figures::run(Path::new(model), engine, threads.parse()?),
        ["load", model, engine] => figures::load(Path::new(model), engine),
        ["shrink", model, engine, out] => shrink::run(Path::new(model), engine, Path::new(out)),
        ["conform", nodes, engine] => conform::run(Path::new(nodes), engine, None),
        ["conform", nodes, engine, only] => conform::run(Path::new(nodes), engine, Some(only)),
        _ => Err("usage: bench run MODEL_DIR ENGINE THREADS | load MODEL_DIR ENGINE | conform NODES_DIR ENGINE [NAME]"
            .into()),
    }
}
