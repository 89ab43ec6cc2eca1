//! The gate: what a call must pass before anything of it is executed. What was decided is recorded before the step starts.

use neuraxis_sdk::frames::Effect;
use nx_types::Duration;

use super::{Deciding, ask::needs_approval, step_error};
use crate::{
    Error,
    machine::{
        digest,
        event::{GuardDecided, Kind, PolicyAsk, RunEvent, StepFailed},
        gate::{Asked, Verdict},
        live::Call,
    },
};

/// The name of the error of a call that policies deny.
pub(super) const DENIED: &str = "PolicyDenied";

impl Deciding<'_> {
    /// Puts a call before the gate, and asks whom it must. The call comes back if it may be executed.
    pub(super) fn pass(&mut self, n: Option<u64>, mut call: Call) -> Result<Option<Call>, Error> {
        let own = call.kind == Kind::Approval || needs_approval(&call);
        let at = n.unwrap_or_else(|| self.run.durable.records.next());
        let Some(verdict) = self.verdict_of(at, &mut call, 0)? else {
            if own {
                self.ask_call(n, call, None)?;
                return Ok(None);
            }
            return Ok(Some(call));
        };
        let effect = call.effect;
        if verdict.args != call.args {
            call.args = verdict.args.clone();
            call.refs = true;
        }
        if verdict.denies() {
            let step = self.first_identity(at, &mut call);
            let error = self.denied(&call.step.name, &verdict);
            self.run.live.attach(at, call);
            self.decided(at, effect, verdict)?;
            self.record(RunEvent::StepFailed(StepFailed { n: at, step, error: error.clone(), attempt: 0 }))?;
            self.answer_error(at, &error);
            return Ok(None);
        }
        if verdict.asks() {
            let policy = self.policy_ask(&verdict, own);
            self.decided(at, effect, verdict)?;
            self.ask_call(n, call, policy)?;
            return Ok(None);
        }
        if own {
            self.decided(at, effect, verdict)?;
            self.ask_call(n, call, None)?;
            return Ok(None);
        }
        // A read that nothing speaks against leaves no trace but itself.
        if call.kind != Kind::Tool || call.effect > Effect::Read || !verdict.decision.reasons.is_empty() {
            call.verdict = Some(Box::new(verdict));
        }
        Ok(Some(call))
    }

    /// Puts the call of a recorded step, which nobody was left to be asked about, before the gate again.
    pub(super) fn pass_again(&mut self, n: u64) -> Result<(), Error> {
        let Some(call) = self.run.live.take_primary(n) else { return Ok(()) };
        let Some(call) = self.pass(Some(n), call)? else { return Ok(()) };
        self.run.live.attach_first(n, call);
        self.execute(n)
    }

    /// Whether a call that people released may be executed still: what they edited, and policies that have changed since,
    /// may deny it.
    pub(super) fn still_allowed(&mut self, n: u64) -> Result<bool, Error> {
        let approved = self.run.durable.open.get(&n).and_then(|open| open.approved.as_ref());
        let edited = approved.and_then(|approved| approved.edited.as_ref()).map(|(args, _)| args.clone());
        let policies = approved.and_then(|approved| approved.policies.clone());
        let changed = policies.is_some_and(|policies| policies != self.cx.gate.policies());
        let Some(mut call) = self.run.live.primary(n).map(|call| call.clone()) else { return Ok(false) };
        if edited.is_none() && !changed {
            return Ok(true);
        }
        let verdict = match edited {
            Some(args) => {
                call.args = args;
                self.verdict(n, &call, 1)?
            }
            None => self.verdict_of(n, &mut call, 1)?,
        };
        let Some(verdict) = verdict.filter(Verdict::denies) else { return Ok(true) };
        let error = self.denied(&call.step.name, &verdict);
        self.decided(n, call.effect, verdict)?;
        self.record(RunEvent::StepFailed(StepFailed { n, step: None, error: error.clone(), attempt: 0 }))?;
        self.answer_error(n, &error);
        Ok(false)
    }

    /// What the gate says of a call whose references may have been substituted before: should they stand for something
    /// else by now, the recorded arguments count, since those are what is executed.
    fn verdict_of(&self, n: u64, call: &mut Call, approvals: u32) -> Result<Option<Verdict>, Error> {
        let verdict = self.verdict(n, call, approvals)?;
        let given = self.run.durable.open.get(&n).and_then(|open| open.given.as_ref());
        let Some(given) = given.filter(|given| verdict.as_ref().is_some_and(|verdict| verdict.args != **given)) else {
            return Ok(verdict);
        };
        call.args = given.clone();
        call.refs = true;
        self.verdict(n, call, approvals)
    }

    fn verdict(&self, n: u64, call: &Call, approvals: u32) -> Result<Option<Verdict>, Error> {
        let sinks = call.step.flow.as_ref().is_some_and(|flow| !flow.sinks.is_empty());
        let acts = match call.kind {
            Kind::Tool => true,
            Kind::Code => call.effect >= Effect::Idempotent || sinks,
            _ => false,
        };
        if !acts {
            return Ok(None);
        }
        self.cx.gate.check(&Asked {
            n,
            kind: call.kind,
            name: &call.step.name,
            effect: call.effect,
            args: &call.args,
            flow: call.step.flow.as_deref(),
            approvals,
        })
    }

    fn denied(&self, name: &str, verdict: &Verdict) -> neuraxis_sdk::frames::StepError {
        let mut error = step_error(DENIED, format!("`{name}` is denied: {}", verdict.why()));
        error.details = Some(serde_json::json!({"explain": format!("neuraxis explain {}", self.run.id)}));
        error
    }

    pub(super) fn policy_ask(&self, verdict: &Verdict, own: bool) -> Option<Box<PolicyAsk>> {
        let ask = verdict.decision.ask.clone()?;
        let due = ask.within_ms.map(|ms| self.cx.now + Duration::from_millis(ms));
        Some(Box::new(PolicyAsk { ask, alone: !own, due, policies: verdict.decision.policies.clone() }))
    }

    /// Records what the gate said.
    pub(super) fn decided(&mut self, n: u64, effect: Effect, verdict: Verdict) -> Result<(), Error> {
        let Verdict { call, decision, args, facts, asked, named, leaks } = verdict;
        let hash = digest::of(&args)?;
        let decided = GuardDecided { n, call, effect, args, hash, decision, facts, asked, named, leaks };
        self.record(RunEvent::GuardDecided(Box::new(decided)))
    }
}
