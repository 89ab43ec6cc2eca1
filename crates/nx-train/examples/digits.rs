//! Trains the network that reads digits and writes it as an ONNX model, with its card beside it:
//! `cargo run --release -p nx-train --example digits -- testdata/digits testdata/models/digits.onnx [SEED] [THREADS]`.

use std::{env, error::Error, fs, num::NonZeroUsize, ops::ControlFlow, path::PathBuf};

use nx_train::{Network, digits, evaluate, onnx, store, train};
use nx_types::env::SeededRng;

#[expect(clippy::print_stderr, reason = "progress is what it prints")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [data, out, rest @ ..] = arguments.as_slice() else {
        return Err("say where the data is and where the model goes: DATA_DIR OUT.onnx [SEED] [THREADS]".into());
    };
    let (data, out) = (PathBuf::from(data), PathBuf::from(out));
    let seed = rest.first().map_or(Ok(digits::SEED), |seed| seed.parse())?;
    let threads = rest.get(1).map_or(Ok(NonZeroUsize::MIN.saturating_add(1)), |threads| threads.parse())?;
    let file = |name: &str| fs::read(data.join(name));
    let digits = digits::read(&file("images-idx3-ubyte.gz")?, &file("labels-idx1-ubyte.gz")?)?;
    let (learn, judge) = digits.split(digits::TO_LEARN);

    let options = digits::options(seed, threads);
    let mut network = Network::new(&digits::network(), &SeededRng::new(seed))?;
    let history = train(&mut network, &learn, &options, &mut |progress| {
        if progress.step % 109 == 0 {
            eprintln!("step {} of {}: loss {:.4}", progress.step, progress.steps, progress.loss);
        }
        ControlFlow::Continue(())
    })?;
    let found = evaluate(&network, &judge, threads)?;
    eprintln!("{} of {} right, calibration error {:.4}", found.correct, found.count, found.calibration_error);

    fs::write(&out, onnx::write(&network, &digits::onnx_card(&options)))?;
    fs::write(out.with_extension("safetensors"), store::write(&network)?)?;
    fs::write(out.with_extension("md"), digits::card(&network, &options, &history, &found))?;
    Ok(())
}
