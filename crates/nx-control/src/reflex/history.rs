//! What the log says about a reflex before a reading position: its spec then, the events of its windows, its firings.

use nx_journal::{Event, Reader};
use nx_types::{EventType, Namespace, Seq, Subject};
use serde_json::Value;

use super::{compile::Program, memory::MAX_FIRED};
use crate::{
    Error,
    store::{event_type, subject},
};

/// Events read in one go.
const PAGE: usize = 256;
/// Most events of a type that are looked at to fill a window: those of other namespaces and sources stand between.
const MAX_SCAN: usize = 100_000;

/// The spec of a reflex as it was applied last before a position, and its generation; `None` if it was not there.
pub(super) fn spec_at(
    reader: &Reader,
    namespace: &Namespace,
    name: &str,
    position: Seq,
) -> Result<Option<(Value, u64)>, Error> {
    let subject = subject("Reflex", name)?;
    let mut before: Option<u64> = None;
    loop {
        let events = reader.by_subject(namespace, &subject, before, PAGE, true)?;
        for event in events.iter().filter(|event| event.seq() < position) {
            match event.header.kind.as_str() {
                "resource.applied" => return Ok(applied_spec(event)),
                "resource.deleted" => return Ok(None),
                _ => {}
            }
        }
        match events.last() {
            Some(last) if events.len() == PAGE => before = Some(last.header.version),
            _ => return Ok(None),
        }
    }
}

/// Spec and generation in an event that records an applied reflex.
pub(super) fn applied_spec(event: &Event) -> Option<(Value, u64)> {
    let mut data = json(event)?;
    let generation = data.get("generation").and_then(Value::as_u64).unwrap_or_default();
    data.get_mut("spec").map(|spec| (spec.take(), generation))
}

/// The content of an event; `None` if it was erased or is not JSON.
pub(super) fn json(event: &Event) -> Option<Value> {
    event.data.bytes().and_then(|bytes| serde_json::from_slice(bytes).ok())
}

/// The last `limit` events before a position that a reflex hears, in order.
pub(super) fn heard(
    reader: &Reader,
    namespace: &Namespace,
    program: &Program,
    limit: usize,
    position: Seq,
) -> Result<Vec<Event>, Error> {
    let mut found = Vec::new();
    for kind in &program.types {
        found.extend(heard_of(reader, namespace, program, kind, limit, position)?);
    }
    found.sort_by_key(Event::seq);
    Ok(found.split_off(found.len().saturating_sub(limit)))
}

fn heard_of(
    reader: &Reader,
    namespace: &Namespace,
    program: &Program,
    kind: &EventType,
    limit: usize,
    position: Seq,
) -> Result<Vec<Event>, Error> {
    let (mut found, mut scanned, mut before) = (Vec::new(), 0, position);
    while found.len() < limit && scanned < MAX_SCAN {
        let events = reader.by_type(kind, Some(before), PAGE, true)?;
        scanned += events.len();
        let full = events.len() == PAGE;
        before = events.last().map_or(before, Event::seq);
        let wanted = |event: &Event| event.header.namespace == *namespace && program.hears(&event.header);
        found.extend(events.into_iter().filter(wanted).take(limit - found.len()));
        if !full {
            break;
        }
    }
    Ok(found)
}

/// A reflex's latest firings, oldest first: `by` and the time of the event. They stand in the log behind what
/// triggered them, maybe far behind, but were written together with a reading position behind that: all of them count.
pub(super) fn fired(
    reader: &Reader,
    namespace: &Namespace,
    subject: &Subject,
) -> Result<Vec<(String, nx_types::Timestamp)>, Error> {
    let kind = event_type("reflex.fired")?;
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let events = reader.by_subject(namespace, subject, before, PAGE, true)?;
        for event in events.iter().filter(|event| event.header.kind == kind) {
            if found.len() == MAX_FIRED {
                break;
            }
            let data = json(event).unwrap_or_default();
            let text = |name: &str| data.get(name).and_then(Value::as_str);
            if let (Some(by), Some(Ok(time))) = (text("by"), text("time").map(str::parse)) {
                found.push((by.to_owned(), time));
            }
        }
        match events.last() {
            Some(last) if events.len() == PAGE && found.len() < MAX_FIRED => before = Some(last.header.version),
            _ => break,
        }
    }
    found.reverse();
    Ok(found)
}
