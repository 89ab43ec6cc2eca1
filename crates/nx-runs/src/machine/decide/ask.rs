//! Questions to people and their answers. A question is bound to the hash of the arguments and serves once.

use neuraxis_sdk::frames::{Approve, Body, StepError};
use nx_types::{ApprovalId, Duration, Timestamp};

use super::{Deciding, step_error};
use crate::{
    Error,
    machine::{
        approval::{Approval, Vote, Why},
        digest,
        durable::standalone_result,
        event::{
            ApprovalDecided, ApprovalEnded, ApprovalEscalated, ApprovalRequested, ApprovalVoted, By, How, Json, Kind,
            PolicyAsk, Ruling, RunEvent, StepCompleted, StepFailed, StepWaiting, Wait, null,
        },
        json,
        live::{Call, Stage},
        record::State,
    },
};

/// Most steps that a question offers for reuse.
const CANDIDATES: usize = 64;

impl Deciding<'_> {
    /// Asks whether a call may be executed, or a question that guards none.
    pub(super) fn ask_call(
        &mut self,
        n: Option<u64>,
        mut call: Call,
        policy: Option<Box<PolicyAsk>>,
    ) -> Result<(), Error> {
        let own = call.step.approve.clone().filter(|_| call.kind == Kind::Approval || needs_approval(&call));
        let Some(ask) = own.or_else(|| policy.as_ref().map(|policy| policy_form(&policy.ask))) else {
            return Err(Error::invalid("an approval step says whom to ask: give `approve`"));
        };
        let why = if matches!(call.step.body, Body::Approval { .. }) { Why::Standalone } else { Why::Call };
        let n = n.unwrap_or_else(|| self.run.durable.records.next());
        let id = ApprovalId::random(self.cx.rng);
        let step = self.first_identity(n, &mut call);
        let args = call.args.clone();
        // A person agrees to what is executed, and not to references.
        let hash = if call.refs { digest::of(&args)? } else { call.hash };
        call.stage = Stage::Waiting;
        self.run.live.attach(n, call);
        self.record(RunEvent::StepWaiting(StepWaiting { n, step, wait: Wait::Approval { id } }))?;
        self.request_with(id, n, why, args, hash, ask, Vec::new(), policy)?;
        self.tell_all(n);
        Ok(())
    }

    /// Asks which counts: the recorded value, or another execution with the new arguments.
    pub(super) fn ask_changed(&mut self, old: u64, mut call: Call) -> Result<(), Error> {
        let n = self.run.durable.records.next();
        let id = ApprovalId::random(self.cx.rng);
        let step = Some(call.identity(false));
        let message = call.step.name.clone();
        let ask =
            self.ask_form(&call, format!("the arguments of `{message}` (step {old}) have changed: which counts?"));
        let (args, hash) = (call.args.clone(), call.hash);
        self.run.live.attach(n, call);
        self.record(RunEvent::StepWaiting(StepWaiting { n, step, wait: Wait::Ask { id, why: Why::Changed } }))?;
        self.request(id, n, Why::Changed, args, hash, ask, vec![old])?;
        self.tell_all(n);
        Ok(())
    }

    /// Asks whether a new once step is one of the recorded ones that the code has not asked for.
    pub(super) fn ask_new_once(&mut self, mut call: Call) -> Result<(), Error> {
        let records = &self.run.durable.records;
        let candidates: Vec<u64> =
            self.run.live.once_unused.iter().take(CANDIDATES).map(|&index| records.ordinal(index)).collect();
        let n = records.next();
        let names: Vec<String> = candidates.iter().map(|&n| format!("`{}` (step {n})", records.label(n))).collect();
        let id = ApprovalId::random(self.cx.rng);
        let message = format!("`{}` is new, while the code has not asked for {}", call.step.name, names.join(", "));
        let step = Some(call.identity(false));
        let ask = self.ask_form(&call, message);
        let (args, hash) = (call.args.clone(), call.hash);
        call.stage = Stage::Waiting;
        self.run.live.attach(n, call);
        self.record(RunEvent::StepWaiting(StepWaiting { n, step, wait: Wait::Ask { id, why: Why::NewOnce } }))?;
        self.request(id, n, Why::NewOnce, args, hash, ask, candidates.clone())?;
        for candidate in candidates {
            if self.run.durable.records.get(candidate).is_some_and(|record| record.state == State::InDoubt) {
                self.ask_in_doubt(candidate)?;
            }
        }
        self.tell_all(n);
        Ok(())
    }

    /// Asks whether a step took place, unless that is asked already.
    pub(super) fn ask_in_doubt(&mut self, n: u64) -> Result<(), Error> {
        let open = self.run.durable.open.get(&n);
        if open.and_then(|open| open.ask).is_some_and(|id| self.run.durable.approvals.contains_key(&id)) {
            return Ok(());
        }
        let Some(record) = self.run.durable.records.get(n) else { return Ok(()) };
        let hash = record.hash;
        let message = format!("did `{}` (step {n}) take place?", self.run.durable.records.label(n));
        let id = ApprovalId::random(self.cx.rng);
        let (args, ask) = match self.run.live.primary(n).map(|call| call.clone()) {
            Some(call) => (self.edited(n).unwrap_or_else(|| call.args.clone()), self.ask_form(&call, message)),
            None => (null(), self.operator(message)),
        };
        self.request(id, n, Why::InDoubt, args, hash, ask, Vec::new())
    }

    fn operator(&self, message: String) -> Approve {
        Approve {
            who: self.cx.limits.operator.clone(),
            within_ms: None,
            escalate: Vec::new(),
            quorum: None,
            edit: false,
            over: Default::default(),
            message: Some(message),
        }
    }

    /// Rulings are asked of whoever approves the call, else of the operator.
    fn ask_form(&self, call: &Call, message: String) -> Approve {
        let mut ask = self.operator(message);
        if let Some(approve) = &call.step.approve {
            ask.who.clone_from(&approve.who);
        }
        ask
    }

    #[expect(clippy::too_many_arguments, reason = "the event's fields, named at each call")]
    fn request(
        &mut self,
        id: ApprovalId,
        n: u64,
        why: Why,
        args: Json,
        hash: nx_types::Digest,
        ask: Approve,
        candidates: Vec<u64>,
    ) -> Result<(), Error> {
        self.request_with(id, n, why, args, hash, ask, candidates, None)
    }

    #[expect(clippy::too_many_arguments, reason = "the event's fields, named at each call")]
    pub(super) fn request_with(
        &mut self,
        id: ApprovalId,
        n: u64,
        why: Why,
        args: Json,
        hash: nx_types::Digest,
        ask: Approve,
        candidates: Vec<u64>,
        policy: Option<Box<PolicyAsk>>,
    ) -> Result<(), Error> {
        let due = ask.within_ms.map(|ms| self.cx.now + Duration::from_millis(ms));
        let due = earlier(due, policy.as_ref().and_then(|policy| policy.due));
        let step = self.run.durable.records.label(n);
        self.record(RunEvent::ApprovalRequested(Box::new(ApprovalRequested {
            id,
            n,
            why,
            step,
            args,
            hash,
            ask,
            due,
            candidates,
            policy,
        })))
    }

    /// Whether a waiting step's question was withdrawn when the run ended, before it was retried.
    pub(super) fn lacks_question(&self, n: u64) -> bool {
        match self.run.durable.open.get(&n).and_then(|open| open.wait.as_ref()) {
            Some(Wait::Approval { id } | Wait::Ask { id, .. }) => !self.run.durable.approvals.contains_key(id),
            _ => false,
        }
    }

    /// Asks a question again that was withdrawn with the run's end.
    pub(super) fn ask_again(&mut self, n: u64) -> Result<(), Error> {
        let Some(open) = self.run.durable.open.get(&n) else { return Ok(()) };
        let (wait, over) = (open.wait.clone(), open.over);
        let Some(call) = self.run.live.primary(n).map(|call| call.clone()) else { return Ok(()) };
        let id = ApprovalId::random(self.cx.rng);
        let (why, ask, candidates) = match wait {
            Some(Wait::Ask { why: Why::Changed, .. }) => {
                let message = format!("the arguments of `{}` have changed: which counts?", call.step.name);
                (Why::Changed, self.ask_form(&call, message), over.into_iter().collect())
            }
            Some(Wait::Ask { .. }) => {
                let records = &self.run.durable.records;
                let unused = self.run.live.once_unused.iter().take(CANDIDATES);
                let candidates = unused.map(|&index| records.ordinal(index)).collect();
                let message = format!("`{}` is new, while recorded once steps are unused", call.step.name);
                (Why::NewOnce, self.ask_form(&call, message), candidates)
            }
            _ if call.kind == Kind::Approval => {
                let ask = call.step.approve.clone().unwrap_or_else(|| self.operator(String::new()));
                (Why::Standalone, ask, Vec::new())
            }
            _ => return self.pass_again(n),
        };
        let wait = match why {
            Why::Changed | Why::NewOnce => Wait::Ask { id, why },
            _ => Wait::Approval { id },
        };
        self.record(RunEvent::StepWaiting(StepWaiting { n, step: None, wait }))?;
        self.request(id, n, why, call.args.clone(), call.hash, ask, candidates)?;
        self.tell_all(n);
        Ok(())
    }

    /// A person's answer.
    pub(super) fn vote(&mut self, vote: Vote) -> Result<(), Error> {
        let Some(approval) = self.run.durable.approvals.get(&vote.id).cloned() else {
            return Err(Error::ApprovalOver { id: vote.id, status: "decided or withdrawn".to_owned() });
        };
        self.check_vote(&approval, &vote)?;
        let mut voters = approval.votes.clone();
        voters.insert(vote.by.clone(), vote.roles.clone());
        if vote.ruling == Ruling::Approve && !approval.is_met_by(&voters) {
            if !approval.votes.contains_key(&vote.by) {
                let voted = ApprovalVoted { id: vote.id, by: vote.by, roles: vote.roles, reason: vote.reason };
                self.record(RunEvent::ApprovalVoted(voted))?;
            }
            return Ok(());
        }
        let hash = match &vote.args {
            Some(args) => digest::of(args)?,
            None => approval.hash,
        };
        let n = approval.n;
        let by = if vote.ruling == Ruling::Approve && voters.len() > 1 {
            voters.into_keys().collect::<Vec<_>>().join(", ")
        } else {
            vote.by.clone()
        };
        self.record(RunEvent::ApprovalDecided(Box::new(ApprovalDecided {
            id: vote.id,
            n,
            decision: vote.ruling.clone(),
            by: by.clone(),
            reason: vote.reason.clone(),
            args: vote.args.clone(),
            hash,
        })))?;
        match approval.why {
            Why::Call => self.ruled_call(n, &vote),
            Why::Standalone => {
                let approved = vote.ruling == Ruling::Approve;
                let args = vote.args.as_ref().unwrap_or(&approval.args);
                let value = standalone_result(approved, &by, vote.reason.as_deref(), args);
                self.complete_ruled(n, &value)
            }
            Why::Changed | Why::NewOnce => self.ruled_ask(&approval, vote),
            Why::InDoubt => {
                let how = match vote.ruling {
                    Ruling::Complete { value } => How::Completed { value },
                    Ruling::NotDone => How::NotDone,
                    _ => How::Failed { error: self.ruled_failed(n, &vote.by, Why::InDoubt) },
                };
                self.resolve(n, how, By::Person)
            }
        }?;
        self.unblock()
    }

    fn check_vote(&self, approval: &Approval, vote: &Vote) -> Result<(), Error> {
        if !approval.may(&vote.by, &vote.roles) {
            let who = approval.who().to_owned();
            return Err(Error::NotYours { id: vote.id, by: vote.by.clone(), who });
        }
        let word = match &vote.ruling {
            Ruling::Approve => "approve",
            Ruling::Deny => "deny",
            Ruling::Reuse { .. } => "reuse",
            Ruling::Run => "run",
            Ruling::Complete { .. } => "complete",
            Ruling::NotDone => "not_done",
            Ruling::Fail => "fail",
        };
        let choices = approval.why.choices();
        if !choices.contains(&word) {
            let rule = format!("`{word}` does not answer this question; choose one of {}", choices.join(", "));
            return Err(Error::InvalidDecision { rule });
        }
        if let Some(seen) = vote.hash
            && seen != approval.hash
        {
            return Err(Error::ApprovalChanged { id: vote.id, seen, actual: approval.hash });
        }
        let invalid = |rule: &str| Err(Error::InvalidDecision { rule: rule.to_owned() });
        if let Some(args) = &vote.args {
            if vote.ruling != Ruling::Approve || !approval.ask.edit {
                return invalid("the arguments may not be edited here; approve or deny them as they are");
            }
            if approval.quorum() > 1 {
                return invalid("several people decide, so the arguments may not be edited; deny, and ask anew");
            }
            json::check(args)?;
        }
        match &vote.ruling {
            Ruling::Complete { value } => {
                json::check(value)?;
            }
            Ruling::Reuse { step } => {
                let Some(n) = step.or_else(|| self.meant(approval)) else {
                    return invalid("several steps could be meant; name the one to reuse");
                };
                if !approval.candidates.contains(&n) {
                    return invalid("that step is not among those that may be reused");
                }
                let state = self.run.durable.records.get(n).map(|record| record.state);
                if !matches!(state, Some(State::Completed | State::Failed | State::Superseded)) {
                    return invalid("the step to reuse has no value; decide on it first");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The step that a ruling to reuse means if it names none: the only one, or the only one with these arguments.
    fn meant(&self, approval: &Approval) -> Option<u64> {
        let records = &self.run.durable.records;
        let same = |n: &&u64| records.get(**n).is_some_and(|record| record.hash == approval.hash);
        let mut same = approval.candidates.iter().filter(same);
        match (approval.candidates.as_slice(), same.next(), same.next()) {
            ([one], ..) => Some(*one),
            (_, Some(one), None) => Some(*one),
            _ => None,
        }
    }

    fn ruled_call(&mut self, n: u64, vote: &Vote) -> Result<(), Error> {
        if vote.ruling == Ruling::Approve {
            return if self.run.live.waiters.contains_key(&n) { self.resume(n) } else { Ok(()) };
        }
        let reason = vote.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let message = format!("{} denied `{}`{reason}", vote.by, self.run.durable.records.label(n));
        self.fail_ruled(n, &step_error("ApprovalDenied", message))
    }

    fn ruled_ask(&mut self, approval: &Approval, vote: Vote) -> Result<(), Error> {
        let n = approval.n;
        match vote.ruling {
            Ruling::Run => {
                if self.run.live.waiters.contains_key(&n) {
                    return self.resume(n);
                }
                Ok(())
            }
            Ruling::Reuse { step } => {
                let Some(from) = step.or_else(|| self.meant(approval)) else { return Ok(()) };
                if let Some(index) = self.run.durable.records.index(from) {
                    self.run.live.use_record(index);
                }
                if let Some(error) = self.run.durable.failure(from).cloned() {
                    return self.fail_ruled(n, &error);
                }
                let body = StepCompleted { from: Some(from), ..StepCompleted::new(n, None, null(), 1) };
                self.record(RunEvent::StepCompleted(body))?;
                self.answer_recorded(n);
                Ok(())
            }
            Ruling::Complete { value } => self.complete_ruled(n, &value),
            _ => {
                let error = self.ruled_failed(n, &vote.by, approval.why);
                self.fail_ruled(n, &error)
            }
        }
    }

    fn complete_ruled(&mut self, n: u64, value: &Json) -> Result<(), Error> {
        let body = StepCompleted::new(n, None, value.clone(), 1);
        self.record(RunEvent::StepCompleted(body))?;
        self.answer_value(n, value);
        Ok(())
    }

    fn fail_ruled(&mut self, n: u64, error: &StepError) -> Result<(), Error> {
        self.record(RunEvent::StepFailed(StepFailed { n, step: None, error: error.clone(), attempt: 0 }))?;
        self.answer_error(n, error);
        Ok(())
    }

    /// Nobody has decided in time: the next is asked, or the step fails.
    pub(super) fn approval_due(&mut self, id: ApprovalId) -> Result<(), Error> {
        let Some(approval) = self.run.durable.approvals.get(&id).cloned() else { return Ok(()) };
        let last = approval.policy.as_ref().and_then(|policy| policy.due);
        let rung = approval.ask.escalate.get(approval.rung as usize);
        if let Some(next) = rung.filter(|_| last.is_none_or(|last| last > self.cx.now)) {
            let due: Option<Timestamp> = next.within_ms.map(|ms| self.cx.now + Duration::from_millis(ms));
            let due = earlier(due, last);
            let body = ApprovalEscalated { id, who: next.who.clone(), due, rung: approval.rung.saturating_add(1) };
            return self.record(RunEvent::ApprovalEscalated(body));
        }
        let reason = "nobody decided in time".to_owned();
        self.record(RunEvent::ApprovalExpired(ApprovalEnded { id, reason }))?;
        let message = format!("nobody decided on `{}` in time", self.run.durable.records.label(approval.n));
        self.fail_ruled(approval.n, &step_error("ApprovalExpired", message))
    }

    /// Unused once records were asked for after all: questions about new once steps have no object any more.
    pub(super) fn withdraw_new_once(&mut self) -> Result<(), Error> {
        let questions = self.run.durable.approvals.values().filter(|approval| approval.why == Why::NewOnce);
        let over: Vec<(ApprovalId, u64)> = questions
            .filter(|approval| self.run.live.waiters.contains_key(&approval.n))
            .map(|approval| (approval.id, approval.n))
            .collect();
        for (id, n) in over {
            let reason = "the recorded once steps were asked for".to_owned();
            self.record(RunEvent::ApprovalWithdrawn(ApprovalEnded { id, reason }))?;
            self.resume(n)?;
        }
        Ok(())
    }

    /// The code asks for the old step again: a question about its change has no object any more.
    pub(super) fn withdraw_question_about(&mut self, old: u64) -> Result<(), Error> {
        if self.run.durable.approvals.is_empty() {
            return Ok(());
        }
        let over = |approval: &&Approval| {
            approval.why == Why::Changed
                && !self.run.live.waiters.contains_key(&approval.n)
                && self.run.durable.open.get(&approval.n).is_some_and(|open| open.over == Some(old))
        };
        let found: Option<(ApprovalId, u64)> =
            self.run.durable.approvals.values().find(over).map(|approval| (approval.id, approval.n));
        if let Some((id, n)) = found {
            if let Some(index) = self.run.durable.records.index(n) {
                self.run.live.use_record(index);
            }
            let reason = "the code asks for the recorded arguments again".to_owned();
            self.record(RunEvent::ApprovalWithdrawn(ApprovalEnded { id, reason }))?;
        }
        Ok(())
    }
}

/// A policy's terms in the words of a call's own.
pub(super) fn policy_form(ask: &nx_guard::decision::Ask) -> Approve {
    let who: Vec<String> =
        ask.needs.iter().map(|need| need.who.iter().cloned().collect::<Vec<_>>().join(" or ")).collect();
    Approve {
        who: who.join(" and "),
        within_ms: ask.within_ms,
        escalate: Vec::new(),
        quorum: None,
        edit: false,
        over: Default::default(),
        message: None,
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// Whether the call's own conditions ask for a person.
pub(super) fn needs_approval(call: &Call) -> bool {
    let Some(approve) = &call.step.approve else { return false };
    // An argument that is missing or no number is not known to be under the bound.
    let under = |(name, bound): (&String, &f64)| {
        call.args.get(name).and_then(serde_json::Value::as_f64).is_some_and(|number| number <= *bound)
    };
    call.kind != Kind::Approval && (approve.over.is_empty() || !approve.over.iter().all(under))
}
