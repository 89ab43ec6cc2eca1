//! Anything in any order: whatever a worker, people, time and crashes do, the record can be read back, each call is
//! answered at most once, a once step is never executed again unless the record says why, and keys tell steps apart.

use std::collections::{BTreeMap, BTreeSet};

use neuraxis_sdk::frames::{Approve, Body, Effect, Found, Grant, Outcome, Step, StepError, Undo};
use nx_runs::machine::{
    Action, Answer, Command, How, Purpose, Recorded, Ruling, RunEvent, Slot, Status, StepResolved, Target, Work,
};
use proptest::prelude::*;
use serde_json::json;

use super::{Bench, code, error, tool, value};

/// What happens next; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Happening {
    Step { name: u8, args: u8, kind: u8, extra: u8 },
    Done { which: u8, how: u8 },
    Ready { which: u8 },
    ToolDone { which: u8, how: u8 },
    Lost { keep: bool },
    GrantsLost { which: u8 },
    Late { which: u8, how: u8 },
    Crash,
    Pass { ms: u32 },
    Decide { which: u8, how: u8 },
    Signal { id: u8 },
    ChildEnded { which: u8 },
    Park,
    Carry,
    End { how: u8 },
    Cancel,
    Retry,
    Abandon { bare: bool },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => (0u8..3, 0u8..3, 0u8..12, any::<u8>())
            .prop_map(|(name, args, kind, extra)| Happening::Step { name, args, kind, extra }),
        10 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Happening::Done { which, how }),
        4 => any::<u8>().prop_map(|which| Happening::Ready { which }),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Happening::ToolDone { which, how }),
        3 => any::<bool>().prop_map(|keep| Happening::Lost { keep }),
        2 => any::<u8>().prop_map(|which| Happening::GrantsLost { which }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Happening::Late { which, how }),
        1 => Just(Happening::Crash),
        4 => (0u32..70_000).prop_map(|ms| Happening::Pass { ms }),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Happening::Decide { which, how }),
        1 => any::<u8>().prop_map(|id| Happening::Signal { id }),
        1 => any::<u8>().prop_map(|which| Happening::ChildEnded { which }),
        1 => Just(Happening::Park),
        1 => Just(Happening::Carry),
        1 => any::<u8>().prop_map(|how| Happening::End { how }),
        1 => Just(Happening::Cancel),
        2 => Just(Happening::Retry),
        1 => any::<bool>().prop_map(|bare| Happening::Abandon { bare }),
    ]
}

/// What a worker and the engine would hold.
#[derive(Default)]
struct Outside {
    open: BTreeSet<u64>,
    executing: BTreeSet<u64>,
    probing: BTreeSet<u64>,
    wants: BTreeMap<Slot, Target>,
    dispatched: Vec<(Grant, Purpose)>,
    children: Vec<(u64, nx_types::RunId)>,
    keys: BTreeMap<String, u64>,
    /// Once steps that were executed and of which nothing is known that would allow another execution.
    spent: BTreeSet<u64>,
}

struct Play {
    bench: Bench,
    out: Outside,
}

fn pick<T: Copy>(all: impl IntoIterator<Item = T>, which: u8) -> Option<T> {
    let all: Vec<T> = all.into_iter().collect();
    all.get(usize::from(which).checked_rem(all.len())?).copied()
}

fn outcome(how: u8) -> Outcome {
    let failed = |retryable| Outcome::Error(StepError { retryable, ..error("IOError") });
    match how % 8 {
        0 => failed(None),
        1 => failed(Some(true)),
        2 => failed(Some(false)),
        3 => Outcome::Error(error("Timeout")),
        _ => Outcome::Ok(json!(how)),
    }
}

impl Play {
    fn new() -> Self {
        Self { bench: Bench::new(), out: Outside::default() }
    }

    fn tell(&mut self, command: Command) {
        let before = self.bench.run.durable().clone();
        match self.bench.try_do(command) {
            Err(_) => assert_eq!(&before, self.bench.run.durable(), "an error changes nothing"),
            Ok(()) => self.look(),
        }
    }

    /// Takes in what the last decision said, and checks it.
    fn look(&mut self) {
        let last = std::mem::take(&mut self.bench.last);
        for event in &last.events {
            match event {
                RunEvent::StepResolved(StepResolved { n, how: How::NotDone, .. }) => drop(self.out.spent.remove(n)),
                RunEvent::AttemptFailed(body) if body.error.retryable == Some(true) => {
                    self.out.spent.remove(&body.n);
                }
                _ => {}
            }
        }
        for action in last.actions {
            match action {
                Action::Start(_) => self.out.open.clear(),
                Action::Reply { call, answer } => self.answered(call, answer),
                Action::Want { slot, target } => drop(self.out.wants.insert(slot, target)),
                Action::Unwant { slot } => drop(self.out.wants.remove(&slot)),
                Action::Dispatch(dispatch) => {
                    if dispatch.purpose == Purpose::Execute && !matches!(dispatch.slot, Slot::Undo(_)) {
                        self.executed(dispatch.grant, dispatch.idempotency_key.as_deref());
                    }
                    assert!(!matches!(dispatch.work, Work::Tool { .. }) || matches!(dispatch.slot, Slot::Call(_)));
                    self.out.dispatched.push((dispatch.grant, dispatch.purpose));
                }
                Action::StartChild { step, run, .. } => self.out.children.push((step, run)),
                _ => {}
            }
        }
    }

    fn answered(&mut self, call: u64, answer: Answer) {
        assert!(self.out.open.contains(&call), "call {call} is answered after its terminal answer");
        self.out.executing.remove(&call);
        self.out.probing.remove(&call);
        match answer {
            Answer::Execute { grant, idempotency_key, .. } => {
                self.executed(grant, idempotency_key.as_deref());
                self.out.executing.insert(call);
            }
            Answer::Probe { .. } => drop(self.out.probing.insert(call)),
            Answer::Wait { .. } => {}
            Answer::Recorded { version, .. } => {
                let recorded = self.bench.log.get(version as usize - 1).and_then(RunEvent::outcome);
                assert!(recorded.is_some(), "version {version} holds no outcome");
                self.out.open.remove(&call);
            }
            Answer::Value { .. } | Answer::Error(_) | Answer::Refused(_) => drop(self.out.open.remove(&call)),
        }
    }

    fn executed(&mut self, grant: Grant, key: Option<&str>) {
        let n = grant.step;
        if n > 1 << 51 {
            return;
        }
        let mut identities = self.bench.log.iter().filter_map(|event| Some((event.step()?, event.identity()?)));
        let step = identities.find(|(of, _)| *of == n).map(|(_, step)| step);
        // The caller's own key means the same effect after a carry, too.
        let carried = self.bench.log.iter().any(|event| matches!(event, RunEvent::Carried(_)));
        let own = carried && step.is_some_and(|step| step.key.is_some());
        if let Some(key) = key.filter(|_| !own) {
            let held = *self.out.keys.entry(key.to_owned()).or_insert(n);
            assert_eq!(held, n, "two steps have the key {key}");
        }
        let once = step.is_some_and(|step| step.effect == Effect::Once);
        if once {
            assert!(self.out.spent.insert(n), "once step {n} is executed again (attempt {})", grant.attempt);
        }
    }

    fn happen(&mut self, happening: &Happening) {
        if self.bench.run.wants_worker() {
            self.tell(Command::Start { worker: "w1".to_owned(), version: None });
        }
        match *happening {
            Happening::Step { name, args, kind, extra } => self.step(name, args, kind, extra),
            Happening::Done { which, how } => {
                if let Some(call) = pick(self.out.probing.iter().copied(), which) {
                    let found = [Found::Done(json!(how)), Found::NotDone, Found::Unknown][usize::from(how % 3)].clone();
                    self.tell(Command::Probed { call, found });
                } else if let Some(call) = pick(self.out.executing.iter().copied(), which) {
                    self.tell(Command::Done { call, outcome: outcome(how) });
                }
            }
            Happening::Ready { which } => {
                if let Some(slot) = pick(self.out.wants.keys().copied(), which) {
                    let undo = matches!(self.out.wants.remove(&slot), Some(Target::Agent(_)));
                    let effect = [Effect::Read, Effect::Idempotent, Effect::Once][usize::from(which % 3)];
                    self.tell(Command::Ready { slot, tool: if undo { None } else { tool(effect) } });
                }
            }
            Happening::ToolDone { which, how } => {
                if let Some((grant, purpose)) = pick(self.out.dispatched.iter().copied(), which) {
                    self.tell(Command::ToolDone { grant, purpose, outcome: outcome(how) });
                }
            }
            Happening::Lost { keep } => {
                let executing = if keep { self.outstanding() } else { Vec::new() };
                self.drop_calls();
                self.tell(Command::Lost { reason: "gone".to_owned(), executing });
            }
            Happening::GrantsLost { which } => {
                let grants = pick(self.outstanding(), which).into_iter().collect();
                self.tell(Command::GrantsLost { grants, reason: "gone".to_owned() });
            }
            Happening::Late { which, how } => {
                if let Some(grant) = pick(self.outstanding(), which) {
                    self.tell(Command::Late { grant, outcome: outcome(how) });
                }
            }
            Happening::Crash => {
                self.bench.crash();
                self.drop_calls();
                self.out.wants.clear();
                self.tell(Command::Lost { reason: "gone".to_owned(), executing: self.outstanding() });
            }
            Happening::Pass { ms } => {
                self.bench.now = self.bench.now + nx_types::Duration::from_millis(u64::from(ms));
                self.tell(Command::Tick);
                assert!(self.bench.run.due().is_none_or(|due| due > self.bench.now), "what is due is taken");
            }
            Happening::Decide { which, how } => self.decide(which, how),
            Happening::Signal { id } => self.tell(Command::Signal {
                id: (id % 4).to_string(),
                name: format!("s{}", id % 3),
                payload: value(json!(id)),
                by: "ann".to_owned(),
            }),
            Happening::ChildEnded { which } => {
                if let Some((step, run)) = pick(self.out.children.iter().copied(), which) {
                    self.tell(Command::ChildEnded { step, run, outcome: Recorded::Value(value(json!(which))) });
                }
            }
            Happening::Park => {
                if self.bench.run.parkable().is_some() {
                    self.drop_calls();
                }
                self.tell(Command::Park);
            }
            Happening::Carry => {
                let (call, inc) = (1_000_000 + self.bench.log.len() as u64, self.bench.run.incarnation());
                self.out.open.insert(call);
                self.tell(Command::Carry { call, inc, state: value(json!({"at": call})) });
            }
            Happening::End { how } => {
                let inc = self.bench.run.incarnation();
                self.tell(match how % 4 {
                    0 => Command::Complete { inc, result: value(json!(1)) },
                    1 => Command::Stopped { inc },
                    2 => Command::Release { inc },
                    _ => Command::Fail { inc, error: error("IOError") },
                });
                if self.bench.run.worker().is_none() {
                    self.drop_calls();
                }
            }
            Happening::Cancel => self.tell(Command::Cancel { by: "ann".to_owned(), reason: "enough".to_owned() }),
            Happening::Retry => self.tell(Command::Retry { by: "ann".to_owned() }),
            Happening::Abandon { bare } => {
                self.tell(Command::Abandon { error: error("JournalRefused"), bare });
                if self.bench.run.worker().is_none() {
                    self.drop_calls();
                }
            }
        }
    }

    fn drop_calls(&mut self) {
        self.out.open.clear();
        self.out.executing.clear();
        self.out.probing.clear();
    }

    fn outstanding(&self) -> Vec<Grant> {
        let obligations = self.bench.run.obligations();
        obligations
            .into_iter()
            .filter_map(|obligation| match obligation {
                nx_runs::machine::Obligation::Outstanding { grant, .. } => Some(grant),
                _ => None,
            })
            .collect()
    }

    fn step(&mut self, name: u8, args: u8, kind: u8, extra: u8) {
        let args = json!({"n": args});
        let (body, spec) = match kind {
            0 | 1 => (code(Effect::Code, args), None),
            2 => (code(Effect::Read, args), None),
            3 | 4 => (code(Effect::Idempotent, args), None),
            5 | 6 => (Body::Code { effect: Effect::Once, args, probe: extra & 1 == 1, key_window_ms: None }, None),
            7 => (Body::Tool { args }, tool(if extra & 1 == 1 { Effect::Once } else { Effect::Idempotent })),
            8 => (Body::Sleep { ms: 1000 }, None),
            9 => (Body::Signal { within_ms: Some(5000) }, None),
            10 => (Body::Child { agent: "sub".to_owned(), input: args }, None),
            _ => (Body::Random, None),
        };
        let name = if kind == 7 { format!("t/{name}") } else { format!("s{name}") };
        let mut step: Box<Step> = self.bench.frame(&name, body);
        if extra & 2 == 2 {
            "g.0".clone_into(&mut step.scope);
        }
        if extra & 0b1100 == 0b1100 {
            step.key = Some("k".to_owned());
        }
        if extra & 0b11_0000 == 0b11_0000 {
            step.undo = Some(Undo::Function("undo".to_owned()));
        }
        if extra & 0b1100_0000 == 0b1100_0000 {
            step.approve = Some(Approve {
                who: "lead".to_owned(),
                within_ms: Some(60_000),
                escalate: Vec::new(),
                quorum: None,
                edit: true,
                over: BTreeMap::new(),
                message: None,
            });
        }
        self.out.open.insert(step.call);
        self.tell(Command::Step { step, tool: spec });
    }

    fn decide(&mut self, which: u8, how: u8) {
        let ids: Vec<_> = self.bench.run.approvals().map(|approval| approval.id).collect();
        let Some(approval) = pick(ids, which).and_then(|id| self.bench.run.approval(id)) else { return };
        let choices = approval.why.choices();
        let ruling = match choices[usize::from(how) % choices.len()] {
            "approve" => Ruling::Approve,
            "deny" => Ruling::Deny,
            "reuse" => Ruling::Reuse { step: approval.candidates.first().copied() },
            "run" => Ruling::Run,
            "complete" => Ruling::Complete { value: value(json!("ruled")) },
            "not_done" => Ruling::NotDone,
            _ => Ruling::Fail,
        };
        let edit = (ruling == Ruling::Approve && how > 200).then(|| value(json!({"n": 9})));
        let vote = nx_runs::machine::Vote {
            id: approval.id,
            by: "ann".to_owned(),
            roles: ["lead".to_owned(), "operator".to_owned()].into(),
            ruling,
            hash: Some(approval.hash),
            reason: None,
            args: edit,
        };
        self.tell(Command::Decide(Box::new(vote)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_in_any_order(happenings in prop::collection::vec(happening(), 1..80)) {
        let mut play = Play::new();
        for happening in &happenings {
            play.happen(happening);
        }
        // What has not ended can be ended: people decide, undos succeed.
        for _ in 0..60 {
            if play.bench.run.is_over() {
                break;
            }
            play.happen(&Happening::Cancel);
            play.happen(&Happening::End { how: 1 });
            play.happen(&Happening::GrantsLost { which: 0 });
            play.happen(&Happening::Decide { which: 0, how: 0 });
            play.happen(&Happening::Pass { ms: 60_000 });
            play.happen(&Happening::Ready { which: 1 });
            let done = play.out.dispatched.last().copied();
            if let Some((grant, purpose)) = done {
                play.tell(Command::ToolDone { grant, purpose, outcome: Outcome::Ok(json!(null)) });
            }
        }
        let status = play.bench.run.status();
        prop_assert!(play.bench.run.is_over(), "it is {status:?}:\n{}", play.bench.trace);
        prop_assert!(matches!(status, Status::Completed | Status::Failed | Status::Cancelled));
    }
}

/// What may happen to a record that somebody damaged.
#[derive(Debug, Clone)]
enum Damage {
    Drop(u16),
    Repeat(u16),
    Swap(u16, u16),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u16>().prop_map(Damage::Drop),
        any::<u16>().prop_map(Damage::Repeat),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_record_is_refused_or_lived_with(
        happenings in prop::collection::vec(happening(), 1..40),
        damages in prop::collection::vec(damage(), 1..4),
        more in prop::collection::vec(happening(), 1..20),
    ) {
        let mut play = Play::new();
        for happening in &happenings {
            play.happen(happening);
        }
        let mut log = play.bench.log;
        for damage in damages {
            let at = |place: u16| 1 + usize::from(place) % (log.len() - 1);
            if log.len() < 3 {
                break;
            }
            match damage {
                Damage::Drop(place) => drop(log.remove(at(place))),
                Damage::Repeat(place) => log.push(log[at(place)].clone()),
                Damage::Swap(one, other) => {
                    let (one, other) = (at(one), at(other));
                    log.swap(one, other);
                }
            }
        }
        let mut bench = Bench::new();
        bench.unchecked = true;
        for event in log.into_iter().skip(1) {
            if bench.run.apply(&event).is_ok() {
                bench.log.push(event);
            }
        }
        let mut play = Play { bench, out: Outside::default() };
        play.unchecked(&more);
    }
}

impl Play {
    /// Nothing panics, whatever was loaded.
    fn unchecked(&mut self, happenings: &[Happening]) {
        for happening in happenings {
            let name = format!("s{}", self.bench.log.len() % 3);
            let step = self.bench.frame(&name, code(Effect::Once, json!({"n": 1})));
            let commands = [
                Command::Start { worker: "w".to_owned(), version: None },
                Command::Step { step, tool: None },
                Command::Tick,
                Command::Lost { reason: "gone".to_owned(), executing: Vec::new() },
                Command::GrantsLost { grants: self.outstanding(), reason: "gone".to_owned() },
                Command::Cancel { by: "ann".to_owned(), reason: format!("{happening:?}") },
                Command::Retry { by: "ann".to_owned() },
            ];
            for command in commands {
                drop(self.bench.try_do(command));
            }
        }
    }
}
