//! `Reflex`: on an event that meets a condition, start a run, write another event or ask a model.

use nx_types::{Duration, EventType, FieldError, kind::Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reserved_message;
use crate::{expression::Template, reflex::compile};

/// Most bytes of a reflex's spec as JSON: it stands whole in the event that records it.
const MAX_SPEC_BYTES: usize = 8 << 10;
/// Most events that a window looks back.
pub const MAX_WINDOW: u32 = 10_000;
/// Most event types that one reflex listens to.
const MAX_TYPES: usize = 32;

/// The spec of a `Reflex`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReflexSpec {
    /// The event type, or a list of event types, that is listened to.
    pub on: EventTypes,
    /// Only events that this source brought in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The condition: one `${…}` of CEL that gives true or false. It sees `event` (`type`, `subject`, `data`, `time`,
    /// `id`, `seq`) and, with a window, `window` (`count`, `min`, `max`, `mean`, `sum`). Always, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Figures over the latest events, for the condition and the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// After it fired, it rests this long, measured by the times of the events, for events with the same `by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Duration>,
    /// What keeps windows and debouncing apart: a text with `${…}`.
    #[serde(default = "by_subject")]
    pub by: String,
    /// Starts a run of an agent, once per key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunAction>,
    /// Writes an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<EmitAction>,
    /// Asks a model, once per event; its answer is an event `model.decided`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infer: Option<InferAction>,
}

fn by_subject() -> String {
    "${event.subject}".to_owned()
}

/// One event type or several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EventTypes {
    /// One.
    One(EventType),
    /// Several.
    Several(Vec<EventType>),
}

impl EventTypes {
    /// The types.
    pub fn as_slice(&self) -> &[EventType] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// Figures over a sliding window: of the last `limit` events that are listened to, those whose time lies within
/// `over` up to the time of the event at hand, which is one of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// How far back it reaches, by the times of the events.
    pub over: Duration,
    /// The number that `min`, `max`, `mean` and `sum` are taken of: one `${…}`. Without it only `count` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Which events count: one `${…}` that gives true or false. All, when left out.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How many events it looks back at most, 1 to 10,000.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: u32,
}

fn default_limit() -> u32 {
    1000
}

/// A run to start.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunAction {
    /// The agent.
    pub agent: String,
    /// The run's key: a second request with the same key starts nothing. A text with `${…}`; one run per event when
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The run's input, with `${…}` in its texts. A text that is exactly one `${…}` keeps its value's type.
    #[serde(default)]
    pub input: Value,
}

/// An event to write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmitAction {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Its subject: a text with `${…}`.
    #[serde(default = "by_subject")]
    pub subject: String,
    /// Its data, with `${…}` in its texts.
    #[serde(default)]
    pub data: Value,
}

/// A model to ask.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InferAction {
    /// The model: `NAME`, `NAME@ALIAS` or `NAME@VERSION`.
    pub model: String,
    /// What the decision is about, `parcel/P88`: a text with `${…}`.
    #[serde(default = "by_subject")]
    pub subject: String,
    /// What is given for the input of a model that has one: one of `image`, `bytes`, `pixels`, `tensor`, as `POST /api/infer`
    /// takes it, with `${…}` in its texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What is given for each input, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
    /// What the decision carries on, 1 KiB at most, with `${…}` in its texts: for whoever listens to it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
}

impl Spec for ReflexSpec {
    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let types = self.on.as_slice();
        if types.is_empty() || types.len() > MAX_TYPES {
            errors.push(FieldError::new("/spec/on", format!("must hold 1 to {MAX_TYPES} event types")));
        }
        for own in types.iter().filter(|kind| kind.as_str().starts_with("reflex.")) {
            let message = format!("`{own}` is what reflexes write themselves; listen to what they emit instead");
            errors.push(FieldError::new("/spec/on", message));
        }
        let actions = [("run", self.run.is_some()), ("emit", self.emit.is_some()), ("infer", self.infer.is_some())];
        let mut given = actions.iter().filter(|(_, given)| *given).map(|(name, _)| name);
        match (given.next(), given.next()) {
            (None, _) => {
                errors.push(FieldError::new("/spec", "needs `run`, `emit` or `infer`: what to do when it fires"));
            }
            (Some(first), Some(second)) => {
                let message = format!("stands beside `{first}`; a reflex does one thing");
                errors.push(FieldError::new(format!("/spec/{second}"), message));
            }
            _ => {}
        }
        if let Some(infer) = &self.infer {
            if infer.model.is_empty() || infer.model.len() > 128 {
                errors.push(FieldError::new("/spec/infer/model", "must be `NAME`, `NAME@ALIAS` or `NAME@VERSION`"));
            }
            if infer.input.is_some() == infer.inputs.is_some() {
                let message = "needs `input`, for a model that has one, or `inputs`, by their names";
                errors.push(FieldError::new("/spec/infer", message));
            }
        }
        if self.run.as_ref().is_some_and(|run| run.agent.is_empty() || run.agent.len() > 63) {
            errors.push(FieldError::new("/spec/run/agent", "must be the name of an agent"));
        }
        if let Some(message) = self.emit.as_ref().and_then(|emit| reserved_message(emit.kind.as_str())) {
            errors.push(FieldError::new("/spec/emit/type", message));
        }
        if self.debounce == Some(Duration::ZERO) {
            errors.push(FieldError::new("/spec/debounce", "must be longer than nothing; leave it out for none"));
        }
        if self.window.as_ref().is_some_and(|window| window.over == Duration::ZERO) {
            errors.push(FieldError::new("/spec/window/over", "must be longer than nothing"));
        }
        let bytes = serde_json::to_vec(self).map_or(0, |bytes| bytes.len());
        if bytes > MAX_SPEC_BYTES {
            errors.push(FieldError::new("/spec", format!("has {bytes} bytes, at most {MAX_SPEC_BYTES} are allowed")));
        }
        errors.extend(compile::Program::compile(self).err().unwrap_or_default());
        errors
    }
}

/// Compiles a text that must be exactly one `${…}`.
pub(crate) fn single(text: &str, variables: &[&str], pointer: &str) -> Result<Template, Vec<FieldError>> {
    let template = Template::compile(&Value::from(text), variables).map_err(|errors| at(pointer, errors))?;
    if template.expression().is_none() {
        return Err(vec![FieldError::new(pointer, "must be exactly one `${…}`, for example `${event.data.n > 3}`")]);
    }
    Ok(template)
}

/// Compile errors as field errors below a pointer.
pub(crate) fn at(pointer: &str, errors: Vec<(String, crate::expression::ExpressionError)>) -> Vec<FieldError> {
    errors.into_iter().map(|(place, err)| FieldError::new(format!("{pointer}{place}"), err.to_string())).collect()
}
