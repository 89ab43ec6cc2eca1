use std::{collections::BTreeMap, fmt::Write as _, fs};

use nx_control::{Error, Ingest};
use nx_types::{ErrorCode as _, Label, Seq};
use serde_json::{Value, json};

use crate::support::{Stage, data, default, folder};

fn cloud_event(id: &str, kind: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "subject": "A17",
        "time": "2026-05-04T03:02:01Z", "data": data })
}

fn request(media: &str, body: &Value) -> Ingest {
    let headers = BTreeMap::from([("content-type".to_owned(), media.to_owned())]);
    Ingest { headers, body: body.to_string().into_bytes() }
}

const ORDERS: &str = "
kind: Source
metadata: {name: orders}
spec:
  subject: 'order/${event.data.id}'
  http: {types: {com.shop.placed: order.placed, com.shop.paid: order.paid}, max_events: 3}
";

#[tokio::test]
async fn cloudevents_are_recorded_once() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage.apply(ORDERS).await;
    stage.wait_reason("Source", "orders", "Listening").await;
    let send = async |events: &[Value]| {
        let request = request("application/cloudevents-batch+json", &json!(events));
        stage.handle.ingest(&default(), "orders", request).await
    };
    let one = cloud_event("1", "com.shop.placed", &json!({ "id": "A17", "cents": 100 }));
    let two = cloud_event("2", "com.shop.paid", &json!({ "id": "A17" }));
    let first = send(&[one.clone(), two.clone(), one.clone()]).await.expect("is taken");
    assert_eq!(first.iter().map(|event| event.duplicate).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(first[0].seq, first[2].seq);
    let again = send(&[two, one]).await.expect("is known");
    assert_eq!(
        again.iter().map(|event| (event.seq, event.duplicate)).collect::<Vec<_>>(),
        [(first[1].seq, true), (first[0].seq, true),]
    );
    let events = stage.events("order.");
    assert_eq!(events.len(), 2);
    let header = &events[0].header;
    assert_eq!(
        (header.seq, header.subject.as_str(), header.kind.as_str()),
        (first[0].seq, "order/A17", "order.placed")
    );
    assert_eq!(header.occurred.to_string(), "2026-05-04T03:02:01.000000Z");
    assert_eq!(header.label, Some(Label::untrusted("source/orders").id()));
    assert_eq!(data(&events[0]), json!({ "id": "A17", "cents": 100 }));
    stage.close().await;
}

#[tokio::test]
async fn the_same_event_from_many_at_once_is_recorded_once() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    stage.apply(ORDERS).await;
    let tasks = tokio_util::task::TaskTracker::new();
    let sent: Vec<_> = (0..12)
        .map(|_| {
            let handle = stage.handle.clone();
            let event = cloud_event("1", "com.shop.placed", &json!({ "id": "A17" }));
            tasks.spawn(async move {
                handle.ingest(&default(), "orders", request("application/cloudevents+json", &event)).await
            })
        })
        .collect();
    let mut places: Vec<(Seq, bool)> = Vec::new();
    for answer in sent {
        let answer = answer.await.expect("ends").expect("is taken");
        places.push((answer[0].seq, answer[0].duplicate));
    }
    assert_eq!(places.iter().filter(|(_, duplicate)| !duplicate).count(), 1);
    places.dedup_by_key(|(seq, _)| *seq);
    assert_eq!(places.len(), 1);
    assert_eq!(stage.events("order.").len(), 1);
    stage.close().await;
}

#[tokio::test]
async fn what_a_source_does_not_take_is_refused_whole() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    stage.apply(ORDERS).await;
    stage.apply("{kind: Source, metadata: {name: file}, spec: {type: a.b, file: {path: x.csv, interval: 1s}}}").await;
    let good = cloud_event("1", "com.shop.placed", &json!({ "id": "A17" }));
    let send = async |source: &str, request: Ingest| stage.handle.ingest(&default(), source, request).await;
    let batch = "application/cloudevents-batch+json";
    let large = json!({ "id": "A17", "text": "x".repeat(20_000) });
    for (source, request, code) in [
        ("nowhere", request(batch, &json!([good])), "NX-CTL-0004"),
        ("file", request(batch, &json!([good])), "NX-CTL-0007"),
        ("orders", request("text/plain", &json!([good])), "NX-CTL-0008"),
        ("orders", request(batch, &json!([good, cloud_event("2", "run.requested", &json!({}))])), "NX-CTL-0009"),
        ("orders", request(batch, &json!([good, cloud_event("2", "com.shop.paid", &json!({}))])), "NX-CTL-0010"),
        (
            "orders",
            request(batch, &json!([good, cloud_event("2", "com.shop.paid", &json!({ "id": "a b" }))])),
            "NX-CTL-0010",
        ),
        ("orders", request(batch, &json!([good, good, good, good])), "NX-CTL-0006"),
        ("orders", request(batch, &json!([cloud_event("2", "com.shop.paid", &large)])), "NX-CTL-0006"),
        ("orders", Ingest { body: vec![b' '; 2 << 20], ..Ingest::default() }, "NX-CTL-0006"),
        ("orders", request("application/json", &json!({ "id": "A17" })), "NX-CTL-0009"),
    ] {
        let err = send(source, request).await.expect_err(code);
        assert_eq!(err.code().as_str(), code, "{err}");
    }
    assert_eq!(stage.events("order.").len(), 0);
    stage.close().await;
}

#[tokio::test]
async fn remembered_ids_do_not_pile_up() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    stage.apply("{kind: Source, metadata: {name: s}, spec: {type: a.b, http: {remember: 0s}}}").await;
    for number in 0..20 {
        let mut request = request("application/json", &json!({ "n": number }));
        request.headers.insert("idempotency-key".to_owned(), format!("k{number}"));
        stage.handle.ingest(&default(), "s", request).await.expect("is taken");
    }
    let rows = stage.journal.reader().state_scan(&default(), "source_seen", None, 100).expect("reads");
    assert!(rows.len() <= 2, "{}", rows.len());
    assert_eq!(stage.events("a.b").len(), 20);
    stage.close().await;
}

fn series(rows: usize) -> &'static str {
    let mut text = "timestamp,value\n".to_owned();
    for row in 0..rows {
        writeln!(text, "2014-01-27 {:02}:{:02}:00,{row}.5", 10 + row / 60, row % 60).expect("writes");
    }
    Box::leak(text.into_boxed_str())
}

fn values(stage: &Stage) -> Vec<f64> {
    stage.events("motor.reading").iter().map(|event| data(event)["value"].as_f64().expect("is a number")).collect()
}

#[tokio::test]
async fn a_replay_goes_on_behind_the_last_reading() {
    let dir = folder();
    let embedded = [("motor", series(90))];
    let manifest = |pace: &str| {
        format!(
            "{{kind: Source, metadata: {{name: motor}}, spec: {{type: motor.reading, file: {{path: 'embedded:motor', \
             time: timestamp, start_at: '2014-01-27T10:10:00Z', {pace}}}}}}}"
        )
    };
    let stage = Stage::start(dir.path(), &embedded);
    stage.apply(&manifest("interval: 50ms")).await;
    stage.wait("motor.reading", 5).await;
    stage.close().await;
    for _ in 0..3 {
        let stage = Stage::start(dir.path(), &embedded);
        let before = values(&stage).len();
        assert!(before < 80, "the test is far slower than the replay");
        stage.wait("motor.reading", before + 3).await;
        stage.close().await;
    }
    let stage = Stage::start(dir.path(), &embedded);
    // Another pace goes on where the former one was.
    stage.apply(&manifest("speed: 1000000")).await;
    stage.wait("source.ended", 1).await;
    stage.wait_reason("Source", "motor", "Complete").await;
    assert_eq!(values(&stage), (10..90).map(|row| f64::from(row) + 0.5).collect::<Vec<_>>());
    let events = stage.events("motor.reading");
    assert_eq!(events[0].header.occurred.to_string(), "2014-01-27T10:10:00.000000Z");
    assert_eq!(events[0].header.subject.as_str(), "source/motor");
    assert_eq!(events[0].header.label, Some(Label::untrusted("source/motor").id()));
    stage.close().await;
    // Done is done.
    let stage = Stage::start(dir.path(), &embedded);
    stage.wait_reason("Source", "motor", "Complete").await;
    stage.settle().await;
    assert_eq!(values(&stage).len(), 80);
    stage.close().await;
}

#[tokio::test]
async fn a_replay_may_start_over_and_ends_when_deleted() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[("motor", series(5))]);
    stage
        .apply(
            "{kind: Source, metadata: {name: motor}, spec: {type: motor.reading, subject: 'motor/${event.data.value}',
              file: {path: 'embedded:motor', interval: 1ms, loop: true, restamp: true}}}",
        )
        .await;
    stage.wait("motor.reading", 11).await;
    stage.handle.delete(&default(), "Source", "motor", None, &crate::support::by("ann")).await.expect("deletes");
    let found = values(&stage);
    assert_eq!(found[..11], [0.5, 1.5, 2.5, 3.5, 4.5, 0.5, 1.5, 2.5, 3.5, 4.5, 0.5]);
    assert_eq!(data(&stage.events("source.ended")[1])["lap"], json!(2));
    let first = &stage.events("motor.reading")[0].header;
    assert_eq!(first.subject.as_str(), "motor/0.5");
    assert!(first.recorded.since(first.occurred) < nx_types::Duration::from_secs(60));
    stage.close().await;
}

#[tokio::test]
async fn files_are_read_from_allowed_folders_alone() {
    let dir = folder();
    let outside = folder();
    fs::write(outside.path().join("a.csv"), "a\n1\n").expect("writes");
    let stage = Stage::start(dir.path(), &[("motor", series(5))]);
    let source = |name: &str, path: &str| {
        format!(
            "{{kind: Source, metadata: {{name: {name}}}, spec: {{type: a.b, file: {{path: '{path}', interval: 1ms}}}}}}"
        )
    };
    let inside = dir.path().join("b.ndjson");
    stage.apply(&source("outside", &outside.path().join("a.csv").to_string_lossy())).await;
    stage.apply(&source("embedded", "embedded:moter")).await;
    stage.apply(&source("late", &inside.to_string_lossy())).await;
    for (name, part) in [
        ("outside", "not within a folder"),
        ("embedded", "did you mean `embedded:motor`"),
        ("late", "cannot be opened"),
    ] {
        let status = stage.wait_reason("Source", name, "ReplayFailed").await;
        assert!(status["conditions"][0]["message"].as_str().expect("is text").contains(part), "{status}");
    }
    // A file that comes later is found.
    fs::write(dir.path().join("new"), "{\"n\":1}\n{\"n\":2}\n{\"n\":").expect("writes");
    fs::rename(dir.path().join("new"), &inside).expect("renames");
    let events = stage.wait("a.b", 2).await;
    assert_eq!(events.iter().map(data).collect::<Vec<_>>(), [json!({ "n": 1 }), json!({ "n": 2 })]);
    let status = stage.wait_reason("Source", "late", "ReplayFailed").await;
    assert_eq!(status["conditions"][0]["status"], json!("False"));
    stage.close().await;
}

#[tokio::test]
async fn errors_say_whether_trying_again_helps() {
    let missing = Error::Replay { file: "a".to_owned(), detail: "b".to_owned(), retryable: true };
    assert!(missing.retryable() && Error::Stopped.retryable());
    let conflict = Error::Conflict { resource: "Reflex/a".to_owned(), expected: 1, actual: 2 };
    assert!(!conflict.retryable());
}
