//! Lists of runs and approvals, and ids from prefixes: read from the state rows.

use std::str::FromStr;

use nx_journal::{IndexRange, Reader};
use nx_types::{ApprovalId, Namespace, RunId};

use super::{ApprovalFilter, ApprovalView, Page, Paged, RunFilter, RunSummary};
use crate::{
    engine::{record::Record, rows},
    error::Error,
    machine::RunEvent,
};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;
/// Rows looked at for one page; a sparse filter gives a short page with a cursor.
const SCAN_BUDGET: usize = 20_000;
const SLICE: usize = 200;

/// Runs, newest first.
pub(crate) fn runs(
    reader: &Reader,
    namespace: &Namespace,
    filter: &RunFilter,
    page: &Page,
) -> Result<Paged<RunSummary>, Error> {
    if let Some(key) = &filter.key {
        return by_key(reader, namespace, filter, key);
    }
    let (index, range) = match (filter.inbox, filter.status, &filter.agent) {
        (Some(inbox), _, _) => (rows::BY_INBOX, rows::with_text(inbox.as_str())),
        (None, _, _) if filter.needs_person => (rows::BY_INBOX, IndexRange::Prefix(Vec::new())),
        (None, Some(status), _) => (rows::BY_STATUS, rows::with_status(status)),
        (None, None, Some(agent)) => (rows::BY_AGENT, rows::with_text(agent)),
        (None, None, None) => (rows::BY_CREATED, IndexRange::Prefix(Vec::new())),
    };
    paged(reader, namespace, (rows::RUN, index), &range, page, |bytes| {
        let summary = rows::read_run(bytes)?.summary;
        Ok(matches(&summary, filter).then_some(summary))
    })
}

fn by_key(reader: &Reader, namespace: &Namespace, filter: &RunFilter, key: &str) -> Result<Paged<RunSummary>, Error> {
    let mut items = Vec::new();
    if let Some(agent) = &filter.agent {
        if let Some(run) = run_of_key(reader, namespace, agent, key)? {
            items.extend(summary(reader, namespace, run)?.filter(|summary| matches(summary, filter)));
        }
        return Ok(Paged { items, next: None });
    }
    let page = Page { cursor: None, limit: Some(MAX_LIMIT) };
    let range = IndexRange::Prefix(Vec::new());
    let found = paged(reader, namespace, (rows::RUN, rows::BY_CREATED), &range, &page, |bytes| {
        let summary = rows::read_run(bytes)?.summary;
        Ok(matches(&summary, filter).then_some(summary))
    })?;
    Ok(Paged { items: found.items, next: None })
}

fn matches(summary: &RunSummary, filter: &RunFilter) -> bool {
    let named = |name: &String| summary.error.as_deref().is_some_and(|e| e.split(':').next() == Some(name.as_str()));
    filter.status.is_none_or(|status| status == summary.status)
        && filter.inbox.is_none_or(|inbox| summary.inbox == Some(inbox))
        && (!filter.needs_person || summary.inbox.is_some())
        && filter.agent.as_ref().is_none_or(|agent| *agent == summary.agent)
        && filter.key.as_ref().is_none_or(|key| summary.key.as_ref() == Some(key))
        && filter.error.as_ref().is_none_or(named)
}

/// The run that has a key.
pub(crate) fn run_of_key(
    reader: &Reader,
    namespace: &Namespace,
    agent: &str,
    key: &str,
) -> Result<Option<RunId>, Error> {
    let Some(row) = reader.state(namespace, rows::RUN_KEY, &rows::run_key(agent, key))? else { return Ok(None) };
    Ok(std::str::from_utf8(&row.bytes).ok().and_then(|text| text.parse().ok()))
}

/// The row of a run.
pub(crate) fn summary(reader: &Reader, namespace: &Namespace, run: RunId) -> Result<Option<RunSummary>, Error> {
    let Some(row) = reader.state(namespace, rows::RUN, &run.to_string())? else { return Ok(None) };
    Ok(Some(rows::read_run(&row.bytes)?.summary))
}

/// Walks an index from its end, keeping what `read` keeps.
fn paged<T>(
    reader: &Reader,
    namespace: &Namespace,
    (kind, index): (&str, &str),
    range: &IndexRange,
    page: &Page,
    mut read: impl FnMut(&[u8]) -> Result<Option<T>, Error>,
) -> Result<Paged<T>, Error> {
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let mut after = page.cursor.as_deref().map(parse_cursor).transpose()?;
    let mut items = Vec::new();
    let mut looked_at = 0;
    loop {
        let found = reader.index(namespace, kind, index, range, after.clone(), SLICE, true)?;
        let last_slice = found.len() < SLICE;
        for (value, row) in found {
            after = Some((value, row.key.clone()));
            looked_at += 1;
            if let Some(item) = read(&row.bytes)? {
                items.push(item);
            }
            if items.len() == limit {
                return Ok(Paged { items, next: after.map(cursor) });
            }
        }
        if last_slice {
            return Ok(Paged { items, next: None });
        }
        if looked_at >= SCAN_BUDGET {
            return Ok(Paged { items, next: after.map(cursor) });
        }
    }
}

fn cursor((value, key): (Vec<u8>, String)) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len() * 2 + key.len() + 1);
    for byte in value {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text.push('.');
    text.push_str(&key);
    text
}

fn parse_cursor(text: &str) -> Result<(Vec<u8>, String), Error> {
    let wrong = || Error::invalid("`cursor` must be one that the previous page gave");
    let (hex, key) = text.split_once('.').ok_or_else(wrong)?;
    if hex.len() % 2 != 0 || hex.len() > 1024 || !hex.is_ascii() || key.len() > 256 {
        return Err(wrong());
    }
    let value = hex
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<Vec<u8>>>();
    Ok((value.ok_or_else(wrong)?, key.to_owned()))
}

/// Approvals, newest first.
pub(crate) fn approvals(
    reader: &Reader,
    namespace: &Namespace,
    filter: &ApprovalFilter,
    page: &Page,
) -> Result<Paged<ApprovalView>, Error> {
    let status = filter.status.as_deref().unwrap_or("waiting");
    let (index, range) = match filter.run {
        Some(run) => (rows::BY_RUN, rows::with_text(&run.to_string())),
        None if status == "any" => (rows::BY_CREATED, IndexRange::Prefix(Vec::new())),
        None => (rows::BY_APPROVAL_STATUS, rows::with_text(status)),
    };
    let any = status == "any" || (filter.run.is_some() && filter.status.is_none());
    paged(reader, namespace, (rows::APPROVAL, index), &range, page, |bytes| {
        let row = rows::read_approval(bytes)?;
        let wanted = (any || row.view.status == status) && filter.who.as_ref().is_none_or(|who| *who == row.view.who);
        if wanted { complete(reader, namespace, row).map(Some) } else { Ok(None) }
    })
}

/// An approval.
pub(crate) fn approval(reader: &Reader, namespace: &Namespace, id: ApprovalId) -> Result<ApprovalView, Error> {
    let row = reader.state(namespace, rows::APPROVAL, &rows::approval_key(id))?;
    let row = row.ok_or_else(|| Error::ApprovalUnknown { id: id.to_string(), namespace: namespace.to_string() })?;
    complete(reader, namespace, rows::read_approval(&row.bytes)?)
}

/// Reads large arguments from the event.
fn complete(reader: &Reader, namespace: &Namespace, row: rows::ApprovalRow) -> Result<ApprovalView, Error> {
    let mut view = row.view;
    if row.args_in_event {
        let mut record = Record::new(reader.clone(), namespace.clone(), view.run);
        if let RunEvent::ApprovalRequested(requested) = record.event(row.version)?.event {
            view.args = (*requested.args).clone();
        }
    }
    Ok(view)
}

/// The run whose id starts so.
pub(crate) fn resolve_run(reader: &Reader, namespace: &Namespace, prefix: &str) -> Result<RunId, Error> {
    let unknown = || Error::RunUnknown { id: clip(prefix), namespace: namespace.to_string() };
    resolve(reader, namespace, (rows::RUN, RunId::PREFIX), prefix)?.ok_or_else(unknown)
}

/// The approval whose id starts so.
pub(crate) fn resolve_approval(reader: &Reader, namespace: &Namespace, prefix: &str) -> Result<ApprovalId, Error> {
    let unknown = || Error::ApprovalUnknown { id: clip(prefix), namespace: namespace.to_string() };
    resolve(reader, namespace, (rows::APPROVAL, ApprovalId::PREFIX), prefix)?.ok_or_else(unknown)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

fn resolve<T: FromStr>(
    reader: &Reader,
    namespace: &Namespace,
    (kind, mark): (&str, &str),
    prefix: &str,
) -> Result<Option<T>, Error> {
    let text = prefix.strip_prefix(mark).unwrap_or(prefix);
    let full = format!("{mark}{text}");
    if let Ok(id) = full.parse::<T>() {
        return Ok(reader.state(namespace, kind, &full)?.map(|_row| id));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let found = reader.state_scan(namespace, kind, Some(&full), 4)?;
    let keys: Vec<&str> = found.iter().map(|row| row.key.as_str()).filter(|key| key.starts_with(&full)).collect();
    match keys.as_slice() {
        [] => Ok(None),
        [only] => Ok(only.parse().ok()),
        several => Err(Error::Ambiguous { prefix: full, examples: several.join(", ") }),
    }
}
