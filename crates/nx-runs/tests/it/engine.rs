//! The engine in simulation: parking, long runs, carry, routing, declarations, forks.

use neuraxis_sdk::frames::{Approve, Body, Effect};
use nx_runs::{
    engine::{
        Request,
        request::{ForkRequest, StartRequest},
        view::RunStatus,
    },
    kinds::Declared,
    machine::RunEvent,
    sim::{
        harness::{Plan, Sim},
        harness_worker::{Ask, Context, Flow, Halt, Script},
    },
};
use nx_types::{Namespace, Resource, RunId};
use serde_json::{Value, json};

#[derive(Debug)]
struct Fun(fn(&mut Context<'_>) -> Flow);

impl Script for Fun {
    fn run(&self, context: &mut Context<'_>) -> Flow {
        (self.0)(context)
    }
}

fn sim(seed: u64, agent: fn(&mut Context<'_>) -> Flow) -> Sim {
    Sim::new(
        seed,
        Plan::default(),
        Box::new(move || vec![("agent".to_owned(), Box::new(Fun(agent)) as Box<dyn Script>)]),
    )
}

fn start(sim: &mut Sim, input: Value) -> RunId {
    let before = sim.started.len();
    sim.want(StartRequest { key: Some(before.to_string()), ..StartRequest::new("agent", input) });
    sim.run_until(|sim| Ok(sim.started.len() > before)).unwrap();
    sim.started[before].run
}

fn kinds(sim: &Sim, run: RunId) -> Vec<String> {
    sim.events(run).unwrap().iter().map(|entry| entry.event.kind().to_owned()).collect()
}

fn sleeper(context: &mut Context<'_>) -> Flow {
    context.step(Ask::code("before", Effect::Read, json!({})))?;
    context.step(Ask::new("nap", Body::Sleep { ms: 3_600_000 }))?;
    context.step(Ask::code("after", Effect::Read, json!({})))
}

#[test]
fn a_run_that_only_waits_is_parked_and_comes_back() {
    let mut sim = sim(1, sleeper);
    let run = start(&mut sim, json!({}));
    sim.run_to_end().unwrap();
    assert_eq!(
        kinds(&sim, run).join(" "),
        "run.created run.started step.completed step.waiting run.interrupted step.completed run.started \
         step.completed run.completed"
    );
    assert_eq!(sim.world.calls["before"], 1);
}

#[test]
fn a_parked_run_survives_the_server() {
    let mut sim = sim(2, sleeper);
    let run = start(&mut sim, json!({}));
    sim.run_until(|sim| {
        let parked =
            |entry: &nx_runs::engine::record::Entry| matches!(&entry.event, RunEvent::Interrupted(body) if body.parked);
        Ok(sim.events(run)?.iter().any(parked))
    })
    .unwrap();
    assert_eq!(sim.summary(run).unwrap().unwrap().status, RunStatus::Waiting);
    sim.kill_server();
    sim.run_to_end().unwrap();
    assert_eq!(sim.world.calls["before"], 1);
    assert_eq!(sim.world.calls["after"], 1);
}

fn long(context: &mut Context<'_>) -> Flow {
    let steps = context.input["steps"].as_u64().unwrap();
    for n in 0..steps {
        context.step(Ask::new("tick", if n % 2 == 0 { Body::Random } else { Body::Uuid }))?;
    }
    Ok(json!(steps))
}

#[test]
fn a_long_run_is_loaded_in_slices_and_replayed() {
    let mut sim = sim(3, long);
    sim.limits.load_at_once = 50;
    let run = start(&mut sim, json!({ "steps": 500 }));
    sim.run_until(|sim| Ok(sim.frames > 900)).unwrap();
    assert!(sim.events(run).unwrap().len() > 400);
    sim.kill_server();
    sim.run_to_end().unwrap();
    assert_eq!(sim.result(run).unwrap(), json!(500));
    let steps = kinds(&sim, run).iter().filter(|kind| *kind == "step.completed").count();
    assert_eq!(steps, 500, "replayed steps are not recorded again");
}

fn long_payer(context: &mut Context<'_>) -> Flow {
    let ticks =
        |context: &mut Context<'_>| (0..100).try_for_each(|_| context.step(Ask::new("tick", Body::Uuid)).map(drop));
    ticks(context)?;
    let approve = Approve {
        who: "lead".to_owned(),
        within_ms: None,
        escalate: Vec::new(),
        quorum: None,
        edit: false,
        over: Default::default(),
        message: None,
    };
    context.step(Ask::code("refund", Effect::Idempotent, json!({ "cents": 5 })).approve(approve).attempts(20))?;
    context.step(Ask::code("notify", Effect::Once, json!({ "order": "A1" })).probe())?;
    context.step(Ask::new("nap", Body::Sleep { ms: 3_600_000 }))?;
    ticks(context)?;
    Ok(json!("paid"))
}

#[test]
fn a_run_that_is_loaded_in_slices_survives_a_second_crash_meanwhile() {
    let mut midst = 0;
    for frame in [60, 180, 200, 202, 204, 206, 208, 210, 212, 214, 218, 230, 330] {
        for steps in [1, 2, 4, 6, 9, 13] {
            let mut sim = sim(30 + steps, long_payer);
            sim.limits.load_at_once = 10;
            sim.world.faults = (20, 20);
            sim.world.searchable = steps % 3 != 0;
            let run = start(&mut sim, json!({}));
            sim.run_until(|sim| Ok(sim.frames >= frame)).unwrap();
            let before = sim.events(run).unwrap().len();
            sim.kill_server();
            sim.go_on(steps).unwrap();
            midst += usize::from(sim.loading() > 0);
            sim.kill_server();
            // A third one, while it is loaded once more.
            sim.go_on(steps / 2).unwrap();
            sim.kill_server();
            sim.run_to_end().unwrap();
            let at = format!("frame {frame}, {steps} steps: {}", sim.story());
            assert_eq!(sim.result(run).unwrap(), json!("paid"), "{at}");
            assert_eq!((sim.world.refunds.len(), sim.world.mail.len()), (1, 1), "{at}");
            let events = sim.events(run).unwrap();
            assert!(events.len() > before, "{at}");
            let completed = kinds(&sim, run).iter().filter(|kind| *kind == "step.completed").count();
            let resolved = kinds(&sim, run).iter().filter(|kind| *kind == "step.resolved").count();
            assert!((202..=203).contains(&completed) && completed + resolved >= 203, "{completed} {resolved} {at}");
            let decided: Vec<_> =
                events.iter().filter(|entry| matches!(entry.event, RunEvent::ApprovalDecided(_))).collect();
            assert!(sim.decided.len() <= decided.len(), "an acknowledged decision is lost: {at}");
        }
    }
    assert!(midst > 30, "{midst} of the second crashes fell into the loading");
}

fn carrier(context: &mut Context<'_>) -> Flow {
    let done = context.state.map_or(0, |state| state["done"].as_u64().unwrap());
    for n in 0..10 {
        context.step(Ask::code("work", Effect::Idempotent, json!({ "n": done + n })))?;
    }
    if done + 10 < 50 { Err(Halt::Carry(json!({ "done": done + 10 }))) } else { Ok(json!(done + 10)) }
}

#[test]
fn a_carry_makes_loading_short() {
    for frame in [20, 60, 100, 140, 180, 220] {
        let plan = Plan { server_at_frame: [frame].into(), worker_at_frame: [frame + 7].into(), ..Plan::default() };
        let agent = || vec![("agent".to_owned(), Box::new(Fun(carrier)) as Box<dyn Script>)];
        let mut sim = Sim::new(4, plan, Box::new(agent));
        let run = start(&mut sim, json!({}));
        sim.run_to_end().unwrap();
        assert_eq!(sim.result(run).unwrap(), json!(50), "{}", sim.story());
        assert_eq!(kinds(&sim, run).iter().filter(|kind| *kind == "run.carried").count(), 4);
        let completed = kinds(&sim, run).iter().filter(|kind| *kind == "step.completed").count();
        assert_eq!(completed, 50, "frame {frame}");
    }
}

fn resource(kind: &str, name: &str, spec: &Value) -> Resource {
    let descriptor = nx_runs::kinds::descriptors().into_iter().find(|found| found.kind == kind).unwrap();
    Resource {
        api_version: nx_types::resource::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        metadata: nx_types::Metadata { name: name.to_owned(), ..nx_types::Metadata::default() },
        spec: (descriptor.check)(spec).unwrap(),
        status: Value::Null,
    }
}

fn buyer(context: &mut Context<'_>) -> Flow {
    context.tool("shop/find_order", json!({ "order": context.input["order"] }))
}

#[test]
fn a_declared_toolset_rules_over_what_its_worker_says() {
    let mut sim = sim(5, buyer);
    sim.run_until(|sim| Ok(sim.quiet())).unwrap();
    let shop = resource("Toolset", "shop", &json!({ "tools": { "find_order": { "effect": "once" } } }));
    sim.declare(Declared::of([&shop]));
    let run = start(&mut sim, json!({ "order": "A1" }));
    sim.run_to_end().unwrap();
    let events = sim.events(run).unwrap();
    let identity = events.iter().find_map(|entry| entry.event.identity()).unwrap();
    assert_eq!(identity.effect, Effect::Once);
}

#[test]
fn an_agents_limits_hold() {
    let mut sim = sim(6, long);
    sim.run_until(|sim| Ok(sim.quiet())).unwrap();
    let agent = resource("Agent", "agent", &json!({ "limits": { "steps": 5, "deadline": "1h" } }));
    sim.declare(Declared::of([&agent]));
    let run = start(&mut sim, json!({ "steps": 50 }));
    sim.run_to_end().unwrap();
    assert_eq!(sim.summary(run).unwrap().unwrap().status, RunStatus::Failed);
    assert!(kinds(&sim, run).iter().filter(|kind| *kind == "step.completed").count() <= 5);
    let RunEvent::Created(created) = &sim.events(run).unwrap()[0].event else { panic!("created") };
    assert!(created.deadline.is_some());
}

fn payer(context: &mut Context<'_>) -> Flow {
    let rate = context.step(Ask::code("rate", Effect::Read, json!({})))?;
    let paid = context.step(Ask::code("refund", Effect::Idempotent, json!({ "cents": context.input["cents"] })))?;
    context.step(Ask::code("notify", Effect::Once, json!({ "order": "A1" })))?;
    Ok(json!({ "rate": rate, "paid": paid }))
}

#[test]
fn a_fork_simulates_later_effects() {
    let mut sim = sim(7, payer);
    let run = start(&mut sim, json!({ "cents": 100 }));
    sim.run_to_end().unwrap();
    let fork = |at, live| Request::Fork {
        namespace: Namespace::default(),
        fork: ForkRequest { run, at_step: at, input: None, result: None, live, by: "ann".to_owned() },
    };
    sim.request(fork(Some(2), false));
    sim.run_until(|sim| {
        let found = sim.runs()?;
        Ok(found.len() == 2 && found.iter().all(|run| run.status.is_over()) && sim.quiet())
    })
    .unwrap();
    let forked = sim.runs().unwrap().into_iter().find(|found| found.id != run).unwrap();
    assert_eq!(forked.status, RunStatus::Completed, "{}", sim.story());
    assert_eq!(sim.result(forked.id).unwrap(), sim.result(run).unwrap());
    assert_eq!((sim.world.refunds.len(), sim.world.mail.len(), sim.world.calls["rate"]), (1, 1, 1));
}

#[test]
fn a_fork_is_there_as_a_whole_or_not_at_all() {
    // Its record takes several commits; the server dies at each write, or its disk is full at each commit.
    let forked = |write: Option<u64>, refused: Option<u32>| {
        let plan = Plan { server_at_write: write.into_iter().collect(), ..Plan::default() };
        let agent = || vec![("agent".to_owned(), Box::new(Fun(long_payer)) as Box<dyn Script>)];
        let mut sim = Sim::new(8, plan, Box::new(agent));
        let run = start(&mut sim, json!({}));
        sim.run_to_end().unwrap();
        let (before, mut commits) = (sim.writes(), 0);
        sim.refuses = Some(Box::new(move |_| {
            commits += 1;
            (Some(commits) == refused).then_some(nx_journal::Error::DiskFull)
        }));
        let fork = ForkRequest { run, at_step: None, input: None, result: None, live: true, by: "ann".to_owned() };
        sim.request(Request::Fork { namespace: Namespace::default(), fork });
        let over = |sim: &mut Sim| Ok(sim.runs()?.iter().all(|run| run.status.is_over()) && sim.quiet());
        sim.run_until(over).unwrap();
        let runs = sim.runs().unwrap();
        for fork in &runs {
            assert_eq!(sim.result(fork.id).unwrap(), json!("paid"), "{write:?} {refused:?} {}", sim.story());
        }
        assert_eq!((sim.world.refunds.len(), sim.world.mail.len()), (1, 1), "{write:?} {refused:?}");
        (before, sim.writes(), runs.len())
    };
    let (before, after, runs) = forked(None, None);
    assert_eq!(runs, 2);
    let some: Vec<usize> = (before..after).step_by(7).map(|write| forked(Some(write), None).2).collect();
    assert!(some.contains(&1) && some.contains(&2), "{some:?}");
    assert_eq!((1..=3).map(|commit| forked(None, Some(commit)).2).collect::<Vec<_>>(), [1, 1, 1]);
}

fn parent(context: &mut Context<'_>) -> Flow {
    if context.input["leaf"] == json!(true) {
        return context.step(Ask::code("refund", Effect::Idempotent, json!({ "n": context.input["n"] })));
    }
    let child = |n: u64| Body::Child { agent: "agent".to_owned(), input: json!({ "leaf": true, "n": n }) };
    let all = context.gather(&[
        &move |context| context.step(Ask::new("one", child(1))),
        &move |context| context.step(Ask::new("two", child(2))),
        &move |context| context.step(Ask::new("three", child(3))),
    ])?;
    Ok(json!(all.len()))
}

#[test]
fn children_are_started_once_however_often_who_dies() {
    for seed in 0..40 {
        let spread =
            |n: u64, of: u64| (1..4).map(move |k| (seed * 7919 + n * 104_729 + k * 1_299_709) % of + k * 7).collect();
        let plan = Plan {
            server_at_write: spread(1, 120),
            server_at_frame: spread(2, 60),
            worker_at_frame: spread(3, 60),
            ..Plan::default()
        };
        let agent = || vec![("agent".to_owned(), Box::new(Fun(parent)) as Box<dyn Script>)];
        let mut sim = Sim::new(seed, plan, Box::new(agent));
        let run = start(&mut sim, json!({}));
        sim.run_to_end().unwrap();
        assert_eq!(sim.result(run).unwrap(), json!(3), "seed {seed}\n{}", sim.story());
        assert_eq!(sim.world.refunds.len(), 3);
        assert_eq!(sim.runs().unwrap().len(), 4);
    }
}

fn patient(context: &mut Context<'_>) -> Flow {
    if context.input["leaf"] == json!(true) {
        return context.step(Ask::new("nap", Body::Sleep { ms: 3_600_000 }));
    }
    context.step(Ask::new("one", Body::Child { agent: "agent".to_owned(), input: json!({ "leaf": true }) }))
}

#[test]
fn a_parked_parent_hears_of_its_child_whenever_the_server_dies() {
    let agent = || vec![("agent".to_owned(), Box::new(Fun(patient)) as Box<dyn Script>)];
    let ran = |plan: Plan| {
        let mut sim = Sim::new(9, plan, Box::new(agent));
        let run = start(&mut sim, json!({}));
        sim.run_to_end().unwrap();
        assert_eq!(sim.summary(run).unwrap().unwrap().status, RunStatus::Completed, "{}", sim.story());
        assert_eq!(sim.runs().unwrap().len(), 2);
        sim.writes()
    };
    let writes = ran(Plan::default());
    for write in 1..writes {
        ran(Plan { server_at_write: [write].into(), ..Plan::default() });
    }
}

#[test]
fn logged_lines_that_are_not_written_are_counted() {
    let mut sim = sim(20, sleeper);
    let run = start(&mut sim, json!({}));
    sim.run_until(|sim| Ok(kinds(sim, run).contains(&"step.waiting".to_owned()))).unwrap();
    for line in 0..300 {
        sim.log(run, &format!("line {line}"));
    }
    sim.run_to_end().unwrap();
    let events = sim.events(run).unwrap();
    let mut logged = events.iter().filter_map(|entry| match &entry.event {
        RunEvent::Emitted(body) if body.kind == "run.logged" => Some(&body.data),
        _ => None,
    });
    let batch = logged.next().unwrap();
    assert_eq!((batch["lines"].as_array().unwrap().len(), &batch["dropped"]), (256, &json!(44)));
    assert!(logged.next().is_none());
}

#[test]
fn only_so_many_runs_of_an_agent_are_with_workers_at_once() {
    for crash in [None, Some(9), Some(14), Some(25), Some(40), Some(60)] {
        let plan = Plan { server_at_frame: crash.into_iter().collect(), ..Plan::default() };
        let agent = || vec![("agent".to_owned(), Box::new(Fun(payer)) as Box<dyn Script>)];
        let mut sim = Sim::new(21, plan, Box::new(agent));
        sim.spawn_worker();
        sim.declare(Declared::of([&resource("Agent", "agent", &json!({ "limits": { "concurrency": 3 } }))]));
        let runs: Vec<RunId> = (0..12).map(|n| start(&mut sim, json!({ "cents": n }))).collect();
        let mut most = 0;
        sim.run_until(|sim| {
            let all = sim.runs()?;
            let running = all.iter().filter(|run| run.status == RunStatus::Running).count();
            most = most.max(running);
            assert!(running <= 3, "{running} run at once");
            Ok(all.iter().all(|run| run.status.is_over()) && sim.quiet())
        })
        .unwrap();
        assert_eq!(most, 3);
        // They start in the order in which they were asked for; one that was interrupted does not lose its place.
        let first_start = |run: &RunId| {
            let events = sim.events(*run).unwrap();
            events.iter().find(|entry| matches!(entry.event, RunEvent::Started(_))).unwrap().header.seq
        };
        let starts: Vec<_> = runs.iter().map(first_start).collect();
        assert!(starts.is_sorted(), "{starts:?}, the server dies at frame {crash:?}");
        assert!(runs.iter().all(|run| sim.summary(*run).unwrap().unwrap().status == RunStatus::Completed));
        assert_eq!(sim.world.refunds.len(), 12);
    }
}
