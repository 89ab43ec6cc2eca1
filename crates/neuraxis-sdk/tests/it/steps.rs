//! Calls: what is sent, executed and returned.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use neuraxis_sdk::{
    Approve, Call, Ctx, Effect, Error, Failure, Found, OnChange, Retry, Sample, Tool, UndoArgs, Worker,
    frames::{Body, Outcome, Server as ServerFrame, Worker as WorkerFrame},
};
use serde_json::{Value, json};

use crate::server::{RUN, Server, run, run_id, welcome};

#[tokio::test]
async fn a_granted_step_is_executed_and_its_record_returned() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("greet", |ctx: Ctx, name: String| async move {
        assert_eq!((ctx.run_key(), ctx.incarnation()), (Some("A17"), 1));
        let text: String =
            ctx.step("write").args(name).run(|_, name: String| async move { Ok(format!("Hello, {name}")) }).await?;
        Ok(text)
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    assert_eq!(peer.hello.agents[0].name, "greet");
    assert!(peer.hello.worker.starts_with("test-"));
    peer.start("greet", json!("Ada"), false).await;
    let step = peer.step().await;
    assert_eq!((step.name.as_str(), step.scope.as_str(), &step.outcome), ("write", "", &None));
    peer.execute(step.call, 1, 1).await;
    assert_eq!(peer.json().await, json!({"t": "done", "call": step.call, "outcome": {"ok": "Hello, Ada"}}));
    peer.result(step.call, json!("from the record")).await;
    assert_eq!(peer.completed().await, json!("from the record"));
    running.stop().await;
}

#[tokio::test]
async fn a_live_run_sends_outcomes_at_once() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("count", |ctx: Ctx, (): ()| async move {
        let mut sum = 0;
        for n in 0..2 {
            sum += ctx.step("add").args(n).run(|_, n: i64| async move { Ok(n + 1) }).await?;
        }
        sum += ctx.step("look").read().run(|_, ()| async move { Ok(10) }).await?;
        sum += ctx.step("pay").idempotent().run(|_, ()| async move { Ok(100) }).await?;
        Ok(sum)
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("count", json!(null), false).await;
    let step = peer.step().await;
    assert_eq!(step.outcome, None);
    peer.send(ServerFrame::Result { call: step.call, value: json!(1), reused: true, live: true }).await;
    let step = peer.step().await;
    assert_eq!(step.outcome, Some(Outcome::Ok(json!(2))));
    peer.result(step.call, json!(2)).await;
    let step = peer.step().await;
    assert_eq!(step.outcome, Some(Outcome::Ok(json!(10))));
    peer.result(step.call, json!(10)).await;
    let step = peer.step().await;
    assert_eq!(step.outcome, None, "an idempotent step waits for its key");
    peer.execute(step.call, 4, 1).await;
    assert_eq!(peer.json().await["outcome"], json!({"ok": 100}));
    peer.result(step.call, json!(100)).await;
    assert_eq!(peer.completed().await, json!(113));
    running.stop().await;
}

#[tokio::test]
async fn attempts_fail_and_are_granted_again() {
    let server = Server::bind().await;
    let attempts = Arc::new(AtomicU32::new(0));
    let seen = attempts.clone();
    let worker = Worker::new(server.options()).agent("pay", move |ctx: Ctx, (): ()| {
        let seen = seen.clone();
        async move {
            let paid = ctx.step("refund").args(json!({"cents": 84})).idempotent().retries(5);
            let paid: Result<String, Error> = paid
                .retry(Retry::attempts(2).not_on("Stolen"))
                .approve(Approve::by("lead").within(Duration::from_mins(1)).over("cents", 5000.0).then("boss", None))
                .undo("cancel")
                .on_change(OnChange::Ask)
                .key("A17")
                .was("repay")
                .key_window(Duration::from_hours(1))
                .run(move |call: Call, args: Value| {
                    let attempt = seen.fetch_add(1, Ordering::SeqCst) + 1;
                    assert_eq!((call.idempotency_key(), call.attempt()), ("K", attempt));
                    async move {
                        Err(Failure::new("Busy", format!("{}", args["cents"]))
                            .retry_after(Duration::from_millis(5))
                            .details(json!({"status": 503})))
                    }
                })
                .await;
            match paid {
                Err(error) if error.is("Busy") => Ok("sorry".to_owned()),
                other => Ok(format!("{other:?}")),
            }
        }
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("pay", json!(null), true).await;
    let step = peer.json().await;
    let call = step["call"].as_u64().unwrap();
    assert_eq!(
        step,
        json!({
            "t": "step", "call": call, "run": RUN, "inc": 1, "name": "refund", "key": "A17", "was": "repay",
            "kind": "code", "effect": "idempotent", "args": {"cents": 84}, "key_window_ms": 3_600_000,
            "on_change": "ask", "undo": {"function": "cancel"},
            "retry": {"attempts": 2, "initial_ms": 200, "factor": 2.0, "max_ms": 30_000, "jitter": 0.5, "non_retryable": ["Stolen"]},
            "approve": {"who": "lead", "within_ms": 60_000, "escalate": [{"who": "boss"}], "over": {"cents": 5000.0}},
        })
    );
    peer.execute(call, 1, 1).await;
    let busy = json!({"name": "Busy", "message": "84", "retry_after_ms": 5, "details": {"status": 503}});
    assert_eq!(peer.json().await, json!({"t": "done", "call": call, "outcome": {"error": busy}}));
    peer.say(json!({"t": "wait", "call": call, "why": "retry"})).await;
    peer.say(json!({"t": "execute", "call": call, "grant": {"step": 1, "attempt": 2}, "idempotency_key": "K", "args": {"cents": 42}}))
        .await;
    assert_eq!(peer.json().await["outcome"]["error"]["message"], "42", "the edited arguments count");
    peer.say(json!({"t": "error", "call": call, "error": busy})).await;
    assert_eq!(peer.completed().await, json!("sorry"));
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    running.stop().await;
}

#[tokio::test]
async fn the_server_performs_waits_tools_and_children() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("all", |ctx: Ctx, (): ()| async move {
        let order: Value = ctx.tool("shop/find").args(json!({"id": 1})).timeout(Duration::from_secs(1)).call().await?;
        ctx.sleep(Duration::from_millis(1500)).await?;
        let paid: Option<u8> = ctx.signal("paid").within(Duration::from_secs(2)).await?;
        let other: u8 = ctx.signal("other").await?;
        let read = ctx.infer("digits@live", Sample::image([1])).subject("parcel/P88").context(json!({"n": 1})).await?;
        let child: String = ctx.child("sub", json!({"x": 1})).key("k").await?;
        let decision = ctx.approval("release", Approve::by("lead")).args(json!([1])).await?;
        let time = ctx.now().await?.as_millis();
        let random = ctx.random().await?;
        let uuid = ctx.uuid().await?;
        ctx.emit("parcel.moved", &json!({"dock": 2})).await?;
        Ok(json!([order, paid, other, read.label, read.decision, child, decision.approved, time, random, uuid]))
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("all", json!(null), true).await;
    let script = [
        ("shop/find", Body::Tool { args: json!({"id": 1}) }, json!({"order": 7})),
        ("sleep", Body::Sleep { ms: 1500 }, json!(null)),
        ("paid", Body::Signal { within_ms: Some(2000) }, json!(null)),
        ("other", Body::Signal { within_ms: None }, json!(3)),
        (
            "digits@live",
            Body::Infer { args: json!({"input": {"image": "AQ=="}, "subject": "parcel/P88", "context": {"n": 1}}) },
            json!({"decision": 77, "model": "digits", "version": 2, "alias": "live", "engine": "rten", "label": "7",
                   "confidence": 0.98, "outputs": {}}),
        ),
        ("sub", Body::Child { agent: "sub".to_owned(), input: json!({"x": 1}) }, json!("done")),
        (
            "release",
            Body::Approval { args: json!([1]) },
            json!({"approved": true, "by": "ann", "reason": "ok", "args": [1]}),
        ),
        ("now", Body::Now, json!(1_700_000_000_123_i64)),
        ("random", Body::Random, json!(0.25)),
        ("uuid", Body::Uuid, json!("0b1e…")),
        ("parcel.moved", Body::Emit { args: json!({"dock": 2}) }, json!(12)),
    ];
    for (name, body, value) in script {
        let step = peer.step().await;
        assert_eq!((step.name.as_str(), &step.body), (name, &body));
        peer.result(step.call, value).await;
    }
    let result = peer.completed().await;
    assert_eq!(result, json!([{"order": 7}, null, 3, "7", 77, "done", true, 1_700_000_000_123_i64, 0.25, "0b1e…"]));
    running.stop().await;
}

#[tokio::test]
async fn branches_have_scopes_and_credit_bounds_calls() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("fan", |ctx: Ctx, (): ()| async move {
        let got = ctx
            .join(0..3, |ctx, n: u64| async move {
                let inner = ctx.join([n], |ctx, n| async move { ctx.sleep(Duration::from_millis(n)).await }).await?;
                Ok::<_, Failure>(inner.len())
            })
            .await?;
        let named = ctx.branches(Some("fetch"));
        named.named("x").uuid().await?;
        named.branch().uuid().await?;
        let again = ctx.join([0], |ctx, _| async move { ctx.uuid().await }).await?;
        Ok((got, again.len()))
    });
    let running = run(worker);
    let mut peer = server.accept().await;
    peer.send(ServerFrame::Welcome(neuraxis_sdk::frames::Welcome { credit: 2, ..welcome() })).await;
    peer.start("fan", json!(null), true).await;
    let first = peer.step().await;
    let second = peer.step().await;
    assert_eq!((first.scope.as_str(), second.scope.as_str()), ("g0.0/g0.0", "g0.1/g0.0"));
    peer.result(second.call, json!(null)).await;
    let third = peer.step().await;
    assert_eq!((third.scope.as_str(), &third.body), ("g0.2/g0.0", &Body::Sleep { ms: 2 }));
    peer.result(first.call, json!(null)).await;
    peer.result(third.call, json!(null)).await;
    for scope in ["fetch.x", "fetch.0", "g1.0"] {
        let step = peer.step().await;
        assert_eq!(step.scope, scope);
        peer.result(step.call, json!("u")).await;
    }
    assert_eq!(peer.completed().await, json!([[1, 1, 1], 1]));
    running.stop().await;
}

#[tokio::test]
async fn a_step_in_doubt_is_probed() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("stop", |ctx: Ctx, (): ()| async move {
        let stopped: bool = ctx
            .step("belt")
            .args(7)
            .once()
            .probe(|call: Call, belt: i64| async move {
                assert_eq!((call.idempotency_key(), belt), ("K", 7));
                Ok(Found::Done(json!(true)))
            })
            .run(|_, _| async move { Err(Failure::new("Never", "it is not executed")) })
            .await?;
        Ok(stopped)
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("stop", json!(null), false).await;
    let step = peer.step().await;
    assert_eq!(step.body, Body::Code { effect: Effect::Once, args: json!(7), probe: true, key_window_ms: None });
    let grant = json!({"step": 1, "attempt": 1});
    peer.say(json!({"t": "probe", "call": step.call, "grant": grant, "idempotency_key": "K", "args": 7})).await;
    assert_eq!(peer.json().await, json!({"t": "probed", "call": step.call, "found": {"done": true}}));
    peer.result(step.call, json!(true)).await;
    assert_eq!(peer.completed().await, json!(true));
    running.stop().await;
}

#[tokio::test]
async fn a_step_that_nobody_awaits_any_more_is_not_executed() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("hasty", |ctx: Ctx, (): ()| async move {
        let slow = ctx.step("slow").once().run(|_, ()| async move { Ok(()) });
        tokio::select! {
            biased;
            _ = slow => {}
            _ = ctx.branches(None).branch().signal::<Value>("go") => {}
        }
        ctx.sleep(Duration::ZERO).await?;
        Ok(())
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("hasty", json!(null), true).await;
    let slow = peer.step().await;
    let signal = peer.step().await;
    peer.result(signal.call, json!(null)).await;
    let sleep = peer.step().await;
    peer.execute(slow.call, 1, 1).await;
    let done = peer.json().await;
    assert_eq!(done["outcome"]["error"]["name"], "Abandoned");
    assert_eq!(done["outcome"]["error"]["retryable"], false);
    peer.result(sleep.call, json!(null)).await;
    assert_eq!(peer.completed().await, json!(null));
    running.stop().await;
}

#[tokio::test]
async fn timeouts_and_panics_are_outcomes() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("bad", |ctx: Ctx, (): ()| async move {
        let step = ctx.step("hang").timeout(Duration::from_millis(5));
        let hung = step.run(|_, ()| async move { std::future::pending::<neuraxis_sdk::Result<()>>().await }).await;
        assert!(hung.is_err_and(|error| error.is("Timeout")));
        let step = ctx.step("boom").run(|_, ()| async move { if true { panic!("bang") } else { Ok(()) } });
        assert!(step.await.is_err_and(|error| error.is("Panic")));
        let at_once = |_, ()| -> std::future::Ready<neuraxis_sdk::Result<()>> { panic!("at once") };
        ctx.step("pay").once().run(at_once).await?;
        Ok(())
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.start("bad", json!(null), true).await;
    for (name, message) in [("Timeout", "the attempt took longer than 5 ms"), ("Panic", "bang")] {
        let step = peer.step().await;
        let Some(Outcome::Error(error)) = step.outcome else { panic!("no error") };
        assert_eq!((error.name.as_str(), error.message.as_str()), (name, message));
        peer.send(ServerFrame::Error { call: step.call, error, reused: false }).await;
    }
    let step = peer.step().await;
    peer.execute(step.call, 3, 1).await;
    let done = peer.json().await;
    assert_eq!(done["outcome"]["error"]["message"], "at once");
    peer.say(json!({"t": "error", "call": step.call, "error": done["outcome"]["error"]})).await;
    let failed = peer.json().await;
    assert_eq!((failed["t"].as_str(), failed["error"]["name"].as_str()), (Some("fail"), Some("Panic")));
    running.stop().await;
}

#[tokio::test]
async fn tools_and_undo_functions_are_served() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options())
        .tool("pay", Tool::idempotent("refund").undo("cancel").probe("look"), |call: Call, cents: u64| async move {
            call.heartbeat("half way");
            Ok(format!("{cents} {}", call.idempotency_key()))
        })
        .function("cancel", |call: Call, undo: UndoArgs<u64, String>| async move {
            Ok(format!("{}/{}/{}", undo.args, undo.result, call.idempotency_key()))
        });
    let running = run(worker);
    let mut peer = server.welcome().await;
    let offer = serde_json::to_value(&peer.hello.toolsets).unwrap();
    assert_eq!(
        offer,
        json!([{"name": "pay", "tools": [{"name": "refund", "effect": "idempotent", "undo": "cancel", "probe": "look"}]}])
    );
    let grant = json!({"step": 3, "attempt": 1});
    let tool = json!({"t": "tool", "call": 5, "run": RUN, "grant": grant, "toolset": "pay", "tool": "refund", "args": 84, "idempotency_key": "K"});
    peer.say(tool.clone()).await;
    assert_eq!(peer.json().await["t"], "heartbeat");
    assert_eq!(peer.json().await, json!({"t": "tool_done", "call": 5, "outcome": {"ok": "84 K"}}));
    let undo = json!({"t": "undo", "call": 6, "run": RUN, "grant": grant, "agent": "a", "function": "cancel", "args": 84, "result": "paid", "idempotency_key": "U"});
    peer.say(undo).await;
    assert_eq!(peer.json().await, json!({"t": "tool_done", "call": 6, "outcome": {"ok": "84/paid/U"}}));
    let mut wrong = tool;
    wrong["args"] = json!("many");
    peer.say(wrong.clone()).await;
    let done = peer.json().await;
    assert!(done["outcome"]["error"]["message"].as_str().unwrap().contains("does not fit the type"), "{done}");
    wrong["tool"] = json!("steal");
    peer.say(wrong).await;
    assert_eq!(peer.json().await["outcome"]["error"]["name"], "Unknown");
    running.stop().await;
}

#[tokio::test]
async fn carry_replaces_history() {
    let server = Server::bind().await;
    let worker = Worker::new(server.options()).agent("long", |ctx: Ctx, (): ()| async move {
        let from = ctx.carried::<u64>().await?.unwrap_or_default();
        ctx.join([()], |ctx, ()| async move { ctx.uuid().await }).await?;
        ctx.carry(&(from + 1)).await?;
        ctx.join([()], |ctx, ()| async move { ctx.uuid().await }).await?;
        ctx.log(neuraxis_sdk::Level::Info, "done");
        let nested = ctx.branches(None).branch().carry(&1).await;
        Ok(nested.is_err())
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    peer.say(json!({"t": "start", "run": RUN, "inc": 2, "agent": "long", "input": null, "state": 41, "recorded": 0, "live": true}))
        .await;
    let step = peer.step().await;
    peer.result(step.call, json!("u")).await;
    let Some(WorkerFrame::Carry { call, run: id, inc: 2, state }) = peer.next().await else { panic!("no carry") };
    assert_eq!((id, state), (run_id(), json!(42)));
    peer.result(call, json!(null)).await;
    let step = peer.step().await;
    assert_eq!(step.scope, "g0.0", "groups are counted anew");
    peer.result(step.call, json!("u")).await;
    assert_eq!(peer.json().await, json!({"t": "log", "run": RUN, "inc": 2, "level": "info", "message": "done"}));
    assert_eq!(peer.completed().await, json!(true));
    running.stop().await;
}
