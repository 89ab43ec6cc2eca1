//! What would change: by field, and as unified text over YAML.

use std::fmt::Write as _;

use nx_types::json::escape;
use serde::Serialize;
use serde_json::{Value, json};

use crate::manifest::to_yaml;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Largest table of the line comparison; past it, everything between the equal ends counts as changed.
const MAX_TABLE: usize = 4_000_000;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// JSON pointer from the resource's root.
    pub pointer: String,
    /// What is; `None` if the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What would be; `None` if the field goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// The difference between what is stored and what would be.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// By field, in order of their places.
    pub changes: Vec<Change>,
    /// As unified text; empty if nothing changes.
    pub text: String,
}

impl Diff {
    /// The difference between two documents; `None` stands for none.
    pub(crate) fn between(name: &str, before: Option<&Value>, after: Option<&Value>) -> Self {
        let mut changes = Vec::new();
        compare(before, after, "", &mut changes);
        if changes.is_empty() {
            return Self::default();
        }
        let yaml = |document: Option<&Value>| document.map(to_yaml).unwrap_or_default();
        let label = |document: Option<&Value>| if document.is_some() { name } else { "/dev/null" };
        let mut text = format!("--- {}\n+++ {}\n", label(before), label(after));
        text.push_str(&unified(&yaml(before), &yaml(after)));
        Self { changes, text }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

fn compare(before: Option<&Value>, after: Option<&Value>, pointer: &str, changes: &mut Vec<Change>) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            let mut names: Vec<&String> = old.keys().chain(added).collect();
            names.sort();
            for name in names {
                compare(old.get(name), new.get(name), &format!("{pointer}/{}", escape(name)), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for place in 0..old.len().max(new.len()) {
                compare(old.get(place), new.get(place), &format!("{pointer}/{place}"), changes);
            }
        }
        (old, new) if old == new => {}
        (old, new) => {
            changes.push(Change { pointer: pointer.to_owned(), from: old.cloned(), to: new.cloned() });
        }
    }
}

/// What of a resource is compared: what the user wrote, not what the store adds.
pub(crate) fn comparable(kind: &str, metadata: &nx_types::Metadata, spec: &Value) -> Value {
    let mut document = json!({ "kind": kind, "metadata": { "name": metadata.name }, "spec": spec });
    if !metadata.annotations.is_empty() {
        document["metadata"]["annotations"] = json!(metadata.annotations);
    }
    document
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Same,
    Gone,
    New,
}

/// The unified form (as `diff -u` prints it) of the difference between two texts, without its two head lines.
fn unified(before: &str, after: &str) -> String {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let script = script(&old, &new);
    let mut text = String::new();
    let mut place = 0;
    while let Some(start) = script.iter().skip(place).position(|line| *line != Line::Same).map(|found| place + found) {
        let mut end = start;
        let mut same = 0;
        for (offset, line) in script.iter().enumerate().skip(start) {
            if *line == Line::Same {
                same += 1;
                if same > 2 * CONTEXT {
                    break;
                }
            } else {
                same = 0;
                end = offset + 1;
            }
        }
        let (from, to) = (start.saturating_sub(CONTEXT).max(place), (end + CONTEXT).min(script.len()));
        hunk(&script, &old, &new, from..to, &mut text);
        place = to;
    }
    text
}

fn hunk(script: &[Line], old: &[&str], new: &[&str], range: std::ops::Range<usize>, text: &mut String) {
    let count = |lines: &[Line], without: Line| lines.iter().filter(|line| **line != without).count();
    let (before, within) = (script.get(..range.start).unwrap_or_default(), script.get(range).unwrap_or_default());
    let (mut at_old, mut at_new) = (count(before, Line::New), count(before, Line::Gone));
    let (size_old, size_new) = (count(within, Line::New), count(within, Line::Gone));
    let first = |at: usize, size: usize| if size == 0 { at } else { at + 1 };
    let (first_old, first_new) = (first(at_old, size_old), first(at_new, size_new));
    let _written = writeln!(text, "@@ -{first_old},{size_old} +{first_new},{size_new} @@");
    for line in within {
        let (mark, content) = match line {
            Line::Same => (' ', old.get(at_old)),
            Line::Gone => ('-', old.get(at_old)),
            Line::New => ('+', new.get(at_new)),
        };
        at_old += usize::from(*line != Line::New);
        at_new += usize::from(*line != Line::Gone);
        let _written = writeln!(text, "{mark}{}", content.copied().unwrap_or_default());
    }
}

/// The shortest edit script, by the longest common subsequence between the equal ends.
fn script(old: &[&str], new: &[&str]) -> Vec<Line> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let old = old.get(..old.len() - tail).unwrap_or_default();
    let new = new.get(..new.len() - tail).unwrap_or_default();
    let mut lines = vec![Line::Same; head];
    lines.extend(middle(old, new));
    lines.extend(std::iter::repeat_n(Line::Same, tail));
    lines
}

fn middle(old: &[&str], new: &[&str]) -> Vec<Line> {
    let replaced = || {
        let gone = std::iter::repeat_n(Line::Gone, old.len());
        gone.chain(std::iter::repeat_n(Line::New, new.len())).collect()
    };
    if old.is_empty() || new.is_empty() || old.len().saturating_mul(new.len()) > MAX_TABLE {
        return replaced();
    }
    // common[i][j]: length of the longest common subsequence of old[i..] and new[j..].
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    let at = |table: &[u32], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or(0);
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let best =
                if a == b { at(&common, i + 1, j + 1) + 1 } else { at(&common, i + 1, j).max(at(&common, i, j + 1)) };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old.get(i) == new.get(j) {
            lines.push(Line::Same);
            (i, j) = (i + 1, j + 1);
        } else if j >= new.len() || (i < old.len() && at(&common, i + 1, j) >= at(&common, i, j + 1)) {
            lines.push(Line::Gone);
            i += 1;
        } else {
            lines.push(Line::New);
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_field_and_as_text() {
        let before = json!({ "spec": { "a": 1, "b": [1, 2], "c": { "x": true }, "d": "same", "e": 1, "f": 1 } });
        let after = json!({ "spec": { "a": 2, "b": [1], "c": { "y/z": true }, "d": "same", "e": 1, "f": 1 } });
        let diff = Diff::between("Reflex/a", Some(&before), Some(&after));
        let pointers: Vec<&str> = diff.changes.iter().map(|change| change.pointer.as_str()).collect();
        assert_eq!(pointers, ["/spec/a", "/spec/b/1", "/spec/c/x", "/spec/c/y~1z"]);
        expect![[r"
            --- Reflex/a
            +++ Reflex/a
            @@ -1,10 +1,9 @@
             spec:
            -  a: 1
            +  a: 2
               b:
               - 1
            -  - 2
               c:
            -    x: true
            +    y/z: true
               d: same
               e: 1
               f: 1
        "]]
        .assert_eq(&diff.text);
        assert!(Diff::between("a", Some(&before), Some(&before)).is_empty());
        let new = Diff::between("a", None, Some(&json!({ "b": 1 })));
        assert_eq!(new.text, "--- /dev/null\n+++ a\n@@ -0,0 +1,1 @@\n+b: 1\n");
    }

    /// Applies a unified diff: the oracle of the test below.
    fn patch(before: &str, diff: &str) -> String {
        let old: Vec<&str> = before.lines().collect();
        let (mut done, mut after) = (0, Vec::new());
        for line in diff.lines() {
            if let Some(head) = line.strip_prefix("@@ -") {
                let (first, size) =
                    head.split(' ').next().and_then(|range| range.split_once(',')).expect("has a range");
                let (first, size): (usize, usize) = (first.parse().expect("number"), size.parse().expect("number"));
                let start = if size == 0 { first } else { first - 1 };
                after.extend(old[done..start].iter().map(|line| (*line).to_owned()));
                done = start;
            } else if let Some(same) = line.strip_prefix(' ') {
                assert_eq!(old[done], same);
                after.push(same.to_owned());
                done += 1;
            } else if let Some(gone) = line.strip_prefix('-') {
                assert_eq!(old[done], gone);
                done += 1;
            } else {
                after.push(line.strip_prefix('+').expect("is new").to_owned());
            }
        }
        after.extend(old[done..].iter().map(|line| (*line).to_owned()));
        after.push(String::new());
        after.join("\n")
    }

    proptest! {
        #[test]
        fn patching_gives_the_other_text(before in "([abc]\n){0,24}", after in "([abc]\n){0,24}") {
            prop_assert_eq!(patch(&before, &unified(&before, &after)), after);
        }
    }
}
