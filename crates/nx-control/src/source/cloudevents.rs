//! `CloudEvents` 1.0 over HTTP: structured, batched and binary mode, and plain JSON bodies.
//! Source: the `CloudEvents` specification, "HTTP Protocol Binding" and "JSON Event Format", 1.0.2.

use std::{collections::BTreeMap, fmt};

use nx_types::{Timestamp, json};
use serde_json::{Map, Value};

use crate::Error;

/// Longest id, source or type that is accepted, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 256;

/// An event as it came in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incoming {
    /// Identity as its sender gave it: source and id.
    pub(crate) id: Option<(String, String)>,
    /// The type; `None` for plain bodies.
    pub(crate) kind: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) data: Value,
}

fn wrong(what: &'static str, detail: impl fmt::Display) -> Error {
    Error::Body { what, detail: detail.to_string() }
}

/// Reads a request: `headers` have lower-case names.
pub(crate) fn read(headers: &BTreeMap<String, String>, body: &[u8]) -> Result<Vec<Incoming>, Error> {
    let content_type = headers.get("content-type").map(|text| text.to_ascii_lowercase()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media {
        "application/cloudevents+json" => Ok(vec![structured(parse(body, "a CloudEvent")?)?]),
        "application/cloudevents-batch+json" => match parse(body, "a batch of CloudEvents")? {
            Value::Array(events) => events.into_iter().map(structured).collect(),
            _ => Err(wrong("a batch of CloudEvents", "expected a list")),
        },
        _ if headers.contains_key("ce-specversion") => Ok(vec![binary(headers, media, body)?]),
        "application/json" | "" => {
            let id = headers.get("idempotency-key").map(|key| (String::new(), key.clone()));
            if id.as_ref().is_some_and(|(_, key)| key.is_empty() || key.len() > MAX_ATTRIBUTE_BYTES) {
                return Err(wrong("acceptable", "its Idempotency-Key must have 1 to 256 bytes"));
            }
            Ok(vec![Incoming { id, kind: None, subject: None, time: None, data: parse(body, "JSON")? }])
        }
        other => {
            let detail = format!("its content type is `{}`; send `application/json`", clip(other));
            Err(wrong("JSON or a CloudEvent", detail))
        }
    }
}

fn parse(body: &[u8], what: &'static str) -> Result<Value, Error> {
    let value: Value = serde_json::from_slice(body).map_err(|err| wrong(what, err))?;
    json::check(&value).map_err(|err| wrong(what, err))?;
    Ok(value)
}

fn structured(event: Value) -> Result<Incoming, Error> {
    const WHAT: &str = "a CloudEvent";
    let Value::Object(mut fields) = event else { return Err(wrong(WHAT, "expected a JSON object")) };
    let data = match (fields.remove("data"), fields.remove("data_base64")) {
        (Some(_), Some(_)) => return Err(wrong(WHAT, "it has both `data` and `data_base64`")),
        (Some(data), None) => data,
        // Bytes stay as they came: base64 in a text.
        (None, Some(Value::String(bytes))) => Value::String(bytes),
        (None, Some(_)) => return Err(wrong(WHAT, "`data_base64` must be a text")),
        (None, None) => Value::Null,
    };
    attributes(&fields, data)
}

fn binary(headers: &BTreeMap<String, String>, media: &str, body: &[u8]) -> Result<Incoming, Error> {
    const WHAT: &str = "a CloudEvent";
    let fields: Map<String, Value> = headers
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix("ce-")?.to_owned(), Value::from(text.as_str()))))
        .collect();
    let data = if body.is_empty() {
        Value::Null
    } else if media.is_empty() || media == "application/json" || media.ends_with("+json") {
        parse(body, "JSON")?
    } else {
        let text = std::str::from_utf8(body).map_err(|_err| wrong(WHAT, format!("`{}` is not text", clip(media))))?;
        Value::from(text)
    };
    attributes(&fields, data)
}

fn attributes(fields: &Map<String, Value>, data: Value) -> Result<Incoming, Error> {
    const WHAT: &str = "a CloudEvent";
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(wrong(WHAT, format!("`{name}` must not be empty"))),
        Some(Value::String(text)) if text.len() > MAX_ATTRIBUTE_BYTES => {
            Err(wrong(WHAT, format!("`{name}` has more than {MAX_ATTRIBUTE_BYTES} bytes")))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(WHAT, format!("`{name}` must be a text"))),
    };
    let needed = |name: &str| text(name)?.ok_or_else(|| wrong(WHAT, format!("`{name}` is missing")));
    let version = needed("specversion")?;
    if version != "1.0" {
        return Err(wrong(WHAT, format!("its specversion is `{}`; only `1.0` is known", clip(&version))));
    }
    let time = match text("time")? {
        None => None,
        Some(time) => Some(time.parse::<Timestamp>().map_err(|err| wrong(WHAT, err))?),
    };
    let id = Some((needed("source")?, needed("id")?));
    Ok(Incoming { id, kind: Some(needed("type")?), subject: text("subject")?, time, data })
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn request(headers: &[(&str, &str)], body: &str) -> Result<Vec<Incoming>, String> {
        let headers = headers.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        read(&headers, body.as_bytes()).map_err(|err| err.to_string())
    }

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"com.shop.order","subject":"A17",
        "time":"2026-05-04T03:02:01Z","data":{"cents":100},"extension":"kept elsewhere"}"#;

    #[test]
    fn the_three_modes_agree() {
        let structured =
            request(&[("content-type", "application/cloudevents+json; charset=utf-8")], EVENT).expect("reads");
        let batch = request(&[("content-type", "application/cloudevents-batch+json")], &format!("[{EVENT}]"));
        let headers = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/shop"),
            ("ce-type", "com.shop.order"),
            ("ce-subject", "A17"),
            ("ce-time", "2026-05-04T03:02:01Z"),
        ];
        assert_eq!(Ok(structured.clone()), batch);
        assert_eq!(Ok(structured.clone()), request(&headers, r#"{"cents":100}"#));
        assert_eq!(structured[0].id, Some(("/shop".to_owned(), "1".to_owned())));
        assert_eq!(structured[0].data, json!({ "cents": 100 }));
    }

    #[test]
    fn plain_bodies_have_no_type() {
        let plain = request(&[("content-type", "application/json"), ("idempotency-key", "k")], "[1]").expect("reads");
        assert_eq!(plain[0].kind, None);
        assert_eq!(plain[0].id, Some((String::new(), "k".to_owned())));
        assert_eq!(plain[0].data, json!([1]));
    }

    #[test]
    fn mistakes_are_named() {
        let structured = [("content-type", "application/cloudevents+json")];
        for (headers, body, part) in [
            (&structured[..], r#"{"specversion":"1.0","source":"a","type":"b"}"#, "`id` is missing"),
            (&structured[..], r#"{"specversion":"0.3","source":"a","type":"b","id":"1"}"#, "only `1.0`"),
            (&structured[..], r#"{"specversion":"1.0","source":"a","type":"b","id":"1","time":"now"}"#, "RFC 3339"),
            (&structured[..], r#"{"specversion":"1.0","source":"a","type":"b","id":1}"#, "`id` must be a text"),
            (&structured[..], "[]", "expected a JSON object"),
            (&[("content-type", "text/plain")], "x", "send `application/json`"),
            (&[], "{", "the body is not JSON"),
            (&[], "9007199254740993", "2^53"),
        ] {
            let error = request(headers, body).expect_err(body);
            assert!(error.contains(part), "{body}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[\\[\\]{}\":,a-z0-9. ]{0,100}", kind in 0usize..4) {
            let types = ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "x"];
            drop(request(&[("content-type", types[kind])], &body));
            drop(request(&[("content-type", types[kind]), ("ce-specversion", "1.0")], &body));
        }
    }
}
