use std::{fs, path::Path};

use nx_control::{Error, Outcome, SEALED};
use nx_types::ErrorCode as _;
use serde_json::json;

use crate::support::{Stage, by, default, folder};

const VALUE: &str = "s3cr3t-value-5f1c";

/// Whether any file below the folder holds the bytes.
fn on_disk(dir: &Path, needle: &str) -> bool {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("lists").map(|entry| entry.expect("lists").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if fs::read(&entry).expect("reads").windows(needle.len()).any(|part| part == needle.as_bytes()) {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn values_are_sealed_and_never_shown() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let manifest = |token: &str, user: &str| json!({ "kind": "Secret", "metadata": { "name": "pay" }, "spec": { "values": { "token": token, "user": user } } });
    let apply = async |manifest| stage.handle.apply(&default(), &[manifest], &by("ann")).await;
    let created = apply(manifest(VALUE, "ann")).await.expect("applies");
    assert_eq!(created[0].resource.spec, json!({ "values": { "token": SEALED, "user": SEALED } }));
    assert_eq!(*stage.handle.secret(&default(), "pay", "token").await.expect("is there"), VALUE);
    let missing = stage.handle.secret(&default(), "pay", "tokn").await.expect_err("is not there");
    assert_eq!(missing.code().as_str(), "NX-CTL-0012");

    // Applied as printed, it is the same; the same value again as well.
    assert_eq!(apply(manifest(SEALED, "ann")).await.expect("applies")[0].outcome, Outcome::Unchanged);
    let diff = stage.handle.diff(&default(), &manifest("another-3e2a", "ann")).await.expect("compares");
    assert_eq!(diff.changes.len(), 1);
    assert_eq!(diff.changes[0].pointer, "/spec/values/token");
    assert!(!diff.text.contains("another-3e2a") && !diff.text.contains(VALUE), "{}", diff.text);
    let updated = apply(manifest("another-3e2a", SEALED)).await.expect("applies");
    assert_eq!((updated[0].outcome, updated[0].resource.metadata.generation), (Outcome::Updated, Some(2)));
    assert_eq!(*stage.handle.secret(&default(), "pay", "token").await.expect("is there"), "another-3e2a");
    assert_eq!(*stage.handle.secret(&default(), "pay", "user").await.expect("is there"), "ann");
    let unknown = json!({ "kind": "Secret", "metadata": { "name": "pay" }, "spec": { "values": { "new": SEALED } } });
    assert!(matches!(apply(unknown).await, Err(Error::Invalid { .. })));

    let listed = stage.handle.list(&default(), None, None, 10).await.expect("lists");
    let shown = format!("{created:?}{updated:?}{listed:?}{}", serde_json::to_string(&listed).expect("is JSON"));
    assert!(!shown.contains(VALUE) && !shown.contains("another-3e2a"));
    for event in stage.events("") {
        let text = String::from_utf8_lossy(event.data.bytes().unwrap_or_default()).into_owned();
        assert!(!text.contains(VALUE) && !text.contains("another-3e2a") && !text.contains("\"ann\":"), "{text}");
    }
    let digests: Vec<_> =
        stage.events("resource.applied").iter().map(|event| crate::support::data(event)["sealed"].clone()).collect();
    assert_ne!(digests[0]["/values/token"], digests[1]["/values/token"]);
    assert_eq!(digests[0]["/values/user"], digests[1]["/values/user"]);
    stage.close().await;
    assert!(!on_disk(dir.path(), VALUE) && !on_disk(dir.path(), "another-3e2a"));
}

#[tokio::test]
async fn deleting_erases_the_key() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let manifest = "{kind: Secret, metadata: {name: pay}, spec: {values: {token: first}}}";
    stage.apply(manifest).await;
    let subject = "secret/Secret/pay";
    let key = stage.journal.reader().data_key(&default(), subject).expect("reads");
    assert!(key.is_some());
    stage.handle.delete(&default(), "Secret", "pay", None, &by("ann")).await.expect("deletes");
    assert_eq!(stage.journal.reader().data_key(&default(), subject).expect("reads"), None);
    assert!(matches!(stage.handle.secret(&default(), "pay", "token").await, Err(Error::NotFound { .. })));
    assert_eq!(stage.events("key.erased").len(), 1);
    // What was recorded of the resource itself stays readable.
    assert_eq!(stage.events("resource.").iter().filter(|event| event.data.bytes().is_none()).count(), 0);
    stage.apply(manifest).await;
    assert_eq!(*stage.handle.secret(&default(), "pay", "token").await.expect("is there"), "first");
    stage.close().await;
}
