//! Bad input: each has its code, and nothing of it is stored.

use nx_infer::onnx::Limits;
use nx_models::{ArtifactSpec, Options, Sample, Samples};
use nx_types::{Duration, Seq};
use serde_json::json;

use crate::support::{HALVES, Stage, code, halves, numbers, reciprocal, request, right_is_white, row, times, upload};

#[tokio::test]
async fn models_that_are_not_what_they_should_be() {
    let limits = Limits { file_bytes: 4096, ..Limits::default() };
    let stage = Stage::start(Options { limits, ..Options::default() });
    let good = times(2.0).write();
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    let manifest = |from: &str, to: &str| HALVES.replace(from, to);
    let with = |change: &dyn Fn(&mut nx_models::Upload)| {
        let mut upload = upload("times", good.clone(), None);
        change(&mut upload);
        upload
    };
    for (upload, says) in [
        (upload("times", b"no model".to_vec(), None), "NX-INF-0001"),
        (upload("times", cut, None), "NX-INF-0001"),
        (upload("times", vec![0; 5000], None), "NX-MDL-0005"),
        (upload("times", Vec::new(), None), "NX-INF-0001"),
        (upload("Times", good.clone(), None), "NX-MDL-0003"),
        (with(&|upload| upload.licence = None), "NX-MDL-0003"),
        (with(&|upload| upload.sha256 = Some("0".repeat(64))), "NX-MDL-0004"),
        (with(&|upload| upload.sha256 = Some("xyz".to_owned())), "NX-MDL-0003"),
        (with(&|upload| upload.source = Some("x".repeat(2000))), "NX-MDL-0003"),
        (upload("halves", halves().write(), Some(&manifest("name: image", "name: picture"))), "NX-INF-0008"),
        (
            upload(
                "halves",
                halves().write(),
                Some(&manifest("dtype: f32\n    shape: [batch, 1", "dtype: u8\n    shape: [batch, 1")),
            ),
            "NX-INF-0008",
        ),
        (upload("halves", halves().write(), Some(&manifest("[batch, 1, 2, 2]", "[batch, 3, 2, 2]"))), "NX-INF-0008"),
    ] {
        let error = stage.models.add(upload).await.unwrap_err();
        assert_eq!(code(&error), says, "{error}");
    }
    assert_eq!(stage.journal.head(), Seq(1), "nothing but the log's own first event");
    stage.close().await;
}

#[tokio::test]
async fn requests_that_no_model_can_answer() {
    let stage = Stage::start(Options::default());
    let (mut spec, mut picture) = (ArtifactSpec::default(), ArtifactSpec::default());
    stage.add("times", &mut spec, &times(2.0), None).await;
    stage.add("halves", &mut picture, &halves(), Some(HALVES)).await;
    stage.declare(&[("times", &spec), ("halves", &picture)]);
    let body = |bytes: &[u8]| Samples::from([(String::new(), Sample::Body(bytes.to_vec().into()))]);
    let named = |name: &str| Samples::from([(name.to_owned(), right_is_white())]);
    for (model, samples, says) in [
        ("other", numbers(row(1.0)), "NX-MDL-0001"),
        ("times@canary", numbers(row(1.0)), "NX-MDL-0002"),
        ("times@7", numbers(row(1.0)), "NX-MDL-0002"),
        ("times", numbers(json!([[1, 2, 3]])), "NX-INF-0007"),
        ("times", numbers(json!([1, 2])), "NX-INF-0007"),
        ("times", numbers(json!([["a", "b"]])), "NX-MDL-0007"),
        ("times", numbers(json!([[1, 2], [3]])), "NX-MDL-0007"),
        ("times", Samples::new(), "NX-MDL-0007"),
        ("times", body(b"\x89PNG\r\n\x1a\n"), "NX-MDL-0007"),
        ("halves", body(b"no picture"), "NX-MDL-0007"),
        ("halves", body(b"\x89PNG\r\n\x1a\ncut"), "NX-MDL-0007"),
        ("halves", named("picture"), "NX-MDL-0007"),
        ("halves", Samples::from([("image".to_owned(), Sample::Bytes(vec![1].into()))]), "NX-MDL-0007"),
        (
            "halves",
            Samples::from([(
                "image".to_owned(),
                Sample::Pixels { width: 9, height: 9, channels: 1, bytes: vec![1].into() },
            )]),
            "NX-INF-0009",
        ),
    ] {
        let before = stage.journal.head();
        let error = stage.models.infer(request(model, samples)).await.unwrap_err();
        assert_eq!(code(&error), says, "{model}: {error}");
        assert_eq!(stage.journal.head(), before, "no decision");
    }
    for (subject, cause) in [(Some("run/r_1"), None), (Some("resource/Artifact/x"), None), (None, Some(Seq(10_000)))] {
        let mut request = request("times", numbers(row(1.0)));
        (request.subject, request.cause) = (subject.map(str::to_owned), cause);
        assert_eq!(code(&stage.models.infer(request).await.unwrap_err()), "NX-MDL-0003");
    }
    stage.close().await;
}

#[tokio::test]
async fn answers_that_json_does_not_have() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    stage.add("reciprocal", &mut spec, &reciprocal(), None).await;
    assert!(stage.ask("reciprocal", json!([[2]])).await.is_ok());
    let error = stage.ask("reciprocal", json!([[0]])).await.unwrap_err();
    assert_eq!(error.to_string(), "output `y` holds inf, which is no finite number; the model or its input is broken");
    assert_eq!(code(&error), "NX-MDL-0013");
    stage.close().await;
}

#[tokio::test]
async fn a_full_queue_and_a_deadline_that_passes() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    spec.serving.queue = 1;
    stage.add("times", &mut spec, &times(2.0), None).await;
    // All are begun before the first one's version is loaded.
    let all = (0..5).map(|_| stage.ask("times", row(1.0)));
    let answers = futures_util::future::join_all(all).await;
    let refused: Vec<String> = answers.iter().filter_map(|answer| answer.as_ref().err().map(code)).collect();
    assert_eq!(refused, ["NX-MDL-0008"; 4]);
    let view = stage.models.show(&nx_types::Namespace::default(), "times").unwrap();
    assert_eq!((view.standings[0].answered, view.standings[0].refused), (1, 4));

    let mut slow = request("times", numbers(row(1.0)));
    slow.deadline = Some(Duration::from_micros(1));
    assert_eq!(code(&stage.models.infer(slow).await.unwrap_err()), "NX-MDL-0009");
    stage.close().await;
}

#[tokio::test]
async fn memory_has_a_bound_and_idle_versions_make_room() {
    let file = times(2.0).write().len() as u64;
    let stage = Stage::start(Options { memory_bytes: 4 * file, ..Options::default() });
    let mut spec = ArtifactSpec::default();
    stage.add("times", &mut spec, &times(2.0), None).await;
    stage.add("times", &mut spec, &times(3.0), None).await;
    let loaded = || -> Vec<bool> {
        let view = stage.models.show(&nx_types::Namespace::default(), "times").unwrap();
        view.standings.iter().map(|standing| standing.loaded).collect()
    };
    stage.ask("times@1", row(1.0)).await.unwrap();
    assert_eq!(loaded(), [true, false]);
    stage.ask("times@2", row(1.0)).await.unwrap();
    assert_eq!(loaded(), [false, true]);

    spec.serving.threads = 4;
    stage.declare(&[("times", &spec)]);
    assert_eq!(code(&stage.ask("times@1", row(1.0)).await.unwrap_err()), "NX-MDL-0010");
    stage.close().await;
}

#[tokio::test]
async fn a_version_that_was_never_stored_is_not_served() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    let record = stage.add("times", &mut spec, &times(2.0), None).await;
    // declared by hand
    spec.add("times", nx_models::kind::Version { version: 7, ..record.listed() }, None).unwrap();
    stage.declare(&[("times", &spec)]);
    assert_eq!(code(&stage.ask("times@7", row(1.0)).await.unwrap_err()), "NX-MDL-0014");
    stage.close().await;
}
