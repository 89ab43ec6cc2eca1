//! `Source`: where events come from.

use std::collections::BTreeMap;

use nx_types::{Duration, EventType, FieldError, json::escape, kind::Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{reflex::at, reserved_message};
use crate::{expression::Template, source::table::parse_time};

/// The spec of a `Source`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// The type of the events that it writes. Needed by `file`; by `http` for bodies that bring no type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EventType>,
    /// What its events are about: a text with `${…}` that sees `event` (`type`, `subject`, `data`, `time`).
    /// `source/NAME` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether what it brings may be trusted: `trusted` for one's own sensors and systems, `untrusted` for what anyone may
    /// have written. Runs that its events start carry the label on, and the guard minds it.
    #[serde(default)]
    pub output: Trust,
    /// Takes events by `POST /api/sources/NAME/events`: JSON bodies, `CloudEvents` and batches of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// Replays a recorded file at its own pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSpec>,
}

/// Whether a value may be trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// As one's own data.
    Trusted,
    /// As anyone's words.
    #[default]
    Untrusted,
}

/// How events are taken over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// Which `CloudEvents` types are taken, and as what type they are recorded. Other types are refused, unless the
    /// source has a `type` of its own, which then stands for all of them.
    #[serde(default)]
    pub types: BTreeMap<String, EventType>,
    /// Most events of one request, 1 to 1,000.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_events: u32,
    /// How long an event's id is remembered, so that the same event sent again is recorded once.
    #[serde(default = "default_remember")]
    pub remember: Duration,
}

fn default_batch() -> u32 {
    100
}

fn default_remember() -> Duration {
    Duration::from_secs(7 * 86_400)
}

/// A file that is replayed: each row is an event, its columns are the event's data.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// The file on the server, within a folder that the server allows; or `embedded:NAME`.
    pub path: String,
    /// Its format; by the path's ending when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The column that holds each row's time: RFC 3339, `2014-01-27 14:20:00` (as UTC), or seconds or milliseconds
    /// since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How many times faster than recorded it is replayed. Needs `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// The pause between rows, instead of `speed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Rows before this time are passed over. Needs `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
    /// Starts over at the end.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// Gives events the time of the replay instead of the recorded one.
    #[serde(default)]
    pub restamp: bool,
}

/// The format of a replayed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

impl FileSpec {
    /// The format, as given or by the path's ending.
    pub fn format(&self) -> Format {
        let lines = [".ndjson", ".jsonl", ".json"].iter().any(|end| self.path.ends_with(end));
        self.format.unwrap_or(if lines { Format::Ndjson } else { Format::Csv })
    }
}

/// What a source's subject may refer to.
pub(crate) const SUBJECT_VARIABLES: &[&str] = &["event"];

impl Spec for SourceSpec {
    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(message) = self.kind.as_ref().and_then(|kind| reserved_message(kind.as_str())) {
            errors.push(FieldError::new("/spec/type", message));
        }
        if let Some(subject) = &self.subject
            && let Err(found) = Template::compile(&Value::from(subject.as_str()), SUBJECT_VARIABLES)
        {
            errors.extend(at("/spec/subject", found));
        }
        match (&self.http, &self.file) {
            (None, None) => errors.push(FieldError::new("/spec", "needs `http` or `file`: where its events come from")),
            (Some(_), Some(_)) => {
                errors.push(FieldError::new("/spec/file", "stands beside `http`; a source has one of them"));
            }
            (Some(http), None) => self.validate_http(http, &mut errors),
            (None, Some(file)) => self.validate_file(file, &mut errors),
        }
        errors
    }
}

impl SourceSpec {
    fn validate_http(&self, http: &HttpSpec, errors: &mut Vec<FieldError>) {
        for (given, kind) in &http.types {
            if let Some(message) = reserved_message(kind.as_str()) {
                errors.push(FieldError::new(format!("/spec/http/types/{}", escape(given)), message));
            }
        }
        if self.kind.is_none() && http.types.is_empty() {
            errors.push(FieldError::new("/spec", "needs `type`, or `http.types`: what its events are called"));
        }
    }

    fn validate_file(&self, file: &FileSpec, errors: &mut Vec<FieldError>) {
        if self.kind.is_none() {
            errors.push(FieldError::new("/spec", "field `type` is missing: what the file's rows are called"));
        }
        if file.path.is_empty() {
            errors.push(FieldError::new("/spec/file/path", "must not be empty"));
        }
        if file.speed.is_some() && file.interval.is_some() {
            errors.push(FieldError::new("/spec/file/interval", "stands beside `speed`; a replay has one pace"));
        }
        if file.speed.is_some_and(|speed| !(speed > 0.0 && speed <= 1e9)) {
            errors.push(FieldError::new("/spec/file/speed", "must be more than 0, at most 1,000,000,000"));
        }
        if file.time.is_none() && file.interval.is_none() {
            errors.push(FieldError::new("/spec/file", "needs `time` (a column) or `interval`: the pace of the replay"));
        }
        if let Some(start) = &file.start_at {
            if file.time.is_none() {
                errors.push(FieldError::new("/spec/file/start_at", "needs `time`: the column that holds the times"));
            }
            if parse_time(start).is_none() {
                let message = format!("`{start}` is not a time, for example `2014-01-27T14:20:00Z`");
                errors.push(FieldError::new("/spec/file/start_at", message));
            }
        }
    }
}
