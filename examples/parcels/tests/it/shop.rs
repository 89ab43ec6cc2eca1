//! The shop's rows and transactions, the carrier's webhook, the conveyor.

use parcels::services::shop::{Closed, Closing};
use serde_json::{Value, json};

use crate::support::dock;

#[tokio::test]
async fn the_story_is_in_the_shop() {
    let dock = dock().await;
    let shop = dock.world.shop();
    assert_eq!(shop.counts().await.unwrap(), (200, 0));
    let order = shop.order_of("P88").await.unwrap().unwrap();
    assert_eq!((order.id.as_str(), order.cents, order.lines[0].name.as_str()), ("A17", 8400, "coffee grinder"));
    assert_eq!(shop.order("A17").await.unwrap().unwrap(), order);
    assert_eq!(shop.order("A999").await.unwrap(), None);
    for number in 1..=200 {
        let order = shop.order(&format!("A{number}")).await.unwrap().unwrap();
        assert!(parcels::services::iban::is_valid(&order.iban) && order.cents > 0 && !order.lines.is_empty());
        assert!(order.email.ends_with("@customers.example"));
    }
    let late = shop.late_parcels("conveyor-1", 45).await.unwrap();
    let named: Vec<_> = late.iter().map(|late| (late.parcel.as_str(), late.order.as_str())).collect();
    assert_eq!(named, [("P83", "A12"), ("P88", "A17"), ("P102", "A31"), ("P129", "A58"), ("P174", "A103")]);
    let mut over = Vec::new();
    for late in &late {
        let order = shop.order(&late.order).await.unwrap().unwrap();
        if order.cents > 5000 {
            over.push(order.id);
        }
    }
    assert_eq!(over, ["A17"], "only the story's refund waits for a person");
}

#[tokio::test]
async fn the_camera_sees_parcels_that_are_on_the_belts() {
    let dock = dock().await;
    let mut orders = Vec::new();
    for parcel in parcels::camera::PARCELS {
        orders.push(dock.world.shop().order_of(parcel).await.unwrap().unwrap());
    }
    let ids: std::collections::BTreeSet<_> = orders.iter().map(|order| &order.id).collect();
    assert_eq!(ids.len(), parcels::camera::PARCELS.len());
    // Those that are misread: nobody is asked about their refunds.
    let misread = [10, 53].map(|place| (orders[place].parcel.as_str(), orders[place].id.as_str(), orders[place].cents));
    assert_eq!(misread, [("P93", "A22", 3190), ("P257", "A186", 4380)]);
}

#[tokio::test]
async fn goods_go_back_once_per_key_and_can_be_taken_back() {
    let dock = dock().await;
    let shop = dock.world.shop();
    let before = shop.stock("KI-041").await.unwrap().unwrap();
    for _ in 0..3 {
        let done = shop.restock("A17", "k1").await.unwrap().unwrap();
        assert_eq!((done.pieces, shop.stock("KI-041").await.unwrap()), (1, Some(before + 1)));
    }
    assert!(shop.restock("A999", "k2").await.unwrap().is_none());
    assert!(shop.unstock("k1").await.unwrap());
    assert!(!shop.unstock("k1").await.unwrap());
    assert_eq!(shop.stock("KI-041").await.unwrap(), Some(before));
    assert_eq!(shop.counts().await.unwrap(), (200, 0));
}

#[tokio::test]
async fn the_carrier_counts_requests_and_notices() {
    let dock = dock().await;
    let url = format!("http://{}/webhooks/parcels", dock.world.addresses().logistics);
    let post = |key: &'static str, body: Value| dock.http.post(&url).header("Idempotency-Key", key).json(&body).send();
    for (key, new) in [("a", true), ("a", false), ("b", true)] {
        let answer: Value = post(key, json!({ "parcel": "P88" })).await.unwrap().json().await.unwrap();
        assert_eq!(answer, json!({ "accepted": true, "new": new }));
    }
    assert_eq!(post("c", json!({})).await.unwrap().status(), 400);
    assert_eq!(dock.http.post(&url).json(&json!({ "parcel": "P88" })).send().await.unwrap().status(), 400);
    let stats = dock.get(format!("http://{}/stats", dock.world.addresses().logistics)).await;
    assert_eq!(stats, json!({ "requests": 3, "notices": 2 }));
}

#[tokio::test]
async fn the_belt_carries_out_each_command() {
    let dock = dock().await;
    let url = format!("http://{}/belt", dock.world.addresses().belt);
    assert_eq!(dock.get(url.clone()).await, json!({ "belt": "conveyor-1", "running": true, "stops": 0 }));
    for stops in 1..=2 {
        let answer = dock.http.post(format!("{url}/stop")).header("Command-Id", "c1").send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["stops"], stops);
    }
    let state = dock.get(format!("{url}?command=c1")).await;
    assert_eq!(state, json!({ "belt": "conveyor-1", "running": false, "stops": 2, "carried_out": 2 }));
    assert_eq!(dock.get(format!("{url}?command=c2")).await["carried_out"], 0);
    dock.http.post(format!("{url}/start")).header("Command-Id", "c3").send().await.unwrap();
    assert_eq!(dock.get(url.clone()).await["running"], true);
    assert_eq!(dock.http.post(format!("{url}/stop")).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn an_order_is_closed_by_one() {
    let dock = dock().await;
    let shop = dock.world.shop();
    let open = shop.open_orders().await.unwrap();
    assert_eq!((open.len(), open[0].as_str(), open[16].as_str()), (200, "A1", "A17"));
    let closed = |key: &str| Closing::Done(Closed { order: "A17".to_owned(), key: key.to_owned() });
    for _ in 0..2 {
        assert_eq!(shop.close("A17", "k1").await.unwrap(), closed("k1"));
    }
    assert_eq!(shop.close("A17", "k2").await.unwrap(), Closing::Taken);
    assert_eq!(shop.close("A999", "k3").await.unwrap(), Closing::Unknown);
    assert!(!shop.open_orders().await.unwrap().contains(&"A17".to_owned()));
    let late = shop.late_parcels("conveyor-1", 45).await.unwrap();
    assert!(late.iter().all(|late| late.order != "A17"), "what is refunded already is not refunded for being late");
    assert_eq!([shop.reopen("k1").await.unwrap(), shop.reopen("k1").await.unwrap()], [true, false]);
    assert_eq!(shop.close("A17", "k2").await.unwrap(), closed("k2"));
    // Goods that came back were refunded.
    shop.restock("A12", "k4").await.unwrap();
    assert_eq!(shop.open_orders().await.unwrap().len(), 198);
}
