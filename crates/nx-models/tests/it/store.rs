//! What is stored of a model, and that it stays.

use nx_models::{ArtifactSpec, Options};
use nx_types::{Causation, Namespace};

use crate::support::{Stage, code, outputs, row, times, upload};

#[tokio::test]
async fn a_version_is_stored_once_and_found_after_a_restart() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    let first = stage.add("times", &mut spec, &times(2.0), None).await;
    let again = stage.models.add(upload("times", times(2.0).write(), None)).await.unwrap();
    assert_eq!((again.version, again.sha256, again.place), (1, first.sha256.clone(), first.place));
    let second = stage.add("times", &mut spec, &times(3.0), None).await;
    assert_eq!((first.version, second.version), (1, 2));

    let (event, data) = stage.event(second.place);
    assert_eq!(event.header.subject.as_str(), "artifact/times");
    assert_eq!((data["version"].as_u64(), data["sha256"].as_str()), (Some(2), Some(second.sha256.as_str())));
    assert_eq!(event.header.blobs, [second.blob]);

    let stage = Stage::over(stage.close().await, Options::default());
    stage.declare(&[("times", &spec)]);
    let file = stage.models.file(&Namespace::default(), &"times@2".parse().unwrap()).await.unwrap();
    assert_eq!(file, times(3.0).write());
    let answer = stage.ask("times", row(5.0)).await.unwrap();
    assert_eq!(outputs(&answer)["y"]["data"].to_string(), "[10.0,2.0]");
    stage.close().await;
}

#[tokio::test]
async fn lineage_is_causation() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    let parent = stage.add("times", &mut spec, &times(2.0), None).await;
    let namespace = Namespace::default();
    let mut child = upload("times", times(2.5).write(), None);
    child.from = Some(stage.models.parent(&namespace, &"times@1".parse().unwrap(), "rounded").unwrap());
    let child = stage.models.add(child).await.unwrap();
    assert_eq!(child.from.as_ref().unwrap().method, "rounded");
    assert_eq!(stage.event(child.place).0.header.causation, Causation::Local(parent.place));
    assert_eq!(code(&stage.models.parent(&namespace, &"times@9".parse().unwrap(), "x").unwrap_err()), "NX-MDL-0002");
    stage.close().await;
}

#[tokio::test]
async fn a_deleted_version_leaves_nothing_but_headers() {
    let stage = Stage::start(Options::default());
    let mut spec = ArtifactSpec::default();
    let record = stage.add("times", &mut spec, &times(2.0), None).await;
    stage.add("times", &mut spec, &times(3.0), None).await;
    spec.point("times", "live", 2).unwrap();
    spec.remove("times", 1).unwrap();
    stage.declare(&[("times", &spec)]);
    stage.models.erase(&Namespace::default(), "times", 1, "tester").await.unwrap();
    stage.models.erase(&Namespace::default(), "times", 1, "tester").await.unwrap();
    assert!(!matches!(stage.journal.blob(&record.blob), Ok(Some(_))));
    assert_eq!(code(&stage.ask("times@1", row(1.0)).await.unwrap_err()), "NX-MDL-0002");
    let event = stage.journal.reader().event(record.place).unwrap().unwrap();
    assert!(event.data.bytes().is_none());
    stage.close().await;
}

#[tokio::test]
async fn versions_that_come_at_once_get_numbers_of_their_own() {
    let stage = Stage::start(Options::default());
    let all = (1..=3).map(|n| stage.models.add(upload("times", times(n as f32).write(), None)));
    let mut numbers: Vec<u32> =
        futures_util::future::join_all(all).await.into_iter().map(|record| record.unwrap().version).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    stage.close().await;
}
