//! Events as `CloudEvents` 1.0 (structured mode, one JSON object a line), out of a log and into it.
//!
//! `source` is the log and namespace, `subject` what the event is about, `dataschema` names type and schema version.
//! Extension attributes carry the rest of the header. Data that is JSON stands in `data` as it was recorded, other data
//! in `data_base64`; erased data is absent, and `erased` is true.

use std::io::{BufRead, Read as _, Write};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nx_types::{Causation, EventId, EventType, Namespace, Seq, Subject, Timestamp, TraceParent, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{Data, Error, Event, Filter, NewEvent, Reader};

/// Longest line that is read.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Most attributes of an imported event.
const MAX_ATTRIBUTES: usize = 64;

/// Events read from the log at a time.
const BATCH: usize = 1_000;

#[derive(Serialize)]
struct Line<'a> {
    specversion: &'static str,
    id: EventId,
    source: String,
    #[serde(rename = "type")]
    kind: &'a EventType,
    subject: &'a Subject,
    time: Timestamp,
    dataschema: String,
    sequence: String,
    subjectversion: String,
    recordedtime: Timestamp,
    datakey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<nx_types::LabelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<TraceParent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blobs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// One event as a line, without its newline.
pub fn to_cloudevent(event: &Event) -> Result<String, Error> {
    let header = &event.header;
    let bytes = event.data.bytes();
    let json = bytes.and_then(|bytes| serde_json::from_slice::<&RawValue>(bytes).ok());
    // a line is a line: recorded JSON may hold newlines between its tokens
    let json = json.filter(|json| !json.get().contains(['\n', '\r']));
    let line = Line {
        specversion: "1.0",
        id: header.id,
        source: format!("neuraxis://{}/{}", header.origin, header.namespace),
        kind: &header.kind,
        subject: &header.subject,
        time: header.occurred,
        dataschema: format!("neuraxis:{}/{}", header.kind, header.schema),
        sequence: header.seq.to_string(),
        subjectversion: header.version.to_string(),
        recordedtime: header.recorded,
        datakey: header.key.to_string(),
        label: header.label,
        causation: match header.causation {
            Causation::None => None,
            Causation::Local(seq) => Some(format!("{}/{seq}", header.origin)),
            Causation::Foreign(other) => Some(format!("{}/{}", other.origin, other.seq)),
        },
        traceparent: header.trace,
        blobs: (!header.blobs.is_empty())
            .then(|| header.blobs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        erased: matches!(event.data, Data::Erased).then_some(true),
        datacontenttype: bytes.map(|_| if json.is_some() { "application/json" } else { "application/octet-stream" }),
        data: json,
        data_base64: bytes.filter(|_| json.is_none()).map(|bytes| BASE64_STANDARD.encode(bytes)),
    };
    serde_json::to_string(&line).map_err(|error| Error::Archive { detail: error.to_string() })
}

/// Writes events from a place on, up to the log's present head, one a line. Gives their number. Blocks.
pub fn export_cloudevents(
    reader: &Reader,
    from: Seq,
    filter: &Filter,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Seq),
) -> Result<u64, Error> {
    let head = reader.head()?;
    let (mut next, mut count) = (from, 0);
    while next < head {
        let (events, after) = reader.scan(next, BATCH, filter, 100_000)?;
        for event in events.iter().filter(|event| event.seq() < head) {
            let mut line = to_cloudevent(event)?;
            line.push('\n');
            out.write_all(line.as_bytes()).map_err(Error::file("write", "the export"))?;
            count += 1;
        }
        if after <= next {
            break;
        }
        next = after;
        progress(next);
    }
    out.flush().map_err(Error::file("write", "the export"))?;
    Ok(count)
}

/// A `CloudEvent` read from outside, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// `id`: unique within its source.
    pub id: String,
    /// `source`.
    pub source: String,
    /// `type`.
    pub kind: EventType,
    /// `subject`, if there is one.
    pub subject: Option<Subject>,
    /// `time`, if there is one.
    pub time: Option<Timestamp>,
    /// The schema version, if `dataschema` is one of ours.
    pub schema: u16,
    /// `traceparent`, if there is one.
    pub trace: Option<TraceParent>,
    /// The data as it stood in the line, or decoded from base64; empty if there is none.
    pub data: Vec<u8>,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl CloudEvent {
    /// Reads one line; `line` is its number, for messages.
    pub fn parse(bytes: &[u8], line: u64) -> Result<Self, Error> {
        let wrong = |detail: String| Error::Import { line, detail };
        if bytes.len() > MAX_LINE_BYTES {
            return Err(wrong(format!("it has {} bytes, at most {MAX_LINE_BYTES} are read", bytes.len())));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(format!("not JSON: {error}")))?;
        json::check(&value).map_err(|error| wrong(error.to_string()))?;
        let Value::Object(fields) = value else { return Err(wrong("not a JSON object".to_owned())) };
        let attributes = Attributes { fields: &fields, line };
        attributes.check()?;
        if attributes.required("specversion")? != "1.0" {
            return Err(wrong("`specversion` must be `1.0`".to_owned()));
        }
        let kind = attributes.required("type")?;
        let data = match (fields.get("data"), fields.get("data_base64")) {
            (Some(_), Some(_)) => return Err(wrong("it has both `data` and `data_base64`; leave one out".to_owned())),
            (Some(_), None) => {
                let raw: RawLine<'_> =
                    serde_json::from_slice(bytes).map_err(|error| wrong(format!("not JSON: {error}")))?;
                raw.data.map(|data| data.get().as_bytes().to_vec()).unwrap_or_default()
            }
            (None, Some(Value::String(text))) => {
                BASE64_STANDARD.decode(text).map_err(|error| wrong(format!("`data_base64` is not base64: {error}")))?
            }
            (None, Some(_)) => return Err(wrong("`data_base64` must be a string".to_owned())),
            (None, None) => Vec::new(),
        };
        Ok(Self {
            id: attributes.required("id")?.to_owned(),
            source: attributes.required("source")?.to_owned(),
            kind: EventType::new(kind).map_err(|error| wrong(error.to_string()))?,
            subject: attributes.parsed("subject")?,
            time: attributes.parsed("time")?,
            schema: attributes
                .optional("dataschema")?
                .and_then(|schema| schema.strip_prefix("neuraxis:")?.rsplit_once('/')?.1.parse().ok())
                .unwrap_or(1),
            trace: attributes.parsed("traceparent")?,
            data,
        })
    }

    /// The event as one to be recorded. What a log alone may record gets the type `imported.…`. Its subject is `import/…` of its source and id if it names none; its id is
    /// kept if it is a UUID of version 7.
    pub fn into_event(self, namespace: Namespace) -> Result<NewEvent, Error> {
        let name = crate::tlog::sha256([self.source.as_str(), self.id.as_str()].join("\0").as_bytes()).to_string();
        let subject = match self.subject {
            Some(subject) => subject,
            None => Subject::new(&format!("import/{name}")).map_err(|error| Error::invalid(error.to_string()))?,
        };
        let kind = if crate::commit::is_reserved(&self.kind) {
            EventType::new(&format!("imported.{}", self.kind)).map_err(|error| Error::invalid(error.to_string()))?
        } else {
            self.kind
        };
        let id = self.id.parse::<EventId>().ok().filter(|id| id.to_string() == self.id);
        Ok(NewEvent {
            schema: self.schema,
            occurred: self.time,
            trace: self.trace,
            id: id.filter(|id| matches!(id.as_bytes(), [_, _, _, _, _, _, 0x70..=0x7f, ..])),
            ..NewEvent::new(namespace, kind, subject, self.data)
        })
    }
}

/// The context attributes of a line.
struct Attributes<'a> {
    fields: &'a Map<String, Value>,
    line: u64,
}

impl<'a> Attributes<'a> {
    fn wrong(&self, detail: String) -> Error {
        Error::Import { line: self.line, detail }
    }

    /// Names and values by section 3 of the specification.
    fn check(&self) -> Result<(), Error> {
        if self.fields.len() > MAX_ATTRIBUTES {
            return Err(
                self.wrong(format!("it has {} attributes, at most {MAX_ATTRIBUTES} are read", self.fields.len()))
            );
        }
        for (name, value) in self.fields {
            if name == "data" || name == "data_base64" {
                continue;
            }
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                let name: String = name.chars().take(64).collect();
                return Err(self.wrong(format!("attribute `{name}` must be of a-z and 0-9")));
            }
            if !matches!(value, Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null) {
                return Err(self.wrong(format!("attribute `{name}` must be a string, a number or a boolean")));
            }
        }
        Ok(())
    }

    fn optional(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(self.wrong(format!("`{name}` must not be empty"))),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(format!("`{name}` must be a string"))),
        }
    }

    fn required(&self, name: &str) -> Result<&'a str, Error> {
        self.optional(name)?.ok_or_else(|| self.wrong(format!("`{name}` is missing")))
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.optional(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| self.wrong(error.to_string()))
    }
}

/// Reads lines one after the other; blank lines are passed over. The first bad line ends the reading with its number.
pub fn import_cloudevents(
    input: &mut dyn BufRead,
    each: &mut dyn FnMut(CloudEvent) -> Result<(), Error>,
) -> Result<u64, Error> {
    let (mut number, mut count) = (0, 0);
    let mut line = Vec::new();
    loop {
        number += 1;
        line.clear();
        let mut limited = (&mut *input).take(MAX_LINE_BYTES as u64 + 1);
        if limited.read_until(b'\n', &mut line).map_err(Error::file("read", "the import"))? == 0 {
            return Ok(count);
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            each(CloudEvent::parse(text, number)?)?;
            count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use nx_types::{BlobId, EventRef, Header, KeyId, LabelId, Origin, StateDigest};
    use proptest::prelude::*;

    use super::*;

    fn event(data: &[u8]) -> Event {
        let origin = Origin([0xab; 16]);
        Event {
            header: Header {
                format: 1,
                origin,
                seq: Seq(12),
                id: "0190a0b0-c0d0-7aaa-8bbb-ccccddddeeee".parse().unwrap(),
                namespace: Namespace::default(),
                kind: EventType::new("step.completed").unwrap(),
                schema: 3,
                subject: Subject::new("run/r_0000000000000000").unwrap(),
                version: 4,
                occurred: Timestamp::from_millis(1_767_225_600_000),
                recorded: Timestamp::from_millis(1_767_225_600_001),
                label: Some(LabelId([1; 32])),
                causation: Causation::Foreign(EventRef { origin, seq: Seq(3) }),
                trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
                key: KeyId(7),
                blobs: vec![BlobId([2; 32])],
                state: Vec::<StateDigest>::new(),
            },
            data: Data::Open(data.to_vec()),
        }
    }

    #[test]
    fn an_event_goes_out_and_comes_in() {
        let event = event(br#"{"amount": 8400, "ratio": 1.50}"#);
        let line = to_cloudevent(&event).unwrap();
        assert!(line.contains(r#""data":{"amount": 8400, "ratio": 1.50}"#), "{line}");
        assert!(line.contains(r#""source":"neuraxis://abababababababababababababababab/default""#), "{line}");
        assert!(line.contains(r#""causation":"abababababababababababababababab/3""#), "{line}");
        let read = CloudEvent::parse(line.as_bytes(), 1).unwrap();
        let back = read.into_event(Namespace::default()).unwrap();
        assert_eq!(back.data, event.data.bytes().unwrap());
        assert_eq!((back.kind, back.subject, back.schema), (event.header.kind, event.header.subject, 3));
        assert_eq!((back.occurred, back.trace), (Some(event.header.occurred), event.header.trace));
        assert_eq!(back.id, Some(event.header.id));
    }

    #[test]
    fn other_data_goes_as_base64_and_erased_data_is_absent() {
        for data in [b"\x00\xff".as_slice(), b"{\n}", b""] {
            let line = to_cloudevent(&event(data)).unwrap();
            assert!(!line.contains('\n') && line.contains("data_base64"), "{line}");
            assert_eq!(CloudEvent::parse(line.as_bytes(), 1).unwrap().data, data);
        }
        let erased = Event { data: Data::Erased, ..event(b"1") };
        let line = to_cloudevent(&erased).unwrap();
        assert!(line.contains(r#""erased":true"#) && !line.contains("data\"") && !line.contains("base64"), "{line}");
    }

    #[test]
    fn bad_lines_are_told_by_number_and_reason() {
        let good = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b"}"#;
        assert!(CloudEvent::parse(good.as_bytes(), 1).is_ok());
        for (line, message) in [
            ("[]", "line 7: not a JSON object"),
            (r#"{"specversion":"0.3","id":"1","source":"/s","type":"a.b"}"#, "line 7: `specversion` must be `1.0`"),
            (r#"{"specversion":"1.0","source":"/s","type":"a.b"}"#, "line 7: `id` is missing"),
            (r#"{"specversion":"1.0","id":"","source":"/s","type":"a.b"}"#, "line 7: `id` must not be empty"),
            (r#"{"specversion":"1.0","id":1,"source":"/s","type":"a.b"}"#, "line 7: `id` must be a string"),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","Bad":1}"#,
                "line 7: attribute `Bad` must be of a-z and 0-9",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","x":{}}"#,
                "line 7: attribute `x` must be a string, a number or a boolean",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":9007199254740993}"#,
                "line 7: integer `9007199254740993` at `/data` is beyond 2^53 and would lose digits; send it as a string",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":1,"data_base64":"AA=="}"#,
                "line 7: it has both `data` and `data_base64`; leave one out",
            ),
        ] {
            assert_eq!(CloudEvent::parse(line.as_bytes(), 7).unwrap_err().to_string(), message, "{line}");
        }
        let mut input = format!("{good}\n\n{good}\nno\n");
        let error = import_cloudevents(&mut input.as_bytes(), &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("line 4: not JSON"), "{error}");
        input.truncate(input.len() - 3);
        assert_eq!(import_cloudevents(&mut input.as_bytes(), &mut |_| Ok(())).unwrap(), 2);
    }

    proptest! {
        #[test]
        fn a_changed_line_is_read_or_refused(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut line = to_cloudevent(&event(br#"{"a":[1,2,{"b":null}]}"#)).unwrap().into_bytes();
            for (at, byte) in changes {
                let at = at.index(line.len());
                line[at] = byte;
            }
            if let Ok(event) = CloudEvent::parse(&line, 1) {
                drop(event.into_event(Namespace::default()));
            }
        }
    }
}
