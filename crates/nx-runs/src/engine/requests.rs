//! What surfaces ask for.

use std::sync::Arc;

use nx_guard::label::Labelled;
use nx_journal::{Cause, Commit};
use nx_types::{ApprovalId, Namespace, RunId};

use super::{
    Engine, Output, Request, Response, Ticket,
    commit::Pending,
    ingest,
    loading::Loaded,
    request::{ModelAnswer, Ruling, SignalRequest, StartRequest, Started},
    rows,
    slot::Beat,
    view::ProgressView,
};
use crate::{
    error::Error,
    machine::{self, Command, Created, Vote},
};

/// Longest agent name, run key, person or reason.
const MAX_TEXT: usize = 512;

impl Engine {
    pub(super) fn request(&mut self, ticket: Ticket, request: Request) {
        let done = match request {
            Request::Start(start) => self.start(ticket, start),
            Request::Cancel { namespace, run, by, reason } => {
                self.ask(&namespace, run, Command::Cancel { by, reason }, ticket);
                Ok(())
            }
            Request::Signal { namespace, run, signal } => self.signal(ticket, &namespace, run, signal),
            Request::Answered(answer) => self.answered(ticket, *answer),
            Request::Retry { namespace, run, by } => {
                self.ask(&namespace, run, Command::Retry { by }, ticket);
                Ok(())
            }
            Request::Fork { namespace, fork } => self.fork(ticket, &namespace, fork),
            Request::Decide { namespace, approval, ruling } => self.rule(ticket, &namespace, approval, ruling),
            Request::OpenSession(session) => self.open_session(ticket, *session),
            Request::Report { namespace, run, reported, scores } => {
                self.report_to(ticket, &namespace, run, *reported, scores)
            }
            Request::Workers => {
                let answer = Ok(Response::Workers(self.workers()));
                self.out.push(Output::Reply { ticket, answer });
                Ok(())
            }
            Request::Progress { namespace, run } => {
                let answer = Ok(Response::Progress(self.progress(&namespace, run)));
                self.out.push(Output::Reply { ticket, answer });
                Ok(())
            }
        };
        if let Err(error) = done {
            self.out.push(Output::Reply { ticket, answer: Err(error) });
        }
    }

    /// How far the executions of a run are. One that is not in memory has none.
    fn progress(&self, namespace: &Namespace, run: RunId) -> Vec<ProgressView> {
        let slot = self.runs.get(&run).filter(|slot| slot.namespace == *namespace);
        let Some(slot) = slot else { return Vec::new() };
        let beats = slot.beats.of(slot.run.incarnation());
        let heard = beats.filter(|(session, _)| self.sessions.contains_key(session));
        let view = |beat: &Beat| ProgressView {
            name: beat.name.clone().unwrap_or_else(|| slot.row.summary.agent.clone()),
            time: beat.time,
            detail: beat.detail.clone().unwrap_or_default(),
        };
        heard.map(|(_, beat)| view(beat)).collect()
    }

    fn ask(&mut self, namespace: &Namespace, run: RunId, command: Command, ticket: Ticket) {
        self.command_in(namespace, run, command, None, Some((ticket, Response::Done)));
        self.retire(run);
    }

    fn start(&mut self, ticket: Ticket, start: StartRequest) -> Result<(), Error> {
        bounded("the agent's name", &start.agent)?;
        ingest::check(&start.input)?;
        if let Some(key) = &start.key {
            bounded("the key", key)?;
            if self.known_key(ticket, &start.namespace, &start.agent, key)? {
                return Ok(());
            }
        }
        self.room()?;
        let created = Created {
            deadline: self.deadline(&start.namespace, &start.agent, start.deadline),
            agent: start.agent,
            input: Arc::new(start.input),
            key: start.key,
            parent: None,
            by: start.by,
            fork: None,
            session: None,
            labels: start.label.map(|label| Box::new(Labelled::uniform(label))),
        };
        self.create(ticket, start.namespace, created, start.cause, start.trace)
    }

    pub(super) fn room(&self) -> Result<(), Error> {
        let max = self.limits.runs;
        if self.runs.len() >= max {
            let fix = "wait until some have ended, or raise it";
            return Err(Error::Limit { what: "the number of runs in memory", max: max as u64, fix });
        }
        Ok(())
    }

    /// Answers a start whose key is taken.
    fn known_key(&mut self, ticket: Ticket, namespace: &Namespace, agent: &str, key: &str) -> Result<bool, Error> {
        let row = rows::run_key(agent, key);
        let claim = (namespace.clone(), row);
        if let Some(run) = self.claimed.get(&claim).copied() {
            let reply = (ticket, Response::Started(Started { run, existing: true }));
            if let Some(pending) = self.pending.iter_mut().find(|pending| pending.claimed.as_ref() == Some(&claim)) {
                pending.replies.push(reply);
                return Ok(true);
            }
        }
        let Some(row) = self.reader.state(namespace, rows::RUN_KEY, &claim.1)? else { return Ok(false) };
        let run = std::str::from_utf8(&row.bytes).ok().and_then(|text| text.parse().ok());
        let run = run.ok_or_else(|| Error::value("damaged row of a run key"))?;
        let answer = Ok(Response::Started(Started { run, existing: true }));
        self.out.push(Output::Reply { ticket, answer });
        Ok(true)
    }

    pub(super) fn create(
        &mut self,
        ticket: Ticket,
        namespace: Namespace,
        created: Created,
        cause: Cause,
        trace: Option<nx_types::TraceParent>,
    ) -> Result<(), Error> {
        let run = self.env.run_id();
        let key = created.key.clone();
        let agent = created.agent.clone();
        let fresh = self.new_run(namespace.clone(), run, created, trace)?;
        let mut commit = Commit::default();
        let prepared = self.add_child(&mut commit, fresh, cause)?;
        if self.namespaces.insert(namespace.clone()) {
            commit.puts.push(rows::put_namespace(&namespace));
        }
        let mut claimed = None;
        if let Some(key) = key {
            let (free, put) = rows::claim_key(&namespace, &agent, &key, run);
            let claim = (namespace, put.key.clone());
            commit.preconditions.push(free);
            commit.puts.push(put);
            self.claimed.insert(claim.clone(), run);
            claimed = Some(claim);
        }
        let token = self.token();
        let Some(mut slot) = prepared.child else { return Err(Error::Closed) };
        slot.last_token = Some(token);
        self.runs.insert(run, slot);
        self.out.push(Output::Commit { token, commit });
        self.pending.push_back(Pending {
            token,
            runs: vec![(run, prepared.marks)],
            actions: Vec::new(),
            replies: vec![(ticket, Response::Started(Started { run, existing: false }))],
            claimed,
            report: None,
            asked: true,
            lines: 0,
        });
        self.arrange(run);
        Ok(())
    }

    fn signal(
        &mut self,
        ticket: Ticket,
        namespace: &Namespace,
        run: RunId,
        signal: SignalRequest,
    ) -> Result<(), Error> {
        bounded("the signal's name", &signal.name)?;
        ingest::check(&signal.payload)?;
        let id = match signal.id {
            Some(id) => {
                bounded("the signal's id", &id)?;
                id
            }
            None => self.env.event_id().to_string(),
        };
        let payload = Arc::new(signal.payload);
        self.ask(namespace, run, Command::Signal { id, name: signal.name, payload, by: signal.by }, ticket);
        Ok(())
    }

    /// A model has answered. Told twice, it counts once.
    fn answered(&mut self, ticket: Ticket, answer: ModelAnswer) -> Result<(), Error> {
        let (namespace, run, step) = (answer.namespace.clone(), answer.run, answer.step);
        if self.load(&namespace, run)? == Loaded::Later {
            self.once_loaded(run, Some(ticket), move |engine| {
                if let Err(error) = engine.answered(ticket, answer) {
                    engine.out.push(Output::Reply { ticket, answer: Err(error) });
                }
            });
            return Ok(());
        }
        match self.runs.get_mut(&run).filter(|slot| slot.run.awaits_model(step)) {
            Some(slot) => slot.watch.answer = answer.label,
            None => {
                self.out.push(Output::Reply { ticket, answer: Ok(Response::Done) });
                self.retire(run);
                return Ok(());
            }
        }
        let command = Command::ModelAnswered { step, outcome: answer.outcome };
        self.command_in(&namespace, run, command, Some(answer.place), Some((ticket, Response::Done)));
        self.retire(run);
        Ok(())
    }

    fn rule(&mut self, ticket: Ticket, namespace: &Namespace, id: ApprovalId, ruling: Ruling) -> Result<(), Error> {
        let unknown = || Error::ApprovalUnknown { id: id.to_string(), namespace: namespace.to_string() };
        let row = self.reader.state(namespace, rows::APPROVAL, &rows::approval_key(id))?.ok_or_else(unknown)?;
        let row = rows::read_approval(&row.bytes)?;
        let run = row.view.run;
        let Ruling { decision, hash, by, roles, reason, args, value, step } = ruling;
        bounded("the person's name", &by)?;
        if let Some(args) = &args {
            ingest::check(args)?;
        }
        if let Some(value) = &value {
            ingest::check(value)?;
        }
        let ruling = match decision.as_str() {
            "approve" => machine::Ruling::Approve,
            "deny" => machine::Ruling::Deny,
            "reuse" => machine::Ruling::Reuse { step },
            "run" | "rerun" => machine::Ruling::Run,
            "complete" => machine::Ruling::Complete { value: Arc::new(value.unwrap_or_default()) },
            "not_done" => machine::Ruling::NotDone,
            "fail" => machine::Ruling::Fail,
            other => {
                let other: String = other.chars().take(64).collect();
                let rule = format!("`{other}` is no answer; the answers are {}", row.view.choices.join(", "));
                return Err(Error::InvalidDecision { rule });
            }
        };
        if self.load(namespace, run)? == Loaded::Later {
            let vote = Vote { id, by, roles, ruling, hash, reason, args: args.map(Arc::new) };
            self.ask(namespace, run, Command::Decide(Box::new(vote)), ticket);
            return Ok(());
        }
        if self.runs.get(&run).is_some_and(|slot| slot.run.approval(id).is_none()) {
            let status = if row.view.status == "waiting" { "decided".to_owned() } else { row.view.status };
            self.retire(run);
            return Err(Error::ApprovalOver { id, status });
        }
        let vote = Vote { id, by, roles, ruling, hash, reason, args: args.map(Arc::new) };
        self.ask(namespace, run, Command::Decide(Box::new(vote)), ticket);
        Ok(())
    }
}

pub(super) fn bounded(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(Error::invalid(format!("{what} must have 1 to {MAX_TEXT} bytes")));
    }
    Ok(())
}
