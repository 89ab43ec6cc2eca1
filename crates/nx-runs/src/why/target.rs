//! What a person may ask about: a run, a step, an approval, a run's key, a place in the log, a subject.

use nx_journal::{IndexRange, Reader};
use nx_types::{ApprovalId, Namespace, RunId, Seq, Subject};

use crate::{
    engine::{record::Record, rows},
    error::Error,
    machine::RunEvent,
};

/// The event that a target stands for: the newest about it.
pub(crate) fn find(reader: &Reader, namespace: &Namespace, target: &str) -> Result<Seq, Error> {
    if let Ok(seq) = target.parse::<u64>() {
        return Ok(Seq(seq));
    }
    let (head, rest) = target.split_once('/').map_or((target, None), |(head, rest)| (head, Some(rest)));
    if head.starts_with(RunId::PREFIX)
        && let Some(run) = run_of(reader, namespace, head)?
    {
        return match rest {
            Some(step) => step_of(reader, namespace, run, step),
            None => newest(reader, namespace, &Subject::run(run)),
        };
    }
    if head.starts_with(ApprovalId::PREFIX)
        && let Some(seq) = approval_of(reader, namespace, head)?
    {
        return Ok(seq);
    }
    if let Some(key) = rest {
        if let Some(run) = run_with_key(reader, namespace, head, key)? {
            return newest(reader, namespace, &Subject::run(run));
        }
        if let Some(seq) = step_with_key(reader, namespace, head, key)? {
            return Ok(seq);
        }
    }
    let subject = Subject::new(target)?;
    newest(reader, namespace, &subject)
}

fn newest(reader: &Reader, namespace: &Namespace, subject: &Subject) -> Result<Seq, Error> {
    // Lines logged after the end say nothing about why.
    let events = reader.by_subject(namespace, subject, None, 64, true)?;
    let told = events.iter().find(|event| event.header.kind.as_str() != "run.logged").or_else(|| events.first());
    told.map(nx_journal::Event::seq).ok_or_else(|| Error::TargetUnknown { target: subject.to_string() })
}

fn run_of(reader: &Reader, namespace: &Namespace, prefix: &str) -> Result<Option<RunId>, Error> {
    let found = reader.state_scan(namespace, rows::RUN, Some(prefix.get(..prefix.len() - 1).unwrap_or("")), 1000)?;
    let mut keys = found.iter().map(|row| row.key.as_str()).filter(|key| key.starts_with(prefix));
    match (keys.next(), keys.next()) {
        (Some(only), None) => Ok(only.parse().ok()),
        (Some(one), Some(two)) => {
            Err(Error::Ambiguous { prefix: prefix.to_owned(), examples: format!("{one}, {two}") })
        }
        (None, _) => Ok(None),
    }
}

/// A step by ordinal, by name, or by name and key or occurrence.
fn step_of(reader: &Reader, namespace: &Namespace, run: RunId, step: &str) -> Result<Seq, Error> {
    let mut record = Record::new(reader.clone(), namespace.clone(), run);
    let (mut wanted, mut seq, mut after) = (step.parse::<u64>().ok(), None, 0);
    loop {
        let page = record.page(after, 1000)?;
        for entry in &page {
            after = entry.header.version;
            if let Some(identity) = entry.event.identity()
                && wanted.is_none()
                && (identity.name == step || format!("{}/{}", identity.scope, identity.name) == step)
            {
                wanted = entry.event.step();
            }
            let of_approval = matches!(entry.event, RunEvent::ApprovalRequested(_));
            if wanted.is_some() && entry.event.step() == wanted && !of_approval {
                seq = Some(entry.header.seq);
            }
        }
        if page.len() < 1000 {
            return seq.ok_or_else(|| Error::invalid(format!("run `{run}` has no step `{step}`")));
        }
    }
}

fn approval_of(reader: &Reader, namespace: &Namespace, prefix: &str) -> Result<Option<Seq>, Error> {
    let found =
        reader.state_scan(namespace, rows::APPROVAL, Some(prefix.get(..prefix.len() - 1).unwrap_or("")), 1000)?;
    let Some(row) = found.iter().find(|row| row.key.starts_with(prefix)) else { return Ok(None) };
    let row = rows::read_approval(&row.bytes)?;
    let mut record = Record::new(reader.clone(), namespace.clone(), row.view.run);
    let (mut after, mut seq) = (row.version.saturating_sub(1), None);
    loop {
        let page = record.page(after, 1000)?;
        for entry in &page {
            after = entry.header.version;
            if entry.event.approval() == Some(row.view.id) {
                seq = Some(entry.header.seq);
            }
        }
        if page.len() < 1000 {
            return Ok(seq);
        }
    }
}

fn run_with_key(reader: &Reader, namespace: &Namespace, agent: &str, key: &str) -> Result<Option<RunId>, Error> {
    let row = reader.state(namespace, rows::RUN_KEY, &rows::run_key(agent, key))?;
    Ok(row.and_then(|row| std::str::from_utf8(&row.bytes).ok().and_then(|text| text.parse().ok())))
}

/// `refund/A17`: the newest step of the name whose run, or itself, has the key. Looks at the newest runs only.
fn step_with_key(reader: &Reader, namespace: &Namespace, name: &str, key: &str) -> Result<Option<Seq>, Error> {
    let all = IndexRange::Prefix(Vec::new());
    let runs = reader.index(namespace, rows::RUN, rows::BY_CREATED, &all, None, 500, true)?;
    for (_, row) in runs {
        let summary = rows::read_run(&row.bytes)?.summary;
        let of_run = summary.key.as_deref() == Some(key);
        let mut record = Record::new(reader.clone(), namespace.clone(), summary.id);
        let (mut step, mut seq) = (None, None);
        for entry in record.page(0, 1000)? {
            if let Some(identity) = entry.event.identity()
                && identity.name.rsplit('/').next() == Some(name)
                && (of_run || identity.key.as_deref() == Some(key) || holds(&identity.args, key))
            {
                step = entry.event.step();
            }
            if step.is_some() && entry.event.step() == step {
                seq = Some(entry.header.seq);
            }
        }
        if seq.is_some() {
            return Ok(seq);
        }
    }
    Ok(None)
}

/// Whether one of the arguments is exactly this text.
fn holds(args: &serde_json::Value, text: &str) -> bool {
    match args {
        serde_json::Value::Object(fields) => fields.values().any(|value| value.as_str() == Some(text)),
        other => other.as_str() == Some(text),
    }
}
