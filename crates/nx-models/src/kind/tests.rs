//! A spec as pulls, swaps and deletions change it.

use nx_types::{ErrorCode as _, kind::check_spec};
use serde_json::json;

use super::*;

fn version(number: u32) -> Version {
    Version {
        version: number,
        sha256: "0".repeat(64),
        bytes: 1,
        licence: "Apache-2.0".to_owned(),
        source: None,
        from: None,
        place: 7,
    }
}

fn three() -> ArtifactSpec {
    let mut spec = ArtifactSpec::default();
    for number in 1..=3 {
        spec.add("digits", version(number), None).unwrap();
    }
    spec
}

#[test]
fn the_first_version_is_live_and_later_ones_wait_for_their_alias() {
    let mut spec = three();
    assert_eq!(spec.aliases, BTreeMap::from([("live".to_owned(), 1)]));
    spec.add("digits", version(3), Some("canary")).unwrap();
    assert_eq!((spec.versions.len(), spec.aliases["canary"]), (3, 3));
}

#[test]
fn rollbacks_go_back_step_by_step() {
    let mut spec = three();
    spec.point("digits", "live", 2).unwrap();
    spec.point("digits", "live", 2).unwrap();
    spec.point("digits", "live", 3).unwrap();
    assert_eq!(spec.rollback("digits", "live").unwrap(), 2);
    assert_eq!(spec.rollback("digits", "live").unwrap(), 1);
    assert_eq!(spec.rollback("digits", "live").unwrap_err().code().as_str(), "NX-MDL-0012");
    assert_eq!(spec, three());
    for _ in 0..50 {
        spec.point("digits", "live", 2).unwrap();
        spec.point("digits", "live", 1).unwrap();
    }
    assert_eq!(spec.history["live"].len(), MAX_HISTORY);
}

#[test]
fn a_version_in_use_stays() {
    let mut spec = three();
    spec.point("digits", "live", 2).unwrap();
    assert_eq!(spec.remove("digits", 2).unwrap_err().code().as_str(), "NX-MDL-0011");
    spec.remove("digits", 1).unwrap();
    assert_eq!(spec.rollback("digits", "live").unwrap_err().code().as_str(), "NX-MDL-0012");
    let error = spec.point("digits", "live", 1).unwrap_err();
    assert_eq!(error.to_string(), "model `digits` has no version 1; it has versions 2, 3 and `live` → 2");
    spec.remove_alias("digits", "live").unwrap();
    assert!(spec.remove_alias("digits", "live").is_err());
}

#[test]
fn manifests_are_checked() {
    let example: serde_json::Value = check_spec::<ArtifactSpec>(&json!({})).unwrap();
    assert_eq!(example["serving"]["queue"], 64);
    let errors = check_spec::<ArtifactSpec>(&json!({
        "aliases": {"live": 4, "9": 4},
        "serving": {"deadline": "2m", "engine": "abacus"},
    }))
    .unwrap_err();
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for says in ["version 4, which is not there", "`9` is not a name", "60s at most", "no engine `abacus`"] {
        assert!(text.contains(says), "{text}");
    }
    assert!(check_spec::<ArtifactSpec>(&json!({"serving": {"queue": 0}})).is_err());
}
