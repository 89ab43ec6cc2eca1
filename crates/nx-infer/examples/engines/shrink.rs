//! A model cleaned, folded and quantised, step by step, as files that any runtime can be asked about.

use std::{fs, path::Path};

use nx_infer::{
    compress::{self, Granularity, Quantise, observe::Method},
    engine::Options,
    onnx::{Limits, Model},
};
use serde_json::json;

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
pub(crate) fn run(directory: &Path, engine: &str, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let engine = crate::engines::named(engine)?;
    let model = Model::read_file(&directory.join("model.onnx"), &Limits::default())?;
    let sample = crate::figures::tensors(&directory.join("test_data_set_0"), "input")?;
    fs::create_dir_all(out)?;
    let write = |name: &str, model: &Model| -> Result<(), Box<dyn std::error::Error>> {
        let bytes = model.write();
        println!("{}", json!({ "file": name, "bytes": bytes.len(), "nodes": model.graph().node.len() }));
        Ok(fs::write(out.join(name), bytes)?)
    };
    write("same.onnx", &model)?;
    let (cleaned, what) = compress::clean(&model)?;
    println!("{}", json!(what));
    write("clean.onnx", &cleaned)?;
    let (folded, count) = compress::fold(&cleaned)?;
    println!("{}", json!({ "folded": count }));
    write("folded.onnx", &folded)?;
    for granularity in [Granularity::Tensor, Granularity::Channel] {
        for (method, title) in [
            (Method::MinMax, "minmax"),
            (Method::Percentile { percent: 99.99 }, "percentile"),
            (Method::Entropy, "entropy"),
            (Method::Mse, "mse"),
        ] {
            let how = Quantise { granularity, method, ..Quantise::default() };
            let ranges =
                compress::calibrate(&*engine, &folded, std::slice::from_ref(&sample), &how, &Options::default())?;
            write(
                &format!("int8-{granularity:?}-{title}.onnx").to_lowercase(),
                &compress::quantise(&folded, &ranges, &how)?,
            )?;
        }
    }
    Ok(())
}
