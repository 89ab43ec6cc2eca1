//! Models from a program: what they are asked, what they answer, and a small client for those who are no agent.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use nx_types::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{error::Error, http::Http, json, net::Address, options::Options};

/// Longest time of a request to the server.
const TIMEOUT: Duration = Duration::from_secs(70);

/// What is given for an input of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample(Value);

impl Sample {
    /// A picture, PNG or JPEG.
    pub fn image(bytes: impl AsRef<[u8]>) -> Self {
        Self::image_base64(BASE64.encode(bytes))
    }

    /// A picture that is in base64 already, as an event brings it.
    pub fn image_base64(text: impl Into<String>) -> Self {
        Self(json!({ "image": text.into() }))
    }

    /// A file's bytes, for models that read files.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self(json!({ "bytes": BASE64.encode(bytes) }))
    }

    /// Pixels: rows from the top, channels together, a byte each.
    pub fn pixels(width: usize, height: usize, channels: usize, bytes: impl AsRef<[u8]>) -> Self {
        let data = BASE64.encode(bytes);
        Self(json!({ "pixels": { "width": width, "height": height, "channels": channels, "data": data } }))
    }

    /// Numbers: nested lists.
    pub fn tensor(lists: impl Serialize) -> Result<Self, Error> {
        Ok(Self(json!({ "tensor": json::encode(&lists, "a tensor")? })))
    }
}

/// What a model is asked: a [`Sample`] for the only input of one, or samples by the names of the inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs(Value);

impl From<Sample> for Inputs {
    fn from(sample: Sample) -> Self {
        Self(json!({ "input": sample.0 }))
    }
}

impl<N: Into<String>> FromIterator<(N, Sample)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (N, Sample)>>(samples: I) -> Self {
        let samples: Map<String, Value> =
            samples.into_iter().map(|(name, Sample(sample))| (name.into(), sample)).collect();
        Self(json!({ "inputs": samples }))
    }
}

impl<N: Into<String>, const COUNT: usize> From<[(N, Sample); COUNT]> for Inputs {
    fn from(samples: [(N, Sample); COUNT]) -> Self {
        samples.into_iter().collect()
    }
}

impl Inputs {
    /// As a step's arguments: more fields may stand beside it.
    pub(crate) fn into_args(self) -> Value {
        self.0
    }

    /// As a request's body: the only input goes by the empty name.
    fn into_body(self) -> Value {
        match self.0 {
            Value::Object(mut fields) => match fields.remove("input") {
                Some(only) => json!({ "inputs": { "": only } }),
                None => Value::Object(fields),
            },
            other => other,
        }
    }
}

/// What a model answered; its decision stands in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inference {
    /// The decision's place in the log.
    pub decision: u64,
    /// The model.
    pub model: String,
    /// The version that answered.
    pub version: u32,
    /// The alias by which it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The engine.
    pub engine: String,
    /// What the model says, where it says one thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure it is of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Each output of the manifest, by name; `docs/models.md` has their forms.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
}

/// A client for programs that are no agent. An agent asks by [`Ctx::infer`](crate::Ctx::infer), which records the answer in
/// its run.
pub struct Client {
    http: Http,
    namespace: Option<String>,
}

impl Client {
    /// A client of the server that the options name.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let http = Http::new(Address::parse(options)?, options.token.clone());
        Ok(Self { http, namespace: options.namespace.clone() })
    }

    /// Asks a model: `NAME`, `NAME@ALIAS` or `NAME@VERSION`. `subject` is what it is about, `parcel/P88`.
    pub async fn infer(
        &self,
        model: &str,
        inputs: impl Into<Inputs>,
        subject: Option<&str>,
    ) -> Result<Inference, Error> {
        let path = self.path(&["infer", model], subject.map(|subject| ("subject", subject)));
        self.ask("POST", &path, Some(&inputs.into().into_body())).await
    }

    /// The models, with their versions and aliases, as `GET /api/models` gives them.
    pub async fn models(&self) -> Result<Vec<Value>, Error> {
        #[derive(Deserialize)]
        struct Models {
            items: Vec<Value>,
        }
        let models: Models = self.ask("GET", &self.path(&["models"], None), None).await?;
        Ok(models.items)
    }

    /// Points an alias to a version, which is loaded first.
    pub async fn alias(&self, model: &str, alias: &str, version: u32) -> Result<Value, Error> {
        let mut body = json!({ "version": version });
        if let Some(namespace) = &self.namespace {
            body["namespace"] = json!(namespace);
        }
        self.ask("PUT", &path(&["models", model, "aliases", alias]), Some(&body)).await
    }

    /// Points an alias to where it pointed before.
    pub async fn rollback(&self, model: &str, alias: &str) -> Result<Value, Error> {
        self.ask("POST", &self.path(&["models", model, "aliases", alias, "rollback"], None), None).await
    }

    fn path(&self, parts: &[&str], more: Option<(&str, &str)>) -> String {
        let namespace = self.namespace.as_deref().map(|namespace| ("namespace", namespace));
        let query: Vec<String> =
            namespace.into_iter().chain(more).map(|(name, text)| format!("{name}={}", quoted(text))).collect();
        if query.is_empty() { path(parts) } else { format!("{}?{}", path(parts), query.join("&")) }
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let sent = tokio::time::timeout(TIMEOUT, self.http.request(method, path, body.as_bytes())).await;
        let url = || self.http.url().into_boxed_str();
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Error::Connect { url: url(), reason: error.to_string().into_boxed_str() }),
            Err(_elapsed) => {
                let reason = format!("no answer within {} s", TIMEOUT.as_secs()).into_boxed_str();
                return Err(Error::Connect { url: url(), reason });
            }
        };
        if (200..300).contains(&answer.status) {
            let what = format!("the answer of `{method} {path}`");
            return json::decode(serde_json::from_slice(&answer.body).unwrap_or_default(), &what);
        }
        let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
            let text: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            return Err(Error::Protocol { reason: format!("HTTP {}: {text}", answer.status).into_boxed_str() });
        };
        Err(Error::Api { status: answer.status, problem: Box::new(problem) })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.http.url()).finish_non_exhaustive()
    }
}

fn path(parts: &[&str]) -> String {
    parts.iter().fold("/api".to_owned(), |path, part| path + "/" + &quoted(part))
}

/// A part of a path or query, encoded.
fn quoted(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_what_the_api_takes() {
        let one = Inputs::from(Sample::image([1, 2, 3]));
        assert_eq!(one.clone().into_args(), json!({ "input": { "image": "AQID" } }));
        assert_eq!(one.into_body(), json!({ "inputs": { "": { "image": "AQID" } } }));
        let named = Inputs::from([("x", Sample::tensor([[1.5, 2.0]]).unwrap()), ("y", Sample::pixels(1, 1, 1, [255]))]);
        let inputs = json!({ "inputs": {
            "x": { "tensor": [[1.5, 2.0]] },
            "y": { "pixels": { "width": 1, "height": 1, "channels": 1, "data": "/w==" } },
        } });
        assert_eq!((named.clone().into_args(), named.into_body()), (inputs.clone(), inputs));
        assert!(Sample::tensor([f64::NAN]).is_err());
        assert_eq!(path(&["infer", "digits@live", "a b/ü"]), "/api/infer/digits%40live/a%20b%2F%C3%BC");
    }
}
