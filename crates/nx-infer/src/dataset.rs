//! Data that models are judged on, from the files that people have them in: idx, `NumPy`, folders of pictures, CSV, JSON lines.
//!
//! What a file holds becomes what the model takes by its manifest: pictures and bytes go through the steps before the model,
//! numbers are taken as they are. Pictures are decoded by whoever calls, so that no codec stands here.

mod fit;
mod folder;
mod idx;
mod lines;
mod npy;
mod source;
mod table;

use std::{fmt, path::Path};

pub use source::Source;

use crate::{
    Error, Manifest,
    manifest::{Before, Input},
    process::{self, Image},
    search::{Metric, Reading, Sample},
};

/// Bytes that all samples may take at once, unless it is said otherwise.
const MEMORY_BYTES: u64 = 4 << 30;

/// Makes pixels of a picture's bytes; the reason where it cannot.
pub type Decode<'d> = &'d dyn Fn(&[u8]) -> Result<Image, String>;

/// What is to be made of the data.
#[derive(Clone, Copy)]
pub struct Wanted<'w> {
    /// What the model takes.
    pub manifest: &'w Manifest,
    /// What its answers say, and so what a truth is.
    pub metric: &'w Metric,
    /// Whether the data must tell the truth of every sample. Else truths are passed over.
    pub truths: bool,
    /// Reads pictures.
    pub decode: Decode<'w>,
    /// Bytes that all samples may take at once.
    pub memory_bytes: u64,
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("metric", &self.metric).field("truths", &self.truths).finish_non_exhaustive()
    }
}

impl<'w> Wanted<'w> {
    /// With the usual bound on memory.
    pub fn new(manifest: &'w Manifest, metric: &'w Metric, truths: bool, decode: Decode<'w>) -> Self {
        Self { manifest, metric, truths, decode, memory_bytes: MEMORY_BYTES }
    }

    /// The only input of a model that has one.
    fn only_input(&self, path: &Path) -> Result<&'w Input, Error> {
        match self.manifest.inputs.as_slice() {
            [only] => Ok(only),
            inputs => Err(wrong(
                path,
                format!("holds one input, the model takes {}; give .npz or .jsonl, which name them", inputs.len()),
            )),
        }
    }

    /// The tensor of a picture's or a file's bytes.
    fn file(&self, path: &Path, input: &Input, bytes: &[u8]) -> Result<crate::Tensor, Error> {
        let refused = |reason: String| wrong(path, reason);
        if input.before.is_empty() {
            let reason = format!(
                "is a file for input `{}`, which takes numbers; give the model a manifest with steps that make them of it",
                input.name
            );
            return Err(refused(reason));
        }
        let made = if matches!(input.before.as_slice(), [Before::Bytes(_)]) {
            process::before(input, process::Sample::Bytes(bytes))
        } else {
            let image = (self.decode)(bytes).map_err(|reason| refused(format!("is no picture: {reason}")))?;
            process::before(input, process::Sample::Image(&image))
        };
        made.map(|(tensor, _)| tensor).map_err(|error| refused(error.to_string()))
    }

    /// What a label stands for: a name that the manifest's output has, or a number.
    fn truth(&self, path: &Path, label: &str) -> Result<Reading, Error> {
        match self.metric {
            Metric::Class { output } => {
                let labels = self.manifest.outputs.get(*output).map(|output| output.labels.as_slice());
                let named = labels.unwrap_or_default().iter().position(|known| known == label);
                let number = || {
                    // `7.0` is how NumPy and pandas write a class among floats
                    let whole = label.strip_suffix(".0").unwrap_or(label).parse().ok();
                    whole.filter(|at| labels.is_none_or(|labels| labels.is_empty() || *at < labels.len()))
                };
                named.or_else(number).map(Reading::Class).ok_or_else(|| {
                    let known = labels.unwrap_or_default();
                    let reason = if known.is_empty() {
                        format!(
                            "has label `{label}`, which is no class's number; name classes in the manifest's `labels`"
                        )
                    } else {
                        let shown: Vec<&str> = known.iter().take(12).map(String::as_str).collect();
                        format!("has label `{label}`; the model's classes are {}", shown.join(", "))
                    };
                    wrong(path, reason)
                })
            }
            Metric::Text { .. } => Ok(Reading::Text(vec![label.to_owned()])),
            other => Err(wrong(path, format!("gives labels, and `{}` has none; judge by agreement", other.name()))),
        }
    }
}

/// Reads samples. Two sources may follow each other: their samples do.
///
/// # Errors
/// `Read` when a file cannot be read; `Data` with the file and the place in it when it holds something else.
pub fn read(sources: &[Source], wanted: &Wanted<'_>) -> Result<Vec<Sample>, Error> {
    let mut all = Vec::new();
    let mut bytes = 0_u64;
    for source in sources {
        let mut count = 0_usize;
        let mut take = |sample: Sample| {
            count += 1;
            bytes += sample.inputs.iter().map(|(_, tensor)| tensor.bytes() as u64).sum::<u64>();
            if bytes > wanted.memory_bytes {
                return Err(Error::limit("bytes of all samples", bytes, wanted.memory_bytes));
            }
            all.push(sample);
            Ok(())
        };
        source.form()?.read(source, wanted, &mut take)?;
        if count == 0 {
            return Err(wrong(&source.path, format!("has no sample{}", source.of_range())));
        }
    }
    Ok(all)
}

fn wrong(path: &Path, reason: impl Into<String>) -> Error {
    Error::Data { path: path.to_owned(), reason: reason.into() }
}

/// Takes a sample that was read.
type Take<'t> = &'t mut dyn FnMut(Sample) -> Result<(), Error>;
