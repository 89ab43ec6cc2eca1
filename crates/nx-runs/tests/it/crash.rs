//! The refund agent under crashes: the server and its worker die at every write and every frame, and nothing is lost,
//! repeated or forgotten.

use std::collections::BTreeSet;

use neuraxis_sdk::frames::{Approve, Effect};
use nx_runs::{
    engine::request::StartRequest,
    machine::RunEvent,
    sim::{
        harness::{Failure, Plan, Scripts, Sim},
        harness_worker::{Ask, Context, Flow, Script},
    },
};
use serde_json::{Value, json};

/// Looks an order up, refunds it (over the limit a person is asked), tells the customer, ships the parcel anew.
#[derive(Debug)]
struct Refund;

impl Script for Refund {
    fn run(&self, context: &mut Context<'_>) -> Flow {
        let order = context.input["order"].clone();
        let found = context.tool("shop/find_order", json!({ "order": order }))?;
        let approve = Approve {
            who: "lead".to_owned(),
            within_ms: Some(4 * 3600 * 1000),
            escalate: Vec::new(),
            quorum: None,
            edit: false,
            over: [("cents".to_owned(), 5000.0)].into(),
            message: None,
        };
        let args = json!({ "order": order, "cents": found["cents"] });
        let refund = Ask::code("refund", Effect::Idempotent, args);
        let paid = context.step(refund.undo("cancel_refund").approve(approve).attempts(20))?;
        context.step(Ask::code("notify", Effect::Once, json!({ "order": order })).probe())?;
        context.step(Ask::code("ship", Effect::Idempotent, json!({ "order": order })))?;
        Ok(json!({ "paid": paid["cents"], "order": order }))
    }
}

fn scripts() -> Scripts {
    Box::new(|| vec![("refund".to_owned(), Box::new(Refund) as Box<dyn Script>)])
}

/// What must be equal however often who died.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) result: Value,
    pub(crate) refunds: usize,
    pub(crate) cancelled: usize,
    pub(crate) mails: usize,
    pub(crate) approvals: Vec<String>,
}

pub(crate) struct Ran {
    pub(crate) end: End,
    pub(crate) bytes: Vec<u8>,
    pub(crate) writes: u64,
    pub(crate) frames: u64,
    pub(crate) deaths: (u64, u64),
    pub(crate) doubts: usize,
    /// How many worker processes have had the run.
    pub(crate) takers: usize,
    /// Frames of lost connections that arrived after all.
    pub(crate) late: (u64, u64),
}

pub(crate) fn simulate(seed: u64, plan: &Plan, prepare: impl Fn(&mut Sim)) -> Result<Ran, Failure> {
    let mut sim = Sim::new(seed, plan.clone(), scripts());
    sim.world.faults = (20, 20);
    prepare(&mut sim);
    let mut request = StartRequest::new("refund", json!({ "order": "A17" }));
    request.key = Some("A17".to_owned());
    sim.want(request);
    let ended = sim.run_to_end();
    let told = |what: &str, sim: &Sim| format!("seed {seed} {plan:?}: {what}\n{}", sim.story());
    ended.map_err(|failure| told(&failure, &sim))?;
    let run = sim.started[0].run;
    let events = sim.events(run)?;
    let mut approvals = Vec::new();
    let mut decided = BTreeSet::new();
    for entry in &events {
        match &entry.event {
            RunEvent::ApprovalRequested(body) if body.why.as_str() == "call" => approvals.push(body.step.clone()),
            RunEvent::ApprovalDecided(body) => {
                decided.insert(body.id);
            }
            _ => {}
        }
    }
    for id in sim.decided.keys() {
        if !decided.contains(id) {
            return Err(told(&format!("the acknowledged decision on {id} is lost"), &sim));
        }
    }
    let end = End {
        result: sim.result(run)?,
        refunds: sim.world.refunds.len(),
        cancelled: sim.world.cancelled.len(),
        mails: sim.world.mail.len(),
        approvals,
    };
    if sim.result(run)?["failed"].is_string() && sim.world.carrier {
        return Err(told("it failed", &sim));
    }
    if sim.world.requests < sim.world.refunds.len() as u64 {
        return Err(told("requests are miscounted", &sim));
    }
    let doubts = events.iter().filter(|entry| matches!(entry.event, RunEvent::StepInDoubt(_))).count();
    let taker = |event: &RunEvent| match event {
        RunEvent::Started(started) => Some(started.worker.clone()),
        _ => None,
    };
    let takers = events.iter().filter_map(|entry| taker(&entry.event)).collect::<BTreeSet<_>>().len();
    let (bytes, writes, frames, deaths) = (sim.journal_bytes()?, sim.writes(), sim.frames, sim.deaths);
    Ok(Ran { end, bytes, writes, frames, deaths, doubts, takers, late: sim.late })
}

pub(crate) fn good() -> End {
    End {
        result: json!({ "paid": 8400, "order": "A17" }),
        refunds: 1,
        cancelled: 0,
        mails: 1,
        approvals: vec!["refund".to_owned()],
    }
}

/// The run fails after the refund and the mail: the refund is taken back.
pub(crate) fn undone() -> End {
    End {
        result: json!({ "failed": "CarrierError" }),
        refunds: 1,
        cancelled: 1,
        mails: 1,
        approvals: vec!["refund".to_owned()],
    }
}

pub(crate) fn at(places: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    places.into_iter().collect()
}

#[test]
fn without_crashes_the_refund_is_made_once() {
    let ran = simulate(1, &Plan::default(), |_| {}).unwrap();
    assert_eq!(ran.end, good());
    assert_eq!(ran.deaths, (0, 0));
    let again = simulate(1, &Plan::default(), |_| {}).unwrap();
    assert_eq!(ran.bytes, again.bytes, "the same seed writes the same bytes");
}

#[test]
fn the_server_dies_at_every_write() {
    let writes = simulate(2, &Plan::default(), |_| {}).unwrap().writes;
    for write in 1..writes {
        let ran = simulate(2, &Plan { server_at_write: at([write]), ..Plan::default() }, |_| {}).unwrap();
        assert_eq!(ran.end, good(), "write {write}");
    }
}

#[test]
fn the_server_dies_at_every_frame() {
    let frames = simulate(3, &Plan::default(), |_| {}).unwrap().frames;
    for frame in 1..=frames {
        let ran = simulate(3, &Plan { server_at_frame: at([frame]), ..Plan::default() }, |_| {}).unwrap();
        assert_eq!((ran.end, ran.deaths.0), (good(), 1), "frame {frame}");
    }
}

#[test]
fn the_worker_dies_at_every_frame_and_after_every_effect() {
    let frames = simulate(4, &Plan::default(), |_| {}).unwrap().frames;
    for frame in 1..=frames {
        let ran = simulate(4, &Plan { worker_at_frame: at([frame]), ..Plan::default() }, |_| {}).unwrap();
        assert_eq!((ran.end, ran.deaths.1), (good(), 1), "frame {frame}");
        simulate(4, &Plan { cut_at_frame: at([frame]), ..Plan::default() }, |_| {})
            .map(|ran| assert_eq!(ran.end, good(), "cut at frame {frame}"))
            .unwrap();
    }
    for effect in 1..8 {
        let ran = simulate(4, &Plan { worker_after_effect: at([effect]), ..Plan::default() }, |_| {}).unwrap();
        assert_eq!(ran.end, good(), "effect {effect}");
    }
}

#[test]
fn everyone_dies_often() {
    let mut deaths = (0, 0);
    for seed in 100..300 {
        let spread = |n: u64, of: u64| (1..4).map(move |k| (seed * 7919 + n * 104_729 + k * 1_299_709) % of + k * 5);
        let plan = Plan {
            server_at_write: at(spread(1, 90)),
            server_at_frame: at(spread(2, 60)),
            worker_at_frame: at(spread(3, 60)),
            worker_after_effect: at(spread(4, 12).take(1)),
            cut_at_frame: at(spread(5, 60)),
            disk_full: if seed % 5 == 0 { Some((20, 40)) } else { None },
            clock_jumps: if seed % 7 == 0 { [(15, -3600), (30, 1800)].into() } else { [].into() },
            ..Plan::default()
        };
        // Sometimes the outbox cannot be searched, and a person has to look.
        let ran = simulate(seed, &plan, |sim| sim.world.searchable = seed % 3 != 0).unwrap();
        assert_eq!(ran.end, good(), "seed {seed} {plan:?}");
        deaths = (deaths.0 + ran.deaths.0, deaths.1 + ran.deaths.1);
        if seed % 20 == 0 {
            let again = simulate(seed, &plan, |sim| sim.world.searchable = seed % 3 != 0).unwrap();
            assert_eq!(ran.bytes, again.bytes, "seed {seed}: the same seed writes the same bytes");
        }
    }
    assert!(deaths.0 > 400 && deaths.1 > 200, "{deaths:?}");
}

#[test]
fn a_failed_run_is_undone_once_however_often_who_dies() {
    for seed in 300..360 {
        let spread = |n: u64, of: u64| (1..4).map(move |k| (seed * 7919 + n * 104_729 + k * 1_299_709) % of + k * 7);
        let plan = Plan {
            server_at_write: at(spread(1, 120)),
            server_at_frame: at(spread(2, 80)),
            worker_at_frame: at(spread(3, 80)),
            ..Plan::default()
        };
        let ran = simulate(seed, &plan, |sim| sim.world.carrier = false).unwrap();
        assert_eq!(ran.end, undone(), "seed {seed} {plan:?}");
    }
}

#[test]
fn a_full_disk_loses_no_report() {
    let frames = simulate(5, &Plan::default(), |_| {}).unwrap().frames;
    for frame in 1..=frames {
        let plan = Plan { disk_full: Some((frame, frame + 3)), ..Plan::default() };
        let ran = simulate(5, &plan, |_| {}).unwrap();
        assert_eq!((ran.end, ran.doubts), (good(), 0), "frame {frame}");
    }
}
