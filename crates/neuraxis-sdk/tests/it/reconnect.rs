//! Lost connections: what goes on, what is dropped, what is said afterwards.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use neuraxis_sdk::{
    Ctx, Tool, Worker,
    frames::{Grant, Server as ServerFrame, Welcome, Worker as WorkerFrame},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::server::{RUN, Server, run, run_id, welcome};

/// Counts the agents that were dropped.
struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_granted_once_step_outlives_its_connection() {
    let server = Server::bind().await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let executions = Arc::new(AtomicU32::new(0));
    let (b, g, e) = (begun.clone(), go_on.clone(), executions.clone());
    let worker = Worker::new(server.options()).agent("mail", move |ctx: Ctx, (): ()| {
        let (b, g, e) = (b.clone(), g.clone(), e.clone());
        async move {
            let sent: String = ctx
                .step("send")
                .once()
                .run(move |_, ()| {
                    let (b, g) = (b.clone(), g.clone());
                    e.fetch_add(1, Ordering::SeqCst);
                    async move {
                        b.notify_one();
                        g.notified().await;
                        Ok("sent".to_owned())
                    }
                })
                .await?;
            Ok(sent)
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    let name = peer.hello.worker.clone();
    assert!(peer.hello.executing.is_empty());
    peer.start("mail", json!(null), true).await;
    let step = peer.step().await;
    peer.execute(step.call, 1, 1).await;
    begun.notified().await;
    drop(peer);

    // Still executing: the new connection says so; the new incarnation waits for it.
    let mut peer = server.welcome().await;
    assert_eq!(peer.hello.worker, name);
    let executing = serde_json::to_value(&peer.hello.executing).unwrap();
    assert_eq!(executing, json!([{"run": RUN, "grant": {"step": 1, "attempt": 1}}]));
    peer.start_inc("mail", json!(null), false, 2).await;
    let step = peer.step().await;
    assert_eq!(step.inc, 2);
    peer.say(json!({"t": "wait", "call": step.call, "why": "elsewhere"})).await;
    go_on.notify_one();
    let late = json!({"t": "late", "run": RUN, "grant": {"step": 1, "attempt": 1}, "outcome": {"ok": "sent"}});
    assert_eq!(peer.json().await, late);
    drop(peer);

    // The outcome was not taken: it is said again, until it is.
    let mut peer = server.welcome().await;
    assert_eq!(peer.hello.executing.len(), 1);
    assert_eq!(peer.json().await, late);
    let grant = Grant { step: 1, attempt: 1 };
    peer.send(ServerFrame::LateTaken { run: run_id(), grant }).await;
    peer.start_inc("mail", json!(null), false, 3).await;
    let step = peer.step().await;
    peer.result(step.call, json!("sent")).await;
    assert_eq!(peer.completed().await, json!("sent"));
    drop(peer);
    let peer = server.welcome().await;
    assert!(peer.hello.executing.is_empty());
    assert_eq!(executions.load(Ordering::SeqCst), 1);
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_tool_outlives_its_connection() {
    let server = Server::bind().await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, g) = (begun.clone(), go_on.clone());
    let worker = Worker::new(server.options()).tool("pay", Tool::once("refund"), move |_, (): ()| {
        let (b, g) = (b.clone(), g.clone());
        async move {
            b.notify_one();
            g.notified().await;
            Ok(7)
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    let tool = json!({"t": "tool", "call": 1, "run": RUN, "grant": {"step": 4, "attempt": 2}, "toolset": "pay", "tool": "refund", "args": null});
    peer.say(tool).await;
    begun.notified().await;
    drop(peer);
    let mut peer = server.welcome().await;
    assert_eq!(peer.hello.executing.len(), 1);
    go_on.notify_one();
    let late = json!({"t": "late", "run": RUN, "grant": {"step": 4, "attempt": 2}, "outcome": {"ok": 7}});
    assert_eq!(peer.json().await, late);
    running.stop().await;
}

#[tokio::test]
async fn a_lost_connection_drops_agents_and_code() {
    let server = Server::bind().await;
    let dropped = Arc::new(AtomicU32::new(0));
    let seen = dropped.clone();
    let worker = Worker::new(server.options()).agent("wait", move |ctx: Ctx, (): ()| {
        let guard = Dropped(seen.clone());
        async move {
            let value = ctx.signal::<Value>("go").await?;
            drop(guard);
            Ok(value)
        }
    });
    let running = run(worker);
    let mut peer = server.accept().await;
    peer.send(ServerFrame::Welcome(Welcome { lease_ms: 300, ..welcome() })).await;
    peer.start("wait", json!(null), true).await;
    peer.step().await;

    // The server falls silent without closing: the lease ends, the worker comes again.
    let mut again = server.welcome().await;
    again.start_inc("wait", json!(null), false, 2).await;
    let step = again.step().await;
    assert_eq!((step.inc, dropped.load(Ordering::SeqCst)), (2, 1));

    // Parked: dropped without a word.
    again.send(ServerFrame::Closed { run: run_id(), inc: 2, state: "parked".to_owned() }).await;
    again.start_inc("wait", json!(null), false, 3).await;
    let step = again.step().await;
    assert_eq!((step.inc, dropped.load(Ordering::SeqCst)), (3, 2));
    again.result(step.call, json!(5)).await;
    assert_eq!(again.completed().await, json!(5));
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_newer_incarnation_replaces_an_older_one() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options())
        .agent("wait", |ctx: Ctx, (): ()| async move { Ok(ctx.signal::<Value>("go").await?) });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start_inc("wait", json!(null), true, 1).await;
    peer.step().await;
    peer.start_inc("wait", json!(null), true, 2).await;
    let step = peer.step().await;
    assert_eq!(step.inc, 2);
    peer.send(ServerFrame::Closed { run: run_id(), inc: 1, state: "fenced".to_owned() }).await;
    peer.result(step.call, json!(1)).await;
    assert_eq!(peer.completed().await, json!(1));
    peer.start_inc("nobody", json!(null), true, 3).await;
    assert_eq!(peer.next().await, Some(WorkerFrame::Release { run: run_id(), inc: 3 }));
    running.stop().await;
}

#[tokio::test]
async fn outcomes_without_an_answer_are_told_again() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options())
        .agent(
            "pay",
            |ctx: Ctx, (): ()| async move { Ok(ctx.step("pay").once().run(|_, ()| async move { Ok(1) }).await?) },
        )
        .tool("shop", Tool::once("ship"), |_, (): ()| async move { Ok(2) });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.say(json!({"t": "weather", "sun": true})).await;
    peer.start("pay", json!(null), true).await;
    let step = peer.step().await;
    peer.execute(step.call, 1, 1).await;
    assert_eq!(peer.json().await["t"], "done");
    let grant = json!({"step": 2, "attempt": 1});
    peer.say(
        json!({"t": "tool", "call": 1, "run": RUN, "grant": grant, "toolset": "shop", "tool": "ship", "args": null}),
    )
    .await;
    assert_eq!(peer.json().await["t"], "tool_done");
    drop(peer);
    let mut peer = server.welcome().await;
    assert_eq!(peer.hello.executing.len(), 2);
    for (step, value) in [(1, 1), (2, 2)] {
        let late = json!({"t": "late", "run": RUN, "grant": {"step": step, "attempt": 1}, "outcome": {"ok": value}});
        assert_eq!(peer.json().await, late);
        peer.send(ServerFrame::LateTaken { run: run_id(), grant: Grant { step, attempt: 1 } }).await;
    }
    peer.start_inc("pay", json!(null), true, 2).await;
    let step = peer.step().await;
    peer.execute(step.call, 1, 2).await;
    peer.json().await;
    peer.send(ServerFrame::Closed { run: run_id(), inc: 2, state: "fenced".to_owned() }).await;
    assert_eq!(peer.json().await["grant"], json!({"step": 1, "attempt": 2}), "it may have crossed the fence");
    running.stop().await;
}
