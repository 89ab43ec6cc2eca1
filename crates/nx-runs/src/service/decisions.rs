//! What the guard decided, and why: read from the log, explained in words and as data.

use neuraxis_sdk::frames::Effect;
use nx_guard::{
    decision::{Decision, Outcome},
    origin::{Leak, Traced},
    policy::{self, Explanation, PolicySet, Recorded},
    tool::{self, Output, Tool},
};
use nx_journal::{Event, Reader};
use nx_types::{Causation, Digest, EventType, Header, Namespace, RunId, Seq, Subject, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Page, Paged};
use crate::{
    engine::record::Record,
    error::Error,
    machine::{Created, GuardDecided, RunEvent},
    why,
};

const KIND: &str = "guard.decided";
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;
/// Events looked at for one page; a sparse filter gives a short page with a cursor.
const SCAN_BUDGET: usize = 20_000;
const SLICE: usize = 200;
/// Most links followed backwards from an event to the decision that it followed from.
const MAX_LINKS: usize = 64;

/// Which decisions a list shows; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionFilter {
    /// Only this outcome.
    pub outcome: Option<Outcome>,
    /// Only those about this tool.
    pub call: Option<String>,
    /// Only those of this run or session.
    pub run: Option<RunId>,
    /// Only those made at or after this instant.
    pub since: Option<Timestamp>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionView {
    /// Its name: `r_…/3`, the run and the step.
    pub id: String,
    /// Its place in the log.
    pub seq: Seq,
    /// When it was made.
    pub time: Timestamp,
    /// The run or session.
    pub run: RunId,
    /// The step.
    pub step: u64,
    /// The agent.
    pub agent: String,
    /// The person that the agent acts for.
    pub principal: String,
    /// What was called: `toolset/tool`, `step/name`, `output`.
    pub call: String,
    /// What calling it does to the world.
    pub effect: Effect,
    /// The exact arguments, references substituted.
    pub args: Value,
    /// Their hash.
    pub hash: Digest,
    /// What was decided.
    pub outcome: Outcome,
    /// The decision as it was recorded.
    pub decision: Decision,
    /// Restricted values that the call would have brought to somebody who may not read them.
    pub leaks: Vec<Leak>,
    /// What decided, and what would change it.
    pub explanation: Explanation,
    /// The same in words.
    pub text: String,
}

/// The newest decision of the target as a call that can be decided again.
pub(crate) fn asked(reader: &Reader, namespace: &Namespace, target: &str) -> Result<(Recorded, Decision), Error> {
    let shown = find(reader, namespace, target, None)?;
    let missing = || Error::invalid(format!("the decision `{}` is not in the log", shown.id));
    let event = reader.event(shown.seq)?.ok_or_else(missing)?;
    let (_, head, body) = read(reader, namespace, &event)?;
    Ok((as_recorded(&head, &body), body.decision))
}

/// Reads one decision: of a run (the newest), `RUN/STEP`, an approval, a place in the log, or what else `why` finds.
///
/// With the policies of today it says what would change the outcome under them.
pub(crate) fn find(
    reader: &Reader,
    namespace: &Namespace,
    target: &str,
    policies: Option<&PolicySet>,
) -> Result<DecisionView, Error> {
    let seq = why::find(reader, namespace, target)?;
    let missing = || Error::Undecided { target: target.to_owned() };
    let mut event = reader.event(seq)?.ok_or_else(missing)?;
    for _ in 0..MAX_LINKS {
        if event.header.namespace != *namespace {
            return Err(missing());
        }
        if event.header.kind.as_str() == KIND {
            return view(reader, namespace, &event, policies);
        }
        let Causation::Local(cause) = event.header.causation else { break };
        event = reader.event(cause)?.ok_or_else(missing)?;
    }
    newest_of_run(reader, namespace, seq, policies)?.ok_or_else(missing)
}

/// The newest decision of the run that the event is about.
fn newest_of_run(
    reader: &Reader,
    namespace: &Namespace,
    seq: Seq,
    policies: Option<&PolicySet>,
) -> Result<Option<DecisionView>, Error> {
    let Some(run) = reader.event(seq)?.as_ref().and_then(run_of) else { return Ok(None) };
    let (subject, mut before) = (Subject::run(run), None);
    loop {
        let page = reader.by_subject(namespace, &subject, before, SLICE, true)?;
        if let Some(event) = page.iter().find(|event| event.header.kind.as_str() == KIND) {
            return view(reader, namespace, event, policies).map(Some);
        }
        match page.last() {
            Some(last) if page.len() == SLICE => before = Some(last.header.version),
            _ => return Ok(None),
        }
    }
}

fn run_of(event: &Event) -> Option<RunId> {
    event.header.subject.as_str().strip_prefix("run/")?.parse().ok()
}

/// Decisions, newest first.
pub(crate) fn list(
    reader: &Reader,
    namespace: &Namespace,
    filter: &DecisionFilter,
    page: &Page,
) -> Result<Paged<DecisionView>, Error> {
    let mut items = Vec::new();
    let next = walk(reader, namespace, (filter, page), &mut |event| {
        items.push(view(reader, namespace, event, None)?);
        Ok(())
    })?;
    Ok(Paged { items, next })
}

/// Recorded calls with what was decided about them, newest first, to be decided again.
pub(crate) fn recorded(
    reader: &Reader,
    namespace: &Namespace,
    filter: &DecisionFilter,
    page: &Page,
) -> Result<Paged<(String, Recorded)>, Error> {
    let mut items = Vec::new();
    let next = walk(reader, namespace, (filter, page), &mut |event| {
        let (run, head, body) = read(reader, namespace, event)?;
        items.push((format!("{run}/{}", body.n), as_recorded(&head, &body)));
        Ok(())
    })?;
    Ok(Paged { items, next })
}

fn walk(
    reader: &Reader,
    namespace: &Namespace,
    (filter, page): (&DecisionFilter, &Page),
    found: &mut dyn FnMut(&Event) -> Result<(), Error>,
) -> Result<Option<String>, Error> {
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let bad = || Error::invalid("the cursor is not one that a page gave");
    let mut after = page.cursor.as_deref().map(|text| text.parse().map(Seq).map_err(|_err| bad())).transpose()?;
    let kind = EventType::new(KIND)?;
    let (mut count, mut looked_at) = (0, 0);
    loop {
        let events = reader.by_type(&kind, after, SLICE, true)?;
        for event in &events {
            after = Some(event.header.seq);
            looked_at += 1;
            if filter.since.is_some_and(|since| event.header.recorded < since) {
                return Ok(None);
            }
            if event.header.namespace == *namespace && matches(filter, event) {
                found(event)?;
                count += 1;
            }
            if count == limit {
                return Ok(after.map(|seq| seq.to_string()));
            }
        }
        if events.len() < SLICE {
            return Ok(None);
        }
        if looked_at >= SCAN_BUDGET {
            return Ok(after.map(|seq| seq.to_string()));
        }
    }
}

fn matches(filter: &DecisionFilter, event: &Event) -> bool {
    #[derive(Deserialize)]
    struct Brief {
        call: String,
        decision: BriefDecision,
    }
    #[derive(Deserialize)]
    struct BriefDecision {
        outcome: Outcome,
    }
    if filter.run.is_some_and(|run| run_of(event) != Some(run)) {
        return false;
    }
    let Some(bytes) = event.data.bytes() else { return false };
    // Data that stands in a blob is looked at as well, by whoever shows it.
    let Ok(brief) = serde_json::from_slice::<Brief>(bytes) else {
        return filter.outcome.is_none() && filter.call.is_none();
    };
    filter.outcome.is_none_or(|outcome| outcome == brief.decision.outcome)
        && filter.call.as_ref().is_none_or(|call| *call == brief.call)
}

fn read(reader: &Reader, namespace: &Namespace, event: &Event) -> Result<(RunId, Created, Box<GuardDecided>), Error> {
    let run = run_of(event).ok_or_else(|| Error::invalid("the event is about no run"))?;
    let mut record = Record::new(reader.clone(), namespace.clone(), run);
    let RunEvent::Created(head) = record.event(1)?.event else {
        return Err(Error::Record { run, version: 1, detail: "it is not the run's creation".to_owned() });
    };
    let version = event.header.version;
    let RunEvent::GuardDecided(body) = record.event(version)?.event else {
        return Err(Error::Record { run, version, detail: "it is no decision".to_owned() });
    };
    Ok((run, *head, body))
}

fn view(
    reader: &Reader,
    namespace: &Namespace,
    event: &Event,
    policies: Option<&PolicySet>,
) -> Result<DecisionView, Error> {
    let (run, head, mut body) = read(reader, namespace, event)?;
    name_input(reader, namespace, run, &mut body.decision)?;
    if let Some(policies) = policies {
        let recorded = as_recorded(&head, &body);
        body.decision.flip = policies.flip(&recorded.as_call(), &body.decision)?;
    }
    let explanation = policy::explain(&body.call, &body.decision);
    Ok(DecisionView {
        id: format!("{run}/{}", body.n),
        seq: event.header.seq,
        time: event.header.recorded,
        run,
        step: body.n,
        agent: head.agent,
        principal: body.facts.principal.clone(),
        call: body.call,
        effect: body.effect,
        args: (*body.args).clone(),
        hash: body.hash,
        outcome: body.decision.outcome,
        leaks: body.leaks,
        text: explanation.to_string(),
        explanation,
        decision: body.decision,
    })
}

/// What a run that a reflex started was given is known by what the event is about: `mail/m_88`, and not only by the source
/// that it came through.
fn name_input(reader: &Reader, namespace: &Namespace, run: RunId, decision: &mut Decision) -> Result<(), Error> {
    let evidence = decision.origins.iter_mut().flat_map(|origin| &mut origin.evidence);
    let mut given: Vec<_> = evidence.filter(|found| found.event == Some(1)).collect();
    if given.is_empty() {
        return Ok(());
    }
    let created = Record::new(reader.clone(), namespace.clone(), run).event(1)?.header;
    let mut causation = created.causation;
    for _ in 0..MAX_LINKS {
        let Causation::Local(seq) = causation else { break };
        let Some(cause) = reader.event(seq)?.filter(|cause| cause.header.namespace == *namespace) else { break };
        let Header { kind, subject, label, .. } = &cause.header;
        if !matches!(kind.as_str(), "run.requested" | "reflex.fired") {
            if *label == created.label && !subject.as_str().starts_with("run/") {
                for found in &mut given {
                    found.source = subject.to_string();
                }
            }
            break;
        }
        causation = cause.header.causation;
    }
    Ok(())
}

fn as_recorded(head: &Created, body: &GuardDecided) -> Recorded {
    let declared = head.session.as_ref().and_then(|session| session.tools.iter().find(|tool| tool.name == body.call));
    let effect = match body.effect {
        Effect::Code | Effect::Read => tool::Effect::Read,
        Effect::Idempotent => tool::Effect::Idempotent,
        Effect::Once => tool::Effect::Once,
    };
    let tool =
        declared.map_or_else(|| Tool { effect, ..Tool::of(&body.call, Output::default()) }, |tool| (**tool).clone());
    Recorded {
        tool,
        traced: Traced {
            args: (*body.args).clone(),
            origins: body.decision.origins.clone(),
            asked: body.asked,
            named: body.named,
            leaks: body.leaks.clone(),
        },
        facts: body.facts.clone(),
    }
}
