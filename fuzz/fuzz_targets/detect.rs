//! The detectors: cuts change nothing, findings lie on characters, masking is undone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nx_guard::detect::{Budget, Detectors, Mask};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let (detectors, budget) = (Detectors::embedded(), Budget::of_bytes(text.len()));
    let whole = detectors.scan(&text, budget);
    let (first, second) = text.split_at(text.floor_char_boundary(usize::from(*cut)));
    let mut scanner = detectors.scanner(budget);
    scanner.push(first);
    scanner.push(second);
    assert_eq!(scanner.finish(), whole);
    for finding in &whole.findings {
        assert!(text.get(finding.start..finding.end).is_some_and(|part| !part.is_empty()));
    }
    let mut mask = Mask::default();
    if let Ok(masked) = detectors.mask(&text, &mut mask, budget) {
        assert_eq!(mask.unmask(&masked), text);
    }
    if let Ok(value) = serde_json::from_str(&text) {
        drop(detectors.scan_value(&value, budget));
    }
});
