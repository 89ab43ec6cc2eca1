//! Models that are asked by the log: once, whatever happens meanwhile.

use std::time::Duration;

use nx_journal::{Commit, Event, NewEvent};
use nx_models::{ArtifactSpec, DecisionFilter, Options};
use nx_types::{Causation, EventType, Label, Namespace, Seq, SharedLabel, Subject};
use serde_json::{Value, json};

use crate::support::{HALVES, Stage, halves, times};

fn kind(text: &str) -> EventType {
    EventType::new(text).expect("a type")
}

/// A request as a reflex writes it.
fn requested(data: &Value) -> NewEvent {
    let subject = Subject::new("reflex/read").expect("a subject");
    let mut event =
        NewEvent::new(Namespace::default(), kind("model.requested"), subject, data.to_string().into_bytes());
    event.label = Some(SharedLabel::new(Label::untrusted("source/camera")));
    event
}

async fn write(stage: &Stage, event: NewEvent) -> Seq {
    stage.journal.commit(Commit::of([event])).await.expect("written").last
}

fn events(stage: &Stage, of: &str) -> Vec<Event> {
    stage.journal.reader().by_type(&kind(of), None, 1000, false).expect("read")
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(event.data.bytes().expect("open")).expect("JSON")
}

/// Waits until there are so many events of a type.
async fn wait(stage: &Stage, of: &str, count: usize) -> Vec<Event> {
    for _ in 0..2000 {
        let found = events(stage, of);
        if found.len() >= count {
            assert_eq!(found.len(), count, "{of}");
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = events(stage, of);
    assert_eq!(found.len(), count, "{of}");
    found
}

const RIGHT: [u8; 4] = [0, 255, 0, 255];

fn pixels() -> Value {
    json!({ "pixels": { "width": 2, "height": 2, "channels": 1, "data": "AP8A/w==" } })
}

#[tokio::test]
async fn a_request_is_answered_by_a_decision_that_follows_from_it() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("halves", &mut spec, &halves(), Some(HALVES)).await;
    let context = json!({ "parcel": "P88" });
    let request = json!({ "model": "halves", "input": pixels(), "subject": "parcel/P88", "by": "reflex/read", "context": context });
    let place = write(&stage, requested(&request)).await;
    let decided = wait(&stage, "model.decided", 1).await;
    let header = &decided[0].header;
    assert_eq!((header.subject.as_str(), header.causation), ("parcel/P88", Causation::Local(place)));
    let label = stage.journal.reader().label(&Namespace::default(), &header.label.expect("a label")).unwrap().unwrap();
    assert_eq!(label, Label::untrusted("source/camera"));
    let said = data(&decided[0]);
    assert_eq!((&said["label"], &said["by"], &said["context"]), (&json!("right"), &json!("reflex/read"), &context));
    assert!(said.get("answer").is_none() && said.get("asked").is_none());

    // A restart asks nothing again.
    let dir = stage.close().await;
    let stage = Stage::over(dir, Options::default());
    stage.declare(&[("halves", &spec)]);
    write(&stage, requested(&request)).await;
    wait(&stage, "model.decided", 2).await;
    stage.close().await;
}

#[tokio::test]
async fn a_step_gets_the_whole_answer_large_or_small() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("times", &mut spec, &times(2.0), None).await;
    let asked = json!({ "run": "r_0000000000000001", "step": 3 });
    let small =
        json!({ "model": "times@1", "input": { "tensor": [[1, 2]] }, "asked": asked, "by": "run/r_0000000000000001" });
    write(&stage, requested(&small)).await;
    let decided = data(&wait(&stage, "model.decided", 1).await[0]);
    assert_eq!(decided["asked"], asked);
    let answer = json!({ "model": "times", "version": 1, "engine": decided["engine"],
        "outputs": { "y": { "kind": "tensor", "dtype": "f32", "shape": [1, 2], "data": [2.0, 4.0] } } });
    assert_eq!(decided["answer"], answer);

    // What is too large for an event stands in blobs, the request's and the answer's.
    let rows: Vec<[u32; 2]> = (0..4000).map(|n| [n, n]).collect();
    let large = json!({ "model": "times", "inputs": { "x": { "tensor": rows } }, "asked": asked });
    let subject = "run/r_0000000000000001".to_owned();
    let bytes = large.to_string().into_bytes();
    let blob = stage.journal.put_blob(Namespace::default(), subject, bytes).await.unwrap();
    let mut event = requested(&json!({ "$blob": blob }));
    event.blobs = vec![blob];
    write(&stage, event).await;
    let decided = wait(&stage, "model.decided", 2).await.remove(1);
    let said = data(&decided);
    let blob = said["answer"]["$blob"].as_str().expect("a blob").parse().unwrap();
    assert!(decided.header.blobs.contains(&blob));
    let answer: Value = serde_json::from_slice(&stage.journal.blob(&blob).unwrap().unwrap()).unwrap();
    assert_eq!(answer["outputs"]["y"]["data"].as_array().unwrap().len(), 8000);
    stage.close().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_met_says_so_once() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("halves", &mut spec, &halves(), Some(HALVES)).await;
    let asked = json!({ "run": "r_0000000000000001", "step": 1 });
    let cases = [
        (json!({ "model": "nobody", "input": pixels(), "asked": asked }), "NX-MDL-0001"),
        (json!({ "model": "halves@9", "input": pixels() }), "NX-MDL-0002"),
        (json!({ "model": "halves", "input": pixels(), "subject": "run/r_1" }), "NX-MDL-0003"),
        (json!({ "model": "halves" }), "NX-MDL-0003"),
        (json!({ "model": "halves", "input": { "image": "!" } }), "NX-MDL-0007"),
        (json!({ "model": "halves", "input": { "image": "AAAA" } }), "NX-MDL-0007"),
        (json!({ "model": "halves", "input": pixels(), "surprise": 1, "asked": asked }), "NX-MDL-0003"),
        (json!({ "model": "halves", "input": pixels(), "context": "x".repeat(2000) }), "NX-MDL-0003"),
        (json!(["no object"]), "NX-MDL-0003"),
    ];
    for (at, (request, code)) in cases.iter().enumerate() {
        let place = write(&stage, requested(request)).await;
        let failed = wait(&stage, "model.failed", at + 1).await.remove(at);
        assert_eq!(failed.header.causation, Causation::Local(place));
        assert!(failed.header.label.is_some(), "{request}");
        let said = data(&failed);
        assert_eq!(said["code"], *code, "{request}: {said}");
        assert_eq!(said.get("asked"), request.get("asked"), "{request}");
    }
    assert!(events(&stage, "model.decided").is_empty());
    stage.close().await;
}

#[tokio::test]
async fn a_slow_model_keeps_nobody_waiting_and_a_restart_answers_each_once() {
    let stage = Stage::start(Options::default());
    let (mut slow, mut quick) = (ArtifactSpec::default(), ArtifactSpec::default());
    slow.serving.wait = nx_types::Duration::from_secs(8);
    slow.serving.deadline = nx_types::Duration::from_secs(60);
    for (name, spec) in [("slow", &mut slow), ("quick", &mut quick)] {
        let record = stage.models.add(crate::support::upload(name, times(2.0).write(), None)).await.unwrap();
        spec.add(name, record.listed(), None).unwrap();
    }
    let declared = [("slow", &slow), ("quick", &quick)];
    stage.declare(&declared);
    let ask = |model: &str| requested(&json!({ "model": model, "input": { "tensor": [[1, 1]] } }));
    // It waits for others to be run with.
    let first = write(&stage, ask("slow")).await;
    for _ in 0..5 {
        write(&stage, ask("quick")).await;
    }
    for event in wait(&stage, "model.decided", 5).await {
        assert_eq!(data(&event)["model"], "quick");
    }
    let dir = stage.close().await;
    let stage = Stage::over(dir, Options::default());
    slow.serving.wait = nx_types::Duration::from_millis(0);
    stage.declare(&[("slow", &slow), ("quick", &quick)]);
    let last = wait(&stage, "model.decided", 6).await.remove(5);
    assert_eq!((last.header.causation, &data(&last)["model"]), (Causation::Local(first), &json!("slow")));
    write(&stage, ask("quick")).await;
    wait(&stage, "model.decided", 7).await;
    stage.close().await;
}

#[tokio::test]
async fn what_was_decided_is_listed_with_its_inputs() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("halves", &mut spec, &halves(), Some(HALVES)).await;
    for _ in 0..3 {
        write(&stage, requested(&json!({ "model": "halves", "input": pixels() }))).await;
    }
    wait(&stage, "model.decided", 3).await;
    let namespace = Namespace::default();
    let list = |filter| stage.models.decisions(&namespace, "halves", filter);
    let first = list(DecisionFilter { limit: Some(2), ..DecisionFilter::default() }).await.unwrap();
    assert_eq!(first.items.len(), 2);
    assert!(first.items[0].place > first.items[1].place);
    let rest = list(DecisionFilter { before: first.next, ..DecisionFilter::default() }).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    let said = &rest.items[0].said;
    assert_eq!(
        (said.version, said.label.as_deref(), said.inputs[0].shape.as_deref()),
        (1, Some("right"), Some(&[2, 2, 1][..]))
    );
    assert!(list(DecisionFilter { below: Some(0.5), ..DecisionFilter::default() }).await.unwrap().items.is_empty());
    assert!(list(DecisionFilter { version: Some(2), ..DecisionFilter::default() }).await.unwrap().items.is_empty());
    let place = rest.items[0].place;
    let input = stage.models.input(&namespace, "halves", place, 0).await.unwrap();
    assert_eq!(input, Some(("pixels".to_owned(), RIGHT.to_vec())));
    for (name, decision, at) in
        [("other", place, 0), ("halves", place, 1), ("halves", Seq(0), 0), ("halves", Seq(9999), 0)]
    {
        assert_eq!(stage.models.input(&namespace, name, decision, at).await.unwrap(), None);
    }
    stage
        .journal
        .erase(namespace.clone(), "model/halves".to_owned(), "asked to".to_owned(), "x".to_owned())
        .await
        .unwrap();
    assert!(list(DecisionFilter::default()).await.unwrap().items.is_empty());
    assert_eq!(stage.models.input(&namespace, "halves", place, 0).await.unwrap(), None);
    stage.close().await;
}
