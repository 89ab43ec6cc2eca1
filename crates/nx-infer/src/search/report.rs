//! What a search found, as a document that gates check: canonical bytes, so that a signature by whoever releases holds.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{
    Aim, Device, Options, Part, Ratio, Recipe, Runner, Search, Speed, Test,
    bound::Seen,
    data::hash_of,
    plot,
    table::Entry,
    times::{Timing, median_us},
};
use crate::{Error, onnx::graph};

/// The claim on what is released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// What is claimed, in a sentence.
    pub text: String,
    /// The mean score dropped by no more than this, at the confidence; 0 where no bit of any output changed.
    pub bound: f64,
    /// The mean drop on the held-out samples.
    pub drop: f64,
    /// Mean scores on the held-out samples, before and after.
    pub scores: [f64; 2],
    /// How probable such good data would be if the budget were broken.
    pub p_value: f64,
    /// Held-out samples.
    pub samples: usize,
    /// Samples that only the original had right, and that only the compressed model had right, where scores are 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discordant: Option<[u64; 2]>,
}

/// The time of a candidate on an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The time that half of the runs did not exceed, in microseconds.
    pub p50_us: f64,
    /// How it relates to that of the original, round by round.
    pub ratio: Ratio,
    /// By which factor the original, loaded anew and timed beside itself in the same rounds, seemed to differ from itself. What
    /// lies within is not called faster or slower.
    pub margin: f64,
    /// What may be said of it.
    pub speed: Speed,
}

/// A candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// How it is made.
    pub recipe: Recipe,
    /// What became of it.
    pub outcome: String,
    /// Samples of the search's part that it was asked about.
    pub samples: usize,
    /// Its mean score on them.
    pub score: f64,
    /// How much lower that is than the original's on the same samples.
    pub drop: f64,
    /// How far its outputs lie from those of the original, relative to their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Times by engine.
    pub latency: BTreeMap<String, Latency>,
    /// Whether no other candidate is at least as fast, as small and as accurate, and better in one of them.
    pub front: bool,
}

/// What is released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Its name.
    pub name: String,
    /// How it is made.
    pub recipe: Recipe,
    /// The digest of its file.
    pub hash: String,
    /// Bytes of the file, and of the original's.
    pub bytes: [u64; 2],
    /// The time on the engine that was searched for, measured anew after it had been chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The claim.
    pub claim: Claim,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The form of this document.
    pub schema: String,
    /// The digest of the original's file.
    pub model: String,
    /// The digest of the data.
    pub data: String,
    /// What scores mean: agreement with given truths, or with the original's own answers.
    pub against: String,
    /// The metric with its parameters.
    pub metric: serde_json::Value,
    /// Samples that were searched on, and that were held out.
    pub samples: [usize; 2],
    /// What was asked for.
    pub options: Options,
    /// How the claim is made.
    pub method: String,
    /// Where.
    pub device: Device,
    /// Threads of a run.
    pub threads: usize,
    /// Versions of the engines, the one that was searched for first.
    pub engines: Vec<String>,
    /// The version of this crate.
    pub version: String,
    /// What is released.
    pub released: Released,
    /// The tests on held-out data, in their order.
    pub tests: Vec<Test>,
    /// Every candidate, the original first.
    pub candidates: Vec<Row>,
    /// Layers with how far the outputs moved when they alone were of eight bits, the most sensitive first.
    pub layers: Vec<(String, f64)>,
}

const METHOD: &str = "Fixed sequence of one-sided tests on held-out samples, the safest candidate first and each faster than \
    those before, every test at the full error probability, ended by the first that fails. Scores of 0 and 1: exact \
    unconditional test of the difference of paired proportions (Berger and Boos 1994). Other scores: betting \
    (Waudby-Smith and Ramdas 2024). Samples are taken to be independent draws of what the model will see.";

impl Report {
    /// Writes down what a search found.
    ///
    /// # Errors
    /// `Compress` while the search is not over, or when what is released cannot be made again.
    pub(super) fn of(search: &Search, runner: &Runner<'_>, device: &Device) -> Result<Self, Error> {
        let unfinished = || Error::Compress { step: "report", reason: "the search is not over".to_owned() };
        let verdict = search.verdict().ok_or_else(unfinished)?;
        let entry = search.table.entry(&verdict.released).ok_or_else(unfinished)?;
        let original = search.table.entry(&Recipe::Original).ok_or_else(unfinished)?;
        let model = runner.make(search, &verdict.released)?;
        let test = verdict.tests.iter().find(|test| test.recipe == verdict.released);
        let latency = search.table.confirm(entry).or_else(|| {
            let engine = search.subject().engines.first()?;
            search.table.race(entry, engine)
        });
        let nanos = if entry.confirm.is_empty() {
            search.subject().engines.first().and_then(|engine| entry.race.get(engine)).cloned().unwrap_or_default()
        } else {
            entry.confirm.clone()
        };
        let mut layers: Vec<(String, f64)> =
            search.table.probes.iter().map(|(name, deviation)| (name.clone(), *deviation)).collect();
        layers.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let mut report = Self {
            schema: "neuraxis/compression/v1".to_owned(),
            model: search.subject().model.clone(),
            data: search.subject().data.clone(),
            against: if runner.labelled() { "given truths" } else { "the original's own answers" }.to_owned(),
            metric: serde_json::to_value(runner.metric()).unwrap_or_default(),
            samples: [Part::Search, Part::HeldOut].map(|part| search.split().part(part).len()),
            options: search.options().clone(),
            method: METHOD.to_owned(),
            device: device.clone(),
            threads: runner.threads(),
            engines: search.subject().engines.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            released: Released {
                name: verdict.released.name(),
                recipe: verdict.released.clone(),
                // what is released as it was is the very file
                hash: match verdict.released {
                    Recipe::Original => search.subject().model.clone(),
                    _ => hash_of(&model),
                },
                bytes: [entry.bytes, original.bytes],
                // what was not timed anew is not called faster or slower
                latency: latency.and_then(|timing| latency_of(&nanos, timing)).map(|latency| Latency {
                    speed: if entry.confirm.is_empty() { Speed::NoDifference } else { latency.speed },
                    ..latency
                }),
                claim: claim(search, entry, original, test),
            },
            candidates: rows(search, &verdict.tests, &verdict.released),
            tests: verdict.tests,
            layers,
        };
        report.mark_front();
        // what was folded names its nodes by their outputs; a person knows the operator too
        for (layer, _) in &mut report.layers {
            if let Some(node) = runner.layer(layer) {
                *layer = graph::label(node);
            }
        }
        Ok(report)
    }

    /// The document in its canonical form (RFC 8785): one document, one sequence of bytes.
    ///
    /// # Errors
    /// `Compress` when a number cannot be written.
    pub fn canonical(&self) -> Result<Vec<u8>, Error> {
        serde_json_canonicalizer::to_vec(self)
            .map_err(|error| Error::Compress { step: "report", reason: error.to_string() })
    }

    /// The candidates' times, sizes and scores as an SVG drawing.
    pub fn plot(&self) -> String {
        plot::draw(self)
    }

    /// The table for a person.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let released = &self.released;
        let speed = released.latency.as_ref().map_or_else(String::new, |latency| {
            let word = match latency.speed {
                Speed::Faster => "faster than the original",
                Speed::Slower => "slower than the original",
                Speed::NoDifference => "no difference in speed was shown",
            };
            format!(
                " p50 {:.1} µs, {:.3} of the original's ({:.3} to {:.3}; the original beside itself: {:.3}): {word}.",
                latency.p50_us, latency.ratio.median, latency.ratio.low, latency.ratio.high, latency.margin
            )
        });
        let [bytes, before] = released.bytes;
        let _infallible = write!(
            text,
            "Released: **{}**, {bytes} bytes ({:.3} of {before}).{speed}\n\n{}\n\nScores are against {}. {} samples \
             searched, {} held out.\n\n",
            released.name,
            bytes as f64 / (before as f64).max(1.0),
            released.claim.text,
            self.against,
            self.samples[0],
            self.samples[1]
        );
        let engines: Vec<&String> = self.engines.iter().collect();
        text.push_str("| candidate | score | drop | deviation | bytes |");
        let mut line = "|---|--:|--:|--:|--:|".to_owned();
        for engine in &engines {
            let _infallible = write!(text, " {engine}, p50 µs | of the original |");
            line.push_str("--:|--:|");
        }
        let _infallible = write!(text, " front | outcome |\n{line}:-:|---|\n");
        for row in &self.candidates {
            let deviation = row.deviation.map_or_else(String::new, |deviation| format!("{deviation:.5}"));
            let _infallible = write!(
                text,
                "| {} | {:.3} % | {:.3} % | {deviation} | {} |",
                row.name,
                row.score * 100.0,
                row.drop * 100.0,
                row.bytes
            );
            for engine in &engines {
                let _infallible = match row.latency.get(*engine) {
                    Some(latency) => write!(text, " {:.1} | {:.3} |", latency.p50_us, latency.ratio.median),
                    None => write!(text, " | |"),
                };
            }
            let _infallible = writeln!(text, " {} | {} |", if row.front { "×" } else { "" }, row.outcome);
        }
        if !self.layers.is_empty() {
            text.push_str("\n| layer, alone in int8 | deviation |\n|---|--:|\n");
            for (layer, deviation) in &self.layers {
                let _infallible = writeln!(text, "| {layer} | {deviation:.5} |");
            }
        }
        text
    }

    fn mark_front(&mut self) {
        let Some(engine) = self.engines.first() else { return };
        let point = |row: &Row| {
            let latency = row.latency.get(engine)?;
            Some([latency.p50_us, row.bytes as f64, row.drop])
        };
        let points: Vec<Option<[f64; 3]>> = self.candidates.iter().map(point).collect();
        for (row, own) in self.candidates.iter_mut().zip(&points) {
            let Some(own) = own else { continue };
            let beaten = |other: &[f64; 3]| {
                other.iter().zip(own).all(|(a, b)| a <= b) && other.iter().zip(own).any(|(a, b)| a < b)
            };
            row.front = !points.iter().flatten().any(beaten);
        }
    }
}

fn latency_of(nanos: &[u64], timing: Timing) -> Option<Latency> {
    let (p50_us, speed) = (median_us(nanos)?, timing.speed());
    Some(Latency { p50_us, ratio: timing.ratio, margin: timing.margin, speed })
}

fn mean(scores: &[f32]) -> f64 {
    scores.iter().copied().map(f64::from).sum::<f64>() / (scores.len() as f64).max(1.0)
}

fn rows(search: &Search, tests: &[Test], released: &Recipe) -> Vec<Row> {
    let order = std::iter::once(Recipe::Original).chain(search.candidates());
    let full = search.split().part(Part::Search).len();
    let row = |recipe: Recipe| {
        let entry = search.table.entry(&recipe)?;
        let original = search.table.entry(&Recipe::Original)?;
        let outcome = match (tests.iter().find(|test| test.recipe == recipe), &entry.failed) {
            (_, Some(reason)) => format!("failed: {reason}"),
            _ if recipe == *released => "released".to_owned(),
            (Some(test), _) if test.passed => "kept the budget on held-out data".to_owned(),
            (Some(_), _) => "was not shown to keep the budget on held-out data".to_owned(),
            _ if entry.search.len() < full => format!("abandoned after {} samples", entry.search.len()),
            _ => String::new(),
        };
        let compared = original.search.get(..entry.search.len()).unwrap_or_default();
        let latency = search.subject().engines.iter().filter_map(|engine| {
            let timing = search.table.race(entry, engine)?;
            Some((engine.clone(), latency_of(entry.race.get(engine)?, timing)?))
        });
        Some(Row {
            name: recipe.name(),
            outcome,
            samples: entry.search.len(),
            score: mean(&entry.search),
            drop: mean(compared) - mean(&entry.search),
            deviation: entry.deviation,
            bytes: entry.bytes,
            latency: latency.collect(),
            front: false,
            recipe,
        })
    };
    order.filter_map(row).collect()
}

fn claim(search: &Search, entry: &Entry, original: &Entry, test: Option<&Test>) -> Claim {
    let Options { max_drop, confidence, aim, .. } = search.options();
    let Some(test) = test else {
        let what = match aim {
            Aim::Latency => "was shown to be faster and within the budget",
            Aim::Size => "was shown to be smaller and within the budget",
        };
        let text = if entry.recipe == Recipe::Original {
            format!("No candidate {what}: the model is released as it was.")
        } else {
            format!(
                "No candidate {what}: the model is released as it was, cleaned up; on {} samples no bit of any output changed.",
                entry.search.len()
            )
        };
        let score = mean(&entry.search);
        let scores = [score, score];
        return Claim { text, bound: 0.0, drop: 0.0, scores, p_value: 0.0, samples: 0, discordant: None };
    };
    let bound = test.seen.bound(*confidence);
    let discordant = match &test.seen {
        Seen::Pairs(pairs) => Some([pairs.losses, pairs.gains]),
        Seen::Bets(_) => None,
    };
    let text = format!(
        "On {} samples that the search did not see the mean score dropped by {:.4} %; at {} % confidence, on one side, it drops \
         by {:.4} % at most, within the budget of {} %.",
        test.seen.samples(),
        test.seen.drop() * 100.0,
        confidence * 100.0,
        bound * 100.0,
        max_drop * 100.0
    );
    Claim {
        text,
        bound,
        drop: test.seen.drop(),
        scores: [mean(&original.held_out), mean(&entry.held_out)],
        p_value: test.p_value,
        samples: test.seen.samples(),
        discordant,
    }
}
