//! The conformance vectors of `testdata/protocol` (their form: `docs/worker-protocol.md`): the vector's server frames
//! go in, its worker frames must come out.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use neuraxis_sdk::{Approve, Ctx, Effect, Failure, Found, Inputs, Retry, Sample, Tool, Undo, Worker};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::server::{Peer, Running, Server, run};

/// Variables of a vector: each stands for one value wherever it appears.
struct Bindings {
    defaults: Map<String, Value>,
    bound: HashMap<String, Value>,
}

impl Bindings {
    fn variable<'a>(&self, value: &'a Value) -> Option<&'a str> {
        value.as_str()?.strip_prefix('$').filter(|name| self.defaults.contains_key(*name))
    }

    /// A frame to send: variables replaced, marks of absence left out.
    fn fill(&mut self, value: &Value) -> Value {
        if let Some(name) = self.variable(value) {
            let default = self.defaults[name].clone();
            return self.bound.entry(name.to_owned()).or_insert(default).clone();
        }
        match value {
            Value::Object(fields) => {
                let kept = fields.iter().filter(|(key, _)| !key.starts_with('!'));
                kept.map(|(key, item)| (key.clone(), self.fill(item))).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            other => other.clone(),
        }
    }

    /// Why a frame is not the expected one; binds variables on the way.
    fn matches(&mut self, expected: &Value, actual: &Value) -> Result<(), String> {
        if let Some(name) = self.variable(expected) {
            let known = self.bound.entry(name.to_owned()).or_insert_with(|| actual.clone());
            return if known == actual { Ok(()) } else { Err(format!("{actual} instead of ${name} = {known}")) };
        }
        match (expected, actual) {
            (Value::Object(fields), Value::Object(found)) => {
                fields.iter().try_for_each(|(key, item)| match (key.strip_prefix('!'), found.get(key)) {
                    (Some(absent), _) if found.contains_key(absent) => Err(format!("{absent}: must be absent")),
                    (Some(_), _) => Ok(()),
                    (None, None) => Err(format!("{key}: missing")),
                    (None, Some(value)) => self.matches(item, value).map_err(|why| format!("{key}: {why}")),
                })
            }
            (Value::Array(items), Value::Array(found)) if items.len() == found.len() => {
                items.iter().zip(found).try_for_each(|(item, value)| self.matches(item, value))
            }
            (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => Ok(()),
            _ if expected == actual => Ok(()),
            _ => Err(format!("{actual} instead of {expected}")),
        }
    }
}

fn list(entry: &Value) -> Vec<Value> {
    entry.as_array().cloned().unwrap_or_else(|| vec![entry.clone()])
}

/// What the agents of a vector share: executions that end when the vector says so, and attempts left.
#[derive(Default)]
struct Shared {
    holds: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    does: Mutex<BTreeMap<String, Vec<Value>>>,
}

impl Shared {
    fn hold(&self, name: &str) -> Arc<Semaphore> {
        self.holds.lock().unwrap().entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }

    /// What the next execution of a step with these arguments does; the last one repeats.
    fn next(&self, step: &str, args: &Value) -> Value {
        let mut does = self.does.lock().unwrap();
        let attempts = does.get_mut(&format!("{step} {args}")).unwrap();
        if attempts.len() > 1 { attempts.remove(0) } else { attempts[0].clone() }
    }
}

fn failure(spec: &Value) -> Failure {
    let failure = Failure::new(spec["name"].as_str().unwrap(), spec["message"].as_str().unwrap());
    match spec["retryable"].as_bool() {
        Some(retryable) => failure.retryable(retryable),
        None => failure,
    }
}

fn play(ctx: Ctx, operations: Vec<Value>, shared: Arc<Shared>) -> BoxFuture<'static, Result<Value, Failure>> {
    async move {
        for op in operations {
            if let Some(value) = op.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = op.get("raise") {
                return Err(failure(error));
            }
            match op.get("gather") {
                Some(branches) => gather(&ctx, branches, op["name"].as_str(), &shared).await?,
                None => operate(&ctx, &op, &shared).await?,
            }
        }
        Ok(Value::Null)
    }
    .boxed()
}

async fn gather(ctx: &Ctx, spec: &Value, name: Option<&str>, shared: &Arc<Shared>) -> Result<(), Failure> {
    let branches = ctx.branches(name);
    let contexts: Vec<(Ctx, Value)> = match spec {
        Value::Object(named) => named.iter().map(|(name, ops)| (branches.named(name), ops.clone())).collect(),
        other => list(other).into_iter().map(|ops| (branches.branch(), ops)).collect(),
    };
    let all = contexts.into_iter().map(|(ctx, ops)| play(ctx, list(&ops), shared.clone()));
    futures_util::future::try_join_all(all).await.map(drop)
}

fn milliseconds(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

async fn operate(ctx: &Ctx, op: &Value, shared: &Arc<Shared>) -> Result<(), Failure> {
    let text = |key: &str| op[key].as_str().map(str::to_owned);
    if let Some(name) = text("step") {
        return step(ctx, &name, op, shared).await;
    }
    if let Some(name) = text("tool") {
        let mut tool = ctx.tool(name).args(&op["args"]);
        if op["undo"].is_object() {
            tool = tool.undo(serde_json::from_value::<Undo>(op["undo"].clone())?);
        }
        tool.call::<Value>().await?;
    } else if let Some(time) = milliseconds(&op["sleep_ms"]) {
        ctx.sleep(time).await?;
    } else if let Some(name) = text("signal") {
        match milliseconds(&op["within_ms"]) {
            Some(time) => drop(ctx.signal::<Value>(name).within(time).await?),
            None => drop(ctx.signal::<Value>(name).await?),
        }
    } else if let Some(agent) = text("child") {
        ctx.child::<Value>(agent, &op["input"]).await?;
    } else if let Some(model) = text("infer") {
        let inputs = match text("image_base64") {
            Some(image) => Inputs::from(Sample::image_base64(image)),
            None => {
                let tensors = op["tensors"].as_object().unwrap().iter();
                tensors.map(|(name, lists)| Ok((name, Sample::tensor(lists)?))).collect::<Result<Inputs, Failure>>()?
            }
        };
        let step = ctx.infer(model, inputs);
        match text("subject") {
            Some(subject) => step.subject(subject).await?,
            None => step.await?,
        };
    } else if let Some(kind) = text("emit") {
        ctx.emit(&kind, &op["args"]).await?;
    } else if op.get("carry").is_some() {
        ctx.carry(&op["carry"]).await?;
    } else if op.get("now").is_some() {
        ctx.now().await?;
    } else if op.get("random").is_some() {
        ctx.random().await?;
    } else if op.get("uuid").is_some() {
        ctx.uuid().await?;
    } else {
        panic!("unknown operation {op}");
    }
    Ok(())
}

async fn step(ctx: &Ctx, name: &str, op: &Value, shared: &Arc<Shared>) -> Result<(), Failure> {
    for args in [Some(&op["args"]), op.get("edited")].into_iter().flatten() {
        shared.does.lock().unwrap().entry(format!("{name} {args}")).or_insert_with(|| list(&op["does"]));
    }
    let mut step = ctx.step(name).args(op["args"].clone());
    if let Some(effect) = op.get("effect") {
        step = step.effect(serde_json::from_value::<Effect>(effect.clone())?);
    }
    if let Some(undo) = op.get("undo") {
        step = step.undo(serde_json::from_value::<Undo>(undo.clone())?);
    }
    if let Some(approve) = op.get("approve") {
        step = step.approve(serde_json::from_value::<Approve>(approve.clone())?);
    }
    if let Some(retry) = op.get("retry") {
        step = step.retry(serde_json::from_value::<Retry>(retry.clone())?);
    }
    if let Some(key) = op["key"].as_str() {
        step = step.key(key);
    }
    if let Some(was) = op["was"].as_str() {
        step = step.was(was);
    }
    if let Some(found) = op.get("probe") {
        let found: Found = serde_json::from_value(found.clone())?;
        step = step.probe(move |_, _| std::future::ready(Ok(found.clone())));
    }
    let (name, shared) = (name.to_owned(), shared.clone());
    step.run(move |_, args: Value| {
        let attempt = shared.next(&name, &args);
        let hold = attempt["hold"].as_str().map(|name| shared.hold(name));
        async move {
            if let Some(hold) = hold {
                drop(hold.acquire().await);
            }
            match attempt.get("raise") {
                Some(error) => Err(failure(error)),
                None => Ok(attempt["return"].clone()),
            }
        }
    })
    .await?;
    Ok(())
}

/// The worker of a vector.
fn worker(server: &Server, vector: &Value, shared: &Arc<Shared>) -> Worker {
    let mut worker = Worker::new(server.options().runs(8));
    for (name, body) in vector["agents"].as_object().unwrap() {
        let (body, shared) = (body.clone(), shared.clone());
        worker = worker.agent(name, move |ctx: Ctx, _: Value| {
            let (body, shared) = (body.clone(), shared.clone());
            async move {
                let Some(states) = body.as_object() else { return play(ctx, list(&body), shared).await };
                if ctx.carried::<Value>().await?.is_none() {
                    play(ctx.clone(), list(&states["no_state"]), shared.clone()).await?;
                }
                play(ctx, list(&states["state"]), shared).await
            }
        });
    }
    for toolset in vector["toolsets"].as_array().into_iter().flatten() {
        let toolset_name = toolset["name"].as_str().unwrap();
        for offer in toolset["tools"].as_array().unwrap() {
            let name = offer["name"].as_str().unwrap();
            let mut tool = match offer["effect"].as_str() {
                Some("read") => Tool::read(name),
                Some("once") => Tool::once(name),
                _ => Tool::idempotent(name),
            };
            if let Some(undo) = offer["undo"].as_str() {
                tool = tool.undo(undo);
            }
            if let Some(probe) = offer["probe"].as_str() {
                tool = tool.probe(probe);
            }
            let value = vector["tools"][format!("{toolset_name}/{name}")].clone();
            worker = worker.tool(toolset_name, tool, move |_, _: Value| std::future::ready(Ok(value.clone())));
        }
    }
    for (name, value) in vector["undo"].as_object().into_iter().flatten() {
        let value = value.clone();
        worker = worker.function(name, move |_, _: Value| std::future::ready(Ok(value.clone())));
    }
    worker
}

struct Play<'a> {
    name: &'a str,
    server: Server,
    peer: Option<Peer>,
    bindings: Bindings,
    shared: Arc<Shared>,
    running: Running,
}

impl Play<'_> {
    /// The worker's next frame that matters.
    async fn received(&mut self, listed: &[&str]) -> Value {
        loop {
            let Some(peer) = &mut self.peer else {
                let peer = self.server.accept().await;
                let mut hello = serde_json::to_value(&peer.hello).unwrap();
                hello["t"] = json!("hello");
                self.peer = Some(peer);
                return hello;
            };
            let frame = peer.json().await;
            let kind = frame["t"].as_str().unwrap();
            if !matches!(kind, "heartbeat" | "log") || listed.contains(&kind) {
                return frame;
            }
        }
    }

    async fn expect(&mut self, entry: &Value, place: usize) {
        let mut wanted = list(entry);
        while !wanted.is_empty() {
            let listed: Vec<String> = wanted.iter().map(|frame| frame["t"].as_str().unwrap().to_owned()).collect();
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let frame = self.received(&listed).await;
            let mut reasons = Vec::new();
            let found = wanted.iter().position(|candidate| {
                let before = self.bindings.bound.clone();
                match self.bindings.matches(candidate, &frame) {
                    Ok(()) => true,
                    Err(why) => {
                        self.bindings.bound = before;
                        reasons.push(why);
                        false
                    }
                }
            });
            let found = found.unwrap_or_else(|| panic!("{} at {place}: got {frame}: {reasons:?}", self.name));
            wanted.remove(found);
        }
    }

    async fn act(&mut self, entry: &Value, place: usize) {
        if let Some(frames) = entry.get("server") {
            for frame in list(frames) {
                let frame = self.bindings.fill(&frame);
                self.peer.as_mut().expect("a connection").say(frame).await;
            }
        } else if let Some(frames) = entry.get("worker") {
            self.expect(frames, place).await;
        } else {
            match entry["do"].as_str() {
                Some("disconnect") => {
                    let peer = self.peer.take().expect("a connection");
                    peer.cut().await;
                }
                Some("finish") => self.shared.hold(entry["hold"].as_str().unwrap()).add_permits(1000),
                Some("shutdown") => self.running.shutdown.cancel(),
                _ => {}
            }
        }
    }
}

async fn check(vector: &Value) {
    let name = vector["name"].as_str().unwrap();
    let server = Server::bind().await;
    let shared = Arc::new(Shared::default());
    let running = run(worker(&server, vector, &shared));
    let bindings = Bindings { defaults: vector["vars"].as_object().unwrap().clone(), bound: HashMap::new() };
    let mut play = Play { name, server, peer: None, bindings, shared, running };
    for (place, entry) in vector["sequence"].as_array().unwrap().iter().enumerate() {
        play.act(entry, place).await;
    }
    play.running.shutdown.cancel();
    let Play { peer, running, .. } = play;
    if let Some(mut peer) = peer {
        while let Some(frame) = peer.next().await {
            let frame = serde_json::to_value(frame).unwrap();
            assert_eq!(frame["t"], "release", "{name}: {frame} is left");
        }
    }
    drop(running.end().await);
}

#[tokio::test]
async fn this_worker_meets_all_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/protocol");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no vectors in {}", folder.display());
    for path in paths {
        let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(vector["format"], 1, "{}", path.display());
        if vector["only"] != "server" {
            check(&vector).await;
        }
    }
}
