//! Ends: cancelled runs, stopped workers, servers that turn workers away.

use std::{sync::Arc, time::Duration};

use neuraxis_sdk::{
    Ctx, Error, ErrorCode as _, Failure, Options, Tool, Worker,
    frames::{Outcome, Server as ServerFrame, Worker as WorkerFrame},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
};

use crate::server::{RUN, Server, run, run_id};

fn cancel() -> ServerFrame {
    ServerFrame::Cancel { run: run_id(), inc: 1, reason: "no longer wanted".to_owned() }
}

#[tokio::test]
async fn a_cancelled_agent_unwinds_and_stops() {
    let server = Server::bind().await;
    let unwound = Arc::new(Notify::new());
    let seen = unwound.clone();
    let worker = Worker::new(server.options()).agent("wait", move |ctx: Ctx, (): ()| {
        let seen = seen.clone();
        async move {
            let error = ctx.signal::<Value>("go").await.expect_err("it is cancelled");
            assert!(error.is_cancelled() && ctx.is_cancelled());
            assert_eq!(error.to_string(), "the run was cancelled: no longer wanted");
            assert!(ctx.uuid().await.is_err_and(|error| error.is_cancelled()), "later calls too");
            seen.notify_one();
            Err::<(), _>(Failure::from(error))
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("wait", json!(null), true).await;
    peer.step().await;
    peer.send(cancel()).await;
    unwound.notified().await;
    assert_eq!(peer.next().await, Some(WorkerFrame::Stopped { run: run_id(), inc: 1 }));
    peer.send(ServerFrame::Closed { run: run_id(), inc: 1, state: "cancelled".to_owned() }).await;
    peer.send(cancel()).await;
    assert_eq!(peer.next().await, Some(WorkerFrame::Stopped { run: run_id(), inc: 1 }), "also if it is not here");
    running.stop().await;
}

#[tokio::test]
async fn a_cancelled_run_stops_only_after_its_granted_executions() {
    let server = Server::bind().await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, g) = (begun.clone(), go_on.clone());
    let worker = Worker::new(server.options()).agent("pay", move |ctx: Ctx, (): ()| {
        let (b, g) = (b.clone(), g.clone());
        async move {
            let pay = ctx.step("pay").once().run(move |_, ()| {
                let (b, g) = (b.clone(), g.clone());
                async move {
                    b.notify_one();
                    g.notified().await;
                    Ok("paid".to_owned())
                }
            });
            Ok(pay.await?)
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("pay", json!(null), true).await;
    let step = peer.step().await;
    peer.execute(step.call, 1, 1).await;
    begun.notified().await;
    peer.send(cancel()).await;
    go_on.notify_one();
    let done = WorkerFrame::Done { call: step.call, outcome: Outcome::Ok(json!("paid")) };
    assert_eq!(peer.next().await, Some(done));
    assert_eq!(peer.next().await, Some(WorkerFrame::Stopped { run: run_id(), inc: 1 }));
    running.stop().await;
}

#[tokio::test]
async fn a_deaf_agent_is_dropped_after_the_grace() {
    let server = Server::bind().await;
    let mut options = server.options();
    options.cancel_grace = Duration::from_millis(5);
    let begun = Arc::new(Notify::new());
    let seen = begun.clone();
    let worker = Worker::new(options).agent("deaf", move |_: Ctx, (): ()| {
        let seen = seen.clone();
        async move {
            seen.notify_one();
            std::future::pending::<neuraxis_sdk::Result<()>>().await
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("deaf", json!(null), true).await;
    begun.notified().await;
    peer.send(cancel()).await;
    assert_eq!(peer.next().await, Some(WorkerFrame::Stopped { run: run_id(), inc: 1 }));
    running.stop().await;
}

#[tokio::test]
async fn a_stopping_worker_finishes_grants_and_gives_its_runs_back() {
    let server = Server::bind().await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, g) = (begun.clone(), go_on.clone());
    let worker = Worker::new(server.options()).agent("pay", move |ctx: Ctx, (): ()| {
        let (b, g) = (b.clone(), g.clone());
        async move {
            let pay = ctx.step("pay").once().run(move |_, ()| {
                let (b, g) = (b.clone(), g.clone());
                async move {
                    b.notify_one();
                    g.notified().await;
                    Ok(1)
                }
            });
            Ok(pay.await?)
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("pay", json!(null), true).await;
    let step = peer.step().await;
    peer.execute(step.call, 1, 1).await;
    begun.notified().await;
    running.shutdown.cancel();
    go_on.notify_one();
    assert_eq!(peer.next().await, Some(WorkerFrame::Done { call: step.call, outcome: Outcome::Ok(json!(1)) }));
    assert_eq!(peer.next().await, Some(WorkerFrame::Release { run: run_id(), inc: 1 }));
    assert_eq!(peer.next().await, None, "the connection is closed");
    running.end().await.unwrap();
}

#[tokio::test]
async fn a_worker_turned_away_for_good_ends() {
    let server = Server::bind().await;
    let running = run(Worker::new(server.options()));
    let mut peer = server.accept().await;
    peer.say(json!({"t": "goodbye", "problem": {"code": "NX-API-0042", "detail": "no such version"}})).await;
    let error = running.end().await.expect_err("it is turned away");
    assert_eq!(error.code().as_str(), "NX-API-0042");
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_worker_told_to_come_back_does() {
    let server = Server::bind().await;
    let running = run(Worker::new(server.options()));
    let mut peer = server.welcome().await;
    peer.say(json!({"t": "goodbye", "problem": {"code": "NX-RUN-0001", "detail": "restarts"}, "retry_ms": 1})).await;
    server.welcome().await;
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_final_and_a_bad_gateway_is_not() {
    let server = Server::bind().await;
    let running = run(Worker::new(server.options().token("wrong")));
    for status in ["502 Bad Gateway", "401 Unauthorized"] {
        let (mut stream, _from) = server.listener.accept().await.unwrap();
        let mut head = vec![0; 2048];
        let read = stream.read(&mut head).await.unwrap();
        assert!(String::from_utf8_lossy(&head[..read]).to_lowercase().contains("authorization: bearer wrong"));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    let error = running.end().await.expect_err("the token is wrong");
    assert!(error.to_string().contains("check the token"), "{error}");
}

#[tokio::test]
async fn wrong_declarations_and_addresses_are_refused() {
    for (url, why) in [
        ("127.0.0.1:7700", "no scheme"),
        ("ftp://host", "the scheme must be"),
        ("http://", "no host"),
        ("http://a:b@c", "user name"),
        ("http://host:99999", "not a number"),
    ] {
        let ended = Worker::new(Options::new(url)).run(neuraxis_sdk::CancellationToken::new()).await;
        assert!(ended.as_ref().is_err_and(|error| error.to_string().contains(why)), "{url}: {ended:?}");
    }
    let tool = |_: neuraxis_sdk::Call, (): ()| async move { Ok(()) };
    let twice = Worker::new(Options::new("http://[::1]:1")).tool("shop", Tool::read("find"), tool).tool(
        "shop",
        Tool::read("find"),
        tool,
    );
    let error: Error = twice.run(neuraxis_sdk::CancellationToken::new()).await.expect_err("declared twice");
    assert_eq!(error.to_string(), "tool `shop/find` is declared twice; rename one");
}

#[tokio::test]
async fn values_that_are_not_ijson_are_refused() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("bad", |ctx: Ctx, (): ()| async move {
        let nan = ctx.step("nan").args(f64::NAN).run(|_, _: f64| async move { Ok(()) }).await;
        let large = ctx.emit("large", &json!({"n": u64::MAX})).await;
        let taken = ctx.carry(&json!({"$blob": "00"})).await;
        let errors: Vec<String> = [nan.err(), large.err(), taken.err()]
            .into_iter()
            .map(|error| neuraxis_sdk::Failure::from(error.expect("refused")).to_string())
            .collect();
        Ok(errors)
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("bad", json!(null), true).await;
    let errors = peer.completed().await;
    assert!(errors[0].as_str().unwrap().contains("`NaN` at ``"), "{errors}");
    assert!(errors[1].as_str().unwrap().contains("`18446744073709551615` at `/n` is beyond 2^53"), "{errors}");
    assert!(errors[2].as_str().unwrap().contains("reserved"), "{errors}");
    assert_eq!(RUN.len(), 18);
    running.stop().await;
}
