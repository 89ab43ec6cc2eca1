//! A JSON value under examination: its leaves, with their names, as one text, so that what is split over leaves is seen too.

use serde::Serialize;
use serde_json::Value;

use super::{Budget, Detector, Detectors, Finding, Scanner};
use crate::call::Scores;

/// Levels that are walked down; what lies deeper is not looked at.
const DEPTH: usize = 128;

/// A finding in a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The leaf or container (RFC 6901).
    pub pointer: String,
    /// Whether it lies in the name of that member, and not in its value.
    pub in_name: bool,
    /// What was found; offsets count from the start of the leaf's text, or of the name. Where it goes on in the next leaf,
    /// it ends with this one.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What the detectors say of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ValueReport {
    /// As in [`super::Report`].
    pub scores: Scores,
    /// The findings, in the order of the value.
    pub findings: Vec<Located>,
    /// As in [`super::Report`].
    pub complete: bool,
    /// Bytes that were read, names and separators included.
    pub bytes: usize,
    /// Steps that were spent.
    pub work: u64,
}

/// Where a member's name and text begin in the text of all.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: usize,
    text: usize,
    end: usize,
}

impl Detectors {
    /// The records of a value (what holds the leaf, with all that is in it; as unescaped parts of a pointer) in which something
    /// counts as an injection with at least this score. `None` if not all of it was looked at, or nothing is found.
    pub fn suspects(&self, value: &Value, score: u8) -> Option<Vec<Vec<String>>> {
        let report = self.scan_value(value, Budget::default());
        let mut records: Vec<Vec<String>> = report
            .findings
            .iter()
            .filter(|found| matches!(found.finding.detector, Detector::Injection | Detector::Unicode))
            .filter(|found| found.finding.score >= score)
            .map(|found| {
                let mut parts: Vec<String> =
                    found.pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
                parts.pop();
                parts
            })
            .collect();
        records.sort();
        records.dedup();
        (report.complete && !records.is_empty()).then_some(records)
    }

    /// Looks at the leaves of a value and at the names of its members.
    pub fn scan_value(&self, value: &Value, budget: Budget) -> ValueReport {
        let mut scanner = self.scanner(budget);
        let mut places = Vec::new();
        let whole = write(value, None, 0, &mut |name, text| {
            let start = scanner.taken();
            if let Some(name) = name {
                scanner.push(name);
                scanner.push(": ");
            }
            let middle = scanner.taken();
            if let Some(text) = text {
                text.push(&mut scanner);
            }
            let end = scanner.taken();
            scanner.push("\n");
            places.push(Place { name: start, text: middle, end });
            scanner.taken() > end
        });
        let report = scanner.finish();
        let mut wanted: Vec<(usize, Finding, bool)> = Vec::with_capacity(report.findings.len());
        for finding in report.findings {
            let index = places.partition_point(|place| place.name <= finding.start).saturating_sub(1);
            let Some(place) = places.get(index) else { continue };
            let in_name = finding.start < place.text;
            let (from, to) = if in_name { (place.name, place.text.saturating_sub(2)) } else { (place.text, place.end) };
            let start = finding.start.clamp(from, to) - from;
            let end = finding.end.clamp(from, to) - from;
            wanted.push((index, Finding { start, end, ..finding }, in_name));
        }
        wanted.sort_by_key(|(index, ..)| *index);
        let pointers = pointers(value, &wanted);
        let findings = wanted
            .into_iter()
            .zip(pointers)
            .map(|((_, finding, in_name), pointer)| Located { pointer, in_name, finding })
            .collect();
        ValueReport {
            scores: report.scores,
            findings,
            complete: report.complete && whole,
            bytes: report.bytes,
            work: report.work,
        }
    }
}

/// The text of a leaf.
#[derive(Debug, Clone, Copy)]
enum Text<'v> {
    String(&'v str),
    Other(&'v Value),
}

impl Text<'_> {
    fn push(self, scanner: &mut Scanner<'_>) {
        match self {
            Self::String(text) => scanner.push(text),
            Self::Other(value) => scanner.push(&value.to_string()),
        }
    }
}

/// Calls `out` with each member's name and text, containers having none; false once it or the depth says stop.
fn write<'v>(
    value: &'v Value,
    name: Option<&'v str>,
    depth: usize,
    out: &mut dyn FnMut(Option<&'v str>, Option<Text<'v>>) -> bool,
) -> bool {
    if depth > DEPTH {
        return false;
    }
    match value {
        Value::Array(items) => out(name, None) && items.iter().all(|item| write(item, None, depth + 1, out)),
        Value::Object(fields) => {
            out(name, None) && fields.iter().all(|(name, field)| write(field, Some(name), depth + 1, out))
        }
        Value::String(text) => out(name, Some(Text::String(text))),
        Value::Null => out(name, None),
        Value::Bool(_) | Value::Number(_) => out(name, Some(Text::Other(value))),
    }
}

/// The pointers of the members at the wanted places, which are sorted.
fn pointers(value: &Value, wanted: &[(usize, Finding, bool)]) -> Vec<String> {
    let mut found = Vec::with_capacity(wanted.len());
    walk(value, &mut (String::new(), 0), 0, wanted, &mut found);
    found
}

fn walk(
    value: &Value,
    (path, index): &mut (String, usize),
    depth: usize,
    wanted: &[(usize, Finding, bool)],
    found: &mut Vec<String>,
) {
    if depth > DEPTH {
        return;
    }
    while wanted.get(found.len()).is_some_and(|(place, ..)| place == index) {
        found.push(path.clone());
    }
    *index += 1;
    let mut state = (std::mem::take(path), *index);
    let mut member = |part: &str, member: &Value| {
        if wanted.get(found.len()).is_none() {
            return;
        }
        let length = state.0.len();
        state.0.push('/');
        state.0.push_str(&part.replace('~', "~0").replace('/', "~1"));
        walk(member, &mut state, depth + 1, wanted, found);
        state.0.truncate(length);
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(place, item)| member(&place.to_string(), item)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| member(name, field)),
        _ => {}
    }
    (*path, *index) = state;
}
