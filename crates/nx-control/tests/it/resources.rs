use nx_control::{ApplyOptions, Error, Outcome};
use nx_types::{ErrorCode as _, Namespace};
use serde_json::{Value, json};

use crate::support::{Stage, by, default, folder};

fn reflex(name: &str, threshold: f64) -> Value {
    json!({ "kind": "Reflex", "metadata": { "name": name }, "spec": {
        "on": "parcel.misread", "when": format!("${{event.data.confidence < {threshold}}}"),
        "run": { "agent": "a", "input": { "parcel": "${event.subject}" } },
    } })
}

#[tokio::test]
async fn applying_creates_updates_and_leaves_alone() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let apply = async |manifest: Value| {
        let mut applied = stage.handle.apply(&default(), &[manifest], &by("ann")).await.expect("applies");
        applied.remove(0)
    };
    let first = apply(reflex("a", 0.6)).await;
    assert_eq!(first.outcome, Outcome::Created);
    assert_eq!(first.resource.metadata.generation, Some(1));
    let version = first.resource.metadata.resource_version.expect("is set");
    let head = stage.journal.head();
    assert_eq!(apply(reflex("a", 0.6)).await.outcome, Outcome::Unchanged);
    assert_eq!(stage.journal.head(), head, "the same again records nothing");

    let second = apply(reflex("a", 0.7)).await;
    assert_eq!(second.outcome, Outcome::Updated);
    assert_eq!(second.resource.metadata.generation, Some(2));
    assert_eq!(second.diff.changes.len(), 1);
    assert_eq!(second.diff.changes[0].pointer, "/spec/when");
    assert!(second.diff.text.contains("+  when: ${event.data.confidence < 0.7}"), "{}", second.diff.text);

    let mut annotated = reflex("a", 0.7);
    annotated["metadata"]["annotations"] = json!({ "team": "dock" });
    let third = apply(annotated).await;
    assert_eq!((third.outcome, third.resource.metadata.generation), (Outcome::Updated, Some(2)));

    // What was read can be applied as it is; what was read before the last change cannot.
    let read = stage.handle.get(&default(), "reflexes", "a").await.expect("is there");
    assert_eq!(read, third.resource);
    let mut again = serde_json::to_value(&read).expect("is JSON");
    assert_eq!(apply(again.clone()).await.outcome, Outcome::Unchanged);
    again["metadata"]["resourceVersion"] = json!(version);
    let err = stage.handle.apply(&default(), &[again], &by("ben")).await.expect_err("is stale");
    assert_eq!(err.code().as_str(), "NX-CTL-0005");

    let events = stage.events("resource.applied");
    assert_eq!(events.len(), 3);
    let last = crate::support::data(&events[2]);
    assert_eq!((&last["by"], &last["outcome"], &last["generation"]), (&json!("ann"), &json!("updated"), &json!(2)));
    stage.close().await;
}

#[tokio::test]
async fn dry_runs_and_diffs_change_nothing() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let options = ApplyOptions { dry_run: true, by: "ann".to_owned() };
    let head = stage.journal.head();
    let applied = stage.handle.apply(&default(), &[reflex("a", 0.6)], &options).await.expect("is valid");
    assert_eq!(applied[0].outcome, Outcome::Created);
    assert!(!stage.handle.diff(&default(), &reflex("a", 0.6)).await.expect("is valid").is_empty());
    assert!(stage.handle.delete(&default(), "Reflex", "a", None, &options).await.is_err());
    assert_eq!(stage.journal.head(), head);
    stage.close().await;
}

#[tokio::test]
async fn several_manifests_are_applied_together_or_not_at_all() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let mut wrong = reflex("b", 0.6);
    wrong["spec"]["whn"] = json!("x");
    let manifests = [reflex("a", 0.6), wrong, json!({ "kind": "Nothing" }), reflex("a", 0.1)];
    let err = stage.handle.apply(&default(), &manifests, &by("ann")).await.expect_err("is wrong");
    let places: Vec<&str> = err.fields().iter().map(|err| err.pointer.as_str()).collect();
    assert_eq!(places, ["/1/spec/whn", "/2/kind", "/3/metadata/name"]);
    assert!(matches!(stage.handle.get(&default(), "Reflex", "a").await, Err(Error::NotFound { .. })));
    let applied = stage.handle.apply(&default(), &[reflex("a", 0.6), reflex("b", 0.6)], &by("ann")).await;
    let applied = applied.expect("is right");
    assert_eq!(applied.len(), 2);
    assert_eq!(applied[0].resource.metadata.resource_version, applied[1].resource.metadata.resource_version);
    for applied in &applied {
        let name = &applied.resource.metadata.name;
        assert_eq!(stage.handle.get(&default(), "Reflex", name).await.expect("is there"), applied.resource);
    }
    stage.close().await;
}

#[tokio::test]
async fn one_of_two_who_read_the_same_wins() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let first = stage.handle.apply(&default(), &[reflex("a", 0.1)], &by("ann")).await.expect("applies");
    let version = first[0].resource.metadata.resource_version.expect("is set");
    let tasks = tokio_util::task::TaskTracker::new();
    let attempts: Vec<_> = (0..8)
        .map(|number| {
            let handle = stage.handle.clone();
            let mut manifest = reflex("a", 0.2 + 0.01 * f64::from(number));
            manifest["metadata"]["resourceVersion"] = json!(version);
            tasks.spawn(async move { handle.apply(&default(), &[manifest], &by("x")).await })
        })
        .collect();
    let mut won = 0;
    for attempt in attempts {
        match attempt.await.expect("ends") {
            Ok(_) => won += 1,
            Err(err) => assert_eq!(err.code().as_str(), "NX-CTL-0005", "{err}"),
        }
    }
    assert_eq!(won, 1);
    // Without a version the last one wins, and none is lost on the way.
    let attempts: Vec<_> = (0..3)
        .map(|number| {
            let handle = stage.handle.clone();
            tasks.spawn(async move { handle.apply(&default(), &[reflex("a", f64::from(number))], &by("x")).await })
        })
        .collect();
    for attempt in attempts {
        attempt.await.expect("ends").expect("applies");
    }
    assert_eq!(stage.handle.get(&default(), "Reflex", "a").await.expect("is there").metadata.generation, Some(5));
    stage.close().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_namespaces_apart() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let other = Namespace::new("other").expect("is a name");
    for number in 0..7 {
        stage.handle.apply(&default(), &[reflex(&format!("r{number}"), 0.5)], &by("ann")).await.expect("applies");
    }
    stage.apply("{kind: Secret, metadata: {name: s}, spec: {values: {a: b}}}").await;
    stage.handle.apply(&other, &[reflex("elsewhere", 0.5)], &by("ann")).await.expect("applies");
    for kind in [Some("reflex"), None] {
        let (mut names, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = stage.handle.list(&default(), kind, after.as_deref(), 3).await.expect("lists");
            assert!(page.items.len() <= 3);
            names
                .extend(page.items.into_iter().map(|resource| format!("{}/{}", resource.kind, resource.metadata.name)));
            pages += 1;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let mut expected: Vec<String> = (0..7).map(|number| format!("Reflex/r{number}")).collect();
        expected.extend(kind.is_none().then(|| "Secret/s".to_owned()));
        assert_eq!((names, pages), (expected, 3));
    }
    assert_eq!(stage.handle.list(&other, None, None, 10).await.expect("lists").items.len(), 1);
    assert_eq!(stage.handle.list(&default(), Some("Source"), None, 10).await.expect("lists").items.len(), 0);
    assert!(matches!(stage.handle.list(&default(), Some("Sauce"), None, 10).await, Err(Error::UnknownKind { .. })));
    stage.close().await;
}

#[tokio::test]
async fn deleting_and_watching() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    let mut watch = stage.handle.watch(&default(), Some("Reflex"), None).expect("watches");
    stage.apply("{kind: Secret, metadata: {name: s}, spec: {values: {a: b}}}").await;
    let applied = stage.handle.apply(&default(), &[reflex("a", 0.5)], &by("ann")).await.expect("applies");
    let version = applied[0].resource.metadata.resource_version.expect("is set");
    stage.handle.set_status(&default(), "Reflex", "a", json!({ "x": 1 })).await.expect("stores");
    stage.handle.set_status(&default(), "Reflex", "a", json!({ "x": 1 })).await.expect("stores");
    let got = stage.handle.get(&default(), "Reflex", "a").await.expect("is there");
    assert_eq!((got.status, got.metadata.resource_version), (json!({ "x": 1 }), Some(version)));
    let stale = stage.handle.delete(&default(), "Reflex", "a", Some(version + 1), &by("ann")).await;
    assert!(matches!(stale, Err(Error::Conflict { .. })));
    let deleted = stage.handle.delete(&default(), "Reflex", "a", Some(version), &by("ann")).await.expect("deletes");
    assert_eq!(deleted.resource.metadata.name, "a");
    let err = stage.handle.get(&default(), "Reflex", "a").await.expect_err("is gone");
    assert_eq!(err.code().as_str(), "NX-CTL-0004");
    // A resource of the same name is a new one: version, generation and status begin anew.
    let again = stage.handle.apply(&default(), &[reflex("a", 0.5)], &by("ann")).await.expect("applies");
    assert_eq!((again[0].outcome, again[0].resource.metadata.generation), (Outcome::Created, Some(1)));
    assert!(again[0].resource.metadata.resource_version > Some(version));
    assert_eq!(stage.handle.get(&default(), "Reflex", "a").await.expect("is there").status, Value::Null);

    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(watch.next().await.expect("more come").into_iter().map(|change| change.event));
    }
    assert_eq!(seen, ["resource.applied", "resource.status", "resource.deleted", "resource.applied"]);
    stage.close().await;
}
