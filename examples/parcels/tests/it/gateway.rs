//! Customers and gateway, against the mail server and against a server that is not always there.

#![expect(clippy::disallowed_methods, reason = "the test waits for its tasks, or ends with them")]

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use nx_types::{Duration, Env};
use parcels::{Customers, Gateway, customers::INJECTED_IBAN, gateway::Mail};
use tokio_util::sync::CancellationToken;

use crate::support::{Dock, dock};

/// What was handed over: to which source, under which key. The first request is turned away.
type Handed = Arc<Mutex<Vec<(String, String, Option<Mail>)>>>;

async fn events(
    State(handed): State<Handed>,
    Path(source): Path<String>,
    headers: HeaderMap,
    Json(mail): Json<Mail>,
) -> StatusCode {
    let mut handed = handed.lock().unwrap();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let status = if handed.is_empty() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    handed.push((source, key, (status == StatusCode::OK).then_some(mail)));
    status
}

async fn server() -> (Handed, String) {
    let handed = Handed::default();
    let router = Router::new().route("/api/sources/{source}/events", post(events)).with_state(handed.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (handed, url)
}

/// Runs a gateway until so many requests have come.
async fn until(dock: &Dock, url: &str, handed: &Handed, requests: usize) {
    let stop = CancellationToken::new();
    let gateway = Gateway::open(&dock.world, url).unwrap();
    let task = tokio::spawn(gateway.run(stop.clone()));
    while handed.lock().unwrap().len() < requests || !dock.world.maildir().unread().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    task.await.unwrap();
}

fn keys(handed: &Handed) -> Vec<String> {
    handed.lock().unwrap().iter().map(|(_, key, _)| key.clone()).collect()
}

#[tokio::test]
async fn letters_are_written_once_and_handed_over_under_one_number() {
    let dock = dock().await;
    // All letters are due.
    let (later, clock) = Env::seeded(1);
    clock.set(Env::system().now() + Duration::from_secs(60));
    for _ in 0..2 {
        Customers::new(&dock.world, later.clone()).run(CancellationToken::new()).await;
    }
    assert_eq!(dock.world.maildir().messages().unwrap().len(), 3);
    let (handed, url) = server().await;
    until(&dock, &url, &handed, 4).await;
    assert_eq!(keys(&handed), ["m_87", "m_87", "m_88", "m_89"], "in order of arrival, again after the refusal");
    assert!(handed.lock().unwrap().iter().all(|(source, _, _)| source == "inbox"));
    let mails: Vec<Mail> = handed.lock().unwrap().iter().filter_map(|(_, _, mail)| mail.clone()).collect();
    let injected: Vec<bool> = mails.iter().map(|mail| mail.body.contains(INJECTED_IBAN)).collect();
    assert_eq!(injected, [false, true, false]);
    for (mail, order) in mails.iter().zip(["A54", "A83", "A24"]) {
        let order = dock.world.shop().order(order).await.unwrap().unwrap();
        assert_eq!(mail.from, format!("{} <{}>", order.customer, order.email));
        assert!(mail.subject.contains(&order.id) && mail.body.contains(&order.id) && !mail.body.contains(&order.iban));
    }

    // Killed after it handed a mail over, before it put it aside.
    let maildir = &dock.world.addresses().maildir;
    for file in std::fs::read_dir(maildir.join("cur")).unwrap() {
        let name = file.unwrap().file_name().to_string_lossy().into_owned();
        let unread = maildir.join("new").join(name.trim_end_matches(":2,S"));
        std::fs::rename(maildir.join("cur").join(&name), unread).unwrap();
    }
    until(&dock, &url, &handed, 7).await;
    assert_eq!(keys(&handed)[4..], ["m_87", "m_88", "m_89"], "each has its number for good");
}
