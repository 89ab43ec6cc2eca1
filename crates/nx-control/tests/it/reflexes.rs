use nx_control::MAX_CHAIN;
use nx_types::{Causation, Label};
use serde_json::{Value, json};

use crate::support::{Stage, data, default, folder};

const MISREAD: &str = "
kind: Reflex
metadata: {name: misread}
spec: {on: parcel.misread, when: '${event.data.confidence < 0.6}', debounce: 30s,
  run: {agent: redirect, key: '${event.subject}', input: {parcel: '${event.subject}', read: '${event.data}', n: 'no ${event.data.n}'}}}
";

#[tokio::test]
async fn what_meets_the_condition_starts_a_run() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage.emit("parcel.misread", "parcel/P0", 0, &json!({ "confidence": 0.1 })).await;
    stage.apply(MISREAD).await;
    stage.wait_reason("Reflex", "misread", "Watching").await;
    stage.emit("parcel.misread", "parcel/P1", 1, &json!({ "confidence": 0.9, "n": 1 })).await;
    let trigger = stage.emit("parcel.misread", "parcel/P2", 2, &json!({ "confidence": 0.5, "n": 2 })).await;
    stage.emit("parcel.misreadings", "parcel/P3", 2, &json!({ "confidence": 0.5, "n": 2 })).await;
    let requested = stage.wait("run.requested", 1).await;
    assert_eq!(
        data(&requested[0]),
        json!({ "agent": "redirect", "key": "parcel/P2",
            "input": { "parcel": "parcel/P2", "read": { "confidence": 0.5, "n": 2 }, "n": "no 2" } })
    );
    let fired = stage.wait("reflex.fired", 1).await;
    assert_eq!(fired[0].header.subject.as_str(), "reflex/misread");
    assert_eq!(fired[0].header.causation, Causation::Local(trigger));
    assert_eq!(requested[0].header.causation, Causation::Local(fired[0].seq()));
    assert_eq!(data(&fired[0])["trigger"], json!(trigger));
    stage.settle().await;
    assert_eq!(stage.events("run.requested").len(), 1);
    stage.close().await;
}

#[tokio::test]
async fn debouncing_is_per_subject_by_event_time_and_survives_a_restart() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage.apply(MISREAD).await;
    let misread = json!({ "confidence": 0.1, "n": 0 });
    for (subject, secs) in [("parcel/A", 0), ("parcel/B", 1), ("parcel/A", 29), ("parcel/A", 30), ("parcel/A", 45)] {
        stage.emit("parcel.misread", subject, secs, &misread).await;
    }
    stage.settle().await;
    assert_eq!(stage.events("run.requested").len(), 3);
    stage.close().await;
    // While nobody listens: one that rests, one that does not.
    let stage = Stage::quiet(dir.path(), &[]);
    stage.emit("parcel.misread", "parcel/A", 59, &misread).await;
    stage.emit("parcel.misread", "parcel/B", 60, &misread).await;
    stage.close().await;
    let stage = Stage::start(dir.path(), &[]);
    stage.settle().await;
    let keys: Vec<Value> = stage.events("run.requested").iter().map(|event| data(event)["key"].clone()).collect();
    assert_eq!(keys, ["parcel/A", "parcel/B", "parcel/A", "parcel/B"]);
    stage.close().await;
}

#[tokio::test]
async fn windows_slide_by_event_time() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage
        .apply(
            "
kind: Reflex
metadata: {name: hot}
spec:
  on: [motor.reading, motor.probe]
  window: {over: 30s, of: '${event.data.value}', where: '${event.data.value > 0.0}', limit: 3}
  when: '${window.count >= 2 && window.mean > 80.0}'
  emit: {type: motor.hot, data: {window: '${window}', text: 'mean ${window.mean}'}}
",
        )
        .await;
    for (secs, value) in [(0, 90.0), (1, 60.0), (2, -5.0), (31, 85.0), (32, 83.0), (33, 70.0)] {
        stage.emit("motor.reading", "motor/1", secs, &json!({ "value": value })).await;
    }
    stage.emit("motor.reading", "motor/2", 33, &json!({ "value": 99.0 })).await;
    stage.settle().await;
    let hot: Vec<Value> = stage.events("motor.hot").iter().map(data).collect();
    assert_eq!(
        hot,
        [
            json!({ "window": { "count": 2, "min": 83.0, "max": 85.0, "mean": 84.0, "sum": 168.0 }, "text": "mean 84.0" })
        ]
    );
    stage.close().await;
}

#[tokio::test]
async fn a_chain_of_reflexes_ends() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage.apply("{kind: Reflex, metadata: {name: ping}, spec: {on: a.ping, emit: {type: a.pong, data: {n: '${event.data.n + 1}'}}}}").await;
    stage.apply("{kind: Reflex, metadata: {name: pong}, spec: {on: a.pong, emit: {type: a.ping, data: {n: '${event.data.n + 1}'}}}}").await;
    stage.emit("a.ping", "x", 0, &json!({ "n": 0 })).await;
    let failed = stage.wait("reflex.failed", 1).await;
    assert_eq!(data(&failed[0])["reason"], json!("ChainTooLong"));
    stage.settle().await;
    let own = |event: &nx_journal::Event| data(event)["reflex"] != json!("zz-settle");
    assert_eq!(stage.events("reflex.fired").iter().filter(|event| own(event)).count() as u64, MAX_CHAIN);
    let ns: Vec<u64> = stage.events("a.").iter().map(|event| data(event)["n"].as_u64().expect("is whole")).collect();
    assert_eq!(ns, (0..=MAX_CHAIN).collect::<Vec<_>>());
    stage.wait_reason("Reflex", "ping", "ChainTooLong").await;
    stage.close().await;
}

#[tokio::test]
async fn failures_are_conditions_and_harm_nobody_else() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage.apply(MISREAD).await;
    stage.apply("{kind: Reflex, metadata: {name: all}, spec: {on: parcel.misread, emit: {type: parcel.seen}}}").await;
    stage.apply("{kind: Reflex, metadata: {name: bad}, spec: {on: parcel.misread, emit: {type: parcel.bad, subject: '${event.data.to}'}}}").await;
    for secs in 0..3 {
        stage.emit("parcel.misread", "parcel/A", secs, &json!({ "n": 1, "to": "no blanks" })).await;
    }
    stage.emit("parcel.misread", "parcel/B", 3, &json!("not a map")).await;
    let seen = stage.wait("parcel.seen", 4).await;
    assert_eq!(seen[0].header.subject.as_str(), "parcel/A");
    stage.settle().await;
    // One event per reflex that began to fail, not one per failure.
    let mut failed: Vec<Value> =
        stage.events("reflex.failed").iter().map(|event| data(event)["reflex"].clone()).collect();
    failed.sort_by_key(Value::to_string);
    assert_eq!(failed, ["bad", "misread"]);
    let status = stage.wait_reason("Reflex", "misread", "ExpressionFailed").await;
    assert!(status["conditions"][0]["message"].as_str().expect("is text").contains("confidence"), "{status}");
    stage.wait_reason("Reflex", "bad", "ActionRefused").await;
    stage.wait_reason("Reflex", "all", "Watching").await;
    // After a while of doing well it is well.
    for secs in 10..20 {
        stage.emit("parcel.misread", "parcel/C", secs, &json!({ "confidence": 0.9, "n": 1 })).await;
    }
    stage.wait_reason("Reflex", "misread", "Watching").await;
    stage.close().await;
}

#[tokio::test]
async fn changes_take_effect_in_the_order_of_the_log() {
    let dir = folder();
    let stage = Stage::quiet(dir.path(), &[]);
    stage.close().await;
    let stage = Stage::start(dir.path(), &[]);
    stage.settle().await;
    stage.close().await;
    // All of this happens while the controllers are down.
    let stage = Stage::quiet(dir.path(), &[]);
    let reflex = |to: &str| format!("{{kind: Reflex, metadata: {{name: r}}, spec: {{on: a.x, emit: {{type: {to}}}}}}}");
    stage.emit("a.x", "1", 0, &json!({})).await;
    stage.apply(&reflex("b.first")).await;
    stage.emit("a.x", "2", 0, &json!({})).await;
    stage.apply(&reflex("b.second")).await;
    stage.emit("a.x", "3", 0, &json!({})).await;
    stage.handle.delete(&default(), "Reflex", "r", None, &crate::support::by("ann")).await.expect("deletes");
    stage.emit("a.x", "4", 0, &json!({})).await;
    stage.close().await;
    let stage = Stage::start(dir.path(), &[]);
    stage.settle().await;
    let found: Vec<String> =
        stage.events("b.").iter().map(|event| format!("{} {}", event.header.kind, event.header.subject)).collect();
    assert_eq!(found, ["b.first 2", "b.second 3"]);
    stage.close().await;
}

#[tokio::test]
async fn only_the_named_source_counts_and_its_label_stays() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage.apply("{kind: Source, metadata: {name: shop}, spec: {type: order.placed, http: {}}}").await;
    stage.apply("{kind: Source, metadata: {name: mall}, spec: {type: order.placed, http: {}}}").await;
    stage.apply("{kind: Reflex, metadata: {name: r}, spec: {on: order.placed, source: shop, run: {agent: a, input: '${event.data}'}}}").await;
    stage.wait_reason("Reflex", "r", "Watching").await;
    for source in ["mall", "shop", "mall"] {
        let request =
            nx_control::Ingest { body: format!("{{\"at\":\"{source}\"}}").into_bytes(), ..Default::default() };
        stage.handle.ingest(&default(), source, request).await.expect("is taken");
    }
    stage.settle().await;
    let requested = stage.events("run.requested");
    assert_eq!(
        requested.iter().map(|event| data(event)["input"].clone()).collect::<Vec<_>>(),
        [json!({ "at": "shop" })]
    );
    assert_eq!(requested[0].header.label, Some(Label::untrusted("source/shop").id()));
    stage.close().await;
}

#[tokio::test]
async fn a_model_is_asked_once_per_event_with_what_the_event_holds() {
    let dir = folder();
    let stage = Stage::start(dir.path(), &[]);
    stage
        .apply(
            "
kind: Reflex
metadata: {name: read}
spec:
  on: camera.frame
  when: \"${event.data.camera == 'cam0'}\"
  infer: {model: digits@live, input: {image: '${event.data.image}'}, context: {camera: '${event.data.camera}'}}
",
        )
        .await;
    stage.wait_reason("Reflex", "read", "Watching").await;
    stage.emit("camera.frame", "parcel/P0", 0, &json!({ "camera": "cam1", "image": "AAAA" })).await;
    stage.emit("camera.frame", "parcel/P1", 1, &json!({ "camera": "cam0", "image": "AQID" })).await;
    let requested = stage.wait("model.requested", 1).await;
    assert_eq!(
        data(&requested[0]),
        json!({ "model": "digits@live", "subject": "parcel/P1", "input": { "image": "AQID" },
            "context": { "camera": "cam0" }, "by": "reflex/read" })
    );
    let fired = stage.wait("reflex.fired", 1).await;
    assert_eq!(requested[0].header.causation, Causation::Local(fired[0].seq()));
    assert_eq!(data(&fired[0])["infer"], json!({ "model": "digits@live", "subject": "parcel/P1" }));
    stage.settle().await;
    assert_eq!(stage.events("model.requested").len(), 1);
    stage.close().await;
}
