//! Sessions: a program that is not ours reports its steps, and asks before it acts. Its calls become steps like any other:
//! started when they are allowed, completed when their result is reported.

use std::sync::Arc;

use neuraxis_sdk::frames::{Effect, Outcome};
use nx_guard::{decision, tool};
use nx_types::{ApprovalId, Digest};
use serde_json::Value;

use super::{Deciding, ask::policy_form, guard::DENIED, step_error};
use crate::{
    Error,
    machine::{
        approval::Why,
        command::{Action, Guarded, Reported},
        digest,
        durable::Phase,
        event::{
            Completed, GuardDecided, Identity, Json, Kind, RunEvent, StepCompleted, StepFailed, StepStarted,
            StepWaiting, Wait, null,
        },
        gate::{Asked, Verdict},
        json,
        record::State,
    },
};

/// Most calls of a session that are open at once: allowed and not reported, or waiting for a person.
const MAX_OPEN: usize = 1024;

/// What a session's program wants to do.
struct Wish {
    tool: String,
    args: Json,
    hash: Digest,
    effect: Effect,
}

impl Deciding<'_> {
    pub(super) fn report_in(&mut self, reported: Reported) -> Result<(), Error> {
        if self.run.durable.phase != Phase::Open {
            return Err(Error::SessionOver { run: self.run.id });
        }
        if self.run.durable.records.len() as u64 >= self.cx.limits.steps {
            let fix = "begin another session";
            return Err(Error::Limit { what: "steps of a session", max: self.cx.limits.steps, fix });
        }
        match reported {
            Reported::Check { tool, args } => {
                let effect = self.declared_effect(&tool)?;
                self.check_wish(Wish { hash: digest_of(&args)?, tool, args, effect })
            }
            Reported::Output { text } => {
                let args: Json = Arc::new(Value::String(text));
                let wish = Wish {
                    tool: nx_guard::guard::OUTPUT.to_owned(),
                    hash: digest_of(&args)?,
                    args,
                    effect: Effect::Read,
                };
                self.check_wish(wish)
            }
            Reported::Observe { tool, args, outcome } => {
                let effect = self.declared_effect(&tool)?;
                self.observed(&Wish { hash: digest_of(&args)?, tool, args, effect }, outcome)
            }
            Reported::Close => {
                self.withdraw_all("the session is over")?;
                self.end(RunEvent::Completed(Completed { result: null(), labels: None, orphans: Vec::new() }))
            }
        }
    }

    fn declared_effect(&self, name: &str) -> Result<Effect, Error> {
        let session = self.run.durable.head()?.session.as_ref();
        let session = session.ok_or(Error::NoSession { run: self.run.id })?;
        let found = session.tools.iter().find(|tool| tool.name == name).ok_or_else(|| {
            let names: Vec<&str> = session.tools.iter().map(|tool| tool.name.as_str()).collect();
            let nearest = match names.as_slice() {
                [] => "it has none".to_owned(),
                names => format!("the nearest is `{}`", crate::kinds::nearest(name, names)),
            };
            Error::invalid(format!("tool `{}` is not declared in this session; {nearest}", clip(name)))
        })?;
        Ok(match found.effect {
            tool::Effect::Read => Effect::Read,
            tool::Effect::Idempotent => Effect::Idempotent,
            tool::Effect::Once => Effect::Once,
        })
    }

    fn check_wish(&mut self, wish: Wish) -> Result<(), Error> {
        if let Some(n) = self.step_of(&wish, State::Cleared) {
            return self.released(n, &wish);
        }
        let refused =
            self.run.durable.failed().find(|(n, error)| error.name == "ApprovalDenied" && self.is_of(*n, &wish));
        if let Some((step, error)) = refused.map(|(n, error)| (n, error.message.clone())) {
            let outcome = decision::Outcome::Deny;
            self.guarded(Guarded { outcome, step, approval: None, refused: Some(error), verdict: None });
            return Ok(());
        }
        let waiting: Option<(ApprovalId, u64)> = (self.run.durable.approvals.values())
            .find(|approval| approval.hash == wish.hash && self.is_of(approval.n, &wish))
            .map(|approval| (approval.id, approval.n));
        if waiting.is_none() && self.run.durable.open.len() >= MAX_OPEN {
            let fix = "report what came of earlier ones, or have their questions answered";
            return Err(Error::Limit { what: "open calls of a session", max: MAX_OPEN as u64, fix });
        }
        let n = self.run.durable.records.next();
        let verdict = self.asked(n, &wish, 0)?;
        if let Some((id, step)) = waiting.filter(|_| verdict.as_ref().is_some_and(Verdict::asks)) {
            let outcome = decision::Outcome::Ask;
            let verdict = verdict.map(Box::new);
            self.guarded(Guarded { outcome, step, approval: Some(id), refused: None, verdict });
            return Ok(());
        }
        let outcome = verdict.as_ref().map_or(decision::Outcome::Allow, |verdict| verdict.decision.outcome);
        if let Some(verdict) = &verdict {
            self.note_decision(n, &wish, verdict.clone())?;
        }
        let mut answer = Guarded { outcome, step: n, approval: None, refused: None, verdict: verdict.map(Box::new) };
        let step = Some(identity(&wish, None));
        match outcome {
            decision::Outcome::Allow if wish.tool == nx_guard::guard::OUTPUT => {
                self.record(RunEvent::StepCompleted(StepCompleted::new(n, step, null(), 1)))?;
            }
            decision::Outcome::Allow => self.starts(n, step)?,
            decision::Outcome::Deny => {
                let why = answer.verdict.as_ref().map(|verdict| verdict.why()).unwrap_or_default();
                let error = step_error(DENIED, format!("`{}` is denied: {why}", wish.tool));
                self.record(RunEvent::StepFailed(StepFailed { n, step, error, attempt: 0 }))?;
            }
            decision::Outcome::Ask => {
                let id = ApprovalId::random(self.cx.rng);
                let policy = answer.verdict.as_ref().and_then(|verdict| self.policy_ask(verdict, false));
                let who = self.cx.limits.operator.clone();
                let nobody =
                    decision::Ask { needs: [decision::Need { who: [who].into(), quorum: 1 }].into(), within_ms: None };
                let ask = policy_form(policy.as_ref().map_or(&nobody, |policy| &policy.ask));
                self.record(RunEvent::StepWaiting(StepWaiting { n, step, wait: Wait::Approval { id } }))?;
                self.request_with(id, n, Why::Call, wish.args, wish.hash, ask, Vec::new(), policy)?;
                answer.approval = Some(id);
            }
        }
        self.guarded(answer);
        Ok(())
    }

    /// People have released exactly this call: it may be made, once, unless policies deny it by now.
    fn released(&mut self, n: u64, wish: &Wish) -> Result<(), Error> {
        let approval =
            self.run.durable.open.get(&n).and_then(|open| open.approved.as_ref()).map(|approved| approved.id);
        let verdict = self.asked(n, wish, 1)?;
        if let Some(verdict) = verdict.filter(Verdict::denies) {
            let error = step_error(DENIED, format!("`{}` is denied: {}", wish.tool, verdict.why()));
            self.note_decision(n, wish, verdict.clone())?;
            self.record(RunEvent::StepFailed(StepFailed { n, step: None, error, attempt: 0 }))?;
            let outcome = decision::Outcome::Deny;
            self.guarded(Guarded { outcome, step: n, approval, refused: None, verdict: Some(Box::new(verdict)) });
            return Ok(());
        }
        if wish.tool == nx_guard::guard::OUTPUT {
            self.record(RunEvent::StepCompleted(StepCompleted::new(n, None, null(), 1)))?;
        } else {
            self.starts(n, None)?;
        }
        let outcome = decision::Outcome::Allow;
        self.guarded(Guarded { outcome, step: n, approval, refused: None, verdict: None });
        Ok(())
    }

    fn observed(&mut self, wish: &Wish, outcome: Outcome) -> Result<(), Error> {
        let (n, step) = match self.step_of(wish, State::Started) {
            Some(n) => (n, None),
            None => (self.run.durable.records.next(), Some(identity(wish, Some("was not checked before")))),
        };
        match outcome {
            Outcome::Ok(value) => {
                json::check(&value)?;
                self.record(RunEvent::StepCompleted(StepCompleted::new(n, step, Json::new(value), 1)))?;
            }
            Outcome::Error(error) => self.record(RunEvent::StepFailed(StepFailed { n, step, error, attempt: 1 }))?,
        }
        let outcome = decision::Outcome::Allow;
        self.guarded(Guarded { outcome, step: n, approval: None, refused: None, verdict: None });
        Ok(())
    }

    fn asked(&self, n: u64, wish: &Wish, approvals: u32) -> Result<Option<Verdict>, Error> {
        self.cx.gate.check(&Asked {
            n,
            kind: Kind::Tool,
            name: &wish.tool,
            effect: wish.effect,
            args: &wish.args,
            flow: None,
            approvals,
        })
    }

    fn note_decision(&mut self, n: u64, wish: &Wish, verdict: Verdict) -> Result<(), Error> {
        let Verdict { call, decision, args, facts, asked, named, leaks } = verdict;
        let (hash, effect) = (wish.hash, wish.effect);
        let decided = GuardDecided { n, call, effect, args, hash, decision, facts, asked, named, leaks };
        self.record(RunEvent::GuardDecided(Box::new(decided)))
    }

    fn starts(&mut self, n: u64, step: Option<Box<Identity>>) -> Result<(), Error> {
        self.record(RunEvent::StepStarted(StepStarted { n, step, attempt: 1, key_until: None, probe: false }))
    }

    fn guarded(&mut self, answer: Guarded) {
        self.act(Action::Guarded(Box::new(answer)));
    }

    /// The first open step of this call that is in this state.
    fn step_of(&self, wish: &Wish, state: State) -> Option<u64> {
        let in_state = |n: &u64| self.run.durable.records.get(*n).is_some_and(|record| record.state == state);
        self.run.durable.open.keys().copied().filter(in_state).find(|n| self.is_of(*n, wish))
    }

    fn is_of(&self, n: u64, wish: &Wish) -> bool {
        let records = &self.run.durable.records;
        records.get(n).is_some_and(|record| {
            record.hash == wish.hash && records.name_of(record).is_some_and(|name| name.name() == wish.tool)
        })
    }
}

fn identity(wish: &Wish, note: Option<&str>) -> Box<Identity> {
    Box::new(Identity {
        scope: String::new(),
        name: wish.tool.clone(),
        key: None,
        occ: 0,
        kind: Kind::Tool,
        effect: wish.effect,
        hash: wish.hash,
        args: wish.args.clone(),
        rev: 0,
        over: None,
        undo: None,
        note: note.map(str::to_owned),
        refs: false,
        flow: None,
    })
}

fn digest_of(args: &Json) -> Result<Digest, Error> {
    json::check(args)?;
    digest::of(args)
}

fn clip(name: &str) -> String {
    name.chars().take(128).collect()
}
