//! Sources: what brings events in from outside. HTTP requests are taken as they come; recorded files are replayed at
//! their own pace.

pub(crate) mod cloudevents;
pub(crate) mod ingest;
pub(crate) mod replay;
pub(crate) mod service;
pub(crate) mod table;

use std::collections::BTreeMap;

use nx_types::{SharedLabel, Subject, Timestamp};
use serde_json::Value;

use crate::{
    Error,
    expression::{Bindings, Template},
    kinds::source::{SUBJECT_VARIABLES, SourceSpec, Trust},
    reflex::compile::source_label,
};

pub use ingest::{Ingest, Ingested};

/// How a source names and labels its events.
#[derive(Debug)]
pub(crate) struct Stamp {
    own: Subject,
    subject: Option<Template>,
    pub(crate) label: SharedLabel,
}

impl Stamp {
    pub(crate) fn new(name: &str, spec: &SourceSpec) -> Result<Self, Error> {
        let own = Subject::new(&format!("source/{name}"))
            .map_err(|err| Error::damaged(format!("resource `Source/{name}`"), err))?;
        let subject = match &spec.subject {
            None => None,
            Some(text) => {
                let template = Template::compile(&Value::from(text.as_str()), SUBJECT_VARIABLES);
                Some(template.map_err(|_errors| Error::damaged(format!("resource `Source/{name}`"), "its subject"))?)
            }
        };
        Ok(Self { own, subject, label: SharedLabel::new(source_label(name, spec.output == Trust::Trusted)) })
    }

    /// The source's own subject.
    pub(crate) fn own(&self) -> &Subject {
        &self.own
    }

    /// The subject of an event.
    pub(crate) fn subject(
        &self,
        kind: &str,
        given: Option<&str>,
        data: &Value,
        time: Timestamp,
    ) -> Result<Subject, Error> {
        let Some(template) = &self.subject else { return Ok(self.own.clone()) };
        let fields = BTreeMap::from([
            ("type", Value::from(kind)),
            ("subject", Value::from(given.unwrap_or(self.own.as_str()))),
            ("data", data.clone()),
        ]);
        let mut input = Bindings::default();
        input.set_map("event", &fields, &BTreeMap::from([("time", time)]));
        let wrong = |detail: String| Error::Expression { what: "the event's subject".to_owned(), detail };
        let text = template.render_text(&input).map_err(|err| wrong(err.to_string()))?;
        Subject::new(&text).map_err(|err| wrong(err.to_string()))
    }
}
