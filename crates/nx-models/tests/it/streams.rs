//! Streams of models with states.

use nx_models::{ArtifactSpec, Error, Inference, Options, StreamRequest};
use serde_json::{Value, json};

use crate::support::{ADDING, Stage, adding, code, numbers, outputs, request, times};

async fn ask(stage: &Stage, model: &str, key: &str, first: f32, last: bool) -> Result<Inference, Error> {
    let mut asked = request(model, numbers(json!([[first, 1]])));
    asked.stream = Some(StreamRequest { key: key.to_owned(), last });
    stage.models.infer(asked).await
}

fn sum(answer: &Inference) -> (Value, Option<u64>) {
    (outputs(answer)["y"]["data"].clone(), answer.step)
}

async fn stage(spec: &mut ArtifactSpec) -> Stage {
    let stage = Stage::start(Options::default());
    stage.add("adding", spec, &adding(), Some(ADDING)).await;
    stage
}

#[tokio::test]
async fn each_stream_has_a_state_of_its_own_and_requests_without_one_have_none() {
    let mut spec = ArtifactSpec::default();
    let stage = stage(&mut spec).await;
    assert_eq!(sum(&ask(&stage, "adding", "left", 1.0, false).await.unwrap()), (json!([2.0, 2.0]), Some(1)));
    assert_eq!(sum(&ask(&stage, "adding", "right", 10.0, false).await.unwrap()), (json!([20.0, 2.0]), Some(1)));
    assert_eq!(sum(&ask(&stage, "adding", "left", 2.0, false).await.unwrap()), (json!([6.0, 4.0]), Some(2)));
    assert_eq!(sum(&stage.ask("adding", json!([[5, 1]])).await.unwrap()), (json!([10.0, 2.0]), None));
    let third = ask(&stage, "adding", "left", 1.0, true).await.unwrap();
    assert_eq!(sum(&third), (json!([8.0, 6.0]), Some(3)));
    assert_eq!(stage.event(third.decision).1["stream"], json!({ "key": "left", "step": 3 }));
    // It ended with its last request.
    assert_eq!(sum(&ask(&stage, "adding", "left", 1.0, false).await.unwrap()), (json!([2.0, 2.0]), Some(1)));
    stage.close().await;
}

#[tokio::test]
async fn what_fails_leaves_the_stream_as_it_was() {
    let mut spec = ArtifactSpec::default();
    let stage = stage(&mut spec).await;
    ask(&stage, "adding", "s", 1.0, false).await.unwrap();
    let mut wrong = request("adding", numbers(json!([[1, 2, 3]])));
    wrong.stream = Some(StreamRequest { key: "s".to_owned(), last: true });
    assert!(stage.models.infer(wrong).await.is_err());
    // Infinity is no answer, and no state.
    ask(&stage, "adding", "s", f32::MAX, false).await.unwrap_err();
    assert_eq!(sum(&ask(&stage, "adding", "s", 1.0, false).await.unwrap()), (json!([4.0, 4.0]), Some(2)));
    stage.close().await;
}

#[tokio::test]
async fn streams_are_bounded_and_their_requests_follow_one_another() {
    let mut spec = ArtifactSpec::default();
    spec.serving.streams = 2;
    spec.serving.stream_idle = nx_types::Duration::from_millis(300);
    let stage = stage(&mut spec).await;
    let together = futures_util::future::join_all((0..8).map(|_| ask(&stage, "adding", "s", 1.0, false))).await;
    let answered = together.iter().filter(|answer| answer.is_ok()).count();
    assert!(answered >= 1);
    for refused in together.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(code(refused), "NX-MDL-0018");
    }
    let next = ask(&stage, "adding", "s", 1.0, false).await.unwrap();
    assert_eq!(next.step, Some(answered as u64 + 1), "each answer moved it on by one");
    ask(&stage, "adding", "t", 1.0, false).await.unwrap();
    assert_eq!(code(&ask(&stage, "adding", "u", 1.0, false).await.unwrap_err()), "NX-MDL-0019");
    // Those that are silent for long enough make room.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(ask(&stage, "adding", "u", 1.0, false).await.unwrap().step, Some(1));
    for key in [String::new(), "k".repeat(129)] {
        assert_eq!(code(&ask(&stage, "adding", &key, 1.0, false).await.unwrap_err()), "NX-MDL-0003");
    }
    let mut plain = ArtifactSpec::default();
    let record = stage.models.add(crate::support::upload("times", times(2.0).write(), None)).await.unwrap();
    plain.add("times", record.listed(), None).unwrap();
    stage.declare(&[("adding", &spec), ("times", &plain)]);
    assert_eq!(code(&ask(&stage, "times", "s", 1.0, false).await.unwrap_err()), "NX-MDL-0003");
    stage.close().await;
}
