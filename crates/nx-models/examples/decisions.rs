//! How many inferences a second are answered with their decision durable: `cargo run --release --example decisions -- DIR
//! SECONDS CLIENTS`. One JSON object a line; it judges nothing.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for a person at a terminal")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nx_infer::{
    DType, Tensor,
    onnx::{Builder, Model},
};
use nx_journal::Journal;
use nx_models::{ArtifactSpec, InferRequest, Options, Sample, Samples, Upload};
use nx_types::{Env, Metadata, Namespace, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap());
    let seconds: u64 = arguments.next().map_or(5, |text| text.parse().unwrap());
    let clients: u64 = arguments.next().map_or(64, |text| text.parse().unwrap());
    let (journal, log) = Journal::open(nx_journal::Options::new(&dir), Env::system()).unwrap();
    let (_service, models) = nx_models::open(journal.clone(), Options::default());
    let upload = Upload {
        namespace: Namespace::default(),
        name: "times".to_owned(),
        bytes: model().write().into(),
        manifest: None,
        licence: Some("Apache-2.0".to_owned()),
        source: None,
        from: None,
        sha256: None,
        by: "bench".to_owned(),
    };
    let mut spec = ArtifactSpec::default();
    spec.serving.queue = 4096;
    spec.add("times", models.add(upload).await.unwrap().listed(), None).unwrap();
    let resource = Resource {
        api_version: "neuraxis/v1".to_owned(),
        kind: "Artifact".to_owned(),
        metadata: Metadata { name: "times".to_owned(), ..Metadata::default() },
        spec: serde_json::to_value(&spec).unwrap(),
        status: Value::Null,
    };
    models.declare(&Namespace::default(), &[resource]);

    let (count, batches) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks = tokio_util::task::TaskTracker::new();
    let begun = Instant::now();
    for _ in 0..clients {
        let (models, count, batches) = (models.clone(), count.clone(), batches.clone());
        tasks.spawn(async move {
            while begun.elapsed() < Duration::from_secs(seconds) {
                let data = json!([vec![0.5; 64]]);
                let request = InferRequest {
                    namespace: Namespace::default(),
                    model: "times".parse().unwrap(),
                    samples: Samples::from([(String::new(), Sample::Numbers { shape: None, data })]),
                    deadline: None,
                    subject: None,
                    cause: None,
                    stream: None,
                    by: "bench".to_owned(),
                };
                let answer = models.infer(request).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                batches.fetch_add(answer.batch as u64, Ordering::Relaxed);
            }
        });
    }
    tasks.close();
    tasks.wait().await;
    let (count, took) = (count.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
    let stats = journal.stats().await.unwrap();
    println!(
        "{}",
        json!({"name": "infer.decisions", "value": count as f64 / took, "unit": "decisions/s", "config": {
            "clients": clients, "seconds": took, "sync_p50_us": stats.sync_p50_us,
            "mean_batch": batches.load(Ordering::Relaxed) as f64 / count as f64,
            "bytes_per_decision": stats.bytes as f64 / count as f64,
        }})
    );
    journal.close().await;
    log.run().await.unwrap();
}

/// Rows of 64 numbers, doubled.
fn model() -> Model {
    let mut build = Builder::new("times", 17);
    let x = build.input("x", DType::F32, &["batch".into(), 64.into()]);
    let by = build.constant("factor", &Tensor::new([1], vec![2.0_f32]).unwrap());
    let y = build.node("Mul", "y", &[&x, &by], &[]);
    build.output(&y, DType::F32, &["batch".into(), 64.into()]);
    build.finish().unwrap()
}
