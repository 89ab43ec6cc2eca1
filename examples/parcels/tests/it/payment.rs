//! The payment service keeps its promises, faults included.

use parcels::services::{
    faults::{Fault, Faults},
    payment::Stats,
};
use serde_json::{Value, json};

use crate::support::{Dock, dock, dock_with};

const IBAN: &str = "DE89370400440532013000";

async fn refund(dock: &Dock, key: &str, order: &str, cents: i64) -> Result<(u16, bool, Value), reqwest::Error> {
    let body = json!({ "order": order, "cents": cents, "iban": IBAN });
    let answer = dock.http.post(dock.payment("/refunds")).header("Idempotency-Key", key).json(&body).send().await?;
    let (status, replayed) = (answer.status().as_u16(), answer.headers().contains_key("idempotent-replayed"));
    Ok((status, replayed, answer.json().await?))
}

async fn stats(dock: &Dock) -> Stats {
    serde_json::from_value(dock.get(dock.payment("/stats")).await).unwrap()
}

#[tokio::test]
async fn a_key_books_once() {
    let dock = dock().await;
    let (status, replayed, first) = refund(&dock, "k1", "A1", 1200).await.unwrap();
    assert_eq!((status, replayed), (201, false));
    let (status, replayed, again) = refund(&dock, "k1", "A1", 1200).await.unwrap();
    assert_eq!((status, replayed, &again), (201, true, &first));
    let (status, _, conflict) = refund(&dock, "k1", "A1", 1201).await.unwrap();
    assert_eq!((status, conflict["error"].as_str().unwrap().contains("another request")), (422, true));
    assert_eq!(dock.get(dock.payment("/refunds/k1")).await, first);
    assert_eq!(dock.http.get(dock.payment("/refunds/none")).send().await.unwrap().status(), 404);
    let counts = Stats { requests: 3, distinct_keys: 1, refunds: 1, orders: 1, booked_cents: 1200, ..Stats::default() };
    assert_eq!(stats(&dock).await, counts);
    dock.world.shutdown().await;
}

#[tokio::test]
async fn many_at_once_under_one_key_book_once() {
    let dock = dock().await;
    let answers = futures_util::future::join_all((0..16).map(|_| refund(&dock, "k1", "A1", 1200))).await;
    let new = answers.iter().filter(|answer| !answer.as_ref().unwrap().1).count();
    assert_eq!((new, stats(&dock).await.refunds), (1, 1));
}

#[tokio::test]
async fn cancelling_takes_back_and_repeats() {
    let dock = dock().await;
    refund(&dock, "k1", "A1", 1200).await.unwrap();
    for _ in 0..2 {
        let answer = dock.http.post(dock.payment("/refunds/k1/cancel")).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["state"], "cancelled");
    }
    assert_eq!(dock.http.post(dock.payment("/refunds/none/cancel")).send().await.unwrap().status(), 404);
    let counts = stats(&dock).await;
    assert_eq!((counts.cancelled, counts.booked_cents, counts.orders), (1, 0, 0));
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let dock = dock().await;
    let send = |key: Option<&'static str>, body: &'static str| {
        let mut request = dock.http.post(dock.payment("/refunds")).body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        async { request.send().await.unwrap().status().as_u16() }
    };
    let good = r#"{"order":"A1","cents":1,"iban":"DE89370400440532013000"}"#;
    assert_eq!(send(None, good).await, 400);
    assert_eq!(send(Some("k"), "{").await, 400);
    assert_eq!(send(Some("k"), r#"{"order":"A1","cents":1,"iban":"DE89370400440532013000","to":1}"#).await, 400);
    assert_eq!(send(Some("k"), r#"{"order":"A1","cents":0,"iban":"DE89370400440532013000"}"#).await, 422);
    assert_eq!(send(Some("k"), r#"{"order":"A1","cents":1,"iban":"DE89370400440532013001"}"#).await, 422);
    let huge = dock.http.post(dock.payment("/refunds")).header("Idempotency-Key", "k").body("x".repeat(20_000));
    assert_eq!(huge.send().await.unwrap().status(), 413);
    assert_eq!(stats(&dock).await, Stats::default());
}

/// What the client sees of a fault, and how many refunds were booked by then; then that trying again succeeds and books
/// once.
async fn fault(fault: Fault) -> (String, u64) {
    let faults = Faults { percent: 100, at_most: 1, slow: nx_types::Duration::from_millis(1), ..Faults::default() };
    let order = (0..500).map(|n| format!("A{n}")).find(|order| faults.draw(order, 1) == Some(fault)).unwrap();
    let dock = dock_with(faults).await;
    let seen = match refund(&dock, "k", &order, 700).await {
        Ok((status, _, _)) => status.to_string(),
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            cause.to_string()
        }
    };
    let booked = stats(&dock).await.refunds;
    let (status, replayed, _) = refund(&dock, "k", &order, 700).await.unwrap();
    assert_eq!((status, replayed), (201, booked == 1));
    let counts = stats(&dock).await;
    assert_eq!((counts.requests, counts.distinct_keys, counts.faults, counts.refunds), (2, 1, 1, 1));
    (seen, booked)
}

#[tokio::test]
async fn faults_look_as_they_do_in_the_wild() {
    assert_eq!(fault(Fault::Unavailable).await, ("503".to_owned(), 0));
    assert_eq!(fault(Fault::TooMany).await, ("429".to_owned(), 0));
    assert_eq!(fault(Fault::ErrorAfter).await, ("500".to_owned(), 1));
    assert_eq!(fault(Fault::Slow).await, ("201".to_owned(), 1));
    let (seen, booked) = fault(Fault::ResetBefore).await;
    assert!(seen.contains("reset") && booked == 0, "{seen} {booked}");
    let (seen, booked) = fault(Fault::ResetAfter).await;
    assert!(seen.contains("reset") && booked == 1, "{seen} {booked}");
}

#[tokio::test]
async fn unavailable_says_when_to_come_back() {
    let dock = dock_with(Faults::default()).await;
    let body = json!({ "order": "A17", "cents": 8400, "iban": IBAN });
    let answer =
        dock.http.post(dock.payment("/refunds")).header("Idempotency-Key", "k").json(&body).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "1"));
}
