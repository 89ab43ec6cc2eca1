//! The detectors: what they find, what they leave alone, and that neither depends on how a text comes in.

#![expect(clippy::string_slice, clippy::panic, reason = "a test that fails panics")]
#![expect(clippy::needless_pass_by_value, reason = "`expect!` reads best in place")]
#![expect(clippy::format_collect, reason = "texts of a test are short")]

mod injection;
mod limits;
mod masking;
mod personal;
mod secret;
mod trick;
mod value;

use nx_guard::detect::{Budget, Detectors, Report};

fn scan(text: &str) -> Report {
    Detectors::embedded().scan(text, Budget::default())
}

/// The findings but for injections, one a line: kind, score, text.
fn found(text: &str) -> String {
    let report = scan(text);
    assert!(report.complete, "{text:?}");
    let lines = report
        .findings
        .iter()
        .filter(|f| !matches!(f.kind.name(), "override" | "instruction"))
        .map(|f| format!("{} {} {:?}\n", f.kind.name(), f.score, &text[f.start..f.end]));
    lines.collect()
}

fn kinds(text: &str) -> Vec<&'static str> {
    let mut kinds: Vec<&str> = scan(text).findings.iter().map(|finding| finding.kind.name()).collect();
    kinds.dedup();
    kinds
}
