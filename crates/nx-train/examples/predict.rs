//! Prints the probabilities that a stored network gives the digits it is judged by, one image a line:
//! `cargo run --release -p nx-train --example predict -- testdata/digits testdata/models/digits.safetensors`.

use std::{
    env,
    error::Error,
    fs,
    io::{Write as _, stdout},
    num::NonZeroUsize,
    path::PathBuf,
};

use nx_train::{Dataset, digits, store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, model] = arguments.as_slice() else {
        return Err("say where the data and the model are: DATA_DIR MODEL.safetensors".into());
    };
    let file = |name: &str| fs::read(data.join(name));
    let digits = digits::read(&file("images-idx3-ubyte.gz")?, &file("labels-idx1-ubyte.gz")?)?;
    let (_, judge) = digits.split(digits::TO_LEARN);
    let network = store::read(&fs::read(model)?)?;
    let images = (0..judge.len()).filter_map(|at| judge.get(at));
    let inputs: Vec<f32> = images.flat_map(|(pixels, _)| Dataset::numbers(pixels)).collect();
    let probabilities = network.predict(&inputs, NonZeroUsize::MIN)?;
    for image in probabilities.chunks(digits::CLASSES) {
        let line: Vec<String> = image.iter().map(ToString::to_string).collect();
        writeln!(stdout(), "{}", line.join(" "))?;
    }
    Ok(())
}
