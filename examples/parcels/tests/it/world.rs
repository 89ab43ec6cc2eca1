//! The world as a whole: it stops cleanly, starts again where it was, and finds its ports.

use std::{net::TcpListener, path::Path};

use nx_types::Env;
use parcels::{Addresses, Options, World};
use serde_json::json;

use crate::support::dock;

/// Writes a `world.json` whose ports lie below those that the system hands out, so that no other test gets them while
/// a world is down.
fn with_own_ports(dir: &Path) -> Addresses {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut free = (first..32_000)
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .map(|listener| listener.local_addr().unwrap());
    let mut next = || free.next().unwrap();
    let addresses = Addresses {
        payment: next(),
        logistics: next(),
        belt: next(),
        smtp: next(),
        shop: dir.join("shop.db"),
        maildir: dir.join("maildir"),
        opened: Env::system().now(),
    };
    std::fs::write(dir.join("world.json"), serde_json::to_vec(&addresses).unwrap()).unwrap();
    addresses
}

async fn start(dir: &Path) -> World {
    World::start(dir, Options::default(), Env::system()).await.unwrap()
}

#[tokio::test]
async fn a_restarted_world_is_the_same_as_far_as_it_can() {
    let (dir, http) = (tempfile::tempdir().unwrap(), parcels::http_client().unwrap());
    let addresses = with_own_ports(dir.path());
    let world = start(dir.path()).await;
    assert_eq!(world.addresses(), &addresses);
    let body = json!({ "order": "A17", "cents": 8400, "iban": "DE89370400440532013000" });
    let url = format!("http://{}/refunds", addresses.payment);
    for expected in [503, 201] {
        let answer = http.post(&url).header("Idempotency-Key", "k").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), expected);
    }
    world.shop().restock("A17", "k").await.unwrap();
    world.shutdown().await;
    assert!(http.get(&url).send().await.is_err(), "the port is free");

    let world = start(dir.path()).await;
    assert_eq!(world.addresses(), &addresses);
    assert_eq!(world.shop().counts().await.unwrap(), (200, 1));
    let refund: serde_json::Value = http.get(format!("{url}/k")).send().await.unwrap().json().await.unwrap();
    assert_eq!(refund["cents"], 8400);
    world.shutdown().await;

    let taken = TcpListener::bind(addresses.payment).unwrap();
    let world = start(dir.path()).await;
    assert_ne!(world.addresses().payment, addresses.payment);
    assert_eq!(world.addresses().belt, addresses.belt);
    drop(taken);
}

#[tokio::test]
async fn a_dropped_world_stops() {
    let dock = dock().await;
    let (addresses, http) = (dock.world.addresses().clone(), dock.http.clone());
    drop(dock.world);
    // The listener closes when its task next runs; until then a connection may still be taken, and is closed.
    let url = format!("http://{}/belt", addresses.belt);
    while http.get(&url).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
}
