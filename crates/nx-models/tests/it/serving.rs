//! Answers, decisions, batches, swaps.

use nx_models::{ArtifactSpec, Options, Sample, Samples, kind::Keep};
use nx_types::{Causation, Namespace};
use serde_json::json;

use crate::support::{HALVES, Stage, halves, numbers, outputs, over_time, request, right_is_white, row, times};

#[tokio::test]
async fn a_decision_says_what_which_how_sure_and_from_what() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    let record = stage.add("halves", &mut spec, &halves(), Some(HALVES)).await;
    let mut asked = request("halves", Samples::from([(String::new(), right_is_white())]));
    asked.subject = Some("parcel/P88".to_owned());
    asked.cause = Some(record.place);
    let answer = stage.models.infer(asked).await.unwrap();
    assert_eq!((answer.label.as_deref(), answer.version, answer.alias.as_deref()), (Some("right"), 1, Some("live")));
    assert!(answer.confidence.unwrap() > 0.85);

    let (event, data) = stage.event(answer.decision);
    assert_eq!((event.header.kind.as_str(), event.header.subject.as_str()), ("model.decided", "parcel/P88"));
    assert_eq!(event.header.causation, Causation::Local(record.place));
    for (field, value) in [
        ("model", json!("halves")),
        ("version", json!(1)),
        ("alias", json!("live")),
        ("variant", json!("original")),
        ("engine", json!(answer.engine)),
        ("sha256", json!(record.sha256)),
        ("artifact", json!(record.place.0)),
        ("label", json!("right")),
        ("propensity", json!(1.0)),
        ("by", json!("tester")),
    ] {
        assert_eq!(data[field], value, "{field}: {data}");
    }
    assert_eq!(data["inputs"][0]["base64"], "AP8A/w==");
    assert_eq!(data["inputs"][0]["shape"], json!([2, 2, 1]));
    assert_eq!(data["outputs"]["scores"]["classes"][0][0]["label"], "right");
    stage.close().await;
}

#[tokio::test]
async fn a_large_input_is_a_blob_and_a_digest_may_do() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("halves", &mut spec, &halves(), Some(HALVES)).await;
    let pixels = vec![200; 100 * 100];
    let picture = || Sample::Pixels { width: 100, height: 100, channels: 1, bytes: pixels.clone().into() };
    let large = || request("halves", Samples::from([("image".to_owned(), picture())]));
    let answer = stage.models.infer(large()).await.unwrap();
    let (event, data) = stage.event(answer.decision);
    let blob = event.header.blobs[0];
    assert_eq!(stage.journal.blob(&blob).unwrap().unwrap(), pixels);
    assert_eq!(data["inputs"][0]["blob"], blob.to_string());

    spec.serving.input = Keep::Digest;
    stage.declare(&[("halves", &spec)]);
    let answer = stage.models.infer(large()).await.unwrap();
    let (event, kept) = stage.event(answer.decision);
    assert!(event.header.blobs.is_empty());
    assert_eq!(kept["inputs"][0]["sha256"], data["inputs"][0]["sha256"]);
    assert!(kept["inputs"][0].get("base64").is_none());
    stage.close().await;
}

#[tokio::test]
async fn requests_are_run_together_and_each_gets_its_own_answer() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("times", &mut spec, &times(2.0), None).await;
    // They wait while the version is loaded, so that the first run finds all of them.
    let answers = futures_util::future::join_all((0..32).map(|n| stage.ask("times", row(n as f32)))).await;
    let mut most = 0;
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.unwrap();
        assert_eq!(outputs(&answer)["y"]["data"].to_string(), format!("[{:?},2.0]", 2.0 * n as f32));
        most = most.max(answer.batch);
    }
    assert!(most > 1, "{most}");
    assert!(stage.models.show(&Namespace::default(), "times").unwrap().standings[0].batches);
    // Rows that a caller brings together stay together, and one that does not fit fails alone.
    let both = [stage.ask("times", json!([[1, 2], [3, 4]])), stage.ask("times", json!([[1, 2, 3]]))];
    let both = futures_util::future::join_all(both).await;
    assert_eq!(outputs(both[0].as_ref().unwrap())["y"]["shape"], json!([2, 2]));
    assert!(both[1].is_err());
    stage.close().await;
}

#[tokio::test]
async fn a_first_dimension_that_is_no_batch_is_not_taken_for_one() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("over-time", &mut spec, &over_time(), None).await;
    let answers = futures_util::future::join_all((0..8).map(|n| stage.ask("over-time", row(n as f32)))).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.batch, outputs(&answer)["y"]["data"].to_string()), (1, "[1.0,1.0]".to_owned()));
    }
    assert!(!stage.models.show(&Namespace::default(), "over-time").unwrap().standings[0].batches);
    stage.close().await;
}

#[tokio::test]
async fn a_swap_takes_nobodys_answer_away() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    spec.serving.queue = 1024;
    stage.add("times", &mut spec, &times(1.0), None).await;
    stage.add("times", &mut spec, &times(2.0), None).await;
    let asking = async {
        let mut versions = Vec::new();
        for _ in 0..20 {
            let answers = futures_util::future::join_all((0..16).map(|_| stage.ask("times", row(5.0)))).await;
            for answer in answers {
                let answer = answer.unwrap();
                let said = outputs(&answer)["y"]["data"].to_string();
                assert_eq!(said, format!("[{:?},{:?}]", 5.0 * answer.version as f32, answer.version as f32));
                versions.push(answer.version);
            }
        }
        versions
    };
    let swapping = async {
        for _ in 0..10 {
            for version in [2, 1] {
                let mut spec = spec.clone();
                spec.point("times", "live", version).unwrap();
                stage.declare(&[("times", &spec)]);
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            }
        }
        spec.point("times", "live", 2).unwrap();
        stage.declare(&[("times", &spec)]);
    };
    let (versions, ()) = futures_util::future::join(asking, swapping).await;
    assert_eq!(versions.len(), 320);
    assert_eq!(stage.ask("times", row(5.0)).await.unwrap().version, 2);
    stage.close().await;
}

#[tokio::test]
async fn a_file_is_given_as_it_is_where_the_model_takes_pictures() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("halves", &mut spec, &halves(), Some(HALVES)).await;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[255, 0, 255, 0]).unwrap();
    let answer =
        stage.models.infer(request("halves", Samples::from([(String::new(), Sample::Body(bytes.into()))]))).await;
    let answer = answer.unwrap();
    assert_eq!(answer.label.as_deref(), Some("left"));
    assert_eq!(stage.event(answer.decision).1["inputs"][0]["media"], "image/png");
    let tensor = stage.models.infer(request("halves", numbers(json!([[[[0, 1], [0, 1]]]])))).await.unwrap();
    assert_eq!(tensor.label.as_deref(), Some("right"));
    stage.close().await;
}
