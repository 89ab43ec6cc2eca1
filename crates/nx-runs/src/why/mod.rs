//! Why something happened: walks the headers' causation backwards, across runs and everything else in the log, and
//! tells each link in a line. It knows the events of runs; of others it shows type, subject and data.

mod target;
mod text;

use nx_journal::{Event, Reader};
use nx_types::{Causation, Namespace, RunId, Seq, Subject};
use serde_json::Value;
pub(crate) use target::find;

use crate::{
    engine::{record::Record, view::WhyNode},
    error::Error,
};

/// Most links followed along one chain.
const MAX_DEPTH: usize = 64;
/// Events read at once.
const PAGE: usize = 1000;
/// Most nodes in all.
const MAX_NODES: usize = 256;

/// The causes of a target, as a chain of nodes from it backwards.
pub fn why(reader: &Reader, namespace: &Namespace, target: &str) -> Result<WhyNode, Error> {
    let seq = target::find(reader, namespace, target)?;
    let mut walk = Walk { reader, namespace, nodes: 0, seen: std::collections::BTreeSet::new() };
    walk.node(seq, 0, None)
}

#[derive(Debug)]
struct Walk<'a> {
    reader: &'a Reader,
    namespace: &'a Namespace,
    nodes: usize,
    seen: std::collections::BTreeSet<Seq>,
}

impl Walk<'_> {
    /// A link and all behind it; `effect` is the subject of the event that names it as its cause.
    fn node(&mut self, seq: Seq, depth: usize, effect: Option<&Subject>) -> Result<WhyNode, Error> {
        self.nodes += 1;
        self.seen.insert(seq);
        let event = self.event(seq)?;
        let data = self.data(&event)?;
        let header = &event.header;
        // A run's events follow one another: what it emitted earlier is no cause of what it emits now.
        let run = header.subject.as_str().starts_with("run/");
        let sibling = run && effect == Some(&header.subject) && text::is_emitted(header.kind.as_str());
        let line = match event.data.bytes() {
            Some(_) => text::line(&header.kind, header.subject.as_str(), &data),
            None => format!("{} {} (erased)", header.kind, header.subject),
        };
        let mut node = WhyNode {
            seq,
            kind: header.kind.to_string(),
            subject: header.subject.to_string(),
            time: header.recorded,
            text: line,
            plumbing: sibling || (depth > 0 && text::is_plumbing(header.kind.as_str())),
            data,
            because: Vec::new(),
            truncated: false,
        };
        let version = text::version_behind(header.kind.as_str(), &node.data);
        for cause in causes(&event).into_iter().chain(version) {
            if self.seen.contains(&cause) {
                continue;
            }
            if depth >= MAX_DEPTH || self.nodes >= MAX_NODES {
                node.truncated = true;
            } else {
                node.because.push(self.node(cause, depth + 1, Some(&header.subject))?);
            }
        }
        Ok(node)
    }

    fn event(&self, seq: Seq) -> Result<Event, Error> {
        let event = self.reader.event(seq)?.filter(|event| event.header.namespace == *self.namespace);
        event.ok_or_else(|| Error::TargetUnknown { target: format!("event {seq}") })
    }

    /// The data, decoded; `null` if it was erased or is not JSON.
    fn data(&self, event: &Event) -> Result<Value, Error> {
        let Some(bytes) = event.data.bytes() else { return Ok(Value::Null) };
        let run = event.header.subject.as_str().strip_prefix("run/").and_then(|id| id.parse::<RunId>().ok());
        match run {
            Some(run) => {
                let mut record = Record::new(self.reader.clone(), event.header.namespace.clone(), run);
                let entry = record.event(event.header.version)?;
                let mut data: Value = serde_json::from_slice(&entry.event.encode()?).unwrap_or_default();
                if let Some(n) = entry.event.step()
                    && entry.event.identity().is_none()
                    && let Some(identity) = identity(&mut record, n, event.header.version)?
                    && let Some(fields) = data.as_object_mut()
                {
                    fields.insert("step".to_owned(), identity);
                }
                Ok(data)
            }
            None => Ok(serde_json::from_slice(bytes).unwrap_or_default()),
        }
    }
}

/// What the header names.
fn causes(event: &Event) -> Option<Seq> {
    match event.header.causation {
        Causation::Local(seq) => Some(seq),
        Causation::Foreign(of) if of.origin == event.header.origin => Some(of.seq),
        Causation::None | Causation::Foreign(_) => None,
    }
}

/// Which step an ordinal is: only the first event of a step says so.
fn identity(record: &mut Record, n: u64, before: u64) -> Result<Option<Value>, Error> {
    let mut after = 0;
    while after < before {
        let page = record.page(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.header.version;
        let found = page.iter().find(|entry| entry.event.step() == Some(n) && entry.event.identity().is_some());
        if let Some(identity) = found.and_then(|entry| entry.event.identity()) {
            return Ok(serde_json::to_value(identity).ok());
        }
    }
    Ok(None)
}
