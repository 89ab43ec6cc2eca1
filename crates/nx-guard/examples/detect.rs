//! Prints what the detectors say, one JSON object a line.
//!
//!     cargo run --release -p nx-guard --example detect -- FILE...     # of files
//!     ... --lines                                                     # of each line of the input: a JSON string is text,
//!                                                                     # other JSON a value, all else text
//!     ... --bench                                                     # how many MB a second of CPU, by what is read
//!
//! `--model FILE` before all that takes another model than the embedded one.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use nx_guard::detect::{Budget, Detectors};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, arguments) = match arguments.as_slice() {
        [option, path, rest @ ..] if option == "--model" => (Some(std::fs::read(path)?), rest),
        all => (None, all),
    };
    let other = model.as_deref().and_then(Detectors::with_model);
    let detectors = other.as_ref().unwrap_or_else(|| Detectors::embedded());
    let mut out = std::io::BufWriter::new(stdout().lock());
    match arguments.first().map(String::as_str) {
        Some("--bench") => bench(detectors, &mut out)?,
        Some("--lines") => {
            for line in stdin().lock().lines() {
                let line = line?;
                let report = match serde_json::from_str(&line) {
                    Ok(Value::String(text)) => json!(detectors.scan(&text, Budget::of_bytes(text.len()))),
                    Ok(value) => json!(detectors.scan_value(&value, Budget::default())),
                    Err(_) => json!(detectors.scan(&line, Budget::of_bytes(line.len()))),
                };
                writeln!(out, "{report}")?;
            }
        }
        _ => {
            for path in arguments {
                let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
                let report = detectors.scan(&text, Budget::of_bytes(text.len()));
                writeln!(out, "{}", json!({"file": path, "report": report}))?;
            }
        }
    }
    Ok(out.flush()?)
}

/// Text that is read in one measurement.
const MEASURED: usize = 8 << 20;

/// The CPU time of this process in nanoseconds, as Linux counts it: the machine may have other work.
fn cpu() -> Result<f64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// Reads each text five times; the median counts.
fn bench(detectors: &Detectors, out: &mut impl std::io::Write) -> Result<(), Box<dyn std::error::Error>> {
    for (name, text) in texts() {
        let mut rates = Vec::new();
        let mut report = detectors.scan(&text, Budget::of_bytes(text.len()));
        for _ in 0..5 {
            let start = cpu()?;
            report = detectors.scan(&text, Budget::of_bytes(text.len()));
            rates.push(text.len() as f64 * 1e3 / (cpu()? - start));
        }
        rates.sort_by(f64::total_cmp);
        let config = json!({"bytes": text.len(), "steps_per_byte": report.work as f64 / text.len() as f64,
            "findings": report.findings.len(), "complete": report.complete});
        let value = rates.get(rates.len() / 2).copied().unwrap_or_default().round();
        let line = json!({"name": format!("guard.detect.{name}"), "value": value, "unit": "MB/s", "config": config});
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn texts() -> [(&'static str, String); 5] {
    let filled = |piece: &dyn Fn(usize) -> String| {
        let (mut text, mut n) = (String::with_capacity(MEASURED + 4096), 0);
        while text.len() < MEASURED {
            text.push_str(&piece(n));
            n += 1;
        }
        text
    };
    let prose = "The council met in the old hall and talked about the new bridge for most of the evening. Nobody could say when the \
        work would be finished, or what it would cost, but all agreed that the river had been too high in spring. \
        A farmer from the north side spoke of his fields, and a teacher of the long way that children take in winter. \
        After a short break the engineer explained her drawings, which were pinned to the wall beside the window.\n";
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 58) as usize
    };
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let base64: String = (0..MEASURED).map(|_| alphabet.get(random()).copied().unwrap_or('A')).collect();
    [
        ("prose", filled(&|_| prose.to_owned())),
        (
            "json",
            filled(&|n| {
                let row = json!({"id": n, "name": format!("item {}", n % 89), "price": (n % 977) as f64 / 10.0, "stock": n % 31,
                    "tags": ["garden", "wood"], "updated": format!("2024-05-{:02}T08:{:02}:00Z", n % 28 + 1, n % 60)});
                format!("{row}\n")
            }),
        ),
        ("base64", base64),
        (
            "unicode",
            filled(&|_| {
                "Der Gemeinderat prüfte die Brücke über den Fluß; später müßte man das Geländer erhöhen. ".into()
            }),
        ),
        (
            "mails",
            filled(&|n| {
                format!("From: c{n}@example.org\nCall +44 20 7946 0{:03}, card 4111 1111 1111 1111. {prose}", n % 1000)
            }),
        ),
    ]
}
