//! Code changed in flight: the worker dies somewhere in a run, and the next one executes other code. No run is lost, no
//! once effect takes place twice unless somebody decided so, and the record says what was different.

use std::collections::BTreeMap;

use neuraxis_sdk::frames::Effect;
use nx_runs::{
    engine::request::StartRequest,
    machine::{self, Kind as Recorded, Ruling, RunEvent, digest},
    sim::{
        agents::{Kind, Known, Program, agents, family},
        harness::{Plan, Scripts, Sim},
        harness_worker::Script,
        mutations,
    },
};
use serde_json::json;

fn scripts(name: &'static str, program: &Program) -> Scripts {
    let program = program.clone();
    Box::new(move || vec![(name.to_owned(), Box::new(program.clone()) as Box<dyn Script>)])
}

struct Ran {
    events: Vec<RunEvent>,
    calls: BTreeMap<String, u64>,
    frames: u64,
}

/// The worker dies at the first frame, then executes the new code; at the second it dies again, and the old code returns.
fn simulate(
    name: &'static str,
    old: &Program,
    new: &Program,
    seed: u64,
    (die, revert): (Option<u64>, Option<u64>),
) -> Result<Ran, String> {
    let plan = Plan { worker_at_frame: die.into_iter().chain(revert).collect(), ..Plan::default() };
    let mut sim = Sim::new(seed, plan, scripts(name, old));
    sim.deploy(scripts(name, new));
    sim.world.carrier = false;
    sim.want(StartRequest::new(name, json!({"order": "A17"})));
    if revert.is_some() {
        let died = sim.run_until(|sim| {
            Ok(sim.deaths.1 > 0
                || sim.started.iter().all(|started| sim.result(started.run).is_ok()) && !sim.started.is_empty())
        });
        died.map_err(|failure| format!("{failure}\n{}", sim.story()))?;
        sim.deploy(scripts(name, old));
    }
    sim.run_to_end().map_err(|failure| format!("{failure}\n{}", sim.story()))?;
    let events = sim.events(sim.started[0].run)?.into_iter().map(|entry| entry.event).collect();
    Ok(Ran { events, calls: sim.world.calls.clone(), frames: sim.frames })
}

/// Decisions by which an effect may take place again.
fn decisions(events: &[RunEvent]) -> u64 {
    let allows = |event: &&RunEvent| match event {
        RunEvent::ApprovalDecided(body) => matches!(body.decision, Ruling::Run | Ruling::NotDone),
        _ => false,
    };
    events.iter().filter(allows).count() as u64
}

/// Once effects that took place more often than the code says and people decided.
fn check_once(old: &Program, new: &Program, ran: &Ran) -> Result<(), String> {
    let mut executed: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in &ran.calls {
        *executed.entry(family(name)).or_default() += count;
    }
    for (name, count) in executed {
        let once = |program: &Program| {
            program.steps().iter().any(|(_, call)| family(&call.name) == name && call.kind == Kind::Code(Effect::Once))
        };
        if !once(old) && (old.count(name) > 0 || !once(new)) {
            continue;
        }
        let allowed = old.count(name).max(new.count(name)) + decisions(&ran.events);
        if count > allowed {
            return Err(format!("`{name}` took place {count} times, {allowed} are allowed"));
        }
    }
    Ok(())
}

/// What the record knows of the steps of one incarnation's code.
type Seen = (String, String, Option<String>, String, String, String);

fn known(steps: &[Known]) -> Vec<Seen> {
    let seen = |(scope, call): &Known| {
        let (kind, effect) = match call.kind {
            Kind::Code(effect) => ("Code", effect),
            Kind::Tool => ("Tool", Effect::Read),
            Kind::Sleep => ("Sleep", Effect::Code),
            Kind::Now => ("Now", Effect::Code),
        };
        let args =
            if matches!(call.kind, Kind::Sleep | Kind::Now) { serde_json::Value::Null } else { call.args.clone() };
        let hash = digest::of(&args).unwrap().to_string();
        (scope.clone(), call.name.clone(), call.key.clone(), kind.to_owned(), format!("{effect:?}"), hash)
    };
    steps.iter().map(seen).collect()
}

/// If what was recorded before the change is not the beginning of what the new code asks for, the record says so.
fn check_explained(new: &Program, events: &[RunEvent]) -> Result<bool, String> {
    let other = |event: &RunEvent| matches!(event, RunEvent::Started(started) if started.worker != "w1");
    let Some(change) = events.iter().position(other) else { return Ok(false) };
    let (before, after) = events.split_at(change);
    let recorded: Vec<Seen> = before
        .iter()
        .filter_map(RunEvent::identity)
        .filter(|step| step.kind != Recorded::Undo)
        .map(|step| {
            let (kind, effect) = (format!("{:?}", step.kind), format!("{:?}", step.effect));
            (step.scope.clone(), step.name.clone(), step.key.clone(), kind, effect, step.hash.to_string())
        })
        .collect();
    let asked = known(&new.steps());
    let of = |all: &[Seen], scope: &str| all.iter().filter(|seen| seen.0 == scope).cloned().collect::<Vec<_>>();
    let follows = recorded.iter().all(|seen| of(&asked, &seen.0).starts_with(&of(&recorded, &seen.0)));
    let explained = after.iter().any(|event| match event {
        RunEvent::Diverged(_) => true,
        RunEvent::Completed(body) => !body.orphans.is_empty(),
        RunEvent::Failed(body) => !body.orphans.is_empty(),
        event => event.identity().is_some_and(|step| step.note.is_some()),
    });
    if follows || explained { Ok(!follows) } else { Err("the record does not say what changed".to_owned()) }
}

/// How many runs were simulated, and in how many the new code asked for something else than was recorded.
fn check(name: &'static str, program: &Program) -> (u64, u64) {
    let frames = simulate(name, program, program, 1, (None, None)).unwrap().frames;
    let mutations = mutations::all(program);
    assert!(mutations.len() >= 50, "{} changes of {name}", mutations.len());
    let (mut runs, mut diverged) = (0, 0);
    for (place, mutation) in mutations.iter().enumerate() {
        for part in 1..=5 {
            let die = (frames * part / 6 + place as u64 % 5).max(3);
            let revert = (part % 2 == 0).then(|| die + 4 + place as u64 % 13);
            let seed = place as u64 * 31 + part;
            let at = format!("{name}, {}, worker dies at frames {die} and {revert:?}, seed {seed}", mutation.what);
            let ran = simulate(name, program, &mutation.program, seed, (Some(die), revert));
            let ran = ran.unwrap_or_else(|failure| panic!("{at}: {failure}"));
            let told = |failure: String| -> bool {
                let events: Vec<_> = ran.events.iter().map(|event| format!("{event:?}")).collect();
                panic!("{at}: {failure}\n{}", events.join("\n"))
            };
            assert!(ran.events.iter().any(|event| machine::end_of(event).is_some()), "{at}: the run was lost");
            check_once(program, &mutation.program, &ran).unwrap_or_else(|failure| {
                told(failure);
            });
            runs += 1;
            if revert.is_none() {
                diverged += u64::from(check_explained(&mutation.program, &ran.events).unwrap_or_else(told));
            }
        }
    }
    (runs, diverged)
}

#[test]
fn a_refund_survives_changes_of_its_code() {
    let (runs, diverged) = check("refund", &agents()[0].1);
    assert!(runs > 300 && diverged > 100, "{runs} runs, {diverged} diverged");
}

#[test]
fn an_order_survives_changes_of_its_code() {
    let (runs, diverged) = check("order", &agents()[1].1);
    assert!(runs > 300 && diverged > 100, "{runs} runs, {diverged} diverged");
}

#[test]
fn a_mailing_survives_changes_of_its_code() {
    let (runs, diverged) = check("mailing", &agents()[2].1);
    assert!(runs > 300 && diverged > 100, "{runs} runs, {diverged} diverged");
}
