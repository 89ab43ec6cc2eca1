//! A step request as it arrives: one flat object, read in one pass, unknown fields refused. A field that does not
//! belong to the step's kind is refused too.

use serde::Deserialize;
use serde_json::Value;

use super::{Approve, Body, Effect, Flow, OnChange, Outcome, Retry, Undo};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    call: u64,
    run: nx_types::RunId,
    inc: u32,
    #[serde(default)]
    scope: String,
    name: String,
    key: Option<String>,
    was: Option<String>,
    kind: Kind,
    effect: Option<Effect>,
    #[serde(default, deserialize_with = "present")]
    args: Option<Value>,
    probe: Option<bool>,
    key_window_ms: Option<u64>,
    ms: Option<u64>,
    within_ms: Option<u64>,
    agent: Option<String>,
    #[serde(default, deserialize_with = "present")]
    input: Option<Value>,
    on_change: Option<OnChange>,
    retry: Option<Retry>,
    timeout_ms: Option<u64>,
    undo: Option<Undo>,
    approve: Option<Approve>,
    flow: Option<Box<Flow>>,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Code,
    Tool,
    Sleep,
    Signal,
    Approval,
    Child,
    Infer,
    Emit,
    Now,
    Random,
    Uuid,
}

/// `null` is a value too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<Step> for super::Step {
    type Error = String;

    fn try_from(mut wire: Step) -> Result<Self, String> {
        let body = wire.body()?;
        wire.nothing_left()?;
        let Step {
            call,
            run,
            inc,
            scope,
            name,
            key,
            was,
            on_change,
            retry,
            timeout_ms,
            undo,
            approve,
            flow,
            outcome,
            ..
        } = wire;
        if flow.is_some() && !matches!(body, Body::Code { .. }) {
            return Err("field `flow` does not belong to a step of this kind".to_owned());
        }
        let step = Self {
            call,
            run,
            inc,
            scope,
            name,
            key,
            was,
            body,
            on_change,
            retry,
            timeout_ms,
            undo,
            approve,
            flow,
            outcome,
        };
        Ok(step)
    }
}

impl Step {
    fn body(&mut self) -> Result<Body, String> {
        Ok(match self.kind {
            Kind::Code => Body::Code {
                effect: self.effect.take().unwrap_or_default(),
                args: self.args.take().unwrap_or_default(),
                probe: self.probe.take().unwrap_or_default(),
                key_window_ms: self.key_window_ms.take(),
            },
            Kind::Tool => Body::Tool { args: self.args.take().unwrap_or_default() },
            Kind::Sleep => Body::Sleep { ms: self.ms.take().ok_or("missing field `ms`")? },
            Kind::Signal => Body::Signal { within_ms: self.within_ms.take() },
            Kind::Approval => Body::Approval { args: self.args.take().unwrap_or_default() },
            Kind::Child => Body::Child {
                agent: self.agent.take().ok_or("missing field `agent`")?,
                input: self.input.take().unwrap_or_default(),
            },
            Kind::Infer => Body::Infer { args: self.args.take().unwrap_or_default() },
            Kind::Emit => Body::Emit { args: self.args.take().unwrap_or_default() },
            Kind::Now => Body::Now,
            Kind::Random => Body::Random,
            Kind::Uuid => Body::Uuid,
        })
    }

    fn nothing_left(&self) -> Result<(), String> {
        let left = [
            ("effect", self.effect.is_some()),
            ("args", self.args.is_some()),
            ("probe", self.probe.is_some()),
            ("key_window_ms", self.key_window_ms.is_some()),
            ("ms", self.ms.is_some()),
            ("within_ms", self.within_ms.is_some()),
            ("agent", self.agent.is_some()),
            ("input", self.input.is_some()),
        ];
        match left.iter().find(|(_, left)| *left) {
            None => Ok(()),
            Some((field, _)) => Err(format!("field `{field}` does not belong to a step of this kind")),
        }
    }
}
