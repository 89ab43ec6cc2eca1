//! Personal data and secrets replaced by placeholders that can be put back.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Budget, Detector, Detectors};
use crate::Error;

/// What placeholders stand for. It holds the data itself: keep it as the data is kept. Several texts may share one, and then
/// the same value has the same placeholder in all of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mask {
    values: BTreeMap<String, String>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// What a text had that looked like a placeholder already.
const LITERAL: &str = "LITERAL";

impl Mask {
    /// How many placeholders there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What a placeholder stands for.
    pub fn get(&self, placeholder: &str) -> Option<&str> {
        self.values.get(placeholder).map(String::as_str)
    }

    /// Puts the values back, wherever placeholders stand in `text`. Those that are not known stay.
    pub fn unmask(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, placeholder, behind)) = next_placeholder(rest) {
            out.push_str(before);
            out.push_str(self.get(placeholder).unwrap_or(placeholder));
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// The placeholder of a value. `[EMAIL_1]`: the kind and a number.
    fn placeholder(&mut self, kind: &str, value: &str, known: &mut BTreeMap<(String, String), String>) -> String {
        if let Some(placeholder) = known.get(&(kind.to_owned(), value.to_owned())) {
            return placeholder.clone();
        }
        let mut number = 1 + known.keys().filter(|(other, _)| other == kind).count();
        let mut placeholder = format!("[{kind}_{number}]");
        while self.values.contains_key(&placeholder) {
            number += 1;
            placeholder = format!("[{kind}_{number}]");
        }
        self.values.insert(placeholder.clone(), value.to_owned());
        known.insert((kind.to_owned(), value.to_owned()), placeholder.clone());
        placeholder
    }

    /// The placeholders by kind and value.
    fn known(&self) -> BTreeMap<(String, String), String> {
        let kind = |placeholder: &str| {
            placeholder
                .strip_prefix('[')
                .and_then(|name| name.rsplit_once('_'))
                .map_or(String::new(), |n| n.0.to_owned())
        };
        self.values
            .iter()
            .map(|(placeholder, value)| ((kind(placeholder), value.clone()), placeholder.clone()))
            .collect()
    }
}

impl Detectors {
    /// Replaces the personal data and the secrets of `text` by placeholders, and keeps in `mask` what they stand for.
    /// `mask.unmask` of the result is `text` again. What the detectors miss stays in it.
    ///
    /// Fails with [`Error::TooLarge`] if the budget does not suffice: a text that is masked in part would pass for one that is whole.
    pub fn mask(&self, text: &str, mask: &mut Mask, budget: Budget) -> Result<String, Error> {
        let report = self.scan(text, budget);
        if !report.complete {
            return Err(Error::TooLarge { what: "a text to be masked", found: text.len(), most: budget.bytes });
        }
        let mut spans: Vec<(usize, usize, String)> = report
            .findings
            .iter()
            .filter(|finding| matches!(finding.detector, Detector::Pii | Detector::Secrets))
            .map(|finding| (finding.start, finding.end, finding.kind.name().to_ascii_uppercase()))
            .collect();
        let mut rest = text;
        while let Some((before, placeholder, behind)) = next_placeholder(rest) {
            let start = text.len() - rest.len() + before.len();
            spans.push((start, start + placeholder.len(), LITERAL.to_owned()));
            rest = behind;
        }
        let mut known = mask.known();
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for (start, end, kind) in joined(spans) {
            let (Some(before), Some(value)) = (text.get(done..start), text.get(start..end)) else { continue };
            out.push_str(before);
            out.push_str(&mask.placeholder(&kind, value, &mut known));
            done = end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        Ok(out)
    }
}

/// The spans in order; those that overlap become one, of the kind of the longest.
fn joined(mut spans: Vec<(usize, usize, String)>) -> Vec<(usize, usize, String)> {
    spans.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
    let mut out: Vec<(usize, usize, String)> = Vec::with_capacity(spans.len());
    for (start, end, kind) in spans {
        match out.last_mut() {
            Some(last) if start < last.1 => {
                if end - start > last.1 - last.0 {
                    last.2 = kind;
                }
                last.1 = last.1.max(end);
            }
            _ if start < end => out.push((start, end, kind)),
            _ => {}
        }
    }
    out
}

/// The first placeholder of a text, with what stands before and behind it: `[`, capitals and `_`, `_`, digits, `]`.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    for (open, _) in text.match_indices('[') {
        let (before, from) = text.split_at_checked(open)?;
        let inner = from.strip_prefix('[').and_then(|inner| {
            let end = inner.bytes().take(40).position(|byte| byte == b']')?;
            inner.get(..end)
        });
        let Some((kind, number)) = inner.and_then(|inner| inner.rsplit_once('_')) else { continue };
        let shaped = !kind.is_empty()
            && !number.is_empty()
            && kind.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            && number.bytes().all(|byte| byte.is_ascii_digit());
        if shaped {
            let (placeholder, behind) = from.split_at_checked(kind.len() + number.len() + 3)?;
            return Some((before, placeholder, behind));
        }
    }
    None
}
