//! The service over a real log on disk, with workers inside the process.

use std::{path::Path, sync::Arc};

use neuraxis_sdk::frames::{self, Approve, Body, Effect};
use nx_journal::{Cause, Commit, Journal, NewEvent};
use nx_runs::{
    Error, Handle, Options, Service,
    service::{
        ApprovalFilter, Connection, Inbox, Page, Peer, Ruling, RunFilter, RunKey, RunStatus, RunView, SignalRequest,
        StartRequest, StepView, StepsPage,
    },
    sim::{
        harness_worker::{Ask, Context, Flow, Script, Worker},
        harness_world::World,
    },
};
use nx_types::{Env, ErrorCode as _, EventType, Namespace, RunId, Subject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A server in this process.
pub(crate) struct Server {
    pub(crate) handle: Handle,
    pub(crate) journal: Journal,
    stop: CancellationToken,
    service: tokio::task::JoinHandle<Result<(), Error>>,
    log: nx_journal::Service,
}

impl Server {
    pub(crate) fn up(dir: &Path) -> Self {
        Self::with(dir, Options::new(RunKey::new([5; 32])))
    }

    fn with(dir: &Path, options: Options) -> Self {
        let (journal, log) = Journal::open(nx_journal::Options::new(dir), Env::system()).unwrap();
        let (handle, service) = Service::open(journal.clone(), options).unwrap();
        let stop = service.stop();
        let service = tokio::task::spawn_local(service.run());
        Self { handle, journal, stop, service, log }
    }

    pub(crate) async fn down(self) {
        self.stop.cancel();
        self.service.await.unwrap().unwrap();
        self.journal.close().await;
        self.log.run().await.unwrap();
    }
}

/// Serves until the future is done.
pub(crate) async fn served<T>(
    handle: &Handle,
    worker: &mut Worker,
    world: &mut World,
    what: impl Future<Output = T>,
) -> T {
    let Connection { inbound, mut outbound } = handle.connect(Peer::default()).await.unwrap();
    inbound.text(&serde_json::to_string(&worker.hello()).unwrap()).await.unwrap();
    let mut what = Box::pin(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => {
                worker.cut();
                return done;
            }
            texts = outbound.texts() => {
                let mut out = std::collections::VecDeque::new();
                for text in texts.unwrap_or_default() {
                    worker.receive(serde_json::from_str(&text).unwrap(), &mut out);
                }
                while !worker.jobs.is_empty() {
                    worker.work(world, &mut out);
                }
                for frame in out {
                    inbound.text(&serde_json::to_string(&frame).unwrap()).await.unwrap();
                }
            }
        }
    }
}

pub(crate) async fn until(handle: &Handle, run: RunId, wanted: impl Fn(&RunView) -> bool) -> RunView {
    let mut watch = handle.watch(Namespace::default(), run, 0);
    loop {
        let view = handle.get(Namespace::default(), run).await.unwrap();
        if wanted(&view) {
            return view;
        }
        watch.next().await.unwrap();
    }
}

pub(crate) async fn ended(handle: &Handle, run: RunId) -> RunView {
    until(handle, run, |view| view.summary.status.is_over()).await
}

#[derive(Debug)]
struct Fun(fn(&mut Context<'_>) -> Flow);

impl Script for Fun {
    fn run(&self, context: &mut Context<'_>) -> Flow {
        (self.0)(context)
    }
}

pub(crate) type Agent = fn(&mut Context<'_>) -> Flow;

pub(crate) fn worker(name: &str, agents: &[(&str, Agent)]) -> Worker {
    Worker::new(name, agents.iter().map(|(name, fun)| ((*name).to_owned(), Box::new(Fun(*fun)) as Box<dyn Script>)))
}

fn lead() -> Approve {
    Approve {
        who: "lead".to_owned(),
        within_ms: None,
        escalate: Vec::new(),
        quorum: None,
        edit: false,
        over: Default::default(),
        message: None,
    }
}

fn refund(context: &mut Context<'_>) -> Flow {
    let order = context.input["order"].clone();
    let found = context.tool("shop/find_order", json!({ "order": order }))?;
    let args = json!({ "order": order, "cents": found["cents"] });
    context.step(Ask::code("refund", Effect::Idempotent, args).approve(lead()))?;
    context.step(Ask::code("notify", Effect::Once, json!({ "order": order })).probe())
}

pub(crate) fn start(agent: &str, key: &str) -> StartRequest {
    StartRequest { key: Some(key.to_owned()), ..StartRequest::new(agent, json!({ "order": key })) }
}

fn approve(view: &nx_runs::service::ApprovalView) -> Ruling {
    Ruling {
        decision: "approve".to_owned(),
        hash: Some(view.hash),
        by: "ann".to_owned(),
        roles: ["lead".to_owned()].into(),
        reason: Some("looks right".to_owned()),
        args: None,
        value: None,
        step: None,
    }
}

pub(crate) fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

#[test]
fn a_refund_waits_for_its_approval_and_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let ns = Namespace::default;
        // A reading leads to a request, the request to the run.
        let reading = event("motor.overheated", "motor/1", &json!({ "celsius": 91 }));
        let reading = server.journal.commit(Commit::of([reading])).await.unwrap().last;
        let mut request = event(
            "run.requested",
            "reflex/stop",
            &json!({ "agent": "refund", "input": {"order": "A17"}, "key": "A17" }),
        );
        request.causation = Cause::Local(reading);
        server.journal.commit(Commit::of([request])).await.unwrap();
        let filter = nx_journal::Filter { types: vec!["run.created".to_owned()], ..Default::default() };
        server.journal.subscribe(reading, filter).next().await.unwrap();

        let mut one = worker("w1", &[("refund", refund)]);
        let mut world = World::new(1);
        let run = served(&handle, &mut one, &mut world, async {
            let started = handle.start(start("refund", "A17")).await.unwrap();
            assert!(started.existing);
            let view = until(&handle, started.run, |view| !view.approvals.is_empty()).await;
            assert_eq!(view.summary.status, RunStatus::Waiting);
            assert_eq!(view.summary.inbox, Some(Inbox::Approval));
            let waiting = handle.approvals(ns(), ApprovalFilter::default(), Page::default()).await.unwrap().items;
            assert_eq!(waiting.len(), 1);
            assert_eq!(waiting[0].args, json!({ "cents": 8400, "order": "A17" }));

            let stranger = Ruling { by: "bob".to_owned(), roles: [].into(), ..approve(&waiting[0]) };
            let refused = handle.decide(ns(), waiting[0].id, stranger).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "NX-RUN-0008");
            let other = Ruling { hash: Some(nx_types::Digest([1; 32])), ..approve(&waiting[0]) };
            let refused = handle.decide(ns(), waiting[0].id, other).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "NX-RUN-0007");

            let decided = handle.decide(ns(), waiting[0].id, approve(&waiting[0])).await.unwrap();
            assert_eq!((decided.status.as_str(), decided.decided_by.as_deref()), ("approved", Some("ann")));
            let twice = handle.decide(ns(), waiting[0].id, approve(&waiting[0])).await.unwrap_err();
            assert_eq!(twice.code().as_str(), "NX-RUN-0006");
            ended(&handle, started.run).await
        })
        .await;
        assert_eq!(run.summary.status, RunStatus::Completed);
        assert_eq!(run.steps.len(), 3);
        assert_eq!(world.mail, ["A17 refunded"]);

        let why = handle.why(ns(), format!("{}/refund", run.summary.id)).await.unwrap();
        let mut chain = Vec::new();
        let mut node = Some(&why);
        while let Some(link) = node {
            chain.push(link.kind.clone());
            node = link.because.first();
        }
        assert_eq!(
            chain.join(" < "),
            "step.completed < step.started < approval.decided < approval.requested < step.waiting < guard.decided < step.completed < step.started < run.started < \
             run.created < run.requested < motor.overheated"
        );
        let by_key = handle.why(ns(), "refund/A17".to_owned()).await.unwrap();
        assert_eq!(by_key.kind, "run.completed");
        let prefix: String = run.summary.id.to_string().chars().take(8).collect();
        assert_eq!(handle.resolve_run(ns(), prefix).await.unwrap(), run.summary.id);
        let listed = handle.list(ns(), RunFilter::default(), Page::default()).await.unwrap().items;
        assert_eq!(listed.len(), 1);
        server.down().await;
    });
}

pub(crate) fn event(kind: &str, subject: &str, data: &Value) -> NewEvent {
    let kind = EventType::new(kind).unwrap();
    NewEvent::new(Namespace::default(), kind, Subject::new(subject).unwrap(), data.to_string().into_bytes())
}

fn family(context: &mut Context<'_>) -> Flow {
    let child = Body::Child { agent: "child".to_owned(), input: json!({ "order": "B1" }) };
    let one = context.step(Ask::new("one", child))?;
    let signal = context.step(Ask::new("go", Body::Signal { within_ms: None }))?;
    context.step(Ask::new("nap", Body::Sleep { ms: 5 }))?;
    let both = context.gather(&[&|context| context.step(Ask::code("left", Effect::Read, json!({}))), &|context| {
        context.step(Ask::code("right", Effect::Read, json!({})))
    }])?;
    Ok(json!({ "one": one, "signal": signal, "both": both.len() }))
}

fn child(context: &mut Context<'_>) -> Flow {
    context.step(Ask::code("work", Effect::Read, context.input.clone()))
}

#[test]
fn children_signals_and_branches_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let agents: [(&str, Agent); 2] = [("family", family), ("child", child)];
        let server = Server::up(dir.path());
        let mut world = World::new(1);
        let handle = server.handle.clone();
        let mut one = worker("w1", &agents);
        let run = served(&handle, &mut one, &mut world, async {
            let run = handle.start(start("family", "f")).await.unwrap().run;
            let waits = |view: &RunView| view.summary.waiting_for.as_deref() == Some("signal go");
            until(&handle, run, waits).await;
            run
        })
        .await;
        server.down().await;

        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let again = handle.start(start("family", "f")).await.unwrap();
        assert_eq!((again.run, again.existing), (run, true));
        let mut two = worker("w2", &agents);
        let view = served(&handle, &mut two, &mut world, async {
            let signal = SignalRequest { name: "go".to_owned(), payload: json!(7), id: None, by: "ann".to_owned() };
            handle.signal(Namespace::default(), run, signal).await.unwrap();
            ended(&handle, run).await
        })
        .await;
        assert_eq!(view.result.unwrap(), json!({ "one": {"did": "work"}, "signal": 7, "both": 2 }));
        assert_eq!(view.summary.incarnation, 2);
        server.down().await;
    });
}

fn flaky(context: &mut Context<'_>) -> Flow {
    context.step(Ask::code("prepare", Effect::Read, json!({})))?;
    context.step(Ask::code("ship", Effect::Idempotent, json!({})).attempts(1))
}

#[test]
fn failed_runs_stand_in_the_inbox_until_they_are_retried() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let ns = Namespace::default;
        let mut world = World::new(1);
        world.carrier = false;
        let mut one = worker("w1", &[("flaky", flaky)]);
        served(&handle, &mut one, &mut world, async {
            for key in ["a", "b"] {
                let run = handle.start(start("flaky", key)).await.unwrap().run;
                assert_eq!(ended(&handle, run).await.summary.status, RunStatus::Failed);
            }
        })
        .await;
        let filter =
            RunFilter { inbox: Some(Inbox::Failed), error: Some("CarrierError".to_owned()), ..RunFilter::default() };
        assert_eq!(handle.list(ns(), filter.clone(), Page::default()).await.unwrap().items.len(), 2);
        world.carrier = true;
        served(&handle, &mut one, &mut world, async {
            let done = handle.bulk_retry(ns(), filter.clone(), 100, "ann".to_owned()).await.unwrap();
            assert_eq!((done.retried.len(), done.skipped.len()), (2, 0));
            for run in done.retried {
                let view = ended(&handle, run).await;
                assert_eq!(view.summary.status, RunStatus::Completed);
            }
        })
        .await;
        assert_eq!(world.calls["prepare"], 2, "recorded steps are kept");
        assert!(handle.list(ns(), filter, Page::default()).await.unwrap().items.is_empty());
        server.down().await;
    });
}

#[test]
fn bad_input_is_answered_with_codes() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        for (text, code) in [
            ("nonsense", "NX-RUN-0011"),
            (r#"{"t":"done","call":1,"outcome":{"ok":1}}"#, "NX-RUN-0011"),
            (r#"{"t":"hello","protocol":[9],"sdk":"x","worker":"w","runs":1}"#, "NX-RUN-0013"),
            (r#"{"t":"hello","protocol":[1],"sdk":"x","worker":"","runs":1}"#, "NX-RUN-0011"),
        ] {
            let Connection { inbound, mut outbound } = handle.connect(Peer::default()).await.unwrap();
            inbound.text(text).await.unwrap();
            let frames = outbound.frames().await.unwrap();
            let [frames::Server::Goodbye { problem, .. }] = frames.as_slice() else { panic!("{frames:?}") };
            assert_eq!(problem.code.as_str(), code, "{text}");
            assert!(outbound.frames().await.is_none(), "closed");
        }
        let unknown = RunId::from_bytes([3; 10]);
        let error = handle.get(Namespace::default(), unknown).await.unwrap_err();
        assert_eq!(error.code().as_str(), "NX-RUN-0001");
        let error = handle.retry(Namespace::default(), unknown, "ann".to_owned()).await.unwrap_err();
        assert_eq!(error.code().as_str(), "NX-RUN-0001");
        let big = StartRequest::new("a", json!({ "n": 9_007_199_254_740_993_u64 }));
        assert_eq!(handle.start(big).await.unwrap_err().code().as_str(), "NX-RUN-0018");
        server.down().await;
    });
}

fn large(context: &mut Context<'_>) -> Flow {
    let value = context.step(Ask::code("large", Effect::Read, context.input.clone()))?;
    context.step(Ask::code("after", Effect::Read, json!({ "bytes": value.to_string().len() })))
}

#[test]
fn large_values_stand_in_blobs() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let mut world = World::new(1);
        let mut one = worker("w1", &[("large", large)]);
        let text: String =
            (0..60_000).map(|n: u32| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
        let input = json!({ "text": text });
        let view = served(&handle, &mut one, &mut world, async {
            let run = handle.start(StartRequest::new("large", input.clone())).await.unwrap().run;
            ended(&handle, run).await
        })
        .await;
        assert_eq!(view.input, input);
        assert_eq!(view.summary.status, RunStatus::Completed);
        server.down().await;
    });
}

fn count(context: &mut Context<'_>) -> Flow {
    for n in 0..60 {
        context.step(Ask::code("count", Effect::Read, json!({ "n": n })))?;
        context.tool("shop/find_order", json!({ "order": format!("A{n}") }))?;
    }
    context.step(Ask::code("last", Effect::Read, json!({})))
}

/// What is shown of a long run's pages is what a reading of the whole record shows.
#[test]
fn pages_of_a_long_run_equal_those_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let mut world = World::new(1);
        let mut one = worker("w1", &[("count", count)]);
        let whole = served(&handle, &mut one, &mut world, async {
            let run = handle.start(StartRequest::new("count", json!({ "order": "A1" }))).await.unwrap().run;
            ended(&handle, run).await
        })
        .await;
        server.down().await;
        assert_eq!(whole.steps_total, 121);
        let server = Server::with(dir.path(), Options { shown_whole: 10, ..Options::new(RunKey::new([5; 32])) });
        let (name, run) = (Namespace::default(), whole.summary.id);
        for (after, limit) in [(Some(0), 1), (Some(0), 7), (Some(1), 1), (Some(59), 30), (Some(120), 5), (Some(121), 5)]
        {
            let page = server.handle.show(name.clone(), run, StepsPage { after, limit }).await.unwrap();
            let first = usize::try_from(after.unwrap_or_default()).unwrap();
            let end = (first + limit).min(whole.steps.len());
            assert_eq!(numbered(&page.steps), numbered(&whole.steps[first..end]), "after {after:?}");
            assert_eq!(page.next_step, (end < 121).then_some(end as u64));
            assert_eq!((&page.input, &page.result, page.version), (&whole.input, &whole.result, whole.version));
        }
        let newest = server.handle.show(name.clone(), run, StepsPage { after: None, limit: 3 }).await.unwrap();
        assert_eq!(numbered(&newest.steps), numbered(&whole.steps[118..]));
        assert_eq!((newest.steps_total, newest.next_step, newest.reused), (121, None, None));
        server.down().await;
    });
}

/// Steps without the incarnation, which a part of the record may not tell.
fn numbered(steps: &[StepView]) -> Vec<StepView> {
    steps.iter().map(|step| StepView { incarnation: None, ..step.clone() }).collect()
}

#[test]
fn cancelled_runs_are_stopped() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let ns = Namespace::default;
        let mut world = World::new(1);
        let mut one = worker("w1", &[("refund", refund)]);
        let view = served(&handle, &mut one, &mut world, async {
            let run = handle.start(start("refund", "A1")).await.unwrap().run;
            until(&handle, run, |view| !view.approvals.is_empty()).await;
            handle.cancel(ns(), run, "ann".to_owned(), "not needed".to_owned()).await.unwrap();
            ended(&handle, run).await
        })
        .await;
        assert_eq!(view.summary.status, RunStatus::Cancelled);
        assert_eq!(view.approvals[0].status, "withdrawn");
        let error = handle.cancel(ns(), view.summary.id, "ann".to_owned(), "again".to_owned()).await.unwrap_err();
        assert_eq!(error.code().as_str(), "NX-RUN-0004");
        assert!(Arc::new(world).refunds.is_empty());
        server.down().await;
    });
}

/// A worker that only says what it can do.
async fn offers(handle: &Handle, worker: &str, version: &str, runs: u32) -> Connection {
    let mut connection = handle.connect(Peer::default()).await.unwrap();
    let agents = json!([{ "name": "agent", "version": version }]);
    let hello =
        json!({ "t": "hello", "protocol": [1], "sdk": "test/1", "worker": worker, "agents": agents, "runs": runs });
    connection.inbound.text(&hello.to_string()).await.unwrap();
    let welcome = connection.outbound.frames().await.unwrap();
    assert!(matches!(welcome.as_slice(), [frames::Server::Welcome(_)]), "{welcome:?}");
    connection
}

async fn next_start(connection: &mut Connection) -> frames::Start {
    match connection.outbound.frames().await.unwrap().as_slice() {
        [frames::Server::Start(start)] => (**start).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn runs_go_to_versions_that_are_allowed_and_stay_with_theirs() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let spec = json!({ "workers": { "versions": ["2", "3"], "sticky": true } });
        let agent = nx_types::Resource {
            api_version: nx_types::resource::API_VERSION.to_owned(),
            kind: "Agent".to_owned(),
            metadata: nx_types::Metadata { name: "agent".to_owned(), ..Default::default() },
            spec,
            status: Value::Null,
        };
        let declared = nx_runs::kinds::Declared::of([&agent]);
        handle.declare(Namespace::default(), declared).await.unwrap();
        let _one = offers(&handle, "w1", "1", 100).await;
        let mut two = offers(&handle, "w2", "2", 1).await;
        let first = handle.start(start("agent", "a")).await.unwrap().run;
        assert_eq!(next_start(&mut two).await.run, first, "version 1 is not allowed");

        let second = handle.start(start("agent", "b")).await.unwrap().run;
        let mut three = offers(&handle, "w3", "3", 8).await;
        assert_eq!(next_start(&mut three).await.run, second, "w2 has no room");

        // The first run loses its worker; another of its version is there, and gets it although w3 has more room.
        let mut other = offers(&handle, "w4", "2", 1).await;
        drop(two);
        let again = next_start(&mut other).await;
        assert_eq!((again.run, again.inc), (first, 2));
        let workers = handle.workers().await.unwrap();
        assert_eq!(workers.iter().map(|worker| worker.runs).collect::<Vec<_>>(), [0, 1, 1]);
        server.down().await;
    });
}

#[test]
fn a_worker_that_came_back_replaces_its_former_connection() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let handle = server.handle.clone();
        let mut former = offers(&handle, "w1", "1", 1).await;
        let run = handle.start(start("agent", "a")).await.unwrap().run;
        assert_eq!(next_start(&mut former).await.inc, 1);
        let mut back = offers(&handle, "w1", "1", 1).await;
        let goodbye = former.outbound.frames().await.unwrap();
        let [frames::Server::Goodbye { problem, .. }] = goodbye.as_slice() else { panic!("{goodbye:?}") };
        assert_eq!(problem.code.as_str(), "NX-RUN-0021");
        assert!(former.outbound.frames().await.is_none());
        let again = next_start(&mut back).await;
        assert_eq!((again.run, again.inc), (run, 2));
        // What the former connection still says is of no effect.
        let late = json!({ "t": "complete", "run": run, "inc": 1, "result": 1 });
        former.inbound.text(&late.to_string()).await.unwrap();
        let fenced = json!({ "t": "complete", "run": run, "inc": 1, "result": 1 });
        back.inbound.text(&fenced.to_string()).await.unwrap();
        let answer = back.outbound.frames().await.unwrap();
        let [frames::Server::Closed { state, .. }] = answer.as_slice() else { panic!("{answer:?}") };
        assert_eq!(state, "fenced");
        server.down().await;
    });
}
