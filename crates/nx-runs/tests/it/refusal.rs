//! What the log refuses: for a while, and for good.

use neuraxis_sdk::frames::{Approve, Effect};
use nx_journal::{Commit, Error as LogError};
use nx_runs::{
    engine::{
        record::Entry,
        request::StartRequest,
        view::{Inbox, RunStatus},
    },
    machine::RunEvent,
    sim::{
        harness::{Plan, Sim},
        harness_worker::{Ask, Context, Flow, Script},
    },
};
use nx_types::RunId;
use serde_json::json;

#[derive(Debug)]
struct Fun(fn(&mut Context<'_>) -> Flow);

impl Script for Fun {
    fn run(&self, context: &mut Context<'_>) -> Flow {
        (self.0)(context)
    }
}

fn sim(seed: u64, agent: fn(&mut Context<'_>) -> Flow) -> Sim {
    let scripts = move || vec![("agent".to_owned(), Box::new(Fun(agent)) as Box<dyn Script>)];
    Sim::new(seed, Plan::default(), Box::new(scripts))
}

fn start(sim: &mut Sim, key: &str) -> RunId {
    let before = sim.started.len();
    sim.want(StartRequest { key: Some(key.to_owned()), ..StartRequest::new("agent", json!({ "order": key })) });
    sim.run_until(|sim| Ok(sim.started.len() > before)).unwrap();
    sim.started[before].run
}

fn payer(context: &mut Context<'_>) -> Flow {
    let order = context.input["order"].clone();
    context.step(Ask::code("quote", Effect::Read, json!({ "order": order })))?;
    let refund = Ask::code("refund", Effect::Idempotent, json!({ "order": order, "cents": 5 }));
    context.step(refund.undo("cancel_refund"))?;
    context.step(Ask::code("notify", Effect::Once, json!({ "order": order })))?;
    context.step(Ask::code("ship", Effect::Idempotent, json!({ "order": order })))
}

fn kinds(sim: &Sim, run: RunId) -> Vec<String> {
    sim.events(run).unwrap().iter().map(|entry| entry.event.kind().to_owned()).collect()
}

/// Whether a commit has an event of this type of a run.
fn has(commit: &Commit, run: Option<RunId>, kind: &str) -> bool {
    let own = |subject: &nx_types::Subject| run.is_none_or(|run| *subject == nx_types::Subject::run(run));
    commit.events.iter().any(|event| own(&event.subject) && event.kind.as_str() == kind)
}

fn too_large() -> LogError {
    LogError::TooLarge { what: "state row `run/x`".to_owned(), bytes: 2 << 20, max: 1 << 20 }
}

fn failure(sim: &Sim, run: RunId) -> String {
    let of = |entry: &Entry| match &entry.event {
        RunEvent::Failed(body) => Some(format!("{}: {}", body.error.name, body.error.message)),
        _ => None,
    };
    sim.events(run).unwrap().iter().find_map(of).unwrap()
}

#[test]
fn what_is_refused_for_good_ends_in_the_inbox_and_other_runs_go_on() {
    for kind in ["step.completed", "step.started", "run.started", "run.completed"] {
        let mut sim = sim(1, payer);
        let mut only = None;
        sim.refuses = Some(Box::new(move |commit| {
            let subject = commit.events.first().map(|event| event.subject.clone());
            (has(commit, None, kind) && *only.get_or_insert_with(|| subject.clone()) == subject).then(too_large)
        }));
        let runs = [start(&mut sim, "A1"), start(&mut sim, "A2")];
        sim.run_to_end().unwrap();
        let failed = runs.map(|run| sim.summary(run).unwrap().unwrap().status == RunStatus::Failed);
        let [first, second] = if failed[0] { runs } else { [runs[1], runs[0]] };
        let summary = sim.summary(first).unwrap().unwrap();
        assert_eq!((summary.status, summary.inbox), (RunStatus::Failed, Some(Inbox::Failed)), "{kind}");
        let error = summary.error.unwrap();
        assert!(error.starts_with("JournalRefused: ") && error.contains("NX-JRN-0003"), "{kind}: {error}");
        assert_eq!(sim.result(second).unwrap(), json!({ "did": "ship" }), "{kind}");
        // What was acknowledged is there still, and what can be undone is undone or named.
        let refunded = sim.world.refunds.len();
        assert_eq!(refunded, if kind == "run.completed" { 2 } else { 1 }, "{kind}");
        if kind == "run.completed" {
            assert_eq!(sim.world.cancelled.len(), 1, "the refund of the failed run is taken back");
            assert!(kinds(&sim, first).contains(&"run.compensating".to_owned()));
        }
        assert!(sim.frames < 200, "{kind}: it is not tried for ever");

        // Once the log takes it again, the run can be retried.
        sim.refuses = None;
        sim.request(nx_runs::engine::Request::Retry {
            namespace: nx_types::Namespace::default(),
            run: first,
            by: "ann".to_owned(),
        });
        sim.run_until(|sim| Ok(kinds(sim, first).contains(&"run.retried".to_owned()))).unwrap();
        sim.run_to_end().unwrap();
        assert_eq!(sim.result(first).unwrap(), json!({ "did": "ship" }), "{kind}: {}", sim.story());
        assert_eq!(sim.world.mail.len(), 2, "{kind}: nobody is told twice");
    }
}

#[test]
fn an_effect_whose_outcome_is_refused_for_good_is_in_doubt_and_not_repeated() {
    let mut sim = sim(2, payer);
    let run = start(&mut sim, "A1");
    let mut notified = false;
    sim.refuses = Some(Box::new(move |commit| {
        notified |= has(commit, None, "step.started") && commit.events.iter().any(|event| mentions(&event.data));
        (notified && has(commit, None, "step.completed")).then(too_large)
    }));
    sim.run_to_end().unwrap();
    assert_eq!(sim.world.mail.len(), 1, "{}", sim.story());
    assert!(kinds(&sim, run).contains(&"step.in_doubt".to_owned()), "{:?}", kinds(&sim, run));
    assert!(failure(&sim, run).contains("NX-JRN-0003"));
}

fn mentions(data: &[u8]) -> bool {
    String::from_utf8_lossy(data).contains("\"notify\"")
}

#[test]
fn a_run_of_which_nothing_can_be_recorded_is_left_alone() {
    let mut sim = sim(3, payer);
    let first = start(&mut sim, "A1");
    let second = start(&mut sim, "A2");
    let mut asked = 0;
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = count.clone();
    sim.refuses = Some(Box::new(move |commit| {
        let own = commit.events.iter().any(|event| event.subject == nx_types::Subject::run(first));
        asked += u32::from(own);
        counted.set(asked);
        own.then(|| LogError::Invalid { rule: "no".to_owned() })
    }));
    let until = sim.now() + nx_types::Duration::from_secs(600);
    sim.run_until(|sim| Ok(sim.now() > until)).unwrap();
    assert_eq!(sim.result(second).unwrap(), json!({ "did": "ship" }));
    assert!(count.get() < 10, "{} commits", count.get());
    // The next server takes it up again, and the log has come to reason.
    sim.refuses = None;
    sim.kill_server();
    sim.run_to_end().unwrap();
    assert_eq!(sim.result(first).unwrap(), json!({ "did": "ship" }));
}

#[test]
fn a_worker_is_told_what_the_log_said() {
    let mut sim = sim(4, payer);
    let run = start(&mut sim, "A1");
    sim.refuses = Some(Box::new(move |commit| has(commit, Some(run), "step.completed").then(too_large)));
    sim.run_to_end().unwrap();
    let story = sim.refusals.join("\n");
    assert!(story.contains("NX-RUN-0020") && story.contains("NX-JRN-0003"), "{story}");
    assert!(sim.refusals.iter().all(|told| told.contains("retryable: false")), "{story}");
}

#[test]
fn what_is_refused_for_a_while_is_tried_until_it_is_taken() {
    let errors: [fn() -> LogError; 3] =
        [|| LogError::DiskFull, || LogError::LowDisk { free: 1, reserve: 2 }, || LogError::Busy { queue: 1 }];
    for (seed, error) in errors.into_iter().enumerate() {
        for kind in ["step.completed", "step.started", "run.started", "run.completed"] {
            let mut sim = sim(10 + seed as u64, payer);
            let run = start(&mut sim, "A1");
            let mut times = 0;
            sim.refuses = Some(Box::new(move |commit| {
                times += u32::from(has(commit, None, kind));
                (has(commit, None, kind) && times <= 12).then(error)
            }));
            sim.run_to_end().unwrap();
            assert_eq!(sim.result(run).unwrap(), json!({ "did": "ship" }), "{kind} {}", sim.story());
            assert_eq!((sim.world.mail.len(), sim.world.refunds.len()), (1, 1), "{kind}");
            assert!(!kinds(&sim, run).contains(&"step.in_doubt".to_owned()), "{kind}");
        }
    }
}

fn asker(context: &mut Context<'_>) -> Flow {
    let approve = Approve {
        who: "lead".to_owned(),
        within_ms: None,
        escalate: Vec::new(),
        quorum: None,
        edit: false,
        over: Default::default(),
        // The row of the approval is over the log's bound.
        message: Some("why? ".repeat(400_000)),
    };
    context.step(Ask::code("refund", Effect::Idempotent, json!({ "cents": 5 })).approve(approve))
}

#[test]
fn what_the_log_itself_refuses_ends_in_the_inbox() {
    let mut sim = sim(5, asker);
    sim.tolerates = true;
    let run = start(&mut sim, "A1");
    sim.run_to_end().unwrap();
    assert!(failure(&sim, run).starts_with("JournalRefused: "), "{}", failure(&sim, run));
    assert!(failure(&sim, run).contains("NX-JRN-0003"), "{}", failure(&sim, run));
    assert_eq!(sim.world.refunds.len(), 0);
}
