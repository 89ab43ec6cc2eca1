//! Why something happened: walks the headers' causation backwards, across runs and everything else in the log, and
//! tells each link in a line. It knows the events of runs; of others it shows type, subject and data.

mod target;
mod text;

use nx_journal::{Event, Reader};
use nx_types::{Causation, Namespace, RunId, Seq};
use serde_json::Value;

use crate::{
    engine::{record::Record, view::WhyNode},
    error::Error,
};

/// Most links followed along one chain.
const MAX_DEPTH: usize = 64;
/// Most nodes in all.
const MAX_NODES: usize = 256;

/// The causes of a target, as a chain of nodes from it backwards.
pub fn why(reader: &Reader, namespace: &Namespace, target: &str) -> Result<WhyNode, Error> {
    let seq = target::find(reader, namespace, target)?;
    let mut walk = Walk { reader, namespace, nodes: 0, seen: std::collections::BTreeSet::new() };
    walk.node(seq, 0)
}

#[derive(Debug)]
struct Walk<'a> {
    reader: &'a Reader,
    namespace: &'a Namespace,
    nodes: usize,
    seen: std::collections::BTreeSet<Seq>,
}

impl Walk<'_> {
    fn node(&mut self, seq: Seq, depth: usize) -> Result<WhyNode, Error> {
        self.nodes += 1;
        self.seen.insert(seq);
        let event = self.event(seq)?;
        let data = self.data(&event)?;
        let header = &event.header;
        let mut node = WhyNode {
            seq,
            kind: header.kind.to_string(),
            subject: header.subject.to_string(),
            time: header.recorded,
            text: text::line(&header.kind, header.subject.as_str(), &data),
            data,
            because: Vec::new(),
            truncated: false,
        };
        for cause in self.causes(&event)? {
            if self.seen.contains(&cause) {
                continue;
            }
            if depth >= MAX_DEPTH || self.nodes >= MAX_NODES {
                node.truncated = true;
                break;
            }
            node.because.push(self.node(cause, depth + 1)?);
        }
        Ok(node)
    }

    fn event(&self, seq: Seq) -> Result<Event, Error> {
        let event = self.reader.event(seq)?.filter(|event| event.header.namespace == *self.namespace);
        event.ok_or_else(|| Error::invalid(format!("there is no event {seq} in namespace `{}`", self.namespace)))
    }

    /// The data, decoded; `null` if it was erased or is not JSON.
    fn data(&self, event: &Event) -> Result<Value, Error> {
        let Some(bytes) = event.data.bytes() else { return Ok(Value::Null) };
        let run = event.header.subject.as_str().strip_prefix("run/").and_then(|id| id.parse::<RunId>().ok());
        match run {
            Some(run) => {
                let mut record = Record::new(self.reader.clone(), event.header.namespace.clone(), run);
                let entry = record.event(event.header.version)?;
                Ok(serde_json::from_slice(&entry.event.encode()?).unwrap_or_default())
            }
            None => Ok(serde_json::from_slice(bytes).unwrap_or_default()),
        }
    }

    /// What the header names.
    fn causes(&self, event: &Event) -> Result<Vec<Seq>, Error> {
        match event.header.causation {
            Causation::Local(seq) => Ok(vec![seq]),
            Causation::Foreign(of) if of.origin == event.header.origin => Ok(vec![of.seq]),
            Causation::None | Causation::Foreign(_) => Ok(Vec::new()),
        }
    }
}
